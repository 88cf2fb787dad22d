# SPDX-License-Identifier: Apache-2.0
"""The scene around synthetic people: cameras, places, light, shadows, and which joints are hidden.

World: metres, y up, floor at y = 0. Camera: optical frame, x right, y down, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lifting_ros.geometry.rotations import unit
from lifting_ros.research.rendering.body_pose import turn
from lifting_ros.research.rendering.render import Light, Mesh, Scene
from lifting_ros.research.rendering.render_kernels import covered_pixels, rays_through

FLESH_M = np.array(
    [0.08, 0.13, 0.15, 0.10, 0.09, 0.15, 0.10, 0.09, 0.20, 0.13, 0.12, 0.20, 0.13, 0.12]
)
"""Largest distance from each keypoint to the person's own surface in front of it, metres."""

_HALVED = np.array([[0.5], [0.5], [1]])
"""Factors of a camera matrix for half the resolution."""


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
        depth = np.maximum(flat[:, 2:], 1e-6)
        return flat[:, :2] / depth

    def around(
        self,
        world_points,
        side: int,
        boxes: float,
    ) -> Camera:
        """The camera cropped to a square of `side` px around the box of world points (N, 3). The
        square is `boxes` times as large as the longer side of the box."""
        points = np.asarray(world_points) @ self.R.T + self.t
        px = self.project(points)
        low = px.min(0)
        high = px.max(0)
        sides = high - low
        longer = max(float(sides.max()), 1.0)

        scale = side / (boxes * longer)
        cut = np.array([[scale, 0, 0], [0, scale, 0], [0, 0, 1.0]])
        cut[:2, 2] = (side - 1) / 2 - scale * (low + high) / 2
        return replace(self, K=cut @ self.K, size=(side, side))


def camera_matrix(focal_px: float, size) -> np.ndarray:
    """(3, 3) with the principal point in the middle of a picture of size (W, H)."""
    width, height = size
    K = np.eye(3)
    K[0, 0] = focal_px
    K[1, 1] = focal_px
    K[0, 2] = (width - 1) / 2
    K[1, 2] = (height - 1) / 2
    return K


@dataclass(frozen=True)
class Body:
    """A dressed person, or a thing, as a mesh."""

    mesh: Mesh
    materials: tuple
    joints_m: np.ndarray
    """(17, 3)."""

    def moved(self, offset) -> Body:
        """The body shifted by `offset` (3,) metres."""
        vertices = self.mesh.vertices_m + offset
        mesh = replace(self.mesh, vertices_m=vertices.astype(np.float32))
        joints = self.joints_m + offset
        return replace(self, mesh=mesh, joints_m=joints)

    def seen_by(self, camera: Camera) -> Body:
        """The body in the camera's frame."""
        R = camera.R
        t = camera.t
        vertices = self.mesh.vertices_m @ R.T + t
        normals = self.mesh.normals @ R.T
        joints = self.joints_m @ R.T + t

        mesh = replace(
            self.mesh,
            vertices_m=vertices.astype(np.float32),
            normals=normals.astype(np.float32),
        )
        return replace(self, mesh=mesh, joints_m=joints)


def join(bodies):
    """One mesh of several bodies, and the list of all materials.

    Persons are numbered by their place in `bodies`; things have the number -1.
    """
    materials = []
    faces = []
    material = []
    person = []
    count = 0
    for number, body in enumerate(bodies):
        mesh = body.mesh
        faces.append(mesh.faces + count)
        material.append(mesh.material + len(materials))
        person.append(np.where(mesh.person < 0, -1, mesh.person + number))
        count += len(mesh.vertices_m)
        materials.extend(body.materials)

    joined = Mesh(
        vertices_m=np.concatenate([body.mesh.vertices_m for body in bodies]),
        normals=np.concatenate([body.mesh.normals for body in bodies]),
        rest_m=np.concatenate([body.mesh.rest_m for body in bodies]),
        faces=np.concatenate(faces),
        material=np.concatenate(material),
        person=np.concatenate(person),
    )
    return joined, materials


def look_at(
    eye,
    target,
    roll: float = 0.0,
):
    """World-to-camera rotation (3, 3) and translation (3,) of a camera at `eye` that looks at
    `target`; roll in radians."""
    ahead = unit(np.asarray(target, float) - eye)
    right = unit(np.cross(ahead, [0.0, 1.0, 0.0]))
    level = np.stack([right, np.cross(ahead, right), ahead])

    R = turn([0, 0, 1], roll) @ level
    return R, -R @ eye


def sample_camera(
    rng: np.random.Generator,
    size,
    joints_m,
) -> Camera:
    """A camera 0.5 to 2.5 m high and 1.5 to 8 m away from a person with joints (17, 3), who is at
    times partly outside the picture. size (W, H) px."""
    shorter = min(size)
    longer = max(size)
    middle = (joints_m.min(0) + joints_m.max(0)) / 2
    tall = max(np.ptp(joints_m, axis=0).max(), 0.8)

    # Place and focal length
    distance = np.exp(rng.uniform(np.log(1.5), np.log(8)))
    eye = np.array([middle[0], rng.uniform(0.5, 2.5), middle[2] + distance])
    share = rng.uniform(0.35, 1.15)  # of the picture that the person fills
    focal = np.clip(share * shorter * distance / tall, 0.5 * longer, 4.0 * longer)

    # Direction
    freedom = max(0.5 * longer * distance / focal - 0.35 * tall, 0.1)
    aside = rng.uniform(-1, 1) * freedom
    above = rng.uniform(-0.5, 0.5) * freedom
    roll = rng.normal(0, np.radians(4))
    R, t = look_at(eye, middle + [aside, above, 0], roll)

    width, height = size
    return Camera(camera_matrix(focal, size), R, t, (width, height))


def spread_out(
    rng: np.random.Generator,
    bodies,
    camera: Camera,
) -> list:
    """The first figure where it is, and the others on the floor around it: in view, and at least
    0.55 m from each other. Figures for which no such place is found are left out."""
    placed = list(bodies[:1])
    eye = -camera.R.T @ camera.t
    width = camera.size[0]

    for body in bodies[1:]:
        for _ in range(30):
            offset = np.array([rng.normal(0, 0.9), 0.0, rng.uniform(-3.5, 1.2)])
            centre = offset + body.joints_m[0]
            gaps = [_floor_distance(centre, other.joints_m[0]) for other in placed]
            column = camera.project((centre @ camera.R.T + camera.t)[None])[0, 0]

            in_view = -40 < column < width + 40
            if in_view and min(gaps) > 0.55 and _floor_distance(centre, eye) > 1.2:
                placed.append(body.moved(offset))
                break

    return placed


def _floor_distance(first, second) -> float:
    """Distance of two points (3,) along the floor."""
    x, _, z = first - second
    return np.hypot(x, z)


def sample_light(
    rng: np.random.Generator,
    camera: Camera,
    mean_colour,
) -> Light:
    """A sun or lamp from above, and light from sky and floor in a tint of the picture's mean colour
    (3,)."""
    # Direction
    height = rng.uniform(0.3, 1.4)
    around = rng.uniform(0, 2 * np.pi)
    x = np.cos(height) * np.cos(around)
    y = np.sin(height)
    z = np.cos(height) * np.sin(around)
    toward = camera.R @ [x, y, z]

    # Strength and colours
    brightness = mean_colour.mean()
    tint = 1 + rng.uniform(0, 0.6) * (mean_colour / max(brightness, 0.05) - 1)
    exposure = rng.uniform(0.9, 1.55) * (0.8 + 0.5 * np.clip(brightness, 0, 1))
    share = rng.uniform(0.15, 0.8)
    ambient = exposure * (1.15 - share)

    return Light(
        toward=toward,
        up=camera.R @ [0.0, 1.0, 0.0],
        sun=exposure * 1.25 * share * np.ones(3) * rng.uniform(0.9, 1.1, 3),
        sky=ambient * tint,
        ground=ambient * rng.uniform(0.3, 0.8) * tint,
    )


def floor_shadow(
    rng: np.random.Generator,
    image,
    scene: Scene,
    light: Light,
    camera: Camera,
):
    """The image (H, W, 3) with the shadows on the floor, in two pictures of three; computed at half
    the resolution."""
    import cv2

    depth = rng.uniform(0.25, 0.6) if rng.random() < 0.67 else 0.0
    width, height = camera.size
    blur = rng.uniform(0.7, 2.5) * height / 200

    size = ((width + 1) // 2, (height + 1) // 2)
    half = camera.K * _HALVED - [[0, 0, 0.25], [0, 0, 0.25], [0, 0, 0]]
    points, pixels = _floor_points(scene, light, camera, half, size)
    if depth == 0 or len(pixels) == 0:
        return image

    dark = np.zeros(size[::-1], np.float32)
    toward = np.asarray(light.toward, np.float32)
    dark[pixels[:, 1], pixels[:, 0]] = scene.blocked(points, toward)
    large = cv2.resize(dark, (width, height), interpolation=cv2.INTER_LINEAR)
    soft = cv2.GaussianBlur(large, (0, 0), blur)
    return image * (1 - np.float32(depth) * soft[..., None])


def _floor_points(scene, light, camera, K, size):
    """Points (P, 3) of the floor, at most 15 m away, that may lie in shadow, and their pixels (P,
    2) with the camera matrix K in a picture of size (W, H)."""
    up = np.asarray(light.up, np.float32)
    toward = np.asarray(light.toward, np.float32)
    above = -float(camera.R[:, 1] @ camera.t)  # of the camera over the floor

    # Pixels of the mesh projected onto the floor along the light
    vertices = scene.mesh.vertices_m
    way = (vertices @ up + above) / (toward @ up)
    fallen = (vertices - way[:, None] * toward).astype(np.float32)
    faces = np.ascontiguousarray(scene.mesh.faces, np.int32)
    pixels = covered_pixels(fallen, faces, K, np.array([0, 0, *size]))

    # Where their rays meet the floor
    rays = rays_through(pixels, K, 1)
    fall = -rays @ up
    near = np.flatnonzero(fall > above / 15)
    points = rays[near] * (above / fall[near])[:, None]
    return points + np.float32(0.002) * up, pixels[near]


def sight(
    scene: Scene,
    joints,
    person: int,
):
    """Which joints (J, 3) of a person are seen: (J,) bool each.

    Returns clear: nothing is in front of the joint but the flesh and clothes around it; and own:
    only another part of the same body is.
    """
    hits = scene.first(np.zeros(3), joints / np.maximum(joints[:, 2:], 1e-6))
    gap = joints[hits.ray, 2] - hits.point_m[:, 2]
    mine = scene.mesh.person[hits.face] == person
    flesh = FLESH_M[hits.ray]

    clear = np.ones(len(joints), bool)
    own = np.zeros(len(joints), bool)
    clear[hits.ray] = np.where(mine, gap < flesh, gap < 0)
    own[hits.ray] = mine & (gap >= flesh)
    return clear, own


def add_noise(rng: np.random.Generator, image) -> np.ndarray:
    """The image (H, W, 3) in [0, 1] as from a camera: uint8, with random gain, blur, grain and JPEG
    quality."""
    import cv2

    gain = np.float32(rng.uniform(0.85, 1.15))
    image = np.clip(image * gain, 0, 1).astype(np.float32)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2))

    # Grain
    amount = np.float32(rng.uniform(0, 0.03))
    height, width = image.shape[:2]
    image += amount * rng.standard_normal((height, width, 1), np.float32)

    # JPEG
    bgr = cv2.cvtColor(np.maximum(image, 0), cv2.COLOR_RGB2BGR)
    plain = cv2.convertScaleAbs(bgr, alpha=255.0)
    quality = int(rng.integers(55, 96))
    _, coded = cv2.imencode(".jpg", plain, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
