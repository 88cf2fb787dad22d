# SPDX-License-Identifier: Apache-2.0
"""bench/fleet.py on a few short clips, with real processes."""

import json
import sys
from pathlib import Path

import cv2
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import fleet as bench


def test_clips_differ_and_have_their_length(tmp_path):
    bench.write_clips(tmp_path / "clips", 3, 5)
    files = sorted((tmp_path / "clips").iterdir())
    counts = [int(cv2.VideoCapture(str(file)).get(cv2.CAP_PROP_FRAME_COUNT)) for file in files]
    assert counts == [5, 5, 5]
    assert len({file.read_bytes() for file in files}) == 3


def test_workers_write_what_one_process_writes(tmp_path):
    pytest.importorskip("ray", reason="ray is not installed")
    out = tmp_path / "fleet.json"
    assert bench.main(["--clips", "3", "--seconds", "0.2", "--json", str(out)]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["equal"] and found["ratio"] > 0
    assert [found[name]["clips"] for name in ("one process", "2 workers")] == [3, 3]
