# SPDX-License-Identifier: Apache-2.0
"""The person detector without torch: its graph in another runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lifting_ros.detection.centre_detector import CentreDetector, CentreMaps
from lifting_ros.detection.detector import DetectorConfig
from lifting_ros.protocols import Graph, GraphRuntime


class GraphDetector(CentreDetector):
    """Finds persons in images with a compiled graph."""

    def __init__(self, graph: Graph, config: DetectorConfig):
        """graph: from an image (1, h, w, 3) uint8 to the arrays of CentreMaps, (1, ...)."""
        super().__init__(config)
        self._graph = graph

    def maps_of(self, image: np.ndarray) -> CentreMaps:
        """See `CentreDetector`."""
        maps = self._graph(image[None])
        return CentreMaps(*(one[0] for one in maps))


def load_graph_detector(path: Path, config: DetectorConfig, runtime: GraphRuntime) -> GraphDetector:
    """The detector of a weights file; errors as `GraphRuntime.load`."""
    (graph,) = runtime.load(path, "detector", ["detector"])
    return GraphDetector(graph, config)
