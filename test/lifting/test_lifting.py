# SPDX-License-Identifier: Apache-2.0
"""The lifter against a plain reference, on unseen people, and on input with little or no
information."""

import numpy as np
import pytest
from lifting_reference import reference_lift
from people import CAMERA, make_poses, see, small_prior
from scipy.stats import chi2

from lifting_ros.lifting.lifting import Lifter, LifterConfig
from lifting_ros.prior.ppca import MixturePPCA
from lifting_ros.research.evaluation.metrics import mpjpe, n_mpjpe
from lifting_ros.skeleton import JOINT_FLIP, KEYPOINT_FLIP, KEYPOINT_TO_JOINT
from lifting_ros.types import JointStatus

LIFTER = Lifter(small_prior(), LifterConfig(prior_scale=1.0))
SEEN = np.ones((1, 14))


def noisy(count: int, noise_px: float = 2.0, seed: int = 21):
    joints, keypoints = see(make_poses(count, seed=seed))
    rng = np.random.default_rng(seed)
    covariance = np.tile(noise_px**2 * np.eye(2), (count, 14, 1, 1))
    return joints, keypoints + noise_px * rng.standard_normal(keypoints.shape), covariance


@pytest.mark.parametrize(
    ("case", "passes"),
    [
        ("one noise", 2),
        ("own noise", 2),
        ("missing", 2),
        ("confidences", 2),
        ("few", 2),
        ("one noise", 1),
        ("missing", 5),
    ],
)
def test_agrees_with_the_plain_reference(case, passes):
    """Tables, float32 and compiled loops agree with plain float64 to a hundredth of a millimetre,
    for any mask and noise."""
    lifter = Lifter(small_prior(), LifterConfig(prior_scale=1.0, iterations=passes))
    rng = np.random.default_rng(4)
    _, keypoints, covariance = noisy(8, noise_px=3.0)
    confidence = np.ones((8, 14))
    if case == "own noise":
        covariance = covariance + np.array([[9.0, 4], [4, 6]]) * rng.uniform(0, 2, (8, 14, 1, 1))
    elif case == "missing":
        for row in confidence:
            row[rng.choice(14, rng.integers(1, 7), replace=False)] = 0
    elif case == "few":
        for row in confidence:
            row[rng.choice(14, rng.integers(8, 12), replace=False)] = 0
    elif case == "confidences":
        confidence, covariance = rng.uniform(0.05, 1, (8, 14)), None
    up = np.array([0.05, -1.0, 0.2])
    lifted = lifter.lift(keypoints, confidence, covariance, CAMERA, up)
    for n in range(8):
        plain = reference_lift(
            lifter,
            keypoints[n],
            confidence[n],
            None if covariance is None else covariance[n],
            CAMERA,
            up,
        )
        given = plain["hypothesis_weight"][:3]
        np.testing.assert_allclose(lifted.joints_m[n], plain["joints_m"], atol=1e-5)
        np.testing.assert_allclose(lifted.hypothesis_weight[n], given / given.sum(), atol=1e-3)
        for name in ("covariance_m2", "root_covariance_m2"):
            np.testing.assert_allclose(
                getattr(lifted, name)[n], plain[name], atol=2e-3 * np.abs(plain[name]).max()
            )
        sure = given > 1e-6
        np.testing.assert_allclose(
            lifted.hypotheses_m[n][sure], plain["hypotheses_m"][:3][sure], atol=1e-4
        )


def test_recovers_people_it_has_not_seen():
    joints, keypoints, covariance = noisy(40)
    lifted = LIFTER.lift(keypoints, np.ones((40, 14)), covariance, CAMERA)
    relative = lifted.joints_m - lifted.root_m[:, None]
    assert np.median(n_mpjpe(relative, joints)) < 0.06
    assert n_mpjpe(relative, joints).mean() < 0.09
    assert np.linalg.norm(lifted.root_m - joints[:, 0], axis=-1).mean() < 0.5
    assert (lifted.status[:, list(KEYPOINT_TO_JOINT)] == JointStatus.OBSERVED).all()
    assert (lifted.status[:, [0, 7, 9]] == JointStatus.INFERRED).all()


def test_covariances_have_the_stated_coverage():
    """On people like those of the prior the ellipsoids contain the joints as often as stated,
    within sampling error and model error."""
    joints, keypoints, covariance = noisy(150)
    lifted = LIFTER.lift(keypoints, np.ones((150, 14)), covariance, CAMERA)
    error = (lifted.joints_m - lifted.root_m[:, None] - joints + joints[:, :1])[:, 1:]
    distance = np.einsum(
        "nja,njab,njb->nj", error, np.linalg.inv(lifted.covariance_m2[:, 1:]), error
    )
    # EVIDENCE_TEMPERATURE widens them for people whom the prior knows this well
    assert 0.40 < (distance < chi2.ppf(0.5, 3)).mean() < 0.80
    assert 0.82 < (distance < chi2.ppf(0.9, 3)).mean() < 0.98


def test_covariances_are_symmetric_and_positive():
    _, keypoints, covariance = noisy(10)
    lifted = LIFTER.lift(keypoints, np.ones((10, 14)), covariance, CAMERA)
    for matrices in (lifted.covariance_m2[:, 1:], lifted.root_covariance_m2):
        np.testing.assert_allclose(matrices, np.swapaxes(matrices, -1, -2), atol=1e-12)
        assert (np.linalg.eigvalsh(matrices) > 0).all()
    assert np.abs(lifted.covariance_m2[:, 0]).max() < 1e-9  # the root relative to itself


def test_more_noise_gives_larger_covariances():
    _, keypoints, covariance = noisy(10)
    tight = LIFTER.lift(keypoints, np.ones((10, 14)), covariance, CAMERA)
    loose = LIFTER.lift(keypoints, np.ones((10, 14)), 25 * covariance, CAMERA)
    trace = lambda r: np.trace(r.covariance_m2, axis1=-2, axis2=-1).mean()  # noqa: E731
    assert trace(loose) > 1.5 * trace(tight)


def test_missing_joints_are_completed_and_marked_inferred():
    joints, keypoints, covariance = noisy(20)
    confidence = np.ones((20, 14))
    confidence[:, [4, 10]] = 0  # right wrist, right ankle
    keypoints[:, [4, 10]] = np.nan
    lifted = LIFTER.lift(keypoints, confidence, covariance, CAMERA)
    assert (lifted.status[:, [16, 3]] == JointStatus.INFERRED).all()
    assert np.isfinite(lifted.joints_m).all()
    assert np.linalg.norm(lifted.joints_m - joints, axis=-1)[:, [16, 3]].mean() < 0.8
    full = LIFTER.lift(see(make_poses(20, seed=21))[1], np.ones((20, 14)), covariance, CAMERA)
    doubt, certain = (np.trace(r.covariance_m2[:, 16], axis1=-2, axis2=-1) for r in (lifted, full))
    assert (doubt > certain).mean() > 0.8


def test_a_batch_gives_what_each_person_gives_alone():
    """Above all: every person keeps their own mask."""
    _, keypoints, covariance = noisy(5)
    confidence = np.ones((5, 14))
    for person in range(5):
        confidence[person, person : person + person] = 0
    together = LIFTER.lift(keypoints, confidence, covariance, CAMERA)
    for n in range(5):
        alone = LIFTER.lift(
            keypoints[n : n + 1], confidence[n : n + 1], covariance[n : n + 1], CAMERA
        )
        np.testing.assert_allclose(alone.joints_m[0], together.joints_m[n], atol=1e-6)
        np.testing.assert_allclose(alone.covariance_m2[0], together.covariance_m2[n], atol=1e-6)
        np.testing.assert_array_equal(alone.status[0], together.status[n])


def test_mirrored_keypoints_give_the_mirrored_person():
    prior = small_prior()
    symmetric = Lifter(prior, LifterConfig(rotations=64))
    _, keypoints, covariance = noisy(12)
    flipped = keypoints[:, list(KEYPOINT_FLIP)].copy()
    flipped[..., 0] = 2 * CAMERA.matrix[0, 2] - flipped[..., 0]
    there = symmetric.lift(keypoints, np.ones((12, 14)), covariance, CAMERA).joints_m
    back = symmetric.lift(flipped, np.ones((12, 14)), covariance, CAMERA).joints_m[
        :, list(JOINT_FLIP)
    ] * [-1, 1, 1]
    # every component of the prior is its own mirror image
    np.testing.assert_allclose(back, there, atol=1e-4)


def test_without_a_camera_the_root_is_the_origin():
    joints, keypoints, covariance = noisy(10)
    lifted = LIFTER.lift(keypoints, np.ones((10, 14)), covariance)
    np.testing.assert_array_equal(lifted.root_m, 0)
    assert np.isnan(lifted.root_covariance_m2).all()
    assert n_mpjpe(lifted.joints_m, joints).mean() < 0.1


def test_up_turns_with_the_camera():
    """A camera rolled by 90 degrees that knows where up is sees the same person."""
    joints, covariance = noisy(8)[0], noisy(8)[2]
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    keypoints = CAMERA.project(joints[:, list(KEYPOINT_TO_JOINT)])
    rolled = CAMERA.project((joints @ turn.T)[:, list(KEYPOINT_TO_JOINT)])
    lifted = LIFTER.lift(
        rolled, np.ones((8, 14)), covariance, CAMERA, up=turn @ np.array([0.0, -1, 0])
    )
    np.testing.assert_allclose(
        lifted.joints_m @ turn,
        LIFTER.lift(keypoints, np.ones((8, 14)), covariance, CAMERA).joints_m,
        atol=1e-4,
    )
    unaware = LIFTER.lift(rolled, np.ones((8, 14)), covariance, CAMERA)
    assert n_mpjpe(unaware.joints_m @ turn, joints).mean() > 0.12


def test_unknown_up_finds_a_person_upside_down():
    joints, keypoints, covariance = noisy(6)
    turn = np.diag([-1.0, -1, 1])
    hanging = CAMERA.project((joints @ turn)[:, list(KEYPOINT_TO_JOINT)])
    lifted = LIFTER.lift(hanging, np.ones((6, 14)), covariance, CAMERA, up=np.full(3, np.nan))
    assert np.median(n_mpjpe(lifted.joints_m @ turn, joints)) < 0.1


def test_a_person_upside_down_is_found_though_up_is_known():
    joints, keypoints, covariance = noisy(12)
    turn = np.diag([-1.0, -1, 1])
    hanging = CAMERA.project((joints @ turn)[:, list(KEYPOINT_TO_JOINT)])
    lifted = LIFTER.lift(hanging, np.ones((12, 14)), covariance, CAMERA)
    assert (n_mpjpe(lifted.joints_m @ turn, joints) < 0.1).mean() > 0.8
    upright = LIFTER.lift(keypoints, np.ones((12, 14)), covariance, CAMERA)
    # the head is above the pelvis: nobody is turned over
    assert (upright.joints_m[:, 10, 1] < upright.joints_m[:, 0, 1]).all()


def test_hypotheses_are_apart_where_up_is_unknown():
    """Hypotheses of one component differ by more than the noise."""
    _, keypoints, covariance = noisy(6)
    one = Lifter(
        MixturePPCA(1, 12).fit(make_poses(600), stature_m=(1.05, 0.06)),
        LifterConfig(prior_scale=1.0),
    )
    lifted = one.lift(keypoints, np.ones((6, 14)), covariance, CAMERA, up=np.full(3, np.nan))
    for poses, weight in zip(lifted.hypotheses_m, lifted.hypothesis_weight):
        for m in np.flatnonzero(weight[1:] > 1e-3) + 1:
            assert mpjpe(poses[[m]], poses[[0]])[0] > 0.05


@pytest.mark.parametrize(
    "case",
    [
        "nobody",
        "one",
        "point",
        "line",
        "nan",
        "far",
        "huge",
        "negative_confidence",
        "bad_covariance",
    ],
)
def test_degenerate_input_has_a_defined_answer(case):
    keypoints, confidence = see(make_poses(1, seed=3))[1], SEEN.copy()
    covariance = np.tile(4 * np.eye(2), (1, 14, 1, 1))
    if case == "nobody":
        confidence[:] = 0
    elif case == "one":
        confidence[0, 1:] = 0
    elif case == "point":
        keypoints[:] = 100.0
    elif case == "line":
        keypoints[..., 0] = 50.0
    elif case == "nan":
        keypoints[0, ::2] = np.nan
    elif case == "far":
        keypoints += 1e5
    elif case == "huge":
        keypoints *= 1e9
    elif case == "negative_confidence":
        confidence[:] = [-1, np.nan] * 7
    else:
        covariance[:] = np.array([[-1, 0], [0, np.inf]])
    for camera in (CAMERA, None):
        lifted = LIFTER.lift(keypoints, confidence, covariance, camera)
        known = lifted.status[0] != JointStatus.INVALID
        assert (
            np.isfinite(lifted.joints_m[0][known]).all()
            and np.isnan(lifted.joints_m[0][~known]).all()
        )
        assert np.isfinite(lifted.covariance_m2[0][known]).all()
        assert known.any() == (
            case not in ("nobody", "one", "point", "negative_confidence", "huge")
            and not (case == "far" and camera)
        )


def test_arrays_of_a_wrong_shape_are_named():
    with pytest.raises(ValueError, match="^keypoints_px: expected"):
        LIFTER.lift(np.zeros((1, 13, 2)), SEEN)
    with pytest.raises(ValueError, match="^confidence: expected"):
        LIFTER.lift(np.zeros((1, 14, 2)), np.ones((2, 14)))
    with pytest.raises(ValueError, match="^keypoint_covariance_px2: expected"):
        LIFTER.lift(np.zeros((1, 14, 2)), SEEN, np.ones((1, 14, 2)))


def test_nobody_at_all():
    lifted = LIFTER.lift(np.zeros((0, 14, 2)), np.zeros((0, 14)), camera=CAMERA)
    assert lifted.joints_m.shape == (0, 17, 3)
