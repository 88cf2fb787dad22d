# SPDX-License-Identifier: Apache-2.0
"""Properties of the prior: it recovers what generated the data, its likelihood rises, and nothing
turns or scales away what it learnt."""

import numpy as np
import pytest
from people import fit_gaussian, make_poses, small_prior, three_kinds
from scipy.stats import multivariate_normal

from lifting_ros.prior.alignment import Mixture, align, rotate_about_vertical
from lifting_ros.prior.mixture import expectation_maximisation, greedy_centres, start_mixture
from lifting_ros.prior.ppca import MixturePPCA, PriorError, mirrored, normalise


def test_fit_gaussian_recovers_a_known_model():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(51, 3)))[0].T
    mean, variance, noise = rng.normal(size=51), np.array([4.0, 2.0, 1.0]), 0.01
    data = (
        mean
        + rng.normal(size=(40_000, 3)) * np.sqrt(variance - noise) @ basis
        + np.sqrt(noise) * rng.normal(size=(40_000, 51))
    )
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
    plain = multivariate_normal(np.zeros(48), space.T @ covariance @ space).logpdf(
        (rows - model.mean) @ space
    )
    np.testing.assert_allclose(model.log_density(rows), plain, rtol=1e-6)


def test_likelihood_rises_through_em():
    gains = np.diff(small_prior().log_likelihoods_)
    assert len(gains) >= 1 and (gains > -1e-9).all()


def test_score_does_not_depend_on_size_place_yaw_or_side():
    prior, poses = MixturePPCA(2, 12).fit(make_poses(600)), make_poses(40, seed=9)
    expected = prior.score_samples(poses)
    c, s = np.cos(1.1), np.sin(1.1)
    moved = 1.7 * poses @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T + np.array([3.0, -2, 1])
    np.testing.assert_allclose(prior.score_samples(moved), expected, atol=1e-6)
    np.testing.assert_allclose(prior.score_samples(mirrored(poses)), expected, atol=1e-6)


def test_the_prior_is_its_own_mirror_image():
    prior = small_prior()
    np.testing.assert_allclose(mirrored(prior.means_), prior.means_, atol=1e-9)
    flip = mirrored(np.eye(51).reshape(51, 17, 3)).reshape(51, 51)
    covariances = prior.covariances()
    np.testing.assert_allclose(flip @ covariances @ flip, covariances, atol=1e-9)
    np.testing.assert_allclose(prior.limbs_[0:3], prior.limbs_[3:6], atol=1e-12)  # legs


def test_size_and_place_of_training_poses_do_not_matter():
    poses, rng = make_poses(400), np.random.default_rng(3)
    moved = poses * rng.uniform(0.5, 2, (400, 1, 1)) + rng.normal(size=(400, 1, 3))
    scores = [MixturePPCA(2, 6).fit(p).score_samples(poses[:50]) for p in (poses, moved)]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)


def test_em_recovers_the_mixture_that_made_the_data():
    means, rows, owner = three_kinds(1500)
    prior = MixturePPCA(3, 4).fit(rows.reshape(-1, 17, 3))
    np.testing.assert_allclose(
        prior.weights_, np.sort(np.bincount(owner) / len(owner))[::-1], atol=0.02
    )
    distance = [
        np.linalg.norm(
            rotate_about_vertical(np.repeat(mean[None], 200, 0), np.linspace(0, 2 * np.pi, 200))
            - found.ravel(),
            axis=1,
        ).min()
        for mean, found in zip(means[np.argsort(-np.bincount(owner))], prior.means_)
    ]
    assert max(distance) < 0.05


def test_empty_component_is_dropped_and_likelihood_rises_on():
    _, rows, _ = three_kinds(900)
    weights, theta = np.ones(900), align(rows, np.ones(900), 4)[0]
    start = start_mixture(rows, weights, theta, 3, 4)
    nowhere = start.gaussians[0]._replace(mean=start.gaussians[0].mean + 9.0)
    mixture = Mixture(np.full(4, 0.25), [*start.gaussians, nowhere])
    _, found, history = expectation_maximisation(rows, weights, theta, mixture)
    assert len(found.weights) == 3 and found.weights.sum() == pytest.approx(1)
    assert len(history) > 1 and (np.diff(history) > -1e-9).all()


def test_equal_components_are_merged():
    _, rows, _ = three_kinds(900)
    weights, theta = np.ones(900), align(rows, np.ones(900), 4)[0]
    start = start_mixture(rows, weights, theta, 3, 4)
    again = start.gaussians[1]._replace(mean=start.gaussians[1].mean + 1e-4)
    mixture = Mixture(np.full(4, 0.25), [*start.gaussians, again])
    _, found, history = expectation_maximisation(rows, weights, theta, mixture)
    assert len(found.weights) == 3
    assert (np.diff(history) > -1e-9).all()


def test_greedy_centres_lie_apart_and_lower_equation_3():
    _, rows, owner = three_kinds(300)
    aligned = rotate_about_vertical(rows, -align(rows, np.ones(300), 2)[0])
    chosen = greedy_centres(aligned, 10)
    assert set(owner[chosen[:3]]) == {0, 1, 2}
    costs = [
        np.linalg.norm(aligned[:, None] - aligned[None, chosen[:n]], axis=-1).min(1).sum()
        for n in range(1, len(chosen) + 1)
    ]
    assert (np.diff(costs) < 0).all()
    assert len(greedy_centres(np.tile(aligned[:1], (50, 1)), 4)) == 1  # nothing else to propose


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
    np.testing.assert_allclose(
        loaded.score_samples(poses), small_prior().score_samples(poses), rtol=1e-12
    )
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


def test_unusable_poses_are_refused_by_name():
    for poses in (
        np.zeros((500, 16, 3)),
        np.full((500, 17, 3), np.nan),
        np.zeros((500, 17, 3)),
        make_poses(10),
    ):
        with pytest.raises(PriorError, match="^positions: "):
            MixturePPCA(2, 12).fit(poses)


@pytest.mark.parametrize(
    "weights", [np.ones(3), np.full(200, np.nan), -np.ones(200), np.zeros(200)]
)
def test_unusable_weights_are_refused_by_name(weights):
    with pytest.raises(PriorError, match="^sample_weight: "):
        MixturePPCA(1, 3).fit(make_poses(200), weights)
