# SPDX-License-Identifier: Apache-2.0
"""Compiled loops: the same bits whatever was loaded before, and a log that says that they are being
compiled."""

from __future__ import annotations

import importlib
import logging
import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest
from numba.core.caching import FunctionCache

from lifting_ros import compiled as module
from lifting_ros.compiled import CompilationLog, compiled


def test_called_function_is_part_of_its_caller(tmp_path, monkeypatch):
    """A function compiled by itself is linked to some caller's copy of it: which, and so the last
    bits, depends on what was loaded before."""
    source = """
from lifting_ros.compiled import compiled

@compiled
def inner(x):
    return x / 3

@compiled
def outer(x):
    return inner(x) + 1
"""
    (tmp_path / "two_loops.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    loops = importlib.import_module("two_loops")
    assert loops.outer(6.0) == 3.0
    assert len(loops.outer.signatures) == 1
    assert loops.inner.signatures == []


@pytest.mark.slow
def test_compiling_process_gives_the_bytes_of_a_loading_one(tmp_path):
    code = """
import hashlib
import numpy as np
from numba.core import event
from lifting_ros.geometry.camera import Camera
from lifting_ros.lifting.lifters import WEIGHTS
from lifting_ros.lifting.lifting import Lifter
from lifting_ros.prior.ppca import MixturePPCA

class Count(event.Listener):
    number = 0
    def on_start(self, event):
        self.number += 1
    def on_end(self, event):
        pass

count = Count()
event.register("numba:compile", count)
lifter = Lifter(MixturePPCA.load(WEIGHTS / "prior.npz"))
rng = np.random.default_rng(0)
person = np.stack([np.arange(14) % 4 * 20.0, np.arange(14) * 15.0], -1)
digest = hashlib.sha256()
for number in range(20):
    keypoints = person + rng.normal(0, 10, (2, 14, 2))
    confidence = np.ones((2, 14)) if number % 2 else rng.uniform(0, 1, (2, 14))
    camera = Camera(np.diag([500.0, 500.0, 1.0]))
    for values in vars(lifter.lift(keypoints, confidence, camera=camera)).values():
        digest.update(np.ascontiguousarray(values).tobytes())
print(count.number, digest.hexdigest())
"""
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    said = [
        subprocess.run(
            [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
        ).stdout.split()
        for _ in range(2)
    ]
    (compilations, first), (loaded, second) = said
    assert int(compilations) > 0 and int(loaded) == 0
    assert first == second


IN_USE = """
import gc, sys
import numpy as np
from numba.core.dispatcher import Dispatcher
sys.path.append({tests!r})
import bags
from lifting_ros.estimator import EstimatorConfig, PoseEstimator
from lifting_ros.geometry.camera import Camera
from lifting_ros.tracking.tracking import Tracker

def loops():
    for loop in gc.get_objects():
        if isinstance(loop, Dispatcher) and loop.py_func.__module__.startswith("lifting_ros"):
            yield from ((loop.py_func.__name__, str(types)) for types in loop.signatures)

estimator, tracker = PoseEstimator(EstimatorConfig(weights="lite")), Tracker()
ready = set(loops())
(one,) = bags.frames([95])
several = np.concatenate([one, one], 1)
read_only = several[:]
read_only.flags.writeable = False
matrix = np.array([[600.0, 0, 639.5], [0, 600, 239.5], [0, 0, 1]])
cameras = [
    None,
    Camera(matrix),
    Camera(matrix, np.array([-0.2, 0.05, 0.001, 0.0, 0.0])),
    Camera(matrix, np.array([0.01, 0.02, -0.01, 0.003]), "equidistant"),
]
half = several.copy()
half[300:] = 0
images = [one, several, read_only, several[:, ::-1], half, np.zeros_like(one)]
seen = 0
for number in range(24):
    image, camera = images[number % 6], cameras[number // 6]
    up = (0.0, -1.0, 0.0) if number % 5 else (0.0, -0.9, -0.2)
    persons = estimator.estimate(image, camera, up).persons
    seen += len(persons)
    tracker.update(10**9 + number * 10**8, persons)
    tracker.expected(10**9 + number * 10**8 + 1)
assert seen > 24, seen
print(sorted(set(loops()) - ready))
"""


def test_nothing_is_compiled_after_the_start():
    """It would stop the node for seconds, at the first image of a camera with distortion or of two
    people."""
    done = subprocess.run(
        [sys.executable, "-c", IN_USE.format(tests=str(Path(__file__).parent))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stdout + done.stderr


@pytest.fixture
def log():
    """A CompilationLog, its lines, and the clock that it reads, in seconds."""
    lines = []
    clock = [50.0]
    return CompilationLog(lines.append, lambda: clock[0]), lines, clock


def compile_for(log: CompilationLog, clock: list[float], *seconds: float) -> None:
    """A compilation that lasts so long before, within and after another one."""
    log.on_start(None)
    for inner, spent in enumerate(seconds):
        if inner % 2:
            log.on_start(None)
        clock[0] += spent
        if inner % 2:
            log.on_end(None)
    log.on_end(None)


def test_short_compilations_are_not_logged(log):
    listener, lines, clock = log
    for _ in range(9):
        compile_for(listener, clock, 0.1)
        clock[0] += 100.0  # not spent on compiling
    assert lines == []


def test_long_compilations_are_logged_every_five_seconds(log):
    listener, lines, clock = log
    compile_for(listener, clock, 1.5, 0.5, 1.0)
    compile_for(listener, clock, 2.0)
    compile_for(listener, clock, 2.0)
    compile_for(listener, clock, 30.0)
    counted = [line.partition("installation: ")[2] for line in lines]
    assert counted == [
        "0 functions in 2 s so far",
        "4 functions in 7 s so far",
        "5 functions in 37 s so far",
    ]
    assert all(line.startswith("compiling numerical loops") for line in lines)


def test_compilation_is_logged_and_loading_is_not(caplog, monkeypatch):
    monkeypatch.setattr(CompilationLog, "QUIET_S", 0.0)
    listener = CompilationLog(logging.getLogger("lifting_ros.compiled").info)
    caplog.set_level(logging.INFO, "lifting_ros")

    @numba.njit
    def double(x):
        return 2 * x

    with numba.core.event.install_listener("numba:compile", listener):
        assert double(3) == 6
        assert "compiling numerical loops" in caplog.text
        caplog.clear()
        begun = listener.begun, module.compilations_begun()
        assert min(begun) >= 1
        assert double(4) == 8
        assert (listener.begun, module.compilations_begun()) == begun
    assert not caplog.text


def test_without_a_cache_folder_it_compiles_and_warns(monkeypatch, caplog):
    real = numba.njit

    def without_cache(*functions, **options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(*functions, **options)

    monkeypatch.setattr(module.numba, "njit", without_cache)
    module.warn_of_no_cache.cache_clear()
    functions = [compiled(lambda x: x + 1), compiled(lambda x: x + 2)]
    assert [function(1) for function in functions] == [2, 3]
    assert caplog.text.count("NUMBA_CACHE_DIR") == 1


CALLED = """
from lifting_ros.compiled import compiled

SHIFT = {shift}

@compiled
def add_one(x):
    return x + {step}
"""
CALLER = """
from called_loop import SHIFT, add_one
from lifting_ros.compiled import compiled

@compiled
def add_two(x):
    return add_one(x) + 1 + SHIFT
"""


def test_cache_notices_what_a_function_calls_and_reads(tmp_path):
    """Functions in other files become part of the compiled one, and so do their constants."""
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    code = """
from caller_loop import add_two
print(add_two(6), sum(add_two.stats.cache_hits.values()))
"""
    (tmp_path / "caller_loop.py").write_text(CALLER)

    def run(**values: int) -> list[str]:
        (tmp_path / "called_loop.py").write_text(CALLED.format(**values))
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True
        )
        return done.stdout.split()

    assert run(shift=0, step=1) == ["8", "0"]
    assert run(shift=0, step=1) == ["8", "1"]
    assert run(shift=0, step=2) == ["9", "0"]
    assert run(shift=5, step=1) == ["13", "0"]


def test_cache_notices_other_options(monkeypatch):
    def keys() -> set:
        cache = module._Cache(lambda x: x)
        monkeypatch.setattr(FunctionCache, "_index_key", lambda *_: ())
        return {cache._index_key((), None)}

    before = keys()
    assert keys() == before
    monkeypatch.setitem(module._OPTIONS, "fastmath", False)
    assert keys() != before
