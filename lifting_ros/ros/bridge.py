# SPDX-License-Identifier: Apache-2.0
"""cv_bridge and tf_transformations if installed, else equivalents from PyPI."""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import Image

try:
    from cv_bridge import CvBridge

    _cv_bridge = CvBridge()
except ImportError:
    _cv_bridge = None
    from rosbags.image import message_to_cvimage

try:
    from tf_transformations import quaternion_from_matrix as _quaternion_from_matrix
except ImportError:
    _quaternion_from_matrix = None
    from transforms3d.quaternions import mat2quat

IMAGES_BY = "cv_bridge" if _cv_bridge else "rosbags-image"
QUATERNIONS_BY = "tf_transformations" if _quaternion_from_matrix else "transforms3d"


def to_rgb(message: Image) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a valid Image: rows without padding, an encoding that both libraries
    know."""
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
