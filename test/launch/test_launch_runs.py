# SPDX-License-Identifier: Apache-2.0
"""The launch files run with ROS' own launch, until skeletons come out. Skipped where launch_ros
cannot be imported."""

import os
import shutil
import signal
import time
from pathlib import Path

import bags
import cv2
import pytest
from ament_index_python import get_packages_with_prefixes
from launch_support import WAIT_S, environment, start
from rosbags.rosbag2 import StoragePlugin
from system_support import Peer, stamp_ns

from lifting_ros.io.bag_poses import read_bag


@pytest.fixture
def launch_file(importable, domain, tmp_path):
    """Function that starts a launch file by its name; what still runs at the end is ended."""
    importable("launch_ros.actions")
    started = []

    def start_one(name: str, *arguments: str):
        started.append(
            start(name, environment(domain, tmp_path / "logs", str(tmp_path)), *arguments)
        )
        return started[-1]

    yield start_one
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=WAIT_S)


@pytest.fixture
def without_tools():
    """Skips where rviz2 and ros2bag are installed, which the test wants to be missing."""
    if {"rviz2", "ros2bag"} & set(get_packages_with_prefixes()):
        pytest.skip("rviz2 and ros2bag are installed")


@pytest.fixture
def patient(tmp_path) -> str:
    """The argument for a node that answers every image, and clears nothing, however long that
    takes."""
    path = tmp_path / "patient.yaml"
    values = "{queue: 10, qos: {reliability: reliable, depth: 10}, silence_s: 0.0}"
    path.write_text(f"/**: {{ros__parameters: {values}}}\n")
    return f"params_file:={path}"


QUIET_S = 60.0
"""After so long without another answer there are no more."""


def end_when_answered(process, domain: int, topic: str, count: int) -> str:
    """Send SIGINT once there are so many answers; what launch has printed.

    A busy machine may discover the peer late, so that it misses the first answers, which the
    recorder has: after QUIET_S without another answer there are no more.
    """
    from lifting_ros.msg import Skeleton3DArray
    from visualization_msgs.msg import MarkerArray

    with Peer(domain) as peer:
        markers = topic.replace("skeletons_3d", "markers")  # published last
        peer.listen(Skeleton3DArray, topic)
        peer.listen(MarkerArray, markers)
        answers = (peer.received[topic], peer.received[markers])
        heard = (0, 0.0)

        def is_over() -> bool:
            nonlocal heard
            fewest = min(map(len, answers))
            if fewest > heard[0]:
                heard = (fewest, time.monotonic())
            is_quiet = fewest > 0 and time.monotonic() - heard[1] > QUIET_S
            return fewest >= count or is_quiet or process.poll() is not None

        peer.wait(is_over, "answers")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=WAIT_S)
    return output


def write_images(folder: Path) -> None:
    folder.mkdir()
    for k, pixels in enumerate(bags.frames([80, 81, 82, 83])):
        cv2.imwrite(str(folder / f"{k}.png"), pixels[..., ::-1])


def test_demo_ends_with_its_source(launch_file, tmp_path):
    write_images(tmp_path / "images")
    process = launch_file("demo.launch.py", f"source:={tmp_path / 'images'}", "fps:=2.0")
    output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0 and "4 frames published" in output, output


def test_demo_records_every_answer(launch_file, domain, tmp_path, patient):
    write_images(tmp_path / "images")
    process = launch_file(
        "demo.launch.py",
        f"source:={tmp_path / 'images'}",
        "fps:=2.0",
        "namespace:=bot",
        "name:=eyes",
        "image:=image_raw",
        f"camera_yaml:={bags.CALIBRATION}",
        f"record:={tmp_path / 'poses'}",
        "end:=false",
        patient,
    )
    output = end_when_answered(process, domain, "/bot/eyes/skeletons_3d", 4)
    poses = read_bag(tmp_path / "poses")
    assert len(poses.frames) == 4 and poses.occupied, output
    # The node takes its markers back when it ends, while the recorder may still listen
    assert poses.messages.pop("/bot/eyes/markers") in (4, 5)
    outputs = [f"/bot/eyes/{name}" for name in ("skeletons_2d", "skeletons_3d")]
    assert poses.messages == dict.fromkeys([*outputs, "/bot/camera_info"], 4) | {
        "/bot/eyes/info": 1
    }


def test_demo_says_that_the_source_is_wrong_and_ends(launch_file, tmp_path):
    process = launch_file("demo.launch.py", f"source:={tmp_path}/none.mp4")
    output, _ = process.communicate(timeout=WAIT_S)
    assert "none.mp4: no such file or folder" in output and "lifting_replay" in output


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (("lifting.launch.py", "rviz:=true"), "rviz:=true: the package rviz2 is not installed"),
        (("demo.launch.py", "rviz:=true"), "rviz:=true: the package rviz2 is not installed"),
        (("demo.launch.py", "bag:=none"), "bag:=: the package ros2bag is not installed"),
        (("demo.launch.py", "cameras:=front"), "cameras: the demo has one camera"),
        (("demo.launch.py", "fps:=fast"), "fps:=fast: expected a number"),
    ],
)
def test_nothing_is_started_if_something_is_missing(launch_file, without_tools, given, text):
    process = launch_file(*given)
    output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1 and text in output
    assert "process started" not in output, output


def test_demo_plays_a_bag_under_its_own_clock(launch_file, domain, tmp_path, patient, monkeypatch):
    index = tmp_path / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "ros2bag").touch()
    prefixes = [*os.environ["AMENT_PREFIX_PATH"].split(os.pathsep), str(tmp_path)]
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join(prefixes))
    shutil.copy(Path(__file__).parent / "ros2_stand_in.py", tmp_path / "ros2")
    stamps = [bags.START_NS + k * 10**9 for k in range(3)]
    messages = []
    for stamp, pixels in zip(stamps, bags.frames([0, 80, 81])):
        messages += [
            ("/cam/camera_info", stamp, bags.camera_info(stamp)),
            ("/cam/image_raw", stamp + 1, bags.image(pixels, stamp)),
        ]
    bag = bags.write_bag(tmp_path / "bag", messages, StoragePlugin.MCAP)
    process = launch_file(
        "demo.launch.py",
        f"bag:={bag}",
        "image:=/cam/image_raw",
        "delay:=0.0",
        f"record:={tmp_path / 'poses'}",
        "end:=false",
        patient,
    )
    output = end_when_answered(process, domain, "/lifting/skeletons_3d", 3)
    poses = read_bag(tmp_path / "poses")
    assert [frame.stamp_ns for frame in poses.frames] == stamps and poses.occupied, output


def test_two_cameras_have_a_node_each(launch_file, domain):
    from lifting_ros.msg import Skeleton3DArray
    from sensor_msgs.msg import Image

    from lifting_ros.ros.conversions import array_to_image

    process = launch_file(
        "lifting.launch.py",
        "namespace:=bot",
        "cameras:=front,rear",
        "image:=image_raw",
        "device:=cpu",
    )
    (pixels,) = bags.frames([80])
    with Peer(domain) as peer:
        publishers = {}
        for camera in ("front", "rear"):
            peer.listen(Skeleton3DArray, f"/bot/{camera}/lifting/skeletons_3d")
            publishers[camera] = peer.node.create_publisher(Image, f"/bot/{camera}/image_raw", 10)
        both = publishers.values()
        peer.wait(
            lambda: process.poll() is not None or all(p.get_subscription_count() for p in both),
            "subscriptions",
            limit_s=WAIT_S,
        )
        assert process.poll() is None, process.stdout.read()
        for second, (camera, publisher) in enumerate(publishers.items(), start=1):
            message = array_to_image(pixels, "rgb8", _header(second, camera))
            publisher.publish(message)
        peer.wait(lambda: len(peer.received) == 2 and all(peer.received.values()), "skeletons")
    answers = {topic: messages[0] for topic, messages in peer.received.items()}
    assert {topic: (stamp_ns(m.header), m.header.frame_id) for topic, m in answers.items()} == {
        "/bot/front/lifting/skeletons_3d": (10**9, "front"),
        "/bot/rear/lifting/skeletons_3d": (2 * 10**9, "rear"),
    }
    assert all(m.skeletons for m in answers.values())


def _header(second: int, frame: str):
    from builtin_interfaces.msg import Time
    from std_msgs.msg import Header

    return Header(stamp=Time(sec=second), frame_id=frame)
