# SPDX-License-Identifier: Apache-2.0
"""What the diagnostics count."""

from __future__ import annotations

import sys
from types import ModuleType

from lifting_ros.ros.diagnostics import Tally, memory_bytes, process_values


def test_rates_ages_steps_and_drops_of_a_period():
    tally = Tally()
    for age in range(1, 101):
        tally.received()
        tally.answered(age / 1000, {"detect": 0.004, "lift": 0.001}, 2)
    for _ in range(3):
        tally.received()
        tally.dropped("a newer one came")
    values, answered, dropped = tally.take(2.0)
    assert answered == 100 and dropped == {"a newer one came": 3}
    expected = {
        "input rate [Hz]": "51.5",
        "rate [Hz]": "50.0",
        "persons": "2",
        "age p50 [ms]": "50.5",
        "age p99 [ms]": "99.0",
        "detect [ms]": "4.00",
        "lift [ms]": "1.00",
        "network [ms]": "-",
        "dropped, a newer one came": "3",
    }
    assert expected.items() <= values.items()


def test_detected_and_followed_frames_of_a_period():
    tally = Tally()
    for detected in (True, False, False, False):
        tally.estimated(detected)
    values, _, _ = tally.take(1.0)
    assert (values["frames detected"], values["frames followed"]) == ("1", "3")
    values, _, _ = tally.take(1.0)
    assert (values["frames detected"], values["frames followed"]) == ("0", "0")


def test_a_period_starts_afresh_but_drops_are_counted_on():
    tally = Tally()
    tally.answered(0.1, {}, 1)
    tally.dropped("not usable")
    tally.take(1.0)
    tally.dropped("not usable")
    values, answered, dropped = tally.take(1.0)
    assert (answered, dropped, values["dropped, not usable"], values["age p50 [ms]"]) == (
        0,
        {"not usable": 1},
        "2",
        "-",
    )


def test_memory_is_that_of_a_process_with_numpy():
    assert 20e6 < memory_bytes() < 1e11


def test_process_is_described_while_torch_is_being_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))  # as another thread begins it
    assert set(process_values()) == {"memory [MB]"}
