# SPDX-License-Identifier: Apache-2.0
"""Poses the body: bone rotations from 17 mocap joints, linear blend skinning, and the 17 joints of
the posed body.

All poses are in metres, y up, in the joint order of the package (Human3.6M).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lifting_ros.geometry.rotations import unit
from lifting_ros.research.rendering.body import BodyModel, Rig, Shape
from lifting_ros.research.rendering.synthetic_algebra import (
    between,
    frame,
    place_bones,
    skin,
    swing,
    turn,
)

UP = np.array([0.0, 1.0, 0.0])
SIDES = (("Left", "L", (4, 5, 6), (11, 12, 13)), ("Right", "R", (1, 2, 3), (14, 15, 16)))
"""Prefix and letter of a side's bones, joints of its leg and of its arm."""
MAX_HEEL_PITCH = np.radians(50.0)
"""Largest angle of a foot whose heel is raised, radians."""

_LIMB_BONES = ("UpLeg", "Leg", "Foot", "Arm", "ForeArm", "Hand")
"""Bones whose heads are joints of a leg and of an arm."""


@dataclass(frozen=True)
class PosedBody:
    """Bones and joints of a posed body, metres, y up."""

    rotations: np.ndarray
    """(B, 3, 3) from rest to world."""
    heads_m: np.ndarray
    """(B, 3) where the bones begin."""
    joints_m: np.ndarray
    """(17, 3) the body's own joints; head_top is the crown."""

    def moved(self, R, t) -> "PosedBody":
        """In another frame: X -> R X + t with R (3, 3) a rotation and t (3,) metres."""
        rotations = R @ self.rotations
        heads = self.heads_m @ R.T + t
        joints = self.joints_m @ R.T + t
        return PosedBody(rotations, heads, joints)


@dataclass(frozen=True)
class Manner:
    """Angles that 17 joints do not determine, radians."""

    head_yaw: float = 0.0
    head_pitch: float = 0.0
    hand_roll: tuple = (0.0, 0.0)
    """Left, right."""
    finger_curl: float = 0.3


class _Limb(NamedTuple):
    """An arm or a leg of the pose, and the bones it moves."""

    joints: np.ndarray
    """(3, 3) from the trunk outwards."""
    trunk: np.ndarray
    """(3, 3) rotation of the chest or the pelvis."""
    side: str
    """Left or Right, the prefix of the bones."""
    letter: str
    """L or R, the prefix of the thumb."""


def bone_rotations(
    model: BodyModel,
    shape: Shape,
    pose_m,
    manner: Manner = Manner(),
) -> np.ndarray:
    """(B, 3, 3) rotation of each bone from rest to world, for a pose (17, 3) in metres, y up."""
    pose = np.asarray(pose_m, float)
    rest = _RestPose(model.rig, shape)
    turns = {}

    # Trunk and head
    pelvis, chest = _trunk(pose)
    for name in ("Hips", "LHipJoint", "RHipJoint"):
        turns[name] = pelvis
    for name, share in (("LowerBack", 0.35), ("Spine", 0.75), ("Spine1", 1.0)):
        turns[name] = between(pelvis, chest, share)
    _head(turns, rest, pose, chest, manner)

    # Limbs
    lowest = pose[[3, 6], 1].min()
    for (side, letter, leg, arm), roll in zip(SIDES, manner.hand_roll):
        upper_limb = _Limb(pose[list(arm)], chest, side, letter)
        _arm(turns, rest, upper_limb, roll, manner.finger_curl)
        lower_limb = _Limb(pose[list(leg)], pelvis, side, letter)
        _leg(turns, rest, lower_limb, lowest)

    return np.stack([turns[name] for name in model.rig.names])


class _RestPose:
    """Directions between the bone heads of a shape at rest."""

    def __init__(self, rig: Rig, shape: Shape):
        self._rig = rig
        self._heads = shape.heads_m
        self.crown = shape.vertices_m[shape.crown]

    def head(self, bone: str) -> np.ndarray:
        """(3,) metres."""
        number = self._rig.index(bone)
        return self._heads[number]

    def along(self, bone: str, child: str) -> np.ndarray:
        """(3,) from the head of a bone to that of another one."""
        start = self.head(bone)
        end = self.head(child)
        return end - start


def pose_body(
    model: BodyModel,
    shape: Shape,
    pose_m,
    manner: Manner = Manner(),
) -> PosedBody:
    """The body in the pose (17, 3): its pelvis is where the pose has it in x and z, its lowest skin
    vertex at y = 0."""
    pose = np.asarray(pose_m, float)
    rotations = bone_rotations(model, shape, pose, manner)
    heads = place_bones(model.rig.parents, shape.heads_m, rotations, np.zeros(3))

    first, last = model.groups["body"][[0, -1]]  # the numbers are one range
    part = slice(first, last + 1)
    vertices, _ = skin(
        shape.vertices_m[part],
        shape.normals[part],
        model.bone_index[part],
        model.bone_weight[part],
        rotations,
        shape.heads_m,
        heads,
    )
    crown = vertices[shape.crown - first]
    joints = body_joints(model, heads, crown)

    shift = pose[0] - joints[0]
    shift[1] = -vertices[:, 1].min()
    return PosedBody(rotations, heads + shift, joints + shift)


def body_joints(
    model: BodyModel,
    heads,
    crown,
) -> np.ndarray:
    """(17, 3) joints of the posed rig, from bone heads (B, 3) and the top of the head (3,)."""
    at = dict(zip(model.rig.names, heads))
    left = [at[f"Left{bone}"] for bone in _LIMB_BONES]
    right = [at[f"Right{bone}"] for bone in _LIMB_BONES]
    pelvis = (left[0] + right[0]) / 2

    # Motion capture has it between the base of the skull and the crown
    nose = at["Head"] + 0.3 * (crown - at["Head"])

    spine = [at["Spine"], at["Neck"], nose, crown]
    legs = [*right[:3], *left[:3]]
    arms = [*left[3:], *right[3:]]
    return np.array([pelvis, *legs, *spine, *arms])


def _trunk(pose):
    """Rotations (3, 3) of pelvis and chest."""
    root = pose[0]
    spine = pose[7]
    thorax = pose[8]
    hips = pose[4] - pose[1]
    shoulders = pose[11] - pose[14]

    # The upper spine alone is short and noisy
    upper_spine = unit(thorax - spine)
    whole_spine = unit(thorax - root)
    chest_up = upper_spine + whole_spine

    pelvis = frame(spine - root, unit(hips))
    chest = frame(chest_up, unit(shoulders))
    rest = frame(UP, np.array([1.0, 0, 0]))
    return pelvis @ rest.T, chest @ rest.T


def _head(turns, rest, pose, chest, manner):
    """Add the rotations of neck and head."""
    at_rest = rest.crown - rest.head("Neck")
    tilt = swing(chest @ at_rest, pose[10] - pose[8])
    head = between(np.eye(3), tilt, 0.85) @ chest
    head = head @ turn(UP, manner.head_yaw) @ turn([1, 0, 0], manner.head_pitch)

    turns["Neck"] = between(chest, head, 0.4)
    turns["Neck1"] = between(chest, head, 0.7)
    turns["Head"] = head


def _hinge(natural, bend):
    """Axis of an elbow or knee: that of the bend, or the natural one where the limb is straight."""
    axis = bend + 0.25 * natural
    against = min(float(axis @ natural), 0.0)
    return axis - against * natural + 1e-3 * natural


def _arm(turns, rest, arm, roll, curl):
    """Add the rotations of the bones of an arm; roll of the hand and curl of the fingers in
    radians."""
    side = arm.side
    chest = arm.trunk
    shoulder, elbow, wrist = arm.joints
    upper_rest = rest.along(f"{side}Arm", f"{side}ForeArm")
    fore_rest = rest.along(f"{side}ForeArm", f"{side}Hand")
    upper = unit(elbow - shoulder)
    fore = unit(wrist - elbow)

    # The shoulder follows a raised arm
    outwards = 1 if arm.letter == "L" else -1
    raised = max(float(upper @ chest[:, 1]), -0.2) + 0.2
    whole = swing(chest[:, 0] * outwards, upper)
    shrug = between(np.eye(3), whole, 0.22 * raised)
    turns[f"{side}Shoulder"] = shrug @ chest

    # Upper arm and forearm bend about one axis
    axis_rest = unit(np.cross(unit(upper_rest), unit(fore_rest)))
    hanging = swing(chest @ upper_rest, upper) @ chest
    axis = _hinge(hanging @ axis_rest, np.cross(upper, fore))
    turns[f"{side}Arm"] = frame(upper, axis) @ frame(upper_rest, axis_rest).T
    forearm = frame(fore, axis) @ frame(fore_rest, axis_rest).T
    turns[f"{side}ForeArm"] = turn(fore, 0.4 * roll) @ forearm

    # Hand and fingers
    hand = turn(fore, roll) @ forearm
    turns[f"{side}Hand"] = hand
    turns[f"{arm.letter}Thumb"] = hand
    knuckles = np.cross(unit(fore_rest), axis_rest) * outwards
    turns[f"{side}FingerBase"] = hand @ turn(knuckles, 0.6 * curl)
    turns[f"{side}HandFinger1"] = hand @ turn(knuckles, curl)


def _leg(turns, rest, leg, lowest):
    """Add the rotations of the bones of a leg. lowest: height of the lower ankle, metres."""
    names = [f"{leg.side}{bone}" for bone in ("UpLeg", "Leg", "Foot", "ToeBase")]
    pelvis = leg.trunk
    hip, knee, ankle = leg.joints
    thigh_rest = rest.along(names[0], names[1])
    shin_rest = rest.along(names[1], names[2])
    toe_rest = rest.along(names[2], names[3])
    thigh = unit(knee - hip)
    shin = unit(ankle - knee)

    # Thigh and shin bend about one axis
    across = np.array([1.0, 0, 0])
    hanging = swing(pelvis @ thigh_rest, thigh) @ pelvis
    axis = _hinge(unit(hanging @ across), np.cross(thigh, shin))
    turns[names[0]] = frame(thigh, axis) @ frame(thigh_rest, across).T
    shin_turn = frame(shin, axis) @ frame(shin_rest, across).T
    turns[names[1]] = shin_turn

    height = ankle[1] - lowest
    foot, toes = _foot(shin_turn, axis, shin, height, toe_rest)
    turns[names[2]] = foot
    turns[names[3]] = toes


def _foot(shin_turn, axis, shin, height, toe):
    """Rotations (3, 3) of foot and toes.

    Under an upright shin near the floor the foot is level, with the heel raised by the `height` of
    the ankle; otherwise it continues the shin.
    """
    level = np.array([axis[0], 0.0, axis[2]])
    standing = np.clip((-shin[1] - 0.45) / 0.3, 0, 1)
    near_floor = np.clip((0.30 - height) / 0.2, 0, 1)
    upright = standing * near_floor
    if upright <= 0 or np.linalg.norm(level) < 0.3:
        return shin_turn, shin_turn

    rest = frame(UP, np.array([1.0, 0, 0]))
    flat = frame(UP, level) @ rest.T
    slope = np.clip(height / np.linalg.norm(toe), 0, 1)
    pitch = min(np.arcsin(slope), MAX_HEEL_PITCH)
    foot = between(shin_turn, turn(level, pitch) @ flat, upright)

    toes = between(foot, flat, 0.6 * upright)
    return foot, toes
