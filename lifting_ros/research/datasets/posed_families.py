# SPDX-License-Identifier: Apache-2.0
"""Families of poses that are rare in motion capture, such as sitting, kneeling, squatting, bending
and lying: random joint angles, with contact and balance.

Each family draws figures that face +z. The caller checks the joint limits and rejects some.
Angles are in degrees, lengths in metres of a body of MEAN_SIZE_M.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lifting_ros.research.datasets.posed_arms import Arms
from lifting_ros.research.datasets.posed_figure import (
    ANKLE_M,
    ANKLES,
    BALL_M,
    HEAD_TOP,
    HEEL_M,
    HIPS,
    KNEE_M,
    KNEES,
    MEAN_SIZE_M,
    OUTWARD,
    SEAT_M,
    Bodies,
    Figure,
    about,
    centre_of_mass,
    out_of,
)

SETTLING = 12
"""Iterations that move the centre of mass of a standing figure over its feet."""

OFF_BALANCE_M = 0.008
"""Largest distance of the centre of mass from its target."""

DORSIFLEXION_DEG = 42.0
"""Largest forward lean of the shank from the vertical, with the heel on the floor."""

LEAN_BACK_DEG = 32.0
"""Largest backward lean of the shank from the vertical."""

UNLIKE_DEG = 6.0
"""Standard deviation of the difference between the legs of somebody who sits."""

TIPTOE_M = 0.01
"""A foot with its ankle raised by more stands on its toes."""

LYING_M = {0: 0.1, KNEES[0]: 0.055, KNEES[1]: 0.055, ANKLES[0]: 0.05, ANKLES[1]: 0.05, 8: 0.09}
"""Smallest height of joints above what a body lies on."""

_GROUND = [0, 2]
"""The axes x and z."""


class Draw:
    """Random numbers for N figures."""

    def __init__(
        self,
        rng: np.random.Generator,
        count: int,
    ):
        self.rng = rng
        self.count = count

    def even(
        self,
        low: np.ndarray | float,
        high: np.ndarray | float,
    ) -> np.ndarray:
        """(N,) uniform."""
        return self.rng.uniform(low, high, self.count)

    def normal(
        self,
        mean: float,
        std: float,
    ) -> np.ndarray:
        """(N,) normal, at most two and a half standard deviations from the mean."""
        standard = np.clip(self.rng.standard_normal(self.count), -2.5, 2.5)
        return mean + std * standard

    def chance(self, share: float) -> np.ndarray:
        """(N,) bool, True in a share of the figures."""
        return self.rng.random(self.count) < share

    def which(self, shares: dict[str, float]) -> np.ndarray:
        """(N,) names, each in its share."""
        names = np.array(list(shares))
        share = np.array(list(shares.values()), float)
        probability = share / share.sum()
        chosen = self.rng.choice(len(share), self.count, p=probability)
        return names[chosen]


class Stance(NamedTuple):
    """Where the feet of N figures are."""

    ankles: np.ndarray
    """(N, 2, 3)."""
    toes: np.ndarray
    """(N, 2, 3) directions of the feet, level."""
    raised: np.ndarray
    """(N, 2) height of the ankle above that of a flat foot."""


def trunk(  # noqa: PLR0913 - the degrees of freedom of a trunk
    figure: Figure,
    draw: Draw,
    lean: np.ndarray,
    curve: np.ndarray | float = 0.0,
    level_gaze: tuple[float, float] = (0.2, 0.9),
    side: np.ndarray | float = 0.0,
    twist: float = 6.0,
    bow: float = 3.0,
) -> None:
    """Place trunk and head.

    The head is raised by a share of the lean that is drawn from `level_gaze`, and looks in a random
    direction. twist, bow: standard deviations.
    """
    leaned = lean + 0.65 * np.asarray(curve)
    raised = draw.even(*level_gaze) * leaned
    nod = np.clip(draw.normal(0, 7) - raised, -48, 35)

    twisted = draw.normal(0, twist)
    bowed = draw.normal(0, bow)
    look = draw.normal(0, 12)
    figure.hold_trunk(lean, side, curve, twisted, bowed, nod, look)


def stance(
    draw: Draw,
    figure: Figure,
    width: tuple[float, float] = (0.05, 0.2),
    stagger: float = 0.05,
    toe_out: tuple[float, float] = (-3.0, 28.0),
    raised: np.ndarray | float = 0.0,
) -> Stance:
    """Feet side by side, half the distance of the ankles drawn from `width`; stagger: standard
    deviation of half the distance of one ahead of the other."""
    count = figure.count
    scale = figure.scale
    half = draw.even(*width) * scale
    ahead = draw.normal(0, stagger) * scale
    turned = draw.even(*toe_out)
    lifted = np.broadcast_to(raised, (count, 2)) * scale[:, None]

    ankles = np.zeros((count, 2, 3))
    toes = np.zeros((count, 2, 3))

    for side, outward in enumerate(OUTWARD):
        angle = np.radians(turned + draw.normal(0, 5))
        ankles[:, side, 0] = outward * half
        ankles[:, side, 1] = ANKLE_M * scale + lifted[:, side]
        ankles[:, side, 2] = outward * ahead
        toes[:, side, 0] = outward * np.sin(angle)
        toes[:, side, 2] = np.cos(angle)

    return Stance(ankles, toes, lifted)


def settle(  # noqa: PLR0913 - the degrees of freedom of a stance
    figure: Figure,
    draw: Draw,
    feet: Stance,
    fold_deg: np.ndarray,
    arms: Arms,
    share_left: np.ndarray | None = None,
    knees_out: np.ndarray | float = 0.0,
    forward: tuple[float, float] = (0.0, 0.07),
) -> None:
    """Stand the figure on its feet, the straighter knee bent by `fold_deg` (N,), with its centre of
    mass over them.

    share_left: (N,) share of the weight on the left foot; forward: range of the distance of the
    weight ahead of the ankles. knees_out: how far the knees point outwards of the toes, as the
    tangent of an angle.
    """
    # Target of the centre of mass
    share = draw.even(0.3, 0.7) if share_left is None else share_left
    on_toes = feet.raised.max(1) > TIPTOE_M * figure.scale
    ahead = np.where(on_toes, draw.even(0.085, 0.12), draw.even(*forward)) * figure.scale
    weight = np.stack([share, 1 - share], -1)[..., None]
    stood_on = feet.ankles + feet.toes * ahead[:, None, None]
    target = (weight * stood_on).sum(1)

    # Length of a leg whose knee is bent by `fold_deg`
    thigh, shank = figure.bodies.legs_m.transpose(2, 0, 1)
    cosine = np.cos(np.radians(fold_deg))
    chain = np.sqrt(thigh**2 + shank**2 + 2 * thigh * shank * cosine[:, None])

    start = (weight * feet.ankles).sum(1)
    start[:, 1] = 0.8
    figure.move_upper(start)

    for _ in range(SETTLING):
        rise = _rise_of_hips(figure, feet, chain)
        figure.move_upper(_upwards(rise))
        for side, outward in enumerate(OUTWARD):
            aside = outward * np.broadcast_to(knees_out, figure.count)
            pole = feet.toes[:, side] + np.stack([aside, 0.05 + 0 * rise, 0 * rise], -1)
            figure.stand_leg(side, feet.ankles[:, side], pole)

        reached = arms.place(figure)
        off = target - centre_of_mass(figure.joints)
        off[:, 1] = 0
        last = np.linalg.norm(off, axis=-1)
        figure.move_upper(1.05 * off)

    # The legs did not follow the last move
    figure.move_upper(-1.05 * off)
    figure.fits &= reached & (last < OFF_BALANCE_M)
    figure.rest[:, list(ANKLES)] = feet.ankles[..., 1]
    carry_on_feet(figure, feet)


def _rise_of_hips(
    figure: Figure,
    feet: Stance,
    chain: np.ndarray,
) -> np.ndarray:
    """(N,) how far to raise the hips until one leg is as long as `chain` (N, 2) and the other one
    not longer."""
    hips = figure.joints[:, list(HIPS)]
    level = (hips - feet.ankles)[..., _GROUND]
    apart = np.linalg.norm(level, axis=-1)
    upright = np.sqrt(np.maximum(chain**2 - apart**2, 1e-4))
    return (feet.ankles[..., 1] + upright - hips[..., 1]).min(1)


def _upwards(height: np.ndarray) -> np.ndarray:
    """Vectors (N, 3) of lengths (N,)."""
    return np.stack([0 * height, height, 0 * height], -1)


def carry_on_feet(
    figure: Figure,
    feet: Stance,
) -> None:
    """Set the support of the feet; reject figures whose ankles would bend too far."""
    scale = figure.scale
    for side in (0, 1):
        ankle = figure.joints[:, ANKLES[side]]
        toes = feet.toes[:, side]
        raised = feet.raised[:, side]

        # From the heel, or on tiptoe from behind the ball, to the ball
        flat = raised <= TIPTOE_M * scale
        back = np.where(flat, -HEEL_M, 0.7 * BALL_M) * scale
        front = BALL_M * scale
        rear_end = ankle + back[:, None] * toes
        front_end = ankle + front[:, None] * toes
        figure.support[:, side, 0] = rear_end[:, _GROUND]
        figure.support[:, side, 1] = front_end[:, _GROUND]

        # The lean of the shank, which the pitch of a raised foot adds to
        shank = figure.joints[:, KNEES[side]] - ankle
        tilt = np.degrees(np.arctan2((shank * toes).sum(-1), shank[:, 1]))
        sine = np.clip(raised / BALL_M / scale, 0, 0.9)
        pitch = np.degrees(np.arcsin(sine))
        figure.fits &= (tilt < DORSIFLEXION_DEG + pitch) & (tilt > -LEAN_BACK_DEG)


def stand(
    draw: Draw,
    bodies: Bodies,
) -> Figure:
    """Upright on nearly straight knees, often with the weight on one leg."""
    figure = Figure(bodies)
    trunk(figure, draw, draw.normal(3, 4), draw.normal(2, 5), side=draw.normal(0, 1.5))

    arms = Arms(
        draw.rng,
        draw.count,
        {
            "own": 3,
            "hang": 5,
            "hip": 1,
            "folded": 0.8,
            "behind": 0.5,
            "chest": 1.5,
            "face": 0.5,
            "front": 0.3,
            "up": 0.2,
        },
    )

    fold = np.where(draw.chance(0.7), draw.even(1.5, 7), draw.even(5, 20))
    feet = stance(draw, figure, (0.04, 0.22), 0.04)
    settle(figure, draw, feet, fold, arms, draw.even(0.15, 0.85))
    return figure


def squat(
    draw: Draw,
    bodies: Bodies,
) -> Figure:
    """Squatting to any depth with the heels down, the trunk leaning as balance requires."""
    figure = Figure(bodies)
    depth = draw.even(0, 1) ** 0.75
    fold = 22 + 126 * depth
    lean = draw.even(2, 18 + 42 * depth)
    curve = draw.even(-4, 10 + 20 * depth)
    trunk(figure, draw, lean, curve, side=draw.normal(0, 1.5), twist=4)

    arms = Arms(
        draw.rng,
        draw.count,
        {"front": 3.5, "hip": 1.5, "hang": 2, "chest": 2, "own": 1, "thigh": 1, "up": 0.5},
        unlike=0.12,
    )

    feet = stance(draw, figure, (0.07, 0.3), 0.02, (0, 38))

    share_left = draw.even(0.42, 0.58)
    knees_out = draw.even(-0.1, 0.3)
    settle(figure, draw, feet, fold, arms, share_left, knees_out, (0.0, 0.08))

    return figure


def rise(
    draw: Draw,
    bodies: Bodies,
) -> Figure:
    """Between sitting and standing, over the feet."""
    figure = Figure(bodies)
    depth = draw.even(0, 1)
    trunk(figure, draw, draw.even(15, 32 + 32 * depth), draw.even(0, 25), side=draw.normal(0, 2))

    arms = Arms(
        draw.rng,
        draw.count,
        {"thigh": 4, "hang": 2, "own": 2, "front": 1, "chest": 0.5},
        unlike=0.25,
    )

    feet = stance(draw, figure, (0.06, 0.2), 0.05)
    settle(figure, draw, feet, 15 + 90 * depth, arms, forward=(-0.02, 0.08))
    return figure


def crouch(
    draw: Draw,
    bodies: Bodies,
) -> Figure:
    """Low, on flat feet or on the toes, side by side or one ahead."""
    figure = Figure(bodies)
    trunk(figure, draw, draw.even(0, 65), draw.even(0, 30), side=draw.normal(0, 3))

    arms = Arms(
        draw.rng,
        draw.count,
        {"thigh": 3, "between_knees": 3, "down": 3, "hang": 1, "own": 1, "chest": 1, "shin": 0.5},
    )

    one_raised = draw.chance(0.6)
    lifted = np.where(one_raised, draw.even(0.05, 0.09), 0.0)
    other = np.where(draw.chance(0.5), lifted, 0.0)
    raised = np.stack([lifted, other], -1)

    feet = stance(draw, figure, (0.06, 0.22), 0.11, (0, 32), raised)
    settle(figure, draw, feet, draw.even(70, 153), arms, knees_out=draw.even(-0.1, 0.5))

    return figure


def bend(
    draw: Draw,
    bodies: Bodies,
) -> Figure:
    """Bent down to the floor or half way, on straight or bent knees."""
    figure = Figure(bodies)
    lean = draw.even(28, 118)
    trunk(figure, draw, lean, draw.even(0, 30), (0.0, 0.6), side=draw.normal(0, 3), twist=10)

    arms = Arms(
        draw.rng,
        draw.count,
        {"down": 5, "hang": 2, "thigh": 1, "shin": 1, "own": 0.7, "front": 0.8, "hip": 0.4},
    )

    fold = np.where(draw.chance(0.45), draw.even(1.5, 12), draw.even(10, 75))
    feet = stance(draw, figure, (0.05, 0.26), 0.09)
    settle(figure, draw, feet, fold, arms, forward=(-0.01, 0.08))
    return figure


def lean(
    draw: Draw,
    bodies: Bodies,
) -> Figure:
    """Leaning forwards, backwards or to a side on straight knees."""
    figure = Figure(bodies)
    ahead = np.where(draw.chance(0.5), draw.even(-18, 8), draw.even(5, 40))
    aside = np.where(draw.chance(0.5), draw.even(-26, 26), draw.normal(0, 3))
    trunk(figure, draw, ahead, draw.normal(3, 9), side=aside, twist=8, bow=8)

    arms = Arms(
        draw.rng,
        draw.count,
        {"own": 3, "hang": 3, "hip": 2, "aside": 1, "up": 1, "folded": 1, "chest": 1, "face": 0.5},
    )

    fold = np.where(draw.chance(0.6), draw.even(1.5, 8), draw.even(5, 30))
    feet = stance(draw, figure, (0.05, 0.32), 0.1)
    settle(figure, draw, feet, fold, arms, draw.even(0.1, 0.9))
    return figure


def lean_on(
    draw: Draw,
    bodies: Bodies,
) -> Figure:
    """Standing, the hands on a table before the body."""
    figure = Figure(bodies)
    trunk(figure, draw, draw.even(8, 65), draw.even(0, 25), side=draw.normal(0, 3))

    table = draw.even(0.62, 1.08) * figure.scale
    arms = Arms(draw.rng, draw.count, {"desk": 1.0}, table)
    feet = stance(draw, figure, (0.05, 0.24), 0.1)
    fold = np.where(draw.chance(0.6), draw.even(1.5, 8), draw.even(5, 40))
    settle(figure, draw, feet, fold, arms, draw.even(0.2, 0.8), forward=(0.0, 0.13))
    return figure


def reach(
    draw: Draw,
    bodies: Bodies,
) -> Figure:
    """One hand or both stretched out up, ahead, aside or down, and the body with them."""
    figure = Figure(bodies)
    lean = draw.even(-8, 45)
    curve = draw.normal(4, 10)
    trunk(figure, draw, lean, curve, (0.3, 1.2), side=draw.normal(0, 7), twist=17, bow=8)

    arms = Arms(
        draw.rng,
        draw.count,
        {"up": 4, "front": 4, "aside": 2, "down": 1, "own": 1, "hang": 2, "hip": 0.7},
        unlike=0.75,
    )

    on_toes = np.where(draw.chance(0.2), draw.even(0.03, 0.09), 0.0)
    raised = np.stack([on_toes, on_toes], -1)
    feet = stance(draw, figure, (0.05, 0.25), 0.12, raised=raised)

    fold = np.where(draw.chance(0.6), draw.even(1.5, 10), draw.even(5, 45))
    settle(figure, draw, feet, fold, arms, draw.even(0.1, 0.9))

    return figure


def lunge(
    draw: Draw,
    bodies: Bodies,
) -> Figure:
    """A long step, the front knee bent, the rear heel raised."""
    figure = Figure(bodies)
    trunk(figure, draw, draw.even(-5, 45), draw.normal(3, 8), twist=10)

    arms = Arms(
        draw.rng,
        draw.count,
        {"own": 2, "hang": 2, "hip": 1.5, "thigh": 1.5, "front": 1, "up": 0.5, "down": 1},
    )

    lifted = np.stack([np.zeros(draw.count), draw.even(0.04, 0.1)], -1)
    feet = stance(draw, figure, (0.05, 0.17), 0.0, (-5, 18), lifted)
    half = 0.5 * draw.even(0.3, 0.95) * figure.leg_m()
    feet.ankles[:, 0, 2] = half
    feet.ankles[:, 1, 2] = -half

    settle(figure, draw, feet, draw.even(15, 100), arms, draw.even(0.35, 0.9))

    return figure


def step_up(
    draw: Draw,
    bodies: Bodies,
) -> Figure:
    """One foot on a step, a stool or a chair."""
    figure = Figure(bodies)
    trunk(figure, draw, draw.even(-3, 45), draw.normal(4, 8), twist=8)

    arms = Arms(
        draw.rng,
        draw.count,
        {"own": 2, "hang": 2, "hip": 1, "thigh": 2, "shin": 1, "chest": 1, "down": 0.5},
    )

    feet = stance(draw, figure, (0.05, 0.2), 0.0)
    feet.ankles[:, 0, 1] += draw.even(0.1, 0.55) * figure.scale
    feet.ankles[:, 0, 2] += draw.even(0.1, 0.45) * figure.scale
    settle(figure, draw, feet, draw.even(1.5, 20), arms, draw.even(0.02, 0.5))

    return figure


def sit_trunk(
    figure: Figure,
    draw: Draw,
    shares: dict[str, float],
) -> None:
    """Place the trunk of a seated figure; shares: of the manners, by name."""
    manner = draw.which(shares)
    manners = [manner == name for name in ("upright", "slumped", "back", "ahead")]

    lean = np.select(
        manners,
        [draw.normal(1, 6), draw.even(-18, 8), draw.even(-45, -8), draw.even(8, 58)],
    )
    curve = np.select(
        manners,
        [draw.normal(2, 5), draw.even(10, 34), draw.even(0, 28), draw.even(-3, 30)],
    )

    trunk(figure, draw, lean, curve, (0.2, 1.0), side=draw.normal(0, 3), twist=8, bow=5)


def seat_legs(
    figure: Figure,
    draw: Draw,
    shank_deg: np.ndarray,
    out_deg: np.ndarray,
    dangle: np.ndarray | None = None,
) -> None:
    """Place the legs of a figure whose hips are in place, the feet flat on the floor.

    shank: how far the feet are ahead of the knees; out: how far the thighs point outwards. dangle:
    (N,) whether the feet hang; their thighs are level.
    """
    hanging = np.zeros(figure.count, bool) if dangle is None else dangle
    ankle = ANKLE_M * figure.scale

    for side, outward in enumerate(OUTWARD):
        # Direction of the shank
        apart = np.radians(out_deg + draw.normal(0, UNLIKE_DEG))
        swing = np.radians(np.clip(shank_deg + draw.normal(0, UNLIKE_DEG), -50, 88))
        tilt = np.radians(draw.normal(0, 5))
        aside = tilt - draw.even(0.0, 0.8) * apart * np.cos(swing)
        heading = apart * draw.even(0.3, 1.0)
        x = outward * (np.sin(heading) * np.sin(swing) + np.sin(aside))
        z = np.cos(heading) * np.sin(swing)
        shank = np.stack([x, -np.cos(swing), z], -1)
        shank /= np.linalg.norm(shank, axis=-1, keepdims=True)

        # Direction of the thigh: its rise brings the ankle to its height
        thigh_m, shank_m = figure.bodies.legs_m[:, side].T
        hip = figure.joints[:, HIPS[side], 1]
        rising = (ankle - shank_m * shank[:, 1] - hip) / thigh_m
        figure.fits &= hanging | (np.abs(rising) < 0.85)
        level = np.sin(np.radians(draw.normal(-4, 7)))
        rising = np.where(hanging, level, np.clip(rising, -0.99, 0.99))
        reach = np.sqrt(1 - rising**2)
        x = outward * np.sin(apart) * reach
        z = np.cos(apart) * reach
        thigh = np.stack([x, rising, z], -1)

        figure.point_leg(side, thigh, shank)
        figure.rest[:, ANKLES[side]] = np.where(hanging, np.nan, ankle)


def sit_down_on(
    figure: Figure,
    seat: np.ndarray,
) -> None:
    """Move the figure so that its hips rest on a seat of height (N,)."""
    height = seat + SEAT_M * figure.scale
    figure.move(_upwards(height))
    figure.rest[:, 0] = height


def cross_legs(
    figure: Figure,
    draw: Draw,
    rows: np.ndarray,
) -> None:
    """Lay the right leg of `rows` (N,) over the left knee."""
    scale = figure.scale
    hip = figure.joints[:, HIPS[1]]
    x = draw.even(-0.06, 0.05) * scale
    y = draw.even(0.1, 0.14) * scale
    z = draw.even(0, 0.08) * scale
    knee = figure.joints[:, KNEES[0]] + np.stack([x, y, z], -1)

    hang = np.radians(draw.even(-5, 45))
    inward = draw.even(0.05, 0.5)
    shank = np.stack([inward, -np.cos(hang), np.sin(hang)], -1)

    joints = figure.joints.copy()
    figure.point_leg(1, knee - hip, shank)
    _lift_foot(figure, rows, joints)


def ankle_on_knee(
    figure: Figure,
    draw: Draw,
    rows: np.ndarray,
) -> None:
    """Lay the right ankle of `rows` (N,) on the left thigh near the knee."""
    scale = figure.scale
    hip = figure.joints[:, HIPS[0]]
    thigh = figure.joints[:, KNEES[0]] - hip
    place = draw.even(0.78, 0.98)
    above = np.stack([draw.even(0.0, 0.1) * scale, 0.1 * scale, 0 * scale], -1)
    ankle = hip + place[:, None] * thigh + above
    pole = np.stack([-np.ones(figure.count), draw.even(0.1, 0.8), draw.even(0.2, 0.8)], -1)

    joints = figure.joints.copy()
    figure.stand_leg(1, ankle, pole)
    _lift_foot(figure, rows, joints)


def _lift_foot(
    figure: Figure,
    rows: np.ndarray,
    joints: np.ndarray,
) -> None:
    """Take the right foot of `rows` (N,) off the floor; the other rows get back their `joints`
    (N, 17, 3)."""
    figure.rest[rows, ANKLES[1]] = np.nan
    figure.joints[~rows] = joints[~rows]


def _sit(  # noqa: PLR0913 - the parts of a seated figure
    draw: Draw,
    bodies: Bodies,
    seat: tuple[float, float],
    trunks: dict[str, float],
    legs: dict[str, float],
    arms: dict[str, float],
    surface: np.ndarray | float | None = None,
) -> Figure:
    """Sitting on a seat, the feet on the floor, crossed or hanging."""
    figure = Figure(bodies)
    sit_trunk(figure, draw, trunks)
    height = draw.even(*seat) * figure.scale
    sit_down_on(figure, height)

    manner = draw.which(legs)

    swing = np.select(
        [manner == "stretched", manner == "tucked"],
        [draw.even(22, 68), draw.even(-42, -8)],
        draw.normal(4, 11),
    )

    out = np.where(draw.chance(0.3), draw.normal(-1, 3), draw.even(-2, 32))
    seat_legs(figure, draw, swing, out, dangle=manner == "dangling")
    cross_legs(figure, draw, manner == "crossed")
    ankle_on_knee(figure, draw, manner == "ankle on knee")

    hands_on = height if surface is None else surface
    doing = Arms(draw.rng, draw.count, arms, hands_on)
    figure.fits &= doing.place(figure)
    return figure


def sit_chair(
    draw: Draw,
    bodies: Bodies,
) -> Figure:
    """On chairs of usual height."""
    return _sit(
        draw,
        bodies,
        (0.38, 0.52),
        {"upright": 4, "slumped": 2.5, "back": 1.5, "ahead": 2.5},
        {"flat": 5, "stretched": 1.2, "tucked": 1, "crossed": 1.4, "ankle on knee": 0.7},
        {
            "thigh": 5,
            "lap": 2,
            "own": 1.5,
            "armrest": 1.5,
            "chest": 1.5,
            "between_knees": 1.2,
            "face": 1,
            "folded": 0.7,
            "hang": 0.5,
            "seat": 0.7,
            "front": 0.4,
            "up": 0.3,
        },
    )


def sit_low(
    draw: Draw,
    bodies: Bodies,
) -> Figure:
    """On sofas, low stools, steps and kerbs."""
    return _sit(
        draw,
        bodies,
        (0.14, 0.4),
        {"upright": 2, "slumped": 3, "back": 3, "ahead": 2},
        {"flat": 5, "stretched": 2.5, "tucked": 0.6, "crossed": 1, "ankle on knee": 0.6},
        {
            "thigh": 4,
            "lap": 2,
            "own": 1,
            "armrest": 2,
            "seat": 1,
            "chest": 1.5,
            "between_knees": 2,
            "face": 1,
            "folded": 0.5,
            "shin": 0.5,
        },
    )


def sit_high(
    draw: Draw,
    bodies: Bodies,
) -> Figure:
    """On stools, tables and walls, the feet on the floor or hanging; some are half standing."""
    return _sit(
        draw,
        bodies,
        (0.5, 0.8),
        {"upright": 4, "slumped": 2, "ahead": 3, "back": 0.7},
        {"flat": 4, "stretched": 2, "dangling": 4},
        {
            "thigh": 4,
            "lap": 2,
            "own": 2,
            "seat": 2,
            "chest": 1.5,
            "folded": 1,
            "hang": 1,
            "face": 1,
        },
    )


def sit_edge(
    draw: Draw,
    bodies: Bodies,
) -> Figure:
    """On the edge of a bed or a bench, the hands often beside the hips."""
    return _sit(
        draw,
        bodies,
        (0.3, 0.62),
        {"upright": 3, "slumped": 3, "ahead": 3, "back": 1},
        {"flat": 4, "dangling": 2, "stretched": 1, "tucked": 1},
        {"seat": 5, "thigh": 2, "lap": 1, "between_knees": 1, "face": 1, "own": 0.5, "prop": 0.5},
    )


def sit_desk(
    draw: Draw,
    bodies: Bodies,
) -> Figure:
    """At a desk or a table, the hands on it."""
    table = draw.even(0.62, 0.8) * bodies.size_m / MEAN_SIZE_M
    return _sit(
        draw,
        bodies,
        (0.39, 0.54),
        {"upright": 4, "slumped": 2, "ahead": 3},
        {"flat": 5, "tucked": 2, "stretched": 1.2, "crossed": 0.5},
        {"desk": 6, "face": 0.6, "chest": 0.6, "thigh": 0.6},
        table,
    )


def sit_floor(
    draw: Draw,
    bodies: Bodies,
) -> Figure:
    """On the floor, legs stretched out, drawn up, or one of each."""
    figure = Figure(bodies)
    sit_trunk(figure, draw, {"upright": 2, "slumped": 3, "back": 3, "ahead": 3})
    sit_down_on(figure, 0 * figure.scale)

    ankle_m = ANKLE_M * figure.scale
    both_up = draw.chance(0.45)
    one_up = draw.chance(0.45)
    out = draw.even(-2, 30)

    for side, outward in enumerate(OUTWARD):
        drawn_up = both_up | one_up if side == 0 else both_up
        hip = figure.joints[:, HIPS[side]]
        leg = figure.bodies.legs_m[:, side].sum(1)
        apart = np.radians(out + draw.normal(0, 5))

        # The ankle on the floor, at some share of the leg's length from the hip
        far = np.where(drawn_up, draw.even(0.25, 0.75), draw.even(0.86, 0.996)) * leg
        drop = hip[:, 1] - ankle_m
        level = np.sqrt(np.maximum(far**2 - drop**2, 1e-4))
        direction = np.stack([outward * np.sin(apart), 0 * apart, np.cos(apart)], -1)
        ankle = hip + level[:, None] * direction
        ankle[:, 1] = ankle_m

        tilt = np.where(drawn_up, draw.normal(0.1, 0.3), draw.even(-0.1, 0.7))
        pole = np.stack([outward * tilt, np.ones(figure.count), 0.2 + 0 * tilt], -1)
        figure.stand_leg(side, ankle, pole)
        figure.rest[:, ANKLES[side]] = ankle_m

    arms = Arms(
        draw.rng,
        draw.count,
        {"prop": 3, "shin": 3, "thigh": 2, "lap": 1, "between_knees": 1.5, "own": 1, "face": 0.5},
        unlike=0.4,
    )

    figure.fits &= arms.place(figure)
    return figure


def cross_legged(
    draw: Draw,
    bodies: Bodies,
) -> Figure:
    """On the floor or a cushion, the shanks crossed before the body."""
    figure = Figure(bodies)
    sit_trunk(figure, draw, {"upright": 4, "slumped": 4, "ahead": 2, "back": 0.5})
    sit_down_on(figure, draw.even(0, 0.12) * figure.scale)

    scale = figure.scale
    ahead = draw.even(0.16, 0.36) * scale
    past = draw.even(0.0, 0.2) * scale

    for side, outward in enumerate(OUTWARD):
        # The left shank lies before the right one
        depth = ahead + (0.11 * scale if side == 0 else 0.0)
        height = np.where(side == 0, ANKLE_M * scale * 0.8, draw.even(0.06, 0.12) * scale)
        ankle = np.stack([-outward * past, height, depth], -1)
        aside = outward * np.ones(figure.count)
        pole = np.stack([aside, draw.even(-0.05, 0.5), draw.even(0.1, 0.7)], -1)
        figure.stand_leg(side, ankle, pole)

        if side == 0:
            figure.rest[:, ANKLES[0]] = height
        figure.fits &= figure.joints[:, KNEES[side], 1] > KNEE_M * scale * 0.9

    arms = Arms(
        draw.rng,
        draw.count,
        {"thigh": 4, "lap": 3, "between_knees": 1, "own": 1, "chest": 1, "face": 0.7, "prop": 0.7},
    )

    figure.fits &= arms.place(figure)
    return figure


def kneel(
    draw: Draw,
    bodies: Bodies,
) -> Figure:
    """On both knees, from upright to sitting on the heels."""
    figure = Figure(bodies)
    sunk = draw.even(0, 1) ** 0.7
    back = np.degrees(np.arcsin(np.clip(0.95 * sunk, 0, 1)))
    tilt = np.where(draw.chance(0.4), draw.even(62, 80), 0.9 * back)
    lean = draw.even(-6, 32) + 0.12 * tilt
    trunk(figure, draw, lean, draw.even(-3, 22), side=draw.normal(0, 2))
    _kneel_legs(figure, draw, tilt)

    arms = Arms(
        draw.rng,
        draw.count,
        {"thigh": 4, "own": 2, "hang": 2, "lap": 1, "front": 1, "down": 1.5, "chest": 1, "hip": 1},
    )

    figure.fits &= arms.place(figure)
    _balance_on_knees(figure)
    return figure


def _kneel_legs(
    figure: Figure,
    draw: Draw,
    tilt_deg: np.ndarray,
) -> None:
    """Place both knees on the floor, the thighs leaning back from the vertical by `tilt_deg`
    (N,)."""
    out = np.radians(draw.even(-2, 20))
    raised = np.where(draw.chance(0.4), draw.even(0.1, 0.14), draw.even(0.05, 0.09))
    knee_m = KNEE_M * figure.scale
    ankle_m = raised * figure.scale

    # Height of the hips
    hip = figure.joints[:, HIPS[0], 1]
    thigh_m = figure.bodies.legs_m[:, 0, 0]
    down = np.cos(np.radians(tilt_deg)) * np.cos(out)
    height = knee_m + thigh_m * down - hip
    figure.move(_upwards(height))

    for side, outward in enumerate(OUTWARD):
        # Direction of the thigh, from the height of its hip
        thigh_m, shank_m = figure.bodies.legs_m[:, side].T
        drop = (figure.joints[:, HIPS[side], 1] - knee_m) / thigh_m
        figure.fits &= drop < 0.995
        level = np.sqrt(np.maximum(1 - drop**2, 1e-6))
        length = np.sqrt(np.maximum(level**2 - np.sin(out) ** 2, 0))
        ahead = np.sign(tilt_deg + 1e-6) * length
        thigh = np.stack([outward * np.sin(out), -drop, ahead], -1)
        figure.fits &= level > np.abs(np.sin(out)) - 0.02

        # Direction of the shank, to the height of the ankle
        inward = np.radians(draw.even(-4, 12))
        sink = (ankle_m - knee_m) / shank_m
        run = np.sqrt(1 - sink**2)
        x = -outward * np.sin(inward) * run
        z = -np.cos(inward) * run
        shank = np.stack([x, sink, z], -1)

        figure.point_leg(side, thigh, shank)
        figure.rest[:, KNEES[side]] = knee_m
        figure.rest[:, ANKLES[side]] = ankle_m
        figure.fits &= np.abs(np.linalg.norm(thigh, axis=-1) - 1) < 1e-2


def _balance_on_knees(figure: Figure) -> None:
    """Set the support of knees and toes."""
    for side in (0, 1):
        ankle = figure.joints[:, ANKLES[side]]
        knee = figure.joints[:, KNEES[side]]
        support = figure.support[:, side]

        support[:, 0] = ankle[:, _GROUND]
        support[:, 0, 1] -= 0.08 * figure.scale
        support[:, 1] = knee[:, _GROUND]
        support[:, 1, 1] += 0.04 * figure.scale


def half_kneel(
    draw: Draw,
    bodies: Bodies,
) -> Figure:
    """The right knee on the floor, the left foot ahead of it."""
    figure = Figure(bodies)
    tilt = draw.even(-12, 60)
    trunk(figure, draw, draw.even(-4, 45), draw.even(-3, 25), side=draw.normal(0, 3), twist=9)
    _kneel_legs(figure, draw, tilt)

    # The left foot
    scale = figure.scale
    hip = figure.joints[:, HIPS[0]]
    swing = np.radians(draw.even(-15, 32))
    turned = np.radians(draw.even(-5, 35))
    toes = np.stack([np.sin(turned), 0 * turned, np.cos(turned)], -1)
    ankle = hip.copy()
    ankle[:, 1] = ANKLE_M * scale
    thigh_m = figure.bodies.legs_m[:, 0, 0]
    step = draw.even(0.55, 1.05) * thigh_m
    ahead = np.sin(swing) * 0.2 * scale
    ankle += step[:, None] * toes
    ankle += ahead[:, None] * np.array([0.0, 0, 1])

    # The left leg
    aside = np.stack([draw.normal(0, 0.2), 0 * swing, 0 * swing], -1)
    pole = toes + np.array([0.0, 1.0, 0.0]) + aside
    figure.stand_leg(0, ankle, pole)
    figure.rest[:, KNEES[0]] = np.nan
    figure.rest[:, ANKLES[0]] = ankle[:, 1]

    arms = Arms(
        draw.rng,
        draw.count,
        {"thigh": 4, "own": 1.5, "hang": 1.5, "shin": 1, "down": 2.5, "chest": 1.5, "front": 0.7},
    )

    figure.fits &= arms.place(figure)
    _balance_on_knees(figure)

    heel = ankle - HEEL_M * scale[:, None] * toes
    ball = ankle + BALL_M * scale[:, None] * toes
    figure.support[:, 0, 0] = heel[:, _GROUND]
    figure.support[:, 0, 1] = ball[:, _GROUND]

    return figure


def all_fours(
    draw: Draw,
    bodies: Bodies,
) -> Figure:
    """On hands and knees."""
    figure = Figure(bodies)
    lean = draw.even(62, 108)
    curve = draw.even(-12, 22)
    trunk(figure, draw, lean, curve, (0.0, 0.6), side=draw.normal(0, 3))
    _kneel_legs(figure, draw, draw.even(-25, 42))

    arms = Arms(draw.rng, draw.count, {"floor": 1.0})
    figure.fits &= arms.place(figure)
    return figure


def lie(
    draw: Draw,
    bodies: Bodies,
) -> Figure:
    """On the back, the belly or a side, legs straight, drawn up, or one of each."""
    figure = Figure(bodies)
    manner = draw.which({"back": 4, "belly": 1.3, "side": 3})
    back = manner == "back"
    belly = manner == "belly"
    rolled = np.select([back, belly], [draw.normal(0, 6), 180 + draw.normal(0, 6)], 0.0)
    rolled = np.where(manner == "side", draw.even(65, 118), rolled)
    raised = np.where(back & draw.chance(0.3), draw.even(10, 48), draw.normal(3, 2))

    # Along the trunk the head leads to -z; the roll is about that line
    turn = about(0, -90 + raised, figure.count) @ about(1, rolled, figure.count)
    curve = np.where(manner == "side", draw.even(0, 30), draw.normal(3, 6))
    twist = draw.normal(0, 8)
    bow = draw.normal(0, 4)
    nod = np.where(back, draw.even(-8, 28), draw.normal(0, 9))
    look = np.where(back, draw.normal(0, 20), draw.normal(0, 8))
    figure.hold_trunk(0 * raised, 0.0, curve, twist, bow, nod, look, turn=turn)
    _lying_legs(figure, draw, manner)

    # On a side the hand below cannot lie beside the hip
    arms = Arms(
        draw.rng,
        draw.count,
        {"along": 3, "own": 1.5, "belly": 2, "overhead": 1.2, "chest": 1, "face": 0.7, "hip": 0.5},
        unlike=0.0,
    )

    side_arms = Arms(draw.rng, draw.count, {"own": 1, "chest": 3, "face": 1.5, "front": 0.5})
    flat = manner != "side"
    _drop_on_bed(figure)

    own_arms = figure.joints.copy()
    reached_flat = arms.place(figure)
    flat_joints = figure.joints.copy()
    flat_rest = figure.rest.copy()
    figure.joints[:] = own_arms
    reached_side = side_arms.place(figure)
    figure.joints[flat] = flat_joints[flat]
    figure.rest[flat] = flat_rest[flat]
    figure.fits &= np.where(flat, reached_flat, reached_side)

    return figure


def _lying_legs(
    figure: Figure,
    draw: Draw,
    manner: np.ndarray,
) -> None:
    """Place the legs by their angles: hips and knees bent together, so that the feet stay near the
    ground."""
    both = draw.which({"straight": 4, "bent": 3, "one": 3})
    out = draw.even(-2, 22)
    belly = manner == "belly"
    on_side = manner == "side"

    for side, outward in enumerate(OUTWARD):
        # Flexion of hip and knee; in most figures both legs are bent alike
        bent = (both == "bent") | ((both == "one") & (side == 0))
        if side == 0:
            flexed = np.where(bent, draw.even(15, 75), draw.even(0, 9))
            folded = np.where(bent, draw.even(1.0, 2.1) * flexed, 1.6 * flexed)
        else:
            same = bent & draw.chance(0.7)
            alike = flexed + draw.normal(0, 7)
            own = np.where(bent, draw.even(15, 75), draw.even(0, 9))
            flexed = np.where(same, alike, own)
            folded = np.where(same, folded + draw.normal(0, 9), 1.6 * flexed)

        # On the belly only the knee bends
        flexed = np.where(belly & ~bent, 0.3 * flexed, flexed)
        flexed = np.where(belly & bent, draw.normal(0, 4), flexed)
        folded = np.clip(folded, 2, 140)

        # On a side the upper leg sinks onto the lower one
        apart = out * np.where(on_side, 0.15, 1.0) + draw.normal(0, 4)
        if side == 1:
            apart = np.where(on_side, draw.even(-14, 0), apart)

        # Directions in the frame of the trunk
        apart = np.radians(apart)
        aside = outward * np.sin(apart)
        half_aside = outward * 0.5 * np.sin(apart)
        thigh = _down_the_trunk(np.radians(flexed), apart, aside)
        shank = _down_the_trunk(np.radians(flexed - folded), apart, half_aside)
        figure.point_leg(side, out_of(figure.trunk, thigh), out_of(figure.trunk, shank))


def _down_the_trunk(
    flexion: np.ndarray,
    apart: np.ndarray,
    aside: np.ndarray,
) -> np.ndarray:
    """Directions (N, 3) in the frame of the trunk, downwards, bent forwards by `flexion` and
    outwards by `apart`, radians (N,); aside: their x (N,)."""
    down = -np.cos(flexion) * np.cos(apart)
    ahead = np.sin(flexion) * np.cos(apart)
    return np.stack([aside, down, ahead], -1)


def _drop_on_bed(figure: Figure) -> None:
    """Lower the figure until one of the joints that carry it lies on the ground."""
    numbers = np.array(list(LYING_M))
    least = np.array(list(LYING_M.values())) * figure.scale[:, None]
    above = figure.joints[:, numbers, 1] - least
    drop = -above.min(1)
    figure.move(_upwards(drop))

    touching = numbers[above.argmin(1)]
    rows = np.arange(figure.count)
    figure.rest[rows, touching] = figure.joints[rows, touching, 1]

    # Hips and chest both lie near the ground
    hips = figure.joints[:, list(HIPS), 1].min(1)
    figure.fits &= hips < 0.2 * figure.scale
    figure.fits &= figure.joints[:, HEAD_TOP, 1] > 0.05 * figure.scale


class Family(NamedTuple):
    """A kind of pose."""

    draw: Callable[[Draw, Bodies], Figure]
    share: float
    """Of all generated poses, before they are divided by the sum."""
    balanced: bool
    """Whether its centre of mass is over what it stands on."""


FAMILIES: dict[str, Family] = {
    "stand": Family(stand, 1.2, True),
    "lean": Family(lean, 0.7, True),
    "lean_on": Family(lean_on, 0.6, True),
    "reach": Family(reach, 1.2, True),
    "bend": Family(bend, 1.4, True),
    "squat": Family(squat, 2.2, True),
    "rise": Family(rise, 1.0, True),
    "crouch": Family(crouch, 1.2, True),
    "lunge": Family(lunge, 0.6, True),
    "step_up": Family(step_up, 0.5, True),
    "sit_chair": Family(sit_chair, 2.4, False),
    "sit_low": Family(sit_low, 1.2, False),
    "sit_high": Family(sit_high, 0.8, False),
    "sit_edge": Family(sit_edge, 0.8, False),
    "sit_desk": Family(sit_desk, 1.4, False),
    "sit_floor": Family(sit_floor, 1.0, False),
    "cross_legged": Family(cross_legged, 0.8, False),
    "kneel": Family(kneel, 0.9, True),
    "half_kneel": Family(half_kneel, 0.8, True),
    "all_fours": Family(all_fours, 0.5, False),
    "lie": Family(lie, 1.2, False),
}
"""By name."""
