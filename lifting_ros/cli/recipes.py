# SPDX-License-Identifier: Apache-2.0
"""Recipes of trainings and of labels: dataclasses that a YAML file may set."""

from __future__ import annotations

from typing import Any


def read_recipe(default: Any, path: str) -> Any:
    """The recipe of a YAML file; the default where no file is named.

    default: a dataclass, or an instance of one. It has the values that the file does not set.
    ConfigError for an unknown key or a wrong value.
    """
    from lifting_ros.config import read_yaml, updated

    recipe = default() if isinstance(default, type) else default
    return updated(recipe, read_yaml(path) or {}) if path else recipe
