# SPDX-License-Identifier: Apache-2.0
"""Readers of Human3.6M, MPI-INF-3DHP and the comparisons on Leeds Sports Pose, on tiny files;
nothing is ever unpickled."""

import io
import json
import os
import pickle
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from people import CAMERA, make_poses, see
from scipy.io import savemat

from lifting_ros.lifting.lifting import LiftedPoses
from lifting_ros.research.datasets.human36m import JOINTS, read_cameras, read_clips, record, y_up
from lifting_ros.research.datasets.mpi_inf_3dhp import (
    TEST_JOINTS,
    TRAIN_JOINTS,
    read_test,
    read_train,
)
from lifting_ros.research.datasets.pickled_arrays import read_pickled
from lifting_ros.research.datasets.relative_lsp import read_relative_lsp
from lifting_ros.research.evaluation.recorded import read_recorded, recorded_tables
from lifting_ros.skeleton import JOINT_NAMES, KEYPOINT_TO_JOINT, LSP_TO_KEYPOINT

T = 5


def z_up(poses: np.ndarray) -> np.ndarray:
    return np.stack([poses[..., 0], -poses[..., 2], poses[..., 1]], -1)


def of_32(poses: np.ndarray) -> np.ndarray:
    """Our 17 joints among the 32 of Human3.6M, the others far off."""
    whole = np.full((*poses.shape[:-2], 32, 3), 99.0)
    whole[..., list(JOINTS), :] = z_up(poses)
    return whole


def write_npz(path, tree, protocol: int = 3) -> None:
    """As numpy writes an object array, in a protocol of the pickle."""
    array, content = np.empty((), object), io.BytesIO()
    array[()] = tree
    np.lib.format.write_array_header_1_0(
        content, {"shape": (), "fortran_order": False, "descr": "|O"}
    )
    pickle.dump(array, content, protocol=protocol)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("positions_3d.npy", content.getvalue())


class Truth:
    """A lifter that was told the answers (N, 17, 3) in the order in which they are asked for."""

    def __init__(self, joints_m):
        self.joints, self.next = joints_m, 0

    def lift(self, keypoints_px, confidence, covariance_px2=None, camera=None, up=None, depth=None):
        poses = LiftedPoses.invalid(len(keypoints_px), 1)
        poses.joints_m[:] = self.joints[self.next : self.next + len(keypoints_px)]
        self.next += len(keypoints_px)
        return poses


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_human36m_as_npz(tmp_path, protocol):
    poses = make_poses(2 * T)
    tree = {
        "S9": {"Walking 1": of_32(poses[:T]).astype(np.float32)},
        "S11": {"Eating": of_32(poses[T:])},
        "S1": {"Eating": of_32(poses)},
    }
    write_npz(tmp_path / "data_3d_h36m.npz", tree, protocol)
    clips = read_clips(tmp_path / "data_3d_h36m.npz")
    assert [(clip.subject, clip.action) for clip in clips] == [("S9", "Walking"), ("S11", "Eating")]
    np.testing.assert_allclose(
        y_up(np.concatenate([clip.positions_m for clip in clips])), poses, atol=1e-5
    )


def test_numpy_s_own_file_is_read(tmp_path):
    poses = of_32(make_poses(T))
    np.savez_compressed(
        tmp_path / "a.npz",
        positions_3d={"S9": {"Walking": poses, "Sitting": np.asfortranarray(poses)}},
    )
    clips = read_clips(tmp_path / "a.npz")
    np.testing.assert_array_equal(clips[0].positions_m, clips[1].positions_m)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


@pytest.mark.parametrize(
    "tree", [{"S9": {"Walking": Evil()}}, Evil(), {"S9": SimpleNamespace(a=1)}, {"S9": os.getcwd}]
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_in_a_pickle_is_called(tmp_path, monkeypatch, tree, protocol):
    monkeypatch.chdir(tmp_path)
    write_npz(tmp_path / "a.npz", tree, protocol)
    with pytest.raises(ValueError, match="a.npz: positions_3d: .*more than plain data"):
        read_pickled(tmp_path / "a.npz", "positions_3d")
    assert not (tmp_path / "evil").exists()


def test_every_cut_of_a_pickle_is_one_line(tmp_path):
    write_npz(tmp_path / "a.npz", {"S9": {"Walking": np.zeros((2, 32, 3))}}, 4)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        whole = archive.read("positions_3d.npy")
    for end in range(0, len(whole) - 1, 7):
        with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
            archive.writestr("positions_3d.npy", whole[:end])
        with pytest.raises(ValueError, match="b.npz: positions_3d: ") as told:
            read_pickled(tmp_path / "b.npz", "positions_3d")
        assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("tree", "named"),
    [
        ({"S9": {"Walking": np.zeros((2, 20, 3))}}, "S9 / Walking: expected"),
        ({"S1": {"Walking": np.zeros((2, 32, 3))}}, "no recording of S9"),
        ({"S9": {"Walking": np.full((2, 32, 3), "a")}}, "S9 / Walking: expected .* of <U1"),
    ],
)
def test_what_a_file_lacks_is_named(tmp_path, tree, named):
    write_npz(tmp_path / "a.npz", tree)
    with pytest.raises(ValueError, match=named):
        read_clips(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", other=np.zeros(3))
    with pytest.raises(ValueError, match="b.npz: positions_3d is missing"):
        read_clips(tmp_path / "b.npz")
    with pytest.raises(FileNotFoundError, match="c.npz: no such file"):
        read_clips(tmp_path / "c.npz")


def test_what_unfolds_without_end_is_refused(tmp_path):
    """A few hundred bytes that stand for a thousand million values, and a list in itself."""
    tree, ring = {}, []
    for _ in range(30):
        tree = {"a": tree, "b": tree}
    ring.append(ring)
    for content, named in ((tree, "more than 1000000 values"), ({"S9": ring}, "")):
        write_npz(tmp_path / "a.npz", content, 4)
        with pytest.raises(ValueError, match=f"a.npz: positions_3d: .*{named}"):
            read_pickled(tmp_path / "a.npz", "positions_3d")


def test_a_damaged_or_foreign_archive_is_one_line(tmp_path):
    """Lost bytes anywhere in a compressed file, and an array of an invalid type."""
    np.savez_compressed(tmp_path / "a.npz", positions_3d={"S9": {"Walking": of_32(make_poses(T))}})
    whole = (tmp_path / "a.npz").read_bytes()
    for start in range(30, len(whole) - 40, len(whole) // 60):
        (tmp_path / "b.npz").write_bytes(whole[:start] + bytes(40) + whole[start + 40 :])
        with pytest.raises(ValueError, match="b.npz: "):
            read_pickled(tmp_path / "b.npz", "positions_3d")
    write_npz(tmp_path / "a.npz", {"S9": {"Walking": np.zeros((2, 32, 3))}}, 2)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        content = archive.read("positions_3d.npy")
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
        archive.writestr(
            "positions_3d.npy", content.replace(b"X\x02\x00\x00\x00f8", b"X\x05\x00\x00\x00(,)f8")
        )
    with pytest.raises(ValueError, match="c.npz: positions_3d: "):
        read_pickled(tmp_path / "c.npz", "positions_3d")


def test_h5_files_of_other_content_are_one_line(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    folder = tmp_path / "S9" / "MyPoses" / "3D_positions"
    folder.mkdir(parents=True)
    for name, value in (
        ("other", np.zeros((96, 2))),
        ("3D_positions", "text"),
        ("3D_positions", np.zeros((90, 2))),
    ):
        with h5py.File(folder / "Walking 1.h5", "w") as file:
            file[name] = value
        with pytest.raises(ValueError, match="Walking 1.h5: 3D_positions: expected numbers"):
            read_clips(tmp_path)
    with h5py.File(folder / "Walking 1.h5", "w") as file:
        file.create_dataset(
            "3D_positions", data=of_32(make_poses(T)).reshape(T, 96).T, compression="gzip"
        )
    whole = (folder / "Walking 1.h5").read_bytes()
    for start in range(0, len(whole), max(1, len(whole) // 40)):
        (folder / "Walking 1.h5").write_bytes(whole[:start] + bytes(60) + whole[start + 60 :])
        try:
            read_clips(tmp_path)  # the damage may be where nothing is written
        except ValueError as error:
            assert "Walking 1.h5: " in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("content", [b"", b"nothing", bytes(200)])
def test_a_foreign_mat_is_one_line(tmp_path, content):
    (tmp_path / "S1" / "Seq2").mkdir(parents=True)
    (tmp_path / "S1" / "Seq2" / "annot.mat").write_bytes(content)
    with pytest.raises(ValueError, match="annot.mat: expected annot2 and annot3"):
        read_train(tmp_path)


def test_human36m_as_h5_through_its_cameras(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    poses = make_poses(3)
    folder = tmp_path / "S9" / "MyPoses" / "3D_positions"
    folder.mkdir(parents=True)
    with h5py.File(folder / "Walking 1.h5", "w") as file:
        file["3D_positions"] = 1000 * of_32(poses).reshape(3, 96).T
    rotation = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # level, looking along y
    with h5py.File(tmp_path / "cameras.h5", "w") as file:
        for number, place in (("1", [0, -4000.0, 1000]), ("2", [500, -5000.0, 1200])):
            group = file.create_group(f"subject9/camera{number}")
            group["R"], group["T"] = rotation.T, np.array(place)[:, None]
            group["f"], group["c"] = np.full((2, 1), 1145.0), np.full((2, 1), 512.0)
            group["k"], group["p"] = (
                np.array([[-0.2], [0.24], [0.0]]),
                np.array([[-0.001], [-0.002]]),
            )
    seen = record(read_clips(tmp_path), tmp_path / "cameras.h5", every=1)
    assert (
        len(seen.joints_m) == 6
        and seen.camera.tolist() == [0] * 3 + [1] * 3
        and set(seen.action) == {"Walking"}
    )
    np.testing.assert_allclose(
        seen.joints_m[:3], (z_up(poses) - [0, -4, 1]) @ rotation.T, atol=1e-9
    )
    np.testing.assert_allclose(seen.up, np.tile([0.0, -1, 0], (6, 1)), atol=1e-12)
    again = seen.cameras[1].project(seen.joints_m[3:, list(KEYPOINT_TO_JOINT)])
    np.testing.assert_allclose(again, seen.keypoints_px[3:])
    tables = recorded_tables({"truth": Truth(seen.joints_m)}, seen)
    assert (
        tables["truth, by action"]["average"]["MPJPE"] < 1e-9
        and tables["truth, by action"]["Walking"]["order %"] == 0
    )
    with pytest.raises(ValueError, match="no cameras of S11"):
        read_cameras(tmp_path / "cameras.h5", "S11")


def test_without_cameras_human36m_is_seen_by_virtual_ones(tmp_path):
    write_npz(
        tmp_path / "a.npz",
        {"S9": {"Walking 1": of_32(make_poses(9)), "Sitting": of_32(make_poses(4, seed=2))}},
    )
    seen = read_recorded(tmp_path / "a.npz", every=2)
    assert seen.action.tolist() == ["Walking"] * 5 + ["Sitting"] * 2
    joints = seen.joints_m.copy()
    joints[0] = np.nan  # not lifted
    joints[5:, 16] += [0.17, 0, 0]
    rows = recorded_tables({"one": Truth(joints)}, seen)["one, by action"]
    assert rows["Walking"]["lifted %"] == 80 and rows["Walking"]["MPJPE"] < 1e-9
    assert rows["Sitting"]["MPJPE"] == pytest.approx(10.0) and rows["average"][
        "MPJPE"
    ] == pytest.approx(5.0)


H36M_NAMES = (
    "Hips RightUpLeg RightLeg RightFoot RightToeBase RSite LeftUpLeg LeftLeg LeftFoot LeftToeBase "
    "LSite Spine Spine1 Neck Head HeadSite "
    "LeftShoulder LeftArm LeftForeArm LeftHand LeftHandThumb LSite1 LeftWristEnd LSite2 "
    "RightShoulder RightArm RightForeArm RightHand "
    "RightHandThumb RSite3 RightWristEnd RSite4"
)
MPI_TEST_NAMES = (
    "head_top neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist "
    "right_hip right_knee right_ankle left_hip "
    "left_knee left_ankle pelvis spine head"
)
MPI_TRAIN_NAMES = (
    "spine3 spine4 spine2 spine pelvis neck head head_top left_clavicle left_shoulder left_elbow "
    "left_wrist left_hand right_clavicle "
    "right_shoulder right_elbow right_wrist right_hand left_hip left_knee left_ankle left_foot "
    "left_toe right_hip right_knee right_ankle "
    "right_foot right_toe"
)
H36M_OURS = (
    "Hips RightUpLeg RightLeg RightFoot LeftUpLeg LeftLeg LeftFoot Spine1 Neck Head HeadSite "
    "LeftArm LeftForeArm LeftHand RightArm "
    "RightForeArm RightHand"
)


@pytest.mark.parametrize(
    ("theirs", "chosen", "ours"),
    [
        (H36M_NAMES, JOINTS, H36M_OURS.split()),
        (
            MPI_TEST_NAMES,
            TEST_JOINTS,
            ["neck" if n == "thorax" else "head" if n == "nose" else n for n in JOINT_NAMES],
        ),
        (
            MPI_TRAIN_NAMES,
            TRAIN_JOINTS,
            ["neck" if n == "thorax" else "head" if n == "nose" else n for n in JOINT_NAMES],
        ),
    ],
    ids=["Human3.6M", "MPI-INF-3DHP, test", "MPI-INF-3DHP, training"],
)
def test_joints_are_picked_by_the_data_sets_own_names(theirs, chosen, ours):
    """The files of the tests are written with the numbers that read them; here stands what the
    numbers mean."""
    assert [theirs.split()[number] for number in chosen] == list(ours)


def test_mpi_inf_3dhp_test_set(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    joints, _ = see(make_poses(4))
    theirs = np.zeros((4, 1, 17, 3))
    theirs[:, 0, list(TEST_JOINTS)] = 1000 * joints
    (tmp_path / "TS1").mkdir()
    with h5py.File(tmp_path / "TS1" / "annot_data.mat", "w") as file:
        file["annot3"], file["annot2"] = theirs, CAMERA.project(theirs)
        file["valid_frame"], file["activity_annotation"] = (
            np.array([[1], [1], [0], [1]]),
            np.array([[1], [2], [2], [7]]),
        )
    seen = read_recorded(tmp_path)
    np.testing.assert_allclose(seen.joints_m, joints[[0, 1, 3]])
    np.testing.assert_allclose(seen.cameras[0].matrix, CAMERA.matrix, atol=1e-6)
    assert seen.action.tolist() == ["Standing/Walking", "Exercise", "Miscellaneous"]
    with pytest.raises(FileNotFoundError, match="no TS"):
        read_test(tmp_path / "TS1")


def test_mpi_inf_3dhp_training_set(tmp_path):
    joints, _ = see(make_poses(4))
    theirs = np.random.default_rng(0).uniform(1000, 3000, (4, 28, 3))
    theirs[:, list(TRAIN_JOINTS)] = 1000 * joints
    cells = {name: np.empty((2, 1), object) for name in ("annot2", "annot3")}
    for camera in (0, 1):
        cells["annot3"][camera, 0], cells["annot2"][camera, 0] = (
            theirs.reshape(4, -1),
            CAMERA.project(theirs).reshape(4, -1),
        )
    (tmp_path / "S1" / "Seq2").mkdir(parents=True)
    savemat(tmp_path / "S1" / "Seq2" / "annot.mat", cells)
    seen = read_train(tmp_path, camera=1)
    np.testing.assert_allclose(seen.joints_m, joints)
    np.testing.assert_allclose(
        seen.keypoints_px, CAMERA.project(joints[:, list(KEYPOINT_TO_JOINT)])
    )
    assert set(seen.action) == {"S1/Seq2"}
    savemat(tmp_path / "S1" / "Seq2" / "annot.mat", {"annot2": np.zeros(3)})
    with pytest.raises(ValueError, match="annot.mat: expected annot2 and annot3"):
        read_train(tmp_path)


LSP_NAMES = [
    "Right ankle",
    "Right knee",
    "Right hip",
    "Left hip",
    "Left knee",
    "Left ankle",
    "Right wrist",
    "Right elbow",
    "Right shoulder",
    "Left shoulder",
    "Left elbow",
    "Left wrist",
    "Neck",
    "Head top",
]


def lsp(**changes) -> dict:
    points = np.arange(28.0).reshape(14, 2).tolist()
    anns = [{"kp0": 0, "kp1": 13, "label": 1}, {"kp0": "Neck", "kp1": "Left wrist", "label": -1}]
    others = [{"kp0": 1, "kp1": 2, "label": 0}, {"kp0": 1, "kp1": 2, "label": 1}]
    images = [
        {"im_file": "a.jpg", "is_train": 1, "keypoints": points, "anns": anns},
        {"im_file": "b.jpg", "is_train": 0, "keypoints": points, "anns": others},
    ]
    return {"joint_names": LSP_NAMES, "images": images} | changes


def test_the_crowd_s_comparisons(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(lsp()))
    crowd = read_relative_lsp(tmp_path / "a.json")
    assert (
        crowd.files == ("a.jpg", "b.jpg")
        and crowd.train.tolist() == [True, False]
        and crowd.photograph.tolist() == [0, 0, 1, 1]
    )
    assert crowd.pairs[:2].tolist() == [[10, 0], [1, 7]] and crowd.label.tolist() == [1, -1, 0, 1]
    np.testing.assert_array_equal(
        crowd.keypoints_px[0], np.arange(28.0).reshape(14, 2)[list(LSP_TO_KEYPOINT)]
    )


def test_orders_that_contradict_the_crowd_are_counted(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(lsp()))
    joints = np.zeros((2, 17, 3))
    joints[0, 3, 2], joints[0, 8, 2], joints[1, 1, 2] = (
        1.0,
        1.0,
        0.5,
    )  # right ankle far: right; neck far: wrong; right hip far: wrong
    tables = recorded_tables({"one": Truth(joints)}, read_recorded(tmp_path / "a.json"))
    assert tables == {
        "wrong depth orders, %": {"one": {"train": 50.0, "test": 100.0, "comparisons": 3.0}}
    }


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"joint_names": LSP_NAMES[:-1]}, "joint_names: expected 14"),
        ({"joint_names": ["Nose", *LSP_NAMES[1:]]}, "joint_names.0.: 'Nose'"),
        ({"images": [{"im_file": "a"}]}, "images.0.: expected im_file"),
        ({"images": 3}, "expected joint_names and images"),
        (
            {"images": [lsp()["images"][0] | {"anns": [{"kp0": 1, "kp1": 1, "label": 1}]}]},
            "images.0.: anns: expected two different",
        ),
        (
            {"images": [lsp()["images"][0] | {"anns": [{"kp0": 1, "kp1": 2, "label": 7}]}]},
            "a label of -1, 0 or 1",
        ),
        (
            {"images": [lsp()["images"][0] | {"keypoints": [1, 2, 3]}]},
            "images.0.: expected im_file",
        ),
        (
            {"images": [lsp()["images"][0] | {"keypoints": [[1] * 14, [2] * 14]}]},
            "keypoints: expected 14 of x, y, got .2, 14.",
        ),
        (
            {"images": [lsp()["images"][0] | {"keypoints": [[1]] * 14}]},
            "keypoints: expected 14 of x, y, got .14, 1.",
        ),
    ],
)
def test_a_json_that_is_unfit_is_named(tmp_path, changes, named):
    (tmp_path / "a.json").write_text(json.dumps(lsp(**changes)))
    with pytest.raises(ValueError, match=f"a.json: .*{named}|a.json: {named}"):
        read_relative_lsp(tmp_path / "a.json")
