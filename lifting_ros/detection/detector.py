# SPDX-License-Identifier: Apache-2.0
"""The person detector: boxes around the keypoints of every person in an image, none included; the
image's aspect is kept.

The network marks persons with their clothes; the crop of the pose network is made from the tight
box of the keypoints. KEYPOINT_INSET leads from one to the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lifting_ros.detection.nanodet import STRIDES, NanoDet
from lifting_ros.device import has_fast_bf16
from lifting_ros.io.checkpoint import CheckpointError, load_tensors, reason, save_tensors
from lifting_ros.types import Detection

NETWORK = "nanodet-g"
"""What the header of a weights file says of its network."""

KEYPOINT_INSET = (0.09, 0.03, 0.09, 0.06)
"""How far the sides of the keypoints' box lie inside the person's, left, top, right, bottom,
divided by the person's width or height."""

_MULTIPLE = 32
_PADDING = 128


@dataclass(frozen=True)
class DetectorConfig:
    """Parameters of the person detector."""

    weights: str = field(
        default="",
        metadata={"description": "detector weights (.safetensors); empty: those that ship"},
    )
    score: float = field(
        default=0.15,
        metadata={"description": "least score of a person", "range": (0.0, 1.0), "live": True},
    )
    long_side_px: int = field(
        default=416,
        metadata={
            "description": "long side of the image that the detector sees",
            "unit": "px",
            "range": (64, 2048),
            "live": True,
        },
    )
    max_persons: int = field(
        default=0,
        metadata={
            "description": "most persons an image, best first; 0: no limit",
            "range": (0, 1000),
            "live": True,
        },
    )
    overlap: float = field(
        default=0.6,
        metadata={
            "description": "boxes that overlap more (IoU) are one person",
            "range": (0.0, 1.0),
            "live": True,
        },
    )
    min_side_px: float = field(
        default=16.0,
        metadata={
            "description": "least longer side of a person's box",
            "unit": "px",
            "range": (0.0, 1e4),
            "live": True,
        },
    )


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of one box (4,) with boxes (N, 4)."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1) + (box[2:] - box[:2]).prod()
    return shared / np.maximum(area - shared, 1e-9)


def suppress(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> list[int]:
    """Indices of the boxes kept, best first: none overlaps a better one by more than `overlap`."""
    left, kept = list(np.argsort(-scores, kind="stable")), []
    while left:
        best = left.pop(0)
        kept.append(int(best))
        if left:
            close = overlaps(boxes[best], boxes[left]) > overlap
            left = [index for index, drop in zip(left, close) if not drop]
    return kept


def keypoint_boxes(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boxes (N, 4) of persons in a picture of `size` (w, h) to the boxes of their keypoints.

    A side at the picture's border stays there: the person goes on behind it.
    """
    limit = np.array([*size, *size]) - 1.0
    boxes = np.clip(boxes, 0, limit)
    extent = np.tile(boxes[:, 2:] - boxes[:, :2], 2)  # (N, 4)
    inwards = np.array([1, 1, -1, -1]) * KEYPOINT_INSET * extent
    at_border = np.concatenate([boxes[:, :2] < 1.5, boxes[:, 2:] > limit[2:] - 1.5], 1)
    return np.where(at_border, boxes, boxes + inwards)


class Detector:
    """Image to person boxes. The network is moved to the device and to the precision that it is
    good at."""

    def __init__(
        self, network: nn.Module, config: DetectorConfig, device: torch.device | str = "cpu"
    ):
        """network: (1, 3, h, w) in [0, 1] RGB to logits (1, h, w) and distances (1, 4, h, w) px of
        the sides by level, as NanoDet."""
        self.config, self.device = config, torch.device(device)
        self.dtype = torch.bfloat16 if has_fast_bf16(self.device) else torch.float32
        self.network = network.eval().to(
            device=self.device, dtype=self.dtype, memory_format=torch.channels_last
        )

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Persons in an (H, W, 3) uint8 RGB image, best first; boxes around their keypoints in
        image pixels."""
        tensor, scale = self._resize(image)
        with torch.inference_mode():
            levels = self.network(tensor)
        boxes, scores = self._candidates(levels)
        boxes = keypoint_boxes((boxes + 0.5) / scale - 0.5, image.shape[1::-1])

        large = (boxes[:, 2:] - boxes[:, :2]).max(-1, initial=0) >= self.config.min_side_px
        boxes, scores = boxes[large], scores[large]
        kept = suppress(boxes, scores, self.config.overlap)[: self.config.max_persons or None]
        return [Detection(boxes[k], float(scores[k])) for k in kept]

    def _resize(self, image: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """Network input (1, 3, h, w), grey below and right of the image, and the scale (4,) from
        image to input pixels."""
        height, width = image.shape[:2]
        factor = self.config.long_side_px / max(height, width)
        h, w = max(1, round(height * factor)), max(1, round(width * factor))
        tensor = torch.from_numpy(np.require(image, requirements="CW")).permute(2, 0, 1)[
            None
        ]  # torch wants to be able to write
        small = nn.functional.interpolate(tensor, (h, w), mode="bilinear", antialias=True)
        padded = torch.full(
            (1, 3, -(-h // _MULTIPLE) * _MULTIPLE, -(-w // _MULTIPLE) * _MULTIPLE),
            _PADDING,
            dtype=torch.uint8,
        )
        padded[..., :h, :w] = small
        tensor = (
            padded.to(self.device, self.dtype)
            .div_(255)
            .contiguous(memory_format=torch.channels_last)
        )
        return tensor, np.array([w / width, h / height] * 2)

    def _candidates(self, levels: list[tuple[Tensor, Tensor]]) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4) in pixels of the network's input, and scores (N,) of all cells that reach
        the least score."""
        boxes, scores = [], []
        for (logits, sides), stride in zip(levels, STRIDES):
            score = logits[0].float().sigmoid()
            row, column = torch.where(score >= self.config.score)
            centre = torch.stack([column, row], -1) * stride + (stride - 1) / 2  # (n, 2)
            distance = sides[0].float()[:, row, column].T  # (n, 4)
            boxes.append(torch.cat([centre - distance[:, :2], centre + distance[:, 2:]], 1))
            scores.append(score[row, column])
        return torch.cat(boxes).double().cpu().numpy(), torch.cat(scores).double().cpu().numpy()


def save_detector(path: str | Path, network: NanoDet, card: dict) -> None:
    """Write detector weights in fp16 with a short card (origin, licence)."""
    half = {name: tensor.half() for name, tensor in network.state_dict().items()}
    save_tensors(path, half, {"detector": {"network": NETWORK}, "card": card})


def load_detector(
    path: str | Path, config: DetectorConfig, device: torch.device | str = "cpu"
) -> Detector:
    """Read detector weights; CheckpointError in one line where the file is missing, corrupt or
    another network's."""
    tensors, header = load_tensors(path)
    try:
        if header["detector"]["network"] != NETWORK:
            raise ValueError(f"expected {NETWORK}, got {header['detector']['network']!r}")
        network = NanoDet()
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: holds no person detector ({reason(error)})") from None
    return Detector(network.float(), config, device)
