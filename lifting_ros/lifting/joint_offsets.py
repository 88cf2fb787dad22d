# SPDX-License-Identifier: Apache-2.0
"""From keypoints to joints: where the joints of the prior are in the image.

A network learns keypoints as people label them in photographs: an ankle above the foot, a hip on
the trousers. The joints of the prior are those of motion capture, the centres of rotation. A small
network reads the keypoints of a person (`encoding`). It predicts the offset of each joint from its
keypoint, and a factor on the standard deviation of the keypoint: large where the keypoint
contradicts the others. The lifter reads the joints. The published keypoints do not move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lifting_ros.geometry.camera import Camera
from lifting_ros.lifting.dense import layer_shapes, layers_of, linear, read_tensors
from lifting_ros.lifting.encoding import INPUTS, encode_somebody, encode_views, views_of
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
    """Predicts the joints in the image from keypoints. Thread-safe."""

    def __init__(self, tensors: Mapping[str, np.ndarray], config: LifterConfig | None = None):
        """tensors: by NAMES, float32; config: the noise of keypoints without a covariance."""
        self._layers = layers_of(tensors, LAYERS)
        self._config = config or LifterConfig()

    def warm_up(self) -> None:
        """Compile in advance what the first call would wait for."""
        self.of_encoded(encode_somebody())

    def joints_of(
        self,
        seen: Keypoints,
        camera: Camera | None,
        up: Sequence[float] | np.ndarray,
        which: np.ndarray,
    ) -> Keypoints:
        """The joints in the image, with their covariances.

        camera, up: as in `Lifter.lift`; which: (N,) bool, the persons whose keypoints are moved.
        Those of the others stay, and those of persons who cannot be lifted.
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
        """Offsets (N, 14, 2), and log factors (N, 14) on the standard deviations; encoded: (N, 44)
        keypoints.

        Offsets are in the view frame, x to the right and y down, divided by the extent of the
        keypoints in use: their root mean square distance from their mean.
        """
        first = np.maximum(self._layer("first", encoded), 0)
        second = np.maximum(self._layer("second", first), 0)
        out = self._layer("out", second).astype(np.float64)
        x, y, log_factor = np.split(out, 3, axis=1)
        return np.stack([x, y], -1), log_factor

    def _layer(self, name: str, values: np.ndarray) -> np.ndarray:
        return linear(values, self._layers[name])


def offsets_to(joints_px: np.ndarray, views: Views, seen: Keypoints) -> np.ndarray:
    """The offsets (N, 14, 2) that `JointOffsets.of_encoded` should return for joints at joints_px
    (N, 14, 2)."""
    return (joints_px - seen.keypoints_px) @ np.linalg.inv(axes_px(views, seen))


def axes_px(views: Views, seen: Keypoints) -> np.ndarray:
    """The axes x and y of the view frames in the image, (N, 2, 2), one per row, in pixels.

    They are perpendicular. Their length is the extent of the keypoints in use.
    """
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
