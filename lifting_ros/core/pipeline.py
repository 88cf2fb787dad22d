# SPDX-License-Identifier: Apache-2.0
"""The whole algorithm on one page: an image comes in, persons with 2D keypoints and 3D skeletons come out. Read this first."""
from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from lifting_ros.core import belief_maps, crop
from lifting_ros.core.camera import Camera
from lifting_ros.core.checkpoint import load_network, sha256_of
from lifting_ros.core.detector import Detector, DetectorConfig
from lifting_ros.core.lifting import Lifter, LifterConfig
from lifting_ros.core.poses import Detection, Person, Skeleton2D
from lifting_ros.core.ppca import MixturePPCA

WEIGHTS = Path(__file__).parents[1] / "weights"
UP = (0.0, -1.0, 0.0)
"""Up in the optical frame of a level camera."""


@dataclass(frozen=True)
class EstimatorConfig:
    """Every parameter of the estimation; the node, the command line and the evaluation share them."""

    device: str = field(default="auto", metadata={"description": "where the network runs: auto, cpu, cuda or cuda:n"})
    threads: int = field(default=0, metadata={"description": "CPU threads of the network; 0 leaves it to torch", "range": (0, 256)})
    weights: str = field(default="", metadata={"description": "network weights (.safetensors); empty: the ones that ship"})
    prior: str = field(default="", metadata={"description": "pose prior (.npz); empty: the one that ships"})
    min_person_confidence: float = field(
        default=0.35, metadata={"description": "persons whose mean keypoint confidence is lower are dropped", "range": (0.0, 1.0)}
    )
    min_keypoint_confidence: float = field(
        default=0.15, metadata={"description": "keypoints below this confidence are not used by the lifter", "range": (0.0, 1.0)}
    )
    detector: DetectorConfig = field(default=DetectorConfig(), metadata={"description": "person detector"})
    lifter: LifterConfig = field(default=LifterConfig(), metadata={"description": "lifting to 3D"})


@dataclass(frozen=True)
class Estimate:
    """What one image gives."""

    persons: tuple[Person, ...]
    seconds: dict[str, float]
    """Wall time of each step: detect, network, lift."""


class PoseEstimator:
    """Detector, network and lifter behind one call. The same object serves the node, the command line and the evaluation."""
