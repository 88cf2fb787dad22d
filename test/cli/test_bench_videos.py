# SPDX-License-Identifier: Apache-2.0
"""bench/videos.py on people that the test moves: who is followed, what jumps, whose sides are
exchanged."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import videos as bench

from lifting_ros.skeleton import KEYPOINT_FLIP
from lifting_ros.types import Skeleton2D

FIGURE = np.array(
    [
        [50, 0],
        [50, 20],
        [30, 25],
        [25, 45],
        [20, 65],
        [70, 25],
        [75, 45],
        [80, 65],
        [38, 80],
        [35, 120],
        [33, 160],
        [62, 80],
        [65, 120],
        [67, 160],
    ],
    float,
)
SIDES = list(KEYPOINT_FLIP)


def person(
    shift=(0.0, 0.0), moved=None, confidence: float = 0.9, sides: bool = False
) -> Skeleton2D:
    """The figure at a place; moved: keypoint to (x, y) by which it is off."""
    points = FIGURE[SIDES] if sides else FIGURE.copy()
    for keypoint, off in (moved or {}).items():
        points[keypoint] += off
    box = np.array([20.0, 0, 80, 160]) + np.tile(shift, 2)
    return Skeleton2D(
        points + np.array(shift), np.full(14, confidence), np.tile(np.eye(2), (14, 1, 1)), box, 0.9
    )


def test_people_are_followed_by_box_and_lost_when_not_found():
    walk = [
        [person((5.0 * n, 0)), person((300 - 5.0 * n, 0))][:: 1 - 2 * (n % 2)] for n in range(4)
    ]  # best first changes
    tracks = bench.follow([*walk, [], walk[0]])
    assert sorted(map(len, tracks)) == [1, 1, 4, 4] and all(
        [n for n, _ in t] in ([0, 1, 2, 3], [5]) for t in tracks
    )
    for track in tracks:
        assert np.abs(np.diff([s.box_px[0] for _, s in track])).max(initial=0) == (
            5 if len(track) > 1 else 0
        )


def test_a_keypoint_off_for_one_frame_jumps():
    """A torso is 60 px: half of it is the least jump."""

    def jumps(*persons):
        return bench.jumps(list(enumerate(persons)))

    still, off = person(), {4: (50, 0), 10: (0, -50)}
    assert jumps(still, person(moved=off), still) == (2, 14)
    assert jumps(still, person(moved={4: (25, 0)}), still) == (0, 14)
    assert jumps(still, person(moved={4: (50, 0)}), person(moved={4: (100, 0)})) == (0, 14)
    assert jumps(still, person(moved=off), person(moved=off)) == (0, 14)
    assert jumps(still, person(moved=off, confidence=0.2), still) == (0, 0)
    assert jumps(still, person(moved=off)) == (0, 0)


def test_sides_are_exchanged_where_the_other_side_fits_better():
    walk = [person((8.0 * n, 0), sides=n in (2, 3)) for n in range(6)]
    assert bench.exchanges(list(enumerate(walk))) == 2  # there and back
    assert bench.exchanges([(n, person((8.0 * n, 0))) for n in range(6)]) == 0
    assert bench.exchanges([(n, person(confidence=0.2, sides=n == 1)) for n in range(3)]) == 0


def test_a_row_counts_frames_people_and_suspects():
    still = [person()]
    row = bench.row(
        [[], still, [person(moved={4: (0, -50)})], still, [person(sides=True), person((400, 0))]]
    )
    assert (
        row["frames"],
        row["with people"],
        row["people a frame"],
        row["pairs of frames"],
        row["exchanges"],
    ) == (5, 4, 1, 3, 1)
    assert row["jumps per 1,000"] == 1000 / 28
    nobody = bench.row([[], []])
    assert nobody["people a frame"] == 0 and np.isnan(nobody["jumps per 1,000"])


def test_only_the_nearest_person_is_drawn_in_its_colours():
    near = bench.nearest([person((300, 0)), person()])
    assert near.box_px[0] == 320 and bench.nearest([]) is None  # as long as the other: the first
    shown = bench.tile(np.zeros((200, 400, 3), np.uint8), person(), "7")[20:]
    for right, colour in (
        (True, (255, 140, 0)),
        (False, (0, 120, 255)),
    ):  # orange and blue; it faces the camera
        y, x = np.nonzero((shown == colour).all(-1))
        assert len(x) > 30 and (x.mean() < bench.TILE_PX / 2) == right
    assert bench.tile(np.full((40, 60, 3), 9, np.uint8), None, "").max() < 20
    assert bench.sheet([np.zeros((4, 4, 3), np.uint8)] * 3, 2).shape == (8, 8, 3)
