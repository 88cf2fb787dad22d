# SPDX-License-Identifier: Apache-2.0
"""Runs at every start of the virtual environment's Python, from a .pth file: ROS 2 works without
sourcing anything.

`make build` copies this file into the environment as `_lifting_ros_env.py`, beside
`_lifting_ros_paths.py`, which
records where things were at that moment. Three things are done, each only where it is not done
already:
- AMENT_PREFIX_PATH, LD_LIBRARY_PATH and the module path lead to the ROS 2 that the package was
built against. The
  dynamic linker reads LD_LIBRARY_PATH only at the start of a process, so Python is started over
  once when it changed.
  (The ROS wheels do that too, but a child of another environment inherits their mark of having done
  it.)
- the checkout comes before the installed packages, so that edits of the sources are live;
- the Fast DDS profile of this package is the default one: with Fast DDS' own, raw images are lost.
"""

import glob
import os
import sys

import _lifting_ros_paths as paths


def of_another_environment(folder):
    """True where `folder` is, or lies directly in, a virtual environment that is not this one."""
    outer = folder.split("/lib/python")[0]
    roots = {folder, os.path.dirname(folder), outer}

    return (
        not folder.startswith(sys.prefix + "/")
        and folder != sys.prefix
        and any(os.path.exists(os.path.join(root, "pyvenv.cfg")) for root in roots)
    )


def append(variable, wanted):
    """Puts `wanted` folders at the end of the path list `variable`; True where that changed it."""
    before = [p for p in os.environ.get(variable, "").split(os.pathsep) if p]
    kept = [p for p in before if not of_another_environment(p)]
    after = kept + [p for p in wanted if p not in kept]
    os.environ[variable] = os.pathsep.join(after)

    return after != before


def set_module_path():
    """Sources and the Python packages of a ROS installation go right before this environment's
    packages."""
    here = os.path.dirname(os.path.abspath(__file__))
    at = sys.path.index(here) if here in sys.path else len(sys.path)
    sys.path[at:at] = [p for p in [paths.SOURCE, *paths.MODULES] if p and p not in sys.path]


def main():
    append("AMENT_PREFIX_PATH", paths.PREFIXES)
    if paths.FASTDDS_PROFILE and os.path.exists(paths.FASTDDS_PROFILE):
        os.environ.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", paths.FASTDDS_PROFILE)

    bundled = glob.glob(os.path.join(os.path.dirname(os.path.abspath(__file__)), "ros_*.libs"))
    os.environ["_ROS_WHEELS_BOOTSTRAP_COMPLETE"] = "1"
    if append("LD_LIBRARY_PATH", paths.LIBRARIES + sorted(bundled)):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ)

    set_module_path()


main()
