"""The court of inputs: every row of ``tests/clips`` read as a player would show it."""

from __future__ import annotations

import re
import shutil
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import CASES, Absent, Case, listing, marks

from geometrycrafter.errors import InputError

NAMES = [case.name for case in CASES]


def made(case: Case, folder: Path) -> Any:
    try:
        return case.make(folder)
    except Absent as reason:
        pytest.skip(str(reason))


def opened(source: Any, **reading: Any) -> Any:
    from geometrycrafter.video.options import Reading
    from geometrycrafter.video.reading import open_frames

    return open_frames(source, Reading(**reading))


def read(source: Any, **reading: Any) -> tuple[Any, list[float], list[np.ndarray]]:
    frames = opened(source, **reading)
    pairs = list(frames.timed())
    return frames, [seconds for seconds, _ in pairs], [frame for _, frame in pairs]


def test_the_court_is_large_and_its_names_are_told_apart() -> None:
    assert len(CASES) >= 80
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(64, 96), (48, 200), (65, 97), (200, 48)])
def test_the_marks_are_read_back_in_one_orientation_alone(orientation: int, size: tuple[int, int]) -> None:
    for number in (0, 1, 21, 31):
        frame = marks.stored(marks.picture(number, *size), orientation)
        assert marks.upright(frame) == (orientation == 1)
        if orientation == 1:
            assert marks.number(frame) == number


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_an_input_is_read_as_it_is_shown(case: Case, tmp_path: Path) -> None:
    source = made(case, tmp_path)
    if case.refuses:
        refused(case, source)
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frames, seconds, pictures = read(source, **case.reading)
    told = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
    if case.warns:
        assert any(word in text for word in case.warns for text in told), told
    else:
        assert not told
    assert (frames.height, frames.width) == case.size
    assert {p.shape for p in pictures} == {(*case.size, 3)}
    assert all(p.dtype in (np.uint8, np.float32) and np.isfinite(p).all() for p in pictures)
    assert 0 < frames.fps <= 1000
    told_apart(case, frames, pictures)
    in_time(case, seconds)
    coloured(case, pictures)


def told_apart(case: Case, frames: Any, pictures: list[np.ndarray]) -> None:
    boxes = case.shown or ((0, 0, *case.size),) * len(pictures)
    if case.shown:
        found = [shown.picture for shown in frames.shown()]
        assert len(found) == len(case.shown)
        assert np.abs(np.array(found) - np.array(case.shown)).max() <= 2
    cropped = [p[top:bottom, left:right] for p, (top, left, bottom, right) in zip(pictures, boxes)]
    if case.numbers is not None:
        assert tuple(marks.number(p) for p in cropped) == case.numbers
        assert all(marks.upright(p) for p in cropped)
    else:
        assert len(pictures) == case.count


def in_time(case: Case, seconds: list[float]) -> None:
    assert np.isfinite(seconds).all() and (np.diff(seconds) > 0).all()
    if case.even:
        expected = case.times if case.times is not None else np.arange(len(seconds)) / 10
        assert np.array(seconds) - seconds[0] == pytest.approx(np.array(expected), abs=0.0021)


def coloured(case: Case, pictures: list[np.ndarray]) -> None:
    if case.combed is not None:
        assert any(marks.combed(shown) for shown in pictures) == case.combed
    for shown in pictures if case.patches else ():
        off = [np.abs(marks.level(shown, *place) - expected).mean() for place, expected in case.patches]
        assert np.mean(off) < case.tolerance, off


def refused(case: Case, source: Any) -> None:
    with pytest.raises(InputError) as refusal:
        read(source, **case.reading)
    sentence = str(refusal.value)
    assert all(word in sentence for word in case.refuses), sentence
    assert "\n" not in sentence
    if advice := re.search(r"--end (\d+)", sentence):  # what it advises works
        taken = {**case.reading, "end": int(advice[1])}
        assert len(read(source, **taken)[2]) == int(advice[1])


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.authority and (c.numbers or c.patches) and not c.reading], ids=lambda case: case.name
)
def test_the_court_agrees_with_ffmpeg_itself(case: Case, tmp_path: Path) -> None:
    """The frames, their order, their orientation and their shape are those of the ffmpeg program."""
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("the ffmpeg program is not installed")
    source = made(case, tmp_path)
    if not isinstance(source, Path) or source.is_dir() or source.suffix == ".txt":
        pytest.skip("ffmpeg takes no such input")
    height, width = case.size
    shown = by_ffmpeg(program, source, height, width)
    count = case.count if case.numbers is None else len(case.numbers)
    assert len(shown) == count
    coloured(replace(case, combed=None), shown)
    if case.combed is not None:  # it leaves fields as they are, until it is asked
        assert any(marks.combed(p) for p in shown)
    if case.combed is False:
        shown = by_ffmpeg(program, source, height, width, "yadif=deint=interlaced,")
        assert not any(marks.combed(p) for p in shown)
    boxes = case.shown or ((0, 0, height, width),) * count
    cropped = [p[top:bottom, left:right] for p, (top, left, bottom, right) in zip(shown, boxes)]
    if case.numbers is not None:
        assert tuple(marks.number(p) for p in cropped) == case.numbers
        assert all(marks.upright(p) for p in cropped)


def by_ffmpeg(program: str, source: Path, height: int, width: int, before: str = "") -> list[np.ndarray]:
    """All frames that the ffmpeg program shows, with square pixels, as ``[H, W, 3]`` uint8."""
    scale = "scale=iw*sar:ih:flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp,format=rgb24"
    command = [program, "-v", "error", "-i", f"file:{source}", "-fps_mode", "passthrough", "-vf", before + scale]
    done = subprocess.run([*command, "-f", "rawvideo", "-"], capture_output=True)
    pixels = np.frombuffer(done.stdout, np.uint8)
    assert len(pixels) and len(pixels) % (height * width * 3) == 0, done.stderr.decode()
    return list(pixels.reshape(-1, height, width, 3))


def test_the_docs_list_the_court() -> None:
    text = (Path(__file__).parents[1] / "docs" / "inputs.md").read_text()
    assert listing() in text, "write clips.listing() into docs/inputs.md"
