# SPDX-License-Identifier: Apache-2.0
"""Pictures of estimates: the image with 2D skeletons beside the 3D skeletons, both with their
uncertainty.

Drawn with matplotlib's Agg canvas, without a display or global state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke

from lifting_ros.skeleton import KEYPOINT_LIMBS, KEYPOINT_NAMES
from lifting_ros.types import Person, Skeleton2D
from lifting_ros.viz.overlay_3d import add_ellipses, draw_from_above, draw_scene, placed
from lifting_ros.viz.palette import BACKGROUND, COLOURS, INK, colour_of, side_of
from lifting_ros.viz.tiles import in_rows

_DPI = 100
_LEGEND_PX = 30

_SCENE_ASPECT = 1.12
"""Width of the 3D panel, divided by its height."""

_LEAST_CONFIDENCE = 0.05
"""Keypoints below this are not drawn."""

_LONGEST_PX = 1280
"""Larger images are reduced, because bilinear drawing would alias."""


def draw_overlay(
    image: np.ndarray,
    persons: Sequence[Person],
    caption: str = "",
    height_px: int = 480,
    legend: bool = True,
) -> np.ndarray:
    """The image with 2D skeletons, and the 3D skeletons beside it.

    image: (H, W, 3) uint8 RGB; persons: of that image, any number; height_px: of the picture
    without its legend. Returns (height, width, 3) uint8 RGB.
    """
    # Sizes in pixels
    image_width = max(1, round(image.shape[1] * height_px / image.shape[0]))
    scene_width = round(_SCENE_ASPECT * height_px)
    bottom_px = _LEGEND_PX if legend else 0
    width = image_width + scene_width
    height = height_px + bottom_px
    figure = Figure((width / _DPI, height / _DPI), dpi=_DPI, facecolor=BACKGROUND)

    # Image
    panel_height = height_px / height
    bottom = bottom_px / height
    axes = figure.add_axes((0, bottom, image_width / width, panel_height))
    draw_image(axes, image, persons, caption)

    # Scene
    axes = figure.add_axes(
        (image_width / width, bottom, scene_width / width, panel_height), facecolor=BACKGROUND
    )
    draw_scene(axes, persons)

    # Map from above, in the corner of the scene
    if any(pose.metric for pose, _ in placed(persons)):
        left = (image_width + 0.70 * scene_width) / width
        size = 0.29 * scene_width
        top = bottom + 0.99 * panel_height
        axes = figure.add_axes((left, top - size / height, size / width, size / height))
        draw_from_above(axes, persons)

    if legend:
        _draw_legend(figure, bottom)
    return _pixels(figure)


def contact_sheet(
    images: Sequence[np.ndarray],
    persons: Sequence[Sequence[Person]],
    captions: Sequence[str],
    columns: int = 2,
    height_px: int = 400,
) -> np.ndarray:
    """`draw_overlay` of several images, in rows of `columns`, with one legend.

    Returns (height, width, 3) uint8 RGB. ValueError without images.
    """
    if not images:
        raise ValueError("contact sheet: expected at least one image")

    tiles = []
    for image, people, caption in zip(images, persons, captions, strict=True):
        tiles.append(draw_overlay(image, people, caption, height_px, legend=False))

    # Equal sizes, and blank tiles to fill the last row
    columns = min(columns, len(tiles))
    height = max(tile.shape[0] for tile in tiles)
    width = max(tile.shape[1] for tile in tiles)
    blank = np.full((height, width, 3), 247, np.uint8)
    tiles += [blank] * (-len(tiles) % columns)
    tiles = [_padded(tile, height, width) for tile in tiles]

    # Rows and legend
    sheet = in_rows(tiles, columns)
    return np.vstack([sheet, _legend_strip(sheet.shape[1])])


def _padded(tile: np.ndarray, height: int, width: int) -> np.ndarray:
    """A tile with a white frame on the right and below, `height` by `width` inside."""
    gap = 3
    out = np.full((height + gap, width + gap, 3), 255, np.uint8)
    out[: tile.shape[0], : tile.shape[1]] = tile
    return out


def _legend_strip(width: int) -> np.ndarray:
    figure = Figure(
        (width / _DPI, _LEGEND_PX / _DPI),
        dpi=_DPI,
        facecolor=BACKGROUND,
    )
    _draw_legend(figure, 1.0)
    return _pixels(figure)


def _pixels(figure: Figure) -> np.ndarray:
    """A figure as (height, width, 3) uint8 RGB."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def draw_image(axes: Axes, image: np.ndarray, persons: Sequence[Person], caption: str = "") -> None:
    """Fill `axes` with the image (H, W, 3) and the 2D skeletons of `persons`."""
    height, width = image.shape[:2]
    axes.imshow(
        _reduced(image),
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        aspect="auto",
        interpolation="bilinear",
    )
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.set_axis_off()

    for person in persons:
        _draw_skeleton_2d(axes, person.skeleton_2d)
    if caption:
        _draw_caption(axes, caption)


def _draw_caption(axes: Axes, caption: str) -> None:
    box = {"facecolor": "black", "alpha": 0.55, "edgecolor": "none", "boxstyle": "round,pad=0.3"}
    axes.text(
        0.015,
        0.975,
        caption,
        transform=axes.transAxes,
        color="white",
        fontsize=9,
        va="top",
        bbox=box,
    )


def _reduced(image: np.ndarray) -> np.ndarray:
    """The image, at most _LONGEST_PX long."""
    scale = _LONGEST_PX / max(image.shape[:2])
    if scale >= 1:
        return image

    return cv2.resize(
        image,
        None,
        fx=scale,
        fy=scale,
        interpolation=cv2.INTER_AREA,
    )


def _draw_skeleton_2d(axes: Axes, skeleton: Skeleton2D) -> None:
    points = skeleton.keypoints_px
    confident = np.nan_to_num(skeleton.confidence) >= _LEAST_CONFIDENCE
    known = np.isfinite(points).all(-1) & confident
    if not known.any():
        return

    # Box
    x0, y0, x1, y1 = skeleton.box_px
    if np.isfinite(skeleton.box_px).all():
        box = Rectangle(
            (x0, y0),
            x1 - x0,
            y1 - y0,
            fill=False,
            edgecolor="white",
            linewidth=0.8,
            alpha=0.6,
        )
        axes.add_patch(box)

    # Limbs
    opacity = 0.25 + 0.75 * np.clip(skeleton.confidence, 0, 1)
    for a, b in KEYPOINT_LIMBS:
        if known[a] and known[b]:
            alpha = float(min(opacity[a], opacity[b]))
            _draw_limb(axes, points[[a, b]], COLOURS[_side_of_limb(a, b)], alpha)

    # Keypoints
    for k in np.flatnonzero(known):
        colour = colour_of(KEYPOINT_NAMES[k])
        covariance = skeleton.covariance_px2[k]
        _draw_keypoint(axes, points[k], covariance, colour, float(opacity[k]))


def _side_of_limb(a: int, b: int) -> str:
    """The side of both ends, or trunk if they differ, as from the neck to the shoulders."""
    sides = {side_of(KEYPOINT_NAMES[a]), side_of(KEYPOINT_NAMES[b])}
    return sides.pop() if len(sides) == 1 else "trunk"


def _draw_limb(axes: Axes, ends: np.ndarray, colour: str, alpha: float) -> None:
    outline = Stroke(linewidth=4.4, foreground="white", alpha=0.7 * alpha)
    axes.plot(
        *ends.T,
        color=colour,
        linewidth=2.6,
        alpha=alpha,
        path_effects=[outline, Normal()],
        solid_capstyle="round",
    )


def _draw_keypoint(
    axes: Axes, point: np.ndarray, covariance: np.ndarray, colour: str, alpha: float
) -> None:
    filling = {"facecolor": colour, "alpha": 0.22 * alpha, "zorder": 3}
    outline = {
        "fill": False,
        "edgecolor": "white",
        "linewidth": 0.7,
        "alpha": 0.8 * alpha,
        "zorder": 3,
    }
    add_ellipses(axes, point, covariance, filling, outline)
    axes.plot(
        *point,
        marker="o",
        markersize=4.2,
        color=colour,
        alpha=alpha,
        markeredgecolor="white",
        markeredgewidth=0.8,
        zorder=4,
    )


def _draw_legend(figure: Figure, height: float) -> None:
    """One line at the bottom of the figure; height: as a fraction of the figure's."""
    lines = [
        Line2D([], [], color=COLOURS[side], linewidth=3, label=side)
        for side in ("left", "right", "trunk")
    ]
    dot: dict[str, Any] = {
        "color": "none",
        "marker": "o",
        "markersize": 6,
        "markeredgecolor": INK,
    }
    ring = {**dot, "markersize": 11}
    sigma = "one sigma (3D: relative to the pelvis)"
    dots = [
        Line2D([], [], **dot, markerfacecolor=INK, label="observed"),
        Line2D([], [], **dot, markerfacecolor="white", label="inferred"),
        Line2D([], [], **ring, markerfacecolor="#d5d9e0", label=sigma),
    ]

    axes = figure.add_axes((0, 0, 1, height))
    axes.set_axis_off()
    axes.legend(
        handles=[*lines, *dots],
        ncols=6,
        loc="center",
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        columnspacing=1.6,
    )
