# SPDX-License-Identifier: Apache-2.0
"""Message definitions from the .msg files of the ROS installation, and stamps of serialised
messages."""

from __future__ import annotations

import struct
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from rosbags.interfaces import Nodetype
from rosbags.interfaces.typing import Typesdict
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from lifting_ros.errors import DataError

_HEADER = "std_msgs/msg/Header"


def typestore_of(names: list[str]) -> Typestore:
    """A rosbags type store with the types `names` (package/msg/Type) and everything they contain.

    DataError where a package or its definition is not installed.
    """
    types: Typesdict = {}
    for name in names:
        _collect(name, types)

    store = get_typestore(Stores.EMPTY)
    store.register(types)

    return store


def _collect(name: str, types: Typesdict) -> None:
    if name in types:
        return

    types.update(get_types_from_msg(_definition(name), name))
    for _, (kind, detail) in types[name][1]:
        inner = detail[0] if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE) else (kind, detail)
        if inner[0] == Nodetype.NAME:
            _collect(inner[1], types)


def _definition(name: str) -> str:
    package, folder, short = name.split("/")
    try:
        return (Path(get_package_share_directory(package)) / folder / f"{short}.msg").read_text(
            encoding="utf-8"
        )
    except (PackageNotFoundError, OSError):
        raise DataError(f"{name}: no definition of this type is installed") from None


def stamp_reader(name: str, store: Typestore):
    """A function that returns the stamp (ns) of a serialised message of type `name`, or None.

    The message must begin with a header, or with a sequence whose elements do, as MarkerArray: then
    it is the first element's stamp. None for an empty sequence or bytes that end too early.
    """
    _, (kind, detail) = store.fielddefs[name][1][0]
    if (kind, detail) == (Nodetype.NAME, _HEADER):
        return lambda data: _stamp(data, 4)

    if kind == Nodetype.SEQUENCE and detail[0][0] == Nodetype.NAME:
        first = store.fielddefs[detail[0][1]][1][0][1]
        if first == (Nodetype.NAME, _HEADER):
            return lambda data: _stamp(data, 8) if any(data[4:8]) else None

    return lambda data: None


def _stamp(data: bytes, offset: int) -> int | None:
    if len(data) < offset + 8:
        return None

    # CDR: the second of the four leading bytes says the byte order.
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, offset)
    return seconds * 10**9 + nanoseconds
