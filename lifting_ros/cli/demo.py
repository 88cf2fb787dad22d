# SPDX-License-Identifier: Apache-2.0
"""See the whole chain at work: camera replay, node and recorder run as processes that talk over ROS
2 topics.

The camera sends the next image when its time has come and the last one is answered. Ends with a
table, a bag of poses (rosbag2, MCAP) and a picture: 2D skeletons on the image beside 3D skeletons
with their uncertainty. Without --video: the rendered clip that ships.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

TOPICS = (
    "/lifting/skeletons_2d",
    "/lifting/skeletons_3d",
    "/lifting/markers",
    "/lifting/info",
    "/camera_info",
)
CLIP = Path(__file__).parents[1] / "demo" / "walk_and_sit.mp4"
_LONG_SIDE_PX = 1280
_LIVE_FRAMES = 300
_KEPT_IMAGES = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--video",
        default="",
        metavar="SOURCE",
        help="video, folder of images or device (0, /dev/video0)",
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
        help=f"end after N (all; a device: {_LIVE_FRAMES})",
    )
    parser.add_argument(
        "--fps", type=float, default=0.0, metavar="F", help="at most F frames/s (the source's rate)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/demo"),
        metavar="DIR",
        help="results (default out/demo)",
    )
    parser.add_argument(
        "--device", default="auto", help="where the network runs: auto, cpu, cuda or cuda:n (auto)"
    )


@dataclass(frozen=True)
class Plan:
    """What is to be played, and where things go."""

    source: str
    camera_yaml: str
    """Empty: the camera is guessed."""
    frames: int
    """0: all there are."""
    total: int | None
    """Frames to come, None where that is not known."""
    fps: float
    """The rate that is not exceeded."""
    live: bool
    device: str
    out: Path
    work: Path
    """Report and kept images; gone at the end."""

    @property
    def bag(self) -> Path:
        return self.out / "bag"

    @property
    def report(self) -> Path:
        return self.work / "report.jsonl"

    @property
    def keep_every(self) -> int:
        """Few enough images are kept for any length."""
        return -(-(self.total or 30 * _KEPT_IMAGES) // _KEPT_IMAGES)


def run(args: argparse.Namespace) -> int:
    import signal
    import tempfile

    check_ros()
    signal.signal(signal.SIGTERM, _interrupt)
    with tempfile.TemporaryDirectory(prefix="lifting_demo_") as work:
        plan = make_plan(args, Path(work))
        clear(plan)
        announce(plan)
        from lifting_ros.cli.demo_report import write_report
        from lifting_ros.cli.processes import ChildDied

        try:
            peak_mb = play(plan)
        except ChildDied as error:
            print(f"lifting demo: {error}", file=sys.stderr)
            return 1
        if write_report(plan.report, plan.bag, plan.out / "overlay.png", plan.fps, peak_mb):
            return 0
        print(
            f"lifting demo: no image was answered; the logs are in {plan.out / 'log'}",
            file=sys.stderr,
        )
        return 1


def _interrupt(*_) -> None:
    raise KeyboardInterrupt


def check_ros() -> None:
    """CommandError in one line where ROS 2 or the messages of this package are not importable."""
    from importlib.util import find_spec

    from lifting_ros.cli.main import CommandError

    for module, what in (
        ("rclpy", "ROS 2 (rclpy)"),
        ("lifting_ros.msg", "the messages of lifting_ros"),
    ):
        if find_spec(module) is None:
            raise CommandError(
                f"{what} cannot be imported: run `make demo`, or source a ROS 2 workspace with this package"
            )


def make_plan(args: argparse.Namespace, work: Path) -> Plan:
    """The plan, with everything checked that can be before a process starts; CommandError in one
    line."""
    import math

    from lifting_ros.cli.main import CommandError
    from lifting_ros.cli.source import open_source, read_camera

    if args.frames < 0:
        raise CommandError(f"--frames: expected 0 or more, got {args.frames}")
    if not (math.isfinite(args.fps) and 0 <= args.fps <= 1000):
        raise CommandError(f"--fps: expected 0 to 1000, got {args.fps}")
    source = open_source(args.video or str(CLIP))
    camera = args.camera or ("" if args.video else str(CLIP.with_suffix(".yaml")))
    if camera:
        height, width = next(source.frames()).shape[:2]
        read_camera(camera, width, height)
    frames = args.frames or (_LIVE_FRAMES if source.live else 0)
    return Plan(
        source=source.name if source.live else str(Path(source.name).absolute()),
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
    """Make the folder for the results and remove those of the last time, but nothing that the demo
    did not make."""
    import shutil

    from lifting_ros.cli.main import CommandError

    if plan.bag.exists() and not (plan.bag / "metadata.yaml").is_file():
        raise CommandError(f"{plan.bag}: exists and is not a bag; choose another --out")
    (plan.out / "log").mkdir(parents=True, exist_ok=True)
    shutil.rmtree(plan.bag, ignore_errors=True)
    (plan.out / "overlay.png").unlink(missing_ok=True)


def announce(plan: Plan) -> None:
    """Say what is going to happen."""
    length = f"{plan.total} frames" if plan.total else "all frames"
    print(f"source   {plan.source}, {length}, at most {plan.fps:g} a second")
    guess = "not known, so GUESSED (focal length 1.1 long sides): metres are as good as that; --camera takes a calibration"
    print(f"camera   {plan.camera_yaml or guess}", flush=True)


def environment() -> dict[str, str]:
    """ROS 2 on this machine alone, in a domain of its own unless one is set, with shared memory for
    whole images."""
    import os

    from lifting_ros.paths import share_file

    return {
        "ROS_DOMAIN_ID": os.environ.get("ROS_DOMAIN_ID") or str(1 + os.getpid() % 100),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "FASTDDS_DEFAULT_PROFILES_FILE": str(share_file("config/fastdds_shm.xml")),
        "PYTHONUNBUFFERED": "1",
    }


def parameters(values: dict[str, object]) -> list[str]:
    """ROS arguments that set parameters; values are written as JSON, which YAML contains."""
    return [
        part for name, value in values.items() for part in ("-p", f"{name}:={json.dumps(value)}")
    ]


def node_arguments(plan: Plan) -> list[str]:
    """Reliable topics and a queue: the demo shows every image answered."""
    from lifting_ros.paths import share_file

    values = {"device": plan.device, "qos.reliability": "reliable", "qos.depth": 10, "queue": 10}
    return [
        "--ros-args",
        "--params-file",
        str(share_file("config/lifting.yaml")),
        *parameters(values),
    ]


def camera_arguments(plan: Plan) -> list[str]:
    """The recorder is the one other listener that the camera waits for."""
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
    """Run the three processes until the source ends; the node's peak memory in MB. ChildDied where
    one fails."""
    from lifting_ros.cli.processes import Children

    env = environment()
    print(f"domain   ROS_DOMAIN_ID={env['ROS_DOMAIN_ID']}", flush=True)
    with Children(plan.out / "log", env) as children:
        children.start(
            "recorder", "lifting_ros.ros.recorder", "--out", str(plan.bag.absolute()), *TOPICS
        )
        children.start("node", "lifting_ros.ros.node", *node_arguments(plan))
        children.start("camera", "lifting_ros.ros.demo_camera", *camera_arguments(plan))
        try:
            follow(children, plan)
        except KeyboardInterrupt:
            if not plan.live:
                raise
        for name in ("camera", "recorder", "node"):
            children.stop(name)
    return children.peak_mb("node")


def follow(children, plan: Plan) -> None:
    """Show the progress until the camera has ended."""
    import time

    from tqdm import tqdm

    quiet = 0.1 if sys.stderr.isatty() else 5.0
    with tqdm(total=plan.total, desc="starting", unit="frame", mininterval=quiet) as bar:
        while children.is_running("camera"):
            children.check("camera")
            _advance(bar, plan.report)
            time.sleep(0.1)
        children.check("camera")
        _advance(bar, plan.report)


def _advance(bar, report: Path) -> None:
    count = report.read_bytes().count(b"\n") if report.exists() else 0
    if count and not bar.n:
        bar.set_description("playing", refresh=False)
        bar.unpause()  # the rate counts from the first answer, not from the start of the processes
    if count > bar.n:
        bar.update(count - bar.n)
    elif sys.stderr.isatty():
        bar.refresh()
