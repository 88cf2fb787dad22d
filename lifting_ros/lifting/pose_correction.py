# SPDX-License-Identifier: Apache-2.0
"""What the mixture of PPCA leaves to a network: a correction of its answer.

The posterior of the prior (`lifting`) is linear in the keypoints around each mode, and its limbs
have average lengths. What it leaves of the error is partly predictable. A small network reads the
keypoints and the answer: the joints, their standard deviations, and how far their projections are
from the keypoints. It moves each joint about the root, and scales its covariance. The root stays
where it is, and the hypotheses move like the answer.

There are two kinds. That of the lifter ppca (`weights/ppca.safetensors`) has learnt from motion
capture seen by virtual cameras, and corrects keypoints of any origin. A keypoint network may have
one of its own in its weights file, which has also learnt from the people that the network finds.
A correction fits the prior that it was learnt for, and only that one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lifting_ros.compiled import compiled
from lifting_ros.io.checkpoint import read_section
from lifting_ros.lifting.dense import layer_shapes, layers_of, linear, read_tensors
from lifting_ros.lifting.encoding import INPUTS as ENCODED
from lifting_ros.lifting.encoding import extent_of, write_encoded
from lifting_ros.lifting.moments import PoseArrays
from lifting_ros.lifting.observation import NONE, Views
from lifting_ros.prior.ppca import MixturePPCA
from lifting_ros.skeleton import (
    JOINT_COUNT,
    JOINT_PARENTS,
    KEYPOINT_COUNT,
    KEYPOINT_TO_JOINT,
)
from lifting_ros.types import LiftedPoses

SECTION = "pose_correction"
"""Name of the correction in the header of a weights file."""

PREFIX = "pose_correction."
"""Beginning of the names of its tensors there."""

PRIOR = "prior"
"""What the section of the header calls the digest of the prior."""

LAYERS = ("first", "second", "out")
"""The linear layers."""

NAMES = (
    *(f"{layer}.{kind}" for layer in LAYERS for kind in ("weight", "bias")),
    "mean",
    "std",
)
"""Names of the tensors, without PREFIX; mean and std (INPUTS,) are those of the inputs in
the training."""

MOVED = JOINT_COUNT - 1
"""Joints that are moved: all but the root."""

INPUTS = ENCODED + 2 * KEYPOINT_COUNT + 5 * MOVED
"""Of the network: the encoded keypoints, their misfits, joints and standard deviations."""

OUTPUTS = 4 * MOVED
"""Per joint x, y, z, and the logarithm of the factor on the standard deviation."""

LEAST_SEEN = 4
"""Fewest keypoints of a person whose answer is corrected."""

MOST_UNUSUAL = 6.0
"""Bound on the inputs, in standard deviations of those in the training."""

_SHAPE = ENCODED + 2 * KEYPOINT_COUNT
"""First input of the shape; before it are the misfits."""

_LEAST_SIZE_M = 1e-6
"""Of a person, so that nothing is divided by zero."""

_LEAST_STD = 1e-3
"""Added to the standard deviations, which are divided by the person's size."""

_MOST_MISFIT = 1.0
"""Bound on the misfits, which are divided by the extent of the keypoints."""

_PARENTS = np.array(JOINT_PARENTS)
_JOINT = np.array(KEYPOINT_TO_JOINT)


class PoseCorrection:
    """Corrects answers of the prior. Thread-safe."""

    def __init__(self, tensors: Mapping[str, np.ndarray]):
        """tensors: by NAMES, float32."""
        self._layers = layers_of(tensors, LAYERS)
        self._mean = tensors["mean"]
        self._std = tensors["std"]

    def correct(
        self, poses: LiftedPoses, views: Views, metric: bool, which: np.ndarray
    ) -> LiftedPoses:
        """The poses with those persons corrected who are chosen by `which` (N,) bool.

        views: the persons in view frames; metric: whether the camera is known.
        """
        if not which.any():
            return poses

        inputs, size_m = describe(poses, views, metric)
        moved_m = np.zeros((len(which), MOVED, 3))
        factor = np.ones((len(which), MOVED))
        moved, log_factor = self.of_inputs(inputs[which])
        moved_m[which] = size_m[which, None, None] * moved
        factor[which] = np.exp(2 * log_factor)

        arrays = {name: values.copy() for name, values in vars(poses).items()}
        _apply(moved_m, factor, views.frame, PoseArrays(**arrays))
        return LiftedPoses(**arrays)

    def of_inputs(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far joints move (n, 16, 3), in view frames and divided by the size, and log factors
        (n, 16) on their standard deviations; inputs: of `describe`."""
        usual = (inputs - self._mean) / self._std
        bounded = np.clip(usual, -MOST_UNUSUAL, MOST_UNUSUAL).astype(np.float32)
        first = np.maximum(self._layer("first", bounded), 0)
        second = np.maximum(self._layer("second", first), 0)
        out = self._layer("out", second).astype(np.float64)
        return out[:, : 3 * MOVED].reshape(-1, MOVED, 3), out[:, 3 * MOVED :]

    def _layer(self, name: str, values: np.ndarray) -> np.ndarray:
        return linear(values, self._layers[name])


def can_correct(views: Views) -> np.ndarray:
    """(V,) bool: the persons who can be lifted and have LEAST_SEEN keypoints or more."""
    return (views.level != NONE) & (views.seen.sum(1) >= LEAST_SEEN)


def describe(poses: LiftedPoses, views: Views, metric: bool) -> tuple[np.ndarray, np.ndarray]:
    """The network's inputs (N, INPUTS), float32, of N persons, and their sizes (N,) in m: the root
    of the sum of squared limb lengths. Without meaning for persons who are INVALID."""
    count = len(poses.joints_m)
    inputs = np.empty((count, INPUTS), np.float32)
    size_m = np.empty(count)
    _describe(views, metric, poses.joints_m, poses.covariance_m2, inputs, size_m)
    return inputs, size_m


@compiled
def _describe(
    views,
    metric,
    joints_m,
    covariance_m2,
    inputs,
    size_m,
):
    """Write inputs (N, INPUTS) and sizes (N,)."""
    write_encoded(views, metric, inputs)
    joints = np.empty((JOINT_COUNT, 3))
    root = np.empty(3)
    for n in range(len(joints_m)):
        frame = views.frame[n]
        size_m[n] = _turn(frame, joints_m[n], root, joints)
        misfits = inputs[n, ENCODED:_SHAPE]
        _write_misfits(views.rays[n], views.seen[n], metric, root, joints, misfits)
        _write_shape(frame, joints, covariance_m2[n], size_m[n], inputs[n, _SHAPE:])


@compiled
def _turn(
    frame,
    joints_m,
    root,
    joints,
):
    """Write the root (3,) and the joints about it (17, 3) in the view frame; return their size."""
    for a in range(3):
        root[a] = 0.0
        for b in range(3):
            root[a] += frame[a, b] * joints_m[0, b]
        for joint in range(JOINT_COUNT):
            joints[joint, a] = 0.0
            for b in range(3):
                joints[joint, a] += frame[a, b] * (joints_m[joint, b] - joints_m[0, b])

    square = 0.0
    for joint in range(1, JOINT_COUNT):
        for a in range(3):
            square += (joints[joint, a] - joints[_PARENTS[joint], a]) ** 2
    return max(np.sqrt(square), _LEAST_SIZE_M)


@compiled
def _write_misfits(
    rays,
    seen,
    metric,
    root,
    joints,
    out,
):
    """Write how far the keypoints are from the projections of their joints (28,), divided by the
    extent of the keypoints; 0 where not seen, and without a camera."""
    mean = np.empty(2)
    extent = extent_of(rays, seen, mean)
    for k in range(KEYPOINT_COUNT):
        joint = _JOINT[k]
        away = root[2] + joints[joint, 2]
        for a in range(2):
            misfit = 0.0
            if metric and seen[k] and away > 0:
                misfit = (rays[k, a] - (root[a] + joints[joint, a]) / away) / extent
            out[2 * k + a] = min(max(misfit, -_MOST_MISFIT), _MOST_MISFIT)


@compiled
def _write_shape(
    frame,
    joints,
    covariance_m2,
    size_m,
    out,
):
    """Write joints, divided by the size, and the logarithms of their standard deviations along the
    line of sight and across it (80,)."""
    for joint in range(1, JOINT_COUNT):
        column = 5 * (joint - 1)
        trace = 0.0
        along = 0.0
        for a in range(3):
            out[column + a] = joints[joint, a] / size_m
            trace += covariance_m2[joint, a, a]
            for b in range(3):
                along += frame[2, a] * covariance_m2[joint, a, b] * frame[2, b]
        out[column + 3] = np.log(np.sqrt(max(along, 0.0)) / size_m + _LEAST_STD)
        out[column + 4] = np.log(np.sqrt(max(trace - along, 0.0)) / size_m + _LEAST_STD)


@compiled
def _apply(
    moved_m,
    factor,
    frame,
    poses,
):
    """Move joints by `moved_m` (N, 16, 3), in view frames, and multiply their covariances by
    `factor` (N, 16), in the arrays of `poses` (`PoseArrays`)."""
    for n in range(len(moved_m)):
        for joint in range(1, JOINT_COUNT):
            moved = moved_m[n, joint - 1]
            for b in range(3):
                shift = 0.0
                for a in range(3):
                    shift += frame[n, a, b] * moved[a]
                poses.joints_m[n, joint, b] += shift
                for m in range(poses.hypotheses_m.shape[1]):
                    poses.hypotheses_m[n, m, joint, b] += shift
                for a in range(3):
                    poses.covariance_m2[n, joint, a, b] *= factor[n, joint - 1]


def read_pose_correction(path: str | Path, prior: MixturePPCA) -> PoseCorrection | None:
    """The correction in a weights file; None where there is none, or one for another prior.

    CheckpointError in one line for a file that is missing or broken, and for tensors that are
    missing, do not fit each other or are not numbers.
    """
    about = read_section(path, SECTION)
    if about is None or about.get(PRIOR) != prior.digest():
        return None

    tensors = read_tensors(path, SECTION, NAMES, _shapes)
    return None if tensors is None else PoseCorrection(tensors)


def _shapes(tensors: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """The shape that each tensor should have, given the lengths of the layers."""
    first, second = (len(tensors[f"{layer}.weight"]) for layer in LAYERS[:2])
    sides = {"first": (first, INPUTS), "second": (second, first), "out": (OUTPUTS, second)}
    return layer_shapes(sides) | {"mean": (INPUTS,), "std": (INPUTS,)}
