# SPDX-License-Identifier: Apache-2.0
"""Synthetic people: the CC0 body in motion-capture poses, dressed and rendered before photographs, with exact labels.

Needs the folder of the body, a motion-capture file (`positions`, `clip_id`, `subject_id`, `subjects`) and the package
`embreex`.
"""

import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lifting_ros.core.skeleton import JOINT_FLIP, KEYPOINT_TO_JOINT
from lifting_ros.data.body import load_body, sample_traits
from lifting_ros.data.body_pose import Manner, pose_body
from lifting_ros.data.body_wear import dress
from lifting_ros.data.render import Scene, render
from lifting_ros.data.render_textures import background, occluder
from lifting_ros.data.synthetic_scene import (
    Camera,
    add_noise,
    assemble,
    floor_shadow,
    join,
    sample_camera,
    sample_light,
    sight,
    spread_out,
    to_camera,
)

HELD_OUT_SUBJECTS = ("cmu02", "cmu07", "cmu16", "cmu94")
WARDROBE = 60  # bodies with clothes that are made before old ones are worn again


@dataclass(frozen=True)
class SyntheticPerson:
    """The labels of one person."""

    keypoints_px: np.ndarray
    """(14, 2) x, y in px, also where hidden or outside."""
    visible: np.ndarray
    """(14,) True inside the image and hidden by nothing, the own body included."""
    labelled: np.ndarray
    """(14,) True inside the image and hidden by nothing but the own body: what people label in photographs."""
    box_px: np.ndarray
    """(4,) x0, y0, x1, y1 of the body inside the image."""
    joints_camera_m: np.ndarray
    """(17, 3) in the camera's optical frame."""


@dataclass(frozen=True)
class SyntheticSample:
    """One picture and who is in it."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    people: tuple
    """SyntheticPerson, the main one first; may be empty."""
    K: np.ndarray
    """(3, 3)"""


class SyntheticPeople:
    """An endless, repeatable source of pictures: sample(i) depends on the seed and i alone."""

    def __init__(self, body_dir, mocap_npz, backgrounds=None, seed: int = 0, size=(256, 256)):
        """body_dir: folder of the body. mocap_npz: motion capture, metres, y up. backgrounds: list of photographs
        (H, W, 3) uint8 RGB without people, or None for painted ones. size: (W, H) px."""
        self.model = load_body(body_dir)
        self.poses, self.clips = load_poses(mocap_npz)
        self.photos = list(backgrounds or [])
        self.seed, self.size = int(seed), tuple(size)

    def __iter__(self):
        index = 0
        while True:
            yield self.sample(index)
            index += 1

    def sample(self, index: int, people: int | None = None) -> SyntheticSample:
        """Picture number `index`; 0 to 4 people unless `people` says how many."""
        rng = np.random.default_rng([self.seed, int(index)])
        count = int(rng.choice(5, p=[0.08, 0.5, 0.24, 0.12, 0.06])) if people is None else people
        posed = [self._person(rng) for _ in range(count)]
        camera = sample_camera(rng, self.size, posed[0].joints_m if posed else None)
        return self._picture(rng, posed, camera)

    def window(self, index: int, side: int, boxes: float) -> SyntheticSample:
        """A square picture around one main person, `boxes` times the longer side of the box of its keypoints."""
        rng = np.random.default_rng([self.seed, int(index), 1])
        posed = [self._person(rng) for _ in range(int(rng.choice([1, 2, 3], p=[0.65, 0.25, 0.1])))]
        camera = sample_camera(rng, (side, side), posed[0].joints_m)
        return self._picture(rng, posed, camera.around(posed[0].joints_m[list(KEYPOINT_TO_JOINT)], side, boxes))

    def _person(self, rng):
        body = int(rng.integers(WARDROBE))
        shape, layers = self._outfit(body)
        pose = self.poses[rng.choice(self.clips[rng.integers(len(self.clips))])].astype(float)
        pose = turned(pose - pose[0] * [1, 0, 1], rng.uniform(0, 2 * np.pi))
        if rng.random() < 0.5:
            pose = (pose * [-1, 1, 1])[list(JOINT_FLIP)]
        manner = Manner(rng.normal(0, 0.3), rng.normal(0, 0.12), tuple(rng.normal(0, 0.5, 2)), rng.uniform(0, 0.9))
        posed = pose_body(self.model, shape, pose, manner)
        return assemble(posed, shape, layers)

    def _outfit(self, number):
        """A body with clothes: made anew from the seed and its number, kept for the next pictures."""
        cache = self.model.cache
        key = ("outfit", self.seed, number)
        if key not in cache:
            rng = np.random.default_rng([self.seed, number, 2])
            shape = self.model.shape(sample_traits(rng))
            cache[key] = shape, dress(self.model, shape, rng, self.photos)
        return cache[key]

    def _picture(self, rng, posed, camera: Camera) -> SyntheticSample:
        width, height = camera.size
        image = background(rng, camera.size, self.photos)
        things = [occluder(rng, camera.size, self.photos) for _ in range(rng.choice(3, p=[0.6, 0.3, 0.1]))]
        bodies = [to_camera(body, camera) for body in spread_out(rng, posed, camera)]
        light = sample_light(rng, camera, image.mean((0, 1)))
        people, hidden = (), np.zeros((height, width), bool)
        if bodies:
            scene, materials = self._scene(bodies)
            image = floor_shadow(rng, image, scene, light, camera)
            picture = render(scene, materials, light, camera.K, camera.size)
            image = image * (1 - picture.alpha[..., None]) + picture.colour
        for mask, texture in things:
            image[mask], hidden[mask] = texture[mask], True
        if bodies:
            people = tuple(self._label(scene, body, k, camera, hidden) for k, body in enumerate(bodies))
        return SyntheticSample(add_noise(rng, image), people, camera.K)

    @staticmethod
    def _scene(bodies):
        mesh, materials = join(bodies)
        return Scene(mesh), materials

    @staticmethod
    def _label(scene, body, number, camera, hidden) -> SyntheticPerson:
        joints = body.joints_m[list(KEYPOINT_TO_JOINT)]
        keypoints = camera.project(joints)
        width, height = camera.size
        inside = np.all((keypoints >= -0.5) & (keypoints < [width - 0.5, height - 0.5]), axis=1) & (joints[:, 2] > 0.1)
        column, row = np.rint(np.where(inside[:, None], keypoints, 0)).astype(int).T
        inside &= ~hidden[np.minimum(row, height - 1), np.minimum(column, width - 1)]
        clear, own = sight(scene, joints, number)
        skin = camera.project(body.mesh.vertices_m[body.mesh.vertices_m[:, 2] > 0.1])
        box = np.concatenate([np.clip(skin.min(0), 0, camera.size), np.clip(skin.max(0), 0, camera.size)])
        return SyntheticPerson(keypoints, inside & clear, inside & (clear | own), box, body.joints_m)


def load_poses(mocap_npz, held_out=HELD_OUT_SUBJECTS):
    """Poses (N, 17, 3) in metres, y up, and a list of the pose numbers of every clip, without the held-out subjects."""
    with np.load(mocap_npz, allow_pickle=False) as data:
        subject = data["subjects"][data["subject_id"]]
        keep = ~np.isin(subject, held_out)
        poses, clip = data["positions"][keep], data["clip_id"][keep]
    return poses, [np.flatnonzero(clip == number) for number in np.unique(clip)]


def turned(pose, angle: float) -> np.ndarray:
    """The pose (J, 3) turned by `angle` radians about the vertical axis y."""
    c, s = np.cos(angle), np.sin(angle)
    return pose @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])


def read_photos(tar_path) -> list:
    """All pictures of a tar file as (H, W, 3) uint8 RGB, by name."""
    import cv2

    photos = []
    with tarfile.open(tar_path) as archive:
        for member in sorted(archive.getmembers(), key=lambda m: m.name):
            data = np.frombuffer(archive.extractfile(member).read(), np.uint8)
            photos.append(cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1])
    return photos


def write_pack(out_dir, n: int, size: int, seed: int, body_dir, mocap_npz, backgrounds=None,
               boxes: float = 1.886) -> Path:
    """Writes `images.npy` (n, size, size, 3) uint8 RGB and `labels.npz` of one main person a picture into out_dir.

    labels: keypoints (n, 14, 3) x, y in px and 1 where labelled (0, 0, 0 elsewhere); self_occluded (n, 14); box (n, 4)
    x0, y0, x1, y1; joints_camera_m (n, 17, 3); K (n, 3, 3); validation (n,), all False. The picture is a square around
    the person, `boxes` times the longer side of the keypoints' box. `labels.npz` comes last: a folder with it is whole.
    """
    from tqdm import tqdm

    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    source = SyntheticPeople(body_dir, mocap_npz, backgrounds, seed)
    images = np.lib.format.open_memmap(out / "images.part.npy", mode="w+", dtype=np.uint8, shape=(n, size, size, 3))
    labels = {"keypoints": [], "self_occluded": [], "box": [], "joints_camera_m": [], "K": []}
    for index in tqdm(range(n), desc="rendering", unit="picture"):
        sample = _main_person(source, index, n, size, boxes)
        person, images[index] = sample.people[0], sample.image
        labels["keypoints"].append(np.column_stack([person.keypoints_px, person.labelled]) * person.labelled[:, None])
        labels["self_occluded"].append(person.labelled & ~person.visible)
        labels["box"].append(person.box_px)
        labels["joints_camera_m"].append(person.joints_camera_m)
        labels["K"].append(sample.K)
    images.flush()
    os.replace(out / "images.part.npy", out / "images.npy")
    arrays = {name: np.array(rows, bool if name == "self_occluded" else np.float32) for name, rows in labels.items()}
    np.savez_compressed(out / "labels.part.npz", validation=np.zeros(n, bool), **arrays)
    os.replace(out / "labels.part.npz", out / "labels.npz")
    return out


def _main_person(source, index, n, size, boxes):
    """The first try of picture `index` in which the main person shows at least six joints."""
    for attempt in range(20):
        sample = source.window(index + attempt * n, size, boxes)
        if sample.people[0].labelled.sum() >= 6:
            return sample
    raise RuntimeError(f"picture {index}: no try showed six joints of the main person")
