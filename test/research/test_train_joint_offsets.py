# SPDX-License-Identifier: Apache-2.0
"""Training of the joint offsets: it learns where joints are and which keypoints are wrong, resumes,
and leaves the network as it is."""

import dataclasses

import numpy as np
import pytest
import torch
from people import CAMERA, make_poses, see

from lifting_ros.errors import DataError
from lifting_ros.estimator import EstimatorConfig
from lifting_ros.io.checkpoint import load_header, load_tensors, save_tensors
from lifting_ros.lifting.joint_offsets import HEADER, read_joint_offsets
from lifting_ros.lifting.request import Keypoints
from lifting_ros.research.datasets import found_people
from lifting_ros.research.datasets.found_people import FoundPeople, find_people, open_found_people
from lifting_ros.research.training import train_joint_offsets as training
from lifting_ros.research.training.beside_network import save_beside
from lifting_ros.research.training.train_joint_offsets import (
    JointOffsetsTrainConfig,
    OffsetRows,
    rows_of,
    train_joint_offsets,
)
from lifting_ros.skeleton import KEYPOINT_TO_JOINT
from lifting_ros.types import Skeleton2D

RECIPE = JointOffsetsTrainConfig(samples=64 * 150, batch=64, width=32, dropout=0.0, doubt=2.0)
SHORT = dataclasses.replace(RECIPE, samples=64 * 20)
CONFIG = EstimatorConfig()
SHIFT_PX = np.array([6.0, -4.0])


def found(count: int = 200, seed: int = 0) -> FoundPeople:
    """People whose keypoints are all beside their joints by SHIFT_PX, and each a little."""
    joints, keypoints = see(make_poses(count, seed=seed, yaw=True))
    rng = np.random.default_rng(seed)
    return FoundPeople(
        keypoints_px=keypoints - SHIFT_PX + rng.normal(0, 1.0, keypoints.shape),
        confidence=np.ones((count, 14)),
        covariance_px2=np.tile(9 * np.eye(2), (count, 14, 1, 1)),
        local=np.zeros((count, 14, 0)),
        joints_m=joints,
        matrix=np.tile(CAMERA.matrix, (count, 1, 1)),
        up=np.tile([0.0, -1, 0], (count, 1)),
    )


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_where_joints_are_is_learnt(tmp_path):
    rows = rows_of(found(), CONFIG)
    longer = dataclasses.replace(RECIPE, samples=64 * 600, learning_rate=3e-3)
    weights, errors = train_joint_offsets(longer, rows, tmp_path / "run")
    assert errors["mean"] < 0.5 * errors["mean before"]

    file = tmp_path / "network.safetensors"
    save_tensors(file, {"stage.weight": torch.ones(3)}, {"network": {"variant": "lite"}})
    save_beside(file, HEADER, weights, {"seed": 0}, tmp_path / "out.safetensors")
    tensors, header = load_tensors(tmp_path / "out.safetensors")
    assert torch.equal(tensors["stage.weight"], torch.ones(3))
    assert header["network"] == {"variant": "lite"} and header["joint_offsets"] == {"seed": 0}
    assert "joint_offsets" not in load_header(file)

    # Other people, in pixels
    offsets = read_joint_offsets(tmp_path / "out.safetensors")
    strangers = found(20, seed=7)
    up = np.array([0.0, -1, 0])
    seen = Keypoints(strangers.keypoints_px, strangers.confidence, strangers.covariance_px2)
    moved = offsets.joints_of(seen, CAMERA, up, np.ones(20, bool)).keypoints_px
    true_px = CAMERA.project(strangers.joints_m[:, list(KEYPOINT_TO_JOINT)])
    before = np.linalg.norm(seen.keypoints_px - true_px, axis=-1).mean()
    assert np.linalg.norm(moved - true_px, axis=-1).mean() < 0.5 * before


def test_keypoints_worse_than_they_say_are_doubted(tmp_path):
    """Wrists are off by 20 px, though the network says 3 px."""
    people = found(400)
    wrists = [4, 7]
    worse = people.keypoints_px.copy()
    worse[:, wrists] += np.random.default_rng(1).normal(0, 20, (400, 2, 2))
    rows = rows_of(people._replace(keypoints_px=worse), CONFIG)
    recipe = dataclasses.replace(RECIPE, doubt=1.0, samples=64 * 400)
    weights, _ = train_joint_offsets(recipe, rows, tmp_path / "run")
    network = training.OffsetsNetwork(recipe).eval()
    network.load_state_dict(weights)
    with torch.inference_mode():
        _, log_factor = network(torch.from_numpy(rows.encoded))
    told = log_factor.mean(0)
    others = [index for index in range(14) if index not in wrists]
    assert (told[wrists] > 1.0).all() and (told[wrists] < np.log(30 / 3)).all()
    assert (told[others] < told[wrists].min() - 1).all()


def test_keypoints_that_are_not_used_teach_nothing(tmp_path):
    people = found()
    confidence = people.confidence.copy()
    confidence[::2, 0] = 0.1
    unknown = people.keypoints_px.copy()
    unknown[::2, 0] = np.nan
    rows = rows_of(people._replace(keypoints_px=unknown, confidence=confidence), CONFIG)
    assert not rows.used[::2, 0].any() and rows.used.sum() == 14 * 200 - 100
    weights, errors = train_joint_offsets(SHORT, rows, tmp_path / "run")
    assert all(np.isfinite(value) for value in errors.values())

    other = np.where(rows.used[..., None], rows.offset, np.float32(9.0))
    again, _ = train_joint_offsets(SHORT, rows._replace(offset=other), tmp_path / "again")
    assert same(weights, again)


def test_doubt_widens_alone(tmp_path):
    rows = rows_of(found(), CONFIG)
    weights, _ = train_joint_offsets(SHORT, rows, tmp_path / "wide")
    narrow = dataclasses.replace(SHORT, doubt=1.0)
    plain, _ = train_joint_offsets(narrow, rows, tmp_path / "narrow")
    wider = weights["out.bias"] - plain["out.bias"]
    np.testing.assert_allclose(wider[28:], np.log(2.0), atol=1e-5)
    np.testing.assert_allclose(wider[:28], 0.0, atol=1e-7)


def test_a_resumed_training_ends_as_an_uninterrupted_one(tmp_path, monkeypatch):
    rows = rows_of(found(), CONFIG)
    whole, _ = train_joint_offsets(RECIPE, rows, tmp_path / "whole", every=50)

    class StopError(Exception):
        pass

    real = training.JointOffsetsTrainer.train_step

    def step(self, batch: OffsetRows):
        if self.step == 70:
            raise StopError
        return real(self, batch)

    with monkeypatch.context() as patch, pytest.raises(StopError):
        patch.setattr(training.JointOffsetsTrainer, "train_step", step)
        train_joint_offsets(RECIPE, rows, tmp_path / "parts", every=50)
    resumed, _ = train_joint_offsets(RECIPE, rows, tmp_path / "parts", every=50)
    assert same(whole, resumed)


class StubEstimator:
    """Finds the people of `found`, in their order, but not the second one."""

    def __init__(self, config=CONFIG):
        self.config = config
        self.people = found(3)
        self.index = -1

    def detect(self, image):
        self.index += 1
        return []

    def find_keypoints(self, image, detections):
        if self.index == 1:
            return []
        points = self.people.keypoints_px[self.index]
        box = np.concatenate([points.min(0), points.max(0)])
        covariance = self.people.covariance_px2[self.index]
        return [Skeleton2D(points, np.ones(14), covariance, box, 1.0)]


@pytest.fixture
def pack(tmp_path):
    people = found(3)
    np.savez(
        tmp_path / "labels.npz", joints_camera_m=people.joints_m, K=people.matrix, up=people.up
    )
    np.save(tmp_path / "images.npy", np.zeros((3, 8, 8, 3), np.uint8))
    return tmp_path


def test_people_are_found_once(pack, monkeypatch):
    monkeypatch.setattr(found_people, "PoseEstimator", StubEstimator)
    once = open_found_people(CONFIG, pack, 3, pack / "work")
    assert len(once.up) == 2
    np.testing.assert_allclose(once.keypoints_px, found(3).keypoints_px[[0, 2]])
    np.testing.assert_allclose(
        once.joints_px(1), CAMERA.project(once.joints_m[1, list(KEYPOINT_TO_JOINT)])
    )

    monkeypatch.setattr(found_people, "PoseEstimator", None)  # not asked again
    again = open_found_people(CONFIG, pack, 3, pack / "work")
    assert all(np.array_equal(one, other) for one, other in zip(once, again))


def test_other_folders_and_empty_ones_are_refused(pack, tmp_path):
    with pytest.raises(DataError, match="not a pack of rendered people"):
        open_found_people(CONFIG, tmp_path / "none", 3, tmp_path)

    nobody = StubEstimator()
    nobody.index = 0
    with pytest.raises(DataError, match="nobody was found"):
        find_people(nobody, pack, 1)

    np.savez(pack / "labels.npz", keypoints=np.zeros((1, 14, 3)))
    with pytest.raises(DataError, match="joints_camera_m"):
        find_people(nobody, pack, 3)
