# SPDX-License-Identifier: Apache-2.0
"""A contact sheet of a pack of synthetic pictures: the pictures with the labelled skeletons drawn
in."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from lifting_ros.io.arrays import read_arrays, read_images
from lifting_ros.skeleton import KEYPOINT_LIMBS, KEYPOINT_TO_JOINT
from lifting_ros.viz.tiles import in_rows

COLOURS = np.array([[60, 60, 255], [0, 190, 255], [80, 230, 60]])
"""BGR of keypoints: hidden or outside, behind the own body, visible."""
ENLARGE_TO = 320
"""Small pictures are enlarged to about this side, px."""


def contact_sheet(
    folder,
    count: int = 24,
    columns: int = 6,
) -> np.ndarray:
    """(H, W, 3) uint8 BGR: the first pictures of a pack side by side.

    Keypoints are green where visible, orange behind the own body, and red where something else
    hides them or they are outside the picture.
    """
    expected = {
        "keypoints": ("M", 14, 3),
        "self_occluded": ("M", 14),
        "joints_camera_m": ("M", 17, 3),
        "K": ("N", 3, 3),
    }
    labels = read_arrays(Path(folder) / "labels.npz", expected)
    images = read_images(Path(folder) / "images.npy")[:count]
    picture = labels.get("picture", np.arange(len(labels["keypoints"])))
    labelled = labels["keypoints"][..., 2] > 0
    state = (1 + ~labels["self_occluded"]) * labelled

    tiles = []
    for number, image in enumerate(images):
        scale = max(ENLARGE_TO // max(image.shape[:2]), 1)
        bgr = image[:, :, ::-1]
        tile = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        for person in np.flatnonzero(picture == number):
            joints = labels["joints_camera_m"][person][list(KEYPOINT_TO_JOINT)]
            flat = joints @ labels["K"][number].T
            px = flat[:, :2] / np.maximum(flat[:, 2:], 1e-6)
            draw_person(tile, scale * (px + 0.5) - 0.5, state[person])

        tiles.append(tile)

    # Fill the last row
    empty = -len(tiles) % columns
    tiles += [np.zeros_like(tiles[0])] * empty

    return in_rows(tiles, columns)


def draw_person(
    image: np.ndarray,
    keypoints_px: np.ndarray,
    state: np.ndarray,
) -> None:
    """Draw keypoints (14, 2) into the image (H, W, 3) BGR.

    state (14,): index into COLOURS; a limb has the colour of its end with the lower state.
    """
    eighths = np.rint(np.clip(8 * keypoints_px, -1e6, 1e6)).astype(int)
    places = eighths.tolist()
    colours = COLOURS[state].tolist()

    for a, b in KEYPOINT_LIMBS:
        colour = COLOURS[min(state[a], state[b])].tolist()
        cv2.line(
            image,
            places[a],
            places[b],
            colour,
            1,
            cv2.LINE_AA,
            shift=3,
        )

    for place, colour in zip(places, colours, strict=True):
        cv2.circle(
            image,
            place,
            16,
            colour,
            -1,
            cv2.LINE_AA,
            shift=3,
        )
