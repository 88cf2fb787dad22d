# SPDX-License-Identifier: Apache-2.0
"""The URDF as another program reads it, and whether its joints are where the pose has them."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import walkers
from people import make_poses

import lifting_ros
from lifting_ros.errors import LiftingError
from lifting_ros.geometry.body_frame import body_axes
from lifting_ros.geometry.body_model import (
    URDF_JOINTS,
    body_urdf,
    differ,
    joint_positions,
    model_lengths,
)
from lifting_ros.geometry.joint_angles import ANGLES, joint_angles
from lifting_ros.skeleton import JOINT_NAMES, limb_lengths

NAMES = [joint.name for joint in URDF_JOINTS]
LINKS = {"pelvis": "body"} | {j.limb_end: j.child for j in URDF_JOINTS if j.limb_end}
"""Joint of the skeleton -> the link whose origin it is."""


def recorded_poses() -> np.ndarray:
    """Poses (N, 17, 3) of the demo clip, in the optical frame."""
    path = Path(lifting_ros.__file__).parent / "demo" / "walk_and_sit_truth.npz"
    joints = np.load(path, allow_pickle=False)["joints_m"].astype(float)
    return joints[np.isfinite(joints).all((1, 2))][::10]


def scattered_poses() -> np.ndarray:
    """Joints anywhere, but for the pelvis, which is between the hips."""
    joints = np.random.default_rng(2).normal(size=(20, 17, 3))
    right, left = JOINT_NAMES.index("right_hip"), JOINT_NAMES.index("left_hip")
    joints[:, 0] = 0.5 * (joints[:, right] + joints[:, left])
    return joints


def other_lengths(joints: np.ndarray) -> np.ndarray:
    """Lengths (16,) of limbs up to 10 % off those of a pose (17, 3)."""
    return limb_lengths(joints) * np.random.default_rng(0).uniform(0.9, 1.1, 16)


def forward(joints: np.ndarray, lengths: np.ndarray, rigid: bool = False) -> np.ndarray:
    """Joints (17, 3) that kinpy computes from the URDF and the positions of a pose (17, 3)."""
    kinpy = pytest.importorskip("kinpy", reason="kinpy is not installed")

    def name_of(part: str) -> str:
        return f"{part}_p7"

    chain = kinpy.build_chain_from_urdf(body_urdf(lengths, name_of))
    positions = joint_positions(joints[None], lengths[None])[0]
    assert chain.get_joint_parameter_names() and np.abs(positions).max() <= np.pi

    state = {name_of(name): position for name, position in zip(NAMES, positions, strict=True)}
    assert set(chain.get_joint_parameter_names()) == set(state)
    state |= {name: 0.0 for name in state if rigid and "_stretch_" in name}
    links = chain.forward_kinematics(state)
    in_body = np.array([links[name_of(LINKS[name])].pos for name in JOINT_NAMES])
    return joints[0] + in_body @ body_axes(joints).T


@pytest.mark.parametrize("poses", [recorded_poses(), make_poses(20), scattered_poses()])
def test_forward_kinematics_gives_the_joints_back(poses):
    for joints in poses:
        for lengths in (limb_lengths(joints), other_lengths(joints)):
            found = forward(joints, lengths)
            np.testing.assert_allclose(found, joints, atol=1e-4)


def test_limbs_without_stretches_are_rigid_and_keep_directions():
    joints = make_poses(1)[0]
    lengths = other_lengths(joints)
    found = forward(joints, lengths, rigid=True)
    np.testing.assert_allclose(limb_lengths(found), lengths, atol=1e-4)
    arm = [JOINT_NAMES.index(name) for name in ("left_elbow", "left_wrist")]
    np.testing.assert_allclose(
        np.diff(found[arm], axis=0)[0] / lengths[arm[1] - 1],
        np.diff(joints[arm], axis=0)[0] / limb_lengths(joints)[arm[1] - 1],
        atol=1e-3,
    )


def test_positions_are_the_anatomical_angles():
    poses = make_poses(30, seed=4)
    angles = joint_angles(poses, np.zeros((30, 17, 3, 3))).rad
    positions = joint_positions(poses, limb_lengths(poses))
    for column, name in enumerate(ANGLES):
        own = positions[:, NAMES.index(name)]
        defined = np.isfinite(angles[:, column])
        assert defined.any() and np.isfinite(own).all()
        np.testing.assert_array_equal(own[defined], angles[defined, column])


def test_positions_of_limbs_are_what_they_are_longer():
    joints = make_poses(1)
    positions = joint_positions(joints, limb_lengths(joints) - np.arange(16) / 1000)[0]
    by_name = dict(zip(NAMES, positions, strict=True))
    for joint in URDF_JOINTS:
        if joint.limb_end:
            limb = JOINT_NAMES.index(joint.limb_end) - 1
            assert by_name[joint.name] == pytest.approx(limb / 1000)


def test_unknown_joint_leaves_the_other_positions():
    joints = make_poses(1)
    lengths = limb_lengths(joints)
    joints[0, JOINT_NAMES.index("left_wrist")] = np.nan
    lengths[0, JOINT_NAMES.index("right_knee") - 1] = np.nan
    unknown = {n for n, p in zip(NAMES, joint_positions(joints, lengths)[0]) if np.isnan(p)}
    of_wrist = {"left_shoulder_rotation", "left_elbow_flexion", "left_forearm_stretch"}
    assert unknown == of_wrist | {"right_thigh_stretch"}


def test_prismatic_joints_have_the_limits_that_urdf_requires():
    lengths = np.linspace(0.1, 0.4, 16)
    root = ET.fromstring(body_urdf(lengths))
    joints = {joint.attrib["name"]: joint for joint in root.iter("joint")}
    for joint in URDF_JOINTS:
        element = joints[joint.name]
        limit = element.find("limit")
        if not joint.limb_end:
            assert element.attrib["type"] == "continuous" and limit is None
            continue

        length = lengths[JOINT_NAMES.index(joint.limb_end) - 1]
        assert element.attrib["type"] == "prismatic"
        assert float(limit.attrib["lower"]) == pytest.approx(-length, abs=1e-6)
        assert float(limit.attrib["upper"]) == pytest.approx(length, abs=1e-6)
        assert float(limit.attrib["effort"]) == 0 and float(limit.attrib["velocity"]) > 0


def test_links_do_not_have_the_names_of_the_frames_on_tf():
    links = [joint.child for joint in URDF_JOINTS]
    assert len(set(links)) == len(links)
    assert not set(links) & {*JOINT_NAMES, "body"}


def test_lengths_are_those_of_the_track_else_of_the_frame():
    joints = walkers.walk(walkers.straight((0, 4), (0, 4), 0.1, 30.0), 30.0)
    one = walkers.lift(joints, np.random.default_rng(0))[0]
    own = limb_lengths(one.skeleton_3d.joints_m)
    np.testing.assert_array_equal(model_lengths(one), own)

    of_track = own + 0.01
    tracked = dataclasses.replace(one, bone_lengths_m=of_track)
    np.testing.assert_array_equal(model_lengths(tracked), of_track)
    assert not differ(own, own * 1.04) and differ(own, own * np.where(np.arange(16) == 3, 1.06, 1))

    one.skeleton_3d.joints_m[5] = one.skeleton_3d.joints_m[4]
    assert model_lengths(one) is None and model_lengths(tracked) is not None
    one.skeleton_3d.joints_m[4] = np.nan
    assert model_lengths(one) is None


@pytest.mark.parametrize("lengths", [np.ones(15), np.zeros(16), np.full(16, np.nan)])
def test_bad_lengths_are_one_line(lengths):
    with pytest.raises(LiftingError, match="^lengths_m: expected 16 positive numbers, got "):
        body_urdf(lengths)
