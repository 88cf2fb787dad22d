# SPDX-License-Identifier: Apache-2.0
"""Synthetic people: the algebra of posing on a rig made here; pictures and labels where the body's
data is at hand."""

import os
from pathlib import Path

import numpy as np
import pytest

from lifting_ros.research.rendering import body_pose
from lifting_ros.research.rendering.body import (
    BodyDataError,
    load_body,
    sample_traits,
    three_way,
    vertex_normals,
)
from lifting_ros.research.rendering.synthetic_motion import bend, resample
from lifting_ros.research.rendering.synthetic_scene import Camera, look_at
from lifting_ros.skeleton import JOINT_FLIP, KEYPOINT_TO_JOINT

DATA = Path(os.environ.get("LIFTING_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def _random_turns(rng, count):
    return np.stack([body_pose.turn(rng.normal(size=3), rng.uniform(-3, 3)) for _ in range(count)])


def _rig():
    """A chain of three bones along y with a vertex at every bone's middle and one shared by the
    last two."""
    heads = np.array([[0, 0, 0], [0, 1, 0], [0, 2, 0]], float)
    rest = np.array([[0.1, 0.5, 0], [0, 1.5, 0.1], [0, 2.5, 0], [0.2, 2, 0]])
    index = np.array([[0, 0], [1, 1], [2, 2], [1, 2]])
    weight = np.array([[1, 0], [1, 0], [1, 0], [0.5, 0.5]])
    return np.array([-1, 0, 1]), heads, rest, index, weight


def test_skinning_keeps_the_rest_pose():
    parents, heads, rest, index, weight = _rig()
    same = np.tile(np.eye(3), (3, 1, 1))
    placed = body_pose.place_bones(parents, heads, same, heads[0])
    vertices, normals = body_pose.skin(
        rest, body_pose.unit(rest), index, weight, same, heads, placed
    )
    np.testing.assert_allclose(placed, heads)
    np.testing.assert_allclose(vertices, rest, atol=1e-6)
    np.testing.assert_allclose(normals, body_pose.unit(rest), atol=1e-6)


def test_skinning_of_one_common_rotation_is_rigid():
    parents, heads, rest, index, weight = _rig()
    R = _random_turns(np.random.default_rng(0), 1)[0]
    turns, root = np.tile(R, (3, 1, 1)), np.array([3.0, -1, 2])
    placed = body_pose.place_bones(parents, heads, turns, root)
    vertices, _ = body_pose.skin(rest, rest, index, weight, turns, heads, placed)
    np.testing.assert_allclose(vertices, rest @ R.T + root, atol=1e-5)


def test_bones_keep_lengths_and_shared_vertices_blend():
    parents, heads, rest, index, weight = _rig()
    turns = _random_turns(np.random.default_rng(1), 3)
    placed = body_pose.place_bones(parents, heads, turns, np.zeros(3))
    np.testing.assert_allclose(np.linalg.norm(np.diff(placed, axis=0), axis=1), 1)
    vertices, _ = body_pose.skin(rest, rest, index, weight, turns, heads, placed)
    by_bone = [turns[b] @ (rest[3] - heads[b]) + placed[b] for b in (1, 2)]
    np.testing.assert_allclose(vertices[3], np.mean(by_bone, axis=0), atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_swing_maps_directions_and_between_halves(seed):
    rng = np.random.default_rng(seed)
    start, end = body_pose.unit(rng.normal(size=(2, 3)))
    R = body_pose.swing(start, end)
    np.testing.assert_allclose(R @ start, end, atol=1e-12)
    half = body_pose.between(np.eye(3), R, 0.5)
    np.testing.assert_allclose(half @ half, R, atol=1e-9)


def test_swing_of_opposite_directions_is_a_half_turn():
    for axis in np.eye(3):
        np.testing.assert_allclose(body_pose.swing(axis, -axis) @ axis, -axis, atol=1e-9)


def test_two_bone_chain_keeps_both_lengths_and_bends_to_the_pole():
    start, end, pole = np.zeros(3), np.array([0.1, -0.6, 0.2]), np.array([0, 0, 1.0])
    knee = bend(start, end, 0.4, 0.45, pole)
    np.testing.assert_allclose([np.linalg.norm(knee), np.linalg.norm(end - knee)], [0.4, 0.45])
    straight = end * (knee @ end) / (end @ end)
    assert (knee - straight) @ pole > 0


def test_resampling_keeps_the_recorded_poses():
    poses = np.random.default_rng(2).normal(size=(7, 17, 3))
    np.testing.assert_allclose(resample(poses, 10.0, 20.0)[::2], poses, atol=1e-12)


def test_normals_of_a_tetrahedron_point_outwards():
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], float)
    faces = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
    np.testing.assert_allclose(vertex_normals(corners, faces), body_pose.unit(corners), atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.3, 0.5, 0.8, 1.0])
def test_mixes_add_up_to_one(value):
    mix = three_way(value, "low", "middle", "high")
    assert sum(mix.values()) == pytest.approx(1) and min(mix.values()) >= 0


@pytest.fixture(scope="module")
def body():
    if not (DATA / "body" / "base.obj").is_file():
        pytest.skip("the body mesh is not at hand (set LIFTING_DATA)")
    return load_body(DATA / "body")


def test_the_normals_of_the_body_point_outwards(body):
    """Its triangles enclose a person's volume, and along the normals it grows."""

    def litres(vertices):
        a, b, c = (vertices[body.faces["body"][:, k]].astype(float) for k in range(3))
        return 1e3 * np.einsum("na,na->n", a, np.cross(b, c)).sum() / 6

    shape = body.shape(sample_traits(np.random.default_rng(0)))
    volume = litres(shape.vertices_m)
    assert 20 < volume < 200
    assert 1.05 * volume < litres(shape.vertices_m + 0.005 * shape.normals) < 1.5 * volume


def test_camera_target_is_in_the_middle_and_up_is_up():
    R, t = look_at(np.array([1.0, 1.5, 4.0]), np.array([0.0, 1.0, 0.0]))
    camera = Camera(np.array([[500, 0, 319.5], [0, 500, 239.5], [0, 0, 1.0]]), R, t, (640, 480))
    px = camera.project(np.array([[0.0, 1.0, 0.0], [0.0, 1.5, 0.0]]) @ R.T + t)
    np.testing.assert_allclose(px[0], [319.5, 239.5])
    assert px[1, 1] < px[0, 1] and np.linalg.det(R) == pytest.approx(1)


def test_a_missing_body_file_is_named(tmp_path):
    with pytest.raises(BodyDataError, match="base.obj is missing"):
        load_body(tmp_path)


def test_ray_hit_has_the_attributes_of_its_point():
    pytest.importorskip("embreex", reason="rendering needs the optional package embreex")
    from lifting_ros.research.rendering.render import Mesh, Scene, pixel_rays

    corners = np.array([[-1, -1, 3], [1.2, -0.8, 4], [0, 1, 5]], np.float32)
    faces = np.array([[0, 1, 2]])
    zero = np.zeros(1, int)
    scene = Scene(
        Mesh(corners, np.tile(np.float32([0, 0, -1]), (3, 1)), corners, faces, zero, zero)
    )
    hits = scene.first(
        np.zeros(3), pixel_rays(np.array([[40, 0, 20], [0, 40, 20], [0, 0, 1.0]]), 0, 0, 41, 41, 1)
    )
    assert len(hits.ray) > 50
    np.testing.assert_allclose(hits.rest_m, hits.point_m, atol=1e-4)


@pytest.fixture(scope="module")
def people():
    pytest.importorskip("embreex", reason="rendering needs the optional package embreex")
    from lifting_ros.research.rendering.synthetic import SyntheticPeople

    body, mocap = DATA / "body", DATA / "mocap" / "cmu17_10fps_dev.npz"
    if not (body / "base.obj").is_file() or not mocap.is_file():
        pytest.skip("the body mesh and the motion capture are not at hand (set LIFTING_DATA)")
    return SyntheticPeople(body, mocap, None, seed=4, size=(160, 120))


def test_the_same_seed_and_number_give_the_same_picture(people):
    from lifting_ros.research.rendering.synthetic import SyntheticPeople

    other = SyntheticPeople(
        DATA / "body", DATA / "mocap" / "cmu17_10fps_dev.npz", None, seed=4, size=(160, 120)
    )
    people.window(0, 96, 1.9)  # what came before must not matter
    first, second = people.window(5, 96, 1.9), other.window(5, 96, 1.9)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.people[0].keypoints_px, second.people[0].keypoints_px)
    assert not np.array_equal(first.image, people.window(6, 96, 1.9).image)


def test_keypoints_are_the_projected_joints(people):
    for sample in [people.window(index, 96, 1.9) for index in range(4)] + [people.crowd(0)]:
        for person in sample.people:
            flat = person.joints_camera_m[list(KEYPOINT_TO_JOINT)] @ sample.K.T
            ahead = flat[:, 2] > 0.1
            np.testing.assert_allclose(
                person.keypoints_px[ahead], flat[ahead, :2] / flat[ahead, 2:], atol=1e-3
            )
            assert not np.any(person.visible & ~person.labelled)
    assert people.empty(0).people == ()


def test_visible_keypoints_lie_on_the_silhouette(people):
    from lifting_ros.research.rendering.render import Light, Scene, render
    from lifting_ros.research.rendering.synthetic_scene import join, sample_camera, sight

    rng = np.random.default_rng(0)
    light = Light(
        np.array([0, -0.8, -0.6]), np.array([0, -1.0, 0]), np.ones(3), np.ones(3), np.ones(3)
    )
    for _ in range(4):
        person = people._person(rng)
        camera = sample_camera(rng, (160, 120), person.joints_m)
        body = person.seen_by(camera)
        mesh, materials = join([body])
        scene = Scene(mesh)
        picture = render(scene, materials, light, camera.K, camera.size)
        joints = body.joints_m[list(KEYPOINT_TO_JOINT)][1:]  # the crown lies on the outline itself
        column, row = np.rint(camera.project(joints)).astype(int).T
        inside = (column >= 0) & (column < 160) & (row >= 0) & (row < 120)
        assert inside.sum() >= 3
        assert np.all(picture.alpha[row[inside], column[inside]] > 0)
        clear, own = sight(scene, body.joints_m[list(KEYPOINT_TO_JOINT)], 0)
        assert np.all(clear | own) and clear.any()


def test_posed_limbs_point_where_the_pose_says(people):
    pose = people.poses[people.clips[3][0]].astype(float)
    shape = people._outfit(0).shape
    joints = body_pose.pose_body(people.model, shape, pose).joints_m
    for a, b in ((1, 2), (2, 3), (4, 5), (5, 6), (11, 12), (12, 13), (14, 15), (15, 16)):
        agreement = body_pose.unit(joints[b] - joints[a]) @ body_pose.unit(pose[b] - pose[a])
        assert agreement > 0.999, (a, b)
    for left, right in ((4, 1), (6, 3), (11, 14)):  # the person's own left and right
        assert (
            body_pose.unit(joints[left] - joints[right]) @ body_pose.unit(pose[left] - pose[right])
            > 0.7
        )
    mirrored = body_pose.pose_body(
        people.model, shape, (pose * [-1, 1, 1])[list(JOINT_FLIP)]
    ).joints_m
    np.testing.assert_allclose((mirrored * [-1, 1, 1])[list(JOINT_FLIP)], joints, atol=0.03)


def test_a_pack_is_whole(people, tmp_path):
    from lifting_ros.research.rendering.synthetic import write_pack

    out = write_pack(
        tmp_path / "pack",
        2,
        64,
        1,
        DATA / "body",
        DATA / "mocap" / "cmu17_10fps_dev.npz",
        workers=1,
    )
    images = np.load(out / "images.npy", mmap_mode="r", allow_pickle=False)
    with np.load(out / "labels.npz", allow_pickle=False) as labels:
        keypoints = labels["keypoints"]
    assert images.shape == (2, 64, 64, 3) and images.dtype == np.uint8
    shown = keypoints[..., 2] == 1
    assert shown.sum(1).min() >= 6
    assert np.all(keypoints[~shown] == 0)
    assert np.all((keypoints[shown][:, :2] > -0.5) & (keypoints[shown][:, :2] < 63.5))
    assert sorted(p.name for p in out.iterdir()) == ["images.npy", "labels.npz"]


def test_distant_body_has_fewer_triangles_in_same_place(people):
    rng = np.random.default_rng(1)
    for _ in range(3):
        person = people._person(rng)
        fine, coarse = (person.outfit.body(person.posed, level).mesh for level in (0, 2))
        assert len(coarse.faces) < 0.3 * len(fine.faces)
        np.testing.assert_allclose(
            np.ptp(coarse.vertices_m, axis=0), np.ptp(fine.vertices_m, axis=0), atol=0.03
        )
        assert np.abs(fine.vertices_m[:, 1].min()) < 0.012
