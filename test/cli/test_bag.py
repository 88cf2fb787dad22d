# SPDX-License-Identifier: Apache-2.0
"""`lifting bag`: nothing of the bag is lost, every image has its poses, the bytes repeat, and bad
input leaves nothing behind."""

from __future__ import annotations

import sqlite3
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "ros"))

import bags
import clip
import conftest_ros  # noqa: F401
from bags import (
    CALIBRATION,
    CLIP,
    PERIOD_NS,
    START_NS,
    camera_info,
    compressed,
    image,
    make,
    read_raw,
    write_bag,
)
from ros_support import person
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from lifting_ros import estimator as pipeline
from lifting_ros.cli.main import main
from lifting_ros.estimator import Estimate

ADDED = ["/lifting/skeletons_2d", "/lifting/skeletons_3d", "/lifting/markers"]
RGB = np.random.default_rng(5).integers(0, 255, (24, 32, 3), np.uint8)


class Estimator:
    """In place of the real one: one person, but nobody in images whose first pixel is 0; keeps what
    it is asked."""

    asked: list = []
    weights_sha256, prior_sha256, device = "a" * 64, "b" * 64, "cpu"

    def __init__(self, config):
        detector = replace(config.detector, every=1)
        self.config = replace(config, detector=detector)
        Estimator.asked = []

    def estimate(self, image, camera=None, up=None, depth=None):
        Estimator.asked.append((image.copy(), camera, up))
        somebody = person(np.random.default_rng(int(image.sum()) % 1000))
        return Estimate((somebody,) if image[0, 0, 0] else (), {})


@pytest.fixture
def light(monkeypatch):
    """The verb with an estimator that needs no weights."""
    monkeypatch.setattr(pipeline, "PoseEstimator", Estimator)


def scene(count: int = 4, topic: str = "/cam/image_raw", make_image=image) -> list:
    """Images (the second shows nobody), camera_info and foreign messages, not in step."""
    messages = []
    for k in range(count):
        time, pixels = START_NS + k * PERIOD_NS, np.roll(RGB, k, axis=1).copy()
        pixels[0, 0] = 0 if k == 1 else 200
        info = topic.removesuffix("/compressed").rpartition("/")[0] + "/camera_info"
        messages += [
            (topic, time, make_image(pixels, time - 7)),
            (info, time + 5, camera_info(time - 7, width=32, height=24)),
        ]
        messages += [
            ("/battery", time + 9, make("strange_msgs/Battery", charge=float(k), cells=["a"] * k))
        ]
    return messages


def bag(source, out, *options) -> int:
    return main(["bag", str(source), "--out", str(out), *map(str, options)])


def poses(path, topic="/lifting/skeletons_3d") -> list:
    """Time in the bag and decoded messages of a topic."""
    with AnyReader([path]) as reader:
        connections = [c for c in reader.connections if c.topic == topic]
        return [
            (t, reader.deserialize(raw, c.msgtype)) for c, t, raw in reader.messages(connections)
        ]


def stamp(message) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("whole", [True, False], ids=["folder", "file"])
def test_every_message_is_still_there_byte_for_byte(light, tmp_path, storage, whole):
    source = write_bag(tmp_path / "in", scene(), storage)
    source = source if whole else next(p for p in source.iterdir() if p.suffix in (".mcap", ".db3"))
    assert bag(source, tmp_path / "out.mcap") == 0
    found = read_raw(tmp_path / "out.mcap")
    assert [row for row in found if not row[0].startswith("/lifting/")] == read_raw(source)
    assert all(row[4] == (bags.BEST_EFFORT,) for row in found if not row[0].startswith("/lifting/"))


def test_poses_follow_their_image_under_its_stamp(light, tmp_path):
    source = write_bag(tmp_path / "in", scene())
    assert bag(source, tmp_path / "out.mcap") == 0
    rows = [row[:3] for row in read_raw(tmp_path / "out.mcap")]
    for place in (k for k, row in enumerate(rows) if row[0] == "/cam/image_raw"):
        behind = [row for row in rows[place + 1 :] if row[0] != "/lifting/info"][:3]
        assert [(row[0], row[2]) for row in behind] == [(topic, rows[place][2]) for topic in ADDED]
    found = poses(tmp_path / "out.mcap")
    assert [stamp(message) for _, message in found] == [
        START_NS + k * PERIOD_NS - 7 for k in range(4)
    ]
    assert {message.header.frame_id for _, message in found} == {bags.OPTICAL_FRAME}
    assert [len(message.skeletons) for _, message in found] == [
        1,
        0,
        1,
        1,
    ]  # nobody in the second: an empty array
    ((time, info),) = poses(tmp_path / "out.mcap", "/lifting/info")
    assert time == START_NS and info.weights_sha256 == "a" * 64


def test_estimate_of_a_bag_is_what_bag_and_poses_say(light, tmp_path, capsys):
    source, made = (
        write_bag(tmp_path / "in", scene()),
        {name: tmp_path / name for name in ("a.mcap", "b.mcap", "a.npz", "b.npz")},
    )
    assert (
        bag(source, made["a.mcap"], "--device", "auto") == 0
        and main(["poses", str(made["a.mcap"]), "--out", str(made["a.npz"])]) == 0
    )
    for name in ("b.mcap", "b.npz"):
        capsys.readouterr()
        assert main(["estimate", str(source), "--out", str(made[name])]) == 0
        assert (
            capsys.readouterr().out
            == f"3 persons in 3 of 4 {'images' if name == 'b.mcap' else 'frames'}: {made[name]}\n"
        )
    assert made["b.mcap"].read_bytes() == made["a.mcap"].read_bytes()
    tables = [np.load(made[name], allow_pickle=False) for name in ("a.npz", "b.npz")]
    assert tables[0].files == tables[1].files
    for name in tables[0].files:
        np.testing.assert_array_equal(tables[0][name], tables[1][name])
    assert sorted(tmp_path.iterdir()) == sorted([source, *made.values()])


def test_the_same_bag_gives_the_same_bytes_wherever_they_go(light, tmp_path):
    source = write_bag(tmp_path / "in", scene(8))
    (tmp_path / "elsewhere").mkdir()
    outs = [tmp_path / "a.mcap", tmp_path / "elsewhere" / "other.mcap", tmp_path / "a.mcap"]
    written = [out.read_bytes() for out in outs if bag(source, out) == 0]
    assert len(written) == 3 and len(set(written)) == 1


def test_compressed_images_are_read_as_raw_ones_are(light, tmp_path):
    write_bag(tmp_path / "raw", scene())
    write_bag(tmp_path / "png", scene(topic="/cam/image_raw/compressed", make_image=compressed))
    seen = []
    for name in ("raw", "png"):
        assert bag(tmp_path / name, tmp_path / f"{name}.mcap", "--poses-only") == 0
        seen.append(Estimator.asked)
    for (raw, raw_camera, _), (png, png_camera, _) in zip(*seen, strict=True):
        np.testing.assert_array_equal(raw, png)
        assert raw_camera.focal_px == png_camera.focal_px == 600.0  # /cam/camera_info, for both
    assert (tmp_path / "raw.mcap").read_bytes() == (tmp_path / "png.mcap").read_bytes()


def test_of_several_cameras_one_has_to_be_chosen(light, tmp_path, capsys):
    right = [(t, time + 3, m) for t, time, m in scene(3, "/right/image_raw") if t != "/battery"]
    source = write_bag(tmp_path / "in", sorted([*scene(), *right], key=lambda m: m[1]))
    assert bag(source, tmp_path / "out.mcap") == 2
    assert capsys.readouterr().err.strip() == (
        f"lifting bag: {source}: images on several topics, choose one with --image:"
        " /cam/image_raw (4), /right/image_raw (3)"
    )
    assert bag(source, tmp_path / "out.mcap", "--image", "/right/image_raw") == 0
    assert [time for time, _ in poses(tmp_path / "out.mcap")] == [
        START_NS + k * PERIOD_NS + 3 for k in range(3)
    ]
    assert len(read_raw(tmp_path / "out.mcap")) == len(read_raw(source)) + 3 * 3 + 1


def test_estimate_of_a_bag_speaks_in_its_own_name(light, tmp_path, capsys):
    """It runs `lifting bag`, and has not all of its options."""
    late = [("/cam/image_raw", START_NS + k, image(RGB, START_NS - k)) for k in range(2)]
    unfit = [("/cam/image_raw", START_NS + 5, image(RGB, START_NS + 5, "x11"))]
    several = [*late, ("/right/image_raw", START_NS + 9, image(RGB, START_NS + 9))]
    posed = tmp_path / "posed.mcap"
    assert bag(write_bag(tmp_path / "late", [*late, *unfit]), posed) == 0
    capsys.readouterr()

    said = {}
    for name, source in {
        "late": tmp_path / "late",
        "several": write_bag(tmp_path / "several", several),
        "posed": posed,
    }.items():
        main(["estimate", str(source), "--out", str(tmp_path / f"{name}.out.mcap")])
        said[name] = capsys.readouterr().err.strip().splitlines()

    (several_line,) = said["several"]
    (posed_line,) = said["posed"]
    assert "choose one with --image of `lifting bag`: " in several_line
    assert "choose another --namespace of `lifting bag`" in posed_line
    assert sum("1 of 3 images on /cam/image_raw not used" in line for line in said["late"]) == 1
    assert sum("stamps of 1 of 3 images are not later" in line for line in said["late"]) == 1
    assert sum("image not used: encoding: " in line for line in said["late"]) == 1
    assert {line.split(":")[0] for lines in said.values() for line in lines} == {"lifting estimate"}


def test_camera_info_is_the_latest_at_the_image_or_the_first(light, tmp_path):
    """Stamps of zero, so that only the times in the bag can tell."""
    infos = [
        ("/cam/camera_info", START_NS + at, camera_info(0, focal, 32, 24))
        for at, focal in ((50, 500.0), (200, 600.0), (310, 700.0))
    ]
    images = [
        ("/cam/image_raw", START_NS + at, image(RGB, START_NS + at))
        for at in (0, 60, 200, 309, 400)
    ]
    source = write_bag(tmp_path / "in", sorted([*infos, *images], key=lambda m: m[1]))
    assert bag(source, tmp_path / "out.mcap") == 0
    assert [camera.focal_px for _, camera, _ in Estimator.asked] == [
        500.0,
        500.0,
        600.0,
        600.0,
        700.0,
    ]
    assert bag(source, tmp_path / "out.mcap", "--camera", CALIBRATION) == 0
    (focal,) = {camera.focal_px for _, camera, _ in Estimator.asked}
    assert focal not in (500.0, 600.0, 700.0)


def test_camera_info_with_the_stamp_of_the_image_is_its_own(light, tmp_path):
    times = [START_NS + k * PERIOD_NS for k in range(3)]
    messages = [("/cam/image_raw", time, image(RGB, time)) for time in times]
    messages += [
        ("/cam/camera_info", time + 10, camera_info(time, 500.0 + k, 32, 24))
        for k, time in enumerate(times)
    ]
    assert (
        bag(write_bag(tmp_path / "in", sorted(messages, key=lambda m: m[1])), tmp_path / "out.mcap")
        == 0
    )
    assert [camera.focal_px for _, camera, _ in Estimator.asked] == pytest.approx(
        [500.0, 501.0, 502.0]
    )


def test_without_camera_info_that_is_said_once(light, tmp_path, capsys):
    source = write_bag(tmp_path / "in", [m for m in scene() if m[0] != "/cam/camera_info"])
    assert bag(source, tmp_path / "out.mcap") == 0
    assert (
        capsys.readouterr().err.count(
            "camera_info: none for /cam/image_raw, so the skeletons are not metric"
        )
        == 1
    )
    assert {camera for _, camera, _ in Estimator.asked} == {None}


def test_unusable_images_are_counted_and_no_other_is_lost(light, tmp_path, capsys):
    bad = [("/cam/image_raw", START_NS + 10 + k, image(RGB, 1, "x11")) for k in range(2)]
    bad += [("/cam/image_raw", START_NS + 20, b"\x00\x01\x00\x00 no image at all")]
    source = write_bag(tmp_path / "in", sorted([*scene(), *bad], key=lambda m: m[1]))
    assert bag(source, tmp_path / "out.mcap") == 0
    said = capsys.readouterr().err
    assert (
        said.count("image not used: encoding: expected one of") == 1
        and said.count("image not used: sensor_msgs/msg/Image: ") == 1
    )
    assert "3 of 7 images on /cam/image_raw not used" in said
    assert len(poses(tmp_path / "out.mcap")) == 4
    assert [
        row for row in read_raw(tmp_path / "out.mcap") if not row[0].startswith("/lifting/")
    ] == read_raw(source)


@pytest.mark.parametrize(
    ("order", "ids", "late"),
    [
        ((0, 1, 3, 2, 4), [1, 1, 1, 0, 1], 1),
        ((0, 1, 1, 2), [1, 1, 0, 1], 1),
        ((0, 1, -100, -99), [1, 1, 2, 2], 0),
        ((None, None, None), [1, 2, 3], 0),
    ],
    ids=["swapped", "repeated", "jump", "no clock"],
)
def test_images_of_any_stamps_are_all_answered(light, tmp_path, capsys, order, ids, late):
    stamps = [0 if k is None else START_NS + k * PERIOD_NS for k in order]
    messages = [
        ("/cam/image_raw", START_NS + place * PERIOD_NS, image(np.full_like(RGB, 200), stamp_ns))
        for place, stamp_ns in enumerate(stamps)
    ]
    source = write_bag(tmp_path / "in", messages)
    for option in ("--smooth", "--no-smooth"):
        assert bag(source, tmp_path / "out.mcap", option) == 0
        found = [message for _, message in poses(tmp_path / "out.mcap")]
        assert [stamp(message) for message in found] == stamps
        assert [message.skeletons[0].id for message in found] == ids
        said = f"lifting bag: the stamps of {late} of {len(ids)} images are not later"
        assert (said in capsys.readouterr().err) == bool(late)


def test_why_no_image_is_usable_is_said(light, tmp_path, capsys):
    messages = [
        ("/cam/image_raw", START_NS + k, image(RGB, START_NS + k, "nv24")) for k in range(2)
    ]
    source = write_bag(tmp_path / "in", messages)
    assert bag(source, tmp_path / "out.mcap") == 2
    line = capsys.readouterr().err
    assert line.startswith(f"lifting bag: {source}: none of the 2 images on /cam/image_raw can be")
    assert "(image not used: encoding: expected one of rgb8, " in line
    assert line.endswith("got 'nv24')\n")


def test_semi_planar_images_are_read(light, tmp_path):
    messages = []
    for number, encoding in enumerate(("nv12", "nv21")):
        message = image(np.full((36, 32), 128, np.uint8), START_NS + number, encoding)
        message.height = 24
        message.step = 32
        messages.append(("/cam/image_raw", START_NS + number, message))
    assert bag(write_bag(tmp_path / "in", messages), tmp_path / "out.mcap") == 0
    assert [asked[0].shape for asked in Estimator.asked] == [(24, 32, 3)] * 2
    assert [asked[0][0, 0].tolist() for asked in Estimator.asked] == [[130, 130, 130]] * 2


def test_poses_only_and_another_namespace(light, tmp_path):
    source = write_bag(tmp_path / "in", scene())
    assert bag(source, tmp_path / "out.mcap", "--poses-only", "--namespace", "/robot/people") == 0
    found = {row[0] for row in read_raw(tmp_path / "out.mcap")}
    assert found == {
        f"/robot/people/{name}" for name in ("info", "skeletons_2d", "skeletons_3d", "markers")
    }
    assert bag(tmp_path / "out.mcap", tmp_path / "again.mcap") == 2  # no images in it
    assert bag(source, tmp_path / "out.mcap") == 0
    assert bag(tmp_path / "out.mcap", tmp_path / "again.mcap") == 2  # has poses already
    assert bag(tmp_path / "out.mcap", tmp_path / "again.mcap", "--poses-only") == 0


def test_parameters_are_those_of_the_node(light, tmp_path, capsys):
    source, params = write_bag(tmp_path / "in", scene(2)), tmp_path / "params.yaml"
    params.write_text(
        "/other:\n  ros__parameters: {junk: 1}\n"
        "/**:\n  ros__parameters:\n    up: [1.0, 0.0, 0.0]\n    lifting.modes: 2\n"
    )
    assert bag(source, tmp_path / "out.mcap", "--params", params) == 0
    assert Estimator.asked[0][2].tolist() == [1.0, 0.0, 0.0]
    for text, named in {
        "/**: {ros__parameters: {lifting: {mode: 2}}}": (
            "lifting.mode: unknown parameter; did you mean lifting.modes?"
        ),
        "/**: {ros__parameters: {lifting: {modes: 200}}}": (
            "lifting.modes: expected 1 to 16, got 200"
        ),
        "/other: {ros__parameters: {queue: 2}}": "nothing for the node /lifting; it is for /other",
        "queue: 2": "no ros__parameters in it",
        "[1, 2": "not a readable YAML file",
    }.items():
        params.write_text(text)
        capsys.readouterr()
        assert bag(source, tmp_path / "out.mcap", "--params", params) == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1 and named in said[0] and str(params) in said[0]


def test_only_smoothing_sees_the_future(light, tmp_path):
    messages = [m for m in scene(6) if m[0] != "/battery"]
    shared = [m for m in messages if m[1] < START_NS + 2 * PERIOD_NS]
    for name, content in (("long", messages), ("short", shared)):
        write_bag(tmp_path / name, content)
        for option in ("--smooth", "--no-smooth"):
            assert bag(tmp_path / name, tmp_path / f"{name}{option}.mcap", option) == 0
    first = {p.stem: poses(p)[0][1].skeletons[0] for p in tmp_path.glob("*.mcap")}
    assert all(skeleton.id > 0 for skeleton in first.values())
    assert repr(first["long--no-smooth"]) == repr(first["short--no-smooth"])


def test_a_bag_without_definitions_gets_them(light, tmp_path):
    """As Humble writes them: sqlite3 whose types everybody has to know."""
    source = write_bag(tmp_path / "in", scene(), StoragePlugin.SQLITE3)
    with sqlite3.connect(next(source.glob("*.db3"))) as database:
        database.executescript(
            "DROP TABLE message_definitions; UPDATE schema SET schema_version = 3;"
        )
    database.close()
    assert bag(source, tmp_path / "out.mcap") == 0
    assert [
        row for row in read_raw(tmp_path / "out.mcap") if not row[0].startswith("/lifting/")
    ] == read_raw(source)
    assert (
        len(poses(tmp_path / "out.mcap")) == 4
        and len(poses(tmp_path / "out.mcap", "/cam/image_raw")) == 4
    )


@pytest.mark.parametrize("moment", ["estimating", "writing"])
def test_interrupted_it_leaves_nothing(light, tmp_path, monkeypatch, moment):
    source, calls = write_bag(tmp_path / "in", scene()), iter(range(100))

    def interrupted(*_, **__):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return Estimate((), {})

    if moment == "estimating":
        monkeypatch.setattr(Estimator, "estimate", interrupted)
    else:
        monkeypatch.setattr("lifting_ros.ros.bag_output.PoseTopics.write", interrupted)
    assert bag(source, tmp_path / "out.mcap") == 130
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def strange_image(folder: Path) -> Path:
    """A bag whose sensor_msgs/Image is another than ROS 2's."""
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg("float64 brightness\n", "sensor_msgs/msg/Image"))
    with Writer(folder, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection(
            "/cam/image_raw", "sensor_msgs/msg/Image", typestore=store
        )
        writer.write(connection, 1, bytes(12))
    return folder


def bad_calls(root: Path) -> dict[str, list]:
    good, out = write_bag(root / "good", scene(1)), root / "out.mcap"
    (root / "text.mcap").write_text("no bag")
    (root / "empty").mkdir()
    nothing = write_bag(root / "nothing", [m for m in scene(2) if m[0] == "/battery"])
    unfit = write_bag(root / "unfit", [("/cam/image_raw", 1, image(RGB, 1, "x11"))])
    cut = root / "cut.mcap"
    cut.write_bytes(next(write_bag(root / "whole", scene(2)).glob("*.mcap")).read_bytes()[:-500])
    return {
        "nowhere: no such bag": [root / "nowhere", "--out", out],
        "text.mcap: not a readable bag": [root / "text.mcap", "--out", out],
        "cut.mcap: not a readable bag": [cut, "--out", out],
        "empty/metadata.yaml: no such file, so this folder is no bag": [
            root / "empty",
            "--out",
            out,
        ],
        "nothing: no images; topics with images (messages): none": [nothing, "--out", out],
        "none of the 1 images on /cam/image_raw can be used (image not used: encoding": [
            unfit,
            "--out",
            out,
        ],
        "its definition of sensor_msgs/msg/Image is not that of ROS 2": [
            strange_image(root / "strange"),
            "--out",
            out,
        ],
        "expected a name that ends in .mcap": [good, "--out", root / "out.bag"],
        "the folder does not exist": [good, "--out", root / "none" / "out.mcap"],
        "is, or is in, the bag that is read": [good, "--out", good / "out.mcap"],
        "--image /x: no such topic with images": [good, "--out", out, "--image", "/x"],
        "--camera-info /x: no such topic with CameraInfo": [
            good,
            "--out",
            out,
            "--camera-info",
            "/x",
        ],
        "--camera: expected it or --camera-info": [
            good,
            "--out",
            out,
            "--camera",
            CALIBRATION,
            "--camera-info",
            "/x",
        ],
        "no.yaml: no such file": [good, "--out", out, "--camera", root / "no.yaml"],
        "--namespace lifting: expected a full name": [good, "--out", out, "--namespace", "lifting"],
    }


@pytest.mark.parametrize("number", range(15))
def test_bad_input_is_one_line_and_leaves_nothing(light, tmp_path, capfd, number):
    line, arguments = list(bad_calls(tmp_path).items())[number]
    before = sorted(tmp_path.rglob("*"))
    assert main(["bag", *map(str, arguments)]) == 2
    said = capfd.readouterr().err.strip().splitlines()
    assert len(said) == 1 and line in said[0], said
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(
    not (CLIP.is_file() and (pipeline.WEIGHTS / "full.safetensors").is_file()),
    reason="the weights are not there",
)
def test_the_estimator_places_the_person_and_repeats_its_bytes(tmp_path):
    pictures = clip.frames([0, 100, 101])
    messages = [
        ("/cam/image_raw", START_NS + k * PERIOD_NS, image(p, START_NS + k * PERIOD_NS))
        for k, p in enumerate(pictures)
    ]
    gray = cv2.cvtColor(pictures[2], cv2.COLOR_RGB2GRAY)
    grey = ("/cam/image_raw", START_NS + 3 * PERIOD_NS, image(gray, 9, "mono8"))
    ten_bits = gray.astype(np.uint16) * 4
    infrared = ("/cam/image_raw", START_NS + 4 * PERIOD_NS, image(ten_bits, 99, "mono16"))
    source = write_bag(tmp_path / "in", [*messages, grey, infrared])
    written = []
    for name in ("a", "b"):
        assert (
            bag(source, tmp_path / f"{name}.mcap", "--camera", CALIBRATION, "--device", "cpu") == 0
        )
        written.append((tmp_path / f"{name}.mcap").read_bytes())
    assert written[0] == written[1]
    found = [message.skeletons for _, message in poses(tmp_path / "a.mcap")]
    assert [len(skeletons) for skeletons in found] == [0, 1, 1, 1, 1]
    flat = [message.skeletons for _, message in poses(tmp_path / "a.mcap", ADDED[0])]
    boxes = [skeletons[0].box for skeletons in flat[3:]]
    np.testing.assert_allclose(boxes[1], boxes[0], atol=8)
    with np.load(CLIP.with_name("walk_and_sit_truth.npz"), allow_pickle=False) as truth:
        expected = np.linalg.norm(truth["joints_m"][[100, 101], 0], axis=-1)
    for (skeleton,), distance in zip(found[1:3], expected, strict=True):
        root = skeleton.root_position
        assert (
            skeleton.metric
            and skeleton.id == 1
            and abs(np.linalg.norm([root.x, root.y, root.z]) / distance - 1) < 0.3
        )
