# SPDX-License-Identifier: Apache-2.0
"""The box of a person's joints, along the axes of the body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lifting_ros.geometry.body_frame import body_frame
from lifting_ros.types import Skeleton3D


@dataclass(frozen=True)
class BodyBox:
    """A box in the frame of the skeleton."""

    centre_m: np.ndarray
    """(3,) metres."""
    rotation: np.ndarray
    """(3, 3) axes of the box in columns: those of the body (REP-155), or of the frame where the
    body's are unknown."""
    size_m: np.ndarray
    """(3,) metres along those axes."""


def body_box(skeleton: Skeleton3D) -> BodyBox | None:
    """The smallest box along the body's axes that holds every joint; None where none is known.

    It is that of the joints: skin, hair and clothes are outside.
    """
    known = np.isfinite(skeleton.joints_m).all(-1)
    if not known.any():
        return None

    frame = body_frame(skeleton)
    rotation = np.eye(3) if frame is None else frame[:3, :3]

    # In the axes of the box
    joints = skeleton.joints_m[known] @ rotation
    low = joints.min(0)
    high = joints.max(0)
    centre = rotation @ ((low + high) / 2)
    return BodyBox(centre, rotation, high - low)
