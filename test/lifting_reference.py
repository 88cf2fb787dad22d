# SPDX-License-Identifier: Apache-2.0
"""A plain reference of the lifter: float64, one person, one matrix at a time. The tests compare the
fast one with it."""

from __future__ import annotations

import numpy as np

from lifting_ros.lifting import lifting
from lifting_ros.lifting.conditioning import DEPTH_STD, LIMB_JOINTS, PLACE_STD, YAW_STD
from lifting_ros.lifting.lifting import MIN_SEPARATION, UPSIDE_DOWN_MISFIT, UPSIDE_DOWN_PRIOR
from lifting_ros.lifting.modes import EVIDENCE_TEMPERATURE, MAX_DEPTH_FACTOR, MAX_LOG_DEPTH_STEP
from lifting_ros.lifting.moments import INFLATION_OF_FEW, TOLERATED_MISFIT
from lifting_ros.lifting.observation import FEW_SEEN, LEVELS, PITCH_STEP
from lifting_ros.lifting.scoring import LEAST_SCALE
from lifting_ros.skeleton import JOINT_COUNT, JOINT_PARENTS, KEYPOINT_TO_JOINT

JOINTS = np.array(KEYPOINT_TO_JOINT)


def reference_lift(lifter, keypoints_px, confidence, covariance_px2, camera, up) -> dict:
    """The result of `Lifter.lift` for one person, as arrays in metres.

    keypoints_px (14, 2), confidence (14,), covariance_px2 (14, 2, 2) or None; the camera has no
    distortion.
    """
    config = lifter.config
    seen = np.flatnonzero(confidence > 0)
    inverse = np.linalg.inv(camera.matrix)
    rays = np.array([(inverse @ [*p, 1])[:2] for p in keypoints_px[seen]])
    if covariance_px2 is None:
        extent = np.ptp(keypoints_px[seen], axis=0).max()
        std = max(config.keypoint_noise * extent, config.noise_floor_px)
        pixels = [std**2 * np.eye(2) / w for w in confidence[seen]]
    else:
        pixels = covariance_px2[seen] + config.noise_floor_px**2 * np.eye(2)
    noise = [inverse[:2, :2] @ c @ inverse[:2, :2].T for c in pixels]

    up = np.asarray(up, float)
    distance, evidence, answer = one_way_up(lifter, seen, rays, noise, up)
    if distance / (2 * len(seen)) > UPSIDE_DOWN_MISFIT:
        _, other_evidence, other = one_way_up(lifter, seen, rays, noise, -up)
        answer = other if other_evidence + np.log(UPSIDE_DOWN_PRIOR) > evidence else answer
    return answer


def one_way_up(lifter, seen, rays, noise, up) -> tuple[float, float, dict]:
    """Squared Mahalanobis distance of the likeliest candidate, log-evidence, and the answer with up
    as given."""
    config = lifter.config
    prior = lifter.prior
    frame, pitch = view_frame(np.append(rays.mean(0), 1.0), up)
    rays, noise = into_view(frame, rays, noise)
    spread = ((rays - rays.mean(0)) ** 2).sum(1).mean()
    noise = common_level(np.array(noise) / spread) if len(seen) == 14 else np.array(noise) / spread
    samples = [(c, y) for c in range(len(prior.weights_)) for y in range(config.rotations)]
    modes = [
        Candidate(prior, config, c, y, pitch, seen).score(rays, noise, spread) for c, y in samples
    ]
    distance = max(modes, key=lambda mode: mode.keypoint_evidence).distance
    chosen = shortlist(modes, config)
    for mode in chosen:
        mode.solve(rays, lifter, 1)
    chosen.sort(key=lambda mode: -mode.evidence)
    evidence = np.array([mode.evidence for mode in chosen])
    weight = np.exp((evidence - evidence[0]) / EVIDENCE_TEMPERATURE)
    chosen[0].solve(rays, lifter, config.iterations)
    least = INFLATION_OF_FEW if len(seen) <= FEW_SEEN else 1.0
    inflation = max(least, distance / (2 * len(seen)) / TOLERATED_MISFIT)
    answer = in_metres(lifter, chosen, weight / weight.sum(), frame, inflation)
    return distance, evidence[0] + np.log(np.exp(evidence - evidence[0]).sum()), answer


def view_frame(direction, up):
    """Rotation into a frame that looks along `direction` at the nearest pitch of the grid, and that
    pitch."""
    direction = direction / np.linalg.norm(direction)
    up = up / np.linalg.norm(up)
    pitch = PITCH_STEP * np.round(np.arcsin(direction @ up) / PITCH_STEP)
    level = direction - (direction @ up) * up
    level /= np.linalg.norm(level)
    z = np.cos(pitch) * level + np.sin(pitch) * up
    y = np.sin(pitch) * level - np.cos(pitch) * up
    return np.stack([np.cross(y, z), y, z]), pitch


def into_view(frame, rays, noise):
    """Rays and their covariances after a camera rotation, with a finite-difference Jacobian."""
    turn = lambda r: (frame @ [*r, 1])[:2] / (frame @ [*r, 1])[2]  # noqa: E731
    step = 1e-6
    out = []
    for r, n in zip(rays, noise):
        jacobian = np.stack([(turn(r + d) - turn(r - d)) / (2 * step) for d in step * np.eye(2)], 1)
        out.append(jacobian @ n @ jacobian.T)
    return np.array([turn(r) for r in rays]), out


def common_level(noise):
    """The noise of all keypoints, rounded to a level if it is the same for all."""
    variances = np.concatenate([noise[:, 0, 0], noise[:, 1, 1]])
    most = max(variances.max(), (noise[:, 0, 0] + np.abs(noise[:, 0, 1])).max())
    if most > 1.5 * variances.min():
        return noise
    level = np.round(LEVELS * np.log2(np.sqrt(np.sqrt(variances.min() * most))))
    return np.tile(4.0 ** (level / LEVELS) * np.eye(2), (len(noise), 1, 1))


class Candidate:
    """One component in one rotation.

    The latents are joint coordinates x (51), the position tau (2) and the log depth epsilon; an
    observation is x_across + tau - epsilon offset.
    """

    def __init__(self, prior, config, component, yaw, pitch, seen):
        angle = 2 * np.pi * yaw / config.rotations
        c, s = np.cos(angle), np.sin(angle)
        tip = np.array(
            [[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]]
        )  # the camera's axes, pitched
        rotation = tip @ np.diag([1.0, -1, -1]) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        self.component = component
        self.yaw = yaw
        self.seen = seen
        self.log_prior = np.log(prior.weights_[component] / config.rotations)
        self.mean = prior.means_[component] @ rotation.T  # (17, 3)
        big = np.kron(np.eye(JOINT_COUNT), rotation)
        covariance = config.prior_scale**2 * big @ prior.covariances()[component] @ big.T
        vertical = rotation @ [0, 1, 0]
        tilt = np.radians(config.tilt_std_deg)
        axes = np.linalg.svd(vertical[None])[2]  # the vertical itself first
        for axis, std in zip(axes, (YAW_STD, tilt, tilt)):
            moved = np.cross(axis, self.mean).ravel()
            covariance = covariance + std**2 * np.outer(moved, moved)
        self.prior = np.zeros((54, 54))
        self.prior[:51, :51] = covariance
        self.prior[51, 51] = self.prior[52, 52] = PLACE_STD**2
        self.prior[53, 53] = DEPTH_STD**2

    def score(self, rays, noise, spread):
        """Evidence under weak perspective, at the depth at which the mean pose fits."""
        across = self.mean[JOINTS[self.seen], :2]
        self.offset = across - across.mean(0)
        size = (self.offset**2).sum(1).mean()
        match = (self.offset * (rays - rays.mean(0))).sum(1).mean()
        self.depth = 1 / max(match / size, LEAST_SCALE * np.sqrt(spread / size))
        rows = np.zeros((2 * len(self.seen), 54))
        for k, joint in enumerate(JOINTS[self.seen]):
            for axis in range(2):
                rows[2 * k + axis, 3 * joint + axis] = rows[2 * k + axis, 51 + axis] = 1
                rows[2 * k + axis, 53] = -self.offset[k, axis]
        total = rows @ self.prior @ rows.T
        for k in range(len(self.seen)):
            total[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] += size * noise[k]
        residual = (self.depth * (rays - rays.mean(0)) - self.offset).ravel()
        self.gain = self.prior @ rows.T @ np.linalg.inv(total)
        self.posterior = self.prior - self.gain @ rows @ self.prior
        self.distance = residual @ np.linalg.inv(total) @ residual
        fit = self.distance + np.linalg.slogdet(total)[1]
        self.keypoint_evidence = self.log_prior + len(residual) * np.log(self.depth) - 0.5 * fit
        return self

    def solve(self, rays, lifter, iterations):
        """Limb lengths and perspective, linearised in every iteration."""
        joints = self.mean
        depth = self.depth
        limbs = None
        limb_rows = np.zeros((24, 54))
        for k, joint in enumerate(LIMB_JOINTS):
            for axis in range(3):
                limb_rows[3 * k + axis, 3 * joint + axis] = 1
                limb_rows[3 * k + axis, 3 * JOINT_PARENTS[joint] + axis] = -1
        for _ in range(iterations):
            z = joints[JOINTS[self.seen], 2]
            observed = rays * (depth + z - z.mean())[:, None]
            innovation = (
                observed - observed.mean(0) - self.offset * (1 - np.log(self.depth / depth))
            )
            linear = np.append(self.mean.ravel(), [0, 0, 0]) + self.gain @ innovation.ravel()
            limbs = limb_rows @ linear if limbs is None else limbs
            vectors = limbs.reshape(8, 3)
            directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
            lengths = (
                np.stack([np.kron(np.eye(8)[k], directions[k]) for k in range(8)]) @ limb_rows
            )  # (8, 54)
            total = lengths @ self.posterior @ lengths.T + np.diag(lifter._body.limb_variances)
            missed = lifter._body.limb_lengths - lengths @ linear
            latents = linear + self.posterior @ lengths.T @ np.linalg.solve(total, missed)
            limbs = limb_rows @ latents
            joints = latents[:51].reshape(-1, 3)

            step = np.log(self.depth / depth) + latents[53]
            further = np.exp(np.clip(step, -MAX_LOG_DEPTH_STEP, MAX_LOG_DEPTH_STEP))
            middle = observed.mean(0) * further
            nearest = self.depth / MAX_DEPTH_FACTOR
            farthest = self.depth * MAX_DEPTH_FACTOR
            depth = np.clip(depth * further, nearest, farthest)
        self.evidence = self.keypoint_evidence - 0.5 * (
            missed @ np.linalg.solve(total, missed) + np.linalg.slogdet(total)[1]
        )
        across = self.mean[JOINTS[self.seen], :2].mean(0)
        self.place = np.array(
            [*(middle - across + latents[51:53]), depth - joints[JOINTS[self.seen], 2].mean()]
        )
        self.joints = joints + self.place
        self.covariance = self.posterior - self.posterior @ lengths.T @ np.linalg.solve(
            total, lengths @ self.posterior
        )


def shortlist(modes, config):
    """The best by keypoints alone, with a minimum rotation between those of one component."""
    few = len(modes[0].seen) <= FEW_SEEN
    chosen = []
    steps = int(MIN_SEPARATION * config.rotations / (2 * np.pi))
    most = config.modes
    if few:
        steps = 0
        most = lifting._MODES_OF_FEW
    for mode in sorted(modes, key=lambda mode: -mode.keypoint_evidence):
        turns = [abs(mode.yaw - other.yaw) for other in chosen if other.component == mode.component]
        if len(chosen) < most and all(min(t, config.rotations - t) > steps for t in turns):
            chosen.append(mode)
    return chosen


def in_metres(lifter, modes, weight, frame, inflation) -> dict:
    """Second moments about the first mode, in the optical frame."""
    size = lifter.size_m
    extra = lifter.size_std_m**2
    square = size**2 + extra
    turned = [mode.joints @ frame for mode in modes]
    relative = [t - t[0] for t in turned]
    best = modes[0]
    covariance = np.empty((JOINT_COUNT, 3, 3))
    for j in range(JOINT_COUNT):
        rows = np.zeros((3, 54))
        rows[:, 3 * j : 3 * j + 3] += np.eye(3)
        rows[:, :3] -= np.eye(3)
        own = inflation * frame.T @ rows @ best.covariance @ rows.T @ frame
        own = own + sum(
            w * np.outer(r[j] - relative[0][j], r[j] - relative[0][j])
            for w, r in zip(weight, relative)
        )
        covariance[j] = square * own + extra * np.outer(relative[0][j], relative[0][j])
    rows = np.zeros((3, 54))
    rows[:, :3] = np.eye(3)
    rows[:2, 51:53] = np.eye(2)
    rows[:, 53] = best.place
    root = inflation * frame.T @ rows @ best.covariance @ rows.T @ frame
    root = root + sum(
        w * np.outer(t[0] - turned[0][0], t[0] - turned[0][0]) for w, t in zip(weight, turned)
    )
    root = square * root + extra * np.outer(turned[0][0], turned[0][0])
    return {
        "joints_m": size * turned[0],
        "covariance_m2": covariance,
        "root_covariance_m2": root,
        "hypothesis_weight": weight,
        "hypotheses_m": size * np.array(turned),
    }
