# SPDX-License-Identifier: Apache-2.0
"""`lifting train`: what the packs are called, what comes first, and what is said where nothing can
be rendered."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from photos import write_data
from small_networks import TRUNK_WIDTH

from lifting_ros.cli import train as verb
from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.files import write_json
from lifting_ros.cli.main import main
from lifting_ros.estimator import WEIGHTS
from lifting_ros.io.checkpoint import load_tensors, sha256_of
from lifting_ros.keypoints.trunk import Trunk
from lifting_ros.research import graph_model
from lifting_ros.research.datasets import false_alarms
from lifting_ros.research.datasets.keypoints2d import PHOTO_SETS
from lifting_ros.research.datasets.pack import Pack, write_windows
from lifting_ros.research.rendering import synthetic
from lifting_ros.research.rendering.render_errors import RendererMissingError
from lifting_ros.research.training.network_packs import (
    open_training_packs,
    read_training_cutouts,
)
from lifting_ros.research.training.train_network import TrainConfig

SMALL = TrainConfig(rendered=3, rooms=2, window_px=32)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def empty_alarms(side: int) -> Pack:
    return Pack(
        "alarms", np.zeros((0, side, side, 3), np.uint8), np.zeros((0, 14, 3)), np.zeros(0, bool)
    )


@pytest.fixture
def rendering(monkeypatch):
    """Stands for the renderer: the folders that were written, and with what."""
    written = {}

    def write(out, n, size, seed, backgrounds, **options):
        written[out.name] = (n, size, seed, len(backgrounds))
        width = size if isinstance(size, int) else 16
        write_windows(
            out,
            ((np.zeros((width, width, 3), np.uint8), np.zeros((14, 3))) for _ in range(n)),
            np.zeros(n, bool),
            width,
        )
        labels = dict(np.load(out / "labels.npz"))
        np.savez(out / "labels.npz", **labels | {"version": 1})

    def alarms(folder, detector, data, rooms, side):
        written[folder.name] = (rooms and rooms.name, side)
        return empty_alarms(side)

    monkeypatch.setattr(synthetic, "write_pack", write)
    monkeypatch.setattr(synthetic, "write_scenes", write)
    monkeypatch.setattr(false_alarms, "open_false_alarms", alarms)
    return written


def packs(data, work, **changes) -> list[str]:
    return [p.name for p in open_training_packs(dataclasses.replace(SMALL, **changes), data, work)]


def test_packs_are_named_by_all_that_they_depend_on(data, tmp_path, rendering):
    found = packs(data, tmp_path)
    assert found == [*PHOTO_SETS, "negatives", "synthetic", "alarms"]
    detector = sha256_of(WEIGHTS / "detector.safetensors")[:8]
    assert set(rendering) == {
        "synthetic3_32px_seed0",
        "rooms2_seed0",
        f"alarms_rooms2_seed0_{detector}",
    }
    assert rendering["synthetic3_32px_seed0"] == (3, 32, 0, 11) and rendering["rooms2_seed0"][
        2:
    ] == (0, 11)  # train and tune
    assert rendering[f"alarms_rooms2_seed0_{detector}"] == ("rooms2_seed0", 32)
    rendering.clear()
    packs(data, tmp_path)
    assert set(rendering) == {f"alarms_rooms2_seed0_{detector}"}  # the rest is there
    packs(data, tmp_path, seed=1, window_px=48)
    assert {"synthetic3_48px_seed1", "rooms2_seed1", f"alarms_rooms2_seed1_{detector}"} <= set(
        rendering
    )
    rendering.clear()
    packs(data, tmp_path, rendered=0, rooms=0)
    assert rendering == {f"alarms_rooms0_seed0_{detector}": (None, 32)}


def test_bad_photographs_are_reported_before_rendering(tmp_path, rendering):
    broken = write_data(tmp_path / "data")
    (broken / "keypoints2d" / "people" / "images.tar").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="people/images.tar: not a readable tar"):
        packs(broken, tmp_path)
    assert not rendering


def test_missing_renderer_is_one_line_with_a_remedy(data, tmp_path, monkeypatch, capsys):
    def missing(*_, **__):
        raise RendererMissingError(
            "rendering people needs the package embreex: pip install embreex"
        )

    monkeypatch.setattr(synthetic, "write_pack", missing)
    options = [
        "--data",
        str(data),
        "--work",
        str(tmp_path),
        "--out",
        str(tmp_path / "w.safetensors"),
    ]
    (tmp_path / "r.yaml").write_text("window_px: 32\n")
    assert main(["train", "lite", *options, "--recipe", str(tmp_path / "r.yaml")]) == 2
    said = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("lifting train:")
    ]
    assert len(said) == 1 and "embreex" in said[0] and "rendered: 0 and rooms: 0" in said[0]


def test_a_missing_folder_for_the_weights_is_told_first(data, capsys):
    assert main(["train", "lite", "--data", str(data), "--out", "/nowhere/w.safetensors"]) == 2
    assert (
        capsys.readouterr().err.count("--out /nowhere/w.safetensors: the folder does not exist")
        == 1
    )


def error_of(capsys) -> str:
    """The one line that the command wrote on standard error, but for progress bars."""
    (line,) = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("lifting train:")
    ]
    return line


def test_the_papers_network_has_no_trunk_to_start_from(data, tmp_path, capsys):
    options = [
        "--data",
        str(data),
        "--out",
        str(tmp_path / "w.safetensors"),
        "--work",
        str(tmp_path),
    ]
    assert main(["train", "paper", *options, "--trunk", "movenet.json"]) == 2
    assert error_of(capsys) == "lifting train: --trunk: the network `paper` has no such trunk"
    assert not list(tmp_path.iterdir())


def test_a_trunk_that_is_not_there_is_told_first(data, tmp_path, capsys):
    options = [
        "--data",
        str(data),
        "--out",
        str(tmp_path / "w.safetensors"),
        "--work",
        str(tmp_path),
    ]
    assert main(["train", "lite", *options, "--trunk", str(tmp_path / "movenet.json")]) == 2
    assert "movenet.json: not a graph model" in error_of(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("variant", "fits"), [("full", False), ("lite", True)])
def test_a_trunk_of_another_width_is_told_first(monkeypatch, variant, fits):
    monkeypatch.setattr(graph_model, "read_trunk", lambda path: Trunk(1.0))
    if fits:
        assert "backbone.stem.weight" in verb.trunk_of("lightning.json", variant)
        return
    with pytest.raises(
        CommandError, match="lightning.json: its first layer has 32 channels, that of `full` 56"
    ):
        verb.trunk_of("lightning.json", variant)


def test_the_card_names_the_files_of_the_trunk(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"weights")
    (tmp_path / "m.json").write_text(
        json.dumps({"weightsManifest": [{"paths": ["a.bin"], "weights": []}]})
    )
    assert verb.published_files(tmp_path / "m.json") == {"a.bin": sha256_of(tmp_path / "a.bin")}


def test_people_to_paste_come_from_the_training_side(data, tmp_path):
    assert len(read_training_cutouts(data)) == 11  # of twelve one validates
    assert read_training_cutouts(tmp_path) == []


@pytest.mark.parametrize("fitted", [True, False])
def test_a_network_is_trained_from_a_trunk_to_a_card(
    data, tmp_path, monkeypatch, narrow_trunk, fitted
):
    """From photographs alone, two steps of two crops; the covariances are fitted or kept."""
    (tmp_path / "m.bin").write_bytes(b"weights")
    (tmp_path / "m.json").write_text(
        json.dumps({"weightsManifest": [{"paths": ["m.bin"], "weights": []}]})
    )
    recipe = (
        "{rendered: 0, rooms: 0, samples: 4, batch: 2, window_px: 96, fusion_from: 2,"
        f" noise_fitted: {str(fitted).lower()}, network: {{input_px: 64, noise_blur: 1.5}}}}"
    )
    (tmp_path / "r.yaml").write_text(recipe)
    trunk = Trunk(TRUNK_WIDTH)
    monkeypatch.setattr(graph_model, "read_trunk", lambda path: trunk)
    monkeypatch.setattr(
        false_alarms,
        "open_false_alarms",
        lambda folder, detector, data, rooms, side: empty_alarms(side),
    )
    out = tmp_path / "w.safetensors"
    options = ["--data", str(data), "--out", str(out), "--work", str(tmp_path), "--workers", "0"]
    assert (
        main(
            [
                "train",
                "lite",
                *options,
                "--recipe",
                str(tmp_path / "r.yaml"),
                "--trunk",
                str(tmp_path / "m.json"),
            ]
        )
        == 0
    )
    tensors, header = load_tensors(out)
    assert header["card"]["recipe"]["network"]["variant"] == "lite"  # which it does not name
    assert (header["network"]["noise_blur"] != 1.5) == fitted
    given = trunk.state_dict()
    assert all(
        torch.equal(tensors[f"features.trunk.{name}"], value.half())
        for name, value in given.items()
    )
    assert header["card"]["trunk"] == {"m.bin": sha256_of(tmp_path / "m.bin")}
    assert set(header["card"]["packs"]) == {*PHOTO_SETS, "negatives", "alarms"}


def test_figures_are_written_whole_or_not_at_all(tmp_path):
    write_json(
        tmp_path / "f.json",
        {"a": {"b": float("nan"), "c": [1.5, float("inf")], "d": np.float64(2)}, "e": 1},
    )
    assert json.loads((tmp_path / "f.json").read_text()) == {
        "a": {"b": None, "c": [1.5, None], "d": 2.0},
        "e": 1,
    }
    before = (tmp_path / "f.json").read_bytes()
    with pytest.raises(TypeError):
        write_json(tmp_path / "f.json", {"a": object()})
    assert (tmp_path / "f.json").read_bytes() == before and [
        p.name for p in tmp_path.iterdir()
    ] == ["f.json"]
    with pytest.raises(FileNotFoundError, match="the folder does not exist"):
        write_json(tmp_path / "no" / "f.json", {})
