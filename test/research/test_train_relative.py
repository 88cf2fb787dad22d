# SPDX-License-Identifier: Apache-2.0
"""Relative-depth supervision learns stick figures from comparisons alone, in every variant; a
killed training goes on as it was."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from killed_training import killed_and_resumed
from people import CAMERA, make_poses, see

from lifting_ros.config import ConfigError
from lifting_ros.io.checkpoint import CheckpointError
from lifting_ros.lifting.relative import JOINT_SETS, fit_completion
from lifting_ros.lifting.residual_mlp import ResidualMLPConfig
from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.datasets.relative_lsp import CrowdSet, as_pictures
from lifting_ros.research.evaluation.metrics import pa_mpjpe
from lifting_ros.research.training.mlp_trainer import PictureSource, balanced_pictures
from lifting_ros.research.training.relative_losses import (
    ranking,
    reprojection,
    root_offset,
    skeleton,
)
from lifting_ros.research.training.train_relative import (
    SCALES,
    RelativeTrainConfig,
    RelativeTrainer,
    annotate,
    target_of,
    train_relative,
)

SMALL = RelativeTrainConfig(
    network=ResidualMLPConfig(width=64, blocks=1, dropout=0.0),
    images=300,
    samples=640,
    batch=64,
    spread_steps=5,
    ema=0.99,
)


def mocap(count: int = 300) -> Mocap:
    ids = np.arange(count) % 8
    return Mocap(make_poses(count), ids, ids, np.ones(count, bool), ())


def test_it_learns_depth_from_comparisons(tmp_path):
    """Better after Procrustes than one pose for everybody, from a crowd that errs; the network has
    seen no joint in 3D."""
    recipe = dataclasses.replace(
        SMALL, images=4000, samples=100_000, learning_rate=3e-3, exact=1.0, spread_steps=100
    )
    lifter = train_relative(recipe, mocap(600), tmp_path)
    joints, keypoints = see(make_poses(200, seed=7))
    poses = lifter.lift(
        keypoints, np.ones((200, 14)), np.tile(4 * np.eye(2), (200, 14, 1, 1)), CAMERA
    )
    constant = np.broadcast_to((joints - joints[:, :1]).mean(0), joints.shape)
    assert pa_mpjpe(poses.joints_m, joints).mean() < 0.8 * pa_mpjpe(constant, joints).mean()
    flat = poses.joints_m.copy()
    flat[..., 2] = flat[:, :1, 2]
    assert pa_mpjpe(poses.joints_m, joints).mean() < 0.9 * pa_mpjpe(flat, joints).mean()
    assert lifter.network.inflation.min() > 0.1


@pytest.mark.parametrize("camera", ["orthographic", "perspective"])
def test_no_limb_runs_away_in_depth(camera, tmp_path):
    """The paper's own loss has a ditch beside the way: one shin of metres along the view, over
    which every other limb is short."""
    strong = dataclasses.replace(
        SMALL,
        images=2000,
        samples=25_600,
        learning_rate=3e-3,
        exact=1.0,
        skeleton_weight=5.0,
        camera=camera,
    )
    annotated = annotate(balanced_pictures(mocap(600), 2000, 0), strong)
    trainer, source = RelativeTrainer(strong, annotated), PictureSource(annotated.pictures, strong)
    first, _ = _pose_and_target(trainer, source)
    for _ in range(strong.steps):
        trainer.train_step(source.make(trainer.step))
    last, target = _pose_and_target(trainer, source)
    assert last.joints[..., 2].std() < last.joints[..., :2].std()
    assert (
        first.joints[..., 2].std() < 0.3 * first.joints[..., :2].std()
    )  # it begins nearly flat, at the size of the picture
    scale = 0.5 * SCALES[camera] * (target.focal_px.mean() if camera == "perspective" else 1.0)
    height = scale * first.joints[:, 10, 1].mean() / target.keypoints_px[:, 10, 1].mean()
    assert 0.7 < height < 1.4


VARIANTS = [
    {"joints": 14},
    {"camera": "perspective"},
    {"skeleton": "person"},
    {"skeleton": "true"},
    {"skeleton": "none"},
    {"comparisons": 0},
    {"tolerance_m": 0.1},
    {"annotator": "exact"},
    {"annotator": "constant", "correct": 0.7},
    {"label_noise": "normal", "label_noise_px": 5.0},
    {"label_noise": "uniform", "label_noise_px": 5.0},
    {"joints": 14, "skeleton": "person", "camera": "perspective"},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_every_variant_takes_its_steps(changes):
    """The loss falls in forty steps, and no number is lost on the way."""
    config = dataclasses.replace(SMALL, samples=64 * 40, learning_rate=3e-3, **changes)
    annotated = annotate(balanced_pictures(mocap(), 300, 0), config)
    trainer, source = RelativeTrainer(config, annotated), PictureSource(annotated.pictures, config)
    losses = [trainer.train_step(source.make(k))["loss"] for k in range(40)]
    assert np.isfinite(losses).all() and np.mean(losses[-5:]) < np.mean(losses[:5])
    assert trainer.terms(*_pose_and_target(trainer, source))["skeleton"].shape == (64,)


@pytest.mark.parametrize("camera", ["orthographic", "perspective"])
def test_loss_is_the_weighted_sum_of_four_terms(camera):
    weights = {
        "relative_weight": 2.0,
        "reprojection_weight": 3.0,
        "root_weight": 5.0,
        "skeleton_weight": 7.0,
    }
    config = dataclasses.replace(SMALL, camera=camera, slope=1.7, **weights)
    annotated = annotate(balanced_pictures(mocap(), 300, 0), config)
    trainer, source = RelativeTrainer(config, annotated), PictureSource(annotated.pictures, config)
    pose, target = _pose_and_target(trainer, source)
    which = JOINT_SETS[17]
    limbs, far = list(which.limbs), pose.scale if camera == "orthographic" else 0.001 * pose.scale
    focal = None if camera == "orthographic" else target.focal_px
    wanted = (
        2 * ranking(pose.joints, target.pairs, target.label, limbs, 1.7)
        + 3 * reprojection(pose.joints, far, target.keypoints_px, focal)
        + 5 * root_offset(pose.joints, 0)
        + 7 * skeleton(pose.joints, target.ratios, limbs, which.shin)
    )
    torch.testing.assert_close(trainer.loss(pose, source.make(0))[0], wanted.mean())


def test_rate_rises_then_falls_to_zero_and_average_follows():
    config = dataclasses.replace(SMALL, samples=64 * 100, warmup=0.1, learning_rate=2.0, ema=0.5)
    trainer = RelativeTrainer(config, annotate(balanced_pictures(mocap(), 300, 0), config))
    rates = []
    for trainer.step in range(101):
        rates.append(trainer.learning_rate())
    assert np.argmax(rates) == 9 and rates[0] == pytest.approx(0.2) and rates[9] > 1.9
    assert (
        rates[50] == pytest.approx(1.0)
        and rates[100] == pytest.approx(0.0)
        and (np.diff(rates[9:]) < 0).all()
    )
    trainer.step, before = 50, trainer.average["pose.bias"].clone()
    trainer.network.pose.bias.data += 1.0
    trainer.optimiser.param_groups[0]["lr"] = 0.0
    trainer.descend(trainer.network.pose.bias.sum())
    torch.testing.assert_close(trainer.average["pose.bias"], before + 0.5)


def _pose_and_target(trainer, source):
    batch = source.make(0)
    pose = trainer.network.eval()(batch.encoded)
    return pose, target_of(batch, trainer.annotated, trainer.which)


@pytest.mark.parametrize("joints", [17, 14])
def test_targets_are_of_the_picture_the_network_sees(joints):
    """Mirrored or not, turned round or not: the label says which of the two depths is greater, the
    keypoints are the joints' projection."""
    config = dataclasses.replace(SMALL, joints=joints, annotator="exact", mirror=0.5, exact=1.0)
    annotated = annotate(balanced_pictures(mocap(), 300, 0), config)
    batch = PictureSource(annotated.pictures, config).make(3)
    which = JOINT_SETS[joints]
    target = target_of(batch, annotated, which)
    depth = batch.pictures.joints[:, list(which.joints), 2]
    first, second = (
        np.take_along_axis(depth, target.pairs[..., side].numpy(), 1) for side in (0, 1)
    )
    assert (
        np.sign(first - second) == target.label.numpy()
    ).all() and target.label.unique().tolist() == [-1.0, 1.0]
    assert (
        (target.keypoints_px[:, which.root] == 0).all()
        and batch.mirrored.any()
        and not batch.mirrored.all()
    )
    observed = target.keypoints_px.numpy()[
        :, [which.joints.index(j) for j in (10, 8, 14, 15, 16, 11, 12, 13, 1, 2, 3, 4, 5, 6)]
    ]
    extent = np.sqrt(((observed - observed.mean(1, keepdims=True)) ** 2).sum(-1).mean(1))
    np.testing.assert_allclose(extent, 115, rtol=1e-4)
    places = batch.encoded[:, :28].numpy().reshape(-1, 14, 2)
    np.testing.assert_allclose(115 * places, observed - observed.mean(1, keepdims=True), atol=0.05)


def test_a_person_s_own_limbs_are_mirrored_with_the_person():
    poses = make_poses(50)
    poses[:, 3] = poses[:, 2] + 0.7 * (poses[:, 3] - poses[:, 2])  # a short right shin
    config = dataclasses.replace(SMALL, skeleton="true", mirror=0.5)
    annotated = annotate(balanced_pictures(mocap(50)._replace(positions_m=poses), 300, 0), config)
    batch = PictureSource(annotated.pictures, config).make(0)
    left = (
        target_of(batch, annotated, JOINT_SETS[17]).ratios[:, 5].numpy()
    )  # of the left shin over the right one
    np.testing.assert_allclose(left, np.where(batch.mirrored, 0.7, 1 / 0.7), rtol=1e-4)


def test_annotated_keypoints_err_as_the_recipe_says():
    exact, noisy = SMALL, dataclasses.replace(SMALL, label_noise="normal", label_noise_px=5.0)
    pictures = balanced_pictures(mocap(), 300, 0)
    off = annotate(pictures, noisy).pictures.rays - annotate(pictures, exact).pictures.rays
    assert 1150 * off.std() == pytest.approx(5.0, rel=0.05)
    wide = dataclasses.replace(SMALL, label_noise="uniform", label_noise_px=5.0)
    off = annotate(pictures, wide).pictures.rays - pictures.rays
    assert 1150 * np.abs(off).max() == pytest.approx(5.0, rel=0.05)


def test_joints_without_keypoints_are_linear_in_the_others():
    poses = make_poses(500, seed=1)
    which = JOINT_SETS[14]
    completion = fit_completion(poses, which)
    found = np.einsum("jk,nka->nja", completion, poses[:, list(which.joints)])
    assert np.linalg.norm(found - poses, axis=-1).max() < 0.06
    np.testing.assert_allclose(completion.sum(1), 1, atol=1e-3)
    np.testing.assert_allclose(found[:, list(which.joints)], poses[:, list(which.joints)])


def test_killed_training_resumes_to_the_same_result(tmp_path):
    recipe = dataclasses.replace(SMALL, network=ResidualMLPConfig(width=32, blocks=1, dropout=0.3))
    killed_and_resumed(partial(train_relative, recipe, mocap()), tmp_path)
    other = dataclasses.replace(recipe, comparisons=3)
    with pytest.raises(
        CheckpointError, match=f"comparisons: {SMALL.comparisons}, the recipe says 3"
    ):
        train_relative(other, mocap(), tmp_path / "parts")


def photographs(count: int = 40) -> CrowdSet:
    """Keypoints of stick figures with three true comparisons each; the last is to test on, one
    lacks a keypoint, one its comparisons."""
    joints, keypoints = see(make_poses(count, seed=4))
    keypoints[3, 2] = np.nan
    rng = np.random.default_rng(0)
    owner = np.repeat(np.delete(np.arange(count), 5), 3)[1:]  # the first has two
    pairs = np.stack([rng.choice(14, 2, replace=False) for _ in owner])
    depth = joints[:, list(JOINT_SETS[14].joints), 2]
    label = np.sign(depth[owner, pairs[:, 0]] - depth[owner, pairs[:, 1]]).astype(int)
    return CrowdSet(
        tuple(map(str, range(count))), np.arange(count) < count - 1, keypoints, owner, pairs, label
    )


def test_photographs_are_pictures_of_their_keypoints():
    pictures, told = as_pictures(photographs())
    assert len(pictures.rays) == 37 == len(told.label) and told.pairs.shape == (37, 3, 2)
    assert (
        np.isfinite(pictures.rays[:, list(JOINT_SETS[14].joints)]).all()
        and np.isnan(pictures.rays[:, 0]).all()
    )
    assert (told.pairs[0, 2] == told.pairs[0, 0]).all()  # two comparisons: the first again
    ours = annotate(balanced_pictures(mocap(), 300, 0), SMALL).pictures
    extents = [
        np.sqrt(r[:, list(JOINT_SETS[14].joints)].var(1).sum(-1))
        for r in (pictures.rays, ours.rays)
    ]
    np.testing.assert_allclose(
        extents[0], np.median(extents[1]), rtol=0.4
    )  # so that noise in pixels is as much of them
    with pytest.raises(ValueError, match="no photograph to train on"):
        as_pictures(photographs()._replace(train=np.zeros(40, bool)))


def test_training_on_photographs_starts_from_other_state(tmp_path):
    """As the paper goes from motion capture to Leeds Sports Pose: fourteen joints, and what one
    training knows the next begins with."""
    recipe = dataclasses.replace(SMALL, joints=14, samples=640)
    train_relative(recipe, mocap(), tmp_path / "first")
    state = tmp_path / "first" / "state.safetensors"
    kept = dataclasses.replace(recipe, learning_rate=0.0, ema=0.0)
    lifter = train_relative(kept, mocap(), tmp_path / "second", crowd=photographs(), start=state)
    first = train_relative(recipe, mocap(), tmp_path / "first")
    torch.testing.assert_close(lifter.network.pose.weight, first.network.pose.weight)
    with pytest.raises(ConfigError, match="joints: 14"):
        train_relative(SMALL, mocap(), tmp_path / "third", crowd=photographs())
    with pytest.raises(CheckpointError, match="another network"):
        train_relative(SMALL, mocap(), tmp_path / "fourth", start=state)
