# SPDX-License-Identifier: Apache-2.0
"""The number of components C and basis vectors K by held-out likelihood: cross-validation over
people or takes of the training set."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lifting_ros.prior.ppca import PriorError, check_poses
from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.training.fit_prior import fit_prior, training_poses

COMPONENTS = (1, 2, 3, 4, 6, 8, 10, 12)
BASES = (10, 15, 20, 25, 30, 35, 40, 45)
FOLDS = 4
POSES = 24_000
"""Most poses that are used; of more, an evenly spaced selection."""

ENOUGH = 0.25
"""Nats per pose by which a smaller model may be worse and still be chosen."""


class Trial(NamedTuple):
    """One pair of C and K: mean log-likelihood per pose, of the fitted and of the held-out poses,
    balanced like the fit."""

    components: int
    basis: int
    train: float
    held_out: float


def people(mocap: Mocap) -> np.ndarray:
    """Group of each pose (N,): its subject. Subjects whose clips (two or more) have the same
    lengths were recorded together and share a group."""
    lengths: dict[tuple[int, ...], int] = {}
    group = np.array(mocap.subject_id)

    for subject in np.unique(mocap.subject_id):
        own = mocap.subject_id == subject
        _, counts = np.unique(mocap.clip_id[own], return_counts=True)
        clips = tuple(counts)
        if len(clips) > 1:
            group[own] = lengths.setdefault(clips, int(subject))

    return group


def takes(mocap: Mocap, group: np.ndarray) -> np.ndarray:
    """Take of each pose (N,): its clip, together with the clips that others of its group recorded
    at the same time. group: (N,)."""
    order = np.zeros(len(group), int)
    for subject in np.unique(mocap.subject_id):
        own = mocap.subject_id == subject
        order[own] = np.unique(mocap.clip_id[own], return_inverse=True)[1].ravel()

    return np.unique(np.stack([group, order], 1), axis=0, return_inverse=True)[1].ravel()


def folds(mocap: Mocap, count: int = FOLDS) -> np.ndarray:
    """Fold of each pose (N,): groups of people, the largest first, each to the fold with the fewest
    poses.

    If one group is larger than a fold, leaving it out would leave out a whole source of data with
    its skeleton and kind of motion. Then whole takes are left out instead of people.
    """
    group = people(mocap)
    if np.unique(group, return_counts=True)[1].max() * count > len(group):
        group = takes(mocap, group)

    _, owner, sizes = np.unique(group, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise PriorError(
            "subject_id: expected two people or clips or more to choose a model by those left out"
        )

    fold = np.zeros(len(sizes), int)
    filled = np.zeros(min(count, len(sizes)), int)

    for name in np.argsort(-sizes, kind="stable"):
        fold[name] = filled.argmin()
        filled[fold[name]] += sizes[name]

    return fold[owner.ravel()]


class Search:
    """Trials on a training set, each made once; `on_trial` is called with every new one."""

    def __init__(
        self,
        mocap: Mocap,
        seed: int = 0,
        vary: bool = True,
        on_trial: Callable[[Trial], None] = lambda trial: None,
        posed: float = 0.0,
    ):
        """posed: share of generated poses, which are left out with those they borrow from."""
        check_poses(mocap.positions_m, 1, 1)
        count = len(mocap.positions_m)
        rows = np.linspace(0, count - 1, min(POSES, count)).astype(int)
        recorded = mocap.select(rows)
        self.mocap, self.weights, donor = training_poses(recorded, posed, seed)
        self.fold = folds(recorded)[donor]
        self.seed = seed
        self.vary = vary
        self.on_trial = on_trial
        self.least = min(int((self.fold != f).sum()) for f in np.unique(self.fold))
        self.trials: dict[tuple[int, int], Trial] = {}

    def trial(self, components: int, basis: int) -> Trial:
        """The cross-validation of one pair, cached."""
        pair = (components, basis)
        if pair not in self.trials:
            self.trials[pair] = cross_validate(
                self.mocap, self.weights, self.fold, components, basis, self.seed, self.vary
            )
            self.on_trial(self.trials[pair])

        return self.trials[pair]

    def over_components(self, basis: int) -> list[Trial]:
        """Trials over all C for which there are enough poses."""
        return [self.trial(c, basis) for c in COMPONENTS if 4 * c * basis <= self.least]

    def over_bases(self, components: int) -> list[Trial]:
        """Trials over all K for which there are enough poses."""
        return [self.trial(components, k) for k in BASES if 4 * components * k <= self.least]

    def choose(self, components: int | None, basis: int | None) -> tuple[int, int]:
        """C and K. Those given as None are searched for: C at K = 25 (less with few poses), then K
        at that C, then C once more if both are searched for."""
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

    best = max(trial.held_out for trial in trials)
    good = [trial for trial in trials if trial.held_out > best - ENOUGH]
    chosen = min(good, key=lambda trial: trial.components * trial.basis)
    return chosen.components, chosen.basis


def cross_validate(  # noqa: PLR0913 - the data and the settings of a trial
    mocap: Mocap,
    weights: np.ndarray,
    fold: np.ndarray,
    components: int,
    basis: int,
    seed: int = 0,
    vary: bool = True,
) -> Trial:
    """Mean log-likelihood of all poses, each under the fit without its fold; weights (N,) balance
    both the fit and the mean."""
    score = np.zeros(len(fold))
    train = []

    for f in np.unique(fold):
        prior = fit_prior(
            mocap.select(fold != f), components, basis, seed, weights[fold != f], vary
        )
        score[fold == f] = prior.score_samples(mocap.positions_m[fold == f])
        train.append(prior.log_likelihoods_[-1])

    return Trial(components, basis, float(np.mean(train)), float(weights @ score / weights.sum()))
