# SPDX-License-Identifier: Apache-2.0
"""Where the files that ship beside the code are: config/ and launch/, whichever way the package was
installed."""

import os
import sys
from pathlib import Path


def share_folders() -> list[Path]:
    """Folders that may hold config/ and launch/, best first: the checkout, then share/lifting_ros
    of each prefix.

    The prefix is found from where this package lies
    (PREFIX/[local/]lib/python3.X/{site,dist}-packages/lifting_ros), so that it works for colcon,
    pip and make build without any variable set.
    """
    package = Path(__file__).absolute().parent
    checkout = [package.parent] if (package.parent / "package.xml").is_file() else []
    named = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    prefixes = [*list(package.parents)[3:5], *named, Path(sys.prefix)]
    return checkout + [prefix / "share" / "lifting_ros" for prefix in prefixes]


def share_file(name: str) -> Path:
    """The path of a file that ships with the package, for example
    `share_file("config/lifting.yaml")`.

    Raises FileNotFoundError with the folders that were searched where there is none.
    """
    folders = share_folders()
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{name}: expected in one of {', '.join(map(str, folders))}")
