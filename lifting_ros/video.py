# SPDX-License-Identifier: Apache-2.0
"""Persons in the images of one stream: detected in some frames, followed in those between.

The detector costs more than the keypoints of one person. A followed frame does not wait for it: the
crops are where the tracker expects the persons of the last frame, and the detector searches for
others in a thread of its own. `VideoEstimator` says which frames are detected. The choice depends
on stamps and images alone, so the same frames give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from lifting_ros.detection.detector import ImageSize, overlaps
from lifting_ros.estimator import Estimate, EstimatorConfig, PoseEstimator, check_image
from lifting_ros.geometry.camera import Camera
from lifting_ros.lifting.request import UP
from lifting_ros.tracking.tracking import Tracker
from lifting_ros.types import Detection, Person, Skeleton2D

LONGEST_UNSEARCHED_S = 0.35
"""Time since the last search after which a frame is searched, however few have passed: people who
enter do not wait longer at a low frame rate."""

LONGEST_FOLLOWED_S = 0.7
"""Time since the last search after which a frame is detected: it waits for the detector."""

SURE_MARGIN = 0.02
"""A person whose score is at least this much above `min_person_score` is sure."""

SEARCH_S = 0.15
"""Time from the stamp of a searched frame to the first frame in which the result counts: five
frames at 30 Hz, two at 10 Hz. It is fixed, so that results do not depend on how long a search
takes."""

FOUND_OVERLAP = 0.3
"""Least overlap (IoU) of a person's box with a detection that shows the same person."""

FOLLOWED_SCORE = 0.65
"""Stands for the detector's score of a person who is followed, whom the detector has not seen in
this frame: the median of people in photographs held out of training. The person's own last score
would confirm itself."""

LEAST_OVERLAP = 0.5
"""Least overlap (IoU) of a person's box with the expected one, both at least LEAST_ASPECT wide."""

LEAST_ASPECT = 0.4
"""Least ratio of the sides of a box that is compared with the expected one. Somebody who walks by
is a narrow box, whose width changes by half within a step."""

CROWDED_OVERLAP = 0.1
"""Persons whose expected boxes overlap more (IoU) are detected in every frame: the crop of one
shows the other."""


class _Search(NamedTuple):
    """The detector at work on a frame that was followed."""

    known: np.ndarray
    """(N, 4) boxes of the persons who were followed in it."""
    result: Future[list[Detection]]


class VideoEstimator:
    """Estimates the persons in the images of one stream, with the help of its tracker.

    A frame is detected where nobody is expected in it, or

    - `detector.every` is one, or nobody was searched for in the last LONGEST_FOLLOWED_S,
    - the size of the image has changed,
    - two frames of the last two seconds showed more persons than the last one,
    - somebody has come in the last frames, or was unsure in the last one,
    - two persons are close to each other,
    - a search has not seen somebody who is followed,
    - or somebody is lost, unsure or elsewhere when followed; the same frame is then detected.

    Every n-th followed frame (`detector.every`) is also searched: the detector runs beside the
    frames that follow. A search begins LONGEST_UNSEARCHED_S after the last one at the latest. Its
    result counts SEARCH_S after its own frame. People who are new in it get a crop.
    """

    def __init__(self, estimator: PoseEstimator, tracker: Tracker):
        self.estimator = estimator
        self.tracker = tracker
        self._searcher = ThreadPoolExecutor(1, "detector")
        self._search: _Search | None = None
        """The search whose result is still to be used."""
        self._searched_ns = 0
        """Stamp of the last frame that was detected or searched."""
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
            followed = [Detection(skeleton.box_px, FOLLOWED_SCORE, True) for skeleton in expected]
            places = followed + self._new(stamp_ns)
            estimate = self.estimator.estimate(image, camera, up, depth, places)
            if self._are_found(expected, estimate.persons):
                self._followed += 1
                if self._search is None and self._is_search_due(stamp_ns):
                    self._begin_search(stamp_ns, image, estimate.persons)
                return estimate
            seconds = estimate.seconds

        # Detect
        self._search = None
        self._searched_ns = stamp_ns
        self._followed = 0
        self._size = image.shape[1::-1]
        estimate = self.estimator.estimate(image, camera, up, depth)
        return add_seconds(estimate, seconds)

    def close(self) -> None:
        """Wait until a search that is under way has ended."""
        self._searcher.shutdown()

    def _followable(self, stamp_ns: int, size: ImageSize) -> list[Skeleton2D]:
        """The persons to follow into an image of `size`; none if it is to be detected."""
        passed_ns = stamp_ns - self._searched_ns
        is_due = self.estimator.config.detector.every == 1 or passed_ns > 1e9 * LONGEST_FOLLOWED_S
        if is_due or size != self._size:
            return []
        if self.tracker.misses_somebody(stamp_ns) or self.tracker.has_somebody_new():
            return []

        expected = self.tracker.expected(stamp_ns)
        if not all(self._is_sure(skeleton) for skeleton in expected):
            return []
        if is_crowded(expected) or self._has_lost_somebody(stamp_ns):
            return []

        return expected

    def _is_search_due(self, stamp_ns: int) -> bool:
        """Whether a frame that was followed is to be searched."""
        has_waited = stamp_ns - self._searched_ns >= 1e9 * LONGEST_UNSEARCHED_S
        return has_waited or self._followed >= self.estimator.config.detector.every

    def _begin_search(self, stamp_ns: int, image: np.ndarray, persons: Sequence[Person]) -> None:
        """Let the detector run on a copy of the image, which the caller may overwrite."""
        known = np.stack([person.skeleton_2d.box_px for person in persons])
        result = self._searcher.submit(self.estimator.detect, image.copy())
        self._search = _Search(known, result)
        self._searched_ns = stamp_ns
        self._followed = 0

    def _due_search(self, stamp_ns: int) -> _Search | None:
        """The search whose result counts from this frame on; None where there is none."""
        return self._search if stamp_ns - self._searched_ns >= 1e9 * SEARCH_S else None

    def _has_lost_somebody(self, stamp_ns: int) -> bool:
        """Whether a search has not seen a person who was followed."""
        search = self._due_search(stamp_ns)
        if search is None:
            return False

        boxes = _boxes(search.result.result())
        seen = [overlaps(box, boxes).max(initial=0.0) for box in search.known]
        return min(seen) < FOUND_OVERLAP

    def _new(self, stamp_ns: int) -> list[Detection]:
        """Those in the result of a search who were not followed; each result is used once."""
        search = self._due_search(stamp_ns)
        if search is None:
            return []

        found = search.result.result()
        boxes = _boxes(found)
        known = {int(overlaps(box, boxes).argmax()) for box in search.known}
        self._search = None
        return [detection for index, detection in enumerate(found) if index not in known]

    def _is_sure(self, skeleton: Skeleton2D) -> bool:
        """Whether a person's score is clearly high enough."""
        config = self.estimator.config
        return skeleton.score >= min(config.min_person_score + SURE_MARGIN, 1.0)

    def _are_found(self, expected: Sequence[Skeleton2D], persons: Sequence[Person]) -> bool:
        """Whether each expected person is found, surely and in its place."""
        if len(persons) < len(expected):
            return False

        boxes = np.stack([no_narrower(person.skeleton_2d.box_px) for person in persons])
        places = [no_narrower(skeleton.box_px) for skeleton in expected]
        in_place = all(overlaps(place, boxes).max() >= LEAST_OVERLAP for place in places)
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


def _boxes(detections: Sequence[Detection]) -> np.ndarray:
    """The boxes (N, 4) of detections."""
    return np.array([detection.box_px for detection in detections]).reshape(-1, 4)


def no_narrower(box: np.ndarray) -> np.ndarray:
    """A box (4,), its shorter side lengthened to LEAST_ASPECT of the longer one."""
    middle = (box[:2] + box[2:]) / 2
    sides = box[2:] - box[:2]
    half = np.maximum(sides, LEAST_ASPECT * sides.max()) / 2
    return np.concatenate([middle - half, middle + half])


def is_crowded(skeletons: Sequence[Skeleton2D]) -> bool:
    """Whether the boxes of two persons overlap by more than CROWDED_OVERLAP."""
    boxes = np.array([skeleton.box_px for skeleton in skeletons])
    for index in range(1, len(boxes)):
        if overlaps(boxes[index], boxes[:index]).max() > CROWDED_OVERLAP:
            return True

    return False
