"""``models download`` against a server that stands for the host: what breaks is gone on with, what is wrong told."""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from test_cli import refused, say

from geometrycrafter.weights.places import is_cached

hub = pytest.importorskip("huggingface_hub")
pytest.importorskip("huggingface_hub.constants")
pytest.importorskip("huggingface_hub.file_download")
GEOMETRY, SVD, MOGE = (
    "TencentARC/GeometryCrafter",
    "stabilityai/stable-video-diffusion-img2vid-xt",
    "Ruicheng/moge-vitl",
)
UNET = "unet_determ/diffusion_pytorch_model.safetensors"
COMMIT = "c" * 40


def content(name: str, size: int) -> bytes:
    block = hashlib.sha256(name.encode()).digest()
    return (block * (size // len(block) + 1))[:size]


WEIGHTS = "diffusion_pytorch_model"
SIZES = {
    GEOMETRY: {
        "README.md": 50,
        UNET: 900_000,
        "unet_determ/config.json": 300,
        f"unet_diff/{WEIGHTS}.safetensors": 5000,
        "unet_diff/config.json": 20,
        f"point_map_vae/{WEIGHTS}.safetensors": 70_000,
        "point_map_vae/config.json": 100,
    },
    SVD: {
        "vae/config.json": 30,
        f"vae/{WEIGHTS}.safetensors": 900,
        f"vae/{WEIGHTS}.fp16.safetensors": 450,
        "image_encoder/config.json": 31,
        "image_encoder/model.fp16.safetensors": 460,
        "unet/config.json": 32,
    },
    MOGE: {"model.pt": 10_000, "README.md": 10},
}


class Host(ThreadingHTTPServer):
    """The host: what it has, what was asked of it, and what it does wrong."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Asked)
        self.files = {r: {n: content(n, size) for n, size in sizes.items()} for r, sizes in SIZES.items()}
        self.asked: list[tuple[str, int]] = []
        """Files that were fetched, each from which byte on."""
        self.tokens: dict[str, str | None] = {}
        self.breaks: list[int] = []
        """Bytes after which the next answers with the large file break off."""
        self.spoilt = self.gated = self.failing = False

    def handle_error(self, *_: object) -> None:
        pass  # a client that hangs up

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Asked(BaseHTTPRequestHandler):
    server: Host
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        host = self.server
        path = self.path.split("?")[0]
        host.tokens[path] = self.headers.get("Authorization")
        if host.failing:
            return self.answer(500, b"out of order")
        if listing := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/[^/]+)?", path):
            return self.listing(listing[1])
        found = re.fullmatch(rf"/([^/]+/[^/]+)/resolve/({COMMIT}|main)/(.+)", path)
        if not found or found[3] not in host.files.get(found[1], {}):
            return self.answer(404, b"", X_Error_Code="EntryNotFound")
        if host.gated:
            return self.answer(401, b"", X_Error_Code="GatedRepo")
        self.file(found[3], host.files[found[1]][found[3]])

    def listing(self, repository: str) -> None:
        files = self.server.files.get(repository)
        if files is None:
            return self.answer(404, b"{}", X_Error_Code="RepoNotFound")
        rows = []
        for name, data in files.items():
            git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            row = {"rfilename": name, "size": len(data), "blobId": git}
            if len(data) > 400:
                row["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            rows.append(row)
        told = {"id": repository, "modelId": repository, "sha": COMMIT, "siblings": rows}
        self.answer(200, json.dumps(told).encode(), Content_Type="application/json")

    def file(self, name: str, data: bytes) -> None:
        host = self.server
        if host.spoilt and name == UNET:
            data = data[:-1] + bytes([data[-1] ^ 1])
        first = int(re.match(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])
        if self.command == "GET":
            host.asked.append((name, first))
        rest = data[first:]
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X_Repo_Commit": COMMIT, "Accept_Ranges": "bytes"}
        if first:
            headers["Content_Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        if name == UNET and self.command == "GET" and host.breaks:
            self.send_response(206 if first else 200)
            for key, value in {"Content-Length": str(len(rest)), **headers}.items():
                self.send_header(key.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(rest[: host.breaks.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            return
        self.answer(206 if first else 200, rest, **headers)


@pytest.fixture
def host(tmp_path, monkeypatch) -> Iterator[Host]:
    server = Host()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("GEOMETRYCRAFTER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(hub.constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hosts-cache"))
    monkeypatch.setattr(hub.constants, "DOWNLOAD_CHUNK_SIZE", 65536)
    monkeypatch.setattr(hub.file_download.time, "sleep", lambda seconds: None)
    yield server
    server.shutdown()
    server.server_close()


def place(tmp_path: Path) -> Path:
    return tmp_path / "home" / "GeometryCrafter"


def test_what_a_variant_needs_is_fetched_and_nothing_else(host, tmp_path, capsys) -> None:
    status, out, _ = say(capsys, "models", "download", "deterministic")
    assert status == 0 and is_cached("deterministic") and not is_cached("diffusion")
    lines = out.splitlines()
    assert "non-commercial" in lines[0] and "commercial use is not allowed" in lines[0] and "MIT" in lines[2]
    fetched = {name for name, _ in host.asked}
    assert fetched == {
        *(n for n in SIZES[GEOMETRY] if n.startswith(("unet_determ/", "point_map_vae/"))),
        *(n for n in SIZES[SVD] if not n.startswith("unet/") and n != f"vae/{WEIGHTS}.safetensors"),
        "model.pt",
    }
    assert (place(tmp_path) / UNET).read_bytes() == host.files[GEOMETRY][UNET]
    assert not (tmp_path / "home" / ".downloads").exists()
    _, out, _ = say(capsys, "models")
    assert "in part" in out and "without unet_diff" in out and out.count("whole, at") == 2
    host.asked.clear()
    assert say(capsys, "models", "download", "diffusion")[0] == 0 and is_cached("diffusion")
    assert {name for name, _ in host.asked} == {f"unet_diff/{WEIGHTS}.safetensors", "unet_diff/config.json"}
    assert say(capsys, "models")[1].count("whole, at") == 3


def test_a_connection_that_breaks_is_gone_on_with(host, tmp_path, capsys) -> None:
    host.breaks = [300_000, 200_000]
    assert say(capsys, "models", "download", GEOMETRY)[0] == 0
    firsts = [first for name, first in host.asked if name == UNET]
    assert len(firsts) == 3 and firsts == sorted(set(firsts)) and firsts[1] > 200_000
    assert (place(tmp_path) / UNET).read_bytes() == host.files[GEOMETRY][UNET]


def test_a_download_that_gave_up_is_gone_on_with_by_the_next(host, tmp_path, capsys) -> None:
    host.breaks = [400_000, *[0] * 40]
    assert "goes on from what is there" in refused(capsys, "models", "download", "GeometryCrafter")
    assert not (place(tmp_path) / UNET).exists()
    assert re.search(r"not here|in part", (out := say(capsys, "models")[1])) and "MB so far" in out
    host.breaks, host.asked[:] = [], []
    assert say(capsys, "models", "download", "GeometryCrafter")[0] == 0
    (first,) = [first for name, first in host.asked if name == UNET]
    assert first >= 327_680  # five of the client's blocks had come
    assert (place(tmp_path) / UNET).read_bytes() == host.files[GEOMETRY][UNET]


def test_a_wrong_hash_is_told_and_nothing_of_it_is_kept(host, tmp_path, capsys) -> None:
    host.spoilt = True
    assert UNET in refused(capsys, "models", "download", "GeometryCrafter")
    assert not (place(tmp_path) / UNET).exists() and not is_cached("deterministic")
    host.spoilt = False
    assert say(capsys, "models", "download", "GeometryCrafter")[0] == 0
    damaged = place(tmp_path) / UNET
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert "without unet_determ" in say(capsys, "models")[1]
    assert say(capsys, "models", "download", "GeometryCrafter")[0] == 0
    assert damaged.read_bytes() == host.files[GEOMETRY][UNET]


def test_a_full_disk_is_told_and_what_came_is_kept(host, tmp_path, capsys, monkeypatch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        said = refused(capsys, "models", "download", "GeometryCrafter")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "make room" in said and not (place(tmp_path) / UNET).exists()
    host.asked.clear()
    assert say(capsys, "models", "download", "GeometryCrafter")[0] == 0
    assert [first for name, first in host.asked if name == UNET] == [300_000]
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 1000}))
    assert "are free; make room" in refused(capsys, "models", "download", "moge-vitl")


def test_no_network_and_hosts_that_refuse_are_sentences(host, tmp_path, capsys, monkeypatch) -> None:
    host.gated = True
    said = refused(capsys, "models", "download", "stable-video-diffusion-img2vid-xt")
    assert "licence has to be accepted" in said and "HF_TOKEN" in said and SVD in said
    host.gated, host.failing = False, True
    assert "refuses" in refused(capsys, "models", "download", "moge-vitl")
    host.failing = False
    del host.files[MOGE]
    assert MOGE in refused(capsys, "models", "download", "moge-vitl")
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "connection" in refused(capsys, "models", "download", "moge-vitl")
    assert "choose diffusion" in refused(capsys, "models", "download", "moge-xxl")
    assert "wants a name" in refused(capsys, "models", "download")


def test_offline_the_clients_own_cache_is_used(host, tmp_path, capsys, monkeypatch) -> None:
    hub.hf_hub_download(MOGE, "model.pt", cache_dir=hub.constants.HF_HUB_CACHE)
    host.asked.clear()
    assert say(capsys, "models", "download", "moge-vitl")[0] == 0 and host.asked == []
    file = tmp_path / "home" / "moge-vitl" / "model.pt"
    file.unlink()
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    assert say(capsys, "models", "download", "moge-vitl")[0] == 0
    assert file.read_bytes() == host.files[MOGE]["model.pt"] and not file.is_symlink() and host.asked == []
    assert "HF_HUB_OFFLINE" in refused(capsys, "models", "download", "GeometryCrafter")


def test_the_clients_environment_variables_are_minded(host, tmp_path) -> None:
    env = {"HF_ENDPOINT": host.url, "HF_TOKEN": "hf_mine", "HF_HOME": str(tmp_path / "hf")}
    command = [sys.executable, "-m", "geometrycrafter.cli.main", "models", "download", "moge-vitl"]

    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "home" / "moge-vitl" / "model.pt").read_bytes() == host.files[MOGE]["model.pt"]
    assert {token for path, token in host.tokens.items() if MOGE in path} == {"Bearer hf_mine"}


def test_a_file_outside_its_repository_is_refused(host, capsys) -> None:
    host.files[GEOMETRY]["unet_diff/../../evil.safetensors"] = b"x" * 500
    assert "evil" in refused(capsys, "models", "download", "diffusion")


def test_missing_weights_and_a_missing_client_say_what_to_do(host, clip, tmp_path, capsys, monkeypatch) -> None:
    said = refused(capsys, "run", clip, "-o", tmp_path / "a.gc", "--model", "diffusion")
    assert "geometrycrafter models download diffusion" in said
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install '.[download]'" in refused(capsys, "models", "download", "diffusion")


def test_a_reader_who_has_seen_enough_is_no_error() -> None:
    command = f"{sys.executable} -m geometrycrafter.cli.main models list | true"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; sleep 0; {command}"], capture_output=True, text=True)
    assert done.returncode in (0, 141) and done.stderr == ""
