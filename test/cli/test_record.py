# SPDX-License-Identifier: Apache-2.0
"""`lifting record`: what is recorded by default, a disk that is full, and the quality of service
for rosbag2's own recorder."""

from __future__ import annotations

import itertools
import os
import re
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from domains import next_domain

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "ros"))
sys.path.insert(0, str(Path(__file__).parents[1] / "system"))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

import conftest_ros  # noqa: F401
import yaml
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore
from std_msgs.msg import String
from system_support import WAIT_S, Peer

from lifting_ros.cli.main import main
from lifting_ros.cli.record import add_arguments, chosen_topics
from lifting_ros.paths import share_file
from lifting_ros.ros.bag_format import BagWriter
from lifting_ros.ros.message_types import typestore_of

ROS_SOURCES = Path(__file__).parents[2] / "lifting_ros" / "ros"
DOMAIN = next_domain()


def topics_of(*words: str) -> list[str]:
    import argparse

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return chosen_topics(parser.parse_args(["--out", "bag", *words]))


def test_without_topics_the_outputs_of_the_node_are_recorded():
    source = "".join(path.read_text() for path in ROS_SOURCES.glob("*.py"))
    published = {f"/lifting/{name}" for name in re.findall(r'"~/(\w+)"', source)} - {
        "/lifting/enable",
        "/lifting/debug_image",
        "/lifting/anonymous_image",
        "/lifting/debug_maps",
        "/lifting/poses",
        "/lifting/people",
        "/lifting/detections_2d",
        "/lifting/detections_3d",
    }
    assert set(topics_of()) == published | {"/tf", "/tf_static", "/diagnostics"}
    assert topics_of("--image", "/cam/image_raw/compressed")[-2:] == [
        "/cam/image_raw/compressed",
        "/cam/camera_info",
    ]
    assert topics_of("/a", "/b", "/a") == ["/a", "/b"]
    assert "/robot/skeletons_3d" in topics_of("--namespace", "/robot")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--out", "there"], "--out there: exists already"),
        (["--out", "none/bag"], "the folder does not exist"),
        (["--out", "bag", "a b"], "a b: expected a name of letters"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capfd, arguments, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    assert main(["record", *arguments]) == 2
    said = capfd.readouterr().err.strip().splitlines()
    assert len(said) == 1 and line in said[0]
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@contextmanager
def small_files(limit: int):
    """Files cannot grow beyond `limit` bytes: writing fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill(writer: BagWriter, count: int) -> None:
    """`count` messages of 100 kB, numbered, and the end of the bag."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    connection = writer.add_connection(
        "/words", "std_msgs/msg/String", typestore=typestore_of(["std_msgs/msg/String"])
    )
    for k in range(count):
        message = store.types["std_msgs/msg/String"](data=f"{k:06}" * 17_000)
        writer.write(connection, k, bytes(store.serialize_cdr(message, "std_msgs/msg/String")))
    writer.close()


def recorded(bag: Path) -> list[tuple[int, bytes]]:
    """Time and number of each message, where counts and index agree with what is there."""
    with Reader(bag) as reader:
        rows = [(time_ns, bytes(data[8:14])) for _, time_ns, data in reader.messages()]
        assert reader.message_count == len(rows) == sum(c.msgcount for c in reader.connections)
    return rows


@pytest.mark.parametrize("short_by", [100, 700, 2_000, 300_000, 1_100_000, 2_500_000])
def test_what_a_full_disk_took_stays_readable(tmp_path, short_by):
    """Wherever the disk ends: in the index, in a chunk."""
    writer = BagWriter(tmp_path / "whole")
    writer.open()
    fill(writer, 40)
    size = (tmp_path / "whole" / "whole.mcap").stat().st_size
    writer = BagWriter(tmp_path / "bag")
    writer.open()
    with small_files(size - short_by):
        with pytest.raises(OSError):
            fill(writer, 40)
        writer.salvage()
    rows = recorded(tmp_path / "bag")
    assert rows == recorded(tmp_path / "whole")[: len(rows)]
    assert len(rows) >= 40 - 24 - short_by / 100_000  # at most two chunks are lost besides
    assert recorded(next((tmp_path / "bag").glob("*.mcap"))) == rows  # the file by itself as well


def test_a_disk_without_any_room_is_an_error(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    writer.open()
    with small_files(300):
        with pytest.raises(OSError):
            fill(writer, 1)
        with pytest.raises(OSError):
            writer.salvage()


FULL_DISK = """
import errno, sys
from lifting_ros.cli.main import main
from lifting_ros.ros.bag_format import _Mcap

whole, calls = _Mcap.close_chunk, []

def close_chunk(self):
    calls.append(1)
    if len(calls) >= 3:
        self.bio.write(b"half a chunk")
        raise OSError(errno.ENOSPC, "No space left on device")
    whole(self)

_Mcap.close_chunk = close_chunk
sys.exit(main(sys.argv[1:]))
"""


def start(log: Path, *command: str) -> subprocess.Popen:
    env = {**os.environ, "ROS_DOMAIN_ID": str(DOMAIN), "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, *command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env
        )


@pytest.fixture(scope="module")
def words():
    """A node of the test, and its publisher of /words."""
    with Peer(DOMAIN) as peer:
        yield peer, peer.node.create_publisher(String, "/words", 10)


def publish(peer: Peer, publisher, count: int, process: subprocess.Popen, log: Path) -> None:
    """Numbered messages of 100 kB, from when the recorder is there until it ends."""
    end = time.monotonic() + WAIT_S
    peer.wait(
        lambda: "recording /words" in log.read_text() or process.poll() is not None,
        "the recorder",
    )
    for k in itertools.count():
        peer.wait(
            lambda: publisher.get_subscription_count() or process.poll() is not None,
            "the subscription",
        )
        if k == count or process.poll() is not None:
            return
        assert time.monotonic() < end, log.read_text()
        publisher.publish(String(data=f"{k:06}" * 17_000))
        time.sleep(0.02)


def test_a_full_disk_ends_the_recording_with_status_1(tmp_path, words):
    log, bag = tmp_path / "log", tmp_path / "bag"
    process = start(log, "-c", FULL_DISK, "record", "--out", str(bag), "/words")
    publish(*words, 10_000, process, log)
    assert process.wait(WAIT_S) == 1, log.read_text()
    assert (
        log.read_text().count("No space left on device") == 1 and "Traceback" not in log.read_text()
    )
    rows = [number for _, number in recorded(bag)]
    assert len(rows) >= 20 and rows == sorted(rows) and len(set(rows)) == len(rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bag", "log"]


def test_recording_ends_with_0_on_a_signal(tmp_path, words):
    log, bag = tmp_path / "log", tmp_path / "bag"
    process = start(log, "-m", "lifting_ros.cli.main", "record", "--out", str(bag), "/words")
    publish(*words, 5, process, log)
    words[1].wait_for_all_acked()
    process.send_signal(signal.SIGINT)
    assert process.wait(WAIT_S) == 0, log.read_text()
    assert f"5 messages in {bag}" in log.read_text() and len(recorded(bag)) == 5


def test_qos_overrides_name_topics_as_rosbag2_does():
    profiles = yaml.safe_load(share_file("config/rosbag2_qos.yaml").read_text(encoding="utf-8"))
    source = "".join(path.read_text() for path in ROS_SOURCES.glob("*.py"))
    outputs = {f"/lifting/{name}" for name in re.findall(r'"~/(\w+)"', source)} - {
        "/lifting/enable"
    }
    inputs = {f"/{name}" for name in ("image", "camera_info", "depth") if f'"{name}"' in source}
    assert set(profiles) == outputs | inputs | {"/image/compressed", "/tf_static"}
    choices = {
        "history": {"keep_last", "keep_all"},
        "reliability": {"reliable", "best_effort"},
        "durability": {"volatile", "transient_local"},
    }
    for topic, profile in profiles.items():
        assert profile.keys() == {*choices, "depth"}, topic
        assert isinstance(profile["depth"], int) and profile["depth"] > 0
        assert all(profile[key] in words for key, words in choices.items()), topic
    assert profiles["/lifting/info"]["durability"] == "transient_local"
    assert {profiles[topic]["reliability"] for topic in inputs} == {"best_effort"}
