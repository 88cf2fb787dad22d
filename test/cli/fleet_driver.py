# SPDX-License-Identifier: Apache-2.0
"""`lifting fleet` with an estimator that needs no weights. Run as a program, also in the processes
of Ray, so that a test can kill them.

While the file FLEET_HOLD exists, the estimator stops at an image whose first pixel is HELD, and
FLEET_HOLD.pid then holds the number of its process.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "ros")]

import conftest_ros  # noqa: E402, F401
import numpy as np  # noqa: E402
from ros_support import person  # noqa: E402

from lifting_ros import estimator as pipeline  # noqa: E402
from lifting_ros.cli.fleet import ray_workers  # noqa: E402
from lifting_ros.cli.main import main  # noqa: E402
from lifting_ros.estimator import Estimate  # noqa: E402

HELD = 77
"""First pixel of the image that the estimator stops at."""


class LightEstimator:
    """One person for each image, who depends on its pixels."""

    weights_sha256, prior_sha256, device = "a" * 64, "b" * 64, "cpu"
    made = 0
    asked = 0

    def __init__(self, config):
        self.config = config
        LightEstimator.made += 1

    def estimate(self, image, camera=None, up=None, depth=None, detections=None):
        LightEstimator.asked += 1
        hold = Path(os.environ.get("FLEET_HOLD", "/nowhere"))
        if image[0, 0, 0] == HELD and hold.exists():
            hold.with_name("partial").write_text(str(os.getpid()))
            hold.with_name("partial").replace(f"{hold}.pid")
            while hold.exists():
                time.sleep(0.05)

        return Estimate((person(np.random.default_rng(int(image.sum()))),), {})


class LightWorker(ray_workers.RayWorker):
    """A worker of Ray with that estimator."""

    def __init__(self, job, cpus):
        pipeline.PoseEstimator = LightEstimator
        super().__init__(job, cpus)


if __name__ == "__main__":
    pipeline.PoseEstimator = LightEstimator
    ray_workers.RayWorker = LightWorker
    sys.exit(main(sys.argv[1:]))
