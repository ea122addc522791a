"""Checkpoints that are written while training goes on: nothing waits for the disk, nothing is torn, nothing is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from school import PROGRAM, command_line, config, pair, quiet

from geometrycrafter.errors import Stopped
from geometrycrafter.training.checkpointing import Checkpoints
from geometrycrafter.training.config import PUBLISHED, read_train_config
from geometrycrafter.training.trainer import Trainer

SLOW = """
import os, time, torch
ordinary = torch.save
def slow(state, file):
    if state["step"] == {step}:
        ordinary(state, file)
        file.truncate(file.tell() // 2)  # a part of it is on the disk
        open("torn", "w").close()
        time.sleep({seconds})
        file.seek(0)
    ordinary(state, file)
torch.save = slow
"""


def bits(state: dict[str, Any]) -> list[torch.Tensor]:
    """Everything that a run has come to."""
    return [*state["network"].values(), *(v for own in state["optimizer"].values() for v in own.values())]


def test_training_goes_on_while_a_slow_disk_writes(school, shards, tmp_path, monkeypatch):
    """The disk here takes the first checkpoint only when three more steps are done."""
    settings = config(school, shards, start="config", steps=8, validation=[], checkpoint_every=4, keep=9)
    run = Trainer(settings, tmp_path / "run", quiet)
    ordinary, write, later = run._train_step, torch.save, threading.Event()
    freed: list[bool] = []

    def stepped(batch):
        if run.state.step == 7:
            later.set()
        return ordinary(batch)

    def slow(state, file):
        if state["step"] == 4:
            freed.append(later.wait(60))
        write(state, file)

    run._train_step = stepped
    monkeypatch.setattr(torch, "save", slow)
    run.run()
    assert freed == [True]
    store = Checkpoints(tmp_path / "run" / "checkpoints", 9)
    assert store.steps() == [4, 8]
    # What is written late is the state as it was, not as it has become.
    monkeypatch.undo()
    other = Trainer(replace(settings, steps=4), tmp_path / "other", quiet)
    other.run()
    stored = store.read(4)["network"]
    assert all(torch.equal(v, stored[k]) for k, v in other.state.network.state_dict().items())


def test_a_run_that_is_killed_while_it_writes_comes_to_the_same_bits(school, shards, tmp_path):
    settings = config(school, shards, start="config", steps=6, validation=[], checkpoint_every=2)
    commands = [command_line(settings, tmp_path / name, tmp_path / f"{name}.toml") for name in ("whole", "cut")]
    subprocess.run([*PROGRAM, *commands[0]], check=True, stdout=subprocess.DEVNULL)
    script = SLOW.format(step=4, seconds=60) + f"from geometrycrafter.cli.main import main; main({commands[1]})"
    with subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.DEVNULL) as killed:
        while killed.poll() is None and not (tmp_path / "torn").exists():
            time.sleep(0.02)
        killed.kill()
    folder = tmp_path / "cut" / "checkpoints"
    assert any(p.suffix == ".tmp" for p in folder.iterdir())  # it was in the middle of it
    store = Checkpoints(folder, 2)
    assert store.steps() == [2] and store.load()["step"] == 2
    done = subprocess.run([*PROGRAM, *commands[1]], check=True, capture_output=True, text=True)
    assert "going on from step 2" in done.stdout
    whole = Checkpoints(tmp_path / "whole" / "checkpoints", 2)
    for one, other in zip(bits(store.read(6)), bits(whole.read(6)), strict=True):
        assert torch.equal(one, other)
    assert [p.name for p in folder.iterdir() if p.suffix == ".tmp"] == []


def test_a_run_that_is_stopped_while_it_writes_ends_with_both_checkpoints(school, shards, tmp_path, monkeypatch):
    run = Trainer(config(school, shards, steps=50, validation=[], checkpoint_every=2), tmp_path / "run", quiet)
    ordinary, write = run._train_step, torch.save

    def stepped(batch):
        if run.state.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return ordinary(batch)

    def slow(state, file):
        time.sleep(0.3)
        write(state, file)

    run._train_step = stepped
    monkeypatch.setattr(torch, "save", slow)
    with pytest.raises(Stopped, match="step 3 of 50"):
        run.run()
    assert run.checkpoints.steps() == [2, 3] and run.checkpoints.load()["step"] == 3


def test_an_error_in_training_does_not_take_the_checkpoint_that_is_on_its_way(school, shards, tmp_path, monkeypatch):
    run = Trainer(config(school, shards, steps=50, validation=[], checkpoint_every=2), tmp_path / "run", quiet)
    ordinary, write = run._train_step, torch.save

    def stepped(batch):
        if run.state.step == 2:
            raise RuntimeError("out of memory")
        return ordinary(batch)

    def slow(state, file):
        time.sleep(0.3)
        write(state, file)

    run._train_step = stepped
    monkeypatch.setattr(torch, "save", slow)
    with pytest.raises(RuntimeError, match="out of memory"):
        run.run()
    assert Checkpoints(tmp_path / "run" / "checkpoints", 2).load()["step"] == 2


def test_a_full_disk_ends_the_run_with_what_the_system_says(school, shards, tmp_path):
    """A real limit on the size of files, in the place of a full disk; two processes, and one of them writes."""
    command_line(
        config(school, shards, steps=500, validation=[], checkpoint_every=2, tracker="none"),
        tmp_path / "run",
        tmp_path / "train.toml",
    )
    script = """
import resource, signal
from geometrycrafter.errors import WriteError
from geometrycrafter.training.config import read_train_config
from geometrycrafter.training.trainer import Trainer
run = Trainer(read_train_config("train.toml"), "run")
step = run._train_step
def limited(batch):
    if run.state.step == 2 and RANK == 0:
        run.checkpoints.wait()
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, resource.RLIM_INFINITY))
    return step(batch)
run._train_step = limited
try:
    run.run()
except WriteError as error:
    print("REFUSED", error)
"""
    found = pair(script, tmp_path, timeout=60)
    said = [re.findall("^REFUSED.*$", text, re.M) for _, text in found]
    assert said[0] and said[0] == said[1], found
    assert "step-000000004" in said[0][0] and "File too large" in said[0][0], said
    assert Checkpoints(tmp_path / "run" / "checkpoints", 2).load()["step"] == 2


def test_the_last_checkpoint_is_tried_though_the_one_before_failed(school, shards, tmp_path, monkeypatch):
    run = Trainer(config(school, shards, steps=3, validation=[], checkpoint_every=2), tmp_path / "run", quiet)
    write = torch.save

    def full(state, file):
        if state["step"] == 2:
            time.sleep(0.2)
            raise OSError(28, "No space left on device")
        write(state, file)

    monkeypatch.setattr(torch, "save", full)
    run.run()
    assert run.checkpoints.steps() == [3]


def test_one_process_alone_holds_what_is_written(school, shards, tmp_path):
    command_line(
        config(school, shards, stage="unet", steps=2, validation=[], parallel="fsdp", ema=0.9),
        tmp_path / "run",
        tmp_path / "train.toml",
    )
    script = """
import torch
from geometrycrafter.training.config import read_train_config
from geometrycrafter.training.trainer import Trainer
run = Trainer(read_train_config("train.toml"), "run")
run.run()
def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for v in value.values() for t in tensors(v)] if isinstance(value, dict) else []
plain = run.state.plain(0.0)
plain.pop("random")
print("HELD", sum(t.numel() for t in tensors(plain)), sum(t.numel() for t in run.state.trained().values()))
"""
    found = pair(script, tmp_path, timeout=90)
    assert [status for status, _ in found] == [0, 0], found
    held = [[int(n) for n in re.findall(r"^HELD (\d+) (\d+)$", text, re.M)[0]] for _, text in found]
    stored = Checkpoints(tmp_path / "run" / "checkpoints", 2).load()
    count = sum(v.numel() for v in stored["network"].values())
    assert held[0][0] > 3 * count and held[0][1] == count
    assert held[1] == [0, 0]


def test_the_papers_runs_keep_a_checkpoint_an_hour():
    for file in sorted(PUBLISHED.glob("paper-*.toml")):
        found = read_train_config(file)
        assert (found.checkpoint_every, found.checkpoint_seconds) == (0, 3600), file.name


def test_a_state_is_read_without_a_copy_of_it(tmp_path):
    """Eight processes that go on with a checkpoint of 18 GB share what the system has read of it."""
    store = Checkpoints(tmp_path, keep=1)
    store.save(1, {"step": 1, "weights": torch.zeros(2**25)}, False)
    script = f"""
import resource
from pathlib import Path
from geometrycrafter.training.checkpointing import Checkpoints
def anonymous():
    return int(next(l for l in open("/proc/self/status") if l.startswith("RssAnon")).split()[1]) * 1024
store = Checkpoints(Path({str(tmp_path)!r}), 1)
before = anonymous()
state = store.load()
print(anonymous() - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) < 2**25, done.stdout  # it has 2**27 bytes
