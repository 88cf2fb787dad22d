# SPDX-License-Identifier: Apache-2.0
"""The lifters by name: where their weights are, and how they are made.

Each is a `request.PoseLifter`, and is imported when it is made. A new one is an entry of
`_LEARNED`: a class with `load(path, config)`, whose weights name the `lifter` in their header.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lifting_ros.config import ConfigError
from lifting_ros.io.checkpoint import CheckpointError, load_header
from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.lifting.request import PoseLifter

if TYPE_CHECKING:
    from lifting_ros.prior.ppca import MixturePPCA

WEIGHTS = Path(__file__).parents[1] / "weights"
"""Folder of the weights that ship."""


def _load_supervised(
    path: Path,
    config: LifterConfig,
) -> PoseLifter:
    from lifting_ros.lifting.residual_mlp import SupervisedLifter

    return SupervisedLifter.load(path, config)


def _load_relative(
    path: Path,
    config: LifterConfig,
) -> PoseLifter:
    from lifting_ros.lifting.residual_mlp import RelativeLifter

    return RelativeLifter.load(path, config)


def _load_stereo(
    path: Path,
    config: LifterConfig,
) -> PoseLifter:
    from lifting_ros.lifting.stereo import StereoLifter

    return StereoLifter.load(path, config)


_LEARNED: dict[str, Callable[[Path, LifterConfig], PoseLifter]] = {
    "relative": _load_relative,
    "stereo": _load_stereo,
    "supervised": _load_supervised,
}

METHODS = ("ppca", *_LEARNED)
"""Names of the lifters: the prior (ppca), whose weights are its pose correction, and networks named
after what they learned from."""


def weights_of(
    method: str,
    path: str = "",
) -> Path | None:
    """Return the weights file of a lifter: `path`, or the one that ships; of ppca, which can do
    without, None where none ships.

    Raises ConfigError in one line if the name is unknown, or if the file is missing or belongs to
    another lifter.
    """
    if method not in METHODS:
        raise ConfigError(f"lifter: expected one of {', '.join(METHODS)}, got {method!r}")

    if method not in _LEARNED and not path and not _shipped_weights(method).is_file():
        return None

    file = Path(path) if path else _shipped_weights(method)
    try:
        header = load_header(file)
    except CheckpointError as error:
        raise ConfigError(f"lifter: {method}: {error} (lifting train {method} makes one)") from None

    found = header.get("lifter", "something else")
    if found != method:
        raise ConfigError(f"lifter: {method}: {file}: weights of {found}")

    return file


def make_lifter(
    method: str,
    prior: MixturePPCA,
    config: LifterConfig,
    path: str = "",
) -> PoseLifter:
    """Return a lifter that is not warmed up.

    Raises ConfigError or CheckpointError in one line if its weights cannot be used.
    """
    file = weights_of(method, path)
    if file is not None and method in _LEARNED:
        load = _LEARNED[method]
        return load(file, config)

    return _with_correction(prior, config, file, is_chosen=bool(path))


def _with_correction(
    prior: MixturePPCA,
    config: LifterConfig,
    file: Path | None,
    is_chosen: bool,
) -> PoseLifter:
    """The prior's lifter, with the pose correction of `file` where it is one of this prior;
    ConfigError for another file that somebody chose."""
    from lifting_ros.lifting.corrected_lifter import CorrectedLifter
    from lifting_ros.lifting.lifting import Lifter
    from lifting_ros.lifting.pose_correction import read_pose_correction

    lifter = Lifter(prior, config)
    correction = None
    if file is not None and config.pose_correction:
        correction = read_pose_correction(file, prior)
        if correction is None and is_chosen:
            raise ConfigError(f"lifter: ppca: {file}: no pose correction of this prior")

    return lifter if correction is None else CorrectedLifter(lifter, correction)


def shipped() -> list[str]:
    """Return the names of the lifters that are ready to use: no weights needed, or they exist."""
    names = []
    for method in METHODS:
        if method not in _LEARNED or _shipped_weights(method).is_file():
            names.append(method)

    return names


def _shipped_weights(method: str) -> Path:
    return WEIGHTS / f"{method}.safetensors"
