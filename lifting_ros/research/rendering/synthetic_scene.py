# SPDX-License-Identifier: Apache-2.0
"""The scene around synthetic people: cameras, where people stand, light, shadows, and who hides
whom.

World: metres, y up, floor at y = 0. Camera: optical frame, x right, y down, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lifting_ros.research.rendering.body_pose import turn, unit
from lifting_ros.research.rendering.render import Light, Mesh, Scene
from lifting_ros.research.rendering.render_kernels import covered_pixels, rays_through

# how far in front of a joint its own skin and clothes may lie, metres, in the order of the
# keypoints
FLESH_M = np.array(
    [0.08, 0.13, 0.15, 0.10, 0.09, 0.15, 0.10, 0.09, 0.20, 0.13, 0.12, 0.20, 0.13, 0.12]
)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera."""

    K: np.ndarray
    """(3, 3) px."""
    R: np.ndarray
    """(3, 3) world to camera."""
    t: np.ndarray
    """(3,) metres: X_camera = R X_world + t."""
    size: tuple
    """(W, H) px."""

    def project(self, points) -> np.ndarray:
        """(N, 2) px of points (N, 3) in the camera's frame."""
        flat = np.asarray(points) @ self.K.T
        return flat[:, :2] / np.maximum(flat[:, 2:], 1e-6)

    def around(self, world_points, side: int, boxes: float) -> Camera:
        """The camera cut to `side` x `side` px around the box of world points (N, 3), `boxes` times
        its longer side."""
        px = self.project(np.asarray(world_points) @ self.R.T + self.t)
        low = px.min(0)
        high = px.max(0)
        scale = side / (boxes * max(float((high - low).max()), 1.0))
        cut = np.array([[scale, 0, 0], [0, scale, 0], [0, 0, 1.0]])
        cut[:2, 2] = (side - 1) / 2 - scale * (low + high) / 2

        return replace(self, K=cut @ self.K, size=(side, side))


@dataclass(frozen=True)
class Body:
    """One dressed person as a mesh."""

    mesh: Mesh
    materials: tuple
    joints_m: np.ndarray
    """(17, 3)"""

    def moved(self, offset) -> Body:
        """The body shifted by `offset` (3,) metres."""
        mesh = replace(self.mesh, vertices_m=(self.mesh.vertices_m + offset).astype(np.float32))
        return replace(self, mesh=mesh, joints_m=self.joints_m + offset)

    def seen_by(self, camera: Camera) -> Body:
        """The body in the camera's frame."""
        R = camera.R
        t = camera.t
        mesh = replace(
            self.mesh,
            vertices_m=(self.mesh.vertices_m @ R.T + t).astype(np.float32),
            normals=(self.mesh.normals @ R.T).astype(np.float32),
        )

        return replace(self, mesh=mesh, joints_m=self.joints_m @ R.T + t)


def join(bodies):
    """One mesh of several bodies, people numbered by their place in the list, things -1, and the
    list of all materials."""
    meshes = []
    materials = []
    vertices = 0

    for number, body in enumerate(bodies):
        mesh = body.mesh
        meshes.append(
            (
                mesh.vertices_m,
                mesh.normals,
                mesh.rest_m,
                mesh.faces + vertices,
                mesh.material + len(materials),
                np.where(mesh.person < 0, -1, mesh.person + number),
            )
        )
        vertices += len(mesh.vertices_m)
        materials.extend(body.materials)

    return Mesh(*(np.concatenate(column) for column in zip(*meshes, strict=True))), materials


def look_at(eye, target, roll: float = 0.0):
    """World-to-camera rotation (3, 3) and translation (3,) of a camera at `eye` looking at
    `target`; roll: radians."""
    ahead = unit(np.asarray(target, float) - eye)
    right = unit(np.cross(ahead, [0.0, 1.0, 0.0]))
    R = turn([0, 0, 1], roll) @ np.stack([right, np.cross(ahead, right), ahead])

    return R, -R @ eye


def sample_camera(rng: np.random.Generator, size, joints_m) -> Camera:
    """A camera 0.5 to 2.5 m high and 1.5 to 8 m away that sees the joints (17, 3), not always
    whole."""
    width, height = size
    middle = (joints_m.min(0) + joints_m.max(0)) / 2
    tall = max(np.ptp(joints_m, axis=0).max(), 0.8)
    distance = np.exp(rng.uniform(np.log(1.5), np.log(8)))
    eye = np.array([middle[0], rng.uniform(0.5, 2.5), middle[2] + distance])
    share = rng.uniform(0.35, 1.15)  # of the picture that the person fills
    focal = np.clip(share * min(size) * distance / tall, 0.5 * max(size), 4.0 * max(size))
    freedom = max(0.5 * max(size) * distance / focal - 0.35 * tall, 0.1)
    target = middle + [rng.uniform(-1, 1) * freedom, rng.uniform(-0.5, 0.5) * freedom, 0]
    R, t = look_at(eye, target, rng.normal(0, np.radians(4)))
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])

    return Camera(K, R, t, (width, height))


def spread_out(rng: np.random.Generator, bodies, camera: Camera) -> list:
    """The first figure where it is, the others on the floor around it, in view and at least 0.55 m
    from each other."""
    placed = list(bodies[:1])
    eye = -camera.R.T @ camera.t

    for body in bodies[1:]:
        for _ in range(30):
            offset = np.array([rng.normal(0, 0.9), 0.0, rng.uniform(-3.5, 1.2)])
            centre = offset + body.joints_m[0]
            gaps = [np.hypot(*(centre - other.joints_m[0])[[0, 2]]) for other in placed]
            seen = camera.project((centre @ camera.R.T + camera.t)[None])[0]
            if (
                min(gaps) > 0.55
                and np.hypot(*(centre - eye)[[0, 2]]) > 1.2
                and -40 < seen[0] < camera.size[0] + 40
            ):
                placed.append(body.moved(offset))
                break

    return placed


def sample_light(rng: np.random.Generator, camera: Camera, mean_colour) -> Light:
    """A sun or lamp from above, sky and floor light, tinted a little like the picture's mean colour
    (3,)."""
    height = rng.uniform(0.3, 1.4)
    around = rng.uniform(0, 2 * np.pi)
    toward = camera.R @ [
        np.cos(height) * np.cos(around),
        np.sin(height),
        np.cos(height) * np.sin(around),
    ]
    tint = 1 + rng.uniform(0, 0.6) * (mean_colour / max(mean_colour.mean(), 0.05) - 1)
    exposure = rng.uniform(0.9, 1.55) * (0.8 + 0.5 * np.clip(mean_colour.mean(), 0, 1))
    share = rng.uniform(0.15, 0.8)

    return Light(
        toward,
        camera.R @ [0.0, 1.0, 0.0],
        exposure * 1.25 * share * np.ones(3) * rng.uniform(0.9, 1.1, 3),
        exposure * (1.15 - share) * tint,
        exposure * (1.15 - share) * rng.uniform(0.3, 0.8) * tint,
    )


def floor_shadow(rng: np.random.Generator, image, scene: Scene, light: Light, camera: Camera):
    """The image (H, W, 3) with the shadow of what stands on the floor, in two pictures of three;
    found at half the resolution."""
    import cv2

    depth = rng.uniform(0.25, 0.6) if rng.random() < 0.67 else 0.0
    width, height = camera.size
    spread = rng.uniform(0.7, 2.5) * height / 200
    size = (width + 1) // 2, (height + 1) // 2
    half = camera.K * [[0.5], [0.5], [1]] - [[0, 0, 0.25], [0, 0, 0.25], [0, 0, 0]]
    rays, pixels = _floor_rays(scene, light, camera, half, size)
    if depth == 0 or len(pixels) == 0:
        return image

    dark = np.zeros(size[::-1], np.float32)
    dark[pixels[:, 1], pixels[:, 0]] = scene.blocked(rays, np.asarray(light.toward, np.float32))
    soft = cv2.GaussianBlur(
        cv2.resize(dark, (width, height), interpolation=cv2.INTER_LINEAR), (0, 0), spread
    )

    return image * (1 - np.float32(depth) * soft[..., None])


def _floor_rays(scene, light, camera, K, size):
    """Points (P, 3) of the floor that may lie in shadow, and their pixels (P, 2)."""
    up = np.asarray(light.up, np.float32)
    toward = np.asarray(light.toward, np.float32)
    above = -float(camera.R[:, 1] @ camera.t)  # the eye over the floor
    vertices = scene.mesh.vertices_m
    fallen = vertices - ((vertices @ up + above) / (toward @ up))[:, None] * toward
    pixels = covered_pixels(
        fallen.astype(np.float32),
        np.ascontiguousarray(scene.mesh.faces, np.int32),
        K,
        np.array([0, 0, *size]),
    )
    rays = rays_through(pixels, K, 1)
    fall = -rays @ up
    near = np.flatnonzero(fall > above / 15)  # 15 m away at most

    return rays[near] * (above / fall[near])[:, None] + np.float32(0.002) * up, pixels[near]


def sight(scene: Scene, joints, person: int):
    """For joints (J, 3) of a person: clear (J,), nothing lies before them but their own flesh and
    clothes; own (J,), only the person's own body does."""
    hits = scene.first(np.zeros(3), joints / np.maximum(joints[:, 2:], 1e-6))
    clear = np.ones(len(joints), bool)
    own = np.zeros(len(joints), bool)
    gap = joints[hits.ray, 2] - hits.point_m[:, 2]
    mine = scene.mesh.person[hits.face] == person
    clear[hits.ray] = np.where(mine, gap < FLESH_M[hits.ray], gap < 0)
    own[hits.ray] = mine & (gap >= FLESH_M[hits.ray])

    return clear, own


def add_noise(rng: np.random.Generator, image) -> np.ndarray:
    """The image (H, W, 3) in [0, 1] as a camera gives it: gain, blur, grain, JPEG; uint8."""
    import cv2

    image = np.clip(image * np.float32(rng.uniform(0.85, 1.15)), 0, 1).astype(np.float32)

    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2))

    image += np.float32(rng.uniform(0, 0.03)) * rng.standard_normal(
        image.shape[:2] + (1,), np.float32
    )
    plain = cv2.convertScaleAbs(cv2.cvtColor(np.maximum(image, 0), cv2.COLOR_RGB2BGR), alpha=255.0)
    _, coded = cv2.imencode(".jpg", plain, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(55, 96))])

    return cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
