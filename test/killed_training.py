# SPDX-License-Identifier: Apache-2.0
"""A training that is killed and given again, held to one that was not."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch


class Killed(Exception):
    """Stands for the end of the process."""


def killed_and_resumed(train: Callable, folder: Path, tolerance: float = 1e-5):
    """The lifters of an unbroken training and of one killed at its second validation, whose weights
    are the same.

    train(folder, evaluate=None, every=...) trains to the end of one recipe; a state is kept once it
    is validated.
    """
    whole, seen = train(folder / "whole"), []

    def kill(lifter) -> dict[str, float]:
        seen.append(lifter)
        if len(seen) == 2:
            raise Killed
        return {"error": 1.0}

    with pytest.raises(Killed):
        train(folder / "parts", kill, every=4)
    assert (folder / "parts" / "state.safetensors").exists()
    resumed = train(folder / "parts")
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(
            resumed.network.state_dict()[name], value, rtol=0, atol=tolerance
        )
    return whole, resumed
