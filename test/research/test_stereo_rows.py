# SPDX-License-Identifier: Apache-2.0
"""The three rows of evidence are of the files given, and the second view is measured against the
camera that would see it."""

import numpy as np
import pytest
from people import make_poses
from stereo_support import make_lifter

from lifting_ros.io.checkpoint import CheckpointError
from lifting_ros.lifting.stereo import StereoLifter
from lifting_ros.research.evaluation.stereo import second_view_of, stereo_rows, variants, view_pckh
from lifting_ros.research.evaluation.virtual_cameras import PROTOCOLS, make_trial


@pytest.fixture(scope="module")
def trial():
    return make_trial(make_poses(6), PROTOCOLS["5 px noise"], 2)


def test_rows_of_files_with_and_without_second_view(tmp_path, trial):
    for name, synthesis in (("a", True), ("b", False)):
        make_lifter(synthesis=synthesis).save(tmp_path / name, {})
    found = variants([tmp_path / "a", tmp_path / "b"])
    assert list(found) == ["stereo", "stereo without search", "stereo without view synthesis"]
    assert [lifter.search for lifter in found.values()] == [True, False, True]
    error, calibration, speed = stereo_rows(found, trial)
    assert list(error) == list(found) == list(speed) and len(calibration) == 3 * 4
    assert (
        "view PCKh %" in error["stereo"]
        and "view PCKh %" not in error["stereo without view synthesis"]
    )
    assert (
        error["stereo"]["MPJPE"] != error["stereo without search"]["MPJPE"]
        and error["stereo"]["lifted %"] == 100
    )
    (tmp_path / "x").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="x: not a weights file"):
        variants([tmp_path / "x"])


def test_true_second_view_gives_exact_joints(trial):
    lifter = make_lifter()
    view = lifter.reconstruct(
        trial.keypoints_px, trial.confidence, trial.covariance_px2, trial.camera, trial.up
    )
    truth = second_view_of(trial.joints_m, view.view.rotation, lifter.network.config.baseline)

    class Knows(StereoLifter):
        def reconstruct(self, *given):
            return view._replace(right=truth)

    assert view_pckh(Knows(lifter.network, 1.0, 0.1), trial) == 1.0
    assert view_pckh(lifter, trial) < 1.0
    np.testing.assert_allclose(
        truth[..., 1], second_view_of(trial.joints_m, view.view.rotation, 0.0)[..., 1], atol=1e-12
    )
