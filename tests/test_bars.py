"""Black bars: found where they were put, and nowhere else."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from clips import marks
from clips.making import Coding, encode
from conftest import moving_pattern, write_video
from hypothesis import given, settings
from hypothesis import strategies as st

from geometrycrafter.video.bars import Bars, Box, find_bars
from geometrycrafter.video.options import Reading
from geometrycrafter.video.reading import open_frames

HEIGHT, WIDTH = 72, 104
WHOLE = Box(0, 0, HEIGHT, WIDTH)


def waves(count: int, height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    return moving_pattern(count, height, width, seed)


def in_bars(pictures: np.ndarray, box: Box, black: float = 0) -> np.ndarray:
    """The clip with everything outside the box at one level."""
    out = np.full_like(pictures, black)
    out[:, box.top : box.bottom, box.left : box.right] = pictures[:, box.top : box.bottom, box.left : box.right]
    return out


def found(frames: np.ndarray, fps: float = 10.0) -> list[Box]:
    bars = find_bars((f.max(-1) for f in frames), fps, *frames.shape[1:3])
    return [bars.picture(t) for t in range(len(frames))]


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """Letterbox, pillarbox, windowbox or bars of different widths."""
    top, bottom = draw(st.sampled_from([0, 2, 5, 12, 20])), draw(st.sampled_from([0, 3, 12, 21]))
    left, right = draw(st.sampled_from([0, 3, 14, 30])), draw(st.sampled_from([0, 2, 14, 31]))
    return Box(top, left, HEIGHT - bottom, WIDTH - right)


@given(boxes(), st.integers(1, 30), st.integers(0, 48), st.integers(0, 3), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_bars_are_found_where_they_are(box: Box, count: int, black: int, noise: int, seed: int) -> None:
    pictures = waves(count, seed=seed) // 2 + 100
    clip = in_bars(pictures, box, black).astype(int)
    clip += np.random.default_rng(seed).integers(-noise, noise + 1, clip.shape)
    assert set(found(clip.clip(0, 255).astype(np.uint8))) == {box}


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(6, 12)), min_size=1, max_size=6), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_bars_that_change_are_followed(stretches: list[tuple[int, int]], seed: int) -> None:
    kinds = (WHOLE, Box(12, 0, HEIGHT - 12, WIDTH), Box(0, 16, HEIGHT, WIDTH - 16))
    truth = [kinds[kind] for kind, frames in stretches for _ in range(frames)]
    pictures = waves(len(truth), seed=seed) // 2 + 100
    clip = np.concatenate([in_bars(p[None], box) for p, box in zip(pictures, truth)])
    assert found(clip) == truth


@given(st.integers(0, 4), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_nothing_that_is_lit_is_ever_a_bar(lamps: int, seed: int) -> None:
    """Whatever a clip shows: a picture never loses more than the two lines that an edge may waver by."""
    rng = np.random.default_rng(seed)
    clip = np.zeros((24, HEIGHT, WIDTH, 3), np.uint8)
    for _ in range(lamps):
        t, y, x = rng.integers(0, 24), rng.integers(0, HEIGHT - 8), rng.integers(0, WIDTH - 8)
        clip[t : t + rng.integers(1, 24), y : y + rng.integers(3, 40), x : x + rng.integers(3, 60)] = 200
    for frame, box in zip(clip, found(clip)):
        outside = frame.copy()
        outside[max(box.top - 2, 0) : box.bottom + 2, max(box.left - 2, 0) : box.right + 2] = 0
        assert not outside.any()


LETTER = Box(9, 0, HEIGHT - 9, WIDTH)


def faded(clip: np.ndarray, *spans: tuple[int, int]) -> np.ndarray:
    """Fades to black and back, each from a frame to a frame."""
    gain = np.ones(len(clip))
    for start, end in spans:
        gain[start:end] = np.abs(np.linspace(-1, 1, end - start))
    return (clip * gain[:, None, None, None]).astype(np.uint8)


@pytest.mark.parametrize("box", [WHOLE, LETTER], ids=["whole", "letterbox"])
class TestDarkMoments:
    """What is dark for a while is no bar, and doesn't hide one."""

    def test_fades(self, box: Box) -> None:
        clip = faded(in_bars(waves(60), box), (0, 12), (20, 44))
        assert set(found(clip)) == {box}

    def test_black_frames_and_a_black_lead(self, box: Box) -> None:
        clip = in_bars(waves(60), box)
        clip[:15] = clip[30:40] = clip[55:] = 0
        assert set(found(clip)) == {box}

    def test_a_night_scene_whose_lower_part_is_black_for_long(self, box: Box) -> None:
        clip = in_bars(waves(80), box)
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        clip[20:60][:, y > 40 + 8 * np.sin(x / 9)] = 0
        assert set(found(clip)) == {box}

    def test_a_window_that_is_the_only_light(self, box: Box) -> None:
        clip = in_bars(waves(80), box)
        clip[20:60] = 0
        clip[20:60, 30:50, 40:60] = 180
        assert set(found(clip)) == {box}

    def test_credits(self, box: Box) -> None:
        clip = in_bars(waves(80), box)
        clip[40:] = 0
        clip[40:, 20:50:8, 30:75:4] = 230
        assert set(found(clip)) == {box}

    def test_lightning(self, box: Box) -> None:
        clip = in_bars(waves(60) // 8, box)
        clip[::13] = in_bars(waves(60), box)[::13]
        assert set(found(clip)) == {box}


def test_an_object_before_black_is_no_picture_in_bars() -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    clip = np.zeros((12, HEIGHT, WIDTH, 3), np.uint8)
    for t in range(12):
        clip[t, (y - 36) ** 2 + (x - 50) ** 2 < 600] = 180
    assert set(found(clip)) == {WHOLE}


@pytest.mark.parametrize("dark", [np.s_[:, :30], np.s_[:, :, :50], np.s_[:, 20:]], ids=["sky", "wall", "headlights"])
def test_night_with_a_level_edge_is_no_bar(dark: tuple) -> None:
    clip = waves(40) // 3
    clip[dark] = np.random.default_rng(0).integers(0, 5, clip[dark].shape)
    assert set(found(clip)) == {WHOLE}


def test_a_region_that_is_lit_for_a_moment_is_none() -> None:
    clip = in_bars(waves(60), LETTER)
    clip[30, -4:] = 120
    assert {box.bottom for box in found(clip)} == {HEIGHT}


def test_subtitles_in_a_bar_are_kept_whole() -> None:
    clip = in_bars(waves(80), LETTER)
    clip[20:50, HEIGHT - 6 : HEIGHT - 2, 30:70:3] = 230
    boxes = found(clip)
    assert {box.top for box in boxes} == {9}
    assert all(box.bottom >= HEIGHT - 2 for box in boxes)


def test_a_single_side_that_goes_dark_is_no_bar() -> None:
    clip = waves(60)
    clip[30:, 50:] = 0
    assert set(found(clip)) == {WHOLE}


@pytest.mark.parametrize("clip", [np.zeros((5, 20, 30, 3), np.uint8), np.full((1, 1, 1, 3), 9, np.uint8)])
def test_what_shows_nothing_has_no_bars(clip: np.ndarray) -> None:
    assert set(found(clip)) == {Box(0, 0, *clip.shape[1:3])}


@pytest.mark.parametrize("quality", [10, 28, 38])
@pytest.mark.parametrize(
    ("codec", "pixel_format"), [("libx264", "yuv420p"), ("libx264", "yuv420p10le"), ("mpeg4", "yuv420p")]
)
def test_lossy_coding_moves_no_edge(tmp_path, codec: str, pixel_format: str, quality: int) -> None:
    """Edges that lie within a macroblock, where coding leaves its traces in the bar."""
    box = Box(22, 0, 144 - 22, 192)
    clip = in_bars(waves(30, 144, 192), box)
    rate = {"qmin": str(quality // 2), "qmax": str(quality // 2 + 1)} if codec == "mpeg4" else {"crf": str(quality)}
    bars = open_frames(write_video(tmp_path / "b.mp4", clip, codec, pixel_format, options=rate)).find_bars()
    assert np.abs(np.array([bars.picture(t) for t in range(30)]) - box).max() <= 2


def test_bars_lie_in_the_frame_as_it_is_shown(tmp_path) -> None:
    """Pixels twice as high as wide, of a picture that lies on its side."""
    upright = in_bars(waves(6, 128, 64), Box(0, 8, 128, 64 - 16))
    path = encode(tmp_path / "a.mp4", [marks.stored(f, 6) for f in upright], Coding(aspect=Fraction(2), display=6))
    source = open_frames(path)
    assert (source.height, source.width) == (256, 64)
    assert np.abs(np.array([shown.picture for shown in source.shown()]) - Box(0, 8, 256, 48)).max() <= 2


def test_bars_belong_to_the_frames_that_are_taken() -> None:
    clip = np.concatenate([waves(20), in_bars(waves(20), LETTER)])
    source = open_frames(clip)
    boxes = [s.picture for s in source.cut(4, 38, 2).shown()]
    assert boxes == [WHOLE] * 8 + [LETTER] * 9
    resampled = open_frames(clip, Reading(fps=48))
    assert [s.picture for s in resampled.shown()] == [WHOLE] * 40 + [LETTER] * 40
    assert open_frames(clip, Reading(end=1)).find_bars().union == WHOLE


def test_an_iterator_is_not_looked_at() -> None:
    clip = in_bars(waves(5), LETTER)
    shown = list(open_frames(iter(clip)).shown())
    assert len(shown) == 5 and {s.picture for s in shown} == {WHOLE}
    assert open_frames(clip).find_bars().union == LETTER
    assert open_frames(clip, Reading(bars="keep")).find_bars().union == WHOLE


def test_bars_are_stored_and_come_back() -> None:
    bars = Bars(((0, WHOLE), (7, LETTER), (12, Box(2, 4, 30, 50))))
    assert Bars.of_stored(bars.stored()) == bars
    last = bars.changes[-1][1]
    assert [bars.picture(t) for t in (0, 6, 7, 11, 12, 500)] == [WHOLE, WHOLE, LETTER, LETTER, last, last]
    assert Bars(bars.changes[1:]).union == Box(2, 0, HEIGHT - 9, WIDTH)
    with pytest.raises(ValueError):
        Bars.of_stored([])
