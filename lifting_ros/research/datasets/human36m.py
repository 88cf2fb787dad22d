# SPDX-License-Identifier: Apache-2.0
"""Human3.6M in the usual files: `data_3d_h36m.npz` or a folder of h5 files, and `cameras.h5` with
the calibration.

`data_3d_h36m.npz` holds `positions_3d`, subject -> action -> (T, 32, 3) metres, pickled. The folder
holds `S9/MyPoses/3D_positions/Walking 1.h5` with `3D_positions` (96, T) millimetres. Both are in
the world frame, z up, 50 Hz. `cameras.h5` holds `subject9/camera1/` with R (3, 3), T (3, 1)
millimetres, f, c (2, 1), k (3, 1) and p (2, 1), matrices transposed as MATLAB writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifting_ros.errors import DataError, one_line
from lifting_ros.geometry.camera import Camera
from lifting_ros.research.datasets.pickled_arrays import read_pickled, walk
from lifting_ros.research.datasets.recorded import Placed, Recorded, seen_by

JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
"""Our 17 joints among the 32 of the files."""

TEST = ("S9", "S11")
"""Subjects of the test side."""

UP = np.array([0.0, 0.0, 1.0])
"""Up in the world frame."""


class Clip(NamedTuple):
    """One recording."""

    subject: str
    action: str
    """Without the number of the take: `Walking`, not `Walking 1`."""
    positions_m: np.ndarray
    """(T, 17, 3) in the world frame, z up."""


def read_clips(
    path: str | Path,
) -> list[Clip]:
    """All recordings of the test subjects, from the .npz or the folder of h5 files.

    FileNotFoundError without a file; DataError in one line for a file with other content or without
    these subjects.
    """
    path = Path(path)
    read = _h5_clips if path.is_dir() else _npz_clips
    clips = list(read(path))
    if not clips:
        raise DataError(f"{path}: no recording of {', '.join(TEST)}")

    return clips


def _npz_clips(path: Path) -> Iterator[Clip]:
    for keys, positions in walk(read_pickled(path, "positions_3d")):
        shape = positions.shape
        known_shape = positions.ndim == 3 and shape[1:] in ((32, 3), (17, 3))
        if not known_shape or positions.dtype.kind not in "fiu":
            where = " / ".join(map(str, keys))
            raise DataError(
                f"{path}: {where}: expected (T, 32, 3), got {shape} of {positions.dtype}"
            )

        if len(keys) == 2 and str(keys[0]) in TEST:
            subject, action = map(str, keys)
            yield Clip(subject, action.split(" ")[0], _ours(positions))


def _h5_clips(folder: Path) -> Iterator[Clip]:
    for subject in TEST:
        recordings = folder / subject / "MyPoses" / "3D_positions"
        for file in sorted(recordings.glob("*.h5")):
            positions = read_h5(file).get("3D_positions", np.zeros(0))
            shape = positions.shape
            known_shape = positions.ndim == 2 and 96 in shape
            if not known_shape or positions.dtype.kind not in "fiu":
                raise DataError(
                    f"{file}: 3D_positions: expected numbers (96, T), got {shape} of "
                    f"{positions.dtype}"
                )

            rows = positions.T if shape[0] == 96 else positions
            positions_m = rows.reshape(-1, 32, 3) / 1000
            action = file.stem.split(" ")[0].split("_")[0]
            yield Clip(subject, action, _ours(positions_m))


def _ours(positions: np.ndarray) -> np.ndarray:
    """Our 17 joints of positions with 32 or 17, in float64."""
    if positions.shape[1] == 32:
        positions = positions[:, list(JOINTS)]
    return np.asarray(positions, np.float64)


def read_cameras(
    path: str | Path,
    subject: str,
) -> tuple[Placed, ...]:
    """The cameras of a subject ("S9") in cameras.h5; DataError in one line if they are missing."""
    content = read_h5(Path(path))
    prefix = f"subject{subject[1:]}/camera"
    groups = sorted({name.rpartition("/")[0] for name in content if name.startswith(prefix)})
    if not groups:
        raise DataError(f"{path}: no cameras of {subject}")

    return tuple(_camera(path, content, group) for group in groups)


def _camera(
    path: str | Path,
    content: dict[str, np.ndarray],
    group: str,
) -> Placed:
    """The camera of a group of the file."""
    values = {}
    for key, count in {"R": 9, "T": 3, "f": 2, "c": 2, "k": 3, "p": 2}.items():
        name = f"{group}/{key}"
        if name not in content or content[name].size != count:
            raise DataError(f"{path}: {name}: expected {count} numbers")

        values[key] = np.asarray(content[name], np.float64).ravel()

    fx, fy = values["f"]
    cx, cy = values["c"]
    k1, k2, k3 = values["k"]
    p1, p2 = values["p"]
    matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    distortion = np.array([k1, k2, p1, p2, k3])

    rotation = np.asarray(content[f"{group}/R"], np.float64).T
    return Placed(Camera(matrix, distortion), rotation, values["T"] / 1000)


def read_h5(path: Path) -> dict[str, np.ndarray]:
    """All data sets of an h5 file, by their path in it.

    FileNotFoundError without a file; DataError in one line if it cannot be read, or h5py is
    missing.
    """
    try:
        import h5py
    except ImportError:
        raise DataError(f"{path}: reading it needs h5py (pip install h5py)") from None

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")

    found = {}

    def keep(
        name: str,
        item,
    ) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item[()])

    try:
        with h5py.File(path, "r") as file:
            file.visititems(keep)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        # h5py raises any of them on a damaged file.
        raise DataError(f"{path}: not a readable h5 file ({one_line(error)})") from None

    return found


def record(
    clips: list[Clip],
    cameras_h5: str | Path,
    every: int = 64,
) -> Recorded:
    """Each `every`-th frame of the clips, in all cameras of their subjects."""
    parts = []
    for subject in sorted({clip.subject for clip in clips}):
        own = [clip for clip in clips if clip.subject == subject]
        poses, actions = sampled(own, every)
        cameras = read_cameras(cameras_h5, subject)
        parts.append(seen_by(poses, UP, cameras, actions))

    return joined(parts)


def sampled(
    clips: Sequence[Clip],
    every: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Each `every`-th frame of the clips: poses (N, 17, 3), and the action (N,) of each."""
    poses = [clip.positions_m[::every] for clip in clips]
    actions = []
    for clip, positions_m in zip(clips, poses, strict=True):
        actions.append(np.full(len(positions_m), clip.action, object))

    return np.concatenate(poses), np.concatenate(actions)


def joined(parts: list[Recorded]) -> Recorded:
    """Several recordings as one."""
    # The cameras of the parts are numbered one after another
    cameras = []
    numbers = []
    for part in parts:
        numbers.append(part.camera + len(cameras))
        cameras += part.cameras

    return Recorded(
        joints_m=np.concatenate([part.joints_m for part in parts]),
        keypoints_px=np.concatenate([part.keypoints_px for part in parts]),
        up=np.concatenate([part.up for part in parts]),
        action=np.concatenate([part.action for part in parts]),
        camera=np.concatenate(numbers),
        cameras=tuple(cameras),
    )


def y_up(positions_m: np.ndarray) -> np.ndarray:
    """Positions (..., 3) with y up, from those of the world frame with z up."""
    x, y, z = np.moveaxis(positions_m, -1, 0)
    return np.stack([x, z, -y], -1)
