"""The benchmark command says what each component costs, beside stock implementations that compute the same."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace

import pytest
import torch
from torch import nn

import geometrycrafter as gc
from geometrycrafter.benchmark.clock import flop_of, interleaved
from geometrycrafter.benchmark.components import components_of
from geometrycrafter.benchmark.memory import peak_of_process, resident_peak
from geometrycrafter.benchmark.model import MeasuredModel
from geometrycrafter.benchmark.options import BenchmarkOptions
from geometrycrafter.benchmark.stock import HAVE_STOCK, stock_work
from geometrycrafter.cli.benchmark_plan import planned
from geometrycrafter.cli.main import main
from geometrycrafter.networks import cpu_products
from geometrycrafter.networks.blocks import Upsample
from geometrycrafter.weights.places import EMBEDDED

ALWAYS = {"component", "seconds", "gflop", "peak_mb", "share_of_gemm"}
WITH_PEER = {"peer_seconds", "peer_peak_mb", "ratio"}


def figures_of(tmp_path, *flags):
    file = tmp_path / "figures.json"
    status = main(["benchmark", "--repeats", "2", "--json", str(file), *flags])
    assert status == 0
    return {row["component"]: row for row in json.loads(file.read_text())}


def test_the_embedded_model_has_a_row_for_each_component_and_the_total(tmp_path, capsys):
    rows = figures_of(tmp_path, "--size", "64x64", "--frames", "2")
    assert list(rows) == ["prior", "image encoder", "encoder", "unet", "light decoder", "total"]
    for name, row in rows.items():
        wanted = ALWAYS - {"share_of_gemm"} if name == "total" else ALWAYS
        assert wanted <= row.keys() and not WITH_PEER & row.keys()
        assert row["seconds"] > 0 and row["peak_mb"] > row.get("weights_mb", 0) * 0.9
    parts = [row for name, row in rows.items() if name != "total"]
    assert rows["total"]["seconds"] == pytest.approx(sum(r["seconds"] for r in parts))
    weights = sum(p.stat().st_size for p in PARTS_ROOT.rglob("*unet_determ/*.safetensors"))
    assert rows["unet"]["weights_mb"] * 1e6 == pytest.approx(weights * WIDENED, rel=0.1)
    printed = capsys.readouterr().out
    assert all(name in printed for name in rows)


PARTS_ROOT = EMBEDDED
WIDENED = 2
"""The embedded weights are stored in half precision and run in single."""


@pytest.fixture(scope="module")
def published_in_small(hub, tmp_path_factory):
    """The golden hub, without weights: sizes alone, with SVD's temporal decoder."""
    root = tmp_path_factory.mktemp("sizes") / "hub"
    shutil.copytree(hub, root, ignore=shutil.ignore_patterns("*.safetensors"))
    return root


@pytest.mark.parametrize("variant", ["diffusion", "deterministic"])
def test_stock_implementations_with_the_same_weights_give_the_same(published_in_small, variant):
    pytest.importorskip("diffusers")
    options = BenchmarkOptions(
        model=str(published_in_small), variant=variant, random=True, size=(64, 128), frames=5, decode_chunk=3
    )
    made = components_of(MeasuredModel.of(options), options)
    for name in HAVE_STOCK:
        work = made[name]()
        ours, theirs = work(), stock_work(name, work)()
        pairs = [(ours, theirs)] if isinstance(ours, torch.Tensor) else list(zip(ours, theirs, strict=True))
        assert pairs
        for a, b in pairs:
            assert b.abs().mean() > 1e-3  # not two silences
            torch.testing.assert_close(a, b, atol=2e-4, rtol=0)


def test_with_a_peer_rows_have_its_figures_and_the_ratio(published_in_small, tmp_path):
    pytest.importorskip("diffusers")
    flags = ("--model", str(published_in_small), "--random", "--peer", "--size", "64x64", "--frames", "2")
    rows = figures_of(tmp_path, *flags, "--components", "decoder,light decoder")
    row = rows["decoder"]
    assert row.keys() >= WITH_PEER
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert 0.05 < row["ratio"] < 50
    assert row["peer_peak_mb"] > row["weights_mb"] * 0.9
    assert row["times"] == 1  # two frames are one chunk
    assert rows["light decoder"].keys().isdisjoint(WITH_PEER)  # there is no stock one


def test_steps_of_the_sampler_and_shared_frames_count(published_in_small):
    told = BenchmarkOptions(model=str(published_in_small), variant="diffusion", random=True, size=(64, 64), frames=11)
    for steps in (1, 4):
        options = replace(told, steps=steps)
        made = components_of(MeasuredModel.of(options), options)
        assert made["unet"]().times == steps
    deterministic = replace(told, variant="deterministic")
    assert components_of(MeasuredModel.of(deterministic), deterministic)["unet"]().times == 1
    # Eleven frames in chunks of eight: two chunks, sixteen frames decoded.
    assert made["decoder"]().times == pytest.approx(16 / 11)


def test_arithmetic_is_that_of_the_closed_forms():
    convolution, linear = nn.Conv2d(3, 5, 3, padding=1), nn.Linear(7, 11)
    x, y = torch.zeros(2, 3, 8, 16), torch.zeros(4, 7)
    assert flop_of(lambda: convolution(x)) == 2 * 2 * 5 * 8 * 16 * 3 * 9
    assert flop_of(lambda: linear(y)) == 2 * 4 * 7 * 11


def test_arithmetic_of_fused_operations_counts_and_that_of_a_folded_doubling_is_less():
    linear, up, x = nn.Linear(7, 12), Upsample(5), torch.zeros(4, 3, 7)
    with torch.no_grad():
        assert flop_of(lambda: cpu_products.linear(linear, x)) == 2 * 4 * 3 * 7 * 12
        assert flop_of(lambda: cpu_products.gated_gelu(linear, x)) == 2 * 4 * 3 * 7 * 12
        pointwise = nn.Conv2d(5, 2, 1)
        assert flop_of(lambda: cpu_products.pointwise(pointwise, torch.zeros(1, 5, 8, 8))) == 2 * 64 * 5 * 2
        plain = 2 * 64 * 64 * 5 * 5 * 9
        assert 4 / 9 * plain <= flop_of(lambda: up(torch.zeros(1, 5, 32, 32))) < 0.5 * plain


def test_calls_take_turns_and_are_timed_apart():
    order = []

    def slow():
        order.append("slow")
        time.sleep(0.03)

    slept, quick = interleaved([slow, lambda: order.append("quick")], 3, torch.device("cpu"))
    assert order == ["slow", "quick"] * 3
    assert slept.seconds >= 0.03 > quick.seconds
    assert slept.cpu_seconds < 0.02  # who sleeps takes no processor


def test_the_resident_peak_holds_what_was_let_go():
    before = resident_peak()
    block = torch.ones(60_000_000)
    del block
    assert resident_peak() > before - 1
    assert resident_peak() >= 240


@pytest.mark.parametrize(
    "flags, told",
    [
        (["--model", "diffusion"], "diffusion"),
        (["--components", "unet,nose"], "nose"),
        (["--size", "60x100"], "multiple of 64"),
        (["--device", "moon"], "moon"),
    ],
)
def test_what_cannot_be_measured_is_told_in_a_sentence(flags, told, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMETRYCRAFTER_HOME", str(tmp_path))
    try:
        status = main(["benchmark", *flags])
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    assert told in capsys.readouterr().err


def test_a_plan_says_what_a_process_then_takes(published_in_small, tmp_path):
    told = ["--model", str(published_in_small), "--random", "--size", "256x384", "--frames", "8", "--device", "cpu"]
    file = tmp_path / "plan.json"
    names = ["encoder", "unet", "decoder"]
    assert main(["benchmark", "--plan", *told, "--components", ",".join(names), "--json", str(file)]) == 0
    rows = {row["component"]: row for row in json.loads(file.read_text())}
    assert list(rows) == [*names, "total"]
    options = BenchmarkOptions(model=str(published_in_small), random=True, size=(256, 384), frames=8)
    for name in names:
        held = peak_of_process(name, options, stock=False)
        assert 0.98 * held < rows[name]["planned_mb"] < 1.25 * held  # "at most"


def test_a_plan_needs_neither_the_gpu_nor_the_weights(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOMETRYCRAFTER_HOME", str(tmp_path))
    flags = ["--model", "diffusion", "--random", "--size", "448x768", "--device", "cuda", "--dtype", "float16"]
    assert main(["benchmark", "--plan", *flags, "--components", "unet,decoder", "--json", str(tmp_path / "p")]) == 0
    unet, decoder, total = json.loads((tmp_path / "p").read_text())
    assert unet["weights_mb"] == pytest.approx(2 * 1524.6, rel=1e-3)  # the published UNet's parameters, two bytes each
    assert total["weights_mb"] == pytest.approx(unet["weights_mb"] + decoder["weights_mb"])
    assert "110 frames" in capsys.readouterr().out


def test_a_plan_in_8_bits_has_the_memory_of_weights_in_8_bits():
    options = BenchmarkOptions(model="tiny", size=(64, 64), frames=2, device="cpu", components=("unet",))
    whole, less = (planned(replace(options, precision=p))[0] for p in ("published", "int8"))
    unet = gc.load("tiny", device="cpu").networks
    unet.fill_unet(in_8_bits=True)
    layers = [m.weight for m in unet.unet.modules() if hasattr(getattr(m, "weight", None), "qdata")]
    # Of float32 by 8 bits, and a scale for each output.
    saved = sum(3 * w.qdata.numel() - w.scale.numel() * w.scale.element_size() for w in layers) / 1e6
    assert layers and whole["weights_mb"] - less["weights_mb"] == pytest.approx(saved, rel=0.01)
    assert less["planned_mb"] <= whole["planned_mb"]
