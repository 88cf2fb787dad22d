# SPDX-License-Identifier: Apache-2.0
"""Generated poses keep the range of joints, limb lengths, contact and balance; left and right are
alike, seeds repeat, and they join recordings without crossing the split by subject."""

import functools

import cv2
import numpy as np
import pytest
from people import make_poses
from scipy.spatial import ConvexHull

from lifting_ros.errors import DataError
from lifting_ros.research.datasets import posed_people
from lifting_ros.research.datasets.mocap import Mocap
from lifting_ros.research.datasets.posed_families import FAMILIES
from lifting_ros.research.datasets.posed_figure import (
    HIP_LIMITS_DEG,
    centre_of_mass,
    hip_angles_deg,
    segment_distance,
    two_bones,
)
from lifting_ros.research.datasets.posed_people import (
    UNBLENDED,
    PosedPeople,
    blend,
    generate_people,
    held_out_people,
    is_supported,
    with_generated,
)
from lifting_ros.research.datasets.posed_sheet import CELL_PX, draw_sheet, facing_ahead
from lifting_ros.research.labels.joint_limits import angles_deg, excess_deg
from lifting_ros.research.training.choose_prior import Search
from lifting_ros.research.training.fit_prior import balanced_weights, fit_prior, training_poses
from lifting_ros.research.training.mlp_trainer import balanced_pictures
from lifting_ros.research.training.train_stereo import StereoSource, StereoTrainConfig
from lifting_ros.skeleton import JOINT_FLIP, limb_lengths

SITTING = [name for name in FAMILIES if name.startswith("sit_")]
ON_FEET = ["stand", "lean", "lean_on", "reach", "bend", "squat", "rise", "lunge"]


def recordings(count: int = 600) -> Mocap:
    """Stick figures of five subjects, the last of whom is for validation."""
    subjects = np.arange(count) % 5
    names = ("ann", "ben", "cat", "dan", "eve")
    return Mocap(make_poses(count), subjects, subjects, np.ones(count, bool), names, (4,))


@functools.cache
def people(blended: float = 0.0, count: int = 1500) -> PosedPeople:
    """Generated poses; do not change them."""
    return generate_people(recordings(), count, 3, blended=blended)


def of(posed: PosedPeople, *names: str) -> PosedPeople:
    """The poses of some families."""
    numbers = [posed.families.index(name) for name in names]
    return posed.select(np.isin(posed.family, numbers))


def knee_fold(joints: np.ndarray) -> np.ndarray:
    """(N, 2) of left and right knee, degrees."""
    angles = angles_deg(joints)
    return np.stack([angles["left knee fold"], angles["right knee fold"]], 1)


@pytest.mark.parametrize("blended", [0.0, 1.0])
def test_joints_keep_their_range(blended):
    joints = people(blended).positions_m
    assert (excess_deg(joints) == 0).all()
    for name, angles in hip_angles_deg(joints).items():
        lowest, highest = HIP_LIMITS_DEG[name]
        assert angles.min() >= lowest and angles.max() <= highest


@pytest.mark.parametrize("blended", [0.0, 1.0])
def test_limbs_have_the_lengths_of_the_body(blended):
    posed = people(blended)
    lengths = limb_lengths(posed.positions_m)
    np.testing.assert_allclose(lengths, posed.limbs_m, atol=1e-9)
    np.testing.assert_allclose(lengths[:, [1, 2]], lengths[:, [4, 5]], atol=1e-9)
    assert 0.03 < np.log(lengths[:, 1]).std() < 0.12


def test_what_touches_touches():
    posed = people()
    off = np.abs(posed.positions_m[..., 1] - posed.rest_m)
    assert np.nanmax(off) < 0.01
    feet = of(posed, *ON_FEET)
    assert np.isfinite(feet.rest_m[:, [3, 6]]).all()
    assert (np.isfinite(of(posed, "kneel").rest_m[:, [2, 5]])).all()
    assert (np.isfinite(of(posed, "all_fours").rest_m[:, [2, 5, 13, 16]])).all()
    assert np.isfinite(of(posed, *SITTING, "cross_legged").rest_m[:, 0]).all()


def test_nothing_is_below_the_floor():
    for blended in (0.0, 1.0):
        assert people(blended).positions_m[..., 1].min() > 0.02


def test_flat_feet_are_on_the_floor():
    ankles = of(people(), "squat", "rise", "stand", "sit_desk").positions_m[:, [3, 6], 1]
    lowest = ankles.min(1)
    assert (lowest > 0.05).all() and (lowest < 0.1).all()


def test_seats_have_their_heights():
    for name, lowest, highest in (
        ("sit_chair", 0.38, 0.72),
        ("sit_low", 0.18, 0.55),
        ("sit_high", 0.5, 1.05),
        ("sit_floor", 0.06, 0.12),
    ):
        height = of(people(), name).positions_m[:, 0, 1]
        assert lowest < height.min() and height.max() < highest, name


def test_standing_poses_are_balanced():
    posed = people()
    for name, family in FAMILIES.items():
        known = np.isfinite(of(posed, name).support_m).all((1, 2, 3))
        assert (known == family.balanced).all(), name

    standing = posed.select(np.isfinite(posed.support_m).all((1, 2, 3)))
    centre = centre_of_mass(standing.positions_m)[:, [0, 2]]
    for corners, point in zip(standing.support_m.reshape(-1, 4, 2), centre, strict=True):
        equations = ConvexHull(corners).equations
        assert (equations[:, :2] @ point + equations[:, 2]).max() < 0.001


def test_support_is_where_the_feet_are():
    feet = of(people(), "squat", "stand")
    middle = feet.support_m.mean(2)
    ankles = feet.positions_m[:, [6, 3]][..., [0, 2]]
    assert np.linalg.norm(middle - ankles, axis=-1).max() < 0.08


def test_somebody_who_falls_is_not_supported():
    posed = of(people(), "squat")
    moved = posed.positions_m.copy()
    moved[:, [0, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]] += [0.6, 0, 0]
    assert is_supported(posed.positions_m, posed.support_m).all()
    assert not is_supported(moved, posed.support_m).any()


def test_squats_have_all_depths_and_lean_with_them():
    squats = of(people(count=6000), "squat").positions_m
    fold = knee_fold(squats).mean(1)
    assert np.histogram(fold, (30, 60, 90, 120))[0].min() > 40
    up = (squats[:, 8] - squats[:, 0])[:, 1] / np.linalg.norm(squats[:, 8] - squats[:, 0], axis=-1)
    lean = np.degrees(np.arccos(up))
    assert lean[fold > 90].mean() > lean[fold < 60].mean() + 8


def test_some_stand_on_straight_knees():
    fold = knee_fold(of(people(count=6000), "stand").positions_m).max(1)
    assert 0.2 < np.mean(fold < 15)


def test_somebody_sits_with_thighs_about_level():
    chair = of(people(), "sit_chair", "sit_desk").positions_m
    thigh = chair[:, [2, 5]] - chair[:, [1, 4]]
    rise = thigh[..., 1] / np.linalg.norm(thigh, axis=-1)
    assert np.abs(np.median(rise)) < 0.35
    assert np.quantile(knee_fold(chair).mean(1), 0.05) > 20


def test_shanks_cross_before_the_body():
    joints = facing_ahead(of(people(), "cross_legged").positions_m)
    left = joints[:, 6, 0] - joints[:, 4, 0]
    right = joints[:, 3, 0] - joints[:, 1, 0]
    assert np.mean((left < 0) & (right > 0)) > 0.95


def test_limbs_do_not_pass_through_each_other():
    joints = people().positions_m
    thighs = segment_distance(joints[:, 4], joints[:, 5], joints[:, 1], joints[:, 2])
    shanks = segment_distance(joints[:, 5], joints[:, 6], joints[:, 2], joints[:, 3])
    assert thighs.min() > 0.05 and shanks.min() > 0.05
    for elbow, wrist in ((12, 13), (15, 16)):
        trunk = segment_distance(joints[:, elbow], joints[:, wrist], joints[:, 7], joints[:, 8])
        assert trunk.min() > 0.06


def test_distance_of_segments():
    rng = np.random.default_rng(0)
    ends = rng.normal(size=(4, 200, 3))
    along = np.linspace(0, 1, 101)[:, None, None]
    first = ends[0] + along * (ends[1] - ends[0])
    second = ends[2] + along * (ends[3] - ends[2])
    apart = np.linalg.norm(first[:, None] - second[None], axis=-1).min((0, 1))
    np.testing.assert_allclose(segment_distance(*ends), apart, atol=0.03)


def test_two_bones_reach_their_end():
    rng = np.random.default_rng(0)
    start, pole = rng.normal(size=(2, 50, 3))
    direction = rng.normal(size=(50, 3))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    end = start + rng.uniform(0.2, 0.75, 50)[:, None] * direction
    middle, reached = two_bones(start, end, np.full(50, 0.4), np.full(50, 0.38), pole)
    np.testing.assert_allclose(reached, end, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(middle - start, axis=-1), 0.4)
    np.testing.assert_allclose(np.linalg.norm(end - middle, axis=-1), 0.38)
    line = middle - 0.5 * (start + end)
    assert (
        (line * pole).sum(-1) - (line * direction).sum(-1) * (pole * direction).sum(-1) > 0
    ).all()


def test_every_family_in_its_share():
    counts = np.bincount(people().family, minlength=len(FAMILIES))
    share = np.array([family.share for family in FAMILIES.values()])
    np.testing.assert_allclose(counts, 1500 * share / share.sum(), atol=1)


def test_left_and_right_are_alike():
    joints = facing_ahead(people(count=6000).positions_m)
    mirrored = joints[:, list(JOINT_FLIP)] * [-1, 1, 1]
    assert np.abs(joints.mean(0) - mirrored.mean(0)).max() < 0.02
    assert np.abs(joints.std(0) - mirrored.std(0)).max() < 0.02


def test_people_face_all_directions():
    joints = people(count=6000).positions_m
    across = joints[:, 4] - joints[:, 1]
    angle = np.arctan2(across[:, 2], across[:, 0])
    assert np.abs(np.exp(1j * angle).mean()) < 0.04
    assert np.abs(joints[:, 0, [0, 2]]).max() < 1e-9


def test_seeds_repeat_bytes():
    first, again, other = (generate_people(recordings(), 120, seed) for seed in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        assert a == b if isinstance(a, tuple) else a.tobytes() == b.tobytes()
    assert first.positions_m.tobytes() != other.positions_m.tobytes()


def test_blended_poses_are_known_by_their_contact():
    posed = people(1.0)
    free = np.isnan(posed.rest_m).all(1)
    apart = np.isin(posed.family, [posed.families.index(name) for name in UNBLENDED])
    assert free[~apart].mean() > 0.9 and not free[apart].any()
    assert np.isnan(posed.support_m[free]).all()
    part = np.isnan(people(0.25).rest_m).all(1).mean()
    assert 0.15 < part < 0.3


def test_blending_goes_from_one_pose_to_the_other():
    first = people().positions_m[:60]
    second = recordings().positions_m[:60]
    np.testing.assert_allclose(blend(first, second, np.zeros(60)), first, atol=1e-6)

    end = blend(first, second, np.ones(60))
    np.testing.assert_allclose(knee_fold(end), knee_fold(second), atol=0.05)
    half = knee_fold(blend(first, second, np.full(60, 0.5)))
    # Hinges of nearly straight knees turn the other way
    bent = (knee_fold(first) > 20) & (knee_fold(second) > 20)
    middle = 0.5 * (knee_fold(first) + knee_fold(second))
    assert bent.sum() > 20
    np.testing.assert_allclose(half[bent], middle[bent], atol=0.5)


def test_generated_poses_stay_on_their_side_of_the_split():
    recorded = recordings()
    both, donor = with_generated(recorded, 300, 0)
    generated = np.arange(len(both.positions_m)) >= 600
    assert not np.isin(both.subject_id[generated], recorded.subject_id).any()
    assert not np.isin(both.clip_id[generated], recorded.clip_id).any()
    np.testing.assert_array_equal(donor[:600], np.arange(600))
    np.testing.assert_array_equal(both.validation_rows(), recorded.validation_rows()[donor])
    assert both.validation_rows()[generated].any() and not both.own_proportions[generated].any()
    names = [both.subjects[number] for number in both.subject_id[generated]]
    assert names == [f"{recorded.subjects[k]} generated" for k in recorded.subject_id[donor[600:]]]
    np.testing.assert_array_equal(both.positions_m[:600], recorded.positions_m)


def test_a_file_without_names_is_extended_too():
    seven = np.arange(600) % 7
    recorded = recordings()._replace(subject_id=seven, subjects=(), validation_ids=None)
    both, donor = with_generated(recorded, 50, 0)
    assert both.subjects == ()
    np.testing.assert_array_equal(both.validation_rows(), recorded.validation_rows()[donor])


def test_nothing_is_added_for_a_count_of_zero():
    recorded = recordings()
    assert with_generated(recorded, 0)[0] is recorded


def test_held_out_people_have_other_bodies():
    recorded = recordings()
    chosen = recorded.positions_m[recorded.validation_rows()]
    posed = held_out_people(recorded, 40)
    assert posed.donor.max() < len(chosen)
    again = generate_people(recorded.select(recorded.validation_rows()), 40, 0)
    assert posed.positions_m.tobytes() != again.positions_m.tobytes()


def test_generated_poses_have_their_share_of_the_weight():
    recorded = recordings(200)
    poses, weights, donor = training_poses(recorded, 0.25, 0)
    assert len(poses.positions_m) == len(weights) == len(donor) == 400
    assert weights[200:].sum() / weights.sum() == pytest.approx(0.25)
    np.testing.assert_array_equal(weights[:200], balanced_weights(recorded, 0))

    alone = training_poses(recorded, 0.0, 0)
    assert alone.mocap is recorded
    np.testing.assert_array_equal(alone.weights, weights[:200])


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_is_none_is_named(share):
    with pytest.raises(DataError, match="^posed: "):
        training_poses(recordings(50), share)


def test_the_prior_learns_them_but_not_their_size():
    recorded = recordings(300)
    without, with_them = (fit_prior(recorded, 1, 8, posed=share) for share in (0.0, 0.4))
    posed = people().positions_m[:300]
    assert with_them.score_samples(posed).mean() > without.score_samples(posed).mean() + 5
    assert with_them.stature_m_ == without.stature_m_
    np.testing.assert_array_equal(with_them.limbs_, without.limbs_)


def test_they_are_left_out_with_those_they_borrow_from():
    search = Search(recordings(200), posed=0.3)
    _, _, donor = training_poses(recordings(200), 0.3)
    assert len(search.fold) == 400
    np.testing.assert_array_equal(search.fold, search.fold[:200][donor])


def test_lifters_see_them_in_their_share():
    recorded = recordings(200)
    source = StereoSource(recorded, StereoTrainConfig(posed=0.3))
    assert len(source.positions_m) == 400
    assert 1 - source.share[199] == pytest.approx(0.3)

    # Stick figures never fold their knees as far
    folded = [
        np.mean(knee_fold(balanced_pictures(recorded, 2000, 0, share).joints).min(1) > 90)
        for share in (0.0, 0.5)
    ]
    assert folded[0] < 0.02 < 0.08 < folded[1]


def test_wrong_input_is_named():
    with pytest.raises(DataError, match="^family: .*'sleep'"):
        generate_people(recordings(50), 10, families=("sleep",))
    lying = recordings(50)
    lying = lying._replace(positions_m=lying.positions_m[..., [1, 0, 2]])
    with pytest.raises(DataError, match="^positions: "):
        generate_people(lying, 10)


def test_a_family_that_no_body_can_take_is_given_up(monkeypatch):
    monkeypatch.setattr(posed_people, "ROUNDS", 2)
    monkeypatch.setattr(posed_people, "is_sound", lambda figure: np.zeros(figure.count, bool))
    with pytest.raises(DataError, match="squat"):
        generate_people(recordings(50), 10, families=("squat",))


def test_the_sheet_shows_each_family_in_a_row(tmp_path):
    posed = of(people(), "squat", "lie")
    sheet = draw_sheet(posed.positions_m[:9], posed.family[:9], posed.families)
    rows = len(np.unique(posed.family[:9]))
    assert sheet.shape[0] == rows * CELL_PX and sheet.dtype == np.uint8

    recorded = recordings(100)
    file = tmp_path / "mocap.npz"
    np.savez(
        file,
        positions=recorded.positions_m,
        subject_id=recorded.subject_id,
        subjects=np.array(recorded.subjects),
    )
    out = tmp_path / "sheet.png"
    arguments = [str(file), "--sheet", str(out), "--count", "2", "--families", "squat,kneel"]
    assert posed_people.main(arguments) == 0
    assert cv2.imread(str(out)).shape[0] == 2 * CELL_PX
