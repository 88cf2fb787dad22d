# SPDX-License-Identifier: Apache-2.0
"""Lift 2D keypoints to 3D skeletons with covariances.

KEYPOINTS.npz: keypoints_px (N, 14, 2), confidence (N, 14) in [0, 1] (0: not seen, coordinates may
be NaN); optional keypoint_covariance_px2 (N, 14, 2, 2), K (3, 3), D (n,), image_size (w, h), up
(3,) or (N, 3) in the optical frame (NaN: unknown). With --convention the three arrays have the
points of another detector in its order: 17 of COCO, 25 of OpenPose's BODY_25, 33 of MediaPipe, 17
of Human3.6M. Coordinates are pixels: multiply those that go from 0 to 1 by the image's size first.

SKELETONS.npz: joints_m (N, 17, 3), root_m (N, 3), covariance_m2 (N, 17, 3, 3) relative to the root,
root_covariance_m2 (N, 3, 3), status (N, 17) (0 invalid, 1 inferred, 2 observed), log_likelihood
(N,), hypotheses_m (N, M, 17, 3), hypothesis_weight (N, M). With K: optical frame, metres, absolute.
Without: root at the origin, scaled to the stature prior.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.options import add_lifter, add_prior

if TYPE_CHECKING:
    import numpy as np

    from lifting_ros.geometry.camera import Camera

    Arrays = Mapping[str, np.ndarray]

OWN_CONVENTION = "lifting14"
CONVENTION_NAMES = (OWN_CONVENTION, "coco17", "body25", "mediapipe33", "human36m17")
"""The names of `conventions.CONVENTIONS`, which --help need not import."""

BATCH = 1024
"""Poses that are lifted at once."""


@dataclass(frozen=True)
class Request:
    """The content of a keypoint file, with keypoints in this package's order."""

    keypoints_px: np.ndarray
    """(N, 14, 2)."""
    confidence: np.ndarray
    """(N, 14) in [0, 1]."""
    covariance_px2: np.ndarray | None
    """(N, 14, 2, 2)."""
    camera: Camera | None
    up: np.ndarray
    """(N, 3)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("keypoints", metavar="KEYPOINTS.npz", help="2D keypoints; see above")
    parser.add_argument(
        "--out", required=True, metavar="SKELETONS.npz", help="the skeletons to write"
    )
    add_prior(parser)
    add_lifter(parser, "--method")
    parser.add_argument(
        "--weights",
        default="",
        metavar="W.safetensors",
        help="weights of the lifter's network (default: those that ship)",
    )
    parser.add_argument(
        "--convention",
        default=OWN_CONVENTION,
        choices=CONVENTION_NAMES,
        help=f"order of the keypoints (default {OWN_CONVENTION})",
    )
    parser.add_argument(
        "--stature",
        type=float,
        default=0.0,
        metavar="M",
        help="known body height in m (default: the prior's distribution)",
    )


def run(args: argparse.Namespace) -> int:
    from lifting_ros.config import from_mapping
    from lifting_ros.io.arrays import read_npz, write_npz
    from lifting_ros.lifting.lifter_config import LifterConfig
    from lifting_ros.lifting.lifters import WEIGHTS, make_lifter
    from lifting_ros.prior.ppca import MixturePPCA
    from lifting_ros.types import LiftedPoses

    request = read_request(read_npz(args.keypoints), args.keypoints, args.convention)
    prior = MixturePPCA.load(args.prior or WEIGHTS / "prior.npz")
    config = from_mapping(LifterConfig, {"stature_m": args.stature})
    lifter = make_lifter(args.lifter, prior, config, args.weights)

    poses = LiftedPoses.joined(lift_in_batches(lifter, request))
    write_npz(args.out, vars(poses))
    return 0


def lift_in_batches(lifter, request: Request) -> list:
    """Lifted poses, in parts of about BATCH."""
    import numpy as np

    from lifting_ros.io.progress import Progress

    count = len(request.keypoints_px)
    batches = np.array_split(np.arange(count), max(1, count // BATCH))

    parts = []
    for rows in Progress(batches, desc="lifting", unit="batch", delay=2):
        covariance = None if request.covariance_px2 is None else request.covariance_px2[rows]
        parts.append(
            lifter.lift(
                request.keypoints_px[rows],
                request.confidence[rows],
                covariance,
                request.camera,
                request.up[rows],
            )
        )
    return parts


def read_request(arrays: Arrays, source: str, convention: str = OWN_CONVENTION) -> Request:
    """Check the arrays of a keypoint file and convert them to this package's order of keypoints.

    LiftingError that names the file and the array that is missing or unfit.
    """
    from lifting_ros.conventions import point_names, to_keypoints
    from lifting_ros.io.arrays import numbers

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
    if convention != OWN_CONVENTION:
        keypoints, confidence, covariance = to_keypoints(
            keypoints, confidence, convention, covariance
        )

    return Request(
        keypoints_px=keypoints,
        confidence=confidence,
        covariance_px2=covariance,
        up=read_up(arrays, count, source),
        camera=read_camera(arrays, source),
    )


def check_convention(arrays: Arrays, source: str, convention: str) -> None:
    """Raise CommandError where the file has another number of points than `convention`, and exactly
    that of others, which the text names."""
    from lifting_ros.conventions import CONVENTIONS

    if "keypoints_px" not in arrays or arrays["keypoints_px"].ndim != 3:
        return

    shape = arrays["keypoints_px"].shape
    fitting = [name for name, points in CONVENTIONS.items() if len(points) == shape[1]]
    if fitting and convention not in fitting:
        wanted = f"(N, {len(CONVENTIONS[convention])}, 2)"
        use = " or ".join(f"--convention {name}" for name in fitting)
        raise CommandError(
            f"{source}: keypoints_px: expected {wanted} of {convention}, got {shape}; use {use}"
        )


def read_up(arrays: Arrays, count: int, source: str) -> np.ndarray:
    """Up (N, 3) in the optical frame, the same for all where the file says so."""
    import numpy as np

    from lifting_ros.io.arrays import numbers

    up = np.array([0.0, -1.0, 0.0])
    if "up" in arrays:
        shape = (3,) if arrays["up"].ndim == 1 else (count, 3)
        up = numbers(arrays, "up", shape, source)
    return np.broadcast_to(up, (count, 3))


def read_camera(arrays: Arrays, source: str) -> Camera | None:
    """The camera of K and D; None where there is no K."""
    from lifting_ros.geometry.camera import Camera, CameraError
    from lifting_ros.io.arrays import numbers

    matrix = numbers(arrays, "K", (3, 3), source)
    if matrix is None:
        return None

    distortion = numbers(arrays, "D", (None,), source)
    try:
        return Camera(matrix, () if distortion is None else distortion)
    except CameraError as error:
        raise CommandError(f"{source}: {error}") from None
