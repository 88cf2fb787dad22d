# SPDX-License-Identifier: Apache-2.0
"""Synthetic people: the CC0 body in motion-capture poses, dressed and rendered in front of
photographs, with exact labels.

Requires the folder of the body, a motion-capture file (`positions`, `clip_id`, `subject_id`,
`subjects`) and the package `embreex`.
"""

from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.research.datasets.mocap import Mocap, read_mocap
from lifting_ros.research.datasets.posed_people import generate_people
from lifting_ros.research.rendering.body import load_body, sample_traits
from lifting_ros.research.rendering.body_pose import Manner, pose_body
from lifting_ros.research.rendering.body_wear import dress
from lifting_ros.research.rendering.render_errors import RenderError
from lifting_ros.research.rendering.render_textures import fabric
from lifting_ros.research.rendering.synthetic_crowd import crowd_heights, floor_camera, place
from lifting_ros.research.rendering.synthetic_dress import Figure, Outfit
from lifting_ros.research.rendering.synthetic_pack import (
    crowd_labels,
    render_pictures,
    save_labels,
    window_labels,
)
from lifting_ros.research.rendering.synthetic_picture import SyntheticSample, compose
from lifting_ros.research.rendering.synthetic_room import room_picture
from lifting_ros.research.rendering.synthetic_scene import sample_camera, spread_out
from lifting_ros.research.rendering.synthetic_things import hung_clothes, sample_thing, turned_body
from lifting_ros.skeleton import JOINT_FLIP, KEYPOINT_TO_JOINT

WARDROBE = 100
"""Number of dressed bodies; they are used again with other fabrics."""
ROOMS = 0.3
"""Share of whole pictures that show a rendered room."""
GENERATED = 4000
"""Number of generated poses of one source."""
HELD_OUT = 7
"""Last number of the seeds of pictures of held-out subjects."""

_CROWD_THINGS = (0.3, 0.25, 0.2, 0.15, 0.1)
"""Probability of each number of things in a crowd, from 0."""

_ROOM_THINGS = (0.12, 0.16, 0.16, 0.16, 0.12, 0.12, 0.08, 0.08)
"""Probability of each number of things in a picture without people, from 0."""

_LEAST_LABELLED = 6
"""Fewest labelled keypoints of a main person."""


class SyntheticPeople:
    """An endless, repeatable source of pictures: window(i), crowd(i) and empty(i) depend only on
    the seed, the subjects and i."""

    def __init__(  # noqa: PLR0913 - sources of pictures, most with defaults
        self,
        body_dir,
        mocap_npz,
        backgrounds=None,
        seed: int = 0,
        size=(256, 256),
        subjects: str = "training",
        posed: float = 0.0,
    ):
        """body_dir: folder of the body. mocap_npz: motion capture, metres, y up. backgrounds:
        photographs (H, W, 3) uint8 RGB without people; None for painted ones. size: (W, H) px.
        subjects: whose poses, see `load_poses`. posed: share of people in generated poses
        (`posed_people`), which borrow from these subjects."""
        self.model = _body_of(str(body_dir))
        self.poses, self.clips = load_poses(mocap_npz, subjects)
        self.posed = posed
        self.generated = generate_poses(mocap_npz, subjects, seed) if posed > 0 else None
        self.photos = list(backgrounds or [])
        self.seed = int(seed)
        self.size = tuple(size)
        self._outfits = {}

        # Held-out subjects have clothes, cameras and scenes of their own
        training = subjects == "training"
        self.wardrobe = 2 if training else 5
        self.apart = () if training else (HELD_OUT,)

    def window(
        self,
        index: int,
        side: int,
        boxes: float,
    ) -> SyntheticSample:
        """A square picture around one main person, `boxes` times as large as the longer side of the
        box of its keypoints; side: px."""
        rng = self._stream(index, 1)
        count = int(rng.choice([1, 2, 3], p=[0.65, 0.25, 0.1]))
        posed = [self._person(rng) for _ in range(count)]

        joints_m = posed[0].joints_m
        camera = sample_camera(rng, (side, side), joints_m)
        camera = camera.around(joints_m[list(KEYPOINT_TO_JOINT)], side, boxes)

        people = spread_out(rng, posed, camera)
        return compose(rng, people, [], camera, self.photos)

    def crowd(self, index: int) -> SyntheticSample:
        """A whole picture of up to 12 people among things; people are at least an eighth of the
        picture tall."""
        rng = self._stream(index, 3)
        camera = floor_camera(rng, self.size)
        heights = crowd_heights(rng, int(rng.integers(2, 13)), self.size[1])

        taken = []
        people = []
        for height_px in heights:
            person = place(rng, self._person(rng), camera, height_px, taken)
            if person is not None:
                people.append(person)

        things = self._things(rng, camera, _CROWD_THINGS, taken)
        backdrop = self._backdrop(rng, camera, taken)
        return compose(
            rng,
            people,
            things,
            camera,
            self.photos,
            backdrop,
        )

    def empty(self, index: int) -> SyntheticSample:
        """A whole picture without people: a photograph, a painted background or a rendered room, in
        most cases with rendered things."""
        rng = self._stream(index, 4)
        camera = floor_camera(rng, self.size)
        taken = []
        things = self._things(rng, camera, _ROOM_THINGS, taken)
        backdrop = self._backdrop(rng, camera, taken)
        return compose(
            rng,
            [],
            things,
            camera,
            self.photos,
            backdrop,
        )

    def _backdrop(self, rng, camera, taken):
        """A rendered room, or None for any other background."""
        if rng.random() < ROOMS:
            return room_picture(rng, camera, taken, self.photos)
        return None

    def _stream(self, index: int, kind: int) -> np.random.Generator:
        """The random numbers of picture `index` of a kind."""
        seed = [self.seed, int(index), kind, *self.apart]
        return np.random.default_rng(seed)

    def _things(self, rng, camera, odds, taken):
        """Things at free places; odds: probability of each number of things."""
        count = int(rng.choice(len(odds), p=odds))
        things = []
        for _ in range(count):
            log_share = rng.uniform(np.log(0.1), np.log(1.0))
            height_px = self.size[1] * np.exp(log_share)
            thing = self._thing(rng)
            thing = place(rng, thing, camera, height_px, taken)
            if thing is not None:
                things.append(thing)

        return things

    def _thing(self, rng):
        if rng.random() > 0.25:
            return sample_thing(rng, self.photos)

        clothes = hung_clothes(rng, self._any_outfit(rng))
        angle = rng.uniform(0, 2 * np.pi)
        return turned_body(clothes, angle)

    def _person(self, rng):
        """A person in a random outfit, pose and heading, above the origin."""
        outfit = self._any_outfit(rng)
        pose = self._pose(rng)
        pose = turned(pose - pose[0] * [1, 0, 1], rng.uniform(0, 2 * np.pi))
        if rng.random() < 0.5:
            pose = (pose * [-1, 1, 1])[list(JOINT_FLIP)]

        manner = Manner(
            head_yaw=rng.normal(0, 0.3),
            head_pitch=rng.normal(0, 0.12),
            hand_roll=tuple(rng.normal(0, 0.5, 2)),
            finger_curl=rng.uniform(0, 0.9),
        )

        # The same clothes of other fabrics
        materials = []
        for layer in outfit.layers:
            materials.append(fabric(rng, self.photos) if layer.garment else layer.material)

        posed = pose_body(self.model, outfit.shape, pose, manner)
        return Figure(outfit, posed, tuple(materials))

    def _pose(self, rng):
        """A pose (17, 3): generated, or a frame of a clip; all clips are equally likely."""
        if self.generated is not None and rng.random() < self.posed:
            number = rng.integers(len(self.generated))
            return self.generated[number].astype(float)

        clip = self.clips[rng.integers(len(self.clips))]
        frame = rng.choice(clip)
        return self.poses[frame].astype(float)

    def _any_outfit(self, rng) -> Outfit:
        return self._outfit(int(rng.integers(WARDROBE)))

    def _outfit(self, number: int) -> Outfit:
        """A dressed body, which depends on the seed and its number alone; cached."""
        if number not in self._outfits:
            rng = np.random.default_rng([self.seed, number, self.wardrobe])
            traits = sample_traits(rng)
            shape = self.model.shape(traits)
            layers = dress(self.model, shape, rng, self.photos)
            outfit = Outfit(self.model, shape, tuple(layers))
            self._outfits[number] = outfit

        return self._outfits[number]


@lru_cache(maxsize=1)
def _body_of(folder: str):
    return load_body(folder)


def load_poses(mocap_npz, subjects: str = "training"):
    """Poses (N, 17, 3) in metres, y up, and a list with the pose numbers of each clip.

    subjects: "validation" for the held-out subjects alone, "training" for all others. ValueError
    for another word; DataError as `read_mocap` raises it, or if there are no such poses.
    """
    chosen = _mocap_of(mocap_npz, subjects)
    numbers = np.unique(chosen.clip_id)
    clips = [np.flatnonzero(chosen.clip_id == number) for number in numbers]
    return chosen.positions_m, clips


def generate_poses(
    mocap_npz,
    subjects: str,
    seed: int,
) -> np.ndarray:
    """Generated poses (GENERATED, 17, 3) in metres, y up, on bodies of these subjects; errors as
    `load_poses`."""
    chosen = _mocap_of(mocap_npz, subjects)
    return generate_people(chosen, GENERATED, seed).positions_m


def _mocap_of(mocap_npz, subjects: str) -> Mocap:
    if subjects not in ("training", "validation"):
        raise ValueError(f'subjects: expected "training" or "validation", got {subjects!r}')

    mocap = read_mocap(mocap_npz)
    rows = mocap.validation_rows()
    if subjects == "training":
        rows = ~rows

    chosen = mocap.select(rows)
    if not len(chosen.positions_m):
        raise DataError(f"{mocap_npz}: expected poses of the {subjects} subjects, found none")
    return chosen


def turned(pose, angle: float) -> np.ndarray:
    """The pose (J, 3) turned by `angle` radians about the vertical axis y."""
    c = np.cos(angle)
    s = np.sin(angle)
    return pose @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])


def write_pack(  # noqa: PLR0913 - the description of a pack, most with defaults
    out_dir,
    n: int,
    size: int,
    seed: int,
    body_dir,
    mocap_npz,
    backgrounds=None,
    boxes: float = 1.886,
    subjects: str = "training",
    workers: int | None = None,
    posed: float = 0.0,
) -> Path:
    """Write `images.npy` (n, size, size, 3) uint8 RGB and `labels.npz` of one main person per
    picture into out_dir; returns its path.

    A picture is a square around the person, `boxes` times as large as the longer side of the box of
    the keypoints. The labels are keypoints (n, 14, 3) x, y in px and 1 where labelled (0, 0, 0
    elsewhere); self_occluded (n, 14); box (n, 4) x0, y0, x1, y1; joints_camera_m (n, 17, 3); K (n,
    3, 3); up (n, 3) in the camera's frame; validation (n,), True for the held-out subjects.

    posed: as for `SyntheticPeople`. The pictures do not depend on the number of `workers` (see
    `render_pictures`). `labels.npz` is written last: a folder with it is complete.
    """
    square = (size, size)
    make = partial(
        SyntheticPeople,
        body_dir,
        mocap_npz,
        backgrounds,
        seed,
        square,
        subjects,
        posed,
    )
    pick = partial(_main_person, n=n, size=size, boxes=boxes)
    samples = render_pictures(
        out_dir,
        make,
        pick,
        n,
        square,
        workers,
    )
    save_labels(out_dir, window_labels(samples, subjects == "validation"))

    return Path(out_dir)


def write_scenes(  # noqa: PLR0913 - the description of a pack, most with defaults
    out_dir,
    n: int,
    size,
    seed: int,
    body_dir,
    mocap_npz,
    backgrounds=None,
    people: bool = True,
    subjects: str = "training",
    workers: int | None = None,
    posed: float = 0.0,
) -> Path:
    """Write `images.npy` (n, H, W, 3) uint8 RGB and `labels.npz` of crowds, or of rooms without
    people, into out_dir; returns its path. size (W, H) px.

    The labels of the P people of all pictures are picture (P,), the number of the picture;
    keypoints (P, 14, 3) x, y in px, also where hidden or outside, and 1 where labelled;
    self_occluded (P, 14); box (P, 4); seen (P,), see SyntheticPerson; joints_camera_m (P, 17, 3).
    Those of the pictures are K (n, 3, 3), up (n, 3) and validation (n,). Otherwise as `write_pack`.
    """
    size = tuple(size)
    make = partial(
        SyntheticPeople,
        body_dir,
        mocap_npz,
        backgrounds,
        seed,
        size,
        subjects,
        posed,
    )
    pick = SyntheticPeople.crowd if people else SyntheticPeople.empty
    samples = render_pictures(
        out_dir,
        make,
        pick,
        n,
        size,
        workers,
    )
    save_labels(out_dir, crowd_labels(samples, subjects == "validation"))

    return Path(out_dir)


def _main_person(source, index, n, size, boxes):
    """The first attempt at picture `index` whose main person has enough labelled keypoints.

    RenderError after 20 attempts.
    """
    for attempt in range(20):
        sample = source.window(index + attempt * n, size, boxes)
        if sample.people[0].labelled.sum() >= _LEAST_LABELLED:
            return sample

    raise RenderError(f"picture {index}: no try showed six joints of the main person")
