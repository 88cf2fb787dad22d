# SPDX-License-Identifier: Apache-2.0
"""The maps that the inspector shows are those that the estimator decodes."""

import numpy as np
import pytest
import torch
from people import small_prior
from small_networks import LITE, PAPER, small_network

from lifting_ros.estimator import WEIGHTS, EstimatorConfig, PoseEstimator, load_stage_inspector
from lifting_ros.io.images import open_source
from lifting_ros.keypoints import belief_maps
from lifting_ros.keypoints.crop import crop_around
from lifting_ros.keypoints.inference import NetworkRunner
from lifting_ros.keypoints.stage_maps import StageInspector

IMAGE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
BOX = np.array([40.0, 20.0, 90.0, 100.0])


def small_inspector(config, fused: bool = True) -> StageInspector:
    torch.manual_seed(1)
    network = small_network(config, small_prior() if fused else None)
    return StageInspector(NetworkRunner(network.eval(), torch.device("cpu")))


@pytest.mark.usefixtures("narrow_trunk")
@pytest.mark.parametrize("config", [LITE, PAPER], ids=["lite", "paper"])
def test_fused_maps_are_mixtures_of_belief_and_projection(config):
    inspector = small_inspector(config)
    maps = inspector.look(IMAGE, BOX)
    side = config.input_px // config.stride
    assert maps.crop.shape == (config.input_px, config.input_px, 3)
    assert maps.belief.shape == maps.fused.shape == (config.stages, 14, side, side)

    weights = inspector._runner._network.fusion.weights.detach().numpy()[:, None, None, None]
    expected = weights * maps.belief + (1 - weights) * maps.projected
    np.testing.assert_allclose(maps.fused, expected, atol=1e-6)


@pytest.mark.usefixtures("narrow_trunk")
def test_without_fusion_there_is_no_projection():
    maps = small_inspector(LITE, fused=False).look(IMAGE, BOX)
    assert np.isnan(maps.projected).all() and np.array_equal(maps.fused, maps.belief)


def test_last_maps_are_those_that_the_estimator_decodes():
    """Of the network that ships, on the person of the demo."""
    clip = WEIGHTS.parent / "demo" / "walk_and_sit.mp4"
    image = next(frame for k, frame in enumerate(open_source(str(clip)).frames()) if k == 60)
    config = EstimatorConfig(weights="lite", device="cpu", runtime="torch")
    estimator = PoseEstimator(config)
    (person,) = estimator.estimate(image).persons
    box = person.skeleton_2d.box_px
    (found,) = estimator.network.find([image], [box])

    maps = load_stage_inspector(config).look(image, box)
    points, _, _ = belief_maps.decode(torch.from_numpy(maps.fused[-1]))
    network = estimator.network.config
    pixels = belief_maps.cells_to_pixels(points, network.stride).numpy()
    places = crop_around(box, network.input_px).to_image(pixels)
    np.testing.assert_allclose(places, found.keypoints_px, atol=0.01)
