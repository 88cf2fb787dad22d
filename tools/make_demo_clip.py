# SPDX-License-Identifier: Apache-2.0
"""Renders the bundled demo clip: somebody walks into a room, sits down on a stool, gets up and
leaves.

python tools/make_demo_clip.py --body BODY_FOLDER --mocap MOCAP.npz [--out lifting_ros/demo]
[--sheet SHEET.png] Writes walk_and_sit.mp4 (640 x 480, 15 fps), walk_and_sit.yaml (camera
calibration) and walk_and_sit_truth.npz.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import yaml
from tqdm import tqdm

from lifting_ros.io.atomic import replacing
from lifting_ros.research.rendering import synthetic_motion as motion
from lifting_ros.research.rendering.body import Traits, load_body, three_way
from lifting_ros.research.rendering.body_pose import pose_body, unit
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

SIZE = (640, 480)
FPS = 15.0
FOCAL = 545.0
EMPTY_FRAMES = 22
HALF_VIEW_M = 2.75  # nobody farther from the middle can be seen
SIT_ANGLE = np.radians(24.0)  # sits three quarters towards the camera
SEAT_CLEARANCE_M = 0.085  # from the hip joints down to the seat
STOP_AT = np.array([0.05, 0.0, 0.35])
CLOTHES = (
    (0.012, (0.70, 0.22, 0.16), 0.2),
    (0.009, (0.15, 0.23, 0.42), 0.25),
    (0.006, (0.10, 0.07, 0.05), 0.0),
)
# clip and how many of its frames may be used
WALK_IN = ("cmu_35_02", 33)
WALK_OUT = ("cmu_35_29", 42)


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


def make_clip(body_folder, mocap, outfit: int):
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
    layers = dress(model, shape, np.random.default_rng(outfit))
    layers[:3] = [
        replace(layer, offset_m=away, material=Material(_plain(colour), bump=bump))
        for layer, (away, colour, bump) in zip(layers, CLOTHES, strict=False)
    ]
    clothed = Outfit(model, shape, tuple(layers))
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

        body = clothed.body(pose_body(model, shape, pose).moved(camera.R, camera.t))
        frames.append(_with_person(empty, floor, room, body, light, camera))
        joints.append(body.joints_m)

    return [_to_video(frame) for frame in frames], _truth(np.array(joints), camera), camera


def story(mocap, build):
    """The poses, frame by frame (None: nobody there), and the stool's centre and height, (3,)
    metres."""
    walk_in, walk_out = (_walk(mocap, build, *clip) for clip in (WALK_IN, WALK_OUT))
    upper = motion.upper_body(walk_in)
    speed = (walk_in[-1][0] - walk_in[-4][0]) * FPS / 3 * [1, 0, 1]
    stop, centre = motion.halt(build, upper, walk_in[-1], speed, 9, FPS)
    shift = STOP_AT - centre
    walk_in = walk_in + shift
    stop = [p + shift for p in stop]
    centre = STOP_AT
    angle = motion.heading(stop[-1])
    seat = 0.46 + SEAT_CLEARANCE_M
    turned_in = motion.turn_round(build, upper, centre, angle, SIT_ANGLE, 11)
    down = motion.sit_down(build, upper, centre, SIT_ANGLE, seat, 17)
    speed = (walk_out[3][0] - walk_out[0][0]) * FPS / 3 * [1, 0, 1]
    start, start_centre = motion.set_off(build, upper, walk_out[0], speed, 9, FPS)
    away = centre - start_centre
    turned_out = motion.turn_round(build, upper, centre, SIT_ANGLE, motion.heading(start[0]), 10)
    poses = [
        *walk_in,
        *stop,
        *turned_in,
        *down,
        *[down[-1]] * 15,
        *down[-2::-1],
        *turned_out,
        *[p + away for p in start],
        *[p + away for p in walk_out],
    ]
    poses = [p if abs(p[0][0]) < HALF_VIEW_M else None for p in poses]
    stool = np.array([*down[-1][0][[0]], 0.46, down[-1][0][2]]) - motion.facing(SIT_ANGLE) @ [
        0,
        0,
        0.02,
    ]
    present = [k for k, p in enumerate(poses) if p is not None]

    return [None] * EMPTY_FRAMES + poses[present[0] : present[-1] + 1] + [None] * 6, stool


def _walk(mocap, build, clip: str, count: int):
    """A recorded walk on the body's legs at the clip's rate, along +x."""
    with np.load(mocap, allow_pickle=False) as data:
        number = list(data["clips"]).index(clip)
        poses = data["positions"][data["clip_id"] == number][:count].astype(float)

    way = poses[-1, 0] - poses[0, 0]
    poses = turned(poses, np.arctan2(way[2], way[0]))
    leg = motion.leg_length(poses)

    return np.array(
        [motion.carry_over(pose, build, leg) for pose in motion.resample(poses, 10.0, FPS)]
    )


def room_camera() -> Camera:
    """1.4 m high, a little downwards."""
    R, t = look_at(np.array([0.0, 1.4, 3.9]), np.array([0.0, 0.92, 0.0]))
    K = np.array([[FOCAL, 0, (SIZE[0] - 1) / 2], [0, FOCAL, (SIZE[1] - 1) / 2], [0, 0, 1.0]])
    return Camera(K, R, t, SIZE)


def room_light(camera: Camera) -> Light:
    """A wide ceiling lamp to the left and light from everywhere above; many lamps make the shadows
    soft."""
    rng = np.random.default_rng(5)
    key = unit([-0.35, 1.0, 0.55]) + 0.16 * rng.normal(size=(10, 3))
    around = rng.normal(size=(14, 3)) * [1, 0.6, 1]
    around[:, 1] = np.abs(around[:, 1]) + 0.25
    toward = np.concatenate([unit(key), unit(around)]) @ camera.R.T
    lamp = np.array([1.62, 1.56, 1.46])
    sky = np.full(3, 0.30)
    ground = np.array([0.30, 0.27, 0.24])

    return Light(toward, camera.R @ [0, 1.0, 0], lamp, sky, ground)


def make_room(stool) -> Body:
    """Floor of boards, painted wall with a skirting board, a picture and a door, and a stool at
    `stool`."""
    x, h, z = stool
    boxes = [
        ((-7, -0.1, -1.7), (7, 0, 5), _boards),
        ((-7, 0, -1.8), (7, 4, -1.7), _wall),
        ((-7, 0, -1.7), (7, 0.09, -1.68), _plain((0.82, 0.8, 0.76))),
        ((-0.15, 1.35, -1.7), (0.65, 1.95, -1.67), _picture),
        ((1.35, 0, -1.7), (2.25, 2.05, -1.66), _plain((0.62, 0.45, 0.30))),
        ((x - 0.2, h - 0.045, z - 0.2), (x + 0.2, h, z + 0.2), _plain((0.55, 0.33, 0.17))),
    ]
    boxes += [
        (
            (x + a - 0.02, 0, z + b - 0.02),
            (x + a + 0.02, h - 0.045, z + b + 0.02),
            _plain((0.45, 0.27, 0.14)),
        )
        for a in (-0.165, 0.165)
        for b in (-0.165, 0.165)
    ]
    parts = [_box(np.array(low, float), np.array(high, float)) for low, high, _ in boxes]
    vertices, normals = (np.concatenate([part[k] for part in parts]) for k in range(2))
    faces = np.concatenate([part[2] + 24 * k for k, part in enumerate(parts)])
    material = np.repeat(np.arange(len(boxes)), 12)
    mesh = Mesh(vertices, normals, vertices, faces, material, np.full(len(faces), -1))

    return Body(mesh, tuple(Material(colour) for *_, colour in boxes), np.zeros((17, 3)))


def _box(low, high):
    vertices = []
    normals = []
    faces = []

    for axis in range(3):
        for side in (0, 1):
            corner = np.array([[low, high][side]] * 4)
            others = [k for k in range(3) if k != axis]
            for row, (a, b) in enumerate(((0, 0), (1, 0), (1, 1), (0, 1))):
                corner[row, others] = [(low, high)[a][others[0]], (low, high)[b][others[1]]]

            start = len(vertices) * 4
            vertices.append(corner)
            normals.append(np.tile(np.eye(3)[axis] * (2 * side - 1), (4, 1)))
            faces.append(np.array([[0, 1, 2], [0, 2, 3]]) + start)

    vertices, normals = (np.concatenate(rows).astype(np.float32) for rows in (vertices, normals))

    return vertices, normals, np.concatenate(faces)


def _plain(colour):
    return lambda rest: np.float32(colour) * (0.95 + 0.1 * waves(rest, 30.0))


def _boards(rest):
    row = np.floor(rest[:, 2] / 0.14)
    along = rest[:, 0] + 0.7 * np.sin(37.0 * row)
    tone = 0.85 + 0.25 * np.mod(np.sin(12.9 * row + 78.2 * np.floor(along / 1.1)) * 43758.5, 1)
    gap = (np.mod(rest[:, 2], 0.14) < 0.006) | (np.mod(along, 1.1) < 0.006)
    grain = 0.92 + 0.16 * waves(rest * [3.0, 1, 40.0], 4.0)[:, 0]

    return np.float32([0.62, 0.45, 0.30]) * (tone * grain * np.where(gap, 0.6, 1.0))[
        :, None
    ].astype(np.float32)


def _wall(rest):
    tone = 0.97 + 0.05 * waves(rest, 2.2) + 0.02 * waves(rest, 90.0)
    lower = (rest[:, 1] < 0.95)[:, None]
    return np.where(lower, np.float32([0.55, 0.63, 0.62]), np.float32([0.80, 0.79, 0.73])) * tone


def _picture(rest):
    frame = (np.abs(rest[:, 0] - 0.25) > 0.36) | (np.abs(rest[:, 1] - 1.65) > 0.26)
    hills = rest[:, 1] < 1.62 + 0.08 * np.sin(9 * rest[:, 0]) + 0.03 * np.sin(31 * rest[:, 0])
    inside = np.where(
        hills[:, None], np.float32([0.25, 0.42, 0.25]), np.float32([0.55, 0.72, 0.88])
    )

    return np.where(frame[:, None], np.float32([0.2, 0.14, 0.1]), inside)


def _scene(bodies):
    mesh, materials = join(bodies)
    return Scene(mesh), materials


@dataclass(frozen=True)
class Floor:
    """What the empty room shows at every second pixel, to find how much of its light a person takes
    away."""

    point_m: np.ndarray  # (h, w, 3)
    lamps: np.ndarray  # (L, h, w) light that each lamp gives
    ambient: np.ndarray  # (h, w)

    @classmethod
    def of(cls, scene: Scene, light: Light, camera: Camera) -> "Floor":
        w = SIZE[0] // 2
        h = SIZE[1] // 2
        K = camera.K * [[0.5], [0.5], [1]] - [[0, 0, 0.25], [0, 0, 0.25], [0, 0, 0]]
        hits = scene.first(np.zeros(3), pixel_rays(K, 0, 0, w, h, 1))
        start = hits.point_m + 0.004 * hits.normal
        given = [
            np.maximum(hits.normal @ toward, 0) * ~scene.blocked(start, toward)
            for toward in light.toward
        ]
        sky = 0.5 + 0.5 * hits.normal @ light.up
        ambient = sky * light.sky.mean() + (1 - sky) * light.ground.mean()
        lamps = np.array(given) * light.sun.mean() / len(light.toward)

        return cls(start.reshape(h, w, 3), lamps.reshape(-1, h, w), ambient.reshape(h, w))

    def dimmed(self, people: Scene, light: Light, window) -> np.ndarray:
        """(H, W) share of the empty room's light that is left; sought in the window (left, top,
        right, bottom)."""
        left, top, right, bottom = (edge // 2 for edge in window)
        part = np.s_[top:bottom, left:right]
        points = self.point_m[part].reshape(-1, 3)
        total = self.ambient[part] + self.lamps[(np.s_[:], *part)].sum(0)
        taken = np.zeros(total.shape, np.float32)

        for toward, given in zip(light.toward, self.lamps, strict=True):
            taken += given[part] * people.blocked(points, toward).reshape(total.shape)

        share = np.ones(self.ambient.shape, np.float32)
        share[part] = 1 - taken / total

        return cv2.resize(
            cv2.GaussianBlur(share, (0, 0), 1.2), SIZE, interpolation=cv2.INTER_LINEAR
        )


def _with_person(empty, floor: Floor, room, body, light, camera):
    """The empty room with the person drawn in, and the shadow around."""
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
    scene, materials = _scene(
        [room, replace(body, mesh=replace(body.mesh, person=body.mesh.person + 1))]
    )
    drawn = render(
        scene, materials, few, camera.K, SIZE, window=(left, top, right, bottom), only_people=True
    )
    dimmed = empty * floor.dimmed(Scene(body.mesh), light, near)[..., None]

    return dimmed * (1 - drawn.alpha[..., None]) + drawn.colour


def _to_video(image) -> np.ndarray:
    return np.rint(255 * np.clip(image, 0, 1) ** 0.9).astype(np.uint8)[:, :, ::-1]


def _truth(joints, camera):
    """NaN in the frames that show no keypoint."""
    keypoints = np.stack([camera.project(frame[list(KEYPOINT_TO_JOINT)]) for frame in joints])
    unseen = ~np.any(np.all((keypoints >= 0) & (keypoints <= np.array(SIZE) - 1), axis=2), axis=1)
    joints[unseen] = np.nan
    keypoints[unseen] = np.nan

    return {
        "joints_m": joints.astype(np.float32),
        "keypoints_px": keypoints.astype(np.float32),
        "fps": np.float64(FPS),
        "K": camera.K,
    }


def write_clip(out: Path, frames, truth, camera: Camera):
    """Writes the three files, each beside its place first."""
    with replacing(out / "walk_and_sit.mp4", keep_suffix=True) as partial:
        writer = cv2.VideoWriter(str(partial), cv2.VideoWriter_fourcc(*"mp4v"), FPS, SIZE)
        for frame in frames:
            writer.write(np.ascontiguousarray(frame))
        writer.release()

    with replacing(out / "walk_and_sit_truth.npz", keep_suffix=True) as partial:
        np.savez_compressed(partial, **truth)
    text = yaml.safe_dump(_calibration(camera), sort_keys=False, default_flow_style=None)
    (out / "walk_and_sit.yaml").write_text(text)


def _calibration(camera: Camera) -> dict:
    def matrix(values):
        rows, columns = np.shape(values)
        return {"rows": rows, "cols": columns, "data": [float(v) for v in np.ravel(values)]}

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


def contact_sheet(frames, truth) -> np.ndarray:
    """Every eighth frame with the true keypoints."""
    tiles = []
    for frame, keypoints in list(zip(frames, truth["keypoints_px"], strict=True))[::8]:
        tile = np.ascontiguousarray(frame)
        for x, y in keypoints[np.isfinite(keypoints[:, 0])]:
            cv2.circle(tile, (round(float(x)), round(float(y))), 3, (0, 0, 255), -1)
        tiles.append(cv2.resize(tile, (320, 240), interpolation=cv2.INTER_AREA))

    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 5)

    return np.vstack([np.hstack(tiles[k : k + 5]) for k in range(0, len(tiles), 5)])


if __name__ == "__main__":
    main()
