# SPDX-License-Identifier: Apache-2.0
"""BVH, the files of animation: a skeleton of rigid bones that is turned at its joints.

Centimetres, y up. The rest pose is a T: the person looks along +z, with the left arm along +x. The
root `pelvis` has six channels; every other joint has three rotations. The joints are those of
`skeleton`, and `neck`, which lies at the thorax and turns the head. Angles are degrees in the order
of ANGLES, each about the axes that the ones before have turned.

Bones have their median lengths. Hips, spine, shoulders and nose lie in the rest pose where they
usually are in the axes of pelvis and thorax. A limb is turned by the smallest rotation from its
parent's that points it at the next joint; no twist about its own axis can be seen.
"""

from __future__ import annotations

import io
import warnings
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from lifting_ros.errors import DataError
from lifting_ros.geometry.rotations import unit
from lifting_ros.io.uniform_track import UniformTrack
from lifting_ros.skeleton import JOINT_COUNT, JOINT_NAMES, JOINT_PARENTS, ROOT

ANGLES = "ZXY"
"""Order of the rotations of every joint, and of its channels."""

_CM = 100.0
_STUB = 0.1
"""Length of the end of a limb, where BVH requires one, divided by that of the limb."""

_LEAST_AREA_M2 = 1e-6
"""Distance between two hips or shoulders times that along the spine, below which they define no
axes."""

_PELVIS = JOINT_NAMES.index("pelvis")
_RIGHT_HIP = JOINT_NAMES.index("right_hip")
_LEFT_HIP = JOINT_NAMES.index("left_hip")
_SPINE = JOINT_NAMES.index("spine")
_THORAX = JOINT_NAMES.index("thorax")
_NOSE = JOINT_NAMES.index("nose")
_RIGHT_SHOULDER = JOINT_NAMES.index("right_shoulder")
_LEFT_SHOULDER = JOINT_NAMES.index("left_shoulder")

_NECK = JOINT_COUNT
"""The joint that only the file has."""

_NAMES = (*JOINT_NAMES, "neck")


def _parents() -> tuple[int, ...]:
    """Parent of each joint of the file; -1 marks the root."""
    parents = [*JOINT_PARENTS, _THORAX]
    parents[_NOSE] = _NECK
    return tuple(parents)


_PARENTS = _parents()
_CHILDREN = tuple([k for k, parent in enumerate(_PARENTS) if parent == j] for j in range(_NECK + 1))


def _descendants(joint: int) -> list[int]:
    """A joint and those below it, each before its children: the order of the file."""
    found = [joint]
    for child in _CHILDREN[joint]:
        found += _descendants(child)
    return found


_ORDER = _descendants(ROOT)

_DOWN = (0.0, -1.0, 0.0)
_UP = (0.0, 1.0, 0.0)
_LEFT = (1.0, 0.0, 0.0)
_RIGHT = (-1.0, 0.0, 0.0)

_DIRECTIONS = {
    "right_knee": _DOWN,
    "right_ankle": _DOWN,
    "left_knee": _DOWN,
    "left_ankle": _DOWN,
    "thorax": _UP,
    "head_top": _UP,
    "left_elbow": _LEFT,
    "left_wrist": _LEFT,
    "right_elbow": _RIGHT,
    "right_wrist": _RIGHT,
}
"""Of the bone that ends in a joint, in the rest pose."""


class _Axes(NamedTuple):
    """Axes of a part of the body: x from `right` to `left`, y as near as possible to the direction
    from `below` to `above`."""

    right: int
    left: int
    below: int
    above: int
    inside: tuple[int, ...]
    """Joints at fixed places in these axes."""


_OF_PELVIS = _Axes(
    right=_RIGHT_HIP,
    left=_LEFT_HIP,
    below=_PELVIS,
    above=_SPINE,
    inside=(_RIGHT_HIP, _LEFT_HIP, _SPINE),
)
_OF_THORAX = _Axes(
    right=_RIGHT_SHOULDER,
    left=_LEFT_SHOULDER,
    below=_SPINE,
    above=_THORAX,
    inside=(_RIGHT_SHOULDER, _LEFT_SHOULDER, _NOSE),  # the nose in the rest pose alone
)


def encode_bvh(track: UniformTrack, name: str) -> tuple[bytes, str]:
    """The content of a BVH file, and a note about how far it is from the track.

    Where not all joints are known, root and rotations are interpolated; the note names those
    frames, numbered from 1, and the distance between the joints of the file and of the track in
    the others.

    DataError where there is no pose with all joints.
    """
    complete = np.flatnonzero(_is_complete(track.joints_m))
    if not len(complete):
        raise DataError(
            f"{name}: person {track.person_id} has no pose with all joints; BVH requires one"
        )

    # The skeleton in the complete frames
    joints = track.joints_m[complete]
    offsets = _rest_offsets(joints)
    turns, positions = _pose(joints, offsets)

    # In all frames
    frames = np.arange(len(track.joints_m))
    root = _interpolate_points(joints[:, ROOT], complete, frames)
    angles = np.zeros((len(frames), len(_NAMES), 3))
    for j, parent in enumerate(_PARENTS):
        local = turns[j] if j == ROOT else turns[parent].inv() * turns[j]
        every = _interpolate_turns(local, complete, frames)
        angles[:, j] = _angles_of(every)

    text = _skeleton_text(offsets) + _motion_text(track.rate_hz, root, angles)
    missing = np.setdiff1d(frames, complete)
    distances_mm = 1000 * np.linalg.norm(positions - joints, axis=-1)
    rms = np.sqrt(np.mean(distances_mm**2))
    note = (
        f"; rigid bones are {rms:.0f} mm (rms) and at most {distances_mm.max():.0f} mm from the"
        f" joints; frames filled in: {_ranges(missing + 1)}"
    )
    return text.encode(), note


def _is_complete(joints: np.ndarray) -> np.ndarray:
    """(T,) whether all joints (T, 17, 3) are known, and pelvis and thorax have axes."""
    complete = np.isfinite(joints).all((-2, -1))
    for axes in (_OF_PELVIS, _OF_THORAX):
        x, up = _sides(joints, axes)
        area = np.linalg.norm(np.cross(x, up), axis=-1)
        complete &= area > _LEAST_AREA_M2

    return complete


def _sides(joints: np.ndarray, axes: _Axes) -> tuple[np.ndarray, np.ndarray]:
    """The vectors (T, 3) from `right` to `left` and from `below` to `above`."""
    right, left, below, above = np.moveaxis(joints[:, axes[:4]], 1, 0)
    x = left - right
    up = above - below
    return x, up


def _turn_of(joints: np.ndarray, axes: _Axes) -> Rotation:
    """The T rotations from the world's axes to those of a part of the body."""
    x, up = _sides(joints, axes)
    z = np.cross(x, up)
    y = np.cross(z, x)

    axes_of_part = [unit(axis) for axis in (x, y, z)]
    matrices = np.stack(axes_of_part, axis=-1)
    return Rotation.from_matrix(matrices)


def _rest_offsets(joints: np.ndarray) -> np.ndarray:
    """Each joint relative to its parent in the rest pose, (18, 3), of joints (T, 17, 3)."""
    bones = joints - joints[:, JOINT_PARENTS]  # that of the root is not used
    offsets = np.zeros((len(_NAMES), 3))

    for axes in (_OF_PELVIS, _OF_THORAX):
        to_axes = _turn_of(joints, axes).inv()
        for j in axes.inside:
            places = to_axes.apply(bones[:, j])
            offsets[j] = np.median(places, axis=0)

    lengths = np.linalg.norm(bones, axis=-1)
    usual = np.median(lengths, axis=0)
    for name, direction in _DIRECTIONS.items():
        j = JOINT_NAMES.index(name)
        offsets[j] = np.multiply(usual[j], direction)

    return offsets


def _pose(joints: np.ndarray, offsets: np.ndarray) -> tuple[list[Rotation], np.ndarray]:
    """The T rotations of each of the 18 joints from the rest pose, relative to the world, and where
    that puts the joints, (T, 17, 3).

    A limb is pointed at the next joint from where the rigid bones before it end, so that errors of
    their lengths do not add up.
    """
    count = len(joints)
    turns = [Rotation.identity(count)] * len(_NAMES)
    positions = np.zeros((count, len(_NAMES), 3))
    seen = np.concatenate([joints, joints[:, [_THORAX]]], axis=1)  # T, 18, 3

    for j in _ORDER:
        parent = _PARENTS[j]
        if j == ROOT:
            positions[:, j] = joints[:, j]
            turns[j] = _turn_of(joints, _OF_PELVIS)
            continue

        positions[:, j] = positions[:, parent] + turns[parent].apply(offsets[j])
        if j == _THORAX:
            turns[j] = _turn_of(joints, _OF_THORAX)
            continue

        turns[j] = turns[parent]
        for child in _CHILDREN[j]:  # one, or none at the end of a limb
            direction = seen[:, child] - positions[:, j]
            wanted = turns[parent].inv().apply(direction)
            turns[j] = turns[parent] * _smallest_turn(offsets[child], wanted)

    return turns, positions[:, :JOINT_COUNT]


def _smallest_turn(start: np.ndarray, ends: np.ndarray) -> Rotation:
    """The T smallest rotations from the direction `start` (3,) to the directions `ends` (T, 3)."""
    start = unit(start)
    ends = unit(ends)
    cosine = ends @ start
    quaternions = np.column_stack([np.cross(start, ends), 1 + cosine])

    # Half a turn: about any axis across
    least = np.abs(start).argmin()
    across = np.cross(start, np.eye(3)[least])
    half_turn = np.append(across, 0.0)
    opposite = cosine < -1 + 1e-9
    quaternions[opposite] = half_turn

    return Rotation.from_quat(quaternions)


def _interpolate_points(points: np.ndarray, known: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Points (T, 3) in all frames, given those in the `known` ones; constant beyond them."""
    axes = [np.interp(frames, known, axis) for axis in points.T]
    return np.column_stack(axes)


def _interpolate_turns(turns: Rotation, known: np.ndarray, frames: np.ndarray) -> Rotation:
    """The same for rotations."""
    inside = frames.clip(known[0], known[-1])
    if len(known) == 1:
        return turns[np.zeros(len(frames), int)]

    return Slerp(known, turns)(inside)


def _angles_of(turns: Rotation) -> np.ndarray:
    """Angles (T, 3) in degrees, in the order of ANGLES, without jumps by a whole turn."""
    with warnings.catch_warnings():
        # With the middle angle at 90 degrees the others are not unique, and any will do
        warnings.filterwarnings("ignore", "Gimbal lock")
        angles = turns.as_euler(ANGLES, degrees=True)

    return np.unwrap(angles, period=360, axis=0)


def _ranges(numbers: np.ndarray) -> str:
    """Rising numbers in words, such as `3-7, 9`; `none` where there are none."""
    if not len(numbers):
        return "none"

    ends = np.flatnonzero(np.diff(numbers) > 1) + 1
    words = []
    for run in np.split(numbers, ends):
        first = run[0]
        last = run[-1]
        words.append(f"{first}" if first == last else f"{first}-{last}")

    return ", ".join(words)


def _skeleton_text(offsets: np.ndarray) -> str:
    """The part of the file that has the rest pose, offsets (18, 3) in metres."""
    lines = _joint_lines(ROOT, offsets)
    text = "\n".join(lines)
    return f"HIERARCHY\n{text}\n"


def _joint_lines(joint: int, offsets: np.ndarray) -> list[str]:
    """A joint and what hangs from it."""
    rotations = [f"{axis}rotation" for axis in ANGLES]
    kind = "JOINT"
    channels = rotations
    if joint == ROOT:
        kind = "ROOT"
        channels = ["Xposition", "Yposition", "Zposition", *rotations]

    inside = [
        f"OFFSET {_centimetres(offsets[joint])}",
        f"CHANNELS {len(channels)} {' '.join(channels)}",
    ]
    for child in _CHILDREN[joint]:
        inside += _joint_lines(child, offsets)

    if not _CHILDREN[joint]:
        stub = _STUB * offsets[joint]
        inside += ["End Site", "{", f"  OFFSET {_centimetres(stub)}", "}"]

    indented = [f"  {line}" for line in inside]
    return [f"{kind} {_NAMES[joint]}", "{", *indented, "}"]


def _centimetres(offset: np.ndarray) -> str:
    scaled = _CM * offset
    numbers = [f"{value:.5f}" for value in scaled]
    return " ".join(numbers)


def _motion_text(rate_hz: float, root: np.ndarray, angles: np.ndarray) -> str:
    """The part of the file that has the frames: root (T, 3) in metres, angles (T, 18, 3)."""
    count = len(root)
    in_order = angles[:, _ORDER].reshape(count, -1)
    channels = np.column_stack([_CM * root, in_order])

    text = io.StringIO()
    print("MOTION", file=text)
    print(f"Frames: {count}", file=text)
    print(f"Frame Time: {1 / rate_hz:.9f}", file=text)
    np.savetxt(text, channels, fmt="%.5f")
    return text.getvalue()
