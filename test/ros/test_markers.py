# SPDX-License-Identifier: Apache-2.0
"""Markers: ids that last, deletions, no unknown point, ellipsoids that are the covariances."""

from __future__ import annotations

import numpy as np
import pytest
from ros_support import header, person
from visualization_msgs.msg import Marker

from lifting_ros.ros.debug_image import debug_image
from lifting_ros.ros.markers import MarkerBuilder, MarkerConfig
from lifting_ros.skeleton import JOINT_NAMES
from lifting_ros.viz.palette import rgb_of


def builder(**config) -> MarkerBuilder:
    return MarkerBuilder(MarkerConfig(**{"ellipsoids": False, **config}))


def keys(array, action=Marker.ADD) -> list:
    return sorted((m.ns, m.id) for m in array.markers if m.action == action)


def test_two_markers_a_person_with_the_header_and_upright():
    array = builder().build([person(np.random.default_rng(0), 3)], header())
    assert keys(array) == [("joints", 3), ("limbs", 3)]
    for marker in array.markers:
        assert marker.header == header() and marker.pose.orientation.w == 1.0 and marker.color.a > 0
        assert len(marker.colors) == len(marker.points)
    types = {m.ns: (m.type, len(m.points)) for m in array.markers}
    assert types == {"joints": (Marker.SPHERE_LIST, 17), "limbs": (Marker.LINE_LIST, 32)}


def test_ids_follow_the_track_and_not_the_place():
    rng, markers = np.random.default_rng(1), builder()
    a, b = person(rng, 3), person(rng, 8)
    assert keys(markers.build([a, b], header())) == keys(markers.build([b, a], header()))


def test_who_left_is_deleted_once():
    rng, markers = np.random.default_rng(2), builder(ellipsoids=True)
    both = markers.build([person(rng, 3), person(rng, 8)], header())
    one = markers.build([person(rng, 8)], header())
    assert keys(one, Marker.DELETE) == [key for key in keys(both) if key not in keys(one)]
    none = markers.build([], header())
    assert keys(none, Marker.DELETE) == keys(one) and keys(none) == []
    assert markers.build([], header()).markers == []


def test_people_without_a_track_have_markers_of_their_own():
    rng = np.random.default_rng(3)
    array = builder(ellipsoids=True).build([person(rng), person(rng), person(rng, 1)], header())
    assert len(keys(array)) == len(set(keys(array))) == 3 * (2 + 16)


def test_unknown_points_are_never_published():
    rng = np.random.default_rng(4)
    array = builder(ellipsoids=True).build([person(rng, 1, invalid=(0, 9, 16))], header())
    for marker in array.markers:
        at = marker.pose.position
        assert np.isfinite([(p.x, p.y, p.z) for p in [*marker.points, at]]).all()
        assert np.isfinite([marker.scale.x, marker.scale.y, marker.scale.z]).all()
    joints, limbs = (next(m for m in array.markers if m.ns == ns) for ns in ("joints", "limbs"))
    # Joint 0 ends three limbs, 9 two and 16 one.
    assert len(joints.points) == 14 and len(limbs.points) == 2 * (16 - 6)


def test_a_person_of_unknowns_only_is_deleted():
    rng, markers = np.random.default_rng(5), builder()
    markers.build([person(rng, 1)], header())
    array = markers.build([person(rng, 1, invalid=tuple(range(17)))], header())
    assert keys(array) == [] and keys(array, Marker.DELETE) == [("joints", 1), ("limbs", 1)]


def test_colours_tell_side_and_status():
    array = builder(inferred_alpha=0.25).build(
        [person(np.random.default_rng(6), 1, inferred=(3, 13))], header()
    )
    joints = next(m for m in array.markers if m.ns == "joints")
    for j, (name, colour) in enumerate(zip(JOINT_NAMES, joints.colors, strict=True)):
        rgb = np.array([colour.r, colour.g, colour.b])
        np.testing.assert_allclose(255 * rgb, rgb_of(name))
        assert colour.a == pytest.approx(0.25 if j in (3, 13) else 1.0)


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_ellipsoids_are_the_covariances(sigma):
    someone = person(np.random.default_rng(7), 2)
    array = builder(ellipsoids=True, sigma=sigma).build([someone], header())
    shown = {m.id: m for m in array.markers if m.ns == "covariance"}
    assert sorted(shown) == [
        2 * 17 + j for j in range(1, 17)
    ]  # the root's is zero relative to itself
    for j in range(1, 17):
        marker = shown[2 * 17 + j]
        rotation = matrix_of(marker.pose.orientation)
        half = np.array([marker.scale.x, marker.scale.y, marker.scale.z]) / 2 / sigma
        covariance = rotation @ np.diag(half**2) @ rotation.T
        np.testing.assert_allclose(covariance, someone.skeleton_3d.covariance_m2[j], atol=1e-8)
        position = marker.pose.position
        np.testing.assert_allclose(
            [position.x, position.y, position.z], someone.skeleton_3d.joints_m[j]
        )


def matrix_of(q) -> np.ndarray:
    x, y, z, w = q.x, q.y, q.z, q.w
    assert np.linalg.norm([x, y, z, w]) == pytest.approx(1)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def test_lifetime_is_passed_on():
    array = builder(lifetime_s=0.5).build([person(np.random.default_rng(9), 1)], header())
    assert {(m.lifetime.sec, m.lifetime.nanosec) for m in array.markers} == {(0, 500_000_000)}


def test_debug_image_draws_on_a_copy():
    image, someone = np.zeros((240, 240, 3), np.uint8), person(np.random.default_rng(10))
    message = debug_image(image, [someone], header())
    drawn = np.frombuffer(message.data, np.uint8).reshape(image.shape)
    assert not image.any() and message.encoding == "rgb8" and message.header == header()
    x, y = np.rint(someone.skeleton_2d.keypoints_px[4]).astype(int)
    assert drawn[y, x].any()


def test_debug_image_of_nobody_is_the_image():
    image = np.random.default_rng(11).integers(0, 255, (20, 30, 3), np.uint8)
    assert bytes(debug_image(image, [], header()).data) == image.tobytes()


@pytest.mark.parametrize("far", [np.nan, np.inf, -1e300, 1e9])
def test_debug_image_bears_points_anywhere(far):
    someone = person(np.random.default_rng(12))
    someone.skeleton_2d.keypoints_px[3:5], someone.skeleton_2d.box_px[0] = far, far
    debug_image(np.zeros((50, 50, 3), np.uint8), [someone], header())
