# SPDX-License-Identifier: Apache-2.0
"""End to end on people whose joints are known: stick figures before cameras, with a network that
answers with the truth or far from it."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from people import CAMERA, make_poses, see, small_prior
from small_networks import LITE, small_network

from lifting_ros.estimator import EstimatorConfig
from lifting_ros.keypoints.inference import NetworkRunner
from lifting_ros.lifting.lifting import Lifter
from lifting_ros.research.datasets.crops import true_crop
from lifting_ros.research.evaluation import synthetic_people
from lifting_ros.research.evaluation.synthetic_people import (
    TITLES,
    LiftedCrops,
    Observed,
    crop_cameras,
    error_rows,
    exact,
    lift,
    read_rendered,
    synthetic_tables,
)

COUNT = 12


@pytest.fixture
def folder(tmp_path):
    """A pack of the format of the rendered ones, with windows of noise."""
    joints, keypoints = see(make_poses(COUNT, seed=3))
    labelled = np.ones((COUNT, 14, 1))
    labelled[2, 4:6] = 0
    np.save(
        tmp_path / "images.npy",
        np.random.default_rng(0).integers(0, 255, (COUNT, 480, 640, 3), np.uint8),
    )
    np.savez(
        tmp_path / "labels.npz",
        keypoints=np.concatenate([keypoints, np.ones((COUNT, 14, 1))], -1).astype(np.float32)
        * labelled,
        joints_camera_m=joints.astype(np.float32),
        K=np.tile(CAMERA.matrix, (COUNT, 1, 1)),
        up=np.tile([0.0, -1, 0], (COUNT, 1)),
        validation=np.ones(COUNT, bool),
    )
    return tmp_path


def test_the_crop_has_its_own_camera(folder):
    """The true joints, seen through it, lie on the labels of the crop; the principal point is far
    from the middle."""
    people = read_rendered(folder, 100)
    cameras = crop_cameras(people, 128)
    keypoints, confidence, _ = exact(people, cameras)
    for n in (0, 2, 11):
        labels = true_crop(people.pack.images[n], people.pack.keypoints[n], 128)[1]
        seen = labels[:, 2] > 0
        np.testing.assert_allclose(keypoints[n][seen], labels[seen, :2], atol=0.01)
    assert confidence.shape == (COUNT, 14) and cameras[0].matrix[0, 0] != CAMERA.matrix[0, 0]


def test_exact_keypoints_are_lifted_well_and_noise_hurts(folder):
    people, lifter = read_rendered(folder, 100), Lifter(small_prior())
    cameras = crop_cameras(people, 128)
    keypoints, confidence, covariance = exact(people, cameras)
    noisy = keypoints + np.random.default_rng(0).normal(0, 8, keypoints.shape)
    given = {
        "exact": Observed(keypoints, confidence, covariance),
        "noisy": Observed(noisy, confidence, 128 * covariance),
    }
    labels = np.concatenate([keypoints, confidence[..., None]], -1)
    results = {}
    for name, observed in given.items():
        joints = lift(lifter, observed, cameras, people.up)
        results[name] = LiftedCrops(joints, observed.keypoints_px, labels)
    rows = error_rows(results, people.joints_m)
    assert (
        rows["exact"]["N-MPJPE"] < 110
        and rows["exact"]["px"] == 0
        and rows["exact"]["swapped %"] == 0
    )
    assert rows["noisy"]["PA-MPJPE"] > 1.1 * rows["exact"]["PA-MPJPE"] and rows["noisy"][
        "px"
    ] == pytest.approx(10, rel=0.2)
    assert rows["noisy"]["lifted %"] == 100


def test_rows_are_of_the_same_persons():
    """A row that lifts only the easy ones must not look better for it."""
    truth = make_poses(4)
    worse = truth.copy()
    worse[0] += np.random.default_rng(0).normal(0, 0.5, (17, 3))
    some = truth.copy()
    some[0] = np.nan
    keypoints = np.zeros((4, 14, 2))
    labels = np.ones((4, 14, 3))  # all in one point: no torso, no PCK
    all_lifted = LiftedCrops(worse, keypoints, labels)
    rows = error_rows({"all": all_lifted, "some": LiftedCrops(some, keypoints, labels)}, truth)
    assert rows["all"]["MPJPE"] == rows["some"]["MPJPE"] == 0
    assert (
        np.isnan(rows["all"]["PCK"])
        and rows["all"]["lifted %"] == 100
        and rows["some"]["lifted %"] == 75
    )
    nobody = LiftedCrops(np.full_like(truth, np.nan), keypoints, labels)
    none = error_rows({"all": all_lifted, "none": nobody}, truth)
    assert np.isnan(none["all"]["MPJPE"]) and none["none"]["lifted %"] == 0


def test_networks_are_compared_on_commonly_lifted_people(folder, monkeypatch, narrow_trunk):
    """The second network lifts nobody of the first half: the first one's row is of the second half,
    too."""
    torch.manual_seed(0)
    config = dataclasses.replace(LITE, fusion=False)
    runner, people = (
        NetworkRunner(small_network(config), torch.device("cpu")),
        read_rendered(folder, 100),
    )
    calls = []

    def lifts(lifter, *_):
        calls.append(lifter)
        answer = people.joints_m.copy()
        answer[: COUNT // 2, 3] += 1.0 if lifter == "first" else np.nan
        return answer

    monkeypatch.setattr(synthetic_people, "lift", lifts)
    of = {
        name: SimpleNamespace(network=runner, lifter=name, config=EstimatorConfig())
        for name in ("first", "second")
    }
    alone, both = (
        synthetic_tables({n: of[n] for n in names}, people)[TITLES[0]]
        for names in (("first",), ("first", "second"))
    )
    assert (
        alone["stage 2, f"]["MPJPE"] > 10
        and both["stage 2, f"]["MPJPE"] == both["stage 2, f, second"]["MPJPE"] == 0
    )
    assert (
        both["stage 2, f, second"]["lifted %"] == 50 and both["exact keypoints"]["lifted %"] == 100
    )
    assert "exact keypoints, second" not in both


def test_other_packs_are_refused(folder, tmp_path):
    assert len(read_rendered(folder, 5).rows) == 5 and read_rendered(folder, 5).joints_m.shape == (
        5,
        17,
        3,
    )
    with np.load(folder / "labels.npz") as labels:
        arrays = dict(labels)
    np.savez(folder / "labels.npz", **{k: v for k, v in arrays.items() if k != "up"})
    assert np.isnan(read_rendered(folder, 5).up).all()
    np.savez(folder / "labels.npz", **{k: v for k, v in arrays.items() if k != "K"})
    with pytest.raises(ValueError, match="not a pack of rendered people .*K is missing"):
        read_rendered(folder, 5)
    np.savez(folder / "labels.npz", **arrays | {"picture": np.arange(COUNT)})
    with pytest.raises(ValueError, match="expected windows around one main person each"):
        read_rendered(folder, 5)
    np.savez(folder / "labels.npz", **arrays | {"validation": np.arange(COUNT) > 0})
    with pytest.raises(
        ValueError, match="expected a pack of `lifting render --subjects validation`"
    ):
        read_rendered(folder, 5)
    np.savez(folder / "labels.npz", **arrays | {"keypoints": 0 * arrays["keypoints"]})
    with pytest.raises(ValueError, match="nobody is labelled"):
        read_rendered(folder, 5)
    with pytest.raises(ValueError, match="nowhere"):
        read_rendered(tmp_path / "nowhere", 5)
