# SPDX-License-Identifier: Apache-2.0
"""Monocular 3D human pose with honest uncertainty, for ROS 2.

The public names are imported when they are first used, so that `import lifting_ros` is fast.
"""

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lifting_ros.estimator import KeypointLifter, PoseEstimator
    from lifting_ros.geometry.camera import Camera
    from lifting_ros.types import Person

# The message classes (lifting_ros.msg) are generated into the install prefix, so a package that is
# imported from the source tree has a second home there.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"

__all__ = ["Camera", "KeypointLifter", "Person", "PoseEstimator"]

_MODULES = {
    "Camera": "lifting_ros.geometry.camera",
    "KeypointLifter": "lifting_ros.estimator",
    "Person": "lifting_ros.types",
    "PoseEstimator": "lifting_ros.estimator",
}
"""Where the public names are defined."""


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
