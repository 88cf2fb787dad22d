# SPDX-License-Identifier: Apache-2.0
"""The number of components C and basis vectors K by held-out likelihood: cross-validation over
people or takes of the training set."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lifting_ros.prior.ppca import PriorError, check_poses
from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.training.fit_prior import balanced_weights, fit_prior

COMPONENTS = (1, 2, 3, 4, 6, 8, 10, 12)
BASES = (10, 15, 20, 25, 30, 35, 40, 45)
FOLDS = 4
POSES = 24_000
"""Poses that are tried; of more an even choice of so many."""

ENOUGH = 0.25
"""A smaller model that is worse by less than this, in nats a pose, is as good."""


class Trial(NamedTuple):
    """One pair of C and K: mean log-likelihood a pose in the fits and of the poses left out,
    balanced like the fit."""

    components: int
    basis: int
    train: float
    held_out: float


def people(mocap: Mocap) -> np.ndarray:
    """Group of each pose (N,): its subject, and with it those whose clips, two or more, are equally
    long: they were recorded together."""
    lengths: dict[tuple[int, ...], int] = {}
    group = np.array(mocap.subject_id)
    for subject in np.unique(mocap.subject_id):
        own = mocap.subject_id == subject
        clips = tuple(np.unique(mocap.clip_id[own], return_counts=True)[1])
        if len(clips) > 1:
            group[own] = lengths.setdefault(clips, int(subject))
    return group


def takes(mocap: Mocap, group: np.ndarray) -> np.ndarray:
    """Take of each pose (N,): its clip, and with it the clips that others of its group (N,)
    recorded at the same time."""
    order = np.zeros(len(group), int)
    for subject in np.unique(mocap.subject_id):
        own = mocap.subject_id == subject
        order[own] = np.unique(mocap.clip_id[own], return_inverse=True)[1].ravel()
    return np.unique(np.stack([group, order], 1), axis=0, return_inverse=True)[1].ravel()


def folds(mocap: Mocap, count: int = FOLDS) -> np.ndarray:
    """Fold of each pose (N,): groups of people, the largest first, each to the fold that has the
    fewest poses.

    Where one group is more than a fold, leaving it out would measure what it is to miss a source of
    the data, its skeleton and its kind of motion. Takes are left out then, whole, instead of
    people.
    """
    group = people(mocap)
    if np.unique(group, return_counts=True)[1].max() * count > len(group):
        group = takes(mocap, group)
    _, owner, sizes = np.unique(group, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise PriorError(
            "subject_id: expected two people or clips or more to choose a model by those left out"
        )
    fold, filled = np.zeros(len(sizes), int), np.zeros(min(count, len(sizes)), int)
    for name in np.argsort(-sizes, kind="stable"):
        fold[name] = filled.argmin()
        filled[fold[name]] += sizes[name]
    return fold[owner.ravel()]


class Search:
    """Trials on a training set, each made once; `tell` hears of every new one."""

    def __init__(
        self,
        mocap: Mocap,
        seed: int = 0,
        vary: bool = True,
        tell: Callable[[Trial], None] = lambda trial: None,
    ):
        check_poses(mocap.positions_m, 1, 1)
        rows = np.linspace(
            0, len(mocap.positions_m) - 1, min(POSES, len(mocap.positions_m))
        ).astype(int)
        self.mocap, self.seed, self.vary, self.tell = mocap.select(rows), seed, vary, tell
        self.weights, self.fold = balanced_weights(self.mocap, seed), folds(self.mocap)
        self.least = min(int((self.fold != f).sum()) for f in np.unique(self.fold))
        self.trials: dict[tuple[int, int], Trial] = {}

    def trial(self, components: int, basis: int) -> Trial:
        """Cross-validation of one pair."""
        pair = (components, basis)
        if pair not in self.trials:
            self.trials[pair] = cross_validate(
                self.mocap, self.weights, self.fold, components, basis, self.seed, self.vary
            )
            self.tell(self.trials[pair])
        return self.trials[pair]

    def over_components(self, basis: int) -> list[Trial]:
        """The curve over C that the data allow."""
        return [self.trial(c, basis) for c in COMPONENTS if 4 * c * basis <= self.least]

    def over_bases(self, components: int) -> list[Trial]:
        """The curve over K that the data allow."""
        return [self.trial(components, k) for k in BASES if 4 * components * k <= self.least]

    def choose(self, components: int | None, basis: int | None) -> tuple[int, int]:
        """C and K; None is sought: C at K = 25 (less where people are few), K at that C, and C once
        more where both are sought."""
        k = basis or max((k for k in BASES if k <= 25 and 16 * k <= self.least), default=BASES[0])
        if components is None:
            c = best_of(self.over_components(k))[0]
        c = components or c
        if basis is None:
            k = best_of(self.over_bases(c))[1]
        if components is None and basis is None:
            c = best_of(self.over_components(k))[0]
        return c, k


def best_of(trials: list[Trial]) -> tuple[int, int]:
    """C and K of the smallest model that is as good as the best."""
    if not trials:
        raise PriorError("positions: expected more poses beside those left out to choose a model")
    best = max(t.held_out for t in trials)
    chosen = min(
        (t for t in trials if t.held_out > best - ENOUGH), key=lambda t: t.components * t.basis
    )
    return chosen.components, chosen.basis


def cross_validate(
    mocap: Mocap,
    weights: np.ndarray,
    fold: np.ndarray,
    components: int,
    basis: int,
    seed: int = 0,
    vary: bool = True,
) -> Trial:
    """Mean log-likelihood of all poses, each under the fit that did not see its fold; weights (N,)
    balance both sides."""
    score, train = np.zeros(len(fold)), []
    for f in np.unique(fold):
        prior = fit_prior(
            mocap.select(fold != f), components, basis, seed, weights[fold != f], vary
        )
        score[fold == f] = prior.score_samples(mocap.positions_m[fold == f])
        train.append(prior.log_likelihoods_[-1])
    return Trial(components, basis, float(np.mean(train)), float(weights @ score / weights.sum()))
