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
from lifting_ros.viz.tiles import in_rows

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
        tiles = []
        for title, each in columns:
            tile = _tile(maps.crop, each, _ALL, side_px)
            tiles.append(_titled(tile, title))
        rows.append(np.hstack(tiles))

    return np.vstack(rows)


def draw_stage(maps: StageMaps, stage: int = 0, keypoint: str = "") -> np.ndarray:
    """The maps of one stage before and after fusion.

    stage: from 1, 0 or more than there are: the last one. keypoint: its name, for belief,
    projection and fusion of that one; empty: belief and fusion of all 14. Returns (height, width,
    3) uint8 RGB, of the same size for every crop.
    """
    count = len(maps.belief)
    is_there = 1 <= stage <= count
    index = stage - 1 if is_there else count - 1
    before = maps.belief[index]
    after = maps.fused[index]
    if keypoint:
        three = (before, maps.projected[index], after)
        return _draw_keypoint(maps.crop, three, keypoint)

    # A pair of tiles for each keypoint
    tiles = []
    for k, name in enumerate(KEYPOINT_NAMES):
        pair = [_tile(maps.crop, each, (k,), _TILE_PX) for each in (before, after)]
        page = np.hstack(pair)
        tiles.append(_titled(page, f"{name}: b, f"))

    # Rows of the same length
    blank = np.full_like(tiles[0], _PAGE)
    tiles += [blank] * (-len(tiles) % _COLUMNS)
    return in_rows(tiles, _COLUMNS)


def _draw_keypoint(crop: np.ndarray, maps: Sequence[np.ndarray], name: str) -> np.ndarray:
    """One keypoint's belief, projection and fusion, side by side."""
    k = KEYPOINT_NAMES.index(name)
    titles = (f"{name}: belief b", "projected b^", "fused f")
    tiles = []
    for each, title in zip(maps, titles):
        tile = _tile(crop, each, (k,), 2 * _TILE_PX)
        tiles.append(_titled(tile, title))

    return np.hstack(tiles)


def _tile(crop: np.ndarray, maps: np.ndarray, keypoints: Sequence[int], side_px: int) -> np.ndarray:
    """The crop in grey with the maps (14, h, w) of some keypoints over it, (side, side, 3)."""
    size = (side_px, side_px)
    opacity = np.zeros(size, np.float32)
    colour = np.zeros((*size, 3), np.float32)
    for k in keypoints:
        one = _opacity(maps[k], size)
        opacity += one
        colour += one[..., None] * _COLOURS[k]

    # Where maps overlap: their mean colour
    opacity = opacity[..., None]
    total = np.maximum(opacity, 1e-6)
    colour /= total
    share = np.minimum(opacity, 1)

    page = _page(crop, size)
    drawn = share * colour + (1 - share) * page
    rounded = np.rint(drawn)
    return rounded.astype(np.uint8)


def _opacity(belief: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Opacity (side, side) in [0, 1] of one map (h, w)."""
    known = np.nan_to_num(belief)
    scaled = known / _OPAQUE
    strength = np.clip(scaled, 0, 1)

    large = cv2.resize(
        strength,
        size,
        interpolation=cv2.INTER_LINEAR,
    )
    return np.sqrt(large)


def _page(crop: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The crop, dimmed and in grey, (side, side, 1)."""
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    resized = cv2.resize(
        grey,
        size,
        interpolation=cv2.INTER_AREA,
    )

    page = resized[..., None]
    return _DIMMED * page


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
