# SPDX-License-Identifier: Apache-2.0
"""The geometric search finds the least of its cost exactly, and leaves no reprojection error."""

import numpy as np
import pytest
from people import CAMERA, make_poses, see

from lifting_ros.geometry.camera import Camera
from lifting_ros.lifting.stereo_search import NEAREST, search_depth

RNG = np.random.default_rng(0)


def case(count=12, noise=0.05, camera=CAMERA):
    """Rays of 17 joints, and a pose about its root that is not quite the true one."""
    joints = see(make_poses(count))[0]
    rays = camera.rays(camera.project(joints))
    wrong = joints - joints[:, :1] + noise * RNG.standard_normal(joints.shape)
    wrong[:, 0] = 0
    return rays, wrong, joints


def cost(depth, rays, joints, weight, anchor):
    """The cost as the paper has it, at depths (D,) of one person: on the rays, less the anchor,
    against the pose."""
    share = anchor / anchor.sum()
    reach = depth[:, None] + joints[:, 2]  # D, J
    place = rays * reach[..., None]  # D, J, 2
    place = place - np.einsum("j,dja->da", share, place)[:, None]
    wanted = joints[:, :2] - share @ joints[:, :2]
    return (weight * np.linalg.norm(place - wanted, axis=-1)).sum(-1)


@pytest.mark.parametrize(
    "root", [True, False], ids=["about the root's ray, as in the paper", "about the joints seen"]
)
def test_no_depth_of_a_fine_scan_costs_less(root):
    rays, joints, _ = case()
    weight = RNG.uniform(0.2, 1, rays.shape[:2]) * (RNG.random(rays.shape[:2]) < 0.8)
    anchor = np.tile(np.eye(17)[0], (len(rays), 1)) if root else weight
    found = search_depth(rays, joints, weight, anchor)
    for n, z in enumerate(found.root[:, 2]):
        own = cost(np.array([z]), rays[n], joints[n], weight[n], anchor[n])[0]
        scan = z + np.concatenate([np.linspace(-2, 2, 20001), np.linspace(-1e-6, 1e-6, 2001)])
        assert own <= cost(scan, rays[n], joints[n], weight[n], anchor[n]).min() * (1 + 1e-13)
        assert own / weight[n].sum() == pytest.approx(found.cost[n], rel=1e-9)


def test_scan_of_whole_millimetres_is_never_better():
    rays, joints, _ = case()
    anchor, weight = np.tile(np.eye(17)[0], (len(rays), 1)), np.ones(rays.shape[:2])
    found, grid = search_depth(rays, joints, weight, anchor), np.arange(2800, 7200) / 1000
    for n, depth in enumerate(found.root[:, 2]):
        costs = cost(grid, rays[n], joints[n], weight[n], anchor[n])
        assert abs(grid[costs.argmin()] - depth) <= 1e-3 and found.cost[n] * 17 <= costs.min()


@pytest.mark.parametrize(
    "camera",
    [
        CAMERA,
        Camera(
            np.array([[420.0, 3, 100], [0, 500, 333], [0, 0, 1]]),
            np.array([-0.2, 0.05, 1e-3, -1e-3, 0.0]),
        ),
    ],
)
def test_pose_lies_on_its_rays_for_any_camera(camera):
    rays, joints, _ = case(camera=camera)
    found = search_depth(rays, joints, np.ones(rays.shape[:2])).joints
    np.testing.assert_allclose(found[..., :2] / found[..., 2:], rays, atol=1e-14)
    np.testing.assert_allclose(
        camera.project(found), camera.to_pixels(camera.distort(rays)), atol=1e-9
    )


def test_the_true_pose_is_put_where_it_was():
    rays, joints, truth = case(noise=0.0)
    found = search_depth(rays, joints, np.ones(rays.shape[:2]))
    np.testing.assert_allclose(found.joints, truth, atol=1e-9)
    np.testing.assert_allclose(found.root, truth[:, 0], atol=1e-9)
    assert (found.cost < 1e-9).all()


def test_a_pose_twice_as_large_stands_twice_as_far():
    rays, joints, _ = case()
    near, far = (search_depth(rays, k * joints, np.ones(rays.shape[:2])) for k in (1.0, 2.0))
    np.testing.assert_allclose(far.root, 2 * near.root, rtol=1e-9)
    np.testing.assert_allclose(far.cost, 2 * near.cost, rtol=1e-6)


def test_missing_joints_do_not_count_and_follow_the_pose():
    rays, joints, _ = case()
    weight = np.ones(rays.shape[:2])
    weight[:, [2, 9]] = 0
    other = rays.copy()
    other[:, [2, 9]] = np.nan
    one, two = search_depth(rays, joints, weight), search_depth(other, joints, weight)
    np.testing.assert_array_equal(one.joints, two.joints)
    np.testing.assert_allclose(one.joints[:, 2] - one.root, joints[:, 2], atol=1e-12)


def test_two_rays_are_required_and_depth_is_positive():
    rays, joints, _ = case(3)
    weight = np.zeros(rays.shape[:2])
    weight[0, 4], weight[1, [4, 5]] = 1, 1
    rays[1, 4] = rays[1, 5]
    assert np.isnan(search_depth(rays, joints, weight).root).all()
    turned = search_depth(
        -rays, joints, np.ones(rays.shape[:2])
    )  # the best depth of a picture upside down would be below zero
    assert (turned.joints[..., 2] >= NEAREST * (1 - 1e-9)).all()


def test_rays_that_differ_by_rounding_are_equal():
    rays, joints, _ = case(8)
    one = rays[:, :1] * np.ones((8, 17, 1)) * (1 + 1e-16 * RNG.integers(-3, 4, (8, 17, 1)))
    assert np.isnan(search_depth(one, joints, np.ones((8, 17))).root).all()


def test_one_alone_is_as_one_among_many():
    rays, joints, _ = case()
    weight = RNG.uniform(0.1, 1, rays.shape[:2])
    all_, one = (
        search_depth(rays, joints, weight),
        search_depth(rays[3:4], joints[3:4], weight[3:4]),
    )
    for many, single in zip(all_, one, strict=True):
        np.testing.assert_array_equal(many[3:4], single)
