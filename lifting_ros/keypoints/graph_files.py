# SPDX-License-Identifier: Apache-2.0
"""Where converted graphs are kept, and what tells one conversion from another."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lifting_ros.io.checkpoint import CheckpointError

_PACKAGE = Path(__file__).parents[1]
_DEFINITIONS = (
    "keypoints/graphs.py",
    "keypoints/layers.py",
    "keypoints/network.py",
    "keypoints/openvino_graphs.py",
    "keypoints/network_trunk.py",
    "keypoints/trunk.py",
    "detection/multipose.py",
)
"""The code that the graphs are made from."""


def cache_name(path: Path, runtime: str) -> str:
    """Name of the folder in the cache with the graphs of a weights file.

    runtime: its name and version. The name changes with the content of the file, the runtime and
    the code that defines the network. CheckpointError where the file cannot be read.
    """
    try:
        parts = [path.read_bytes()]
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None

    parts += [(_PACKAGE / name).read_bytes() for name in _DEFINITIONS]
    parts.append(runtime.encode())

    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return f"{path.stem}-{digest.hexdigest()[:24]}"
