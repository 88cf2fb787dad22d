#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prints the Python to build with. Where something is missing: one line that says what, one with the command to type.
# Looks for python3 (3.10 to 3.14, with venv, ensurepip and headers), gcc and g++. PYTHON=… names an interpreter.
set -u

usable() {  # a Python of the right version that can make virtual environments and compile extensions
  "$1" - 2>/dev/null <<'P'
import ensurepip, os, sys, sysconfig, venv
header = os.path.join(sysconfig.get_path("include"), "Python.h")
sys.exit(not ((3, 10) <= sys.version_info[:2] <= (3, 14) and os.path.exists(header)))
P
}

found=
for candidate in ${PYTHON:-python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11 python3.10}; do
  if command -v "$candidate" >/dev/null && usable "$candidate"; then found=$candidate; break; fi
done

missing=()
[ -n "$found" ] || missing+=("Python 3.10 to 3.14 with venv, ensurepip and headers${PYTHON:+ (PYTHON=$PYTHON)}")
command -v gcc >/dev/null || missing+=(gcc)
command -v g++ >/dev/null || missing+=(g++)

if [ ${#missing[@]} -gt 0 ]; then
  sudo=; [ "$(id -u)" = 0 ] || sudo="sudo "
  (IFS=,; echo "missing: ${missing[*]}" | sed 's/,/, /g') >&2
  if command -v apt-get >/dev/null; then
    echo "type:    ${sudo}apt-get update && ${sudo}apt-get install -y python3 python3-venv python3-dev gcc g++" >&2
  else
    echo "type:    ${sudo}dnf install -y python3 python3-devel gcc gcc-c++   (or this system's like)" >&2
  fi
  exit 1
fi
echo "$found"
