# SPDX-License-Identifier: Apache-2.0
"""Imports run one way, nothing imports in a circle, and rclpy lives in ros/ alone.

cli -> research -> runtime rooms, cli -> ros -> runtime rooms; ros and research never meet.
"""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "lifting_ros"
RUNTIME = {"geometry", "detection", "keypoints", "prior", "lifting", "tracking", "multiview"}
RUNTIME |= {"io", "viz"}
SHARED = ""
"""The modules beside the rooms: types, configuration, skeleton, estimator."""

ALLOWED = dict.fromkeys({*RUNTIME, SHARED}, {*RUNTIME, SHARED}) | {
    "research": {"research", *RUNTIME, SHARED},
    "ros": {"ros", *RUNTIME, SHARED},
    "cli": {"cli", "ros", "research", *RUNTIME, SHARED},
}
STANDARD = set(__import__("sys").stdlib_module_names)
ALGORITHM = {
    "geometry",
    "detection",
    "keypoints",
    "prior",
    "lifting",
    "tracking",
    "multiview",
    SHARED,
}
ALGORITHM_LIBRARIES = {"numba", "numpy", "torch", "scipy", "safetensors", "yaml"}
ALGORITHM_LIBRARIES |= {"openvino", "onnx", "onnxruntime", "onnxscript"}  # optional runtimes
IMAGE_LIBRARIES = {"keypoints": {"cv2"}}
"""What a room of the algorithm may import besides; not where every start would load it."""


def module_name(path: Path) -> str:
    """Dotted name of a file of the package."""
    parts = ("lifting_ros", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(p): p.read_text(encoding="utf-8") for p in PACKAGE.rglob("*.py")}


def room_of(module: str) -> str:
    """The room of a module of the package; SHARED for those beside the rooms."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ALLOWED else SHARED


def imports(source: str, everywhere: bool = True) -> list[str]:
    """Every module that a source imports; without `everywhere` only when it is imported itself."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    if not everywhere:
        inside = {
            id(child)
            for node in nodes
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or _is_type_checking(node)
            for child in ast.walk(node)
        }
        nodes = [node for node in nodes if id(node) not in inside]
    found = []
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name if name in SOURCES else node.module for name in names]
    return found


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def offences(room: str, source: str) -> list[str]:
    """Imports that a file of `room` must not have."""
    wrong = []
    for module in imports(source):
        top = module.split(".")[0]
        if top == "lifting_ros" and room_of(module) not in ALLOWED[room]:
            wrong.append(module)
        if top == "rclpy" and room != "ros":
            wrong.append(module)
        known = ALGORITHM_LIBRARIES | IMAGE_LIBRARIES.get(room, set()) | STANDARD
        if room in ALGORITHM and top not in known | {"lifting_ros"}:
            wrong.append(module)
    return wrong


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, none if there is no circle."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return path[path.index(module) :]
        if module in done:
            return []
        for other in sorted(graph.get(module, ())):
            if found := visit(other, [*path, module]):
                return found
        done.add(module)
        return []

    return next((found for module in sorted(graph) if (found := visit(module, []))), [])


def test_imports_run_one_way():
    found = {
        name: wrong
        for name, source in SOURCES.items()
        if (wrong := offences(room_of(name), source))
    }
    assert found == {}


def test_nothing_imports_in_a_circle():
    graph = {
        name: {
            other
            for other in imports(source, everywhere=False)
            if other in SOURCES and other != name
        }
        for name, source in SOURCES.items()
    }
    assert circle(graph) == []


def test_the_guard_can_fail():
    assert offences("keypoints", "import rclpy") == ["rclpy", "rclpy"]
    inner = "def f():\n    from lifting_ros.research.datasets.mocap import read_mocap"
    assert offences("lifting", inner) == ["lifting_ros.research.datasets.mocap"]
    assert offences("prior", "import cv2") == ["cv2"]
    assert offences("ros", "from lifting_ros.research.training import losses") == [
        "lifting_ros.research.training.losses"
    ]
    assert offences("research", "from lifting_ros.ros import signals") == [
        "lifting_ros.ros.signals"
    ]
    assert offences("ros", "import rclpy.node\nfrom lifting_ros import types") == []


def test_circles_are_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
