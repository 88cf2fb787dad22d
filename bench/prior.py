# SPDX-License-Identifier: Apache-2.0
"""Wall time and memory of `lifting fit-prior` on a million poses, and one step of the fit beside
its plain form in the same run.

The poses are mixed from motion capture, the arms and trunk of one on the legs of another, turned
and moved a little (--mocap), or drawn from the prior that ships. The plain form makes the mirrored
copies and multiplies with whole 51 x 51 matrices; both give the same numbers.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lifting_ros.cli.files import write_json
from lifting_ros.prior.alignment import Mixture, align, mirror_rows, rotate_about_vertical, sweep
from lifting_ros.prior.mixture import maximised, start_mixture
from lifting_ros.prior.ppca import MixturePPCA, normalised_in_blocks
from lifting_ros.research.datasets.mocap import read_mocap
from lifting_ros.skeleton import limb_lengths

WEIGHTS = Path(__file__).parents[1] / "lifting_ros" / "weights" / "prior.npz"
BLOCK = 50_000


def mixed_poses(mocap: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Poses (N, 17, 3) float32, metres, y up."""
    source = read_mocap(mocap).positions_m
    source = source - source[:, :1]
    poses = np.empty((count, 17, 3), np.float32)

    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        lower, upper = source[rng.integers(0, len(source), (2, size))]
        aligned = turned(upper, heading(upper) - heading(lower))
        mixed = np.concatenate([lower[:, :7], aligned[:, 7:]], 1)
        rotated = turned(mixed, rng.uniform(0, 2 * np.pi, size))
        noise = rng.normal(0, 0.005, mixed.shape)
        poses[start : start + size] = rotated + noise

    return poses


def heading(poses: np.ndarray) -> np.ndarray:
    """Angle (N,) about the vertical of the line across the hips."""
    across = poses[:, 4] - poses[:, 1]
    return np.arctan2(across[:, 2], across[:, 0])


def drawn_poses(count: int, rng: np.random.Generator) -> np.ndarray:
    """Poses (N, 17, 3) float32 drawn from the prior that ships."""
    prior = MixturePPCA.load(WEIGHTS)
    components = len(prior.weights_)
    share = prior.weights_ / prior.weights_.sum()
    poses = np.empty((count, 17, 3), np.float32)

    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        component = rng.choice(components, size, p=share)
        noise = rng.standard_normal((size, 17, 3))
        drawn = prior.means_[component] + prior.noises_[component, None, None] * noise

        for index in range(components):
            own = component == index
            latent = rng.standard_normal((own.sum(), prior.basis)) * prior.deviations_[index]
            drawn[own] += np.tensordot(latent, prior.bases_[index], 1)

        rotated = turned(drawn, rng.uniform(0, 2 * np.pi, size))
        poses[start : start + size] = prior.stature_m_ * rotated

    return poses


def turned(poses: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Poses (N, 17, 3) turned about the vertical, each by its angle."""
    rows = poses.reshape(len(poses), -1)
    rotated = rotate_about_vertical(rows, angle)
    return rotated.reshape(poses.shape)


def run_fit(poses: np.ndarray, args: argparse.Namespace) -> dict[str, float]:
    """`lifting fit-prior` as a child process: seconds and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        mocap = Path(folder, "mocap.npz")
        out = Path(folder, "prior.npz")
        np.savez(mocap, positions=poses, subject_id=np.arange(len(poses)) * 20 // len(poses))
        command = [sys.executable, "-m", "lifting_ros.cli.main", "fit-prior", mocap, "--out", out]
        command += ["--components", args.components, "--basis", str(args.basis)]
        start = time.perf_counter()
        subprocess.run(
            [str(word) for word in command],
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": str(args.threads)},
        )
        seconds = time.perf_counter() - start

    return {
        "poses": len(poses),
        "seconds": seconds,
        "peak_gb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20,
    }


def plain_step(
    rows: np.ndarray, weights: np.ndarray, theta: np.ndarray, mixture: Mixture
) -> tuple[float, np.ndarray]:
    """Log-likelihood and new means of one EM step with rotations: mirrored copies, dense
    precisions, poses x components in memory."""
    rows = np.concatenate([rows, mirror_rows(rows)])
    weights = np.tile(weights, 2)
    theta = np.concatenate([theta, -theta])

    # A rotation by theta: constant part, cosine part and sine part
    x, y, z = np.moveaxis(rows.reshape(len(rows), -1, 3), -1, 0)
    zero = np.zeros_like(x)
    constant = np.stack([zero, y, zero], -1).reshape(len(rows), -1)
    cosine = np.stack([x, zero, z], -1).reshape(len(rows), -1)
    sine = np.stack([-z, zero, x], -1).reshape(len(rows), -1)

    # E step
    forms = []
    log_joint = []
    for weight, model in zip(mixture.weights, mixture.gaussians):
        stacked = np.stack([constant - model.mean, cosine, sine], 1)
        forms.append(stacked @ model.precision() @ stacked.transpose(0, 2, 1))
        aligned = rotate_about_vertical(rows, -theta)
        log_joint.append(np.log(weight) + model.log_density(aligned))

    joint = np.stack(log_joint, 1)
    evidence = np.logaddexp.reduce(joint, axis=1)
    responsibility = np.exp(joint - evidence[:, None])
    form = np.einsum("nc,cnij->nij", responsibility, np.stack(forms))

    # Rotations
    for _ in range(2):
        theta = theta + newton_step(form, theta)

    # M step
    aligned = rotate_about_vertical(rows, -theta)
    share = responsibility * weights[:, None]
    means = (share.T @ aligned) / share.sum(0)[:, None]

    for index in range(len(means)):
        centred = aligned - means[index]
        scatter = (centred * share[:, index, None]).T @ centred
        np.linalg.eigh(scatter)

    return float(weights @ evidence / weights.sum()), means


def newton_step(form: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Changes (N,) of the angles that minimise the quadratic forms (N, 3, 3)."""
    c = np.cos(theta)
    s = np.sin(theta)
    by_cosine = form[:, 0, 1]
    by_sine = form[:, 0, 2]
    bent = form[:, 2, 2] - form[:, 1, 1]
    crossed = form[:, 1, 2]
    double = c * c - s * s

    first = 2 * (c * by_sine - s * by_cosine) + 2 * c * s * bent + 2 * double * crossed
    second = -2 * (c * by_cosine + s * by_sine) + 2 * double * bent - 8 * c * s * crossed
    return np.clip(-first / np.maximum(np.abs(second), 1e-9), -0.5, 0.5)


def compare(poses: np.ndarray, components: int, basis: int) -> dict[str, float]:
    """Seconds of one step of EM and rotations, plain and ours, on the same poses, and how far their
    means lie apart."""
    rows = normalised_in_blocks(poses)[0]
    weights = np.ones(len(poses))
    theta = align(rows, weights, 3)[0]
    mixture = start_mixture(rows, weights, theta, components, basis)
    done = sweep(rows, weights, theta, mixture)
    theta = done.theta
    mixture = maximised(done.moments, basis)
    start = time.perf_counter()
    likelihood, means = plain_step(rows, weights, theta, mixture)
    middle = time.perf_counter()
    done = sweep(rows, weights, theta, mixture)
    found = maximised(done.moments, basis)
    end = time.perf_counter()
    apart = max(float(np.abs(g.mean - m).max()) for g, m in zip(found.gaussians, means))
    assert abs(done.log_likelihood - likelihood) < 1e-6, "the plain form and ours disagree"
    plain = middle - start
    ours = end - middle

    return {
        "poses": len(poses),
        "plain_s": plain,
        "ours_s": ours,
        "ratio": plain / ours,
        "means_apart": apart,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--poses", type=int, default=1_000_000)
    parser.add_argument(
        "--mocap",
        default="",
        help="motion capture to mix poses from; else they are drawn from the prior that ships",
    )
    parser.add_argument("--components", default="6", help="C, or auto")
    parser.add_argument("--basis", default="25", help="K, or auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--plain-poses",
        type=int,
        default=20_000,
        help="poses of the comparison with the plain form",
    )
    parser.add_argument("--json", default="", help="write the figures here as well")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    poses = mixed_poses(args.mocap, args.poses, rng) if args.mocap else drawn_poses(args.poses, rng)
    assert limb_lengths(poses[:1000]).min() > 0
    step = compare(poses[: args.plain_poses], 6, 25)
    fit = run_fit(poses, args)
    print(
        f"fit    {fit['poses']} poses, {args.threads} threads: {fit['seconds']:.0f} s, peak "
        f"{fit['peak_gb']:.2f} GB"
    )
    print(
        f"a step {step['poses']} poses: plain {step['plain_s']:.3f} s, ours {step['ours_s']:.3f} "
        f"s, {step['ratio']:.1f} times faster"
    )

    if args.json:
        write_json(args.json, {"fit": fit, "step": step})


if __name__ == "__main__":
    main()
