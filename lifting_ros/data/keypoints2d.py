# SPDX-License-Identifier: Apache-2.0
"""Photographs with 14 hand- or teacher-labelled keypoints: `annotations.npz` beside `images.tar`, one labelled person a photo."""
from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lifting_ros.core.skeleton import LSP_TO_KEYPOINT, torso_px
from lifting_ros.data.label_doubt import settle, teacher_weight

PHOTO_SETS = ("lspet", "street", "gym", "people")
VALIDATION_EXERCISES = ("D", "L")  # gym: initial letters kept for validation, so that an exercise is on one side only


@dataclass(frozen=True)
class PhotoSet:
    """One labelled set of photographs, in memory as encoded files."""

    name: str
    files: tuple[str, ...]
    """File names inside the tar, (N,)."""
    encoded: tuple[bytes, ...]
    """JPEG or PNG bytes, (N,)."""
    keypoints: np.ndarray
    """(N, 14, 3) x, y in px of the photo and the label's weight: 0 where there is none, in training rows below 1 where it is in doubt."""

    def image(self, index: int) -> np.ndarray:
        """Photo `index` as (H, W, 3) uint8 RGB."""
        return decode_rgb(self.encoded[index], f"{self.name}/{self.files[index]}")


def decode_rgb(encoded: bytes, name: str) -> np.ndarray:
    """Encoded image bytes to (H, W, 3) uint8 RGB; ValueError naming the file where they cannot be read."""
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{name}: not a readable image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_tar(path: Path) -> dict[str, bytes]:
    """All regular members of a plain tar, by name."""
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}


def read_photo_set(root: str | Path, name: str) -> PhotoSet:
    """Read `root/name`; KeyError where the annotations lack an array, FileNotFoundError where the set is absent."""
    folder = Path(root) / name
    annotations = np.load(folder / "annotations.npz", allow_pickle=False)
    images = read_tar(folder / "images.tar")
    files = tuple(str(f) for f in annotations["names"])
    labels = annotations["joints"][:, list(LSP_TO_KEYPOINT)].astype(np.float32)  # (N, 14, 3)
    keypoints = np.where(_validation_rows(name, files)[:, None, None], labels, _weighted(labels, annotations, folder))
    return PhotoSet(name, files, tuple(images[f] for f in files), keypoints)


def _weighted(labels: np.ndarray, annotations, folder: Path) -> np.ndarray:
    """Labels (N, 14, 3) with a weight in place of 1: by the teacher's spread, or by what a second opinion beside them says."""
    order = list(LSP_TO_KEYPOINT)
    if "spread" in annotations:
        return labels * _third(teacher_weight(annotations["spread"][:, order]))
    if not (folder / "teacher.npz").is_file():
        return labels
    second = np.load(folder / "teacher.npz", allow_pickle=False)
    teacher = second["joints"][:, order] * _third(teacher_weight(second["spread"][:, order]))
    teacher[second["reason"] != "", :, 2] = 0
    return settle(labels, teacher, torso_px(teacher))


def _third(weight: np.ndarray) -> np.ndarray:
    """(..., 3) factors that change the third column alone; a weight that is not finite is none."""
    weight = np.where(np.isfinite(weight), weight, 0.0).astype(np.float32)
    return np.stack([np.ones_like(weight), np.ones_like(weight), weight], -1)


def is_validation(photos: PhotoSet) -> np.ndarray:
    """Boolean (N,): the validation side of the set's split (by index; gym by exercise)."""
    return _validation_rows(photos.name, photos.files)


def _validation_rows(name: str, files: tuple[str, ...]) -> np.ndarray:
    index = np.arange(len(files))
    if name == "lspet":
        return index >= 7200
    if name == "gym":
        return np.array([f[0].upper() in VALIDATION_EXERCISES for f in files])
    return index % 9 == 8


def keypoint_box(keypoints: np.ndarray) -> np.ndarray:
    """Tight box x0, y0, x1, y1 (4,) of the labelled keypoints of one person, (14, 3)."""
    seen = keypoints[keypoints[:, 2] > 0, :2]
    if not len(seen):
        raise ValueError("keypoints: expected at least one labelled keypoint")
    return np.concatenate([seen.min(0), seen.max(0)])
