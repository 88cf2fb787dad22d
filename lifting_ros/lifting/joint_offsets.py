# SPDX-License-Identifier: Apache-2.0
"""From keypoints to joints: where the joints are in the image, given what a network takes for them.

A keypoint is where people who label photographs put it: an ankle above the foot, a hip on the
trousers. The prior's joints are those of motion capture, the centres that bones turn about. A small
network reads a person's keypoints (`encoding`) and tells how far each joint is from its keypoint,
and how much more or less certain the keypoint is than its covariance says: one that contradicts the
others is less. The lifter takes the joints. The keypoints that are published do not move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lifting_ros.geometry.camera import Camera
from lifting_ros.lifting.dense import layer_shapes, linear, read_tensors
from lifting_ros.lifting.depth_cue import views_of
from lifting_ros.lifting.encoding import INPUTS, encode_views
from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.lifting.observation import NONE, Views
from lifting_ros.lifting.request import Keypoints
from lifting_ros.skeleton import KEYPOINT_COUNT

HEADER = "joint_offsets"
"""Name of the offsets in the header of a network's weights file."""

PREFIX = "joint_offsets."
"""Beginning of the names of their tensors there."""

LAYERS = ("first", "second", "out")
"""The linear layers."""

NAMES = tuple(f"{layer}.{kind}" for layer in LAYERS for kind in ("weight", "bias"))
"""Names of the tensors, without PREFIX."""

OUTPUTS = 3 * KEYPOINT_COUNT
"""Per keypoint x, y and the logarithm of the factor on the standard deviation."""


class JointOffsets:
    """Moves keypoints to joints. Thread-safe."""

    def __init__(self, tensors: Mapping[str, np.ndarray], config: LifterConfig | None = None):
        """tensors: by NAMES, float32; config: the noise of keypoints without a covariance."""
        self._tensors = tensors
        self._config = config or LifterConfig()

    def joints_of(
        self,
        seen: Keypoints,
        camera: Camera | None,
        up: Sequence[float] | np.ndarray,
        which: np.ndarray,
    ) -> Keypoints:
        """The joints in the image, with their covariances.

        camera, up: as in `Lifter.lift`; which: (N,) bool, the persons to do this for. The others'
        keypoints, and those of persons who cannot be lifted, stay.
        """
        views = views_of(seen, camera, up, self._config)
        offset, log_factor = self.of_encoded(encode_views(views, camera is not None))
        moves = (which & (views.level != NONE))[:, None]
        moved = np.where(moves[..., None], offset @ axes_px(views, seen), 0.0)
        keypoints_px = seen.keypoints_px + moved
        if seen.covariance_px2 is None:
            return seen._replace(keypoints_px=keypoints_px)

        factor = np.where(moves, np.exp(2 * log_factor), 1.0)
        covariance_px2 = seen.covariance_px2 * factor[..., None, None]
        return seen._replace(keypoints_px=keypoints_px, covariance_px2=covariance_px2)

    def of_encoded(self, encoded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of encoded keypoints (N, 44): offsets (N, 14, 2), x to the right and y down in the view
        frame, divided by the extent of the keypoints in use, the root mean square distance from
        their mean; and log factors (N, 14) on the standard deviations."""
        first = np.maximum(self._layer("first", encoded), 0)
        second = np.maximum(self._layer("second", first), 0)
        out = self._layer("out", second).astype(np.float64)
        x, y, log_factor = np.split(out, 3, axis=1)
        return np.stack([x, y], -1), log_factor

    def _layer(self, name: str, values: np.ndarray) -> np.ndarray:
        return linear(values, self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"])


def offsets_to(joints_px: np.ndarray, views: Views, seen: Keypoints) -> np.ndarray:
    """(N, 14, 2) what `JointOffsets.of_encoded` should give where the joints are at joints_px (N,
    14, 2)."""
    return (joints_px - seen.keypoints_px) @ np.linalg.inv(axes_px(views, seen))


def axes_px(views: Views, seen: Keypoints) -> np.ndarray:
    """(N, 2, 2) the axes x and y of the view frames as they appear in the image, one a row, as long
    as the keypoints' extent in pixels; y is turned from x by a right angle."""
    # Extent
    used = views.seen[..., None]
    count = np.maximum(used.sum(1), 1)
    points = np.where(used, seen.keypoints_px, 0.0)
    centred = np.where(used, points - (points.sum(1) / count)[:, None], 0.0)
    extent = np.sqrt((centred**2).sum((1, 2)) / count[:, 0])

    # Direction of x: the derivative of the image of a point in the direction z that moves along x
    frame = np.where((views.level != NONE)[:, None, None], views.frame, np.eye(3))
    x, _, z = np.moveaxis(frame.astype(np.float64), 1, 0)
    right = x[:, :2] * z[:, 2:] - x[:, 2:] * z[:, :2]
    length = np.linalg.norm(right, axis=1, keepdims=True)
    right = np.where(length > 0, right / np.where(length > 0, length, 1.0), [1.0, 0.0])
    down = np.stack([-right[:, 1], right[:, 0]], -1)
    return np.where(extent > 0, extent, 1.0)[:, None, None] * np.stack([right, down], 1)


def read_joint_offsets(path: str | Path, config: LifterConfig | None = None) -> JointOffsets | None:
    """The offsets in a network's weights file; None in a file without them, or of another format.

    CheckpointError in one line for tensors that are missing, do not fit each other or are not
    numbers.
    """
    tensors = read_tensors(path, HEADER, NAMES, _shapes)
    return None if tensors is None else JointOffsets(tensors, config)


def _shapes(tensors: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """The shape that each tensor should have, given the lengths of the layers."""
    first, second = (len(tensors[f"{layer}.weight"]) for layer in LAYERS[:2])
    sides = {"first": (first, INPUTS), "second": (second, first), "out": (OUTPUTS, second)}
    return layer_shapes(sides)
