# SPDX-License-Identifier: Apache-2.0
"""Speed of rendering synthetic people: pictures a second of whole packs, and CPU milliseconds a
picture by step.

DATA holds body/, mocap/ and negatives/. The first part writes packs as `lifting render` does, in
one and in two processes, start of the processes and wardrobe included. The second renders in this
process, after a first round, and counts the process's CPU time.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

from lifting_ros.cli.files import write_json
from lifting_ros.research.datasets.mocap import find_mocap
from lifting_ros.research.datasets.negatives import read_negatives
from lifting_ros.research.rendering import synthetic, synthetic_dress, synthetic_picture
from lifting_ros.research.rendering.synthetic import SyntheticPeople, write_pack

BOXES = 1.886
STEPS = (
    ("poses", synthetic, "pose_body"),
    ("skinning", synthetic_dress.Figure, "seen_by"),
    ("backgrounds", synthetic_picture, "background"),
    ("ray structure", synthetic_picture, "Scene"),
    ("floor shadow", synthetic_picture, "floor_shadow"),
    ("rays and shading", synthetic_picture, "render"),
    ("labels", synthetic_picture, "label"),
    ("blur, grain, JPEG", synthetic_picture, "add_noise"),
)


def timed(function, name: str, total: dict):
    """The function, its CPU seconds added to total[name]."""

    def call(*arguments, **options):
        start = time.process_time()
        try:
            return function(*arguments, **options)
        finally:
            total[name] += time.process_time() - start

    return call


def cpu_by_step(make, count: int) -> dict[str, float]:
    """CPU ms a picture of every step of make(index), after a round that compiles and fills the
    wardrobe."""
    for index in range(count):
        make(index)

    total = defaultdict(float)

    with ExitStack() as stack:
        for name, owner, attribute in STEPS:
            stack.enter_context(
                mock.patch.object(owner, attribute, timed(getattr(owner, attribute), name, total))
            )

        start = time.process_time()
        for index in range(count):
            make(index)

        whole = time.process_time() - start

    total["the rest"] = whole - sum(total.values())

    return {name: 1e3 * seconds / count for name, seconds in [*total.items(), ("all", whole)]}


def packs(arguments, sources, workers) -> dict[str, dict[str, float]]:
    """Of a pack of windows by number of processes: pictures a second, wall time, and CPU ms a
    picture of all processes."""
    rates = {}
    for processes in workers:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            cpu = sum(os.times()[:4])
            write_pack(
                folder, arguments.pack, arguments.size, 0, *sources, boxes=BOXES, workers=processes
            )
            wall = time.perf_counter() - start
            cpu = sum(os.times()[:4]) - cpu
            rates[str(processes)] = {
                "per_s": arguments.pack / wall,
                "cpu_ms": 1e3 * cpu / arguments.pack,
            }

    return rates


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "data", type=Path, metavar="DATA", help="folder with body/, mocap/ and negatives/"
    )
    parser.add_argument(
        "--size", type=int, default=192, help="side of the windows, px (default 192)"
    )
    parser.add_argument(
        "--count", type=int, default=150, help="pictures for the CPU time (default 150)"
    )
    parser.add_argument(
        "--pack", type=int, default=600, help="pictures of a pack, 0 for none (default 600)"
    )
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures here as well")
    arguments = parser.parse_args()
    data = arguments.data
    sources = (
        data / "body",
        find_mocap(data),
        read_negatives(data / "negatives", "training"),
    )
    people = SyntheticPeople(*sources, seed=0, size=(320, 256))
    kinds = {
        f"windows {arguments.size}": cpu_by_step(
            lambda k: people.window(k, arguments.size, BOXES), arguments.count
        ),
        "crowds 320x256": cpu_by_step(people.crowd, max(arguments.count // 4, 1)),
        "rooms 320x256": cpu_by_step(people.empty, max(arguments.count // 4, 1)),
    }
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'CPU ms a picture':20}" + "".join(f"{kind:>18}" for kind in kinds))

    for step in [name for name, *_ in STEPS] + ["the rest", "all"]:
        print(f"{step:20}" + "".join(f"{steps.get(step, 0):18.2f}" for steps in kinds.values()))

    rates = packs(arguments, sources, (1, 2)) if arguments.pack else {}

    for processes, rate in rates.items():
        name = "process" if processes == "1" else "processes"
        print(
            f"{processes} {name}: {rate['per_s']:.1f} windows a second, {rate['cpu_ms']:.1f} CPU "
            "ms each (start and wardrobe included)"
        )

    if arguments.json:
        figures = {
            "cpu_ms_per_picture": kinds,
            "packs_of_windows": rates,
            "load": os.getloadavg()[0],
        }
        write_json(arguments.json, figures)

    return 0


if __name__ == "__main__":
    sys.exit(main())
