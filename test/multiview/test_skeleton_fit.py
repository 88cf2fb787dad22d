# SPDX-License-Identifier: Apache-2.0
"""One skeleton from several cameras: exact where the input is, ellipsoids as they say, outliers
without effect."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from people_in_views import around, frames, sees, walker
from scipy.stats import chi2

from lifting_ros.multiview.fusion_config import FusionConfig
from lifting_ros.multiview.residuals import Residuals
from lifting_ros.multiview.sighting import CameraFrame, sightings_of
from lifting_ros.multiview.skeleton_fit import fit_skeleton
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_TO_JOINT

CONFIG = FusionConfig(inflation=1.0)
JOINTS = walker()[10]


def seen_by(angles, rng=None, distorted=False, config=CONFIG, std_px=3.0):
    views = around(angles, distorted)
    return [sightings_of(frame, config)[0] for frame in frames(views, [JOINTS], rng, std_px=std_px)]


@pytest.mark.parametrize("distorted", [False, True])
@pytest.mark.parametrize("angles", [(0, 90), (0, 40, 200)])
def test_exact_input_gives_exact_joints(angles, distorted):
    fit = fit_skeleton(seen_by(angles, distorted=distorted), CONFIG)
    assert np.abs(fit.joints_m - JOINTS).max() < 1e-3
    assert (fit.weights == 1).all()


def test_derivatives_are_those_of_the_residuals():
    residuals = Residuals(seen_by((0, 90, 200), np.random.default_rng(0)), CONFIG)
    state = residuals.state_of(residuals.start()) + 0.01
    jacobian = residuals.at(state)[1].copy()
    for index in range(len(state)):
        step = np.zeros(len(state))
        step[index] = 1e-6
        change = residuals.at(state + step)[0] - residuals.at(state - step)[0]
        assert np.allclose(jacobian[:, index], change / 2e-6, rtol=1e-5, atol=1e-4)


def test_ellipsoids_hold_as_many_joints_as_they_say():
    rng = np.random.default_rng(1)
    observed = list(KEYPOINT_TO_JOINT)
    squares = []
    for _ in range(60):
        config = replace(CONFIG, calibration_noise_px=0.01)
        fit = fit_skeleton(seen_by((0, 70, 160), rng, config=config), config)
        error = (fit.joints_m - JOINTS)[observed]
        blocks = fit.covariance_m2.reshape(JOINT_COUNT, 3, JOINT_COUNT, 3)
        covariance = blocks[observed, :, observed]
        squares.append(np.einsum("ja,jab,jb->j", error, np.linalg.inv(covariance), error))

    square = np.concatenate(squares)
    for level in (0.5, 0.9):
        assert abs((square < chi2.ppf(level, 3)).mean() - level) < 0.05


def test_calibration_noise_moves_all_joints_together():
    loose = replace(CONFIG, calibration_noise_px=20.0)
    sure = fit_skeleton(seen_by((0, 90)), CONFIG)
    unsure = fit_skeleton(seen_by((0, 90), config=loose), loose)
    blocks = [fit.covariance_m2.reshape(JOINT_COUNT, 3, JOINT_COUNT, 3) for fit in (sure, unsure)]
    absolute = [np.trace(block[3, :, 3]) for block in blocks]
    between = [np.trace(block[3, :, 3] + block[2, :, 2] - 2 * block[2, :, 3]) for block in blocks]
    assert absolute[1] > 4 * absolute[0]
    assert between[1] < 1.5 * between[0]


def test_an_outlier_is_lost_and_not_averaged_in():
    rng = np.random.default_rng(2)
    given = seen_by((0, 60, 120), rng)
    clean = fit_skeleton(given, CONFIG)

    rays = given[1].rays.copy()
    rays[7] += (0.1, -0.05)  # the left wrist, 100 px off
    fit = fit_skeleton([given[0], replace(given[1], rays=rays), given[2]], CONFIG)
    assert fit.weights[1, 7] < 0.05
    assert np.abs(fit.joints_m - clean.joints_m).max() < 0.03


def test_a_skeleton_is_not_counted_twice():
    one, other = seen_by((0, 0))
    hidden = replace(one, seen=one.seen & False)
    twin = replace(other, camera="twin", seen=other.seen & False)
    alone = fit_skeleton([hidden], CONFIG)
    both = fit_skeleton([hidden, twin], CONFIG)
    assert np.allclose(alone.covariance_m2, both.covariance_m2, rtol=1e-3, atol=1e-9)


def test_depth_of_a_joint_seen_once_comes_from_the_pose():
    given = seen_by((0, 90), std_px=2.0)
    seen = given[1].seen.copy()
    seen[4] = False  # the right wrist
    fit = fit_skeleton([given[0], replace(given[1], seen=seen)], CONFIG)
    blocks = fit.covariance_m2.reshape(JOINT_COUNT, 3, JOINT_COUNT, 3)
    ray = JOINTS[16] - given[0].origin
    ray /= np.linalg.norm(ray)
    along = ray @ blocks[16, :, 16] @ ray
    assert np.abs(fit.joints_m - JOINTS).max() < 1e-3
    across = np.trace(blocks[16, :, 16]) - along
    assert 0.01**2 < along < 0.12**2
    assert across < along / 2


def test_nan_where_nothing_is_known():
    view = around((0,))[0]
    person = sees(view, JOINTS, None)
    flat = person.skeleton_2d
    pose = person.skeleton_3d
    gone = np.array([4, 7])
    joints = pose.joints_m.copy()
    joints[[16, 13]] = np.nan
    keypoints = flat.keypoints_px.copy()
    keypoints[gone] = np.nan
    person = replace(
        person,
        skeleton_2d=replace(flat, keypoints_px=keypoints),
        skeleton_3d=replace(pose, joints_m=joints),
    )
    given = sightings_of(CameraFrame("a", view, 0, (person,)), CONFIG)
    fit = fit_skeleton([*given, replace(given[0], camera="b")], CONFIG)
    assert np.isnan(fit.joints_m).any(1).nonzero()[0].tolist() == [13, 16]
    known = np.delete(np.arange(JOINT_COUNT), [13, 16])
    assert np.abs(fit.joints_m - JOINTS)[known].max() < 1e-3
    assert np.isfinite(fit.covariance_m2.reshape(17, 3, 17, 3)[known, :, known]).all()
