# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest
from photos import write_data

from lifting_ros.cli.main import main
from lifting_ros.research.datasets.matching import REPEATED, RIGHT, UNKNOWN, WRONG
from lifting_ros.research.datasets.scene_parts import Scene
from lifting_ros.research.datasets.scenes import empty_scene
from lifting_ros.research.evaluation import detection
from lifting_ros.research.evaluation.detection import (
    Judged,
    average_precision,
    detection_row,
    judge_all,
    recall_row,
    window_scenes,
)


def judged(verdicts: list[int], scores: list[float], persons: int, pictures: int = 1) -> Judged:
    found = np.array(scores)[np.array(verdicts) == RIGHT]
    found_at = np.append(found, -np.ones(persons - len(found)))
    return Judged(
        pictures,
        np.array(scores),
        np.array(verdicts),
        np.zeros(len(scores), int),
        np.full(persons, 80.0),
        found_at,
    )


def test_average_precision_of_known_cases():
    assert average_precision(judged([RIGHT, RIGHT], [0.9, 0.8], 2)) == 1
    assert average_precision(judged([RIGHT, WRONG], [0.9, 0.8], 2)) == 0.5
    assert average_precision(judged([WRONG, RIGHT], [0.9, 0.8], 1)) == 0.5
    assert average_precision(judged([RIGHT, WRONG, RIGHT], [0.9, 0.8, 0.7], 2)) == pytest.approx(
        (1 + 2 / 3) / 2
    )
    assert average_precision(judged([UNKNOWN, RIGHT], [0.9, 0.8], 1)) == 1
    assert average_precision(judged([], [], 3)) == 0


def test_figures_move_with_the_score():
    result = judged(
        [RIGHT, REPEATED, WRONG, RIGHT, UNKNOWN], [0.9, 0.8, 0.7, 0.6, 0.5], persons=4, pictures=2
    )
    low, high = detection_row(result, 0.1), detection_row(result, 0.85)
    assert (low["recall"], low["precision"], low["repeated"], low["alarms"], low["pictures"]) == (
        0.5,
        0.5,
        0.5,
        0.5,
        0.5,
    )
    assert (high["recall"], high["precision"], high["repeated"], high["alarms"]) == (
        0.25,
        1.0,
        0,
        0,
    )


def test_recall_counts_the_persons_of_a_size_alone():
    result = judged([RIGHT], [0.9], 2)._replace(sides_px=np.array([70.0, 300]))
    assert recall_row(result, 0.5, 60, 100) == {"persons": 1, "recall": 1}
    assert recall_row(result, 0.5, 200, np.inf) == {"persons": 1, "recall": 0}
    assert np.isnan(recall_row(result, 0.5, 100, 200)["recall"])


def test_annotators_right_always_or_at_their_rate():
    rng = np.random.default_rng(0)
    boxes = np.tile(rng.uniform(0, 60, (5, 1, 2)), 2) + [0, 0, 30, 30]
    scenes = [
        Scene(np.zeros((99, 99, 3), np.uint8), box, np.zeros((1, 14, 3)), np.ones((99, 99), bool))
        for box in boxes
    ]
    truth = iter([s.boxes for s in scenes])
    row = detection_row(judge_all(lambda _: (next(truth), np.ones(1)), scenes), 0.5, True)
    assert (row["of"], row["persons"], row["recall"], row["precision"], row["AP"]) == (
        5,
        5,
        1,
        1,
        1,
    )
    silent = detection_row(judge_all(lambda _: (np.zeros((0, 4)), np.zeros(0)), scenes), 0.5, True)
    assert (silent["recall"], silent["AP"], silent["alarms"]) == (0, 0, 0) and np.isnan(
        silent["precision"]
    )


def test_pictures_without_people_only_have_alarms():
    scenes = [empty_scene(np.zeros((50, 50, 3), np.uint8)) for _ in range(4)]
    answers = iter([np.array([[1.0, 1, 20, 40], [25, 1, 40, 40]]), *[np.zeros((0, 4))] * 3])
    row = detection_row(
        judge_all(lambda _: (b := next(answers), np.linspace(0.9, 0.8, len(b))), scenes), 0.5
    )
    assert row["alarms"] == 0.5 and row["pictures"] == 0.25 and np.isnan(row["recall"])


def test_windows_of_a_picture_are_the_same_every_time():
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    first, second = ([s.image for s in window_scenes([image], 3)] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second)) and not np.array_equal(
        first[0], first[1]
    )


def test_the_command_makes_a_table_of_every_set(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(detection, "SIZE", (96, 64))
    monkeypatch.setattr(detection, "PICTURES", (1, 2))
    data, crowds = write_data(tmp_path / "data"), tmp_path / "work" / "crowds" / "validation"
    crowds.mkdir(parents=True)
    np.save(crowds / "images.npy", np.zeros((3, 64, 96, 3), np.uint8))
    keypoints = np.column_stack([np.linspace(10, 30, 14), np.linspace(5, 60, 14), np.ones(14)])[
        None
    ]
    np.savez(
        crowds / "labels.npz",
        picture=np.zeros(1, int),
        keypoints=keypoints.astype(np.float32),
        seen=np.ones(1),
    )
    options = [
        "--data",
        str(data),
        "--work",
        str(tmp_path / "work"),
        "--pictures",
        "2",
        "--json",
        str(tmp_path / "d.json"),
    ]
    assert main(["evaluate", "detector", *options]) == 0
    (rows,) = json.loads((tmp_path / "d.json").read_text()).values()
    assert (
        rows["crowds, detector"]["persons"] == 1 and rows["crowds, estimator"]["recall"] == 0
    )  # nobody can be seen
    assert rows["rendered rooms, estimator"]["of"] == rows["street, detector"]["of"] + 1 == 2
    assert "persons found" in capsys.readouterr().out
