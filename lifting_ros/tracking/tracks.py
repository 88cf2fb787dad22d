# SPDX-License-Identifier: Apache-2.0
"""What is known of tracked persons between frames, as arrays over all tracks; see `tracking` for
the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT, LIMBS, ROOT
from lifting_ros.tracking import kalman
from lifting_ros.tracking.kalman import Motion
from lifting_ros.types import JointStatus, Person, Skeleton3D

STATURE_M = 1.7
"""Of a person that fills its box: pixels a metre, for the motion of keypoints."""
KEYPOINT_NOISE, NOISE_FLOOR_PX = 0.03, 0.5
"""Deviation of a keypoint that comes without a covariance, over the box; and what is added to each.
"""
_PARENTS, _CHILDREN = np.array(LIMBS).T
_EYE = np.eye(2)
_INVALID, _INFERRED = (
    np.uint8(JointStatus.INVALID),
    np.uint8(JointStatus.INFERRED),
)  # looking an enum up costs as much as an array's sum


@dataclass(frozen=True)
class Measured:
    """M persons of a frame, as points: joints relative to the root, and in the root's place the
    root itself; NaN where not known."""

    points: np.ndarray
    """(M, 17, 3) m"""
    covariance: np.ndarray
    """(M, 17, 3, 3) m^2"""
    pixels: np.ndarray
    """(M, 14, 2)"""
    pixel_covariance: np.ndarray
    """(M, 14, 2, 2)"""
    pixels_a_metre: np.ndarray
    """(M,)"""
    limbs: np.ndarray
    """(M, 16) lengths, m"""
    limb_variance: np.ndarray
    """(M, 16) m^2"""

    @classmethod
    def of(cls, persons: Sequence[Person]) -> Measured:
        flat, poses = [p.skeleton_2d for p in persons], [p.skeleton_3d for p in persons]
        root = np.array([s.root_m for s in poses]).reshape(-1, 1, 3)  # M, 1, 3
        points = (
            np.array([s.joints_m for s in poses]).reshape(-1, JOINT_COUNT, 3) - root
        )  # M, 17, 3
        covariance = np.array([s.covariance_m2 for s in poses], np.float64).reshape(
            -1, JOINT_COUNT, 3, 3
        )  # M, 17, 3, 3
        limbs, variance = _limbs(points, covariance)
        metric = np.array([s.metric for s in poses], bool)
        points[:, ROOT] = np.where(metric[:, None], root[:, 0], np.nan)
        covariance[:, ROOT] = [s.root_covariance_m2 for s in poses] if len(poses) else 0.0
        pixels = np.array([s.keypoints_px for s in flat], np.float64).reshape(
            -1, KEYPOINT_COUNT, 2
        )  # M, 14, 2
        seen = np.array([s.confidence for s in flat]).reshape(-1, KEYPOINT_COUNT) > 0
        noise = np.array([s.covariance_px2 for s in flat], np.float64).reshape(
            -1, KEYPOINT_COUNT, 2, 2
        )  # M, 14, 2, 2
        box = np.array([s.box_px for s in flat], np.float64).reshape(-1, 2, 2)  # M, corner, axis
        side = np.fmax(np.fmax.reduce(box[:, 1] - box[:, 0], axis=-1), 1.0)  # M
        unknown = (KEYPOINT_NOISE * side)[:, None, None, None] ** 2 * _EYE  # M, 1, 2, 2
        noise = (
            np.where(np.isfinite(noise).all((-2, -1), keepdims=True), noise, unknown)
            + NOISE_FLOOR_PX**2 * _EYE
        )
        return cls(
            points,
            covariance,
            np.where(seen[..., None], pixels, np.nan),
            noise,
            side / STATURE_M,
            limbs,
            variance,
        )

    @property
    def usable(self) -> np.ndarray:
        """(M,) whether anything of a person could be found again."""
        return np.isfinite(self.points).any((1, 2)) | np.isfinite(self.pixels).any((1, 2))

    def of_tracks(self, rows: np.ndarray, count: int) -> Measured:
        """The same for `count` tracks, of which track rows[m] is person m, none where it is -1: NaN
        for the others."""
        if rows.tolist() == list(
            range(count)
        ):  # everybody is there and in order, as somebody alone is
            return self

        def spread(value: np.ndarray) -> np.ndarray:
            out = np.full((count, *value.shape[1:]), np.nan)
            out[rows[rows >= 0]] = value[rows >= 0]
            return out

        return Measured(*(spread(getattr(self, f.name)) for f in fields(self)))


def _limbs(points: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of the limbs and their variances, (M, 16) each, of joints (M, 17, 3) whose errors are
    taken for independent."""
    along = points[:, _CHILDREN] - points[:, _PARENTS]
    length = np.sqrt((along * along).sum(-1))
    both = covariance[:, _CHILDREN] + covariance[:, _PARENTS]
    return length, np.einsum("mla,mlab,mlb->ml", along, both, along) / np.maximum(length, 1e-6) ** 2


@dataclass(frozen=True)
class Tracks:
    """T persons at one time; ids ascend."""

    ids: np.ndarray
    """(T,)"""
    born_ns: np.ndarray
    """(T,) stamp of the first frame"""
    seen_ns: np.ndarray
    """(T,) stamp of the last frame that shows it"""
    hits: np.ndarray
    """(T,) frames that show it"""
    updates: np.ndarray
    """(T, 17) frames that show the point"""
    points: Motion
    """(T, 17, 6) m, m/s: as `Measured.points`, with their bias"""
    bias: np.ndarray
    """(T, 17, 3, 3) m^2, covariance of the bias"""
    pixels: Motion
    """(T, 14, 4) px, px/s"""
    pixels_a_metre: np.ndarray
    """(T,)"""
    limbs: np.ndarray
    """(T, 16) m, with their bias"""
    limb_variance: np.ndarray
    """(T, 16) m^2, without that of the bias"""
    limb_bias: np.ndarray
    """(T, 16) m^2, variance of the bias"""

    @classmethod
    def blank(cls, ids: np.ndarray, stamp_ns: int) -> Tracks:
        """Tracks of which nothing is known yet."""
        n, j = len(ids), JOINT_COUNT
        nan, stamps = (lambda *shape: np.full((n, *shape), np.nan)), np.full(n, stamp_ns)
        return cls(
            ids,
            stamps,
            stamps,
            np.zeros(n, int),
            np.zeros((n, j), int),
            kalman.unknown((n, j), 3),
            nan(j, 3, 3),
            kalman.unknown((n, KEYPOINT_COUNT), 2),
            nan(),
            nan(j - 1),
            nan(j - 1),
            nan(j - 1),
        )

    def take(self, index: np.ndarray) -> Tracks:
        values = (getattr(self, f.name) for f in fields(self))
        return Tracks(*(v.take(index) if isinstance(v, Motion) else v[index] for v in values))

    def join(self, other: Tracks) -> Tracks:
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Tracks(
            *(
                Motion(*map(np.concatenate, zip(*p)))
                if isinstance(p[0], Motion)
                else np.concatenate(p)
                for p in pairs
            )
        )


def mixed(before: np.ndarray, new: np.ndarray, share: np.ndarray) -> np.ndarray:
    """(1 - share) before + share new, where `before` counts only up to a share of 1 and `new` only
    from 0: they may be NaN there."""
    return np.where(share > 0, share * new, 0.0) + np.where(share < 1, (1 - share) * before, 0.0)


def mean_length(tracks: Tracks, measured: Measured, new_share: float) -> dict[str, np.ndarray]:
    """Lengths of the limbs with those of one more frame: a Kalman filter of numbers that stay."""
    noise = new_share * measured.limb_variance
    seen, known = np.isfinite(measured.limbs) & np.isfinite(noise), np.isfinite(tracks.limbs)
    gain = np.where(
        known, tracks.limb_variance / (tracks.limb_variance + np.maximum(noise, 1e-12)), 1.0
    )
    gain = np.where(seen, gain, 0.0)
    variance = np.where(known, (1 - gain) * tracks.limb_variance, np.where(seen, noise, np.nan))
    return {
        "limbs": mixed(tracks.limbs, measured.limbs, gain),
        "limb_variance": variance,
        "limb_bias": mixed(tracks.limb_bias, (1 - new_share) * measured.limb_variance, gain),
    }


def out_of_sight(person: Person) -> Person:
    """A person that this frame does not show: only its last box is left."""
    flat, pose = person.skeleton_2d, person.skeleton_3d
    flat = replace(
        flat,
        **{n: np.full_like(getattr(flat, n), np.nan) for n in ("keypoints_px", "covariance_px2")},
    )
    nothing = {
        n: np.full_like(getattr(pose, n), np.nan)
        for n in ("joints_m", "covariance_m2", "hypotheses_m", "hypothesis_weight")
    }
    pose = replace(
        pose,
        **nothing,
        confidence=np.zeros_like(pose.confidence),
        status=np.zeros_like(pose.status),
        log_likelihood=np.nan,
    )
    return replace(
        person,
        skeleton_2d=replace(flat, confidence=np.zeros_like(flat.confidence)),
        skeleton_3d=pose,
        coasting=True,
    )


def tracked_person(person: Person, tracks: Tracks, row: int, stamp_ns: int, smooth: bool) -> Person:
    """A person as its track knows it; without `smooth` its joints are those of the image."""
    mean, covariance = tracks.points.mean[row], tracks.points.covariance[row]
    pose = person.skeleton_3d
    moving = pose.metric or (
        not pose.status.any() and bool(np.isfinite(mean[ROOT]).all())
    )  # in metres, or nothing seen but once in metres
    velocity, spread = mean[:, 3:].copy(), covariance[:, 3:, 3:].copy()
    velocity[tracks.updates[row] < 2] = np.nan
    if moving:
        velocity[1:] += velocity[ROOT]
        spread[1:] += spread[ROOT]
    else:
        velocity[ROOT], spread[ROOT] = 0.0, 0.0
    spread[np.isnan(velocity).any(-1)] = np.nan
    return replace(
        person,
        id=int(tracks.ids[row]),
        age_s=float(stamp_ns - tracks.born_ns[row]) / 1e9,
        skeleton_3d=_skeleton(pose, mean, covariance[:, :3, :3] + tracks.bias[row], moving)
        if smooth
        else pose,
        velocity_mps=velocity,
        velocity_covariance_m2ps2=spread,
        bone_lengths_m=tracks.limbs[row],
        bone_lengths_std_m=np.sqrt(tracks.limb_variance[row] + tracks.limb_bias[row]),
    )


def _skeleton(
    pose: Skeleton3D, mean: np.ndarray, covariance: np.ndarray, metric: bool
) -> Skeleton3D:
    """`pose` with the joints of the track: mean (17, 6), covariance (17, 3, 3) as `Tracks.points`,
    bias included."""
    root, joints = (mean[ROOT, :3] if metric else np.zeros(3)), mean[:, :3].copy()
    joints[ROOT] = 0.0
    covariance = covariance.copy()
    root_covariance, covariance[ROOT] = (
        covariance[ROOT].copy() if metric else np.full((3, 3), np.nan),
        0.0,
    )
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
