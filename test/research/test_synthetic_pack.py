# SPDX-License-Identifier: Apache-2.0
"""Packs of synthetic pictures: the same for any number of processes, whole or not there, and errors
that reach the caller."""

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lifting_ros.research.rendering.render_errors import RenderError
from lifting_ros.research.rendering.synthetic_pack import (
    crowd_labels,
    render_pictures,
    save_labels,
    window_labels,
)
from lifting_ros.research.rendering.synthetic_picture import SyntheticPerson, SyntheticSample

SIZE = (12, 8)
LIMIT_S = 600
"""Against hanging only."""


def numbered(source, index):
    """A picture that depends on its number alone, with index % 3 people."""
    if source == "broken" and index == 3:
        raise ValueError("picture 3 is broken")
    if source == "dead" and index == 3:
        os._exit(1)
    if source == "slow":
        time.sleep(0.2)
    rng = np.random.default_rng(index)
    people = tuple(_person(rng) for _ in range(index % 3))
    return SyntheticSample(
        rng.integers(0, 256, (8, 12, 3), np.uint8), people, np.eye(3), np.array([0.0, -1, 0])
    )


def _person(rng):
    visible = rng.random(14) < 0.5
    return SyntheticPerson(
        rng.random((14, 2)),
        visible,
        visible | (rng.random(14) < 0.5),
        rng.random(4),
        rng.random((17, 3)),
        0.5,
    )


def test_one_and_two_processes_make_the_same_pictures(tmp_path):
    alone = render_pictures(tmp_path / "one", partial(str, "fine"), numbered, 7, SIZE, workers=1)
    shared = render_pictures(tmp_path / "two", partial(str, "fine"), numbered, 7, SIZE, workers=2)
    assert (tmp_path / "one/images.npy").read_bytes() == (tmp_path / "two/images.npy").read_bytes()
    first, second = crowd_labels(alone, False), crowd_labels(shared, False)
    assert first.keys() == second.keys() and len(first["picture"]) == 6
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])
    for index in range(7):
        np.testing.assert_array_equal(
            np.load(tmp_path / "two/images.npy")[index], numbered("fine", index).image
        )


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_reaches_the_caller_and_leaves_nothing(tmp_path, workers):
    with pytest.raises(ValueError, match="picture 3 is broken"):
        render_pictures(tmp_path, partial(str, "broken"), numbered, 7, SIZE, workers)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_dies_is_noticed(tmp_path):
    with pytest.raises(RenderError, match="ended before"):
        render_pictures(tmp_path, partial(str, "dead"), numbered, 7, SIZE, workers=2)
    assert list(tmp_path.iterdir()) == []


SCRIPT = """
import sys
from functools import partial
import test_synthetic_pack as made
if __name__ == "__main__":
    try:
        made.render_pictures(r"{out}", partial(str, "slow"), made.numbered, 20_000, made.SIZE, 2)
        made.save_labels(r"{out}", dict())
    except KeyboardInterrupt:
        sys.exit(130)
"""


def _start(tmp_path, out, **options):
    """A process that renders in two more, into `out`, for longer than any test waits."""
    script = tmp_path / "write.py"
    script.write_text(SCRIPT.format(out=out), encoding="utf-8")
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, str(script)], env=os.environ | {"PYTHONPATH": path}, text=True, **options
    )


def test_killed_run_leaves_no_pack_and_no_process(tmp_path):
    out = tmp_path / "pack"
    render_pictures(out, partial(str, "fine"), numbered, 2, SIZE, workers=1)
    save_labels(out, {})
    run = _start(tmp_path, out, stderr=subprocess.DEVNULL)
    children = _wait_for(
        lambda: (
            _children(run.pid)
            if len(_children(run.pid)) >= 2 and list(out.glob("*.partial.npy"))
            else None
        )
    )
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not (out / "labels.npz").exists()
    _wait_for(lambda: not any(_alive(pid) for pid in children))
    render_pictures(out, partial(str, "fine"), numbered, 4, SIZE, workers=1)
    save_labels(out, {"picture": np.zeros(0)})
    assert sorted(file.name for file in out.iterdir()) == ["images.npy", "labels.npz"]


@pytest.mark.parametrize("rendering", [False, True])
def test_interrupt_is_silent_and_leaves_no_process(tmp_path, rendering):
    """Ctrl-C reaches all processes, while the workers start and while they render."""
    out = tmp_path / "pack"
    with (tmp_path / "said").open("w+") as said:
        run = _start(tmp_path, out, stderr=said, start_new_session=True)
        children = _wait_for(
            lambda: _children(run.pid) if len(_children(run.pid)) >= 3 else None
        )  # with multiprocessing's tracker
        if rendering:
            _wait_for(lambda: re.search(r"\b[1-9]\d*/20000", (tmp_path / "said").read_text()))
        os.killpg(run.pid, signal.SIGINT)
        assert run.wait(LIMIT_S) == 130
    text = (tmp_path / "said").read_text()
    assert "Traceback" not in text and "KeyboardInterrupt" not in text
    _wait_for(lambda: not any(_alive(pid) for pid in children))
    assert list(out.iterdir()) == []


def _children(pid):
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except OSError:
        return []


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _wait_for(condition):
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def test_labels_of_windows_are_of_the_main_person():
    samples = [numbered("fine", index) for index in (1, 2)]
    labels = window_labels(samples, True)
    main = samples[1].people[0]
    shown = main.labelled
    np.testing.assert_allclose(
        labels["keypoints"][1, shown, :2], main.keypoints_px[shown], atol=1e-6
    )
    assert np.all(labels["keypoints"][1, ~shown] == 0) and np.all(
        labels["keypoints"][1, shown, 2] == 1
    )
    np.testing.assert_array_equal(labels["self_occluded"][1], shown & ~main.visible)
    assert labels["validation"].all() and labels["up"].shape == (2, 3)
    assert crowd_labels([numbered("fine", 3)], False)["keypoints"].shape == (
        0,
        14,
        3,
    )  # nobody at all
