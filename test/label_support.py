# SPDX-License-Identifier: Apache-2.0
"""Labels of stick figures drawn on grey, as `lifting label` would have made them."""

from __future__ import annotations

import cv2
import numpy as np
from people import CAMERA, make_poses, see

from lifting_ros.research.labels.labels import QUALITY, Labels, cut_windows, validation_images


def make_labels(count: int = 18) -> Labels:
    joints, keypoints = see(make_poses(count))
    windows, points = [], []
    for person in keypoints:
        image = np.full((480, 640, 3), 128, np.uint8)
        for x, y in person:
            cv2.circle(image, (round(x), round(y)), 4, (255, 0, 0), -1)
        box = np.concatenate([person.min(0), person.max(0)])
        ((window, moved),) = cut_windows(image, [box], [person], [np.full(14, 0.9)])
        windows.append(window)
        points.append(moved)
    index = np.arange(count)
    quality = {name: np.linspace(0, 1, count) for name in QUALITY}
    toward = joints[:, 0] / np.linalg.norm(joints[:, 0], axis=-1, keepdims=True)
    covariance = np.tile(1e-3 * np.eye(3), (count, 17, 1, 1))
    return Labels(
        np.stack(windows),
        np.stack(points),
        joints - joints[:, :1],
        covariance,
        toward,
        index % 5 != 4,
        validation_images(index, count),
        index,
        tuple(f"{n}.png" for n in index),
        quality,
        {"sha256": {"weights": "0"}, "K": CAMERA.matrix.tolist()},
    )
