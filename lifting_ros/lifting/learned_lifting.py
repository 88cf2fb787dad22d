# SPDX-License-Identifier: Apache-2.0
"""What every learned lifter shares: it sees a person in a levelled view frame, says a shape, and
the rays say where and how large it is.

The network's part is `guess`: from persons in view frames (`observation.Views`: z towards the
person, up in the y-z plane) to joints about the root in units of the person's size, with
covariances. So K, lens distortion and `up` are obeyed before the network, which sees neither pixels
nor a tilted world, and metres, the optical frame and the root's covariance come after it
(`placement`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lifting_ros.geometry.camera import Camera
from lifting_ros.lifting.depth_fusion import read_depth
from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.lifting.observation import NONE, Rays, Views, every_way_up, into_views, to_rays
from lifting_ros.lifting.placement import Placed, place
from lifting_ros.lifting.request import UP, check_request, lift_somebody, unit_up
from lifting_ros.skeleton import KEYPOINT_TO_JOINT
from lifting_ros.types import JointStatus, LiftedPoses

BLOCK = 1024
"""Persons that go through the network at a time, each seen both ways up."""
HANDSTANDS = 1e-3
"""How many people are upside down."""


class Guess(NamedTuple):
    """What a network says of V persons."""

    joints: np.ndarray
    """(V, 17, 3) about the root, view frame, in units of the person's size (root of the sum of
    squared limb lengths)."""
    covariance: np.ndarray
    """(V, 17, 3, 3) of these, second moments; zero for the root."""
    root_scale: float = 1.0
    """Factor on the root's covariance but for what the size brings: errors of joints that go
    together."""


class LearnedLifter:
    """A `request.PoseLifter` around a network; subclasses give `guess`."""

    method = ""
    """Name among `lifters.METHODS`."""

    def __init__(self, size: tuple[float, float], config: LifterConfig | None = None):
        """size: mean and deviation of people's sizes, metres; of `config` the keypoints' noise and
        the stature are used."""
        self.config = config = config or LifterConfig()
        self.learned_size, self.size = size, config.size_m(*size)

    def guess(self, views: Views, metric: bool) -> Guess:
        """The shapes of V persons; metric: whether the rays are those of a calibrated camera, so
        that their extent tells the distance."""
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
        depth: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> LiftedPoses:
        """Lift N persons, as `request.PoseLifter.lift` says; one hypothesis, the answer.

        Where gravity is known everybody is seen upside down as well, where it is not in every way
        up; the way whose shape makes the keypoints likeliest is taken. A network that is shown what
        it has not learnt says a wide covariance, which makes them unlikely.
        """
        count = check_request(keypoints_px, confidence, covariance_px2)
        config = self.config
        rays = to_rays(
            keypoints_px,
            confidence,
            covariance_px2,
            camera,
            config.keypoint_noise,
            config.noise_floor_px,
        )
        vertical, known = unit_up(np.broadcast_to(np.asarray(up, np.float64), (count, 3)))
        asked = _Asked(
            rays, camera is not None, *read_depth(depth if camera is not None else None, count)
        )
        poses = LiftedPoses.invalid(count, 1)
        for rows in _blocks(np.flatnonzero(known)):
            over = np.repeat([0.0, np.log(HANDSTANDS)], len(rows))
            self._lift_views(
                poses,
                np.tile(rows, 2),
                asked,
                np.concatenate([vertical[rows], -vertical[rows]]),
                over,
            )
        for row in np.flatnonzero(~known):
            ways = every_way_up(rays.rays[row], rays.seen[row])
            self._lift_views(poses, np.full(len(ways), row), asked, ways, np.zeros(len(ways)))
        return poses

    def _lift_views(
        self,
        poses: LiftedPoses,
        rows: np.ndarray,
        asked: _Asked,
        up: np.ndarray,
        log_prior: np.ndarray,
    ) -> None:
        """Persons `rows` (V,), each as often as there are ways `up` (V, 3), `log_prior` (V,), to
        see them; the likeliest is written."""
        views = Views(*into_views(*(value[rows] for value in asked.rays), up))
        able = np.flatnonzero(views.level != NONE)
        rows, views = rows[able], _of(views, able)
        if not len(rows):
            return
        guess = self.guess(views, asked.metric)
        placed = place(guess.joints, guess.covariance, views, self.size)
        best = _likeliest_of_each(rows, placed.log_likelihood + log_prior[able])
        rows, views, placed = rows[best], _of(views, best), _of(placed, best)
        guess = guess._replace(joints=guess.joints[best], covariance=guess.covariance[best])
        near = np.flatnonzero(asked.deep[rows])
        if len(near):
            again = place(
                guess.joints[near],
                guess.covariance[near],
                _of(views, near),
                self.size,
                asked.measured[rows[near]],
            )
            for values, better in zip(placed, again):
                values[near] = better
        _write(poses, rows, views, guess, placed, asked.metric)


class _Asked(NamedTuple):
    """What is known of all persons of a call."""

    rays: Rays
    metric: bool
    measured: np.ndarray
    """(N, 14, 2) depths and their variances."""
    deep: np.ndarray
    """(N,) who has any."""


def _of(values: NamedTuple, index: np.ndarray) -> NamedTuple:
    """Some rows of a tuple of arrays."""
    return type(values)(*(value[index] for value in values))


def _blocks(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]


def _likeliest_of_each(rows: np.ndarray, likelihood: np.ndarray) -> np.ndarray:
    """Index (R,) of the likeliest view of each person among `rows` (V,)."""
    order = np.lexsort((-likelihood, rows))
    return order[np.unique(rows[order], return_index=True)[1]]


def _write(
    poses: LiftedPoses, rows: np.ndarray, views: Views, guess: Guess, placed: Placed, metric: bool
) -> None:
    """Persons in view frames into rows of the answer: optical frame, metres."""
    turn = np.swapaxes(views.frame, 1, 2).astype(np.float64)  # V, 3, 3: view to optical
    size, variance = placed.size[:, None, None], placed.covariance[:, 3, 3, None, None, None]
    joints = guess.joints - guess.joints[:, :1]
    relative = np.einsum("vab,vjb->vja", turn, size * joints)
    spread = (
        size[..., None] ** 2 * guess.covariance
        + variance * joints[..., :, None] * joints[..., None, :]
    )
    root = np.einsum("vab,vb->va", turn, placed.root) if metric else np.zeros((len(rows), 3))
    poses.joints_m[rows], poses.root_m[rows] = relative + root[:, None], root
    poses.covariance_m2[rows] = np.einsum("vab,vjbc,vdc->vjad", turn, spread, turn)
    if metric:
        poses.root_covariance_m2[rows] = np.einsum(
            "vab,vbc,vdc->vad", turn, _root_covariance(placed, guess.root_scale), turn
        )
    status = np.full(joints.shape[:2], JointStatus.INFERRED, np.uint8)
    status[:, list(KEYPOINT_TO_JOINT)] = np.where(
        views.seen, JointStatus.OBSERVED, JointStatus.INFERRED
    )
    poses.status[rows], poses.log_likelihood[rows] = status, placed.log_likelihood
    poses.hypotheses_m[rows, 0], poses.hypothesis_weight[rows] = poses.joints_m[rows], 1.0


def _root_covariance(placed: Placed, scale: float) -> np.ndarray:
    """(V, 3, 3): what the uncertain size brings, and `scale` times the rest."""
    whole, size = placed.covariance[:, :3, :3], placed.covariance[:, :3, 3]
    by_size = size[:, :, None] * size[:, None] / placed.covariance[:, 3, 3, None, None]
    return by_size + scale * (whole - by_size)
