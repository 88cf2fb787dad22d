# SPDX-License-Identifier: Apache-2.0
"""The person detector: a small fully convolutional network that marks the centre of every person's keypoint box and its four sides.

Any number of persons, none included; the image's aspect is kept. The box it is taught is the tight box of the 14 keypoints, which is what
the crop of the pose network is made from.
"""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from lifting_ros.core.checkpoint import CheckpointError, load_tensors, reason
from lifting_ros.core.device import has_fast_bf16
from lifting_ros.core.inference import folded
from lifting_ros.core.layers import Residual, conv, upsample
from lifting_ros.core.poses import Detection
from lifting_ros.core.skeleton import KEYPOINT_COUNT

STRIDE = 8
_MULTIPLE = 32


@dataclass(frozen=True)
class DetectorConfig:
    """Parameters of the person detector."""

    weights: str = field(default="", metadata={"description": "detector weights (.safetensors); empty: those that go with the network"})
    score: float = field(default=0.05, metadata={"description": "least score of a person", "range": (0.0, 1.0), "live": True})
    long_side_px: int = field(
        default=320,
        metadata={"description": "long side of the image that the detector sees", "unit": "px", "range": (64, 2048), "live": True},
    )
    max_persons: int = field(
        default=0, metadata={"description": "most persons an image, best first; 0: no limit", "range": (0, 1000), "live": True}
    )
    overlap: float = field(
        default=0.6, metadata={"description": "boxes that overlap more (IoU) are one person", "range": (0.0, 1.0), "live": True}
    )
    min_side_px: float = field(
        default=16.0, metadata={"description": "least longer side of a person's box", "unit": "px", "range": (0.0, 1e4), "live": True}
    )


class DetectorNetwork(nn.Module):
    """Image (N, 3, H, W), H and W multiples of 32, to centre logits (N, H/8, W/8), box sides (N, 4, H/8, W/8), which are the log of the
    left, top, right, bottom distances from the cell's centre in units of the stride, and keypoint logits (N, 14, H/8, W/8), which only the
    training uses: where limbs are teaches what a person is far sooner than boxes do."""

    def __init__(self, widths: tuple[int, int, int, int] = (32, 64, 96, 128)):
        super().__init__()
        a, b, c, d = widths
        self.stem = nn.Sequential(conv(3, 16, 3, 2), conv(16, a, 3, 2), conv(a, b, 3, 2), Residual(b))  # stride 8
        self.mid = nn.Sequential(conv(b, c, 3, 2), Residual(c), Residual(c))  # stride 16
        self.deep = nn.Sequential(conv(c, d, 3, 2), Residual(d), Residual(d), Residual(d))  # stride 32
        self.to_mid, self.to_fine = conv(d, c, 1), conv(c, b, 1)
        self.merge_mid, self.merge_fine = Residual(c), conv(b, b)
        self.centre, self.sides, self.keypoints = (nn.Conv2d(b, c, 1) for c in (1, 4, KEYPOINT_COUNT))
        for head in (self.centre, self.keypoints):
            nn.init.constant_(head.bias, -4.0)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.stem(((image - 0.5) * 4).to(self.centre.weight.dtype))
        mid = self.mid(fine)
        mid = self.merge_mid(mid + upsample(self.to_mid(self.deep(mid))))
        fine = self.merge_fine(fine + upsample(self.to_fine(mid)))
        return self.centre(fine)[:, 0], self.sides(fine), self.keypoints(fine)


def cell_centres(h: int, w: int) -> tuple[Tensor, Tensor]:
    """Pixel coordinates of the cells' centres: x (1, w), y (h, 1)."""
    x, y = torch.arange(w) * STRIDE + (STRIDE - 1) / 2, torch.arange(h) * STRIDE + (STRIDE - 1) / 2
    return x[None, :], y[:, None]


def boxes_of(sides: Tensor) -> Tensor:
    """Boxes (..., h, w, 4) x0, y0, x1, y1 in pixels of the network's input, from log sides (..., 4, h, w)."""
    x, y = cell_centres(*sides.shape[-2:])
    left, top, right, bottom = (sides.clamp(-4, 5).exp() * STRIDE).unbind(-3)
    return torch.stack([x - left, y - top, x + right, y + bottom], -1)


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


class Detector:
    """Image to person boxes, by a copy of the network as it is run: batch norms folded, in the precision that the device is good at."""

    def __init__(self, network: DetectorNetwork, config: DetectorConfig, device: torch.device | str = "cpu"):
        self.config, self.device = config, torch.device(device)
        dtype = torch.bfloat16 if has_fast_bf16(self.device) else torch.float32
        self.network = folded(network).to(device=self.device, dtype=dtype, memory_format=torch.channels_last)

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Persons in an (H, W, 3) uint8 RGB image, best first; boxes around their keypoints in image pixels."""
        tensor, scale = self._resize(image)
        with torch.inference_mode():
            logits, sides, _ = self.network(tensor)
        boxes, scores = self._peaks(logits.float().cpu()[0].sigmoid(), sides.float().cpu()[0])
        boxes = (boxes + 0.5) / scale - 0.5
        large = (boxes[:, 2:] - boxes[:, :2]).max(-1, initial=0) >= self.config.min_side_px
        boxes, scores = boxes[large], scores[large]
        kept = suppress(boxes, scores, self.config.overlap)[: self.config.max_persons or None]
        return [Detection(boxes[k], float(scores[k])) for k in kept]

    def _resize(self, image: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """Network input (1, 3, h, w), grey below and right of the image, and the scale (4,) from image to input pixels."""
        height, width = image.shape[:2]
        factor = self.config.long_side_px / max(height, width)
        h, w = max(1, round(height * factor)), max(1, round(width * factor))
        tensor = torch.from_numpy(np.require(image, requirements="CW")).permute(2, 0, 1)[None]  # torch wants to be able to write
        small = nn.functional.interpolate(tensor, (h, w), mode="bilinear", antialias=True)
        padded = torch.full((1, 3, -(-h // _MULTIPLE) * _MULTIPLE, -(-w // _MULTIPLE) * _MULTIPLE), 128, dtype=torch.uint8)
        padded[..., :h, :w] = small
        tensor = padded.to(self.device).float().div_(255).contiguous(memory_format=torch.channels_last)
        return tensor, np.array([w / width, h / height] * 2)

    def _peaks(self, heat: Tensor, sides: Tensor) -> tuple[np.ndarray, np.ndarray]:
        local = nn.functional.max_pool2d(heat[None], 3, 1, 1)[0]
        rows, columns = torch.where((heat == local) & (heat >= self.config.score))
        return boxes_of(sides)[rows, columns].double().numpy(), heat[rows, columns].double().numpy()


def load_detector(path, config: DetectorConfig, device: torch.device | str = "cpu") -> Detector:
    """Read detector weights; CheckpointError in one line where the file is missing, corrupt or another network's."""
    tensors, header = load_tensors(path)
    try:
        network = DetectorNetwork(tuple(header["detector"]["widths"]))
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: holds no person detector ({reason(error)})") from None
    return Detector(network.float(), config, device)
