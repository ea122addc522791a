"""Exports: the list of formats, colours from the source, and places that are never written over."""

from __future__ import annotations

import shutil
import subprocess
import sys

import av
import numpy as np
import pytest
from conftest import flat_prior, moving_pattern, write_video
from test_scene_files import made, tree

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.export import FORMATS, export, target_of
from geometrycrafter.export.figure import draw_comparison
from geometrycrafter.scene import SourceRecord
from geometrycrafter.video.pictures import write_png
from geometrycrafter.video.reading import open_frames


def scene_of(source, path):
    """A flat scene of a source's frames, with a small copy of them that is grey."""
    count = len(list(source))
    depth = np.ones((count, source.height, source.width), np.float32)
    k = np.array([[50, 0, 20], [0, 50, 20], [0, 0, 1]], np.float32)
    grey = np.full((count, 8, 8, 3), 128, np.uint8)
    scene = gc.Scene.from_depth(depth, depth > 0, k, grey, source.fps)
    scene._group.attrs.update(SourceRecord.of(source, (50, 50, 20, 20)).stored())
    return scene.save(path)


def vertices(path):
    """Positions and colours of a point cloud, read by the format's own rules."""
    head, _, body = path.read_bytes().partition(b"end_header\n")
    assert b"element vertex" in head
    rows = np.frombuffer(body, np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)]))
    return rows["xyz"], rows["rgb"].astype(int)


@pytest.fixture
def lossless(tmp_path):
    """A video whose pixels are known exactly, its frames, and a scene of every second of them from the third on."""
    frames = moving_pattern(11, 40, 48)
    video = write_video(tmp_path / "clip.mkv", frames, "ffv1", "bgr0")
    return video, frames[2::2], scene_of(open_frames(video).cut(2, None, 2), tmp_path / "clip.gc")


def test_colours_are_the_videos_own_at_full_size(lossless, tmp_path):
    video, frames, scene = lossless
    for t in (0, 3, -1):
        _, rgb = vertices(export(scene, "ply", tmp_path / "a.ply", frame=t))
        assert np.array_equal(rgb, frames[t].reshape(-1, 3))
    _, rgb = vertices(export(scene, "ply", tmp_path / "a.ply", colour="small"))
    assert (rgb == 128).all()


def test_a_video_that_has_moved_is_found_by_its_new_name(lossless, tmp_path, capsys):
    video, frames, scene = lossless
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.move(video, tmp_path / "elsewhere" / "other.mkv")
    with pytest.raises(gc.InputError, match=r"clip\.mkv.*moved.*--source PATH"):
        scene.open_source()
    command = ["export", str(scene.path), "ply", str(tmp_path / "a.ply"), "--overwrite"]
    assert main(command) == 0
    assert "small copy" in capsys.readouterr().err and (vertices(tmp_path / "a.ply")[1] == 128).all()
    assert main([*command, "--colour", "full"]) == 2
    assert main([*command, "--source", str(moved)]) == 0
    assert np.array_equal(vertices(tmp_path / "a.ply")[1], frames[0].reshape(-1, 3))
    assert np.array_equal(np.stack(list(scene.open_source(moved))), frames)


def test_colours_are_those_of_a_part_of_a_longer_video(lossless, tmp_path, capsys):
    video, frames, scene = lossless
    plain = gc.Scene.from_depth(np.ones(frames[:3].shape[:3]), np.ones(frames[:3].shape[:3], bool), np.eye(3) + 1)
    plain.save(tmp_path / "plain.gc")
    command = ["export", str(tmp_path / "plain.gc"), "ply", str(tmp_path / "a.ply"), "--frame", "1", "--overwrite"]
    assert main([*command[:3], str(tmp_path / "each"), "--each", "--source", str(video)]) == 2
    assert "more frames than the scene's 3" in capsys.readouterr().err
    assert (
        main([*command, "--source", str(video), "--source-start", "4", "--source-end", "10", "--source-stride", "2"])
        == 0
    )
    assert np.array_equal(vertices(tmp_path / "a.ply")[1], frames[2].reshape(-1, 3))
    assert main([*command, "--source-start", "4"]) == 2
    assert "say which frames of --source" in capsys.readouterr().err


@pytest.mark.parametrize(
    "asked",
    [["ply", "--frame", "2"], ["ply", "--each"], ["glb", "--animate"], ["usd"], ["html"], ["html", "--stride", "2"]],
    ids=" ".join,
)
def test_colours_of_a_part_that_is_shorter_than_the_scene_are_refused(lossless, tmp_path, capsys, asked):
    video, frames, _ = lossless
    shape = frames[:3].shape[:3]
    gc.Scene.from_depth(np.ones(shape), np.ones(shape, bool), np.eye(3) + 1).save(tmp_path / "plain.gc")
    named, *options = asked
    target = tmp_path / f"a.{named}"
    source = ["--source", str(video), "--source-start", "4", "--source-end"]
    assert main(["export", str(tmp_path / "plain.gc"), named, str(target), *options, *source, "6"]) == 2
    assert "say which are the scene's with --source-start" in capsys.readouterr().err
    assert not target.exists()
    assert main(["export", str(tmp_path / "plain.gc"), named, str(target), *options, *source, "7"]) == 0


@pytest.mark.parametrize("seed_and_size", [(1, 48), (0, 64)])
def test_another_video_under_the_same_name_is_refused(lossless, tmp_path, seed_and_size):
    video, _, scene = lossless
    seed, width = seed_and_size
    write_video(video, moving_pattern(11, 40, width, seed), "ffv1", "bgr0")
    for path, remedy in ((None, "with --source PATH"), (video, "or say which of them")):
        with pytest.raises(gc.InputError, match=rf"clip\.mkv: these are not the frames.*{remedy}"):
            scene.open_source(path)


def test_images_are_found_again_too_and_never_written_over(tmp_path):
    pictures = moving_pattern(4, 24, 32)
    (tmp_path / "shots").mkdir()
    for t, picture in enumerate(pictures):
        write_png(tmp_path / "shots" / f"s{t}.png", picture)
    for place in (tmp_path / "shots", tmp_path / "shots" / "*.png"):
        scene = scene_of(open_frames(str(place)), tmp_path / "a.gc")
        assert np.array_equal(np.stack(list(scene.open_source())), pictures)
        with pytest.raises(gc.InputError, match=r"s2\.png"):
            target_of(scene, "ply", tmp_path / "shots" / "s2.png")
        shutil.rmtree(tmp_path / "a.gc")
    scene = scene_of(open_frames(str(tmp_path / "shots")), tmp_path / "a.gc")
    (tmp_path / "shots" / "s1.png").unlink()
    with pytest.raises(gc.InputError, match="not the frames"):
        scene.open_source()


def test_a_scene_of_an_array_names_its_frames_by_source(tmp_path):
    frames = moving_pattern(5, 40, 48)
    scene = scene_of(open_frames(frames), tmp_path / "a.gc")
    with pytest.raises(gc.InputError, match="--source"):
        scene.open_source()
    video = write_video(tmp_path / "v.mkv", frames, "ffv1", "bgr0")
    assert np.array_equal(np.stack(list(scene.open_source(video))), frames)
    record = scene.source
    assert record.kind == "array" and record.camera == (50, 50, 20, 20) and record.content is not None
    with pytest.raises(gc.InputError, match="which frames"):
        made().open_source()


def test_a_video_is_never_written_over(tmp_path, capsys):
    video = write_video(tmp_path / "clip.mp4", moving_pattern(4, 32, 32))
    before = video.read_bytes()
    scene_of(open_frames(str(video)), tmp_path / "clip.gc")
    (tmp_path / "link.mp4").symlink_to("clip.mp4")
    for target in (["clip.mp4", "--overwrite"], ["link.mp4", "--overwrite"]):
        assert main(["export", str(tmp_path / "clip.gc"), "mp4", str(tmp_path / target[0]), *target[1:]]) == 2
        assert "made from this file" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "clip.gc"), "mp4"]) == 0  # beside the scene, under another name
    assert video.read_bytes() == before
    with av.open(str(tmp_path / "clip.gc.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 4


def test_nothing_is_written_into_a_scene(tmp_path, capsys):
    made().save(tmp_path / "a.gc")
    made().save(tmp_path / "b.gc")
    before = tree(tmp_path)
    for target in ("b.gc/zarr.json", "b.gc/depth/x.npz", "b.gc", "nowhere/x.npz"):
        assert main(["export", str(tmp_path / "a.gc"), "npz", str(tmp_path / target), "--overwrite"]) == 2
        assert main(["compare", str(tmp_path / "a.gc"), "-o", str(tmp_path / target), "--overwrite"]) == 2
    assert tree(tmp_path) == before


def test_an_export_from_within_the_scene_lands_beside_it(tmp_path, monkeypatch, capsys):
    made().save(tmp_path / "a.gc")
    monkeypatch.chdir(tmp_path / "a.gc")
    assert main(["export", ".", "npz"]) == 0
    assert (tmp_path / "a.npz").is_file()


def test_an_export_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    scene = made().save(tmp_path / "a.gc")
    target = export(scene, "npz", tmp_path / "a.npz")
    before = target.read_bytes()
    (tmp_path / "a.gc" / "depth" / "c" / "2" / "0" / "0").write_bytes(b"no chunk")
    with pytest.raises(gc.InputError, match="can't be read"):
        export(gc.open(tmp_path / "a.gc"), "npz", target)
    assert target.read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == ["a.gc", "a.npz"]


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("ply", {"step": 0}),
        ("ply", {"frame": 3}),
        ("ply", {"frame": 1.5}),
        ("ply", {"stepp": 1}),
        ("ply", {"colour": "red"}),
        ("mp4", {"max_width": float("nan")}),
        ("mp4", {"frame": 1}),
        ("npz", {"frame": 0}),
        ("tar", {}),
    ],
)
def test_options_that_a_format_does_not_take_are_refused(tmp_path, format, options):
    with pytest.raises(gc.InputError):
        export(made(), format, tmp_path / "x", **options)
    assert not list(tmp_path.iterdir())


def test_the_list_of_formats_is_the_commands_list_and_loads_nothing_heavy():
    code = (
        "import sys\nfrom geometrycrafter.cli.main import build_parser\nparser = build_parser()\n"
        "print([m for m in ('torch', 'zarr', 'av') if m in sys.modules])\nparser.parse_args(['export', '--help'])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("[]") and all(name in said for name in FORMATS)
    for format in FORMATS.values():
        known = {"splats": ".splats.ply", "rerun": ".rrd"}  # what programs know their files by
        ends = known.get(format.name, f".{format.name}")
        assert format.suffix == ends and format.what


def blank(*frames):
    """A scene whose frames have no valid depth where it is listed."""
    depth = np.random.default_rng(0).uniform(1, 5, (4, 16, 24)).astype(np.float32)
    mask = np.ones(depth.shape, bool)
    for t in frames:
        depth[t], mask[t] = np.nan, False
    return gc.Scene.from_depth(depth, mask, np.array([[20, 0, 12], [0, 20, 8], [0, 0, 1]]), fps=10)


@pytest.mark.parametrize("frames", [(0,), (2,), (0, 1, 2, 3)])
@pytest.mark.filterwarnings("error")
def test_frames_without_depth_are_drawn_as_such(tmp_path, frames):
    draw_comparison([blank(*frames), blank()], ["a", "b"], tmp_path / "f.png", [0, 1, 2])
    export(blank(*frames), "mp4", tmp_path / "f.mp4")
    export(blank(*frames), "ply", tmp_path / "f.ply")
    assert len(vertices(tmp_path / "f.ply")[0]) == (0 if 0 in frames else 16 * 24)


def test_scenes_of_other_lengths_are_refused_and_of_other_sizes_drawn(tmp_path):
    with pytest.raises(gc.InputError, match="b: 3 frames where a has 4"):
        draw_comparison([blank(), made()], ["a", "b"], tmp_path / "f.png")
    double = np.ones((4, 32, 48), np.float32)
    draw_comparison([blank(), gc.Scene.from_depth(double, double > 0, np.eye(3))], ["a", "b"], tmp_path / "f.png")
    for bad in ({"path": tmp_path / "f.doc"}, {"frames": [-1]}, {"frames": [4]}, {"angle": float("inf")}):
        with pytest.raises(gc.InputError):
            draw_comparison([blank()], ["a"], **({"path": tmp_path / "g.png"} | bad))
    assert [p.name for p in tmp_path.iterdir()] == ["f.png"]


def test_a_run_remembers_its_frames(hub, tmp_path):
    frames = moving_pattern(11, 40, 48)
    video = write_video(tmp_path / "clip.mkv", frames, "ffv1", "bgr0", times=[0, 1, 3, 4, 5, 9, 10, 11, 12, 13, 20])
    estimator = gc.load(hub, "deterministic", prior=flat_prior)
    scene = estimator(
        open_frames(video).cut(1, 8, 2), size=(64, 64), output=tmp_path / "a.gc", intrinsics=(50, 50, 24, 20)
    )
    np.testing.assert_allclose(scene.times, np.array([1, 4, 9, 11]) / 24, atol=1e-3)
    assert np.array_equal(np.stack(list(scene.open_source())), frames[1:8:2])
    assert scene.source == gc.open(scene.save(tmp_path / "b.gc").path).source
    assert (scene.source.path, scene.source.camera) == (str(video), (50, 50, 24, 20))
    assert scene.attributes["source"] == str(video)


@pytest.mark.parametrize("format", list(FORMATS))
def test_names_with_colons_are_names(tmp_path, monkeypatch, format):
    monkeypatch.chdir(tmp_path)
    scene = made()
    scene.set_poses(np.tile(np.eye(4), (len(scene), 1, 1)))
    assert export(scene, format, f"12:30.{format}").stat().st_size > 0


def test_the_ending_of_a_file_names_its_format(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made().save(tmp_path / "a.gc")
    assert main(["export", "a.gc", "cloud.ply"]) == 0 and main(["export", "a.gc", "ply", "b.ply"]) == 0
    assert (tmp_path / "cloud.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()
    assert main(["export", "a.gc", "small.MKV"]) == 0
    with av.open(str(tmp_path / "small.MKV")) as container:
        assert "matroska" in container.format.name
    capsys.readouterr()
    assert main(["export", "a.gc", "ply", "cloud.glb"]) == 2 and ".ply" in capsys.readouterr().err
    assert main(["export", "a.gc", "cloud.ply", "b.glb"]) == 2 and "two files" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.glb"))
    # Preferences of a format are for it however it is named.
    (tmp_path / "geometrycrafter.toml").write_text("[export.ply]\nstep = 4\n")
    assert main(["export", "a.gc", "thin.ply"]) == 0 and main(["export", "a.gc", "c.npz"]) == 0
    assert (tmp_path / "thin.ply").stat().st_size < (tmp_path / "cloud.ply").stat().st_size
