# SPDX-License-Identifier: Apache-2.0
"""State of tracked persons between frames, as arrays over all tracks; `tracking` has the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT, LIMBS, ROOT
from lifting_ros.tracking import kalman
from lifting_ros.tracking.kalman import Motion
from lifting_ros.types import LIMB_COUNT, JointStatus, Person, Skeleton3D

STATURE_M = 1.7
"""Assumed height of a person that fills its box; it gives the pixels per metre of keypoints."""

KEYPOINT_NOISE = 0.03
"""Standard deviation (std) of a keypoint that has no covariance, divided by the side of the box."""

NOISE_FLOOR_PX = 0.5
"""Standard deviation added to that of every keypoint."""

_PARENTS, _CHILDREN = np.array(LIMBS).T
_EYE = np.eye(2)

# Looking a member of an enum up takes as long as the sum of an array.
_INVALID = np.uint8(JointStatus.INVALID)
_INFERRED = np.uint8(JointStatus.INFERRED)


@dataclass(frozen=True)
class Measured:
    """M persons of a frame as points: joints relative to the root, and in place of the root's zero
    the root itself; NaN where unknown."""

    points: np.ndarray
    """(M, 17, 3) m."""
    covariance: np.ndarray
    """(M, 17, 3, 3) m^2."""
    pixels: np.ndarray
    """(M, 14, 2)."""
    pixel_covariance: np.ndarray
    """(M, 14, 2, 2)."""
    pixels_per_metre: np.ndarray
    """(M,) scale of the person in the image."""
    limbs: np.ndarray
    """(M, 16) lengths, m."""
    limb_variance: np.ndarray
    """(M, 16) m^2."""

    @classmethod
    def of(cls, persons: Sequence[Person]) -> Measured:
        """The persons of a frame."""
        flat = [person.skeleton_2d for person in persons]
        poses = [person.skeleton_3d for person in persons]

        # Joints relative to the root
        root = _stack(poses, "root_m", 1, 3)
        joints = _stack(poses, "joints_m", JOINT_COUNT, 3)
        points = joints - root
        covariance = _stack(poses, "covariance_m2", JOINT_COUNT, 3, 3)
        limbs, limb_variance = _measure_limbs(points, covariance)

        # The root, if it is known in metres
        metric = _stack(poses, "metric", 1) > 0
        points[:, ROOT] = np.where(metric, root[:, 0], np.nan)
        covariance[:, ROOT] = _stack(poses, "root_covariance_m2", 3, 3)

        # Keypoints
        pixels = _stack(flat, "keypoints_px", KEYPOINT_COUNT, 2)
        confidence = _stack(flat, "confidence", KEYPOINT_COUNT, 1)
        pixel_covariance = _stack(flat, "covariance_px2", KEYPOINT_COUNT, 2, 2)

        # Scale
        box = _stack(flat, "box_px", 2, 2)  # M, corner, axis
        extent = box[:, 1] - box[:, 0]
        longer = np.fmax.reduce(extent, axis=-1)
        side = np.fmax(longer, 1.0)  # M

        return cls(
            points=points,
            covariance=covariance,
            pixels=np.where(confidence > 0, pixels, np.nan),
            pixel_covariance=_complete_noise(pixel_covariance, side),
            pixels_per_metre=side / STATURE_M,
            limbs=limbs,
            limb_variance=limb_variance,
        )

    @property
    def usable(self) -> np.ndarray:
        """(M,) whether a person has any point that a later frame could be compared with."""
        has_points = np.isfinite(self.points).any((1, 2))
        has_pixels = np.isfinite(self.pixels).any((1, 2))
        return has_points | has_pixels

    def of_tracks(self, rows: np.ndarray, count: int) -> Measured:
        """The measurements of `count` tracks, NaN for those without one.

        rows: (M,) the track of each person; -1: none.
        """
        # Nothing to do if every track has a person, in order, as with a single person
        if rows.tolist() == list(range(count)):
            return self

        assigned = rows >= 0
        taken = rows[assigned]

        spread = {}
        for field in fields(self):
            values = getattr(self, field.name)
            shape = (count, *values.shape[1:])
            out = np.full(shape, np.nan)
            out[taken] = values[assigned]
            spread[field.name] = out

        return Measured(**spread)


def _stack(values: Sequence[object], field: str, *shape: int) -> np.ndarray:
    """A field of N values as one array (N, *shape), also of none."""
    count = len(values)
    arrays = [getattr(value, field) for value in values]
    stacked = np.array(arrays, np.float64)
    return stacked.reshape(count, *shape)


def _complete_noise(given: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Covariances (M, 14, 2, 2) of keypoints: those given where finite, else by the side (M,) of
    the box; the floor is added."""
    std = KEYPOINT_NOISE * side
    variance = std[:, None, None, None] ** 2
    default = variance * _EYE  # M, 1, 2, 2
    finite = np.isfinite(given)
    complete = finite.all((-2, -1), keepdims=True)
    noise = np.where(complete, given, default)

    return noise + NOISE_FLOOR_PX**2 * _EYE


def _measure_limbs(points: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of the limbs and their variances, (M, 16) each, of joints (M, 17, 3) with independent
    errors."""
    starts = points[:, _PARENTS]
    ends = points[:, _CHILDREN]
    along = ends - starts
    squares = along * along
    length = np.sqrt(squares.sum(-1))

    # Variance of the difference of both ends, along the limb
    both = covariance[:, _CHILDREN] + covariance[:, _PARENTS]
    projected = np.einsum("mla,mlab,mlb->ml", along, both, along)
    divisor = np.maximum(length, 1e-6)
    return length, projected / divisor**2


@dataclass(frozen=True)
class Tracks:
    """T tracks at one time; ids ascend."""

    ids: np.ndarray
    """(T,)"""
    born_ns: np.ndarray
    """(T,) stamp of the first frame."""
    seen_ns: np.ndarray
    """(T,) stamp of the last frame that shows it."""
    hits: np.ndarray
    """(T,) frames that show it."""
    updates: np.ndarray
    """(T, 17) frames that show the point."""
    points: Motion
    """(T, 17, 6) m, m/s: as `Measured.points`, with their bias."""
    bias: np.ndarray
    """(T, 17, 3, 3) m^2, covariance of the bias."""
    pixels: Motion
    """(T, 14, 4) px, px/s."""
    pixels_per_metre: np.ndarray
    """(T,) scale of the person in the image."""
    limbs: np.ndarray
    """(T, 16) lengths, m, with their bias."""
    limb_variance: np.ndarray
    """(T, 16) m^2, without the bias's."""
    limb_bias: np.ndarray
    """(T, 16) m^2, variance of the bias."""

    @classmethod
    def blank(cls, ids: np.ndarray, stamp_ns: int) -> Tracks:
        """Tracks of which nothing is known yet."""
        count = len(ids)
        stamps = np.full(count, stamp_ns)

        def nan(*shape: int) -> np.ndarray:
            whole = (count, *shape)
            return np.full(whole, np.nan)

        return cls(
            ids=ids,
            born_ns=stamps,
            seen_ns=stamps,
            hits=np.zeros(count, int),
            updates=np.zeros((count, JOINT_COUNT), int),
            points=kalman.unknown((count, JOINT_COUNT), 3),
            bias=nan(JOINT_COUNT, 3, 3),
            pixels=kalman.unknown((count, KEYPOINT_COUNT), 2),
            pixels_per_metre=nan(),
            limbs=nan(LIMB_COUNT),
            limb_variance=nan(LIMB_COUNT),
            limb_bias=nan(LIMB_COUNT),
        )

    def take(self, index: np.ndarray) -> Tracks:
        """The tracks at `index`."""
        values: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Motion):
                values[field.name] = value.take(index)
            else:
                values[field.name] = value[index]

        return Tracks(**values)

    def join(self, other: Tracks) -> Tracks:
        """These tracks, followed by the others."""
        values: dict[str, Any] = {}
        for field in fields(self):
            first = getattr(self, field.name)
            second = getattr(other, field.name)
            if isinstance(first, Motion):
                values[field.name] = first.join(second)
            else:
                values[field.name] = np.concatenate((first, second))

        return Tracks(**values)


def mix(before: np.ndarray, new: np.ndarray, share: np.ndarray) -> np.ndarray:
    """(1 - share) before + share new.

    `before` may be NaN where the share is 1, and `new` where it is 0.
    """
    weighted_new = share * new
    weighted_before = (1 - share) * before

    from_new = np.where(share > 0, weighted_new, 0.0)
    from_before = np.where(share < 1, weighted_before, 0.0)
    return from_new + from_before


def update_limbs(tracks: Tracks, measured: Measured, new_share: float) -> dict[str, np.ndarray]:
    """Fields `limbs`, `limb_variance` and `limb_bias` of the tracks after one more frame: a Kalman
    filter of constants."""
    before = tracks.limb_variance
    noise = new_share * measured.limb_variance
    bias = (1 - new_share) * measured.limb_variance

    finite = np.isfinite(measured.limbs)
    seen = finite & np.isfinite(noise)
    known = np.isfinite(tracks.limbs)

    # Gain: 1 for a first measurement
    total = before + np.maximum(noise, 1e-12)
    gain = np.where(known, before / total, 1.0)
    gain = np.where(seen, gain, 0.0)

    # Variance after the update, or of a first measurement
    updated = (1 - gain) * before
    first = np.where(seen, noise, np.nan)
    return {
        "limbs": mix(tracks.limbs, measured.limbs, gain),
        "limb_variance": np.where(known, updated, first),
        "limb_bias": mix(tracks.limb_bias, bias, gain),
    }


def forget_pose(person: Person) -> Person:
    """A person that this frame does not show: only the last box is left, everything else is
    unknown."""
    flat = person.skeleton_2d
    pose = person.skeleton_3d

    unknown_2d = replace(
        flat,
        keypoints_px=np.full_like(flat.keypoints_px, np.nan),
        covariance_px2=np.full_like(flat.covariance_px2, np.nan),
        confidence=np.zeros_like(flat.confidence),
    )
    unknown_3d = replace(
        pose,
        joints_m=np.full_like(pose.joints_m, np.nan),
        covariance_m2=np.full_like(pose.covariance_m2, np.nan),
        hypotheses_m=np.full_like(pose.hypotheses_m, np.nan),
        hypothesis_weight=np.full_like(pose.hypothesis_weight, np.nan),
        confidence=np.zeros_like(pose.confidence),
        status=np.zeros_like(pose.status),
        log_likelihood=np.nan,
    )
    return replace(person, skeleton_2d=unknown_2d, skeleton_3d=unknown_3d, coasting=True)


def tracked_person(person: Person, tracks: Tracks, row: int, stamp_ns: int, smooth: bool) -> Person:
    """`person` with the id, age, velocities and limb lengths of track `row`.

    smooth: the joints are the track's too; without it they are those of the image.
    """
    mean = tracks.points.mean[row]
    covariance = tracks.points.covariance[row]
    pose = person.skeleton_3d

    # In metres, or not seen now but known in metres before
    metric = pose.metric
    if not pose.status.any():
        known_before = np.isfinite(mean[ROOT]).all()
        metric = metric or bool(known_before)

    # Velocities: absolute if metric, otherwise relative to the root
    velocity = mean[:, 3:].copy()
    velocity_covariance = covariance[:, 3:, 3:].copy()
    velocity[tracks.updates[row] < 2] = np.nan
    if metric:
        velocity[1:] += velocity[ROOT]
        velocity_covariance[1:] += velocity_covariance[ROOT]
    else:
        velocity[ROOT] = 0.0
        velocity_covariance[ROOT] = 0.0

    unknown = np.isnan(velocity).any(-1)
    velocity_covariance[unknown] = np.nan

    if smooth:
        position_covariance = covariance[:, :3, :3] + tracks.bias[row]
        pose = _smoothed_skeleton(pose, mean, position_covariance, metric)

    limb_variance = tracks.limb_variance[row] + tracks.limb_bias[row]
    age_ns = float(stamp_ns - tracks.born_ns[row])
    return replace(
        person,
        id=int(tracks.ids[row]),
        age_s=age_ns / 1e9,
        skeleton_3d=pose,
        velocity_mps=velocity,
        velocity_covariance_m2ps2=velocity_covariance,
        bone_lengths_m=tracks.limbs[row],
        bone_lengths_std_m=np.sqrt(limb_variance),
    )


def _smoothed_skeleton(
    pose: Skeleton3D, mean: np.ndarray, covariance: np.ndarray, metric: bool
) -> Skeleton3D:
    """`pose` with the joints of its track.

    mean: (17, 6) as `Tracks.points`; covariance: (17, 3, 3) of the positions, bias included.
    """
    root = np.zeros(3)
    if metric:
        root = mean[ROOT, :3]
    joints = mean[:, :3].copy()
    joints[ROOT] = 0.0

    covariance = covariance.copy()
    root_covariance = np.full((3, 3), np.nan)
    if metric:
        root_covariance = covariance[ROOT].copy()
    covariance[ROOT] = 0.0

    known = np.isfinite(joints).all(-1)
    status = np.where(known, np.maximum(pose.status, _INFERRED), _INVALID)
    return replace(
        pose,
        joints_m=joints + root,
        root_m=root,
        covariance_m2=covariance,
        root_covariance_m2=root_covariance,
        status=status,
        metric=metric,
    )
