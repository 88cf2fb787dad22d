# SPDX-License-Identifier: Apache-2.0
"""Chooses the numbers of components C and of basis vectors K by held-out likelihood, in a
cross-validation over the people or takes of the training set."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lifting_ros.prior.ppca import PriorError, check_poses
from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.training.fit_prior import fit_prior, training_poses

COMPONENTS = (1, 2, 3, 4, 6, 8, 10, 12)
"""Numbers of components that are tried."""
BASES = (10, 15, 20, 25, 30, 35, 40, 45)
"""Numbers of basis vectors that are tried."""
FOLDS = 4
POSES = 24_000
"""Largest number of poses that are used, evenly spaced."""

ENOUGH = 0.25
"""A smaller model is chosen if its log-likelihood is less than this below the best one, nats per
pose."""


class Trial(NamedTuple):
    """The cross-validation of one pair of C and K."""

    components: int
    basis: int
    train: float
    """Mean log-likelihood per pose of the fitted poses, balanced as in the fit."""
    held_out: float
    """Mean log-likelihood per pose of the held-out poses, balanced as in the fit."""


def people(mocap: Mocap) -> np.ndarray:
    """Group of each pose (N,): its subject.

    Subjects with two or more clips of the same lengths were recorded together and share a group.
    """
    first_with: dict[tuple[int, ...], int] = {}
    group = np.array(mocap.subject_id)

    for subject in np.unique(mocap.subject_id):
        own = mocap.subject_id == subject
        _, counts = np.unique(mocap.clip_id[own], return_counts=True)
        lengths = tuple(counts)
        if len(lengths) > 1:
            group[own] = first_with.setdefault(lengths, int(subject))

    return group


def takes(mocap: Mocap, group: np.ndarray) -> np.ndarray:
    """Take of each pose (N,): its clip, together with the clips that others of its group recorded
    at the same time. group: (N,)."""
    order = np.zeros(len(group), int)
    for subject in np.unique(mocap.subject_id):
        own = mocap.subject_id == subject
        order[own] = _numbered(mocap.clip_id[own])

    pairs = np.stack([group, order], 1)
    return _numbered(pairs, axis=0)


def _numbered(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Number (N,) of each value, or row, among the sorted unique ones."""
    _, number = np.unique(values, axis=axis, return_inverse=True)
    return number.ravel()


def folds(mocap: Mocap, count: int = FOLDS) -> np.ndarray:
    """Fold of each pose (N,). Groups of people, the largest first, are added to the fold with the
    fewest poses.

    If one group is larger than a fold, leaving it out would leave out a whole source of data with
    its skeleton and kind of motion. Then whole takes are left out instead of people. PriorError if
    there is one group only.
    """
    group = people(mocap)
    _, sizes = np.unique(group, return_counts=True)
    if sizes.max() * count > len(group):
        group = takes(mocap, group)

    _, sizes = np.unique(group, return_counts=True)
    if len(sizes) < 2:
        raise PriorError(
            "subject_id: expected two people or clips or more to choose a model by those left out"
        )

    fold = np.zeros(len(sizes), int)
    filled = np.zeros(min(count, len(sizes)), int)
    for number in np.argsort(-sizes, kind="stable"):
        fold[number] = filled.argmin()
        filled[fold[number]] += sizes[number]

    return fold[_numbered(group)]


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
        """posed: share of generated poses; each is left out with the poses that it borrows from."""
        check_poses(mocap.positions_m, 1, 1)
        count = len(mocap.positions_m)
        rows = np.linspace(0, count - 1, min(POSES, count)).astype(int)
        recorded = mocap.select(rows)

        self.mocap, self.weights, donor = training_poses(recorded, posed, seed)
        self.fold = folds(recorded)[donor]
        self.seed = seed
        self.vary = vary
        self.on_trial = on_trial
        self.trials: dict[tuple[int, int], Trial] = {}

        fitted = [int((self.fold != number).sum()) for number in np.unique(self.fold)]
        self.least = min(fitted)
        """Smallest number of poses that a model is fitted to."""

    def trial(self, components: int, basis: int) -> Trial:
        """The cross-validation of one pair, cached."""
        pair = (components, basis)
        if pair not in self.trials:
            self.trials[pair] = cross_validate(
                self.mocap,
                self.weights,
                self.fold,
                components,
                basis,
                self.seed,
                self.vary,
            )
            self.on_trial(self.trials[pair])

        return self.trials[pair]

    def over_components(self, basis: int) -> list[Trial]:
        """Trials of all C for which there are enough poses."""
        feasible = [count for count in COMPONENTS if self._is_feasible(count, basis)]
        return [self.trial(count, basis) for count in feasible]

    def over_bases(self, components: int) -> list[Trial]:
        """Trials of all K for which there are enough poses."""
        feasible = [count for count in BASES if self._is_feasible(components, count)]
        return [self.trial(components, count) for count in feasible]

    def _is_feasible(self, components: int, basis: int) -> bool:
        """Whether there are enough poses for a model."""
        return 4 * components * basis <= self.least

    def choose(self, components: int | None, basis: int | None) -> tuple[int, int]:
        """C and K; those given as None are searched for.

        C is searched for at K = 25 (fewer with few poses), then K at that C; if both are searched
        for, then C once more.
        """
        k = basis
        if not k:
            feasible = [count for count in BASES if count <= 25 and self._is_feasible(4, count)]
            k = max(feasible, default=BASES[0])

        c = components
        if not c:
            c, _ = best_of(self.over_components(k))

        if basis is None:
            _, k = best_of(self.over_bases(c))
            if components is None:
                c, _ = best_of(self.over_components(k))

        return c, k


def best_of(trials: list[Trial]) -> tuple[int, int]:
    """C and K of the smallest model that is nearly as good as the best; PriorError without
    trials."""
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
    """Mean log-likelihood of all poses, each with a model that was fitted without its fold (N,);
    weights (N,) balance both the fit and the mean."""
    score = np.zeros(len(fold))
    train = []

    for number in np.unique(fold):
        held = fold == number
        prior = fit_prior(mocap.select(~held), components, basis, seed, weights[~held], vary)
        score[held] = prior.score_samples(mocap.positions_m[held])
        train.append(prior.log_likelihoods_[-1])

    held_out = float(weights @ score / weights.sum())
    return Trial(components, basis, float(np.mean(train)), held_out)
