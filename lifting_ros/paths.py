# SPDX-License-Identifier: Apache-2.0
"""Finds the files that ship beside the code, in config/ and launch/, however the package was
installed."""

import os
import sys
from pathlib import Path


def share_folders() -> list[Path]:
    """Folders that may hold config/ and launch/, best first: the checkout, then share/lifting_ros
    of each prefix.

    The first prefixes are derived from the package's own path
    (PREFIX/[local/]lib/python3.X/{site,dist}-packages/lifting_ros), which works for colcon, pip and
    `make build` without environment variables.
    """
    package = Path(__file__).absolute().parent
    folders = []
    if (package.parent / "package.xml").is_file():
        folders.append(package.parent)

    prefixes = list(package.parents)[3:5]
    ament = os.environ.get("AMENT_PREFIX_PATH", "")
    for name in ament.split(os.pathsep):
        if name:
            prefixes.append(Path(name))

    prefixes.append(Path(sys.prefix))

    for prefix in prefixes:
        folders.append(prefix / "share" / "lifting_ros")
    return folders


def share_file(name: str) -> Path:
    """Path of a file that ships with the package: `share_file("config/lifting.yaml")`.

    FileNotFoundError, with the folders that were searched, where there is none.
    """
    folders = share_folders()
    for folder in folders:
        if (folder / name).is_file():
            return folder / name

    raise FileNotFoundError(f"{name}: expected in one of {', '.join(map(str, folders))}")
