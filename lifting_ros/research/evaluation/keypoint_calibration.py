# SPDX-License-Identifier: Apache-2.0
"""Covariances of keypoints: fitted on one half of the validation crops (even rows), judged on the
other (odd rows)."""

from __future__ import annotations

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
"""What is fitted, fields of the `NetworkConfig`."""

BANDS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0)
"""Of confidence."""

LEVELS = (50, 90)

WHOLE = 1000
"""Labelled keypoints from which on a pack has its whole weight."""


class Errors(NamedTuple):
    """Of n labelled keypoints, in cells."""

    error: np.ndarray
    """(n, 2) keypoint minus label."""
    moment: np.ndarray
    """(n, 2, 2) second moment of its belief."""
    confidence: np.ndarray
    """(n,) in [0, 1]."""


def errors_of(answers: Answers, stride: int) -> Errors:
    """Errors of the last stage's last maps, where there is a label."""
    labelled = answers.labels[..., 2] > 0
    error = (answers.keypoints_px[-1, -1] - answers.labels[..., :2]) / stride

    return Errors(
        error[labelled],
        answers.moment_px2[-1, -1][labelled] / stride**2,
        answers.confidence[-1, -1][labelled],
    )


def half(pack: Pack, which: int) -> np.ndarray:
    """Rows of a pack's validation side: the even ones (0), on which covariances are fitted, or the
    odd ones (1) that judge them."""
    rows = validation_rows(pack)
    return rows[rows % 2 == which]


def fit_noise(network: MultistageNetwork | NetworkRunner, packs: list[Pack]) -> dict[str, float]:
    """PARAMETERS under which the even validation rows' errors are likeliest as Gaussian, every pack
    weighing the same but for those of few keypoints, a handful of which would say how wide all are.

    Likeliest means: covariances are the errors' second moments. Errors have heavier tails than a
    Gaussian (a keypoint is where it is seen, or on the other leg), so that more than half of them
    lie inside the ellipse for one half. DataError without a labelled row.
    """
    device = (
        network.device if isinstance(network, NetworkRunner) else next(network.parameters()).device
    )
    runner = network if isinstance(network, NetworkRunner) else NetworkRunner(network, device)
    rows = {pack.name: (pack, half(pack, 0)) for pack in packs}
    parts = [
        errors_of(ask(runner, pack, chosen), runner.config.stride)
        for pack, chosen in rows.values()
        if len(chosen)
    ]
    if not parts:
        raise DataError(
            "fitting covariances of keypoints: expected labelled validation rows with an even "
            "number"
        )

    return fit(parts)


def fit(parts: list[Errors]) -> dict[str, float]:
    """`fit_noise` on errors by pack."""
    every = Errors(*(np.concatenate(values) for values in zip(*parts)))
    weight = np.concatenate([np.full(len(p.error), 1 / max(len(p.error), WHOLE)) for p in parts])
    x, y = every.error.T

    def cost(logarithms: np.ndarray) -> float:
        covariance = covariances(every.moment, *np.exp(logarithms))
        (xx, xy), (_, yy) = covariance.transpose(1, 2, 0)
        determinant = xx * yy - xy**2
        distance = (yy * x**2 - 2 * xy * x * y + xx * y**2) / determinant
        surprise = distance + np.log(determinant)
        return float(np.average(surprise, weights=weight))

    default = NetworkConfig()
    start = np.log([getattr(default, name) for name in PARAMETERS])
    low = np.log([1e-3, 1e-2, 0.02])
    high = np.log([50.0, 5.0, 5.0])
    best = minimize(
        cost,
        start,
        method="Nelder-Mead",
        bounds=list(zip(low, high)),
        options={"maxiter": 500, "xatol": 1e-3, "fatol": 1e-6},
    )

    return dict(zip(PARAMETERS, (round(float(v), 4) for v in np.exp(best.x)), strict=True))


def covariances(moment: np.ndarray, scale: float, blur: float, floor: float) -> np.ndarray:
    """`belief_maps.calibrated` on arrays (n, 2, 2)."""
    return belief_maps.calibrated(torch.from_numpy(moment), scale, blur, floor).numpy()


def calibration_rows(
    errors: dict[str, Errors], config: NetworkConfig
) -> dict[str, dict[str, float]]:
    """By set, of all sets, and of these by band of confidence: % inside the ellipses of LEVELS,
    NEES, count, median deviation in px."""
    every = Errors(*(np.concatenate(values) for values in zip(*errors.values())))
    rows = {name: calibration_of(part, config) for name, part in errors.items()} | {
        "all sets": calibration_of(every, config)
    }

    for low, high in zip(BANDS[:-1], BANDS[1:]):
        chosen = (every.confidence >= low) & ((every.confidence < high) | (high == BANDS[-1]))
        if chosen.any():
            rows[f"confidence {low:g} to {high:g}"] = calibration_of(
                Errors(*(values[chosen] for values in every)), config
            )

    return rows


def calibration_of(errors: Errors, config: NetworkConfig) -> dict[str, float]:
    """One row of `calibration_rows`."""
    parameters = [getattr(config, name) for name in PARAMETERS]
    covariance = covariances(errors.moment, *parameters)
    distance = mahalanobis(errors.error, covariance)
    row = calibration_row(calibration(distance, 2), LEVELS)

    variance = np.trace(covariance, axis1=1, axis2=2) / 2
    row["deviation px"] = config.stride * float(np.sqrt(np.median(variance)))
    return row
