# SPDX-License-Identifier: Apache-2.0
"""The published comparisons on Leeds Sports Pose: a json with keypoints, and with pairs of them of
which a crowd said which one is farther away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifting_ros.errors import DataError, one_line
from lifting_ros.lifting.encoding import USUAL_EXTENT
from lifting_ros.lifting.observation import NONE, PITCH_STEP, into_views, to_rays
from lifting_ros.lifting.request import UP
from lifting_ros.research.datasets.comparisons import Comparisons
from lifting_ros.research.datasets.pictured import Pictured
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT, KEYPOINT_NAMES, KEYPOINT_TO_JOINT

_WORDS = {"r": "right", "l": "left", "headtop": "head_top", "head": "head_top"}
"""Our words for those of the file; the head of LSP is our head top."""


class CrowdSet(NamedTuple):
    """M photographs with A comparisons."""

    files: tuple[str, ...]
    train: np.ndarray
    """(M,) bool: the training side."""
    keypoints_px: np.ndarray
    """(M, 14, 2), NaN where not annotated."""
    photograph: np.ndarray
    """(A,) number of the photograph of each comparison."""
    pairs: np.ndarray
    """(A, 2) numbers of keypoints, in this package's order."""
    label: np.ndarray
    """(A,) 1 where the first is farther from the camera, -1 where the second is, 0 where they are
    equally far."""


class _Photograph(NamedTuple):
    """One photograph of the file."""

    file: str
    train: bool
    points: np.ndarray
    """(14, 2), NaN where not annotated."""
    comparisons: list[tuple[int, int, int]]
    """Two keypoints and the label."""


def read_relative_lsp(path: str | Path) -> CrowdSet:
    """Read a json with `joint_names` and `images`.

    Each image has `im_file`, `is_train`, `keypoints` (14 of x, y) and `anns` of `kp0`, `kp1`,
    `label`. kp0 and kp1 are numbers or names of joints; label is 1 where kp0 is farther.

    FileNotFoundError without a file; DataError in one line that names what is missing or invalid.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not a readable json ({one_line(error)})") from None

    content = content if isinstance(content, dict) else {}
    for key in ("joint_names", "images"):
        if not isinstance(content.get(key), list):
            raise DataError(f"{path}: expected joint_names and images")

    order = _order(path, content["joint_names"])
    photographs = []
    owner = []
    comparisons = []

    for number, image in enumerate(content["images"]):
        photograph = _photograph(f"{path}: images[{number}]", image, order)
        photographs.append(photograph)
        owner += [number] * len(photograph.comparisons)
        comparisons += photograph.comparisons

    train = np.array([photograph.train for photograph in photographs], bool)
    points = np.array([photograph.points for photograph in photographs], np.float64)
    rows = np.array(comparisons, int).reshape(-1, 3)
    return CrowdSet(
        tuple(photograph.file for photograph in photographs),
        train,
        points.reshape(-1, KEYPOINT_COUNT, 2),
        np.array(owner, int),
        rows[:, :2],
        rows[:, 2],
    )


def _order(
    path: str | Path,
    names: list,
) -> dict:
    """Our number of each joint, by its number and by its name in the file."""
    order = {}
    for number, name in enumerate(names):
        ours = _our_name(str(name))
        if ours not in KEYPOINT_NAMES:
            raise DataError(
                f"{path}: joint_names[{number}]: {name!r} is none of {', '.join(KEYPOINT_NAMES)}"
            )

        keypoint = KEYPOINT_NAMES.index(ours)
        order[number] = keypoint
        order[name] = keypoint

    if len(set(order.values())) != KEYPOINT_COUNT:
        raise DataError(
            f"{path}: joint_names: expected {KEYPOINT_COUNT} different ones, got {len(names)}"
        )

    return order


def _our_name(name: str) -> str:
    words = name.strip().lower().replace("-", " ").replace("_", " ").split()
    if words == ["head", "top"]:
        return "head_top"
    return "_".join(_WORDS.get(word, word) for word in words)


def _photograph(
    where: str,
    image: dict,
    order: dict,
) -> _Photograph:
    try:
        given = np.array(image["keypoints"], np.float64)
        if given.shape not in ((KEYPOINT_COUNT, 2), (KEYPOINT_COUNT, 3)):
            raise DataError(f"keypoints: expected {KEYPOINT_COUNT} of x, y, got {given.shape}")

        points = np.full((KEYPOINT_COUNT, 2), np.nan)
        ours = [order[number] for number in range(KEYPOINT_COUNT)]
        points[ours] = given[:, :2]

        comparisons = []
        for answer in image["anns"]:
            first = order[answer["kp0"]]
            second = order[answer["kp1"]]
            comparisons.append((first, second, int(answer["label"])))

        file = str(image["im_file"])
        train = bool(image["is_train"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"{where}: expected im_file, is_train, keypoints and anns of kp0, kp1, label ({error})"
        ) from None

    for first, second, label in comparisons:
        if first == second or label not in (-1, 0, 1):
            raise DataError(
                f"{where}: anns: expected two different joints and a label of -1, 0 or 1"
            )

    return _Photograph(file, train, points, comparisons)


def as_pictures(crowd: CrowdSet) -> tuple[Pictured, Comparisons]:
    """Photographs of the training side as annotated pictures, in the form of simulated ones; joints
    in 3D and sizes are NaN.

    Only photographs with all keypoints and a comparison are used. Each gets as many comparisons as
    the one with most; its own are repeated. No camera is known: the people are scaled to the size,
    on the rays, of people four metres away, so that noise in pixels has its usual effect.
    DataError if no photograph is left.
    """
    answers = []
    for number in range(len(crowd.files)):
        answers.append(np.flatnonzero(crowd.photograph == number))

    # View frames
    whole = np.isfinite(crowd.keypoints_px).all((1, 2))
    compared = np.array([len(own) > 0 for own in answers], bool)
    rows = np.flatnonzero(crowd.train & whole & compared)
    keypoints = crowd.keypoints_px[rows]
    everybody = np.ones(keypoints.shape[:2])
    observed = to_rays(keypoints, everybody, None, None, 0.015, 0.5)
    up = np.tile(np.array(UP), (len(rows), 1))
    centred, *_, steps, level = into_views(*observed, up)
    usable = level != NONE
    if not usable.any():
        raise DataError("no photograph to train on has all its keypoints and a comparison")

    # Pictures
    rows = rows[usable]
    centred = centred[usable]
    offset = centred - centred.mean(1, keepdims=True)
    extent = np.sqrt((offset**2).sum(-1).mean(1))
    scale = USUAL_EXTENT / extent
    rays = np.full((len(rows), JOINT_COUNT, 2), np.nan, np.float32)
    rays[:, list(KEYPOINT_TO_JOINT)] = centred * scale[:, None, None]
    unknown = np.full((len(rows), JOINT_COUNT, 3), np.nan, np.float32)
    pitch = (steps[usable] * PITCH_STEP).astype(np.float32)
    pictures = Pictured(rays, unknown, unknown[:, 0, 0], pitch)

    # Comparisons (M, K), each photograph's own ones repeated
    most = max(len(answers[row]) for row in rows)
    chosen = np.stack([np.resize(answers[row], most) for row in rows])
    pairs = crowd.pairs[chosen].astype(np.int16)
    label = crowd.label[chosen].astype(np.int8)

    return pictures, Comparisons(pairs, label)
