# SPDX-License-Identifier: Apache-2.0
"""Detectors and keypoint networks by name; lifters are in `lifting.lifters`.

The name is in the header of the weights file; for files of another format it is their suffix
(`.onnx`). Another backend is one file with a class as in `protocols`, and one entry of a table
here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lifting_ros.io.checkpoint import CheckpointError, load_header, reason

if TYPE_CHECKING:
    import torch

    from lifting_ros.detection.detector import DetectorConfig
    from lifting_ros.prior.ppca import MixturePPCA
    from lifting_ros.protocols import KeypointNetwork, PersonDetector

T = TypeVar("T")


def _multipose(path: Path, config: DetectorConfig, device: torch.device) -> PersonDetector:
    from lifting_ros.detection.multipose_detector import load_detector

    return load_detector(path, config, device)


def _multistage(
    path: Path, prior: MixturePPCA, device: torch.device, stages: int, compiled: bool
) -> KeypointNetwork:
    from lifting_ros.keypoints.inference import load_runner

    return load_runner(path, prior, device, stages, compiled)


DETECTORS: dict[str, Callable[..., PersonDetector]] = {"movenet-multipose": _multipose}
"""Called with (path, config, device)."""

NETWORKS: dict[str, Callable[..., KeypointNetwork]] = {
    "full": _multistage,
    "lite": _multistage,
    "paper": _multistage,
}
"""Called with (path, prior, device, stages, compiled)."""


def make_detector(path: Path, config: DetectorConfig, device: torch.device) -> PersonDetector:
    """The detector of a weights file; CheckpointError where it cannot be loaded."""
    load = _choose(DETECTORS, path, ("detector", "network"), "no person detector")
    return load(path, config, device)


def make_network(
    path: Path, prior: MixturePPCA, device: torch.device, stages: int, compiled: bool
) -> KeypointNetwork:
    """The keypoint network of a weights file; CheckpointError or ConfigError where it cannot be
    loaded or run.

    stages: how many to run, 0: all; compiled: whether to compile it.
    """
    load = _choose(NETWORKS, path, ("network", "variant"), "no network that this version knows")
    return load(path, prior, device, stages, compiled)


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
