# SPDX-License-Identifier: Apache-2.0
"""The measure of calibration itself: right covariances are called right, sharp ones sharp, wide
ones wide."""

import dataclasses

import numpy as np
import pytest

from lifting_ros.lifting.lifting import LiftedPoses
from lifting_ros.research.evaluation.calibration import (
    LEVELS,
    NAMES,
    calibrate,
    calibration,
    calibration_row,
    draw,
    mahalanobis,
)
from lifting_ros.types import JointStatus


def lifted(count: int = 3000, factor: float = 1.0) -> tuple[LiftedPoses, np.ndarray]:
    """Answers whose errors are drawn from the covariances given, those then multiplied by `factor`;
    and the truth."""
    rng = np.random.default_rng(0)
    shape = rng.standard_normal((count, 17, 3, 3)) * 0.02
    covariance = shape @ np.swapaxes(shape, -1, -2) + 1e-5 * np.eye(3)
    error = np.einsum(
        "njab,njb->nja", np.linalg.cholesky(covariance), rng.standard_normal((count, 17, 3))
    )
    covariance[:, 0], error[:, 0] = 0, 0
    root = np.array([0.3, 0.1, 4.0]) + 0.5 * rng.standard_normal((count, 3))
    root_shape = np.diag([0.02, 0.02, 0.4])
    truth = rng.standard_normal((1, 17, 3)) + root[:, None]
    truth[:, 0] = root
    status = np.where(np.arange(17) % 3 == 0, JointStatus.INFERRED, JointStatus.OBSERVED).astype(
        np.uint8
    ) * np.ones((count, 1), np.uint8)
    said = truth + error + (rng.standard_normal((count, 3)) @ root_shape)[:, None]
    poses = LiftedPoses(
        said,
        said[:, 0],
        factor * covariance,
        factor * np.tile(root_shape**2, (count, 1, 1)),
        status,
        np.zeros(count),
        said[:, None],
        np.ones((count, 1)),
    )
    return poses, truth


def test_right_covariances_are_called_right():
    for name, found in calibrate(*lifted()).items():
        np.testing.assert_allclose(100 * found.coverage, LEVELS, atol=2.5, err_msg=name)
        assert found.nees == pytest.approx(1, abs=0.06), name


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_wrong_ones_are_called_wrong(factor):
    for found in calibrate(*lifted(factor=factor)).values():
        assert found.nees == pytest.approx(1 / factor, rel=0.06)
        assert (found.coverage[LEVELS.index(50)] < 0.45) == (factor < 1)


def test_coverage_separates_observed_inferred_and_root():
    poses, truth = lifted(100)
    found = calibrate(poses, truth)
    assert tuple(found) == NAMES
    assert (found["inferred joints"].count, found["observed joints"].count) == (500, 1100)
    wide = poses.covariance_m2.copy()
    wide[poses.status == JointStatus.INFERRED] *= 100
    changed = calibrate(dataclasses.replace(poses, covariance_m2=wide), truth)
    assert (
        changed["inferred joints"].nees < 0.05
        and changed["observed joints"].nees == found["observed joints"].nees
    )


def test_unlifted_persons_and_unplaced_roots_do_not_count():
    poses, truth = lifted(20)
    poses.status[:5], poses.joints_m[:5], poses.root_covariance_m2[:] = 0, np.nan, np.nan
    found = calibrate(poses, truth)
    assert found["observed joints"].count == 15 * 11 and found["range of the root"].count == 0
    assert np.isnan(found["place of the root"].nees)
    row = calibration_row(found["observed joints"], (50, 90))
    assert set(row) == {"50 %", "90 %", "NEES", "count"} and 0 <= row["50 %"] <= row["90 %"] <= 100


def test_mahalanobis_is_the_plain_formula():
    rng = np.random.default_rng(2)
    shape, error = rng.standard_normal((5, 3, 3)), rng.standard_normal((5, 3))
    covariance = shape @ np.swapaxes(shape, -1, -2) + np.eye(3)
    np.testing.assert_allclose(
        mahalanobis(error, covariance),
        [e @ np.linalg.inv(c) @ e for e, c in zip(error, covariance)],
    )


def test_coverage_rises_with_the_level():
    assert (np.diff(calibration(np.random.default_rng(0).chisquare(3, 500), 3).coverage) >= 0).all()


def test_the_picture_is_a_picture(tmp_path):
    cv2 = pytest.importorskip("cv2")
    draw({name: calibrate(*lifted(50)) for name in ("a", "b", "c", "d")}, tmp_path / "c.png")
    image = cv2.imread(str(tmp_path / "c.png"))
    assert (
        image.shape[0] > 500
        and image.shape[1] > 1000
        and len(np.unique(image.reshape(-1, 3), axis=0)) > 20
    )
    assert [p.name for p in tmp_path.iterdir()] == ["c.png"]
