# SPDX-License-Identifier: Apache-2.0
"""Writing the command line's files: JSON, whole or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from lifting_ros.io.atomic import replacing


def write_json(path: str | Path, figures: dict[str, Any]) -> None:
    """Write figures as JSON; null stands for numbers that are not finite."""
    text = json.dumps(_without_nan(figures), indent=1, allow_nan=False)
    with replacing(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def _without_nan(value: Any) -> Any:
    """The same with None for numbers that are not finite, at any depth."""
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
