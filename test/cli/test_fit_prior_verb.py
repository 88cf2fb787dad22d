# SPDX-License-Identifier: Apache-2.0
"""`lifting fit-prior` from file to file: the same bytes on any number of threads, pictures, and one
line for what cannot be learnt from."""

import os
import subprocess
import sys

import numpy as np
import pytest
from people import make_poses

from lifting_ros.cli.main import main
from lifting_ros.prior.ppca import MixturePPCA
from lifting_ros.research.training import choose_prior


@pytest.fixture
def mocap(tmp_path) -> str:
    path = tmp_path / "mocap.npz"
    np.savez(
        path,
        positions=make_poses(600).astype(np.float32),
        subject_id=np.repeat([0, 1, 2], 200),
        subjects=["ann", "bob", "cyd"],
    )
    return str(path)


def test_same_seed_same_bytes_on_any_number_of_threads(mocap, tmp_path, monkeypatch):
    content = []
    for threads in ("1", "2", "2"):
        out = tmp_path / f"prior_{len(content)}.npz"
        command = [
            sys.executable,
            "-m",
            "lifting_ros.cli.main",
            "fit-prior",
            mocap,
            "--out",
            str(out),
            "--components",
            "2",
            "--basis",
            "6",
        ]
        subprocess.run(
            command,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            timeout=1800,
        )
        content.append(out.read_bytes())
    assert content[0] == content[1] == content[2]


def test_people_held_out_are_not_learnt_from(mocap, tmp_path, capsys):
    out = tmp_path / "prior.npz"
    assert (
        main(
            [
                "fit-prior",
                mocap,
                "--out",
                str(out),
                "--components",
                "1",
                "--basis",
                "5",
                "--hold-out",
                "bob,cyd",
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert "from 200 poses" in said and "log-likelihood of 400 poses left out" in said
    alone = tmp_path / "ann.npz"
    with np.load(mocap) as file:
        np.savez(alone, positions=file["positions"][:200], subject_id=file["subject_id"][:200])
    assert (
        main(
            [
                "fit-prior",
                str(alone),
                "--out",
                str(tmp_path / "other.npz"),
                "--components",
                "1",
                "--basis",
                "5",
            ]
        )
        == 0
    )
    assert out.read_bytes() == (tmp_path / "other.npz").read_bytes()


def test_auto_and_report(mocap, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(choose_prior, "COMPONENTS", (1, 2))
    monkeypatch.setattr(choose_prior, "BASES", (3, 6))
    out, report = tmp_path / "prior.npz", tmp_path / "report"
    assert (
        main(
            [
                "fit-prior",
                mocap,
                "--out",
                str(out),
                "--components",
                "auto",
                "--basis",
                "auto",
                "--report",
                str(report),
            ]
        )
        == 0
    )
    prior, said = MixturePPCA.load(out), capsys.readouterr().out
    assert (
        prior.components in (1, 2)
        and prior.basis in (3, 6)
        and said.count("of those left out") >= 3
    )
    from matplotlib.image import imread

    for name in ("aligned", "means", "basis", "likelihood"):
        picture = imread(report / f"{name}.png")
        assert (
            min(picture.shape[:2]) > 300 and 0.005 < (picture[..., :3].mean(-1) < 0.9).mean() < 0.5
        )  # something is drawn, on white


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--components", "0"], "--components: expected 1 or more, got 0"),
        (["--basis", "46"], "basis: expected 1 to 45, got 46"),
        (["--components", "40"], "positions: expected at least 4000 poses for 40 components"),
        (["--hold-out", "dan"], "--hold-out: dan is none of the subjects"),
        (["--hold-out", "ann,bob,cyd"], "--hold-out: expected somebody to be left"),
        (["--seed", "-1"], "--seed: expected 0 or more"),
    ],
)
def test_what_cannot_be_done_is_one_line(mocap, tmp_path, capsys, options, message):
    assert main(["fit-prior", mocap, "--out", str(tmp_path / "prior.npz"), *options]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "prior.npz").exists()


@pytest.mark.parametrize(
    "poses",
    [
        np.zeros((300, 17, 3)),
        np.full((300, 17, 3), np.nan),
        np.zeros((300, 5, 3)),
        np.zeros((0, 17, 3)),
    ],
)
def test_degenerate_poses_are_one_line(tmp_path, capsys, poses):
    np.savez(tmp_path / "mocap.npz", positions=poses, subject_id=np.zeros(len(poses), int))
    assert (
        main(
            [
                "fit-prior",
                str(tmp_path / "mocap.npz"),
                "--out",
                str(tmp_path / "prior.npz"),
                "--components",
                "1",
                "--basis",
                "3",
            ]
        )
        == 2
    )
    error = capsys.readouterr().err
    assert "positions: expected" in error and error.count("\n") == 1
