# SPDX-License-Identifier: Apache-2.0
"""The whole algorithm: images come in, persons with 2D keypoints and 3D skeletons come out.

Read `PoseEstimator.estimate_batch` first; `estimate` calls it with one image. torch is imported
when a PoseEstimator is made that runs in it, not before.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from lifting_ros.backends import (
    make_border_doubt,
    make_depth_cue,
    make_detector,
    make_joint_offsets,
    make_network,
    make_person_score,
    make_pose_correction,
)
from lifting_ros.config import ConfigError
from lifting_ros.detection.detector import DetectorConfig, box_of_keypoints, overlaps
from lifting_ros.errors import LiftingError
from lifting_ros.geometry.camera import Camera
from lifting_ros.io.checkpoint import sha256_of
from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.lifting.lifters import METHODS, WEIGHTS, make_lifter, weights_of
from lifting_ros.lifting.request import UP, Depths, Keypoints
from lifting_ros.prior.ppca import MixturePPCA
from lifting_ros.runtimes import CHOICES as RUNTIMES
from lifting_ros.runtimes import OnnxConfig, choose_placement
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT, KEYPOINT_FLIP
from lifting_ros.types import Detection, FoundKeypoints, LiftedPoses, Person, Skeleton2D

if TYPE_CHECKING:
    import torch

    from lifting_ros.keypoints.stage_maps import StageInspector
    from lifting_ros.lifting.depth_cue import DepthCue
    from lifting_ros.lifting.joint_offsets import JointOffsets
    from lifting_ros.lifting.pose_correction import PoseCorrection
    from lifting_ros.protocols import PersonScorer, PoseLifter

T = TypeVar("T")

SHIPPED = ("full", "lite")
"""Names of the networks that ship, the default first. The model cards beside the weights name the
training data."""

FREE = "lite-free"
"""Name of the network that ships with a detector of its own. Both have seen only photographs whose
origin states a permissive licence."""

PARTLY_SHARED = 0.15
"""Share of the keypoints that a skeleton has in common with better ones from which on its place is
looked at again without those. In 60 rendered crowds that set no weights 81 % of the people are
found and 69 % of their keypoints are right; 71 and 62 % without; 80 and 67 % from a half on."""

SMALL = ("lite", FREE)
"""Networks for small CPUs, whose detector sees SMALL_SIDE_PX."""

SMALL_SIDE_PX = 320

SAME_PLACE = 0.15
"""Distance below which two keypoints are the same, divided by the longer side of a box."""

CLAIMED_PLACE = 0.06
"""Distance below which the same keypoint of two persons is at one place, divided by the longer side
of a box."""

CLAIMED_CONFIDENCE = 0.2
"""Factor on the confidence of a keypoint that somebody else claims more confidently. In 150
rendered crowds held back from training, 9 of 57 such keypoints were right."""

CLAIMED_STD = 0.17
"""Standard deviation of such a keypoint, divided by the longer side of the box; fitted there."""


@dataclass(frozen=True)
class EstimatorConfig:
    """Parameters of the estimation, for the node, the command line and the evaluation."""

    device: str = field(
        default="auto",
        metadata={"description": "where the network runs: auto, cpu, cuda or cuda:n"},
    )
    runtime: str = field(
        default="auto",
        metadata={
            "description": (
                "what runs the networks; auto: openvino on CPUs where it is installed, else torch; "
                "onnx: ONNX Runtime, for GPUs without CUDA in torch"
            ),
            "choices": RUNTIMES,
        },
    )
    onnx: OnnxConfig = field(default=OnnxConfig(), metadata={"description": "the runtime onnx"})
    threads: int = field(
        default=0,
        metadata={
            "description": (
                "CPU threads; 0: half the cores and at most OMP_NUM_THREADS, which leaves the rest"
                " to other programs"
            ),
            "range": (0, 256),
        },
    )
    weights: str = field(
        default="full",
        metadata={
            "description": (
                "network weights: the name of a network that ships (full; lite for small CPUs; "
                "lite-free, trained on permissively licensed photographs alone), or a file"
            )
        },
    )
    prior: str = field(
        default="", metadata={"description": "pose prior (.npz); empty: the one that ships"}
    )
    min_person_score: float = field(
        default=0.8,
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
            "description": (
                "compile the network: starts a minute later, runs faster; needs a C++ compiler"
            )
        },
    )
    second_look: float = field(
        default=0.6,
        metadata={
            "description": (
                "a person whose keypoints' box overlaps the detected box less than this (IoU) "
                "is cropped again around the keypoints; the mean of that crop's and its mirror "
                "image's result is used; 0: never, 1: always, also where people are followed"
            ),
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
            "description": (
                "what lifts to 3D: the prior (ppca), or a network, named after what it learned from"
            ),
            "choices": METHODS,
            "live": True,
        },
    )
    lifter_weights: str = field(
        default="",
        metadata={
            "description": (
                "weights of the lifter (.safetensors; of ppca: its correction); empty: the ones "
                "that ship"
            ),
            "live": True,
        },
    )
    depth_cue: bool = field(
        default=True,
        metadata={
            "description": (
                "also guess from the image which joints are nearer; requires the lifter ppca and a "
                "network with a depth cue, which those that ship have"
            ),
            "live": True,
        },
    )
    joint_offsets: bool = field(
        default=True,
        metadata={
            "description": (
                "lift the joints that the keypoints stand for, not the keypoints; requires a "
                "network with joint offsets, which those that ship have"
            ),
            "live": True,
        },
    )
    lifting: LifterConfig = field(default=LifterConfig(), metadata={"description": "lifting to 3D"})

    def __post_init__(self):
        if self.lifter not in METHODS:
            raise ConfigError(f"lifter: expected one of {', '.join(METHODS)}, got {self.lifter!r}")


@dataclass(frozen=True)
class Estimate:
    """The result for one image."""

    persons: tuple[Person, ...]
    seconds: dict[str, float]
    """Wall time of each step: detect, network (with what takes noise away), lift. Of a batch, the
    network's is divided by the number of images."""
    detected: bool = True
    """Whether the detector ran; False: the persons were looked for in given places alone."""
    rejected: tuple[Skeleton2D, ...] = ()
    """What was looked at and is not among the persons: a score below `min_person_score`, or a
    person found twice. For those who have to know of everybody, such as `viz.anonymise`."""


def network_and_detector(config: EstimatorConfig) -> tuple[Path, Path]:
    """The weights files of the network and of the detector."""
    network = config.weights or SHIPPED[0]
    its_detector = "detector-free" if network == FREE else "detector"
    detector = config.detector.weights or WEIGHTS / f"{its_detector}.safetensors"

    if network in (*SHIPPED, FREE):
        return WEIGHTS / f"{network}.safetensors", Path(detector)

    return Path(network), Path(detector)


def detector_config(config: EstimatorConfig) -> DetectorConfig:
    """The parameters of the detector, with the size that it sees."""
    detector = config.detector
    if detector.long_side_px == 0 and config.weights in SMALL:
        return dataclasses.replace(detector, long_side_px=SMALL_SIDE_PX)

    return detector


def load_stage_inspector(config: EstimatorConfig) -> StageInspector:
    """What shows the belief maps of every stage, in torch, with the network, the prior and the
    device of `config`; errors as in `PoseEstimator`."""
    from lifting_ros.device import choose_device
    from lifting_ros.keypoints.stage_maps import load_inspector

    weights, _ = network_and_detector(config)
    prior = MixturePPCA.load(Path(config.prior or WEIGHTS / "prior.npz"))
    return load_inspector(weights, prior, choose_device(config.device), config.stages)


def model_name(config: EstimatorConfig, network: bool = True) -> str:
    """Name of the model for `~/info`: that of the network's weights, then, after a plus, that of
    the lifter if it is not the prior: `full`, `full+stereo`.

    network: False where keypoints come from elsewhere; the name is then empty or `+stereo`.
    """
    weights = ""
    if network:
        weights = Path(config.weights).stem or SHIPPED[0]
    if config.lifter == METHODS[0]:
        return weights

    return f"{weights}+{config.lifter}"


def check_lifter_weights(config: EstimatorConfig) -> None:
    """Raise ConfigError where the lifter that `config` names has no weights that can be used."""
    weights_of(config.lifter, config.lifter_weights)


class KeypointLifter:
    """Lifts 2D skeletons of any detector to persons: the second half of the estimator."""

    device: torch.device | str = "cpu"
    runtime = ""
    """What runs the networks; empty where there are none."""
    weights_sha256 = ""
    """SHA-256 of the keypoint network's weights; empty where there is no network."""
    depth_cue: DepthCue | None = None
    """What guesses relative depths from the image; None where nothing can."""
    joint_offsets: JointOffsets | None = None
    """Predicts joints from the network's keypoints; None without such a network."""
    pose_correction: PoseCorrection | None = None
    """Corrects the 3D poses of people whom the network finds; None without such a network."""

    def __init__(self, config: EstimatorConfig = EstimatorConfig(), warm: bool = True):
        """Load prior and lifter; PriorError, ConfigError or CheckpointError where that fails.

        warm: also compile and load what the first person would wait for; False: who makes the
        estimator calls `lifter.warm_up`.
        """
        self.config = config
        prior_path = Path(config.prior or WEIGHTS / "prior.npz")
        self.prior = MixturePPCA.load(prior_path)
        self.prior_sha256 = sha256_of(prior_path)
        self._lifters: dict[tuple[str, str], PoseLifter] = {}
        self.lifter = self._lifter_of(config, warm)

    def _lifter_of(self, config: EstimatorConfig, warm: bool = True) -> PoseLifter:
        """The lifter that `config` names. Lifters are kept, so that changing back costs nothing."""
        key = (config.lifter, config.lifter_weights)
        if key not in self._lifters:
            lifter = make_lifter(
                config.lifter,
                self.prior,
                config.lifting,
                config.lifter_weights,
            )
            if warm:
                lifter.warm_up()
            self._lifters[key] = lifter

        return self._lifters[key]

    def retune(self, config: EstimatorConfig) -> None:
        """Adopt the live values of `config`: those that may change while the estimator is in use
        (`live` in the fields' metadata).

        CheckpointError or ConfigError for a lifter whose weights cannot be used; then nothing
        changes.
        """
        self.lifter = self._lifter_of(config)
        self.config = config

    def lift(
        self,
        skeletons: Sequence[Skeleton2D],
        camera: Camera | None = None,
        up: Sequence[float] | np.ndarray = UP,
        depth: np.ndarray | None = None,
        image_size: tuple[int, int] | None = None,
    ) -> list[Person]:
        """Lift 2D skeletons of one image to persons, in the same order.

        camera, up, depth: as in `PoseEstimator.estimate`; image_size: (w, h) of the image, if it is
        not that of `depth`.
        """
        if not skeletons:
            return []

        keypoints = np.stack([skeleton.keypoints_px for skeleton in skeletons])
        covariance = np.stack([skeleton.covariance_px2 for skeleton in skeletons])
        confidence = np.stack([skeleton.confidence for skeleton in skeletons])
        usable = np.where(confidence >= self.config.min_keypoint_confidence, confidence, 0.0)

        depths: Depths | None = None
        has_depth = np.zeros(len(skeletons), bool)
        if depth is not None and camera is not None:
            # Few cameras have depth
            from lifting_ros.lifting.depth import measure_depth
            from lifting_ros.lifting.depth_fusion import read_depth

            z, variance = measure_depth(depth, keypoints, usable, image_size)
            depths = Depths(z, variance)
            _, has_depth = read_depth(depths, len(skeletons))

        up = np.asarray(up, np.float64)
        seen = Keypoints(keypoints, usable, covariance)
        is_ours = np.array([skeleton.deep is not None for skeleton in skeletons])
        is_ppca = self.config.lifter == METHODS[0]
        if self.depth_cue is not None and self.config.depth_cue and is_ppca:
            layers = [self.depth_cue.layer_of(skeleton) for skeleton in skeletons]
            z, variance = self.depth_cue.guess(seen, layers, camera, up)
            depths = (depths or Depths())._replace(relative_z=z, relative_variance=variance)

        if self.joint_offsets is not None and self.config.joint_offsets:
            seen = self.joint_offsets.joints_of(seen, camera, up, is_ours)

        # The network's own correction replaces that of the lifter
        lifter = self.lifter
        if self.pose_correction is not None and is_ppca and is_ours.all():
            from lifting_ros.lifting.corrected_lifter import corrected

            lifter = corrected(lifter, self.pose_correction)
        poses = lifter.lift(*seen, camera, up, depths)
        poses = widen(poses, self.config.lifting, has_depth)

        return _persons(skeletons, poses, usable, camera is not None)


def _persons(
    skeletons: Sequence[Skeleton2D], poses: LiftedPoses, usable: np.ndarray, metric: bool
) -> list[Person]:
    """Persons without ids; usable: (N, 14) confidence of the keypoints that were lifted."""
    persons = []
    for index, skeleton in enumerate(skeletons):
        persons.append(
            Person(
                id=0,
                age_s=0.0,
                skeleton_2d=dataclasses.replace(skeleton, local=None),
                skeleton_3d=poses.skeleton(index, usable[index], metric),
                velocity_mps=np.full((JOINT_COUNT, 3), np.nan),
            )
        )

    return persons


def widen(poses: LiftedPoses, config: LifterConfig, has_depth: np.ndarray) -> LiftedPoses:
    """The poses with covariances multiplied by `joint_inflation` and `root_inflation`.

    A lifter assumes independent, Gaussian errors of the keypoints. A network's errors are
    correlated and have heavy tails. has_depth: (N,) persons with measured depth, whose root
    covariance is not changed.
    """
    root_inflation = np.where(has_depth, 1.0, config.root_inflation)[:, None, None]
    return dataclasses.replace(
        poses,
        covariance_m2=config.joint_inflation * poses.covariance_m2,
        root_covariance_m2=root_inflation * poses.root_covariance_m2,
    )


class PoseEstimator(KeypointLifter):
    """Detector, keypoint network and lifter behind one call.

    The node, the command line and the evaluation use this class. Entry points call
    `device.use_threads` first.
    """

    def __init__(self, config: EstimatorConfig = EstimatorConfig(), warm: bool = True):
        """Load everything; CheckpointError, PriorError or ConfigError where that fails.

        warm: as in `KeypointLifter`; the networks are always ready.
        """
        placement = choose_placement(config.runtime, config.device, config.compile, config.onnx)
        self.device = placement.device
        self.runtime = placement.runtime
        super().__init__(config, warm)

        weights, detector = network_and_detector(config)
        self.network = make_network(weights, self.prior, placement, config.stages, config.compile)
        self.detector = make_detector(detector, detector_config(config), placement)
        self.score_person = make_person_score(weights)
        self.depth_cue = make_depth_cue(weights, config.lifting)
        self.joint_offsets = make_joint_offsets(weights, config.lifting)
        if config.lifting.pose_correction:
            self.pose_correction = make_pose_correction(weights, self.prior)
        self.doubt_border = make_border_doubt(weights)
        self.weights_sha256 = sha256_of(weights)
        self._detecting = threading.Lock()

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Where the detector finds persons, best first; image as in `estimate`. Threads take
        turns."""
        return self._detect(clear_image(image))

    def retune(self, config: EstimatorConfig) -> None:
        """As `KeypointLifter.retune`, for the detector too."""
        super().retune(config)
        self.detector.config = detector_config(config)

    def estimate(
        self,
        image: np.ndarray,
        camera: Camera | None = None,
        up: Sequence[float] | np.ndarray = UP,
        depth: np.ndarray | None = None,
        detections: Sequence[Detection] | None = None,
    ) -> Estimate:
        """Find and lift every person in an image.

        image: (H, W, 3) uint8 RGB.
        camera: its calibration; None if unknown, then skeletons are not metric.
        up: (3,) direction of up in the optical frame; NaN if unknown.
        depth: (H', W') metres, of the same view; 0 or NaN where nothing was measured. Used only
        with a camera.
        detections: where to look for persons; None: where the detector finds them.

        ImageError for an image of another shape or type.
        """
        (estimate,) = self.estimate_batch([image], [camera], [up], [depth], [detections])
        return estimate

    def estimate_batch(
        self,
        images: Sequence[np.ndarray],
        cameras: Sequence[Camera | None] | None = None,
        ups: Sequence[Sequence[float] | np.ndarray] | None = None,
        depths: Sequence[np.ndarray | None] | None = None,
        detections: Sequence[Sequence[Detection] | None] | None = None,
    ) -> list[Estimate]:
        """Find and lift every person in several images, such as those of several cameras.

        images: N of any sizes. cameras, ups, depths, detections: N values, each as in `estimate`;
        None: the default of `estimate` for all images.

        The persons of all images go through the keypoint network as one batch. The results are
        those of `estimate` for each image, byte by byte with OpenVINO, which runs a batch person by
        person. torch and ONNX Runtime sum in another order in a larger batch; in torch keypoints
        differ by less than 0.001 px in float32, 0.6 px in bfloat16.

        ImageError for an image of another shape or type, or where N differs.
        """
        count = len(images)
        cameras = _of_each("cameras", cameras, count, None)
        ups = _of_each("ups", ups, count, UP)
        depths = _of_each("depths", depths, count, None)
        given = _of_each("detections", detections, count, None)
        for image in images:
            check_image(image)
        clocks = [Clock() for _ in images]

        # Noise
        start = time.perf_counter()
        clear = [clear_image(image) for image in images]
        clear_s = time.perf_counter() - start

        # Persons
        places: list[Sequence[Detection]] = []
        for image, known, clock in zip(clear, given, clocks):
            clock.restart()
            if known is None:
                places.append(self._detect(image))
                clock.mark("detect")
            else:
                places.append(known)

        # Keypoints
        start = time.perf_counter()
        found = self._find_all(clear, places)
        skeletons = [self._certain(image, of_image) for image, of_image in zip(clear, found)]
        share_s = (clear_s + time.perf_counter() - start) / max(count, 1)

        # Joints
        estimates = []
        for index, clock in enumerate(clocks):
            clock.take({"network": share_s})
            size = images[index].shape[1::-1]
            persons = self.lift(
                claim_once(skeletons[index]), cameras[index], ups[index], depths[index], size
            )
            clock.mark("lift")
            rejected = _others(found[index], skeletons[index])
            detected = given[index] is None
            estimates.append(Estimate(tuple(persons), clock.seconds, detected, rejected))

        return estimates

    def estimate_2d(self, image: np.ndarray) -> Estimate:
        """Find every person in an image as `estimate` does, and lift nobody: all joints are
        INVALID. ImageError as in `estimate`."""
        check_image(image)
        clock = Clock()
        clear = clear_image(image)
        detections = self._detect(clear)
        clock.mark("detect")

        (found,) = self._find_all([clear], [detections])
        skeletons = self._certain(clear, found)
        clock.mark("network")

        nothing = LiftedPoses.invalid(len(skeletons), self.config.lifting.modes)
        unused = np.zeros((len(skeletons), KEYPOINT_COUNT))
        persons = _persons(claim_once(skeletons), nothing, unused, metric=False)
        return Estimate(tuple(persons), clock.seconds, rejected=_others(found, skeletons))

    def find_keypoints(
        self, image: np.ndarray, detections: Sequence[Detection]
    ) -> list[Skeleton2D]:
        """2D skeletons of the detections, best first; those with too low a score are dropped.

        Where the keypoints do not fill the detected box, the person is cropped again around the
        keypoints. The second crop's result always wins; keeping the more confident of the two kept
        more false alarms. Where they are partly somebody else's, the others are hidden in the image
        and the crop is looked at again.
        """
        clear = clear_image(image)
        (found,) = self._find_all([clear], [detections])
        return claim_once(self._certain(clear, found))

    def _detect(self, clear: np.ndarray) -> list[Detection]:
        with self._detecting:
            return self.detector.detect(clear)

    def _find_all(
        self, images: Sequence[np.ndarray], detections: Sequence[Sequence[Detection]]
    ) -> list[list[_Answer]]:
        """The skeleton of every detection of each image (without noise), with its score."""
        looks = []
        for number, places in enumerate(detections):
            looks += [_Look(number, images[number], detection) for detection in places]

        found: list[list[_Answer]] = [[] for _ in images]
        for (keypoints, last), look in zip(self._look(looks), looks):
            skeleton = _skeleton_2d(keypoints, last.detection, self.score_person)
            found[look.number].append(_Answer(skeleton, look.detection))

        return found

    def _certain(self, image: np.ndarray, answers: Sequence[_Answer]) -> list[Skeleton2D]:
        """The skeletons of an image without false alarms, each person once, best first.

        Where a skeleton shares more than PARTLY_SHARED of its keypoints with better ones, its place
        is looked at again with those hidden. One that shares more than half is the same person.
        """
        least = self.config.min_person_score
        certain = [answer for answer in answers if answer.skeleton.score >= least]
        kept: list[Skeleton2D] = []
        for skeleton, detection in sorted(certain, key=lambda answer: -seen_of(answer.skeleton)):
            candidates = [skeleton]
            if most_shared(skeleton, kept) > PARTLY_SHARED:
                other = self._look_behind(image, detection, kept)
                if other.score >= least:
                    candidates.insert(0, other)

            kept += [one for one in candidates if most_shared(one, kept) <= 0.5][:1]

        return sorted(kept, key=lambda skeleton: -skeleton.score)

    def _look_behind(
        self, image: np.ndarray, detection: Detection, people: Sequence[Skeleton2D]
    ) -> Skeleton2D:
        """The skeleton of a detection in an image with `people` hidden."""
        from lifting_ros.keypoints.hidden_people import without  # few images show a crowd

        look = _Look(0, without(image, people), detection)
        ((keypoints, last),) = self._look([look])
        return _skeleton_2d(keypoints, last.detection, self.score_person)

    def look(
        self, image: np.ndarray, detections: Sequence[Detection]
    ) -> list[tuple[FoundKeypoints, Detection]]:
        """The keypoints of each detection, and the detection with the box that was cropped last."""
        clear = clear_image(image)
        looks = [_Look(0, clear, detection) for detection in detections]
        return [(found, look.detection) for found, look in self._look(looks)]

    def _look(self, looks: Sequence[_Look]) -> list[tuple[FoundKeypoints, _Look]]:
        """The keypoints of each look, and the look with the box that was cropped last."""
        # First crop
        answers = self._found(looks)

        # Second crop
        least = self.config.second_look
        repeated = []
        second_looks = []
        for index, (found, look) in enumerate(answers):
            if look.detection.followed and least < 1:  # if out of place, detected after all
                continue

            box = _box_of(found, look.detection)
            (overlap,) = overlaps(box, look.detection.box_px[None])
            if overlap < least:
                place = Detection(box, look.detection.score)
                repeated.append(index)
                second_looks.append(look._replace(detection=place))

        second = self._found(second_looks, mirrored=True)
        for index, answer in zip(repeated, second):
            answers[index] = answer

        return answers

    def _found(
        self, looks: Sequence[_Look], mirrored: bool = False
    ) -> list[tuple[FoundKeypoints, _Look]]:
        """The keypoints of the looks, in one batch, each with its look."""
        if not looks:
            return []

        images = [look.image for look in looks]
        boxes = [look.detection.box_px for look in looks]
        found = self.network.find(images, boxes, mirrored)
        answers = []
        for one, look in zip(found, looks):
            size = look.image.shape[1::-1]
            inside = drop_outside(one, size)
            answers.append((self.doubt_border(inside, look.detection.box_px, size), look))

        return answers


class _Look(NamedTuple):
    """One detection, and the image that shows it."""

    number: int
    """Which image of the batch."""
    image: np.ndarray
    detection: Detection


class _Answer(NamedTuple):
    """What was found where a person was looked for."""

    skeleton: Skeleton2D
    detection: Detection


def _of_each(name: str, values: Sequence[T] | None, count: int, default: T) -> Sequence[T]:
    """The values of `count` images; ImageError where there are more or fewer."""
    if values is None:
        return [default] * count
    if len(values) != count:
        raise ImageError(f"{name}: expected {count}, one for each image, got {len(values)}")

    return values


class Clock:
    """Wall time of the steps between marks."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self.restart()

    def restart(self) -> None:
        """Begin the next step now."""
        self._last = time.perf_counter()

    def mark(self, name: str) -> None:
        """Record the time since the last mark as step `name`."""
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now

    def take(self, seconds: Mapping[str, float]) -> None:
        """Add steps since the last mark that were timed elsewhere."""
        self.seconds = self.seconds | dict(seconds)
        self.restart()


class ImageError(LiftingError):
    """Something that is not an image; the text is one line."""


def check_image(image: np.ndarray) -> None:
    """Raise ImageError unless `image` is a non-empty (H, W, 3) uint8 array."""
    expected = "image: expected (H, W, 3) uint8"
    if not isinstance(image, np.ndarray):
        raise ImageError(f"{expected}, got {type(image).__name__}")

    has_channels = image.ndim == 3 and image.shape[2] == 3
    if not has_channels or image.dtype != np.uint8:
        raise ImageError(f"{expected}, got {image.shape} {image.dtype}")

    height, width = image.shape[:2]
    if height == 0 or width == 0:
        raise ImageError(f"image: expected at least one pixel, got {width} x {height}")


def clear_image(image: np.ndarray) -> np.ndarray:
    """The image without the noise of a camera in the dark (`denoise.without_noise`)."""
    from lifting_ros.keypoints.denoise import without_noise  # a KeypointLifter loads no networks

    return without_noise(image)


def drop_outside(found: FoundKeypoints, size: tuple[int, int]) -> FoundKeypoints:
    """The same, with confidence 0 for keypoints outside an image of `size` (w, h).

    The crop extends beyond the image. The network sometimes finds hips just below its border.
    """
    points = found.keypoints_px
    limit = np.array(size) - 0.5
    is_inside = ((points >= -0.5) & (points <= limit)).all(1)
    return dataclasses.replace(found, confidence=np.where(is_inside, found.confidence, 0.0))


def _skeleton_2d(
    found: FoundKeypoints, detection: Detection, score_person: PersonScorer
) -> Skeleton2D:
    """One person's keypoints with their box and the person's score."""
    return Skeleton2D(
        keypoints_px=found.keypoints_px,
        confidence=found.confidence,
        covariance_px2=found.covariance_px2,
        box_px=_box_of(found, detection),
        score=score_person(detection.score, found),
        deep=found.deep,
        local=found.local,
    )


def _others(answers: Sequence[_Answer], kept: Sequence[Skeleton2D]) -> tuple[Skeleton2D, ...]:
    """The skeletons of `answers` that are not among `kept`; nobody will lift them."""
    ids = {id(skeleton) for skeleton in kept}
    others = [answer.skeleton for answer in answers if id(answer.skeleton) not in ids]
    return tuple(dataclasses.replace(skeleton, local=None) for skeleton in others)


def _box_of(found: FoundKeypoints, detection: Detection) -> np.ndarray:
    """Box (4,) around one person's keypoints."""
    return box_of_keypoints(found.keypoints_px, found.confidence, detection.box_px)


def seen_of(skeleton: Skeleton2D) -> float:
    """The expected number of keypoints that the skeleton has in view, 0 for a false alarm."""
    return skeleton.score * float(skeleton.confidence.sum())


def most_shared(skeleton: Skeleton2D, others: Sequence[Skeleton2D]) -> float:
    """The largest share of keypoints that a skeleton has in common with one of the others
    (`shared_keypoints`)."""
    return max((shared_keypoints(skeleton, other) for other in others), default=0.0)


def claim_once(skeletons: Sequence[Skeleton2D]) -> list[Skeleton2D]:
    """The skeletons of an image, with doubt about keypoints that somebody else claims.

    Where the same keypoint of two skeletons lies at one place (CLAIMED_PLACE), the less confident
    one is most likely wrong. Its confidence is multiplied by CLAIMED_CONFIDENCE, and its variance
    grows by the square of CLAIMED_STD.
    """
    claimed = []
    for skeleton in skeletons:
        side = max(skeleton.box_px[2:] - skeleton.box_px[:2])
        doubtful = np.zeros(KEYPOINT_COUNT, bool)
        for other in skeletons:
            gap = np.linalg.norm(skeleton.keypoints_px - other.keypoints_px, axis=-1)
            doubtful |= (gap < CLAIMED_PLACE * side) & (other.confidence > skeleton.confidence)

        factor = np.where(doubtful, CLAIMED_CONFIDENCE, 1.0)
        added = np.where(doubtful, (CLAIMED_STD * side) ** 2, 0.0)
        claimed.append(
            dataclasses.replace(
                skeleton,
                confidence=factor * skeleton.confidence,
                covariance_px2=skeleton.covariance_px2 + added[:, None, None] * np.eye(2),
            )
        )

    return claimed


def shared_keypoints(skeleton: Skeleton2D, other: Skeleton2D) -> float:
    """Share of keypoints, weighted by confidence, that lie near the same keypoint of `other`
    (SAME_PLACE); left and right are not told apart."""
    mirrored = other.keypoints_px[list(KEYPOINT_FLIP)]
    gap = np.linalg.norm(skeleton.keypoints_px - other.keypoints_px, axis=-1)
    mirrored_gap = np.linalg.norm(skeleton.keypoints_px - mirrored, axis=-1)

    side = max(other.box_px[2:] - other.box_px[:2])
    shared = np.minimum(gap, mirrored_gap) < SAME_PLACE * side
    weights = np.maximum(skeleton.confidence, 1e-3)
    return float(np.average(shared, weights=weights))
