# SPDX-License-Identifier: Apache-2.0
"""The published model file becomes a prior without loss: its numbers come back, right stays right,
and what is no such file is one line."""

import re

import numpy as np
import pytest
from people import make_poses
from scipy.io import savemat

from lifting_ros.cli.main import main
from lifting_ros.prior.ppca import MixturePPCA, normalise


def published_model() -> dict[str, np.ndarray]:
    """A model of the published layout: x to the person's right, y ahead, z up, millimetres."""
    rng = np.random.default_rng(0)
    poses = make_poses(3, yaw=False)  # y up, looking along +z, the person's right at -x
    poses = 1000 * (poses - poses.mean(1, keepdims=True))
    mu = np.stack([-poses[..., 0], poses[..., 2], poses[..., 1]], 1).reshape(3, 51)
    e = np.linalg.qr(rng.normal(size=(3, 51, 25)))[0].transpose(0, 2, 1)
    sigma = np.concatenate(
        [np.sort(rng.uniform(0.0016, 0.054, (3, 25))), rng.uniform(0.05, 0.09, (3, 1))], 1
    )
    return {"mu": mu, "e": e, "sigma": sigma}


def to_rows(joints: np.ndarray) -> np.ndarray:
    """Joints (..., 17, 3), y up, as rows (..., 51) of the file."""
    leading = joints.shape[:-2]
    turned = joints @ np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]])
    by_axis = np.swapaxes(turned, -1, -2)
    return by_axis.reshape(*leading, -1)


def published_arrays(prior: MixturePPCA) -> dict[str, np.ndarray]:
    """A prior as `mu`, `e` and `sigma` of the published file, which has no component weights."""
    unit_mm = prior.stature_m_ * 1000
    inverse = 1 / prior.deviations_
    inverse_noise = 1 / prior.noises_[:, None]
    sigma = np.concatenate([inverse, inverse_noise], 1) / unit_mm

    return {
        "mu": to_rows(prior.means_ * unit_mm),
        "e": to_rows(prior.bases_),
        "sigma": sigma,
    }


@pytest.fixture
def imported(tmp_path) -> MixturePPCA:
    savemat(tmp_path / "model.mat", published_model())
    assert (
        main(["import-prior", str(tmp_path / "model.mat"), "--out", str(tmp_path / "prior.npz")])
        == 0
    )
    return MixturePPCA.load(tmp_path / "prior.npz")


def test_nothing_is_lost(imported):
    for name, value in published_arrays(imported).items():
        np.testing.assert_allclose(
            value, published_model()[name], rtol=1e-12, atol=1e-12, err_msg=name
        )


def test_right_stays_right_and_up_is_y(imported):
    """Against the stick figures' own axes: hips, head and knees, which bend ahead, are where they
    are in a person."""
    figures = make_poses(3, yaw=False)
    figures = figures - figures.mean(1, keepdims=True)
    np.testing.assert_allclose(imported.means_ * imported.stature_m_, figures, atol=1e-12)
    across, up = (
        imported.means_[:, 1] - imported.means_[:, 4],
        imported.means_[:, 10] - imported.means_[:, 0],
    )
    nose = imported.means_[:, 9] - 0.5 * (imported.means_[:, 8] + imported.means_[:, 10])
    assert (
        np.einsum("ci,ci->c", np.cross(up, across), nose) > 0
    ).all()  # the triple product of a person, not of a mirrored one


def test_likelihoods_are_those_of_the_file(imported):
    """A density of millimetres under mu, e and sigma by the plain formula and the same differences
    here."""
    model = published_model()
    covariance = (model["e"][0].T / model["sigma"][0, :-1] ** 2) @ model["e"][0] + np.eye(
        51
    ) / model["sigma"][0, -1] ** 2
    offsets = np.random.default_rng(1).normal(0, 50, (2, 17, 3))
    rows = np.stack([-offsets[..., 0], offsets[..., 2], offsets[..., 1]], 1).reshape(2, 51)
    expected = np.einsum("ni,ij,nj->n", rows, np.linalg.inv(covariance), rows)
    ours = (offsets / 1000 / imported.stature_m_).reshape(2, 51)
    np.testing.assert_allclose(
        np.einsum("ni,ij,nj->n", ours, imported.gaussians()[0].precision(), ours),
        expected,
        rtol=1e-9,
    )


def test_the_unit_is_the_size_of_what_the_model_describes(imported):
    rng = np.random.default_rng(2)
    component = rng.integers(0, 3, 20_000)
    coefficients = rng.normal(size=(20_000, 25)) * imported.deviations_[component]
    poses = imported.means_[component] + np.einsum(
        "nk,nkjd->njd", coefficients, imported.bases_[component]
    )
    assert np.sqrt((normalise(poses)[1] ** 2).mean()) == pytest.approx(1, abs=0.01)
    assert np.square(imported.limbs_[:, 0]).sum() == pytest.approx(1)
    np.testing.assert_allclose(imported.weights_, 1 / 3)


def changed(name: str, value) -> dict:
    return {**published_model(), name: value}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({k: v for k, v in published_model().items() if k != "sigma"}, "sigma is missing"),
        (changed("mu", np.zeros((3, 48))), r"mu: expected \(3, 51\)"),
        (changed("e", np.zeros((3, 25, 48))), r"e: expected \(C, K, 51\)"),
        (changed("e", 2 * published_model()["e"]), "e: expected orthonormal"),
        (changed("sigma", published_model()["sigma"][:, :20]), r"sigma: expected \(3, 26\)"),
        (changed("sigma", -published_model()["sigma"]), "sigma: expected positive"),
        (
            changed("mu", np.full((3, 51), np.nan)),
            "mu: expected an array of 2 dimensions and finite",
        ),
        (
            changed("mu", np.array([["a", 1], [2.0, None]], dtype=object)[:, :1]),
            "mu: expected real numbers",
        ),
        (changed("mu", "a text"), "mu: expected real numbers"),
        (b"not a mat file at all", "not a readable .mat"),
        (b"", "not a readable .mat"),
        (None, "No such file"),
    ],
)
def test_another_file_is_one_clear_line(tmp_path, capsys, content, message):
    path = tmp_path / "model.mat"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        savemat(path, {k: v for k, v in content.items() if v is not None})
    assert main(["import-prior", str(path), "--out", str(tmp_path / "prior.npz")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.search(message, error), error
    assert [p.name for p in tmp_path.iterdir()] == ([] if content is None else ["model.mat"])
