# SPDX-License-Identifier: Apache-2.0
"""Pictures of what was found: the image with 2D skeletons beside the 3D skeletons, both with their
uncertainty.

Drawn with matplotlib's Agg canvas: no display and no global state."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse, Rectangle
from matplotlib.patheffects import Normal, Stroke

from lifting_ros.skeleton import KEYPOINT_LIMBS, KEYPOINT_NAMES
from lifting_ros.types import Person, Skeleton2D
from lifting_ros.viz.overlay_3d import (
    COLOURS,
    INK,
    draw_from_above,
    draw_scene,
    ellipse_of,
    placed,
    side_of,
)

_DPI = 100
_BACKGROUND = "#f7f8fa"
_LEGEND_PX = 30
_SCENE_ASPECT = 1.12
"""Width of the 3D panel over its height."""
_LEAST_CONFIDENCE = 0.05
"""Keypoints below are not drawn: they say nothing."""


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
    image_width = max(1, round(image.shape[1] * height_px / image.shape[0]))
    scene_width, bottom = round(_SCENE_ASPECT * height_px), _LEGEND_PX if legend else 0
    width, height = image_width + scene_width, height_px + bottom
    figure = Figure((width / _DPI, height / _DPI), dpi=_DPI, facecolor=_BACKGROUND)
    panel_height, panel_bottom = height_px / height, bottom / height
    axes = figure.add_axes((0, panel_bottom, image_width / width, panel_height))
    draw_image(axes, image, persons, caption)
    axes = figure.add_axes(
        (image_width / width, panel_bottom, scene_width / width, panel_height),
        facecolor=_BACKGROUND,
    )
    draw_scene(axes, persons)
    if any(pose.metric for pose, _ in placed(persons)):
        left, size = (image_width + 0.70 * scene_width) / width, 0.29 * scene_width
        axes = figure.add_axes(
            (left, panel_bottom + 0.99 * panel_height - size / height, size / width, size / height)
        )
        draw_from_above(axes, persons)
    if legend:
        _legend(figure, bottom / height)
    return _pixels(figure)


def contact_sheet(
    images: Sequence[np.ndarray],
    persons: Sequence[Sequence[Person]],
    captions: Sequence[str],
    columns: int = 2,
    height_px: int = 400,
) -> np.ndarray:
    """`draw_overlay` of several images in rows of `columns`, with one legend; (height, width, 3)
    uint8 RGB.

    ValueError where there is nothing to show.
    """
    if not images:
        raise ValueError("contact sheet: expected at least one image")
    tiles = [
        draw_overlay(*row, height_px, legend=False)
        for row in zip(images, persons, captions, strict=True)
    ]
    columns = min(columns, len(tiles))
    size = [max(tile.shape[axis] for tile in tiles) for axis in (0, 1)]
    tiles += [np.full((*size, 3), 247, np.uint8)] * (-len(tiles) % columns)
    tiles = [_padded(tile, *size) for tile in tiles]
    rows = [np.hstack(tiles[k : k + columns]) for k in range(0, len(tiles), columns)]
    return np.vstack([*rows, _legend_strip(rows[0].shape[1])])


def _padded(tile: np.ndarray, height: int, width: int) -> np.ndarray:
    gap = 3
    out = np.full((height + gap, width + gap, 3), 255, np.uint8)
    out[: tile.shape[0], : tile.shape[1]] = tile
    return out


def _legend_strip(width: int) -> np.ndarray:
    figure = Figure((width / _DPI, _LEGEND_PX / _DPI), dpi=_DPI, facecolor=_BACKGROUND)
    _legend(figure, 1.0)
    return _pixels(figure)


def _pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def draw_image(axes: Axes, image: np.ndarray, persons: Sequence[Person], caption: str = "") -> None:
    """Fill `axes` with the image (H, W, 3) and the 2D skeletons of `persons`."""
    height, width = image.shape[:2]
    axes.imshow(
        _shrunk(image),
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        aspect="auto",
        interpolation="bilinear",
    )
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.set_axis_off()
    for person in persons:
        _draw_skeleton_2d(axes, person.skeleton_2d)
    if caption:
        box = {
            "facecolor": "black",
            "alpha": 0.55,
            "edgecolor": "none",
            "boxstyle": "round,pad=0.3",
        }
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


def _shrunk(image: np.ndarray) -> np.ndarray:
    """At most 1280 px long, as bilinear drawing would alias."""
    scale = 1280 / max(image.shape[:2])
    return (
        image
        if scale >= 1
        else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    )


def _draw_skeleton_2d(axes: Axes, skeleton: Skeleton2D) -> None:
    known = np.isfinite(skeleton.keypoints_px).all(-1) & (
        np.nan_to_num(skeleton.confidence) >= _LEAST_CONFIDENCE
    )
    if not known.any():
        return
    points, opacity = skeleton.keypoints_px, 0.25 + 0.75 * np.clip(skeleton.confidence, 0, 1)
    x0, y0, x1, y1 = skeleton.box_px
    if np.isfinite(skeleton.box_px).all():
        axes.add_patch(
            Rectangle(
                (x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="white", linewidth=0.8, alpha=0.6
            )
        )
    for a, b in KEYPOINT_LIMBS:
        if known[a] and known[b]:
            colour, alpha = COLOURS[_side(a, b)], float(min(opacity[a], opacity[b]))
            outline = [Stroke(linewidth=4.4, foreground="white", alpha=0.7 * alpha), Normal()]
            axes.plot(
                *points[[a, b]].T,
                color=colour,
                linewidth=2.6,
                alpha=alpha,
                path_effects=outline,
                solid_capstyle="round",
            )
    for k in np.flatnonzero(known):
        _draw_keypoint(
            axes,
            points[k],
            skeleton.covariance_px2[k],
            COLOURS[side_of(KEYPOINT_NAMES[k])],
            float(opacity[k]),
        )


def _side(a: int, b: int) -> str:
    """A limb has the side of both its ends, else it is trunk, as from the neck to the shoulders."""
    sides = {side_of(KEYPOINT_NAMES[a]), side_of(KEYPOINT_NAMES[b])}
    return sides.pop() if len(sides) == 1 else "trunk"


def _draw_keypoint(
    axes: Axes, point: np.ndarray, covariance: np.ndarray, colour: str, alpha: float
) -> None:
    ellipse = ellipse_of(covariance)
    if ellipse is not None:
        (width, height), angle = ellipse
        axes.add_patch(
            Ellipse(
                point, width, height, angle=angle, facecolor=colour, alpha=0.22 * alpha, zorder=3
            )
        )
        axes.add_patch(
            Ellipse(
                point,
                width,
                height,
                angle=angle,
                fill=False,
                edgecolor="white",
                linewidth=0.7,
                alpha=0.8 * alpha,
                zorder=3,
            )
        )
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


def _legend(figure: Figure, height: float) -> None:
    """One line at the bottom, `height` of the figure high."""
    line = [
        Line2D([], [], color=COLOURS[side], linewidth=3, label=f"{side}")
        for side in ("left", "right", "trunk")
    ]
    dot = {"color": "none", "marker": "o", "markersize": 6, "markeredgecolor": INK}
    dots = [
        Line2D([], [], **dot, markerfacecolor=INK, label="observed"),
        Line2D([], [], **dot, markerfacecolor="white", label="inferred"),
    ]
    rings = [
        Line2D(
            [],
            [],
            **{**dot, "markersize": 11},
            markerfacecolor="#d5d9e0",
            label="one sigma (3D: relative to the pelvis)",
        )
    ]
    axes = figure.add_axes((0, 0, 1, height))
    axes.set_axis_off()
    axes.legend(
        handles=[*line, *dots, *rings],
        ncols=6,
        loc="center",
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        columnspacing=1.6,
    )
