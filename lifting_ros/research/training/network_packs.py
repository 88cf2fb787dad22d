# SPDX-License-Identifier: Apache-2.0
"""The pictures that a network of keypoints is trained on, rendered and packed where that has not
been done."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from lifting_ros.detection.detector import DetectorConfig
from lifting_ros.detection.multipose_detector import load_detector
from lifting_ros.estimator import WEIGHTS
from lifting_ros.io.checkpoint import sha256_of
from lifting_ros.research.datasets import false_alarms, keypoints2d
from lifting_ros.research.datasets.made_once import make_once
from lifting_ros.research.datasets.mocap import find_mocap
from lifting_ros.research.datasets.negatives import read_negatives
from lifting_ros.research.datasets.pack import Pack, open_packs, read_pack
from lifting_ros.research.datasets.scene_parts import Cutout, read_cutouts
from lifting_ros.research.datasets.splits import rows_of
from lifting_ros.research.rendering import synthetic
from lifting_ros.research.rendering.synthetic_pack import VERSION
from lifting_ros.research.training.train_network import TrainConfig


def open_training_packs(
    config: TrainConfig,
    data: Path,
    work: Path,
    people: Path | None = None,
) -> list[Pack]:
    """Packs of the photographs in `data`, of rendered people, and of the detector's false alarms.

    Packs are kept in `work`, named by all that they depend on. Those that are only read come first,
    so that a damaged file is reported before anything is rendered.

    people: a folder of rendered people, in place of those that would be made here.
    """
    side_px = config.window_px
    seed = config.seed
    packs = open_packs(data, work / f"packs{side_px}", side_px)
    weights = WEIGHTS / "detector.safetensors"
    detector = load_detector(
        weights,
        DetectorConfig(score=false_alarms.SCORE, long_side_px=false_alarms.LONG_SIDE_PX),
    )

    # People.
    if people is None and config.rendered:
        people = work / f"synthetic{config.rendered}_{side_px}px_seed{seed}"
        write_people = partial(synthetic.write_pack, n=config.rendered, size=side_px, seed=seed)
        render_once(people, write_people, data)
    if people is not None:
        packs.append(read_pack(people)._replace(name="synthetic"))

    # Rooms without people.
    rooms = None
    if config.rooms:
        rooms = work / f"rooms{config.rooms}_seed{seed}"
        size = false_alarms.SIZE
        write_rooms = partial(
            synthetic.write_scenes, n=config.rooms, size=size, seed=seed, people=False
        )
        render_once(rooms, write_rooms, data)

    # What the detector takes for people.
    name = f"alarms_rooms{config.rooms}_seed{seed}_{sha256_of(weights)[:8]}"
    alarms = work / f"packs{side_px}" / name
    packs.append(false_alarms.open_false_alarms(alarms, detector, data, rooms, side_px))
    return packs


def render_once(
    folder: Path,
    write: Callable[..., None],
    data: Path,
) -> None:
    """Make the rendered pictures in `folder` with `write`, where they are not there yet."""

    def make(out: Path) -> None:
        backgrounds = read_negatives(data / "negatives", "training")
        write(out, body_dir=data / "body", mocap_npz=find_mocap(data), backgrounds=backgrounds)

    make_once(folder, VERSION, make)


def read_training_cutouts(data: Path) -> list[Cutout]:
    """The persons of the training photographs of `street` who have a mask, cut out; none where the
    set is not there."""
    folder = data / "keypoints2d" / "street"
    if not (folder / "masks.tar").is_file():
        return []
    street = keypoints2d.read_photo_set(folder.parent, folder.name)
    return read_cutouts(folder, street, rows_of(street.validation, "train"))
