"""Steadiness without truth, by closed forms: a plane that a camera walks past, and one before a camera that stands."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from test_export_worlds import FRAMES, plane, poses

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.evaluation.steadiness import Steadiness


def swelling(rate: float, still: bool) -> gc.Scene:
    """The plane, its depth growing by a factor a frame; from one place, or by a camera that walks."""
    true = plane()
    moving = np.asarray(true.array("moving"))
    depth = np.asarray(true.depth)
    if still:
        depth, moving = np.repeat(depth[:1], FRAMES, 0), np.repeat(moving[:1], FRAMES, 0)
        moving[3, 20:24] = True  # covered once
        depth[3, 20:24] = 0.5
    factor = (1 + rate) ** np.arange(FRAMES)[:, None, None]
    scene = gc.Scene.from_depth(depth * factor, true.mask, true.intrinsics, fps=10)
    scene.set_poses(np.repeat(poses()[:1], FRAMES, 0) if still else poses())
    scene.set_array("moving", moving)
    return scene


@pytest.mark.parametrize("still", [True, False])
def test_what_the_depth_changes_by_is_found_and_moving_things_are_left_out(still):
    assert Steadiness(swelling(0, still)).change(1) < (
        1e-6 if still else 6e-3
    )  # a nearest pixel is not the place itself
    for lag in (1, 2, 4):
        found = Steadiness(swelling(0.05, still)).change(lag)
        # Carried by true poses, swollen depth lands elsewhere too: the plane is slanted, so that is a little more.
        assert found == pytest.approx(1 - 1.05**-lag, rel=1e-5 if still else 0.25)
    assert np.isnan(Steadiness(swelling(0.05, still)).change(5))


def test_the_range_over_the_clip_is_that_of_a_camera_that_stands():
    assert Steadiness(swelling(0.05, True)).extent() == pytest.approx(1.05 ** (FRAMES - 1), rel=1e-6)
    assert Steadiness(swelling(0.05, True), 1, 3).extent() == pytest.approx(1.05, rel=1e-6)
    assert np.isnan(Steadiness(swelling(0.05, False)).extent())


@pytest.mark.parametrize("unit", [1e-7, 1e7])
def test_depth_of_any_unit_is_judged_alike(unit):
    scene = swelling(0.05, False)
    other = gc.Scene.from_depth(np.asarray(scene.depth) * unit, scene.mask, scene.intrinsics, fps=10)
    far = poses()
    far[:, :3, 3] *= unit
    other.set_poses(far)
    other.set_array("moving", np.asarray(scene.array("moving")))
    assert Steadiness(other).change(1) == pytest.approx(Steadiness(scene).change(1), rel=1e-3)


def test_a_single_frame_has_no_range():
    assert np.isnan(Steadiness(swelling(0.05, True), 1, 2).extent())


def test_scenes_on_the_command_line(tmp_path, capsys):
    swelling(0.1, True).save(tmp_path / "a.gc")
    scene = swelling(0.1, False)
    scene.set_array("shots", np.array([0, 2]))
    scene.save(tmp_path / "b.gc")
    assert main(["eval", "steady", str(tmp_path / "a.gc"), str(tmp_path / "b.gc")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if ".gc" in line]
    assert rows[0][1:] == ["9.1", "–", "–", "1.464", "yes"]
    assert [r[-1] for r in rows[1:]] == ["no", "no"] and "shot" in rows[2]
    gc.Scene.from_depth(*(np.asarray(x) for x in (scene.depth, scene.mask, scene.intrinsics))).save(tmp_path / "c.gc")
    assert (
        main(["eval", "steady", str(tmp_path / "c.gc")]) == 2 and "neither poses nor frames" in capsys.readouterr().err
    )
    assert main(["eval", "steady"]) == 2


def seen_from_one_place(shift: int) -> gc.Scene:
    """Noise that is moved by so many pixels a frame; a square of it changes, and only there depth doesn't grow."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 255, (6, 14, 3)).repeat(16, 0).repeat(16, 1).astype(np.uint8)
    frames = np.stack([noise[:, t * shift : t * shift + 128] for t in range(10)])
    frames[:, 16:48, 16:48] = random.integers(0, 255, (10, 1, 1, 1))
    depth = np.repeat((2 * 1.02 ** np.arange(10))[:, None, None], 192, 1).repeat(256, 2)
    depth[:, 24:104, 24:104] = 1
    return gc.Scene.from_depth(depth, np.ones(depth.shape, bool), np.diag([200.0, 200, 1]), frames)


def test_a_camera_that_stands_still_wants_no_poses(tmp_path, capsys):
    seen_from_one_place(0).save(tmp_path / "still.gc")
    seen_from_one_place(8).save(tmp_path / "moves.gc")
    assert main(["eval", "steady", str(tmp_path / "still.gc")]) == 0
    (row,) = [line.split() for line in capsys.readouterr().out.splitlines() if ".gc" in line]
    assert row[1:3] == ["2.0", f"{100 * (1 - 1.02**-8):.1f}"] and row[4:] == [f"{1.02**9:.3f}", "yes"]
    assert main(["eval", "steady", str(tmp_path / "moves.gc")]) == 2
    assert "no poses, and its camera moves; run 'geometrycrafter poses" in capsys.readouterr().err


def test_frames_of_any_sides_can_be_judged():
    for height, width in ((8, 2100), (2100, 8), (1, 1)):
        frames = np.zeros((2, height, width, 3), np.uint8)
        depth = np.stack([np.full((height, width), 2.0), np.full((height, width), 3.0)])
        scene = gc.Scene.from_depth(depth, depth > 0, np.diag([200.0, 200, 1]), frames)
        assert Steadiness(scene).extent() == pytest.approx(1.5)


def test_things_are_followed_not_pixels():
    # A camera in a hand turns by a pixel a frame before a slanted wall, and a thing that goes its own way covers some.
    random = np.random.default_rng(1)
    wall = random.integers(0, 255, (6, 10, 3)).repeat(16, 0).repeat(16, 1).astype(np.uint8)
    slant = np.exp(0.02 * np.arange(160))
    frames, depth = np.empty((9, 96, 128, 3), np.uint8), np.empty((9, 96, 128))
    for t in range(9):
        frames[t], depth[t] = wall[:, t : t + 128], slant[t : t + 128]
        at = slice(20 + 5 * t, 60 + 5 * t)
        frames[t, 30:70, at], depth[t, 30:70, at] = wall[50:90, 100:140], 0.7 + 0.1 * t
    scene = gc.Scene.from_depth(depth, np.ones(depth.shape, bool), np.diag([200.0, 200, 1]), frames)
    found = Steadiness(scene)
    assert found.extent() == pytest.approx(1, abs=0.03)  # of one pixel it is 1.17
    assert found.change(8) < 0.03


def test_what_cannot_be_judged_does_not_keep_the_rest_from_it(tmp_path, capsys):
    seen_from_one_place(8).save(tmp_path / "moves.gc")
    seen_from_one_place(0).save(tmp_path / "still.gc")
    assert main(["eval", "steady", *(str(tmp_path / f"{n}.gc") for n in ("moves", "nothing", "still"))]) == 2
    said = capsys.readouterr()
    assert "still.gc" in said.out and said.err.count("error: ") == 2
    assert "its camera moves" in said.err and "nothing.gc" in said.err


def test_flags_of_eval_that_say_nothing_to_scenes_are_refused(tmp_path, capsys, monkeypatch):
    seen_from_one_place(0).save(tmp_path / "still.gc")
    assert main(["eval", "steady", str(tmp_path / "still.gc"), "--stride", "2"]) == 2
    assert "--stride says nothing to 'eval steady'" in capsys.readouterr().err
    assert main(["eval", "table", str(tmp_path), "--stride", "2"]) == 2
    assert "--stride says nothing to 'eval table'" in capsys.readouterr().err
    (tmp_path / "geometrycrafter.toml").write_text("[eval]\nstride = 3\n")  # is for other data
    monkeypatch.chdir(tmp_path)
    assert main(["eval", "steady", "still.gc"]) == 0


def textured(sides: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A picture of blocks of 16 and of 4 pixels."""
    random = np.random.default_rng(seed)
    large, small = (random.integers(0, 128, (sides[0] // n + 1, sides[1] // n + 1, 3)) for n in (16, 4))
    whole = (
        large.repeat(16, 0).repeat(16, 1)[: sides[0], : sides[1]]
        + small.repeat(4, 0).repeat(4, 1)[: sides[0], : sides[1]]
    )
    return whole.astype(np.uint8)


def of_a_wall(shifts: list[int], change: Callable[[np.ndarray], None] = lambda frames: None) -> gc.Scene:
    """A slanted wall from a camera that is turned by pixels; its pictures are changed by something."""
    wall, slant = textured((96, 240)), np.exp(0.02 * np.arange(240))
    frames = np.stack([wall[:, 40 + x : 168 + x] for x in shifts])
    depth = np.stack([np.repeat(slant[None, 40 + x : 168 + x], 96, 0) for x in shifts])
    change(frames)
    return gc.Scene.from_depth(depth, np.ones(depth.shape, bool), np.diag([200.0, 200, 1]), frames)


def sway(count: int) -> list[int]:
    return [round(4 * np.sin(t / 3)) for t in range(count)]


def hidden(frames: np.ndarray) -> None:
    frames[9:12] = textured((96, 128), 7)


def dark(frames: np.ndarray) -> None:
    frames[10] = 0


def lit(frames: np.ndarray) -> None:
    frames[:] = frames // 2 + (60 + 50 * (np.arange(len(frames)) % 2))[:, None, None, None].astype(np.uint8)


def with_a_sky(frames: np.ndarray) -> None:
    frames[:, :58] = (180, 200, 230)


@pytest.mark.parametrize("change", [hidden, dark, lit, with_a_sky])
def test_frames_that_show_something_else_and_places_without_texture_say_nothing(change):
    found = Steadiness(of_a_wall(sway(20), change))
    assert found.extent() == pytest.approx(1, abs=0.03) and found.change(1) < 0.03 and found.change(8) < 0.03


@pytest.mark.parametrize("change", [with_a_sky, lambda frames: None])
def test_a_camera_that_pans_is_told_whatever_hangs_before_it(change):
    with pytest.raises(gc.InputError, match="run 'geometrycrafter poses"):
        Steadiness(of_a_wall([4 * (t - 10) for t in range(20)], change))


def test_things_are_not_lost_over_a_long_shot():
    assert Steadiness(of_a_wall(sway(200))).extent() == pytest.approx(1, abs=0.03)
