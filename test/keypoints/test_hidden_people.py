# SPDX-License-Identifier: Apache-2.0
"""People who are hidden in an image leave nothing of themselves, and the rest as it was."""

import numpy as np

from lifting_ros.keypoints.hidden_people import without
from lifting_ros.skeleton import KEYPOINT_LIMBS
from lifting_ros.types import Skeleton2D

STANDING_PX = np.array(
    [
        [100, 20],
        [100, 50],
        [80, 55],
        [72, 90],
        [68, 125],
        [120, 55],
        [128, 90],
        [132, 125],
        [88, 120],
        [86, 170],
        [85, 220],
        [112, 120],
        [114, 170],
        [115, 220],
    ],
    float,
)


def standing(confidence=1.0) -> Skeleton2D:
    return Skeleton2D(
        STANDING_PX,
        np.broadcast_to(confidence, 14).astype(float),
        np.tile(np.eye(2), (14, 1, 1)),
        np.concatenate([STANDING_PX.min(0), STANDING_PX.max(0)]),
        0.9,
    )


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (260, 200, 3)).astype(np.uint8)


def test_every_limb_and_the_head_get_the_mean_colour():
    image = picture()
    hidden = without(image, [standing()])
    colour = image.mean((0, 1)).round()
    on_limbs = [
        STANDING_PX[first] + amount * (STANDING_PX[second] - STANDING_PX[first])
        for first, second in KEYPOINT_LIMBS
        for amount in (0.0, 0.3, 0.7, 1.0)
    ]
    for x, y in np.round([*on_limbs, [100, 90]]).astype(int):  # and the middle of the trunk
        assert (hidden[y, x] == colour).all()


def test_the_rest_and_the_image_itself_stay():
    image = picture()
    before = image.copy()
    hidden = without(image, [standing()])
    assert (image == before).all()
    assert (hidden[:, :40] == image[:, :40]).all() and (hidden[:, 160:] == image[:, 160:]).all()
    changed = (hidden != image).any(-1).mean()
    assert 0.1 < changed < 0.4
    assert (without(image, []) == image).all()


def test_what_is_not_seen_hides_nothing():
    confidence = np.ones(14)
    confidence[[9, 10]] = 0.05  # a knee and its ankle
    image = picture()
    hidden = without(image, [standing(confidence)])
    assert (hidden[200:, 70:92] == image[200:, 70:92]).all()
    assert (hidden[205, 115] != image[205, 115]).any()
