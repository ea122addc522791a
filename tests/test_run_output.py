"""What ``run`` and ``info`` say: to people, to nobody, and to programs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from conftest import moving_pattern, write_video
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_cli import refused, say

import geometrycrafter as gc
from geometrycrafter.cli.idle_flags import idle_of_video
from geometrycrafter.cli.time_left import TimeLeft

SMALL = ("--size", "64x64", "--end", 4)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "clip.gc"
    video = write_video(folder.parent / "clip.mp4", moving_pattern(6, 64, 96))
    gc.load("tiny")(str(video), output=folder, size=(64, 64))
    return folder


def truth(scene: gc.Scene) -> tuple[float, float, float]:
    """Near, far and valid share, over every pixel of every frame."""
    depth, mask = np.asarray(scene.depth), np.asarray(scene.mask)
    return (*np.quantile(depth[mask], (0.01, 0.99)), mask.mean())


def test_without_an_output_the_scene_is_named_after_the_video(clip, tmp_path, capsys, monkeypatch) -> None:
    video = shutil.copy(clip, tmp_path / "holiday.mp4")
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    status, out, _ = say(capsys, "run", video, *SMALL)
    assert status == 0 and out.splitlines()[-1] == "scene: holiday.gc" and len(gc.open("holiday.gc")) == 4
    assert "holiday.gc" in refused(capsys, "run", video, *SMALL) and "--overwrite" in refused(capsys, "run", video)
    other = write_video(tmp_path / "other.mp4", moving_pattern(3, 64, 96))
    assert say(capsys, "run", video, other, *SMALL, "--overwrite")[0] == 0
    assert sorted(p.name for p in here.iterdir()) == ["holiday.gc", "other.gc"]


def test_a_run_ends_with_five_lines(clip, tmp_path, capsys) -> None:
    out = tmp_path / "a.gc"
    status, said, _ = say(capsys, "run", clip, "-o", out, *SMALL, "--intrinsics", "48,48,47.5,31.5")
    lines = said.splitlines()
    near, far, valid = truth(gc.open(out))
    assert status == 0 and len(lines) == 5
    assert lines[0] == "frames: 4 of 96x64, 24 frames/s, 0.2 s, 1 shot"
    # A focal length of half the width sees 90 degrees; 64 rows at it, twice the arc tangent of 2/3.
    assert lines[1] == "camera: focal length 48.0 px, field of view 90.0 x 67.4 degrees"
    assert lines[2] == (
        f"depth: {near:.4g} to {far:.4g}, the clip's own scale, not metres; {100 * valid:.1f} % of pixels valid"
    )
    assert lines[3].startswith("look: geometrycrafter ") and str(out) in lines[3]
    assert lines[4] == f"scene: {out}"


def test_a_quiet_run_says_nothing(clip, tmp_path, capsys) -> None:
    assert say(capsys, "run", clip, "-o", tmp_path / "a.gc", *SMALL, "--quiet") == (0, "", "")
    assert "--overwrite" in refused(capsys, "run", clip, "-o", tmp_path / "a.gc", "--quiet")
    assert "--json" in refused(capsys, "run", clip, "--quiet", "--json")


def test_events_are_json_and_nothing_else(clip, tmp_path, capsys) -> None:
    out, bad = tmp_path / "out", tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    status, said, _ = say(capsys, "run", clip, bad, "-o", out, *SMALL, "--json", "--preview")
    events = [json.loads(line) for line in said.splitlines()]
    assert status == 2 and [e["event"] for e in events if e["event"] != "progress"] == [
        "error",
        "begin",
        "scene",
        "end",
    ]
    error, begin = events[0], events[1]
    assert "bad.mp4" in error["message"] and error["video"] == str(bad)
    assert {e.get("video", str(clip)) for e in events[1:]} == {str(clip)}
    assert (begin["width"], begin["height"], begin["fps"], begin["model"]) == (96, 64, 24, "tiny deterministic")
    steps = [e for e in events if e["event"] == "progress"]
    assert list(dict.fromkeys(e["stage"] for e in steps)) == ["observe", "condition", "denoise", "decode", "steady"]
    assert steps[-1]["done"] == steps[-1]["total"] == 4 and steps[-1]["memory_mb"] > 50
    assert set(steps[0]) == {"event", "time", "video", "stage", "done", "total", "rate", "seconds_left", "memory_mb"}
    scene = gc.open(events[-2]["scene"])
    near, far, valid = truth(scene)
    assert events[-2]["depth"] == pytest.approx([near, far]) and events[-2]["valid"] == pytest.approx(valid)
    assert events[-2]["shots"] == [[0, 4]] and Path(events[-2]["preview"]).is_file()
    assert (events[-1]["done"], events[-1]["failed"]) == (1, 1)


def test_events_tell_what_ends_the_run(tmp_path, capsys) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    status, said, err = say(capsys, "run", tmp_path / "bad.mp4", "-o", tmp_path / "a.gc", "--json")
    (event,) = [json.loads(line) for line in said.splitlines()]
    assert status == 2 and event["event"] == "error" and f"error: {event['message']}" == err.strip()


@pytest.mark.parametrize("flags", [["--bogus"], ["--steps", "x"], ["--window", "3", "--overlap", "5"], ["--quiet"]])
def test_events_tell_of_wrong_flags(flags, clip, tmp_path, capsys) -> None:
    status, said, err = say(capsys, "run", clip, "-o", tmp_path / "a.gc", "--json", *flags)
    (event,) = [json.loads(line) for line in said.splitlines()]
    assert status == 2 and event["event"] == "error" and event["video"] is None
    assert f"error: {event['message']}" == err.strip()


def test_a_preview_shows_frames_over_their_disparity(clip, tmp_path, capsys) -> None:
    out, sheet = tmp_path / "a.gc", tmp_path / "a.preview.png"
    sheet.write_bytes(b"mine")
    assert "a.preview.png" in refused(capsys, "run", clip, "-o", out, *SMALL, "--preview") and not out.exists()
    status, said, _ = say(capsys, "run", clip, "-o", out, *SMALL, "--preview", "--overwrite")
    assert status == 0 and f"preview: {sheet}" in said.splitlines()
    picture = np.asarray(Image.open(sheet).convert("RGB"), np.float32)
    scene = gc.open(out)
    # Four frames beside each other, 288 pixels wide, at 6 pixels from the edges: 192 rows of each, then its disparity.
    shown = picture[6 : 6 + 192, 6 + 2 * 294 : 6 + 2 * 294 + 288]
    frame = np.asarray(Image.fromarray(scene.frames[2]).resize((288, 192)), np.float32)
    assert np.abs(shown - frame).mean() < 4
    below = picture[6 + 192 : 6 + 384, 6 + 2 * 294 : 6 + 2 * 294 + 288].mean(axis=-1)
    nearness = np.asarray(Image.fromarray(1 / scene.depth[2]).resize((288, 192)))
    assert np.corrcoef(below.ravel(), nearness.ravel())[0, 1] > 0.9


def test_info_says_of_any_scene_what_the_run_said(finished, capsys) -> None:
    status, out, _ = say(capsys, "info", finished)
    near, far, valid = truth(gc.open(finished))
    assert status == 0 and f"depth: {near:.4g} to {far:.4g}, the clip's own scale" in out
    assert "shots: 1: 0-5" in out and "poses: none" in out and "made: by tiny/deterministic" in out
    status, out, _ = say(capsys, "info", finished, "--json")
    told = json.loads(out)
    assert status == 0 and told["complete"] is True and told["valid"] == pytest.approx(valid) and told["unit"] is None


def test_info_of_a_strangers_scene_gives_no_orders(finished, tmp_path, capsys) -> None:
    place = tmp_path / "a; touch harm.gc"
    shutil.copytree(finished, place)
    about = json.loads((place / "zarr.json").read_text())
    told = {"model": "\x1b]0;mine\a", "source": "a\nscene: another", "program": "\x9b31m\u202egc\ud800"}
    about["attributes"] |= told
    (place / "zarr.json").write_text(json.dumps(about))
    status, out, _ = say(capsys, "info", place)
    assert status == 0 and all(line.isprintable() for line in out.splitlines())
    assert out.count("\nscene: ") == 1 and f"geometrycrafter poses '{place}'" in out
    assert json.loads(say(capsys, "info", place, "--json")[1])["source"] == told["source"]


def test_info_tells_poses_metres_and_free_rays(tmp_path, capsys) -> None:
    shape = (3, 24, 32)
    depth = np.full(shape, 2.0, np.float32)
    scene = gc.Scene.from_depth(depth, depth > 1, np.array([[32, 0, 15.5], [0, 32, 11.5], [0, 0, 1]]), fps=10)
    scene.set_array("poses", np.stack([np.eye(4)] * 3))
    scene.set_array("metres", np.ones(3))
    group = zarr.open_group(scene.save(tmp_path / "s.gc").path)
    y, x = np.meshgrid((np.arange(24) - 11.5) / 12, (np.arange(32) - 15.5) / 16, indexing="ij")
    rays = np.broadcast_to(np.stack([x, y], -1), (*shape, 2)).astype(np.float32)
    group.create_array("rays", data=rays, chunks=(1, 24, 32, 2))
    _, out, _ = say(capsys, "info", tmp_path / "s.gc")
    assert "poses: 3 of 3 frames" in out and "rays of its own for each pixel, field of view 90.0 x 90.0 degrees" in out
    assert "depth: 2 to 2, metres; 100.0 % of pixels valid" in out


def test_info_tells_damage_and_runs_that_are_not_finished(finished, tmp_path, capsys) -> None:
    damaged = Path(shutil.copytree(finished, tmp_path / "damaged.gc"))
    chunk = damaged / "mask" / "c" / "3" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    status, out, _ = say(capsys, "info", damaged, "--check")
    assert status == 1 and "mask" in out and "3" in out and "Traceback" not in out
    assert "mask" in refused(capsys, "info", damaged)  # what it would say would be wrong
    status, out, _ = say(capsys, "info", finished, "--check")
    assert status == 0 and "all of it can be read" in out

    class EnoughError(Exception):
        pass

    def stop(stage: str, done: int, total: int | None) -> None:
        if stage == "decode":
            raise EnoughError

    with pytest.raises(EnoughError):
        video, how = finished.with_name("clip.mp4"), {"size": (64, 64), "decode_chunk": 3}
        gc.load("tiny")(str(video), output=tmp_path / "half.gc", progress=stop, **how)
    status, out, _ = say(capsys, "info", tmp_path / "half.gc")
    assert status == 1 and "decode, 2 of 6 frames decoded" in out and "--resume" in out
    told = json.loads(say(capsys, "info", tmp_path / "half.gc", "--json")[1])
    assert told["complete"] is False and (told["decoded"], told["frames"]) == (2, 6)
    assert "is no scene" in refused(capsys, "info", tmp_path)


@settings(max_examples=60, deadline=None)
@given(
    expected=st.lists(st.floats(0.1, 50), min_size=1, max_size=5),
    slower=st.floats(0.2, 5),
    frames=st.integers(4, 60),
    batch=st.integers(1, 3),
)
def test_time_left_is_right_where_stages_take_what_is_expected(expected, slower, frames, batch) -> None:
    now = 0.0
    left = TimeLeft({str(i): cost for i, cost in enumerate(expected)}, clock=lambda: now)
    whole = sum(expected) * slower * frames
    for stage, cost in enumerate(expected):
        before = 0
        for done in [*range(batch, frames, batch), frames]:
            now, before = now + cost * slower * (done - before), done
            said = left(str(stage), done, frames)
            remaining = sum(expected[stage + 1 :]) * slower * frames + cost * slower * (frames - done)
            if said is not None:
                assert said == pytest.approx(remaining, rel=1e-6, abs=1e-9 * whole)
    assert said is None or said == pytest.approx(0, abs=1e-9 * whole)


def test_time_left_is_not_said_before_anything_is_known() -> None:
    now = 100.0
    left = TimeLeft({"observe": 1.0, "decode": 3.0}, clock=lambda: now)
    assert left("observe", 4, 10) is None and left("observe", 5, None) is None
    now = 102.0
    assert left("observe", 6, 10) == pytest.approx(4 + 30)
    assert left("unheard of", 1, 10) is None


def test_flags_that_change_nothing_say_so(clip, tmp_path, capsys) -> None:
    idle = ["--decoder", "light", "--seed", 4, "--max-size", 4000]
    status, _, err = say(capsys, "run", clip, "-o", tmp_path / "a.gc", "--end", 2, *idle)
    assert status == 0
    for flag in ("--decoder light", "--seed", "--max-size 4000"):
        assert any(line.startswith(f"{flag}: ") for line in err.splitlines()), flag
    assert list(idle_of_video({"max_size": 128}, 64, 96, 192 * 320)) == []  # a smaller one does something
