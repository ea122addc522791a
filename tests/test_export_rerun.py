"""Rerun's recordings read back by Rerun: points, cameras and pictures at their frames and times."""

from __future__ import annotations

import io
import subprocess

import numpy as np
import pytest
from PIL import Image
from rerun.chunk import RrdReader
from test_export_worlds import FRAMES, HEIGHT, NORMAL, OFFSET, WIDTH, K, painted, plane, poses

import geometrycrafter as gc
from geometrycrafter.export import export


def logged(path):
    """Rows by entity and frame: each component's values."""
    found = {}
    for chunk in RrdReader(str(path)).stream():
        batch = chunk.to_record_batch()
        names = batch.schema.names
        for row in range(batch.num_rows):
            values = {name: batch.column(name)[row].as_py() for name in names if not name.startswith("rerun")}
            key = chunk.entity_path, values.pop("frame", None)
            found.setdefault(key, {}).update(values)
    return found


def test_a_recording_has_points_cameras_and_pictures_of_every_frame(tmp_path):
    scene = plane(moving=False)
    found = logged(export(scene, "rerun", tmp_path / "a.rrd"))
    assert {t for entity, t in found if entity == "/world/points"} == set(range(FRAMES))
    for t in range(FRAMES):
        cloud = found["/world/points", t]
        at = np.array(cloud["Points3D:positions"])
        assert len(at) == scene.mask[t].sum() and np.abs(at @ NORMAL - OFFSET).max() < 1e-3
        packed = np.array(cloud["Points3D:colors"], np.uint32)
        rgb = np.stack([packed >> shift & 255 for shift in (24, 16, 8)], -1)
        assert np.abs(rgb.astype(float) - painted(at)).max() < 1
        assert cloud["time"].total_seconds() == scene.times[t] - scene.times[0]
        camera = found["/world/camera", t]
        np.testing.assert_allclose(np.ravel(camera["Transform3D:translation"]), poses()[t, :3, 3], atol=1e-6)
        turn = np.reshape(camera["Transform3D:mat3x3"], (3, 3)).T  # by columns
        np.testing.assert_allclose(turn, poses()[t, :3, :3], atol=1e-6)
        lens = np.reshape(camera["Pinhole:image_from_camera"], (3, 3)).T
        np.testing.assert_allclose(lens, K + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]), rtol=1e-6)
        assert np.ravel(camera["Pinhole:resolution"]).tolist() == [WIDTH, HEIGHT]
        blob = found["/world/camera/image", t]["EncodedImage:blob"][0]
        picture = np.asarray(Image.open(io.BytesIO(bytes(blob))))
        assert np.abs(picture.astype(float) - scene.frames[t]).mean() < 3


def test_points_are_thinned_out_on_request(tmp_path):
    scene = plane()
    found = logged(export(scene, "rerun", tmp_path / "a.rrd", step=4))
    assert len(found["/world/points", 3]["Points3D:positions"]) == scene.mask[3][::4, ::4].sum()


@pytest.mark.parametrize("format", ["rerun", "usd", "exr", "glb", "splats", "png16"])
def test_a_full_disk_is_told_in_a_sentence_and_nothing_is_left(tmp_path, format):
    disk = tmp_path / "small"
    disk.mkdir()
    target = disk / ("a.usd" if format == "usd" else "a")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("needs to mount a small disk")
    try:
        with pytest.raises(gc.InputError) as said:
            export(plane(), format, target)
        assert str(said.value).startswith(f"{target}: writing failed") and not list(disk.iterdir())
        assert "No space left" in str(said.value)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
