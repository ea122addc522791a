"""Runs that are stopped, gone on with, repeated and crossed: nothing that was done is lost, nothing is mixed up."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import flat_prior, moving_pattern, write_video
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from test_cli import UNET, cut_streaming_file, refused, say

import geometrycrafter as gc
from geometrycrafter.inference.options import Options
from geometrycrafter.inference.record import RunRecord
from geometrycrafter.priors import Prior
from geometrycrafter.video.bars import Bars, Box
from geometrycrafter.video.options import Reading
from geometrycrafter.video.reading import open_frames

VIDEO = moving_pattern(20, 64, 64)
OTHER = moving_pattern(20, 64, 64, seed=5)
HOW = {"size": (64, 64), "window": 12, "overlap": 4}


class CountingPrior(Prior):
    """Notes which frames of the clip it is asked about."""

    identity = "counting"

    def __init__(self):
        self.asked: list[int] = []

    def begin(self, first: int = 0):
        at = first

        def ask(frames, camera):
            nonlocal at
            self.asked += range(at, at + len(frames))
            at += len(frames)
            return flat_prior(frames)

        return ask


class CancelledError(Exception):
    """What a web page throws where its user presses a button."""


def stop_at(stage: str, frames: int = 0):
    def progress(now: str, done: int, total: int | None) -> None:
        if now == stage and done >= frames:
            raise CancelledError

    return progress


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def bits(scene: gc.Scene) -> list[bytes]:
    return [np.asarray(getattr(scene, k)).tobytes() for k in ("depth", "mask", "intrinsics", "frames", "times")]


@pytest.fixture(scope="module")
def estimator(hub):
    return gc.load(hub, "diffusion", prior=flat_prior)


@pytest.fixture(scope="module")
def whole(estimator):
    return bits(estimator(VIDEO, **HOW, steps=1))


@pytest.mark.parametrize("stage", ["observe", "condition", "denoise", "decode"])
def test_a_cancelled_run_goes_on_to_the_same_bits(stage, estimator, whole, tmp_path):
    out = tmp_path / "a.gc"
    with pytest.raises(CancelledError):
        estimator(VIDEO, **HOW, steps=1, output=out, progress=stop_at(stage))
    with pytest.raises(gc.InputError, match="not finished"):
        gc.open(out)
    with pytest.raises(gc.InputError, match="--resume"):
        estimator(VIDEO, **HOW, steps=1, output=out)
    assert bits(estimator(VIDEO, **HOW, steps=1, output=out, resume=True)) == whole
    assert [p.name for p in tmp_path.iterdir()] == ["a.gc"]


def test_what_is_temporary_goes_when_a_run_is_cancelled(estimator, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(CancelledError):
        estimator(VIDEO, **HOW, steps=1, progress=stop_at("denoise"))
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_with_a_wrong_argument_loses_nothing(hub, whole, tmp_path):
    prior, out = CountingPrior(), tmp_path / "a.gc"
    estimator = gc.load(hub, "diffusion", prior=prior)
    same = {**HOW, "steps": 1, "output": out, "resume": True}
    with pytest.raises(CancelledError):
        estimator(VIDEO, **{**same, "resume": False}, progress=stop_at("denoise"))
    before, asked = contents(out), list(prior.asked)
    wrong = {
        "noise has shape": {"noise": torch.zeros(1, 3, 4, 8, 8)},
        "noise holds": {"noise": torch.full((1, 12, 4, 8, 8), torch.nan)},
        "another noise": {"noise": torch.zeros(1, 12, 4, 8, 8)},
        "--window": {"window": 10},
        "--size": {"size": (64, 128)},
        "--intrinsics": {"intrinsics": (80.0, 80.0, 31.5, 31.5)},
        "steps 0": {"steps": 0},
        "colour": {"colour": "red"},
    }
    for named, argument in wrong.items():
        with pytest.raises(gc.InputError, match=named):
            estimator(VIDEO, **{**same, **argument})
    with pytest.raises(gc.InputError, match="another video"):
        estimator(OTHER, **same)
    with pytest.raises(gc.InputError, match="another prior"):
        gc.load(hub, "diffusion", prior=lambda frames: flat_prior(frames))(VIDEO, **same)
    with pytest.raises(gc.InputError, match="--dtype"):
        gc.load(hub, "diffusion", prior=prior, dtype=torch.bfloat16)(VIDEO, **same)
    assert contents(out) == before
    estimator(VIDEO, **same)
    assert prior.asked == asked == list(range(20))


def test_other_weights_under_the_same_name_are_found_out(hub, tmp_path):
    root, out = shutil.copytree(hub, tmp_path / "hub"), tmp_path / "a.gc"
    with pytest.raises(CancelledError):
        gc.load(root, "deterministic", prior=flat_prior)(VIDEO, **HOW, output=out, progress=stop_at("denoise"))
    tensors = load_file(root / UNET)
    save_file({k: v * 1.01 if k == "conv_in.bias" else v for k, v in tensors.items()}, root / UNET)
    with pytest.raises(gc.InputError, match="weights"):
        gc.load(root, "deterministic", prior=flat_prior)(VIDEO, **HOW, output=out, resume=True)


def test_a_run_with_a_known_camera_can_be_resumed(estimator, tmp_path):
    known = {**HOW, "steps": 1, "intrinsics": (80.0, 81.0, 31.5, 30.0)}
    with pytest.raises(CancelledError):
        estimator(VIDEO, **known, output=tmp_path / "a.gc", progress=stop_at("observe"))
    scene = estimator(VIDEO, **known, output=tmp_path / "a.gc", resume=True)
    assert bits(scene) == bits(estimator(VIDEO, **known))
    assert estimator(VIDEO, **known, output=tmp_path / "a.gc", resume=True).path == scene.path


def test_frames_that_come_one_by_one_are_compared_one_by_one(estimator, whole, tmp_path):
    """An iterator has no content that could be looked at beforehand."""
    same = {**HOW, "steps": 1, "output": tmp_path / "a.gc"}
    with pytest.raises(CancelledError):
        estimator(iter(VIDEO), **same, progress=stop_at("observe", 16))
    half_other = np.concatenate([VIDEO[:11], OTHER[11:]])
    with pytest.raises(gc.InputError, match="frame 11 "):
        estimator(iter(half_other), **same, resume=True)
    with pytest.raises(CancelledError):
        estimator(iter(VIDEO), **same, resume=True, progress=stop_at("denoise"))
    for frames, named in (
        (half_other, "frame 11 "),
        (VIDEO[:18], "frame 18 "),
        (np.concatenate([VIDEO, VIDEO]), "20 "),
    ):
        with pytest.raises(gc.InputError, match=named):
            estimator(iter(frames), **same, resume=True)
    assert bits(estimator(iter(VIDEO), **same, resume=True)) == whole
    assert bits(estimator(iter(VIDEO), **same, resume=True)) == whole
    with pytest.raises(gc.InputError, match="other frames"):
        estimator(iter(half_other), **same, resume=True)


def test_damage_late_in_a_video_keeps_what_was_done(hub, tmp_path):
    def damaged():
        yield from VIDEO[:18]
        yield moving_pattern(1, 32, 32)[0]

    prior, out = CountingPrior(), tmp_path / "a.gc"
    estimator = gc.load(hub, "deterministic", prior=prior)
    with pytest.raises(gc.InputError, match=r"32x32.*--resume"):
        estimator(damaged(), **HOW, output=out)
    assert prior.asked == list(range(16)) and not out.exists()
    scene = estimator(iter(VIDEO[:18]), **HOW, output=out, resume=True)
    assert prior.asked == list(range(18))
    assert bits(scene) == bits(estimator(VIDEO[:18], **HOW))
    assert [p.name for p in tmp_path.iterdir()] == ["a.gc"]


def test_the_advice_about_a_cut_video_works(tmp_path, capsys):
    (path,) = cut_streaming_file(tmp_path)
    sentence = refused(capsys, "run", path, "-o", tmp_path / "a.gc", "--size", "64x64")
    good = sentence.split("--end ")[1].split()[0].rstrip(".;,")
    assert say(capsys, "run", path, "-o", tmp_path / "a.gc", "--size", "64x64", "--end", good, "--resume")[0] == 0
    assert len(gc.open(tmp_path / "a.gc")) == int(good)
    assert sorted(p.name for p in tmp_path.glob(".*")) == []


def test_a_finished_scene_answers_to_its_own_run_alone(tmp_path, capsys, clip):
    out, flags = tmp_path / "a.gc", ["--size", "64x64", "--end", 8]
    run = ["run", clip, "-o", out, "--resume"]
    assert say(capsys, *run, *flags)[0] == 0
    before = contents(out)
    assert say(capsys, *run, *flags)[0] == 0
    for other, named in (
        (["--size", "64x64"], "--end"),
        ([*flags, "--stride", 2], "--stride"),
        ([*flags, "--window", 6], "--window"),
        (["--end", 8, "--size", "64x128"], "--size"),
        ([*flags, "--variant", "diffusion"], "--model"),
        ([*flags, "--dtype", "bfloat16"], "--dtype"),
    ):
        assert named in refused(capsys, *run, *other)
    another = write_video(tmp_path / clip.name, moving_pattern(20, 64, 96, seed=3))
    assert "video" in refused(capsys, "run", another, "-o", out, "--resume", *flags)
    moved = shutil.copy(clip, tmp_path / "moved.mp4")  # the same content: the same run
    assert say(capsys, "run", moved, "-o", out, "--resume", *flags)[0] == 0
    assert contents(out) == before


def test_a_scene_stands_until_its_successor_is_finished(estimator, whole, tmp_path):
    out = tmp_path / "a.gc"
    old = bits(estimator(OTHER, **HOW, steps=1, output=out))
    with pytest.raises(CancelledError):
        estimator(VIDEO, **HOW, steps=1, output=out, overwrite=True, progress=stop_at("decode"))
    assert bits(gc.open(out)) == old
    with pytest.raises(gc.InputError, match="another video"):
        estimator(moving_pattern(20, 64, 64, seed=9), **HOW, steps=1, output=out, resume=True)
    assert bits(estimator(VIDEO, **HOW, steps=1, output=out, resume=True)) == whole
    assert [p.name for p in tmp_path.iterdir()] == ["a.gc"]


def test_a_link_stays_a_link(estimator, whole, tmp_path):
    (tmp_path / "disk").mkdir()
    estimator(OTHER, **HOW, steps=1, output=tmp_path / "disk" / "b.gc")
    (tmp_path / "a.gc").symlink_to(tmp_path / "disk" / "b.gc")
    assert bits(estimator(VIDEO, **HOW, steps=1, output=tmp_path / "a.gc", overwrite=True)) == whole
    assert (tmp_path / "a.gc").is_symlink() and bits(gc.open(tmp_path / "disk" / "b.gc")) == whole


RUN = [sys.executable, "-m", "geometrycrafter.cli.main", "run"]


def test_a_second_run_into_one_folder_is_refused_and_the_first_undisturbed(estimator, whole, tmp_path):
    out, said = tmp_path / "a.gc", []
    video = write_video(tmp_path / "v.mp4", VIDEO)

    def progress(stage: str, done: int, total: int | None) -> None:
        if said or stage != "condition":
            return
        for flag in ("--resume", "--overwrite"):
            command = [*RUN, str(video), "-o", str(out), "--size", "64x64", flag]
            said.append(subprocess.run(command, capture_output=True, text=True))

    assert bits(estimator(VIDEO, **HOW, steps=1, output=out, progress=progress)) == whole
    for second in said:
        assert second.returncode == 2 and str(os.getpid()) in second.stderr and "Traceback" not in second.stderr


def test_a_run_that_is_asked_to_end_can_be_gone_on_with(tmp_path):
    video, out = write_video(tmp_path / "v.mp4", moving_pattern(36, 64, 96)), tmp_path / "a.gc"
    command = [*RUN, str(video), "-o", str(out), "--size", "64x64"]
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        process = subprocess.Popen([*command, "--resume"], stderr=subprocess.PIPE, text=True)
        count = len(list(out.glob("work/*.safetensors")))
        while process.poll() is None and len(list(out.glob("work/*.safetensors"))) <= count:
            time.sleep(0.005)
        process.send_signal(number)
        _, err = process.communicate()
        assert process.returncode == status, err
        assert "--resume" in err.splitlines()[-1] and "Traceback" not in err
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.gc", "v.mp4"]  # no lock, nothing temporary
        assert not list(out.rglob("*.tmp"))
    subprocess.run([*command, "--resume"], check=True, capture_output=True)
    assert len(gc.open(out)) == 36


def test_one_bad_video_does_not_stop_the_others(clip, tmp_path, capsys):
    (tmp_path / "notes.mp4").write_text("this is no video\n" * 50)
    (late,) = cut_streaming_file(tmp_path)
    last = shutil.copy(clip, tmp_path / "last.mp4")
    videos = [tmp_path / "notes.mp4", clip, late, last]
    status, out, err = say(capsys, "run", *videos, "-o", tmp_path / "out", "--size", "64x64")
    assert status == 2
    scenes = [line for line in out.splitlines() if line.startswith("scene: ")]
    assert [line.split("/")[-1] for line in scenes] == ["clip.gc", "last.gc"] and scenes[-1] == out.splitlines()[-1]
    assert sorted(p.name for p in (tmp_path / "out").glob("[a-z]*")) == ["clip.gc", "last.gc"]
    assert "2 of 4 videos failed" in err and "notes.mp4" in err and "--end" in err and "Traceback" not in err
    assert say(capsys, "run", clip, last, "-o", tmp_path / "out", "--size", "64x64", "--resume")[0] == 0


def test_places_that_are_none_are_named(clip, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "empty.gc").mkdir()
    (tmp_path / "empty.gc" / "zarr.json").touch()
    for place in ("/proc/x", "/", tmp_path / "file", tmp_path / "file" / "a.gc", "s3://bucket/a.gc", "/dev/null/a"):
        assert str(place) in refused(capsys, "run", clip, "-o", place, "--size", "64x64", "--end", 2)
    assert "UTF-8" in refused(capsys, "run", clip, "-o", f"{tmp_path}/o\udce9.gc", "--size", "64x64")
    for flag in ("--overwrite", "--resume"):
        assert "empty.gc" in refused(capsys, "run", clip, "-o", tmp_path / "empty.gc", "--size", "64x64", flag)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert say(capsys, "run", clip, "-o", ".", "--size", "64x64", "--end", 2)[0] == 0
    assert len(gc.open(".")) == 2 and len(gc.open(tmp_path / "here")) == 2


def test_an_error_of_the_prior_is_not_called_one_of_writing(hub, tmp_path):
    def prior(frames):
        raise FileNotFoundError(2, "No such file", "/weights/of/mine")

    with pytest.raises(FileNotFoundError, match="/weights/of/mine"):
        gc.load(hub, "deterministic", prior=prior)(VIDEO, **HOW, output=tmp_path / "a.gc")
    assert list(tmp_path.iterdir()) == []  # nothing had been done
    with pytest.raises(gc.InputError, match="str is no prior"):
        gc.load(hub, "deterministic", prior="moge")


def test_a_torn_file_of_a_run_is_made_anew(estimator, whole, tmp_path):
    """A power cut may leave files that are shorter than they were."""
    out = tmp_path / "a.gc"
    with pytest.raises(CancelledError):
        estimator(VIDEO, **HOW, steps=1, output=out, progress=stop_at("denoise", 20))
    for file in (out / "work").glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert bits(estimator(VIDEO, **HOW, steps=1, output=out, resume=True)) == whole


def test_a_scene_keeps_its_frames_times_and_finds_them_again(hub, tmp_path):
    at = [0, 1, 2, 5, 9, 10, 17, 18]  # 24ths of a second
    video = write_video(tmp_path / "v.mp4", moving_pattern(8, 64, 64), times=at)
    chosen = open_frames(video).cut(1, None, 2)
    scene = gc.load(hub, "deterministic", prior=flat_prior)(chosen, size=(64, 64), intrinsics=(80, 80, 31, 31))
    np.testing.assert_allclose(np.asarray(scene.times), np.array(at)[1::2] / 24, atol=1e-3)
    assert scene.source.camera == (80, 80, 31, 31)
    for frame, again in zip(scene.open_source(), chosen, strict=True):
        assert np.array_equal(frame, again)


texts = st.text(max_size=8)


@given(
    st.builds(
        RunRecord,
        *(st.none() | texts, st.integers(1, 9999), st.integers(1, 9999)),
        *(st.integers(0, 99), st.none() | st.integers(1, 99), st.integers(1, 9)),
        reading=st.builds(
            Reading,
            start=st.just(0),
            end=st.none(),
            stride=st.just(1),
            start_time=st.none() | st.floats(0, 10),
            end_time=st.none() | st.floats(11, 20),
            fps=st.none() | st.floats(0.1, 100),
            background=st.tuples(*[st.integers(0, 255)] * 3),
        ),
        bars=st.builds(lambda a, b: Bars(((0, Box(*a)), (5, Box(*b)))), *[st.tuples(*[st.integers(0, 99)] * 4)] * 2),
        options=st.builds(
            Options,
            size=st.sampled_from([(64, 64), [64, 128]]),
            guidance=st.floats(1, 100),
            intrinsics=st.none() | st.tuples(*[st.floats(0.5, 9000)] * 2, *[st.floats(-50, 9000)] * 2),
        ),
        model=texts,
        weights=texts,
        prior=texts,
        trusted_field=st.booleans(),
        dtype=texts,
        noise=st.none() | texts,
    )
)
@settings(deadline=None, max_examples=200)
def test_a_record_comes_back_from_disk_as_it_was(record):
    again = RunRecord.from_json(json.loads(json.dumps(record.to_json())))
    assert again == record and record.differences(again) == []


@pytest.mark.parametrize(
    "damage", ["chunk gone", "chunk empty", "chunk torn", "array gone", "description", "number", "list"]
)
def test_what_a_disk_has_lost_of_decoded_frames_is_decoded_again(damage, estimator, whole, tmp_path):
    folder = tmp_path / "x.gc"
    with pytest.raises(CancelledError):
        estimator(VIDEO, **HOW, steps=1, output=folder, progress=stop_at("decode", 10))
    chunk, journal = folder / "depth" / "c" / "0" / "0" / "0", folder / "journal.jsonl"
    if damage == "chunk gone":
        chunk.unlink()
    elif damage == "chunk empty":
        chunk.write_bytes(b"")
    elif damage == "chunk torn":
        chunk.write_bytes(chunk.read_bytes()[:-40])
    elif damage == "array gone":
        shutil.rmtree(folder / "depth")
    elif damage == "description":
        (folder / "depth" / "zarr.json").write_text("")
    else:
        journal.write_text("1\n" if damage == "number" else "[]\n")
    assert bits(estimator(VIDEO, **HOW, steps=1, output=folder, resume=True)) == whole
