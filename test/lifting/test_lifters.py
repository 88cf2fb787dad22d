# SPDX-License-Identifier: Apache-2.0
"""Lifters by name: chosen in the configuration, changed while in use, refused in one line where
their weights are missing or another's."""

import dataclasses

import numpy as np
import pytest
import torch
from people import CAMERA, make_poses, see

from lifting_ros.config import ConfigError, from_mapping
from lifting_ros.estimator import EstimatorConfig, KeypointLifter
from lifting_ros.geometry.camera import Camera
from lifting_ros.lifting import lifters
from lifting_ros.lifting.lifter_config import HEIGHT_OVER_SIZE, LifterConfig
from lifting_ros.lifting.lifting import Lifter
from lifting_ros.lifting.residual_mlp import (
    RelativeLifter,
    ResidualMLP,
    ResidualMLPConfig,
    SupervisedLifter,
)
from lifting_ros.research.evaluation.metrics import pa_mpjpe
from lifting_ros.types import Skeleton2D


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A folder of weights with a prior's neighbours: lifters that have learnt nothing."""
    monkeypatch.setattr(lifters, "WEIGHTS", tmp_path)
    for kind in (RelativeLifter, SupervisedLifter):
        torch.manual_seed(0)
        kind(ResidualMLP(ResidualMLPConfig(width=16)), (1.05, 0.04)).save(
            tmp_path / f"{kind.method}.safetensors", {}
        )
    return tmp_path


def test_names_are_the_choices_of_the_parameter():
    field = next(f for f in dataclasses.fields(EstimatorConfig) if f.name == "lifter")
    assert field.metadata["choices"] == lifters.METHODS and field.metadata["live"]


def test_missing_weights_are_reported_with_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr(lifters, "WEIGHTS", tmp_path)
    with pytest.raises(
        ConfigError,
        match=r"^lifter: relative: .*relative\.safetensors: no such weights file "
        r"\(lifting train relative",
    ):
        KeypointLifter(EstimatorConfig(lifter="relative"))
    with pytest.raises(ConfigError, match="^lifter: expected one of ppca"):
        from_mapping(EstimatorConfig, {"lifter": "magic"})
    assert lifters.shipped() == ["ppca"] and lifters.weights_of("ppca") is None
    with pytest.raises(ConfigError, match=r"^lifter: ppca: nothing-here: no such weights file"):
        KeypointLifter(EstimatorConfig(lifter_weights="nothing-here"))


@pytest.mark.parametrize("method", [method for method in lifters.METHODS if method != "ppca"])
def test_shipped_weights_are_small_and_lift_the_demo_person(method):
    """The rendered person's own keypoints back to 17 joints; covariances that hold them, none so
    large that they say nothing."""
    path = lifters.weights_of(method)
    assert path.stat().st_size <= 5e6 and path.with_suffix(".md").is_file()
    demo = np.load(lifters.WEIGHTS.parent / "demo" / "walk_and_sit_truth.npz", allow_pickle=False)
    somebody = np.isfinite(demo["joints_m"]).all((1, 2))
    joints, keypoints = (
        demo[name][somebody][::5].astype(float) for name in ("joints_m", "keypoints_px")
    )
    noise = np.tile(4 * np.eye(2), (*keypoints.shape[:2], 1, 1))
    lifter = lifters.make_lifter(method, None, LifterConfig())
    poses = lifter.lift(keypoints, np.ones(keypoints.shape[:2]), noise, Camera(demo["K"]))
    assert pa_mpjpe(poses.joints_m, joints).mean() < 0.09 and (poses.status > 0).all()
    missed = (poses.joints_m - poses.root_m[:, None]) - (joints - joints[:, :1])
    found = (
        np.einsum(
            "nja,njab,njb->nj",
            missed[:, 1:],
            np.linalg.inv(poses.covariance_m2[:, 1:]),
            missed[:, 1:],
        )
        / 3
    )
    assert 0.2 < found.mean() < 4


def test_weights_of_another_lifter_are_refused(weights):
    with pytest.raises(
        ConfigError, match="^lifter: relative: .*supervised.safetensors: weights of supervised"
    ):
        KeypointLifter(
            EstimatorConfig(
                lifter="relative", lifter_weights=str(weights / "supervised.safetensors")
            )
        )
    (weights / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="x.safetensors: not a weights file"):
        KeypointLifter(
            EstimatorConfig(lifter="relative", lifter_weights=str(weights / "x.safetensors"))
        )


def test_lifter_uses_the_configured_stature(weights):
    lifter = lifters.make_lifter(
        "supervised", None, LifterConfig(stature_m=1.55, stature_std_m=0.1)
    )
    assert lifter.size == pytest.approx((1.0, 0.1 / 1.55))


def test_size_std_is_in_proportion_to_the_stature():
    """Where the deviation itself is not told; and that of one who is not told is the prior's."""
    assert LifterConfig().size_m(1.1, 0.07) == (1.1, 0.07)
    assert LifterConfig(stature_m=0.55 * HEIGHT_OVER_SIZE).size_m(1.1, 0.07) == pytest.approx(
        (0.55, 0.035)
    )
    assert LifterConfig(stature_std_m=0.155).size_m(1.1, 0.07) == pytest.approx((1.1, 0.1))


def test_the_estimator_changes_its_lifter_and_back(weights):
    estimator = KeypointLifter()
    prior_s, keypoints = estimator.lifter, see(make_poses(1))[1][0]
    skeleton = Skeleton2D(
        keypoints, np.ones(14), np.full((14, 2, 2), np.nan), np.array([0, 0, 10.0, 10]), 1.0
    )
    first = estimator.lift([skeleton], CAMERA)[0].skeleton_3d
    estimator.retune(dataclasses.replace(estimator.config, lifter="relative"))
    assert isinstance(estimator.lifter, RelativeLifter)
    other = estimator.lift([skeleton], CAMERA)[0].skeleton_3d
    assert (
        other.metric
        and other.hypotheses_m.shape == (1, 17, 3)
        and np.isfinite(other.covariance_m2).all()
    )
    assert np.abs(other.joints_m - first.joints_m).max() > 0.01
    estimator.retune(dataclasses.replace(estimator.config, lifter="ppca"))
    assert estimator.lifter is prior_s and isinstance(prior_s, Lifter)
    np.testing.assert_array_equal(
        estimator.lift([skeleton], CAMERA)[0].skeleton_3d.joints_m, first.joints_m
    )
