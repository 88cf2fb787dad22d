#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stands in for `ros2 bag play` where there is no rosbag2: takes the options that demo.launch.py
gives, publishes the bag's messages."""

import argparse
import sys
import time
from importlib import import_module
from pathlib import Path

import rclpy
from rosbags.highlevel import AnyReader
from rosgraph_msgs.msg import Clock


def main() -> None:
    parser = argparse.ArgumentParser("ros2")
    parser.add_argument("words", nargs=2, choices=["bag", "play"])
    parser.add_argument("bag", type=Path)
    parser.add_argument("--clock", action="store_true")
    parser.add_argument("--rate", type=float)
    parser.add_argument("--delay", type=float)
    parser.add_argument("--loop", action="store_true")
    args = parser.parse_args()
    rclpy.init()
    node = rclpy.create_node("player")
    clock = node.create_publisher(Clock, "/clock", 10)
    with AnyReader([args.bag]) as reader:
        publishers = {
            c.topic: node.create_publisher(message_class(c.msgtype), c.topic, 10)
            for c in reader.connections
        }
        while any(not publisher.get_subscription_count() for publisher in publishers.values()):
            time.sleep(0.1)  # the real one sleeps for the delay
        time.sleep(1.0)
        last = reader.start_time
        for connection, stamp, data in reader.messages():
            time.sleep((stamp - last) / 1e9 / args.rate)
            last = stamp
            clock.publish(Clock(clock=rclpy.time.Time(nanoseconds=stamp).to_msg()))
            publishers[connection.topic].publish(bytes(data))
    time.sleep(0.5)


def message_class(name: str) -> type:
    package, folder, kind = name.split("/")
    return getattr(import_module(f"{package}.{folder}"), kind)


if __name__ == "__main__":
    sys.exit(main())
