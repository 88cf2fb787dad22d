# SPDX-License-Identifier: Apache-2.0
"""What every node of this package does with its process."""
from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

IMAGES = """
import resource, numpy as np
from lifting_ros.ros.runtime import keep_freed_memory
{call}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for n in range(23):
    if n == 3:
        before = faults()
    images = [np.ones(6_000_000, np.uint8) for _ in range(2)]
    del images
print(faults() - before)
"""


def faults_of_images(call: str) -> int:
    """Page faults of 40 images' worth of memory, in a process of its own."""
    return int(subprocess.run([sys.executable, "-c", IMAGES.format(call=call)], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_memory_of_the_last_image_serves_the_next():
    assert faults_of_images("keep_freed_memory()") < 200 < 5_000 < faults_of_images("")
