# SPDX-License-Identifier: Apache-2.0
"""What every node of this package does with its process."""

from __future__ import annotations

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
