# SPDX-License-Identifier: Apache-2.0
"""Doubt about legs at the border of the picture.

Where the picture ends above a person's hips, the network puts the hips just inside its border, and
its presence says that they are in view more often than they are. How often was measured on
photographs that were cut there; the confidence is lowered accordingly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit, logit

from lifting_ros.config import ConfigError, from_mapping
from lifting_ros.io.checkpoint import CheckpointError, read_section
from lifting_ros.skeleton import KEYPOINT_NAMES

if TYPE_CHECKING:
    from lifting_ros.types import FoundKeypoints

HEADER = "border_doubt"
"""Name of the values in the header of a network's weights file."""

LEGS = {
    kind: tuple(k for k, name in enumerate(KEYPOINT_NAMES) if name.endswith(kind))
    for kind in ("hip", "knee", "ankle")
}
"""Keypoints that are doubted, by the name of the value in `BorderDoubt`."""

LEAST_PRESENCE = 1e-6
"""Presences are kept this far from 0 and 1 before the logit."""

_DOUBT = (0.0, 100.0)


@dataclass(frozen=True)
class BorderDoubt:
    """What is taken from the logit of a leg keypoint's presence, one set of values per network."""

    hip: float = field(
        default=0.0, metadata={"description": "taken at the border from a hip", "range": _DOUBT}
    )
    knee: float = field(
        default=0.0, metadata={"description": "taken at the border from a knee", "range": _DOUBT}
    )
    ankle: float = field(
        default=0.0, metadata={"description": "taken at the border from an ankle", "range": _DOUBT}
    )
    reach: float = field(
        default=0.03,
        metadata={
            "description": (
                "distance from the border, in longer sides of the person's box, at which 37 % of "
                "that is taken"
            ),
            "range": (1e-3, 1.0),
        },
    )


def doubted(
    found: FoundKeypoints,
    box_px: np.ndarray,
    size: tuple[int, int],
    doubt: BorderDoubt | None,
) -> FoundKeypoints:
    """The same, with less confidence in leg keypoints near the lower border of the image.

    box_px: (4,) that the person was cropped around; size: (w, h) of the image; doubt: None changes
    nothing. The presence, from which the person's score is computed, stays.
    """
    if doubt is None:
        return found

    inside = distance_inside(found.keypoints_px, box_px, size)
    before = np.clip(found.presence, LEAST_PRESENCE, 1 - LEAST_PRESENCE)
    less = taken(inside, doubt)
    after = np.where(less > 0, expit(logit(before) - less), before)
    return dataclasses.replace(found, confidence=found.confidence * (after / before))


def distance_inside(
    keypoints_px: np.ndarray, box_px: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Distances (14,) of keypoints (14, 2) from the lower border of an image of `size` (w, h),
    divided by the longer side of the person's box (4,); 0 below the border."""
    border = size[1] - 0.5
    longer = max(float(np.max(box_px[2:] - box_px[:2])), 1.0)
    return np.maximum(border - keypoints_px[:, 1], 0) / longer


def taken(inside: np.ndarray, doubt: BorderDoubt) -> np.ndarray:
    """What is taken from the logits (..., 14), from `distance_inside` (..., 14)."""
    at_border = np.zeros(len(KEYPOINT_NAMES))
    for kind, keypoints in LEGS.items():
        at_border[list(keypoints)] = getattr(doubt, kind)

    return at_border * np.exp(-inside / doubt.reach)


def read_border_doubt(path: str | Path) -> BorderDoubt | None:
    """The values in a network's weights file; None in a file without them, or of another format.

    CheckpointError in one line for values that are incomplete, negative or not numbers.
    """
    stated = read_section(path, HEADER)
    if stated is None:
        return None

    try:
        return _checked(stated)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _checked(values: Mapping[str, Any]) -> BorderDoubt:
    """The values of a mapping; ConfigError for one that is missing or outside its range."""
    doubt = from_mapping(BorderDoubt, values, prefix=f"{HEADER}.")
    for one in dataclasses.fields(BorderDoubt):
        if one.name not in values:
            raise ConfigError(f"{HEADER}.{one.name}: missing")

    return doubt
