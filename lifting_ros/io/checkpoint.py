# SPDX-License-Identifier: Apache-2.0
"""Weights files: safetensors with a JSON header that says what the file holds.

Nothing in such a file is executed when it is loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from safetensors import SafetensorError, safe_open

from lifting_ros.errors import LiftingError
from lifting_ros.io.atomic import replacing

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

T = TypeVar("T")

_LONGEST_REASON = 160
"""Characters of a reason that are shown."""


class CheckpointError(LiftingError):
    """A weights file that is missing, corrupt or of another network; the text is one line and names
    the file."""


def reason(error: Exception) -> str:
    """What is wrong with a file's content, in one short line."""
    if isinstance(error, KeyError):
        return f"no {error}"

    lines = str(error).splitlines() or [type(error).__name__]
    line = lines[0]
    if line.startswith("Error(s) in loading") and len(lines) > 1:
        line = lines[1]  # torch says what is wrong below a headline

    line = line.strip()
    if len(line) <= _LONGEST_REASON:
        return line

    return f"{line[: _LONGEST_REASON - 3]}..."


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    content = Path(path).read_bytes()
    digest = hashlib.sha256(content)
    return digest.hexdigest()


def half_precision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's tensors, those of floats as fp16."""
    halved = {}
    for name, tensor in state.items():
        halved[name] = tensor.half() if tensor.is_floating_point() else tensor

    return halved


def save_tensors(path: str | Path, tensors: dict[str, Tensor], header: dict) -> None:
    """Write tensors and a JSON header; `path` is replaced only when the file is complete."""
    from safetensors.torch import save_file

    contiguous = {}
    for name, tensor in tensors.items():
        on_cpu = tensor.detach().cpu()
        contiguous[name] = on_cpu.contiguous()

    metadata = {"lifting_ros": json.dumps(header, sort_keys=True)}
    with replacing(path) as partial:
        save_file(contiguous, str(partial), metadata=metadata)
        _apply_umask(partial)


def _apply_umask(path: Path) -> None:
    """Give a file the usual permissions; safetensors writes files that only the owner can read."""
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(path, 0o666 & ~umask)


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """Tensors and header as `save_tensors` wrote them; CheckpointError where they cannot be
    read."""

    def tensors_of(file: Any) -> dict[str, Tensor]:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}

    return _read(path, "pt", tensors_of)


def load_arrays(path: str | Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The named tensors as arrays, read without torch; errors as `load_tensors`."""

    def arrays_of(file: Any) -> dict[str, np.ndarray]:
        return {name: file.get_tensor(name) for name in names}

    arrays, _ = _read(path, "numpy", arrays_of)
    return arrays


def load_header(path: str | Path) -> dict:
    """The header alone, read without torch; errors as `load_tensors`."""
    _, header = _read(path, "numpy", lambda file: None)
    return header


def read_section(path: str | Path, name: str) -> Any:
    """What the header of a weights file states under `name`; None in a file that does not, or of
    another format. Errors as `load_tensors`."""
    if Path(path).suffix != ".safetensors":
        return None

    return load_header(path).get(name)


def _read(path: str | Path, framework: str, read: Callable[..., T]) -> tuple[T, dict]:
    """What `read` returns for the open file, and its header."""
    try:
        with safe_open(str(path), framework=framework) as file:
            metadata = file.metadata() or {}
            header = json.loads(metadata["lifting_ros"])
            return read(file), header
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such weights file") from None
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path}: not a weights file of lifting_ros ({reason(error)})"
        ) from None
