# SPDX-License-Identifier: Apache-2.0
"""The node's lifter is a parameter: it changes between two messages, and one without weights is
refused and changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lifting_ros.msg import Skeleton2DArray, SkeletonInfo
from node_support import RGB, Stage
from rclpy.parameter import Parameter
from ros_support import image, person

from lifting_ros.estimator import EstimatorConfig, KeypointLifter, model_name
from lifting_ros.lifting import lifters
from lifting_ros.lifting.lifting import Lifter
from lifting_ros.lifting.residual_mlp import RelativeLifter, ResidualMLP, ResidualMLPConfig
from lifting_ros.ros.conversions import persons_to_array_2d
from lifting_ros.ros.outputs import LATCHED


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """A node that lifts keypoints, with weights of `relative` that have learnt nothing and none of
    `supervised`."""
    torch.manual_seed(0)
    RelativeLifter(ResidualMLP(ResidualMLPConfig(width=16)), (1.05, 0.04)).save(
        tmp_path / "relative.safetensors", {}
    )
    monkeypatch.setattr(lifters, "WEIGHTS", tmp_path)
    made = Stage(input="keypoints")
    made.node._make["keypoints"] = KeypointLifter
    made.node.start()
    yield made
    made.close()


def lifted(s: Stage):
    """The answer to one person's keypoints."""
    answers = s.received["/lifting/skeletons_3d"]
    before = len(answers)
    flat = person(np.random.default_rng(4))
    s.send(persons_to_array_2d([flat], image(RGB, "rgb8").header), topic="keypoints")
    s.until(lambda: len(answers) > before, "an answer")
    return np.array(
        [[j.position.x, j.position.y, j.position.z] for j in answers[-1].skeletons[0].joints]
    )


def test_info_names_the_network_by_its_file():
    own = EstimatorConfig(weights="/models/own.safetensors")
    assert [
        model_name(EstimatorConfig()),
        model_name(own),
        model_name(EstimatorConfig(), network=False),
    ] == ["full", "own", ""]


def test_the_lifter_changes_while_the_node_runs(stage):
    infos = stage.listen(SkeletonInfo, "/lifting/info", LATCHED)
    stage.listen()
    stage.publisher(Skeleton2DArray, "keypoints")
    stage.until(lambda: stage.subscribed("keypoints"))
    first = lifted(stage)
    assert isinstance(stage.node._estimator.lifter, Lifter)
    (refused,) = stage.node.set_parameters([Parameter("lifter", value="supervised")])
    assert (
        not refused.successful
        and "supervised.safetensors: no such weights file" in refused.reason
        and "\n" not in refused.reason
    )
    (unknown,) = stage.node.set_parameters([Parameter("lifter", value="magic")])
    assert not unknown.successful and unknown.reason.startswith("lifter: expected one of ppca")
    assert stage.node.set_parameters([Parameter("lifter", value="relative")])[0].successful
    second = lifted(stage)
    assert isinstance(stage.node._estimator.lifter, RelativeLifter) and np.isfinite(second).all()
    assert np.abs(second - first).max() > 0.01 and stage.diagnostics()["lifter"] == "relative"
    stage.until(lambda: len(infos) == 2, "info")
    assert [info.model for info in infos] == ["", "+relative"] and infos[1].prior_sha256 == infos[
        0
    ].prior_sha256 != ""
    assert model_name(stage.node.parameters.value.estimator) == "full+relative"
    assert stage.node.set_parameters([Parameter("lifter", value="ppca")])[0].successful
    lifted(stage)
    assert isinstance(stage.node._estimator.lifter, Lifter)
