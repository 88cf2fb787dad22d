# SPDX-License-Identifier: Apache-2.0
"""Makes a folder of training data with only those photographs whose origin states a permissive
licence.

    python tools/licensed_data.py DATA OUT

LSPET and `scenes` are left out as a whole; of `people` and of the pictures without people, those
whose names begin as in NOT_PERMISSIVE. The split of OUT is that of DATA. OUT has its own lists and
links to everything else in DATA.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from lifting_ros.io.arrays import read_arrays
from lifting_ros.research.datasets.keypoints2d import photo_sets_in
from lifting_ros.research.datasets.splits import every_ninth, own_split, validation_of

NOT_PERMISSIVE = {
    "lspet": ("",),
    "scenes": ("",),
    "people": ("fall_", "plaza_", "portrait_", "traffic_"),
    "negatives": ("house_", "traffic_"),
}
"""First letters of the names of photographs, by set, whose origin states no licence or one with
duties for those who share (`fall_`: ODbL)."""

BY_TEACHERS = ("teacher.npz", "votes.npz")
"""Labels by teachers, beside those of a set; one row per photograph."""

_OPTIONAL = {"validation": ("N",)}


def write_licensed(
    data: Path,
    out: Path,
) -> dict[str, int]:
    """Write OUT, which must not exist; return the number of photographs by set. Errors as
    `read_arrays`."""
    counts = {}
    sets = data / "keypoints2d"
    for name in photo_sets_in(sets):
        source = sets / name
        target = out / "keypoints2d" / name
        arrays = read_arrays(source / "annotations.npz", {"names": ("N",)}, _OPTIONAL)
        files = [str(file) for file in arrays["names"]]
        split = own_split(arrays, validation_of(name, files))
        counts[name] = _write_set(source, target, arrays, split)

    source = data / "negatives"
    arrays = read_arrays(source / "names.npz", {"names": ("N",)}, _OPTIONAL)
    split = own_split(arrays, every_ninth(len(arrays["names"])))
    counts["negatives"] = _write_set(source, out / "negatives", arrays, split)

    for folder in ("body", "mocap"):
        if (data / folder).is_dir():
            (out / folder).symlink_to((data / folder).resolve())

    return counts


def _write_set(
    source: Path,
    target: Path,
    arrays: dict[str, np.ndarray],
    validation: np.ndarray,
) -> int:
    """Write the rows of a set that may stay, if any, to their own folder; return their number."""
    beginnings = NOT_PERMISSIVE.get(source.name, ())
    stay = np.array([not str(name).startswith(beginnings) for name in arrays["names"]])
    if not stay.any():
        return 0

    # Lists
    own_list = "names.npz" if source.name == "negatives" else "annotations.npz"
    lists = {own_list: arrays | {"validation": validation}}
    for name in BY_TEACHERS:
        if (source / name).is_file():
            lists[name] = read_arrays(source / name, {})

    target.mkdir(parents=True)
    for name, columns in lists.items():
        kept = {}
        for key, values in columns.items():
            if values.shape[:1] == stay.shape:
                kept[key] = values[stay]
        np.savez(target / name, **kept)

    # Everything else
    for file in source.iterdir():
        if file.suffix != ".npz":
            (target / file.name).symlink_to(file.resolve())

    return int(stay.sum())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)

    written = write_licensed(Path(sys.argv[1]), Path(sys.argv[2]))
    print(", ".join(f"{name} {count}" for name, count in written.items()))
