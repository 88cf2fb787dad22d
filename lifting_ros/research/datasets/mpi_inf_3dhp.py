# SPDX-License-Identifier: Apache-2.0
"""MPI-INF-3DHP: the test set (`TS1/annot_data.mat` and so on, h5 inside) and the training set
(`S1/Seq1/annot.mat`).

Joints are in the cameras' optical frames, millimetres. The calibration is read off the annotation
itself: 2D and 3D of the same joints determine a pinhole camera. Which way is up is not told; the
cameras of the test set are level but for a few degrees.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import loadmat

from lifting_ros.errors import DataError
from lifting_ros.research.datasets.human36m import joined, read_h5
from lifting_ros.research.datasets.recorded import Recorded, fit_camera
from lifting_ros.skeleton import KEYPOINT_TO_JOINT

TEST_JOINTS = (14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4)
"""Our 17 joints among the 17 of the test set."""
TRAIN_JOINTS = (4, 23, 24, 25, 18, 19, 20, 3, 5, 6, 7, 9, 10, 11, 14, 15, 16)
"""Our 17 joints among the 28 of the training set."""
ACTIVITIES = (
    "Standing/Walking",
    "Exercise",
    "Sitting",
    "Reaching/Crouching",
    "On the Floor",
    "Sports",
    "Miscellaneous",
)


def read_test(folder: str | Path) -> Recorded:
    """All valid frames of TS1 to TS6; FileNotFoundError where there is none of them, DataError in
    one line for other content."""
    files = sorted(Path(folder).glob("TS*/annot_data.mat"))
    if not files:
        raise FileNotFoundError(f"{folder}: no TS*/annot_data.mat in it")

    return joined([_test_sequence(file) for file in files])


def _test_sequence(file: Path) -> Recorded:
    content = read_h5(file)
    for name, tail in (("annot2", (17, 2)), ("annot3", (17, 3))):
        if name not in content or content[name].ndim != 4 or content[name].shape[2:] != tail:
            raise DataError(f"{file}: {name}: expected (T, 1, {tail[0]}, {tail[1]})")

    valid = np.asarray(content.get("valid_frame", np.ones(len(content["annot3"])))).ravel() > 0
    activity = (
        np.asarray(content.get("activity_annotation", np.full(len(valid), 7))).ravel().astype(int)
    )
    names = np.array(ACTIVITIES, object)[np.clip(activity, 1, len(ACTIVITIES)) - 1]
    joints, pixels = (content[name][:, 0][:, list(TEST_JOINTS)] for name in ("annot3", "annot2"))

    return _recorded(file, joints, pixels, names).select(valid)


def read_train(folder: str | Path, camera: int = 0) -> Recorded:
    """Every sequence S*/Seq*/annot.mat as one of its cameras saw it; errors as `read_test`."""
    files = sorted(Path(folder).glob("S*/Seq*/annot.mat"))
    if not files:
        raise FileNotFoundError(f"{folder}: no S*/Seq*/annot.mat in it")
    return joined([_train_sequence(file, camera) for file in files])


def _train_sequence(file: Path, camera: int) -> Recorded:
    try:
        content = loadmat(file)
        pixels, joints = (
            np.asarray(content[name][camera, 0], np.float64) for name in ("annot2", "annot3")
        )
        pixels = pixels.reshape(len(pixels), 28, 2)
        joints = joints.reshape(len(joints), 28, 3)
    except Exception as error:
        # scipy, zlib and numpy each raise their own kinds on a damaged or foreign file
        text = " ".join(str(error).split())
        raise DataError(
            f"{file}: expected annot2 and annot3 of 28 joints for camera {camera} ({text})"
        ) from None

    names = np.full(len(joints), "/".join(file.parts[-3:-1]), object)
    return _recorded(file, joints[:, list(TRAIN_JOINTS)], pixels[:, list(TRAIN_JOINTS)], names)


def _recorded(
    file: Path, joints_mm: np.ndarray, pixels: np.ndarray, action: np.ndarray
) -> Recorded:
    joints = np.asarray(joints_mm, np.float64) / 1000
    usable = np.isfinite(joints_mm).all((1, 2)) & (joints_mm[..., 2] > 0).all(1)
    try:
        camera = fit_camera(
            joints[usable].reshape(-1, 3), np.asarray(pixels, np.float64)[usable].reshape(-1, 2)
        )
    except ValueError as error:
        raise DataError(f"{file}: {error}") from None

    keypoints = np.asarray(pixels, np.float64)[:, list(KEYPOINT_TO_JOINT)]
    up = np.tile([0.0, -1.0, 0.0], (len(joints), 1))

    return Recorded(joints, keypoints, up, np.zeros(len(joints), int), (camera,), action)
