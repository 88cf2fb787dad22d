# SPDX-License-Identifier: Apache-2.0
"""Camera replay and recorder as processes: what was in the files comes out of the topics, and what
was on them is in the bag."""

from __future__ import annotations

import signal
import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from lifting_ros.msg import Skeleton3DArray
from matroska import write_video
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_support import camera_info, header, person
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String
from system_support import stamp_ns

from lifting_ros.ros.conversions import (
    image_to_rgb,
    persons_to_array_2d,
    persons_to_array_3d,
    skeleton_info,
)
from lifting_ros.ros.markers import MarkerBuilder, MarkerConfig
from lifting_ros.ros.message_types import stamp_reader, typestore_of
from lifting_ros.ros.recorder import subscription_qos
from lifting_ros.skeleton import JOINT_NAMES

CALIBRATION = """
image_width: 64
image_height: 48
camera_matrix: {rows: 3, cols: 3, data: [50.0, 0, 31.5, 0, 50.0, 23.5, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, 0, 0, 0, 0]}
"""
FRAMES = np.random.default_rng(0).integers(0, 255, (6, 48, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six images and a calibration."""
    out = tmp_path_factory.mktemp("images")
    for i, frame in enumerate(FRAMES):
        cv2.imwrite(str(out / f"{i:03}.png"), frame[..., ::-1])
    (out / "camera.yaml").write_text(CALIBRATION)
    return out


def settings(**parameters) -> list[str]:
    return [
        "--ros-args",
        *(word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")),
    ]


def play(processes, peer, place: str, **parameters):
    """The replay's process at its end, and what it published under `place`."""
    policy = (
        ReliabilityPolicy.BEST_EFFORT
        if parameters.get("reliable") == "false"
        else ReliabilityPolicy.RELIABLE
    )
    for kind, topic in ((Image, "image"), (CameraInfo, "camera_info")):
        peer.listen(kind, f"/{place}/{topic}", QoSProfile(depth=50, reliability=policy))
    replay = processes.start("replay", *settings(**parameters), "-r", f"__ns:=/{place}")
    peer.wait(lambda: not replay.is_alive, "end of the replay")
    peer.drain()
    assert replay.wait() == 0, replay.output
    return replay, peer.received[f"/{place}/image"], peer.received[f"/{place}/camera_info"]


def test_replay_waits_until_the_last_image_is_answered(processes, peer, folder):
    peer.listen(Image, "/answered/image")
    answers = peer.node.create_publisher(Skeleton3DArray, "/answered/skeletons", 10)
    options = settings(source=folder, fps=50.0, answers="/answered/skeletons")
    replay = processes.start("replay", *options, "-r", "__ns:=/answered")

    def answer() -> bool:
        """Answer the images so far; whether the replay has ended."""
        received = peer.received["/answered/image"]
        if received:
            answers.publish(Skeleton3DArray(header=received[-1].header))
        return not replay.is_alive

    peer.wait(answer, "end of the replay")
    peer.drain()
    assert replay.wait() == 0 and len(peer.received["/answered/image"]) == 6, replay.output
    assert "no answer" not in replay.output


def test_folder_is_published_whole_with_even_stamps(processes, peer, folder):
    _, images, infos = play(
        processes, peer, "whole", source=folder, fps=20.0, camera_yaml=folder / "camera.yaml"
    )
    assert len(images) == len(infos) == 6
    for frame, message, info in zip(FRAMES, images, infos, strict=True):
        np.testing.assert_array_equal(image_to_rgb(message), frame)
        assert message.header == info.header and message.header.frame_id == "camera_optical_frame"
        assert (info.width, info.height, info.k[0], info.d[0]) == (64, 48, 50.0, 0.1)
    assert set(np.diff([stamp_ns(m.header) for m in images])) == {50_000_000}


def test_reduced_images_have_a_camera_to_match(processes, peer, folder):
    parameters = {
        "max_width": 32,
        "max_height": 40,
        "max_frames": 2,
        "camera_yaml": folder / "camera.yaml",
    }
    _, images, infos = play(processes, peer, "reduced", source=folder, fps=50.0, **parameters)
    assert [(m.width, m.height) for m in images] == [(32, 24)] * 2
    assert (infos[0].width, infos[0].height, infos[0].k[0], infos[0].k[2]) == (32, 24, 25.0, 15.5)


def test_video_has_its_own_rate_and_a_guess_is_called_one(processes, peer, tmp_path):
    writer = cv2.VideoWriter(
        str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 40.0, (64, 48)
    )
    for frame in FRAMES:
        writer.write(frame)
    writer.release()
    replay, images, infos = play(
        processes, peer, "video", source=tmp_path / "clip.avi", guess_camera="true"
    )
    assert set(np.diff([stamp_ns(m.header) for m in images])) == {25_000_000} and len(images) == 6
    assert infos[0].k[0] == pytest.approx(70.4) and "camera_info is a guess" in replay.output


def test_without_a_calibration_there_is_no_camera_info(processes, peer, folder):
    _, images, infos = play(
        processes, peer, "plain", source=folder, fps=50.0, max_frames=1, reliable="false"
    )
    assert len(images) == 1 and infos == []


def test_folder_with_junk_is_published_and_the_loss_is_said(processes, peer, tmp_path):
    for number in (1, 2, 10):
        cv2.imwrite(str(tmp_path / f"frame_{number}.png"), FRAMES[number % 6][..., ::-1])
    (tmp_path / "._frame_1.png").write_bytes(b"resource fork")
    (tmp_path / "frame_9.png").write_bytes(b"")
    replay, images, _ = play(processes, peer, "junk", source=tmp_path)
    for number, message in zip((1, 2, 10), images, strict=True):
        np.testing.assert_array_equal(image_to_rgb(message), FRAMES[number % 6])
    assert np.diff([stamp_ns(m.header) for m in images]).tolist() == [100_000_000, 200_000_000]
    assert f"{tmp_path}: 1 of 4 images do not decode: frame_9.png" in replay.output


def test_uneven_video_is_published_at_its_own_times(processes, peer, tmp_path):
    images = list(FRAMES[:5])
    path = write_video(tmp_path / "phone.webm", images, [0, 40, 120, 790, 800])
    _, images, _ = play(processes, peer, "uneven", source=path)
    stamps_ms = np.array([stamp_ns(m.header) for m in images]) / 1e6
    np.testing.assert_allclose(np.diff(stamps_ms), [40, 80, 670, 10], atol=1e-3)


def test_picture_that_the_calibration_does_not_fit_is_one_line(processes, peer, folder, tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), FRAMES[0])
    cv2.imwrite(str(tmp_path / "2.png"), FRAMES[1].transpose(1, 0, 2))
    peer.listen(Image, "/misfit/image", QoSProfile(depth=50))
    peer.listen(CameraInfo, "/misfit/camera_info", QoSProfile(depth=50))
    calibration = folder / "camera.yaml"
    replay = processes.start(
        "replay", *settings(source=tmp_path, camera_yaml=calibration), "-r", "__ns:=/misfit"
    )
    assert replay.wait() == 2, replay.output
    assert replay.output.splitlines()[-1] == (
        f"lifting_replay: {calibration}: image_width x image_height (64 x 48) does not fit images"
        " of 48 x 64 (2.png)"
    )
    assert "Traceback" not in replay.output


def bad_sources(tmp_path) -> dict[str, dict]:
    (tmp_path / "empty").mkdir(exist_ok=True)
    (tmp_path / "text.mp4").write_text("no video")
    return {
        "source: expected a video file": {},
        "source: /nowhere.mp4: no such file or folder": {"source": "/nowhere.mp4"},
        f"source: {tmp_path}/empty: no images": {"source": tmp_path / "empty"},
        f"source: {tmp_path}/text.mp4: does not open as a video": {"source": tmp_path / "text.mp4"},
        "speed: unknown parameter": {"speed": 2},
        "/nowhere.yaml: no such file": {
            "source": "FOLDER",
            "camera_yaml": "/nowhere.yaml",
        },
    }


@pytest.mark.parametrize("number", range(6))
def test_bad_source_is_one_line_and_status_2(processes, folder, tmp_path, number):
    line, parameters = list(bad_sources(tmp_path).items())[number]
    replay = processes.start(
        "replay", *settings(**{k: folder if v == "FOLDER" else v for k, v in parameters.items()})
    )
    assert replay.wait() == 2, replay.output
    assert f"lifting_replay: {line}" in replay.output.splitlines()[-1], replay.output


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_replay_ends_with_0_on_a_signal(processes, folder, end):
    replay = processes.start("replay", *settings(source=folder), "-r", f"__ns:=/nobody_{int(end)}")
    replay.wait_for("waiting for 1 subscribers")
    assert replay.stop(end) == 0 and "Traceback" not in replay.output


def publishers_of(peer, place: str) -> dict:
    """One publisher a message type, and the message; info is latched and sent at once."""
    people = [person(np.random.default_rng(4), 7)]
    arrays = (
        persons_to_array_2d(people, header(100, 5)),
        persons_to_array_3d(people, header(100, 5)),
    )
    messages = {
        "camera_info": camera_info(),
        "skeletons_2d": arrays[0],
        "skeletons_3d": arrays[1],
        "words": String(data="hello"),
        "markers": MarkerBuilder(MarkerConfig()).build(people, header(100, 6)),
        "info": skeleton_info("lite", "aa", "bb"),
    }
    out = {}
    for name, message in messages.items():
        latched = DurabilityPolicy.TRANSIENT_LOCAL if name == "info" else DurabilityPolicy.VOLATILE
        qos = QoSProfile(depth=10, durability=latched)
        out[name] = peer.node.create_publisher(type(message), f"/{place}/{name}", qos), message
    out["info"][0].publish(out["info"][1])
    return out


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_bag_holds_what_was_published_under_its_stamps(processes, peer, tmp_path, end):
    place, bag = f"rec_{int(end)}", tmp_path / "bag"
    sent = publishers_of(peer, place)
    recorder = processes.start(
        "recorder", "--out", str(bag), *(f"/{place}/{name}" for name in sent), f"/{place}/never"
    )
    recorder.wait_for("recording /", len(sent))
    peer.wait(
        lambda: all(p.get_subscription_count() for p, _ in sent.values()), "the recorder", recorder
    )
    for name, (publisher, message) in sent.items():
        for _ in range(0 if name == "info" else 3):
            publisher.publish(message)
    for publisher, _ in sent.values():
        publisher.wait_for_all_acked()
    assert recorder.stop(end) == 0, recorder.output
    assert (
        "16 messages in" in recorder.output
        and f"nobody published /{place}/never" in recorder.output
    )
    assert not bag.with_name("bag.partial").exists()
    check_bag(bag, place, sent)


def check_bag(bag, place: str, sent: dict) -> None:
    found = {name: [] for name in sent}
    with AnyReader([bag]) as reader:
        for connection, time_ns, raw in reader.messages():
            found[connection.topic.split("/")[-1]].append(
                (time_ns, reader.deserialize(raw, connection.msgtype))
            )
    assert {name: len(messages) for name, messages in found.items()} == {
        n: 1 if n == "info" else 3 for n in sent
    }
    for name in ("camera_info", "skeletons_2d", "skeletons_3d"):
        assert {t for t, _ in found[name]} == {stamp_ns(sent[name][1].header)}
    assert {t for t, _ in found["markers"]} == {100 * 10**9 + 6}
    assert all(t > 10**18 for t, _ in found["words"])  # no header: the time of arrival
    assert (
        found["words"][0][1].data == "hello"
        and tuple(found["info"][0][1].joint_names) == JOINT_NAMES
    )
    joint, expected = (
        s[0].joints[5]
        for s in (found["skeletons_3d"][0][1].skeletons, sent["skeletons_3d"][1].skeletons)
    )
    assert joint.position.z == expected.position.z and joint.status == expected.status
    np.testing.assert_array_equal(joint.covariance, expected.covariance)


@pytest.mark.parametrize("seconds", [0, -5])
def test_zero_stamp_is_replaced_by_arrival_time(processes, peer, tmp_path, seconds):
    """A bag that begins in 1970 plays for half a century."""
    topic, bag = f"/timeless_{abs(seconds)}/camera_info", tmp_path / "bag"
    publisher = peer.node.create_publisher(CameraInfo, topic, 10)
    recorder = processes.start("recorder", "--out", str(bag), topic)
    recorder.wait_for("recording /")
    peer.wait(publisher.get_subscription_count, "the recorder", recorder)
    publisher.publish(CameraInfo(header=header(seconds, 0)))
    publisher.publish(CameraInfo(header=header(100, 5)))
    publisher.wait_for_all_acked()
    assert (
        recorder.stop(signal.SIGINT) == 0
        and "2 messages in" in recorder.output
        and "Traceback" not in recorder.output
    )
    with AnyReader([bag]) as reader:
        times = sorted(time_ns for _, time_ns, _ in reader.messages())
    assert times[0] == 100 * 10**9 + 5 and times[1] > 10**18


def test_what_is_latched_has_the_time_of_its_arrival(processes, peer, tmp_path):
    """A transform of the robot's start must not begin the bag of its evening."""
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = peer.node.create_publisher(CameraInfo, "/latched/camera_info", latched)
    publisher.publish(CameraInfo(header=header(100, 5)))
    recorder = processes.start("recorder", "--out", str(tmp_path / "bag"), "/latched/camera_info")
    recorder.wait_for("recording /")
    peer.wait(publisher.get_subscription_count, "the recorder", recorder)
    publisher.wait_for_all_acked()
    assert recorder.stop(signal.SIGINT) == 0 and "1 messages in" in recorder.output
    with AnyReader([tmp_path / "bag"]) as reader:
        assert [time_ns > 10**18 for _, time_ns, _ in reader.messages()] == [True]


def test_bytes_that_end_before_a_stamp_have_none():
    for kind, whole in (
        ("sensor_msgs/msg/CameraInfo", 12),
        ("visualization_msgs/msg/MarkerArray", 16),
    ):
        stamp_of, data = (
            stamp_reader(kind, typestore_of([kind])),
            bytes([0, 1, 0, 0, 1]).ljust(16, b"\0"),
        )
        assert [stamp_of(data[:length]) is None for length in range(17)] == [
            length < whole for length in range(17)
        ]


def test_a_stamp_is_read_in_either_byte_order():
    stamp_of = stamp_reader(
        "sensor_msgs/msg/CameraInfo", typestore_of(["sensor_msgs/msg/CameraInfo"])
    )
    assert {
        stamp_of(bytes([0, little, 0, 0]) + struct.pack("<iI" if little else ">iI", 7, 5))
        for little in (0, 1)
    } == {7 * 10**9 + 5}


R, B, L, V = (
    ReliabilityPolicy.RELIABLE,
    ReliabilityPolicy.BEST_EFFORT,
    DurabilityPolicy.TRANSIENT_LOCAL,
    DurabilityPolicy.VOLATILE,
)


@pytest.mark.parametrize(
    "offered, asked",
    [
        ([(R, L)], (R, L)),
        ([(B, V)], (B, V)),
        ([(R, V), (B, L)], (B, V)),
        ([(R, L), (R, V)], (R, V)),
    ],
)
def test_the_recorder_asks_for_what_every_publisher_offers(offered, asked):
    """Who asks for more hears nothing of those who offer less."""
    publishers = [
        SimpleNamespace(qos_profile=QoSProfile(depth=1, reliability=r, durability=d))
        for r, d in offered
    ]
    profile = subscription_qos(publishers)
    assert (profile.reliability, profile.durability) == asked


def test_recorded_types_have_the_hashes_of_the_installed_ones(processes, peer, tmp_path):
    sent = publishers_of(peer, "hashes")
    recorder = processes.start(
        "recorder", "--out", str(tmp_path / "bag"), *(f"/hashes/{name}" for name in sent)
    )
    recorder.wait_for("recording /", len(sent))
    offered = {name: peer.node.get_publishers_info_by_topic(f"/hashes/{name}")[0] for name in sent}
    assert recorder.stop(signal.SIGINT) == 0
    with AnyReader([tmp_path / "bag"]) as reader:
        recorded = {
            connection.topic.split("/")[-1]: connection.digest for connection in reader.connections
        }
    for name, publisher in offered.items():
        assert recorded[name] == str(publisher.topic_type_hash)


def test_leftover_of_killed_recorder_is_ignored(processes, peer, tmp_path):
    bag, publisher = (
        tmp_path / "bag",
        peer.node.create_publisher(CameraInfo, "/killed/camera_info", 10),
    )
    for end, status in ((signal.SIGKILL, -9), (signal.SIGINT, 0)):
        recorder = processes.start("recorder", "--out", str(bag), "/killed/camera_info")
        recorder.wait_for("recording /")
        peer.wait(publisher.get_subscription_count, "the recorder", recorder)
        publisher.publish(camera_info())
        publisher.wait_for_all_acked()
        assert recorder.stop(end) == status
        assert bag.exists() == (status == 0) and bag.with_name("bag.partial").exists() == (
            status != 0
        )
        peer.wait(lambda: not publisher.get_subscription_count(), "the end of the subscription")
    with AnyReader([bag]) as reader:
        assert reader.message_count == 1


def test_recorder_does_not_touch_a_bag_that_exists(processes, tmp_path):
    (tmp_path / "bag").mkdir()
    recorder = processes.start("recorder", "--out", str(tmp_path / "bag"), "/x")
    assert recorder.wait() == 2
    assert recorder.output.splitlines() == [
        f"lifting_recorder: --out {tmp_path}/bag: exists already"
    ]
    assert list((tmp_path / "bag").iterdir()) == []


def test_replay_node_and_recorder_together(processes, peer, tmp_path, folder):
    """Three processes: every image is answered, in the bag, under the camera's stamp."""
    bag, poses = tmp_path / "bag", ("/lifting/skeletons_2d", "/lifting/skeletons_3d")
    topics = ("/image", "/camera_info", *poses, "/lifting/info")
    recorder = processes.start("recorder", "--out", str(bag), *topics)
    node = processes.start(
        "node", *settings(queue=10, **{"qos.reliability": "reliable", "qos.depth": 10})
    )
    node.wait_for("images from")
    recorder.wait_for("recording /lifting", 3)
    peer.listen(Skeleton3DArray, "/lifting/skeletons_3d")
    camera = {
        "source": folder,
        "fps": 5.0,
        "camera_yaml": folder / "camera.yaml",
        "wait_for_subscribers": 2,
    }
    replay = processes.start("replay", *settings(**camera))
    peer.wait(lambda: len(peer.received["/lifting/skeletons_3d"]) == len(FRAMES), "answers", node)
    assert replay.wait() == 0, replay.output
    assert node.stop(signal.SIGINT) == 0 and recorder.stop(signal.SIGTERM) == 0
    stamps = {topic: [] for topic in topics}
    with AnyReader([bag]) as reader:
        for connection, time_ns, raw in reader.messages():
            message = reader.deserialize(raw, connection.msgtype)
            if hasattr(message, "header"):
                assert (
                    stamp_ns(message.header) == time_ns
                    and message.header.frame_id == "camera_optical_frame"
                )
            stamps[connection.topic].append(time_ns)
        kinds = {connection.topic: connection.msgtype for connection in reader.connections}
    counts = {topic: len(times) for topic, times in stamps.items()}
    assert counts == dict.fromkeys(topics, len(FRAMES)) | {"/lifting/info": 1}, recorder.output
    assert all(stamps[topic] == stamps["/image"] for topic in ("/camera_info", *poses))
    assert kinds["/lifting/skeletons_3d"] == "lifting_ros/msg/Skeleton3DArray"
