# SPDX-License-Identifier: Apache-2.0
"""The curves of relative depth: every point is a recipe that can be trained, a point is measured
once, and the picture has every curve."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from people import make_poses

from lifting_ros.config import from_mapping
from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.training.train_relative import RelativeTrainConfig
from lifting_ros.research.training.train_supervised import SupervisedTrainConfig

SPEC = importlib.util.spec_from_file_location(
    "bench_relative", Path(__file__).parents[2] / "bench" / "relative.py"
)
bench = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bench)


@pytest.mark.parametrize("curve", bench.points())
def test_every_point_is_a_recipe(curve):
    kind = SupervisedTrainConfig if curve.endswith("supervised") else RelativeTrainConfig
    for changes in bench.points()[curve].values():
        assert from_mapping(kind, changes) == dataclasses.replace(kind(), **changes)


def test_a_point_is_measured_once_and_drawn(tmp_path, monkeypatch):
    ids = np.arange(120) % 8
    mocap = Mocap(make_poses(120), ids, ids, np.ones(120, bool), ("cmu02", *"abcdefg"))
    changes = {
        "network": dataclasses.replace(RelativeTrainConfig().network, width=16),
        "images": 50,
        "batch": 64,
    }
    first = bench.measure("images", changes, mocap, 128, tmp_path)
    assert 0 < first[bench.METRIC] < 1000 and first["seconds"] > 0
    monkeypatch.setattr(bench, "train_relative", None)
    assert bench.measure("images", changes, mocap, 128, tmp_path) == first
    bench.draw(
        {"images": {"50": first, "90": first}, "images, supervised": {"50": first, "90": first}},
        tmp_path / "c.png",
    )
    assert (tmp_path / "c.png").stat().st_size > 5000 and json.loads(
        next(tmp_path.rglob("errors.json")).read_text()
    ) == first
