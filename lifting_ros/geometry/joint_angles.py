# SPDX-License-Identifier: Apache-2.0
"""Anatomical joint angles of a skeleton of 17 joint centres, with standard deviations, and the
orientations of its segments.

Axes of a segment are those of `body_frame`: x forward, y to the person's left, z up along the
segment while standing. The International Society of Biomechanics (ISB) has X forward, Y up and Z to
the right: its X, Y, Z are x, z, -y here. All angles are 0 while standing upright with the arms down
(shoulder rotation: with the elbow bent and the forearm forward). Left angles are those of the
mirrored person, so a symmetric pose has the same values on both sides.

Sequences, each about the axes of the segment as they were turned before:

- Trunk: the thorax against the pelvis, ISB order Z X Y (Wu et al., J. Biomech. 35, 2002): flexion
  forward about y, bending to the right about x, rotation to the left about z.
- Neck: the line from the thorax to the top of the head against the thorax, as the trunk. Its
  rotation is not given: the nose lies almost on that line.
- Hip: the thigh against the pelvis, ISB order Z X Y (Wu et al. 2002): flexion, abduction (away from
  the midline), internal rotation. The axis of the knee defines the rotation.
- Knee: flexion alone, 0 to pi (Grood and Suntay, J. Biomech. Eng. 105, 1983). The knee is taken as
  a hinge; its other two angles, and a knee bent backwards, cannot be told from three points.
- Ankle: not given. It requires the toes, which are not among the joints.
- Shoulder: the humerus against the thorax, ISB order Y X Y (Wu et al., J. Biomech. 38, 2005): plane
  of elevation (0 is abduction to the side, pi/2 flexion forward), elevation from 0 to pi, internal
  rotation. The axis of the elbow defines the rotation (the second option of Wu et al.). ISB counts
  elevation negative; here it is positive.
- Elbow: flexion alone, 0 to pi. The hinge axis is taken as perpendicular to the arm, without a
  carrying angle; pronation cannot be told.

The pelvis has its y axis along the hips, as with ISB. Its tilt cannot be told from the hips: z is
the line from the pelvis to the spine, made perpendicular to y. What the lumbar spine bends is
therefore in the flexion of the hips, and the trunk's flexion is that above it. The thorax has z
from the spine to the thorax, and y along the shoulders, made perpendicular to z: rotation and
bending of the trunk are those of the shoulder girdle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from lifting_ros.geometry.body_frame import unit, upright_axes
from lifting_ros.skeleton import JOINT_COUNT, JOINT_NAMES

ANGLES = (
    "trunk_flexion",
    "trunk_bending",
    "trunk_rotation",
    "neck_flexion",
    "neck_bending",
    "right_hip_flexion",
    "right_hip_abduction",
    "right_hip_rotation",
    "right_knee_flexion",
    "left_hip_flexion",
    "left_hip_abduction",
    "left_hip_rotation",
    "left_knee_flexion",
    "left_shoulder_plane",
    "left_shoulder_elevation",
    "left_shoulder_rotation",
    "left_elbow_flexion",
    "right_shoulder_plane",
    "right_shoulder_elevation",
    "right_shoulder_rotation",
    "right_elbow_flexion",
)
"""Names of the angles, in the order of the arrays below."""

SEGMENTS = (
    "pelvis",
    "thorax",
    "right_thigh",
    "right_shank",
    "left_thigh",
    "left_shank",
    "left_upper_arm",
    "left_forearm",
    "right_upper_arm",
    "right_forearm",
)
"""Names of the segments that have an orientation."""

_LIMBS = (
    (("right_hip", "right_knee", "right_ankle"), True),
    (("left_hip", "left_knee", "left_ankle"), True),
    (("left_shoulder", "left_elbow", "left_wrist"), False),
    (("right_shoulder", "right_elbow", "right_wrist"), False),
)
"""The joints of each leg and arm, and whether it bends backwards."""

LEAST_LEVERAGE = float(np.sin(np.radians(20.0)))
"""Sine below which an angle counts as undefined: of the bend of the knee or elbow that defines a
rotation, and of the distance from a pole of the sequence (the arm hanging or straight up, the thigh
straight to the side)."""

_POLE_RAD = float(np.radians(1.0))
"""Distance from 0 or pi within which an angle that cannot be negative has no first-order standard
deviation."""

_UNSIGNED = np.array(
    [name.endswith(("knee_flexion", "elevation", "elbow_flexion")) for name in ANGLES]
)
"""(A,) which angles are from 0 to pi."""

_STEP_M = 1e-4
"""Step of the numerical derivatives."""

_BATCH = 128
"""Persons whose derivatives are computed at a time, which limits the memory."""

_MIRRORED = np.array([1.0, -1.0, 1.0])
"""Factors of x, y and z that mirror a person."""


@dataclass(frozen=True)
class JointAngles:
    """The angles `ANGLES` of N persons; A is their number."""

    rad: np.ndarray
    """(N, A) radians, in (-pi, pi]; NaN where a joint is unknown or the angle is undefined."""
    std_rad: np.ndarray
    """(N, A) standard deviations; NaN where the angle or a covariance is."""


class Reading(NamedTuple):
    """An angle of every pose, or several along the last axis."""

    rad: np.ndarray
    """(...,) as the positions say, however ill-defined."""
    leverage: np.ndarray
    """(...,) the sine that must be at least LEAST_LEVERAGE for the angle to be defined."""


def joint_angles(
    joints_m: np.ndarray,
    covariance_m2: np.ndarray,
) -> JointAngles:
    """Angles of persons from their joints (N, 17, 3), with standard deviations.

    joints_m: in any frame, metres; NaN where a joint is invalid. covariance_m2: (N, 17, 3, 3) of
    the joints relative to the root, as in `Skeleton3D`; the angles do not depend on where the root
    is.

    The standard deviations are propagated to the first order, var = sum over j of g_j' C_j g_j with
    the gradients g_j of the angle. Given the root, the joints are taken as independent, because a
    skeleton has no covariances between joints. A standard deviation is NaN where a covariance of a
    joint that the angle depends on is, and within 1 degree of the ends of angles from 0 to pi.
    """
    reading = read_angles(joints_m)
    defined = reading.leverage >= LEAST_LEVERAGE
    rad = np.where(defined, reading.rad, np.nan)

    std = np.full(rad.shape, np.nan)
    for start in range(0, len(joints_m), _BATCH):
        rows = slice(start, start + _BATCH)
        std[rows] = _standard_deviations(joints_m[rows], covariance_m2[rows])

    from_pole = np.minimum(rad, np.pi - rad)
    at_pole = (from_pole < _POLE_RAD) & _UNSIGNED
    std[np.isnan(rad) | at_pole] = np.nan
    return JointAngles(rad, std)


def _standard_deviations(
    joints_m: np.ndarray,
    covariance_m2: np.ndarray,
) -> np.ndarray:
    """Standard deviations (N, A) from central differences of the angles."""
    steps = _STEP_M * np.eye(3 * JOINT_COUNT)
    steps = steps.reshape(-1, JOINT_COUNT, 3)  # 51, 17, 3
    pose = joints_m[:, None]
    there = read_angles(pose + steps)
    back = read_angles(pose - steps)

    change = wrapped(there.rad - back.rad)  # N, 51, A
    gradient = change / (2 * _STEP_M)
    gradient = gradient.reshape(-1, JOINT_COUNT, 3, len(ANGLES))

    # A joint without influence does not count, even if its covariance is unknown
    product = np.einsum("njab,njbk->njak", covariance_m2, gradient)
    terms = np.where(gradient == 0, 0.0, gradient * product)
    variance = terms.sum((1, 2))
    return np.sqrt(variance)


def wrapped(rad: np.ndarray) -> np.ndarray:
    """Differences of angles, from -pi to pi."""
    turn = 2 * np.pi
    return rad - turn * np.round(rad / turn)


def read_angles(joints_m: np.ndarray) -> Reading:
    """The angles `ANGLES`, (..., A), of joints (..., 17, 3), also where they are ill-defined.

    Forward kinematics with them gives the directions of the limbs back (`body_model`). NaN where a
    joint is unknown or a limb is too short to have a direction.
    """
    pelvis = pelvis_axes(joints_m)
    thorax = thorax_axes(joints_m)
    readings = [
        *cardan_angles(within(pelvis, thorax)),
        *_neck(joints_m, thorax),
        *_leg(joints_m, pelvis, "right"),
        *_leg(joints_m, pelvis, "left"),
        *_arm(joints_m, thorax, "left"),
        *_arm(joints_m, thorax, "right"),
    ]

    rad, leverage = zip(*readings, strict=True)
    return Reading(np.stack(rad, -1), np.stack(leverage, -1))


def pelvis_axes(joints_m: np.ndarray) -> np.ndarray:
    """Axes (..., 3, 3) of the pelvis as columns: y along the hips, z towards the spine."""
    hips = between(joints_m, "right_hip", "left_hip")
    up = between(joints_m, "pelvis", "spine")

    y = unit(hips)
    x = unit(np.cross(y, up))
    z = np.cross(x, y)
    return np.stack([x, y, z], -1)


def thorax_axes(joints_m: np.ndarray) -> np.ndarray:
    """Axes (..., 3, 3) of the thorax as columns: z from the spine to the thorax, y along the
    shoulders."""
    up = between(joints_m, "spine", "thorax")
    left = between(joints_m, "right_shoulder", "left_shoulder")
    return upright_axes(up, left)


def between(
    joints_m: np.ndarray,
    start: str,
    end: str,
) -> np.ndarray:
    """Vectors (..., 3) from one joint to another."""
    near = JOINT_NAMES.index(start)
    far = JOINT_NAMES.index(end)
    return joints_m[..., far, :] - joints_m[..., near, :]


def within(
    axes: np.ndarray,
    columns: np.ndarray,
) -> np.ndarray:
    """Column vectors (..., 3, K) in the coordinates of axes (..., 3, 3)."""
    inverse = np.swapaxes(axes, -1, -2)
    return inverse @ columns


def direction_in(
    axes: np.ndarray,
    joints_m: np.ndarray,
    start: str,
    end: str,
    mirror: bool = False,
) -> np.ndarray:
    """Directions (..., 3) from one joint to another in the coordinates of axes (..., 3, 3), of the
    mirrored person if `mirror`."""
    along = unit(between(joints_m, start, end))
    columns = within(axes, along[..., None])
    direction = columns[..., 0]
    return direction * _MIRRORED if mirror else direction


def components(vectors: np.ndarray) -> np.ndarray:
    """x, y and z, (3, ...), of vectors (..., 3)."""
    return np.moveaxis(vectors, -1, 0)


def cardan_angles(rotation: np.ndarray) -> tuple[Reading, Reading, Reading]:
    """Flexion about y, bending about x and rotation about z, in this order, of rotations
    (..., 3, 3)."""
    up = rotation[..., :, 2]
    flexion, bending = _lean(up)

    leftwards = rotation[..., 1, :]
    x, y, _ = components(leftwards)
    turn = np.arctan2(x, y)

    return flexion, bending, Reading(turn, flexion.leverage)


def _neck(
    joints_m: np.ndarray,
    thorax: np.ndarray,
) -> tuple[Reading, Reading]:
    """Flexion and bending of the neck."""
    up = direction_in(thorax, joints_m, "thorax", "head_top")
    return _lean(up)


def _lean(up: np.ndarray) -> tuple[Reading, Reading]:
    """Flexion about y and bending about x, in this order, of a direction (..., 3) that is up at
    zero."""
    x, y, z = components(up)
    level = np.hypot(x, z)
    flexion = np.arctan2(x, z)
    bending = np.arctan2(-y, level)

    return Reading(flexion, level), Reading(bending, _always(level))


def _always(leverage: np.ndarray) -> np.ndarray:
    """The leverage of an angle that every direction defines."""
    return np.ones_like(leverage)


def _leg(
    joints_m: np.ndarray,
    pelvis: np.ndarray,
    side: str,
) -> tuple[Reading, ...]:
    """Flexion, abduction and internal rotation of a hip, flexion of the knee."""
    mirror = side == "left"
    thigh = direction_in(pelvis, joints_m, f"{side}_hip", f"{side}_knee", mirror)
    shank = direction_in(pelvis, joints_m, f"{side}_knee", f"{side}_ankle", mirror)

    # Hip
    x, y, z = components(thigh)
    level = np.hypot(x, z)
    flexion = np.arctan2(x, -z)
    abduction = np.arctan2(-y, level)

    # Knee
    zero = np.zeros_like(flexion)
    forward = np.stack([np.cos(flexion), zero, np.sin(flexion)], -1)
    rotation, knee = _hinge(thigh, shank, np.cross(thigh, shank), forward, level)

    return Reading(flexion, level), Reading(abduction, _always(level)), rotation, knee


def _arm(
    joints_m: np.ndarray,
    thorax: np.ndarray,
    side: str,
) -> tuple[Reading, ...]:
    """Plane of elevation, elevation and internal rotation of a shoulder, flexion of the elbow."""
    mirror = side == "left"
    arm = direction_in(thorax, joints_m, f"{side}_shoulder", f"{side}_elbow", mirror)
    forearm = direction_in(thorax, joints_m, f"{side}_elbow", f"{side}_wrist", mirror)

    # Shoulder
    x, y, z = components(arm)
    raised = np.hypot(x, y)
    plane = np.arctan2(x, -y)
    elevation = np.arctan2(raised, -z)

    # Elbow
    zero = np.zeros_like(plane)
    forward = np.stack([np.cos(plane), np.sin(plane), zero], -1)
    rotation, elbow = _hinge(arm, forearm, np.cross(forearm, arm), forward, raised)

    return Reading(plane, raised), Reading(elevation, _always(raised)), rotation, elbow


def _hinge(
    upper: np.ndarray,
    lower: np.ndarray,
    axis: np.ndarray,
    forward: np.ndarray,
    leverage: np.ndarray,
) -> tuple[Reading, Reading]:
    """Internal rotation of the upper part of a limb, and flexion of the knee or elbow.

    upper, lower: (..., 3) directions of the parts; axis: (..., 3) of the knee or elbow, to the left
    and as long as the sine of the bend; forward: (..., 3) as for `_twist`; leverage: (...,) of
    `forward`.
    """
    bend = np.linalg.norm(axis, axis=-1)
    rotation = _twist(forward, upper, axis)
    flexion = angle_between(upper, lower)
    return Reading(rotation, np.minimum(leverage, bend)), Reading(flexion, _always(leverage))


def _twist(
    forward: np.ndarray,
    limb: np.ndarray,
    axis: np.ndarray,
) -> np.ndarray:
    """Rotation (...,) of a limb about itself that takes its left to the axis of its joint; 0 for a
    straight limb.

    forward: (..., 3) the limb's x axis before that rotation; limb: (..., 3) its direction away from
    the body; axis: (..., 3) of any length.
    """
    left = np.cross(forward, limb)
    sine = (axis * -forward).sum(-1)
    cosine = (axis * left).sum(-1)

    straight = np.hypot(sine, cosine) == 0
    return np.where(straight, 0.0, np.arctan2(sine, cosine))


def angle_between(
    directions: np.ndarray,
    others: np.ndarray,
) -> np.ndarray:
    """Angles (...,) from 0 to pi between directions (..., 3) of length 1."""
    normal = np.cross(directions, others)
    sine = np.linalg.norm(normal, axis=-1)
    cosine = (directions * others).sum(-1)
    return np.arctan2(sine, cosine)


def segment_orientations(joints_m: np.ndarray) -> np.ndarray:
    """Orientations (N, S, 4) of the segments `SEGMENTS` of joints (N, 17, 3): quaternions
    x, y, z, w.

    They turn the coordinates of a segment into the frame of the joints: x forward, y to the
    person's left, z up while standing. Pelvis and thorax: as for the angles. Limbs: z from the far
    to the near end, y along the axis of the knee or elbow, which therefore both parts of a limb
    share. NaN where a joint is unknown, or the knee or elbow is too straight or too folded to tell.
    """
    axes = [pelvis_axes(joints_m), thorax_axes(joints_m)]
    for limb, bends_back in _LIMBS:
        axes += _limb_axes(joints_m, limb, bends_back)

    matrices = np.stack(axes, 1)  # N, S, 3, 3
    known = np.isfinite(matrices).all((-1, -2))
    quaternions = np.full((*known.shape, 4), np.nan)
    if known.any():
        rotations = Rotation.from_matrix(matrices[known])
        quaternions[known] = rotations.as_quat()

    return quaternions


def _limb_axes(
    joints_m: np.ndarray,
    limb: tuple[str, str, str],
    bends_back: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Axes (..., 3, 3) of the two parts of a limb between three joints."""
    near, middle, far = limb
    upper = unit(between(joints_m, near, middle))
    lower = unit(between(joints_m, middle, far))

    axis = np.cross(upper, lower)
    left = axis if bends_back else -axis
    bend = np.linalg.norm(axis, axis=-1, keepdims=True)
    left = np.where(bend >= LEAST_LEVERAGE, left, np.nan)
    return upright_axes(-upper, left), upright_axes(-lower, left)
