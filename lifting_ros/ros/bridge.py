# SPDX-License-Identifier: Apache-2.0
"""cv_bridge and tf_transformations if they can be used, else equivalents from PyPI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sensor_msgs.msg import Image

if TYPE_CHECKING:
    from cv_bridge import CvBridge


def _usable_cv_bridge() -> CvBridge | None:
    """cv_bridge's converter; None where it is not installed or converts nothing.

    Its constructor needs neither the compiled half of the package nor one that fits this NumPy:
    only a conversion shows whether they are there.
    """
    pixel = Image(height=1, width=1, encoding="bgr8", step=3, data=[1, 2, 3])
    try:
        from cv_bridge import CvBridge

        converter = CvBridge()
        converter.imgmsg_to_cv2(pixel, "rgb8")
    except Exception:  # an import of a broken installation raises anything
        return None

    return converter


_cv_bridge = _usable_cv_bridge()
if _cv_bridge is None:
    from rosbags.image import message_to_cvimage

try:
    from tf_transformations import quaternion_from_matrix as _quaternion_from_matrix
except ImportError:
    _quaternion_from_matrix = None
    from transforms3d.quaternions import mat2quat

IMAGES_BY = "cv_bridge" if _cv_bridge else "rosbags-image"


def to_rgb(message: Image) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a valid Image: rows without padding, this machine's byte order, an
    encoding that both libraries know."""
    if _cv_bridge:
        return _cv_bridge.imgmsg_to_cv2(message, "rgb8")

    return message_to_cvimage(message, "rgb8")


def quaternion_xyzw(rotation: np.ndarray) -> tuple[float, float, float, float]:
    """Unit quaternion x, y, z, w of a rotation matrix (3, 3)."""
    if _quaternion_from_matrix:
        matrix = np.eye(4)
        matrix[:3, :3] = rotation
        x, y, z, w = _quaternion_from_matrix(matrix)
    else:
        w, x, y, z = mat2quat(rotation)

    return float(x), float(y), float(z), float(w)
