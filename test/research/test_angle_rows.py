# SPDX-License-Identifier: Apache-2.0
"""`lifting evaluate angles` on persons whose errors are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import walkers

from lifting_ros.cli.main import main
from lifting_ros.geometry.joint_angles import ANGLES
from lifting_ros.io.pose_table import PoseFrame, frame_arrays
from lifting_ros.skeleton import JOINT_NAMES

FRAMES = 12
EXACT = walkers.Errors(
    root_range_stays_m=0.0,
    root_range_new_m=0.0,
    root_across_m=0.0,
    joint_range_m=0.01,
    joint_across_m=0.01,
)


@pytest.fixture
def files(tmp_path):
    """Poses of a walker whose left shank is bent by 0.08 rad more than the truth, somebody else far
    behind, and the truth, without anybody in the last frame."""
    path = walkers.straight((-1, 4), (1, 4), FRAMES / 10, 10.0)
    truth = walkers.walk(path, 10.0)
    behind = walkers.lift(truth + [0, 0, 9], np.random.default_rng(1))

    frames = []
    for number, person in enumerate(walkers.lift(truth, np.random.default_rng(0), EXACT)):
        person.skeleton_3d.joints_m[:] = bent(truth[number], 0.08)
        frames.append(PoseFrame(number * 10**8, "camera", (behind[number], person)))

    truth[-1] = np.nan
    np.savez(tmp_path / "poses.npz", **frame_arrays(frames))
    np.savez(tmp_path / "truth.npz", joints_m=truth.astype(np.float32))
    return tmp_path


def bent(joints: np.ndarray, angle: float) -> np.ndarray:
    """The pose (17, 3) with the left knee bent further."""
    hip, knee, ankle = (joints[JOINT_NAMES.index(f"left_{n}")] for n in ("hip", "knee", "ankle"))
    hinge = np.cross(knee - hip, ankle - knee)
    hinge /= np.linalg.norm(hinge)
    shank = ankle - knee
    out = joints.copy()
    out[JOINT_NAMES.index("left_ankle")] = (
        knee + np.cos(angle) * shank + np.sin(angle) * np.cross(hinge, shank)
    )
    return out


def rows_of(folder) -> dict:
    arguments = ["evaluate", "angles", str(folder / "poses.npz"), str(folder / "truth.npz")]
    assert main([*arguments, "--json", str(folder / "out.json")]) == 0
    (rows,) = json.loads((folder / "out.json").read_text()).values()
    return rows


def test_only_the_angle_that_is_wrong_has_an_error(files):
    rows = rows_of(files)
    assert tuple(rows) == ANGLES
    knee = rows["left_knee_flexion"]
    assert knee["MAE deg"] == pytest.approx(np.degrees(0.08), abs=1e-3)
    assert knee["bias deg"] == pytest.approx(np.degrees(0.08), abs=1e-3)
    assert knee["n"] == FRAMES - 1
    assert knee["90 %"] == 100 and 1 < knee["std deg"] < 10  # 1 cm on 0.43 m, 3 joints

    for name in set(ANGLES) - {"left_knee_flexion", "left_hip_rotation"}:
        assert rows[name]["n"] == 0 or rows[name]["MAE deg"] < 1e-3, name


def test_small_covariances_do_not_contain_the_truth(files):
    arrays = dict(np.load(files / "poses.npz", allow_pickle=False))
    arrays["covariance_m2"] *= 0.01
    np.savez(files / "poses.npz", **arrays)
    rows = rows_of(files)
    assert rows["left_knee_flexion"]["90 %"] == 0 and rows["right_knee_flexion"]["90 %"] == 100


@pytest.mark.parametrize(
    ("truth", "line"),
    [
        ({"joints": np.zeros((FRAMES, 17, 3))}, "joints_m is missing"),
        ({"joints_m": np.zeros((FRAMES, 16, 3))}, "joints_m: expected (F, 17, 3), got (12, 16, 3)"),
        ({"joints_m": np.zeros((3, 17, 3))}, "joints_m: expected 12 frames, got 3"),
    ],
)
def test_bad_truth_is_one_line(files, capfd, truth, line):
    np.savez(files / "truth.npz", **truth)
    assert main(["evaluate", "angles", str(files / "poses.npz"), str(files / "truth.npz")]) == 2
    said = capfd.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].endswith(line)
