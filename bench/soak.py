# SPDX-License-Identifier: Apache-2.0
"""The node for half an hour at full rate, people coming and going: memory, threads and open files.

This process is the camera; each image shows the clip that ships or an empty room, by turns. Prints
resident memory, threads and handles of the node every minute, and the slope of its memory after the
warm-up in MB in ten minutes. --json FILE writes the figures.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from node import Camera, clip_frames
from sensor_msgs.msg import Image

from lifting_ros.cli.files import write_json
from lifting_ros.cli.processes import Children

WARM_UP_MIN = 5.0


def figures_of(pid: int) -> dict[str, float]:
    """Resident memory in MB, threads and open files of a process."""
    status = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if ":" in line
    )
    return {
        "memory MB": float(status["VmRSS"].split()[0]) / 1024,
        "threads": float(status["Threads"]),
        "handles": float(len(os.listdir(f"/proc/{pid}/fd"))),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--minutes", type=float, default=30.0, metavar="M", help="how long (default 30)"
    )
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures here as well")
    args = parser.parse_args()
    people = clip_frames((640, 480), 90, False)
    rows = []
    # of four seconds: a minute, of which two seconds are for the last answers
    rounds = max(1, min(15, round(args.minutes)))
    nobody = clip_frames((640, 480), 1, False)[0]
    nobody.data = bytes(len(nobody.data))
    camera = Camera(Image, (640, 480), True)

    try:
        with tempfile.TemporaryDirectory() as logs, Children(Path(logs), {}) as children:
            children.start("node", "lifting_ros.ros.node")
            camera.wait(children)
            pid = children.pid("node")
            start = time.monotonic()

            while time.monotonic() - start < 60 * args.minutes:
                ages, _ = camera.play((people + [nobody] * 30) * rounds, 30.0)
                children.check()
                rows.append(
                    {
                        "minute": (time.monotonic() - start) / 60,
                        "answered": np.isfinite(ages).mean(),
                    }
                    | figures_of(pid)
                )
                print(
                    "  ".join(f"{name} {value:8.2f}" for name, value in rows[-1].items()),
                    flush=True,
                )
    finally:
        camera.close()

    late = [row for row in rows if row["minute"] >= min(WARM_UP_MIN, args.minutes / 2)]
    slope = (
        10 * np.polyfit([row["minute"] for row in late], [row["memory MB"] for row in late], 1)[0]
    )
    grown = {name: late[-1][name] - late[0][name] for name in ("threads", "handles")}
    print(
        f"memory: {slope:+.2f} MB in ten minutes after the warm-up; threads "
        f"{grown['threads']:+.0f}, handles {grown['handles']:+.0f}"
    )

    if args.json:
        write_json(args.json, {"slope MB in 10 min": float(slope), "grown": grown, "rows": rows})

    return 0


if __name__ == "__main__":
    sys.exit(main())
