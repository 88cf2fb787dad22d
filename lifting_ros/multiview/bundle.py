# SPDX-License-Identifier: Apache-2.0
"""Bundle adjustment: the poses of cameras and the joints of people that fit all keypoints best.

Unknown are the pose of every camera but the reference, whose optical frame is the common one; the
joints X of each frame of a person; and the scale s of the limb lengths of each person. Each
residual is divided by its standard deviation:

    keypoint k in camera c:   pi(R_c' (X_k - o_c)) - u_ck
    limb from a to b:         log |X_b - X_a| - log L - s,   s ~ N(0, limb_scale_std^2)

Reprojections alone leave the scale open; the limb lengths, which the tracks know from the stature
that people have, fix it. Logarithms, because differences of lengths that have errors become smaller
where everything shrinks. The loss of keypoints and limbs is Cauchy's: one that does not fit counts
little.

People who stay at one place hardly determine the pose of a camera. Its prior is the pose from the
skeletons that each camera has alone, with standard deviations of 10 degrees and 12 % of the
distance. The errors of a person's keypoints stay for some frames. K such frames count as one: the
prior and the scales have K times the weight, and the covariance is K times as large.

The steps are Levenberg-Marquardt's with a sparse factorisation. The iterative solver of
scipy.optimize.least_squares for sparse problems stops far from the minimum: what moves cameras and
points together changes the cost little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array, csc_array, diags_array
from scipy.sparse.linalg import SuperLU, splu
from scipy.spatial.transform import Rotation

from lifting_ros.multiview.relative_pose import (
    DIRECTION_PRIOR_STD,
    ROTATION_PRIOR_STD,
    SEEN_LIMBS,
    frames_alike,
    noise_of,
)
from lifting_ros.multiview.residuals import limb_prior, whiteners
from lifting_ros.multiview.sighting import NEAR_M, Sighting, homogeneous, projection

LOSS_SCALE = 2.0
"""Standard deviations from which a residual counts less."""

FIRST_DAMPING = 1e-3
"""Levenberg-Marquardt damping of the first step, relative to the diagonal."""

TINY = 1e-12

_LEAST_DAMPING = 1e-9
_MOST_DAMPING = 1e6
_MOST_STEPS = 60

_SHORT_M = 0.01
"""Limbs are not taken to be shorter."""

_SMALL_GAIN = 1e-7
"""A step that lowers the cost relatively less is the last one."""

_POSE = 6
"""Unknowns of a camera: a rotation vector and the place."""

Sightings = Mapping[int, Sighting]
"""One person at one time, by the number of the camera."""


class PersonFrame(NamedTuple):
    """One person at one time."""

    person: int
    """Number of the person."""
    stamp_s: float
    sightings: Sightings


class Prior(NamedTuple):
    """Prior of the cameras' poses, from the skeletons that each camera has alone. An error of the
    rotation turns a camera about the people."""

    poses: np.ndarray
    """(C, 4, 4) from the optical frames to the common frame."""
    people_m: np.ndarray
    """(3,) where people are in the common frame."""
    limb_scale_std: float
    """Of the scale of a person's limb lengths."""


class Adjusted(NamedTuple):
    """Cameras that fit best; C cameras, K keypoints."""

    poses: np.ndarray
    """(C, 4, 4) from the optical frames to the common frame."""
    covariance: np.ndarray
    """(C, 6, 6) of the rotation vector (rad, common frame) and the place (m); 0 for the
    reference."""
    frame: np.ndarray
    """(K,) number of the frame of each keypoint."""
    camera: np.ndarray
    """(K,) camera of each keypoint."""
    error: np.ndarray
    """(K, 2) reprojection errors, normalised coordinates."""
    distance: np.ndarray
    """(K,) the same in standard deviations."""


def adjust(
    frames: Sequence[PersonFrame],
    poses: np.ndarray,
    prior: Prior,
) -> Adjusted:
    """Adjust poses (C, 4, 4), the first of which stays, to what is seen of people.

    numpy.linalg.LinAlgError where they leave something open.
    """
    problem = _Problem(frames, poses, prior)
    state = problem.start()
    damping = FIRST_DAMPING
    residual, jacobian = problem.at(state)
    cost = _cost(residual, problem.robust)

    for _ in range(_MOST_STEPS):
        change = _step(residual, jacobian, problem.robust, damping)
        trial = problem.moved(state, change)
        trial_residual, trial_jacobian = problem.at(trial)
        trial_cost = _cost(trial_residual, problem.robust)

        if not trial_cost < cost:
            damping *= 10
            if damping > _MOST_DAMPING:
                break
            continue

        gain = cost - trial_cost
        state = trial
        residual = trial_residual
        jacobian = trial_jacobian
        cost = trial_cost

        damping = max(damping / 10, _LEAST_DAMPING)
        if gain < _SMALL_GAIN * cost:
            break

    return _adjusted_at(problem, state)


def _step(
    residual: np.ndarray,
    jacobian: csc_array,
    robust: int,
    damping: float,
) -> np.ndarray:
    """Levenberg-Marquardt step (U,) with the weights of the robust loss."""
    weighted = jacobian.T * _weights(residual, robust)
    matrix = (weighted @ jacobian).tocsc()
    damped = matrix + diags_array(damping * matrix.diagonal() + TINY)
    return -_factors(damped.tocsc()).solve(weighted @ residual)


def _factors(matrix: csc_array) -> SuperLU:
    """LU factors of a symmetric positive definite matrix."""
    try:
        return splu(
            matrix,
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
    except RuntimeError as error:
        raise np.linalg.LinAlgError(str(error)) from None


def _weights(
    residual: np.ndarray,
    robust: int,
) -> np.ndarray:
    """Weights (R,) of the residuals, 1 behind the first `robust` ones."""
    weight = 1 / (1 + (residual / LOSS_SCALE) ** 2)
    weight[robust:] = 1.0
    return weight


def _cost(
    residual: np.ndarray,
    robust: int,
) -> float:
    """Half the squared residuals, with Cauchy's loss for the first `robust` ones."""
    loss = np.log1p((residual[:robust] / LOSS_SCALE) ** 2)
    squares = residual[robust:] ** 2
    return float(LOSS_SCALE**2 * loss.sum() + squares.sum()) / 2


def _adjusted_at(
    problem: _Problem,
    state: State,
) -> Adjusted:
    """Poses, their covariances and the errors at a state.

    The covariance is the inverse of the Gauss-Newton matrix, times the variance factor of the
    residuals if that is above 1, and the number of frames that count as one.
    """
    residual, jacobian = problem.at(state)
    weight = _weights(residual, problem.robust)
    weighted = jacobian.T * weight
    matrix = (weighted @ jacobian).tocsc()

    # Covariances of the cameras that move
    moving = len(state.poses) - 1
    count = _POSE * moving
    columns = np.eye(problem.size, count)
    inverse = _factors(matrix).solve(columns)[:count]
    blocks = inverse.reshape(moving, _POSE, moving, _POSE)
    own = np.arange(moving)

    freedom = max(len(residual) - problem.size, 1)
    factor = float(weight @ residual**2) / freedom
    covariance = np.zeros((len(state.poses), _POSE, _POSE))
    covariance[1:] = problem.alike * max(factor, 1.0) * blocks[own, :, own]

    # Errors
    error, _ = problem.reprojection(state)
    whitened = problem.whiten @ error[..., None]
    return Adjusted(
        poses=state.poses,
        covariance=covariance,
        frame=problem.frame,
        camera=problem.camera,
        error=error,
        distance=np.linalg.norm(whitened[..., 0], axis=-1),
    )


class State(NamedTuple):
    """Values of the unknowns."""

    poses: np.ndarray
    """(C, 4, 4) from the optical frames to the common frame."""
    points: np.ndarray
    """(P, 3) joints, m."""
    scale: np.ndarray
    """(N,) log scale of the limb lengths of each person."""


class _Problem:
    """Unknowns, in this order: six for each camera but the first, a small rotation in the common
    frame and a shift; points; scales. State is where they are, U is their number."""

    def __init__(
        self,
        frames: Sequence[PersonFrame],
        poses: np.ndarray,
        prior: Prior,
    ):
        self._poses = poses
        self._prior = prior
        self._frames = frames
        self._number = self._number_points()

        self._add_keypoints()
        self._add_limbs()
        self._first_point = _POSE * (len(poses) - 1)
        self._first_scale = self._first_point + 3 * self._point_count

        persons = np.array([frame.person for frame in frames])
        stamps = np.array([frame.stamp_s for frame in frames])
        self.alike = frames_alike(persons, stamps)
        """Frames that count as one: what is known beforehand counts as many times."""
        self._scale_std = prior.limb_scale_std / np.sqrt(self.alike)
        self.size = self._first_scale + int(persons.max()) + 1
        self.robust = 2 * len(self.camera) + len(self._length)
        """The keypoints and limbs, which come first; what is known beforehand is not robust."""

    def _number_points(self) -> np.ndarray:
        """Number (F, 14) of each joint that two cameras see; -1: others."""
        count = []
        for frame in self._frames:
            cameras = [one.seen for one in frame.sightings.values()]
            count.append(np.sum(cameras, axis=0))

        several = np.array(count) >= 2
        number = np.full(several.shape, -1)
        self._point_count = int(several.sum())
        number[several] = np.arange(self._point_count)

        return number

    def _add_keypoints(self) -> None:
        """Of each keypoint the frame (K,), camera (K,), point (K,), ray (K, 2) and whitening matrix
        (K, 2, 2)."""
        frame_of = []
        camera = []
        point = []
        ray = []
        covariance = []
        for place, (number, frame) in enumerate(zip(self._number, self._frames)):
            for index, one in frame.sightings.items():
                used = one.seen & (number >= 0)
                noise = noise_of(one.ray_covariance, np.array(one.shift_std))

                frame_of.append(np.full(used.sum(), place))
                camera.append(np.full(used.sum(), index))
                point.append(number[used])
                ray.append(one.rays[used])
                covariance.append(noise[used])

        self.frame = np.concatenate(frame_of)
        self.camera = np.concatenate(camera)
        self.point = np.concatenate(point)
        self.ray = np.concatenate(ray)
        self.whiten = whiteners(np.concatenate(covariance))

    def _add_limbs(self) -> None:
        """Ends (L,), length (L,), standard deviation (L,) and person (L,) of each limb."""
        rows = []
        for number, frame in zip(self._number, self._frames):
            lengths, std = limb_prior(list(frame.sightings.values()))
            for limb, parent, child in SEEN_LIMBS:
                ends = (number[parent], number[child])
                known = np.isfinite(std[limb]) and lengths[limb] > 0
                if min(ends) >= 0 and known:
                    rows.append((*ends, frame.person, lengths[limb], std[limb]))

        columns = np.array(rows).reshape(-1, 5).T
        self._parent, self._child, self._person = columns[:3].astype(int)
        self._length, self._length_std = columns[3:]

    def start(self) -> State:
        """The given poses, and the points nearest to their rays."""
        poses = self._poses[self.camera]
        along = poses[:, :3, :3] @ homogeneous(self.ray)[..., None]
        along = along / np.linalg.norm(along, axis=1, keepdims=True)
        across = np.eye(3) - along @ along.swapaxes(-1, -2)
        right = across @ poses[:, :3, 3:]

        information = np.zeros((self._point_count, 3, 3))
        total = np.zeros((self._point_count, 3, 1))
        np.add.at(information, self.point, across)
        np.add.at(total, self.point, right)
        points = np.linalg.solve(information + 1e-9 * np.eye(3), total)

        return State(self._poses, points[..., 0], np.zeros(self.size - self._first_scale))

    def moved(
        self,
        state: State,
        change: np.ndarray,
    ) -> State:
        """The state after a change (U,) of the unknowns."""
        ends = (self._first_point, self._first_scale)
        of_cameras, of_points, of_scales = np.split(change, ends)
        cameras = of_cameras.reshape(-1, _POSE)
        turn = Rotation.from_rotvec(cameras[:, :3]).as_matrix()

        poses = state.poses.copy()
        poses[1:, :3, :3] = turn @ poses[1:, :3, :3]
        poses[1:, :3, 3] += cameras[:, 3:]
        points = state.points + of_points.reshape(-1, 3)
        return State(poses, points, state.scale + of_scales)

    def at(self, state: State) -> tuple[np.ndarray, csc_array]:
        """Residuals (R,) and their derivatives (R, U): keypoints, limbs, scales."""
        error, by_point = self.reprojection(state)
        of_keypoints = (self.whiten @ error[..., None]).ravel()
        by_point = self.whiten @ by_point
        limbs, by_child = self._at_limbs(state)
        of_scales = state.scale / self._scale_std
        of_poses, by_pose = self._at_poses(state)
        residual = np.concatenate([of_keypoints, limbs, of_scales, of_poses.ravel()])

        entries = _Entries()
        keypoint = 2 * np.arange(len(self.camera))[:, None] + np.arange(2)  # K, 2
        point = self._first_point + 3 * self.point
        entries.add(keypoint, point, by_point)

        # A camera that moves is as points that move the other way
        moving = self.camera > 0
        first = _POSE * (self.camera[moving] - 1)
        apart = state.points[self.point] - state.poses[self.camera, :3, 3]
        by_turn = np.cross(by_point, apart[:, None])
        entries.add(keypoint[moving], first, by_turn[moving])
        entries.add(keypoint[moving], first + 3, -by_point[moving])

        limb = 2 * len(self.camera) + np.arange(len(limbs))[:, None]
        entries.add(limb, self._first_point + 3 * self._child, by_child[:, None])
        entries.add(limb, self._first_point + 3 * self._parent, -by_child[:, None])
        by_scale = -(self._length / self._length_std)[:, None, None]
        entries.add(limb, self._first_scale + self._person, by_scale)

        scale = np.arange(len(of_scales))
        row = self.robust + scale
        certainty = np.full((len(scale), 1, 1), 1 / self._scale_std)
        entries.add(row[:, None], self._first_scale + scale, certainty)
        pose_row = self.robust + len(scale) + np.arange(of_poses.size)
        first = _POSE * np.arange(len(of_poses))
        entries.add(pose_row.reshape(-1, _POSE), first, by_pose)
        return residual, entries.matrix((len(residual), self.size))

    def _at_poses(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """Differences (C - 1, 6) from the poses known beforehand, and their derivatives
        (C - 1, 6, 6)."""
        known = self._prior.poses[1:]
        turn = state.poses[1:, :3, :3] @ known[:, :3, :3].swapaxes(-1, -2)
        from_people = known[:, :3, 3] - self._prior.people_m
        turned = (turn @ from_people[..., None])[..., 0]
        moved = state.poses[1:, :3, 3] - self._prior.people_m - turned

        # Divided by the standard deviations
        certainty = np.sqrt(self.alike)
        distance = np.linalg.norm(from_people, axis=1, keepdims=True)
        of_turn = certainty / ROTATION_PRIOR_STD
        of_place = certainty / (DIRECTION_PRIOR_STD * np.maximum(distance, NEAR_M))
        rotation = Rotation.from_matrix(turn).as_rotvec()
        difference = np.concatenate([of_turn * rotation, of_place * moved], 1)

        by_turn = np.cross(turned[:, None], np.eye(3))
        derivative = np.zeros((len(known), _POSE, _POSE))
        derivative[:, :3, :3] = of_turn * np.eye(3)
        derivative[:, 3:, 3:] = of_place[..., None] * np.eye(3)
        derivative[:, 3:, :3] = of_place[..., None] * by_turn.swapaxes(-1, -2)
        return difference, derivative

    def reprojection(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """Errors (K, 2) in normalised coordinates, and their derivatives (K, 2, 3) by the
        points."""
        poses = state.poses[self.camera]
        apart = state.points[self.point] - poses[:, :3, 3]
        rotation = poses[:, :3, :3]
        in_camera = apart[:, None] @ rotation
        projected, derivative = projection(in_camera[:, 0])
        return projected - self.ray, derivative @ rotation.swapaxes(-1, -2)

    def _at_limbs(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """Residuals (L,) of the limbs, and their derivatives (L, 3) by the ends."""
        along = state.points[self._child] - state.points[self._parent]
        length = np.maximum(np.linalg.norm(along, axis=1), _SHORT_M)
        certainty = self._length / self._length_std
        stretch = np.log(length / self._length) - state.scale[self._person]
        by_child = along * (certainty / length**2)[:, None]
        return certainty * stretch, by_child


class _Entries:
    """The entries of a sparse matrix, block by block."""

    def __init__(self) -> None:
        self._rows: list[np.ndarray] = []
        self._columns: list[np.ndarray] = []
        self._values: list[np.ndarray] = []

    def add(
        self,
        rows: np.ndarray,
        first_columns: np.ndarray,
        values: np.ndarray,
    ) -> None:
        """Add N blocks (N, A, B), in rows (N, A) and the B columns from (N,) on."""
        shape = values.shape
        columns = first_columns[:, None] + np.arange(shape[2])
        every_row = np.broadcast_to(rows[..., None], shape)
        every_column = np.broadcast_to(columns[:, None], shape)

        self._rows.append(every_row.ravel())
        self._columns.append(every_column.ravel())
        self._values.append(values.ravel())

    def matrix(self, shape: tuple[int, int]) -> csc_array:
        rows = np.concatenate(self._rows)
        columns = np.concatenate(self._columns)
        values = np.concatenate(self._values)
        return coo_array((values, (rows, columns)), shape).tocsc()
