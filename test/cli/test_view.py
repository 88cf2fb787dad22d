# SPDX-License-Identifier: Apache-2.0
"""`lifting view`: what the viewer is given, with a stand-in that keeps every call, and with Rerun
itself where it is installed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed, so that no bag can be made")
sys.path.insert(0, str(Path(__file__).parents[1] / "ros"))

import bags
import conftest_ros  # noqa: F401
from ros_support import header, person
from viewer_calls import Calls

from lifting_ros.cli.main import main
from lifting_ros.ros.bag_estimation import Answer
from lifting_ros.ros.bag_format import BagWriter
from lifting_ros.ros.bag_input import InputBag
from lifting_ros.ros.bag_output import OriginalTopics, PoseTopics, copy_with_poses
from lifting_ros.ros.conversions import skeleton_info
from lifting_ros.ros.markers import MarkerConfig

STAMPS = [bags.START_NS + k * bags.PERIOD_NS for k in range(3)]
RGB = np.random.default_rng(2).integers(0, 255, (24, 32, 3), np.uint8)
A, B, C = (
    person(np.random.default_rng(seed), track, invalid=gone)
    for seed, track, gone in ((1, 7, (4,)), (2, 7, ()), (3, 9, ()))
)
PERSONS = [(A,), (B, C), ()]


@pytest.fixture
def calls(monkeypatch):
    module = Calls()
    monkeypatch.setitem(sys.modules, "rerun", module)
    return module


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """Images with poses of PERSONS; the third shows nobody."""
    folder = tmp_path_factory.mktemp("view")
    messages = [
        ("/cam/camera_info", STAMPS[0] - 1, bags.camera_info(STAMPS[0], width=32, height=24))
    ]
    messages += [("/cam/image_raw", stamp, bags.image(RGB, stamp)) for stamp in STAMPS]
    answers = [
        Answer(header(*divmod(stamp, 10**9)), persons)
        for stamp, persons in zip(STAMPS, PERSONS, strict=True)
    ]
    with (
        InputBag(bags.write_bag(folder / "in", messages)) as source,
        BagWriter(folder / "bag") as writer,
    ):
        originals = OriginalTopics(writer, source)
        topics = PoseTopics(writer, "/lifting", MarkerConfig(), skeleton_info("lite", "a", "b"))
        for _ in copy_with_poses(
            source,
            source.of_topic("/cam/image_raw", "sensor_msgs/msg/Image"),
            answers,
            topics,
            originals,
        ):
            pass
    return folder / "bag"


def test_skeletons_and_covariances_are_on_a_timeline_by_stamp(calls, bag, tmp_path):
    assert main(["view", str(bag), "--save", str(tmp_path / "a.rrd")]) == 0
    (first, second) = calls.of("world/people/7/joints")[:2]
    assert [first[0], second[0]] == STAMPS[:2]
    pose = PERSONS[0][0].skeleton_3d
    there = [
        j for j in range(17) if j != 4
    ]  # 4 is invalid: not drawn, nor the limbs that end in it
    np.testing.assert_array_equal(first[1].args[0], pose.joints_m[there])
    assert first[1].colors[3][3] < first[1].colors[1][3]  # joint 3 was not seen
    assert len(calls.of("world/people/7/limbs")[0][1].args[0]) == 14
    shapes = calls.of("world/people/7/covariance")[0][1]
    assert (
        len(shapes.centers) == len(shapes.half_sizes) == len(shapes.quaternions) == 15
    )  # nor the root, which has none
    np.testing.assert_allclose(
        np.prod(shapes.half_sizes[0]) ** 2, np.linalg.det(pose.covariance_m2[1]), rtol=1e-6
    )
    assert calls.logged[0][1:] == ("world", calls.ViewCoordinates.RDF) and calls.closed == 1


def test_persons_vanish_when_they_are_gone(calls, bag, tmp_path):
    assert main(["view", str(bag), "--save", str(tmp_path / "a.rrd")]) == 0
    for name in ("7", "9"):
        cleared = [
            stamp
            for stamp, what in calls.of(f"world/people/{name}")
            if what.kind == "Clear" and what.recursive
        ]
        assert cleared == [STAMPS[2]]


def test_keypoints_lie_over_the_image(calls, bag, tmp_path):
    assert main(["view", str(bag), "--save", str(tmp_path / "a.rrd")]) == 0
    assert [stamp for stamp, _ in calls.of("world/camera/image")] == STAMPS
    assert calls.of("world/camera/image")[0][1].contents[:2] == b"\xff\xd8"  # JPEG
    np.testing.assert_array_equal(
        calls.of("world/camera/people/7/keypoints")[0][1].args[0],
        PERSONS[0][0].skeleton_2d.keypoints_px,
    )
    (camera,) = [what for _, what in calls.of("world/camera")]
    assert camera.image_from_camera[0][0] == 600.0 and camera.resolution == [32, 24]


def test_a_window_is_opened_unless_a_file_is_named(calls, bag, tmp_path):
    assert main(["view", str(bag)]) == 0
    assert calls.opened == ["window"] and calls.closed == 1
    assert main(["view", str(bag), "--save", str(tmp_path / "a.rrd")]) == 0
    assert (
        calls.opened[1:] == [str(tmp_path / "a.rrd.partial")]
        and (tmp_path / "a.rrd").read_bytes() == b"recording"
    )


@pytest.mark.parametrize("name", ["poses.npz", "poses.json"])
def test_a_table_shows_the_same_poses(calls, bag, tmp_path, name):
    assert main(["poses", str(bag), "--out", str(tmp_path / name)]) == 0
    assert main(["view", str(bag), "--save", str(tmp_path / "a.rrd")]) == 0
    of_bag, calls.logged = calls.logged, []
    assert main(["view", str(tmp_path / name), "--save", str(tmp_path / "a.rrd")]) == 0
    people = [repr(row) for row in of_bag if "people" in row[1]]
    assert people == [repr(row) for row in calls.logged if "people" in row[1]] and people


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere", "--save", "a.rrd"], "nowhere: no such bag"),
        (["BAG", "--save", "a.png"], "--save a.png: expected a name that ends in .rrd"),
        (["BAG", "--save", "none/a.rrd"], "the folder does not exist"),
        (["BAG", "--save", "a.rrd", "--image", "/x"], "--image /x: no such topic with images"),
        (["text.npz", "--save", "a.rrd"], "text.npz: not a readable .npz"),
        (["other.npz", "--save", "a.rrd"], "other.npz: joints_m: no such array"),
        (["other.npz", "--topic", "/x"], "--topic and --image are for bags"),
        (["other.csv", "--image", "/x"], "--topic and --image are for bags"),
        (["walk.bvh", "--save", "a.rrd"], "walk.bvh: not read; expected a bag or .csv, .npz"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(  # noqa: PLR0913 - cases and fixtures
    calls, bag, tmp_path, monkeypatch, capfd, arguments, line
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.npz").write_text("no arrays")
    np.savez(tmp_path / "other.npz", poses=np.zeros(3))
    before = sorted(tmp_path.iterdir())
    assert main(["view", *(str(bag) if word == "BAG" else word for word in arguments)]) == 2
    said = capfd.readouterr().err.strip().splitlines()
    assert len(said) == 1 and line in said[0]
    assert sorted(tmp_path.iterdir()) == before


def test_a_viewer_that_is_not_installed_is_named(bag, tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "rerun", None)
    assert main(["view", str(bag), "--save", str(tmp_path / "a.rrd")]) == 2
    said = capfd.readouterr().err.strip().splitlines()
    assert len(said) == 1 and "pip install rerun-sdk" in said[0] and not list(tmp_path.iterdir())


def test_rerun_takes_it_and_writes_a_file(bag, tmp_path):
    pytest.importorskip("rerun", reason="the viewer is not installed: pip install rerun-sdk")
    out = tmp_path / "a.rrd"
    assert main(["view", str(bag), "--save", str(out)]) == 0
    assert out.read_bytes()[:3] == b"RRF" and out.stat().st_size > 10_000
