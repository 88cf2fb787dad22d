# SPDX-License-Identifier: Apache-2.0
"""Labelled photographs as a network from image to 3D sees them: crops, and joints in the frame that
looks at the person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lifting_ros.research.datasets.crops import apply_transform, crop_transform, mirror
from lifting_ros.research.labels.labels import Labels
from lifting_ros.skeleton import JOINT_FLIP, limb_lengths


class LabelCrops(NamedTuple):
    """N people."""

    crops: np.ndarray
    """(N, 3, S, S) float32 RGB in [0, 1]."""
    joints: np.ndarray
    """(N, 17, 3) about the root, turned to the person, over the person's size."""


class LabelSet:
    """The good labels of one side of several folders."""

    def __init__(self, folders: Sequence[Labels], validation: bool):
        self.folders = folders
        rows = [
            np.flatnonzero(labels.good & (labels.validation == validation) & _croppable(labels))
            for labels in folders
        ]
        self.rows = np.array(
            [(number, row) for number, own in enumerate(rows) for row in own], int
        ).reshape(-1, 2)
        joints = np.concatenate(
            [
                turned_to(labels.joints_m[own], labels.toward[own])
                for labels, own in zip(folders, rows)
            ]
        )
        self.size_m = np.sqrt((limb_lengths(joints) ** 2).sum(-1))
        self.joints = (joints - joints[:, :1]) / self.size_m[:, None, None]

    def __len__(self) -> int:
        return len(self.rows)

    def exact(self, chosen: np.ndarray, size_px: int) -> LabelCrops:
        """People `chosen` (n,) in the crops of their boxes, unchanged."""
        return self._make(chosen, [{}] * len(chosen), np.zeros(len(chosen), bool), size_px)

    def disturbed(
        self,
        chosen: np.ndarray,
        size_px: int,
        rng: np.random.Generator,
        mirror: float,
        turn_deg: float,
    ) -> LabelCrops:
        """People `chosen` (n,) moved, scaled, rolled with their poses, a share of them mirrored."""
        count = len(chosen)
        scale = np.exp(0.12 * rng.standard_normal(count))
        angle = np.radians(turn_deg) * rng.uniform(-1, 1, count)
        shift = 0.05 * rng.standard_normal((count, 2))
        changes = [{"scale": s, "angle": a, "shift": d} for s, a, d in zip(scale, angle, shift)]

        return self._make(chosen, changes, rng.random(count) < mirror, size_px)

    def _make(
        self, chosen: np.ndarray, changes: Sequence[dict], mirrored: np.ndarray, size_px: int
    ) -> LabelCrops:
        crops = np.empty((len(chosen), 3, size_px, size_px), np.float32)
        joints = self.joints[chosen].copy()
        for n, (index, change) in enumerate(zip(chosen, changes)):
            folder, row = self.rows[index]
            labels = self.folders[folder]
            image = np.asarray(labels.windows[row])
            keypoints = labels.keypoints[row]
            keep = np.eye(3)

            if mirrored[n]:
                image, keypoints, joints[n] = mirror_image(image, keypoints, joints[n])

            transform = crop_transform(keypoints, size_px, **change)
            # the roll of the picture
            keep[:2, :2] = transform[:, :2] / np.sqrt(np.linalg.det(transform[:, :2]))
            crop, _ = apply_transform(image, keypoints, transform, size_px)
            crops[n] = crop.transpose(2, 0, 1) / np.float32(255)
            joints[n] = joints[n] @ keep.T

        return LabelCrops(crops, joints)


def mirror_image(
    image: np.ndarray, keypoints: np.ndarray, joints: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Window (S, S, 3), keypoints (14, 3) and joints (17, 3; x right) as in a mirror."""
    turned, flipped = mirror(image, keypoints)
    return (
        np.ascontiguousarray(turned),
        np.where(flipped[:, 2:] > 0, flipped, 0.0),
        joints[list(JOINT_FLIP)] * [-1.0, 1, 1],
    )


def turned_to(joints: np.ndarray, toward: np.ndarray) -> np.ndarray:
    """Joints (N, 17, 3) in the optical frame turned, by the shortest way, into one whose z axis is
    `toward` (N, 3; unit, in front)."""
    axis = np.cross(toward, [0.0, 0, 1])  # N, 3
    cosine = toward[:, 2][:, None, None]
    x, y, z = axis.T
    nothing = np.zeros_like(x)
    cross = np.stack([nothing, -z, y, z, nothing, -x, -y, x, nothing], -1).reshape(-1, 3, 3)
    rotation = np.eye(3) + cross + cross @ cross / (1 + cosine)

    return np.einsum("nab,njb->nja", rotation, joints)


def _croppable(labels: Labels) -> np.ndarray:
    return (labels.keypoints[..., 2] > 0).sum(1) >= 2
