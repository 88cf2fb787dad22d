# SPDX-License-Identifier: Apache-2.0
"""The paper's table 1: actions as columns, single Gaussian and mixture as rows."""

import numpy as np
import pytest
from people import CAMERA, make_poses, see, small_prior

from lifting_ros.research.datasets.mocap import Mocap, read_mocap
from lifting_ros.research.datasets.mocap_actions import action_of, actions
from lifting_ros.research.datasets.recorded import Recorded
from lifting_ros.research.evaluation.paper import (
    MIXTURE,
    SINGLE,
    action_tables,
    gaussian_and_mixture,
    views_by_action,
)
from lifting_ros.types import LiftedPoses

CLIPS = ("cmu_02_01", "cmu_02_03", "papagina_indian_04")


class Off:
    """A lifter that knows the truth (N, 17, 3) of all views and is off by so much in x."""

    def __init__(self, joints_m: np.ndarray, off_m: float):
        self._joints = joints_m.copy()
        self._joints[:, 1:, 0] += off_m
        self._next = 0

    def lift(self, keypoints_px, confidence, covariance_px2=None, camera=None, up=None, depth=None):
        count = len(keypoints_px)
        poses = LiftedPoses.invalid(count, 1)
        poses.joints_m[:] = self._joints[self._next : self._next + count]
        self._next += count
        return poses


def mocap() -> Mocap:
    """A subject to train on and one held out, who does three things."""
    poses = make_poses(120)
    subject = np.repeat([0, 1], 60)
    clip = np.concatenate([np.zeros(60, int), np.repeat([0, 1, 2], [40, 15, 5])])
    names = ("cmu01", "cmu02")
    return Mocap(poses, subject, clip, np.ones(120, bool), names, (1,), CLIPS)


@pytest.mark.parametrize(
    ("clip", "action"),
    [
        ("cmu_02_01", "walking"),
        ("cmu_02_06", "bending, lifting"),
        ("cmu_16_47", "walking"),
        ("cmu_99_01", "cmu 99"),
        ("papagina_indian_04", "indian"),
        ("cmutxt_train_basketball_signal_3", "basketball signal"),
        ("squat", "squat"),
        ("12", "12"),
    ],
)
def test_actions_by_the_name_of_the_clip(clip, action):
    assert action_of(clip) == action


def test_actions_of_poses():
    data = mocap()
    assert actions(data)[[60, 100, 119]].tolist() == ["walking", "running", "indian"]
    assert set(actions(data._replace(clips=()))) == {"all"}
    assert data.select(np.arange(3)).clips == CLIPS


def test_clips_are_read_with_the_poses(tmp_path):
    arrays = {"positions": make_poses(4), "subject_id": np.zeros(4, int)}
    np.savez(tmp_path / "a.npz", **arrays, clip_id=np.array([0, 0, 1, 1]), clips=np.array(CLIPS))
    assert read_mocap(tmp_path / "a.npz").clips == CLIPS
    np.savez(tmp_path / "b.npz", **arrays, clip_id=np.array([0, 0, 1, 7]), clips=np.array(CLIPS))
    with pytest.raises(ValueError, match="b.npz: clip_id: expected numbers of the 3 clips"):
        read_mocap(tmp_path / "b.npz")


def test_every_action_has_as_many_views():
    seen = views_by_action(mocap(), 120)
    names, counts = np.unique(seen.action.astype(str), return_counts=True)
    assert dict(zip(names, counts)) == {"indian": 20, "running": 40, "walking": 40}
    assert seen.joints_m.shape == (100, 17, 3)
    with pytest.raises(ValueError, match="no validation subject"):
        views_by_action(mocap()._replace(validation_ids=()), 120)


def test_table_has_the_layout_of_the_paper():
    names = [f"action {number:02}" for number in range(10)]
    joints, keypoints = see(make_poses(20))
    recorded = Recorded(
        joints,
        keypoints,
        np.tile([0.0, -1, 0], (20, 1)),
        np.zeros(20, int),
        (CAMERA,),
        np.repeat(np.array(names, object), 2),
    )
    lifters = {SINGLE: Off(joints, 0.1), MIXTURE: Off(joints, 0.05)}
    tables = action_tables("H", lifters, recorded)
    first, second = tables["H, MPJPE, mm (1 of 2)"], tables["H, MPJPE, mm (2 of 2)"]
    assert list(first) == [SINGLE, MIXTURE]
    assert list(first[SINGLE]) == names[:8] and list(second[SINGLE]) == [*names[8:], "average"]
    # the root, one of 17 joints, is not off
    assert second[SINGLE]["average"] == pytest.approx(100 * 16 / 17)
    assert first[MIXTURE][names[3]] == pytest.approx(50 * 16 / 17)


def test_average_is_beside_the_last_actions():
    joints, keypoints = see(make_poses(8))
    names = np.array([f"action {number}" for number in range(8)], object)
    up = np.tile([0.0, -1, 0], (8, 1))
    recorded = Recorded(joints, keypoints, up, np.zeros(8, int), (CAMERA,), names)
    tables = action_tables("H", {MIXTURE: Off(joints, 0.05)}, recorded)
    assert list(tables["H, MPJPE, mm"][MIXTURE]) == [*names, "average"] and len(tables) == 3


def test_the_single_gaussian_learns_from_the_training_subjects(tmp_path, monkeypatch):
    seen = []

    def fit(data, setting, seed, work):
        seen.append((set(data.subject_id.tolist()), setting, work))
        return small_prior()

    monkeypatch.setattr("lifting_ros.research.evaluation.paper.fitted_prior", fit)
    lifters = gaussian_and_mixture(small_prior(), None, mocap(), 0.35, tmp_path)
    assert list(lifters) == [SINGLE, MIXTURE] and seen == [({0}, (1, 12, 0.35), tmp_path)]
    gaussian_and_mixture(small_prior(), small_prior(), mocap(), 0.35, tmp_path)
    assert len(seen) == 1
