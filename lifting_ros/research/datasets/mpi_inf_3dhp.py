# SPDX-License-Identifier: Apache-2.0
"""MPI-INF-3DHP: the test set (`TS1/annot_data.mat` and so on, which are h5 files) and the training
set (`S1/Seq1/annot.mat`).

Joints are in the optical frames of the cameras, millimetres. The calibration follows from the
annotation: the same joints in 2D and 3D determine a pinhole camera. The up direction is not
annotated; the cameras of the test set are level within a few degrees.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import loadmat

from lifting_ros.errors import DataError, one_line
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
"""Names of the activities 1 to 7 of the test set."""


def read_test(folder: str | Path) -> Recorded:
    """All valid frames of TS1 to TS6; FileNotFoundError without any of them, DataError in one line
    for other content."""
    files = sorted(Path(folder).glob("TS*/annot_data.mat"))
    if not files:
        raise FileNotFoundError(f"{folder}: no TS*/annot_data.mat in it")

    return joined([_test_sequence(file) for file in files])


def _test_sequence(file: Path) -> Recorded:
    content = read_h5(file)
    for name, tail in (("annot2", (17, 2)), ("annot3", (17, 3))):
        if name not in content or content[name].ndim != 4 or content[name].shape[2:] != tail:
            raise DataError(f"{file}: {name}: expected (T, 1, {tail[0]}, {tail[1]})")

    count = len(content["annot3"])
    valid = np.asarray(content.get("valid_frame", np.ones(count))).ravel() > 0
    miscellaneous = np.full(len(valid), len(ACTIVITIES))
    activity = np.asarray(content.get("activity_annotation", miscellaneous)).ravel().astype(int)
    number = np.clip(activity, 1, len(ACTIVITIES)) - 1
    names = np.array(ACTIVITIES, object)[number]

    joints = content["annot3"][:, 0][:, list(TEST_JOINTS)]
    pixels = content["annot2"][:, 0][:, list(TEST_JOINTS)]
    return _recorded(file, joints, pixels, names).select(valid)


def read_train(
    folder: str | Path,
    camera: int = 0,
) -> Recorded:
    """All sequences S*/Seq*/annot.mat in one of their cameras; errors as `read_test`."""
    files = sorted(Path(folder).glob("S*/Seq*/annot.mat"))
    if not files:
        raise FileNotFoundError(f"{folder}: no S*/Seq*/annot.mat in it")
    return joined([_train_sequence(file, camera) for file in files])


def _train_sequence(
    file: Path,
    camera: int,
) -> Recorded:
    try:
        content = loadmat(file)
        pixels = np.asarray(content["annot2"][camera, 0], np.float64)
        joints = np.asarray(content["annot3"][camera, 0], np.float64)
        pixels = pixels.reshape(len(pixels), 28, 2)
        joints = joints.reshape(len(joints), 28, 3)
    except Exception as error:
        # SciPy, zlib and NumPy each raise their own kinds for a damaged or foreign file
        raise DataError(
            f"{file}: expected annot2 and annot3 of 28 joints for camera {camera}"
            f" ({one_line(error)})"
        ) from None

    order = list(TRAIN_JOINTS)
    sequence = "/".join(file.parts[-3:-1])
    names = np.full(len(joints), sequence, object)
    return _recorded(file, joints[:, order], pixels[:, order], names)


def _recorded(
    file: Path,
    joints_mm: np.ndarray,
    pixels: np.ndarray,
    action: np.ndarray,
) -> Recorded:
    """The views of a camera that is fitted to joints (T, 17, 3) and their pixels (T, 17, 2);
    DataError in one line if there are too few."""
    joints = np.asarray(joints_mm, np.float64) / 1000
    pixels = np.asarray(pixels, np.float64)
    finite = np.isfinite(joints_mm).all((1, 2))
    ahead = (joints_mm[..., 2] > 0).all(1)
    usable = finite & ahead

    try:
        camera = fit_camera(joints[usable].reshape(-1, 3), pixels[usable].reshape(-1, 2))
    except ValueError as error:
        raise DataError(f"{file}: {error}") from None

    keypoints = pixels[:, list(KEYPOINT_TO_JOINT)]
    up = np.tile([0.0, -1.0, 0.0], (len(joints), 1))
    number = np.zeros(len(joints), int)
    return Recorded(joints, keypoints, up, number, (camera,), action)
