# SPDX-License-Identifier: Apache-2.0
"""Measures of the 2D side on validation photographs: PCK with true boxes or with the package's own detector, and the detector itself."""
from __future__ import annotations

import numpy as np
import torch

from lifting_ros.core import belief_maps
from lifting_ros.core.checkpoint import build_network
from lifting_ros.core.detector import overlaps
from lifting_ros.core.network import MultistageNetwork, NetworkConfig
from lifting_ros.core.pipeline import PoseEstimator, has_fast_bf16
from lifting_ros.data.crops import true_crop
from lifting_ros.data.keypoints2d import PhotoSet, keypoint_box
from lifting_ros.data.pack import Pack
from lifting_ros.evaluation.metrics import pck


def predict_crops(network: MultistageNetwork, pack: Pack, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints of every stage, (S, N, 14, 2), and labels (N, 14, 3), in pixels of the crop of the true box."""
    size, stride = network.config.input_px, network.config.stride
    device = next(network.parameters()).device
    crops = [true_crop(pack.images[row], pack.keypoints[row], size) for row in rows]
    images = torch.from_numpy(np.stack([c[0] for c in crops]).transpose(0, 3, 1, 2))
    stages: list[list[torch.Tensor]] = [[] for _ in network.stages]
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bf16(device)):
        for batch in images.split(32):
            batch = batch.to(device).float().div_(255).contiguous(memory_format=torch.channels_last)
            for index, stage in enumerate(network(batch).stages):
                cells = belief_maps.decode(stage.fused.float())[0]
                stages[index].append(belief_maps.cells_to_pixels(cells, stride).cpu())
    return np.stack([torch.cat(s).numpy() for s in stages]), np.stack([c[1] for c in crops])


def pck_true_boxes(network: MultistageNetwork, pack: Pack, most: int | None = None) -> np.ndarray:
    """PCK@0.2 of the torso, (S, 14), on the pack's validation side with true boxes."""
    stages, labels = predict_crops(network, pack, np.flatnonzero(pack.validation)[:most])
    return np.stack([pck(points, labels) for points in stages])


def pck_of_weights(weights: dict, config: NetworkConfig, prior, packs: list[Pack], device: str, most: int = 200) -> dict[str, float]:
    """Mean PCK@0.2 of the first and the last stage on (the first `most` of) every labelled pack's validation side."""
    network = build_network(config, prior)
    network.load_state_dict(weights)
    network = network.to(device=device, memory_format=torch.channels_last).eval()
    result = {}
    for pack in packs:
        if pack.validation.any() and pack.keypoints[pack.validation].any():
            each = np.nanmean(pck_true_boxes(network, pack, most), 1)
            result |= {f"{pack.name}_stage1": float(each[0]), f"{pack.name}_stage{len(each)}": float(each[-1])}
    return result


def pck_own_detector(estimator: PoseEstimator, photos: PhotoSet, rows: np.ndarray) -> tuple[np.ndarray, float]:
    """PCK@0.2 (14,) through the whole estimator, and the share of labelled persons found.

    Of several persons found the one whose box overlaps the label's most is taken; a person not found counts as wrong in every keypoint.
    """
    predicted = np.full((len(rows), 14, 2), np.inf)
    for n, row in enumerate(rows):
        image = photos.image(row)
        box = keypoint_box(photos.keypoints[row])
        found = estimator.find_keypoints(image, estimator.detector.detect(image))
        if found:
            match = [overlaps(box, s.box_px[None])[0] for s in found]
            if max(match) > 0.1:
                predicted[n] = found[int(np.argmax(match))].keypoints_px
    return pck(predicted, photos.keypoints[rows]), float(np.isfinite(predicted[:, 0, 0]).mean())


def false_alarms(estimator: PoseEstimator, images: list[np.ndarray]) -> int:
    """Pictures without people in which the estimator sees somebody."""
    return sum(bool(estimator.find_keypoints(image, estimator.detector.detect(image))) for image in images)

