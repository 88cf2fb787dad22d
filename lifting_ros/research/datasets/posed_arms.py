# SPDX-License-Identifier: Apache-2.0
"""Arm poses of generated people: hanging, resting on thighs, hips, a desk or the floor, holding,
pointing, or as recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

    def joint(self, joints: tuple[int, int]) -> np.ndarray:
        """(N, 3) the joint of this side, of the left and the right one."""
        return self.figure.joints[:, joints[self.side]]

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


def _floor(hand: Hand) -> Goal:
    """On the floor below the shoulders."""
    out = hand.between(0, -0.05, 0.15)
    ahead = hand.between(1, -0.08, 0.25)
    wrist = hand.joint(SHOULDERS) + hand.level(out, 0.0, ahead)
    wrist[:, 1] = hand.on_surface()

    pole = hand.level(1.0, 0.0, hand.between(3, -1.0, -0.3))
    return Goal(wrist, pole, wrist[:, 1])


def _prop(hand: Hand) -> Goal:
    """On the floor behind the hips."""
    out = hand.between(0, 0.04, 0.22)
    ahead = hand.between(1, -0.5, -0.15)
    wrist = hand.joint(HIPS) + hand.level(out, 0.0, ahead)
    wrist[:, 1] = hand.on_surface()

    pole = hand.level(0.6, 0.0, -1.0)
    return Goal(wrist, pole, wrist[:, 1])


def _seat(hand: Hand) -> Goal:
    """On the seat beside the hips."""
    out = hand.between(0, 0.12, 0.24)
    ahead = hand.between(1, -0.18, 0.16)
    wrist = hand.joint(HIPS) + hand.level(out, 0.0, ahead)
    wrist[:, 1] = hand.on_surface()

    pole = hand.level(0.7, 0.0, -1.0)
    return Goal(wrist, pole, wrist[:, 1])


def _armrest(hand: Hand) -> Goal:
    out = hand.between(0, 0.14, 0.24)
    ahead = hand.between(1, 0.1, 0.36)
    armrest = hand.surface + hand.between(2, 0.17, 0.26)
    wrist = hand.joint(HIPS) + hand.level(out, 0.0, ahead)
    wrist[:, 1] = armrest + WRIST_M * hand.figure.scale

    pole = hand.level(0.5, -0.5, -1.0)
    return Goal(wrist, pole, wrist[:, 1])


def _desk(hand: Hand) -> Goal:
    out = hand.between(0, 0.02, 0.28)
    ahead = hand.between(1, 0.22, 0.5)
    wrist = hand.figure.joints[:, THORAX] + hand.level(out, 0.0, ahead)
    wrist[:, 1] = hand.on_surface()

    pole = hand.level(hand.between(3, 0.3, 1.0), -1.0, -0.4)
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


def _hip(hand: Hand) -> Goal:
    out = hand.between(0, 0.07, 0.12)
    up = hand.between(1, 0.08, 0.16)
    ahead = hand.between(2, -0.05, 0.06)
    wrist = hand.joint(HIPS) + hand.by_trunk(out, up, ahead)

    pole = hand.by_trunk(1.0, 0.0, hand.between(3, -0.9, 0.1))
    return Goal(wrist, pole)


def _front(hand: Hand) -> Goal:
    """Stretched out ahead."""
    rise = np.radians(hand.between(0, -30, 25))
    out = np.radians(hand.between(1, -12, 22))
    direction = hand.level(np.sin(out), np.sin(rise), np.cos(rise))

    fold_deg = between(hand.draws[:, 2] ** 2, 5, 60)
    pole = hand.level(hand.between(3, 0.2, 1.0), -1.0, 0.0)
    return _stretched(hand, direction, fold_deg, pole)


def _chest(hand: Hand) -> Goal:
    """Before the chest, as one holds a thing."""
    out = hand.between(0, 0.025, 0.16)
    up = hand.between(1, -0.34, 0.0)
    ahead = hand.between(2, 0.16, 0.36)
    wrist = hand.figure.joints[:, THORAX] + hand.by_chest(out, up, ahead)

    pole = hand.by_chest(hand.between(3, 0.3, 1.0), -1.0, -0.3)
    return Goal(wrist, pole)


def _folded(hand: Hand) -> Goal:
    """Arms crossed before the chest, one over the other."""
    out = hand.between(0, -0.13, -0.06)
    up = hand.between(1, -0.24, -0.14) + 0.05 * hand.side
    ahead = hand.between(2, 0.15, 0.19) + 0.05 * hand.side
    wrist = hand.figure.joints[:, THORAX] + hand.by_chest(out, up, ahead)

    pole = hand.by_chest(1.0, -0.9, -0.1)
    return Goal(wrist, pole)


def _behind(hand: Hand) -> Goal:
    """Hands held behind the back."""
    out = hand.between(0, 0.03, 0.1)
    up = hand.between(1, 0.0, 0.14)
    ahead = hand.between(2, -0.2, -0.14)
    wrist = hand.figure.joints[:, PELVIS] + hand.by_trunk(out, up, ahead)

    pole = hand.by_trunk(1.0, 0.0, -0.5)
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


def _along(hand: Hand) -> Goal:
    """Beside the trunk of a person who lies, the hand on what the body lies on."""
    out = hand.between(0, 0.1, 0.3)
    up = hand.between(1, -0.08, 0.22)
    wrist = hand.joint(HIPS) + hand.by_trunk(out, up, 0.0)
    wrist[:, 1] = hand.on_surface()

    pole = hand.by_trunk(1.0, 0.3, 0.0)
    return Goal(wrist, pole, wrist[:, 1])


def _belly(hand: Hand) -> Goal:
    """On the belly or the chest."""
    joints = hand.figure.joints
    pelvis = joints[:, PELVIS]
    place = hand.between(1, 0.3, 0.75)
    wrist = pelvis + place[:, None] * (joints[:, THORAX] - pelvis)
    wrist += hand.by_trunk(hand.between(0, 0.0, 0.1), 0.0, hand.between(2, 0.125, 0.16))

    pole = hand.by_trunk(1.0, -0.1, -0.2)
    return Goal(wrist, pole)


def _overhead(hand: Hand) -> Goal:
    """Beside or above the head of a person who lies, the hand on what the body lies on."""
    out = hand.between(0, 0.12, 0.38)
    up = hand.between(1, -0.05, 0.3)
    wrist = hand.figure.joints[:, NOSE] + hand.by_trunk(out, up, 0.0)
    wrist[:, 1] = hand.on_surface()

    pole = hand.by_trunk(1.0, -0.1, 0.1)
    return Goal(wrist, pole, wrist[:, 1])


GOALS: dict[str, Callable[[Hand], Goal]] = {
    "hang": _hang,
    "down": _down,
    "floor": _floor,
    "prop": _prop,
    "seat": _seat,
    "armrest": _armrest,
    "desk": _desk,
    "thigh": _thigh,
    "lap": _lap,
    "between_knees": _between_knees,
    "shin": _shin,
    "hip": _hip,
    "front": _front,
    "chest": _chest,
    "folded": _folded,
    "behind": _behind,
    "face": _face,
    "up": _up,
    "aside": _aside,
    "along": _along,
    "belly": _belly,
    "overhead": _overhead,
}
"""Functions that give hands their goal, by name."""
