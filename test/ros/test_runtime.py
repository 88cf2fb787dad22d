# SPDX-License-Identifier: Apache-2.0
"""What every node of this package does with its process."""

from __future__ import annotations

import logging
import subprocess
import sys
from types import SimpleNamespace

from lifting_ros.ros import runtime


def test_a_node_keeps_freed_memory_and_a_bad_one_is_refused(monkeypatch, capsys):
    """The memory is set before the node is made; the node of this test cannot be made."""
    happened = []

    def make_node():
        happened.append("node")
        raise ValueError("no such thing")

    for name in ("listen", "started"):
        monkeypatch.setattr(runtime.signals, name, lambda: None)
    monkeypatch.setattr(runtime, "_init", lambda name, args: 0)
    monkeypatch.setattr(runtime, "_end", lambda node: None)
    monkeypatch.setattr(runtime, "keep_freed_memory", lambda: happened.append("memory"))
    assert runtime.run("a_node", make_node, lambda node: None, None) == runtime.BAD_INPUT
    assert happened == ["memory", "node"]
    assert capsys.readouterr().err == "a_node: no such thing\n"


def test_leaving_prints_everything_and_skips_pythons_end():
    code = (
        "import atexit; from lifting_ros.ros import signals;"
        " atexit.register(print, 'late'); print('early'); signals.leave(3)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (3, "early\n", "")


def test_package_log_goes_to_the_nodes_log(monkeypatch):
    said = []
    logger = SimpleNamespace(
        info=lambda text: said.append(("info", text)),
        warning=lambda text: said.append(("warning", text)),
    )
    package = logging.getLogger("lifting_ros")
    monkeypatch.setattr(package, "handlers", [])
    runtime.forward_log(SimpleNamespace(get_logger=lambda: logger))
    package.getChild("compiled").info("compiling %d", 3)
    package.getChild("compiled").warning("slow")
    package.getChild("compiled").debug("detail")
    assert said == [("info", "compiling 3"), ("warning", "slow")]
