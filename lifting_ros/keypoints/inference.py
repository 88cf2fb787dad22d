# SPDX-License-Identifier: Apache-2.0
"""The trained network as it is run: batch norm folded into the convolutions, weights in the
precision that the device is good at."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lifting_ros.config import ConfigError
from lifting_ros.device import has_fast_bf16
from lifting_ros.io.checkpoint import reason
from lifting_ros.keypoints import belief_maps
from lifting_ros.keypoints.network import MultistageNetwork, NetworkOutput
from lifting_ros.skeleton import KEYPOINT_FLIP

M = TypeVar("M", bound=nn.Module)

COMPILED_BATCHES = (1, 2, 4)
"""Numbers of crops that a compiled network is made for: others are filled up, more than the last
are run in parts."""


class NetworkRunner:
    """Crops in, the network's answer out: one batch for all, in evaluation mode and without
    gradients.

    The network given is not changed. `stages`: how many to run, 0 for all (ValueError for more than
    there are). `compiled`: through torch.compile, on CUDA as CUDA graphs; making the code takes
    most of a minute, here and not at the first image. ConfigError where that fails, as without a
    compiler.
    """

    def __init__(
        self,
        network: MultistageNetwork,
        device: torch.device,
        stages: int = 0,
        compiled: bool = False,
    ):
        if not 0 <= stages <= len(network.stages):
            raise ValueError(f"stages: expected 0 to {len(network.stages)}, got {stages}")
        self.config, self.device, self.stages, self.compiled = (
            network.config,
            device,
            stages or None,
            compiled,
        )
        self.dtype = torch.bfloat16 if has_fast_bf16(device) else torch.float32
        network = folded(network).to(device=device, memory_format=torch.channels_last)
        for part in (
            network.features,
            network.stages,
            network.presence,
        ):  # the prior's algebra stays float32
            if part is not None:
                part.to(self.dtype)
        self._network = network
        if compiled:
            try:
                self._compile()
            except (
                RuntimeError
            ) as error:  # what torch's compiler raises, and what it says of a Python too new for it
                raise ConfigError(
                    f"compile: the network cannot be compiled here ({reason(error)})"
                ) from None

    def _compile(self) -> None:
        self._network = torch.compile(
            self._network, mode="reduce-overhead" if self.device.type == "cuda" else None
        )
        for batch in COMPILED_BATCHES:
            self(torch.zeros(batch, 3, self.config.input_px, self.config.input_px))

    def __call__(self, crops: Tensor) -> NetworkOutput:
        """crops: (N, 3, S, S) float RGB in [0, 1] on any device, N at least 1."""
        if not self.compiled:
            return self._run(crops)
        parts = []
        for part in crops.split(COMPILED_BATCHES[-1]):
            size = next(b for b in COMPILED_BATCHES if b >= len(part))
            filled = torch.cat([part, part[:1].expand(size - len(part), -1, -1, -1)])
            parts.append(_rows(self._run(filled), len(part)))
        return _joined(parts)

    def last(self, crops: Tensor, mirrored: bool = False) -> tuple[Tensor, Tensor | None]:
        """The last stage's fused maps (N, 14, h, w) and the presence logits (N, 14) of crops, or
        their means over each crop and its mirror image."""
        output = self(torch.cat([crops, crops.flip(-1)]) if mirrored else crops)
        maps, presence = output.stages[-1].fused, output.presence
        if mirrored:
            maps = (maps[: len(crops)] + belief_maps.mirrored(maps[len(crops) :])) / 2
            presence = (
                None
                if presence is None
                else (presence[: len(crops)] + presence[len(crops) :, list(KEYPOINT_FLIP)]) / 2
            )
        return maps, presence

    def _run(self, crops: Tensor) -> NetworkOutput:
        crops = crops.to(device=self.device, dtype=self.dtype).contiguous(
            memory_format=torch.channels_last
        )
        with torch.inference_mode():
            return self._network(crops, self.stages)


def folded(network: M) -> M:
    """A copy in evaluation mode whose batch norms are part of the convolutions before them."""
    network = copy.deepcopy(network).eval()
    for module in [m for m in network.modules() if isinstance(m, nn.Sequential)]:
        for index in range(len(module) - 1, 0, -1):
            if isinstance(module[index], nn.BatchNorm2d) and isinstance(
                module[index - 1], nn.Conv2d
            ):
                module[index - 1] = fuse_conv_bn_eval(module[index - 1], module[index])
                del module[index]
    return network


def _rows(output: NetworkOutput, count: int) -> NetworkOutput:
    """The first `count` of every tensor, copied: a CUDA graph writes its next answer into the same
    memory."""

    def cut(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor[:count].clone()

    return NetworkOutput(
        [type(s)(*map(cut, s)) for s in output.stages], cut(output.presence), cut(output.trunk)
    )


def _joined(parts: list[NetworkOutput]) -> NetworkOutput:
    """Parts of a batch as one."""

    def join(tensors) -> Tensor | None:
        return None if tensors[0] is None else torch.cat(tensors)

    stages = [type(group[0])(*map(join, zip(*group))) for group in zip(*(p.stages for p in parts))]
    return NetworkOutput(stages, join([p.presence for p in parts]), join([p.trunk for p in parts]))
