# SPDX-License-Identifier: Apache-2.0
"""Weights on disk: safetensors with the configuration in the header, so that a file says what it
holds and nothing can run on loading."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lifting_ros.config import from_mapping
from lifting_ros.keypoints.network import MultistageNetwork, NetworkConfig, NoFusion

FUSION_SIGMA = 1.5 / 32
"""Width of a projected belief over the side of the crop."""


class CheckpointError(ValueError):
    """A weights file that is missing, corrupt or of another network; the text is one line and names
    the file."""


def reason(error: Exception) -> str:
    """What is wrong with a file's content, in a short line; torch puts it below a headline."""
    if isinstance(error, KeyError):
        return f"no {error}"
    lines = str(error).splitlines() or [type(error).__name__]
    line = lines[
        min(1, len(lines) - 1) if lines[0].startswith("Error(s) in loading") else 0
    ].strip()
    return line if len(line) <= 160 else f"{line[:157]}..."


def sha256_of(path: str | Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def save_tensors(path: str | Path, tensors: dict[str, Tensor], header: dict) -> None:
    """Write tensors and a JSON header beside `path`, then rename: a reader never meets half a file."""
    path = Path(path)
    beside = path.with_name(path.name + ".partial")
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, str(beside), metadata={"lifting_ros": json.dumps(header, sort_keys=True)})
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(beside, 0o666 & ~umask)  # the writer makes files that only the owner may read
    os.replace(beside, path)


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    """Read what `save_tensors` wrote; CheckpointError in one line where that cannot be done."""
    return _read(path, lambda file: {name: file.get_tensor(name) for name in file.keys()})


def load_header(path: str | Path) -> dict:
    """The JSON header alone of what `save_tensors` wrote; errors as `load_tensors`."""
    return _read(path, lambda file: None)[1]


def _read(path: str | Path, content: Callable):
    """`content` of the open file, and its header."""
    try:
        with safe_open(str(path), framework="pt") as file:
            header = json.loads((file.metadata() or {})["lifting_ros"])
            return content(file), header
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such weights file") from None
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path}: not a weights file of lifting_ros ({reason(error)})"
        ) from None


def save_network(
    path: str | Path, state: dict[str, Tensor], config: NetworkConfig, card: dict
) -> None:
    """Write network weights as fp16 with their configuration and a short card (recipe, seed,
    revision)."""
    half = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}
    save_tensors(path, half, {"network": dataclasses.asdict(config), "card": card})


def load_network(
    path: str | Path, prior=None, device: str | torch.device = "cpu"
) -> MultistageNetwork:
    """Build the network that a weights file describes, in float32 and evaluation mode; `prior`
    gives it its fusion layers."""
    tensors, header = load_tensors(path)
    try:
        config = from_mapping(NetworkConfig, header["network"])
        network = build_network(config, prior)
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: holds no network that this version knows ({reason(error)})"
        ) from None
    return network.to(device=device, memory_format=torch.channels_last).float().eval()


def build_network(config: NetworkConfig, prior=None) -> MultistageNetwork:
    """A network of random weights, fused with `prior` (a core.ppca.MixturePPCA) where one is given."""
    return MultistageNetwork(config, None if prior is None else fusion_of(config, prior))


def fusion_of(config: NetworkConfig, prior):
    """The fusion layers (core.fusion.PriorFusion, or none) of such a network: the same width on the
    person whatever the grid."""
    if not config.fusion:
        return NoFusion()
    from lifting_ros.keypoints.fusion import (
        PriorFusion,  # the prior's algebra is not needed for a plain network
    )

    return PriorFusion(
        prior, config.stages, config.fusion_noise, FUSION_SIGMA * config.input_px / config.stride
    )
