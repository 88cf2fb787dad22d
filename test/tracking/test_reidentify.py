# SPDX-License-Identifier: Apache-2.0
"""People who come back get the id that they had where colours leave no doubt, and nobody else."""

from dataclasses import replace

import numpy as np
import pytest
from walkers import lift, straight, walk

from lifting_ros.skeleton import KEYPOINT_NAMES
from lifting_ros.tracking import reidentify
from lifting_ros.tracking.torso_colours import COLOURED, distance, torso_colours
from lifting_ros.tracking.tracking import Tracker, TrackerConfig

FPS = 15.0
VISIT = 30
"""Frames for which somebody stays."""
AWAY = 60
"""Frames for which nobody is there: four seconds, longer than the tracker's retention."""

RED = (190, 40, 35)
GREEN = (40, 150, 60)
BLUE = (40, 70, 180)
BLACK = (22, 21, 23)
GREY = (128, 128, 126)
BACKGROUND = (200, 198, 190)
CONFIG = TrackerConfig(reidentify_s=30.0)

_TORSO = [
    KEYPOINT_NAMES.index(f"{side}_{at}") for side in ("right", "left") for at in ("shoulder", "hip")
]


def visit(x: float, seed: int, stature: float = 1.75):
    """VISIT persons, one a frame: somebody who comes towards the camera."""
    path = straight((x, 5.0), (x, 4.0), VISIT / FPS, FPS)
    return lift(walk(path, FPS, stature=stature), np.random.default_rng(seed))


def picture(people, seed: int = 0) -> np.ndarray:
    """An image of persons with the colour of their clothes, under noise."""
    rng = np.random.default_rng(seed)
    image = np.full((720, 1280, 3), BACKGROUND, np.uint8)
    for person, colour in people:
        torso = person.skeleton_2d.keypoints_px[_TORSO]
        left, top = np.floor(torso.min(0) - 4).astype(int)
        right, bottom = np.ceil(torso.max(0) + 4).astype(int)
        cloth = np.array(colour) + rng.normal(0, 4, (bottom - top, right - left, 3))
        image[top:bottom, left:right] = np.clip(cloth, 0, 255)
    return image


def stamp(frame: int) -> int:
    return round((frame + 1) * 1e9 / FPS)


def ids_of(visits, config=CONFIG, blind: bool = False) -> list[list[list[int]]]:
    """Ids in each frame of each visit. visits: lists of (persons, colour) who are there together;
    between two visits everybody is away. blind: without images."""
    tracker = Tracker(config, warm=False)
    done = []
    number = 0
    nobody = picture([])
    for together in visits:
        for k in range(VISIT):
            people = [(persons[k], colour) for persons, colour in together]
            image = None if blind else picture(people, number)
            done += tracker.update(stamp(number), [person for person, _ in people], image)
            number += 1
        for _ in range(AWAY):
            done += tracker.update(stamp(number), [], nobody)
            number += 1

    done += tracker.flush()
    frames = [[person.id for person in frame.persons] for frame in done]
    return [frames[k * (VISIT + AWAY) :][:VISIT] for k in range(len(visits))]


def last_ids(visits, config=CONFIG, blind: bool = False) -> list[list[int]]:
    """Ids at the end of each visit."""
    return [frames[-1] for frames in ids_of(visits, config, blind)]


def test_who_comes_back_in_bright_clothes_keeps_the_id():
    visits = [[(visit(0.5, 1), RED)], [(visit(-0.8, 2), GREEN)], [(visit(-0.4, 3), RED)]]
    assert last_ids(visits) == [[1], [2], [1]]
    assert last_ids(visits, TrackerConfig()) == [[1], [2], [3]]


def test_id_is_given_once_it_is_certain_and_stays():
    first, second = ids_of([[(visit(0.5, 1), RED)], [(visit(-0.4, 3), RED)]])
    assert first == [[1]] * VISIT
    undecided = second.count([0])
    assert reidentify.LEAST_LOOKS - 1 <= undecided <= reidentify.WAIT_S * FPS
    assert second == [[0]] * undecided + [[1]] * (VISIT - undecided)


def test_lag_gives_the_id_from_the_first_frame():
    config = replace(CONFIG, lag_s=2.0)
    _, second = ids_of([[(visit(0.5, 1), RED)], [(visit(-0.4, 3), RED)]], config)
    assert second == [[1]] * VISIT


def test_stranger_gets_an_id_of_its_own():
    visits = [[(visit(0.5, 1), RED)], [(visit(-0.4, 3), BLUE)]]
    assert last_ids(visits) == [[1], [2]]


@pytest.mark.parametrize("colour", [BLACK, GREY])
def test_black_and_grey_are_no_evidence(colour):
    visits = [[(visit(0.5, 1), colour)], [(visit(-0.4, 3), colour)]]
    assert last_ids(visits) == [[1], [2]]
    assert ids_of(visits)[1][0] == [2]  # nobody whom colours could tell has left: no wait


def test_two_who_left_in_like_colours_are_not_told_apart():
    together = [(visit(1.2, 1), RED), (visit(-1.2, 2), RED)]
    assert last_ids([together, [(visit(0, 3), RED)]]) == [[1, 2], [3]]


def test_somebody_in_view_in_like_colours_is_a_doubt():
    together = [(visit(1.2, 3), RED), (visit(-1.2, 4), RED)]
    assert last_ids([[(visit(0, 1), RED)], together]) == [[1], [2, 3]]


def test_nobody_comes_back_after_too_long():
    visits = [[(visit(0.5, 1), RED)], [], [(visit(-0.4, 3), RED)]]
    short = replace(CONFIG, reidentify_s=6.0)
    assert last_ids(visits)[2] == [1]
    assert last_ids(visits, short)[2] == [2]


def test_limb_lengths_object():
    visits = [[(visit(0.5, 1), RED)], [(visit(-0.4, 3, stature=1.1), RED)]]
    assert last_ids(visits) == [[1], [2]]


def test_nobody_comes_back_without_images():
    visits = [[(visit(0.5, 1), RED)], [(visit(-0.4, 3), RED)]]
    assert last_ids(visits, blind=True) == [[1], [2]]


def test_no_id_twice_in_a_frame():
    """Somebody who is lost and found elsewhere at once: the coasting track ends."""
    config = replace(CONFIG, coast_s=2.0, lag_s=1.5)
    here, there = visit(1.5, 1), visit(-1.5, 2)
    tracker = Tracker(config, warm=False)
    done = []
    for k, person in enumerate([*here, *there]):
        done += tracker.update(stamp(k), [person], picture([(person, RED)], k))
    done += tracker.flush()

    frames = [[person.id for person in frame.persons] for frame in done]
    assert all(len(set(ids)) == len(ids) for ids in frames)
    assert frames[VISIT] == frames[-1] == [1]


def test_off_looks_at_no_image(monkeypatch):
    def look(*_):
        raise AssertionError("an image was looked at")

    monkeypatch.setattr(reidentify, "torso_colours", look)
    visits = [[(visit(0.5, 1), RED)]]
    assert last_ids(visits, TrackerConfig()) == [[1]]
    with pytest.raises(AssertionError):
        last_ids(visits)


def test_people_are_remembered_up_to_a_number(monkeypatch):
    monkeypatch.setattr(reidentify, "MOST_KNOWN", 1)
    visits = [[(visit(0.5, 1), RED)], [(visit(0, 2), BLUE)], [(visit(-0.4, 3), RED)]]
    assert last_ids(visits) == [[1], [2], [3]]


def test_time_that_goes_back_forgets_everybody():
    tracker = Tracker(CONFIG, warm=False)
    for start in (100, 0):
        for k, person in enumerate(visit(0.5, 1)):
            (frame,) = tracker.update(stamp(start + k), [person], picture([(person, RED)]))
    assert [person.id for person in frame.persons] == [2]


def one(colour, seed: int = 0):
    person = visit(0, 1)[-1]
    return torso_colours(picture([(person, colour)], seed), [person.skeleton_2d])[0]


def test_light_changes_the_colours_less_than_clothes_do():
    red = one(RED)
    assert distance(red.histogram, red.histogram) == 0
    dim = one(np.array(RED) * 0.85, seed=1)
    assert distance(red.histogram, dim.histogram) < distance(red.histogram, one(BLUE).histogram)
    assert distance(red.histogram, one(GREEN).histogram) > 0.9
    assert red.histogram.sum() == pytest.approx(1) and red.coloured == 1
    assert one(BLACK).coloured == one(GREY).coloured == 0
    assert distance(one(BLACK).histogram, one(GREY).histogram) < 0.3


def test_chroma_is_that_of_cielab():
    """Against the values that are printed for sRGB's primaries."""
    pixels = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]], np.uint8)
    expected = [[80.09, 67.20], [-86.18, 83.18], [79.19, -107.86], [0, 0]]
    from lifting_ros.tracking.torso_colours import chroma

    assert chroma(pixels) == pytest.approx(np.array(expected), abs=0.02)
    assert np.linalg.norm(chroma(np.array([GREY], np.uint8))) < COLOURED


def test_torso_that_does_not_show_has_no_colours():
    person = visit(0, 1)[-1].skeleton_2d
    image = picture([(visit(0, 1)[-1], RED)])
    assert torso_colours(image, [person])[0] is not None

    unsure = person.confidence.copy()
    unsure[_TORSO[0]] = 0.1
    aside = person.keypoints_px.copy()
    middle = aside[_TORSO].mean(0)[0]
    aside[:, 0] = middle + 0.2 * (aside[:, 0] - middle)
    hidden = [
        replace(person, confidence=unsure),
        replace(person, keypoints_px=aside),
        replace(person, keypoints_px=person.keypoints_px + (700, 0)),
        replace(person, keypoints_px=middle + 0.1 * (person.keypoints_px - middle)),
    ]
    assert [torso_colours(image, [one])[0] for one in hidden] == [None] * len(hidden)
    assert torso_colours(image, [person, person]) == [None, None]
    assert torso_colours(image, []) == []
