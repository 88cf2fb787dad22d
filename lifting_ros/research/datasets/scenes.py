# SPDX-License-Identifier: Apache-2.0
"""Scenes that the person detector is measured on: rendered crowds whose every person is known,
photographs with one labelled person, and pictures without people.

In a photograph only the surroundings of the labelled person are known; `known` says where somebody
found is a false alarm.
"""

from __future__ import annotations

import numpy as np

from lifting_ros.research.datasets.scene_parts import Scene, labelled_scene, rectangle

PHOTO_REACH = {"lspet": 0.25, "street": 0.25, "gym": 1.0, "people": 0.25, "scenes": 0.25}
"""How far around the labelled person, in sides of its box, a photo of a set is known to show nobody
else."""
LEAST_SEEN = 0.3
"""Share of a person that must be seen for it to be one to find."""


def crowd_scene(image: np.ndarray, keypoints: np.ndarray, seen: np.ndarray) -> Scene:
    """A picture of which everything is known: keypoints (M, 14, 3) of all persons, of which a share
    `seen` (M,) is seen.

    Boxes take hidden keypoints too, so that a person does not change its size behind a table.
    """
    everything = keypoints.copy()
    everything[..., 2] = 1

    return labelled_scene(image, everything, seen >= LEAST_SEEN, np.ones(image.shape[:2], bool))


def empty_scene(image: np.ndarray) -> Scene:
    """A picture in which nobody is."""
    return Scene(image, np.zeros((0, 4)), np.zeros((0, 14, 3)), np.ones(image.shape[:2], bool))


def surroundings(box: np.ndarray, size: tuple[int, int], reach: float) -> np.ndarray:
    """Where a photograph is known to hold nobody else: within `reach` box sides of the labelled
    person."""
    longest_side = max(box[2:] - box[:2])
    margin = reach * longest_side
    wider = box + np.array([-margin, -margin, margin, margin])
    return rectangle(wider, size)
