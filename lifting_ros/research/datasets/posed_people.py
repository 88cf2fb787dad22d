# SPDX-License-Identifier: Apache-2.0
"""Generator of poses that motion capture lacks: sitting, kneeling, squatting, bending, lying and
similar, on bodies of varied build. Some are blended with recorded poses.

`python -m lifting_ros.research.datasets.posed_people MOCAP.npz --sheet OUT.png --count N --seed S`
draws some of each family.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from lifting_ros.errors import DataError
from lifting_ros.geometry.rotations import unit
from lifting_ros.io.atomic import replacing
from lifting_ros.research.datasets.mocap import Mocap, read_mocap
from lifting_ros.research.datasets.posed_families import FAMILIES, Draw
from lifting_ros.research.datasets.posed_figure import (
    ANKLE_M,
    ANKLES,
    ELBOWS,
    HIPS,
    KNEE_M,
    KNEES,
    MEAN_SIZE_M,
    SEAT_M,
    SHOULDERS,
    WRIST_M,
    WRISTS,
    Bodies,
    Figure,
    across_hips_and_shoulders,
    centre_of_mass,
    clearances,
    donor_rows,
    draw_bodies,
    into,
    mirrored_rows,
    out_of,
    shoulders_within_limits,
    trunk_frames,
    within_limits,
)
from lifting_ros.research.datasets.posed_sheet import draw_sheet
from lifting_ros.skeleton import JOINT_COUNT, JOINT_FLIP, limb_lengths

BATCH = 4096
"""Largest number of figures drawn at once."""

ROUNDS = 400
"""Largest number of batches per family."""

REST_M = 0.002
"""Largest error of a contact height."""

BLENDINGS = 5
"""Attempts to blend a generated pose with a recorded one before it is kept unblended."""

HELD_OUT_SEED = 2**31
"""Added to the seeds of poses to measure on; seeds of recipes are smaller."""

GENERATED = "generated"
"""Added to the name of a subject from whom generated poses borrow."""

UNBLENDED = ("lie", "all_fours")
"""Families that are not blended: a mean with a standing pose would not be balanced."""

BLENDED_SHARE = (0.15, 0.85)
"""Range of the weight of the recorded pose."""

_LIMBS_OF_TRUNK = ((0, 7), (7, 8), (8, 9), (9, 10), (0, 4), (0, 1), (8, 11), (8, 14))
"""Parents and children of spine, head, hips and shoulders."""


class PosedPeople(NamedTuple):
    """N generated poses."""

    positions_m: np.ndarray
    """(N, 17, 3) y up, the floor at 0; facing any direction."""
    family: np.ndarray
    """(N,) index into `families`."""
    families: tuple[str, ...]
    limbs_m: np.ndarray
    """(N, 16) limb lengths of the bodies."""
    rest_m: np.ndarray
    """(N, 17) height at which a joint rests; NaN where it touches nothing."""
    support_m: np.ndarray
    """(N, 2, 2, 2) x and z of both ends of what left and right stand on; NaN of poses that are not
    balanced on it."""
    donor: np.ndarray
    """(N,) recorded row that lent the upper body."""

    def select(self, rows: np.ndarray) -> PosedPeople:
        """The poses of a boolean or integer index."""
        return PosedPeople(
            self.positions_m[rows],
            self.family[rows],
            self.families,
            self.limbs_m[rows],
            self.rest_m[rows],
            self.support_m[rows],
            self.donor[rows],
        )


def generate_people(
    mocap: Mocap,
    count: int,
    seed: int = 0,
    families: Sequence[str] = (),
    blended: float = 0.25,
) -> PosedPeople:
    """`count` generated poses; the same seed and recordings give the same bytes.

    mocap: recordings that lend upper bodies, limb lengths and the poses to blend with. families:
    names of FAMILIES, all by default, in the shares given there. blended: share of poses that
    are blended with a recorded one; they touch the floor, and neither `rest_m` nor `support_m` is
    known of them.

    DataError if a family is unknown, if there is no recorded pose to borrow from, or if a family
    cannot be posed on these bodies.
    """
    names = tuple(families) or tuple(FAMILIES)
    for name in names:
        if name not in FAMILIES:
            raise DataError(f"family: expected one of {', '.join(FAMILIES)}, got {name!r}")

    usable = donor_rows(mocap.positions_m)
    if not usable.any():
        raise DataError("positions: expected upright poses whose upper bodies can be borrowed")

    donors = _Donors(mocap, usable)
    all_names = tuple(FAMILIES)
    parts = []

    for name, number in zip(names, _numbers(names, count), strict=True):
        rng = np.random.default_rng((seed, 11, all_names.index(name)))
        parts.append(_generate(name, number, donors, rng))

    people = PosedPeople(
        positions_m=np.concatenate([part.positions_m for part in parts]),
        family=np.concatenate([part.family for part in parts]),
        families=all_names,
        limbs_m=np.concatenate([part.limbs_m for part in parts]),
        rest_m=np.concatenate([part.rest_m for part in parts]),
        support_m=np.concatenate([part.support_m for part in parts]),
        donor=np.concatenate([part.donor for part in parts]),
    )

    rng = np.random.default_rng((seed, 12))
    people = people.select(rng.permutation(count))
    people = _blend_some(people, mocap, blended, rng)
    return _turn_and_mirror(people, rng)


def with_generated(
    mocap: Mocap,
    count: int,
    seed: int = 0,
) -> tuple[Mocap, np.ndarray]:
    """The poses of `mocap` and `count` generated ones after them, and the recorded row (N + count,)
    that each is or that lent its upper body.

    The generated poses that borrow from a subject are a subject of their own, on the same side of
    the split, and a clip. Their proportions are nobody's own. With a count of 0 the recordings
    alone. Errors as `generate_people`.
    """
    recorded = len(mocap.positions_m)
    if count == 0:
        return mocap, np.arange(recorded)

    # New subjects and clips: one for each subject that lends
    people = generate_people(mocap, count, seed)
    lenders = mocap.subject_id[people.donor]
    ids = np.unique(mocap.subject_id)
    place = np.searchsorted(ids, lenders)
    first = max(int(ids.max()) + 1, len(mocap.subjects))
    subject_id = first + place
    clip_id = int(mocap.clip_id.max()) + 1 + place

    # The split stays
    held_out = np.unique(mocap.subject_id[mocap.validation_rows()])
    new_held_out = first + np.searchsorted(ids, held_out)
    validation_ids = (*held_out.tolist(), *new_held_out.tolist())
    names = mocap.subjects
    if names:
        names = (*names, *(f"{names[number]} {GENERATED}" for number in ids))

    extended = Mocap(
        np.concatenate([mocap.positions_m, people.positions_m]),
        np.concatenate([mocap.subject_id, subject_id]),
        np.concatenate([mocap.clip_id, clip_id]),
        np.concatenate([mocap.own_proportions, np.zeros(count, bool)]),
        names,
        validation_ids,
    )

    return extended, np.concatenate([np.arange(recorded), people.donor])


def held_out_people(
    mocap: Mocap,
    count: int,
    seed: int = 0,
) -> PosedPeople:
    """Generated poses to measure on: on bodies of the validation subjects, which `mocap` still
    holds, from seeds that no training uses. Errors as `generate_people`."""
    validation = mocap.select(mocap.validation_rows())
    return generate_people(validation, count, HELD_OUT_SEED + seed)


def _numbers(
    names: Sequence[str],
    count: int,
) -> list[int]:
    """Number of poses per family, `count` in all: by its share, the largest remainders rounded
    up."""
    share = np.array([FAMILIES[name].share for name in names])
    wanted = count * share / share.sum()
    numbers = np.floor(wanted).astype(int)

    order = np.argsort(numbers - wanted, kind="stable")
    left = count - numbers.sum()
    numbers[order[:left]] += 1
    return numbers.tolist()


class _Donors:
    """Recorded poses that lend upper bodies; no subject dominates."""

    def __init__(
        self,
        mocap: Mocap,
        usable: np.ndarray,
    ):
        self.positions_m = mocap.positions_m
        self.rows = np.flatnonzero(usable)
        subjects = mocap.subject_id[self.rows]
        _, owner, counts = np.unique(subjects, return_inverse=True, return_counts=True)
        weight = counts[owner] ** -0.5
        self.share = np.cumsum(weight) / weight.sum()

    def draw(
        self,
        count: int,
        rng: np.random.Generator,
    ) -> Bodies:
        """Bodies of `count` random recorded poses."""
        place = np.searchsorted(self.share, rng.random(count))
        last = len(self.rows) - 1
        rows = self.rows[place.clip(max=last)]
        return draw_bodies(self.positions_m, rows, rng)


def _generate(
    name: str,
    count: int,
    donors: _Donors,
    rng: np.random.Generator,
) -> PosedPeople:
    """`count` poses of a family that keep all limits, facing +z."""
    number = tuple(FAMILIES).index(name)
    family = FAMILIES[name]
    kept = [_nobody()]
    found = 0

    for _ in range(ROUNDS):
        if found >= count:
            break

        batch = min(BATCH, 64 + 4 * (count - found))
        bodies = donors.draw(batch, rng)
        figure = family.draw(Draw(rng, batch), bodies)
        good = np.flatnonzero(is_sound(figure))[: count - found]
        found += len(good)
        kept.append(
            (
                figure.joints[good],
                bodies.limbs_m[good],
                figure.rest[good],
                figure.support[good],
                bodies.donor[good],
            )
        )

    if found < count:
        raise DataError(f"positions: found no bodies that can be posed as {name}")

    columns = [np.concatenate(values) for values in zip(*kept, strict=True)]
    joints, limbs, rest, support, donor = columns
    families = np.full(len(joints), number)
    return PosedPeople(joints, families, tuple(FAMILIES), limbs, rest, support, donor)


def _nobody() -> tuple[np.ndarray, ...]:
    """What is kept of no figures."""
    return (
        np.zeros((0, JOINT_COUNT, 3)),
        np.zeros((0, JOINT_COUNT - 1)),
        np.zeros((0, JOINT_COUNT)),
        np.zeros((0, 2, 2, 2)),
        np.zeros(0, int),
    )


def is_sound(figure: Figure) -> np.ndarray:
    """Boolean (N,): figures that reach their goals within the limits of the joints, pass neither
    through the floor nor through themselves, and do not fall."""
    joints = figure.joints
    off = np.abs(joints[..., 1] - figure.rest)
    off_contact = (off > REST_M).any(1)

    sound = figure.fits & ~off_contact
    sound &= within_limits(joints)
    sound &= above_floor(joints, figure.scale)
    sound &= shoulders_within_limits(joints, figure.chest)
    sound &= clearances(joints, figure.scale)
    sound &= is_supported(joints, figure.support)

    return sound


def above_floor(
    joints: np.ndarray,
    scale: np.ndarray,
) -> np.ndarray:
    """Boolean (N,): poses (N, 17, 3) with the flesh about each joint above the floor."""
    least = np.full(JOINT_COUNT, 0.07)
    least[[*ANKLES, *KNEES]] = 0.04
    least[[*WRISTS, *ELBOWS]] = 0.03

    above = joints[..., 1] > least * scale[:, None] - 1e-6
    return above.all(1)


def is_supported(
    joints: np.ndarray,
    support: np.ndarray,
) -> np.ndarray:
    """Boolean (N,): poses (N, 17, 3) whose centre of mass is over the hull of what they stand on,
    support (N, 2, 2, 2); true where that is NaN."""
    centre = centre_of_mass(joints)[:, [0, 2]]
    points = support.reshape(len(joints), 4, 2) - centre[:, None]
    inside = np.isnan(points).any((1, 2))

    # The hull of four points is the union of their triangles
    for corners in ((0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3)):
        a, b, c = (points[:, corner] for corner in corners)
        turns = np.stack([_cross(a, b), _cross(b, c), _cross(c, a)])
        left = (turns >= 0).all(0)
        right = (turns <= 0).all(0)
        inside |= left | right

    return inside


def _cross(
    a: np.ndarray,
    b: np.ndarray,
) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _blend_some(
    people: PosedPeople,
    mocap: Mocap,
    blended: float,
    rng: np.random.Generator,
) -> PosedPeople:
    """The poses, a share of them blended with a recorded one and put back on the floor."""
    partners = _Partners(mocap)
    unblended = [people.families.index(name) for name in UNBLENDED]
    wanted = rng.random(len(people.positions_m)) < blended
    wanted &= ~np.isin(people.family, unblended)
    wanted &= partners.known(people.donor)

    positions = people.positions_m.copy()
    rest = people.rest_m.copy()
    support = people.support_m.copy()
    todo = np.flatnonzero(wanted)

    for _ in range(BLENDINGS):
        if not len(todo):
            break

        other = partners.draw(people.donor[todo], rng)
        share = rng.uniform(*BLENDED_SHARE, len(todo))
        mixed = blend(people.positions_m[todo], other, share)
        scale = _size(mixed) / MEAN_SIZE_M
        mixed = on_floor(mixed, scale)

        good = within_limits(mixed) & clearances(mixed, scale) & above_floor(mixed, scale)
        blended_rows = todo[good]
        positions[blended_rows] = mixed[good]
        rest[blended_rows] = np.nan
        support[blended_rows] = np.nan
        todo = todo[~good]

    return people._replace(positions_m=positions, rest_m=rest, support_m=support)


class _Partners:
    """Recorded poses to blend with: those of the subject that lent the upper body, so that a split
    by subject stays one."""

    def __init__(self, mocap: Mocap):
        self.positions_m = mocap.positions_m
        with np.errstate(invalid="ignore"):
            usable = np.flatnonzero(within_limits(mocap.positions_m))

        # Rows sorted by subject; those of a subject begin at its start
        _, self.owner = np.unique(mocap.subject_id, return_inverse=True)
        owner = self.owner[usable]
        order = np.argsort(owner, kind="stable")
        self.rows = usable[order]
        self.counts = np.bincount(owner, minlength=self.owner.max() + 1)
        self.starts = np.cumsum(self.counts) - self.counts

    def known(self, donor: np.ndarray) -> np.ndarray:
        """Boolean (n,): whether there are poses for recorded rows (n,)."""
        return self.counts[self.owner[donor]] > 0

    def draw(
        self,
        donor: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """(n, 17, 3) a pose of the subject of each of the recorded rows (n,)."""
        owner = self.owner[donor]
        draws = rng.random(len(donor))
        place = np.floor(draws * self.counts[owner]).astype(int)
        rows = self.rows[self.starts[owner] + place]
        return self.positions_m[rows]


def blend(
    poses_m: np.ndarray,
    others_m: np.ndarray,
    share: np.ndarray,
) -> np.ndarray:
    """Poses (N, 17, 3) on the bodies of `poses_m`, a share (N,) of the way to `others_m`, both
    turned to the same heading; the pelvis stays where it is.

    Trunk, thighs and upper arms are turned along the shortest way, knees and elbows by their angle.
    """
    others = _headed(others_m, _heading(poses_m))
    first_trunk = trunk_frames(poses_m)
    second_trunk = trunk_frames(others)
    trunk = _slerp(first_trunk, second_trunk, share)
    lengths = limb_lengths(poses_m)[..., None]
    joints = np.empty_like(poses_m)
    joints[:, 0] = poses_m[:, 0]

    # Spine, head, hips and shoulders
    for parent, child in _LIMBS_OF_TRUNK:
        first = into(first_trunk, _along(poses_m, parent, child))
        second = into(second_trunk, _along(others, parent, child))
        direction = out_of(trunk, _mix(first, second, share))
        joints[:, child] = joints[:, parent] + lengths[:, child - 1] * direction

    # Legs and arms
    for root, middle, end in zip((*HIPS, *SHOULDERS), (*KNEES, *ELBOWS), (*ANKLES, *WRISTS)):
        first = _limb(poses_m, first_trunk, (root, middle, end))
        second = _limb(others, second_trunk, (root, middle, end))
        frame = trunk @ _slerp(first.frame, second.frame, share)
        fold = first.fold + share * (second.fold - first.fold)
        off = first.off + share * (second.off - first.off)

        bone = np.cos(fold) * np.cos(off)
        aside = np.sin(fold) * np.cos(off)
        direction = out_of(frame, np.stack([bone, aside, np.sin(off)], -1))
        joints[:, middle] = joints[:, root] + lengths[:, middle - 1] * frame[..., 0]
        joints[:, end] = joints[:, middle] + lengths[:, end - 1] * direction

    return joints


def _along(
    joints: np.ndarray,
    parent: int,
    child: int,
) -> np.ndarray:
    """(N, 3) unit vectors of a limb."""
    return unit(joints[:, child] - joints[:, parent])


class _Limb(NamedTuple):
    """N limbs of two bones."""

    frame: np.ndarray
    """(N, 3, 3) in the trunk's frame; columns: the first bone, where the second one bends to, and
    the hinge."""
    fold: np.ndarray
    """(N,) angle between the bones in their plane, radians."""
    off: np.ndarray
    """(N,) angle of the second bone out of that plane, radians."""


def _limb(
    joints: np.ndarray,
    trunk: np.ndarray,
    chain: tuple[int, int, int],
) -> _Limb:
    """The limbs of a chain of three joints. trunk: (N, 3, 3)."""
    root, middle, end = chain
    bone = into(trunk, _along(joints, root, middle))
    other = into(trunk, _along(joints, middle, end))

    # A straight limb has its natural hinge: knees bend backwards, elbows forwards
    natural = np.array([1.0, 0.0, 0.0]) * (1.0 if root in HIPS else -1.0)
    hinge = np.cross(bone, other) + 0.02 * natural
    hinge = unit(hinge - (hinge * bone).sum(-1, keepdims=True) * bone)
    aside = np.cross(hinge, bone)

    fold = np.arctan2((other * aside).sum(-1), (other * bone).sum(-1))
    sine = np.clip((other * hinge).sum(-1), -1, 1)
    frame = np.stack([bone, aside, hinge], -1)
    return _Limb(frame, fold, np.arcsin(sine))


def _mix(
    first: np.ndarray,
    second: np.ndarray,
    share: np.ndarray,
) -> np.ndarray:
    """Unit vectors (N, 3) a share (N,) of the way between two less than half a turn apart."""
    mixed = (1 - share)[:, None] * first + share[:, None] * second
    return unit(mixed)


def _slerp(
    first: np.ndarray,
    second: np.ndarray,
    share: np.ndarray,
) -> np.ndarray:
    """Rotations (N, 3, 3) a share (N,) of the way from the first to the second."""
    start = Rotation.from_matrix(first)
    end = Rotation.from_matrix(second)
    way = (start.inv() * end).as_rotvec()
    step = Rotation.from_rotvec(share[:, None] * way)
    return (start * step).as_matrix()


def _heading(joints: np.ndarray) -> np.ndarray:
    """(N,) angle about the vertical of the line across hips and shoulders."""
    across = across_hips_and_shoulders(joints)
    return np.arctan2(across[:, 2], across[:, 0])


def _headed(
    joints: np.ndarray,
    heading: np.ndarray,
) -> np.ndarray:
    """Poses (N, 17, 3) turned about the vertical until their heading is (N,)."""
    angle = heading - _heading(joints)
    cosine = np.cos(angle)[:, None]
    sine = np.sin(angle)[:, None]
    x, y, z = np.moveaxis(joints, -1, 0)
    return np.stack([cosine * x - sine * z, y, sine * x + cosine * z], -1)


def on_floor(
    joints: np.ndarray,
    scale: np.ndarray,
) -> np.ndarray:
    """Poses (N, 17, 3) raised or lowered until the lowest joint rests on the floor; scale: (N,) of
    the bodies."""
    least = {0: SEAT_M, 8: 0.1, 10: 0.07}
    least |= dict.fromkeys(ANKLES, ANKLE_M)
    least |= dict.fromkeys(KNEES, KNEE_M)
    least |= dict.fromkeys((*WRISTS, *ELBOWS), WRIST_M)

    rest = np.array(list(least.values())) * scale[:, None]
    above = joints[:, list(least), 1] - rest
    drop = above.min(1)
    return joints - drop[:, None, None] * [0.0, 1.0, 0.0]


def _size(joints: np.ndarray) -> np.ndarray:
    limbs = limb_lengths(joints)
    return np.sqrt((limbs**2).sum(-1))


def _turn_and_mirror(
    people: PosedPeople,
    rng: np.random.Generator,
) -> PosedPeople:
    """The poses in random directions, half of them mirrored."""
    count = len(people.positions_m)
    flipped = rng.random(count) < 0.5
    angle = rng.uniform(0, 2 * np.pi, count)
    cosine = np.cos(angle)[:, None]
    sine = np.sin(angle)[:, None]

    # Joints
    positions = mirrored_rows(people.positions_m, flipped)
    positions -= positions[:, :1] * [1.0, 0.0, 1.0]
    x, y, z = np.moveaxis(positions, -1, 0)
    turned = np.stack([x * cosine + z * sine, y, z * cosine - x * sine], -1)

    # Limbs and contacts
    flip = list(JOINT_FLIP)
    limbs = np.concatenate([np.zeros((count, 1)), people.limbs_m], 1)
    limbs = np.where(flipped[:, None], limbs[:, flip], limbs)[:, 1:]
    rest = np.where(flipped[:, None], people.rest_m[:, flip], people.rest_m)

    # Support, about the pelvis
    pelvis = people.positions_m[:, 0, [0, 2]]
    moved = people.support_m - pelvis[:, None, None]
    mirrored = moved[:, ::-1] * [-1.0, 1.0]
    moved = np.where(flipped[:, None, None, None], mirrored, moved)
    x, z = np.moveaxis(moved, -1, 0)
    cosine = cosine[..., None]
    sine = sine[..., None]
    support = np.stack([x * cosine + z * sine, z * cosine - x * sine], -1)

    return people._replace(positions_m=turned, limbs_m=limbs, rest_m=rest, support_m=support)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a contact sheet."""
    parser = argparse.ArgumentParser(prog="posed_people", description=__doc__)
    parser.add_argument("mocap", metavar="MOCAP.npz", help="motion capture to borrow from")
    parser.add_argument("--sheet", required=True, metavar="OUT.png", help="sheet to write")
    parser.add_argument("--count", type=int, default=6, help="poses a family (default 6)")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--families", default="", metavar="NAMES", help="separated by commas")
    parser.add_argument("--blended", type=float, default=0.0, help="share that is blended")
    args = parser.parse_args(arguments)

    mocap = read_mocap(args.mocap)
    mocap = mocap.select(~mocap.validation_rows())
    names = [name for name in args.families.split(",") if name] or list(FAMILIES)
    people = []
    for name in names:
        people.append(generate_people(mocap, args.count, args.seed, (name,), args.blended))

    sheet = draw_sheet(
        np.concatenate([part.positions_m for part in people]),
        np.concatenate([part.family for part in people]),
        tuple(FAMILIES),
    )

    with replacing(Path(args.sheet), keep_suffix=True) as partial:
        if not cv2.imwrite(str(partial), sheet[..., ::-1]):
            raise DataError(f"{args.sheet}: cannot be written")

    print(f"{args.sheet}: {args.count} poses of each of {len(names)} families")
    return 0


if __name__ == "__main__":
    sys.exit(main())
