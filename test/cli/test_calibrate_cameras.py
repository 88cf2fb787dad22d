# SPDX-License-Identifier: Apache-2.0
"""`lifting calibrate-cameras`: a bag with poses of several cameras in, their places out, as
`lifting fuse` and TF take them."""

from __future__ import annotations

import shlex
from dataclasses import replace

import bags
import numpy as np
import pytest
import test_fuse
from people_in_views import walker
from scipy.spatial.transform import Rotation
from test_fuse import NAMES, PERIOD_NS, VIEWS, make_bag, optical

from lifting_ros.cli.main import main
from lifting_ros.config import ConfigError
from lifting_ros.io.extrinsics import read_clocks, read_extrinsics
from lifting_ros.multiview.fuser import SkeletonFuser

WALK = np.concatenate([walker((-0.6, -0.5), (0.6, 0.4), 1.5), walker((0.7, 0.3), (-0.5, 0.6), 1.5)])
FRONT, SIDE = map(optical, NAMES)
TRUTH = np.linalg.inv(VIEWS[0].pose) @ VIEWS[1].pose


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return make_bag(tmp_path_factory.mktemp("places") / "bag", tf=False, walk=WALK)


@pytest.fixture(scope="module")
def places(bag):
    out = bag.parent / "places.yaml"
    assert main(["calibrate-cameras", str(bag), "--out", str(out)]) == 0
    return out


def turn_deg(pose: np.ndarray, truth: np.ndarray) -> float:
    return np.degrees(Rotation.from_matrix(truth[:3, :3].T @ pose[:3, :3]).magnitude())


def test_places_are_those_of_the_cameras(places):
    frame, tree = read_extrinsics(places)
    pose = tree.lookup(FRONT, SIDE, 0)
    assert frame == FRONT
    assert turn_deg(pose, TRUTH) < 2
    assert np.linalg.norm(pose[:3, 3] - TRUTH[:3, 3]) < 0.3


def test_fuse_reads_them(bag, places, tmp_path, capsys):
    out = tmp_path / "fused.npz"
    assert main(["fuse", str(bag), "--out", str(out), "--extrinsics", str(places)]) == 0
    printed = capsys.readouterr().out
    assert f"1 persons in {len(WALK)} of {len(WALK)} frames from 2 cameras, 100%" in printed
    assert set(np.load(out)["frame_id"]) == {FRONT}


def options_of(line: str) -> dict[str, str]:
    words = shlex.split(line)
    assert words[:4] == ["ros2", "run", "tf2_ros", "static_transform_publisher"]
    return dict(zip(words[4::2], words[5::2]))


def pose_of(options: dict[str, str]) -> np.ndarray:
    pose = np.eye(4)
    quaternion = [float(options[f"--q{axis}"]) for axis in "xyzw"]
    pose[:3, :3] = Rotation.from_quat(quaternion).as_matrix()
    pose[:3, 3] = [float(options[f"--{axis}"]) for axis in "xyz"]
    return pose


def test_report_and_publisher_are_printed(bag, tmp_path, capsys):
    out = tmp_path / "a.yaml"
    assert main(["calibrate-cameras", str(bag), "--out", str(out), "--frame", SIDE]) == 0
    *report, line = capsys.readouterr().out.splitlines()
    assert report[1].startswith(f"cameras in {SIDE}, from ")
    assert "rotation std deg" in report[2] and "reprojection px" in report[2]
    assert report[-1].endswith(f"of the keypoints fit; places of the cameras: {out}")
    options = options_of(line)
    assert (options["--frame-id"], options["--child-frame-id"]) == (SIDE, FRONT)
    assert np.allclose(pose_of(options), read_extrinsics(out)[1].lookup(SIDE, FRONT, 0))


def test_clocks_are_found_and_taken_off_by_fuse(tmp_path, capsys, monkeypatch):
    late_ns = 160_000_000
    monkeypatch.setattr(test_fuse, "LATE_NS", late_ns)
    late = make_bag(tmp_path / "bag", tf=False, walk=WALK)
    out = tmp_path / "places.yaml"
    assert main(["calibrate-cameras", str(late), "--out", str(out), "--clocks", "0.4"]) == 0
    assert "clock s" in capsys.readouterr().out
    clocks = read_clocks(out)
    assert list(clocks) == [SIDE] and clocks[SIDE] == pytest.approx(0.16, abs=0.02)
    pose = read_extrinsics(out)[1].lookup(FRONT, SIDE, 0)
    assert turn_deg(pose, TRUTH) < 3

    seen = []

    def watch(self, stamp_ns, frames):
        seen.append((stamp_ns, len(frames)))
        return fuse(self, stamp_ns, frames)

    fuse = SkeletonFuser.fuse
    monkeypatch.setattr(SkeletonFuser, "fuse", watch)
    npz = tmp_path / "fused.npz"
    assert main(["fuse", str(late), "--out", str(npz), "--extrinsics", str(out)]) == 0
    # Both cameras span the same time now, but for what the offset is wrong by
    span_ns = (len(WALK) - 1) * PERIOD_NS
    assert seen[-1][0] - seen[0][0] < span_ns + 0.03e9
    assert sum(count == 2 for _, count in seen) >= len(WALK) - 2


@pytest.mark.parametrize("value", ["soon", ".inf", "[1]"])
def test_clock_that_is_no_number_is_one_line(tmp_path, value):
    pose = f"translation: [0, 0, 0], rotation: [0, 0, 0, 1], clock_s: {value}"
    (tmp_path / "a.yaml").write_text(f"frame: room\ncameras:\n  side: {{{pose}}}\n")
    with pytest.raises(ConfigError, match="cameras.side.clock_s: expected seconds"):
        read_clocks(tmp_path / "a.yaml")


def link(parent: str, child: str):
    """/tf_static with an optical frame in its camera's link."""
    turn = bags.make("geometry_msgs/Quaternion", x=-0.5, y=0.5, z=-0.5, w=0.5)
    place = bags.make("geometry_msgs/Vector3", x=0.1, y=0.2, z=0.0)
    one = bags.make(
        "geometry_msgs/TransformStamped",
        header=replace(bags.header(bags.START_NS), frame_id=parent),
        child_frame_id=child,
        transform=bags.make("geometry_msgs/Transform", translation=place, rotation=turn),
    )
    return bags.make("tf2_msgs/TFMessage", transforms=[one])


def test_frame_with_a_parent_keeps_it(places, tmp_path, capsys):
    also = [link("side_link", SIDE)]
    linked = make_bag(tmp_path / "bag", tf=False, walk=WALK, also=also)
    assert main(["calibrate-cameras", str(linked), "--out", str(tmp_path / "a.yaml")]) == 0
    options = options_of(capsys.readouterr().out.splitlines()[-1])
    assert options["--child-frame-id"] == "side_link"
    in_link = np.eye(4)
    in_link[:3, :3] = Rotation.from_quat([-0.5, 0.5, -0.5, 0.5]).as_matrix()
    in_link[:3, 3] = (0.1, 0.2, 0.0)
    expected = read_extrinsics(places)[1].lookup(FRONT, SIDE, 0)
    assert np.allclose(pose_of(options) @ in_link, expected, atol=1e-5)


def test_cameras_that_tf_connects_get_no_publisher(tmp_path, capsys):
    connected = make_bag(tmp_path / "bag", walk=WALK)
    assert main(["calibrate-cameras", str(connected), "--out", str(tmp_path / "a.yaml")]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line == f"# TF in the bag connects {FRONT} and {SIDE}: correct that transform instead"


def error_line(capsys, *arguments) -> str:
    assert main(["calibrate-cameras", *map(str, arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_bad_input_is_one_line(bag, tmp_path, capsys):
    out = tmp_path / "out.yaml"
    one = make_bag(tmp_path / "one", names=("front",))
    short = make_bag(tmp_path / "short", walk=WALK[:3])
    assert "two cameras or more" in error_line(capsys, one, "--out", out)
    assert "--frame room: expected" in error_line(capsys, bag, "--out", out, "--frame", "room")
    assert "--out" in error_line(capsys, bag, "--out", tmp_path / "out.txt")
    assert f"{SIDE}: expected at least 5 frames" in error_line(capsys, short, "--out", out)
    assert not out.exists()
