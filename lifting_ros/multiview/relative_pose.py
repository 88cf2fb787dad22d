# SPDX-License-Identifier: Apache-2.0
"""Pose of one camera relative to another one, from the tracks of people that both may have seen.

Who is who is not known. Each pair of tracks that share frames is a hypothesis. Its start is the
rotation that turns the skeletons of the one camera, relative to their roots, into those of the
other (Kabsch), and the median difference of the roots. Near it, it is refined on the epipolar
distances of the keypoints, each divided by its standard deviation (Sampson's distance; Hartley and
Zisserman, Multiple View Geometry, section 11.4.3):

    d = x_a' E x_b / sqrt(g_a S_a g_a' + g_b S_b g_b'),   E = [t]x R

with the derivatives g of x_a' E x_b by the rays and the covariances S of these.

The hypothesis with which most keypoints of all pairs of tracks agree wins (MSAC).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from lifting_ros.multiview.residuals import TINY_M2, limb_prior
from lifting_ros.multiview.sighting import Sighting, homogeneous
from lifting_ros.skeleton import KEYPOINT_TO_JOINT, LIMBS

Track = Mapping[int, Sighting]
"""The sightings of one track by the number of the common time."""

GATE = 3.0
"""Keypoints agree that are at most as many standard deviations off the epipolar line."""

LEAST_AGREEING = 0.4
"""A pair of tracks is one person if its keypoints agree as much, 1 being perfect."""

ROOT_GATE = 4.0
"""Standard deviations by which the roots of both cameras may differ on average."""

LEAST_KEYPOINTS = 6
"""A frame counts if both cameras see as many keypoints."""

LEAST_FRAMES = 5
"""Frames that two tracks have to share."""

_MOST_PAIRS = 30
"""Pairs of tracks that are tried, those with the most frames."""

_MOST_FRAMES = 30
"""Frames of a pair of tracks that are used for a hypothesis."""

_SUBSETS = 4
"""Starts of a pair of tracks from a few frames, besides that from all of them."""

_SUBSET_FRAMES = 3

ROTATION_PRIOR_STD = np.radians(10.0)
"""Standard deviation of the rotation from the skeletons alone, rad."""

DIRECTION_PRIOR_STD = 0.12
"""Standard deviation of the place from the skeletons alone, divided by the distance."""

ALIKE_S = 0.33
"""For this time the keypoints of a person have nearly the same errors: its frames count as one."""

_STRETCHES = (40.0, 8.0, 2.0)
"""Scales of the robust loss, one after the other: the start may be 20 degrees off."""

_KEYPOINT_OF = {joint: keypoint for keypoint, joint in enumerate(KEYPOINT_TO_JOINT)}

SEEN_LIMBS = [
    (number, _KEYPOINT_OF[parent], _KEYPOINT_OF[child])
    for number, (parent, child) in enumerate(LIMBS)
    if parent in _KEYPOINT_OF and child in _KEYPOINT_OF
]
"""The limbs whose ends are keypoints, as (limb, keypoint, keypoint)."""


class RelativePose(NamedTuple):
    """Where the second camera is in the optical frame of the first one."""

    rotation: np.ndarray
    """(3, 3) from the second camera's frame to the first one's."""
    translation_m: np.ndarray
    """(3,) place of the second camera."""
    matches: list[tuple[int, int]]
    """Ids of the tracks that are the same person."""
    skeleton_rotation: np.ndarray
    """(3, 3) the rotation from the skeletons alone."""
    skeleton_translation_m: np.ndarray
    """(3,) the place from the skeletons alone."""
    score: float
    """How many keypoints agree, each counting 1 where it fits exactly."""


class TrackPair:
    """What two tracks say at the F times that they share."""

    def __init__(
        self,
        ids: tuple[int, int],
        first: Track,
        second: Track,
        times: Sequence[int],
        stamps_s: np.ndarray,
    ):
        self.ids = ids
        self.stamps_s = stamps_s[list(times)]
        self.times = list(times)
        self.sightings = [(first[time], second[time]) for time in times]

        def stacked(value: Callable[[Sighting], np.ndarray | float]) -> np.ndarray:
            rows = [[value(one) for one in pair] for pair in self.sightings]
            return np.array(rows).swapaxes(0, 1)

        # Keypoints
        shift_std = stacked(lambda one: one.shift_std)
        self.seen = np.all(stacked(lambda one: one.seen), axis=0)  # F, 14
        self.rays = stacked(lambda one: one.rays)  # 2, F, 14, 2
        self.covariance = noise_of(stacked(lambda one: one.ray_covariance), shift_std)

        # Skeletons
        joints = stacked(lambda one: one.person.skeleton_3d.joints_m)
        spread = stacked(lambda one: one.person.skeleton_3d.covariance_m2)
        self.root = stacked(lambda one: one.person.skeleton_3d.root_m)  # 2, F, 3
        self.root_covariance = stacked(lambda one: one.person.skeleton_3d.root_covariance_m2)
        self.pose = joints - self.root[:, :, None]  # 2, F, 17, 3
        self.pose_variance = np.trace(spread, axis1=-2, axis2=-1).sum(0)  # F, 17

    def some(self) -> np.ndarray:
        """Numbers of at most _MOST_FRAMES of its times, evenly spread."""
        return evenly(len(self.times), _MOST_FRAMES)


def evenly(count: int, most: int) -> np.ndarray:
    """At most `most` of the numbers below `count`, evenly spread."""
    spread = np.linspace(0, count - 1, min(count, most))
    return np.unique(spread.astype(int))


def noise_of(
    covariance: np.ndarray,
    shift_std: np.ndarray,
) -> np.ndarray:
    """Covariances (..., 14, 2, 2) of rays with the error of the calibration, of std (...)."""
    shift = shift_std[..., None, None, None] ** 2
    return covariance + shift * np.eye(2)


def relative_pose(
    first: Mapping[int, Track],
    second: Mapping[int, Track],
    stamps_s: np.ndarray,
) -> RelativePose | None:
    """The pose of the second camera relative to the first one, from their tracks by id; None where
    no two tracks fit. stamps_s: of the times by their number."""
    pairs = _track_pairs(first, second, stamps_s)
    rng = np.random.default_rng(0)
    best: RelativePose | None = None
    for pair in pairs[:_MOST_PAIRS]:
        if best is not None and pair.ids in best.matches:
            continue

        for start in _starts(pair, rng):
            rotation, translation = _refined(pair, *start)
            scaled = _scaled(pair, rotation, translation)
            if scaled is None:
                continue

            score, accepted = _agreement(pairs, rotation, scaled)
            if score > (best.score if best is not None else 0.0):
                matches = [one.ids for one in accepted]
                said = _from_skeletons([(one, one.some()) for one in accepted])
                best = RelativePose(rotation, scaled, matches, *said, score)

    return best


def _track_pairs(
    first: Mapping[int, Track],
    second: Mapping[int, Track],
    stamps_s: np.ndarray,
) -> list[TrackPair]:
    """The pairs of tracks that share enough frames, those with the most first."""
    pairs = []
    for one, track in first.items():
        for other, partner in second.items():
            shared = sorted(track.keys() & partner.keys())
            times = [
                time
                for time in shared
                if (track[time].seen & partner[time].seen).sum() >= LEAST_KEYPOINTS
            ]
            if len(times) >= LEAST_FRAMES:
                pairs.append(TrackPair((one, other), track, partner, times, stamps_s))

    return sorted(pairs, key=lambda pair: -len(pair.times))


def _starts(
    pair: TrackPair,
    rng: np.random.Generator,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rotations (3, 3) and translations (3,) from all frames of a pair, and from a few each."""
    every = pair.some()
    subsets = [every]
    for _ in range(_SUBSETS):
        subsets.append(rng.choice(every, min(_SUBSET_FRAMES, len(every)), replace=False))

    return [_from_skeletons([(pair, subset)]) for subset in subsets]


def _from_skeletons(
    parts: Sequence[tuple[TrackPair, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3, 3) and translation (3,) from the skeletons of some frames of pairs."""
    poses = np.concatenate([pair.pose[:, frames] for pair, frames in parts], axis=1)
    roots = np.concatenate([pair.root[:, frames] for pair, frames in parts], axis=1)
    variances = np.concatenate([pair.pose_variance[frames] for pair, frames in parts])

    joints = poses.reshape(2, -1, 3)
    variance = variances.ravel()
    known = np.isfinite(joints).all((0, 2)) & np.isfinite(variance)
    one, other = joints
    weight = 1 / (variance[known] + TINY_M2**0.5)

    turn, _ = Rotation.align_vectors(one[known], other[known], weight)
    rotation = turn.as_matrix()
    apart = roots[0] - roots[1] @ rotation.T
    return rotation, np.median(apart, axis=0)


def frames_alike(
    persons: np.ndarray,
    stamps_s: np.ndarray,
) -> float:
    """Mean number of frames of the same person (N,) within ALIKE_S, of N frames at stamps (N,)."""
    windows = np.floor(stamps_s / ALIKE_S)
    distinct = np.unique(np.stack([persons, windows]), axis=1)
    return len(stamps_s) / distinct.shape[1]


def _refined(
    pair: TrackPair,
    rotation: np.ndarray,
    translation: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Rotation and direction of the translation (3,), of length 1, with least epipolar
    distances."""
    frames = pair.some()
    seen = pair.seen[frames]
    rays = pair.rays[:, frames][:, seen]
    covariance = pair.covariance[:, frames][:, seen]

    length = float(np.linalg.norm(translation))
    unit = translation / max(length, 1e-9)
    alike = frames_alike(np.zeros(len(frames)), pair.stamps_s[frames])
    certainty = np.sqrt(alike)

    def residuals(state: np.ndarray, stretch: float) -> np.ndarray:
        turn, place = np.split(state, 2)
        turned = Rotation.from_rotvec(turn).as_matrix() @ rotation
        distance = epipolar_distances(turned, place, rays, covariance) / stretch
        loss = np.sqrt(np.log1p(distance**2))  # Cauchy's
        robust = stretch * np.sign(distance) * loss

        of_turn = certainty * turn / ROTATION_PRIOR_STD
        of_place = certainty * (place - unit) / DIRECTION_PRIOR_STD
        of_length = 1e3 * (np.linalg.norm(place) - 1)
        return np.concatenate([robust, of_turn, of_place, [of_length]])

    state = np.concatenate([np.zeros(3), unit])
    for stretch in _STRETCHES:
        found = least_squares(residuals, state, args=(stretch,), max_nfev=12)
        state = found.x

    turn, place = np.split(state, 2)
    turned = Rotation.from_rotvec(turn).as_matrix() @ rotation
    return turned, place / np.linalg.norm(place)


def epipolar_distances(
    rotation: np.ndarray,
    translation: np.ndarray,
    rays: np.ndarray,
    covariance: np.ndarray,
) -> np.ndarray:
    """Sampson distances (...) of rays (2, ..., 2) with covariances (2, ..., 2, 2), in standard
    deviations."""
    essential = _cross_matrix(translation) @ rotation
    one, other = homogeneous(rays)
    line_of_other = other @ essential.T
    line_of_one = one @ essential

    error = (one * line_of_other).sum(-1)
    variance = _variance_along(line_of_other[..., :2], covariance[0])
    variance = variance + _variance_along(line_of_one[..., :2], covariance[1])
    return error / np.sqrt(variance + 1e-18)


def _variance_along(
    gradient: np.ndarray,
    covariance: np.ndarray,
) -> np.ndarray:
    """g S g' (...) of gradients (..., 2)."""
    product = covariance @ gradient[..., None]
    return (gradient * product[..., 0]).sum(-1)


def _cross_matrix(vector: np.ndarray) -> np.ndarray:
    """(3, 3) whose product with a vector is the cross product."""
    x, y, z = vector
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])


def _scaled(
    pair: TrackPair,
    rotation: np.ndarray,
    direction: np.ndarray,
) -> np.ndarray | None:
    """The translation (3,) with which limbs are as long as the tracks say; None where the rays do
    not meet before both cameras."""
    ratios = []
    for frame in pair.some():
        points, ahead = _meeting_points(rotation, direction, pair.rays[:, frame])
        lengths, std = limb_prior(pair.sightings[frame])
        usable = ahead & pair.seen[frame]

        for limb, parent, child in SEEN_LIMBS:
            if usable[parent] and usable[child] and np.isfinite(std[limb]):
                found = np.linalg.norm(points[child] - points[parent])
                ratios.append(lengths[limb] / max(float(found), 1e-9))

    if len(ratios) < LEAST_FRAMES:
        return None

    return float(np.median(ratios)) * direction


def _meeting_points(
    rotation: np.ndarray,
    translation: np.ndarray,
    rays: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Points (14, 3) nearest to the rays (2, 14, 2) of both cameras, in the frame of the first, and
    whether they are before both."""
    one, other = homogeneous(rays)
    other = other @ rotation.T

    # one * depth - other * other_depth = translation
    matrix = np.stack([one, -other], -1)
    transposed = matrix.swapaxes(-1, -2)
    normal = transposed @ matrix + 1e-12 * np.eye(2)
    right = transposed @ translation
    solved = np.linalg.solve(normal, right[..., None])
    depth = solved[..., 0]

    of_one = one * depth[:, :1]
    of_other = other * depth[:, 1:] + translation
    middle = (of_one + of_other) / 2
    return middle, np.all(depth > 0, axis=-1)


def _agreement(
    pairs: Sequence[TrackPair],
    rotation: np.ndarray,
    translation: np.ndarray,
) -> tuple[float, list[TrackPair]]:
    """How many keypoints agree, each counting 1 where it fits exactly, and the pairs of tracks that
    are the same person."""
    values = [_value(pair, rotation, translation) for pair in pairs]
    accepted: list[TrackPair] = []
    score = 0.0
    for index in np.argsort(values)[::-1]:
        pair = pairs[index]
        if values[index] > 0 and not any(_excludes(other, pair) for other in accepted):
            accepted.append(pair)
            score += values[index]

    return score, accepted


def _value(
    pair: TrackPair,
    rotation: np.ndarray,
    translation: np.ndarray,
) -> float:
    """How many keypoints of a pair of tracks agree; 0 where they are two people."""
    distance = epipolar_distances(rotation, translation, pair.rays, pair.covariance)
    square = distance[pair.seen] ** 2
    fitting = np.maximum(1 - square / GATE**2, 0.0)
    if fitting.mean() < LEAST_AGREEING:
        return 0.0

    # People behind each other on an epipolar line
    apart = pair.root[0] - pair.root[1] @ rotation.T - translation
    spread = pair.root_covariance[0] + rotation @ pair.root_covariance[1] @ rotation.T
    solved = np.linalg.solve(spread + TINY_M2 * np.eye(3), apart[..., None])
    square = (apart * solved[..., 0]).sum(-1)
    if np.median(square) > 3 * ROOT_GATE**2:
        return 0.0

    return float(fitting.sum())


def _excludes(
    accepted: TrackPair,
    pair: TrackPair,
) -> bool:
    """Whether two pairs give a track two partners at the same time."""
    shares = accepted.ids[0] == pair.ids[0] or accepted.ids[1] == pair.ids[1]
    return shares and not set(accepted.times).isdisjoint(pair.times)
