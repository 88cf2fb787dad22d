# SPDX-License-Identifier: Apache-2.0
"""Heads are hidden in every encoding that can be read, and every other byte stays."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from node_support import RGB, Stage
from ros_support import header, image, person
from sensor_msgs.msg import CompressedImage, Image

from lifting_ros.estimator import Estimate
from lifting_ros.ros.blurred_images import anonymous_image, blurred_data, blurred_file
from lifting_ros.ros.conversions import (
    ALIASES,
    ENCODINGS,
    PIXEL_BYTES,
    PLANAR,
    ConversionError,
    image_to_rgb,
)
from lifting_ros.viz.anonymise import HeadRegion, hidden_regions

WIDTH = 64
HEIGHT = 48
SIZE = (WIDTH, HEIGHT)
REGION = HeadRegion(np.array([40.0, 20.0]), np.diag([144.0, 100.0]))


def message_of(encoding: str, padding: int = 0, big_endian: bool = False) -> Image:
    """Noise in an encoding, with padding behind each row but the last."""
    plain = ALIASES.get(encoding, encoding)
    row = WIDTH * PIXEL_BYTES.get(plain, 1)
    rows = HEIGHT * 3 // 2 if plain in PLANAR else HEIGHT
    data = np.random.default_rng(2).integers(0, 256, rows * (row + padding), np.uint8)
    out = Image(header=header(), width=WIDTH, height=HEIGHT, encoding=encoding)
    out.step = row + padding
    out.is_bigendian = int(big_endian)
    out.data = data.tobytes()[: len(data) - padding]
    return out


def changed_pixels(before: Image, after: np.ndarray) -> np.ndarray:
    """(H, W) which pixels of the picture differ."""
    out = copy_of(before)
    out.data = after.tobytes()
    return (image_to_rgb(before) != image_to_rgb(out)).any(-1)


def copy_of(message: Image) -> Image:
    names = message.get_fields_and_field_types()
    return Image(**{name: getattr(message, name) for name in names})


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_is_hidden_in_its_place(encoding, padding):
    message = message_of(encoding, padding)
    before = bytes(message.data)
    after = blurred_data(message, [REGION], SIZE)
    assert bytes(message.data) == before and len(after) == len(before)
    assert np.array_equal(blurred_data(message, [], SIZE), np.frombuffer(before, np.uint8))

    y, x = np.indices((HEIGHT, WIDTH))
    inside = REGION.contains(np.stack([x, y], -1))
    changed = changed_pixels(message, after)
    assert changed[inside].mean() > 0.95

    # Colours of Bayer patterns and of half resolution reach a pixel or two further
    reach = 0 if encoding in ("mono8", "rgb8", "bgr8", "rgba8", "bgra8", "mono16") else 2
    around = cv2.dilate(inside.astype(np.uint8), np.ones((2 * reach + 1,) * 2)) > 0
    assert not changed[~around].any()


def test_padding_stays():
    message = message_of("rgb8", padding=6)
    after = blurred_data(message, [REGION], SIZE)
    rows = [np.frombuffer(data, np.uint8) for data in (bytes(message.data), after.tobytes())]
    ends = [row[: message.step * (HEIGHT - 1)].reshape(-1, message.step)[:, -6:] for row in rows]
    assert np.array_equal(*ends)


def test_bytes_of_16_bits_are_read_in_their_order():
    small = message_of("mono16")
    big = message_of("mono16", big_endian=True)
    big.data = np.frombuffer(small.data, np.uint16).byteswap().tobytes()
    results = [blurred_data(message, [REGION], SIZE).view(np.uint16) for message in (small, big)]
    assert np.array_equal(results[0], results[1].byteswap())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"encoding": "32FC1"}, "^encoding: expected one of"),
        ({"data": [1, 2]}, "^data: expected"),
        ({"width": 32}, "^width, height: expected 64x48, got 32x48"),
    ],
)
def test_unusable_raw_image(change, text):
    message = message_of("rgb8")
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(ConversionError, match=text):
        blurred_data(message, [REGION], SIZE)


@pytest.mark.parametrize(
    ("suffix", "kind", "shape"),
    [
        (".png", np.uint8, (HEIGHT, WIDTH, 3)),
        (".png", np.uint16, (HEIGHT, WIDTH)),
        (".jpg", np.uint8, (HEIGHT, WIDTH, 3)),
        (".jpg", np.uint8, (HEIGHT, WIDTH)),
    ],
)
def test_files_are_compressed_in_the_same_way_again(suffix, kind, shape):
    pixels = np.random.default_rng(1).integers(0, np.iinfo(kind).max, shape, kind)
    data = cv2.imencode(suffix, pixels)[1].tobytes()
    message = CompressedImage(format=f"{suffix[1:]}; anything", data=data)
    assert blurred_file(message, [], SIZE).tobytes() == data

    after = blurred_file(message, [REGION], SIZE)
    flags = cv2.IMREAD_UNCHANGED
    before, hidden = (cv2.imdecode(np.frombuffer(d, np.uint8), flags) for d in (data, after))
    assert after[:2].tobytes() == data[:2]
    assert hidden.shape == before.shape and hidden.dtype == before.dtype
    y, x = np.indices((HEIGHT, WIDTH))
    inside = REGION.contains(np.stack([x, y], -1))
    assert hidden[inside].std() < 0.5 * before[inside].std()
    if suffix == ".png":
        assert np.array_equal(hidden[~inside], before[~inside])


@pytest.mark.parametrize("data", [b"", b"\xff\xd8 no picture", b"RIFF"])
def test_unusable_file(data):
    with pytest.raises(ConversionError, match=r"^data: .* do not decode as JPEG or PNG"):
        blurred_file(CompressedImage(format="jpeg", data=data), [REGION], SIZE)


@pytest.fixture
def stage():
    made = Stage(detector__every=5)
    yield made
    made.close()


def seen_person(head_px: tuple[float, float]):
    """Somebody who stands with the middle of the head here, 8 px from the neck."""
    one = person(np.random.default_rng(1))
    flat = one.skeleton_2d
    flat.keypoints_px[:] = head_px
    flat.keypoints_px[1] += (0, 8)
    flat.confidence[:] = 0.9
    flat = dataclasses.replace(
        flat,
        covariance_px2=np.tile(np.eye(2) * 0.1, (14, 1, 1)),
        box_px=np.array([*head_px, *head_px]) + [0, 0, 2, 8],
        score=0.95,
    )
    return dataclasses.replace(one, skeleton_2d=flat)


def test_node_hides_published_and_rejected_people(stage):
    """The detector sees every image while somebody listens, whatever `detector.every` says."""
    shown = seen_person((8.0, 6.0))
    rejected = seen_person((24.0, 6.0)).skeleton_2d
    drawn = stage.listen(Image, "/lifting/anonymous_image")
    every = []

    def estimate(picture, camera=None, up=None, depth=None, detections=None):
        every.append(stage.estimator.config.detector.every)
        assert detections is None
        return Estimate((shown,), {}, True, (rejected,))

    stage.node.start()
    stage.estimator.estimate = estimate
    stage.connect()
    stage.until(stage.feed.outputs.heads_are_hidden, "the listener")
    stage.ask()
    answer = stage.ask()
    stage.until(lambda: len(drawn) == 2, "images")

    regions = hidden_regions([shown], [rejected])
    expected = anonymous_image(RGB, regions, answer.header)
    assert every == [1, 1]
    assert drawn[-1] == expected and drawn[-1].header == answer.header
    picture = image_to_rgb(drawn[-1])
    for x in (8, 24):
        assert not np.array_equal(picture[6, x], RGB[6, x])


def test_node_hides_somebody_who_was_missed(stage):
    """Found in the first images, not in the last one."""
    drawn = stage.listen(Image, "/lifting/anonymous_image")
    shown = seen_person((8.0, 6.0))
    found = [(shown,)] * 4 + [()]
    stage.node.start()
    stage.estimator.estimate = lambda *args, **kwargs: Estimate(found.pop(0), {})
    stage.connect()
    stage.until(stage.feed.outputs.heads_are_hidden, "the listener")
    for k in range(5):
        stage.send(image(RGB, "rgb8"), 10 + 0.1 * k)
        stage.until(lambda k=k: len(drawn) == k + 1, "an image")

    picture = image_to_rgb(drawn[-1])
    assert not np.array_equal(picture[6, 8], RGB[6, 8])


def test_no_image_is_shown_where_the_detector_did_not_run(stage):
    """Somebody new may be in it."""
    drawn = stage.listen(Image, "/lifting/anonymous_image")
    stage.node.start()
    stage.estimator.estimate = lambda *args, **kwargs: Estimate((), {}, detected=False)
    stage.connect()
    stage.until(stage.feed.outputs.heads_are_hidden, "the listener")
    stage.ask()
    stage.spin(0.2)
    assert not drawn
