# SPDX-License-Identifier: Apache-2.0
"""BLAS starts no threads beside the networks: for 30 ms after each product they spin on the cores
that the networks need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os
import sys
from pathlib import Path

import numpy as np
import scipy.linalg

ours = {str(os.getpid())}
blas_threads = [task for task in Path("/proc/self/task").iterdir() if task.name not in ours]

sys.path.append(sys.argv[1])
from clip import frames
from lifting_ros.estimator import EstimatorConfig, PoseEstimator


def wakes():
    texts = [(thread / "status").read_text() for thread in blas_threads]
    return sum(int(text.split("\\nvoluntary_ctxt_switches:")[1].split()[0]) for text in texts)


(one,) = frames([60])
half = one[::2, ::2]
row = np.concatenate([half, half[:, ::-1]], axis=1)
four = np.concatenate([row, row])
large = np.ones((512, 512))
estimator = PoseEstimator(EstimatorConfig(weights="lite"))
before = wakes()
persons = [len(estimator.estimate(image).persons) for image in (one, four)]
during = wakes() - before
large @ large
print(len(blas_threads), *persons, during, wakes() - before)
"""


def test_blas_starts_no_threads_beside_the_networks():
    # A thread that does not spin sleeps after each product, which Linux counts
    env = os.environ | {"OPENBLAS_NUM_THREADS": "2", "OPENBLAS_THREAD_TIMEOUT": "4"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, Path(__file__).parent],
        env=env,
        check=True,
        capture_output=True,
        text=True,
    )
    threads, one, four, during, with_large = map(int, done.stdout.split())
    if threads == 0 or with_large == during:
        pytest.skip("this BLAS starts no threads here")
    assert (one, four) == (1, 4)
    assert during == 0
