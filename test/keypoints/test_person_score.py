# SPDX-License-Identifier: Apache-2.0
"""The score of a person, with and without weights for it."""

import dataclasses
import itertools

import numpy as np
import pytest

from lifting_ros.estimator import FREE, SHIPPED, WEIGHTS
from lifting_ros.io.checkpoint import CheckpointError, save_tensors
from lifting_ros.keypoints.person_score import (
    ENDS,
    HEADER,
    PersonScore,
    bounded_logit,
    ends_of,
    person_score,
    read_person_score,
)

SCORE = PersonScore(detector=0.7, keypoints=0.6, ends=1.5, constant=-1.0)


def test_score_needs_both_box_and_keypoints():
    assert person_score(0.9, np.full(14, 0.9)) == pytest.approx(0.9)
    assert person_score(0.0, np.full(14, 0.9)) == 0 and person_score(0.9, np.zeros(14)) == 0


def test_limbs_count_more_than_the_detector():
    both = person_score(0.9, np.full(14, 0.9))
    box = person_score(0.45, np.full(14, 0.9))
    limbs = person_score(0.9, np.full(14, 0.45))
    assert both > box > limbs


def test_half_a_person_scores_as_a_whole_one():
    """Four keypoints in view are enough; fewer are not."""
    whole = person_score(0.9, np.full(14, 0.9))
    half = person_score(0.9, np.where(np.arange(14) < 4, 0.9, 0.0))
    arm = person_score(0.9, np.where(np.arange(14) < 2, 0.9, 0.0))
    assert half == whole and arm < 0.6 * whole


def test_more_evidence_never_lowers_the_score():
    levels = np.linspace(0, 1, 6)
    scores = np.array(
        [
            person_score(detection, np.full(14, presence), ends, SCORE)
            for detection, presence, ends in itertools.product(levels, repeat=3)
        ]
    ).reshape(6, 6, 6)
    for axis in range(3):
        assert (np.diff(scores, axis=axis) >= 0).all()
    assert 0 < scores.min() < scores.max() < 1


def test_clothes_score_below_a_person():
    """The same keypoints, and neither face nor hands nor feet."""
    presence = np.full(14, 0.9)
    person, clothes = (person_score(0.6, presence, ends, SCORE) for ends in (0.8, 0.2))
    assert person > 0.8 > clothes


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
    presence = np.full(14, 0.9)
    assert person_score(0.9, presence, ends, weights) == person_score(0.9, presence)


def write(path, values) -> None:
    header = {"network": {}} if values is None else {"network": {}, HEADER: values}
    save_tensors(path, {}, header)


def test_weights_are_read_as_written(tmp_path):
    path = tmp_path / "a.safetensors"
    write(path, dataclasses.asdict(SCORE))
    assert read_person_score(path) == SCORE


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
        {"detector": 1.0, "keypoints": 1.0, "ends": 1.0},
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


@pytest.mark.parametrize("name", [*SHIPPED, FREE])
def test_networks_that_ship_have_weights(name):
    score = read_person_score(WEIGHTS / f"{name}.safetensors")
    assert score is not None
    assert min(score.detector, score.keypoints, score.ends) > 0


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
