# SPDX-License-Identifier: Apache-2.0
"""REP 155 on /humans/bodies, with plain objects in the place of hri_msgs, which is not on PyPI."""

from __future__ import annotations

import dataclasses
import sys
from collections import defaultdict
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from node_support import Stage
from rclpy.lifecycle import TransitionCallbackReturn
from ros_support import header, person

from lifting_ros.config import ConfigError
from lifting_ros.ros.body_models import BodyModels
from lifting_ros.ros.humans import Humans, box_to_hri, skeleton_to_hri
from lifting_ros.skeleton import KEYPOINT_NAMES

HRI_NAMES = (
    (
        "NOSE NECK RIGHT_SHOULDER RIGHT_ELBOW RIGHT_WRIST LEFT_SHOULDER LEFT_ELBOW LEFT_WRIST "
        "RIGHT_HIP RIGHT_KNEE RIGHT_ANKLE LEFT_HIP "
        "LEFT_KNEE LEFT_ANKLE LEFT_EYE RIGHT_EYE LEFT_EAR RIGHT_EAR"
    )
    .lower()
    .split()
)
"""Points of hri_msgs/Skeleton2D by their codes."""
SIZE = (320, 240)


def kind(name: str, **defaults):
    """A message class with these fields and no others."""

    def make(self, **values):
        assert set(values) <= set(defaults) | {"header"}
        self.__dict__ = (
            {"header": None}
            | {field: make_default() for field, make_default in defaults.items()}
            | values
        )

    return type(name, (), {"__init__": make})


POINT = kind("NormalizedPointOfInterest2D", x=float, y=float, c=float)
MESSAGES = SimpleNamespace(
    IdsList=kind("IdsList", ids=list),
    Skeleton2D=kind("Skeleton2D", skeleton=lambda: [POINT() for _ in HRI_NAMES]),
    NormalizedRegionOfInterest2D=kind(
        "NormalizedRegionOfInterest2D",
        **dict.fromkeys(("xmin", "ymin", "xmax", "ymax", "c"), float),
    ),
)


@pytest.fixture
def installed(monkeypatch):
    """hri_msgs is there."""
    module = ModuleType("hri_msgs.msg")
    vars(module).update(vars(MESSAGES))
    monkeypatch.setitem(sys.modules, "hri_msgs", ModuleType("hri_msgs"))
    monkeypatch.setitem(sys.modules, "hri_msgs.msg", module)


class Heard:
    """In the place of a node: keeps what is published, by topic."""

    def __init__(self, listeners: int = 1):
        self.received = defaultdict(list)
        self.listeners = listeners

    def create_publisher(self, kind, topic, qos, **options):
        return SimpleNamespace(
            topic=topic,
            kind=kind,
            publish=self.received[topic].append,
            get_subscription_count=lambda: self.listeners,
        )

    def destroy_publisher(self, publisher):
        del self.received[publisher.topic]


def test_keypoints_are_at_their_hri_codes():
    flat = person(np.random.default_rng(0)).skeleton_2d
    flat.keypoints_px[:] = np.random.default_rng(1).uniform(5, 200, (14, 2))
    flat.confidence[:] = np.linspace(0.3, 0.9, 14)
    message = skeleton_to_hri(MESSAGES, flat, header(), SIZE)
    points = dict(zip(HRI_NAMES, message.skeleton, strict=True))
    for k, name in enumerate(KEYPOINT_NAMES[1:], start=1):
        assert (points[name].x * 320 - 0.5, points[name].y * 240 - 0.5) == pytest.approx(
            tuple(flat.keypoints_px[k])
        )
        assert points[name].c == flat.confidence[k]
    assert all(
        (points[name].x, points[name].c) == (0, 0) for name in set(HRI_NAMES) - set(KEYPOINT_NAMES)
    )
    assert message.header == header()


def test_unseen_is_0_and_what_is_outside_is_at_the_border():
    flat = person(np.random.default_rng(0)).skeleton_2d
    flat.keypoints_px[3], flat.confidence[3] = np.nan, 0.0
    flat.keypoints_px[4], flat.confidence[4] = (-50, 1000), 0.5
    flat = dataclasses.replace(flat, box_px=np.array([-9.0, 20, 159.5, 999]), score=0.75)
    points = skeleton_to_hri(MESSAGES, flat, header(), SIZE).skeleton
    assert (points[3].x, points[3].y, points[3].c) == (0, 0, 0) and (
        points[4].x,
        points[4].y,
        points[4].c,
    ) == (0, 1, 0.5)
    box = box_to_hri(MESSAGES, flat, header(), SIZE)
    assert (box.xmin, box.ymin, box.xmax, box.ymax, box.c) == (0, 20.5 / 240, 0.5, 1, 0.75)


def test_bodies_have_topics_and_tracked_lists_them(installed):
    rng, node = np.random.default_rng(2), Heard()
    humans, (a, b, lost) = Humans(node), (person(rng, 4), person(rng, 9), person(rng, 0))
    humans.publish([a, lost, b], {4: "p1", 9: "p2"}, header(), SIZE)
    humans.publish([b], {9: "p2"}, header(), SIZE)
    humans.clear()
    humans.clear()  # nobody is there: nothing to say
    models, ids, namers = BodyModels(), {4: "p1"}, {4: "{}_p1".format}
    humans.publish_urdfs(models.renew([a, lost], namers), ids)
    humans.publish_joint_states([a, lost], ids, namers, models, header())
    humans.publish_joint_states([a, lost], ids, namers, models, header())
    assert [message.ids for message in node.received["/humans/bodies/tracked"]] == [
        ["p1", "p2"],
        ["p2"],
        [],
    ]
    counts = {
        topic: len(messages)
        for topic, messages in node.received.items()
        if not topic.endswith("tracked")
    }
    assert counts == {
        f"/humans/bodies/{body}/{name}": n
        for body, name, n in (
            ("p1", "skeleton2d", 1),
            ("p1", "roi", 1),
            ("p1", "joint_states", 2),
            ("p1", "urdf", 1),
            ("p2", "skeleton2d", 2),
            ("p2", "roi", 2),
            ("p2", "joint_states", 0),
            ("p2", "urdf", 0),
        )
    }
    state = node.received["/humans/bodies/p1/joint_states"][0]
    assert state.header == header() and {name[-3:] for name in state.name} == {"_p1"}
    assert '<link name="body_p1"' in node.received["/humans/bodies/p1/urdf"][0].data
    humans.close()
    assert not node.received


def test_models_of_bodies_are_made_for_listeners_only(installed):
    node = Heard(listeners=0)
    humans = Humans(node)
    one = person(np.random.default_rng(2), 4)
    assert not humans.want_models(["p1"])
    humans.publish_joint_states([one], {4: "p1"}, {4: "{}_p1".format}, BodyModels(), header())
    assert set(node.received) >= {f"/humans/bodies/p1/{n}" for n in ("joint_states", "urdf")}
    assert not any(node.received.values())

    node.listeners = 1
    assert humans.want_models(["p1"]) and not humans.want_models([])


def test_missing_hri_package_is_reported_on_configure():
    stage = Stage(hri=True)
    try:
        with pytest.raises(ConfigError, match="^hri: hri_msgs is not installed"):
            stage.node.start()
        assert (
            stage.estimator is not None and stage.node._estimator is None
        )  # loaded, and let go of again
        assert stage.diagnostics()["message"] == "unconfigured"
    finally:
        stage.close()


@pytest.mark.parametrize("name", ["skeleton2d", "roi", "joint_states", "urdf"])
def test_a_subscriber_of_one_body_is_a_listener(installed, name):
    node = Heard(listeners=0)
    humans = Humans(node)
    humans.publish([person(np.random.default_rng(0), 4)], {4: "p1"}, header(), SIZE)
    assert not humans.have_listeners()
    humans._of_body["p1"][name].get_subscription_count = lambda: 1
    assert humans.have_listeners()


def test_the_node_publishes_them_beside_its_own(installed, monkeypatch):
    stage, heard = Stage(hri=True), Heard()
    try:
        make = stage.node.create_publisher
        monkeypatch.setattr(
            stage.node,
            "create_publisher",
            lambda kind, topic, *rest, **options: (
                heard.create_publisher(kind, topic, 10)
                if topic.startswith("/humans")
                else make(kind, topic, *rest, **options)
            ),
        )
        stage.node.start()
        assert stage.feed.is_wanted()  # who asks only for who is there is somebody who listens
        stage.connect()
        answer = stage.ask()
        (ids,) = heard.received["/humans/bodies/tracked"]
        assert ids.ids == ["p1"] and ids.header == answer.header
        (skeleton,) = heard.received["/humans/bodies/p1/skeleton2d"]
        assert skeleton.header == answer.header and max(point.c for point in skeleton.skeleton) > 0
        states = heard.received["/humans/bodies/p1/joint_states"]  # published last
        stage.until(lambda: states, "the joint states")
        (state,) = states
        assert state.header == answer.header and "left_knee_flexion_p1" in state.name
        (urdf,) = heard.received["/humans/bodies/p1/urdf"]
        assert urdf.data.startswith('<robot name="body_p1">')
        assert (
            stage.node.trigger_shutdown() == TransitionCallbackReturn.SUCCESS
            and stage.feed.outputs._humans is None
        )
    finally:
        stage.close()
