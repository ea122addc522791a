"""One clip over several processes: the same bits as by one, and nothing finished is lost where one of them ends."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import moving_pattern
from hypothesis import given
from hypothesis import strategies as st

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.inference.crew import Job
from geometrycrafter.inference.decoded import Place, stretches
from geometrycrafter.inference.loading import devices_of

FRAMES = moving_pattern(26, 64, 64)
HOW = {"size": (64, 64), "cuts": (9,), "focal": "free"}
ARRAYS = ("depth", "mask", "intrinsics", "rays", "frames", "shots", "times", "confidence", "sky")


def arrays(scene):
    return {name: np.asarray(scene.array(name)) for name in ARRAYS}


def assert_same(got, wanted):
    for name in ARRAYS:
        np.testing.assert_array_equal(got[name], wanted[name], err_msg=name)


@pytest.fixture(scope="module")
def one():
    torch.set_num_threads(1)
    return {variant: arrays(gc.load("tiny", variant)(FRAMES, **HOW)) for variant in ("deterministic", "diffusion")}


@pytest.mark.parametrize("variant", ["deterministic", "diffusion"])
def test_two_processes_give_the_bits_of_one(one, variant):
    torch.set_num_threads(1)
    estimator, told = gc.load("tiny", variant, devices=["cpu", "cpu"]), []
    scene = estimator(FRAMES, **HOW, progress=lambda *now: told.append(now))
    assert_same(arrays(scene), one[variant])
    for stage in ("observe", "condition", "denoise", "decode"):
        done = [n for s, n, _ in told if s == stage]
        assert done == sorted(done) and done[-1] == len(FRAMES), stage
    estimator.workers.close()


def test_two_processes_give_the_bits_of_one_in_8_bits():
    torch.set_num_threads(1)
    how = {"size": (64, 64), "cuts": "off", "precision": "int8"}
    wanted, estimator = arrays(gc.load("tiny")(FRAMES[:12], **how)), gc.load("tiny", devices=["cpu", "cpu"])
    assert_same(arrays(estimator(FRAMES[:12], **how)), wanted)
    assert not np.array_equal(
        wanted["depth"], arrays(gc.load("tiny")(FRAMES[:12], **how | {"precision": "tf32"}))["depth"]
    )
    estimator.workers.close()


def children():
    """Processes that this one began."""
    return [int(p) for t in Path("/proc/self/task").iterdir() for p in (t / "children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="who is whose child is read from Linux's /proc")
def test_a_killed_process_is_named_and_the_run_goes_on_with_the_others(one, tmp_path):
    torch.set_num_threads(1)
    before, output = set(children()), tmp_path / "out.gc"
    estimator, killed = gc.load("tiny", "deterministic", devices=["cpu", "cpu"]), []

    def kill(now, done, total):
        if now == "observe" and not killed:
            killed.append(next(p for p in children() if p not in before))
            os.kill(killed[0], signal.SIGKILL)

    with pytest.raises(gc.InputError, match=r"--devices: process \d+, number 1 of 2, on cpu, .* signal 9") as told:
        estimator(FRAMES, **HOW, output=output, progress=kill)
    assert f"process {killed[0]}," in str(told.value) and "--resume" in str(told.value)
    assert not set(children()) - before  # the other one is gone, too
    scene = gc.load("tiny", "deterministic")(FRAMES, **HOW, output=output, resume=True)
    assert_same(arrays(scene), one["deterministic"])


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="who is whose child is read from Linux's /proc")
def test_a_process_that_was_killed_between_two_videos_is_started_anew(one):
    torch.set_num_threads(1)
    before, estimator = set(children()), gc.load("tiny", "deterministic", devices=["cpu", "cpu"])
    estimator(FRAMES[:9], size=(64, 64), cuts="off")
    first, second = (p for p in children() if p not in before)
    os.kill(first, signal.SIGKILL)
    with pytest.warns(UserWarning, match=rf"process {first}, number 1 of 2, .* signal 9 .* started anew"):
        scene = estimator(FRAMES, **HOW)
    assert_same(arrays(scene), one["deterministic"])
    assert second in children() and first not in children()
    estimator.workers.close()


def test_processes_are_apart_from_the_terminal_and_from_where_the_caller_stands(tmp_path, monkeypatch):
    (tmp_path / "queue.py").write_text("raise SystemExit('not the queue that was meant')")
    monkeypatch.chdir(tmp_path)
    before = set(children())
    estimator = gc.load("tiny", "deterministic", devices=["cpu", "cpu"])
    estimator.workers.start()
    begun = set(children()) - before
    assert len(begun) == 2 and os.getpgid(0) not in {os.getpgid(pid) for pid in begun}  # whom Ctrl-C is for
    assert len(estimator(FRAMES[:3], **HOW | {"cuts": "off"}).depth) == 3
    estimator.workers.close()


def forked_and_lost(equipment):
    """A job whose process leaves a child behind."""
    if os.fork() == 0:
        time.sleep(120)
        os._exit(0)
    yield "begun"
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_gone_is_missed_though_its_children_live():
    workers, begun = gc.load("tiny", devices=["cpu", "cpu"]).workers, []
    with pytest.raises(gc.InputError, match="signal 9"):
        begun += ((told, time.monotonic()) for told in workers.each([Job(forked_and_lost, ())]))
    workers.close()
    assert time.monotonic() - begun[0][1] < 60


def lost_with_the_first_frame(frames):
    """A prior whose process may be ended as it is asked about the first frame, once a later one is there."""
    work = os.environ.get("LOST_AFTER")
    if work and torch.equal(frames[0], torch.from_numpy(FRAMES[0]).permute(2, 0, 1) / 255):
        while not list(Path(work).glob("observed_*")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return torch.ones(*frames[:, 0].shape, 3), torch.ones_like(frames[:, 0], dtype=torch.bool)


lost_with_the_first_frame.identity = "flat"


def test_what_others_did_stays_where_the_first_frames_were_lost(tmp_path, monkeypatch):
    output = tmp_path / "out.gc"
    monkeypatch.setenv("LOST_AFTER", str(output / "work"))
    estimator = gc.load("tiny", "deterministic", lost_with_the_first_frame, devices=["cpu", "cpu"])
    with pytest.raises(gc.InputError, match="what is done is kept"):
        estimator(FRAMES, **HOW, output=output)
    assert list((output / "work").glob("observed_*"))
    monkeypatch.delenv("LOST_AFTER")
    estimator = gc.load("tiny", "deterministic", lost_with_the_first_frame)
    wanted = arrays(estimator(FRAMES, **HOW))
    assert_same(arrays(estimator(FRAMES, **HOW, output=output, resume=True)), wanted)


def test_what_one_process_finished_before_its_turn_is_not_decoded_again(one, tmp_path):
    torch.set_num_threads(1)
    output, seen = tmp_path / "out.gc", []
    estimator = gc.load("tiny", "deterministic")
    with pytest.raises(RuntimeError, match="enough"):
        estimator(FRAMES, **HOW, output=output, progress=stopping_at("decode"))
    journal, ahead = output / "journal.jsonl", output / "work" / "ahead.jsonl"
    lines = journal.read_text().splitlines()
    assert len(lines) == 1
    # As if this chunk, the first, had been lost after another process had finished the second.
    with pytest.raises(RuntimeError, match="enough"):
        estimator(FRAMES, **HOW, output=output, resume=True, progress=stopping_at("decode"))
    lines = journal.read_text().splitlines()
    ahead.write_text(lines[1] + "\n")
    journal.unlink()
    estimator.networks.point_map_vae.decoder.register_forward_pre_hook(lambda _, z: seen.append(len(z[0])))
    scene = estimator(FRAMES, **HOW, output=output, resume=True)
    assert_same(arrays(scene), one["deterministic"])
    assert journal.read_text().splitlines()[:2] == lines
    assert seen == [8] * 4  # all of five chunks but the second


def stopping_at(stage):
    def stop(now, done, total):
        if now == stage:
            raise RuntimeError("enough")

    return stop


@given(st.sets(st.integers(0, 60)), st.integers(1, 5), st.sets(st.integers(1, 60), max_size=3))
def test_stretches_have_every_missing_chunk_once_and_are_of_one_shot(missing, hands, cuts):
    chunks = [Place(sum(c <= i for c in cuts), i, i, i + 1) for i in range(61)]
    found = list(stretches(sorted(missing), chunks, hands))
    assert [n for first, end in found for n in range(first, end)] == sorted(missing)
    assert all(chunks[first].shot == chunks[end - 1].shot for first, end in found)
    whole = len(missing) == 61 and not cuts
    assert not whole or hands == 1 or len(found) >= hands


def test_devices_are_read_and_faults_named(capsys, tmp_path):
    assert devices_of("cpu:2") == ["cpu", "cpu"]
    assert devices_of("cuda:0, cuda:1") == ["cuda:0", "cuda:1"]
    for text in ("", "cpu:0", "cpu:65", "cpu:99999999999"):
        with pytest.raises(gc.InputError, match="--devices"):
            devices_of(text)
    with pytest.raises(gc.InputError, match="--device cuda:77"):
        gc.load("tiny", devices=["cpu", "cuda:77"])
    with pytest.raises(gc.InputError, match="prior: other processes can't have it"):
        gc.load("tiny", prior=lambda frames: frames, devices=["cpu", "cpu"])
    assert main(["run", "clip.mp4", "-o", str(tmp_path / "out.gc"), "--devices", "nowhere,cpu"]) == 2
    assert "clip.mp4" in capsys.readouterr().err


def test_the_command_takes_several_devices(clip, tmp_path, monkeypatch):
    how = ["run", str(clip), "--size", "64x64", "--end", "10", "-o"]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    assert main([*how, str(tmp_path / "one.gc")]) == 0
    assert main([*how, str(tmp_path / "two.gc"), "--devices", "cpu:2"]) == 0
    one, two = (gc.open(tmp_path / f"{name}.gc") for name in ("one", "two"))
    np.testing.assert_array_equal(one.depth[:], two.depth[:])
