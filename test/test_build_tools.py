# SPDX-License-Identifier: Apache-2.0
"""Which ROS 2 and which Python `make` takes; nothing is built here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ("tools/build.sh", "tools/check_colcon.sh", "tools/check_pip_install.sh")


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def run(script, **variables):
    """The finished process of a script of tools/, without a sourced ROS."""
    inherited = {k: v for k, v in os.environ.items() if "PREFIX_PATH" not in k}
    env = {**inherited, "ROS_DISTRO": "", "TORCH": "torch", **variables}
    command = ["bash", str(ROOT / "tools" / script)]
    return subprocess.run(command, env=env, text=True, capture_output=True)


@pytest.fixture
def interpreter(tmp_path):
    """Function that makes a Python of a version, which runs a program but no module."""

    def make(version):
        path = tmp_path / "python"
        # sysconfig first: it looks for the headers of the real version
        code = f"import sys, sysconfig; sys.version_info = {version}; exec(sys.stdin.read())"
        path.write_text(f"#!/bin/sh\n[ \"$1\" = - ] || exit 1\nexec {sys.executable} -c '{code}'\n")
        path.chmod(0o755)
        return str(path)

    return make


@pytest.mark.parametrize("version", [(3, 10), (3, 14)])
def test_python_of_supported_distributions_is_accepted(interpreter, version):
    python = interpreter(version)
    done = run("check_system.sh", PYTHON=python)
    assert (done.returncode, done.stdout.strip()) == (0, python), done.stderr


@pytest.mark.parametrize("version", [(3, 9), (3, 15)])
def test_other_python_is_refused_with_the_range(interpreter, version):
    done = run("check_system.sh", PYTHON=interpreter(version))
    assert done.returncode == 1
    assert "missing: Python 3.10 to 3.14 with venv" in done.stderr


def test_range_of_python_is_the_same_everywhere():
    pattern = r'requires-python = ">=3\.(\d+),<3\.(\d+)"'
    first, end = re.search(pattern, read("pyproject.toml")).groups()
    text = f"3.{first} to 3.{int(end) - 1}"
    for name in ("README.md", "docs/start.md", "tools/check_system.sh"):
        assert set(re.findall(r"3\.\d+ to 3\.\d+", read(name))) == {text}, name


@pytest.mark.parametrize(
    ("built", "asked", "taken"),
    [("", "", "jazzy"), ("", "kilted", "kilted"), ("pip kilted", "", "kilted")],
)
def test_make_takes_jazzy_unless_told_otherwise(interpreter, tmp_path, built, asked, taken):
    venv = tmp_path / "venv"
    (venv / "stamps").mkdir(parents=True)
    if built:
        (venv / "stamps" / "ros").write_text(f"{built}\n")

    done = run("build.sh", VENV=str(venv), PIP_ROS=asked, PYTHON=interpreter((3, 12)))
    assert done.stdout.splitlines()[0] == f"ROS 2 {taken} from PyPI", done.stderr
    assert "step 'venv' failed" in done.stderr  # the interpreter makes none


def test_make_refuses_to_mix_two_distributions(interpreter, tmp_path):
    (tmp_path / "stamps").mkdir()
    (tmp_path / "stamps" / "ros").write_text("pip kilted\n")
    done = run("build.sh", VENV=str(tmp_path), PIP_ROS="jazzy", PYTHON=interpreter((3, 12)))
    assert done.returncode == 1
    assert "was built for 'pip kilted', now 'pip jazzy' is asked for" in done.stderr


def test_default_distribution_is_the_same_everywhere():
    assert {re.search(r"\{PIP_ROS:-(\w+)\}", read(name))[1] for name in SCRIPTS} == {"jazzy"}
    assert "ros: [jazzy, kilted]" in read(".github/workflows/ci.yml")
    assert "`make` installs ROS 2 Jazzy from PyPI" in read("docs/start.md")
