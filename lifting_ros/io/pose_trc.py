# SPDX-License-Identifier: Apache-2.0
"""TRC, the marker files of OpenSim: joints as markers, millimetres, y up, cells empty in gaps.

The format: https://opensimconfluence.atlassian.net/wiki/spaces/OpenSim/pages/53089972
"""

from __future__ import annotations

import io

import numpy as np

from lifting_ros.io.uniform_track import UniformTrack
from lifting_ros.skeleton import JOINT_COUNT, JOINT_NAMES

_AXES = ("X", "Y", "Z")


def encode_trc(track: UniformTrack, name: str) -> tuple[bytes, str]:
    """The content of a TRC file called `name`, and no note.

    Frame# and Time count from the recording's earliest stamp, as for all people of a recording.
    """
    count = len(track.joints_m)
    rate = f"{track.rate_hz:.6f}"
    settings = {
        "DataRate": rate,
        "CameraRate": rate,
        "NumFrames": str(count),
        "NumMarkers": str(JOINT_COUNT),
        "Units": "mm",
        "OrigDataRate": rate,
        "OrigDataStartFrame": str(track.first + 1),
        "OrigNumFrames": str(count),
    }
    markers = [cell for joint in JOINT_NAMES for cell in (joint, "", "")]
    axes = [f"{axis}{number}" for number in range(1, JOINT_COUNT + 1) for axis in _AXES]

    text = io.StringIO()
    for cells in (
        ("PathFileType", "4", "(X/Y/Z)", name),
        settings.keys(),
        settings.values(),
        ("Frame#", "Time", *markers),
        ("", "", *axes),
        (),
    ):
        print(*cells, sep="\t", file=text)

    # A tab at the end of a row, without which OpenSim does not see that the last cell is empty
    positions = 1000 * track.joints_m.reshape(count, -1)
    for k, time_s in enumerate(track.times_s):
        values = [f"{value:.3f}" if np.isfinite(value) else "" for value in positions[k]]
        print(track.first + 1 + k, f"{time_s:.6f}", *values, "", sep="\t", file=text)

    return text.getvalue().encode(), ""
