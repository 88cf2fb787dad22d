# SPDX-License-Identifier: Apache-2.0
"""Colours and patterns of rendered people, backgrounds, and patches in the foreground."""

import colorsys

import numpy as np

from lifting_ros.research.rendering.render import Material


def random_colour(rng: np.random.Generator, vivid: float = 0.6) -> np.ndarray:
    """(3,) colour in [0, 1], as often grey, black or white as clothes are; vivid: largest
    saturation."""
    if rng.random() < 0.35:
        grey = np.full(3, rng.choice([0.04, 0.1, 0.25, 0.5, 0.8]))
        return grey * rng.uniform(0.9, 1.1, 3)

    hue = rng.random()
    saturation = rng.uniform(0.15, vivid)
    value = rng.uniform(0.15, 0.9)
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value))


def waves(points: np.ndarray, frequency: float) -> np.ndarray:
    """(N, 1) smooth noise in [0, 1] at points (N, 3) in metres; frequency in radians per metre."""
    x, y, z = (frequency * points).T
    first = np.sin(x + 1.3 * np.sin(0.7 * y))
    second = np.sin(1.7 * z - 0.6 * x + 2)
    third = np.sin(0.45 * y + 1.1 * np.sin(x + z))

    value = first + second + third
    return (0.5 + value / 6)[:, None].astype(np.float32)


def fabric(rng: np.random.Generator, prints=()) -> Material:
    """A random cloth: plain, striped, checked, mottled, or printed with part of a photograph.

    prints: photographs (H, W, 3) uint8.
    """
    kinds = ["plain", "stripes", "checks", "mottled"]
    odds = [0.5, 0.16, 0.1, 0.12]
    if len(prints):
        kinds.append("print")
        odds.append(0.12)
    shares = np.array(odds)
    kind = rng.choice(kinds, p=shares / shares.sum())

    first = random_colour(rng, 0.95).astype(np.float32)
    second = random_colour(rng, 0.95).astype(np.float32)
    step = rng.uniform(0.015, 0.12)
    axis = rng.choice([0, 1, 1])
    if kind == "print":
        photo = prints[rng.integers(len(prints))]
        albedo = printed(photo, rng).albedo
    else:
        albedo = pattern(kind, first, second, step, axis)

    return Material(albedo, bump=rng.uniform(0.08, 0.3), gloss=rng.choice([0, 0, 0.08]))


def pattern(
    kind: str,
    first,
    second,
    step: float,
    axis: int,
):
    """Function from rest positions (N, 3) to a mix of two colours (3,).

    kind: plain, stripes, checks or mottled; step: period of the pattern, metres.
    """

    def stripes(rest, along):
        place = np.mod(rest[:, along], step)
        is_stripe = place < 0.4 * step
        return is_stripe[:, None]

    def share(rest):
        if kind == "plain":
            return 0.12 * waves(rest, 25.0)
        if kind == "mottled":
            return np.clip(3 * waves(rest, 1.5 / step) - 1, 0, 1)

        along = stripes(rest, axis).astype(np.float32)
        if kind == "stripes":
            return along
        return (along + stripes(rest, 1 - axis)) / 2

    def albedo(rest):
        mix = share(rest)
        return (1 - mix) * first + mix * second

    return albedo


def printed(photo, rng: np.random.Generator) -> Material:
    """A photograph (H, W, 3) uint8, repeated over the rest position, every other time mirrored."""
    height, width = photo.shape[:2]
    scale = rng.uniform(80, 400)
    shift = rng.uniform(0, 1000, 2)

    def mirrored(at, count):
        """Indices from 0 to count - 1 that run forwards and back."""
        last = count - 1
        place = np.mod(at, 2 * last)
        away = np.abs(place - last)
        return away.astype(int)

    def albedo(rest):
        column = mirrored(rest[:, 0] * scale + shift[0], width)
        row = mirrored(-rest[:, 1] * scale + shift[1], height)
        colour = photo[row, column].astype(np.float32)
        return colour / 255

    return Material(albedo)


def background(
    rng: np.random.Generator,
    size,
    photos=(),
) -> np.ndarray:
    """(H, W, 3) float32 in [0, 1]: part of one of the photographs (each (H, W, 3) uint8), or
    painted. size (W, H)."""
    import cv2

    width, height = size
    if not len(photos) or rng.random() < 0.08:
        return _painted(rng, size)

    # Part of a photograph, of the same proportions
    photo = photos[rng.integers(len(photos))]
    rows, columns = photo.shape[:2]
    scale = min(rows / height, columns / width) * rng.uniform(0.4, 1.0)
    h = max(int(scale * height), 8)
    w = max(int(scale * width), 8)
    top = rng.integers(max(rows - h, 0) + 1)
    left = rng.integers(max(columns - w, 0) + 1)
    part = photo[top : top + h, left : left + w]
    part = cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)

    # Mirrored or out of focus
    if rng.random() < 0.5:
        part = part[:, ::-1]
    if rng.random() < 0.25:
        part = cv2.GaussianBlur(np.ascontiguousarray(part), (0, 0), rng.uniform(0.5, 2.5))

    return part.astype(np.float32) / 255


def noise_image(
    rng: np.random.Generator,
    size,
    cells: int,
) -> np.ndarray:
    """(H, W, 3) float32 smooth coloured noise about 0.5, with `cells` cells along each side."""
    import cv2

    coarse = rng.uniform(0, 1, (cells, cells, 3)).astype(np.float32)
    width, height = size
    fine = cv2.resize(coarse, (int(width), int(height)), interpolation=cv2.INTER_CUBIC)
    return np.clip(fine, 0, 1)


def _painted(rng, size):
    """(H, W, 3) float32 in [0, 1]: two areas of colour, rectangles and noise."""
    import cv2

    width, height = size
    longest = max(size)
    image = random_colour(rng) * np.ones((height, width, 3), np.float32)
    horizon = int(height * rng.uniform(0.3, 0.8))
    image[horizon:] = random_colour(rng)

    for _ in range(rng.integers(2, 12)):
        corner = rng.integers(0, longest, 2)
        opposite = corner + rng.integers(5, longest // 2, 2)
        colour = random_colour(rng).tolist()
        cv2.rectangle(image, corner.tolist(), opposite.tolist(), colour, -1)

    amount = rng.uniform(0.05, 0.4)
    cells = int(rng.integers(2, 60))
    mixed = image + amount * (noise_image(rng, size, cells) - 0.5)
    return np.clip(mixed, 0, 1).astype(np.float32)


def occluder(
    rng: np.random.Generator,
    size,
    photos=(),
):
    """An ellipse or rectangle in front of everything: mask (H, W) bool and picture (H, W, 3)
    float32. size (W, H)."""
    import cv2

    width, height = size
    centre = (int(rng.uniform(0, width)), int(rng.uniform(0.2, 1.1) * height))
    half_width = rng.uniform(0.05, 0.25) * width
    half_height = rng.uniform(0.05, 0.3) * height
    angle = rng.normal(0, 25)

    mask = np.zeros((height, width), np.uint8)
    if rng.random() < 0.5:
        half = (int(half_width), int(half_height))
        cv2.ellipse(
            mask,
            centre,
            half,
            angle,
            0,
            360,
            1,
            -1,
        )
    else:
        corners = cv2.boxPoints((centre, (2 * half_width, 2 * half_height), angle))
        cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)

    return mask.astype(bool), background(rng, size, photos)
