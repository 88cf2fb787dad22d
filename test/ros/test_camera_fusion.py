# SPDX-License-Identifier: Apache-2.0
"""The node `lifting_fusion` over real topics: two cameras in, one skeleton a person out."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
from lifting_ros.msg import Skeleton2DArray, Skeleton3DArray
from node_support import WAIT_S, NodeAndPeer
from people_in_views import FPS, MATRIX, around, frames, walker
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_support import camera_info
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from lifting_ros.config import ConfigError
from lifting_ros.geometry.body_frame import in_frame
from lifting_ros.io.pose_table import PoseFrame
from lifting_ros.ros import camera_fusion
from lifting_ros.ros.camera_fusion import _WITHOUT_TRANSFORM, FusionNode
from lifting_ros.ros.conversions import header_ns, persons_to_array_2d, persons_to_array_3d
from lifting_ros.skeleton import KEYPOINT_TO_JOINT

NAMES = ("front", "side")
VIEWS = around((0, 90))
JOINTS = walker(seconds=0.5)
PERIOD_NS = round(1e9 / FPS)
START_NS = 10**9
OUT = "/lifting_fusion/skeletons_3d"
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Stage(NodeAndPeer):
    """The node, and a peer that is both cameras and whoever listens."""

    def __init__(self, start: bool = True, **parameters):
        given = {"cameras": list(NAMES), "frame": "room", "delay_s": 0.0} | parameters
        super().__init__(FusionNode, given)
        if start:
            self.node.start()
        for topic, kind in ((OUT, Skeleton3DArray), ("/lifting_fusion/markers", MarkerArray)):
            self.peer.create_subscription(kind, topic, self.received[topic].append, 50)

        self._publishers = {}
        self._rng = np.random.default_rng(0)
        for name in NAMES:
            for kind in (Skeleton2DArray, Skeleton3DArray):
                topic = f"{name}/lifting/skeletons_{'2d' if kind is Skeleton2DArray else '3d'}"
                self._publishers[topic] = self.peer.create_publisher(kind, topic, 10)
        self._infos = {
            name: self.peer.create_publisher(type(camera_info()), f"{name}/camera_info", LATCHED)
            for name in NAMES
        }
        self._tf = self.peer.create_publisher(TFMessage, "/tf_static", LATCHED)

    def connect(self, infos: bool = True, tf: bool = True) -> None:
        """Wait for the node's subscriptions; publish calibrations and places."""
        publishers = self._publishers.values()
        self.until(lambda: all(p.get_subscription_count() for p in publishers), "subscriptions")
        if infos:
            info = camera_info(1280, 960)
            info.k = MATRIX.ravel()
            for publisher in self._infos.values():
                publisher.publish(info)
            cameras = self.node._cameras
            self.until(lambda: all(camera.info is not None for camera in cameras), "camera_info")
        if tf:
            self._tf.publish(TFMessage(transforms=[place(*pair) for pair in zip(NAMES, VIEWS)]))
            tree = self.node._transforms._tree
            self.until(lambda: len(tree._edges) == len(NAMES), "TF")

    def send(self, number: int, names=NAMES) -> int:
        """Publish what cameras see in a frame; returns its stamp. The motion repeats itself."""
        stamp = START_NS + number * PERIOD_NS
        for name, view in zip(NAMES, VIEWS):
            if name not in names:
                continue
            (frame,) = frames([view], [JOINTS[number % len(JOINTS)]], self._rng)
            to_camera = np.linalg.inv(view.pose)
            persons = [in_frame(person, to_camera) for person in frame.persons]
            persons = [replace(person, id=5) for person in persons]
            header = Header(frame_id=f"{name}_optical_frame")
            header.stamp.sec, header.stamp.nanosec = divmod(stamp, 10**9)
            flat = persons_to_array_2d(persons, header)
            lifted = persons_to_array_3d(persons, header)
            self._publishers[f"{name}/lifting/skeletons_2d"].publish(flat)
            self._publishers[f"{name}/lifting/skeletons_3d"].publish(lifted)
        return stamp


def place(name, view) -> TransformStamped:
    x, y, z, w = Rotation.from_matrix(view.pose[:3, :3]).as_quat()
    out = TransformStamped(child_frame_id=f"{name}_optical_frame")
    out.header.frame_id = "room"
    out.transform.rotation = Quaternion(x=x, y=y, z=z, w=w)
    x, y, z = view.pose[:3, 3]
    out.transform.translation = Vector3(x=x, y=y, z=z)
    return out


@pytest.fixture
def stage():
    made = []

    def make(**parameters):
        made.append(Stage(**parameters))
        return made[-1]

    yield make
    for one in made:
        one.close()


def joints_of(skeleton) -> np.ndarray:
    return np.array([(j.position.x, j.position.y, j.position.z) for j in skeleton.joints])


def test_one_skeleton_in_the_common_frame(stage):
    s = stage(rate_hz=1000.0)
    s.connect()
    observed = list(KEYPOINT_TO_JOINT)
    for number in range(8):
        stamp = s.send(number)
        s.until(lambda: s.received[OUT] and len(s.received[OUT][-1].skeletons) == 1, "an answer")
        s.until(lambda stamp=stamp: header_ns(s.received[OUT][-1].header) == stamp, "this answer")

    # The last answer may be of one camera alone, the one after it of both
    s.send(8)
    s.send(9, names=("front",))
    s.until(lambda: header_ns(s.received[OUT][-1].header) > START_NS + 8 * PERIOD_NS, "the last")
    last = s.received[OUT][-1]
    assert last.header.frame_id == "room"
    assert {person.id for message in s.received[OUT] for person in message.skeletons} == {1}
    error = np.linalg.norm(joints_of(last.skeletons[0]) - JOINTS[9], axis=1)[observed]
    assert error.mean() < 0.12
    shown = s.received["/lifting_fusion/markers"]
    s.until(lambda: shown, "markers")
    assert {marker.ns for marker in shown[-1].markers} == {"limbs", "joints"}


def test_diagnostics_tell_what_the_cameras_send(stage):
    s = stage(rate_hz=1000.0)
    told = []
    s.peer.create_subscription(DiagnosticArray, "/diagnostics", told.append, 10)
    s.connect()

    def is_told(text: str) -> bool:
        return any(text in one.status[0].message for one in told)

    s.until(lambda: is_told("no skeletons from front, side"), "a warning")
    number = 0

    def both() -> bool:
        nonlocal number
        number += 1  # stamps that fall would be late
        s.send(number)
        said = [{value.key: value.value for value in one.status[0].values} for one in told]
        return any(
            values["persons of several cameras"] == "1"
            and float(values["side: reprojection p50 [px]"]) < 30
            for values in said
        )

    s.until(both, "a person of both cameras")
    name = told[0].status[0].name
    assert name == "lifting_fusion: fusion" and {one.status[0].name for one in told} == {name}
    told.clear()
    s.node.trigger_deactivate()
    s.until(lambda: is_told("inactive"), "inactive")


def test_delayed_output_is_of_both_cameras(stage):
    s = stage(delay_s=0.04, rate_hz=30.0)
    s.connect()
    for number in range(10):
        s.send(number)
        s.until(lambda n=number: len(s.received[OUT]) >= n - 1, "answers")
    errors = []
    for message in s.received[OUT][2:]:
        at = (header_ns(message.header) - START_NS) / PERIOD_NS
        low = int(at)
        truth = JOINTS[low] + (at - low) * (JOINTS[low + 1] - JOINTS[low])
        error = np.linalg.norm(joints_of(message.skeletons[0]) - truth, axis=1)
        errors.append(error[list(KEYPOINT_TO_JOINT)].mean())
    assert errors and np.mean(errors) < 0.04


@pytest.mark.parametrize(
    ("known", "line"),
    [
        ({"infos": False}, "camera_info: none received; its skeletons are not used"),
        ({"tf": False}, "transform: front_optical_frame to room: no frame"),
    ],
)
def test_what_is_missing_is_one_warning(stage, known, line):
    s = stage(warn_period_s=3600.0)
    warnings = []
    s.node._log = warnings.append
    s.node._warn._warn = warnings.append
    s.connect(**known)
    s.send(0)
    s.send(1)
    s.until(lambda: len(warnings) == 2, "warnings")
    assert any(line in text for text in warnings)
    assert not s.received[OUT]


def moving_tf(s, stamp: int) -> None:
    """Publish the places of the cameras at a stamp on /tf, and wait until the node has them."""
    message = TFMessage(transforms=[place(*pair) for pair in zip(NAMES, VIEWS)])
    last = message.transforms[-1].child_frame_id
    for one in message.transforms:
        one.header.stamp.sec, one.header.stamp.nanosec = divmod(stamp, 10**9)
    s.moving.publish(message)
    edges = s.node._transforms._tree._edges
    s.until(lambda: last in edges and edges[last].stamps_ns[-1] == stamp, "TF")


def test_late_transforms_lose_no_camera(stage, monkeypatch):
    monkeypatch.setattr(camera_fusion, "_TRANSFORM_S", WAIT_S)
    s = stage(warn_period_s=0.0)
    warnings = []
    s.node._warn._warn = warnings.append
    s.moving = s.peer.create_publisher(TFMessage, "/tf", 10)
    s.connect(tf=False)
    s.until(lambda: s.moving.get_subscription_count(), "a listener")
    moving_tf(s, START_NS - PERIOD_NS)
    cameras = s.node._cameras
    for number in range(6):
        stamp = s.send(number)
        s.until(lambda: all(camera.waiting for camera in cameras), "skeletons")
        moving_tf(s, stamp)
        s.until(lambda: not any(camera.waiting for camera in cameras), "a second try")
    s.until(lambda stamp=stamp: header_ns(s.received[OUT][-1].header) == stamp, "the last answer")
    assert not [text for text in warnings if "transform" in text]


def test_frames_that_wait_are_bounded(stage):
    s = stage(warn_period_s=3600.0)
    warnings = []
    s.node._warn._warn = warnings.append
    s.connect(tf=False)
    camera = s.node._cameras[0]
    blank = frames([VIEWS[0]], [JOINTS[0]], np.random.default_rng(0))[0]
    waiting = PoseFrame(START_NS, "nowhere", blank.persons, "nowhere")
    camera.waiting.extend([(time.monotonic() + WAIT_S, waiting)] * (_WITHOUT_TRANSFORM + 5))
    s.node._add_frames(camera)
    assert len(camera.waiting) == _WITHOUT_TRANSFORM
    assert len(warnings) == 1 and "transform: nowhere to room" in warnings[0]
    s.node.trigger_deactivate()
    assert not camera.waiting


def test_deactivated_node_deletes_its_markers(stage):
    s = stage()
    s.connect()
    shown = s.received["/lifting_fusion/markers"]
    s.send(0)
    s.until(lambda: shown and shown[-1].markers, "markers")
    s.node.trigger_deactivate()
    s.until(lambda: all(m.action == Marker.DELETE for m in shown[-1].markers), "deletion")
    s.until(lambda: not any(p.get_subscription_count() for p in s._publishers.values()), "the end")
    s.node.trigger_activate()
    s.connect()
    s.send(1)
    s.until(lambda: any(m.action == Marker.ADD for m in shown[-1].markers), "markers again")


def test_failed_activation_tells_why_and_leaves_nothing(stage, monkeypatch):
    s = stage(start=False)

    def refuse(*arguments, **options):
        raise RuntimeError("not authorised\nat all")

    monkeypatch.setattr(s.node, "create_timer", refuse)
    with pytest.raises(ConfigError, match="^not authorised$"):
        s.node.start()
    assert s.node._transforms is None
    for topic in ("/tf", "/tf_static"):
        infos = s.node.get_subscriptions_info_by_topic(topic)
        assert "lifting_fusion" not in [info.node_name for info in infos]
    monkeypatch.undo()
    s.node.start()
    s.connect()


def test_tf_that_is_half_subscribed_is_ended(stage, monkeypatch):
    s = stage(start=False)
    subscribe = s.node.create_subscription

    def refuse(kind, topic, *arguments, **options):
        if topic == "/tf_static":
            raise RuntimeError("not authorised")
        return subscribe(kind, topic, *arguments, **options)

    monkeypatch.setattr(s.node, "create_subscription", refuse)
    with pytest.raises(ConfigError, match="^not authorised$"):
        s.node.start()
    infos = s.node.get_subscriptions_info_by_topic("/tf")
    assert "lifting_fusion" not in [info.node_name for info in infos]


def test_failure_with_a_frame_is_one_warning(stage, monkeypatch):
    s = stage(warn_period_s=3600.0, rate_hz=1000.0)
    warnings = []
    s.node._warn._warn = warnings.append
    s.connect()
    add = s.node._fusion.add

    def fail(frame):
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr(s.node._fusion, "add", fail)
    s.send(0, names=("front",))
    s.until(lambda: warnings, "a warning")
    s.send(1, names=("front",))
    s.executor.spin_once(timeout_sec=0.02)
    monkeypatch.setattr(s.node._fusion, "add", add)
    s.send(2)
    s.until(lambda: s.received[OUT], "an answer")
    failed = [text for text in warnings if "failed" in text]
    assert failed == ["front: frame failed: LinAlgError: Singular matrix"]


def test_silent_camera_is_named(stage):
    s = stage(warn_period_s=0.5)
    warnings = []
    s.node._warn._warn = warnings.append
    s.connect()
    for number in range(8):
        s.send(number, names=("front",))
        s.executor.spin_once(timeout_sec=0.02)
    line = "side: skeletons: nothing comes on /side/lifting/skeletons_2d and /side/lifting/"
    s.until(lambda: any(text.startswith(line) for text in warnings), "a warning")


def test_silent_cameras_leave_no_markers(stage):
    s = stage()
    s.connect()
    shown = s.received["/lifting_fusion/markers"]
    s.send(0)
    s.until(lambda: shown and shown[-1].markers, "markers")
    s.until(lambda: all(m.action == Marker.DELETE for m in shown[-1].markers), "deletion")
    count = len(shown)
    s.send(1)
    s.until(lambda: len(shown) > count, "markers again")
    assert all(m.action == Marker.ADD for m in shown[count].markers)


def test_quality_of_service_may_change_before_configuring(stage):
    s = stage(start=False)
    (result,) = s.node.set_parameters([Parameter("qos.reliability", value="best_effort")])
    assert result.successful
    s.node.start()
    s.connect()
    (info,) = s.peer.get_subscriptions_info_by_topic("front/lifting/skeletons_3d")
    assert info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT


@pytest.mark.parametrize(
    ("parameters", "line"),
    [
        ({"cameras": ["front"]}, "cameras: expected the names of two cameras or more"),
        ({"cameras": ["front", "front"]}, "cameras: expected different names"),
        ({"frame": ""}, "frame: expected the name of the common frame"),
        ({"fusion.gate": -1.0}, "fusion.gate: expected 1.0 to 100.0"),
        ({"frames": "room"}, "frames: unknown parameter; did you mean frame?"),
    ],
)
def test_bad_parameters_are_one_line(stage, parameters, line):
    with pytest.raises(ConfigError, match=f"^{line}"):
        stage(**parameters)
