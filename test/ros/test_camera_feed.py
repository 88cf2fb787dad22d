# SPDX-License-Identifier: Apache-2.0
"""Several cameras in one node: each has its own topics, people and faults; they share an estimator
by turns."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from lifting_ros.msg import Skeleton3DArray
from node_support import RGB, WAIT_S, Stage
from rclpy.parameter import Parameter
from ros_support import camera_info, image, person
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import SetBool
from tf2_msgs.msg import TFMessage

from lifting_ros.config import ConfigError
from lifting_ros.ros.camera_names import CameraNames, check_cameras
from lifting_ros.ros.inputs import stamp_ns
from lifting_ros.ros.outputs import LATCHED
from lifting_ros.ros.shared_estimator import SharedEstimator

CAMERAS = ("front", "rear")


@pytest.fixture
def stage():
    """Function from parameters to a Stage whose node has two cameras, heard and sent to."""
    made = []

    def make(listen: tuple[str, ...] = CAMERAS, **overrides) -> Stage:
        made.append(Stage(cameras=list(CAMERAS), **overrides))
        one = made[-1]
        one.node.start()
        for camera in CAMERAS:
            one.publisher(Image, f"{camera}/image")
        for camera in listen:
            one.listen(topic=skeletons(camera))
            one.until(lambda camera=camera: one.subscribed(f"{camera}/image"), "subscription")
        return one

    yield make
    for one in made:
        one.close()


def skeletons(camera: str) -> str:
    return f"/{camera}/lifting/skeletons_3d"


def send(stage: Stage, camera: str, seconds: float | None = None) -> int:
    """Publish an image of a camera, in its own frame; its stamp."""
    message = image(RGB, "rgb8")
    message.header.frame_id = f"{camera}_optical_frame"
    return stage.send(message, seconds, topic=f"{camera}/image")


def answers(stage: Stage, camera: str) -> dict[int, Skeleton3DArray]:
    """What was published for a camera, by stamp."""
    return {stamp_ns(message): message for message in stage.received[skeletons(camera)]}


def ask(stage: Stage, camera: str, seconds: float | None = None) -> Skeleton3DArray:
    stamp = send(stage, camera, seconds)
    stage.until(lambda: stamp in answers(stage, camera), f"an answer to {camera}")
    return answers(stage, camera)[stamp]


def test_each_camera_is_answered_on_its_topics_in_its_frame(stage):
    s = stage()
    for camera in CAMERAS:
        assert ask(s, camera).header.frame_id == f"{camera}_optical_frame"
    assert [len(answers(s, camera)) for camera in CAMERAS] == [1, 1]
    names = {name for name, _ in s.node.get_publisher_names_and_types_by_node("lifting", "/")}
    assert not any(name.startswith("/lifting/skeletons") for name in names)


def test_each_camera_has_its_own_calibration(stage):
    s = stage()
    for camera, focal in zip(CAMERAS, (30.0, 60.0), strict=True):
        topic = f"{camera}/camera_info"
        s.publisher(CameraInfo, topic)
        s.until(lambda topic=topic: s.subscribed(topic), "the subscription to camera_info")
        s.send(camera_info(32, 24, focal), topic=topic)
    s.until(lambda: all(feed.inputs._infos for feed in s.node.feeds), "camera_info")
    for camera, focal in zip(CAMERAS, (30.0, 60.0), strict=True):
        ask(s, camera)
        assert s.estimator.calls[-1]["camera"].matrix[0, 0] == focal


def test_people_keep_their_ids_whatever_the_other_camera_sees(stage):
    s = stage()
    somebody = s.estimator.answer({})
    elsewhere = [person(np.random.default_rng(7)) for _ in range(2)]
    s.estimator.answer = lambda call: somebody
    (first,) = ask(s, "front", 5.0).skeletons
    s.estimator.answer = lambda call: elsewhere
    for seconds in (5.05, 5.1, 5.15):
        ask(s, "rear", seconds)
    s.estimator.answer = lambda call: somebody
    (again,) = ask(s, "front", 5.1).skeletons
    assert again.id == first.id > 0


def test_a_camera_nobody_listens_to_is_not_subscribed_to(stage):
    s = stage(listen=("front",))
    s.spin(0.5)
    assert not s.subscribed("rear/image")
    ask(s, "front")


def test_a_camera_can_be_disabled_alone(stage):
    s = stage()
    client = s.peer.create_client(SetBool, "/rear/lifting/enable")
    s.until(client.service_is_ready, "the service")
    future = client.call_async(SetBool.Request(data=False))
    s.until(future.done, "the answer")
    s.until(lambda: not s.subscribed("rear/image"), "the end of the subscription")
    ask(s, "front")
    assert [feed.state() for feed in s.node.feeds] == ["active", "disabled"]


def test_frames_on_tf_begin_with_the_name_of_the_camera(stage):
    s = stage(tf__publish=True, tf__prefix="bot_")
    frames = s.listen(TFMessage, "/tf")
    for camera in CAMERAS:
        s.until(lambda: s.peer.count_publishers("/tf") == 2, "publishers of /tf")
        count = len(frames)
        ask(s, camera)
        s.until(lambda count=count: len(frames) > count, "frames")
        assert all(f"bot_{camera}_" in one.child_frame_id for one in frames[-1].transforms)


def test_slow_camera_beside_a_fast_one_is_answered_each_time(stage):
    s = stage()
    answer = s.estimator.answer
    s.estimator.answer = lambda call: threading.Event().wait(0.02) or answer(call)
    stop = threading.Event()

    def flood():
        message = image(RGB, "rgb8")
        publisher = s.publisher(Image, "front/image")
        while not stop.wait(0.005):
            message.header.stamp = s.node.get_clock().now().to_msg()
            publisher.publish(message)

    camera = threading.Thread(target=flood)
    camera.start()
    try:
        for _ in range(10):
            ask(s, "rear")
    finally:
        stop.set()
        camera.join()
    front, rear = s.node.feeds
    assert not rear.tally.total_dropped and answers(s, "front")


def test_a_camera_is_answered_with_its_newest_image_at_its_turn(stage):
    s = stage()
    gate = s.hold_answers()
    send(s, "front")
    s.until(lambda: s.estimator.calls, "the first call")
    rear = s.node.feeds[1]
    stale = send(s, "rear")
    s.until(lambda: rear.worker._busy.locked() and not rear.worker._queue._items, "the wait")
    newest = send(s, "rear")
    s.until(lambda: rear.worker._queue._items, "the newer image")
    gate.set()
    s.until(lambda: newest in answers(s, "rear"), "an answer")
    assert stale not in answers(s, "rear")
    assert rear.tally.total_dropped == {"a newer one came": 1}


def test_a_longer_queue_loses_no_image_before_its_turn(stage):
    s = stage(queue=5, qos__depth=10)
    gate = s.hold_answers()
    send(s, "front")
    s.until(lambda: s.estimator.calls, "the first call")
    rear = s.node.feeds[1]
    stamps = [send(s, "rear")]
    s.until(lambda: rear.worker._busy.locked() and not rear.worker._queue._items, "the wait")
    for count in (1, 2):
        stamps.append(send(s, "rear"))
        s.until(lambda count=count: len(rear.worker._queue._items) == count, "the queue")
    gate.set()
    s.until(lambda: len(answers(s, "rear")) == 3, "answers")
    assert list(answers(s, "rear")) == stamps and not rear.tally.total_dropped


def test_a_missing_transform_keeps_no_other_camera_waiting(stage):
    s = stage(tf__gravity_frame="world", tf__timeout_s=10.0)
    s.until(lambda: s.peer.count_subscribers("/tf_static"), "the subscription to /tf_static")
    known = TransformStamped()
    known.header.frame_id, known.child_frame_id = "world", "rear_optical_frame"
    known.transform.rotation.w = 1.0
    latched = s.peer.create_publisher(TFMessage, "/tf_static", LATCHED)
    s.until(latched.get_subscription_count, "the subscription")
    latched.publish(TFMessage(transforms=[known]))
    s.until(lambda: s.node._transforms._tree._edges, "the transform")

    waits = threading.Event()
    goes_on = threading.Event()
    lookup = s.node._transforms.lookup

    def wait_for_front(target, source, stamp, timeout_s):
        if target.startswith("front"):
            waits.set()
            goes_on.wait(WAIT_S)
        return lookup(target, source, stamp, 0.0 if target.startswith("front") else timeout_s)

    s.node._transforms.lookup = wait_for_front
    stamp = send(s, "front")
    s.until(waits.is_set, "the wait for the transform")
    ask(s, "rear")
    assert stamp not in answers(s, "front")
    goes_on.set()
    s.until(lambda: stamp in answers(s, "front"), "the answer with the parameter up")


def test_a_camera_that_fails_costs_the_other_nothing(stage):
    s = stage(warn_period_s=0.0)
    answer = s.estimator.answer
    statuses = []
    s.peer.create_subscription(
        DiagnosticArray, "/diagnostics", lambda message: statuses.append(message.status), 10
    )

    def fail_in_front(call):
        if call["image"].sum() == 0:
            raise RuntimeError("the front is broken")
        return answer(call)

    s.estimator.answer = fail_in_front
    black = image(np.zeros_like(RGB), "rgb8")
    front, rear = s.node.feeds
    s.send(black, topic="front/image")
    s.until(lambda: front.tally.total_dropped["failed (RuntimeError)"], "the failure")
    assert ask(s, "rear").skeletons and not rear.tally.total_dropped
    s.until(lambda: statuses, "diagnostics")
    assert [status.name for status in statuses[-1]] == [
        "front/lifting: pose estimation",
        "rear/lifting: pose estimation",
    ]
    dropped = [{v.key for v in status.values if "dropped" in v.key} for status in statuses[-1]]
    assert dropped == [{"dropped, failed (RuntimeError)"}, set()]
    s.estimator.answer = answer
    assert ask(s, "front").skeletons


def test_warnings_name_their_camera(stage, monkeypatch):
    s = stage()
    said = []
    monkeypatch.setattr(
        "rclpy.impl.rcutils_logger.RcutilsLogger.warning", lambda self, text: said.append(text)
    )
    broken = image(RGB, "rgb8")
    broken.encoding = "unknown"
    s.send(broken, topic="rear/image")
    s.until(lambda: said, "a warning")
    assert said[0].startswith("rear: image not used")


def test_the_names_of_the_cameras_are_fixed(stage):
    s = stage()
    (refused,) = s.node.set_parameters([Parameter("cameras", value=["left"])])
    assert not refused.successful and "read-only" in refused.reason


@pytest.mark.parametrize(
    ("cameras", "words"),
    [
        ([], "^cameras: expected names, or .''. for one without a name, got none$"),
        (["front", ""], "^cameras: expected a name of each, got .'front', ''.$"),
        (["front", "rear", "front"], "^cameras: expected different names, got 'front' twice$"),
        (["front left"], "^cameras: expected letters, digits and underscores.*, got 'front left'$"),
        (["2nd"], "not a digit first, got '2nd'$"),
        (["robot/front"], "got 'robot/front'$"),
        (["~"], "got '~'$"),
    ],
)
def test_names_that_cannot_be_used_are_one_line(cameras, words):
    with pytest.raises(ConfigError, match=words) as caught:
        check_cameras(cameras)
    assert "\n" not in str(caught.value)


def test_one_camera_without_a_name_has_the_topics_of_the_node():
    names = CameraNames("", "lifting", "/robot")
    assert (names.beside("image"), names.own("~/info"), names.full) == (
        "image",
        "~/info",
        "robot/lifting",
    )
    names = CameraNames("front", "eyes", "/")
    assert (names.beside("image"), names.own("~/info"), names.full) == (
        "front/image",
        "front/eyes/info",
        "front/eyes",
    )


def test_turns_are_in_the_order_in_which_they_were_asked_for():
    shared = SharedEstimator(None)
    order = []
    threads = []

    def use(name: str) -> None:
        with shared.turn() as waited:
            order.append((name, waited))

    with shared.turn() as waited:
        assert not waited
        for number in range(5):
            threads.append(threading.Thread(target=use, args=(str(number),)))
            threads[-1].start()
            while shared._asked < number + 2:
                threading.Event().wait(0.001)
    for thread in threads:
        thread.join(WAIT_S)
    assert order == [(str(number), True) for number in range(5)]


def test_a_turn_that_fails_is_over():
    shared = SharedEstimator(None)
    with pytest.raises(ValueError, match="once"), shared.turn():
        raise ValueError("once")
    with shared.turn() as waited:
        assert not waited
