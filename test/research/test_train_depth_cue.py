# SPDX-License-Identifier: Apache-2.0
"""Training of the depth cue: it learns what the trunk tells, resumes, and leaves the network as it
is."""

import dataclasses

import numpy as np
import pytest
import torch
from people import CAMERA, make_poses, see

from lifting_ros.errors import DataError
from lifting_ros.estimator import EstimatorConfig
from lifting_ros.io.checkpoint import load_header, load_tensors, save_tensors
from lifting_ros.lifting.depth_cue import HEADER, read_depth_cue
from lifting_ros.research.datasets.found_people import FoundPeople
from lifting_ros.research.training.beside_network import save_beside
from lifting_ros.research.training.train_depth_cue import (
    CueRows,
    DepthCueTrainConfig,
    rows_of,
    train_depth_cue,
)
from lifting_ros.skeleton import KEYPOINT_TO_JOINT, limb_lengths

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
    save_beside(network, HEADER, weights, {"seed": 0}, out)

    tensors, header = load_tensors(out)
    assert torch.equal(tensors["stage.weight"], torch.ones(3))
    assert header["network"] == {"variant": "lite"} and header["depth_cue"] == {"seed": 0}
    z, variance = read_depth_cue(out).of_encoded(rows().encoded, rows().local)
    assert z.shape == variance.shape == (400, 14) and (variance > 0).all()
    assert "depth_cue" not in load_header(network)


def found(local: np.ndarray, confidence: float = 1.0) -> FoundPeople:
    """Two people; local: (2, 14, c)."""
    joints, keypoints = see(make_poses(2, seed=2, yaw=True))
    return FoundPeople(
        keypoints_px=keypoints,
        confidence=np.array([np.ones(14), np.full(14, confidence)]),
        covariance_px2=np.tile(np.eye(2), (2, 14, 1, 1)),
        local=local,
        joints_m=joints,
        matrix=np.tile(CAMERA.matrix, (2, 1, 1)),
        up=np.tile([0.0, -1, 0], (2, 1)),
    )


def test_true_depths_are_along_the_line_of_sight_in_sizes():
    people = found(np.ones((2, 14, 3)))
    rows = rows_of(people, EstimatorConfig())
    assert rows.encoded.shape == (2, 44) and rows.local.shape == (2, 14, 3)

    for joints, told in zip(people.joints_m, rows.z):
        rays = joints[list(KEYPOINT_TO_JOINT)]
        sight = (rays / rays[:, 2:]).mean(0)
        sight /= np.linalg.norm(sight)
        z = joints[list(KEYPOINT_TO_JOINT)] @ sight
        size = np.sqrt((limb_lengths(joints) ** 2).sum())
        # The view frame is turned by up to half of PITCH_STEP, so that pitches are whole steps
        np.testing.assert_allclose(told, (z - z.mean()) / size, atol=0.03)


def test_who_cannot_be_lifted_is_not_learnt_from():
    local = np.stack([np.ones((14, 3)), np.zeros((14, 3))])
    rows = rows_of(found(local, confidence=0.01), EstimatorConfig())
    assert len(rows.z) == 1 and (rows.local == 1).all()


def test_a_network_without_a_trunk_is_refused():
    with pytest.raises(DataError, match="pretrained trunk"):
        rows_of(found(np.zeros((2, 14, 0))), EstimatorConfig())
