# SPDX-License-Identifier: Apache-2.0
"""The person detector that ships: NanoDet on the whole image, its aspect kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lifting_ros.detection.detector import DetectorConfig, keypoint_boxes, suppress
from lifting_ros.detection.nanodet import STRIDES, NanoDet
from lifting_ros.device import has_fast_bf16, lay_out_channels_last
from lifting_ros.io.checkpoint import CheckpointError, load_tensors, reason, save_tensors
from lifting_ros.types import Detection

NETWORK = "nanodet-g"
"""Name of the network in the header of its weights file."""

_MULTIPLE = 32
"""The sides of the network's input are multiples of this."""

_PADDING = 128
"""Grey value right of the image and below it."""


class Detector:
    """Finds persons in images.

    The network is moved to the device and to the precision that the device is fast at.
    """

    def __init__(
        self, network: nn.Module, config: DetectorConfig, device: torch.device | str = "cpu"
    ):
        """network: as NanoDet, from an image (1, 3, h, w) in [0, 1] RGB to the logits (1, h, w) and
        side distances (1, 4, h, w) px of every level."""
        self.config = config
        self.device = torch.device(device)
        self.dtype = torch.bfloat16 if has_fast_bf16(self.device) else torch.float32
        self.network = network.eval().to(device=self.device, dtype=self.dtype)
        lay_out_channels_last(self.network)

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Persons in an (H, W, 3) uint8 RGB image, best first; boxes around their keypoints, image
        pixels."""
        tensor, scale = self._network_input(image)
        with torch.inference_mode():
            levels = self.network(tensor)

        # Boxes in image pixels
        boxes, scores = self._candidates(levels)
        boxes = (boxes + 0.5) / scale - 0.5
        boxes = keypoint_boxes(boxes, image.shape[1::-1])

        # Persons large enough, each once
        sides = boxes[:, 2:] - boxes[:, :2]
        longer_side = sides.max(-1, initial=0)
        large = longer_side >= self.config.min_side_px
        boxes = boxes[large]
        scores = scores[large]
        kept = suppress(boxes, scores, self.config.overlap)

        if self.config.max_persons:
            kept = kept[: self.config.max_persons]

        detections = []
        for index in kept:
            detection = Detection(
                box_px=boxes[index],
                score=float(scores[index]),
            )
            detections.append(detection)

        return detections

    def _network_input(self, image: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """Network input (1, 3, h, w), and the scale (4,) from image pixels to input pixels.

        The input is padded with grey, right of the image and below it.
        """
        height, width = image.shape[:2]
        factor = self.config.long_side_px / max(height, width)
        h = max(1, round(height * factor))
        w = max(1, round(width * factor))

        # torch warns of arrays that it cannot write to
        writable = np.require(image, requirements=["C", "W"])
        tensor = torch.from_numpy(writable).permute(2, 0, 1)[None]  # (1, 3, H, W)
        small = nn.functional.interpolate(tensor, (h, w), mode="bilinear", antialias=True)

        padded_size = (_next_multiple(h), _next_multiple(w))
        padded = torch.full((1, 3, *padded_size), _PADDING, dtype=torch.uint8)
        padded[..., :h, :w] = small

        tensor = padded.to(self.device, self.dtype).div_(255)
        tensor = tensor.contiguous(memory_format=torch.channels_last)
        return tensor, np.array([w / width, h / height] * 2)

    def _candidates(self, levels: list[tuple[Tensor, Tensor]]) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4) in input pixels, and scores (N,), of all cells that reach the minimum
        score."""
        boxes = []
        scores = []
        for (logits, sides), stride in zip(levels, STRIDES):
            score = logits[0].float().sigmoid()
            row, column = torch.where(score >= self.config.score)
            centre = torch.stack([column, row], -1) * stride + (stride - 1) / 2  # (n, 2)
            distance = sides[0].float()[:, row, column].T  # (n, 4)

            low = centre - distance[:, :2]
            high = centre + distance[:, 2:]
            boxes.append(torch.cat([low, high], 1))
            scores.append(score[row, column])

        return _to_numpy(boxes), _to_numpy(scores)


def _to_numpy(parts: list[Tensor]) -> np.ndarray:
    joined = torch.cat(parts)
    return joined.double().cpu().numpy()


def _next_multiple(side: int) -> int:
    return -(-side // _MULTIPLE) * _MULTIPLE


def save_detector(path: str | Path, network: NanoDet, card: dict) -> None:
    """Write detector weights as fp16 with a short card (origin, licence)."""
    half = {}
    for name, tensor in network.state_dict().items():
        half[name] = tensor.half()

    header = {
        "detector": {"network": NETWORK},
        "card": card,
    }
    save_tensors(path, half, header)


def load_detector(
    path: str | Path, config: DetectorConfig, device: torch.device | str = "cpu"
) -> Detector:
    """Read detector weights; CheckpointError where the file is missing, corrupt or of another
    network."""
    tensors, header = load_tensors(path)
    try:
        name = header["detector"]["network"]
        if name != NETWORK:
            raise ValueError(f"expected {NETWORK}, got {name!r}")

        network = NanoDet()
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: holds no person detector ({reason(error)})") from None

    return Detector(network.float(), config, device)
