# SPDX-License-Identifier: Apache-2.0
"""Domains of tests: no two tests that run at the same time have the same one."""

import fcntl
import subprocess
import sys
from collections import deque
from pathlib import Path

import domains

TAKE = """
import domains
print(*(domains.next_domain() for _ in range(domains.HELD)), flush=True)
input()
"""


def test_another_process_gets_other_domains():
    mine = {domains.next_domain() for _ in range(domains.HELD)}
    others = []
    for _ in range(3):
        folder = Path(domains.__file__).parent
        process = subprocess.Popen(
            [sys.executable, "-c", TAKE],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        others.append(process)
    try:
        taken = [int(text) for process in others for text in process.stdout.readline().split()]
    finally:
        for process in others:
            process.communicate("\n")
    assert len(set(taken)) == len(taken) == 3 * domains.HELD
    assert not mine & set(taken)


def test_a_domain_in_use_is_passed_over_and_old_ones_are_given_back(tmp_path, monkeypatch):
    """With locks of this test alone: others hold some of the real ones."""
    monkeypatch.setattr(domains, "lock_file", lambda domain: tmp_path / str(domain))
    monkeypatch.setattr(domains, "_held", deque())
    first = domains.next_domain()
    with domains.lock_file(1 + first % domains.DOMAINS).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert domains.next_domain() == 1 + (first + 1) % domains.DOMAINS

    later = [domains.next_domain() for _ in range(2 * domains.DOMAINS)]
    assert first in later
