"""``run --dry-run``: what it says of a video is so, and it writes nothing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import moving_pattern, write_video
from test_cli import refused, say
from test_video import turned_video
from torch.utils.flop_counter import FlopCounterMode

import geometrycrafter as gc
from geometrycrafter.benchmark.components import components_of
from geometrycrafter.benchmark.model import MeasuredModel
from geometrycrafter.benchmark.options import BenchmarkOptions
from geometrycrafter.inference.expectation import EMBEDDED as SMALL
from geometrycrafter.inference.expectation import PUBLISHED, expected
from geometrycrafter.inference.options import Options
from geometrycrafter.inference.windows import plan
from geometrycrafter.networks.cpu_products import assumed
from geometrycrafter.training.replay import replay
from geometrycrafter.video.pictures import write_png
from geometrycrafter.weights.places import EMBEDDED


def rows(block: str) -> dict[str, str]:
    """Name and text of each line of a block."""
    return {m[1]: m[2] for m in re.finditer(r"^  (\w+) +(.+)$", block, re.MULTILINE)}


@pytest.fixture(scope="module")
def letterbox(tmp_path_factory):
    frames = np.zeros((20, 128, 96, 3), np.uint8)
    frames[:, 32:96] = moving_pattern(20, 64, 96) // 2 + 90
    return write_video(tmp_path_factory.mktemp("dry") / "letter.mp4", frames)


def test_what_is_said_is_what_a_run_does(letterbox, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    how = ["--stride", 2, "--max-size", 128]
    status, said, err = say(capsys, "run", letterbox, "--dry-run", *how)
    assert status == 0 and err == "" and list(tmp_path.iterdir()) == []
    lines = rows(said)
    assert said.splitlines()[0] == str(letterbox)
    assert lines["stream"].startswith("0 of 1 in mov") and lines["codec"].startswith("h264") and "420" in lines["codec"]
    assert lines["frames"] == "10 of 96x128" and lines["stored"].startswith("96x128, pixels 1:1")
    assert lines["rate"] == "12 frames/s, constant" and lines["times"] == "0.000 to 0.750 s"
    assert lines["orientation"] == "upright" and lines["interlaced"].startswith("no")
    assert "bt601 (assumed)" in lines["colour"] and "8 bits" in lines["colour"]
    assert lines["bars"] == "picture 96x64 at 0,32"
    assert re.fullmatch(r"about .+ GiB of memory", lines["expected"])
    assert say(capsys, "run", letterbox, "-o", "a.gc", *how)[0] == 0
    scene = gc.open("a.gc")
    height, width = scene.attributes["options"]["size"]
    assert f"--size {height}x{width})" in lines["processing"]
    assert len(scene) == 10 and not np.asarray(scene.mask)[:, :31].any()
    assert lines["windows"] == "2 of 8 frames, 4 shared by neighbours"


def test_a_varying_rate_a_turn_and_bars_that_are_kept(tmp_path, letterbox, capsys) -> None:
    varying = write_video(tmp_path / "v.mp4", moving_pattern(6, 64, 64), times=[0, 1, 2, 6, 7, 12])
    turned = turned_video(tmp_path, moving_pattern(3, 64, 96), 90)
    status, said, _ = say(capsys, "run", varying, turned, letterbox, "--dry-run", "--bars", "keep")
    assert status == 0
    one, two, three = (rows(block) for block in re.split(r"^(?=/)", said, flags=re.MULTILINE)[1:])
    assert "varying: 0.04167 to 0.2083 s" in one["rate"] and one["times"] == "0.000 to 0.500 s"
    assert "turned by" in two["orientation"] and two["frames"] == "3 of 64x96"
    assert three["bars"] == "kept"


def test_what_cannot_be_read_is_refused(tmp_path, letterbox, capsys) -> None:
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    assert "x.mp4" in refused(capsys, "run", tmp_path / "x.mp4", "--dry-run")
    status, said, err = say(capsys, "run", tmp_path / "x.mp4", letterbox, "--dry-run")
    assert status == 2 and "letter.mp4" in said and "x.mp4" in err and "Traceback" not in err
    assert "--max-size" in refused(capsys, "run", letterbox, "--dry-run", "--max-size", 3)
    status, said, _ = say(capsys, "run", letterbox, "--dry-run", "--json")
    assert status == 0 and json.loads(said.splitlines()[0])["frames"].endswith("20 of 96x128")


def test_a_first_picture_that_is_damaged_is_passed_over(tmp_path, capsys) -> None:
    for index, frame in enumerate(moving_pattern(4, 48, 64)):
        write_png(tmp_path / f"{index}.png", frame)
    (tmp_path / "0.png").write_bytes(b"no picture")
    status, said, err = say(capsys, "run", tmp_path, "--dry-run", "--damaged", "skip")
    assert status == 0 and "0.png" in err
    assert rows(said)["frames"] == "3 of 64x48" and rows(said)["codec"].startswith("png")
    assert refused(capsys, "run", tmp_path, "--dry-run").startswith(f"error: {tmp_path / '0.png'}")


def core_seconds(steady: str, frames: int, root: Path, variant: str) -> float:
    options = Options(size=(192, 320), window=8, overlap=4, steady=steady)
    return expected(root, variant, options, plan(frames, 8, 4, False), 576, 1024).core_seconds


def test_levelling_is_counted_for_every_frame(monkeypatch) -> None:
    # By docs/steady.md, 0.11 s of a core for a frame. The machine's rate is held: it varies while others work.
    monkeypatch.setattr("geometrycrafter.inference.expectation.core_rate", lambda: 20.0)
    more = core_seconds("on", 108, EMBEDDED, "deterministic") - core_seconds("off", 108, EMBEDDED, "deterministic")
    assert more == pytest.approx(0.11 * 108, rel=0.1)


def test_time_is_that_of_so_many_threads(letterbox, capsys, monkeypatch) -> None:
    monkeypatch.setattr("geometrycrafter.inference.expectation.core_rate", lambda: 20.0)
    monkeypatch.setattr("geometrycrafter.cli.dry_run.allowed_cores", lambda: 4)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 4, 9):
            _, said, _ = say(capsys, "run", letterbox, "--dry-run", "--threads", threads)
            found.append(float(re.search(r"about (\d+) s on", said)[1]))
    finally:
        torch.set_num_threads(before)
    assert found[0] == pytest.approx(4 * found[1], abs=4) and found[1] == found[2] > 4


def test_arithmetic_is_what_a_counter_counts() -> None:
    # PyTorch's counter, over networks without values; the published ones' decoder and encoders, and all of the small.
    found: dict[tuple[str, str], float] = {}
    for model, names in (
        ("diffusion", ("encoder", "decoder")),
        ("tiny", ("prior", "encoder", "unet", "light decoder")),
    ):
        told = BenchmarkOptions(model=model, random=True, size=(192, 320), frames=2, components=names)
        made = replace(MeasuredModel.of(told), planned=True)
        for name in names:
            with replay(gpu=False), assumed(False), torch.no_grad():
                work = components_of(made, told)[name]()
                with FlopCounterMode(display=False) as counter:
                    work()
            found[model, name] = counter.get_total_flops() / 1e9 / work.frames / (0.192 * 0.32)
    assert PUBLISHED.encoded == pytest.approx(found["diffusion", "encoder"], rel=0.02)
    assert PUBLISHED.decoded == pytest.approx(found["diffusion", "decoder"], rel=0.02)
    assert SMALL.encoded == pytest.approx(found["tiny", "prior"] + found["tiny", "encoder"], rel=0.05)
    assert SMALL.denoised == pytest.approx(found["tiny", "unet"], rel=0.1)
    assert SMALL.light == pytest.approx(found["tiny", "light decoder"], rel=0.05)


def test_names_that_a_run_would_refuse_are_refused(letterbox, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "give each once" in refused(capsys, "run", letterbox, letterbox, "--dry-run")
