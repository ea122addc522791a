"""``models download`` from hosts that mean harm, or that are not the host at all: nothing of theirs is gone on with."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import refused, say
from test_downloads import GEOMETRY, MOGE, UNET, WEIGHTS, Asked, content, host, hub, place

__all__ = ["host"]  # the fixture
DOWNLOAD = ("models", "download", "GeometryCrafter")


def unet_answers(monkeypatch, answer) -> None:
    """Let another answer come for the large file."""
    before = Asked.file

    def file(self: Asked, name: str, data: bytes) -> None:
        answer(self) if name == UNET and self.command == "GET" else before(self, name, data)

    monkeypatch.setattr(Asked, "file", file)


def under_way(tmp_path: Path) -> int:
    return sum(f.stat().st_size for f in (tmp_path / "home" / ".downloads").rglob("*") if f.is_file())


def test_a_page_to_log_in_is_not_gone_on_with(host, tmp_path, capsys, monkeypatch) -> None:
    host.breaks = [400_000, *[0] * 40]
    refused(capsys, *DOWNLOAD)
    came = under_way(tmp_path)
    assert came > 300_000
    with monkeypatch.context() as patched:  # an answer for the part that is asked for, of another length
        unet_answers(patched, lambda asked: asked.answer(206, b"<html>log in</html>"))
        assert "size 900000" in refused(capsys, *DOWNLOAD)
        assert under_way(tmp_path) == came
        unet_answers(patched, lambda asked: asked.answer(200, b"<html>log in</html>"))
        refused(capsys, *DOWNLOAD)
        assert under_way(tmp_path) == 0
    host.breaks = []
    assert say(capsys, *DOWNLOAD)[0] == 0
    assert (place(tmp_path) / UNET).read_bytes() == host.files[GEOMETRY][UNET]


def test_an_answer_without_end_is_left_at_the_size_that_was_told(host, tmp_path, capsys, monkeypatch) -> None:
    def endless(asked: Asked) -> None:
        asked.send_response(200)
        asked.send_header("Transfer-Encoding", "chunked")
        asked.end_headers()
        for _ in range(300):
            asked.wfile.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")

    unet_answers(monkeypatch, endless)
    assert "more bytes come than the 900,000" in refused(capsys, *DOWNLOAD)
    assert under_way(tmp_path) == 0


def test_what_came_of_another_content_is_no_beginning_of_a_new_one(host, tmp_path, capsys) -> None:
    host.breaks = [400_000, *[0] * 40]
    refused(capsys, *DOWNLOAD)
    host.files[GEOMETRY][UNET], host.breaks, host.asked[:] = content("another", 900_000), [], []
    assert say(capsys, *DOWNLOAD)[0] == 0
    assert [first for name, first in host.asked if name == UNET] == [0]
    assert (place(tmp_path) / UNET).read_bytes() == host.files[GEOMETRY][UNET]


@pytest.mark.parametrize("name", ["[/red]x", "a\0b", "\x1b]0;mine\a", "x" * 300, "", "../../x", "/x", "a\nb", ".lock"])
def test_names_that_no_repository_has_are_refused_before_a_byte_is_fetched(name, host, capsys) -> None:
    host.files[GEOMETRY][f"unet_diff/{name}"] = b"x" * 500
    said = refused(capsys, *DOWNLOAD)
    assert "the host names a file" in said and said.rstrip("\n").isprintable() and host.asked == []


def test_what_lacks_weights_is_not_called_whole(host, tmp_path, capsys, monkeypatch) -> None:
    del host.files[GEOMETRY][f"unet_diff/{WEIGHTS}.safetensors"]
    assert "lacks unet_diff" in refused(capsys, *DOWNLOAD)
    for piece in ("unet_diff", "unet_determ", "point_map_vae"):
        hub.hf_hub_download(GEOMETRY, f"{piece}/config.json", cache_dir=hub.constants.HF_HUB_CACHE)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("GEOMETRYCRAFTER_HOME", str(tmp_path / "another"))
    assert "lacks unet_diff, unet_determ, point_map_vae," in refused(capsys, *DOWNLOAD)


def test_offline_a_fresh_machine_is_filled_and_a_copy_cut_short_is_made_again(
    host, tmp_path, capsys, monkeypatch
) -> None:
    hub.hf_hub_download(MOGE, "model.pt", cache_dir=hub.constants.HF_HUB_CACHE)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    file = tmp_path / "home" / "moge-vitl" / "model.pt"

    def another_disk(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", another_disk)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        assert "make room" in refused(capsys, "models", "download", "moge-vitl") and not file.exists()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    file.write_bytes(host.files[MOGE]["model.pt"][:3000])  # by a process that was killed
    assert say(capsys, "models", "download", "moge-vitl")[0] == 0
    assert file.read_bytes() == host.files[MOGE]["model.pt"]


@pytest.mark.parametrize("variable", ["HF_HUB_DOWNLOAD_TIMEOUT=soon", "HF_ENDPOINT=http://["])
def test_variables_that_the_client_refuses_are_a_sentence(variable, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(*variable.split("=", 1))
    monkeypatch.setenv("GEOMETRYCRAFTER_HOME", str(tmp_path))
    command = [sys.executable, "-m", "geometrycrafter.cli.main", "models", "download", "moge-vitl"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "HF_" in done.stderr
