# SPDX-License-Identifier: Apache-2.0
"""Rendered people through the whole pipeline: detector, network and lifter, with the picture's
camera and up."""

from __future__ import annotations

import numpy as np

from lifting_ros.detection.detector import overlaps
from lifting_ros.estimator import PoseEstimator
from lifting_ros.geometry.camera import Camera
from lifting_ros.io.progress import Progress
from lifting_ros.research.datasets.keypoints2d import keypoint_box
from lifting_ros.research.datasets.matching import OVERLAP
from lifting_ros.research.evaluation.coverage import Covered
from lifting_ros.research.evaluation.lifting import METRICS
from lifting_ros.research.evaluation.people_groups import groups_of
from lifting_ros.research.evaluation.synthetic_people import EXACT_NOISE_PX, RenderedPeople
from lifting_ros.skeleton import JOINT_NAMES, KEYPOINT_TO_JOINT, ROOT
from lifting_ros.types import JointStatus, Person, Skeleton3D


def estimate_rendered(estimator: PoseEstimator, people: RenderedPeople) -> Covered:
    """The main person of each picture as the estimator finds it, about its root.

    Found is a person whose box has an overlap (IoU) of OVERLAP or more with that of the labelled
    keypoints. The root does not count: it is the origin. The errors of the same people lifted from
    all their true keypoints stand beside: what the lifting adds.
    """
    skeletons = []
    truths = []
    exact = []
    for index in Progress(range(len(people.rows)), desc="estimating", unit="picture", delay=2):
        image = np.asarray(people.pack.images[people.rows[index]])
        camera = Camera(people.matrix[index])
        persons = estimator.estimate(image, camera, people.up[index]).persons

        labelled = keypoint_box(people.pack.keypoints[people.rows[index]])
        person = matching_person(persons, labelled)
        if person is None or not np.isfinite(person.skeleton_3d.joints_m).all():
            continue
        skeletons.append(person.skeleton_3d)
        truths.append(people.joints_m[index])
        exact.append(lift_exactly(estimator, people.joints_m[index], camera, people.up[index]))

    covered = covered_by(skeletons, np.array(truths), len(people.rows))
    truth_m = np.array(truths).reshape(-1, len(JOINT_NAMES), 3)
    exact_m = np.array(exact).reshape(truth_m.shape)
    errors = {f"exact {name}": 1e3 * metric(exact_m, truth_m) for name, metric in METRICS.items()}
    return covered._replace(errors_mm=covered.errors_mm | errors, groups=groups_of(truth_m))


def lift_exactly(
    estimator: PoseEstimator, joints_m: np.ndarray, camera: Camera, up: np.ndarray
) -> np.ndarray:
    """Joints (17, 3) of a person, lifted from the true keypoints of joints (17, 3)."""
    keypoints_px = camera.project(joints_m[list(KEYPOINT_TO_JOINT)])[None]
    confidence = np.ones(keypoints_px.shape[:2])
    covariance_px2 = np.tile(EXACT_NOISE_PX**2 * np.eye(2), (*confidence.shape, 1, 1))
    return estimator.lifter.lift(keypoints_px, confidence, covariance_px2, camera, up).joints_m[0]


def matching_person(persons: tuple[Person, ...], box_px: np.ndarray) -> Person | None:
    """The person whose box overlaps one (4,) most; None where none does by OVERLAP."""
    if not persons:
        return None
    boxes = np.stack([person.skeleton_2d.box_px for person in persons])
    shared = overlaps(box_px, boxes)
    best = int(shared.argmax())
    return persons[best] if shared[best] >= OVERLAP else None


def covered_by(skeletons: list[Skeleton3D], truth_m: np.ndarray, sought: int) -> Covered:
    """Skeletons of N people beside their true joints (N, 17, 3), optical frame, metres."""
    count = len(skeletons)
    truth_m = truth_m.reshape(count, len(JOINT_NAMES), 3)
    joints_m = np.array([s.joints_m - s.root_m for s in skeletons]).reshape(truth_m.shape)
    status = np.array([s.status for s in skeletons], np.uint8).reshape(truth_m.shape[:2])
    covariance = np.array([s.covariance_m2 for s in skeletons]).reshape(*truth_m.shape, 3)
    status[:, ROOT] = JointStatus.INVALID

    return Covered(
        error_m=joints_m - (truth_m - truth_m[:, [ROOT]]),
        covariance_m2=covariance,
        status=status,
        names=JOINT_NAMES,
        errors_mm={name: 1e3 * metric(joints_m, truth_m) for name, metric in METRICS.items()},
        sought=sought,
    )
