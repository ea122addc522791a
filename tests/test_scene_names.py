"""What scenes of several inputs are called, and where outputs with odd names go."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from clips.making import encode
from clips.marks import picture, pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import refused, say

import geometrycrafter as gc
from geometrycrafter.cli.scene_names import scene_names
from geometrycrafter.video.pictures import write_png
from geometrycrafter.video.sequences import clips_of


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        (["a.mp4", "b.mov"], ["a", "b"]),
        (["a/*.png", "b/*.png"], ["a", "b"]),
        (["a/*", "b/"], ["a", "b"]),
        (["x/a/*.png", "y/a/*.png"], ["x-a", "y-a"]),
        (["s/*_left.png", "s/*_right.png"], ["s-left", "s-right"]),
        (["take.1", "take.2"], ["take.1", "take.2"]),
        (["take.1.mp4", "take.2.mp4"], ["take.1", "take.2"]),
        (["frames.%04d.exr", "shot_####.png"], ["frames", "shot"]),
        (["l/%04d.png", "r/####.png"], ["l", "r"]),
        (["clip.mp4", "clip.mov"], ["clip.mp4", "clip.mov"]),
        (["x/clip.mp4", "y/clip.mp4"], ["x-clip", "y-clip"]),
        (["x/clip.mp4", "y/clip.mp4", "x/clip.mov"], ["x-clip", "y-clip", "clip.mov"]),
        (["Clip.mp4", "clip.mp4"], None),
        (["a/Clip.mp4", "b/clip.mp4"], ["a-Clip", "b-clip"]),
        (["-", "https://h/x/a%20b.mp4?sig=x.y/z"], ["stdin", "a b"]),
        (["https://h/x/a.mp4", "https://h/y/a.mp4"], ["x-a", "y-a"]),
        (["https://h/", "s3://bucket/v.webm"], ["h", "v"]),
        (["https://h/..", "b.mp4"], ["video", "b"]),
        (["-x.mp4", "--.mp4"], ["-x", "--"]),
        (["映像.mp4", "my clip.mp4"], ["映像", "my clip"]),
        (["12:30.mp4", ".hidden.mp4"], ["12:30", ".hidden"]),
        ([os.fsdecode(b"caf\xe9.mp4"), "b"], ["caf%E9", "b"]),
    ],
)
def test_names_follow_what_was_given(inputs, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if names is None:
        with pytest.raises(gc.InputError, match=r"Clip\.mp4 and clip.mp4"):
            scene_names(inputs)
    else:
        assert scene_names(inputs) == names


def test_folders_keep_their_whole_name_and_dots_are_the_folder_meant(tmp_path, monkeypatch):
    for name in ("take.one", "take.two", "take.two/in"):
        (tmp_path / name).mkdir()
    assert scene_names([str(tmp_path / "take.one"), f"{tmp_path}/take.two/"]) == ["take.one", "take.two"]
    monkeypatch.chdir(tmp_path / "take.two" / "in")
    assert scene_names([".", ".."]) == ["in", "take.two"]
    (tmp_path / "link").symlink_to("take.one")
    assert scene_names([str(tmp_path / "link"), str(tmp_path / "take.one")]) == ["link", "take.one"]


def test_what_can_t_be_told_apart_is_refused_naming_both(tmp_path):
    for first, second in (("a.mp4", "a.mp4"), ("a.mp4", "./a.mp4"), ("-", "-"), ("https://h/a.mp4",) * 2):
        with pytest.raises(gc.InputError, match="give each once") as error:
            scene_names([first, "b.mp4", second])
        assert str(error.value).startswith(f"{first} and {second} would both become")


QUICK = ("--size", "64x64", "--variant", "deterministic")
PART = st.text(st.characters(codec="utf-8", exclude_characters="/\0\n"), min_size=1, max_size=120) | st.sampled_from(
    ["a", "A", "clip", "clip.mp4", "clip.mov", "*.png", "%04d.png", "x.1", "é", "e\u0301", "\udcff.mp4", "-", "..."]
)
INPUT = st.lists(PART, min_size=1, max_size=4).map("/".join)


@settings(max_examples=300, deadline=None)
@given(st.lists(INPUT, min_size=2, max_size=8, unique=True))
def test_names_are_apart_and_legal_on_any_disk(inputs):
    try:
        names = scene_names(inputs)
    except gc.InputError as error:
        assert "would both become" in str(error) or "local disk" in str(error) or "file://" in str(error)
        return
    keys = {unicodedata.normalize("NFC", n).casefold() for n in names}
    assert len(keys) == len(names) == len(inputs)
    for name in names:
        assert 0 < len(f"{name}.gc".encode()) <= 255 and "/" not in name and name.strip(". ")


def test_a_folder_or_glob_of_videos_is_several_inputs(tmp_path, capsys):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("b10.mp4", "b2.mp4"):
        encode(folder / name, pictures(1))
    (folder / "b2.srt").write_text("no video")
    (folder / "._b2.mp4").write_text("a companion")
    assert clips_of(str(folder)) == [str(folder / "b2.mp4"), str(folder / "b10.mp4")]
    assert clips_of(str(folder / "*")) == clips_of(str(folder / "b*.mp4")) == clips_of(str(folder))
    assert clips_of(str(folder / "b%d.mp4")) == clips_of(str(folder))
    status, said, err = say(capsys, "run", folder / "*.mp4", "-o", tmp_path / "out", *QUICK)
    assert status == 0, err
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["b10.gc", "b2.gc"] and said.count("scene: ") == 2
    # Of one video, too: what the pattern finds does not decide what the output is.
    again = ["run", folder / "b1*.mp4", "-o", tmp_path / "out", *QUICK]
    assert "b10.gc: the output exists" in refused(capsys, *again)
    assert say(capsys, *again, "--resume")[0] == 0
    assert "this is a scene" in refused(capsys, "run", folder, "-o", tmp_path / "out" / "b2.gc")


def test_pictures_stay_one_input(tmp_path):
    for folder in ("takes/1", "takes/2"):
        (tmp_path / folder).mkdir(parents=True)
        write_png(tmp_path / folder / "1.png", picture(1))
    assert clips_of(str(tmp_path / "takes" / "1")) is None
    assert clips_of(str(tmp_path / "takes" / "1" / "*.png")) is None
    assert clips_of(str(tmp_path / "takes" / "1" / "%d.png")) is None
    assert clips_of(str(tmp_path / "takes" / "*")) == [str(tmp_path / "takes" / n) for n in "12"]
    assert clips_of(str(tmp_path / "takes")) is None and clips_of(str(tmp_path / "nothing")) is None
    encode(tmp_path / "takes" / "1" / "a.mp4", pictures(1))
    with pytest.warns(UserWarning, match="the videos among them are not"):
        assert clips_of(str(tmp_path / "takes" / "1")) is None


def test_inputs_and_outputs_with_odd_names(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disk").mkdir()
    (tmp_path / "real.gc").symlink_to("disk/there.gc")
    odd = ["-x:映.mp4", os.fsdecode(b"caf\xe9.mp4"), "n" * 251 + ".mp4"]
    for name in odd:
        os.link(encode(tmp_path / "a.mp4", pictures(1)), name)
        Path("a.mp4").unlink()
    (tmp_path / "link.mp4").symlink_to("./-x:映.mp4")
    status, said, err = say(capsys, "run", "-o", "out", *QUICK, "--", *odd)
    assert status == 0, err
    assert sorted(p.name for p in Path("out").iterdir()) == sorted(["-x:映.gc", "caf%E9.gc", "n" * 251 + ".gc"])
    assert said.count("scene: ") == 3
    assert say(capsys, "run", "link.mp4", "--output=real.gc", *QUICK)[0] == 0
    assert (tmp_path / "real.gc").is_symlink()
    assert gc.open(tmp_path / "disk" / "there.gc").source.path == str(tmp_path / "link.mp4")
