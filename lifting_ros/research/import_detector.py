# SPDX-License-Identifier: Apache-2.0
"""The detector's weights from the published NanoDet-g:

python -m lifting_ros.research.import_detector models/nanodet.json OUT.safetensors
"""

from __future__ import annotations

import sys
from pathlib import Path

from lifting_ros.detection.nanodet_detector import save_detector
from lifting_ros.io.checkpoint import sha256_of
from lifting_ros.research.graph_model import GraphModelError, read_nanodet


def main() -> int:
    """Read, write, say nothing; one line and status 2 for a file that is no NanoDet-g."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)

    published = Path(sys.argv[1])
    out = Path(sys.argv[2])

    try:
        network = read_nanodet(published)
    except GraphModelError as error:
        print(error, file=sys.stderr)
        return 2

    card = {
        "origin": "NanoDet-g, github.com/RangiLyu/nanodet, Apache-2.0",
        "sha256": sha256_of(published.with_suffix(".bin")),
    }
    save_detector(out, network, card)

    return 0


if __name__ == "__main__":
    sys.exit(main())
