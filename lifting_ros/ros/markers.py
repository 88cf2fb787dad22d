# SPDX-License-Identifier: Apache-2.0
"""Persons as RViz markers: limbs (lines), joints (spheres) and, on request, the joints' covariance
ellipsoids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from lifting_ros.geometry.ellipsoids import ellipsoid_of
from lifting_ros.ros.conversions import seconds_to_duration
from lifting_ros.skeleton import JOINT_COUNT, JOINT_NAMES, LIMBS
from lifting_ros.types import JointStatus, Person
from lifting_ros.viz.palette import COLOURS, rgb_of, side_of

_SIDES = tuple(side_of(name) for name in JOINT_NAMES)
_ELLIPSOID_ALPHA = 0.25


@dataclass(frozen=True)
class MarkerConfig:
    """How the markers look."""

    limb_width_m: float = field(
        default=0.02,
        metadata={
            "description": "width of a limb's line",
            "unit": "m",
            "range": (0.001, 1.0),
            "live": True,
        },
    )
    joint_diameter_m: float = field(
        default=0.05,
        metadata={
            "description": "diameter of a joint's sphere",
            "unit": "m",
            "range": (0.001, 1.0),
            "live": True,
        },
    )
    inferred_alpha: float = field(
        default=0.35,
        metadata={
            "description": "opacity of joints that were not seen",
            "range": (0.0, 1.0),
            "live": True,
        },
    )
    ellipsoids: bool = field(
        default=False,
        metadata={
            "description": "an ellipsoid of the root-relative covariance at every joint",
            "live": True,
        },
    )
    sigma: float = field(
        default=1.0,
        metadata={
            "description": "half axes of the ellipsoids, in standard deviations",
            "range": (0.1, 10.0),
            "live": True,
        },
    )
    lifetime_s: float = field(
        default=0.0,
        metadata={
            "description": "markers vanish after this; 0: until replaced",
            "unit": "s",
            "range": (0.0, 3600.0),
            "live": True,
        },
    )


class MarkerBuilder:
    """Builds one array per image. It remembers which markers are shown, to delete those of persons
    who left."""

    def __init__(self, config: MarkerConfig):
        self._ellipsoid_colours = {side: _colour(side, _ELLIPSOID_ALPHA) for side in COLOURS}
        self._shown: dict[tuple[str, int], None] = {}
        self._header = Header()
        self.configure(config)

    def configure(self, config: MarkerConfig) -> None:
        """Use another configuration from the next array on."""
        self._config = config
        self._lifetime = seconds_to_duration(config.lifetime_s)

        alphas = {
            JointStatus.INVALID: 0.0,
            JointStatus.INFERRED: config.inferred_alpha,
            JointStatus.OBSERVED: 1.0,
        }
        self._colours = {
            (side, status): _colour(side, a) for side in COLOURS for status, a in alphas.items()
        }

    def build(self, persons: Sequence[Person], header: Header) -> MarkerArray:
        """Markers of `persons` in the header's frame, and a DELETE for each marker of the last
        array that is not among them."""
        markers = [
            marker
            for index, person in enumerate(persons)
            for marker in self._of_person(person, index, header)
        ]

        shown = dict.fromkeys((marker.ns, marker.id) for marker in markers)
        gone = [key for key in self._shown if key not in shown]
        self._shown = shown
        self._header = header
        deletes = [
            Marker(header=header, ns=ns, id=number, action=Marker.DELETE) for ns, number in gone
        ]

        return MarkerArray(markers=deletes + markers)

    def clear(self) -> MarkerArray:
        """A DELETE for each marker that is shown, under the header of the last array."""
        return self.build((), self._header)

    def _of_person(self, person: Person, index: int, header: Header) -> Iterator[Marker]:
        # Track ids start at 1; untracked persons get negative numbers by their place in the array.
        number = person.id or -1 - index
        pose = person.skeleton_3d
        status = pose.status.tolist()

        drawn = np.isfinite(pose.joints_m).all(-1) & (pose.status != JointStatus.INVALID)  # 17
        points = [Point(x=x, y=y, z=z) for x, y, z in pose.joints_m.tolist()]

        limbs = [limb for limb in LIMBS if drawn[limb[0]] and drawn[limb[1]]]
        if limbs:
            # Both ends have the colour of the outer joint's side, so that limbs do not fade to
            # grey.
            colours = [self._colours[_SIDES[limb[1]], status[j]] for limb in limbs for j in limb]
            ends = [points[j] for limb in limbs for j in limb]
            marker = self._marker(header, "limbs", number, Marker.LINE_LIST)
            marker.scale = Vector3(x=self._config.limb_width_m)
            marker.points = ends
            marker.colors = colours
            yield marker

        joints = np.flatnonzero(drawn).tolist()
        if joints:
            colours = [self._colours[_SIDES[j], status[j]] for j in joints]
            marker = self._marker(header, "joints", number, Marker.SPHERE_LIST)
            marker.scale = Vector3(**dict.fromkeys("xyz", self._config.joint_diameter_m))
            marker.points = [points[j] for j in joints]
            marker.colors = colours
            yield marker

        for j in joints if self._config.ellipsoids else ():
            yield from self._ellipsoid(
                pose.covariance_m2[j], j, points[j], number * JOINT_COUNT + j, header
            )

    def _marker(self, header: Header, ns: str, number: int, kind: int) -> Marker:
        """A marker at the origin, to be filled in."""
        marker = Marker(header=header, ns=ns, id=number, type=kind, lifetime=self._lifetime)
        marker.pose = Pose(orientation=Quaternion(w=1.0))
        marker.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)

        return marker

    def _ellipsoid(
        self, covariance: np.ndarray, j: int, at: Point, number: int, header: Header
    ) -> Iterator[Marker]:
        shape = ellipsoid_of(covariance)
        if shape is None:
            return

        std, quaternion = shape
        x, y, z, w = quaternion.tolist()
        pose = Pose(position=at, orientation=Quaternion(x=x, y=y, z=z, w=w))
        # RViz refuses a size of zero
        sizes = np.maximum(2 * self._config.sigma * std, 1e-4).tolist()

        marker = self._marker(header, "covariance", number, Marker.SPHERE)
        marker.pose = pose
        marker.scale = Vector3(x=sizes[0], y=sizes[1], z=sizes[2])
        marker.color = self._ellipsoid_colours[_SIDES[j]]
        yield marker


def _colour(side: str, alpha: float) -> ColorRGBA:
    red, green, blue = rgb_of(side)
    return ColorRGBA(r=red / 255, g=green / 255, b=blue / 255, a=alpha)
