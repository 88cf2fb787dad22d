# SPDX-License-Identifier: Apache-2.0
"""The whole algorithm on one page: an image comes in, persons with 2D keypoints and 3D skeletons
come out. Read this first."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from lifting_ros.config import ConfigError
from lifting_ros.detection.detector import DetectorConfig, load_detector, overlaps
from lifting_ros.device import choose_device
from lifting_ros.geometry.camera import Camera
from lifting_ros.io.checkpoint import load_network, sha256_of
from lifting_ros.keypoints import belief_maps, crop
from lifting_ros.keypoints.inference import NetworkRunner
from lifting_ros.lifting.depth import measure_depth
from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.lifting.lifters import METHODS, WEIGHTS, make_lifter, weights_of
from lifting_ros.lifting.request import UP, PoseLifter
from lifting_ros.prior.ppca import MixturePPCA
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_FLIP
from lifting_ros.types import Detection, Person, Skeleton2D

SHIPPED = ("full", "lite")
"""Networks that ship, by name, the default first; the model cards beside them say what they have
seen."""

DETECTOR_SHARE = 0.2
"""Weight of the detector's score in that of a person; chosen on rows held back from the training.
"""

COUNTED_KEYPOINTS = 6
"""Keypoints that say whether somebody is there: the surest ones, since half of a person may be out
of view."""


@dataclass(frozen=True)
class EstimatorConfig:
    """Every parameter of the estimation; the node, the command line and the evaluation share them."""

    device: str = field(
        default="auto",
        metadata={"description": "where the network runs: auto, cpu, cuda or cuda:n"},
    )
    threads: int = field(
        default=0,
        metadata={
            "description": "CPU threads; 0: half the cores, the rest is the robot's",
            "range": (0, 256),
        },
    )
    weights: str = field(
        default="full",
        metadata={
            "description": "network weights: the name of a network that ships (full; lite for small CPUs), or a file"
        },
    )
    prior: str = field(
        default="", metadata={"description": "pose prior (.npz); empty: the one that ships"}
    )
    min_person_score: float = field(
        default=0.72,
        metadata={
            "description": "persons with a lower score (detector and keypoints) are dropped",
            "range": (0.0, 1.0),
            "live": True,
        },
    )
    min_keypoint_confidence: float = field(
        default=0.15,
        metadata={
            "description": "keypoints below this confidence are not used by the lifter",
            "range": (0.0, 1.0),
            "live": True,
        },
    )
    stages: int = field(
        default=0,
        metadata={
            "description": "stages of the network to run, fewer are faster; 0: all",
            "range": (0, 6),
        },
    )
    compile: bool = field(
        default=False,
        metadata={
            "description": "compile the network: starts a minute later, runs faster; wants a C++ compiler"
        },
    )
    second_look: float = field(
        default=0.85,
        metadata={
            "description": "IoU of keypoints' and detected box below which a person is cut out again around the keypoints and looked at as "
            "it is and mirrored; 0: never, 1: always",
            "range": (0.0, 1.0),
            "live": True,
        },
    )
    detector: DetectorConfig = field(
        default=DetectorConfig(), metadata={"description": "person detector"}
    )
    lifter: str = field(
        default="ppca",
        metadata={
            "description": "lifts to 3D: the prior (ppca), or a network by what it learnt from",
            "choices": METHODS,
            "live": True,
        },
    )
    lifter_weights: str = field(
        default="",
        metadata={
            "description": "weights of a lifter other than ppca (.safetensors); empty: the ones that ship",
            "live": True,
        },
    )
    lifting: LifterConfig = field(default=LifterConfig(), metadata={"description": "lifting to 3D"})

    def __post_init__(self):
        weights_of(
            self.lifter, self.lifter_weights
        )  # ConfigError: a lifter without weights is refused before anything runs


@dataclass(frozen=True)
class Estimate:
    """What one image gives."""

    persons: tuple[Person, ...]
    seconds: dict[str, float]
    """Wall time of each step: detect, network, lift."""


def network_and_detector(config: EstimatorConfig) -> tuple[Path, Path]:
    """The files of the network and of the detector: by name, or as given."""
    network = config.weights or SHIPPED[0]
    detector = config.detector.weights or WEIGHTS / "detector.safetensors"
    return WEIGHTS / f"{network}.safetensors" if network in SHIPPED else Path(network), Path(
        detector
    )


def model_name(config: EstimatorConfig, network: bool = True) -> str:
    """What makes the skeletons, for `~/info`: the network's weights by name (not without
    `network`), and behind a plus the lifter where it is not the prior: full, full+stereo, +stereo.
    """
    weights = (Path(config.weights).stem or SHIPPED[0]) if network else ""
    return weights if config.lifter == METHODS[0] else f"{weights}+{config.lifter}"


class SkeletonLifter:
    """The part of the estimator behind the keypoints, alone for those who have a 2D detector of
    their own."""

    device, weights_sha256 = torch.device("cpu"), ""

    def __init__(self, config: EstimatorConfig = EstimatorConfig()):
        """Load prior and lifter; PriorError, ConfigError or CheckpointError with one clear line
        where that cannot be done."""
        self.config, path = config, Path(config.prior or WEIGHTS / "prior.npz")
        self.prior, self.prior_sha256 = MixturePPCA.load(path), sha256_of(path)
        self._lifters: dict[tuple[str, str], PoseLifter] = {}
        self.lifter = self._lifter(config)

    def _lifter(self, config: EstimatorConfig) -> PoseLifter:
        """The lifter that is asked for; those used before are kept, so that changing back costs
        nothing."""
        chosen = config.lifter, config.lifter_weights
        if chosen not in self._lifters:
            lifter = make_lifter(config.lifter, self.prior, config.lifting, config.lifter_weights)
            lifter.warm_up()  # before the first person, not at it
            self._lifters[chosen] = lifter
        return self._lifters[chosen]

    def retune(self, config: EstimatorConfig) -> None:
        """Take over those values of `config` that may change while the estimator is in use (`live`
        in the fields' metadata).

        CheckpointError or ConfigError in one line for a lifter whose weights cannot be used;
        nothing has changed then.
        """
        self.lifter, self.config = self._lifter(config), config

    def lift(
        self,
        skeletons: Sequence[Skeleton2D],
        camera: Camera | None = None,
        up: Sequence[float] | np.ndarray = UP,
        depth: np.ndarray | None = None,
        image_size: tuple[int, int] | None = None,
    ) -> list[Person]:
        """Lift 2D skeletons to persons; image_size (w, h) of their image where it is not that of
        the depth (H', W'), metres."""
        if not skeletons:
            return []
        keypoints, covariance = (
            np.stack([getattr(s, n) for s in skeletons]) for n in ("keypoints_px", "covariance_px2")
        )
        confidence = np.stack([s.confidence for s in skeletons])
        usable = np.where(confidence >= self.config.min_keypoint_confidence, confidence, 0.0)
        measured = (
            None
            if depth is None or camera is None
            else measure_depth(depth, keypoints, usable, image_size)
        )
        poses = self.lifter.lift(
            keypoints, usable, covariance, camera, np.asarray(up, np.float64), measured
        )
        nothing = np.full((JOINT_COUNT, 3), np.nan)
        return [
            Person(0, 0.0, skeleton, poses.skeleton(i, usable[i], camera is not None), nothing)
            for i, skeleton in enumerate(skeletons)
        ]


class PoseEstimator(SkeletonLifter):
    """Detector, network and lifter behind one call. The same object serves the node, the command
    line and the evaluation."""

    def __init__(self, config: EstimatorConfig = EstimatorConfig()):
        """Load everything; CheckpointError, PriorError or ConfigError with one clear line where
        that cannot be done."""
        self.device = choose_device(config.device)
        super().__init__(config)
        # threads that wait for a core wait for each other: with a camera process beside it two on
        # two cores halve the rate
        torch.set_num_threads(config.threads or max(1, len(os.sched_getaffinity(0)) // 2))
        weights, detector = network_and_detector(config)
        network = load_network(weights, self.prior)
        if config.stages > network.config.stages:
            raise ConfigError(
                f"stages: expected 0 to {network.config.stages} with {weights.name}, got {config.stages}"
            )
        self.network = NetworkRunner(network, self.device, config.stages, config.compile)
        self.detector = load_detector(detector, config.detector, self.device)
        self.weights_sha256 = sha256_of(weights)

    def retune(self, config: EstimatorConfig) -> None:
        super().retune(config)
        self.detector.config = config.detector

    def estimate(
        self,
        image: np.ndarray,
        camera: Camera | None = None,
        up: Sequence[float] | np.ndarray = UP,
        depth: np.ndarray | None = None,
    ) -> Estimate:
        """Find every person in an image and lift them.

        image: (H, W, 3) uint8 RGB; camera: its calibration, None where unknown (skeletons are then
        not metric); up: (3,) direction of up in the optical frame, NaN where unknown; depth: of the
        same view (H', W'), metres, 0 or NaN where there is none, used with a camera. Raises
        ValueError in one line for an image of another shape or type.
        """
        check_image(image)
        clock = Clock()
        detections = self.detector.detect(image)
        clock.mark("detect")
        skeletons = self.find_keypoints(image, detections)
        clock.mark("network")
        persons = self.lift(skeletons, camera, up, depth, image.shape[1::-1])
        clock.mark("lift")
        return Estimate(tuple(persons), clock.seconds)

    def find_keypoints(
        self, image: np.ndarray, detections: Sequence[Detection]
    ) -> list[Skeleton2D]:
        """2D skeletons of the detections, one batch for all; a person whose keypoints do not fill
        the box gets a second crop around them.

        What the second look says counts, even where the first was surer: of two looks the surer one
        is the surer false alarm, too.
        """
        skeletons = self._keypoints(image, detections)
        lost = [
            i
            for i, s in enumerate(skeletons)
            if overlaps(s.box_px, detections[i].box_px[None])[0] < self.config.second_look
        ]
        again = [Detection(skeletons[i].box_px, detections[i].score) for i in lost]
        for i, skeleton in zip(lost, self._keypoints(image, again, mirrored=True)):
            skeletons[i] = skeleton
        certain = [s for s in skeletons if s.score >= self.config.min_person_score]
        return drop_repeated(certain)

    def _keypoints(
        self, image: np.ndarray, detections: Sequence[Detection], mirrored: bool = False
    ) -> list[Skeleton2D]:
        if not detections:
            return []
        crops = [crop.crop_around(d.box_px, self.network.config.input_px) for d in detections]
        maps, presence = self.network.last(
            torch.stack([crop.cut(image, c) for c in crops]), mirrored
        )
        found = belief_maps.keypoints(maps, presence, self.network.config)  # crop pixels
        there = found[1] if presence is None else presence.float().sigmoid()  # (N, 14)
        arrays = (value.double().cpu().numpy() for value in (*found, there))
        return [_skeleton(*row) for row in zip(crops, *arrays, detections)]


class Clock:
    """Wall time of the steps between marks."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def mark(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self._last = now - self._last, now

    def take(self, seconds: Mapping[str, float]) -> None:
        """Steps since the last mark that were timed elsewhere."""
        self.seconds, self._last = self.seconds | dict(seconds), time.perf_counter()


def check_image(image: np.ndarray) -> None:
    """ValueError in one line unless `image` is a non-empty (H, W, 3) uint8 array."""
    if (
        not isinstance(image, np.ndarray)
        or image.ndim != 3
        or image.shape[2] != 3
        or image.dtype != np.uint8
    ):
        got = (
            f"{image.shape} {image.dtype}"
            if isinstance(image, np.ndarray)
            else type(image).__name__
        )
        raise ValueError(f"image: expected (H, W, 3) uint8, got {got}")
    if 0 in image.shape:
        raise ValueError(
            f"image: expected at least one pixel, got {image.shape[1]} x {image.shape[0]}"
        )


def _skeleton(
    area: crop.Crop,
    points: np.ndarray,
    confidence: np.ndarray,
    covariance: np.ndarray,
    there: np.ndarray,
    detection: Detection,
):
    """One person's network answer in image pixels, a Skeleton2D. The box is that of the keypoints
    seen."""
    image_points = area.to_image(points)
    seen = image_points[confidence >= 0.1]
    box = np.concatenate([seen.min(0), seen.max(0)]) if len(seen) >= 4 else detection.box_px
    return Skeleton2D(
        image_points,
        confidence,
        covariance * area.scale**2,
        box,
        person_score(detection.score, there),
    )


def person_score(detection: float, there: np.ndarray) -> float:
    """How certain it is that somebody is there: from the detector's score and the probabilities
    (14,) of the keypoints being in view.

    A weighted geometric mean of the score and of the mean of the COUNTED_KEYPOINTS highest
    probabilities. The network that sees the limbs counts most: it has learnt what the detector
    mistakes for persons.
    """
    surest = np.sort(there)[-COUNTED_KEYPOINTS:]
    return float(detection**DETECTOR_SHARE * np.mean(surest) ** (1 - DETECTOR_SHARE))


def drop_repeated(
    skeletons: list[Skeleton2D], near: float = 0.15, most: float = 0.4
) -> list[Skeleton2D]:
    """Best first; a skeleton that shares more than `most` of its keypoints with a better one is the
    same person found twice."""
    kept: list[Skeleton2D] = []
    for skeleton in sorted(skeletons, key=lambda s: -s.score):
        if all(shared_keypoints(skeleton, better, near) <= most for better in kept):
            kept.append(skeleton)
    return kept


def shared_keypoints(skeleton: Skeleton2D, other: Skeleton2D, near: float) -> float:
    """Confidence-weighted share of keypoints within `near` sides of the other's box of the same
    keypoint, left and right taken for one."""
    mirrored = other.keypoints_px[list(KEYPOINT_FLIP)]
    gaps = [
        np.linalg.norm(skeleton.keypoints_px - points, axis=-1)
        for points in (other.keypoints_px, mirrored)
    ]
    side = max(other.box_px[2:] - other.box_px[:2])
    return float(
        np.average(np.minimum(*gaps) < near * side, weights=np.maximum(skeleton.confidence, 1e-3))
    )
