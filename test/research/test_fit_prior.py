# SPDX-License-Identifier: Apache-2.0
"""The recipe of the prior: balance, varied bodies, proportions of real people only, and a choice of
C that finds the truth."""

import numpy as np
import pytest
from people import make_poses, three_kinds

from lifting_ros.prior.ppca import PriorError
from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.training import choose_prior
from lifting_ros.research.training.choose_prior import Search, Trial, best_of, folds, people
from lifting_ros.research.training.fit_prior import (
    balanced_weights,
    cluster_centres,
    fit_prior,
    vary_build,
    with_varied_build,
)
from lifting_ros.skeleton import limb_lengths


def mocap_of(
    poses: np.ndarray,
    subject: np.ndarray,
    clip: np.ndarray | None = None,
    own: np.ndarray | None = None,
) -> Mocap:
    return Mocap(
        poses,
        subject,
        subject if clip is None else clip,
        np.ones(len(poses), bool) if own is None else own,
        (),
    )


def test_rare_poses_weigh_more(monkeypatch):
    means, _, _ = three_kinds(300)
    rng = np.random.default_rng(0)
    rare = np.arange(1000) >= 800
    poses = means[rare.astype(int)].reshape(-1, 17, 3) + rng.normal(0, 0.003, (1000, 17, 3))
    mocap = mocap_of(poses, np.zeros(1000, int))
    centres = cluster_centres(
        mocap.positions_m.reshape(1000, -1), mocap.positions_m[[0, 999]].reshape(2, -1)
    )
    np.testing.assert_allclose(centres, means[:2], atol=0.01)
    monkeypatch.setattr("lifting_ros.research.training.fit_prior.CLUSTERS", 2)
    weight = next(
        w
        for w in (balanced_weights(mocap, seed) for seed in range(9))
        if w[rare].min() > w[~rare].max()
    )  # a start in each
    assert weight[rare].mean() / weight[~rare].mean() == pytest.approx(4**0.7, rel=0.05)


def test_clusters_found_on_a_sub_sample_serve_all(monkeypatch):
    monkeypatch.setattr("lifting_ros.research.training.fit_prior.CLUSTER_SAMPLE", 200)
    weight = balanced_weights(mocap_of(make_poses(800), np.zeros(800, int)))
    assert weight.shape == (800,) and (weight > 0).all() and weight.std() > 0.1


def test_varied_bodies_keep_directions_and_symmetry():
    poses = make_poses(500)
    varied = vary_build(poses, np.random.default_rng(0), build=0.1, joints=0)
    for child, parent in ((2, 1), (13, 12)):
        before, after = (p[:, child] - p[:, parent] for p in (poses, varied))
        cosine = (
            np.einsum("nd,nd->n", before, after)
            / np.linalg.norm(before, axis=1)
            / np.linalg.norm(after, axis=1)
        )
        np.testing.assert_allclose(cosine, 1, atol=1e-9)
    ratio = limb_lengths(varied) / limb_lengths(poses)
    np.testing.assert_allclose(ratio[:, :3], ratio[:, 3:6], atol=1e-9)
    assert 0.05 < np.log(ratio).std() < 0.12


@pytest.mark.parametrize("most", [10_000, 100])
def test_half_of_the_poses_have_varied_build(monkeypatch, most):
    monkeypatch.setattr("lifting_ros.research.training.fit_prior.COPIES_BELOW", most)
    poses = make_poses(300)
    more, weights, own = with_varied_build(poses, np.arange(300.0), np.ones(300, bool))
    assert own.mean() == 0.5 and len(more) == len(weights) == (600 if most > 300 else 300)
    source = np.tile(poses, (2, 1, 1)) if most > 300 else poses
    np.testing.assert_array_equal(more[own], source[own])
    assert (np.abs(more[~own] - source[~own]).max((1, 2)) > 1e-3).all()
    np.testing.assert_array_equal(weights, np.arange(len(more)) % 300)


def test_proportions_come_from_people_s_own_skeletons_only():
    poses = make_poses(600)
    poses[300:, [2, 3, 5, 6]] -= [0, 0.4, 0]  # long thighs of a skeleton that is nobody's
    subject = np.repeat([0, 1], 300)
    prior = fit_prior(mocap_of(poses, subject, own=subject == 0), 1, 6)
    np.testing.assert_allclose(
        prior.limbs_, fit_prior(mocap_of(poses[:300], subject[:300]), 1, 6).limbs_, rtol=1e-9
    )
    assert prior.stature_m_ == pytest.approx(
        np.sqrt((limb_lengths(poses[:300]) ** 2).sum(1)).mean(), rel=1e-6
    )


def recorded(lengths: dict[int, tuple[int, ...]]) -> Mocap:
    """Poses, all zero, of subjects with clips of these lengths."""
    subject = np.concatenate([np.full(sum(n), s) for s, n in lengths.items()])
    sizes = [n for clips in lengths.values() for n in clips]
    return mocap_of(
        np.zeros((len(subject), 17, 3)), subject, np.repeat(np.arange(len(sizes)), sizes)
    )


def test_people_recorded_together_are_left_out_together():
    """Subjects 3 and 4 were in the same takes: their clips are equally long."""
    mocap = recorded({0: (30, 20), 1: (40,), 2: (40,), 3: (10, 15), 4: (10, 15), 5: (45,)})
    group, fold = people(mocap), folds(mocap, 4)
    assert len(np.unique(group)) == 5
    assert (
        len(np.unique(fold[mocap.subject_id >= 3])) == 2
        and len(np.unique(fold[np.isin(mocap.subject_id, [3, 4])])) == 1
    )
    for s in range(6):
        assert len(np.unique(fold[mocap.subject_id == s])) == 1
    assert np.bincount(fold).min() >= 40


def test_takes_are_left_out_if_one_person_dominates():
    mocap = recorded({0: (30, 20), 1: (40,), 3: (60, 50), 4: (60, 50)})
    fold = folds(mocap, 4)
    for clip in range(7):
        assert len(np.unique(fold[mocap.clip_id == clip])) == 1
    first, second, other_first, other_second = (
        fold[mocap.clip_id == clip][0] for clip in (3, 4, 5, 6)
    )
    assert first == other_first != second == other_second


def test_single_person_is_split_by_clips():
    subject, clip = np.zeros(90, int), np.repeat([0, 1, 2], 30)
    assert len(np.unique(folds(mocap_of(np.zeros((90, 17, 3)), subject, clip)))) == 3
    with pytest.raises(PriorError, match="^subject_id: "):
        folds(mocap_of(np.zeros((90, 17, 3)), subject))


def test_the_number_of_components_is_found(monkeypatch):
    monkeypatch.setattr(choose_prior, "COMPONENTS", (1, 2, 3, 4, 6))
    _, rows, _ = three_kinds(1200)
    heard: list[Trial] = []
    search = Search(
        mocap_of(rows.reshape(-1, 17, 3), np.arange(1200) % 4), vary=False, on_trial=heard.append
    )
    assert search.choose(None, 4) == (3, 4)
    assert [t.components for t in heard] == [1, 2, 3, 4, 6] and all(
        t.train > t.held_out - 1 for t in heard
    )


def test_the_size_of_the_basis_is_found(monkeypatch):
    monkeypatch.setattr(
        choose_prior, "BASES", (2, 6, 30)
    )  # 4 directions, a little bent by the unit size
    _, rows, owner = three_kinds(1200)
    rows = rows[owner == 0]
    search = Search(mocap_of(rows.reshape(-1, 17, 3), np.arange(len(rows)) % 4), vary=False)
    assert search.choose(1, None)[1] == 6


def test_the_smaller_of_equals_is_chosen():
    assert best_of(
        [Trial(1, 9, 0, 5.0), Trial(2, 9, 0, 9.9), Trial(3, 9, 0, 10.0), Trial(4, 9, 0, 7.0)]
    ) == (2, 9)
