# SPDX-License-Identifier: Apache-2.0
"""Workers on Ray: processes of this machine, or of the machines of a Ray cluster.

Ray is imported when a function is called, not before.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.fleet.sources import Source
from lifting_ros.cli.fleet.worker import BUG, Job, Outcome, Worker
from lifting_ros.errors import one_line

MOST_DEATHS = 3
"""Workers that may die of one source before it is given up, and workers that may die at their start
before the run is."""
MOST_STARTS = 3
"""Attempts to start Ray, which gives up after 30 s: too soon on a busy machine."""
_STORE_BYTES = 100 << 20
"""Ray's memory for objects; those sent here are small."""


@dataclass(frozen=True)
class Resources:
    """Where workers run, and what each of them gets."""

    workers: int
    cpus: int
    """CPU cores of a worker."""
    gpus: float
    """Part of a GPU that a worker gets, or a whole number of them."""
    address: str
    """Of a Ray cluster; empty for this machine."""


class RayWorker(Worker):
    """A worker in a process of its own."""

    def __init__(self, job: Job, cpus: int):
        import cv2

        from lifting_ros.memory import keep_freed_memory

        keep_freed_memory()
        cv2.setNumThreads(cpus)
        super().__init__(job)

    def start(self) -> None:
        """Return as soon as the worker runs."""


def run_on_ray(job: Job, sources: Sequence[Source], resources: Resources) -> Iterator[Outcome]:
    """What became of each source, in the order in which they end.

    CommandError where Ray is not installed or the workers do not start.
    """
    ray = _import_ray(resources)
    try:
        _connect(ray, resources)
        yield from _Crew(ray, job, resources).process(sources)
    finally:
        ray.shutdown()


class _Crew:
    """Actors of Ray that get one source at a time; those that die are replaced."""

    def __init__(self, ray: Any, job: Job, resources: Resources):
        self._ray = ray
        self._job = job
        self._resources = resources
        self._waiting: deque[Source] = deque()
        self._running: dict[Any, tuple[Any, Source | None]] = {}
        """Reference of a call -> the actor, and its source; None while the actor starts."""
        self._deaths: Counter[Source | None] = Counter()

    def process(self, sources: Sequence[Source]) -> Iterator[Outcome]:
        """What became of each source."""
        self._waiting.extend(sources)
        for _ in range(min(self._resources.workers, len(sources))):
            self._start_actor()

        while self._waiting or any(source for _, source in self._running.values()):
            (reference,), _ = self._ray.wait(list(self._running), num_returns=1)
            actor, source = self._running.pop(reference)
            try:
                outcome = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                yield from self._replace(actor, source, error)
                continue

            if source is None:
                self._deaths.pop(None, None)
            else:
                yield outcome
            if self._waiting:
                following = self._waiting.popleft()
                self._running[actor.process.remote(following)] = (actor, following)

    def _start_actor(self) -> None:
        resources = self._resources
        kind = self._ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus)(RayWorker)
        actor = kind.remote(self._job, resources.cpus)
        self._running[actor.start.remote()] = (actor, None)

    def _replace(self, actor: Any, source: Source | None, error: Exception) -> Iterator[Outcome]:
        """Start another actor for one that died; its source waits again, or is given up."""
        self._ray.kill(actor)
        self._deaths[source] += 1
        is_last_try = self._deaths[source] >= MOST_DEATHS
        if source is None:
            if is_last_try and not self._running:
                raise CommandError(f"the workers do not start: {_last_line(error)}")
            if is_last_try:
                return
        elif is_last_try:
            reason = f"{MOST_DEATHS} workers died of it"
            self._job.manifest.write_failed(source, reason)
            yield Outcome(source.name, BUG, reason, traceback=str(error))
        else:
            self._waiting.append(source)
        self._start_actor()


def _import_ray(resources: Resources) -> Any:
    # Nothing is reported to Ray's makers unless the user wants it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        option = "--address" if resources.address else "--workers"
        raise CommandError(f"{option}: requires Ray: pip install ray") from None
    return ray


def _connect(ray: Any, resources: Resources) -> None:
    """Start Ray on this machine, or connect to a cluster."""
    from lifting_ros.cli.bag import interrupt_on_sigterm

    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if resources.address:
        try:
            ray.init(resources.address, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise CommandError(f"--address {resources.address}: {one_line(error)}") from None
    else:
        _start(ray, resources, quiet)
        _check_gpus(resources, ray.cluster_resources().get("GPU", 0))

    # Ray has its own handler, which does not unwind.
    interrupt_on_sigterm()


def _start(ray: Any, resources: Resources, quiet: dict[str, Any]) -> None:
    """Start Ray on this machine; CommandError where that fails repeatedly."""
    for attempt in range(1, MOST_STARTS + 1):
        try:
            ray.init(
                "local",
                num_cpus=resources.workers * resources.cpus,
                object_store_memory=_STORE_BYTES,
                include_dashboard=False,
                **quiet,
            )
            return
        except Exception as error:  # Ray raises no other class
            ray.shutdown()
            if attempt == MOST_STARTS:
                raise CommandError(f"Ray does not start: {_last_line(error)}") from error


def _check_gpus(resources: Resources, there: float) -> None:
    """Raise CommandError where workers would wait for GPUs that this machine does not have."""
    needed = resources.workers * resources.gpus
    if needed > there:
        raise CommandError(
            f"--gpus {resources.gpus:g}: {resources.workers} workers require {needed:g} GPUs,"
            f" {there:g} are there"
        )


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
