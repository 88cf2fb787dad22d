# SPDX-License-Identifier: Apache-2.0
"""The published comparisons on Leeds Sports Pose: a json with keypoints and, for pairs of them,
which a crowd said is farther away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.lifting.observation import NONE, PITCH_STEP, into_views, to_rays
from lifting_ros.lifting.request import UP
from lifting_ros.lifting.residual_mlp import USUAL_EXTENT
from lifting_ros.research.datasets.comparisons import Comparisons
from lifting_ros.research.datasets.pictured import Pictured
from lifting_ros.skeleton import JOINT_COUNT, KEYPOINT_COUNT, KEYPOINT_NAMES, KEYPOINT_TO_JOINT

_WORDS = {"r": "right", "l": "left", "headtop": "head_top", "head": "head_top"}
"""Abbreviations of names; what LSP calls the head is its top."""


class CrowdSet(NamedTuple):
    """M photographs."""

    files: tuple[str, ...]
    train: np.ndarray
    """(M,) bool."""
    keypoints_px: np.ndarray
    """(M, 14, 2), NaN where not annotated."""
    photograph: np.ndarray
    """(A,) number of the photograph that a comparison is of."""
    pairs: np.ndarray
    """(A, 2) numbers of keypoints, in this package's order."""
    label: np.ndarray
    """(A,) 1 where the first is farther from the camera, -1 where the second is, 0 where they are
    equally far."""


def read_relative_lsp(path: str | Path) -> CrowdSet:
    """Read `joint_names` and `images` of `im_file`, `is_train`, `keypoints` (14 of x, y) and `anns`
    of `kp0`, `kp1`, `label`.

    kp0 and kp1 are numbers or names of joints; label is 1 where kp0 is farther. FileNotFoundError
    where there is no file; DataError in one line that names what is missing or unfit.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not a readable json ({' '.join(str(error).split())})") from None

    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in ("joint_names", "images")
    ):
        raise DataError(f"{path}: expected joint_names and images")

    order = _order(path, content["joint_names"])
    images = [
        _image(f"{path}: images[{n}]", image, order) for n, image in enumerate(content["images"])
    ]
    files, train, keypoints, told = zip(*images) if images else ((), (), (), ())
    owner = np.array([n for n, anns in enumerate(told) for _ in anns], int)
    rows = np.array([ann for anns in told for ann in anns], int).reshape(-1, 3)
    points = np.array(keypoints, np.float64).reshape(-1, KEYPOINT_COUNT, 2)

    return CrowdSet(tuple(files), np.array(train, bool), points, owner, rows[:, :2], rows[:, 2])


def _order(path: str | Path, names: list) -> dict:
    """Our number of every joint, by its number and by its name in the file."""
    order = {}
    for number, name in enumerate(names):
        words = "_".join(str(name).strip().lower().replace("-", " ").replace("_", " ").split())
        ours = (
            "_".join(_WORDS.get(word, word) for word in words.split("_"))
            if words != "head_top"
            else words
        )
        if ours not in KEYPOINT_NAMES:
            raise DataError(
                f"{path}: joint_names[{number}]: {name!r} is none of {', '.join(KEYPOINT_NAMES)}"
            )

        order[number] = order[name] = KEYPOINT_NAMES.index(ours)

    if len(set(order.values())) != KEYPOINT_COUNT:
        raise DataError(
            f"{path}: joint_names: expected {KEYPOINT_COUNT} different ones, got {len(names)}"
        )

    return order


def _image(
    where: str, image: dict, order: dict
) -> tuple[str, bool, np.ndarray, list[tuple[int, int, int]]]:
    """File, side, keypoints (14, 2) and comparisons of one photograph."""
    try:
        given = np.array(image["keypoints"], np.float64)
        if given.shape not in ((KEYPOINT_COUNT, 2), (KEYPOINT_COUNT, 3)):
            raise DataError(f"keypoints: expected {KEYPOINT_COUNT} of x, y, got {given.shape}")

        points = np.full((KEYPOINT_COUNT, 2), np.nan)
        points[[order[k] for k in range(KEYPOINT_COUNT)]] = given[:, :2]
        told = [(order[ann["kp0"]], order[ann["kp1"]], int(ann["label"])) for ann in image["anns"]]
        file = str(image["im_file"])
        train = bool(image["is_train"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"{where}: expected im_file, is_train, keypoints and anns of kp0, kp1, label ({error})"
        ) from None

    if any(a == b or label not in (-1, 0, 1) for a, b, label in told):
        raise DataError(f"{where}: anns: expected two different joints and a label of -1, 0 or 1")

    return file, train, points, told


def as_pictures(crowd: CrowdSet) -> tuple[Pictured, Comparisons]:
    """Photographs of the training side as annotated pictures, in the way of simulated ones; joints
    in 3D and sizes are NaN.

    Those with all keypoints and a comparison are taken; where one has fewer comparisons than
    another, its own are repeated. No camera is known: people are as large on the rays as those four
    metres away, so that noise in pixels is as much of them. DataError where none is left.
    """
    told = [np.flatnonzero(crowd.photograph == n) for n in range(len(crowd.files))]
    whole = np.isfinite(crowd.keypoints_px).all((1, 2))
    rows = [n for n in range(len(crowd.files)) if crowd.train[n] and whole[n] and len(told[n])]
    keypoints = crowd.keypoints_px[rows]
    seen = to_rays(keypoints, np.ones(keypoints.shape[:2]), None, None, 0.015, 0.5)
    turned, *_, steps, level = into_views(*seen, np.tile(np.array(UP), (len(rows), 1)))
    able = level != NONE
    if not able.any():
        raise DataError("no photograph to train on has all its keypoints and a comparison")

    rows = np.array(rows)[able]
    rays = np.full((len(rows), JOINT_COUNT, 2), np.nan, np.float32)
    extent = np.sqrt(((turned[able] - turned[able].mean(1, keepdims=True)) ** 2).sum(-1).mean(1))
    rays[:, list(KEYPOINT_TO_JOINT)] = turned[able] * (USUAL_EXTENT / extent)[:, None, None]
    unknown = np.full((len(rows), JOINT_COUNT, 3), np.nan, np.float32)
    most = max(len(told[n]) for n in rows)
    chosen = np.stack([told[n][np.arange(most) % len(told[n])] for n in rows])  # M, K
    pitch = (steps[able] * PITCH_STEP).astype(np.float32)
    pictures = Pictured(rays, unknown, unknown[:, 0, 0], pitch)

    return pictures, Comparisons(
        crowd.pairs[chosen].astype(np.int16), crowd.label[chosen].astype(np.int8)
    )
