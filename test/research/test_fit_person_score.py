# SPDX-License-Identifier: Apache-2.0
"""Weights of a person score are recovered from rows that they made."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.special import expit

from lifting_ros.estimator import EstimatorConfig
from lifting_ros.keypoints.person_score import PersonScore, logit_of
from lifting_ros.research.datasets.crowd_pack import CrowdPack
from lifting_ros.research.datasets.half_seen import LEFT, half_seen
from lifting_ros.research.datasets.keypoints2d import PhotoSet
from lifting_ros.research.evaluation.robustness import CONDITIONS
from lifting_ros.research.training import fit_person_score as fitting
from lifting_ros.research.training.fit_person_score import (
    HALF,
    ROOMS,
    Rows,
    fit,
    fit_probe,
    held_out,
    highest,
    shares,
    shifted,
    shows,
    threshold_at,
    with_probe,
)
from lifting_ros.types import Detection, FoundKeypoints

TRUE = PersonScore(detector=0.8, keypoints=0.0, ends=1.6, probe=0.7, constant=0.0)


DIRECTION = np.array([0.5, -0.2, 0.1])
"""Of the last layer, in which the probe's evidence is hidden."""


def make_rows(count: int = 3000) -> Rows:
    """One row a picture, person or nobody as TRUE says."""
    rng = np.random.default_rng(0)
    evidence = rng.normal(0, 2, (count, 4))
    is_person = rng.random(count) < expit(logit_of(TRUE, evidence))
    number = np.arange(count)
    kind = np.where(is_person, HALF, ROOMS)
    deep = evidence[:, -1:] * DIRECTION + rng.normal(0, 0.1, (count, 3))
    return Rows(evidence, deep, expit(evidence[:, 0]), number, kind, number.astype(str))


def test_the_weights_that_made_the_rows_are_found():
    score = fit(make_rows())
    assert score.detector == pytest.approx(TRUE.detector, rel=0.2)
    assert score.ends == pytest.approx(TRUE.ends, rel=0.2)
    assert score.probe == pytest.approx(TRUE.probe, rel=0.2)
    assert 0 <= score.keypoints < 0.1


def test_the_probe_finds_the_direction_of_persons():
    rows = make_rows()
    probe = fit_probe(rows)
    evidence = with_probe(rows, probe).evidence
    np.testing.assert_array_equal(evidence[:, :3], rows.evidence[:, :3])
    assert np.corrcoef(evidence[:, 3], rows.evidence[:, 3])[0, 1] > 0.97


def test_kinds_weigh_the_same_however_many_rows_they_have():
    """Ten copies of the rooms leave the probe as it is."""
    rows = make_rows(600)
    nobody = np.flatnonzero(~rows.is_person)
    order = np.concatenate([np.arange(600), *[nobody] * 9])
    repeated = rows._replace(deep=rows.deep[order], picture=rows.picture[order])
    ours = fit_probe(rows).evidence(rows.deep)
    theirs = fit_probe(repeated).evidence(rows.deep)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.99
    assert abs(np.mean(ours - theirs)) < 0.1


def test_evidence_that_speaks_against_a_person_gets_no_weight():
    rows = make_rows()
    rows.evidence[:, 1] = np.where(rows.is_person, -1, 1) + rows.evidence[:, 1]
    assert fit(rows).keypoints == 0


def test_the_default_least_score_gives_the_alarms_asked_for():
    rows = make_rows()
    score = shifted(fit(rows), rows, 0.05)
    least = EstimatorConfig().min_person_score
    found = shares(expit(logit_of(score, rows.evidence)), rows, least)
    assert found[ROOMS] == pytest.approx(0.05, abs=0.002)
    assert found[HALF] > 0.4


def test_held_out_scores_do_not_depend_on_their_own_photograph():
    rows = make_rows(400)
    before = held_out(rows)
    rows.evidence[7] *= -3
    after = held_out(rows)
    _, number = np.unique(rows.photograph, return_inverse=True)
    fold = np.random.default_rng(0).permutation(400)[number] % 5
    same = (fold == fold[7]) & (np.arange(400) != 7)
    np.testing.assert_allclose(after[same], before[same])
    assert not np.allclose(after[~same], before[~same])


def test_a_picture_counts_by_its_highest_row():
    rows = make_rows(4)._replace(
        picture=np.array([0, 0, 2, 2]),
        kind=np.array([ROOMS, ROOMS, ROOMS, ROOMS]),
        photograph=np.array(list("abcd")),
    )
    values = np.array([0.1, 0.7, 0.4, 0.2])
    assert highest(values, rows).tolist() == [0.7, -np.inf, 0.4, -np.inf]
    assert 0.4 < threshold_at(values, rows, 0.25) < 0.7
    assert shares(values, rows, 0.5) == {ROOMS: 0.25}


def test_a_half_seen_person_keeps_some_keypoints():
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (300, 200, 3), np.uint8)
    points = np.stack([rng.uniform(40, 160, 14), np.linspace(20, 280, 14)], 1).round()
    keypoints = np.concatenate([points, np.ones((14, 1))], 1)

    for seed in range(20):
        part, moved = half_seen(image, keypoints, np.random.default_rng(seed))
        seen = moved[:, 2] > 0
        assert LEFT[0] <= seen.sum() <= LEFT[1]
        for before, after in zip(points[seen].astype(int), moved[seen, :2].astype(int)):
            np.testing.assert_array_equal(part[after[1], after[0]], image[before[1], before[0]])


NOBODY, CROWD = np.random.default_rng(3).integers(0, 256, (2, 120, 160, 3), np.uint8)
"""A photograph of nobody, and one that is said to be."""


def make_photos(name: str, count: int = 1) -> PhotoSet:
    """Noise with the keypoints of a person, the same in each photograph."""
    rng = np.random.default_rng(3)
    encoded = cv2.imencode(".png", rng.integers(0, 256, (200, 160, 3), np.uint8))[1].tobytes()
    points = np.stack([rng.uniform(30, 130, 14), np.linspace(20, 180, 14)], 1)
    keypoints = np.concatenate([points, np.ones((14, 1))], 1)
    files = tuple(f"{number}.png" for number in range(count))
    everybody = np.repeat(keypoints[None], count, 0)
    return PhotoSet(name, files, (encoded,) * count, everybody, np.zeros(count, bool))


def show(monkeypatch, *sets: PhotoSet) -> None:
    """These sets, all their rows, and one photograph of nobody, instead of data on the disk."""
    by_name = {photos.name: photos for photos in sets}
    monkeypatch.setattr(fitting, "photo_sets_in", lambda folder: list(by_name))
    monkeypatch.setattr(fitting, "read_photo_set", lambda folder, name: by_name[name])
    names = np.array(["a room.jpg", "a crowd.jpg"])
    monkeypatch.setattr(fitting, "negative_names", lambda folder: (names, np.zeros(2, bool)))
    monkeypatch.setattr(fitting, "rows_of", lambda validation, side: np.ones(len(validation), bool))
    monkeypatch.setattr(fitting, "WITH_PEOPLE", ("a crowd.jpg",))
    monkeypatch.setattr(fitting, "read_negatives", lambda folder, side: [NOBODY, CROWD])


def make_pack(crowds: list[np.ndarray]) -> CrowdPack:
    """One person (14, 3) in each crowd, and two rooms."""
    images = np.zeros((len(crowds) + 2, 60, 80, 3), np.uint8)
    return CrowdPack(images, np.arange(len(crowds)), np.array(crowds), np.ones(len(crowds)))


def test_the_probe_sees_whole_pictures_of_bad_cameras_too(monkeypatch):
    photos = make_photos("street")
    show(monkeypatch, photos)
    monkeypatch.setattr(fitting, "PROBE_CROWDS", 1)
    pictures = list(fitting.probe_pictures(Path(), make_pack([photos.keypoints[0]])))

    for kind, original in ((fitting.WHOLE, photos.image(0)), (fitting.PHOTOGRAPHS, NOBODY)):
        clear, worse = [picture.image for picture in pictures if picture.kind == kind]
        np.testing.assert_array_equal(clear, original)
        assert worse.shape == original.shape and (worse != original).any()

    counts = Counter(picture.kind for picture in pictures)
    assert counts[HALF] == fitting.PROBE_HALVES and counts[fitting.PARTS] == fitting.PROBE_PARTS
    assert counts[fitting.CROWDS] == 1 and counts[ROOMS] == 2 and counts[fitting.WORSE] == 0
    assert all(bool(picture.persons) != (picture.kind in fitting.NOBODY) for picture in pictures)


def test_a_crowd_without_labels_is_left_out(monkeypatch):
    """Else all that is found in it would count as people."""
    photos = make_photos("street")
    show(monkeypatch, photos)
    monkeypatch.setattr(fitting, "PROBE_CROWDS", 2)
    pack = make_pack([np.zeros((14, 3)), photos.keypoints[0]])
    pictures = list(fitting.probe_pictures(Path(), pack))
    crowds = [picture for picture in pictures if picture.kind == fitting.CROWDS]
    assert [picture.photograph for picture in crowds] == ["crowd 1"]


@pytest.mark.parametrize(("sets", "name"), [(["gym"], "gym"), (["gym", "lspet"], "lspet")])
def test_the_probe_sees_sport_made_worse_in_four_ways(monkeypatch, sets, name):
    everybody = [make_photos(one) for one in sets]
    show(monkeypatch, *everybody)
    monkeypatch.setattr(fitting, "PROBE_CROWDS", 0)
    pictures = list(fitting.probe_pictures(Path(), make_pack([])))

    worse = [picture for picture in pictures if picture.kind == fitting.WORSE]
    original = everybody[0].image(0)
    assert {picture.photograph for picture in worse} == {f"{name} 0"}
    assert len({picture.image.tobytes() for picture in (*worse, *pictures[:1])}) == 5
    moving, compressed, hidden, _ = [picture.image for picture in worse]
    assert moving.std() < 0.6 * original.std() < compressed.std()
    assert (hidden == 110).all(-1).mean() > 0.1
    for picture in worse:
        assert picture.image.shape == original.shape
        np.testing.assert_array_equal(picture.persons[0], everybody[0].keypoints[0])


def test_photographs_that_do_show_people_are_left_out(monkeypatch):
    show(monkeypatch, make_photos("street"))
    monkeypatch.setattr(fitting, "PROBE_CROWDS", 0)
    for pictures in (
        fitting.probe_pictures(Path(), make_pack([])),
        fitting.tune_pictures(Path(), []),
    ):
        nobody = [picture.photograph for picture in pictures if not picture.persons]
        assert "nobody 0" in nobody and "nobody 1" not in nobody


def test_sport_made_worse_sets_no_weights():
    rows = make_rows()
    kind = np.where(np.arange(len(rows.kind)) % 3 == 0, "sport, night", rows.kind)
    sport = rows._replace(kind=np.where(rows.is_person, kind, rows.kind))
    changed = sport._replace(evidence=sport.evidence.copy())
    changed.evidence[~sport.counts] = -9
    assert 0 < (~sport.counts).sum() < len(rows.kind)
    assert fit(changed) == fit(sport) != fit(rows)


def test_the_weights_see_sport_as_the_measure_of_robustness(monkeypatch):
    photos = make_photos("lspet", 200)
    show(monkeypatch, photos)
    pictures = list(fitting.tune_pictures(Path(), [NOBODY]))

    night = [picture for picture in pictures if picture.kind == "sport, night"]
    rows = range(0, 200, 200 // fitting.WORSE_COUNT)
    assert [picture.photograph for picture in night] == [f"lspet {row}" for row in rows]
    rng = np.random.default_rng((0, rows[1]))
    expected, _ = CONDITIONS["night"](photos.image(rows[1]), photos.keypoints[rows[1]], rng)
    np.testing.assert_array_equal(night[1].image, expected)
    sport = {picture.kind for picture in pictures if picture.kind.startswith("sport")}
    assert len(sport) == len(CONDITIONS) - 2  # neither as they are nor at half the brightness


class FindsAtFixedPlaces:
    """An estimator that detects two persons and finds all keypoints in the middle of a box."""

    boxes = (np.array([20.0, 20.0, 60.0, 100.0]), np.array([100.0, 20.0, 140.0, 100.0]))

    def __init__(self):
        self.looked = 0

    def detect(self, image):
        return [Detection(box, 0.5) for box in self.boxes]

    def look(self, image, detections):
        self.looked += len(detections)
        ones = np.ones(14)
        answers = []
        for one in detections:
            middle = (one.box_px[:2] + one.box_px[2:]) / 2
            found = FoundKeypoints(
                np.tile(middle, (14, 1)), ones, np.tile(np.eye(2), (14, 1, 1)), ones, 0.5, ones[:3]
            )
            answers.append((found, one))
        return answers


def test_only_detections_near_a_person_are_looked_at():
    """In pictures of nobody all are."""
    box = FindsAtFixedPlaces.boxes[1]
    corners = np.array([[*box[:2], 1.0], [*box[2:], 1.0], [*((box[:2] + box[2:]) / 2), 1.0]])
    keypoints = np.concatenate([corners, np.tile(corners[2], (11, 1))])
    image = np.zeros((120, 160, 3), np.uint8)
    for kind, persons, looked in ((HALF, [keypoints], 1), (ROOMS, [], 2)):
        estimator = FindsAtFixedPlaces()
        rows = fitting.collect(estimator, [fitting.Picture(kind, "a", image, persons)])
        assert estimator.looked == looked == len(rows.plain)


def test_too_few_labels_give_no_half():
    keypoints = np.zeros((14, 3))
    keypoints[:7] = 1
    assert half_seen(np.zeros((90, 90, 3), np.uint8), keypoints, np.random.default_rng(0)) is None


def test_a_detection_shows_the_person_whose_keypoints_it_has():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 100, (14, 2))
    keypoints = np.concatenate([points, np.ones((14, 1))], 1)
    for shift, expected in ((3, True), (40, False)):
        found = FoundKeypoints(
            points + shift, np.ones(14), np.tile(np.eye(2), (14, 1, 1)), np.ones(14)
        )
        assert shows(found, keypoints) == expected
