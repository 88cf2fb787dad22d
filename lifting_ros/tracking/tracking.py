# SPDX-License-Identifier: Apache-2.0
"""Tracking: ids, velocities and smoothed joints of persons, from frame to frame.

The model. A person is 17 points that move with constant velocity and white-noise acceleration
(`kalman`): the root in the camera's frame, and 16 joints relative to it. They are kept apart
because the root's range is far less certain than the pose. A lifted point has the covariance R, but
most of its error is the same in every frame: the prior's idea of the body, and the depth that a
single camera does not see. So

    z_k = x_k + b + n_k,  n_k ~ N(0, s R_k) independent per frame,  b ~ N(0, (1 - s) R_k) a constant
    bias,  s: `new_share`, `root_new_share`

Frames measure y = x + b, which moves as x does. The filter tracks y with noise s R and has its
covariance P. x = y - b is known to P + B only, where B is the covariance of the bias. On the first
frame of a track that is s R + (1 - s) R = R, and B does not shrink however many frames follow.

Where R changes (a joint is hidden, the person turns), the bias of the estimate is a mean of the
frames' biases. Their correlation is unknown. For every correlation, the covariance of a mean is at
most the mean of the covariances, because a square is convex:

    B_k = (1 - g) B_k-1 + g (1 - s) R_k,  g the gain of the update, a number: mean of its three axes

Limb lengths are constants, filtered by the same formulae. Differences between frames do not contain
b: velocities have the covariance P, and persons are assigned to tracks (`association`) by P + s R,
far smaller than R. Keypoints are tracked in pixels in the same way. They decide the assignment
without a camera, and contribute to it with one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from lifting_ros.detection.detector import box_of_keypoints
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT, ROOT
from lifting_ros.tracking import kalman
from lifting_ros.tracking.association import assign, cost_at, costs
from lifting_ros.tracking.kalman import Motion
from lifting_ros.tracking.reidentify import Reidentifier
from lifting_ros.tracking.tracks import (
    Measured,
    Tracks,
    forget_pose,
    mix,
    tracked_person,
    update_limbs,
)
from lifting_ros.types import Person, Skeleton2D

LONGEST_S = 1e9
"""Longer than any recording."""

ACCELERATION_LASTS_S = 0.1
"""Correlation time of a person's acceleration. Times the squared acceleration, it is the spectral
density of the white noise."""

FIRST_RETENTION_S = 0.25
"""A track that is not seen is kept for this time plus the time that it was seen: most of what is
seen once is a false alarm. At a low rate the next frame comes later than that; the track is kept
until then."""

SEARCH_S = 2.0
"""Time for which somebody lost is missed; at most `retention_s`. With 1 s, one of two people who
cross twice reappeared unsearched."""

BLINK_FRAMES = 1
"""Frames that showed somebody who is not missed after that: nearly always a false alarm, for which
the detector would otherwise run for two seconds."""

UNSEEN_S = 1.0
"""Time for which the place of somebody lost is still predicted in `TrackedFrame.unseen`; at most
`retention_s`. The detector mostly misses people for a few frames."""

SETTLED_HITS = 5
"""Frames after which a new person is followed. By then the motion is known, and somebody who came
in from the side is mostly in view as a whole."""

LATE_IN_A_ROW = 10
"""Late frames in a row, each later than the one before, after which time itself has gone back."""

ROOT_SPEED_MPS = 1.0
"""Standard deviation (std) of the root's velocity before it is measured."""

JOINT_SPEED_MPS = 1.5
"""Standard deviation of a joint's velocity, relative to the root, before it is measured."""

ROOT_WEIGHT = 1.0
"""Weight of the root's cost in the assignment."""

JOINTS_WEIGHT = 1.0
"""Weight of the mean cost of the joints in the assignment."""

KEYPOINTS_WEIGHT = 3.0
"""Weight of the mean cost of the keypoints in the assignment."""

_IS_ROOT = np.arange(JOINT_COUNT) == ROOT
_POINT_WEIGHTS = np.where(_IS_ROOT, ROOT_WEIGHT, JOINTS_WEIGHT / (JOINT_COUNT - 1))
_PIXEL_WEIGHTS = np.ones(KEYPOINT_COUNT)


@dataclass(frozen=True)
class TrackerConfig:
    """Parameters of the tracking."""

    enabled: bool = field(
        default=True, metadata={"description": "give persons ids, velocities and smoother joints"}
    )
    smooth: bool = field(
        default=True,
        metadata={"description": "publish the filter's joints; false: those of each image alone"},
    )
    lag_s: float = field(
        default=0.0,
        metadata={
            "description": "delay of the output, in which later frames smooth it; 0: no delay",
            "unit": "s",
            "range": (0, LONGEST_S),
        },
    )
    retention_s: float = field(
        default=2.0,
        metadata={
            "description": "longest time for which a person out of sight keeps its id",
            "unit": "s",
            "range": (0.0, 60.0),
        },
    )
    reidentify_s: float = field(
        default=0.0,
        metadata={
            "description": (
                "longest time after which a person who comes back gets the same id, where brightly "
                "coloured clothes leave no doubt; 0: never"
            ),
            "unit": "s",
            "range": (0.0, 86400.0),
        },
    )
    coast_s: float = field(
        default=0.0,
        metadata={
            "description": "how long a person out of sight is still published, as predicted",
            "unit": "s",
            "range": (0.0, 60.0),
        },
    )
    min_hits: int = field(
        default=1,
        metadata={
            "description": "frames that show a person before it gets its id",
            "range": (1, 100),
        },
    )
    gate: float = field(
        default=5.0,
        metadata={
            "description": (
                "distance from the prediction, in standard deviations, beyond which it is "
                "another person"
            ),
            "range": (1.0, 100.0),
        },
    )
    root_acceleration_mps2: float = field(
        default=2.0,
        metadata={
            "description": "how persons accelerate (rms)",
            "unit": "m/s^2",
            "range": (0.01, 1000.0),
        },
    )
    joint_acceleration_mps2: float = field(
        default=4.0,
        metadata={
            "description": "how joints accelerate relative to the root (rms)",
            "unit": "m/s^2",
            "range": (0.01, 1000.0),
        },
    )
    root_new_share: float = field(
        default=0.05,
        metadata={
            "description": (
                "share of the root's covariance that is independent in each frame; the rest is "
                "a constant bias"
            ),
            "range": (1e-4, 1.0),
        },
    )
    new_share: float = field(
        default=0.1,
        metadata={
            "description": (
                "share of a joint's covariance that is independent in each frame; the rest is a "
                "constant bias"
            ),
            "range": (1e-4, 1.0),
        },
    )


@dataclass(frozen=True)
class TrackedFrame:
    """The persons of one image."""

    stamp_ns: int
    persons: tuple[Person, ...]
    """In the order of the input; coasting persons last."""
    unseen: tuple[Skeleton2D, ...] = ()
    """Persons that this image does not show but one of the last UNSEEN_S did, coasting or not,
    where their tracks predict them, with the prediction's covariances."""


@dataclass(frozen=True)
class _Step:
    """A frame, and the filtered tracks after it."""

    stamp_ns: int
    persons: tuple[Person, ...]
    rows: np.ndarray
    """(M,) each person's row of the tracks; -1: none."""
    tracks: Tracks


class _Count(NamedTuple):
    """How many persons with a track a frame showed."""

    stamp_ns: int
    persons: int


class Tracker:
    """Gives persons ids and velocities, and smooths their joints.

    The output depends on stamps and persons alone: the same frames give the same bytes.
    """

    def __init__(self, config: TrackerConfig | None = None, warm: bool = True):
        """warm: compile now, so that the first frame does not wait."""
        self.config = config or TrackerConfig()
        self._next_id = 1

        c = self.config
        acceleration = np.where(
            _IS_ROOT,
            c.root_acceleration_mps2,
            c.joint_acceleration_mps2,
        )
        self._density = ACCELERATION_LASTS_S * acceleration**2
        self._share = np.where(_IS_ROOT, c.root_new_share, c.new_share)
        self._speed = np.where(_IS_ROOT, ROOT_SPEED_MPS, JOINT_SPEED_MPS)
        self.reset()

        if warm:
            kalman.warm_up()
            self._assignment_costs(self._tracks, Measured.of(()))

    def reset(self) -> None:
        """Forget all persons; ids continue to count up."""
        self._stamp_ns: int | None = None
        self._tracks = Tracks.blank(np.zeros(0, int), 0)
        self._waiting: deque[_Step] = deque()
        self._shown: dict[int, Person] = {}
        self._late_ns: list[int] = []
        self._last: _Step | None = None
        memory_s = self.config.reidentify_s
        self._back = Reidentifier(memory_s) if memory_s > 0 else None
        """Says who has come back; None: nobody is looked for."""
        self._counts: deque[_Count] = deque()
        """How many persons the frames of the last SEARCH_S showed."""

    def drop_if_late(self, stamp_ns: int) -> bool:
        """Whether a frame is late or repeated, and has to be left out: do not `update` with it.

        It is if its stamp is not later than the last one, by up to `retention_s`. It is not where
        time has gone back: by more than that, or for LATE_IN_A_ROW frames in a row (a bag shorter
        than that, in a loop). Nor is it where there is no time: at a stamp of zero.
        """
        last_ns = self._stamp_ns
        if not self.config.enabled or last_ns is None or not stamp_ns or stamp_ns > last_ns:
            self._late_ns = []
            return False
        if last_ns - stamp_ns > 1e9 * self.config.retention_s:
            return False

        goes_on = self._late_ns and stamp_ns > self._late_ns[-1]
        self._late_ns = [*self._late_ns, stamp_ns] if goes_on else [stamp_ns]
        return len(self._late_ns) < LATE_IN_A_ROW

    def update(
        self, stamp_ns: int, persons: Sequence[Person], image: np.ndarray | None = None
    ) -> list[TrackedFrame]:
        """Add the persons of the image of `stamp_ns`; returns the frames that are due, oldest
        first.

        image: (H, W, 3) uint8 RGB, for `reidentify_s` alone; without it nobody comes back.

        With lag_s = 0 that is this frame. A stamp that is not later than the last one means that a
        bag has started again: all persons are forgotten, and the waiting frames are returned;
        `drop_if_late` says beforehand whether that is a late frame only.
        """
        persons = tuple(persons)
        if not self.config.enabled:
            return [TrackedFrame(stamp_ns, persons)]

        past = []
        if self._stamp_ns is not None and stamp_ns <= self._stamp_ns:
            past = self.flush()
            self.reset()

        step = self._step(stamp_ns, persons)
        if self._back is not None:
            step = self._reidentify(self._back, step, image)
        self._waiting.append(step)
        self._count(step)
        self._stamp_ns = stamp_ns
        self._tracks = step.tracks
        self._last = step

        # Integers: stamps have more digits than a float
        lag_ns = round(1e9 * self.config.lag_s)
        until_ns = stamp_ns - lag_ns
        return past + self._publish(until_ns)

    def flush(self) -> list[TrackedFrame]:
        """The frames that are still waiting: for the end of a bag."""
        if not self._waiting:
            return []

        return self._publish(self._waiting[-1].stamp_ns)

    def _count(self, step: _Step) -> None:
        self._counts.append(_Count(step.stamp_ns, int((step.rows >= 0).sum())))
        search_ns = 1e9 * min(SEARCH_S, self.config.retention_s)
        while step.stamp_ns - self._counts[0].stamp_ns > search_ns:
            self._counts.popleft()

    def expected(self, stamp_ns: int) -> list[Skeleton2D]:
        """The 2D skeletons of the persons in the last frame, where the tracks predict them at
        `stamp_ns`; confidences, covariances and scores are those of the last frame.

        None where nothing is predicted: without tracking, and at a stamp that is not later than
        the last one. Does not change the tracks.
        """
        last = self._last
        if last is None or stamp_ns <= last.stamp_ns:
            return []

        tracks = self._predict(stamp_ns)
        row_of_id = {int(track_id): row for row, track_id in enumerate(tracks.ids)}
        expected = []
        for person, last_row in zip(last.persons, last.rows):
            if last_row < 0:
                continue

            track_id = int(last.tracks.ids[last_row])
            row = row_of_id.get(track_id)
            if row is not None:
                keypoints = tracks.pixels.mean[row, :, :2]
                expected.append(_moved(person.skeleton_2d, keypoints))

        return expected

    def has_somebody_new(self) -> bool:
        """Whether fewer than SETTLED_HITS frames showed one of the persons in the last frame."""
        last = self._last
        if last is None:
            return False

        rows = last.rows[last.rows >= 0]
        return bool((last.tracks.hits[rows] < SETTLED_HITS).any())

    def misses_somebody(self, stamp_ns: int) -> bool:
        """Whether more than BLINK_FRAMES of the frames up to SEARCH_S before `stamp_ns` showed more
        persons than the last one.

        Ids do not matter: who is found again under another one is not missed, and people who cross
        are seen so briefly at times that their ids are forgotten.
        """
        last = self._last
        if last is None or stamp_ns <= last.stamp_ns:
            return False

        now = self._counts[-1].persons
        search_ns = 1e9 * min(SEARCH_S, self.config.retention_s)
        more = sum(
            count.persons > now and stamp_ns - count.stamp_ns <= search_ns for count in self._counts
        )
        return more > BLINK_FRAMES

    def _step(self, stamp_ns: int, persons: tuple[Person, ...]) -> _Step:
        """One step of the filter."""
        # Predict
        tracks = self._predict(stamp_ns)
        measured = Measured.of(persons)

        rows = self._assign(tracks, measured, persons)

        # Start new tracks
        unassigned = rows < 0
        new = np.flatnonzero(unassigned & measured.usable)
        if len(new):
            rows[new] = len(tracks.ids) + np.arange(len(new))
            ids = self._new_ids([persons[m] for m in new])
            blank = Tracks.blank(ids, stamp_ns)
            tracks = tracks.join(blank)

        # Correct
        tracks = self._correct(tracks, measured, rows, stamp_ns)
        return _Step(stamp_ns, persons, rows, tracks)

    def _assign(
        self, tracks: Tracks, measured: Measured, persons: tuple[Person, ...]
    ) -> np.ndarray:
        """(M,) each person's row of the tracks; -1: none."""
        pair_costs = self._assignment_costs(tracks, measured)
        gate_cost = cost_at(self.config.gate)
        return assign(pair_costs, gate_cost)

    def _new_ids(self, persons: Sequence[Person]) -> np.ndarray:
        """Ids of the tracks of new persons."""
        ids = self._next_id + np.arange(len(persons))
        self._next_id += len(persons)
        return ids

    def _reidentify(self, back: Reidentifier, step: _Step, image: np.ndarray | None) -> _Step:
        """The step without the tracks whose persons have come back in another one."""
        tracks = step.tracks
        returned = back.update(step.stamp_ns, step.persons, step.rows, tracks, image)
        if not returned:
            return step

        again = {back.id_of(track) for track in returned}
        numbers = tracks.ids.tolist()
        kept = np.array([n in returned or back.id_of(n) not in again for n in numbers])
        place = np.cumsum(kept) - 1
        rows = np.where(step.rows >= 0, place[step.rows], -1)
        return replace(step, rows=rows, tracks=tracks.take(np.flatnonzero(kept)))

    def _ids(self, tracks: Tracks) -> np.ndarray:
        """(T,) the id that each track is published under; 0: none."""
        known = tracks.hits >= self.config.min_hits
        if self._back is None:
            return tracks.ids * known

        ids = [self._back.id_of(track) for track in tracks.ids.tolist()]
        return np.array(ids, int) * known

    def _predict(self, stamp_ns: int) -> Tracks:
        """The tracks at a later time, without those that are lost."""
        tracks = self._tracks

        # Drop lost tracks
        seen_for = 1e9 * FIRST_RETENTION_S + tracks.seen_ns - tracks.born_ns
        retention_ns = 1e9 * self.config.retention_s
        longest = np.minimum(retention_ns, seen_for)
        unseen_ns = stamp_ns - tracks.seen_ns
        in_last_frame = tracks.seen_ns == self._stamp_ns
        kept = unseen_ns <= np.where(in_last_frame, retention_ns, longest)
        if not kept.all():
            tracks = tracks.take(np.flatnonzero(kept))
        if self._stamp_ns is None or not len(tracks.ids):
            return tracks

        # Predict the others
        passed_ns = stamp_ns - self._stamp_ns
        seconds = passed_ns / 1e9
        scale = tracks.pixels_per_metre[:, None]
        pixel_density = self._density[ROOT + 1] * scale**2  # T, 1

        return replace(
            tracks,
            points=kalman.predict(tracks.points, seconds, self._density),
            pixels=kalman.predict(tracks.pixels, seconds, pixel_density),
        )

    def _assignment_costs(self, tracks: Tracks, measured: Measured) -> np.ndarray:
        """Costs (T, M): weighted means over points and keypoints; NaN where a pair has none in
        common."""
        # Joints and root
        place, spread = _positions(tracks.points, 3)
        noise = measured.covariance * self._share[:, None, None]
        points = costs(place, spread, measured.points, noise, _POINT_WEIGHTS)

        # Keypoints
        place, spread = _positions(tracks.pixels, 2)
        noise = measured.pixel_covariance * self.config.new_share
        pixels = costs(place, spread, measured.pixels, noise, _PIXEL_WEIGHTS)

        # Mean of both
        total = np.zeros(points.shape)
        weights = np.zeros(points.shape)
        parts = (
            (points, ROOT_WEIGHT + JOINTS_WEIGHT),
            (pixels, KEYPOINTS_WEIGHT),
        )
        for cost, weight in parts:
            known = np.isfinite(cost)
            total += np.where(known, weight * cost, 0.0)
            weights += weight * known

        mean = total / np.maximum(weights, 1e-9)
        return np.where(weights > 0, mean, np.nan)

    def _correct(
        self, tracks: Tracks, measured: Measured, rows: np.ndarray, stamp_ns: int
    ) -> Tracks:
        """The tracks after the persons of a frame.

        rows: (M,) the track of each person; -1: none.
        """
        count = len(tracks.ids)
        m = measured.of_tracks(rows, count)

        # Joints and root
        share = self._share[:, None, None]
        noise = share * m.covariance
        points, gain = kalman.update(
            tracks.points,
            m.points,
            noise,
            self._speed,
        )
        new_bias = (1 - share) * m.covariance
        bias = mix(tracks.bias, new_bias, gain[..., None, None])

        # Keypoints
        known_scale = np.isfinite(m.pixels_per_metre)
        scale = np.where(known_scale, m.pixels_per_metre, tracks.pixels_per_metre)
        pixel_noise = self.config.new_share * m.pixel_covariance
        pixel_speed = ROOT_SPEED_MPS * scale[:, None]
        pixels, _ = kalman.update(
            tracks.pixels,
            m.pixels,
            pixel_noise,
            pixel_speed,
        )

        here = np.zeros(count, bool)
        here[rows[rows >= 0]] = True
        return replace(
            tracks,
            seen_ns=np.where(here, stamp_ns, tracks.seen_ns),
            hits=tracks.hits + here,
            updates=tracks.updates + (gain > 0),
            points=points,
            bias=bias,
            pixels=pixels,
            pixels_per_metre=scale,
            **update_limbs(tracks, m, self.config.new_share),
        )

    def _publish(self, until_ns: int) -> list[TrackedFrame]:
        """The waiting frames up to a stamp, smoothed backwards from the last frame there is."""
        # Stamps ascend, so the search ends at the first frame that is not due.
        due = len(self._waiting)
        for index, step in enumerate(self._waiting):
            if step.stamp_ns > until_ns:
                due = index
                break

        if not due:
            return []

        # Smooth, newest first
        steps = list(self._waiting)
        tracks = steps[-1].tracks
        smoothed = [tracks]
        for k in range(len(steps) - 2, -1, -1):
            step = steps[k]
            seconds = (steps[k + 1].stamp_ns - step.stamp_ns) / 1e9
            tracks = self._smooth(step.tracks, tracks, seconds)
            smoothed.append(tracks)

        smoothed.reverse()

        # Publish, oldest first
        frames = []
        for tracks in smoothed[:due]:
            step = self._waiting.popleft()
            frames.append(self._frame(step, tracks))

        return frames

    def _smooth(self, tracks: Tracks, after: Tracks, seconds: float) -> Tracks:
        """Filtered tracks, smoothed with the smoothed ones of the next frame.

        Tracks that are lost by then stay as they are.
        """
        # Tracks that are in both frames
        here: slice | np.ndarray = slice(None)
        there: slice | np.ndarray = slice(None)
        if not np.array_equal(tracks.ids, after.ids):
            _, here, there = np.intersect1d(
                tracks.ids, after.ids, assume_unique=True, return_indices=True
            )

        points, gain = kalman.smooth(
            tracks.points.take(here),
            after.points.take(there),
            seconds,
            self._density,
        )
        bias = mix(
            tracks.bias[here],
            after.bias[there],
            gain[..., None, None],
        )

        def put(values: np.ndarray, new: np.ndarray) -> np.ndarray:
            values = values.copy()
            values[here] = new
            return values

        mean = put(tracks.points.mean, points.mean)
        covariance = put(tracks.points.covariance, points.covariance)
        return replace(
            tracks,
            points=Motion(mean, covariance),
            bias=put(tracks.bias, bias),
            hits=put(tracks.hits, after.hits[there]),
            updates=put(tracks.updates, after.updates[there]),
        )

    def _frame(self, step: _Step, tracks: Tracks) -> TrackedFrame:
        """The output for a step."""
        config = self.config
        ids = self._ids(tracks)

        # Persons in the image
        persons = list(step.persons)
        for m, row in enumerate(step.rows):
            if row < 0:
                continue

            person = step.persons[m]
            self._shown[int(tracks.ids[row])] = person
            if ids[row]:
                tracked = tracked_person(
                    person,
                    tracks,
                    row,
                    step.stamp_ns,
                    config.smooth,
                )
                persons[m] = _under_id(tracked, int(ids[row]))

        # Coasting persons
        unseen_ns = step.stamp_ns - tracks.seen_ns
        recent = unseen_ns <= 1e9 * config.coast_s
        coasting = (ids > 0) & (unseen_ns > 0) & recent
        for row in map(int, np.flatnonzero(coasting)):
            if any(person.id == ids[row] for person in persons):
                continue  # has come back in another track

            last_seen = self._shown[int(tracks.ids[row])]
            person = tracked_person(
                forget_pose(last_seen),
                tracks,
                row,
                step.stamp_ns,
                smooth=True,
            )
            persons.append(_under_id(person, int(ids[row])))

        # Persons who are not shown
        lately = (unseen_ns > 0) & (unseen_ns <= 1e9 * UNSEEN_S)
        unseen = [self._predicted(tracks, row) for row in map(int, np.flatnonzero(lately))]

        # Forget persons whose tracks are lost
        kept = set(tracks.ids.tolist())
        self._shown = {i: person for i, person in self._shown.items() if i in kept}
        return TrackedFrame(step.stamp_ns, tuple(persons), tuple(unseen))

    def _predicted(self, tracks: Tracks, row: int) -> Skeleton2D:
        """The 2D skeleton of a track that this frame does not show; confidences and score are those
        of the last frame that did."""
        track_id = int(tracks.ids[row])
        last_seen = self._shown[track_id]

        keypoints, covariance = _positions(tracks.pixels, 2)
        skeleton = _moved(last_seen.skeleton_2d, keypoints[row])
        return replace(
            skeleton,
            covariance_px2=covariance[row],
        )


def _under_id(person: Person, number: int) -> Person:
    return person if person.id == number else replace(person, id=number)


def _moved(skeleton: Skeleton2D, keypoints_px: np.ndarray) -> Skeleton2D:
    """A skeleton with its keypoints (14, 2) elsewhere; its box follows."""
    box = box_of_keypoints(keypoints_px, skeleton.confidence, skeleton.box_px)
    return replace(skeleton, keypoints_px=keypoints_px, box_px=box)


def _positions(state: Motion, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions (T, P, size) and their covariances (T, P, size, size)."""
    mean = state.mean[..., :size]
    covariance = state.covariance[..., :size, :size]

    # For the compiled loops
    mean = np.ascontiguousarray(mean)
    covariance = np.ascontiguousarray(covariance)
    return mean, covariance


def smooth(
    frames: Iterable[tuple[int, Sequence[Person]]], config: TrackerConfig | None = None
) -> list[TrackedFrame]:
    """Frames (stamp in ns, persons) of a whole recording, each smoothed with all the others.

    Uses 6 kB of memory per person and frame while it runs.
    """
    config = config or TrackerConfig()
    tracker = Tracker(replace(config, lag_s=LONGEST_S))

    done = []
    for stamp_ns, persons in frames:
        done += tracker.update(stamp_ns, persons)
    return done + tracker.flush()
