# SPDX-License-Identifier: Apache-2.0
"""From a pack's window to a training crop: cut, mirror, scale, rotation, shift, colour, blur and
occlusion, labels carried along."""

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
    """How far a training crop may stray from the true box."""

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
    """A random crop of a window (H, W, 3) with keypoints (14, 3); windows without a label give a
    crop without one.

    absent: (14,) bool, keypoints known not to be in the picture; any other keypoint without a label
    may be in it or not.
    """
    presence = np.where(keypoints[:, 2] > 0, 1.0, np.nan)
    if absent is not None:
        presence[absent] = 0.0
    if not (keypoints[:, 2] > 0).any():
        return Sample(
            _colour(_random_square(image, size_px, rng), config, rng), keypoints, presence
        )

    if rng.random() < config.neighbour and len(scenery.people):
        image, keypoints, presence = _paste_person(image, keypoints, presence, scenery.people, rng)
    if rng.random() < config.cut:
        image, keypoints, presence = _cut_off(image, keypoints, presence, scenery.things, rng)

    stray = np.clip(rng.standard_normal(2), -2, 2)
    scale = math.exp(config.log_scale * stray[0])
    angle = math.radians(config.rotation_deg) * stray[1]
    shift = config.shift * np.clip(rng.standard_normal(2), -2, 2)
    crop, moved = apply_transform(
        image, keypoints, crop_transform(keypoints, size_px, scale, angle, shift), size_px
    )
    if rng.random() < config.mirror:
        crop, moved = mirror(crop, moved)
        presence = presence[list(KEYPOINT_FLIP)]
    outside = (moved[:, 2] > 0) & ~((moved[:, :2] > -0.5) & (moved[:, :2] < size_px - 0.5)).all(-1)
    presence[outside] = 0.0

    crop = np.ascontiguousarray(crop)
    if rng.random() < config.anonymous:
        anonymise(crop, moved, rng)
    crop = _colour(crop, config, rng)
    if rng.random() < config.occlusion:
        _occlude(crop, moved, rng)
    return Sample(crop, moved, presence)


def _cut_off(
    image: np.ndarray,
    keypoints: np.ndarray,
    presence: np.ndarray,
    things: Sequence[np.ndarray],
    rng: np.random.Generator,
):
    """Image, keypoints and presence after the part beyond a straight line is hidden behind an
    object or replaced by the grey beyond the border of a picture. Mostly it is the lower part.

    Presence becomes 0 beyond the line, and NaN near it.
    """
    axis, sign = ((1, 1), (0, 1), (0, -1), (1, -1))[rng.choice(4, p=[0.65, 0.13, 0.13, 0.09])]
    seen = keypoints[:, 2] > 0
    along = sign * keypoints[:, axis]
    ordered = np.sort(along[seen])
    if len(ordered) <= _LEAST_LEFT:
        return image, keypoints, presence
    line = rng.uniform(ordered[_LEAST_LEFT - 1], ordered[-1])
    margin = 0.04 * np.ptp(ordered) + 1.0
    if (along[seen] < line).sum() < _LEAST_LEFT:
        return image, keypoints, presence

    image = image.copy()
    keypoints = keypoints.copy()
    presence = presence.copy()
    place = np.arange(image.shape[1 - axis]) * sign > line
    region = np.broadcast_to(place[None, :] if axis == 0 else place[:, None], image.shape[:2])
    image[region] = 128 if rng.random() < 0.5 else _thing(image, things, rng)[region]
    keypoints[seen & (along > line), 2] = 0
    presence[seen & (along > line - margin)] = np.nan
    presence[seen & (along > line + margin)] = 0.0
    return image, keypoints, presence


def _thing(image: np.ndarray, things: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """A texture of the size of `image` that hides a person: a flat colour, boards, or part of a
    picture without people."""
    height, width = image.shape[:2]
    kind = rng.integers(3)
    if kind == 0 or not len(things):
        colour = rng.integers(0, 256, 3)
        shade = np.linspace(1, rng.uniform(0.6, 1.0), height)[:, None, None]
        return np.broadcast_to(colour * shade, image.shape).astype(np.uint8)
    if kind == 1:
        stripes = rng.integers(0, 256, (1, int(rng.integers(2, 9)), 3)).astype(np.uint8)
        boards = cv2.resize(stripes, (width, height), interpolation=cv2.INTER_NEAREST)
        return (0.3 * boards + 0.7 * rng.integers(0, 256, 3)).astype(np.uint8)
    return _random_square(things[rng.integers(len(things))], max(height, width), rng)[
        :height, :width
    ]


def _paste_person(
    image: np.ndarray,
    keypoints: np.ndarray,
    presence: np.ndarray,
    people: Sequence[Cutout],
    rng: np.random.Generator,
):
    """Image, keypoints and presence with another person pasted beside the labelled one, at times
    partly in front. The weight of covered labels falls to _COVERED_WEIGHT, and their presence is
    NaN."""
    person = people[rng.integers(len(people))]
    seen = keypoints[:, 2] > 0
    low = keypoints[seen, :2].min(0)
    high = keypoints[seen, :2].max(0)
    size = max(*(high - low), 8.0)
    scale = size * rng.uniform(0.6, 1.3) / person.image.shape[0]
    side = rng.choice([-1, 1])
    away = side * (0.5 * (high[0] - low[0]) + rng.uniform(0.0, 0.35) * size)
    centre = (low + high) / 2 + [away, rng.normal(0, 0.15) * size]

    half = np.array(person.image.shape[1::-1]) / 2
    transform = np.array(
        [[scale, 0, centre[0] - scale * half[0]], [0, scale, centre[1] - scale * half[1]]]
    )
    if rng.random() < 0.5:
        transform[0] = [-scale, 0, centre[0] + scale * half[0]]
    shape = image.shape[1::-1]
    mask = cv2.warpAffine(person.mask, transform, shape)
    pasted = cv2.warpAffine(person.image, transform, shape)
    image = np.where(mask[..., None] > 127, pasted, image)

    at = np.clip(np.round(keypoints[:, :2]).astype(int), 0, np.array(shape) - 1)
    covered = seen & (mask[at[:, 1], at[:, 0]] > 127)
    keypoints = keypoints.copy()
    presence = presence.copy()
    keypoints[covered, 2] *= _COVERED_WEIGHT
    presence[covered] = np.nan
    return image, keypoints, presence


def _random_square(image: np.ndarray, size_px: int, rng: np.random.Generator) -> np.ndarray:
    side = int(rng.integers(image.shape[0] // 2, image.shape[0] + 1))
    top, left = rng.integers(0, image.shape[0] - side + 1, 2)
    return cv2.resize(
        image[top : top + side, left : left + side],
        (size_px, size_px),
        interpolation=cv2.INTER_AREA,
    )


def _colour(image: np.ndarray, config: AugmentationConfig, rng: np.random.Generator) -> np.ndarray:
    gain = np.exp(config.colour * (0.8 * rng.standard_normal() + 0.4 * rng.standard_normal(3)))
    gamma = math.exp(config.colour * rng.standard_normal())
    offset = 40 * config.colour * rng.standard_normal()
    ramp = np.linspace(0, 1, 256)[:, None] ** gamma  # (256, 1)
    table = np.clip(ramp * gain * 255 + offset, 0, 255).astype(np.uint8)  # (256, 3)
    image = cv2.LUT(image, table[None])
    if rng.random() < 0.1:
        image = np.repeat(image.mean(-1, keepdims=True).astype(np.uint8), 3, -1)
    if rng.random() < config.blur:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.6))
    if rng.random() < config.blur:
        noise = rng.normal(0, rng.uniform(2, 14), image.shape)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return _bad_camera(image, rng) if rng.random() < config.camera else image


def _bad_camera(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The crop with few pixels, motion blur, strong compression or little light."""
    size = image.shape[0]
    kind = rng.integers(4)
    if kind == 0:
        few = int(size * rng.uniform(0.25, 0.6))
        return cv2.resize(
            cv2.resize(image, (few, few), interpolation=cv2.INTER_AREA),
            (size, size),
            interpolation=cv2.INTER_LINEAR,
        )
    if kind == 1:
        return cv2.filter2D(image, -1, motion_blur(rng.uniform(3, 11), rng.uniform(0, 180)))
    if kind == 2:
        return cv2.imdecode(
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(10, 50))])[1],
            cv2.IMREAD_COLOR,
        )
    dark = image * rng.uniform(0.15, 0.6) + rng.normal(0, rng.uniform(2, 12), image.shape)
    return np.clip(dark, 0, 255).astype(np.uint8)


def anonymise(image: np.ndarray, keypoints: np.ndarray, rng: np.random.Generator) -> None:
    """Make a mosaic of the head or blur it, where crown and neck are labelled."""
    top, neck = keypoints[_HEAD]
    size = image.shape[0]
    if min(top[2], neck[2]) <= 0:
        return
    reach = rng.uniform(0.5, 0.8) * np.linalg.norm(top[:2] - neck[:2])
    middle = 0.6 * top[:2] + 0.4 * neck[:2]
    (left, up), (right, down) = (
        np.clip(np.round(middle + sign * reach), 0, size).astype(int) for sign in (-1, 1)
    )
    if min(right - left, down - up) < 2:
        return
    face = image[up:down, left:right]
    if rng.random() < 0.4:
        image[up:down, left:right] = cv2.GaussianBlur(
            face, (0, 0), reach * rng.uniform(0.15, 0.5) + 0.5
        )
        return
    tiles = cv2.resize(face, (int(rng.integers(2, 6)),) * 2, interpolation=cv2.INTER_AREA)
    image[up:down, left:right] = cv2.resize(
        tiles, face.shape[1::-1], interpolation=cv2.INTER_NEAREST
    )


def _occlude(image: np.ndarray, keypoints: np.ndarray, rng: np.random.Generator) -> None:
    """Cover part of the crop with flat colour, noise or another place of the same crop; labels
    stay: the body goes on behind it."""
    size = image.shape[0]
    h, w = (rng.uniform(0.1, 0.4, 2) * size).astype(int)
    seen = keypoints[keypoints[:, 2] > 0, :2]
    x, y = seen[rng.integers(len(seen))] + rng.normal(0, 0.08 * size, 2)
    left = int(np.clip(x - w / 2, 0, size - w))
    top = int(np.clip(y - h / 2, 0, size - h))
    kind = rng.integers(3)
    if kind == 0:
        patch = np.broadcast_to(rng.integers(0, 256, 3, np.uint8), (h, w, 3))
    elif kind == 1:
        patch = rng.integers(0, 256, (h, w, 3), np.uint8)
    else:
        sy = rng.integers(0, size - h + 1)
        sx = rng.integers(0, size - w + 1)
        patch = image[sy : sy + h, sx : sx + w].copy()
    image[top : top + h, left : left + w] = patch
