# SPDX-License-Identifier: Apache-2.0
"""Coverage end to end: of people in pictures and in videos with truth, by status and by joint."""

import dataclasses
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from people import CAMERA, make_poses, see
from walkers import person

from lifting_ros.io.images import open_source
from lifting_ros.research.datasets.pack import Pack
from lifting_ros.research.evaluation.coverage import (
    Covered,
    coverage_tables,
    error_row,
    joined,
    joint_rows,
    status_rows,
)
from lifting_ros.research.evaluation.metrics import pa_mpjpe
from lifting_ros.research.evaluation.people_groups import GROUPS
from lifting_ros.research.evaluation.rendered_people import estimate_rendered
from lifting_ros.research.evaluation.synthetic_people import RenderedPeople
from lifting_ros.research.evaluation.video_truth import (
    HIPS,
    Truth,
    about_hips,
    largest,
    measure_video,
    read_truth,
    thin,
    videos_in,
)
from lifting_ros.skeleton import JOINT_NAMES
from lifting_ros.tracking.tracking import TrackedFrame
from lifting_ros.types import JointStatus

LIMB_JOINTS = (1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16)
STD_M = np.array([0.02, 0.05, 0.01])
VIDEO_STD_M = 0.03


def covered(count: int = 2000) -> Covered:
    """Errors as their covariances say; joint 1 is inferred and off by twice as much, joint 2 is
    never measured."""
    rng = np.random.default_rng(0)
    error = STD_M * rng.standard_normal((count, 3, 3))
    error[:, 1] *= 2
    status = np.tile([JointStatus.OBSERVED, JointStatus.INFERRED, JointStatus.INVALID], (count, 1))
    error[:, 2] = np.nan
    return Covered(
        error,
        np.tile(np.diag(STD_M**2), (count, 3, 1, 1)),
        status.astype(np.uint8),
        ("a", "b", "c"),
        {"PA-MPJPE": np.full(count, 50.0)},
        2 * count,
    )


def test_right_covariances_are_called_right():
    row = status_rows(covered())["observed"]
    assert row["50 %"] == pytest.approx(50, abs=4) and row["90 %"] == pytest.approx(90, abs=2.5)
    assert row["NEES"] == pytest.approx(1, abs=0.06) and row["count"] == 2000


def test_statuses_are_kept_apart():
    rows = status_rows(covered())
    assert rows["inferred"]["NEES"] == pytest.approx(4, rel=0.06)
    assert rows["all"]["NEES"] == pytest.approx(2.5, rel=0.06) and rows["all"]["count"] == 4000


def test_joints_are_kept_apart():
    rows = joint_rows(covered())
    assert list(rows) == ["a", "b"]
    assert rows["a"]["obs. NEES"] == pytest.approx(1, abs=0.06) and rows["a"]["inf. count"] == 0
    assert rows["b"]["inf. NEES"] == pytest.approx(4, rel=0.06)
    assert np.isnan(rows["b"]["obs. 50 %"])


def test_people_not_found_are_counted():
    people = covered(10)
    assert error_row(people) == {
        "PA-MPJPE": 50.0,
        "median PA-MPJPE": 50.0,
        "people": 10.0,
        "found %": 50.0,
    }
    both = joined([people, people._replace(errors_mm={"PA-MPJPE": np.full(10, 150.0)})])
    assert error_row(both)["PA-MPJPE"] == 100 and both.sought == 40 and len(both.status) == 20


def test_tables_name_every_set():
    tables = coverage_tables({"squat": covered(5), "walk": covered(7)})
    assert list(tables["errors of those found, mm"]) == ["squat", "walk"]
    by_status = tables["in the ellipsoids by status, %"]
    assert list(by_status)[:3] == ["squat, observed", "squat, inferred", "squat, all"]
    assert {"squat", "walk"} == {title.split(":")[0] for title in list(tables)[2:]}


def seen_person(joints: np.ndarray, covariance: np.ndarray, box_side: float = 100.0):
    """A person with these joints (17, 3) relative to the root at the origin, in a square box."""
    found = person(np.zeros((14, 2)), 1.0, joints, np.zeros(3), covariance, np.eye(3), metric=False)
    flat = dataclasses.replace(found.skeleton_2d, box_px=np.array([0.0, 0.0, box_side, box_side]))
    return dataclasses.replace(found, skeleton_2d=flat)


def video(count: int = 400) -> tuple[list[TrackedFrame], Truth]:
    """Frames at 10 Hz and their truth in a laboratory that is turned, twice as large and sampled at
    other times; the errors are those of the covariances, and the hips are where they should be."""
    rng = np.random.default_rng(2)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    joints = make_poses(1)[0] - make_poses(1)[0, 0]
    covariance = np.tile(VIDEO_STD_M**2 * np.eye(3), (17, 1, 1))
    frames = []
    for number in range(count):
        off = VIDEO_STD_M * rng.standard_normal((17, 3))
        off[list(HIPS)] = 0.0
        nearby = seen_person(joints + off, covariance)
        frames.append(
            TrackedFrame(int(1e8 * number), (seen_person(2 * joints, covariance, 9), nearby))
        )

    times = np.linspace(0, count / 10, 77)
    truth = np.tile(2 * joints[list(LIMB_JOINTS)] @ turn.T + 5.0, (77, 1, 1))
    return frames, Truth(times, truth, LIMB_JOINTS)


def test_a_video_is_aligned_with_its_covariances():
    """Rotation and scale take 4 of 30 degrees of freedom, and change nothing else."""
    people = measure_video(*video())
    rows = joint_rows(people)
    assert list(rows) == [JOINT_NAMES[joint] for joint in LIMB_JOINTS if joint not in HIPS]
    limbs = [row["obs. NEES"] for row in rows.values()]
    assert np.mean(limbs) == pytest.approx(1 - 4 / 30, abs=0.08)
    assert status_rows(people)["observed"]["count"] == 400 * 10


def test_the_error_of_a_video_is_that_after_the_alignment():
    frames, truth = video(50)
    estimate = np.array([largest(f.persons).skeleton_3d.joints_m for f in frames])
    expected = 1e3 * pa_mpjpe(estimate[:, list(LIMB_JOINTS)], truth.joints_m[:50])
    people = measure_video(frames, truth)
    np.testing.assert_allclose(people.errors_mm["PA-MPJPE"], expected)


def test_errors_are_about_the_hips_where_both_are_known():
    error = np.ones((1, 3, 3)) * [[[1.0], [3.0], [7.0]]]
    hip, other, knee = HIPS[0], HIPS[1], 2
    centred, counted = about_hips(error, (hip, other, knee))
    assert centred[0, :, 0].tolist() == [-1, 1, 5] and counted.tolist() == [False, False, True]
    same, counted = about_hips(error, (hip, knee, 3))
    np.testing.assert_array_equal(same, error)
    assert counted.all()


def test_frames_outside_of_the_recording_are_left_out():
    frames, truth = video(20)
    early = truth._replace(time_s=truth.time_s / 2)
    nobody = [TrackedFrame(0, ()), *frames[1:]]
    people = measure_video(nobody, early)
    assert people.sought == 11 and len(people.status) == 10


def test_nobody_in_a_video_is_no_error():
    _, truth = video(5)
    people = measure_video([TrackedFrame(0, ())], truth)
    assert len(people.status) == 0 and np.isnan(error_row(people)["PA-MPJPE"])


def test_every_third_frame_keeps_its_time(tmp_path):
    for number in range(8):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), 20 * number, np.uint8))
    source = open_source(str(tmp_path))
    thinned = thin(source, 3)
    whole = list(source.stamped())
    frames = list(thinned.stamped())
    assert [frame.name for frame in frames] == ["0.png", "3.png", "6.png"] and thinned.count == 3
    assert [frame.stamp_ns for frame in frames] == [whole[n].stamp_ns for n in (0, 3, 6)]


def test_the_truth_is_interpolated():
    joints = np.zeros((2, 4, 3))
    joints[1, :, 0] = 1.0
    truth = Truth(np.array([0.0, 2.0]), joints, (0, 1, 2, 3))
    np.testing.assert_allclose(truth.at(np.array([0.5]))[0, :, 0], 0.25)


def write_truth(path, **changes) -> None:
    names = np.array(["rankle", "left_knee", "lhip", "relbow"])
    arrays = {"time_s": np.arange(3.0), "joints_m": np.zeros((3, 4, 3)), "joint_names": names}
    np.savez(path, **arrays | changes)


def test_joints_are_found_by_name(tmp_path):
    write_truth(tmp_path / "a.npz")
    names = [JOINT_NAMES[joint] for joint in read_truth(tmp_path / "a.npz").joints]
    assert names == ["right_ankle", "left_knee", "left_hip", "right_elbow"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"time_s": np.zeros(3)}, "time_s: expected two times or more, rising"),
        ({"joints_m": np.full((3, 4, 3), np.nan)}, "joints_m: expected finite"),
        ({"joints_m": np.zeros((2, 4, 3))}, "joints_m"),
        ({"joint_names": np.array(["rankle", "tail", "lhip", "relbow"])}, "joint_names: tail"),
        ({"joint_names": np.array(["lhip"] * 4)}, "joint_names: expected 4"),
    ],
)
def test_an_unfit_truth_is_named(tmp_path, changes, named):
    write_truth(tmp_path / "a.npz", **changes)
    with pytest.raises(ValueError, match=f"a.npz: {named}"):
        read_truth(tmp_path / "a.npz")


def test_videos_without_truth_are_left_out(tmp_path):
    for name in ("a.mp4", "b.mp4", "b.npz"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in videos_in(tmp_path)] == ["b.mp4"]
    (tmp_path / "b.npz").unlink()
    with pytest.raises(ValueError, match="expected NAME.mp4 and NAME.npz"):
        videos_in(tmp_path)


class Teller:
    """An estimator that finds each person where it is, a little off, and a stranger. Its lifter
    recognises the people whose true keypoints it gets."""

    def __init__(self, joints_m: np.ndarray, boxes: np.ndarray, keypoints_px: np.ndarray):
        self._answers = iter(zip(joints_m, boxes))
        self._people = joints_m, keypoints_px
        self.lifter = self

    def lift(self, keypoints_px, confidence, covariance_px2, camera, up):
        joints_m, known_px = self._people
        index = np.abs(known_px - keypoints_px).sum((1, 2)).argmin()
        return SimpleNamespace(joints_m=joints_m[index : index + 1])

    def estimate(self, image, camera, up):
        assert image.shape == (480, 640, 3) and up.shape == (3,)
        np.testing.assert_array_equal(camera.matrix, CAMERA.matrix)
        joints, box = next(self._answers)
        covariance = np.tile(0.01**2 * np.eye(3), (17, 1, 1))
        stranger = seen_person(np.zeros((17, 3)), covariance, 1.0)
        found = person(np.zeros((14, 2)), 1.0, joints, joints[0], covariance, np.eye(3), True)
        flat = dataclasses.replace(found.skeleton_2d, box_px=box)
        return SimpleNamespace(persons=(stranger, dataclasses.replace(found, skeleton_2d=flat)))


def test_rendered_people_are_matched_by_their_box():
    joints, keypoints = see(make_poses(30, seed=3))
    labels = np.concatenate([keypoints, np.ones((30, 14, 1))], -1)
    images = np.zeros((30, 480, 640, 3), np.uint8)
    pack = Pack("rendered", images, labels, np.ones(30, bool))
    people = RenderedPeople(
        pack,
        np.arange(30),
        joints,
        np.tile(CAMERA.matrix, (30, 1, 1)),
        np.tile([0.0, -1, 0], (30, 1)),
    )
    boxes = np.concatenate([keypoints.min(1), keypoints.max(1)], -1)
    boxes[0] = [0, 0, 5, 5]
    off = 0.01 * np.random.default_rng(0).standard_normal(joints.shape)
    off[:, 0] = 0

    teller = Teller(joints + off + [0.0, 0.0, 0.3], boxes, keypoints)
    covered_people = estimate_rendered(teller, people)
    rows = status_rows(covered_people)
    assert covered_people.sought == 30 and rows["all"]["count"] == 29 * 16
    assert rows["observed"]["NEES"] == pytest.approx(1, abs=0.15)
    assert 10 < covered_people.errors_mm["MPJPE"].mean() < 20
    exact = covered_people.errors_mm["exact MPJPE"]
    np.testing.assert_allclose(exact, covered_people.errors_mm["MPJPE"])
    titles = coverage_tables({"rendered": covered_people})
    counts = [titles["errors of those found, mm"][f"rendered, {name}"]["people"] for name in GROUPS]
    assert sum(counts[:2]) == sum(counts[2:]) == 29
