# SPDX-License-Identifier: Apache-2.0
"""From shortlisted candidates to skeletons: keypoints, limb lengths and the true perspective, a few
numbers at a time.

Each candidate comes with a plan (`conditioning.Plans`): under weak perspective its latents are the
mean plus the innovation times a gain. Two things are not linear. Limbs keep their lengths: eight
lengths are measurements, linearised at the last estimate (an iterated Kalman update). And a nearer
joint looks larger: a ray r meets joint j at r (depth + z_j), so observations are formed again with
the last estimate's z until both agree. The best mode is iterated; the others are hypotheses after
one pass.
"""

from __future__ import annotations

import numpy as np

from lifting_ros.compiled import compiled
from lifting_ros.lifting.conditioning import (
    LATENTS,
    LIMB_END,
    LIMB_JOINTS,
    LIMB_START,
    ROOT_LATENTS,
)
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT, KEYPOINT_TO_JOINT

CAUTION = 3.0
"""The modes' log-evidence is divided by it before they are weighed: the prior is a model, and
people are not drawn from it."""

LIMBS = len(LIMB_JOINTS)
_JOINT = np.array(KEYPOINT_TO_JOINT)
FARTHEST, OFF = np.float32(0.3), np.float32(2.0)
"""Logarithm of depth that one pass may go, and factor that all may: a misfit shall not run away."""


@compiled
def innovation(rays, seen, z, depth, first_depth, offset, out):
    """Observations at `depth` minus predictions (28,) into `out`; returns their mean (x, y)."""
    count, middle = 0, np.float32(0.0)
    for k in range(KEYPOINT_COUNT):
        if seen[k]:
            count += 1
            middle += z[k]
    middle /= np.float32(count)
    mean_x = mean_y = np.float32(0.0)
    for k in range(KEYPOINT_COUNT):
        reach = depth + z[k] - middle
        out[2 * k], out[2 * k + 1] = rays[k, 0] * reach, rays[k, 1] * reach
        if seen[k]:
            mean_x += out[2 * k]
            mean_y += out[2 * k + 1]
    mean_x /= np.float32(count)
    mean_y /= np.float32(count)
    shrink = np.float32(1.0) - np.log(
        first_depth / depth
    )  # the prior's depth, seen from the present one
    for k in range(KEYPOINT_COUNT):
        out[2 * k] = out[2 * k] - mean_x - offset[2 * k] * shrink if seen[k] else np.float32(0.0)
        out[2 * k + 1] = (
            out[2 * k + 1] - mean_y - offset[2 * k + 1] * shrink if seen[k] else np.float32(0.0)
        )
    return mean_x, mean_y


@compiled
def add_product(vector, matrix, out):
    """out (c,) += vector (r,) @ matrix (r, c)."""
    for r in range(len(vector)):
        factor = vector[r]
        for c in range(len(out)):
            out[c] += factor * matrix[r, c]


@compiled
def update_limbs(latents, cross, lengths, variance, limb, direction, factor, push):
    """One Kalman update of latents (54,) by limb lengths (8,), linearised at `limb` (24,) vectors;
    returns the log-evidence.

    cross (24, 54): covariance of limb vectors with latents. `direction` (8, 3) and `factor` (8, 8),
    its diagonal inverted, are kept for the covariance; `push` (24,) is scratch.
    """
    weight = np.empty(LIMBS, np.float32)
    for k in range(LIMBS):
        length = np.sqrt(
            max(limb[3 * k] ** 2 + limb[3 * k + 1] ** 2 + limb[3 * k + 2] ** 2, np.float32(1e-12))
        )
        weight[k] = lengths[k]
        for axis in range(3):
            direction[k, axis] = limb[3 * k + axis] / length
            weight[k] -= direction[k, axis] * (
                latents[LIMB_END[3 * k + axis]] - latents[LIMB_START[3 * k + axis]]
            )
    for i in range(LIMBS):
        for k in range(i + 1):
            total = variance[i] if i == k else np.float32(0.0)
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
    for k in range(LIMBS - 1, -1, -1):
        weight[k] *= factor[k, k]
        for i in range(k):
            weight[i] -= factor[k, i] * weight[k]
        for axis in range(3):
            push[3 * k + axis] = direction[k, axis] * weight[k]
    add_product(push, cross, latents)
    return evidence


@compiled
def _factorise(factor, right):
    """Cholesky factor of (8, 8) in place, its diagonal inverted, and L^-1 b in place; returns the
    log-density of b."""
    square, determinant = np.float32(0.0), np.float32(1.0)
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
def pass_mode(
    plans, p, rays, seen, first_depth, depth, lengths, variance, fresh, work, latents, place
):
    """One pass: latents (54,), the limbs and `place` (3,), to be added to joint coordinates, from
    their last estimates.

    `fresh`: there is none yet but the plan's mean. Returns the limbs' log-evidence and the new
    depth.
    """
    innovations, limb, direction, factor, push, z = work
    if fresh:
        latents[:] = plans.mean[p]
    for k in range(KEYPOINT_COUNT):
        z[k] = latents[3 * _JOINT[k] + 2]
    for k in range(len(limb)):
        limb[k] = latents[LIMB_END[k]] - latents[LIMB_START[k]]
    mean_x, mean_y = innovation(rays, seen, z, depth, first_depth, plans.offset[p], innovations)
    latents[:] = plans.mean[p]
    add_product(innovations, plans.gain[p], latents)
    if fresh:  # the keypoints say more of where limbs point than the mean pose
        for k in range(len(limb)):
            limb[k] = latents[LIMB_END[k]] - latents[LIMB_START[k]]
    evidence = update_limbs(
        latents, plans.cross[p], lengths, variance, limb, direction, factor, push
    )
    further = np.exp(
        min(max(latents[LATENTS - 1] + np.log(first_depth / depth), -FARTHEST), FARTHEST)
    )
    place[0], place[1] = mean_x * further, mean_y * further
    depth = min(max(depth * further, first_depth / OFF), first_depth * OFF)
    _settle(plans.mean[p], seen, latents, place)
    place[2] += depth
    return evidence, depth


@compiled
def _settle(mean, seen, latents, place):
    """From the seen joints' middle, which observations are about, to the origin of joint
    coordinates."""
    count, x, y, z = np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for k in range(KEYPOINT_COUNT):
        if seen[k]:
            count += np.float32(1.0)
            x, y, z = (
                x + mean[3 * _JOINT[k]],
                y + mean[3 * _JOINT[k] + 1],
                z + latents[3 * _JOINT[k] + 2],
            )
    place[0] += latents[LATENTS - 3] - x / count
    place[1] += latents[LATENTS - 2] - y / count
    place[2] = -z / count


@compiled
def mode_covariance(plans, p, direction, factor, place, relative, root):
    """Covariance of joint - root (17, 3, 3) and of the root (3, 3) in the view frame, the limb
    update included; sizes^2."""
    cross, reduced = (
        plans.cross[p],
        np.empty((LIMBS, LATENTS), np.float32),
    )  # L^-1 times the covariance of lengths and latents
    for k in range(LIMBS):
        x, y, z = direction[k]
        for c in range(LATENTS):
            reduced[k, c] = x * cross[3 * k, c] + y * cross[3 * k + 1, c] + z * cross[3 * k + 2, c]
        for i in range(k):
            for c in range(LATENTS):
                reduced[k, c] -= factor[k, i] * reduced[i, c]
        for c in range(LATENTS):
            reduced[k, c] *= factor[k, k]
    for joint in range(JOINT_COUNT):
        for a in range(3):
            for b in range(a + 1):
                known = np.float32(0.0)
                for k in range(LIMBS):
                    known += (reduced[k, 3 * joint + a] - reduced[k, a]) * (
                        reduced[k, 3 * joint + b] - reduced[k, b]
                    )
                relative[joint, a, b] = relative[joint, b, a] = (
                    plans.relative[p, joint, a, b] - known
                )
    own = plans.root[p]
    effect = np.zeros((3, 6), np.float32)  # of the root's latents on its position
    for axis in range(3):
        effect[axis, axis] = np.float32(1.0)
        effect[axis, 5] = place[axis]
    effect[0, 3] = effect[1, 4] = np.float32(1.0)
    for a in range(3):
        for b in range(a + 1):
            total = np.float32(0.0)
            for i in range(6):
                for j in range(6):
                    known = own[i, j]
                    for k in range(LIMBS):
                        known -= reduced[k, ROOT_LATENTS[i]] * reduced[k, ROOT_LATENTS[j]]
                    total += effect[a, i] * known * effect[b, j]
            root[a, b] = root[b, a] = total


@compiled
def lift_rows(
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
    iterations,
    joints,
    weight,
    relative,
    root,
):
    """N persons with M modes each, best mode first; everything in person's sizes, in the frame that
    `frames` turn from.

    plan (N, M) row of `plans`, negative where there is none; view (N, M) row of rays (V, 14, 2),
    seen (V, 14) and frames (V, 3, 3), the rotations into the view frames; depth, score (N, M) of
    the shortlist. Writes joints (N, M, 17, 3) absolute, weight (N, M), relative (N, 17, 3, 3) and
    root (N, 3, 3) covariances of the best mode, and returns the log-evidence (N,).
    """
    count, modes = plan.shape
    work = (
        np.empty(2 * KEYPOINT_COUNT, np.float32),
        np.empty(3 * LIMBS, np.float32),
        np.empty((LIMBS, 3), np.float32),
        np.empty((LIMBS, LIMBS), np.float32),
        np.empty(3 * LIMBS, np.float32),
        np.empty(KEYPOINT_COUNT, np.float32),
    )
    latents, place = np.empty((modes, LATENTS), np.float32), np.empty((modes, 3), np.float32)
    evidence, total, reached = (
        np.empty(modes, np.float32),
        np.empty(count, np.float32),
        np.empty(modes, np.float32),
    )
    for n in range(count):
        for m in range(modes):
            evidence[m] = -np.inf
            if plan[n, m] >= 0:
                v, p, far = view[n, m], plan[n, m], depth[n, m]
                limbs, reached[m] = pass_mode(
                    plans,
                    p,
                    rays[v],
                    seen[v],
                    far,
                    far,
                    lengths,
                    variance,
                    True,
                    work,
                    latents[m],
                    place[m],
                )
                evidence[m] = score[n, m] + limbs
        order = np.argsort(-evidence)
        best = order[0]
        v, p, far = view[n, best], plan[n, best], depth[n, best]
        if iterations == 1:  # again, since the covariance takes what the last pass leaves in `work`
            pass_mode(
                plans,
                p,
                rays[v],
                seen[v],
                far,
                far,
                lengths,
                variance,
                True,
                work,
                latents[best],
                place[best],
            )
        for _ in range(iterations - 1):
            _, reached[best] = pass_mode(
                plans,
                p,
                rays[v],
                seen[v],
                far,
                reached[best],
                lengths,
                variance,
                False,
                work,
                latents[best],
                place[best],
            )
        mode_covariance(plans, p, work[2], work[3], place[best], relative[n], root[n])
        for joint in range(JOINT_COUNT):
            turn_back(frames[v], relative[n, joint])
        turn_back(frames[v], root[n])
        total[n] = _sort_modes(
            order, evidence, latents, place, view[n], frames, joints[n], weight[n]
        )
    return total


@compiled
def turn_back(frame, covariance):
    """A symmetric (3, 3) from the view frame into the one that `frame` turns from, in place: F^T C
    F."""
    half = np.empty((3, 3), np.float32)
    for a in range(3):
        x, y, z = frame[0, a], frame[1, a], frame[2, a]
        for c in range(3):
            half[a, c] = x * covariance[0, c] + y * covariance[1, c] + z * covariance[2, c]
    for a in range(3):
        for b in range(a + 1):
            value = half[a, 0] * frame[0, b] + half[a, 1] * frame[1, b] + half[a, 2] * frame[2, b]
            covariance[a, b] = covariance[b, a] = value


@compiled
def _sort_modes(order, evidence, latents, place, view, frames, joints, weight):
    """Joints (M, 17, 3) and weights (M,) of the modes in their order; returns the log of the summed
    evidence."""
    best, whole, total = evidence[order[0]], np.float32(0.0), np.float32(0.0)
    for rank in range(len(order)):
        m = order[rank]
        weight[rank] = np.exp((evidence[m] - best) / np.float32(CAUTION))
        whole += weight[rank]
        total += np.exp(evidence[m] - best)
        if not weight[rank] > 0:
            joints[rank] = joints[0]
            continue
        frame = frames[view[m]]
        for joint in range(JOINT_COUNT):
            for axis in range(3):
                position = np.float32(0.0)
                for k in range(3):
                    position += frame[k, axis] * (latents[m, 3 * joint + k] + place[m, k])
                joints[rank, joint, axis] = position
    for rank in range(len(order)):
        weight[rank] /= whole
    return best + np.log(total)
