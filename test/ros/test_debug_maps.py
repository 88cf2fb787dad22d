# SPDX-License-Identifier: Apache-2.0
"""~/debug_maps: the best person's maps, made while somebody looks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from node_support import RGB, Stage
from rclpy.parameter import Parameter
from ros_support import person
from sensor_msgs.msg import Image

from lifting_ros.keypoints.stage_maps import StageMaps
from lifting_ros.ros import debug_maps
from lifting_ros.ros.conversions import image_to_rgb
from lifting_ros.viz.belief_pictures import draw_stage


class Inspector:
    """Stands for the network; keeps what it is asked."""

    def __init__(self):
        self.asked = []

    def look(self, image, box_px) -> StageMaps:
        self.asked.append((image.copy(), box_px))
        maps = np.random.default_rng(0).uniform(0, 0.2, (3, 2, 14, 8, 8)).astype(np.float32)
        return StageMaps(np.full((64, 64, 3), 90, np.uint8), *maps)


@pytest.fixture
def made(monkeypatch):
    """The inspectors that were loaded."""
    inspectors = []

    def load(config):
        inspectors.append(Inspector())
        return inspectors[-1]

    monkeypatch.setattr(debug_maps, "load_stage_inspector", load)
    return inspectors


@pytest.fixture
def stage():
    one = Stage(debug__stage=1)
    yield one
    one.close()


def scored(score: float, track_id: int):
    one = person(np.random.default_rng(track_id))
    box = np.array([1.0, 2.0, 20.0, 21.0]) + track_id
    return dataclasses.replace(
        one, skeleton_2d=dataclasses.replace(one.skeleton_2d, score=score, box_px=box)
    )


def test_maps_of_the_best_person_while_somebody_looks(stage, made):
    stage.node.start()
    stage.connect()
    stage.ask()
    assert not made  # nobody looks

    people = [scored(0.85, 1), scored(0.95, 2)]
    stage.estimator.answer = lambda call: people
    drawn = stage.listen(Image, "/lifting/debug_maps")
    stage.until(lambda: stage.feed.outputs._is_wanted("~/debug_maps"), "the listener")
    answer = stage.ask()
    stage.until(lambda: drawn, "an image")
    (inspector,) = made
    (asked,) = inspector.asked
    assert np.array_equal(asked[0], RGB) and np.array_equal(asked[1], people[1].skeleton_2d.box_px)
    expected = draw_stage(inspector.look(RGB, asked[1]), 1)
    assert drawn[-1].header == answer.header
    assert np.array_equal(image_to_rgb(drawn[-1]), expected)

    # Live: another keypoint
    stage.node.set_parameters([Parameter("debug.keypoint", value="left_knee")])
    stage.ask()
    stage.until(lambda: len(drawn) == 2, "an image")
    expected = draw_stage(inspector.look(RGB, asked[1]), 1, "left_knee")
    assert np.array_equal(image_to_rgb(drawn[-1]), expected)

    # Nobody in view: no image
    stage.estimator.answer = lambda call: []
    stage.ask()
    stage.spin(0.2)
    assert len(drawn) == 2 and len(made) == 1


def test_network_is_let_go_of_when_nobody_looks(stage, made):
    stage.node.start()
    show_maps(stage)
    stop_looking(stage)
    stage.ask()
    stage.spin(0.1)
    assert stage.feed.outputs._debug_maps._inspector is None


def test_network_is_let_go_of_with_the_last_listener(stage, made):
    stage.node.start()
    show_maps(stage)
    for subscription in list(stage.peer.subscriptions):
        stage.peer.destroy_subscription(subscription)
    stage.until(lambda: not stage.subscribed(), "the end")  # no image comes any more
    stage.spin(0.1)
    assert stage.feed.outputs._debug_maps._inspector is None


def test_network_is_loaded_anew_after_a_cleanup(stage, made):
    stage.node.start()
    show_maps(stage)
    stage.node.trigger_deactivate()
    stage.node.trigger_cleanup()
    stage.node.start()
    stage.until(stage.subscribed, "the subscription")
    stage.ask()
    stage.until(lambda: len(made) == 2, "another network")


def show_maps(stage) -> None:
    stage.listen(Image, "/lifting/debug_maps")
    stage.connect()
    stage.until(lambda: stage.feed.outputs._is_wanted("~/debug_maps"), "the listener")
    stage.ask()
    stage.until(lambda: stage.received["/lifting/debug_maps"], "an image")


def stop_looking(stage) -> None:
    (subscription,) = [s for s in stage.peer.subscriptions if s.topic_name.endswith("debug_maps")]
    stage.peer.destroy_subscription(subscription)
    stage.until(lambda: not stage.feed.outputs._is_wanted("~/debug_maps"), "the end")
