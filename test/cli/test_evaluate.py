# SPDX-License-Identifier: Apache-2.0
"""`lifting evaluate lifting` on motion capture that the test makes: tables, files, and bad input
in one line."""

import json

import numpy as np
import pytest
import torch
from people import make_poses, small_prior

from lifting_ros.cli.evaluate import SUBVERBS
from lifting_ros.cli.main import main
from lifting_ros.cli.tables import cell, print_table
from lifting_ros.io.checkpoint import load_header
from lifting_ros.lifting.corrected_lifter import CorrectedLifter
from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.lifting.lifters import make_lifter
from lifting_ros.lifting.residual_mlp import (
    RelativeLifter,
    ResidualMLP,
    ResidualMLPConfig,
    SupervisedLifter,
)
from lifting_ros.prior.ppca import MixturePPCA
from lifting_ros.research.evaluation.lifting_report import TITLES


@pytest.fixture
def data(tmp_path):
    """A data folder of one training and one validation subject, a prior and weights of a supervised
    lifter that has learnt nothing."""
    (tmp_path / "mocap").mkdir()
    np.savez(
        tmp_path / "mocap" / "cmu17_10fps_dev.npz",
        positions=make_poses(40).astype(np.float32),
        subject_id=np.arange(40) % 2,
        subjects=np.array(["cmu01", "cmu02"]),
    )
    small_prior().save(tmp_path / "p.npz")
    SupervisedLifter(ResidualMLP(ResidualMLPConfig(width=8)), (1.05, 0.04)).save(
        tmp_path / "w.safetensors", {}
    )
    return tmp_path


def call(data, *options: str) -> int:
    return main(
        [
            "evaluate",
            "lifting",
            "--data",
            str(data),
            "--prior",
            str(data / "p.npz"),
            "--views",
            "8",
            *options,
        ]
    )


def test_tables_and_files(data, capsys):
    out = data / "out"
    out.mkdir()
    assert (
        call(
            data,
            "--supervised",
            str(data / "w.safetensors"),
            "--plots",
            str(out),
            "--json",
            str(out / "e.json"),
        )
        == 0
    )
    text = capsys.readouterr().out
    tables = json.loads((out / "e.json").read_text())
    assert tuple(tables) == TITLES and all(title in text for title in TITLES)
    errors = tables["errors, mm"]
    assert list(errors)[:4] == [
        "exact, best mode",
        "exact, Bayes mean",
        "exact, best of the hypotheses",
        "exact, supervised",
    ]
    best, answer, untaught = (
        errors[f"exact, {row}"]["N-MPJPE"]
        for row in ("best of the hypotheses", "best mode", "supervised")
    )
    assert best <= answer < 150 < untaught
    row = tables["calibration, % inside"]["5 px noise, observed joints"]
    assert [c for c in row if c.endswith("%")] == [
        f"{level} %" for level in range(5, 100, 5)
    ] and row["count"] == 8 * 14
    assert sorted(p.name for p in out.iterdir()) == ["calibration.png", "e.json"]


def test_the_same_seed_gives_the_same_figures(data):
    for name in ("a", "b"):
        assert call(data, "--json", str(data / name)) == 0
    a, b = (json.loads((data / name).read_text()) for name in ("a", "b"))
    assert all(a[title] == b[title] for title in TITLES if title != "speed")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--json", "/nowhere/e.json"], "--json"),
        (["--plots", "/nowhere"], "--plots"),
        (["--views", "0"], "--views"),
        (["--supervised", "/nowhere.safetensors"], "nowhere.safetensors"),
        (["--prior", "/nowhere.npz"], "nowhere.npz"),
        (["--data", "/nowhere"], "nowhere"),
        (["--seed", "-1"], "--seed"),
    ],
)
def test_bad_options_are_one_line(data, capsys, options, named):
    assert call(data, *options) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and named in lines[0]


@pytest.mark.parametrize(
    ("lifter", "named"),
    [("ppca=x", "--lifter"), ("relative=/nowhere.safetensors", "nowhere.safetensors")],
)
def test_bad_weights_of_a_lifter_are_one_line(data, capsys, lifter, named):
    given = ["--data", str(data), "--prior", str(data / "p.npz"), "--lifter", lifter]
    assert main(["evaluate", "lifters", *given]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and named in lines[0]


@pytest.mark.parametrize("words", [[], ["nothing"], ["--lifting"]])
def test_without_a_subverb_they_are_listed(capsys, words):
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", *words])
    assert stopped.value.code == 2 and "WHAT" in capsys.readouterr().err


@pytest.mark.parametrize("subverb", SUBVERBS)
def test_each_subverb_has_a_help_of_its_own(capsys, subverb):
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", subverb, "--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0 and text.startswith(f"usage: lifting evaluate {subverb}")
    assert "--traceback" in text and "--json" in text


@pytest.mark.parametrize("what", ["supervised", "relative"])
def test_training_a_lifter_then_measuring_it(data, capsys, what):
    (data / "r.yaml").write_text(
        "network: {width: 16}\nimages: 50\nsamples: 256\nbatch: 64\nspread_steps: 3\n"
    )
    weights = str(data / "new.safetensors")
    options = ["--recipe", str(data / "r.yaml"), "--work", str(data / "work")]
    assert main(["train", what, "--data", str(data), "--out", weights, *options]) == 0
    assert (
        "N-MPJPE, exact" in capsys.readouterr().out
        and (data / "work" / f"train_{what}" / "validation.csv").exists()
    )
    kind = {"supervised": SupervisedLifter, "relative": RelativeLifter}[what]
    assert not torch.isnan(kind.load(weights).network.layers[0].weight).any()
    given = [
        "lifters",
        "--data",
        str(data),
        "--prior",
        str(data / "p.npz"),
        "--views",
        "8",
        "--lifter",
        f"{what}={weights}",
    ]
    assert main(["evaluate", *given, "--json", str(data / "all.json")]) == 0
    rows = json.loads((data / "all.json").read_text())["lifters: mm, % inside, poses/s"]
    assert {"exact, ppca", f"exact, {what}", f"5 px noise, {what}", f"3 missing, {what}"} <= set(
        rows
    )
    inside = [
        f"{kind} {value}" for kind in ("obs.", "inf.", "root") for value in ("50 %", "90 %", "NEES")
    ]
    assert list(rows[f"exact, {what}"]) == [
        "MPJPE",
        "N-MPJPE",
        "PA-MPJPE",
        "lifted %",
        *inside,
        "poses/s",
    ]
    assert rows[f"exact, {what}"]["lifted %"] == 100


def test_training_the_correction_of_ppca_then_lifting_with_it(data, capsys):
    recipe = data / "r.yaml"
    recipe.write_text("people: 0\npictures: 60\nsamples: 256\nbatch: 64\nwidth: 16\nfound: 0.0\n")
    weights = str(data / "ppca.safetensors")
    options = ["--prior", str(data / "p.npz"), "--recipe", str(recipe), "--work", str(data / "w")]
    assert main(["train", "ppca", "--data", str(data), "--out", weights, *options]) == 0
    assert "missed, divided by size" in capsys.readouterr().out

    prior = MixturePPCA.load(data / "p.npz")
    lifter = make_lifter("ppca", prior, LifterConfig(), weights)
    assert isinstance(lifter, CorrectedLifter)
    header = load_header(weights)
    assert header["lifter"] == "ppca"
    assert header["pose_correction"]["recipe"]["pictures"] == 60


def test_the_table_is_aligned(capsys):
    print_table(
        "t",
        {"a": {"x": 1.0, "y": 1234.0}, "longer": {"x": float("nan"), "y": 22.22}, "b": {"z": 0.5}},
        {"y"},
    )
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[1] == "t"
        and "y" not in lines[2]
        and lines[3].endswith("1")
        and lines[4].endswith("-")
        and lines[5].endswith("z")
    )
    assert [cell(v) for v in (1234.5, 12.34, 0.0012)] == ["1234", "12.3", "0.0012"]
