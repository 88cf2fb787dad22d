# SPDX-License-Identifier: Apache-2.0
"""The belief maps of every stage, before and after fusion, to look into the network.

The runtimes other than torch keep the maps of the last stage alone, so this always runs in torch,
beside what the estimator runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lifting_ros.keypoints.crop import crop_around, cut
from lifting_ros.keypoints.denoise import without_noise

if TYPE_CHECKING:
    import torch

    from lifting_ros.keypoints.inference import NetworkRunner
    from lifting_ros.prior.ppca import MixturePPCA


@dataclass(frozen=True)
class StageMaps:
    """What the stages made of one crop."""

    crop: np.ndarray
    """(S, S, 3) uint8 RGB: what the network saw."""
    belief: np.ndarray
    """(T, 14, h, w) b_t of each stage t: probabilities."""
    projected: np.ndarray
    """(T, 14, h, w) b_hat_t: the lifted skeleton, projected; NaN without fusion."""
    fused: np.ndarray
    """(T, 14, h, w) f_t, equation (8); without fusion b_t."""


class StageInspector:
    """Shows the belief maps of persons whose boxes are known."""

    def __init__(self, runner: NetworkRunner):
        self._runner = runner

    def look(self, image: np.ndarray, box_px: np.ndarray) -> StageMaps:
        """The maps of a person in an image (H, W, 3) uint8 RGB.

        box_px: (4,) of the keypoints, as in `Skeleton2D.box_px`. The crop is that around it.
        """
        from lifting_ros.keypoints.inference import to_input

        crop = cut(without_noise(image), crop_around(box_px, self._runner.config.input_px))
        output = self._runner(to_input(crop[None]))

        belief = []
        projected = []
        fused = []
        for stage in output.stages:
            maps = _to_numpy(stage.belief)
            belief.append(maps)
            unknown = np.full_like(maps, np.nan)
            projected.append(unknown if stage.projected is None else _to_numpy(stage.projected))
            fused.append(_to_numpy(stage.fused))

        return StageMaps(crop, np.stack(belief), np.stack(projected), np.stack(fused))


def load_inspector(
    weights: Path, prior: MixturePPCA, device: torch.device | str, stages: int = 0
) -> StageInspector:
    """The inspector of a network's weights file; stages: how many to run, 0: all.

    CheckpointError for a file that is no network of this package; ConfigError where it has fewer
    stages.
    """
    import torch

    from lifting_ros.keypoints.inference import load_runner

    return StageInspector(load_runner(weights, prior, torch.device(device), stages))


def _to_numpy(maps: torch.Tensor) -> np.ndarray:
    """The maps (14, h, w) of one crop."""
    return maps[0].float().cpu().numpy()
