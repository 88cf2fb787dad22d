# SPDX-License-Identifier: Apache-2.0
"""Relative depths: guessed by the cue, read from weights, fused by the lifter."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from people import CAMERA, make_poses, see, small_prior
from scipy.stats import multivariate_normal

from lifting_ros.io.checkpoint import CheckpointError, save_tensors
from lifting_ros.lifting.conditioning import LATENTS
from lifting_ros.lifting.depth_cue import (
    HEADER,
    LAYERS,
    PREFIX,
    DepthCue,
    read_depth_cue,
)
from lifting_ros.lifting.depth_fusion import RelativeDepths, _update_relative
from lifting_ros.lifting.encoding import encode_views, views_of
from lifting_ros.lifting.lifting import Lifter, LifterConfig
from lifting_ros.lifting.request import UP, Depths, Keypoints
from lifting_ros.research.training.train_depth_cue import CueNetwork, DepthCueTrainConfig
from lifting_ros.skeleton import KEYPOINT_COUNT, KEYPOINT_TO_JOINT, limb_lengths

JOINTS = list(KEYPOINT_TO_JOINT)
LIFTER = Lifter(small_prior(), LifterConfig(prior_scale=1.0))
COUNT = 5
CHANNELS = 9
SURE = np.full((COUNT, KEYPOINT_COUNT), 1e-4)


def people(seed: int = 3):
    """True joints (N, 17, 3), keypoints (N, 14, 2), and relative z (N, 14) in sizes."""
    joints, keypoints = see(make_poses(COUNT, seed=seed, yaw=True))
    seen = Keypoints(keypoints, np.ones(keypoints.shape[:2]), None)
    views = views_of(seen, CAMERA, UP, LIFTER.config)
    z = np.einsum("na,nka->nk", views.frame[:, 2].astype(float), joints[:, JOINTS])
    size = np.sqrt((limb_lengths(joints) ** 2).sum(-1))
    return joints, keypoints, (z - z.mean(1, keepdims=True)) / size[:, None]


def lift(keypoints, depths=None, camera=CAMERA, up=UP):
    return LIFTER.lift(keypoints, np.ones(keypoints.shape[:2]), None, camera, up, depths)


def error_m(poses, joints) -> np.ndarray:
    """Mean distance (N,) of the joints about the root."""
    about_root = poses.joints_m - poses.root_m[:, None]
    return np.linalg.norm(about_root - (joints - joints[:, :1]), axis=2).mean(1)


def cue_tensors(rng) -> dict[str, np.ndarray]:
    network = CueNetwork(
        DepthCueTrainConfig(width=16, deep_width=8), *rng.uniform(0.5, 2.0, size=(2, CHANNELS))
    )
    torch.nn.init.normal_(network.out.weight, std=0.1)
    return {name: value.numpy() for name, value in network.state_dict().items()}


def test_true_relative_depths_make_poses_right():
    joints, keypoints, z = people()
    plain = error_m(lift(keypoints), joints)
    told = error_m(lift(keypoints, Depths(relative_z=z, relative_variance=SURE)), joints)
    assert (told < plain + 0.005).all() and told.mean() < 0.6 * plain.mean()


def test_a_common_depth_says_nothing():
    _, keypoints, z = people()
    one = lift(keypoints, Depths(relative_z=z, relative_variance=SURE))
    other = lift(keypoints, Depths(relative_z=z + 7.0, relative_variance=SURE))
    np.testing.assert_allclose(other.joints_m, one.joints_m, atol=1e-5)


def test_doubtful_depths_change_nothing():
    _, keypoints, z = people()
    doubt = np.full_like(SURE, 1e8)
    plain = lift(keypoints)
    told = lift(keypoints, Depths(relative_z=-z, relative_variance=doubt))
    apart = np.linalg.norm(told.joints_m - plain.joints_m, axis=2)
    assert apart.max() < 0.03  # both iterate, in another precision and number of passes


def test_the_surer_the_depths_the_smaller_the_covariance():
    _, keypoints, z = people()
    volumes = []
    for variance in (1e-4, 1e-2, 1.0):
        poses = lift(
            keypoints, Depths(relative_z=z, relative_variance=np.full_like(SURE, variance))
        )
        volumes.append(np.trace(poses.covariance_m2, axis1=2, axis2=3).mean())
    assert volumes[0] < volumes[1] < volumes[2]


@pytest.mark.parametrize(("camera", "up"), [(None, UP), (CAMERA, np.full(3, np.nan))])
def test_without_a_camera_or_up_they_help_too(camera, up):
    joints, keypoints, z = people()
    told = lift(keypoints, Depths(relative_z=z, relative_variance=SURE), camera, up)
    plain = lift(keypoints, None, camera, up)
    assert error_m(told, joints).mean() < error_m(plain, joints).mean()
    if camera is None:
        assert np.isnan(told.root_covariance_m2).all() and not told.root_m.any()


def test_measured_and_relative_depths_work_together():
    joints, keypoints, z = people()
    measured = joints[:, JOINTS, 2]
    variance = np.full_like(measured, 0.03**2)
    both = lift(keypoints, Depths(measured, variance, z, SURE))
    alone = lift(keypoints, (measured, variance))
    assert error_m(both, joints).mean() < error_m(alone, joints).mean()
    far = np.linalg.norm(both.root_m - joints[:, 0], axis=1)
    assert (far < 0.1).all()


def test_the_update_is_that_of_bayes():
    """Against the information form: precisions add up."""
    rng = np.random.default_rng(1)
    index = np.array([0, 3, 4, 9])
    factor = rng.normal(size=(LATENTS + 1, LATENTS + 1))
    before = factor @ factor.T / 50 + 0.1 * np.eye(LATENTS + 1)
    mean = rng.normal(size=LATENTS + 1)
    relative = RelativeDepths(index, rng.normal(size=4), rng.uniform(0.01, 0.1, 4))

    rows = np.zeros((4, LATENTS + 1))
    rows[np.arange(4), 3 * np.array(JOINTS)[index] + 2] = 1
    rows -= rows.mean(0)
    precision = np.linalg.inv(before) + rows.T @ np.diag(1 / relative.variance) @ rows
    expected = np.linalg.solve(
        precision, np.linalg.solve(before, mean) + rows.T @ (relative.z / relative.variance)
    )
    total = rows @ before @ rows.T + np.diag(relative.variance)
    evidence = multivariate_normal(rows @ mean, total).logpdf(relative.z)

    state, covariance = mean.copy(), before.copy()
    added = _update_relative(relative, state, covariance)
    np.testing.assert_allclose(state, expected, atol=1e-8)
    np.testing.assert_allclose(covariance, np.linalg.inv(precision), atol=1e-8)
    assert added == pytest.approx(evidence + 0.5 * len(index) * np.log(2 * np.pi))


def test_wrong_shapes_are_named():
    _, keypoints, z = people()
    with pytest.raises(ValueError, match=r"^relative depth variance: expected \(5, 14\), got"):
        lift(keypoints, Depths(relative_z=z, relative_variance=SURE[:3]))


def test_the_cue_computes_what_the_network_that_was_trained_does():
    rng = np.random.default_rng(0)
    tensors = cue_tensors(rng)
    network = CueNetwork(
        DepthCueTrainConfig(width=16, deep_width=8), np.zeros(CHANNELS), np.ones(CHANNELS)
    )
    network.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})

    _, keypoints, _ = people()
    seen = Keypoints(keypoints, np.ones(keypoints.shape[:2]), None)
    deep = (5 * rng.normal(size=(COUNT, 14, CHANNELS))).astype(np.float32)
    z, variance = DepthCue(tensors).guess(seen, list(deep), CAMERA, UP)

    encoded = encode_views(views_of(seen, CAMERA, UP, LifterConfig()), True)
    with torch.inference_mode():
        expected, log_std = network.eval()(torch.from_numpy(encoded), torch.from_numpy(deep))
    np.testing.assert_allclose(z, expected, atol=1e-5)
    np.testing.assert_allclose(variance, torch.exp(2 * log_std), rtol=1e-4)
    np.testing.assert_allclose(z.sum(1), 0, atol=1e-5)


def test_nothing_is_guessed_for_whom_nothing_is_known():
    rng = np.random.default_rng(0)
    _, keypoints, _ = people()
    confidence = np.ones(keypoints.shape[:2])
    confidence[2] = 0
    deep = [*rng.normal(size=(COUNT - 1, 14, CHANNELS)), None]
    seen = Keypoints(keypoints, confidence, None)
    z, variance = DepthCue(cue_tensors(rng)).guess(seen, deep, CAMERA, UP)
    known = np.isfinite(z).all(1) & np.isfinite(variance).all(1)
    assert known.tolist() == [True, True, False, True, False]
    assert (z[~known] == np.inf).all() and (variance[~known] == np.inf).all()

    lifted = lift(keypoints, Depths(relative_z=z, relative_variance=variance))
    plain = lift(keypoints)
    np.testing.assert_array_equal(lifted.joints_m[4], plain.joints_m[4])


def test_a_cue_that_reads_the_mean_over_the_crop_still_works(tmp_path):
    """Its layer of both reads the units of the trunk once, not once for each keypoint."""
    rng = np.random.default_rng(0)
    tensors = cue_tensors(rng)
    tensors["middle.weight"] = rng.normal(size=(16, 16 + 8)).astype(np.float32)
    file = write(tmp_path / "w.safetensors", tensors, {HEADER: {}})
    cue = read_depth_cue(file)

    encoded, mean = rng.normal(size=(2, 44)), rng.normal(size=(2, CHANNELS))
    usual = np.clip((mean - tensors["mean"]) / tensors["std"], -3, 3)
    layers = [("keypoints", encoded), ("deep", usual)]
    units = [
        np.maximum(values @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"], 0)
        for name, values in layers
    ]
    middle = np.concatenate(units, 1) @ tensors["middle.weight"].T + tensors["middle.bias"]
    out = np.maximum(middle, 0) @ tensors["out.weight"].T + tensors["out.bias"]
    z, variance = cue.of_encoded(encoded.astype(np.float32), mean)
    np.testing.assert_allclose(z, out[:, :14] - out[:, :14].mean(1, keepdims=True), atol=0.02)
    np.testing.assert_allclose(variance, np.exp(2 * out[:, 14:]), rtol=0.05)

    person = SimpleNamespace(deep="mean", local="at keypoints")
    assert cue.layer_of(person) == "mean"
    assert DepthCue(cue_tensors(rng)).layer_of(person) == "at keypoints"


def write(path, tensors, header):
    named = {PREFIX + name: torch.from_numpy(value) for name, value in tensors.items()}
    save_tensors(path, named, header)
    return path


def test_the_cue_is_read_from_a_weights_file(tmp_path):
    tensors = cue_tensors(np.random.default_rng(0))
    file = write(tmp_path / "with.safetensors", tensors, {HEADER: {}})
    encoded = np.ones((1, 44), np.float32)
    deep = np.ones((1, 14, CHANNELS), np.float32)
    read = read_depth_cue(file).of_encoded(encoded, deep)
    np.testing.assert_allclose(read, DepthCue(tensors).of_encoded(encoded, deep), rtol=1e-5)

    assert read_depth_cue(write(tmp_path / "none.safetensors", tensors, {})) is None
    assert read_depth_cue(tmp_path / "another.onnx") is None


@pytest.mark.parametrize("layer", LAYERS)
def test_tensors_that_do_not_fit_are_named(tmp_path, layer):
    tensors = cue_tensors(np.random.default_rng(0))
    tensors[f"{layer}.bias"] = tensors[f"{layer}.bias"][:-1]
    file = write(tmp_path / "w.safetensors", tensors, {HEADER: {}})
    with pytest.raises(CheckpointError, match=rf"depth_cue\.{layer}\.bias: expected"):
        read_depth_cue(file)


def test_missing_tensors_and_numbers_are_named(tmp_path):
    tensors = cue_tensors(np.random.default_rng(0))
    broken = tensors | {"mean": np.full_like(tensors["mean"], np.nan)}
    with pytest.raises(CheckpointError, match=r"depth_cue\.mean: expected"):
        read_depth_cue(write(tmp_path / "w.safetensors", broken, {HEADER: {}}))

    del tensors["out.weight"]
    with pytest.raises(CheckpointError, match=r"depth_cue\.out\.weight"):
        read_depth_cue(write(tmp_path / "w.safetensors", tensors, {HEADER: {}}))
