# SPDX-License-Identifier: Apache-2.0
"""The second view is what a camera shifted to the right sees, and what is given of the first is
what the lifter will be given."""

import numpy as np
import pytest
from people import make_poses

from lifting_ros.geometry.camera import Camera
from lifting_ros.research.datasets.stereo_views import Sight, make_stereo_views, second_view
from lifting_ros.skeleton import KEYPOINT_TO_JOINT, limb_lengths

CLEAN = Sight(exact=1.0, blind=0.0, uncalibrated=0.0)
CHOSEN = list(KEYPOINT_TO_JOINT)


def views(sight=CLEAN, count=40, baseline=0.7):
    return make_stereo_views(make_poses(count), sight, baseline, np.random.default_rng(0))


def test_the_target_is_the_projection_of_the_shifted_camera():
    """Through a camera of the package, moved along its own x, in pixels."""
    found, camera = views(), Camera(np.array([[800.0, 0, 320], [0, 800, 240], [0, 0, 1]]))
    joints = found.joints + found.root[:, None]
    for target, baseline in ((found.left, 0.0), (found.right, 0.7)):
        rays = found.view.centre[:, None] + found.view.extent[:, None, None] * target
        np.testing.assert_allclose(
            camera.to_pixels(rays),
            camera.project((joints - [baseline, 0, 0])[:, CHOSEN]),
            atol=1e-8,
        )
    np.testing.assert_allclose(
        found.right[..., 1], found.left[..., 1], atol=1e-12
    )  # the two pictures are rectified
    assert (found.right[..., 0] < found.left[..., 0]).all()


def test_disparity_is_baseline_over_depth():
    joints = views().joints + views().root[:, None]
    disparity = (second_view(joints, 0.0) - second_view(joints, 0.3))[..., 0]
    np.testing.assert_allclose(disparity, 0.3 / joints[:, CHOSEN, 2], rtol=1e-12)


def test_exact_views_show_all_and_where_it_is():
    found = views()
    assert found.view.seen.all() and np.isfinite(found.context).all()
    np.testing.assert_allclose(found.view.points(), found.left, atol=1e-9)
    np.testing.assert_allclose(np.sqrt((limb_lengths(found.joints) ** 2).sum(-1)), 1.0)
    assert (found.joints[:, 0] == 0).all()


@pytest.mark.parametrize("blind", [False, True])
def test_roll_changes_view_only_if_up_is_unknown(blind):
    level, rolled = (
        views(Sight(exact=1.0, blind=float(blind), uncalibrated=0.0, roll_deg=roll))
        for roll in (0.0, 40.0)
    )
    for one, other in (
        (level.joints, rolled.joints),
        (level.left, rolled.left),
        (level.view.pitch, rolled.view.pitch),
    ):
        if blind and one.ndim > 1:
            assert np.abs(one - other).max() > 0.1
        else:
            np.testing.assert_allclose(one, other, atol=1e-9)


def test_the_same_seed_is_the_same_views():
    for one, other in zip(views(Sight()), views(Sight()), strict=True):
        np.testing.assert_equal(one, other)


def test_views_follow_the_recipe():
    found = views(Sight(), 4000)
    missing, off = (
        14 - found.view.seen.sum(1),
        np.linalg.norm((found.view.points() - found.left), axis=-1),
    )
    exact = (missing == 0) & (off.max(1) < 1e-9)
    assert exact.mean() == pytest.approx(Sight().exact, abs=0.03) and missing.max() == 11
    assert np.isnan(found.view.pitch).mean() == pytest.approx(Sight().blind, abs=0.02)
    assert np.isnan(found.context[:, 0]).mean() == pytest.approx(Sight().uncalibrated, abs=0.02)
    down = np.degrees(np.arcsin(-found.view.pitch[np.isfinite(found.view.pitch)]))
    assert down.max() > 45 or down.min() < -45
