"""Arrays of a scene are what their names say, when they are stored and when a scene is opened."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_scene_files import POSES, made, tree

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.files import locked

FITTING = {
    "poses": POSES,
    "pose_quality": np.ones(3, np.float32),
    "moving": np.ones((3, 16, 24), bool),
    "confidence": np.ones((3, 16, 24), np.float32),
    "times": np.arange(3.0),
    "shots": np.array([0, 2]),
}
RAGGED = [[1.0, 2.0], [3.0]]


class NoArray:
    def __array__(self, dtype=None, copy=None):
        raise TypeError("on another device")


@pytest.fixture(params=["in memory", "on disk"])
def scene(request, tmp_path):
    return made() if request.param == "in memory" else made().save(tmp_path / "a.gc")


@pytest.mark.parametrize("name", list(FITTING))
def test_what_fits_is_kept(scene, name):
    scene.set_array(name, FITTING[name])
    assert np.array_equal(scene.array(name)[...], FITTING[name])
    assert scene.array(name).dtype == FITTING[name].dtype


@pytest.mark.parametrize(
    ("name", "values"),
    [
        *((name, values[:2]) for name, values in FITTING.items() if name != "shots"),
        *((name, values[..., None]) for name, values in FITTING.items()),
        ("poses", POSES[0]),
        ("poses", POSES.astype(bool)),
        ("poses", POSES * np.nan),
        ("poses", POSES.astype(np.float64) * 1e300),
        ("times", np.array([0, 1, np.nan])),
        ("times", np.array(["0", "1", "2"])),
        ("times", np.arange(3).astype("timedelta64[s]")),
        ("moving", np.ones((3, 16, 24), np.float32)),
        ("moving", np.ones((3, 24, 16), bool)),
        ("confidence", np.ones((3, 16, 24), bool)),
        ("shots", np.array([0.5])),
        *((name, bad) for name in ("times", "anything") for bad in (RAGGED, None, "text", [None] * 3, [1j] * 3, {})),
        ("anything", NoArray()),
        ("anything", np.zeros(3, np.longdouble)),
        ("anything", np.zeros(3, [("x", "f4")])),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changes(scene, name, values):
    before = tree(scene.path) if scene.path else None
    with pytest.raises(gc.InputError, match=name) as caught:
        scene.set_array(name, values)
    assert "\n" not in str(caught.value) and scene.array(name) is None
    assert before is None or tree(scene.path) == before


@pytest.mark.parametrize("bad", [None, RAGGED, "text", POSES[:2], POSES * 1j, NoArray()])
def test_poses_that_are_none_are_refused(scene, bad):
    with pytest.raises(gc.InputError, match="poses"):
        scene.set_poses(bad)


def test_whole_numbers_and_tensors_stand_for_others(scene):
    scene.set_array("times", [0, 1, 5])
    scene.set_poses(torch.from_numpy(POSES).double())
    scene.set_array("big", np.arange(3, dtype=">i2"))
    assert scene.times.dtype == np.float64 and scene.times.tolist() == [0, 1, 5]
    assert scene.poses.dtype == np.float32 and scene.array("big")[:].tolist() == [0, 1, 2]


@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(list(FITTING)),
    values=hnp.arrays(
        st.one_of(
            hnp.integer_dtypes(),
            hnp.floating_dtypes(sizes=(16, 32, 64)),
            hnp.boolean_dtypes(),
            hnp.complex_number_dtypes(),
            hnp.unicode_string_dtypes(),
        ),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
)
def test_any_array_is_kept_or_refused_in_a_sentence(name, values):
    scene = made()
    try:
        scene.set_array(name, values)
    except gc.InputError:
        assert scene.array(name) is None
    else:
        kept = scene.array(name)
        assert kept.shape == values.shape and (len(kept.shape), name == "shots") in [(1, True), (1, False)]


def replaced(scene, name, values):
    shutil.rmtree(scene / name, ignore_errors=True)
    group = zarr.open_group(str(scene), mode="r+", zarr_format=3)
    group.create_array(name, shape=values.shape, dtype=values.dtype, chunks=tuple(max(1, n) for n in values.shape))[
        ...
    ] = values


WRONG = [
    *((name, values[:2]) for name, values in FITTING.items() if name != "shots"),
    *((name, values.astype(np.complex64)) for name, values in FITTING.items()),
    ("poses", np.zeros((3, 4), np.float32)),
    ("times", np.zeros((), np.float64)),
    ("depth", np.ones((2, 16, 24), np.float32)),
    ("depth", np.ones((0, 16, 24), np.float32)),
    ("depth", np.ones(3, np.float32)),
    ("depth", np.ones((3, 16, 24), np.int32)),
    ("mask", np.ones((3, 16, 24), np.uint8)),
    ("mask", np.ones((3, 16), bool)),
    ("intrinsics", np.ones((3, 3), np.float32)),
    ("intrinsics", np.ones((3, 4, 4), np.float32)),
    ("rays", np.ones((3, 16, 24, 3), np.float32)),
    ("frames", np.ones((2, 8, 12, 3), np.uint8)),
    ("frames", np.ones((3, 8, 12, 3), np.float32)),
]


@pytest.mark.parametrize(("name", "values"), WRONG)
def test_a_scene_whose_array_does_not_fit_is_refused(tmp_path, capsys, name, values):
    made().save(tmp_path / "a.gc")
    replaced(tmp_path / "a.gc", name, values)
    assert main(["export", str(tmp_path / "a.gc"), "ply", str(tmp_path / "out.ply")]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / 'a.gc'}: the array {'mask' if said.count('mask') else name}" in said and said.count("\n") == 1
    assert not (tmp_path / "out.ply").exists()


@pytest.mark.parametrize("name", ["depth", "rays", "frames", "poses"])
def test_an_array_that_is_gone_or_cannot_be_read_is_named(tmp_path, name):
    made(rays=True).save(tmp_path / "a.gc").set_poses(POSES)
    (tmp_path / "a.gc" / name / "zarr.json").write_text('{"zarr_format": 3, "node')
    with pytest.raises(gc.InputError, match=rf"a\.gc: the array {name} can't be read") as caught:
        gc.open(tmp_path / "a.gc")
    assert "\n" not in str(caught.value)
    shutil.rmtree(tmp_path / "a.gc" / name)
    if name == "poses":  # made again, as the message says
        gc.open(tmp_path / "a.gc").set_poses(POSES)
    else:
        with pytest.raises(gc.InputError, match=rf"a\.gc: the array {name} is missing"):
            gc.open(tmp_path / "a.gc")


@pytest.mark.parametrize("fps", ["fast", -1, [24], float("nan")])
def test_a_rate_that_is_none_is_refused(tmp_path, fps):
    made().save(tmp_path / "a.gc")
    stored = json.loads((tmp_path / "a.gc" / "zarr.json").read_text())
    stored["attributes"]["fps"] = fps
    (tmp_path / "a.gc" / "zarr.json").write_text(json.dumps(stored))
    with pytest.raises(gc.InputError, match=r"a\.gc: fps"):
        gc.open(tmp_path / "a.gc")


def test_poses_are_stored_in_a_scene_whose_parent_cannot_be_written(tmp_path, monkeypatch):
    scene = made().save(tmp_path / "a.gc")
    opened = os.open

    def refusing(path, flags, *rest, **more):
        if flags & os.O_CREAT and Path(path).parent == tmp_path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refusing)  # root, as whom tests may run, is refused nothing
    before = sorted(p.name for p in scene.path.iterdir())
    scene.set_poses(POSES)
    assert np.array_equal(gc.open(scene.path).poses[:], POSES)
    assert sorted(p.name for p in scene.path.iterdir()) == sorted([*before, "poses"])
    with locked(scene.path, "a test"), pytest.raises(gc.InputError, match="writing there"):
        scene.set_poses(POSES)
    with pytest.raises(gc.InputError, match=r"b\.gc: writing failed"):
        made().save(tmp_path / "b.gc")
