# SPDX-License-Identifier: Apache-2.0
"""Photographs cut so that only a part of the labelled person is left in them."""

from __future__ import annotations

import numpy as np

from lifting_ros.research.datasets.keypoints2d import keypoint_box

LEFT = (4, 8)
"""Least and largest number of labelled keypoints that are left."""

_TRIES = 60
_LEAST_SIDE_PX = 60
_TWO_CUTS = 0.3
"""Share of the windows that two sides are cut off from, not one."""


def half_seen(
    image: np.ndarray,
    keypoints: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray] | None:
    """A part of an image (H, W, 3) whose borders cut the person off, and the keypoints (14, 3) in
    its pixels, with label 0 where they are cut off; None where no such part was drawn.

    keypoints: (14, 3) x, y in px and more than 0 where labelled.
    """
    labelled = keypoints[:, 2] > 0
    if labelled.sum() < LEFT[1]:
        return None

    points = keypoints[:, :2]
    for _ in range(_TRIES):
        left, top, right, bottom = _window(image.shape, keypoint_box(keypoints), rng)
        if min(right - left, bottom - top) < _LEAST_SIDE_PX:
            continue

        inside = (points >= [left, top]) & (points < [right - 1, bottom - 1])
        seen = labelled & inside.all(1)
        if not LEFT[0] <= seen.sum() <= LEFT[1]:
            continue

        moved = np.where(seen[:, None], keypoints - [left, top, 0], 0)
        part = image[top:bottom, left:right]
        return np.ascontiguousarray(part), moved

    return None


def _window(
    shape: tuple[int, ...],
    box: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Random left, top, right and bottom (4,) of a part, of which one or two run through the box
    (4,) of the person."""
    window = np.array([0, 0, shape[1], shape[0]])
    cuts = 1 + (rng.random() < _TWO_CUTS)
    for side in rng.choice(4, cuts, replace=False):
        axis = side % 2
        share = rng.uniform(0.1, 0.9)
        window[side] = box[axis] + share * (box[axis + 2] - box[axis])

    return window
