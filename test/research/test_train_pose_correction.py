# SPDX-License-Identifier: Apache-2.0
"""Training of the pose correction: what answers are compared with, what is learnt, and that it
resumes."""

import dataclasses

import numpy as np
import pytest
import torch
from people import CAMERA, make_poses, see, small_prior

from lifting_ros.estimator import EstimatorConfig
from lifting_ros.geometry.camera import Camera
from lifting_ros.lifting.corrected_lifter import CorrectedLifter
from lifting_ros.lifting.lifting import Lifter
from lifting_ros.lifting.pose_correction import (
    MOVED,
    PoseCorrection,
)
from lifting_ros.lifting.request import UP, Keypoints
from lifting_ros.research.datasets.found_people import FoundPeople
from lifting_ros.research.datasets.pictured import picture
from lifting_ros.research.training import train_pose_correction as training
from lifting_ros.research.training.train_pose_correction import (
    NOISE,
    CorrectionRows,
    Lifted,
    PoseCorrectionTrainConfig,
    compare,
    joined,
    mixed_batches,
    rows_of_people,
    rows_of_pictures,
    train_pose_correction,
)
from lifting_ros.skeleton import JOINT_FLIP, KEYPOINT_TO_JOINT, limb_lengths

LIFTER = Lifter(small_prior())
RECIPE = PoseCorrectionTrainConfig(samples=64 * 150, batch=64, width=32, dropout=0.0, doubt=1.0)
SHORT = dataclasses.replace(RECIPE, samples=64 * 20)


def rows(count: int = 300, seed: int = 0) -> CorrectionRows:
    return rows_of_pictures(LIFTER, picture(make_poses(count, seed=seed), seed), seed)


def seen_by(camera, count: int = 6) -> Lifted:
    joints, keypoints = see(make_poses(count, seed=4, yaw=True))
    covariance = np.tile(4 * np.eye(2), (count, 14, 1, 1))
    seen = Keypoints(keypoints, np.ones((count, 14)), covariance)
    return Lifted(seen, camera, np.tile(UP, (count, 1)), None, joints)


def people(count: int = 40) -> FoundPeople:
    """Found exactly where their joints are."""
    joints, keypoints = see(make_poses(count, seed=2, yaw=True))
    return FoundPeople(
        keypoints_px=keypoints,
        confidence=np.ones((count, 14)),
        covariance_px2=np.tile(4 * np.eye(2), (count, 14, 1, 1)),
        local=np.zeros((count, 14, 0)),
        joints_m=joints,
        matrix=np.tile(CAMERA.matrix, (count, 1, 1)),
        up=np.tile(UP, (count, 1)),
    )


@pytest.fixture
def nothing_beside(monkeypatch):
    """A network without depth cue and joint offsets."""
    for name in ("make_depth_cue", "make_joint_offsets"):
        monkeypatch.setattr(training, name, lambda *_: None)


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_what_the_answer_misses_makes_it_the_truth():
    """The error in view frames, divided by the size, leads from the answer to the truth."""
    asked = seen_by(CAMERA)
    found = compare(LIFTER, asked, True)
    tensors = {"mean": np.zeros(152, np.float32), "std": np.ones(152, np.float32)}
    for row in range(len(asked.up)):
        layers = {"first": (4, 152), "second": (4, 4), "out": (64, 4)}
        for layer, shape in layers.items():
            tensors[f"{layer}.weight"] = np.zeros(shape, np.float32)
            tensors[f"{layer}.bias"] = np.zeros(shape[0], np.float32)
        tensors["out.bias"][: 3 * MOVED] = found.missed[row].ravel()
        alone = Keypoints(*(values[row : row + 1] for values in asked.seen))
        poses = CorrectedLifter(LIFTER, PoseCorrection(tensors)).lift(*alone, CAMERA)

        plain = LIFTER.lift(*alone, CAMERA)
        size = np.sqrt((limb_lengths(plain.joints_m[0]) ** 2).sum())
        truth = asked.joints_m[row]
        truth = truth * size / np.sqrt((limb_lengths(truth) ** 2).sum())
        answer = poses.joints_m[0]
        np.testing.assert_allclose(answer - answer[0], truth - truth[0], atol=1e-4)

        # whitened, the error is that in the answer's covariance
        error = (truth - truth[0]) - (plain.joints_m[0] - plain.joints_m[0, 0])
        inverse = np.linalg.inv(plain.covariance_m2[0, 1:])
        expected = np.einsum("ja,jab,jb->j", error[1:], inverse, error[1:])
        white = (found.whiten[row] @ found.missed[row][..., None])[..., 0]
        np.testing.assert_allclose((white**2).sum(-1), expected, rtol=2e-3)


def test_virtual_pictures_are_lifted_as_they_are():
    """With exact keypoints, the answers are near the truth, the right way up or not."""
    pictures = picture(make_poses(200, seed=1), 1)
    exact = rows_of_pictures(LIFTER, pictures, 1, NOISE._replace(exact=1.0, half=0.0))
    assert len(exact.inputs) == 200
    assert np.linalg.norm(exact.missed, axis=-1).mean() < 0.08
    noisy = rows_of_pictures(LIFTER, pictures, 1)
    assert (
        np.linalg.norm(noisy.missed, axis=-1).mean() > np.linalg.norm(exact.missed, axis=-1).mean()
    )


def test_found_people_are_seen_alike_by_the_virtual_camera(nothing_beside):
    """The same rays and noise in another camera give the same answers; mirrored people mirrored
    ones."""
    config = dataclasses.replace(RECIPE, versions=2)
    found = rows_of_people(LIFTER, people(), EstimatorConfig(), config)
    everybody = people()
    seen = Keypoints(everybody.keypoints_px, everybody.confidence, everybody.covariance_px2)
    asked = Lifted(seen, CAMERA, everybody.up, None, everybody.joints_m)
    expected = compare(LIFTER, asked, True)
    np.testing.assert_allclose(found.missed[:40], expected.missed, atol=2e-3)
    np.testing.assert_allclose(found.inputs[:40], expected.inputs, atol=2e-2)

    flip = [JOINT_FLIP[joint] - 1 for joint in range(1, MOVED + 1)]
    mirrored = found.missed[40:][:, flip] * [-1, 1, 1]
    np.testing.assert_allclose(mirrored, found.missed[:40], atol=2e-3)


def test_wide_and_tilted_cameras_are_turned_into_the_virtual_one(nothing_beside):
    """Keypoints so exact that the lifter's least noise counts, in a camera of another focal
    length that is tilted to the side."""
    wide = Camera(np.array([[500.0, 0, 300], [0, 500, 200], [0, 0, 1]]))
    joints_m = people().joints_m
    up = np.tile([0.2, -0.97, 0.1], (40, 1))
    everybody = people()._replace(
        keypoints_px=wide.project(joints_m[:, list(KEYPOINT_TO_JOINT)]),
        covariance_px2=np.tile(0.01 * np.eye(2), (40, 14, 1, 1)),
        matrix=np.tile(wide.matrix, (40, 1, 1)),
        up=up,
    )
    config = dataclasses.replace(RECIPE, versions=2)
    found = rows_of_people(LIFTER, everybody, EstimatorConfig(), config)
    seen = Keypoints(everybody.keypoints_px, everybody.confidence, everybody.covariance_px2)
    expected = compare(LIFTER, Lifted(seen, wide, up, None, joints_m), True)
    np.testing.assert_allclose(found.inputs[:40, :44], expected.inputs[:, :44], atol=1e-3)
    np.testing.assert_allclose(found.missed[:40], expected.missed, atol=5e-3)

    # Pitch and extent of mirrored people are the same
    np.testing.assert_allclose(found.inputs[40:, 42:44], found.inputs[:40, 42:44], atol=1e-3)
    flip = [JOINT_FLIP[joint] - 1 for joint in range(1, MOVED + 1)]
    mirrored = found.missed[40:][:, flip] * [-1, 1, 1]
    np.testing.assert_allclose(mirrored, found.missed[:40], atol=5e-3)


def test_later_versions_lack_keypoints(nothing_beside):
    config = dataclasses.replace(RECIPE, versions=4)
    found = rows_of_people(LIFTER, people(), EstimatorConfig(), config)
    certain = found.inputs[:, 28:42] > 0
    assert certain[:80].all() and not certain[80:].all()


def test_a_regular_error_is_learnt(tmp_path):
    """Truth and answer differ by a constant beside what the answer misses anyway."""
    pictures = rows(600)
    wrong = pictures._replace(missed=pictures.missed + np.float32([0.05, -0.1, 0.1]))
    longer = dataclasses.replace(RECIPE, samples=64 * 400)
    weights, errors = train_pose_correction(longer, wrong, None, tmp_path / "run")
    assert errors["distance"] < 0.6 * errors["distance before"]
    assert 30 < errors["inside 50 %"] < 75 and errors["inside 50 % before"] < 20
    assert set(weights) == {
        *(f"{layer}.{kind}" for layer in ("first", "second", "out") for kind in ("weight", "bias")),
        "mean",
        "std",
    }


def test_doubt_widens_alone_and_zero_leaves_covariances(tmp_path):
    data = rows()
    plain, _ = train_pose_correction(SHORT, data, None, tmp_path / "plain")
    wide = dataclasses.replace(SHORT, doubt=2.0)
    weights, _ = train_pose_correction(wide, data, None, tmp_path / "wide")
    wider = weights["out.bias"] - plain["out.bias"]
    np.testing.assert_allclose(wider[3 * MOVED :], np.log(2.0), atol=1e-5)
    np.testing.assert_allclose(wider[: 3 * MOVED], 0.0, atol=1e-7)

    none = dataclasses.replace(SHORT, doubt=0.0)
    weights, _ = train_pose_correction(none, data, None, tmp_path / "none")
    assert not weights["out.weight"][3 * MOVED :].any() and not weights["out.bias"][48:].any()
    assert weights["out.weight"][: 3 * MOVED].any()


def test_batches_mix_pictures_and_found_people():
    data = rows(60)
    pictures = data._replace(missed=0 * data.missed)
    found = data._replace(missed=0 * data.missed + 1)
    config = dataclasses.replace(RECIPE, found=0.25)
    for batch in list(mixed_batches(pictures, found, config, 147)):
        assert batch.missed[:, 0, 0].mean() == 0.25 and len(batch.inputs) == 64
    assert len(list(mixed_batches(pictures, found, config, 147))) == 3


def test_a_resumed_training_ends_as_an_uninterrupted_one(tmp_path, monkeypatch):
    data = rows()
    whole, _ = train_pose_correction(RECIPE, data, None, tmp_path / "whole", every=50)

    class StopError(Exception):
        pass

    real = training.PoseCorrectionTrainer.train_step

    def step(self, batch: CorrectionRows):
        if self.step == 70:
            raise StopError
        return real(self, batch)

    with monkeypatch.context() as patch, pytest.raises(StopError):
        patch.setattr(training.PoseCorrectionTrainer, "train_step", step)
        train_pose_correction(RECIPE, data, None, tmp_path / "parts", every=50)
    resumed, _ = train_pose_correction(RECIPE, data, None, tmp_path / "parts", every=50)
    assert same(whole, resumed)


def test_answers_far_from_the_truth_are_left_out():
    asked = seen_by(CAMERA)
    turned = asked.joints_m * [-1, -1, 1]  # upside down, which the keypoints are not
    assert not len(compare(LIFTER, asked._replace(joints_m=turned), True).inputs)
    both = joined([compare(LIFTER, asked, True), compare(LIFTER, asked, False)])
    assert len(both.inputs) == 2 * len(asked.up)
