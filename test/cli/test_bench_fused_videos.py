# SPDX-License-Identifier: Apache-2.0
"""bench/fused_videos.py on two cameras that the test makes: files in, distances out."""

import json
import sys
from pathlib import Path

import numpy as np
import yaml
from people_in_views import MATRIX, around, frames, walker
from scipy.spatial.transform import Rotation

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import fused_videos as bench

from lifting_ros.geometry.body_frame import in_frame
from lifting_ros.io.arrays import write_npz
from lifting_ros.io.pose_table import PoseFrame, frame_arrays

PERIOD_NS = 33_333_333


def test_fused_skeletons_fit_both_images(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    places = {"frame": "room", "cameras": {}}
    for name, view in zip(("a", "b"), around((0, 90))):
        to_camera = np.linalg.inv(view.pose)
        recorded = []
        for number, joints in enumerate(walker((-0.2, 0), (0.2, 0), 0.3)):
            (frame,) = frames([view], [joints], rng)
            persons = tuple(in_frame(person, to_camera) for person in frame.persons)
            recorded.append(PoseFrame(number * PERIOD_NS, "", persons))
        write_npz(tmp_path / f"{name}.npz", frame_arrays(recorded))
        places["cameras"][name] = {
            "translation": view.pose[:3, 3].tolist(),
            "rotation": Rotation.from_matrix(view.pose[:3, :3]).as_quat().tolist(),
        }

    (tmp_path / "places.yaml").write_text(yaml.safe_dump(places), encoding="utf-8")
    matrix = {"data": MATRIX.ravel().tolist()}
    camera = {"image_width": 1280, "image_height": 960, "camera_matrix": matrix}
    (tmp_path / "camera.yaml").write_text(yaml.safe_dump(camera), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    command = (
        "fused_videos a.npz b.npz --camera camera.yaml camera.yaml --extrinsics places.yaml"
        " --json out.json"
    )
    monkeypatch.setattr(sys, "argv", command.split())
    assert bench.main() == 0

    rows = json.loads(Path("out.json").read_text(encoding="utf-8"))
    for name in ("a", "b"):
        fused = rows[f"{name}, fused skeleton"]["median px"]
        assert 1 < fused < 6  # the keypoints' own noise is 3 px along each axis
        assert rows[f"{name}, the other's skeleton"]["median px"] > 5 * fused
