# SPDX-License-Identifier: Apache-2.0
"""Depths of joints as Gaussian measurements in the lifter's posterior: they correct each mode, and
weight it by how well it predicted them.

The state is a mode's 54 latents (`conditioning`) and the logarithm of the person's size divided by
that of the prior: keypoints and limb lengths carry no information about the size, and a depth in
metres ties it to the distance in sizes. Each pass applies keypoints and limbs again as `modes`
does, with the last estimate's depths, so that joints move along their rays. Then it applies the
measured depths, linearised at that estimate. Some depths belong to a surface in front of the joint,
mostly the person's own arm. Each measurement is therefore a mixture of the joint and of another
surface, and its weight is found by variational EM in the space of measurements.

Relative depths, which a network guesses from the image (`depth_cue`), say how far the joints are
before or behind each other. They are in the person's sizes, linear in the latents, and say nothing
about the person's size or distance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.compiled import compiled
from lifting_ros.lifting.conditioning import LATENTS, LIMB_JOINTS
from lifting_ros.lifting.modes import (
    EVIDENCE_TEMPERATURE,
    Estimate,
    Problem,
    make_problem,
    make_scratch,
    run_pass,
)
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT, KEYPOINT_TO_JOINT

COMMON_STD_M = 0.02
"""Standard deviation (std) of the error that all depths of a person share: scale of the sensor,
build and clothes of the person."""

LEAST_STD_M = 0.005
"""Std added to that of every depth."""

BEFORE = 0.2
"""Prior probability that a depth belongs to a surface in front of the joint."""

BEHIND = 0.02
"""Prior probability that a depth belongs to a surface behind the joint."""

BEFORE_M = 0.6
"""Width of the uniform distribution of surfaces in front of the joint, metres."""

BEHIND_M = 1.0
"""Width of the uniform distribution of surfaces behind the joint, metres."""

FARTHEST_M = 1000.0
"""Depths beyond this are invalid."""

PASSES = 4
"""Passes of the best mode; all others get one."""

_STATE = LATENTS + 1
_LIMBS = len(LIMB_JOINTS)
_JOINT = np.array(KEYPOINT_TO_JOINT)

_LEAST_WEIGHT = 1e-9
"""Least weight of a measurement; one that is a metre off is then known to a kilometre."""

_MAX_LOG_GROWTH = 1.0
"""Largest log factor on the prior's size; it keeps a misfit from diverging."""

_COOLING_M = np.array([0.3, 0.1, 0.03, 0.0, 0.0])
"""Std added to the measurements, metres, in each step of the search for their weights."""


class JointDepths(NamedTuple):
    """Measured depths of one person's joints."""

    keypoints: np.ndarray
    """(n,) numbers of their keypoints."""
    z: np.ndarray
    """(n,) in the optical frame, metres."""
    variance: np.ndarray
    """(n,) m^2."""


class RelativeDepths(NamedTuple):
    """Relative depths of one person's joints, in sizes."""

    keypoints: np.ndarray
    """(n,) numbers of their keypoints."""
    z: np.ndarray
    """(n,) in the view frame, about the mean of all n."""
    variance: np.ndarray
    """(n,)."""


class _Given(NamedTuple):
    """What is known of the depths of one person's joints."""

    depths: JointDepths
    relative: RelativeDepths


class FusedMode(NamedTuple):
    """State of a mode; float64."""

    state: np.ndarray
    """(55,) latents, and log size divided by that of the prior."""
    place: np.ndarray
    """(3,) to be added to joint coordinates to get absolute ones, in sizes."""
    covariance: np.ndarray
    """(55, 55) of the state."""


class _Case(NamedTuple):
    """One mode of a person with depths."""

    problem: Problem
    posterior: np.ndarray
    """(54, 54), see `Plans`."""
    frame: np.ndarray
    """(3, 3) rotation from the optical frame into the view frame; float64."""
    depths: JointDepths
    relative: RelativeDepths


def read_depth(
    depth,
    count: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Measurements (N, 14, 2) of z and its variance, and which persons have any (N,).

    depth: the argument of `Lifter.lift`, or None. Both values are inf where there is no valid
    measurement. Raises ValueError in one line for arrays of a wrong shape.
    """
    pair = (None, None) if depth is None else depth[:2]
    measured = _read_pair(pair, ("depth z", "depth variance"), count)

    # Comparisons are false for NaN
    z = measured[..., 0]
    variance = measured[..., 1]
    z_valid = (z > 0) & (z < FARTHEST_M)
    variance_valid = (variance >= 0) & (variance < FARTHEST_M**2)
    measured[~(z_valid & variance_valid)] = np.inf
    measured[..., 1] += LEAST_STD_M**2

    return measured, np.isfinite(measured).all(2).any(1)


def read_relative_depth(
    depth,
    count: int,
) -> tuple[np.ndarray, np.ndarray]:
    """As `read_depth`, of the relative depths, if `depth` has any."""
    pair = (None, None) if depth is None or len(depth) == 2 else depth[2:]
    guessed = _read_pair(pair, ("relative depth z", "relative depth variance"), count)

    # Comparisons are false for NaN
    valid = (np.abs(guessed[..., 0]) < np.inf) & (guessed[..., 1] > 0)
    guessed[~valid] = np.inf

    return guessed, np.isfinite(guessed).all(2).any(1)


def _read_pair(
    pair,
    names: tuple[str, str],
    count: int,
) -> np.ndarray:
    """Two arrays as one of (N, 14, 2), inf where they are None; ValueError for a wrong shape."""
    expected = (count, KEYPOINT_COUNT)
    read = np.full((*expected, 2), np.inf)
    for axis, (name, values) in enumerate(zip(names, pair, strict=True)):
        if values is None:
            continue
        if np.shape(values) != expected:
            raise ValueError(f"{name}: expected {expected}, got {np.shape(values)}")
        read[..., axis] = values

    return read


@compiled
def fuse_depths(
    plans,
    shortlist,
    views,
    body,
    measured,
    out,
):
    """Refine the candidates of N persons with depths and write `out` (`modes.Modes`), in metres.

    plans: `Plans`, with their posteriors; shortlist: `Shortlist`; views: `Views`; body: `Body`;
    measured (N, 14, 4): z and its variance from `read_depth`, relative z and its variance from
    `read_relative_depth`. Covariances include the size's.
    """
    count, modes = shortlist.plan_row.shape
    scratch = make_scratch()

    for n in range(count):
        evidence = np.full(modes, -np.inf)
        found = np.zeros((modes, JOINT_COUNT, 3))
        states = np.zeros((modes, _STATE))
        places = np.zeros((modes, 3))
        covariance = np.zeros((_STATE, _STATE))
        index = np.flatnonzero(measured[n, :, 1] < np.inf)
        z = measured[n, index, 0]
        variance = measured[n, index, 1]
        given = _Given(JointDepths(index, z, variance), _relative_depths(measured[n]))

        # All modes once, then the best until it settles; `_fuse_mode` is called in one place, as
        # each call is compiled by itself
        best = 0
        for step in range(modes + 1):
            is_first = step < modes
            if step == modes:
                best = int(evidence.argmax())
            m = step if is_first else best
            if shortlist.plan_row[n, m] < 0:
                continue

            case = _make_case(plans, views, shortlist, n, m, given)
            fused = FusedMode(states[m], places[m], covariance)
            added = _fuse_mode(case, body, 1 if is_first else PASSES, scratch, fused)
            found[m] = _in_metres(fused, case.frame, body.size_m)
            if is_first:
                evidence[m] = shortlist.score[n, m] + added
            else:
                _write_covariances(fused, case, body.size_m, out.relative[n], out.root[n])

        # Weights and joints in order
        joints = out.joints[n]
        weight = out.weight[n]
        for rank, m in enumerate(np.argsort(-evidence)):
            weight[rank] = np.exp((evidence[m] - evidence[best]) / EVIDENCE_TEMPERATURE)
            joints[rank] = found[m if weight[rank] > 0 else best]
        weight /= weight.sum()
        total = np.exp(evidence - evidence[best]).sum()
        out.log_evidence[n] = evidence[best] + np.log(total)


@compiled
def _make_case(
    plans,
    views,
    shortlist,
    n,
    m,
    given,
):
    """`_Case` of mode m of person n."""
    problem = make_problem(plans, views, shortlist, n, m)
    posterior = plans.posterior[shortlist.plan_row[n, m]]
    frame = views.frame[shortlist.view_row[n, m]].astype(np.float64)

    return _Case(problem, posterior, frame, given.depths, given.relative)


@compiled
def _relative_depths(measured):
    """`RelativeDepths` of one person, from measurements (14, 4)."""
    index = np.flatnonzero(measured[:, 3] < np.inf)
    z = measured[index, 2]
    if len(z):
        z = z - z.mean()

    return RelativeDepths(index, z, measured[index, 3])


@compiled
def _fuse_mode(
    case,
    body,
    passes,
    scratch,
    fused,
):
    """Write `fused`, given keypoints, limbs and depths; return the log-evidence of limbs and
    depths.

    What is shared with `modes` is float32.
    """
    problem = case.problem
    depths = case.depths
    state = fused.state
    latents = np.empty(LATENTS, np.float32)
    estimate = Estimate(latents, np.empty(3, np.float32))

    limbs = np.float32(0.0)
    far = float(problem.first_depth)
    evidence = 0.0
    for done in range(passes + 1):
        # Linearise the depths at the last estimate
        fresh = done == 0
        if fresh:
            rows = np.empty((0, 0))
            predicted = np.empty(0)
        else:
            rows, predicted = _linearise_depths(case, body.size_m, fused)
            latents[:] = state[:LATENTS]

        # Keypoints and limbs
        added, reached = run_pass(problem, body, np.float32(far), fresh, scratch, estimate)
        if fresh:
            limbs = added
            far = float(reached)
            state[:LATENTS] = latents
            state[LATENTS] = 0.0
            fused.place[:] = estimate.place
            continue

        expected = np.zeros(_STATE)
        expected[:LATENTS] = latents
        _write_limb_posterior(case, scratch, body.size_std_m / body.size_m, fused.covariance)

        # Relative depths
        evidence = 0.0
        if len(case.relative.z):
            evidence += _update_relative(case.relative, expected, fused.covariance)

        # Depths
        if len(depths.z):
            change = expected - state
            innovation = depths.z - predicted - rows @ change
            evidence += _update(rows, innovation, depths.variance, expected, fused.covariance)
        state[:] = expected
        state[LATENTS] = min(max(state[LATENTS], -_MAX_LOG_GROWTH), _MAX_LOG_GROWTH)
        far = _move_place(problem, estimate, reached, fused)

    return limbs + evidence


@compiled
def _move_place(
    problem,
    estimate,
    reached,
    fused,
):
    """Write the `place` of the corrected state; return the new depth.

    estimate: before the correction, at depth `reached`.
    """
    mean = problem.mean
    state = fused.state
    place = fused.place
    latents = estimate.latents
    spot = estimate.place

    # Centroid of the seen joints
    count = 0
    x = 0.0
    y = 0.0
    z = 0.0
    for k in range(KEYPOINT_COUNT):
        if problem.seen[k]:
            count += 1
            x += mean[3 * _JOINT[k]]
            y += mean[3 * _JOINT[k] + 1]
            z += state[3 * _JOINT[k] + 2]

    # It moves along its ray with the depth
    first_depth = problem.first_depth
    wanted = first_depth * np.exp(state[LATENTS - 1])
    far = min(max(wanted, 0.5 * first_depth), 2.0 * first_depth)
    further = far / reached
    place[0] = (
        (spot[0] - latents[LATENTS - 3] + x / count) * further + state[LATENTS - 3] - x / count
    )
    place[1] = (
        (spot[1] - latents[LATENTS - 2] + y / count) * further + state[LATENTS - 2] - y / count
    )
    place[2] = far - z / count

    return far


@compiled
def _linearise_depths(
    case,
    size,
    fused,
):
    """Derivatives (n, 55) of the measured z by the state, and the predicted z (n,), metres."""
    state = fused.state
    index = case.depths.keypoints
    rows = np.zeros((len(index), _STATE))
    predicted = np.empty(len(index))
    metres = size * np.exp(state[LATENTS])
    moved = _place_derivative(case.problem.seen, fused)

    for i in range(len(index)):
        joint = _JOINT[index[i]]
        predicted[i] = 0.0
        for axis in range(3):
            latent = 3 * joint + axis
            towards = metres * case.frame[axis, 2]
            rows[i, latent] += towards
            predicted[i] += towards * (state[latent] + fused.place[axis])
            for c in range(LATENTS):
                rows[i, c] += towards * moved[axis, c]
        rows[i, LATENTS] = predicted[i]

    return rows, predicted


@compiled
def _place_derivative(
    seen,
    fused,
):
    """Derivative (3, 54) of the place by the latents; seen (14,)."""
    place = fused.place
    moved = np.zeros((3, LATENTS))
    moved[0, LATENTS - 3] = 1.0
    moved[1, LATENTS - 2] = 1.0

    count = 0
    middle = 0.0
    for k in range(KEYPOINT_COUNT):
        if seen[k]:
            count += 1
            middle += fused.state[3 * _JOINT[k] + 2]

    for k in range(KEYPOINT_COUNT):
        if seen[k]:
            moved[2, 3 * _JOINT[k] + 2] -= 1.0 / count

    moved[0, LATENTS - 1] = place[0]
    moved[1, LATENTS - 1] = place[1]
    moved[2, LATENTS - 1] = place[2] + middle / count

    return moved


@compiled
def _write_limb_posterior(
    case,
    scratch,
    relative_std,
    covariance,
):
    """Write the covariance (55, 55) of the state after keypoints and limbs.

    scratch: as the last pass left it; relative_std: std of the size divided by the size.
    """
    posterior = case.posterior
    cross = case.problem.cross
    direction = scratch.direction
    factor = scratch.factor

    # L^-1 times the covariance of lengths and latents
    reduced = np.empty((_LIMBS, LATENTS))
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
            covariance[a, b] = value
            covariance[b, a] = value


@compiled
def _update_relative(
    relative,
    state,
    covariance,
):
    """Kalman update in place by `RelativeDepths`, which are linear; return the log-evidence."""
    count = len(relative.z)
    rows = np.full((count, _STATE), 0.0)
    for i in range(count):
        for other in range(count):
            latent = 3 * _JOINT[relative.keypoints[other]] + 2
            rows[i, latent] -= 1.0 / count
        rows[i, 3 * _JOINT[relative.keypoints[i]] + 2] += 1.0

    cross = covariance @ rows.T  # (55, n)
    total = rows @ cross + np.diag(relative.variance)
    inverse = np.linalg.inv(total)
    innovation = relative.z - rows @ state
    weighted = inverse @ innovation
    state += cross @ weighted
    covariance -= cross @ inverse @ cross.T

    log_det = np.log(np.diag(np.linalg.cholesky(total))).sum()
    return -0.5 * innovation @ weighted - log_det


@compiled
def _update(
    rows,
    innovation,
    variance,
    state,
    covariance,
):
    """Kalman update in place by measurements (n,), some of which may belong to another surface;
    return the log-evidence, a lower bound.

    rows (n, 55): derivatives by the state; variance (n,): of the measurements.
    """
    cross = covariance @ rows.T  # (55, n)
    spread = rows @ cross + COMMON_STD_M**2

    # Weights of the measurements
    weights = np.ones(len(variance))
    for extra in _COOLING_M:
        noise = variance + extra * extra
        inverse = np.linalg.inv(spread + np.diag(noise / weights))
        left = innovation - spread @ (inverse @ innovation)
        left_variance = np.diag(spread - spread @ inverse @ spread)
        for i in range(len(variance)):
            weights[i] = _weigh(left[i], left_variance[i], noise[i])

    # Kalman update with them
    total = spread + np.diag(variance / weights)
    inverse = np.linalg.inv(total)
    weighted = inverse @ innovation
    state += cross @ weighted
    covariance -= cross @ inverse @ cross.T

    # Log-evidence
    log_det = np.log(np.diag(np.linalg.cholesky(total))).sum()
    evidence = -0.5 * innovation @ weighted - log_det
    left = innovation - spread @ weighted
    for i in range(len(variance)):
        evidence += _correct_evidence(weights[i], variance[i], left[i])

    return evidence


@compiled
def _log_density_elsewhere(left):
    """Log-density of a depth of another surface, which differs from the joint's by `left`,
    metres."""
    if left < 0:
        return np.log(BEFORE / BEFORE_M)

    return np.log(BEHIND / BEHIND_M)


@compiled
def _weigh(
    left,
    left_variance,
    noise,
):
    """Probability that a depth belongs to the joint.

    left: measured minus estimated depth, metres; left_variance: variance of the estimate; noise:
    variance of the measurement.
    """
    fit = np.log(2 * np.pi * noise) + (left * left + left_variance) / noise
    on = np.log(1 - BEFORE - BEHIND) - 0.5 * fit
    log_odds = _log_density_elsewhere(left) - on
    odds = np.exp(min(log_odds, 50.0))
    probability = 1.0 / (1.0 + odds)

    return max(probability, _LEAST_WEIGHT)


@compiled
def _correct_evidence(
    weight,
    noise,
    left,
):
    """Evidence of a depth that counts by `weight`, minus that of a depth of variance noise /
    weight."""
    value = (
        0.5 * np.log(2 * np.pi * noise / weight)
        - 0.5 * weight * np.log(2 * np.pi * noise)
        - 0.5 * np.log(2 * np.pi)
    )
    value += weight * (np.log(1 - BEFORE - BEHIND) - np.log(weight))
    rest = 1 - weight
    elsewhere = _log_density_elsewhere(left) - np.log(max(rest, 1e-12))

    return value + rest * elsewhere


@compiled
def _in_metres(
    fused,
    frame,
    size,
):
    """Joints (17, 3) in the optical frame, metres."""
    state = fused.state
    joints = np.zeros((JOINT_COUNT, 3))
    metres = size * np.exp(state[LATENTS])
    for joint in range(JOINT_COUNT):
        for axis in range(3):
            for k in range(3):
                joints[joint, axis] += (
                    metres * frame[k, axis] * (state[3 * joint + k] + fused.place[k])
                )

    return joints


@compiled
def _write_covariances(
    fused,
    case,
    size,
    relative,
    root,
):
    """Write the covariances of joint - root (17, 3, 3) and of the root (3, 3) in the optical frame,
    m^2."""
    state = fused.state
    metres = size * np.exp(state[LATENTS])
    frame = case.frame

    for joint in range(JOINT_COUNT):
        effect = np.zeros((3, _STATE))
        for axis in range(3):
            latent = 3 * joint + axis
            effect[axis, latent] += metres
            effect[axis, axis] -= metres
            effect[axis, LATENTS] = metres * (state[latent] - state[axis])
        turned = frame.T @ effect
        relative[joint] = turned @ fused.covariance @ turned.T

    moved = _place_derivative(case.problem.seen, fused)
    effect = np.zeros((3, _STATE))
    for axis in range(3):
        effect[axis, :LATENTS] = metres * moved[axis]
        effect[axis, axis] += metres
        effect[axis, LATENTS] = metres * (state[axis] + fused.place[axis])

    turned = frame.T @ effect
    root[:] = turned @ fused.covariance @ turned.T
