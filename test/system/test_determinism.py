# SPDX-License-Identifier: Apache-2.0
"""A bag played to the node gives the poses that `lifting bag` gives, bit by bit: people are
detected and followed in the same frames."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from lifting_ros.msg import Skeleton3DArray
from ros_support import camera_info
from ros_support import image as image_message
from sensor_msgs.msg import CameraInfo, Image
from system_support import stamp_ns

sys.path.insert(0, str(Path(__file__).parents[1]))

import bags
import clip
from rosbags.highlevel import AnyReader

from lifting_ros.cli.main import main
from lifting_ros.detection.centre_detector import CentreDetector

FRAMES = clip.frames(range(40, 48))
ATTEMPTS = 5
STAMPS = [bags.START_NS + k * bags.PERIOD_NS for k in range(len(FRAMES))]


def values(skeletons) -> list[list[float]]:
    """Every number of the persons of a message, of either library's kind."""
    rows = []
    for s in skeletons:
        row = [
            s.id,
            s.age.sec,
            s.age.nanosec,
            s.log_likelihood,
            s.score,
            *s.root_covariance,
            *s.bone_lengths,
            *s.bone_length_deviations,
        ]
        for joint in s.joints:
            row += [
                *(getattr(joint.position, axis) for axis in "xyz"),
                *(getattr(joint.velocity, axis) for axis in "xyz"),
            ]
            row += [*joint.covariance, *joint.velocity_covariance, joint.confidence, joint.status]
        rows.append(row)
    return rows


@pytest.fixture
def detected(monkeypatch) -> list[int]:
    """Grows by one at each call of the detector in this process."""
    calls: list[int] = []
    detect = CentreDetector.detect

    def counted(detector, image):
        calls.append(len(calls))
        return detect(detector, image)

    monkeypatch.setattr(CentreDetector, "detect", counted)
    return calls


def test_live_replay_gives_the_poses_of_the_bag(processes, peer, tmp_path, detected):
    messages = []
    for stamp, frame in zip(STAMPS, FRAMES):
        messages += [
            ("/camera_info", stamp, bags.camera_info(stamp)),
            ("/image", stamp, bags.image(frame, stamp)),
        ]
    source, out = bags.write_bag(tmp_path / "in", messages), tmp_path / "out.mcap"
    params = tmp_path / "params.yaml"
    params.write_text("/**:\n  ros__parameters:\n    threads: 1\n    device: cpu\n")
    assert (
        main(["bag", str(source), "--out", str(out), "--params", str(params), "--no-smooth"]) == 0
    )
    with AnyReader([out]) as reader:
        connections = [c for c in reader.connections if c.topic == "/lifting/skeletons_3d"]
        offline = [reader.deserialize(raw, c.msgtype) for c, _, raw in reader.messages(connections)]
    assert sum(bool(m.skeletons) for m in offline) == len(FRAMES)
    assert 0 < len(detected) < len(FRAMES)

    live = played_live(processes, peer, params)
    assert len(live) == len(FRAMES)
    for ours, theirs in zip(live, offline, strict=True):
        np.testing.assert_array_equal(values(ours.skeletons), values(theirs.skeletons))


def played_live(processes, peer, params: Path) -> list[Skeleton3DArray]:
    """The answers of a node that had the camera's calibration from the first image on.

    A publisher counts a subscription before the subscription knows the publisher. A calibration
    published in between is lost. Then another node is tried, at most ATTEMPTS in all.
    """
    answers = peer.received["/lifting/skeletons_3d"]
    peer.listen(Skeleton3DArray, "/lifting/skeletons_3d")
    images = peer.node.create_publisher(Image, "image", 10)
    infos = peer.node.create_publisher(CameraInfo, "camera_info", 10)

    for _ in range(ATTEMPTS):
        answers.clear()
        node = processes.start("node", "--ros-args", "--params-file", str(params))
        for publisher in (images, infos):
            peer.wait(publisher.get_subscription_count, "the subscriptions", node)

        for stamp, frame in zip(STAMPS, FRAMES):
            info, message = camera_info(640, 480, 600.0), image_message(frame, "rgb8")
            for one in (info, message):
                one.header.stamp.sec, one.header.stamp.nanosec = divmod(stamp, 10**9)
            infos.publish(info)
            images.publish(message)
            peer.wait(
                lambda s=stamp: answers and stamp_ns(answers[-1].header) == s, "an answer", node
            )
            if not answers[0].skeletons[0].metric:
                break

        assert node.stop(signal.SIGINT) == 0
        if answers[0].skeletons[0].metric:
            return answers

        peer.wait(lambda: not images.get_subscription_count(), "the node's end")

    pytest.fail(f"the first image had no calibration, {ATTEMPTS} times")
