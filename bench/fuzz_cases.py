# SPDX-License-Identifier: Apache-2.0
"""Inputs for `lifting lift` that no program should write: each kind is a function of a random
generator, and knows what it must lead to."""

from __future__ import annotations

import functools
import io
import pickle
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lifting_ros.estimator import WEIGHTS
from lifting_ros.prior.ppca import MixturePPCA
from lifting_ros.skeleton import KEYPOINT_TO_JOINT

Rng = np.random.Generator
Arrays = dict[str, np.ndarray]
ODD = (
    np.nan,
    np.inf,
    -np.inf,
    1e9,
    -1e9,
    1e308,
    -1e308,
    5e-324,
    1e-310,
    -0.0,
    0.0,
    1e20,
    1e-20,
    2.0**31,
)
"""Values that break sums, squares, logarithms and casts."""


class Case(NamedTuple):
    """One input."""

    kind: str
    content: bytes | None
    """Of the file; None: there is no file."""
    options: tuple[str, ...] = ()
    must: int | None = None
    """Exit status that alone is right, where the input leaves no choice."""


@functools.cache
def _people() -> np.ndarray:
    return MixturePPCA.load(WEIGHTS / "prior.npz").means_ * 1.08  # metres, y up


def sane(rng: Rng, count: int | None = None) -> Arrays:
    """A request without a fault: mean people of the prior before a camera."""
    count = int(rng.integers(1, 5)) if count is None else count
    people = _people()
    mean = people[rng.integers(0, len(people), count)]
    pose = mean + 0.03 * rng.standard_normal((count, 17, 3))

    # Turned about the vertical, 2 to 8 m away
    angle = rng.uniform(0, 2 * np.pi, count)
    c = np.cos(angle)[:, None]
    s = np.sin(angle)[:, None]
    x = c * pose[..., 0] + s * pose[..., 2]
    z = c * pose[..., 2] - s * pose[..., 0] + rng.uniform(2, 8, (count, 1))
    joints = np.stack([x, -pose[..., 1], z], -1)[:, list(KEYPOINT_TO_JOINT)]
    focal = rng.uniform(300, 1500)
    pixels = focal * joints[..., :2] / joints[..., 2:] + [320, 240]
    matrix = np.array([[focal, 0, 320], [0, focal, 240], [0, 0, 1]])
    arrays = {"keypoints_px": pixels, "confidence": rng.uniform(0.05, 1, (count, 14)), "K": matrix}

    if rng.random() < 0.5:
        covariance = np.eye(2) * rng.uniform(0.1, 30)
        arrays["keypoint_covariance_px2"] = np.tile(covariance, (count, 14, 1, 1))

    if rng.random() < 0.3:
        arrays["D"] = rng.normal(0, 0.02, rng.choice([4, 5, 8]))

    if rng.random() < 0.3:
        arrays["up"] = np.array([0.0, -1, 0]) + rng.normal(0, 0.1, 3)

    if rng.random() < 0.3:
        arrays["image_size"] = np.array([640, 480])

    if rng.random() < 0.3:
        del arrays["K"]
        arrays.pop("D", None)

    return arrays


def sprinkle(rng: Rng, array: np.ndarray) -> np.ndarray:
    """A float array with odd values in some places or in all."""
    array = np.array(array, np.float64)
    where = rng.random(array.shape) < rng.choice([0.02, 0.2, 0.7, 1.1])
    array[where] = rng.choice(ODD, where.sum()) if rng.random() < 0.6 else rng.choice(ODD)
    return array


def odd_shape(rng: Rng, array: np.ndarray) -> np.ndarray:
    """The same numbers, or some of them, in a wrong shape."""
    ways = (
        lambda a: a[None],
        lambda a: a[..., None],
        lambda a: a.ravel(),
        lambda a: np.asarray(a.flat[0] if a.size else 0.0),
        lambda a: a[..., :-1],
        lambda a: a.T,
        lambda a: np.concatenate([a, a]),
        lambda a: a[:0],
        lambda a: a[1:],
        lambda a: np.repeat(a, 2, -1),
    )
    return ways[rng.integers(len(ways))](np.atleast_1d(array))


def odd_type(rng: Rng, array: np.ndarray) -> np.ndarray:
    """The same array in another type."""
    kinds = (
        "f2",
        "f4",
        ">f8",
        "i8",
        "u1",
        "i2",
        "?",
        "c16",
        "U7",
        "S3",
        "M8[s]",
        "m8[s]",
        "O",
        "g",
        "V8",
    )
    kind = kinds[rng.integers(len(kinds))]

    with np.errstate(all="ignore"):
        values = np.nan_to_num(np.asarray(array, np.float64), posinf=1e4, neginf=-1e4).clip(
            -1e4, 1e4
        )
        if kind in ("i8", "u1", "i2", "M8[s]", "m8[s]"):
            values = values.clip(0, 255).astype("i8")

        return np.zeros(values.shape, kind) if kind == "V8" else values.astype(kind)


def degenerate(rng: Rng, a: Arrays) -> None:
    """Keypoints in a point, on a line, at one place but one; hardly anybody seen."""
    points = a["keypoints_px"]
    confidence = a["confidence"]
    which = rng.integers(10)

    if which == 0:
        points[:] = rng.choice([0.0, 100.0, 1e6, -3.0])
    elif which < 4:
        t = rng.normal(0, 100, points.shape[:2])
        points[:] = np.array([(1, 0), (0, 1), (1, 1)])[which - 1] * t[..., None] + 200
    elif which == 4:
        confidence[:] = 0
    elif which < 7:
        confidence[:, rng.permutation(14)[which - 4 :]] = 0  # one or two joints
    elif which == 7:
        confidence[rng.random(confidence.shape) < rng.random((len(confidence), 1))] = 0
    elif which == 8:
        points[:, rng.integers(14, size=7)] = points[:, :1]
    else:
        points *= 10.0 ** rng.integers(-12, 12)

    points[(confidence == 0) & (rng.random(confidence.shape) < 0.7)] = np.nan


def confidences(rng: Rng, a: Arrays) -> None:
    c = a["confidence"]
    c[:] = [
        lambda: sprinkle(rng, c),
        lambda: 10.0 ** rng.uniform(-320, 0, c.shape),
        lambda: rng.normal(0, 1, c.shape),
        lambda: rng.choice([0.0, 1.0, 1 + 1e-9, -1e-9], c.shape),
    ][rng.integers(4)]()


def camera(rng: Rng, a: Arrays) -> None:
    f = rng.uniform(1, 1000)
    inf = np.inf
    ks = (
        np.zeros((3, 3)),
        np.eye(3),
        np.ones((3, 3)),
        -np.eye(3),
        np.diag([f, -f, 1]),
        np.diag([1e300, 1e300, 1]),
        np.full((3, 3), np.nan),
        np.diag([1e-300, 1e-300, 1]),
        np.diag([5e-324, f, 1]),
        np.diag([f, f, 0]),
        np.diag([f, f, np.nan]),
        np.diag([1e-9, 1e9, 1]),
        np.array([[f, 1e6, 3], [0, f, 3], [0, 0, 1]]),
        np.array([[f, 0, 1e300], [0, f, -1e300], [0, 0, 1]]),
        rng.normal(0, 500, (3, 3)),
        np.array([[f, 0, inf], [0, f, 0], [0, 0, 1]]),
        np.array([[f, 0, 9], [5, f, 9], [7, 7, 1]]),
    )
    a["K"] = sprinkle(rng, np.diag([f, f, 1])) if rng.random() < 0.3 else ks[rng.integers(len(ks))]


def distortion(rng: Rng, a: Arrays) -> None:
    d = rng.normal(0, 1, rng.integers(0, 21)) * 10.0 ** rng.integers(-4, 5)
    a["D"] = sprinkle(rng, d) if rng.random() < 0.3 else d
    a.setdefault("K", np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]))


def gravity(rng: Rng, a: Arrays) -> None:
    ups = (
        (0, 0, 0),
        (np.nan,) * 3,
        (1e300, 0, 0),
        (5e-324, 0, 0),
        (0, 0, 1),
        (0, 1, 0),
        (0, -1, np.nan),
        (np.inf, 0, 0),
        (1e-9, -1e-9, 0),
        (1, 1, 1),
    )
    up = np.array(ups[rng.integers(len(ups))], np.float64)
    if rng.random() < 0.4:
        up = np.array(ups, np.float64)[rng.integers(len(ups), size=len(a["keypoints_px"]))]

    a["up"] = up


def covariance(rng: Rng, a: Arrays) -> None:
    odd = [
        [[1, 5], [5, 1]],
        [[1, 2], [0, 1]],
        [[4, 1], [-1, 4]],
        [[-1, 0], [0, -1]],
        [[1e-12, 0], [0, 1e12]],
        [[np.inf, 0], [0, 1]],
    ]
    two = np.array(
        [np.eye(2) * v for v in (0, 5e-324, 1e12, 1e300, np.nan)]
        + [np.ones((2, 2)), np.full((2, 2), np.nan), *odd]
    )
    shape = (*a["keypoints_px"].shape, 2)
    one = np.array(np.broadcast_to(two[rng.integers(len(two))], shape))
    ways = (
        one,
        two[rng.integers(len(two), size=shape[:2])],
        sprinkle(rng, rng.normal(0, 9, shape)),
    )
    a["keypoint_covariance_px2"] = ways[rng.integers(3)]


def values(rng: Rng, a: Arrays) -> None:
    name = _name(rng, a)
    a[name] = sprinkle(rng, a[name])


def shapes(rng: Rng, a: Arrays) -> None:
    name = _name(rng, a)
    a[name] = odd_shape(rng, a[name])


def types(rng: Rng, a: Arrays) -> None:
    name = _name(rng, a)
    a[name] = odd_type(rng, a[name])


def image_size(rng: Rng, a: Arrays) -> None:
    a["image_size"] = [
        np.array([-1, 0]),
        np.array([np.nan, 5]),
        np.array(7),
        np.zeros((2, 2)),
        np.array(["a", "b"]),
    ][rng.integers(5)]


def missing(rng: Rng, a: Arrays) -> None:
    del a[_name(rng, a)]


def extra(rng: Rng, a: Arrays) -> None:
    a[str(rng.choice(["", "keypoints", "joints_m", "../up", "k p", "K "])) + "x"] = rng.normal(
        size=3
    )


def nobody(rng: Rng, a: Arrays) -> None:
    a |= {"keypoints_px": np.zeros((0, 14, 2)), "confidence": np.zeros((0, 14))}
    a.pop("keypoint_covariance_px2", None)
    if "up" in a and a["up"].ndim == 2:
        del a["up"]


def _name(rng: Rng, a: Arrays) -> str:
    return str(rng.choice(sorted(name for name, array in a.items() if array.dtype.kind in "fiu")))


def pack(arrays: Arrays, compressed: bool = False) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


MUTATIONS: tuple[Callable[[Rng, Arrays], None], ...] = (
    degenerate,
    confidences,
    camera,
    distortion,
    gravity,
    covariance,
    values,
    shapes,
    types,
    image_size,
    missing,
    extra,
)


def mutated(rng: Rng) -> Case:
    """A request with one to three faults."""
    arrays = sane(rng)
    names = []

    for change in rng.choice(np.array(MUTATIONS, object), rng.choice([1, 1, 1, 2, 3])):
        if {"keypoints_px", "confidence"} <= set(arrays) and _is_whole(arrays):
            change(rng, arrays)
            names.append(change.__name__)

    must = (
        2
        if not {"keypoints_px", "confidence"} <= set(arrays)
        or any(v.dtype == object for v in arrays.values())
        else None
    )

    return Case(names[0] if len(names) == 1 else "several faults", pack(arrays), must=must)


def stature(rng: Rng) -> Case:
    """A request without a fault for a person of a strange height."""
    height, must = (
        ("1.7", 0),
        ("0", 0),
        ("1e-9", None),
        ("nan", 2),
        ("-1", 2),
        ("inf", 2),
        ("1e9", 2),
    )[rng.integers(7)]
    return Case("stature", pack(sane(rng)), (f"--stature={height}",), must)


def _is_whole(a: Arrays) -> bool:
    points = a["keypoints_px"]
    confidence = a["confidence"]
    return (
        points.dtype == confidence.dtype == np.float64
        and points.shape[1:] == (14, 2)
        and confidence.shape == points.shape[:2]
    )


def whole(rng: Rng) -> Case:
    """A request without a fault, in types that numpy writes as well."""
    arrays = sane(rng, int(rng.integers(1, 20)))
    if rng.random() < 0.5:
        arrays = {
            name: np.asfortranarray(v.astype(rng.choice([">f8", "<f4"])))
            for name, v in arrays.items()
        }

    if rng.random() < 0.2:
        nobody(rng, arrays)

    return Case("no fault", pack(arrays, rng.random() < 0.5), must=0)


def damaged(rng: Rng) -> Case:
    """A file cut off, with changed bytes, or something else altogether."""
    good = pack(sane(rng), rng.random() < 0.5)
    which = rng.integers(9)
    if which == 0:
        return Case("cut off", good[: rng.integers(0, len(good) - 30)], must=2)

    if which < 4:
        data = np.frombuffer(good, np.uint8).copy()
        data[rng.integers(0, len(data), rng.integers(1, 40))] = rng.integers(0, 256)
        return Case("changed bytes", data.tobytes())

    if which == 4:
        return Case("rubbish", rng.bytes(rng.integers(0, 500)), must=2)
    if which == 5:
        return Case(
            "text",
            str(rng.choice(["", "keypoints_px: 1\n", "{}", "x,y\n1,2\n", "\ufeff\n" * 9])).encode(),
            must=2,
        )
    if which == 6:
        return Case("pickle", pickle.dumps(sane(rng)), must=2)
    if which == 7:
        return Case("no file", None, must=2)

    return Case("strange archive", _archive(rng), must=2)


def _archive(rng: Rng) -> bytes:
    """A zip that is no .npz, or a header that lies about what follows; or a lone .npy."""
    single = io.BytesIO()
    archive = io.BytesIO()
    np.save(single, np.zeros((1, 14, 2)))
    header = single.getvalue().replace(
        b"(1, 14, 2)", rng.choice([b"(9, 14, 2)", b"(1, 14,-2)", b"(1, 9*9,2)", b"(10**9,14)"])
    )
    if rng.random() < 0.2:
        return single.getvalue()

    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("keypoints_px.npy", rng.choice([header, b"no array", b""]))
        file.writestr("confidence.npy", single.getvalue()[:-20])

    return archive.getvalue()


def draw(rng: Rng) -> Case:
    """Any input."""
    which = rng.random()
    with np.errstate(all="ignore"):  # what overflows here is meant to
        return (
            mutated(rng)
            if which < 0.78
            else stature(rng)
            if which < 0.8
            else damaged(rng)
            if which < 0.93
            else whole(rng)
        )
