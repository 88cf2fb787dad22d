# SPDX-License-Identifier: Apache-2.0
"""A folder of training data with those photographs alone whose origin states a permissive licence.

    python tools/licensed_data.py DATA OUT

LSPET and `scenes` go as a whole; of `people` and of the pictures without people those go whose
names begin as NOT_PERMISSIVE says. Who validates in DATA validates in OUT. OUT holds lists of its
own and links to everything else in DATA.
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
"""How the names of photographs without a licence statement, or with one that obliges those who
share (`fall_`: ODbL), begin, by set."""

BY_TEACHERS = ("teacher.npz", "votes.npz")
"""Labels by teachers beside those of a set, a row for each photograph."""


def write_licensed(data: Path, out: Path) -> dict[str, int]:
    """Write OUT, which must not exist; returns the photographs left by set. Errors as those of
    `read_arrays`."""
    counts = {}
    for name in photo_sets_in(data / "keypoints2d"):
        arrays = read_arrays(
            data / "keypoints2d" / name / "annotations.npz",
            {"names": ("N",)},
            {"validation": ("N",)},
        )
        split = own_split(arrays, validation_of(name, [str(n) for n in arrays["names"]]))
        counts[name] = _write_set(
            data / "keypoints2d" / name, out / "keypoints2d" / name, arrays, split
        )

    arrays = read_arrays(
        data / "negatives" / "names.npz", {"names": ("N",)}, {"validation": ("N",)}
    )
    split = own_split(arrays, every_ninth(len(arrays["names"])))
    counts["negatives"] = _write_set(data / "negatives", out / "negatives", arrays, split)

    for folder in ("body", "mocap"):
        if (data / folder).is_dir():
            (out / folder).symlink_to((data / folder).resolve())

    return counts


def _write_set(
    source: Path, target: Path, arrays: dict[str, np.ndarray], validation: np.ndarray
) -> int:
    """Write the rows of a set that may stay, if any, to their own folder; returns their number."""
    begins = NOT_PERMISSIVE.get(source.name, ())
    stay = np.array(
        [not str(name).startswith(begins) if begins else True for name in arrays["names"]]
    )
    if not stay.any():
        return 0

    target.mkdir(parents=True)
    lists = {
        "names.npz" if source.name == "negatives" else "annotations.npz": arrays
        | {"validation": validation}
    }
    lists |= {
        name: read_arrays(source / name, {}) for name in BY_TEACHERS if (source / name).is_file()
    }

    for name, columns in lists.items():
        np.savez(
            target / name,
            **{
                key: values[stay]
                for key, values in columns.items()
                if values.shape[:1] == stay.shape
            },
        )

    for file in source.iterdir():
        if file.suffix != ".npz":
            (target / file.name).symlink_to(file.resolve())

    return int(stay.sum())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(
        ", ".join(
            f"{name} {count}"
            for name, count in write_licensed(Path(sys.argv[1]), Path(sys.argv[2])).items()
        )
    )
