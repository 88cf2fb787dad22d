# SPDX-License-Identifier: Apache-2.0
"""Colours and patterns for rendered people, and what stands behind and before them."""

import colorsys

import numpy as np

from lifting_ros.research.rendering.render import Material


def random_colour(rng: np.random.Generator, vivid: float = 0.6) -> np.ndarray:
    """(3,) colour in [0, 1]; `vivid` bounds the saturation. Greys, blacks and whites are as common
    as in wardrobes."""
    if rng.random() < 0.35:
        return np.full(3, rng.choice([0.04, 0.1, 0.25, 0.5, 0.8])) * rng.uniform(0.9, 1.1, 3)

    return np.array(
        colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.15, vivid), rng.uniform(0.15, 0.9))
    )


def waves(points: np.ndarray, frequency: float) -> np.ndarray:
    """(N, 1) smooth noise in [0, 1] over points (N, 3) metres, `frequency` in radians per metre."""
    x, y, z = (frequency * points).T
    value = (
        np.sin(x + 1.3 * np.sin(0.7 * y))
        + np.sin(1.7 * z - 0.6 * x + 2)
        + np.sin(0.45 * y + 1.1 * np.sin(x + z))
    )

    return (0.5 + value / 6)[:, None].astype(np.float32)


def fabric(rng: np.random.Generator, prints=()) -> Material:
    """A random cloth: plain, striped, checked, mottled, or printed with part of a photograph (H, W,
    3) uint8."""
    kinds = ["plain", "stripes", "checks", "mottled"] + (["print"] if len(prints) else [])
    odds = np.array([0.5, 0.16, 0.1, 0.12, 0.12][: len(kinds)])
    kind = rng.choice(kinds, p=odds / odds.sum())
    first, second = (random_colour(rng, 0.95).astype(np.float32) for _ in range(2))
    step = rng.uniform(0.015, 0.12)
    axis = rng.choice([0, 1, 1])

    if kind == "print":
        albedo = printed(prints[rng.integers(len(prints))], rng).albedo
    else:
        albedo = pattern(kind, first, second, step, axis)

    return Material(albedo, bump=rng.uniform(0.08, 0.3), gloss=rng.choice([0, 0, 0.08]))


def pattern(kind: str, first, second, step: float, axis: int):
    """Function of rest positions (N, 3) to two colours (3,) in a pattern (plain, stripes, checks,
    mottled) of `step` metres."""

    def share(rest):
        if kind == "plain":
            return 0.12 * waves(rest, 25.0)
        if kind == "mottled":
            return np.clip(3 * waves(rest, 1.5 / step) - 1, 0, 1)

        along = (np.mod(rest[:, axis], step) < 0.4 * step)[:, None]
        if kind == "stripes":
            return along.astype(np.float32)

        across = (np.mod(rest[:, 1 - axis], step) < 0.4 * step)[:, None]

        return (along.astype(np.float32) + across) / 2

    def albedo(rest):
        mix = share(rest)
        return (1 - mix) * first + mix * second

    return albedo


def printed(photo, rng: np.random.Generator) -> Material:
    """Part of a photograph (H, W, 3) uint8, mirrored and tiled over the rest position."""
    height, width = photo.shape[:2]
    scale = rng.uniform(80, 400)
    shift = rng.uniform(0, 1000, 2)

    def albedo(rest):
        column = np.abs(np.mod(rest[:, 0] * scale + shift[0], 2 * width - 2) - (width - 1)).astype(
            int
        )
        row = np.abs(np.mod(-rest[:, 1] * scale + shift[1], 2 * height - 2) - (height - 1)).astype(
            int
        )
        return photo[row, column].astype(np.float32) / 255

    return Material(albedo)


def background(rng: np.random.Generator, size, photos=()) -> np.ndarray:
    """(H, W, 3) float32 in [0, 1]: a part of one of the photographs (each (H, W, 3) uint8), or
    painted. size (W, H)."""
    import cv2

    width, height = size
    if not len(photos) or rng.random() < 0.08:
        return _painted(rng, size)

    photo = photos[rng.integers(len(photos))]
    rows, columns = photo.shape[:2]
    scale = min(rows / height, columns / width) * rng.uniform(0.4, 1.0)
    h = max(int(scale * height), 8)
    w = max(int(scale * width), 8)
    top = rng.integers(max(rows - h, 0) + 1)
    left = rng.integers(max(columns - w, 0) + 1)
    part = cv2.resize(
        photo[top : top + h, left : left + w], (width, height), interpolation=cv2.INTER_LINEAR
    )
    part = part[:, ::-1] if rng.random() < 0.5 else part

    if rng.random() < 0.25:
        part = cv2.GaussianBlur(np.ascontiguousarray(part), (0, 0), rng.uniform(0.5, 2.5))

    return part.astype(np.float32) / 255


def noise_image(rng: np.random.Generator, size, cells: int) -> np.ndarray:
    """(H, W, 3) float32 smooth coloured noise around 0.5 with `cells` cells along each side."""
    import cv2

    coarse = rng.uniform(0, 1, (cells, cells, 3)).astype(np.float32)

    width, height = size
    fine = cv2.resize(coarse, (int(width), int(height)), interpolation=cv2.INTER_CUBIC)
    return np.clip(fine, 0, 1)


def _painted(rng, size):
    import cv2

    width, height = size
    image = random_colour(rng) * np.ones((height, width, 3), np.float32)
    horizon = int(height * rng.uniform(0.3, 0.8))
    image[horizon:] = random_colour(rng)

    for _ in range(rng.integers(2, 12)):
        corner = rng.integers(0, max(size), 2)
        extent = rng.integers(5, max(size) // 2, 2)
        colour = tuple(float(c) for c in random_colour(rng))
        cv2.rectangle(image, tuple(map(int, corner)), tuple(map(int, corner + extent)), colour, -1)

    amount = rng.uniform(0.05, 0.4)
    mixed = image + amount * (noise_image(rng, size, int(rng.integers(2, 60))) - 0.5)

    return np.clip(mixed, 0, 1).astype(np.float32)


def occluder(rng: np.random.Generator, size, photos=()):
    """A thing in front of everything: mask (H, W) bool, picture (H, W, 3) float32. size: (W, H)."""
    import cv2

    width, height = size
    mask = np.zeros((height, width), np.uint8)
    centre = (int(rng.uniform(0, width)), int(rng.uniform(0.2, 1.1) * height))
    half = (rng.uniform(0.05, 0.25) * width, rng.uniform(0.05, 0.3) * height)
    angle = rng.normal(0, 25)

    if rng.random() < 0.5:
        cv2.ellipse(mask, centre, (int(half[0]), int(half[1])), angle, 0, 360, 1, -1)
    else:
        corners = cv2.boxPoints((centre, (2 * half[0], 2 * half[1]), angle))
        cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)

    return mask.astype(bool), background(rng, size, photos)
