# SPDX-License-Identifier: Apache-2.0
"""Joint states and URDFs of several people: their names, and when a URDF is due."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from people import make_poses
from ros_support import header, person

from lifting_ros.geometry.body_model import HINGES, MOVABLE, joint_positions, model_lengths
from lifting_ros.ros.body_models import BodyModels, joint_state
from lifting_ros.ros.transforms import BodyFrames
from lifting_ros.skeleton import JOINT_NAMES

LINKS = {"pelvis": "body"} | {h.end_of: h.child for h in reversed(HINGES) if h.end_of}
"""Joint of the skeleton -> a link whose origin it is."""


def frames_of(persons, **options) -> BodyFrames:
    frames = BodyFrames(4, **options)
    frames.assign(persons, 0)
    return frames


def test_one_message_has_the_joints_of_all_bodies():
    rng = np.random.default_rng(0)
    people = [person(rng, 7), person(rng, 0), person(rng, 9, invalid=(13,))]
    message = joint_state(people, frames_of(people).namers("cam/"), header())
    found = dict(zip(message.name, message.position, strict=True))
    assert message.header == header()

    for number, one in ((1, people[0]), (2, people[2])):
        own = joint_positions(one.skeleton_3d.joints_m[None])[0]
        for name, position in zip(MOVABLE, own, strict=True):
            assert found.pop(f"cam/{name}_{number}", np.nan) == position or np.isnan(position)
    assert not found
    assert "cam/left_elbow_flexion_1" in message.name
    assert "cam/left_elbow_flexion_2" not in message.name  # its wrist is unknown


def test_nobody_is_an_empty_message():
    message = joint_state([person(np.random.default_rng(0))], {}, header())
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
        (urdf,) = BodyModels().renew(people, namers)
        chain = kinpy.build_chain_from_urdf(urdf.data)
        state = joint_state(people, namers, header())
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
    assert len(models.renew([one, other], namers)) == 2
    assert models.renew([one, other], namers) == []

    longer = dataclasses.replace(one, bone_lengths_m=1.04 * model_lengths(one))
    assert models.renew([longer, other], namers) == []
    longer = dataclasses.replace(one, bone_lengths_m=1.06 * model_lengths(one))
    (urdf,) = models.renew([longer, other], namers)
    assert '"body_1"' in urdf.data

    now = models.current([longer, other], namers)
    assert now[0] == urdf and len(now) == 2 and '"body_2"' in now[1].data
    assert models.current([other], namers) == now[1:]


def test_no_urdf_without_all_lengths():
    one = person(np.random.default_rng(2), 5, invalid=(3,))
    assert BodyModels().renew([one], frames_of([one]).namers("")) == []
