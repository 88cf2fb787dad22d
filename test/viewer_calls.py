# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the module rerun, for tests of `lifting view`."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np


class Calls(ModuleType):
    """In place of the module rerun: keeps (stamp, entity, kind, arguments) of everything that is
    logged."""

    def __init__(self):
        super().__init__("rerun")
        self.logged, self.opened, self.closed, self._now = [], [], 0, None
        self.ViewCoordinates = SimpleNamespace(RDF=self._kind("ViewCoordinates")())
        self.blueprint = SimpleNamespace(
            **{
                n: self._kind(n)
                for n in ("Blueprint", "Horizontal", "Spatial2DView", "Spatial3DView")
            }
        )
        for name in (
            "Clear",
            "EncodedImage",
            "Ellipsoids3D",
            "LineStrips2D",
            "LineStrips3D",
            "Pinhole",
            "Points2D",
            "Points3D",
        ):
            setattr(self, name, self._kind(name))

    def _kind(self, name: str):
        return lambda *args, **kwargs: SimpleNamespace(kind=name, args=args, **kwargs)

    def RecordingStream(self, name):
        return self

    def spawn(self):
        self.opened.append("window")

    def save(self, path):
        Path(path).write_bytes(b"recording")
        self.opened.append(path)

    def send_blueprint(self, blueprint):
        assert blueprint.kind == "Blueprint"

    def set_time(self, timeline, *, duration=None, timestamp=None):
        assert timeline == "stamp"
        self._now = (duration if timestamp is None else timestamp).astype(np.int64)

    def log(self, entity, what, static=False):
        self.logged.append((None if static else self._now, entity, what))

    def disconnect(self):
        self.closed += 1

    def of(self, entity: str) -> list:
        return [(stamp, what) for stamp, place, what in self.logged if place == entity]
