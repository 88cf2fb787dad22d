# SPDX-License-Identifier: Apache-2.0
"""Leave one subject out: nobody is measured by a fit that has seen them."""

import numpy as np
import pytest
from people import make_poses, small_prior

from lifting_ros.lifting.lifting import Lifter
from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.evaluation import subjects
from lifting_ros.research.evaluation.subjects import (
    ALWAYS_TRAINED,
    PLAIN,
    Plan,
    PriorSetting,
    against_plain,
    fitted_prior,
    key_of,
    leave_out,
    spread_rows,
    subject_folds,
    subject_tables,
)

NAMES = ("cmu01", "cmu02", "cmu03", "cmu04", "cmu_unk")
SETTING = PriorSetting(1, 5, 0.0)


def mocap(count: int = 40) -> Mocap:
    """As many poses of each of five subjects; 3 and 4 dance together in two clips."""
    subject = np.repeat(np.arange(5), count)
    half = np.tile(np.arange(count) >= count // 4, 5)
    clip = np.where(np.isin(subject, [2, 3]), 10 * subject + half, subject)
    poses = make_poses(5 * count)
    return Mocap(poses, subject, clip, np.ones(5 * count, bool), NAMES, (1,))


def plan(samples: int = 0, correction: int = 0) -> Plan:
    data = mocap()
    return Plan(data, subject_folds(data), (SETTING,), samples, correction, 8, 0)


def folds_of(count: int) -> dict[str, set[int]]:
    data = mocap()
    fold = subject_folds(data, count)
    return {name: set(fold[data.subject_id == n].tolist()) for n, name in enumerate(NAMES)}


def test_each_subject_is_in_one_fold():
    folds = folds_of(0)
    assert all(len(numbers) == 1 for numbers in folds.values())
    assert folds["cmu03"] == folds["cmu04"] and len(set().union(*folds.values())) == 4
    assert folds["cmu_unk"] == {ALWAYS_TRAINED}


def test_folds_are_as_many_as_asked_for():
    folds = folds_of(2)
    # the pair is the largest, so that the two others share a fold
    assert folds["cmu01"] == folds["cmu02"] != folds["cmu03"]


def test_one_person_is_not_enough():
    data = mocap()
    with pytest.raises(ValueError, match="expected two people"):
        subject_folds(data.select(np.isin(data.subject_id, [0, 4])))


def test_no_fit_has_seen_those_it_is_measured_on(monkeypatch, tmp_path):
    fits = []
    measured = []

    def fit(seen, components, basis, seed, posed):
        assert (components, basis, seed, posed) == (1, 5, 0, 0.0)
        fits.append(set(seen.subject_id.tolist()))
        return small_prior()

    def measure(lifter, plan, subject):
        assert subject not in fits[-1] and 4 in fits[-1]
        measured.append(plan.mocap.subjects[subject])
        return dict.fromkeys(("exact", "5 px noise", "3 missing"), float(subject))

    monkeypatch.setattr(subjects, "fit_prior", fit)
    monkeypatch.setattr(subjects, "subject_errors", measure)
    found = leave_out(plan(), tmp_path)
    assert sorted(measured) == ["cmu01", "cmu02", "cmu03", "cmu04"] and len(fits) == 3
    assert found[SETTING.name]["cmu03"]["exact"] == 2


def test_fits_are_kept_and_found_again(monkeypatch, tmp_path):
    data = mocap()
    first = fitted_prior(data, SETTING, 0, tmp_path / "w")
    monkeypatch.setattr(subjects, "fit_prior", None)
    again = fitted_prior(data, SETTING, 0, tmp_path / "w")
    np.testing.assert_array_equal(first.means_, again.means_)
    assert first.means_.shape == (1, 17, 3) and first.bases_.shape[1] == 5


def test_another_fit_has_another_name():
    data = mocap()
    moved = data._replace(positions_m=data.positions_m + 0.1)
    names = {
        key_of(data, SETTING, 0),
        key_of(data, SETTING, 1),
        key_of(data, SETTING._replace(basis=6), 0),
        key_of(moved, SETTING, 0),
        key_of(data.select(np.arange(100)), SETTING, 0),
    }
    assert len(names) == 5 and key_of(mocap(), SETTING, 0) in names


def errors(**by_subject: float) -> dict:
    """The same error under every protocol."""
    protocols = ("exact", "5 px noise", "3 missing")
    return {name: dict.fromkeys(protocols, value) for name, value in by_subject.items()}


def test_every_subject_counts_once():
    row = spread_rows({"a": errors(x=50.0, y=60.0, z=100.0)})["a"]
    assert row["exact"] == 70 and row["exact std"] == pytest.approx(26.458, abs=1e-3)
    assert row["subjects"] == 3
    some = spread_rows({"a": errors(x=50.0, y=60.0)}, ["y", "z"])["a"]
    assert some["3 missing"] == 60 and np.isnan(some["3 missing std"]) and some["subjects"] == 1


def test_the_baseline_is_compared_on_the_same_subjects():
    found = {"a": errors(x=50.0, y=90.0, w=1.0), PLAIN: errors(x=100.0, y=60.0, z=1000.0)}
    row = against_plain(found)["a"]
    assert row["exact"] == pytest.approx(-12.5) and row["exact better"] == 1
    assert row["subjects"] == 2 and list(against_plain(found)) == ["a"]


def test_fits_and_lifters_in_one_table(tmp_path):
    """A prior and a network fitted for each fold lift people that they do not know."""
    data = mocap()
    fold = subject_folds(data, 2)
    small = Plan(data, fold, (SETTING,), 512, 1024, 8, 0)
    tables = subject_tables(small, {"ppca": Lifter(small_prior())}, tmp_path)
    spread, shipped, against, *by_subject = tables.values()
    corrected = f"{SETTING.name}, corrected"
    assert set(spread) == {SETTING.name, corrected, PLAIN} and spread[PLAIN]["subjects"] == 4
    assert set(shipped) == {*spread, "ppca, as given"}
    assert all(row["subjects"] == 1 for row in shipped.values())
    assert 20 < spread[SETTING.name]["exact"] < 200
    assert 20 < spread[corrected]["exact"] < 200
    assert spread[corrected]["exact"] != spread[SETTING.name]["exact"]
    assert set(against) == {SETTING.name, corrected, "ppca, as given"}
    assert [list(rows) for rows in by_subject] == [list(NAMES[:4])] * 3
    exact = by_subject[0]
    assert exact["cmu02"]["ppca, as given"] == shipped["ppca, as given"]["exact"]
    assert np.isnan(exact["cmu01"]["ppca, as given"])
