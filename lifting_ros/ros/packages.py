# SPDX-License-Identifier: Apache-2.0
"""ROS packages that are optional: what needs one says so before anything is started."""

from ament_index_python.packages import PackageNotFoundError, get_package_prefix

from lifting_ros.errors import LiftingError


def require_package(package: str, argument: str) -> None:
    """LiftingError, with the command that installs it, where `package` is not installed.

    `argument` is what the user typed and needs it for, such as `rviz:=true`.
    """
    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        debian = package.replace("_", "-")
        raise LiftingError(
            f"{argument}: the package {package} is not installed. "
            f"Type: sudo apt install ros-$ROS_DISTRO-{debian}"
        ) from None
