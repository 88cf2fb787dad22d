# SPDX-License-Identifier: Apache-2.0
"""3D skeletons drawn in metres: an orthographic view from the side, and a map from above with the
camera.

In an orthographic view the ellipsoid of a covariance is exactly an ellipse.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Polygon

from lifting_ros.geometry.ellipsoids import ellipse_of
from lifting_ros.skeleton import JOINT_NAMES, LIMBS
from lifting_ros.types import JointStatus, Person, Skeleton3D
from lifting_ros.viz.palette import COLOURS, FLOOR, GRID, INK, colour_of, side_of

AZIMUTH_DEG = 38.0
ELEVATION_DEG = 14.0

_STEP_M = 0.5
"""Distance of the lines of the room."""

_LEAST_HEIGHT_M = 1.6
"""Height of the room, at least."""

_APART_M = 1.2
"""Distance between people whose place is unknown."""


class View(NamedTuple):
    """Orthographic view of the optical frame, from the right of the camera and slightly above
    it."""

    plane: np.ndarray
    """(2, 3) projection onto the picture: right and up."""
    away: np.ndarray
    """(3,) unit vector away from the viewer."""

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) m to points (..., 2) m in the picture."""
        return points @ self.plane.T


class Room(NamedTuple):
    """The box that is drawn around the people, metres in the optical frame."""

    low: np.ndarray
    high: np.ndarray

    @property
    def floor(self) -> float:
        return float(self.high[1])


def make_view() -> View:
    """The view from AZIMUTH_DEG beside the camera's axis and ELEVATION_DEG above it."""
    a, e = np.radians([AZIMUTH_DEG, ELEVATION_DEG])
    right = np.array([np.cos(a), 0, np.sin(a)])
    ahead = np.array([-np.sin(a), 0, np.cos(a)])
    up = np.array([0, -1.0, 0])

    plane = np.stack([right, np.cos(e) * up + np.sin(e) * ahead])
    return View(plane, np.cos(e) * ahead - np.sin(e) * up)


def add_ellipses(
    axes: Axes, centre: np.ndarray, covariance: np.ndarray, *styles: Mapping[str, Any]
) -> None:
    """Draw the one-sigma ellipse of a covariance, once per style; nothing if it is not finite."""
    ellipse = ellipse_of(covariance)
    if ellipse is None:
        return

    (width, height), angle = ellipse

    for style in styles:
        axes.add_patch(Ellipse(tuple(centre), width, height, angle=angle, **style))


def placed(persons: Iterable[Person]) -> list[tuple[Skeleton3D, np.ndarray]]:
    """Each lifted skeleton, and where its joints (17, 3) are drawn.

    People without a place in metres stand side by side, in the order of the image.
    """
    lifted = [p for p in persons if np.isfinite(p.skeleton_3d.joints_m).any()]
    lifted.sort(key=_column_of)
    unplaced = [p for p in lifted if not p.skeleton_3d.metric]

    out = []
    for person in lifted:
        joints = person.skeleton_3d.joints_m
        if not person.skeleton_3d.metric:
            middle = (len(unplaced) - 1) / 2
            place = unplaced.index(person) - middle
            joints = joints + [_APART_M * place, 0, 0]
        out.append((person.skeleton_3d, joints))

    return out


def _column_of(person: Person) -> float:
    return float(np.nan_to_num(person.skeleton_2d.box_px[[0, 2]].mean()))


def draw_scene(axes: Axes, persons: Sequence[Person]) -> None:
    """Fill `axes` with the people in a room with axes in metres."""
    axes.set_axis_off()
    people = placed(persons)
    if not people:
        _write(axes, (0.5, 0.5), "nobody in view", va="center", fontsize=11)
        axes.set(xlim=(0, 1), ylim=(0, 1))
        return

    # Room
    view = make_view()
    room = room_around([joints for _, joints in people])
    _draw_room(axes, view, room)

    # People, back to front
    for _, joints in people:
        _draw_shadow(axes, view, joints, room.floor)

    people.sort(key=lambda p: -np.nanmean(p[1] @ view.away))
    for pose, joints in people:
        _draw_skeleton(axes, view, pose, joints)

    _fit(axes, view, room)
    if not all(pose.metric for pose, _ in people):
        text = "camera not known: place and size are not measured"
        _write(axes, (0.5, 0.985), text, va="top", fontsize=8.5)


def _write(axes: Axes, at: tuple[float, float], text: str, **style: Any) -> None:
    """Write text, centred at a place relative to the axes."""
    axes.text(*at, text, ha="center", color=INK, transform=axes.transAxes, **style)


def room_around(joints: Sequence[np.ndarray]) -> Room:
    """The box around joints (17, 3), on a grid of quarter metres.

    Its floor is at the lowest joint; NaN are ignored.
    """
    points = np.concatenate(joints)
    low = np.nanmin(points, 0)
    high = np.nanmax(points, 0)
    middle = (low + high) / 2
    half = np.maximum((high - low) / 2 + 0.1, 0.4)

    start = np.floor((middle - half) * 4) / 4
    end = np.ceil((middle + half) * 4) / 4
    start[1] = min(low[1] - 0.1, high[1] - _LEAST_HEIGHT_M)
    end[1] = high[1]

    return Room(start, end)


def _draw_room(axes: Axes, view: View, room: Room) -> None:
    (x0, y0, z0), (x1, y1, z1) = room
    xs = _ticks(x0, x1)
    zs = _ticks(z0, z1)
    heights = [-h for h in _ticks(-y1, -y0)]

    # Floor
    corners = np.array([[x0, y1, z0], [x1, y1, z0], [x1, y1, z1], [x0, y1, z1]])
    axes.add_patch(Polygon(view(corners), facecolor=FLOOR, edgecolor="none", zorder=0))
    along_z = [([x, y1, z0], [x, y1, z1]) for x in xs]
    along_x = [([x0, y1, z], [x1, y1, z]) for z in zs]
    _draw_lines(axes, view, along_z + along_x, linewidth=0.9)

    # Left wall, back wall and their edges
    left = [([x0, y, z0], [x0, y, z1]) for y in heights]
    back = [([x0, y, z1], [x1, y, z1]) for y in heights]
    edges = [([x, y1, z1], [x, y0, z1]) for x in (x0, x1)]
    edges.append(([x0, y1, z0], [x0, y0, z0]))
    _draw_lines(axes, view, left + back + edges, linewidth=0.6)

    # Labels
    for x in xs:
        at = view(np.array([x, y1, z0]))
        _label(axes, at, f"{x:g}", (-3, -4), ("right", "top"))

    for z in zs:
        at = view(np.array([x1, y1, z]))
        _label(axes, at, f"{z:g}", (4, -3), ("left", "top"))

    for y in heights:
        at = view(np.array([x0, y, z0]))
        _label(axes, at, f"{-y:g}", (-5, 0), ("right", "center"))

    _name_axes(axes, view, room)


def _draw_lines(axes: Axes, view: View, lines: Sequence[tuple], linewidth: float) -> None:
    flat = [view(np.array(line)) for line in lines]
    collection = LineCollection(
        flat,
        colors=GRID,
        linewidths=linewidth,
        zorder=0.5,
    )
    axes.add_collection(collection)


def _ticks(low: float, high: float) -> np.ndarray:
    """Multiples of half a metre from `low` to `high`; of a metre if the range is long."""
    step = _STEP_M if high - low <= 3 else 2 * _STEP_M
    first = np.ceil(low / step - 1e-6)
    last = np.floor(high / step + 1e-6)
    return np.arange(first, last + 1) * step + 0.0


def _name_axes(axes: Axes, view: View, room: Room) -> None:
    (x0, y0, z0), (x1, y1, z1) = room
    front = np.mean(([x0, y1, z0], [x1, y1, z0]), 0)
    side = np.mean(([x1, y1, z0], [x1, y1, z1]), 0)
    top = np.array([x0, y0, z0])

    _label(axes, view(front), "x right, m", (-14, -14), ("right", "top"), size=9)
    _label(axes, view(side), "z forward, m", (16, -16), ("left", "top"), size=9)
    _label(axes, view(top), "up (−y), m", (0, 6), ("center", "bottom"), size=9)


def _label(
    axes: Axes,
    at: np.ndarray,
    text: str,
    offset: tuple[float, float],
    alignment: tuple[str, str],
    size: float = 7.5,
) -> None:
    """Write text at a point in the picture; offset in points; alignment across and along."""
    across, along = alignment
    axes.annotate(
        text,
        tuple(at),
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
    shadow = []
    for limb in LIMBS:
        ends = list(limb)
        if np.isfinite(joints[ends]).all():
            shadow.append(view(flat[ends]))

    axes.add_collection(
        LineCollection(
            shadow, colors="#b9c0cc", linewidths=4.5, capstyle="round", alpha=0.6, zorder=0.8
        )
    )


def _draw_skeleton(axes: Axes, view: View, pose: Skeleton3D, joints: np.ndarray) -> None:
    """Limbs from back to front, then joints with their ellipses."""
    known = np.isfinite(joints).all(-1) & (pose.status != JointStatus.INVALID)
    flat = view(joints)
    depth = joints @ view.away
    nearest = np.nanmin(depth)

    for a, b in LIMBS:
        if known[a] and known[b]:
            away = 0.5 * (depth[a] + depth[b]) - nearest
            seen = pose.status[b] == JointStatus.OBSERVED or side_of(JOINT_NAMES[b]) == "trunk"
            _draw_limb(axes, flat[[a, b]], colour_of(JOINT_NAMES[b]), seen, zorder=3 - 0.1 * away)

    for j in np.flatnonzero(known):
        observed = pose.status[j] == JointStatus.OBSERVED
        covariance = view.plane @ pose.covariance_m2[j] @ view.plane.T
        _draw_joint(axes, flat[j], covariance, colour_of(JOINT_NAMES[j]), observed)


def _draw_limb(axes: Axes, ends: np.ndarray, colour: str, seen: bool, zorder: float) -> None:
    """A line with a white outline; dotted and thinner where it was not seen."""
    style: dict[str, Any] = {"linewidth": 4.2, "alpha": 1.0}
    if not seen:
        style = {"linewidth": 2.6, "alpha": 0.55, "linestyle": (0, (1.6, 1.0))}

    axes.plot(
        *ends.T,
        color="white",
        linewidth=6.4,
        alpha=0.85,
        solid_capstyle="round",
        zorder=zorder - 0.001,
    )
    axes.plot(*ends.T, color=colour, solid_capstyle="round", zorder=zorder, **style)


def _draw_joint(
    axes: Axes, at: np.ndarray, covariance: np.ndarray, colour: str, observed: bool
) -> None:
    """A filled dot and ellipse where observed; a hollow dot and a dashed ellipse where inferred."""
    dot: dict[str, Any]
    outline = {
        "fill": False,
        "edgecolor": colour,
        "alpha": 0.85,
        "zorder": 3.3,
        "linewidth": 1.0,
        "linestyle": "-" if observed else (0, (3, 2)),
    }
    if observed:
        filling = {"facecolor": colour, "alpha": 0.2, "zorder": 3.2}
        add_ellipses(axes, at, covariance, filling, outline)
        dot = {"color": colour, "markeredgecolor": "white", "markeredgewidth": 0.9}
    else:
        add_ellipses(axes, at, covariance, outline)
        dot = {"color": "white", "markeredgecolor": colour, "markeredgewidth": 1.3}

    axes.plot(*at, marker="o", markersize=5.2, zorder=3.5, **dot)


def _fit(axes: Axes, view: View, room: Room) -> None:
    """Show the whole room and its labels at one scale; the corner of the map, top right, stays
    free."""
    corners = np.stack(np.meshgrid(*np.transpose(room), indexing="ij"), -1).reshape(-1, 3)
    flat = view(corners)  # 8, 2
    low = flat.min(0)
    high = flat.max(0)

    # Space for the labels: more on the left and below
    extent = high - low
    low = low - [0.19, 0.20] * extent
    high = high + [0.12, 0.05] * extent

    # The tighter direction sets the scale
    figure = axes.figure
    assert isinstance(figure, Figure)  # no subfigures here
    box = axes.get_position().size * figure.get_size_inches()
    scale = ((high - low) / box).max()

    middle = (low + high) / 2
    sides = np.array([-0.5, 0.5])
    axes.set(
        xlim=middle[0] + scale * box[0] * sides,
        ylim=middle[1] + scale * box[1] * sides,
    )


def draw_from_above(axes: Axes, persons: Sequence[Person]) -> None:
    """Fill `axes` with a map of the floor: the camera, rings at whole metres, and people with the
    one-sigma ellipses of their places."""
    people = [pose for pose, _ in placed(persons) if pose.metric and np.isfinite(pose.root_m).all()]
    axes.set(xticks=[], yticks=[], facecolor="white")
    for spine in axes.spines.values():
        spine.set(color=GRID, linewidth=0.8)

    # Everybody is in the map
    distances = [float(np.hypot(*pose.root_m[[0, 2]])) for pose in people]
    reach = max(distances, default=1.0)
    far = 1.15 * reach + 0.6

    _draw_rings(axes, far)
    for pose in people:
        _draw_place(axes, pose)
    _draw_camera(axes, far)

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


def _draw_rings(axes: Axes, far: float) -> None:
    """Rings around the camera up to `far` metres, at most a few of them."""
    if far < 7:
        step = 1
    elif far < 14:
        step = 2
    else:
        step = 10 ** int(np.ceil(np.log10(far / 7)))

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


def _draw_camera(axes: Axes, far: float) -> None:
    size = 0.045 * far
    cone = [(0, 0), (-size, 1.6 * size), (size, 1.6 * size)]
    axes.add_patch(Polygon(cone, closed=True, facecolor=INK, zorder=3))
    axes.plot(0, 0, marker="s", markersize=5, color=INK, zorder=3)
    axes.annotate("camera", (0, 0), (8, -3), textcoords="offset points", color=INK, fontsize=7)


def _draw_place(axes: Axes, pose: Skeleton3D) -> None:
    colour = COLOURS["trunk"]
    place = pose.root_m[[0, 2]]
    covariance = pose.root_covariance_m2[np.ix_([0, 2], [0, 2])]
    style = {"facecolor": colour, "edgecolor": colour, "alpha": 0.35, "zorder": 2}
    add_ellipses(axes, place, covariance, style)
    axes.plot(
        *place,
        marker="o",
        markersize=4.5,
        color=colour,
        markeredgecolor="white",
        markeredgewidth=0.7,
        zorder=4,
    )
