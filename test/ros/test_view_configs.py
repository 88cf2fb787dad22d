# SPDX-License-Identifier: Apache-2.0
"""The layouts for RViz and Foxglove show topics that the node has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml
from diagnostic_msgs.msg import DiagnosticArray
from lifting_ros.msg import Skeleton3D, Skeleton3DArray
from sensor_msgs.msg import Image
from visualization_msgs.msg import MarkerArray

from lifting_ros.ros.camera_names import CameraNames
from lifting_ros.ros.outputs import TOPICS

CONFIG = Path(__file__).parents[2] / "config"
FOXGLOVE_KEYS = {
    "3D": {"cameraState", "followMode", "scene", "transforms", "topics", "layers"},
    "Image": {"imageMode"},
    "Plot": {
        "paths",
        "showXAxisLabels",
        "showYAxisLabels",
        "showLegend",
        "legendDisplay",
        "isSynced",
        "xAxisVal",
        "followingViewWidth",
    },
    "DiagnosticSummary": {
        "minLevel",
        "pinnedIds",
        "hardwareIdFilter",
        "topicToRender",
        "sortByLevel",
    },
}
"""Kinds of panels and their settings, as in foxglove-sdk 0.30 (`foxglove.layouts`)."""


def types_of(camera: str) -> dict[str, type]:
    """The topics of a camera of the node `lifting`, with slashes in front."""
    names = CameraNames(camera, "lifting", "/")
    return {
        f"/{names.own(topic)}".replace("/~", "/lifting"): kind for topic, kind in TOPICS.items()
    }


def rviz(name: str) -> dict:
    text = (CONFIG / name).read_text(encoding="utf-8")
    return yaml.safe_load(text)["Visualization Manager"]


def test_rviz_shows_two_cameras_in_a_common_frame():
    config = rviz("lifting_cameras.rviz")
    shown = {}
    for display in config["Displays"]:
        if "Topic" in display:
            shown[display["Topic"]["Value"]] = display["Class"].rpartition("/")[2]

    topics = types_of("front") | types_of("rear")
    assert {topic: topics[topic].__name__ for topic in shown} == shown
    assert len(shown) == 4 and config["Global Options"]["Fixed Frame"] == "base_link"

    # Settings of the same displays for one camera
    single = {display["Class"]: set(display) for display in rviz("lifting.rviz")["Displays"]}
    for display in config["Displays"]:
        if "Topic" in display:
            assert set(display) == single[display["Class"]]


def leaves(layout) -> list[str]:
    if isinstance(layout, str):
        return [layout]
    assert set(layout) == {"direction", "first", "second", "splitPercentage"}
    return leaves(layout["first"]) + leaves(layout["second"])


def test_foxglove_shows_topics_of_the_node():
    layout = json.loads((CONFIG / "foxglove.json").read_text(encoding="utf-8"))
    panels = layout["configById"]
    assert sorted(leaves(layout["layout"])) == sorted(panels)
    for name, config in panels.items():
        kind = name.split("!")[0]
        assert set(config) - {"foxglovePanelTitle"} <= FOXGLOVE_KEYS[kind]

    types = types_of("") | {"/diagnostics": DiagnosticArray}
    (markers,) = panels["3D!skeletons"]["topics"]
    assert types[markers] is MarkerArray
    assert types[panels["Image!keypoints"]["imageMode"]["imageTopic"]] is Image
    assert types[panels["DiagnosticSummary!lifting"]["topicToRender"]] is DiagnosticArray


def test_foxglove_plots_fields_that_exist():
    layout = json.loads((CONFIG / "foxglove.json").read_text(encoding="utf-8"))
    types = types_of("")
    for path in layout["configById"]["Plot!place"]["paths"]:
        topic, list_name, field, axis = re.fullmatch(
            r"(/[\w/]+)\.(\w+)\[0\]\.(\w+)\.(\w+)", path["value"]
        ).groups()
        assert types[topic] is Skeleton3DArray and path["timestampMethod"] == "headerStamp"
        assert list_name in Skeleton3DArray.get_fields_and_field_types()
        assert isinstance(getattr(getattr(Skeleton3D(), field), axis), float)
