# SPDX-License-Identifier: Apache-2.0
"""Message definitions from the .msg files of the ROS installation; and where a serialised message
has its stamp."""

from __future__ import annotations

import struct
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from rosbags.interfaces import Nodetype
from rosbags.interfaces.typing import Typesdict
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

_HEADER = "std_msgs/msg/Header"


def typestore_of(names: list[str]) -> Typestore:
    """A rosbags type store with the types `names` (package/msg/Type) and everything they contain.

    ValueError where a package or its definition is not installed.
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
        raise ValueError(f"{name}: no definition of this type is installed") from None


def stamp_reader(name: str, store: Typestore):
    """Function from a serialised message of type `name` to the stamp (ns) of the header it begins
    with, or to None.

    Bytes that end before the stamp give None. A sequence first in the message, as in MarkerArray,
    gives its first element's; an empty one gives None.
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
