# SPDX-License-Identifier: Apache-2.0
"""Configuration as frozen dataclasses. A field's metadata (description, range, unit, choices) is
the one source of the ROS descriptors, the command line, the YAML files and the reference table; an
unknown key is an error."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration that cannot be used; the text is one line and names the key."""


def from_mapping(cls: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    """Build dataclass `cls` from a mapping, nested dataclasses from nested mappings; ConfigError
    for an unknown key or a wrong value."""
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"{prefix.rstrip('.') or cls.__name__}: expected a mapping of parameters, got {type(values).__name__}"
        )
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in values:
        if key not in fields:
            raise ConfigError(
                f"{prefix}{key}: unknown parameter; expected one of {', '.join(sorted(fields))}"
            )
    return cls(**{key: _convert(fields[key], value, prefix + key) for key, value in values.items()})


def _convert(field: dataclasses.Field, value: Any, name: str) -> Any:
    default = field.default if field.default is not dataclasses.MISSING else _factory_default(field)
    if dataclasses.is_dataclass(default):
        return from_mapping(type(default), value, name + ".")
    return check(field.metadata, default, value, name)


def _factory_default(field: dataclasses.Field) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else None


def check(metadata: Mapping[str, Any], default: Any, value: Any, name: str) -> Any:
    """`value` in the type of `default`, inside the range and choices of `metadata`; ConfigError
    naming `name` otherwise."""
    value = _cast(default, value, name)
    if "choices" in metadata and value not in metadata["choices"]:
        raise ConfigError(
            f"{name}: expected one of {', '.join(map(str, metadata['choices']))}, got {value!r}"
        )
    if "range" in metadata:
        low, high = metadata["range"]
        if not low <= value <= high:
            raise ConfigError(f"{name}: expected {low} to {high}, got {value!r}")
    return value


def _cast(default: Any, value: Any, name: str) -> Any:
    if isinstance(default, bool):
        ok = isinstance(value, bool)
    elif isinstance(default, int):
        ok = isinstance(value, int) and not isinstance(value, bool)
    elif isinstance(default, float):
        ok = isinstance(value, (int, float)) and not isinstance(value, bool)
        value = float(value) if ok else value
    elif isinstance(default, tuple):
        ok = isinstance(value, (list, tuple))
        value = tuple(value) if ok else value
    else:
        ok = isinstance(value, type(default)) or default is None
    if not ok:
        raise ConfigError(f"{name}: expected {type(default).__name__}, got {value!r}")
    return value


def read_yaml(path: str | Path) -> Any:
    """The content of a YAML file (safe loader); ConfigError in one line where it cannot be read."""
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{path}: not a readable YAML file ({str(error).splitlines()[0]})"
        ) from None
