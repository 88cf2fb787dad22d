# SPDX-License-Identifier: Apache-2.0
"""`lifting train stereo`, then measuring what came out beside the lifter, on motion capture that
the test makes."""

import json

import numpy as np
from people import make_poses, small_prior

from lifting_ros.cli.main import main
from lifting_ros.lifting.stereo import StereoLifter
from lifting_ros.research.training import train_stereo


def test_training_both_kinds_then_measuring_them(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train_stereo, "STATISTICS_VIEWS", 256)
    (tmp_path / "mocap").mkdir()
    np.savez(
        tmp_path / "mocap" / "cmu17_10fps_dev.npz",
        positions=make_poses(40).astype(np.float32),
        subject_id=np.arange(40) % 2,
        subjects=np.array(["cmu01", "cmu02"]),
    )
    small_prior().save(tmp_path / "p.npz")
    for name in ("true", "false"):
        recipe = f"network: {{width: 16, blocks: 1, synthesis: {name}}}\nsamples: 128\nbatch: 64\n"
        (tmp_path / "r.yaml").write_text(recipe)
        options = [
            "--recipe",
            str(tmp_path / "r.yaml"),
            "--run",
            str(tmp_path / name),
            "--out",
            str(tmp_path / f"{name}.safetensors"),
        ]
        assert main(["train", "stereo", "--data", str(tmp_path), *options]) == 0
        assert (
            "N-MPJPE, exact" in capsys.readouterr().out
            and (tmp_path / name / "validation.csv").exists()
        )
    assert StereoLifter.load(tmp_path / "true.safetensors").errors.depth > 0
    weights = [str(tmp_path / f"{name}.safetensors") for name in ("true", "false")]
    measured = [
        "--prior",
        str(tmp_path / "p.npz"),
        "--views",
        "8",
        "--json",
        str(tmp_path / "e.json"),
    ]
    assert (
        main(["evaluate", "lifting", "--data", str(tmp_path), "--stereo", *weights, *measured]) == 0
    )
    tables = json.loads((tmp_path / "e.json").read_text())
    rows = [f"exact, stereo{kind}" for kind in ("", " without search", " without view synthesis")]
    assert set(rows) <= set(tables["errors, mm"]) and set(rows) <= set(tables["speed"])
    assert "exact, stereo, observed joints" in tables["calibration, % inside"]
