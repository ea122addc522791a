"""The scripts of ``examples/`` run, and say what is so."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import moving_pattern, write_video
from plyfile import PlyData

import geometrycrafter as gc

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def example(monkeypatch, capsys):
    def run(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    """A slope of known depth: 1 at the left to 3 at the right, seen by a camera of 50 pixels."""
    depth = np.linspace(1, 3, 64)[None, None] * np.ones((4, 48, 1))
    mask = np.ones(depth.shape, bool)
    mask[:, :4] = False
    camera = np.array([[50, 0, 31.5], [0, 50, 23.5], [0, 0, 1]])
    made = gc.Scene.from_depth(depth, mask, camera, frames=moving_pattern(4, 48, 64), fps=8)
    return made.save(tmp_path_factory.mktemp("slope") / "slope.gc").path


def test_estimate_and_own_prior(example, tmp_path) -> None:
    video = write_video(tmp_path / "v.mp4", moving_pattern(3, 64, 96))
    said = example("estimate", video, tmp_path / "v.gc")
    made = gc.open(tmp_path / "v.gc")
    assert "Scene(3 frames of 96x64" in said and f"pixels: {str(made.intrinsics[0, 0, 0])[:6]}" in said
    assert len(PlyData.read(tmp_path / "v.ply")["vertex"]) == made.mask[0].sum()
    assert "points of its last row" in example("own_prior", video)


def test_measure_gives_the_distance_that_the_geometry_has(example, scene) -> None:
    said = example("measure", scene, 2, "0,20", "63,20", 2.0)
    # Two pixels of a row, at depths 1 and 3 and directions -0.63 and 0.63: x from -0.63 to 1.89, z from 1 to 3.
    truth = np.linalg.norm([3 * 0.63 + 0.63, 3 * (20 - 23.5) / 50 - (20 - 23.5) / 50, 2])
    assert f"distance: {truth:.4f}" in said and f"metres in one unit: {2 / truth:.4f}" in said
    with pytest.raises(SystemExit, match="no depth"):
        example("measure", scene, 0, "5,1", "9,20")


def test_a_network_learns_from_a_scene(example, scene) -> None:
    first, last = (float(line.rpartition(" ")[2]) for line in example("train_on_scene", scene, 40).splitlines())
    assert last < 0.7 * first


def test_known_cameras_become_a_data_set(example, tmp_path) -> None:
    said = example("known_cameras", tmp_path / "out")
    frames = json.loads((tmp_path / "out" / "nerfstudio" / "transforms.json").read_text())["frames"]
    assert len(frames) == 6 and np.isclose(frames[5]["transform_matrix"][0][3], 0.5)
    # Half a picture at three metres is 31.5 / 60 * 3 wide, and the last camera stands half a metre to the right.
    assert f"from {0.5 - 1.575:.3f}"[:10] in said
    world = PlyData.read(tmp_path / "out" / "world.ply")["vertex"]
    assert np.allclose(world["z"], 3, atol=1e-3) and world["x"].max() > 2
