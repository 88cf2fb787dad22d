# SPDX-License-Identifier: Apache-2.0
"""The comparison with MediaPipe: both see the same frames, in turns, and are counted alike."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import peers

MEDIAPIPE = """
from types import SimpleNamespace

class Pose:
    def __init__(self, model_complexity):
        assert model_complexity == 1

    def process(self, image):
        return SimpleNamespace(pose_landmarks=[] if image.mean() > 100 else None)

solutions = SimpleNamespace(pose=SimpleNamespace(Pose=Pose))
"""


@pytest.fixture
def peer(tmp_path, monkeypatch) -> Path:
    """A Python with a stand-in of MediaPipe, which sees somebody in bright images."""
    (tmp_path / "mediapipe.py").write_text(MEDIAPIPE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Path(sys.executable)


def test_all_take_their_turns_over_the_same_frames(peer, tmp_path):
    frames = np.zeros((25, 96, 128, 3), np.uint8)
    frames[5:15] = 200
    rows = peers.compare(frames, "auto", peer, tmp_path)
    assert set(rows) == {"lite", "full", "MediaPipe full"}
    assert rows["MediaPipe full"]["persons a frame"] == 10 / 20
    assert rows["lite"]["persons a frame"] == rows["full"]["persons a frame"] == 0
    for row in rows.values():
        ratio = row["frames/s"] / rows["MediaPipe full"]["frames/s"]
        assert row["ratio"] == pytest.approx(ratio)


def test_scenes_show_the_clip():
    frames = np.random.default_rng(0).integers(0, 256, (2, 480, 640, 3), np.uint8)
    assert peers.SCENES["1920x1080"](frames).shape == (2, 1080, 1920, 3)

    four = peers.SCENES[peers.FOUR](frames)
    assert four.shape == frames.shape
    np.testing.assert_array_equal(four[:, :240, :320], four[:, 240:, :320])
    np.testing.assert_array_equal(four[:, :, :320], four[:, :, :319:-1])


@pytest.mark.parametrize("cores", [0, len(os.sched_getaffinity(0)) + 1])
def test_cores_that_are_not_there_are_one_line(cores, capsys):
    most = len(os.sched_getaffinity(0))
    with pytest.raises(SystemExit):
        peers.parse(["--cores", str(cores)])
    assert f"--cores: expected 1 to {most}, got {cores}" in capsys.readouterr().err
