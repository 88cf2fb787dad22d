# SPDX-License-Identifier: Apache-2.0
"""What CMake builds and installs: everything, the messages alone, and the entries of ctest.

With the ament_cmake of Lyrical, too, where LIFTING_AMENT_CMAKE names a checkout of its sources.
"""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from lifting_ros.requirements import FROM_PIP

ROOT = Path(__file__).resolve().parent.parent
AMENT = "LIFTING_AMENT_CMAKE"
NOT_FOR_SUBSCRIBERS = (*FROM_PIP, "cv2", "matplotlib", "rclpy", "scipy", "tqdm", "yaml")
"""Modules without which the messages have to be importable."""

SOURCES = [
    *("CMakeLists.txt", "package.xml", "CHANGELOG.rst", "LICENSE", "NOTICE"),
    *("config", "launch", "lifting_ros", "msg", "scripts", "test", "tools"),
]
"""What CMake reads."""

pytestmark = pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")


class Build:
    """A build folder of the package and what it installs, below a folder of the test's own."""

    def __init__(self, folder):
        # copied, because CMake refuses include folders of a .venv/ inside of the sources
        self.source = folder / "source"
        self.source.mkdir()
        for name in SOURCES:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, self.source / name)
        self.folder = folder / "build"
        self.prefix = folder / "install"
        self.overlay = folder / "overlay"  # before ROS' own prefixes

    def configure(self, *options):
        prefixes = [str(self.overlay), *os.environ["AMENT_PREFIX_PATH"].split(os.pathsep)]
        ninja = ["-G", "Ninja"] if shutil.which("ninja") else []
        self._run(
            *("cmake", "-S", self.source, "-B", self.folder, "-Wno-dev", *ninja),
            f"-DCMAKE_PREFIX_PATH={';'.join(prefixes)}",
            f"-DCMAKE_INSTALL_PREFIX={self.prefix}",
            f"-DCMAKE_PROJECT_INCLUDE={ROOT}/tools/pip_ros_fix.cmake",
            f"-DPython3_EXECUTABLE={sys.executable}",
            "-DPYTHON_INSTALL_DIR=python",
            *options,
        )

    def install(self):
        self._run("cmake", "--build", self.folder)
        self._run("cmake", "--install", self.folder)

    def python(self, code):
        """What a Python that imports from the installed files prints for `code`."""
        libraries = [str(self.prefix / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
        prefixes = [str(self.prefix), os.environ["AMENT_PREFIX_PATH"]]
        env = {
            **os.environ,
            "AMENT_PREFIX_PATH": os.pathsep.join(prefixes),
            "LD_LIBRARY_PATH": os.pathsep.join(libraries),
            "PYTHONPATH": str(self.prefix / "python"),
        }
        return self._run(sys.executable, "-c", code, env=env)

    def _run(self, *command, env=None):
        done = subprocess.run(
            list(map(str, command)),
            cwd="/",
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def tests(self):
        return re.findall(r"Test +#\d+: (\w+)", self._run("ctest", "--test-dir", self.folder, "-N"))


@pytest.fixture
def build(tmp_path):
    return Build(tmp_path)


@pytest.fixture
def lyrical(build):
    """A build with the ament_cmake_python of LIFTING_AMENT_CMAKE, and rosidl's call of it as in
    rosidl_generator_py 0.27.1, which waits for what is generated."""
    if not os.environ.get(AMENT):
        pytest.skip(f"no sources of ament_cmake at hand (set {AMENT})")

    sources = Path(os.environ[AMENT]) / "ament_cmake_python"
    version = re.search(r"<version>(.*)</version>", (sources / "package.xml").read_text())[1]
    ros = ros_prefix("ament_cmake_python")
    ament = build.overlay / "share" / "ament_cmake_python" / "cmake"
    shutil.copytree(ros / "share" / "ament_cmake_python", ament.parent)
    shutil.copytree(sources / "cmake", ament, dirs_exist_ok=True)
    shutil.copy(sources / "ament_cmake_python-extras.cmake", ament)
    (ament / "ament_cmake_pythonConfig-version.cmake").write_text(
        f'set(PACKAGE_VERSION "{version}")\nset(PACKAGE_VERSION_COMPATIBLE TRUE)\n'
    )

    origin = Path(find_spec("rosidl_generator_py").origin).resolve()
    modules = origin.parent.relative_to(ros.resolve())
    for folder in (modules, "lib/rosidl_generator_py", "share/rosidl_generator_py"):
        shutil.copytree(ros / folder, build.overlay / folder)
    cmake = build.overlay / "share" / "rosidl_generator_py" / "cmake"
    path = cmake / "rosidl_generator_py_generate_interfaces.cmake"
    call = 'PACKAGE_DIR "${_output_path}"'
    text = path.read_text()
    assert text.count(call) == 1
    path.write_text(
        text.replace(call, f"{call} DEPENDS ${{rosidl_generate_interfaces_TARGET}}__py")
    )
    return build


def ros_prefix(package):
    """The prefix that holds an ament package."""
    prefixes = [Path(p) for p in os.environ["AMENT_PREFIX_PATH"].split(os.pathsep)]
    return next(p for p in prefixes if (p / "share" / package / "package.xml").is_file())


def assert_complete(build):
    """Package, messages, executables and files of a whole installation."""
    printed = build.python(
        "import lifting_ros, lifting_ros.msg, lifting_ros.paths as paths\n"
        "print(lifting_ros.__version__, lifting_ros.__file__, lifting_ros.msg.__file__)\n"
        "print(lifting_ros.msg.Skeleton3DArray(), paths.share_file('config/lifting.yaml'))\n"
    )
    assert printed.count(str(build.prefix)) == 3, printed
    share = build.prefix / "share" / "lifting_ros"
    for name in ("LICENSE", "NOTICE", "launch/lifting.launch.py", "tools/requirements_pip.txt"):
        assert (share / name).is_file(), name
    programs = {path.name for path in (build.prefix / "lib" / "lifting_ros").iterdir()}
    assert programs == {path.name for path in (ROOT / "scripts").iterdir()}


@pytest.mark.slow
def test_everything_is_installed(build):
    build.configure("-DBUILD_TESTING=OFF")
    build.install()
    assert_complete(build)


@pytest.mark.slow
def test_package_is_not_empty_with_ament_of_lyrical(lyrical):
    lyrical.configure("-DBUILD_TESTING=OFF")
    lyrical.install()
    assert_complete(lyrical)


@pytest.mark.slow
def test_messages_alone_need_no_python_package(build):
    build.configure("-DLIFTING_ROS_MESSAGES_ONLY=ON")
    build.install()
    printed = build.python(
        f"import sys\nsys.modules.update(dict.fromkeys({NOT_FOR_SUBSCRIBERS}))\n"
        "import lifting_ros, lifting_ros.msg\n"
        "print(lifting_ros.__file__, len(lifting_ros.msg.Skeleton3D().joints))\n"
    )
    assert printed.split() == [f"{build.prefix}/python/lifting_ros/__init__.py", "17"]

    share = build.prefix / "share" / "lifting_ros"
    assert (share / "LICENSE").is_file() and (share / "NOTICE").is_file()
    left_out = [build.prefix / "lib" / "lifting_ros", share / "launch", share / "config"]
    assert not [path for path in left_out if path.exists()]
    assert not list((build.prefix / "python" / "lifting_ros").glob("*estimator*"))
    header = build.prefix / "include" / "lifting_ros" / "lifting_ros" / "msg"
    assert (header / "skeleton3_d_array.hpp").is_file()


def test_every_test_belongs_to_an_entry_of_ctest(build):
    pytest.importorskip("ament_cmake_test", reason="ament_cmake_pytest is not installed")
    build.configure("-DBUILD_TESTING=ON")
    files = {path.relative_to(ROOT / "test").parts[0] for path in ROOT.glob("test/**/test_*.py")}
    names = {re.sub(r"^test_|\.py$", "", name) for name in files}
    assert sorted(build.tests()) == sorted(f"test_{name}" for name in names)
