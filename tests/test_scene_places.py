"""Scenes at URLs: read where fsspec can, refused in one sentence where a local disk is needed."""

from __future__ import annotations

import argparse
import functools
import http.server
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import fsspec
import numpy as np
import pytest
from test_scene_files import made

import geometrycrafter as gc
from geometrycrafter.cli.main import build_parser, main
from geometrycrafter.scene.places import name_of


class Silent(http.server.SimpleHTTPRequestHandler):
    """Files below a folder, asked for as of a web server or an object store; ``/broken...`` fails, as if busy."""

    def do_GET(self):
        asked = urlsplit(self.path)
        if asked.path.startswith("/broken"):
            self.send_error(503)
        elif "list-type" in (query := dict(parse_qsl(asked.query))):
            self.answer(200, self.listing(asked.path, query.get("prefix", "")))
        elif "x-id" in query and not Path(self.translate_path(asked.path)).is_file():
            self.answer(404, "<Error><Code>NoSuchKey</Code></Error>")
        else:
            super().do_GET()

    def answer(self, status, text):
        """As an object store answers."""
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def listing(self, bucket, prefix):
        """What a bucket holds below a prefix."""
        folder = Path(self.translate_path(bucket))
        keys = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
        entries = [f"<Contents><Key>{k}</Key><Size>1</Size></Contents>" for k in keys if k.startswith(prefix)]
        return f"<ListBucketResult><KeyCount>{len(entries)}</KeyCount>{''.join(entries)}</ListBucketResult>"

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    """The URL of a web server, and the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=folder)) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}", folder
        running.shutdown()


def sentence(capsys, *arguments) -> str:
    """What the program says of input at fault."""
    assert main([str(a) for a in arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: ") and "\n" not in said and "Traceback" not in said
    return said


def test_a_scene_is_read_from_a_web_server(server, tmp_path, capsys):
    pytest.importorskip("aiohttp")
    url, folder = server
    made().save(folder / "a.gc").set_array("confidence", np.ones((3, 16, 24), np.float32))
    scene = gc.open(f"{url}/a.gc")
    assert np.array_equal(scene.points[:], made().points[:]) and scene.poses is None and scene.path is None
    assert np.array_equal(scene.save(tmp_path / "copy.gc").array("confidence")[:], np.ones((3, 16, 24)))
    assert main(["export", f"{url}/a.gc", "ply", str(tmp_path / "a.ply")]) == 0
    assert main(["compare", f"{url}/a.gc", str(folder / "a.gc"), "-o", str(tmp_path / "f.png")]) == 0
    capsys.readouterr()
    assert url in sentence(capsys, "export", f"{url}/a.gc", "ply")  # beside a URL nothing can be written
    with pytest.raises(gc.InputError, match="local disk"):
        scene.set_poses(np.tile(np.eye(4), (3, 1, 1)))


def test_what_a_web_server_lacks_or_refuses_is_a_sentence(server, capsys):
    pytest.importorskip("aiohttp")
    url, folder = server
    for place in ("nothing.gc", "broken.gc"):
        assert f"{url}/{place}" in sentence(capsys, "export", f"{url}/{place}", "npz", folder / "x.npz")
    made().save(folder / "a.gc")
    scene = gc.open(f"{url}/a.gc")
    (folder / "a.gc" / "depth" / "c" / "1" / "0" / "0").write_bytes(b"no chunk")
    with pytest.raises(gc.InputError, match=r"a\.gc: reading failed"):
        scene.points[1]
    assert np.isfinite(scene.points[2]).all()


def test_a_server_that_is_not_there_is_a_sentence(capsys, tmp_path):
    pytest.importorskip("aiohttp")
    assert "http://127.0.0.1:1/a.gc" in sentence(capsys, "export", "http://127.0.0.1:1/a.gc", "npz", tmp_path / "x")


def test_object_stores_are_read_with_their_package(server, monkeypatch):
    pytest.importorskip("s3fs")
    url, folder = server
    made().save(folder / "bucket" / "a.gc")
    for name, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    assert np.array_equal(gc.open("s3://bucket/a.gc").points[:], made().points[:])


@pytest.mark.parametrize(
    ("missing", "url", "remedy"),
    [
        ("s3fs", "s3://b/x.gc", "pip install '.[remote]'"),
        ("aiohttp", "https://127.0.0.1/x.gc", "pip install '.[remote]'"),
        ("gcsfs", "gs://b/x.gc", "pip install 'gcsfs'"),
        ("nothing", "gopher://b/x.gc", "no kind of URL"),
    ],
)
def test_a_missing_package_is_named(missing, url, remedy):
    code = f"import sys; sys.modules[{missing!r}] = None; from geometrycrafter.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "export", url, "npz", "x.npz"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and remedy in done.stderr and url in done.stderr
    assert done.stderr.count("\n") == 1


def test_file_systems_of_other_kinds_and_file_urls(tmp_path):
    scene = made().save(tmp_path / "a.gc")
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "a.gc"), "/kept/a.gc", recursive=True)
    assert np.array_equal(gc.open("memory://kept/a.gc").points[:], scene.points[:])
    opened = gc.open(f"file://{tmp_path}/a.gc")
    assert opened.path == tmp_path / "a.gc"
    opened.set_poses(np.tile(np.eye(4), (3, 1, 1)))
    assert gc.open(tmp_path / "a.gc").poses is not None


def test_a_url_that_pathlib_has_broken_is_told_apart(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "two slashes" in sentence(capsys, "export", "s3:/b/x.gc", "npz", "x.npz")


@pytest.mark.parametrize(
    "arguments",
    [
        ["export", "a.gc", "npz", "s3://b/x.npz"],
        ["compare", "a.gc", "-o", "s3://b/x.png"],
    ],
)
def test_places_that_need_a_disk_say_so(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made().save("a.gc")
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2 and "s3://b/x" in (said := capsys.readouterr().err) and "local disk" in said
    assert [p.name for p in tmp_path.iterdir()] == ["a.gc"]
    with pytest.raises(gc.InputError, match="local disk"):
        made().save("s3://b/x.gc")


def flags(parser):
    """All arguments of a parser and of the commands below it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from flags(command)
        else:
            yield action


def test_no_flag_turns_urls_into_paths():
    found = list(flags(build_parser()))
    assert len(found) > 60 and not [a.dest for a in found if isinstance(a.type, type) and issubclass(a.type, Path)]


@pytest.mark.parametrize(
    ("place", "name"),
    [("s3://b/c/clip.gc", "clip"), ("https://a.b/clip.gc/", "clip"), ("x/10:30.gc", "10:30"), ("s3://b", "b")],
)
def test_what_a_scene_is_called(place, name):
    assert name_of(place) == name
