# SPDX-License-Identifier: Apache-2.0
"""Pictures of belief maps over the crop that they were made of, as in figure 4 of the paper.

Opacity is the square root of the belief, so that faint second peaks show; a Gaussian of one cell is
opaque in its middle. Colours are those of the sides.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from lifting_ros.keypoints.stage_maps import StageMaps
from lifting_ros.skeleton import KEYPOINT_NAMES
from lifting_ros.viz.palette import rgb_of

_OPAQUE = 1 / (2 * np.pi)
"""Belief in the middle of a Gaussian of one cell."""

_TITLE_PX = 18
_TEXT_RGB = (60, 66, 82)
_PAGE = 247
_DIMMED = 0.55
"""Share of the crop's own brightness under the maps."""

_TILE_PX = 128
_COLUMNS = 4
_ALL = tuple(range(len(KEYPOINT_NAMES)))
_COLOURS = np.array([rgb_of(name) for name in KEYPOINT_NAMES], np.float32)


def draw_stages(maps: StageMaps, side_px: int = 256) -> np.ndarray:
    """The maps of all keypoints: a row for each stage, with belief, projection and fusion.

    Returns (height, width, 3) uint8 RGB.
    """
    rows = []
    for stage in range(len(maps.belief)):
        number = stage + 1
        columns = (
            (f"stage {number}: belief b", maps.belief[stage]),
            ("projected from 3D b^", maps.projected[stage]),
            ("fused f = w b + (1 - w) b^", maps.fused[stage]),
        )
        tiles = [_titled(_tile(maps.crop, each, _ALL, side_px), text) for text, each in columns]
        rows.append(np.hstack(tiles))

    return np.vstack(rows)


def draw_stage(maps: StageMaps, stage: int = 0, keypoint: str = "") -> np.ndarray:
    """The maps of one stage before and after fusion.

    stage: from 1, 0 or more than there are: the last one. keypoint: its name, for belief,
    projection and fusion of that one; empty: belief and fusion of all 14. Returns (height, width,
    3) uint8 RGB, of the same size for every crop.
    """
    count = len(maps.belief)
    index = (stage if 1 <= stage <= count else count) - 1
    before = maps.belief[index]
    projected = maps.projected[index]
    after = maps.fused[index]
    if keypoint:
        return _draw_keypoint(maps.crop, (before, projected, after), keypoint)

    tiles = []
    for k, name in enumerate(KEYPOINT_NAMES):
        pair = [_tile(maps.crop, each, (k,), _TILE_PX) for each in (before, after)]
        tiles.append(_titled(np.hstack(pair), f"{name}: b, f"))

    blank = np.full_like(tiles[0], _PAGE)
    tiles += [blank] * (-len(tiles) % _COLUMNS)
    rows = [np.hstack(tiles[k : k + _COLUMNS]) for k in range(0, len(tiles), _COLUMNS)]
    return np.vstack(rows)


def _draw_keypoint(crop: np.ndarray, maps: Sequence[np.ndarray], name: str) -> np.ndarray:
    """One keypoint's belief, projection and fusion, side by side."""
    k = KEYPOINT_NAMES.index(name)
    titles = (f"{name}: belief b", "projected b^", "fused f")
    tiles = [
        _titled(_tile(crop, each, (k,), 2 * _TILE_PX), title) for each, title in zip(maps, titles)
    ]
    return np.hstack(tiles)


def _tile(crop: np.ndarray, maps: np.ndarray, keypoints: Sequence[int], side_px: int) -> np.ndarray:
    """The crop in grey with the maps (14, h, w) of some keypoints over it, (side, side, 3)."""
    size = (side_px, side_px)
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    page = _DIMMED * np.repeat(grey[..., None], 3, -1).astype(np.float32)

    opacity = np.zeros((side_px, side_px), np.float32)
    colour = np.zeros((side_px, side_px, 3), np.float32)
    for k in keypoints:
        strength = np.clip(np.nan_to_num(maps[k]) / _OPAQUE, 0, 1).astype(np.float32)
        one = np.sqrt(cv2.resize(strength, size, interpolation=cv2.INTER_LINEAR))
        colour += one[..., None] * _COLOURS[k]
        opacity += one

    # Where maps overlap: their mean colour
    colour /= np.maximum(opacity, 1e-6)[..., None]
    share = np.minimum(opacity, 1)[..., None]
    return np.rint(share * colour + (1 - share) * page).astype(np.uint8)


def _titled(tile: np.ndarray, text: str) -> np.ndarray:
    """A tile with a line of text above it, and a white frame."""
    title = np.full((_TITLE_PX, tile.shape[1], 3), _PAGE, np.uint8)
    cv2.putText(
        title,
        text,
        (4, _TITLE_PX - 5),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.4,
        _TEXT_RGB,
        1,
        cv2.LINE_AA,
    )
    page = np.vstack([title, tile])
    page[:, -2:] = 255
    return page
