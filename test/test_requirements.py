# SPDX-License-Identifier: Apache-2.0
"""Where a Python package from pip is missing, every executable says so in one line."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted((ROOT / "scripts").iterdir())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_executable_names_what_pip_has_to_install(script, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(script), run_name="__main__")

    assert end.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("not installed: safetensors, torch. Type: python3 -m pip install -r /")
    assert line.count("\n") == 1 and Path(line.split()[-1]).name == "requirements_pip.txt"


def test_nothing_is_said_where_all_is_installed(capsys):
    from lifting_ros.requirements import require_python_packages

    require_python_packages()
    assert capsys.readouterr().err == ""
