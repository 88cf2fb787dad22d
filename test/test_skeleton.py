# SPDX-License-Identifier: Apache-2.0
import numpy as np

from lifting_ros import skeleton


def test_keypoints_observe_the_joints_of_the_same_name():
    for keypoint, joint in zip(skeleton.KEYPOINT_NAMES, skeleton.KEYPOINT_TO_JOINT, strict=True):
        expected = {"neck": "thorax"}.get(keypoint, keypoint)
        assert skeleton.JOINT_NAMES[joint] == expected


def test_flip_is_its_own_inverse_and_swaps_sides():
    for names, flip in (
        (skeleton.KEYPOINT_NAMES, skeleton.KEYPOINT_FLIP),
        (skeleton.JOINT_NAMES, skeleton.JOINT_FLIP),
    ):
        assert [flip[flip[i]] for i in range(len(names))] == list(range(len(names)))
        assert names[flip[names.index("left_wrist")]] == "right_wrist"
        assert flip[names.index("head_top")] == names.index("head_top")


def test_every_joint_hangs_from_an_earlier_one():
    assert all(parent < joint for joint, parent in enumerate(skeleton.JOINT_PARENTS))
    assert len(skeleton.LIMBS) == 16


def test_limb_lengths_scale_with_the_pose():
    pose = np.random.default_rng(0).normal(size=(3, 17, 3))
    np.testing.assert_allclose(skeleton.limb_lengths(2 * pose), 2 * skeleton.limb_lengths(pose))
