# SPDX-License-Identifier: Apache-2.0
"""The detector's scores as probabilities: a logistic fit (Platt) on scenes held back from the training, folded into the last layer."""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lifting_ros.core.detector import Detector, DetectorConfig, DetectorNetwork
from lifting_ros.data.matching import RIGHT, UNKNOWN, judge
from lifting_ros.data.scenes import SceneSource

LEAST_SCORE = 0.02


def calibrated(weights: dict[str, Tensor], widths: tuple[int, int, int, int], source: SceneSource, scenes: int = 800) -> dict[str, Tensor]:
    """Weights whose score is the probability that the box overlaps (IoU above 0.5) a person of its own, measured on scenes of `source`."""
    network = DetectorNetwork(widths)
    network.load_state_dict(weights)
    detector = Detector(network, DetectorConfig(score=LEAST_SCORE, long_side_px=max(source.size)))
    kinds = ("photograph", "composite", "rendered", "nobody") if len(source.peopled) else ("photograph", "composite", "nobody")
    judged = []
    for n in range(scenes):
        scene = source.draw(np.random.default_rng((source.size[0], n)), kinds[n % len(kinds)])
        found = detector.detect(scene.image)
        verdicts, _ = judge(np.array([d.box_px for d in found]).reshape(-1, 4), scene)
        judged += [(d.score, verdict == RIGHT) for d, verdict in zip(found, verdicts) if verdict != UNKNOWN]
    scores, right = np.array(judged).reshape(-1, 2).T
    slope, offset = fit_logistic(np.log(scores / np.maximum(1 - scores, 1e-7)), right)  # a very sure one is rounded to 1
    return folded(weights, slope, offset)


def fit_logistic(logits: np.ndarray, right: np.ndarray, steps: int = 50) -> tuple[float, float]:
    """Slope and offset of the likeliest sigmoid(slope * logit + offset) for outcomes (N,) bool, by Newton's method; a slope above 0."""
    design, start = np.stack([logits, np.ones_like(logits)], 1), np.array([1.0, 0.0])

    def misfit(value: np.ndarray) -> float:
        said = design @ value
        # a weak pull to what the network says, for separable outcomes
        return (np.logaddexp(0, said) - right * said).sum() + 0.5e-2 * ((value - start) ** 2).sum()

    value = start
    for _ in range(steps):
        p = np.exp(-np.logaddexp(0, -design @ value))
        slope = design.T @ (right - p) - 1e-2 * (value - start)
        step = np.linalg.solve((design * (p * (1 - p))[:, None]).T @ design + 1e-2 * np.eye(2), slope)
        while misfit(value + step) > misfit(value):  # far from the likeliest, where the curve is flat, it leads beyond
            step = step / 2
        value = value + step
    return max(float(value[0]), 0.05), float(value[1])


def folded(weights: dict[str, Tensor], slope: float, offset: float) -> dict[str, Tensor]:
    """Weights of the same network with its centre logits times `slope` plus `offset`."""
    return weights | {
        "centre.weight": weights["centre.weight"] * slope,
        "centre.bias": torch.addcmul(torch.tensor(offset), weights["centre.bias"], torch.tensor(slope)),
    }
