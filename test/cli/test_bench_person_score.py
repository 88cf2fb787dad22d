# SPDX-License-Identifier: Apache-2.0
"""The person score goes into a network's file, and nothing else in it changes."""

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from lifting_ros.errors import DataError
from lifting_ros.io.checkpoint import load_tensors, save_tensors
from lifting_ros.keypoints.person_score import PersonScore, Probe, read_person_score, read_probe
from lifting_ros.research.training.fit_person_score import HALF, ROOMS, Rows

SPEC = importlib.util.spec_from_file_location(
    "bench_person_score", Path(__file__).parents[2] / "bench" / "person_score.py"
)
bench = importlib.util.module_from_spec(SPEC)

SPEC.loader.exec_module(bench)

SCORE = PersonScore(detector=0.5, keypoints=0.25, ends=1.0, probe=2.0, constant=-0.5)
PROBE = Probe(np.array([0.5, -2.0, 0.25]), 0.125)


def make_rows(count: int = 400) -> Rows:
    """Only the last layer tells persons, the even rows, from nobody."""
    rng = np.random.default_rng(0)
    number = np.arange(count)
    is_person = number % 2 == 0
    deep = np.where(is_person, 1.0, -1.0)[:, None] * PROBE.direction
    return Rows(
        np.concatenate([rng.normal(0, 1, (count, 3)), np.zeros((count, 1))], 1),
        deep.astype(np.float16),
        rng.random(count),
        number,
        np.where(is_person, HALF, ROOMS),
        number.astype(str),
    )


def make_file(path: Path) -> tuple[dict, dict]:
    tensors = {"a": torch.randn(3, 4).half(), "depth_cue.b": torch.arange(5)}
    header = {"network": {"stages": 3}, "depth_cue": {"doubt": 1.5}}
    save_tensors(path, tensors, header)
    return tensors, header


def test_only_probe_and_weights_change(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors, header = make_file(path)

    bench.write(path, SCORE, PROBE)
    assert read_person_score(path) == SCORE
    probe = read_probe(path)
    assert probe.direction.tolist() == PROBE.direction.tolist()
    assert probe.constant == PROBE.constant

    written, more = load_tensors(path)
    assert written.keys() == tensors.keys() | {"person_score.probe"}
    for name, tensor in tensors.items():
        assert written[name].dtype == tensor.dtype
        assert torch.equal(written[name], tensor)
    assert more == header | {"person_score": dataclasses.asdict(SCORE)}


def test_the_score_of_the_file_is_compared_where_there_is_one(tmp_path):
    path = tmp_path / "a.safetensors"
    make_file(path)
    without = bench.compare(make_rows(), PROBE, path)
    assert not any(name.startswith("the file's") for name in without)
    assert without["with probe, rooms 1 %"][HALF] == 100
    assert without["without probe, rooms 1 %"][HALF] < 20

    bench.write(path, SCORE, PROBE)
    table = bench.compare(make_rows(), PROBE, path)
    assert table["the file's, 0.8"][HALF] > 90
    assert table["the file's, rooms 1 %"][HALF] > 90


def test_kept_rows_are_read_as_written(tmp_path):
    rows = make_rows(6)
    np.savez(tmp_path / "kept.npz", **rows._asdict())
    for ours, theirs in zip(bench.read_rows(tmp_path / "kept.npz"), rows):
        np.testing.assert_array_equal(ours, theirs)

    np.savez(tmp_path / "other.npz", **(rows._asdict() | {"plain": rows.plain[:-1]}))
    with pytest.raises(DataError, match="other.npz: plain"):
        bench.read_rows(tmp_path / "other.npz")
