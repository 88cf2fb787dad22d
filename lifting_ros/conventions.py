# SPDX-License-Identifier: Apache-2.0
"""Keypoints of other detectors as the 14 of this package.

Limbs and, in Human3.6M's order, all of it are there by name. COCO, BODY_25 and MediaPipe know no
neck as the prior has it, where the collarbones meet the spine, and no top of the head: OpenPose's
neck is the middle of the shoulders. Both are inferred where what they need was seen, with a
covariance that says how well, and are absent (confidence 0) otherwise; the lifter weighs them by
it. Detectors that number pixels from 0 to 1, as MediaPipe does, are to be multiplied by the image's
width and height first: all points are pixels.
"""

from __future__ import annotations

import numpy as np

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
    zip((JOINT_NAMES[joint] for joint in KEYPOINT_TO_JOINT), KEYPOINT_NAMES)
)  # the thorax is the neck

CONVENTIONS: dict[str, tuple[str, ...]] = {
    "lifting14": KEYPOINT_NAMES,
    "coco17": _COCO,
    "body25": _BODY_25,
    "mediapipe33": _MEDIAPIPE,
    "human36m17": tuple(_AS_KEYPOINTS.get(name, name) for name in JOINT_NAMES),
}
"""Names of the points of each convention, in its order."""

NECK_STD = 0.08
"""Deviation of the neck, a coordinate, from the middle of the shoulders: sources of motion capture
put it a tenth above to one below."""
EARS_RISE, EARS_STD, EAR_STD = 0.5, 0.08, 0.1
"""How far the top of the head lies beyond the ears, over their distance from the shoulders; its
deviation, and that with one ear."""
FACE_RISE, FACE_STD = 0.25, 0.12
"""How far it lies above eyes and nose, over the trunk and along it, where no ear was seen; its
deviation."""
# deviations are over the larger of the trunk, shoulders to hips, and the shoulders' width, in the
# picture


def to_keypoints(
    points: np.ndarray,
    confidence: np.ndarray,
    convention: str,
    covariance_px2: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Points of a convention as keypoints_px (..., 14, 2), confidence (..., 14), and their
    covariances (..., 14, 2, 2) or None.

    points: (..., P, 2) pixels; confidence: (..., P), 0 where not seen; covariance_px2: (..., P, 2,
    2) where it is known. Keypoints without one have NaN, for the lifter to choose by confidence;
    None where all would. What is absent is NaN with confidence 0. ValueError in one line for a
    convention that is not known or another number of points.
    """
    names = point_names(convention)
    points, confidence = np.asarray(points, np.float64), np.asarray(confidence, np.float64)
    if points.shape[-2:] != (len(names), 2) or confidence.shape != points.shape[:-1]:
        wanted = f"{len(names)} points, (..., {len(names)}, 2) and (..., {len(names)})"
        raise ValueError(
            f"{convention}: expected {wanted}, got {points.shape} and {confidence.shape}"
        )
    seen = np.isfinite(points).all(-1) & (confidence > 0)  # false for NaN
    points, confidence = np.where(seen[..., None], points, np.nan), np.where(seen, confidence, 0.0)
    shape = points.shape[:-2]
    own = [names.index(name) for name in KEYPOINT_NAMES if name in names]
    into = [k for k, name in enumerate(KEYPOINT_NAMES) if name in names]
    keypoints, certain = (
        np.full((*shape, KEYPOINT_COUNT, 2), np.nan),
        np.zeros((*shape, KEYPOINT_COUNT)),
    )
    covariance = np.full((*keypoints.shape, 2), np.nan)
    keypoints[..., into, :], certain[..., into] = points[..., own, :], confidence[..., own]
    if covariance_px2 is not None:
        covariance[..., into, :, :] = np.asarray(covariance_px2, np.float64)[..., own, :, :]
    for name, infer in (("neck", _neck), ("head_top", _head_top)):
        if name not in names:
            k = KEYPOINT_NAMES.index(name)
            keypoints[..., k, :], certain[..., k], std = infer(_Person(names, points, confidence))
            covariance[..., k, :, :] = np.square(std)[..., None, None] * np.eye(2)
    return keypoints, certain, None if np.isnan(covariance).all() else covariance


class _Person:
    """Points by name."""

    def __init__(self, names: tuple[str, ...], points: np.ndarray, confidence: np.ndarray):
        self._names, self._points, self._confidence = names, points, confidence

    def middle(self, *names: str) -> tuple[np.ndarray, np.ndarray]:
        """Middle (..., 2) of points that are all seen, and the least of their confidences (...);
        NaN and 0 otherwise."""
        index = [self._names.index(name) for name in names]
        return self._points[..., index, :].mean(-2), self._confidence[..., index].min(-1)

    def shoulders(self) -> tuple[np.ndarray, np.ndarray]:
        return self.middle("left_shoulder", "right_shoulder")

    def trunk(self) -> tuple[np.ndarray, np.ndarray]:
        """From the hips to the shoulders (..., 2), and its confidence (...)."""
        (shoulders, there), (hips, here) = self.shoulders(), self.middle("left_hip", "right_hip")
        return shoulders - hips, np.minimum(there, here)

    def size(self) -> np.ndarray:
        """The larger of trunk and width of the shoulders, pixels (...); NaN where neither is seen."""
        left, right = (self.middle(side + "_shoulder")[0] for side in ("left", "right"))
        return np.fmax(
            np.linalg.norm(self.trunk()[0], axis=-1), np.linalg.norm(left - right, axis=-1)
        )


def _neck(person: _Person) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place, confidence and deviation of the neck: the middle of the shoulders."""
    return *person.shoulders(), NECK_STD * person.size()


def _head_top(person: _Person) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place, confidence and deviation of the top of the head, by the best of ears, one ear, eyes
    and nose that is seen."""
    (shoulders, there), (trunk, straight), size = person.shoulders(), person.trunk(), person.size()
    place, certain, std = (
        np.full_like(shoulders, np.nan),
        np.zeros_like(there),
        np.full_like(size, np.nan),
    )
    guesses = (
        (person.middle("left_ear", "right_ear"), EARS_STD),
        (person.middle("left_ear"), EAR_STD),
        (person.middle("right_ear"), EAR_STD),
        (person.middle("left_eye", "right_eye"), FACE_STD),
        (person.middle("nose"), FACE_STD),
    )
    for (face, seen), deviation in guesses:
        beyond = EARS_RISE * (face - shoulders) if deviation != FACE_STD else FACE_RISE * trunk
        least = np.minimum(seen, there if deviation != FACE_STD else straight)
        better = (certain == 0) & (least > 0)
        place[better], certain[better], std[better] = (
            (face + beyond)[better],
            least[better],
            deviation * size[better],
        )
    return place, certain, std


def point_names(convention: str) -> tuple[str, ...]:
    """Names of a convention's points; ValueError in one line where it is not known."""
    if convention not in CONVENTIONS:
        raise ValueError(
            f"convention: expected one of {', '.join(CONVENTIONS)}, got {convention!r}"
        )
    return CONVENTIONS[convention]
