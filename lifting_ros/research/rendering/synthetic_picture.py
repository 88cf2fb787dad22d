# SPDX-License-Identifier: Apache-2.0
"""One synthetic picture: bodies and things before a background, as a camera sees them, and the
exact labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lifting_ros.research.rendering.render import Scene, render
from lifting_ros.research.rendering.render_kernels import shown_areas
from lifting_ros.research.rendering.render_textures import background, occluder
from lifting_ros.research.rendering.synthetic_scene import (
    Camera,
    add_noise,
    floor_shadow,
    join,
    sample_light,
    sight,
)
from lifting_ros.skeleton import KEYPOINT_TO_JOINT

SEEN_SAMPLES = 150


@dataclass(frozen=True)
class SyntheticPerson:
    """The labels of one person."""

    keypoints_px: np.ndarray
    """(14, 2) x, y in px, also where hidden or outside."""
    visible: np.ndarray
    """(14,) True inside the image and hidden by nothing, the own body included."""
    labelled: np.ndarray
    """(14,) True inside the image and hidden by nothing but the own body: what people label in
    photographs."""
    box_px: np.ndarray
    """(4,) x0, y0, x1, y1 of the body inside the image."""
    joints_camera_m: np.ndarray
    """(17, 3) in the camera's optical frame."""
    seen: float
    """Share in [0, 1] of the body, as the camera would see it alone, that is inside the image and
    hidden by nobody and nothing else."""


@dataclass(frozen=True)
class SyntheticSample:
    """One picture and who is in it."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    people: tuple
    """SyntheticPerson, the main one first; may be empty."""
    K: np.ndarray
    """(3, 3)"""
    up: np.ndarray
    """(3,) the direction up in the camera's optical frame, unit length."""


def compose(
    rng: np.random.Generator, people, things, camera: Camera, photos, backdrop=None
) -> SyntheticSample:
    """The picture of people and things (lists of Figure and Body, world frame) before the backdrop
    (H, W, 3) float32 in [0, 1], by default a photograph or a painted one."""
    width, height = camera.size
    image = background(rng, camera.size, photos) if backdrop is None else backdrop
    patches = [occluder(rng, camera.size, photos) for _ in range(rng.choice(3, p=[0.6, 0.3, 0.1]))]
    bodies = [body.seen_by(camera) for body in [*people, *things]]
    light = sample_light(rng, camera, image.mean((0, 1)))
    hidden = np.zeros((height, width), bool)

    if bodies:
        mesh, materials = join(bodies)
        scene = Scene(mesh)
        image = floor_shadow(rng, image, scene, light, camera)
        drawn = render(scene, materials, light, camera.K, camera.size)
        image = image * (1 - drawn.alpha[..., None]) + drawn.colour

    for mask, texture in patches:
        image[mask] = texture[mask]
        hidden[mask] = True

    labels = tuple(
        label(scene, body, k, camera, hidden) for k, body in enumerate(bodies[: len(people)])
    )

    return SyntheticSample(add_noise(rng, image), labels, camera.K, light.up)


def label(scene: Scene, body, number: int, camera: Camera, hidden) -> SyntheticPerson:
    """The labels of person `number` of the scene. hidden (H, W): True where a patch covers the
    picture."""
    joints = body.joints_m[list(KEYPOINT_TO_JOINT)]
    keypoints = camera.project(joints)
    inside = (joints[:, 2] > 0.1) & _open(keypoints, camera, hidden)
    clear, own = sight(scene, joints, number)
    skin = camera.project(body.mesh.vertices_m[body.mesh.vertices_m[:, 2] > 0.1])
    box = np.concatenate(
        [np.clip(skin.min(0), 0, camera.size), np.clip(skin.max(0), 0, camera.size)]
    )
    seen = seen_share(scene, body, number, camera, hidden)

    return SyntheticPerson(
        keypoints, inside & clear, inside & (clear | own), box, body.joints_m, seen
    )


def seen_share(scene: Scene, body, number: int, camera: Camera, hidden) -> float:
    """Share of the surface that faces the camera which the picture shows, from a sample of the
    body's triangles."""
    middle, area = shown_areas(
        body.mesh.vertices_m, np.ascontiguousarray(body.mesh.faces, np.int32)
    )
    total = np.cumsum(area, dtype=float)
    if total[-1] <= 0:
        return 0.0

    points = middle[
        np.searchsorted(total, (np.arange(SEEN_SAMPLES) + 0.5) / SEEN_SAMPLES * total[-1])
    ]
    hits = scene.first(np.zeros(3), points / points[:, 2:])
    mine = np.zeros(SEEN_SAMPLES, bool)
    mine[hits.ray] = scene.mesh.person[hits.face] == number

    return float(np.mean(mine & _open(camera.project(points), camera, hidden)))


def _open(px, camera, hidden):
    """(N,) True for pixels (N, 2) inside the picture that no patch covers."""
    width, height = camera.size
    inside = np.all((px >= -0.5) & (px < [width - 0.5, height - 0.5]), axis=1)
    column, row = np.rint(np.where(inside[:, None], px, 0)).astype(int).T
    return inside & ~hidden[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
