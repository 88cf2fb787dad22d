# SPDX-License-Identifier: Apache-2.0
"""Poses in the viewer Rerun: chosen over viser because it has a timeline by stamp and files that
open again later.

Entities: world/people/ID/limbs, joints, covariance (metres, the camera's optical frame);
world/camera/image, and on it world/camera/people/ID/keypoints, limbs (pixels)."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from lifting_ros.io.bag_poses import BagFrame
from lifting_ros.skeleton import JOINT_NAMES, KEYPOINT_LIMBS, KEYPOINT_NAMES, LIMBS
from lifting_ros.types import JointStatus, Person, Skeleton2D, Skeleton3D
from lifting_ros.viz.overlay_3d import COLOURS, side_of

TIMELINE = "stamp"
_CLOCK_BEGINS_NS = 10**17
"""Stamps before 1973 are not the time of day: simulations and videos count from zero."""
_LEAST_CONFIDENCE = 0.05
_JPEG_QUALITY = 85


class ViewerMissingError(ImportError):
    """Rerun, or what reads its images, is not installed; the text is one line."""


def load_rerun() -> ModuleType:
    """The viewer's package; ViewerMissingError in one line where it is not there."""
    try:
        import rerun
        import rosbags.image  # noqa: F401
    except ImportError as error:
        raise ViewerMissingError(
            f"the viewer is not installed ({error}): pip install rerun-sdk rosbags-image"
        ) from None
    return rerun


class SkeletonViewer:
    """Shows frames one after the other: in a window, or in a file where `save` names one. Leave it
    as a context."""

    def __init__(self, save: Path | None = None, rerun: ModuleType | None = None):
        self._rr = rerun or load_rerun()
        self._stream = self._rr.RecordingStream("lifting")
        if save is None:
            self._stream.spawn()
        else:
            self._stream.save(str(save))
        self._stream.send_blueprint(self._blueprint())
        self._stream.log("world", self._rr.ViewCoordinates.RDF, static=True)
        self._shown: set[str] = set()

    def _blueprint(self) -> Any:
        views = self._rr.blueprint
        panes = (
            views.Spatial3DView(origin="world", name="space"),
            views.Spatial2DView(origin="world/camera", name="image"),
        )
        return views.Blueprint(views.Horizontal(*panes))

    def show(self, frame: BagFrame) -> None:
        """The persons of a frame, in place of those of the frame before."""
        self._at(frame.stamp_ns)
        entities = {
            str(person.id or f"untracked_{k}"): person for k, person in enumerate(frame.persons)
        }
        for name in sorted(self._shown - entities.keys()):
            for root in ("world/people", "world/camera/people"):
                self._stream.log(f"{root}/{name}", self._rr.Clear(recursive=True))
        self._shown = set(entities)
        for name, person in entities.items():
            self._in_space(f"world/people/{name}", person)
            self._in_image(f"world/camera/people/{name}", person.skeleton_2d)

    def show_image(self, stamp_ns: int, message: Any) -> None:
        """An Image or CompressedImage as rosbags reads it; ones that do not decode are left out."""
        jpeg = to_jpeg(message)
        if jpeg is not None:
            self._at(stamp_ns)
            self._stream.log(
                "world/camera/image", self._rr.EncodedImage(contents=jpeg, media_type="image/jpeg")
            )

    def show_camera(self, stamp_ns: int, info: Any) -> None:
        """A CameraInfo as rosbags reads it: where the image is seen from."""
        if info.k[0] > 0:
            self._at(stamp_ns)
            matrix, size = np.reshape(info.k, (3, 3)), [info.width, info.height]
            self._stream.log(
                "world/camera",
                self._rr.Pinhole(
                    image_from_camera=matrix, resolution=size, image_plane_distance=1.0
                ),
            )

    def _at(self, stamp_ns: int) -> None:
        if stamp_ns < _CLOCK_BEGINS_NS:
            self._stream.set_time(TIMELINE, duration=np.timedelta64(stamp_ns, "ns"))
        else:
            self._stream.set_time(TIMELINE, timestamp=np.datetime64(stamp_ns, "ns"))

    def _in_space(self, entity: str, person: Person) -> None:
        rr, pose = self._rr, person.skeleton_3d
        drawn = np.isfinite(pose.joints_m).all(-1) & (pose.status != JointStatus.INVALID)  # 17
        limbs, there = [limb for limb in LIMBS if drawn[list(limb)].all()], np.flatnonzero(drawn)
        strips, ends = [pose.joints_m[list(limb)] for limb in limbs], [limb[1] for limb in limbs]
        self._stream.log(
            f"{entity}/limbs", rr.LineStrips3D(strips, colors=_colours(pose, ends), radii=0.01)
        )
        names = [f"{JOINT_NAMES[j]} ({JointStatus(pose.status[j]).name.lower()})" for j in there]
        points = rr.Points3D(
            pose.joints_m[there],
            colors=_colours(pose, there),
            radii=0.025,
            labels=names,
            show_labels=False,
        )
        self._stream.log(f"{entity}/joints", points)
        shapes = [
            (j, *axes) for j in there if (axes := ellipsoid(pose.covariance_m2[j])) is not None
        ]
        self._stream.log(
            f"{entity}/covariance",
            rr.Ellipsoids3D(
                centers=[pose.joints_m[j] for j, *_ in shapes],
                half_sizes=[size for _, size, _ in shapes],
                quaternions=[quaternion for *_, quaternion in shapes],
                colors=_colours(pose, [j for j, *_ in shapes]),
            ),
        )

    def _in_image(self, entity: str, skeleton: Skeleton2D) -> None:
        seen = (skeleton.confidence >= _LEAST_CONFIDENCE) & np.isfinite(skeleton.keypoints_px).all(
            -1
        )  # 14
        if not seen.any():
            return
        rr, there = self._rr, np.flatnonzero(seen)
        strips = [
            skeleton.keypoints_px[list(limb)] for limb in KEYPOINT_LIMBS if seen[list(limb)].all()
        ]
        self._stream.log(f"{entity}/limbs", rr.LineStrips2D(strips, radii=1.5))
        colours = [_rgba(KEYPOINT_NAMES[k], 255) for k in there]
        labels = [f"{KEYPOINT_NAMES[k]} {skeleton.confidence[k]:.2f}" for k in there]
        points = rr.Points2D(
            skeleton.keypoints_px[there],
            colors=colours,
            radii=4.0,
            labels=labels,
            show_labels=False,
        )
        self._stream.log(f"{entity}/keypoints", points)

    def __enter__(self) -> SkeletonViewer:
        return self

    def __exit__(self, *_) -> None:
        self._stream.disconnect()


def ellipsoid(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Standard deviations (3,) along the principal axes of a covariance (3, 3), and the axes'
    quaternion x, y, z, w (4,).

    None where the covariance is not finite or is zero.
    """
    from scipy.spatial.transform import Rotation

    if not np.isfinite(covariance).all() or not np.any(covariance):
        return None
    variances, axes = np.linalg.eigh(covariance)
    axes[:, 0] *= np.sign(np.linalg.det(axes))  # a mirrored frame is no rotation
    return np.sqrt(np.maximum(variances, 0.0)), Rotation.from_matrix(axes).as_quat()


def to_jpeg(message: Any) -> bytes | None:
    """An Image or CompressedImage as a JPEG; None where it does not decode."""
    from rosbags.image import message_to_cvimage

    try:
        if not hasattr(message, "encoding"):
            image = cv2.imdecode(np.asarray(message.data, np.uint8), cv2.IMREAD_COLOR)
        else:
            image = message_to_cvimage(message, "bgr8")
        done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    except Exception:  # OpenCV and rosbags-image each raise their own kinds
        return None
    return data.tobytes() if done else None


def _colours(pose: Skeleton3D, joints: Any) -> list[tuple[int, ...]]:
    return [
        _rgba(JOINT_NAMES[j], 255 if pose.status[j] == JointStatus.OBSERVED else 90) for j in joints
    ]


def _rgba(name: str, alpha: int) -> tuple[int, ...]:
    return (*bytes.fromhex(COLOURS[side_of(name)][1:]), alpha)
