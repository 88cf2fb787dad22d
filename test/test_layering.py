# SPDX-License-Identifier: Apache-2.0
"""Imports run one way, as ALLOWED says, and rclpy lives in ros/ alone."""
import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "lifting_ros"
ALLOWED = {
    "core": {"core"},
    "data": {"data", "core"},
    "research": {"research", "core"},
    "training": {"training", "research", "data", "core"},
    "evaluation": {"evaluation", "data", "core"},
    "ros": {"ros", "core"},
    "cli": {"cli", "ros", "training", "research", "evaluation", "data", "core"},
}
CORE_LIBRARIES = {"numba", "numpy", "torch", "scipy", "safetensors", "yaml"}
STANDARD = set(__import__("sys").stdlib_module_names)


def imports(source: str) -> list[str]:
    """Every module that a source imports, at any depth of it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found += [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "lifting_ros" else [node.module]
    return found


def offences(room: str, source: str) -> list[str]:
    """Imports that a file of `room` must not have."""
    wrong = []
    for module in imports(source):
        parts = module.split(".")
        if parts[0] == "lifting_ros" and len(parts) > 1 and parts[1] in ALLOWED and parts[1] not in ALLOWED[room]:
            wrong.append(module)
        if parts[0] == "rclpy" and room != "ros":
            wrong.append(module)
        if room == "core" and parts[0] not in CORE_LIBRARIES | STANDARD | {"lifting_ros"}:
            wrong.append(module)
    return wrong


def test_imports_run_one_way():
    found = {
        str(path.relative_to(PACKAGE)): wrong
        for room in ALLOWED
        for path in sorted((PACKAGE / room).rglob("*.py"))
        if (wrong := offences(room, path.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_the_guard_can_fail():
    assert offences("core", "import rclpy") == ["rclpy", "rclpy"]
    assert offences("core", "def f():\n    from lifting_ros.data.mocap import read_mocap") == ["lifting_ros.data.mocap"]
    assert offences("core", "import cv2") == ["cv2"]
    assert offences("ros", "from lifting_ros.training import losses") == ["lifting_ros.training"]
    assert offences("core", "from lifting_ros.research import graph_model") == ["lifting_ros.research"]
    assert offences("research", "from lifting_ros.data.pack import Pack") == ["lifting_ros.data.pack"]
    assert offences("training", "from lifting_ros.research.graph_model import read_trunk") == []
    assert offences("ros", "import rclpy.node\nfrom lifting_ros.core import poses") == []


def test_no_file_is_too_long_to_hold_in_the_head():
    long = {str(p.relative_to(PACKAGE)): n for p in PACKAGE.rglob("*.py") if (n := len(p.read_text(encoding="utf-8").splitlines())) > 300}
    assert long == {}
