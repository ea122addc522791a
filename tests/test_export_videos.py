"""Exported videos: colours, times, sizes and containers, by our own reader and by ffmpeg; scenes that are odd."""

from __future__ import annotations

import json
import shutil
import subprocess

import av
import numpy as np
import pytest
from test_export import vertices
from test_scene_files import made

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.export import export
from geometrycrafter.export.figure import draw_comparison
from geometrycrafter.video.pictures import RAMP
from geometrycrafter.video.reading import open_frames

COLOURS = np.array(
    [
        *((255, 255, 255), (0, 0, 0), (128, 128, 128), (192, 64, 64), (64, 192, 64), (64, 64, 192)),
        *((255, 0, 0), (0, 255, 0), (0, 0, 255), (240, 200, 160), (20, 60, 90), (250, 240, 10)),
    ],
    np.uint8,
)
K = np.array([[20, 0, 12], [0, 20, 8], [0, 0, 1]])
AWRY = [0, 0.0401, 0.0405, 0.3337, 0.7, 0.71667, 1.999]
SUFFIXES = [".mp4", ".m4v", ".mov", ".mkv", ".webm"]


def patches(count=7, side=32):
    """A scene whose frames are patches of known colours, 4 across and 3 down, and whose times are uneven."""
    picture = COLOURS.reshape(3, 4, 3).repeat(side, 0).repeat(side, 1)
    depth = np.ones((count, *picture.shape[:2]), np.float32)
    scene = gc.Scene.from_depth(depth, depth > 0, K, np.repeat(picture[None], count, 0), 24)
    if count == len(AWRY):
        scene.set_array("times", np.array(AWRY))
    return scene


def middles(picture, side=32):
    """The colour of each patch, away from its borders."""
    cells = picture[: 3 * side, : 4 * side].reshape(3, side, 4, side, 3)[:, 8:-8, :, 8:-8]
    return cells.mean((1, 3)).reshape(-1, 3)


def by_ffmpeg(path):
    """The first picture as ffmpeg's own program converts it, and what its header says."""
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not on this machine")
    asked = ["ffprobe", "-v", "error", "-select_streams", "v", "-show_streams", "-of", "json", str(path)]
    about = json.loads(subprocess.run(asked, check=True, capture_output=True).stdout)["streams"][0]
    command = ["ffmpeg", "-v", "error", "-i", f"file:{path}", "-frames:v", "1"]
    raw = subprocess.run(
        [*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-sws_flags", "accurate_rnd+full_chroma_int", "-"],
        check=True,
        capture_output=True,
    ).stdout
    return np.frombuffer(raw, np.uint8).reshape(about["height"], about["width"], 3), about


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_colours_and_times_come_back(tmp_path, suffix):
    path = export(patches(), "mp4", tmp_path / f"a{suffix.upper() if suffix == '.mov' else suffix}")
    read = list(open_frames(str(path)).timed())
    np.testing.assert_allclose([seconds for seconds, _ in read], AWRY, atol=1e-3)
    assert np.abs(middles(read[-1][1]) - COLOURS).mean() < 1 and np.abs(middles(read[0][1]) - COLOURS).max() < 4
    with av.open(str(path)) as container:
        names = {".mkv": "matroska", ".webm": "matroska"}
        assert names.get(suffix, "mp4") in container.format.name
        codec = container.streams.video[0].codec_context
        assert codec.name == ("vp9" if suffix == ".webm" else "h264") and codec.pix_fmt == "yuv420p"
        assert (codec.colorspace, codec.color_range) == (1, 1)
        assert (codec.color_primaries, codec.color_trc) == (1, 1)
        assert float(container.streams.video[0].average_rate) == pytest.approx(7 / (1.999 + 0.3), rel=0.1)
    picture, about = by_ffmpeg(path)
    assert np.abs(middles(picture.astype(float)) - COLOURS).mean() < 1
    assert [about[k] for k in ("color_space", "color_range")] == ["bt709", "tv"]
    assert suffix == ".webm" or (about["color_primaries"], about["color_transfer"]) == ("bt709", "bt709")


def test_the_kind_of_file_is_what_its_bytes_say(tmp_path):
    heads = {s: export(made(), "mp4", tmp_path / f"a{s}").read_bytes()[:64] for s in SUFFIXES}
    assert heads[".mov"][4:12] == b"ftypqt  " and heads[".mp4"][4:8] == heads[".m4v"][4:8] == b"ftyp"
    assert b"matroska" in heads[".mkv"] and b"webm" in heads[".webm"]


@pytest.mark.parametrize("name", ["a", "a.avi", "a.mp4.part", "mp4"])
def test_another_kind_of_file_is_refused_before_anything_is_written(tmp_path, name, capsys):
    made().save(tmp_path / "s.gc")
    assert main(["export", str(tmp_path / "s.gc"), "mp4", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert ".webm" in said and name in said and said.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["s.gc"]


@pytest.mark.parametrize("rate", [24, 30000 / 1001, 24000 / 1001, 12.5, 59.94])
def test_a_constant_rate_is_kept_and_every_frame_lasts_as_long(tmp_path, rate):
    depth = np.ones((5, 16, 24), np.float32)
    path = export(gc.Scene.from_depth(depth, depth > 0, K, fps=rate), "mp4", tmp_path / "a.mp4")
    read = open_frames(str(path))
    assert read.fps == pytest.approx(rate, rel=1e-3)
    np.testing.assert_allclose([s for s, _ in read.timed()], np.arange(5) / rate, atol=1e-3)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(5 / rate, abs=1e-3)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (17, 31), (33, 16), (15, 128)])
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_odd_and_small_sizes_are_padded(tmp_path, height, width, suffix):
    depth = np.ones((2, height, width), np.float32)
    frames = np.full((2, height, width, 3), 200, np.uint8)
    path = export(gc.Scene.from_depth(depth, depth > 0, K, frames), "mp4", tmp_path / f"a{suffix}")
    picture = next(iter(open_frames(str(path))))
    assert picture.shape[0] >= height and picture.shape[1] >= 2 * width
    assert picture[:height, : max(1, width // 2)].mean() == pytest.approx(200, abs=8)  # colour bleeds into one pixel


def test_a_clip_that_begins_late_is_shown_at_once(tmp_path):
    scene = patches(3)
    scene.set_array("times", np.array([60.0, 60.5, 62.0]))
    read = list(open_frames(str(export(scene, "mp4", tmp_path / "a.mp4"))).timed())
    np.testing.assert_allclose([s for s, _ in read], [0, 0.5, 2], atol=1e-3)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert next(container.decode(video=0)).time == 0


def odd(**changes):
    """A scene that something is odd about: arrays as given, or none where that is what is said."""
    depth = np.random.default_rng(0).uniform(1, 5, (3, 16, 24)).astype(np.float32)
    mask = np.ones(depth.shape, bool)
    mask[:, :2] = False
    if changes.get("nothing"):
        mask[:] = False
    if "value" in changes:
        depth[:, 4:8] = changes["value"]
    if changes.get("all"):
        depth[:] = changes["value"]
    count = changes.get("count", 3)
    scene = gc.Scene.from_depth(depth[:count], mask[:count], K, fps=10)
    for name, array in changes.get("arrays", {}).items():
        put(scene, name, array)
    return scene


def put(scene, name, array):
    scene._group.create_array(name, shape=array.shape, dtype=array.dtype, chunks=array.shape)[...] = array
    scene._arrays.pop(name, None)


def exports_of(scene, folder):
    """What each way out says: None where a file came of it."""
    said = {}
    for format in ("npz", "ply", "mp4"):
        try:
            export(scene, format, folder / f"a.{format}")
            said[format] = None
        except gc.InputError as error:
            said[format] = str(error)
    try:
        draw_comparison([scene, scene], ["a", "b"], folder / "a.png")
        said["png"] = None
    except gc.InputError as error:
        said["png"] = str(error)
    assert {p.suffix[1:] for p in folder.iterdir()} == {k for k, v in said.items() if v is None}
    return said


@pytest.mark.parametrize(
    "changes",
    [
        {"value": np.nan},
        {"value": np.nan, "all": True},
        {"value": np.inf},
        {"value": -np.inf},
        {"value": 0.0},
        {"value": 0.0, "all": True},
        {"value": -1.0, "all": True},
        {"nothing": True},
        {"nothing": True, "value": np.nan},
        {"count": 1},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("error")
def test_values_that_are_odd_are_left_out_of_every_export(tmp_path, changes):
    scene = odd(**changes)
    assert set(exports_of(scene, tmp_path).values()) == {None}
    points, _ = vertices(tmp_path / "a.ply")
    good = scene.mask[0] & np.isfinite(scene.depth[0])
    assert np.isfinite(points).all() and len(points) == good.sum()
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == len(scene)


@pytest.mark.parametrize(
    ("name", "array", "fail"),
    [
        ("poses", np.eye(4, dtype=np.float32), "ply"),
        ("poses", np.ones((2, 4, 4), np.float32), "ply"),
        ("poses", np.ones((3, 3, 4), np.float32), "ply"),
        ("poses", np.full((3, 4, 4), np.nan, np.float32), "ply"),
        ("frames", np.zeros((2, 8, 8, 3), np.uint8), "ply mp4 png"),
        ("frames", np.zeros((3, 8, 8), np.uint8), "ply mp4 png"),
        ("frames", np.zeros((3, 8, 8, 4), np.uint8), "ply mp4 png"),
        ("rays", np.zeros((3, 8, 8, 2), np.float32), "npz ply png"),
        ("times", np.zeros((2,)), "npz mp4"),
        ("times", np.array([0, np.nan, 1]), "mp4"),
        ("times", np.array([0, 2.0, 1]), "mp4"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, name, array, fail):
    arrays = {name: array}
    said = exports_of(odd(arrays=arrays), tmp_path)
    assert {k for k, v in said.items() if v} == set(fail.split())
    assert all(name[:4] in v and "\n" not in v for v in said.values() if v)


def test_npz_has_the_authors_arrays_and_cameras_and_times(tmp_path):
    scene = made(rays=True)
    scene.set_array("times", np.array([0, 0.25, 0.3]))
    found = np.load(export(scene, "npz", tmp_path / "a.npz"))
    assert set(found) == {"point_map", "mask", "intrinsics", "times", "fps"} and found["fps"] == scene.fps
    assert np.array_equal(found["point_map"], scene.points[:]) and np.array_equal(found["mask"], scene.mask[:])
    assert np.array_equal(found["intrinsics"], scene.intrinsics[:]) and found["intrinsics"].dtype == np.float32
    assert np.array_equal(found["times"], [0, 0.25, 0.3])
    blank = np.load(export(scene, "npz", tmp_path / "b.npz", masked="nan"))["point_map"]
    wanted = np.where(scene.mask[:][..., None], scene.points[:], np.nan)
    assert not scene.mask[:].all() and np.array_equal(blank, wanted, equal_nan=True)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_ten_bits_tell_more_disparities_apart_and_disparity_may_stand_alone(tmp_path, suffix):
    inverse = np.linspace(0.1, 1.0, 2048, dtype=np.float32).reshape(1, 1, -1).repeat(64, 1).repeat(3, 0)
    k = np.array([[900, 0, 1024], [0, 900, 32], [0, 0, 1]], np.float32)
    scene = gc.Scene.from_depth(1 / inverse, inverse > 0, k, fps=10)
    told = {}
    for bits in ("8", "10"):
        path = export(scene, "mp4", tmp_path / f"{bits}{suffix}", show="disparity", bits=bits, max_width=4096)
        with av.open(str(path)) as container:
            assert container.streams.video[0].pix_fmt == ("yuv420p" if bits == "8" else "yuv420p10le")
            frames = list(container.decode(video=0))
        assert len(frames) == 3 and (frames[0].width, frames[0].height) == (2048, 64)
        rgb = frames[1].reformat(format="rgb48le", src_colorspace="ITU709").to_ndarray().astype(float) / 257
        ramp = rgb[20:40].mean(0)
        low, high = np.quantile(inverse, [0.02, 0.98])
        place = np.clip((inverse[0, 0] - low) / (high - low), 0, 1) * (len(RAMP) - 1)
        truth = np.stack([np.interp(place, np.arange(len(RAMP)), RAMP[:, c]) for c in range(3)], -1)
        assert np.abs(ramp - truth).mean() < 3
        plane = np.frombuffer(bytes(frames[1].planes[0]), np.uint8 if bits == "8" else "<u2")
        told[bits] = len(np.unique(plane))
    assert told["8"] < 256 and told["10"] > 2 * told["8"]
    beside = export(scene, "mp4", tmp_path / f"b{suffix}", bits="10", max_width=8192)
    with av.open(str(beside)) as container:
        frame = next(container.decode(video=0))
    grey = frame.reformat(format="rgb48le", src_colorspace="ITU709").to_ndarray()[20:40, :2000].astype(float) / 257
    assert frame.width == 4096 and np.abs(grey - 160).max() < 3


def test_ten_bits_are_refused_where_the_encoder_has_eight(tmp_path):
    with pytest.raises(gc.InputError, match=r"\.mkv"):
        export(made(), "mp4", tmp_path / "a.webm", bits="10")
    assert not list(tmp_path.iterdir())
