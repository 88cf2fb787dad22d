# SPDX-License-Identifier: Apache-2.0
"""BVH, the files of animation: a skeleton of rigid bones that is turned at its joints.

Centimetres, y up. The rest pose is a T: the person looks along +z, with the left arm along +x. The
root `pelvis` has six channels; every other joint has three rotations. The joints are those of
`skeleton`, and `neck`, which lies at the thorax and turns the head. Angles are degrees in the order
of ANGLES, each about the axes that the ones before have turned.

Bones have their median lengths. Hips, spine, shoulders and nose lie in the rest pose where they
usually are in the frames of pelvis and thorax. A limb is turned by the smallest rotation from its
parent's that points it at the next joint; no twist about its own axis can be seen.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from lifting_ros.errors import DataError
from lifting_ros.io.uniform_track import UniformTrack
from lifting_ros.skeleton import JOINT_NAMES, JOINT_PARENTS, ROOT

ANGLES = "ZXY"
"""Order of the rotations of every joint, and of its channels."""

_CM = 100.0
_STUB = 0.1
"""Length of the end of a limb, where BVH requires one, divided by that of the limb."""

_NECK = len(JOINT_NAMES)
_THORAX = JOINT_NAMES.index("thorax")
_NOSE = JOINT_NAMES.index("nose")

_NAMES = (*JOINT_NAMES, "neck")
_PARENTS = tuple(_NECK if j == _NOSE else parent for j, parent in enumerate(JOINT_PARENTS))
_PARENTS += (_THORAX,)

_SEEN_AS = (*range(_NECK), _THORAX)
"""The joint of the track at which each joint is."""

_BONES = {
    "right_knee": (0, -1, 0),
    "right_ankle": (0, -1, 0),
    "left_knee": (0, -1, 0),
    "left_ankle": (0, -1, 0),
    "thorax": (0, 1, 0),
    "head_top": (0, 1, 0),
    "left_elbow": (1, 0, 0),
    "left_wrist": (1, 0, 0),
    "right_elbow": (-1, 0, 0),
    "right_wrist": (-1, 0, 0),
}
"""Direction of the bone that ends in a joint, in the rest pose."""

_PELVIS = tuple(map(JOINT_NAMES.index, ("right_hip", "left_hip", "pelvis", "spine")))
_CHEST = tuple(map(JOINT_NAMES.index, ("right_shoulder", "left_shoulder", "spine", "thorax")))
"""Axes of pelvis and thorax: x is from the first to the second joint, y is as near as possible to
the direction from the third to the fourth."""

_LEAST_AREA_M2 = 1e-6
"""Product of both distances, below which there are no axes."""

_IN_PELVIS = tuple(map(JOINT_NAMES.index, ("right_hip", "left_hip", "spine")))
_IN_CHEST = tuple(map(JOINT_NAMES.index, ("right_shoulder", "left_shoulder", "nose")))


def encode_bvh(track: UniformTrack, name: str) -> tuple[bytes, str]:
    """The content of a BVH file, and how far it is from the track.

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

    joints = track.joints_m[complete]
    offsets = rest_offsets(joints)
    turned = _rotations(joints, offsets)
    distances = np.linalg.norm(_positions(joints[:, ROOT], turned, offsets) - joints, axis=-1)

    # Every frame
    count = len(track.joints_m)
    frames = np.arange(count)
    root = np.column_stack([np.interp(frames, complete, axis) for axis in joints[:, ROOT].T])
    angles = np.zeros((count, len(_NAMES), 3))
    for j, parent in enumerate(_PARENTS):
        local = turned[j] if parent < 0 else turned[parent].inv() * turned[j]
        angles[:, j] = _angles(_interpolate(local, complete, frames))

    note = (
        f"rigid bones are {1000 * np.sqrt(np.mean(distances**2)):.0f} mm (rms) and at most"
        f" {1000 * distances.max():.0f} mm from the joints; frames filled in:"
        f" {_ranges(np.setdiff1d(frames, complete) + 1)}"
    )
    return _text(track.rate_hz, root, angles, offsets).encode(), note


def rest_offsets(joints: np.ndarray) -> np.ndarray:
    """Each joint relative to its parent in the rest pose, (18, 3) in metres.

    joints: (T, 17, 3) in metres.
    """
    offsets = np.zeros((len(_NAMES), 3))
    along = joints - joints[:, JOINT_PARENTS]
    for ends, inside in ((_PELVIS, _IN_PELVIS), (_CHEST, _IN_CHEST)):
        to_axes = _axes(joints, ends).inv()
        for j in inside:
            offsets[j] = np.median(to_axes.apply(along[:, j]), axis=0)

    lengths = np.median(np.linalg.norm(along, axis=-1), axis=0)
    for name, direction in _BONES.items():
        j = JOINT_NAMES.index(name)
        offsets[j] = lengths[j] * np.array(direction)

    return offsets


def _is_complete(joints: np.ndarray) -> np.ndarray:
    """(T,) whether all joints are known, and pelvis and thorax have axes."""
    complete = np.isfinite(joints).all((-2, -1))
    for right, left, below, above in (_PELVIS, _CHEST):
        area = np.cross(joints[:, left] - joints[:, right], joints[:, above] - joints[:, below])
        complete &= np.linalg.norm(area, axis=-1) > _LEAST_AREA_M2
    return complete


def _axes(joints: np.ndarray, ends: tuple[int, ...]) -> Rotation:
    """T rotations to the axes of _PELVIS or _CHEST, `ends`."""
    right, left, below, above = ends
    x = joints[:, left] - joints[:, right]
    z = np.cross(x, joints[:, above] - joints[:, below])
    y = np.cross(z, x)
    axes = np.stack([_unit(x), _unit(y), _unit(z)], axis=-1)
    return Rotation.from_matrix(axes)


def _rotations(joints: np.ndarray, offsets: np.ndarray) -> list[Rotation]:
    """The T rotations of each joint from the rest pose, relative to the world.

    Limbs are pointed at the next joint from where the rigid bones end, so that errors of bone
    lengths do not add up.
    """
    turned: list[Rotation] = [Rotation.identity(len(joints))] * len(_NAMES)
    position = np.zeros((len(joints), len(_NAMES), 3))
    for j in _from_root():
        parent = _PARENTS[j]
        if j == ROOT:
            position[:, j] = joints[:, j]
            turned[j] = _axes(joints, _PELVIS)
            continue

        position[:, j] = position[:, parent] + turned[parent].apply(offsets[j])
        if j == _THORAX:
            turned[j] = _axes(joints, _CHEST)
            continue

        turned[j] = turned[parent]
        for child in _children(j):
            wanted = turned[parent].inv().apply(joints[:, _SEEN_AS[child]] - position[:, j])
            turned[j] = turned[parent] * _smallest(offsets[child], wanted)

    return turned


def _positions(root: np.ndarray, turned: list[Rotation], offsets: np.ndarray) -> np.ndarray:
    """The joints (T, 17, 3) of the skeleton."""
    position = np.zeros((len(root), len(_NAMES), 3))
    position[:, ROOT] = root
    for j in _from_root():
        if j != ROOT:
            parent = _PARENTS[j]
            position[:, j] = position[:, parent] + turned[parent].apply(offsets[j])
    return position[:, :_NECK]


def _smallest(start: np.ndarray, ends: np.ndarray) -> Rotation:
    """The T smallest rotations from the direction `start` (3,) to the directions `ends` (T, 3)."""
    start = _unit(start)
    ends = _unit(ends)
    cosine = ends @ start
    quaternions = np.column_stack([np.cross(start, ends), 1 + cosine])

    # Half a turn, about any axis across
    other = np.eye(3)[np.abs(start).argmin()]
    half_turn = np.append(np.cross(start, other), 0.0)
    opposite = cosine < -1 + 1e-9
    return Rotation.from_quat(np.where(opposite[:, None], half_turn, quaternions))


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) of length 1."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-12)


def _interpolate(rotations: Rotation, known: np.ndarray, frames: np.ndarray) -> Rotation:
    """The rotations of all frames, given those of the `known` ones; constant beyond them."""
    if len(known) == 1:
        return rotations[np.zeros(len(frames), int)]
    return Slerp(known, rotations)(frames.clip(known[0], known[-1]))


def _angles(rotations: Rotation) -> np.ndarray:
    """Angles (T, 3) in degrees, in the order of ANGLES, without jumps by a whole turn."""
    with warnings.catch_warnings():
        # With the middle angle at 90 degrees, the others are not unique, and any will do
        warnings.filterwarnings("ignore", "Gimbal lock")
        angles = rotations.as_euler(ANGLES, degrees=True)
    return np.unwrap(angles, period=360, axis=0)


def _ranges(numbers: np.ndarray) -> str:
    """Numbers in words: `3-7, 9`; `none`."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    words = [f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs if len(run)]
    return ", ".join(words) or "none"


def _children(joint: int) -> list[int]:
    return [j for j, parent in enumerate(_PARENTS) if parent == joint]


def _from_root(joint: int = ROOT) -> Iterator[int]:
    """The joints in the order of the file: each before its children."""
    yield joint
    for child in _children(joint):
        yield from _from_root(child)


def _text(rate_hz: float, root: np.ndarray, angles: np.ndarray, offsets: np.ndarray) -> str:
    """The file of a skeleton, given the root (T, 3) in metres and the angles (T, 18, 3)."""
    text = io.StringIO()
    print("HIERARCHY", file=text)
    _write_joint(ROOT, offsets, "", text)

    print("MOTION", file=text)
    print(f"Frames: {len(root)}", file=text)
    print(f"Frame Time: {1 / rate_hz:.9f}", file=text)
    order = list(_from_root())
    channels = np.column_stack([_CM * root, angles[:, order].reshape(len(root), -1)])
    np.savetxt(text, channels, fmt="%.5f")
    return text.getvalue()


def _write_joint(joint: int, offsets: np.ndarray, indent: str, text: io.StringIO) -> None:
    """Write a joint and what hangs from it."""
    kind = "ROOT" if joint == ROOT else "JOINT"
    positions = "Xposition Yposition Zposition " if joint == ROOT else ""
    rotations = " ".join(f"{axis}rotation" for axis in ANGLES)
    number = 6 if joint == ROOT else 3

    print(f"{indent}{kind} {_NAMES[joint]}", file=text)
    print(f"{indent}{{", file=text)
    print(f"{indent}  OFFSET {_centimetres(offsets[joint])}", file=text)
    print(f"{indent}  CHANNELS {number} {positions}{rotations}", file=text)
    for child in _children(joint):
        _write_joint(child, offsets, indent + "  ", text)

    if not _children(joint):
        print(f"{indent}  End Site", file=text)
        print(f"{indent}  {{", file=text)
        print(f"{indent}    OFFSET {_centimetres(_STUB * offsets[joint])}", file=text)
        print(f"{indent}  }}", file=text)
    print(f"{indent}}}", file=text)


def _centimetres(offset: np.ndarray) -> str:
    return " ".join(f"{_CM * value:.5f}" for value in offset)
