# SPDX-License-Identifier: Apache-2.0
"""The networks of the verbs, loaded once in a process that runs a verb on many files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lifting_ros.estimator import EstimatorConfig, PoseEstimator
    from lifting_ros.research.labels.labeller import Labeller


class Models:
    """Makes an estimator or a labeller, and keeps it for the next call with the same
    configuration."""

    def __init__(self):
        self._key: tuple | None = None
        self._value: Any = None

    def estimator(self, config: EstimatorConfig) -> PoseEstimator:
        """The estimator of that configuration; LiftingError where it cannot be loaded."""
        from lifting_ros.estimator import PoseEstimator

        return self._kept(("estimator", config), lambda: PoseEstimator(config))

    def labeller(self, config: EstimatorConfig, lifter: Path, annotated: bool = False) -> Labeller:
        """The labeller with that estimator and lifter; LiftingError where it cannot be loaded.

        annotated: it gets annotated keypoints, and loads no network for them.
        """
        from lifting_ros.research.labels.labeller import Labeller

        key = ("labeller", config, lifter, annotated)
        return self._kept(key, lambda: Labeller(config, lifter, annotated))

    def _kept(self, key: tuple, make: Callable[[], Any]) -> Any:
        if self._key != key:
            self._value = make()
            self._key = key
        return self._value
