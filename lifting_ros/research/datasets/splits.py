# SPDX-License-Identifier: Apache-2.0
"""The split of each set: rows to train on, rows to choose thresholds on, and rows to measure on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

VALIDATION_EXERCISES = ("D", "L")
"""First letters of the exercises of `gym` for validation, so that each exercise is on one side."""

HELD_BACK = 12
"""One of so many groups of eight training rows is held back to choose thresholds and to calibrate
scores."""

SIDES = ("train", "tune", "training", "validation", "all")
"""Names of the sides, see `rows_of`."""


def validation_of(
    name: str,
    files: Sequence[str],
) -> np.ndarray:
    """Boolean (N,): the validation rows of the photographs `files` of a set, by index; of `gym`, by
    exercise."""
    if name == "lspet":
        return np.arange(len(files)) >= 7200
    if name == "gym":
        initials = [file[0].upper() for file in files]
        return np.array([initial in VALIDATION_EXERCISES for initial in initials], bool)

    return every_ninth(len(files))


def own_split(
    arrays: Mapping[str, np.ndarray],
    otherwise: np.ndarray,
) -> np.ndarray:
    """Boolean (N,): the array `validation` of a set that contains its split, else `otherwise`.

    With it, a part of a set keeps the split of the whole set, and what is trained on the part can
    be measured on the whole.
    """
    if "validation" in arrays:
        return arrays["validation"].astype(bool)
    return otherwise


def every_ninth(count: int) -> np.ndarray:
    """Boolean (count,): each ninth row. The photographs without people use this rule too."""
    index = np.arange(count)
    return index % 9 == 8


def rows_of(
    validation: np.ndarray,
    side: str,
) -> np.ndarray:
    """Boolean (N,): the rows of a side. validation: (N,) bool, the rows for validation.

    The sides are `train`; `tune`, held back from the training to choose thresholds; `training`,
    both of these; `validation`; and `all`. ValueError for another one.
    """
    if side not in SIDES:
        raise ValueError(f"side: expected one of {', '.join(SIDES)}, got {side!r}")

    training = np.flatnonzero(~validation)
    group = np.arange(len(training)) // 8
    held_back = training[group % HELD_BACK == 5]
    tune = np.zeros(len(validation), bool)
    tune[held_back] = True

    sides = {
        "train": ~validation & ~tune,
        "tune": tune,
        "training": ~validation,
        "validation": validation,
        "all": np.ones(len(validation), bool),
    }

    return sides[side]
