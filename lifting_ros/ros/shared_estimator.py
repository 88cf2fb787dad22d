# SPDX-License-Identifier: Apache-2.0
"""One estimator for the workers of all cameras of a node."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lifting_ros.estimator import KeypointLifter
from lifting_ros.ros.preparation import Preparation


class SharedEstimator:
    """An estimator that one worker at a time uses, in the order in which they asked.

    A worker asks for one image at a time. So each camera waits for at most one image of each other
    one, however fast those are.
    """

    def __init__(self, estimator: KeypointLifter, preparation: Preparation | None = None):
        self.estimator = estimator
        """To be used within `turn` alone."""
        self._preparation = preparation
        self._changed = threading.Condition()
        self._asked = 0
        """Number of turns that were asked for."""
        self._ended = 0
        """Number of turns that have ended."""

    @property
    def can_lift(self) -> bool:
        """False while what lifting requires is still being compiled."""
        return self._preparation is None or self._preparation.is_done

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Wait until all who asked before are done; the value says whether there was any."""
        with self._changed:
            mine = self._asked
            self._asked += 1
            waited = self._ended != mine
            self._changed.wait_for(lambda: self._ended == mine)

        try:
            yield waited
        finally:
            with self._changed:
                self._ended += 1
                self._changed.notify_all()
