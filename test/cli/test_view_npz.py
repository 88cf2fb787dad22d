# SPDX-License-Identifier: Apache-2.0
"""`lifting view` on .npz files, without ROS: what `lifting lift` writes, and the table of poses."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from people import CAMERA, make_poses, see
from viewer_calls import Calls

from lifting_ros.cli.main import main
from lifting_ros.errors import DataError
from lifting_ros.io.pose_table import (
    KEYPOINT_COLUMNS,
    POSE_COLUMNS,
    REQUIRED,
    STILL_PERIOD_NS,
    TRACK_COLUMNS,
    PoseFrame,
    frame_arrays,
    read_frames,
)
from lifting_ros.types import Person, Skeleton2D, Skeleton3D

POSES = 3


@pytest.fixture(scope="module")
def lifted(tmp_path_factory):
    """What `lifting lift` writes for three people."""
    folder = tmp_path_factory.mktemp("lifted")
    _, keypoints = see(make_poses(POSES, seed=1))
    np.savez(
        folder / "in.npz",
        keypoints_px=keypoints,
        confidence=np.ones((POSES, 14)),
        K=CAMERA.matrix,
    )
    assert main(["lift", str(folder / "in.npz"), "--out", str(folder / "out.npz")]) == 0
    return folder / "out.npz"


def make_person(seed: int, track_id: int) -> Person:
    """A person of random numbers, with every attribute of a track."""
    rng = np.random.default_rng(seed)
    return Person(
        id=track_id,
        age_s=rng.random(),
        skeleton_2d=Skeleton2D(
            keypoints_px=rng.random((14, 2)),
            confidence=rng.random(14),
            covariance_px2=rng.random((14, 2, 2)),
            box_px=rng.random(4),
            score=rng.random(),
        ),
        skeleton_3d=Skeleton3D(
            joints_m=rng.random((17, 3)),
            root_m=rng.random(3),
            covariance_m2=rng.random((17, 3, 3)),
            root_covariance_m2=rng.random((3, 3)),
            confidence=rng.random(17),
            status=rng.integers(0, 3, 17).astype(np.uint8),
            log_likelihood=rng.random(),
            metric=bool(track_id % 2),
            hypotheses_m=rng.random((2, 17, 3)),
            hypothesis_weight=rng.random(2),
        ),
        velocity_mps=rng.random((17, 3)),
        velocity_covariance_m2ps2=rng.random((17, 3, 3)),
        bone_lengths_m=rng.random(16),
        bone_lengths_std_m=rng.random(16),
        coasting=not track_id % 2,
    )


FRAMES = [
    PoseFrame(5, "camera", ()),
    PoseFrame(10**18 + 1, "camera", (make_person(1, 7), make_person(2, 8))),
    PoseFrame(10**18 + 2, "camera", (make_person(3, 7),)),
]


def test_every_attribute_survives_the_table(tmp_path):
    np.savez(tmp_path / "t.npz", **frame_arrays(FRAMES))
    found = read_frames(tmp_path / "t.npz")
    assert [frame.stamp_ns for frame in found] == [frame.stamp_ns for frame in FRAMES]
    again = frame_arrays(found)
    for name, values in frame_arrays(FRAMES).items():
        assert again[name].dtype == values.dtype
        np.testing.assert_array_equal(again[name], values, err_msg=name)


@pytest.mark.parametrize("names", [["camera"], [1, 2, 3]])
def test_names_of_coordinate_frames_are_checked(tmp_path, names):
    np.savez(tmp_path / "t.npz", **{**frame_arrays(FRAMES), "frame_id": np.array(names)})
    with pytest.raises(DataError, match="frame_id: expected the names of 3 coordinate frames"):
        read_frames(tmp_path / "t.npz")


def test_columns_have_a_row_for_nobody_too():
    arrays = frame_arrays([PoseFrame(0, "camera", ())])
    columns = {**TRACK_COLUMNS, **KEYPOINT_COLUMNS, **POSE_COLUMNS}
    assert set(columns) < set(arrays) and all(len(arrays[name]) == 0 for name in columns)


def test_lifted_poses_are_frames_one_after_the_other(lifted):
    frames = read_frames(lifted)
    assert [frame.stamp_ns for frame in frames] == [k * STILL_PERIOD_NS for k in range(POSES)]
    (person,) = frames[1].persons
    with np.load(lifted) as arrays:
        np.testing.assert_array_equal(person.skeleton_3d.joints_m, arrays["joints_m"][1])
        np.testing.assert_array_equal(person.skeleton_3d.hypotheses_m, arrays["hypotheses_m"][1])
    assert person.id == 0 and not person.skeleton_2d.confidence.any()


@pytest.mark.parametrize("name", REQUIRED)
def test_an_array_that_is_missing_is_named(lifted, tmp_path, name):
    with np.load(lifted) as arrays:
        np.savez(tmp_path / "t.npz", **{n: arrays[n] for n in arrays.files if n != name})
    with pytest.raises(DataError, match=f"{name}: no such array"):
        read_frames(tmp_path / "t.npz")


def test_arrays_of_different_length_are_refused(lifted, tmp_path):
    with np.load(lifted) as arrays:
        np.savez(tmp_path / "t.npz", **arrays, track_id=np.arange(POSES + 1))
    with pytest.raises(DataError, match="as many rows"):
        read_frames(tmp_path / "t.npz")


def test_the_viewer_is_given_lifted_poses(lifted, tmp_path, monkeypatch):
    pytest.importorskip("rosbags.image", reason="pip install rosbags-image")
    calls = Calls()
    monkeypatch.setitem(sys.modules, "rerun", calls)
    assert main(["view", str(lifted), "--save", str(tmp_path / "a.rrd")]) == 0
    joints = [what for _, what in calls.of("world/people/untracked_0/joints") if what.args]
    assert len(joints) == POSES and not calls.of("world/camera/people/untracked_0/keypoints")


def test_rerun_shows_lifted_poses(lifted, tmp_path):
    pytest.importorskip("rerun", reason="the viewer is not installed: pip install rerun-sdk")
    out = tmp_path / "a.rrd"
    assert main(["view", str(lifted), "--save", str(out)]) == 0
    assert out.read_bytes()[:3] == b"RRF"
