# SPDX-License-Identifier: Apache-2.0
"""Messages to values and back, every encoding, and every message that cannot be used."""

from __future__ import annotations

import array
import dataclasses

import cv2
import numpy as np
import pytest
from lifting_ros.msg import Skeleton2D as Skeleton2DMsg
from lifting_ros.msg import Skeleton2DArray, Skeleton3DArray
from lifting_ros.msg import Skeleton3D as Skeleton3DMsg
from rclpy.serialization import deserialize_message, serialize_message
from ros_support import FRAME, header, image, person
from sensor_msgs.msg import CompressedImage, Image

from lifting_ros import skeleton
from lifting_ros.io.brightness_range import BrightnessRange
from lifting_ros.ros import conversions
from lifting_ros.ros.conversions import (
    ConversionError,
    compressed_to_rgb,
    depth_to_metres,
    image_to_rgb,
)
from lifting_ros.types import Skeleton2D, Skeleton3D

RNG = np.random.default_rng(7)
HEIGHT, WIDTH = 12, 16
SMOOTH_RGB = (
    np.stack(
        np.broadcast_arrays(
            np.linspace(60, 90, WIDTH)[None], np.linspace(90, 120, HEIGHT)[:, None], 150.0
        ),
        -1,
    )
    .round()
    .astype(np.uint8)
)
"""Slow in space, so that subsampled colours come back."""


def encoded(rgb: np.ndarray, encoding: str) -> np.ndarray:
    """What a camera would put into the data for this picture."""
    channels = {
        "rgb8": [0, 1, 2],
        "bgr8": [2, 1, 0],
        "8UC3": [2, 1, 0],
        "rgb16": [0, 1, 2],
        "bgr16": [2, 1, 0],
    }
    four = {
        "rgba8": [0, 1, 2, 3],
        "bgra8": [2, 1, 0, 3],
        "8UC4": [2, 1, 0, 3],
        "rgba16": [0, 1, 2, 3],
        "bgra16": [2, 1, 0, 3],
    }
    wide = encoding.endswith("16")
    values = rgb.astype(np.uint16) * 257 if wide else rgb
    if encoding in channels:
        return values[..., channels[encoding]]
    if encoding in four:
        alpha = np.full_like(values[..., :1], 200)
        return np.concatenate([values, alpha], -1)[..., four[encoding]]
    if encoding.startswith("bayer"):
        return mosaic(values, encoding[6:10])
    if encoding.startswith(("yuv", "uyvy", "yuyv")):
        return packed_yuv(rgb, luma_first=encoding in ("yuyv", "yuv422_yuy2"))
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return grey.astype(np.uint16) * 257 if encoding in ("mono16", "16UC1") else grey


def mosaic(values: np.ndarray, order: str) -> np.ndarray:
    out = np.empty(values.shape[:2], values.dtype)
    for place, colour in enumerate(order):
        rows, columns = slice(place // 2, None, 2), slice(place % 2, None, 2)
        out[rows, columns] = values[rows, columns, "rgb".index(colour)]
    return out


def packed_yuv(rgb: np.ndarray, luma_first: bool) -> np.ndarray:
    # OpenCV decodes these with the video range of BT.601, as cameras send it.
    r, g, b = np.moveaxis(rgb.astype(float), -1, 0)
    y = 16 + 0.257 * r + 0.504 * g + 0.098 * b
    u = 128 - 0.148 * r - 0.291 * g + 0.439 * b
    v = 128 + 0.439 * r - 0.368 * g - 0.071 * b
    chroma = np.empty_like(y)
    chroma[:, 0::2], chroma[:, 1::2] = u[:, 0::2], v[:, 0::2]
    pair = (y, chroma) if luma_first else (chroma, y)
    return np.stack(pair, -1).round().astype(np.uint8)


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", [e for e in conversions.ENCODINGS if e[:2] != "nv"])
def test_every_encoding_gives_the_picture(encoding, padding):
    is_grey = encoding in ("mono8", "8UC1", "mono16", "16UC1")
    expected = (
        np.repeat(cv2.cvtColor(SMOOTH_RGB, cv2.COLOR_RGB2GRAY)[..., None], 3, -1)
        if is_grey
        else SMOOTH_RGB
    )
    rgb = image_to_rgb(image(encoded(SMOOTH_RGB, encoding), encoding, padding))
    assert rgb.shape == (HEIGHT, WIDTH, 3) and rgb.dtype == np.uint8 and rgb.flags.c_contiguous
    # Bayer loses its border, colour of yuv is subsampled; channels that were swapped would be off
    # by 30 and more.
    tolerance = 6 if encoding.startswith(("bayer", "yuv", "uyvy", "yuyv")) else 1
    inner = np.s_[2:-2, 2:-2]
    np.testing.assert_allclose(rgb[inner].astype(int), expected[inner].astype(int), atol=tolerance)


def semi_planar(encoding: str, padding: int = 0) -> Image:
    """SMOOTH_RGB as nv12 or nv21: a plane of brightness, then a row of colours for two of it."""
    luma_first = packed_yuv(SMOOTH_RGB, luma_first=True)
    chroma = luma_first[0::2, :, 1]
    if encoding == "nv21":
        chroma = chroma.reshape(len(chroma), -1, 2)[..., ::-1].reshape(chroma.shape)
    message = image(np.concatenate([luma_first[..., 0], chroma]), encoding, padding)
    message.height = HEIGHT
    return message


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_semi_planar_image_gives_the_picture(encoding, padding):
    rgb = image_to_rgb(semi_planar(encoding, padding))
    assert rgb.shape == (HEIGHT, WIDTH, 3) and rgb.flags.c_contiguous
    np.testing.assert_allclose(rgb.astype(int), SMOOTH_RGB.astype(int), atol=8)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": WIDTH - 1}, "width: expected an even number of pixels in nv12"),
        ({"height": HEIGHT - 1}, "height: expected an even number of pixels in nv12"),
        ({"step": WIDTH - 2}, f"step: expected at least {WIDTH} bytes"),
        ({"data": bytes(WIDTH * HEIGHT)}, r"data: expected 288 bytes \(step x height x 3 / 2\)"),
    ],
)
def test_bad_semi_planar_image_is_one_line(changes, words):
    message = semi_planar("nv12")
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(ConversionError, match=words):
        image_to_rgb(message)


RAMP = np.tile(np.arange(1024, dtype=np.uint16), (64, 1))
"""A picture from black to white on 10 bits."""


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize(("shift", "offset"), [(0, 0), (2, 0), (0, 8000)])
def test_few_bits_of_sixteen_are_stretched(shift, offset, big_endian):
    """10 and 12 bits of an infrared camera, and a band in the middle of a thermal one's."""
    said = []
    pixels = (RAMP << shift) + np.uint16(offset)
    message = image(pixels, "mono16", 3, big_endian=big_endian)
    brightness = BrightnessRange(said.append)
    for _ in range(3):
        rgb = image_to_rgb(message, brightness)
    expected = np.repeat(np.arange(1024)[None, :, None] / 1023 * 255, 3, -1)
    np.testing.assert_allclose(rgb.astype(float), np.broadcast_to(expected, rgb.shape), atol=3)
    low, high = (np.percentile(pixels, share) for share in (0.5, 99.5))
    assert said == [
        f"encoding: 16 bits, of which {low:.0f} to {high:.0f} are used; that range is stretched"
    ]
    assert image_to_rgb(message).max() <= 36  # what it was


def test_colours_of_few_bits_keep_their_proportions():
    pixels = encoded(SMOOTH_RGB, "rgb16") // 257 * 4
    rgb = image_to_rgb(image(pixels, "rgb16"), BrightnessRange()).astype(float)
    scale = 255 / np.percentile(SMOOTH_RGB, 99.5)
    np.testing.assert_allclose(rgb, np.minimum(SMOOTH_RGB * scale, 255), atol=2)


def test_a_whole_range_stays_as_it_is():
    said = []
    contrasts = RNG.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    for encoding in ("mono16", "rgb16"):
        message = image(encoded(contrasts, encoding), encoding)
        rgb = image_to_rgb(message, BrightnessRange(said.append))
        np.testing.assert_array_equal(rgb, image_to_rgb(message))
    assert said == []


def test_the_range_follows_the_camera_without_flicker():
    brightness = BrightnessRange()
    first = brightness.stretched(RAMP, True)
    brighter = brightness.stretched(RAMP * 2, True)
    for _ in range(60):
        last = brightness.stretched(RAMP * 2, True)
    first, brighter, last = (float(picture[0, 400]) for picture in (first, brighter, last))
    assert first == pytest.approx(400 / 1023 * 65535, abs=500)
    assert 1.7 < brighter / first < 2.0  # it was brighter, and is shown so
    assert last == pytest.approx(first, abs=500)


def test_black_first_image_says_nothing_about_the_camera():
    said = []
    brightness = BrightnessRange(said.append)
    black = np.zeros_like(RAMP)
    assert brightness.stretched(black, True) is black
    full = (RAMP * 64).astype(np.uint16)
    np.testing.assert_array_equal(brightness.stretched(full, True), full)
    assert not said


def test_alpha_is_no_brightness():
    brightness = BrightnessRange()
    colours = np.repeat(RAMP[..., None], 3, 2)
    alpha = np.full_like(RAMP, 65535)[..., None]
    stretched = brightness.stretched(np.concatenate([colours, alpha], 2), True)
    assert stretched[..., :3].max() == 65535


def test_compressed_image_of_sixteen_bits_is_stretched():
    data = array.array("B", cv2.imencode(".png", RAMP)[1].tobytes())
    message = CompressedImage(format="mono16; png compressed", data=data)
    rgb = compressed_to_rgb(message, BrightnessRange())
    assert rgb[0, 512].tolist() == pytest.approx([127.5] * 3, abs=3)
    assert rgb.max() == 255 and rgb.min() == 0


@pytest.mark.parametrize("encoding", ["mono16", "rgb16", "bayer_rggb16"])
def test_big_endian_is_read_as_such(encoding):
    pixels = encoded(SMOOTH_RGB, encoding)
    little, big = (
        image_to_rgb(image(pixels, encoding, 3, big_endian=big)) for big in (False, True)
    )
    np.testing.assert_array_equal(little, big)


def test_last_row_may_lack_its_padding():
    message = image(SMOOTH_RGB, "rgb8", padding=6)
    message.data = message.data[:-6]
    np.testing.assert_array_equal(image_to_rgb(message), SMOOTH_RGB)


def test_rgb8_shares_memory_with_the_message():
    message = image(SMOOTH_RGB, "rgb8")
    assert np.shares_memory(image_to_rgb(message), np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"encoding": "rgb9"}, "encoding: expected one of rgb8.*got 'rgb9'"),
        ({"encoding": ""}, "encoding: .*got ''"),
        ({"width": 0}, "width, height: expected an image, got 0x12"),
        ({"height": 0}, "width, height: expected an image, got 16x0"),
        ({"step": 47}, "step: expected at least 48 bytes"),
        ({"step": 0}, "step: expected at least 48 bytes"),
        ({"data": bytes(575)}, r"data: expected 576 bytes \(step x height\), got 575"),
        ({"data": b""}, "data: expected 576 bytes"),
        ({"encoding": "yuv422", "width": 15}, "width: expected an even number"),
    ],
)
def test_bad_image_is_one_line_naming_the_field(changes, words):
    message = image(SMOOTH_RGB, "rgb8")
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(ConversionError, match=words) as caught:
        image_to_rgb(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("encoding", ["32FC1", "16UC1", "mono16"])
def test_depth_images_give_metres(encoding, big_endian, padding):
    metres = np.array([[0.0, 0.5, 4.125], [65.535, 1.0, 2.25]], np.float32)
    pixels = metres.astype(">f4" if big_endian else "<f4")
    if encoding == "32FC1":
        pixels[0, 0] = metres[0, 0] = np.nan
        message = image(pixels.view(np.uint8).reshape(2, -1), encoding, padding)
        message.width, message.is_bigendian = 3, int(big_endian)
    else:
        message = image(np.rint(metres * 1000).astype(np.uint16), encoding, padding, big_endian)
    if padding:
        message.data = message.data[:-padding]  # the last row may lack it
    depth = depth_to_metres(message)
    assert depth.dtype == np.float32 and depth.dtype.isnative
    np.testing.assert_allclose(depth, metres, rtol=1e-6)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"encoding": "rgb8"}, "encoding: expected one of 32FC1, 16UC1, mono16, got 'rgb8'"),
        ({"encoding": "64FC1"}, "encoding: expected one of 32FC1"),
        ({"width": 0}, "width, height: expected an image"),
        ({"step": 7}, "step: expected at least 8 bytes for 4 pixels"),
        ({"data": bytes(23)}, "data: expected 24 bytes"),
    ],
)
def test_bad_depth_is_one_line_naming_the_field(changes, words):
    message = image(np.ones((3, 4), np.uint16), "16UC1")
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(ConversionError, match=f"^{words}") as caught:
        depth_to_metres(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_compressed_image_gives_the_picture(suffix):
    data = cv2.imencode(suffix, SMOOTH_RGB[..., ::-1])[1].tobytes()
    rgb = compressed_to_rgb(CompressedImage(format=suffix[1:], data=data))
    np.testing.assert_allclose(
        rgb.astype(int), SMOOTH_RGB.astype(int), atol=0 if suffix == ".png" else 8
    )


def test_compressed_grey_image_has_three_equal_channels():
    data = cv2.imencode(".png", SMOOTH_RGB[..., 0])[1].tobytes()
    rgb = compressed_to_rgb(CompressedImage(format="png", data=data))
    np.testing.assert_array_equal(rgb, np.repeat(SMOOTH_RGB[..., :1], 3, -1))


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "got 0 bytes"),
        (b"no image at all", "do not decode"),
        (b"\xff\xd8\xff", "do not decode"),
    ],
)
def test_bad_compressed_image_is_one_line(data, words):
    with pytest.raises(ConversionError, match=f"data: .*{words}"):
        compressed_to_rgb(CompressedImage(format="jpeg", data=data))


@pytest.mark.parametrize(
    "encoding, shape", [("rgb8", (5, 7, 3)), ("bgr8", (5, 7, 3)), ("mono8", (5, 7))]
)
def test_array_to_image_and_back(encoding, shape):
    pixels = RNG.integers(0, 255, shape, np.uint8)
    message = conversions.array_to_image(pixels[:, ::-1], encoding, header())
    assert message.header == header() and message.step * message.height == len(message.data)
    rgb = image_to_rgb(message)
    expected = {
        "rgb8": lambda p: p,
        "bgr8": lambda p: p[..., ::-1],
        "mono8": lambda p: np.stack([p] * 3, -1),
    }[encoding]
    np.testing.assert_array_equal(rgb, expected(pixels[:, ::-1]))


def assert_equal_values(one, other):
    for field in dataclasses.fields(one):
        np.testing.assert_array_equal(
            getattr(one, field.name), getattr(other, field.name), err_msg=field.name
        )


def skeleton_2d_of(message: Skeleton2DMsg) -> Skeleton2D:
    """Keypoints of one person."""
    covariances = [
        (k.covariance_xx, k.covariance_xy, k.covariance_xy, k.covariance_yy)
        for k in message.keypoints
    ]
    return Skeleton2D(
        keypoints_px=np.array([(k.x, k.y) for k in message.keypoints]),
        confidence=np.array([k.confidence for k in message.keypoints]),
        covariance_px2=np.array(covariances).reshape(-1, 2, 2),  # 14, 2, 2
        box_px=np.array(message.box),
        score=message.score,
    )


def skeleton_3d_of(message: Skeleton3DMsg) -> Skeleton3D:
    """Joints of one person, without the hypotheses, which the message lacks."""
    joints = message.joints
    root = message.root_position

    return Skeleton3D(
        joints_m=np.array([(j.position.x, j.position.y, j.position.z) for j in joints]),
        root_m=np.array([root.x, root.y, root.z]),
        covariance_m2=np.array([j.covariance for j in joints]).reshape(-1, 3, 3),  # 17, 3, 3
        root_covariance_m2=np.array(message.root_covariance).reshape(3, 3),  # 3, 3
        confidence=np.array([j.confidence for j in joints]),
        status=np.array([j.status for j in joints], np.uint8),
        log_likelihood=message.log_likelihood,
        metric=message.metric,
        hypotheses_m=np.zeros((0, skeleton.JOINT_COUNT, 3)),
        hypothesis_weight=np.zeros(0),
    )


@pytest.mark.parametrize("invalid", [(), (3, 16)])
def test_skeletons_survive_the_wire(invalid):
    someone = person(RNG, track_id=5, invalid=invalid)
    arrays = (
        conversions.persons_to_array_2d([someone], header()),
        conversions.persons_to_array_3d([someone], header()),
    )
    array_2d, array_3d = (deserialize_message(serialize_message(a), type(a)) for a in arrays)
    assert array_2d.header == array_3d.header == header()
    assert array_2d.skeletons[0].id == array_3d.skeletons[0].id == 5
    assert_equal_values(skeleton_2d_of(array_2d.skeletons[0]), someone.skeleton_2d)
    assert_equal_values(skeleton_3d_of(array_3d.skeletons[0]), someone.skeleton_3d)
    message = array_3d.skeletons[0]
    assert (message.age.sec, message.age.nanosec, message.score) == (1, 250_000_000, 0.75)
    velocities = [(j.velocity.x, j.velocity.y, j.velocity.z) for j in message.joints]
    np.testing.assert_array_equal(velocities, someone.velocity_mps)


def test_unseen_keypoint_stays_unknown():
    skeleton_2d = person(RNG).skeleton_2d
    skeleton_2d.keypoints_px[4], skeleton_2d.covariance_px2[4], skeleton_2d.confidence[4] = (
        np.nan,
        np.nan,
        0.0,
    )
    assert_equal_values(skeleton_2d_of(conversions.skeleton_2d_to_msg(skeleton_2d)), skeleton_2d)


def test_nobody_gives_empty_arrays_under_the_header():
    array_2d, array_3d = (
        conversions.persons_to_array_2d([], header()),
        conversions.persons_to_array_3d([], header()),
    )
    assert array_2d == Skeleton2DArray(header=header()) and array_3d == Skeleton3DArray(
        header=header()
    )
    assert array_2d.header.frame_id == FRAME


@pytest.mark.parametrize(
    "seconds, expected", [(0.0, (0, 0)), (1.25, (1, 250_000_000)), (2.9999999999, (3, 0))]
)
def test_seconds_to_duration(seconds, expected):
    duration = conversions.seconds_to_duration(seconds)
    assert (duration.sec, duration.nanosec) == expected


def test_info_describes_the_orders():
    info = conversions.skeleton_info("lite", "aa", "bb")
    assert (
        tuple(info.keypoint_names) == skeleton.KEYPOINT_NAMES
        and tuple(info.joint_names) == skeleton.JOINT_NAMES
    )
    assert tuple(info.joint_parents) == skeleton.JOINT_PARENTS
    edges = {
        frozenset((child, parent))
        for child, parent in enumerate(info.keypoint_parents.tolist())
        if parent >= 0
    }
    assert edges == {frozenset(limb) for limb in skeleton.KEYPOINT_LIMBS}
    assert info.keypoint_parents.tolist().count(-1) == 1
    assert (info.model, info.weights_sha256, info.prior_sha256) == ("lite", "aa", "bb")
