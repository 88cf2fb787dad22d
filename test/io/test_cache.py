# SPDX-License-Identifier: Apache-2.0
"""Folders of the cache are filled once, appear as a whole, and do not pile up."""

import os

import pytest

from lifting_ros.io.cache import KEPT, cache_folder, cached_folder


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def put(text: str):
    """A function that writes a file with that text."""
    return lambda folder: (folder / "file").write_text(text)


def read(name: str, text: str = "new") -> str:
    """What the folder of that name holds; `text` where it is filled now."""
    with cached_folder(name, put(text)) as folder:
        return (folder / "file").read_text()


def test_a_folder_is_filled_once():
    assert [read("a", "one"), read("a", "two"), read("b", "three")] == ["one", "one", "three"]


def test_without_xdg_it_is_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "lifting_ros"


def test_a_failure_leaves_nothing():
    def fail(folder):
        (folder / "file").write_text("half")
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"), cached_folder("a", fail):
        pass
    assert list(cache_folder().iterdir()) == []
    assert read("a") == "new"


def test_another_process_may_be_faster():
    def overtaken(folder):
        put("ours")(folder)
        assert read("a", "theirs") == "theirs"

    with cached_folder("a", overtaken) as folder:
        assert (folder / "file").read_text() == "theirs"


def test_without_a_place_to_write_the_folder_is_temporary(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with cached_folder("a", put("new")) as folder:
        assert (folder / "file").read_text() == "new"
    assert not folder.exists()


def test_those_used_longest_ago_are_removed():
    for index in range(KEPT):
        read(str(index))
        os.utime(cache_folder() / str(index), (index, index))

    read("0")  # used again
    read("last")
    left = {path.name for path in cache_folder().iterdir()}
    assert left == {"0", "last", *map(str, range(2, KEPT))}
