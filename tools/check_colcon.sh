#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `colcon build` in a scratch workspace, with and without --symlink-install, against ROS 2 from PyPI (PIP_ROS), and
# what it installed: messages, executables, files. Ends with the messages alone and with the entries of `colcon test` that
# take seconds.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=$("$root/tools/check_system.sh")
unset PYTHONPATH AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH LD_LIBRARY_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
distro=${PIP_ROS:-jazzy} venv=$work/venv tests="build_tools|geometry|package|public_api|requirements"

log() { "$@" > "$work/output" 2>&1 || { tail -n 60 "$work/output" >&2; echo "failed: $*" >&2; exit 1; }; }

log "$python" -m venv "$venv"
log "$venv/bin/pip" install ${PIP_ARGS:-} -r "$root/tools/ros_$distro.txt" -r "$root/tools/ros_${distro}_build.txt" \
  -r "$root/tools/requirements.txt" -r "$root/tools/requirements_pip.txt" -r "$root/tools/requirements_test.txt" \
  "${TORCH:-torch}" colcon-common-extensions cmake ninja setuptools
mkdir -p "$work/ws/src/lifting_ros"   # not beside the environment, whose share/ is full of packages
(cd "$root" && git ls-files -z --cached --others --exclude-standard | xargs -0 ls -d 2>/dev/null |
  tar cf - -T -) | tar xf - -C "$work/ws/src/lifting_ros"
cp -r "$root/tools/pip_ros/tf2_msgs" "$work/ws/src/"   # beside it: colcon does not look inside a package

export AMENT_PREFIX_PATH=$venv CMAKE_PREFIX_PATH=$venv LD_LIBRARY_PATH=$venv/lib PATH=$venv/bin:$PATH
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST
options=(-Wno-dev -DPython3_EXECUTABLE="$venv/bin/python" -DCMAKE_PROJECT_INCLUDE="$root/tools/pip_ros_fix.cmake")
cd "$work/ws"
for option in "" --symlink-install; do
  rm -rf build install log; start=$SECONDS
  log colcon --log-base log build $option --cmake-args "${options[@]}"
  echo "colcon build $option ($distro): $((SECONDS - start)) s"
  (
    set +u; . install/local_setup.bash; set -u
    cd /
    python - <<'P'
import os
import sys
from pathlib import Path

from ament_index_python import get_package_prefix, get_package_share_directory
from tf2_msgs.msg import TFMessage

import lifting_ros
from lifting_ros.msg import Skeleton3DArray
from lifting_ros.paths import share_file

prefix = get_package_prefix("lifting_ros")
assert lifting_ros.__file__.startswith(prefix + "/"), lifting_ros.__file__
assert lifting_ros.__version__ and Skeleton3DArray() and TFMessage()
assert share_file("config/fastdds_shm.xml").parent.parent == Path(get_package_share_directory("lifting_ros"))
scripts = Path(prefix, "lib/lifting_ros")
assert {p.name for p in scripts.iterdir() if os.access(p, os.X_OK)} >= {"lifting", "lifting_node"}, scripts
print("  import, share and executables in", os.path.relpath(prefix, sys.prefix))
P
  )
done
log colcon --log-base log test --packages-select lifting_ros --ctest-args -R "^test_($tests)\$"
colcon test-result --verbose

log colcon --log-base log build --packages-up-to lifting_ros --build-base build_messages \
  --install-base install_messages --cmake-args "${options[@]}" -DLIFTING_ROS_MESSAGES_ONLY=ON
set +u; . install_messages/local_setup.bash; set -u
cd /
python - <<'P'
import os
from pathlib import Path

import lifting_ros
from lifting_ros.msg import Skeleton3DArray

package = Path(lifting_ros.__file__).parent
assert "install_messages" in package.parts and package.joinpath("__init__.py").stat().st_size == 0
print("messages alone:", Skeleton3DArray.__name__, "and", sorted(os.listdir(package.parent)))
P
