# SPDX-License-Identifier: Apache-2.0
"""The node against the bare estimator on the same frames: age of what it publishes, drops, and what
ROS adds.

This process is the camera and the listener, the node is another; they talk over real topics. A row
is a size of image, a transport and a reliability, and three speeds: `paced`, so slow that an answer
waits for no other; `30 Hz`, a camera's; and `fast`, 30 images a second or twice the estimator's
rate, whichever is more, where the age must stay bounded. Age: from the image's stamp, set when it
is published, to the arrival of the skeletons here. Bare: decoding and `PoseEstimator.estimate` in
this process, with one thread as the node has. `added` is the median over the images of the node's
age less the bare time of the same image at the same pace, before and after, for caches go cold
between images; `over` is its share of the bare time. `ROS alone` is the age of the answers of a
node that does no work (bench/echo.py). `fast p99 / bare mean` and `fast p99 / bare p99` compare
with the estimator that does not pause: an image takes two to three times as long where persons get
a second look. `in node`, `track` and `publish` are means from /diagnostics at `paced`. `cpu` is CPU
time of the whole process for an image: it says something on a busy machine, too. --json FILE writes
the figures.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifting_ros.msg import Skeleton3DArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from tqdm import tqdm

from lifting_ros.cli.files import write_json
from lifting_ros.cli.processes import Children
from lifting_ros.device import use_threads
from lifting_ros.estimator import EstimatorConfig, PoseEstimator
from lifting_ros.ros.calibration import camera_info_to_camera
from lifting_ros.ros.camera_yaml import guessed_info
from lifting_ros.ros.conversions import array_to_image, message_to_rgb
from lifting_ros.ros.inputs import stamp_ns

HERE = Path(__file__).parent
CLIP = HERE.parent / "lifting_ros" / "demo" / "walk_and_sit.mp4"
SIZES = {"640x480": (640, 480), "1920x1080": (1920, 1080)}
CAMERA_HZ = 30.0
FIRST_ANSWER_S = 180.0
LAST_ANSWER_S = 2.0


def clip_frames(
    size: tuple[int, int], count: int, compressed: bool
) -> list[Image | CompressedImage]:
    """Messages of `count` frames of the demo clip in `size` (W, H), padded with grey."""
    capture = cv2.VideoCapture(str(CLIP))
    frames = []

    while len(frames) < count:
        there, frame = capture.read()
        if not there:
            capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            continue

        scale = min(size[0] / frame.shape[1], size[1] / frame.shape[0])
        small = cv2.resize(frame, None, fx=scale, fy=scale)
        picture = np.full((size[1], size[0], 3), 128, np.uint8)
        picture[: small.shape[0], : small.shape[1]] = small[: size[1], : size[0]]

        if compressed:
            frames.append(
                CompressedImage(format="jpeg", data=cv2.imencode(".jpg", picture)[1].tobytes())
            )
        else:
            frames.append(array_to_image(picture, "bgr8", Header()))

    return frames


class Camera:
    """Publishes messages at a rate, and hears when each is answered."""

    def __init__(self, kind: type, size: tuple[int, int], reliable: bool):
        rclpy.init()
        self.node = Node("bench")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        qos = QoSProfile(
            depth=10,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        )
        self._images = self.node.create_publisher(
            kind, "image/compressed" if kind is CompressedImage else "image", qos
        )
        self._infos = self.node.create_publisher(CameraInfo, "camera_info", qos)
        self._info = guessed_info(*size)
        self._arrived = {}
        self.node.create_subscription(Skeleton3DArray, "/lifting/skeletons_3d", self._on_answer, 50)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._told: list[dict[str, str]] = []

    def _on_answer(self, message: Skeleton3DArray) -> None:
        self._arrived[stamp_ns(message)] = self.node.get_clock().now().nanoseconds

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self._told += [
            {value.key: value.value for value in status.values} for status in message.status
        ]

    def step_ms(self, *steps: str) -> float:
        """Mean over what /diagnostics said since the last `play` began, summed over steps; NaN
        where it said nothing."""
        said = [[told.get(f"{step} [ms]", "-") for step in steps] for told in self._told]
        return float(np.mean([sum(map(float, row)) for row in said if "-" not in row] or [np.nan]))

    def wait(self, children: Children, infos: bool = True) -> None:
        """Until the node is subscribed to the images, and to camera_info."""
        end = time.monotonic() + FIRST_ANSWER_S
        while not (
            self._images.get_subscription_count()
            and (self._infos.get_subscription_count() or not infos)
        ):
            children.check()
            if time.monotonic() > end:
                raise RuntimeError("the node did not subscribe")
            self._executor.spin_once(timeout_sec=0.1)

    def wait_alone(self) -> None:
        """Until nobody is subscribed."""
        while self._images.get_subscription_count():
            self._executor.spin_once(timeout_sec=0.1)

    def play(self, messages: list, hz: float) -> tuple[np.ndarray, float]:
        """Ages in seconds (NaN: not answered); seconds from the first to the last answer."""
        self._arrived.clear()
        self._told.clear()
        sent = []
        start = time.monotonic()

        for n, message in enumerate(messages):
            self._spin_until(start + n / hz)
            now = self.node.get_clock().now()
            message.header.stamp, message.header.frame_id = now.to_msg(), "camera"
            self._info.header = message.header
            self._infos.publish(self._info)
            self._images.publish(message)
            sent.append(now.nanoseconds)

        self._spin_until(time.monotonic() + LAST_ANSWER_S)
        ages = np.array([self._arrived.get(stamp, np.nan) - stamp for stamp in sent]) / 1e9
        if np.isfinite(ages).sum() < 2:
            raise RuntimeError(f"of {len(sent)} images the node answered {np.isfinite(ages).sum()}")

        return ages, (max(self._arrived.values()) - min(self._arrived.values())) / 1e9

    def _spin_until(self, due: float) -> None:
        while (left := due - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown()


def bare_seconds(estimator: PoseEstimator, messages: list, hz: float = np.inf) -> np.ndarray:
    """Decoding and estimation of each message in this process, at most `hz` of them a second."""
    seconds = []
    begun = time.monotonic()

    for n, message in enumerate(messages):
        time.sleep(max(0.0, begun + n / hz - time.monotonic()))
        start = time.perf_counter()
        image = message_to_rgb(message)
        estimator.estimate(
            image, camera_info_to_camera(guessed_info(*image.shape[1::-1]), *image.shape[1::-1])
        )
        seconds.append(time.perf_counter() - start)

    return np.array(seconds)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(
    estimator: PoseEstimator,
    size: tuple[int, int],
    compressed: bool,
    reliable: bool,
    count: int,
    logs: Path,
) -> dict:
    """One row; times in seconds."""
    messages = clip_frames(size, count, compressed)
    bare_seconds(estimator, messages[:5])
    cpu = time.process_time()
    bare = bare_seconds(estimator, messages)
    cpu = (time.process_time() - cpu) / count
    slow = float(np.percentile(bare, 99))
    pace = 0.7 / slow
    flood_hz = max(CAMERA_HZ, 2.0 / float(np.median(bare)))
    before = bare_seconds(estimator, messages, pace)
    camera = Camera(CompressedImage if compressed else Image, size, reliable)

    try:
        with Children(
            logs, {"PYTHONPATH": os.pathsep.join((str(HERE), os.environ.get("PYTHONPATH", "")))}
        ) as children:
            children.start("echo", "echo")
            camera.wait(children, infos=False)
            camera.play(messages[:20], 5.0)
            alone = np.nanmedian(camera.play(messages[:60], pace)[0])
            children.stop("echo")
            camera.wait_alone()
            transport = "compressed" if compressed else "raw"
            children.start(
                "node",
                "lifting_ros.ros.node",
                "--ros-args",
                "-p",
                f"image_transport:={transport}",
                "-p",
                "threads:=1",
                "-p",
                "detector.every:=1",  # as the bare estimator, which knows of no stream
            )
            camera.wait(children)
            camera.play(messages[:20], 5.0)
            start = cpu_seconds(children.pid("node"))
            paced, _ = camera.play(messages, pace)
            node_cpu = (cpu_seconds(children.pid("node")) - start) / np.isfinite(paced).sum()
            steps = [
                camera.step_ms("convert", "detect", "network", "lift"),
                camera.step_ms("track"),
                camera.step_ms("publish"),
            ]
            live, _ = camera.play(messages, CAMERA_HZ)
            flood, spread = camera.play(messages, flood_hz)
    finally:
        camera.close()

    at_pace = (before + bare_seconds(estimator, messages, pace)) / 2
    added = float(np.nanmedian(paced - at_pace))
    row = {
        "bare p50": np.median(bare),
        "bare p99": slow,
        "bare mean": bare.mean(),
        "bare paced": np.median(at_pace),
    }
    row |= {"added": added, "over": added / np.median(at_pace), "ROS alone": alone}
    row |= dict(zip(("in node", "track", "publish"), np.array(steps) / 1e3)) | {
        "bare cpu": cpu,
        "node cpu": node_cpu,
    }

    for name, ages in (("paced", paced), ("30 Hz", live), ("fast", flood)):
        row |= {f"{name} p{share}": np.nanpercentile(ages, share) for share in (50, 99)} | {
            f"{name} lost": np.isnan(ages).mean()
        }

    row |= {f"fast p99 / {name}": row["fast p99"] / row[name] for name in ("bare mean", "bare p99")}
    row |= {"fast rate": (np.isfinite(flood).sum() - 1) / spread, "bare rate": 1 / bare.mean()}

    return {name: float(value) for name, value in row.items()}


def combinations(quick: bool) -> Iterator[tuple[str, bool, bool]]:
    """Size, compressed, reliable."""
    yield from list(product(SIZES, (False, True), (False, True)))[: 1 if quick else None]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--frames",
        type=int,
        default=185,
        metavar="N",
        help="images of a row and speed (default 185: the clip)",
    )
    parser.add_argument("--quick", action="store_true", help="the first row alone")
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures here as well")
    args = parser.parse_args()
    use_threads(1)
    estimator = PoseEstimator(EstimatorConfig(threads=1))
    rows = {}

    with tempfile.TemporaryDirectory() as logs:
        for size, compressed, reliable in tqdm(list(combinations(args.quick)), unit="row"):
            name = (
                f"{size} {'compressed' if compressed else 'raw'} "
                f"{'reliable' if reliable else 'best effort'}"
            )
            rows[name] = measure(
                estimator, SIZES[size], compressed, reliable, args.frames, Path(logs)
            )

    print("\nms, but for shares (lost, over, /) and rates")

    for figure in next(iter(rows.values())):
        plain = any(word in figure for word in ("lost", "over", "/", "rate"))
        print(
            f"{figure:20}"
            + "".join(
                f"{row[figure] if plain else 1e3 * row[figure]:12.3f}" for row in rows.values()
            )
        )

    print(f"{'':20}" + "".join(f"{number:>12}" for number in range(1, 1 + len(rows))))
    print("\n".join(f"{number}: {name}" for number, name in enumerate(rows, start=1)))

    if args.json:
        write_json(args.json, rows)

    return 0


if __name__ == "__main__":
    sys.exit(main())
