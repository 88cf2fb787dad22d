# SPDX-License-Identifier: Apache-2.0
"""Parameters: one source for descriptors, YAML and defaults; an unknown or unfit one is refused by
name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rclpy
import yaml
from domains import next_domain
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter

from lifting_ros.config import ConfigError
from lifting_ros.estimator import EstimatorConfig
from lifting_ros.ros.declaration import Parameters, declare, leaves, to_table
from lifting_ros.ros.parameters import NodeConfig, default_yaml
from lifting_ros.ros.replay import ReplayConfig

CONFIG = Path(__file__).parents[2] / "config" / "lifting.yaml"
LEAVES = {leaf.name: leaf for leaf in leaves(NodeConfig())}


@pytest.fixture
def make_node():
    """Function from parameter overrides to a node in a context of its own."""
    context = Context()
    rclpy.init(context=context, domain_id=next_domain())
    made = []

    def make(**overrides) -> Node:
        given = [
            Parameter(name.replace("__", "."), value=value) for name, value in overrides.items()
        ]
        options = {
            "parameter_overrides": given,
            "automatically_declare_parameters_from_overrides": True,
        }
        made.append(Node("test_parameters", context=context, **options))
        return made[-1]

    yield make
    for node in made:
        node.destroy_node()
    rclpy.shutdown(context=context)


def test_yaml_lists_every_default():
    how_to_mend = "python -m lifting_ros.ros.parameters > config/lifting.yaml"
    assert CONFIG.read_text(encoding="utf-8") == default_yaml(), how_to_mend


def test_yaml_is_what_ros_reads():
    values = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["/**"]["ros__parameters"]
    defaults = {name: leaf.default for name, leaf in LEAVES.items()}
    lists = {name: list(value) for name, value in defaults.items() if isinstance(value, tuple)}
    assert flat(values) == defaults | lists


def flat(values: dict, prefix: str = "") -> dict:
    out = {}
    for key, value in values.items():
        out |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return out


@pytest.mark.parametrize("config", [NodeConfig(), ReplayConfig()], ids=lambda c: type(c).__name__)
def test_every_parameter_is_described_and_its_default_in_range(config):
    names = [leaf.name for leaf in leaves(config)]
    assert len(names) == len(set(names))
    for leaf in leaves(config):
        assert leaf.metadata["description"]
        low, high = leaf.metadata.get("range", (leaf.default, leaf.default))
        assert low <= leaf.default <= high
        assert leaf.default in leaf.metadata.get("choices", (leaf.default,))


def test_defaults_without_overrides(make_node):
    node = make_node()
    assert declare(node, NodeConfig) == NodeConfig()
    assert {name for name in LEAVES if node.has_parameter(name)} == set(LEAVES)


def test_estimator_parameters_stand_beside_the_nodes_own(make_node):
    node = make_node(detector__score=0.5, device="cpu", up=[0, -1, 0], queue=3)
    config = declare(node, NodeConfig)
    assert (config.estimator.detector.score, config.estimator.device, config.queue) == (
        0.5,
        "cpu",
        3,
    )
    assert config.up == (0.0, -1.0, 0.0) and isinstance(config.estimator, EstimatorConfig)
    assert node.get_parameter("detector.score").value == 0.5


def test_descriptors_carry_text_and_range(make_node):
    node = make_node(detector__score=1)
    config = declare(node, NodeConfig)
    assert config.estimator.detector.score == 1.0
    score, rotations, transport = (
        node.describe_parameter(name)
        for name in ("detector.score", "lifting.rotations", "image_transport")
    )
    low, high = LEAVES["detector.score"].metadata["range"]
    assert (score.floating_point_range[0].from_value, score.floating_point_range[0].to_value) == (
        low,
        high,
    )
    low, high = LEAVES["lifting.rotations"].metadata["range"]
    assert (rotations.integer_range[0].from_value, rotations.integer_range[0].to_value) == (
        low,
        high,
    )
    assert transport.additional_constraints == "raw or compressed"
    assert LEAVES["detector.score"].metadata["description"] in score.description and score.read_only


def test_a_parameter_cannot_change_while_running(make_node):
    node = make_node()
    declare(node, NodeConfig)
    (result,) = node.set_parameters([Parameter("detector.score", value=0.9)])
    assert (
        not result.successful
        and node.get_parameter("detector.score").value == LEAVES["detector.score"].default
    )


def test_live_parameters_change_together_or_not_at_all(make_node):
    node = make_node()
    parameters = Parameters(node, NodeConfig)
    good = [Parameter("detector.score", value=0.4), Parameter("markers.sigma", value=2.0)]
    assert node.set_parameters_atomically(good).successful
    assert (parameters.value.estimator.detector.score, parameters.value.markers.sigma) == (0.4, 2.0)
    before = parameters.value
    mixed = [Parameter("detector.score", value=0.6), Parameter("up", value=[0.0, 0.0, 0.0])]
    refused = node.set_parameters_atomically(mixed)
    assert not refused.successful and refused.reason.startswith("up: expected three numbers")
    assert parameters.value is before and node.get_parameter("detector.score").value == 0.4


def test_while_in_use_only_live_parameters_change(make_node):
    node = make_node()
    parameters = Parameters(node, NodeConfig)
    assert (
        node.set_parameters([Parameter("queue", value=4)])[0].successful
        and parameters.value.queue == 4
    )
    parameters.in_use = True
    (refused,) = node.set_parameters([Parameter("queue", value=5)])
    assert (
        refused.reason == "queue: takes effect when the node is configured; clean up first"
        and parameters.value.queue == 4
    )
    assert node.set_parameters([Parameter("min_person_score", value=0.5)])[0].successful
    assert parameters.value.estimator.min_person_score == 0.5


@pytest.mark.parametrize("value", [1.5, "high", float("nan")])
def test_an_unfit_change_is_refused_and_nothing_changes(make_node, value):
    node = make_node()
    parameters = Parameters(node, NodeConfig)
    before = parameters.value
    assert not node.set_parameters([Parameter("detector.score", value=value)])[0].successful
    assert parameters.value is before


def test_invalid_qos_is_refused_when_it_is_set(
    make_node,
):
    name = "qos_overrides./image.subscription.reliability"
    node = make_node(**{name: "best_effort"})
    Parameters(node, NodeConfig)
    (refused,) = node.set_parameters([Parameter(name, value="sure")])
    assert not refused.successful and refused.reason.startswith(f"{name}: expected one of reliable")
    assert node.set_parameters([Parameter(name, value="reliable")])[0].successful


def test_the_table_has_a_row_for_each():
    rows = to_table(NodeConfig).splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(LEAVES)
    assert all(row.count("|") - row.count("\\|") == 7 for row in rows)


@pytest.mark.parametrize(
    "overrides, words",
    [
        (
            {"detector__scores": 0.5},
            "^detector.scores: unknown parameter; did you mean detector.score[?]$",
        ),
        ({"zzz": 1}, "^zzz: unknown parameter; expected one of autostart, "),
        ({"estimator__device": "cpu"}, "^estimator.device: unknown parameter"),
        (
            {"image_transport": "theora"},
            "^image_transport: expected one of raw, compressed, got 'theora'",
        ),
        ({"detector__score": 1.5}, "^detector.score: expected 0.0 to 1.0, got 1.5"),
        ({"detector__score": "high"}, "^detector.score: expected float, got 'high'"),
        ({"queue": 0}, "^queue: expected 1 to 10000, got 0"),
        ({"queue": 1.5}, "^queue: expected int, got 1.5"),
        ({"rectified": 1}, "^rectified: expected bool, got 1"),
        ({"up": [0.0, 1.0]}, "^up: expected three numbers"),
        ({"up": [0.0, 0.0, 0.0]}, "^up: expected three numbers"),
        ({"up": [0.0, -1.0, float("nan")]}, "^up: expected three numbers"),
        ({"up": ["a", "b", "c"]}, "^up .*expected float, got 'a'"),
        ({"up": "down"}, "^up: expected list, got 'down'"),
        ({"cameras": "front"}, "^cameras: expected list, got 'front'"),
        ({"cameras": [1, 2]}, "^cameras .*expected str, got 1"),
        ({"cameras": ["front", "front"]}, "^cameras: expected different names, got 'front' twice"),
        ({"cameras": ["front left"]}, "^cameras: expected letters, digits and underscores"),
        (
            {"qos_overrides./image.subscription.reliability": "sure"},
            "^qos_overrides./image.subscription.reliability: expected one of rel",
        ),
        (
            {"qos_overrides./image.subscription.history": 3},
            "^qos_overrides./image.subscription.history: expected one of keep_last",
        ),
        (
            {"qos_overrides./image.subscription.depth": -1},
            "^qos_overrides./image.subscription.depth: expected a number",
        ),
    ],
)
def test_unfit_parameter_is_refused_by_name(make_node, overrides, words):
    with pytest.raises(ConfigError, match=words) as caught:
        declare(make_node(**overrides), NodeConfig)
    assert "\n" not in str(caught.value)


def test_up_may_be_unknown(make_node):
    assert np.isnan(declare(make_node(up=[float("nan")] * 3), NodeConfig).up).all()


def test_parameters_of_ros_itself_are_no_strangers(make_node):
    assert declare(make_node(use_sim_time=True), NodeConfig) == NodeConfig()
