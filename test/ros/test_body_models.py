# SPDX-License-Identifier: Apache-2.0
"""Joint states and URDFs of several people: their names, when a URDF is due, and whether both
together have the joints where the pose has them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from people import make_poses
from ros_support import header, person

import lifting_ros
from lifting_ros.geometry.body_frame import body_axes
from lifting_ros.geometry.body_model import URDF_JOINTS, joint_positions, model_lengths
from lifting_ros.ros.body_models import BodyModels
from lifting_ros.ros.transforms import BodyFrames
from lifting_ros.skeleton import JOINT_NAMES, JOINT_PARENTS, limb_lengths

LINKS = {"pelvis": "body"} | {j.limb_end: j.child for j in URDF_JOINTS if j.limb_end}
"""Joint of the skeleton -> the link whose origin it is."""


def frames_of(persons, **options) -> BodyFrames:
    frames = BodyFrames(4, **options)
    frames.assign(persons, 0)
    return frames


def test_one_message_has_the_joints_of_all_bodies():
    rng = np.random.default_rng(0)
    people = [person(rng, 7), person(rng, 0), person(rng, 9, invalid=(13,))]
    namers = frames_of(people).namers("cam/")
    models = BodyModels()
    assert list(models.renew(people, namers)) == [7]  # a limb of 9 is unknown
    message = models.joint_state(people, namers, header())
    found = dict(zip(message.name, message.position, strict=True))
    assert message.header == header()

    for number, one in ((1, people[0]), (2, people[2])):
        joints = one.skeleton_3d.joints_m
        lengths = limb_lengths(joints) if number == 1 else np.full(16, np.nan)
        own = joint_positions(joints[None], lengths[None])[0]
        for joint, position in zip(URDF_JOINTS, own, strict=True):
            got = found.pop(f"cam/{joint.name}_{number}", np.nan)
            assert got == position or np.isnan(position)
    assert not found
    assert {"cam/left_elbow_flexion_1", "cam/left_forearm_stretch_1"} < set(message.name)
    assert "cam/right_elbow_flexion_2" in message.name
    assert "cam/left_elbow_flexion_2" not in message.name  # its wrist is unknown
    assert "cam/right_forearm_stretch_2" not in message.name  # it has no URDF


def test_nobody_is_an_empty_message():
    message = BodyModels().joint_state([person(np.random.default_rng(0))], {}, header())
    assert message.header == header() and not message.name and not message.position


def test_urdf_and_joint_states_name_the_same_joints():
    """The root link is the frame of the body on /tf, also with the names of REP 155, and the links
    are where TF has the joints."""
    kinpy = pytest.importorskip("kinpy", reason="kinpy is not installed")
    people = [person(np.random.default_rng(1), 5)]
    people[0].skeleton_3d.joints_m[:] = make_poses(1)[0]
    for hri, root in ((False, "cam_body_1"), (True, "body_cam_p1")):
        frames = frames_of(people, hri=hri)
        namers = frames.namers("cam_")
        models = BodyModels()
        urdf = models.renew(people, namers)[5]
        chain = kinpy.build_chain_from_urdf(urdf.data)
        state = models.joint_state(people, namers, header())
        assert set(chain.get_joint_parameter_names()) == set(state.name)

        links = chain.forward_kinematics(dict(zip(state.name, state.position, strict=True)))
        body, *joints = frames.build(people, header(), "cam_").transforms
        assert body.child_frame_id == root and f'<robot name="{root}">' in urdf.data
        assert root in links and not set(links) & {t.child_frame_id for t in joints}

        # Both are relative to the body
        for name, transform in zip(JOINT_NAMES, joints, strict=True):
            move = transform.transform.translation
            link = links[namers[5](LINKS[name])]
            np.testing.assert_allclose(link.pos, (move.x, move.y, move.z), atol=1e-4)


def test_urdf_is_due_once_and_again_when_limbs_change():
    one = person(np.random.default_rng(2), 5)
    other = person(np.random.default_rng(3), 6)
    namers = frames_of([one, other]).namers("")
    models = BodyModels()
    first = models.renew([one, other], namers)
    assert list(first) == [5, 6] and '"body_1"' in first[5].data and '"body_2"' in first[6].data
    assert models.renew([one, other], namers) == models.renew([other], namers) == {}

    longer = dataclasses.replace(one, bone_lengths_m=1.04 * model_lengths(one))
    assert models.renew([longer, other], namers) == {}
    longer = dataclasses.replace(one, bone_lengths_m=1.06 * model_lengths(one))
    again = models.renew([longer, other], namers)
    assert again[5] != first[5] and again[6] == first[6]


def test_urdfs_of_all_who_are_there_are_in_the_latched_history():
    """Those who are away come back with a new URDF if others have got one since."""
    one = person(np.random.default_rng(2), 5)
    other = person(np.random.default_rng(3), 6)
    namers = frames_of([one, other]).namers("")
    models = BodyModels()
    models.renew([one, other], namers)

    longer = dataclasses.replace(one, bone_lengths_m=1.06 * model_lengths(one))
    assert list(models.renew([longer], namers)) == [5]
    assert list(models.renew([longer, other], namers)) == [5, 6]
    assert models.renew([longer, other], namers) == {}


def test_no_urdf_without_all_lengths():
    one = person(np.random.default_rng(2), 5)
    part = person(np.random.default_rng(2), 5, invalid=(3,))
    namers = frames_of([one]).namers("")
    models = BodyModels()
    assert models.renew([part], namers) == {}

    # Lengths that have been known stay
    models.renew([one], namers)
    assert models.renew([part], namers) == {}
    names = models.joint_state([part], namers, header()).name
    assert "left_shank_stretch_1" in names and "right_shank_stretch_1" not in names


def clip_with_other_limbs(rng: np.random.Generator) -> np.ndarray:
    """Poses (N, 17, 3) of the demo clip whose limbs change by up to 8 % from frame to frame."""
    path = Path(lifting_ros.__file__).parent / "demo" / "walk_and_sit_truth.npz"
    joints = np.load(path, allow_pickle=False)["joints_m"].astype(float)
    joints = joints[np.isfinite(joints).all((1, 2))][::4]
    changed = joints.copy()
    for joint in range(1, 17):
        parent = JOINT_PARENTS[joint]
        limbs = joints[:, joint] - joints[:, parent]
        changed[:, joint] = changed[:, parent] + limbs * rng.uniform(0.92, 1.08, (len(limbs), 1))
    return changed


def test_state_and_urdf_as_published_have_the_joints_of_the_pose():
    """The lengths of the URDF are averages of a track, which drift; those of a frame differ."""
    kinpy = pytest.importorskip("kinpy", reason="kinpy is not installed")
    rng = np.random.default_rng(6)
    poses = clip_with_other_limbs(rng)
    lengths = limb_lengths(poses)
    one = person(rng, 5)
    namers = frames_of([one]).namers("")
    models = BodyModels()
    urdfs, stretches = [], []
    for n, joints in enumerate(poses):
        average = lengths[: n + 1].mean(0) * (1 + 0.1 * n / len(poses))
        one.skeleton_3d.joints_m[:] = joints
        one = dataclasses.replace(one, bone_lengths_m=average)
        urdfs += models.renew([one], namers).values()
        state = models.joint_state([one], namers, header())

        chain = kinpy.build_chain_from_urdf(urdfs[-1].data)
        found = dict(zip(state.name, state.position, strict=True))
        stretches += [abs(found[name]) for name in found if "_stretch_" in name]
        links = chain.forward_kinematics(found)
        in_body = np.array([links[f"{LINKS[name]}_1"].pos for name in JOINT_NAMES])
        off = np.linalg.norm(in_body @ body_axes(joints).T + joints[0] - joints, axis=-1)
        assert off.max() < 0.001

    assert 2 < len(urdfs) < len(poses) / 2
    assert np.max(stretches) > 0.03
