# SPDX-License-Identifier: Apache-2.0
"""Run `lifting estimate`, `bag` or `label` on thousands of bags, videos and folders of images.

A SOURCE is a file, or a folder that is searched: for bags (a folder with metadata.yaml, .mcap,
.db3; not for `label`), videos (`estimate`) and folders of images (`estimate`, `label`). DIR gets
the output of the verb for each of them, under the path below the folder that all SOURCES lie in:
clips/day1/a.mp4 of the SOURCE clips becomes DIR/clips/day1/a.mp4.npz. The suffix is .npz or .mcap
(`estimate`), .mcap (`bag`) or .labels (`label`, a folder of labels).

DIR/manifest/ has a JSON file for each source: its SHA-256, the options, the SHA-256 of the models,
and what the verb said. Give the same command again to go on after an interruption: what is finished
is skipped, and what failed, or whose source, options or models have changed, is done anew.

The sources are processed in this process, or by --workers processes on Ray (pip install ray), each
of which loads its models once. With --shard I/N this process takes every N-th source from the I-th
on: for arrays of jobs on a cluster without Ray.

A source that fails is listed on standard error. Exit status: 0 if none failed; 2 if some failed; 1
if one of them failed by a bug.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.options import require_at_least, require_folder_of

if TYPE_CHECKING:
    from lifting_ros.cli.fleet.ray_workers import Resources
    from lifting_ros.cli.fleet.sources import Source
    from lifting_ros.cli.fleet.verbs import Verb
    from lifting_ros.cli.fleet.worker import Job, Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="bags, videos, images, or folders with bags, videos or images at any depth",
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder of the outputs; see above"
    )

    parser.add_argument(
        "--format",
        choices=("npz", "mcap"),
        help="what `estimate` writes: npz (default) or mcap",
    )

    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes (default 1: this one, without Ray)",
    )
    parser.add_argument(
        "--cpus", type=int, default=1, metavar="N", help="CPU cores of a worker on Ray (default 1)"
    )
    parser.add_argument(
        "--gpus",
        type=float,
        default=0.0,
        metavar="PART",
        help="part of a GPU of a worker on Ray, such as 0.25 (default 0: workers use the CPU)",
    )
    parser.add_argument(
        "--address",
        default="",
        metavar="ADDRESS",
        help="Ray cluster of the workers, as ray.init takes it: auto, HOST:PORT (default: Ray is"
        " started on this machine)",
    )

    parser.add_argument(
        "--shard",
        default="",
        metavar="I/N",
        help="process every N-th source from the I-th on, I from 1 to N, in this process",
    )
    parser.add_argument(
        "--verb",
        nargs=argparse.REMAINDER,
        default=["estimate"],
        metavar="VERB",
        help="what is run: estimate (default), bag or label, with its options; ends the line",
    )


def run(args: argparse.Namespace) -> int:
    from lifting_ros.cli.bag import interrupt_on_sigterm
    from lifting_ros.cli.fleet.sources import find_sources

    check(args)
    interrupt_on_sigterm()
    verb, job = make_job(args)
    sources = shard(find_sources(args.sources, verb.kinds, job.out), args.shard)
    waiting = unfinished(job, sources)
    with contextlib.closing(outcomes(args, job, waiting)) as steps:
        counts = report(steps, len(waiting), getattr(args, "traceback", False))

    skipped = counts["skipped"] + len(sources) - len(waiting)
    failed = counts["failed"] + counts["bug"]
    print(f"{counts['done']} done, {skipped} finished before, {failed} failed: {args.out}")
    if counts["bug"]:
        return 1
    return 2 if failed else 0


def check(args: argparse.Namespace) -> None:
    """Raise CommandError for options that do not go together."""
    require_folder_of("--out", args.out)
    require_at_least("--workers", args.workers, 1)
    require_at_least("--cpus", args.cpus, 1)
    require_at_least("--gpus", args.gpus, 0)
    if args.gpus > 1 and args.gpus % 1:
        raise CommandError(f"--gpus: expected a part of one or a whole number, got {args.gpus:g}")

    on_ray = args.workers > 1 or bool(args.address)
    if args.shard and on_ray:
        raise CommandError("--shard: expected it or --workers and --address, not both")
    if not on_ray and (args.gpus or args.cpus > 1):
        raise CommandError("--cpus and --gpus: require --workers of 2 or more, or --address")


def make_job(args: argparse.Namespace) -> tuple[Verb, Job]:
    """What is run on every source; makes the folder of the outputs.

    CommandError, or the error of the verb, for options that cannot be used.
    """
    from lifting_ros.cli.fleet.verbs import VERBS
    from lifting_ros.cli.fleet.worker import Job

    name, *words = args.verb or [""]
    if name not in VERBS:
        raise CommandError(f"--verb: expected {', '.join(VERBS)}, got {name!r}")
    verb = VERBS[name]
    suffix = f".{args.format}" if args.format else verb.suffixes[0]
    if suffix not in verb.suffixes:
        raise CommandError(f"--format {args.format}: not with --verb {name}")

    options = verb.parse(words)
    task = verb.task(options)
    out = Path(args.out).absolute()
    out.mkdir(exist_ok=True)
    verb.check(options, out / f"output{suffix}")
    return verb, Job(name, options, task, out, suffix)


def shard(sources: Sequence[Source], text: str) -> list[Source]:
    """The sources of shard I/N: every N-th from the I-th on; all without a text."""
    if not text:
        return list(sources)
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise CommandError(f"--shard: expected I/N with I from 1 to N, such as 1/8, got {text!r}")
    return list(sources[int(found[1]) - 1 :: int(found[2])])


def unfinished(job: Job, sources: Sequence[Source]) -> list[Source]:
    """The sources that are not known to be finished without reading them."""
    waiting = []
    for source in sources:
        try:
            is_finished = job.manifest.is_finished(source, read=False)
        except OSError:
            # The worker lists it.
            is_finished = False
        if not is_finished:
            waiting.append(source)
    return waiting


def outcomes(args: argparse.Namespace, job: Job, sources: Sequence[Source]) -> Iterator[Outcome]:
    """What became of each source."""
    from lifting_ros.cli.fleet.ray_workers import run_on_ray
    from lifting_ros.cli.fleet.worker import Worker

    if not sources:
        return
    if args.workers > 1 or args.address:
        yield from run_on_ray(job, sources, resources(args))
        return

    worker = Worker(job)
    for source in sources:
        yield worker.process(source)


def resources(args: argparse.Namespace) -> Resources:
    """What the options give to the workers on Ray."""
    from lifting_ros.cli.fleet.ray_workers import Resources

    return Resources(args.workers, args.cpus, args.gpus, args.address)


def report(steps: Iterable[Outcome], total: int, with_traceback: bool) -> Counter[str]:
    """Show progress and list failures; returns how many sources ended in which status."""
    from lifting_ros.io.progress import Progress

    counts: Counter[str] = Counter()
    for outcome in Progress(steps, desc="fleet", unit="file", total=total, delay=2):
        counts[outcome.status] += 1
        if with_traceback and outcome.traceback:
            Progress.write(outcome.traceback, file=sys.stderr)
        for line in filter(None, (*outcome.messages, outcome.reason)):
            Progress.write(f"lifting fleet: {outcome.name}: {line}", file=sys.stderr)
    return counts
