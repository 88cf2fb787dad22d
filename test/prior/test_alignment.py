# SPDX-License-Identifier: Apache-2.0
"""Properties of section 4.1: the cost never rises, mirrored poses need not be made, and nothing of
side, size or place is learnt."""

import numpy as np
import pytest
from people import fit_gaussian, make_poses, update_rotations
from scipy.special import logsumexp

from lifting_ros.prior.alignment import (
    Mixture,
    align,
    cost_waves,
    lowest_angles,
    mirror_rows,
    rotate_about_vertical,
    sweep,
    symmetric,
    wave_values,
)
from lifting_ros.prior.gaussian import gaussian_of, moments_of
from lifting_ros.prior.ppca import normalise
from lifting_ros.prior.streaming import BLOCK, crossed, product


def rows_of(count: int, seed: int, **kwargs) -> np.ndarray:
    return normalise(make_poses(count, seed=seed, **kwargs))[0]


def test_the_cost_never_rises_within_a_basis_size():
    rows = rows_of(300, 3)
    _, _, history = align(rows, np.random.default_rng(0).uniform(0.1, 3, len(rows)), 8, rounds=5)
    assert len(history) == 8
    for costs in history:
        assert len(costs) == 5 and (np.diff(costs) <= 1e-9).all()


def test_the_cost_is_equation_1_with_the_best_coefficients():
    """Its quadratic part: residual over the noise plus coefficients over their deviations,
    minimised over the coefficients by hand."""
    rows = rows_of(60, 1, yaw=False)
    model = fit_gaussian(rows, np.ones(60), 6)
    centred, prior = rows - model.mean, model.variance - model.noise
    a = np.linalg.solve(
        np.eye(6) / model.noise + np.diag(1 / prior), model.basis @ centred.T / model.noise
    ).T
    by_hand = ((centred - a @ model.basis) ** 2).sum(1) / model.noise + (a**2 / prior).sum(1)
    np.testing.assert_allclose(
        wave_values(cost_waves(rows, model), np.zeros(60)), by_hand, rtol=1e-9
    )


def test_the_wave_is_the_cost_at_every_angle():
    rows, model = rows_of(20, 2), fit_gaussian(rows_of(300, 4, yaw=False), np.ones(300), 5)
    for angle in np.linspace(-3, 9, 7):
        turned = rotate_about_vertical(rows, -np.full(20, angle))
        expected = -0.5 * (
            wave_values(cost_waves(rows, model), np.full(20, angle)) + model.log_normaliser()
        )
        np.testing.assert_allclose(expected, model.log_density(turned), rtol=1e-9)


def test_a_sweep_weighs_the_components():
    """Its likelihood and its shares are those of the mixture written out, weights of the components
    included."""
    rows = rows_of(200, 6, yaw=False)
    models = [
        fit_gaussian(rows, np.ones(200), 3),
        fit_gaussian(rows_of(200, 7, yaw=False), np.ones(200), 8),
    ]
    done = sweep(rows, np.ones(200), np.zeros(200), Mixture(np.array([0.95, 0.05]), models))
    joint = np.stack([np.log(w) + g.log_density(rows) for w, g in zip((0.95, 0.05), models)], 1)
    evidence = logsumexp(joint, axis=1)
    assert done.log_likelihood == pytest.approx(evidence.mean(), rel=1e-9)
    np.testing.assert_allclose(
        done.overlap.sum(1), np.exp(joint - evidence[:, None]).sum(0), rtol=1e-6
    )


def test_a_rotation_update_never_makes_a_pose_worse():
    waves = np.random.default_rng(0).normal(size=(5000, 5)) * np.array([1, 1, 1, 3, 3])
    start = np.random.default_rng(1).uniform(0, 7, 5000)
    found = lowest_angles(waves, start)
    assert (wave_values(waves, found) <= wave_values(waves, start)).all()
    slope = wave_values(waves, found + 1e-5) - wave_values(waves, found - 1e-5)
    assert np.median(np.abs(slope)) < 1e-9  # at a minimum, most of them


def test_mirrored_copies_need_not_be_made():
    """A sweep over poses gives the likelihood, rotations and moments of a sweep over poses and
    their mirror images."""
    rows, weights = rows_of(BLOCK // 8, 5), np.random.default_rng(0).uniform(0.5, 2, BLOCK // 8)
    theta = align(rows, weights, 2)[0]
    aligned = rotate_about_vertical(rows, -theta)
    models = [
        gaussian_of(symmetric(moments_of(aligned[part], weights[part])), 4)
        for part in (slice(0, 99), slice(99, None))
    ]
    mixture = Mixture(np.array([0.3, 0.7]), models)
    once = sweep(rows, weights, theta, mixture)
    both = sweep(
        np.concatenate([rows, mirror_rows(rows)]),
        np.tile(weights, 2),
        np.concatenate([theta, -theta]),
        mixture,
    )
    assert once.log_likelihood == pytest.approx(both.log_likelihood, rel=1e-12)
    np.testing.assert_allclose(both.theta, np.concatenate([once.theta, -once.theta]), atol=1e-7)
    np.testing.assert_allclose(both.moments, 2 * once.moments, rtol=1e-6, atol=1e-6)


def test_alignment_undoes_rotations_about_the_vertical():
    """The same poses, each turned at random, end up facing one way: their hip lines agree."""
    rows = rows_of(400, 5)
    aligned = rotate_about_vertical(rows, -align(rows, np.ones(len(rows)), 4)[0]).reshape(-1, 17, 3)
    assert concentration(aligned) > 0.97
    assert concentration(rows.reshape(-1, 17, 3)) < 0.2


def concentration(poses: np.ndarray) -> float:
    hips = poses[:, 4] - poses[:, 1]
    return float(np.abs(np.exp(1j * np.arctan2(hips[:, 2], hips[:, 0])).mean()))


def test_initial_yaw_of_poses_does_not_matter():
    rows = rows_of(400, 6)
    turned = rotate_about_vertical(rows, np.random.default_rng(0).uniform(0, 7, len(rows)))
    cost = [align(r, np.ones(len(r)), 6, rounds=8)[2][-1][-1] for r in (rows, turned)]
    assert cost[0] == pytest.approx(cost[1], abs=0.02)


def test_rotation_update_finds_best_angle_of_fine_grid():
    rows = rows_of(50, 7)
    model = fit_gaussian(rows_of(500, 0, yaw=False), np.ones(500), 8)
    theta = update_rotations(rows, np.zeros(len(rows)), model, grid=32)
    found = model.log_density(rotate_about_vertical(rows, -theta))
    grid = [
        model.log_density(rotate_about_vertical(rows, -np.full(len(rows), a)))
        for a in np.linspace(0, 2 * np.pi, 721)
    ]
    assert (found >= np.max(grid, 0) - 1e-6).all()


@pytest.mark.parametrize("count", [1, 63, 64, 200])
def test_products_in_slices_are_products(count):
    rng = np.random.default_rng(0)
    a, b, m = rng.normal(size=(count, 5)), rng.normal(size=(count, 3)), rng.normal(size=(5, 4))
    np.testing.assert_allclose(product(a, m), a @ m, atol=1e-12)
    np.testing.assert_allclose(crossed(a, b), a.T @ b, atol=1e-12)
