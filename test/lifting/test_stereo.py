# SPDX-License-Identifier: Apache-2.0
"""The stereoscopic lifter: turned with the camera, alone as among others, on its rays where
keypoints are exact."""

import dataclasses

import numpy as np
import pytest
from people import CAMERA, make_poses, see
from stereo_support import make_lifter, rolled, turn

from lifting_ros.io.checkpoint import CheckpointError
from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.lifting.stereo import StereoLifter, depth_deviation
from lifting_ros.lifting.stereo_depth import weighted_median
from lifting_ros.lifting.stereo_network import StereoNetwork
from lifting_ros.skeleton import KEYPOINT_TO_JOINT
from lifting_ros.types import JointStatus

CHOSEN = list(KEYPOINT_TO_JOINT)
EXACT = np.tile(1e-12 * np.eye(2), (6, 14, 1, 1))


@pytest.fixture(scope="module")
def people():
    joints, keypoints = see(make_poses(6))
    return joints, keypoints, np.ones((6, 14))


@pytest.mark.parametrize(
    ("rotation", "near"), [(rolled(0.6), 1e-5), (turn(3), 5e-3)], ids=["rolled", "turned"]
)
def test_it_turns_with_the_camera(people, rotation, near):
    """To rounding where the camera is rolled; where it is turned the same pixels of noise are
    another noise on the rays."""
    joints, keypoints, confidence = people
    lifter = make_lifter()
    turned = CAMERA.project((joints @ rotation.T)[:, CHOSEN])
    before = lifter.lift(keypoints, confidence, EXACT, CAMERA)
    after = lifter.lift(turned, confidence, EXACT, CAMERA, rotation @ [0, -1, 0])
    np.testing.assert_allclose(after.joints_m, before.joints_m @ rotation.T, atol=near)
    np.testing.assert_allclose(
        after.covariance_m2, rotation @ before.covariance_m2 @ rotation.T, atol=0.1 * near
    )
    np.testing.assert_allclose(
        after.root_covariance_m2, rotation @ before.root_covariance_m2 @ rotation.T, atol=0.1 * near
    )


def test_keypoint_noise_weighs_rays_against_the_network(people):
    _, keypoints, confidence = people
    found = make_lifter().lift(keypoints, confidence, EXACT, CAMERA).joints_m[:, CHOSEN]
    assert (
        np.abs(CAMERA.project(found) - keypoints).max() < 0.02
    )  # a hundredth of a pixel of noise is assumed of every keypoint
    lost = make_lifter().lift(keypoints, confidence, 1e12 * EXACT * 1e6, CAMERA)
    alone = dataclasses.replace(make_lifter(), search=False).lift(
        keypoints, confidence, 1e12 * EXACT * 1e6, CAMERA
    )
    np.testing.assert_allclose(
        lost.joints_m - lost.root_m[:, None], alone.joints_m - alone.root_m[:, None], atol=1e-3
    )


def test_covariances_are_valid_and_grow_with_noise(people):
    _, keypoints, confidence = people
    noise = np.ones((6, 14, 1, 1)) * np.eye(2)
    sure, unsure = (
        make_lifter().lift(keypoints, confidence, variance * noise, CAMERA)
        for variance in (1.0, 400.0)
    )
    for poses in (sure, unsure):
        for covariance in (poses.covariance_m2[:, 1:], poses.root_covariance_m2):
            assert (np.linalg.eigvalsh(covariance) > 0).all()
            np.testing.assert_allclose(covariance, np.swapaxes(covariance, -1, -2), atol=1e-12)
    spread = [
        np.trace(poses.covariance_m2[:, CHOSEN], axis1=-2, axis2=-1) for poses in (sure, unsure)
    ]
    assert (spread[1] > spread[0]).all()


def test_one_alone_is_as_one_among_many(people):
    _, keypoints, confidence = people
    lifter = make_lifter()
    many, one = (
        lifter.lift(keypoints, confidence, None, CAMERA),
        lifter.lift(keypoints[2:3], confidence[2:3], None, CAMERA),
    )
    np.testing.assert_allclose(one.joints_m[0], many.joints_m[2], atol=1e-5)


def test_missing_keypoints_are_inferred(people):
    _, keypoints, confidence = people
    confidence, other = confidence.copy(), keypoints.copy()
    confidence[:, [4, 10]], other[:, [4, 10]] = 0, np.nan
    for synthesis in (True, False):
        one, two = (
            make_lifter(synthesis=synthesis).lift(k, confidence, None, CAMERA)
            for k in (keypoints, other)
        )
        np.testing.assert_array_equal(one.joints_m, two.joints_m)
        assert np.isfinite(one.joints_m).all() and np.isfinite(one.covariance_m2).all()
    assert (one.status[:, [16, 3]] == JointStatus.INFERRED).all() and (
        one.status[:, 8] == JointStatus.OBSERVED
    ).all()


def test_nobody_is_invalid(people):
    _, keypoints, confidence = people
    confidence = confidence.copy()
    confidence[0], confidence[1, 1:] = 0, 0
    poses = make_lifter().lift(keypoints, confidence, None, CAMERA)
    assert (poses.status[:2] == JointStatus.INVALID).all() and np.isnan(poses.joints_m[:2]).all()
    assert np.isfinite(poses.joints_m[2:]).all()
    assert len(make_lifter().lift(keypoints[:0], confidence[:0]).joints_m) == 0


def test_distance_std_combines_size_and_search(people):
    _, keypoints, confidence = people
    lifter = make_lifter()
    poses = lifter.lift(keypoints, confidence, EXACT, CAMERA)
    away = np.linalg.norm(poses.root_m, axis=-1)
    ray = poses.root_m / away[:, None]
    along = np.sqrt(np.einsum("na,nab,nb->n", ray, poses.root_covariance_m2, ray))
    found = lifter.reconstruct(keypoints, confidence, EXACT, CAMERA)
    np.testing.assert_allclose(
        along / away, np.hypot(lifter.size_std_m / lifter.size_m, found.along), rtol=0.02
    )


def test_two_shoulders_determine_the_distance_poorly(people):
    """Their depth is as doubtful as a scale fitted to joints that err."""
    _, keypoints, confidence = people
    lifter, shoulders = make_lifter(), np.zeros_like(confidence)
    shoulders[:, [8, 9]] = 1
    whole, few = (lifter.reconstruct(keypoints, c, EXACT, CAMERA) for c in (confidence, shoulders))
    assert (few.along > 3 * whole.along).all()
    joints, rng = np.random.default_rng(0).standard_normal((1, 17, 3)), np.random.default_rng(1)
    seen, deviation = np.arange(14)[None] != 4, np.full((1, 17, 3), 1e-3)
    used = joints[:, list(KEYPOINT_TO_JOINT), :2][seen]
    wrong = used + 1e-3 * rng.standard_normal((4000, *used.shape))
    scale = ((used - used.mean(0)) * (wrong - wrong.mean(1, keepdims=True))).sum((1, 2)) / (
        (used - used.mean(0)) ** 2
    ).sum()
    assert depth_deviation(deviation, joints, seen)[0] == pytest.approx(scale.std(), rel=0.05)


def test_rays_do_not_determine_the_root(people):
    """The std of the root across the view adds to the joints that a ray moved, and to no others."""
    _, keypoints, confidence = people
    confidence = confidence.copy()
    confidence[:, [4, 10]] = 0
    lifter = dataclasses.replace(make_lifter(), size_std_m=1e-9)
    doubtful = dataclasses.replace(lifter, errors=dataclasses.replace(lifter.errors, across=5.0))
    sure, unsure = (each.lift(keypoints, confidence, EXACT, CAMERA) for each in (lifter, doubtful))
    spread = [np.trace(poses.covariance_m2, axis1=-2, axis2=-1) for poses in (sure, unsure)]
    observed = sure.status == JointStatus.OBSERVED
    assert (spread[1][observed] > 1.5 * spread[0][observed]).all()
    np.testing.assert_allclose(spread[1][~observed], spread[0][~observed])


@pytest.mark.parametrize("camera", [CAMERA, None])
@pytest.mark.parametrize("place", [(100.0, 100.0), (123.4, 77.7), (512.3, 401.7), (319.5, 239.5)])
def test_keypoints_in_one_place_are_nobody(camera, place):
    """To rounding, whichever it is, or within the noise they have: no person is nearest to them."""
    confidence = np.ones((3, 14))
    confidence[1, 3:] = 0
    keypoints = np.tile(np.array(place), (3, 14, 1))
    keypoints[2] += 0.01 * np.random.default_rng(0).standard_normal((14, 2))
    poses = make_lifter().lift(keypoints, confidence, np.ones((3, 14, 1, 1)) * np.eye(2), camera)
    assert (
        (poses.status == JointStatus.INVALID).all()
        and np.isnan(poses.joints_m).all()
        and np.isnan(poses.root_m).all()
    )


def test_without_a_camera_the_root_is_the_origin(people):
    _, keypoints, confidence = people
    one, two = (make_lifter().lift(k, confidence) for k in (keypoints, 3 * keypoints + 200))
    assert (one.root_m == 0).all() and np.isnan(one.root_covariance_m2).all()
    np.testing.assert_allclose(
        one.joints_m, two.joints_m, atol=1e-3
    )  # shift and zoom of the picture change nothing


def test_second_view_is_in_rays_of_the_first(people):
    _, keypoints, confidence = people
    found = make_lifter().reconstruct(keypoints, confidence, None, CAMERA)
    gap = (found.right - found.view.rays)[..., 0] / found.view.extent[:, None]
    assert np.abs(gap + 1.5).max() < 2.0  # the bulk of the shift is the training set's mean
    assert make_lifter(synthesis=False).reconstruct(keypoints, confidence).right is None


def test_weights_come_back_from_the_file(people, tmp_path):
    _, keypoints, confidence = people
    lifter = make_lifter()
    lifter.save(tmp_path / "w.safetensors", {"seed": 0})
    back = StereoLifter.load(tmp_path / "w.safetensors")
    assert (
        back.errors == lifter.errors
        and back.size_m == lifter.size_m
        and back.network.config == lifter.network.config
    )
    there, here = (
        each.lift(keypoints, confidence, None, CAMERA).joints_m for each in (lifter, back)
    )
    np.testing.assert_allclose(here, there, atol=0.02)  # half precision
    tall = StereoLifter.load(
        tmp_path / "w.safetensors", LifterConfig(stature_m=1.55 * 1.2, stature_std_m=0.155)
    )
    assert (tall.size_m, tall.size_std_m) == pytest.approx((1.2, 0.1))
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="x.safetensors"):
        StereoLifter.load(tmp_path / "x.safetensors")


def test_weights_that_ship_are_small():
    assert sum(2 * t.numel() for t in StereoNetwork().state_dict().values()) < 5e6


@pytest.mark.parametrize(
    ("shapes", "named"),
    [(((2, 13, 2), (2, 13)), "keypoints_px"), (((2, 14, 2), (2, 13)), "confidence")],
)
def test_wrong_shapes_are_named(shapes, named):
    with pytest.raises(ValueError, match=named):
        make_lifter().lift(*(np.ones(s) for s in shapes))


def test_measured_depths_determine_the_distance(people):
    """Depths of somebody half the mean size: the place is theirs, to the common error, and some
    depths may be of something else."""
    _, keypoints, confidence = people
    lifter = make_lifter()
    before = lifter.lift(keypoints, confidence, EXACT, CAMERA)
    z = 0.5 * before.joints_m[:, CHOSEN, 2]
    for wrong in (0, 5):
        z[:, :wrong] = 9.0
        after = lifter.lift(keypoints, confidence, EXACT, CAMERA, depth=(z, np.full((6, 14), 1e-4)))
        np.testing.assert_allclose(after.root_m, 0.5 * before.root_m, rtol=0.02)
        spread = [np.trace(poses.root_covariance_m2, axis1=1, axis2=2) for poses in (before, after)]
        assert (spread[1] < 0.3 * spread[0]).all()
    size = [
        np.linalg.norm(poses.joints_m - poses.root_m[:, None], axis=(1, 2))
        for poses in (before, after)
    ]
    along = lifter.reconstruct(keypoints, confidence, EXACT, CAMERA).along
    told, usual = (
        1 / (0.5 * 1.1 * along) ** 2,
        1 / lifter.size_std_m**2,
    )  # half as large as people are is not believed whole
    np.testing.assert_allclose(size[1] / size[0], (usual + 0.5 * told) / (usual + told), rtol=0.05)
    nothing = lifter.lift(
        keypoints,
        confidence,
        EXACT,
        CAMERA,
        depth=(np.full((6, 14), np.inf), np.full((6, 14), np.inf)),
    )
    np.testing.assert_array_equal(nothing.joints_m, before.joints_m)


def test_weighted_median_minimises_its_cost():
    rng = np.random.default_rng(0)
    values, weights = (
        rng.standard_normal((20, 9)),
        rng.uniform(0, 1, (20, 9)) * (rng.random((20, 9)) < 0.7),
    )
    found = weighted_median(values, weights)
    scan = np.linspace(-3, 3, 6001)
    costs = (weights[:, None] * np.abs(values[:, None] - scan[None, :, None])).sum(-1)
    assert ((weights * np.abs(values - found[:, None])).sum(1) <= costs.min(1) + 1e-12).all()
    assert np.isnan(weighted_median(values, np.zeros((20, 9)))).all()
