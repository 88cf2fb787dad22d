# SPDX-License-Identifier: Apache-2.0
"""Pure functions `a_to_b` between ROS messages and values of this package.

ConversionError for a message that cannot be used.
"""

from __future__ import annotations

import array
import sys
from collections.abc import Sequence

import cv2
import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Vector3
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from lifting_ros import __version__, skeleton
from lifting_ros.errors import LiftingError
from lifting_ros.io.brightness_range import BrightnessRange, decoded_bgr
from lifting_ros.msg import Skeleton2D as Skeleton2DMsg
from lifting_ros.msg import Skeleton2DArray, Skeleton3DArray, SkeletonInfo
from lifting_ros.msg import Skeleton3D as Skeleton3DMsg
from lifting_ros.ros import bridge
from lifting_ros.types import Person, Skeleton2D

ALIASES = {
    "uyvy": "yuv422",
    "yuyv": "yuv422_yuy2",
    "8UC1": "mono8",
    "8UC3": "bgr8",
    "8UC4": "bgra8",
    "16UC1": "mono16",
}
PIXEL_BYTES = {
    "rgb8": 3,
    "bgr8": 3,
    "rgba8": 4,
    "bgra8": 4,
    "mono8": 1,
    "mono16": 2,
    "rgb16": 6,
    "bgr16": 6,
    "rgba16": 8,
    "bgra16": 8,
    "yuv422": 2,
    "yuv422_yuy2": 2,
    **{
        f"bayer_{order}{bits}": bits // 8
        for order in ("rggb", "bggr", "gbrg", "grbg")
        for bits in (8, 16)
    },
}
PLANAR = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}
"""Encodings with a plane of brightness, and one of colours that is half as high."""
_DEPTH = {"32FC1": (np.float32, 1.0), "16UC1": (np.uint16, 0.001), "mono16": (np.uint16, 0.001)}
"""Encodings of depth images: type, and metres per unit."""
_IS_BIGENDIAN = sys.byteorder == "big"
"""Byte order of this machine, as in the field of Image."""
ENCODINGS = (*PIXEL_BYTES, *PLANAR, *ALIASES)
"""Encodings of sensor_msgs/Image that can be read."""


class ConversionError(LiftingError):
    """A message that cannot be used; the text is one line and starts with the field."""


def image_to_rgb(message: Image, brightness: BrightnessRange | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB, contiguous.

    brightness: the camera's, for images of 16 bits. The array of an rgb8 image shares the message's
    memory: do not write to it. ConversionError if encoding, size, step and data do not fit
    together.
    """
    encoding = ALIASES.get(message.encoding, message.encoding)
    if encoding in PLANAR:
        return _planar_to_rgb(message)
    if encoding not in PIXEL_BYTES:
        raise ConversionError(
            f"encoding: expected one of {', '.join(ENCODINGS)}, got {message.encoding!r}"
        )

    row = checked_row(message, encoding, PIXEL_BYTES[encoding])
    if encoding == "rgb8":
        return _tight(message, row).reshape(message.height, message.width, 3)  # H, W, 3

    is_foreign = bool(message.is_bigendian) != _IS_BIGENDIAN
    if message.step != row or message.encoding != encoding or is_foreign:
        message = _repacked(message, encoding, row)

    if brightness is not None and encoding.endswith("16"):
        message = _stretched(message, row, brightness)

    try:
        return np.ascontiguousarray(bridge.to_rgb(message))
    except Exception as error:  # OpenCV and both bridges have exceptions of their own
        raise ConversionError(
            f"encoding: {message.encoding} did not convert ({first_line(error)})"
        ) from None


def _planar_to_rgb(message: Image) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a semi-planar image: H rows of brightness, then H / 2 of colours."""
    if message.height % 2:
        raise ConversionError(
            f"height: expected an even number of pixels in {message.encoding}, got {message.height}"
        )

    row = checked_row(message, message.encoding, 1, message.height * 3 // 2)
    pixels = _tight(message, row, message.height * 3 // 2)
    return cv2.cvtColor(pixels, PLANAR[message.encoding])


def _stretched(message: Image, row: int, brightness: BrightnessRange) -> Image:
    """An image of 16 bits over the whole range; `message` has no padding and this machine's byte
    order."""
    numbers = _tight(message, row).view(np.uint16)
    pixels = numbers.reshape(message.height, message.width, -1)
    stretched = brightness.stretched(pixels, message.encoding == "mono16")
    if stretched is pixels:
        return message

    out = _repacked(message, message.encoding, row)
    out.data = _as_bytes(stretched)
    return out


def checked_row(message: Image, encoding: str, pixel_bytes: int, rows: int = 0) -> int:
    """Bytes of a row without padding. rows: of the data; 0: as many as the image has."""
    if message.width == 0 or message.height == 0:
        raise ConversionError(
            f"width, height: expected an image, got {message.width}x{message.height}"
        )
    if encoding.startswith(("yuv422", "nv")) and message.width % 2:
        raise ConversionError(
            f"width: expected an even number of pixels in {encoding}, got {message.width}"
        )

    row = message.width * pixel_bytes
    if message.step < row:
        raise ConversionError(
            f"step: expected at least {row} bytes for {message.width} pixels of {encoding}, got "
            f"{message.step}"
        )

    # The last row may come without its padding.
    rows = rows or message.height
    needed = message.step * (rows - 1) + row
    if len(message.data) < needed:
        extent = "step x height" if rows == message.height else "step x height x 3 / 2"
        raise ConversionError(
            f"data: expected {message.step * rows} bytes ({extent}), got {len(message.data)}"
        )

    return row


def _tight(message: Image, row: int, height: int = 0) -> np.ndarray:
    """(H, row) uint8: the data without padding; a view if there is none. height: H, 0: the
    image's."""
    height = height or message.height
    data = np.frombuffer(message.data, np.uint8)
    if message.step == row:
        return data[: row * height].reshape(height, row)  # H, row

    rows = np.lib.stride_tricks.as_strided(data, (height, row), (message.step, 1), writeable=False)

    return np.ascontiguousarray(rows)


def _repacked(message: Image, encoding: str, row: int) -> Image:
    """The same image without padding, in this machine's byte order: cv_bridge swaps bytes with a
    method that NumPy 2 does not have."""
    data = _tight(message, row)
    if encoding.endswith("16") and bool(message.is_bigendian) != _IS_BIGENDIAN:
        data = data.view(np.uint16).byteswap().view(np.uint8)

    out = Image(
        header=message.header,
        height=message.height,
        width=message.width,
        encoding=encoding,
        step=row,
    )
    out.is_bigendian = int(_IS_BIGENDIAN)
    out.data = _as_bytes(data)

    return out


def message_to_rgb(
    message: Image | CompressedImage, brightness: BrightnessRange | None = None
) -> np.ndarray:
    """(H, W, 3) uint8 RGB of either kind of image; ConversionError if it cannot be used.

    brightness: the camera's, for images of 16 bits.
    """
    to_rgb = image_to_rgb if isinstance(message, Image) else compressed_to_rgb
    return to_rgb(message, brightness)


def depth_to_metres(message: Image) -> np.ndarray:
    """(H, W) float32 metres of a depth image (REP 118): 32FC1 metres, 16UC1 or mono16 millimetres;
    0, NaN and inf mean no depth.

    ConversionError if encoding, size, step and data do not fit together.
    """
    if message.encoding not in _DEPTH:
        raise ConversionError(
            f"encoding: expected one of {', '.join(_DEPTH)}, got {message.encoding!r}"
        )

    kind, metres = _DEPTH[message.encoding]
    number = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    rows = _tight(message, checked_row(message, message.encoding, number.itemsize))

    return rows.view(number).astype(np.float32) * np.float32(metres)  # H, W


def compressed_to_rgb(
    message: CompressedImage, brightness: BrightnessRange | None = None
) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a JPEG or PNG image; ConversionError if it does not decode.

    brightness: the camera's, for images of 16 bits.
    """
    if not len(message.data):
        raise ConversionError("data: expected a compressed image, got 0 bytes")

    try:
        bgr = decoded_bgr(np.frombuffer(message.data, np.uint8), brightness)
    except cv2.error:
        bgr = None

    if bgr is None:
        raise ConversionError(
            f"data: {len(message.data)} bytes (format {message.format!r}) do not decode as an image"
        )

    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def array_to_image(pixels: np.ndarray, encoding: str, header: Header) -> Image:
    """Image message of (H, W, C) or (H, W) uint8 `pixels`."""
    height, width = pixels.shape[:2]
    message = Image(
        header=header, height=height, width=width, encoding=encoding, step=pixels[0].nbytes
    )
    message.data = _as_bytes(np.ascontiguousarray(pixels))

    return message


def _as_bytes(pixels: np.ndarray) -> array.array:
    # The setter takes an array('B') as it is; bytes would be checked element by element.
    data = array.array("B")
    data.frombytes(memoryview(pixels).cast("B"))
    return data


def skeleton_2d_to_msg(skeleton_2d: Skeleton2D, track_id: int = 0) -> Skeleton2DMsg:
    """Message of one person's keypoints."""
    message = Skeleton2DMsg(
        id=track_id, score=float(skeleton_2d.score), box=np.asarray(skeleton_2d.box_px, np.float64)
    )
    covariance = skeleton_2d.covariance_px2
    xx = covariance[:, 0, 0]
    xy = covariance[:, 0, 1]
    yy = covariance[:, 1, 1]
    rows = np.column_stack([skeleton_2d.keypoints_px, skeleton_2d.confidence, xx, xy, yy])  # 14, 6

    for keypoint, values in zip(message.keypoints, rows.tolist(), strict=True):
        keypoint.x, keypoint.y, keypoint.confidence = values[:3]
        keypoint.covariance_xx, keypoint.covariance_xy, keypoint.covariance_yy = values[3:]

    return message


def skeleton_3d_to_msg(person: Person) -> Skeleton3DMsg:
    """Message of one person's joints, with track id, age and velocities."""
    pose = person.skeleton_3d
    message = Skeleton3DMsg(
        id=person.id,
        age=seconds_to_duration(person.age_s),
        root_position=_point(pose.root_m.tolist()),
        root_covariance=np.asarray(pose.root_covariance_m2, np.float64).ravel(),
        metric=bool(pose.metric),
        log_likelihood=float(pose.log_likelihood),
        score=float(person.skeleton_2d.score),
        bone_lengths=np.asarray(person.bone_lengths_m, np.float64),
        bone_length_deviations=np.asarray(person.bone_lengths_std_m, np.float64),
        coasting=person.coasting,
    )

    # 17, 9
    velocity_covariances = np.asarray(person.velocity_covariance_m2ps2, np.float64).reshape(-1, 9)
    covariances = np.asarray(pose.covariance_m2, np.float64).reshape(-1, 9)  # 17, 9
    positions = pose.joints_m.tolist()
    velocities = person.velocity_mps.tolist()
    confidences = np.asarray(pose.confidence, np.float64).tolist()
    statuses = pose.status.tolist()

    for j, joint in enumerate(message.joints):
        joint.position = _point(positions[j])
        joint.velocity = _vector(velocities[j])
        joint.covariance = covariances[j]
        joint.confidence = confidences[j]
        joint.status = statuses[j]
        joint.velocity_covariance = velocity_covariances[j]

    return message


def _point(xyz: Sequence[float]) -> Point:
    return Point(x=xyz[0], y=xyz[1], z=xyz[2])


def _vector(xyz: Sequence[float]) -> Vector3:
    return Vector3(x=xyz[0], y=xyz[1], z=xyz[2])


def header_ns(header: Header) -> int:
    """Stamp of a header in nanoseconds."""
    return header.stamp.sec * 10**9 + header.stamp.nanosec


def seconds_to_duration(seconds: float) -> Duration:
    """Duration message of a non-negative time in seconds, to the nanosecond."""
    whole, nanoseconds = divmod(round(seconds * 1e9), 10**9)
    return Duration(sec=whole, nanosec=nanoseconds)


def persons_to_array_2d(persons: Sequence[Person], header: Header) -> Skeleton2DArray:
    """Keypoints of all persons of an image, under its header."""
    return Skeleton2DArray(
        header=header, skeletons=[skeleton_2d_to_msg(p.skeleton_2d, p.id) for p in persons]
    )


def persons_to_array_3d(persons: Sequence[Person], header: Header) -> Skeleton3DArray:
    """Joints of all persons of an image, under the header of their frame."""
    return Skeleton3DArray(header=header, skeletons=[skeleton_3d_to_msg(p) for p in persons])


def skeleton_info(model: str, weights_sha256: str, prior_sha256: str) -> SkeletonInfo:
    """The message ~/info: names and topology of the skeletons, and the files they are made with."""
    parents = [-1] * skeleton.KEYPOINT_COUNT
    for a, b in skeleton.KEYPOINT_LIMBS:
        # All limbs point away from the neck, except the first one, from the head to the neck
        child, parent = (a, b) if b == skeleton.KEYPOINT_NAMES.index("neck") else (b, a)
        parents[child] = parent

    return SkeletonInfo(
        keypoint_names=list(skeleton.KEYPOINT_NAMES),
        keypoint_parents=np.array(parents, np.int32),
        keypoint_flip=np.array(skeleton.KEYPOINT_FLIP, np.int32),
        keypoint_to_joint=np.array(skeleton.KEYPOINT_TO_JOINT, np.int32),
        joint_names=list(skeleton.JOINT_NAMES),
        joint_parents=np.array(skeleton.JOINT_PARENTS, np.int32),
        joint_flip=np.array(skeleton.JOINT_FLIP, np.int32),
        model=model,
        weights_sha256=weights_sha256,
        prior_sha256=prior_sha256,
        version=__version__,
        units="m, m/s, m^2, px, px^2",
    )


def first_line(error: Exception) -> str:
    """The first line of an error's text; its type where it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
