# SPDX-License-Identifier: Apache-2.0
"""The node as a process: stamps, bad input, what is published for nobody, and how it ends."""

from __future__ import annotations

import itertools
import signal
import time

import cv2
import numpy as np
import pytest
from lifting_ros.msg import Skeleton2DArray, Skeleton3DArray, SkeletonInfo
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_support import FRAME, camera_info, image
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from system_support import WAIT_S, stamp_ns
from visualization_msgs.msg import MarkerArray

from lifting_ros.estimator import SHIPPED, WEIGHTS
from lifting_ros.io.checkpoint import sha256_of

_stamps = itertools.count(5, 3)
RGB = np.random.default_rng(3).integers(0, 255, (240, 320, 3), np.uint8)
OUTPUTS = {
    "/lifting/skeletons_2d": Skeleton2DArray,
    "/lifting/skeletons_3d": Skeleton3DArray,
    "/lifting/markers": MarkerArray,
    "/lifting/debug_image": Image,
}


class Conversation:
    """A running node, and the test's side of its topics."""

    def __init__(self, node, peer):
        self.node, self.peer = node, peer
        self._images = peer.node.create_publisher(Image, "image", 10)
        self._infos = peer.node.create_publisher(CameraInfo, "camera_info", 10)
        for topic, kind in OUTPUTS.items():
            peer.listen(kind, topic)
        connected = (self._images.get_subscription_count, self._infos.get_subscription_count)
        listened = [lambda topic=topic: peer.node.count_publishers(topic) for topic in OUTPUTS]
        peer.wait(lambda: all(count() for count in (*connected, *listened)), "connections", node)

    def send(self, message: Image) -> int:
        """Publish under a new stamp, which is returned."""
        message.header.stamp.sec, message.header.stamp.nanosec = next(_stamps), 123_456_789
        self._images.publish(message)
        return stamp_ns(message.header)

    def tell(self, info: CameraInfo, metric: bool) -> None:
        """Publish `info`, and wait until skeletons are metric, or no longer."""
        self._infos.publish(info)
        end = time.monotonic() + WAIT_S
        while self.ask(image(RGB, "rgb8")).skeletons[0].metric != metric:
            assert time.monotonic() < end, self.node.output

    def ask(self, message: Image) -> Skeleton3DArray:
        """The answer to an image, which is sent again while there is none: the node drops images,
        and may."""
        stamps = set()
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            stamps.add(self.send(message))
            again = time.monotonic() + 15
            self.peer.wait(
                lambda again=again: self.answers(stamps) or time.monotonic() > again,
                "an answer",
                self.node,
            )
            if self.answers(stamps):
                return self.answers(stamps)[0]
        raise AssertionError(f"no answer to any of {len(stamps)} images:\n{self.node.output}")

    def answers(self, stamps: set[int]) -> list[Skeleton3DArray]:
        """Those that have come to images of these stamps."""
        received = self.peer.received["/lifting/skeletons_3d"]
        return [message for message in received if stamp_ns(message.header) in stamps]


@pytest.fixture(scope="module")
def talk(processes, peer, keen):
    """A node that sees somebody everywhere and warns without pause."""
    node = processes.start("node", "--ros-args", *keen, "-p", "warn_period_s:=0.0")
    node.wait_for("images from /image")
    return Conversation(node, peer)


def test_without_camera_info_skeletons_are_not_metric(talk):
    (skeleton,) = talk.ask(image(RGB, "rgb8")).skeletons
    assert not skeleton.metric
    talk.node.wait_for("camera_info: none received, so the skeletons are not metric")


def test_stamp_and_frame_of_the_image_are_on_everything(talk):
    talk.tell(camera_info(320, 240, 300.0), metric=True)
    answer = talk.ask(image(RGB, "rgb8"))
    stamp = stamp_ns(answer.header)

    def headers(topic):
        for message in talk.peer.received[topic]:
            yield from (
                (m.header for m in message.markers)
                if topic.endswith("markers")
                else [message.header]
            )

    for topic in OUTPUTS:
        talk.peer.wait(lambda t=topic: stamp in map(stamp_ns, headers(t)), topic, talk.node)
        assert {h.frame_id for h in headers(topic)} == {FRAME}
    assert answer.skeletons[0].metric and len(answer.skeletons) == 1


def test_debug_image_has_the_size_of_the_image(talk):
    talk.ask(image(RGB[:200, :300], "rgb8"))
    talk.peer.wait(
        lambda: any(m.height == 200 for m in talk.peer.received["/lifting/debug_image"]),
        "debug image",
        talk.node,
    )
    message = talk.peer.received["/lifting/debug_image"][-1]
    assert (message.width, message.encoding, len(message.data)) == (300, "rgb8", 200 * 300 * 3)


def test_info_reaches_who_comes_later(talk):
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    talk.peer.listen(SkeletonInfo, "/lifting/info", qos)
    talk.peer.wait(lambda: talk.peer.received["/lifting/info"], "info", talk.node)
    info = talk.peer.received["/lifting/info"][0]
    assert info.weights_sha256 == sha256_of(WEIGHTS / f"{SHIPPED[0]}.safetensors")
    assert info.prior_sha256 == sha256_of(WEIGHTS / "prior.npz")


BAD_IMAGES = {
    "encoding: expected one of": {"encoding": "x11"},
    "width, height: expected an image, got 0x0": {"width": 0, "height": 0, "step": 0, "data": b""},
    "data: expected 230400 bytes (step x height), got 1000": {"data": bytes(1000)},
    "step: expected at least 960 bytes": {"step": 7},
}


@pytest.mark.parametrize("line", BAD_IMAGES)
def test_bad_image_is_one_line_and_the_next_one_is_answered(talk, line):
    bad = image(RGB, "rgb8")
    for name, value in BAD_IMAGES[line].items():
        setattr(bad, name, value)
    before = talk.node.output.count(line)
    talk.peer.wait(
        lambda: talk.send(bad) and talk.node.output.count(line) > before, line, talk.node
    )
    assert len(talk.ask(image(RGB, "rgb8")).skeletons) == 1


@pytest.mark.parametrize(
    "line, k",
    [
        ("camera_info: K: the camera is not calibrated", np.zeros(9)),
        ("camera_info: K: expected 3x3 finite numbers", np.full(9, np.nan)),
    ],
)
def test_bad_camera_info_is_one_line_and_a_good_one_is_taken(talk, line, k):
    bad, good = camera_info(320, 240, 300.0), camera_info(320, 240, 300.0)
    bad.k = k
    talk.tell(bad, metric=False)
    talk.node.wait_for(line)
    talk.tell(good, metric=True)


def test_resolution_may_change_in_mid_stream(talk):
    talk.tell(camera_info(320, 240, 300.0), metric=True)
    for height, width, fits in (
        (240, 320, True),
        (480, 640, True),
        (90, 120, True),
        (240, 240, False),
    ):
        resized = cv2.resize(RGB, (width, height))
        assert talk.ask(image(resized, "rgb8")).skeletons[0].metric == fits
    assert (
        "320x240 pixels with binning 1x1, which does not fit an image of 240x240"
        in talk.node.output
    )


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_empty_compressed_image_and_exit_status_of_signals(processes, peer, end):
    """With the weights that ship, in a namespace, remapped."""
    place = f"robot_{int(end)}"
    arguments = [
        "-p",
        "image_transport:=compressed",
        "-r",
        f"__ns:=/{place}",
        "-r",
        "image:=front/image_raw",
    ]
    node = processes.start("node", "--ros-args", *arguments)
    node.wait_for(f"images from /{place}/front/image_raw/compressed")
    images = peer.node.create_publisher(CompressedImage, f"/{place}/front/image_raw/compressed", 1)
    topics = {
        f"/{place}/lifting/skeletons_2d": Skeleton2DArray,
        f"/{place}/lifting/skeletons_3d": Skeleton3DArray,
    }
    for topic, kind in topics.items():
        peer.listen(kind, topic)
    grey = cv2.imencode(".jpg", np.full((120, 160, 3), 128, np.uint8))[1].tobytes()

    def answered() -> bool:
        message = CompressedImage(format="jpeg", data=grey)
        message.header.stamp.sec, message.header.frame_id = next(_stamps), FRAME
        images.publish(message)
        time.sleep(0.1)
        return all(peer.received[topic] for topic in topics)

    peer.wait(answered, "empty arrays", node)
    for message in (peer.received[topic][-1] for topic in topics):
        assert (
            message.skeletons == []
            and message.header.frame_id == FRAME
            and message.header.stamp.sec >= 5
        )
    assert node.stop(end) == 0, node.output
    assert "Traceback" not in node.output and "terminate" not in node.output


def bad_starts(tmp_path) -> dict[str, list[str]]:
    corrupt = tmp_path / "corrupt.safetensors"
    corrupt.write_bytes(b"not weights at all" * 100)
    return {
        f"lifting_node: {corrupt}: ": ["-p", f"weights:={corrupt}"],
        "lifting_node: /nowhere/w.safetensors: no such weights file": [
            "-p",
            "weights:=/nowhere/w.safetensors",
        ],
        "lifting_node: detector.scores: unknown parameter; did you mean detector.score?": [
            "-p",
            "detector.scores:=0.5",
        ],
        "lifting_node: detector.score: expected 0.0 to 1.0, got 7.0": ["-p", "detector.score:=7"],
        "lifting_node: device: expected auto, cpu, cuda or cuda:n, got 'abacus'": [
            "-p",
            "device:=abacus",
        ],
        "lifting_node: ROS arguments: ": ["--no-such-flag"],
    }


@pytest.mark.parametrize("number", range(6))
def test_what_cannot_start_says_one_line_and_ends_with_2(processes, tmp_path, number):
    line, arguments = list(bad_starts(tmp_path).items())[number]
    node = processes.start("node", "--ros-args", *arguments)
    assert node.wait() == 2, node.output
    said = [text for text in node.output.splitlines() if "[rcl]" not in text]
    assert len(said) == 1 and said[0].startswith(line), node.output


def test_node_lives_on_and_ends_clean_on_sigint(talk):
    """Last in this module: the node has seen everything above."""
    assert talk.node.is_alive
    assert talk.node.stop(signal.SIGINT) == 0, talk.node.output
    assert "Traceback" not in talk.node.output
