# SPDX-License-Identifier: Apache-2.0
"""Detector weights from the published MoveNet MultiPose:

python -m lifting_ros.research.import_detector models/movenet-multipose.json OUT.safetensors
"""

from __future__ import annotations

import sys
from pathlib import Path

from lifting_ros.detection.multipose_detector import save_detector
from lifting_ros.io.checkpoint import sha256_of
from lifting_ros.research.graph_model import GraphModelError, read_multipose


def main() -> int:
    """Read, write, say nothing; one line and status 2 for a file that is no MoveNet MultiPose."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)

    published = Path(sys.argv[1])
    out = Path(sys.argv[2])

    try:
        network = read_multipose(published)
    except GraphModelError as error:
        print(error, file=sys.stderr)
        return 2

    card = {
        "origin": "MoveNet MultiPose Lightning, version 1, by Google, Apache-2.0",
        "sha256": sha256_of(published.with_suffix(".bin")),
    }
    save_detector(out, network, card)

    return 0


if __name__ == "__main__":
    sys.exit(main())
