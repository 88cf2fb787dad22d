# SPDX-License-Identifier: Apache-2.0
"""The node `lifting_fusion` beside the cameras' own: ros2 launch lifting_ros fusion.launch.py
cameras:=front,rear frame:=base_link (-s lists all)."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue

ARGUMENTS = [
    DeclareLaunchArgument(
        "cameras",
        default_value="",
        description="names of the cameras, as front,rear: those of lifting.launch.py; "
        "empty: what params_file says",
    ),
    DeclareLaunchArgument(
        "frame",
        default_value="",
        description="common frame, which TF connects with the cameras'; "
        "empty: what params_file says",
    ),
    DeclareLaunchArgument(
        "namespace", default_value="", description="namespace of the node and of its topics"
    ),
    DeclareLaunchArgument(
        "skeletons",
        default_value="",
        description="name of the node whose skeletons are fused; empty: lifting",
    ),
    DeclareLaunchArgument(
        "calibration_noise_px",
        default_value="",
        description="standard deviation of the calibrations in the images; empty: 2",
    ),
    DeclareLaunchArgument(
        "rate_hz", default_value="", description="largest rate of the output; empty: 30"
    ),
    DeclareLaunchArgument(
        "params_file", default_value="", description="YAML file of parameters; empty: none"
    ),
    DeclareLaunchArgument(
        "use_sim_time",
        default_value="false",
        choices=["true", "false"],
        description="take the time from /clock",
    ),
]
PARAMETERS = {
    "frame": ("frame", str),
    "skeletons": ("skeletons", str),
    "calibration_noise_px": ("fusion.calibration_noise_px", float),
    "rate_hz": ("rate_hz", float),
}
"""Arguments that are parameters of the node: their names and types."""


def generate_launch_description() -> LaunchDescription:
    """Every argument with its description, then the node."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=_nodes)])


def _nodes(context: LaunchContext) -> list[LifecycleNode]:
    given = {
        argument.name: LaunchConfiguration(argument.name).perform(context) for argument in ARGUMENTS
    }
    values: dict[str, object] = {"use_sim_time": given["use_sim_time"] == "true"}
    for name, (parameter, kind) in PARAMETERS.items():
        if given[name]:
            values[parameter] = ParameterValue(given[name], value_type=kind)

    cameras = [camera.strip() for camera in given["cameras"].split(",") if camera.strip()]
    if cameras:
        values["cameras"] = cameras

    files = [given["params_file"]] if given["params_file"] else []
    return [
        LifecycleNode(
            package="lifting_ros",
            executable="lifting_fusion",
            name="lifting_fusion",
            namespace=given["namespace"],
            output="screen",
            parameters=[*files, values],
        )
    ]
