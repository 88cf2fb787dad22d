# SPDX-License-Identifier: Apache-2.0
"""Each term of the relative-depth loss is its equation, in float64 and a loop over persons; whose
loss it is depends on nobody else."""

import numpy as np
import pytest
import torch

from lifting_ros.lifting.relative import JOINT_SETS, ratios
from lifting_ros.research.training.relative_losses import (
    LEAST_DEPTH,
    ranking,
    reprojection,
    root_offset,
    skeleton,
)

SETS = [JOINT_SETS[17], JOINT_SETS[14]]
PEOPLE = 12


def poses(which, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return (300 * torch.randn(PEOPLE, len(which.joints), 3, dtype=torch.float64)).requires_grad_()


def pairs_and_labels(which):
    rng = np.random.default_rng(0)
    pairs = np.stack([rng.choice(len(which.joints), 2, replace=False) for _ in range(PEOPLE)])[
        :, None
    ]
    return torch.from_numpy(pairs), torch.tensor([1.0, -1, 0] * (PEOPLE // 3), dtype=torch.float64)[
        :, None
    ]


@pytest.mark.parametrize("which", SETS)
def test_ranking_is_its_equation(which):
    joints, (pairs, label) = poses(which), pairs_and_labels(which)
    found = ranking(joints, pairs, label, list(which.limbs)).detach().numpy()
    for n, pose in enumerate(joints.detach().numpy()):
        (i, j), r = pairs[n, 0].tolist(), float(label[n, 0])
        size = np.sqrt(sum(((pose[a] - pose[b]) ** 2).sum() for a, b in which.limbs))
        between = [abs(a[2] - b[2]) for k, a in enumerate(pose) for b in pose[:k]]
        d = (pose[i, 2] - pose[j, 2]) / (np.mean(between) + LEAST_DEPTH * size)
        expected = d**2 if r == 0 else np.log(1 + np.exp(min(85.0, -2.5 * r * d)))
        assert found[n] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("which", SETS)
def test_ranking_is_the_mean_of_comparisons_in_any_order(which):
    joints, (pairs, label) = poses(which), pairs_and_labels(which)
    limbs, other = list(which.limbs), pairs.roll(1, 0)
    both = ranking(joints, torch.cat([pairs, other], 1), torch.cat([label, -label], 1), limbs)
    each = ranking(joints, pairs, label, limbs) + ranking(joints, other.flip(2), label, limbs)
    torch.testing.assert_close(both, each / 2)


@pytest.mark.parametrize("which", SETS)
@pytest.mark.parametrize("perspective", [False, True])
def test_reprojection_is_its_equation(which, perspective):
    joints = poses(which)
    scale = torch.linspace(0.1, 0.9, PEOPLE, dtype=torch.float64) * (0.0005 if perspective else 1.0)
    target = 50 * torch.randn(PEOPLE, len(which.joints), 2, dtype=torch.float64)
    focal = torch.linspace(900, 1200, PEOPLE, dtype=torch.float64) if perspective else None
    found = reprojection(joints, scale, target, focal).detach().numpy()
    for n, pose in enumerate(joints.detach().numpy()):
        s, total = float(scale[n]), 0.0
        for (x, y, z), (u, v) in zip(pose, target[n].tolist()):
            a, b = (
                (float(focal[n]) * x / (z + 1 / s), float(focal[n]) * y / (z + 1 / s))
                if perspective
                else (s * x, s * y)
            )
            total += np.sqrt((a - u) ** 2 + (b - v) ** 2 + 1e-8)
        assert found[n] == pytest.approx(total / len(pose), rel=1e-9)


@pytest.mark.parametrize("which", SETS)
def test_root_and_skeleton_are_their_equations(which):
    joints = poses(which)
    ratio = torch.linspace(0.3, 1.4, len(which.limbs), dtype=torch.float64)
    root, limbs = (
        root_offset(joints, which.root).detach().numpy(),
        skeleton(joints, ratio, list(which.limbs), which.shin).detach().numpy(),
    )
    for n, pose in enumerate(joints.detach().numpy()):
        lengths = np.array([np.linalg.norm(pose[a] - pose[b]) for a, b in which.limbs])
        assert root[n] == pytest.approx(np.linalg.norm(pose[which.root]), rel=1e-9)
        differences = np.sqrt((lengths / lengths[which.shin] - ratio.numpy()) ** 2 + 1e-8)
        assert limbs[n] == pytest.approx(differences.mean(), rel=1e-7)


@pytest.mark.parametrize("which", SETS)
def test_ranking_gradient_separates_depths(which):
    joints, pairs = poses(which), pairs_and_labels(which)[0]
    for sign in (1.0, -1.0):
        label = torch.full((PEOPLE, 1), sign, dtype=torch.float64)
        (gradient,) = torch.autograd.grad(
            ranking(joints, pairs, label, list(which.limbs)).sum(), joints
        )
        first, second = (gradient[torch.arange(PEOPLE), pairs[:, 0, side], 2] for side in (0, 1))
        assert ((first - second) * sign < 0).all()
    same = torch.zeros(PEOPLE, 1, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(ranking(joints, pairs, same, list(which.limbs)).sum(), joints)
    apart = (
        joints[torch.arange(PEOPLE), pairs[:, 0, 0], 2]
        - joints[torch.arange(PEOPLE), pairs[:, 0, 1], 2]
    )
    first, second = (gradient[torch.arange(PEOPLE), pairs[:, 0, side], 2] for side in (0, 1))
    assert ((first - second) * apart > 0).all()


@pytest.mark.parametrize("which", SETS)
def test_gradients_are_the_differences(which):
    joints, (pairs, label) = poses(which), pairs_and_labels(which)
    limbs, ratio = list(which.limbs), torch.ones(len(which.limbs), dtype=torch.float64)
    target, scale = (
        torch.zeros(PEOPLE, len(which.joints), 2, dtype=torch.float64),
        torch.full((PEOPLE,), 0.3, dtype=torch.float64),
    )

    def terms(pose):
        return (
            ranking(pose, pairs, label, limbs).sum()
            + reprojection(pose, scale, target).sum()
            + root_offset(pose, which.root).sum()
            + skeleton(pose, ratio, limbs, which.shin).sum()
        )

    assert torch.autograd.gradcheck(terms, joints, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("which", SETS)
def test_loss_of_a_person_is_independent_of_the_batch(which):
    joints, (pairs, label) = poses(which).detach(), pairs_and_labels(which)
    crowd = joints.clone()
    crowd[1:] *= 1000.0
    limbs, ratio = list(which.limbs), torch.ones(len(which.limbs), dtype=torch.float64)
    for term in (
        lambda x, n: ranking(x, pairs[:n], label[:n], limbs),
        lambda x, n: root_offset(x, which.root),
        lambda x, n: skeleton(x, ratio, limbs, which.shin),
        lambda x, n: reprojection(
            x,
            torch.ones(n, dtype=torch.float64),
            torch.zeros(n, len(which.joints), 2, dtype=torch.float64),
        ),
    ):
        assert term(joints[:1], 1)[0] == term(joints, PEOPLE)[0] == term(crowd, PEOPLE)[0]


def test_ranking_has_no_unit_and_is_finite_at_equal_depths():
    which = SETS[0]
    joints, (pairs, label) = poses(which).detach(), pairs_and_labels(which)
    limbs = list(which.limbs)
    torch.testing.assert_close(
        ranking(joints, pairs, label, limbs),
        ranking(joints / 1000, pairs, label, limbs),
        rtol=1e-6,
        atol=1e-6,
    )
    flat = joints.clone()
    flat[..., 2] = 7.0
    flat.requires_grad_()
    loss = ranking(flat, pairs, label, limbs)
    loss.sum().backward()
    ordered = label[:, 0] != 0
    assert (
        torch.allclose(loss[ordered], torch.log(torch.tensor(2.0, dtype=torch.float64)))
        and torch.isfinite(flat.grad).all()
    )
    assert (flat.grad[ordered, :, 2].abs().sum(1) > 0).all()


@pytest.mark.parametrize("which", SETS)
def test_the_ranking_does_not_flatten_people(which):
    """Labels that are wrong as often as right leave the depth of people as it is, but for what
    keeps the unit from being nothing."""
    joints, pairs = poses(which).detach(), pairs_and_labels(which)[0]
    limbs, right = list(which.limbs), torch.ones(PEOPLE, 1, dtype=torch.float64)
    flat = joints * torch.tensor([1.0, 1.0, 0.5], dtype=torch.float64)
    for label in (right, -right):
        torch.testing.assert_close(
            ranking(flat, pairs, label, limbs),
            ranking(joints, pairs, label, limbs),
            rtol=0.1,
            atol=0.02,
        )


@pytest.mark.parametrize("which", SETS)
def test_limbs_of_a_set_are_a_body(which):
    """Sides mirror each other, in the limbs and in the body drawn by rule; the shin is the right
    one; ratios are the skeleton term's."""
    lengths = dict(zip(which.limbs, which.generic))
    for (a, b), length in lengths.items():
        mirrored = which.flip[a], which.flip[b]
        assert lengths[mirrored] == length
    from lifting_ros.skeleton import JOINT_NAMES

    assert [JOINT_NAMES[which.joints[j]] for j in which.limbs[which.shin]] == [
        "right_knee",
        "right_ankle",
    ]
    joints = np.random.default_rng(0).standard_normal((5, 17, 3))
    own = torch.from_numpy(joints[:, list(which.joints)])
    exact = skeleton(own, torch.from_numpy(ratios(joints, which)), list(which.limbs), which.shin)
    assert exact.max() < 2e-4 and ratios(joints, which)[:, which.shin].tolist() == [1.0] * 5
