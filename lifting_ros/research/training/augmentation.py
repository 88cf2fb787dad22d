# SPDX-License-Identifier: Apache-2.0
"""From a pack's window to a training crop with its labels: cut, mirror, scale, rotation, shift,
colour, blur and occlusion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np

from lifting_ros.research.datasets.crops import apply_transform, crop_transform, mirror, motion_blur
from lifting_ros.research.datasets.scene_parts import Cutout
from lifting_ros.skeleton import KEYPOINT_FLIP, KEYPOINT_NAMES

_HEAD = [KEYPOINT_NAMES.index(name) for name in ("head_top", "neck")]


@dataclass(frozen=True)
class AugmentationConfig:
    """How much a training crop may differ from the picture in the true box."""

    mirror: float = field(default=0.5, metadata={"description": "share of mirrored crops"})
    log_scale: float = field(
        default=0.25, metadata={"description": "standard deviation of ln(scale), cut at two"}
    )
    rotation_deg: float = field(
        default=25.0,
        metadata={"description": "standard deviation of the rotation, cut at two", "unit": "deg"},
    )
    shift: float = field(
        default=0.08,
        metadata={"description": "standard deviation of the shift, divided by the crop's side"},
    )
    colour: float = field(
        default=0.25,
        metadata={"description": "strength of brightness, contrast and channel changes"},
    )
    occlusion: float = field(
        default=0.35, metadata={"description": "share of crops with a patch over the person"}
    )
    cut: float = field(
        default=0.3,
        metadata={
            "description": (
                "share of crops in which part of the person is beyond a border or behind a thing"
            )
        },
    )
    neighbour: float = field(
        default=0.25, metadata={"description": "share of crops into which another person is pasted"}
    )
    anonymous: float = field(
        default=0.3,
        metadata={
            "description": (
                "share of crops whose face is a mosaic or blurred: front and back show in the "
                "body, too"
            )
        },
    )
    blur: float = field(
        default=0.15, metadata={"description": "share of blurred crops, and of noisy ones"}
    )
    camera: float = field(
        default=0.2,
        metadata={
            "description": (
                "share of crops as from a bad camera: few pixels, motion blur, JPEG, darkness"
            )
        },
    )


class Scenery(NamedTuple):
    """What may be pasted into a training crop."""

    people: Sequence[Cutout] = ()
    """Persons cut out of photographs."""
    things: Sequence[np.ndarray] = ()
    """Pictures (H, W, 3) uint8 RGB without people, whose parts serve as furniture."""


_NOTHING_TO_PASTE = Scenery()


class Sample(NamedTuple):
    """A training crop and what is known of it."""

    image: np.ndarray
    """(S, S, 3) uint8 RGB."""
    keypoints: np.ndarray
    """(14, 3) x, y in px of the crop and the label's weight, 0 where there is none."""
    presence: np.ndarray
    """(14,) 1 where a keypoint is in view, 0 where it is outside or well hidden, NaN if unknown."""


_LEAST_LEFT = 4
"""Labelled keypoints that a cut leaves."""

_COVERED_WEIGHT = 0.3
"""Weight of a label that is covered by another person, relative to what it was."""


def augment(  # noqa: PLR0913 - a picture, its labels and how to change them
    image: np.ndarray,
    keypoints: np.ndarray,
    size_px: int,
    config: AugmentationConfig,
    rng: np.random.Generator,
    absent: np.ndarray | None = None,
    scenery: Scenery = _NOTHING_TO_PASTE,
) -> Sample:
    """A random crop of a window (H, W, 3) with keypoints (14, 3).

    A window without labels gives a random square of it. absent: (14,) bool, keypoints known not to
    be in the picture; any other keypoint without a label may be in it or not.
    """
    labelled = keypoints[:, 2] > 0
    presence = np.where(labelled, 1.0, np.nan)
    if absent is not None:
        presence[absent] = 0.0
    if not labelled.any():
        square = _random_square(image, size_px, rng)
        return Sample(_colour(square, config, rng), keypoints, presence)

    # In the window: another person, and a cut
    view = Sample(image, keypoints, presence)
    if rng.random() < config.neighbour and len(scenery.people):
        view = _paste_person(view, scenery.people, rng)
    if rng.random() < config.cut:
        view = _cut_off(view, scenery.things, rng)

    # Crop
    transform = _random_transform(view.keypoints, size_px, config, rng)
    crop, moved = apply_transform(view.image, view.keypoints, transform, size_px)
    presence = view.presence
    if rng.random() < config.mirror:
        crop, moved = mirror(crop, moved)
        presence = presence[list(KEYPOINT_FLIP)]

    # Keypoints outside the crop
    points = moved[:, :2]
    inside = ((points > -0.5) & (points < size_px - 0.5)).all(-1)
    presence[(moved[:, 2] > 0) & ~inside] = 0.0

    # Appearance
    crop = np.ascontiguousarray(crop)
    if rng.random() < config.anonymous:
        anonymise(crop, moved, rng)
    crop = _colour(crop, config, rng)
    if rng.random() < config.occlusion:
        _occlude(crop, moved, rng)
    return Sample(crop, moved, presence)


def _random_transform(
    keypoints: np.ndarray,
    size_px: int,
    config: AugmentationConfig,
    rng: np.random.Generator,
) -> np.ndarray:
    """Affine (2, 3) from the window to the crop."""
    scaling, turning = np.clip(rng.standard_normal(2), -2, 2)
    scale = math.exp(config.log_scale * scaling)
    angle = math.radians(config.rotation_deg) * turning
    shift = config.shift * np.clip(rng.standard_normal(2), -2, 2)
    return crop_transform(keypoints, size_px, scale, angle, shift)


def _cut_off(
    view: Sample,
    things: Sequence[np.ndarray],
    rng: np.random.Generator,
) -> Sample:
    """The window after the part beyond a straight line is hidden: behind an object, or by the grey
    beyond the border of a picture. Mostly it is the lower part.

    Presence becomes 0 beyond the line, and NaN near it.
    """
    directions = ((1, 1), (0, 1), (0, -1), (1, -1))
    axis, sign = directions[rng.choice(4, p=[0.65, 0.13, 0.13, 0.09])]
    seen = view.keypoints[:, 2] > 0
    along = sign * view.keypoints[:, axis]
    ordered = np.sort(along[seen])
    if len(ordered) <= _LEAST_LEFT:
        return view

    line = rng.uniform(ordered[_LEAST_LEFT - 1], ordered[-1])
    margin = 0.04 * np.ptp(ordered) + 1.0
    if (along[seen] < line).sum() < _LEAST_LEFT:
        return view

    # Picture
    image = view.image.copy()
    beyond = np.arange(image.shape[1 - axis]) * sign > line
    part = (slice(None), beyond) if axis == 0 else beyond
    if rng.random() < 0.5:
        image[part] = 128
    else:
        image[part] = _thing(image, things, rng)[part]

    # Labels
    keypoints = view.keypoints.copy()
    presence = view.presence.copy()
    keypoints[seen & (along > line), 2] = 0
    presence[seen & (along > line - margin)] = np.nan
    presence[seen & (along > line + margin)] = 0.0
    return Sample(image, keypoints, presence)


def _thing(
    image: np.ndarray,
    things: Sequence[np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    """A texture as large as `image` that hides a person: a flat colour, boards, or part of a
    picture without people."""
    height, width = image.shape[:2]
    kind = rng.integers(3)
    if kind == 0 or not len(things):
        colour = rng.integers(0, 256, 3)
        shade = np.linspace(1, rng.uniform(0.6, 1.0), height)[:, None, None]
        return np.broadcast_to(colour * shade, image.shape).astype(np.uint8)

    if kind == 1:
        count = int(rng.integers(2, 9))
        stripes = rng.integers(0, 256, (1, count, 3)).astype(np.uint8)
        boards = cv2.resize(stripes, (width, height), interpolation=cv2.INTER_NEAREST)
        colour = rng.integers(0, 256, 3)
        return (0.3 * boards + 0.7 * colour).astype(np.uint8)

    thing = things[rng.integers(len(things))]
    square = _random_square(thing, max(height, width), rng)
    return square[:height, :width]


def _paste_person(
    view: Sample,
    people: Sequence[Cutout],
    rng: np.random.Generator,
) -> Sample:
    """The window with another person pasted beside the labelled one, at times partly in front.

    The weight of covered labels is multiplied by _COVERED_WEIGHT, and their presence is NaN.
    """
    person = people[rng.integers(len(people))]
    seen = view.keypoints[:, 2] > 0
    points = view.keypoints[seen, :2]
    transform = _random_place(points, person, rng)

    # Picture
    shape = view.image.shape[1::-1]
    mask = cv2.warpAffine(person.mask, transform, shape)
    pasted = cv2.warpAffine(person.image, transform, shape)
    image = np.where(mask[..., None] > 127, pasted, view.image)

    # Labels
    places = np.round(view.keypoints[:, :2]).astype(int)
    column, row = np.clip(places, 0, np.array(shape) - 1).T
    covered = seen & (mask[row, column] > 127)
    keypoints = view.keypoints.copy()
    presence = view.presence.copy()
    keypoints[covered, 2] *= _COVERED_WEIGHT
    presence[covered] = np.nan
    return Sample(image, keypoints, presence)


def _random_place(
    points: np.ndarray,
    person: Cutout,
    rng: np.random.Generator,
) -> np.ndarray:
    """Affine (2, 3) from a cut-out person to a place beside keypoints (n, 2), mirrored in half of
    the calls."""
    low = points.min(0)
    high = points.max(0)
    size = max(*(high - low), 8.0)
    scale = size * rng.uniform(0.6, 1.3) / person.image.shape[0]

    side = rng.choice([-1, 1])
    away = side * (0.5 * (high[0] - low[0]) + rng.uniform(0.0, 0.35) * size)
    x, y = (low + high) / 2 + [away, rng.normal(0, 0.15) * size]

    half_width, half_height = scale * (np.array(person.image.shape[1::-1]) / 2)
    across = [scale, 0, x - half_width]
    if rng.random() < 0.5:
        across = [-scale, 0, x + half_width]
    return np.array([across, [0, scale, y - half_height]])


def _random_square(
    image: np.ndarray,
    size_px: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """A square of half the image's height or more, anywhere in it, scaled to `size_px`."""
    height = image.shape[0]
    side = int(rng.integers(height // 2, height + 1))
    top, left = rng.integers(0, height - side + 1, 2)
    square = image[top : top + side, left : left + side]
    return cv2.resize(square, (size_px, size_px), interpolation=cv2.INTER_AREA)


def _colour(
    image: np.ndarray,
    config: AugmentationConfig,
    rng: np.random.Generator,
) -> np.ndarray:
    """The image with random brightness, contrast and colours; some in grey, blurred, noisy, or as
    from a bad camera."""
    # Gain, gamma and offset
    common = 0.8 * rng.standard_normal()
    channels = 0.4 * rng.standard_normal(3)
    gain = np.exp(config.colour * (common + channels))
    gamma = math.exp(config.colour * rng.standard_normal())
    offset = 40 * config.colour * rng.standard_normal()
    ramp = np.linspace(0, 1, 256)[:, None] ** gamma  # (256, 1)
    table = np.clip(ramp * gain * 255 + offset, 0, 255).astype(np.uint8)  # (256, 3)
    image = cv2.LUT(image, table[None])

    if rng.random() < 0.1:
        grey = image.mean(-1, keepdims=True).astype(np.uint8)
        image = np.repeat(grey, 3, -1)
    if rng.random() < config.blur:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.6))
    if rng.random() < config.blur:
        noise = rng.normal(0, rng.uniform(2, 14), image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < config.camera:
        image = bad_camera(image, rng)
    return image


def bad_camera(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An image (H, W, 3) with few pixels, motion blur, strong compression or little light."""
    size = image.shape[1::-1]
    kind = rng.integers(4)
    if kind == 0:
        share = rng.uniform(0.25, 0.6)
        few = [max(int(side * share), 1) for side in size]
        small = cv2.resize(image, few, interpolation=cv2.INTER_AREA)
        return cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)

    if kind == 1:
        kernel = motion_blur(rng.uniform(3, 11), rng.uniform(0, 180))
        return cv2.filter2D(image, -1, kernel)

    if kind == 2:
        quality = int(rng.integers(10, 50))
        _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return cv2.imdecode(coded, cv2.IMREAD_COLOR)

    dark = image * rng.uniform(0.15, 0.6)
    noise = rng.normal(0, rng.uniform(2, 12), image.shape)
    return np.clip(dark + noise, 0, 255).astype(np.uint8)


def anonymise(
    image: np.ndarray,
    keypoints: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Blur the head or make a mosaic of it, in place, where head top and neck are labelled."""
    top, neck = keypoints[_HEAD]
    size = image.shape[0]
    if min(top[2], neck[2]) <= 0:
        return

    # Square around the head
    reach = rng.uniform(0.5, 0.8) * np.linalg.norm(top[:2] - neck[:2])
    middle = 0.6 * top[:2] + 0.4 * neck[:2]
    left, upper = np.clip(np.round(middle - reach), 0, size).astype(int)
    right, lower = np.clip(np.round(middle + reach), 0, size).astype(int)
    if min(right - left, lower - upper) < 2:
        return

    face = image[upper:lower, left:right]
    if rng.random() < 0.4:
        sigma = reach * rng.uniform(0.15, 0.5) + 0.5
        face[:] = cv2.GaussianBlur(face, (0, 0), sigma)
        return

    count = int(rng.integers(2, 6))
    tiles = cv2.resize(face, (count, count), interpolation=cv2.INTER_AREA)
    face[:] = cv2.resize(tiles, face.shape[1::-1], interpolation=cv2.INTER_NEAREST)


def _occlude(
    image: np.ndarray,
    keypoints: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Cover part of the crop, in place, with a flat colour, noise or another part of the crop. The
    labels remain, because the body continues behind it."""
    size = image.shape[0]
    height, width = (rng.uniform(0.1, 0.4, 2) * size).astype(int)
    seen = keypoints[keypoints[:, 2] > 0, :2]
    x, y = seen[rng.integers(len(seen))] + rng.normal(0, 0.08 * size, 2)
    left = int(np.clip(x - width / 2, 0, size - width))
    top = int(np.clip(y - height / 2, 0, size - height))

    kind = rng.integers(3)
    if kind == 0:
        patch = rng.integers(0, 256, 3, np.uint8)
    elif kind == 1:
        patch = rng.integers(0, 256, (height, width, 3), np.uint8)
    else:
        row = rng.integers(0, size - height + 1)
        column = rng.integers(0, size - width + 1)
        patch = image[row : row + height, column : column + width].copy()

    image[top : top + height, left : left + width] = patch
