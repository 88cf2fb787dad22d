# SPDX-License-Identifier: Apache-2.0
"""A stereoscopic lifter that has learnt nothing, and rotations to turn its camera by."""

from __future__ import annotations

import numpy as np
import torch
from people import make_poses, see

from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.lifting.stereo import StereoErrors, StereoLifter
from lifting_ros.lifting.stereo_network import Statistics, StereoConfig, StereoNetwork


def turn(seed: int, most: float = 0.4) -> np.ndarray:
    """A rotation by `most` radians about an axis of its own."""
    axis = np.random.default_rng(seed).standard_normal(3)
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(most) * cross + (1 - np.cos(most)) * cross @ cross


def rolled(angle: float) -> np.ndarray:
    """A rotation about the optical axis."""
    return np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )


def make_lifter(**changes) -> StereoLifter:
    """Weights that have learnt nothing, about the mean of the stick figures."""
    torch.manual_seed(0)
    network = StereoNetwork(StereoConfig(width=16, blocks=1, **changes)).eval()
    joints = see(make_poses(50))[0]
    joints = torch.from_numpy((joints - joints[:, :1]) / 1.1)
    context = torch.tensor([[-2.1, 0.0, 1.0, -3.5], [0.3, 0.3, 0.4, 0.8]])
    network.use(
        Statistics(
            context,
            torch.tensor([-1.5, 0.2]),
            torch.stack([joints.mean(0), 0.1 * joints.std(0) + 0.02]),
        )
    )
    errors, config = StereoErrors((1.2, 0.9, 1.1), 0.8, 0.5), LifterConfig(noise_floor_px=0.01)
    return StereoLifter(network, 1.1, 0.05, errors, config=config)
