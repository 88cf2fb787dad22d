# SPDX-License-Identifier: Apache-2.0
"""The YAML file with the places of several cameras, in place of TF.

    frame: room
    cameras:
      front_optical_frame: {translation: [2.0, 0.0, 1.8], rotation: [0.5, 0.5, -0.5, -0.5]}

`frame` is the common frame. Each camera is named after the frame_id of its images; translation (m)
and rotation (quaternion x, y, z, w) are the pose of its optical frame (x right, y down, z forward)
in the common frame, as on TF. A camera may also have `clock_s`, by which its stamps are later than
those of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.spatial.transform import Rotation

from lifting_ros.config import ConfigError, read_yaml
from lifting_ros.geometry.transform_tree import TransformTree
from lifting_ros.io.atomic import replacing


def read_extrinsics(path: str | Path) -> tuple[str, TransformTree]:
    """The common frame, and the cameras' places in it; ConfigError in one line that names the
    key."""
    values = read_yaml(path)
    if not isinstance(values, Mapping) or not isinstance(values.get("cameras"), Mapping):
        raise ConfigError(f"{path}: cameras: expected a pose for each camera's frame_id")

    frame = values.get("frame")
    if not isinstance(frame, str) or not frame:
        raise ConfigError(f"{path}: frame: expected the name of the common frame, got {frame!r}")

    tree = TransformTree()
    for name, pose in values["cameras"].items():
        where = f"{path}: cameras.{name}"
        translation = _numbers(pose, "translation", 3, where)
        rotation = _numbers(pose, "rotation", 4, where)
        try:
            tree.add(frame, str(name), 0, translation, rotation, static=True)
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from None
    return frame, tree


def read_clocks(path: str | Path) -> dict[str, float]:
    """Seconds by which the stamps of cameras are later than those of the others, of those that the
    file gives; errors as in `read_extrinsics`."""
    read_extrinsics(path)
    clocks = {}
    for name, pose in read_yaml(path)["cameras"].items():
        value = pose.get("clock_s", 0.0)
        if not _is_number(value) or not np.isfinite(value):
            raise ConfigError(f"{path}: cameras.{name}.clock_s: expected seconds, got {value!r}")
        clocks[str(name)] = float(value)

    return clocks


def write_extrinsics(
    path: str | Path,
    frame: str,
    poses: Mapping[str, np.ndarray],
    clocks_s: Mapping[str, float] | None = None,
) -> None:
    """Write what `read_extrinsics` and `read_clocks` read, whole or not at all.

    poses: (4, 4) from each optical frame to `frame`, which has to be none of them. clocks_s: of the
    same cameras, by how much later their stamps are.
    """
    cameras: dict[str, dict[str, Any]] = {}
    for name, pose in poses.items():
        translation, rotation = translation_and_rotation(pose)
        cameras[name] = {"translation": translation, "rotation": rotation}
        if clocks_s is not None:
            cameras[name]["clock_s"] = round(float(clocks_s[name]), 4)

    values = {"frame": frame, "cameras": cameras}
    text = yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=100)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def translation_and_rotation(pose: np.ndarray) -> tuple[list[float], list[float]]:
    """Translation (m) and quaternion (x, y, z, w) of a pose (4, 4), to a micrometre or so."""
    quaternion = Rotation.from_matrix(pose[:3, :3]).as_quat(canonical=True)
    translation = [round(float(value), 6) for value in pose[:3, 3]]
    return translation, [round(float(value), 8) for value in quaternion]


def _numbers(pose: Any, key: str, count: int, where: str) -> list[float]:
    values = pose.get(key) if isinstance(pose, Mapping) else None
    if not isinstance(values, list) or len(values) != count or not all(map(_is_number, values)):
        raise ConfigError(f"{where}.{key}: expected {count} numbers, got {values!r}")
    return [float(value) for value in values]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
