# SPDX-License-Identifier: Apache-2.0
"""3D labels of photographs, as `lifting label` writes them and networks are trained on them.

A folder of labels is also a pack (`data.pack`): `images.npy` has a square window around each
person, `labels.npz` its keypoints in pixels of the window. Beside them stand the pose in 3D with
its covariances, and what speaks for it and against it (QUALITY).
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
        "mean distance of the network's pose from the keypoints' rays, over the person's size"
    ),
    "limb_ratios": (
        "how much the least usual limb is longer or shorter than people's mostly are, both over "
        "their size"
    ),
    "joint_limits_deg": "how far the worst joint bends beyond what motion capture shows, degrees",
    "views": (
        "root mean square gap between the second view and the pose seen from there, over the "
        "person's extent"
    ),
    "lifters_m": "mean distance of the joints from another lifter's after the best scale, metres",
    "expected_error_m": "root mean square error of a joint that the covariances expect, metres",
}
"""What is said of each label; NaN where it cannot be said."""


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
    """(N,) bool: every ninth photograph."""
    image_index: np.ndarray
    """(N,) into `images`."""
    images: tuple[str, ...]
    """File names of the photographs, without their folder."""
    quality: dict[str, np.ndarray]
    """(N,) each, by the names of QUALITY."""
    about: dict
    """What made them: weights, thresholds, version."""


def cut_windows(
    image: np.ndarray,
    boxes_px: Sequence[np.ndarray],
    keypoints_px: Sequence[np.ndarray],
    confidence: Sequence[np.ndarray],
):
    """Windows (S, S, 3) around boxes (4,) of one photograph, with keypoints (14, 3) in their
    pixels."""
    for box, points, seen in zip(boxes_px, keypoints_px, confidence, strict=True):
        transform = box_transform(box, WINDOW_PX, WINDOW_BOXES)
        known = (seen > 0) & np.isfinite(points).all(-1)
        moved = np.where(known[:, None], points, 0.0) @ transform[:, :2].T + transform[:, 2]
        yield (
            cut_square(image, transform, WINDOW_PX),
            np.where(known[:, None], np.column_stack([moved, seen]), 0.0),
        )


def write_labels(
    folder: str | Path, labels: Labels, more: Mapping[str, bytes] | None = None
) -> None:
    """Write labels, and files `more` by name, into a new folder, whole or not at all;
    FileExistsError where there is something already."""
    with replacing_folder(folder) as beside:
        np.save(beside / "images.npy", labels.windows)
        arrays = {
            name: value
            for name, value in labels._asdict().items()
            if name not in ("windows", "images", "quality", "about")
        }
        arrays |= {f"quality_{name}": labels.quality[name] for name in QUALITY}
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
    """Read what `write_labels` wrote; FileNotFoundError where there is nothing, DataError in one
    line where it is damaged or another's."""
    folder = Path(folder)
    n = "N"
    shapes = {
        "keypoints": (n, 14, 3),
        "joints_m": (n, 17, 3),
        "covariance_m2": (n, 17, 3, 3),
        "toward": (n, 3),
        "good": (n,),
        "validation": (n,),
        "image_index": (n,),
        "images": ("M",),
        "about": (),
        "version": (),
        **{f"quality_{name}": (n,) for name in QUALITY},
    }
    arrays = read_arrays(folder / "labels.npz", shapes)
    if int(arrays["version"]) != VERSION:
        raise DataError(
            f"{folder / 'labels.npz'}: version: expected {VERSION}, got {arrays['version']}"
        )

    windows = read_images(folder / "images.npy")
    check_shape(
        windows, (len(arrays["joints_m"]), "H", "W", 3), {}, f"{folder / 'images.npy'}: windows"
    )
    if not np.isin(arrays["image_index"], np.arange(len(arrays["images"]))).all():
        raise DataError(
            f"{folder / 'labels.npz'}: image_index: expected numbers of the "
            f"{len(arrays['images'])} images"
        )

    try:
        about = json.loads(str(arrays["about"]))
    except json.JSONDecodeError as error:
        raise DataError(f"{folder / 'labels.npz'}: about: not readable ({error})") from None

    quality = {name: arrays[f"quality_{name}"] for name in QUALITY}
    plain = {
        name: arrays[name]
        for name in ("keypoints", "joints_m", "covariance_m2", "toward", "image_index")
    }
    flags = {name: arrays[name].astype(bool) for name in ("good", "validation")}

    return Labels(
        windows,
        **plain,
        **flags,
        images=tuple(map(str, arrays["images"])),
        quality=quality,
        about=about,
    )


def read_label_folders(folder: str | Path) -> list[Labels]:
    """The labels in a folder, or in the folders below it at any depth, by name.

    FileNotFoundError where there are none, DataError as `read_labels`.
    """
    found = sorted(Path(folder).rglob("labels.npz"))
    return [read_labels(path.parent) for path in found] or [read_labels(folder)]


def validation_images(image_index: np.ndarray, images: int) -> np.ndarray:
    """Boolean (N,): persons of every ninth of so many photographs."""
    return every_ninth(images)[image_index]
