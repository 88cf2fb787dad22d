# SPDX-License-Identifier: Apache-2.0
"""Properties of the prior: it recovers what generated the data, its likelihood rises, and nothing turns or scales away what it learnt."""
import numpy as np
import pytest
from people import make_poses, small_prior
from scipy.stats import multivariate_normal

from lifting_ros.core.alignment import align, fit_gaussian, rotate_about_vertical, update_rotations
from lifting_ros.core.ppca import MixturePPCA, PriorError, mirrored, normalise


def test_fit_gaussian_recovers_a_known_model():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(51, 3)))[0].T
    mean, variance, noise = rng.normal(size=51), np.array([4.0, 2.0, 1.0]), 0.01
    data = mean + rng.normal(size=(40_000, 3)) * np.sqrt(variance - noise) @ basis + np.sqrt(noise) * rng.normal(size=(40_000, 51))
    model = fit_gaussian(data, np.ones(len(data)), 3)
    np.testing.assert_allclose(model.variance, variance, rtol=0.05)
    np.testing.assert_allclose(np.abs(model.basis @ basis.T), np.eye(3), atol=0.03)
    np.testing.assert_allclose(model.mean, mean, atol=0.05)


def test_log_density_agrees_with_the_plain_formula():
    """Reference: the full Gaussian on a basis of the 48 dimensions that centred poses have."""
    rows = normalise(make_poses(400))[0]
    model = fit_gaussian(rows, np.ones(len(rows)), 10)
    translations = np.tile(np.eye(3), (1, 17)) / np.sqrt(17)
    space = np.linalg.svd(np.eye(51) - translations.T @ translations)[0][:, :48]
    covariance = np.linalg.inv(model.precision())
    plain = multivariate_normal(np.zeros(48), space.T @ covariance @ space).logpdf((rows - model.mean) @ space)
    np.testing.assert_allclose(model.log_density(rows), plain, rtol=1e-6)


def test_alignment_cost_never_rises_within_a_basis_size():
    rows = normalise(make_poses(300, seed=3))[0]
    _, _, history = align(rows, np.ones(len(rows)), 8)
    assert len(history) == 8
    for costs in history:
        assert all(later <= earlier + 1e-9 for earlier, later in zip(costs, costs[1:], strict=False))


def test_alignment_undoes_rotations_about_the_vertical():
    """The same poses, each turned at random, end up facing one way: their hip lines agree."""
    rows = normalise(make_poses(400, seed=5))[0]
    theta, _, _ = align(rows, np.ones(len(rows)), 4)
    aligned = rotate_about_vertical(rows, -theta).reshape(-1, 17, 3)
    hips = aligned[:, 4] - aligned[:, 1]
    angle = np.arctan2(hips[:, 2], hips[:, 0])
    assert np.abs(np.exp(1j * angle).mean()) > 0.97
    spread_before = np.abs(np.exp(1j * np.arctan2(*(rows.reshape(-1, 17, 3)[:, 4] - rows.reshape(-1, 17, 3)[:, 1])[:, [2, 0]].T)).mean())
    assert spread_before < 0.2


def test_rotation_update_finds_the_best_angle_of_a_fine_grid():
    rows = normalise(make_poses(50, seed=7))[0]
    model = fit_gaussian(normalise(make_poses(500, yaw=False))[0], np.ones(500), 8)
    theta = update_rotations(rows, np.zeros(len(rows)), model, grid=32)
    found = model.log_density(rotate_about_vertical(rows, -theta))
    grid = [model.log_density(rotate_about_vertical(rows, -np.full(len(rows), a))) for a in np.linspace(0, 2 * np.pi, 721)]
    assert (found >= np.max(grid, 0) - 1e-6).all()


def test_likelihood_rises_through_em():
    gains = np.diff(small_prior().log_likelihoods_)
    assert len(gains) >= 1 and (gains > -1e-9).all()


def test_score_does_not_depend_on_size_place_yaw_or_side():
    prior, poses = MixturePPCA(1, 12).fit(make_poses(600)), make_poses(40, seed=9)
    expected = prior.score_samples(poses)
    c, s = np.cos(1.1), np.sin(1.1)
    moved = 1.7 * poses @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T + np.array([3.0, -2, 1])
    np.testing.assert_allclose(prior.score_samples(moved), expected, atol=1e-3)
    assert np.median(np.abs(prior.score_samples(mirrored(poses)) - expected)) < 0.05 * expected.std()  # learnt from mirrored copies


def test_a_person_scores_above_a_scrambled_one():
    prior, poses = small_prior(), make_poses(20, seed=11)
    scrambled = poses[:, np.random.default_rng(0).permutation(17)]
    assert prior.score_samples(poses).min() > prior.score_samples(scrambled).max()


def test_transform_explains_most_of_a_pose():
    prior, poses = small_prior(), make_poses(30, seed=13)
    component, coefficients = prior.transform(poses)
    assert coefficients.shape == (30, 12) and set(component) <= {0, 1}
    assert np.abs(coefficients / prior.deviations_[component]).mean() < 2


def test_save_and_load_keep_everything(tmp_path):
    small_prior().save(tmp_path / "prior.npz")
    loaded, poses = MixturePPCA.load(tmp_path / "prior.npz"), make_poses(5)
    np.testing.assert_allclose(loaded.score_samples(poses), small_prior().score_samples(poses), rtol=1e-12)
    assert (loaded.stature_m_, loaded.stature_std_m_) == (1.05, 0.06)


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name in "ab":
        MixturePPCA(2, 6, seed=4).fit(make_poses(300)).save(tmp_path / name)
    a, b = (dict(np.load(tmp_path / name)) for name in "ab")
    assert all(np.array_equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x93NUMPY"])
def test_a_corrupt_prior_is_one_line(tmp_path, content):
    path = tmp_path / "prior.npz"
    path.write_bytes(content)
    with pytest.raises(PriorError, match="prior.npz: not a prior") as error:
        MixturePPCA.load(path)
    assert "\n" not in str(error.value)


def test_poses_that_cannot_be_learnt_from_are_refused_by_name():
    for poses in (np.zeros((500, 16, 3)), np.full((500, 17, 3), np.nan), np.zeros((500, 17, 3)), make_poses(10)):
        with pytest.raises(PriorError, match="^positions: "):
            MixturePPCA(2, 12).fit(poses)
