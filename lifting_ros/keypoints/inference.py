# SPDX-License-Identifier: Apache-2.0
"""Runs a trained network: batch norms folded into the convolutions, weights in the precision that
the device is fast at."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lifting_ros.config import ConfigError
from lifting_ros.device import has_fast_bf16, lay_out_channels_last
from lifting_ros.io.checkpoint import reason
from lifting_ros.keypoints import belief_maps
from lifting_ros.keypoints.crop import InCrops, crop_around, cut, in_image_pixels
from lifting_ros.keypoints.local_features import at_keypoints
from lifting_ros.keypoints.network import MultistageNetwork, NetworkOutput, StageOutput
from lifting_ros.keypoints.network_weights import load_network
from lifting_ros.keypoints.person_score import ends_of
from lifting_ros.skeleton import KEYPOINT_FLIP
from lifting_ros.types import FoundKeypoints

if TYPE_CHECKING:
    from lifting_ros.prior.ppca import MixturePPCA

M = TypeVar("M", bound=nn.Module)

COMPILED_BATCHES = (1, 2, 4)
"""Batch sizes that a compiled network is made for. Others are padded to the next of these; batches
larger than the last are split."""


def load_runner(
    path: Path, prior: MixturePPCA, device: torch.device, stages: int = 0, compiled: bool = False
) -> NetworkRunner:
    """The network of a weights file, ready to run.

    CheckpointError where the file cannot be used; ConfigError where it has fewer than `stages`
    stages, or cannot be compiled.
    """
    network = load_network(path, prior)
    available = network.config.stages
    if stages > available:
        raise ConfigError(f"stages: expected 0 to {available} with {path.name}, got {stages}")

    return NetworkRunner(network, device, stages, compiled)


class NetworkRunner:
    """Runs a network on batches of crops, in evaluation mode and without gradients."""

    def __init__(
        self,
        network: MultistageNetwork,
        device: torch.device,
        stages: int = 0,
        compiled: bool = False,
    ):
        """network: copied, not changed; stages: how many to run, 0: all; compiled: run through
        torch.compile, on CUDA as CUDA graphs; compiling takes most of a minute.

        ValueError for more stages than there are. ConfigError where the network cannot be compiled,
        for example without a C++ compiler.
        """
        if not 0 <= stages <= len(network.stages):
            raise ValueError(f"stages: expected 0 to {len(network.stages)}, got {stages}")

        self.config = network.config
        self.device = device
        self.stages = stages or None
        self.compiled = compiled
        self.dtype = torch.bfloat16 if has_fast_bf16(device) else torch.float32
        self._network: Callable[..., NetworkOutput] = self._prepare(network)

        if compiled:
            try:
                self._compile()
            except RuntimeError as error:  # any failure of torch's compiler
                raise ConfigError(
                    f"compile: the network cannot be compiled here ({reason(error)})"
                ) from None

    def _prepare(self, network: MultistageNetwork) -> MultistageNetwork:
        """A folded copy on the device; the prior's algebra stays in float32."""
        network = folded(network)
        lay_out_channels_last(network.to(self.device))
        for part in (
            network.features,
            network.stages,
            network.presence,
        ):
            if part is not None:
                part.to(self.dtype)

        return network

    def _compile(self) -> None:
        mode = None
        if self.device.type == "cuda":
            mode = "reduce-overhead"
        self._network = torch.compile(self._network, mode=mode)

        side = self.config.input_px
        for batch in COMPILED_BATCHES:
            self(torch.zeros(batch, 3, side, side))

    def __call__(self, crops: Tensor) -> NetworkOutput:
        """crops: (N, 3, S, S) float RGB in [0, 1] on any device, N at least 1."""
        if not self.compiled:
            return self._run(crops)

        parts = []
        for part in crops.split(COMPILED_BATCHES[-1]):
            count = len(part)
            size = next(batch for batch in COMPILED_BATCHES if batch >= count)
            padding = part[:1].expand(size - count, -1, -1, -1)
            output = self._run(torch.cat([part, padding]))
            parts.append(_first_rows(output, count))

        return _concatenate(parts)

    def find(
        self,
        images: Sequence[np.ndarray],
        boxes_px: Sequence[np.ndarray],
        mirrored: bool = False,
    ) -> list[FoundKeypoints]:
        """See `protocols.KeypointNetwork`."""
        # Network
        areas = [crop_around(box, self.config.input_px) for box in boxes_px]
        crops = np.stack([cut(image, area) for image, area in zip(images, areas)])
        maps, logits, highest, deep, layer = self.last(to_input(crops), mirrored)

        # Keypoints in crop pixels
        points, confidence, covariance = belief_maps.keypoints(maps, logits, self.config)
        presence = confidence if logits is None else logits.float().sigmoid()  # (N, 14)

        # What tells a person from clothes
        ends = np.full(len(crops), np.nan)
        if highest is not None:
            ends = ends_of(_to_numpy(highest), mirrored)

        # The trunk's last layer there
        local = None
        if layer is not None:
            layer_values = layer.float().cpu().numpy()
            local = at_keypoints(layer_values, _to_numpy(points), self.config.input_px)

        in_crops = InCrops(
            _to_numpy(points),
            _to_numpy(confidence),
            _to_numpy(covariance),
            _to_numpy(presence),
            ends,
            None if deep is None else _to_numpy(deep),
            local,
        )
        return in_image_pixels(areas, in_crops)

    def last(
        self, crops: Tensor, mirrored: bool = False
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """The last stage's fused maps (N, 14, h, w), the presence logits (N, 14) if the variant has
        them; if there is a trunk, the largest value (N, 17) of each of its maps, and its last
        layer, averaged over the crop (N, c) and not (N, c, h/8, w/8).

        mirrored: maps, logits and last layer are the mean of the results of each crop and of its
        mirror image, and the largest values (2 N, 17) are those of both.
        """
        if mirrored:
            batch = torch.cat([crops, crops.flip(-1)])
        else:
            batch = crops

        output = self(batch)
        maps = output.stages[-1].fused
        presence = output.presence
        if not mirrored:
            return maps, presence, output.highest, output.deep, output.last_layer

        # Mean of each crop and its mirror image
        count = len(crops)
        mirrored_maps = belief_maps.mirrored(maps[count:])
        maps = (maps[:count] + mirrored_maps) / 2
        if presence is not None:
            mirrored_presence = presence[count:, list(KEYPOINT_FLIP)]
            presence = (presence[:count] + mirrored_presence) / 2

        deep = output.deep
        if deep is not None:
            deep = (deep[:count] + deep[count:]) / 2

        layer = output.last_layer
        if layer is not None:
            layer = (layer[:count] + layer[count:].flip(-1)) / 2

        return maps, presence, output.highest, deep, layer

    def _run(self, crops: Tensor) -> NetworkOutput:
        crops = crops.to(self.device, self.dtype)
        crops = crops.contiguous(memory_format=torch.channels_last)

        with torch.inference_mode():
            return self._network(crops, self.stages)


def to_input(crops: np.ndarray) -> Tensor:
    """Crops (N, S, S, 3) uint8 as the network takes them: (N, 3, S, S) float in [0, 1]."""
    images = torch.from_numpy(crops)
    planes = images.permute(0, 3, 1, 2)
    return planes.float() / 255


def folded(network: M) -> M:
    """A copy in evaluation mode whose batch norms are part of the convolutions before them."""
    network = copy.deepcopy(network).eval()
    sequences = [module for module in network.modules() if isinstance(module, nn.Sequential)]
    for layers in sequences:
        for index in range(len(layers) - 1, 0, -1):
            norm = layers[index]
            convolution = layers[index - 1]
            if not isinstance(norm, nn.BatchNorm2d):
                continue
            if not isinstance(convolution, nn.Conv2d):
                continue

            layers[index - 1] = fuse_conv_bn_eval(convolution, norm)
            del layers[index]

    return network


def _to_numpy(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()


def _first_rows(output: NetworkOutput, count: int) -> NetworkOutput:
    """The first `count` rows of every tensor, copied: a CUDA graph writes its next output into the
    same memory."""

    def first(tensor: Tensor) -> Tensor:
        return tensor[:count].clone()

    def first_if_any(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else first(tensor)

    stages = []
    for stage in output.stages:
        rows = StageOutput(
            raw=first(stage.raw),
            belief=first(stage.belief),
            projected=first_if_any(stage.projected),
            fused=first(stage.fused),
        )
        stages.append(rows)

    return NetworkOutput(
        stages=stages,
        presence=first_if_any(output.presence),
        trunk=first_if_any(output.trunk),
        highest=first_if_any(output.highest),
        deep=first_if_any(output.deep),
        last_layer=first_if_any(output.last_layer),
    )


def _concatenate(parts: list[NetworkOutput]) -> NetworkOutput:
    """Parts of a batch as one."""

    def join_if_any(tensors: Sequence[Tensor | None]) -> Tensor | None:
        known = [tensor for tensor in tensors if tensor is not None]
        if not known:
            return None

        return torch.cat(known)

    stages = []
    for same_stage in zip(*(part.stages for part in parts)):
        joined = StageOutput(
            raw=torch.cat([stage.raw for stage in same_stage]),
            belief=torch.cat([stage.belief for stage in same_stage]),
            projected=join_if_any([stage.projected for stage in same_stage]),
            fused=torch.cat([stage.fused for stage in same_stage]),
        )
        stages.append(joined)

    return NetworkOutput(
        stages=stages,
        presence=join_if_any([part.presence for part in parts]),
        trunk=join_if_any([part.trunk for part in parts]),
        highest=join_if_any([part.highest for part in parts]),
        deep=join_if_any([part.deep for part in parts]),
        last_layer=join_if_any([part.last_layer for part in parts]),
    )
