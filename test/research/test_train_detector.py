# SPDX-License-Identifier: Apache-2.0
"""Training of the detector: targets give the boxes back, doubt costs nothing, it learns, it goes on
after a break."""

import numpy as np
import pytest
import torch

from lifting_ros.detection.detector import DetectorConfig
from lifting_ros.detection.multipose import MultiPose, PersonMaps
from lifting_ros.detection.multipose_detector import Detector
from lifting_ros.research.datasets.montage import Montages, Picture
from lifting_ros.research.training.train_detector import (
    DetectorTrainConfig,
    DetectorTrainer,
    detector_losses,
    make_targets,
    train_detector,
)

BOXES = np.array([[10.0, 20, 70, 150], [100, 33, 131, 90]])


def picture(sure=(True, True)) -> Picture:
    image = np.random.default_rng(0).integers(0, 256, (160, 192, 3), np.uint8)
    return Picture(image, BOXES, np.array(sure))


def perfect_maps(pictures: list[Picture]) -> PersonMaps:
    """Maps that say what the targets say, and nothing else."""
    targets = make_targets(pictures)
    count, height, width = targets.centre.shape
    maps = PersonMaps(
        torch.full((count, height, width), -30.0),
        torch.zeros(count, 2, height, width),
        torch.zeros(count, 2, height, width),
    )
    number, row, column = targets.peaks.T
    maps.centre[number, row, column] = 30.0
    maps.size[number, :, row, column] = targets.size
    maps.offset[number, :, row, column] = targets.offset
    return maps


class Said(torch.nn.Module):
    """Says the same maps of every image."""

    def __init__(self, maps: PersonMaps):
        super().__init__()
        self.maps = maps

    def forward(self, image):
        return self.maps


def test_detector_reads_the_boxes_that_targets_were_made_of():
    config = DetectorConfig(long_side_px=192, coarse_px=0, min_side_px=0)
    detector = Detector(Said(perfect_maps([picture()])), config)
    boxes, scores = detector.find_persons(picture().image)
    order = boxes[:, 0].argsort()
    np.testing.assert_allclose(boxes[order], BOXES, atol=1e-3)
    assert (scores > 0.99).all()


def test_perfect_maps_cost_nothing_and_others_do():
    pictures = [picture(), picture((True, False))]
    maps, targets = perfect_maps(pictures), make_targets(pictures)
    assert all(float(loss) < 1e-6 for loss in detector_losses(maps, targets).values())

    for name in ("centre", "size", "offset"):
        worse = maps._replace(**{name: getattr(maps, name) - 31.0})
        losses = detector_losses(worse, targets)
        assert losses[name] > 0.5
        assert all(losses[other] < 1e-6 for other in losses if other != name)


def test_alarm_in_a_doubtful_box_costs_nothing():
    pictures = [picture((True, False))]
    maps, targets = perfect_maps(pictures), make_targets(pictures)
    row, column = (int(side / 4) for side in (61.5, 115.5))
    maps.centre[0, row, column] = 5.0
    assert detector_losses(maps, targets)["centre"] < 1e-6
    maps.centre[0, 2, 45] = 5.0  # elsewhere
    assert detector_losses(maps, targets)["centre"] > 1


@pytest.fixture
def montages() -> Montages:
    return Montages([[picture()]], [], 0.0, seed=0)


def test_training_learns_and_leaves_the_backbone_alone():
    torch.manual_seed(0)
    network = MultiPose(0.35)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trainer = DetectorTrainer(
        DetectorTrainConfig(samples=80, batch=1, warmup=0, learning_rate=1e-3), network
    )
    losses = [trainer.train_step([picture()])["loss"] for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]

    for name, value in trainer.network.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("backbone"), name


def test_stopped_training_resumes_to_the_same_result(tmp_path, montages):
    config = DetectorTrainConfig(samples=6, batch=1)
    first = MultiPose(0.35).state_dict()

    def run(folder, stop: int | None = None):
        network = MultiPose(0.35)
        network.load_state_dict(first)
        seen = []

        def evaluate(weights):
            seen.append(len(seen))
            if len(seen) == stop:
                raise KeyboardInterrupt
            return {"n": float(len(seen))}

        return train_detector(config, network, montages, folder, evaluate, every=2)

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "part", stop=2)
    resumed = run(tmp_path / "part")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    rows = (tmp_path / "part" / "validation.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "2", "4", "6"]
