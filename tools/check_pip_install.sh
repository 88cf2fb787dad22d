#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `pip install .` in a plain virtual environment, then from another folder: do messages, files and the command work?
# PIP_ROS=kilted: into an environment that has Kilted's wheels, without build isolation (with it, pip gets Jazzy's).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=$("$root/tools/check_system.sh")
unset PYTHONPATH AMENT_PREFIX_PATH CMAKE_PREFIX_PATH LD_LIBRARY_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
distro=${PIP_ROS:-jazzy} options=()

log() { "$@" > "$work/log" 2>&1 || { tail -n 60 "$work/log" >&2; echo "failed: $*" >&2; exit 1; }; }

# pip builds in the folder itself: a copy keeps the checkout clean.
mkdir "$work/source"
(cd "$root" && git ls-files -z --cached --others --exclude-standard | xargs -0 ls -d 2>/dev/null |
  tar cf - -T -) | tar xf - -C "$work/source"
log "$python" -m venv "$work/venv"
if [ "$distro" != jazzy ]; then
  log "$work/venv/bin/pip" install -r "$root/tools/ros_$distro.txt" -r "$root/tools/ros_${distro}_build.txt" \
    cmake ninja "setuptools>=77" wheel "numpy>=1.26"
  options+=(--no-build-isolation)
fi
start=$SECONDS
log env PATH="$work/venv/bin:$PATH" "$work/venv/bin/pip" install ${PIP_ARGS:-} "${options[@]}" "$work/source" "${TORCH:-torch}"
echo "pip install . ($distro): $((SECONDS - start)) s"
cd "$work"
"$work/venv/bin/python" - <<'P'
import importlib.metadata
import sys

import rclpy
from tf2_msgs.msg import TFMessage

import lifting_ros
from lifting_ros.msg import Skeleton3DArray
from lifting_ros.paths import share_file

assert lifting_ros.__file__.startswith(sys.prefix), lifting_ros.__file__
assert importlib.metadata.version("lifting_ros") == lifting_ros.__version__
assert len(Skeleton3DArray.get_fields_and_field_types()) == 2 and TFMessage and rclpy
rclpy.init()
node = rclpy.create_node("pip_install_check")
node.create_publisher(Skeleton3DArray, "skeletons", 1).publish(Skeleton3DArray())
node.destroy_node()
rclpy.shutdown()
print("messages, rclpy and", share_file("config/fastdds_shm.xml"))
P
if [ -f "$root/lifting_ros/cli/main.py" ]; then "$work/venv/bin/lifting" --help > /dev/null && echo "lifting --help"; fi
