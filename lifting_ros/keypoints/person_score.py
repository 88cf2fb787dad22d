# SPDX-License-Identifier: Apache-2.0
"""The score of a person: whether a detection shows one, from the detector's score and from what the
keypoint network sees in the crop.

Clothes on a hanger have shoulders and hips, but no face, hands or feet. The pretrained trunk of a
network has maps of those, which tell clothes from people. A linear probe of its last layer (a
logistic regression on the layer's mean over the crop) tells them apart as well.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import expit, logit

from lifting_ros.config import ConfigError, from_mapping
from lifting_ros.io.checkpoint import CheckpointError, load_arrays, read_section

if TYPE_CHECKING:
    from lifting_ros.types import FoundKeypoints

HEADER = "person_score"
"""Name of the weights in the header of a network's weights file."""

PROBE = "person_score.probe"
"""Name of the linear probe among the tensors of a network's weights file."""

ENDS = (0, 1, 2, 3, 4, 9, 10, 15, 16)
"""Among the trunk's 17 maps (COCO's order): nose, eyes, ears, wrists and ankles."""

COUNTED_KEYPOINTS = 4
"""Number of keypoints, the most probable ones, that a person's score is computed from. Half of a
person may be out of view, so not all count."""

DETECTOR_SHARE = 0.1
"""Exponent of the detector's score in the score of a network without weights for it; chosen on rows
held out of training."""

LEAST_PROBABILITY = 0.01
"""Probabilities are kept this far from 0 and 1 before the logit, so that no single one decides."""

_WEIGHT = (0.0, 100.0)
_CONSTANT = (-100.0, 100.0)


@dataclass(frozen=True)
class PersonScore:
    """Weights of the logistic score, one set per network; no weight is negative, so more evidence
    never lowers the score."""

    detector: float = field(
        default=0.0,
        metadata={"description": "weight of the logit of the detector's score", "range": _WEIGHT},
    )
    keypoints: float = field(
        default=0.0,
        metadata={
            "description": "weight of the logit of the mean presence of the surest keypoints",
            "range": _WEIGHT,
        },
    )
    ends: float = field(
        default=0.0,
        metadata={
            "description": "weight of the logit that a face, a hand or a foot is in view",
            "range": _WEIGHT,
        },
    )
    probe: float = field(
        default=0.0,
        metadata={"description": "weight of the logit of the linear probe", "range": _WEIGHT},
    )
    constant: float = field(
        default=0.0, metadata={"description": "added to the four", "range": _CONSTANT}
    )


class Probe(NamedTuple):
    """A linear probe: the logit of a person, from the last layer of a network's trunk."""

    direction: np.ndarray
    """(c,)"""
    constant: float

    def evidence(self, deep: np.ndarray) -> np.ndarray:
        """Logits (...) of last layers (..., c), averaged over the crop."""
        return _bounded(deep @ self.direction + self.constant)


def person_score(
    detection: float,
    found: FoundKeypoints,
    weights: PersonScore | None = None,
    probe: Probe | None = None,
) -> float:
    """Probability that a person is there.

    detection: the detector's score; found: what the network sees in the crop; probe: without one
    its evidence is 0.

    With weights, this is the logistic score. Without weights, or without a trunk, it is a weighted
    geometric mean of the detector's score and the presence of the COUNTED_KEYPOINTS surest
    keypoints, in which the keypoints count most.
    """
    if weights is None or np.isnan(found.ends):
        keypoints = surest(found.presence)
        return float(detection**DETECTOR_SHARE * keypoints ** (1 - DETECTOR_SHARE))

    evidence = evidence_of(detection, found, probe)
    return float(expit(logit_of(weights, evidence)))


def surest(presence: np.ndarray) -> float:
    """Mean of the COUNTED_KEYPOINTS highest of the probabilities (14,)."""
    return float(np.mean(np.sort(presence)[-COUNTED_KEYPOINTS:]))


def evidence_of(detection: float, found: FoundKeypoints, probe: Probe | None) -> np.ndarray:
    """(4,) logits that the score is computed from, in the order of `PersonScore`."""
    probabilities = np.array([detection, surest(found.presence), found.ends])
    probed = 0.0 if probe is None or found.deep is None else probe.evidence(found.deep)
    return np.append(bounded_logit(probabilities), probed)


def logit_of(weights: PersonScore, evidence: np.ndarray) -> np.ndarray:
    """Logits (...) of the scores of evidence (..., 4)."""
    factors = np.array([weights.detector, weights.keypoints, weights.ends, weights.probe])
    return evidence @ factors + weights.constant


def ends_of(highest: np.ndarray, mirrored: bool = False) -> np.ndarray:
    """(N,) probabilities that a face, a hand or a foot is in the crop.

    highest: (N, 17) the largest value of each of the trunk's maps; mirrored: (2 N, 17), of N crops
    and of their mirror images, of which the mean logit counts.
    """
    ends = highest[:, list(ENDS)].max(1)
    if not mirrored:
        return ends

    both = bounded_logit(ends.reshape(2, -1))
    return expit(both.mean(0))


def _bounded(logits: np.ndarray) -> np.ndarray:
    """Logits (...) of probabilities that are kept LEAST_PROBABILITY from 0 and 1."""
    largest = logit(1 - LEAST_PROBABILITY)
    return np.clip(logits, -largest, largest)


def bounded_logit(probability: np.ndarray) -> np.ndarray:
    """Logits (...) of probabilities (...) that are kept LEAST_PROBABILITY from 0 and 1."""
    inside = np.clip(probability, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return logit(inside)


def read_person_score(path: str | Path) -> PersonScore | None:
    """The weights for the score in a network's weights file; None in a file without them, or of
    another format.

    CheckpointError in one line for weights that are incomplete, negative or not numbers.
    """
    stated = read_section(path, HEADER)
    if stated is None:
        return None

    try:
        return checked(stated)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from None


def read_probe(path: str | Path) -> Probe:
    """The linear probe in a network's weights file; CheckpointError in one line for a file without
    one, or one that is not a row of numbers."""
    values = load_arrays(path, [PROBE])[PROBE].astype(np.float64)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise CheckpointError(f"{path}: {PROBE}: expected a row of at least two numbers")

    return Probe(values[:-1], float(values[-1]))


def checked(values: Mapping[str, Any]) -> PersonScore:
    """The weights of a mapping; ConfigError for one that is missing or outside its range."""
    score = from_mapping(PersonScore, values, prefix=f"{HEADER}.")
    for one in dataclasses.fields(PersonScore):
        if one.name not in values and one.name != "probe":  # older files have no probe
            raise ConfigError(f"{HEADER}.{one.name}: missing")

    return score
