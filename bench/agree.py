# SPDX-License-Identifier: Apache-2.0
"""Whether a device gives what the CPU gives, in float32 and in the precision that it is used in.

lite and full: the keypoints of the person in frames of the bundled clip, in the place where the CPU
detects it; the detector: the largest distance of a box's corner. paper, which ships no weights:
belief maps of random crops by random weights. The CPU computes in float32. The exit status is 1
where a difference is larger than its limit.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from unittest import mock

import numpy as np
import torch
from network import RECIPES, frames

from lifting_ros.cli.files import write_json
from lifting_ros.device import choose_device, has_fast_bf16
from lifting_ros.estimator import SHIPPED, WEIGHTS, EstimatorConfig, PoseEstimator
from lifting_ros.keypoints import inference
from lifting_ros.keypoints.inference import NetworkRunner
from lifting_ros.keypoints.network_weights import build_network
from lifting_ros.prior.ppca import MixturePPCA
from lifting_ros.types import Detection

CROPS = 8

LIMITS = {
    "float32": {
        "keypoints px": 0.05,
        "keypoints px, median": 0.02,
        "confidence": 0.01,
        "maps": 0.005,
    },
    "bf16": {"keypoints px": 3.0, "keypoints px, median": 0.3, "confidence": 0.02, "maps": 0.05},
}
"""Largest differences that pass, by precision. Convolutions on GPUs round to 10 bits (TF32) even in
float32. In bfloat16 one keypoint of a hundred moves by 2 to 3 px of the crop."""

BOX_LIMIT_PX = 1.0

Row = dict[str, float]


@functools.cache
def estimator_on(device: str, weights: str, dtype: str) -> PoseEstimator:
    """The estimator in torch, with networks in a precision."""
    with mock.patch.object(inference, "has_fast_bf16", lambda device: dtype == "bf16"):
        return PoseEstimator(EstimatorConfig(device=device, runtime="torch", weights=weights))


def network_row(device: str, weights: str, dtype: str, images: Sequence[np.ndarray]) -> Row:
    """Differences of the keypoints, in the same places."""
    expected = estimator_on("cpu", weights, "float32")
    found = estimator_on(device, weights, dtype)
    keypoint_gaps = []
    confidence_gaps = []
    for image in images:
        places = expected.detector.detect(image)
        boxes = [place.box_px for place in places]
        if not boxes:
            continue
        pairs = zip(
            found.network.find([image] * len(boxes), boxes),
            expected.network.find([image] * len(boxes), boxes),
            strict=True,
        )
        for ours, theirs in pairs:
            seen = theirs.confidence > expected.config.min_keypoint_confidence
            distance = np.linalg.norm(ours.keypoints_px - theirs.keypoints_px, axis=-1)
            keypoint_gaps.extend(distance[seen])
            confidence_gaps.extend(np.abs(ours.confidence - theirs.confidence))

    if not confidence_gaps:
        raise RuntimeError("nobody was detected in the clip")
    return {
        "keypoints px": float(np.max(keypoint_gaps, initial=0.0)),
        "keypoints px, median": float(np.median(keypoint_gaps or [0.0])),
        "confidence": float(np.max(confidence_gaps)),
    }


def detector_row(device: str, images: Sequence[np.ndarray]) -> Row:
    """Differences of the boxes."""
    expected = estimator_on("cpu", SHIPPED[-1], "float32").detector
    found = estimator_on(device, SHIPPED[-1], "float32").detector
    gaps = [box_gap(found.detect(image), expected.detect(image)) for image in images]
    return {"box px": max(gaps)}


def box_gap(ours: Sequence[Detection], theirs: Sequence[Detection]) -> float:
    """Largest distance of a coordinate; infinite where the numbers of persons differ."""
    if len(ours) != len(theirs):
        return float("inf")

    pairs = zip(ours, theirs, strict=True)
    return max((float(np.abs(a.box_px - b.box_px).max()) for a, b in pairs), default=0.0)


def paper_row(device: torch.device, dtype: str) -> Row:
    """Difference of the last stage's maps for random weights and crops."""
    torch.manual_seed(0)
    prior = MixturePPCA.load(WEIGHTS / "prior.npz")
    network = build_network(RECIPES["paper"].network, prior)
    side = network.config.input_px
    crops = torch.rand(CROPS, 3, side, side)
    with mock.patch.object(inference, "has_fast_bf16", lambda device: False):
        expected, *_ = NetworkRunner(network, torch.device("cpu")).last(crops)
    with mock.patch.object(inference, "has_fast_bf16", lambda device: dtype == "bf16"):
        maps, *_ = NetworkRunner(network, device).last(crops)

    gap = (maps.float().cpu() - expected.float()).abs().max()
    return {"maps": float(gap)}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cpu, cuda or cuda:n (default cuda)")
    parser.add_argument("--frames", type=int, default=10, metavar="N", help="frames (default 10)")
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures here as well")
    args = parser.parse_args(arguments)
    device = choose_device(args.device)
    images = frames(args.frames)
    dtypes = ["float32"] + ["bf16"] * has_fast_bf16(device)

    rows: dict[str, Row] = {"detector": detector_row(args.device, images)}
    limits = {"detector": {"box px": BOX_LIMIT_PX}}
    for dtype in dtypes:
        for weights in SHIPPED:
            name = f"{weights}, {dtype}"
            rows[name] = network_row(args.device, weights, dtype, images)
            limits[name] = LIMITS[dtype]
        rows[f"paper, {dtype}"] = paper_row(device, dtype)
        limits[f"paper, {dtype}"] = LIMITS[dtype]

    apart = []
    for name, row in rows.items():
        for what, value in row.items():
            too_far = not value <= limits[name][what]
            apart += [f"{name}: {what}"] * too_far
            print(f"{name}: {what} {value:.2g}, at most {limits[name][what]}{' !' * too_far}")

    if args.json:
        write_json(args.json, {"agree": not apart, "apart": apart, "rows": rows})
    return int(bool(apart))


if __name__ == "__main__":
    sys.exit(main())
