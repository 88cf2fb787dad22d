# SPDX-License-Identifier: Apache-2.0
"""`lifting evaluate keypoints` and `rendered` on packs and weights that the test makes."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from people import CAMERA, make_poses, see
from small_networks import LITE, small_network

from lifting_ros.cli import tables as printed
from lifting_ros.cli.main import main
from lifting_ros.keypoints.network_weights import save_network
from lifting_ros.research.datasets import pack as packs
from lifting_ros.research.datasets.pack import Pack
from lifting_ros.research.evaluation import keypoint_report, synthetic_people

pytestmark = pytest.mark.usefixtures("narrow_trunk")
PEOPLE = 4


@pytest.fixture
def weights(tmp_path) -> Path:
    """Of a small network that has learnt nothing, without fusion."""
    torch.manual_seed(0)
    config = dataclasses.replace(LITE, fusion=False)
    save_network(tmp_path / "small.safetensors", small_network(config).state_dict(), config, {})
    return tmp_path / "small.safetensors"


@pytest.fixture
def rendered(tmp_path) -> Path:
    """A pack of people in noise, with cameras and joints."""
    joints, keypoints = see(make_poses(PEOPLE, seed=3))
    folder = tmp_path / "rendered"
    folder.mkdir()
    np.save(
        folder / "images.npy",
        np.random.default_rng(0).integers(0, 255, (PEOPLE, 480, 640, 3), np.uint8),
    )
    np.savez(
        folder / "labels.npz",
        keypoints=np.concatenate([keypoints, np.ones((PEOPLE, 14, 1))], -1).astype(np.float32),
        joints_camera_m=joints,
        K=np.tile(CAMERA.matrix, (PEOPLE, 1, 1)),
        up=np.tile([0.0, -1, 0], (PEOPLE, 1)),
        validation=np.ones(PEOPLE, bool),
    )
    return folder


def test_rendered_people_end_to_end(rendered, weights, tmp_path, capsys):
    out = tmp_path / "e.json"
    assert (
        main(
            [
                "evaluate",
                "rendered",
                str(rendered),
                "--weights",
                str(weights),
                "--json",
                str(out),
            ]
        )
        == 0
    )
    tables = json.loads(out.read_text())
    assert tuple(tables) == synthetic_people.TITLES
    text = capsys.readouterr().out
    assert all(title in text for title in tables)
    rows = tables[synthetic_people.TITLES[0]]
    stages = [f"stage {s}, {kind}" for s in (1, 2, 3) for kind in ("b", "f")]
    assert list(rows) == ["exact keypoints", *stages, *(f"{s}, small" for s in stages[:4])]
    assert (
        rows["exact keypoints"]["px"] < 0.01 < rows["stage 3, f"]["px"]
        and rows["exact keypoints"]["lifted %"] == 100
    )
    assert set(rows["stage 1, b"]) >= {
        "MPJPE",
        "N-MPJPE",
        "PA-MPJPE",
        "median PA-MPJPE",
        "px",
        "swapped %",
    }


def test_networks_stand_side_by_side(rendered, weights, tmp_path, monkeypatch):
    """Photographs are replaced by the pack above; the detector is left out."""
    rendered_pack = packs.read_pack(rendered)._replace(name="lspet")
    nobody = Pack(
        "negatives",
        rendered_pack.images,
        np.zeros((PEOPLE, 14, 3), np.float32),
        np.ones(PEOPLE, bool),
    )
    asked = []
    monkeypatch.setattr(
        packs,
        "open_packs",
        lambda data, cache, side: asked.append((cache.name, side)) or [rendered_pack, nobody],
    )
    copy = tmp_path / "other" / "small.safetensors"
    copy.parent.mkdir()
    copy.write_bytes(weights.read_bytes())
    options = [
        "keypoints",
        "--true-boxes",
        "--data",
        str(tmp_path),
        "--weights",
        f"{weights},{copy}",
        "--json",
        str(tmp_path / "e.json"),
    ]
    assert main(["evaluate", *options]) == 0
    tables = json.loads((tmp_path / "e.json").read_text())
    assert tuple(tables) == keypoint_report.TITLES and asked == [("packs384", 384)]
    names = [f", {weights}", f", {copy}"]  # two files of one name are told apart by their paths
    assert list(tables["keypoints"]) == [
        f"lspet{part}{name}" for name in ("", *names) for part in ("", ", upright")
    ]
    assert tables["keypoints"][f"lspet{names[0]}"] == tables["keypoints"][f"lspet{names[1]}"]
    assert list(tables["keypoints"]["lspet"]) == ["stage 1", "stage 2", "stage 3"]
    assert all(
        tables[keypoint_report.TITLES[4]][f"all sets{name}"]["count"] == 28 for name in ("", *names)
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["rendered", "/nowhere"], "not a pack of rendered people"),
        (["rendered", ".", "--people", "0"], "--people"),
        (["robustness", "--data", ".", "--pictures", "-1"], "--pictures"),
        (["fusion", "--data", ".", "--people", "0"], "--people"),
        (["fusion", "--data", ".", "--rendered", "/nowhere"], "not a pack of rendered people"),
        (["detector", "--data", ".", "--json", "/nowhere/f.json"], "--json"),
    ],
)
def test_bad_options_are_one_line(capsys, options, named):
    assert main(["evaluate", *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and named in lines[0]


def test_other_weights_that_are_none_are_refused(rendered, tmp_path, capsys):
    (tmp_path / "w.safetensors").write_bytes(b"nothing")
    assert (
        main(["evaluate", "rendered", str(rendered), "--weights", str(tmp_path / "w.safetensors")])
        == 2
    )
    assert "w.safetensors" in capsys.readouterr().err
    assert printed.cell(float("nan")) == "-"
