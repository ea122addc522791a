"""Fine-tuning on one's own recording: what is held out, what is kept, and where it begins."""

from __future__ import annotations

import filecmp
import functools
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from school import config, quiet, weights

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.data.clip import Clip
from geometrycrafter.data.shards import Shards, ShardWriter
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.errors import InputError, Stopped
from geometrycrafter.training.config import read_train_config
from geometrycrafter.training.furnishing import fill
from geometrycrafter.training.sampling import held_out, learned
from geometrycrafter.training.trainer import Trainer
from geometrycrafter.video.pictures import write_png

SIZE = (32, 48)


@functools.lru_cache
def walk() -> Clip:
    return rendered(60_000_003, 20, *SIZE)


def recorded(folder, frames: int = 20, change=lambda clip: clip):
    """Shards of one clip, as a recording's are: nothing is known of the sky."""
    clip = replace(walk()[:frames], sky=None)
    with ShardWriter(folder, quality=101) as writer:
        writer.add("mine", change(clip))
    return folder


def settings(hub, shards, **changes):
    values = {
        "base": "",
        "hub": str(hub),
        "sources": [{"path": str(shards)}],
        "size": list(SIZE),
        "batch": 2,
        "workers": 0,
        "tracker": "none",
        "precision": "float32",
    }
    return read_train_config("finetune-prior", values | changes, "prior")


@given(st.integers(1, 500), st.floats(0, 0.9))
def test_what_is_held_out_is_never_learned_from_nor_its_neighbours(length, share):
    held, known = held_out(length, share), learned(length, share)
    assert 1 <= known <= length
    if held:
        assert held.stop == length and abs(len(held) - length * share) <= 0.5
        assert held.start - known >= len(held) / 4
    else:
        assert known == length


def test_samples_of_a_run_have_no_frame_that_is_held_out(tmp_path, school):
    def numbered(clip):
        return replace(clip, frames=np.stack([np.full_like(f, 10 * t) for t, f in enumerate(clip.frames)]))

    shards = recorded(tmp_path / "mine", change=numbered)
    made = settings(school, shards, steps=40, augmentation={"photographic": False})
    trainer = Trainer(made, tmp_path / "run", quiet)
    seen, judged = (
        {round(f.float().mean().item()) // 10 for batch in batches for f in batch["frames"].flatten(0, 1)}
        for batches in (trainer._batches(), trainer._validation())
    )
    assert judged == {16, 17, 18, 19}
    assert seen == set(range(15))  # and frame 15 is a neighbour of both


def test_a_run_that_makes_nothing_better_gives_back_the_weights_that_it_began_with(tmp_path, school):
    said: list[str] = []
    before = weights(school, "prior")
    shards = recorded(tmp_path / "mine")
    made = settings(school, shards, steps=9, validate_every=1, patience=2, rate=9.0, warmup=0)
    Trainer(made, tmp_path / "run", said.append).run()
    after = weights(school, "prior")
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert any("the weights stay as they were" in line for line in said)
    assert not any("validation at step 3" in line for line in said)  # its patience ended before


def test_a_run_that_helps_is_kept_at_its_best_and_leaves_what_is_frozen(tmp_path, school):
    before = weights(school, "prior")
    shards = recorded(tmp_path / "mine")
    made = settings(school, shards, steps=6, validate_every=2, rate=3e-3, warmup=0, ema=0.5, camera="keep")
    scores = Trainer(made, tmp_path / "run", quiet).run()
    after = weights(school, "prior")
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    still = {name for name in before if name.startswith(("trunk.", "context.", "field."))}
    assert still <= same < set(before)
    again = Trainer(made, tmp_path / "again", quiet)  # begins where that one ended
    assert again.validate()["point_rel"] == pytest.approx(scores["point_rel"], rel=1e-5)


def test_a_run_that_was_stopped_chooses_the_same_weights(tmp_path, school):
    shards = recorded(tmp_path / "mine")
    other = shutil.copytree(school, tmp_path / "other")
    changes = {"steps": 4, "validate_every": 1, "patience": 2, "rate": 3e-3, "ema": 0.5, "batch": 1}
    Trainer(settings(school, shards, **changes), tmp_path / "straight", quiet).run()

    stopped = settings(other, shards, **changes)
    trainer = Trainer(stopped, tmp_path / "stopped", quiet)
    judge = trainer.state.judge

    def killed(scores):
        judge(scores)
        if trainer.state.step == 2:
            trainer._save(scores, 0.0, True)
            raise Stopped("killed", 15)

    trainer.state.judge = killed
    with pytest.raises(Stopped):
        trainer.run()
    Trainer(stopped, tmp_path / "stopped", quiet).run()
    one, two = weights(school, "prior"), weights(other, "prior")
    assert all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.parametrize("factor", [1000.0, 0.001])
def test_a_recording_in_another_unit_is_refused_before_the_first_step(tmp_path, school, factor):
    shards = recorded(tmp_path / "mine", change=lambda clip: replace(clip, depth=clip.depth * np.float32(factor)))
    with pytest.raises(InputError, match="--unit"):
        Trainer(settings(school, shards), tmp_path / "run", quiet).run()


def test_a_recording_that_is_too_short_to_hold_frames_out_is_refused(tmp_path, school):
    shards = recorded(tmp_path / "mine", frames=2)
    with pytest.raises(InputError, match=r"hold_out 0\.2: no clip of .*mine is long enough"):
        Trainer(settings(school, shards), tmp_path / "run", quiet).run()


def test_a_recording_that_knows_no_depth_where_it_is_judged_is_refused(tmp_path, school):
    def change(clip):
        return replace(clip, depth=clip.depth * (np.arange(20) < 16)[:, None, None].astype(np.float32))

    with pytest.raises(InputError, match=r"hold_out 0\.2: no depth is known"):
        Trainer(settings(school, recorded(tmp_path / "mine", change=change)), tmp_path / "run", quiet).run()


def test_a_run_whose_hub_was_deleted_puts_its_network_there_again(tmp_path, school):
    hub, shards = tmp_path / "mine-hub", recorded(tmp_path / "mine")
    made = settings(hub, shards, base=str(school), steps=1, validate_every=1, rate=3e-3, warmup=0)
    Trainer(made, tmp_path / "run", quiet).run()
    trained = weights(hub, "prior")
    shutil.rmtree(hub)
    Trainer(made, tmp_path / "run", quiet).run()
    assert not all(torch.equal(value, trained[name]) for name, value in weights(school, "prior").items())
    assert all(torch.equal(value, trained[name]) for name, value in weights(hub, "prior").items())


def test_clips_that_a_run_renders_are_there_before_it_and_are_no_judges(tmp_path, school):
    shards = recorded(tmp_path / "mine")
    places = [{"path": str(shards)}, {"path": str(tmp_path / "made"), "rendered": 2}]
    trainer = Trainer(settings(school, shards, sources=places, steps=1), tmp_path / "run", quiet)
    made = Shards(tmp_path / "made")
    assert 1 <= len(made) <= 2 and made.read(0).frames.shape[1:3] == SIZE
    assert len(list(trainer._validation())) == 1


def test_a_hub_is_filled_from_the_embedded_model_with_what_it_lacks(tmp_path, school):
    hub = tmp_path / "mine"
    shutil.copytree(school / "prior", hub / "prior")
    fill(hub, "tiny")
    assert filecmp.cmp(hub / "prior" / "model.safetensors", school / "prior" / "model.safetensors", shallow=False)
    assert gc.load(hub) is not None
    assert sorted(p.name for p in (hub / "GeometryCrafter").iterdir()) == ["point_map_vae", "unet_determ"]


def test_a_disk_that_fills_up_with_a_hub_is_told_in_a_sentence(tmp_path, school):
    code = f"""
import resource
from pathlib import Path
from geometrycrafter.errors import InputError
from geometrycrafter.training.furnishing import fill
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
try:
    fill(Path("mine"), {str(school)!r})
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout == "mine: writing failed (File too large); make room, or name another hub.\n"


def test_what_lies_in_a_hub_stays_when_it_is_filled(tmp_path, school):
    (tmp_path / "mine" / "prior").mkdir(parents=True)
    (tmp_path / "mine" / "prior" / "config.json").write_text("{}")  # of a network that is to be born
    assert "prior" not in fill(tmp_path / "mine", str(school))
    assert [p.read_text() for p in (tmp_path / "mine" / "prior").iterdir()] == ["{}"]


def test_settings_that_can_not_be_together_are_refused(school, shards):
    for changes in ({"hold_out": 0.2}, {"patience": 2, "validation": []}):
        with pytest.raises(InputError, match=next(iter(changes))):
            config(school, shards, stage="prior", **changes)


def test_a_recording_in_millimetres_that_are_read_as_metres_is_told_how_to_say_so(tmp_path, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    for t in range(3):
        write_png(folder / f"{t}.color.png", np.full((24, 32, 3), 90, np.uint8))
        np.save(folder / f"{t}.depth.npy", np.full((24, 32), 1500.0 + t, np.float32))
    (folder / "camera.txt").write_text("30 30 15.5 11.5")
    command = ["data", "prepare", "folder", str(folder), str(tmp_path / "shards")]
    assert main(command) == 2
    assert "1,501 m; say with --unit" in capsys.readouterr().err
    assert main([*command, "--unit", "0.001"]) == 0
    assert np.allclose(Shards(tmp_path / "shards").read(0).depth[2], 1.502, rtol=1e-3)


@pytest.mark.parametrize("kind", ["holes", "sparse", "still"])
def test_depth_with_holes_or_a_lidars_and_frames_that_are_all_the_same_never_make_it_worse(tmp_path, school, kind):
    def change(clip):
        rng = np.random.default_rng(0)
        if kind == "still":
            return replace(clip, **{k: np.repeat(v[:1], len(clip), axis=0) for k, v in clip.arrays().items()})
        depth = clip.depth.copy()
        if kind == "sparse":
            depth[rng.random(depth.shape) > 0.02] = 0
        else:
            depth[:, :, 10:30] = 0
            depth[4:8] = 0  # frames of which nothing is known
        return replace(clip, depth=depth)

    made = settings(school, recorded(tmp_path / "mine", change=change), steps=2, validate_every=1, rate=1e-2, warmup=0)
    before = Trainer(made, tmp_path / "before", quiet).validate()["point_rel"]
    after = Trainer(made, tmp_path / "run", quiet).run()["point_rel"]
    assert np.isfinite(after) and after <= before
    assert all(value.isfinite().all() for value in weights(school, "prior").values())


def test_a_configuration_without_its_hub_says_how_one_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["train", "prior", "tiny-prior", "-o", "runs/prior"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "runs/tiny/hub" in said and "--set base=tiny" in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())
    assert main([*command, "--set", "base=tiny", "--set", "start=hub"]) == 2
    assert "runs/tiny/stills" in capsys.readouterr().err, "with the remedy it is the clips that are missing"
