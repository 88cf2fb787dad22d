# SPDX-License-Identifier: Apache-2.0
"""What the node `lifting_fusion` says of itself."""

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from people_in_views import around, frames, walker

from lifting_ros.multiview.live import FusedFrame
from lifting_ros.ros.fusion_diagnostics import FusionTally

NAMES = ("camera0", "camera1")
JOINTS = walker()[0]


def answer(alone: bool = False) -> FusedFrame:
    """Two people, the second one seen by one camera alone."""
    cameras = tuple(frames(around((0, 90)), [JOINTS, JOINTS + (1, 0, 0)], None))
    both = {"camera0": 1, "camera1": 1}
    sources = {1: {"camera0": 1} if alone else both, 2: {"camera0": 2}}
    return FusedFrame(10**9, cameras[0].persons, cameras, sources)


def read(tally: FusionTally, cameras=NAMES):
    status = tally.status("lifting_fusion", cameras, 0.15)
    return status, {value.key: value.value for value in status.values}


def test_values_of_a_period():
    tally = FusionTally()
    for age_ms in range(1, 101):
        for name in NAMES:
            tally.received(name)
        tally.fused(answer(), age_ms / 1000, 0.002)
    status, values = read(tally)
    assert status.name == "lifting_fusion: fusion"
    assert (status.level, status.message) == (DiagnosticStatus.OK, "active")
    expected = {
        "rate [Hz]": "100.0",
        "age p50 [ms]": "50.5",
        "age p99 [ms]": "99.0",
        "fuse [ms]": "2.00",
        "persons": "2",
        "persons of several cameras": "1",
        "camera0: input rate [Hz]": "100.0",
        "camera1: used rate [Hz]": "100.0",
        "camera1: reprojection p50 [px]": "0.0",
    }
    assert expected.items() <= values.items()

    # A period starts afresh
    status, values = read(tally)
    assert values["rate [Hz]"] == "0.0" and values["age p50 [ms]"] == values["fuse [ms]"] == "-"
    assert status.level == DiagnosticStatus.WARN
    assert status.message == "no skeletons from camera0, camera1"


def test_no_residual_where_cameras_see_different_people():
    tally = FusionTally()
    tally.fused(answer(alone=True), 0.1, 0.002)
    _, values = read(tally)
    assert values["camera0: reprojection p50 [px]"] == "-"
    assert values["persons of several cameras"] == "0"


@pytest.mark.parametrize(
    ("causes", "level", "message"),
    [
        (["late", "late"], DiagnosticStatus.WARN, "camera1: late (2)"),
        (["failed (ValueError)", "late"], DiagnosticStatus.ERROR, "camera1: failed (ValueError)"),
    ],
)
def test_what_is_not_used_is_told_and_counted_on(causes, level, message):
    tally = FusionTally()
    for _ in range(2):
        for name in NAMES:
            tally.received(name)
        for cause in causes:
            tally.dropped("camera1", cause)
        status, values = read(tally)
        assert (status.level, status.message) == (level, message)
    assert values[f"dropped, camera1: {causes[0]}"] == str(2 * causes.count(causes[0]))


def test_inactive_node_misses_no_camera():
    status, values = read(FusionTally(), ())
    assert (status.level, status.message) == (DiagnosticStatus.OK, "inactive")
    assert values["persons"] == "0" and np.isfinite(float(values["rate [Hz]"]))
