# SPDX-License-Identifier: Apache-2.0
"""Training of the depth cue: it learns what the trunk tells, resumes, and leaves the network as it
is."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from people import CAMERA, make_poses, see

from lifting_ros.errors import DataError
from lifting_ros.estimator import EstimatorConfig
from lifting_ros.io.checkpoint import load_header, load_tensors, save_tensors
from lifting_ros.lifting.depth_cue import read_depth_cue
from lifting_ros.research.training.train_depth_cue import (
    CueRows,
    DepthCueTrainConfig,
    collect,
    row_of,
    save_depth_cue,
    train_depth_cue,
)
from lifting_ros.skeleton import KEYPOINT_TO_JOINT, limb_lengths
from lifting_ros.types import Skeleton2D

RECIPE = DepthCueTrainConfig(
    samples=64 * 150, batch=64, width=32, deep_width=8, deep_dropout=0.0, dropout=0.0, doubt=2.0
)


def rows(count: int = 400) -> CueRows:
    """People whose depths only the trunk's layer tells."""
    rng = np.random.default_rng(0)
    local = rng.normal(size=(count, 14, 6)).astype(np.float16)
    z = 0.1 * (local * rng.normal(size=6)).sum(2)
    z -= z.mean(1, keepdims=True)
    encoded = rng.normal(size=(count, 44)).astype(np.float32)
    return CueRows(encoded, local, z.astype(np.float32))


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_what_the_trunk_tells_is_learnt_and_its_doubt_is_widened(tmp_path):
    longer = dataclasses.replace(RECIPE, samples=64 * 400, learning_rate=3e-3)
    _, errors = train_depth_cue(longer, rows(), tmp_path / "longer")
    assert errors["mean"] < 0.5 * errors["mean of no guess"]

    weights, _ = train_depth_cue(RECIPE, rows(), tmp_path / "run")
    narrow = dataclasses.replace(RECIPE, doubt=1.0)
    plain, _ = train_depth_cue(narrow, rows(), tmp_path / "narrow")
    wider = weights["out.bias"] - plain["out.bias"]
    np.testing.assert_allclose(wider[14:], np.log(2.0), atol=1e-5)
    np.testing.assert_allclose(wider[:14], 0.0, atol=1e-7)


def test_a_resumed_training_ends_as_an_uninterrupted_one(tmp_path):
    whole, _ = train_depth_cue(RECIPE, rows(), tmp_path / "whole", every=50)

    class StopError(Exception):
        pass

    def stopped(batch_rows: CueRows, folder):
        from lifting_ros.research.training import train_depth_cue as module

        real = module.DepthCueTrainer.train_step

        def step(self, batch):
            if self.step == 70:
                raise StopError
            return real(self, batch)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module.DepthCueTrainer, "train_step", step)
            train_depth_cue(RECIPE, batch_rows, folder, every=50)

    with pytest.raises(StopError):
        stopped(rows(), tmp_path / "parts")
    resumed, _ = train_depth_cue(RECIPE, rows(), tmp_path / "parts", every=50)
    assert same(whole, resumed)


def test_the_cue_is_added_and_the_rest_stays(tmp_path):
    network = tmp_path / "network.safetensors"
    save_tensors(network, {"stage.weight": torch.ones(3)}, {"network": {"variant": "lite"}})
    weights, _ = train_depth_cue(dataclasses.replace(RECIPE, samples=64), rows(), tmp_path / "run")
    out = tmp_path / "out.safetensors"
    save_depth_cue(network, weights, {"seed": 0}, out)

    tensors, header = load_tensors(out)
    assert torch.equal(tensors["stage.weight"], torch.ones(3))
    assert header["network"] == {"variant": "lite"} and header["depth_cue"] == {"seed": 0}
    z, variance = read_depth_cue(out).of_encoded(rows().encoded, rows().local)
    assert z.shape == variance.shape == (400, 14) and (variance > 0).all()
    assert "depth_cue" not in load_header(network)


def answer(local) -> tuple[np.ndarray, Skeleton2D]:
    joints, keypoints = see(make_poses(1, seed=2, yaw=True))
    skeleton = Skeleton2D(
        keypoints[0], np.ones(14), np.tile(np.eye(2), (14, 1, 1)), np.zeros(4), 1.0, None, local
    )
    return joints[0], skeleton


def test_true_depths_are_along_the_line_of_sight_in_sizes():
    joints, skeleton = answer(np.ones((14, 3)))
    estimator = SimpleNamespace(config=EstimatorConfig())
    row = row_of(estimator, skeleton, joints, CAMERA, np.array([0.0, -1, 0]))

    rays = joints[list(KEYPOINT_TO_JOINT)]
    sight = (rays / rays[:, 2:]).mean(0)
    sight /= np.linalg.norm(sight)
    z = joints[list(KEYPOINT_TO_JOINT)] @ sight
    size = np.sqrt((limb_lengths(joints) ** 2).sum())
    # The view frame is turned by up to half of PITCH_STEP, so that pitches are whole steps
    np.testing.assert_allclose(row.z, (z - z.mean()) / size, atol=0.03)
    assert row.encoded.shape == (44,) and row.local.shape == (14, 3)


def test_who_cannot_be_lifted_is_not_learnt_from():
    joints, skeleton = answer(np.ones((14, 3)))
    unseen = dataclasses.replace(skeleton, confidence=np.full(14, 0.01))
    estimator = SimpleNamespace(config=EstimatorConfig())
    assert row_of(estimator, unseen, joints, CAMERA, np.array([0.0, -1, 0])) is None


def test_a_network_without_a_trunk_and_other_folders_are_refused(tmp_path):
    joints, skeleton = answer(None)
    estimator = SimpleNamespace(config=EstimatorConfig())
    with pytest.raises(DataError, match="pretrained trunk"):
        row_of(estimator, skeleton, joints, CAMERA, np.array([0.0, -1, 0]))

    np.savez(tmp_path / "labels.npz", keypoints=np.zeros((1, 14, 3)))
    with pytest.raises(DataError, match="joints_camera_m"):
        collect(estimator, tmp_path, 10)
