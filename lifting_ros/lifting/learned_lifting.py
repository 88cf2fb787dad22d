# SPDX-License-Identifier: Apache-2.0
"""What all learned lifters share: view frames, placement, covariances and the choice of up.

A lifter shows its network persons in levelled view frames (`observation.Views`: z towards the
person, up in the y-z plane). The network returns a shape; the rays give the position and the size
(`placement`). So K, lens distortion and `up` are handled before the network, which sees neither
pixels nor a tilted world. Metres, the optical frame and the root's covariance come after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from lifting_ros.geometry.camera import Camera
from lifting_ros.lifting.depth_fusion import read_depth
from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.lifting.observation import NONE, Rays, Views, every_way_up, into_views, to_rays
from lifting_ros.lifting.placement import Placed, place
from lifting_ros.lifting.request import (
    UP,
    Depths,
    check_request,
    lift_somebody,
    scatter_poses,
    unit_up,
    up_of_each,
)
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_TO_JOINT
from lifting_ros.types import JointStatus, LiftedPoses

BLOCK = 1024
"""Persons per pass through the network; each is seen both ways up."""

HANDSTANDS = 1e-3
"""Prior probability of the upside-down hypothesis."""

Arrays = TypeVar("Arrays", bound=tuple)


class Guess(NamedTuple):
    """What a network returns for V persons."""

    joints: np.ndarray
    """(V, 17, 3) about the root, view frame, in units of the person's size (root of the sum of
    squared limb lengths)."""
    covariance: np.ndarray
    """(V, 17, 3, 3) of the joints, second moments; zero for the root."""
    root_scale: float = 1.0
    """Factor on the root's covariance except for the part that the size brings. It makes up for
    errors that several joints share."""


class LearnedLifter:
    """A `request.PoseLifter` around a network; subclasses define `guess`."""

    method = ""
    """Name among `lifters.METHODS`."""

    def __init__(self, size: tuple[float, float], config: LifterConfig | None = None):
        """size: mean and std of people's sizes, metres.

        Of `config` the keypoints' noise and the stature are used.
        """
        config = config or LifterConfig()
        self.config = config
        self.learned_size = size
        self.size = config.size_m(*size)

    def guess(
        self,
        views: Views,
        metric: bool,
    ) -> Guess:
        """Return the shapes of V persons.

        metric: whether the camera is calibrated, so that the extent of the rays indicates the
        distance.
        """
        raise NotImplementedError

    def warm_up(self, depth: bool = False) -> None:
        """Compile what no call has compiled yet."""
        lift_somebody(self)

    def lift(
        self,
        keypoints_px: np.ndarray,
        confidence: np.ndarray,
        covariance_px2: np.ndarray | None = None,
        camera: Camera | None = None,
        up: Sequence[float] | np.ndarray = UP,
        depth: tuple[np.ndarray, np.ndarray] | Depths | None = None,
    ) -> LiftedPoses:
        """Lift N persons as `request.PoseLifter.lift` specifies; the only hypothesis is the answer.

        Where up is known, every person is also lifted upside down; where it is not, with up in
        every direction of a grid. The direction under which the keypoints are most likely is taken.
        For an unfamiliar view the network returns a wide covariance, which makes the keypoints
        unlikely.
        """
        count = check_request(keypoints_px, confidence, covariance_px2)
        rays = to_rays(
            keypoints_px,
            confidence,
            covariance_px2,
            camera,
            self.config.keypoint_noise,
            self.config.noise_floor_px,
        )
        metric = camera is not None
        measured, has_depth = read_depth(depth if metric else None, count)
        request = _Request(rays, metric, measured, has_depth)
        vertical, known = unit_up(up_of_each(up, count))

        parts = []
        for rows in _blocks(np.flatnonzero(known)):
            hypotheses = _both_ways_up(rows, vertical[rows])
            parts.append(self._lift_best(request, hypotheses))

        for row in map(int, np.flatnonzero(~known)):
            ways = every_way_up(rays.rays[row], rays.seen[row])
            hypotheses = _equal_ways_up(row, ways)
            parts.append(self._lift_best(request, hypotheses))

        return scatter_poses(count, 1, parts)

    def _lift_best(
        self,
        request: _Request,
        hypotheses: _Hypotheses,
    ) -> tuple[np.ndarray, LiftedPoses]:
        """Lift persons under each hypothesis and keep the likeliest of each person.

        Returns the indices (R,) of the persons who can be lifted, and their poses.
        """
        rows = hypotheses.rows
        views = Views(*into_views(*_select(request.rays, rows), hypotheses.up))
        usable = np.flatnonzero(views.level != NONE)
        rows = rows[usable]
        views = _select(views, usable)
        if not len(rows):
            return rows, LiftedPoses.invalid(0, 1)

        # Shape, then position and size
        guess = self.guess(views, request.metric)
        placed = place(guess.joints, guess.covariance, views, self.size)

        # The likeliest way up
        evidence = placed.log_likelihood + hypotheses.log_prior[usable]
        best = _likeliest_of_each(rows, evidence)
        rows = rows[best]
        views = _select(views, best)
        placed = _select(placed, best)
        guess = guess._replace(joints=guess.joints[best], covariance=guess.covariance[best])

        placed = self._place_by_depth(request, rows, views, guess, placed)
        return rows, _to_poses(views, guess, placed, request.metric)

    def _place_by_depth(
        self,
        request: _Request,
        rows: np.ndarray,
        views: Views,
        guess: Guess,
        placed: Placed,
    ) -> Placed:
        """Return `placed`, with the persons who have depths placed again by these."""
        near = np.flatnonzero(request.has_depth[rows])
        if not len(near):
            return placed

        joints = guess.joints[near]
        covariance = guess.covariance[near]
        measured = request.measured[rows[near]]
        better = place(joints, covariance, _select(views, near), self.size, measured)

        merged = []
        for values, replacement in zip(placed, better):
            values = values.copy()
            values[near] = replacement
            merged.append(values)

        return Placed(*merged)


class _Request(NamedTuple):
    """What a call says about all persons."""

    rays: Rays
    metric: bool
    """Whether the camera is known."""
    measured: np.ndarray
    """(N, 14, 2) depths and their variances."""
    has_depth: np.ndarray
    """(N,) bool."""


class _Hypotheses(NamedTuple):
    """V pairs of a person and a direction of up."""

    rows: np.ndarray
    """(V,) indices of the persons."""
    up: np.ndarray
    """(V, 3)."""
    log_prior: np.ndarray
    """(V,)."""


def _both_ways_up(
    rows: np.ndarray,
    vertical: np.ndarray,
) -> _Hypotheses:
    """Return persons `rows` (R,) with their known up (R, 3), and upside down."""
    log_prior = np.repeat([0.0, np.log(HANDSTANDS)], len(rows))
    up = np.concatenate([vertical, -vertical])
    return _Hypotheses(np.tile(rows, 2), up, log_prior)


def _equal_ways_up(
    row: int,
    ways: np.ndarray,
) -> _Hypotheses:
    """Return one person with each of the directions `ways` (V, 3), all equally likely."""
    count = len(ways)
    return _Hypotheses(np.full(count, row), ways, np.zeros(count))


def _select(
    values: Arrays,
    index: np.ndarray,
) -> Arrays:
    """Return a named tuple with only some rows of its arrays."""
    chosen = [value[index] for value in values]
    return type(values)(*chosen)


def _blocks(rows: np.ndarray) -> list[np.ndarray]:
    blocks = []
    for start in range(0, len(rows), BLOCK):
        stop = start + BLOCK
        blocks.append(rows[start:stop])

    return blocks


def _likeliest_of_each(
    rows: np.ndarray,
    likelihood: np.ndarray,
) -> np.ndarray:
    """Return the index (R,) of the likeliest hypothesis of each person among `rows` (V,)."""
    order = np.lexsort((-likelihood, rows))
    _, first = np.unique(rows[order], return_index=True)
    return order[first]


def _to_poses(
    views: Views,
    guess: Guess,
    placed: Placed,
    metric: bool,
) -> LiftedPoses:
    """Return persons in view frames as poses in the optical frame, metres."""
    count = len(placed.size)
    to_optical = np.swapaxes(views.frame, 1, 2).astype(np.float64)  # (V, 3, 3)

    # Joints about the root
    size = placed.size[:, None, None]
    joints = guess.joints - guess.joints[:, :1]
    relative = np.einsum("vab,vjb->vja", to_optical, size * joints)

    # Their covariance: of the shape, and of the size
    size_variance = placed.covariance[:, 3, 3, None, None, None]
    by_shape = size[..., None] ** 2 * guess.covariance
    by_size = size_variance * joints[..., :, None] * joints[..., None, :]
    covariance = np.einsum("vab,vjbc,vdc->vjad", to_optical, by_shape + by_size, to_optical)

    # Root
    root = np.zeros((count, 3))
    root_covariance = np.full((count, 3, 3), np.nan)
    if metric:
        own = _root_covariance(placed, guess.root_scale)
        root = np.einsum("vab,vb->va", to_optical, placed.root)
        root_covariance = np.einsum("vab,vbc,vdc->vad", to_optical, own, to_optical)

    joints_m = relative + root[:, None]
    return LiftedPoses(
        joints_m=joints_m,
        root_m=root,
        covariance_m2=covariance,
        root_covariance_m2=root_covariance,
        status=joint_status(views.seen),
        log_likelihood=placed.log_likelihood,
        hypotheses_m=joints_m[:, None],
        hypothesis_weight=np.ones((count, 1)),
    )


def joint_status(seen: np.ndarray) -> np.ndarray:
    """Return the status (V, 17), uint8, of the joints of persons whose keypoints `seen` (V, 14)."""
    joints = list(KEYPOINT_TO_JOINT)
    shape = (len(seen), JOINT_COUNT)
    status = np.full(shape, JointStatus.INFERRED, np.uint8)
    status[:, joints] = np.where(seen, JointStatus.OBSERVED, JointStatus.INFERRED)

    return status


def _root_covariance(
    placed: Placed,
    scale: float,
) -> np.ndarray:
    """Return (V, 3, 3): the part that the uncertain size brings, and `scale` times the rest."""
    whole = placed.covariance[:, :3, :3]
    size = placed.covariance[:, :3, 3]
    size_variance = placed.covariance[:, 3, 3, None, None]
    by_size = size[:, :, None] * size[:, None] / size_variance

    return by_size + scale * (whole - by_size)
