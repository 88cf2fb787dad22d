# SPDX-License-Identifier: Apache-2.0
"""Scenes of synthetic pictures with bodies made here: who hides whom, coarser triangles, places on
the floor, pixels that get rays."""

import numpy as np
import pytest

from lifting_ros.research.rendering.body_pose import unit
from lifting_ros.research.rendering.render import Material
from lifting_ros.research.rendering.render_detail import coarsen, remapped
from lifting_ros.research.rendering.render_kernels import covered_pixels, rays_through
from lifting_ros.research.rendering.synthetic_crowd import (
    SMALLEST,
    crowd_heights,
    floor_camera,
    place,
)
from lifting_ros.research.rendering.synthetic_scene import Body, Camera, join
from lifting_ros.research.rendering.synthetic_things import (
    KINDS,
    ball,
    box,
    join_parts,
    post,
    sample_thing,
)
from lifting_ros.skeleton import KEYPOINT_TO_JOINT

K = np.array([[200.0, 0, 79.5], [0, 200, 59.5], [0, 0, 1]])
CAMERA = Camera(K, np.eye(3), np.zeros(3), (160, 120))
GREY = Material(lambda rest: np.full((len(rest), 3), 0.5, np.float32))
NOTHING_HIDDEN = np.zeros((120, 160), bool)


def _scene(bodies):
    pytest.importorskip("embreex", reason="rendering needs the optional package embreex")
    from lifting_ros.research.rendering.render import Scene

    return Scene(join(bodies)[0])


def _somebody(x=0.0, z=3.0):
    """A ball as a person: joints spread from left to right a little below its surface."""
    thing = join_parts([ball([x, 0, z], np.array([0.6, 0.5, 0.5]), GREY)])
    way = unit(np.stack([np.linspace(-1, 1, 17), np.zeros(17), np.full(17, -1.0)], 1))
    mesh = thing.mesh.__class__(
        **{**thing.mesh.__dict__, "person": np.zeros(len(thing.mesh.faces), int)}
    )
    return Body(mesh, thing.materials, np.array([x, 0, z]) + 0.97 * way * [0.6, 0.5, 0.5])


def test_thing_in_front_of_a_person_hides_it():
    from lifting_ros.research.rendering.synthetic_picture import label

    person, wall = _somebody(), join_parts([box([-2, -2, 1.4], [0, 2, 1.5], GREY)])
    person_alone = label(_scene([person]), person, 0, CAMERA, NOTHING_HIDDEN)
    assert person_alone.visible.all() and person_alone.labelled.all() and person_alone.seen == 1
    behind = label(_scene([person, wall]), person, 0, CAMERA, NOTHING_HIDDEN)
    left = person.joints_m[list(KEYPOINT_TO_JOINT), 0] < 0
    np.testing.assert_array_equal(behind.labelled, ~left)
    np.testing.assert_array_equal(behind.visible, ~left)
    assert 0.4 < behind.seen < 0.6
    np.testing.assert_array_equal(behind.keypoints_px, person_alone.keypoints_px)


def test_people_hide_each_other_and_patches_hide_everybody():
    from lifting_ros.research.rendering.synthetic_picture import label

    front, back = _somebody(z=2.0), _somebody(z=5.0)
    scene = _scene([front, back])
    assert label(scene, front, 0, CAMERA, NOTHING_HIDDEN).seen > 0.95
    hidden = label(scene, back, 1, CAMERA, NOTHING_HIDDEN)
    assert hidden.seen == 0 and not hidden.labelled.any()
    patched = label(scene, front, 0, CAMERA, ~NOTHING_HIDDEN)
    assert patched.seen == 0 and not patched.labelled.any()


def test_self_occluded_keypoints_are_labelled_not_visible():
    from lifting_ros.research.rendering.synthetic_picture import label

    person = _somebody()
    far_side = Body(person.mesh, person.materials, person.joints_m + [0, 0, 0.9])
    result = label(_scene([far_side]), far_side, 0, CAMERA, NOTHING_HIDDEN)
    middle = np.abs(far_side.joints_m[list(KEYPOINT_TO_JOINT), 0]) < 0.3
    assert middle.sum() > 4 and not result.visible[middle].any() and result.labelled[middle].all()


def test_joined_people_are_numbered_and_things_are_not():
    mesh, materials = join([_somebody(), _somebody(1.0), sample_thing(np.random.default_rng(0))])
    assert set(mesh.person) == {0, 1, -1} and mesh.faces.max() == len(mesh.vertices_m) - 1
    assert mesh.material.max() == len(materials) - 1


@pytest.mark.parametrize("kind", KINDS)
def test_things_stand_on_the_floor_and_have_normals(kind):
    rng = np.random.default_rng(1)
    for _ in range(3):
        mesh = kind(rng, ()).mesh
        assert abs(mesh.vertices_m[:, 1].min()) < 0.12 and np.all(mesh.person == -1)
        np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-3)


PARTS = (
    ball([1, 2, 3], np.array([0.2, 0.5, 0.3]), GREY, 0.8),
    box([0, 1, 2], [1, 3, 5], GREY),
    post([1, 0, 2], 0.3, 1.0, GREY, top=0.1),
)


@pytest.mark.parametrize("part", PARTS)
def test_parts_of_things_face_outwards(part):
    vertices, normals, *_ = part
    assert ((vertices - (vertices.min(0) + vertices.max(0)) / 2) * normals).sum(1).min() > 0


def test_coarse_triangles_stay_near_surface_facing_out():
    vertices, _, faces, _ = ball([0, 0, 0], np.ones(3), GREY)
    vertices, index = np.unique(np.round(vertices, 9), axis=0, return_inverse=True)
    faces = remapped(faces, index.reshape(-1))[0]
    faces = faces[np.argsort(faces[:, 0], kind="stable")]
    outward = np.sum(
        np.cross(
            vertices[faces[:, 1]] - vertices[faces[:, 0]],
            vertices[faces[:, 2]] - vertices[faces[:, 0]],
        )
        * vertices[faces].mean(1),
        axis=1,
    )
    faces = np.where(outward[:, None] > 0, faces, faces[:, ::-1])
    none = np.zeros((len(vertices), 1))
    counts = [len(faces)]
    for goal, tolerance in zip(
        coarsen(vertices, faces, (0.05, 0.15), none), (0.05, 0.15), strict=True
    ):
        coarse, which = remapped(faces, goal)
        counts.append(len(coarse))
        corners = vertices[coarse]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert np.all(np.sum(normal * corners.mean(1), axis=1) > 0) and len(which) == len(coarse)
        assert np.linalg.norm(corners.mean(1), axis=1).min() > 1 - 4 * tolerance
    assert counts[0] > 1.5 * counts[1] > 2 * counts[2] > 0
    different = np.zeros((len(vertices), 1))
    different[: len(vertices) // 2] = 1.0  # two halves that must not be merged
    goal = coarsen(vertices, faces, (0.15,), different)[0]
    np.testing.assert_array_equal(different[goal], different)


def test_every_covered_pixel_gets_rays():
    rng = np.random.default_rng(3)
    things = [
        sample_thing(rng).moved([rng.uniform(-1, 1), rng.uniform(-1, 0), 4]) for _ in range(3)
    ]
    scene = _scene(things)
    every = (
        np.stack(np.meshgrid(np.arange(160), np.arange(120)), -1).reshape(-1, 2).astype(np.int32)
    )
    met = scene.first(np.zeros(3), rays_through(every, K, 1)).ray
    covered = {tuple(p) for p in scene.covered(K, (0, 0, 160, 120))}
    assert len(met) > 500 and len(covered) < 160 * 120
    assert {tuple(every[r]) for r in met} <= covered


def test_triangles_reaching_behind_the_camera_are_kept():
    triangle = np.array([[-1, 0.5, -1], [1, 0.5, -1], [0, 0.5, 9]], np.float32)
    whole = covered_pixels(triangle, np.array([[0, 1, 2]], np.int32), K, np.array([0, 0, 160, 120]))
    assert len(whole) == 160 * 120
    assert (
        len(
            covered_pixels(
                triangle - np.float32([0, 0, 20]),
                np.array([[0, 1, 2]], np.int32),
                K,
                np.array([0, 0, 160, 120]),
            )
        )
        == 0
    )


def test_sizes_in_a_crowd_span_the_range():
    rng = np.random.default_rng(0)
    heights = np.concatenate([crowd_heights(rng, 8, 480) for _ in range(300)])
    assert heights.min() >= 60 and heights.max() <= 480
    share = np.histogram(heights, [60, 80, 120, 200, 320, 480.1])[0] / len(heights)
    assert share.min() > 0.08


def test_person_is_placed_on_floor_at_wanted_height():
    rng = np.random.default_rng(5)
    upright = np.zeros((17, 3))
    upright[:, 1] = np.linspace(0, 1.7, 17)
    figure = Body(_somebody().mesh, (), upright)
    shown, wanted = [], []
    for height in (80, 120, 200):
        camera = floor_camera(rng, (640, 480))
        taken = []
        person = place(rng, _Standing(figure), camera, height, taken)
        if person is None:
            continue
        joints = person.joints_m
        assert joints[:, 1].min() == 0 and len(taken) == 1
        px = camera.project(joints @ camera.R.T + camera.t)
        wanted.append(height)
        shown.append(np.linalg.norm(px[0] - px[-1]))
    assert len(shown) >= 2 and SMALLEST * 480 == 60
    np.testing.assert_allclose(
        shown, wanted, rtol=0.35
    )  # a tilted camera and a near floor shorten or stretch


class _Standing:
    """Joints without triangles, as a posed person is before its camera is known."""

    def __init__(self, body):
        self.joints_m = body.joints_m

    def moved(self, offset):
        return _Standing(Body(None, (), self.joints_m + offset))
