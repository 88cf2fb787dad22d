# SPDX-License-Identifier: Apache-2.0
"""Tracking: ids, velocities and smoother joints of persons, from frame to frame.

The model. A person is 17 points that move with constant velocity and white acceleration (`kalman`):
the root in the camera's frame, and 16 joints relative to it, apart because the root's range is far
less certain than the pose. A lifted point has covariance R, but most of its error is the same from
frame to frame: the prior's idea of the body, the depth that one camera does not see. So

    z_k = x_k + b + n_k,  n_k ~ N(0, s R_k) anew in each frame,  b ~ N(0, (1 - s) R_k) a bias that
    stays,  s: `new_share`, `root_new_share`

What frames can tell is y = x + b, which moves as x does. The filter follows y with noise s R and
has its covariance P; x = y - b is known to P + B only, B the covariance of the bias. On a track's
first frame that is s R + (1 - s) R = R, and however many frames follow, B is not averaged away.
Where R changes (a joint is hidden, the person turns) the estimate's bias is a mean of the frames'
biases. How they are correlated nobody knows, and for every correlation the covariance of a mean is
at most the mean of the covariances (a square is convex):

    B_k = (1 - g) B_k-1 + g (1 - s) R_k,  g the gain of the update, a number: mean of its three axes

Limb lengths are scalars that stay, by the same formulae. Differences between frames do not contain
b: velocities have P's covariance, and persons are told apart (`association`) by P + s R, far
sharper than R. Keypoints are followed in pixels in the same way; they tell persons apart where
there is no camera, and beside the joints where there is one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT, ROOT
from lifting_ros.tracking import kalman
from lifting_ros.tracking.association import assign, cost_at, costs
from lifting_ros.tracking.kalman import Motion
from lifting_ros.tracking.tracks import (
    Measured,
    Tracks,
    mean_length,
    mixed,
    out_of_sight,
    tracked_person,
)
from lifting_ros.types import Person

LONGEST_S = 1e9
"""Longer than any recording."""
ACCELERATION_LASTS_S = 0.1
"""How long a person's acceleration lasts: its square times this is the density of a white one."""
FIRST_RETENTION_S = 0.25
"""A person is kept for no longer than it was seen, and this: most of what is seen once is a false
alarm."""
ROOT_SPEED_MPS, JOINT_SPEED_MPS = 1.0, 1.5
"""Standard deviations of a velocity before anything is known of it."""
ROOT_WEIGHT, JOINTS_WEIGHT, KEYPOINTS_WEIGHT = 1.0, 1.0, 3.0
"""What the distances of the root, of the mean joint and of the mean keypoint count in the
assignment."""
_POINT_WEIGHTS = np.where(
    np.arange(JOINT_COUNT) == ROOT, ROOT_WEIGHT, JOINTS_WEIGHT / (JOINT_COUNT - 1)
)
_PIXEL_WEIGHTS = np.ones(KEYPOINT_COUNT)


@dataclass(frozen=True)
class TrackerConfig:
    """Parameters of the tracking."""

    enabled: bool = field(
        default=True, metadata={"description": "give persons ids, velocities and smoother joints"}
    )
    smooth: bool = field(
        default=True,
        metadata={
            "description": "publish joints as the filter has them; false: as each image gives them"
        },
    )
    lag_s: float = field(
        default=0.0,
        metadata={
            "description": "publish this much later, smoothed by what came since; 0: at once",
            "unit": "s",
            "range": (0, LONGEST_S),
        },
    )
    retention_s: float = field(
        default=2.0,
        metadata={
            "description": "how long at most a person out of sight keeps its id",
            "unit": "s",
            "range": (0.0, 60.0),
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
            "description": "standard deviations from the prediction beyond which it is another person",
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
            "description": "share of the root's covariance that is new in each frame; the rest stays",
            "range": (1e-4, 1.0),
        },
    )
    new_share: float = field(
        default=0.1,
        metadata={
            "description": "share of a joint's covariance that is new in each frame; the rest stays",
            "range": (1e-4, 1.0),
        },
    )


@dataclass(frozen=True)
class TrackedFrame:
    """The persons of one image."""

    stamp_ns: int
    persons: tuple[Person, ...]
    """In the order they came in; those that coast last."""


@dataclass(frozen=True)
class _Step:
    """A frame and the tracks as the filter has them after it."""

    stamp_ns: int
    persons: tuple[Person, ...]
    rows: np.ndarray
    """(M,) each person's row of the tracks, -1 where it has none"""
    tracks: Tracks


class Tracker:
    """Persons in, persons with ids out. Everything depends on stamps and persons alone: the same
    frames give the same bytes."""

    def __init__(self, config: TrackerConfig | None = None):
        self.config = config or TrackerConfig()
        self._next_id = 1
        by_point = lambda root, joint: np.where(np.arange(JOINT_COUNT) == ROOT, root, joint)  # noqa: E731
        c = self.config
        self._density = (
            ACCELERATION_LASTS_S
            * by_point(c.root_acceleration_mps2, c.joint_acceleration_mps2) ** 2
        )
        self._share = by_point(c.root_new_share, c.new_share)
        self._speed = by_point(ROOT_SPEED_MPS, JOINT_SPEED_MPS)
        self.reset()
        kalman.warm_up()  # before the first image, not at it
        self._pairs(self._tracks, Measured.of(()))

    def reset(self) -> None:
        """Forget everybody; ids go on counting."""
        self._stamp_ns: int | None = None
        self._tracks = Tracks.blank(np.zeros(0, int), 0)
        self._waiting: deque[_Step] = deque()
        self._shown: dict[int, Person] = {}

    def update(self, stamp_ns: int, persons: Sequence[Person]) -> list[TrackedFrame]:
        """Take the persons of the image of `stamp_ns`; give the frames that are due, oldest first.

        With lag_s = 0 that is this one. A stamp that is not after the last one (a bag loops)
        forgets everybody, and gives what was waiting.
        """
        if not self.config.enabled:
            return [TrackedFrame(stamp_ns, tuple(persons))]
        past = []
        if self._stamp_ns is not None and stamp_ns <= self._stamp_ns:
            past = self.flush()
            self.reset()
        self._waiting.append(self._step(stamp_ns, tuple(persons)))
        self._stamp_ns, self._tracks = stamp_ns, self._waiting[-1].tracks
        return past + self._publish(
            stamp_ns - round(1e9 * self.config.lag_s)
        )  # integers: stamps have more digits than a float

    def flush(self) -> list[TrackedFrame]:
        """The frames that still wait: at the end of a bag."""
        return self._publish(self._waiting[-1].stamp_ns) if self._waiting else []

    def _step(self, stamp_ns: int, persons: tuple[Person, ...]) -> _Step:
        """Predict, assign, begin tracks, correct."""
        tracks, measured = self._predicted(stamp_ns), Measured.of(persons)
        rows = assign(self._pairs(tracks, measured), cost_at(self.config.gate))
        new = np.flatnonzero((rows < 0) & measured.usable)
        rows[new] = len(tracks.ids) + np.arange(len(new))
        if len(new):
            tracks = tracks.join(Tracks.blank(self._next_id + np.arange(len(new)), stamp_ns))
            self._next_id += len(new)
        return _Step(stamp_ns, persons, rows, self._corrected(tracks, measured, rows, stamp_ns))

    def _predicted(self, stamp_ns: int) -> Tracks:
        """The tracks at a later time, without those that are lost."""
        tracks = self._tracks
        longest = np.minimum(
            1e9 * self.config.retention_s, 1e9 * FIRST_RETENTION_S + tracks.seen_ns - tracks.born_ns
        )
        kept = stamp_ns - tracks.seen_ns <= longest
        tracks = tracks if kept.all() else tracks.take(np.flatnonzero(kept))
        if not len(tracks.ids):
            return tracks
        seconds = (stamp_ns - self._stamp_ns) / 1e9
        in_pixels = self._density[ROOT + 1] * tracks.pixels_a_metre[:, None] ** 2  # T, 1
        return replace(
            tracks,
            points=kalman.predict(tracks.points, seconds, self._density),
            pixels=kalman.predict(tracks.pixels, seconds, in_pixels),
        )

    def _pairs(self, tracks: Tracks, measured: Measured) -> np.ndarray:
        """Costs (T, M): weighted means of those of the points and of those of the keypoints; NaN:
        nothing in common."""

        def places(state: Motion, size: int) -> tuple[np.ndarray, np.ndarray]:
            return np.ascontiguousarray(state.mean[..., :size]), np.ascontiguousarray(
                state.covariance[..., :size, :size]
            )

        points = costs(
            *places(tracks.points, 3),
            measured.points,
            measured.covariance * self._share[:, None, None],
            _POINT_WEIGHTS,
        )
        noise = measured.pixel_covariance * self.config.new_share
        pixels = costs(*places(tracks.pixels, 2), measured.pixels, noise, _PIXEL_WEIGHTS)
        total, weights = np.zeros(points.shape), np.zeros(points.shape)
        for cost, weight in ((points, ROOT_WEIGHT + JOINTS_WEIGHT), (pixels, KEYPOINTS_WEIGHT)):
            known = np.isfinite(cost)
            total += np.where(known, weight * cost, 0.0)
            weights += weight * known
        return np.where(weights > 0, total / np.maximum(weights, 1e-9), np.nan)

    def _corrected(
        self, tracks: Tracks, measured: Measured, rows: np.ndarray, stamp_ns: int
    ) -> Tracks:
        """The tracks after the persons of a frame; rows (M,) are theirs, -1 for none."""
        m = measured.of_tracks(rows, len(tracks.ids))
        share = self._share[:, None, None]
        points, gain = kalman.update(tracks.points, m.points, share * m.covariance, self._speed)
        scale = np.where(np.isfinite(m.pixels_a_metre), m.pixels_a_metre, tracks.pixels_a_metre)
        pixels, _ = kalman.update(
            tracks.pixels,
            m.pixels,
            self.config.new_share * m.pixel_covariance,
            ROOT_SPEED_MPS * scale[:, None],
        )
        here = np.zeros(len(tracks.ids), bool)
        here[rows[rows >= 0]] = True
        return replace(
            tracks,
            seen_ns=np.where(here, stamp_ns, tracks.seen_ns),
            hits=tracks.hits + here,
            updates=tracks.updates + (gain > 0),
            points=points,
            bias=mixed(tracks.bias, (1 - share) * m.covariance, gain[..., None, None]),
            pixels=pixels,
            pixels_a_metre=scale,
            **mean_length(tracks, m, self.config.new_share),
        )

    def _publish(self, until_ns: int) -> list[TrackedFrame]:
        """Frames up to a stamp, smoothed backwards from the last one there is."""
        # Stamps ascend: of a whole bag that waits, only the first is looked at.
        due = next(
            (k for k, step in enumerate(self._waiting) if step.stamp_ns > until_ns),
            len(self._waiting),
        )
        if not due:
            return []
        steps, tracks, smoothed = list(self._waiting), None, []
        for k in range(len(steps) - 1, -1, -1):
            own = steps[k].tracks
            tracks = (
                own
                if tracks is None
                else self._smoothed(own, tracks, (steps[k + 1].stamp_ns - steps[k].stamp_ns) / 1e9)
            )
            smoothed.append(tracks)
        return [
            self._frame(self._waiting.popleft(), tracks) for tracks in smoothed[: -due - 1 : -1]
        ]

    def _smoothed(self, tracks: Tracks, after: Tracks, seconds: float) -> Tracks:
        """Tracks in the light of the smoothed ones of the next frame; those that are gone by then
        stay as they are."""
        here = there = slice(None)
        if not np.array_equal(tracks.ids, after.ids):
            _, here, there = np.intersect1d(
                tracks.ids, after.ids, assume_unique=True, return_indices=True
            )
        points, gain = kalman.smooth(
            tracks.points.take(here), after.points.take(there), seconds, self._density
        )
        bias = mixed(tracks.bias[here], after.bias[there], gain[..., None, None])

        def put(values: np.ndarray, new: np.ndarray) -> np.ndarray:
            values = values.copy()
            values[here] = new
            return values

        return replace(
            tracks,
            points=Motion(
                put(tracks.points.mean, points.mean),
                put(tracks.points.covariance, points.covariance),
            ),
            bias=put(tracks.bias, bias),
            hits=put(tracks.hits, after.hits[there]),
            updates=put(tracks.updates, after.updates[there]),
        )

    def _frame(self, step: _Step, tracks: Tracks) -> TrackedFrame:
        """What is published of a step."""
        known, config = tracks.hits >= self.config.min_hits, self.config
        persons = list(step.persons)
        for m, row in enumerate(step.rows):
            if row >= 0:
                self._shown[int(tracks.ids[row])] = step.persons[m]
            if row >= 0 and known[row]:
                persons[m] = tracked_person(
                    step.persons[m], tracks, row, step.stamp_ns, config.smooth
                )
        unseen = step.stamp_ns - tracks.seen_ns
        for row in np.flatnonzero(known & (unseen > 0) & (unseen <= 1e9 * config.coast_s)):
            persons.append(
                tracked_person(
                    out_of_sight(self._shown[int(tracks.ids[row])]),
                    tracks,
                    row,
                    step.stamp_ns,
                    True,
                )
            )
        kept = set(tracks.ids.tolist())
        self._shown = {i: person for i, person in self._shown.items() if i in kept}
        return TrackedFrame(step.stamp_ns, tuple(persons))


def smooth(
    frames: Iterable[tuple[int, Sequence[Person]]], config: TrackerConfig | None = None
) -> list[TrackedFrame]:
    """Frames (stamp in ns, persons) of a whole recording, each smoothed by all of them: 6 kB a
    person a frame while it runs."""
    tracker = Tracker(replace(config or TrackerConfig(), lag_s=LONGEST_S))
    return [
        done for stamp_ns, persons in frames for done in tracker.update(stamp_ns, persons)
    ] + tracker.flush()
