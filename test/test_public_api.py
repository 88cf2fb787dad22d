# SPDX-License-Identifier: Apache-2.0
"""The public names: imported lazily, typed, and without torch until something is made."""

import subprocess
import sys
from pathlib import Path

import pytest

import lifting_ros

NAMES = ("Camera", "KeypointLifter", "Person", "PoseEstimator")


MOST_MODULES = 25
"""Modules of this package that its main class is read with; the others are imported when used."""


def imported_by(statement: str) -> set[str]:
    """Modules that a fresh interpreter has imported after `statement`."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=1800
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import lifting_ros",
        "from lifting_ros import Camera, Person",
        "from lifting_ros import KeypointLifter, PoseEstimator",
        "import lifting_ros.backends, lifting_ros.device, lifting_ros.protocols",
    ],
)
def test_import_does_not_import_torch(statement):
    assert "torch" not in imported_by(statement)


def test_guard_against_torch_can_fail():
    assert "torch" in imported_by("import lifting_ros.keypoints.inference")


def test_estimator_imports_few_modules():
    modules = imported_by("from lifting_ros import PoseEstimator")
    own = {name for name in modules if name.split(".")[0] == "lifting_ros"}
    assert "lifting_ros.estimator" in own
    assert len(own) <= MOST_MODULES


def test_public_names_are_listed_and_found():
    assert sorted(lifting_ros.__all__) == sorted(NAMES)
    assert set(NAMES) <= set(dir(lifting_ros))
    for name in NAMES:
        assert getattr(lifting_ros, name).__name__ == name


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="lifting_ros.*no attribute 'Nobody'"):
        lifting_ros.Nobody  # noqa: B018 - the access is what is tested


def test_package_is_marked_as_typed():
    assert (Path(lifting_ros.__file__).parent / "py.typed").is_file()
    cmake = (Path(__file__).parents[1] / "CMakeLists.txt").read_text(encoding="utf-8")
    installed = cmake[cmake.index("install(DIRECTORY lifting_ros/") :].split(")", 1)[0]
    assert "FILES_MATCHING" not in installed
    assert "py.typed" not in installed  # nothing excludes it
