# SPDX-License-Identifier: Apache-2.0
"""A replay that waits for the answer to each image, measures the delay, and saves some images."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import rclpy
from rclpy.utilities import remove_ros_args

from lifting_ros.msg import Skeleton3DArray
from lifting_ros.ros.conversions import header_ns
from lifting_ros.ros.replay import Replay, limited
from lifting_ros.ros.runtime import SIGNAL_LATENCY_S, run, should_run

_ANSWER_WITHIN_S = 10.0
_SETTLE_S = 0.5


class DemoCamera(Replay):
    """A `Replay` that publishes the next image when it is due and the last one has been answered.

    Writes a line of JSON for each image to `report`: index, stamp_ns, seconds from publishing the
    image to having received the skeletons with its stamp (null after ten seconds without), and
    whether it was kept, as STAMP.jpg. A last line has the text of the losses, if there are any.
    """

    def __init__(
        self,
        answers: str,
        listeners: int,
        report: Path,
        keep: Path,
        keep_every: int,
        **node_options,
    ):
        super().__init__(**node_options)
        self._listeners = listeners

        self._keep = keep
        self._keep_every = keep_every
        self._report = report.open("w", encoding="utf-8")

        self._answered: dict[int, float] = {}
        self._answers = self.create_subscription(Skeleton3DArray, answers, self._on_answer, 10)

    def _on_answer(self, message: Skeleton3DArray) -> None:
        self._answered[header_ns(message.header)] = time.monotonic()

    def play(self) -> None:
        """Wait until the answers have a publisher, and the listeners have subscribed to them and to
        `camera_info`; then play."""
        topic = self._answers.topic_name
        wanted = self._listeners + 1
        while (
            self.count_publishers(topic) < 1
            or self.count_subscribers(topic) < wanted
            or self._infos.get_subscription_count() < wanted
        ):
            self._spin_until(time.monotonic() + 0.05)

        self._spin_until(time.monotonic() + _SETTLE_S)  # seen is not yet connected
        super().play()

    def _publish(self, frame: np.ndarray, stamp_ns: int, name: str) -> None:
        index = self.published
        sent = time.monotonic()
        super()._publish(frame, stamp_ns, name)

        while (
            should_run(self)
            and stamp_ns not in self._answered
            and time.monotonic() < sent + _ANSWER_WITHIN_S
        ):
            rclpy.spin_once(self, timeout_sec=SIGNAL_LATENCY_S)

        answered = self._answered.pop(stamp_ns, None)
        self._answered.clear()
        kept = index % self._keep_every == 0

        if kept:
            picture = limited(frame, self.config.max_width, self.config.max_height)
            path = str(self._keep / f"{stamp_ns}.jpg")
            cv2.imwrite(path, picture, [cv2.IMWRITE_JPEG_QUALITY, 95])

        seconds = None if answered is None else answered - sent
        line = {
            "index": index,
            "stamp_ns": stamp_ns,
            "sent_s": sent,
            "seconds": seconds,
            "kept": kept,
        }

        print(json.dumps(line), file=self._report, flush=True)

    def close(self) -> None:
        """Finish the report, with what of the source did not come."""
        if self.losses.text:
            print(json.dumps({"lost": self.losses.text}), file=self._report)
        self._report.close()


def main(args: list[str] | None = None) -> int:
    """Play the source once; exit status 0 at its end or after a signal, 2 for input that cannot be
    used."""
    argv = sys.argv if args is None else args
    parser = argparse.ArgumentParser("lifting_demo_camera", description=__doc__)
    parser.add_argument(
        "--answers", required=True, help="topic of the Skeleton3DArray that answers each image"
    )
    parser.add_argument(
        "--listeners",
        type=int,
        default=0,
        help="other subscribers of it and of camera_info to wait for",
    )
    parser.add_argument(
        "--report", type=Path, required=True, help="file to write a line for each image to"
    )
    parser.add_argument(
        "--keep", type=Path, required=True, help="folder for the images that are kept"
    )
    parser.add_argument("--keep-every", type=int, default=1, help="keep every n-th image")

    options = vars(parser.parse_args(remove_ros_args(argv)[1:]))

    return run("lifting_demo_camera", lambda: DemoCamera(**options), DemoCamera.play, argv)


if __name__ == "__main__":
    sys.exit(main())
