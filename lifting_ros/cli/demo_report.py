# SPDX-License-Identifier: Apache-2.0
"""What the demo shows at its end: a table and a picture, made from the camera's report and the
recorded bag."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lifting_ros.cli.overlay_writer import chosen, write_sheet
from lifting_ros.io.bag_poses import BagFrame, BagPoses, joint_shares, read_bag
from lifting_ros.types import JointStatus


@dataclass(frozen=True)
class SentFrame:
    """A line of the camera's report."""

    index: int
    stamp_ns: int
    sent_s: float
    """Monotonic time."""
    seconds: float | None
    """Until the answer was received; None without one."""
    kept: bool
    """Whether its image is there as STAMP.jpg."""


def read_report(path: Path) -> list[SentFrame]:
    """One for each image that was sent."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [SentFrame(**json.loads(line)) for line in lines]


def write_report(report: Path, bag: Path, picture: Path, limit_fps: float, peak_mb: float) -> bool:
    """Print the table, write the picture; False where no image was answered. The kept images lie
    beside `report`."""
    sent, poses = read_report(report), read_bag(bag)
    by_stamp = {frame.stamp_ns: frame for frame in poses.frames}
    answered = [frame for frame in sent if frame.stamp_ns in by_stamp]
    if not answered:
        return False
    draw(answered, by_stamp, report.parent, picture)
    foreign = len(by_stamp) - len(answered)
    right = (
        "each with the stamp of its image"
        if not foreign
        else f"and {foreign} with a stamp that no image had"
    )
    rows = {
        "frames sent": f"{len(sent)}",
        "frames answered": f"{len(answered)}, {right}",
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
        return {"rate": "not measured: the camera heard no answer"}
    duration = sent[-1].sent_s + (sent[-1].seconds or 0) - sent[0].sent_s
    p50, p99 = 1000 * np.percentile(seconds, [50, 99])
    return {
        "rate": f"{len(seconds) / duration:.1f} frames/s (at most {limit_fps:g} were asked for)",
        "latency p50, p99": f"{p50:.0f} ms, {p99:.0f} ms, from publishing an image to receiving its skeletons",
    }


def pose_rows(poses: BagPoses) -> dict[str, str]:
    """What was seen, and what the bag holds."""
    shares = joint_shares(poses.frames)
    persons = sum(len(frame.persons) for frame in poses.frames)
    joints = f"{shares[JointStatus.OBSERVED]:.0%} observed, {shares[JointStatus.INFERRED]:.0%} inferred by the prior"
    return {
        "joints": f"{joints} ({persons} skeletons)" if persons else "none",
        "messages": ", ".join(
            f"{topic} {count}" for topic, count in sorted(poses.messages.items())
        ),
    }


def table(rows: dict[str, str]) -> str:
    """Two aligned columns."""
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def draw(
    answered: list[SentFrame], by_stamp: dict[int, BagFrame], images: Path, picture: Path
) -> None:
    """Contact sheet of some of the images that were kept."""
    kept = [
        (frame.index, frame.stamp_ns, by_stamp[frame.stamp_ns].persons)
        for frame in answered
        if frame.kept
    ]
    if kept:
        frames = [
            (i, cv2.imread(str(images / f"{stamp}.jpg"))[..., ::-1], found)
            for i, stamp, found in chosen(kept)
        ]
        write_sheet(picture, frames)
