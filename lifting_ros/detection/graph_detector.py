# SPDX-License-Identifier: Apache-2.0
"""The person detector without torch: its graph in another runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lifting_ros.detection.centre_detector import CentreDetector, CentreMaps
from lifting_ros.detection.detector import DetectorConfig
from lifting_ros.protocols import Graph, GraphRuntime

SIZES = 2
"""Number of sizes at which the detector sees an image."""


class GraphDetector(CentreDetector):
    """Finds persons in images with a compiled graph.

    Each size of the input has a copy of the graph: a graph that changes between two sizes takes a
    tenth longer with OpenVINO.
    """

    def __init__(self, graphs: Sequence[Graph], config: DetectorConfig):
        """graphs: copies of one, from an image (1, h, w, 3) uint8 to the arrays of CentreMaps,
        (1, ...)."""
        super().__init__(config)
        self._graphs: dict[object, Graph] = dict(enumerate(graphs))
        """By the shape that each has seen last, the longest unused one first."""

    def maps_of(self, image: np.ndarray) -> CentreMaps:
        """See `CentreDetector`."""
        oldest = next(iter(self._graphs))
        graph = self._graphs.pop(image.shape if image.shape in self._graphs else oldest)
        self._graphs[image.shape] = graph

        maps = graph(image[None])
        return CentreMaps(*(one[0] for one in maps))


def load_graph_detector(path: Path, config: DetectorConfig, runtime: GraphRuntime) -> GraphDetector:
    """The detector of a weights file; errors as `GraphRuntime.load`."""
    graphs = runtime.load(path, "detector", ["detector"] * SIZES)
    return GraphDetector(graphs, config)
