# SPDX-License-Identifier: Apache-2.0
"""Frames that move against each other: what TF publishes, and the transform between two of them at
a stamp.

tf2 is compiled code that PyPI does not have; this is the part of it that one node needs, the same
with and without a ROS installation.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

_DEEPEST = 100
"""Frames between a frame and its root: more is a loop."""


class TransformError(LookupError):
    """No transform between two frames at that time; the text is one line that names them."""


@dataclass
class _Edge:
    """A frame in its parent, by stamp; a static one has a single entry that holds for ever."""

    parent: str
    static: bool
    stamps_ns: list[int] = field(default_factory=list)
    poses: list[np.ndarray] = field(default_factory=list)
    """(4, 4) each, child coordinates to the parent's."""


class TransformTree:
    """Transforms of the last `keep_ns`. Not safe for use from several threads at once."""

    def __init__(self, keep_ns: int = 10 * 10**9):
        self._keep_ns = keep_ns
        self._edges: dict[str, _Edge] = {}

    def add(
        self,
        parent: str,
        child: str,
        stamp_ns: int,
        translation_m: Sequence[float],
        quaternion_xyzw: Sequence[float],
        static: bool = False,
    ) -> None:
        """A frame's pose in its parent; ValueError for numbers that are no pose and names that are
        no two frames. A stamp long before the newest means that time has jumped back (a bag in a
        loop): what was known of the frame is forgotten."""
        pose = _matrix(translation_m, quaternion_xyzw)
        if (
            not parent or not child or parent == child
        ):  # it would take the place of the frame's real parent
            raise ValueError(f"transform: expected two frames, got {parent!r} and {child!r}")
        edge = self._edges.get(child)
        if (
            edge is None
            or edge.parent != parent
            or edge.static != static
            or (not static and stamp_ns < edge.stamps_ns[-1] - self._keep_ns)
        ):
            edge = self._edges[child] = _Edge(parent, static)
        if static:
            edge.stamps_ns, edge.poses = [0], [pose]
            return
        at = bisect.bisect_left(edge.stamps_ns, stamp_ns)
        if at < len(edge.stamps_ns) and edge.stamps_ns[at] == stamp_ns:
            edge.poses[at] = pose
            return
        edge.stamps_ns.insert(at, stamp_ns)
        edge.poses.insert(at, pose)
        old = bisect.bisect_left(edge.stamps_ns, edge.stamps_ns[-1] - self._keep_ns)
        del edge.stamps_ns[:old], edge.poses[:old]

    def forget_moving(self) -> None:
        """Time has jumped back: keep what does not depend on it."""
        self._edges = {frame: edge for frame, edge in self._edges.items() if edge.static}

    def lookup(self, target: str, source: str, stamp_ns: int) -> np.ndarray:
        """(4, 4) from coordinates in `source` to those in `target` at a stamp, between two
        published ones interpolated, never guessed beyond them; TransformError where that is not
        known."""
        if not source or not target:
            raise TransformError(
                f"{source or target}: no transform to a frame without a name (frame_id is empty)"
            )
        here, there = self._to_root(source), self._to_root(target)
        common = next((frame for frame in here if frame in there), None)
        if common is None:
            known = set(self._edges) | {edge.parent for edge in self._edges.values()}
            missing = [frame for frame in (source, target) if frame not in known]
            raise TransformError(
                f"{source} to {target}: {f'no frame {missing[0]}' if missing else 'not connected'}"
            )
        return np.linalg.inv(self._up(there[: there.index(common)], stamp_ns)) @ self._up(
            here[: here.index(common)], stamp_ns
        )

    def _to_root(self, frame: str) -> list[str]:
        chain = [frame]
        while chain[-1] in self._edges:
            chain.append(self._edges[chain[-1]].parent)
            if len(chain) > _DEEPEST:
                raise TransformError(f"{frame}: its parents form a loop")
        return chain

    def _up(self, frames: list[str], stamp_ns: int) -> np.ndarray:
        """From the first of `frames` to the parent of the last."""
        total = np.eye(4)
        for frame in frames:
            total = self._at(frame, stamp_ns) @ total
        return total

    def _at(self, frame: str, stamp_ns: int) -> np.ndarray:
        edge = self._edges[frame]
        if edge.static:
            return edge.poses[0]
        at = bisect.bisect_left(edge.stamps_ns, stamp_ns)
        if at < len(edge.stamps_ns) and edge.stamps_ns[at] == stamp_ns:
            return edge.poses[at]
        if at in (0, len(edge.stamps_ns)):
            side, stamp = (
                ("oldest", edge.stamps_ns[0]) if at == 0 else ("newest", edge.stamps_ns[-1])
            )
            raise TransformError(
                f"{edge.parent} to {frame}: wanted at {stamp_ns / 1e9:.3f} s, the {side} is of {stamp / 1e9:.3f} s"
            )
        low, high = edge.stamps_ns[at - 1], edge.stamps_ns[at]
        return _between(edge.poses[at - 1], edge.poses[at], (stamp_ns - low) / (high - low))


def _matrix(translation_m: Sequence[float], quaternion_xyzw: Sequence[float]) -> np.ndarray:
    numbers = np.array([*translation_m, *quaternion_xyzw], np.float64)
    if not np.isfinite(numbers).all() or not np.any(numbers[3:]):
        raise ValueError(
            f"transform: expected a translation and a quaternion, got {numbers.tolist()}"
        )
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_quat(numbers[3:]).as_matrix(), numbers[:3]
    return pose


def _between(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = Slerp([0.0, 1.0], Rotation.from_matrix([first[:3, :3], second[:3, :3]]))(
        share
    ).as_matrix()
    pose[:3, 3] = (1 - share) * first[:3, 3] + share * second[:3, 3]
    return pose
