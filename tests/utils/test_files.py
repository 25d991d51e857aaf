"""`get_file`, and archives that are unpacked."""

import hashlib
import http.server
import io
import os
import pathlib
import tarfile
import threading
import zipfile
from typing import Any

import pytest

from fastk.utils import get_file
from fastk.utils.archives import extract_archive
from fastk.utils.files import hash_file, keras_home, validate_file


@pytest.fixture
def cache(tmp_path):
    return str(tmp_path / "cache")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.txt"
    path.write_text("contents")
    return path


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def test_a_file_is_downloaded_once(source, cache, capsys):
    path = get_file(origin=source.as_uri(), cache_dir=cache)
    assert path == os.path.join(cache, "datasets", "source.txt")
    assert pathlib.Path(path).read_text() == "contents"
    assert f"Downloading data from {source.as_uri()}" in capsys.readouterr().out
    source.write_text("other contents")
    assert get_file(origin=source.as_uri(), cache_dir=cache) == path
    assert pathlib.Path(path).read_text() == "contents" and capsys.readouterr().out == ""
    get_file(origin=source.as_uri(), cache_dir=cache, force_download=True)
    assert pathlib.Path(path).read_text() == "other contents"


def test_another_checksum_makes_it_download_again(source, cache):
    get_file("a", source.as_uri(), cache_dir=cache, file_hash=sha256(source))
    source.write_text("other contents")
    path = get_file("a", source.as_uri(), cache_dir=cache, file_hash=sha256(source))
    assert pathlib.Path(path).read_text() == "other contents"
    get_file("a", source.as_uri(), cache_dir=cache, md5_hash=hashlib.md5(source.read_bytes()).hexdigest())


def test_a_wrong_checksum_leaves_what_was_there(source, cache):
    path = get_file("a", source.as_uri(), cache_dir=cache)
    source.write_text("corrupted")
    with pytest.raises(ValueError, match="Incomplete or corrupted file detected"):
        get_file("a", source.as_uri(), cache_dir=cache, file_hash="0" * 64)
    assert pathlib.Path(path).read_text() == "contents"
    assert os.listdir(os.path.dirname(path)) == ["a"]


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", "8" if self.path == "/whole" else "100")
        self.end_headers()
        self.wfile.write(b"contents")

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_over_http(server, cache):
    assert pathlib.Path(get_file(origin=f"{server}/whole", cache_dir=cache)).read_bytes() == b"contents"
    for name, message in (("missing", "404"), ("cut", "8 of 100 bytes came")):
        target = os.path.join(cache, "datasets", name)
        with pytest.raises(OSError, match=f"URL fetch failure on .*{message}.*put it at {target}"):
            get_file(origin=f"{server}/{name}", cache_dir=cache)
    assert os.listdir(os.path.join(cache, "datasets")) == ["whole"]


def test_where_nobody_answers(cache):
    with pytest.raises(OSError, match="offline"):
        get_file(origin="http://127.0.0.1:9/x", cache_dir=cache)


def make_archive(folder, kind, members):
    path = folder / f"archive.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            for name, text in members.items():
                file.writestr(name, text)
    else:
        with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as file:
            for name, text in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(text)
                file.addfile(member, io.BytesIO(text.encode()))
    return path


@pytest.mark.parametrize("kind", ("zip", "tar", "tar.gz"))
def test_archives_are_unpacked_as_keras_names_them(tmp_path, cache, kind, capsys):
    archive = make_archive(tmp_path, kind, {"data/a.txt": "a"})
    folder = os.path.join(cache, "datasets")
    for fname, target, kept in (
        (None, archive.name, f"{archive.name}_archive"),
        ("flowers", "flowers", "flowers_archive"),
        (f"flowers.{kind}", "flowers_extracted", f"flowers.{kind}"),
    ):
        path = get_file(fname, archive.as_uri(), extract=True, cache_dir=cache)
        assert path == os.path.join(folder, target)
        assert pathlib.Path(path, "data", "a.txt").read_text() == "a"
        assert os.path.isfile(os.path.join(folder, kept))
    pathlib.Path(path, "data", "a.txt").write_text("changed by the user")
    get_file(fname, archive.as_uri(), extract=True, cache_dir=cache)
    assert pathlib.Path(path, "data", "a.txt").read_text() == "changed by the user"


def test_untar_is_for_tar_files(tmp_path, cache):
    archive = make_archive(tmp_path, "zip", {"a.txt": "a"})
    with pytest.warns(UserWarning, match="Could not extract"):
        get_file("a", archive.as_uri(), untar=True, cache_dir=cache)


@pytest.mark.parametrize("kind", ("zip", "tar"))
@pytest.mark.parametrize("name", ("../evil.txt", "/tmp/fastk_evil.txt", "a/../../evil.txt"))
def test_nothing_is_written_outside(tmp_path, kind, name):
    archive = make_archive(tmp_path, kind, {"good.txt": "good", name: "evil"})
    folder = tmp_path / "out" / "in"
    with pytest.warns(UserWarning, match="Skipping invalid path"):
        assert extract_archive(archive, folder)
    assert os.listdir(folder) == ["good.txt"] and os.listdir(folder.parent) == ["in"]
    assert not os.path.exists("/tmp/fastk_evil.txt")


def test_links_out_of_the_folder_are_left_out(tmp_path):
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as file:
        for name, target, kind in (
            ("out", "/etc/passwd", tarfile.SYMTYPE),
            ("up", "../../x", tarfile.SYMTYPE),
            ("hard", "/etc/passwd", tarfile.LNKTYPE),
            ("device", "", tarfile.CHRTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            file.addfile(member)
    with pytest.warns(UserWarning, match="Skipping invalid path"):
        extract_archive(path, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []


def test_a_failed_extraction_leaves_nothing(tmp_path, monkeypatch):
    archive = make_archive(tmp_path, "tar", {"a.txt": "a"})
    monkeypatch.setattr(tarfile.TarFile, "extractall", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        extract_archive(archive, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["archive.tar"]


def test_formats(tmp_path, source):
    archive = make_archive(tmp_path, "tar", {"a.txt": "a"})
    assert not extract_archive(archive, tmp_path / "out", None)
    assert not extract_archive(archive, tmp_path / "out", "zip")
    assert not extract_archive(source, tmp_path / "out")
    assert extract_archive(archive, tmp_path / "out", ["zip", "tar"])
    with pytest.raises(NotImplementedError, match="rar"):
        extract_archive(archive, tmp_path, "rar")


def test_what_cannot_be_fetched_is_explained(source, cache):
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "`origin`"),
        ({"origin": "http://x/"}, "names no file"),
        ({"origin": source.as_uri(), "fname": "a/b"}, "Paths are no longer accepted"),
        ({"origin": "http://x/..", "fname": ".."}, "Paths are no longer accepted"),
        ({"origin": source.as_uri(), "file_hash": "0", "hash_algorithm": "crc"}, "Unknown `hash_algorithm`"),
    ]
    for arguments, message in wrong:
        with pytest.raises(ValueError, match=message):
            get_file(cache_dir=cache, **arguments)


def test_the_cache_is_where_the_environment_says(source, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    assert keras_home() == str(tmp_path / "home")
    assert get_file(origin=source.as_uri()) == str(tmp_path / "home" / "datasets" / "source.txt")
    assert get_file(origin=source.as_uri(), cache_subdir=str(tmp_path / "own")) == str(tmp_path / "own" / "source.txt")
    monkeypatch.delenv("KERAS_HOME")
    assert keras_home() == os.path.expanduser("~/.keras")


def test_a_cache_that_cannot_be_written_to_is_replaced(source, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *args: False)
    with pytest.warns(UserWarning, match="cannot be written to"):
        path = get_file(origin=source.as_uri(), cache_dir=str(tmp_path / "read_only"))
    assert path == str(tmp_path / ".keras" / "datasets" / "source.txt")


def test_checksums(source):
    assert hash_file(source) == sha256(source)
    assert validate_file(source, sha256(source).upper())
    assert validate_file(source, hashlib.md5(b"contents").hexdigest())
    assert not validate_file(source, "0" * 64)
