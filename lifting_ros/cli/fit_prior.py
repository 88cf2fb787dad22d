# SPDX-License-Identifier: Apache-2.0
"""Learn the pose prior, a mixture of probabilistic PCA, from motion capture.

MOCAP.npz holds positions (N, 17, 3) in metres, y up, joints in Human3.6M order, and subject_id
(N,). Where it has source_id (N,) with sources, people's size and proportions are learnt only from
skeletons that are their own. "auto" chooses the number of components or basis vectors by
cross-validation of the likelihood on the poses that are not held out: over people or, where one of
them is more than a quarter of the poses and clip_id (N,) tells the clips, over whole takes.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.options import require_at_least

if TYPE_CHECKING:
    import numpy as np

    from lifting_ros.prior.ppca import MixturePPCA
    from lifting_ros.research.datasets.mocap import Mocap
    from lifting_ros.research.training.choose_prior import Search


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
        help="basis vectors per component, or auto (default 25)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of sub-samples and varied bodies (default 0)"
    )

    parser.add_argument(
        "--hold-out",
        default="",
        metavar="NAMES",
        help="subjects to leave out and score, separated by commas",
    )
    parser.add_argument(
        "--bodies-as-recorded",
        action="store_true",
        help="do not add poses of bodies with other proportions",
    )
    parser.add_argument(
        "--posed",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of generated poses: sitting, squatting, lying and their like (default 0)",
    )

    parser.add_argument(
        "--report",
        default="",
        metavar="DIR",
        help="folder for pictures of the fit, and likelihoods against C and K (takes minutes)",
    )


def number_or_auto(text: str) -> int | None:
    """A whole number, or None for "auto"."""
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number or auto, got {text}") from None


def run(args: argparse.Namespace) -> int:
    from lifting_ros.research.datasets.mocap import read_mocap
    from lifting_ros.research.training.choose_prior import Search
    from lifting_ros.research.training.fit_prior import fit_prior

    mocap = read_mocap(args.mocap)
    held_out = held_out_rows(mocap, args.hold_out)
    check(args)

    poses = mocap.select(~held_out) if held_out.any() else mocap
    vary = not args.bodies_as_recorded
    search = None
    components = args.components
    basis = args.basis
    if components is None or basis is None or args.report:
        search = Search(poses, args.seed, vary, print_trial, args.posed)
        components, basis = search.choose(components, basis)

    prior = fit_prior(poses, components, basis, args.seed, vary=vary, posed=args.posed)
    prior.save(args.out)
    print_summary(args.out, prior, len(poses.positions_m))
    if held_out.any():
        likelihood = prior.score_samples(mocap.positions_m[held_out]).mean()
        print(f"mean log-likelihood of {int(held_out.sum())} poses left out: {likelihood:.2f}")
    if args.report:
        write_pictures(args.report, prior, poses.positions_m, search, components, basis)
    return 0


def check(args: argparse.Namespace) -> None:
    """Raise CommandError for numbers that are too small."""
    for name, least in (("components", 1), ("basis", 1), ("seed", 0)):
        value = getattr(args, name)
        if value is not None:
            require_at_least(f"--{name}", value, least)
    if not 0 <= args.posed < 1:
        raise CommandError(f"--posed: expected a share from 0 up to but not 1, got {args.posed}")


def held_out_rows(mocap: Mocap, names: str) -> np.ndarray:
    """(N,) bool: poses of the subjects named, separated by commas."""
    import numpy as np

    wanted = [name for name in names.split(",") if name]
    for name in wanted:
        if name not in mocap.subjects:
            subjects = ", ".join(mocap.subjects) or "(the file names none)"
            raise CommandError(f"--hold-out: {name} is none of the subjects {subjects}")

    rows = np.isin(mocap.subject_id, [mocap.subjects.index(name) for name in wanted])
    if rows.any() and rows.all():
        raise CommandError("--hold-out: expected somebody to be left to learn from")
    return rows


def print_trial(trial) -> None:
    """Print a trial of the search."""
    print(
        f"{trial.components} components of {trial.basis}: log-likelihood {trial.train:.2f},"
        f" of those left out {trial.held_out:.2f}"
    )


def print_summary(path: str, prior: MixturePPCA, poses: int) -> None:
    """Print the size of a prior and what it has learnt."""
    import numpy as np

    weights = np.round(prior.weights_, 3)
    noises = np.round(1e3 * prior.noises_, 2)
    print(f"{path}: {len(prior.weights_)} components of {prior.basis} vectors from {poses} poses")
    print(f"component weights {weights}, noise {noises} thousandths of the size")
    print(
        f"size of people {prior.stature_m_:.3f} +- {prior.stature_std_m_:.3f} m"
        " (root of the sum of squared limb lengths)"
    )


def write_pictures(
    folder: str,
    prior: MixturePPCA,
    positions_m: np.ndarray,
    search: Search,
    components: int,
    basis: int,
) -> None:
    """Write the pictures of a fit to poses (N, 17, 3), and print their names."""
    from lifting_ros.research.evaluation.prior_report import write_report

    by_components = search.over_components(basis)
    by_basis = search.over_bases(components)
    for path in write_report(folder, prior, positions_m, by_components, by_basis):
        print(path)
