# SPDX-License-Identifier: Apache-2.0
"""Training crops of labelled photographs: pictures, and joints in the frame of a camera that looks
at the person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lifting_ros.research.datasets.crops import apply_transform, crop_transform, mirror
from lifting_ros.research.labels.labels import Labels
from lifting_ros.skeleton import JOINT_FLIP, limb_lengths


class LabelCrops(NamedTuple):
    """Crops of N people."""

    crops: np.ndarray
    """(N, 3, S, S) float32 RGB in [0, 1]."""
    joints: np.ndarray
    """(N, 17, 3) about the root, in the frame that looks at the person, divided by the person's
    size."""


class LabelSet:
    """The good labels of several folders, of the training or the validation photographs."""

    def __init__(self, folders: Sequence[Labels], validation: bool):
        self.folders = folders
        rows = []
        joints = []
        for number, labels in enumerate(folders):
            of_side = labels.validation == validation
            own = np.flatnonzero(labels.good & of_side & _croppable(labels))
            rows.extend((number, row) for row in own)

            turned = turned_to(labels.joints_m[own], labels.toward[own])
            joints.append(turned)

        self.rows = np.array(rows, int).reshape(-1, 2)
        joints_m = np.concatenate(joints)
        lengths = limb_lengths(joints_m)
        self.size_m = np.sqrt((lengths**2).sum(-1))

        about_root = joints_m - joints_m[:, :1]
        self.joints = about_root / self.size_m[:, None, None]

    def __len__(self) -> int:
        return len(self.rows)

    def exact(self, chosen: np.ndarray, size_px: int) -> LabelCrops:
        """People `chosen` (n,) in the crops of their boxes, unchanged."""
        count = len(chosen)
        unchanged = [{}] * count
        mirrored = np.zeros(count, bool)

        return self._make(chosen, unchanged, mirrored, size_px)

    def disturbed(
        self,
        chosen: np.ndarray,
        size_px: int,
        rng: np.random.Generator,
        mirror: float,
        turn_deg: float,
    ) -> LabelCrops:
        """People `chosen` (n,), moved, scaled and rolled at random.

        mirror: share of mirrored people; turn_deg: largest roll. The poses roll with the pictures.
        """
        count = len(chosen)
        scales = np.exp(0.12 * rng.standard_normal(count))
        angles = np.radians(turn_deg) * rng.uniform(-1, 1, count)
        shifts = 0.05 * rng.standard_normal((count, 2))
        mirrored = rng.random(count) < mirror

        changes = []
        for scale, angle, shift in zip(scales, angles, shifts):
            changes.append({"scale": scale, "angle": angle, "shift": shift})
        return self._make(chosen, changes, mirrored, size_px)

    def _make(
        self,
        chosen: np.ndarray,
        changes: Sequence[dict],
        mirrored: np.ndarray,
        size_px: int,
    ) -> LabelCrops:
        """changes: arguments of `crop_transform` for each person."""
        crops = np.empty((len(chosen), 3, size_px, size_px), np.float32)
        joints = self.joints[chosen].copy()
        for n, (index, change) in enumerate(zip(chosen, changes)):
            folder, row = self.rows[index]
            labels = self.folders[folder]
            image = np.asarray(labels.windows[row])
            keypoints = labels.keypoints[row]
            if mirrored[n]:
                image, keypoints, joints[n] = mirror_image(image, keypoints, joints[n])

            # Picture
            transform = crop_transform(keypoints, size_px, **change)
            crop, _ = apply_transform(image, keypoints, transform, size_px)
            crops[n] = crop.transpose(2, 0, 1) / np.float32(255)

            # Pose, rolled with the picture
            linear = transform[:, :2]
            roll = np.eye(3)
            roll[:2, :2] = linear / np.sqrt(np.linalg.det(linear))
            joints[n] = joints[n] @ roll.T

        return LabelCrops(crops, joints)


def mirror_image(
    image: np.ndarray,
    keypoints: np.ndarray,
    joints: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mirror images of a window (S, S, 3), keypoints (14, 3) and joints (17, 3; x right)."""
    turned, flipped = mirror(image, keypoints)
    is_known = flipped[:, 2:] > 0
    known = np.where(is_known, flipped, 0.0)

    order = list(JOINT_FLIP)
    mirrored_joints = joints[order] * [-1.0, 1, 1]
    return np.ascontiguousarray(turned), known, mirrored_joints


def turned_to(joints: np.ndarray, toward: np.ndarray) -> np.ndarray:
    """Joints (N, 17, 3) in the optical frame, turned by the smallest rotation into a frame whose z
    axis is `toward` (N, 3; unit vectors, in front of the camera)."""
    axis = np.cross(toward, [0.0, 0, 1])
    x, y, z = axis.T
    cosine = toward[:, 2][:, None, None]

    # Rodrigues' formula
    zero = np.zeros_like(x)
    rows = [zero, -z, y, z, zero, -x, -y, x, zero]
    cross = np.stack(rows, -1).reshape(-1, 3, 3)
    square = cross @ cross
    rotation = np.eye(3) + cross + square / (1 + cosine)

    return np.einsum("nab,njb->nja", rotation, joints)


def _croppable(labels: Labels) -> np.ndarray:
    """(N,) bool: people with two keypoints or more, which a crop requires."""
    confidence = labels.keypoints[..., 2]
    seen = confidence > 0
    count = seen.sum(1)
    return count >= 2
