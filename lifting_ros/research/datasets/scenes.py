# SPDX-License-Identifier: Apache-2.0
"""Scenes to measure the person detector: rendered crowds, of which all persons are known,
photographs with one labelled person, and pictures without people.

In a photograph only the surroundings of the labelled person are known; `Scene.known` marks where a
detection without a person is a false alarm.
"""

from __future__ import annotations

import numpy as np

from lifting_ros.research.datasets.scene_parts import Scene, labelled_scene, rectangle

PHOTO_REACH = {"lspet": 0.25, "street": 0.25, "gym": 1.0, "people": 0.25, "scenes": 0.25}
"""Distance around the labelled person, in sides of its box, within which the photographs of a set
show nobody else."""

LEAST_SEEN = 0.3
"""Minimum visible share of a person that is to be found."""


def crowd_scene(
    image: np.ndarray,
    keypoints: np.ndarray,
    seen: np.ndarray,
) -> Scene:
    """A scene with the keypoints (M, 14, 3) of all persons; seen: (M,) their visible share.

    The boxes include hidden keypoints, so that a table does not change the size of a person.
    """
    everything = keypoints.copy()
    everything[..., 2] = 1
    known = np.ones(image.shape[:2], bool)
    return labelled_scene(image, everything, seen >= LEAST_SEEN, known)


def empty_scene(image: np.ndarray) -> Scene:
    """A scene without people."""
    boxes = np.zeros((0, 4))
    keypoints = np.zeros((0, 14, 3))
    known = np.ones(image.shape[:2], bool)
    return Scene(image, boxes, keypoints, known)


def surroundings(
    box: np.ndarray,
    size: tuple[int, int],
    reach: float,
) -> np.ndarray:
    """(H, W) bool: the surroundings of the labelled person, within `reach` sides of its box, where
    a photograph shows nobody else. size: (W, H)."""
    longest_side = max(box[2:] - box[:2])
    margin = reach * longest_side
    wider = box + np.array([-margin, -margin, margin, margin])
    return rectangle(wider, size)
