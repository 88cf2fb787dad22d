# SPDX-License-Identifier: Apache-2.0
"""Which rows of a set are trained on, which set thresholds, and which measure: the one place that
says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

# gym: initial letters kept for validation, so that an exercise is on one side only
VALIDATION_EXERCISES = (
    "D",
    "L",
)
# of so many groups of eight training rows one is held back to set thresholds and the scores'
# calibration
HELD_BACK = 12
SIDES = ("train", "tune", "training", "validation", "all")


def validation_of(name: str, files: Sequence[str]) -> np.ndarray:
    """Boolean (N,): the validation rows of the photographs `files` of a set: by index, of `gym` by
    exercise."""
    if name == "lspet":
        return np.arange(len(files)) >= 7200
    if name == "gym":
        initials = [file[0].upper() for file in files]
        return np.array([initial in VALIDATION_EXERCISES for initial in initials], bool)

    return every_ninth(len(files))


def own_split(arrays: Mapping[str, np.ndarray], otherwise: np.ndarray) -> np.ndarray:
    """Boolean (N,): the array `validation` of a set that brings its own split, else `otherwise`.

    So a part of a set keeps the whole one's split, and what is trained on it can be measured on the
    whole.
    """
    return arrays["validation"].astype(bool) if "validation" in arrays else otherwise


def every_ninth(count: int) -> np.ndarray:
    """Boolean (count,): every ninth row, the rule of the photographs without people as well."""
    return np.arange(count) % 9 == 8


def rows_of(validation: np.ndarray, side: str) -> np.ndarray:
    """Boolean (N,): the rows of a side, from which of them validate (N,) bool.

    `train`; `tune`, held back from the training to set thresholds; `training`, both of these;
    `validation`; `all`.
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
