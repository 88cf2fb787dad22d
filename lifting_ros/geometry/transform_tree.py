# SPDX-License-Identifier: Apache-2.0
"""A tree of moving coordinate frames, as TF publishes them, and transforms between two of them.

tf2 is compiled code that PyPI does not offer. This is the part of it that one node needs; it works
the same with and without a ROS installation.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from lifting_ros.errors import LiftingError

_MAX_DEPTH = 100
"""Frames between a frame and its root; more than these must be a loop."""


class TransformError(LiftingError):
    """No transform between two frames at a stamp; the message is one line that names them."""


@dataclass
class _Edge:
    """The poses of a frame in its parent, sorted by stamp.

    A static frame has a single pose that holds at any time.
    """

    parent: str
    static: bool
    stamps_ns: list[int] = field(default_factory=list)
    poses: list[np.ndarray] = field(default_factory=list)
    """(4, 4) each, from coordinates in the child to those in the parent."""

    def accepts(
        self,
        parent: str,
        stamp_ns: int,
        static: bool,
        keep_ns: int,
    ) -> bool:
        """Whether a new pose continues this history.

        It does not if the frame has another parent, or if time has jumped back by more than
        `keep_ns`.
        """
        if self.parent != parent:
            return False
        if self.static != static:
            return False
        if static:
            return True

        newest_ns = self.stamps_ns[-1]
        return stamp_ns >= newest_ns - keep_ns

    def insert(
        self,
        stamp_ns: int,
        pose: np.ndarray,
    ) -> None:
        """Add a pose at its stamp, in place of an earlier one with the same stamp."""
        stamps = self.stamps_ns
        at = bisect.bisect_left(stamps, stamp_ns)
        if at < len(stamps) and stamps[at] == stamp_ns:
            self.poses[at] = pose
            return

        stamps.insert(at, stamp_ns)
        self.poses.insert(at, pose)

    def drop_before(self, stamp_ns: int) -> None:
        """Remove the poses older than a stamp."""
        old = bisect.bisect_left(self.stamps_ns, stamp_ns)
        del self.stamps_ns[:old]
        del self.poses[:old]


def plain_frame(name: str) -> str:
    """The name of a frame without the leading slash that ROS 1 gave it; tf2 takes it off, too."""
    return name.removeprefix("/")


class TransformTree:
    """The transforms of the last `keep_ns` nanoseconds. Not thread-safe.

    Frames are the same with and without a leading slash.
    """

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
        """Add the pose of a frame in its parent.

        A stamp more than `keep_ns` before the newest one means that time has jumped back (a bag
        that plays in a loop): the earlier poses of the frame are dropped. Raises ValueError if the
        numbers are not a pose, or if the names are empty or equal.
        """
        pose = _pose_matrix(translation_m, quaternion_xyzw)
        parent = plain_frame(parent)
        child = plain_frame(child)

        # Such an entry would replace the real parent of the frame.
        if not parent or not child or parent == child:
            raise ValueError(f"transform: expected two frames, got {parent!r} and {child!r}")

        edge = self._edges.get(child)
        if edge is None or not edge.accepts(parent, stamp_ns, static, self._keep_ns):
            edge = _Edge(parent, static)
            self._edges[child] = edge

        if static:
            edge.stamps_ns = [0]
            edge.poses = [pose]
            return

        edge.insert(stamp_ns, pose)
        edge.drop_before(edge.stamps_ns[-1] - self._keep_ns)

    def add_message(
        self,
        message: Any,
        static: bool,
    ) -> None:
        """Add a geometry_msgs/TransformStamped of rclpy or of rosbags.

        One that is not a pose is left out: a lookup reports it as missing.
        """
        stamp = message.header.stamp
        place = message.transform.translation
        turn = message.transform.rotation
        translation = (place.x, place.y, place.z)
        quaternion = (turn.x, turn.y, turn.z, turn.w)
        stamp_ns = stamp.sec * 10**9 + stamp.nanosec
        parent = message.header.frame_id
        child = message.child_frame_id
        try:
            self.add(parent, child, stamp_ns, translation, quaternion, static)
        except ValueError:
            return

    def forget_moving(self) -> None:
        """Drop all but the static frames; for use when time has jumped back."""
        for frame, edge in list(self._edges.items()):
            if not edge.static:
                del self._edges[frame]

    def lookup(
        self,
        target: str,
        source: str,
        stamp_ns: int,
    ) -> np.ndarray:
        """Return the transform (4, 4) from coordinates in `source` to those in `target`.

        Poses are interpolated between the two published ones next to the stamp, never
        extrapolated. Raises TransformError if the transform is not known.
        """
        source = plain_frame(source)
        target = plain_frame(target)
        if not source or not target:
            raise TransformError(
                f"{source or target}: no transform to a frame without a name (frame_id is empty)"
            )

        source_chain = self._chain_to_root(source)
        target_chain = self._chain_to_root(target)
        common = next((frame for frame in source_chain if frame in target_chain), None)
        if common is None:
            raise TransformError(f"{source} to {target}: {self._why_apart(source, target)}")

        source_part = source_chain[: source_chain.index(common)]
        target_part = target_chain[: target_chain.index(common)]

        source_to_common = self._compose(source_part, stamp_ns)
        target_to_common = self._compose(target_part, stamp_ns)
        return np.linalg.inv(target_to_common) @ source_to_common

    def root_of(self, frame: str) -> str:
        """The frame's last ancestor; itself where it has none. TransformError for a loop."""
        return self._chain_to_root(plain_frame(frame))[-1]

    def _why_apart(
        self,
        source: str,
        target: str,
    ) -> str:
        """Say why two frames have no common ancestor."""
        known = set(self._edges)
        known |= {edge.parent for edge in self._edges.values()}

        for frame in (source, target):
            if frame not in known:
                return f"no frame {frame}"

        return "not connected"

    def _chain_to_root(self, frame: str) -> list[str]:
        """Return the frame and all its ancestors."""
        chain = [frame]
        while chain[-1] in self._edges:
            parent = self._edges[chain[-1]].parent
            chain.append(parent)
            if len(chain) > _MAX_DEPTH:
                raise TransformError(f"{frame}: its parents form a loop")

        return chain

    def _compose(
        self,
        frames: list[str],
        stamp_ns: int,
    ) -> np.ndarray:
        """Return the transform from the first of `frames` to the parent of the last."""
        total = np.eye(4)
        for frame in frames:
            total = self._pose_at(frame, stamp_ns) @ total

        return total

    def _pose_at(
        self,
        frame: str,
        stamp_ns: int,
    ) -> np.ndarray:
        """Return the pose of a frame in its parent at a stamp."""
        edge = self._edges[frame]
        if edge.static:
            return edge.poses[0]

        stamps = edge.stamps_ns
        at = bisect.bisect_left(stamps, stamp_ns)
        if at < len(stamps) and stamps[at] == stamp_ns:
            return edge.poses[at]

        if at in (0, len(stamps)):
            side = "oldest" if at == 0 else "newest"
            nearest_s = stamps[0 if at == 0 else -1] / 1e9
            raise TransformError(
                f"{edge.parent} to {frame}: wanted at {stamp_ns / 1e9:.3f} s, "
                f"the {side} is of {nearest_s:.3f} s"
            )

        low = stamps[at - 1]
        high = stamps[at]
        share = (stamp_ns - low) / (high - low)
        return _interpolate(edge.poses[at - 1], edge.poses[at], share)


def _pose_matrix(
    translation_m: Sequence[float],
    quaternion_xyzw: Sequence[float],
) -> np.ndarray:
    """Return a pose as a matrix (4, 4); ValueError if the numbers are not a pose."""
    numbers = np.array([*translation_m, *quaternion_xyzw], np.float64)
    translation = numbers[:3]
    quaternion = numbers[3:]
    if not np.isfinite(numbers).all() or not np.any(quaternion):
        raise ValueError(
            f"transform: expected a translation and a quaternion, got {numbers.tolist()}"
        )

    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat(quaternion).as_matrix()
    pose[:3, 3] = translation
    return pose


def _interpolate(
    first: np.ndarray,
    second: np.ndarray,
    share: float,
) -> np.ndarray:
    """Return the pose (4, 4) at `share` in [0, 1] of the way from one pose to another."""
    ends = [first[:3, :3], second[:3, :3]]
    slerp = Slerp([0.0, 1.0], Rotation.from_matrix(ends))
    rotation = slerp(share)

    start = first[:3, 3]
    stop = second[:3, 3]
    translation = (1 - share) * start + share * stop

    pose = np.eye(4)
    pose[:3, :3] = rotation.as_matrix()
    pose[:3, 3] = translation
    return pose
