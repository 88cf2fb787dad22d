# SPDX-License-Identifier: Apache-2.0
"""How far fused joints are from the keypoints that the cameras found, in their images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lifting_ros.multiview.sighting import CameraFrame, View
from lifting_ros.skeleton import KEYPOINT_TO_JOINT
from lifting_ros.types import Person, Skeleton2D


def distances_px(joints_m: np.ndarray, found: Skeleton2D, view: View, least: float) -> np.ndarray:
    """Distances (K,) in px of joints (17, 3) in the common frame from the keypoints of one camera
    with a confidence of `least` or more."""
    apart_m = joints_m[list(KEYPOINT_TO_JOINT)] - view.pose[:3, 3]
    in_camera = apart_m @ view.pose[:3, :3]
    apart = view.camera.project(in_camera) - found.keypoints_px
    return np.linalg.norm(apart, axis=1)[found.confidence >= least]


def reprojection_px(
    persons: Sequence[Person],
    sources: Mapping[int, Mapping[str, int]],
    frames: Sequence[CameraFrame],
    least: float,
) -> dict[str, np.ndarray]:
    """By camera the distances (K,) in px, of all people whom two cameras or more see.

    persons, sources: as `SkeletonFuser.fuse` and `sources` give them; frames: those that were
    fused; least: confidence of a keypoint.
    """
    seen = {(frame.camera, p.id): (frame.view, p) for frame in frames for p in frame.persons}
    found: dict[str, list[np.ndarray]] = {}
    for person in persons:
        tracks = sources[person.id]
        if len(tracks) < 2:
            continue
        for camera, number in tracks.items():
            view, own = seen[camera, number]
            apart = distances_px(person.skeleton_3d.joints_m, own.skeleton_2d, view, least)
            found.setdefault(camera, []).append(apart)

    return {camera: np.concatenate(values) for camera, values in found.items()}
