# SPDX-License-Identifier: Apache-2.0
"""The kinematic model of one person: a URDF with the lengths of the limbs, and the positions of its
joints for a pose.

The root link `body` is the frame `body_frame` on TF. Every other link is turned like the segments
of `joint_angles`: x forward, y to the left, z up while all positions are 0, which is a person who
stands upright with the arms down. Hinges at one place follow each other with empty links between
them. Those named as an angle of `joint_angles.ANGLES` have exactly that angle. The others:

- pelvis_tilt, pelvis_obliquity, pelvis_rotation: the pelvis against the root, about y, x and z;
- lumbar_bending: the line from pelvis to spine, to the right; spine_bending takes it back, so that
  the angles of the trunk are those against the pelvis;
- SIDE_clavicle_protraction, SIDE_clavicle_elevation: the line from thorax to shoulder, forward and
  up from straight to the side; SIDE_scapula_elevation and SIDE_scapula_protraction take them back;
- nose_azimuth, nose_lean, head_lean: where the nose is beside the line from thorax to top of head.

Every limb ends in a prismatic joint, LIMB_stretch: the length of the limb in the pose less its
length in the URDF, metres. Forward kinematics of all positions gives the 17 joints, for any lengths
in the URDF. There is one exception: the hips lie on one line with the pelvis (a millimetre off, in
poses of the prior). With all stretches 0 the limbs are rigid and keep the directions of the pose.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from lifting_ros.errors import LiftingError
from lifting_ros.geometry.body_frame import body_axes
from lifting_ros.geometry.joint_angles import (
    ANGLES,
    angle_between,
    cardan_angles,
    components,
    direction_in,
    pelvis_axes,
    read_angles,
    thorax_axes,
    within,
)
from lifting_ros.skeleton import JOINT_NAMES, limb_lengths
from lifting_ros.types import LIMB_COUNT, Person
from lifting_ros.viz.palette import COLOURS, rgb_of, side_of

Vector = tuple[int, int, int]

X: Vector = (1, 0, 0)
Y: Vector = (0, 1, 0)
Z: Vector = (0, 0, 1)


def _minus(axis: Vector) -> Vector:
    x, y, z = axis
    return (-x, -y, -z)


class UrdfJoint(NamedTuple):
    """A joint of the URDF: revolute, or prismatic if it lengthens a limb."""

    name: str
    parent: str
    child: str
    axis: Vector
    """In the axes of both links; of a limb, its direction away from the origin of the parent."""
    limb_end: str = ""
    """The joint of the skeleton at the far end of that limb; empty for a revolute joint, which is
    at the origin of the parent."""


def _series(parent: str, child: str, axes: Mapping[str, Vector]) -> Iterator[UrdfJoint]:
    """Revolute joints at one place, by name, the last of which carries the link `child`."""
    for number, (name, axis) in enumerate(axes.items(), start=1):
        link = child if number == len(axes) else name
        yield UrdfJoint(name, parent, link, axis)
        parent = link


def _limb(
    link: str,
    axis: Vector,
    limb_end: str,
    name: str = "",
) -> UrdfJoint:
    """The limb of a link, with an empty link at its far end; it is called like the link if it has
    no name of its own."""
    name = name or link
    return UrdfJoint(f"{name}_stretch", link, f"{name}_end", axis, limb_end)


def _trunk() -> Iterator[UrdfJoint]:
    pelvis = {"pelvis_tilt": Y, "pelvis_obliquity": X, "pelvis_rotation": Z}
    yield from _series("body", "hips", pelvis)

    yield from _series("hips", "lumbar", {"lumbar_bending": X})
    yield _limb("lumbar", Z, "spine")

    trunk = {"trunk_flexion": Y, "trunk_bending": X, "trunk_rotation": Z}
    yield from _series("lumbar_end", "chest", {"spine_bending": X} | trunk)
    yield _limb("chest", Z, "thorax")

    neck = {"neck_flexion": Y, "neck_bending": X, "nose_azimuth": Z, "nose_lean": Y}
    yield from _series("chest_end", "neck", neck)
    yield _limb("neck", Z, "nose")

    yield from _series("neck_end", "head", {"head_lean": Y})
    yield _limb("head", Z, "head_top")


def _leg(side: str) -> Iterator[UrdfJoint]:
    outwards, inwards_about_x, inwards_about_z = _sides(side)
    yield _limb("hips", outwards, f"{side}_hip", f"{side}_hip")

    hip = {
        f"{side}_hip_flexion": _minus(Y),
        f"{side}_hip_abduction": _minus(inwards_about_x),
        f"{side}_hip_rotation": inwards_about_z,
    }
    yield from _series(f"{side}_hip_end", f"{side}_thigh", hip)
    yield _limb(f"{side}_thigh", _minus(Z), f"{side}_knee")

    knee = {f"{side}_knee_flexion": Y}
    yield from _series(f"{side}_thigh_end", f"{side}_shank", knee)
    yield _limb(f"{side}_shank", _minus(Z), f"{side}_ankle")


def _arm(side: str) -> Iterator[UrdfJoint]:
    outwards, inwards_about_x, inwards_about_z = _sides(side)
    raising = _minus(inwards_about_x)

    clavicle = {
        f"{side}_clavicle_protraction": inwards_about_z,
        f"{side}_clavicle_elevation": raising,
    }
    yield from _series("chest_end", f"{side}_clavicle", clavicle)
    yield _limb(f"{side}_clavicle", outwards, f"{side}_shoulder")

    shoulder = {
        f"{side}_scapula_elevation": raising,
        f"{side}_scapula_protraction": inwards_about_z,
        f"{side}_shoulder_plane": inwards_about_z,
        f"{side}_shoulder_elevation": raising,
        f"{side}_shoulder_rotation": inwards_about_z,
    }
    yield from _series(f"{side}_clavicle_end", f"{side}_upper_arm", shoulder)
    yield _limb(f"{side}_upper_arm", _minus(Z), f"{side}_elbow")

    elbow = {f"{side}_elbow_flexion": _minus(Y)}
    yield from _series(f"{side}_upper_arm_end", f"{side}_forearm", elbow)
    yield _limb(f"{side}_forearm", _minus(Z), f"{side}_wrist")


def _sides(side: str) -> tuple[Vector, Vector, Vector]:
    """The direction away from the midline, and the axes about which a hanging limb turns towards
    the midline and inwards."""
    if side == "right":
        return _minus(Y), X, Z

    return Y, _minus(X), _minus(Z)


URDF_JOINTS = (
    *_trunk(),
    *_leg("right"),
    *_leg("left"),
    *_arm("left"),
    *_arm("right"),
)
"""All joints of the URDF, parents first, in the order of `joint_positions`."""

LENGTH_CHANGE = 0.05
"""Relative change of a limb from which a person's URDF is another one."""

_STRETCH_MPS = 10.0
"""Limit of the speed of a stretch, which a URDF has to state."""

_RADIUS_SHARES = {"hips": 0.6, "lumbar": 0.45, "chest": 0.45, "neck": 0.4, "head": 0.6}
"""Radius of a limb in the picture, as a share of its length."""

_LIMB_RADIUS_SHARE = 0.14
"""The same for arms and legs."""


def joint_positions(
    joints_m: np.ndarray,
    lengths_m: np.ndarray,
) -> np.ndarray:
    """Positions (N, P) of the joints `URDF_JOINTS`, radians and metres, for poses (N, 17, 3) in any
    frame and URDFs with limbs of the lengths (N, 16).

    They give the pose back even where an angle is ill-defined (`joint_angles` has NaN there). NaN
    where a joint of the skeleton or a length that a position depends on is unknown.
    """
    thorax = thorax_axes(joints_m)
    angles = components(read_angles(joints_m).rad)
    positions = dict(zip(ANGLES, angles, strict=True))

    positions |= _pelvis(joints_m)
    positions |= _girdle(joints_m, thorax, "left")
    positions |= _girdle(joints_m, thorax, "right")
    positions |= _nose(joints_m, thorax, positions["neck_flexion"])
    positions |= _stretches(joints_m, lengths_m)

    columns = [positions[joint.name] for joint in URDF_JOINTS]
    return np.stack(columns, -1)


def _pelvis(joints_m: np.ndarray) -> dict[str, np.ndarray]:
    """Positions of the pelvis against the root, and of the lumbar spine."""
    pelvis = pelvis_axes(joints_m)
    turned = within(body_axes(joints_m), pelvis)
    tilt, obliquity, rotation = cardan_angles(turned)

    lumbar = direction_in(pelvis, joints_m, "pelvis", "spine")
    _, y, z = components(lumbar)
    bending = np.arctan2(-y, z)

    return {
        "pelvis_tilt": tilt.rad,
        "pelvis_obliquity": obliquity.rad,
        "pelvis_rotation": rotation.rad,
        "lumbar_bending": bending,
        "spine_bending": -bending,
    }


def _girdle(
    joints_m: np.ndarray,
    thorax: np.ndarray,
    side: str,
) -> dict[str, np.ndarray]:
    """Positions of one side of the shoulder girdle."""
    clavicle = direction_in(thorax, joints_m, "thorax", f"{side}_shoulder", side == "left")
    x, y, z = components(clavicle)
    protraction = np.arctan2(x, -y)
    elevation = np.arctan2(z, np.hypot(x, y))

    return {
        f"{side}_clavicle_protraction": protraction,
        f"{side}_clavicle_elevation": elevation,
        f"{side}_scapula_protraction": -protraction,
        f"{side}_scapula_elevation": -elevation,
    }


def _nose(
    joints_m: np.ndarray,
    thorax: np.ndarray,
    neck_flexion: np.ndarray,
) -> dict[str, np.ndarray]:
    """Positions of the three joints that put the nose beside the line to the top of the head."""
    up = direction_in(thorax, joints_m, "thorax", "head_top")
    nose = direction_in(thorax, joints_m, "thorax", "nose")
    above = direction_in(thorax, joints_m, "nose", "head_top")

    # Axes of the neck before it is turned about itself
    zero = np.zeros_like(neck_flexion)
    forward = np.stack([np.cos(neck_flexion), zero, -np.sin(neck_flexion)], -1)
    left = np.cross(up, forward)

    x = (nose * forward).sum(-1)
    y = (nose * left).sum(-1)

    lean = angle_between(up, nose)
    back = angle_between(up, above)

    return {
        "nose_azimuth": np.arctan2(y, x),
        "nose_lean": lean,
        "head_lean": -(lean + back),
    }


def _stretches(
    joints_m: np.ndarray,
    lengths_m: np.ndarray,
) -> dict[str, np.ndarray]:
    """Positions of the prismatic joints."""
    stretched = limb_lengths(joints_m) - lengths_m
    return {
        joint.name: _of_limb(joint, stretched)  # N
        for joint in URDF_JOINTS
        if joint.limb_end
    }


def _of_limb(joint: UrdfJoint, values: np.ndarray) -> np.ndarray:
    """The column of a prismatic joint in values (..., 16) of the limbs."""
    limb = JOINT_NAMES.index(joint.limb_end) - 1
    return values[..., limb]


def model_lengths(person: Person) -> np.ndarray | None:
    """Lengths (16,) of a person's limbs in metres: the track's, or this frame's where the track has
    none. None where one is unknown or 0."""
    of_track = person.bone_lengths_m
    of_frame = limb_lengths(person.skeleton_3d.joints_m)
    lengths_m = np.where(np.isfinite(of_track), of_track, of_frame)

    known = lengths_m > 0
    return lengths_m if known.all() else None


def differ(
    lengths_m: np.ndarray,
    others_m: np.ndarray,
) -> bool:
    """Whether one of two persons' limbs (16,) differs by more than LENGTH_CHANGE."""
    change = np.abs(lengths_m - others_m)
    limit = LENGTH_CHANGE * others_m
    return bool((change > limit).any())


def body_urdf(lengths_m: np.ndarray, name_of: Callable[[str], str] = str) -> str:
    """The URDF of a person with limbs of these lengths (16,), metres, in the order of
    `skeleton.LIMBS`.

    name_of: the name of a link or joint from that in this module, such as `left_knee_flexion_p1`;
    the robot is called like the root link. Links have pictures and no mass. LiftingError for
    lengths that are not 16 positive numbers.
    """
    lengths_m = np.asarray(lengths_m, float)
    positive = np.isfinite(lengths_m) & (lengths_m > 0)
    if lengths_m.shape != (LIMB_COUNT,) or not positive.all():
        raise LiftingError(
            f"lengths_m: expected {LIMB_COUNT} positive numbers, got {lengths_m.tolist()}"
        )

    robot = ET.Element("robot", name=name_of("body"))
    _add_materials(robot)

    links = {"body": ET.SubElement(robot, "link", name=name_of("body"))}
    for joint in URDF_JOINTS:
        links[joint.child] = ET.SubElement(robot, "link", name=name_of(joint.child))

    for joint in URDF_JOINTS:
        element = _add_joint(robot, joint, name_of)
        if joint.limb_end:
            length_m = float(_of_limb(joint, lengths_m))
            _lengthen(element, joint, length_m)
            _add_picture(links[joint.parent], joint, length_m)

    ET.indent(robot)
    return ET.tostring(robot, encoding="unicode")


def _add_materials(robot: ET.Element) -> None:
    """One colour for each side and the trunk."""
    for side in COLOURS:
        colour = " ".join(f"{level / 255:.3f}" for level in rgb_of(side))
        material = ET.SubElement(robot, "material", name=side)
        ET.SubElement(material, "color", rgba=f"{colour} 1")


def _add_joint(
    robot: ET.Element,
    joint: UrdfJoint,
    name_of: Callable[[str], str],
) -> ET.Element:
    kind = "prismatic" if joint.limb_end else "continuous"
    element = ET.SubElement(robot, "joint", name=name_of(joint.name), type=kind)

    ET.SubElement(element, "parent", link=name_of(joint.parent))
    ET.SubElement(element, "child", link=name_of(joint.child))
    ET.SubElement(element, "axis", xyz=_point(joint.axis, 1.0))
    return element


def _lengthen(element: ET.Element, joint: UrdfJoint, length_m: float) -> None:
    """Put a prismatic joint at the end of its limb, and let it go to no and to double length."""
    ET.SubElement(element, "origin", xyz=_point(joint.axis, length_m), rpy="0 0 0")

    length = f"{length_m:.6f}"
    speed = f"{_STRETCH_MPS:g}"
    ET.SubElement(element, "limit", lower=f"-{length}", upper=length, effort="0", velocity=speed)


def _add_picture(link: ET.Element, joint: UrdfJoint, length_m: float) -> None:
    """Draw the limb of a link."""
    visual = ET.SubElement(link, "visual")
    lying = "1.5707963 0 0" if joint.axis[1] else "0 0 0"
    ET.SubElement(visual, "origin", xyz=_point(joint.axis, length_m / 2), rpy=lying)

    share = _RADIUS_SHARES.get(joint.parent, _LIMB_RADIUS_SHARE)
    radius = f"{share * length_m:.4f}"
    geometry = ET.SubElement(visual, "geometry")
    ET.SubElement(geometry, "cylinder", radius=radius, length=f"{length_m:.6f}")

    ET.SubElement(visual, "material", name=side_of(joint.parent))


def _point(direction: Vector, length_m: float) -> str:
    return " ".join(f"{length_m * component:.6g}" for component in direction)
