# SPDX-License-Identifier: Apache-2.0
"""One synthetic picture: bodies and things before a background, seen by a camera, with exact
labels."""

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
"""Points of a body from which its visible share is estimated."""


@dataclass(frozen=True)
class SyntheticPerson:
    """The labels of one person."""

    keypoints_px: np.ndarray
    """(14, 2) x, y in px, also where hidden or outside."""
    visible: np.ndarray
    """(14,) True where inside the image and hidden by nothing, the own body included."""
    labelled: np.ndarray
    """(14,) True where inside the image and hidden at most by the own body: what people label in
    photographs."""
    box_px: np.ndarray
    """(4,) x0, y0, x1, y1 of the body inside the image."""
    joints_camera_m: np.ndarray
    """(17, 3) in the camera's optical frame."""
    seen: float
    """Visible share in [0, 1] of the surface that faces the camera: inside the image and hidden by
    nobody and nothing else."""


@dataclass(frozen=True)
class SyntheticSample:
    """One picture and the people in it."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    people: tuple
    """SyntheticPerson, the main one first; may be empty."""
    K: np.ndarray
    """(3, 3)."""
    up: np.ndarray
    """(3,) unit vector, up in the camera's optical frame."""


def compose(
    rng: np.random.Generator,
    people,
    things,
    camera: Camera,
    photos,
    backdrop=None,
) -> SyntheticSample:
    """The picture of people and things (lists of Figure and Body, world frame).

    backdrop: (H, W, 3) float32 in [0, 1]; by default one of the photographs, or a painted one.
    """
    width, height = camera.size
    image = background(rng, camera.size, photos) if backdrop is None else backdrop
    count = rng.choice(3, p=[0.6, 0.3, 0.1])
    patches = [occluder(rng, camera.size, photos) for _ in range(count)]
    light = sample_light(rng, camera, image.mean((0, 1)))

    # Bodies and their shadows
    bodies = [body.seen_by(camera) for body in [*people, *things]]
    if bodies:
        mesh, materials = join(bodies)
        scene = Scene(mesh)
        image = floor_shadow(rng, image, scene, light, camera)
        drawn = render(scene, materials, light, camera.K, camera.size)
        image = image * (1 - drawn.alpha[..., None]) + drawn.colour

    # Patches in front of everything
    hidden = np.zeros((height, width), bool)
    for mask, texture in patches:
        image[mask] = texture[mask]
        hidden[mask] = True

    labels = []
    for number, body in enumerate(bodies[: len(people)]):
        labels.append(label(scene, body, number, camera, hidden))
    return SyntheticSample(add_noise(rng, image), tuple(labels), camera.K, light.up)


def label(
    scene: Scene,
    body,
    number: int,
    camera: Camera,
    hidden,
) -> SyntheticPerson:
    """The labels of person `number` of the scene. hidden (H, W): True where a patch covers the
    picture."""
    joints = body.joints_m[list(KEYPOINT_TO_JOINT)]
    keypoints = camera.project(joints)
    inside = (joints[:, 2] > 0.1) & _open(keypoints, camera, hidden)
    clear, own = sight(scene, joints, number)

    # Box
    vertices = body.mesh.vertices_m
    surface = camera.project(vertices[vertices[:, 2] > 0.1])
    low = np.clip(surface.min(0), 0, camera.size)
    high = np.clip(surface.max(0), 0, camera.size)

    return SyntheticPerson(
        keypoints_px=keypoints,
        visible=inside & clear,
        labelled=inside & (clear | own),
        box_px=np.concatenate([low, high]),
        joints_camera_m=body.joints_m,
        seen=seen_share(scene, body, number, camera, hidden),
    )


def seen_share(
    scene: Scene,
    body,
    number: int,
    camera: Camera,
    hidden,
) -> float:
    """Visible share of the surface that faces the camera, from points on SEEN_SAMPLES triangles.

    The arguments are those of `label`.
    """
    faces = np.ascontiguousarray(body.mesh.faces, np.int32)
    middle, area = shown_areas(body.mesh.vertices_m, faces)
    total = np.cumsum(area, dtype=float)
    if total[-1] <= 0:
        return 0.0

    # Triangles at even steps of the area in the picture
    shares = (np.arange(SEEN_SAMPLES) + 0.5) / SEEN_SAMPLES
    points = middle[np.searchsorted(total, shares * total[-1])]

    hits = scene.first(np.zeros(3), points / points[:, 2:])
    mine = np.zeros(SEEN_SAMPLES, bool)
    mine[hits.ray] = scene.mesh.person[hits.face] == number
    uncovered = _open(camera.project(points), camera, hidden)
    return float(np.mean(mine & uncovered))


def _open(px, camera, hidden):
    """(N,) True for pixels (N, 2) inside the picture that no patch covers."""
    size = np.array(camera.size)
    within = (px >= -0.5) & (px < size - 0.5)
    inside = within.all(1)

    known = np.where(inside[:, None], px, 0)
    cells = np.rint(known).astype(int)
    column, row = np.clip(cells, 0, size - 1).T
    return inside & ~hidden[row, column]
