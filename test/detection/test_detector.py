# SPDX-License-Identifier: Apache-2.0
"""The person detector: known answers of its network become boxes; bad weights; what ships."""

import numpy as np
import pytest
import torch
from clip import frames

from lifting_ros.detection import multipose_detector as module
from lifting_ros.detection.detector import (
    KEYPOINT_INSET,
    DetectorConfig,
    keypoint_boxes,
    overlaps,
    person_boxes,
    suppress,
)
from lifting_ros.detection.multipose import MultiPose, PersonMaps
from lifting_ros.detection.multipose_detector import NETWORK, Detector, load_detector, save_detector
from lifting_ros.estimator import WEIGHTS
from lifting_ros.io.checkpoint import CheckpointError, load_tensors, save_tensors
from lifting_ros.keypoints.trunk import STRIDE

SHIPPED = WEIGHTS / "detector.safetensors"
ONE_SIZE = {"long_side_px": 320, "coarse_px": 0}
STEM_BIAS = "backbone.stem.bias"
LONG_SIDE = 320
WIDE = (320, 256)
"""A size (w, h) that the detector sees as it is."""


@pytest.fixture(autouse=True)
def single_precision(monkeypatch):
    """On every CPU; `test_half_precision_keeps_the_detections` compares the two."""
    monkeypatch.setattr(module, "has_fast_bf16", lambda device: False)


class Said(torch.nn.Module):
    """Stands for the network: says that there are persons, and keeps its input."""

    def __init__(self, *persons: tuple[tuple[float, ...], float]):
        """persons: boxes in pixels of the network's input, logits."""
        super().__init__()
        self.persons = persons
        self.image = None

    def forward(self, image: torch.Tensor) -> PersonMaps:
        self.image = image
        height, width = image.shape[-2:]
        cells = (height // STRIDE, width // STRIDE)
        maps = PersonMaps(
            centre=torch.full((1, *cells), -20.0),
            size=torch.zeros(1, 2, *cells),
            offset=torch.zeros(1, 2, *cells),
        )
        for (left, top, right, bottom), logit in self.persons:
            # Cells are measured from the image's corner, half a pixel before the first centre
            y, x = (top + bottom + 1) / 2 / STRIDE, (left + right + 1) / 2 / STRIDE
            row, column = int(y), int(x)
            maps.centre[0, row, column] = logit
            maps.offset[0, :, row, column] = torch.tensor([y - row, x - column])
            maps.size[0, :, row, column] = torch.tensor([bottom - top, right - left]) / STRIDE
        return maps


def blank(size: tuple[int, int]) -> np.ndarray:
    """A black image of size (w, h)."""
    return np.zeros((size[1], size[0], 3), np.uint8)


def found(*persons, size: tuple[int, int] = WIDE, **config) -> list:
    """Detections in a blank image in which the network sees these persons."""
    return Detector(Said(*persons), DetectorConfig(**ONE_SIZE | config)).detect(blank(size))


def inset(box: np.ndarray) -> np.ndarray:
    """The keypoints' box of a person's box that touches no border."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    near_left, near_top, near_right, near_bottom = KEYPOINT_INSET
    return np.array(
        [
            left + near_left * width,
            top + near_top * height,
            right - near_right * width,
            bottom - near_bottom * height,
        ]
    )


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (1280, 720), (61, 97), (1000, 300)])
def test_box_comes_back_in_pixels_of_the_image(size):
    width, height = size
    box = np.array([0.31 * width, 0.2 * height, 0.58 * width, 0.83 * height])
    seen = [round(side * LONG_SIDE / max(size)) for side in size]
    scale = np.tile(np.divide(seen, size), 2)

    (person,) = found(((box + 0.5) * scale - 0.5, 1.0), size=size)

    np.testing.assert_allclose(person.box_px, inset(box), atol=1e-3)
    assert person.score == pytest.approx(1 / (1 + np.exp(-1)))


def test_nobody_is_an_ordinary_case():
    assert found() == []


@pytest.mark.parametrize("config", [{"score": 0.9}, {"min_side_px": 130}])
def test_unsure_or_small_persons_are_none(config):
    box = (100, 40, 160, 180)
    person = (box, 2.0)  # score 0.88
    top, bottom = inset(np.array(box))[1::2]
    assert len(found(person, score=0.8, min_side_px=bottom - top - 4)) == 1
    assert found(person, **config) == []


def test_least_side_is_in_pixels_of_the_image():
    person = ((100, 40, 160, 180), 2.0)
    double = (2 * WIDE[0], 2 * WIDE[1])
    assert len(found(person, size=double, min_side_px=130)) == 1


def test_overlapping_boxes_are_one_person():
    boxes = [(100, 30, 160, 170), (110, 34, 170, 174), (101, 38, 163, 189)]
    persons = list(zip(boxes, (1.0, 3.0, 2.0)))
    (person,) = found(*persons)
    np.testing.assert_allclose(person.box_px, inset(boxes[1]), atol=1e-3)
    assert len(found(*persons, overlap=0.99)) == 3


def test_persons_come_best_first_and_a_limit_keeps_the_best():
    boxes = [(10, 20, 70, 170), (90, 20, 150, 170), (170, 20, 230, 170)]
    persons = list(zip(boxes, (1.0, 3.0, 2.0)))
    every = found(*persons)
    inset_px = KEYPOINT_INSET[0] * 60
    assert [round(person.box_px[0] - inset_px) for person in every] == [90, 170, 10]
    best = found(*persons, max_persons=2)
    assert [person.score for person in best] == [person.score for person in every[:2]]


@pytest.mark.parametrize(
    ("long_side", "seen"), [(320, (192, 320)), (160, (96, 160)), (640, (384, 640))]
)
def test_input_is_as_long_as_asked_for_and_padded(long_side, seen):
    said = Said()
    image = np.full((720, 1280, 3), (255, 0, 51), np.uint8)
    Detector(said, DetectorConfig(long_side_px=long_side, coarse_px=0)).detect(image)
    assert tuple(said.image.shape) == (1, 3, *seen)

    rows = long_side * 720 // 1280
    inside, outside = said.image[0, :, :rows], said.image[0, :, rows:]
    colour = torch.tensor([1.0, 0, 0.2])[:, None, None]
    torch.testing.assert_close(inside, colour.expand_as(inside))
    torch.testing.assert_close(outside, torch.full_like(outside, 128 / 255))


@pytest.mark.parametrize("size", [(1, 1), (300, 7), (7, 300), (641, 481)])
def test_any_image_size_is_taken(size):
    config = DetectorConfig(score=0.0, long_side_px=96, min_side_px=0.0)
    detections = Detector(MultiPose(), config).detect(blank(size))
    assert detections
    limit = np.array([*size, *size]) - 1
    for person in detections:
        assert (person.box_px >= 0).all() and (person.box_px <= limit).all()


def test_keypoints_lie_inside_the_person():
    boxes = np.array([[100.0, 60, 200, 240], [20, 30, 60, 50]])
    inner = keypoint_boxes(boxes, (640, 480))
    np.testing.assert_allclose(inner, [inset(box) for box in boxes])
    assert (inner[:, :2] > boxes[:, :2]).all() and (inner[:, 2:] < boxes[:, 2:]).all()


@pytest.mark.parametrize("side", range(4))
def test_side_at_the_border_stays_there(side):
    size = (640, 480)
    box = np.array([100.0, 60, 200, 240])
    border = (0, 0, size[0] - 1, size[1] - 1)[side]
    outside = (-30, -30, 700, 700)[side]
    for place in (border, border + (1 if side < 2 else -1), outside):
        box[side] = place
        cut = np.clip(box, 0, [size[0] - 1, size[1] - 1] * 2)
        expected = inset(cut)
        expected[side] = cut[side]
        np.testing.assert_allclose(keypoint_boxes(box[None], size)[0], expected)


def test_keypoint_boxes_of_nobody():
    assert keypoint_boxes(np.zeros((0, 4)), (640, 480)).shape == (0, 4)


def test_of_overlapping_boxes_the_best_stays():
    boxes = np.array([[0.0, 0, 10, 10], [1, 1, 11, 11], [30, 30, 40, 40]])
    assert suppress(boxes, np.array([0.5, 0.9, 0.4]), 0.5) == [1, 2]


def test_overlap_of_known_boxes():
    boxes = np.array([[1.0, 0, 3, 2], [5, 5, 6, 6]])
    assert overlaps(np.array([0.0, 0, 2, 2]), boxes).tolist() == [1 / 3, 0]


def test_weights_come_back_in_half_precision(tmp_path):
    network = MultiPose()
    save_detector(tmp_path / "w", network, {"origin": "a test"})
    read = load_detector(tmp_path / "w", DetectorConfig()).network.float()
    for name, tensor in network.state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor.half().float()), name


def test_weights_of_another_network_are_one_line(tmp_path):
    tensors, header = load_tensors(SHIPPED)
    named, small, less = (tmp_path / name for name in ("named", "small", "less"))
    save_tensors(named, tensors, {"detector": {"network": "yolo"}})
    save_tensors(small, tensors | {STEM_BIAS: torch.zeros(7)}, header)
    save_tensors(less, {name: t for name, t in tensors.items() if name != STEM_BIAS}, header)

    expected = {
        WEIGHTS / "stereo.safetensors": "no 'detector'",
        named: f"expected {NETWORK}, got 'yolo'",
        small: f"size mismatch for {STEM_BIAS}",
        less: "Missing key",
    }
    for path, text in expected.items():
        assert text in refusal(path, "holds no person detector")


@pytest.mark.parametrize("kept", [0, 7, 5000, -1])
def test_damaged_weights_are_one_line(tmp_path, kept):
    path = tmp_path / "w"
    path.write_bytes(SHIPPED.read_bytes()[:kept])
    refusal(path, "not a weights file")


def test_missing_weights_are_one_line(tmp_path):
    refusal(tmp_path / "w", "no such weights file")


def refusal(path, kind: str) -> str:
    """What CheckpointError says of a file: one short line that names it."""
    with pytest.raises(CheckpointError, match=kind) as error:
        load_detector(path, DetectorConfig())
    text = str(error.value)
    assert str(path) in text and "\n" not in text and len(text) < 400
    return text


@pytest.fixture(scope="module")
def clip() -> list[np.ndarray]:
    """The clip that ships: nobody, then a person who walks in and sits down."""
    return frames(range(91))


def test_half_precision_keeps_the_detections(clip, monkeypatch):
    both = []
    for half in (True, False):
        monkeypatch.setattr(module, "has_fast_bf16", lambda device, half=half: half)
        detector = load_detector(SHIPPED, DetectorConfig(score=0.25))
        kind = torch.bfloat16 if half else torch.float32
        assert {tensor.dtype for tensor in detector.network.parameters()} == {kind}
        both.append(detector.detect(clip[90]))

    assert len(both[0]) == len(both[1]) == 1
    for ours, plain in zip(*both, strict=True):
        assert overlaps(ours.box_px, plain.box_px[None])[0] > 0.96
        assert abs(ours.score - plain.score) < 0.03


def test_nobody_is_found_before_the_person_came(clip):
    detector = load_detector(SHIPPED, DetectorConfig())
    assert [detector.detect(image) for image in clip[:10:3]] == [[]] * 4


def test_walking_person_is_found_with_a_stable_score(clip):
    """From frame to frame, and wherever the person stands on the network's grid."""
    detector = load_detector(SHIPPED, DetectorConfig())
    walking = [detector.detect(image)[0] for image in clip[84:91]]
    moved = [detector.detect(np.roll(clip[90], shift, 1))[0] for shift in range(0, 48, 8)]

    for scores in ([person.score for person in people] for people in (walking, moved)):
        assert min(scores) > 0.25 and np.abs(np.diff(scores)).max() < 0.15
    for person, shift in zip(moved, range(0, 48, 8)):
        box = walking[-1].box_px + [shift, 0, shift, 0]
        assert overlaps(box, person.box_px[None])[0] > 0.85


def test_neighbouring_cells_of_one_person_are_one():
    """Only maxima of the centre map are persons, even if their boxes do not overlap."""
    flank = ((20, 20, 30, 30), 2.0)
    peak = ((24, 20, 64, 120), 3.0)
    beside = ((44, 66, 54, 76), 2.5)  # a cell next to the peak's
    assert len(found(peak, beside, min_side_px=0.0, overlap=1.0)) == 1
    assert len(found(peak, flank, min_side_px=0.0, overlap=1.0)) == 2


def test_person_boxes_undo_keypoint_boxes():
    size = (640, 480)
    persons = np.array([[100.0, 60, 200, 240], [0, 30, 60, 479], [300, 0, 639, 100]])
    np.testing.assert_allclose(person_boxes(keypoint_boxes(persons, size), size), persons)
    assert person_boxes(np.zeros((0, 4)), size).shape == (0, 4)


class SaidAtEachSize(torch.nn.Module):
    """Says other persons of an image as long as `long_side` than of a smaller one."""

    def __init__(self, fine: Said, coarse: Said, long_side: int):
        super().__init__()
        self.fine, self.coarse, self.long_side = fine, coarse, long_side

    def forward(self, image: torch.Tensor) -> PersonMaps:
        is_fine = max(image.shape[-2:]) == self.long_side
        return self.fine(image) if is_fine else self.coarse(image)


def test_image_is_seen_at_two_sizes():
    """Half as large a box in half as large an image is the same person."""
    both, small, large = (40, 40, 90, 200), (200, 60, 220, 120), (120, 10, 300, 250)
    half = [(np.array(box) + 0.5) / 2 - 0.5 for box in (both, large)]
    fine = Said((both, 3.0), (small, 2.0))
    coarse = Said((tuple(half[0]), 2.5), (tuple(half[1]), 1.0))
    network = SaidAtEachSize(fine, coarse, LONG_SIDE)

    two_sizes = DetectorConfig(long_side_px=LONG_SIDE, coarse_px=LONG_SIDE // 2)
    found = Detector(network, two_sizes).detect(blank(WIDE))
    expected = [both, small, large]
    for person, box in zip(found, expected, strict=True):
        np.testing.assert_allclose(person.box_px, inset(np.array(box)), atol=1e-3)
    assert max(coarse.image.shape[-2:]) == LONG_SIDE // 2

    alone = Detector(network, DetectorConfig(**ONE_SIZE)).detect(blank(WIDE))
    assert len(alone) == 2
