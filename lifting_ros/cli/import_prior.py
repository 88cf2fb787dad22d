# SPDX-License-Identifier: Apache-2.0
"""Convert the model file of the paper's release, prob_model_params.mat, into a prior of this
package, without loss.

The file has no component weights and does not say how people's proportions and sizes vary: all
components get the same weight, and limb lengths and size vary as in people at large.
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="prob_model_params.mat",
        help="mu (C, 51), e (C, K, 51), sigma (C, K + 1), millimetres",
    )
    parser.add_argument("--out", required=True, metavar="PRIOR.npz", help="the prior to write")


def run(args: argparse.Namespace) -> int:
    from lifting_ros.prior.published_prior import read_published_prior

    prior = read_published_prior(args.model)
    prior.save(args.out)

    components = len(prior.weights_)
    print(
        f"{args.out}: {components} components of {prior.basis} vectors,"
        f" size of people {prior.stature_m_:.3f} m"
    )
    return 0
