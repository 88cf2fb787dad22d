# SPDX-License-Identifier: Apache-2.0
"""Persons of several calibrated cameras fused: one skeleton a person, with an id that stays.

Read `SkeletonFuser.fuse` first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from lifting_ros.multiview.fusion_config import FusionConfig
from lifting_ros.multiview.matching import group_sightings, owners_of
from lifting_ros.multiview.sighting import CameraFrame, Sighting, sightings_of
from lifting_ros.multiview.skeleton_fit import Fit, fit_skeleton
from lifting_ros.multiview.timeline import CameraStream
from lifting_ros.skeleton import (
    JOINT_COUNT,
    JOINT_FLIP,
    JOINT_NAMES,
    KEYPOINT_FLIP,
    KEYPOINT_NAMES,
    KEYPOINT_TO_JOINT,
    LIMBS,
    ROOT,
    limb_lengths,
)
from lifting_ros.types import JointStatus, Person, Skeleton2D, Skeleton3D

LOST_WEIGHT = 0.25
"""A keypoint of a lower weight is an outlier: more than about 4.5 standard deviations off."""

LEAST_FITTING = 0.5
"""Share of a camera's keypoints that must fit; with fewer it shows another person."""

MIRROR_GAIN = 6.0
"""Robust cost that exchanging left and right in one camera must save."""

HISTORY_STD_M = 0.15
"""Standard deviation of a joint about the one of the last frame; it decides between exchanged sides
that fit equally well."""

HISTORY_S = 0.5
"""Time for which the last frame counts for that."""

SHARED_TRACK = 20.0
"""How much a track of a camera that a group shares with a fused person counts for the id, in
squared standard deviations of the distance."""

MAX_DISTANCE = 25.0
"""Largest squared distance, in standard deviations, of a person from where its id was last."""

WALKING_MPS = 1.5
"""Standard deviation of a person's speed, for finding its id again."""

PLACE_STD_M = 0.2
"""Standard deviation added to a root's own, for finding an id again."""

_SIDES = {"arms": ("shoulder", "elbow", "wrist"), "legs": ("hip", "knee", "ankle")}
_KEYPOINTS_OF = {
    part: [k for k, name in enumerate(KEYPOINT_NAMES) if name.rpartition("_")[2] in words]
    for part, words in _SIDES.items()
}
_LEFT = [JOINT_NAMES.index(name) for name in ("left_shoulder", "left_hip")]
_RIGHT = [JOINT_NAMES.index(name) for name in ("right_shoulder", "right_hip")]
_PARENTS, _CHILDREN = np.array(LIMBS).T


@dataclass
class _Track:
    """A fused person between frames."""

    number: int
    born_ns: int
    seen_ns: int
    members: dict[str, int]
    """Id of its track in each camera."""
    joints_m: np.ndarray
    root_covariance_m2: np.ndarray
    frames: np.ndarray = field(default_factory=lambda: np.zeros(len(LIMBS), int))
    """Of which `lengths_m` are the means."""
    lengths_m: np.ndarray = field(default_factory=lambda: np.zeros(len(LIMBS)))
    length_variance: np.ndarray = field(default_factory=lambda: np.zeros(len(LIMBS)))


@dataclass(frozen=True)
class _Group:
    """One person of this frame, before it has an id."""

    sightings: tuple[Sighting, ...]
    person: Person


class SkeletonFuser:
    """Fuses the frames of several cameras, one time after the other. The output depends on the
    input alone."""

    def __init__(self, config: FusionConfig | None = None):
        self.config = config or FusionConfig()
        self.sources: dict[int, dict[str, int]] = {}
        """Of each person of the last frame, the id of its track in each camera that saw it."""
        self._tracks: dict[int, _Track] = {}
        self._next_id = 1

    def fuse(
        self,
        stamp_ns: int,
        frames: Sequence[CameraFrame],
    ) -> tuple[Person, ...]:
        """The persons of all cameras at one time, in the common frame, by id.

        frames: one of each camera, of that time. A person whom one camera alone sees keeps the
        skeleton of that camera. Keypoints of the result are NaN: they belong to no single image.
        """
        self._forget(stamp_ns)
        sightings = []
        for frame in frames:
            sightings += sightings_of(frame, self.config)

        # Who is who
        members = {number: track.members for number, track in self._tracks.items()}
        owners = owners_of(sightings, members)
        groups = group_sightings(sightings, self.config.gate, owners)

        # One skeleton each
        fused = []
        for group in groups:
            chosen = tuple(sightings[index] for index in group)
            known = [owners[index] for index in group]
            expected = self._expected(stamp_ns, known)
            fused += _fuse_group(chosen, expected, self.config)

        # Ids
        numbers = self._numbers(stamp_ns, fused)
        self.sources = {}
        persons = []
        for number, found in zip(numbers, fused):
            person = self._tracked(stamp_ns, number, found)
            persons.append(person)
            self.sources[number] = {one.camera: one.person.id for one in found.sightings}

        persons.sort(key=lambda person: person.id)
        return tuple(persons)

    def fuse_streams(
        self,
        streams: Sequence[CameraStream],
        stamp_ns: int,
    ) -> tuple[Person, ...]:
        """As `fuse`, of cameras that are not synchronised, at a time."""
        limit_s = self.config.max_extrapolation_s
        frames = [stream.at(stamp_ns, limit_s) for stream in streams]
        return self.fuse(stamp_ns, [frame for frame in frames if frame is not None])

    def _forget(self, stamp_ns: int) -> None:
        """Drop those not seen for long; all of them where time has gone back."""
        kept_ns = 1e9 * self.config.retention_s
        self._tracks = {
            number: track
            for number, track in self._tracks.items()
            if 0 <= stamp_ns - track.seen_ns <= kept_ns
        }

    def _expected(
        self,
        stamp_ns: int,
        owners: Sequence[int],
    ) -> np.ndarray | None:
        """Joints (17, 3) of the last frame of the person that most of `owners` name, if recent."""
        known = [owner for owner in owners if owner]
        if not known:
            return None

        track = self._tracks[max(known, key=known.count)]
        recent = stamp_ns - track.seen_ns <= 1e9 * HISTORY_S
        return track.joints_m if recent else None

    def _numbers(
        self,
        stamp_ns: int,
        groups: Sequence[_Group],
    ) -> list[int]:
        """Id of each group: that of a fused person with whom it shares tracks of cameras, or who
        was near; else a new one."""
        tracks = list(self._tracks.values())
        costs = np.zeros((len(tracks), len(groups)))
        for row, track in enumerate(tracks):
            for column, group in enumerate(groups):
                costs[row, column] = _id_cost(stamp_ns, track, group)

        numbers = [0] * len(groups)
        gain = np.minimum(costs, 0.0)
        rows, columns = linear_sum_assignment(gain)
        for row, column in zip(rows, columns):
            if gain[row, column] < 0:
                numbers[column] = tracks[row].number

        for column, number in enumerate(numbers):
            if not number:
                numbers[column] = self._next_id
                self._next_id += 1
        return numbers

    def _tracked(
        self,
        stamp_ns: int,
        number: int,
        group: _Group,
    ) -> Person:
        """The person of a group with its id, age and limb lengths; its track goes on."""
        person = group.person
        pose = person.skeleton_3d
        track = self._tracks.get(number)
        if track is None:
            track = _Track(number, stamp_ns, stamp_ns, {}, pose.joints_m, pose.root_covariance_m2)
            self._tracks[number] = track

        track.seen_ns = stamp_ns
        track.joints_m = pose.joints_m
        track.root_covariance_m2 = pose.root_covariance_m2

        # The tracks of the cameras belong to this person alone
        own = {(one.camera, one.person.id) for one in group.sightings}
        for other in self._tracks.values():
            kept = {c: t for c, t in other.members.items() if (c, t) not in own}
            other.members = kept
        track.members |= {one.camera: one.person.id for one in group.sightings if one.person.id}

        # Limb lengths
        if len(group.sightings) > 1:
            _add_lengths(track, pose)
        if track.frames.any():
            known = track.frames > 0
            person = replace(
                person,
                bone_lengths_m=np.where(known, track.lengths_m, np.nan),
                bone_lengths_std_m=np.where(known, np.sqrt(track.length_variance), np.nan),
            )

        age_ns = stamp_ns - track.born_ns
        return replace(person, id=number, age_s=age_ns / 1e9)


def _fuse_group(
    sightings: tuple[Sighting, ...],
    expected: np.ndarray | None,
    config: FusionConfig,
) -> list[_Group]:
    """The person of a group; several where a camera turns out to show somebody else."""
    if len(sightings) == 1:
        return [_Group(sightings, _alone(sightings[0].person))]

    first = fit_skeleton(sightings, config)
    sightings, fit = _right_sides(sightings, first, expected, config)

    # Share of each camera's keypoints that fit
    seen = np.stack([one.seen for one in sightings])
    fitting = fit.weights > LOST_WEIGHT
    share = fitting.sum(1) / np.maximum(seen.sum(1), 1)
    worst = int(np.argmin(share))
    if share[worst] >= LEAST_FITTING:
        return [_Group(sightings, _fused_person(sightings, fit))]

    others = sightings[:worst] + sightings[worst + 1 :]
    rest = _fuse_group(others, expected, config)
    return rest + _fuse_group((sightings[worst],), None, config)


def _right_sides(
    sightings: tuple[Sighting, ...],
    fit: Fit,
    expected: np.ndarray | None,
    config: FusionConfig,
) -> tuple[tuple[Sighting, ...], Fit]:
    """The sightings and their fit, with left and right exchanged in one camera where that fits far
    better."""
    best = (sightings, fit)
    least = fit.cost + _history_cost(fit, expected) - MIRROR_GAIN

    for index, parts in _doubts(sightings, fit, expected):
        changed = list(sightings)
        changed[index] = sightings[index].exchanged(*_exchange(parts))
        other = fit_skeleton(changed, config, expected)
        cost = other.cost + _history_cost(other, expected)
        if cost < least:
            best = (tuple(changed), other)
            least = cost

    return best


def _doubts(
    sightings: Sequence[Sighting],
    fit: Fit,
    expected: np.ndarray | None,
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Cameras, and the limbs in them whose sides may be exchanged.

    All limbs where the person is turned the other way than in the last frame, or, without one, than
    in another camera; arms or legs where two of their keypoints or more do not fit.
    """
    # Keypoints that do not fit
    seen = np.stack([one.seen for one in sightings])
    lost = (fit.weights < LOST_WEIGHT) & seen

    # Cameras that show the person turned round
    across = np.stack([_across(one.person.skeleton_3d.joints_m) for one in sightings])
    others = across if expected is None else _across(expected)[None]
    turned = (across @ others.T).min(1) < 0

    for index in range(len(sightings)):
        doubtful = [part for part, of in _KEYPOINTS_OF.items() if lost[index, of].sum() >= 2]
        if turned[index] or len(doubtful) > 1:
            yield index, tuple(_KEYPOINTS_OF)
        for part in doubtful:
            yield index, (part,)


def _across(joints_m: np.ndarray) -> np.ndarray:
    """(3,) from the right to the left of a trunk."""
    sides = joints_m[_LEFT] - joints_m[_RIGHT]
    return np.nan_to_num(sides).sum(0)


def _exchange(parts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Orders of keypoints (14,) and joints (17,) with the sides of some limbs exchanged."""
    words = [word for part in parts for word in _SIDES[part]]
    keypoints = _flipped(KEYPOINT_NAMES, KEYPOINT_FLIP, words)
    joints = _flipped(JOINT_NAMES, JOINT_FLIP, words)

    return keypoints, joints


def _flipped(
    names: Sequence[str],
    flip: Sequence[int],
    words: Sequence[str],
) -> np.ndarray:
    """Order of points with the sides exchanged of those whose name ends in one of `words`."""
    order = []
    for index, name in enumerate(names):
        word = name.rpartition("_")[2]
        order.append(flip[index] if word in words else index)

    return np.array(order)


def _history_cost(
    fit: Fit,
    expected: np.ndarray | None,
) -> float:
    """Robust cost of the distance from the joints of the last frame."""
    if expected is None:
        return 0.0

    apart = np.nan_to_num(fit.joints_m - expected)
    square = (apart**2).sum(1)
    cost = np.log1p(square / HISTORY_STD_M**2)
    return float(cost.sum())


def _alone(person: Person) -> Person:
    """The person of one camera without its keypoints, and without the likelihood of those."""
    return replace(
        person,
        skeleton_2d=Skeleton2D.unknown(person.skeleton_2d.score),
        skeleton_3d=replace(person.skeleton_3d, log_likelihood=np.nan),
    )


def _fused_person(
    sightings: Sequence[Sighting],
    fit: Fit,
) -> Person:
    """A person without an id: the skeleton of a fit, with the velocities of the cameras."""
    covariance = fit.covariance_m2.reshape(JOINT_COUNT, 3, JOINT_COUNT, 3)
    joint = np.arange(JOINT_COUNT)
    own = covariance[joint, :, joint]
    with_root = covariance[joint, :, ROOT]
    root = covariance[ROOT, :, ROOT]
    relative = own + root - with_root - with_root.swapaxes(-1, -2)
    relative[ROOT] = 0.0

    # Status of what the cameras see, and of the rest
    used = fit.weights > LOST_WEIGHT
    confidence = np.stack([one.person.skeleton_2d.confidence for one in sightings])
    joint_confidence = np.zeros(JOINT_COUNT)
    joint_confidence[list(KEYPOINT_TO_JOINT)] = np.where(used, confidence, 0.0).max(0)
    status = np.full(JOINT_COUNT, JointStatus.INFERRED, np.uint8)
    status[joint_confidence > 0] = JointStatus.OBSERVED
    status[np.isnan(fit.joints_m).any(1)] = JointStatus.INVALID

    skeleton = Skeleton3D(
        joints_m=fit.joints_m,
        root_m=fit.joints_m[ROOT],
        covariance_m2=relative,
        root_covariance_m2=root,
        confidence=joint_confidence,
        status=status,
        log_likelihood=np.nan,
        metric=True,
        hypotheses_m=np.zeros((0, JOINT_COUNT, 3)),
        hypothesis_weight=np.zeros(0),
    )

    velocity, velocity_covariance = _velocities(sightings)
    score = max(one.person.skeleton_2d.score for one in sightings)
    return Person(
        id=0,
        age_s=0.0,
        skeleton_2d=Skeleton2D.unknown(score),
        skeleton_3d=skeleton,
        velocity_mps=velocity,
        velocity_covariance_m2ps2=velocity_covariance,
    )


def _velocities(sightings: Sequence[Sighting]) -> tuple[np.ndarray, np.ndarray]:
    """Velocities (17, 3) and their covariances, those of the cameras weighted by information."""
    persons = [one.person for one in sightings]
    velocity = np.stack([person.velocity_mps for person in persons])
    covariance = np.stack([person.velocity_covariance_m2ps2 for person in persons])
    moving = np.isfinite(velocity).all(-1)
    known = moving & np.isfinite(covariance).all((-1, -2))

    # Information of each camera; none where it is not known
    chosen = known[..., None, None]
    filled = np.where(chosen, covariance, 0.0)
    inverse = np.linalg.inv(filled + 1e-6 * np.eye(3))
    information = np.where(chosen, inverse, 0.0)
    filled_velocity = np.nan_to_num(velocity)
    weighted = information @ filled_velocity[..., None]

    total = information.sum(0)
    spread = np.linalg.inv(total + 1e-9 * np.eye(3))
    mean = spread @ weighted.sum(0)
    mean = mean[..., 0]

    unknown = ~known.any(0)
    mean[unknown] = np.nan
    spread[unknown] = np.nan
    return mean, spread


def _id_cost(
    stamp_ns: int,
    track: _Track,
    group: _Group,
) -> float:
    """Cost of a group having the id of a track; it may have it if the cost is below 0."""
    pose = group.person.skeleton_3d
    elapsed_ns = stamp_ns - track.seen_ns
    walked_m = WALKING_MPS * elapsed_ns / 1e9
    variance = PLACE_STD_M**2 + walked_m**2
    both = track.root_covariance_m2 + pose.root_covariance_m2
    spread = both + variance * np.eye(3)
    apart = pose.root_m - track.joints_m[ROOT]
    solved = np.linalg.solve(spread, apart)
    square = np.nan_to_num(apart @ solved, nan=np.inf)
    distance = min(float(square), 2 * MAX_DISTANCE)

    # Tracks of cameras that both have
    own = {(one.camera, one.person.id) for one in group.sightings}
    shared = len(own & track.members.items())

    return distance - MAX_DISTANCE - SHARED_TRACK * shared


def _add_lengths(
    track: _Track,
    pose: Skeleton3D,
) -> None:
    """Let a track's limb lengths be the mean of one fused frame more.

    The errors of the frames are correlated, so the variance is the mean of the variances. A limb
    without a length in this frame keeps what is known of it.
    """
    # Lengths and variances in this frame
    along = pose.joints_m[_CHILDREN] - pose.joints_m[_PARENTS]
    length = limb_lengths(pose.joints_m)
    divisor = np.maximum(length, 1e-6)
    direction = along / divisor[:, None]
    covariance = pose.covariance_m2
    both = covariance[_CHILDREN] + covariance[_PARENTS]
    variance = np.einsum("la,lab,lb->l", direction, both, direction)

    # Means
    known = np.isfinite(length) & np.isfinite(variance)
    track.frames += known
    share = known / np.maximum(track.frames, 1)
    longer = np.where(known, length - track.lengths_m, 0.0)
    looser = np.where(known, variance - track.length_variance, 0.0)
    track.lengths_m = track.lengths_m + share * longer
    track.length_variance = track.length_variance + share * looser
