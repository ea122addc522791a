"""``run --poses`` takes what ``poses SCENE`` takes, to the same end."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
from conftest import write_video
from PIL import Image
from test_pose_members import spatracker_file, xmem_file  # noqa: F401

import geometrycrafter as gc
from geometrycrafter.cli.main import build_parser, main
from geometrycrafter.data.synthesis import rendered

SIZE = (8, 96, 128)
MATTERS = ("poses", "pose_quality", "moving", "depth_correction", "metres", "intrinsics_refined")


@pytest.fixture(scope="module")
def made(tmp_path_factory, xmem_file, spatracker_file):  # noqa: F811
    """A video, a scene of it without poses, and things that help to find them."""
    folder = tmp_path_factory.mktemp("runs")
    clip = rendered(100, *SIZE)
    write_video(folder / "a.mp4", clip.frames)
    write_video(folder / "mask.mp4", np.repeat(np.asarray(clip.dynamic)[..., None], 3, -1).astype(np.uint8) * 255)
    write_video(folder / "short.mp4", np.zeros((3, *SIZE[1:], 3), np.uint8))
    (folder / "xmem.pth").symlink_to(xmem_file)
    (folder / "spa.pth").symlink_to(spatracker_file)
    (folder / "none.txt").write_text("hello\n")
    steps = np.linspace(0, 1, SIZE[0])
    (folder / "known.txt").write_text("".join(f"{t} {x} 0 {x / 2} 0 0 0 1\n" for t, x in enumerate(steps)))
    assert main(["run", str(folder / "a.mp4"), "-o", str(folder / "a.gc")]) == 0
    return folder


@pytest.mark.parametrize(
    "flags",
    [
        ["--mask", "mask.mp4"],
        ["--refine-focal"],
        ["--tracker", "spa.pth"],
        ["--known-poses", "known.txt"],
        ["--distance", "20,70,100,80,4@3"],
        ["--mask-model", "xmem.pth", "--mask", "first.png", "--refine"],
    ],
    ids=lambda flags: " ".join(flags),
)
def test_a_run_finds_what_the_command_finds_afterwards(made, tmp_path, monkeypatch, flags):
    monkeypatch.chdir(made)
    first = np.zeros((*SIZE[1:], 3), np.uint8)
    first[10:40, 10:40] = 255
    Image.fromarray(first).save("first.png")
    assert main(["run", "a.mp4", "-o", str(tmp_path / "b.gc"), "--poses", *flags]) == 0
    assert main(["poses", "a.gc", *flags]) == 0
    at_once, after = gc.open(tmp_path / "b.gc"), gc.open("a.gc")
    for name in MATTERS:
        one, other = at_once.array(name), after.array(name)
        assert (one is None) == (other is None), name
        if one is not None:
            np.testing.assert_array_equal(one[:], other[:], name)
    np.testing.assert_array_equal(at_once.depth[4], after.depth[4])


WRONG = [
    ("add --poses", "--mask", "mask.mp4"),
    ("add --poses", "--metric", "none.pt"),
    ("add --poses", "--surfaces"),
    ("--mask-at wants --mask-model", "--poses", "--mask-at", "3,4"),
    ("say what the unit is", "--poses", "--known-poses", "known.txt", "--distance", "1,2,30,40,1"),
    ("--surfaces is for measured depth", "--poses", "--surfaces", "--refine"),
    ("give x1,y1,x2,y2,METRES", "--poses", "--distance", "1,2,3"),
    ("no checkpoint", "--poses", "--tracker", "none.txt"),
    ("no such file", "--poses", "--mask", "gone.mp4"),
    ("no file of poses", "--poses", "--known-poses", "none.txt"),
]


@pytest.mark.parametrize("given", WRONG, ids=lambda given: " ".join(given[1:]))
def test_what_is_wrong_is_told_before_the_run(made, tmp_path, monkeypatch, capsys, given):
    monkeypatch.chdir(made)
    word, *flags = given
    assert main(["run", "a.mp4", "-o", str(tmp_path / "b.gc"), *flags]) == 2
    error = capsys.readouterr().err
    assert word in error and "Traceback" not in error, error
    assert not (tmp_path / "b.gc").exists()


def test_what_is_about_one_video_is_not_given_for_several(made, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(made)
    command = ["run", "a.mp4", "short.mp4", "-o", str(tmp_path / "all"), "--poses"]
    assert main([*command, "--refine-focal", "--mask", "mask.mp4"]) == 2
    assert "--mask is about one video" in capsys.readouterr().err
    assert not (tmp_path / "all").exists()


def test_a_scene_whose_masks_do_not_fit_is_finished(made, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(made)
    assert main(["run", "a.mp4", "-o", str(tmp_path / "b.gc"), "--poses", "--mask", "short.mp4"]) == 2
    error = capsys.readouterr().err
    assert "3 masks for 8 frames" in error and f"poses {tmp_path / 'b.gc'}" in error
    assert len(gc.open(tmp_path / "b.gc")) == 8


def test_the_two_commands_have_the_same_flags():
    def flags(name):
        commands = next(a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
        return {flag: action.help for action in commands.choices[name]._actions for flag in action.option_strings}

    ran, found = flags("run"), flags("poses")
    own = {"--poses", "--source", "--start", "--end", "--stride", "--discard", "--device", "-h", "--help"}
    assert {k: v for k, v in found.items() if k not in own} == {k: ran[k] for k in found if k not in own}
    assert len(found) > 12
