# SPDX-License-Identifier: Apache-2.0
import numpy as np
import torch

from lifting_ros.core.detector import STRIDE, Detector, DetectorConfig, DetectorNetwork, boxes_of, overlaps, suppress
from lifting_ros.data.scenes import Scene
from lifting_ros.training.train_detector import detector_loss, targets

BOXES = np.array([[40.0, 30, 90, 200], [200, 60, 230, 150]])


class Told(torch.nn.Module):
    """Says what a perfectly trained network would say of one scene."""

    def __init__(self, scene: Scene):
        super().__init__()
        heat, _, sides, _ = targets(scene)
        self.heat, self.sides = torch.from_numpy(heat)[None].clamp(1e-4, 1 - 1e-4).logit(), torch.from_numpy(sides)[None]

    def forward(self, image):
        return self.heat, self.sides


def scene(boxes: np.ndarray) -> Scene:
    return Scene(np.zeros((256, 320, 3), np.uint8), boxes, np.ones((256, 320), bool))


def test_targets_and_decoding_are_inverse():
    told = Detector(Told(scene(BOXES)), DetectorConfig(long_side_px=320))
    found = told.detect(np.zeros((256, 320, 3), np.uint8))
    assert len(found) == 2
    for box in BOXES:
        assert max(overlaps(box, np.stack([d.box_px for d in found]))) > 0.97


def test_boxes_come_back_in_pixels_of_a_larger_image():
    told = Detector(Told(scene(BOXES)), DetectorConfig(long_side_px=320))
    found = told.detect(np.zeros((1024, 1280, 3), np.uint8))
    large = (BOXES + 0.5) * 4 - 0.5
    assert max(overlaps(large[0], np.stack([d.box_px for d in found]))) > 0.97


def test_nobody_is_an_ordinary_case():
    told = Detector(Told(scene(np.zeros((0, 4)))), DetectorConfig(long_side_px=320))
    assert told.detect(np.zeros((256, 320, 3), np.uint8)) == []


def test_a_limit_keeps_the_best():
    told = Detector(Told(scene(BOXES)), DetectorConfig(long_side_px=320, max_persons=1))
    assert len(told.detect(np.zeros((256, 320, 3), np.uint8))) == 1


def test_any_image_size_is_taken():
    detector = Detector(DetectorNetwork((8, 8, 8, 8)), DetectorConfig(score=0.0, long_side_px=96))
    for shape in ((1, 1), (7, 300), (300, 7), (481, 641)):
        for detection in detector.detect(np.zeros((*shape, 3), np.uint8)):
            assert np.isfinite(detection.box_px).all()


def test_of_overlapping_boxes_the_best_stays():
    boxes = np.array([[0.0, 0, 10, 10], [1, 1, 11, 11], [30, 30, 40, 40]])
    assert suppress(boxes, np.array([0.5, 0.9, 0.4]), 0.5) == [1, 2]


def test_overlap_of_known_boxes():
    assert overlaps(np.array([0.0, 0, 2, 2]), np.array([[1.0, 0, 3, 2], [5, 5, 6, 6]])).tolist() == [1 / 3, 0]


def test_absences_count_only_where_they_are_known():
    heat, known, sides, counted = (torch.from_numpy(a)[None] for a in targets(scene(BOXES)))
    logits = torch.full_like(heat, -3.0)
    somewhere = logits.clone()
    somewhere[0, -1, -1] = 5.0
    worse = detector_loss(somewhere, sides, heat, known, sides, counted)[0]
    assert worse > detector_loss(logits, sides, heat, known, sides, counted)[0]
    unknown = torch.zeros_like(known)
    there, nowhere = (detector_loss(maps, sides, heat, unknown, sides, counted)[0] for maps in (somewhere, logits))
    assert there == nowhere


def test_true_sides_have_no_loss():
    heat, known, sides, counted = (torch.from_numpy(a)[None] for a in targets(scene(BOXES)))
    assert detector_loss(torch.zeros_like(heat), sides, heat, known, sides, counted)[1] < 1e-5
    assert boxes_of(sides).shape == (1, 256 // STRIDE, 320 // STRIDE, 4)
