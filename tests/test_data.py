"""Clips from the renderer and from recordings, through shards and back."""

from __future__ import annotations

import json
import re
import tarfile

import av
import numpy as np
import pytest
from conftest import SHARED_DATA
from hypothesis import given, settings
from hypothesis import strategies as st

from geometrycrafter.cli.main import main
from geometrycrafter.data.recordings import Recording, read_camera, read_depth
from geometrycrafter.data.shards import Shards, ShardWriter, decode_depth, encode_depth
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.data.transforms import cover, mirrored
from geometrycrafter.errors import InputError


def points(clip, t):
    """World points ``[H, W, 3]`` of a frame."""
    h, w = clip.depth.shape[1:]
    y, x = np.mgrid[:h, :w]
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(clip.intrinsics[t].astype(float)).T
    camera = rays * clip.depth[t][..., None]
    return camera @ clip.poses[t][:3, :3].T.astype(float) + clip.poses[t][:3, 3]


def reprojection_error(clip, a, b):
    """Median relative difference between the depth of frame a's still points as b should see it, and b's own."""
    world = points(clip, a)
    inverse = np.linalg.inv(clip.poses[b].astype(float))
    seen = world @ inverse[:3, :3].T + inverse[:3, 3]
    pixel = seen @ clip.intrinsics[b].T.astype(float)
    h, w = clip.depth.shape[1:]
    x, y = (np.rint(pixel[..., i] / np.maximum(pixel[..., 2], 1e-6)).astype(int) for i in (0, 1))
    keep = clip.mask[a] & ~clip.dynamic[a] & (seen[..., 2] > 0.1) & (x >= 0) & (x < w) & (y >= 0) & (y < h)
    y, x = y[keep], x[keep]
    good = clip.mask[b][y, x] & ~clip.dynamic[b][y, x]
    return np.median(np.abs(seen[..., 2][keep][good] / clip.depth[b][y, x][good] - 1))


@pytest.mark.parametrize("seed", [1, 4, 7, 11])
def test_rendered_frames_agree_on_where_things_are(seed):
    clip = rendered(seed, 6, 96, 128)
    assert reprojection_error(clip, 0, 5) < 0.01
    # The test sees what it should: with a pose that is wrong by 10 cm and 3 degrees the frames disagree more.
    wrong = clip.poses.copy()
    wrong[5, :3, 3] += 0.1
    wrong[5, :3, :3] = wrong[5, :3, :3] @ np.array([[0.9986, 0, 0.0523], [0, 1, 0], [-0.0523, 0, 0.9986]])
    before = reprojection_error(clip, 0, 5)
    object.__setattr__(clip, "poses", wrong)
    assert reprojection_error(clip, 0, 5) > 1.5 * before


def test_a_seed_is_a_clip_whatever_was_rendered_before():
    first = rendered(5, 2, 32, 48)
    rendered(6, 2, 32, 48)
    again = rendered(5, 2, 32, 48)
    assert all(np.array_equal(first.arrays()[k], again.arrays()[k]) for k in first.arrays())


@pytest.mark.parametrize("zoom", [1.0, 1.37])
def test_cover_and_mirror_keep_the_world_where_it_is(zoom):
    clip = rendered(4, 2, 96, 128)
    small = cover(clip, 48, 80, zoom)
    assert small.depth.shape == (2, 48, 80)
    # Each pixel of the small picture shows the large one's nearest pixel: the same world point to a pixel's width.
    large = points(clip, 0).reshape(-1, 3)[clip.mask[0].ravel()]
    for made, flip in ((small, 1.0), (mirrored(small), -1.0)):
        found = points(made, 0)[made.mask[0]][::97] * [flip, 1, 1]
        nearest = np.array([np.linalg.norm(large - p, axis=1).min() for p in found])
        width = made.depth[0][made.mask[0]][::97] / clip.intrinsics[0, 0, 0]
        assert (nearest < 1.01 * width).mean() > 0.97


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-3, 10), st.floats(1.001, 1e5), st.integers(0, 2**32 - 1))
def test_depth_codes_are_fine_and_keep_holes_and_sky(near, ratio, seed):
    rng = np.random.default_rng(seed)
    depth = (near * ratio ** rng.uniform(0, 1, (6, 7))).astype(np.float32)
    depth.flat[:2] = near, near * ratio
    holes, sky = rng.uniform(size=depth.shape) < 0.2, rng.uniform(size=depth.shape) < 0.2
    holes.flat[:2] = sky.flat[:2] = False
    depth[holes | sky] = 0
    valid = depth[depth > 0]
    low, high = float(valid.min()), float(valid.max())
    back, back_sky = decode_depth(encode_depth(depth, sky, low, high), depth.shape, low, high)
    assert np.array_equal(back == 0, depth == 0) and np.array_equal(back_sky, sky)
    np.testing.assert_allclose(back[back > 0], valid, rtol=2e-4)


def test_a_shard_is_a_tar_of_pictures_that_other_programs_open(tmp_path):
    clip = rendered(4, 2, 32, 48)
    with ShardWriter(tmp_path) as writer:
        writer.add("one", clip)
    with tarfile.open(tmp_path / "clips-000000.tar") as archive:
        names = archive.getnames()
        assert names[:3] == ["one.json", "one/000.jpg", "one/000.depth"]
        assert json.load(archive.extractfile("one.json"))["frames"] == 2
        with av.open(archive.extractfile("one/000.jpg"), format="mjpeg") as container:
            picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.abs(picture.astype(int) - clip.frames[0]).mean() < 4
    again = Shards(tmp_path).read(0)
    np.testing.assert_allclose(again.depth, clip.depth, rtol=2e-4)
    for key in ("intrinsics", "poses", "sky", "dynamic"):
        assert np.array_equal(getattr(again, key), getattr(clip, key)), key


def gray16(path, values):
    """A PNG of 16 bits by FFmpeg's encoder."""
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = values.shape[1], values.shape[0], "gray16be"
        frame = av.VideoFrame.from_ndarray(
            values.astype(">u2").view("<u2").byteswap().view(np.uint16), format="gray16le"
        )
        container.mux(stream.encode(frame.reformat(format="gray16be")))
        container.mux(stream.encode(None))


def test_depth_in_every_usual_encoding_reads_as_metres(tmp_path):
    metres = np.linspace(0.5, 6, 48, dtype=np.float32).reshape(6, 8)
    gray16(tmp_path / "a.png", np.rint(metres * 1000).astype(np.uint16))
    np.save(tmp_path / "b.npy", metres)
    np.savez(tmp_path / "c.npz", depth=metres)
    (tmp_path / "d.pfm").write_bytes(b"Pf\n8 6\n-1.0\n" + metres[::-1].astype("<f4").tobytes())
    (tmp_path / "e.pfm").write_bytes(b"Pf\n8 6\n1.0\n" + metres[::-1].astype(">f4").tobytes())
    np.save(tmp_path / "f.npy", np.rint(metres * 1000).astype(np.uint16))
    for path in sorted(tmp_path.iterdir()):
        np.testing.assert_allclose(read_depth(path), metres, atol=6e-4, err_msg=path.name)
    np.testing.assert_allclose(read_depth(tmp_path / "a.png", unit=0.0002), metres / 5, atol=2e-4)
    (tmp_path / "g.png").write_bytes(b"no picture")
    np.save(tmp_path / "h.npy", np.array([["far", "near"]]))
    np.save(tmp_path / "i.npy", np.zeros((0, 4), np.float32))
    for name in ("g.png", "h.npy", "i.npy"):
        with pytest.raises(InputError, match=re.escape(name)):
            read_depth(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "100 0 32\n0 101 24\n0 0 1\n"),
        ("b.txt", "100,101,32,24"),
        ("c.json", '{"fx": 100, "fy": 101, "cx": 32, "cy": 24}'),
        ("d.json", '{"intrinsic_matrix": [100, 0, 0, 0, 101, 0, 32, 24, 1]}'),
    ],
)
def test_cameras_in_every_usual_file(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    assert read_camera(tmp_path / name).tolist() == [[100, 0, 32], [0, 101, 24], [0, 0, 1]]


def recording(folder, frames=4, width=64):
    """An RGB-D recording of a rendered room, as a sensor's tools would write it."""
    clip = rendered(4, frames, 48, width)
    folder.mkdir()
    for t in range(frames):
        with av.open(str(folder / f"{t:03d}.color.png"), "w", format="image2") as container:
            stream = container.add_stream("png", rate=1)
            stream.width, stream.height, stream.pix_fmt = width, 48, "rgb24"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(clip.frames[t], format="rgb24")))
            container.mux(stream.encode(None))
        gray16(folder / f"{t:03d}.depth.png", np.rint(np.minimum(clip.depth[t], 60) * 1000).astype(np.uint16))
        np.savetxt(folder / f"{t:03d}.pose.txt", clip.poses[t])
    np.savetxt(folder / "camera-intrinsics.txt", clip.intrinsics[0])
    return clip


def test_a_recording_becomes_shards_that_say_the_same(tmp_path, capsys):
    clip = recording(tmp_path / "kitchen")
    assert main(["data", "prepare", "folder", str(tmp_path / "kitchen"), str(tmp_path / "shards")]) == 0
    found = Shards(tmp_path / "shards").read(0)
    near = (clip.depth > 0) & (clip.depth < 50)
    np.testing.assert_allclose(found.depth[near], clip.depth[near], atol=1e-3, rtol=3e-4)
    np.testing.assert_allclose(found.poses, clip.poses, atol=1e-5)
    np.testing.assert_allclose(found.intrinsics, clip.intrinsics, rtol=1e-5)
    capsys.readouterr()
    assert main(["data", "prepare", "folder", str(tmp_path / "kitchen"), str(tmp_path / "shards")]) == 0
    assert "1 were there already" in capsys.readouterr().out

    assert main(["data", "inspect", str(tmp_path / "shards"), "-o", str(tmp_path / "look"), "--all"]) == 0
    said = capsys.readouterr().out
    assert "1 clips, 4 frames" in said and "recording" in said
    for name in ("sheet.png", "depth.png"):
        with av.open(str(tmp_path / "look" / name)) as container:
            assert next(container.decode(video=0)).to_ndarray(format="rgb24").std() > 5
    assert (tmp_path / "look" / "points.ply").read_bytes().startswith(b"ply\n")


def test_depth_of_another_size_is_taken_at_the_pixels_centre(tmp_path):
    recording(tmp_path / "r", frames=1, width=66)
    # A map of a third of the pictures' size, and one of three times it: each pixel's centre lies in one of its pixels.
    for side, centre in ((3, lambda x: x // 3), (1 / 3, lambda x: 3 * x + 1)):
        h, w = round(48 / side), round(66 / side)
        values = 1 + np.arange(h * w, dtype=np.float32).reshape(h, w)
        np.save(tmp_path / "r" / "000.depth.npy", values)
        (tmp_path / "r" / "000.depth.png").unlink(missing_ok=True)
        _, clip = next(Recording(tmp_path / "r", farthest=1e6).clips())
        rows, columns = centre(np.arange(48)), centre(np.arange(66))
        assert np.array_equal(clip.depth[0], values[rows[:, None], columns])


def test_only_the_frames_that_are_asked_for_are_read(tmp_path):
    clip = recording(tmp_path / "r", frames=6)
    for t in (1, 3, 4, 5):
        (tmp_path / "r" / f"{t:03d}.color.png").write_bytes(b"damaged")
    ((_, found),) = Recording(tmp_path / "r").clips(frames=2, stride=2)
    np.testing.assert_allclose(found.poses, clip.poses[[0, 2]], atol=1e-5)
    with pytest.raises(InputError, match=r"001\.color\.png"):
        list(Recording(tmp_path / "r").clips(frames=2))


@pytest.mark.parametrize(
    "wrong",
    [
        {"unit": float("nan")},
        {"unit": -1},
        {"farthest": 0},
        {"farthest": float("inf")},
        {"fps": 0},
        {"intrinsics": (100, 100, float("nan"), 4)},
        {"intrinsics": (0, 100, 4, 4)},
    ],
)
def test_a_recording_refuses_values_that_no_camera_has(wrong, tmp_path):
    (name,) = wrong
    with pytest.raises(InputError, match=name):
        Recording(tmp_path, **wrong)


def test_what_is_wrong_with_a_recording_is_named(tmp_path, capsys):
    recording(tmp_path / "r")
    cases = {
        "no such folder": tmp_path / "nowhere",
        "depth maps": tmp_path / "r",
    }
    (tmp_path / "r" / "001.depth.png").unlink()
    for named, source in cases.items():
        assert main(["data", "prepare", "folder", str(source), str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert named in said and "Traceback" not in said


def test_a_preparation_does_not_go_on_with_another_camera(tmp_path, capsys):
    clip = recording(tmp_path / "r", frames=4)
    command = ["data", "prepare", "folder", str(tmp_path / "r"), str(tmp_path / "out")]
    assert main(command) == 0 and main(command) == 0
    np.savetxt(tmp_path / "r" / "camera-intrinsics.txt", clip.intrinsics[0] * np.array([[1.2], [1.2], [1]]))
    capsys.readouterr()
    assert main(command) == 2 and "camera" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "flag", "value"),
    [("folder", "size", "320x640"), ("folder", "quality", "95"), ("sintel", "depth", "*.png"), ("sintel", "fps", "24")],
)
def test_flags_that_would_do_nothing_are_refused(name, flag, value, tmp_path, capsys):
    assert main(["data", "prepare", name, str(tmp_path), str(tmp_path / "out"), f"--{flag}", value]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: --{flag}: this is for ") and len(said.splitlines()) == 1


def test_damaged_shards_are_listed(tmp_path, capsys):
    with ShardWriter(tmp_path / "s") as writer:
        writer.add("good", rendered(4, 1, 32, 48))
        writer.add("bad", rendered(5, 1, 32, 48))
    entry = Shards(tmp_path / "s").clips[1]
    with open(tmp_path / "s" / entry.shard, "r+b") as file:
        file.seek(entry.depth[0][0])
        file.write(b"\0" * entry.depth[0][1])
    assert main(["data", "inspect", str(tmp_path / "s"), "--all"]) == 1
    assert "damaged" in capsys.readouterr().out


def test_synthesis_goes_on_where_it_was_stopped(tmp_path):
    flags = ["--frames", "1", "--size", "32x48", "--processes", "1"]
    assert main(["data", "synthesize", str(tmp_path / "a"), "--clips", "2", *flags]) == 0
    assert main(["data", "synthesize", str(tmp_path / "a"), "--clips", "3", *flags]) == 0
    assert main(["data", "synthesize", str(tmp_path / "b"), "--clips", "3", *flags]) == 0
    a, b = Shards(tmp_path / "a"), Shards(tmp_path / "b")
    assert [c.key for c in a.clips] == [c.key for c in b.clips]
    assert np.array_equal(a.read(2).depth, b.read(2).depth)


def test_the_real_recording_has_poses_that_fit_its_depth():
    folder = SHARED_DATA / "rgbd"
    if not folder.exists():
        pytest.skip("the recording is not on this machine")
    _, clip = next(Recording(folder, farthest=5.0).clips(longest=8))
    object.__setattr__(clip, "dynamic", np.zeros_like(clip.mask))
    assert reprojection_error(clip, 0, 7) < 0.02
