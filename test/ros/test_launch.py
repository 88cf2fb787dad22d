# SPDX-License-Identifier: Apache-2.0
"""The launch files: every argument described; the parameter file first, arguments over it only when
given; what the demo plays.

ROS' launch is not on PyPI: here plain objects stand in for it, which keep what they are given.
test/launch runs the files for real.
"""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

import lifting_ros
from lifting_ros.errors import LiftingError

ROOT = Path(__file__).parents[2]
CLIP = Path(lifting_ros.__file__).parent / "demo" / "walk_and_sit.mp4"
"""Of the installed package under colcon test, where the checkout is another folder."""

NAMES = {
    "launch": "LaunchContext LaunchDescription",
    "launch.actions": "DeclareLaunchArgument ExecuteProcess IncludeLaunchDescription "
    "OpaqueFunction RegisterEventHandler "
    "SetEnvironmentVariable SetLaunchConfiguration Shutdown TimerAction",
    "launch.event_handlers": "OnProcessExit",
    "launch.launch_description_sources": "PythonLaunchDescriptionSource",
    "launch.substitutions": "LaunchConfiguration PathJoinSubstitution",
    "launch_ros": "",
    "launch_ros.actions": "LifecycleNode Node",
    "launch_ros.event_handlers": "OnStateTransition",
    "launch_ros.parameter_descriptions": "ParameterValue",
    "launch_ros.substitutions": "FindPackageShare",
}


class Kept:
    """An action or a substitution: what it was made of."""

    def __init__(self, *args, **kwargs):
        self.args, self.kwargs = args, kwargs
        self.name = args[0] if args else None

    def perform(self, context):
        return context.launch_configurations[self.name]

    def plain(self):
        """The value of a ParameterValue."""
        return self.args[0]


@pytest.fixture
def described(monkeypatch):
    """Function from a launch file's name to its entities."""
    for module, names in NAMES.items():
        made = ModuleType(module)
        for name in names.split():
            setattr(made, name, type(name, (Kept,), {}))
        monkeypatch.setitem(sys.modules, module, made)
    return lambda name: list(
        runpy.run_path(str(ROOT / "launch" / name))["generate_launch_description"]().args[0]
    )


@pytest.fixture
def launched(described):
    """Function from a launch file's name and arguments to the context and what is started with
    them."""

    def launch(file: str, **given):
        entities = described(file)
        if file != "lifting.launch.py":
            entities += [
                entity
                for entity in described("lifting.launch.py")
                if kind(entity) == "DeclareLaunchArgument"
            ]
        defaults = {
            e.name: e.kwargs["default_value"]
            for e in entities
            if kind(e) == "DeclareLaunchArgument"
        }
        assert set(given) <= set(defaults), set(given) - set(defaults)
        context = SimpleNamespace(launch_configurations=defaults | given, is_shutdown=False)
        actions = []
        for function in (
            entity.kwargs["function"] for entity in entities if kind(entity) == "OpaqueFunction"
        ):
            made = function(context)
            context.launch_configurations |= {
                a.name: a.args[1] for a in made if kind(a) == "SetLaunchConfiguration"
            }
            actions += made
        return context, actions

    return launch


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Function that makes these packages, and no other, the installed ones."""

    def installed(*packages: str) -> None:
        index = tmp_path / "share" / "ament_index" / "resource_index" / "packages"
        index.mkdir(parents=True)
        for package in packages:
            (index / package).touch()
        monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))

    return installed


@pytest.fixture
def nodes(launched):
    """Function from arguments of lifting.launch.py to what its nodes were made of."""
    return lambda **given: [node.kwargs for node in launched("lifting.launch.py", **given)[1]]


def kind(entity) -> str:
    return type(entity).__name__


def plain(parameters: dict) -> dict:
    return {
        name: value.plain() if isinstance(value, Kept) else value
        for name, value in parameters.items()
    }


@pytest.mark.parametrize("file", ["lifting.launch.py", "demo.launch.py", "fusion.launch.py"])
def test_arguments_have_descriptions_and_valid_defaults(described, file):
    arguments = [entity for entity in described(file) if kind(entity) == "DeclareLaunchArgument"]
    assert arguments
    for argument in arguments:
        assert argument.kwargs["description"], argument.name
        assert argument.kwargs["default_value"] in argument.kwargs.get(
            "choices", [argument.kwargs["default_value"]]
        )


def test_readme_lists_arguments_that_exist(described):
    declared = {
        entity.name
        for entity in described("lifting.launch.py")
        if kind(entity) == "DeclareLaunchArgument"
    }
    table = (
        (ROOT / "docs" / "start.md")
        .read_text(encoding="utf-8")
        .partition("| launch argument |")[2]
        .partition("\n\n")[0]
    )
    listed = {
        word
        for row in table.splitlines()
        for word in re.findall(r"`(\w+)(?::=[^`]*)?`", row.split("|")[1] if "|" in row else "")
    }
    assert {"image", "device", "cameras"} <= listed <= declared


def test_arguments_that_are_not_given_leave_the_file_alone(nodes):
    (node,) = nodes(params_file="mine.yaml")
    assert node["parameters"] == ["mine.yaml"]
    assert node["remappings"] == [("image", "image"), ("camera_info", "camera_info")]
    assert (node["name"], node["namespace"]) == ("lifting", "")


def test_given_arguments_stand_behind_the_file(nodes):
    (node,) = nodes(
        params_file="mine.yaml",
        device="0",
        use_sim_time="true",
        tf="false",
        target_frame="map",
        depth="/cam/depth",
    )
    file, values = node["parameters"]
    wanted = {
        "device": "0",
        "use_sim_time": True,
        "tf.publish": False,
        "tf.target_frame": "map",
        "depth.enabled": True,
    }
    assert file == "mine.yaml" and plain(values) == wanted
    assert ("depth", "/cam/depth") in node["remappings"]


def test_parameters_of_arguments_exist(nodes):
    from lifting_ros.ros.declaration import leaves
    from lifting_ros.ros.parameters import NodeConfig

    everything = {
        "image_transport": "raw",
        "device": "cpu",
        "autostart": "true",
        "lazy": "true",
        "target_frame": "a",
        "gravity_frame": "b",
        "tf": "true",
        "depth": "d",
        "keypoints": "k",
        "cameras": "front",
    }
    (node,) = nodes(**everything)
    assert set(node["parameters"][1]) <= {leaf.name for leaf in leaves(NodeConfig())}


def test_camera_info_is_beside_the_images_unless_it_is_named(nodes):
    for given, wanted in (
        ({"image": "/cam/image_raw"}, "/cam/camera_info"),
        ({"image": "/cam/image_raw/compressed"}, "/cam/camera_info"),
        ({"image": "image_rect"}, "camera_info"),
        ({"image": "/cam/image_raw", "camera_info": "/info"}, "/info"),
    ):
        assert dict(nodes(**given)[0]["remappings"])["camera_info"] == wanted


@pytest.mark.parametrize("topic", ["keypoints", "foreign_keypoints"])
def test_topic_of_keypoints_makes_them_the_input(nodes, topic):
    (node,) = nodes(**{topic: "/detector/people"})
    assert (
        plain(node["parameters"][1]) == {"input": "keypoints"}
        and dict(node["remappings"])[topic] == "/detector/people"
    )


def test_cameras_share_a_node_and_have_topics_of_their_own(nodes):
    (node,) = nodes(cameras="front, rear", namespace="/bot", image="image_raw")
    assert node["namespace"] == "/bot"
    assert node["remappings"] == [
        ("front/image", "front/image_raw"),
        ("front/camera_info", "front/camera_info"),
        ("rear/image", "rear/image_raw"),
        ("rear/camera_info", "rear/camera_info"),
    ]
    assert plain(node["parameters"][1]) == {"cameras": ["front", "rear"]}


def test_rviz_shows_the_first_camera(nodes, install):
    install("rviz2")
    _, rviz = nodes(rviz="true", namespace="bot", cameras="front,rear")
    assert rviz["remappings"][0] == ("/lifting/markers", "/bot/front/lifting/markers")


def test_cameras_do_not_share_a_topic(nodes):
    with pytest.raises(ValueError, match="relative, such as image:=image_raw, got /cam/image_raw"):
        nodes(cameras="front,rear", image="/cam/image_raw")


def test_rviz_shows_the_topics_of_this_node(nodes, install):
    install("rviz2")
    _, rviz = nodes(rviz="true", namespace="bot", name="eyes", target_frame="map")
    assert rviz["remappings"] == [
        ("/lifting/markers", "/bot/eyes/markers"),
        ("/lifting/debug_image", "/bot/eyes/debug_image"),
    ]
    assert rviz["arguments"][-2:] == ["-f", "map"]
    config = yaml.safe_load((ROOT / "config" / "lifting.rviz").read_text(encoding="utf-8"))[
        "Visualization Manager"
    ]
    topics = {d["Class"]: d["Topic"]["Value"] for d in config["Displays"] if "Topic" in d}
    markers, image = (f"rviz_default_plugins/{name}" for name in ("MarkerArray", "Image"))
    assert topics == {markers: "/lifting/markers", image: "/lifting/debug_image"}
    assert config["Global Options"]["Fixed Frame"] == "camera_optical_frame"


def test_rviz_that_is_not_installed_is_named(nodes, install):
    install()
    text = r"^rviz:=true: the package rviz2 is not installed. Type: sudo apt install ros-\S+-rviz2$"
    with pytest.raises(LiftingError, match=text):
        nodes(rviz="true")


def handlers(actions, name: str) -> list[dict]:
    """What the event handlers of a kind were made of."""
    registered = [a.args[0] for a in actions if kind(a) == "RegisterEventHandler"]
    return [handler.kwargs for handler in registered if kind(handler) == name]


def demo(launched, **given):
    context, actions = launched("demo.launch.py", **given)
    later = [entity for one in handlers(actions, "OnStateTransition") for entity in one["entities"]]
    (player,) = (
        a
        for a in [*actions, *later]
        if kind(a) == "ExecuteProcess" or a.kwargs.get("executable") == "lifting_replay"
    )
    (ended,) = handlers(actions, "OnProcessExit")
    return context, actions, player, ended["on_exit"]


def test_demo_plays_the_clip_to_a_node_that_is_not_lazy(launched):
    context, _, player, _ = demo(launched)
    assert (
        context.launch_configurations["lazy"] == "false"
        and context.launch_configurations["use_sim_time"] == ""
    )
    values = plain(player.kwargs["parameters"][0])
    assert (values["source"], values["camera_yaml"]) == (
        str(CLIP),
        str(CLIP.with_suffix(".yaml")),
    ) and not values["guess_camera"]


def test_replay_parameters_and_foreign_source_calibration(launched):
    from lifting_ros.ros.declaration import leaves
    from lifting_ros.ros.replay import ReplayConfig

    _, _, player, _ = demo(launched, source="0", image="/cam/image_raw")
    values = plain(player.kwargs["parameters"][0])
    assert set(values) <= {leaf.name for leaf in leaves(ReplayConfig())}
    assert (values["source"], values["camera_yaml"], values["guess_camera"]) == ("0", "", True)
    assert values["answers"] == "/lifting/skeletons_3d"
    assert player.kwargs["remappings"] == [
        ("image", "/cam/image_raw"),
        ("camera_info", "/cam/camera_info"),
    ]


def test_bag_is_played_with_its_clock(launched, install):
    install("ros2bag")
    context, _, player, _ = demo(launched, bag="there", loop="true")
    assert player.kwargs["cmd"] == [
        "ros2",
        "bag",
        "play",
        "there",
        "--clock",
        "--rate",
        "1.0",
        "--delay",
        "2.0",
        "--loop",
    ]
    assert context.launch_configurations["use_sim_time"] == "true"


def test_bag_waits_for_the_active_node_not_for_a_time(launched, install):
    """However long it compiles and loads; a video's replay waits for subscribers by itself."""
    install("ros2bag")
    _, actions, player, _ = demo(launched, bag="there")
    (when,) = handlers(actions, "OnStateTransition")
    assert when == {"goal_state": "active", "entities": [player], "handle_once": True}
    assert player not in actions
    (node,) = launched("lifting.launch.py")[1]
    assert kind(node) == "LifecycleNode"  # only then launch hears of its states

    _, actions, player, _ = demo(launched)
    assert player in actions and not handlers(actions, "OnStateTransition")


def test_processes_have_time_to_end_before_launch_kills_them(launched):
    _, actions, replay, _ = demo(launched, record="poses")
    (recorder,) = (a for a in actions if a.kwargs.get("executable") == "lifting_recorder")
    (node,) = launched("lifting.launch.py")[1]
    for process in (replay, recorder, node):
        for name in ("sigterm_timeout", "sigkill_timeout"):
            value = process.kwargs[name]
            assert (value.name, value.kwargs) == (name, {"default": "15"})


def test_what_the_user_says_is_kept(launched, install):
    install("ros2bag")
    assert (
        demo(launched, bag="there", use_sim_time="false", lazy="true")[0].launch_configurations[
            "use_sim_time"
        ]
        == "false"
    )


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"bag": "there", "source": "0"}, "bag, source: expected one of them"),
        ({"cameras": "front,rear"}, "cameras: the demo has one camera; expected it to be empty"),
        ({"bag": "there"}, "bag:=: the package ros2bag is not installed"),
        ({"fps": "fast"}, "fps:=fast: expected a number"),
        ({"max_frames": "1.5"}, "max_frames:=1.5: expected an integer"),
    ],
)
def test_demo_checks_its_arguments_before_the_node(described, install, given, text):
    install()
    entities = described("demo.launch.py")
    kinds = [kind(entity) for entity in entities]
    first = entities[: kinds.index("IncludeLaunchDescription")]
    defaults = {e.name: e.kwargs["default_value"] for e in first if kind(e) != "OpaqueFunction"}
    context = SimpleNamespace(launch_configurations=defaults | given)
    with pytest.raises(ValueError, match=text):
        for function in (e.kwargs["function"] for e in first if kind(e) == "OpaqueFunction"):
            function(context)


def test_recorder_takes_the_outputs_of_this_node(launched):
    _, actions, _, _ = demo(
        launched, record="poses", namespace="bot", name="eyes", image="/cam/image_raw"
    )
    (recorder,) = (a for a in actions if a.kwargs.get("executable") == "lifting_recorder")
    out, *topics = recorder.kwargs["arguments"][1:]
    assert (
        out == "poses"
        and topics[-1] == "/cam/camera_info"
        and topics[1] == "/bot/eyes/skeletons_3d"
    )


@pytest.mark.parametrize(
    ("given", "returncode", "reaction"),
    [
        ({}, 0, "Shutdown"),
        ({}, 2, "Shutdown"),
        ({"end": "false"}, 0, None),
        ({"loop": "true"}, 0, None),
        ({"loop": "true"}, 2, "Shutdown"),
    ],
)
def test_demo_ends_with_its_replay(launched, given, returncode, reaction):
    context, _, player, on_exit = demo(launched, **given)
    event = SimpleNamespace(action=player, returncode=returncode, process_name="lifting_replay-1")
    assert [kind(action) for action in on_exit(event, context)] == ([reaction] if reaction else [])
    context.is_shutdown = True
    assert on_exit(event, context) == []


def test_demo_ends_when_another_process_ends(launched):
    context, _, _, on_exit = demo(launched, end="false")
    event = SimpleNamespace(action=None, returncode=0, process_name="lifting_node-1")
    assert [kind(action) for action in on_exit(event, context)] == ["Shutdown"]


def test_fusion_gives_the_node_what_is_given(launched):
    _, (node,) = launched(
        "fusion.launch.py", cameras="front, rear", frame="map", rate_hz="15", params_file=""
    )
    assert node.kwargs["executable"] == "lifting_fusion"
    (values,) = node.kwargs["parameters"]
    assert plain(values) == {
        "use_sim_time": False,
        "cameras": ["front", "rear"],
        "frame": "map",
        "rate_hz": "15",
    }
    _, (node,) = launched("fusion.launch.py", params_file="mine.yaml")
    assert node.kwargs["parameters"] == ["mine.yaml", {"use_sim_time": False}]
