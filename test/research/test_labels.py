# SPDX-License-Identifier: Apache-2.0
"""Labels come back from their folder as they were, a folder is whole or not there, and crops of
them keep pose and picture together."""

import errno
import os

import numpy as np
import pytest
from label_support import make_labels
from people import make_poses, see

from lifting_ros.research.datasets.pack import read_pack
from lifting_ros.research.labels.label_crops import LabelSet, mirror_image, turned_to
from lifting_ros.research.labels.labels import read_labels, write_labels
from lifting_ros.skeleton import KEYPOINT_TO_JOINT, limb_lengths

CHOSEN = list(KEYPOINT_TO_JOINT)


def test_labels_round_trip_and_are_a_pack(tmp_path):
    labels = make_labels()
    write_labels(tmp_path / "l", labels, {"sheet.png": b"picture"})
    back = read_labels(tmp_path / "l")
    for name, value in labels._asdict().items():
        np.testing.assert_equal(getattr(back, name), value)
    pack = read_pack(tmp_path / "l")
    np.testing.assert_array_equal(pack.keypoints, labels.keypoints)
    np.testing.assert_array_equal(pack.validation, np.arange(18) % 9 == 8)
    assert (
        sorted(p.name for p in tmp_path.iterdir()) == ["l"]
        and (tmp_path / "l" / "sheet.png").read_bytes() == b"picture"
    )


def test_existing_bag_is_kept_and_nothing_half_written(tmp_path):
    (tmp_path / "l").mkdir()
    write_labels(tmp_path / "l", make_labels(2))  # empty: fine
    with pytest.raises(FileExistsError, match="new or empty"):
        write_labels(tmp_path / "l", make_labels(3))
    assert len(read_labels(tmp_path / "l").good) == 2 and [p.name for p in tmp_path.iterdir()] == [
        "l"
    ]


def test_full_disk_is_named_and_other_files_stay(tmp_path, monkeypatch):
    (tmp_path / "l.partial").mkdir()
    (tmp_path / "l.partial" / "mine.txt").write_text("")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left") as told:
        write_labels(tmp_path / "l", make_labels(2))
    assert not isinstance(told.value, FileExistsError)
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == [
        "l.partial",
        "l.partial/mine.txt",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("joints_m", np.zeros((2, 16, 3))),
        ("image_index", np.array([0, 7])),
        ("about", "{"),
        ("version", 99),
        ("quality_views", None),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(tmp_path, name, value):
    write_labels(tmp_path / "l", make_labels(2))
    arrays = dict(np.load(tmp_path / "l" / "labels.npz"))
    arrays = (
        arrays | {name: value}
        if value is not None
        else {n: a for n, a in arrays.items() if n != name}
    )
    np.savez(tmp_path / "l" / "labels.npz", **arrays)
    with pytest.raises(ValueError, match=rf"labels.npz: {name}"):
        read_labels(tmp_path / "l")


def test_only_good_labels_of_a_side_are_used():
    labels = make_labels()
    learn, validate = (LabelSet([labels, labels], side) for side in (False, True))
    assert (
        len(learn) == 2 * 13 and len(validate) == 2 * 2
    )  # of 18 every ninth validates, every fifth is refused
    np.testing.assert_allclose((limb_lengths(learn.joints) ** 2).sum(-1), 1.0)


def test_turned_joints_are_seen_where_the_person_is():
    """A person off the axis, turned to: what was along the ray to the root is along z, and lengths
    stay."""
    joints = see(make_poses(4))[0] + [1.0, 0.4, 0]
    toward = joints[:, 0] / np.linalg.norm(joints[:, 0], axis=-1, keepdims=True)
    turned = turned_to(joints, toward)
    np.testing.assert_allclose(turned[:, 0, :2], 0.0, atol=1e-12)
    np.testing.assert_allclose(limb_lengths(turned), limb_lengths(joints))
    np.testing.assert_array_equal(turned_to(joints, np.tile([0.0, 0, 1], (4, 1))), joints)


@pytest.mark.parametrize("mirror", [0.0, 1.0])
def test_pose_is_rolled_and_mirrored_with_its_crop(mirror):
    """Red dots of the drawn keypoints against the joints, both about their means: no dot is far
    from its joint in x and y."""
    labels, rng = LabelSet([make_labels()], False), np.random.default_rng(0)
    chosen = np.arange(6)
    crops, joints = labels.disturbed(chosen, 128, rng, mirror, 40.0)
    for crop, pose in zip(crops, joints, strict=True):
        red = np.argwhere((crop[0] > 0.8) & (crop[1] < 0.4))[:, ::-1]  # x, y of the dots' pixels
        points = pose[CHOSEN, :2]
        scale = np.sqrt(red.var(0).sum() / points.var(0).sum())
        wanted = (points - points.mean(0)) * scale + red.mean(0)
        assert (
            np.median(np.linalg.norm(red[:, None] - wanted, axis=-1).min(1)) < 8
        )  # of 128; a dot may be cut off


def test_mirroring_twice_changes_nothing():
    labels = make_labels(1)
    once = mirror_image(np.asarray(labels.windows[0]), labels.keypoints[0], labels.joints_m[0])
    for value, back in zip(
        (labels.windows[0], labels.keypoints[0], labels.joints_m[0]),
        mirror_image(*once),
        strict=True,
    ):
        np.testing.assert_allclose(back, value, atol=1e-12)
