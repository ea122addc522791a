"""What a disk has lost or changed of a finished scene is said, by array and frame, and never read as values."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from conftest import flat_prior, moving_pattern
from hypothesis import given, settings
from hypothesis import strategies as st
from test_scene_files import made

import geometrycrafter as gc
from geometrycrafter.cli.main import main

FRAME = {"depth": "c/1/0/0", "mask": "c/1/0/0", "frames": "c/1/0/0/0", "rays": "c/1/0/0/0"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished scene, with rays."""
    folder = tmp_path_factory.mktemp("whole") / "whole.gc"
    made(rays=True).save(folder)
    return folder


@pytest.fixture
def scene(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "a.gc")
    return tmp_path / "a.gc"


def cut(file):
    file.write_bytes(file.read_bytes()[:-1])


def halved(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def emptied(file):
    file.write_bytes(b"")


def changed(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x10
    file.write_bytes(data)


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), cut, halved, emptied, changed])
@pytest.mark.parametrize("name", list(FRAME))
def test_a_frame_that_is_lost_or_damaged_is_named(scene, name, damage):
    damage(scene / name / FRAME[name])
    stored = gc.open(scene).array(name)
    for index in (1, slice(None), (slice(0, 2), 0), -2, [1, 2], ...):
        with pytest.raises(gc.InputError, match=rf"a\.gc: {name}, frame 1, can't be read") as caught:
            stored[index]
        assert "\n" not in str(caught.value)
    assert stored[0].shape == stored.shape[1:] and len(stored[::2]) == 2  # the others are there


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), cut, changed])
def test_cameras_that_are_lost_or_damaged_are_named(scene, damage):
    damage(scene / "intrinsics" / "c" / "0" / "0" / "0")
    with pytest.raises(gc.InputError, match=r"a\.gc: intrinsics can't be read"):
        gc.open(scene).intrinsics[0]


@pytest.mark.parametrize("form", ["npz", "ply"])
def test_exports_of_a_scene_that_lost_a_frame_fail_and_leave_nothing(scene, form, tmp_path, capsys):
    (scene / "depth" / "c" / "0" / "0" / "0").unlink()
    assert main(["export", str(scene), form, str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "depth, frame 0," in said and said.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.gc"]


def test_a_copy_of_a_scene_that_lost_a_frame_fails(scene, tmp_path):
    shutil.rmtree(scene / "mask" / "c")
    with pytest.raises(gc.InputError, match=r"a\.gc: mask, frame 0,"):
        gc.open(scene).save(tmp_path / "b.gc")
    assert [p.name for p in tmp_path.iterdir()] == ["a.gc"]


def test_frames_of_nothing_but_zeros_are_no_loss(tmp_path):
    depth = np.full((3, 16, 24), np.nan, np.float32)
    scene = gc.Scene.from_depth(depth, np.zeros(depth.shape, bool), np.eye(3), frames=np.zeros((3, 16, 24, 3)))
    scene.save(tmp_path / "a.gc").set_array("moving", np.zeros(depth.shape, bool))
    again = gc.open(gc.open(tmp_path / "a.gc").save(tmp_path / "b.gc").path)
    for each in (scene, again):
        assert np.isnan(each.depth[:]).all() and not each.mask[:].any() and not each.frames[:].any()
    assert not again.array("moving")[:].any()
    (tmp_path / "b.gc" / "moving" / "c" / "0" / "0" / "0").unlink()
    with pytest.raises(gc.InputError, match="moving, frame 0,"):
        gc.open(tmp_path / "b.gc").array("moving")[0]


def test_scenes_whose_arrays_leave_out_empty_frames_are_read(scene):
    """As other programs write them, and earlier versions of this one."""
    shutil.rmtree(scene / "mask")
    group = zarr.open_group(str(scene), mode="r+", zarr_format=3)
    mask = group.create_array("mask", shape=(3, 16, 24), dtype=bool, chunks=(1, 16, 24), fill_value=False)
    mask[1] = True
    assert gc.open(scene).mask[:].any((1, 2)).tolist() == [False, True, False]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_one_changed_byte_anywhere_in_a_chunk_is_found(whole, tmp_path_factory, data):
    chunks = sorted(p for p in whole.rglob("c/**/*") if p.is_file())
    chunk = data.draw(st.sampled_from(chunks))
    name = chunk.relative_to(whole).parts[0]
    before = chunk.read_bytes()
    at = data.draw(st.integers(0, len(before) - 1))
    try:
        chunk.write_bytes(before[:at] + bytes([before[at] ^ data.draw(st.integers(1, 255))]) + before[at + 1 :])
        with pytest.raises(gc.InputError, match=re.escape(f"{whole}: {name}")):
            gc.open(whole).array(name)[:]
    finally:
        chunk.write_bytes(before)


def finished_with_all_of_it_on_disk(monkeypatch, work) -> int:
    """How many scenes were marked as complete in some work; each time the disk must have had all the rest by then."""
    synced: dict[int, tuple[int, int]] = {}
    finished = 0
    fsync, replace = os.fsync, os.replace

    def noted(file):
        fsync(file)
        status = os.fstat(file)
        synced[status.st_ino] = (status.st_mtime_ns, status.st_size)

    def checked(source, target):
        nonlocal finished
        target = Path(target)
        if target.name == "zarr.json" and json.loads(Path(source).read_bytes())["attributes"].get("complete"):
            finished += 1
            places = [p for p in target.parent.rglob("*") if p != Path(source) and "work" not in p.parts]
            assert len(places) > 10
            for place in places:
                status = place.stat()
                assert synced.get(status.st_ino) == (status.st_mtime_ns, status.st_size), place
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", noted)
        patch.setattr(os, "replace", checked)
        work()
    return finished


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no fsync there")
def test_a_scene_is_complete_when_the_disk_has_all_of_it(monkeypatch, tmp_path, hub):
    estimator = gc.load(hub, "deterministic", prior=flat_prior)
    video = moving_pattern(3, 64, 64)
    assert finished_with_all_of_it_on_disk(monkeypatch, lambda: made().save(tmp_path / "a.gc")) == 1
    assert (
        finished_with_all_of_it_on_disk(monkeypatch, lambda: estimator(video, size=(64, 64), output=tmp_path / "b.gc"))
        == 1
    )
