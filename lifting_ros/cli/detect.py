# SPDX-License-Identifier: Apache-2.0
"""Find the people in images and their 2D keypoints.

KEYPOINTS.npz has a row for each person: image_index (N,) into the images given, box_px (N, 4)
x0 y0 x1 y1, score (N,), keypoints_px (N, 14, 2), confidence (N, 14) in [0, 1] (0: not seen),
keypoint_covariance_px2 (N, 14, 2, 2). Coordinates are pixels of the image; the centre of the top
left one is (0, 0). `lifting lift` reads this file.
"""

from __future__ import annotations

import argparse

from lifting_ros.cli.options import add_device, require_suffix


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
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    import numpy as np

    from lifting_ros.io.arrays import write_npz
    from lifting_ros.io.images import read_image
    from lifting_ros.io.progress import Progress

    require_suffix("--out", args.out, ".npz")
    for path in args.images:  # a bad image is reported before the weights are loaded
        read_image(path)

    from lifting_ros.device import use_threads
    from lifting_ros.estimator import EstimatorConfig, PoseEstimator
    from lifting_ros.io.pose_table import keypoint_arrays

    use_threads()
    estimator = PoseEstimator(EstimatorConfig(device=args.device, weights=args.weights))
    image_index = []
    skeletons = []
    for number, path in enumerate(Progress(args.images, desc="detecting", unit="image", delay=2)):
        image = read_image(path)
        found = estimator.find_keypoints(image, estimator.detect(image))
        image_index += [number] * len(found)
        skeletons += found

    arrays = {"image_index": np.array(image_index, np.int64), **keypoint_arrays(skeletons)}
    write_npz(args.out, arrays)
    print(f"{len(skeletons)} persons in {len(args.images)} images: {args.out}")
    return 0
