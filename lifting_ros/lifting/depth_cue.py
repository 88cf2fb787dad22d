# SPDX-License-Identifier: Apache-2.0
"""The depth cue: how far a person's joints are before or behind each other, guessed from the image.

Keypoints alone do not say whether an arm reaches forward or back; the picture of it does. A small
network reads the keypoints (`encoding`) and the last layer of the keypoint network's trunk at each
of them. It guesses the relative depth of each keypoint's joint and how sure it is. The lifter takes
the guesses as measurements (`depth_fusion`), so that the prior completes and corrects them.

Some weights files have a cue that reads the mean of that layer over the crop instead. The shape of
its tensors tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lifting_ros.geometry.camera import Camera
from lifting_ros.lifting.dense import layer_shapes, layers_of, linear, read_tensors
from lifting_ros.lifting.encoding import INPUTS, encode_somebody, encode_views, views_of
from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.lifting.observation import NONE
from lifting_ros.lifting.request import Keypoints
from lifting_ros.skeleton import KEYPOINT_COUNT
from lifting_ros.types import Skeleton2D

HEADER = "depth_cue"
"""Name of the cue in the header of a network's weights file."""

PREFIX = "depth_cue."
"""Beginning of the names of its tensors there."""

LAYERS = ("keypoints", "deep", "middle", "out")
"""Its linear layers: of the two inputs, of both together, and the last one. That of the trunk is
the same for all keypoints."""

NAMES = (
    *(f"{layer}.{kind}" for layer in LAYERS for kind in ("weight", "bias")),
    "mean",
    "std",
)
"""Names of its tensors, without PREFIX; mean and std (c,) are those of the trunk's last layer."""

MOST_UNUSUAL = 3.0
"""Bound on the trunk's last layer, in standard deviations (std) of the training pictures."""


class DepthCue:
    """Guesses relative depths. Thread-safe."""

    def __init__(self, tensors: Mapping[str, np.ndarray], config: LifterConfig | None = None):
        """tensors: by NAMES, float32; config: the noise of keypoints without a covariance."""
        self._layers = layers_of(tensors, LAYERS)
        self._mean = tensors["mean"]
        self._std = tensors["std"]
        self._config = config or LifterConfig()
        self._is_local = _is_local(tensors)

    def warm_up(self) -> None:
        """Compile in advance what the first call would wait for."""
        channels = len(self._mean)
        shape = (1, KEYPOINT_COUNT, channels) if self._is_local else (1, channels)
        self.of_encoded(encode_somebody(), np.zeros(shape, np.float32))

    def layer_of(self, skeleton: Skeleton2D) -> np.ndarray | None:
        """What `guess` reads of a person: the trunk's last layer (14, c) at the keypoints, or its
        mean (c,) over the crop; None where the network does not tell."""
        return skeleton.local if self._is_local else skeleton.deep

    def guess(
        self,
        seen: Keypoints,
        layers: Sequence[np.ndarray | None],
        camera: Camera | None,
        up: Sequence[float] | np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """z and its variance, (N, 14) each, as `request.Depths` has them.

        layers: `layer_of` each person; camera, up: as in `Lifter.lift`. z and variance are inf for
        persons without a layer, and for those who cannot be lifted.
        """
        count = len(seen.keypoints_px)
        views = views_of(seen, camera, up, self._config)
        z = np.full((count, KEYPOINT_COUNT), np.inf)
        variance = np.full((count, KEYPOINT_COUNT), np.inf)
        is_liftable = views.level != NONE
        known = {n: one for n, one in enumerate(layers) if one is not None and is_liftable[n]}
        if known:
            rows = list(known)
            encoded = encode_views(views, camera is not None)[rows]
            z[rows], variance[rows] = self.of_encoded(encoded, np.stack(list(known.values())))

        return z, variance

    def of_encoded(self, encoded: np.ndarray, layer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """z and its variance, (N, 14) each, of encoded keypoints (N, 44) and the trunk's last
        layer, (N, 14, c) or (N, c) as in `layer_of`."""
        usual = (layer - self._mean) / self._std
        bounded = np.clip(usual, -MOST_UNUSUAL, MOST_UNUSUAL).astype(np.float32)
        of_trunk = np.maximum(self._layer("deep", bounded), 0)
        both = [
            np.maximum(self._layer("keypoints", encoded), 0),
            of_trunk.reshape(len(encoded), -1),
        ]
        middle = np.maximum(self._layer("middle", np.concatenate(both, 1)), 0)
        z, log_std = np.split(self._layer("out", middle).astype(np.float64), 2, axis=1)

        return z - z.mean(1, keepdims=True), np.exp(2 * log_std)

    def _layer(self, name: str, values: np.ndarray) -> np.ndarray:
        return linear(values, self._layers[name])


def read_depth_cue(path: str | Path, config: LifterConfig | None = None) -> DepthCue | None:
    """The cue in a network's weights file; None in a file without one, or of another format.

    CheckpointError in one line for tensors that are missing, do not fit each other or are not
    numbers.
    """
    tensors = read_tensors(path, HEADER, NAMES, _shapes)
    return None if tensors is None else DepthCue(tensors, config)


def _is_local(tensors: Mapping[str, np.ndarray]) -> bool:
    """Whether the cue reads the trunk's last layer at the keypoints, and not its mean: the layer of
    both together reads the units of all keypoints then."""
    first, deep = (len(tensors[f"{name}.weight"]) for name in LAYERS[:2])
    return tensors["middle.weight"].shape[-1] == first + KEYPOINT_COUNT * deep


def _shapes(tensors: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """The shape that each tensor should have, given the lengths of the layers."""
    first, deep, middle = (len(tensors[f"{name}.weight"]) for name in LAYERS[:3])
    channels = tensors["mean"].size
    of_trunk = KEYPOINT_COUNT * deep if _is_local(tensors) else deep
    sides = {
        "keypoints": (first, INPUTS),
        "deep": (deep, channels),
        "middle": (middle, first + of_trunk),
        "out": (2 * KEYPOINT_COUNT, middle),
    }
    return layer_shapes(sides) | {"mean": (channels,), "std": (channels,)}
