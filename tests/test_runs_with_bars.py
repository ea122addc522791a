"""Runs of clips with black bars: the networks see the picture alone, the scene keeps the whole frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import flat_prior, moving_pattern, write_video
from test_cli import refused, say
from test_runs import CancelledError, bits, contents, stop_at

import geometrycrafter as gc
from geometrycrafter.video.bars import Box
from geometrycrafter.video.options import Reading
from geometrycrafter.video.reading import FrameSource, open_frames

FRAMES, HEIGHT, WIDTH = 20, 96, 64
PICTURE = moving_pattern(FRAMES, 64, 64) // 2 + 90
LETTER = Box(16, 0, 80, 64)
HOW: dict[str, Any] = {"window": 10, "overlap": 2}


def barred(*boxes: Box) -> np.ndarray:
    """The pattern on black, behind boxes of as many frames each."""
    whole = moving_pattern(FRAMES, HEIGHT, WIDTH) // 2 + 90
    whole[:, LETTER.top : LETTER.bottom] = PICTURE
    out = np.zeros_like(whole)
    for t in range(FRAMES):
        inside = boxes[t * len(boxes) // FRAMES].slices
        out[t][inside] = whole[t][inside]
    return out


BARRED = barred(LETTER)
HALF = barred(Box(0, 0, HEIGHT, WIDTH), LETTER)


class Watching:
    """The flat prior; keeps the shapes of what it sees."""

    def __init__(self) -> None:
        self.shapes: set[tuple[int, ...]] = set()
        self.darkest = 1.0

    def __call__(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.shapes.add(tuple(frames.shape[1:]))
        self.darkest = min(self.darkest, float(frames.min()))
        return flat_prior(frames)


@pytest.fixture(scope="module")
def estimator(hub):
    return gc.load(hub, "deterministic", prior=flat_prior)


@pytest.mark.parametrize("focal", ["shared", "per-frame", "free"])
def test_what_is_in_bars_is_estimated_as_if_they_were_not_there(estimator, focal) -> None:
    with_bars = estimator(BARRED, **HOW, size=(64, 64), focal=focal)
    without = estimator(PICTURE, **HOW, size=(64, 64), focal=focal)
    assert with_bars.depth.shape == (FRAMES, HEIGHT, WIDTH)
    inside = (slice(None), *LETTER.slices)
    for name in ("depth", "mask", "points"):
        assert np.array_equal(getattr(with_bars, name)[:][inside], getattr(without, name)[:])
    outside = np.asarray(with_bars.mask)
    outside[inside] = False
    assert not outside.any() and np.isfinite(with_bars.points[:]).all()
    shift = np.asarray(with_bars.intrinsics) - np.asarray(without.intrinsics)
    assert shift[:, 1, 2] == pytest.approx(16) and np.abs(shift).sum() == pytest.approx(16 * FRAMES)
    assert np.array_equal(with_bars.frames[:][inside], without.frames[:])
    assert with_bars.frames.shape == (FRAMES, HEIGHT, WIDTH, 3)


def test_the_networks_see_no_bars(hub) -> None:
    prior = Watching()
    scene = gc.load(hub, "deterministic", prior=prior)(BARRED, **HOW, max_size=64)
    assert prior.shapes == {(3, 64, 64)} and prior.darkest > 0.3
    assert scene.attributes["options"]["size"] == [64, 64]
    prior = Watching()
    gc.load(hub, "deterministic", prior=prior)(open_frames(BARRED, Reading(bars="keep")), **HOW, size=(64, 64))
    assert prior.shapes == {(3, HEIGHT, WIDTH)} and prior.darkest == 0


def test_bars_that_come_are_masked_while_they_are_there(estimator) -> None:
    scene = estimator(HALF, **HOW, size=(64, 64))
    mask = np.asarray(scene.mask)
    assert mask[:10].any((0, 2)).all()
    assert not mask[10:, :16].any() and not mask[10:, 80:].any() and mask[10:, 16:80].any()


@pytest.mark.parametrize("nearness", [0.01, 3.0])
def test_what_a_prior_says_inside_bars_is_not_heard(hub, estimator, nearness) -> None:
    """Where bars come, points of theirs have no part in the clip's scale."""

    def talkative(frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        points, mask = flat_prior(frames)
        black = frames.mean(1) < 0.01
        return torch.where(black[..., None], points * nearness, points), mask | black

    how = {**HOW, "size": (64, 64)}
    assert bits(gc.load(hub, "deterministic", prior=talkative)(HALF, **how)) == bits(estimator(HALF, **how))


def test_a_known_camera_is_that_of_the_whole_frame(estimator) -> None:
    camera = (80.0, 81.0, 30.0, 50.0)
    scene = estimator(BARRED, **HOW, size=(64, 64), intrinsics=camera)
    assert np.array_equal(scene.intrinsics[0], np.array([[80, 0, 30], [0, 81, 50], [0, 0, 1]], np.float32))
    cropped = estimator(PICTURE, **HOW, size=(64, 64), intrinsics=(80.0, 81.0, 30.0, 34.0))
    assert np.array_equal(scene.depth[:][:, 16:80], cropped.depth[:])


def test_the_published_procedure_knows_of_no_bars(estimator) -> None:
    how = {**HOW, "size": (64, 64), "exact": True}
    kept = estimator(open_frames(BARRED, Reading(bars="keep")), **how)
    scene = estimator(BARRED, **how)
    assert bits(scene) == bits(kept)
    assert scene.attributes["run"]["bars"] == [[0, 0, 0, HEIGHT, WIDTH]]


@pytest.mark.parametrize("stage", ["observe", "condition", "denoise", "decode"])
def test_a_run_goes_on_to_the_same_bits_and_looks_for_bars_once(stage, estimator, tmp_path, monkeypatch) -> None:
    whole = bits(estimator(HALF, **HOW, size=(64, 64)))
    looked = []
    look = FrameSource.look
    monkeypatch.setattr(FrameSource, "look", lambda self, **how: looked.append(1) or look(self, **how))
    out = tmp_path / "a.gc"
    with pytest.raises(CancelledError):
        estimator(HALF, **HOW, size=(64, 64), output=out, progress=stop_at(stage))
    for _ in range(2):
        assert bits(estimator(HALF, **HOW, size=(64, 64), output=out, resume=True)) == whole
    assert len(looked) == 1


def test_other_bars_are_another_run(estimator, tmp_path) -> None:
    out = tmp_path / "a.gc"
    same: dict[str, Any] = {**HOW, "size": (64, 64), "output": out}
    with pytest.raises(CancelledError):
        estimator(open_frames(HALF, Reading(start=10)), **same, progress=stop_at("observe", 8))
    before = contents(out)
    with pytest.raises(gc.InputError, match=r"another --bars \(auto\); give"):
        estimator(open_frames(HALF, Reading(start=10, bars="keep")), **same, resume=True)
    assert contents(out) == before
    more = np.concatenate([HALF, HALF[:10]])
    with pytest.raises(gc.InputError, match="another picture in its bars"):
        estimator(open_frames(more, Reading(start=10)), **same, resume=True)
    assert contents(out) == before
    longer = np.concatenate([HALF, BARRED])
    scene = estimator(open_frames(longer, Reading(start=10)), **same, resume=True)
    assert bits(scene) == bits(estimator(open_frames(longer, Reading(start=10)), **HOW, size=(64, 64)))


def test_bars_of_a_video_on_the_command_line(tmp_path, capsys) -> None:
    video = write_video(tmp_path / "v.mp4", barred(LETTER)[:, :, :, ::-1], options={"crf": "24"})
    run = ["run", video, "--size", "64x64", "-o"]
    status, _, _ = say(capsys, *run, tmp_path / "auto.gc")
    assert status == 0
    assert not np.asarray(gc.open(tmp_path / "auto.gc").mask)[:, :15].any()
    assert "--bars" in refused(capsys, *run, tmp_path / "auto.gc", "--resume", "--bars", "keep")
    assert "--bars" in refused(capsys, *run, tmp_path / "other.gc", "--bars", "crop")


def test_nothing_is_looked_for_where_the_output_may_not_be_written(estimator, tmp_path, monkeypatch) -> None:
    (tmp_path / "a.gc").mkdir()
    (tmp_path / "a.gc" / "notes.txt").write_text("mine")
    monkeypatch.setattr(FrameSource, "look", lambda *_, **__: pytest.fail("the whole video was gone through"))
    with pytest.raises(gc.InputError, match="other files than a scene"):
        estimator(BARRED, **HOW, output=tmp_path / "a.gc")
