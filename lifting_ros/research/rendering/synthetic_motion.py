# SPDX-License-Identifier: Apache-2.0
"""A short motion for the demo clip: a recorded walk in, a turn, sitting down and rising, and a
recorded walk out.

World: metres, y up, floor at y = 0. Poses are (17, 3). The walks are motion capture carried over to
the body's bone lengths; between them two-bone inverse kinematics keeps planted feet where they are.
"""

from dataclasses import dataclass

import numpy as np

from lifting_ros.research.rendering.body import BodyModel, Shape
from lifting_ros.research.rendering.body_pose import UP, turn, unit
from lifting_ros.skeleton import JOINT_FLIP

LEGS = (((4, 5, 6), 1.0), ((1, 2, 3), -1.0))  # left, right and their sign along the body's left
ARMS = ((11, 12, 13), (14, 15, 16))
STEP_HEIGHT_M = 0.07


@dataclass(frozen=True)
class Build:
    """The body's measures that a motion must respect, metres."""

    hip: float
    """From the pelvis to a hip joint."""
    thigh: float
    shin: float
    ankle: float
    """Height of the ankle over the floor."""

    @property
    def standing(self) -> float:
        """Height of the pelvis of somebody who stands, knees not quite straight."""
        return self.ankle + 0.985 * (self.thigh + self.shin)


def build_of(model: BodyModel, shape: Shape) -> Build:
    """The measures of a shaped body."""
    hip, knee, ankle = (
        shape.heads_m[model.rig.index(name)] for name in ("LeftUpLeg", "LeftLeg", "LeftFoot")
    )
    return Build(abs(hip[0]), np.linalg.norm(knee - hip), np.linalg.norm(ankle - knee), ankle[1])


def resample(poses: np.ndarray, fps: float, new_fps: float) -> np.ndarray:
    """Poses (F, 17, 3) at another frame rate, by cubic (Catmull-Rom) interpolation of the
    positions."""
    at = np.arange(0, len(poses) - 1 + 1e-9, fps / new_fps)
    k = np.clip(at.astype(int), 0, len(poses) - 2)
    s = (at - k)[:, None, None]
    before, first, second, after = (poses[np.clip(k + d, 0, len(poses) - 1)] for d in (-1, 0, 1, 2))

    return first + 0.5 * s * (
        second
        - before
        + s
        * (
            2 * before
            - 5 * first
            + 4 * second
            - after
            + s * (3 * (first - second) + after - before)
        )
    )


def leg_length(poses: np.ndarray) -> float:
    """Median length of the left thigh and shin over poses (F, 17, 3), metres."""
    return float(np.median(np.linalg.norm(poses[:, [5, 6]] - poses[:, [4, 5]], axis=2).sum(1)))


def carry_over(pose: np.ndarray, build: Build, leg_m: float) -> np.ndarray:
    """The pose (17, 3) of somebody with legs of `leg_m`, on the body: same directions, own hip
    width and bone lengths."""
    out = pose * (build.thigh + build.shin) / leg_m
    left = unit(pose[4] - pose[1])
    for (hip, knee, ankle), sign in LEGS:
        out[hip] = out[0] + sign * build.hip * left
        out[knee] = out[hip] + build.thigh * unit(pose[knee] - pose[hip])
        out[ankle] = out[knee] + build.shin * unit(pose[ankle] - pose[knee])

    return out


def bend(start, end, first: float, second: float, pole) -> np.ndarray:
    """Where the middle joint of a two-bone chain lies that reaches from start towards end, bent
    towards `pole`."""
    shortest = abs(first - second) + 1e-3
    longest = first + second - 1e-3
    reach = np.clip(np.linalg.norm(end - start), shortest, longest)
    along = unit(end - start)
    aside = unit(pole - (pole @ along) * along)
    x = (first**2 - second**2 + reach**2) / (2 * reach)

    return start + x * along + np.sqrt(max(first**2 - x**2, 0)) * aside


def upper_body(poses: np.ndarray) -> np.ndarray:
    """(17, 3) mean upper body of a walk relative to the pelvis, seen from a body that faces +z."""
    mean = np.zeros((17, 3))
    for pose in poses:
        turn = facing(heading(pose))
        mean += (pose - pose[0]) @ turn / len(poses)

    mirrored = (mean * [-1, 1, 1])[list(JOINT_FLIP)]
    return (mean + mirrored) / 2


def heading(pose: np.ndarray) -> float:
    """Angle about y, radians, of the direction that the hips face; 0 is +z."""
    left = pose[4] - pose[1]
    return float(np.arctan2(-left[2], left[0]))


def facing(angle: float) -> np.ndarray:
    """(3, 3) rotation about y by `angle` radians: turns +z into the heading."""
    return turn(UP, angle)


def figure(  # noqa: PLR0913 - the degrees of freedom of a figure
    build: Build,
    upper,
    pelvis,
    angle,
    ankles,
    lean=0.0,
    rest=0.0,
) -> np.ndarray:
    """A pose (17, 3): pelvis (3,), heading and forward lean in radians, ankles (2, 3) left and
    right, `rest` from 0 (arms hang) to 1 (hands on the thighs). upper (17, 3): upper body that
    faces +z."""
    R = facing(angle)
    out = pelvis + upper @ (R @ turn([1, 0, 0], lean)).T
    out[0] = pelvis

    for k, ((hip, knee, ankle), sign) in enumerate(LEGS):
        out[hip] = pelvis + R @ [sign * build.hip, 0, 0]
        out[knee] = bend(out[hip], ankles[k], build.thigh, build.shin, R @ [0.12 * sign, 0.15, 1.0])
        out[ankle] = out[knee] + build.shin * unit(ankles[k] - out[knee])
        shoulder, elbow, wrist = ARMS[k]
        hand = 0.3 * out[hip] + 0.7 * out[knee] + [0, 0.10, 0]
        out[wrist] += rest * (hand - out[wrist])
        first, second = (
            np.linalg.norm(upper[a] - upper[b]) for a, b in ((elbow, shoulder), (wrist, elbow))
        )
        out[elbow] = bend(out[shoulder], out[wrist], first, second, R @ [0.5 * sign, -0.2, -1.0])

    return out


def ease(s):
    """Smooth 0 to 1 with level ends."""
    s = np.clip(s, 0, 1)
    return s * s * s * (s * (6 * s - 15) + 10)


def step(start, end, s: float) -> np.ndarray:
    """An ankle on its way from start to end (3,), lifted in between."""
    return (
        start + ease(s) * (end - start) + STEP_HEIGHT_M * np.sin(np.pi * np.clip(s, 0, 1)) ** 2 * UP
    )


def stance(build: Build, centre, angle: float) -> np.ndarray:
    """(2, 3) ankles, left and right, of somebody standing at `centre` on the floor."""
    spread = facing(angle) @ [0.85 * build.hip, 0, 0]
    ankles = np.array([centre + spread, centre - spread])
    on_floor = ankles * [1, 0, 1]
    return on_floor + [0, build.ankle, 0]


def blend_upper(pose, upper, angle: float, share: float) -> np.ndarray:
    """(17, 3) upper body facing +z: a share of `upper`, the rest from the pose whose heading is
    `angle`."""
    return share * upper + (1 - share) * (pose - pose[0]) @ facing(angle)


def halt(  # noqa: PLR0913 - the state of a walk and its sampling
    build,
    upper,
    pose,
    speed,
    frames: int,
    fps: float,
    plant_front: bool = True,
):
    """From the last pose of a walk to standing beside the planted foot, the front or the rear one;
    the other closes up.

    speed (3,) m/s of the pelvis. Returns a list of `frames` poses and the centre of the stance.
    """
    angle = heading(pose)
    ankles = pose[[6, 3]]
    ahead = ankles @ facing(angle)[:, 2]
    planted = int(np.argmax(ahead) if plant_front else np.argmin(ahead))
    centre = (ankles[planted] - stance(build, np.zeros(3), angle)[planted]) * [1, 0, 1]
    goal = centre + [0, build.standing, 0]
    target = stance(build, centre, angle)
    out = []

    for k in range(1, frames + 1):
        s = k / frames
        pelvis = _hermite(pose[0], goal, np.asarray(speed) * frames / fps, s)
        feet = [
            ankles[f] + ease(2 * s) * (target[f] - ankles[f])
            if f == planted
            else step(ankles[f], target[f], s)
            for f in range(2)
        ]
        out.append(
            figure(build, blend_upper(pose, upper, angle, ease(s)), pelvis, angle, np.array(feet))
        )

    return out, centre


def set_off(build, upper, pose, speed, frames: int, fps: float):
    """From standing to the first pose of a walk, over the foot that stays behind: poses and the
    stance's centre."""
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


def turn_round(build, upper, centre, start: float, end: float, frames: int) -> list:
    """Standing poses that turn on the spot from heading start to end in two steps."""
    from_feet = stance(build, centre, start)
    to_feet = stance(build, centre, end)
    first = 0 if end > start else 1  # the foot on the inside of the turn goes first
    out = []

    for k in range(1, frames + 1):
        s = k / frames
        share = [np.clip(2 * s - (f != first), 0, 1) for f in range(2)]
        feet = np.array([step(from_feet[f], to_feet[f], share[f]) for f in range(2)])
        pelvis = centre + [0, build.standing - 0.01 * np.sin(np.pi * s), 0]
        out.append(figure(build, upper, pelvis, start + ease(s) * (end - start), feet))

    return out


def sit_down(build, upper, centre, angle: float, seat_m: float, frames: int) -> list:
    """Poses from standing to sitting; `seat_m` is the pelvis's height when seated."""
    feet = stance(build, centre, angle)
    back = facing(angle) @ [0, 0, -0.92 * build.thigh]
    out = []

    for k in range(1, frames + 1):
        s = k / frames
        down = ease(s)
        lean = np.radians(46 * np.sin(np.pi * s**0.85) ** 2 + 4 * ease(s))
        pelvis = (
            centre
            + ease(1.15 * s) * back
            + [0, build.standing + down * (seat_m - build.standing), 0]
        )
        out.append(figure(build, upper, pelvis, angle, feet, lean, ease(1.2 * s - 0.2)))

    return out


def _hermite(start, end, start_slope, s: float):
    gone = 3 * s**2 - 2 * s**3
    return (1 - gone) * start + gone * end + (s**3 - 2 * s**2 + s) * start_slope
