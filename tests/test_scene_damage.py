"""What a disk has lost or changed of a finished scene is said, by array and frame, and never read as values."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
import zarr
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
