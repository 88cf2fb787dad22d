# SPDX-License-Identifier: Apache-2.0
"""`lifting label` on pictures of the rendered demo, then training on what it wrote; and bad input
in one line."""

import cv2
import numpy as np
import pytest
from clip import frames
from stereo_support import make_lifter

from lifting_ros.cli.main import main
from lifting_ros.research.labels.labels import QUALITY, read_labels
from lifting_ros.skeleton import limb_lengths


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of two frames with one person each and a grey wall, and weights that have learnt
    nothing."""
    folder = tmp_path_factory.mktemp("pictures")
    make_lifter().save(folder / "s.safetensors", {})
    for number, image in zip((40, 60), frames((40, 60))):
        cv2.imwrite(str(folder / f"{number}.png"), image[..., ::-1])
    cv2.imwrite(str(folder / "wall.png"), np.full((120, 160, 3), 128, np.uint8))
    (folder / "all.yaml").write_text(
        "\n".join(f"{name}: {0.0 if name == 'confidence' else 10.0}" for name in QUALITY)
    )
    return folder


def call(pictures, *options: str) -> int:
    return main(["label", str(pictures), "--weights", str(pictures / "s.safetensors"), *options])


def test_photographs_become_labels_that_a_network_learns_from(pictures, tmp_path, capsys):
    assert call(pictures, "--out", str(tmp_path / "l"), "--recipe", str(pictures / "all.yaml")) == 0
    said = capsys.readouterr().out
    labels = read_labels(tmp_path / "l")
    assert (
        set(labels.image_index) <= {0, 1}
        and labels.images == ("40.png", "60.png", "wall.png")
        and f"{len(labels.good)} people" in said
    )
    assert (
        labels.windows.shape[1:] == (384, 384, 3)
        and np.isfinite(labels.joints_m).all()
        and (labels.joints_m[:, 0] == 0).all()
    )
    assert (np.linalg.eigvalsh(labels.covariance_m2[:, 1:]) > 0).all() and (
        limb_lengths(labels.joints_m) > 0
    ).all()
    assert len(labels.about["sha256"]["lifter"]) == 64 and labels.about["limits"]["confidence"] == 0
    assert all(np.isfinite(values).all() for values in labels.quality.values())
    assert cv2.imread(str(tmp_path / "l" / "sheet.png")).shape[1] > 300
    recipe = tmp_path / "r.yaml"
    recipe.write_text("network: {widths: [8, 8, 8], hidden: 16}\nsamples: 4\nbatch: 2\n")
    arrays = dict(np.load(tmp_path / "l" / "labels.npz"))
    np.savez(tmp_path / "l" / "labels.npz", **arrays | {"good": np.ones(len(labels.good), bool)})
    options = [
        "--recipe",
        str(recipe),
        "--work",
        str(tmp_path),
        "--out",
        str(tmp_path / "w.safetensors"),
    ]
    assert main(["train", "image", "--data", str(tmp_path / "l"), *options]) == 0
    assert (tmp_path / "w.safetensors").stat().st_size < 5e6


def test_with_a_calibration_people_are_seen_where_they_are(pictures, tmp_path):
    (tmp_path / "c.yaml").write_text(
        "image_width: 640\nimage_height: 480\n"
        "camera_matrix: {data: [500, 0, 320, 0, 500, 240, 0, 0, 1]}\n"
        "distortion_coefficients: {data: [0, 0, 0, 0, 0]}\ndistortion_model: plumb_bob\n"
    )
    image = str(pictures / "60.png")
    weights = [
        "--weights",
        str(pictures / "s.safetensors"),
        "--camera",
        str(tmp_path / "c.yaml"),
        "--sheet",
        "0",
    ]
    code = main(["label", image, "--out", str(tmp_path / "l"), *weights])
    assert code == 0
    labels = read_labels(tmp_path / "l")
    np.testing.assert_allclose(np.linalg.norm(labels.toward, axis=-1), 1)
    assert (labels.toward[:, 2] > 0.5).all() and not (tmp_path / "l" / "sheet.png").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--out", "FULL"], "--out"),
        (["--out", "/nowhere/l"], "--out"),
        (["--out", "NEW", "--sheet", "-1"], "--sheet"),
        (["--out", "NEW", "--weights", "/nowhere.safetensors"], "nowhere.safetensors"),
        (["--out", "NEW", "--recipe", "/no.yaml"], "no.yaml"),
        (["--out", "NEW", "--camera", "/no.yaml"], "no.yaml"),
    ],
)
def test_bad_options_are_one_line_and_nothing_is_written(
    pictures, tmp_path, capsys, options, named
):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("kept")
    places = {"FULL": str(tmp_path / "full"), "NEW": str(tmp_path / "new")}
    assert call(pictures, *(places.get(option, option) for option in options)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and named in lines[0]
    assert [p.name for p in tmp_path.iterdir()] == ["full"]


def test_the_folder_one_is_in_is_refused_before_the_work(pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lifting_ros.research.labels.labeller.Labeller", None)
    assert call(pictures, "--out", ".") == 2
    assert "--out: .: expected a new or empty folder" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["missing.png", "broken.png", "empty"])
def test_bad_pictures_are_one_line(pictures, tmp_path, capsys, given):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "empty").mkdir()
    weights = ["--weights", str(pictures / "s.safetensors"), "--out", str(tmp_path / "l")]
    assert main(["label", str(tmp_path / given), *weights]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and given in lines[0] and not (tmp_path / "l").exists()
