# SPDX-License-Identifier: Apache-2.0
"""The measurements of the refinement and their Jacobians, against automatic differentiation."""
import numpy as np
import torch
from people import small_prior

from lifting_ros.core import posterior
from lifting_ros.core.candidates import up_to_camera


def make_state() -> tuple[torch.Tensor, torch.Tensor]:
    """A state (1, 1, 57) some way from the mean pose, turned a little and 4 sizes away, and its rotation (1, 1, 3, 3)."""
    pose = torch.from_numpy(small_prior().means_[0].ravel()) + 0.02 * torch.randn(51, dtype=torch.float64)
    place_and_turn = torch.tensor([0.2, -0.1, 4.0, 0.1, -0.2, 0.15], dtype=torch.float64)
    rotation = torch.from_numpy(up_to_camera(np.array([0.0, -1, 0])))
    return torch.cat([pose, place_and_turn])[None, None], rotation[None, None]


def test_limb_lengths_and_their_jacobian():
    state, _ = make_state()
    lengths, jacobian = posterior._limb_lengths(state)
    expected = torch.autograd.functional.jacobian(lambda s: posterior._limb_lengths(s)[0], state)
    torch.testing.assert_close(jacobian[0, 0], expected[0, 0, :, 0, 0], atol=1e-9, rtol=0)
    assert lengths.shape == (1, 1, 16) and (lengths > 0).all()


def test_rays_and_their_jacobian_in_pose_and_place():
    state, rotation = make_state()
    _, jacobian = posterior._observe(state, rotation)
    expected = torch.autograd.functional.jacobian(lambda s: posterior._observe(s, rotation)[0], state)[0, 0, :, :, 0, 0]
    torch.testing.assert_close(jacobian[0, 0][..., :54], expected[..., :54], atol=1e-9, rtol=0)
