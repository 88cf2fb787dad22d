# SPDX-License-Identifier: Apache-2.0
"""Keypoints of other detectors, converted to the 14 of this package.

Limbs are taken over by name; so is everything in Human3.6M's order. COCO, BODY_25 and MediaPipe
have no neck as the prior defines it, where the collarbones meet the spine, and no top of the head;
OpenPose's neck is the middle of the shoulders. Both are inferred where the points they need were
seen, with a covariance that the lifter weights them by, and are otherwise absent (confidence 0).

All points are pixels. Coordinates from 0 to 1, as MediaPipe's, have to be multiplied by the width
and height of the image first.
"""

from __future__ import annotations

import numpy as np

from lifting_ros.config import ConfigError
from lifting_ros.errors import DataError
from lifting_ros.skeleton import JOINT_NAMES, KEYPOINT_COUNT, KEYPOINT_NAMES, KEYPOINT_TO_JOINT

_COCO = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
_BODY_25 = (
    "nose",
    "mid_shoulder",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "mid_hip",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_eye",
    "left_eye",
    "right_ear",
    "left_ear",
    "left_big_toe",
    "left_small_toe",
    "left_heel",
    "right_big_toe",
    "right_small_toe",
    "right_heel",
)
_MEDIAPIPE = (
    "nose",
    "left_eye_inner",
    "left_eye",
    "left_eye_outer",
    "right_eye_inner",
    "right_eye",
    "right_eye_outer",
    "left_ear",
    "right_ear",
    "mouth_left",
    "mouth_right",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_pinky",
    "right_pinky",
    "left_index",
    "right_index",
    "left_thumb",
    "right_thumb",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
    "left_heel",
    "right_heel",
    "left_foot_index",
    "right_foot_index",
)
_AS_KEYPOINTS = dict(
    zip((JOINT_NAMES[joint] for joint in KEYPOINT_TO_JOINT), KEYPOINT_NAMES, strict=True)
)
"""Name of the keypoint that observes a joint: the thorax is the neck."""

CONVENTIONS: dict[str, tuple[str, ...]] = {
    "lifting14": KEYPOINT_NAMES,
    "coco17": _COCO,
    "body25": _BODY_25,
    "mediapipe33": _MEDIAPIPE,
    "human36m17": tuple(_AS_KEYPOINTS.get(name, name) for name in JOINT_NAMES),
}
"""Names of the points of each convention, in its order."""

# Lengths below are divided by the person's size in the image: the larger of the trunk, from hips to
# shoulders, and the width of the shoulders.

NECK_STD = 0.08
"""Standard deviation (std) of the neck from the middle of the shoulders, per coordinate. Motion
capture places it from a tenth above to a tenth below."""

EARS_RISE = 0.5
"""Distance of the top of the head from the ears, divided by that of the ears from the shoulders."""

EARS_STD = 0.08
"""Standard deviation of the top of the head, if both ears were seen."""

EAR_STD = 0.1
"""Standard deviation of the top of the head, if one ear was seen."""

FACE_RISE = 0.25
"""Distance of the top of the head from the eyes or the nose along the trunk, divided by the length
of the trunk; used if no ear was seen."""

FACE_STD = 0.12
"""Standard deviation of the top of the head, if no ear was seen."""


def to_keypoints(
    points: np.ndarray,
    confidence: np.ndarray,
    convention: str,
    covariance_px2: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Points of a convention as keypoints.

    points: (..., P, 2) pixels; confidence: (..., P), 0 where not seen; covariance_px2:
    (..., P, 2, 2) if known.

    Returns keypoints_px (..., 14, 2), confidence (..., 14) and covariances (..., 14, 2, 2). Absent
    keypoints are NaN with confidence 0. A covariance of NaN is chosen by the lifter, by confidence;
    None stands for covariances that are all NaN.

    ConfigError for an unknown convention; DataError for another number of points.
    """
    names = point_names(convention)
    points = np.asarray(points, np.float64)
    confidence = np.asarray(confidence, np.float64)
    _check_shapes(points, confidence, convention)

    seen = np.isfinite(points).all(-1) & (confidence > 0)  # false for NaN
    points = np.where(seen[..., None], points, np.nan)
    confidence = np.where(seen, confidence, 0.0)

    # Points that are keypoints
    shape = points.shape[:-2]
    keypoints = np.full((*shape, KEYPOINT_COUNT, 2), np.nan)
    certain = np.zeros((*shape, KEYPOINT_COUNT))
    covariance = np.full((*shape, KEYPOINT_COUNT, 2, 2), np.nan)

    common = [name for name in KEYPOINT_NAMES if name in names]
    own = [names.index(name) for name in common]
    into = [KEYPOINT_NAMES.index(name) for name in common]
    keypoints[..., into, :] = points[..., own, :]
    certain[..., into] = confidence[..., own]
    if covariance_px2 is not None:
        known = np.asarray(covariance_px2, np.float64)
        covariance[..., into, :, :] = known[..., own, :, :]

    # Keypoints that are inferred
    person = _Person(names, points, confidence)
    for name, infer in (("neck", _infer_neck), ("head_top", _infer_head_top)):
        if name not in names:
            k = KEYPOINT_NAMES.index(name)
            place, sure, std = infer(person)
            keypoints[..., k, :] = place
            certain[..., k] = sure
            covariance[..., k, :, :] = np.square(std)[..., None, None] * np.eye(2)

    if np.isnan(covariance).all():
        return keypoints, certain, None

    return keypoints, certain, covariance


def _check_shapes(points: np.ndarray, confidence: np.ndarray, convention: str) -> None:
    count = len(CONVENTIONS[convention])
    if points.shape[-2:] != (count, 2) or confidence.shape != points.shape[:-1]:
        raise DataError(
            f"{convention}: expected {count} points, (..., {count}, 2) and (..., {count}), "
            f"got {points.shape} and {confidence.shape}"
        )


class _Person:
    """Points by name."""

    def __init__(self, names: tuple[str, ...], points: np.ndarray, confidence: np.ndarray):
        self._names = names
        self._points = points
        self._confidence = confidence

    def middle(self, *names: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean (..., 2) of points, and their least confidence (...); NaN and 0 unless all are
        seen."""
        index = [self._names.index(name) for name in names]
        return self._points[..., index, :].mean(-2), self._confidence[..., index].min(-1)

    def shoulders(self) -> tuple[np.ndarray, np.ndarray]:
        """Middle of the shoulders (..., 2), and its confidence (...)."""
        return self.middle("left_shoulder", "right_shoulder")

    def trunk(self) -> tuple[np.ndarray, np.ndarray]:
        """Vector (..., 2) from the hips to the shoulders, and its confidence (...)."""
        shoulders, shoulders_sure = self.shoulders()
        hips, hips_sure = self.middle("left_hip", "right_hip")
        return shoulders - hips, np.minimum(shoulders_sure, hips_sure)

    def size(self) -> np.ndarray:
        """The larger of the trunk's length and the shoulders' width (...), pixels; NaN where
        neither is known."""
        trunk, _ = self.trunk()
        left, _ = self.middle("left_shoulder")
        right, _ = self.middle("right_shoulder")
        return np.fmax(np.linalg.norm(trunk, axis=-1), np.linalg.norm(left - right, axis=-1))


def _infer_neck(person: _Person) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Position (..., 2), confidence (...) and standard deviation (...), pixels, of the neck: the
    middle of the shoulders."""
    middle, sure = person.shoulders()
    return middle, sure, NECK_STD * person.size()


def _infer_head_top(person: _Person) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Position (..., 2), confidence (...) and standard deviation (...), pixels, of the top of the
    head: from the ears, else one ear, else the eyes, else the nose."""
    shoulders, shoulders_sure = person.shoulders()
    trunk, trunk_sure = person.trunk()
    size = person.size()

    place = np.full_like(shoulders, np.nan)
    certain = np.zeros_like(shoulders_sure)
    std = np.full_like(size, np.nan)

    # Best guess first; a later one is used only where the earlier ones were not seen
    guesses = (
        (("left_ear", "right_ear"), EARS_STD),
        (("left_ear",), EAR_STD),
        (("right_ear",), EAR_STD),
        (("left_eye", "right_eye"), FACE_STD),
        (("nose",), FACE_STD),
    )
    for names, guess_std in guesses:
        face, face_sure = person.middle(*names)
        if names[0].endswith("ear"):
            beyond = EARS_RISE * (face - shoulders)
            sure = np.minimum(face_sure, shoulders_sure)
        else:
            beyond = FACE_RISE * trunk
            sure = np.minimum(face_sure, trunk_sure)

        better = (certain == 0) & (sure > 0)
        place[better] = (face + beyond)[better]
        certain[better] = sure[better]
        std[better] = guess_std * size[better]

    return place, certain, std


def point_names(convention: str) -> tuple[str, ...]:
    """Names of a convention's points; ConfigError where it is unknown."""
    if convention not in CONVENTIONS:
        expected = ", ".join(CONVENTIONS)
        raise ConfigError(f"convention: expected one of {expected}, got {convention!r}")

    return CONVENTIONS[convention]
