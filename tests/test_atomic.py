"""Files that are replaced whole or not at all."""

import os

import pytest

from fastk.atomic import copy_atomically, replacing, write_atomically
from fastk.errors import FileMissing


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "notes"
    path.write_text("old")
    with pytest.raises(KeyError), replacing(path) as file:
        file.write(b"half")
        assert path.read_text() == "old" and len(os.listdir(tmp_path)) == 2
        raise KeyError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["notes"]


def test_the_mode_and_a_link_are_kept(tmp_path):
    path = tmp_path / "notes"
    path.write_text("old")
    path.chmod(0o600)
    (tmp_path / "link").symlink_to(path)
    write_atomically(tmp_path / "link", "né")
    assert path.read_bytes() == "né".encode() and path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "link").is_symlink()


def test_a_new_file_has_the_mode_of_any_other(tmp_path):
    (tmp_path / "plain").write_text("")
    write_atomically(tmp_path / "notes", "")
    assert (tmp_path / "notes").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_folders_are_made_for_text_alone(tmp_path):
    write_atomically(tmp_path / "a" / "b" / "notes", "text")
    copy_atomically(tmp_path / "a" / "b" / "notes", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "text"
    with pytest.raises(FileMissing, match="does not exist"), replacing(tmp_path / "c" / "notes"):
        pass
