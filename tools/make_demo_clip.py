# SPDX-License-Identifier: Apache-2.0
"""Renders the bundled demo clip: a person walks into a room, sits down on a stool, gets up and
leaves.

python tools/make_demo_clip.py --body BODY_FOLDER --mocap MOCAP.npz [--out lifting_ros/demo]
[--sheet SHEET.png]

Writes walk_and_sit.mp4 (640 x 480, 15 fps), walk_and_sit.yaml (camera calibration) and
walk_and_sit_truth.npz.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import yaml
from tqdm import tqdm

from lifting_ros.geometry.rotations import unit
from lifting_ros.io.arrays import write_npz
from lifting_ros.io.atomic import replacing
from lifting_ros.research.rendering import synthetic_motion as motion
from lifting_ros.research.rendering.body import Traits, load_body, three_way
from lifting_ros.research.rendering.body_pose import pose_body
from lifting_ros.research.rendering.body_wear import dress
from lifting_ros.research.rendering.render import (
    Light,
    Material,
    Mesh,
    Scene,
    bounds,
    pixel_rays,
    render,
)
from lifting_ros.research.rendering.render_textures import waves
from lifting_ros.research.rendering.synthetic import turned
from lifting_ros.research.rendering.synthetic_dress import Outfit
from lifting_ros.research.rendering.synthetic_scene import Body, Camera, join, look_at
from lifting_ros.skeleton import KEYPOINT_TO_JOINT
from lifting_ros.viz.tiles import in_rows

SIZE = (640, 480)
"""Width and height of the clip, px."""

FPS = 15.0
"""Frames per second."""

FOCAL = 545.0
"""Focal length, px."""

EMPTY_FRAMES = 22
"""Number of frames before the person comes in."""

HALF_VIEW_M = 2.75
"""Distance from the middle of the room at which a person is out of view."""

SIT_ANGLE = np.radians(24.0)
"""Heading of the seated person, three quarters towards the camera."""

SEAT_CLEARANCE_M = 0.085
"""Height of the hip joints above the seat."""

SEAT_M = 0.46
"""Height of the stool."""

STOP_AT = np.array([0.05, 0.0, 0.35])
"""Where the person stops before the stool."""

CLOTHES = (
    (0.012, (0.70, 0.22, 0.16), 0.2),
    (0.009, (0.15, 0.23, 0.42), 0.25),
    (0.006, (0.10, 0.07, 0.05), 0.0),
)
"""Distance from the skin, colour and bumps of the layers of clothes."""

WALK_IN = ("cmu_35_02", 33)
"""A recorded clip, and how many of its frames are used."""

WALK_OUT = ("cmu_35_29", 42)
"""The same for the way out."""


def main():
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--body", type=Path, required=True, help="folder of the MakeHuman body")
    parser.add_argument(
        "--mocap", type=Path, required=True, help="motion capture .npz, metres, y up, 10 fps"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("lifting_ros/demo"), help="folder to write into"
    )
    parser.add_argument("--outfit", type=int, default=10, help="seed of the cut of the clothes")
    parser.add_argument("--sheet", type=Path, help="also write a contact sheet here")
    arguments = parser.parse_args()

    frames, truth, camera = make_clip(arguments.body, arguments.mocap, arguments.outfit)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_clip(arguments.out, frames, truth, camera)

    if arguments.sheet:
        cv2.imwrite(str(arguments.sheet), contact_sheet(frames, truth))


def make_clip(
    body_folder,
    mocap,
    outfit: int,
):
    """Frames (list of (480, 640, 3) uint8 BGR), truth (dict of arrays) and the camera."""
    model = load_body(body_folder)
    shape = model.shape(
        Traits(
            race={"african": 0.15, "asian": 0.25, "caucasian": 0.6},
            gender={"male": 1.0, "female": 0.0},
            age={"young": 0.8, "old": 0.2},
            muscle=three_way(0.55, "minmuscle", "averagemuscle", "maxmuscle"),
            weight=three_way(0.5, "minweight", "averageweight", "maxweight"),
        )
    )
    clothed = _clothed(model, shape, outfit)
    build = motion.build_of(model, shape)
    poses, stool = story(mocap, build)

    camera = room_camera()
    room = make_room(stool).seen_by(camera)
    light = room_light(camera)
    scene, materials = _scene([room])
    empty = render(scene, materials, light, camera.K, SIZE, window=(0, 0, *SIZE)).colour
    floor = Floor.of(scene, light, camera)

    frames = []
    joints = []
    for pose in tqdm(poses, desc="rendering", unit="frame"):
        if pose is None:
            frames.append(empty)
            joints.append(np.full((17, 3), np.nan))
            continue

        posed = pose_body(model, shape, pose).moved(camera.R, camera.t)
        body = clothed.body(posed)
        frames.append(_with_person(empty, floor, room, body, light, camera))
        joints.append(body.joints_m)

    truth = _truth(np.array(joints), camera)
    return [_to_video(frame) for frame in frames], truth, camera


def _clothed(
    model,
    shape,
    outfit: int,
) -> Outfit:
    layers = dress(model, shape, np.random.default_rng(outfit))
    for index, (away, colour, bump) in enumerate(CLOTHES):
        material = Material(_plain(colour), bump=bump)
        layers[index] = replace(layers[index], offset_m=away, material=material)

    return Outfit(model, shape, tuple(layers))


def story(
    mocap,
    build,
):
    """The poses of the frames (None: nobody is there), and the centre of the stool's seat, (3,)
    metres."""
    walk_in = _walk(mocap, build, *WALK_IN)
    walk_out = _walk(mocap, build, *WALK_OUT)
    upper = motion.upper_body(walk_in)

    # Walk in and stop
    speed = (walk_in[-1][0] - walk_in[-4][0]) * FPS / 3 * [1, 0, 1]
    stop, centre = motion.halt(build, upper, walk_in[-1], speed, 9, FPS)
    shift = STOP_AT - centre
    walk_in = walk_in + shift
    stop = [pose + shift for pose in stop]

    # Turn round and sit down
    angle = motion.heading(stop[-1])
    seat = SEAT_M + SEAT_CLEARANCE_M
    turned_in = motion.turn_round(build, upper, STOP_AT, angle, SIT_ANGLE, 11)
    down = motion.sit_down(build, upper, STOP_AT, SIT_ANGLE, seat, 17)
    seated = down[-1]

    # Get up and leave
    speed = (walk_out[3][0] - walk_out[0][0]) * FPS / 3 * [1, 0, 1]
    start, start_centre = motion.set_off(build, upper, walk_out[0], speed, 9, FPS)
    away = STOP_AT - start_centre
    heading = motion.heading(start[0])
    turned_out = motion.turn_round(build, upper, STOP_AT, SIT_ANGLE, heading, 10)

    poses = [
        *walk_in,
        *stop,
        *turned_in,
        *down,
        *[seated] * 15,
        *down[-2::-1],
        *turned_out,
        *[pose + away for pose in start],
        *[pose + away for pose in walk_out],
    ]
    poses = [pose if abs(pose[0][0]) < HALF_VIEW_M else None for pose in poses]
    present = [index for index, pose in enumerate(poses) if pose is not None]
    shown = poses[present[0] : present[-1] + 1]

    pelvis = seated[0]
    forwards = motion.facing(SIT_ANGLE) @ [0, 0, 0.02]
    stool = np.array([pelvis[0], SEAT_M, pelvis[2]]) - forwards
    return [None] * EMPTY_FRAMES + shown + [None] * 6, stool


def _walk(
    mocap,
    build,
    clip: str,
    count: int,
):
    """A recorded walk along +x, on a body of this build, at FPS."""
    with np.load(mocap, allow_pickle=False) as data:
        number = list(data["clips"]).index(clip)
        poses = data["positions"][data["clip_id"] == number][:count].astype(float)

    way = poses[-1, 0] - poses[0, 0]
    poses = turned(poses, np.arctan2(way[2], way[0]))
    leg = motion.leg_length(poses)
    walk = []
    for pose in motion.resample(poses, 10.0, FPS):
        walk.append(motion.carry_over(pose, build, leg))

    return np.array(walk)


def room_camera() -> Camera:
    """A camera 1.4 m high that looks a little downwards."""
    R, t = look_at(np.array([0.0, 1.4, 3.9]), np.array([0.0, 0.92, 0.0]))
    cx = (SIZE[0] - 1) / 2
    cy = (SIZE[1] - 1) / 2
    K = np.array([[FOCAL, 0, cx], [0, FOCAL, cy], [0, 0, 1.0]])
    return Camera(K, R, t, SIZE)


def room_light(camera: Camera) -> Light:
    """A wide ceiling lamp to the left and light from all directions above; many lamps give soft
    shadows."""
    rng = np.random.default_rng(5)
    spread = 0.16 * rng.normal(size=(10, 3))
    key = unit([-0.35, 1.0, 0.55]) + spread
    around = rng.normal(size=(14, 3)) * [1, 0.6, 1]
    around[:, 1] = np.abs(around[:, 1]) + 0.25
    directions = np.concatenate([unit(key), unit(around)])
    toward = directions @ camera.R.T

    lamp = np.array([1.62, 1.56, 1.46])
    sky = np.full(3, 0.30)
    ground = np.array([0.30, 0.27, 0.24])
    up = camera.R @ [0, 1.0, 0]
    return Light(toward, up, lamp, sky, ground)


def make_room(stool) -> Body:
    """Floor of boards, painted wall with a skirting board, a picture and a door, and a stool with
    its seat at `stool`."""
    x, h, z = stool
    seat_m = h - 0.045
    boxes = [
        ((-7, -0.1, -1.7), (7, 0, 5), _boards),
        ((-7, 0, -1.8), (7, 4, -1.7), _wall),
        ((-7, 0, -1.7), (7, 0.09, -1.68), _plain((0.82, 0.8, 0.76))),
        ((-0.15, 1.35, -1.7), (0.65, 1.95, -1.67), _picture),
        ((1.35, 0, -1.7), (2.25, 2.05, -1.66), _plain((0.62, 0.45, 0.30))),
        ((x - 0.2, seat_m, z - 0.2), (x + 0.2, h, z + 0.2), _plain((0.55, 0.33, 0.17))),
    ]
    for a in (-0.165, 0.165):
        for b in (-0.165, 0.165):
            low = (x + a - 0.02, 0, z + b - 0.02)
            high = (x + a + 0.02, seat_m, z + b + 0.02)
            boxes.append((low, high, _plain((0.45, 0.27, 0.14))))

    vertices = []
    normals = []
    faces = []
    for index, (low, high, _) in enumerate(boxes):
        corners, directions, triangles = _box(np.array(low, float), np.array(high, float))
        vertices.append(corners)
        normals.append(directions)
        faces.append(triangles + 24 * index)

    points = np.concatenate(vertices)
    triangles = np.concatenate(faces)
    material = np.repeat(np.arange(len(boxes)), 12)
    person = np.full(len(triangles), -1)
    mesh = Mesh(points, np.concatenate(normals), points, triangles, material, person)
    materials = tuple(Material(colour) for _, _, colour in boxes)
    return Body(mesh, materials, np.zeros((17, 3)))


def _box(
    low,
    high,
):
    """Vertices (24, 3), their normals (24, 3) and triangles (12, 3) of a box between two corners
    (3,)."""
    ends = (low, high)
    vertices = []
    normals = []
    faces = []

    for axis in range(3):
        first, second = [k for k in range(3) if k != axis]
        for side in (0, 1):
            corner = np.array([ends[side]] * 4)
            for row, (a, b) in enumerate(((0, 0), (1, 0), (1, 1), (0, 1))):
                corner[row, first] = ends[a][first]
                corner[row, second] = ends[b][second]

            start = len(vertices) * 4
            outward = np.eye(3)[axis] * (2 * side - 1)
            vertices.append(corner)
            normals.append(np.tile(outward, (4, 1)))
            faces.append(np.array([[0, 1, 2], [0, 2, 3]]) + start)

    points = np.concatenate(vertices).astype(np.float32)
    directions = np.concatenate(normals).astype(np.float32)
    return points, directions, np.concatenate(faces)


def _plain(colour):
    """Colours (N, 3) of points at rest (N, 3), nearly `colour` everywhere."""

    def albedo(rest):
        tone = 0.95 + 0.1 * waves(rest, 30.0)
        return np.float32(colour) * tone

    return albedo


def _boards(rest):
    # Boards: rows along x, each with its tone
    row = np.floor(rest[:, 2] / 0.14)
    along = rest[:, 0] + 0.7 * np.sin(37.0 * row)
    board = np.floor(along / 1.1)
    random = np.mod(np.sin(12.9 * row + 78.2 * board) * 43758.5, 1)
    tone = 0.85 + 0.25 * random

    across_gap = np.mod(rest[:, 2], 0.14) < 0.006
    along_gap = np.mod(along, 1.1) < 0.006
    gap = np.where(across_gap | along_gap, 0.6, 1.0)
    grain = 0.92 + 0.16 * waves(rest * [3.0, 1, 40.0], 4.0)[:, 0]
    brightness = tone * grain * gap
    return np.float32([0.62, 0.45, 0.30]) * brightness[:, None].astype(np.float32)


def _wall(rest):
    tone = 0.97 + 0.05 * waves(rest, 2.2) + 0.02 * waves(rest, 90.0)
    lower = rest[:, 1] < 0.95
    below = np.float32([0.55, 0.63, 0.62])
    above = np.float32([0.80, 0.79, 0.73])
    return np.where(lower[:, None], below, above) * tone


def _picture(rest):
    x = rest[:, 0]
    y = rest[:, 1]
    frame = (np.abs(x - 0.25) > 0.36) | (np.abs(y - 1.65) > 0.26)
    horizon = 1.62 + 0.08 * np.sin(9 * x) + 0.03 * np.sin(31 * x)
    hills = y < horizon

    green = np.float32([0.25, 0.42, 0.25])
    sky = np.float32([0.55, 0.72, 0.88])
    inside = np.where(hills[:, None], green, sky)
    return np.where(frame[:, None], np.float32([0.2, 0.14, 0.1]), inside)


def _scene(bodies):
    mesh, materials = join(bodies)
    return Scene(mesh), materials


@dataclass(frozen=True)
class Floor:
    """Light on the empty room at each second pixel, to find the share that a person blocks."""

    point_m: np.ndarray
    """(h, w, 3) what the pixel shows."""
    lamps: np.ndarray
    """(L, h, w) light of each lamp."""
    ambient: np.ndarray
    """(h, w)."""

    @classmethod
    def of(
        cls,
        scene: Scene,
        light: Light,
        camera: Camera,
    ) -> "Floor":
        """The light on the room of a scene."""
        w = SIZE[0] // 2
        h = SIZE[1] // 2
        K = camera.K * [[0.5], [0.5], [1]] - [[0, 0, 0.25], [0, 0, 0.25], [0, 0, 0]]
        rays = pixel_rays(K, 0, 0, w, h, 1)
        hits = scene.first(np.zeros(3), rays)
        start = hits.point_m + 0.004 * hits.normal

        given = []
        for toward in light.toward:
            cosine = np.maximum(hits.normal @ toward, 0)
            given.append(cosine * ~scene.blocked(start, toward))
        lamps = np.array(given) * light.sun.mean() / len(light.toward)

        sky = 0.5 + 0.5 * hits.normal @ light.up
        ambient = sky * light.sky.mean() + (1 - sky) * light.ground.mean()
        return cls(start.reshape(h, w, 3), lamps.reshape(-1, h, w), ambient.reshape(h, w))

    def dimmed(
        self,
        people: Scene,
        light: Light,
        window,
    ) -> np.ndarray:
        """(H, W) share of the empty room's light that is left; 1 outside the window (left, top,
        right, bottom)."""
        left, top, right, bottom = (edge // 2 for edge in window)
        part = np.s_[top:bottom, left:right]
        points = self.point_m[part].reshape(-1, 3)
        total = self.ambient[part] + self.lamps[(np.s_[:], *part)].sum(0)

        blocked = np.zeros(total.shape, np.float32)
        for toward, given in zip(light.toward, self.lamps, strict=True):
            in_shadow = people.blocked(points, toward).reshape(total.shape)
            blocked += given[part] * in_shadow

        share = np.ones(self.ambient.shape, np.float32)
        share[part] = 1 - blocked / total
        soft = cv2.GaussianBlur(share, (0, 0), 1.2)
        return cv2.resize(soft, SIZE, interpolation=cv2.INTER_LINEAR)


def _with_person(
    empty,
    floor: Floor,
    room,
    body,
    light,
    camera,
):
    """The empty room with the person and the person's shadow."""
    left, top, right, bottom = bounds(body.mesh.vertices_m, camera.K, SIZE)
    near = (
        max(left - 160, 0),
        max(top - 20, 0),
        min(right + 200, SIZE[0]),
        min(bottom + 60, SIZE[1]),
    )
    if near[2] <= near[0]:
        return empty

    few = replace(light, toward=light.toward[[0, 1, 2, 3, 10, 11, 12, 13, 14]])
    mesh = replace(body.mesh, person=body.mesh.person + 1)
    scene, materials = _scene([room, replace(body, mesh=mesh)])
    window = (left, top, right, bottom)
    drawn = render(scene, materials, few, camera.K, SIZE, window=window, only_people=True)

    share = floor.dimmed(Scene(body.mesh), light, near)
    dimmed = empty * share[..., None]
    alpha = drawn.alpha[..., None]
    return dimmed * (1 - alpha) + drawn.colour


def _to_video(image) -> np.ndarray:
    """Linear RGB to uint8 BGR."""
    brightness = np.clip(image, 0, 1) ** 0.9
    return np.rint(255 * brightness).astype(np.uint8)[:, :, ::-1]


def _truth(
    joints,
    camera,
):
    """Arrays of the truth, NaN in frames without a keypoint in view."""
    observed = list(KEYPOINT_TO_JOINT)
    keypoints = np.stack([camera.project(frame[observed]) for frame in joints])
    inside = (keypoints >= 0) & (keypoints <= np.array(SIZE) - 1)
    unseen = ~inside.all(2).any(1)
    joints[unseen] = np.nan
    keypoints[unseen] = np.nan

    return {
        "joints_m": joints.astype(np.float32),
        "keypoints_px": keypoints.astype(np.float32),
        "fps": np.float64(FPS),
        "K": camera.K,
    }


def write_clip(
    out: Path,
    frames,
    truth,
    camera: Camera,
):
    """Write the three files; clip and truth are complete or not written at all."""
    with replacing(out / "walk_and_sit.mp4", keep_suffix=True) as partial:
        writer = cv2.VideoWriter(str(partial), cv2.VideoWriter_fourcc(*"mp4v"), FPS, SIZE)
        for frame in frames:
            writer.write(np.ascontiguousarray(frame))
        writer.release()

    write_npz(out / "walk_and_sit_truth.npz", truth)
    text = yaml.safe_dump(_calibration(camera), sort_keys=False, default_flow_style=None)
    (out / "walk_and_sit.yaml").write_text(text)


def _calibration(camera: Camera) -> dict:
    def matrix(values):
        rows, columns = np.shape(values)
        data = [float(value) for value in np.ravel(values)]
        return {"rows": rows, "cols": columns, "data": data}

    return {
        "image_width": SIZE[0],
        "image_height": SIZE[1],
        "camera_name": "demo",
        "frame_id": "camera_optical_frame",
        "camera_matrix": matrix(camera.K),
        "distortion_model": "plumb_bob",
        "distortion_coefficients": matrix(np.zeros((1, 5))),
        "rectification_matrix": matrix(np.eye(3)),
        "projection_matrix": matrix(np.hstack([camera.K, np.zeros((3, 1))])),
    }


def contact_sheet(
    frames,
    truth,
) -> np.ndarray:
    """Each eighth frame with the true keypoints, five in a row."""
    tiles = []
    for frame, keypoints in zip(frames[::8], truth["keypoints_px"][::8], strict=True):
        tile = np.ascontiguousarray(frame)
        for x, y in keypoints[np.isfinite(keypoints[:, 0])]:
            centre = (round(float(x)), round(float(y)))
            cv2.circle(tile, centre, 3, (0, 0, 255), -1)
        tiles.append(cv2.resize(tile, (320, 240), interpolation=cv2.INTER_AREA))

    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 5)
    return in_rows(tiles, 5)


if __name__ == "__main__":
    main()
