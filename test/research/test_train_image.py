# SPDX-License-Identifier: Apache-2.0
"""The network from image to 3D learns labels of drawn people, leaves the features alone, and goes
on after it was killed."""

import dataclasses

import numpy as np
import pytest
import torch
from label_support import make_labels
from small_networks import narrow_trunk, small_network

from lifting_ros.io.checkpoint import CheckpointError
from lifting_ros.keypoints.network import NetworkConfig
from lifting_ros.keypoints.network_weights import save_network
from lifting_ros.research.evaluation.image_pose_measures import label_errors
from lifting_ros.research.labels.label_crops import LabelSet
from lifting_ros.research.training.image_pose import ImagePose, ImagePoseConfig, ImagePoseHead
from lifting_ros.research.training.train_image import ImageTrainConfig, ImageTrainer, train_image

TRUNK = NetworkConfig(
    variant="lite", input_px=32, stages=1, widths=(8, 8), features=8, fusion=False
)
SMALL = ImageTrainConfig(
    network=ImagePoseConfig(widths=(16, 16), hidden=32, dropout=0.0), samples=128, batch=16
)


@pytest.fixture(scope="module")
def trunk():
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        narrow_trunk(patch)
        yield small_network(TRUNK).eval()


@pytest.fixture(scope="module")
def labels():
    return LabelSet([make_labels()], False)


def test_it_learns_and_the_features_stay(trunk, labels, tmp_path):
    before = {name: t.clone() for name, t in trunk.state_dict().items()}
    recipe = dataclasses.replace(
        SMALL, samples=3200, learning_rate=3e-3, ema=0.9, mirror=0.0, turn_deg=0.0
    )
    trained = train_image(recipe, labels, trunk, tmp_path)
    untaught = ImageTrainer(SMALL, trunk).averaged(trunk, trained.size_m)
    assert (
        label_errors(trained, labels)["N-MPJPE, labels"]
        < 0.75 * label_errors(untaught, labels)["N-MPJPE, labels"]
    )
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())


def test_killed_training_resumes_to_the_same_result(trunk, labels, tmp_path):
    whole = train_image(SMALL, labels, trunk, tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(trained):
        if (tmp_path / "parts" / "state.safetensors").exists():
            raise Killed
        return {"error": 1.0}

    with pytest.raises(Killed):
        train_image(SMALL, labels, trunk, tmp_path / "parts", kill, every=3)
    resumed = train_image(SMALL, labels, trunk, tmp_path / "parts")
    for name, value in whole.network.head.state_dict().items():
        torch.testing.assert_close(
            resumed.network.head.state_dict()[name], value, rtol=0, atol=1e-6
        )


def test_weights_load_only_with_their_own_network(trunk, labels, tmp_path):
    for name in ("trunk", "other"):
        save_network(tmp_path / name, trunk.state_dict(), TRUNK, {"name": name})
    trained = ImageTrainer(SMALL, trunk).averaged(trunk, 1.1)
    trained.save(tmp_path / "w.safetensors", tmp_path / "trunk", {})
    crops = torch.from_numpy(labels.exact(np.arange(3), 32).crops)
    back = ImagePose.load(tmp_path / "w.safetensors", tmp_path / "trunk")
    np.testing.assert_allclose(back.estimate(crops), trained.estimate(crops), atol=0.02)
    for trunk_file, named in (("other", "other weights"), ("w.safetensors", "other weights")):
        with pytest.raises(CheckpointError, match=named):
            ImagePose.load(tmp_path / "w.safetensors", tmp_path / trunk_file)
    with pytest.raises(CheckpointError, match="trunk: holds no network from image"):
        ImagePose.load(tmp_path / "trunk", tmp_path / "trunk")


def test_the_head_of_the_recipe_is_small():
    head = ImagePoseHead(ImagePoseConfig(), 32, 48, 1280)
    assert sum(2 * t.numel() for t in head.state_dict().values()) < 5e6
    assert (head.eval()(torch.zeros(2, 32, 48, 48), torch.zeros(2, 1280))[:, 0] == 0).all()


def test_nothing_to_learn_from_is_told(trunk, labels, tmp_path):
    with pytest.raises(ValueError, match="labels: expected at least one"):
        train_image(
            SMALL,
            LabelSet([make_labels()._replace(good=np.zeros(18, bool))], False),
            trunk,
            tmp_path,
        )
