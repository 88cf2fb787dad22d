# SPDX-License-Identifier: Apache-2.0
"""Speed of the network, of its training and of the whole estimator, and how much of the machine's
matrix peak that is.

The peak is measured first: the best rate of square matrix products in the same process, precision
and threads. Networks have random weights and the prior that ships; every row builds its own, runs
it at least three times and for --seconds after a warm-up, and says the median. CPU ms is what all
threads together spent on a call. GMAC are counted by torch, fusion included. On a busy machine,
--cpu-time.

inference: crops are on the device. `compiled` (--compile) is torch.compile, on a GPU with CUDA
graphs; `graph` (GPU alone) is one CUDA graph of the plain network. training: whole steps (forward,
backward, optimiser, averaged weights) on one random batch, with fusion and without, and crops that
one process makes. pipeline: 640x480 frames of the demo clip with a person in view, through what
ships.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from unittest import mock

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from lifting_ros.cli.demo import CLIP
from lifting_ros.cli.files import write_json
from lifting_ros.cli.tables import print_table
from lifting_ros.device import choose_device, use_threads
from lifting_ros.estimator import WEIGHTS, EstimatorConfig, PoseEstimator
from lifting_ros.geometry.camera import Camera
from lifting_ros.io.images import open_source
from lifting_ros.keypoints import inference
from lifting_ros.keypoints.inference import NetworkRunner
from lifting_ros.keypoints.network_trunk import TRUNK_WIDTHS
from lifting_ros.keypoints.network_weights import build_network
from lifting_ros.keypoints.trunk import Trunk
from lifting_ros.prior.ppca import MixturePPCA
from lifting_ros.research.training.augmentation import augment
from lifting_ros.research.training.batches import Batch
from lifting_ros.research.training.train_network import RECIPES, NetworkTrainer

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
PEAK_SIZES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
FIRST_FRAME = 75
LEAST_CALLS = 3

Row = dict[str, float]


class Stopwatch:
    """Times calls on one device: wall time until each has ended, and CPU time of all threads of
    this process."""

    def __init__(self, device: torch.device, seconds: float, by_cpu: bool = False):
        """by_cpu: use the CPU time divided by the number of threads in place of wall time."""
        self.device = device
        self.seconds = seconds
        self.by_cpu = by_cpu

    def median(self, call: Callable[[], object]) -> tuple[float, float]:
        """Medians in ms of wall and CPU time of at least LEAST_CALLS calls, after two that are not
        counted."""
        for _ in range(2):
            self._once(call)

        times = []
        end = time.perf_counter() + self.seconds
        while len(times) < LEAST_CALLS or time.perf_counter() < end:
            times.append(self._once(call))

        wall, cpu = np.median(times, axis=0)
        if self.by_cpu:
            wall = cpu / torch.get_num_threads()
        return float(wall), float(cpu)

    def _once(self, call: Callable[[], object]) -> tuple[float, float]:
        wall = time.perf_counter()
        cpu = time.process_time()
        call()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

        wall_s = time.perf_counter() - wall
        cpu_s = time.process_time() - cpu
        return 1e3 * wall_s, 1e3 * cpu_s


def matrix_peak(watch: Stopwatch, dtype: torch.dtype) -> float:
    """Best rate of a square matrix product, GMAC/s."""
    rates = []
    for size in PEAK_SIZES[watch.device.type]:
        a = torch.rand(size, size, device=watch.device).to(dtype)
        b = torch.rand(size, size, device=watch.device).to(dtype)
        wall, _ = watch.median(partial(torch.matmul, a, b))
        rates.append(size**3 / 1e6 / wall)

    return max(rates)


def macs_of(call: Callable[[], object]) -> float:
    """Multiply-accumulate operations in matrix products and convolutions of one call, in 1e9."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 2e9


def rate_row(
    watch: Stopwatch, call: Callable[[], object], count: int, gmacs: float, peak: float
) -> Row:
    """Duration in ms, crops and GMAC per second and share of the peak of a call with `count`
    crops."""
    wall, cpu = watch.median(call)
    rate = 1e3 * gmacs / wall
    row = {
        "GMAC a crop": gmacs / count,
        "ms": wall,
        "crops/s": 1e3 * count / wall,
        "GMAC/s": rate,
        "% of peak": 100 * rate / peak,
    }
    if watch.device.type == "cpu":
        row["CPU ms"] = cpu
    return row


def inference_row(
    watch: Stopwatch, variant: str, dtype: str, batch: int, way: str, peak: float
) -> Row:
    """One network as the estimator runs it; `way`: plain, compiled or graph."""
    torch.manual_seed(0)
    network = build_network(RECIPES[variant].network, MixturePPCA.load(WEIGHTS / "prior.npz"))
    crops = torch.rand(
        batch, 3, network.config.input_px, network.config.input_px, device=watch.device
    )

    with mock.patch.object(inference, "has_fast_bf16", lambda device: dtype == "bf16"):
        plain = NetworkRunner(network, watch.device)
        gmacs = macs_of(lambda: plain(crops))
        if way == "plain":
            return rate_row(watch, lambda: plain(crops), batch, gmacs, peak)
        if way == "graph":
            return rate_row(watch, graph_of(plain, crops).replay, batch, gmacs, peak)

        with mock.patch.object(inference, "COMPILED_BATCHES", (batch,)):
            compiled = NetworkRunner(network, watch.device, compiled=True)
            return rate_row(watch, lambda: compiled(crops), batch, gmacs, peak)


def graph_of(runner: NetworkRunner, crops: torch.Tensor):
    """The runner's work on these crops, recorded as one CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())

    with torch.cuda.stream(stream):
        for _ in range(3):
            runner(crops)

    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()

    with torch.cuda.graph(graph):
        runner(crops)

    return graph


def inference_rows(
    watch: Stopwatch, args: argparse.Namespace, peaks: dict[str, float]
) -> dict[str, Row]:
    """One row per variant, precision, batch and runtime; a failure is reported and left out."""
    ways = ["plain"] + ["graph"] * (watch.device.type == "cuda") + ["compiled"] * args.compile
    rows = {}

    for variant in args.variants:
        for dtype in args.dtypes:
            for batch in args.batches:
                for way in ways:
                    name = f"{variant}, {dtype}, batch {batch}" + (
                        f", {way}" if way != "plain" else ""
                    )
                    with reported(name, rows):
                        rows[name] = inference_row(watch, variant, dtype, batch, way, peaks[dtype])

    return rows


def training_rows(
    watch: Stopwatch, args: argparse.Namespace, peaks: dict[str, float]
) -> dict[str, Row]:
    """Training steps of every variant, with and without fusion, and how fast one process makes
    samples."""
    rows = {}
    for variant in args.variants:
        for dtype in args.dtypes:
            for fusion in (False, True):
                name = f"{variant}, {dtype}, batch {args.train_batch}, " + (
                    "fusion" if fusion else "no fusion"
                )
                with reported(name, rows):
                    rows[name] = training_row(
                        watch, variant, dtype, args.train_batch, fusion, peaks[dtype]
                    )

        with reported(f"{variant}, making of crops", rows):
            rows[f"{variant}, making of crops"] = augmentation_row(variant, watch)

    return rows


def training_row(
    watch: Stopwatch, variant: str, dtype: str, batch: int, fusion: bool, peak: float
) -> Row:
    """Optimiser steps of the recipe that ships, on one batch; "GMAC a crop" counts forward and
    backward."""
    recipe = RECIPES[variant]
    precision = "bfloat16" if dtype == "bf16" else "float32"
    network = dataclasses.replace(recipe.network, fusion=fusion)
    config = dataclasses.replace(
        recipe, network=network, batch=batch, precision=precision, fusion_from=0
    )
    prior = MixturePPCA.load(WEIGHTS / "prior.npz")
    layers = build_network(config.network, prior).fusion
    trainer = NetworkTrainer(config, layers, watch.device, random_trunk(config.network.variant))

    # A batch of noise
    size = config.network.input_px
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)
    points = torch.rand(batch, 14, 2) * (size - 1)
    labels = torch.cat([points, torch.ones(batch, 14, 1)], -1)
    nobody = torch.zeros(batch, dtype=torch.bool)
    data = Batch(images, labels, nobody, torch.ones(batch, 14))

    step = partial(trainer.train_step, data)
    gmacs = macs_of(step)
    return rate_row(watch, step, batch, gmacs, peak)


def random_trunk(variant: str) -> dict[str, torch.Tensor] | None:
    """Random weights in place of the published trunk, which the recipes start from; None if the
    variant has no trunk."""
    if variant not in TRUNK_WIDTHS:
        return None

    trunk = Trunk(TRUNK_WIDTHS[variant])
    return trunk.state_dict()


def augmentation_row(variant: str, watch: Stopwatch) -> Row:
    """Crops of one window per second in one process."""
    recipe = RECIPES[variant]
    side = recipe.window_px
    rng = np.random.default_rng(0)
    window = rng.integers(0, 256, (side, side, 3), np.uint8)
    points = rng.uniform(0.27, 0.73, (14, 2)) * side
    keypoints = np.concatenate([points, np.ones((14, 1))], -1).astype(np.float32)

    size = recipe.network.input_px
    make_crop = partial(augment, window, keypoints, size, recipe.augmentation, rng)
    alone = Stopwatch(torch.device("cpu"), watch.seconds)
    wall, cpu = alone.median(make_crop)
    return {"ms": wall, "crops/s": 1e3 / wall, "CPU ms": cpu}


def pipeline_rows(args: argparse.Namespace) -> dict[str, Row]:
    """Frames per second of the shipped estimator, with as many threads as cores and with half of
    them, as in the node."""
    camera = Camera(np.array([[600.0, 0, 319.5], [0, 600, 239.5], [0, 0, 1]]))
    images = frames(args.frames)
    rows = {}
    cores = len(os.sched_getaffinity(0))

    for threads in sorted({cores, max(1, cores // 2)}, reverse=True):
        with reported(f"{threads} threads", rows):
            use_threads(threads)
            estimator = PoseEstimator(
                EstimatorConfig(device=args.device, threads=threads, compile=args.compile)
            )
            rows[f"{threads} threads"] = pipeline_row(estimator, images, camera)

    return rows


def pipeline_row(estimator: PoseEstimator, images: list[np.ndarray], camera: Camera) -> Row:
    """Medians over the frames, after a first round of some of them."""
    for image in images[: max(2, len(images) // 4)]:
        estimator.estimate(image, camera)

    found = []
    for image in images:
        wall = time.perf_counter()
        cpu = time.process_time()
        estimate = estimator.estimate(image, camera)
        spent = {
            "ms": time.perf_counter() - wall,
            "CPU ms": time.process_time() - cpu,
        } | estimate.seconds
        found.append([1e3 * value for value in spent.values()] + [len(estimate.persons)])

    *columns, persons = np.array(found).T
    medians = {}
    for name, values in zip(spent, columns, strict=True):
        medians[name] = float(np.median(values))

    row = {"frames/s": 1e3 / medians["ms"]} | medians
    row["p95 ms"] = float(np.percentile(columns[0], 95))
    row["persons"] = float(persons.mean())
    return row


def frames(count: int) -> list[np.ndarray]:
    """Frames of the demo clip from the first with the whole person in view, (480, 640, 3) RGB."""
    images = open_source(str(CLIP)).frames()
    return list(islice(images, FIRST_FRAME, FIRST_FRAME + count))


@contextlib.contextmanager
def reported(name: str, rows: dict[str, Row]):
    """Print which row is measured, and why if that fails; free the memory afterwards."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        print(f"{name}: left out, {str(error).strip().splitlines()[0]}", file=sys.stderr)
    finally:
        torch.compiler.reset()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=["inference", "training", "pipeline"],
        default=["inference", "training", "pipeline"],
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:n or auto (default cpu)")
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        help="CPU threads of inference and training (default: one a core)",
    )
    parser.add_argument("--variants", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument(
        "--batches",
        nargs="+",
        type=int,
        default=[1, 4, 16],
        metavar="N",
        help="crops a call (default 1 4 16)",
    )
    parser.add_argument(
        "--train-batch",
        type=int,
        default=32,
        metavar="N",
        help="crops a training step (default 32)",
    )
    parser.add_argument(
        "--frames", type=int, default=60, metavar="N", help="frames of the pipeline (default 60)"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each row (default 3)")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="rates by CPU time over threads, on a CPU that others use as well",
    )
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile as well; takes most of a minute a row"
    )
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures here as well")

    return parser.parse_args()


def main() -> int:
    args = parse()
    watch = Stopwatch(choose_device(args.device), args.seconds, args.cpu_time)
    torch.set_num_threads(args.threads or len(os.sched_getaffinity(0)))
    name = (
        torch.cuda.get_device_name(watch.device)
        if watch.device.type == "cuda"
        else f"CPU, {torch.get_num_threads()} threads"
    )
    peaks = {dtype: matrix_peak(watch, DTYPES[dtype]) for dtype in args.dtypes}
    print(
        f"{name}, torch {torch.__version__}; matrix peak "
        + ", ".join(f"{d} {p:.0f} GMAC/s" for d, p in peaks.items())
    )
    tables = {}

    if "inference" in args.parts:
        tables["inference"] = inference_rows(watch, args, peaks)

    if "training" in args.parts:
        tables["training"] = training_rows(watch, args, peaks)

    if "pipeline" in args.parts:
        tables["pipeline"] = pipeline_rows(args)

    for title, rows in tables.items():
        print_table(title, rows)

    if args.json:
        figures = {"device": name, "torch": torch.__version__, "peak_gmac_per_s": peaks} | tables
        write_json(args.json, figures)

    return 0


if __name__ == "__main__":
    sys.exit(main())
