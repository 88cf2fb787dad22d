# SPDX-License-Identifier: Apache-2.0
"""Equation (5) as a posterior: what keypoints say, by linear algebra alone, about each component of
the prior in each rotation.

The view frame looks at the person: z along the viewing direction, up in its y-z plane. There a
candidate (component, rotation about the vertical) is a Gaussian over 54 latents in units of the
person's size: 51 joint coordinates, the place across the view (2) and the logarithm of depth over
its first estimate (1). Under weak perspective the keypoints are linear in them, s Pi E R (mu + a e)
of equation (5), so mean, covariance and evidence are closed forms. `Plans` holds them for a set of
candidates; poses of that mask and noise then need products only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.compiled import compiled
from lifting_ros.geometry.rotations import rotation_about_vertical, up_to_camera
from lifting_ros.prior.ppca import MixturePPCA
from lifting_ros.skeleton import JOINT_COUNT, JOINT_PARENTS, KEYPOINT_COUNT, KEYPOINT_TO_JOINT

LIMB_JOINTS = (2, 3, 5, 6, 12, 13, 15, 16)
"""Joints at the end of the limbs whose lengths are measured: shins, thighs, forearms and upper
arms. The trunk is stiff in the prior."""

PLACE_STD = 1.0
"""Deviation of the place across the view from its first estimate, sizes; wide against what
keypoints say."""
DEPTH_STD = 0.3
"""Deviation of the logarithm of depth from its first estimate; wide likewise."""
YAW_STD = 0.12
"""Deviation of the rotation about the vertical from its sample, radians: wider than the sampling,
for the mean pose's sake."""

POSE, LATENTS = 3 * JOINT_COUNT, 3 * JOINT_COUNT + 3
OBSERVATIONS = 2 * KEYPOINT_COUNT
LATERAL = np.array([3 * joint + axis for joint in KEYPOINT_TO_JOINT for axis in (0, 1)])
"""The latents that keypoints see: joint coordinates across the view."""
ROOT_LATENTS = np.array([0, 1, 2, POSE, POSE + 1, POSE + 2])
"""What the position of the root depends on."""
LIMB_END = np.array([3 * joint + axis for joint in LIMB_JOINTS for axis in range(3)])
LIMB_START = np.array(
    [3 * JOINT_PARENTS[joint] + axis for joint in LIMB_JOINTS for axis in range(3)]
)
"""The latents at both ends of the limb vectors, (24,)."""


class Candidates(NamedTuple):
    """Q Gaussians over poses in the view frame, person's sizes."""

    mean: np.ndarray
    """(Q, 51)."""
    covariance: np.ndarray
    """(Q, 51, 51), the uncertainty of the rotation included."""
    log_prior: np.ndarray
    """(Q,) log of the component's weight over the number of rotations."""
    component: np.ndarray
    """(Q,) those of one component lie together."""
    yaw: np.ndarray
    """(Q,) index of the rotation."""


class Plans(NamedTuple):
    """P candidates conditioned on keypoints of one mask and noise each; float32, contiguous,
    observations before latents."""

    mean: np.ndarray
    """(P, 54) latents before anything is seen."""
    offset: np.ndarray
    """(P, 28) predicted observations about their mean; 0 where not seen."""
    gain: np.ndarray
    """(P, 28, 54): latents = mean + innovation @ gain."""
    cross: np.ndarray
    """(P, 24, 54) covariance of the eight limb vectors with the latents after the keypoints."""
    relative: np.ndarray
    """(P, 17, 3, 3) covariance of joint - root after the keypoints."""
    root: np.ndarray
    """(P, 6, 6) covariance of ROOT_LATENTS after the keypoints."""
    posterior: np.ndarray
    """(P, 54, 54) covariance of all latents after the keypoints; (0, 54, 54) unless it was asked
    for."""


def make_candidates(
    prior: MixturePPCA, pitch: float, yaws: int, prior_scale: float, tilt_std: float
) -> Candidates:
    """Every component in `yaws` rotations about a vertical that the view frame sees at `pitch`
    (radians, up towards +z)."""
    rotations = upright(pitch) @ rotation_about_vertical(
        np.arange(yaws) * 2 * np.pi / yaws
    )  # (Y, 3, 3)
    components = len(prior.weights_)
    mean = np.einsum("yab,cjb->cyja", rotations, prior.means_).reshape(-1, JOINT_COUNT, 3)
    vertical = upright(pitch)[:, 1]
    spin = tilt_std * np.eye(3) + (YAW_STD - tilt_std) * np.outer(
        vertical, vertical
    )  # its deviations; a symmetric root
    arms = _turning(mean).reshape(-1, POSE, 3)
    covariance = _turn(prior.covariances() * prior_scale**2, rotations, arms @ spin)
    log_prior = np.repeat(np.log(prior.weights_ / yaws), yaws)
    component, yaw = np.repeat(np.arange(components), yaws), np.tile(np.arange(yaws), components)
    return Candidates(mean.reshape(-1, POSE), covariance, log_prior, component, yaw)


@compiled
def _turn(pose, rotations, moved):
    """Covariances pose (C, 51, 51) in every rotation (Y, 3, 3), and what the spin of `moved` (C Y,
    51, 3) adds: (C Y, 51, 51)."""
    out, half = np.empty((len(pose) * len(rotations), POSE, POSE)), np.empty((3, POSE))
    for q in range(len(out)):
        own, turn, arm = pose[q // len(rotations)], rotations[q % len(rotations)], moved[q]
        for i in range(0, POSE, 3):
            for a in range(3):
                for c in range(POSE):
                    half[a, c] = (
                        turn[a, 0] * own[i, c]
                        + turn[a, 1] * own[i + 1, c]
                        + turn[a, 2] * own[i + 2, c]
                    )
            for k in range(0, i + 3, 3):
                for a in range(3):
                    for b in range(3):
                        value = (
                            half[a, k] * turn[b, 0]
                            + half[a, k + 1] * turn[b, 1]
                            + half[a, k + 2] * turn[b, 2]
                        )
                        for spin in range(3):
                            value += arm[i + a, spin] * arm[k + b, spin]
                        out[q, i + a, k + b] = out[q, k + b, i + a] = value
    return out


def upright(pitch: float) -> np.ndarray:
    """Rotation (3, 3) from model axes (y up) into a view frame: the paper's E."""
    return up_to_camera(np.array([0.0, -np.cos(pitch), np.sin(pitch)]))


def _turning(points: np.ndarray) -> np.ndarray:
    """Derivative (..., 3, 3) of points (..., 3) with respect to a small rotation: w x p = -[p]x w."""
    x, y, z = np.moveaxis(points, -1, 0)
    zero = np.zeros_like(x)
    return np.stack([zero, z, -y, -z, zero, x, y, -x, zero], -1).reshape(*points.shape, 3)


def condition(
    candidates: Candidates,
    chosen: np.ndarray,
    seen: np.ndarray,
    noise: np.ndarray,
    whole: bool = False,
) -> tuple[Plans, np.ndarray, np.ndarray]:
    """Posteriors of candidates `chosen` (P,), each with its own mask and noise.

    seen (P or 1, 14) bool; noise (P or 1, 14, 3) covariance xx, xy, yy over the mean square of the
    rays about their mean. Also the inverse covariance of the observations (P, 28, 28), 0 where not
    seen, and the logarithm of its factor's determinant (P,), for scoring. `whole`: with the
    posterior of all latents.
    """
    count = len(chosen)
    shapes = (
        (LATENTS,),
        (OBSERVATIONS,),
        (OBSERVATIONS, LATENTS),
        (len(LIMB_END), LATENTS),
        (JOINT_COUNT, 3, 3),
        (6, 6),
    )
    arrays = [np.zeros((count, *shape), np.float32) for shape in shapes]
    plans = Plans(*arrays, np.zeros((count if whole else 0, LATENTS, LATENTS), np.float32))
    inverse, log_det = np.zeros((count, OBSERVATIONS, OBSERVATIONS)), np.zeros(count)
    _condition(
        candidates.mean,
        candidates.covariance,
        chosen,
        seen,
        noise.astype(np.float64),
        plans,
        inverse,
        log_det,
    )
    return plans, inverse, log_det


@compiled
def _condition(means, covariances, chosen, seen, noise, plans, inverse, log_det):
    for p in range(len(chosen)):
        visible, error = seen[p % len(seen)], noise[p % len(noise)]
        rows = np.array(
            [2 * k + axis for k in range(KEYPOINT_COUNT) if visible[k] for axis in range(2)]
        )
        mean, posterior = means[chosen[p]], np.zeros((LATENTS, LATENTS))
        posterior[:POSE, :POSE] = covariances[chosen[p]]
        for axis in range(2):
            posterior[POSE + axis, POSE + axis] = PLACE_STD**2
        posterior[LATENTS - 1, LATENTS - 1] = DEPTH_STD**2
        offset = _offset(mean, rows)
        cross, total = _observe(posterior, offset, rows, error)
        factor = np.linalg.cholesky(total)
        log_det[p] = np.log(np.diag(factor)).sum()
        whole = np.linalg.inv(total)
        gain = whole @ cross.T  # (n, 54)
        posterior -= cross @ gain
        plans.mean[p, :POSE] = mean
        for i in range(len(rows)):
            plans.offset[p, rows[i]] = offset[i]
            for k in range(len(rows)):
                inverse[p, rows[i], rows[k]] = whole[i, k]
            for c in range(LATENTS):
                plans.gain[p, rows[i], c] = gain[i, c]
        if len(plans.posterior):
            plans.posterior[p] = posterior
        _summarise(posterior, plans, p)


@compiled
def _offset(mean, rows):
    """Predicted observations about their mean, over the seen rows."""
    offset, middle = np.empty(len(rows)), np.zeros(2)
    for i in range(len(rows)):
        offset[i] = mean[LATERAL[rows[i]]]
        middle[rows[i] % 2] += 2 * offset[i] / len(rows)
    for i in range(len(rows)):
        offset[i] -= middle[rows[i] % 2]
    return offset


@compiled
def _observe(prior, offset, rows, noise):
    """Covariance of latents and observations (54, n), and of the observations (n, n).

    An observation is a coordinate across the view, plus the place, minus its offset times the log
    depth: further away than thought, the same rays span more.
    """
    count = len(rows)
    cross, total = np.empty((LATENTS, count)), np.empty((count, count))
    size = 2 * (offset**2).sum() / count  # mean square of the mean pose across the view
    for i in range(count):
        row = rows[i]
        for c in range(LATENTS):
            cross[c, i] = (
                prior[c, LATERAL[row]]
                + prior[c, POSE + row % 2]
                - offset[i] * prior[c, LATENTS - 1]
            )
    for i in range(count):
        for k in range(count):
            row, column = rows[i], rows[k]
            value = (
                cross[LATERAL[column], i]
                + cross[POSE + column % 2, i]
                - offset[k] * cross[LATENTS - 1, i]
            )
            if row // 2 == column // 2:
                value += size * noise[row // 2, row % 2 + column % 2]
            total[i, k] = value
    return cross, total


@compiled
def _summarise(posterior, plans, p):
    """The posterior (54, 54) as far as it is needed: limb vectors, joints against the root, the
    root."""
    for a in range(len(LIMB_END)):
        for c in range(LATENTS):
            plans.cross[p, a, c] = posterior[LIMB_END[a], c] - posterior[LIMB_START[a], c]
    for joint in range(JOINT_COUNT):
        for a in range(3):
            for b in range(3):
                i, k = 3 * joint + a, 3 * joint + b
                plans.relative[p, joint, a, b] = (
                    posterior[i, k] - posterior[i, b] - posterior[a, k] + posterior[a, b]
                )
    for a in range(len(ROOT_LATENTS)):
        for b in range(len(ROOT_LATENTS)):
            plans.root[p, a, b] = posterior[ROOT_LATENTS[a], ROOT_LATENTS[b]]
