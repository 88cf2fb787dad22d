# SPDX-License-Identifier: Apache-2.0
"""`lifting evaluate fused` on motion capture that the test makes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from people import make_poses

from lifting_ros.cli.main import main
from lifting_ros.errors import LiftingError
from lifting_ros.research.datasets.mocap import read_mocap
from lifting_ros.research.evaluation import camera_placement, multiview


@pytest.fixture
def data(tmp_path):
    """People who stand, turn and lift their arms for six seconds each, at 10 poses a second."""
    (tmp_path / "mocap").mkdir()
    poses = make_poses(8)
    share = np.linspace(0, 1, 60)[:, None, None]
    clips = [a + 0.3 * share * (b - a) for a, b in zip(poses, poses[::-1])]
    positions = np.concatenate(clips)
    subject = np.repeat(np.arange(8) % 2, 60)
    np.savez(
        tmp_path / "mocap" / "cmu17_10fps_dev.npz",
        positions=positions.astype(np.float32),
        subject_id=subject,
        clip_id=np.repeat(np.arange(8), 60),
        subjects=np.array(["cmu01", "cmu02"]),
    )
    return tmp_path


def test_more_cameras_are_better(data, monkeypatch):
    monkeypatch.setattr(multiview, "RATE_HZ", 10.0)
    monkeypatch.setattr(camera_placement, "SIZES", {"2 cameras": (2, 5)})
    monkeypatch.setattr(camera_placement, "CLOCK_CLIPS", 3)
    out = data / "fused.json"
    command = ["evaluate", "fused", "--data", str(data), "--scenes", "1", "--json", str(out)]
    assert main(command) == 0
    tables = json.loads(out.read_text(encoding="utf-8"))
    rows = tables["1 person, 5 px noise"]
    errors = [row["absolute mm"] for row in rows.values()]
    assert list(rows) == ["1 camera", "2 cameras", "3 cameras", "4 cameras"]
    assert errors[1] < errors[0] / 3 and errors[3] < errors[1]
    placed = tables.pop("places of cameras, 5 px noise")
    assert placed["2 cameras"]["rotation deg"] < 2 and placed["2 cameras"]["direction deg"] < 2
    clocks = tables.pop("clocks of cameras, 5 px noise")["2 cameras, 20 s"]
    assert clocks["recordings"] == 1 and clocks["refused"] + (clocks["worst ms"] > 0) == 1
    steady = tables.pop("steadiness, 1 person, 5 px noise")
    assert set(steady) == {f"{n} cameras{s}" for n in (2, 3, 4) for s in ("", ", smoothed")}
    plain, smooth = steady["2 cameras"], steady["2 cameras, smoothed"]
    assert 0 < smooth["shaking mm"] < plain["shaking mm"] and plain["velocity m/s"] > 0
    for title, rows in tables.items():
        for row in rows.values():
            assert row["wrong per 1000"] == 0 and row["missing"] == 0, title


def test_too_short_motion_is_one_line(data):
    mocap = read_mocap(data / "mocap" / "cmu17_10fps_dev.npz")
    with pytest.raises(LiftingError, match="expected 3 clips"):
        multiview.moving_people(mocap, 3, 20.0, np.random.default_rng(0))
