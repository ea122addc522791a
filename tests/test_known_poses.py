"""Poses that other programs and exports know: of the frames that they are of, the others found from them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import write_video
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.errors import InputError
from geometrycrafter.poses.pose_matching import Frames, Trajectory
from geometrycrafter.poses.trajectories import read_poses
from geometrycrafter.video.options import Reading
from geometrycrafter.video.reading import open_frames

SIZE = (12, 96, 128)
UNIT = 2.5


@pytest.fixture(scope="module")
def clip():
    return rendered(100, *SIZE)


@pytest.fixture(scope="module")
def made(clip, tmp_path_factory):
    """A video; a scene of the renderer's depth in a unit of its own; the same with true poses, some left out."""
    folder = tmp_path_factory.mktemp("known")
    write_video(folder / "a.mp4", clip.frames)
    depth, quality = clip.depth / UNIT, np.ones(SIZE[0], np.float32)
    quality[[0, 5, 6, 11]] = 0
    for name in ("found", "bare"):
        scene = gc.Scene.from_depth(depth, clip.mask, clip.intrinsics, frames=clip.frames, fps=clip.fps)
        if name == "found":
            truth = clip.poses.copy()
            truth[:, :3, 3] /= UNIT
            scene.set_arrays({"poses": truth, "pose_quality": quality, "moving": clip.dynamic})
        scene.save(folder / f"{name}.gc")
    write_video(folder / "mask.mp4", np.repeat(np.asarray(clip.dynamic)[..., None], 3, -1).astype(np.uint8) * 255)
    return folder


@pytest.mark.parametrize("format", ["colmap", "nerfstudio", "tum", "scene"])
def test_an_export_that_lacks_frames_comes_back(made, clip, tmp_path, capsys, format):
    """The frames that it has keep its poses; those that it lacks are found from them."""
    place = tmp_path / f"a.{format}"
    if format == "scene":
        place = made / "found.gc"
    else:
        assert main(["export", str(made / "found.gc"), format, str(place)]) == 0
    shutil.copytree(made / "bare.gc", tmp_path / "bare.gc")
    source = ["--source", str(made / "a.mp4"), "--mask", str(made / "mask.mp4")]
    capsys.readouterr()
    assert main(["poses", str(tmp_path / "bare.gc"), "--poses", str(place), *source]) == 0
    told = capsys.readouterr().out
    assert "12 of 12 frames" in told
    assert "Frames 0, 5 to 6, 11: no pose was given; found from the others." in told
    found = np.asarray(gc.open(tmp_path / "bare.gc").poses)
    truth = clip.poses.copy()
    truth[:, :3, 3] /= UNIT
    given_ones = [1, 2, 3, 4, 7, 8, 9, 10]
    np.testing.assert_allclose(found[given_ones], truth[given_ones], atol=1e-5)
    path = np.linalg.norm(np.diff(truth[:, :3, 3], axis=0), axis=1).sum()
    assert np.linalg.norm(found[:, :3, 3] - truth[:, :3, 3], axis=1).max() < 0.03 * path  # a third of a step


def test_frames_that_nothing_ties_to_known_ones_stay_unknown(clip):
    frames = clip.frames.copy()
    frames[6:] = 0
    scene = gc.Scene.from_depth(clip.depth, clip.mask, clip.intrinsics)
    known = np.asarray(clip.poses, np.float64).copy()
    known[3:] = np.nan
    found = gc.poses.estimate(scene, frames, np.asarray(clip.dynamic), poses=known)
    assert found.known.tolist() == [True] * 6 + [False] * 6
    assert any(note.startswith("Frames 6 to 11: too few") for note in found.notes)
    assert any(note.startswith("Frames 3 to 5: no pose was given") for note in found.notes)
    assert np.isinf(found.covariance[:3]).all() and np.isfinite(found.covariance[3:6]).all()
    path = np.linalg.norm(np.diff(clip.poses[:6, :3, 3], axis=0), axis=1).sum()
    assert np.linalg.norm(found.poses[:6, :3, 3] - clip.poses[:6, :3, 3], axis=1).max() < 0.03 * path


@pytest.mark.parametrize("cut", [["--start", "3", "--stride", "2"], ["--end", "7"], ["--start-time", "0.2"]])
@pytest.mark.parametrize("format", ["tum", "kitti", "colmap", "recording"])
def test_poses_of_the_whole_clip_are_cut_as_the_scene_is(clip, tmp_path, cut, format):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for t, frame in enumerate(clip.frames):
        Image.fromarray(frame).save(pictures / f"frame-{t:03d}.color.png")
    chosen = np.arange(SIZE[0])[
        {"--start": slice(3, None, 2), "--end": slice(7), "--start-time": slice(5, None)}[cut[0]]
    ]
    assert main(["run", str(pictures), "-o", str(tmp_path / "a.gc"), *cut]) == 0
    scene = gc.open(tmp_path / "a.gc")
    assert len(scene) == len(chosen)
    poses = np.asarray(clip.poses, np.float64)
    place = tmp_path / "poses.txt"
    if format == "tum":
        times = np.arange(SIZE[0]) / 24
        place.write_text("".join(f"{t} {p[0, 3]} {p[1, 3]} {p[2, 3]} 0 0 0 1\n" for t, p in zip(times, poses)))
    elif format == "kitti":
        np.savetxt(place, poses[:, :3].reshape(-1, 12))
    elif format == "colmap":
        place = tmp_path / "images.txt"
        lines = [
            f"{t + 1} 1 0 0 0 {' '.join(map(str, -p[:3, 3]))} 1 frame-{t:03d}.jpg\n\n" for t, p in enumerate(poses)
        ]
        place.write_text("".join(lines[::-1]))
    else:
        place = tmp_path / "recording"
        place.mkdir()
        for t, p in enumerate(poses):
            np.savetxt(place / f"frame-{t:03d}.pose.txt", p)
    found = read_poses(place).at(Frames.of(scene, scene.open_source()))
    np.testing.assert_allclose(found[:, :3, 3], poses[chosen, :3, 3], atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_images_are_matched_by_the_numbers_of_their_names(data):
    """COLMAP leaves out what it can't register; names count from 0 or 1, and come in any order."""
    count, base = data.draw(st.integers(4, 40)), data.draw(st.integers(0, 1))
    end = 0 if base == 0 else count - 1  # the frame that tells what names count from
    kept = sorted({end, *data.draw(st.sets(st.integers(0, count - 1), min_size=2))})
    names = data.draw(st.permutations([f"take2/IMG_{t + base:04d}.JPG" for t in kept]))
    poses = np.tile(np.eye(4), (len(names), 1, 1))
    poses[:, 0, 3] = [int(name[-8:-4]) - base for name in names]
    found = Trajectory(Path("x"), poses, names=names).at(Frames(np.arange(count) / 24))
    assert np.flatnonzero(np.isfinite(found[:, 0, 0])).tolist() == kept
    assert found[kept, 0, 3].tolist() == kept


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_lines_are_matched_by_their_times(data):
    """At any rate, also at one whose frames are nearer to each other than a clock is trusted."""
    count, rate = data.draw(st.integers(6, 60)), data.draw(st.sampled_from([10, 24, 30, 60, 120, 240]))
    kept = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=3)))
    times = 1.5 + np.arange(count) / rate
    jitter = np.array([data.draw(st.floats(-0.2, 0.2)) for _ in kept]) / max(rate, 20)
    poses = np.tile(np.eye(4), (len(kept), 1, 1))
    poses[:, 0, 3] = kept
    found = Trajectory(Path("x"), poses, times=times[kept] + jitter).at(Frames(times))
    assert np.flatnonzero(np.isfinite(found[:, 0, 0])).tolist() == kept
    assert found[kept, 0, 3].tolist() == kept


def test_what_cannot_be_told_is_said(made, tmp_path):
    frames = Frames(np.arange(12) / 24)
    poses = np.tile(np.eye(4), (5, 1, 1))
    names = [f"view{n}.png" for n in (3, 5, 6, 8, 9)]  # from 0, from 1, or of another clip
    with pytest.raises(InputError, match=r"5 poses for 12 frames.*names are those of the video's frames"):
        Trajectory(tmp_path, poses, names=names).at(frames)
    with pytest.raises(InputError, match="5 poses for 12 frames"):
        Trajectory(tmp_path, poses, times=1e9 + np.arange(5) / 24).at(frames)
    with pytest.raises(InputError, match="exported from a scene of 9 frames, and this one has 12"):
        Trajectory(tmp_path, poses, names=names, exported=9).at(frames)
    with pytest.raises(InputError, match="no pose of any"):
        Trajectory(tmp_path, np.tile(np.eye(4), (12, 1, 1)), known=np.zeros(12, bool)).at(frames)


def test_a_project_whose_pictures_are_there_needs_no_numbers(clip, tmp_path):
    """As colmap leaves it: all pictures in ``images``, some of them without a pose."""
    (tmp_path / "images").mkdir()
    (tmp_path / "sparse" / "0").mkdir(parents=True)
    names = [f"shot {chr(ord('a') + t)}.png" for t in range(6)]
    for name in names:
        Image.fromarray(clip.frames[0]).save(tmp_path / "images" / name)
    lines = [f"{t + 1} 1 0 0 0 {-t} 0 0 1 {names[t]}\n\n" for t in (4, 1, 2)]
    (tmp_path / "sparse" / "0" / "images.txt").write_text("".join(lines))
    for place in (tmp_path, tmp_path / "sparse" / "0", tmp_path / "sparse" / "0" / "images.txt"):
        found = read_poses(place).at(Frames(np.arange(6) / 24))
        assert np.flatnonzero(np.isfinite(found[:, 0, 0])).tolist() == [1, 2, 4]
        assert found[[1, 2, 4], 0, 3].tolist() == [1, 2, 4]


def test_trajectories_of_part_of_a_scene_are_judged_where_truth_is(made, clip, tmp_path, capsys):
    shutil.copytree(made / "found.gc", tmp_path / "a.gc")
    rows = [f"{t / clip.fps} {p[0, 3]} {p[1, 3]} {p[2, 3]} 0 0 0 1\n" for t, p in enumerate(clip.poses)]
    (tmp_path / "true.txt").write_text("".join(rows[2:5] + rows[7:]))
    assert main(["eval", "poses", str(tmp_path / "a.gc"), "--truth", str(tmp_path / "true.txt")]) == 0
    assert "7/12" in capsys.readouterr().out


def test_nerfstudios_cameras_are_turned(tmp_path):
    pose = np.array([[0.0, 0, 1, 1], [1, 0, 0, 2], [0, 1, 0, 3], [0, 0, 0, 1]])
    frames = [{"file_path": f"images/{n}.png", "transform_matrix": pose.tolist()} for n in (2, 1)]
    frames[0]["transform_matrix"][0][3] = 5.0
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": frames}))
    found = read_poses(tmp_path).at(Frames(np.arange(2) / 24))
    assert found[:, 0, 3].tolist() == [1, 5]  # in order of names
    np.testing.assert_allclose(found[0, :3, :3] @ [0, 0, 1], -pose[:3, 2])  # looks along -z
    np.testing.assert_allclose(found[0, :3, :3] @ [0, 1, 0], -pose[:3, 1])  # y points down


@pytest.mark.parametrize("kind", ["video", "pictures"])
def test_a_scene_of_a_part_is_matched_to_its_part_of_a_longer_source(clip, tmp_path, capsys, kind):
    """The scene is of frames 3 to 8, and says no source, or one that was cut out as a file of its own."""
    part = slice(3, 9)
    longer = tmp_path / "all"
    if kind == "video":
        longer = tmp_path / "all.mp4"
        write_video(longer, clip.frames)
    else:
        longer.mkdir()
        for t, frame in enumerate(clip.frames):
            Image.fromarray(frame).save(longer / f"{t:03d}.png")
    place = str(tmp_path / "a.gc")
    gc.Scene.from_depth(clip.depth[part], clip.mask[part], clip.intrinsics[part]).save(place)
    mask = tmp_path / "mask.mp4"
    write_video(mask, np.repeat(np.asarray(clip.dynamic)[part][..., None], 3, -1).astype(np.uint8) * 255)
    command = ["poses", place, "--source", str(longer), "--mask", str(mask)]
    assert main(command) == 2
    assert "there are 12 frames, and the scene has 6; say which" in capsys.readouterr().err
    assert main([*command, "--start", "3", "--end", "9"]) == 0
    found, frames = np.asarray(gc.open(place).poses), list(open_frames(longer))
    masks = np.stack([picture[..., 0] > 127 for picture in open_frames(mask)])
    np.testing.assert_array_equal(found, gc.poses.estimate(gc.open(place).predicted, frames[part], masks).poses)
    assert main(["poses", place, "--start", "3"]) == 2
    assert "--source" in capsys.readouterr().err
    assert main([*command, "--start", "9"]) == 2
    assert "3 frames where the scene has 6" in capsys.readouterr().err


def _lines(place: Path, rows: list[tuple[float, int]]) -> Path:
    place.write_text("".join(f"{time:.6f} {x} 0 0 0 0 0 1\n" for time, x in rows))
    return place


def test_lines_of_a_whole_clip_that_lack_its_first_frames_stay_with_their_frames(tmp_path):
    """Put at the first frame they would have all of them, too, each with a later one's pose."""
    whole = [(t / 25, t) for t in range(3, 100)]
    times = np.arange(30) / 25
    frames = Frames(times, numbers=np.arange(30), total=100, slack=2)
    for wanted in (frames, Frames(times), Frames(times, numbers=np.arange(30), total=97)):
        if wanted.total == 97:  # as many as the source has frames: those that have no clock of it are in order
            whole = [(1e9 + time, x) for time, x in whole]
        found = read_poses(_lines(tmp_path / "a.txt", whole)).at(wanted)[:, 0, 3]
        if wanted.total == 97:
            assert found.tolist() == list(range(3, 33))
        else:
            assert np.isnan(found[:3]).all()
            assert found[3:].tolist() == list(range(3, 30))


@pytest.mark.parametrize("begin", [0.0, 1.6e9])
def test_lines_that_lack_all_frames_of_a_part_are_not_put_at_it(tmp_path, begin):
    """Frames 40 to 51 of a video; its first 40 poses on another clock would fit them as well."""
    frames = Frames(np.arange(40, 52) / 20, numbers=np.arange(40, 52))
    others = [t for t in range(84) if not 40 <= t < 52]
    for lines in (others, others[:40]):
        place = _lines(tmp_path / "a.txt", [(begin + t / 20, t) for t in lines])
        with pytest.raises(InputError, match=f"{len(lines)} poses for 12 frames"):
            read_poses(place).at(frames)
    whole = _lines(tmp_path / "a.txt", [(begin + t / 20, t) for t in range(84)])
    assert read_poses(whole).at(frames)[:, 0, 3].tolist() == list(range(40, 52))
    own = _lines(tmp_path / "a.txt", [(begin + t / 40, t) for t in range(24)])  # of the part, at twice its rate
    assert read_poses(own).at(frames)[:, 0, 3].tolist() == list(range(0, 24, 2))


def test_lines_in_any_order_go_by_their_times_on_any_clock(tmp_path):
    order = np.random.default_rng(0).permutation(12)
    for begin in (0.0, 1.6e9):
        for rate in (24, 23):  # 23: of another clock altogether, in order of time
            rows = [(begin + t / rate, int(t)) for t in order]
            found = read_poses(_lines(tmp_path / "a.txt", rows)).at(Frames(np.arange(12) / 24))
            assert found[:, 0, 3].tolist() == list(range(12))


def test_what_an_images_file_can_not_mean_is_said(tmp_path):
    place, frames = tmp_path / "images.txt", Frames(np.arange(6) / 24)
    rows = [f"{t + 1} 1 0 0 0 {-t} 0 0 1 my view {t}.png" for t in range(6)]
    place.write_text("\ufeff  # an indented word\n" + "\n\n".join(rows) + "\n\n")
    assert read_poses(place).at(frames)[:, 0, 3].tolist() == list(range(6))
    place.write_text("\n".join(rows) + "\n")
    with pytest.raises(InputError, match="isn't followed by that of its points; leave that empty"):
        read_poses(place)
    place.write_text("\n\n".join([*rows[:5], rows[4]]) + "\n\n")
    with pytest.raises(InputError, match=r"several poses of my view 4\.png"):
        read_poses(place).at(frames)


@pytest.mark.parametrize("lost", ["-inf", "nan"])
def test_matrices_of_a_recording_that_lost_its_way_are_not_known(tmp_path, lost):
    for t in range(4):
        rows = [f"1 0 0 {t}", "0 1 0 0", "0 0 1 0"] if t != 2 else [" ".join([lost] * 4)] * 3
        (tmp_path / f"frame-{t:06d}.pose.txt").write_text("\n".join([*rows, "0 0 0 1"]))
    found = read_poses(tmp_path).at(Frames(np.arange(4) / 30))
    assert found[[0, 1, 3], 0, 3].tolist() == [0, 1, 3]
    assert np.isnan(found[2]).all()
    for place in tmp_path.glob("*.pose.txt"):
        place.write_text(" ".join([lost] * 16))
    with pytest.raises(InputError, match="no frame's pose is finite"):
        read_poses(tmp_path)


@pytest.mark.parametrize("kind", ["video", "pictures"])
def test_poses_of_a_longer_source_are_cut_as_the_scene_was_said_to_be(clip, tmp_path, kind):
    """Its own times begin at 0, and so do those of the source, of which it is another part."""
    longer, chosen = tmp_path / "all", np.arange(3, 12, 2)
    if kind == "video":
        longer = tmp_path / "all.mp4"
        write_video(longer, clip.frames)
    else:
        longer.mkdir()
        for t, frame in enumerate(clip.frames):
            Image.fromarray(frame).save(longer / f"{t:03d}.png")
    gc.Scene.from_depth(clip.depth[3::2], clip.mask[3::2], clip.intrinsics[3::2], fps=24.0).save(tmp_path / "a.gc")
    scene = gc.open(tmp_path / "a.gc")
    source = scene.open_source(longer, Reading(start=3, end=12, stride=2))
    frames, rate = Frames.of(scene, source), source.rate
    whole = [(t / rate, t) for t in range(12)]
    assert read_poses(_lines(tmp_path / "a.txt", whole)).at(frames)[:, 0, 3].tolist() == chosen.tolist()
    if kind == "video":
        found = read_poses(_lines(tmp_path / "a.txt", whole[:5] + whole[6:])).at(frames)[:, 0, 3]
        assert found[[0, 2, 3, 4]].tolist() == chosen[[0, 2, 3, 4]].tolist()
        assert np.isnan(found[1])
    own = [(t / rate, int(x)) for t, x in enumerate(chosen)]  # as the scene's own export has it
    assert read_poses(_lines(tmp_path / "a.txt", own)).at(frames)[:, 0, 3].tolist() == chosen.tolist()


@pytest.mark.parametrize("every", [5, 10])
def test_few_lines_of_a_whole_video_go_to_the_frames_of_a_part_by_the_videos_times(every):
    """Not more of them than the part has frames."""
    lines = np.arange(0, 100, every)
    poses = np.tile(np.eye(4), (len(lines), 1, 1))
    poses[:, 0, 3] = lines
    of_part = np.arange(40, 60)
    frames = Frames(np.arange(20) / 20, numbers=of_part, total=100, slack=2, source_times=of_part / 20)
    found = Trajectory(Path("x"), poses, times=lines / 20).at(frames)
    np.testing.assert_array_equal(found[:, 0, 3], np.where(of_part % every == 0, of_part, np.nan))
