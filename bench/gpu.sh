#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything to measure on a computer with a GPU, in at most ten minutes and without network:
#   bench/gpu.sh [--out DIR] [--limit SECONDS]
#   bench/gpu.sh --device cpu --quick        # a rehearsal of every step on the CPU, with small sizes
# Uses .venv/, or PYTHON where that is set; builds .venv/ first where it is missing, from wheels in
# PIP_FIND_LINKS alone. DIR/gpu.json (out/gpu) has all figures.
set -eu
cd "$(dirname "$0")/.."
begun=$(date +%s)

if [ -z "${PYTHON:-}" ]; then
  PYTHON=.venv/bin/python
  [ -x "$PYTHON" ] || PIP_NO_INDEX=1 timeout 300 make build
fi

exec "$PYTHON" bench/gpu.py --begun "$begun" "$@"
