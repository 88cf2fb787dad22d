# SPDX-License-Identifier: Apache-2.0
"""The clip that ships: nobody, then a person who walks in, sits down, gets up and leaves."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np

from lifting_ros.cli.demo import CLIP
from lifting_ros.io.images import open_source


def frames(numbers: Sequence[int]) -> list[np.ndarray]:
    """Frames of the clip, (480, 640, 3) uint8 RGB."""
    shown = list(islice(open_source(str(CLIP)).frames(), max(numbers) + 1))
    return [shown[number] for number in numbers]
