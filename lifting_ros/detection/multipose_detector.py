# SPDX-License-Identifier: Apache-2.0
"""The person detector that ships: MoveNet MultiPose on the whole image, its aspect kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lifting_ros.detection.detector import DetectorConfig, keypoint_boxes, suppress
from lifting_ros.detection.multipose import MultiPose, PersonMaps
from lifting_ros.device import has_fast_bf16, lay_out_channels_last
from lifting_ros.io.checkpoint import CheckpointError, load_tensors, reason, save_tensors
from lifting_ros.keypoints.trunk import STRIDE
from lifting_ros.types import Detection

NETWORK = "movenet-multipose"
"""Name of the network in the header of its weights file."""

_MULTIPLE = 32
"""The sides of the network's input are multiples of this."""

_PADDING = 128
"""Grey value right of the image and below it."""


Scored = tuple[np.ndarray, np.ndarray]
"""Boxes (N, 4) and their scores (N,)."""


class Detector:
    """Finds persons in images.

    The network is moved to the device and to the precision that the device is fast at.
    """

    def __init__(
        self, network: nn.Module, config: DetectorConfig, device: torch.device | str = "cpu"
    ):
        """network: as MultiPose, from an image (1, 3, H, W) in [0, 1] RGB to PersonMaps."""
        self.config = config
        self.device = torch.device(device)
        self.dtype = torch.bfloat16 if has_fast_bf16(self.device) else torch.float32
        self.network = network.eval().to(device=self.device, dtype=self.dtype)
        lay_out_channels_last(self.network)

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Persons in an (H, W, 3) uint8 RGB image, best first; boxes around their keypoints, image
        pixels."""
        persons, scores = self.find_persons(image)
        boxes = keypoint_boxes(persons, image.shape[1::-1])

        sides = boxes[:, 2:] - boxes[:, :2]
        longer_side = sides.max(-1, initial=0)
        kept = np.flatnonzero(longer_side >= self.config.min_side_px)
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

    def find_persons(self, image: np.ndarray) -> Scored:
        """Boxes (N, 4) of whole persons with their clothes, cut to the image, and scores (N,),
        each person once, best first."""
        config = self.config
        boxes, scores = self._find_at(image, config.long_side_px)
        if 0 < config.coarse_share < 1:
            coarse_px = round(config.coarse_share * config.long_side_px)
            more_boxes, more_scores = self._find_at(image, max(coarse_px, 1))
            boxes = np.concatenate([boxes, more_boxes])
            scores = np.concatenate([scores, more_scores])

        kept = suppress(boxes, scores, config.overlap)
        return boxes[kept], scores[kept]

    def _find_at(self, image: np.ndarray, long_side_px: int) -> Scored:
        """Boxes (N, 4), cut to the image, and scores (N,), seen at one size."""
        tensor, scale = self._network_input(image, long_side_px)
        with torch.inference_mode():
            maps = self.network(tensor)

        boxes, scores = self._candidates(maps)
        from_corner = (boxes + 0.5) / scale
        boxes = from_corner - 0.5

        height, width = image.shape[:2]
        corner = [width, height]
        limit = np.array(corner * 2) - 1.0
        return np.clip(boxes, 0, limit), scores

    def _network_input(self, image: np.ndarray, long_side_px: int) -> tuple[Tensor, np.ndarray]:
        """Network input (1, 3, h, w), and the scale (4,) from image pixels to input pixels.

        The input is padded with grey, right of the image and below it.
        """
        height, width = image.shape[:2]
        longer = max(height, width)
        factor = long_side_px / longer
        h = max(1, round(height * factor))
        w = max(1, round(width * factor))

        # torch warns of arrays that it cannot write to
        writable = np.require(image, requirements=["C", "W"])
        tensor = torch.from_numpy(writable)
        planes = tensor.permute(2, 0, 1)[None]  # (1, 3, H, W)
        small = nn.functional.interpolate(
            planes,
            size=(h, w),
            mode="bilinear",
            antialias=True,
        )

        shape = (1, 3, _next_multiple(h), _next_multiple(w))
        padded = torch.full(shape, _PADDING, dtype=torch.uint8)
        padded[..., :h, :w] = small

        values = padded.to(self.device, self.dtype)
        values = values.div_(255)
        values = values.contiguous(memory_format=torch.channels_last)

        scale = [w / width, h / height]
        return values, np.array(scale * 2)

    def _candidates(self, maps: PersonMaps) -> Scored:
        """Boxes (N, 4) in input pixels, and scores (N,), of the maxima of the centre map that
        reach the minimum score."""
        logits = maps.centre[0].float()
        score = logits.sigmoid()
        highest = nn.functional.max_pool2d(
            score[None],
            kernel_size=3,
            stride=1,
            padding=1,
        )
        is_maximum = score == highest[0]
        is_likely = score >= self.config.score
        row, column = torch.where(is_maximum & is_likely)

        offset = maps.offset[0].float()
        offset_y, offset_x = offset[:, row, column]
        size = maps.size[0].float()
        height, width = size[:, row, column].clamp(min=0)

        centre_y = row + offset_y
        centre_x = column + offset_x
        half_height = height / 2
        half_width = width / 2
        sides = [
            centre_x - half_width,
            centre_y - half_height,
            centre_x + half_width,
            centre_y + half_height,
        ]

        # Cells are measured from the image's corner, pixels from the centre of the first one
        boxes = STRIDE * torch.stack(sides, 1) - 0.5
        return _to_numpy(boxes), _to_numpy(score[row, column])


def _to_numpy(values: Tensor) -> np.ndarray:
    exact = values.double()
    return exact.cpu().numpy()


def _next_multiple(side: int) -> int:
    return -(-side // _MULTIPLE) * _MULTIPLE


def save_detector(path: str | Path, network: MultiPose, card: dict) -> None:
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

        network = MultiPose()
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: holds no person detector ({reason(error)})") from None

    return Detector(network.float(), config, device)
