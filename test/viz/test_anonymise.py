# SPDX-License-Identifier: Apache-2.0
"""Heads are unrecognisable inside the regions, nothing changes outside, and what is unsure has a
larger region."""

import dataclasses

import numpy as np
import pytest
from people import STANDING_PX
from test_overlay import make_persons

from lifting_ros.types import Skeleton2D
from lifting_ros.viz.anonymise import (
    WITHIN,
    HeadRegion,
    head_region,
    hidden_regions,
    hide_heads,
)

SCALE = 5.0
HEAD_TOP = 0
NECK = 1
HEAD = np.array([50.0, 14.0]) * SCALE
"""The middle of the head of `standing`."""


def standing(confidence: float = 0.9, std_px: float = 2.0, **lost) -> Skeleton2D:
    """Somebody who stands and faces the camera; lost: confidences by keypoint, such as k0=0.0."""
    points = STANDING_PX * SCALE
    confidences = np.full(14, confidence)
    for name, value in lost.items():
        confidences[int(name[1:])] = value
    box = np.concatenate([points.min(0), points.max(0)])
    return Skeleton2D(points, confidences, np.tile(std_px**2 * np.eye(2), (14, 1, 1)), box, 0.9)


def textured(shape, seed: int = 0) -> np.ndarray:
    """Detail of every size, as hair, eyes and mouth have."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, shape, np.uint8)


def area(region: HeadRegion) -> float:
    return float(np.pi * np.sqrt(np.linalg.det(region.shape_px2)))


def inside(region: HeadRegion, shape) -> np.ndarray:
    y, x = np.indices(shape[:2])
    return region.contains(np.stack([x, y], -1))


@pytest.mark.parametrize("shape", [(500, 400), (500, 400, 3), (500, 400, 4)])
def test_detail_goes_inside_and_nothing_changes_outside(shape):
    image = textured(shape)
    region = head_region(standing())
    hidden = hide_heads(image, [region])
    mask = inside(region, shape)
    assert mask.any() and np.array_equal(hidden[~mask], image[~mask])
    assert hidden[mask].std() < 0.15 * image[mask].std()

    # Neighbours are nearly alike: nothing smaller than a cell is left
    steps = np.abs(np.diff(hidden.astype(int), axis=0))[mask[1:] & mask[:-1]]
    assert steps.mean() < 0.05 * np.abs(np.diff(image.astype(int), axis=0)).mean()
    assert hidden.dtype == image.dtype and hidden is not image


def test_at_most_six_cells_across_the_head():
    """Five stripes across the region are gone, as they need ten cells; a single one is not."""
    region = head_region(standing())
    diameter = 2 * np.sqrt(np.linalg.eigvalsh(region.shape_px2)[0])
    x = np.arange(400)
    mask = inside(region, (500, 400))
    contrasts = []
    for periods in (1, 5, 25):
        stripes = 127 + 120 * np.sin(2 * np.pi * periods * x / diameter)
        image = np.tile(stripes.astype(np.uint8), (500, 1))
        contrasts.append(hide_heads(image, [region])[mask].std() / image[mask].std())

    slow, fast, finest = contrasts
    assert slow > 0.7 and fast < 0.3 and finest < 0.1


def test_head_is_covered_from_chin_to_crown():
    skeleton = standing()
    top, neck = skeleton.keypoints_px[[HEAD_TOP, NECK]]
    points = neck + np.linspace(0.25, 1.1, 9)[:, None] * (top - neck)
    assert head_region(skeleton).contains(points).all()
    assert not head_region(skeleton).contains(skeleton.keypoints_px[2:]).any()


def test_region_holds_the_head_with_the_probability_that_it_says():
    """Gaussian errors of both keypoints, alike as in the worst case: the disc around the true
    middle stays inside."""
    rng = np.random.default_rng(3)
    sure = head_region(dataclasses.replace(standing(), covariance_px2=np.zeros((14, 2, 2))))
    radius = np.sqrt(sure.shape_px2[0, 0])
    angles = np.linspace(0, 2 * np.pi, 24)
    circle = sure.centre_px + radius * np.stack([np.cos(angles), np.sin(angles)], -1)

    covariance = np.array([[60.0, 25.0], [25.0, 30.0]])
    spread = dataclasses.replace(standing(), covariance_px2=np.tile(covariance, (14, 1, 1)))
    region = head_region(spread)
    errors = rng.multivariate_normal(np.zeros(2), covariance, 4000)
    kept = [region.contains(circle + error).all() for error in errors]
    assert np.mean(kept) > WITHIN - 0.02
    assert area(region) > area(sure)


@pytest.mark.parametrize(
    "lost",
    [
        {"k0": 0.3},
        {"k1": 0.3},
        {"k0": 0.0},
        {"k1": 0.0},
        {"k0": 0.05, "k1": 0.05},
    ],
)
def test_unsure_heads_have_larger_regions_that_hold_them(lost):
    sure = head_region(standing())
    unsure = head_region(standing(**lost))
    assert area(unsure) > 1.5 * area(sure)
    assert unsure.contains(HEAD)


def test_without_a_head_the_upper_part_of_the_box_is_hidden():
    points = STANDING_PX[2:] * SCALE
    box = np.concatenate([points.min(0), points.max(0)])
    for unknown in (0.0, 0.05):
        skeleton = dataclasses.replace(standing(k0=unknown, k1=unknown), box_px=box)
        region = head_region(skeleton)
        middle = (box[1] + box[3]) / 2
        x = np.linspace(box[0], box[2], 9)
        for y in (box[1], middle):
            assert region.contains(np.stack([x, np.full(9, y)], -1)).all()
        assert region.contains(HEAD)  # above the box, which begins at the shoulders


def test_all_of_somebody_who_lies_is_hidden():
    points = STANDING_PX[:, ::-1] * SCALE
    box = np.concatenate([points.min(0), points.max(0)])
    skeleton = dataclasses.replace(
        standing(confidence=0.0), keypoints_px=np.full((14, 2), np.nan), box_px=box
    )
    assert head_region(skeleton).contains(points).all()


def test_larger_covariance_means_larger_region_up_to_a_limit():
    areas = [area(head_region(standing(std_px=std))) for std in (0.0, 2.0, 10.0, 1e3, 1e6)]
    assert areas[0] < areas[1] < areas[2] < areas[3] == pytest.approx(areas[4])


def test_nothing_known_is_no_region():
    nothing = dataclasses.replace(
        standing(confidence=0.0),
        keypoints_px=np.full((14, 2), np.nan),
        covariance_px2=np.full((14, 2, 2), np.nan),
        box_px=np.full(4, np.nan),
    )
    assert head_region(nothing) is None
    unknown = dataclasses.replace(standing(), covariance_px2=np.full((14, 2, 2), np.nan))
    assert np.isfinite(head_region(unknown).shape_px2).all()


def test_coasting_persons_are_hidden_where_predicted_alone():
    (person,) = make_persons(1)
    others = [standing()]
    coasting = dataclasses.replace(person, coasting=True)
    assert len(hidden_regions([person])) == 1
    assert len(hidden_regions([person], others)) == 2
    assert len(hidden_regions([coasting], others)) == 1


@pytest.mark.parametrize("away", [(-1e4, 50.0), (399.5, 499.5), (0.0, 0.0), (1e9, 1e9)])
def test_regions_at_and_beyond_the_border(away):
    image = textured((500, 400, 3))
    region = HeadRegion(np.array(away), np.diag([900.0, 400.0]))
    hidden = hide_heads(image, [region])
    mask = inside(region, image.shape)
    assert np.array_equal(hidden[~mask], image[~mask])
    assert not mask.any() or not np.array_equal(hidden[mask], image[mask])


def test_tiny_and_huge_regions():
    image = textured((40, 60, 3))
    tiny = HeadRegion(np.array([20.0, 20.0]), np.eye(2) * 0.01)
    huge = HeadRegion(np.array([20.0, 20.0]), np.eye(2) * 1e8)
    assert (hide_heads(image, [tiny]) != image).any(-1).sum() <= 1
    assert hide_heads(image, [huge]).std() < 10


def test_pixels_of_another_size_are_hidden_in_the_same_place():
    region = head_region(standing())
    coarse = textured((250, 200, 4))
    hidden = hide_heads(coarse, [region], (2, 2))
    changed = (hidden != coarse).any(-1)
    y, x = np.nonzero(changed)
    middle = 2 * np.array([x.mean(), y.mean()]) + 0.5
    assert np.allclose(middle, region.centre_px, atol=1)
    assert changed.sum() == pytest.approx(area(region) / 4, rel=0.05)
