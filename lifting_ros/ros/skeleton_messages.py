# SPDX-License-Identifier: Apache-2.0
"""Conversions of keypoint messages and hypotheses; ConversionError for an unusable message."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point
from std_msgs.msg import Header

from lifting_ros.conventions import to_keypoints
from lifting_ros.msg import (
    ForeignKeypoints2D,
    ForeignKeypoints2DArray,
    Hypothesis,
    HypothesisArray,
    Keypoint2D,
    Skeleton2DArray,
)
from lifting_ros.ros.conversions import ConversionError
from lifting_ros.types import Person, Skeleton2D


def hypotheses_to_array(persons: Sequence[Person], header: Header) -> HypothesisArray:
    """Every mode of every person that has a weight, best first."""
    message = HypothesisArray(header=header)
    for index, person in enumerate(persons):
        pose = person.skeleton_3d
        for joints, weight in zip(pose.hypotheses_m.tolist(), pose.hypothesis_weight.tolist()):
            if weight > 0:  # NaN: not used
                points = [Point(x=x, y=y, z=z) for x, y, z in joints]
                message.hypotheses.append(
                    Hypothesis(id=person.id, person=index, weight=weight, joints=points)
                )

    return message


def message_to_skeletons(message: Skeleton2DArray | ForeignKeypoints2DArray) -> list[Skeleton2D]:
    """The persons of a message, with 14 keypoints each; ConversionError for an unknown convention
    or a wrong number of keypoints."""
    if isinstance(message, Skeleton2DArray):
        return [_skeleton(person.score, *_arrays(person.keypoints)) for person in message.skeletons]

    return [_foreign(person, message.convention) for person in message.people]


def _foreign(person: ForeignKeypoints2D, convention: str) -> Skeleton2D:
    try:
        points, confidence, covariance = _arrays(person.keypoints)
        return _skeleton(person.score, *to_keypoints(points, confidence, convention, covariance))
    except ValueError as error:
        raise ConversionError(str(error)) from None


def _arrays(keypoints: Sequence[Keypoint2D]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (P, 2), confidence (P,) in [0, 1] and covariances (P, 2, 2).

    A keypoint that is not finite counts as not seen. A variance that is not positive, such as an
    unfilled field, counts as unknown.
    """
    # P, 6
    rows = np.array(
        [
            (k.x, k.y, k.confidence, k.covariance_xx, k.covariance_xy, k.covariance_yy)
            for k in keypoints
        ]
    ).reshape(-1, 6)
    usable = np.isfinite(rows[:, :3]).all(1)
    confidence = np.where(usable, np.clip(np.nan_to_num(rows[:, 2]), 0.0, 1.0), 0.0)
    known = (rows[:, [3, 5]] > 0).all(1)
    covariance = np.where(known[:, None], rows[:, [3, 4, 4, 5]], np.nan).reshape(-1, 2, 2)
    points = np.where(usable[:, None], rows[:, :2], np.nan)

    return points, confidence, covariance


def _skeleton(
    score: float, points: np.ndarray, confidence: np.ndarray, covariance: np.ndarray | None = None
) -> Skeleton2D:
    seen = points[confidence > 0]
    box = np.concatenate([seen.min(0), seen.max(0)]) if len(seen) else np.full(4, np.nan)
    covariance = np.full((len(points), 2, 2), np.nan) if covariance is None else covariance

    return Skeleton2D(
        points, confidence, covariance, box, float(np.clip(np.nan_to_num(score), 0.0, 1.0))
    )
