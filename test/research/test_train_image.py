# SPDX-License-Identifier: Apache-2.0
"""The network from image to 3D learns labels of drawn people, trains what its recipe names of the
trunk and nothing else, and goes on after it was killed."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from label_support import make_labels
from small_networks import narrow_trunk, small_network

from lifting_ros.io.checkpoint import CheckpointError, load_tensors, save_tensors, sha256_of
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
    network=ImagePoseConfig(widths=(16, 16), hidden=32, dropout=0.0),
    trunk_trained="frozen",
    samples=128,
    batch=16,
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
    recipe = dataclasses.replace(
        SMALL, samples=3200, learning_rate=3e-3, ema=0.9, mirror=0.0, turn_deg=0.0
    )
    trained = train_image(recipe, labels, trunk, tmp_path)
    untaught = ImageTrainer(SMALL, trunk).averaged(trunk, trained.size_m)
    assert (
        label_errors(trained, labels)["N-MPJPE, labels"]
        < 0.75 * label_errors(untaught, labels)["N-MPJPE, labels"]
    )
    assert not changed(trained, trunk)


@pytest.mark.parametrize("part", ["pyramid", "deep", "all"])
def test_only_the_named_part_of_the_trunk_is_trained(trunk, labels, tmp_path, part):
    before = {name: t.clone() for name, t in trunk.state_dict().items()}
    trained = train_image(dataclasses.replace(SMALL, trunk_trained=part), labels, trunk, tmp_path)
    assert changed(trained, trunk) == named(trained, part)
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())


def test_gradients_are_finite_at_an_expected_keypoint(trunk, labels):
    exact = copy.deepcopy(trunk)
    for value in exact.features.trunk.regression[-1].parameters():
        value.data.zero_()
    trainer = ImageTrainer(dataclasses.replace(SMALL, trunk_trained="all"), exact)
    trainer.train_step(trainer.make(labels))
    assert all(value.isfinite().all() for value in trainer.whole.state_dict().values())


def test_the_rate_of_the_trunk_is_a_share_of_the_heads(trunk, labels):
    recipe = dataclasses.replace(SMALL, trunk_trained="deep", trunk_rate=0.0)
    trainer = ImageTrainer(recipe, trunk)
    head = trainer.whole.head.out[1].weight.clone()
    trainer.train_step(trainer.make(labels))
    assert not torch.equal(trainer.whole.head.out[1].weight, head)
    assert not changed(trainer.averaged(trunk, 1.0), trunk)


def test_half_precision_steps_as_full_precision_does(trunk, labels):
    distances = []
    for precision in ("float32", "bfloat16"):
        recipe = dataclasses.replace(SMALL, trunk_trained="all", precision=precision)
        trainer = ImageTrainer(recipe, trunk)
        distances.append(trainer.train_step(trainer.make(labels))["distance"])
    assert distances[0] != distances[1]
    np.testing.assert_allclose(*distances, rtol=0.02)


def changed(trained, trunk):
    """Names of the tensors of the features that differ from those of the trunk given."""
    given = trunk.features.state_dict()
    found = trained.network.trunk.state_dict()
    return {name for name, value in found.items() if not torch.equal(value, given[name])}


def named(trained, part):
    """Names of the parameters of the features that a part has."""
    blocks = tuple(f"trunk.backbone.blocks.{n}." for n in range(10, 17))
    prefixes = {
        "pyramid": ("mix.", "trunk.pyramid.", "trunk.heat."),
        "deep": ("mix.", "trunk.pyramid.", "trunk.heat.", "trunk.backbone.last.", *blocks),
        "all": (
            "mix.",
            *(f"trunk.{each}." for each in ("pyramid", "heat", "backbone")),
        ),
    }[part]
    names = {name for name, _ in trained.network.trunk.named_parameters()}
    return {name for name in names if name.startswith(prefixes)}


@pytest.mark.parametrize("part", ["frozen", "deep"])
def test_killed_training_resumes_to_the_same_result(trunk, labels, tmp_path, part):
    recipe = dataclasses.replace(SMALL, trunk_trained=part)
    whole = train_image(recipe, labels, trunk, tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(trained):
        if (tmp_path / "parts" / "state.safetensors").exists():
            raise Killed
        return {"error": 1.0}

    with pytest.raises(Killed):
        train_image(recipe, labels, trunk, tmp_path / "parts", kill, every=3)
    resumed = train_image(recipe, labels, trunk, tmp_path / "parts")
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[name], value, rtol=0, atol=1e-6)


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


def test_a_trained_trunk_is_kept_with_the_head(trunk, labels, tmp_path):
    save_network(tmp_path / "trunk", trunk.state_dict(), TRUNK, {})
    recipe = dataclasses.replace(SMALL, trunk_trained="deep", trunk_rate=1.0)
    trained = train_image(recipe, labels, trunk, tmp_path / "run")
    trained.save(tmp_path / "w.safetensors", tmp_path / "trunk", {})
    back = ImagePose.load(tmp_path / "w.safetensors", tmp_path / "trunk")
    tensors, _ = load_tensors(tmp_path / "w.safetensors")
    kept = {name for name in tensors if name.startswith("trunk.")}
    assert kept == {f"trunk.{name}" for name in named(trained, "deep")}
    for name, value in back.network.trunk.state_dict().items():
        expected = trained.network.trunk.state_dict()[name].half().float()
        torch.testing.assert_close(value, expected, rtol=0, atol=0, check_dtype=False)
    assert back.network.trunk_trained == "deep"


def test_a_file_that_lacks_a_trained_tensor_is_refused(trunk, labels, tmp_path):
    save_network(tmp_path / "trunk", trunk.state_dict(), TRUNK, {})
    recipe = dataclasses.replace(SMALL, trunk_trained="deep")
    ImageTrainer(recipe, trunk).averaged(trunk, 1.1).save(tmp_path / "w", tmp_path / "trunk", {})
    tensors, header = load_tensors(tmp_path / "w")
    del tensors["trunk.trunk.backbone.last.weight"]
    save_tensors(tmp_path / "w", tensors, header)
    with pytest.raises(CheckpointError, match="tensors of the trunk"):
        ImagePose.load(tmp_path / "w", tmp_path / "trunk")


def test_a_file_of_a_head_alone_still_loads(trunk, labels, tmp_path):
    save_network(tmp_path / "trunk", trunk.state_dict(), TRUNK, {})
    trained = ImageTrainer(SMALL, trunk).averaged(trunk, 1.1)
    half = {name: value.half() for name, value in trained.network.head.state_dict().items()}
    header = {
        "image_pose": dataclasses.asdict(SMALL.network),
        "trunk_sha256": sha256_of(tmp_path / "trunk"),
        "size_m": 1.1,
        "card": {},
    }
    save_tensors(tmp_path / "old.safetensors", half, header)
    back = ImagePose.load(tmp_path / "old.safetensors", tmp_path / "trunk")
    assert not back.network.trunk_tensors()
    crops = torch.from_numpy(labels.exact(np.arange(3), 32).crops)
    np.testing.assert_allclose(back.estimate(crops), trained.estimate(crops), atol=0.02)


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
