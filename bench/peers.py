# SPDX-License-Identifier: Apache-2.0
"""Speed on video beside MediaPipe Pose, on the same frames and the same cores.

MediaPipe 0.10.21, model full, in its video mode: it looks for a person only where it has lost the
one it follows. Ours: `lite` and `full` with tracking, as in the node; keypoints, 3D skeletons and
covariances of everybody. All take turns, CHUNK frames each, so that other programs slow all of them
alike. frames/s: the median of the chunks; ratio: to MediaPipe's, of the same scene and cores.

Scenes, of the bundled clip: one person at 640x480; the same at 1920x1080; four persons at 640x480,
which is the clip four times. MediaPipe Pose answers for one person, so it has no part in the last.

The first run makes an environment in --venv and installs MediaPipe from PyPI.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from lifting_ros.cli.demo import CLIP
from lifting_ros.cli.files import write_json
from lifting_ros.cli.tables import print_table
from lifting_ros.device import use_threads
from lifting_ros.estimator import SHIPPED, EstimatorConfig, PoseEstimator
from lifting_ros.io.images import open_source
from lifting_ros.runtimes import CHOICES
from lifting_ros.tracking.tracking import Tracker, TrackerConfig
from lifting_ros.video import VideoEstimator

FIRST_FRAME = 20
CHUNK = 10
PERIOD_NS = 33_333_333
PEER = "mediapipe==0.10.21"

Chunk = Callable[[int], tuple[float, int]]
"""Takes a number of frames; returns the seconds that the next ones took, and the sum of persons."""


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    python = peer_python(Path(args.venv))
    table: dict[str, dict[str, float]] = {}
    run_on(set(args.on[: args.cores]))
    use_threads(args.cores)
    for scene in args.scenes:
        frames = SCENES[scene](read_clip(args.frames))
        peer = python if scene != FOUR else None
        with tempfile.TemporaryDirectory() as folder:
            rows = compare(frames, args.runtime, peer, Path(folder))
        for name, row in rows.items():
            table[f"{scene}, {args.cores} cores, {name}"] = row

    print_table("video", table)
    if args.json:
        write_json(args.json, {"video": table})
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ours = sorted(os.sched_getaffinity(0))
    parser.add_argument("--frames", type=int, default=150, metavar="N")
    parser.add_argument(
        "--cores", type=int, default=len(ours), metavar="N", help="to run on (default all)"
    )
    parser.add_argument("--scenes", nargs="+", choices=list(SCENES), default=list(SCENES))
    parser.add_argument(
        "--runtime", choices=CHOICES, default="auto", help="of our networks (default auto)"
    )
    parser.add_argument("--venv", default="out/peers_venv", metavar="DIR")
    parser.add_argument("--json", default="", metavar="FILE", help="also write the figures here")
    args = parser.parse_args(arguments)
    args.on = ours
    if not 0 < args.cores <= len(ours):
        parser.error(f"--cores: expected 1 to {len(ours)}, got {args.cores}")
    return args


def run_on(cores: set[int]) -> None:
    """Let all threads of this process, and those that they start, run on these cores alone."""
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), cores)


def peer_python(folder: Path) -> Path:
    """The Python of an environment with MediaPipe, made where it is missing."""
    python = folder / "bin" / "python"
    check = [str(python), "-c", "import mediapipe"]
    if not python.exists() or subprocess.run(check, capture_output=True).returncode:
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", PEER], check=True)

    return python


def read_clip(count: int) -> np.ndarray:
    """Frames (N, 480, 640, 3) RGB with a person."""
    images = open_source(str(CLIP)).frames()
    return np.stack(list(islice(images, FIRST_FRAME, FIRST_FRAME + count)))


def large(frames: np.ndarray) -> np.ndarray:
    """The same at 1920x1080, with black beside it."""
    result = np.zeros((len(frames), 1080, 1920, 3), np.uint8)
    for index, image in enumerate(frames):
        result[index, :, 240:1680] = cv2.resize(image, (1440, 1080))

    return result


def four_persons(frames: np.ndarray) -> np.ndarray:
    """The frames at half the size, four times side by side."""
    half = np.stack(
        [cv2.resize(image, (320, 240), interpolation=cv2.INTER_AREA) for image in frames]
    )
    row = np.concatenate([half, half[:, :, ::-1]], axis=2)
    return np.concatenate([row, row], axis=1)


FOUR = "four persons"
SCENES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "one person": lambda frames: frames,
    "1920x1080": large,
    FOUR: four_persons,
}


def compare(
    frames: np.ndarray, runtime: str, peer: Path | None, folder: Path
) -> dict[str, dict[str, float]]:
    """Figures of all estimators on the frames, taken in turns.

    runtime: of our networks. peer: Python with MediaPipe; None: without it. folder: for the frames
    that it reads.
    """
    runs = {}
    for name in SHIPPED:
        config = EstimatorConfig(device="cpu", runtime=runtime, weights=name)
        runs[name] = our_run(config, frames)
    process = None
    if peer is not None:
        process = start_peer(peer, frames, folder / "frames.npy")
        runs["MediaPipe full"] = peer_run(process)

    rates: dict[str, list[float]] = {name: [] for name in runs}
    found = dict.fromkeys(runs, 0)
    for _ in range(len(frames) // CHUNK):
        for name, run in runs.items():
            seconds, persons = run(CHUNK)
            rates[name].append(CHUNK / seconds)
            found[name] += persons

    if process is not None:
        process.communicate()

    rows = {}
    for name in runs:
        rows[name] = {
            "frames/s": float(np.median(rates[name])),
            "persons a frame": found[name] / (len(frames) // CHUNK * CHUNK),
        }
    if process is not None:
        for row in rows.values():
            row["ratio"] = row["frames/s"] / rows["MediaPipe full"]["frames/s"]
    return rows


def our_run(config: EstimatorConfig, frames: np.ndarray) -> Chunk:
    """Our estimator on the stream of the frames, warmed up with the first one."""
    estimator = PoseEstimator(config)
    estimator.estimate(frames[0])
    tracker = Tracker(TrackerConfig())
    stream = VideoEstimator(estimator, tracker)
    numbered = enumerate(frames, start=1)

    def run(count: int) -> tuple[float, int]:
        chunk = [next(numbered) for _ in range(count)]
        persons = 0
        begun = time.perf_counter()
        for number, image in chunk:
            stamp_ns = number * PERIOD_NS
            estimate = stream.estimate(stamp_ns, image)
            tracker.update(stamp_ns, estimate.persons)
            persons += len(estimate.persons)

        return time.perf_counter() - begun, persons

    return run


def start_peer(python: Path, frames: np.ndarray, file: Path) -> subprocess.Popen:
    """MediaPipe in a process of its own, ready for the frames, which are written to `file`."""
    np.save(file, frames)
    child = Path(__file__).parent / "mediapipe_video.py"
    process = subprocess.Popen(
        [str(python), str(child), str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def peer_run(process: subprocess.Popen) -> Chunk:
    """MediaPipe on the stream of the frames."""

    def run(count: int) -> tuple[float, int]:
        print(count, file=process.stdin, flush=True)
        seconds, persons = process.stdout.readline().split()
        return float(seconds), int(persons)

    return run


if __name__ == "__main__":
    sys.exit(main())
