# SPDX-License-Identifier: Apache-2.0
"""3D labels of photographs, as `lifting label` writes them and networks are trained on them.

A folder of labels is also a pack (`datasets.pack`): `images.npy` has a square window around each
person, `labels.npz` its keypoints in pixels of the window. It also has the pose in 3D with its
covariances, and scores of its reliability (QUALITY).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.io.arrays import check_shape, read_arrays, read_images
from lifting_ros.io.atomic import replacing_folder
from lifting_ros.research.datasets.pack import WINDOW_BOXES, WINDOW_PX, box_transform, cut_square
from lifting_ros.research.datasets.splits import every_ninth

VERSION = 1

QUALITY = {
    "confidence": "mean confidence of the 14 keypoints times the person's score, in [0, 1]",
    "reprojection": (
        "mean distance of the network's pose from the rays of the keypoints, divided by the "
        "person's size"
    ),
    "limb_ratios": (
        "difference of a limb's length from people's mean, both divided by the person's size"
    ),
    "joint_limits_deg": "excess of an angle over those found in motion capture, degrees",
    "views": (
        "root mean square distance of the second view from that of the pose, divided by the "
        "person's extent"
    ),
    "lifters_m": "mean distance of the joints from another lifter's after the best scale, metres",
    "expected_error_m": "root mean square error of a joint according to the covariances, metres",
}
"""The scores of a label and what they mean; NaN where a score cannot be computed."""

_PLAIN = ("keypoints", "joints_m", "covariance_m2", "toward", "image_index")
"""Fields that are stored as they are."""

_FLAGS = ("good", "validation")
"""Boolean fields."""


class Labels(NamedTuple):
    """N persons of M photographs."""

    windows: np.ndarray
    """(N, S, S, 3) uint8 RGB, memory-mapped."""
    keypoints: np.ndarray
    """(N, 14, 3) x, y in px of the window and confidence; 0 where not seen."""
    joints_m: np.ndarray
    """(N, 17, 3) about the root, metres, optical frame of the photograph."""
    covariance_m2: np.ndarray
    """(N, 17, 3, 3)."""
    toward: np.ndarray
    """(N, 3) unit vector from the camera to the person, optical frame; (0, 0, 1) where the camera
    is not known."""
    good: np.ndarray
    """(N,) bool: accepted by the thresholds in `about`."""
    validation: np.ndarray
    """(N,) bool: in a validation photograph, which is every ninth."""
    image_index: np.ndarray
    """(N,) into `images`."""
    images: tuple[str, ...]
    """File names of the photographs, without their folder."""
    quality: dict[str, np.ndarray]
    """(N,) each, by the names of QUALITY."""
    about: dict
    """How the labels were made: SHA-256 of weights, thresholds, mean size."""


def cut_windows(
    image: np.ndarray,
    boxes_px: Sequence[np.ndarray],
    keypoints_px: Sequence[np.ndarray],
    confidence: Sequence[np.ndarray],
):
    """Yields for each person of a photograph the window (S, S, 3) around the box (4,), and the
    keypoints (14, 3) in pixels of the window."""
    for box, points, seen in zip(boxes_px, keypoints_px, confidence, strict=True):
        transform = box_transform(box, WINDOW_PX, WINDOW_BOXES)
        known = ((seen > 0) & np.isfinite(points).all(-1))[:, None]
        usable = np.where(known, points, 0.0)
        moved = usable @ transform[:, :2].T + transform[:, 2]

        keypoints = np.where(known, np.column_stack([moved, seen]), 0.0)
        yield cut_square(image, transform, WINDOW_PX), keypoints


def write_labels(
    folder: str | Path,
    labels: Labels,
    more: Mapping[str, bytes] | None = None,
) -> None:
    """Write labels into a new folder, whole or not at all; more: content of other files by name.

    FileExistsError where the folder holds something.
    """
    stored = (*_PLAIN, *_FLAGS)
    arrays = {name: value for name, value in labels._asdict().items() if name in stored}
    for name in QUALITY:
        arrays[f"quality_{name}"] = labels.quality[name]

    with replacing_folder(folder) as beside:
        np.save(beside / "images.npy", labels.windows)
        np.savez(
            beside / "labels.npz",
            images=np.array(labels.images, str),
            about=json.dumps(labels.about),
            version=VERSION,
            **arrays,
        )

        for name, content in (more or {}).items():
            (beside / name).write_bytes(content)


def read_labels(folder: str | Path) -> Labels:
    """Read what `write_labels` wrote.

    FileNotFoundError where there is nothing; DataError in one line for a damaged file or one of
    another version.
    """
    path = Path(folder) / "labels.npz"
    arrays = _read_arrays(path)
    try:
        about = json.loads(str(arrays["about"]))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: about: not readable ({error})") from None

    images = Path(folder) / "images.npy"
    windows = read_images(images)
    expected = (len(arrays["joints_m"]), "H", "W", 3)
    check_shape(windows, expected, {}, f"{images}: windows")

    return Labels(
        windows=windows,
        **{name: arrays[name] for name in _PLAIN},
        **{name: arrays[name].astype(bool) for name in _FLAGS},
        images=tuple(map(str, arrays["images"])),
        quality={name: arrays[f"quality_{name}"] for name in QUALITY},
        about=about,
    )


def read_label_folders(folder: str | Path) -> list[Labels]:
    """The labels in a folder, or in the folders below it at any depth, by name.

    FileNotFoundError where there are none, DataError as `read_labels`.
    """
    found = sorted(Path(folder).rglob("labels.npz"))
    if not found:
        return [read_labels(folder)]

    return [read_labels(path.parent) for path in found]


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of `labels.npz`; errors as `read_labels`."""
    shapes = {
        "keypoints": ("N", 14, 3),
        "joints_m": ("N", 17, 3),
        "covariance_m2": ("N", 17, 3, 3),
        "toward": ("N", 3),
        "good": ("N",),
        "validation": ("N",),
        "image_index": ("N",),
        "images": ("M",),
        "about": (),
        "version": (),
    }
    for name in QUALITY:
        shapes[f"quality_{name}"] = ("N",)

    arrays = read_arrays(path, shapes)
    if int(arrays["version"]) != VERSION:
        raise DataError(f"{path}: version: expected {VERSION}, got {arrays['version']}")

    count = len(arrays["images"])
    if not np.isin(arrays["image_index"], np.arange(count)).all():
        raise DataError(f"{path}: image_index: expected numbers of the {count} images")
    return arrays


def validation_images(image_index: np.ndarray, images: int) -> np.ndarray:
    """Boolean (N,): whether each person's photograph is a validation photograph (every ninth).

    image_index: (N,); images: number of photographs.
    """
    is_validation = every_ninth(images)
    return is_validation[image_index]
