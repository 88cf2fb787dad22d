# SPDX-License-Identifier: Apache-2.0
"""Learn the pose prior, a mixture of probabilistic PCA, from motion capture.

MOCAP.npz holds positions (N, 17, 3) in metres, y up, joints in Human3.6M order, and subject_id (N,); where it has clip_id (N,) clips are
balanced, and where it has source_id (N,) with sources, people's size is learnt only from skeletons that are their own.
"""
from __future__ import annotations

import argparse

import numpy as np


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mocap", metavar="MOCAP.npz", help="motion capture")
    parser.add_argument("--out", required=True, metavar="PRIOR.npz", help="the prior to write")
    parser.add_argument("--components", type=int, default=3, metavar="C", help="components of the mixture (default 3)")
    parser.add_argument("--basis", type=int, default=25, metavar="K", help="basis vectors a component (default 25)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sub-sample that proposes centres (default 0)")
    parser.add_argument("--hold-out", default="", metavar="NAMES", help="subjects left out and scored, separated by commas")


def run(args: argparse.Namespace) -> int:
    from lifting_ros.cli.main import CommandError
    from lifting_ros.data.mocap import read_mocap
    from lifting_ros.training.fit_prior import fit_prior

    mocap = read_mocap(args.mocap)
    wanted = [name for name in args.hold_out.split(",") if name]
    for name in wanted:
        if name not in mocap.subjects:
            raise CommandError(f"--hold-out: {name} is none of the subjects {', '.join(mocap.subjects) or '(the file names none)'}")
    held = np.isin(mocap.subject_id, [mocap.subjects.index(name) for name in wanted])
    prior = fit_prior(mocap.select(~held), args.components, args.basis, args.seed)
    prior.save(args.out)
    print(f"{args.out}: {len(prior.weights_)} components of {prior.basis} vectors from {int((~held).sum())} poses")
    print(f"component weights {np.round(prior.weights_, 3)}, noise {np.round(1e3 * prior.noises_, 2)} thousandths of the size")
    print(f"size of people {prior.stature_m_:.3f} +- {prior.stature_std_m_:.3f} m (root of the sum of squared limb lengths)")
    if held.any():
        print(f"mean log-likelihood of {int(held.sum())} poses left out: {prior.score_samples(mocap.positions_m[held]).mean():.2f}")
    return 0
