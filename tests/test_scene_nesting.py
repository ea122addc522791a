"""No scene is made within another, nor among the pictures that it is made from."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import flat_prior, moving_pattern, write_video
from test_export import write_png
from test_scene_files import made, tree

import geometrycrafter as gc


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for t, picture in enumerate(moving_pattern(3, 64, 64)):
        write_png(folder / f"f{t}.png", picture)
    return folder


@pytest.mark.parametrize("inside", ["in.gc", "depth/in.gc", "new/in.gc", "../link.gc/in.gc"])
def test_a_scene_is_not_saved_within_itself_or_another(tmp_path, inside):
    scene = made().save(tmp_path / "s.gc")
    (tmp_path / "link.gc").symlink_to("s.gc")
    before = tree(tmp_path)
    for each in (scene, made(1)):
        for overwrite in (False, True):
            with pytest.raises(gc.InputError, match=r"in\.gc: this is within the scene s\.gc") as caught:
                each.save(tmp_path / "s.gc" / inside, overwrite=overwrite)
            assert "\n" not in str(caught.value)
    assert tree(tmp_path) == before and not (tmp_path / "s.gc" / "new").exists()


def test_a_scene_does_not_replace_the_one_that_it_lies_in(tmp_path):
    made().save(tmp_path / "apart.gc")
    made(1).save(tmp_path / "s.gc")
    (tmp_path / "apart.gc").rename(tmp_path / "s.gc" / "in.gc")  # as earlier versions let it be
    with pytest.raises(gc.InputError, match="within this one"):
        gc.open(tmp_path / "s.gc" / "in.gc").save(tmp_path / "s.gc", overwrite=True)
    assert np.array_equal(gc.open(tmp_path / "s.gc" / "in.gc").depth[:], made().depth[:])


def test_a_run_is_not_made_within_a_scene_or_its_frames(hub, tmp_path, frames):
    estimator = gc.load(hub, "deterministic", prior=flat_prior)
    made().save(tmp_path / "s.gc")
    (tmp_path / "link").symlink_to("frames")
    before = tree(tmp_path)
    for how in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(gc.InputError, match=r"in\.gc: this is within the scene s\.gc"):
            estimator(frames, size=(64, 64), output=tmp_path / "s.gc" / "in.gc", **how)
        for place in (frames, frames / "out.gc", frames / "a" / "out.gc", tmp_path / "link" / "out.gc"):
            with pytest.raises(gc.InputError, match="within the folder of frames") as caught:
                estimator(frames, size=(64, 64), output=place, **how)
            assert "\n" not in str(caught.value)
    assert tree(tmp_path) == before and sorted(p.name for p in frames.iterdir()) == ["f0.png", "f1.png", "f2.png"]
    scene = estimator(frames, size=(64, 64), output=tmp_path / "out.gc")
    with pytest.raises(gc.InputError, match="within the folder of frames"):
        scene.save(frames / "copy.gc")
    assert len(scene.save(tmp_path / "copy.gc")) == 3


@pytest.mark.parametrize("kind", ["folder", "glob", "video"])
def test_a_scene_that_holds_its_frames_is_not_replaced(hub, tmp_path, frames, kind):
    estimator = gc.load(hub, "deterministic", prior=flat_prior)
    made().save(tmp_path / "s.gc")
    frames = frames.rename(tmp_path / "s.gc" / "pictures")
    video = {"folder": frames, "glob": frames / "*.png", "video": frames / "v.mp4"}[kind]
    if kind == "video":
        write_video(video, moving_pattern(3, 64, 64))
    before = tree(tmp_path)
    for how in ({"overwrite": True}, {"resume": True}):
        with pytest.raises(gc.InputError, match="are in this scene; choose another place") as caught:
            estimator(video, size=(64, 64), output=tmp_path / "s.gc", **how)
        assert "\n" not in str(caught.value)
    scene = estimator(video, size=(64, 64), output=tmp_path / "out.gc")
    with pytest.raises(gc.InputError, match="are in this scene"):
        scene.save(tmp_path / "s.gc", overwrite=True)
    assert before.items() <= tree(tmp_path).items()


def test_damage_late_in_a_video_says_where_what_was_done_is_kept(hub, tmp_path):
    def broken():
        yield from moving_pattern(20, 64, 64)
        yield moving_pattern(1, 32, 32)[0]

    estimator = gc.load(hub, "deterministic", prior=flat_prior)
    for resume, kept in ((False, ".a.gc.run"), (True, "a.gc")):
        with pytest.raises(gc.InputError, match=r"32x32.*--resume") as caught:
            estimator(broken(), size=(64, 64), output=tmp_path / "a.gc", resume=resume)
        assert f" {tmp_path / kept}: go on" in str(caught.value) and (tmp_path / kept).is_dir()
        assert "\n" not in str(caught.value)
