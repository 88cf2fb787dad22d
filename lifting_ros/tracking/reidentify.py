# SPDX-License-Identifier: Apache-2.0
"""Gives people who come back the id that they had, where that is certain; else nobody.

A new track is somebody who has left if its torso has bright colours, those of one who has left and
of nobody else. Nobody else means: all people known by their colours, in view or not. Black, grey
and white clothes decide nothing, and limb lengths can only object: they differ too little between
people. A stranger in the same colours as one who has left cannot be told from them; `NEAR` makes
that rare. Thresholds were chosen on photographs and videos (`bench/back_again.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lifting_ros.tracking.torso_colours import BIN_COUNT, Colours, distance, torso_colours
from lifting_ros.tracking.tracks import Tracks
from lifting_ros.types import LIMB_COUNT, Person

LEAST_LOOKS = 5
"""Frames that must show the torso of both."""

MOST_LOOKS = 50
"""Frames that the mean of the colours remembers."""

WAIT_S = 1.0
"""Time after which a new person gets a new id, if the torso has not shown."""

BRIGHT = 0.5
"""Least share of the torso that is neither black nor grey nor white."""

NEAR = 0.18
"""Largest distance of the colours of the same person."""

CLEARLY = 0.15
"""How much more distant everybody else's colours must be."""

LIMBS_APART = 1.5
"""Largest root mean square difference of limb lengths, in standard deviations."""

MOST_KNOWN = 200
"""People that are remembered."""


@dataclass
class Known:
    """Somebody with or without an id yet."""

    seen_ns: int
    looks: int = 0
    """Frames that showed the torso."""
    histogram: np.ndarray = field(default_factory=lambda: np.zeros(BIN_COUNT))
    coloured: float = 0.0
    """Means of `torso_colours.Colours` over these frames."""
    limbs_m: np.ndarray = field(default_factory=lambda: np.full(LIMB_COUNT, np.nan))
    limb_variance_m2: np.ndarray = field(default_factory=lambda: np.full(LIMB_COUNT, np.nan))

    @property
    def is_bright(self) -> bool:
        """Whether the colours tell who it is."""
        return self.looks >= LEAST_LOOKS and self.coloured >= BRIGHT


class Reidentifier:
    """Knows the colours of people, and what id each track stands for."""

    def __init__(self, memory_s: float):
        """memory_s: how long ago somebody may have left."""
        self._memory_ns = 1e9 * memory_s
        self._ids: dict[int, int] = {}
        """Id of each track that has one."""
        self._known: dict[int, Known] = {}
        """People by id, and tracks without one by their number, in the order in which they were
        seen."""
        self._begun_ns: dict[int, int] = {}
        """Of tracks without an id, the first stamp."""

    def id_of(self, track: int) -> int:
        """The id that a track stands for; 0 while it is not decided."""
        return self._ids.get(track, 0)

    def update(
        self,
        stamp_ns: int,
        persons: Sequence[Person],
        rows: np.ndarray,
        tracks: Tracks,
        image: np.ndarray | None,
    ) -> set[int]:
        """Look at the persons of a frame, and decide who the new ones are.

        Returns the tracks of those who have come back just now. An older track of the same id is to
        be dropped.

        rows: (M,) each person's row of the tracks; -1: none. image: (H, W, 3) uint8 RGB, which
        shows them; None: nothing is known of their colours.
        """
        here = self._look(stamp_ns, persons, rows, tracks, image)
        returned = set()
        for track in here:
            if track in self._ids:
                continue

            former = self._who(track, here)
            if former:
                self._take_over(former, track)
                returned.add(track)
            elif self._is_new(track, stamp_ns, here):
                self._ids[track] = track

        self._forget(tracks)
        return returned

    def _look(
        self,
        stamp_ns: int,
        persons: Sequence[Person],
        rows: np.ndarray,
        tracks: Tracks,
        image: np.ndarray | None,
    ) -> list[int]:
        """Remember what the frame shows of each person; returns their tracks."""
        colours: list[Colours | None] = [None] * len(persons)
        if image is not None:
            colours = torso_colours(image, [person.skeleton_2d for person in persons])

        here = []
        for row, seen in zip(rows, colours):
            if row < 0:
                continue

            track = int(tracks.ids[row])
            here.append(track)
            self._begun_ns.setdefault(track, stamp_ns)
            number = self._ids.get(track, track)
            known = self._known.pop(number, None) or Known(stamp_ns)
            self._known[number] = known  # the last one now
            known.seen_ns = stamp_ns
            known.limbs_m = tracks.limbs[row]
            known.limb_variance_m2 = tracks.limb_variance[row] + tracks.limb_bias[row]
            if seen is not None:
                known.looks += 1
                share = 1 / min(known.looks, MOST_LOOKS)
                known.histogram = (1 - share) * known.histogram + share * seen.histogram
                known.coloured = (1 - share) * known.coloured + share * seen.coloured

        return here

    def _absent(self, track: int, here: Sequence[int]) -> list[int]:
        """Ids of people who left before a track began, and not longer ago than is remembered."""
        began_ns = self._begun_ns[track]
        present = {self._ids.get(other, other) for other in here}
        absent = []
        for number, known in self._known.items():
            had_id = self._ids.get(number) == number
            recent = began_ns - known.seen_ns <= self._memory_ns
            if had_id and number not in present and known.seen_ns < began_ns and recent:
                absent.append(number)

        return absent

    def _who(self, track: int, here: Sequence[int]) -> int:
        """Id of the one who has left that a new track is, with certainty; 0: nobody."""
        absent = {number: self._known[number] for number in self._absent(track, here)}
        present = {self._ids.get(other, other) for other in here}
        others = [
            (known, number in present)
            for number, known in self._known.items()
            if number != track and number not in absent
        ]
        return who_returned(
            self._known[track],
            absent,
            [known for known, _ in others],
            [known for known, is_present in others if is_present],
        )

    def _is_new(self, track: int, stamp_ns: int, here: Sequence[int]) -> bool:
        """Whether nothing more is to be expected: nobody has left, the new one has no colours that
        could tell, or has been here for long."""
        known = self._known[track]
        waited = stamp_ns - self._begun_ns[track] >= 1e9 * WAIT_S
        is_dull = known.looks >= LEAST_LOOKS and not known.is_bright
        return (
            waited
            or is_dull
            or not any(self._known[number].is_bright for number in self._absent(track, here))
        )

    def _take_over(self, former: int, track: int) -> None:
        """A track stands for one who has left, and goes on with what is known of both."""
        new = self._known.pop(track)
        left = self._known.pop(former)
        share = new.looks / (new.looks + left.looks)
        new.histogram = share * new.histogram + (1 - share) * left.histogram
        new.coloured = share * new.coloured + (1 - share) * left.coloured
        new.looks = min(new.looks + left.looks, MOST_LOOKS)
        self._known[former] = new
        self._ids[track] = former

    def _forget(self, tracks: Tracks) -> None:
        """Forget tracks that ended without an id, and those who were seen longest ago."""
        alive = set(tracks.ids.tolist())
        for track in [track for track in self._begun_ns if track not in alive]:
            del self._begun_ns[track]
            if track not in self._ids:
                self._known.pop(track, None)
        while len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]


def who_returned(
    new: Known, absent: Mapping[int, Known], others: Sequence[Known], present: Sequence[Known]
) -> int:
    """The key in `absent`, people who have left, of the one who is `new`; 0 where that is not
    certain.

    others: everybody else who is known; present: those of them who are in view.
    """
    if not absent or not new.is_bright:
        return 0

    # The one whose colours are nearest
    apart = {number: apart_from(new, left) for number, left in absent.items()}
    former = min(apart, key=apart.__getitem__)
    nearest = apart.pop(former)
    left = absent[former]
    if not left.is_bright or nearest > NEAR:
        return 0

    # Nobody else is like the new one, and nobody else in view is like the former one
    rivals = [
        *apart.values(),
        *(apart_from(new, other) for other in others),
        *(apart_from(left, other) for other in present),
    ]
    if min(rivals, default=1.0) < nearest + CLEARLY:
        return 0

    return former if limbs_agree(new, left) else 0


def apart_from(one: Known, other: Known) -> float:
    """Distance of the colours of two people; 1, the largest, where one was not looked at."""
    if not one.looks or not other.looks:
        return 1.0

    return distance(one.histogram, other.histogram)


def limbs_agree(one: Known, other: Known) -> bool:
    """Whether limb lengths do not object: their differences are within LIMBS_APART standard
    deviations, root mean square."""
    apart = one.limbs_m - other.limbs_m
    variance = one.limb_variance_m2 + other.limb_variance_m2
    squares = apart**2 / variance
    squares = squares[np.isfinite(squares)]
    return not len(squares) or float(squares.mean()) <= LIMBS_APART**2
