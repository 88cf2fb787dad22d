# SPDX-License-Identifier: Apache-2.0
"""Refinement of shortlisted candidates to skeletons: keypoints, limb lengths and true perspective.

Each candidate comes with a plan (`conditioning.Plans`): under weak perspective its latents are the
mean plus the innovation times a gain. Two things are not linear. Limbs keep their lengths: eight
lengths are measurements, linearised at the last estimate (an iterated Kalman update). And a nearer
joint looks larger: a ray r meets joint j at r (depth + z_j), so observations are formed again with
the last estimate's z until both agree. The best mode is iterated; the others are hypotheses and get
one pass.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lifting_ros.compiled import assign, compiled
from lifting_ros.lifting.conditioning import (
    LATENTS,
    LIMB_END,
    LIMB_JOINTS,
    LIMB_START,
    ROOT_LATENTS,
)
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT, KEYPOINT_TO_JOINT

EVIDENCE_TEMPERATURE = 3.0
"""The modes' log-evidence is divided by this before they are weighted, because the prior is only a
model of real people."""

LIMBS = len(LIMB_JOINTS)
"""Number of limbs whose lengths are measured."""

MAX_LOG_DEPTH_STEP = np.float32(0.3)
"""Largest change of log depth per pass."""

MAX_DEPTH_FACTOR = np.float32(2.0)
"""Largest factor on the depth over all passes; it keeps a misfit from diverging."""

_JOINT = np.array(KEYPOINT_TO_JOINT)


class Shortlist(NamedTuple):
    """M candidates for each of N persons, best first by keypoints alone."""

    plan_row: np.ndarray
    """(N, M) row of `conditioning.Plans`, negative where there is none."""
    view_row: np.ndarray
    """(N, M) row of `observation.Views`."""
    depth: np.ndarray
    """(N, M) first estimate of the depth, in sizes."""
    score: np.ndarray
    """(N, M) log-evidence of the keypoints."""


class Body(NamedTuple):
    """What the prior states about lengths."""

    limb_lengths: np.ndarray
    """(8,) mean limb lengths, in sizes; float32."""
    limb_variances: np.ndarray
    """(8,) their variances; float32."""
    size_m: float
    """Mean of the person's size, metres."""
    size_std_m: float
    """Standard deviation of the size, metres."""


class Modes(NamedTuple):
    """Refined modes of N persons, best first, turned back to the frame that the views turn from.

    `refine_modes` writes them in the person's sizes, `depth_fusion.fuse_depths` in metres. float32.
    """

    joints: np.ndarray
    """(N, M, 17, 3) absolute joints."""
    weight: np.ndarray
    """(N, M) weights that sum to one."""
    relative: np.ndarray
    """(N, 17, 3, 3) covariance of joint - root, of the best mode."""
    root: np.ndarray
    """(N, 3, 3) covariance of the root, of the best mode."""
    log_evidence: np.ndarray
    """(N,) of all modes together."""


class Scratch(NamedTuple):
    """Arrays that one pass fills in; `direction` and `factor` are read again for covariances."""

    innovation: np.ndarray
    """(28,) observations minus predictions."""
    limb: np.ndarray
    """(24,) limb vectors at which the lengths are linearised."""
    direction: np.ndarray
    """(8, 3) unit vectors along the limbs."""
    factor: np.ndarray
    """(8, 8) Cholesky factor of the predicted lengths' covariance; its diagonal is inverted."""
    push: np.ndarray
    """(24,) correction of the limb vectors."""
    z: np.ndarray
    """(14,) of the keypoints' joints."""


class Problem(NamedTuple):
    """One mode of one person: a row of `Plans` and a row of `Views`."""

    mean: np.ndarray
    """(54,), see `Plans`."""
    offset: np.ndarray
    """(28,), see `Plans`."""
    gain: np.ndarray
    """(28, 54), see `Plans`."""
    cross: np.ndarray
    """(24, 54), see `Plans`."""
    rays: np.ndarray
    """(14, 2), see `Views`."""
    seen: np.ndarray
    """(14,) bool."""
    first_depth: float
    """First estimate of the depth, in sizes."""


class Estimate(NamedTuple):
    """Where a mode stands."""

    latents: np.ndarray
    """(54,) float32."""
    place: np.ndarray
    """(3,) to be added to joint coordinates to get absolute ones; float32."""


@compiled
def make_scratch():
    """Empty `Scratch`."""
    return Scratch(
        np.empty(2 * KEYPOINT_COUNT, np.float32),
        np.empty(3 * LIMBS, np.float32),
        np.empty((LIMBS, 3), np.float32),
        np.empty((LIMBS, LIMBS), np.float32),
        np.empty(3 * LIMBS, np.float32),
        np.empty(KEYPOINT_COUNT, np.float32),
    )


@compiled
def make_problem(
    plans,
    views,
    shortlist,
    n,
    m,
):
    """`Problem` of mode m of person n."""
    p = shortlist.plan_row[n, m]
    v = shortlist.view_row[n, m]
    return Problem(
        plans.mean[p],
        plans.offset[p],
        plans.gain[p],
        plans.cross[p],
        views.rays[v],
        views.seen[v],
        shortlist.depth[n, m],
    )


@compiled
def _form_innovation(
    problem,
    z,
    depth,
    out,
):
    """Write observations at `depth` minus predictions (28,) into `out`; return their mean (x, y).

    z (14,): the keypoints' joints' coordinates along the view.
    """
    rays = problem.rays
    seen = problem.seen
    offset = problem.offset

    # Observations at the depth of each joint
    count = 0
    middle = np.float32(0.0)
    for k in range(KEYPOINT_COUNT):
        if seen[k]:
            count += 1
            middle += z[k]

    middle /= np.float32(count)

    mean_x = np.float32(0.0)
    mean_y = np.float32(0.0)
    for k in range(KEYPOINT_COUNT):
        reach = depth + z[k] - middle
        out[2 * k] = rays[k, 0] * reach
        out[2 * k + 1] = rays[k, 1] * reach
        if seen[k]:
            mean_x += out[2 * k]
            mean_y += out[2 * k + 1]

    mean_x /= np.float32(count)
    mean_y /= np.float32(count)

    # Predictions of the prior, whose log depth is relative to the first estimate
    shrink = np.float32(1.0) - np.log(problem.first_depth / depth)
    for k in range(KEYPOINT_COUNT):
        x = 2 * k
        y = 2 * k + 1
        out[x] = out[x] - mean_x - offset[x] * shrink if seen[k] else np.float32(0.0)
        out[y] = out[y] - mean_y - offset[y] * shrink if seen[k] else np.float32(0.0)

    return mean_x, mean_y


@compiled
def add_product(
    vector,
    matrix,
    out,
):
    """out (c,) += vector (r,) @ matrix (r, c)."""
    for r in range(len(vector)):
        factor = vector[r]
        for c in range(len(out)):
            out[c] += factor * matrix[r, c]


@compiled
def _update_limbs(
    latents,
    cross,
    body,
    scratch,
):
    """Kalman update of latents (54,) by the limb lengths; return their log-evidence.

    The lengths are linearised at `scratch.limb`. cross (24, 54): covariance of limb vectors with
    latents. Writes `direction`, `factor` and `push` of `scratch`.
    """
    limb = scratch.limb
    direction = scratch.direction
    factor = scratch.factor
    push = scratch.push

    # Measured minus predicted lengths
    weight = np.empty(LIMBS, np.float32)
    for k in range(LIMBS):
        square = limb[3 * k] ** 2 + limb[3 * k + 1] ** 2 + limb[3 * k + 2] ** 2
        length = np.sqrt(max(square, np.float32(1e-12)))
        weight[k] = body.limb_lengths[k]
        for axis in range(3):
            direction[k, axis] = limb[3 * k + axis] / length
            weight[k] -= direction[k, axis] * (
                latents[LIMB_END[3 * k + axis]] - latents[LIMB_START[3 * k + axis]]
            )

    # Covariance of the predicted lengths, lower triangle
    for i in range(LIMBS):
        for k in range(i + 1):
            total = body.limb_variances[i] if i == k else np.float32(0.0)
            for axis in range(3):
                along = np.float32(0.0)
                for other in range(3 * k, 3 * k + 3):
                    shared = (
                        cross[3 * i + axis, LIMB_END[other]]
                        - cross[3 * i + axis, LIMB_START[other]]
                    )
                    along += shared * direction[k, other - 3 * k]
                total += direction[i, axis] * along
            factor[i, k] = total

    evidence = _factorise(factor, weight)

    # Back substitution, and the correction
    for k in range(LIMBS - 1, -1, -1):
        weight[k] *= factor[k, k]
        for i in range(k):
            weight[i] -= factor[k, i] * weight[k]
        for axis in range(3):
            push[3 * k + axis] = direction[k, axis] * weight[k]

    add_product(push, cross, latents)

    return evidence


@compiled
def _factorise(
    factor,
    right,
):
    """Replace (8, 8) by its Cholesky factor L and b (8,) by L^-1 b; return the log-density of b.

    The diagonal of L is inverted.
    """
    square = np.float32(0.0)
    determinant = np.float32(1.0)
    for i in range(LIMBS):
        for j in range(i + 1):
            for k in range(j):
                factor[i, j] -= factor[i, k] * factor[j, k]
            if j < i:
                factor[i, j] *= factor[j, j]
                right[i] -= factor[i, j] * right[j]

        pivot = max(factor[i, i], np.float32(1e-12))
        factor[i, i] = np.float32(1.0) / np.sqrt(pivot)
        right[i] *= factor[i, i]
        square += right[i] ** 2
        determinant *= factor[i, i]

    return np.log(determinant) - np.float32(0.5) * square


@compiled
def run_pass(
    problem,
    body,
    depth,
    fresh,
    scratch,
    estimate,
):
    """One pass: update `estimate`; return the limbs' log-evidence and the new depth.

    depth: last estimate; fresh: there is no last estimate but the plan's mean.
    """
    latents = estimate.latents
    place = estimate.place
    limb = scratch.limb
    first_depth = problem.first_depth

    if fresh:
        assign(latents, problem.mean)
    for k in range(KEYPOINT_COUNT):
        scratch.z[k] = latents[3 * _JOINT[k] + 2]
    _read_limbs(latents, limb)

    # Keypoints
    mean_x, mean_y = _form_innovation(problem, scratch.z, depth, scratch.innovation)
    assign(latents, problem.mean)
    add_product(scratch.innovation, problem.gain, latents)

    # Limb lengths; in a fresh pass the keypoints know the limbs' directions better than the mean
    if fresh:
        _read_limbs(latents, limb)
    evidence = _update_limbs(latents, problem.cross, body, scratch)

    # Depth and position
    step = latents[LATENTS - 1] + np.log(first_depth / depth)
    further = np.exp(min(max(step, -MAX_LOG_DEPTH_STEP), MAX_LOG_DEPTH_STEP))
    place[0] = mean_x * further
    place[1] = mean_y * further
    nearest = first_depth / MAX_DEPTH_FACTOR
    farthest = first_depth * MAX_DEPTH_FACTOR
    depth = min(max(depth * further, nearest), farthest)
    _move_to_origin(problem, latents, place)
    place[2] += depth

    return evidence, depth


@compiled
def _read_limbs(
    latents,
    limb,
):
    """Write the limb vectors (24,) of latents (54,)."""
    for k in range(len(limb)):
        limb[k] = latents[LIMB_END[k]] - latents[LIMB_START[k]]


@compiled
def _move_to_origin(
    problem,
    latents,
    place,
):
    """Move `place` (3,) from the centroid of the seen joints, to which observations refer, to the
    origin of joint coordinates."""
    mean = problem.mean
    count = np.float32(0.0)
    x = np.float32(0.0)
    y = np.float32(0.0)
    z = np.float32(0.0)
    for k in range(KEYPOINT_COUNT):
        if problem.seen[k]:
            count += np.float32(1.0)
            x += mean[3 * _JOINT[k]]
            y += mean[3 * _JOINT[k] + 1]
            z += latents[3 * _JOINT[k] + 2]

    place[0] += latents[LATENTS - 3] - x / count
    place[1] += latents[LATENTS - 2] - y / count
    place[2] = -z / count


@compiled
def _write_covariances(
    plans,
    p,
    scratch,
    place,
    relative,
    root,
):
    """Write the covariances of joint - root (17, 3, 3) and of the root (3, 3) of plan `p`.

    View frame, sizes^2, including the limb update that the last pass left in `scratch`.
    """
    reduced = _reduce_by_limbs(plans.cross[p], scratch)
    _write_relative(plans.relative[p], reduced, relative)
    _write_root(plans.root[p], reduced, place, root)


@compiled
def _write_relative(
    prior,
    reduced,
    relative,
):
    """Write the covariances of joint - root (17, 3, 3), given those without limb lengths."""
    for joint in range(JOINT_COUNT):
        for a in range(3):
            for b in range(a + 1):
                known = np.float32(0.0)
                for k in range(LIMBS):
                    known += (reduced[k, 3 * joint + a] - reduced[k, a]) * (
                        reduced[k, 3 * joint + b] - reduced[k, b]
                    )
                value = prior[joint, a, b] - known
                relative[joint, a, b] = value
                relative[joint, b, a] = value


@compiled
def _write_root(
    prior,
    reduced,
    place,
    root,
):
    """Write the covariance of the root (3, 3), given that of ROOT_LATENTS without limb lengths."""
    # Derivative of the root's position by its latents
    effect = np.zeros((3, 6), np.float32)
    for axis in range(3):
        effect[axis, axis] = np.float32(1.0)
        effect[axis, 5] = place[axis]

    effect[0, 3] = np.float32(1.0)
    effect[1, 4] = np.float32(1.0)

    for a in range(3):
        for b in range(a + 1):
            total = np.float32(0.0)
            for i in range(6):
                for j in range(6):
                    known = prior[i, j]
                    for k in range(LIMBS):
                        known -= reduced[k, ROOT_LATENTS[i]] * reduced[k, ROOT_LATENTS[j]]
                    total += effect[a, i] * known * effect[b, j]
            root[a, b] = total
            root[b, a] = total


@compiled
def _reduce_by_limbs(
    cross,
    scratch,
):
    """L^-1 times the covariance of lengths and latents (8, 54), with L of `scratch.factor`."""
    factor = scratch.factor
    reduced = np.empty((LIMBS, LATENTS), np.float32)
    for k in range(LIMBS):
        x, y, z = scratch.direction[k]
        for c in range(LATENTS):
            reduced[k, c] = x * cross[3 * k, c] + y * cross[3 * k + 1, c] + z * cross[3 * k + 2, c]
        for i in range(k):
            for c in range(LATENTS):
                reduced[k, c] -= factor[k, i] * reduced[i, c]
        for c in range(LATENTS):
            reduced[k, c] *= factor[k, k]

    return reduced


@compiled
def refine_modes(
    plans,
    shortlist,
    views,
    body,
    iterations,
    out,
):
    """Refine the candidates of N persons and write `out` (`Modes`), in the person's sizes.

    plans: `Plans`; shortlist: `Shortlist`; views: `Views`; body: `Body`. The best mode gets
    `iterations` passes, the others one.
    """
    count, modes = shortlist.plan_row.shape
    scratch = make_scratch()
    latents = np.empty((modes, LATENTS), np.float32)
    place = np.empty((modes, 3), np.float32)
    evidence = np.empty(modes, np.float32)
    reached = np.empty(modes, np.float32)
    order = np.empty(modes, np.int64)
    frames = np.empty((modes, 3, 3), np.float32)

    for n in range(count):
        # All modes once, then the best until it settles: the last pass must be the last one to
        # write `scratch`. `run_pass` is called in one place, as each call is compiled by itself.
        evidence[:] = -np.inf
        best = 0
        for step in range(modes + max(iterations - 1, 1)):
            is_first = step < modes
            if step == modes:
                _sort_falling(evidence, order)
                best = order[0]
            m = step if is_first else best
            if shortlist.plan_row[n, m] < 0:
                continue

            problem = make_problem(plans, views, shortlist, n, m)
            estimate = Estimate(latents[m], place[m])
            fresh = is_first or iterations == 1
            depth = problem.first_depth if fresh else reached[m]
            limbs, reached[m] = run_pass(problem, body, depth, fresh, scratch, estimate)
            if is_first:
                evidence[m] = shortlist.score[n, m] + limbs

        # Covariances of the best, then joints and weights of all
        frame = views.frame[shortlist.view_row[n, best]]
        p = shortlist.plan_row[n, best]
        _write_covariances(plans, p, scratch, place[best], out.relative[n], out.root[n])
        for joint in range(JOINT_COUNT):
            _turn_back(frame, out.relative[n, joint])
        _turn_back(frame, out.root[n])

        for m in range(modes):
            for axis in range(3):
                assign(frames[m, axis], views.frame[shortlist.view_row[n, m], axis])
        estimates = Estimate(latents, place)
        out.log_evidence[n] = _write_modes(
            order, evidence, estimates, frames, out.joints[n], out.weight[n]
        )


@compiled
def _sort_falling(
    values,
    order,
):
    """Write the order (M,) in which values (M,) fall; equal ones keep theirs."""
    for m in range(len(values)):
        rank = m
        while rank > 0 and values[m] > values[order[rank - 1]]:
            order[rank] = order[rank - 1]
            rank -= 1
        order[rank] = m


@compiled
def _turn_back(
    frame,
    covariance,
):
    """Turn a symmetric (3, 3) from the view frame back, in place: F^T C F."""
    half = np.empty((3, 3), np.float32)
    for a in range(3):
        x = frame[0, a]
        y = frame[1, a]
        z = frame[2, a]
        for c in range(3):
            half[a, c] = x * covariance[0, c] + y * covariance[1, c] + z * covariance[2, c]

    for a in range(3):
        for b in range(a + 1):
            value = half[a, 0] * frame[0, b] + half[a, 1] * frame[1, b] + half[a, 2] * frame[2, b]
            covariance[a, b] = value
            covariance[b, a] = value


@compiled
def _write_modes(
    order,
    evidence,
    estimates,
    frames,
    joints,
    weight,
):
    """Write absolute joints (M, 17, 3) and weights (M,) of the modes in `order` (M,); return the
    log of the summed evidence.

    evidence (M,), estimates (`Estimate` of M modes) and frames (M, 3, 3) are in the former order.
    """
    best = evidence[order[0]]
    whole = np.float32(0.0)
    total = np.float32(0.0)
    for rank in range(len(order)):
        m = order[rank]
        less = evidence[m] - best
        weight[rank] = np.exp(less / np.float32(EVIDENCE_TEMPERATURE))
        whole += weight[rank]
        total += np.exp(less)
        if not weight[rank] > 0:
            for joint in range(JOINT_COUNT):
                assign(joints[rank, joint], joints[0, joint])
            continue

        frame = frames[m]
        latents = estimates.latents[m]
        place = estimates.place[m]
        for joint in range(JOINT_COUNT):
            for axis in range(3):
                position = np.float32(0.0)
                for k in range(3):
                    position += frame[k, axis] * (latents[3 * joint + k] + place[k])
                joints[rank, joint, axis] = position

    for rank in range(len(order)):
        weight[rank] /= whole

    return best + np.log(total)
