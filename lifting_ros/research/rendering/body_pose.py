# SPDX-License-Identifier: Apache-2.0
"""Posing the body: from 17 mocap joints to bone rotations, linear blend skinning, and the body's
own 17 joints.

All poses are metres, y up, in the joint order of the package (Human3.6M).
"""

from dataclasses import dataclass

import numpy as np

from lifting_ros.research.rendering.body import BodyModel, Shape
from lifting_ros.research.rendering.synthetic_algebra import (
    between,
    frame,
    place_bones,
    skin,
    swing,
    turn,
    unit,
)

UP = np.array([0.0, 1.0, 0.0])
SIDES = (("Left", "L", (4, 5, 6), (11, 12, 13)), ("Right", "R", (1, 2, 3), (14, 15, 16)))
MAX_HEEL_PITCH = np.radians(50.0)


@dataclass(frozen=True)
class PosedBody:
    """Where the bones of a body are, y up, metres."""

    rotations: np.ndarray
    """(B, 3, 3) from rest to world."""
    heads_m: np.ndarray
    """(B, 3) where the bones begin."""
    joints_m: np.ndarray
    """(17, 3) the body's own joints; head_top is the crown."""

    def moved(self, R, t) -> "PosedBody":
        """In another frame: X -> R X + t with R (3, 3) a rotation and t (3,) metres."""
        return PosedBody(R @ self.rotations, self.heads_m @ R.T + t, self.joints_m @ R.T + t)


@dataclass(frozen=True)
class Manner:
    """What 17 joints leave open: radians."""

    head_yaw: float = 0.0
    head_pitch: float = 0.0
    hand_roll: tuple = (0.0, 0.0)
    """Left, right."""
    finger_curl: float = 0.3


def bone_rotations(model: BodyModel, shape: Shape, pose_m, manner: Manner = Manner()) -> np.ndarray:
    """(B, 3, 3) rotation of every bone from rest to world, for a pose (17, 3) in metres, y up."""
    pose = np.asarray(pose_m, float)
    rig = model.rig
    turns = {}
    pelvis, chest = _trunk(pose)

    for name in ("Hips", "LHipJoint", "RHipJoint"):
        turns[name] = pelvis

    for name, share in (("LowerBack", 0.35), ("Spine", 0.75), ("Spine1", 1.0)):
        turns[name] = between(pelvis, chest, share)

    _head(turns, rig, shape, pose, chest, manner)

    for k, (side, letter, leg, arm) in enumerate(SIDES):
        _arm(
            turns,
            rig,
            shape,
            pose[list(arm)],
            chest,
            side,
            letter,
            manner.hand_roll[k],
            manner.finger_curl,
        )
        _leg(turns, rig, shape, pose[list(leg)], pelvis, side, pose[[3, 6], 1].min())

    return np.stack([turns[name] for name in rig.names])


def pose_body(
    model: BodyModel, shape: Shape, pose_m, manner: Manner = Manner(), floor: bool = True
) -> PosedBody:
    """The body in the pose (17, 3). The pelvis stays where the pose has it (scaled to the body's
    legs when `floor`, which also lowers or lifts the body until its lowest skin touches y = 0)."""
    pose = np.asarray(pose_m, float)
    rotations = bone_rotations(model, shape, pose, manner)
    heads = place_bones(model.rig.parents, shape.heads_m, rotations, np.zeros(3))
    first, last = model.groups["body"][[0, -1]]  # one range
    part = slice(first, last + 1) if floor else slice(shape.crown, shape.crown + 1)
    vertices, _ = skin(
        shape.vertices_m[part],
        shape.normals[part],
        model.bone_index[part],
        model.bone_weight[part],
        rotations,
        shape.heads_m,
        heads,
    )
    joints = body_joints(model, heads, vertices[shape.crown - part.start])
    shift = pose[0] - joints[0]

    if floor:
        shift[1] = -vertices[:, 1].min()

    return PosedBody(rotations, heads + shift, joints + shift)


def body_joints(model: BodyModel, heads, crown) -> np.ndarray:
    """(17, 3) the package's joints, read off the posed rig: bone heads (B, 3) and the top of the
    head (3,)."""
    rig = model.rig
    at = {name: heads[k] for k, name in enumerate(rig.names)}
    # where motion capture puts it: between skull base and crown
    nose = at["Head"] + 0.3 * (crown - at["Head"])
    left, right = (
        [at[side + bone] for bone in ("UpLeg", "Leg", "Foot", "Arm", "ForeArm", "Hand")]
        for side in ("Left", "Right")
    )
    pelvis = (left[0] + right[0]) / 2

    return np.array(
        [pelvis, *right[:3], *left[:3], at["Spine"], at["Neck"], nose, crown, *left[3:], *right[3:]]
    )


def _trunk(pose):
    across = unit(pose[4] - pose[1])
    pelvis = frame(pose[7] - pose[0], across)
    # the upper spine alone is short and noisy
    chest_up = unit(pose[8] - pose[7]) + unit(pose[8] - pose[0])
    chest = frame(chest_up, unit(pose[11] - pose[14]))
    rest = frame(UP, np.array([1.0, 0, 0]))

    return pelvis @ rest.T, chest @ rest.T


def _head(turns, rig, shape, pose, chest, manner):
    rest = shape.vertices_m[shape.crown] - shape.heads_m[rig.index("Neck")]
    tilt = swing(chest @ rest, pose[10] - pose[8])
    head = between(np.eye(3), tilt, 0.85) @ chest
    head = head @ turn(UP, manner.head_yaw) @ turn([1, 0, 0], manner.head_pitch)
    turns["Neck"] = between(chest, head, 0.4)
    turns["Neck1"] = between(chest, head, 0.7)
    turns["Head"] = head


def _hinge(natural, bend):
    """Axis of an elbow or knee: the bend's own where it bends, else the one it has by nature."""
    axis = bend + 0.25 * natural
    against = min(float(axis @ natural), 0.0)
    return axis - against * natural + 1e-3 * natural


def _arm(  # noqa: PLR0913 - a limb needs the whole figure
    turns,
    rig,
    shape,
    arm,
    chest,
    side,
    letter,
    roll,
    curl,
):
    def rest(bone, child):
        return shape.heads_m[rig.index(child)] - shape.heads_m[rig.index(bone)]

    upper = rest(f"{side}Arm", f"{side}ForeArm")
    fore = rest(f"{side}ForeArm", f"{side}Hand")
    target_upper = unit(arm[1] - arm[0])
    target_fore = unit(arm[2] - arm[1])
    raised = max(float(target_upper @ chest[:, 1]), -0.2) + 0.2
    shrug = between(
        np.eye(3), swing(chest[:, 0] * (1 if letter == "L" else -1), target_upper), 0.22 * raised
    )
    turns[f"{side}Shoulder"] = shrug @ chest
    elbow = unit(np.cross(unit(upper), unit(fore)))
    hanging = swing(chest @ upper, target_upper) @ chest
    axis = _hinge(hanging @ elbow, np.cross(target_upper, target_fore))
    turns[f"{side}Arm"] = frame(target_upper, axis) @ frame(upper, elbow).T
    forearm = frame(target_fore, axis) @ frame(fore, elbow).T
    turns[f"{side}ForeArm"] = turn(target_fore, 0.4 * roll) @ forearm
    hand = turn(target_fore, roll) @ forearm

    for bone in (f"{side}Hand", f"{letter}Thumb"):
        turns[bone] = hand

    knuckles = np.cross(unit(fore), elbow) * (1 if letter == "L" else -1)

    for bone, share in ((f"{side}FingerBase", 0.6), (f"{side}HandFinger1", 1.0)):
        turns[bone] = hand @ turn(knuckles, share * curl)


def _leg(  # noqa: PLR0913 - a limb needs the whole figure
    turns,
    rig,
    shape,
    leg,
    pelvis,
    side,
    lowest,
):
    names = [f"{side}UpLeg", f"{side}Leg", f"{side}Foot"]
    hip, knee, ankle = (shape.heads_m[rig.index(name)] for name in names)
    thigh = unit(leg[1] - leg[0])
    shin = unit(leg[2] - leg[1])
    across = np.array([1.0, 0, 0])
    hanging = swing(pelvis @ (knee - hip), thigh) @ pelvis
    axis = _hinge(unit(hanging @ across), np.cross(thigh, shin))
    turns[names[0]] = frame(thigh, axis) @ frame(knee - hip, across).T
    turns[names[1]] = frame(shin, axis) @ frame(ankle - knee, across).T
    toe = shape.heads_m[rig.index(f"{side}ToeBase")] - ankle
    turns[names[2]], turns[f"{side}ToeBase"] = _foot(
        turns[names[1]], axis, shin, leg[2][1] - lowest, toe
    )


def _foot(shin_turn, axis, shin, height, toe):
    """Foot and toe rotations: flat on the floor (heel up as the ankle rises) under an upright shin,
    else as it."""
    level = np.array([axis[0], 0.0, axis[2]])
    standing = np.clip((-shin[1] - 0.45) / 0.3, 0, 1)
    near_floor = np.clip((0.30 - height) / 0.2, 0, 1)
    upright = standing * near_floor
    if upright <= 0 or np.linalg.norm(level) < 0.3:
        return shin_turn, shin_turn

    flat = frame(UP, level) @ frame(UP, np.array([1.0, 0, 0])).T
    slope = np.clip(height / np.linalg.norm(toe), 0, 1)
    pitch = min(np.arcsin(slope), MAX_HEEL_PITCH)
    foot = between(shin_turn, turn(level, pitch) @ flat, upright)

    return foot, between(foot, flat, 0.6 * upright)
