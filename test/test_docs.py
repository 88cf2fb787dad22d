# SPDX-License-Identifier: Apache-2.0
"""What the documentation tells people to type exists: commands, launch arguments, parameters,
topics, files. Commands on files and Python examples are run."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import shlex
import shutil
import sys
from pathlib import Path

import bags
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "test" / "ros"))
import conftest_ros  # noqa: E402, F401

PAGES = sorted((ROOT / "docs").glob("*.md"))
"""Pages that Sphinx builds."""

ALL_PAGES = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]

RUN = ("bag", "poses", "estimate", "detect", "lift")
"""Verbs whose commands are run, in the order of the page."""

KNOWN_COMMANDS = {
    "cd",
    "git",
    "source",
    ".",
    "export",
    "pip",
    "pre-commit",
    "npm",
    "tar",
    "rviz2",
    "rosdep",
    "cmake",
    "colcon",
    "docker",
    "sudo apt",
    "python3 -m",
    "make",
    "torchrun",
    "ros2 param",
    "ros2 lifecycle",
    "ros2 topic",
    "ros2 node",
    "ros2 service",
    "ros2 bag",
    "ros2 run",
    "ros2 launch",
    "python",
    ".venv/bin/python",
    "lifting",
}
"""First words of commands; those of `ros2` with the second word."""

OF_ROS = {
    "param": {"dump", "describe", "set"},
    "lifecycle": {"set", "get"},
    "topic": {"echo", "hz", "info"},
    "node": {"info"},
    "service": {"call"},
    "bag": {"record", "play"},
}
FOREIGN = ("camera_calibration", "robot_state_publisher", "tf2_ros")
"""Packages that are not ours, in `ros2 run`."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)


def commands() -> list[tuple[str, str]]:
    """Page and command, in order; a line with && holds several."""
    found = []
    for page in ALL_PAGES:
        lines = "".join(blocks(page, "bash")).splitlines()
        parts = [part for line in lines for part in line.split(" && ")]
        found += [(page.name, part.partition(" # ")[0]) for part in parts if part]

    return [(page, line) for page, line in found if not line.startswith("#")]


COMMANDS = commands()
by_command = pytest.mark.parametrize(
    ("page", "line"), COMMANDS, ids=[f"{page}: {line}" for page, line in COMMANDS]
)


def words_of(line: str) -> list[str]:
    return shlex.split(line)


def arguments_of(file: str) -> dict[str, list[str] | None]:
    """Arguments of a launch file and their choices, read without ROS' launch; demo.launch.py
    includes lifting.launch.py."""
    tree = ast.parse((ROOT / "launch" / file).read_text(encoding="utf-8"))
    constants = {n.targets[0].id: n.value for n in tree.body if isinstance(n, ast.Assign)}
    out = {} if file == "lifting.launch.py" else arguments_of("lifting.launch.py")
    for call in (
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "DeclareLaunchArgument"
    ):
        choices = next((k.value for k in call.keywords if k.arg == "choices"), None)
        choices = constants[choices.id] if isinstance(choices, ast.Name) else choices
        out[call.args[0].value] = ast.literal_eval(choices) if choices is not None else None
    return out


def parser_of(verb: str) -> tuple[argparse.ArgumentParser, object]:
    from lifting_ros.cli.main import VERBS

    assert verb in VERBS, f"no verb {verb}"
    module = importlib.import_module(f"lifting_ros.cli.{verb.replace('-', '_')}")
    parser = argparse.ArgumentParser(verb)
    module.add_arguments(parser)
    return parser, module


def parameters(of: str) -> dict:
    from lifting_ros.ros.declaration import leaves
    from lifting_ros.ros.fusion_parameters import FusionNodeConfig
    from lifting_ros.ros.parameters import NodeConfig
    from lifting_ros.ros.replay import ReplayConfig

    others = {
        "replay": ReplayConfig,
        "lifting_replay": ReplayConfig,
        "lifting_fusion": FusionNodeConfig,
    }
    return {leaf.name: leaf for leaf in leaves(others.get(of, NodeConfig)())}


def our_topics() -> set[str]:
    from lifting_ros.ros.outputs import TOPICS
    from lifting_ros.ros.standard_messages import STANDARD_TOPICS

    return {f"/lifting/{topic[2:]}" for topic in (*TOPICS, *STANDARD_TOPICS)} | {
        "/lifting/info",
        "/lifting/enable",
        "/diagnostics",
    }


@by_command
def test_command_is_of_a_known_kind(page, line):
    words = words_of(line)
    assert words[0] in KNOWN_COMMANDS or " ".join(words[:2]) in KNOWN_COMMANDS


@pytest.mark.parametrize(
    "line",
    [
        line
        for _, line in COMMANDS
        if words_of(line)[0] == "lifting" or "lifting_ros.cli.main" in line
    ],
)
def test_verb_takes_these_arguments(line):
    words = words_of(line.partition("lifting_ros.cli.main ")[2] or line.partition("lifting ")[2])
    parser, _ = parser_of(words[0])
    if "--help" not in words:
        parser.parse_args(words[1:])


@pytest.mark.parametrize("line", [line for _, line in COMMANDS if line.startswith("ros2 launch")])
def test_launch_file_takes_these_arguments(line):
    package, file, *given = words_of(line)[2:]
    declared = arguments_of(file)
    assert package == "lifting_ros"
    for name, _, value in (argument.partition(":=") for argument in given if argument != "-s"):
        assert name in declared, f"{file} has no argument {name}"
        assert value and value in (declared[name] or [value])


@pytest.mark.parametrize(
    "line",
    [
        line
        for _, line in COMMANDS
        if line.startswith(("ros2 run", "python -m lifting_ros.ros", ". "))
    ],
)
def test_node_is_there_and_takes_these_parameters(line):
    words = words_of(line)
    if words[0] == "." or words[2] in FOREIGN:
        return
    name = words[3] if words[0] == "ros2" else words[2].rpartition(".")[2]
    assert (
        (ROOT / "scripts" / name).is_file()
        if words[0] == "ros2"
        else importlib.util.find_spec(words[2])
    )
    given = [words[k + 1].partition(":=")[0] for k, word in enumerate(words) if word == "-p"]
    assert set(given) <= set(parameters(name))


@pytest.mark.parametrize(
    ("page", "line"),
    [(p, line) for p, line in COMMANDS if line.startswith("ros2 ") and words_of(line)[1] in OF_ROS],
)
def test_node_answers_to_this(page, line):
    _, tool, verb, *rest = words_of(line)
    assert verb in OF_ROS[tool]
    ours = {word for word in rest if word.startswith("/lifting/")}
    assert ours <= our_topics()
    if tool == "param" and verb != "dump":
        leaf, before = (
            parameters("lifting_node")[rest[1]],
            [other for on, other in COMMANDS[: COMMANDS.index((page, line))] if on == page],
        )
        assert verb != "set" or leaf.live or "ros2 lifecycle set /lifting cleanup" in before
    if tool == "lifecycle" and verb == "set":
        assert rest[0] == "/lifting" and rest[1] in (
            "configure",
            "activate",
            "deactivate",
            "cleanup",
            "shutdown",
        )


@pytest.mark.parametrize(
    "line", [line for _, line in COMMANDS if line.startswith(("make", "python bench"))]
)
def test_target_or_script_is_there(line):
    words = words_of(line)
    if words[0] == "python":
        options = [word for word in words[2:] if word.startswith("--") and word != "--help"]
        text = (ROOT / words[1]).read_text(encoding="utf-8")
        assert all(f'"{option}"' in text for option in options)
        return
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    target, *variables = words[1:]
    assert re.search(rf"^{target}:", makefile, re.M)
    assert all(
        re.search(rf"^{variable.partition('=')[0]} \?=", makefile, re.M) for variable in variables
    )


@pytest.mark.parametrize("page", ["bags.md", "start.md"])
def test_commands_on_files_run(page, tmp_path, monkeypatch, capsys):
    from lifting_ros.cli.main import main

    monkeypatch.chdir(tmp_path)
    shutil.copy(bags.CALIBRATION, "camera.yaml")
    pictures = bags.frames([80, 81])
    write_files(pictures)
    done = 0
    for words in (words_of(line) for name, line in COMMANDS if name == page):
        if words[0] == "lifting" and words[1] in RUN and "--help" not in words:
            out = Path(words[words.index("--out") + 1])
            assert main(words[1:]) == 0, capsys.readouterr().err
            assert out.stat().st_size
            done += 1
    assert done


def write_image(path: Path, pixels) -> None:
    import cv2

    cv2.imwrite(str(path), pixels[..., ::-1])


def write_files(pictures) -> None:
    """recording, walk.mp4 and people.png in this folder."""
    import cv2

    messages = [("/camera/camera_info", bags.START_NS, bags.camera_info(bags.START_NS))]
    writer = cv2.VideoWriter(
        "walk.mp4", cv2.VideoWriter_fourcc(*"mp4v"), 10.0, pictures[0].shape[1::-1]
    )
    for k, pixels in enumerate(pictures):
        stamp = bags.START_NS + k * bags.PERIOD_NS
        messages.append(("/camera/image_raw", stamp + 1, bags.image(pixels, stamp)))
        writer.write(pixels[..., ::-1])
    writer.release()
    write_image(Path("people.png"), pictures[0])
    bags.write_bag(Path("recording"), messages)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "yaml")], ids=lambda page: page.name
)
def test_parameter_files_are_good(page, tmp_path):
    from lifting_ros.ros.parameter_file import read_parameters
    from lifting_ros.ros.parameters import NodeConfig

    for block in blocks(page, "yaml"):
        (tmp_path / "mine.yaml").write_text(block, encoding="utf-8")
        read_parameters(tmp_path / "mine.yaml", "/lifting", NodeConfig)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name
)
def test_python_runs(page, capsys, tmp_path):
    import numpy as np
    from label_support import make_labels
    from lifting_ros.msg import Joint3D, Skeleton3D, Skeleton3DArray
    from sensor_msgs.msg import JointState

    from lifting_ros import Camera, PoseEstimator
    from lifting_ros.research.labels.labels import write_labels
    from lifting_ros.types import LiftedPoses

    person = Skeleton3D(id=3, root_covariance=np.eye(3).ravel())
    person.joints[16].status, person.joints[16].covariance = Joint3D.OBSERVED, 3 * np.eye(3).ravel()
    write_image(tmp_path / "people.png", bags.frames([80])[0])
    for block in blocks(page, "python"):
        made = {"__name__": "docs"}
        if (
            "generate_launch_description" in block
            and importlib.util.find_spec("launch_ros") is None
        ):
            continue
        exec(block, made)
        if "on_skeletons" in made:
            made["on_skeletons"](Skeleton3DArray(skeletons=[person]))
            assert capsys.readouterr().out == "3 [0. 0. 0.] [2. 2. 2.]\n"
        elif "surest" in made:
            write_labels(tmp_path / "labels", make_labels())
            assert [len(part) for part in made["surest"](tmp_path / "labels")] == [2, 2]
        elif "print_people" in made:
            made["print_people"](tmp_path / "people.png")
            assert capsys.readouterr().out.count("nan") == 0
        elif "print_angles" in made:
            unknown = LiftedPoses.invalid(1, 1).skeleton(0, np.zeros(14), metric=False)
            made["print_angles"](unknown)
            assert capsys.readouterr().out.startswith("trunk_flexion nan nan\ntrunk_bending ")
        elif "make_rigid" in made:
            state = JointState(
                name=["left_thigh_stretch_1", "left_knee_flexion_1"], position=[0.1, 0.2]
            )
            made["make_rigid"](state)
            assert list(state.position) == [0.0, 0.2]
        elif "print_ranges" in made:
            image = bags.frames([80])[0]
            made["print_ranges"](
                PoseEstimator(), [image] * 2, [Camera(np.diag([600.0, 600, 1]))] * 2
            )
            first, second = capsys.readouterr().out.splitlines()
            assert first == second and "nan" not in first
        elif "generate_launch_description" in made:
            (include,) = made["generate_launch_description"]().entities
            assert {name for name, _ in include.launch_arguments} <= set(
                arguments_of("lifting.launch.py")
            )
        else:
            assert np.array_equal(made["absolute_covariance"](person, 16), 4 * np.eye(3))


def test_parameters_named_in_the_text_exist():
    known = {**parameters("lifting_node"), **parameters("replay")}
    groups = {name.partition(".")[0] for name in known if "." in name}
    text = "\n".join(page.read_text(encoding="utf-8") for page in ALL_PAGES)
    used = {
        word
        for word in re.findall(r"`(\w+\.\w+)\b", text)
        if word.partition(".")[0] in groups and not word.endswith((".md", ".py", ".safetensors"))
    }
    assert used and used <= set(known), used - set(known)


def test_tables_of_parameters_are_those_of_the_nodes():
    from lifting_ros.ros.declaration import to_table
    from lifting_ros.ros.fusion_parameters import FusionNodeConfig
    from lifting_ros.ros.parameters import NodeConfig

    for page, config, command in (
        ("parameters.md", NodeConfig, "python -m lifting_ros.ros.parameters --table"),
        ("several_cameras.md", FusionNodeConfig, "python -m lifting_ros.ros.fusion_parameters"),
    ):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        table = text.partition("<!-- table begins -->\n")[2].partition("<!-- table ends -->")[0]
        assert table == to_table(config), command


def test_links_lead_somewhere():
    for page in ALL_PAGES:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert all(
        f"({page.name})" in index and f"\n{page.stem}\n" in index
        for page in PAGES
        if page.stem != "index"
    )


def test_topics_of_the_page_are_those_of_the_node():
    text = (ROOT / "docs" / "topics.md").read_text(encoding="utf-8").partition("## A person")[0]
    listed = set(re.findall(r"^\| `~/(\w+)`", text, re.M))
    assert {f"/lifting/{name}" for name in listed} == our_topics() - {
        "/lifting/enable",
        "/diagnostics",
    }


def test_joint_orders_are_those_of_the_package():
    from lifting_ros.skeleton import JOINT_NAMES, KEYPOINT_NAMES

    text = " ".join((ROOT / "docs" / "topics.md").read_text(encoding="utf-8").split())
    assert f"`{' '.join(JOINT_NAMES)}`" in text and f"`{' '.join(KEYPOINT_NAMES)}`" in text


def test_pages_build_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="sphinx and myst-parser are not installed")
    pytest.importorskip("myst_parser", reason="myst-parser is not installed")
    import subprocess

    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "-E",
        "-d",
        str(tmp_path / "trees"),
        str(ROOT / "docs"),
        str(tmp_path / "html"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_placeholder_is_left():
    cards = (ROOT / "lifting_ros" / "weights").glob("*.md")
    for path in (*PAGES, *cards, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md"))):
        assert "@@" not in path.read_text(encoding="utf-8"), path
