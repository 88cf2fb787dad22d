# SPDX-License-Identifier: Apache-2.0
"""A calibrated camera: intrinsics and lens distortion, points to pixels and pixels to rays.

All points are in the optical frame: x right, y down, z forward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lifting_ros.errors import LiftingError

_UNDISTORT_STEPS = 20
"""Newton steps of `Camera.undistort`."""

_MAX_UNDISTORT_ERROR = 1e-6
"""Largest remaining error, in normalised coordinates, of a point that counts as undistorted."""

_STEP = 1e-6
"""Step of the numerical derivative of the distortion, in normalised coordinates."""

_MAX_VALUE = 1e8
"""Bound on the entries of K and D; focal lengths must exceed its reciprocal."""

_MIN_DEPTH_M = 1e-6
"""Points nearer than this have no pixel."""

ASPECT_TOLERANCE = 0.03
"""Largest relative difference of the two scales of a resized image. More means that it was cropped,
and then the intrinsics do not fit."""

_MODELS = {
    "plumb_bob": "plumb_bob",
    "rational_polynomial": "rational_polynomial",
    "equidistant": "equidistant",
    "fisheye": "equidistant",
    "": "",
}
"""Names of the distortion models, and the model meant: some drivers and files say fisheye."""

_FILE_MODELS = {"pinhole": "plumb_bob", **_MODELS}
"""Names of `camera_model`, which some files have in place of `distortion_model`."""

_BROWN_LENGTHS = (0, 4, 5, 8, 12)
_EQUIDISTANT_LENGTHS = (0, 4)


class CameraError(LiftingError):
    """An unusable calibration; the message is one line that starts with the name of the field."""


@dataclass(frozen=True)
class Camera:
    """Pinhole camera with lens distortion.

    The distortion is Brown-Conrady (`plumb_bob`, `rational_polynomial`) or Kannala-Brandt
    (`equidistant`). Raises CameraError for an unusable calibration.
    """

    matrix: np.ndarray
    """K (3, 3), pixels."""
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """D: k1 k2 p1 p2 [k3 [k4 k5 k6 [s1 s2 s3 s4]]], or k1..k4 of the equidistant model. Empty or
    all zero: no distortion."""
    model: str = "plumb_bob"
    """The distortion model as ROS names it, or `fisheye`, which becomes `equidistant`; empty means
    Brown-Conrady. Without distortion any name will do."""

    def __post_init__(self):
        matrix = np.asarray(self.matrix, np.float64)
        distortion = np.asarray(self.distortion, np.float64).ravel()

        model = _MODELS.get(self.model, self.model)

        _check_matrix(matrix)
        distortion = _without_surplus_zeros(distortion, model)
        _check_distortion(distortion, model)

        object.__setattr__(self, "matrix", matrix)
        object.__setattr__(self, "distortion", distortion)
        object.__setattr__(self, "model", model)

    @property
    def focal_px(self) -> float:
        """Geometric mean of the two focal lengths, pixels."""
        fx = self.matrix[0, 0]
        fy = self.matrix[1, 1]
        mean = np.sqrt(fx * fy)
        return float(mean)

    @property
    def is_distorted(self) -> bool:
        """Whether any distortion coefficient is nonzero."""
        return bool(np.any(self.distortion))

    def project(self, points_m: np.ndarray) -> np.ndarray:
        """Return pixels (..., 2) of points (..., 3); NaN for points at or behind the camera."""
        z = points_m[..., 2:]
        depth = np.where(z > _MIN_DEPTH_M, z, np.nan)
        normalised = points_m[..., :2] / depth

        distorted = self.distort(normalised)
        return self.to_pixels(distorted)

    def to_pixels(self, normalised: np.ndarray) -> np.ndarray:
        """Return pixels (..., 2) of distorted normalised coordinates (..., 2)."""
        (fx, skew, cx), (_, fy, cy), _ = self.matrix
        x = normalised[..., 0]
        y = normalised[..., 1]

        column = fx * x + skew * y + cx
        row = fy * y + cy
        return np.stack([column, row], -1)

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """Return undistorted normalised coordinates (..., 2) of pixels (..., 2).

        The ray of a pixel is (x, y, 1). NaN where the lens model maps no ray to the pixel.
        """
        (fx, skew, cx), (_, fy, cy), _ = self.matrix
        column = pixels[..., 0]
        row = pixels[..., 1]

        y = (row - cy) / fy
        x = (column - cx - skew * y) / fx
        distorted = np.stack([x, y], -1)
        return self.undistort(distorted)

    def distort(self, normalised: np.ndarray) -> np.ndarray:
        """Return distorted coordinates (..., 2) of undistorted normalised ones (..., 2)."""
        if not self.is_distorted:
            return normalised

        if self.model == "equidistant":
            return _distort_equidistant(normalised, self.distortion)

        coefficients = np.zeros(12)
        coefficients[: len(self.distortion)] = self.distortion
        return _distort_brown(normalised, coefficients)

    def undistort(self, distorted: np.ndarray) -> np.ndarray:
        """Return the inverse of `distort` (..., 2), found by Newton's method.

        NaN where it does not converge: beyond the range of the lens model.
        """
        if not self.is_distorted:
            return distorted

        point = distorted.copy()
        for _ in range(_UNDISTORT_STEPS):
            residual = self.distort(point) - distorted
            jacobian = self.undistort_jacobian(point)
            point = point - np.einsum("...ij,...j->...i", jacobian, residual)

        residual = self.distort(point) - distorted
        error = np.abs(residual).max(-1, keepdims=True)
        return np.where(error < _MAX_UNDISTORT_ERROR, point, np.nan)

    def undistort_jacobian(self, point: np.ndarray) -> np.ndarray:
        """Return the derivative (..., 2, 2) of `undistort` where its result is `point` (..., 2).

        It is the inverse of a numerical derivative of `distort`; NaN where that is singular.
        """
        by_x = self._distort_derivative(point, np.array([_STEP, 0.0]))
        by_y = self._distort_derivative(point, np.array([0.0, _STEP]))
        a = by_x[..., 0]
        b = by_y[..., 0]
        c = by_x[..., 1]
        d = by_y[..., 1]

        determinant = a * d - b * c
        regular = np.abs(determinant) > 1e-9
        determinant = np.where(regular, determinant, np.nan)

        first = np.stack([d, -b], -1)
        second = np.stack([-c, a], -1)
        adjugate = np.stack([first, second], -2)
        return adjugate / determinant[..., None, None]

    def _distort_derivative(
        self,
        point: np.ndarray,
        offset: np.ndarray,
    ) -> np.ndarray:
        """Return the central difference (..., 2) of `distort` along `offset` (2,)."""
        after = self.distort(point + offset)
        before = self.distort(point - offset)
        change = after - before
        return change / (2 * _STEP)


def scale_intrinsics(matrix: np.ndarray, scale_x: float, scale_y: float) -> np.ndarray:
    """K (3, 3) of the image after resizing by the two factors.

    Images are scaled about the corner of the top left pixel, whose centre is (0, 0).
    """
    k = matrix.copy()
    k[0, :2] *= scale_x
    k[1, 1] *= scale_y
    k[0, 2] = (k[0, 2] + 0.5) * scale_x - 0.5
    k[1, 2] = (k[1, 2] + 0.5) * scale_y - 0.5

    return k


def _check_matrix(matrix: np.ndarray) -> None:
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise CameraError("K: expected 3x3 finite numbers")

    focal_px = min(matrix[0, 0], matrix[1, 1])
    if focal_px <= 0:
        raise CameraError("K: the camera is not calibrated (focal length is not positive)")

    if not (np.abs(matrix) < _MAX_VALUE).all() or focal_px < 1 / _MAX_VALUE:
        raise CameraError(
            f"K: expected focal lengths and a principal point in pixels, below {_MAX_VALUE:g}"
        )


def _check_distortion(
    distortion: np.ndarray,
    model: str,
) -> None:
    if not (np.abs(distortion) < _MAX_VALUE).all():
        raise CameraError(f"D: expected finite numbers below {_MAX_VALUE:g}")

    if model not in _MODELS and distortion.any():
        raise CameraError(
            "distortion_model: expected plumb_bob, rational_polynomial or equidistant, "
            f"got {model!r}"
        )

    count = len(distortion)
    if count not in _lengths_of(model):
        raise CameraError(f"D: {count} coefficients do not fit the model {model!r}")


def _lengths_of(model: str) -> tuple[int, ...]:
    """The numbers of coefficients that a model may have."""
    return _EQUIDISTANT_LENGTHS if model == "equidistant" else _BROWN_LENGTHS


def _without_surplus_zeros(distortion: np.ndarray, model: str) -> np.ndarray:
    """Return D without zeros at its end, as far as its model has no place for them.

    Some drivers always send five coefficients; OpenCV writes 14, of which the last two are the
    tilt of the sensor.
    """
    used = np.flatnonzero(distortion)
    least = used[-1] + 1 if len(used) else 0
    fitting = [count for count in _lengths_of(model) if least <= count <= len(distortion)]
    return distortion[: max(fitting)] if fitting else distortion


def distortion_model_of(values: Mapping[str, Any]) -> str:
    """The distortion model of a calibration file: its `distortion_model`, or what its
    `camera_model` says; plumb_bob where it has neither.

    CameraError where `camera_model` is not known, or does not fit `distortion_model`.
    """
    lens = values.get("camera_model")
    given = values.get("distortion_model")
    if lens is None:
        name = "plumb_bob" if given is None else str(given)
        return _MODELS.get(name, name)

    model = _FILE_MODELS.get(str(lens).lower())
    if model is None:
        raise CameraError(f"camera_model: expected pinhole or fisheye, got {lens!r}")
    if given is None:
        return model

    named = _MODELS.get(str(given), str(given))
    if model == "equidistant" and named != "equidistant":
        raise CameraError(
            f"distortion_model: expected equidistant with camera_model {lens!r}, got {given!r}"
        )
    return named


def _distort_brown(
    point: np.ndarray,
    d: np.ndarray,
) -> np.ndarray:
    """Return distorted coordinates (..., 2), Brown-Conrady; d (12,) in the order of OpenCV."""
    x = point[..., 0]
    y = point[..., 1]
    r2 = x * x + y * y

    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = d
    numerator = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    denominator = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
    radial = numerator / denominator

    # Tangential terms p, and s of a thin prism
    dx = 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + s1 * r2 + s2 * r2 * r2
    dy = p1 * (r2 + 2 * y * y) + 2 * p2 * x * y + s3 * r2 + s4 * r2 * r2
    bent_x = x * radial + dx
    bent_y = y * radial + dy
    return np.stack([bent_x, bent_y], -1)


def _distort_equidistant(
    point: np.ndarray,
    d: np.ndarray,
) -> np.ndarray:
    """Return distorted coordinates (..., 2), Kannala-Brandt; d (4,)."""
    r = np.linalg.norm(point, axis=-1, keepdims=True)
    angle = np.arctan(r)
    a2 = angle * angle

    k1, k2, k3, k4 = d
    bent = angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))

    # On the optical axis the ratio tends to 1.
    ratio = bent / np.maximum(r, 1e-9)
    scale = np.where(r > 1e-9, ratio, 1.0)
    return point * scale
