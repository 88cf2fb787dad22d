# SPDX-License-Identifier: Apache-2.0
"""Keypoints of other detectors: the same person whatever the convention, mirrored people mirrored,
and nothing made of nothing."""

import numpy as np
import pytest
from people import CAMERA, make_poses, see, small_prior

from lifting_ros.conventions import CONVENTIONS, to_keypoints
from lifting_ros.lifting.lifting import Lifter, LifterConfig
from lifting_ros.research.evaluation.metrics import n_mpjpe
from lifting_ros.skeleton import JOINT_NAMES, KEYPOINT_FLIP, KEYPOINT_NAMES, flip_permutation

NECK, HEAD_TOP = (KEYPOINT_NAMES.index(name) for name in ("neck", "head_top"))
INFERRING = ("coco17", "body25", "mediapipe33")
_FACE = {
    "left_ear": (0.08, 0),
    "right_ear": (-0.08, 0),
    "left_eye": (0.03, 0.1),
    "right_eye": (-0.03, 0.1),
    "nose": (0, 0.12),
}


def points_of(poses_m: np.ndarray, convention: str) -> np.ndarray:
    """Poses (N, 17, 3; y up) as a detector of a convention sees them, (N, P, 2); what a stick
    figure lacks lies at its pelvis."""

    def middle(a: str, b: str) -> np.ndarray:
        return 0.5 * (poses_m[:, JOINT_NAMES.index(a)] + poses_m[:, JOINT_NAMES.index(b)])

    shoulders = middle("left_shoulder", "right_shoulder")
    hips = middle("left_hip", "right_hip")
    top = poses_m[:, 10]
    across = poses_m[:, 11] - poses_m[:, 14]
    across /= np.linalg.norm(across, axis=-1, keepdims=True)
    ahead = np.cross(across, shoulders - hips)
    ahead /= np.linalg.norm(ahead, axis=-1, keepdims=True)
    at = {name: poses_m[:, joint] for joint, name in enumerate(JOINT_NAMES)} | {
        "neck": poses_m[:, 8],
        "mid_shoulder": shoulders,
    }
    if convention != "human36m17":  # there the nose is a joint of the prior
        at |= {
            name: (2 * top + shoulders) / 3 + x * across + z * ahead
            for name, (x, z) in _FACE.items()
        }
    points = np.stack([at.get(name, hips) for name in CONVENTIONS[convention]], 1)
    return CAMERA.project((points - [0, 1.0, 0]) * [1.0, -1, -1] + [0, 0, 4.0])


def test_numbers_of_points():
    assert {name: len(points) for name, points in CONVENTIONS.items()} == {
        "lifting14": 14,
        "coco17": 17,
        "body25": 25,
        "mediapipe33": 33,
        "human36m17": 17,
    }
    assert all(len(set(points)) == len(points) for points in CONVENTIONS.values())


def test_published_indices():
    """Some of each from its publisher's own documentation, so that a slip in a list does not pass
    for symmetry."""
    known = {
        "coco17": {0: "nose", 5: "left_shoulder", 10: "right_wrist", 15: "left_ankle"},
        "body25": {
            2: "right_shoulder",
            4: "right_wrist",
            8: "mid_hip",
            9: "right_hip",
            14: "left_ankle",
            17: "right_ear",
        },
        "mediapipe33": {
            7: "left_ear",
            11: "left_shoulder",
            16: "right_wrist",
            23: "left_hip",
            28: "right_ankle",
            32: "right_foot_index",
        },
        "human36m17": {
            1: "right_hip",
            8: "neck",
            10: "head_top",
            11: "left_shoulder",
            16: "right_wrist",
        },
    }
    for convention, names in known.items():
        assert {k: CONVENTIONS[convention][k] for k in names} == names


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_every_convention_gives_the_same_person(convention):
    poses = make_poses(20, seed=8)
    truth = see(poses)[1]
    keypoints, confidence, covariance = to_keypoints(
        points_of(poses, convention), np.ones((20, len(CONVENTIONS[convention]))), convention
    )
    inferred = [NECK, HEAD_TOP] if convention in INFERRING else []
    exact = [k for k in range(14) if k not in inferred]
    np.testing.assert_allclose(keypoints[:, exact], truth[:, exact], atol=1e-9)
    np.testing.assert_array_equal(confidence, 1)
    assert (covariance is None) == (not inferred)
    if inferred:
        assert np.isnan(covariance[:, exact]).all()
        off = keypoints[:, inferred] - truth[:, inferred]
        distance = np.einsum("nka,nkab,nkb->nk", off, np.linalg.inv(covariance[:, inferred]), off)
        assert (distance < 9).all()  # within three deviations


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_mirrored_person_gives_mirrored_keypoints(convention):
    rng = np.random.default_rng(2)
    names = CONVENTIONS[convention]
    flip = [_mirror(name, names) for name in names]
    points, confidence = (
        rng.uniform(0, 600, (30, len(names), 2)),
        rng.uniform(0.1, 1, (30, len(names))),
    )
    confidence[rng.random(confidence.shape) < 0.2] = 0
    there = to_keypoints(points, confidence, convention)
    back = to_keypoints((points * [-1, 1])[:, flip], confidence[:, flip], convention)
    np.testing.assert_allclose(back[0][:, list(KEYPOINT_FLIP)] * [-1, 1], there[0], atol=1e-9)
    np.testing.assert_array_equal(back[1][:, list(KEYPOINT_FLIP)], there[1])


def _mirror(name: str, names: tuple[str, ...]) -> int:
    return flip_permutation(names)[names.index(name)]


def test_what_was_not_seen_is_absent():
    points, confidence = np.full((1, 17, 2), 100.0) + np.arange(34).reshape(17, 2), np.ones((1, 17))
    names = CONVENTIONS["coco17"]
    points[0, names.index("left_shoulder")] = np.nan
    confidence[0, names.index("right_knee")] = 0
    confidence[0, names.index("left_wrist")] = np.nan
    keypoints, certain, covariance = to_keypoints(points, confidence, "coco17")
    gone = [
        KEYPOINT_NAMES.index(n)
        for n in ("left_shoulder", "right_knee", "left_wrist", "neck", "head_top")
    ]
    assert (
        (certain[0, gone] == 0).all() and np.isnan(keypoints[0, gone]).all() and covariance is None
    )
    assert (np.delete(certain[0], gone) == 1).all() and np.isfinite(
        np.delete(keypoints[0], gone, 0)
    ).all()


def test_less_of_the_face_makes_the_head_less_certain():
    points = points_of(make_poses(5, seed=3), "coco17")
    spread = []
    for hidden in (
        (),
        ("left_ear",),
        ("left_ear", "right_ear"),
        ("left_ear", "right_ear", "left_eye", "right_eye"),
    ):
        confidence = np.array([[name not in hidden for name in CONVENTIONS["coco17"]]] * 5, float)
        keypoints, certain, covariance = to_keypoints(points, confidence, "coco17")
        assert (certain[:, HEAD_TOP] == 1).all() and np.isfinite(keypoints[:, HEAD_TOP]).all()
        spread.append(covariance[0, HEAD_TOP, 0, 0])
    assert spread[0] < spread[1] < spread[2] == spread[3]
    confidence[:, 0] = 0
    assert (to_keypoints(points, confidence, "coco17")[1][:, HEAD_TOP] == 0).all()


def test_covariances_travel_with_their_points():
    points, names = points_of(make_poses(3), "body25"), CONVENTIONS["body25"]
    given = np.arange(1.0, 26)[:, None, None] * np.eye(2) * np.ones((3, 1, 1, 1))
    covariance = to_keypoints(points, np.ones((3, 25)), "body25", given)[2]
    for k, name in enumerate(KEYPOINT_NAMES):
        if name in names:
            np.testing.assert_array_equal(covariance[:, k], given[:, names.index(name)])


def test_one_person_is_as_good_as_many():
    points = points_of(make_poses(3), "mediapipe33")
    many, one = (to_keypoints(p, np.ones(p.shape[:-1]), "mediapipe33") for p in (points, points[1]))
    for a, b in zip(many, one):
        np.testing.assert_array_equal(a[1], b)
    assert to_keypoints(np.zeros((0, 33, 2)), np.zeros((0, 33)), "mediapipe33")[0].shape == (
        0,
        14,
        2,
    )


def test_what_is_inferred_makes_lifted_people_no_worse():
    poses = make_poses(40, seed=21)
    joints = see(poses)[0]
    points = points_of(poses, "coco17") + 2.0 * np.random.default_rng(0).standard_normal(
        (40, 17, 2)
    )
    lifter = Lifter(small_prior(), LifterConfig(prior_scale=1.0))
    keypoints, confidence, covariance = to_keypoints(points, np.ones((40, 17)), "coco17")
    with_head = n_mpjpe(
        lifter.lift(keypoints, confidence, covariance, CAMERA).joints_m, joints
    ).mean()
    confidence[:, [NECK, HEAD_TOP]] = 0
    without = n_mpjpe(
        lifter.lift(keypoints, confidence, covariance, CAMERA).joints_m, joints
    ).mean()
    assert with_head < min(without, 0.1)


def test_errors_name_the_convention_and_the_number():
    with pytest.raises(ValueError, match="^coco17: expected 17 points.*got"):
        to_keypoints(np.zeros((2, 18, 2)), np.zeros((2, 18)), "coco17")
    with pytest.raises(ValueError, match="^body25: expected 25 points"):
        to_keypoints(np.zeros((25, 2)), np.zeros(24), "body25")
    with pytest.raises(
        ValueError, match="^convention: expected one of lifting14, coco17.*got 'coco18'"
    ):
        to_keypoints(np.zeros((18, 2)), np.zeros(18), "coco18")
