"""``run --quality``: what is chosen fits the machine, and flags that are given stand."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
from conftest import moving_pattern, write_video
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_cli import say

import geometrycrafter as gc
from geometrycrafter.benchmark.options import BenchmarkOptions
from geometrycrafter.cli import quality
from geometrycrafter.cli.benchmark_plan import planned
from geometrycrafter.cli.main import build_parser
from geometrycrafter.weights.places import EMBEDDED


@pytest.fixture(scope="module")
def home(hub, tmp_path_factory) -> Path:
    """A place where the published weights are, as far as their names go: small ones, with a MoGe that is never read."""
    root = Path(shutil.copytree(hub, tmp_path_factory.mktemp("home") / "weights"))
    (root / "moge-vitl").mkdir()
    (root / "moge-vitl" / "model.pt").write_bytes(b"not read here")
    return root


def choice(kind: str, device: str, free: float, monkeypatch, *flags: str, plan=None):
    monkeypatch.setattr(quality, "memory_free", lambda device: free)
    args = build_parser().parse_args(["run", "v.mp4", *flags])
    return quality.chosen(kind, args, device, plan)


def rows_of(pixels: float):
    """A plan in which every component takes what its pixels say, and weights wait beside."""

    def plan(model, variant, size, window, device, dtype):
        work = math.prod(size or (64, 64)) / pixels
        return [{"planned_mb": 100 + work}, {"planned_mb": 50 + work / 2}, {"planned_mb": 150 + work}]

    return plan


def test_without_published_weights_it_is_the_embedded_model(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GEOMETRYCRAFTER_HOME", str(tmp_path))
    best, fast = (choice(kind, "cpu", 8000, monkeypatch) for kind in ("best", "fast"))
    assert best.model == fast.model == "tiny" and best.pixels == 192 * 320 and fast.pixels < best.pixels
    assert fast.options == {"decoder": "light"} and best.dtype == "float32" and not best.offload


def test_published_weights_are_taken_where_they_are_fast_or_best(home, monkeypatch) -> None:
    monkeypatch.setenv("GEOMETRYCRAFTER_HOME", str(home))
    plan = rows_of(100)
    assert choice("best", "cuda", 80_000, monkeypatch, plan=plan).model == "diffusion"
    assert choice("best", "cuda", 80_000, monkeypatch, plan=plan).size == (576, 1024)
    fast = choice("fast", "cuda:1", 80_000, monkeypatch, plan=plan)
    assert (fast.model, fast.dtype, fast.options["precision"]) == ("deterministic", "float16", "half")
    assert choice("fast", "cpu", 80_000, monkeypatch, plan=plan).model == "tiny"
    assert choice("best", "cpu", 80_000, monkeypatch, plan=plan).dtype == "float32"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(free=st.floats(50, 20_000), pixels=st.floats(20, 2000))
def test_the_largest_size_that_fits_is_taken(home, monkeypatch, free, pixels) -> None:
    monkeypatch.setenv("GEOMETRYCRAFTER_HOME", str(home))
    found, plan = choice("best", "cuda", free, monkeypatch, plan=rows_of(pixels)), rows_of(pixels)
    sizes = quality.PUBLISHED_SIZES["best"]

    def needed(size, offload) -> float:
        rows = plan(None, None, size, None, None, None)
        return max(r["planned_mb"] for r in rows[:-1]) if offload else rows[-1]["planned_mb"]

    fits = [size for size in sizes if needed(size, True) <= 0.9 * free]
    assert found.size == (fits[0] if fits else sizes[-1])
    assert found.offload == (needed(found.size, False) > 0.9 * free)


def test_flags_that_are_given_stand(home, monkeypatch) -> None:
    monkeypatch.setenv("GEOMETRYCRAFTER_HOME", str(home))
    flags = ("--model", "deterministic", "--size", "128x192", "--dtype", "bfloat16", "--precision", "tf32")
    found = choice("fast", "cuda", 9000, monkeypatch, *flags, "--decoder", "full", plan=rows_of(1000))
    assert (found.model, found.size, found.dtype, found.options) == ("deterministic", None, "bfloat16", {})
    assert (
        choice("best", "cuda", 9000, monkeypatch, "--variant", "deterministic", plan=rows_of(9)).variant != "diffusion"
    )


def test_memory_is_what_the_benchmarks_plan_says(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GEOMETRYCRAFTER_HOME", str(tmp_path))
    told = choice("best", "cpu", 1500, monkeypatch).told
    rows = planned(BenchmarkOptions(model="tiny", variant="deterministic", size=(192, 320), frames=8))
    assert f"{rows[-1]['planned_mb']:,.0f} of 1,500 MB free" in told


def test_a_run_says_what_it_chose_and_is_it(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("GEOMETRYCRAFTER_HOME", str(tmp_path))
    video = write_video(tmp_path / "v.mp4", moving_pattern(3, 64, 128))
    status, _, err = say(capsys, "run", video, "-o", tmp_path / "v.gc", "--quality", "fast", "--device", "cpu")
    made = gc.open(tmp_path / "v.gc").attributes
    assert status == 0 and "quality fast: tiny (deterministic), about 128x256 on cpu" in err
    assert made["options"]["size"] == [128, 256] and made["options"]["decoder"] == "light"
    status, out, err = say(capsys, "run", video, "--quality", "best", "--dry-run", "--device", "cpu")
    assert status == 0 and "--size 192x" in out and "quality best" in err


def test_published_weights_that_lie_idle_are_mentioned(home, clip, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("GEOMETRYCRAFTER_HOME", str(home))
    flags = ("run", clip, "-o", tmp_path / "a.gc", "--size", "64x64", "--end", 2)
    status, out, err = say(capsys, *flags)
    (line,) = [line for line in err.splitlines() if "--model diffusion" in line]
    assert status == 0 and "better" in line and "--model diffusion" not in out
    assert "--model diffusion" not in say(capsys, *flags, "--overwrite", "--model", "tiny")[2]
    monkeypatch.setenv("GEOMETRYCRAFTER_HOME", str(EMBEDDED / "nothing"))
    assert "--model diffusion" not in say(capsys, *flags, "--overwrite")[2]
