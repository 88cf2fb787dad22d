# SPDX-License-Identifier: Apache-2.0
"""Who is trained on, who sets thresholds and who measures: no photograph and no subject is on two
sides."""

import numpy as np
import pytest
from people import make_poses
from photos import write_data

from lifting_ros.research.datasets.mocap import MOCAP_FILE, find_mocap, read_mocap
from lifting_ros.research.datasets.negatives import read_negatives
from lifting_ros.research.datasets.splits import every_ninth, rows_of, validation_of
from lifting_ros.research.rendering import synthetic
from lifting_ros.research.rendering.synthetic import SyntheticPeople, load_poses

HELD_OUT = ("cmu02", "cmu94")


@pytest.mark.parametrize(
    "validation", [every_ninth(500), np.arange(500) >= 400, np.zeros(500, bool)]
)
def test_sides_share_no_row_and_leave_none_out(validation):
    train, tune, measured = (rows_of(validation, side) for side in ("train", "tune", "validation"))
    assert (np.stack([train, tune, measured]).sum(0) == 1).all() and 0.03 < tune.mean() < 0.15
    np.testing.assert_array_equal(rows_of(validation, "training"), train | tune)
    np.testing.assert_array_equal(measured, validation)
    assert rows_of(validation, "all").all()
    with pytest.raises(ValueError, match="^side: expected one of train, tune"):
        rows_of(validation, "test")


def test_an_exercise_is_on_one_side_only():
    files = ("Squat_0.jpg", "Deadlift_0.jpg", "deadlift_1.jpg", "Lunge_0.jpg", "Squat_1.jpg")
    assert validation_of("gym", files).tolist() == [False, True, True, True, False]
    assert (
        validation_of("lspet", [""] * 8000).sum() == 800
        and validation_of("street", files * 2).sum() == 1
    )


def test_negatives_of_a_side_are_read_in_order(tmp_path):
    folder = write_data(tmp_path, count=60) / "negatives"
    every, sides = (
        read_negatives(folder, "all"),
        [read_negatives(folder, side) for side in ("train", "tune", "validation", "training")],
    )
    assert [len(side) for side in sides] == [46, 8, 6, 54]
    for side, name in zip(sides, ("train", "tune", "validation", "training"), strict=True):
        rows = np.flatnonzero(rows_of(every_ninth(60), name))
        assert all(np.array_equal(every[row], image) for row, image in zip(rows, side, strict=True))


@pytest.fixture
def mocap(tmp_path):
    """Sixty poses of four subjects, two of whom are held out; a subject's poses stand at its own
    height."""
    names = np.array(["cmu01", "cmu02", "cmu35", "cmu94"])
    subject = np.arange(60) % 4
    positions = make_poses(60).astype(np.float32) + subject[:, None, None].astype(
        np.float32
    ) * np.float32([0, 10, 0])
    path = tmp_path / "mocap.npz"
    np.savez(
        path, positions=positions, subject_id=subject, clip_id=np.arange(60) // 20, subjects=names
    )
    return path


def test_held_out_subjects_are_never_among_those_to_learn_from(mocap):
    height = {"training": {0, 2}, "validation": {1, 3}}
    for side, subjects in height.items():
        poses, clips = load_poses(mocap, side)
        assert set((poses[:, :, 1].min(1) // 10).astype(int)) == subjects and len(poses) == 30
        assert sorted(np.concatenate(clips)) == list(range(30)) and len(clips) == 3
    with pytest.raises(ValueError, match="everybody"):
        load_poses(mocap, "everybody")


def rewrite(path, without: str = "", **arrays) -> None:
    kept = {name: values for name, values in np.load(path).items() if name != without}
    np.savez(path, **kept | arrays)


def held_out(path, *validation_subjects: str) -> set[int]:
    read = read_mocap(path, validation_subjects)
    training = read.select(~read.validation_rows())
    assert not training.validation_rows().any()
    return set(read.subject_id[read.validation_rows()].tolist())


def test_other_motion_capture_is_split_by_subject(mocap):
    rewrite(mocap, subjects=np.array(["a", "b", "c", "d"]))
    assert held_out(mocap) == {3}
    rewrite(mocap, without="subjects")
    assert held_out(mocap) == {3}
    rewrite(mocap, subject_id=np.arange(60) % 12)
    assert held_out(mocap) == {4, 9}
    assert len(load_poses(mocap, "validation")[0]) == 10
    rewrite(mocap, subject_id=np.zeros(60, int))
    assert held_out(mocap) == set()
    with pytest.raises(ValueError, match="expected poses of the validation subjects"):
        load_poses(mocap, "validation")


def test_validation_subjects_can_be_named(mocap):
    assert held_out(mocap) == {1, 3}
    assert held_out(mocap, "cmu35") == {2}
    rewrite(mocap, validation_subjects=np.array(["cmu01", "cmu94"]))
    assert held_out(mocap) == {0, 3}
    assert held_out(mocap, "cmu35") == {2}
    with pytest.raises(ValueError, match="validation subject cmu99: expected one of cmu01, cmu02"):
        read_mocap(mocap, ["cmu99"])
    rewrite(mocap, without="subjects", validation_subjects=np.array([2]))
    assert held_out(mocap) == {2}


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"subjects": np.array(["a", "b", "c"])}, "subject_id: expected numbers of the 3 subjects"),
        ({"up": np.array("z")}, "up: expected 'y', got 'z'"),
        ({"units": np.array("mm")}, "units: expected 'm', got 'mm'"),
        ({"joints": np.array(["hip"] * 16)}, "joints: expected"),
    ],
)
def test_motion_capture_of_another_layout_is_refused(mocap, arrays, named):
    rewrite(mocap, **arrays)
    with pytest.raises(ValueError, match=named):
        load_poses(mocap, "training")


def test_motion_capture_is_found_in_the_data_folder(tmp_path):
    folder = tmp_path / "mocap"
    folder.mkdir()
    assert find_mocap(tmp_path) == tmp_path / MOCAP_FILE
    (folder / "mine.npz").touch()
    assert find_mocap(tmp_path) == folder / "mine.npz"
    (folder / "yours.npz").touch()
    with pytest.raises(ValueError, match="expected one .npz of motion capture, found mine.npz, yo"):
        find_mocap(tmp_path)
    (tmp_path / MOCAP_FILE).touch()
    assert find_mocap(tmp_path) == tmp_path / MOCAP_FILE


def test_held_out_subjects_have_their_own_random_stream(
    monkeypatch,
):
    """The same seed must not give both sides the same cameras; packs of the training side that are
    there must come out the same again."""
    drawn = []

    def camera(rng, size):
        drawn.append(rng.integers(2**62, size=4).tolist())
        raise EOFError  # as far as this test goes

    monkeypatch.setattr(synthetic, "_body_of", lambda _: None)
    monkeypatch.setattr(synthetic, "load_poses", lambda *_: (None, None))
    monkeypatch.setattr(synthetic, "floor_camera", camera)
    for subjects in ("training", "validation"):
        for make, kind in ((SyntheticPeople.crowd, 3), (SyntheticPeople.empty, 4)):
            with pytest.raises(EOFError):
                make(SyntheticPeople("", "", seed=4, subjects=subjects), 6)
            kept = np.random.default_rng([4, 6, kind]).integers(2**62, size=4).tolist()
            assert (drawn[-1] == kept) == (subjects == "training")
    assert len({tuple(numbers) for numbers in drawn}) == 4
