# SPDX-License-Identifier: Apache-2.0
"""`lifting fleet` with several workers on Ray against one process, on the same clips.

--clips pieces of the bundled clip, of --seconds each and each from another frame on, are estimated
by one process and by --workers workers, each run from its start to its end. `ratio` is the
time of one process divided by that of the workers; `equal` says whether all outputs are the same,
byte by byte. --json FILE writes the figures.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from lifting_ros.cli.demo import CLIP
from lifting_ros.cli.files import write_json
from lifting_ros.cli.tables import print_table
from lifting_ros.io.images import open_source

FPS = 30.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=200, metavar="N")
    parser.add_argument("--seconds", type=float, default=2.0, metavar="S")
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    parser.add_argument("--json", default="", metavar="FILE", help="also write the figures here")
    args = parser.parse_args(arguments)

    with tempfile.TemporaryDirectory() as folder:
        clips = Path(folder) / "clips"
        write_clips(clips, args.clips, round(args.seconds * FPS))
        outputs = {}
        table = {}
        for name, workers in (("one process", 1), (f"{args.workers} workers", args.workers)):
            out = Path(folder) / name
            words = ["--workers", str(workers)] if workers > 1 else []
            seconds = run(clips, out, words)
            outputs[name] = {file.name: file.read_bytes() for file in out.rglob("*.npz")}
            table[name] = {"s": seconds, "clips": float(len(outputs[name]))}

    one, several = outputs.values()
    seconds = [row["s"] for row in table.values()]
    figures = {"ratio": seconds[0] / seconds[1], "equal": one == several}
    print_table("fleet", table)
    print(f"ratio {figures['ratio']:.2f}, outputs {'equal' if figures['equal'] else 'differ'}")
    if args.json:
        write_json(args.json, table | figures)
    return 0 if figures["equal"] and len(one) == args.clips else 1


def write_clips(folder: Path, count: int, frames: int) -> None:
    """`count` videos of `frames` frames; each begins at another frame of the bundled clip."""
    folder.mkdir()
    images = np.stack(list(islice(open_source(str(CLIP)).frames(), None)))
    height, width = images.shape[1:3]
    for number in range(count):
        file = str(folder / f"{number:04}.mp4")
        writer = cv2.VideoWriter(file, cv2.VideoWriter_fourcc(*"mp4v"), FPS, (width, height))
        for frame in range(frames):
            writer.write(images[(7 * number + frame) % len(images), :, :, ::-1])
        writer.release()


def run(clips: Path, out: Path, words: list[str]) -> float:
    """Seconds that `lifting fleet` takes; CalledProcessError where it fails."""
    command = [sys.executable, "-m", "lifting_ros.cli.main", "fleet", str(clips)]
    begun = time.perf_counter()
    subprocess.run([*command, "--out", str(out), *words], check=True)
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
