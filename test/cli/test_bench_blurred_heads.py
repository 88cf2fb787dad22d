# SPDX-License-Identifier: Apache-2.0
"""The figures of hidden heads: a head counts where its points lie in a region, and what is rejected
counts beside what is published."""

import dataclasses
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from people import STANDING_PX

from lifting_ros.types import Skeleton2D
from lifting_ros.viz.anonymise import hidden_regions, hide_heads

SPEC = importlib.util.spec_from_file_location(
    "bench_blurred_heads", Path(__file__).parents[2] / "bench" / "blurred_heads.py"
)
bench = importlib.util.module_from_spec(SPEC)

SPEC.loader.exec_module(bench)


def skeleton(x: float) -> Skeleton2D:
    """Somebody who stands `x` px to the right."""
    points = STANDING_PX * 2 + [x, 20.0]
    box = np.concatenate([points.min(0), points.max(0)])
    return Skeleton2D(points, np.full(14, 0.9), np.tile(np.eye(2), (14, 1, 1)), box, 0.9)


def head_of(one: Skeleton2D) -> np.ndarray:
    return one.keypoints_px[[1, 0]]  # neck, head top


def test_heads_count_where_they_are_hidden():
    published, rejected, missed = skeleton(0.0), skeleton(200.0), skeleton(400.0)
    estimate = SimpleNamespace(
        persons=(SimpleNamespace(skeleton_2d=published, coasting=False),), rejected=(rejected,)
    )
    estimator = SimpleNamespace(estimate=lambda image: estimate)
    image = np.random.default_rng(0).integers(0, 256, (300, 600, 3), np.uint8)
    heads = np.stack([head_of(one) for one in (published, rejected, missed, missed)])
    row = bench.measure(estimator, [bench.Picture(image, heads)])
    assert (row["heads"], row["hidden"], row["hidden whole"]) == (4, 0.5, 0.5)
    assert row["without rejected"] == 0.25

    # The share is that of the pixels that a mosaic changes
    regions = hidden_regions(estimate.persons, estimate.rejected)
    changed = (hide_heads(image, regions) != image).any(-1).mean()
    assert row["blurred"] == pytest.approx(changed, rel=0.02)


def test_head_that_is_half_hidden_is_not_whole():
    published = skeleton(0.0)
    estimate = SimpleNamespace(
        persons=(SimpleNamespace(skeleton_2d=published, coasting=False),), rejected=()
    )
    estimator = SimpleNamespace(estimate=lambda image: estimate)
    neck, top = head_of(published)
    longer = np.stack([neck, neck + 4 * (top - neck)])
    image = np.zeros((300, 200, 3), np.uint8)
    row = bench.measure(estimator, [bench.Picture(image, longer[None])])
    assert row["hidden whole"] == 0
    shifted = dataclasses.replace(published, keypoints_px=published.keypoints_px + 500)
    row = bench.measure(estimator, [bench.Picture(image, head_of(shifted)[None])])
    assert row["hidden"] == 0
