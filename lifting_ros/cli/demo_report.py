# SPDX-License-Identifier: Apache-2.0
"""The demo's results: a table and a picture, made from the camera's report and the recorded bag."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lifting_ros.cli.overlay_writer import SheetFrame, chosen, write_sheet
from lifting_ros.io.bag_poses import BagPoses, joint_shares, read_bag
from lifting_ros.io.pose_table import PoseFrame
from lifting_ros.types import JointStatus


@dataclass(frozen=True)
class SentFrame:
    """A line of the camera's report."""

    index: int
    stamp_ns: int
    sent_s: float
    """Monotonic time."""
    seconds: float | None
    """From sending the image to receiving its answer; None without one."""
    kept: bool
    """Whether its image was kept, as STAMP.jpg."""


def read_report(path: Path) -> list[SentFrame]:
    """The images that were sent; none where there is no report."""
    return [SentFrame(**line) for line in _lines(path) if "lost" not in line]


def read_losses(path: Path) -> str:
    """What of the source did not come, in words; empty where all came."""
    return "".join(line["lost"] for line in _lines(path) if "lost" in line)


def _lines(path: Path) -> list[dict]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines]


def write_report(report: Path, bag: Path, picture: Path, limit_fps: float, peak_mb: float) -> bool:
    """Print the table and write the picture; False where no image was answered.

    report: the camera's, with the kept images beside it; limit_fps: the highest rate; peak_mb: the
    node's peak memory.
    """
    sent = read_report(report)
    poses = read_bag(bag)
    by_stamp = {frame.stamp_ns: frame for frame in poses.frames}
    answered = [frame for frame in sent if frame.stamp_ns in by_stamp]
    if not answered:
        return False

    draw(answered, by_stamp, report.parent, picture)
    foreign = len(by_stamp) - len(answered)
    stamps = "each with the stamp of its image"
    if foreign:
        stamps = f"and {foreign} with a stamp that no image had"

    lost = read_losses(report)
    rows = {
        "frames sent": f"{len(sent)}",
        **({"lost": lost} if lost else {}),
        "frames answered": f"{len(answered)}, {stamps}",
        "frames with a person": f"{len(poses.occupied)}",
        **speed_rows(sent, limit_fps),
        **pose_rows(poses),
        "node's peak memory": f"{peak_mb:.0f} MB",
        "bag": str(bag),
        "picture": str(picture),
    }
    print("\n" + table(rows))
    return True


def speed_rows(sent: list[SentFrame], limit_fps: float) -> dict[str, str]:
    """Rate and latency."""
    seconds = np.array([frame.seconds for frame in sent if frame.seconds is not None])
    if not len(seconds):
        return {"rate": "not measured: the camera received no answer"}

    end_s = sent[-1].sent_s + (sent[-1].seconds or 0)
    rate = len(seconds) / (end_s - sent[0].sent_s)
    p50_ms, p99_ms = 1000 * np.percentile(seconds, [50, 99])
    return {
        "rate": f"{rate:.1f} frames/s (at most {limit_fps:g} were asked for)",
        "latency p50, p99": f"{p50_ms:.0f} ms, {p99_ms:.0f} ms, from publishing an image to"
        " receiving its skeletons",
    }


def pose_rows(poses: BagPoses) -> dict[str, str]:
    """Shares of the joints by status, and the messages in the bag."""
    persons = sum(len(frame.persons) for frame in poses.frames)
    joints = "none"
    if persons:
        shares = joint_shares(poses.frames)
        observed = f"{shares[JointStatus.OBSERVED]:.0%} observed"
        inferred = f"{shares[JointStatus.INFERRED]:.0%} inferred by the prior"
        joints = f"{observed}, {inferred} ({persons} skeletons)"

    messages = [f"{topic} {count}" for topic, count in sorted(poses.messages.items())]
    return {"joints": joints, "messages": ", ".join(messages)}


def table(rows: dict[str, str]) -> str:
    """Two aligned columns."""
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def draw(
    answered: list[SentFrame], by_stamp: dict[int, PoseFrame], images: Path, picture: Path
) -> None:
    """Write a contact sheet of some of the images that were kept."""
    kept = [frame for frame in answered if frame.kept]
    if not kept:
        return

    persons = [by_stamp[frame.stamp_ns].persons for frame in kept]
    frames = []
    for k in chosen(persons):
        image = cv2.imread(str(images / f"{kept[k].stamp_ns}.jpg"))[..., ::-1]
        frames.append(SheetFrame(kept[k].index, image, persons[k]))

    write_sheet(picture, frames)
