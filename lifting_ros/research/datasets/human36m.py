# SPDX-License-Identifier: Apache-2.0
"""Human3.6M as it is usually passed on: `data_3d_h36m.npz`, or a folder of h5 files, and
`cameras.h5` with its calibration.

`data_3d_h36m.npz` holds `positions_3d`, subject -> action -> (T, 32, 3) metres, pickled. The folder
holds `S9/MyPoses/3D_positions/Walking 1.h5` with `3D_positions` (96, T) millimetres. Both are of
the world, z up, 50 Hz. `cameras.h5` holds `subject9/camera1/` with R (3, 3), T (3, 1) millimetres,
f, c (2, 1), k (3, 1) and p (2, 1), matrices as MATLAB writes them, transposed.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from lifting_ros.errors import DataError
from lifting_ros.geometry.camera import Camera
from lifting_ros.research.datasets.pickled_arrays import read_pickled, walk
from lifting_ros.research.datasets.recorded import Placed, Recorded, seen_by

JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
"""Our 17 joints among the 32 of the files."""
TRAIN = ("S1", "S5", "S6", "S7", "S8")
TEST = ("S9", "S11")
UP = np.array([0.0, 0.0, 1.0])


class Clip(NamedTuple):
    """One recording."""

    subject: str
    action: str
    """Without the number of the take: `Walking`, not `Walking 1`."""
    positions_m: np.ndarray
    """(T, 17, 3) of the world, z up."""


def read_clips(path: str | Path, subjects: tuple[str, ...] = TEST) -> list[Clip]:
    """All recordings of some subjects, from the .npz or the folder of h5 files.

    FileNotFoundError where there is neither; DataError in one line for a file that holds something
    else or none of the subjects.
    """
    path = Path(path)
    clips = list((_h5_clips if path.is_dir() else _npz_clips)(path, subjects))
    if not clips:
        raise DataError(f"{path}: no recording of {', '.join(subjects)}")

    return clips


def _npz_clips(path: Path, subjects: tuple[str, ...]):
    for keys, positions in walk(read_pickled(path, "positions_3d")):
        subject, action = map(str, keys[:2]) if len(keys) == 2 else ("", "")
        if (
            positions.ndim != 3
            or positions.shape[1:] not in ((32, 3), (17, 3))
            or positions.dtype.kind not in "fiu"
        ):
            raise DataError(
                f"{path}: {' / '.join(map(str, keys))}: expected (T, 32, 3), got "
                f"{positions.shape} of {positions.dtype}"
            )

        if subject in subjects:
            yield Clip(subject, action.split(" ")[0], _ours(positions))


def _h5_clips(folder: Path, subjects: tuple[str, ...]):
    for subject in subjects:
        for file in sorted((folder / subject / "MyPoses" / "3D_positions").glob("*.h5")):
            positions = read_h5(file).get("3D_positions", np.zeros(0))
            if (
                positions.ndim != 2
                or 96 not in positions.shape
                or positions.dtype.kind not in "fiu"
            ):
                raise DataError(
                    f"{file}: 3D_positions: expected numbers (96, T), got {positions.shape} of "
                    f"{positions.dtype}"
                )

            rows = positions.T if positions.shape[0] == 96 else positions
            yield Clip(
                subject,
                file.stem.split(" ")[0].split("_")[0],
                _ours(rows.reshape(-1, 32, 3) / 1000),
            )


def _ours(positions: np.ndarray) -> np.ndarray:
    return np.asarray(
        positions[:, list(JOINTS)] if positions.shape[1] == 32 else positions, np.float64
    )


def read_cameras(path: str | Path, subject: str) -> tuple[Placed, ...]:
    """The cameras of a subject ("S9") out of cameras.h5; DataError in one line where they are not
    there."""
    content = read_h5(Path(path))
    groups = sorted(
        {
            name.rpartition("/")[0]
            for name in content
            if name.startswith(f"subject{subject[1:]}/camera")
        }
    )
    if not groups:
        raise DataError(f"{path}: no cameras of {subject}")

    return tuple(
        _camera(path, {key: content.get(f"{group}/{key}") for key in "RTfckp"}, group)
        for group in groups
    )


def _camera(path: str | Path, values: dict, group: str) -> Placed:
    wanted = {"R": 9, "T": 3, "f": 2, "c": 2, "k": 3, "p": 2}
    for key, count in wanted.items():
        if values[key] is None or values[key].size != count:
            raise DataError(f"{path}: {group}/{key}: expected {count} numbers")

    f, c, k, p = (np.asarray(values[key], np.float64).ravel() for key in "fckp")
    matrix = np.array([[f[0], 0, c[0]], [0, f[1], c[1]], [0, 0, 1]])
    camera = Camera(matrix, np.array([k[0], k[1], p[0], p[1], k[2]]))

    return Placed(
        camera,
        np.asarray(values["R"], np.float64).T,
        np.asarray(values["T"], np.float64).ravel() / 1000,
    )


def read_h5(path: Path) -> dict[str, np.ndarray]:
    """Every data set of an h5 file by its path in it; DataError in one line where it cannot be
    read, or h5py is not there."""
    try:
        import h5py
    except ImportError:
        raise DataError(f"{path}: reading it needs h5py (pip install h5py)") from None

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")

    found = {}

    def keep(name: str, item) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item[()])

    try:
        with h5py.File(path, "r") as file:
            file.visititems(keep)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        # h5py raises any of them on a damaged file.
        text = " ".join(str(error).split())
        raise DataError(f"{path}: not a readable h5 file ({text})") from None

    return found


def record(clips: list[Clip], cameras_h5: str | Path, every: int = 64) -> Recorded:
    """Every `every`-th frame of the clips, as all cameras of their subjects saw them."""
    parts = []
    for subject in sorted({clip.subject for clip in clips}):
        own = [clip for clip in clips if clip.subject == subject]
        poses = np.concatenate([clip.positions_m[::every] for clip in own])
        actions = np.concatenate(
            [np.full(len(clip.positions_m[::every]), clip.action, object) for clip in own]
        )
        parts.append(seen_by(poses, UP, read_cameras(cameras_h5, subject), actions))

    return joined(parts)


def joined(parts: list[Recorded]) -> Recorded:
    """Several recordings as one."""
    # The cameras of the parts are numbered one after another.
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
    """Positions of the world, z up, as this package's motion capture has them."""
    return np.stack([positions_m[..., 0], positions_m[..., 2], -positions_m[..., 1]], -1)
