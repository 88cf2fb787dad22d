# SPDX-License-Identifier: Apache-2.0
"""The doubt about legs at the border is recovered from rows that it made."""

from types import SimpleNamespace

import numpy as np
import pytest
from people import STANDING_PX
from photos import png
from scipy.special import expit

from lifting_ros.errors import DataError
from lifting_ros.keypoints.border_doubt import LEGS, BorderDoubt, taken
from lifting_ros.research.datasets.keypoints2d import PhotoSet
from lifting_ros.research.training import fit_border_doubt as fitting
from lifting_ros.research.training.fit_border_doubt import (
    CUTS,
    Picture,
    Rows,
    collect,
    ends_of_cuts,
    fit,
    held_out,
    shares,
    surprise,
)
from lifting_ros.types import Detection, FoundKeypoints

TRUE = BorderDoubt(hip=4.0, knee=2.0, ankle=0.0, reach=0.05)
HIPS = list(LEGS["hip"])
ANKLES = list(LEGS["ankle"])


def make_rows(count: int = 4000) -> Rows:
    """Legs in view or not as TRUE says."""
    rng = np.random.default_rng(0)
    logits = rng.normal(1, 2, (count, 14))
    inside = rng.exponential(0.08, (count, 14))
    in_view = rng.random((count, 14)) < expit(logits - taken(inside, TRUE))
    mass = np.full((count, 14), 0.8)
    return Rows(logits, inside, in_view, mass, np.arange(count).astype(str))


def test_the_values_that_made_the_rows_are_found():
    found = fit(make_rows())
    assert found.reach == TRUE.reach
    assert found.hip == pytest.approx(TRUE.hip, rel=0.1)
    assert found.knee == pytest.approx(TRUE.knee, rel=0.15)
    assert 0 <= found.ankle < 0.15


def test_keypoints_placed_outside_say_nothing():
    rows = make_rows(600)
    inside = rows.inside.copy()
    inside[::2, HIPS] = np.nan
    wrong = rows.in_view.copy()
    wrong[::2, HIPS] = False
    with_nan = rows._replace(inside=inside, in_view=wrong)
    assert surprise(with_nan, TRUE) == surprise(rows._replace(inside=inside), TRUE)
    assert fit(with_nan).hip == pytest.approx(TRUE.hip, rel=0.4)
    assert shares(with_nan, np.zeros((600, 14)), 0.0)["hip"]["absent"] == 1.0
    assert shares(with_nan, np.zeros((600, 14)), 1e-9)["hip"]["absent"] < 0.5


def test_fewer_absent_legs_are_reported():
    rows = make_rows(2000)
    without = shares(rows, np.zeros_like(rows.logit), 0.3)
    doubted = shares(rows, held_out(rows), 0.3)
    assert doubted["hip"]["absent"] < 0.7 * without["hip"]["absent"]
    assert doubted["hip"]["at the border"] < doubted["hip"]["present"]
    assert doubted["ankle"]["present"] == pytest.approx(without["ankle"]["present"], abs=0.02)
    legs = rows.in_view[:, HIPS]
    assert without["hip"]["absent, count"] == (~legs).sum()


def test_held_out_values_are_fitted_without_the_photograph():
    """Half of the rows say the opposite; they are one photograph, and do not judge themselves."""
    rows = make_rows(400)
    photograph = np.where(np.arange(400) < 200, "odd", rows.photograph)
    in_view = rows.in_view.copy()
    in_view[:200] = True
    mixed = rows._replace(photograph=photograph, in_view=in_view)
    others = Rows(*(column[200:] for column in mixed))
    assert (
        held_out(mixed)[:200, HIPS].mean()
        > 0.5 * taken(rows.inside, fit(others))[:200, HIPS].mean()
    )
    assert (
        held_out(mixed)[:200, HIPS].mean() > 2 * taken(rows.inside, fit(mixed))[:200, HIPS].mean()
    )


def labelled() -> np.ndarray:
    return np.column_stack([STANDING_PX, np.ones(14)]).astype(float)


def test_photographs_are_cut_above_and_below_hips():
    labels = labelled()
    hip = labels[HIPS, 1].mean()
    trunk = labels[HIPS, 1].min() - labels[[2, 5], 1].max()
    for seed in range(20):
        ends = ends_of_cuts(labels, np.random.default_rng(seed))
        assert len(ends) == len(CUTS)
        assert hip - 0.5 * trunk - 1 <= ends[0] <= hip <= ends[1] + 1 <= hip + 0.4 * trunk + 1


def test_pictures_keep_the_labels_that_are_cut_off(monkeypatch, tmp_path):
    photos = PhotoSet(
        "street",
        tuple("abc"),
        (png(np.zeros((150, 110, 3), np.uint8)),) * 3,
        np.stack([labelled()] * 3),
        np.zeros(3, bool),
    )
    monkeypatch.setattr(fitting, "photo_sets_in", lambda folder: ["lspet", "street"])
    monkeypatch.setattr(fitting, "read_photo_set", lambda folder, name: photos)
    monkeypatch.setattr(fitting, "rows_of", lambda validation, side: np.array([True, False, True]))
    pictures = list(fitting.cut_pictures(tmp_path))
    assert {one.photograph for one in pictures} == {"street 0", "street 2"}
    assert all(len(one.image) < 150 and len(one.keypoints) == 14 for one in pictures)
    above_hips = min(pictures, key=lambda one: len(one.image))
    assert (above_hips.keypoints[HIPS, 1] > len(above_hips.image)).all()


class Sees:
    """Stands for an estimator that finds a person where `STANDING_PX` is, and clothes elsewhere."""

    def __init__(self, score: float = 0.9):
        self.score = score
        self.config = SimpleNamespace(min_person_score=0.8)

    def detect(self, image: np.ndarray) -> list[Detection]:
        return []

    def score_person(self, detection: float, found: FoundKeypoints) -> float:
        return detection

    def look(self, image: np.ndarray, detections: list):
        box = np.concatenate([STANDING_PX.min(0), STANDING_PX.max(0)])
        below = STANDING_PX[:, 1] > len(image) - 0.5
        confidence = np.where(below, 0.0, 0.4)
        person = FoundKeypoints(
            STANDING_PX.astype(float), confidence, np.zeros((14, 2, 2)), np.full(14, 0.5)
        )
        clothes = FoundKeypoints(
            STANDING_PX + 500.0, np.full(14, 0.9), np.zeros((14, 2, 2)), np.full(14, 0.9)
        )
        yield clothes, Detection(box + 500, 0.95)
        yield person, Detection(box, self.score)


def test_rows_are_those_of_the_labelled_person():
    image = np.zeros((int(STANDING_PX[ANKLES, 1].min()) - 1, 110, 3), np.uint8)
    rows = collect(Sees(), [Picture("a", image, labelled())])
    assert rows.photograph.tolist() == ["a"]
    assert np.isnan(rows.inside[0, ANKLES]).all() and np.isfinite(rows.inside[0, HIPS]).all()
    assert not rows.in_view[0, ANKLES].any() and rows.in_view[0, HIPS].all()
    np.testing.assert_allclose(rows.mass[0, HIPS], 0.8)
    np.testing.assert_allclose(rows.logit, 0, atol=1e-9)


def test_people_below_the_score_are_not_counted():
    pictures = [Picture("a", np.zeros((100, 110, 3), np.uint8), labelled())]
    sees = Sees()
    sees.look = lambda image, detections: list(Sees(0.5).look(image, detections))[1:]
    pictures.append(pictures[0])
    both = collect(Sees(), pictures)
    assert len(both.logit) == 2
    with pytest.raises(DataError, match="nobody was found"):
        collect(sees, pictures)
