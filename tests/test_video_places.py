"""Where videos come from: standard input, open files, servers; and files that would have others opened."""

from __future__ import annotations

import functools
import http.server
import io
import struct
import subprocess
import sys
import threading
import types
from pathlib import Path

import av
import fsspec
import numpy as np
import pytest
from clips.making import encode
from clips.marks import number, picture, pictures
from test_cli import refused, say
from test_scene_places import Silent

import geometrycrafter as gc
from geometrycrafter.errors import WriteError
from geometrycrafter.video import spooled
from geometrycrafter.video.decoding import read_image
from geometrycrafter.video.pictures import write_png
from geometrycrafter.video.reading import open_frames
from geometrycrafter.video.spooled import Spooled


class Hostile(Silent):
    """A web server that also sends visitors elsewhere, stops half-way, and notes what it is asked for."""

    asked: list[str] = []  # noqa: RUF012 (a new list for each server)

    def do_GET(self):  # noqa: N802
        self.asked.append(self.path)
        if self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to?"))
            self.end_headers()
        elif self.path.startswith("/half/"):
            data = (Path(self.directory) / self.path.rpartition("/")[2]).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
        else:
            super().do_GET()


@pytest.fixture
def server(tmp_path):
    """The URL of a web server, the folder that it serves, and what it was asked for."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = type("Mine", (Hostile,), {"asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=folder)) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}", folder, handler.asked
        running.shutdown()


def numbers(source) -> list[int]:
    return [number(frame) for frame in source]


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """The folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(spooled.tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])  # an MP4's table stands at its end
def test_a_video_is_read_from_an_open_file_and_its_copy_goes(name, tmp_path, kept):
    path = encode(tmp_path / name, pictures(6))
    with open(path, "rb") as file:
        source = open_frames(file)
    assert numbers(source) == numbers(source) == list(range(6)) and not source.once
    assert len(list(kept.iterdir())) == 1 and source.content() == open_frames(path).content()
    assert numbers(source.cut(2, 5)) == [2, 3, 4]
    del source
    assert not list(kept.iterdir())


def test_a_picture_is_read_from_a_stream():
    from geometrycrafter.video.pictures import encode_png

    source = open_frames(io.BytesIO(encode_png(picture(5))))
    assert source.count == 1 and numbers(source) == [5] and source.place is None


def test_streams_are_bounded_and_what_they_lack_is_a_sentence(kept, monkeypatch):
    with pytest.raises(gc.InputError, match=r"^endless: more than 5,000,000 bytes came"):
        Spooled("endless").fill(lambda most: b"x" * most, most=5_000_000)
    with pytest.raises(gc.InputError, match="not one byte"):
        open_frames(io.BytesIO())
    with pytest.raises(gc.InputError, match="binary mode"):
        open_frames(io.StringIO("text"))
    with pytest.raises(gc.InputError, match=r"BytesIO: this is no video"):
        open_frames(io.BytesIO(b"no video" * 100))
    monkeypatch.setattr(spooled.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=10))
    with pytest.raises(WriteError, match=r"nearly full.*TMPDIR"):
        open_frames(io.BytesIO(b"x"))
    assert not list(kept.iterdir())


def test_standard_input(tmp_path, capsys):
    path = encode(tmp_path / "a.mp4", pictures(2))
    command = [sys.executable, "-m", "geometrycrafter", "run", "-", "-o", tmp_path / "a.gc", "--size", "64x64"]
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as cat:  # a pipe can't be sought in
        done = subprocess.run(command, stdin=cat.stdout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    scene = gc.open(tmp_path / "a.gc")
    assert scene.depth.shape == (2, 64, 96) and scene.source.path == "standard input"
    assert "--source PATH" in refused(
        capsys, "export", tmp_path / "a.gc", "mp4", tmp_path / "x.mp4", "--colour", "full"
    )
    assert numbers(scene.open_source(path)) == list(range(2))
    other = encode(tmp_path / "b.mp4", pictures(2)[::-1])
    with pytest.raises(gc.InputError, match="content"):
        scene.open_source(other)


def test_standard_input_that_holds_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert "piped" in refused(capsys, "run", "-", "-o", tmp_path / "a.gc")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert "standard input: not one byte" in refused(capsys, "run", "-", "-o", tmp_path / "a.gc")
    assert not (tmp_path / "a.gc").exists()


def test_a_scene_is_made_from_a_url_and_remembers_it(server, tmp_path, capsys):
    pytest.importorskip("aiohttp")
    url, folder, asked = server
    encode(folder / "a clip.mp4", pictures(2))
    place = f"{url}/a%20clip.mp4?v=1"
    secret = place.replace("://", "://me:secret@")
    assert say(capsys, "run", secret, "-o", tmp_path / "a.gc", "--size", "64x64")[0] == 0
    assert asked == ["/a%20clip.mp4?v=1"]  # once
    scene = gc.open(tmp_path / "a.gc")
    assert scene.source.path == place and "secret" not in (tmp_path / "a.gc" / "zarr.json").read_text()
    assert numbers(scene.open_source()) == list(range(2))
    assert say(capsys, "export", tmp_path / "a.gc", "mp4", "--colour", "full")[0] == 0
    encode(folder / "a clip.mp4", pictures(2)[::-1])
    assert "content" in refused(capsys, "export", tmp_path / "a.gc", "mp4", tmp_path / "b.mp4", "--colour", "full")


def test_object_stores_and_other_file_systems(server, monkeypatch):
    pytest.importorskip("s3fs")
    url, folder, _ = server
    (folder / "bucket").mkdir()
    path = encode(folder / "bucket" / "a.mp4", pictures(4))
    for name, value in {"ENDPOINT_URL": url, "ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert numbers(open_frames("s3://bucket/a.mp4")) == list(range(4))
    fsspec.filesystem("memory").put(str(path), "/kept/a.mp4")
    assert numbers(open_frames("memory://kept/a.mp4")) == list(range(4))
    assert numbers(open_frames(f"file://{path}")) == list(range(4))


def test_what_a_server_lacks_breaks_off_or_refuses_is_a_sentence(server, kept, tmp_path, capsys):
    pytest.importorskip("aiohttp")
    url, folder, _ = server
    encode(folder / "a.mp4", pictures(6))
    for name in ("nothing.mp4", "broken.mp4", "half/a.mp4"):
        assert f"{url}/{name}: " in refused(capsys, "run", f"{url}/{name}", "-o", tmp_path / "a.gc")
    (folder / "page.mp4").write_text("\n <!DOCTYPE html><html>sign in</html>")
    assert "web page" in refused(capsys, "run", f"{url}/page.mp4", "-o", tmp_path / "a.gc")
    assert "says 404" in refused(capsys, "run", f"{url}/nothing.mp4", "-o", tmp_path / "a.gc")
    assert "127.0.0.1:1/a.mp4" in refused(capsys, "run", "http://127.0.0.1:1/a.mp4", "-o", tmp_path / "a.gc")
    assert "no kind of URL" in refused(capsys, "run", "gopher://b/a.mp4", "-o", tmp_path / "a.gc")
    assert not list(kept.iterdir()) and not (tmp_path / "a.gc").exists()


def test_a_missing_package_is_named(tmp_path):
    code = "import sys; sys.modules['s3fs'] = None; from geometrycrafter.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "run", "s3://b/a.mp4", "-o", tmp_path / "a.gc"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "s3://b/a.mp4" in done.stderr and "pip install '.[remote]'" in done.stderr


def test_a_server_sends_nobody_to_this_machine_s_files(server, tmp_path):
    pytest.importorskip("aiohttp")
    url, folder, _ = server
    encode(tmp_path / "secret.mp4", pictures(3))
    encode(folder / "a.mp4", pictures(3))
    assert numbers(open_frames(f"{url}/to?{url}/a.mp4")) == list(range(3))
    for place in (f"file://{tmp_path}/secret.mp4", f"{tmp_path}/secret.mp4"):
        with pytest.raises(gc.InputError):
            open_frames(f"{url}/to?{place}")


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
MPD = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S">'
    '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1" width="96" height="64">'
    "<BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>"
)
LISTS = {
    "a.m3u8": PLAYLIST,
    "b.mp4": PLAYLIST,
    "a.ffconcat": "ffconcat version 1.0\nfile {}\n",
    "c.mp4": "ffconcat version 1.0\nfile {}\n",
    "a.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na={}\n",
    "a.mpd": MPD,
    "a.txt": "{}\n",
    "a.rtsp": "rtsp://{}\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_what_names_other_files_or_servers_opens_none(name, server, tmp_path):
    url, folder, asked = server
    encode(tmp_path / "secret.ts", pictures(3))
    encode(folder / "a.ts", pictures(3))
    for place in ("secret.ts", tmp_path / "secret.ts", f"file:{tmp_path}/secret.ts", "/etc/passwd", f"{url}/a.ts"):
        (tmp_path / name).write_text(LISTS[name].format(place))
        with pytest.raises(gc.InputError) as error:
            open_frames(str(tmp_path / name))
        assert "not followed" in str(error.value) or name in ("a.ffconcat", "a.txt", "a.rtsp")
        assert "root:" not in str(error.value)
    assert asked == []


def test_a_list_that_a_server_sends_opens_nothing(server, tmp_path):
    pytest.importorskip("aiohttp")
    url, folder, asked = server
    encode(folder / "a.ts", pictures(3))
    (folder / "a.m3u8").write_text(PLAYLIST.format(f"{url}/a.ts"))
    with pytest.raises(gc.InputError, match=r"a\.m3u8: .*not followed"):
        open_frames(f"{url}/a.m3u8")
    assert asked == ["/a.m3u8"]


def test_text_is_not_drawn(tmp_path):
    for name in ("a.nfo", "a.ans", "a.diz"):  # ffmpeg makes pictures of such files' letters
        (tmp_path / name).write_text("\x1b[0m" * 50 + "root:x:0:0\n" * 20)
        with pytest.raises(gc.InputError, match="text"):
            open_frames(str(tmp_path / name))


def boxes(data: bytes, start: int = 0, end: int | None = None):
    """Kind, start and end of each box of an MP4."""
    end = len(data) if end is None else end
    while start < end:
        size, kind = struct.unpack_from(">I4s", data, start)
        yield kind, start, start + size
        start += size


def referring(path: Path, other: Path) -> None:
    """Let an MP4's samples lie in another file: its data reference becomes an alias that names it."""
    data = path.read_bytes()
    spans, start, end = [], 0, len(data)
    for wanted in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        start, end = next((a, b) for kind, a, b in boxes(data, start, end) if kind == wanted)
        spans.append(start)
        start += 16 if wanted == b"dref" else 8
    name = str(other).encode()
    name += b"\0" * (len(name) % 2)
    record = bytes(150) + struct.pack(">hH", 2, len(name)) + name + struct.pack(">hH", 18, len(name)) + name
    record += struct.pack(">hH", -1, 0)
    alias = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record
    changed = data[:start] + alias + data[end:]
    for position in spans:
        size = struct.unpack_from(">I", changed, position)[0] + len(alias) - (end - start)
        changed = changed[:position] + struct.pack(">I", size) + changed[position + 4 :]
    path.write_bytes(changed)


def test_a_movie_whose_pictures_lie_in_another_file_opens_only_itself(tmp_path):
    path = encode(tmp_path / "a.mov", pictures(3))
    data = path.read_bytes()
    (tmp_path / "secret.mov").write_bytes(data)
    _, start, end = next(box for box in boxes(data) if box[0] == b"mdat")
    path.write_bytes(data[: start + 8] + bytes(end - start - 8) + data[end:])
    referring(path, tmp_path / "secret.mov")
    with av.open(str(path), options={"enable_drefs": "1", "use_absolute_path": "1"}) as container:
        assert number(next(container.decode(video=0)).to_ndarray(format="rgb24")) == 0  # where one is asked to
    with pytest.raises(gc.InputError, match="not one frame"):
        numbers(open_frames(str(path)))


def test_a_name_that_looks_like_a_pattern_is_that_file(tmp_path):
    write_png(tmp_path / "shot%02d.png", picture(7))
    write_png(tmp_path / "shot01.png", picture(1))
    assert number(read_image(tmp_path / "shot%02d.png")) == 7
    assert numbers(open_frames(str(tmp_path / "shot%02d.png"))) == [7]


def test_a_list_of_videos_is_refused(tmp_path):
    encode(tmp_path / "a.mp4", pictures(3))
    (tmp_path / "list.txt").write_text("a.mp4\n")
    with pytest.raises(gc.InputError, match="no picture"):  # the first picture of each was taken
        open_frames(str(tmp_path / "list.txt"))


def test_iterators_are_still_read_as_they_come():
    source = open_frames(iter(np.stack(pictures(3))))
    assert source.once and numbers(source) == [0, 1, 2]
