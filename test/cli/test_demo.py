# SPDX-License-Identifier: Apache-2.0
"""`lifting demo` as a stranger runs it: real processes, topics and bag; what goes wrong is said,
and nothing is left running."""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import cv2
import numpy as np
import pytest
from domains import next_domain

import lifting_ros
from lifting_ros.cli.main import main

pytest.importorskip("rclpy", reason="ROS 2 is not there", exc_type=ImportError)
from lifting_ros.cli.demo import camera_arguments, make_plan, parameters
from lifting_ros.io.bag_poses import read_bag

PACKAGE = Path(lifting_ros.__file__).parent
LIMIT_S = 1800
"""Against hanging only."""
needs_weights = pytest.mark.skipif(
    not (
        (PACKAGE / "weights" / "full.safetensors").is_file()
        and (PACKAGE / "weights" / "detector.safetensors").is_file()
    ),
    reason="the weights are not there",
)


@pytest.fixture
def folder(tmp_path):
    """A folder of six grey images, 64 x 48."""
    images = tmp_path / "images"
    images.mkdir()
    for k in range(6):
        cv2.imwrite(str(images / f"{k}.png"), np.full((48, 64, 3), 20 * k, np.uint8))
    return images


class Demo:
    """A demo that runs; its processes are known by a mark in their environment."""

    def __init__(self, *arguments):
        self.mark = uuid.uuid4().hex
        env = {
            **os.environ,
            "LIFTING_TEST_MARK": self.mark,
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
        }
        env["ROS_DOMAIN_ID"] = str(next_domain())
        command = [sys.executable, "-m", "lifting_ros.cli.main", "demo", *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
        )

    def end(self):
        """Exit status, standard output and error."""
        out, error = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, out, error

    def alive(self):
        """Process ids that carry the mark."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if self.mark.encode() in path.read_bytes():
                    found.append(int(path.parent.name))
            except OSError:
                pass
        return found


@needs_weights
def test_every_image_is_answered_and_recorded(folder, tmp_path):
    out = tmp_path / "out"
    demo = Demo("--video", folder, "--out", out)
    status, text, error = demo.end()
    assert status == 0, error
    assert "GUESSED" in text
    rows = {line.split("  ")[0]: line for line in text.splitlines()}
    assert "6" in rows["frames sent"].split() and "6," in rows["frames answered"].split()
    assert {"rate", "latency p50, p99", "node's peak memory", "picture", "bag"} <= rows.keys()
    poses = read_bag(out / "bag")
    steps = np.diff([frame.stamp_ns for frame in poses.frames])
    np.testing.assert_array_equal(steps, 10**8)
    assert poses.messages["/camera_info"] == 6 and poses.messages["/lifting/info"] == 1
    assert {frame.frame_id for frame in poses.frames} == {"camera_optical_frame"}
    assert cv2.imread(str(out / "overlay.png")) is not None
    assert not demo.alive()


def test_a_child_that_dies_is_reported_with_its_last_lines(folder, tmp_path):
    demo = Demo("--video", folder, "--out", tmp_path / "out", "--device", "cuda:77")
    status, _, error = demo.end()
    assert status == 1
    assert "the node ended with status 2" in error and "cuda:77" in error
    assert not demo.alive()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_after_a_signal(folder, tmp_path, sent):
    """Of so many images that the demo cannot end before the signal."""
    many = tmp_path / "many"
    many.mkdir()
    image = next(folder.iterdir()).read_bytes()
    for number in range(2000):
        (many / f"{number}.png").write_bytes(image)

    demo = Demo("--video", many, "--out", tmp_path / "out")
    end = time.monotonic() + LIMIT_S
    while len(demo.alive()) < 4:
        assert time.monotonic() < end and demo.process.poll() is None
        time.sleep(0.1)
    demo.process.send_signal(sent)
    assert demo.end()[0] == 130
    assert not demo.alive()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--video", "missing.mp4"], "missing.mp4: no such file"),
        (["--video", "broken.mp4"], "does not open as a video"),
        (["--video", "images", "--camera", "missing.yaml"], "missing.yaml"),
        (["--video", "images", "--frames", "-1"], "--frames"),
        (["--video", "images", "--fps", "nan"], "--fps"),
        (["--video", "images", "--out", "taken"], "is not a bag"),
    ],
)
def test_bad_input_is_one_line(folder, monkeypatch, capfd, arguments, named):
    here = folder.parent
    monkeypatch.chdir(here)
    (here / "broken.mp4").write_bytes(b"no video")
    (here / "taken" / "bag").mkdir(parents=True)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        assert main(["demo", *arguments]) == 2
    finally:
        signal.signal(signal.SIGTERM, handler)
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and named in lines[0]
    assert not (here / "out").exists()


def test_without_ros_it_says_so_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["demo"]) == 2
    assert "ROS 2 (rclpy) cannot be imported" in capsys.readouterr().err


def test_a_device_number_stays_a_string(folder, tmp_path):
    assert parameters({"source": "0", "fps": 5.0, "guess_camera": True}) == [
        "-p",
        'source:="0"',
        "-p",
        "fps:=5.0",
        "-p",
        "guess_camera:=true",
    ]


def test_the_camera_gets_an_absolute_path(folder, tmp_path, monkeypatch):
    import argparse

    monkeypatch.chdir(tmp_path)
    args = argparse.Namespace(
        video="images", camera="", frames=0, fps=0.0, out=Path("out"), device="cpu"
    )
    plan = make_plan(args, tmp_path)
    assert plan.total == 6 and not plan.live and plan.keep_every == 1
    assert f'source:="{folder}"' in camera_arguments(plan)
