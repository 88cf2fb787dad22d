# SPDX-License-Identifier: Apache-2.0
"""3D skeletons drawn in metres: an orthographic view from the side, in which a covariance's
ellipsoid is exactly an ellipse, and a map from above with the camera."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Ellipse, Polygon

from lifting_ros.skeleton import JOINT_NAMES, LIMBS
from lifting_ros.types import JointStatus, Person, Skeleton3D

COLOURS = {"left": "#1c7ff2", "right": "#f2601c", "trunk": "#12a37a"}
"""By the person's own side."""
INK, GRID, FLOOR = "#3b4252", "#d3d8e0", "#eceff3"
AZIMUTH_DEG, ELEVATION_DEG = 38.0, 14.0
_STEP_M = 0.5
_LEAST_HEIGHT_M = 1.6
_APART_M = 1.2
"""Between people whose place is not known."""


class View(NamedTuple):
    """Orthographic view of the optical frame: from the right of the camera, a little from above, y
    upwards."""

    plane: np.ndarray
    """(2, 3) onto the picture: right and up."""
    away: np.ndarray
    """(3,) unit vector away from the viewer."""

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) m to (..., 2) m in the picture."""
        return points @ self.plane.T


class Room(NamedTuple):
    """The box that is drawn around the people, metres in the optical frame."""

    low: np.ndarray
    high: np.ndarray

    @property
    def floor(self) -> float:
        return float(self.high[1])


def make_view(azimuth_deg: float = AZIMUTH_DEG, elevation_deg: float = ELEVATION_DEG) -> View:
    """The view from `azimuth_deg` beside the camera's axis and `elevation_deg` above it."""
    a, e = np.radians([azimuth_deg, elevation_deg])
    right, ahead, up = (
        np.array([np.cos(a), 0, np.sin(a)]),
        np.array([-np.sin(a), 0, np.cos(a)]),
        np.array([0, -1.0, 0]),
    )
    return View(
        np.stack([right, np.cos(e) * up + np.sin(e) * ahead]), np.cos(e) * ahead - np.sin(e) * up
    )


def side_of(name: str) -> str:
    """left, right or trunk."""
    first = name.split("_")[0]
    return first if first in ("left", "right") else "trunk"


def ellipse_of(covariance: np.ndarray, sigma: float = 1.0) -> tuple[np.ndarray, float] | None:
    """Both diameters and the angle (degrees) of a (2, 2) covariance's ellipse; None where it is not
    finite."""
    if not np.isfinite(covariance).all():
        return None
    variances, axes = np.linalg.eigh(covariance)
    return 2 * sigma * np.sqrt(np.maximum(variances, 0)), float(
        np.degrees(np.arctan2(axes[1, 0], axes[0, 0]))
    )


def placed(persons: Iterable[Person]) -> list[tuple[Skeleton3D, np.ndarray]]:
    """Each lifted skeleton and where its joints (17, 3) go: people without a place in metres stand
    side by side."""
    lifted = [p for p in persons if np.isfinite(p.skeleton_3d.joints_m).any()]
    lifted.sort(key=lambda p: float(np.nan_to_num(p.skeleton_2d.box_px[[0, 2]].mean())))
    unplaced = [p for p in lifted if not p.skeleton_3d.metric]
    out = []
    for person in lifted:
        joints = person.skeleton_3d.joints_m
        if not person.skeleton_3d.metric:
            joints = joints + [_APART_M * (unplaced.index(person) - (len(unplaced) - 1) / 2), 0, 0]
        out.append((person.skeleton_3d, joints))
    return out


def draw_scene(axes: Axes, persons: Sequence[Person]) -> None:
    """Fill `axes` with the people in a room with axes in metres; with nobody, says so."""
    axes.set_axis_off()
    people = placed(persons)
    if not people:
        axes.text(
            0.5,
            0.5,
            "nobody in view",
            ha="center",
            va="center",
            color=INK,
            fontsize=11,
            transform=axes.transAxes,
        )
        axes.set(xlim=(0, 1), ylim=(0, 1))
        return
    view, room = make_view(), room_around([joints for _, joints in people])
    _draw_room(axes, view, room)
    for _, joints in people:
        _draw_shadow(axes, view, joints, room.floor)
    for pose, joints in sorted(people, key=lambda p: -np.nanmean(p[1] @ view.away)):
        _draw_skeleton(axes, view, pose, joints)
    _fit(axes, view, room)
    if not all(pose.metric for pose, _ in people):
        text = "camera not known: place and size are not measured"
        axes.text(
            0.5,
            0.985,
            text,
            ha="center",
            va="top",
            color=INK,
            fontsize=8.5,
            transform=axes.transAxes,
        )


def room_around(joints: Sequence[np.ndarray]) -> Room:
    """The box around joints (17, 3) on a grid of quarter metres; its floor is the lowest joint, NaN
    are left out."""
    points = np.concatenate(joints)
    low, high = np.nanmin(points, 0), np.nanmax(points, 0)
    middle, half = (low + high) / 2, np.maximum((high - low) / 2 + 0.1, 0.4)
    start, end = (
        side(places * 4) / 4
        for side, places in ((np.floor, middle - half), (np.ceil, middle + half))
    )
    start[1], end[1] = min(low[1] - 0.1, high[1] - _LEAST_HEIGHT_M), high[1]
    return Room(start, end)


def _draw_room(axes: Axes, view: View, room: Room) -> None:
    (x0, y0, z0), (x1, y1, z1) = room
    corners = np.array([[x0, y1, z0], [x1, y1, z0], [x1, y1, z1], [x0, y1, z1]])
    axes.add_patch(Polygon(view(corners), facecolor=FLOOR, edgecolor="none", zorder=0))
    xs, zs = (_ticks(room.low[k], room.high[k]) for k in (0, 2))
    heights = [-h for h in _ticks(-y1, -y0)]
    lines = [([x, y1, z0], [x, y1, z1]) for x in xs] + [([x0, y1, z], [x1, y1, z]) for z in zs]
    walls = [([x0, y, z0], [x0, y, z1]) for y in heights] + [
        ([x0, y, z1], [x1, y, z1]) for y in heights
    ]
    walls += [([x, y1, z1], [x, y0, z1]) for x in (x0, x1)] + [([x0, y1, z0], [x0, y0, z0])]
    axes.add_collection(
        LineCollection(
            [view(np.array(line)) for line in lines], colors=GRID, linewidths=0.9, zorder=0.5
        )
    )
    axes.add_collection(
        LineCollection(
            [view(np.array(line)) for line in walls], colors=GRID, linewidths=0.6, zorder=0.5
        )
    )
    for x in xs:
        _label(axes, view(np.array([x, y1, z0])), f"{x:g}", (-3, -4), "right", "top")
    for z in zs:
        _label(axes, view(np.array([x1, y1, z])), f"{z:g}", (4, -3), "left", "top")
    for y in heights:
        _label(axes, view(np.array([x0, y, z0])), f"{-y:g}", (-5, 0), "right", "center")
    _name_axes(axes, view, room)


def _ticks(low: float, high: float) -> np.ndarray:
    """Half metres from `low` to `high`; whole ones where that would be many."""
    step = _STEP_M if high - low <= 3 else 2 * _STEP_M
    return np.arange(np.ceil(low / step - 1e-6), np.floor(high / step + 1e-6) + 1) * step + 0.0


def _name_axes(axes: Axes, view: View, room: Room) -> None:
    (x0, y0, z0), (x1, y1, z1) = room
    for ends, name, offset, place in (
        (([x0, y1, z0], [x1, y1, z0]), "x right, m", (-14, -14), ("right", "top")),
        (([x1, y1, z0], [x1, y1, z1]), "z forward, m", (16, -16), ("left", "top")),
    ):
        _label(axes, view(np.mean(ends, 0)), name, offset, *place, size=9)
    _label(axes, view(np.array([x0, y0, z0])), "up (−y), m", (0, 6), "center", "bottom", size=9)


def _label(
    axes: Axes, at: np.ndarray, text: str, offset: tuple, across: str, along: str, size: float = 7.5
) -> None:
    axes.annotate(
        text,
        at,
        offset,
        textcoords="offset points",
        ha=across,
        va=along,
        color=INK,
        fontsize=size,
        zorder=1,
    )


def _draw_shadow(axes: Axes, view: View, joints: np.ndarray, floor: float) -> None:
    flat = np.where([True, False, True], joints, floor)
    shadow = [view(flat[list(limb)]) for limb in LIMBS if np.isfinite(joints[list(limb)]).all()]
    axes.add_collection(
        LineCollection(
            shadow, colors="#b9c0cc", linewidths=4.5, capstyle="round", alpha=0.6, zorder=0.8
        )
    )


def _draw_skeleton(axes: Axes, view: View, pose: Skeleton3D, joints: np.ndarray) -> None:
    """Limbs and joints from back to front, ellipsoids over them."""
    known = np.isfinite(joints).all(-1) & (pose.status != JointStatus.INVALID)
    flat, depth = view(joints), joints @ view.away
    nearest = np.nanmin(depth)
    limbs = [limb for limb in LIMBS if known[list(limb)].all()]
    for a, b in limbs:
        zorder = 3 - 0.1 * (0.5 * (depth[a] + depth[b]) - nearest)
        seen = pose.status[b] == JointStatus.OBSERVED or side_of(JOINT_NAMES[b]) == "trunk"
        style = (
            {"linewidth": 4.2, "alpha": 1.0}
            if seen
            else {"linewidth": 2.6, "alpha": 0.55, "linestyle": (0, (1.6, 1.0))}
        )
        axes.plot(
            *flat[[a, b]].T,
            color="white",
            linewidth=6.4,
            alpha=0.85,
            solid_capstyle="round",
            zorder=zorder - 0.001,
        )
        axes.plot(
            *flat[[a, b]].T,
            color=COLOURS[side_of(JOINT_NAMES[b])],
            solid_capstyle="round",
            zorder=zorder,
            **style,
        )
    for j in np.flatnonzero(known):
        observed = pose.status[j] == JointStatus.OBSERVED
        _draw_joint(
            axes,
            flat[j],
            view.plane @ pose.covariance_m2[j] @ view.plane.T,
            COLOURS[side_of(JOINT_NAMES[j])],
            observed,
        )


def _draw_joint(
    axes: Axes, at: np.ndarray, covariance: np.ndarray, colour: str, observed: bool
) -> None:
    ellipse = ellipse_of(covariance)
    if ellipse is not None:
        (width, height), angle = ellipse
        if observed:
            axes.add_patch(
                Ellipse(at, width, height, angle=angle, facecolor=colour, alpha=0.2, zorder=3.2)
            )
        line = (
            {"linewidth": 1.0, "linestyle": "-"}
            if observed
            else {"linewidth": 1.0, "linestyle": (0, (3, 2))}
        )
        axes.add_patch(
            Ellipse(
                at,
                width,
                height,
                angle=angle,
                fill=False,
                edgecolor=colour,
                alpha=0.85,
                zorder=3.3,
                **line,
            )
        )
    face, edge, width = (colour, "white", 0.9) if observed else ("white", colour, 1.3)
    axes.plot(
        *at,
        marker="o",
        markersize=5.2,
        color=face,
        markeredgecolor=edge,
        markeredgewidth=width,
        zorder=3.5,
    )


def _fit(axes: Axes, view: View, room: Room) -> None:
    """Show the whole room and its labels at one scale; the map's corner, top right, is left free."""
    corners = view(
        np.stack(np.meshgrid(*np.transpose(room), indexing="ij"), -1).reshape(-1, 3)
    )  # 8, 2
    low, high = corners.min(0), corners.max(0)
    # Room for the labels: left and below more than right; of the two directions the tighter one
    # sets the scale.
    low, high = low - [0.19, 0.20] * (high - low), high + [0.12, 0.05] * (high - low)
    box = axes.get_position().size * axes.figure.get_size_inches()
    scale = ((high - low) / box).max()
    middle = (low + high) / 2
    axes.set(
        xlim=middle[0] + scale * box[0] * np.array([-0.5, 0.5]),
        ylim=middle[1] + scale * box[1] * np.array([-0.5, 0.5]),
    )


def draw_from_above(axes: Axes, persons: Sequence[Person]) -> None:
    """Fill `axes` with a map of the floor: camera, rings at whole metres, people with one sigma of
    their place."""
    people = [pose for pose, _ in placed(persons) if pose.metric and np.isfinite(pose.root_m).all()]
    axes.set(xticks=[], yticks=[], facecolor="white")
    for spine in axes.spines.values():
        spine.set(color=GRID, linewidth=0.8)
    reach = max((float(np.hypot(*pose.root_m[[0, 2]])) for pose in people), default=1.0)
    far = 1.15 * reach + 0.6
    step = 1 if far < 7 else 2 if far < 14 else 10 ** int(np.ceil(np.log10(far / 7)))
    for radius in np.arange(step, far * 1.15, step):
        axes.add_patch(
            Ellipse((0, 0), 2 * radius, 2 * radius, fill=False, edgecolor=GRID, linewidth=0.7)
        )
        if radius < 0.85 * far:
            axes.annotate(
                f"{radius:g}",
                (0, radius),
                (3, 1),
                textcoords="offset points",
                color="#8a93a3",
                fontsize=6.5,
            )
    for pose in people:
        _draw_place(axes, pose)
    size = 0.045 * far
    axes.add_patch(
        Polygon(
            [(0, 0), (-size, 1.6 * size), (size, 1.6 * size)], closed=True, facecolor=INK, zorder=3
        )
    )
    axes.plot(0, 0, marker="s", markersize=5, color=INK, zorder=3)
    axes.annotate("camera", (0, 0), (8, -3), textcoords="offset points", color=INK, fontsize=7)
    axes.text(
        0.03,
        0.97,
        "from above, m",
        transform=axes.transAxes,
        ha="left",
        va="top",
        color=INK,
        fontsize=7.5,
    )
    axes.set(xlim=(-0.55 * far, 0.55 * far), ylim=(-0.1 * far, far))  # the axes are square


def _draw_place(axes: Axes, pose: Skeleton3D) -> None:
    place = pose.root_m[[0, 2]]
    ellipse = ellipse_of(pose.root_covariance_m2[np.ix_([0, 2], [0, 2])])
    if ellipse is not None:
        (width, height), angle = ellipse
        axes.add_patch(
            Ellipse(
                place,
                width,
                height,
                angle=angle,
                facecolor=COLOURS["trunk"],
                edgecolor=COLOURS["trunk"],
                alpha=0.35,
                zorder=2,
            )
        )
    axes.plot(
        *place,
        marker="o",
        markersize=4.5,
        color=COLOURS["trunk"],
        markeredgecolor="white",
        markeredgewidth=0.7,
        zorder=4,
    )
