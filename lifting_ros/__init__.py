# SPDX-License-Identifier: Apache-2.0
"""Monocular 3D human pose with honest uncertainty, for ROS 2."""

from pkgutil import extend_path

# The message classes (lifting_ros.msg) are generated into the install prefix, so a package that is
# imported from the source tree has a second home there.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"
