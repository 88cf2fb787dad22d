# SPDX-License-Identifier: Apache-2.0
"""A calibrated camera: intrinsics, lens distortion, pixels to rays and points to pixels. Frame:
optical (x right, y down, z forward)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

_UNDISTORT_STEPS = 20
_LARGEST = 1e8


class CameraError(ValueError):
    """Calibration that cannot be used; the text is one line and names the field."""


@dataclass(frozen=True)
class Camera:
    """Pinhole camera with Brown-Conrady (`plumb_bob`, `rational_polynomial`) or Kannala-Brandt
    (`equidistant`) distortion."""

    matrix: np.ndarray
    """K (3, 3), pixels."""
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """D, k1 k2 p1 p2 [k3 [k4 k5 k6 [s1 s2 s3 s4]]], or k1..k4 of the equidistant model; empty or
    zeros mean none."""
    model: str = "plumb_bob"

    def __post_init__(self):
        matrix = np.asarray(self.matrix, np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
            raise CameraError("K: expected 3x3 finite numbers")
        if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
            raise CameraError("K: the camera is not calibrated (focal length is not positive)")
        if not (np.abs(matrix) < _LARGEST).all() or min(matrix[0, 0], matrix[1, 1]) < 1 / _LARGEST:
            raise CameraError(
                f"K: expected focal lengths and a principal point in pixels, below {_LARGEST:g}"
            )
        distortion = np.asarray(self.distortion, np.float64).ravel()
        if (
            len(distortion) == 14 and not distortion[12:].any()
        ):  # as OpenCV writes it: the last two are a tilt of the sensor
            distortion = distortion[:12]
        if not (np.abs(distortion) < _LARGEST).all():
            raise CameraError(f"D: expected finite numbers below {_LARGEST:g}")
        if self.model not in ("plumb_bob", "rational_polynomial", "equidistant", ""):
            raise CameraError(
                f"distortion_model: expected plumb_bob, rational_polynomial or equidistant, got {self.model!r}"
            )
        if len(distortion) not in ((0, 4) if self.model == "equidistant" else (0, 4, 5, 8, 12)):
            raise CameraError(
                f"D: {len(distortion)} coefficients do not fit the model {self.model!r}"
            )
        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "distortion", distortion)

    @property
    def focal_px(self) -> float:
        """Geometric mean of the two focal lengths."""
        return float(np.sqrt(self.matrix[0, 0] * self.matrix[1, 1]))

    @property
    def is_distorted(self) -> bool:
        return bool(np.any(self.distortion))

    def project(self, points_m: np.ndarray) -> np.ndarray:
        """Points (..., 3) in the optical frame to pixels (..., 2); NaN for points at or behind the
        camera."""
        depth = np.where(points_m[..., 2:] > 1e-6, points_m[..., 2:], np.nan)
        normalised = self.distort(points_m[..., :2] / depth)
        return self.to_pixels(normalised)

    def to_pixels(self, normalised: np.ndarray) -> np.ndarray:
        """Normalised (distorted) image coordinates (..., 2) to pixels."""
        k = self.matrix
        x = k[0, 0] * normalised[..., 0] + k[0, 1] * normalised[..., 1] + k[0, 2]
        return np.stack([x, k[1, 1] * normalised[..., 1] + k[1, 2]], -1)

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) to undistorted normalised coordinates (..., 2): the ray is (x, y, 1). NaN
        where no ray ends in the pixel."""
        k = self.matrix
        y = (pixels[..., 1] - k[1, 2]) / k[1, 1]
        x = (pixels[..., 0] - k[0, 2] - k[0, 1] * y) / k[0, 0]
        return self.undistort(np.stack([x, y], -1))

    def distort(self, normalised: np.ndarray) -> np.ndarray:
        """Undistorted to distorted normalised coordinates, (..., 2)."""
        if not self.is_distorted:
            return normalised
        if self.model == "equidistant":
            return _distort_equidistant(normalised, self.distortion)
        return _distort_brown(normalised, np.pad(self.distortion, (0, 12 - len(self.distortion))))

    def undistort(self, distorted: np.ndarray) -> np.ndarray:
        """The inverse of `distort` by Newton's method; NaN where it does not converge (beyond the
        lens model's range)."""
        if not self.is_distorted:
            return distorted
        point = distorted.copy()
        for _ in range(_UNDISTORT_STEPS):
            residual = self.distort(point) - distorted
            point = point - np.einsum("...ij,...j->...i", self.undistort_jacobian(point), residual)
        error = np.abs(self.distort(point) - distorted).max(-1, keepdims=True)
        return np.where(error < 1e-6, point, np.nan)

    def undistort_jacobian(self, point: np.ndarray, step: float = 1e-6) -> np.ndarray:
        """Derivative (..., 2, 2) of `undistort` where it gives `point` (..., 2); NaN where the lens
        model folds."""
        columns = [
            (self.distort(point + d) - self.distort(point - d)) / (2 * step)
            for d in np.eye(2) * step
        ]
        (a, c), (b, d) = (np.moveaxis(column, -1, 0) for column in columns)
        determinant = a * d - b * c
        determinant = np.where(np.abs(determinant) > 1e-9, determinant, np.nan)
        return (
            np.stack([np.stack([d, -b], -1), np.stack([-c, a], -1)], -2)
            / determinant[..., None, None]
        )


def _distort_brown(point: np.ndarray, d: np.ndarray) -> np.ndarray:
    x, y = point[..., 0], point[..., 1]
    r2 = x * x + y * y
    radial = (1 + r2 * (d[0] + r2 * (d[1] + r2 * d[4]))) / (
        1 + r2 * (d[5] + r2 * (d[6] + r2 * d[7]))
    )
    dx = 2 * d[2] * x * y + d[3] * (r2 + 2 * x * x) + d[8] * r2 + d[9] * r2 * r2
    dy = d[2] * (r2 + 2 * y * y) + 2 * d[3] * x * y + d[10] * r2 + d[11] * r2 * r2
    return np.stack([x * radial + dx, y * radial + dy], -1)


def _distort_equidistant(point: np.ndarray, d: np.ndarray) -> np.ndarray:
    r = np.linalg.norm(point, axis=-1, keepdims=True)
    angle = np.arctan(r)
    a2 = angle * angle
    bent = angle * (1 + a2 * (d[0] + a2 * (d[1] + a2 * (d[2] + a2 * d[3]))))
    return point * np.where(r > 1e-9, bent / np.maximum(r, 1e-9), 1.0)
