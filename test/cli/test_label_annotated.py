# SPDX-License-Identifier: Apache-2.0
"""`lifting label --keypoints`: labels of people whose keypoints are annotated, without networks."""

import json

import cv2
import numpy as np
import pytest
from people import CAMERA, make_poses, see
from stereo_support import make_lifter

from lifting_ros.cli.main import main
from lifting_ros.conventions import point_names
from lifting_ros.research.datasets.coco_keypoints import read_coco_keypoints
from lifting_ros.research.labels.labels import read_labels
from lifting_ros.skeleton import KEYPOINT_NAMES

COCO = point_names("coco17")


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Three grey pictures, keypoints of a person in each, and weights that have learnt nothing."""
    monkeypatch.setattr("lifting_ros.research.labels.labeller.PoseEstimator", None)
    (tmp_path / "pictures").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        cv2.imwrite(str(tmp_path / "pictures" / name), np.full((480, 640, 3), 128, np.uint8))
    make_lifter().save(tmp_path / "s.safetensors", {})
    return tmp_path


def keypoints() -> np.ndarray:
    return see(make_poses(3))[1]


def coco_file(path, points: np.ndarray, **changes) -> None:
    """The 12 limb keypoints of people (N, 14, 2), the first knee of each hidden, nobody's face."""
    annotations = []
    for number, person in enumerate(points):
        triples = np.zeros((17, 3))
        for k, name in enumerate(KEYPOINT_NAMES):
            if name in COCO:
                triples[COCO.index(name)] = [*person[k], 1 + (name != "left_knee")]
        annotations.append({"image_id": number, "keypoints": triples.ravel().tolist()})
    annotations.append({"image_id": 0, "keypoints": [0] * 51})
    images = [{"id": n, "file_name": f"train/{name}.png"} for n, name in enumerate("abx")]
    content = {"images": images, "annotations": annotations} | changes
    path.write_text(json.dumps(content))


def call(data, file: str, *options: str) -> int:
    given = ["--keypoints", str(data / file), "--weights", str(data / "s.safetensors")]
    out = ["--out", str(data / "l"), "--sheet", "0"]
    return main(["label", str(data / "pictures"), *given, *out, *options])


def test_people_of_an_npz_are_labelled(data):
    points = keypoints()
    np.savez(
        data / "k.npz",
        keypoints_px=points,
        confidence=np.full((3, 14), 0.9),
        image_index=[2, 0, 0],
        K=CAMERA.matrix,
    )
    assert call(data, "k.npz") == 0
    labels = read_labels(data / "l")
    assert labels.image_index.tolist() == [0, 0, 2] and labels.images == ("a.png", "b.png", "c.png")
    # a window is a similarity of its picture
    own = labels.keypoints[2, :, :2] - labels.keypoints[2, 0, :2]
    given = points[0] - points[0, 0]
    scale = np.linalg.norm(own[13]) / np.linalg.norm(given[13])
    np.testing.assert_allclose(own, scale * given, atol=1e-3)
    # K is known, and with it where people are
    assert (labels.toward[:, 2] < 1).all() and len(labels.about["sha256"]["keypoints"]) == 64


def test_one_person_an_image_needs_no_index(data):
    np.savez(data / "k.npz", keypoints_px=keypoints(), confidence=np.ones((3, 14)))
    assert call(data, "k.npz") == 0
    labels = read_labels(data / "l")
    assert labels.image_index.tolist() == [0, 1, 2] and (labels.toward == [0, 0, 1]).all()


def test_people_of_a_coco_file_are_labelled(data):
    """Of three annotated pictures two are there."""
    coco_file(data / "k.json", keypoints())
    assert call(data, "k.json") == 0
    labels = read_labels(data / "l")
    assert labels.image_index.tolist() == [0, 1] and np.isfinite(labels.joints_m).all()
    confidence = dict(zip(KEYPOINT_NAMES, labels.keypoints[0, :, 2]))
    assert confidence["left_knee"] == 0.5 and confidence["right_knee"] == 1
    assert confidence["neck"] > 0  # from the shoulders


def test_coco_keypoints_are_in_our_order(data):
    points = keypoints()
    coco_file(data / "k.json", points)
    read = read_coco_keypoints(data / "k.json")
    assert read.file.tolist() == ["train/a.png", "train/b.png", "train/x.png"]
    limbs = [k for k, name in enumerate(KEYPOINT_NAMES) if name in COCO]
    np.testing.assert_allclose(read.keypoints_px[:, limbs], points[:, limbs])
    assert len(limbs) == 12


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"image_index": [0, 1, 3]}, "image_index: expected numbers of the 3 images"),
        ({"keypoints_px": np.zeros((2, 14, 2))}, "confidence"),
        ({"keypoints_px": np.zeros((2, 14, 2)), "confidence": np.ones((2, 14))}, "image_index is"),
        ({"keypoints_px": np.zeros((3, 17, 2))}, "--convention coco17"),
    ],
)
def test_an_unfit_npz_is_one_line(data, capsys, arrays, named):
    whole = {"keypoints_px": keypoints(), "confidence": np.ones((3, 14))}
    np.savez(data / "k.npz", **whole | arrays)
    assert call(data, "k.npz") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and named in lines[0] and not (data / "l").exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"images": {}}, "images: expected a list"),
        ({"images": [{"id": 0}]}, "images[0]: expected id and file_name"),
        ({"images": [{"id": 7, "file_name": "a.png"}]}, "annotations[0]: image_id"),
        ({"annotations": []}, "annotations: expected people with keypoints"),
        ({"annotations": [{"image_id": 0, "keypoints": [1] * 50}]}, "expected 51 numbers"),
        ({"annotations": [{"image_id": 0, "keypoints": [7] * 51}]}, "visibility of 0, 1 or 2"),
        ({"annotations": [3]}, "annotations[0]: expected an object"),
        ({"categories": [{"keypoints": ["tail"]}]}, "categories: keypoints: expected nose"),
        ({"images": [{"id": n, "file_name": "z"} for n in range(3)]}, "none of the 3 images"),
    ],
)
def test_an_unfit_json_is_one_line(data, capsys, changes, named):
    coco_file(data / "k.json", keypoints(), **changes)
    assert call(data, "k.json") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and named in lines[0] and not (data / "l").exists()


def test_other_json_is_one_line(data, capsys):
    for content in ("[1, 2]", "{", "nothing"):
        (data / "k.json").write_text(content)
        assert call(data, "k.json") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all("k.json: " in line for line in lines)
