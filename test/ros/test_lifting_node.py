# SPDX-License-Identifier: Apache-2.0
"""The node over real topics: its life, what it takes, what it gives, and that nothing ends it."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import rclpy
import torch
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from lifting_ros.msg import (
    ForeignKeypoints2D,
    ForeignKeypoints2DArray,
    HypothesisArray,
    Keypoint2D,
    Skeleton2DArray,
    Skeleton3DArray,
)
from node_support import RGB, WAIT_S, Stage
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from ros_support import FRAME, camera_info, image, person
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from std_msgs.msg import String
from std_srvs.srv import SetBool
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from lifting_ros.config import ConfigError
from lifting_ros.ros import body_models, camera_feed, outputs, worker
from lifting_ros.ros.conversions import persons_to_array_2d
from lifting_ros.ros.inputs import Job, stamp_ns


@pytest.fixture
def stage():
    """Function from parameters to a Stage whose node is active, but for start=False."""
    made = []

    def make(start: bool = True, **overrides) -> Stage:
        made.append(Stage(**overrides))
        if start:
            made[-1].node.start()
        return made[-1]

    yield make
    for one in made:
        one.close()


def call(stage: Stage, kind: type, service: str, request):
    client = stage.peer.create_client(kind, service)
    stage.until(client.service_is_ready, service)
    future = client.call_async(request)
    stage.until(future.done, f"the answer of {service}")
    return future.result()


def change(stage: Stage, transition: int) -> bool:
    return call(
        stage,
        ChangeState,
        "/lifting/change_state",
        ChangeState.Request(transition=Transition(id=transition)),
    ).success


def state(stage: Stage) -> str:
    return call(stage, GetState, "/lifting/get_state", GetState.Request()).current_state.label


# --- its life ---


def test_nothing_is_loaded_or_subscribed_before_it_is_asked_for(stage):
    s = stage(start=False)
    s.listen()
    s.publisher(Image, "image")
    s.spin(0.5)
    assert state(s) == "unconfigured" and s.estimator is None and not s.subscribed()
    assert change(s, Transition.TRANSITION_CONFIGURE) and s.estimator is not None
    s.spin(0.5)
    assert state(s) == "inactive" and not s.subscribed()
    assert change(s, Transition.TRANSITION_ACTIVATE)
    s.until(s.subscribed)
    assert s.ask().skeletons


def test_deactivated_it_is_silent_and_activated_again_it_answers(stage):
    s = stage()
    s.connect()
    s.ask()
    assert change(s, Transition.TRANSITION_DEACTIVATE)
    s.until(lambda: not s.subscribed())
    answers = len(s.received["/lifting/skeletons_3d"])
    s.send()
    s.spin(0.5)
    assert len(s.received["/lifting/skeletons_3d"]) == answers
    assert change(s, Transition.TRANSITION_ACTIVATE)
    s.until(s.subscribed)
    assert s.ask().skeletons


def test_cleanup_releases_weights_and_allows_new_parameters(stage):
    s = stage()
    assert s.node.set_parameters([Parameter("stages", value=2)])[0].reason.startswith(
        "stages: takes effect when the node is configured"
    )
    assert change(s, Transition.TRANSITION_DEACTIVATE) and change(s, Transition.TRANSITION_CLEANUP)
    assert state(s) == "unconfigured" and s.node._estimator is None
    assert s.node.set_parameters([Parameter("stages", value=2)])[0].successful
    s.node.start()
    assert s.estimator.config.stages == 2


@pytest.mark.parametrize(
    "error",
    [OSError("weights.safetensors: no such file"), RuntimeError("CUDA error: out of memory\nmore")],
)
def test_failed_configuration_is_reported_and_can_be_retried(stage, monkeypatch, error):
    s = stage(start=False)
    make = s.node._make["image"]

    def fail(config):
        raise error

    monkeypatch.setitem(s.node._make, "image", fail)
    with pytest.raises(ConfigError, match=str(error).splitlines()[0]):
        s.node.start()
    assert state(s) == "unconfigured"
    monkeypatch.setitem(s.node._make, "image", make)
    s.node.start()
    assert state(s) == "active"


@pytest.mark.parametrize("step", ["Worker", "publish_info", "_poll_graph"])
def test_failed_activation_is_reported_and_can_be_retried(stage, monkeypatch, step):
    s = stage(start=False)
    owners = {"Worker": camera_feed, "publish_info": s.feed.outputs, "_poll_graph": s.node}

    def fail(*_):
        raise RuntimeError("not authorised to subscribe\nmore")

    with monkeypatch.context() as patch:
        patch.setattr(owners[step], step, fail)
        with pytest.raises(ConfigError, match="^not authorised to subscribe$"):
            s.node.start()
    assert state(s) == "unconfigured"
    assert s.feed.worker is None and s.node._estimator is None
    s.node.start()
    s.connect()
    assert s.ask().skeletons


@pytest.mark.parametrize("active", [True, False])
def test_it_shuts_down_from_wherever_it_is(stage, active):
    s = stage(start=active)
    transition = (
        Transition.TRANSITION_ACTIVE_SHUTDOWN
        if active
        else Transition.TRANSITION_UNCONFIGURED_SHUTDOWN
    )
    assert change(s, transition) and state(s) == "finalized"


def test_images_are_taken_only_while_somebody_listens(stage):
    s = stage()
    s.publisher(Image, "image")
    s.spin(0.5)
    assert not s.subscribed()
    listener = s.peer.create_subscription(
        Skeleton2DArray, "/lifting/skeletons_2d", lambda _: None, 10
    )
    s.until(s.subscribed)
    s.peer.destroy_subscription(listener)
    s.until(lambda: not s.subscribed())
    assert s.node.set_parameters([Parameter("lazy", value=False)])[0].successful
    s.until(s.subscribed)


def test_frames_on_tf_are_wanted_even_where_nobody_else_listens(stage):
    """Everybody listens to /tf, this node as well: who does says nothing."""
    s = stage(tf__publish=True)
    s.publisher(Image, "image")
    s.until(s.subscribed)


def test_tf_is_advertised_only_while_it_is_asked_for(stage):
    s = stage()
    frames = s.listen(TFMessage, "/tf")
    s.connect()
    s.ask()
    names = [info.node_name for info in s.peer.get_publishers_info_by_topic("/tf")]
    assert "lifting" not in names

    for wanted in (True, False, True):
        assert s.node.set_parameters([Parameter("tf.publish", value=wanted)])[0].successful
        s.until(lambda wanted=wanted: (s.peer.count_publishers("/tf") > 0) == wanted)
    s.until(lambda: s.node.count_subscribers("/tf"))
    frames.clear()
    s.ask()
    s.until(lambda: frames, "frames")

    assert change(s, Transition.TRANSITION_DEACTIVATE) and change(s, Transition.TRANSITION_CLEANUP)
    s.until(lambda: s.peer.count_publishers("/tf") == 0)


def test_the_diagnostics_say_what_state_it_is_in(stage):
    s = stage()
    assert s.diagnostics()["message"] == "idle"
    s.connect()
    told = {}
    while told.get("rate [Hz]", "0.0") == "0.0":  # the answer may fall between two periods
        s.ask()
        told = s.diagnostics()
    assert told["message"] == "active" and told["level"] == 0 and told["lifter"] == "ppca"
    assert change(s, Transition.TRANSITION_DEACTIVATE)
    assert s.diagnostics()["message"] == "inactive"


def test_tf_is_listened_to_only_while_it_is_needed(stage):
    """On a robot /tf is the busiest topic."""
    s = stage(tf__target_frame="map", tf__timeout_s=5.0)

    def topics() -> set[str]:
        return {
            info.node_name
            for topic in ("/tf", "/tf_static")
            for info in s.peer.get_subscriptions_info_by_topic(topic)
        }

    static_tf(s).publish(transform("map", FRAME, 0, move=(1.0, 2.0, 3.0)))
    s.publisher(Image, "image")
    s.spin(0.5)
    assert not topics()
    for _ in range(2):
        s.listen()
        s.until(lambda: s.subscribed() and topics() == {"lifting"}, "the subscriptions")
        s.until(lambda: s.node._transforms._tree._edges, "the transform")
        assert s.ask().header.frame_id == "map"  # latched transforms come again
        s.peer.destroy_subscription(list(s.peer.subscriptions)[-1])
        s.until(lambda: not topics(), "the end of the subscriptions")


def test_what_nobody_listens_to_is_not_made(stage, monkeypatch):
    made = []
    for name in (
        "persons_to_array_2d",
        "persons_to_array_3d",
        "hypotheses_to_array",
        "debug_image",
    ):
        make = getattr(outputs, name)
        monkeypatch.setattr(
            outputs, name, lambda *args, name=name, make=make: (made.append(name), make(*args))[1]
        )
    for name in ("body_urdf", "joint_positions"):
        monkeypatch.setattr(body_models, name, lambda *args, name=name: made.append(name))
    s = stage()
    s.connect()
    s.ask()
    assert made == ["persons_to_array_3d"]
    flat = s.listen(Skeleton2DArray, "/lifting/skeletons_2d")
    s.until(lambda: s.feed.outputs._is_wanted("~/skeletons_2d"), "the listener")
    s.ask()
    s.until(lambda: flat, "keypoints")
    assert set(made) == {"persons_to_array_2d", "persons_to_array_3d"}


def test_enable_stops_and_starts_the_work(stage):
    s = stage()
    s.connect()
    assert call(s, SetBool, "/lifting/enable", SetBool.Request(data=False)).message == "disabled"
    s.until(lambda: not s.subscribed())
    assert s.diagnostics()["message"] == "disabled"
    assert call(s, SetBool, "/lifting/enable", SetBool.Request(data=True)).success
    s.until(s.subscribed)
    assert s.ask().skeletons


def test_disabling_drops_the_queue_and_stops_publishing(stage):
    import threading

    s = stage(queue=10, qos__depth=10)
    s.connect()
    gate = s.hold_answers()
    clear, cleared = s.feed.worker._queue.clear, threading.Event()

    def clear_and_say():
        clear()
        cleared.set()

    s.feed.worker._queue.clear = clear_and_say
    answers = s.received["/lifting/skeletons_3d"]
    first = s.send()
    s.until(lambda: s.estimator.calls)
    for n in range(5):
        s.send()
        s.until(lambda n=n: len(s.feed.worker._queue._items) == n + 1)

    def answer_once_it_waits():
        cleared.wait(WAIT_S)
        gate.set()

    threading.Thread(target=answer_once_it_waits).start()
    assert call(s, SetBool, "/lifting/enable", SetBool.Request(data=False)).success
    assert not s.feed.worker._busy.locked() and not s.feed.worker._queue._items
    s.spin(0.5)
    assert [stamp_ns(m) for m in answers] == [first] and len(s.estimator.calls) == 1
    assert call(s, SetBool, "/lifting/enable", SetBool.Request(data=True)).success
    s.until(s.subscribed)
    assert s.ask().skeletons


def test_told_to_end_it_gives_up_the_current_image(stage):
    """A network may take seconds for it on a loaded machine; launch waits for the process."""
    s = stage()
    s.connect()
    gate = s.hold_answers()
    s.send()
    s.until(lambda: s.estimator.calls)
    worker = s.feed.worker
    rclpy.shutdown(context=s.context)  # as a signal does
    s.node.close()
    assert worker._busy.locked() and s.feed.worker is None
    gate.set()
    worker._thread.join()
    assert not s.received["/lifting/skeletons_3d"]


def test_an_image_on_its_way_to_the_worker_is_given_up_as_well(stage):
    s = stage()
    s.connect()
    s.ask()
    worker = s.feed.worker
    with worker._busy:  # the worker has taken the image, and waits here
        worker._queue.put(Job(image(RGB, "rgb8")))
        s.until(lambda: not worker._queue._items, "the worker")
        worker._running = False  # as `pause` sets it, which would wait here as well
    s.spin(0.3)
    assert len(s.estimator.calls) == 1


# --- what it takes ---


@pytest.mark.parametrize(
    "first, second", [("BEST_EFFORT", "RELIABLE"), ("RELIABLE", "BEST_EFFORT")]
)
def test_subscriptions_follow_their_publishers(stage, first, second):
    """A reliable subscription does not hear a best-effort publisher; a best-effort one loses what a
    reliable one would bring again."""
    s = stage()
    s.listen()
    for policy in (first, second):
        publisher = s.peer.create_publisher(
            Image, "image", QoSProfile(depth=5, reliability=ReliabilityPolicy[policy])
        )
        s.until(lambda p=publisher: p.get_subscription_count())
        offered = [
            i.qos_profile.reliability for i in s.peer.get_subscriptions_info_by_topic("/image")
        ]
        assert offered == [ReliabilityPolicy[policy]]
        before = len(s.received["/lifting/skeletons_3d"])
        message = image(RGB, "rgb8")
        message.header.stamp.sec += before  # the second one is later
        publisher.publish(message)
        s.until(lambda b=before: len(s.received["/lifting/skeletons_3d"]) > b)
        s.peer.destroy_publisher(publisher)
        s.until(lambda: not s.peer.get_subscriptions_info_by_topic("/image"))


def test_best_effort_publisher_joining_reliable_one_is_heard(stage):
    s = stage()
    s.connect()
    s.ask()
    unheard = PublisherEventCallbacks(
        use_default_callbacks=False
    )  # that it does not fit at first is the point
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    late = s.peer.create_publisher(Image, "image", qos, event_callbacks=unheard)
    s.until(lambda: late.get_subscription_count())
    before = len(s.received["/lifting/skeletons_3d"])
    late.publish(image(RGB, "rgb8"))
    s.until(lambda: len(s.received["/lifting/skeletons_3d"]) > before)


def test_an_image_that_was_published_once_and_latched_is_taken(stage):
    s = stage()
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    s.publisher(Image, "image", qos)
    s.send()
    s.spin(0.3)
    s.listen()
    s.until(lambda: s.received["/lifting/skeletons_3d"], "the answer to an image from before")


def test_quality_of_service_can_be_overridden_for_every_topic(stage):
    overrides = {
        "qos_overrides./image.subscription.reliability": "best_effort",
        "qos_overrides./lifting/skeletons_3d.publisher.depth": 3,
    }
    s = stage(tf__target_frame="map", depth__enabled=True, **overrides)
    s.connect()
    for kind, topic in ((CameraInfo, "camera_info"), (Image, "depth")):
        s.publisher(kind, topic)
        s.until(lambda topic=topic: s.subscribed(topic), topic)
    (info,) = s.peer.get_subscriptions_info_by_topic("/image")
    assert info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    used = {
        f"{name}.publisher"
        for name, _ in s.node.get_publisher_names_and_types_by_node("lifting", "/")
    }
    used |= {
        f"{name}.subscription"
        for name, _ in s.node.get_subscriber_names_and_types_by_node("lifting", "/")
    }
    of_ros = {
        f"/{name}.publisher" for name in ("rosout", "parameter_events", "lifting/transition_event")
    }
    declared = s.node.get_parameters_by_prefix("qos_overrides")
    assert {
        name.rpartition(".")[0] for name in declared if name.endswith(".reliability")
    } == used - of_ros
    assert s.node.get_parameter("qos_overrides./lifting/skeletons_3d.publisher.depth").value == 3


def test_camera_info_late_lost_and_changed(stage):
    s = stage()
    s.connect()
    s.ask()
    assert s.estimator.calls[-1]["camera"] is None
    s.tell(camera_info(32, 24, 30.0))
    s.ask()
    assert s.estimator.calls[-1]["camera"].matrix[0, 0] == 30.0
    s.peer.destroy_publisher(s._publishers.pop("camera_info"))
    s.until(lambda: not s.peer.get_subscriptions_info_by_topic("/camera_info"))
    s.ask()
    assert s.estimator.calls[-1]["camera"].matrix[0, 0] == 30.0
    s.tell(camera_info(32, 24, 55.0))
    s.ask()
    assert s.estimator.calls[-1]["camera"].matrix[0, 0] == 55.0


def test_an_image_gets_the_camera_info_of_its_own_stamp(stage):
    s = stage()
    s.connect()
    s.tell(camera_info(32, 24, 30.0), seconds=100.0)
    s.tell(camera_info(32, 24, 60.0), seconds=101.0)
    s.tell(
        camera_info(32, 24, 45.0), seconds=100.0
    )  # a driver that stamps all of them alike: the newest of those
    s.tell(camera_info(32, 24, 60.0), seconds=101.0)
    for seconds, focal in ((100.0, 45.0), (101.0, 60.0), (102.0, 60.0)):
        s.ask(seconds=seconds)
        assert s.estimator.calls[-1]["camera"].matrix[0, 0] == focal


def test_compressed_images_follow_image_transport_names(stage):
    s = stage(image_transport="compressed")
    s.listen()
    s.publisher(CompressedImage, "image/compressed")
    s.until(lambda: s.subscribed("image/compressed"))
    s.send(
        CompressedImage(format="png", data=cv2.imencode(".png", RGB[..., ::-1])[1].tobytes()),
        topic="image/compressed",
    )
    s.until(lambda: s.received["/lifting/skeletons_3d"])
    np.testing.assert_array_equal(s.estimator.calls[-1]["image"], RGB)


def png(pixels: np.ndarray) -> CompressedImage:
    return CompressedImage(format="png", data=cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())


@pytest.mark.parametrize(
    ("transport", "topic", "kind"),
    [
        ("raw", "image", CompressedImage),  # image:=/camera/image_raw/compressed
        ("raw", "image/compressed", CompressedImage),
        ("compressed", "image", CompressedImage),
        ("compressed", "image", Image),
    ],
)
def test_images_that_are_there_are_used_and_it_is_said(stage, monkeypatch, transport, topic, kind):
    said = []
    monkeypatch.setattr(camera_feed.CameraFeed, "_log", lambda self, text: said.append(text))
    s = stage(image_transport=transport)
    answers = s.listen()
    s.publisher(kind, topic)
    s.until(lambda: s.subscribed(topic), "the subscription")
    s.send(image(RGB, "rgb8") if kind is Image else png(RGB), topic=topic)
    s.until(lambda: answers)
    np.testing.assert_array_equal(s.estimator.calls[-1]["image"], RGB)
    asked = "Image on /image" if transport == "raw" else "CompressedImage on /image/compressed"
    line = f"image: nobody publishes {asked}, so {kind.__name__} on /{topic} is used"
    assert said.count(line) == 1
    assert s.feed.expected_topic() == f"/{topic}"


def test_the_transport_asked_for_is_used_once_it_is_there(stage):
    s = stage()
    s.listen()
    s.publisher(CompressedImage, "image/compressed")
    s.until(lambda: s.subscribed("image/compressed"), "the other subscription")
    s.connect()
    s.until(lambda: not s.subscribed("image/compressed"), "the end of the other one")
    assert s.ask().skeletons and s.feed.expected_topic() == "/image"


def test_a_topic_without_images_is_named_with_its_type(stage, monkeypatch):
    said = []
    monkeypatch.setattr(camera_feed.CameraFeed, "_log", lambda self, text: said.append(text))
    s = stage()
    s.listen()
    s.publisher(CameraInfo, "image")
    s.until(lambda: said, "the warning")
    assert said[0] == (
        "image: /image has sensor_msgs/msg/CameraInfo, expected sensor_msgs/msg/Image or"
        " sensor_msgs/msg/CompressedImage"
    )


@pytest.mark.parametrize(
    ("topic", "overrides", "expected"),
    [
        ("keypoints", {"input": "keypoints"}, "lifting_ros/msg/Skeleton2DArray"),
        ("foreign_keypoints", {"input": "keypoints"}, "lifting_ros/msg/ForeignKeypoints2DArray"),
        ("camera_info", {}, "sensor_msgs/msg/CameraInfo"),
        ("depth", {"depth__enabled": True}, "sensor_msgs/msg/Image"),
    ],
)
def test_any_other_topic_of_another_type_is_named(stage, monkeypatch, topic, overrides, expected):
    said = []
    monkeypatch.setattr(camera_feed.CameraFeed, "_log", lambda self, text: said.append(text))
    s = stage(**overrides)
    s.listen()
    s.publisher(String, topic)
    s.until(lambda: said, "the warning")
    assert said[0] == f"{topic}: /{topic} has std_msgs/msg/String, expected {expected}"
    s.publisher(String, topic).publish(String(data="no reader of it"))
    s.spin(0.2)
    assert not s.estimator.calls


def test_a_depth_image_of_the_same_moment_goes_along(stage):
    s = stage(depth__enabled=True)
    s.connect()
    s.publisher(Image, "depth")
    s.until(lambda: s.subscribed("depth"))
    depth = np.full((24, 32), 2500, np.uint16)
    stamp = s.send(seconds=50.0)
    s.send(image(depth, "16UC1"), seconds=50.01, topic="depth")
    s.until(lambda: s.received["/lifting/skeletons_3d"])
    assert stamp_ns(s.received["/lifting/skeletons_3d"][-1]) == stamp
    np.testing.assert_allclose(s.estimator.calls[-1]["depth"], 2.5)


def test_a_depth_image_that_cannot_be_used_costs_the_depth_alone(stage):
    s = stage(depth__enabled=True)
    s.connect()
    s.publisher(Image, "depth")
    s.until(lambda: s.subscribed("depth"))
    s.send(seconds=50.0)
    s.send(image(RGB, "rgb8"), seconds=50.0, topic="depth")
    s.until(lambda: s.received["/lifting/skeletons_3d"])
    assert s.estimator.calls[-1]["depth"] is None and s.feed.tally.total_dropped == {
        "depth not usable": 1
    }


def test_image_waiting_for_depth_is_dropped_without_listeners(stage):
    s = stage(depth__enabled=True)
    s.connect()
    s.send()
    pairs = s.feed.inputs._pairs
    s.until(lambda: pairs._waiting is not None)
    pairs.add_depth(image(np.zeros((2, 2), np.uint16), "16UC1"))
    assert call(s, SetBool, "/lifting/enable", SetBool.Request(data=False)).success
    assert pairs._waiting is None and not pairs._depths


def test_keypoints_instead_of_images(stage):
    s = stage(input="keypoints")
    s.listen()
    s.publisher(Skeleton2DArray, "keypoints")
    s.until(lambda: s.subscribed("keypoints"))
    flat = person(np.random.default_rng(4))
    s.send(persons_to_array_2d([flat], image(RGB, "rgb8").header), topic="keypoints")
    s.until(lambda: s.received["/lifting/skeletons_3d"])
    (skeleton,) = s.estimator.calls[-1]["skeletons"]
    for field in ("keypoints_px", "confidence", "covariance_px2"):
        np.testing.assert_allclose(getattr(skeleton, field), getattr(flat.skeleton_2d, field))


def test_keypoints_of_other_detectors_are_converted(stage):
    s = stage(input="keypoints")
    s.listen()
    s.publisher(ForeignKeypoints2DArray, "foreign_keypoints")
    s.until(lambda: s.subscribed("foreign_keypoints"))
    points = [Keypoint2D(x=10.0 + k, y=20.0 * k, confidence=0.9) for k in range(17)]
    for wrong in ({"convention": "coco18"}, {"convention": "body25"}):
        s.send(
            ForeignKeypoints2DArray(people=[ForeignKeypoints2D(keypoints=points)], **wrong),
            topic="foreign_keypoints",
        )
    s.until(lambda: s.feed.tally.total_dropped["not usable"])
    s.send(
        ForeignKeypoints2DArray(
            people=[ForeignKeypoints2D(score=0.5, keypoints=points)], convention="coco17"
        ),
        topic="foreign_keypoints",
    )
    s.until(lambda: s.received["/lifting/skeletons_3d"])
    (skeleton,) = s.estimator.calls[-1]["skeletons"]
    np.testing.assert_allclose(skeleton.keypoints_px[2], [16.0, 120.0])  # the right shoulder
    assert (
        skeleton.score == 0.5 and np.isnan(skeleton.covariance_px2).all(axis=(1, 2))[2:].all()
    )  # nobody filled the fields


def test_it_works_while_simulated_time_stands_still(stage):
    s = stage(use_sim_time=True)
    s.connect()
    assert s.ask().skeletons and s.diagnostics()["message"]


# --- what it gives ---


def transform(
    parent: str, child: str, seconds: float, move=(0.0, 0.0, 0.0), turn=(0.0, 0.0, 0.0, 1.0)
) -> TFMessage:
    one = TransformStamped(child_frame_id=child)
    one.header.frame_id, one.header.stamp.sec = parent, int(seconds)
    t, q = one.transform.translation, one.transform.rotation
    (t.x, t.y, t.z), (q.x, q.y, q.z, q.w) = move, turn
    return TFMessage(transforms=[one])


def static_tf(s: Stage):
    return s.publisher(
        TFMessage, "/tf_static", QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    )


def test_target_frame_moves_the_3d_part_alone(stage):
    s = stage(tf__target_frame="map")
    flat = s.listen(Skeleton2DArray, "/lifting/skeletons_2d")
    s.connect()
    static_tf(s).publish(transform("map", FRAME, 0, move=(1.0, 2.0, 3.0)))
    figure = person(np.random.default_rng(7))
    s.estimator.answer = lambda call: [figure]
    s.until(lambda: s.node._transforms._tree._edges)
    answer = s.ask()
    assert answer.header.frame_id == "map" and flat[-1].header.frame_id == FRAME
    at = answer.skeletons[0].joints[10].position
    np.testing.assert_allclose(
        [at.x, at.y, at.z], figure.skeleton_3d.joints_m[10] + [1, 2, 3], atol=1e-6
    )


@pytest.mark.parametrize("target", ["map", "/map"])
def test_leading_slashes_of_frames_mean_nothing(stage, target):
    s = stage(tf__target_frame=target)
    s.connect()
    static_tf(s).publish(transform("/map", f"/{FRAME}", 0, move=(1.0, 2.0, 3.0)))
    figure = person(np.random.default_rng(7))
    s.estimator.answer = lambda call: [figure]
    s.until(lambda: s.node._transforms._tree._edges)
    for frame_id in (FRAME, f"/{FRAME}"):
        message = image(RGB, "rgb8")
        message.header.frame_id = frame_id
        answer = s.ask(message)
        assert answer.header.frame_id == "map"
        x = answer.skeletons[0].joints[10].position.x
        assert x == pytest.approx(figure.skeleton_3d.joints_m[10, 0] + 1, abs=1e-6)


def test_an_image_in_the_target_frame_needs_no_transform(stage):
    s = stage(tf__target_frame=FRAME, tf__timeout_s=0.0)
    s.connect()
    message = image(RGB, "rgb8")
    message.header.frame_id = f"/{FRAME}"
    assert s.ask(message).skeletons


def test_target_frame_applies_to_3d_topics_only(stage):
    s = stage(tf__target_frame="map", tf__publish=True)
    hypotheses, markers = (
        s.listen(HypothesisArray, "/lifting/hypotheses"),
        s.listen(MarkerArray, "/lifting/markers"),
    )
    frames, drawn = s.listen(TFMessage, "/tf"), s.listen(Image, "/lifting/debug_image")
    s.connect()
    static_tf(s).publish(transform("map", FRAME, 0, move=(1.0, 2.0, 3.0)))
    s.until(lambda: s.node._transforms._tree._edges)
    s.until(
        lambda: all(
            s.feed.outputs._is_wanted(f"~/{name}")
            for name in ("hypotheses", "markers", "debug_image")
        ),
        "the listeners",
    )
    s.ask()
    s.until(lambda: hypotheses and markers and frames and drawn)
    assert hypotheses[-1].header.frame_id == frames[-1].transforms[0].header.frame_id == "map"
    assert {marker.header.frame_id for marker in markers[-1].markers} == {"map"} and drawn[
        -1
    ].header.frame_id == FRAME


def test_transforms_are_forgotten_when_time_jumps_back(stage):
    """A simulation that is started again: a lookup must not be answered from the run before."""
    s = stage(tf__target_frame="map", tf__timeout_s=0.0, use_sim_time=True)
    s.connect()
    clock, moving = s.publisher(Clock, "/clock"), s.publisher(TFMessage, "/tf")
    s.until(lambda: s.subscribed("/clock") and s.subscribed("/tf"))

    def edges() -> set:
        return set(s.node._transforms._tree._edges)

    def at(seconds: int) -> None:
        clock.publish(Clock(clock=Time(sec=seconds)))
        s.until(lambda: s.node.get_clock().now().nanoseconds == seconds * 10**9, "the time")

    at(100)
    static_tf(s).publish(transform("base", FRAME, 0))
    # in one message, so that the second is there when the first is
    both = [transform("map", "base", seconds).transforms[0] for seconds in (100, 102)]
    moving.publish(TFMessage(transforms=both))
    s.until(lambda: edges() == {"base", FRAME})
    assert s.ask(seconds=101.0).header.frame_id == "map"
    at(99)
    assert edges() == {FRAME}
    s.send(seconds=101.5)
    s.until(lambda: s.feed.tally.total_dropped["no transform"] == 1)


def test_without_the_transform_2d_goes_on_and_the_cause_is_told(stage):
    s = stage(tf__target_frame="map", tf__timeout_s=0.0)
    flat = s.listen(Skeleton2DArray, "/lifting/skeletons_2d")
    s.connect()
    s.send()
    s.until(lambda: flat)
    assert (
        s.feed.tally.total_dropped["no transform"] == 1 and not s.received["/lifting/skeletons_3d"]
    )


def test_up_comes_from_gravity_frame_where_there_is_one(stage):
    s = stage(tf__gravity_frame="map", tf__timeout_s=0.0)
    s.connect()
    s.ask()
    np.testing.assert_allclose(s.estimator.calls[-1]["up"], [0, -1, 0])
    half = np.sqrt(0.5)
    static_tf(s).publish(
        transform("map", FRAME, 0, turn=(half, 0.0, 0.0, half))
    )  # y of the camera is z of the map
    s.until(lambda: s.node._transforms._tree._edges)
    s.ask()
    np.testing.assert_allclose(s.estimator.calls[-1]["up"], [0, 1, 0], atol=1e-12)


def test_bodies_on_tf_on_request(stage):
    s = stage(tf__publish=True, tf__prefix="r1/")
    frames = s.listen(TFMessage, "/tf")
    s.connect()
    answer = s.ask()
    s.until(lambda: frames)
    body = frames[-1].transforms[0]
    assert (body.header.frame_id, body.child_frame_id) == (
        FRAME,
        "r1/body_1",
    ) and body.header.stamp == answer.header.stamp


def test_hypotheses_are_given_to_those_who_ask(stage):
    s = stage()
    got = s.listen(HypothesisArray, "/lifting/hypotheses")
    s.connect()
    figure = person(np.random.default_rng(2))
    modes = np.random.default_rng(3).normal(size=(3, 17, 3))
    pose = dataclasses.replace(
        figure.skeleton_3d, hypotheses_m=modes, hypothesis_weight=np.array([0.6, 0.4, np.nan])
    )
    s.estimator.answer = lambda call: [dataclasses.replace(figure, skeleton_3d=pose)]
    s.ask()
    s.until(lambda: got)
    assert [(h.person, h.weight) for h in got[-1].hypotheses] == [(0, 0.6), (0, 0.4)]
    assert got[-1].hypotheses[1].joints[16].z == modes[1, 16, 2]


def test_joint_states_and_urdfs_are_given_to_those_who_ask(stage):
    s = stage()
    people = [person(np.random.default_rng(seed)) for seed in (2, 3)]
    s.estimator.answer = lambda call: people
    s.publisher(Image, "image")
    states = s.listen(JointState, "/lifting/joint_states")
    s.until(s.subscribed, "images wanted for joint states alone")
    s.until(lambda: s.feed.outputs._is_wanted("~/joint_states"), "the listener")
    stamp = s.send(seconds=5.0)
    s.until(lambda: states, "joint states")
    assert stamp_ns(states[0]) == stamp and len(states[0].name) == len(states[0].position) > 60
    assert {name[-2:] for name in states[0].name} == {"_1", "_2"}

    # The URDFs that the joint states go with, for who asks later
    latched = QoSProfile(depth=8, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    urdfs = s.listen(String, "/lifting/urdf", latched)
    s.until(lambda: len(urdfs) == 2, "a URDF of each")
    assert [urdf.data[:20] for urdf in urdfs] == ['<robot name="body_1"', '<robot name="body_2"']
    s.until(lambda: s.feed.outputs._is_wanted("~/urdf"), "the listener")
    s.send(seconds=5.1)
    s.until(lambda: len(states) == 2, "the next joint states")
    assert len(urdfs) == 2 and states[1].name == states[0].name


def test_urdf_keeps_one_for_each_body(stage):
    s = stage(start=False, tf__bodies=12)
    (result,) = s.node.set_parameters([Parameter("tf.bodies", value=20)])
    assert not result.successful  # the topic is there already
    s.node.start()
    sent = [f"<robot name='{number}'/>" for number in range(12)]
    for text in sent:
        s.feed.outputs._publishers["~/urdf"].publish(String(data=text))
    latched = QoSProfile(depth=50, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    received = s.listen(String, "/lifting/urdf", latched)
    s.until(lambda: received and received[-1].data == sent[-1], "the last one")
    assert [message.data for message in received] == sent


def test_ids_velocities_and_limbs_come_with_the_frames(stage):
    s = stage()
    s.connect()
    figure = person(np.random.default_rng(2), invalid=())
    s.estimator.answer = lambda call: [figure]
    answers = [s.ask(seconds=20 + n / 10) for n in range(3)]
    assert [a.skeletons[0].id for a in answers] == [1, 1, 1]
    assert answers[2].skeletons[0].age.nanosec == 200_000_000
    assert (
        np.isfinite(answers[2].skeletons[0].joints[3].velocity.x)
        and np.isfinite(answers[2].skeletons[0].bone_lengths).all()
    )


def test_a_stream_that_starts_again_starts_other_tracks(stage):
    """A bag in a loop: stamps jump back, and on."""
    s = stage()
    s.connect()
    figure = person(np.random.default_rng(2))
    s.estimator.answer = lambda call: [figure]
    seconds = (30.0, 30.1, 10.0, 10.1, 500.0)
    answers = [s.ask(seconds=at) for at in seconds]
    ids = [a.skeletons[0].id for a in answers]
    assert ids[0] == ids[1] and ids[2] == ids[3] and len(set(ids)) == 3 and ids == sorted(ids)


def test_a_late_image_is_dropped_and_counted_and_nobody_is_new(stage, monkeypatch):
    """15 Hz, with the fourth and the fifth image swapped, and the last one sent twice."""
    said = []
    monkeypatch.setattr(camera_feed.CameraFeed, "_log", lambda self, text: said.append(text))
    s = stage(warn_period_s=3600.0)
    s.connect()
    figure = person(np.random.default_rng(2), invalid=())
    s.estimator.answer = lambda call: [figure]
    answers = [s.ask(seconds=20 + k / 15) for k in (0, 1, 2, 4)]
    dropped = s.feed.tally.total_dropped
    for k, count in ((3, 1), (4, 2)):
        s.send(seconds=20 + k / 15)
        s.until(lambda count=count: dropped["late or repeated"] == count, "the count")
    answers.append(s.ask(seconds=20 + 5 / 15))

    assert [a.skeletons[0].id for a in answers] == [1] * 5
    assert np.isfinite(answers[-1].skeletons[0].joints[3].velocity.x)
    assert len(s.received["/lifting/skeletons_3d"]) == 5 and len(s.estimator.calls) == 5
    assert s.diagnostics()["dropped, late or repeated"] == "2"
    assert sum("late or repeated" in line for line in said) == 1  # in a period of warnings


def test_with_a_lag_each_frame_comes_later_under_its_own_stamp(stage):
    s = stage(tracking__lag_s=2.0)
    s.connect()
    sent, answers = [], s.received["/lifting/skeletons_3d"]
    for k in range(5):  # a second apart
        sent.append(s.send())
        s.until(lambda k=k: len(s.estimator.calls) == k + 1, "the image")
    s.until(lambda: len(answers) >= 3, "what is due")
    s.spin(0.5)
    assert [stamp_ns(answer) for answer in answers] == sent[:3] and all(
        answer.skeletons for answer in answers
    )


def test_images_of_equal_stamp_keep_their_headers(stage, monkeypatch):
    """With a lag, which has frames wait; a frame that fails on its way must not keep its image, nor
    shift those behind it."""
    s = stage(tracking__lag_s=2.0)
    s.connect()
    answers = s.received["/lifting/skeletons_3d"]
    worker = s.feed.worker

    def send(seconds: float, frame: str) -> None:
        message, known = image(RGB, "rgb8"), len(s.estimator.calls)
        message.header.frame_id = frame
        s.send(message, seconds)
        s.until(lambda: len(s.estimator.calls) > known, "the image")

    for seconds, frame in ((0.0, "first"), (0.0, "second"), (1.0, "third")):
        send(seconds, frame)
    update = worker._tracker.update
    monkeypatch.setattr(worker._tracker, "update", lambda *_: 1 / 0)
    send(1.5, "fails")
    s.until(lambda: s.feed.tally.total_dropped["failed (ZeroDivisionError)"])
    assert not worker._pending
    monkeypatch.setattr(worker._tracker, "update", update)
    for seconds, frame in ((23.0, "fourth"), (26.0, "fifth")):
        send(seconds, frame)
    s.until(lambda: len(answers) >= 2, "what is due")
    assert [(answer.header.stamp.sec, answer.header.frame_id) for answer in answers] == [
        (0, "first"),
        (23, "fourth"),
    ]
    assert len(worker._pending) == 1


def test_tracker_sees_the_image(stage, monkeypatch):
    """It needs it to know people who come back."""
    s = stage(tracking__reidentify_s=10.0)
    s.connect()
    worker = s.feed.worker
    update = worker._tracker.update
    seen = []

    def look(stamp, persons, image=None):
        seen.append(image)
        return update(stamp, persons, image)

    monkeypatch.setattr(worker._tracker, "update", look)
    s.ask()
    assert worker._tracker.config.reidentify_s == 10.0
    assert seen and np.array_equal(seen[0], RGB)


def test_markers_of_who_left_are_deleted(stage):
    s = stage()
    markers = s.listen(MarkerArray, "/lifting/markers")
    s.connect()
    s.ask()
    s.estimator.answer = lambda call: []
    s.ask()
    s.until(lambda: len(markers) > 1)
    from visualization_msgs.msg import Marker

    assert markers[-1].markers and {m.action for m in markers[-1].markers} == {Marker.DELETE}


@pytest.mark.parametrize("end", ["enable", "deactivate"])
def test_nobody_is_shown_any_more_when_the_work_ends(stage, end):
    """RViz would show the last ones for ever: a node that is active again begins with ids of its
    own."""
    from visualization_msgs.msg import Marker

    s = stage()
    markers = s.listen(MarkerArray, "/lifting/markers")
    s.connect()
    s.until(lambda: s.feed.outputs._is_wanted("~/markers"), "the listener")
    s.ask()
    s.until(lambda: markers)
    shown = {(m.ns, m.id) for m in markers[-1].markers}
    if end == "enable":
        call(s, SetBool, "/lifting/enable", SetBool.Request(data=False))
    else:
        assert change(s, Transition.TRANSITION_DEACTIVATE)
    s.until(lambda: len(markers) > 1, "the end of the markers")
    assert shown == {(m.ns, m.id) for m in markers[-1].markers} and {
        m.action for m in markers[-1].markers
    } == {Marker.DELETE}
    assert {m.header.frame_id for m in markers[-1].markers} == {FRAME}


def test_people_are_taken_back_when_the_camera_falls_silent(stage):
    from visualization_msgs.msg import Marker

    s = stage(silence_s=0.3)
    markers = s.listen(MarkerArray, "/lifting/markers")
    s.connect()
    s.until(lambda: s.feed.outputs._is_wanted("~/markers"), "the listener")
    s.ask()
    s.until(lambda: len(markers) >= 2, "the end of the markers")
    shown = {(m.ns, m.id) for m in markers[0].markers}
    assert shown and shown == {(m.ns, m.id) for m in markers[1].markers}
    assert {m.action for m in markers[1].markers} == {Marker.DELETE}

    s.spin(1.0)
    assert len(markers) == 2  # once
    assert s.ask().skeletons  # and it goes on
    s.until(lambda: len(markers) >= 4)
    assert {m.action for m in markers[2].markers} == {Marker.ADD}


def test_people_stay_while_an_image_is_worked_on(stage):
    """A network that takes longer than the silence."""
    s = stage(silence_s=0.2)
    markers = s.listen(MarkerArray, "/lifting/markers")
    s.connect()
    s.until(lambda: s.feed.outputs._is_wanted("~/markers"), "the listener")
    gate = s.hold_answers()
    s.send()
    s.until(lambda: s.estimator.calls)
    s.spin(1.0)
    assert not markers
    gate.set()
    s.until(lambda: markers)
    assert markers[0].markers


def test_people_stay_for_the_silence_after_a_slow_answer(stage, monkeypatch):
    from visualization_msgs.msg import Marker

    now_s = [100.0]
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    s = stage(silence_s=1.0)
    markers = s.listen(MarkerArray, "/lifting/markers")
    s.connect()
    s.until(lambda: s.feed.outputs._is_wanted("~/markers"), "the listener")
    answer = s.estimator.answer

    def slow_answer(call):
        now_s[0] += 1.5
        return answer(call)

    s.estimator.answer = slow_answer
    s.ask()
    s.until(lambda: markers and not s.feed.worker._busy.locked())
    now_s[0] += 0.9
    s.spin(0.5)
    assert len(markers) == 1
    now_s[0] += 0.2
    s.until(lambda: len(markers) == 2, "the end of the markers")
    assert {m.action for m in markers[1].markers} == {Marker.DELETE}


def test_camera_that_repeats_its_last_image_is_silent(stage):
    from visualization_msgs.msg import Marker

    s = stage(silence_s=0.3)
    markers = s.listen(MarkerArray, "/lifting/markers")
    s.connect()
    s.until(lambda: s.feed.outputs._is_wanted("~/markers"), "the listener")
    s.ask(seconds=20.0)

    def are_taken_back() -> bool:
        s.send(seconds=20.0)
        return len(markers) >= 2

    s.until(are_taken_back, "the end of the markers")
    assert {m.action for m in markers[1].markers} == {Marker.DELETE}


# --- nothing ends it ---


def test_a_device_that_runs_out_of_memory_costs_that_frame_alone(stage):
    s = stage()
    s.connect()

    def full(call):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    answer, s.estimator.answer = s.estimator.answer, full
    s.send()
    s.until(lambda: s.feed.tally.total_dropped["failed (OutOfMemoryError)"])
    told = s.diagnostics()
    s.estimator.answer = answer
    assert s.ask().skeletons
    assert told["dropped, failed (OutOfMemoryError)"] == "1"


def test_slow_network_gets_the_newest_image(stage):
    s = stage()
    s.connect()
    gate = s.hold_answers()
    first = s.send()
    s.until(lambda: s.estimator.calls)
    later = []
    for n in range(5):  # one by one: the middleware keeps the newest alone as well
        later.append(s.send())
        s.until(
            lambda n=n: (
                len(s.feed.worker._queue._items) == 1
                and s.feed.tally.total_dropped["a newer one came"] == n
            )
        )
    gate.set()
    s.until(lambda: len(s.received["/lifting/skeletons_3d"]) == 2)
    assert [stamp_ns(m) for m in s.received["/lifting/skeletons_3d"]] == [first, later[-1]]


def test_a_thousand_parameter_changes_under_load(stage):
    s = stage()
    s.connect()
    rng = np.random.default_rng(0)
    refused = 0
    for n in range(1000):
        score = float(rng.uniform(-0.5, 1.5))
        result = s.node.set_parameters_atomically(
            [Parameter("detector.score", value=score), Parameter("markers.sigma", value=2.0)]
        )
        refused += not result.successful
        assert result.successful == (0 <= score <= 1)
        s.send()
        s.executor.spin_once(timeout_sec=0.0)
        if n % 50 == 0:
            s.ask()
    assert len(s.estimator.calls) > 20
    assert 400 < refused < 600 and 0 <= s.estimator.config.detector.score <= 1
    assert s.ask().skeletons


def test_ten_thousand_malformed_messages(stage):
    """Images, compressed images and camera_infos of random fields: the node answers the next good
    one."""
    from lifting_ros.ros.conversions import ENCODINGS

    s = stage(warn_period_s=3600.0)
    s.connect()
    s.tell()
    rng = np.random.default_rng(1)
    worker = s.feed.worker

    def strange_image() -> Image:
        message = Image(
            height=int(rng.integers(0, 9)),
            width=int(rng.integers(0, 9)),
            step=int(rng.integers(0, 80)),
        )
        message.encoding = str(rng.choice([*ENCODINGS, "", "x", "bgr8; drop"]))
        message.is_bigendian, message.data = (
            int(rng.integers(0, 2)),
            rng.bytes(int(rng.integers(0, 700))),
        )
        return message

    def strange_info() -> CameraInfo:
        message = CameraInfo(height=int(rng.integers(0, 99)), width=int(rng.integers(0, 99)))
        message.d = rng.normal(size=rng.integers(0, 15)).tolist()
        numbers = rng.choice([np.nan, np.inf, 0.0, -1.0, 1e300, 30.0], 9)
        message.k, message.distortion_model = (
            numbers,
            str(rng.choice(["plumb_bob", "equidistant", "", "nonsense"])),
        )
        message.binning_x, message.roi.width = int(rng.integers(0, 2**32)), int(rng.integers(0, 99))
        return message

    for n in range(10_000):
        if n % 3 == 0:
            s.feed.inputs._infos.append(strange_info())
        worker.answer(
            Job(
                strange_image()
                if n % 4
                else CompressedImage(format="jpeg", data=rng.bytes(int(rng.integers(0, 99))))
            )
        )
    assert s.ask().skeletons
    failed = {cause for cause in s.feed.tally.total_dropped if cause.startswith("failed")}
    assert not failed, failed


@pytest.mark.parametrize("topic", ["image", "camera_info"])
def test_messages_whose_bytes_were_cut_short_or_changed(stage, topic):
    """Over the wire. (Bytes that end behind CDR's own header are not sent: Fast DDS takes them for
    a message, and rclpy dies of it.)"""
    s = stage(warn_period_s=3600.0)
    s.connect()
    s.tell()
    rng, message = (
        np.random.default_rng(2),
        image(RGB, "rgb8") if topic == "image" else camera_info(32, 24, 30.0),
    )
    good = serialize_message(message)
    for n in range(200):
        bad = bytearray(good)
        bad[int(rng.integers(4, min(len(bad), 80)))] = int(rng.integers(0, 256))
        s.publisher(type(message), topic).publish(
            bytes(bad if n % 2 else bad[: int(rng.integers(8, len(bad)))])
        )
        s.executor.spin_once(timeout_sec=0.01)
    assert s.ask().skeletons
    failed = {cause for cause in s.feed.tally.total_dropped if cause.startswith("failed")}
    assert not failed, failed


def test_diagnostics_tell_what_runs(stage):
    s = stage()
    s.connect()
    idle = s.diagnostics()
    assert idle["level"] == 1 and idle["message"] == "no frames on /image"
    for _ in range(3):
        s.ask()
    told = s.diagnostics()
    assert (
        told["device"] == "cpu"
        and told["weights SHA-256"] == "ab" * 32
        and float(told["memory [MB]"]) > 20
    )


def test_frames_that_take_long_are_not_called_missing(stage):
    s = stage()
    s.connect()
    gate = s.hold_answers()
    s.send()
    s.until(lambda: s.estimator.calls)
    told = {}
    while told.get("input rate [Hz]", "0.0") == "0.0":  # another one in each period
        s.send()
        told = s.diagnostics()
    gate.set()
    assert told["level"] == 1 and told["message"] == "no answer yet to the frames on /image"


def test_no_step_is_counted_twice(stage):
    s = stage()
    s.connect()
    told = {}
    while told.get("lift [ms]", "-") == "-":  # the answers may fall between two periods
        s.ask()
        told = s.diagnostics()
    assert (told["detect [ms]"], told["network [ms]"], told["lift [ms]"]) == (
        "1.00",
        "2.00",
        "0.00",
    )  # what the estimator says
    assert (
        all(float(told[f"{step} [ms]"]) >= 0 for step in ("convert", "track", "publish"))
        and told["transform [ms]"] == "-"
    )


def test_restarted_reliable_publisher_loses_nothing(stage):
    s = stage()
    s.connect()
    s.ask()
    s.peer.destroy_publisher(s._publishers.pop("image"))
    s.until(lambda: not s.peer.get_subscriptions_info_by_topic("/image"))
    s.publisher(Image, "image")
    s.until(s.subscribed)
    assert isinstance(s.ask(), Skeleton3DArray)
