# SPDX-License-Identifier: Apache-2.0
"""Configuration as frozen dataclasses.

The metadata of a field (description, range, unit, choices) is the only source of the ROS
descriptors, the command line, the YAML files and the reference table. An unknown key is an error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import yaml

from lifting_ros.errors import LiftingError


class _Dataclass(Protocol):
    """An instance of a dataclass, for type checkers."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


T = TypeVar("T", bound=_Dataclass)


class ConfigError(LiftingError):
    """A configuration that cannot be used; the text is one line and names the key."""


def from_mapping(cls: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    """Dataclass `cls` from a mapping; nested dataclasses from nested mappings.

    ConfigError for an unknown key or a wrong value.
    """
    return cls(**_converted(cls, values, _default_of, prefix))


def updated(base: T, values: Mapping[str, Any], prefix: str = "") -> T:
    """The dataclass instance `base` with the values of a mapping; what it does not set stays.

    Errors as `from_mapping`.
    """

    def current(field: dataclasses.Field) -> Any:
        return getattr(base, field.name)

    return dataclasses.replace(base, **_converted(type(base), values, current, prefix))


def _converted(
    cls: type[_Dataclass],
    values: Mapping[str, Any],
    default_of: Callable[[dataclasses.Field], Any],
    prefix: str,
) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        name = prefix.rstrip(".") or cls.__name__
        raise ConfigError(f"{name}: expected a mapping of parameters, got {type(values).__name__}")

    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in values:
        if key not in fields:
            expected = ", ".join(sorted(fields))
            raise ConfigError(f"{prefix}{key}: unknown parameter; expected one of {expected}")

    return {
        key: _convert(fields[key].metadata, default_of(fields[key]), value, prefix + key)
        for key, value in values.items()
    }


def _convert(metadata: Mapping[str, Any], default: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(default) and not isinstance(default, type):
        return updated(default, value, prefix=f"{name}.")

    return check(metadata, default, value, name)


def _default_of(field: dataclasses.Field) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default

    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()

    return None


def check(metadata: Mapping[str, Any], default: Any, value: Any, name: str) -> Any:
    """`value` in the type of `default`; ConfigError that names `name` for another type, or outside
    the range or choices of `metadata`."""
    value = _cast(default, value, name)

    if "choices" in metadata and value not in metadata["choices"]:
        choices = ", ".join(map(str, metadata["choices"]))
        raise ConfigError(f"{name}: expected one of {choices}, got {value!r}")

    if "range" in metadata:
        low, high = metadata["range"]
        if not low <= value <= high:
            raise ConfigError(f"{name}: expected {low} to {high}, got {value!r}")

    return value


def _cast(default: Any, value: Any, name: str) -> Any:
    """`value` in the type of `default`: integers become floats, lists become tuples."""
    is_bool = isinstance(value, bool)
    if isinstance(default, bool):
        fits = is_bool
    elif isinstance(default, int):
        fits = isinstance(value, int) and not is_bool
    elif isinstance(default, float):
        fits = isinstance(value, (int, float)) and not is_bool
        value = float(value) if fits else value
    elif isinstance(default, tuple):
        fits = isinstance(value, (list, tuple))
        value = tuple(value) if fits else value
    else:
        fits = default is None or isinstance(value, type(default))

    if not fits:
        kind = "list" if isinstance(default, tuple) else type(default).__name__
        raise ConfigError(f"{name}: expected {kind}, got {value!r}")

    return value


def read_yaml(path: str | Path) -> Any:
    """The content of a YAML file (safe loader); ConfigError where it cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        return yaml.safe_load(text)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        first_line = str(error).splitlines()[0]
        raise ConfigError(f"{path}: not a readable YAML file ({first_line})") from None
