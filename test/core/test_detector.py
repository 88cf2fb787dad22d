# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest
import torch

from lifting_ros.core import detector as module
from lifting_ros.core.checkpoint import CheckpointError, load_tensors, save_tensors
from lifting_ros.core.detector import STRIDE, Detector, DetectorConfig, DetectorNetwork, boxes_of, load_detector, overlaps, suppress
from lifting_ros.core.pipeline import WEIGHTS
from lifting_ros.core.skeleton import KEYPOINT_NAMES
from lifting_ros.data.scene_parts import Scene, mirror
from lifting_ros.training.train_detector import Targets, centre_loss, focal_loss, side_loss, targets

BOXES = np.array([[40.0, 30, 90, 200], [200, 60, 230, 150]])


class Told(torch.nn.Module):
    """Says what a perfectly trained network would say of one scene."""

    def __init__(self, scene: Scene):
        super().__init__()
        target = targets(scene)
        self.heat, self.sides = target.heat[None].clamp(1e-4, 1 - 1e-4).logit(), target.sides[None]

    def forward(self, image):
        return self.heat[:, 0], self.sides, self.heat[:, 1:]


def scene(boxes: np.ndarray) -> Scene:
    """An empty picture said to hold people in `boxes`, their keypoints all but the first labelled on the diagonal."""
    along = np.linspace(0, 1, 14)[None, :, None]
    keypoints = np.concatenate([boxes[:, None, :2] * (1 - along) + boxes[:, None, 2:] * along, np.ones((len(boxes), 14, 1))], -1)
    keypoints[:, 0, 2] = 0
    return Scene(np.zeros((256, 320, 3), np.uint8), boxes, keypoints, np.ones((256, 320), bool))


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


def test_boxes_that_are_too_small_or_too_unsure_are_none():
    """Longer sides of 170 and 90 px; in an image of twice the size they are twice as long."""
    for config, least in ((DetectorConfig(min_side_px=120), 1), (DetectorConfig(min_side_px=200), 0), (DetectorConfig(score=1.0), 0)):
        assert len(Detector(Told(scene(BOXES)), config).detect(np.zeros((256, 320, 3), np.uint8))) == least
    assert len(Detector(Told(scene(BOXES)), DetectorConfig(min_side_px=170)).detect(np.zeros((512, 640, 3), np.uint8))) == 2


@pytest.mark.parametrize(("long_side", "seen"), [(320, (192, 320)), (160, (96, 160)), (640, (384, 640))])
def test_the_network_sees_the_image_as_long_as_asked_for_and_padded_to_its_strides(long_side, seen):
    class Shapes(Told):
        def forward(self, image):
            shapes.append(tuple(image.shape[2:]))
            return super().forward(image)

    shapes = []
    Detector(Shapes(scene(BOXES)), DetectorConfig(long_side_px=long_side)).detect(np.zeros((720, 1280, 3), np.uint8))
    assert shapes == [seen]


@pytest.mark.parametrize("best", [0, 1])
def test_a_limit_keeps_the_best(best):
    said = Told(scene(BOXES))
    x, y = ((BOXES[1 - best, :2] + BOXES[1 - best, 2:]) / 2 // STRIDE).astype(int)
    said.heat[0, 0, y - 3 : y + 4, x - 3 : x + 4] -= 4  # the other person is less sure
    (found,) = Detector(said, DetectorConfig(long_side_px=320, max_persons=1)).detect(np.zeros((256, 320, 3), np.uint8))
    assert overlaps(found.box_px, BOXES)[best] > 0.97


def test_folded_batch_norms_change_no_answer(monkeypatch):
    monkeypatch.setattr(module, "has_fast_bf16", lambda device: False)
    torch.manual_seed(0)
    network = DetectorNetwork((8, 8, 16, 16)).train()
    for _ in range(3):
        network(torch.rand(4, 3, 64, 64))
    image = torch.rand(1, 3, 64, 96)
    detector = Detector(network.eval(), DetectorConfig())
    assert not [m for m in detector.network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    with torch.inference_mode():
        for ours, plain in zip(detector.network(image), network(image), strict=True):
            torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-4)


def test_half_precision_keeps_the_detections(monkeypatch):
    """What ships, on a person who walks."""
    (image,) = read_clip([80])
    found = []
    for half in (True, False):
        monkeypatch.setattr(module, "has_fast_bf16", lambda device, half=half: half)
        detector = load_detector(WEIGHTS / "detector.safetensors", DetectorConfig(score=0.3))
        assert next(detector.network.parameters()).dtype == (torch.bfloat16 if half else torch.float32)
        found.append(detector.detect(image))
    assert len(found[0]) == len(found[1]) >= 1
    for ours, plain in zip(*found, strict=True):
        assert overlaps(ours.box_px, plain.box_px[None])[0] > 0.96 and abs(ours.score - plain.score) < 0.03


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
    target = targets(scene(BOXES))
    heat, known = target.heat[None, 0], target.known[None, 0]
    quiet = torch.full_like(heat, -3.0)
    somewhere = quiet.clone()
    somewhere[0, -1, -1] = 5.0
    assert focal_loss(somewhere, heat, known) > focal_loss(quiet, heat, known)
    there, nowhere = (focal_loss(maps, heat, torch.zeros_like(known)) for maps in (somewhere, quiet))
    assert there == nowhere


def test_an_unlabelled_keypoint_is_unknown_around_its_person_and_absent_elsewhere():
    target = targets(scene(BOXES[:1]))
    assert target.heat[1].max() == 0 and target.heat[2].max() == 1
    assert not target.known[1, 14, 8] and target.known[1, 14, -1] and target.known[2].all()


def test_true_sides_have_no_loss():
    target = targets(scene(BOXES))
    assert side_loss(target.sides[None], target.sides[None], target.weight[None]) < 1e-5
    assert side_loss(target.sides[None] + 0.3, target.sides[None], target.weight[None]) > 0.1
    assert boxes_of(target.sides[None]).shape == (1, 256 // STRIDE, 320 // STRIDE, 4)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_who_stands_before_the_middle_of_a_larger_person_owns_it(order):
    boxes = np.array([[20.0, 20, 280, 240], [130, 110, 170, 150]])
    target = targets(scene(boxes[order]))
    taught = boxes_of(target.sides)[target.weight > 0].numpy()
    assert overlaps(boxes[1], boxes_of(target.sides)[16, 18:20].numpy()).min() > 0.99
    assert sorted(np.unique(np.round(overlaps(boxes[0], taught), 2))) == [0.03, 1]


def test_every_person_weighs_the_same():
    target = targets(scene(BOXES))
    np.testing.assert_allclose(target.weight.sum(), len(BOXES), rtol=1e-5)
    assert (targets(scene(BOXES[:0])).weight == 0).all()


def test_a_centre_learns_how_well_its_box_fits():
    """The loss is least at the logit of the box's overlap with the person, whatever that is."""
    target = Targets(*(value[None] for value in targets(scene(BOXES[:1]))))
    for shrink, fits in ((0.0, 1.0), (-0.1, np.exp(-0.2)), (-0.3, np.exp(-0.6))):  # both sides by a factor exp(shrink)
        grid = torch.linspace(-3, 6, 91)
        losses = [centre_loss(torch.where(target.weight > 0, logit, -9.0), target.sides + shrink, target) for logit in grid]
        best = grid[int(torch.stack(losses).argmin())].sigmoid().item()
        assert abs(best - min(fits, 0.9975)) < 0.03


def test_a_centre_is_silent_only_where_that_is_known():
    target = Targets(*(value[None] for value in targets(scene(BOXES))))
    unknown = target._replace(known=torch.zeros_like(target.known))
    quiet = torch.where(target.weight > 0, 3.0, -6.0)
    loud = quiet.clone()
    loud[0, -1, -1] = 4.0
    assert centre_loss(loud, target.sides, target) > centre_loss(quiet, target.sides, target) + 1
    assert centre_loss(loud, target.sides, unknown) == centre_loss(quiet, target.sides, unknown)


def test_scores_do_not_jump_from_frame_to_frame():
    """What ships, on a person who walks: sure of it wherever it stands on the network's grid, and of nobody before it came."""
    frames = read_clip([0, 5, *range(80, 84)])
    detector = load_detector(WEIGHTS / "detector.safetensors", DetectorConfig(score=0.02))

    def best(image: np.ndarray) -> float:
        return max((d.score for d in detector.detect(image)), default=0.0)

    walking = [best(image) for image in frames[2:]]
    moved = [best(np.roll(frames[2], shift, 1)) for shift in range(0, 32, 4)]  # 16 px are a cell
    assert min(walking + moved) > 0.7
    assert np.abs(np.diff(walking)).max() < 0.15 and np.abs(np.diff(moved)).max() < 0.15
    assert max(best(image) for image in frames[:2]) < 0.3


def test_weights_of_another_detector_say_what_does_not_fit(tmp_path):
    with pytest.raises(CheckpointError, match="holds no person detector .no 'detector'"):
        load_detector(WEIGHTS / "lite.safetensors", DetectorConfig())
    save_tensors(tmp_path / "w", load_tensors(WEIGHTS / "detector.safetensors")[0], {"detector": {"widths": [32, 64, 96, 64]}})
    with pytest.raises(CheckpointError, match="holds no person detector .size mismatch for deep") as error:
        load_detector(tmp_path / "w", DetectorConfig())
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def read_clip(indices: list[int]) -> list[np.ndarray]:
    """Frames (H, W, 3) RGB of the clip that ships."""
    video = cv2.VideoCapture(str(WEIGHTS.parent / "demo" / "walk_and_sit.mp4"))
    images = [cv2.cvtColor(video.read()[1], cv2.COLOR_BGR2RGB) for _ in range(max(indices) + 1)]
    video.release()
    return [images[i] for i in indices]


def test_a_mirrored_scene_exchanges_the_sides_and_is_exact_to_the_pixel():
    """A pixel of its own at every keypoint and a box along the pixels' edges, in a picture of odd width."""
    cells = np.random.default_rng(0).permutation(40 * 41)[:14]
    keypoints = np.stack([cells % 41, cells // 41, np.ones(14)], -1).astype(float)
    image, known = np.zeros((40, 41, 3), np.uint8), np.ones((40, 41), bool)
    image[cells // 41, cells % 41] = 100 + np.arange(14)[:, None]
    known[:, 3] = False
    turned = mirror(Scene(image, np.array([[0.0, 2, 10, 30]]), keypoints[None], known))
    sides = {"left": "right", "right": "left"}
    for k, name in enumerate(KEYPOINT_NAMES):
        other = KEYPOINT_NAMES.index("_".join(sides.get(word, word) for word in name.split("_")))
        x, y = turned.keypoints[0, k, :2].astype(int)
        assert (x, y) == (40 - cells[other] % 41, cells[other] // 41) and turned.image[y, x, 0] == 100 + other
    assert turned.boxes.tolist() == [[30, 2, 40, 30]] and np.flatnonzero(~turned.known[0]).tolist() == [37]


def test_mirrored_scenes_keep_their_labels():
    there, back = scene(BOXES), mirror(mirror(scene(BOXES)))
    np.testing.assert_allclose(back.boxes, there.boxes)
    np.testing.assert_allclose(back.keypoints, there.keypoints)
