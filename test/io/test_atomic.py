# SPDX-License-Identifier: Apache-2.0
"""Files and folders are written as a whole or not at all."""

import pytest

from lifting_ros.io.atomic import beside, discard, replacing, replacing_folder


def test_failed_block_leaves_the_old_file(tmp_path):
    out = tmp_path / "out.txt"
    out.write_text("old")
    with pytest.raises(RuntimeError), replacing(out) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_leftover_of_a_killed_program_is_not_used(tmp_path):
    (tmp_path / "out.txt.partial").write_text("half")
    with replacing(tmp_path / "out.txt"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_folder_takes_the_place_of_an_empty_one(tmp_path):
    (tmp_path / "out").mkdir()
    with replacing_folder(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("a")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "a.txt").read_text() == "a"


def test_folder_does_not_replace_what_is_there(tmp_path):
    kept = tmp_path / "out" / "mine.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(FileExistsError, match="expected a new or empty folder"):
        with replacing_folder(tmp_path / "out") as folder:
            (folder / "a.txt").write_text("a")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine.txt"]


def test_folder_beside_is_removed(tmp_path):
    with beside(tmp_path / "out") as partial:
        (partial / "inner").mkdir(parents=True)
    assert list(tmp_path.iterdir()) == []


def test_link_to_a_folder_is_removed_alone(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    discard(tmp_path / "link")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
