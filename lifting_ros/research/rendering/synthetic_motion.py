# SPDX-License-Identifier: Apache-2.0
"""A short motion for the demo clip: a recorded walk in, a turn, sitting down, getting up, and a
recorded walk out.

World: metres, y up, floor at y = 0. Poses are (17, 3). The walks are motion capture with the body's
bone lengths. Between them, two-bone inverse kinematics keeps the planted feet in place.
"""

from dataclasses import dataclass

import numpy as np

from lifting_ros.geometry.rotations import unit
from lifting_ros.research.rendering.body import BodyModel, Shape
from lifting_ros.research.rendering.body_pose import UP, turn
from lifting_ros.skeleton import JOINT_FLIP

LEGS = (((4, 5, 6), 1.0), ((1, 2, 3), -1.0))
"""Joints of the left and the right leg, and their sign along the body's left."""
ARMS = ((11, 12, 13), (14, 15, 16))
"""Joints of the left and the right arm."""
STEP_HEIGHT_M = 0.07
"""Height of an ankle in the middle of a step, relative to the floor."""


@dataclass(frozen=True)
class Build:
    """The measures of a body that a motion depends on, metres."""

    hip: float
    """From the pelvis to a hip joint."""
    thigh: float
    shin: float
    ankle: float
    """Height of the ankle above the floor."""

    @property
    def standing(self) -> float:
        """Height of the pelvis when standing with slightly bent knees."""
        straight = self.thigh + self.shin
        return self.ankle + 0.985 * straight


def build_of(model: BodyModel, shape: Shape) -> Build:
    """The measures of a shaped body."""
    hip = shape.heads_m[model.rig.index("LeftUpLeg")]
    knee = shape.heads_m[model.rig.index("LeftLeg")]
    ankle = shape.heads_m[model.rig.index("LeftFoot")]

    return Build(
        hip=abs(hip[0]),
        thigh=np.linalg.norm(knee - hip),
        shin=np.linalg.norm(ankle - knee),
        ankle=ankle[1],
    )


def resample(
    poses: np.ndarray,
    fps: float,
    new_fps: float,
) -> np.ndarray:
    """Poses (F, 17, 3) at another frame rate, by cubic (Catmull-Rom) interpolation of the
    positions."""
    last = len(poses) - 1
    at = np.arange(0, last + 1e-9, fps / new_fps)
    k = np.clip(at.astype(int), 0, last - 1)
    s = (at - k)[:, None, None]

    before = poses[np.clip(k - 1, 0, last)]
    first = poses[k]
    second = poses[k + 1]
    after = poses[np.clip(k + 2, 0, last)]

    # The cubic in Horner's form
    cubic = 3 * (first - second) + after - before
    square = 2 * before - 5 * first + 4 * second - after
    return first + 0.5 * s * (second - before + s * (square + s * cubic))


def leg_length(poses: np.ndarray) -> float:
    """Median length of the left thigh and shin over poses (F, 17, 3), metres."""
    ends = poses[:, [5, 6]]
    starts = poses[:, [4, 5]]
    bones = ends - starts
    lengths = np.linalg.norm(bones, axis=2)
    return float(np.median(lengths.sum(1)))


def carry_over(
    pose: np.ndarray,
    build: Build,
    leg_m: float,
) -> np.ndarray:
    """A pose (17, 3) of a person with legs of `leg_m`, carried over to another body: the directions
    of the bones stay, hip width and bone lengths are those of the body."""
    out = pose * (build.thigh + build.shin) / leg_m
    left = unit(pose[4] - pose[1])
    for (hip, knee, ankle), sign in LEGS:
        thigh = unit(pose[knee] - pose[hip])
        shin = unit(pose[ankle] - pose[knee])
        out[hip] = out[0] + sign * build.hip * left
        out[knee] = out[hip] + build.thigh * thigh
        out[ankle] = out[knee] + build.shin * shin

    return out


def bend(
    start,
    end,
    first: float,
    second: float,
    pole,
) -> np.ndarray:
    """Middle joint (3,) of a chain of two bones from start (3,) towards end (3,), bent towards the
    direction `pole` (3,); first, second: lengths of the bones."""
    shortest = abs(first - second) + 1e-3
    longest = first + second - 1e-3
    reach = np.clip(np.linalg.norm(end - start), shortest, longest)

    along = unit(end - start)
    aside = unit(pole - (pole @ along) * along)
    x = (first**2 - second**2 + reach**2) / (2 * reach)
    y = np.sqrt(max(first**2 - x**2, 0))
    return start + x * along + y * aside


def upper_body(poses: np.ndarray) -> np.ndarray:
    """(17, 3) mean upper body of a walk, symmetric, about the pelvis; the body faces +z."""
    mean = np.zeros((17, 3))
    for pose in poses:
        turn = facing(heading(pose))
        about_pelvis = pose - pose[0]
        mean += about_pelvis @ turn / len(poses)

    order = list(JOINT_FLIP)
    mirrored = mean[order] * [-1, 1, 1]
    return (mean + mirrored) / 2


def heading(pose: np.ndarray) -> float:
    """Direction in which the hips face: angle about y from +z, radians."""
    left = pose[4] - pose[1]
    angle = np.arctan2(-left[2], left[0])
    return float(angle)


def facing(angle: float) -> np.ndarray:
    """(3, 3) rotation about y by `angle` radians, from +z to that heading."""
    return turn(UP, angle)


def figure(  # noqa: PLR0913 - the degrees of freedom of a figure
    build: Build,
    upper,
    pelvis,
    angle: float,
    ankles,
    lean: float = 0.0,
    rest: float = 0.0,
) -> np.ndarray:
    """A pose (17, 3) with the pelvis (3,) and the left and right ankles (2, 3).

    upper: (17, 3) upper body that faces +z, about the pelvis; angle: heading; lean: of the trunk,
    forwards; both in radians. rest: from 0 (arms hang) to 1 (hands on the thighs).
    """
    R = facing(angle)
    out = pelvis + upper @ (R @ turn([1, 0, 0], lean)).T
    out[0] = pelvis

    for (leg, sign), arm, target in zip(LEGS, ARMS, ankles):
        # Leg
        hip, knee, ankle = leg
        forwards = R @ [0.12 * sign, 0.15, 1.0]
        out[hip] = pelvis + R @ [sign * build.hip, 0, 0]
        out[knee] = bend(out[hip], target, build.thigh, build.shin, forwards)
        out[ankle] = out[knee] + build.shin * unit(target - out[knee])

        # Arm
        shoulder, elbow, wrist = arm
        backwards = R @ [0.5 * sign, -0.2, -1.0]
        on_thigh = 0.3 * out[hip] + 0.7 * out[knee] + [0, 0.10, 0]
        out[wrist] += rest * (on_thigh - out[wrist])
        first = np.linalg.norm(upper[elbow] - upper[shoulder])
        second = np.linalg.norm(upper[wrist] - upper[elbow])
        out[elbow] = bend(out[shoulder], out[wrist], first, second, backwards)

    return out


def ease(s):
    """From 0 to 1 smoothly, level at both ends."""
    s = np.clip(s, 0, 1)
    return s * s * s * (s * (6 * s - 15) + 10)


def step(start, end, s: float) -> np.ndarray:
    """An ankle at the share s of a step from start to end (3,), lifted in between."""
    done = np.clip(s, 0, 1)
    lifted = STEP_HEIGHT_M * np.sin(np.pi * done) ** 2
    along = ease(s) * (end - start)
    return start + along + lifted * UP


def stance(
    build: Build,
    centre,
    angle: float,
) -> np.ndarray:
    """(2, 3) left and right ankles of a person who stands at `centre` on the floor."""
    spread = facing(angle) @ [0.85 * build.hip, 0, 0]
    ankles = np.array([centre + spread, centre - spread])
    on_floor = ankles * [1, 0, 1]
    return on_floor + [0, build.ankle, 0]


def blend_upper(
    pose,
    upper,
    angle: float,
    share: float,
) -> np.ndarray:
    """(17, 3) upper body that faces +z: a share of `upper`, and the rest from a pose with the
    heading `angle`."""
    own = (1 - share) * (pose - pose[0]) @ facing(angle)
    return share * upper + own


def halt(  # noqa: PLR0913 - the state of a walk and its sampling
    build: Build,
    upper,
    pose,
    speed,
    frames: int,
    fps: float,
    plant_front: bool = True,
):
    """From the last pose of a walk to standing; one foot stays planted, the other one closes up.

    speed (3,) of the pelvis, m/s; plant_front: whether the front foot is planted, or the rear one.
    Returns a list of `frames` poses and the centre (3,) of the stance.
    """
    angle = heading(pose)
    ankles = pose[[6, 3]]
    ahead = ankles @ facing(angle)[:, 2]
    planted = int(np.argmax(ahead) if plant_front else np.argmin(ahead))

    # Stance at the end
    offset = stance(build, np.zeros(3), angle)[planted]
    centre = (ankles[planted] - offset) * [1, 0, 1]
    goal = centre + [0, build.standing, 0]
    target = stance(build, centre, angle)

    slope = np.asarray(speed) * frames / fps
    poses = []
    for k in range(1, frames + 1):
        s = k / frames
        pelvis = _hermite(pose[0], goal, slope, s)
        feet = [step(ankles[f], target[f], s) for f in range(2)]
        feet[planted] = ankles[planted] + ease(2 * s) * (target[planted] - ankles[planted])
        blended = blend_upper(pose, upper, angle, ease(s))
        poses.append(figure(build, blended, pelvis, angle, np.array(feet)))

    return poses, centre


def set_off(
    build: Build,
    upper,
    pose,
    speed,
    frames: int,
    fps: float,
):
    """From standing to the first pose of a walk, over the foot that stays behind; arguments and
    results as for `halt`."""
    reversed_speed = -np.asarray(speed)
    backwards, centre = halt(
        build,
        upper,
        pose,
        reversed_speed,
        frames + 1,
        fps,
        plant_front=False,
    )
    return backwards[-2::-1], centre


def turn_round(
    build: Build,
    upper,
    centre,
    start: float,
    end: float,
    frames: int,
) -> list:
    """Poses that turn on the spot from heading `start` to `end` in two steps."""
    from_feet = stance(build, centre, start)
    to_feet = stance(build, centre, end)
    first = 0 if end > start else 1  # the foot on the inside of the turn

    poses = []
    for k in range(1, frames + 1):
        s = k / frames
        feet = []
        for foot in range(2):
            share = np.clip(2 * s - (foot != first), 0, 1)
            feet.append(step(from_feet[foot], to_feet[foot], share))

        height = build.standing - 0.01 * np.sin(np.pi * s)
        pelvis = centre + [0, height, 0]
        angle = start + ease(s) * (end - start)
        poses.append(figure(build, upper, pelvis, angle, np.array(feet)))

    return poses


def sit_down(
    build: Build,
    upper,
    centre,
    angle: float,
    seat_m: float,
    frames: int,
) -> list:
    """Poses from standing to sitting; `seat_m` is the height of the pelvis when seated."""
    feet = stance(build, centre, angle)
    back = facing(angle) @ [0, 0, -0.92 * build.thigh]

    poses = []
    for k in range(1, frames + 1):
        s = k / frames
        down = ease(s)
        height = build.standing + down * (seat_m - build.standing)
        pelvis = centre + ease(1.15 * s) * back + [0, height, 0]
        lean = np.radians(46 * np.sin(np.pi * s**0.85) ** 2 + 4 * down)
        hands = ease(1.2 * s - 0.2)
        poses.append(
            figure(
                build,
                upper,
                pelvis,
                angle,
                feet,
                lean,
                hands,
            )
        )

    return poses


def _hermite(
    start,
    end,
    start_slope,
    s: float,
):
    """Cubic from start to end, with the slope 0 at the end."""
    gone = 3 * s**2 - 2 * s**3
    sloped = s**3 - 2 * s**2 + s
    return (1 - gone) * start + gone * end + sloped * start_slope
