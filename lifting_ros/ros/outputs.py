# SPDX-License-Identifier: Apache-2.0
"""The publishers of one camera. Messages without subscribers are not built."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from threading import Lock

import numpy as np
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Header, String
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from lifting_ros.estimator import KeypointLifter, model_name
from lifting_ros.msg import HypothesisArray, Skeleton2DArray, Skeleton3DArray, SkeletonInfo
from lifting_ros.ros.blurred_images import anonymous_image
from lifting_ros.ros.body_models import BodyModels
from lifting_ros.ros.camera_names import CameraNames
from lifting_ros.ros.conversions import (
    header_ns,
    persons_to_array_2d,
    persons_to_array_3d,
    skeleton_info,
)
from lifting_ros.ros.debug_image import debug_image
from lifting_ros.ros.debug_maps import DebugMaps
from lifting_ros.ros.humans import Humans
from lifting_ros.ros.markers import MarkerBuilder
from lifting_ros.ros.parameters import NodeConfig
from lifting_ros.ros.skeleton_messages import hypotheses_to_array
from lifting_ros.ros.standard_messages import standard_topics
from lifting_ros.ros.transforms import BodyFrames
from lifting_ros.types import Person, Skeleton2D
from lifting_ros.viz.anonymise import hidden_regions

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TOPICS = {
    "~/skeletons_2d": Skeleton2DArray,
    "~/skeletons_3d": Skeleton3DArray,
    "~/hypotheses": HypothesisArray,
    "~/markers": MarkerArray,
    "~/joint_states": JointState,
    "~/urdf": String,
    "~/debug_image": Image,
    "~/anonymous_image": Image,
    "~/debug_maps": Image,
}
"""Topics whose subscribers make the node process images."""


class Outputs:
    """Everything that the node publishes about the persons of one camera.

    Its publishers are managed by the lifecycle: they send nothing while the node is not active.
    Those of /tf and /humans exist only while they are asked for; nobody publishes there while the
    node is not active.
    """

    def __init__(self, node: LifecycleNode, names: CameraNames, config: NodeConfig):
        self._node = node
        self._names = names
        latched = {"~/urdf": _one_each(config)}
        self._publishers = {
            topic: self._publisher(kind, topic, latched.get(topic, 10))
            for topic, kind in TOPICS.items()
        }
        self._standard = standard_topics()
        for topic, standard in self._standard.items():
            self._publishers[topic] = self._publisher(standard.kind, topic, 10)
        self._info = self._publisher(SkeletonInfo, "~/info", LATCHED)

        self._tf: Publisher | None = None
        """None while `tf.publish` is off."""
        self._tf_lock = Lock()
        self._humans: Humans | None = None
        self._published_model: str | None = None
        """The model that ~/info names; None before it is published."""

        self._markers = MarkerBuilder(config.markers)
        self._frames = _body_frames(config)
        self._models = BodyModels()
        self._debug_maps = DebugMaps()

    def _publisher(self, kind: type, topic: str, qos: QoSProfile | int) -> LifecyclePublisher:
        overrides = QoSOverridingOptions.with_default_policies()
        return self._node.create_lifecycle_publisher(
            kind, self._names.own(topic), qos, qos_overriding_options=overrides
        )

    def have_listeners(self) -> bool:
        """Whether anybody subscribes to a topic that needs images processed."""
        if any(publisher.get_subscription_count() for publisher in self._publishers.values()):
            return True

        return self._humans is not None and self._humans.have_listeners()

    def heads_are_hidden(self) -> bool:
        """Whether somebody asks for images with hidden heads, for which nobody may be missed."""
        return self._is_wanted("~/anonymous_image")

    def configure(self, config: NodeConfig) -> None:
        """Create the optional publishers; ConfigError in one line if their package is missing."""
        self._humans = Humans(self._node) if config.hri else None

    def cleanup(self) -> None:
        """Destroy the optional publishers."""
        self.advertise_tf_if(False)
        if self._humans is not None:
            self._humans.close()
            self._humans = None

    def advertise_tf_if(self, wanted: bool) -> None:
        """Create the publisher of /tf, or destroy it if not wanted."""
        with self._tf_lock:
            if wanted and self._tf is None:
                self._tf = self._node.create_publisher(
                    TFMessage,
                    "/tf",
                    100,
                    qos_overriding_options=QoSOverridingOptions.with_default_policies(),
                )
            elif not wanted and self._tf is not None:
                self._node.destroy_publisher(self._tf)
                self._tf = None

    def publish_info(self, config: NodeConfig, estimator: KeypointLifter) -> None:
        """Publish ~/info (latched), and start with no markers and no body numbers."""
        self._markers = MarkerBuilder(config.markers)
        self._frames = _body_frames(config)
        self._models = BodyModels()
        self._published_model = None
        self.publish_info_if_changed(config, estimator)

    def publish_info_if_changed(self, config: NodeConfig, estimator: KeypointLifter) -> None:
        """Publish ~/info again if another lifter is in use since it was last published."""
        model = model_name(config.estimator, config.input != "keypoints")
        if model == self._published_model:
            return

        self._published_model = model
        info = skeleton_info(model, estimator.weights_sha256, estimator.prior_sha256)
        self._info.publish(info)

    def clear(self) -> None:
        """Remove what would stay on display once nothing more is published: markers and bodies.
        Let go of the network of ~/debug_maps, too: the next one may have other weights."""
        self._debug_maps.release()
        if self._is_wanted("~/markers"):
            message = self._markers.clear()
            if message.markers:
                self._publishers["~/markers"].publish(message)

        if self._humans is not None:
            self._humans.clear()

    def publish(
        self,
        persons: Sequence[Person],
        header: Header,
        config: NodeConfig,
        image: np.ndarray | None = None,
        frame_3d: str = "",
        others: Sequence[Skeleton2D] | None = None,
    ) -> None:
        """Publish the persons of an image (H, W, 3) RGB under its own header.

        frame_3d: the frame of the 3D messages; empty for the image's frame. others: as in
        `hidden_regions`; None where somebody may be missing: no image with hidden heads is
        published then. Empty arrays are published when nobody was found.
        """
        header_3d = Header(stamp=header.stamp, frame_id=frame_3d or header.frame_id)
        self._frames.assign(persons, header_ns(header))
        self.publish_2d(persons, header, config, image)

        if self._is_wanted("~/skeletons_3d"):
            self._publishers["~/skeletons_3d"].publish(persons_to_array_3d(persons, header_3d))

        if self._is_wanted("~/hypotheses"):
            self._publishers["~/hypotheses"].publish(hypotheses_to_array(persons, header_3d))

        if self._is_wanted("~/markers"):
            self._markers.configure(config.markers)
            self._publishers["~/markers"].publish(self._markers.build(persons, header_3d))

        if image is not None and self._is_wanted("~/debug_image"):
            self._publishers["~/debug_image"].publish(debug_image(image, persons, header))

        if image is not None and others is not None and self.heads_are_hidden():
            regions = hidden_regions(persons, others)
            self._publishers["~/anonymous_image"].publish(anonymous_image(image, regions, header))

        self._publish_standard(persons, header_3d, in_image=False)
        self._publish_models(persons, header_3d, config)

        if config.tf.publish:
            frames = self._frames.build(persons, header_3d, config.tf.prefix)
            with self._tf_lock:
                if self._tf is not None:
                    self._tf.publish(frames)

        self._publish_debug_maps(persons, header, config, image)

    def _publish_debug_maps(
        self,
        persons: Sequence[Person],
        header: Header,
        config: NodeConfig,
        image: np.ndarray | None,
    ) -> None:
        """Publish ~/debug_maps, after everything else: the first one has to load a network."""
        if not self._is_wanted("~/debug_maps"):
            self._debug_maps.release()
        elif image is not None:
            message = self._debug_maps.build(image, persons, header, config.debug, config.estimator)
            if message is not None:
                self._publishers["~/debug_maps"].publish(message)

    def _publish_models(
        self, persons: Sequence[Person], header: Header, config: NodeConfig
    ) -> None:
        """Publish URDFs if one of them is new, and the joint states that go with them.

        Who subscribes to joint states may ask for the URDF later: URDFs are latched for either.
        """
        namers = self._frames.namers(config.tf.prefix)
        ids = self._frames.hri_ids(config.tf.prefix)
        if not self._want_models(ids.values()):
            return

        urdfs = self._models.renew(persons, namers)
        for urdf in urdfs.values():
            self._publishers["~/urdf"].publish(urdf)

        if self._is_wanted("~/joint_states"):
            state = self._models.joint_state(persons, namers, header)
            self._publishers["~/joint_states"].publish(state)

        if self._humans is not None:
            self._humans.publish_urdfs(urdfs, ids)
            self._humans.publish_joint_states(persons, ids, namers, self._models, header)

    def _want_models(self, bodies: Iterable[str]) -> bool:
        """Whether anybody subscribes to joint states or URDFs, also of one body as in REP 155."""
        of_humans = self._humans is not None and self._humans.want_models(bodies)
        return of_humans or self._is_wanted("~/joint_states") or self._is_wanted("~/urdf")

    def publish_2d(
        self,
        persons: Sequence[Person],
        header: Header,
        config: NodeConfig,
        image: np.ndarray | None = None,
    ) -> None:
        """Publish the 2D messages only, for when the transform of the 3D ones is missing."""
        if self._is_wanted("~/skeletons_2d"):
            self._publishers["~/skeletons_2d"].publish(persons_to_array_2d(persons, header))

        self._publish_standard(persons, header, in_image=True)

        if self._humans is not None:
            size = None if image is None else image.shape[1::-1]
            self._humans.publish(persons, self._frames.hri_ids(config.tf.prefix), header, size)

    def _publish_standard(self, persons: Sequence[Person], header: Header, in_image: bool) -> None:
        """Publish the standard messages that are given in the image, or those that are not."""
        for topic, standard in self._standard.items():
            if standard.in_image == in_image and self._is_wanted(topic):
                message = standard.build(standard.messages, persons, header)
                self._publishers[topic].publish(message)

    def _is_wanted(self, topic: str) -> bool:
        return self._publishers[topic].get_subscription_count() > 0


def _one_each(config: NodeConfig) -> QoSProfile:
    """Latched, with a message for each body."""
    return QoSProfile(depth=config.tf.bodies, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def _body_frames(config: NodeConfig) -> BodyFrames:
    return BodyFrames(config.tf.bodies, config.hri, config.tracking.retention_s)
