#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs a command with ROS 2 and the package in its environment.
. /ws/install/setup.bash
exec "$@"
