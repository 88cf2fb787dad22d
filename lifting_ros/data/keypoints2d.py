# SPDX-License-Identifier: Apache-2.0
"""Photographs with 14 hand- or teacher-labelled keypoints: `annotations.npz` beside `images.tar`, one labelled person a photo."""
from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lifting_ros.core.skeleton import LSP_TO_KEYPOINT

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
    """(N, 14, 3) x, y in px of the photo and 1 where labelled, else 0."""

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
    keypoints = annotations["joints"][:, list(LSP_TO_KEYPOINT)].astype(np.float32)  # (N, 14, 3)
    return PhotoSet(name, files, tuple(images[f] for f in files), keypoints)


def is_validation(photos: PhotoSet) -> np.ndarray:
    """Boolean (N,): the validation side of the set's split (by index; gym by exercise)."""
    index = np.arange(len(photos.files))
    if photos.name == "lspet":
        return index >= 7200
    if photos.name == "gym":
        return np.array([f[0].upper() in VALIDATION_EXERCISES for f in photos.files])
    return index % 9 == 8


def keypoint_box(keypoints: np.ndarray) -> np.ndarray:
    """Tight box x0, y0, x1, y1 (4,) of the labelled keypoints of one person, (14, 3)."""
    seen = keypoints[keypoints[:, 2] > 0, :2]
    if not len(seen):
        raise ValueError("keypoints: expected at least one labelled keypoint")
    return np.concatenate([seen.min(0), seen.max(0)])
