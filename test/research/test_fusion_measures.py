# SPDX-License-Identifier: Apache-2.0
"""What the fusion is worth: the weight is set in every stage, and the same windows are asked with
each weight."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from people import CAMERA, make_poses, see, small_prior
from small_networks import LITE, small_network

from lifting_ros.config import ConfigError
from lifting_ros.estimator import EstimatorConfig
from lifting_ros.keypoints.inference import NetworkRunner
from lifting_ros.lifting.lifting import Lifter
from lifting_ros.research.datasets.pack import Pack
from lifting_ros.research.evaluation import fusion
from lifting_ros.research.evaluation.fusion import (
    CONDITIONS,
    FUSION_WEIGHTS,
    TITLES,
    changed,
    fusion_tables,
    with_fusion_weight,
)
from lifting_ros.research.evaluation.synthetic_people import RenderedPeople

pytestmark = pytest.mark.usefixtures("narrow_trunk")
PEOPLE = 3


@pytest.fixture
def network():
    torch.manual_seed(0)
    return small_network(LITE, small_prior())


@pytest.fixture
def pack() -> Pack:
    """People in noise, 640 x 480."""
    _, keypoints = see(make_poses(PEOPLE, seed=3))
    images = np.random.default_rng(0).integers(0, 255, (PEOPLE, 480, 640, 3), np.uint8)
    labels = np.concatenate([keypoints, np.ones((PEOPLE, 14, 1))], -1).astype(np.float32)
    return Pack("lspet", images, labels, np.ones(PEOPLE, bool))


@pytest.fixture
def people(pack) -> RenderedPeople:
    joints, _ = see(make_poses(PEOPLE, seed=3))
    return RenderedPeople(
        pack,
        np.arange(PEOPLE),
        joints,
        np.tile(CAMERA.matrix, (PEOPLE, 1, 1)),
        np.tile([0.0, -1, 0], (PEOPLE, 1)),
    )


def estimator_of(network) -> SimpleNamespace:
    device = torch.device("cpu")
    return SimpleNamespace(
        device=device,
        config=EstimatorConfig(min_keypoint_confidence=0.0),
        network=NetworkRunner(network, device),
        lifter=Lifter(small_prior()),
    )


@pytest.mark.parametrize(("weight", "maps"), [(1.0, "belief"), (0.0, "projected")])
def test_weight_leaves_one_kind_of_map(network, weight, maps):
    crops = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    learned = network.fusion.weights.tolist()
    output = with_fusion_weight(network, weight).eval()(crops)

    for stage in output.stages:
        torch.testing.assert_close(stage.fused, getattr(stage, maps))
        assert not torch.allclose(stage.belief, stage.projected)
    assert network.fusion.weights.tolist() == learned, "the network itself was changed"


def test_learned_weights_stay_as_they_are(network):
    copied = with_fusion_weight(network, None)
    assert copied is not network
    assert copied.fusion.weights.tolist() == network.fusion.weights.tolist()


def test_network_without_fusion_is_refused():
    plain = small_network(dataclasses.replace(LITE, fusion=False))
    with pytest.raises(ConfigError, match="network.fusion"):
        with_fusion_weight(plain, 1.0)


def test_windows_are_always_hidden_in_the_same_way(pack):
    rows = np.array([2, 0])
    hide = CONDITIONS[", 30 % hidden"]
    windows = changed(pack, rows, ", 30 % hidden", hide, seed=0)
    again = changed(pack, rows[:1], ", 30 % hidden", hide, seed=0)
    other = changed(pack, rows[:1], ", 30 % hidden", hide, seed=1)

    assert windows.name == "lspet, 30 % hidden"
    np.testing.assert_array_equal(windows.pack.images[0], again.pack.images[0])
    assert (other.pack.images[0] != again.pack.images[0]).any()
    assert (windows.pack.images[0] != pack.images[2]).any()
    np.testing.assert_array_equal(windows.pack.keypoints, pack.keypoints[rows])


def test_tables_have_every_weight_and_condition(network, pack, people):
    estimator = estimator_of(network)
    tables = fusion_tables(network, estimator, [pack], people)

    assert tuple(tables) == TITLES
    keypoints, joints = tables.values()
    assert list(keypoints) == list(joints) == list(FUSION_WEIGHTS)
    assert list(keypoints["w = 1"]) == ["lspet", "lspet, 30 % hidden"]
    assert list(joints["w = 0"]) == [
        f"{metric}{add}" for add in CONDITIONS for metric in ("MPJPE", "PA-MPJPE", "lifted %")
    ]
    assert joints["w = 1"] != joints["w = 0"]
    assert tuple(fusion_tables(network, estimator, [pack])) == TITLES[:1]


def test_figures_are_those_of_the_weight(network, pack, monkeypatch):
    """PCK is 100 % where the maps of that weight answer with the labels."""

    def answers(runner, part, rows, maps=("fused",)):
        right = runner._network.fusion.weights[0].item() == 1.0
        points = part.keypoints[None, None, ..., :2] + (0 if right else 1e3)
        return SimpleNamespace(keypoints_px=points, labels=part.keypoints)

    monkeypatch.setattr(fusion, "ask", answers)
    (keypoints,) = fusion_tables(network, estimator_of(network), [pack]).values()
    assert keypoints["w = 1"]["lspet"] == 100
    assert keypoints["w = 0"]["lspet"] == keypoints["w learned"]["lspet, 30 % hidden"] == 0
