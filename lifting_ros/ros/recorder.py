# SPDX-License-Identifier: Apache-2.0
"""Records topics into a rosbag2 (MCAP), without rosbag2, until SIGINT or SIGTERM: lifting_recorder
--out BAG TOPIC."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.topic_endpoint_info import TopicEndpointInfo
from rosbags.interfaces import Qos

from lifting_ros.errors import DataError
from lifting_ros.io.atomic import discard, partial_path
from lifting_ros.ros import signals
from lifting_ros.ros.bag_format import BagWriter, bag_qos
from lifting_ros.ros.message_types import stamp_reader, typestore_of
from lifting_ros.ros.runtime import STEADY, parse, run, spin

_DISCOVERY_PERIOD_S = 0.05
_DEPTH = 1000
DISK_FAILED = 1
"""Exit status if the disk failed or filled up during the recording."""


class Recorder(Node):
    """Subscribes to each topic once it has a publisher, and records its messages as bytes.

    A message's time in the bag is the stamp of its header. It is the time of arrival if there is no
    stamp, if the stamp is zero (a driver without a clock must not start the bag in 1970), or if the
    topic is latched, because then it may have been published long before the recording.

    A new publisher may take seconds to discover the subscription: let it wait for subscribers.

    The bag is written beside `out`, and `close` moves it there: a bag at `out` is complete, or
    holds what was on disk when the disk failed.
    """

    def __init__(self, out: Path, topics: list[str], **node_options):
        super().__init__("recorder", **node_options)
        if out.exists():
            raise DataError(f"--out {out}: exists already")

        self._out = out
        self._beside = partial_path(out)
        discard(self._beside)
        self._writer = BagWriter(self._beside / out.name)
        self._waiting = {self.resolve_topic_name(topic) for topic in topics}

        self.failure: OSError | None = None
        """The error that ended the recording; None if there was none."""

        self._discovery = self.create_timer(_DISCOVERY_PERIOD_S, self._discover, clock=STEADY)
        signals.started()  # from here on there is a file to finish
        self._writer.open()

    def _discover(self) -> None:
        for topic in sorted(self._waiting):
            publishers = self.get_publishers_info_by_topic(topic)
            if publishers:
                self._waiting.discard(topic)
                self._record(topic, publishers)

    def _record(self, topic: str, publishers: list[TopicEndpointInfo]) -> None:
        kind = publishers[0].topic_type
        try:
            package, folder, name = kind.split("/")
            message_class = getattr(import_module(f"{package}.{folder}"), name)
            store = typestore_of([kind])
        except (ImportError, AttributeError, ValueError):
            self.get_logger().error(f"{topic}: not recorded, as its type {kind} is not installed")
            return

        qos = subscription_qos(publishers)
        connection = self._writer.add_connection(
            topic, kind, typestore=store, offered_qos_profiles=[_offered(qos)]
        )
        stamp_of = (
            (lambda data: None)
            if qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
            else stamp_reader(kind, store)
        )

        def write(data: bytes) -> None:
            stamp = stamp_of(data)
            self._writer.write(
                connection,
                stamp if stamp and stamp > 0 else self.get_clock().now().nanoseconds,
                data,
            )

        self.create_subscription(message_class, topic, write, qos, raw=True)
        self.get_logger().info(f"recording {topic} ({kind})")

    def record(self) -> None:
        """Spin until a signal arrives, the context ends or the disk fails."""
        try:
            spin(self)
        except OSError as error:
            self._fail(error)

    def _record_arrived(self) -> None:
        """Record the messages that the middleware has received and the executor has not taken."""
        for subscription in self.subscriptions:
            for _ in range(_DEPTH):
                with subscription.handle:
                    taken = subscription.handle.take_message(
                        subscription.msg_type, subscription.raw
                    )
                if taken is None:
                    break

                subscription.callback(taken[0])

    def _fail(self, error: OSError) -> None:
        self.failure = error
        _say(f"{self._out}: {error.strerror or error}: the recording ends here")

    def close(self) -> None:
        """Finish the bag, with what has arrived by now, and move it to its place; after a disk
        failure, with what was written."""
        if self.failure is None:
            try:
                self._record_arrived()
                self._writer.close()
            except OSError as error:
                self._fail(error)

        if self.failure is not None:
            try:
                self._writer.salvage()
            except OSError as error:
                _say(f"{self._beside}: left without index ({error.strerror or error})")
                return

        (self._beside / self._out.name).rename(self._out)
        discard(self._beside)
        missed = f"; nobody published {', '.join(sorted(self._waiting))}" if self._waiting else ""
        _say(f"{sum(self._writer.counts.values())} messages in {self._out}{missed}")


def _say(text: str) -> None:
    # Not through the logger: at the end its context may be gone.
    print(f"lifting_recorder: {text}", file=sys.stderr, flush=True)


def subscription_qos(publishers: list[TopicEndpointInfo]) -> QoSProfile:
    """The strictest profile that all publishers satisfy: reliable and latched if all are."""
    offered = [publisher.qos_profile for publisher in publishers]
    reliable = all(qos.reliability == ReliabilityPolicy.RELIABLE for qos in offered)
    latched = all(qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for qos in offered)

    return QoSProfile(
        depth=_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def _offered(qos: QoSProfile) -> Qos:
    reliable = qos.reliability == ReliabilityPolicy.RELIABLE
    latched = qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
    return bag_qos(reliable, latched, qos.depth)


def record(out: Path, topics: list[str], argv: list[str] | None = None) -> int:
    """Record until SIGINT or SIGTERM; exit status 0 then, 2 for input that cannot be used,
    DISK_FAILED."""
    made: list[Recorder] = []

    def make() -> Recorder:
        made.append(Recorder(out, topics))
        return made[0]

    status = run("lifting_recorder", make, Recorder.record, argv)

    return DISK_FAILED if status == 0 and made and made[0].failure else status


def main(args: list[str] | None = None) -> int:
    """The executable lifting_recorder; the exit status of `record`."""
    argv = sys.argv if args is None else args
    parser = argparse.ArgumentParser("lifting_recorder", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the bag; must not exist")
    parser.add_argument(
        "topics", nargs="+", metavar="TOPIC", help="recorded as soon as somebody publishes it"
    )
    options = parse(parser, argv)

    return record(options.out, options.topics, argv)


if __name__ == "__main__":
    sys.exit(main())
