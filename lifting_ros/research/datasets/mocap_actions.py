# SPDX-License-Identifier: Apache-2.0
"""What people do in motion capture, by the names of the clips.

Clips of the CMU Graphics Lab Motion Capture Database are numbered by subject and trial; the actions
are those of its public index, for the subjects below. Any other clip is named after what it shows,
such as `basketball_signal_3`.
"""

from __future__ import annotations

import re

import numpy as np

from lifting_ros.research.datasets.mocap import Mocap

UNNAMED = "all"
"""Action of poses of a file without names of clips."""

_NUMBERED = re.compile(r"cmu_(\d+)_(\d+)")
_NAMED = re.compile(r"(?:cmutxt_test_|cmutxt_train_|papagina_)?(.*?)[ _]*\d*")

_TRIALS = {
    "02_03": "running",
    "02_04": "jumping",
    "02_05": "punching",
    "02_06": "bending, lifting",
    "02_07": "swordplay",
    "02_08": "swordplay",
    "02_09": "swordplay",
    "02_10": "washing",
    "06_01": "walking",
}
"""Subject and trial of the CMU database -> action, where the subject does not tell."""

_SUBJECTS = {
    "01": "playground",
    "02": "walking",
    "03": "uneven ground",
    "06": "basketball",
    "07": "walking",
    "16": "walking",
    "35": "walking",
    "39": "walking",
}
"""Subject of the CMU database -> action of the other trials."""


def action_of(clip: str) -> str:
    """The action that a clip of this name shows; its subject or its name where that is unknown."""
    numbered = _NUMBERED.fullmatch(clip)
    if numbered:
        subject, trial = numbered.groups()
        by_subject = _SUBJECTS.get(subject, f"cmu {subject}")
        return _TRIALS.get(f"{subject}_{trial}", by_subject)

    (name,) = _NAMED.fullmatch(clip).groups()
    return name.replace("_", " ") or clip


def actions(mocap: Mocap) -> np.ndarray:
    """Name (N,) of what each pose belongs to."""
    if not mocap.clips:
        return np.full(len(mocap.clip_id), UNNAMED, object)
    named = np.array([action_of(name) for name in mocap.clips], object)
    return named[mocap.clip_id]
