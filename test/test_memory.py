# SPDX-License-Identifier: Apache-2.0
"""Memory that a program keeps for its next image."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from lifting_ros import memory
from lifting_ros.cli import main as command
from lifting_ros.memory import keep_freed_memory

IMAGES = """
import resource, numpy as np
from lifting_ros.memory import keep_freed_memory
{call}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for n in range(23):
    if n == 3:
        before = faults()
    images = [np.ones({size}, np.uint8) for _ in range(2)]
    del images
print(faults() - before)
"""


def faults_of_images(call: str, size: int) -> int:
    """Page faults of 40 images' worth of memory, in a process of its own."""
    code = IMAGES.format(call=call, size=size)
    return int(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
    )


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
@pytest.mark.parametrize("size", [6_000_000, 40_000_000])
def test_memory_of_the_last_image_serves_the_next(size):
    assert faults_of_images("keep_freed_memory()", size) < 200 < 5_000 < faults_of_images("", size)


GARBAGE = """
import os, numpy as np
from lifting_ros.memory import keep_freed_memory, return_freed_memory
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
keep_freed_memory()
blocks = [np.ones(100_000, np.uint8) for _ in range(1000)]
blocks = blocks[::100]
before = resident()
return_freed_memory()
print(before - resident())
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc"
)
def test_garbage_between_what_is_used_goes_back_to_the_system():
    done = subprocess.run(
        [sys.executable, "-c", GARBAGE], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 80_000_000


class Library:
    """Stands for the C library: refuses a block size above `largest`, and keeps what was asked."""

    def __init__(self, largest: int):
        self.largest, self.asked = largest, []

    def mallopt(self, option: int, value: int) -> int:
        self.asked.append((option, value))
        return int(option != -3 or value <= self.largest)


def test_an_older_library_is_asked_for_the_largest_it_allows(monkeypatch):
    """Refused, the block size would stay small: an option that was set ends its growth."""
    library = Library(1 << 25)
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: library)
    keep_freed_memory()
    assert library.asked == [(-3, 1 << 29), (-3, 1 << 25), (-1, 1 << 29)]


def test_another_library_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    keep_freed_memory()


def test_the_command_keeps_its_memory_and_answers_as_before(monkeypatch, capsys):
    called = []
    monkeypatch.setattr(command, "keep_freed_memory", lambda: called.append(keep_freed_memory()))
    assert command.main(["lift", "nowhere.npz", "--out", "a.npz"]) == 2
    assert called == [None] and len(capsys.readouterr().err.splitlines()) == 1
