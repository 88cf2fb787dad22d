# SPDX-License-Identifier: Apache-2.0
"""Reads a node's parameter file (--params-file) without a node."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from lifting_ros.config import ConfigError, read_yaml
from lifting_ros.ros.declaration import configured

T = TypeVar("T")
_PARAMETERS = "ros__parameters"


def read_parameters(path: str | Path, node: str, cls: type[T]) -> T:
    """Dataclass `cls` as a file sets it for a node, by its full name such as /lifting.

    Of several sections that match the node, wildcards included, the later one wins, as in ROS.
    ConfigError in one line if the file is invalid or has nothing for the node.
    """
    values = read_yaml(path)
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path}: expected a parameter file: /**: ros__parameters: ...")

    sections = list(_sections(values))
    if not sections:
        raise ConfigError(
            f"{path}: no {_PARAMETERS} in it; expected a parameter file: /**: ros__parameters: ..."
        )

    mine = [parameters for name, parameters in sections if _matches(name, node)]
    if not mine:
        raise ConfigError(
            f"{path}: nothing for the node {node}; it is for "
            f"{', '.join(name for name, _ in sections)}"
        )

    try:
        return configured(
            cls, {name: value for parameters in mine for name, value in _flat(parameters)}
        )
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _sections(
    values: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Full name, or pattern of names, and parameters of each node in the file; namespaces may be
    nested."""
    for key, value in values.items():
        if key == _PARAMETERS and isinstance(value, Mapping):
            yield prefix or "/**", value
        elif isinstance(value, Mapping):
            yield from _sections(value, f"{prefix}/{str(key).strip('/')}")


def _matches(pattern: str, node: str) -> bool:
    """Whether a name with wildcards (*: one part of a name, **: any) is the node's."""
    words = {"**": ".*", "*": "[^/]+"}
    parts = re.split(r"(\*\*|\*)", pattern)
    expression = "".join(words.get(part) or re.escape(part) for part in parts)
    return re.fullmatch(expression, node) is not None


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Full name and value of each parameter."""
    for key, value in parameters.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
