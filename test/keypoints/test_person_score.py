# SPDX-License-Identifier: Apache-2.0
"""The score of a person, with and without weights for it."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from lifting_ros.backends import make_person_score
from lifting_ros.estimator import FREE, SHIPPED, WEIGHTS
from lifting_ros.io.checkpoint import CheckpointError, save_tensors
from lifting_ros.keypoints.person_score import (
    ENDS,
    HEADER,
    PROBE,
    PersonScore,
    Probe,
    bounded_logit,
    ends_of,
    person_score,
    read_person_score,
    read_probe,
)
from lifting_ros.keypoints.trunk import mobilenet_shape
from lifting_ros.types import FoundKeypoints

SCORE = PersonScore(detector=0.7, keypoints=0.6, ends=1.5, probe=0.9, constant=-1.0)
LAYER = np.array([1.0, 2.0, -1.0])
"""Direction of a probe of a trunk with three channels."""


def seen(presence, ends: float = np.nan, logit: float | None = None) -> FoundKeypoints:
    """What a network sees; logit: of PROBE_OF_LAYER, None without a trunk."""
    deep = None if logit is None else logit * LAYER / (LAYER @ LAYER)
    everywhere = np.broadcast_to(presence, 14)
    return FoundKeypoints(
        np.zeros((14, 2)), everywhere, np.zeros((14, 2, 2)), everywhere, ends, deep
    )


PROBE_OF_LAYER = Probe(LAYER, 0.0)


def test_score_needs_both_box_and_keypoints():
    assert person_score(0.9, seen(0.9)) == pytest.approx(0.9)
    assert person_score(0.0, seen(0.9)) == 0 and person_score(0.9, seen(0.0)) == 0


def test_limbs_count_more_than_the_detector():
    both = person_score(0.9, seen(0.9))
    box = person_score(0.45, seen(0.9))
    limbs = person_score(0.9, seen(0.45))
    assert both > box > limbs


def test_half_a_person_scores_as_a_whole_one():
    """Four keypoints in view are enough; fewer are not."""
    whole = person_score(0.9, seen(0.9))
    half = person_score(0.9, seen(np.where(np.arange(14) < 4, 0.9, 0.0)))
    arm = person_score(0.9, seen(np.where(np.arange(14) < 2, 0.9, 0.0)))
    assert half == whole and arm < 0.6 * whole


def test_more_evidence_never_lowers_the_score():
    levels = np.linspace(0, 1, 5)
    scores = np.array(
        [
            person_score(detection, seen(presence, ends, 12 * probed - 6), SCORE, PROBE_OF_LAYER)
            for detection, presence, ends, probed in itertools.product(levels, repeat=4)
        ]
    ).reshape(5, 5, 5, 5)
    for axis in range(4):
        assert (np.diff(scores, axis=axis) >= 0).all()
        assert (np.diff(scores, axis=axis) > 0).any()
    assert 0 < scores.min() < scores.max() < 1


def test_clothes_score_below_a_person():
    """The same keypoints, and neither face nor hands nor feet."""
    person, clothes = (person_score(0.6, seen(0.9, ends), SCORE) for ends in (0.8, 0.2))
    assert person > 0.8 > clothes


def test_no_trunk_counts_as_a_probe_that_cannot_tell():
    undecided = person_score(0.6, seen(0.9, 0.7, logit=0.0), SCORE, PROBE_OF_LAYER)
    assert person_score(0.6, seen(0.9, 0.7), SCORE, PROBE_OF_LAYER) == undecided
    assert person_score(0.6, seen(0.9, 0.7, logit=3.0), SCORE) == undecided


def test_a_probe_is_a_line_within_bounds():
    layers = np.random.default_rng(0).normal(size=(5, 3))
    probe = Probe(LAYER, 0.25)
    expected = layers @ LAYER + 0.25
    inside = np.abs(expected) < 4
    assert inside.sum() >= 3
    np.testing.assert_allclose(probe.evidence(layers)[inside], expected[inside])
    np.testing.assert_allclose(probe.evidence(100 * LAYER), bounded_logit(np.array(1.0)))


def test_one_end_in_view_is_enough():
    highest = np.full((1, 17), 0.1)
    assert ends_of(highest) == [0.1]
    for end in range(17):
        one = highest.copy()
        one[0, end] = 0.9
        assert ends_of(one) == [0.9 if end in ENDS else 0.1]


def test_crop_and_mirror_image_count_equally():
    highest = np.random.default_rng(0).uniform(0.1, 0.9, (6, 17))
    both = bounded_logit(ends_of(highest, mirrored=True))
    each = bounded_logit(ends_of(highest))
    np.testing.assert_allclose(both, (each[:3] + each[3:]) / 2)
    swapped = np.concatenate([highest[3:], highest[:3]])
    np.testing.assert_allclose(ends_of(swapped, mirrored=True), ends_of(highest, mirrored=True))


@pytest.mark.parametrize(("weights", "ends"), [(None, 0.9), (SCORE, np.nan)])
def test_without_weights_or_trunk_the_score_is_the_mean(weights, ends):
    assert person_score(0.9, seen(0.9, ends), weights) == person_score(0.9, seen(0.9))


def write(path, values, probe=None) -> None:
    header = {"network": {}} if values is None else {"network": {}, HEADER: values}
    save_tensors(path, {} if probe is None else {PROBE: torch.tensor(probe)}, header)


def test_weights_are_read_as_written(tmp_path):
    path = tmp_path / "a.safetensors"
    write(path, dataclasses.asdict(SCORE))
    assert read_person_score(path) == SCORE


def test_files_without_a_probe_still_load(tmp_path):
    path = tmp_path / "a.safetensors"
    values = dataclasses.asdict(SCORE)
    del values["probe"]
    write(path, values)
    assert read_person_score(path) == dataclasses.replace(SCORE, probe=0.0)
    assert 0 < make_person_score(path)(0.9, seen(0.9, 0.9)) < 1


def test_files_without_weights_still_load(tmp_path):
    path = tmp_path / "a.safetensors"
    write(path, None)
    assert read_person_score(path) is None
    assert read_person_score(tmp_path / "another.format") is None


@pytest.mark.parametrize(
    "values",
    [
        3,
        {},
        {"detector": 1.0, "keypoints": 1.0, "ends": 1.0, "probe": 1.0},
        dataclasses.asdict(SCORE) | {"ends": -0.1},
        dataclasses.asdict(SCORE) | {"ends": float("nan")},
        dataclasses.asdict(SCORE) | {"ends": "1"},
        dataclasses.asdict(SCORE) | {"more": 1.0},
    ],
)
def test_malformed_weights_are_refused(tmp_path, values):
    path = tmp_path / "a.safetensors"
    write(path, values)
    with pytest.raises(CheckpointError, match="a.safetensors: person_score") as error:
        read_person_score(path)
    assert "\n" not in str(error.value)


def test_a_probe_is_read_as_written(tmp_path):
    path = tmp_path / "a.safetensors"
    write(path, dataclasses.asdict(SCORE), [0.5, -2.0, 0.25])
    probe = read_probe(path)
    assert probe.direction.tolist() == [0.5, -2.0] and probe.constant == 0.25


@pytest.mark.parametrize("values", [None, [], [1.0], [1.0, np.nan], [[1.0, 2.0]]])
def test_malformed_probes_are_refused(tmp_path, values):
    path = tmp_path / "a.safetensors"
    write(path, dataclasses.asdict(SCORE), values)
    with pytest.raises(CheckpointError, match="a.safetensors.*") as error:
        make_person_score(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [*SHIPPED, FREE])
def test_networks_that_ship_have_weights_and_a_probe(name):
    path = WEIGHTS / f"{name}.safetensors"
    score = read_person_score(path)
    assert score is not None
    assert min(score.detector, score.keypoints, score.ends, score.probe) > 0
    assert len(read_probe(path).direction) == mobilenet_shape(1.0).last


COCO = (
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow "
    "right_elbow left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle "
    "right_ankle"
).split()


@pytest.mark.parametrize("name", COCO)
def test_only_faces_hands_and_feet_are_ends(name):
    highest = np.zeros((1, len(COCO)))
    highest[0, COCO.index(name)] = 0.9
    is_end = any(part in name for part in ("nose", "eye", "ear", "wrist", "ankle"))
    assert ends_of(highest)[0] == (0.9 if is_end else 0.0)
