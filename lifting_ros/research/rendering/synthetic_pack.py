# SPDX-License-Identifier: Apache-2.0
"""Many synthetic pictures into a folder, in several processes: the same pictures however many there
are, and whole or not there.

`images.npy` (n, H, W, 3) uint8 RGB comes first, `labels.npz` last: a folder with it is whole.
Everything before has another name.
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

from lifting_ros.io.atomic import replacing
from lifting_ros.io.progress import Progress
from lifting_ros.research.rendering.render_errors import RenderError

# of what rendered packs hold, and of those that tell none; where `lifting train` needs an older one
# it is made again
VERSION = 1


def render_pictures(
    out_dir, make_source: Callable, pick: Callable, count: int, size, workers: int | None = None
) -> list:
    """Write `images.npy` with the pictures pick(source, index), index 0 to count - 1, size (W, H);
    returns their samples without images.

    make_source() is called once a process; both must be picklable. workers: None for one process a
    core. Several processes are started afresh: a script that calls this must guard its own start
    with `if __name__ == "__main__"`. RenderError when one ends early. Not for two calls at once in
    one folder: see `made_once`.
    """
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)

    (out / "labels.npz").unlink(missing_ok=True)

    with replacing(out / "images.npy", keep_suffix=True) as part:
        np.lib.format.open_memmap(part, "w+", np.uint8, (count, size[1], size[0], 3)).flush()
        workers = min(workers or len(os.sched_getaffinity(0)), max(count, 1))
        job = partial(_render, make_source, pick, part)
        samples = [None] * count

        with closing(
            job(range(count)) if workers == 1 else _in_processes(job, count, workers)
        ) as done:
            for index, sample in Progress(
                done, total=count, desc=f"rendering {out.name}", unit="picture"
            ):
                samples[index] = sample

        if any(sample is None for sample in samples):
            raise RenderError(
                f"{out}: a rendering process ended before its pictures were made (killed, or out "
                "of memory?)"
            )

    return samples


def save_labels(out_dir, arrays: dict) -> None:
    """`labels.npz` with the format's version, beside its place first; the last file of a pack."""
    out = Path(out_dir)
    with replacing(out / "labels.npz", keep_suffix=True) as partial:
        np.savez_compressed(partial, **arrays, version=VERSION)


def window_labels(samples, validation: bool) -> dict:
    """Arrays of one main person a picture, see `synthetic.write_pack`."""
    people = [sample.people[0] for sample in samples]
    labelled = np.array([person.labelled for person in people], bool).reshape(-1, 14)
    px = np.array([person.keypoints_px for person in people], np.float32).reshape(-1, 14, 2)

    return {
        "keypoints": np.where(
            labelled[..., None], np.concatenate([px, labelled[..., None]], axis=2), 0
        ).astype(np.float32),
        "self_occluded": labelled
        & ~np.array([person.visible for person in people], bool).reshape(-1, 14),
        "box": np.array([person.box_px for person in people], np.float32).reshape(-1, 4),
        "joints_camera_m": np.array(
            [person.joints_camera_m for person in people], np.float32
        ).reshape(-1, 17, 3),
        **_of_pictures(samples, validation),
    }


def crowd_labels(samples, validation: bool) -> dict:
    """Arrays of all people of all pictures, see `synthetic.write_scenes`."""
    people = [(number, person) for number, sample in enumerate(samples) for person in sample.people]

    def column(name, kind, *shape):
        return np.array([getattr(person, name) for _, person in people], kind).reshape(-1, *shape)

    labelled = column("labelled", bool, 14)

    return {
        "picture": np.array([number for number, _ in people], np.int64),
        "keypoints": np.concatenate(
            [column("keypoints_px", np.float32, 14, 2), labelled[..., None].astype(np.float32)],
            axis=2,
        ),
        "self_occluded": labelled & ~column("visible", bool, 14),
        "box": column("box_px", np.float32, 4),
        "seen": column("seen", np.float32),
        "joints_camera_m": column("joints_camera_m", np.float32, 17, 3),
        **_of_pictures(samples, validation),
    }


def _of_pictures(samples, validation):
    matrices = np.array([sample.K for sample in samples], np.float32)
    ups = np.array([sample.up for sample in samples], np.float32)
    return {
        "K": matrices.reshape(-1, 3, 3),
        "up": ups.reshape(-1, 3),
        "validation": np.full(len(samples), validation),
    }


def _render(make_source, pick, part: Path, indices) -> Iterator:
    """Pictures into the file `part`; yields (index, sample without its image)."""
    source = make_source()
    images = np.lib.format.open_memmap(part, "r+")
    for index in indices:
        sample = pick(source, index)
        images[index] = sample.image
        yield index, replace(sample, image=None)

    images.flush()


def _in_processes(job, count: int, workers: int) -> Iterator:
    """What `job` yields for 0 to count - 1, shared out over processes, as it comes."""
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


def _start(job, count: int, workers: int, ends: list, processes: list) -> None:
    """Adds the processes and our ends of their pipes."""
    # a fork would inherit the ray caster's threads half-dead
    context = multiprocessing.get_context("spawn")
    with _interrupted_later():
        for first in range(workers):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(
                target=_work, args=(job, range(first, count, workers), theirs), daemon=True
            )
            process.start()
            theirs.close()
            processes.append(process)
            ends.append(ours)


@contextmanager
def _interrupted_later() -> Iterator[None]:
    """Processes started inside never hear Ctrl-C: who started them ends them, and is itself
    interrupted at the end of the block."""
    resource_tracker.ensure_running()  # its start would lift the block
    heard = []
    handled = threading.current_thread() is threading.main_thread()
    # of signals that other threads take
    handler = signal.signal(signal.SIGINT, lambda *_: heard.append(True)) if handled else None
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # is inherited

    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        if handled:
            signal.signal(signal.SIGINT, handler)

    if heard:
        raise KeyboardInterrupt


def _work(job, indices, connection: Connection) -> None:
    """A process: sends what it makes, and stops when nobody listens any more."""
    import cv2

    cv2.setNumThreads(1)

    try:
        for answer in job(indices):
            connection.send(answer)
    except BrokenPipeError:  # the parent is gone
        return
    except Exception as error:  # any kind: the parent raises it
        connection.send(error)
