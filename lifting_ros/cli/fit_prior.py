# SPDX-License-Identifier: Apache-2.0
"""Learn the pose prior, a mixture of probabilistic PCA, from motion capture.

MOCAP.npz holds positions (N, 17, 3) in metres, y up, joints in Human3.6M order, and subject_id
(N,); where it has source_id (N,) with sources, people's size and proportions are learnt only from
skeletons that are their own. "auto" chooses the number of components or basis vectors by the
likelihood of what is left out in turn, among the poses that are not held out: people or, where one
of them is more than a quarter of the poses and clip_id (N,) tells the clips, whole takes.
"""

from __future__ import annotations

import argparse

import numpy as np


def number_or_auto(text: str) -> int | None:
    """A whole number, or None for "auto"."""
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number or auto, got {text}") from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mocap", metavar="MOCAP.npz", help="motion capture")
    parser.add_argument("--out", required=True, metavar="PRIOR.npz", help="the prior to write")
    parser.add_argument(
        "--components",
        type=number_or_auto,
        default=3,
        metavar="C",
        help="components of the mixture, or auto (default 3)",
    )
    parser.add_argument(
        "--basis",
        type=number_or_auto,
        default=25,
        metavar="K",
        help="basis vectors a component, or auto (default 25)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of sub-samples and varied bodies (default 0)"
    )
    parser.add_argument(
        "--hold-out",
        default="",
        metavar="NAMES",
        help="subjects left out and scored, separated by commas",
    )
    parser.add_argument(
        "--bodies-as-recorded",
        action="store_true",
        help="no poses on bodies of other proportions among them",
    )
    parser.add_argument(
        "--report",
        default="",
        metavar="DIR",
        help="pictures of the fit, and likelihoods against C and K (takes minutes)",
    )


def run(args: argparse.Namespace) -> int:
    from lifting_ros.cli.main import CommandError
    from lifting_ros.research.datasets.mocap import read_mocap
    from lifting_ros.research.training.choose_prior import Search
    from lifting_ros.research.training.fit_prior import fit_prior

    mocap = read_mocap(args.mocap)
    held, vary = held_out(mocap, args.hold_out), not args.bodies_as_recorded
    for name, least in (("components", 1), ("basis", 1), ("seed", 0)):
        if getattr(args, name) is not None and getattr(args, name) < least:
            raise CommandError(f"--{name}: expected {least} or more, got {getattr(args, name)}")
    poses = mocap.select(~held) if held.any() else mocap
    search, components, basis = None, args.components, args.basis
    if components is None or basis is None or args.report:
        search = Search(poses, args.seed, vary, tell)
        components, basis = search.choose(components, basis)
    prior = fit_prior(poses, components, basis, args.seed, vary=vary)
    prior.save(args.out)
    summary(args.out, prior, len(poses.positions_m))
    if held.any():
        print(
            f"mean log-likelihood of {int(held.sum())} poses left out: {prior.score_samples(mocap.positions_m[held]).mean():.2f}"
        )
    if args.report:
        report(args.report, prior, poses.positions_m, search, components, basis)
    return 0


def held_out(mocap, names: str) -> np.ndarray:
    """Boolean (N,): poses of the subjects named."""
    from lifting_ros.cli.main import CommandError

    wanted = [name for name in names.split(",") if name]
    for name in wanted:
        if name not in mocap.subjects:
            raise CommandError(
                f"--hold-out: {name} is none of the subjects {', '.join(mocap.subjects) or '(the file names none)'}"
            )
    held = np.isin(mocap.subject_id, [mocap.subjects.index(name) for name in wanted])
    if held.any() and held.all():
        raise CommandError("--hold-out: expected somebody to be left to learn from")
    return held


def tell(trial) -> None:
    print(
        f"{trial.components} components of {trial.basis}: log-likelihood {trial.train:.2f}, of those left out {trial.held_out:.2f}"
    )


def summary(path: str, prior, poses: int) -> None:
    print(f"{path}: {len(prior.weights_)} components of {prior.basis} vectors from {poses} poses")
    print(
        f"component weights {np.round(prior.weights_, 3)}, noise {np.round(1e3 * prior.noises_, 2)} thousandths of the size"
    )
    print(
        f"size of people {prior.stature_m_:.3f} +- {prior.stature_std_m_:.3f} m (root of the sum of squared limb lengths)"
    )


def report(
    folder: str, prior, positions_m: np.ndarray, search, components: int, basis: int
) -> None:
    """Write the pictures of a fit."""
    from lifting_ros.research.evaluation.prior_report import write_report

    curves = search.over_components(basis), search.over_bases(components)
    for path in write_report(folder, prior, positions_m, *curves):
        print(path)
