# SPDX-License-Identifier: Apache-2.0
"""The first start: the node publishes in 2D while what 3D requires is still being compiled."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import node_support
import numpy as np
import pytest
from lifting_ros.msg import Skeleton2DArray, Skeleton3DArray
from node_support import RGB, WAIT_S, FakeEstimator, Stage
from ros_support import image, person

from lifting_ros.config import ConfigError
from lifting_ros.estimator import Estimate
from lifting_ros.ros import preparation
from lifting_ros.ros.inputs import stamp_ns


class Compiler:
    """Stands for numba: what `warm_up` does until `done` is set, and how much has begun."""

    def __init__(self):
        self.begun = 0
        self.asked = threading.Event()
        self.done = threading.Event()

    def compile(self, depth: bool) -> None:
        self.begun += 1
        self.asked.set()
        self.done.wait(WAIT_S)

    def load(self, depth: bool) -> None:
        """From the cache: nothing is compiled, whatever time it takes."""
        self.asked.set()
        self.done.wait(WAIT_S)


@pytest.fixture
def compiler(monkeypatch):
    one = Compiler()
    monkeypatch.setattr(preparation, "compilations_begun", lambda: one.begun)
    yield one
    one.done.set()


@pytest.fixture
def stage(monkeypatch):
    """Function from what the lifter's `warm_up` does, and parameters, to a Stage."""
    made = []

    def make(warm_up, **overrides) -> Stage:
        class ColdEstimator(FakeEstimator):
            def __init__(self, config):
                super().__init__(config)
                self.lifter = SimpleNamespace(warm_up=warm_up)

            def estimate_2d(self, image):
                return Estimate((person(np.random.default_rng(0)),), {})

        monkeypatch.setattr(node_support, "FakeEstimator", ColdEstimator)
        made.append(Stage(**overrides))
        return made[-1]

    yield make
    for one in made:
        one.close()


def start(stage: Stage) -> threading.Thread:
    thread = threading.Thread(target=stage.node.start)
    thread.start()
    return thread


def test_2d_comes_while_3d_is_compiled_and_3d_afterwards(stage, compiler, monkeypatch):
    s = stage(compiler.compile)
    said = []
    monkeypatch.setattr(s.node, "_say_while_alive", said.append)
    s.node.start()
    assert "; in 2D alone until numerical loops are compiled" in s.node.describe()
    flat = s.listen(Skeleton2DArray, "/lifting/skeletons_2d")
    s.connect()
    s.until(lambda: s.feed.outputs._is_wanted("~/skeletons_2d"), "the listener")

    stamp = s.send(image(RGB, "rgb8"))
    s.until(lambda: flat, "the answer in 2D")
    assert stamp_ns(flat[0]) == stamp and [one.id for one in flat[0].skeletons] == [0]
    assert s.diagnostics()["dropped, in 2D alone"] == "1"
    assert not s.estimator.calls and not s.received["/lifting/skeletons_3d"]

    compiler.done.set()
    s.until(lambda: s.node._preparation.is_done, "the end of the compilation")
    assert said == ["numerical loops are compiled: 3D from now on"]
    (skeleton,) = s.ask().skeletons
    assert skeleton.id == 1 and len(s.estimator.calls) == 1
    assert "2D alone" not in s.node.describe()


@pytest.mark.parametrize(
    ("what", "overrides"),
    [
        ("compile", {"early_2d": False}),
        ("compile", {"input": "keypoints"}),  # there is nothing in 2D to publish
        ("load", {}),
    ],
    ids=["not wanted", "keypoints", "a later start"],
)
def test_the_node_is_active_once_all_is_ready(stage, compiler, what, overrides):
    s = stage(getattr(compiler, what), **overrides)
    thread = start(s)
    assert compiler.asked.wait(WAIT_S)
    thread.join(0.3)
    assert thread.is_alive() and s.feed.worker is None
    compiler.done.set()
    thread.join(WAIT_S)
    assert s.feed.worker is not None and s.node._preparation.is_done


def test_what_cannot_be_made_ready_is_one_line(stage):
    def fail(depth):
        raise RuntimeError("no memory\nat all")

    s = stage(fail)
    with pytest.raises(ConfigError, match="^no memory$"):
        s.node.start()
    assert s.node._estimator is None


def test_a_node_that_is_cleaned_up_meanwhile_can_be_started_again(stage, compiler):
    s = stage(compiler.compile)
    s.node.start()
    s.node.trigger_deactivate()
    s.node.trigger_cleanup()
    compiler.done.set()
    s.node.start()
    s.until(lambda: s.node._preparation.is_done, "the end of the compilation")
    s.connect()
    assert isinstance(s.ask(), Skeleton3DArray)
