# SPDX-License-Identifier: Apache-2.0
"""Photographs with 14 keypoints labelled by hand or by a teacher, one labelled person each:
`annotations.npz` beside `images.tar`."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.io.arrays import read_arrays
from lifting_ros.research.datasets.label_doubt import settle, teacher_weight, vote_weight
from lifting_ros.research.datasets.splits import own_split, validation_of
from lifting_ros.skeleton import LSP_TO_KEYPOINT, torso_px

PHOTO_SETS = ("lspet", "street", "gym", "people", "scenes")
"""Names of the folders."""

_LEAST_VOTED = 4
"""Minimum number of voted keypoints of a photograph."""

_ORDER = list(LSP_TO_KEYPOINT)
"""Our keypoints among the 14 of the files."""


@dataclass(frozen=True)
class PhotoSet:
    """One labelled set of photographs, in memory as encoded files."""

    name: str
    files: tuple[str, ...]
    """File names inside the tar, (N,)."""
    encoded: tuple[bytes, ...]
    """JPEG or PNG bytes, (N,)."""
    keypoints: np.ndarray
    """(N, 14, 3) x, y in px of the photo and weight of the label: 0 without a label; below 1 for a
    doubtful label of a training row."""
    validation: np.ndarray
    """(N,) bool: the validation side."""
    absent: np.ndarray | None = None
    """(N, 14) bool: keypoints known to be outside the picture; None if the labels lack this."""

    def image(self, index: int) -> np.ndarray:
        """Photo `index` as (H, W, 3) uint8 RGB."""
        name = f"{self.name}/{self.files[index]}"
        return decode_rgb(self.encoded[index], name)


def decode_rgb(
    encoded: bytes,
    name: str,
) -> np.ndarray:
    """Encoded image bytes to (H, W, 3) uint8 RGB; DataError naming the file if they cannot be
    read."""
    bgr = _decode(encoded, name, cv2.IMREAD_COLOR)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def decode_mask(
    encoded: bytes,
    name: str,
) -> np.ndarray:
    """Encoded grey image bytes to (H, W) bool, True where not black; errors as `decode_rgb`."""
    return _decode(encoded, name, cv2.IMREAD_GRAYSCALE) > 0


def _decode(
    encoded: bytes,
    name: str,
    kind: int,
) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), kind) if encoded else None
    if image is None:
        raise DataError(f"{name}: not a readable image")
    return image


def read_tar(
    path: Path,
    wanted: Iterable[str] = (),
) -> dict[str, bytes]:
    """All regular members of a plain tar, by name.

    FileNotFoundError without a file; DataError in one line if it cannot be read or lacks one of
    `wanted`.
    """
    files = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.isfile():
                    files[member.name] = tar.extractfile(member).read()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except tarfile.TarError as error:
        raise DataError(f"{path}: not a readable tar ({error})") from None

    # A tar that ends between two members reads as a shorter one
    for name in wanted:
        if name not in files:
            raise DataError(f"{path}: {name} is missing")

    return files


def read_photo_set(
    root: str | Path,
    name: str,
) -> PhotoSet:
    """Read `root/name`; FileNotFoundError if the set is absent, DataError in one line if a file is
    damaged or incomplete.

    An array `validation` (N,) in annotations.npz is the split of the set, in place of
    `splits.validation_of`.
    """
    folder = Path(root) / name
    required = {"names": ("N",), "joints": ("N", 14, 3)}
    optional = {"spread": ("N", 14), "validation": ("N",)}
    annotations = read_arrays(folder / "annotations.npz", required, optional)
    files = tuple(str(file) for file in annotations["names"])
    images = read_tar(folder / "images.tar", files)
    encoded = tuple(images[file] for file in files)
    validation = own_split(annotations, validation_of(name, files))
    votes = _read_votes(folder, annotations)

    # Only training labels get a weight
    joints = annotations["joints"] if votes is None else votes["joints"]
    labels = joints[:, _ORDER].astype(np.float32)  # (N, 14, 3)
    if votes is None:
        weighted = _weighted(labels, annotations, folder)
    else:
        weighted = labels * _third(vote_weight(votes)[:, _ORDER])
    keypoints = np.where(validation[:, None, None], labels, weighted)
    if votes is None:
        return PhotoSet(name, files, encoded, keypoints, validation)

    absent = votes["absent"][:, _ORDER].astype(bool)
    voted = (labels[..., 2] > 0).sum(1)
    kept = np.flatnonzero(voted >= _LEAST_VOTED)
    return PhotoSet(
        name,
        tuple(files[row] for row in kept),
        tuple(encoded[row] for row in kept),
        keypoints[kept],
        validation[kept],
        absent[kept],
    )


def _read_votes(
    folder: Path,
    annotations: dict[str, np.ndarray],
) -> dict[str, np.ndarray] | None:
    """Labels by the vote of several teachers: `votes.npz` beside the annotations, or the
    annotations themselves; None without votes."""
    path = folder / ("annotations.npz" if "agree" in annotations else "votes.npz")
    if not path.is_file():
        return None

    count = len(annotations["names"])

    expected = {
        "joints": (count, 14, 3),
        "spread": (count, 14),
        "agree": (count, 14),
        "absent": (count, 14),
    }

    return read_arrays(path, expected)


def photo_sets_in(root: str | Path) -> list[str]:
    """Those of PHOTO_SETS that are in `root`; FileNotFoundError without any."""
    found = [name for name in PHOTO_SETS if (Path(root) / name).is_dir()]
    if not found:
        raise FileNotFoundError(
            f"{root}: expected a folder named {', '.join(PHOTO_SETS[:-1])} or {PHOTO_SETS[-1]}"
        )

    return found


def _weighted(
    labels: np.ndarray,
    annotations: dict[str, np.ndarray],
    folder: Path,
) -> np.ndarray:
    """Labels (N, 14, 3) with a weight in place of 1: from the spread of the teacher that made them,
    or from the labels of a second teacher in `teacher.npz`."""
    if "spread" in annotations:
        weight = teacher_weight(annotations["spread"][:, _ORDER])
        return labels * _third(weight)
    if not (folder / "teacher.npz").is_file():
        return labels

    count = len(labels)
    expected = {"joints": (count, 14, 3), "spread": (count, 14), "reason": (count,)}
    second = read_arrays(folder / "teacher.npz", expected)
    weight = teacher_weight(second["spread"][:, _ORDER])
    teacher = second["joints"][:, _ORDER] * _third(weight)
    teacher[second["reason"] != "", :, 2] = 0

    return settle(labels, teacher, torso_px(teacher))


def _third(weight: np.ndarray) -> np.ndarray:
    """Factors (..., 3) that change only the third column; 0 for a weight that is not finite."""
    known = np.isfinite(weight)
    weight = np.where(known, weight, 0.0).astype(np.float32)
    ones = np.ones_like(weight)
    return np.stack([ones, ones, weight], -1)


def keypoint_box(keypoints: np.ndarray) -> np.ndarray:
    """Tight box x0, y0, x1, y1 (4,) of the labelled keypoints of one person, (14, 3)."""
    seen = keypoints[keypoints[:, 2] > 0, :2]
    if not len(seen):
        raise DataError("keypoints: expected at least one labelled keypoint")

    top_left = seen.min(0)
    bottom_right = seen.max(0)
    return np.concatenate([top_left, bottom_right])
