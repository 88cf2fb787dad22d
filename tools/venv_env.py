# SPDX-License-Identifier: Apache-2.0
"""Runs at each start of the virtual environment's Python, from a .pth file, so that ROS 2 works
without sourcing a setup file.

`make build` copies this file into the environment as `_lifting_ros_env.py`, beside
`_lifting_ros_paths.py`, which records where things were at that moment. Three things are done, each
only if it is not done yet:

- AMENT_PREFIX_PATH, LD_LIBRARY_PATH and the module path lead to the ROS 2 that the package was
  built against. The dynamic linker reads LD_LIBRARY_PATH only when a process starts, so Python
  starts again once if it changed. (The ROS wheels do that too, but a child of another environment
  inherits their mark of having done it.)
- The checkout comes before the installed packages, so that changes of the sources take effect.
- The Fast DDS profile of this package is the default one; with Fast DDS' own, raw images are lost.
"""

import glob
import os
import sys

import _lifting_ros_paths as paths

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""Read by Fast DDS 2 and by Fast DDS 3."""

HERE = os.path.dirname(os.path.abspath(__file__))


def of_another_environment(folder):
    """Whether `folder` is, or lies directly in, a virtual environment that is not this one."""
    if folder == sys.prefix or folder.startswith(sys.prefix + "/"):
        return False

    outer = folder.split("/lib/python")[0]
    for root in (folder, os.path.dirname(folder), outer):
        if os.path.exists(os.path.join(root, "pyvenv.cfg")):
            return True
    return False


def append(
    variable,
    wanted,
):
    """Put `wanted` folders at the end of the path list `variable`; return whether it changed."""
    value = os.environ.get(variable, "")
    before = [folder for folder in value.split(os.pathsep) if folder]
    kept = [folder for folder in before if not of_another_environment(folder)]
    new = [folder for folder in wanted if folder not in kept]
    after = kept + new
    os.environ[variable] = os.pathsep.join(after)
    return after != before


def set_module_path():
    """Put the sources and the Python packages of a ROS installation before the packages of this
    environment."""
    index = sys.path.index(HERE) if HERE in sys.path else len(sys.path)
    wanted = [paths.SOURCE, *paths.MODULES]
    new = [folder for folder in wanted if folder and folder not in sys.path]
    sys.path[index:index] = new


def main():
    append("AMENT_PREFIX_PATH", paths.PREFIXES)
    if paths.FASTDDS_PROFILE and os.path.exists(paths.FASTDDS_PROFILE):
        for variable in PROFILE_VARIABLES:
            os.environ.setdefault(variable, paths.FASTDDS_PROFILE)

    bundled = glob.glob(os.path.join(HERE, "ros_*.libs"))
    os.environ["_ROS_WHEELS_BOOTSTRAP_COMPLETE"] = "1"
    if append("LD_LIBRARY_PATH", paths.LIBRARIES + sorted(bundled)):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ)

    set_module_path()


main()
