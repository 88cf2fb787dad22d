# SPDX-License-Identifier: Apache-2.0
"""Transforms between frames: composed, inverted, interpolated, and refused where they are not
known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lifting_ros.geometry.transform_tree import TransformError, TransformTree

SECOND = 10**9


def pose(rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A translation, a quaternion and both as a matrix (4, 4)."""
    rotation, translation = Rotation.random(random_state=rng), rng.normal(size=3)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation.as_matrix(), translation
    return translation, rotation.as_quat(), matrix


def chain(rng, tree: TransformTree, frames: list[str], stamp: int = SECOND) -> np.ndarray:
    """Poses for each frame in the one before it; returns that of the last in the first."""
    total = np.eye(4)
    for parent, child in zip(frames, frames[1:]):
        translation, quaternion, matrix = pose(rng)
        tree.add(parent, child, stamp, translation, quaternion, static=child.startswith("static"))
        total = total @ matrix
    return total


def test_chains_are_composed_and_branches_meet():
    rng, tree = np.random.default_rng(0), TransformTree()
    arm = chain(rng, tree, ["map", "odom", "static_base", "camera"])
    other = chain(rng, tree, ["map", "static_tower", "lamp"])
    np.testing.assert_allclose(tree.lookup("map", "camera", SECOND), arm, atol=1e-12)
    np.testing.assert_allclose(tree.lookup("camera", "map", SECOND), np.linalg.inv(arm), atol=1e-12)
    np.testing.assert_allclose(
        tree.lookup("lamp", "camera", SECOND), np.linalg.inv(other) @ arm, atol=1e-12
    )
    np.testing.assert_array_equal(tree.lookup("camera", "camera", 5 * SECOND), np.eye(4))


@pytest.mark.parametrize("broadcast", [("map", "camera"), ("/map", "/camera"), ("/map", "camera")])
@pytest.mark.parametrize("asked", [("map", "camera"), ("/map", "/camera"), ("map", "/camera")])
def test_a_leading_slash_means_nothing(broadcast, asked):
    rng, tree = np.random.default_rng(8), TransformTree()
    place = chain(rng, tree, list(broadcast))
    np.testing.assert_allclose(tree.lookup(*asked, SECOND), place, atol=1e-12)


@pytest.mark.parametrize("names", [("/", "camera"), ("map", "/"), ("/camera", "camera")])
def test_slash_alone_is_no_name_and_no_other_frame(names):
    with pytest.raises(ValueError, match="expected two frames"):
        TransformTree().add(*names, 0, (0, 0, 0), (0, 0, 0, 1))


def test_steady_motion_is_interpolated_exactly():
    tree, axis = TransformTree(), np.array([1.0, 2.0, 2.0]) / 3
    for stamp in (2, 1, 3):  # out of order
        tree.add(
            "map",
            "camera",
            stamp * SECOND,
            (stamp, 0.0, -stamp),
            Rotation.from_rotvec(0.4 * stamp * axis).as_quat(),
        )
    found = tree.lookup("map", "camera", int(1.25 * SECOND))
    np.testing.assert_allclose(found[:3, 3], [1.25, 0, -1.25], atol=1e-12)
    np.testing.assert_allclose(
        found[:3, :3], Rotation.from_rotvec(0.5 * axis).as_matrix(), atol=1e-12
    )


@pytest.mark.parametrize("stamp, side", [(0.5, "oldest"), (2.5, "newest")])
def test_nothing_is_extrapolated(stamp, side):
    tree = TransformTree()
    for second in (1, 2):
        tree.add("map", "camera", second * SECOND, (0, 0, 0), (0, 0, 0, 1))
    with pytest.raises(
        TransformError, match=f"map to camera: wanted at {stamp:.3f} s, the {side} is of"
    ):
        tree.lookup("map", "camera", int(stamp * SECOND))


def test_missing_frames_are_named():
    tree = TransformTree()
    tree.add("map", "camera", SECOND, (0, 0, 0), (0, 0, 0, 1))
    tree.add("world", "lamp", SECOND, (0, 0, 0), (0, 0, 0, 1))
    with pytest.raises(TransformError, match="camera to attic: no frame attic"):
        tree.lookup("attic", "camera", SECOND)
    with pytest.raises(TransformError, match="camera to lamp: not connected"):
        tree.lookup("lamp", "camera", SECOND)
    tree.add("camera", "map", SECOND, (0, 0, 0), (0, 0, 0, 1))
    with pytest.raises(TransformError, match="loop"):
        tree.lookup("lamp", "camera", SECOND)


def test_old_poses_are_dropped_and_a_jump_back_starts_anew():
    tree = TransformTree(keep_ns=2 * SECOND)
    for second in range(1, 100):
        tree.add("map", "camera", second * SECOND, (second, 0, 0), (0, 0, 0, 1))
    assert len(tree._edges["camera"].stamps_ns) == 3
    tree.add("map", "camera", SECOND, (1, 0, 0), (0, 0, 0, 1))
    assert tree.lookup("map", "camera", SECOND)[0, 3] == 1
    with pytest.raises(TransformError):
        tree.lookup("map", "camera", 98 * SECOND)


@pytest.mark.parametrize("quaternion", [(0, 0, 0, 0), (np.nan, 0, 0, 1)])
def test_a_broken_transform_is_refused(quaternion):
    with pytest.raises(ValueError, match="expected a translation and a quaternion"):
        TransformTree().add("map", "camera", 1, (0, 0, 0), quaternion)


@pytest.mark.parametrize("parent, child", [("camera", "camera"), ("", "camera"), ("map", "")])
def test_transform_without_two_frames_is_refused(parent, child):
    tree = TransformTree()
    tree.add("map", "camera", SECOND, (1, 2, 3), (0, 0, 0, 1))
    with pytest.raises(ValueError, match="expected two frames"):
        tree.add(parent, child, SECOND, (0, 0, 0), (0, 0, 0, 1))
    np.testing.assert_array_equal(tree.lookup("map", "camera", SECOND)[:3, 3], [1, 2, 3])


def test_frame_without_a_name_is_reported():
    tree = TransformTree()
    tree.add("map", "camera", SECOND, (0, 0, 0), (0, 0, 0, 1))
    with pytest.raises(TransformError, match="^map: no transform to a frame without a name"):
        tree.lookup("map", "", SECOND)


def test_new_parent_replaces_the_one_before():
    tree = TransformTree()
    tree.add("map", "camera", SECOND, (1, 0, 0), (0, 0, 0, 1))
    tree.add("hand", "camera", 2 * SECOND, (2, 0, 0), (0, 0, 0, 1))
    assert tree.lookup("hand", "camera", 2 * SECOND)[0, 3] == 2
    with pytest.raises(TransformError, match="no frame map"):
        tree.lookup("map", "camera", SECOND)
    tree.add("hand", "camera", 0, (3, 0, 0), (0, 0, 0, 1), static=True)
    assert tree.lookup("hand", "camera", 9 * SECOND)[0, 3] == 3


def message(x: float, parent: str = "map") -> SimpleNamespace:
    """The fields of a geometry_msgs/TransformStamped."""
    place = SimpleNamespace(x=x, y=0.0, z=0.0)
    turn = SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0)
    header = SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=5), frame_id=parent)
    transform = SimpleNamespace(translation=place, rotation=turn)
    return SimpleNamespace(header=header, child_frame_id="camera", transform=transform)


def test_messages_are_added_and_bad_ones_left_out():
    tree = TransformTree()
    tree.add_message(message(2.0), static=False)
    tree.add_message(message(np.nan), static=False)
    tree.add_message(message(3.0, parent=""), static=False)
    assert tree.lookup("map", "camera", SECOND + 5)[0, 3] == 2.0
    tree.add_message(message(4.0), static=True)
    assert tree.lookup("map", "camera", 0)[0, 3] == 4.0
