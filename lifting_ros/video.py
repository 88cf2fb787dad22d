# SPDX-License-Identifier: Apache-2.0
"""Persons in the images of one stream: detected in some frames, followed in those between.

The detector costs about as much as the keypoints of one person. In a followed frame it does not
run: the crops are where the tracker expects the persons of the last frame. `VideoEstimator` says
which frames are detected. The choice depends on stamps and images alone, so the same frames give
the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lifting_ros.detection.detector import ImageSize, overlaps
from lifting_ros.estimator import Estimate, EstimatorConfig, PoseEstimator, check_image
from lifting_ros.geometry.camera import Camera
from lifting_ros.lifting.request import UP
from lifting_ros.tracking.tracking import Tracker
from lifting_ros.types import Detection, Person, Skeleton2D

LONGEST_FOLLOWED_S = 0.5
"""Time after which the detector runs again, however few frames have passed: people who enter do not
wait longer at a low frame rate."""

SURE_MARGIN = 0.02
"""A person whose score is at least this much above `min_person_score` is sure."""

FOLLOWED_SCORE = 0.65
"""Stands for the detector's score of a person who is followed, whom the detector has not seen in
this frame: the median of people in photographs held out of training. The person's own last score
would confirm itself."""

LEAST_OVERLAP = 0.5
"""Least overlap (IoU) of a person's box with the expected one."""

CROWDED_OVERLAP = 0.1
"""Persons whose expected boxes overlap more (IoU) are detected in every frame: the crop of one
shows the other."""


class VideoEstimator:
    """Estimates the persons in the images of one stream, with the help of its tracker.

    A frame is detected where nobody is expected in it, or

    - `detector.every` frames or LONGEST_FOLLOWED_S have passed since the last detection,
    - the size of the image has changed,
    - a frame of the last two seconds showed more persons than the last one,
    - somebody has come in the last frames, or was unsure in the last one,
    - two persons are close to each other,
    - or somebody is lost, unsure or elsewhere when followed; the same frame is then detected.
    """

    def __init__(self, estimator: PoseEstimator, tracker: Tracker):
        self.estimator = estimator
        self.tracker = tracker
        self._detected_ns = 0
        """Stamp of the last detected frame."""
        self._followed = 0
        """Frames followed since then."""
        self._size: ImageSize | None = None

    def estimate(
        self,
        stamp_ns: int,
        image: np.ndarray,
        camera: Camera | None = None,
        up: Sequence[float] | np.ndarray = UP,
        depth: np.ndarray | None = None,
    ) -> Estimate:
        """Find and lift every person in the next image of the stream; arguments and errors as in
        `PoseEstimator.estimate`.

        The persons are not tracked yet. The caller updates the tracker with them before the next
        image; a frame that the tracker drops as late is not to be given to this method.
        """
        check_image(image)
        seconds: dict[str, float] = {}

        # Follow
        expected = self._followable(stamp_ns, image.shape[1::-1])
        if expected:
            places = [Detection(skeleton.box_px, FOLLOWED_SCORE) for skeleton in expected]
            estimate = self.estimator.estimate(image, camera, up, depth, places)
            if self._are_found(expected, estimate.persons):
                self._followed += 1
                return estimate
            seconds = estimate.seconds

        # Detect
        self._detected_ns = stamp_ns
        self._followed = 0
        self._size = image.shape[1::-1]
        estimate = self.estimator.estimate(image, camera, up, depth)
        return add_seconds(estimate, seconds)

    def _followable(self, stamp_ns: int, size: ImageSize) -> list[Skeleton2D]:
        """The persons to follow into an image of `size`; none if it is to be detected."""
        every = self.estimator.config.detector.every
        passed_ns = stamp_ns - self._detected_ns
        is_due = self._followed + 1 >= every or passed_ns > 1e9 * LONGEST_FOLLOWED_S
        if is_due or size != self._size:
            return []
        if self.tracker.misses_somebody(stamp_ns) or self.tracker.has_somebody_new():
            return []

        expected = self.tracker.expected(stamp_ns)
        if not all(self._is_sure(skeleton) for skeleton in expected):
            return []
        if is_crowded(expected):
            return []

        return expected

    def _is_sure(self, skeleton: Skeleton2D) -> bool:
        """Whether a person's score is clearly high enough."""
        config = self.estimator.config
        return skeleton.score >= min(config.min_person_score + SURE_MARGIN, 1.0)

    def _are_found(self, expected: Sequence[Skeleton2D], persons: Sequence[Person]) -> bool:
        """Whether each expected person is found, surely and in its place."""
        if len(persons) < len(expected):
            return False

        boxes = np.stack([person.skeleton_2d.box_px for person in persons])
        in_place = all(
            overlaps(skeleton.box_px, boxes).max() >= LEAST_OVERLAP for skeleton in expected
        )
        return in_place and all(self._is_sure(person.skeleton_2d) for person in persons)


def detect_always(config: EstimatorConfig) -> EstimatorConfig:
    """The same, with the detector in every image: for those who must not miss anybody."""
    return replace(config, detector=replace(config.detector, every=1))


def add_seconds(estimate: Estimate, before: Mapping[str, float]) -> Estimate:
    """The estimate of a frame, with the time of the steps that ran before it."""
    seconds = dict(estimate.seconds)
    for step, value in before.items():
        seconds[step] = seconds.get(step, 0.0) + value

    return replace(estimate, seconds=seconds)


def is_crowded(skeletons: Sequence[Skeleton2D]) -> bool:
    """Whether the boxes of two persons overlap by more than CROWDED_OVERLAP."""
    boxes = np.array([skeleton.box_px for skeleton in skeletons])
    for index in range(1, len(boxes)):
        if overlaps(boxes[index], boxes[:index]).max() > CROWDED_OVERLAP:
            return True

    return False
