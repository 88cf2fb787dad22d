# SPDX-License-Identifier: Apache-2.0
"""A contact sheet of a pack of synthetic pictures, to look at: the pictures with the labelled
skeletons drawn in."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from lifting_ros.io.arrays import read_arrays, read_images
from lifting_ros.skeleton import KEYPOINT_LIMBS, KEYPOINT_TO_JOINT

# BGR: hidden or outside, behind the own body, visible
COLOURS = np.array([[60, 60, 255], [0, 190, 255], [80, 230, 60]])
ENLARGE_TO = 320  # px, so that small pictures can be looked at


def contact_sheet(folder, count: int = 24, columns: int = 6) -> np.ndarray:
    """(H, W, 3) uint8 BGR: the first pictures of a pack side by side; keypoints green where
    visible, orange behind the own body, red where something else hides them or the picture ends."""
    expected = {
        "keypoints": ("M", 14, 3),
        "self_occluded": ("M", 14),
        "joints_camera_m": ("M", 17, 3),
        "K": ("N", 3, 3),
    }
    labels = read_arrays(Path(folder) / "labels.npz", expected)
    images = read_images(Path(folder) / "images.npy")[:count]
    picture = labels.get("picture", np.arange(len(labels["keypoints"])))
    state = (1 + ~labels["self_occluded"]) * (labels["keypoints"][..., 2] > 0)
    tiles = []

    for number, image in enumerate(images):
        scale = max(ENLARGE_TO // max(image.shape[:2]), 1)
        tile = cv2.resize(
            image[:, :, ::-1], None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC
        )
        for person in np.flatnonzero(picture == number):
            flat = (
                labels["joints_camera_m"][person][list(KEYPOINT_TO_JOINT)] @ labels["K"][number].T
            )
            draw_person(
                tile,
                scale * (flat[:, :2] / np.maximum(flat[:, 2:], 1e-6) + 0.5) - 0.5,
                state[person],
            )

        tiles.append(tile)

    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)

    return np.vstack([np.hstack(tiles[k : k + columns]) for k in range(0, len(tiles), columns)])


def draw_person(image: np.ndarray, keypoints_px: np.ndarray, state: np.ndarray) -> None:
    """Draw keypoints (14, 2) into the image (H, W, 3) BGR; state (14,): index into COLOURS, the
    worse end colours a limb."""
    at = np.rint(np.clip(8 * keypoints_px, -1e6, 1e6)).astype(int)  # in eighths of a pixel
    for a, b in KEYPOINT_LIMBS:
        cv2.line(
            image,
            at[a].tolist(),
            at[b].tolist(),
            COLOURS[min(state[a], state[b])].tolist(),
            1,
            cv2.LINE_AA,
            shift=3,
        )

    for point, kind in zip(at, state, strict=True):
        cv2.circle(image, point.tolist(), 16, COLOURS[kind].tolist(), -1, cv2.LINE_AA, shift=3)
