# SPDX-License-Identifier: Apache-2.0
"""Doubt about legs at the lower border of a picture."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.special import expit, logit

from lifting_ros.backends import make_border_doubt
from lifting_ros.estimator import FREE, SHIPPED, WEIGHTS
from lifting_ros.io.checkpoint import CheckpointError, load_header, save_tensors
from lifting_ros.keypoints.border_doubt import (
    HEADER,
    LEGS,
    BorderDoubt,
    distance_inside,
    doubted,
    read_border_doubt,
)
from lifting_ros.keypoints.network_config import NetworkConfig
from lifting_ros.skeleton import KEYPOINT_NAMES
from lifting_ros.types import FoundKeypoints

DOUBT = BorderDoubt(hip=3.0, knee=2.0, ankle=1.0, reach=0.05)
SIZE = (320, 240)
BOX = np.array([100.0, 40, 200, 240])
"""Its longer side has 200 px."""

HIP = KEYPOINT_NAMES.index("right_hip")
ANKLE = KEYPOINT_NAMES.index("left_ankle")
WRIST = KEYPOINT_NAMES.index("left_wrist")


def at(y: float, presence: float = 0.9, mass: float = 0.8) -> FoundKeypoints:
    """All keypoints in one row of the image."""
    points = np.tile([150.0, y], (14, 1))
    return FoundKeypoints(
        points, np.full(14, mass * presence), np.zeros((14, 2, 2)), np.full(14, presence)
    )


def test_legs_at_the_border_are_doubted_and_the_rest_is_not():
    before = at(239.5)
    after = doubted(before, BOX, SIZE, DOUBT)
    legs = [k for keypoints in LEGS.values() for k in keypoints]
    others = np.setdiff1d(np.arange(14), legs)
    assert len(legs) == 6
    assert (after.confidence[others] == before.confidence[others]).all()
    assert after.confidence[HIP] == pytest.approx(0.8 * expit(logit(0.9) - 3))
    assert after.confidence[ANKLE] == pytest.approx(0.8 * expit(logit(0.9) - 1))
    np.testing.assert_array_equal(after.presence, before.presence)


def test_doubt_falls_with_the_distance_in_sizes_of_the_person():
    """10 px from the border are a 20th of this person, and a 40th of one twice as large."""
    near = doubted(at(229.5), BOX, SIZE, DOUBT)
    assert near.confidence[HIP] == pytest.approx(0.8 * expit(logit(0.9) - 3 / np.e))

    large = doubted(at(229.5), np.array([0.0, -160, 100, 240]), SIZE, DOUBT)
    assert large.confidence[HIP] < near.confidence[HIP]

    far = doubted(at(100), BOX, SIZE, DOUBT)
    np.testing.assert_allclose(far.confidence, at(100).confidence, rtol=1e-5)


def test_distance_is_from_the_lower_border():
    points = np.zeros((14, 2))
    points[:3, 1] = [239.5, 219.5, 400]
    assert distance_inside(points, BOX, SIZE)[:3].tolist() == [0, 0.1, 0]
    a_point = np.array([5.0, 5, 5, 5])
    assert np.isfinite(distance_inside(points, a_point, SIZE)).all()


@pytest.mark.parametrize("presence", [0.0, 1e-9, 0.5, 1.0])
def test_confidence_is_never_raised(presence):
    for y in (0.0, 200.0, 239.0, 500.0):
        before = at(y, presence)
        after = doubted(before, BOX, SIZE, DOUBT)
        assert (after.confidence <= before.confidence + 1e-12).all()
        assert (after.confidence >= 0).all()


def write(path, values) -> None:
    save_tensors(path, {"a": torch.zeros(1)}, {HEADER: values})


def test_values_are_read_as_written(tmp_path):
    path = tmp_path / "a.safetensors"
    write(path, dataclasses.asdict(DOUBT))
    assert read_border_doubt(path) == DOUBT
    confidence = make_border_doubt(path)(at(239.5), BOX, SIZE).confidence
    assert confidence[HIP] < confidence[ANKLE] < confidence[WRIST]


def test_files_without_values_have_no_doubt(tmp_path):
    """Weights of before, and networks of other formats."""
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"a": torch.zeros(1)}, {"network": dataclasses.asdict(NetworkConfig())})
    found = at(239.5)
    for one in (path, tmp_path / "a.onnx"):
        assert read_border_doubt(one) is None
        assert make_border_doubt(one)(found, BOX, SIZE) is found


@pytest.mark.parametrize(
    "values",
    [
        3,
        {},
        {"hip": 1.0, "knee": 1.0, "ankle": 1.0},
        dataclasses.asdict(DOUBT) | {"hip": -0.1},
        dataclasses.asdict(DOUBT) | {"reach": 0.0},
        dataclasses.asdict(DOUBT) | {"knee": float("nan")},
        dataclasses.asdict(DOUBT) | {"more": 1.0},
    ],
)
def test_malformed_values_are_refused(tmp_path, values):
    path = tmp_path / "a.safetensors"
    write(path, values)
    with pytest.raises(CheckpointError, match="a.safetensors: border_doubt") as error:
        make_border_doubt(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [*SHIPPED, FREE])
def test_networks_that_ship_have_values(name):
    path = WEIGHTS / f"{name}.safetensors"
    doubt = read_border_doubt(path)
    assert doubt is not None and doubt.hip > 1
    assert {"network", "person_score"} < set(load_header(path))
