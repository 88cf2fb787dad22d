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
from lifting_ros.types import FoundKeypoints

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


def test_the_probe_sees_whole_pictures_of_bad_cameras_too(monkeypatch):
    rng = np.random.default_rng(3)
    encoded = cv2.imencode(".png", rng.integers(0, 256, (200, 160, 3), np.uint8))[1].tobytes()
    points = np.stack([rng.uniform(30, 130, 14), np.linspace(20, 180, 14)], 1)
    keypoints = np.concatenate([points, np.ones((14, 1))], 1)[None]
    photos = PhotoSet("street", ("a.png",), (encoded,), keypoints, np.zeros(1, bool))
    nobody = rng.integers(0, 256, (120, 160, 3), np.uint8)
    images = np.zeros((3, 60, 80, 3), np.uint8)
    rendered = CrowdPack(images, np.array([0]), keypoints, np.ones(1))

    monkeypatch.setattr(fitting, "photo_sets_in", lambda folder: ["street"])
    monkeypatch.setattr(fitting, "read_photo_set", lambda folder, name: photos)
    monkeypatch.setattr(fitting, "read_negatives", lambda folder, side: [nobody])
    monkeypatch.setattr(fitting, "PROBE_CROWDS", 1)
    pictures = list(fitting.probe_pictures(Path(), rendered))

    for kind, original in ((fitting.WHOLE, photos.image(0)), (fitting.PHOTOGRAPHS, nobody)):
        clear, worse = [picture.image for picture in pictures if picture.kind == kind]
        np.testing.assert_array_equal(clear, original)
        assert worse.shape == original.shape and (worse != original).any()

    counts = Counter(picture.kind for picture in pictures)
    assert counts[HALF] == fitting.PROBE_HALVES and counts[fitting.PARTS] == fitting.PROBE_PARTS
    assert counts[fitting.CROWDS] == 1 and counts[ROOMS] == 2
    assert all(bool(picture.persons) != (picture.kind in fitting.NOBODY) for picture in pictures)


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
