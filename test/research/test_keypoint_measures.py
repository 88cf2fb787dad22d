# SPDX-License-Identifier: Apache-2.0
"""Swaps, stages and covariances of keypoints, on answers that the tests make up; and the network's
answers on a pack of a test's own."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from people import STANDING_PX, small_prior
from photos import png
from small_networks import LITE, small_network
from small_networks import PAPER as PAPER_OF_THREE

from lifting_ros.keypoints import belief_maps
from lifting_ros.keypoints.inference import NetworkRunner
from lifting_ros.keypoints.network import NetworkConfig
from lifting_ros.research.datasets.keypoints2d import PhotoSet
from lifting_ros.research.datasets.pack import Pack
from lifting_ros.research.evaluation import keypoint_calibration as calibration
from lifting_ros.research.evaluation.keypoint_calibration import (
    PARAMETERS,
    Errors,
    calibration_of,
    fit,
    fit_noise,
    half,
)
from lifting_ros.research.evaluation.keypoint_report import (
    TITLES,
    UPRIGHT,
    network_tables,
    own_boxes,
    stage_row,
)
from lifting_ros.research.evaluation.keypoints import (
    MAPS,
    ask,
    false_alarms,
    find_labelled,
    upright,
    validation_rows,
)
from lifting_ros.research.evaluation.metrics import pck, swapped
from lifting_ros.skeleton import KEYPOINT_FLIP, KEYPOINT_NAMES

FIGURE = STANDING_PX.astype(np.float32)
PAPER = dataclasses.replace(PAPER_OF_THREE, stages=2)

pytestmark = pytest.mark.usefixtures("narrow_trunk")


def labels(count: int = 4) -> np.ndarray:
    """The same figure `count` times, every keypoint labelled, (N, 14, 3)."""
    return np.concatenate([np.tile(FIGURE, (count, 1, 1)), np.ones((count, 14, 1), np.float32)], -1)


def make_pack(count: int = 6) -> Pack:
    """Noise around the figure; one row is nobody, the first is for training."""
    rng = np.random.default_rng(0)
    keypoints = labels(count)
    keypoints[3] = 0
    return Pack(
        "noise",
        rng.integers(0, 255, (count, 110, 110, 3), np.uint8),
        keypoints,
        np.arange(count) > 0,
    )


def test_keypoints_on_the_other_side_are_swaps():
    truth = labels()
    mirrored = truth[:, list(KEYPOINT_FLIP), :2].copy()
    assert swapped(truth[..., :2], truth) == 0
    assert swapped(mirrored, truth) == 1
    one = truth[..., :2].copy()
    one[0, 10] = truth[0, 13, :2]  # one of four right ankles at the left
    assert swapped(one, truth) == pytest.approx(1 / 48)


def test_what_is_near_both_sides_or_none_is_no_swap():
    truth = labels()
    truth[:, 13, :2] = truth[:, 10, :2] + 1  # feet together
    assert swapped(truth[:, list(KEYPOINT_FLIP), :2], truth) == pytest.approx(10 / 12)
    assert swapped(truth[..., :2] + 500, truth) == 0
    truth[:, [5, 6, 7, 11, 12, 13], 2] = 0  # no left side to be taken for
    assert np.isnan(swapped(truth[..., :2], truth))


def heavy(scale: float, blur: float, floor: float, count: int = 8000, seed: int = 0) -> Errors:
    """Gaussian errors under the covariances that these parameters give random beliefs."""
    rng = np.random.default_rng(seed)
    turn = rng.normal(size=(count, 2, 2))
    moment = turn @ np.swapaxes(turn, 1, 2) * rng.exponential(
        3, (count, 1, 1)
    ) + blur**2 * rng.uniform(0.5, 1.2, (count, 1, 1)) * np.eye(2)
    covariance = calibration.covariances(moment, scale, blur, floor)
    error = np.einsum("nab,nb->na", np.linalg.cholesky(covariance), rng.normal(size=(count, 2)))
    return Errors(error, moment, rng.uniform(0, 1, count))


def test_the_fit_finds_the_parameters_that_made_the_errors():
    found = fit([heavy(1.7, 0.9, 0.4)])
    assert [found[name] for name in PARAMETERS] == pytest.approx([1.7, 0.9, 0.4], rel=0.06)
    row = calibration_of(heavy(1.7, 0.9, 0.4, seed=1), NetworkConfig(**found))
    assert [row["50 %"], row["90 %"]] == pytest.approx([50, 90], abs=2) and row[
        "NEES"
    ] == pytest.approx(1, abs=0.05)


def test_packs_weigh_the_same_except_tiny_ones():
    """Many more rows of one set must not drown the other, and a few people not say how wide all
    are."""
    small, large = heavy(0.5, 1, 0.3, count=1000), heavy(4.0, 1, 0.3, count=40_000)
    both = fit([small, large])["noise_scale"]
    assert 1.0 < both < 3.5 and fit([large])["noise_scale"] == pytest.approx(4, rel=0.1)
    few = fit([heavy(10.0, 1, 0.3, count=30), heavy(1.0, 1, 0.3)])["noise_scale"]
    assert few == pytest.approx(1.0, rel=0.5)


def test_too_sharp_covariances_show():
    sharp = calibration_of(
        heavy(4.0, 1, 0.3), NetworkConfig(noise_scale=1.0, noise_blur=1.0, noise_floor=0.15)
    )
    assert sharp["NEES"] == pytest.approx(4, rel=0.1) and sharp["50 %"] < 25 and sharp["90 %"] < 60


def test_stages_are_measured_apart():
    truth, rng = labels(50), np.random.default_rng(0)
    exact = truth[..., :2]
    noisy = exact + rng.normal(0, 30, exact.shape)
    row = stage_row(np.stack([noisy, np.full_like(exact, np.nan), exact]), truth)
    assert row["PCK f"] == 100 and row["px f"] == 0 and row["PCK b"] < 30
    assert (
        row["px b"] == pytest.approx(30 * np.sqrt(np.pi / 2), rel=0.05)
        and np.isnan(row["PCK b^"])
        and np.isnan(row["px b^"])
    )


@pytest.mark.parametrize(("config", "prior"), [(LITE, True), (LITE, False), (PAPER, True)])
def test_the_network_answers_for_the_rows_asked(config, prior):
    torch.manual_seed(0)
    runner = NetworkRunner(
        small_network(config, small_prior() if prior else None), torch.device("cpu")
    )
    pack = make_pack()
    answers = ask(runner, pack, np.array([1, 4]), MAPS)
    assert answers.keypoints_px.shape == (2, 3, 2, 14, 2) and answers.labels.shape == (2, 14, 3)
    assert (
        np.isfinite(answers.keypoints_px[:, [0, 2]]).all()
        and np.isfinite(answers.keypoints_px[:, 1]).all() == prior
    )
    crop = ask(runner, pack, np.array([4]), ["fused"])
    np.testing.assert_allclose(crop.keypoints_px[:, 0, 0], answers.keypoints_px[:, 2, 1], atol=0.5)
    assert (answers.labels[..., :2] > 0).all() and (answers.labels[..., :2] < 64).all()


def test_the_answers_are_those_of_the_estimator():
    """Same keypoints, confidences and covariances as the pipeline makes of the same maps."""
    torch.manual_seed(0)
    runner, pack = (
        NetworkRunner(small_network(LITE, small_prior()), torch.device("cpu")),
        make_pack(),
    )
    answers = ask(runner, pack, np.array([1]))
    errors = calibration.errors_of(answers, LITE.stride)
    assert len(errors.error) == 14
    crop = torch.from_numpy(np.ascontiguousarray(_crop(pack, 1)))
    output = runner(crop[None])
    px, confidence, covariance = belief_maps.keypoints(
        output.stages[-1].fused, output.presence, LITE
    )
    np.testing.assert_allclose(answers.keypoints_px[-1, -1], px, atol=1e-4)
    np.testing.assert_allclose(errors.confidence, confidence[0], rtol=1e-4)
    made = (
        calibration.covariances(errors.moment, *(getattr(LITE, name) for name in PARAMETERS))
        * LITE.stride**2
    )
    np.testing.assert_allclose(made, covariance[0], rtol=1e-3, atol=1e-3)


def _crop(pack: Pack, row: int) -> np.ndarray:
    from lifting_ros.research.datasets.crops import true_crop

    return (
        true_crop(pack.images[row], pack.keypoints[row], LITE.input_px)[0]
        .transpose(2, 0, 1)
        .astype(np.float32)
        / 255
    )


def test_covariances_are_fitted_and_judged_on_different_rows():
    pack = make_pack()
    assert (
        list(validation_rows(pack)) == [1, 2, 4, 5]
        and list(half(pack, 0)) == [2, 4]
        and list(half(pack, 1)) == [1, 5]
    )
    network = small_network(LITE, small_prior())
    found = fit_noise(network, [pack])
    assert tuple(found) == PARAMETERS and all(value > 0 for value in found.values())
    NetworkConfig(**found)
    assert fit_noise(NetworkRunner(network, torch.device("cpu")), [pack]) == found
    with pytest.raises(ValueError, match="labelled validation rows"):
        fit_noise(network, [pack._replace(validation=np.zeros(6, bool))])


class Finds:
    """Stands for an estimator that answers a picture with skeletons by the picture's brightness."""

    def __init__(self, answers: dict[int, list[np.ndarray]]):
        self.answers = answers

    def detect(self, image: np.ndarray) -> list:
        return []

    def find_keypoints(self, image: np.ndarray, _) -> list:
        found = self.answers[int(image[0, 0, 0])]
        return [
            SimpleNamespace(keypoints_px=k, box_px=np.concatenate([k.min(0), k.max(0)]))
            for k in found
        ]


def test_own_boxes_match_the_labelled_person():
    """Four photographs: found beside another, half found, found elsewhere only, not found."""
    right = FIGURE.astype(float)
    arms_off = right.copy()
    arms_off[[3, 4, 6, 7]] += 400
    answers = {0: [right + 300, right], 10: [arms_off - [0, 0]], 20: [right + 500], 30: []}
    pictures = tuple(png(np.full((8, 8, 3), shade, np.uint8)) for shade in answers)
    photos = PhotoSet("street", tuple("abcd"), pictures, labels(4), np.ones(4, bool))
    answer = find_labelled(Finds(answers), photos, np.arange(4))
    assert own_boxes(*answer) == {"own boxes": pytest.approx(0.25), "found": 0.25}
    np.testing.assert_allclose(pck(*answer), 0.25)
    arms_off[[3, 4, 6, 7]] -= 360  # now its box still meets the label's
    answer = find_labelled(Finds(answers | {10: [arms_off]}), photos, np.arange(4))
    assert own_boxes(*answer)["found"] == 0.5
    np.testing.assert_allclose(
        pck(*answer), np.where(np.isin(np.arange(14), [3, 4, 6, 7]), 0.25, 0.5)
    )
    assert (
        false_alarms(Finds(answers), [np.full((8, 8, 3), shade, np.uint8) for shade in answers])
        == 3
    )


def test_tables_have_a_row_for_each_set():
    runner, pack = (
        NetworkRunner(small_network(LITE, small_prior()), torch.device("cpu")),
        make_pack(),
    )
    rows = validation_rows(pack)
    tables = network_tables(
        {"noise": ask(runner, pack, rows, MAPS)}, {"noise": rows % 2 == 1}, LITE
    )
    assert tuple(tables) == TITLES and list(tables[TITLES[0]]["noise"]) == ["stage 1", "stage 2"]
    assert tuple(tables[TITLES[1]]["noise"]) == KEYPOINT_NAMES
    assert list(tables[TITLES[2]]) == ["noise, stage 1", "noise, stage 2"]
    assert (
        tables[TITLES[4]]["noise"]["count"] == 28 and tables[TITLES[4]]["all sets"]["count"] == 28
    )


def test_upright_are_those_whose_trunk_points_up():
    figures = labels(6)
    middle = FIGURE.mean(0)
    for n, degrees in enumerate((44, -44, 46, -46, 180)):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        figures[n, :, :2] = (FIGURE - middle) @ np.array([[c, -s], [s, c]]) + middle
    assert upright(figures).tolist() == [True, True, False, False, False, True]
    figures[0, 11, 2] = figures[5, 1, 2] = 0  # a hip and a neck that nobody labelled
    assert upright(figures).tolist() == [False, True, False, False, False, False]


def test_upright_acrobats_have_a_row_of_their_own():
    runner, pack = (
        NetworkRunner(small_network(LITE, small_prior()), torch.device("cpu")),
        make_pack()._replace(name="lspet"),
    )
    rows = validation_rows(pack)
    after = network_tables(
        {"lspet": ask(runner, pack, rows, MAPS)}, {"lspet": rows % 2 == 1}, LITE
    )[TITLES[0]]
    assert list(after) == ["lspet", "lspet" + UPRIGHT]
    assert after["lspet" + UPRIGHT] == after["lspet"]  # they all stand
