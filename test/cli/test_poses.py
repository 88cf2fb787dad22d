# SPDX-License-Identifier: Apache-2.0
"""`lifting poses`: a bag's poses as CSV and .npz, number for number, without ROS; from tables and
as a file for each person. test/io/test_pose_files.py has the formats."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed, so that no bag can be made")
sys.path.insert(0, str(Path(__file__).parents[1] / "ros"))

import conftest_ros  # noqa: F401
from ros_support import FRAME, header, person

from lifting_ros.cli.main import main
from lifting_ros.errors import DataError
from lifting_ros.io.bag_poses import read_bag
from lifting_ros.io.pose_rows import COLUMNS
from lifting_ros.io.pose_table import read_frames
from lifting_ros.ros.bag_estimation import Answer
from lifting_ros.ros.bag_format import BagWriter
from lifting_ros.ros.bag_output import PoseTopics
from lifting_ros.ros.conversions import persons_to_array_3d, skeleton_info
from lifting_ros.ros.markers import MarkerConfig
from lifting_ros.skeleton import JOINT_NAMES

A, B, C = (
    person(np.random.default_rng(seed), track, invalid=gone)
    for seed, track, gone in ((1, 7, (4,)), (2, 7, ()), (3, 9, ()))
)
PERSONS = [(), (A,), (B, C)]
STAMPS = [12 * 10**9 + k * 33_333_333 for k in range(3)]


def write_poses(
    folder: Path,
    *namespaces: str,
    stamps: Sequence[int] = STAMPS,
    persons: Sequence[tuple] = PERSONS,
) -> Path:
    """A bag with persons, at these stamps, under each of `namespaces`."""
    with BagWriter(folder) as writer:
        for namespace in namespaces:
            topics = PoseTopics(writer, namespace, MarkerConfig(), skeleton_info("lite", "a", "b"))
            for time_ns, stamp, people in zip(STAMPS, stamps, persons):
                topics.write(Answer(header(*divmod(stamp, 10**9)), people), time_ns)
    return folder


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return write_poses(tmp_path_factory.mktemp("poses") / "bag", "/lifting")


def test_csv_has_a_row_for_each_joint(bag, tmp_path):
    assert main(["poses", str(bag), "--out", str(tmp_path / "poses.csv")]) == 0
    with (tmp_path / "poses.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 3 * 17
    assert [(int(r["stamp_ns"]), int(r["id"])) for r in rows[::17]] == [
        (STAMPS[1], 7),
        (STAMPS[2], 7),
        (STAMPS[2], 9),
    ]
    assert [r["joint"] for r in rows[:17]] == list(JOINT_NAMES) and {
        r["frame_id"] for r in rows
    } == {FRAME}
    pose, row = PERSONS[2][1].skeleton_3d, rows[2 * 17 + 5]
    number = {name: float(row[name]) for name in COLUMNS if name not in ("frame_id", "joint")}
    assert [number[f"{axis}_m"] for axis in "xyz"] == pose.joints_m[5].tolist()
    assert [number[f"v{axis}_mps"] for axis in "xyz"] == PERSONS[2][1].velocity_mps[5].tolist()
    for prefix, covariance in (
        ("cov", pose.covariance_m2[5]),
        ("root_cov", pose.root_covariance_m2),
    ):
        for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)):
            assert number[f"{prefix}_{'xyz'[i]}{'xyz'[j]}_m2"] == covariance[i, j]
    assert (number["confidence"], number["status"]) == (pose.confidence[5], 2)
    assert rows[4]["status"] == "0" and rows[4]["x_m"] == "nan" == rows[4]["cov_xx_m2"]


def test_npz_has_the_frames_without_a_person_too(bag, tmp_path):
    assert main(["poses", str(bag), "--out", str(tmp_path / "poses.npz")]) == 0
    found = np.load(tmp_path / "poses.npz", allow_pickle=False)
    assert found["frame_stamp_ns"].tolist() == STAMPS and found["frame_index"].tolist() == [1, 2, 2]
    assert found["stamp_ns"].tolist() == [STAMPS[1], STAMPS[2], STAMPS[2]] and found[
        "track_id"
    ].tolist() == [7, 7, 9]
    people = [p for persons in PERSONS for p in persons]
    for name in ("joints_m", "covariance_m2", "root_covariance_m2", "status"):
        np.testing.assert_array_equal(found[name], [getattr(p.skeleton_3d, name) for p in people])
    np.testing.assert_array_equal(
        found["keypoints_px"], [p.skeleton_2d.keypoints_px for p in people]
    )
    np.testing.assert_array_equal(found["velocity_mps"], [p.velocity_mps for p in people])
    np.testing.assert_array_equal(
        found["joint_confidence"], [p.skeleton_3d.confidence for p in people]
    )
    np.testing.assert_allclose(found["age_s"], [p.age_s for p in people])


@pytest.mark.parametrize(
    "stamps", [[0, 0, 0], [5 * 10**9] * 3, [2 * 10**9, 3 * 10**9, 2 * 10**9], [30, 20, 10]]
)
def test_equal_and_falling_stamps_lose_nobody(tmp_path, stamps):
    bag = write_poses(tmp_path / "bag", "/lifting", stamps=stamps)
    out = tmp_path / "poses.npz"
    assert main(["poses", str(bag), "--out", str(out)]) == 0
    found = np.load(out)
    assert found["frame_stamp_ns"].tolist() == stamps
    assert found["frame_index"].tolist() == [1, 2, 2]
    assert found["track_id"].tolist() == [7, 7, 9]
    for name, persons in (("keypoints_px", "skeleton_2d"), ("joints_m", "skeleton_3d")):
        expected = [getattr(getattr(person, persons), name) for person in (A, B, C)]
        np.testing.assert_array_equal(found[name], expected)

    again = read_frames(out)
    assert [frame.stamp_ns for frame in again] == stamps
    assert [[person.id for person in frame.persons] for frame in again] == [[], [7], [7, 9]]


def test_lost_keypoints_are_not_taken_from_another_frame(tmp_path):
    """Of three frames with the same stamp, the second has no Skeleton2DArray."""
    with BagWriter(tmp_path / "bag") as writer:
        topics = PoseTopics(writer, "/lifting", MarkerConfig(), skeleton_info("lite", "a", "b"))
        for number, one in enumerate((A, B, C)):
            answer = Answer(header(3, 0), (one,))
            if number == 1:
                topics._put("skeletons_3d", persons_to_array_3d(answer.persons, answer.header), 7)
            else:
                topics.write(answer, 7)
    frames = read_bag(tmp_path / "bag").frames
    boxes = [frame.persons[0].skeleton_2d.box_px for frame in frames]
    np.testing.assert_array_equal(boxes[0], A.skeleton_2d.box_px)
    assert np.isnan(boxes[1]).all()
    np.testing.assert_array_equal(boxes[2], C.skeleton_2d.box_px)


@pytest.mark.parametrize("suffix", [".npz", ".json", ".parquet", ".csv", ".NPZ", ".Csv"])
def test_a_table_gives_the_same_csv_as_the_bag(bag, tmp_path, suffix):
    table = tmp_path / f"poses{suffix}"
    assert main(["poses", str(bag), "--out", str(table)]) == 0
    for source, name in ((bag, "a.csv"), (table, "b.csv")):
        assert main(["poses", str(source), "--out", str(tmp_path / name)]) == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@pytest.mark.parametrize("suffix", [".trc", ".TRC"])
def test_each_person_of_a_bag_is_a_trc(bag, tmp_path, capsys, suffix):
    out = tmp_path / f"walk{suffix}"
    assert main(["poses", str(bag), "--out", str(out), "--up", "0", "0", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    paths = [tmp_path / f"walk_{number}{suffix}" for number in (7, 9)]
    assert [line.partition(": ")[0] for line in lines] == list(map(str, paths))
    assert "person 7, 2 frames at 30.000 Hz from 0.033 s on; 0 of 34" in lines[0]
    row = paths[1].read_text(encoding="utf-8").splitlines()[6].split("\t")
    x, y, z = C.skeleton_3d.joints_m[5]
    np.testing.assert_allclose(
        [float(cell) for cell in row[17:20]], [1e3 * x, 1e3 * z, -1e3 * y], atol=1e-3
    )
    assert sorted(tmp_path.iterdir()) == paths


@pytest.mark.parametrize("index", [[0, 1, 5], [0, -1, 1], [0, 1]])
def test_rows_of_frames_that_are_not_there_are_refused(bag, tmp_path, index):
    out = tmp_path / "poses.npz"
    assert main(["poses", str(bag), "--out", str(out)]) == 0
    np.savez(out, **{**np.load(out), "frame_index": np.array(index)})
    with pytest.raises(DataError, match="frame_index: expected 3 numbers of the 3 frames"):
        read_frames(out)


def test_no_ros_is_needed(bag, tmp_path):
    """Every package of ROS is hidden, and those generated here."""
    code = (
        "import sys\n"
        "for name in ('rclpy', 'std_msgs', 'sensor_msgs', 'builtin_interfaces',\n"
        "             'lifting_ros.msg', 'ament_index_python'):\n"
        "    sys.modules[name] = None\n"
        "from lifting_ros.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", code, "poses", str(bag), "--out", str(tmp_path / "poses.csv")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0 and "3 persons in 2 of 3 frames" in done.stdout, done.stderr


def test_of_several_topics_one_has_to_be_chosen(tmp_path, capsys):
    bag = write_poses(tmp_path / "bag", "/left/lifting", "/right/lifting")
    out = tmp_path / "poses.npz"
    assert main(["poses", str(bag), "--out", str(out)]) == 2
    topics = "/left/lifting/skeletons_3d (3), /right/lifting/skeletons_3d (3)"
    assert (
        capsys.readouterr().err
        == f"lifting poses: {bag}: skeletons on several topics, choose one with --topic: {topics}\n"
    )
    assert (
        main(["poses", str(bag), "--out", str(out), "--topic", "/right/lifting/skeletons_3d"]) == 0
    )
    assert len(np.load(out)["stamp_ns"]) == 3


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["none", "--out", "a.csv"], "none: no such bag"),
        (["text.mcap", "--out", "a.csv"], "text.mcap: not a readable bag"),
        (["empty", "--out", "a.csv"], "empty: not a readable bag"),
        (["bag", "--out", "a.txt"], "ends in .csv or .npz or .json or .parquet"),
        (["bag", "--out", "a.csv", "--up", "0", "0", "1"], "--up: only for .trc, .c3d and .bvh"),
        (["bag", "--out", "a.trc", "--up", "0", "0", "0"], "--up: expected a direction"),
        (["bag", "--out", "a.trc", "--up", "0", "nan", "0"], "--up: expected a direction"),
        (["nobody", "--out", "a.trc"], "a.trc: not written: there is nobody in 1 frames"),
        (["poses.trc", "--out", "a.csv"], "poses.trc: not read; expected a bag or .csv, .npz"),
        (["none.npz", "--out", "a.csv"], "none.npz: no such file"),
        (["none.json", "--topic", "/x", "--out", "a.csv"], "--topic is for bags"),
        (["bag", "--out", "none/a.csv"], "the folder does not exist"),
        (["bag", "--out", "a.csv", "--topic", "/x"], "--topic /x: no such topic with skeletons"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capfd, arguments, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.mcap").write_text("no bag")
    (tmp_path / "empty").mkdir()
    write_poses(tmp_path / "bag", "/lifting")
    write_poses(tmp_path / "nobody", "/lifting", persons=[()], stamps=STAMPS[:1])
    before = sorted(tmp_path.rglob("*"))
    assert main(["poses", *arguments]) == 2
    said = capfd.readouterr().err.strip().splitlines()
    assert len(said) == 1 and line in said[0]
    assert sorted(tmp_path.rglob("*")) == before
