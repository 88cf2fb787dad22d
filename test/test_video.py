# SPDX-License-Identifier: Apache-2.0
"""Which frames of a stream are detected and which followed, and that following loses nobody."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from walkers import (
    WalkersEstimator,
    crossing,
    frames_of,
    lift,
    number_of,
    numbered_image,
    straight,
    walk,
)

from lifting_ros.detection.detector import DetectorConfig
from lifting_ros.estimator import Estimate, EstimatorConfig, ImageError
from lifting_ros.tracking import tracking
from lifting_ros.tracking.tracking import SETTLED_HITS, Tracker, TrackerConfig
from lifting_ros.types import Person
from lifting_ros.video import (
    LONGEST_UNSEARCHED_S,
    SEARCH_S,
    SURE_MARGIN,
    VideoEstimator,
    add_seconds,
)

FPS = 30.0
SEARCH_FRAMES = 5
"""Frames at that rate after which the result of a search counts."""


@pytest.fixture(autouse=True)
def settled_at_once(monkeypatch):
    """Persons are followed from their second frame on, so that few frames are enough."""
    monkeypatch.setattr(tracking, "SETTLED_HITS", 1)


def stamp(frame: int, fps: float = FPS) -> int:
    return 1 + round(frame * 1e9 / fps)


def config(every: int) -> EstimatorConfig:
    return EstimatorConfig(detector=DetectorConfig(every=every))


def walker(start=(-1.0, 4.0), end=(1.0, 4.0), frames: int = 40, seed: int = 0) -> list[Person]:
    """Somebody who walks along a line, in each frame."""
    return lift(walk(straight(start, end, frames / FPS, FPS), FPS), np.random.default_rng(seed))


def play(frames, every: int, tracking: TrackerConfig | None = None, fps: float = FPS):
    """The estimator, and the tracked persons of each frame."""
    estimator = WalkersEstimator(frames, config(every))
    return estimator, tracked_by(estimator, tracking, fps)


def tracked_by(estimator, tracking: TrackerConfig | None = None, fps: float = FPS):
    """The tracked persons of each frame of the estimator."""
    frames = estimator.frames
    tracker = Tracker(tracking)
    video = VideoEstimator(estimator, tracker)
    tracked = []
    for number in range(len(frames)):
        estimate = video.estimate(stamp(number, fps), numbered_image(number))
        (frame,) = tracker.update(stamp(number, fps), estimate.persons)
        tracked.append(frame.persons)
    video.close()
    return tracked


def scored(person: Person, score: float) -> Person:
    return replace(person, skeleton_2d=replace(person.skeleton_2d, score=score))


def identical(first: Person, second: Person) -> bool:
    """Whether all numbers of two persons are the same, bit by bit."""
    values = [
        (p.id, p.age_s, p.skeleton_3d.joints_m.tobytes(), p.velocity_mps.tobytes())
        for p in (first, second)
    ]
    return values[0] == values[1]


@pytest.mark.parametrize("every", [2, 3, 5, 10])
def test_every_nth_frame_is_searched_and_nobody_waits_for_it(every):
    estimator, tracked = play([[person] for person in walker()], every)
    assert estimator.detected == [0] and estimator.followed == list(range(1, 40))
    first, second, *_ = estimator.searched
    assert (first, second - first) == (every, max(every, SEARCH_FRAMES))
    assert set(np.diff(estimator.searched)) == {second - first}
    assert {p.id for persons in tracked for p in persons} == {1}


def test_who_has_just_come_is_detected(monkeypatch):
    monkeypatch.setattr(tracking, "SETTLED_HITS", SETTLED_HITS)
    estimator, _ = play([[person] for person in walker()], 10)
    assert estimator.detected[: SETTLED_HITS + 1] == [0, 1, 2, 3, 4]
    assert estimator.searched == [14, 24, 34]


def test_every_image_is_detected_where_every_is_one():
    """As without a stream: the same calls, the same persons."""
    frames, _ = frames_of(crossing(np.random.default_rng(3), 3), np.random.default_rng(3))
    estimator, tracked = play(frames, every=1)
    assert estimator.detected == list(range(len(frames)))
    assert estimator.followed == estimator.searched == []
    tracker = Tracker()
    for number, persons in enumerate(frames):
        (plain,) = tracker.update(stamp(number), persons)
        assert all(map(identical, plain.persons, tracked[number]))


def test_the_same_frames_give_the_same_answers():
    frames, _ = frames_of(crossing(np.random.default_rng(5), 3), np.random.default_rng(5))
    first, one = play(frames, every=5)
    second, two = play(frames, every=5)
    assert first.detected == second.detected and first.followed
    assert all(all(map(identical, a, b)) for a, b in zip(one, two, strict=True))


class Slow(WalkersEstimator):
    """The same, whose searches end only when the answer is waited for, or `patience_s` later."""

    patience_s = 0.1

    def __init__(self, frames, config):
        super().__init__(frames, config)
        self._never = threading.Event()

    def detect(self, image):
        self._never.wait(self.patience_s)
        return super().detect(image)


def test_how_long_a_search_takes_changes_nothing():
    other = walker((1.5, 5.0), (1.4, 5.0), frames=30, seed=1)
    frames = [
        [person, other[k]] if k >= 7 else [person]
        for k, person in enumerate(walker((-1.5, 4.0), (-1.0, 4.0), frames=30))
    ]
    fast, one = play(frames, every=5)
    slow = Slow(frames, config(5))
    two = tracked_by(slow)
    assert (fast.detected, fast.searched) == (slow.detected, slow.searched)
    assert all(all(map(identical, a, b)) for a, b in zip(one, two, strict=True))


def test_image_may_be_overwritten_after_the_call():
    slow = Slow([[person] for person in walker()], config(5))
    tracker = Tracker()
    video = VideoEstimator(slow, tracker)
    image = numbered_image(0)
    for number in range(20):
        image[:] = numbered_image(number)
        tracker.update(stamp(number), video.estimate(stamp(number), image).persons)
        image[:] = 255
    video.close()
    assert slow.searched == [5, 10, 15]


def test_whom_a_search_does_not_see_is_detected():
    """A crop may go on finding somebody in clothes on a chair; the detector decides."""

    class Blind(WalkersEstimator):
        def detect(self, image):
            found = super().detect(image)
            return [] if number_of(image) == 10 else found

    estimator = Blind([[person] for person in walker()], config(5))
    tracked_by(estimator)
    assert estimator.detected == [0, 10 + SEARCH_FRAMES]
    again = 10 + SEARCH_FRAMES
    assert estimator.searched[:3] == [5, 10, again + 5]


def test_failure_of_a_search_is_that_of_the_frame():
    class Broken(WalkersEstimator):
        def detect(self, image):
            raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        tracked_by(Broken([[person] for person in walker()], config(5)))


@pytest.mark.parametrize("every", [2, 5, 10])
@pytest.mark.parametrize("enters", [11, 12, 13, 14, 15])
def test_who_enters_is_found_after_the_next_search(every, enters):
    other = walker((1.5, 5.0), (1.4, 5.0), seed=1)
    frames = [
        [person, other[k]] if k >= enters else [person]
        for k, person in enumerate(walker((-1.5, 4.0), (-1.0, 4.0)))
    ]
    _, tracked = play(frames, every)
    found = next(k for k, persons in enumerate(tracked) if len(persons) == 2)
    period = max(every, SEARCH_FRAMES)
    assert enters + SEARCH_FRAMES <= found < enters + period + SEARCH_FRAMES


@pytest.mark.parametrize("fps", [1.5, 3.0, 5.0, 10.0, 60.0])
def test_who_enters_waits_no_longer_at_another_frame_rate(fps):
    """And followed frames do not wait for the detector."""
    enters = 15
    other = walker((1.5, 5.0), (1.4, 5.0), seed=1)
    frames = [
        [person, other[k]] if k >= enters else [person]
        for k, person in enumerate(walker((-0.2, 4.0), (0.2, 4.0)))
    ]
    estimator, tracked = play(frames, every=1000, fps=fps)
    found = next(k for k, persons in enumerate(tracked) if len(persons) == 2)
    assert found - enters <= np.ceil(fps * LONGEST_UNSEARCHED_S) + np.ceil(fps * SEARCH_S)
    assert set(estimator.detected) <= {0, *range(found, 40)}


def test_frames_far_apart_wait_for_the_detector():
    frames = [[person] for person in walker((-0.02, 4.0), (0.02, 4.0))]
    estimator, _ = play(frames, every=1000, fps=1.0)
    assert estimator.detected == list(range(40))


def test_who_is_lost_is_searched_in_the_same_frame():
    """And in every frame for as long as the tracker keeps the id."""
    person = walker()
    hidden = range(11, 21)
    frames = [[] if k in hidden else [person[k]] for k in range(40)]
    estimator, tracked = play(frames, every=10)
    assert 11 in estimator.followed and set(hidden) <= set(estimator.detected)
    assert 21 in estimator.detected and 22 not in estimator.detected
    assert {p.id for persons in tracked for p in persons} == {1}


def test_one_lost_of_two_is_searched_until_found():
    left = walker((-1.5, 4.0), (-1.0, 4.0))
    right = walker((1.5, 5.0), (1.4, 5.0), seed=1)
    frames = [[left[k]] if 12 <= k < 17 else [left[k], right[k]] for k in range(40)]
    estimator, tracked = play(frames, every=10)
    assert set(range(12, 18)) <= set(estimator.detected)
    assert [len(persons) for persons in tracked] == [len(persons) for persons in frames]
    assert 18 not in estimator.detected


def test_an_unsure_person_is_detected():
    """In the frame in which the score is low, and in the next."""
    low = EstimatorConfig().min_person_score + SURE_MARGIN / 2
    frames = [[scored(p, low) if k == 12 else p] for k, p in enumerate(walker())]
    estimator, _ = play(frames, every=10)
    assert estimator.detected == [0, 12, 13]
    assert estimator.searched == [10, 23, 33]


def test_who_is_elsewhere_than_expected_is_detected():
    """A crop that finds somebody else's keypoints, far from where the track goes."""
    still = walker((0.0, 4.0), (0.01, 4.0))
    moved = walker((0.5, 4.0), (0.51, 4.0))
    frames = [[still[k]] if k < 12 else [moved[k]] for k in range(30)]
    estimator, _ = play(frames, every=10)
    assert 12 in estimator.followed and 12 in estimator.detected


def test_who_is_narrow_for_a_step_is_not_elsewhere():
    """Seen from the side, a person who walks is at times half as wide as a moment before."""

    def narrow(person: Person, share: float) -> Person:
        skeleton = person.skeleton_2d
        middle = skeleton.box_px.reshape(2, 2).mean(0)
        factor = np.array([share, 1.0])
        points = middle + factor * (skeleton.keypoints_px - middle)
        box = np.concatenate([points.min(0), points.max(0)])
        return replace(person, skeleton_2d=replace(skeleton, keypoints_px=points, box_px=box))

    still = walker((0.0, 4.0), (0.01, 4.0))
    frames = [[narrow(still[k], 0.3 if k == 12 else 1.0)] for k in range(30)]
    estimator, _ = play(frames, every=10)
    assert estimator.detected == [0]


def test_people_close_to_each_other_are_detected():
    left = walker((-1.5, 4.0), (1.5, 4.0), frames=60)
    right = walker((1.5, 5.0), (-1.5, 5.0), frames=60, seed=1)
    estimator, _ = play([list(pair) for pair in zip(left, right)], every=1000)
    assert set(range(29, 35)) <= set(estimator.detected)
    assert set(range(29, 35)).isdisjoint(estimator.followed)
    assert len(estimator.followed) > 30


@pytest.mark.parametrize("count", [2, 3])
def test_crossing_people_keep_their_ids(count):
    """Not more ids in all than with detection in every image."""

    def ids(every: int) -> int:
        total = 0
        for seed in range(4):
            rng = np.random.default_rng(seed)
            frames, _ = frames_of(crossing(rng, count), rng, alarms=0.0)
            estimator, tracked = play(frames, every)
            assert every == 1 or estimator.followed
            total += len({p.id for persons in tracked for p in persons})
        return total

    assert ids(every=5) <= ids(every=1)


def test_another_size_of_the_image_is_detected():
    frames = [[person] for person in walker()]
    estimator = WalkersEstimator(frames, config(10))
    tracker = Tracker()
    video = VideoEstimator(estimator, tracker)
    for number in range(8):
        size = (8, 8) if number < 5 else (16, 8)
        persons = video.estimate(stamp(number), numbered_image(number, size)).persons
        tracker.update(stamp(number), persons)
    assert estimator.detected == [0, 5]


@pytest.mark.parametrize("jump_s", [1.0, -0.1, -100.0])
def test_a_jump_in_time_is_detected(jump_s):
    frames = [[person] for person in walker()]
    estimator = WalkersEstimator(frames, config(1000))
    tracker = Tracker()
    video = VideoEstimator(estimator, tracker)
    for number in range(8):
        time_ns = 10**12 + stamp(number) + (round(1e9 * jump_s) if number >= 5 else 0)
        persons = video.estimate(time_ns, numbered_image(number)).persons
        tracker.update(time_ns, persons)
    assert estimator.detected == [0, 5]


def test_without_tracking_every_image_is_detected():
    frames = [[person] for person in walker()]
    estimator, _ = play(frames, every=10, tracking=TrackerConfig(enabled=False))
    assert estimator.detected == list(range(40)) and not estimator.followed


def test_every_can_change_between_images():
    frames = [[person] for person in walker()]
    estimator = WalkersEstimator(frames, config(10))
    tracker = Tracker()
    video = VideoEstimator(estimator, tracker)
    for number in range(12):
        estimator.config = config(10 if number < 6 else 2)
        persons = video.estimate(stamp(number), numbered_image(number)).persons
        tracker.update(stamp(number), persons)
    video.close()
    assert estimator.detected == [0] and estimator.searched == [6, 6 + SEARCH_FRAMES]


def test_an_estimate_says_whether_it_was_detected():
    frames = [[person] for person in walker()]
    estimator = WalkersEstimator(frames, config(3))
    tracker = Tracker()
    video = VideoEstimator(estimator, tracker)
    said = []
    for number in range(6):
        estimate = video.estimate(stamp(number), numbered_image(number))
        tracker.update(stamp(number), estimate.persons)
        said.append(estimate.detected)
    assert said == [True] + [False] * 5


def test_time_of_a_failed_following_counts():
    estimate = add_seconds(Estimate((), {"detect": 1.0, "network": 2.0}), {"network": 0.5})
    assert estimate.seconds == {"detect": 1.0, "network": 2.5} and estimate.detected


def test_wrong_image_is_one_line():
    video = VideoEstimator(WalkersEstimator([], config(5)), Tracker())
    with pytest.raises(ImageError, match="^image: expected"):
        video.estimate(1, np.zeros((4, 4), np.uint8))
