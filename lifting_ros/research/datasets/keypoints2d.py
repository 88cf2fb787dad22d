# SPDX-License-Identifier: Apache-2.0
"""Photographs with 14 hand- or teacher-labelled keypoints: `annotations.npz` beside `images.tar`,
one labelled person a photo."""

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
_LEAST_VOTED = 4
"""Voted keypoints without which a photograph is left out."""


@dataclass(frozen=True)
class PhotoSet:
    """One labelled set of photographs, in memory as encoded files."""

    name: str
    files: tuple[str, ...]
    """File names inside the tar, (N,)."""
    encoded: tuple[bytes, ...]
    """JPEG or PNG bytes, (N,)."""
    keypoints: np.ndarray
    """(N, 14, 3) x, y in px of the photo and the label's weight: 0 where there is none, in training
    rows below 1 where it is in doubt."""
    validation: np.ndarray
    """(N,) bool: the validation side."""
    absent: np.ndarray | None = None
    """(N, 14) bool: keypoints known not to be in the picture; None where the labels do not tell."""

    def image(self, index: int) -> np.ndarray:
        """Photo `index` as (H, W, 3) uint8 RGB."""
        return decode_rgb(self.encoded[index], f"{self.name}/{self.files[index]}")


def decode_rgb(encoded: bytes, name: str) -> np.ndarray:
    """Encoded image bytes to (H, W, 3) uint8 RGB; DataError naming the file where they cannot be
    read."""
    return cv2.cvtColor(_decode(encoded, name, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def decode_mask(encoded: bytes, name: str) -> np.ndarray:
    """Encoded grey image bytes to (H, W) bool, True where not black; errors as `decode_rgb`."""
    return _decode(encoded, name, cv2.IMREAD_GRAYSCALE) > 0


def _decode(encoded: bytes, name: str, kind: int) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), kind) if encoded else None
    if image is None:
        raise DataError(f"{name}: not a readable image")
    return image


def read_tar(path: Path, wanted: Iterable[str] = ()) -> dict[str, bytes]:
    """All regular members of a plain tar, by name; DataError in one line where it cannot be read
    or one of `wanted` is not in it."""
    try:
        with tarfile.open(path, "r:") as tar:
            files = {
                member.name: tar.extractfile(member).read() for member in tar if member.isfile()
            }
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except tarfile.TarError as error:
        raise DataError(f"{path}: not a readable tar ({error})") from None

    # a tar cut between two members reads as a shorter one
    missing = next((name for name in wanted if name not in files), None)
    if missing is not None:
        raise DataError(f"{path}: {missing} is missing")

    return files


def read_photo_set(root: str | Path, name: str) -> PhotoSet:
    """Read `root/name`; FileNotFoundError where the set is absent, DataError in one line where a
    file is damaged or lacks something.

    An array `validation` (N,) in annotations.npz is the set's own split, in place of
    `splits.validation_of`.
    """
    folder = Path(root) / name
    optional = {"spread": ("N", 14), "validation": ("N",)}
    annotations = read_arrays(
        folder / "annotations.npz", {"names": ("N",), "joints": ("N", 14, 3)}, optional
    )
    files = tuple(str(f) for f in annotations["names"])
    images = read_tar(folder / "images.tar", files)
    validation = own_split(annotations, validation_of(name, files))
    votes = _read_votes(folder, annotations)

    if votes is None:
        labels = annotations["joints"][:, list(LSP_TO_KEYPOINT)].astype(np.float32)  # (N, 14, 3)
        keypoints = np.where(
            validation[:, None, None], labels, _weighted(labels, annotations, folder)
        )
        return PhotoSet(name, files, tuple(images[f] for f in files), keypoints, validation)

    labels = votes["joints"][:, list(LSP_TO_KEYPOINT)].astype(np.float32)
    keypoints = np.where(
        validation[:, None, None],
        labels,
        labels * _third(vote_weight(votes)[:, list(LSP_TO_KEYPOINT)]),
    )
    kept = np.flatnonzero((labels[..., 2] > 0).sum(1) >= _LEAST_VOTED)
    absent = votes["absent"][:, list(LSP_TO_KEYPOINT)].astype(bool)
    chosen = tuple(files[row] for row in kept)

    return PhotoSet(
        name,
        chosen,
        tuple(images[f] for f in chosen),
        keypoints[kept],
        validation[kept],
        absent[kept],
    )


def _read_votes(folder: Path, annotations: dict[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """Labels by the vote of several teachers: `votes.npz` beside the annotations, or the
    annotations themselves; None without any."""
    path = folder / ("annotations.npz" if "agree" in annotations else "votes.npz")
    if not path.is_file():
        return None

    count = len(annotations["names"])

    return read_arrays(
        path,
        {
            "joints": (count, 14, 3),
            "spread": (count, 14),
            "agree": (count, 14),
            "absent": (count, 14),
        },
    )


def photo_sets_in(root: str | Path) -> list[str]:
    """Those of PHOTO_SETS that `root` holds; FileNotFoundError where it holds none."""
    found = [name for name in PHOTO_SETS if (Path(root) / name).is_dir()]
    if not found:
        raise FileNotFoundError(
            f"{root}: expected a folder named {', '.join(PHOTO_SETS[:-1])} or {PHOTO_SETS[-1]}"
        )

    return found


def _weighted(labels: np.ndarray, annotations: dict[str, np.ndarray], folder: Path) -> np.ndarray:
    """Labels (N, 14, 3) with a weight in place of 1: by the teacher's spread, or by what a second
    opinion beside them says."""
    order = list(LSP_TO_KEYPOINT)
    if "spread" in annotations:
        return labels * _third(teacher_weight(annotations["spread"][:, order]))
    if not (folder / "teacher.npz").is_file():
        return labels

    count = len(labels)
    second = read_arrays(
        folder / "teacher.npz",
        {"joints": (count, 14, 3), "spread": (count, 14), "reason": (count,)},
    )
    teacher = second["joints"][:, order] * _third(teacher_weight(second["spread"][:, order]))
    teacher[second["reason"] != "", :, 2] = 0

    return settle(labels, teacher, torso_px(teacher))


def _third(weight: np.ndarray) -> np.ndarray:
    """(..., 3) factors that change the third column alone; a weight that is not finite is none."""
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
