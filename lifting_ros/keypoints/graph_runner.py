# SPDX-License-Identifier: Apache-2.0
"""Runs a keypoint network without torch: its graphs in another runtime, and the fusion between them
in compiled loops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from lifting_ros.config import ConfigError, from_mapping
from lifting_ros.io.checkpoint import CheckpointError, load_arrays, load_header, reason
from lifting_ros.keypoints import compiled_maps
from lifting_ros.keypoints.compiled_fusion import CompiledFusion
from lifting_ros.keypoints.crop import InCrops, crop_around, cut, in_image_pixels
from lifting_ros.keypoints.local_features import at_keypoints
from lifting_ros.keypoints.network_config import NetworkConfig
from lifting_ros.keypoints.person_score import ends_of
from lifting_ros.skeleton import KEYPOINT_FLIP
from lifting_ros.types import FoundKeypoints

if TYPE_CHECKING:
    from lifting_ros.prior.ppca import MixturePPCA
    from lifting_ros.protocols import Graph, GraphRuntime

OPENING = "opening"
PRESENCE = "presence"
_LastStage = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]
FUSION_WEIGHT = "fusion.weight_logit"
"""Name of the fusion's weights in a weights file."""


def stage_name(number: int) -> str:
    """Name of the graph of a stage; the first one is part of the opening."""
    return f"stage_{number}"


def load_graph_runner(
    path: Path, prior: MixturePPCA, runtime: GraphRuntime, stages: int = 0
) -> GraphRunner:
    """The network of a weights file, ready to run.

    stages: how many to run, 0: all. CheckpointError where the file cannot be used; ConfigError
    where it has fewer stages, or the runtime cannot run it.
    """
    header = load_header(path)
    try:
        config = from_mapping(NetworkConfig, header["network"])
    except (KeyError, ConfigError) as error:
        raise CheckpointError(
            f"{path}: holds no network that this version knows ({reason(error)})"
        ) from None

    if stages > config.stages:
        raise ConfigError(f"stages: expected 0 to {config.stages} with {path.name}, got {stages}")

    count = stages or config.stages
    names = [OPENING, *map(stage_name, range(2, count + 1)), PRESENCE]
    graphs = runtime.load(path, "network", names)

    fusion = None
    if config.fusion:
        logits = load_arrays(path, [FUSION_WEIGHT])[FUSION_WEIGHT].astype(np.float64)
        fusion = CompiledFusion(config, prior, expit(logits))

    runner = GraphRunner(config, graphs, fusion)
    runner.warm_up()
    return runner


class GraphRunner:
    """Runs graphs of a network on batches of crops."""

    def __init__(
        self, config: NetworkConfig, graphs: Sequence[Graph], fusion: CompiledFusion | None
    ):
        """graphs: the opening, the later stages, the presence; fusion: None for a network that has
        none."""
        self.config = config
        self._opening, *self._stages, self._presence = graphs
        self._fusion = fusion

    def warm_up(self) -> None:
        """Compile the loops now, so that the first person does not wait."""
        side = self.config.input_px
        self.find([np.zeros((side, side, 3), np.uint8)], [np.array([0.0, 0.0, side, side])])

    def find(
        self,
        images: Sequence[np.ndarray],
        boxes_px: Sequence[np.ndarray],
        mirrored: bool = False,
    ) -> list[FoundKeypoints]:
        """See `protocols.KeypointNetwork`."""
        areas = [crop_around(box, self.config.input_px) for box in boxes_px]
        crops = np.stack([cut(image, area) for image, area in zip(images, areas)])
        maps, logits, highest, deep, layer = self.last(crops, mirrored)

        presence = expit(logits.astype(np.float64))
        ends = ends_of(highest.astype(np.float64), mirrored)
        points, confidence, covariance = compiled_maps.keypoints(maps, presence, self.config)
        local = None
        if layer is not None:
            local = at_keypoints(layer, points, self.config.input_px)
        in_crops = InCrops(points, confidence, covariance, presence, ends, deep, local)
        return in_image_pixels(areas, in_crops)

    def last(self, crops: np.ndarray, mirrored: bool = False) -> _LastStage:
        """The last stage's fused maps (N, 14, h, w), the presence logits (N, 14), the largest value
        (N, 17) of each of the trunk's maps, and its last layer, averaged over the crop (N, c) and
        not (N, c, h/8, w/8).

        crops: (N, S, S, 3) uint8 RGB; mirrored: maps, logits and last layer are the mean of the
        results of each crop and of its mirror image, and the largest values (2 N, 17) are those of
        both. The last layer that is not averaged is None in graphs that were exported without it.
        """
        if not mirrored:
            return self._run(crops)

        flipped = crops[:, :, ::-1]
        both = np.concatenate([crops, flipped])
        maps, presence, highest, deep, layer = self._run(both)

        # Mean of each crop and its mirror image
        count = len(crops)
        order = list(KEYPOINT_FLIP)
        mirrored_maps = maps[count:, order, :, ::-1]
        mirrored_presence = presence[count:, order]
        mean_maps = (maps[:count] + mirrored_maps) / 2
        mean_presence = (presence[:count] + mirrored_presence) / 2
        mean_deep = (deep[:count] + deep[count:]) / 2
        mean_layer = None
        if layer is not None:
            mean_layer = (layer[:count] + layer[count:, :, :, ::-1]) / 2
        return mean_maps, mean_presence, highest, mean_deep, mean_layer

    def _run(self, crops: np.ndarray) -> _LastStage:
        logits, features, deep, heat, *rest = self._opening(crops)
        highest = heat.max((2, 3))  # now, as outputs are valid until the next call
        mean_layer = deep.copy()
        layer = rest[0].copy() if rest else None
        fused = self._fuse(logits, 0)
        for index, stage in enumerate(self._stages, start=1):
            (logits,) = stage(features, fused)
            fused = self._fuse(logits, index)

        (presence,) = self._presence(deep, heat, fused)
        return fused, presence, highest, mean_layer, layer

    def _fuse(self, logits: np.ndarray, stage: int) -> np.ndarray:
        belief = compiled_maps.softmax(logits)
        if self._fusion is None:
            return belief

        return self._fusion(belief, stage)
