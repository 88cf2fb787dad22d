# SPDX-License-Identifier: Apache-2.0
"""Files of poses, read by the libraries of others; the positions are those of the input to 1 mm."""

from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pytest
from people import make_poses, see
from scipy.spatial.transform import Rotation

from lifting_ros.errors import DataError
from lifting_ros.io.pose_bvh import _smallest_turn
from lifting_ros.io.pose_files import ENCODERS, READERS, WRITERS, read_poses, write_persons
from lifting_ros.io.pose_table import PoseFrame, frame_arrays, persons_of
from lifting_ros.io.uniform_track import uniform_tracks
from lifting_ros.skeleton import JOINT_NAMES, JOINT_PARENTS

COUNT = 20
PERIOD_NS = 33_333_333
STAMPS = 10**18 + PERIOD_NS * np.arange(COUNT)
POSES, _ = see(make_poses(COUNT, seed=4))
"""In the optical frame of a level camera."""

TO_Y_UP = np.array([1.0, -1.0, -1.0])
VARIANCE_M2 = 0.01
"""Of each axis of a joint relative to the root, and of the root."""

STD_MM = 1000 * np.sqrt(2 * VARIANCE_M2)
FRAME = "camera_optical"
TURNED = ("knee", "ankle", "elbow", "wrist", "top")
KNEE = JOINT_NAMES.index("left_knee")


def columns_of(joints_m, track_id=1):
    """The columns of N persons who have the joints (N, 17, 3)."""
    count = len(joints_m)
    covariance = np.tile(VARIANCE_M2 * np.eye(3), (count, 17, 1, 1))
    return {
        "track_id": np.full(count, track_id),
        "joints_m": joints_m,
        "root_m": joints_m[:, 0],
        "velocity_mps": 0.1 * joints_m,
        "covariance_m2": covariance,
        "root_covariance_m2": covariance[:, 0].copy(),
        "joint_confidence": np.full((count, 17), 0.5),
        "status": np.where(np.isfinite(joints_m).all(-1), 2, 0).astype(np.uint8),
    }


def recording(joints_m=POSES, stamps=STAMPS, lost=(), **more):
    """Frames with a person; nobody is in the `lost` ones."""
    persons = persons_of({**columns_of(joints_m, **more)})
    return [
        PoseFrame(int(stamp), FRAME, () if k in lost else (person,))
        for k, (stamp, person) in enumerate(zip(stamps, persons, strict=True))
    ]


def together(*recordings):
    """The persons of several recordings with the same stamps."""
    return [
        PoseFrame(frames[0].stamp_ns, FRAME, sum((frame.persons for frame in frames), ()))
        for frames in zip(*recordings, strict=True)
    ]


def without(joints_m, frames, joint):
    """The joints without one of them in some frames."""
    joints_m = joints_m.copy()
    joints_m[frames, joint] = np.nan
    return joints_m


def y_up_mm(joints_m):
    return 1000 * TO_Y_UP * joints_m


def read_trc(path):
    """The table of a TRC file, (T, 2 + 51), NaN in empty cells. As OpenSim requires, a tab ends
    each row."""
    lines = path.read_text(encoding="utf-8").split("\n")[6:]
    rows = [[float(cell or "nan") for cell in line.split("\t")] for line in lines if line]
    assert {len(row) for row in rows} == {2 + 51 + 1}
    return np.array(rows)[:, :-1]


def read_c3d(path):
    """Points (T, 17, 3) in mm, fourth words (T, 17) and parameters, by the library ezc3d."""
    ezc3d = pytest.importorskip("ezc3d", reason="pip install ezc3d")
    content = ezc3d.c3d(str(path))
    parameters = content["parameters"]

    # ezc3d takes the bytes of the fourth word the other way round than c3d.org has them
    start = 512 * (parameters["POINT"]["DATA_START"]["value"][0] - 1)
    points = content["data"]["points"][:3].T.swapaxes(0, 1)
    words = np.frombuffer(path.read_bytes()[start:], "<f4", 4 * points[..., 0].size)
    return points.swapaxes(0, 1), words.reshape(-1, 17, 4)[..., 3], parameters


def read_bvh(path):
    """Joints (T, 17, 3) in mm by the library bvhio, and its container."""
    bvhio = pytest.importorskip("bvhio", reason="pip install bvhio")
    container = bvhio.readAsBvh(str(path))
    root = bvhio.readAsHierarchy(str(path))
    joints = {joint.Name: joint for joint, _, _ in root.layout()}

    positions = []
    for frame in range(container.FrameCount):
        root.loadPose(frame)
        positions.append([list(joints[name].PositionWorld) for name in JOINT_NAMES])
    return 10 * np.array(positions), container


def test_trc_is_read_by_another_library(tmp_path):
    trc = pytest.importorskip("trc", reason="pip install trc-data-reader")
    assert write_persons(tmp_path / "a.trc", recording())
    found = trc.TRCData()
    found.load(tmp_path / "a.trc")
    assert (found["Units"], found["NumFrames"], found["NumMarkers"]) == ("mm", COUNT, 17)
    assert found["Markers"] == list(JOINT_NAMES) and found["FileName"] == "a.trc"
    assert found["DataRate"] == pytest.approx(30, abs=1e-4)
    assert found["Frame#"] == list(range(1, COUNT + 1))
    np.testing.assert_allclose(found["Time"], np.arange(COUNT) / 30, atol=1e-6)
    markers = np.array([found[name] for name in JOINT_NAMES]).swapaxes(0, 1)
    np.testing.assert_allclose(markers, y_up_mm(POSES), atol=1e-3)
    assert markers[0, JOINT_NAMES.index("head_top"), 1] > markers[0, 0, 1]


def test_c3d_is_read_by_another_library(tmp_path):
    write_persons(tmp_path / "a.c3d", recording())
    points, words, parameters = read_c3d(tmp_path / "a.c3d")
    np.testing.assert_allclose(points, y_up_mm(POSES), atol=1e-2)
    point = {name: entry["value"] for name, entry in parameters["POINT"].items() if name[0] != "_"}
    assert point["LABELS"] == list(JOINT_NAMES) and point["UNITS"] == ["mm"]
    assert point["RATE"][0] == pytest.approx(30, abs=1e-4) and point["FRAMES"][0] == COUNT
    assert (point["X_SCREEN"], point["Y_SCREEN"]) == (["+X"], ["+Y"])
    scale = -point["SCALE"][0]
    np.testing.assert_allclose(words * scale, STD_MM, atol=0.5 * scale)


def test_large_residuals_fit_a_byte(tmp_path):
    frames = recording()
    frames[3].persons[0].skeleton_3d.root_covariance_m2[:] = 4 * np.eye(3)
    frames[6].persons[0].skeleton_3d.root_covariance_m2[:] = np.nan
    frames[9].persons[0].skeleton_3d.covariance_m2[:] = np.nan
    write_persons(tmp_path / "a.c3d", frames)
    _, words, parameters = read_c3d(tmp_path / "a.c3d")
    scale = -parameters["POINT"]["SCALE"]["value"][0]
    expected = np.full((COUNT, 17), STD_MM)
    expected[3] = 1000 * np.sqrt(4 + VARIANCE_M2)
    expected[6] = 1000 * np.sqrt(VARIANCE_M2)  # at the origin
    expected[9] = 0
    np.testing.assert_allclose(words * scale, expected, atol=0.5 * scale)


def test_c3d_can_be_converted_to_integers(tmp_path):
    """Coordinates divided by the scale fit 16 bits."""
    write_persons(tmp_path / "a.c3d", recording(POSES + [0, 0, 60.0]))
    points, _, parameters = read_c3d(tmp_path / "a.c3d")
    assert np.abs(points).max() / -parameters["POINT"]["SCALE"]["value"][0] <= 32767


def rigid_poses(count):
    """Poses (N, 17, 3), y up, of a person with rigid bones who is turned, and whose limbs are
    turned, in any direction: also along and against the rest pose."""
    rng = np.random.default_rng(0)
    rest = make_poses(1, yaw=False)[0]
    limbs = [JOINT_NAMES.index(name) for name in JOINT_NAMES if name.split("_")[-1] in TURNED]
    poses = np.zeros((count, 17, 3))
    for pose in poses:
        for j, parent in enumerate(JOINT_PARENTS[1:], start=1):
            bone = rest[j] - rest[parent]
            if j in limbs:
                direction = rng.choice([-1.0, 0.0, 1.0], 3) + 1e-9 * rng.normal(size=3)
                bone = np.linalg.norm(bone) * direction / np.linalg.norm(direction)
            pose[j] = pose[parent] + bone
        pose[:] = Rotation.from_quat(rng.normal(size=4)).apply(pose) + rng.normal(size=3)
    return poses


def test_bvh_is_read_by_another_library(tmp_path):
    poses = rigid_poses(200)
    frames = recording(TO_Y_UP * poses, PERIOD_NS * np.arange(200))
    (line,) = write_persons(tmp_path / "a.bvh", frames)
    joints, container = read_bvh(tmp_path / "a.bvh")
    np.testing.assert_allclose(joints, 1000 * poses, atol=1)
    assert container.FrameTime == pytest.approx(1 / 30) and container.FrameCount == 200
    assert "0 mm (rms) and at most 0 mm from the joints; frames filled in: none" in line
    assert container.Root.Name == "pelvis" and len(container.Root.Channels) == 6


def test_limbs_can_be_turned_around():
    start = np.array([0.0, 0.4, 0.0])
    ends = np.array([[0, -3.0, 0], [0, 2.0, 0], [1, -1e-9, 0], [1, 2, 3]])
    for turned in (start, 2 * start, np.array([1.0, 2.0, 3.0])):
        wanted = np.vstack([ends, -turned])
        found = _smallest_turn(turned, wanted).apply(turned)
        cosines = (found * wanted).sum(-1) / np.linalg.norm(found, axis=-1)
        np.testing.assert_allclose(cosines, np.linalg.norm(wanted, axis=-1))


def test_angles_do_not_jump_by_a_turn(tmp_path):
    """A person who turns around twice."""
    turns = Rotation.from_euler("y", np.linspace(0, 720, 60)[:, None], degrees=True)
    pose = make_poses(1, yaw=False)[0]
    poses = np.array([turn.apply(pose) for turn in turns])
    frames = recording(TO_Y_UP * poses, PERIOD_NS * np.arange(60))
    write_persons(tmp_path / "a.bvh", frames)
    lines = (tmp_path / "a.bvh").read_text(encoding="utf-8").splitlines()[-60:]
    angles = np.array([line.split() for line in lines], float)[:, 3:]
    assert np.abs(np.diff(angles, axis=0)).max() < 20


def test_a_pose_without_a_pelvis_plane_is_filled_in(tmp_path):
    poses = np.repeat(POSES[:1], COUNT, 0)
    hips = [JOINT_NAMES.index(name) for name in ("right_hip", "left_hip")]
    poses[4, hips] = poses[4, 0]
    (line,) = write_persons(tmp_path / "a.bvh", recording(poses))
    assert line.endswith("frames filled in: 5")
    joints, _ = read_bvh(tmp_path / "a.bvh")
    np.testing.assert_allclose(joints[4], joints[3], atol=1e-3)


def test_bvh_states_how_far_rigid_bones_are(tmp_path):
    rng = np.random.default_rng(1)
    poses = POSES + rng.normal(scale=0.02, size=POSES.shape)
    (line,) = write_persons(tmp_path / "a.bvh", recording(poses))
    joints, _ = read_bvh(tmp_path / "a.bvh")
    distances = np.linalg.norm(joints - y_up_mm(poses), axis=-1)
    rms = np.sqrt(np.mean(distances**2))
    assert rms > 5
    assert f"{rms:.0f} mm (rms) and at most {distances.max():.0f} mm" in line

    # A bone points at its joint from where the bones before it end
    knee, ankle = (JOINT_NAMES.index(f"right_{name}") for name in ("knee", "ankle"))
    along = y_up_mm(poses)[:, ankle] - joints[:, knee]
    bone = joints[:, ankle] - joints[:, knee]
    np.testing.assert_allclose(np.cross(along, bone) / 400**2, 0, atol=1e-3)


def test_gaps_stay_empty_in_trc_and_c3d(tmp_path):
    """A knee is unknown in 3 and 10 to 15; nobody is there in 6."""
    frames = recording(without(POSES, [3, *range(10, 16)], KNEE), lost=[6])
    for name in ("a.trc", "a.c3d"):
        (line,) = write_persons(tmp_path / name, frames)
        assert "18 of 340 joints filled in, 6 unknown" in line

    wanted = y_up_mm(POSES)
    wanted[6] = (wanted[5] + wanted[7]) / 2
    wanted[3, KNEE] = (wanted[2, KNEE] + wanted[4, KNEE]) / 2
    wanted[10:16, KNEE] = np.nan
    markers = read_trc(tmp_path / "a.trc")[:, 2:].reshape(COUNT, 17, 3)
    np.testing.assert_allclose(markers, wanted, atol=1e-2)

    points, words, _ = read_c3d(tmp_path / "a.c3d")
    np.testing.assert_allclose(points, wanted, atol=1e-2)
    assert (words[10:16, KNEE] == -1).all() and (words == -1).sum() == 6
    assert words[3, KNEE] == 0 and (words[6] == 0).all() and (words == 0).sum() == 18


def test_gaps_are_filled_and_named_in_bvh(tmp_path):
    rest = rigid_poses(1)[0]
    turns = Rotation.from_euler("y", 6.0 * np.arange(COUNT)[:, None], degrees=True)
    poses = np.array([turn.apply(rest - rest[0]) for turn in turns]) * TO_Y_UP
    poses += 0.01 * np.arange(COUNT)[:, None, None]
    frames = recording(without(poses, [0, *range(8, 14)], KNEE), lost=[17])
    (line,) = write_persons(tmp_path / "a.bvh", frames)
    assert line.endswith("frames filled in: 1, 9-14")
    joints, _ = read_bvh(tmp_path / "a.bvh")
    np.testing.assert_allclose(joints[1:17], y_up_mm(poses[1:17]), atol=1)
    np.testing.assert_allclose(joints[18:], y_up_mm(poses[18:]), atol=1)
    np.testing.assert_allclose(joints[17], y_up_mm(poses[17]), atol=5)  # on a chord
    np.testing.assert_allclose(joints[0], joints[1], atol=1e-3)


def test_two_people_are_two_files_of_one_time(tmp_path):
    early = recording(track_id=7, lost=range(12, COUNT))
    late = recording(POSES + [1.0, 0, 0], track_id=9, lost=range(5))
    for suffix in ENCODERS:
        lines = write_persons(tmp_path / f"a{suffix}", together(early, late))
        assert [line.split(":")[0] for line in lines] == [
            str(tmp_path / f"a_{number}{suffix}") for number in (7, 9)
        ]
        assert "person 9, 15 frames at 30.000 Hz from 0.167 s on" in lines[1]

    first, second = (read_trc(tmp_path / f"a_{number}.trc") for number in (7, 9))
    assert first[:, 0].tolist() == list(range(1, 13))
    assert second[:, 0].tolist() == list(range(6, COUNT + 1))
    np.testing.assert_allclose(second[:, 1], np.arange(5, COUNT) / 30, atol=1e-6)
    shifted = y_up_mm(POSES[5:] + [1.0, 0, 0])
    np.testing.assert_allclose(second[:, 2:].reshape(-1, 17, 3), shifted, atol=1e-2)

    _, _, parameters = read_c3d(tmp_path / "a_9.c3d")
    assert parameters["TRIAL"]["ACTUAL_START_FIELD"]["value"][0] == 6
    assert not (tmp_path / "a.trc").exists()


def test_the_order_of_frames_does_not_matter():
    frames = recording(lost=[0, 1])
    (track,) = uniform_tracks(frames)
    (other,) = uniform_tracks(frames[::-1])
    assert other.first == track.first == 2
    np.testing.assert_array_equal(other.joints_m, track.joints_m)


def test_uneven_stamps_are_interpolated_at_an_even_rate():
    rng = np.random.default_rng(3)
    times = np.sort(np.arange(COUNT) + rng.uniform(-0.3, 0.3, COUNT))
    stamps = (times * PERIOD_NS).astype(np.int64)
    (track,) = uniform_tracks(recording(stamps=stamps))
    seconds = (stamps - stamps[0]) * 1e-9
    assert track.rate_hz == pytest.approx(30, rel=0.1) and track.known.all()
    np.testing.assert_allclose(np.diff(track.times_s), 1 / track.rate_hz)
    for j in (0, KNEE):
        for axis in range(3):
            curve = TO_Y_UP[axis] * POSES[:, j, axis]
            wanted = np.interp(track.times_s, seconds, curve)
            np.testing.assert_allclose(track.joints_m[:, j, axis], wanted, atol=1e-6)


def test_rounded_stamps_keep_the_rate_of_the_camera():
    """A camera of 30 Hz whose driver rounds to milliseconds: 33, 33 and 34 ms."""
    count = 301
    stamps = 10**6 * np.round(1000 * np.arange(count) / 30).astype(np.int64)
    joints = np.repeat(POSES[:1], count, 0)
    (track,) = uniform_tracks(recording(joints, stamps))
    assert track.rate_hz == pytest.approx(30, abs=1e-9) and len(track.joints_m) == count
    assert track.known.all() and not track.filled.any()


@pytest.mark.parametrize(("hz", "missing", "known"), [(5, 1, True), (5, 2, False), (100, 8, True)])
def test_short_gaps_are_those_of_a_frame_or_a_tenth_second(hz, missing, known):
    stamps = 10**9 // hz * np.arange(COUNT)
    (track,) = uniform_tracks(recording(stamps=stamps, lost=range(5, 5 + missing)))
    assert track.known[5 : 5 + missing].all() == track.known[5 : 5 + missing].any() == known
    assert track.filled.any() == known and track.known.all(-1).sum() >= COUNT - missing


def test_poses_beside_a_gap_are_not_drawn_into_it():
    """The pose before the gap is a little early, the one behind it a little late."""
    times = np.array([0, 1, 2, 2.8, 10.2, 11.2, 12.4])
    poses = POSES[: len(times)]
    (track,) = uniform_tracks(recording(poses, (PERIOD_NS * times).astype(np.int64)))
    np.testing.assert_allclose(track.joints_m[3], TO_Y_UP * poses[3], atol=1e-6)
    np.testing.assert_allclose(track.joints_m[10], TO_Y_UP * poses[4], atol=1e-6)
    assert np.flatnonzero(~track.known.all(-1)).tolist() == list(range(4, 10))


def test_stamps_of_no_usual_period_have_a_rate():
    (track,) = uniform_tracks(recording(POSES[:3], [0, 10_000_000, 100_000_000]))
    assert track.rate_hz == pytest.approx(20)


def test_a_single_pose_can_be_written(tmp_path):
    for suffix in ENCODERS:
        (line,) = write_persons(tmp_path / f"a{suffix}", recording(POSES[:1], STAMPS[:1]))
        assert "1 frames at 10.000 Hz" in line
    joints, _ = read_bvh(tmp_path / "a.bvh")
    np.testing.assert_allclose(joints, y_up_mm(POSES[:1]), atol=1)


@pytest.mark.parametrize(
    ("up", "turn"),
    [((0, 0, 2.0), lambda p: [p[0], p[2], -p[1]]), ((0, -1, 0), lambda p: [p[0], -p[1], -p[2]])],
)
def test_up_becomes_y(up, turn):
    (track,) = uniform_tracks(recording(), up)
    wanted = [[turn(joint) for joint in pose] for pose in POSES]
    np.testing.assert_allclose(track.joints_m, wanted, atol=1e-12)


def test_json_is_plain_and_complete(tmp_path):
    poses = without(POSES, [3], KNEE)
    frames = together(recording(poses, lost=[6]), recording(POSES + 1, track_id=2, lost=[6]))
    WRITERS[".json"](tmp_path / "a.json", frames)

    def refuse(text):
        raise AssertionError(text)

    found = json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse)
    assert found["joint_names"] == list(JOINT_NAMES)
    assert found["joint_parents"] == list(JOINT_PARENTS)
    assert [frame["stamp_ns"] for frame in found["frames"]] == STAMPS.tolist()
    assert found["frames"][3]["time_s"] == pytest.approx(0.1) and not found["frames"][6]["persons"]
    first, second = found["frames"][3]["persons"]
    assert (first["track_id"], second["track_id"]) == (1, 2)
    assert first["joints_m"][KNEE] == [None] * 3 and first["status"][KNEE] == 0
    np.testing.assert_allclose(second["joints_m"], POSES[3] + 1, atol=1e-9)
    assert found["status_names"][second["status"][0]] == "observed"


def test_parquet_has_the_rows_of_the_csv(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pip install pyarrow")
    frames = together(recording(without(POSES, [3], KNEE)), recording(POSES + 1, track_id=2))
    for suffix in (".csv", ".parquet"):
        WRITERS[suffix](tmp_path / f"a{suffix}", frames)
    table = parquet.read_table(tmp_path / "a.parquet")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert table.column_names == list(rows[0]) and table.num_rows == len(rows) == 2 * COUNT * 17
    for name in table.column_names:
        values = table[name].to_pylist()
        assert [str(value) for value in values] == [row[name] for row in rows]


@pytest.mark.parametrize("suffix", READERS)
def test_tables_come_back_as_they_were(tmp_path, suffix):
    frames = together(recording(without(POSES, [3], KNEE)), recording(POSES + 1, track_id=2))
    WRITERS[suffix](tmp_path / f"a{suffix}", frames)
    found = read_poses(tmp_path / f"a{suffix}")
    assert [frame.frame_id for frame in found] == [FRAME] * COUNT
    again = frame_arrays(found)
    for name, values in frame_arrays(frames).items():
        np.testing.assert_array_equal(again[name], values, err_msg=name)


@pytest.mark.parametrize("suffix", READERS)
def test_frames_of_one_stamp_stay_apart(tmp_path, suffix):
    """Those with different coordinate frames."""
    person = recording()[0].persons
    frames = [PoseFrame(5, "left", person), PoseFrame(5, "right", (*person, *person))]
    WRITERS[suffix](tmp_path / f"a{suffix}", frames)
    found = read_poses(tmp_path / f"a{suffix}")
    assert [(frame.frame_id, len(frame.persons)) for frame in found] == [("left", 1), ("right", 2)]


@pytest.mark.parametrize("suffix", READERS)
def test_nobody_is_a_table_without_rows(tmp_path, suffix):
    WRITERS[suffix](tmp_path / f"a{suffix}", [PoseFrame(5, FRAME, ())])
    assert not any(frame.persons for frame in read_poses(tmp_path / f"a{suffix}"))


@pytest.mark.parametrize("suffix", ENCODERS)
@pytest.mark.parametrize(
    ("frames", "line"),
    [
        ([], "there is nobody in 0 frames"),
        ([PoseFrame(5, FRAME, ())], "there is nobody in 1 frames"),
        (recording(np.full_like(POSES, np.nan)), "there is nobody in 20 frames"),
        (recording(stamps=np.zeros(COUNT)), "person 1: 20 poses with the stamp 0 ns"),
        (recording(stamps=[*range(COUNT - 1), 10**8]), "expected at most 2000000 periods"),
        (
            [*recording()[:5], PoseFrame(0, "map", recording()[0].persons)],
            "person 1: expected one coordinate frame, got camera_optical, map",
        ),
    ],
)
def test_what_is_no_track_is_one_line(tmp_path, suffix, frames, line):
    with pytest.raises(DataError, match=line):
        write_persons(tmp_path / f"a{suffix}", frames)
    assert not list(tmp_path.iterdir())


def test_all_people_are_written_or_none(tmp_path):
    legless = without(POSES, slice(None), KNEE)
    with pytest.raises(DataError, match="person 2 has no pose with all joints"):
        write_persons(tmp_path / "a.bvh", together(recording(), recording(legless, track_id=2)))
    assert not list(tmp_path.iterdir())


def test_c3d_says_where_its_frames_end(tmp_path):
    frames = recording(stamps=STAMPS + np.where(np.arange(COUNT) > 9, 70_000 * PERIOD_NS, 0))
    with pytest.raises(DataError, match="frame 70020 of the recording; a C3D file counts to 65535"):
        write_persons(tmp_path / "a.c3d", frames)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("suffix", "module", "line"),
    [(".c3d", "c3d", "pip install c3d"), (".parquet", "pyarrow", "pip install pyarrow")],
)
def test_missing_packages_are_named(tmp_path, monkeypatch, suffix, module, line):
    monkeypatch.setitem(sys.modules, module, None)
    write = WRITERS.get(suffix, write_persons)
    with pytest.raises(DataError, match=line):
        write(tmp_path / f"a{suffix}", recording())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize("damage", ["cut", "other", "empty", "absent"])
def test_damaged_tables_are_one_line(tmp_path, suffix, damage):
    path = tmp_path / f"a{suffix}"
    WRITERS[suffix](path, recording())
    content = path.read_bytes()
    changed = {"cut": content[: len(content) // 2], "other": b"[1, 2]\n3,4\n", "empty": b""}
    path.unlink()
    if damage != "absent":
        path.write_bytes(changed[damage])
    with pytest.raises((DataError, FileNotFoundError), match=str(path)) as error:
        read_poses(path)
    assert "\n" not in str(error.value)


def test_json_of_another_version_is_refused(tmp_path):
    path = tmp_path / "a.json"
    WRITERS[".json"](path, recording())
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(DataError, match="version: expected 1, got 2"):
        read_poses(path)


@pytest.mark.parametrize(
    ("column", "value", "line"),
    [
        ("joint", "tail", "joint: expected the 17 joints of each person"),
        ("x_m", "far", "expected numbers"),
        ("status", "999", "expected numbers"),
        ("stamp_ns", "", "expected numbers"),
    ],
)
def test_wrong_values_in_a_csv_are_named(tmp_path, column, value, line):
    path = tmp_path / "a.csv"
    WRITERS[".csv"](path, recording())
    names, first, *rows = csv.reader(path.read_text().splitlines())
    first[names.index(column)] = value
    path.write_text("\n".join(",".join(row) for row in (names, first, *rows)))
    with pytest.raises(DataError, match=line):
        read_poses(path)


@pytest.mark.parametrize(
    ("lines", "line"), [(0, "got an empty file"), (4, "row 4: expected 24 values, got 2")]
)
def test_cut_csv_says_where(tmp_path, lines, line):
    path = tmp_path / "a.csv"
    WRITERS[".csv"](path, recording())
    kept = path.read_text().splitlines()[:lines]
    if kept:
        kept[-1] = ",".join(kept[-1].split(",")[:2])
    path.write_text("\n".join(kept))
    with pytest.raises(DataError, match=line):
        read_poses(path)
