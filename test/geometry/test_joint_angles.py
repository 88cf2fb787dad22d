# SPDX-License-Identifier: Apache-2.0
"""Anatomical angles against poses worked out by hand, their standard deviations against Monte
Carlo, and what is unknown or undefined."""

from __future__ import annotations

import numpy as np
import pytest
from people import make_poses
from scipy.spatial.transform import Rotation

from lifting_ros.geometry.joint_angles import (
    ANGLES,
    SEGMENTS,
    joint_angles,
    read_angles,
    segment_orientations,
)
from lifting_ros.skeleton import JOINT_FLIP, JOINT_NAMES

FORWARD = np.array([1.0, 0, 0])
LEFT = np.array([0, 1.0, 0])
UP = np.array([0, 0, 1.0])
OUT = {"left": LEFT, "right": -LEFT}
HINGED = ("hip_rotation", "shoulder_rotation")
"""Ends of the names of angles that a straight limb does not define."""


def standing() -> dict[str, np.ndarray]:
    """Joints of a person who stands upright and looks along x, arms down."""
    joints = {
        "pelvis": np.zeros(3),
        "spine": 0.25 * UP,
        "thorax": 0.5 * UP,
        "nose": 0.6 * UP,
        "head_top": 0.75 * UP,
    }
    for side, out in OUT.items():
        joints[f"{side}_hip"] = 0.12 * out
        joints[f"{side}_shoulder"] = 0.5 * UP + 0.18 * out
        place_leg(joints, side, -UP, -UP)
        place_arm(joints, side, -UP, -UP)

    return joints


def place_leg(joints, side, thigh, shank) -> None:
    joints[f"{side}_knee"] = joints[f"{side}_hip"] + 0.43 * np.array(thigh)
    joints[f"{side}_ankle"] = joints[f"{side}_knee"] + 0.42 * np.array(shank)


def place_arm(joints, side, arm, forearm) -> None:
    joints[f"{side}_elbow"] = joints[f"{side}_shoulder"] + 0.29 * np.array(arm)
    joints[f"{side}_wrist"] = joints[f"{side}_elbow"] + 0.25 * np.array(forearm)


def turn_above(joints, height: float, rotation: Rotation) -> None:
    """Turn everything higher than a point on the spine about it, arms included."""
    point = height * UP
    moved = ("thorax", "nose", "head_top", "shoulder", "elbow", "wrist")
    for name in joints:
        if name.endswith(moved):
            joints[name] = point + rotation.apply(joints[name] - point)


def array_of(joints) -> np.ndarray:
    return np.array([joints[name] for name in JOINT_NAMES])


def degrees_of(joints) -> dict[str, float]:
    """The angles of one person in degrees, by name."""
    found = joint_angles(array_of(joints)[None], np.zeros((1, 17, 3, 3)))
    return dict(zip(ANGLES, np.degrees(found.rad[0]), strict=True))


def check(joints, **expected: float) -> None:
    """The angles are those expected, and 0 where nothing is said and the angle is defined."""
    found = degrees_of(joints)
    assert set(expected) <= set(found)
    for name, degrees in found.items():
        wanted = expected.get(name, 0.0)
        undefined = name.endswith((*HINGED, "shoulder_plane")) and name not in expected
        if not (undefined and np.isnan(degrees)):
            assert degrees == pytest.approx(wanted, abs=1e-6, nan_ok=True), name


def test_all_is_zero_while_standing_with_the_arms_down():
    found = degrees_of(standing())
    undefined = {name for name, degrees in found.items() if np.isnan(degrees)}
    assert undefined == {f"{side}_{name}" for side in OUT for name in (*HINGED, "shoulder_plane")}
    check(standing())


def test_t_pose():
    joints = standing()
    for side, out in OUT.items():
        place_arm(joints, side, out, out)
    check(
        joints,
        left_shoulder_plane=0,
        left_shoulder_elevation=90,
        right_shoulder_plane=0,
        right_shoulder_elevation=90,
    )


def test_sitting():
    joints = standing()
    for side in OUT:
        place_leg(joints, side, FORWARD, -UP)
    expected = {}
    for side in OUT:
        expected |= {
            f"{side}_hip_flexion": 90,
            f"{side}_knee_flexion": 90,
            f"{side}_hip_rotation": 0,
        }
    check(joints, **expected)


@pytest.mark.parametrize("side", OUT)
def test_leg_raised_to_the_side_is_abduction(side):
    joints = standing()
    thigh = np.sin(0.5) * OUT[side] - np.cos(0.5) * UP
    place_leg(joints, side, thigh, thigh)
    check(joints, **{f"{side}_hip_abduction": np.degrees(0.5)})


@pytest.mark.parametrize("side", OUT)
def test_foot_swung_outwards_is_internal_rotation_of_the_hip(side):
    """Sitting, with the ankle 30 degrees to the outside of the knee."""
    joints = standing()
    shank = 0.5 * OUT[side] - np.sqrt(0.75) * UP
    place_leg(joints, side, FORWARD, shank)
    check(
        joints,
        **{
            f"{side}_hip_flexion": 90,
            f"{side}_knee_flexion": 90,
            f"{side}_hip_rotation": 30,
        },
    )


@pytest.mark.parametrize("side", OUT)
def test_thigh_behind_is_extension(side):
    joints = standing()
    thigh = -np.sin(0.3) * FORWARD - np.cos(0.3) * UP
    place_leg(joints, side, thigh, thigh)
    check(joints, **{f"{side}_hip_flexion": -np.degrees(0.3)})


@pytest.mark.parametrize("side", OUT)
def test_elbow_bent_with_the_arm_down(side):
    """The rotation of a hanging arm is undefined: it cannot be told from the plane of elevation."""
    joints = standing()
    place_arm(joints, side, -UP, FORWARD)
    check(joints, **{f"{side}_elbow_flexion": 90})
    assert np.isnan(degrees_of(joints)[f"{side}_shoulder_rotation"])


@pytest.mark.parametrize("side", OUT)
@pytest.mark.parametrize(("forearm", "rotation"), [("forward", 0.0), ("up", -90.0), ("down", 90.0)])
def test_arm_to_the_side_with_the_elbow_bent(side, forearm, rotation):
    """Throwing position: the forearm up is 90 degrees of external rotation."""
    joints = standing()
    place_arm(joints, side, OUT[side], {"forward": FORWARD, "up": UP, "down": -UP}[forearm])
    check(
        joints,
        **{
            f"{side}_shoulder_plane": 0,
            f"{side}_shoulder_elevation": 90,
            f"{side}_shoulder_rotation": rotation,
            f"{side}_elbow_flexion": 90,
        },
    )


@pytest.mark.parametrize("side", OUT)
def test_arm_to_the_front_with_the_forearm_up(side):
    """Plane 90 turns the zero of the rotation with it: the forearm up is as to the side."""
    joints = standing()
    place_arm(joints, side, FORWARD, UP)
    check(
        joints,
        **{
            f"{side}_shoulder_plane": 90,
            f"{side}_shoulder_elevation": 90,
            f"{side}_shoulder_rotation": -90,
            f"{side}_elbow_flexion": 90,
        },
    )


@pytest.mark.parametrize(
    ("axis", "name"),
    [(LEFT, "trunk_flexion"), (FORWARD, "trunk_bending"), (UP, "trunk_rotation")],
)
def test_trunk_turned_about_one_axis(axis, name):
    """Forward about y, to the right about x, to the left about z."""
    joints = standing()
    turn_above(joints, 0.25, Rotation.from_rotvec(0.4 * axis))
    check(joints, **{name: np.degrees(0.4)})


def test_neck_forward_and_to_the_right():
    joints = standing()
    neck = Rotation.from_euler("YX", [20, 10], degrees=True)
    joints["head_top"] = joints["thorax"] + neck.apply(0.25 * UP)
    check(joints, neck_flexion=20, neck_bending=10)


def test_sequences_are_those_of_the_isb():
    """Against SciPy's Euler angles: y x z for hip and trunk, z x z for the shoulder."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        hip = rng.uniform([-20, -30, -40], [100, 40, 40])
        trunk = rng.uniform(-40, 40, 3)
        shoulder = rng.uniform([-80, 30, -80], [120, 150, 80])
        knee, elbow = rng.uniform(30, 140, 2)

        thigh = Rotation.from_euler("YXZ", [-hip[0], -hip[1], hip[2]], degrees=True)
        shank = thigh * Rotation.from_euler("Y", knee, degrees=True)
        arm = Rotation.from_euler("ZXZ", [shoulder[0], -shoulder[1], shoulder[2]], degrees=True)
        forearm = arm * Rotation.from_euler("Y", -elbow, degrees=True)

        joints = standing()
        place_leg(joints, "right", thigh.apply(-UP), shank.apply(-UP))
        place_arm(joints, "right", arm.apply(-UP), forearm.apply(-UP))
        turn_above(joints, 0.25, Rotation.from_euler("YXZ", trunk, degrees=True))

        found = degrees_of(joints)
        for name, wanted in {
            "trunk_{}": dict(zip(("flexion", "bending", "rotation"), trunk, strict=True)),
            "right_hip_{}": dict(zip(("flexion", "abduction", "rotation"), hip, strict=True)),
            "right_shoulder_{}": dict(
                zip(("plane", "elevation", "rotation"), shoulder, strict=True)
            ),
            "right_{}_flexion": {"knee": knee, "elbow": elbow},
        }.items():
            for part, degrees in wanted.items():
                assert found[name.format(part)] == pytest.approx(degrees, abs=1e-6)


def poses(count: int = 40) -> np.ndarray:
    """Stick figures with x, y, z as they are, bent enough that most angles are defined."""
    return make_poses(count, seed=3)


def angles_of(joints: np.ndarray) -> np.ndarray:
    return joint_angles(joints, np.zeros((len(joints), 17, 3, 3))).rad


def ill_defined_too(joints: np.ndarray) -> np.ndarray:
    """Angles without standard deviations, and none left out."""
    return read_angles(joints).rad


def test_rigid_motion_and_size_change_nothing():
    before = angles_of(poses())
    turn = Rotation.random(random_state=np.random.default_rng(5)).as_matrix()
    after = angles_of(1.3 * poses() @ turn.T + np.array([1.0, -2, 4]))
    np.testing.assert_allclose(after, before, atol=1e-9)
    assert np.isfinite(before).mean() > 0.7


def test_mirrored_person_has_the_sides_swapped():
    mirrored = poses()[:, list(JOINT_FLIP)] * [-1.0, 1, 1]
    swapped = []
    signs = []
    for name in ANGLES:
        side, _, rest = name.partition("_")
        other = {"left": "right", "right": "left"}.get(side, side)
        swapped.append(ANGLES.index(f"{other}_{rest}"))
        signs.append(-1.0 if name in ("trunk_bending", "trunk_rotation", "neck_bending") else 1.0)

    before = angles_of(poses())
    np.testing.assert_allclose(angles_of(mirrored), before[:, swapped] * signs, atol=1e-9)


def test_std_is_that_of_monte_carlo():
    """Errors of a few millimetres, so that the first order is enough."""
    rng = np.random.default_rng(7)
    pose = poses()[[4]]
    factors = 0.003 * rng.normal(size=(17, 3, 3))
    covariance = factors @ factors.swapaxes(1, 2)
    covariance[0] = 0.0

    draws = np.einsum("jab,njb->nja", factors, rng.normal(size=(20_000, 17, 3)))
    draws[:, 0] = 0.0
    off = ill_defined_too(pose + draws) - ill_defined_too(pose)
    off -= 2 * np.pi * np.round(off / (2 * np.pi))

    found = joint_angles(pose, covariance[None])
    defined = np.isfinite(found.std_rad[0])
    assert defined.sum() >= 15
    np.testing.assert_allclose(found.std_rad[0, defined], off[:, defined].std(0), rtol=0.04)


def test_unknown_joint_leaves_the_other_angles():
    pose = poses()[[4]]
    covariance = np.tile(1e-4 * np.eye(3), (1, 17, 1, 1))
    whole = joint_angles(pose, covariance)
    pose[0, JOINT_NAMES.index("right_ankle")] = np.nan
    covariance[0, JOINT_NAMES.index("right_ankle")] = np.nan
    found = joint_angles(pose, covariance)

    gone = [ANGLES.index("right_hip_rotation"), ANGLES.index("right_knee_flexion")]
    assert np.isnan(found.rad[0, gone]).all()
    assert np.isnan(found.std_rad[0, gone]).all()
    kept = np.delete(np.arange(len(ANGLES)), gone)
    np.testing.assert_array_equal(found.rad[0, kept], whole.rad[0, kept])
    np.testing.assert_array_equal(found.std_rad[0, kept], whole.std_rad[0, kept])


def test_unknown_covariance_makes_std_unknown_and_not_the_angle():
    pose = poses()[[4]]
    covariance = np.tile(1e-4 * np.eye(3), (1, 17, 1, 1))
    covariance[0, JOINT_NAMES.index("left_wrist")] = np.nan
    found = joint_angles(pose, covariance)
    unknown = {name for name, std in zip(ANGLES, found.std_rad[0]) if np.isnan(std)}
    assert "left_elbow_flexion" in unknown and "left_shoulder_elevation" not in unknown
    assert np.isfinite(found.rad[0, ANGLES.index("left_elbow_flexion")])


def test_degenerate_limb_has_no_angle():
    joints = standing()
    joints["right_knee"] = joints["right_hip"]
    found = degrees_of(joints)
    gone = {name for name, degrees in found.items() if np.isnan(degrees) and "right_" in name}
    assert {"right_hip_flexion", "right_hip_abduction", "right_knee_flexion"} <= gone
    assert found["left_hip_flexion"] == 0


def test_straight_limb_has_an_angle_and_no_std():
    pose = array_of(standing())[None]
    found = joint_angles(pose, np.tile(1e-4 * np.eye(3), (1, 17, 1, 1)))
    knee = ANGLES.index("left_knee_flexion")
    assert found.rad[0, knee] == 0 and np.isnan(found.std_rad[0, knee])
    assert found.std_rad[0, ANGLES.index("left_hip_flexion")] > 0


def test_nobody_has_no_rows():
    found = joint_angles(np.zeros((0, 17, 3)), np.zeros((0, 17, 3, 3)))
    assert found.rad.shape == found.std_rad.shape == (0, len(ANGLES))
    assert segment_orientations(np.zeros((0, 17, 3))).shape == (0, len(SEGMENTS), 4)


def test_orientations_turn_with_the_body_and_follow_the_hinge():
    joints = standing()
    place_leg(joints, "left", FORWARD, -UP)
    place_arm(joints, "right", -UP, FORWARD)
    turn = Rotation.from_euler("zyx", [0.3, -0.7, 1.1])
    pose = array_of(joints)
    found = dict(zip(SEGMENTS, segment_orientations(turn.apply(pose)[None])[0], strict=True))

    upright = turn.as_matrix()
    for name in ("pelvis", "thorax", "left_shank", "right_upper_arm"):
        np.testing.assert_allclose(Rotation.from_quat(found[name]).as_matrix(), upright, atol=1e-9)

    # The thigh forward: its z axis, from knee to hip, looks back; the forearm's too
    for name in ("left_thigh", "right_forearm"):
        axes = turn.inv() * Rotation.from_quat(found[name])
        np.testing.assert_allclose(axes.apply(UP), -FORWARD, atol=1e-9)
        np.testing.assert_allclose(axes.apply(LEFT), LEFT, atol=1e-9)

    for name in ("right_thigh", "right_shank", "left_upper_arm", "left_forearm"):
        assert np.isnan(found[name]).all()  # straight
