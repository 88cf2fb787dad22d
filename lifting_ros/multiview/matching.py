# SPDX-License-Identifier: Apache-2.0
"""Who is who: the persons of several cameras in groups with at most one person of each camera.

The cost of a pair of persons, one of each of two cameras, is the weighted sum of three robust
costs, each the negative logarithm of a t distribution as in `tracking.association`:

    rays:   distance between the rays of a keypoint that both see, divided by its standard deviation
            at the depth where they meet; mean of the keypoints
    root:   difference of the two roots under the sum of their covariances
    pose:   differences of the joints relative to the root, likewise; mean of the joints

People of equal height meet the rays of each other's heads and feet: there the root and the pose
decide. A pair that belonged to the same person in the last frame costs less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from lifting_ros.multiview.sighting import Sighting
from lifting_ros.skeleton import ROOT

FREEDOM = 4.0
"""Degrees of freedom of the t distributions."""

RAYS_WEIGHT = 3.0
"""Weight of the mean cost of the rays; that of root and pose is 1."""

KEPT_BONUS = 2.0
"""Subtracted from the cost of two persons who were the same one in the last frame; added where they
were two."""

BEHIND = 100.0
"""Squared distance of two rays that meet behind a camera."""

_LEAST_SINE = 0.05
"""Rays that are closer to parallel do not tell how far apart they pass."""

_LEAST_KEYPOINTS = 3
"""With fewer keypoints that both see the rays do not count."""


class Pair(NamedTuple):
    """Two persons who may be the same."""

    cost: float
    first: int
    second: int


def group_sightings(
    sightings: Sequence[Sighting],
    gate: float,
    owners: Sequence[int] | None = None,
) -> list[list[int]]:
    """Groups of indices of `sightings`, each group one person, in the order of their first member.

    gate: standard deviations beyond which two persons are not the same.
    owners: id of the fused person that each belonged to in the last frame; 0: none.
    """
    if not sightings:
        return []

    by_camera: dict[str, list[int]] = {}
    for index, one in enumerate(sightings):
        by_camera.setdefault(one.camera, []).append(index)

    largest = cost_at(gate)
    costs = pair_costs(sightings, gate)
    if owners is not None:
        costs = costs + _kept(owners)

    candidates = []
    for first, second in combinations(by_camera.values(), 2):
        candidates += _assigned(costs[np.ix_(first, second)], first, second, largest)

    return _merged(sorted(candidates), costs, sightings, largest)


def pair_costs(sightings: Sequence[Sighting], gate: float) -> np.ndarray:
    """Costs (N, N) of the pairs of N persons; those of the same camera mean nothing.

    Infinite where the roots are further apart than `gate` standard deviations. Rays and poses alone
    decide nothing: left and right may be exchanged in one of the cameras.
    """
    rays = _ray_costs(sightings)
    roots = _root_costs(sightings)
    poses = _pose_costs(sightings)
    total = RAYS_WEIGHT * rays + roots + poses

    largest = _t_cost(np.array(3 * gate**2), 3)
    return np.where(roots <= largest, total, np.inf)


def cost_at(deviations: float) -> float:
    """Cost of a pair that is off by `deviations` standard deviations along every axis."""
    square = np.array(deviations**2)
    of_rays = _t_cost(square, 1)
    of_points = _t_cost(3 * square, 3)

    return float(RAYS_WEIGHT * of_rays + 2 * of_points)


def _t_cost(
    square: np.ndarray,
    size: int,
) -> np.ndarray:
    """Negative log likelihood of squared distances in `size` dimensions, 0 at 0."""
    power = 0.5 * (FREEDOM + size)
    return power * np.log1p(square / FREEDOM)


def _ray_costs(sightings: Sequence[Sighting]) -> np.ndarray:
    """Mean costs (N, N) of the distances between the rays of the keypoints that both see."""
    along = np.stack([one.directions for one in sightings])[:, None]  # N, 1, 14, 3
    other = along.swapaxes(0, 1)
    origin = np.stack([one.origin for one in sightings])[:, None, None]
    between = origin.swapaxes(0, 1) - origin  # N, N, 1, 3

    # Where the rays pass each other, and how far apart
    normal = _cross(along, other)
    square = _dot(normal, normal)
    crossing = square > _LEAST_SINE**2
    square = np.where(crossing, square, 1.0)
    depth = _dot(_cross(between, other), normal) / square  # along the first one's rays
    apart = _dot(between, normal) ** 2 / square

    # In standard deviations
    variance = np.stack([one.mean_variance for one in sightings])
    spread = variance[:, None] * depth**2
    both_spread = spread + spread.swapaxes(0, 1)
    distance = apart / np.maximum(both_spread, 1e-12)
    ahead = depth > 0
    both_ahead = ahead & ahead.swapaxes(0, 1)
    distance = np.where(both_ahead, distance, BEHIND)

    seen = np.stack([one.seen for one in sightings])
    both_see = seen[:, None] & seen
    cost = _t_cost(distance, 1)
    return _mean_where(both_see & crossing, cost, _LEAST_KEYPOINTS)


def _root_costs(sightings: Sequence[Sighting]) -> np.ndarray:
    """Costs (N, N) of the differences of the roots."""
    poses = [one.person.skeleton_3d for one in sightings]
    place = np.stack([pose.root_m for pose in poses])
    spread = np.stack([pose.root_covariance_m2 for pose in poses])
    square = _pair_squares(place, spread)
    return _t_cost(square, 3)


def _pose_costs(sightings: Sequence[Sighting]) -> np.ndarray:
    """Mean costs (N, N) of the differences of the joints relative to the root."""
    poses = [one.person.skeleton_3d for one in sightings]
    joints = np.stack([pose.joints_m for pose in poses])
    spread = np.stack([pose.covariance_m2 for pose in poses])
    relative = joints - joints[:, :1]

    placed = np.isfinite(relative).all(-1)
    known = placed & np.isfinite(spread).all((-1, -2))
    known[:, ROOT] = False
    relative = np.where(known[..., None], relative, 0.0)
    spread = np.where(known[..., None, None], spread, np.eye(3))

    square = _pair_squares(relative, spread)
    cost = _t_cost(square, 3)
    both_know = known[:, None] & known
    return _mean_where(both_know, cost, 1)


def _pair_squares(
    places: np.ndarray,
    covariance: np.ndarray,
) -> np.ndarray:
    """Squared Mahalanobis distances (N, N, ...) between places (N, ..., 3)."""
    apart = places[:, None] - places
    both = covariance[:, None] + covariance
    regular = both + 1e-8 * np.eye(3)
    solved = np.linalg.solve(regular, apart[..., None])
    return _dot(apart, solved[..., 0])


def _mean_where(
    counted: np.ndarray,
    cost: np.ndarray,
    least: int,
) -> np.ndarray:
    """Mean (...) of those of the costs (..., K) that count; 0 where fewer than `least` do."""
    total = np.where(counted, cost, 0.0).sum(-1)
    count = counted.sum(-1)
    mean = total / np.maximum(count, 1)
    return np.where(count >= least, mean, 0.0)


def _dot(
    a: np.ndarray,
    b: np.ndarray,
) -> np.ndarray:
    product = a * b
    return product.sum(-1)


def _cross(
    a: np.ndarray,
    b: np.ndarray,
) -> np.ndarray:
    """Cross products (..., 3), in a third of the time of np.cross."""
    ax, ay, az = np.moveaxis(a, -1, 0)
    bx, by, bz = np.moveaxis(b, -1, 0)
    x = ay * bz - az * by
    y = az * bx - ax * bz
    z = ax * by - ay * bx
    return np.stack([x, y, z], -1)


def _kept(owners: Sequence[int]) -> np.ndarray:
    """What the last frame adds to the costs (N, N)."""
    before = np.array(owners)
    known = before > 0
    both_known = known[:, None] & known
    same = before[:, None] == before
    change = np.where(same, -KEPT_BONUS, KEPT_BONUS)
    return np.where(both_known, change, 0.0)


def _assigned(
    table: np.ndarray,
    first: Sequence[int],
    second: Sequence[int],
    largest: float,
) -> list[Pair]:
    """The pairs that minimise the sum of costs (P, Q), each of which costs less than `largest`."""
    gain = np.minimum(table - largest, 0.0)
    rows, columns = linear_sum_assignment(gain)
    return [
        Pair(float(table[row, column]), first[row], second[column])
        for row, column in zip(rows, columns)
        if gain[row, column] < 0
    ]


def _merged(
    candidates: Sequence[Pair],
    costs: np.ndarray,
    sightings: Sequence[Sighting],
    largest: float,
) -> list[list[int]]:
    """Groups joined by the candidates, the cheapest first.

    Two groups are joined if they share no camera, and if their pairs cost less than `largest` on
    average.
    """
    groups = [[index] for index in range(len(sightings))]
    group_of = list(range(len(sightings)))
    for pair in candidates:
        one = group_of[pair.first]
        other = group_of[pair.second]
        if one == other:
            continue

        cameras = [sightings[i].camera for i in groups[one] + groups[other]]
        mean = costs[np.ix_(groups[one], groups[other])].mean()
        if len(set(cameras)) < len(cameras) or mean >= largest:
            continue

        groups[one] += groups[other]
        for index in groups[other]:
            group_of[index] = one
        groups[other] = []

    return sorted(sorted(group) for group in groups if group)


def owners_of(
    sightings: Sequence[Sighting],
    members: Mapping[int, Mapping[str, int]],
) -> list[int]:
    """Id of the fused person to whom the track of each sighting belonged; 0: none.

    members: of each fused person, the id of its track in each camera.
    """
    owner = {}
    for number, tracks in members.items():
        for source in tracks.items():
            owner[source] = number

    owners = []
    for one in sightings:
        number = owner.get((one.camera, one.person.id), 0)
        owners.append(number if one.person.id else 0)
    return owners
