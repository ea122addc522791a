"""Depth, points and normals as pictures, read back by the libraries of their formats."""

from __future__ import annotations

import json

import numpy as np
import OpenEXR
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_export_worlds import FRAMES, NORMAL, K, plane, poses

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.export import export


def decoded(path, about):
    """Depth of a file, by what its scale says of itself."""
    value = np.asarray(Image.open(path)).astype(np.float64)
    depth = eval(about["depth"], {"value": value, **{k: v for k, v in about.items() if k in ("near", "far", "step")}})
    return np.where(value == about["none"], np.nan, depth)


@pytest.mark.parametrize(("scale", "relative", "absolute"), [("log", 2e-5, 0.0), ("linear", 0.0, 6e-5)])
def test_png16_holds_depth_to_half_a_step_of_the_scale_that_it_tells(tmp_path, scale, relative, absolute):
    scene = plane()
    folder = export(scene, "png16", tmp_path / "d", scale=scale)
    about = json.loads((folder / "scale.json").read_text())
    assert len(about["frames"]) == FRAMES
    for t, frame in enumerate(about["frames"]):
        picture = Image.open(folder / frame["file"])
        assert picture.mode == "I;16"
        own = json.loads(picture.text["depth"])
        assert own == {k: v for k, v in about.items() if k != "frames"}
        found = decoded(folder / frame["file"], own)
        np.testing.assert_array_equal(np.isfinite(found), scene.mask[t])
        good = scene.mask[t]
        np.testing.assert_allclose(found[good], scene.depth[t][good], rtol=relative, atol=absolute)
        np.testing.assert_allclose(frame["camera_to_world"], poses()[t], atol=1e-6)
        np.testing.assert_allclose(frame["intrinsics"], K, rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(2**-13, 2**20, width=32), min_size=2, max_size=12), st.sampled_from(["log", "linear"]))
def test_no_depth_becomes_none_however_wide_the_range_is(tmp_path_factory, depths, scale):
    depth = np.array(depths, np.float32)[None, None].repeat(16, 1)
    scene = gc.Scene.from_depth(depth, depth > 0, K)
    folder = export(scene, "png16", tmp_path_factory.mktemp("d") / "d", scale=scale)
    about = json.loads((folder / "scale.json").read_text())
    found = decoded(folder / "frame_000000.png", about)
    assert np.isfinite(found).all()
    wide = np.log(max(depths) / min(depths))
    if scale == "log":
        np.testing.assert_allclose(found, depth[0], rtol=wide / 65534 + 1e-6)
    else:
        np.testing.assert_allclose(found, depth[0], atol=max(depths) / 65535 + 1e-12)


def test_millimetres_are_of_scenes_in_metres(tmp_path, capsys):
    scene = plane()
    scene.save(tmp_path / "a.gc")
    assert main(["export", str(tmp_path / "a.gc"), "png16", "--scale", "millimetres"]) == 2
    said = capsys.readouterr().err
    assert "geometrycrafter poses" in said and "--distance" in said and not (tmp_path / "a.png16").exists()
    scene._group.attrs["unit"] = "m"
    folder = export(scene, "png16", tmp_path / "d", scale="millimetres")
    value = np.asarray(Image.open(folder / "frame_000002.png")).astype(float)
    truth = np.where(scene.mask[2], scene.depth[2].astype(float), 0) * 1000
    np.testing.assert_allclose(value, truth, rtol=0, atol=0.5 + 1e-3)
    far = gc.Scene.from_depth(np.full((1, 16, 16), 70.0), np.ones((1, 16, 16), bool), K)
    far._group.attrs["unit"] = "m"
    with pytest.raises(gc.InputError, match="--scale log"):
        export(far, "png16", tmp_path / "far", scale="millimetres")
    assert not (tmp_path / "far").exists()


def test_a_folder_of_frames_replaces_its_own_kind_only(tmp_path):
    export(plane(), "png16", tmp_path / "d")
    export(plane(), "png16", tmp_path / "d", scale="linear")
    assert json.loads((tmp_path / "d" / "scale.json").read_text())["scale"] == "linear"
    (tmp_path / "d" / "frame_notes.txt").write_text("mine")
    with pytest.raises(gc.InputError, match=r"frame_notes\.txt"):
        export(plane(), "png16", tmp_path / "d")
    assert (tmp_path / "d" / "frame_notes.txt").read_text() == "mine"


@pytest.mark.parametrize("pixel", ["float", "half"])
def test_exr_has_layers_and_the_camera(tmp_path, pixel):
    scene = plane(moving=False)
    folder = export(scene, "exr", tmp_path / "e", pixel=pixel)
    kind, near = (np.float32, 1e-6) if pixel == "float" else (np.float16, 1e-3)
    for t in range(FRAMES):
        with OpenEXR.File(str(folder / f"frame_{t:06d}.exr"), separate_channels=True) as file:
            layers = {name: channel.pixels for name, channel in file.channels().items()}
            header = dict(file.header())  # leaving the file empties its own
        assert set(layers) == {"depth.Z", "mask.A"} | {f"{n}.{a}" for n in ("points", "normals") for a in "XYZ"}
        assert all(layer.dtype == kind for layer in layers.values())
        mask = layers["mask.A"] == 1
        np.testing.assert_array_equal(mask, scene.mask[t])
        np.testing.assert_allclose(layers["depth.Z"][mask], scene.depth[t][mask], rtol=near)
        points = np.stack([layers[f"points.{a}"] for a in "XYZ"], -1)
        np.testing.assert_allclose(points[mask], scene.points[t][mask], rtol=near, atol=near)
        assert (points[~mask] == 0).all()
        normals = np.stack([layers[f"normals.{a}"] for a in "XYZ"], -1).astype(float)
        truth = -poses()[t, :3, :3].T @ NORMAL / np.linalg.norm(NORMAL)
        np.testing.assert_allclose(normals[6:-2, 2:-2].reshape(-1, 3).mean(0), truth, atol=2e-2)
        assert (normals[~mask] == 0).all()
        np.testing.assert_allclose(header["cameraToWorld"], poses()[t], atol=1e-6)
        np.testing.assert_allclose(header["intrinsics"], K, rtol=1e-6)
        assert header["unit"] == "the scene's own" and header["frame"] == t


def test_half_floats_are_refused_where_they_would_be_infinite(tmp_path):
    far = gc.Scene.from_depth(np.full((1, 16, 16), 7e4), np.ones((1, 16, 16), bool), K)
    with pytest.raises(gc.InputError, match="--pixel float"):
        export(far, "exr", tmp_path / "far", pixel="half")
    assert not (tmp_path / "far").exists()
    export(far, "exr", tmp_path / "far")
