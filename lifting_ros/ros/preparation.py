# SPDX-License-Identifier: Apache-2.0
"""Makes ready what 3D requires: compiles the loops of lifter and tracker, or loads them."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

from lifting_ros.compiled import compilations_begun
from lifting_ros.estimator import KeypointLifter
from lifting_ros.tracking.tracking import Tracker

_POLL_S = 0.05
"""Period at which it is looked whether anything is compiled."""


class Preparation:
    """Gets an estimator's lifter and the tracker ready, in a thread of its own.

    That takes a second or two, and much longer at a first start, where loops are compiled.
    """

    def __init__(self, estimator: KeypointLifter, depth: bool, say: Callable[[str], None]):
        """depth: also what measured depths require; say: logs, in that thread, that 3D begins where
        nobody waited for it."""
        self._estimator = estimator
        self._depth = depth
        self._say = say
        self._is_awaited = True
        self._begun_before = compilations_begun()
        self._error: Exception | None = None
        self._thread = Thread(target=self._run, name="preparation", daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """Whether it has ended; what failed here fails again with the first person."""
        return not self._thread.is_alive()

    def wait(self, while_compiling: bool) -> None:
        """Wait until it has ended; raises what it raised.

        while_compiling: False: return before that, once anything is compiled.
        """
        while not self.is_done:
            if not while_compiling and compilations_begun() > self._begun_before:
                self._is_awaited = False
                return
            self._thread.join(_POLL_S)

        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._estimator.lifter.warm_up(depth=self._depth)
            Tracker()
        except Exception as error:
            self._error = error
        else:
            if not self._is_awaited:
                self._say("numerical loops are compiled: 3D from now on")
