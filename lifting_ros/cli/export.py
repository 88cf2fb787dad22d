# SPDX-License-Identifier: Apache-2.0
"""Write the person detector and the keypoint network as ONNX files.

DIR gets detector.onnx and the parts of the network: opening.onnx (trunk and first stage),
stage_2.onnx and so on, presence.onnx. Crops are (N, S, S, 3) uint8 RGB with N free, the detector's
image (1, H, W, 3) uint8 RGB with H and W multiples of 32. The prior is fused between the parts and
is in none of them. Metadata: version, kind, graph, opset, and weights_sha256 of the weights file.
Requires onnx and onnxscript. The parameter onnx.graphs reads such a folder.
"""

from __future__ import annotations

import argparse

from lifting_ros.cli.options import require_folder_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument(
        "--weights",
        default="",
        metavar="W",
        help="network: a name that ships (full, lite) or a file (default full)",
    )
    parser.add_argument(
        "--detector", default="", metavar="FILE", help="detector (default: the one that ships)"
    )
    parser.add_argument(
        "--opset", type=int, default=18, metavar="N", help="ONNX opset, 18 or later (default 18)"
    )


def run(args: argparse.Namespace) -> int:
    require_folder_of("--out", args.out)

    from lifting_ros.detection.detector import DetectorConfig
    from lifting_ros.estimator import EstimatorConfig, network_and_detector
    from lifting_ros.io.atomic import replacing_folder
    from lifting_ros.keypoints.onnx_files import export_graphs

    config = EstimatorConfig(weights=args.weights, detector=DetectorConfig(weights=args.detector))
    network, detector = network_and_detector(config)
    with replacing_folder(args.out) as folder:
        files = export_graphs(network, "network", folder, args.opset)
        files += export_graphs(detector, "detector", folder, args.opset)

    print(f"{len(files)} graphs: {args.out}")
    return 0
