# SPDX-License-Identifier: Apache-2.0
"""The node `lifting` beside one camera or several: ros2 launch lifting_ros lifting.launch.py
image:=/camera/image_raw (-s lists all).

An argument that is empty leaves what the parameter file says; one that is given goes over it.
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from lifting_ros.ros.packages import require_package

SHARE = FindPackageShare("lifting_ros")
SWITCH = ["", "true", "false"]
SWITCHES = ("autostart", "lazy", "early_2d", "tf", "use_sim_time")
PARAMETERS = {
    "image_transport": "image_transport",
    "device": "device",
    "autostart": "autostart",
    "lazy": "lazy",
    "early_2d": "early_2d",
    "target_frame": "tf.target_frame",
    "gravity_frame": "tf.gravity_frame",
    "tf": "tf.publish",
    "use_sim_time": "use_sim_time",
}
"""Arguments that are parameters of the node, and the names of those."""
END = {
    "sigterm_timeout": LaunchConfiguration("sigterm_timeout", default="15"),
    "sigkill_timeout": LaunchConfiguration("sigkill_timeout", default="15"),
}
"""Seconds from SIGINT to SIGTERM, and from there to SIGKILL: a loaded computer takes more than
launch's five."""
ARGUMENTS = [
    DeclareLaunchArgument(
        "namespace", default_value="", description="namespace of the node and of its topics"
    ),
    DeclareLaunchArgument(
        "name",
        default_value="lifting",
        description="name of the node; its outputs are NAMESPACE/NAME/..., "
        "with cameras NAMESPACE/CAMERA/NAME/...",
    ),
    DeclareLaunchArgument(
        "cameras",
        default_value="",
        description="several cameras, as front,rear, in one node; the relative topics below and "
        "the outputs of each are in NAMESPACE/CAMERA, as of a node there; "
        "the frames that they put on /tf begin with CAMERA_; empty: what params_file says",
    ),
    DeclareLaunchArgument(
        "params_file",
        default_value=PathJoinSubstitution([SHARE, "config", "lifting.yaml"]),
        description="YAML file of parameters",
    ),
    DeclareLaunchArgument(
        "image", default_value="image", description="topic of the images, without /compressed"
    ),
    DeclareLaunchArgument(
        "camera_info",
        default_value="",
        description="topic of their CameraInfo; empty: camera_info beside the images",
    ),
    DeclareLaunchArgument(
        "depth",
        default_value="",
        description="topic of depth images aligned with the images, to be used; "
        "empty: what params_file says",
    ),
    DeclareLaunchArgument(
        "keypoints",
        default_value="",
        description="topic of keypoints (lifting_ros/Skeleton2DArray), to be lifted instead of "
        "images; empty: what params_file says",
    ),
    DeclareLaunchArgument(
        "foreign_keypoints",
        default_value="",
        description="the same for keypoints in another detector's convention "
        "(lifting_ros/ForeignKeypoints2DArray)",
    ),
    DeclareLaunchArgument(
        "image_transport",
        default_value="",
        choices=["", "raw", "compressed"],
        description="of the images; empty: what params_file says",
    ),
    DeclareLaunchArgument(
        "device",
        default_value="",
        description="auto, cpu, cuda or cuda:n; empty: what params_file says",
    ),
    DeclareLaunchArgument(
        "autostart",
        default_value="",
        choices=SWITCH,
        description="configure and activate at the start; false: wait for ros2 lifecycle; "
        "empty: what params_file says",
    ),
    DeclareLaunchArgument(
        "lazy",
        default_value="",
        choices=SWITCH,
        description="work only while somebody listens; empty: what params_file says",
    ),
    DeclareLaunchArgument(
        "early_2d",
        default_value="",
        choices=SWITCH,
        description="at a first start, be active with 2D alone while 3D is still being compiled; "
        "empty: what params_file says",
    ),
    DeclareLaunchArgument(
        "target_frame",
        default_value="",
        description="frame that the 3D outputs are given in; empty: what params_file says",
    ),
    DeclareLaunchArgument(
        "gravity_frame",
        default_value="",
        description="frame whose z axis points up, such as base_link; empty: what params_file says",
    ),
    DeclareLaunchArgument(
        "tf",
        default_value="",
        choices=SWITCH,
        description="frames of bodies and joints on /tf; empty: what params_file says",
    ),
    DeclareLaunchArgument(
        "use_sim_time",
        default_value="",
        choices=SWITCH,
        description="take the time from /clock; empty: what params_file says",
    ),
    DeclareLaunchArgument(
        "log_level",
        default_value="info",
        choices=["debug", "info", "warn", "error", "fatal"],
        description="least severity logged",
    ),
    DeclareLaunchArgument(
        "rviz",
        default_value="false",
        choices=["true", "false"],
        description="also rviz2; of several cameras it shows the first",
    ),
    DeclareLaunchArgument(
        "rviz_frame",
        default_value="",
        description="fixed frame of rviz2, such as the camera's optical frame; "
        "empty: target_frame, else what config/lifting.rviz says",
    ),
]


def generate_launch_description() -> LaunchDescription:
    """Every argument with its description, then the nodes."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=_nodes)])


def _nodes(context: LaunchContext) -> list[Node]:
    given = {
        argument.name: LaunchConfiguration(argument.name).perform(context) for argument in ARGUMENTS
    }
    cameras = [camera.strip() for camera in given["cameras"].split(",") if camera.strip()]
    topics = [
        given[name] for name in ("image", "camera_info", "depth", "keypoints", "foreign_keypoints")
    ]
    absolute = [topic for topic in topics if topic.startswith("/")]
    if len(cameras) > 1 and absolute:
        raise ValueError(
            f"cameras:={given['cameras']}: topics have to be relative, such as image:=image_raw, "
            f"got {', '.join(absolute)}"
        )

    nodes = [_lifting(given, cameras)]
    if given["rviz"] == "true":
        # launch does not end what it has started when a later action fails
        require_package("rviz2", "rviz:=true")
        nodes.append(_rviz(given, (cameras or [""])[0]))

    return nodes


def _lifting(given: dict[str, str], cameras: list[str]) -> LifecycleNode:
    overrides = _overrides(given, cameras)
    remappings = []
    for camera in cameras or [""]:
        remappings += _remappings(given, camera)

    return LifecycleNode(
        package="lifting_ros",
        executable="lifting_node",
        name=given["name"],
        namespace=given["namespace"],
        output="screen",
        parameters=[given["params_file"], *([overrides] if overrides else [])],
        remappings=remappings,
        arguments=["--ros-args", "--log-level", given["log_level"]],
        **END,
    )


def _overrides(given: dict[str, str], cameras: list[str]) -> dict[str, object]:
    """Parameters that go over those of the file."""
    values = {
        parameter: _value(name, given[name])
        for name, parameter in PARAMETERS.items()
        if given[name]
    }
    if given["depth"]:
        values["depth.enabled"] = True

    if given["keypoints"] or given["foreign_keypoints"]:
        values["input"] = "keypoints"

    if cameras:
        values["cameras"] = cameras

    return values


def _value(name: str, text: str) -> bool | ParameterValue:
    # a string even where it looks like a number
    return text == "true" if name in SWITCHES else ParameterValue(text, value_type=str)


def _remappings(given: dict[str, str], camera: str) -> list[tuple[str, str]]:
    """Topics of a camera and what they are called here."""
    beside = given["image"].removesuffix("/compressed").rpartition("/")
    topics = given | {"camera_info": given["camera_info"] or f"{beside[0]}{beside[1]}camera_info"}

    return [
        (_joined(camera, name), _joined(camera, topics[name]))
        for name in ("image", "camera_info", "depth", "keypoints", "foreign_keypoints")
        if topics[name]
    ]


def _joined(camera: str, topic: str) -> str:
    """A topic of a camera; one that begins with a slash stays as it is."""
    if not camera or topic.startswith("/"):
        return topic

    return f"{camera}/{topic}"


def _rviz(given: dict[str, str], camera: str) -> Node:
    parts = (given["namespace"].strip("/"), camera, given["name"])
    node = "/".join(["", *filter(None, parts)])
    frame = given["rviz_frame"] or given["target_frame"]
    return Node(
        package="rviz2",
        executable="rviz2",
        name="rviz2",
        output="screen",
        parameters=[{"use_sim_time": True}] if given["use_sim_time"] == "true" else [],
        remappings=[
            (f"/lifting/{topic}", f"{node}/{topic}") for topic in ("markers", "debug_image")
        ],
        arguments=[
            "-d",
            PathJoinSubstitution([SHARE, "config", "lifting.rviz"]),
            *(["-f", frame] if frame else []),
        ],
    )
