# SPDX-License-Identifier: Apache-2.0
"""Recipes of trainings and of labels: dataclasses that a YAML file may set."""

from __future__ import annotations

from typing import Any


def read_recipe(default: Any, path: str) -> Any:
    """The recipe of a YAML file; the default where no file is named.

    default: a dataclass, or a value of one. Keys that the file does not set have the values of the
    dataclass. ConfigError for an unknown key or a wrong value.
    """
    from lifting_ros.config import from_mapping, read_yaml

    recipe_class = default if isinstance(default, type) else type(default)
    if path:
        return from_mapping(recipe_class, read_yaml(path) or {})
    return recipe_class() if default is recipe_class else default
