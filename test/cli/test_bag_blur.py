# SPDX-License-Identifier: Apache-2.0
"""`lifting bag --blur-faces`: heads are hidden in the images of the camera, no other picture is
copied, and every other message stays as it was."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "ros"))

import conftest_ros  # noqa: F401
from bags import PERIOD_NS, START_NS, camera_info, compressed, image, make, read_raw, write_bag
from ros_support import person
from rosbags.highlevel import AnyReader

from lifting_ros import estimator as pipeline
from lifting_ros.cli.main import main
from lifting_ros.estimator import Estimate
from lifting_ros.viz.anonymise import hidden_regions

RAW = "/cam/image_raw"
FILES = "/cam/image_raw/compressed"
OTHER = "/rear/image_raw"
RGB = np.random.default_rng(5).integers(1, 255, (120, 160, 3), np.uint8)


def seen(head_px, seed: int):
    """Somebody with the middle of the head here."""
    one = person(np.random.default_rng(seed))
    flat = one.skeleton_2d
    flat.keypoints_px[:] = head_px
    flat.keypoints_px[1:] += (0, 12)
    flat.confidence[:] = 0.9
    box = np.array([*head_px, *head_px]) + [-4, 0, 4, 12]
    covariance = np.tile(np.eye(2) * 0.1, (14, 1, 1))
    flat = dataclasses.replace(flat, box_px=box, covariance_px2=covariance, score=0.95)
    return dataclasses.replace(one, skeleton_2d=flat)


SHOWN = seen((40.0, 30.0), 0)
REJECTED = seen((110.0, 70.0), 1).skeleton_2d


class Estimator:
    """In place of the real one: a person, and a rejected one; nobody in the third image."""

    weights_sha256, prior_sha256, device = "a" * 64, "b" * 64, "cpu"
    asked: list = []

    def __init__(self, config):
        self.config = config
        Estimator.asked = []

    def estimate(self, image, camera=None, up=None, depth=None, detections=None):
        Estimator.asked.append((detections, self.config.detector.every))
        if len(Estimator.asked) == 3:
            return Estimate((), {})
        return Estimate((SHOWN,), {}, True, (REJECTED,))


@pytest.fixture(autouse=True)
def light(monkeypatch):
    monkeypatch.setattr(pipeline, "PoseEstimator", Estimator)


def scene(count: int = 4) -> list:
    """Raw and compressed images of a camera, those of another one, and messages of other kinds."""
    messages = []
    for k in range(count):
        time = START_NS + k * PERIOD_NS
        messages += [
            (FILES, time - 2, compressed(RGB, time - 7)),
            (RAW, time, image(RGB, time - 7)),
            (OTHER, time + 1, image(RGB, time - 7)),
            ("/cam/camera_info", time + 5, camera_info(time - 7, width=160, height=120)),
            ("/battery", time + 9, make("strange_msgs/Battery", charge=float(k), cells=["a"] * k)),
        ]
    return messages


def bag(source, out, *options) -> int:
    return main(["bag", str(source), "--out", str(out), "--image", RAW, *map(str, options)])


def pictures(path, topic) -> list:
    """Decoded messages of a topic, and their pictures (H, W, 3) RGB."""
    out = []
    with AnyReader([path]) as reader:
        connections = [c for c in reader.connections if c.topic == topic]
        for connection, _, raw in reader.messages(connections):
            message = reader.deserialize(raw, connection.msgtype)
            if connection.msgtype.endswith("CompressedImage"):
                pixels = cv2.imdecode(message.data, cv2.IMREAD_COLOR)[..., ::-1]
            else:
                pixels = message.data.reshape(message.height, message.width, 3)
            out.append((message, pixels))
    return out


def held(regions, shape=(120, 160)) -> np.ndarray:
    y, x = np.indices(shape)
    points = np.stack([x, y], -1)
    return np.any([region.contains(points) for region in regions], axis=0)


def test_heads_are_hidden_and_the_rest_stays(tmp_path, capsys):
    source = write_bag(tmp_path / "in", scene())
    out = tmp_path / "out.mcap"
    assert bag(source, out, "--blur-faces", "--no-smooth") == 0
    told = capsys.readouterr().err
    assert f"heads are hidden in {RAW}, {FILES}; left out: {OTHER}" in told

    # Everything else, byte for byte
    images = (RAW, FILES, OTHER)
    before = [row for row in read_raw(source) if row[0] not in images]
    found = [row for row in read_raw(out) if not row[0].startswith("/lifting/")]
    assert [row for row in found if row[0] not in images] == before
    assert [row[:3] for row in found] == [r[:3] for r in read_raw(source) if r[0] != OTHER]

    # Images: header and format stay, heads do not
    mask = held(hidden_regions([SHOWN], [REJECTED]))
    for topic in (RAW, FILES):
        originals = pictures(source, topic)
        rewritten = pictures(out, topic)
        assert len(rewritten) == len(originals) == 4
        for number, ((was, old), (now, new)) in enumerate(zip(originals, rewritten)):
            for name in vars(was):
                if name != "data":
                    assert repr(getattr(was, name)) == repr(getattr(now, name))
            if number != 2:
                assert np.array_equal(new[~mask], old[~mask])
                assert new[mask].std() < 0.5 * old[mask].std()

    # The third image shows nobody, but somebody was there before
    assert not np.array_equal(pictures(out, RAW)[2][1][30, 40], RGB[30, 40])
    assert {every for _, every in Estimator.asked} == {1}
    assert all(detections is None for detections, _ in Estimator.asked)


def test_same_bag_gives_the_same_bytes(tmp_path):
    source = write_bag(tmp_path / "in", scene())
    for name in ("a.mcap", "b.mcap"):
        assert bag(source, tmp_path / name, "--blur-faces") == 0
    assert (tmp_path / "a.mcap").read_bytes() == (tmp_path / "b.mcap").read_bytes()


def test_images_of_unknown_people_are_left_out(tmp_path, capsys):
    """One that cannot be read, a compressed one whose stamp no raw image has, and one of another
    size."""
    messages = scene(2)
    again = compressed(RGB[::2, ::2].copy(), START_NS - 7)
    messages.append((FILES, START_NS + 9 * PERIOD_NS, again))
    broken = image(RGB, START_NS + 10)
    broken.data = broken.data[:100]
    messages.append((RAW, START_NS + 10 * PERIOD_NS, broken))
    messages.append((FILES, START_NS + 11 * PERIOD_NS, compressed(RGB, START_NS + 77)))
    source = write_bag(tmp_path / "in", messages)
    out = tmp_path / "out.mcap"
    assert bag(source, out, "--blur-faces") == 0
    assert "3 images left out" in capsys.readouterr().err
    assert len(pictures(out, RAW)) == len(pictures(out, FILES)) == 2


def test_pictures_inside_other_messages_are_left_out(tmp_path, capsys):
    messages = scene(1)
    messages.append(("/rgbd", START_NS + 20, make("strange_msgs/Rgbd", rgb=image(RGB, START_NS))))
    markers = make("visualization_msgs/MarkerArray", markers=[])
    messages.append(("/markers", START_NS + 21, markers))
    source = write_bag(tmp_path / "in", messages)
    out = tmp_path / "out.mcap"
    assert bag(source, out, "--blur-faces") == 0
    assert f"left out: {OTHER}, /rgbd\n" in capsys.readouterr().err
    topics = {row[0] for row in read_raw(out)}
    assert "/markers" in topics and "/rgbd" not in topics


def test_without_the_option_images_are_copied(tmp_path):
    source = write_bag(tmp_path / "in", scene())
    out = tmp_path / "out.mcap"
    assert bag(source, out) == 0
    found = [row for row in read_raw(out) if not row[0].startswith("/lifting/")]
    assert found == read_raw(source)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["bag", "in", "--poses-only"], "--blur-faces: not with --poses-only"),
        (["estimate", "in"], "--blur-faces: not with a bag"),
        (["estimate", "x.png"], "--blur-faces: only with --overlay"),
    ],
)
def test_where_no_image_is_written_it_is_an_error(tmp_path, monkeypatch, capsys, words, line):
    monkeypatch.chdir(tmp_path)
    write_bag(Path("in"), scene(1))
    overlay = ["--overlay", "o.png"] if words == ["estimate", "in"] else []
    assert main([*words, "--out", "out.mcap", "--blur-faces", *overlay]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and line in told[0]
    assert not Path("out.mcap").exists()
