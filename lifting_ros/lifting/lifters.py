# SPDX-License-Identifier: Apache-2.0
"""The lifters by name: what `lifter` chooses, where their weights are, and how they are made. All
are a `request.PoseLifter`.

A new one is an entry of `_LEARNED`: a class with `load(path, config)`, whose weights say in their
header which `lifter` they are of.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lifting_ros.config import ConfigError
from lifting_ros.io.checkpoint import CheckpointError, load_header
from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.lifting.lifting import Lifter
from lifting_ros.lifting.request import PoseLifter
from lifting_ros.prior.ppca import MixturePPCA

WEIGHTS = Path(__file__).parents[1] / "weights"


def _supervised(path: Path, config: LifterConfig) -> PoseLifter:
    from lifting_ros.lifting.residual_mlp import SupervisedLifter

    return SupervisedLifter.load(path, config)


def _relative(path: Path, config: LifterConfig) -> PoseLifter:
    from lifting_ros.lifting.residual_mlp import RelativeLifter

    return RelativeLifter.load(path, config)


def _stereo(path: Path, config: LifterConfig) -> PoseLifter:
    from lifting_ros.lifting.stereo import StereoLifter

    return StereoLifter.load(path, config)


_LEARNED: dict[str, Callable[[Path, LifterConfig], PoseLifter]] = {
    "relative": _relative,
    "stereo": _stereo,
    "supervised": _supervised,
}

METHODS = ("ppca", *_LEARNED)
"""The prior (ppca), and the networks by what they learnt from."""


def weights_of(method: str, path: str = "") -> Path | None:
    """The weights file of a lifter, `path` or the one that ships; None for ppca, which has none.

    ConfigError in one line where the name is not known, the file is not there, or it is another
    lifter's.
    """
    if method not in METHODS:
        raise ConfigError(f"lifter: expected one of {', '.join(METHODS)}, got {method!r}")
    if method not in _LEARNED:
        return None
    file = Path(path) if path else WEIGHTS / f"{method}.safetensors"
    try:
        found = load_header(file).get("lifter", "something else")
    except CheckpointError as error:
        raise ConfigError(f"lifter: {method}: {error} (lifting train {method} makes one)") from None
    if found != method:
        raise ConfigError(f"lifter: {method}: {file}: weights of {found}")
    return file


def make_lifter(
    method: str, prior: MixturePPCA, config: LifterConfig, path: str = ""
) -> PoseLifter:
    """A lifter, not warmed up. ConfigError or CheckpointError in one line where its weights cannot
    be used."""
    file = weights_of(method, path)
    return Lifter(prior, config) if file is None else _LEARNED[method](file, config)


def shipped() -> list[str]:
    """Names of the lifters whose weights are there."""
    return [
        method
        for method in METHODS
        if method not in _LEARNED or (WEIGHTS / f"{method}.safetensors").is_file()
    ]
