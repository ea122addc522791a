"""What a run will need later is looked at before its first step, and told in a sentence."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch
from school import command_line, config, quiet

from geometrycrafter.cli.main import main
from geometrycrafter.data.shards import Shards
from geometrycrafter.training.trainer import Trainer
from geometrycrafter.weights.parts import PARTS


def cut_short(folder):
    """Take the end of the last clip away, which this run would never draw or draw late."""
    tar = next(folder.glob("*.tar"))
    os.truncate(tar, tar.stat().st_size * 9 // 10)
    return tar.name


def damaged(folder):
    """As long as before, but without its pictures."""
    for tar in folder.glob("*.tar"):
        tar.write_bytes(bytes(tar.stat().st_size))
    return "clip-"


def without_clips(folder):
    for index in folder.glob("*.json"):
        index.write_text(json.dumps(json.loads(index.read_text()) | {"clips": []}))
    return "no shards"


def file_at(*names):
    def fault(folder):
        place = folder.joinpath(*names)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("")
        return names[-1]

    return fault


def folder_at(*names):
    def fault(folder):
        place = folder.joinpath(*names)
        place.unlink(missing_ok=True)
        (place / "x").mkdir(parents=True)
        return names[-1]

    return fault


FAULTS = {
    "a source's shard is cut short": ("clips", cut_short),
    "a validation's shard is cut short": ("judged", cut_short),
    "a validation's clips are damaged": ("judged", damaged),
    "a validation has no clips": ("judged", without_clips),
    "a file is where pictures go": ("run", file_at("pictures")),
    "a folder is where the log goes": ("run", folder_at("log.jsonl")),
    "a folder is where the note goes": ("run", folder_at("exported.json")),
    "a folder is where the network goes": (
        "hub",
        folder_at(PARTS["point_map_vae"].folder, f"{PARTS['point_map_vae'].stem}.safetensors"),
    ),
}


@pytest.fixture
def refused(school, shards, tmp_path, monkeypatch, capsys):
    """Runs it and returns the sentence by which it is refused, no step having been made."""
    for name in ("clips", "judged"):
        shutil.copytree(shards, tmp_path / name)
    steps = []
    monkeypatch.setattr(Trainer, "_train_step", lambda self, batch: steps.append(1) or {"loss": 1.0})

    def call(**changes):
        values = {"start": "config", "steps": 2, "validate_every": 2, "tracker": "none"} | changes
        settings = config(school, tmp_path / "clips", validation=[{"path": str(tmp_path / "judged")}], **values)
        capsys.readouterr()
        assert main(command_line(settings, tmp_path / "run", tmp_path / "c.toml")) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and len(said.splitlines()) == 1, said
        assert not steps
        assert not list((tmp_path / "run" / "checkpoints").glob("*"))
        return said

    return call


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_told_before_the_first_step(fault, refused, tmp_path):
    place, make = FAULTS[fault]
    named = make(tmp_path / place)
    assert named in refused()


def test_a_disk_without_room_for_the_checkpoints_is_told(refused, school, shards, tmp_path, monkeypatch):
    """The size is foreseen: it is that of the file which a run of these settings writes."""
    Usage = namedtuple("Usage", "total used free")
    run = Trainer(config(school, shards, steps=1, validation=[], tracker="none"), tmp_path / "other", quiet)
    foreseen = run.state.nbytes()
    state = run.state
    for parameter in state.parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    state.optimizer.step()
    run.checkpoints.save(1, state.plain(0.0), False)
    written = run.checkpoints.path(1).stat().st_size
    assert 0.3 * written < foreseen < 1.05 * written  # these networks are so small that names and headers count
    for free, fits in ((3 * foreseen - 1, False), (5 * foreseen, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda place, free=free: Usage(free, 0, free))
        if not fits:
            said = refused(keep=2)
            assert "checkpoints of" in said and "lower keep" in said
        else:
            fitting = config(school, shards, steps=2, validation=[], tracker="none", start="config")
            Trainer(fitting, tmp_path / "fits", quiet).run()


def test_a_disk_without_room_for_latents_is_told_after_the_first_clip(refused, monkeypatch, tmp_path):
    Usage = namedtuple("Usage", "total used free")

    def usage(place):
        free = 30_000 if str(place).endswith("latents") else 10**12
        return Usage(free, 0, free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    said = refused(stage="unet", latent_variants=4)
    assert "stored latents take" in said and "lower latent_variants" in said
    assert len(list((tmp_path / "run" / "latents").glob("*.safetensors"))) == 1


def test_a_tracker_that_fails_is_told(refused, monkeypatch):
    class UsageError(Exception):
        pass

    def init(**settings):
        raise UsageError("api_key not configured (no-tty)\ncall wandb.login()")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    said = refused(tracker="wandb")
    assert "api_key not configured" in said and "set tracker to 'none'" in said


def test_curves_that_can_not_be_kept_are_told(refused, tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").write_text("")
    assert "tracker 'tensorboard' can't be opened" in refused(tracker="tensorboard")


def test_a_run_that_skips_what_is_broken_begins_with_a_shard_that_is_cut_short(school, shards, tmp_path):
    clips = shutil.copytree(shards, tmp_path / "clips")
    cut_short(clips)
    assert [p.suffix for p in Shards(clips).cut_short()] == [".tar"] and Shards(shards).cut_short() == []
    settings = config(school, clips, steps=2, validation=[], broken="skip", tracker="none")
    Trainer(settings, tmp_path / "run", quiet).run()


def test_a_finished_run_asks_for_nothing(school, shards, tmp_path):
    """Its shards may be gone, its disk be full."""
    clips = shutil.copytree(shards, tmp_path / "clips")
    settings = config(school, clips, steps=1, validation=[], tracker="none")
    Trainer(settings, tmp_path / "run", quiet).run()
    shutil.rmtree(clips)
    said: list[str] = []
    Trainer(settings, tmp_path / "run", said.append).run()
    assert said[-1].startswith("finished; nothing to do")
