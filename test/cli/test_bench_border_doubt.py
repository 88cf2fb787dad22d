# SPDX-License-Identifier: Apache-2.0
"""The doubt about legs at the border goes into a network's file, and nothing else in it changes."""

import importlib.util
from pathlib import Path

import numpy as np
import torch

from lifting_ros.io.checkpoint import load_tensors, save_tensors
from lifting_ros.keypoints.border_doubt import BorderDoubt, read_border_doubt
from lifting_ros.research.training.fit_border_doubt import Rows

SPEC = importlib.util.spec_from_file_location(
    "bench_border_doubt", Path(__file__).parents[2] / "bench" / "border_doubt.py"
)
bench = importlib.util.module_from_spec(SPEC)

SPEC.loader.exec_module(bench)

DOUBT = BorderDoubt(hip=3.0, knee=2.0, ankle=1.0, reach=0.05)


def test_only_the_values_change(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {"a": torch.randn(3, 4).half(), "b": torch.arange(5)}
    header = {"network": {"stages": 3}, "person_score": {"ends": 0.1}}
    save_tensors(path, tensors, header)

    bench.write(path, DOUBT)
    assert read_border_doubt(path) == DOUBT
    written, more = load_tensors(path)
    assert written.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert written[name].dtype == tensor.dtype
        assert torch.equal(written[name], tensor)

    del more["border_doubt"]
    assert more == header


def test_shares_are_compared_without_and_with_doubt():
    """Every second hip at the border is absent; the network is sure of all."""
    count = 200
    in_view = np.ones((count, 14), bool)
    in_view[::2] = False
    inside = np.where(in_view, 0.3, 0.001)
    rows = Rows(
        np.full((count, 14), 2.0),
        inside,
        in_view,
        np.full((count, 14), 0.8),
        np.arange(count).astype(str),
    )
    table = bench.compare(rows, 0.15)
    assert table["hip, without"]["absent"] == 100
    assert table["hip, with"]["absent"] == 0
    assert table["hip, with"]["present"] == 100
    assert table["hip, with"]["absent, count"] == count
