# SPDX-License-Identifier: Apache-2.0
"""Speed of the lifter ppca, without and with its correction, and of the plain float64 reference of
the tests, in one run, and the largest difference of their joints.

Persons are drawn from the prior and seen by the cameras of the virtual-camera protocol. The lifter
is measured with one person per call on one core, as in a node; with masks and confidences that no
call had before; and with many persons per call on all cores. --json FILE writes the figures.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "test"))

from lifting_reference import reference_lift

from lifting_ros.cli.files import write_json
from lifting_ros.estimator import WEIGHTS
from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.lifting.lifters import make_lifter
from lifting_ros.lifting.lifting import Lifter
from lifting_ros.lifting.request import PoseLifter
from lifting_ros.prior.ppca import MixturePPCA
from lifting_ros.research.datasets.virtual_cameras import Views, make_views
from lifting_ros.skeleton import KEYPOINT_COUNT

NOISE_PX = 5.0


def draw_people(prior: MixturePPCA, count: int, seed: int = 0) -> np.ndarray:
    """Poses (N, 17, 3) of the prior: metres, y up, random heading, standing on the floor."""
    rng = np.random.default_rng(seed)

    # Draws of the mixture
    share = prior.weights_ / prior.weights_.sum()
    component = rng.choice(len(share), count, p=share)
    latent = rng.standard_normal((count, prior.bases_.shape[1])) * prior.deviations_[component]
    offset = np.einsum("nk,nkja->nja", latent, prior.bases_[component])
    poses = prior.stature_m_ * (prior.means_[component] + offset)

    # Random heading
    angle = rng.uniform(0, 2 * np.pi, count)
    cosine = np.cos(angle)
    sine = np.sin(angle)
    turn = np.zeros((count, 3, 3))
    turn[:, 0, 0] = cosine
    turn[:, 0, 2] = sine
    turn[:, 1, 1] = 1.0
    turn[:, 2, 0] = -sine
    turn[:, 2, 2] = cosine
    poses = np.einsum("nab,njb->nja", turn, poses)

    poses[..., 1] -= poses[..., 1].min(1, keepdims=True)
    return poses


def milliseconds(calls) -> np.ndarray:
    """Wall time of each call."""
    times = []
    for call in calls:
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))

    return np.array(times)


def one_a_call(
    lifter: PoseLifter, views: Views, keypoints, confidence, covariance, rounds: int
) -> np.ndarray:
    """Times of single persons, the first round not counted."""
    calls = []
    for n in range(len(keypoints)):
        person = (keypoints[[n]], confidence[[n]], covariance[[n]], views.camera, views.up[[n]])
        calls.append(partial(lifter.lift, *person))

    milliseconds(calls)
    return np.concatenate([milliseconds(calls) for _ in range(rounds)])


def first_seen(lifter: Lifter, views: Views, keypoints, covariance, count: int) -> np.ndarray:
    """Times of single persons, each with a mask and confidences that no call had before."""
    rng = np.random.default_rng(1)
    shape = (count, KEYPOINT_COUNT)
    confidence = rng.uniform(0.05, 1, shape)
    draws = rng.random(shape)
    missing = rng.uniform(0, 0.6, (count, 1))
    confidence = confidence * (draws > missing)

    calls = []
    for n, k in enumerate(rng.integers(0, len(keypoints), count)):
        person = (keypoints[[k]], confidence[[n]], covariance[[k]], views.camera, views.up[[k]])
        calls.append(partial(lifter.lift, *person))

    return milliseconds(calls)


def many_a_call(
    lifter: PoseLifter, views: Views, keypoints, covariance, batch: int, rounds: int
) -> np.ndarray:
    """Times of whole batches, the first two not counted."""
    rows = np.resize(np.arange(len(keypoints)), batch)
    people = (
        keypoints[rows],
        np.ones((batch, KEYPOINT_COUNT)),
        covariance[rows],
        views.camera,
        views.up[rows],
    )

    return milliseconds([lambda: lifter.lift(*people)] * (rounds + 2))[2:]


def beside_reference(
    lifter: Lifter, views: Views, keypoints, confidence, covariance, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Times (count,) of the reference for single persons, ms, and the largest distance (count,) of
    a joint, mm."""
    ours = lifter.lift(
        keypoints[:count], confidence[:count], covariance[:count], views.camera, views.up[:count]
    )

    times = []
    apart = []
    for n in range(count):
        start = time.perf_counter()
        plain = reference_lift(
            lifter, keypoints[n], confidence[n], covariance[n], views.camera, views.up[n]
        )
        times.append(1e3 * (time.perf_counter() - start))

        distance = np.linalg.norm(ours.joints_m[n] - plain["joints_m"], axis=-1)
        apart.append(1e3 * distance.max())

    return np.array(times), np.array(apart)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=1024, help="persons a call (default 1024)")
    parser.add_argument("--rounds", type=int, default=50, help="repetitions (default 50)")
    parser.add_argument(
        "--reference", type=int, default=40, help="persons that the reference lifts (default 40)"
    )
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures here as well")
    args = parser.parse_args()
    prior = MixturePPCA.load(WEIGHTS / "prior.npz")
    lifter = Lifter(prior)
    views = make_views(draw_people(prior, 256), cameras=1)
    lifter.warm_up()
    rng = np.random.default_rng(2)
    keypoints = views.keypoints_px + NOISE_PX * rng.standard_normal(views.keypoints_px.shape)
    confidence = np.ones(keypoints.shape[:2])
    covariance = np.tile(NOISE_PX**2 * np.eye(2), (*keypoints.shape[:2], 1, 1))
    corrected = make_lifter("ppca", prior, LifterConfig())
    corrected.warm_up()
    new = first_seen(lifter, views, keypoints, covariance, 300)
    one = one_a_call(lifter, views, keypoints, confidence, covariance, max(1, args.rounds // 10))
    many = many_a_call(lifter, views, keypoints, covariance, args.batch, args.rounds)
    rounds = max(1, args.rounds // 10)
    one_corrected = one_a_call(corrected, views, keypoints, confidence, covariance, rounds)
    many_corrected = many_a_call(corrected, views, keypoints, covariance, args.batch, args.rounds)
    plain, apart = beside_reference(
        lifter, views, keypoints, confidence, covariance, args.reference
    )
    rows = {
        "one a call": one,
        "one a call, mask and confidences seen for the first time": new,
        f"{args.batch} a call": many,
        "one a call, corrected": one_corrected,
        f"{args.batch} a call, corrected": many_corrected,
        "plain reference, one a call": plain,
    }
    print(
        f"{len(os.sched_getaffinity(0))} "
        f"cores\n{'':60}{'p50 ms':>10}{'p99 ms':>10}{'poses/s':>12}{'to plain':>10}"
    )
    figures = {}

    for name, times in rows.items():
        each = args.batch if name[0].isdigit() else 1
        figures[name] = dict(zip(("p50_ms", "p99_ms"), np.percentile(times, [50, 99]))) | {
            "poses_per_s": 1e3 * each / np.median(times)
        }
        ratio = figures[name]["poses_per_s"] * np.median(plain) / 1e3
        middle = figures[name]["p50_ms"]
        slow = figures[name]["p99_ms"]
        print(
            f"{name:60}{middle:10.3f}{slow:10.3f}{figures[name]['poses_per_s']:12.0f}{ratio:10.0f}"
        )

    figures["apart_mm"] = {"p50": float(np.median(apart)), "most": float(apart.max())}
    print(
        f"apart from the plain reference: {np.median(apart):.5f} mm in the middle, "
        f"{apart.max():.5f} mm at most"
    )

    if args.json:
        write_json(args.json, figures)

    return 0


if __name__ == "__main__":
    sys.exit(main())
