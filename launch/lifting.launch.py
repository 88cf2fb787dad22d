# SPDX-License-Identifier: Apache-2.0
"""The node `lifting` beside a camera: ros2 launch lifting_ros lifting.launch.py image:=/camera/image_raw (-s lists all)."""
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

OVERRIDES = ("image_transport", "device", "use_sim_time")
"""Arguments that are parameters: empty leaves what the parameter file says."""


def generate_launch_description() -> LaunchDescription:
    """Every argument with its description, then the node."""
    params_file = PathJoinSubstitution([FindPackageShare("lifting_ros"), "config", "lifting.yaml"])
    levels = ["debug", "info", "warn", "error", "fatal"]
    return LaunchDescription([
        DeclareLaunchArgument("namespace", default_value="", description="namespace of the node and its topics"),
        DeclareLaunchArgument("params_file", default_value=params_file, description="YAML file of parameters"),
        DeclareLaunchArgument("image", default_value="image", description="topic of the images, without /compressed"),
        DeclareLaunchArgument("camera_info", default_value="camera_info", description="topic of their camera_info"),
        DeclareLaunchArgument(
            "image_transport",
            default_value="",
            choices=["", "raw", "compressed"],
            description="raw or compressed images; empty: what params_file says",
        ),
        DeclareLaunchArgument(
            "device", default_value="", description="auto, cpu, cuda or cuda:n; empty: what params_file says"
        ),
        DeclareLaunchArgument(
            "use_sim_time",
            default_value="",
            choices=["", "true", "false"],
            description="take the time from /clock; empty: what params_file says",
        ),
        DeclareLaunchArgument("log_level", default_value="info", choices=levels, description="least severity logged"),
        OpaqueFunction(function=_node),
    ])


def _node(context: LaunchContext) -> list[Node]:
    given = {name: LaunchConfiguration(name).perform(context) for name in OVERRIDES}
    overrides = {name: value == "true" if name == "use_sim_time" else value for name, value in given.items() if value}
    return [
        Node(
            package="lifting_ros",
            executable="lifting_node",
            name="lifting",
            namespace=LaunchConfiguration("namespace"),
            output="screen",
            parameters=[LaunchConfiguration("params_file"), *([overrides] if overrides else [])],
            remappings=[(name, LaunchConfiguration(name)) for name in ("image", "camera_info")],
            arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        )
    ]
