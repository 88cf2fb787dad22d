# SPDX-License-Identifier: Apache-2.0
"""One node for several cameras: its memory, and what each camera gets.

This process is the cameras: each sends frames 60 to 109 of the bundled clip, in which one person
walks, forwards and backwards over and over, at the rates of --hz by turns. For each number of
cameras a node is started anew. `memory` is the node's resident memory at the end and `peak` the
largest so far, in MB; `received` the images that reach the node in a second, `answered` those that
it answers, `age` from the stamp of an image to the arrival of its skeletons. The first two seconds,
and networks that are still to be converted, do not count. --json FILE writes the figures.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifting_ros.msg import Skeleton3DArray
from node import clip_frames
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from lifting_ros.cli.files import write_json
from lifting_ros.cli.processes import Children
from lifting_ros.estimator import EstimatorConfig, PoseEstimator
from lifting_ros.ros.camera_yaml import guessed_info
from lifting_ros.ros.inputs import stamp_ns

SIZE = (640, 480)
FIRST_FRAME = 60
FRAMES = 50
START_WITHIN_S = 300.0
LAST_ANSWER_S = 2.0
UNCOUNTED_S = 2.0
"""Time in which a person who appears becomes somebody who is followed."""


class Source:
    """One camera of this process: publishes at its rate, and keeps when it was answered."""

    def __init__(self, node: Node, name: str, hz: float, frames: list[Image]):
        self.hz = hz
        self.sent: list[int] = []
        self.arrived: dict[int, int] = {}
        self.due_s = 0.0
        self.rates_hz: list[float] = []
        """Images a second that came to the node, each second."""
        self._name = name
        self._node = node
        self._frames = frames
        self._info = guessed_info(*SIZE)
        self._images = node.create_publisher(Image, f"/{name}/image", 1)
        self._infos = node.create_publisher(CameraInfo, f"/{name}/camera_info", 1)
        topic = f"/{name}/lifting/skeletons_3d"
        node.create_subscription(Skeleton3DArray, topic, self._on_answer, 50)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def is_connected(self) -> bool:
        return bool(self._images.get_subscription_count() and self._infos.get_subscription_count())

    def send(self) -> None:
        """Publish the next image under the present time."""
        now = self._node.get_clock().now()
        message = self._frames[len(self.sent) % len(self._frames)]
        message.header.stamp = now.to_msg()
        message.header.frame_id = "camera"
        self._info.header = copy.copy(message.header)
        self._infos.publish(self._info)
        self._images.publish(message)
        self.sent.append(now.nanoseconds)

    def _on_answer(self, message: Skeleton3DArray) -> None:
        self.arrived[stamp_ns(message)] = self._node.get_clock().now().nanoseconds

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith(f"{self._name}/"):
                values = {value.key: value.value for value in status.values}
                self.rates_hz.append(float(values["input rate [Hz]"]))

    def figures(self, seconds: float) -> dict[str, float]:
        """Rates per second, and ages in ms (NaN without answers), of what was sent lately."""
        ages_ms = [
            (self.arrived[stamp] - stamp) / 1e6 for stamp in self.sent if stamp in self.arrived
        ]
        return {
            "sent/s": len(self.sent) / seconds,
            "received/s": float(np.mean(self.rates_hz or [np.nan])),
            "answered/s": len(ages_ms) / seconds,
            "age p50 ms": float(np.percentile(ages_ms, 50)),
            "age p99 ms": float(np.percentile(ages_ms, 99)),
        }


def play(executor: SingleThreadedExecutor, sources: list[Source], seconds: float) -> None:
    """Let each source send at its rate for so long, and wait for the last answers.

    What was sent in the first UNCOUNTED_S does not count.
    """
    for source in sources:
        source.due_s = time.monotonic()

    send(executor, sources, UNCOUNTED_S)
    for source in sources:
        source.sent.clear()
        source.arrived.clear()
        source.rates_hz.clear()

    send(executor, sources, seconds)
    end = time.monotonic() + LAST_ANSWER_S
    while time.monotonic() < end:
        executor.spin_once(timeout_sec=0.1)


def send(executor: SingleThreadedExecutor, sources: list[Source], seconds: float) -> None:
    """Let each source send at its rate for so long."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        source = min(sources, key=lambda one: one.due_s)
        executor.spin_once(timeout_sec=0)  # late for an image, it still hears the answers
        while (left := source.due_s - time.monotonic()) > 0:
            executor.spin_once(timeout_sec=left)
        source.send()
        source.due_s = max(source.due_s + 1 / source.hz, time.monotonic())


def memory_mb(pid: int) -> dict[str, float]:
    """Resident memory of a process now, and at most so far."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return {
        name: float(fields[field].split()[0]) * 1024 / 1e6
        for name, field in (("memory MB", "VmRSS"), ("peak MB", "VmHWM"))
    }


def measure(count: int, rates: list[float], args: argparse.Namespace, logs: Path) -> dict:
    """A node for `count` cameras: its memory, and the figures of each camera."""
    forwards = clip_frames(SIZE, FIRST_FRAME + FRAMES, False)[FIRST_FRAME:]
    frames = forwards + forwards[-2:0:-1]  # nobody jumps, which would be somebody lost
    names = [f"camera_{number}" for number in range(1, count + 1)]
    rclpy.init()
    node = Node("cameras")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        sources = [Source(node, name, hz, frames) for name, hz in zip(names, rates * count)]
        with Children(logs, {}) as children:
            settings = {
                "cameras": f"[{', '.join(names)}]",
                "weights": args.weights,
                "threads": args.threads,
                "device": args.device,
            }
            words = [word for name in settings for word in ("-p", f"{name}:={settings[name]}")]
            children.start("node", "lifting_ros.ros.node", "--ros-args", *words)
            end = time.monotonic() + START_WITHIN_S
            while not all(source.is_connected() for source in sources):
                children.check()
                if time.monotonic() > end:
                    raise RuntimeError("the node did not subscribe")
                executor.spin_once(timeout_sec=0.1)

            # Until each has been answered once
            while not all(source.arrived for source in sources):
                children.check()
                if time.monotonic() > end:
                    raise RuntimeError("the node did not answer")
                play(executor, sources, 1.0)
            play(executor, sources, args.seconds)
            memory = memory_mb(children.pid("node"))
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown()

    rows = {name: source.figures(args.seconds) for name, source in zip(names, sources, strict=True)}
    return memory | {"cameras": rows}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cameras", nargs="+", type=int, default=[1, 4], metavar="N")
    parser.add_argument("--hz", nargs="+", type=float, default=[30.0], metavar="HZ")
    parser.add_argument("--weights", default="full", metavar="W")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:n (default cpu)")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S")
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures here as well")
    args = parser.parse_args()
    PoseEstimator(EstimatorConfig(weights=args.weights, device=args.device))

    results = {}
    for count in args.cameras:
        with tempfile.TemporaryDirectory() as logs:
            row = measure(count, args.hz, args, Path(logs))
        results[f"{count} cameras"] = row
        print(f"{count} cameras: {row['memory MB']:.0f} MB, peak {row['peak MB']:.0f} MB")
        for name, figures in row["cameras"].items():
            print(f"  {name}: " + ", ".join(f"{k} {v:.1f}" for k, v in figures.items()), flush=True)

    if args.json:
        write_json(args.json, results)

    return 0


if __name__ == "__main__":
    sys.exit(main())
