"""Reduced precision is what a run asks for, where it asks for it, and nothing of it stays."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from time import sleep

import numpy as np
import pytest
import torch
from conftest import flat_prior

import geometrycrafter as gc
from geometrycrafter.errors import InputError
from geometrycrafter.inference import precision
from geometrycrafter.inference.precision import at_precision, half_of, settled_dtype, settled_precision
from geometrycrafter.inference.workers import Model
from geometrycrafter.networks.moge import MoGe, MoGeConfig
from geometrycrafter.weights.places import EMBEDDED

CPU = torch.device("cpu")


def tf32():
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.fixture(scope="module")
def moge():
    torch.manual_seed(0)
    config = MoGeConfig(encoder="dinov2_vits14", dim_proj=64, dim_upsample=(64, 32, 32))
    network = MoGe(config).eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        if name.endswith("gamma"):
            parameter.fill_(0.5)
    return network


@pytest.mark.parametrize("asked", ["tf32", "half"])
def test_products_are_rounded_during_a_run_alone_also_one_that_fails(hub, asked, tmp_path):
    seen = []

    def prior(frames):
        seen.append(tf32())
        if len(seen) == 2:
            raise RuntimeError("the prior gave up")
        return flat_prior(frames)

    estimator = gc.load(hub, "diffusion", prior=prior)
    frames = np.random.default_rng(0).integers(0, 255, (12, 64, 64, 3), np.uint8)
    before = tf32()
    assert before == (False, True)  # PyTorch's own
    with pytest.raises(RuntimeError, match="gave up"):
        estimator(frames, size=(64, 64), steps=1, precision=asked, output=tmp_path / "a.gc")
    assert seen == [(True, True)] * 2
    assert tf32() == before
    seen.clear()
    estimator(frames[:4], size=(64, 64), steps=1)
    assert seen == [before]


def test_a_run_is_gone_on_with_in_its_own_precision_and_says_which(hub, tmp_path):
    estimator = gc.load(hub, "deterministic", prior=flat_prior)
    frames = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    out = tmp_path / "a.gc"
    scene = estimator(frames, size=(64, 64), output=out, precision="tf32")
    assert scene.attributes["options"]["precision"] == "tf32"
    with pytest.raises(gc.InputError, match="precision"):
        estimator(frames, size=(64, 64), output=out, resume=True)
    plain = estimator(frames, size=(64, 64))
    assert np.array_equal(scene.depth[:], plain.depth[:])  # processors have no such rounding


def test_half_computes_the_transformers_products_in_16_bits_and_gives_floats(moge, monkeypatch):
    monkeypatch.setattr(precision, "_multiplies_bfloat16", lambda: True)
    images, kinds = torch.rand(2, 3, 112, 168), []
    moge.backbone.blocks[3].mlp.fc1.register_forward_hook(lambda m, i, out: kinds.append(out.dtype))
    moge.head.projects[0].register_forward_hook(lambda m, i, out: kinds.append(out.dtype))
    wanted = moge(images, 96)["points"]
    with at_precision("half", [moge, None, flat_prior], CPU):
        got = moge(images, 96)["points"]
    again = moge(images, 96)["points"]
    assert kinds == [torch.float32] * 2 + [torch.bfloat16, torch.float32] + [torch.float32] * 2
    assert got.dtype == torch.float32 and torch.equal(again, wanted)
    off = (got[..., 2] / wanted[..., 2] - 1).abs()
    assert 0 < off.median() < 0.01 and off.max() < 0.1


@pytest.mark.parametrize("asked", ["published", "tf32", "half"])
def test_where_16_bits_are_slow_nothing_is_lost_for_nothing(moge, monkeypatch, asked):
    monkeypatch.setattr(precision, "_multiplies_bfloat16", lambda: False)
    assert half_of(CPU) is None and half_of(torch.device("cuda")) is torch.float16
    images = torch.rand(1, 3, 112, 112)
    wanted = moge(images, 64)["points"]
    with at_precision(asked, [moge], CPU):
        assert torch.equal(moge(images, 64)["points"], wanted)


def test_linear_layers_of_8_bits_are_near_and_those_of_the_file_come_back(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    estimator, how = gc.load("tiny"), {"size": (64, 64), "cuts": "off"}
    before = estimator(frames, **how).depth[:]
    rounded = estimator(frames, precision="int8", **how).depth[:]
    weights = dict(estimator.networks.unet.named_modules())
    in_8_bits = {n for n, m in weights.items() if getattr(m, "weight", None) is not None and hasattr(m.weight, "qdata")}
    assert in_8_bits and all(isinstance(weights[n], torch.nn.Linear) for n in in_8_bits)
    off = np.abs(rounded / before - 1)
    assert 0 < np.median(off) < 0.01 and np.quantile(off, 0.99) < 0.05
    assert np.array_equal(estimator(frames, **how).depth[:], before)


def test_8_bits_want_torchao(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"\.\[int8\]"):
        gc.load("tiny")(np.zeros((1, 64, 64, 3), np.uint8), precision="int8")


def test_a_run_in_half_precision_goes_on_only_where_that_is_the_same_type(hub, tmp_path, monkeypatch):
    estimator = gc.load(hub, "deterministic", prior=flat_prior)
    frames = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    how = {"size": (64, 64), "output": tmp_path / "a.gc", "precision": "half"}
    monkeypatch.setattr(precision, "_multiplies_bfloat16", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        estimator(frames, **how, progress=stopping)
    monkeypatch.setattr(precision, "_multiplies_bfloat16", lambda: False)
    with pytest.raises(gc.InputError, match="another type of 16 bits that --precision half has here"):
        estimator(frames, **how, resume=True)
    monkeypatch.setattr(precision, "_multiplies_bfloat16", lambda: True)
    assert len(estimator(frames, **how, resume=True)) == 3


def stopping(stage, done, total):
    if stage == "condition":
        raise KeyboardInterrupt


def test_auto_takes_16_bits_where_they_are_fast_and_says_where_they_are_slow(tmp_path):
    # A library of products that is told to do without the newer instructions is a slower machine.
    program = """
import sys, warnings, torch, geometrycrafter as gc
from geometrycrafter.inference.precision import half_of
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    auto, asked = gc.load("tiny", device="cpu", dtype="auto"), gc.load("tiny", device="cpu", dtype=torch.bfloat16)
print(auto.dtype, asked.dtype, half_of(torch.device("cpu")), *(str(w.message) for w in said), sep="|")
"""

    def told(**variables: str) -> list[str]:
        environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip().split("|")

    auto, asked, _, warning = told(ONEDNN_MAX_CPU_ISA="AVX2")
    assert (auto, asked) == ("torch.float32", "torch.bfloat16")
    assert warning.startswith("--dtype bfloat16 takes ") and "times as long as float32" in warning
    auto, asked, half, *warnings = told()
    assert auto == ("torch.bfloat16" if half == asked else "torch.float32")
    assert not (warnings and auto == asked)


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_auto_is_16_bits_on_gpus(kind):
    assert settled_dtype("auto", torch.device(kind)) is torch.float16
    assert settled_precision("auto", torch.device(kind)) == "half"


def test_what_other_programs_take_makes_no_type_slow(monkeypatch):
    plain, threads = precision._small_work(torch.float32), set()

    def beside_others(dtype):
        def run():
            threads.add(torch.get_num_threads())
            if dtype is not torch.float32:
                sleep(0.02)  # as while another program has the core
            return plain()

        return run

    monkeypatch.setattr(precision, "_small_work", beside_others)
    before = torch.get_num_threads()
    assert 0.3 < precision.times_as_long.__wrapped__(torch.bfloat16, CPU) < 3
    assert threads == {1} and torch.get_num_threads() == before


def test_that_a_type_is_slow_is_told_once_and_not_by_each_process_too(monkeypatch):
    monkeypatch.setattr("geometrycrafter.inference.precision.times_as_long", lambda *_: 30.0)
    with pytest.warns(UserWarning, match="bfloat16 takes 30.0 times"):
        gc.load("tiny", device="cpu", dtype=torch.bfloat16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Model(EMBEDDED, "deterministic", "bfloat16", False, None).load("cpu")


def test_a_gpu_that_cannot_be_used_is_an_error_where_no_device_is_named_too(monkeypatch):
    def busy(*size, device=None):
        raise RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", busy)
    for named in (None, "cuda"):
        with pytest.raises(InputError, match=r"busy or unavailable.*--device cpu"):
            gc.load("tiny", device=named)


def test_precision_auto_is_one_of_those_that_are_named(hub, tmp_path):
    estimator = gc.load(hub, "deterministic", prior=flat_prior)
    frames = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    out = tmp_path / "a.gc"
    found = estimator(frames, size=(64, 64), precision="auto", output=out)
    settled = found.attributes["options"]["precision"]
    assert settled in ("published", "half")
    same = estimator(frames, size=(64, 64), precision=settled, output=out, resume=True)
    assert np.array_equal(found.depth[:], same.depth[:], equal_nan=True)
