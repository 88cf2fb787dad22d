# SPDX-License-Identifier: Apache-2.0
"""`lifting fuse`: a bag with poses of several cameras in, one skeleton a person out, as a table
without ROS or as a bag."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import bags
import numpy as np
import pytest
from people_in_views import FPS, MATRIX, around, frames, walker
from rosbags.highlevel import AnyReader
from scipy.spatial.transform import Rotation

pytest.importorskip("rclpy", reason="ROS 2 is not installed, so that no bag can be made")
sys.path.insert(0, str(Path(__file__).parents[1] / "ros"))

import conftest_ros  # noqa: F401
from std_msgs.msg import Header

from lifting_ros.cli.main import main
from lifting_ros.geometry.body_frame import in_frame
from lifting_ros.io.bag_cameras import read_cameras
from lifting_ros.io.bag_poses import read_bag
from lifting_ros.ros.bag_estimation import Answer
from lifting_ros.ros.bag_format import BagWriter
from lifting_ros.ros.bag_output import PoseTopics
from lifting_ros.ros.conversions import skeleton_info
from lifting_ros.ros.markers import MarkerConfig
from lifting_ros.skeleton import KEYPOINT_TO_JOINT

VIEWS = around((0, 90))
NAMES = ("front", "side")
JOINTS = walker((-0.1, 0.0), (0.1, 0.1), seconds=0.5)
PERIOD_NS = round(1e9 / FPS)
LATE_NS = 12_000_000
OBSERVED = list(KEYPOINT_TO_JOINT)


def optical(name: str) -> str:
    return f"{name}_optical_frame"


def make_bag(
    folder: Path, names=NAMES, tf: bool = True, info_frame=optical, walk=JOINTS, also=()
) -> Path:
    """A bag as the node with two cameras makes it; the second one is later. also: more TF."""
    rng = np.random.default_rng(0)
    with BagWriter(folder) as writer:
        for name, view in zip(names, VIEWS):
            topics = PoseTopics(
                writer, f"/{name}/lifting", MarkerConfig(), skeleton_info("full", "a", "b")
            )
            shift = LATE_NS * names.index(name)
            put(writer, f"/{name}/camera_info", camera_info(info_frame(name)))
            for number, joints in enumerate(walk):
                stamp = bags.START_NS + number * PERIOD_NS + shift
                (frame,) = frames([view], [joints], rng)
                to_camera = np.linalg.inv(view.pose)
                persons = tuple(in_frame(person, to_camera) for person in frame.persons)
                header = Header(frame_id=optical(name))
                header.stamp.sec, header.stamp.nanosec = divmod(stamp, 10**9)
                topics.write(Answer(header, persons), stamp)
        if tf:
            put(writer, "/tf_static", transforms(names))
        for message in also:
            put(writer, "/tf_static", message)
    return folder


def put(writer, topic: str, message) -> None:
    connection = writer.add_connection(topic, message.__msgtype__, typestore=bags.STORE)
    data = bags.STORE.serialize_cdr(message, message.__msgtype__)
    writer.write(connection, bags.START_NS, data)


def camera_info(frame_id: str):
    """CameraInfo of the whole sensor, whose images are binned to half of its size."""
    info = bags.camera_info(bags.START_NS)
    k = MATRIX.copy()
    k[:2] *= 2
    k[:2, 2] += 0.5
    header = replace(info.header, frame_id=frame_id)
    return replace(info, header=header, k=k.ravel(), binning_x=2, binning_y=2)


def transforms(names, stamp_ns: int = bags.START_NS):
    made = []
    for name, view in zip(names, VIEWS):
        x, y, z, w = Rotation.from_matrix(view.pose[:3, :3]).as_quat()
        turn = bags.make("geometry_msgs/Quaternion", x=x, y=y, z=z, w=w)
        x, y, z = view.pose[:3, 3]
        place = bags.make("geometry_msgs/Vector3", x=x, y=y, z=z)
        one = bags.make("geometry_msgs/Transform", translation=place, rotation=turn)
        header = replace(bags.header(stamp_ns), frame_id="room")
        made.append(
            bags.make(
                "geometry_msgs/TransformStamped",
                header=header,
                child_frame_id=optical(name),
                transform=one,
            )
        )
    return bags.make("tf2_msgs/TFMessage", transforms=made)


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return make_bag(tmp_path_factory.mktemp("fuse") / "bag")


def errors_m(persons_of_frames) -> list[float]:
    found = []
    for number, persons in enumerate(persons_of_frames):
        (joints,) = persons
        apart = (joints - JOINTS[number])[OBSERVED]
        found.append(np.linalg.norm(apart, axis=1).mean())
    return found


def test_table_has_fused_skeletons_in_the_common_frame(bag, tmp_path, capsys):
    out = tmp_path / "fused.npz"
    assert main(["fuse", str(bag), "--out", str(out), "--frame", "room"]) == 0
    printed = capsys.readouterr()
    assert printed.out == (
        f"1 persons in {len(JOINTS)} of {len(JOINTS)} frames from 2 cameras, 100% of the skeletons"
        f" from two or more: {out}\n"
    )
    assert not printed.err
    table = np.load(out, allow_pickle=False)
    assert set(table["frame_id"]) == {"room"} and set(table["track_id"]) == {1}
    expected = bags.START_NS + PERIOD_NS * np.arange(len(JOINTS))
    assert table["frame_stamp_ns"].tolist() == expected.tolist()
    assert np.mean(errors_m(table["joints_m"][:, None])) < 0.03
    assert np.isfinite(table["bone_lengths_m"]).all()


def test_bag_has_the_same_persons(bag, tmp_path):
    table = tmp_path / "fused.npz"
    out = tmp_path / "fused.mcap"
    for path in (table, out):
        assert main(["fuse", str(bag), "--out", str(path), "--frame", "room"]) == 0
    poses = read_bag(out, "/lifting_fusion/skeletons_3d")
    joints = [person.skeleton_3d.joints_m for frame in poses.frames for person in frame.persons]
    assert np.array_equal(joints, np.load(table)["joints_m"])
    assert set(poses.messages) == {"/lifting_fusion/skeletons_3d", "/lifting_fusion/markers"}
    assert {frame.frame_id for frame in poses.frames} == {"room"}


def test_places_from_a_file_are_those_of_tf(bag, tmp_path):
    lines = ["frame: room", "cameras:"]
    for name, view in zip(NAMES, VIEWS):
        place = view.pose[:3, 3].tolist()
        turn = Rotation.from_matrix(view.pose[:3, :3]).as_quat().tolist()
        lines.append(f"  {optical(name)}: {{translation: {place}, rotation: {turn}}}")
    places = tmp_path / "places.yaml"
    places.write_text("\n".join(lines), encoding="utf-8")
    bare = make_bag(tmp_path / "bare", tf=False)
    out = tmp_path / "file.npz"
    assert main(["fuse", str(bare), "--out", str(out), "--extrinsics", str(places)]) == 0
    of_tf = tmp_path / "tf.npz"
    assert main(["fuse", str(bag), "--out", str(of_tf), "--frame", "room"]) == 0
    assert np.allclose(np.load(out)["joints_m"], np.load(of_tf)["joints_m"], atol=1e-9)


def test_wrong_places_are_told(bag, tmp_path, capsys):
    places = tmp_path / "places.yaml"
    lines = ["frame: room", "cameras:"]
    for metres, name in enumerate(NAMES):
        pose = f"{{translation: [0, {9 * metres}, 1], rotation: [0.5, -0.5, 0.5, -0.5]}}"
        lines.append(f"  {optical(name)}: {pose}")
    places.write_text("\n".join(lines), encoding="utf-8")
    out = tmp_path / "wrong.npz"
    assert main(["fuse", str(bag), "--out", str(out), "--extrinsics", str(places)]) == 0
    printed = capsys.readouterr()
    assert "0% of the skeletons" in printed.out
    assert printed.err == (
        "lifting fuse: no camera sees somebody whom another one sees; check their places and stamps"
        "\n"
    )


@contextmanager
def copied(bag: Path, out: Path, without: str = "", count: int = 0):
    """The writer of a copy of a bag that lacks the first `count` messages of a topic."""
    with AnyReader([bag]) as reader, BagWriter(out) as writer:
        store = reader.typestore
        connections = {
            one.id: writer.add_connection(one.topic, one.msgtype, typestore=store)
            for one in reader.connections
        }
        for connection, stamp, data in reader.messages():
            if connection.topic == without and count:
                count -= 1
            else:
                writer.write(connections[connection.id], stamp, data)
        yield writer


def test_frames_without_keypoints_are_left_out(bag, tmp_path, capsys):
    late = tmp_path / "late"  # a recorder that found the keypoints after the skeletons
    with copied(bag, late, "/front/lifting/skeletons_2d", 2):
        pass
    out = tmp_path / "late.npz"
    assert main(["fuse", str(late), "--out", str(out), "--frame", "room"]) == 0
    assert capsys.readouterr().err == (
        f"lifting fuse: {late}: /front/lifting/skeletons_3d: 2 of {len(JOINTS)} frames are not"
        " used: no skeletons_2d with the same stamp\n"
    )
    assert np.load(out)["frame_count"] >= len(JOINTS) - 2


def test_frames_before_the_first_transform_are_left_out(tmp_path, capsys):
    bag = make_bag(tmp_path / "moving", tf=False)
    late = tmp_path / "late"
    with copied(bag, late) as writer:
        moving = writer.add_connection("/tf", "tf2_msgs/msg/TFMessage", typestore=bags.STORE)
        for number in (3, len(JOINTS)):
            message = transforms(NAMES, bags.START_NS + number * PERIOD_NS)
            data = bags.STORE.serialize_cdr(message, message.__msgtype__)
            writer.write(moving, bags.START_NS, data)
    out = tmp_path / "late.npz"
    assert main(["fuse", str(late), "--out", str(out), "--frame", "room"]) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert f"front/lifting/skeletons_3d: 3 of {len(JOINTS)} frames are not used: " in first
    assert f"side/lifting/skeletons_3d: 3 of {len(JOINTS)} frames are not used: " in second
    assert np.load(out)["frame_count"] == len(JOINTS) - 3


@pytest.mark.parametrize("kind", ["image", "compressed"])
def test_calibrations_are_scaled_to_the_images(bag, tmp_path, capsys, kind):
    resized = tmp_path / "resized"
    with copied(bag, resized, "/front/camera_info", 1) as writer:
        info = camera_info(optical("front"))
        put(
            writer,
            "/front/sensor/camera_info",
            replace(info, width=2560, height=1920, binning_x=0, binning_y=0),
        )
        message = getattr(bags, kind)(np.zeros((960, 1280, 3), np.uint8), bags.START_NS)
        header = replace(message.header, frame_id=optical("front"))
        put(writer, "/front/picture", replace(message, header=header))
        maps = bags.image(np.zeros((100, 100, 3), np.uint8), bags.START_NS)
        put(writer, "/front/lifting/debug_maps", replace(maps, header=header))
    out = tmp_path / "fused.npz"
    assert main(["fuse", str(resized), "--out", str(out), "--frame", "room"]) == 0
    found, expected = read_cameras(resized), read_cameras(bag)
    for name in NAMES:
        matrices = found[optical(name)].matrix, expected[optical(name)].matrix
        np.testing.assert_allclose(*matrices)


def test_images_of_several_sizes_leave_the_calibration(bag, tmp_path):
    both = tmp_path / "both"
    with copied(bag, both) as writer:
        for width in (640, 320):
            message = bags.image(np.zeros((width * 3 // 4, width, 3), np.uint8), bags.START_NS)
            header = replace(message.header, frame_id=optical("front"))
            put(writer, f"/front/of_{width}", replace(message, header=header))
    found, expected = read_cameras(both), read_cameras(bag)
    front = optical("front")
    np.testing.assert_array_equal(found[front].matrix, expected[front].matrix)


def test_no_ros_is_needed_for_a_table(bag, tmp_path):
    code = (
        "import sys; sys.modules['rclpy'] = None; from lifting_ros.cli.main import main; "
        f"sys.exit(main(['fuse', {str(bag)!r}, '--out', {str(tmp_path / 'a.npz')!r}, "
        "'--frame', 'room']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def error_line(capsys, *arguments) -> str:
    assert main(["fuse", *map(str, arguments)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_bad_input_is_one_line(bag, tmp_path, capsys):
    out = ("--out", tmp_path / "out.npz")
    one = make_bag(tmp_path / "one", names=("front",))
    bare = make_bag(tmp_path / "bare", tf=False)
    strange = make_bag(tmp_path / "strange", info_frame=lambda name: "camera")
    room = ("--frame", "room")
    assert "two cameras or more, got /front/lifting/skeletons_3d" in error_line(
        capsys, one, *out, *room
    )
    assert "no frame front_optical_frame" in error_line(capsys, bare, *out, *room)
    assert "no frame base" in error_line(capsys, bag, *out, "--frame", "base")
    assert "frame_id 'front_optical_frame'" in error_line(capsys, strange, *out, *room)
    assert "--frame: expected" in error_line(capsys, bag, *out)
    missing = tmp_path / "nix.yaml"
    line = error_line(capsys, bag, *out, "--extrinsics", missing)
    assert line == f"lifting fuse: {missing}: no such file"
    assert "calibration_noise_px: expected" in error_line(
        capsys, bag, *out, *room, "--calibration-noise", "-1"
    )
    assert "no such topic" in error_line(capsys, bag, *out, *room, "--topic", "/a")
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("frame: room", "cameras"),
        ("cameras: {a: {}}", "frame"),
        ("frame: room\ncameras: {a: {rotation: [0, 0, 0, 1]}}", "cameras.a.translation"),
        ("frame: b\ncameras: {a: {translation: [0, 0, 0], rotation: [0, 0, 1]}}", "a.rotation"),
        ("frame: b\ncameras: {a: {translation: [0, 0, 0], rotation: [0, 0, 0, 0]}}", "cameras.a"),
        ("frame: b\ncameras: {a: {translation: [0, 0, .nan], rotation: [0, 0, 0, 1]}}", "a"),
    ],
)
def test_bad_extrinsics_are_one_line(bag, tmp_path, capsys, text, key):
    places = tmp_path / "places.yaml"
    places.write_text(text, encoding="utf-8")
    line = error_line(capsys, bag, "--out", tmp_path / "a.npz", "--extrinsics", places)
    assert str(places) in line and key in line
