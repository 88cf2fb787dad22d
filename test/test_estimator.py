# SPDX-License-Identifier: Apache-2.0
"""The whole estimator on the bundled clip with known truth, and on input that is no image."""

import dataclasses

import numpy as np
import pytest
import torch
from clip import CLIP, frames

from lifting_ros import estimator as module
from lifting_ros.config import ConfigError
from lifting_ros.detection.detector import DetectorConfig, box_of_keypoints
from lifting_ros.device import choose_device, cpu_has_bf16, use_threads
from lifting_ros.estimator import (
    FREE,
    SHIPPED,
    WEIGHTS,
    EstimatorConfig,
    ImageError,
    KeypointLifter,
    PoseEstimator,
    claim_once,
    detector_config,
    drop_outside,
    most_shared,
    network_and_detector,
    widen,
)
from lifting_ros.geometry.camera import Camera
from lifting_ros.io.checkpoint import sha256_of
from lifting_ros.keypoints.belief_maps import encode
from lifting_ros.keypoints.person_score import person_score
from lifting_ros.lifting.lifter_config import LifterConfig
from lifting_ros.research.evaluation.metrics import pck
from lifting_ros.skeleton import KEYPOINT_FLIP, KEYPOINT_TO_JOINT
from lifting_ros.types import (
    Detection,
    FoundKeypoints,
    JointStatus,
    LiftedPoses,
    Skeleton2D,
)

TOLERANCE_PX = 0.001 if not cpu_has_bf16() else 0.6
"""Largest difference of a keypoint in torch: in float32, or in bfloat16."""


@pytest.fixture(scope="module")
def estimator() -> PoseEstimator:
    return PoseEstimator()


def test_finds_the_walking_person_where_it_is(estimator):
    truth = np.load(CLIP.with_name("walk_and_sit_truth.npz"), allow_pickle=False)
    indices = [40, 55, 75, 80, 90, 100]
    estimates = [estimator.estimate(image) for image in frames(indices)]
    assert all(len(e.persons) >= 1 for e in estimates)
    found = np.stack([e.persons[0].skeleton_2d.keypoints_px for e in estimates])
    labels = np.concatenate([truth["keypoints_px"][indices], np.ones((len(indices), 14, 1))], -1)
    assert np.nanmean(pck(found, labels, 0.3)) > 0.6


def test_an_empty_room_is_empty(estimator):
    assert [len(estimator.estimate(image).persons) for image in frames([0, 5, 10])] == [0, 0, 0]


def test_with_a_camera_the_person_stands_in_front_of_it(estimator):
    (image,) = frames([80])
    camera = Camera(K)
    person = estimator.estimate(image, camera).persons[0]
    metric = person.skeleton_3d
    assert (
        metric.metric
        and 1.5 < metric.root_m[2] < 6
        and np.isfinite(metric.root_covariance_m2).all()
    )
    seen = camera.project(metric.joints_m[list(KEYPOINT_TO_JOINT)])
    assert np.linalg.norm(seen - person.skeleton_2d.keypoints_px, axis=-1).max() < 30
    free = estimator.estimate(image).persons[0].skeleton_3d
    assert not free.metric and (free.root_m == 0).all()


def test_the_same_image_gives_the_same_answer(estimator):
    (image,) = frames([80])
    first, second = (estimator.estimate(image).persons[0].skeleton_3d.joints_m for _ in range(2))
    np.testing.assert_array_equal(first, second)


K = np.array([[600.0, 0, 319.5], [0, 600, 239.5], [0, 0, 1]])


def batch_of_cameras(estimator) -> tuple[list, list]:
    """Estimates of three images of different sizes and cameras: in one batch, and one by one."""
    walking, sitting, empty = frames([80, 150, 0])
    images = [walking, sitting[:, 60:].copy(), empty]
    cameras = [Camera(K), None, Camera(K)]
    ups = [(0.0, -1.0, 0.0), (np.nan, np.nan, np.nan), (0.0, -0.8, -0.6)]
    depths = [np.full((48, 64), 3.0), None, None]
    together = estimator.estimate_batch(images, cameras, ups, depths)
    alone = [estimator.estimate(*given) for given in zip(images, cameras, ups, depths, strict=True)]
    return together, alone


def test_batch_is_the_same_as_one_image_after_the_other(estimator):
    if estimator.runtime != "openvino":
        pytest.skip("other runtimes sum in another order")
    together, alone = batch_of_cameras(estimator)
    assert [len(estimate.persons) for estimate in together] == [1, 1, 0]
    for ours, theirs in zip(together, alone, strict=True):
        np.testing.assert_equal(
            [dataclasses.asdict(person) for person in ours.persons],
            [dataclasses.asdict(person) for person in theirs.persons],
        )
        assert ours.detected and set(ours.seconds) == {"detect", "network", "lift"}


def test_2d_alone_is_that_of_an_estimate(estimator):
    walking, empty = frames([80, 0])
    whole, flat = estimator.estimate(walking, Camera(K)), estimator.estimate_2d(walking)
    assert len(flat.persons) == len(whole.persons) == 1 and flat.detected
    for ours, theirs in zip(flat.persons, whole.persons):
        np.testing.assert_equal(
            dataclasses.asdict(ours.skeleton_2d), dataclasses.asdict(theirs.skeleton_2d)
        )
        assert (ours.skeleton_3d.status == JointStatus.INVALID).all()
        assert np.isnan(ours.skeleton_3d.joints_m).all() and not ours.skeleton_3d.metric
    assert estimator.estimate_2d(empty).persons == ()
    assert set(flat.seconds) == {"detect", "network"}
    with pytest.raises(ImageError):
        estimator.estimate_2d(walking[..., 0])


def test_batch_in_torch_differs_by_rounding_only():
    together, alone = batch_of_cameras(PoseEstimator(EstimatorConfig(runtime="torch")))
    for ours, theirs in zip(together, alone, strict=True):
        assert len(ours.persons) == len(theirs.persons)
        for person, other in zip(ours.persons, theirs.persons):
            gap = person.skeleton_2d.keypoints_px - other.skeleton_2d.keypoints_px
            assert np.abs(gap).max() < TOLERANCE_PX


def test_batch_asks_the_network_once_and_keeps_to_given_places(estimator, monkeypatch):
    walking, sitting = frames([80, 150])
    monkeypatch.setattr(estimator, "config", dataclasses.replace(estimator.config, second_look=0.0))
    place = estimator.estimate(walking).persons[0].skeleton_2d
    asked = []
    find = estimator.network.find

    def count(images, boxes, mirrored):
        asked.append(len(boxes))
        return find(images, boxes, mirrored)

    monkeypatch.setattr(estimator.network, "find", count)
    given = [[Detection(place.box_px, place.score)], None]
    followed, detected = estimator.estimate_batch([walking, sitting], detections=given)
    assert asked == [len(followed.persons) + len(detected.persons)] == [2]
    assert (followed.detected, detected.detected) == (False, True)
    assert "detect" not in followed.seconds


@pytest.mark.parametrize(
    ("second_look", "followed", "looks"),
    [(0.6, False, 2), (0.6, True, 1), (1.0, True, 2), (0.0, False, 1)],
)
def test_second_look_is_for_those_who_were_detected(
    estimator, monkeypatch, second_look, followed, looks
):
    (image,) = frames([80])
    box = estimator.estimate(image).persons[0].skeleton_2d.box_px
    wide = box + np.array([-60.0, 0, 60, 0])  # the keypoints fill less than half of it
    asked = []
    find = estimator.network.find
    monkeypatch.setattr(
        estimator.network, "find", lambda *given: asked.append(given[2]) or find(*given)
    )
    config = dataclasses.replace(estimator.config, second_look=second_look)
    monkeypatch.setattr(estimator, "config", config)
    estimate = estimator.estimate(image, detections=[Detection(wide, 0.9, followed)])
    assert len(estimate.persons) == 1 and asked == [False, True][:looks]


def test_batch_of_nothing_is_nothing(estimator):
    assert estimator.estimate_batch([]) == []


@pytest.mark.parametrize("name", ["cameras", "ups", "depths", "detections"])
def test_batch_wants_a_value_for_each_image(estimator, name):
    images = [np.zeros((8, 8, 3), np.uint8)] * 2
    with pytest.raises(ValueError, match=f"^{name}: expected 2, one for each image, got 1$"):
        estimator.estimate_batch(images, **{name: [None]})


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), "a"]
)
def test_wrong_image_is_one_line(estimator, image):
    with pytest.raises(ValueError, match="^image: expected"):
        estimator.estimate(image)


def test_image_of_one_pixel_is_accepted(estimator):
    assert estimator.estimate(np.zeros((1, 1, 3), np.uint8)).persons == ()


class Looks:
    """Stands for the network: answers box by box, and keeps what was asked."""

    def __init__(self, answers: list[FoundKeypoints]):
        self.answers = answers
        self.asked = []

    def find(
        self,
        images: list[np.ndarray],
        boxes_px: list[np.ndarray],
        mirrored: bool = False,
    ) -> list[FoundKeypoints]:
        """See `protocols.KeypointNetwork`."""
        self.asked.append(([box.tolist() for box in boxes_px], mirrored))
        return [self.answers.pop(0) for _ in boxes_px]


@pytest.mark.parametrize("second", [0.9, 0.85])
def test_second_crop_wins_where_keypoints_left_the_box(estimator, monkeypatch, second):
    """The one whose keypoints lie beside the detected box, not the one whose keypoints fill it; the
    second crop is around the keypoints."""
    lost = make_found(60, 0.8)
    there = make_found(300, 0.95)
    again = make_found(62, second)
    lost_box, there_box = (
        box_of_keypoints(found.keypoints_px, found.confidence, np.zeros(4))
        for found in (lost, there)
    )
    looks = Looks([lost, there, again])
    monkeypatch.setattr(estimator, "network", looks)
    monkeypatch.setattr(estimator, "score_person", person_score)

    boxes = [np.array([0.0, 0, 100, 100]), there_box]
    image = np.zeros((480, 480, 3), np.uint8)
    found = estimator.find_keypoints(image, [Detection(box, 1.0) for box in boxes])
    assert looks.asked == [
        ([box.tolist() for box in boxes], False),
        ([lost_box.tolist()], True),
    ]
    assert [s.score for s in found] == pytest.approx([0.95**0.9, second**0.9])
    np.testing.assert_array_equal(found[1].keypoints_px, again.keypoints_px)


def test_keypoints_at_the_border_are_doubted(estimator, monkeypatch):
    """With the box that was cropped and the size of its own image, in every crop."""
    found = make_found(60, 0.9)
    box = box_of_keypoints(found.keypoints_px, found.confidence, np.zeros(4))
    asked = []

    def halved(one: FoundKeypoints, box_px: np.ndarray, size: tuple[int, int]) -> FoundKeypoints:
        asked.append((box_px.tolist(), size))
        return dataclasses.replace(one, confidence=one.confidence / 2)

    monkeypatch.setattr(estimator, "network", Looks([found, found]))
    monkeypatch.setattr(estimator, "doubt_border", halved)
    images = [np.zeros((480, 500, 3), np.uint8), np.zeros((400, 640, 3), np.uint8)]
    monkeypatch.setattr(estimator, "config", EstimatorConfig(min_person_score=0.0))
    estimates = estimator.estimate_batch(images, detections=[[Detection(box, 1.0)]] * 2)
    assert asked == [(box.tolist(), (500, 480)), (box.tolist(), (640, 400))]
    for estimate in estimates:
        (skeleton,) = [person.skeleton_2d for person in estimate.persons]
        np.testing.assert_allclose(skeleton.confidence, found.confidence / 2)


class Certain:
    """Stands for the maps of the network: keypoints in the middle of every crop, certainly in view.
    Keeps what was asked."""

    def __init__(self, config):
        self.config, self.asked = config, []

    def last(self, crops: torch.Tensor, mirrored: bool = False):
        """As `NetworkRunner.last`."""
        count = len(crops)
        self.asked.append((count, mirrored))

        side = self.config.input_px // self.config.stride
        points = side * (0.4 + 0.2 * torch.rand(14, 2, generator=torch.Generator().manual_seed(0)))
        maps = encode(points, (side, side)).expand(count, -1, -1, -1)
        ends = torch.full((count * (1 + mirrored), 17), 0.8)
        return maps, torch.full((count, 14), 2.0), ends, None, None


def test_second_crop_is_mirrored_and_low_scores_are_dropped(monkeypatch):
    estimator = PoseEstimator(EstimatorConfig(runtime="torch"))  # the stand-in answers with tensors
    network = Certain(estimator.network.config)
    monkeypatch.setattr(estimator.network, "last", network.last)
    detections = [Detection(np.array([x, 0.0, x + 100, 100]), 0.9) for x in (0, 200)]
    image = np.zeros((120, 320, 3), np.uint8)
    presence = torch.tensor(2.0).sigmoid().item()
    seen = dataclasses.replace(make_found(0, presence), ends=0.8)
    score = estimator.score_person(0.9, seen)

    for least, found in ((score - 0.01, 2), (score + 0.01, 0)):
        monkeypatch.setattr(
            estimator, "config", dataclasses.replace(estimator.config, min_person_score=least)
        )
        assert len(estimator.find_keypoints(image, detections)) == found
        assert network.asked[-2:] == [(2, False), (2, True)]


@pytest.mark.parametrize("detections", [[0, 200], [0, 0]], ids=["apart", "repeated"])
def test_everybody_looked_at_is_a_person_or_rejected(monkeypatch, detections):
    estimator = PoseEstimator(EstimatorConfig(runtime="torch"))  # the stand-in answers with tensors
    monkeypatch.setattr(estimator.network, "last", Certain(estimator.network.config).last)
    places = [Detection(np.array([x, 0.0, x + 100, 100]), 0.9) for x in detections]
    image = np.zeros((120, 320, 3), np.uint8)
    for least in (0.0, 1.0):
        config = dataclasses.replace(estimator.config, min_person_score=least)
        monkeypatch.setattr(estimator, "config", config)
        estimate = estimator.estimate(image, detections=places)
        kept = 0 if least else len(set(detections))
        assert (len(estimate.persons), len(estimate.rejected)) == (kept, 2 - kept)


def make_found(shift: float, presence: float) -> FoundKeypoints:
    points = np.random.default_rng(0).uniform(0, 100, (14, 2)) + shift
    covariance = np.tile(np.eye(2), (14, 1, 1))
    return FoundKeypoints(points, np.ones(14), covariance, np.full(14, presence))


def make_skeleton(shift: float, score: float) -> Skeleton2D:
    points = np.random.default_rng(0).uniform(0, 100, (14, 2)) + shift
    box = np.array([shift, shift, 100 + shift, 100 + shift])
    return Skeleton2D(points, np.ones(14), np.tile(np.eye(2), (14, 1, 1)), box, score)


def test_who_is_found_twice_shares_all_keypoints():
    near, far = make_skeleton(3, 0.9), make_skeleton(300, 0.5)
    assert most_shared(make_skeleton(0, 0.4), [far, near]) == 1
    assert most_shared(far, [near]) == most_shared(far, []) == 0


def test_sides_are_not_told_apart():
    skeleton = make_skeleton(0, 0.4)
    swapped = Skeleton2D(
        skeleton.keypoints_px[list(KEYPOINT_FLIP)],
        skeleton.confidence,
        skeleton.covariance_px2,
        skeleton.box_px,
        0.9,
    )
    assert most_shared(skeleton, [swapped]) == 1


def test_confident_keypoints_decide_who_is_found_twice():
    """Five sure keypoints at the same places are the same person, wherever the other nine were
    guessed; nine guessed ones are not."""
    skeleton, other = make_skeleton(0, 0.9), make_skeleton(0, 0.4)
    other.keypoints_px[5:] += 500
    for sure, same in ((slice(0, 5), True), (slice(5, 14), False)):
        confidence = np.full(14, 0.05)
        confidence[sure] = 0.9
        guessed = dataclasses.replace(other, confidence=confidence)
        assert (most_shared(guessed, [skeleton]) > 0.5) == same


class TwoPeople:
    """A network that finds the person on the left in every crop, and the other one where the left
    one is hidden, which is grey; the other one's own crop has both."""

    LEFT_PX, RIGHT_PX = np.array([200.0, 200]), np.array([340.0, 200])

    def __init__(self, scores: dict[str, float], shared: int = 14):
        self.scores = scores
        self.shared = shared
        """Number of keypoints of the left one that the right crop gets wrong."""
        self.asked = 0
        self.figure = np.random.default_rng(0).uniform(-60, 60, (14, 2))

    def person_at(self, middle: np.ndarray, presence: float) -> FoundKeypoints:
        covariance = np.tile(np.eye(2), (14, 1, 1))
        return FoundKeypoints(self.figure + middle, np.ones(14), covariance, np.full(14, presence))

    def find(self, images, boxes_px, mirrored=False):
        self.asked += 1
        return [self.find_one(image, box) for image, box in zip(images, boxes_px, strict=True)]

    def find_one(self, image, box):
        if (box[0] + box[2]) / 2 < 270:
            return self.person_at(self.LEFT_PX, self.scores["left"])
        is_hidden = (image[200, 200] != 0).any()
        if is_hidden:
            return self.person_at(self.RIGHT_PX, self.scores["behind"])
        right = self.person_at(self.RIGHT_PX, self.scores["right"])
        right.keypoints_px[: self.shared] = self.figure[: self.shared] + self.LEFT_PX
        return right


def found_of_two(estimator, monkeypatch, network) -> list[Skeleton2D]:
    """The skeletons in an image of two people, on a black ground with one bright corner."""
    image = np.zeros((400, 640, 3), np.uint8)
    image[:50, :100] = 255
    box = np.array([-60.0, -60, 60, 60])
    boxes = [box + np.tile(middle, 2) for middle in (network.LEFT_PX, network.RIGHT_PX)]
    monkeypatch.setattr(estimator, "network", network)
    monkeypatch.setattr(
        estimator, "score_person", lambda detection, found: float(found.presence[0])
    )
    return estimator.find_keypoints(image, [Detection(box, 0.9) for box in boxes])


@pytest.mark.parametrize("shared", [14, 6, 3])
def test_who_is_behind_somebody_is_looked_for_again(estimator, monkeypatch, shared):
    """Whether all keypoints are the other one's, or some."""
    network = TwoPeople({"left": 0.99, "right": 0.9, "behind": 0.95}, shared)
    left, right = found_of_two(estimator, monkeypatch, network)
    np.testing.assert_allclose(left.keypoints_px, network.figure + network.LEFT_PX)
    np.testing.assert_allclose(right.keypoints_px, network.figure + network.RIGHT_PX)
    assert (left.score, right.score) == (0.99, 0.95)


@pytest.mark.parametrize(("shared", "count"), [(14, 1), (6, 2), (0, 2)])
def test_the_first_look_stays_where_nobody_is_behind(estimator, monkeypatch, shared, count):
    """Unless it found the other one again."""
    network = TwoPeople({"left": 0.99, "right": 0.9, "behind": 0.1}, shared)
    found = found_of_two(estimator, monkeypatch, network)
    assert [skeleton.score for skeleton in found] == [0.99, 0.9][:count]


def test_a_whole_person_comes_before_a_half_of_the_same(estimator, monkeypatch):
    """The detector also marks halves, and their scores are as good."""

    class Halves(TwoPeople):
        def find_one(self, image, box):
            whole = self.person_at(self.LEFT_PX, 0.95)
            if (box[0] + box[2]) / 2 < 270:
                return whole
            confidence = np.where(np.arange(14) < 7, 1.0, 0.02)
            return dataclasses.replace(whole, confidence=confidence, presence=np.full(14, 0.99))

    (found,) = found_of_two(estimator, monkeypatch, Halves({}))
    assert found.score == 0.95 and (found.confidence > 0.9).all()


def test_people_apart_are_looked_at_once(estimator, monkeypatch):
    network = TwoPeople({"left": 0.99, "right": 0.9, "behind": 0.1}, shared=0)
    monkeypatch.setattr(module, "overlaps", lambda box, boxes: np.ones(len(boxes)))
    found_of_two(estimator, monkeypatch, network)
    assert network.asked == 1


def test_a_place_is_the_keypoint_of_one_person_alone():
    """The less confident claim loses, whoever of the two has the better score."""
    one, other = make_skeleton(0, 0.9), make_skeleton(300, 0.8)
    side = max(one.box_px[2:] - one.box_px[:2])
    for skeleton, confidence in ((one, 0.3), (other, 0.7)):
        skeleton.keypoints_px[4] = 150.0
        skeleton.confidence[4] = confidence
    other.keypoints_px[7] = one.keypoints_px[7] + 0.08 * side  # near, but not at one place
    other.keypoints_px[9] = one.keypoints_px[12]  # another keypoint

    loser, winner = claim_once([one, other])
    np.testing.assert_array_equal(winner.confidence, other.confidence)
    np.testing.assert_array_equal(winner.covariance_px2, other.covariance_px2)
    assert np.flatnonzero(loser.confidence != one.confidence).tolist() == [4]
    assert loser.confidence[4] == pytest.approx(0.06)
    grown = loser.covariance_px2[4] - one.covariance_px2[4]
    np.testing.assert_allclose(grown, (0.17 * side) ** 2 * np.eye(2))
    assert loser.keypoints_px is one.keypoints_px and loser.score == one.score

    other.confidence[4] = 0.3
    for same, before in zip(claim_once([one, other]), (one, other)):
        np.testing.assert_array_equal(same.confidence, before.confidence)


def test_every_way_to_persons_lets_them_claim_once(estimator, monkeypatch):
    (image,) = frames([60])
    crossed = []
    monkeypatch.setattr(module, "claim_once", lambda found: crossed.append(len(found)) or found)
    estimator.estimate(image)
    estimator.estimate_2d(image)
    estimator.find_keypoints(image, estimator.detect(image))
    assert crossed == [1, 1, 1]


def test_every_way_to_persons_takes_noise_away(estimator, monkeypatch):
    clear, noisy = frames([80, 150])
    places = estimator.detect(clear)
    expected = [skeleton.keypoints_px for skeleton in estimator.find_keypoints(clear, places)]
    assert len(expected) == 1

    monkeypatch.setattr(module, "clear_image", lambda image: clear)
    seen = [estimator.detect(noisy)[0].box_px, estimator.look(noisy, places)[0][0].keypoints_px]
    np.testing.assert_array_equal(seen[0], places[0].box_px)
    np.testing.assert_array_equal(seen[1], expected[0])
    np.testing.assert_array_equal(
        estimator.find_keypoints(noisy, places)[0].keypoints_px, expected[0]
    )
    for estimate in (
        estimator.estimate_2d(noisy),
        estimator.estimate(noisy),
        estimator.estimate(noisy, detections=places),
    ):
        (person,) = estimate.persons
        np.testing.assert_array_equal(person.skeleton_2d.keypoints_px, expected[0])


def test_detector_sees_less_beside_a_small_network():
    """Unless a size was asked for."""

    def side(weights: str, asked: int) -> int:
        detector = DetectorConfig(long_side_px=asked)
        return detector_config(EstimatorConfig(weights=weights, detector=detector)).long_side_px

    assert [side(name, 0) for name in ("full", "lite", "lite-free", "")] == [0, 320, 320, 0]
    assert [side(name, 640) for name in ("full", "lite")] == [640, 640]


def test_weights_are_a_name_or_a_file():
    def files(weights: str, detector: str = "") -> list[str]:
        return [
            str(path)
            for path in network_and_detector(
                EstimatorConfig(weights=weights, detector=DetectorConfig(weights=detector))
            )
        ]

    full, lite, detector = (
        str(WEIGHTS / f"{part}.safetensors") for part in ("full", "lite", "detector")
    )
    for name, network in (("", full), ("full", full), ("lite", lite)):
        assert files(name) == [network, detector] and files(name, "mine") == [network, "mine"]
    assert files("a/lite.safetensors") == ["a/lite.safetensors", detector]
    free = [str(WEIGHTS / f"{part}.safetensors") for part in ("lite-free", "detector-free")]
    assert files(FREE) == free and files(FREE, "mine") == [free[0], "mine"]


@pytest.mark.parametrize("network", [*SHIPPED, FREE])
def test_shipped_weights_are_small_and_have_a_card(network):
    paths = network_and_detector(EstimatorConfig(weights=network))
    most = {"full": 20e6, "lite": 12e6, FREE: 12e6}[network]
    assert all(path.stat().st_size <= most and path.with_suffix(".md").is_file() for path in paths)
    assert PoseEstimator(EstimatorConfig(weights=network)).weights_sha256 == sha256_of(paths[0])


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "xpu", ""])
def test_missing_device_is_named(name):
    with pytest.raises(ConfigError, match="^device: "):
        choose_device(name)


def test_estimator_leaves_the_threads_alone(monkeypatch):
    """Only entry points set them."""
    chosen = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    PoseEstimator(EstimatorConfig(threads=3))
    assert chosen == []

    use_threads(3)
    use_threads()
    assert chosen[0] == 3 and chosen[1] >= 1


@pytest.mark.parametrize(
    ("limit", "threads"), [("1", 1), ("2", 2), ("8", 4), ("0", 4), ("", 4), ("3,2", 4)]
)
def test_threads_are_at_most_those_of_openmp(monkeypatch, limit, threads):
    chosen = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    use_threads()
    use_threads(6)
    assert chosen == [threads, 6]


def test_configuration_does_no_file_access():
    """A lifter without weights is refused where it is made."""
    config = EstimatorConfig(lifter="relative", lifter_weights="nothing-here")
    with pytest.raises(ConfigError, match="nothing-here: no such weights file"):
        KeypointLifter(config)


def test_auto_is_a_device_that_works():
    assert torch.zeros(1, device=choose_device("auto")).item() == 0


@pytest.mark.parametrize("field", ["weights", "prior"])
def test_a_missing_file_is_one_line(field, tmp_path):
    with pytest.raises(ValueError, match="nothing-here") as error:
        PoseEstimator(EstimatorConfig(**{field: str(tmp_path / "nothing-here")}))
    assert "\n" not in str(error.value)


def test_covariances_are_widened_for_images_alone():
    """By both factors; the root's stays for each person whose depth was measured."""
    poses = LiftedPoses.invalid(2, 1)
    poses = dataclasses.replace(
        poses,
        covariance_m2=np.ones_like(poses.covariance_m2),
        root_covariance_m2=np.ones_like(poses.root_covariance_m2),
    )
    config = LifterConfig(joint_inflation=3.0, root_inflation=5.0)
    wide = widen(poses, config, np.array([True, False]))
    assert (wide.covariance_m2 == 3).all()
    assert (wide.root_covariance_m2[0] == 1).all() and (wide.root_covariance_m2[1] == 5).all()


def test_keypoints_outside_the_image_are_not_seen():
    points = np.zeros((14, 2))
    points[:4] = [[-0.4, 0], [319.4, 239.4], [-0.6, 5], [5, 240]]
    found = FoundKeypoints(points, np.full(14, 0.7), np.zeros((14, 2, 2)), np.ones(14))
    confidence = drop_outside(found, (320, 240)).confidence
    assert confidence[:2].tolist() == [0.7, 0.7] and confidence[2:4].tolist() == [0, 0]


class StubCue:
    """A depth cue that says that all joints are equally far, and remembers what it was shown."""

    def __init__(self):
        self.shown = []

    def layer_of(self, skeleton):
        return skeleton.local

    def guess(self, seen, layers, camera, up):
        self.shown.append(layers)
        z = np.zeros(seen.keypoints_px.shape[:2])
        return z, np.full_like(z, 1e-4)


def test_depths_are_guessed_from_what_the_trunk_saw(estimator, monkeypatch):
    camera = Camera(np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]))
    (image,) = frames([60])
    monkeypatch.setattr(estimator, "depth_cue", None)
    (plain,) = estimator.estimate(image, camera).persons

    cue = StubCue()
    monkeypatch.setattr(estimator, "depth_cue", cue)
    (flat,) = estimator.estimate(image, camera).persons
    (layer,) = cue.shown[0]
    assert layer.shape == (14, 1280) and flat.skeleton_2d.deep.shape == (1280,)
    assert flat.skeleton_2d.local is None  # large, and of no more use
    depths = [np.ptp(person.skeleton_3d.joints_m[:, 2]) for person in (plain, flat)]
    assert depths[1] < 0.5 * depths[0]

    # Not where it is switched off, and not for lifters that cannot use it
    for change in ({"depth_cue": False}, {"lifter": "stereo"}):
        monkeypatch.setattr(estimator, "config", dataclasses.replace(estimator.config, **change))
        (person,) = estimator.estimate(image, camera).persons
        if "depth_cue" in change:
            np.testing.assert_array_equal(person.skeleton_3d.joints_m, plain.skeleton_3d.joints_m)
    assert len(cue.shown) == 1


class StubOffsets:
    """Joint offsets that move everybody 20 px to the right, and remember whom."""

    def __init__(self):
        self.asked = []

    def joints_of(self, seen, camera, up, which):
        self.asked.append(which.tolist())
        return seen._replace(keypoints_px=seen.keypoints_px + [20.0, 0.0])


def test_joints_are_lifted_and_keypoints_published(estimator, monkeypatch):
    camera = Camera(np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]))
    (image,) = frames([60])
    monkeypatch.setattr(estimator, "joint_offsets", None)
    (plain,) = estimator.estimate(image, camera).persons

    offsets = StubOffsets()
    monkeypatch.setattr(estimator, "joint_offsets", offsets)
    (moved,) = estimator.estimate(image, camera).persons
    np.testing.assert_array_equal(moved.skeleton_2d.keypoints_px, plain.skeleton_2d.keypoints_px)
    step = moved.skeleton_3d.root_m - plain.skeleton_3d.root_m
    assert step[0] == pytest.approx(20 / 500 * plain.skeleton_3d.root_m[2], rel=0.2)

    # Not keypoints of another detector, and not where it is switched off
    estimator.lift([dataclasses.replace(plain.skeleton_2d, deep=None)])
    assert offsets.asked == [[True], [False]]
    monkeypatch.setattr(
        estimator, "config", dataclasses.replace(estimator.config, joint_offsets=False)
    )
    estimator.estimate(image, camera)
    assert len(offsets.asked) == 2


class StubCorrection:
    """Raises the head of everybody by a metre."""

    def correct(self, poses, views, metric, which):
        joints_m = poses.joints_m.copy()
        joints_m[which, 10, 1] -= 1.0
        return dataclasses.replace(poses, joints_m=joints_m)


def test_the_network_corrects_whom_it_finds(estimator, monkeypatch):
    (image,) = frames([60])
    monkeypatch.setattr(estimator, "pose_correction", None)
    (plain,) = estimator.estimate(image).persons
    monkeypatch.setattr(estimator, "pose_correction", StubCorrection())
    (moved,) = estimator.estimate(image).persons

    # In place of the correction of the lifter, not on top of it
    bare = estimator.lifter.lifter
    monkeypatch.setattr(estimator, "pose_correction", None)
    monkeypatch.setattr(estimator, "lifter", bare)
    (uncorrected,) = estimator.estimate(image).persons
    raised = uncorrected.skeleton_3d.joints_m - moved.skeleton_3d.joints_m
    np.testing.assert_allclose(raised[10], [0.0, 1.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(np.delete(raised, 10, 0), 0.0, atol=1e-6)
    assert not np.allclose(plain.skeleton_3d.joints_m, uncorrected.skeleton_3d.joints_m)


def test_keypoints_of_another_detector_are_corrected_as_anybodys(estimator, monkeypatch):
    (image,) = frames([60])
    (person,) = estimator.estimate(image).persons
    other = dataclasses.replace(person.skeleton_2d, deep=None)
    (plain,) = estimator.lift([other])
    monkeypatch.setattr(estimator, "pose_correction", StubCorrection())
    (again,) = estimator.lift([other])
    np.testing.assert_array_equal(again.skeleton_3d.joints_m, plain.skeleton_3d.joints_m)


def test_skeletons_of_another_detector_get_no_guess(estimator, monkeypatch):
    (image,) = frames([60])
    (person,) = estimator.estimate(image).persons
    skeleton = person.skeleton_2d
    cue = StubCue()
    monkeypatch.setattr(estimator, "depth_cue", cue)
    estimator.lift([skeleton])
    assert cue.shown == [[None]]
