# SPDX-License-Identifier: Apache-2.0
"""People who walk before a camera, and what a lifter would say of them: errors that stay, and
errors that are new in each frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lifting_ros.detection.detector import overlaps
from lifting_ros.estimator import Estimate, EstimatorConfig
from lifting_ros.geometry.camera import Camera
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT, KEYPOINT_TO_JOINT
from lifting_ros.types import Detection, JointStatus, Person, Skeleton2D, Skeleton3D

CAMERA = Camera(np.array([[700.0, 0, 640], [0, 700, 360], [0, 0, 1]]))
FLOOR_M, HIP_M = 1.2, 0.93  # the floor under the camera, the pelvis over the floor
_UP = np.array([0.0, -1.0, 0.0])


@dataclass(frozen=True)
class Errors:
    """Standard deviations of a lifter's errors: along the ray and across it, of what stays and of
    what is new in each frame."""

    root_range_stays_m: float = 0.25
    root_range_new_m: float = 0.08
    root_across_m: float = 0.015
    joint_range_m: float = 0.06
    joint_across_m: float = 0.03
    keypoint_px: float = 6.0
    new_share: float = 0.1
    """Of the variance of joints and keypoints."""


def straight(
    start: tuple[float, float], end: tuple[float, float], seconds: float, fps: float
) -> np.ndarray:
    """Path (F, 2) on the floor, x and z in metres."""
    amount = np.arange(round(seconds * fps))[:, None] / (seconds * fps - 1)
    return np.array(start) + amount * (np.array(end) - np.array(start))


def walk(path: np.ndarray, fps: float, phase: float = 0.0, stature: float = 1.75) -> np.ndarray:
    """Joints (F, 17, 3) in the optical frame of somebody who walks along a path (F, 2)."""
    step = np.gradient(path, axis=0) * fps
    speed = np.linalg.norm(step, axis=1, keepdims=True)
    ahead = np.insert(step / np.maximum(speed, 1e-6), 1, 0.0, axis=1)  # F, 3
    left = np.cross(_UP, ahead)
    angle = phase + 2 * np.pi * np.cumsum(speed[:, 0]) / fps / 1.4  # a double step is 1.4 m
    swing = 0.45 * np.minimum(speed[:, 0], 1.5) / 1.5

    def along(length: float, bend: np.ndarray) -> np.ndarray:
        return length * (np.sin(bend)[:, None] * ahead - np.cos(bend)[:, None] * _UP)

    joints = np.zeros((len(path), JOINT_COUNT, 3))
    joints[:, 7], joints[:, 8] = 0.25 * _UP, 0.50 * _UP
    joints[:, 9], joints[:, 10] = 0.60 * _UP + 0.10 * ahead, 0.75 * _UP + 0.03 * ahead
    for side, hip, shoulder in ((1, 4, 11), (-1, 1, 14)):
        leg, arm = side * swing * np.sin(angle), -side * swing * np.sin(angle)
        knee = 0.5 * swing * (1 + side * np.sin(angle + 0.9))
        joints[:, hip] = 0.12 * side * left
        joints[:, hip + 1] = joints[:, hip] + along(0.43, leg)
        joints[:, hip + 2] = joints[:, hip + 1] + along(0.43, leg - knee)
        joints[:, shoulder] = joints[:, 8] + 0.18 * side * left
        joints[:, shoulder + 1] = joints[:, shoulder] + along(0.29, arm)
        joints[:, shoulder + 2] = joints[:, shoulder + 1] + along(0.25, arm + 0.4)
    root = np.stack(
        [
            path[:, 0],
            np.full(len(path), FLOOR_M) - HIP_M * stature / 1.75 - 0.02 * np.cos(2 * angle),
            path[:, 1],
        ],
        -1,
    )
    return root[:, None] + joints * stature / 1.75


def lift(
    joints: np.ndarray, rng: np.random.Generator, errors: Errors = Errors(), metric: bool = True
) -> list[Person]:
    """One person as lifted in each frame, (F, 17, 3) -> F persons; the covariances are those of the
    errors."""
    frames, e = len(joints), errors
    root, relative = joints[:, 0], joints - joints[:, :1]
    ray = root / np.linalg.norm(root, axis=-1, keepdims=True)
    along, across = (
        ray[:, :, None] * ray[:, None],
        np.eye(3) - ray[:, :, None] * ray[:, None],
    )  # F, 3, 3
    stays, new = (
        e.root_range_stays_m * rng.standard_normal(),
        e.root_range_new_m * rng.standard_normal((frames, 1)),
    )
    seen_root = (
        root
        + ray * (stays + new)
        + np.einsum("fab,fb->fa", across, e.root_across_m * rng.standard_normal((frames, 3)))
    )
    spread = (
        e.joint_range_m * along + e.joint_across_m * across
    )  # F, 3, 3: the square root of the covariance
    amounts = np.sqrt(1 - e.new_share) * rng.standard_normal((1, JOINT_COUNT, 3))
    amounts = amounts + np.sqrt(e.new_share) * rng.standard_normal((frames, JOINT_COUNT, 3))
    off = np.einsum("fab,fjb->fja", spread, amounts)
    off[:, 0] = 0.0
    covariance = np.repeat((spread @ spread)[:, None], JOINT_COUNT, 1)
    covariance[:, 0] = 0.0
    root_covariance = (
        e.root_range_stays_m**2 + e.root_range_new_m**2
    ) * along + e.root_across_m**2 * across
    pixels = CAMERA.project(joints[:, list(KEYPOINT_TO_JOINT)])
    stays, new = rng.standard_normal((1, KEYPOINT_COUNT, 2)), rng.standard_normal(pixels.shape)
    pixels = pixels + e.keypoint_px * (
        np.sqrt(1 - e.new_share) * stays + np.sqrt(e.new_share) * new
    )
    place = seen_root if metric else np.zeros_like(root)
    return [
        person(
            pixels[f],
            e.keypoint_px,
            place[f] + relative[f] + off[f],
            place[f],
            covariance[f],
            root_covariance[f],
            metric,
        )
        for f in range(frames)
    ]


def person(  # noqa: PLR0913 - the fields of a person
    pixels,
    keypoint_px,
    joints,
    root,
    covariance,
    root_covariance,
    metric,
) -> Person:
    """A person who is not tracked, all of whose keypoints are seen."""
    box = np.concatenate([pixels.min(0), pixels.max(0)])
    flat = Skeleton2D(
        pixels,
        np.ones(KEYPOINT_COUNT),
        np.tile(keypoint_px**2 * np.eye(2), (KEYPOINT_COUNT, 1, 1)),
        box,
        0.9,
    )
    status = np.full(JOINT_COUNT, JointStatus.OBSERVED, np.uint8)
    root_covariance = root_covariance if metric else np.full((3, 3), np.nan)
    pose = Skeleton3D(
        joints,
        root,
        covariance,
        root_covariance,
        np.ones(JOINT_COUNT),
        status,
        0.0,
        metric,
        joints[None].copy(),
        np.ones(1),
    )
    return Person(0, 0.0, flat, pose, np.full((JOINT_COUNT, 3), np.nan))


def visible(crowd: list[np.ndarray], hidden: float = 0.5) -> np.ndarray:
    """(N, F) whether each of the walkers (F, 17, 3) is found: less than `hidden` of its keypoints
    are behind somebody nearer."""
    pixels = np.stack(
        [CAMERA.project(joints[:, list(KEYPOINT_TO_JOINT)]) for joints in crowd]
    )  # N, F, 14, 2
    depth = np.stack([joints[:, 0, 2] for joints in crowd])
    centre, height = pixels.mean(2), np.ptp(pixels[..., 1], axis=2)
    found = np.ones(depth.shape, bool)
    for n in range(len(crowd)):
        for other in range(len(crowd)):
            inside = np.abs(pixels[n] - centre[other][:, None]) < height[other][
                :, None, None
            ] * np.array([0.14, 0.55])
            found[n] &= (inside.all(-1).mean(-1) < hidden) | (depth[other] >= depth[n])
    return found


def crossing(
    rng: np.random.Generator, count: int, seconds: float = 4.0, fps: float = 30.0
) -> list[np.ndarray]:
    """Walkers (F, 17, 3) whose ways cross before the camera: side by side, towards each other, at
    angles."""
    crowd = []
    for n in range(count):
        side, depth = (-1) ** n, rng.uniform(3.0, 6.0)
        start, end = (
            (-side * rng.uniform(1.2, 2.2), depth),
            (side * rng.uniform(1.2, 2.2), depth + rng.uniform(-1.5, 1.5)),
        )
        bend = rng.uniform(-0.4, 0.4) * np.sin(np.pi * np.linspace(0, 1, round(seconds * fps)))
        path = straight(start, end, seconds, fps)
        crowd.append(
            walk(
                path + bend[:, None] * np.array([0.0, 1.0]),
                fps,
                rng.uniform(0, 6.28),
                rng.uniform(1.6, 1.9),
            )
        )
    return crowd


def frames_of(
    crowd: list[np.ndarray],
    rng: np.random.Generator,
    missed: float = 0.03,
    alarms: float = 0.02,
    errors: Errors = Errors(),
    metric: bool = True,
) -> tuple[list[list[Person]], list[list[int]]]:
    """Persons found in each frame, in an order that says nothing, and who each is: the index of the
    walker, -1 for a false alarm."""
    lifted, found = [lift(joints, rng, errors, metric) for joints in crowd], visible(crowd)
    found &= rng.random(found.shape) >= missed
    persons, names = [], []
    for f in range(len(crowd[0])):
        there = [(lifted[n][f], n) for n in range(len(crowd)) if found[n, f]]
        if rng.random() < alarms:
            ghost = walk(
                straight(
                    (x := rng.uniform(-2, 2), z := rng.uniform(3, 7)), (x + 0.1, z), 0.1, 30.0
                ),
                30.0,
            )
            there.append((lift(ghost, rng, errors, metric)[0], -1))
        order = rng.permutation(len(there))
        persons.append([there[i][0] for i in order])
        names.append([there[i][1] for i in order])
    return persons, names


CROP_OVERLAP = 0.1
"""Least overlap (IoU) of a crop's box with a person's in which the person is found."""


def numbered_image(number: int, size: tuple[int, int] = (8, 8)) -> np.ndarray:
    """An image of `size` (w, h) that tells a WalkersEstimator which frame it is."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[0, 0, 0] = number % 256
    image[0, 0, 1] = number // 256
    return image


def number_of(image: np.ndarray) -> int:
    """The number of a `numbered_image`."""
    return int(image[0, 0, 0]) + 256 * int(image[0, 0, 1])


class WalkersEstimator:
    """Stands for `PoseEstimator` on frames of walkers.

    The detector finds everybody in a frame. A crop finds the person whose box fits it best.
    """

    def __init__(self, frames: list[list[Person]], config: EstimatorConfig):
        self.frames = frames
        self.config = config
        self.detected: list[int] = []
        """Numbers of the frames in which the detector ran."""
        self.followed: list[int] = []
        """Numbers of the frames in which persons were looked for in given places."""
        self.searched: list[int] = []
        """Numbers of the frames that the detector saw beside others."""

    def detect(self, image) -> list[Detection]:
        number = number_of(image)
        self.searched.append(number)
        skeletons = [person.skeleton_2d for person in self.frames[number]]
        return [Detection(skeleton.box_px, 0.7) for skeleton in skeletons]

    def estimate(self, image, camera=None, up=None, depth=None, detections=None) -> Estimate:
        number = number_of(image)
        persons = self.frames[number]
        if detections is None:
            self.detected.append(number)
            return Estimate(tuple(persons), {"detect": 0.002, "network": 0.001})

        self.followed.append(number)
        boxes = np.array([person.skeleton_2d.box_px for person in persons]).reshape(-1, 4)
        found = []
        for detection in detections:
            fits = overlaps(detection.box_px, boxes)
            if fits.max(initial=0.0) >= CROP_OVERLAP:
                found.append(int(fits.argmax()))
        chosen = [persons[index] for index in sorted(set(found))]
        return Estimate(tuple(chosen), {"network": 0.001}, detected=False)
