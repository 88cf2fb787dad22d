# SPDX-License-Identifier: Apache-2.0
"""`lifting evaluate subjects`, `paper` and `coverage` on data that the tests make."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip import frames
from people import CAMERA, make_poses, see, small_prior

from lifting_ros.cli.main import main
from lifting_ros.research.evaluation.metrics import pa_mpjpe

FRAMES = 3
SIDES = ("right", "left")


@pytest.fixture
def data(tmp_path):
    """A data folder of three subjects, one of them held out, and a prior."""
    (tmp_path / "mocap").mkdir()
    np.savez(
        tmp_path / "mocap" / "cmu17_10fps_dev.npz",
        positions=make_poses(240).astype(np.float32),
        subject_id=np.arange(240) % 3,
        subjects=np.array(["cmu01", "cmu02", "cmu03"]),
    )
    small_prior().save(tmp_path / "p.npz")
    return tmp_path


def call(data, what: str, *options: str) -> dict:
    """The tables of a subverb."""
    out = data / "tables.json"
    given = ["--json", str(out), *options]
    assert main(["evaluate", what, *given]) == 0
    return json.loads(out.read_text())


def common(data) -> tuple[str, ...]:
    return ("--data", str(data), "--prior", str(data / "p.npz"), "--work", str(data / "work"))


def test_settings_are_compared_on_people_left_out(data, capsys):
    options = ("--setting", "1,4,0", "1,8,0", "--folds", "0", "--views", "8", "--every", "2")
    tables = call(data, "subjects", *common(data), *options)
    spread = tables["subjects left out of the fit, N-MPJPE, mm"]
    assert list(spread) == ["ppca 1 x 4, posed 0", "ppca 1 x 8, posed 0"]
    assert {row["subjects"] for row in spread.values()} == {3}
    assert "ppca, as given" in tables["of these cmu02"]
    assert len(list((data / "work" / "subjects").glob("prior_*.npz"))) == 6
    assert "std" in capsys.readouterr().out


def test_the_paper_s_tables_are_printed(data, capsys):
    poses = make_poses(130).astype(np.float32)
    z_up = np.stack([poses[..., 0], -poses[..., 2], poses[..., 1]], -1)
    actions = {"Walking 1": z_up, "Sitting 2": z_up[:65]}
    np.savez_compressed(data / "h.npz", positions_3d={"S9": actions})
    options = ("--single", str(data / "p.npz"), "--human36m", str(data / "h.npz"), "--views", "8")
    tables = call(data, "paper", *common(data), *options)
    capture = tables["motion capture, MPJPE, mm"]
    assert list(capture) == ["single Gaussian", "mixture"]
    assert list(tables["Human3.6M, PA-MPJPE, mm"]["mixture"]) == ["Sitting", "Walking", "average"]
    # the same prior in both rows
    assert capture["single Gaussian"] == capture["mixture"]
    assert "Walking" in capsys.readouterr().out


def write_video(folder: Path) -> None:
    """Some frames of the demo clip, with the joints of somebody else as truth."""
    folder.mkdir()
    code = cv2.VideoWriter_fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(folder / "walk.mp4"), code, 10, (640, 480))
    for image in frames(range(40, 40 + FRAMES)):
        writer.write(image[..., ::-1])
    writer.release()

    names = ["right_hip", "rknee", "rankle", "left_hip", "lknee", "lankle"]
    np.savez(
        folder / "walk.npz",
        time_s=np.arange(4) / 5,
        joints_m=make_poses(4)[:, 1:7],
        joint_names=np.array(names),
    )


def test_a_video_is_measured_as_it_is_estimated(tmp_path, capsys):
    """PA-MPJPE is that of what `lifting estimate` writes for the same frames."""
    write_video(tmp_path / "videos")
    tables = call(tmp_path, "coverage", str(tmp_path / "videos"))
    video, out = tmp_path / "videos" / "walk.mp4", tmp_path / "e.npz"
    assert main(["estimate", str(video), "--out", str(out)]) == 0

    found = np.load(out)
    assert len(found["frame_index"]) == FRAMES
    truth = np.load(tmp_path / "videos" / "walk.npz")
    flat = truth["joints_m"].reshape(4, -1)
    at = [np.interp(found["stamp_ns"] / 1e9, truth["time_s"], column) for column in flat.T]
    expected_mm = 1e3 * pa_mpjpe(found["joints_m"][:, 1:7], np.stack(at, 1).reshape(-1, 6, 3))
    row = tables["errors of those found, mm"]["walk"]
    assert row["PA-MPJPE"] == pytest.approx(expected_mm.mean()) and row["people"] == FRAMES

    by_status = tables["in the ellipsoids by status, %"]["walk, all"]
    assert by_status["count"] == 4 * FRAMES
    by_joint = tables["walk: in the ellipsoids joint by joint, %"]
    assert set(by_joint) == {f"{side}_{joint}" for side in SIDES for joint in ("knee", "ankle")}
    assert "PA-MPJPE" in capsys.readouterr().out


def test_rendered_people_are_looked_for(tmp_path):
    """In grey pictures nobody is found, and that is reported."""
    joints, keypoints = see(make_poses(2))
    folder = tmp_path / "rendered"
    folder.mkdir()
    np.save(folder / "images.npy", np.full((2, 480, 640, 3), 128, np.uint8))
    np.savez(
        folder / "labels.npz",
        keypoints=np.concatenate([keypoints, np.ones((2, 14, 1))], -1).astype(np.float32),
        joints_camera_m=joints,
        K=np.tile(CAMERA.matrix, (2, 1, 1)),
        validation=np.ones(2, bool),
    )
    row = call(tmp_path, "coverage", str(folder))["errors of those found, mm"]["rendered"]
    assert row["people"] == 0 and row["found %"] == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["subjects", "--setting", "12,40"], "--setting: expected components"),
        (["subjects", "--setting", "0,4,0"], "--setting: expected components"),
        (["subjects", "--every", "0"], "--every"),
        (["subjects", "--mlp", "-1"], "--mlp"),
        (["paper", "--single", "/nowhere.npz"], "nowhere.npz"),
        (["paper", "--human36m", "/nowhere.npz"], "nowhere.npz"),
        (["paper", "--rendered", "/nowhere"], "nowhere"),
    ],
)
def test_bad_options_are_one_line(data, capsys, words, named):
    assert main(["evaluate", *words, *common(data)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and named in lines[0]


def test_a_folder_of_nothing_is_one_line(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    for path in (tmp_path, tmp_path / "a.png"):
        assert main(["evaluate", "coverage", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(str(tmp_path) in line for line in lines)
