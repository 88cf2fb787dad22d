# SPDX-License-Identifier: Apache-2.0
"""Configuration dataclasses as ROS parameters: declaration, changes, and the YAML and table that
list them. Descriptors come from the fields' metadata.

A nested dataclass `b` with a field `c` becomes the parameter `b.c`; with `inline` in its metadata
just `c`. `live` in a field's metadata: it may change while the node runs; `fixed`: never.
"""

from __future__ import annotations

import array
import dataclasses
import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import yaml
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from lifting_ros.config import ConfigError, check

T = TypeVar("T")
_QOS = "qos_overrides."
_OF_ROS = ("use_sim_time", "start_type_description_service", _QOS)
_POLICIES = {
    "reliability": ("reliable", "best_effort", "best_available", "system_default"),
    "history": ("keep_last", "keep_all", "system_default"),
}
"""Values that rclpy accepts for a policy. It checks them only when a topic is created, which may be
long after the start."""


@dataclasses.dataclass(frozen=True)
class Leaf:
    """One parameter."""

    name: str
    path: tuple[str, ...]
    """Field names from the outermost dataclass inwards."""
    default: Any
    metadata: Mapping[str, Any]

    @property
    def text(self) -> str:
        """Description, unit, range and choices in one line."""
        unit = f" [{self.metadata['unit']}]" if "unit" in self.metadata else ""
        return (
            self.metadata["description"]
            + unit
            + (f" ({self.limits})" if self.limits else "")
            + (" *" if self.live else "")
        )

    @property
    def live(self) -> bool:
        """Whether it may change while the node runs."""
        return bool(self.metadata.get("live"))

    @property
    def limits(self) -> str:
        if "choices" in self.metadata:
            return " or ".join(map(str, self.metadata["choices"]))
        if "range" in self.metadata:
            return "{} to {}".format(*self.metadata["range"])

        return ""


def leaves(defaults: Any, prefix: str = "", path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Every parameter of the dataclass instance `defaults`, in the order of the fields."""
    for field in dataclasses.fields(defaults):
        value = getattr(defaults, field.name)
        here = (*path, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(
                value, prefix if field.metadata.get("inline") else f"{prefix}{field.name}.", here
            )
        else:
            yield Leaf(prefix + field.name, here, value, field.metadata)


def declare(node: Node, cls: type[T], fixed: bool = True) -> T:
    """Declare every parameter of dataclass `cls` on `node`; returns their values as a `cls`.

    fixed: declare them read-only. The node must be created with
    automatically_declare_parameters_from_overrides, so that unknown parameters are noticed.
    ConfigError in one line for an unknown parameter, or a value of a wrong type, outside its range
    or not among its choices.
    """
    known = {leaf.name: leaf for leaf in leaves(cls())}
    given = {name: parameter.value for name, parameter in node.get_parameters_by_prefix("").items()}
    _refuse_unknown(given, known)
    values = {}

    for name, leaf in known.items():
        value = _plain(given[name]) if name in given else leaf.default
        values[leaf.path] = _checked(leaf, value)
        if name in given:
            node.undeclare_parameter(name)

        is_fixed = fixed or bool(leaf.metadata.get("fixed"))
        node.declare_parameter(
            name, _for_ros(values[leaf.path]), descriptor(leaf, is_fixed), ignore_override=True
        )

    return _build(cls(), values)


def configured(cls: type[T], given: Mapping[str, Any]) -> T:
    """Dataclass `cls` from parameters by name, without a node; ConfigError as in `declare`."""
    known = {leaf.name: leaf for leaf in leaves(cls())}
    _refuse_unknown(given, known)

    return _build(
        cls(),
        {leaf.path: _checked(leaf, given.get(name, leaf.default)) for name, leaf in known.items()},
    )


class Parameters(Generic[T]):
    """The parameters of a node as one value of dataclass `cls`, which changes as a whole or not at
    all.

    While `in_use` is True, only `live` parameters may change.
    """

    def __init__(self, node: Node, cls: type[T], refuse: Callable[[T], None] | None = None):
        """refuse: raises ConfigError for a value that cannot be used, now and at every change."""
        self.in_use = False
        self._refuse = refuse or (lambda value: None)
        self.value: T = declare(node, cls, fixed=False)
        self._refuse(self.value)
        self._leaves = {leaf.name: leaf for leaf in leaves(cls())}

        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._take)

    def _check(self, changes: list[Parameter]) -> SetParametersResult:
        try:
            for change in changes:
                if change.name.startswith(_QOS):
                    _refuse_unfit_policy(change.name, change.value)

                leaf = self._leaves.get(change.name)
                if leaf and self.in_use and not leaf.live:
                    raise ConfigError(
                        f"{change.name}: takes effect when the node is configured; clean up first"
                    )

            self._refuse(self._with(changes))
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))

        return SetParametersResult(successful=True)

    def _take(self, changes: list[Parameter]) -> None:
        self.value = self._with(changes)

    def _with(self, changes: list[Parameter]) -> T:
        values = {leaf.path: leaf.default for leaf in leaves(self.value)}
        for change in changes:
            leaf = self._leaves.get(change.name)
            if leaf:
                values[leaf.path] = _checked(leaf, _plain(change.value))

        return _build(self.value, values)


def _refuse_unknown(given: Mapping[str, Any], known: Mapping[str, Leaf]) -> None:
    for name, value in given.items():
        if name.startswith(_QOS):
            _refuse_unfit_policy(name, value)

        if name not in known and not name.startswith(_OF_ROS):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
            raise ConfigError(f"{name}: unknown parameter; {hint}")


def _refuse_unfit_policy(name: str, value: Any) -> None:
    policy = name.rpartition(".")[2]
    if policy in _POLICIES and (
        not isinstance(value, str) or value.lower() not in _POLICIES[policy]
    ):
        raise ConfigError(f"{name}: expected one of {', '.join(_POLICIES[policy])}, got {value!r}")
    if policy == "depth" and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise ConfigError(f"{name}: expected a number of messages, got {value!r}")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (array.array, tuple)) else value


def _checked(leaf: Leaf, value: Any) -> Any:
    value = check(leaf.metadata, leaf.default, value, leaf.name)
    if not isinstance(value, tuple) or not leaf.default:
        return value

    kind = type(leaf.default[0])

    return tuple(
        check({}, leaf.default[0], item, f"{leaf.name} ({kind.__name__} array)") for item in value
    )


def _for_ros(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def descriptor(leaf: Leaf, fixed: bool = True) -> ParameterDescriptor:
    """What `ros2 param describe` shows."""
    out = ParameterDescriptor(
        name=leaf.name, description=leaf.text, additional_constraints=leaf.limits, read_only=fixed
    )
    if "range" in leaf.metadata:
        low, high = leaf.metadata["range"]
        if isinstance(leaf.default, float):
            out.floating_point_range = [
                FloatingPointRange(from_value=float(low), to_value=float(high))
            ]
        else:
            out.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]

    return out


def _build(defaults: Any, values: Mapping[tuple[str, ...], Any], path: tuple[str, ...] = ()) -> Any:
    changed = {}
    for field in dataclasses.fields(defaults):
        here = (*path, field.name)
        value = getattr(defaults, field.name)
        changed[field.name] = (
            _build(value, values, here) if dataclasses.is_dataclass(value) else values[here]
        )

    return dataclasses.replace(defaults, **changed)


def to_yaml(cls: type, head: str) -> str:
    """A parameter file with every parameter of `cls`, its default, and its description as a
    comment."""
    lines = [*(f"# {line}" for line in head.splitlines()), "/**:", "  ros__parameters:"]
    open_groups = ()

    for leaf in leaves(cls()):
        *groups, key = leaf.name.split(".")
        for depth, group in enumerate(groups):
            if open_groups[: depth + 1] != tuple(groups[: depth + 1]):
                lines.append("    " + "  " * depth + f"{group}:")

        open_groups = tuple(groups)
        indent = "    " + "  " * len(groups)
        lines += [f"{indent}# {leaf.text}", f"{indent}{key}: {_yaml_value(leaf.default)}"]

    return "\n".join(lines) + "\n"


def to_table(cls: type) -> str:
    """Every parameter of `cls` as rows of a Markdown table."""
    rows = ["| parameter | default | meaning | unit | values | live |", "|---|---|---|---|---|---|"]
    for leaf in leaves(cls()):
        meaning = leaf.metadata["description"]
        unit = leaf.metadata.get("unit", "")
        live = "yes" if leaf.live else ""
        words = (
            f"`{leaf.name}`",
            f"`{_yaml_value(leaf.default)}`",
            meaning,
            unit,
            leaf.limits,
            live,
        )
        rows.append(f"| {' | '.join(word.replace('|', chr(92) + '|') for word in words)} |")

    return "\n".join(rows) + "\n"


def _yaml_value(value: Any) -> str:
    return yaml.safe_dump([_for_ros(value)], default_flow_style=True, width=1000).strip()[1:-1]
