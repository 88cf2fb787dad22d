# SPDX-License-Identifier: Apache-2.0
"""`lifting render`: bad input is one line and status 2; packs of every kind, with exact labels,
where the body's data is at hand."""

import os
from pathlib import Path

import numpy as np
import pytest

from lifting_ros.cli.main import main
from lifting_ros.skeleton import KEYPOINT_TO_JOINT

DATA = Path(os.environ.get("LIFTING_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


@pytest.fixture
def empty_data(tmp_path):
    """A folder that has the right folders and nothing in them."""
    for name in ("body", "mocap", "negatives"):
        (tmp_path / "data" / name).mkdir(parents=True)
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--count", "0"], "--count"),
        (["--count", "2", "--size", "big"], "--size"),
        (["--count", "2", "--size", "64x48"], "squares"),
        (["--count", "2", "--size", "64x48x3", "--kind", "rooms"], "--size"),
        (["--count", "2", "--seed", "-1"], "--seed"),
        (["--count", "2", "--sheet", "no/such/folder/s.png"], "folder does not exist"),
        (["--count", "2"], "names.npz"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(empty_data, tmp_path, capsys, options, named):
    assert main(["render", str(empty_data), "--out", str(tmp_path / "out"), *options]) == 2
    error = capsys.readouterr().err.strip()
    assert named in error and "\n" not in error
    assert not (tmp_path / "out").exists()


def test_a_folder_without_data_is_named(tmp_path, capsys):
    assert main(["render", str(tmp_path), "--out", str(tmp_path / "out"), "--count", "1"]) == 2
    assert "body: no such folder" in capsys.readouterr().err


@pytest.fixture(scope="module")
def data():
    pytest.importorskip("embreex", reason="rendering needs the optional package embreex")
    if not all((DATA / part).is_dir() for part in ("body", "mocap", "negatives")):
        pytest.skip(
            "the body mesh, the motion capture and the backgrounds are not at hand"
            " (set LIFTING_DATA)"
        )
    return DATA


def _rendered(data, out, *options):
    assert main(["render", str(data), "--out", str(out), *options]) == 0
    images = np.load(out / "images.npy", allow_pickle=False)
    with np.load(out / "labels.npz", allow_pickle=False) as labels:
        return images, dict(labels)


def _projected(labels, picture):
    flat = np.einsum(
        "pij,pkj->pki", labels["K"][picture], labels["joints_camera_m"][:, list(KEYPOINT_TO_JOINT)]
    )
    return flat[..., :2] / flat[..., 2:]


def test_windows_are_exact_and_equal_in_one_and_two_processes(data, tmp_path):
    options = ("--count", "5", "--size", "64", "--subjects", "validation")
    images, labels = _rendered(
        data, tmp_path / "one", *options, "--workers", "1", "--sheet", str(tmp_path / "sheet.png")
    )
    again, same = _rendered(data, tmp_path / "two", *options, "--workers", "2")
    np.testing.assert_array_equal(images, again)
    for name, values in labels.items():
        np.testing.assert_array_equal(values, same[name])
    shown = labels["keypoints"][..., 2] == 1
    np.testing.assert_allclose(
        labels["keypoints"][shown][:, :2], _projected(labels, np.arange(5))[shown], atol=0.01
    )
    assert images.shape == (5, 64, 64, 3) and labels["validation"].all()
    np.testing.assert_allclose(np.linalg.norm(labels["up"], axis=1), 1, atol=1e-5)
    assert np.median(-labels["up"][:, 1]) > 0.7  # y points down in the optical frame
    assert (tmp_path / "sheet.png").stat().st_size > 10000


def test_crowds_hold_several_people_and_rooms_nobody(data, tmp_path):
    images, labels = _rendered(
        data,
        tmp_path / "crowds",
        "--count",
        "6",
        "--size",
        "160x120",
        "--kind",
        "crowds",
        "--workers",
        "1",
    )
    people = np.bincount(labels["picture"], minlength=6)
    assert images.shape == (6, 120, 160, 3) and people.min() >= 2 and people.max() <= 12
    ahead = labels["joints_camera_m"][..., 2].min(1) > 0.1
    projected = _projected(labels, labels["picture"])
    np.testing.assert_allclose(
        labels["keypoints"][ahead][..., :2], projected[ahead], rtol=1e-3, atol=0.05
    )
    shown = labels["keypoints"][..., 2] == 1
    assert np.all((projected[shown] > -0.6) & (projected[shown] < [159.6, 119.6]))
    assert not np.any(labels["self_occluded"] & ~shown) and not labels["validation"].any()
    assert labels["seen"].min() >= 0 and labels["seen"].max() <= 1
    _, nobody = _rendered(
        data,
        tmp_path / "rooms",
        "--count",
        "3",
        "--size",
        "160x120",
        "--kind",
        "rooms",
        "--workers",
        "1",
    )
    assert nobody["keypoints"].shape == (0, 14, 3) and len(nobody["K"]) == 3
