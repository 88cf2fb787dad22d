# SPDX-License-Identifier: Apache-2.0
"""Reprojection error of people in two videos or more: of each camera's own skeletons, in its own
image and in the others', and of the fused ones.

Each POSES.npz is what `lifting estimate VIDEO --camera CAMERA.yaml --out POSES.npz` wrote; the
videos begin at the same time. PLACES.yaml has the cameras' places as for `lifting fuse
--extrinsics`, under the names of the .npz files without their suffix. Distances in px, of joints
from the keypoints that were found; people whom several cameras see.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from lifting_ros.cli.tables import print_table
from lifting_ros.io.camera_files import read_camera_file
from lifting_ros.io.extrinsics import read_extrinsics
from lifting_ros.io.pose_table import read_frames
from lifting_ros.multiview.fuser import SkeletonFuser
from lifting_ros.multiview.fusion_config import FusionConfig
from lifting_ros.multiview.reprojection import distances_px
from lifting_ros.multiview.sighting import CameraFrame, View
from lifting_ros.multiview.timeline import CameraStream, common_stamps

LEAST_CONFIDENCE = 0.15


def read_stream(poses: Path, calibration: Path, frame: str, places) -> CameraStream:
    """The frames of a video in the common frame."""
    file = read_camera_file(calibration)
    pose = places.lookup(frame, poses.stem, 0)
    view = View(file.camera(file.width, file.height), pose)
    stream = CameraStream()
    for one in read_frames(poses):
        stream.add(CameraFrame.of(poses.stem, view, one.stamp_ns, one.persons, pose))
    return stream


def measure(streams: list[CameraStream], config: FusionConfig) -> dict[str, dict[str, float]]:
    """Median and mean distances by camera and skeleton."""
    fuser = SkeletonFuser(config)
    found = defaultdict(list)
    for stamp in common_stamps(streams):
        frames = [stream.at(stamp, config.max_extrapolation_s) for stream in streams]
        frames = [frame for frame in frames if frame is not None]
        seen = {(frame.camera, p.id): (frame.view, p) for frame in frames for p in frame.persons}
        for person in fuser.fuse(stamp, frames):
            sources = fuser.sources[person.id]
            if len(sources) < 2:
                continue
            for camera, number in sources.items():
                view, own = seen[camera, number]
                for other in sources.items():
                    joints = seen[other][1].skeleton_3d.joints_m
                    name = "its own skeleton" if other[0] == camera else "the other's skeleton"
                    found[f"{camera}, {name}"].append(
                        distances_px(joints, own.skeleton_2d, view, LEAST_CONFIDENCE)
                    )
                joints = person.skeleton_3d.joints_m
                found[f"{camera}, fused skeleton"].append(
                    distances_px(joints, own.skeleton_2d, view, LEAST_CONFIDENCE)
                )

    rows = {}
    for name, values in sorted(found.items()):
        px = np.concatenate(values)
        figures = (np.median(px), px.mean(), len(values))
        rows[name] = dict(zip(("median px", "mean px", "persons"), map(float, figures)))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("poses", nargs="+", type=Path, metavar="POSES.npz", help="one a camera")
    parser.add_argument(
        "--camera", nargs="+", type=Path, required=True, metavar="CAMERA.yaml", help="one a camera"
    )
    parser.add_argument("--extrinsics", required=True, metavar="PLACES.yaml", help="their places")
    parser.add_argument(
        "--calibration-noise", type=float, default=2.0, metavar="PX", help="px (default 2)"
    )
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures here as well")
    args = parser.parse_args()

    frame, places = read_extrinsics(args.extrinsics)
    pairs = zip(args.poses, args.camera, strict=True)
    streams = [read_stream(poses, camera, frame, places) for poses, camera in pairs]
    rows = measure(streams, FusionConfig(calibration_noise_px=args.calibration_noise))
    print_table("joints from keypoints", rows)
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
