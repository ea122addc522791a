"""What is wrong with what ``geometrycrafter poses`` is given is told in a sentence, and the scene stays as it was."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from conftest import write_video
from PIL import Image
from test_pose_members import small_sam, small_sam_video, small_superpoint, spatracker_file, xmem_file  # noqa: F401

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.errors import InputError
from geometrycrafter.weights.places import EMBEDDED

SIZE = (8, 64, 96)
FIRST = ("--mask", "first.png")


@pytest.fixture(scope="module")
def place(tmp_path_factory, xmem_file, spatracker_file) -> Path:  # noqa: F811
    """A folder of things that are right, and of things that are not."""
    folder = tmp_path_factory.mktemp("wrong")
    clip = rendered(100, *SIZE)
    write_video(folder / "a.mp4", clip.frames)
    write_video(folder / "backwards.mp4", clip.frames[::-1].copy())
    write_video(folder / "short.mp4", clip.frames[:2])
    assert main(["run", str(folder / "a.mp4"), "-o", str(folder / "a.gc")]) == 0
    assert main(["run", str(folder / "short.mp4"), "-o", str(folder / "short.gc")]) == 0
    for name, shape, value in (("upright", (8, 96, 64), 0), ("white", SIZE, 255), ("long", (12, 64, 96), 0)):
        write_video(folder / f"{name}.mp4", np.full((*shape, 3), value, np.uint8))
    picture = np.zeros((64, 96, 3), np.uint8)
    Image.fromarray(picture).save(folder / "black.png")
    picture[10:30, 10:30] = 255
    Image.fromarray(picture).save(folder / "first.png")
    Image.fromarray(picture[:32, :32]).save(folder / "small.png")
    (folder / "xmem.pth").symlink_to(xmem_file)
    (folder / "spa.pth").symlink_to(spatracker_file)
    (folder / "cut.pth").write_bytes(spatracker_file.read_bytes()[:2000])
    for name, make in (("sp", small_superpoint), ("sam", small_sam), ("empty", lambda p: None)):
        (folder / name).mkdir()
        make(folder / name)
    small_sam_video("sam2_video", folder / "sam2")
    (folder / "t.txt").write_text("hello\n")
    (folder / "cameras.txt").write_text("1 PINHOLE 96 64 70 70 48 32\n")
    (folder / "cameras.bin").write_bytes(struct.pack("<QiiQQ4d", 1, 1, 1, 96, 64, 70, 70, 48, 32))
    (folder / "transforms.json").write_text(json.dumps({"frames": [{"transform_matrix": np.eye(4).tolist()}] * 8}))
    (folder / "metashape.xml").write_text('<?xml version="1.0"?><document><chunk><f>70</f></chunk></document>')
    (folder / "seven.txt").write_text("".join(f"{i} 0 0 0 0 0 0 1\n" for i in range(7)))
    (folder / "a.txt").write_text("".join(f"{i} 0 0 0 0 0 0 1\n" for i in range(8)))
    nothing = np.full(SIZE, np.nan, np.float32)
    gc.Scene.from_depth(nothing, clip.mask, clip.intrinsics).save(folder / "nan.gc")
    gc.Scene.from_depth(clip.depth, clip.mask & False, clip.intrinsics).save(folder / "masked.gc")
    holed = clip.mask.copy()
    holed[:, :20, :20] = False
    gc.Scene.from_depth(clip.depth, holed, clip.intrinsics).save(folder / "holed.gc")
    return folder


WRONG = [
    ("another shape than frames of", "--mask", "upright.mp4"),
    ("holds no pictures", "--mask", "empty"),
    ("no picture", "--mask", "t.txt"),
    ("no such file", "--mask", "none.mp4"),
    ("covers all of every frame", "--mask", "white.mp4"),
    ("more masks for 8 frames", "--mask", "long.mp4"),
    ("2 masks for 8 frames", "--mask", "short.mp4"),
    ("one mask for 8 frames", *FIRST),
    ("what moves in the first frame", "--mask-model", "xmem.pth"),
    ("spa.pth", "--mask-model", "spa.pth", *FIRST),
    ("no config.json", "--mask-model", "empty", *FIRST),
    ("the model is 'superpoint'", "--mask-model", "sp", *FIRST),
    ("none.pth: the file is missing", "--mask-model", "none.pth", *FIRST),
    ("no checkpoint", "--mask-model", "t.txt", *FIRST),
    ("32x32 pixels, a frame 64x96", "--mask-model", "xmem.pth", "--mask", "small.png"),
    ("mask is empty", "--mask-model", "xmem.pth", "--mask", "black.png"),
    ("XMem makes no masks", "--mask-model", "xmem.pth", "--mask-at", "3,4"),
    ("--mask-at wants --mask-model", "--mask-at", "3,4"),
    ("'abc': give x,y", "--mask-model", "sam2", "--mask-at", "abc"),
    ("point x,y or a box", "--mask-model", "sam2", "--mask-at", "nan,3"),
    ("point x,y or a box", "--mask-model", "sam2", "--mask-at", "30,30,10,10"),
    ("outside of frames of 96x64", "--mask-model", "sam2", "--mask-at", "300,4"),
    ("outside of frames of 96x64", "--mask-model", "sam", "--mask-model", "xmem.pth", "--mask-at", "300,4"),
    ("one network that carries", "--mask-model", "sam2", "--mask-model", "xmem.pth", *FIRST),
    ("one network that carries", "--mask-model", "sam", "--mask-at", "3,4"),
    ("no config.json", "--keypoints", "xmem.pth"),
    ("type 'sam', not 'superpoint'", "--keypoints", "sam"),
    ("not SpaTracker", "--tracker", "xmem.pth"),
    ("the file is missing", "--tracker", "none.pth"),
    ("no checkpoint", "--tracker", "cut.pth"),
    ("no such device", "--tracker", "spa.pth", "--device", "gpu"),
    ("give x1,y1,x2,y2,METRES", "--distance", "1,2,3"),
    ("has 8; count from 0", "--distance", "1,2,30,40,2@8"),
    ("frame -1", "--distance", "1,2,30,40,2@-1"),
    ("outside of frames of 96x64", "--distance", "1,2,300,40,2"),
    ("a place and itself", "--distance", "30,40,30,40,2"),
    ("metres nan", "--distance", "10,40,30,40,nan"),
    ("metres 0", "--distance", "10,40,30,40,0"),
    ("give one of them", "--distance", "10,40,30,40,1", "--poses", "a.txt"),
    ("not in metres", "--metric", str(EMBEDDED / "prior" / "model.safetensors")),
    ("model_config", "--metric", "xmem.pth"),
    ("no file of poses", "--poses", "cameras.txt"),
    ("no file of poses", "--poses", "cameras.bin"),
    ("no file of poses", "--poses", "transforms.json"),
    ("no file of poses", "--poses", "metashape.xml"),
    ("no file of poses", "--poses", "a.mp4"),
    ("no file of poses", "--poses", "empty"),
    ("7 poses for 8 frames", "--poses", "seven.txt"),
    ("has no poses", "--poses", "short.gc"),
    ("their content is another", "--source", "backwards.mp4"),
    ("2, not 8", "--source", "short.mp4"),
]


@pytest.mark.parametrize("given", WRONG, ids=lambda given: " ".join(Path(word).name for word in given[1:]))
def test_it_is_told_and_nothing_changes(place, given, capsys, monkeypatch):
    monkeypatch.chdir(place)
    before = sorted((p, p.stat().st_mtime_ns) for p in (place / "a.gc").rglob("*"))
    word, *flags = given
    with_flags = _status(["poses", "a.gc", *flags])
    error = capsys.readouterr().err
    assert with_flags == 2 and word in error and "Traceback" not in error, error
    assert error.strip().splitlines()[-1].startswith("error: ")
    assert sorted((p, p.stat().st_mtime_ns) for p in (place / "a.gc").rglob("*")) == before


@pytest.mark.parametrize(
    ("scene", "word", "flags"),
    [
        ("nan.gc", "no frame has depth", ()),
        ("masked.gc", "no frame has depth", ()),
        ("nan.gc", "no frame has depth", ("--tracker", "spa.pth")),
        ("holed.gc", "no depth at 5,5 of frame 0", ("--distance", "5,5,50,50,1")),
        ("none.gc", "no scene", ()),
        ("empty", "no scene", ()),
    ],
)
def test_scenes_that_have_nothing_say_so(place, scene, word, flags, capsys, monkeypatch):
    monkeypatch.chdir(place)
    assert _status(["poses", scene, "--source", "a.mp4", *flags]) == 2
    assert word in capsys.readouterr().err


def test_a_scene_that_says_no_source_takes_the_one_that_is_named(place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    assert _status(["poses", "holed.gc"]) == 2
    assert "name them with --source" in capsys.readouterr().err
    assert _status(["poses", "holed.gc", "--source", "a.mp4"]) == 0
    assert gc.open("holed.gc").poses is not None
    assert _status(["poses", "holed.gc", "--source", "short.mp4"]) == 2
    assert "2 frames where the scene has 8" in capsys.readouterr().err


def _status(command: list[str]) -> int:
    try:
        return main(command)
    except SystemExit as end:  # argparse's
        return int(end.code or 0)


def test_one_frame_and_two():
    clip = rendered(100, 2, 192, 256)
    one = gc.Scene.from_depth(clip.depth[:1], clip.mask[:1], clip.intrinsics[:1])
    found = gc.poses.estimate(one, clip.frames[:1], refine=True)
    np.testing.assert_allclose(found.poses, np.eye(4)[None], atol=1e-12)
    assert found.notes == ["One frame has no motion; its camera is the world."]
    two = gc.Scene.from_depth(clip.depth, clip.mask, clip.intrinsics)
    found = gc.poses.estimate(two, clip.frames)
    truth = np.linalg.inv(clip.poses[0]) @ clip.poses
    assert found.known.all()
    np.testing.assert_allclose(found.poses[1], truth[1], atol=0.01)


@pytest.mark.parametrize(
    ("word", "changed"),
    [
        ("focal length", {"intrinsics": np.full((2, 3, 3), np.nan)}),
        ("focal length", {"intrinsics": np.zeros((3, 3))}),
        ("frame 1 has shape", {"frames": [np.zeros((48, 64, 3)), np.zeros((48, 64))]}),
        ("frame 0 holds", {"frames": np.full((2, 48, 64, 3), "x")}),
        ("another size", {"frames": [np.zeros((48, 64, 3)), np.zeros((24, 32, 3))]}),
        ("neither true nor false", {"moving": np.full((2, 48, 64), np.nan)}),
        ("rigid motions", {"poses": np.full((2, 4, 4), np.nan)}),
        ("mirror", {"poses": np.stack([np.diag([1.0, 1, -1, 1])] * 2)}),
    ],
)
def test_arrays_that_cannot_be(word, changed):
    depth = np.ones((2, 48, 64), np.float32)
    k = np.array([[50.0, 0, 31.5], [0, 50, 23.5], [0, 0, 1]])
    given = {"intrinsics": k, "frames": np.zeros((2, 48, 64, 3), np.uint8)} | changed
    scene = gc.Scene.from_depth(depth, depth > 0, given.pop("intrinsics"))
    with pytest.raises(InputError, match=word):
        gc.poses.estimate(scene, given.pop("frames"), **given)
