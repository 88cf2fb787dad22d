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


class Goal(NamedTuple):
    """Where the wrists of one side should be."""

    wrist: np.ndarray
    """(N, 3)."""
    pole: np.ndarray
    """(N, 3) where the elbow points."""
    height: np.ndarray | None = None
    """(N,) of the wrist, where the hand lies on something."""
    strict: bool = True
    """Whether a hand that does not get there spoils the pose."""


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
        share = np.array(list(shares.values()), float)
        both = rng.choice(len(share), count, p=share / share.sum())
        other = rng.choice(len(share), count, p=share / share.sum())
        single = np.array([name in ONE_HANDED for name in self.names])
        mixed = (rng.random(count) < unlike) & single[both] & single[other]
        self.does = np.stack([both, np.where(mixed, other, both)], 1)
        swapped = rng.random(count) < 0.5
        self.does[swapped] = self.does[swapped][:, ::-1]

        first = rng.random((count, 5))
        second = np.clip(first + 0.12 * rng.standard_normal((count, 5)), 0, 1)
        alone = rng.random((count, 5))
        apart = (rng.random(count) < 0.4)[:, None]
        self.draws = np.stack([first, np.where(apart, alone, second)], 1)
        self.surface = np.broadcast_to(np.asarray(surface_m, float), count)

    def place(self, figure: Figure) -> np.ndarray:
        """Bend the arms; returns (N,) whether both hands got where they should."""
        reached = np.ones(figure.count, bool)
        figure.rest[:, list(WRISTS)] = np.nan
        for side in (0, 1):
            for number, name in enumerate(self.names):
                rows = self.does[:, side] == number
                if name == "own" or not rows.any():
                    continue
                goal = GOALS[name](figure, side, self.draws[:, side], self.surface)
                missed = figure.reach_with(side, goal.wrist, goal.pole, rows, LEAST_FOLD_DEG)
                if goal.strict:
                    reached &= missed < MISSED_M
                if goal.height is not None:
                    figure.rest[rows, WRISTS[side]] = goal.height[rows]
        return reached


def between(draw: np.ndarray, low: float, high: float) -> np.ndarray:
    """Numbers from `low` to `high` of uniform draws (N,)."""
    return low + (high - low) * draw


def beside(
    figure: Figure,
    frames: np.ndarray,
    side: int,
    out: np.ndarray | float,
    up: np.ndarray | float,
    ahead: np.ndarray | float,
) -> np.ndarray:
    """Vectors (N, 3) of a frame (N, 3, 3): metres of a mean body outwards, up and ahead."""
    parts = np.broadcast_arrays(OUTWARD[side] * np.asarray(out, float), up, ahead, figure.scale)
    return out_of(frames, np.stack(parts[:3], -1) * parts[3][:, None])


def _level(figure: Figure) -> np.ndarray:
    return np.broadcast_to(np.eye(3), (figure.count, 3, 3))


def _stretched(
    figure: Figure, side: int, direction: np.ndarray, fold_deg: np.ndarray, pole: np.ndarray
) -> Goal:
    """A hand in a direction (N, 3) from its shoulder, the elbow bent by an angle."""
    upper = np.linalg.norm(figure.bodies.elbows[:, side], axis=-1)
    fore = np.linalg.norm(figure.bodies.wrists[:, side], axis=-1)
    reach = np.sqrt(upper**2 + fore**2 + 2 * upper * fore * np.cos(np.radians(fold_deg)))
    unit = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    return Goal(figure.joints[:, SHOULDERS[side]] + reach[:, None] * unit, pole)


def _hang(figure: Figure, side: int, draw: np.ndarray, surface: np.ndarray) -> Goal:
    ahead = np.radians(between(draw[:, 0], -12, 22))
    out = np.radians(between(draw[:, 1], 3, 16))
    direction = beside(figure, _level(figure), side, np.tan(out), -1.0, np.tan(ahead))
    pole = beside(figure, _level(figure), side, between(draw[:, 3], 0.0, 1.0), 0.0, -1.0)
    return _stretched(figure, side, direction, between(draw[:, 2] ** 2, 4, 45), pole)


def _down(figure: Figure, side: int, draw: np.ndarray, surface: np.ndarray) -> Goal:
    """Towards the floor before the feet."""
    shoulder = figure.joints[:, SHOULDERS[side]]
    ahead = beside(
        figure,
        _level(figure),
        side,
        between(draw[:, 0], -0.12, 0.15),
        0.0,
        between(draw[:, 1], -0.25, 0.3),
    )
    wrist = shoulder + ahead
    wrist[:, 1] = surface + WRIST_M * figure.scale + np.maximum(between(draw[:, 2], -0.3, 0.45), 0)
    pole = beside(figure, _level(figure), side, 1.0, 0.3, between(draw[:, 3], -1.0, 0.0))
    return Goal(wrist, pole, strict=False)


def _floor(figure: Figure, side: int, draw: np.ndarray, surface: np.ndarray) -> Goal:
    """On the floor below the shoulders."""
    wrist = figure.joints[:, SHOULDERS[side]] + beside(
        figure,
        _level(figure),
        side,
        between(draw[:, 0], -0.05, 0.15),
        0.0,
        between(draw[:, 1], -0.08, 0.25),
    )
    wrist[:, 1] = surface + WRIST_M * figure.scale
    pole = beside(figure, _level(figure), side, 1.0, 0.0, between(draw[:, 3], -1.0, -0.3))
    return Goal(wrist, pole, wrist[:, 1])


def _prop(figure: Figure, side: int, draw: np.ndarray, surface: np.ndarray) -> Goal:
    """On the floor behind the hips."""
    wrist = figure.joints[:, HIPS[side]] + beside(
        figure,
        _level(figure),
        side,
        between(draw[:, 0], 0.04, 0.22),
        0.0,
        between(draw[:, 1], -0.5, -0.15),
    )
    wrist[:, 1] = surface + WRIST_M * figure.scale
    pole = beside(figure, _level(figure), side, 0.6, 0.0, -1.0)
    return Goal(wrist, pole, wrist[:, 1])


def _seat(figure: Figure, side: int, draw: np.ndarray, surface: np.ndarray) -> Goal:
    """On the seat beside the hips."""
    wrist = figure.joints[:, HIPS[side]] + beside(
        figure,
        _level(figure),
        side,
        between(draw[:, 0], 0.12, 0.24),
        0.0,
        between(draw[:, 1], -0.18, 0.16),
    )
    wrist[:, 1] = surface + WRIST_M * figure.scale
    pole = beside(figure, _level(figure), side, 0.7, 0.0, -1.0)
    return Goal(wrist, pole, wrist[:, 1])


def _armrest(figure: Figure, side: int, draw: np.ndarray, surface: np.ndarray) -> Goal:
    wrist = figure.joints[:, HIPS[side]] + beside(
        figure,
        _level(figure),
        side,
        between(draw[:, 0], 0.14, 0.24),
        0.0,
        between(draw[:, 1], 0.1, 0.36),
    )
    wrist[:, 1] = surface + between(draw[:, 2], 0.17, 0.26) + WRIST_M * figure.scale
    pole = beside(figure, _level(figure), side, 0.5, -0.5, -1.0)
    return Goal(wrist, pole, wrist[:, 1])


def _desk(figure: Figure, side: int, draw: np.ndarray, surface: np.ndarray) -> Goal:
    wrist = figure.joints[:, THORAX] + beside(
        figure,
        _level(figure),
        side,
        between(draw[:, 0], 0.02, 0.28),
        0.0,
        between(draw[:, 1], 0.22, 0.5),
    )
    wrist[:, 1] = surface + WRIST_M * figure.scale
    pole = beside(figure, _level(figure), side, between(draw[:, 3], 0.3, 1.0), -1.0, -0.4)
    return Goal(wrist, pole, wrist[:, 1])


def _on_leg(
    figure: Figure, side: int, ends: tuple, place: np.ndarray, off: np.ndarray
) -> np.ndarray:
    first = figure.joints[:, ends[0][side]]
    second = figure.joints[:, ends[1][side]]
    line = second - first
    along = line / np.linalg.norm(line, axis=-1, keepdims=True)
    away = off - (off * along).sum(-1, keepdims=True) * along
    away /= np.maximum(np.linalg.norm(away, axis=-1, keepdims=True), 1e-9)
    return first + place[:, None] * line + (0.085 * figure.scale)[:, None] * away


def _thigh(figure: Figure, side: int, draw: np.ndarray, surface: np.ndarray) -> Goal:
    off = beside(figure, _level(figure), side, between(draw[:, 0], -0.5, 0.4), 1.0, 0.35)
    wrist = _on_leg(figure, side, (HIPS, KNEES), between(draw[:, 1], 0.35, 1.0), off)
    out = between(draw[:, 3], 0.3, 1.2)
    return Goal(wrist, beside(figure, _level(figure), side, out, -0.4, -1.0))


def _lap(figure: Figure, side: int, draw: np.ndarray, surface: np.ndarray) -> Goal:
    """Hands together over the lap."""
    middle = figure.joints[:, list(KNEES)].mean(1) - figure.joints[:, 0]
    place = between(draw[:, 1], 0.3, 0.6)[:, None]
    wrist = figure.joints[:, 0] + place * middle
    wrist += beside(figure, _level(figure), side, 0.035, between(draw[:, 0], 0.09, 0.2), 0.0)
    return Goal(wrist, beside(figure, _level(figure), side, 1.0, -0.5, -0.8))


def _between_knees(figure: Figure, side: int, draw: np.ndarray, surface: np.ndarray) -> Goal:
    """Hands before the knees, the elbows near the thighs."""
    knees = figure.joints[:, list(KNEES)].mean(1)
    up = between(draw[:, 0], -0.05, 0.22)
    wrist = knees + beside(figure, _level(figure), side, 0.04, up, between(draw[:, 1], 0.0, 0.18))
    return Goal(wrist, beside(figure, _level(figure), side, 1.0, -0.6, -0.3), strict=False)


def _shin(figure: Figure, side: int, draw: np.ndarray, surface: np.ndarray) -> Goal:
    """Around the shin or on the knee."""
    off = beside(figure, _level(figure), side, between(draw[:, 0], -0.2, 0.6), 0.4, 1.0)
    wrist = _on_leg(figure, side, (KNEES, ANKLES), between(draw[:, 1], 0.05, 0.6), off)
    return Goal(wrist, beside(figure, _level(figure), side, 1.0, -0.4, 0.0))


def _hip(figure: Figure, side: int, draw: np.ndarray, surface: np.ndarray) -> Goal:
    wrist = figure.joints[:, HIPS[side]] + beside(
        figure,
        figure.trunk,
        side,
        between(draw[:, 0], 0.07, 0.12),
        between(draw[:, 1], 0.08, 0.16),
        between(draw[:, 2], -0.05, 0.06),
    )
    return Goal(wrist, beside(figure, figure.trunk, side, 1.0, 0.0, between(draw[:, 3], -0.9, 0.1)))


def _front(figure: Figure, side: int, draw: np.ndarray, surface: np.ndarray) -> Goal:
    """Stretched out ahead."""
    rise = np.radians(between(draw[:, 0], -30, 25))
    out = np.radians(between(draw[:, 1], -12, 22))
    direction = beside(figure, _level(figure), side, np.sin(out), np.sin(rise), np.cos(rise))
    pole = beside(figure, _level(figure), side, between(draw[:, 3], 0.2, 1.0), -1.0, 0.0)
    return _stretched(figure, side, direction, between(draw[:, 2] ** 2, 5, 60), pole)


def _chest(figure: Figure, side: int, draw: np.ndarray, surface: np.ndarray) -> Goal:
    """Before the chest, as one holds a thing."""
    wrist = figure.joints[:, THORAX] + beside(
        figure,
        figure.chest,
        side,
        between(draw[:, 0], 0.025, 0.16),
        between(draw[:, 1], -0.34, 0.0),
        between(draw[:, 2], 0.16, 0.36),
    )
    pole = beside(figure, figure.chest, side, between(draw[:, 3], 0.3, 1.0), -1.0, -0.3)
    return Goal(wrist, pole)


def _folded(figure: Figure, side: int, draw: np.ndarray, surface: np.ndarray) -> Goal:
    """Arms crossed before the chest, one over the other."""
    wrist = figure.joints[:, THORAX] + beside(
        figure,
        figure.chest,
        side,
        between(draw[:, 0], -0.13, -0.06),
        between(draw[:, 1], -0.24, -0.14) + 0.05 * side,
        between(draw[:, 2], 0.15, 0.19) + 0.05 * side,
    )
    return Goal(wrist, beside(figure, figure.chest, side, 1.0, -0.9, -0.1))


def _behind(figure: Figure, side: int, draw: np.ndarray, surface: np.ndarray) -> Goal:
    """Hands held behind the back."""
    wrist = figure.joints[:, 0] + beside(
        figure,
        figure.trunk,
        side,
        between(draw[:, 0], 0.03, 0.1),
        between(draw[:, 1], 0.0, 0.14),
        between(draw[:, 2], -0.2, -0.14),
    )
    return Goal(wrist, beside(figure, figure.trunk, side, 1.0, 0.0, -0.5))


def _face(figure: Figure, side: int, draw: np.ndarray, surface: np.ndarray) -> Goal:
    """A hand at the chin, the ear or before the face."""
    head = 0.5 * (figure.joints[:, NOSE] + figure.joints[:, HEAD_TOP])
    wrist = head + beside(
        figure,
        figure.chest,
        side,
        between(draw[:, 0], 0.03, 0.15),
        between(draw[:, 1], -0.2, 0.02),
        between(draw[:, 2], 0.1, 0.24),
    )
    pole = beside(figure, figure.chest, side, between(draw[:, 3], 0.2, 1.0), -1.0, 0.2)
    return Goal(wrist, pole)


def _up(figure: Figure, side: int, draw: np.ndarray, surface: np.ndarray) -> Goal:
    """Raised overhead."""
    direction = beside(
        figure,
        figure.chest,
        side,
        between(draw[:, 0], -0.1, 0.55),
        1.0,
        between(draw[:, 1], -0.05, 0.9),
    )
    pole = beside(figure, figure.chest, side, 1.0, -0.3, between(draw[:, 3], -0.2, 0.4))
    return _stretched(figure, side, direction, between(draw[:, 2] ** 2, 4, 80), pole)


def _aside(figure: Figure, side: int, draw: np.ndarray, surface: np.ndarray) -> Goal:
    """Stretched out to the side."""
    direction = beside(
        figure,
        figure.chest,
        side,
        1.0,
        between(draw[:, 0], -0.7, 0.45),
        between(draw[:, 1], -0.15, 0.9),
    )
    pole = beside(figure, figure.chest, side, 0.0, -1.0, between(draw[:, 3], -0.6, 0.0))
    return _stretched(figure, side, direction, between(draw[:, 2] ** 2, 4, 60), pole)


def _along(figure: Figure, side: int, draw: np.ndarray, surface: np.ndarray) -> Goal:
    """Beside the trunk, as somebody lies; the hand on what the body lies on."""
    wrist = figure.joints[:, HIPS[side]] + beside(
        figure,
        figure.trunk,
        side,
        between(draw[:, 0], 0.1, 0.3),
        between(draw[:, 1], -0.08, 0.22),
        0.0,
    )
    wrist[:, 1] = surface + WRIST_M * figure.scale
    return Goal(wrist, beside(figure, figure.trunk, side, 1.0, 0.3, 0.0), wrist[:, 1])


def _belly(figure: Figure, side: int, draw: np.ndarray, surface: np.ndarray) -> Goal:
    """On the belly or the chest."""
    place = between(draw[:, 1], 0.3, 0.75)[:, None]
    wrist = figure.joints[:, 0] + place * (figure.joints[:, THORAX] - figure.joints[:, 0])
    ahead = between(draw[:, 2], 0.125, 0.16)
    wrist += beside(figure, figure.trunk, side, between(draw[:, 0], 0.0, 0.1), 0.0, ahead)
    return Goal(wrist, beside(figure, figure.trunk, side, 1.0, -0.1, -0.2))


def _overhead(figure: Figure, side: int, draw: np.ndarray, surface: np.ndarray) -> Goal:
    """Beside or above the head, as somebody lies; the hand on what the body lies on."""
    wrist = figure.joints[:, NOSE] + beside(
        figure,
        figure.trunk,
        side,
        between(draw[:, 0], 0.12, 0.38),
        between(draw[:, 1], -0.05, 0.3),
        0.0,
    )
    wrist[:, 1] = surface + WRIST_M * figure.scale
    return Goal(wrist, beside(figure, figure.trunk, side, 1.0, -0.1, 0.1), wrist[:, 1])


GOALS: dict[str, Callable[[Figure, int, np.ndarray, np.ndarray], Goal]] = {
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
"""Where a hand goes, by name; each takes the figure, the side, draws (N, 5) and a height (N,)."""
