# SPDX-License-Identifier: Apache-2.0
"""Errors of the 2D side are measured as they were made, and carried over whole."""

import numpy as np
import pytest
from people import make_poses

from lifting_ros.errors import DataError
from lifting_ros.research.datasets import keypoint_errors as module
from lifting_ros.research.datasets.keypoint_errors import (
    LEAST_ROWS,
    VIEWS,
    KeypointErrors,
    carry_over,
    extents,
    measure_errors,
    open_errors,
    read_errors,
    save_errors,
    view_of,
)
from lifting_ros.research.datasets.pictured import HALVES, Disturbance, disturb
from lifting_ros.research.datasets.virtual_cameras import make_views
from lifting_ros.skeleton import KEYPOINT_FLIP, KEYPOINT_NAMES
from lifting_ros.types import Skeleton2D

WRIST = KEYPOINT_NAMES.index("right_wrist")


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return make_views(make_poses(40), 1, 0).keypoints_px


class Estimator:
    """Answers each picture with the keypoints that it is told, moved by `error`."""

    def __init__(self, true: np.ndarray, error: np.ndarray, swap: bool = False):
        self.true, self.error, self.swap = true, error, swap
        self.detector = self
        self.number = -1

    def detect(self, image):
        self.number += 1
        return []

    def find_keypoints(self, image, detections):
        true = self.true[self.number]
        answer = true[list(KEYPOINT_FLIP)] if self.swap else true
        answer = answer + self.error
        box = np.concatenate([true.min(0), true.max(0)])
        covariance = np.tile(9.0 * np.eye(2), (14, 1, 1))
        far = Skeleton2D(answer + 1e4, np.ones(14), covariance, box + 1e4, 0.9)
        return [far, Skeleton2D(answer, np.full(14, 0.5), covariance, box, 0.8)]


def test_errors_are_those_of_the_answer_to_the_person(points):
    error = np.zeros((14, 2))
    error[WRIST] = (7, -4)
    found = measure_errors(Estimator(points, error), np.zeros((len(points), 2, 2, 3)), points)
    scale = extents(points)
    for got, extent in zip(found.offset, scale):
        np.testing.assert_allclose(got * extent, error, atol=1e-3)
    np.testing.assert_allclose(found.deviation * scale[:, None], 3.0, rtol=1e-5)
    assert (found.confidence == 0.5).all() and not found.swapped.all(1).any()


def test_exchanged_sides_are_no_large_errors(points):
    apart = np.linalg.norm(points - points[:, list(KEYPOINT_FLIP)], axis=-1)
    wide = points[(apart + 100 * (apart == 0)).min(1) > 5]
    assert len(wide) > 5
    estimator = Estimator(wide, np.full((14, 2), 0.5), swap=True)
    found = measure_errors(estimator, np.zeros((len(wide), 2, 2, 3)), wide)
    paired = [k for k in range(14) if KEYPOINT_FLIP[k] != k]
    assert found.swapped[:, paired].all()
    assert np.abs(found.offset).max() * extents(wide).max() < 1.5


def test_nobody_found_is_told(points):
    estimator = Estimator(points + 1e5, np.zeros((14, 2)))
    with pytest.raises(DataError, match="nobody was found"):
        measure_errors(estimator, np.zeros((2, 2, 2, 3)), points[:2])


def errors_with(count: int = 200, **values) -> KeypointErrors:
    """Errors that are nothing but for what is given."""
    nothing = KeypointErrors(
        offset=np.zeros((count, 14, 2)),
        swapped=np.zeros((count, 14), bool),
        confidence=np.ones((count, 14)),
        deviation=np.full((count, 14), 0.1),
        view=np.arange(count) % VIEWS,
    )
    return nothing._replace(**values)


def test_errors_grow_with_the_person(points):
    offset = np.zeros((200, 14, 2))
    offset[:, WRIST] = (0.5, 0.25)
    carried = carry_over(errors_with(offset=offset), points, np.random.default_rng(0))
    moved = carried.points - points
    assert not np.delete(moved, WRIST, 1).any()
    np.testing.assert_allclose(moved[:, WRIST], extents(points)[:, None] * [0.5, 0.25])
    np.testing.assert_allclose(carried.deviation, 0.1 * extents(points)[:, None].repeat(14, 1))


def test_errors_stay_with_their_view(points):
    views = np.arange(600) % VIEWS
    confidence = np.repeat(views[:, None] / 10, 14, 1)
    errors = errors_with(600, view=views, confidence=confidence)
    carried = carry_over(errors, points, np.random.default_rng(0))
    np.testing.assert_allclose(carried.confidence[:, 0], view_of(points) / 10)
    assert len(np.unique(view_of(points))) >= 3


def test_rare_view_uses_the_errors_of_all(points):
    rare = view_of(points)[0]
    views = np.where(np.arange(600) < LEAST_ROWS - 1, rare, (rare + 1) % VIEWS)
    confidence = np.repeat((views[:, None] == rare) * 1.0, 14, 1)
    errors = errors_with(600, view=views, confidence=confidence)
    same = np.repeat(points[:1], 400, 0)
    carried = carry_over(errors, same, np.random.default_rng(0))
    assert 0 < carried.confidence[:, 0].mean() < 0.2


def test_errors_are_measured_once_for_one_detector(points, tmp_path, monkeypatch):
    people, work = tmp_path / "people", tmp_path / "work"
    people.mkdir()
    views = make_views(make_poses(4), 1, 0)
    matrix = np.repeat(views.camera.matrix[None], 4, 0)
    np.savez(people / "labels.npz", joints_camera_m=views.joints_m, K=matrix)
    np.save(people / "images.npy", np.zeros((4, 8, 8, 3), np.uint8))
    network, detector = tmp_path / "network", tmp_path / "detector"
    network.write_bytes(b"n")
    detector.write_bytes(b"d")
    made = []

    def make(config):
        made.append(config)
        return Estimator(views.keypoints_px, np.zeros((14, 2)))

    monkeypatch.setattr(module, "network_and_detector", lambda config: (network, detector))
    monkeypatch.setattr(module, "PoseEstimator", make)
    first, again = (open_errors(people, work) for _ in range(2))
    assert len(made) == 1 and np.array_equal(first.offset, again.offset)
    assert np.abs(first.offset).max() < 1e-3  # K projects the joints to where they were found

    detector.write_bytes(b"another")
    open_errors(people, work)
    assert len(made) == 2


def test_folder_without_people_is_one_line(tmp_path):
    with pytest.raises(DataError, match="not a pack of rendered people"):
        open_errors(tmp_path, tmp_path)


def test_view_turns_with_the_person(points):
    behind = points * [-1, 1]  # the same places, the other side of the person
    pairs = set(zip(view_of(points), view_of(behind)))
    assert pairs <= {(a + c, b + c) for a, b in ((0, 2), (2, 0), (1, 1)) for c in (0, 3)}
    assert (view_of(points[:, :] * [1, -1]) >= 3).mean() > 0.8


def test_file_comes_back(tmp_path):
    errors = errors_with()
    save_errors(tmp_path / "e.npz", errors)
    back = read_errors(tmp_path / "e.npz")
    assert all(np.array_equal(a, b) for a, b in zip(errors, back))


def test_real_errors_and_half_bodies_are_as_frequent_as_asked(points):
    rays = np.concatenate([make_views(make_poses(40), 1, s).joints_m for s in range(50)])
    rays = rays[..., :2] / rays[..., 2:]
    confidence = np.ones((200, 14))
    confidence[:, WRIST] = 0.0
    real = errors_with(confidence=confidence, deviation=np.full((200, 14), 7.0))
    how = Disturbance(exact=0.2, noise_px=0.0, missing=0, real=0.5, errors=real)
    seen = disturb(rays, np.random.default_rng(0), how)
    marked = (seen.deviation > 0.2).all(1)
    assert marked.mean() == pytest.approx(0.8 * 0.5, abs=0.04)
    assert (seen.visible[:, WRIST] == ~marked).all()

    seen = disturb(rays, np.random.default_rng(0), Disturbance(1.0, 0.0, 0, half=0.3))
    cut = ~seen.visible.all(1)
    assert cut.mean() == pytest.approx(0.3, abs=0.03)
    kinds = {tuple(row) for row in seen.visible[cut]}
    assert len(kinds) == len(set(HALVES))
    assert seen.visible.sum(1).min() >= 4
