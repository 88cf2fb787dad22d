# SPDX-License-Identifier: Apache-2.0
"""From a window to a training crop: labels stay on the picture, and what is said to be in it is in
it."""

import dataclasses

import cv2
import numpy as np
import pytest
from packs import PLAIN, STILL, make_pack

from lifting_ros.research.datasets.scene_parts import Cutout
from lifting_ros.research.training import augmentation
from lifting_ros.research.training.augmentation import (
    Sample,
    Scenery,
    anonymise,
    augment,
    bad_camera,
    mirror,
)
from lifting_ros.skeleton import KEYPOINT_FLIP, KEYPOINT_NAMES


def test_augmented_labels_stay_on_the_image():
    """The bright squares are where the labels say, whatever the crop."""
    pack, rng = make_pack(), np.random.default_rng(3)
    for row in range(8):
        crop, moved, _ = augment(pack.images[row], pack.keypoints[row], 64, PLAIN, rng)
        for x, y, seen in moved[9:]:
            if seen and 3 < x < 60 and 3 < y < 60:
                assert crop[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].max() > 100


def test_mirror_exchanges_the_sides_and_is_exact_to_the_pixel():
    """A pixel of its own at every keypoint: in the mirror image it is where its mirror image's
    label says, and nowhere else."""
    image, rng = np.zeros((40, 41, 3), np.uint8), np.random.default_rng(0)
    cells = rng.permutation(40 * 41)[:14]
    keypoints = np.stack([cells % 41, cells // 41, np.ones(14)], -1).astype(np.float32)
    image[cells // 41, cells % 41] = 100 + np.arange(14)[:, None]
    turned, moved = mirror(image, keypoints)
    sides = {"left": "right", "right": "left"}
    for k, name in enumerate(KEYPOINT_NAMES):
        other = KEYPOINT_NAMES.index("_".join(sides.get(word, word) for word in name.split("_")))
        x, y = moved[k, :2].astype(int)
        assert tuple(moved[k, :2]) == (40 - keypoints[other, 0], keypoints[other, 1])
        assert turned[y, x, 0] == 100 + other


def test_mirror_is_its_own_inverse():
    pack = make_pack(1)
    image, keypoints = mirror(*mirror(pack.images[0], pack.keypoints[0]))
    np.testing.assert_array_equal(image, pack.images[0])
    np.testing.assert_allclose(keypoints, pack.keypoints[0])


def test_a_mirrored_crop_is_the_mirror_image_of_the_plain_one():
    pack = make_pack()
    for row in range(8):
        plain, turned = (
            augment(
                pack.images[row],
                pack.keypoints[row],
                64,
                dataclasses.replace(PLAIN, mirror=share),
                np.random.default_rng(row),
            )
            for share in (0.0, 1.0)
        )
        for one, other in zip(mirror(plain.image, plain.keypoints), turned[:2], strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(plain.presence[list(KEYPOINT_FLIP)], turned.presence)


def test_recipe_sets_the_share_of_hidden_faces(monkeypatch):
    """Half of the crops are mirrored: their labels are others than the window's."""
    pack, given = make_pack(), []

    def hide(image, keypoints, rng):
        given.append(keypoints.copy())
        image[:] = 7

    monkeypatch.setattr(augmentation, "anonymise", hide)
    for share in (0.0, 0.3, 1.0):
        given.clear()
        config_ = dataclasses.replace(PLAIN, anonymous=share)
        crops = [
            augment(
                pack.images[n % 12], pack.keypoints[n % 12], 32, config_, np.random.default_rng(n)
            )
            for n in range(120)
        ]
        hidden = [moved for crop, moved, _ in crops if (crop == 7).all()]
        assert abs(len(hidden) / 120 - share) < 0.1 and np.array_equal(hidden, given)


def test_occluding_patch_keeps_the_labels():
    pack = make_pack()
    for row in range(8):
        free, held = (
            augment(
                pack.images[row],
                pack.keypoints[row],
                64,
                dataclasses.replace(PLAIN, occlusion=share),
                np.random.default_rng(row),
            )
            for share in (0.0, 1.0)
        )
        y, x = np.nonzero((free[0] != held[0]).any(-1))
        assert 0 < len(x) <= 0.4**2 * 64**2 and max(np.ptp(x), np.ptp(y)) < 0.4 * 64
        np.testing.assert_array_equal(free[1], held[1])


def test_a_bad_camera_keeps_the_size_of_any_image():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 61, 3), np.uint8)
    results = set()
    for seed in range(20):
        worse = bad_camera(image, np.random.default_rng(seed))
        assert worse.shape == image.shape and worse.dtype == np.uint8
        assert (worse != image).any()
        results.add(worse.tobytes())
    assert len(results) == 20


def test_a_bad_camera_moves_nothing():
    pack, config_ = make_pack(), dataclasses.replace(PLAIN, camera=1.0)
    for row in range(8):
        clean = augment(
            pack.images[row],
            pack.keypoints[row],
            64,
            dataclasses.replace(config_, camera=0),
            np.random.default_rng(row),
        )
        bad = augment(
            pack.images[row], pack.keypoints[row], 64, config_, np.random.default_rng(row)
        )
        np.testing.assert_array_equal(clean[1], bad[1])
        assert (
            np.corrcoef(*(cv2.GaussianBlur(c[0], (0, 0), 3).ravel() for c in (clean, bad)))[0, 1]
            > 0.5
        )


def test_anonymise_changes_the_head_alone():
    """Crown and neck, the first two keypoints, say where; without a label of both nothing is
    changed."""
    pack, mosaics = make_pack(), 0
    for row in range(12):
        image, keypoints, rng = (
            pack.images[row].copy(),
            pack.keypoints[row].copy(),
            np.random.default_rng(row),
        )
        anonymise(image, keypoints, rng)
        y, x = np.nonzero((image != pack.images[row]).any(-1))
        top, neck = keypoints[:2, :2]
        reach = 0.8 * np.linalg.norm(top - neck) + 1
        assert len(x) > 20
        assert (np.abs(np.stack([x, y], 1) - (0.6 * top + 0.4 * neck)) <= reach).all()
        mosaics += len(np.unique(image[y, x], axis=0)) <= 25

        keypoints[row % 2, 2], unknown = 0, pack.images[row].copy()
        anonymise(unknown, keypoints, rng)
        np.testing.assert_array_equal(unknown, pack.images[row])
    assert 3 <= mosaics <= 9  # the other faces are blurred


def known(keypoints: np.ndarray, absent: np.ndarray) -> np.ndarray:
    """(14,) what is known of a window before it is changed: 1 where labelled, 0 where absent, else
    NaN."""
    return np.where(absent, 0.0, np.where(keypoints[:, 2] > 0, 1.0, np.nan))


def test_labelled_keypoints_are_present_others_unknown():
    pack = make_pack()
    _, moved, presence = augment(
        pack.images[0], pack.keypoints[0], 64, STILL, np.random.default_rng(0)
    )
    np.testing.assert_array_equal(presence, known(pack.keypoints[0], np.zeros(14, bool)))
    np.testing.assert_array_equal(moved[:, 2], pack.keypoints[0][:, 2])


def test_absent_keypoints_are_absent_without_any_label_too():
    pack = make_pack()
    absent = np.arange(14) == 3
    nothing = np.zeros((14, 3), np.float32)
    sample = augment(pack.images[0], nothing, 32, PLAIN, np.random.default_rng(0), absent)
    np.testing.assert_array_equal(sample.presence, known(nothing, absent))


def test_absence_changes_sides_with_the_mirror_image():
    pack = make_pack()
    right = [KEYPOINT_NAMES.index(name) for name in ("right_knee", "right_ankle")]
    left = [KEYPOINT_NAMES.index(name) for name in ("left_knee", "left_ankle")]
    absent = np.isin(np.arange(14), right)
    keypoints = pack.keypoints[0].copy()
    keypoints[right, 2] = 0
    turned = dataclasses.replace(STILL, mirror=1.0)
    presence = augment(
        pack.images[0], keypoints, 64, turned, np.random.default_rng(0), absent
    ).presence
    assert (presence[left] == 0).all() and (presence[right] == 1).all()
    np.testing.assert_array_equal(presence, known(keypoints, absent)[list(KEYPOINT_FLIP)])


def test_what_leaves_the_crop_is_absent():
    pack = make_pack()
    far = dataclasses.replace(STILL, shift=0.4, mirror=0.5, rotation_deg=40)
    outside = 0
    for row in range(12):
        _, moved, presence = augment(
            pack.images[row], pack.keypoints[row], 64, far, np.random.default_rng(row)
        )
        inside = ((moved[:, :2] > -0.5) & (moved[:, :2] < 63.5)).all(1)
        labelled = moved[:, 2] > 0
        np.testing.assert_array_equal(presence[labelled], inside[labelled])
        assert np.isnan(presence[~labelled]).all()
        outside += (labelled & ~inside).sum()
    assert outside > 10


def line_of(before: np.ndarray, after: np.ndarray) -> tuple[int, int, float]:
    """The line beyond which a picture is replaced: axis (0 for x), direction of what is beyond (1
    or -1), place in px."""
    changed = (before != after).any(-1)
    for axis in (0, 1):
        replaced = changed.mean(axis) > 0.9  # by column, then by row
        if replaced.any() and not replaced.all():
            first = int(np.flatnonzero(replaced[:-1] != replaced[1:])[0])
            return axis, 1 if replaced[-1] else -1, first + 0.5
    raise AssertionError("no line")


@pytest.mark.parametrize("things", [(), (np.full((40, 40, 3), 250, np.uint8),)])
def test_keypoints_beyond_a_cut_are_absent(things):
    """Near the line, which is known to half a pixel here, nothing is claimed; what lies before it
    stays."""
    pack, directions, gone = make_pack(), set(), 0
    for seed in range(60):
        image, keypoints = pack.images[seed % 12], pack.keypoints[seed % 12].copy()
        keypoints[7, 2] = 0
        absent = np.arange(14) == 7
        before = known(keypoints, absent)
        cut, left, presence = augmentation._cut_off(
            Sample(image, keypoints, before), things, np.random.default_rng(seed)
        )
        if cut is image:
            continue
        axis, sign, place = line_of(image, cut)
        directions.add((axis, sign))
        beyond = sign * (keypoints[:, axis] - place)
        seen = keypoints[:, 2] > 0
        margin = 0.04 * np.ptp(keypoints[seen, axis]) + 1

        far, clear = seen & (beyond > margin + 0.5), seen & (beyond < -margin - 0.5)
        near = seen & (np.abs(beyond) < margin - 0.5)
        assert (left[far, 2] == 0).all() and (presence[far] == 0).all()
        assert (left[clear] == keypoints[clear]).all() and (presence[clear] == 1).all()
        assert np.isnan(presence[near]).all()
        np.testing.assert_array_equal(presence[~seen], before[~seen])
        assert (left[:, 2] > 0).sum() >= 4
        gone += far.sum()
    assert len(directions) == 4 and gone > 30


def test_a_cut_leaves_its_window_as_it_was():
    """Windows are memory-mapped: what is cut is a copy."""
    pack = make_pack()
    images, keypoints = pack.images.copy(), pack.keypoints.copy()
    everything = dataclasses.replace(PLAIN, cut=1.0, neighbour=1.0, occlusion=1.0, anonymous=1.0)
    for row in range(12):
        augment(
            images[row],
            keypoints[row],
            64,
            everything,
            np.random.default_rng(row),
            None,
            Scenery((white_person(),)),
        )
    np.testing.assert_array_equal(images, pack.images)
    np.testing.assert_array_equal(keypoints, pack.keypoints)


def test_a_crop_is_of_what_a_cut_leaves():
    """The crop is around the keypoints that are left, as the detector's box will be."""
    pack = make_pack()
    cut = dataclasses.replace(STILL, cut=1.0)
    for row in range(12):
        _, moved, presence = augment(
            pack.images[row], pack.keypoints[row], 64, cut, np.random.default_rng(row)
        )
        seen = moved[:, 2] > 0
        middle = (moved[seen, :2].min(0) + moved[seen, :2].max(0)) / 2
        np.testing.assert_allclose(middle, 31.5, atol=1e-3)
        assert not (seen & (presence == 0)).any()


def white_person() -> Cutout:
    return Cutout(
        np.full((40, 20, 3), 255, np.uint8),
        np.full((40, 20), 255, np.uint8),
        np.ones((14, 3), np.float32),
    )


def test_pasted_neighbour_lowers_weight_of_covered_labels():
    pack, covered = make_pack(), 0
    image = np.zeros((64, 64, 3), np.uint8)
    for seed in range(24):
        keypoints = pack.keypoints[seed % 12]
        before = known(keypoints, np.arange(14) == 5)
        pasted, left, presence = augmentation._paste_person(
            Sample(image, keypoints, before), [white_person()], np.random.default_rng(seed)
        )
        x, y = np.round(keypoints[:, :2]).astype(int).T
        under = (keypoints[:, 2] > 0) & (pasted[y, x] > 0).all(-1)
        np.testing.assert_allclose(left[:, 2], keypoints[:, 2] * np.where(under, 0.3, 1.0))
        np.testing.assert_array_equal(left[:, :2], keypoints[:, :2])
        np.testing.assert_array_equal(presence, np.where(under, np.nan, before))
        covered += under.sum()
    assert covered > 20


def test_a_pasted_neighbour_brings_no_labels():
    pack = make_pack()
    beside = dataclasses.replace(STILL, neighbour=1.0)
    changed = 0
    for row in range(12):
        window = pack.images[row], pack.keypoints[row], 64
        alone = augment(*window, STILL, np.random.default_rng(row))
        both = augment(
            *window, beside, np.random.default_rng(row), None, Scenery((white_person(),))
        )
        np.testing.assert_allclose(both.keypoints[:, :2], alone.keypoints[:, :2], atol=1e-4)
        np.testing.assert_array_equal(both.keypoints[:, 2] > 0, alone.keypoints[:, 2] > 0)
        changed += (both.image != alone.image).any()
    assert changed > 6


def test_without_people_to_paste_nothing_is_pasted():
    pack = make_pack()
    beside = dataclasses.replace(STILL, neighbour=1.0)
    crops = [
        augment(pack.images[0], pack.keypoints[0], 64, c, np.random.default_rng(0))
        for c in (STILL, beside)
    ]
    np.testing.assert_array_equal(crops[0].image, crops[1].image)
