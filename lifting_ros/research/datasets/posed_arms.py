# SPDX-License-Identifier: Apache-2.0
"""Arm poses of generated people: hanging, resting on thighs, hips, a desk or the floor, holding,
pointing, or as recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from lifting_ros.research.datasets.posed_figure import (
    ANKLES,
    HEAD_TOP,
    HIPS,
    KNEES,
    NOSE,
    OUTWARD,
    PELVIS,
    SHOULDERS,
    THORAX,
    WRIST_M,
    WRISTS,
    Figure,
    out_of,
)

LEAST_FOLD_DEG = 32.0
"""Smallest angle between upper arm and forearm."""

MISSED_M = 0.03
"""Largest distance of a hand from its goal."""

ONE_HANDED = ("own", "hang", "thigh", "hip", "front", "face", "up", "aside", "seat", "armrest")
"""Goals that one hand can have without the other."""

HAND_M = 0.085
"""Distance of the wrist from the bones of a leg that the hand lies on."""


class Goal(NamedTuple):
    """Where the wrists of one side should be."""

    wrist: np.ndarray
    """(N, 3)."""
    pole: np.ndarray
    """(N, 3) direction of the elbow."""
    height: np.ndarray | None = None
    """(N,) of the wrist, where the hand lies on something."""
    strict: bool = True
    """Whether a hand that misses its goal spoils the pose."""


class Hand(NamedTuple):
    """The hands of one side of N figures, to which goals are given."""

    figure: Figure
    side: int
    draws: np.ndarray
    """(N, 5) uniform random numbers from 0 to 1."""
    surface: np.ndarray
    """(N,) height of desk, seat or floor."""

    def between(
        self,
        number: int,
        low: float,
        high: float,
    ) -> np.ndarray:
        """(N,) from `low` to `high`, by the random number of that index."""
        return between(self.draws[:, number], low, high)

    def joint(self, joint: int | tuple[int, int]) -> np.ndarray:
        """(N, 3) a joint; of a left and a right one that of this side."""
        number = joint if isinstance(joint, int) else joint[self.side]
        return self.figure.joints[:, number]

    def level(
        self,
        out: np.ndarray | float,
        up: np.ndarray | float,
        ahead: np.ndarray | float,
    ) -> np.ndarray:
        """Vectors (N, 3) outwards, up and ahead, in metres of a mean body."""
        frames = np.broadcast_to(np.eye(3), (self.figure.count, 3, 3))
        return self._vectors(frames, out, up, ahead)

    def by_trunk(
        self,
        out: np.ndarray | float,
        up: np.ndarray | float,
        ahead: np.ndarray | float,
    ) -> np.ndarray:
        """As `level`, in the frame of the trunk."""
        return self._vectors(self.figure.trunk, out, up, ahead)

    def by_chest(
        self,
        out: np.ndarray | float,
        up: np.ndarray | float,
        ahead: np.ndarray | float,
    ) -> np.ndarray:
        """As `level`, in the frame of the chest."""
        return self._vectors(self.figure.chest, out, up, ahead)

    def _vectors(
        self,
        frames: np.ndarray,
        out: np.ndarray | float,
        up: np.ndarray | float,
        ahead: np.ndarray | float,
    ) -> np.ndarray:
        x = OUTWARD[self.side] * np.asarray(out, float)
        x, y, z, scale = np.broadcast_arrays(x, up, ahead, self.figure.scale)
        vectors = np.stack([x, y, z], -1) * scale[:, None]
        return out_of(frames, vectors)

    def on_surface(self) -> np.ndarray:
        """(N,) height of a wrist whose hand lies on the surface."""
        return self.surface + WRIST_M * self.figure.scale


class Arms:
    """What the arms of N figures do, drawn once; `place` may be called again as the body moves."""

    def __init__(
        self,
        rng: np.random.Generator,
        count: int,
        shares: Mapping[str, float],
        surface_m: np.ndarray | float = 0.0,
        unlike: float = 0.3,
    ):
        """shares: of what is done, by name in GOALS or `own`. surface_m: (N,) height of desk, seat
        or floor that hands lie on. unlike: share of figures whose hands do different things."""
        self.names = list(shares)
        self.surface = np.broadcast_to(np.asarray(surface_m, float), count)

        # Goals
        share = np.array(list(shares.values()), float)
        probability = share / share.sum()
        both = rng.choice(len(share), count, p=probability)
        other = rng.choice(len(share), count, p=probability)
        single = np.array([name in ONE_HANDED for name in self.names])
        mixed = (rng.random(count) < unlike) & single[both] & single[other]
        self.does = np.stack([both, np.where(mixed, other, both)], 1)
        swapped = rng.random(count) < 0.5
        self.does[swapped] = self.does[swapped][:, ::-1]

        # Random numbers of the goals, similar on both sides in most figures
        first = rng.random((count, 5))
        noise = rng.standard_normal((count, 5))
        similar = np.clip(first + 0.12 * noise, 0, 1)
        alone = rng.random((count, 5))
        apart = rng.random(count) < 0.4
        second = np.where(apart[:, None], alone, similar)
        self.draws = np.stack([first, second], 1)

    def place(self, figure: Figure) -> np.ndarray:
        """Bend the arms; returns (N,) whether both hands reached their goals."""
        reached = np.ones(figure.count, bool)
        figure.rest[:, list(WRISTS)] = np.nan

        for side in (0, 1):
            hand = Hand(figure, side, self.draws[:, side], self.surface)
            for number, name in enumerate(self.names):
                rows = self.does[:, side] == number
                if name == "own" or not rows.any():
                    continue

                goal = GOALS[name](hand)
                missed = figure.reach_with(side, goal.wrist, goal.pole, rows, LEAST_FOLD_DEG)
                if goal.strict:
                    reached &= missed < MISSED_M
                if goal.height is not None:
                    figure.rest[rows, WRISTS[side]] = goal.height[rows]

        return reached


def between(
    draw: np.ndarray,
    low: float,
    high: float,
) -> np.ndarray:
    """Numbers from `low` to `high` of uniform draws (N,)."""
    return low + (high - low) * draw


def _stretched(
    hand: Hand,
    direction: np.ndarray,
    fold_deg: np.ndarray,
    pole: np.ndarray,
) -> Goal:
    """A hand in a direction (N, 3) from its shoulder, the elbow bent by an angle (N,)."""
    bodies = hand.figure.bodies
    upper = np.linalg.norm(bodies.elbows[:, hand.side], axis=-1)
    fore = np.linalg.norm(bodies.wrists[:, hand.side], axis=-1)

    # Law of cosines
    cosine = np.cos(np.radians(fold_deg))
    reach = np.sqrt(upper**2 + fore**2 + 2 * upper * fore * cosine)
    unit = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    wrist = hand.joint(SHOULDERS) + reach[:, None] * unit

    return Goal(wrist, pole)


def _on_leg(
    hand: Hand,
    ends: tuple[tuple[int, int], tuple[int, int]],
    place: np.ndarray,
    off: np.ndarray,
) -> np.ndarray:
    """Wrists (N, 3) of hands on a leg: at a share `place` (N,) of the way between two joints, on
    the side of the leg that `off` (N, 3) points to."""
    first = hand.joint(ends[0])
    second = hand.joint(ends[1])
    line = second - first
    along = line / np.linalg.norm(line, axis=-1, keepdims=True)

    away = off - (off * along).sum(-1, keepdims=True) * along
    away /= np.maximum(np.linalg.norm(away, axis=-1, keepdims=True), 1e-9)
    distance = HAND_M * hand.figure.scale
    return first + place[:, None] * line + distance[:, None] * away


Range = float | tuple[float, float]
"""A number, or the ends of a range from which one is drawn."""

Frame = Callable[[Hand, np.ndarray | float, np.ndarray | float, np.ndarray | float], np.ndarray]


class Place(NamedTuple):
    """A goal at some distance from a joint."""

    joint: int | tuple[int, int]
    """As for `Hand.joint`."""
    frame: Frame
    """`Hand.level`, `Hand.by_trunk` or `Hand.by_chest`: what the directions below refer to."""
    wrist: tuple[Range, Range, Range]
    """Outwards, up and ahead of the joint, metres of a mean body."""
    pole: tuple[Range, Range, Range]
    """Direction of the elbow, outwards, up and ahead."""
    on_surface: bool = False
    """Whether the hand lies on desk, seat or floor."""

    def __call__(self, hand: Hand) -> Goal:
        """The goal of a hand; every range has a random number of its own, that of the pole the
        fourth."""
        numbers = iter(range(3))
        offset = [_drawn(hand, one, numbers) for one in self.wrist]
        pole = [_drawn(hand, one, iter([3])) for one in self.pole]
        wrist = hand.joint(self.joint) + self.frame(hand, *offset)

        height = None
        if self.on_surface:
            wrist[:, 1] = hand.on_surface()
            height = wrist[:, 1]
        return Goal(wrist, self.frame(hand, *pole), height)


def _drawn(
    hand: Hand,
    value: Range,
    numbers: Iterator[int],
) -> np.ndarray | float:
    """A number, or one of its range, by the next of the hand's random numbers."""
    return hand.between(next(numbers), *value) if isinstance(value, tuple) else value


def _hang(hand: Hand) -> Goal:
    ahead = np.radians(hand.between(0, -12, 22))
    out = np.radians(hand.between(1, 3, 16))
    direction = hand.level(np.tan(out), -1.0, np.tan(ahead))

    fold_deg = between(hand.draws[:, 2] ** 2, 4, 45)
    pole = hand.level(hand.between(3, 0.0, 1.0), 0.0, -1.0)
    return _stretched(hand, direction, fold_deg, pole)


def _down(hand: Hand) -> Goal:
    """Towards the floor before the feet."""
    out = hand.between(0, -0.12, 0.15)
    ahead = hand.between(1, -0.25, 0.3)
    above = np.maximum(hand.between(2, -0.3, 0.45), 0)
    wrist = hand.joint(SHOULDERS) + hand.level(out, 0.0, ahead)
    wrist[:, 1] = hand.on_surface() + above

    pole = hand.level(1.0, 0.3, hand.between(3, -1.0, 0.0))
    return Goal(wrist, pole, strict=False)


def _armrest(hand: Hand) -> Goal:
    out = hand.between(0, 0.14, 0.24)
    ahead = hand.between(1, 0.1, 0.36)
    armrest = hand.surface + hand.between(2, 0.17, 0.26)
    wrist = hand.joint(HIPS) + hand.level(out, 0.0, ahead)
    wrist[:, 1] = armrest + WRIST_M * hand.figure.scale

    pole = hand.level(0.5, -0.5, -1.0)
    return Goal(wrist, pole, wrist[:, 1])


def _thigh(hand: Hand) -> Goal:
    off = hand.level(hand.between(0, -0.5, 0.4), 1.0, 0.35)
    place = hand.between(1, 0.35, 1.0)
    wrist = _on_leg(hand, (HIPS, KNEES), place, off)

    pole = hand.level(hand.between(3, 0.3, 1.2), -0.4, -1.0)
    return Goal(wrist, pole)


def _lap(hand: Hand) -> Goal:
    """Hands together over the lap."""
    joints = hand.figure.joints
    pelvis = joints[:, PELVIS]
    to_knees = joints[:, list(KNEES)].mean(1) - pelvis
    place = hand.between(1, 0.3, 0.6)
    wrist = pelvis + place[:, None] * to_knees
    wrist += hand.level(0.035, hand.between(0, 0.09, 0.2), 0.0)

    pole = hand.level(1.0, -0.5, -0.8)
    return Goal(wrist, pole)


def _between_knees(hand: Hand) -> Goal:
    """Hands before the knees, the elbows near the thighs."""
    knees = hand.figure.joints[:, list(KNEES)].mean(1)
    up = hand.between(0, -0.05, 0.22)
    ahead = hand.between(1, 0.0, 0.18)
    wrist = knees + hand.level(0.04, up, ahead)

    pole = hand.level(1.0, -0.6, -0.3)
    return Goal(wrist, pole, strict=False)


def _shin(hand: Hand) -> Goal:
    """Around the shin or on the knee."""
    off = hand.level(hand.between(0, -0.2, 0.6), 0.4, 1.0)
    place = hand.between(1, 0.05, 0.6)
    wrist = _on_leg(hand, (KNEES, ANKLES), place, off)

    pole = hand.level(1.0, -0.4, 0.0)
    return Goal(wrist, pole)


def _front(hand: Hand) -> Goal:
    """Stretched out ahead."""
    rise = np.radians(hand.between(0, -30, 25))
    out = np.radians(hand.between(1, -12, 22))
    direction = hand.level(np.sin(out), np.sin(rise), np.cos(rise))

    fold_deg = between(hand.draws[:, 2] ** 2, 5, 60)
    pole = hand.level(hand.between(3, 0.2, 1.0), -1.0, 0.0)
    return _stretched(hand, direction, fold_deg, pole)


def _folded(hand: Hand) -> Goal:
    """Arms crossed before the chest, one over the other."""
    out = hand.between(0, -0.13, -0.06)
    up = hand.between(1, -0.24, -0.14) + 0.05 * hand.side
    ahead = hand.between(2, 0.15, 0.19) + 0.05 * hand.side
    wrist = hand.figure.joints[:, THORAX] + hand.by_chest(out, up, ahead)

    pole = hand.by_chest(1.0, -0.9, -0.1)
    return Goal(wrist, pole)


def _face(hand: Hand) -> Goal:
    """A hand at the chin, the ear or before the face."""
    joints = hand.figure.joints
    head = 0.5 * (joints[:, NOSE] + joints[:, HEAD_TOP])
    out = hand.between(0, 0.03, 0.15)
    up = hand.between(1, -0.2, 0.02)
    ahead = hand.between(2, 0.1, 0.24)
    wrist = head + hand.by_chest(out, up, ahead)

    pole = hand.by_chest(hand.between(3, 0.2, 1.0), -1.0, 0.2)
    return Goal(wrist, pole)


def _up(hand: Hand) -> Goal:
    """Raised overhead."""
    out = hand.between(0, -0.1, 0.55)
    ahead = hand.between(1, -0.05, 0.9)
    direction = hand.by_chest(out, 1.0, ahead)

    fold_deg = between(hand.draws[:, 2] ** 2, 4, 80)
    pole = hand.by_chest(1.0, -0.3, hand.between(3, -0.2, 0.4))
    return _stretched(hand, direction, fold_deg, pole)


def _aside(hand: Hand) -> Goal:
    """Stretched out to the side."""
    up = hand.between(0, -0.7, 0.45)
    ahead = hand.between(1, -0.15, 0.9)
    direction = hand.by_chest(1.0, up, ahead)

    fold_deg = between(hand.draws[:, 2] ** 2, 4, 60)
    pole = hand.by_chest(0.0, -1.0, hand.between(3, -0.6, 0.0))
    return _stretched(hand, direction, fold_deg, pole)


def _belly(hand: Hand) -> Goal:
    """On the belly or the chest."""
    joints = hand.figure.joints
    pelvis = joints[:, PELVIS]
    place = hand.between(1, 0.3, 0.75)
    wrist = pelvis + place[:, None] * (joints[:, THORAX] - pelvis)
    wrist += hand.by_trunk(hand.between(0, 0.0, 0.1), 0.0, hand.between(2, 0.125, 0.16))

    pole = hand.by_trunk(1.0, -0.1, -0.2)
    return Goal(wrist, pole)


GOALS: dict[str, Callable[[Hand], Goal]] = {
    "hang": _hang,
    "down": _down,
    # Below the shoulders
    "floor": Place(
        SHOULDERS, Hand.level, ((-0.05, 0.15), 0.0, (-0.08, 0.25)), (1.0, 0.0, (-1.0, -0.3)), True
    ),
    # On the floor behind the hips
    "prop": Place(HIPS, Hand.level, ((0.04, 0.22), 0.0, (-0.5, -0.15)), (0.6, 0.0, -1.0), True),
    # Beside the hips
    "seat": Place(HIPS, Hand.level, ((0.12, 0.24), 0.0, (-0.18, 0.16)), (0.7, 0.0, -1.0), True),
    "armrest": _armrest,
    "desk": Place(
        THORAX, Hand.level, ((0.02, 0.28), 0.0, (0.22, 0.5)), ((0.3, 1.0), -1.0, -0.4), True
    ),
    "thigh": _thigh,
    "lap": _lap,
    "between_knees": _between_knees,
    "shin": _shin,
    "hip": Place(
        HIPS, Hand.by_trunk, ((0.07, 0.12), (0.08, 0.16), (-0.05, 0.06)), (1.0, 0.0, (-0.9, 0.1))
    ),
    "front": _front,
    # As one holds a thing
    "chest": Place(
        THORAX, Hand.by_chest, ((0.025, 0.16), (-0.34, 0.0), (0.16, 0.36)), ((0.3, 1.0), -1.0, -0.3)
    ),
    "folded": _folded,
    # Behind the back
    "behind": Place(
        PELVIS, Hand.by_trunk, ((0.03, 0.1), (0.0, 0.14), (-0.2, -0.14)), (1.0, 0.0, -0.5)
    ),
    "face": _face,
    "up": _up,
    "aside": _aside,
    # Beside the trunk of a person who lies
    "along": Place(HIPS, Hand.by_trunk, ((0.1, 0.3), (-0.08, 0.22), 0.0), (1.0, 0.3, 0.0), True),
    "belly": _belly,
    # Beside or above the head of a person who lies
    "overhead": Place(
        NOSE, Hand.by_trunk, ((0.12, 0.38), (-0.05, 0.3), 0.0), (1.0, -0.1, 0.1), True
    ),
}
"""Functions that give hands their goal, by name."""
