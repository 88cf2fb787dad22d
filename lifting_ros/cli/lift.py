# SPDX-License-Identifier: Apache-2.0
"""Lift 2D keypoints to 3D skeletons with covariances.

KEYPOINTS.npz: keypoints_px (N, 14, 2), confidence (N, 14) in [0, 1] (0: not seen, coordinates may
be NaN); optional keypoint_covariance_px2 (N, 14, 2, 2), K (3, 3), D (n,), image_size (w, h), up
(3,) or (N, 3) in the optical frame (NaN: unknown). With --convention the three arrays have the
points of another detector in its order: 17 of COCO, 25 of OpenPose's BODY_25, 33 of MediaPipe, 17
of Human3.6M. Coordinates are pixels: those that go from 0 to 1 are to be multiplied by the image's
size first. SKELETONS.npz: joints_m (N, 17, 3), root_m (N, 3), covariance_m2 (N, 17, 3, 3) relative
to the root, root_covariance_m2 (N, 3, 3), status (N, 17) (0 invalid, 1 inferred, 2 observed),
log_likelihood (N,), hypotheses_m (N, M, 17, 3), hypothesis_weight (N, M). With K: optical frame,
metres, absolute. Without: root at the origin, scaled to the stature prior.
"""

from __future__ import annotations

import argparse

from lifting_ros.cli.lifter_option import add_lifter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("keypoints", metavar="KEYPOINTS.npz", help="2D keypoints; see above")
    parser.add_argument(
        "--out", required=True, metavar="SKELETONS.npz", help="the skeletons to write"
    )
    parser.add_argument(
        "--prior", default="", metavar="P.npz", help="pose prior (default: the one that ships)"
    )
    add_lifter(parser, "--method")
    parser.add_argument(
        "--weights",
        default="",
        metavar="W.safetensors",
        help="weights of the network (default: those that ship)",
    )
    names = [
        "lifting14",
        "coco17",
        "body25",
        "mediapipe33",
        "human36m17",
    ]  # of core.conventions, which --help need not import
    parser.add_argument(
        "--convention",
        default="lifting14",
        choices=names,
        help="order of the keypoints (default lifting14)",
    )
    parser.add_argument(
        "--stature",
        type=float,
        default=0.0,
        metavar="M",
        help="known body height, m (default: the prior's distribution)",
    )


def run(args: argparse.Namespace) -> int:
    import dataclasses

    import numpy as np
    from tqdm import tqdm

    from lifting_ros.cli.files import read_npz, write_npz
    from lifting_ros.config import from_mapping
    from lifting_ros.lifting.lifter_config import LifterConfig
    from lifting_ros.lifting.lifters import WEIGHTS, make_lifter
    from lifting_ros.prior.ppca import MixturePPCA
    from lifting_ros.types import LiftedPoses

    keypoints, confidence, covariance, camera, up = read_request(
        read_npz(args.keypoints), args.keypoints, args.convention
    )
    prior = MixturePPCA.load(args.prior or WEIGHTS / "prior.npz")
    lifter = make_lifter(
        args.method, prior, from_mapping(LifterConfig, {"stature_m": args.stature}), args.weights
    )
    parts = []
    for rows in tqdm(
        np.array_split(np.arange(len(keypoints)), max(1, len(keypoints) // 1024)),
        desc="lifting",
        unit="batch",
        delay=2,
    ):
        part = covariance[rows] if covariance is not None else None
        parts.append(lifter.lift(keypoints[rows], confidence[rows], part, camera, up[rows]))
    names = [f.name for f in dataclasses.fields(LiftedPoses)]
    write_npz(args.out, {name: np.concatenate([getattr(p, name) for p in parts]) for name in names})
    return 0


def read_request(arrays: dict, source: str, convention: str = "lifting14"):
    """Keypoints, confidences, covariances or None, camera or None and up (N, 3) of a keypoint file;
    CommandError naming what is wrong."""
    import numpy as np

    from lifting_ros.cli.files import numbers
    from lifting_ros.cli.main import CommandError
    from lifting_ros.conventions import point_names, to_keypoints

    points = len(point_names(convention))
    check_convention(arrays, source, convention)
    keypoints = numbers(arrays, "keypoints_px", (None, points, 2), source)
    if keypoints is None:
        raise CommandError(f"{source}: keypoints_px is missing; expected (N, {points}, 2)")
    count = len(keypoints)
    confidence = numbers(arrays, "confidence", (count, points), source)
    if confidence is None:
        raise CommandError(f"{source}: confidence is missing; expected ({count}, {points})")
    if ((confidence < 0) | (confidence > 1)).any():
        raise CommandError(f"{source}: confidence: expected numbers in [0, 1]")
    covariance = numbers(arrays, "keypoint_covariance_px2", (count, points, 2, 2), source)
    if convention != "lifting14":
        keypoints, confidence, covariance = to_keypoints(
            keypoints, confidence, convention, covariance
        )
    up = np.array([0.0, -1.0, 0.0])
    if "up" in arrays:
        up = numbers(arrays, "up", (3,) if arrays["up"].ndim == 1 else (count, 3), source)
    return (
        keypoints,
        confidence,
        covariance,
        read_camera(arrays, source),
        np.broadcast_to(up, (count, 3)),
    )


def check_convention(arrays: dict, source: str, convention: str) -> None:
    """CommandError that names the conventions with as many points as the file has, where that is
    not what `convention` has."""
    from lifting_ros.cli.main import CommandError
    from lifting_ros.conventions import CONVENTIONS

    shape = arrays["keypoints_px"].shape if "keypoints_px" in arrays else ()
    fitting = [
        name for name, points in CONVENTIONS.items() if len(shape) == 3 and len(points) == shape[1]
    ]
    if fitting and convention not in fitting:
        wanted = f"(N, {len(CONVENTIONS[convention])}, 2)"
        use = " or ".join(f"--convention {name}" for name in fitting)
        raise CommandError(
            f"{source}: keypoints_px: expected {wanted} of {convention}, got {shape}; use {use}"
        )


def read_camera(arrays: dict, source: str):
    """The camera of K and D, None where there is no K."""
    from lifting_ros.cli.files import numbers
    from lifting_ros.geometry.camera import Camera

    matrix = numbers(arrays, "K", (3, 3), source)
    if matrix is None:
        return None
    distortion = numbers(arrays, "D", (None,), source)
    try:
        return Camera(matrix, distortion if distortion is not None else ())
    except ValueError as error:
        raise type(error)(f"{source}: {error}") from None
