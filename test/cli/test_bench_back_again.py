# SPDX-License-Identifier: Apache-2.0
"""bench/back_again.py on a video that the test makes, with people whom the test places."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from walkers import lift, straight, walk

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import back_again as bench

from lifting_ros.skeleton import KEYPOINT_NAMES

FPS = 15.0
_TORSO = [KEYPOINT_NAMES.index(f"{side}_shoulder") for side in ("right", "left")]
_TORSO += [KEYPOINT_NAMES.index(f"{side}_hip") for side in ("right", "left")]


def film(path: Path, colour, x: float) -> list[bench.Seen]:
    """A video of somebody in clothes of a colour, and what was seen in it."""
    joints = walk(straight((x, 5.0), (x, 4.0), 2.0, FPS), FPS)
    persons = lift(joints, np.random.default_rng(0))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), FPS, (1280, 720))
    seen = []
    for number, person in enumerate(persons):
        image = np.full((720, 1280, 3), 190, np.uint8)
        torso = person.skeleton_2d.keypoints_px[_TORSO]
        (left, top), (right, bottom) = (
            (torso.min(0) - 8).astype(int),
            (torso.max(0) + 8).astype(int),
        )
        image[top:bottom, left:right] = colour[::-1]
        writer.write(image)
        seen.append(bench.Seen(round(number * 1e9 / FPS), (person,), [1]))
    writer.release()
    return seen


def test_bright_clothes_keep_their_id_and_black_ones_do_not(tmp_path):
    colours = {"red": (190, 40, 35), "black": (20, 20, 22), "blue": (40, 70, 180)}
    videos = [tmp_path / f"{name}.mp4" for name in colours]
    watched = [film(video, colour, 0.2) for video, colour in zip(videos, colours.values())]
    table = bench.play_twice(videos, watched, (1, 1, 1))
    kept = {"people": 1, "kept": 1, "new": 0, "wrong": 0}
    new = {"people": 1, "kept": 0, "new": 1, "wrong": 0}
    assert table == {"red": kept, "black": new, "blue": kept}
    assert bench.play_twice(videos, watched, (0.3, 1, 1))["red"] == new


@pytest.mark.parametrize(("second", "wrong"), [((190, 40, 35), 1), ((40, 70, 180), 0)])
def test_strangers_in_the_same_colours_are_counted(tmp_path, second, wrong):
    videos = [tmp_path / "first.mp4", tmp_path / "second.mp4"]
    watched = [film(videos[0], (190, 40, 35), 0.2), film(videos[1], second, -0.5)]
    table = bench.play_twice(videos, watched, (1, 1, 1))
    assert (table["second"]["wrong"] > 0) == wrong
