# SPDX-License-Identifier: Apache-2.0
"""Covariances of keypoints: fitted on the even rows of the validation crops, measured on the odd
ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize

from lifting_ros.errors import DataError
from lifting_ros.keypoints import belief_maps
from lifting_ros.keypoints.inference import NetworkRunner
from lifting_ros.keypoints.network import MultistageNetwork, NetworkConfig
from lifting_ros.research.datasets.pack import Pack
from lifting_ros.research.evaluation.calibration import calibration, calibration_row, mahalanobis
from lifting_ros.research.evaluation.keypoints import Answers, ask, validation_rows

PARAMETERS = ("noise_scale", "noise_blur", "noise_floor")
"""The fitted parameters, fields of the `NetworkConfig`."""

BANDS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0)
"""Limits of the bands of confidence."""

LEVELS = (50, 90)
"""Levels of the ellipses, %."""

WHOLE = 1000
"""Number of labelled keypoints from which a pack has its full weight."""

_LOW = (1e-3, 1e-2, 0.02)
"""Lower bounds of PARAMETERS."""

_HIGH = (50.0, 5.0, 5.0)
"""Upper bounds of PARAMETERS."""


class Errors(NamedTuple):
    """Errors of n labelled keypoints, in cells of the belief maps."""

    error: np.ndarray
    """(n, 2) keypoint minus label."""
    moment: np.ndarray
    """(n, 2, 2) second moment of the belief map."""
    confidence: np.ndarray
    """(n,) in [0, 1]."""


def errors_of(
    answers: Answers,
    stride: int,
) -> Errors:
    """Errors of the labelled keypoints after the last stage, from the last kind of maps."""
    labelled = answers.labels[..., 2] > 0
    error_px = answers.keypoints_px[-1, -1] - answers.labels[..., :2]
    moment_px2 = answers.moment_px2[-1, -1]
    confidence = answers.confidence[-1, -1]

    return Errors(
        (error_px / stride)[labelled],
        moment_px2[labelled] / stride**2,
        confidence[labelled],
    )


def joined(parts: Iterable[Errors]) -> Errors:
    """All errors in one."""
    return Errors(*(np.concatenate(values) for values in zip(*parts)))


def half(
    pack: Pack,
    which: int,
) -> np.ndarray:
    """Validation rows of a pack: the even ones (0), for the fit, or the odd ones (1), for the
    measurement."""
    rows = validation_rows(pack)
    return rows[rows % 2 == which]


def fit_noise(
    network: MultistageNetwork | NetworkRunner,
    packs: list[Pack],
) -> dict[str, float]:
    """PARAMETERS that maximise the Gaussian likelihood of the errors in the even validation rows.

    Each pack has the same weight; one with fewer than WHOLE labelled keypoints has less, because a
    few keypoints must not decide the size of all covariances.

    The fit makes the covariances the second moments of the errors. The errors have heavier tails
    than a Gaussian (a keypoint is found well or lies on the other leg), so more than 50 % of them
    lie inside the 50 % ellipse. DataError without a labelled row.
    """
    if isinstance(network, NetworkRunner):
        runner = network
    else:
        device = next(network.parameters()).device
        runner = NetworkRunner(network, device)

    parts = []
    for pack in packs:
        rows = half(pack, 0)
        if len(rows):
            answers = ask(runner, pack, rows)
            parts.append(errors_of(answers, runner.config.stride))

    if not parts:
        raise DataError(
            "fitting covariances of keypoints: expected labelled validation rows with an even "
            "number"
        )

    return fit(parts)


def fit(parts: list[Errors]) -> dict[str, float]:
    """As `fit_noise`, from the errors of each pack."""
    every = joined(parts)
    x, y = every.error.T
    weights = []

    for part in parts:
        count = len(part.error)
        weights.append(np.full(count, 1 / max(count, WHOLE)))

    weight = np.concatenate(weights)

    def cost(logarithms: np.ndarray) -> float:
        """Twice the negative log-likelihood, up to a constant."""
        covariance = covariances(every.moment, *np.exp(logarithms))
        (xx, xy), (_, yy) = covariance.transpose(1, 2, 0)
        determinant = xx * yy - xy**2
        scaled_square = yy * x**2 - 2 * xy * x * y + xx * y**2
        distance = scaled_square / determinant
        surprise = distance + np.log(determinant)
        return float(np.average(surprise, weights=weight))

    start = np.log(noise_of(NetworkConfig()))
    bounds = list(zip(np.log(_LOW), np.log(_HIGH)))

    best = minimize(
        cost,
        start,
        method="Nelder-Mead",
        bounds=bounds,
        options={"maxiter": 500, "xatol": 1e-3, "fatol": 1e-6},
    )

    found = [round(float(value), 4) for value in np.exp(best.x)]
    return dict(zip(PARAMETERS, found, strict=True))


def noise_of(config: NetworkConfig) -> tuple[float, float, float]:
    """The values of PARAMETERS."""
    return config.noise_scale, config.noise_blur, config.noise_floor


def covariances(
    moment: np.ndarray,
    scale: float,
    blur: float,
    floor: float,
) -> np.ndarray:
    """`belief_maps.calibrated` on arrays (n, 2, 2)."""
    return belief_maps.calibrated(torch.from_numpy(moment), scale, blur, floor).numpy()


def calibration_rows(
    errors: dict[str, Errors],
    config: NetworkConfig,
) -> dict[str, dict[str, float]]:
    """Coverage inside the ellipses of LEVELS in %, NEES, count and median standard deviation in px.

    The rows are the sets, all sets together, and these by band of confidence.
    """
    every = joined(errors.values())
    rows = {name: calibration_of(part, config) for name, part in errors.items()}
    rows["all sets"] = calibration_of(every, config)

    for low, high in zip(BANDS[:-1], BANDS[1:]):
        chosen = (every.confidence >= low) & (every.confidence < high)
        if high == BANDS[-1]:
            chosen = every.confidence >= low

        if chosen.any():
            band = Errors(*(values[chosen] for values in every))
            rows[f"confidence {low:g} to {high:g}"] = calibration_of(band, config)

    return rows


def calibration_of(
    errors: Errors,
    config: NetworkConfig,
) -> dict[str, float]:
    """One row of `calibration_rows`."""
    covariance = covariances(errors.moment, *noise_of(config))
    distance = mahalanobis(errors.error, covariance)
    row = calibration_row(calibration(distance, 2), LEVELS)

    variance = np.trace(covariance, axis1=1, axis2=2) / 2
    deviation = float(np.sqrt(np.median(variance)))
    row["deviation px"] = config.stride * deviation
    return row
