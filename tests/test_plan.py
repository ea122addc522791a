"""What ``train --plan`` says against what a run takes."""

from __future__ import annotations

import contextlib
import json
import math
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import torch
from school import quiet
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils.flop_counter import FlopCounterMode

from geometrycrafter.cli.main import main
from geometrycrafter.data.shards import ShardWriter
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.training.config import PUBLISHED, config_of, read_train_config
from geometrycrafter.training.plan import plan_of
from geometrycrafter.training.remedies import remedy
from geometrycrafter.training.replay import replay
from geometrycrafter.training.stages.chunks import framewise, standing_for_others
from geometrycrafter.training.trainer import Trainer
from geometrycrafter.weights.places import EMBEDDED

GIB = 1 << 30
PAPERS = sorted(p.stem for p in PUBLISHED.glob("paper-*.toml"))
TINY = sorted(p.stem for p in PUBLISHED.glob("tiny-*.toml"))
MEASURED = """
import gc, json, sys
from pathlib import Path
from geometrycrafter.training.config import read_train_config
from geometrycrafter.training.trainer import Trainer

def resident(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) << 10

name, settings, folder = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
# What is loaded at the first step only is no part of what a step takes.
small = {"batch": 1, "size": [64, 64], "frames": [1, 1], "steps": 1}
Trainer(read_train_config(name, settings | small), folder + "/small", lambda line: None).run()
gc.collect()
before = resident("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak is from here on
Trainer(read_train_config(name, settings), folder + "/run", lambda line: None).run()
print(resident("VmHWM") - before)
"""


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    with ShardWriter(folder) as writer:
        for seed in range(2):
            writer.add(f"clip-{seed}", rendered(seed, 8, 144, 192))
    return folder


@pytest.mark.parametrize(
    "name", [n if n == "tiny-vae-field" else pytest.param(n, marks=pytest.mark.slow) for n in TINY]
)
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from Linux")
def test_memory_is_what_a_run_is_measured_to_take(name, videos, tmp_path, monkeypatch):
    published = read_train_config(name)
    largest = max((published.size, *published.other_sizes), key=lambda s: s[0] * s[1])
    settings = {
        "hub": str(tmp_path / "hub"),
        "sources": [{"path": str(videos)}],
        "validation": [{"path": str(videos)}],
        "validation_batches": 1,
        "size": largest,
        "other_sizes": [],
        "frames": [published.frames[1]] * 2,
        "steps": 2,
        "workers": 0,
        "tracker": "none",
    }
    settings |= {"latents": ""} if hasattr(published, "latents") else {}
    settings |= {"start": "config"} if published.start == "pretrained" else {}
    shutil.copytree(EMBEDDED, tmp_path / "hub")
    # Memory that is let go of goes back to the system, as the plan has it.
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = [sys.executable, "-c", MEASURED, name, json.dumps(settings), str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    measured = int(ran.stdout.split()[-1])
    plan = plan_of(read_train_config(name, settings), gpu=False)
    said = max(p.bytes for p in (plan.step, plan.validation, plan.encoding) if p is not None)
    print(f"{name}: said {said / 1e6:.0f} MB, measured {measured / 1e6:.0f} MB")
    assert said == pytest.approx(measured, rel=0.2)


def small(school, shards, **more):
    settings = {"stage": "vae", "hub": str(school), "sources": [{"path": str(shards)}], "size": [32, 48]}
    settings |= {"frames": [2, 2], "batch": 2, "steps": 1, "workers": 0, "tracker": "none"}
    return config_of(settings | more, "test")


def test_parameters_checkpoint_and_latents_are_what_a_run_leaves(school, shards, tmp_path):
    config = small(school, shards, stage="unet", latent_variants=2, layers="temporal", size=[64, 64])
    plan = plan_of(config)
    run = Trainer(config, tmp_path / "run", quiet)
    run.run()
    assert plan.trained == sum(p.numel() for p in run.stage.parameters() if p.requires_grad)
    assert plan.trained + plan.frozen == sum(p.numel() for p in run.stage.parameters())
    file = tmp_path / "run/checkpoints/step-000000001.pt"
    tensors = sum(t.numel() * t.element_size() for t in _tensors(torch.load(file)))
    assert plan.checkpoint == pytest.approx(tensors, rel=0.01)
    files = list((tmp_path / "run/latents").glob("*.safetensors"))
    assert plan.clips == 6 and len(files) == 12
    headers = 12 * 400
    assert plan.latents * plan.clips == pytest.approx(sum(f.stat().st_size for f in files), abs=headers)


def _tensors(state):
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, dict):
        for value in state.values():
            yield from _tensors(value)


@pytest.mark.parametrize("again", [False, True])
def test_arithmetic_is_what_a_step_is_counted_to_do(school, shards, tmp_path, again):
    config = small(school, shards, recompute=again)
    run = Trainer(config, tmp_path / "run", quiet)
    batch = next(iter(run._batches()))
    with FlopCounterMode(display=False) as counted:
        run._train_step(batch)
    assert plan_of(config, gpu=False).flops == pytest.approx(counted.get_total_flops(), rel=0.02)


def test_shards_are_a_part_and_copies_are_whole(school):
    config = read_train_config("paper-unet-deterministic", {"hub": str(school), "validation": [], "size": [64, 64]})
    config = replace(config, frames=(4, 4))
    alone, cut = plan_of(replace(config, batch=1)), plan_of(config, processes=8)
    copied = plan_of(replace(config, parallel="ddp"), processes=8)
    assert cut.step.kinds["weights"] == pytest.approx(alone.step.kinds["weights"] / 8, rel=0.01)
    assert copied.step.kinds["weights"] == alone.step.kinds["weights"]
    assert copied.step.bytes == pytest.approx(alone.step.bytes + alone.trained * 4, rel=0.01)


def test_a_plan_wants_neither_data_nor_weights(tmp_path, capsys):
    main(
        [
            "train",
            "vae",
            "paper-vae-video",
            "--plan",
            "--processes",
            "8",
            "--set",
            f'hub="{tmp_path}"',
            "--memory",
            "80",
        ]
    )
    said = capsys.readouterr().out
    assert "point_map_vae, autoencoder: as published" in said
    assert "fits GPUs of 80 GiB" in said


@pytest.mark.parametrize("name", [n if "vae" in n else pytest.param(n, marks=pytest.mark.slow) for n in PAPERS])
def test_the_papers_configurations_fit_and_say_what_they_need(name, tmp_path):
    text = (PUBLISHED / f"{name}.toml").read_text()
    said, others = re.search(r"# Each of 8 GPUs needs (\d+) GiB(.*)", text).groups()
    needed = plan_of(read_train_config(name, {"hub": str(tmp_path)}), processes=8).needed
    assert needed <= 79 * GIB  # what a card of 80 GB has
    assert int(said) == math.ceil(needed / GIB)
    for other, key, value in re.findall(r"; (\d+) GiB with (\w+) = (\[.*?\]|\w+)", others):
        changes = tomllib.loads(f"{key} = {value}")
        with_it = plan_of(read_train_config(name, {"hub": str(tmp_path)} | changes), processes=8).needed
        assert int(other) == math.ceil(with_it / GIB)
        said = other
    assert int(said) <= 24


def test_plans_ask_nothing_of_pytorch_that_only_some_versions_answer(tmp_path, monkeypatch):
    def refused(tensor, *args, **kwargs):
        raise RuntimeError(".numpy() is not supported for tensor subclasses.")

    for way in ("numpy", "__array__"):
        monkeypatch.setattr(FakeTensor, way, refused, raising=False)
    settings = {"hub": str(tmp_path), "size": [64, 64], "frames": [2, 2], "validation": []}
    for stage in ("deterministic", "diffusion"):
        plan = plan_of(read_train_config(f"paper-unet-{stage}", settings), processes=8)
        assert plan.needed > 0 and "prior" in plan.published  # which solves for the camera
    with replay(gpu=True):
        assert np.asarray(torch.ones(2, 3), np.float64).shape == (2, 3)
        assert torch.ones(2, 3).numpy(force=True).dtype == np.float32


@pytest.mark.parametrize("frames", [*range(22, 35, 3), 64])
def test_of_many_chunks_of_one_shape_few_are_worked_through(frames):
    calls = []

    def network(maps):
        calls.append(len(maps))
        wide = torch.nn.functional.conv2d(maps, maps.new_empty(16, 3, 3, 3))
        return (wide * wide).mean(1, keepdim=True)

    def of_clip(standing):
        with replay(gpu=True) as ledger, standing(ledger.repeated), torch.no_grad():
            shape = framewise(network, torch.empty(frames, 3, 20, 20)).shape
            return shape, ledger.peak, ledger.flops

    whole = of_clip(lambda repeat: contextlib.nullcontext())
    assert sum(calls) == frames
    del calls[:]
    assert of_clip(standing_for_others) == whole and len(calls) <= 3 and whole[2] > 0


def test_what_a_plan_names_fits(tmp_path):
    config = read_train_config("paper-vae-video", {"hub": str(tmp_path), "recompute": False, "validation": []})
    plan = plan_of(config, processes=8)
    assert plan.needed > 24 * GIB
    changes, other = remedy(plan, 24 * GIB)
    assert "frames" not in changes
    assert plan_of(replace(config, **changes), processes=8).needed == other.needed <= 24 * GIB


@pytest.mark.parametrize("name", ["prior", "autoencoder"])
def test_stages_of_the_embedded_model_can_be_planned(school, shards, name):
    plan = plan_of(small(school, shards, stage=name, frames=[1, 1]))
    assert plan.trained > 0 and plan.step.kinds["activations"] > 0


def test_where_nothing_helps_that_is_said_and_what_is_tried_is_counted(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("geometrycrafter.cli.progress.SECONDS", 0.0)
    main(["train", "vae", "tiny-vae-field", "--plan", "--set", f'hub="{EMBEDDED}"', "--memory", "0.1"])
    said = capsys.readouterr()
    assert "too small, whatever" in said.out
    counted = [int(n) for n in re.findall(r"^plans (\d+) ", said.err, re.M)]
    assert counted == [0, 1, *range(1, len(counted) - 1)] and len(counted) > 3


def test_a_batch_that_can_t_be_shared_names_one_that_can(capsys):
    plan = ["train", "prior", "tiny-prior", "--plan", "--processes", "8"]
    for parts in ([], ["--set", "accumulate=2"]):
        assert main([*plan, *parts]) == 2
        batch = int(re.search(r"--set batch=(\d+)", capsys.readouterr().err)[1])
        assert batch % (8 * (1 + bool(parts))) == 0
        again = [*plan, *parts, "--set", f"batch={batch}"]
        assert main(again) == 0 or "share" not in capsys.readouterr().err


def test_no_folder_is_told_where_it_is_to_train(capsys):
    assert main(["train", "vae", "tiny-vae"]) == 2
    assert "-o" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--memory", "--processes"])
def test_a_plans_flags_without_it_begin_no_training(flag, tmp_path, capsys):
    assert main(["train", "vae", "tiny-vae", "-o", str(tmp_path / "run"), flag, "8"]) == 2
    assert "add it, or leave them out" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
