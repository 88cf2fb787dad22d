# SPDX-License-Identifier: Apache-2.0
"""Poses in the viewer Rerun, which has a timeline by stamp and files that can be opened later.

Entities: world/people/ID/limbs, joints, covariance (metres, the camera's optical frame);
world/camera/image, and on it world/camera/people/ID/keypoints, limbs (pixels).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from lifting_ros.errors import LiftingError
from lifting_ros.geometry.ellipsoids import ellipsoid_of
from lifting_ros.io.pose_table import PoseFrame
from lifting_ros.skeleton import JOINT_NAMES, KEYPOINT_LIMBS, KEYPOINT_NAMES, LIMBS
from lifting_ros.types import JointStatus, Skeleton2D, Skeleton3D
from lifting_ros.viz.palette import rgb_of

TIMELINE = "stamp"
_CLOCK_BEGINS_NS = 10**17
"""Stamps before 1973 are durations: simulations and videos count from zero."""

_LEAST_CONFIDENCE = 0.05
"""Keypoints below this are not shown."""

_JPEG_QUALITY = 85

_OBSERVED_ALPHA = 255
_INFERRED_ALPHA = 90


class ViewerMissingError(LiftingError, ImportError):
    """Rerun or rosbags-image is not installed; the text is one line."""


def load_rerun() -> ModuleType:
    """The package `rerun`; ViewerMissingError where it is not installed."""
    try:
        import rerun
        import rosbags.image  # noqa: F401
    except ImportError as error:
        raise ViewerMissingError(
            f"the viewer is not installed ({error}): pip install rerun-sdk rosbags-image"
        ) from None

    return rerun


class SkeletonViewer:
    """Shows one frame after the other. A context manager, which ends the recording."""

    def __init__(self, save: Path | None = None):
        """save: file to write to; None: open a window."""
        self._rr = load_rerun()
        self._stream = self._rr.RecordingStream("lifting")
        if save is None:
            self._stream.spawn()
        else:
            self._stream.save(str(save))

        blueprint = self._blueprint()
        self._stream.send_blueprint(blueprint)
        axes = self._rr.ViewCoordinates.RDF
        self._stream.log("world", axes, static=True)
        self._shown: set[str] = set()

    def _blueprint(self) -> Any:
        views = self._rr.blueprint
        panes = (
            views.Spatial3DView(origin="world", name="space"),
            views.Spatial2DView(origin="world/camera", name="image"),
        )
        return views.Blueprint(views.Horizontal(*panes))

    def show(self, frame: PoseFrame) -> None:
        """Show the persons of a frame instead of those of the previous one."""
        self._set_time(frame.stamp_ns)
        entities = {}
        for k, person in enumerate(frame.persons):
            entities[str(person.id or f"untracked_{k}")] = person

        # Persons that are gone
        for name in sorted(self._shown - entities.keys()):
            for root in ("world/people", "world/camera/people"):
                self._stream.log(f"{root}/{name}", self._rr.Clear(recursive=True))

        self._shown = set(entities)

        for name, person in entities.items():
            self._log_3d(f"world/people/{name}", person.skeleton_3d)
            self._log_2d(f"world/camera/people/{name}", person.skeleton_2d)

    def show_image(self, stamp_ns: int, message: Any) -> None:
        """Show an Image or CompressedImage as rosbags reads it; nothing if it does not decode."""
        jpeg = to_jpeg(message)
        if jpeg is None:
            return

        self._set_time(stamp_ns)
        image = self._rr.EncodedImage(contents=jpeg, media_type="image/jpeg")
        self._stream.log("world/camera/image", image)

    def show_camera(self, stamp_ns: int, info: Any) -> None:
        """Show the camera of a CameraInfo as rosbags reads it; nothing if it is not calibrated."""
        if info.k[0] <= 0:
            return

        self._set_time(stamp_ns)
        camera = self._rr.Pinhole(
            image_from_camera=np.reshape(info.k, (3, 3)),
            resolution=[info.width, info.height],
            image_plane_distance=1.0,
        )
        self._stream.log("world/camera", camera)

    def _set_time(self, stamp_ns: int) -> None:
        if stamp_ns < _CLOCK_BEGINS_NS:
            self._stream.set_time(TIMELINE, duration=np.timedelta64(stamp_ns, "ns"))
        else:
            self._stream.set_time(TIMELINE, timestamp=np.datetime64(stamp_ns, "ns"))

    def _log_3d(self, entity: str, pose: Skeleton3D) -> None:
        rr = self._rr
        known = np.isfinite(pose.joints_m).all(-1) & (pose.status != JointStatus.INVALID)  # 17
        joints = np.flatnonzero(known).tolist()

        # Limbs
        limbs = [list(limb) for limb in LIMBS if known[list(limb)].all()]
        strips = [pose.joints_m[limb] for limb in limbs]
        colours = _colours(pose, [child for _, child in limbs])
        lines = rr.LineStrips3D(
            strips,
            colors=colours,
            radii=0.01,
        )
        self._stream.log(f"{entity}/limbs", lines)

        # Joints
        labels = []
        for j in joints:
            status = JointStatus(pose.status[j])
            labels.append(f"{JOINT_NAMES[j]} ({status.name.lower()})")

        points = rr.Points3D(
            pose.joints_m[joints],
            colors=_colours(pose, joints),
            radii=0.025,
            labels=labels,
            show_labels=False,
        )
        self._stream.log(f"{entity}/joints", points)

        # Covariances
        shapes = {}
        for j in joints:
            shape = ellipsoid_of(pose.covariance_m2[j])
            if shape is not None:
                shapes[j] = shape

        ellipsoids = rr.Ellipsoids3D(
            centers=[pose.joints_m[j] for j in shapes],
            half_sizes=[size for size, _ in shapes.values()],
            quaternions=[quaternion for _, quaternion in shapes.values()],
            colors=_colours(pose, shapes),
        )
        self._stream.log(f"{entity}/covariance", ellipsoids)

    def _log_2d(self, entity: str, skeleton: Skeleton2D) -> None:
        rr = self._rr
        finite = np.isfinite(skeleton.keypoints_px).all(-1)
        confident = skeleton.confidence >= _LEAST_CONFIDENCE
        seen = confident & finite  # 14
        if not seen.any():
            return

        # Limbs
        limbs = [list(limb) for limb in KEYPOINT_LIMBS if seen[list(limb)].all()]
        strips = [skeleton.keypoints_px[limb] for limb in limbs]
        lines = rr.LineStrips2D(strips, radii=1.5)
        self._stream.log(f"{entity}/limbs", lines)

        # Keypoints
        keypoints = np.flatnonzero(seen)
        labels = [f"{KEYPOINT_NAMES[k]} {skeleton.confidence[k]:.2f}" for k in keypoints]
        points = rr.Points2D(
            skeleton.keypoints_px[keypoints],
            colors=[_rgba(KEYPOINT_NAMES[k], _OBSERVED_ALPHA) for k in keypoints],
            radii=4.0,
            labels=labels,
            show_labels=False,
        )
        self._stream.log(f"{entity}/keypoints", points)

    def __enter__(self) -> SkeletonViewer:
        return self

    def __exit__(self, *_) -> None:
        self._stream.disconnect()


def to_jpeg(message: Any) -> bytes | None:
    """An Image or CompressedImage as a JPEG; None if it does not decode."""
    from rosbags.image import message_to_cvimage

    try:
        if not hasattr(message, "encoding"):
            image = cv2.imdecode(np.asarray(message.data, np.uint8), cv2.IMREAD_COLOR)
        else:
            image = message_to_cvimage(message, "bgr8")
        if image is None:
            return None
        done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    except Exception:  # OpenCV and rosbags-image each raise their own kinds
        return None

    return data.tobytes() if done else None


def _colours(pose: Skeleton3D, joints: Iterable[int]) -> list[tuple[int, ...]]:
    """Colours of joints; inferred joints are translucent."""
    colours = []
    for j in joints:
        observed = pose.status[j] == JointStatus.OBSERVED
        colours.append(_rgba(JOINT_NAMES[j], _OBSERVED_ALPHA if observed else _INFERRED_ALPHA))

    return colours


def _rgba(name: str, alpha: int) -> tuple[int, ...]:
    """Colour of a joint or keypoint by its name."""
    return (*rgb_of(name), alpha)
