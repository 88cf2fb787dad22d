# SPDX-License-Identifier: Apache-2.0
"""The launch file: every argument described; the parameter file first, arguments over it only when given."""
from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PARAMS = ROOT / "config" / "lifting.yaml"
LAUNCH = ROOT / "launch" / "lifting.launch.py"
ARGUMENTS = {
    "namespace", "params_file", "image", "camera_info", "image_transport", "device", "use_sim_time", "log_level",
}  # fmt: skip


def declared() -> dict[str, ast.Call]:
    tree = ast.parse(LAUNCH.read_text(encoding="utf-8"))
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "DeclareLaunchArgument"]
    return {call.args[0].value: call for call in calls}


def test_every_argument_is_declared_with_a_default_and_a_description():
    assert set(declared()) == ARGUMENTS
    for call in declared().values():
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        assert given["description"].value and "default_value" in given


def test_rviz_shows_what_the_node_publishes():
    config = yaml.safe_load((ROOT / "config" / "lifting.rviz").read_text(encoding="utf-8"))["Visualization Manager"]
    topics = {d["Class"]: d["Topic"]["Value"] for d in config["Displays"] if "Topic" in d}
    assert topics == {
        "rviz_default_plugins/MarkerArray": "/lifting/markers",
        "rviz_default_plugins/Image": "/lifting/debug_image",
    }
    assert config["Global Options"]["Fixed Frame"] == "camera_optical_frame"


@pytest.fixture
def launch_node():
    """Function from launch arguments to the node action that they lead to, with everything in it expanded."""
    launch = pytest.importorskip("launch", reason="launch is not installed (it is not on PyPI)")
    pytest.importorskip("launch_ros", reason="launch_ros is not installed (it is not on PyPI)")
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    def make(**given):
        context = launch.LaunchContext()
        context.launch_configurations.update(given)
        *arguments, function = get_launch_description_from_python_launch_file(str(LAUNCH)).entities
        for argument in arguments:
            argument.execute(context)
        (node,) = function.execute(context)
        node._perform_substitutions(context)
        return node

    return make


def parameter_files(node) -> list[Path]:
    return [Path(path) for path, is_file in node._Node__expanded_parameter_arguments if is_file]


def test_arguments_that_are_not_given_leave_the_file_alone(launch_node):
    assert parameter_files(launch_node(params_file=str(PARAMS))) == [PARAMS]


def test_given_arguments_stand_behind_the_file(launch_node):
    node = launch_node(params_file=str(PARAMS), device="cuda:1", use_sim_time="true", image="/cam/image", namespace="bot")
    first, second = parameter_files(node)
    (values,) = yaml.safe_load(second.read_text(encoding="utf-8")).values()
    assert first == PARAMS and values["ros__parameters"] == {"device": "cuda:1", "use_sim_time": True}
    assert ("image", "/cam/image") in node.expanded_remapping_rules
    assert node.expanded_node_namespace == "/bot"


def test_unfit_choice_is_refused(launch_node):
    with pytest.raises(Exception, match="image_transport"):
        launch_node(params_file=str(PARAMS), image_transport="theora")
