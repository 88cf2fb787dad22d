# SPDX-License-Identifier: Apache-2.0
"""Renders many pictures into a folder, in several processes. The pictures do not depend on the
number of processes, and a folder is never half-written.

`images.npy` (n, H, W, 3) uint8 RGB is written first and `labels.npz` last: a folder with
`labels.npz` is complete. Files that are not complete have other names.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np

from lifting_ros.io.arrays import write_npz
from lifting_ros.io.atomic import replacing
from lifting_ros.io.progress import Progress
from lifting_ros.research.rendering.render_errors import RenderError

VERSION = 1
"""Version of rendered packs, and of the folders made from them; a folder without a version counts
as this one. `lifting train` makes folders of an older version again."""


def render_pictures(
    out_dir,
    make_source: Callable,
    pick: Callable,
    count: int,
    size,
    workers: int | None = None,
) -> list:
    """Write `images.npy` with the pictures pick(source, index), index 0 to count - 1, size (W, H);
    returns their samples without images.

    make_source() is called once per process; both functions must be picklable. workers: None for
    one process per core. Several processes are spawned: a script that calls this must protect its
    entry point with `if __name__ == "__main__"`. RenderError if a process ends early. Two calls
    must not write to the same folder at once: see `made_once`.
    """
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    (out / "labels.npz").unlink(missing_ok=True)
    workers = min(workers or len(os.sched_getaffinity(0)), max(count, 1))
    samples = [None] * count

    with replacing(out / "images.npy", keep_suffix=True) as part:
        shape = (count, size[1], size[0], 3)
        np.lib.format.open_memmap(part, "w+", np.uint8, shape).flush()

        job = partial(_render, make_source, pick, part)
        done = job(range(count)) if workers == 1 else _in_processes(job, count, workers)
        with closing(done):
            progress = Progress(done, total=count, desc=f"rendering {out.name}", unit="picture")
            for index, sample in progress:
                samples[index] = sample

        if any(sample is None for sample in samples):
            raise RenderError(
                f"{out}: a rendering process ended before its pictures were made (killed, or out "
                "of memory?)"
            )

    return samples


def save_labels(out_dir, arrays: dict) -> None:
    """Write `labels.npz` with the version, whole or not at all; the last file of a pack."""
    write_npz(Path(out_dir) / "labels.npz", arrays | {"version": VERSION})


def window_labels(samples, validation: bool) -> dict:
    """Arrays of the main person of each picture; see `synthetic.write_pack`."""
    labels = _of_people([sample.people[0] for sample in samples])
    del labels["seen"]

    # Only labelled keypoints have coordinates
    keypoints = labels["keypoints"]
    labels["keypoints"] = np.where(keypoints[..., 2:] > 0, keypoints, 0).astype(np.float32)
    return labels | _of_pictures(samples, validation)


def crowd_labels(samples, validation: bool) -> dict:
    """Arrays of all people of all pictures; see `synthetic.write_scenes`."""
    people = []
    picture = []
    for number, sample in enumerate(samples):
        people.extend(sample.people)
        picture.extend([number] * len(sample.people))

    numbers = {"picture": np.array(picture, np.int64)}
    return numbers | _of_people(people) | _of_pictures(samples, validation)


def _of_people(people) -> dict:
    """Arrays of P people; keypoints (P, 14, 3): x, y in px and 1 where labelled."""
    labelled = np.array([person.labelled for person in people], bool).reshape(-1, 14)
    visible = np.array([person.visible for person in people], bool).reshape(-1, 14)
    px = np.array([person.keypoints_px for person in people], np.float32)
    boxes = np.array([person.box_px for person in people], np.float32)
    joints = np.array([person.joints_camera_m for person in people], np.float32)
    weight = labelled[..., None].astype(np.float32)

    return {
        "keypoints": np.concatenate([px.reshape(-1, 14, 2), weight], axis=2),
        "self_occluded": labelled & ~visible,
        "box": boxes.reshape(-1, 4),
        "seen": np.array([person.seen for person in people], np.float32),
        "joints_camera_m": joints.reshape(-1, 17, 3),
    }


def _of_pictures(samples, validation) -> dict:
    """Arrays of the n pictures."""
    matrices = np.array([sample.K for sample in samples], np.float32)
    ups = np.array([sample.up for sample in samples], np.float32)
    return {
        "K": matrices.reshape(-1, 3, 3),
        "up": ups.reshape(-1, 3),
        "validation": np.full(len(samples), validation),
    }


def _render(
    make_source,
    pick,
    part: Path,
    indices,
) -> Iterator:
    """Render pictures into the file `part`; yields (index, sample without its image)."""
    source = make_source()
    images = np.lib.format.open_memmap(part, "r+")
    for index in indices:
        sample = pick(source, index)
        images[index] = sample.image
        yield index, replace(sample, image=None)

    images.flush()


def _in_processes(
    job,
    count: int,
    workers: int,
) -> Iterator:
    """What `job` yields for 0 to count - 1 in several processes, in the order in which it comes."""
    ends = []
    processes = []

    try:
        _start(job, count, workers, ends, processes)
        while ends:
            for end in wait(ends):
                try:
                    answer = end.recv()
                except EOFError:
                    ends.remove(end)
                    continue

                if isinstance(answer, Exception):
                    raise answer

                yield answer
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _start(
    job,
    count: int,
    workers: int,
    ends: list,
    processes: list,
) -> None:
    """Start the processes; adds them, and our ends of their pipes, to the lists."""
    # Not forked: the threads of the ray caster would not survive
    context = multiprocessing.get_context("spawn")
    with _interrupted_later():
        for first in range(workers):
            ours, theirs = context.Pipe(duplex=False)
            indices = range(first, count, workers)
            process = context.Process(target=_work, args=(job, indices, theirs), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            ends.append(ours)


@contextmanager
def _interrupted_later() -> Iterator[None]:
    """Block SIGINT; an interrupt that came meanwhile is raised at the end of the block.

    Processes that are started inside inherit the blocked signal: this process ends them.
    """
    resource_tracker.ensure_running()  # started inside, it would unblock the signal
    heard = []
    in_main_thread = threading.current_thread() is threading.main_thread()

    # A handler for signals that other threads receive, a mask for this thread
    handler = None
    if in_main_thread:
        handler = signal.signal(signal.SIGINT, lambda *_: heard.append(True))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if in_main_thread:
            signal.signal(signal.SIGINT, handler)

    if heard:
        raise KeyboardInterrupt


def _work(
    job,
    indices,
    connection: Connection,
) -> None:
    """Body of a process: sends what the job yields; ends when nobody receives any more."""
    import cv2

    cv2.setNumThreads(1)

    try:
        for answer in job(indices):
            connection.send(answer)
    except BrokenPipeError:  # the parent is gone
        return
    except Exception as error:  # any kind: the parent raises it
        connection.send(error)
