# SPDX-License-Identifier: Apache-2.0
"""The option that chooses a lifter, the same for every verb that lifts."""

from __future__ import annotations

import argparse

LIFTERS = ("ppca", "relative", "stereo", "supervised")
"""As core.lifters.METHODS, whose import is slow: --help does without."""


def add_lifter(parser: argparse.ArgumentParser, option: str) -> None:
    """Add it under the name that the verb has for it."""
    parser.add_argument(
        option,
        default="ppca",
        choices=LIFTERS,
        help="lifts to 3D: the prior, or a network (default ppca)",
    )
