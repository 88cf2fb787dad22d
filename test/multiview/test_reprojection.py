# SPDX-License-Identifier: Apache-2.0
"""Distances of fused joints from keypoints, in the images."""

from dataclasses import replace

import numpy as np
import pytest
from people_in_views import around, frames, walker

from lifting_ros.multiview.reprojection import reprojection_px

VIEWS = around((0, 90), distorted=True)
JOINTS = walker()[0]


def seen(people):
    cameras = frames(VIEWS, people, None)
    sources = {k + 1: {camera.camera: k + 1 for camera in cameras} for k in range(len(people))}
    return cameras, sources, cameras[0].persons


def test_exact_joints_are_on_their_keypoints():
    cameras, sources, persons = seen([JOINTS, JOINTS + (1.0, 0, 0)])
    apart = reprojection_px(persons, sources, cameras, 0.15)
    assert set(apart) == {"camera0", "camera1"}
    assert all(len(px) == 28 and px.max() < 1e-6 for px in apart.values())


def test_pixels_of_sure_keypoints_are_counted():
    cameras, sources, persons = seen([JOINTS])
    flat = cameras[1].persons[0].skeleton_2d
    confidence = flat.confidence.copy()
    confidence[:4] = 0.1
    flat = replace(flat, keypoints_px=flat.keypoints_px + (3, 4), confidence=confidence)
    moved = replace(cameras[1].persons[0], skeleton_2d=flat)
    cameras[1] = replace(cameras[1], persons=(moved,))
    apart = reprojection_px(persons, sources, cameras, 0.15)
    assert apart["camera1"] == pytest.approx(np.full(10, 5.0)) and apart["camera0"].max() < 1e-6


def test_whom_one_camera_sees_does_not_count():
    cameras, _, persons = seen([JOINTS])
    assert reprojection_px(persons, {1: {"camera0": 1}}, cameras, 0.15) == {}
