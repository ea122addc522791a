"""Point maps of several frames in world axes, as pictures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from test_export_worlds import FRAMES, plane
from test_scene_files import made

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.export.views import View, view_of_world

RED, GREEN, BLUE = (255, 0, 0), (0, 200, 0), (0, 0, 255)


def middle(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray | None:
    """Column and row of a colour's pixels; None where there is none."""
    at = np.argwhere((picture == colour).all(-1))
    return at.mean(0)[::-1] if len(at) else None


def test_a_view_hides_what_is_behind_and_turns_about_the_clouds_middle():
    rng = np.random.default_rng(0)
    blob = rng.uniform(-0.05, 0.05, (4000, 3))
    places = np.array([[0, 0, 4], [1.5, 0, 3.0], [-1.5, 0, 3.0]])
    side = np.linspace(-0.2, 0.2, 100)
    wall = np.stack([*np.meshgrid(side, side), np.full((100, 100), 2.0)], -1).reshape(-1, 3)
    points = np.concatenate([wall, *(blob + place for place in places)])
    rgb = np.repeat(np.array([RED, GREEN, BLUE, BLUE], np.uint8), [10000, 4000, 4000, 4000], 0)
    ahead = view_of_world(points, rgb, View(0.0), 200, 300)
    assert middle(ahead, RED) is not None and middle(ahead, GREEN) is None
    turned = view_of_world(points, rgb, View(60.0), 200, 300)
    red, green = middle(turned, RED), middle(turned, GREEN)
    assert green[0] > red[0] + 20  # from the left, what is behind is to the right
    above = view_of_world(points, rgb, View(0.0, 60.0), 200, 300)
    assert middle(above, GREEN)[1] < middle(above, RED)[1] - 20  # from above, it is higher


def test_the_figure_shows_frames_and_worlds(tmp_path, capsys):
    plane().save(tmp_path / "a.gc")
    command = ["compare", str(tmp_path / "a.gc"), str(tmp_path / "a.gc"), "--names", "a,b", "--world"]
    assert main([*command, "-o", str(tmp_path / "f.png")]) == 0
    picture = np.asarray(Image.open(tmp_path / "f.png").convert("RGB")).astype(int)
    red = (picture[..., 0] > 240) & (picture[..., 1:] < 15).all(-1)  # the block that moves, in every frame and view
    rows = np.flatnonzero(red.any(1))
    assert len(np.split(rows, np.flatnonzero(np.diff(rows) > 5) + 1)) >= 3
    half = picture.shape[1] // 2
    assert red[:, :half].sum() > 500 and red[:, half:].sum() > 500
    assert main([*command, "--frames", "0,4", "-o", str(tmp_path / "g.pdf")]) == 0


def test_what_has_no_place_in_the_world_is_refused(tmp_path, capsys):
    made().save(tmp_path / "a.gc")
    assert main(["compare", str(tmp_path / "a.gc"), "--world", "-o", str(tmp_path / "f.png")]) == 2
    assert "no poses" in capsys.readouterr().err
    scene = plane()
    scene.set_array("pose_quality", np.array([1, 1, 0, 1, 1], np.float32))
    scene.save(tmp_path / "b.gc")
    assert main(["compare", str(tmp_path / "b.gc"), "--world", "-o", str(tmp_path / "f.png")]) == 2
    assert "pose of frame 2 is not known" in capsys.readouterr().err
    assert not (tmp_path / "f.png").exists()


def test_frames_of_one_shot_are_drawn(tmp_path, capsys):
    scene = plane()
    scene.set_array("shots", np.array([0, 2]))
    scene.save(tmp_path / "a.gc")
    command = ["compare", str(tmp_path / "a.gc"), "--world", "-o"]
    assert main([*command, str(tmp_path / "f.png")]) == 0  # the longest
    assert main([*command, str(tmp_path / "g.png"), "--frames", "1,0"]) == 0
    assert main([*command, str(tmp_path / "h.png"), "--frames", "1,3"]) == 2
    assert "pose of frame 3 is not known" in capsys.readouterr().err


@pytest.mark.filterwarnings("error")
def test_a_world_without_valid_depth_is_drawn_empty(tmp_path):
    from geometrycrafter.export.world_figure import draw_world

    scene = gc.Scene.from_depth(np.full((FRAMES, 16, 24), np.nan), np.zeros((FRAMES, 16, 24), bool), np.eye(3))
    scene.set_poses(np.tile(np.eye(4), (FRAMES, 1, 1)))
    assert draw_world([scene], ["a"], tmp_path / "f.png").is_file()


def test_outlines_beside_a_cloud_do_not_make_it_tiny():
    """Cameras of a small clip are many points beside few, and some stand far out of view."""
    side = np.linspace(-1, 1, 80)
    wall = np.stack([*np.meshgrid(side, side), np.full((80, 80), 4.0)], -1).reshape(-1, 3)
    far = np.stack([np.linspace(3, 6, 3000), np.zeros(3000), np.ones(3000)], -1)
    points, rgb = np.concatenate([wall, far]), np.repeat(np.array([RED, BLUE], np.uint8), [6400, 3000], 0)
    picture = view_of_world(points, rgb, View(0.0), 300, 400, lines=3000)
    red = (picture == RED).all(-1)
    assert np.ptp(np.flatnonzero(red.any(0))) > 250 and np.ptp(np.flatnonzero(red.any(1))) > 250
    assert red[100:200, 150:200].mean() > 0.9  # few points are drawn larger
    with_all = view_of_world(points, rgb, View(0.0), 300, 400)
    assert np.ptp(np.flatnonzero((with_all == RED).all(-1).any(0))) < 100  # as it was
