# SPDX-License-Identifier: Apache-2.0
"""The pose correction: what it reads of an answer, what it changes, and whose answers it leaves."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from people import CAMERA, make_poses, see, small_prior

from lifting_ros.config import ConfigError
from lifting_ros.io.checkpoint import CheckpointError, save_tensors
from lifting_ros.lifting import lifters
from lifting_ros.lifting.corrected_lifter import CorrectedLifter, corrected
from lifting_ros.lifting.encoding import encode, views_of
from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.lifting.lifting import Lifter
from lifting_ros.lifting.observation import PITCH_STEP
from lifting_ros.lifting.pose_correction import (
    INPUTS,
    LEAST_SEEN,
    MOVED,
    NAMES,
    OUTPUTS,
    PRIOR,
    SECTION,
    PoseCorrection,
    describe,
    read_pose_correction,
)
from lifting_ros.lifting.request import UP, Depths, Keypoints
from lifting_ros.research.training.train_pose_correction import (
    CorrectionNetwork,
    PoseCorrectionTrainConfig,
)
from lifting_ros.skeleton import KEYPOINT_TO_JOINT, limb_lengths

COUNT = 5
JOINTS = list(KEYPOINT_TO_JOINT)
LIFTER = Lifter(small_prior())


def people(seed: int = 3) -> Keypoints:
    """Keypoints with noise, one of them missing."""
    _, keypoints = see(make_poses(COUNT, seed=seed, yaw=True))
    rng = np.random.default_rng(seed)
    confidence = np.ones((COUNT, 14))
    confidence[1, 4] = 0
    covariance = np.tile(9 * np.eye(2), (COUNT, 14, 1, 1))
    return Keypoints(keypoints + rng.normal(0, 3, keypoints.shape), confidence, covariance)


def random_tensors(scale: float = 0.1) -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    network = CorrectionNetwork(PoseCorrectionTrainConfig(width=8))
    torch.nn.init.normal_(network.out.weight, std=scale)
    return {name: value.numpy() for name, value in network.state_dict().items()}


def constant_tensors(moved=(0.0, 0.0, 0.0), log_factor: float = 0.0) -> dict[str, np.ndarray]:
    """A network that says the same of every joint of everybody."""
    tensors = {name: 0 * value for name, value in random_tensors().items()}
    tensors["std"] = np.ones(INPUTS, np.float32)
    bias = np.concatenate([np.tile(moved, MOVED), np.full(MOVED, log_factor)])
    return tensors | {"out.bias": bias.astype(np.float32)}


def lift(tensors, seen: Keypoints, camera=CAMERA, up=UP, depth=None):
    return CorrectedLifter(LIFTER, PoseCorrection(tensors)).lift(*seen, camera, up, depth)


def same(one, other) -> bool:
    return all(
        np.array_equal(value, getattr(other, name), equal_nan=True)
        for name, value in vars(one).items()
    )


@pytest.mark.parametrize("camera", [CAMERA, None])
def test_the_network_reads_keypoints_and_answer(camera):
    """Against a plain reference."""
    seen = people()
    up = np.array([0.0, -1.0, 0.2])
    poses = LIFTER.lift(*seen, camera, up)
    views = views_of(seen, camera, up, LIFTER.config)
    inputs, size_m = describe(poses, views, camera is not None)

    frame = views.frame.astype(float)
    joints = np.einsum("nab,njb->nja", frame, poses.joints_m)
    about_root = joints - joints[:, :1]
    size = np.sqrt((limb_lengths(about_root) ** 2).sum(-1))
    np.testing.assert_allclose(size_m, size, rtol=1e-5)

    used = views.seen[..., None]
    count = used.sum(1, keepdims=True)
    centred = np.where(used, views.rays - (views.rays * used).sum(1, keepdims=True) / count, 0)
    extent = np.sqrt((centred**2).sum((1, 2), keepdims=True) / count)
    deviation = np.sqrt(0.5 * (views.noise[..., 0] + views.noise[..., 2])) * extent[..., 0]
    pitch = views.pitch * PITCH_STEP
    encoded = encode(views.rays, deviation, views.seen, pitch, camera is not None)

    misfit = np.zeros((COUNT, 14, 2))
    if camera is not None:
        projected = joints[:, JOINTS, :2] / joints[:, JOINTS, 2:]
        misfit = np.where(used, (views.rays - projected) / extent, 0.0)

    covariance = np.einsum("nab,njbc,ndc->njad", frame, poses.covariance_m2, frame)
    along = np.sqrt(covariance[..., 2, 2])
    across = np.sqrt(covariance[..., 0, 0] + covariance[..., 1, 1])
    deviations = np.log(np.stack([along, across], -1) / size[:, None, None] + 1e-3)
    shape = np.concatenate([about_root / size[:, None, None], deviations], -1)[:, 1:]

    columns = [encoded, misfit.reshape(COUNT, -1), shape.reshape(COUNT, -1)]
    expected = np.concatenate(columns, 1)
    assert expected.shape == inputs.shape == (COUNT, INPUTS)
    np.testing.assert_allclose(inputs, expected, atol=2e-4)


def test_joints_and_hypotheses_move_about_the_root():
    seen = people()
    plain = LIFTER.lift(*seen, CAMERA)
    moved = lift(constant_tensors((0.01, -0.02, 0.03), np.log(1.5)), seen)
    views = views_of(seen, CAMERA, UP, LIFTER.config)
    size = np.sqrt((limb_lengths(plain.joints_m) ** 2).sum(-1))
    step = np.einsum("nab,a->nb", views.frame.astype(float), [0.01, -0.02, 0.03])
    step = (size[:, None] * step)[:, None]

    np.testing.assert_allclose(moved.joints_m[:, 1:], plain.joints_m[:, 1:] + step, atol=1e-6)
    np.testing.assert_array_equal(moved.joints_m[:, 0], plain.joints_m[:, 0])
    np.testing.assert_allclose(
        moved.hypotheses_m[:, :, 1:], plain.hypotheses_m[:, :, 1:] + step[:, None], atol=1e-6
    )
    np.testing.assert_array_equal(moved.hypotheses_m[:, 0], moved.joints_m)
    np.testing.assert_allclose(
        moved.covariance_m2[:, 1:], 2.25 * plain.covariance_m2[:, 1:], rtol=1e-5
    )
    for name in ("root_m", "root_covariance_m2", "status", "log_likelihood", "hypothesis_weight"):
        np.testing.assert_array_equal(getattr(moved, name), getattr(plain, name))


def test_a_correction_of_nothing_changes_nothing():
    seen = people()
    assert same(lift(constant_tensors(), seen), LIFTER.lift(*seen, CAMERA))


def test_an_answer_does_not_depend_on_the_others():
    seen = people()
    together = lift(random_tensors(), seen)
    assert not same(together, LIFTER.lift(*seen, CAMERA))
    for n in range(COUNT):
        alone = lift(random_tensors(), Keypoints(*(values[n : n + 1] for values in seen)))
        assert same(alone, together.select(np.array([n])))


def test_a_turned_camera_turns_the_correction():
    """The network sees view frames: the same person in a rolled camera is corrected alike."""
    seen = people()
    centre = CAMERA.matrix[:2, 2]
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])  # a quarter about the line of sight
    rolled = Keypoints(
        (seen.keypoints_px - centre) @ turn.T + centre,
        seen.confidence,
        turn @ seen.covariance_px2 @ turn.T,
    )
    turn_3d = np.eye(3)
    turn_3d[:2, :2] = turn
    one = lift(random_tensors(), seen)
    other = lift(random_tensors(), rolled, up=turn_3d @ UP)
    np.testing.assert_allclose(other.joints_m, one.joints_m @ turn_3d.T, atol=2e-4)


@pytest.mark.parametrize("case", ["no vertical", "measured depth", "few keypoints", "nobody"])
def test_other_answers_stay(case):
    seen, up, depth = people(), np.asarray(UP), None
    if case == "no vertical":
        up = np.full(3, np.nan)
    elif case == "measured depth":
        depth = (np.full((COUNT, 14), 4.0), np.full((COUNT, 14), 0.01))
    elif case == "few keypoints":
        confidence = np.zeros((COUNT, 14))
        confidence[:, : LEAST_SEEN - 1] = 1
        seen = seen._replace(confidence=confidence)
    else:
        seen = seen._replace(confidence=np.zeros((COUNT, 14)))

    found = lift(random_tensors(), seen, CAMERA, up, depth)
    assert same(found, LIFTER.lift(*seen, CAMERA, up, depth))


def test_guessed_depths_are_corrected_and_empty_calls_answered():
    seen = people()
    flat = np.zeros((COUNT, 14))
    depth = Depths(relative_z=flat, relative_variance=flat + 0.01)
    plain = LIFTER.lift(*seen, CAMERA, UP, depth)
    assert not same(lift(random_tensors(), seen, CAMERA, UP, depth), plain)
    assert len(lift(random_tensors(), Keypoints(*(v[:0] for v in seen))).joints_m) == 0


def test_numpy_and_torch_agree():
    network = CorrectionNetwork(PoseCorrectionTrainConfig(width=8)).eval()
    tensors = random_tensors() | {"mean": np.full(INPUTS, 0.5, np.float32)}
    network.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    inputs = np.random.default_rng(0).normal(0, 4, (6, INPUTS)).astype(np.float32)
    moved, log_factor = PoseCorrection(tensors).of_inputs(inputs)
    with torch.inference_mode():
        expected = network(torch.from_numpy(inputs))
    np.testing.assert_allclose(moved, expected[0], atol=1e-5)
    np.testing.assert_allclose(log_factor, expected[1], atol=1e-5)
    assert moved.shape == (6, MOVED, 3) and log_factor.size + moved.size == 6 * OUTPUTS


def write(path, tensors, prior=LIFTER.prior, **header):
    named = {f"{SECTION}.{name}": torch.from_numpy(value) for name, value in tensors.items()}
    save_tensors(path, named, header | {SECTION: {PRIOR: prior.digest()}})
    return path


def test_weights_are_read_back(tmp_path):
    file = write(tmp_path / "c.safetensors", random_tensors())
    inputs = np.random.default_rng(0).normal(size=(3, INPUTS)).astype(np.float32)
    read = read_pose_correction(file, LIFTER.prior)
    for one, other in zip(
        read.of_inputs(inputs), PoseCorrection(random_tensors()).of_inputs(inputs)
    ):
        np.testing.assert_array_equal(one, other)

    empty = tmp_path / "none.safetensors"
    save_tensors(empty, {"x": torch.ones(1)}, {})
    assert read_pose_correction(empty, LIFTER.prior) is None


@pytest.mark.parametrize("name", NAMES)
def test_broken_weights_are_refused(tmp_path, name):
    tensors = random_tensors()
    for wrong in (np.full_like(tensors[name], np.nan), np.ones((3, 3, 3), np.float32)):
        file = write(tmp_path / "w.safetensors", tensors | {name: wrong})
        with pytest.raises(CheckpointError, match=rf"^.*{SECTION}\.\S+: expected"):
            read_pose_correction(file, LIFTER.prior)


def test_a_correction_belongs_to_its_prior(tmp_path, monkeypatch):
    file = write(tmp_path / "ppca.safetensors", random_tensors(), lifter="ppca")
    config = LifterConfig()
    mine = lifters.make_lifter("ppca", LIFTER.prior, config, str(file))
    assert isinstance(mine, CorrectedLifter) and mine.prior is LIFTER.prior
    switched_off = dataclasses.replace(config, pose_correction=False)
    assert isinstance(lifters.make_lifter("ppca", LIFTER.prior, switched_off, str(file)), Lifter)

    # Of another prior: refused where somebody chose it, not used where it is the one that ships
    other = copy.copy(LIFTER.prior)
    other.means_ = other.means_ + 1e-6
    with pytest.raises(ConfigError, match=r"ppca\.safetensors: no pose correction of this prior"):
        lifters.make_lifter("ppca", other, config, str(file))
    monkeypatch.setattr(lifters, "WEIGHTS", tmp_path)
    assert isinstance(lifters.make_lifter("ppca", other, config), Lifter)
    assert isinstance(lifters.make_lifter("ppca", LIFTER.prior, config), CorrectedLifter)


def test_a_prior_keeps_its_digest(tmp_path):
    prior = small_prior()
    prior.save(tmp_path / "prior.npz")
    again = type(prior).load(tmp_path / "prior.npz")
    assert again.digest() == prior.digest()
    again.stature_m_ *= 1.001
    assert again.digest() != prior.digest()


def test_another_correction_replaces_the_first():
    seen = people()
    first = CorrectedLifter(LIFTER, PoseCorrection(random_tensors()))
    other = corrected(first, PoseCorrection(constant_tensors()))
    assert same(other.lift(*seen, CAMERA), LIFTER.lift(*seen, CAMERA))
    assert same(corrected(LIFTER, first.correction).lift(*seen, CAMERA), first.lift(*seen, CAMERA))
