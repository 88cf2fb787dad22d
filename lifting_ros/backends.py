# SPDX-License-Identifier: Apache-2.0
"""Detectors and keypoint networks by name; lifters are in `lifting.lifters`.

The name is in the header of the weights file; for files of another format it is their suffix
(`.onnx`). Another backend is one file with a class as in `protocols`, and one entry of a table
here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lifting_ros.io.checkpoint import CheckpointError, load_header, reason
from lifting_ros.runtimes import without_graphs

if TYPE_CHECKING:
    from lifting_ros.detection.detector import DetectorConfig
    from lifting_ros.lifting.depth_cue import DepthCue
    from lifting_ros.lifting.joint_offsets import JointOffsets
    from lifting_ros.lifting.lifter_config import LifterConfig
    from lifting_ros.lifting.pose_correction import PoseCorrection
    from lifting_ros.prior.ppca import MixturePPCA
    from lifting_ros.protocols import BorderDoubter, KeypointNetwork, PersonDetector, PersonScorer
    from lifting_ros.runtimes import Placement

T = TypeVar("T")


def _multipose(path: Path, config: DetectorConfig, placement: Placement) -> PersonDetector:
    if placement.graphs is not None:
        from lifting_ros.detection.graph_detector import load_graph_detector

        return load_graph_detector(path, config, placement.graphs)

    from lifting_ros.detection.multipose_detector import load_detector

    return load_detector(path, config, placement.device)


def _on_trunk(
    path: Path, prior: MixturePPCA, placement: Placement, stages: int, compiled: bool
) -> KeypointNetwork:
    if placement.graphs is not None:
        from lifting_ros.keypoints.graph_runner import load_graph_runner

        return load_graph_runner(path, prior, placement.graphs, stages)

    return _in_torch(path, prior, placement, stages, compiled)


def _paper(
    path: Path, prior: MixturePPCA, placement: Placement, stages: int, compiled: bool
) -> KeypointNetwork:
    if placement.graphs is not None:
        placement = without_graphs(placement, "the network paper")

    return _in_torch(path, prior, placement, stages, compiled)


def _in_torch(
    path: Path, prior: MixturePPCA, placement: Placement, stages: int, compiled: bool
) -> KeypointNetwork:
    import torch

    from lifting_ros.keypoints.inference import load_runner

    return load_runner(path, prior, torch.device(placement.device), stages, compiled)


DETECTORS: dict[str, Callable[..., PersonDetector]] = {"movenet-multipose": _multipose}
"""Called with (path, config, placement)."""

NETWORKS: dict[str, Callable[..., KeypointNetwork]] = {
    "full": _on_trunk,
    "lite": _on_trunk,
    "paper": _paper,
}
"""Called with (path, prior, placement, stages, compiled)."""


def make_detector(path: Path, config: DetectorConfig, placement: Placement) -> PersonDetector:
    """The detector of a weights file; CheckpointError or ConfigError where it cannot be loaded or
    run."""
    load = _choose(DETECTORS, path, ("detector", "network"), "no person detector")
    return load(path, config, placement)


def make_network(
    path: Path, prior: MixturePPCA, placement: Placement, stages: int, compiled: bool
) -> KeypointNetwork:
    """The keypoint network of a weights file; CheckpointError or ConfigError where it cannot be
    loaded or run.

    stages: how many to run, 0: all; compiled: whether to compile it.
    """
    load = _choose(NETWORKS, path, ("network", "variant"), "no network that this version knows")
    return load(path, prior, placement, stages, compiled)


def make_person_score(path: Path) -> PersonScorer:
    """The score of the persons whom the network of a weights file finds.

    CheckpointError for coefficients in the file that cannot be used.
    """
    from lifting_ros.keypoints.person_score import person_score, read_person_score, read_probe

    weights = read_person_score(path)
    probe = read_probe(path) if weights is not None and weights.probe > 0 else None
    return partial(person_score, weights=weights, probe=probe)


def make_depth_cue(path: Path, config: LifterConfig) -> DepthCue | None:
    """What guesses relative depths from the trunk of the network of a weights file; None where the
    file has no such thing.

    CheckpointError for tensors in the file that cannot be used.
    """
    from lifting_ros.lifting.depth_cue import read_depth_cue

    cue = read_depth_cue(path, config)
    if cue is not None:
        cue.warm_up()
    return cue


def make_joint_offsets(path: Path, config: LifterConfig) -> JointOffsets | None:
    """The joint offsets in the weights file of a network; None in a file without them.

    CheckpointError for tensors in the file that cannot be used.
    """
    from lifting_ros.lifting.joint_offsets import read_joint_offsets

    offsets = read_joint_offsets(path, config)
    if offsets is not None:
        offsets.warm_up()
    return offsets


def make_pose_correction(path: Path, prior: MixturePPCA) -> PoseCorrection | None:
    """What corrects the 3D poses of people whom the network of a weights file finds; None in a file
    without it, or with one for another prior.

    CheckpointError for tensors in the file that cannot be used.
    """
    from lifting_ros.lifting.pose_correction import read_pose_correction

    return read_pose_correction(path, prior)


def make_border_doubt(path: Path) -> BorderDoubter:
    """What lowers the confidence in legs at the border, as the network of a weights file needs it.

    CheckpointError for values in the file that cannot be used.
    """
    from lifting_ros.keypoints.border_doubt import doubted, read_border_doubt

    return partial(doubted, doubt=read_border_doubt(path))


def _choose(loaders: Mapping[str, T], path: Path, key: tuple[str, str], missing: str) -> T:
    """The loader of a file, by its suffix or by `key` (section, field) of its header."""
    if path.suffix in loaders:
        return loaders[path.suffix]

    header = load_header(path)
    section, field = key
    try:
        name = header[section][field]
        if name in loaders:
            return loaders[name]
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: holds {missing} ({reason(error)})") from None

    raise CheckpointError(
        f"{path}: holds {missing} (expected one of {', '.join(loaders)}, got {name!r})"
    )
