# SPDX-License-Identifier: Apache-2.0
"""Depth as a measurement: sampling of the image, and its effect on the posterior."""

import dataclasses

import numpy as np
import pytest
from people import CAMERA, make_poses, see, small_prior
from scipy.stats import chi2

from lifting_ros.lifting.depth import (
    LEAST_CONFIDENCE,
    SURFACE_TO_JOINT_M,
    _find_surfaces,
    measure_depth,
)
from lifting_ros.lifting.depth_fusion import fuse_depths
from lifting_ros.lifting.lifting import Lifter, LifterConfig
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT, KEYPOINT_TO_JOINT
from lifting_ros.types import LiftedPoses

JOINTS = list(KEYPOINT_TO_JOINT)
LIFTER = Lifter(small_prior(), LifterConfig(prior_scale=1.0))
WALL_M = 6.0
STD_M = 0.03


def scene(
    joints: np.ndarray, keypoints: np.ndarray, scale: int = 1, wall_m: float = WALL_M
) -> np.ndarray:
    """Depth image (480 * scale, 640 * scale) of a person before a wall: a disc of 12 px,
    SURFACE_TO_JOINT_M before each joint; the nearest wins."""
    depth = np.full((480 * scale, 640 * scale), wall_m, np.float32)
    rows, columns = np.mgrid[: 480 * scale, : 640 * scale]
    surface = joints[JOINTS, 2] - SURFACE_TO_JOINT_M
    for (x, y), z in zip((keypoints + 0.5) * scale - 0.5, surface):
        disc = (columns - x) ** 2 + (rows - y) ** 2 <= (12 * scale) ** 2
        depth[disc] = np.minimum(depth[disc], z)
    return depth


def person(seed: int = 4):
    """Joints (17, 3), keypoints (14, 2) and depth image of a person with arms and legs apart, whose
    keypoints do not overlap."""
    pose = make_poses(1, seed=seed, yaw=False)
    pose[0, [13, 16], 0] += [0.25, -0.25]
    pose[0, [12, 15], 0] += [0.15, -0.15]
    joints, keypoints = see(pose)
    return joints[0], keypoints[0], scene(joints[0], keypoints[0])


def measured(depth: np.ndarray, keypoints: np.ndarray, confidence=None, size=None):
    z, variance = measure_depth(
        depth,
        keypoints[None],
        np.ones((1, KEYPOINT_COUNT)) if confidence is None else confidence[None],
        size,
    )
    return z[0], variance[0]


def test_depth_of_every_joint_is_found():
    joints, keypoints, depth = person()
    z, variance = measured(depth, keypoints)
    np.testing.assert_allclose(z, joints[JOINTS, 2], atol=0.02)
    assert ((variance > 0.01**2) & (variance < 0.08**2)).all()


@pytest.mark.parametrize("scale", [2, 0.5])
def test_depth_may_have_another_size_than_the_image(scale):
    joints, keypoints, depth = person()
    other = np.kron(depth, np.ones((2, 2), np.float32)) if scale == 2 else depth[::2, ::2]
    z, variance = measured(other, keypoints, size=(640, 480))
    np.testing.assert_allclose(z, joints[JOINTS, 2], atol=0.03)
    # with the size taken for that of the image the result is wrong
    wrong = np.nan_to_num(measured(other, keypoints)[0])
    assert not np.allclose(wrong, z, atol=0.05)


@pytest.mark.parametrize("hole", [0.0, np.nan, np.inf, -1.0, 65.535])
def test_holes_are_ignored(hole):
    joints, keypoints, depth = person()
    sparse = depth.copy()
    sparse[np.random.default_rng(0).random(depth.shape) < 0.7] = hole
    z, variance = measured(sparse, keypoints)
    np.testing.assert_allclose(z, joints[JOINTS, 2], atol=0.03)
    assert np.isfinite(variance).all()
    z, variance = measured(np.full_like(depth, hole), keypoints)
    assert np.isnan(z).all() and (variance == np.inf).all()


@pytest.mark.parametrize("wall", [0.4, 2.0])
def test_background_beside_a_limb_does_not_bleed_in(wall):
    """With keypoints on the edge of their limbs more than half of the window is wall."""
    joints, keypoints, _ = person()
    depth = scene(joints, keypoints, wall_m=float(joints[:, 2].max()) + wall)
    z, variance = measured(depth, keypoints + [8.0, 0.0])
    right = np.abs(z - joints[JOINTS, 2]) < 0.05
    assert right.sum() >= 13  # a wrist comes to lie on the hip
    assert np.isfinite(variance[right]).all()


def test_what_is_out_of_reach_is_rejected():
    joints, keypoints, depth = person()
    for keypoint, value in ((4, 1.0), (10, 5.9)):  # a pole before a wrist, the wall at an ankle
        x, y = np.rint(keypoints[keypoint]).astype(int)
        depth[y - 15 : y + 16, x - 15 : x + 16] = value
    z, variance = measured(depth, keypoints)
    assert (variance[[4, 10]] == np.inf).all() and np.isnan(z[[4, 10]]).all()
    rest = np.isfinite(variance)
    assert rest.sum() == 12
    np.testing.assert_allclose(z[rest], joints[JOINTS, 2][rest], atol=0.02)


def test_unsure_and_unseen_keypoints_are_not_sampled():
    joints, keypoints, depth = person()
    confidence = np.ones(KEYPOINT_COUNT)
    confidence[3] = LEAST_CONFIDENCE - 0.01
    confidence[5] = np.nan
    keypoints[7] = np.nan
    keypoints[9] = [-30.0, 1e30]
    z, variance = measured(depth, keypoints, confidence)
    hidden = [3, 5, 7, 9]
    assert (variance[hidden] == np.inf).all()
    assert np.isfinite(np.delete(variance, hidden)).all()


def test_a_wrong_shape_is_named():
    for depth in (np.zeros((4, 4, 3)), np.zeros((0, 4))):
        with pytest.raises(ValueError, match=r"^depth: expected \(H, W\) metres"):
            measure_depth(depth, np.zeros((1, 14, 2)), np.ones((1, 14)))
    with pytest.raises(ValueError, match="^keypoints_px: expected"):
        measure_depth(np.ones((4, 4)), np.zeros((1, 13, 2)), np.ones((1, 13)))
    with pytest.raises(ValueError, match=r"^depth variance: expected \(1, 14\)"):
        LIFTER.lift(
            np.zeros((1, 14, 2)),
            np.ones((1, 14)),
            camera=CAMERA,
            depth=(np.zeros((1, 14)), np.zeros((2, 14))),
        )


def people(count: int, noise_px: float = 2.0, seed: int = 21, size_std: float = 0.0):
    """Joints, keypoints, their covariances and depths (z, variance) of people, all noisy."""
    rng = np.random.default_rng(seed)
    size = rng.normal(1.0, size_std, (count, 1, 1))
    joints, _ = see(make_poses(count, seed=seed) * size)
    keypoints = CAMERA.project(joints[:, JOINTS]) + noise_px * rng.standard_normal((count, 14, 2))
    z = joints[:, JOINTS, 2] + STD_M * rng.standard_normal((count, 14))
    covariance = np.tile(noise_px**2 * np.eye(2), (count, 14, 1, 1))
    depth = (z, np.full((count, 14), STD_M**2))
    return joints, keypoints, covariance, depth


def lift(keypoints, covariance, depth=None, confidence=None, **more) -> LiftedPoses:
    confidence = np.ones(keypoints.shape[:2]) if confidence is None else confidence
    return LIFTER.lift(keypoints, confidence, covariance, CAMERA, depth=depth, **more)


def relative_error(poses: LiftedPoses, joints: np.ndarray) -> np.ndarray:
    return np.linalg.norm(
        poses.joints_m - poses.root_m[:, None] - joints + joints[:, :1], axis=-1
    ).mean(1)


def assert_same(one: LiftedPoses, other: LiftedPoses):
    for field in dataclasses.fields(LiftedPoses):
        np.testing.assert_array_equal(
            getattr(one, field.name), getattr(other, field.name), err_msg=field.name
        )


@pytest.mark.parametrize("up", [(0.0, -1.0, 0.0), (np.nan,) * 3])
def test_without_a_valid_depth_nothing_changes(up):
    _, keypoints, covariance, (z, variance) = people(3)
    plain = lift(keypoints, covariance, up=up)
    for depth in (
        (z, np.full_like(z, np.inf)),
        (np.full_like(z, np.nan), variance),
        (-z, variance),
        (z, -variance),
    ):
        assert_same(lift(keypoints, covariance, depth, up=up), plain)


def test_without_a_camera_depth_is_ignored():
    _, keypoints, covariance, depth = people(3)
    given = (keypoints, np.ones((3, 14)), covariance)
    assert_same(LIFTER.lift(*given, depth=depth), LIFTER.lift(*given))


def test_persons_with_and_without_depth_do_not_interfere():
    _, keypoints, covariance, (z, variance) = people(4)
    variance[[1, 2]] = np.inf
    mixed, plain = lift(keypoints, covariance, (z, variance)), lift(keypoints, covariance)
    alone = lift(keypoints[3:], covariance[3:], (z[3:], variance[3:]))
    np.testing.assert_allclose(mixed.joints_m[[1, 2]], plain.joints_m[[1, 2]], atol=1e-5)
    np.testing.assert_allclose(mixed.joints_m[3], alone.joints_m[0], atol=1e-5)
    assert np.abs(mixed.joints_m[[0, 3]] - plain.joints_m[[0, 3]]).max() > 0.02


def test_depth_recovers_the_range_of_people_of_any_size():
    joints, keypoints, covariance, depth = people(40, size_std=0.06)
    far = [
        np.abs(p.root_m - joints[:, 0])[:, 2]
        for p in (lift(keypoints, covariance), lift(keypoints, covariance, depth))
    ]
    assert np.median(far[0]) > 0.1 and np.median(far[1]) < 0.03 and far[1].max() < 0.12


def test_depths_of_some_joints_suffice():
    joints, keypoints, covariance, (z, variance) = people(40, size_std=0.06)
    variance[:, [k for k in range(14) if k not in (8, 11)]] = np.inf  # the hips
    partial = lift(keypoints, covariance, (z, variance))
    assert np.median(np.abs(partial.root_m - joints[:, 0])[:, 2]) < 0.04
    assert np.isfinite(partial.covariance_m2).all()


def test_depth_improves_the_pose_and_keeps_the_reprojection():
    joints, keypoints, covariance, depth = people(40)
    plain, better = lift(keypoints, covariance), lift(keypoints, covariance, depth)
    assert relative_error(better, joints).mean() < 0.85 * relative_error(plain, joints).mean()
    off = [
        np.linalg.norm(CAMERA.project(p.joints_m[:, JOINTS]) - keypoints, axis=-1)
        for p in (plain, better)
    ]
    assert np.median(off[1]) < 3.0 and off[1].mean() < off[0].mean() + 1.0


def test_depth_tells_front_from_back():
    """Given the depths of a hypothesis, that hypothesis is chosen among those that explain the
    keypoints."""
    _, keypoints, covariance, _ = people(30, noise_px=4.0)
    modes = lift(keypoints, covariance)
    apart = np.linalg.norm(modes.hypotheses_m[:, 1] - modes.hypotheses_m[:, 0], axis=-1).mean(1)
    chosen = (modes.hypothesis_weight[:, 1] > 1e-3) & (apart > 0.12)
    assert chosen.sum() >= 5
    right = []
    for n in np.flatnonzero(chosen):
        z = modes.hypotheses_m[n, 1][JOINTS, 2][None]
        found = lift(keypoints[[n]], covariance[[n]], (z, np.full((1, 14), STD_M**2))).joints_m[0]
        right.append(
            np.argmin([np.linalg.norm(found - h, axis=-1).mean() for h in modes.hypotheses_m[n]])
            == 1
        )
    assert np.mean(right) > 0.8


@pytest.mark.parametrize("factor", [0.6, 1.4])
def test_a_child_and_a_giant_are_placed_by_depth(factor):
    """All depths agree, so the size must be off by a third or more."""
    joints, _ = see(make_poses(12, seed=6) * factor)
    keypoints = CAMERA.project(joints[:, JOINTS])
    depth = joints[:, JOINTS, 2], np.full((12, 14), STD_M**2)
    poses = lift(keypoints, np.tile(np.eye(2), (12, 14, 1, 1)), depth)
    assert np.abs(poses.root_m - joints[:, 0])[:, 2].max() < 0.15
    assert relative_error(poses, joints).max() < 0.15


def test_depths_of_something_else_altogether_do_not_count():
    _, keypoints, covariance, (z, variance) = people(5)
    plain, spoilt = lift(keypoints, covariance), lift(keypoints, covariance, (10 * z, variance))
    np.testing.assert_allclose(spoilt.root_m, plain.root_m, atol=0.25)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_depths_of_an_occluder_do_not_count(count):
    joints, keypoints, covariance, (z, variance) = people(30)
    rng = np.random.default_rng(5)
    clean = lift(keypoints, covariance, (z, variance))
    for row in z:
        row[rng.choice(14, count, replace=False)] -= rng.uniform(0.3, 0.6, count)
    spoilt = lift(keypoints, covariance, (z, variance))
    assert np.median(np.abs(spoilt.root_m - joints[:, 0])[:, 2]) < 0.04
    assert (
        relative_error(spoilt, joints).mean() < relative_error(clean, joints).mean() + 0.01 * count
    )


def test_covariances_have_the_stated_coverage_with_depth():
    joints, keypoints, covariance, depth = people(150, size_std=0.05)
    poses = lift(keypoints, covariance, depth)
    error = (poses.joints_m - poses.root_m[:, None] - joints + joints[:, :1])[:, 1:]
    distance = np.einsum(
        "nja,njab,njb->nj", error, np.linalg.inv(poses.covariance_m2[:, 1:]), error
    )
    assert 0.82 < (distance < chi2.ppf(0.9, 3)).mean() < 0.99
    off = poses.root_m - joints[:, 0]
    distance = np.einsum("na,nab,nb->n", off, np.linalg.inv(poses.root_covariance_m2), off)
    assert 0.85 < (distance < chi2.ppf(0.9, 3)).mean()
    # and they are not wide for it
    assert np.sqrt(np.median(poses.root_covariance_m2[:, 2, 2])) < 0.06
    for matrices in (poses.covariance_m2[:, 1:], poses.root_covariance_m2):
        assert (np.linalg.eigvalsh(matrices) > 0).all()


def test_few_keypoints_and_an_unknown_vertical_take_depth_too():
    joints, keypoints, covariance, (z, variance) = people(6)
    confidence = np.ones((6, 14))
    confidence[:, [3, 4, 6, 7, 8, 9, 10, 11, 12, 13]] = 0  # head and shoulders
    hidden = np.where(confidence > 0, variance, np.inf)
    few = lift(keypoints, covariance, (z, hidden), confidence)
    assert np.isfinite(few.joints_m).all()
    assert np.abs(few.joints_m[:, 8, 2] - joints[:, 8, 2]).max() < 0.12
    assert (few.status == 1).sum() == 6 * (JOINT_COUNT - 4)
    lost = lift(keypoints, covariance, (z, variance), up=(np.nan,) * 3)
    assert np.median(np.abs(lost.root_m - joints[:, 0])[:, 2]) < 0.04


def test_warm_up_leaves_nothing_to_compile_for_depth():
    LIFTER.warm_up(depth=True)
    known = len(fuse_depths.signatures), len(_find_surfaces.signatures)
    _, keypoints, covariance, _ = people(2)
    lift(
        keypoints,
        covariance,
        measure_depth(np.full((480, 640), 4.0, np.float32), keypoints, np.ones((2, 14))),
    )
    assert (len(fuse_depths.signatures), len(_find_surfaces.signatures)) == known


def test_any_numbers_have_a_defined_answer():
    rng = np.random.default_rng(0)
    _, keypoints, covariance, _ = people(40)
    z = rng.normal(size=(40, 14)) * 10.0 ** rng.integers(-3, 9, (40, 1))
    variance = 10.0 ** rng.uniform(-12, 12, (40, 14))
    z[rng.random(z.shape) < 0.1] = np.nan
    poses = lift(keypoints, covariance, (z, variance))
    assert np.isfinite(poses.joints_m).all()
    assert np.isfinite(poses.covariance_m2).all()
    assert np.isfinite(poses.root_covariance_m2).all()
    np.testing.assert_allclose(poses.hypothesis_weight.sum(1), 1)
