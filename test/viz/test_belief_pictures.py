# SPDX-License-Identifier: Apache-2.0
"""Belief shows where it is, in the colour of its side; pictures have the same size for every
crop."""

import numpy as np
import pytest

from lifting_ros.keypoints.stage_maps import StageMaps
from lifting_ros.skeleton import KEYPOINT_NAMES
from lifting_ros.viz.belief_pictures import draw_stage, draw_stages

CELLS = 16
STAGES = 3


def maps_with(peaks: dict, kind: str = "belief", size_px: int = 64) -> StageMaps:
    """Empty maps over a grey crop, but for sharp peaks at (stage, keypoint): (row, column)."""
    shape = (STAGES, 14, CELLS, CELLS)
    values = {name: np.zeros(shape, np.float32) for name in ("belief", "projected", "fused")}
    for (stage, name), cell in peaks.items():
        values[kind][(stage, KEYPOINT_NAMES.index(name), *cell)] = 1.0
    crop = np.full((size_px, size_px, 3), 100, np.uint8)
    return StageMaps(crop, **values)


def coloured(picture: np.ndarray) -> np.ndarray:
    """Rows and columns (P, 2) of pixels that are clearly coloured."""
    values = picture.astype(int)
    return np.argwhere(np.ptp(values, axis=-1) > 60)


def test_a_peak_shows_in_its_row_and_column_alone():
    for column, kind in enumerate(("belief", "projected", "fused")):
        maps = maps_with({(1, "left_wrist"): (4, 12)}, kind)
        picture = draw_stages(maps, side_px=160)
        height, width = picture.shape[:2]
        rows, columns = coloured(picture).T
        assert width == 3 * 160 and height % STAGES == 0

        # Cell (4, 12) of 16, in tile (1, column); the title is above
        row = height // STAGES - 160 + 1 * (height // STAGES) + 4.5 * 10
        assert abs(rows.mean() - row) < 2
        assert abs(columns.mean() - (160 * column + 12.5 * 10)) < 2
        assert np.ptp(rows) < 40 and np.ptp(columns) < 40


@pytest.mark.parametrize(("name", "channel"), [("left_knee", 2), ("right_knee", 0), ("neck", 1)])
def test_sides_have_their_colours(name, channel):
    picture = draw_stages(maps_with({(0, name): (8, 8)}))
    rows, columns = coloured(picture).T
    assert (picture[rows, columns].mean(0).argmax()) == channel


def test_stage_and_keypoint_choose_what_shows():
    maps = maps_with({(0, "neck"): (3, 3), (2, "left_hip"): (8, 8)})
    assert len(coloured(draw_stage(maps, 1, "neck")))
    assert not len(coloured(draw_stage(maps, 1, "left_hip")))
    assert not len(coloured(draw_stage(maps, 2)))
    last = draw_stage(maps, 3, "left_hip")
    for stage in (0, 6):  # the last one, and more than there are
        assert np.array_equal(draw_stage(maps, stage, "left_hip"), last)


def test_montage_shows_every_keypoint_once():
    peaks = {(0, name): (8, 8) for name in KEYPOINT_NAMES}
    one = coloured(draw_stage(maps_with({(0, "head_top"): (8, 8)}), 1))
    every = coloured(draw_stage(maps_with(peaks), 1))
    assert len(every) == pytest.approx(14 * len(one), rel=0.3)


def test_size_does_not_depend_on_the_crop():
    sizes = [draw_stage(maps_with({}, size_px=side)).shape for side in (64, 192, 256)]
    assert len(set(sizes)) == 1


def test_unknown_projection_is_an_empty_map():
    maps = maps_with({})
    maps.projected[:] = np.nan
    assert np.array_equal(draw_stages(maps), draw_stages(maps_with({})))
