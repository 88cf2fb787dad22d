# SPDX-License-Identifier: Apache-2.0
"""bench/network.py on networks of a few channels: every part runs, and the figures of a row fit
each other. Nothing is said of time."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch
from people import small_prior
from small_networks import LITE, PAPER
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import network as bench

from lifting_ros.keypoints.network import MultistageNetwork, NetworkConfig

SMALL = {
    "full": dataclasses.replace(LITE, stages=3),
    "lite": LITE,
    "paper": dataclasses.replace(PAPER, stages=2),
}


@pytest.fixture
def run(monkeypatch, tmp_path, narrow_trunk):
    """Runs the benchmark with options; what it wrote."""
    small = {
        name: dataclasses.replace(recipe, network=SMALL[name])
        for name, recipe in bench.RECIPES.items()
    }
    monkeypatch.setattr(bench, "RECIPES", small)
    monkeypatch.setattr(bench, "PEAK_SIZES", {"cpu": (64, 128)})
    monkeypatch.setattr(bench.MixturePPCA, "load", lambda path: small_prior())
    monkeypatch.setattr(bench.os, "sched_getaffinity", lambda process: {0})
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)  # of the whole test run

    def call(*options: str) -> dict:
        out = tmp_path / "b.json"
        monkeypatch.setattr(
            sys,
            "argv",
            ["network.py", "--seconds", "0", "--frames", "2", "--json", str(out), *options],
        )
        assert bench.main() == 0
        return json.loads(out.read_text())

    return call


def convolutions(config: NetworkConfig) -> float:
    """GMAC of one crop forward, without fusion."""
    network = MultistageNetwork(config).eval()
    with FlopCounterMode(display=False) as counter:
        network(torch.rand(1, 3, config.input_px, config.input_px))
    return counter.get_total_flops() / 2e9


def test_rows_are_consistent(run, capsys):
    figures = run(
        "--parts",
        "inference",
        "training",
        "--dtypes",
        "bf16",
        "--batches",
        "1",
        "3",
        "--train-batch",
        "2",
    )
    text = capsys.readouterr().out
    names = [f"{v}, bf16, batch {b}" for v in SMALL for b in (1, 3)]
    assert list(figures["inference"]) == names and all(name in text for name in names)
    for rates in (figures["inference"] | figures["training"]).values():
        if "GMAC a crop" in rates:
            assert rates["GMAC/s"] == pytest.approx(rates["GMAC a crop"] * rates["crops/s"])
            assert rates["% of peak"] == pytest.approx(
                100 * rates["GMAC/s"] / figures["peak_gmac_per_s"]["bf16"]
            )
    for variant, config in SMALL.items():
        one, three = (
            figures["inference"][f"{variant}, bf16, batch {b}"]["GMAC a crop"] for b in (1, 3)
        )
        assert one == pytest.approx(three, rel=0.05)
        step = figures["training"][f"{variant}, bf16, batch 2, no fusion"]["GMAC a crop"]
        # backward is twice forward, less the image's own gradient; nothing goes back through a
        # frozen trunk
        least = 2.5 if config.variant == "paper" else 1.2
        assert least < step / convolutions(config) <= 3
        assert figures["training"][f"{variant}, making of crops"]["crops/s"] > 0


def test_a_row_that_fails_is_left_out_with_its_reason(run, capsys, monkeypatch):
    def broken(*args):
        raise RuntimeError("no such kernel\nand a long story")

    monkeypatch.setattr(bench, "training_row", broken)
    figures = run("--parts", "training", "--variants", "lite")
    assert list(figures["training"]) == ["lite, making of crops"]
    assert "lite, bf16, batch 32, fusion: left out, no such kernel\n" in capsys.readouterr().err


def test_the_whole_estimator(run):
    rows = run("--parts", "pipeline", "--dtypes", "float32")["pipeline"]
    assert list(rows) == ["1 threads"]
    for row in rows.values():
        assert row["frames/s"] == pytest.approx(1e3 / row["ms"]) and row["persons"] >= 1
        assert row["detect"] + row["network"] + row["lift"] <= 1.5 * row["ms"] + 1
