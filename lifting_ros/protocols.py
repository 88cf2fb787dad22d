# SPDX-License-Identifier: Apache-2.0
"""What the estimator calls on its parts. Another detector, keypoint network or lifter is a class
with these methods, and an entry of a table: of `backends`, or of `lifting.lifters`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from lifting_ros.detection.detector import DetectorConfig
from lifting_ros.lifting.request import PoseLifter as PoseLifter
from lifting_ros.types import Detection, FoundKeypoints

Lifter = PoseLifter
"""Lifts keypoints of N persons to joints."""


class PersonDetector(Protocol):
    """Finds persons in an image."""

    config: DetectorConfig
    """Read at every call: the estimator replaces it when live parameters change."""

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Persons in an (H, W, 3) uint8 RGB image, best first.

        Boxes are those of the keypoints (`detection.detector.keypoint_boxes`), in image pixels.
        """


class KeypointNetwork(Protocol):
    """Finds the keypoints of persons whose boxes are known, in one batch."""

    def find(
        self,
        images: Sequence[np.ndarray],
        boxes_px: Sequence[np.ndarray],
        mirrored: bool = False,
    ) -> list[FoundKeypoints]:
        """Keypoints of each box, in the order of the boxes.

        images: that of each box, (H, W, 3) uint8 RGB; boxes_px: N boxes (4,) of x0, y0, x1, y1,
        around the keypoints, N at least 1; mirrored: also ask for the mirror image, and return
        the mean of both answers.
        """


class PersonScorer(Protocol):
    """Says whether a detection shows a person."""

    def __call__(self, detection: float, found: FoundKeypoints) -> float:
        """The probability; arguments as in `keypoints.person_score.person_score`."""


class BorderDoubter(Protocol):
    """Lowers the confidence in keypoints that may lie beyond the border of the image."""

    def __call__(
        self, found: FoundKeypoints, box_px: np.ndarray, size: tuple[int, int]
    ) -> FoundKeypoints:
        """The same keypoints; arguments as in `keypoints.border_doubt.doubted`."""


class Graph(Protocol):
    """A part of a network that a runtime has compiled."""

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """The outputs; they are valid until the next call."""


class GraphRuntime(Protocol):
    """Runs networks that are cut into graphs."""

    device: str
    """Where it runs them: cpu, cuda or cuda:n."""

    def load(self, path: Path, kind: str, names: Sequence[str]) -> Sequence[Graph]:
        """Graphs of a weights file, by name.

        kind: what the file holds, `network` or `detector`. CheckpointError or ConfigError where
        that fails.
        """
