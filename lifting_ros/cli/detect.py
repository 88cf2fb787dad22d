# SPDX-License-Identifier: Apache-2.0
"""Find the people in images and their 2D keypoints.

KEYPOINTS.npz, a row for each person: image_index (N,) into the images given, box_px (N, 4) x0 y0 x1
y1, score (N,), keypoints_px (N, 14, 2), confidence (N, 14) in [0, 1] (0: not seen),
keypoint_covariance_px2 (N, 14, 2, 2). Pixels of the image, the centre of the top left one is (0,
0). `lifting lift` takes the file as it is.
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files")
    parser.add_argument(
        "--out", required=True, metavar="KEYPOINTS.npz", help="the keypoints to write; see above"
    )
    parser.add_argument(
        "--weights",
        default="",
        metavar="W",
        help="network: a name that ships (full, lite) or a file (default full)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:n (default auto)")


def run(args: argparse.Namespace) -> int:
    import numpy as np
    from tqdm import tqdm

    from lifting_ros.cli.files import write_npz
    from lifting_ros.cli.main import CommandError
    from lifting_ros.cli.source import read_image

    if not args.out.endswith(".npz"):
        raise CommandError(f"--out {args.out}: expected a name that ends in .npz")
    for path in args.images:  # before the weights are loaded
        read_image(path)

    from lifting_ros.estimator import EstimatorConfig, PoseEstimator

    estimator = PoseEstimator(EstimatorConfig(device=args.device, weights=args.weights))
    index, skeletons = [], []
    for number, path in enumerate(tqdm(args.images, desc="detecting", unit="image", delay=2)):
        image = read_image(path)
        found = estimator.find_keypoints(image, estimator.detector.detect(image))
        index += [number] * len(found)
        skeletons += found
    write_npz(args.out, {"image_index": np.array(index, np.int64), **keypoint_arrays(skeletons)})
    print(f"{len(skeletons)} persons in {len(args.images)} images: {args.out}")
    return 0


def keypoint_arrays(skeletons: list) -> dict:
    """The columns of N 2D skeletons."""
    import numpy as np

    def column(name: str, *shape: int) -> np.ndarray:
        return np.array([getattr(s, name) for s in skeletons], np.float64).reshape(
            -1, *shape
        )  # N, ...

    return {
        "box_px": column("box_px", 4),
        "score": column("score"),
        "keypoints_px": column("keypoints_px", 14, 2),
        "confidence": column("confidence", 14),
        "keypoint_covariance_px2": column("covariance_px2", 14, 2, 2),
    }
