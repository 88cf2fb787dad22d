# SPDX-License-Identifier: Apache-2.0
"""The SROS 2 policy gives the node what it uses and no more; the package runs nothing that comes
in."""

from __future__ import annotations

import ast
import io
import pickle
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch
from lifting_ros.msg import ForeignKeypoints2DArray, Skeleton2DArray
from node_support import Stage
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from lifting_ros.detection.detector import DetectorConfig
from lifting_ros.detection.multipose_detector import load_detector
from lifting_ros.estimator import EstimatorConfig, PoseEstimator
from lifting_ros.ros.standard_messages import STANDARD_TOPICS, standard_topics

ROOT = Path(__file__).parents[2]
POLICY = ROOT / "config" / "sros2_policy.xml"
PUBLISHERS = {
    "image": Image,
    "image/compressed": CompressedImage,
    "camera_info": CameraInfo,
    "depth": Image,
    "keypoints": Skeleton2DArray,
    "foreign_keypoints": ForeignKeypoints2DArray,
}
WAYS = (
    {
        "tf__target_frame": "map",
        "tf__publish": True,
        "depth__enabled": True,
        "use_sim_time": True,
    },
    {"input": "keypoints"},
    {"image_transport": "compressed"},
)


def allowed(rule: str, verb: str, element: str) -> set[str]:
    (profile,) = ElementTree.parse(POLICY).iter("profile")
    names = [
        e.text
        for group in profile.iter(rule)
        if group.get(verb) == "ALLOW"
        for e in group.iter(element)
    ]
    assert len(names) == len(set(names))
    return {
        name.replace("~", "/lifting") if name.startswith("~") else f"/{name.lstrip('/')}"
        for name in names
    }


def used(ways) -> dict[str, set[str]]:
    """Names of what the node publishes, subscribes to, serves and calls in any of the ways to run
    it."""
    out = {kind: set() for kind in ("publisher", "subscriber", "service", "client")}
    for overrides in ways:
        stage = Stage(lazy=False, **overrides)
        try:
            stage.node.start()
            for topic, kind in PUBLISHERS.items():
                stage.publisher(kind, topic)
            stage.spin(0.5)
            for kind, names in out.items():
                names |= {
                    name
                    for name, _ in getattr(stage.node, f"get_{kind}_names_and_types_by_node")(
                        "lifting", "/"
                    )
                }
        finally:
            stage.close()
    return out


def test_the_policy_is_exactly_what_the_node_uses():
    names = used(WAYS)
    assert allowed("topics", "subscribe", "topic") == names["subscriber"]
    missing = {
        topic.replace("~", "/lifting") for topic in set(STANDARD_TOPICS) - set(standard_topics())
    }
    assert allowed("topics", "publish", "topic") == names["publisher"] | missing
    assert allowed("services", "reply", "service") == names["service"] and not names["client"]


FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
UNPICKLER = "pickled_arrays.py"
"""Unpickles by an allow-list of NumPy's names alone; its own tests hold it to that."""

FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"}


def forbidden(source: str) -> list[str]:
    """What a module does that could run what comes in."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in FORBIDDEN_CALLS
        ):
            found.append(node.func.id)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            found += sorted(FORBIDDEN_MODULES & {module.split(".")[0] for module in modules})
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            call, given = (
                ast.unparse(node.func),
                {k.arg: ast.unparse(k.value) for k in node.keywords},
            )
            unsafe = {"torch.load", "yaml.load", "yaml.unsafe_load", "os.system", "os.popen"}
            if (
                call in unsafe
                or given.get("shell") == "True"
                or given.get("allow_pickle") == "True"
            ):
                found.append(call)
            if call == "np.load" and given.get("allow_pickle") != "False":
                found.append("np.load")
    return found


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "lifting_ros").rglob("*.py")),
    ids=lambda p: p.relative_to(ROOT).as_posix(),
)
def test_nothing_that_comes_in_is_run(path):
    known = ["pickle"] if path.name == UNPICKLER else []
    assert forbidden(path.read_text(encoding="utf-8")) == known


@pytest.mark.parametrize(
    "line",
    [
        "eval(text)",
        "import pickle",
        "from pickle import loads",
        "torch.load(f)",
        "np.load(f)",
        "subprocess.run(c, shell=True)",
    ],
)
def test_the_guard_can_fail(line):
    assert forbidden(line)


class Bomb:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path):
        self._path = path

    def __reduce__(self):
        return Path.touch, (self._path,)


LOADERS = {
    "network.safetensors": lambda path: PoseEstimator(
        EstimatorConfig(weights=str(path), device="cpu")
    ),
    "detector.safetensors": lambda path: load_detector(path, DetectorConfig()),
    "prior.npz": lambda path: PoseEstimator(EstimatorConfig(prior=str(path), device="cpu")),
}


@pytest.mark.parametrize("name", LOADERS)
def test_a_file_of_weights_cannot_run_code(tmp_path, name):
    path, left = tmp_path / name, tmp_path / "left"
    bombs = {"plain": pickle.dumps(Bomb(left))}
    for kind, write in (
        ("torch", torch.save),
        ("numpy", lambda bomb, file: np.savez(file, format=np.array(bomb, object))),
    ):
        write(Bomb(left), stream := io.BytesIO())
        bombs[kind] = stream.getvalue()
    pickle.loads(bombs["plain"])
    assert left.exists()  # the bomb works
    for content in bombs.values():
        left.unlink(missing_ok=True)
        path.write_bytes(content)
        with pytest.raises(ValueError) as refused:
            LOADERS[name](path)
        assert (
            not left.exists() and str(path) in str(refused.value) and "\n" not in str(refused.value)
        )
