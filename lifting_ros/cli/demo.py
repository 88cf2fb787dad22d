# SPDX-License-Identifier: Apache-2.0
"""Run the whole chain: camera replay, node and recorder are processes that talk over ROS 2 topics.

The camera sends an image when it is due and the one before is answered. At the end there are a
table, a bag of poses (rosbag2, MCAP) and a picture: 2D skeletons on the image beside 3D skeletons
with their uncertainty. Without --video: the rendered clip that ships.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lifting_ros.cli.errors import CommandError
from lifting_ros.cli.options import add_device, require_at_least

if TYPE_CHECKING:
    from lifting_ros.cli.processes import Children
    from lifting_ros.io.progress import Progress

TOPICS = (
    "/lifting/skeletons_2d",
    "/lifting/skeletons_3d",
    "/lifting/markers",
    "/lifting/info",
    "/camera_info",
)
"""What is recorded."""
CLIP = Path(__file__).parents[1] / "demo" / "walk_and_sit.mp4"
"""The video that ships."""
_LONG_SIDE_PX = 1280
"""Larger images are scaled down to this."""
_LIVE_FRAMES = 300
"""Frames that are taken from a device."""
_KEPT_IMAGES = 120
"""Images that are kept for the picture, about."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--video",
        default="",
        metavar="SOURCE",
        help="video, folder of images, device (0, /dev/video0) or stream (rtsp://..., http://...)",
    )
    parser.add_argument(
        "--camera",
        default="",
        metavar="CAMERA.yaml",
        help="its calibration (camera_calibration's YAML)",
    )

    parser.add_argument(
        "--frames",
        type=int,
        default=0,
        metavar="N",
        help=f"end after N (default: all; of a device {_LIVE_FRAMES})",
    )
    parser.add_argument(
        "--fps",
        type=float,
        default=0.0,
        metavar="F",
        help="at most F frames/s (default: the source's rate)",
    )

    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/demo"),
        metavar="DIR",
        help="results (default out/demo)",
    )
    add_device(parser)


@dataclass(frozen=True)
class Plan:
    """What is played, and where the results go."""

    source: str
    camera_yaml: str
    """Empty: the camera is guessed."""
    frames: int
    """0: all there are."""
    total: int | None
    """Frames to come; None where that is not known."""
    fps: float
    """The highest rate."""
    live: bool
    device: str
    out: Path
    work: Path
    """Temporary folder of the report and the kept images."""

    @property
    def bag(self) -> Path:
        return self.out / "bag"

    @property
    def report(self) -> Path:
        return self.work / "report.jsonl"

    @property
    def keep_every(self) -> int:
        """Every how many images one is kept, so that they are few for any length."""
        total = self.total or 30 * _KEPT_IMAGES
        return -(-total // _KEPT_IMAGES)


def run(args: argparse.Namespace) -> int:
    import signal
    import tempfile

    from lifting_ros.cli.demo_report import write_report
    from lifting_ros.cli.processes import ChildDied

    check_ros()
    signal.signal(signal.SIGTERM, _interrupt)
    with tempfile.TemporaryDirectory(prefix="lifting_demo_") as work:
        plan = make_plan(args, Path(work))
        clear(plan)
        announce(plan)
        try:
            peak_mb = play(plan)
        except ChildDied as error:
            print(f"lifting demo: {error}", file=sys.stderr)
            return 1

        if write_report(plan.report, plan.bag, plan.out / "overlay.png", plan.fps, peak_mb):
            return 0
        logs = plan.out / "log"
        print(f"lifting demo: no image was answered; the logs are in {logs}", file=sys.stderr)
        return 1


def _interrupt(*_) -> None:
    raise KeyboardInterrupt


def check_ros() -> None:
    """Raise CommandError where ROS 2 or the messages of this package cannot be imported."""
    from importlib.util import find_spec

    needed = {"rclpy": "ROS 2 (rclpy)", "lifting_ros.msg": "the messages of lifting_ros"}
    for module, name in needed.items():
        if find_spec(module) is None:
            raise CommandError(
                f"{name} cannot be imported: run `make demo`, or source a ROS 2 workspace with this"
                " package"
            )


def make_plan(args: argparse.Namespace, work: Path) -> Plan:
    """The plan; LiftingError for everything that can be checked before a process starts."""
    import math

    from lifting_ros.cli.estimate import cameras_of
    from lifting_ros.io.images import open_source

    require_at_least("--frames", args.frames, 0)
    if not (math.isfinite(args.fps) and 0 <= args.fps <= 1000):
        raise CommandError(f"--fps: expected 0 to 1000, got {args.fps}")

    source = open_source(args.video or str(CLIP))
    camera = args.camera
    if not camera and not args.video:
        camera = str(CLIP.with_suffix(".yaml"))

    cameras_of(source, camera)

    path = Path(source.name)
    frames = args.frames
    if not frames and source.live:
        frames = _LIVE_FRAMES
    return Plan(
        source=str(path.absolute()) if path.exists() else source.name,
        camera_yaml=str(Path(camera).absolute()) if camera else "",
        frames=frames,
        total=min(filter(None, (frames, source.count)), default=None),
        fps=args.fps or source.fps,
        live=source.live,
        device=args.device,
        out=args.out,
        work=work,
    )


def clear(plan: Plan) -> None:
    """Make the folder for the results, and remove those of the last run of the demo alone."""
    import shutil

    if plan.bag.exists() and not (plan.bag / "metadata.yaml").is_file():
        raise CommandError(f"{plan.bag}: exists and is not a bag; choose another --out")
    (plan.out / "log").mkdir(parents=True, exist_ok=True)
    shutil.rmtree(plan.bag, ignore_errors=True)
    (plan.out / "overlay.png").unlink(missing_ok=True)


def announce(plan: Plan) -> None:
    """Print what is going to be played."""
    length = f"{plan.total} frames" if plan.total else "all frames"
    print(f"source   {plan.source}, {length}, at most {plan.fps:g} per second")

    guess = (
        "not known, so GUESSED (focal length 1.1 long sides): metres are as good as that;"
        " --camera takes a calibration"
    )
    print(f"camera   {plan.camera_yaml or guess}", flush=True)


def environment() -> dict[str, str]:
    """Variables for ROS 2 on this machine alone: a domain of its own unless one is set, and shared
    memory that holds whole images."""
    import os

    from lifting_ros.paths import share_file

    profile = str(share_file("config/fastdds_shm.xml"))
    return {
        "ROS_DOMAIN_ID": os.environ.get("ROS_DOMAIN_ID") or str(1 + os.getpid() % 100),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "FASTRTPS_DEFAULT_PROFILES_FILE": profile,  # Fast DDS 2
        "FASTDDS_DEFAULT_PROFILES_FILE": profile,  # Fast DDS 3
        "PYTHONUNBUFFERED": "1",
    }


def parameters(values: dict[str, object]) -> list[str]:
    """ROS arguments that set parameters; values are written as JSON, a subset of YAML."""
    arguments = []
    for name, value in values.items():
        arguments += ["-p", f"{name}:={json.dumps(value)}"]
    return arguments


def node_arguments(plan: Plan) -> list[str]:
    """Arguments of the node: reliable topics and a queue, so that every image is answered."""
    from lifting_ros.paths import share_file

    values = {
        "device": plan.device,
        "early_2d": False,
        "qos.reliability": "reliable",
        "qos.depth": 10,
        "queue": 10,
    }
    return [
        "--ros-args",
        "--params-file",
        str(share_file("config/lifting.yaml")),
        *parameters(values),
    ]


def camera_arguments(plan: Plan) -> list[str]:
    """Arguments of the camera; besides the node it waits for one listener, the recorder."""
    values = {
        "source": plan.source,
        "camera_yaml": plan.camera_yaml,
        "guess_camera": not plan.camera_yaml,
        "fps": plan.fps,
        "max_frames": plan.frames,
        "max_width": _LONG_SIDE_PX,
        "max_height": _LONG_SIDE_PX,
    }
    kept = ("--keep", str(plan.work), "--keep-every", str(plan.keep_every))
    answers = ("--answers", "/lifting/skeletons_3d", "--listeners", "1")
    return [*answers, "--report", str(plan.report), *kept, "--ros-args", *parameters(values)]


def play(plan: Plan) -> float:
    """Run the three processes until the source ends, and return the node's peak memory in MB.

    ChildDied where one of them fails.
    """
    from lifting_ros.cli.processes import Children

    env = environment()
    print(f"domain   ROS_DOMAIN_ID={env['ROS_DOMAIN_ID']}", flush=True)
    bag = str(plan.bag.absolute())

    with Children(plan.out / "log", env) as children:
        children.start("recorder", "lifting_ros.ros.recorder", "--out", bag, *TOPICS)
        children.start("node", "lifting_ros.ros.node", *node_arguments(plan))
        children.start("camera", "lifting_ros.ros.demo_camera", *camera_arguments(plan))
        try:
            wait_for_camera(children, plan)
        except KeyboardInterrupt:
            if not plan.live:
                raise
        for name in ("camera", "recorder", "node"):
            children.stop(name)
    return children.peak_mb("node")


def wait_for_camera(children: Children, plan: Plan) -> None:
    """Show the progress until the camera has ended."""
    import time

    from lifting_ros.io.progress import Progress

    with Progress(total=plan.total, desc="starting", unit="frame") as bar:
        while children.is_running("camera"):
            children.check("camera")
            _advance(bar, plan.report)
            time.sleep(0.1)
        children.check("camera")
        _advance(bar, plan.report)


def _advance(bar: Progress, report: Path) -> None:
    """Move the bar to the number of images that the camera has reported."""
    count = report.read_bytes().count(b"\n") if report.exists() else 0
    if count and not bar.n:
        bar.set_description("playing", refresh=False)
        bar.unpause()  # the rate counts from the first answer, not from the start of the processes

    if count > bar.n:
        bar.update(count - bar.n)
    elif sys.stderr.isatty():
        bar.refresh()
