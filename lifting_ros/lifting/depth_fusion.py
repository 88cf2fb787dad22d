# SPDX-License-Identifier: Apache-2.0
"""Depths of joints as a Gaussian measurement in the lifter's posterior: they correct each mode and
weigh it by how well it foretold them.

The state is a mode's 54 latents (`conditioning`) and the logarithm of the person's size over that
of the prior: keypoints and limb lengths are silent about the size, and a depth in metres ties it to
the distance in sizes. Each pass takes keypoints and limbs anew as `modes` does, with the last
estimate's depths, so that joints move along their rays; then the measured depths, linearised at
that estimate. Some depths are of something before the joint, mostly the person's own arm: every
measurement is a mixture of the joint and of a surface nearer to the camera, and how far each one
counts is found by variational EM in the space of measurements.
"""

from __future__ import annotations

import numpy as np

from lifting_ros.compiled import compiled
from lifting_ros.lifting.conditioning import LATENTS, LIMB_JOINTS
from lifting_ros.lifting.modes import CAUTION, pass_mode
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT, KEYPOINT_TO_JOINT

COMMON_STD_M = 0.02
"""Deviation that all depths of a person share: scale of the sensor, build and clothes of the
person."""
LEAST_STD_M = 0.005
"""No depth is taken for more certain."""
BEFORE, BEHIND = 0.2, 0.02
"""How often a depth is of something before the joint, and how often it is of something behind."""
BEFORE_M, BEHIND_M = 0.6, 1.0
"""How far off that is, metres, evenly spread."""
FARTHEST_M = 1000.0
"""Depths beyond are none."""
PASSES = 4
"""Passes of the best mode; all others have one."""

_STATE = LATENTS + 1
_LIMBS = len(LIMB_JOINTS)
_JOINT = np.array(KEYPOINT_TO_JOINT)
_LEAST_SHARE = (
    1e-9  # of a measurement in the answer: that of a metre off is then known to a kilometre
)
_MOST_GROWTH = 1.0  # logarithm of the factor on the prior's size: a misfit shall not run away
_COOLING = np.array([0.3, 0.1, 0.03, 0.0, 0.0])
"""Deviations added to the measurements', metres, while it is being found which of them count."""


def read_depth(depth, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Measurements (N, 14, 2) of z and its variance, and who has any (N,), of the argument `depth`
    of `Lifter.lift`.

    A variance that is not finite marks those that are none. Raises ValueError in one line for
    arrays of a wrong shape.
    """
    measured = np.full((count, KEYPOINT_COUNT, 2), np.inf)
    if depth is not None:
        for axis, (name, values) in enumerate(zip(("z", "variance"), depth, strict=True)):
            if np.shape(values) != measured.shape[:2]:
                raise ValueError(
                    f"depth {name}: expected {measured.shape[:2]}, got {np.shape(values)}"
                )
            measured[..., axis] = values
        z, variance = measured[..., 0], measured[..., 1]
        valid = (
            (z > 0) & (z < FARTHEST_M) & (variance >= 0) & (variance < FARTHEST_M**2)
        )  # false for NaN
        measured[~valid] = np.inf
        measured[..., 1] += LEAST_STD_M**2
    return measured, np.isfinite(measured).all(2).any(1)


@compiled
def fuse_rows(
    plans,
    plan,
    view,
    rays,
    seen,
    depth,
    score,
    frames,
    lengths,
    variance,
    measured,
    size,
    size_std,
    joints,
    weight,
    relative,
    root,
):
    """As `modes.lift_rows`, with depths `measured` (N, 14, 2), but in metres: joints (N, M, 17, 3),
    covariances the size's included.

    `plans` with their posteriors; size and size_std, metres, of the prior. Modes come best first;
    returns the log-evidence (N,).
    """
    count, modes = plan.shape
    total = np.empty(count, np.float32)
    work = (
        np.empty(2 * KEYPOINT_COUNT, np.float32),
        np.empty(3 * _LIMBS, np.float32),
        np.empty((_LIMBS, 3), np.float32),
        np.empty((_LIMBS, _LIMBS), np.float32),
        np.empty(3 * _LIMBS, np.float32),
        np.empty(KEYPOINT_COUNT, np.float32),
    )
    for n in range(count):
        evidence, found = np.full(modes, -np.inf), np.zeros((modes, JOINT_COUNT, 3))
        states, places, covariance = (
            np.zeros((modes, _STATE)),
            np.zeros((modes, 3)),
            np.zeros((_STATE, _STATE)),
        )
        index = np.flatnonzero(measured[n, :, 1] < np.inf)
        z, doubt = measured[n, index, 0], measured[n, index, 1]
        for repeated in range(2):  # all modes once, then the best until it settles
            best = evidence.argmax()
            for m in range(modes):
                if plan[n, m] < 0 or (repeated and m != best):
                    continue
                v, p, frame = view[n, m], plan[n, m], frames[view[n, m]].astype(np.float64)
                news = _fuse_mode(
                    plans,
                    p,
                    rays[v],
                    seen[v],
                    depth[n, m],
                    frame,
                    lengths,
                    variance,
                    index,
                    z,
                    doubt,
                    size,
                    size_std / size,
                    PASSES if repeated else 1,
                    work,
                    states[m],
                    places[m],
                    covariance,
                )
                found[m] = _in_metres(states[m], places[m], frame, size)
                if not repeated:
                    evidence[m] = score[n, m] + news
        v, frame = view[n, best], frames[view[n, best]].astype(np.float64)
        _covariances(
            states[best], places[best], covariance, seen[v], frame, size, relative[n], root[n]
        )
        for rank, m in enumerate(np.argsort(-evidence)):
            weight[n, rank] = np.exp((evidence[m] - evidence[best]) / CAUTION)
            joints[n, rank] = found[m if weight[n, rank] > 0 else best]
        weight[n] /= weight[n].sum()
        total[n] = evidence[best] + np.log(np.exp(evidence - evidence[best]).sum())
    return total


@compiled
def _fuse_mode(
    plans,
    p,
    rays,
    seen,
    first_depth,
    frame,
    lengths,
    variance,
    index,
    z,
    doubt,
    size,
    relative_std,
    passes,
    work,
    state,
    place,
    covariance,
):
    """One mode: state (55,), place (3,) and covariance (55, 55) with keypoints, limbs and depths z
    (n,) of variances `doubt` (n,).

    Returns the log-evidence of limbs and depths. Float32 is for what `modes` shares.
    """
    latents, spot = np.empty(LATENTS, np.float32), np.empty(3, np.float32)
    limbs, far = pass_mode(
        plans, p, rays, seen, first_depth, first_depth, lengths, variance, True, work, latents, spot
    )
    state[:LATENTS], state[LATENTS], place[:] = latents, 0.0, spot
    evidence = 0.0
    for _ in range(passes):
        rows, at = _measure(state, place, seen, frame, index, size)  # at the last estimate
        latents[:] = state[:LATENTS]
        _, reached = pass_mode(
            plans,
            p,
            rays,
            seen,
            first_depth,
            np.float32(far),
            lengths,
            variance,
            False,
            work,
            latents,
            spot,
        )
        expected, change = np.zeros(_STATE), np.zeros(_STATE)
        expected[:LATENTS] = latents
        _limb_posterior(
            plans.posterior[p], plans.cross[p], work[2], work[3], relative_std, covariance
        )
        change[:] = expected - state
        evidence = _update(rows, z - at - rows @ change, doubt, expected, covariance)
        state[:] = expected
        state[LATENTS] = min(max(state[LATENTS], -_MOST_GROWTH), _MOST_GROWTH)
        far = _settle(plans.mean[p], seen, latents, spot, reached, state, first_depth, place)
    return limbs + evidence


@compiled
def _settle(mean, seen, latents, spot, reached, state, first_depth, place):
    """`place` (3,) of the corrected state, from that (`spot`, with depth `reached`) of the latents
    before; returns the new depth."""
    count, x, y, z = 0, 0.0, 0.0, 0.0
    for k in range(KEYPOINT_COUNT):
        if seen[k]:
            count += 1
            x, y, z = (
                x + mean[3 * _JOINT[k]],
                y + mean[3 * _JOINT[k] + 1],
                z + state[3 * _JOINT[k] + 2],
            )
    far = min(max(first_depth * np.exp(state[LATENTS - 1]), 0.5 * first_depth), 2.0 * first_depth)
    further = far / reached  # what the rays' middle moves along with
    place[0] = (
        (spot[0] - latents[LATENTS - 3] + x / count) * further + state[LATENTS - 3] - x / count
    )
    place[1] = (
        (spot[1] - latents[LATENTS - 2] + y / count) * further + state[LATENTS - 2] - y / count
    )
    place[2] = far - z / count
    return far


@compiled
def _measure(state, place, seen, frame, index, size):
    """Derivatives (n, 55) of the keypoints' joints' z in the optical frame by the state, and their
    z (n,), metres."""
    rows, at = np.zeros((len(index), _STATE)), np.empty(len(index))
    metres = size * np.exp(state[LATENTS])
    moved = _by_place(place, seen, state)
    for i in range(len(index)):
        joint = _JOINT[index[i]]
        at[i] = 0.0
        for axis in range(3):
            towards = metres * frame[axis, 2]
            rows[i, 3 * joint + axis] += towards
            at[i] += towards * (state[3 * joint + axis] + place[axis])
            for c in range(LATENTS):
                rows[i, c] += towards * moved[axis, c]
        rows[i, LATENTS] = at[i]
    return rows, at


@compiled
def _by_place(place, seen, state):
    """Derivative (3, 54) of the place by the latents."""
    moved = np.zeros((3, LATENTS))
    moved[0, LATENTS - 3] = moved[1, LATENTS - 2] = 1.0
    count, middle = 0, 0.0
    for k in range(KEYPOINT_COUNT):
        if seen[k]:
            count += 1
            middle += state[3 * _JOINT[k] + 2]
    for k in range(KEYPOINT_COUNT):
        if seen[k]:
            moved[2, 3 * _JOINT[k] + 2] -= 1.0 / count
    moved[0, LATENTS - 1], moved[1, LATENTS - 1], moved[2, LATENTS - 1] = (
        place[0],
        place[1],
        place[2] + middle / count,
    )
    return moved


@compiled
def _limb_posterior(posterior, cross, direction, factor, relative_std, covariance):
    """Covariance (55, 55) of the state after keypoints and limbs; `direction` and `factor` as
    `modes.update_limbs` leaves them."""
    reduced = np.empty((_LIMBS, LATENTS))  # L^-1 times the covariance of lengths and latents
    for k in range(_LIMBS):
        for c in range(LATENTS):
            value = (
                direction[k, 0] * cross[3 * k, c]
                + direction[k, 1] * cross[3 * k + 1, c]
                + direction[k, 2] * cross[3 * k + 2, c]
            )
            for i in range(k):
                value -= factor[k, i] * reduced[i, c]
            reduced[k, c] = factor[k, k] * value
    covariance[:] = 0.0
    covariance[LATENTS, LATENTS] = relative_std**2
    for a in range(LATENTS):
        for b in range(a + 1):
            value = 0.5 * (float(posterior[a, b]) + float(posterior[b, a]))
            for k in range(_LIMBS):
                value -= reduced[k, a] * reduced[k, b]
            covariance[a, b] = covariance[b, a] = value


@compiled
def _update(rows, innovation, doubt, state, covariance):
    """Kalman update in place by measurements (n,), rows (n, 55), of which some do not count;
    returns the log-evidence, a lower bound."""
    cross = covariance @ rows.T  # 55, n
    spread = rows @ cross + COMMON_STD_M**2
    counts = np.ones(len(doubt))
    for extra in _COOLING:
        noise = doubt + extra * extra
        inverse = np.linalg.inv(spread + np.diag(noise / counts))
        left = innovation - spread @ (inverse @ innovation)
        certain = np.diag(spread - spread @ inverse @ spread)
        for i in range(len(doubt)):
            counts[i] = _share(left[i], certain[i], noise[i])
    total = spread + np.diag(doubt / counts)
    inverse = np.linalg.inv(total)
    weighted = inverse @ innovation
    state += cross @ weighted
    covariance -= cross @ inverse @ cross.T
    evidence = -0.5 * innovation @ weighted - np.log(np.diag(np.linalg.cholesky(total))).sum()
    left = innovation - spread @ weighted
    for i in range(len(doubt)):
        evidence += _correction(counts[i], doubt[i], left[i])
    return evidence


@compiled
def _log_off(left):
    """Log-density of a depth that is off by `left`, metres, since it is not of the joint."""
    return np.log(BEFORE / BEFORE_M) if left < 0 else np.log(BEHIND / BEHIND_M)


@compiled
def _share(left, certain, noise):
    """Probability that a depth is of the joint, which is off it by `left`, metres, known to the
    variance `certain`."""
    on = np.log(1 - BEFORE - BEHIND) - 0.5 * (
        np.log(2 * np.pi * noise) + (left * left + certain) / noise
    )
    return max(1.0 / (1.0 + np.exp(min(_log_off(left) - on, 50.0))), _LEAST_SHARE)


@compiled
def _correction(count, noise, left):
    """What the evidence of a depth that counts by `count` differs from that of one of the variance
    noise / count."""
    value = (
        0.5 * np.log(2 * np.pi * noise / count)
        - 0.5 * count * np.log(2 * np.pi * noise)
        - 0.5 * np.log(2 * np.pi)
    )
    value += count * (np.log(1 - BEFORE - BEHIND) - np.log(count))
    return value + (1 - count) * (_log_off(left) - np.log(max(1 - count, 1e-12)))


@compiled
def _in_metres(state, place, frame, size):
    """Joints (17, 3) in the optical frame."""
    joints, metres = np.zeros((JOINT_COUNT, 3)), size * np.exp(state[LATENTS])
    for joint in range(JOINT_COUNT):
        for axis in range(3):
            for k in range(3):
                joints[joint, axis] += metres * frame[k, axis] * (state[3 * joint + k] + place[k])
    return joints


@compiled
def _covariances(state, place, covariance, seen, frame, size, relative, root):
    """Covariances of joint - root (17, 3, 3) and of the root (3, 3) in the optical frame, m^2, from
    that of the state (55, 55)."""
    metres = size * np.exp(state[LATENTS])
    moved = _by_place(place, seen, state)
    for joint in range(JOINT_COUNT + 1):  # the last stands for the root itself
        effect = np.zeros((3, _STATE))
        for axis in range(3):
            if joint < JOINT_COUNT:
                effect[axis, 3 * joint + axis] += metres
                effect[axis, axis] -= metres
                effect[axis, LATENTS] = metres * (state[3 * joint + axis] - state[axis])
            else:
                effect[axis, :LATENTS] = metres * moved[axis]
                effect[axis, axis] += metres
                effect[axis, LATENTS] = metres * (state[axis] + place[axis])
        turned = frame.T @ effect
        spread = turned @ covariance @ turned.T
        if joint < JOINT_COUNT:
            relative[joint] = spread
        else:
            root[:] = spread
