"""Training runs and what befalls them: signals, second runs, full disks, NaN, errors of one process among several."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from school import PROGRAM, command_line, config, pair, quiet, weights

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.errors import InputError, Stopped, WriteError
from geometrycrafter.networks.point_map_vae import PointMapVAE
from geometrycrafter.networks.prior_network import PriorNetworkConfig
from geometrycrafter.settings import kinds_of
from geometrycrafter.training import trainer
from geometrycrafter.training.checkpointing import Checkpoints
from geometrycrafter.training.config import CONFIGS, Source, as_plain, config_of, read_train_config, stored_config_of
from geometrycrafter.training.latents import LatentSamples
from geometrycrafter.training.stages import stage_of
from geometrycrafter.training.state import TrainingState
from geometrycrafter.training.trainer import Trainer
from geometrycrafter.weights.checkpoints import read_tensors
from geometrycrafter.weights.parts import PARTS, save_part

NUMBERS = st.one_of(st.floats(), st.integers(-(10**20), 10**20))
LEAST = {"hub": "h", "size": [32, 32], "steps": 1, "batch": 1, "sources": [{"path": "s"}]}


# Configurations -----------------------------------------------------------------------------------------------


@given(st.sampled_from(sorted(CONFIGS)), st.data())
def test_every_number_of_a_configuration_has_a_range(stage, data):
    """NaN, infinite, negative and absurd numbers are refused wherever one can be given; the message names the key."""
    key = data.draw(st.sampled_from(sorted(kinds_of(CONFIGS[stage]))))
    bad = data.draw(st.sampled_from([float("nan"), float("inf"), -1e12, 10**20]))
    default = as_plain(config_of(LEAST | {"stage": stage}, "c"))[key]
    if isinstance(default, bool) or not isinstance(default, int | float):
        return
    with pytest.raises(InputError, match=rf"^c: {key} "):
        config_of(LEAST | {"stage": stage, key: bad}, "c")


@given(NUMBERS)
def test_a_tables_numbers_have_ranges_too(value):
    for table, key in (("augmentation", "zoom"), ("losses", "normals")):
        try:
            found = config_of(LEAST | {"stage": "vae", table: {key: value}}, "c")
        except InputError as error:
            assert key in str(error)
        else:
            assert 0 <= getattr(getattr(found, table), key) <= 1e9


@pytest.mark.parametrize(
    ("stage", "key", "value"),
    [
        ("prior", "latent_noise", 0.1),
        ("prior", "latent_variants", 1),
        ("autoencoder", "losses", {}),
        ("unet", "measure_scale", True),
        ("vae", "own_start", 0.5),
        ("vae", "variant", "diffusion"),
        ("unet", "trunk_rate", 0.1),
    ],
)
def test_a_setting_of_another_stage_is_none(stage, key, value):
    with pytest.raises(InputError, match=f"{key} is no setting"):
        config_of(LEAST | {"stage": stage, key: value}, "c")


def test_a_value_on_the_command_line_reaches_into_tables_and_is_checked(school, shards, tmp_path, capsys):
    file = tmp_path / "c.toml"
    file.write_text(
        "stage = 'vae'\nhub = 'h'\nsize = [32, 32]\nsteps = 1\nbatch = 1\n"
        "sources = [{path = 's'}]\naugmentation = {zoom = 1.5, mirror = true}\n"
    )
    found = read_train_config(file, {"augmentation": {"zoom": 2}})
    assert (found.augmentation.zoom, found.augmentation.mirror) == (2.0, True)
    for change, named in (
        ("rate=nan", "rate nan"),
        ("augmentation.zoom=-1", "zoom -1"),
        ("steps", "give KEY=VALUE"),
        ("=3", "give KEY=VALUE"),
        ("steps=", "give KEY=VALUE"),
        ("rates=1", "rates is no setting"),
    ):
        try:
            status = main(["train", "vae", str(file), "-o", str(tmp_path / "run"), "--set", change])
        except SystemExit as left:
            status = left.code
        assert status == 2
        said = capsys.readouterr().err
        assert named in said and "Traceback" not in said and len(said.splitlines()) == 1, said
    assert not (tmp_path / "run").exists()


def test_a_run_of_the_program_before_goes_on(school, shards, tmp_path):
    """It saved the settings of all stages with each run; those of others had no meaning and have none now."""
    Trainer(config(school, shards, stage="autoencoder", steps=1), tmp_path / "run", quiet).run()
    file = tmp_path / "run" / "config.json"
    stored = json.loads(file.read_text())
    former = {"trunk_rate": 1.0, "variant": "deterministic", "latent_noise": 0.0, "losses": {"depth": 1.0}}
    former |= {"log_sigma": [0.7, 1.6], "widen_from": "", "latents": "", "temporal_loss": 0.0}
    file.write_text(json.dumps(stored | former))
    Trainer(config(school, shards, stage="autoencoder", steps=2), tmp_path / "run", quiet).run()
    assert json.loads(file.read_text()) == stored | {"steps": 2}
    with pytest.raises(InputError, match="learning_rate is no setting"):
        stored_config_of(stored | {"learning_rate": 1}, "c")


# Data --------------------------------------------------------------------------------------------------------


def test_training_sees_the_prior_as_inference_does(school, monkeypatch):
    """What is encoded of the prior's maps, which are larger than the frames here, is the same for the same frames."""
    sizes = PriorNetworkConfig(widths=(8, 8, 8, 8, 16, 16), pixels=128 * 256)
    torch.manual_seed(0)
    save_part("prior", school, PARTS["prior"].network(sizes).state_dict(), sizes, {})
    heard: list[tuple[torch.Tensor, ...]] = []
    encode = PointMapVAE.encode
    monkeypatch.setattr(PointMapVAE, "encode", lambda self, svd, *maps: heard.append(maps) or encode(self, svd, *maps))
    clip = rendered(1, 2, 64, 128)
    stage = stage_of(config_of(LEAST | {"stage": "unet", "hub": str(school), "size": [64, 128]}, "c"))
    assert min(stage.prior.frame_size(64, 128)) > 64
    pictures = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float() / 255
    stage.latents({"frames": pictures, "depth": torch.from_numpy(clip.depth), "half_field": torch.ones(2, 2)})
    gc.load(school, "deterministic")(clip.frames, size=(64, 128))
    for trained, run in zip(heard[0], heard[-1], strict=True):
        torch.testing.assert_close(trained, run, rtol=1e-4, atol=1e-5)


# Places that are not as they should be ------------------------------------------------------------------------


def test_bad_places_are_one_sentence(school, shards, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.toml").mkdir()
    good = command_line(config(school, shards), tmp_path / "run", tmp_path / "c.toml")
    lost = command_line(config(school, shards, hub=str(tmp_path / "nowhere")), tmp_path / "r", tmp_path / "d.toml")
    for arguments, named in (
        ([*good[:-1], "/proc/x"], "/proc/x"),
        ([*good[:-1], str(tmp_path / "file")], "this is a file"),
        ([*good[:-1], str(tmp_path / "file" / "run")], "file"),
        ([*good[:2], str(tmp_path / "folder.toml"), *good[3:]], "folder.toml"),
        (lost, "nowhere"),
        ([good[0], "unet", *good[2:]], "trains vae, not unet"),
    ):
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert named in said and said.startswith("error: ") and len(said.splitlines()) == 1, said


@pytest.mark.parametrize("fault", ["hub", "sources", "rate"])
def test_a_start_that_failed_leaves_room_for_the_corrected_one(fault, school, shards, tmp_path, monkeypatch):
    """Before the first checkpoint there is nothing that another configuration could spoil."""
    right = config(school, shards, steps=1, validation=[])
    wrong = {
        "hub": replace(right, hub=str(tmp_path / "nowhere")),
        "sources": replace(right, sources=(Source(str(tmp_path / "nowhere")),)),
        "rate": replace(right, rate=9.0, steps=99),
    }[fault]
    with monkeypatch.context() as patch:
        if fault == "rate":
            patch.setattr(trainer, "MOST_BAD_STEPS", 0)
            patch.setattr(TrainingState, "clip_gradient", lambda self: float("nan"))
        with pytest.raises(InputError):
            Trainer(wrong, tmp_path / "run", quiet).run()
    Trainer(right, tmp_path / "run", quiet).run()
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == as_plain(right)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path):
    """A real limit on the size of files, in the place of a full disk."""
    store = Checkpoints(tmp_path, keep=1)
    store.save(1, {"step": 1}, True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
        with pytest.raises(WriteError, match="step-000000002"):
            store.save(2, {"step": 2, "weights": torch.zeros(2**17)}, True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert store.load() == {"step": 1}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.pt", "step-000000001.pt"]


def test_the_best_checkpoint_needs_no_hard_links(tmp_path, monkeypatch):
    def refused(*names):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    store = Checkpoints(tmp_path, keep=1)
    for step, best in ((1, True), (2, False)):
        store.save(step, {"step": step}, best)
    assert torch.load(tmp_path / "best.pt", weights_only=True)["step"] == 1
    assert store.steps() == [2]


# One writer ---------------------------------------------------------------------------------------------------


def test_a_second_run_in_a_folder_is_refused_and_a_dead_ones_is_taken_over(school, shards, tmp_path, capsys):
    settings = config(school, shards, steps=10_000, checkpoint_every=2, validation=[])
    arguments = command_line(settings, tmp_path / "run", tmp_path / "run.toml")
    store = Checkpoints(tmp_path / "run" / "checkpoints", 2)
    with subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.DEVNULL) as first:
        while first.poll() is None and not store.steps():
            time.sleep(0.02)
        assert main([*arguments, "--set", "keep=9"]) == 2
        said = capsys.readouterr().err
        assert f"process {first.pid}" in said and len(said.splitlines()) == 1
        assert json.loads((tmp_path / "run" / "config.json").read_text())["keep"] == 2
        first.kill()
    done = store.steps()[-1]
    Trainer(replace(settings, steps=done + 1), tmp_path / "run", quiet).run()


def test_two_runs_that_fill_one_folder_of_latents_lose_nothing_of_each_other(tmp_path):
    """Both add their own tensors to the same files; a file is never torn and never without the other's."""
    names = ("truth", "video")
    stores = [LatentSamples(tmp_path, 1, (name,)) for name in names]
    barrier = threading.Barrier(2)

    def fill(store, name):
        store.claim({name: name, "size": 3})
        for clip in range(40):
            barrier.wait()
            store.store(0, clip, 0, {name: torch.full((2, 4, 8, 8), float(clip))})

    threads = [threading.Thread(target=fill, args=pair) for pair in zip(stores, names, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for clip in range(40):
        assert set(read_tensors(stores[0].path(0, clip, 0))) == set(names)
    assert json.loads((tmp_path / "origin.json").read_text()) == {"truth": "truth", "video": "video", "size": 3}
    assert {p.suffix for p in tmp_path.iterdir()} == {".safetensors", ".json"}


# Stopping and ending ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_has_not_succeeded(number, school, shards, tmp_path):
    """A makefile must not go on to the next stage."""
    run = Trainer(config(school, shards, steps=50, validation=[]), tmp_path / "run", quiet)
    ordinary = run._train_step

    def signalled(batch):
        if run.state.step == 2:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)  # a terminal and torchrun both pass it on
        return ordinary(batch)

    run._train_step = signalled
    before = weights(school, "point_map_vae")
    with pytest.raises(Stopped, match="step 3 of 50; start again to go on") as stop:
        run.run()
    assert stop.value.status == 128 + number
    assert run.checkpoints.load()["step"] == 3
    assert all(torch.equal(before[k], v) for k, v in weights(school, "point_map_vae").items())


def part_of(school: Path) -> Path:
    return PARTS["point_map_vae"].weights(school)


def test_a_finished_run_that_is_started_again_leaves_a_later_stages_weights(school, shards, tmp_path):
    settings = config(school, shards, steps=2)
    scores = Trainer(settings, tmp_path / "first", quiet).run()
    own = part_of(school).read_bytes()
    Trainer(replace(settings, rate=2e-3), tmp_path / "second", quiet).run()
    later = part_of(school).read_bytes()
    assert own != later
    said: list[str] = []
    assert Trainer(settings, tmp_path / "first", said.append).run() == scores
    assert part_of(school).read_bytes() == later
    assert any(line.startswith("finished; nothing to do") for line in said)
    Trainer(replace(settings, steps=3), tmp_path / "first", quiet).run()
    assert part_of(school).read_bytes() not in (own, later)


class Killed(BaseException):
    """In the place of SIGKILL."""


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("later", [False, True])
def test_a_run_that_is_killed_around_its_export_writes_once(moment, later, school, shards, tmp_path, monkeypatch):
    settings = config(school, shards, steps=2)
    untouched = part_of(school).read_bytes()
    run = Trainer(settings, tmp_path / "run", quiet)
    write = run.export.write

    def killed(*arguments):
        if moment == "after":
            write(*arguments)
        raise Killed

    monkeypatch.setattr(run.export, "write", killed)
    with pytest.raises(Killed):
        run.run()
    assert (part_of(school).read_bytes() == untouched) == (moment == "before")
    if later:
        Trainer(replace(settings, rate=2e-3), tmp_path / "later", quiet).run()
    others = part_of(school).read_bytes()
    Trainer(settings, tmp_path / "run", quiet).run()
    average = run.state.average
    if later:
        assert part_of(school).read_bytes() == others
    else:
        assert all(torch.equal(v, average[n]) for n, v in weights(school, "point_map_vae").items())
    last = part_of(school).read_bytes()
    Trainer(settings, tmp_path / "run", quiet).run()
    assert part_of(school).read_bytes() == last


def test_a_run_that_was_finished_by_the_program_before_is_left_alone(school, shards, tmp_path):
    settings = config(school, shards, steps=2)
    run = Trainer(settings, tmp_path / "run", quiet)
    run.run()
    (tmp_path / "run" / "exported.json").unlink()
    last = part_of(school).read_bytes()
    part_of(school).write_bytes(last)
    Trainer(settings, tmp_path / "run", quiet).run()
    assert not (tmp_path / "run" / "exported.json").exists()
    # It was killed before it wrote: what lies there is older than its last checkpoint.
    os.utime(part_of(school), (0, 0))
    Trainer(settings, tmp_path / "run", quiet).run()
    assert part_of(school).stat().st_mtime > 0


# Several processes --------------------------------------------------------------------------------------------

RUN = """
import torch
from pathlib import Path
from geometrycrafter.errors import InputError
from geometrycrafter.training.config import read_train_config
from geometrycrafter.training.trainer import Trainer

def trainer(folder="run", file=None):
    return Trainer(read_train_config(file or "train.toml"), folder)

def told(call):
    try:
        print("RESULT", call())
    except InputError as error:
        print("REFUSED", error)
"""


def toml(settings, tmp_path: Path, name: str = "train.toml") -> None:
    command_line(settings, tmp_path / "run", tmp_path / name)


def test_a_nan_in_one_process_is_everybodys(school, shards, tmp_path):
    toml(config(school, shards, steps=4, validation=[], ema=0), tmp_path)
    script = """
run = trainer()
forward, calls = run.stage.forward, []
def poisoned(batch):
    terms = forward(batch)
    calls.append(1)
    return terms | {"depth": terms["depth"] * float("nan")} if RANK == 1 and len(calls) == 2 else terms
run.stage.forward = poisoned
step, rows = run._train_step, []
run._train_step = lambda batch: rows.append(step(batch)) or rows[-1]
run.run()
total = sum(p.double().sum().item() for p in run.state.parameters.values())
print("TERMS", [sorted(row) for row in rows])
print("TOTAL", total, run.state.counts)
"""
    found = pair(RUN + script, tmp_path)
    lines = [re.findall("^(?:TERMS|TOTAL).*$", said, re.M) for _, said in found]
    assert [status for status, _ in found] == [0, 0] and len(lines[0]) == 2, found
    assert lines[0] == lines[1]
    assert "'skipped steps': 1" in lines[0][1]
    terms = json.loads(lines[0][0].removeprefix("TERMS ").replace("'", '"'))
    assert set(terms[0]) - set(terms[1]) == {"depth"} and terms[2] == terms[0]


def test_an_error_of_one_process_ends_all_with_its_sentence(school, shards, tmp_path):
    """Data that is missing, or damaged, for one of them; and a folder that another run holds."""
    toml(config(school, "clips", steps=4, validation=[]), tmp_path)
    for place in ("machine0", "machine1"):
        (tmp_path / place).mkdir()
    shutil.copytree(shards, tmp_path / "machine0" / "clips")
    script = "import os; os.chdir(f'machine{RANK}'); told(lambda: trainer('../run', '../train.toml').run())"
    found = pair(RUN + script, tmp_path)
    said = [re.findall("REFUSED.*", text) for _, text in found]
    assert said[0] and said[0] == said[1] and "clips" in said[0][0], found

    shutil.copytree(shards, tmp_path / "machine1" / "clips")
    for tar in (tmp_path / "machine1" / "clips").glob("*.tar"):
        tar.write_bytes(bytes(tar.stat().st_size))
    found = pair(RUN + script, tmp_path)
    said = [re.findall("REFUSED.*", text) for _, text in found]
    assert said[0] and said[0] == said[1] and "clip-" in said[0][0], found

    held = """
from geometrycrafter.files import locked
import contextlib
told(lambda: trainer().run())
"""
    from geometrycrafter.files import locked

    with locked(tmp_path / "run", "a training run"):
        found = pair(RUN + held, tmp_path)
    said = [re.findall("REFUSED.*", text) for _, text in found]
    assert said[0] and said[0] == said[1] and f"process {os.getpid()}" in said[0][0], found


def test_a_signal_to_one_process_stops_all_alike(school, shards, tmp_path):
    toml(config(school, shards, steps=500, validation=[]), tmp_path)
    script = """
import os, signal, sys
from geometrycrafter.errors import Stopped
run = trainer()
step = run._train_step
def signalled(batch):
    if RANK == 1 and run.state.step == 2:
        os.kill(os.getpid(), signal.SIGTERM)
    return step(batch)
run._train_step = signalled
try:
    run.run()
except Stopped as stop:
    print(stop)
    sys.exit(stop.status)
"""
    found = pair(RUN + script, tmp_path)
    assert [status for status, _ in found] == [143, 143], found
    assert all("stopped at step 3 of 500" in said for _, said in found)
    assert Checkpoints(tmp_path / "run" / "checkpoints", 2).load()["step"] == 3


def test_clocks_that_differ_decide_nothing(school, shards, tmp_path):
    """When to keep a checkpoint is the first process's affair: its collectives need all of them."""
    toml(config(school, shards, steps=6, validation=[], checkpoint_seconds=100, checkpoint_every=100), tmp_path)
    script = """
import time
from types import SimpleNamespace
import geometrycrafter.training.trainer as module
module.time = SimpleNamespace(monotonic=lambda: time.monotonic() * (1e6 if RANK == 1 else 1))
run = trainer()
saved, save = [], run._save
run._save = lambda *a: (saved.append(run.state.step), save(*a))
run.run()
print("SAVED", saved)
"""
    found = pair(RUN + script, tmp_path)
    assert [status for status, _ in found] == [0, 0], found
    lines = [re.findall("^SAVED.*$", said, re.M) for _, said in found]
    assert lines == [["SAVED [6]"]] * 2, found


@pytest.mark.parametrize("where", ["step", "batch"])
def test_a_run_that_breaks_ends(where, school, shards, tmp_path):
    """Its readers, which leave signals to it, must not keep it: out of memory, it would hold its device for ever."""
    toml(config(school, shards, steps=50, validation=[], workers=1), tmp_path)
    script = """
import sys
sys.argv = ["x"]
run = trainer()
def broken(*_):
    raise RuntimeError("out of memory")
if "step" == "WHERE":
    run._train_step = broken
else:
    import torch.utils.data.dataloader as loader
    loader._MultiProcessingDataLoaderIter._process_data = broken
run.run()
"""
    script = "RANK = 0\n" + RUN + script.replace("WHERE", where)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=40)
    assert done.returncode == 1 and done.stderr.rstrip().endswith("RuntimeError: out of memory")


def test_a_process_that_is_killed_ends_the_others_with_a_sentence(school, shards, tmp_path):
    toml(config(school, shards, steps=500, validation=[], workers=1, checkpoint_every=1), tmp_path)
    script = """
import os, signal
run = trainer()
step = run._train_step
def killed(batch):
    if RANK == 1 and run.state.step == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(batch)
run._train_step = killed
told(run.run)
"""
    (status, said), (killed, _) = pair(RUN + script, tmp_path, timeout=60)
    assert killed == -signal.SIGKILL and status == 0
    assert "REFUSED the processes of this run have lost each other" in said and "start again" in said
