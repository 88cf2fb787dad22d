# SPDX-License-Identifier: Apache-2.0
"""A video, a folder of images, a camera device or a bag beside the node: ros2 launch lifting_ros
demo.launch.py (-s lists all arguments).

Every argument of lifting.launch.py holds here, too. Ends when the replay has ended, and when one of
its processes fails.
"""

import os
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    SetLaunchConfiguration,
    Shutdown,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.parameter_descriptions import ParameterValue

import lifting_ros
from lifting_ros.ros.packages import require_package

CLIP = Path(lifting_ros.__file__).parent / "demo" / "walk_and_sit.mp4"
LAST_ANSWERS_S = 2.0
"""After a bag has ended, the node works on what it has. The replay of a source waits by itself
until the last image is answered."""
END = {
    "sigterm_timeout": LaunchConfiguration("sigterm_timeout", default="15"),
    "sigkill_timeout": LaunchConfiguration("sigkill_timeout", default="15"),
}
"""As in lifting.launch.py."""
OUTPUTS = ("skeletons_2d", "skeletons_3d", "markers", "info")
ARGUMENTS = [
    DeclareLaunchArgument(
        "source",
        default_value="",
        description=(
            "video, folder of images or camera device (0, /dev/video0); empty: the clip that ships"
        ),
    ),
    DeclareLaunchArgument(
        "camera_yaml",
        default_value="",
        description=(
            "calibration of the source, as camera_calibration writes it; empty: it is guessed"
        ),
    ),
    DeclareLaunchArgument(
        "fps", default_value="0.0", description="images a second of the source; 0.0: its own rate"
    ),
    DeclareLaunchArgument(
        "max_frames", default_value="0", description="end the source after so many images; 0: all"
    ),
    DeclareLaunchArgument(
        "bag",
        default_value="",
        description="bag to play instead of a source; wants ros2 bag, and image:=TOPIC",
    ),
    DeclareLaunchArgument("rate", default_value="1.0", description="how fast the bag is played"),
    DeclareLaunchArgument(
        "delay",
        default_value="2.0",
        description="seconds from when the node is active to the bag's first message; "
        "the topics connect meanwhile",
    ),
    DeclareLaunchArgument(
        "loop",
        default_value="false",
        choices=["true", "false"],
        description="begin again at the end, until Ctrl-C",
    ),
    DeclareLaunchArgument(
        "end",
        default_value="true",
        choices=["true", "false"],
        description="end with the replay; false: node and rviz2 go on",
    ),
    DeclareLaunchArgument(
        "record",
        default_value="",
        description="folder of a new bag for the poses; empty: nothing is recorded",
    ),
]


def generate_launch_description() -> LaunchDescription:
    """The demo's own arguments and their check, the node with its arguments, what plays and
    records."""
    node = Path(__file__).parent / "lifting.launch.py"
    return LaunchDescription(
        [
            *ARGUMENTS,
            OpaqueFunction(function=_check),
            OpaqueFunction(function=_settings),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(node))),
            OpaqueFunction(function=_actions),
        ]
    )


def _check(context: LaunchContext) -> list:
    """Raises where the arguments cannot work: launch does not end what it has started when a later
    action fails, so this comes before the node."""
    given = context.launch_configurations
    if given.get("cameras"):
        raise ValueError("cameras: the demo has one camera; expected it to be empty")
    if given["bag"] and given["source"]:
        raise ValueError("bag, source: expected one of them, not both")
    if given["bag"]:
        require_package("ros2bag", "bag:=")

    _number(given, "fps", float)
    _number(given, "max_frames", int)
    return []


def _number(given: dict[str, str], name: str, kind: type) -> float:
    """The value of an argument; ValueError, with its name, where that is not a number."""
    try:
        return kind(given[name])
    except ValueError:
        wanted = "an integer" if kind is int else "a number"
        raise ValueError(f"{name}:={given[name]}: expected {wanted}") from None


def _settings(context: LaunchContext) -> list:
    """What the node has to know, unless the user said something else; a shared memory that holds an
    image."""
    bag = LaunchConfiguration("bag").perform(context)
    # What is played once is to be answered in 3D from its first image on
    wanted = {"lazy": "false", "early_2d": "false"}
    if bag:
        wanted["use_sim_time"] = "true"
    profile = Path(__file__).parents[1] / "config" / "fastdds_shm.xml"
    # Of Fast DDS 2 and 3
    variables = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")

    return [
        *(
            SetLaunchConfiguration(name, value)
            for name, value in wanted.items()
            if not context.launch_configurations.get(name)
        ),
        *(
            SetEnvironmentVariable(variable, str(profile))
            for variable in variables
            if profile.is_file() and os.environ.keys().isdisjoint(variables)
        ),
    ]


def _actions(context: LaunchContext) -> list:
    given = dict(context.launch_configurations)

    # The replay waits for subscribers by itself; a bag is played once the node is active
    player = _bag(given) if given["bag"] else _replay(given)
    play = player
    if given["bag"]:
        when_active = OnStateTransition(goal_state="active", entities=[player], handle_once=True)
        play = RegisterEventHandler(when_active)

    ended = RegisterEventHandler(
        OnProcessExit(on_exit=lambda event, context: _on_exit(event, context, player, given))
    )

    return [ended, *([_recorder(given)] if given["record"] else []), play]


def _on_exit(event, context: LaunchContext, player, given: dict[str, str]) -> list:
    """What follows when a process has ended."""
    if context.is_shutdown:
        return []
    if event.action is not player or event.returncode:
        return [Shutdown(reason=f"{event.process_name} has ended")]
    if given["loop"] == "true" or given["end"] == "false":
        return []

    end = Shutdown(reason="the replay has ended")
    return [TimerAction(period=LAST_ANSWERS_S, actions=[end])] if given["bag"] else [end]


def _replay(given: dict[str, str]) -> Node:
    calibration = given["camera_yaml"] or (
        "" if given["source"] else str(CLIP.with_suffix(".yaml"))
    )
    return Node(
        package="lifting_ros",
        executable="lifting_replay",
        name="replay",
        namespace=given["namespace"],
        output="screen",
        parameters=[
            {
                "source": ParameterValue(
                    given["source"] or str(CLIP), value_type=str
                ),  # not the number 0
                "camera_yaml": ParameterValue(calibration, value_type=str),
                "guess_camera": not calibration,
                "fps": _number(given, "fps", float),
                "max_frames": _number(given, "max_frames", int),
                "answers": "" if given["loop"] == "true" else f"{_node_name(given)}/skeletons_3d",
            }
        ],
        remappings=[("image", given["image"]), ("camera_info", _camera_info(given))],
        respawn=given["loop"] == "true",
        respawn_delay=0.5,
        **END,
    )


def _node_name(given: dict[str, str]) -> str:
    """Full name of the node `lifting`."""
    return "/".join(["", *filter(None, (given["namespace"].strip("/"), given["name"]))])


def _camera_info(given: dict[str, str]) -> str:
    folder, slash, _ = given["image"].removesuffix("/compressed").rpartition("/")
    return given["camera_info"] or f"{folder}{slash}camera_info"


def _bag(given: dict[str, str]) -> ExecuteProcess:
    options = [
        "--clock",
        "--rate",
        given["rate"],
        "--delay",
        given["delay"],
        *(["--loop"] if given["loop"] == "true" else []),
    ]
    return ExecuteProcess(cmd=["ros2", "bag", "play", given["bag"], *options], output="screen")


def _recorder(given: dict[str, str]) -> Node:
    node = _node_name(given)
    return Node(
        package="lifting_ros",
        executable="lifting_recorder",
        name="recorder",
        namespace=given["namespace"],
        output="screen",
        arguments=[
            "--out",
            given["record"],
            *(f"{node}/{output}" for output in OUTPUTS),
            _camera_info(given),
        ],
        **END,
    )
