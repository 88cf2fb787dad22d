# SPDX-License-Identifier: Apache-2.0
"""The file contracts of `lifting fit-prior` and `lifting lift`, and bad input: one line, exit
status 2, nothing half-written."""

import numpy as np
import pytest
from people import CAMERA, make_poses, see

from lifting_ros.cli.main import main
from lifting_ros.conventions import CONVENTIONS
from lifting_ros.lifting.lifters import METHODS
from lifting_ros.research.evaluation.metrics import n_mpjpe


@pytest.fixture
def keypoints(tmp_path):
    """A keypoint file of six people, and their joints."""
    joints, pixels = see(make_poses(6))
    arrays = {"keypoints_px": pixels, "confidence": np.ones((6, 14)), "K": CAMERA.matrix}
    np.savez(tmp_path / "in.npz", **arrays)
    return tmp_path, joints, arrays


def test_lift_writes_what_the_contract_says(keypoints):
    folder, joints, _ = keypoints
    assert main(["lift", str(folder / "in.npz"), "--out", str(folder / "out.npz")]) == 0
    out = np.load(folder / "out.npz", allow_pickle=False)
    modes = out["hypotheses_m"].shape[1]
    shapes = {
        "joints_m": (6, 17, 3),
        "root_m": (6, 3),
        "covariance_m2": (6, 17, 3, 3),
        "root_covariance_m2": (6, 3, 3),
        "status": (6, 17),
        "log_likelihood": (6,),
        "hypotheses_m": (6, modes, 17, 3),
        "hypothesis_weight": (6, modes),
    }
    assert {name: out[name].shape for name in out.files} == shapes
    assert set(np.unique(out["status"])) == {1, 2}
    np.testing.assert_array_equal(out["joints_m"][:, 0], out["root_m"])
    np.testing.assert_allclose(out["hypothesis_weight"].sum(1), 1)
    assert np.median(n_mpjpe(out["joints_m"], joints)) < 0.15


def test_fit_prior_then_lift_with_it(keypoints):
    folder, _, _ = keypoints
    np.savez(
        folder / "mocap.npz",
        positions=make_poses(400).astype(np.float32),
        subject_id=np.repeat(np.arange(4), 100),
    )
    assert (
        main(
            [
                "fit-prior",
                str(folder / "mocap.npz"),
                "--out",
                str(folder / "p.npz"),
                "--components",
                "2",
                "--basis",
                "8",
            ]
        )
        == 0
    )
    assert (
        main(
            [
                "lift",
                str(folder / "in.npz"),
                "--out",
                str(folder / "out.npz"),
                "--prior",
                str(folder / "p.npz"),
            ]
        )
        == 0
    )


def test_an_empty_file_gives_an_empty_answer(tmp_path):
    np.savez(tmp_path / "in.npz", keypoints_px=np.zeros((0, 14, 2)), confidence=np.zeros((0, 14)))
    assert main(["lift", str(tmp_path / "in.npz"), "--out", str(tmp_path / "out.npz")]) == 0
    assert np.load(tmp_path / "out.npz")["joints_m"].shape == (0, 17, 3)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"keypoints_px": np.zeros((6, 15, 2))}, "keypoints_px"),
        ({"keypoints_px": None}, "keypoints_px"),
        ({"confidence": None}, "confidence"),
        ({"confidence": np.full((6, 14), 2.0)}, "confidence"),
        ({"confidence": np.full((6, 14), "a")}, "confidence"),
        ({"K": np.zeros((3, 3))}, "K"),
        ({"K": np.full((3, 3), np.nan)}, "K"),
        ({"D": np.full(3, 0.1)}, "D"),
        ({"up": np.zeros((5, 3))}, "up"),
        ({"keypoint_covariance_px2": np.zeros((6, 14, 2))}, "keypoint_covariance_px2"),
    ],
)
def test_a_wrong_array_is_named_in_one_line(keypoints, capsys, change, named):
    folder, _, arrays = keypoints
    arrays = {name: value for name, value in (arrays | change).items() if value is not None}
    np.savez(folder / "bad.npz", **arrays)
    assert main(["lift", str(folder / "bad.npz"), "--out", str(folder / "out.npz")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert (
        len(lines) == 1
        and named in lines[0]
        and "expected" in lines[0]
        or "not calibrated" in lines[0]
        or "do not fit" in lines[0]
    )
    assert not (folder / "out.npz").exists() and not list(folder.glob("*.partial"))


def test_other_conventions_are_read_and_named(keypoints, capsys):
    folder, joints, arrays = keypoints
    h36m = CAMERA.project(joints)
    np.savez(folder / "h.npz", keypoints_px=h36m, confidence=np.ones((6, 17)), K=CAMERA.matrix)
    call = ["lift", str(folder / "h.npz"), "--out", str(folder / "h_out.npz")]
    assert main(call) == 2
    error = capsys.readouterr().err.strip()
    assert (
        len(error.splitlines()) == 1 and "--convention coco17 or --convention human36m17" in error
    )
    assert (
        main([*call, "--convention", "body25"]) == 2
        and "expected (N, 25, 2) of body25" in capsys.readouterr().err
    )
    assert main([*call, "--convention", "human36m17"]) == 0
    assert main(["lift", str(folder / "in.npz"), "--out", str(folder / "out.npz")]) == 0
    found, own = (np.load(folder / name)["joints_m"] for name in ("h_out.npz", "out.npz"))
    np.testing.assert_array_equal(found, own)
    np.savez(folder / "m.npz", keypoints_px=np.zeros((2, 33, 2)), confidence=np.zeros((2, 33)))
    assert main(["lift", str(folder / "m.npz"), "--out", str(folder / "out.npz")]) == 2
    assert capsys.readouterr().err.strip().endswith("use --convention mediapipe33")


def test_help_offers_every_convention(capsys):
    with pytest.raises(SystemExit):
        main(["lift", "--help"])
    told = capsys.readouterr().out
    assert all(name in told for name in (*CONVENTIONS, *METHODS))


@pytest.mark.parametrize(
    ("verb", "option"),
    [
        ("lift", "--lifter"),
        ("lift", "--method"),
        ("estimate", "--lifter"),
        ("benchmark", "--lifter"),
    ],
)
def test_lifters_offered_are_those_of_the_parameter(verb, option):
    import argparse
    import importlib

    parser = argparse.ArgumentParser()
    importlib.import_module(f"lifting_ros.cli.{verb}").add_arguments(parser)
    (action,) = (a for a in parser._actions if option in a.option_strings)
    assert sorted(action.choices) == sorted(METHODS)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04rubbish", b"text"])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, capsys, content):
    if content is not None:
        (tmp_path / "in.npz").write_bytes(content)
    assert main(["lift", str(tmp_path / "in.npz"), "--out", str(tmp_path / "out.npz")]) == 2
    assert main(["fit-prior", str(tmp_path / "in.npz"), "--out", str(tmp_path / "out.npz")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 2
    assert not (tmp_path / "out.npz").exists()


def test_pickles_are_refused(tmp_path, capsys):
    np.savez(
        tmp_path / "in.npz",
        keypoints_px=np.array([{"a": 1}], dtype=object),
        confidence=np.ones((1, 14)),
    )
    assert main(["lift", str(tmp_path / "in.npz"), "--out", str(tmp_path / "out.npz")]) == 2
    assert "in.npz" in capsys.readouterr().err


def test_fuzzed_keypoints_never_end_in_a_traceback(tmp_path):
    """Any numbers at all: the answer is whole, and NaN only where the status says so."""
    rng = np.random.default_rng(0)
    count = 60
    pixels = rng.normal(size=(count, 14, 2)) * 10.0 ** rng.integers(-3, 12, (count, 1, 1))
    pixels[rng.random(pixels.shape) < 0.1] = np.nan
    pixels[rng.random(pixels.shape) < 0.02] = np.inf
    confidence = rng.random((count, 14)) * (rng.random((count, 14)) < rng.random((count, 1)))
    np.savez(
        tmp_path / "in.npz",
        keypoints_px=pixels,
        confidence=confidence,
        K=CAMERA.matrix,
        up=rng.normal(size=(count, 3)).round(),
    )
    assert main(["lift", str(tmp_path / "in.npz"), "--out", str(tmp_path / "out.npz")]) == 0
    out = np.load(tmp_path / "out.npz")
    known = out["status"] > 0
    assert (
        np.isfinite(out["joints_m"][known]).all() and np.isfinite(out["covariance_m2"][known]).all()
    )
    assert np.isnan(out["joints_m"][~known]).all()
