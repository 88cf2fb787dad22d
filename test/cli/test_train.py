# SPDX-License-Identifier: Apache-2.0
"""`lifting train`: what the packs are called, what comes first, and what is said where nothing can be rendered."""
import argparse
import dataclasses
import json
import sys

import numpy as np
import pytest
from photos import write_data

from lifting_ros.cli import train as verb
from lifting_ros.cli.files import write_json
from lifting_ros.cli.main import CommandError, main
from lifting_ros.core.checkpoint import sha256_of
from lifting_ros.core.pipeline import WEIGHTS
from lifting_ros.data import false_alarms, synthetic
from lifting_ros.data.pack import Pack, write_windows
from lifting_ros.data.render_errors import RendererMissingError
from lifting_ros.training import train_detector
from lifting_ros.training.train_network import TrainConfig

SMALL = TrainConfig(rendered=3, rooms=2, window_px=32)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def rendering(monkeypatch):
    """Stands for the renderer: the folders that were written, and with what."""
    written = {}

    def write(out, n, size, seed, backgrounds, **options):
        written[out.name] = (n, size, seed, len(backgrounds))
        width = size if isinstance(size, int) else 16
        write_windows(out, ((np.zeros((width, width, 3), np.uint8), np.zeros((14, 3))) for _ in range(n)), np.zeros(n, bool), width)
        labels = dict(np.load(out / "labels.npz"))
        np.savez(out / "labels.npz", **labels | {"version": 1})

    def alarms(folder, detector, data, rooms, side):
        written[folder.name] = (rooms and rooms.name, side)
        return Pack("alarms", np.zeros((0, side, side, 3), np.uint8), np.zeros((0, 14, 3)), np.zeros(0, bool))

    monkeypatch.setattr(synthetic, "write_pack", write)
    monkeypatch.setattr(synthetic, "write_scenes", write)
    monkeypatch.setattr(false_alarms, "open_false_alarms", alarms)
    return written


def packs(data, work, **changes) -> list[str]:
    return [p.name for p in verb.packs_of(argparse.Namespace(work=str(work), synthetic=""), data, dataclasses.replace(SMALL, **changes))]


def test_packs_are_named_by_all_that_they_depend_on(data, tmp_path, rendering):
    found = packs(data, tmp_path)
    assert found == ["lspet", "street", "gym", "people", "negatives", "synthetic", "alarms"]
    detector = sha256_of(WEIGHTS / "detector.safetensors")[:8]
    assert set(rendering) == {"synthetic3_32px_seed0", "rooms2_seed0", f"alarms_rooms2_seed0_{detector}"}
    assert rendering["synthetic3_32px_seed0"] == (3, 32, 0, 11) and rendering["rooms2_seed0"][2:] == (0, 11)  # train and tune
    assert rendering[f"alarms_rooms2_seed0_{detector}"] == ("rooms2_seed0", 32)
    rendering.clear()
    packs(data, tmp_path)
    assert set(rendering) == {f"alarms_rooms2_seed0_{detector}"}  # the rest is there
    packs(data, tmp_path, seed=1, window_px=48)
    assert {"synthetic3_48px_seed1", "rooms2_seed1", f"alarms_rooms2_seed1_{detector}"} <= set(rendering)
    rendering.clear()
    packs(data, tmp_path, rendered=0, rooms=0)
    assert rendering == {f"alarms_rooms0_seed0_{detector}": (None, 32)}


def test_bad_photographs_are_told_before_anything_is_rendered(tmp_path, rendering):
    broken = write_data(tmp_path / "data")
    (broken / "keypoints2d" / "people" / "images.tar").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="people/images.tar: not a readable tar"):
        packs(broken, tmp_path)
    assert not rendering


@pytest.mark.parametrize("what", ["lite", "detector"])
def test_without_the_renderer_there_is_one_line_with_a_way_out(data, tmp_path, monkeypatch, capsys, what):
    def missing(*_, **__):
        raise RendererMissingError("rendering people needs the package embreex: pip install embreex")

    monkeypatch.setattr(synthetic, "write_pack", missing)
    monkeypatch.setattr(train_detector, "open_crowd_pack", missing)
    options = ["--data", str(data), "--work", str(tmp_path), "--out", str(tmp_path / "w.safetensors")]
    (tmp_path / "r.yaml").write_text("window_px: 32\n" if what == "lite" else "widths: [8, 8, 16, 16]\n")
    assert main(["train", what, *options, "--recipe", str(tmp_path / "r.yaml")]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lifting train:")]
    assert len(said) == 1 and "embreex" in said[0] and "crowds: 0 and rooms: 0" in said[0]


def test_a_detector_that_learns_from_nothing_rendered_needs_no_renderer(data, tmp_path, monkeypatch):
    for name in list(sys.modules):
        if name.split(".")[0] == "embreex":
            monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "embreex", None)
    monkeypatch.setattr(train_detector, "calibrated", lambda weights, widths, source: weights)
    (tmp_path / "r.yaml").write_text("{crowds: 0, rooms: 0, samples: 2, batch: 1, widths: [8, 8, 16, 16]}\n")
    options = ["--data", str(data), "--work", str(tmp_path), "--out", str(tmp_path / "w.safetensors"), "--recipe", str(tmp_path / "r.yaml")]
    assert main(["train", "detector", *options]) == 0
    assert (tmp_path / "w.safetensors").is_file() and not (tmp_path / "crowds").exists()
    assert (tmp_path / "train_detector" / "curves.png").is_file()


def test_a_folder_for_the_weights_that_is_not_there_is_told_first(data, capsys):
    assert main(["train", "lite", "--data", str(data), "--out", "/nowhere/w.safetensors"]) == 2
    assert capsys.readouterr().err.count("--out: /nowhere/w.safetensors: the folder does not exist") == 1


def test_figures_are_written_whole_or_not_at_all(tmp_path):
    write_json(tmp_path / "f.json", {"a": {"b": float("nan"), "c": [1.5, float("inf")], "d": np.float64(2)}, "e": 1})
    assert json.loads((tmp_path / "f.json").read_text()) == {"a": {"b": None, "c": [1.5, None], "d": 2.0}, "e": 1}
    before = (tmp_path / "f.json").read_bytes()
    with pytest.raises(TypeError):
        write_json(tmp_path / "f.json", {"a": object()})
    assert (tmp_path / "f.json").read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["f.json"]
    with pytest.raises(CommandError, match="the folder does not exist"):
        write_json(tmp_path / "no" / "f.json", {})
