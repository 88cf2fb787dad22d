# SPDX-License-Identifier: Apache-2.0
"""Estimate where several cameras are from the people that they see.

BAG is one that `lifting fuse` reads: skeletons_2d and skeletons_3d of two cameras or more that see
the same people at the same time, and the CameraInfo of each. TF need not connect the cameras.

The optical frame of one camera is the common frame. FILE.yaml has the places of the others in it,
for `lifting fuse --extrinsics`; on standard output are their standard deviations, how far joints
are from the keypoints, and the commands that publish the places on TF.

With --clocks the constant differences of the cameras' clocks are estimated first, and FILE.yaml has
them as clock_s, which `lifting fuse` takes off the stamps.

Distances are right to a few per cent only: their scale is that of the people's stature, which is
not measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.options import (
    add_cameras_of_bag,
    require_at_least,
    require_folder_of,
    require_suffix,
)

if TYPE_CHECKING:
    import numpy as np

    from lifting_ros.geometry.transform_tree import TransformTree
    from lifting_ros.multiview.camera_poses import CameraPoses
    from lifting_ros.multiview.timeline import CameraStream


class Recorded(NamedTuple):
    """What the bag has of each of C cameras."""

    names: list[str]
    """The optical frames; the first one is the common frame."""
    streams: list[CameraStream]
    """Each in its own optical frame."""
    transforms: TransformTree


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_cameras_of_bag(parser)
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="FILE.yaml",
        help="the places of the cameras",
    )
    parser.add_argument(
        "--frame",
        default="",
        metavar="FRAME",
        help="optical frame of the camera that is the reference (default: the first one)",
    )
    parser.add_argument(
        "--clocks",
        type=float,
        default=0.0,
        metavar="S",
        help="the clocks of the cameras differ by a constant of up to S seconds (default 0: not)",
    )


def run(args: argparse.Namespace) -> int:
    from lifting_ros.io.extrinsics import write_extrinsics
    from lifting_ros.multiview.camera_poses import estimate_camera_poses
    from lifting_ros.multiview.clock_offsets import estimate_clock_offsets

    require_suffix("--out", args.out, ".yaml", ".yml")
    require_folder_of("--out", args.out)
    require_at_least("--clocks", args.clocks, 0)
    recorded = read_recorded(args)
    clocks_s = None
    if args.clocks:
        clocks_s = estimate_clock_offsets(recorded.names, recorded.streams, args.clocks)
        pairs = zip(recorded.streams, clocks_s)
        recorded = recorded._replace(streams=[one.shifted(round(-1e9 * s)) for one, s in pairs])
    found = estimate_camera_poses(recorded.names, recorded.streams)

    places = dict(zip(recorded.names[1:], found.poses[1:]))
    clocks = None if clocks_s is None else dict(zip(recorded.names, clocks_s))
    write_extrinsics(args.out, recorded.names[0], places, clocks)
    print_report(args.out, recorded.names, found, clocks_s)
    for name, pose in places.items():
        print(publisher(recorded, name, pose))
    return 0


def read_recorded(args: argparse.Namespace) -> Recorded:
    """The cameras of a bag, the reference first; CommandError where it has fewer than two, and
    where a camera has no calibration."""
    from lifting_ros.cli.fuse import choose_topics, read_stream
    from lifting_ros.io.bag_cameras import read_cameras, read_transforms
    from lifting_ros.io.bag_poses import read_bag

    transforms = read_transforms(args.bag)
    cameras = read_cameras(args.bag, args.rectified)
    streams: dict[str, CameraStream] = {}
    for topic in choose_topics(args.bag, args.topic):
        frames = read_bag(args.bag, topic).frames
        name = next((frame.image_frame_id for frame in frames if frame.image_frame_id), "")
        where = f"{args.bag}: {topic}"
        if name in streams:
            raise CommandError(f"{where}: another topic has the frame_id {name!r} as well")
        streams[name] = read_stream(where, frames, cameras, name, transforms)

    reference = args.frame or next(iter(streams))
    if reference not in streams:
        there = ", ".join(streams)
        raise CommandError(f"--frame {reference}: expected the optical frame of one of {there}")
    names = sorted(streams, key=lambda name: name != reference)
    return Recorded(names, [streams[name] for name in names], transforms)


def print_report(
    out: Path,
    names: Sequence[str],
    found: CameraPoses,
    clocks_s: np.ndarray | None = None,
) -> None:
    """Print how good the places are. clocks_s: (C,) of the clocks, where they were estimated."""
    import numpy as np

    from lifting_ros.cli.tables import print_table

    rows = {}
    for index, name in enumerate(names):
        rows[name] = {
            "distance m": float(np.linalg.norm(found.poses[index, :3, 3])),
            "place std m": float(found.place_std_m[index]),
            "rotation std deg": float(np.degrees(found.rotation_std_rad[index])),
            "reprojection px": float(found.reprojection_px[index]),
        }
        if clocks_s is not None:
            rows[name]["clock s"] = float(clocks_s[index])
    title = f"cameras in {names[0]}, from {found.person_frames} frames of people"
    print_table(title, rows)
    print(f"{found.fitting:.0%} of the keypoints fit; places of the cameras: {out}")


def publisher(
    recorded: Recorded,
    name: str,
    pose: np.ndarray,
) -> str:
    """The command that publishes a camera's pose (4, 4).

    A frame has one parent on TF. Where the optical frame is part of a tree, its root is what is
    published.
    """
    from lifting_ros.geometry.transform_tree import TransformError
    from lifting_ros.io.extrinsics import translation_and_rotation

    reference = recorded.names[0]
    child = recorded.transforms.root_of(name)
    stamp_ns = recorded.streams[recorded.names.index(name)].newest.stamp_ns
    if child == recorded.transforms.root_of(reference):
        return f"# TF in the bag connects {reference} and {name}: correct that transform instead"

    try:
        in_root = recorded.transforms.lookup(name, child, stamp_ns)
    except TransformError as error:
        return f"# {error}"

    translation, rotation = translation_and_rotation(pose @ in_root)
    numbers = zip(("x", "y", "z", "qx", "qy", "qz", "qw"), [*translation, *rotation])
    options = " ".join(f"--{key} {value}" for key, value in numbers)
    return (
        f"ros2 run tf2_ros static_transform_publisher {options}"
        f" --frame-id {reference} --child-frame-id {child}"
    )
