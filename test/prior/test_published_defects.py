# SPDX-License-Identifier: Apache-2.0
"""Defects of the published lifter of the paper, each with a test that would catch it here: the
prior that ships, on the tests' own people.

Figures in the docstrings: what the published lifter does, and what was measured here where the
bound stands.
"""

import functools

import numpy as np
import pytest
from people import CAMERA, make_poses, see
from scipy.stats import chi2

from lifting_ros.estimator import WEIGHTS
from lifting_ros.geometry.camera import Camera
from lifting_ros.lifting.lifting import LiftedPoses, Lifter, LifterConfig
from lifting_ros.prior.ppca import MixturePPCA
from lifting_ros.research.evaluation.metrics import mpjpe, n_mpjpe, pa_mpjpe
from lifting_ros.skeleton import (
    JOINT_FLIP,
    KEYPOINT_FLIP,
    KEYPOINT_NAMES,
    KEYPOINT_TO_JOINT,
    limb_lengths,
)
from lifting_ros.types import JointStatus

COUNT = 24
JOINTS, KEYPOINTS = see(make_poses(COUNT, seed=31))
SEEN, NOISE = np.ones((COUNT, 14)), np.tile(4 * np.eye(2), (COUNT, 14, 1, 1))
LEGS = [
    i for i, name in enumerate(KEYPOINT_NAMES) if name.split("_")[-1] in ("hip", "knee", "ankle")
]


@functools.cache
def lifter(**config) -> Lifter:
    return Lifter(MixturePPCA.load(WEIGHTS / "prior.npz"), LifterConfig(**config))


@functools.cache
def plain() -> LiftedPoses:
    """Everybody, seen whole and level."""
    return lifter().lift(KEYPOINTS, SEEN, NOISE, CAMERA)


def relative(lifted: LiftedPoses) -> np.ndarray:
    return lifted.joints_m - lifted.root_m[:, None]


def size(joints_m: np.ndarray) -> np.ndarray:
    return np.sqrt((limb_lengths(joints_m) ** 2).sum(-1))


def spread(lifted: LiftedPoses) -> np.ndarray:
    """Standard deviation of each joint about the root (N, 16), m."""
    return np.sqrt(np.trace(lifted.covariance_m2[:, 1:], axis1=-2, axis2=-1))


def look(turn: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The people before a camera turned about them: joints, keypoints and up (3,)."""
    middle = JOINTS.mean(1, keepdims=True)
    joints = (JOINTS - middle) @ turn.T + middle
    return joints, CAMERA.project(joints[:, list(KEYPOINT_TO_JOINT)]), turn @ np.array([0.0, -1, 0])


def mixed_masks() -> np.ndarray:
    """Confidences (N, 14): the first person shows legs alone, the others lack 0 to 8 keypoints."""
    rng, confidence = np.random.default_rng(3), SEEN.copy()
    confidence[rng.random((COUNT, 14)).argsort(1).argsort(1) < rng.integers(0, 9, (COUNT, 1))] = 0
    confidence[0] = np.isin(np.arange(14), LEGS)
    return confidence


def test_the_first_persons_mask_is_not_everybodys():
    """Published: the mask of person 0 is used for all, 105 mm. Here a batch gives what each gives
    alone."""
    confidence = mixed_masks()
    together = lifter().lift(KEYPOINTS, confidence, NOISE, CAMERA)
    for n in (1, 5, 11, 20):
        alone = lifter().lift(KEYPOINTS[n : n + 1], confidence[n : n + 1], NOISE[n : n + 1], CAMERA)
        np.testing.assert_allclose(alone.joints_m[0], together.joints_m[n], atol=1e-4)
        np.testing.assert_allclose(alone.covariance_m2[0], together.covariance_m2[n], atol=1e-4)
    seen = together.status[:, list(KEYPOINT_TO_JOINT)] == JointStatus.OBSERVED
    np.testing.assert_array_equal(seen, confidence > 0)


@pytest.mark.parametrize("covariance", [None, NOISE], ids=["no weights", "weights"])
@pytest.mark.parametrize("camera", [None, CAMERA], ids=["no camera", "camera"])
def test_people_face_the_way_they_face(covariance, camera):
    """Published: without weights every person is turned by exactly 90 degrees. Here: median 5
    degrees, in every branch."""
    found = relative(lifter().lift(KEYPOINTS, SEEN, covariance, camera))
    across = [
        joints[:, 4, [0, 2]] - joints[:, 1, [0, 2]] for joints in (found, JOINTS)
    ]  # right to left hip, on the ground
    angle = np.degrees([np.arctan2(a[:, 1], a[:, 0]) for a in across])
    off = np.abs((angle[0] - angle[1] + 180) % 360 - 180)
    assert np.median(off) < 12 and (off > 60).mean() < 0.15


@pytest.mark.parametrize(
    "shown",
    [["right_shoulder", "left_shoulder"], ["left_hip", "left_knee"], ["head_top", "neck"]],
    ids="-".join,
)
def test_two_joints_are_not_lifted_in_silence(shown):
    """Published: lifted like anybody, if only another person is fine. Here the doubt shows: wide
    ellipsoids that hold the truth."""
    confidence = SEEN * np.isin(KEYPOINT_NAMES, shown)
    confidence[0] = 1
    lifted = lifter().lift(KEYPOINTS, confidence, NOISE, CAMERA)
    np.testing.assert_allclose(lifted.joints_m[0], plain().joints_m[0], atol=1e-4)
    known = lifted.status[1:] > 0
    assert known.all(1).any() or not known.any()  # a whole answer or none
    assert (lifted.status[1:] == JointStatus.OBSERVED).sum(1).max() <= 2
    people = np.flatnonzero((lifted.status > 0).all(1))[1:]
    error = (relative(lifted) - JOINTS + JOINTS[:, :1])[people, 1:]
    distance = np.einsum(
        "nja,njab,njb->nj", error, np.linalg.inv(lifted.covariance_m2[people, 1:]), error
    )
    assert (distance < chi2.ppf(0.99, 3)).mean() > 0.8
    assert np.median(spread(lifted)[people] / spread(plain())[people]) > 1.3


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("camera", [None, CAMERA], ids=["no camera", "camera"])
def test_nobody_in_view_is_no_error(count, camera):
    """Published: ValueError from a reshape."""
    lifted = lifter().lift(np.full((count, 14, 2), np.nan), np.zeros((count, 14)), None, camera)
    assert (
        lifted.joints_m.shape == (count, 17, 3)
        and (lifted.status == JointStatus.INVALID).all()
        and np.isnan(lifted.joints_m).all()
    )


def test_nobody_does_not_harm_the_person_beside():
    confidence = SEEN[:3].copy()
    confidence[[0, 2]] = 0
    lifted = lifter().lift(KEYPOINTS[:3], confidence, NOISE[:3], CAMERA)
    assert (lifted.status[[0, 2]] == JointStatus.INVALID).all()
    np.testing.assert_allclose(lifted.joints_m[1], plain().joints_m[1], atol=1e-4)


def test_the_root_is_where_the_answer_says():
    """Published: neither the hip nor the centroid is the origin, the hip up to 260 mm off."""
    np.testing.assert_array_equal(relative(plain())[:, 0], 0)
    assert np.abs(plain().covariance_m2[:, 0]).max() < 1e-12
    without = lifter().lift(KEYPOINTS, SEEN, NOISE)
    np.testing.assert_array_equal(without.root_m, 0)
    np.testing.assert_array_equal(without.joints_m[:, 0], 0)
    assert np.isnan(without.root_covariance_m2).all()


def test_size_is_the_stature_priors():
    """Published: every answer has 1139.637 mm, whatever was said. Here the size and the range
    follow the stature, and are uncertain."""
    prior = lifter().prior
    for found in (plain(), lifter().lift(KEYPOINTS, SEEN, NOISE)):
        off = (size(found.joints_m) - prior.stature_m_) / prior.stature_std_m_
        assert np.abs(np.median(off)) < 1.5 and np.abs(off).max() < 4
    child, tall = (
        lifter(stature_m=stature).lift(KEYPOINTS, SEEN, NOISE, CAMERA) for stature in (1.2, 1.9)
    )
    assert np.median(size(child.joints_m) / size(tall.joints_m)) == pytest.approx(
        1.2 / 1.9, rel=0.03
    )
    assert np.median(child.root_m[:, 2] / tall.root_m[:, 2]) == pytest.approx(1.2 / 1.9, rel=0.03)
    ranges = np.sqrt(plain().root_covariance_m2[:, 2, 2])
    assert (ranges > 0.5 * prior.stature_std_m_ / prior.stature_m_ * plain().root_m[:, 2]).all()


def test_another_image_size_is_the_same_person():
    """Published: images of a new size need a new estimator."""
    matrix = np.array(
        [[1200.0, 0, 639.5], [0, 1200, 479.5], [0, 0, 1]]
    )  # pixel centres at whole numbers: u' = 2 u + 0.5
    for camera, there in ((Camera(matrix), plain()), (None, lifter().lift(KEYPOINTS, SEEN, NOISE))):
        double = lifter().lift(2 * KEYPOINTS + 0.5, SEEN, 4 * NOISE, camera)
        assert np.median(mpjpe(double.joints_m, there.joints_m)) < 0.02
        assert np.percentile(mpjpe(double.joints_m, there.joints_m), 85) < 0.05
        assert np.median(spread(double) / spread(there)) == pytest.approx(1, abs=0.1)


def test_a_person_upside_down():
    """Published: 59 mm upright, 135 mm upside down after Procrustes. Gravity is not known here:
    measured 67 and 72 mm."""
    turn = np.diag([-1.0, -1, 1])
    joints, keypoints, _ = look(turn)
    lifted = lifter().lift(keypoints[:10], SEEN[:10], NOISE[:10], CAMERA, up=np.full(3, np.nan))
    assert pa_mpjpe(relative(lifted), joints[:10]).mean() < 0.095
    assert np.median(n_mpjpe(relative(lifted), joints[:10])) < 0.16


@pytest.mark.parametrize("degrees", [30, -30])
def test_a_pitched_camera(degrees):
    """Published: 73 mm after Procrustes and 175 mm without at 30 degrees. Here: 64 and 75 mm, as
    before a level camera (67 and 79)."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    joints, keypoints, up = look(np.array([[1, 0, 0], [0, c, -s], [0, s, c]]))
    lifted = lifter().lift(keypoints, SEEN, NOISE, CAMERA, up=up)
    assert n_mpjpe(relative(lifted), joints).mean() < 0.1
    assert pa_mpjpe(relative(lifted), joints).mean() < 0.085
    unaware = lifter().lift(keypoints, SEEN, NOISE, CAMERA)
    assert (
        n_mpjpe(relative(unaware), joints).mean() > 1.1 * n_mpjpe(relative(lifted), joints).mean()
    )  # gravity is what does it


def test_legs_missing():
    """Published: 240 mm after Procrustes. Here 111 mm, all six leg joints said to be inferred, and
    their doubt is wide."""
    confidence = SEEN.copy()
    confidence[:, LEGS] = 0
    keypoints = np.where(confidence[..., None] > 0, KEYPOINTS, np.nan)
    lifted = lifter().lift(keypoints, confidence, NOISE, CAMERA)
    assert (
        pa_mpjpe(relative(lifted), JOINTS).mean() < 0.14
        and n_mpjpe(relative(lifted), JOINTS).mean() < 0.18
    )
    legs = [KEYPOINT_TO_JOINT[k] for k in LEGS]
    assert (lifted.status[:, legs] == JointStatus.INFERRED).all()
    ankles = [2, 5]  # of the 16 joints without the root
    assert np.median(spread(lifted)[:, ankles] / spread(plain())[:, ankles]) > 1.5


@pytest.mark.parametrize("camera", [None, CAMERA], ids=["no camera", "camera"])
def test_a_mirror_image_is_the_mirrored_person(camera):
    """Published: the sampled rotations and the shifts are not symmetric."""
    there = lifter().lift(KEYPOINTS, SEEN, NOISE, camera)
    flipped = KEYPOINTS[:, list(KEYPOINT_FLIP)].copy()
    flipped[..., 0] = 2 * CAMERA.matrix[0, 2] - flipped[..., 0]
    back = lifter().lift(flipped, SEEN, NOISE, camera).joints_m[:, list(JOINT_FLIP)] * [-1, 1, 1]
    off = mpjpe(back, there.joints_m)
    assert np.median(off) < 0.01 and np.percentile(off, 85) < 0.03


def test_no_bias_of_pixels():
    """Published: keypoints are whole numbers and 3.5 px off. Here the lifted person lies on the
    keypoints, to a tenth of a pixel."""
    off = CAMERA.project(plain().joints_m[:, list(KEYPOINT_TO_JOINT)]) - KEYPOINTS
    assert np.abs(off.mean((0, 1))).max() < 0.1 and np.sqrt((off**2).mean()) < 2.5


def test_fractions_of_a_pixel_count():
    """Half a pixel to the right moves the person by half a pixel at its distance, not by none or
    one."""
    wide = lifter().lift(KEYPOINTS + [0.5, 0.0], SEEN, NOISE, CAMERA)
    moved = (wide.root_m - plain().root_m)[:, 0] * CAMERA.focal_px / plain().root_m[:, 2]
    assert np.median(moved) == pytest.approx(0.5, abs=0.05)


def test_height_in_the_image_does_not_matter():
    """Published: the column of the vertical shift is missing (the depth's stands there twice)."""
    matrix = CAMERA.matrix.copy()
    matrix[1, 2] += 150
    lower = lifter().lift(KEYPOINTS + [0, 150.0], SEEN, NOISE, Camera(matrix))
    np.testing.assert_allclose(lower.joints_m, plain().joints_m, atol=1e-4)
    shifted = lifter().lift(KEYPOINTS + [40.0, 150.0], SEEN, NOISE)
    np.testing.assert_allclose(
        shifted.joints_m, lifter().lift(KEYPOINTS, SEEN, NOISE).joints_m, atol=1e-4
    )


def test_a_keypoint_known_to_be_wrong_does_not_pull():
    """Published: every visible joint is pulled by 61 % to its keypoint, whatever its noise."""
    wrong, doubt = KEYPOINTS.copy(), NOISE.copy()
    wrong[:, 4] += [80.0, -60.0]  # right wrist
    doubt[:, 4] = 1e6 * np.eye(2)
    hidden = SEEN.copy()
    hidden[:, 4] = 0
    ignored = lifter().lift(KEYPOINTS, hidden, NOISE, CAMERA)
    told, believed = (
        lifter().lift(wrong, SEEN, covariance, CAMERA) for covariance in (doubt, NOISE)
    )
    assert np.median(mpjpe(told.joints_m, ignored.joints_m)) < 0.01
    assert np.median(mpjpe(believed.joints_m, ignored.joints_m)) > 0.03


@pytest.mark.parametrize("axis", [0, 1], ids=["one column", "one row"])
def test_a_person_without_extent_has_a_defined_answer(axis):
    """Published: the visible height is the divisor of everything."""
    keypoints = KEYPOINTS[:4].copy()
    keypoints[..., axis] = 200.0
    lifted = lifter().lift(keypoints, SEEN[:4], NOISE[:4], CAMERA)
    known = lifted.status > 0
    assert (
        np.isfinite(lifted.joints_m[known]).all() and np.isfinite(lifted.covariance_m2[known]).all()
    )
    assert np.isnan(lifted.joints_m[~known]).all()
