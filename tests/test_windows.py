"""Windows, noise and decoder chunks cover every frame, whatever the numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import flat_prior, moving_pattern
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import geometrycrafter as gc
from geometrycrafter.inference.decoding import decode_joined, plan_chunks
from geometrycrafter.inference.windows import denoise_windows, join, join_windows, plan, window_noise
from geometrycrafter.networks.point_map_vae import DecodedPointMap

many = settings(deadline=None, max_examples=200)


@given(st.integers(1, 400), st.integers(1, 120), st.integers(0, 119), st.booleans())
@many
def test_windows_cover_the_clip_once_joined(frames, window, overlap, exact):
    assume(overlap < window)
    windows = plan(frames, window, overlap, exact)
    assert windows[0].start == 0 and windows[-1].end == frames
    for before, after in zip(windows, windows[1:], strict=False):
        assert after.start + after.overlap == before.end
        assert 0 <= after.overlap < after.frames
    if not exact:
        assert all(w.frames == min(window, frames) for w in windows)
    noise = torch.zeros(1, min(window, frames), 1, 1, 1)
    assert [n.shape[1] for n in window_noise(noise, windows, min(overlap, noise.shape[1]))] == [
        w.frames for w in windows
    ]


@given(st.integers(1, 80), st.integers(1, 20), st.integers(0, 19), st.booleans(), st.integers(0, 80))
@many
def test_windows_that_are_taken_from_a_store_change_nothing(frames, window, overlap, exact, cut):
    """However many windows were done before, the clip comes out as if it had been denoised at once."""
    assume(overlap < window)
    windows = plan(frames, window, overlap, exact)
    noise = torch.arange(min(window, frames), dtype=torch.float64).view(1, -1, 1, 1, 1)
    made = []

    def denoise(place, unit, shared):  # depends on the place, the noise and what came before
        made.append(place)
        assert (shared is None) == (place.overlap == 0) and (shared is None or shared.shape[1] == place.overlap)
        return unit + place.start + (0 if shared is None else shared.mean())

    class Store(dict):
        load, save = dict.get, dict.__setitem__

    whole = join_windows(denoise_windows(denoise, windows, noise, overlap))
    assert whole.shape[1] == frames
    one_by_one = None  # by the published procedure: everything so far, then one more window
    for place, unit in zip(windows, window_noise(noise, windows, overlap), strict=True):
        shared = None if one_by_one is None or not place.overlap else one_by_one[:, -place.overlap :]
        latents = denoise(place, unit, shared)
        one_by_one = latents if one_by_one is None else join(one_by_one, latents, place.overlap)
    assert torch.equal(whole, one_by_one)

    store = Store()
    for index, _ in zip(range(cut), denoise_windows(denoise, windows, noise, overlap, store), strict=False):
        assert index in store
    done = len(store)
    made.clear()
    assert torch.equal(join_windows(denoise_windows(denoise, windows, noise, overlap, store)), whole)
    assert made == windows[done:]


@given(st.integers(1, 200), st.integers(1, 30), st.booleans())
@many
def test_decoder_chunks_cover_the_clip(frames, chunk, exact):
    chunks = plan_chunks(frames, chunk, exact)
    asked = []

    def decode(z):
        asked.append(len(z))
        return DecodedPointMap(*(z.view(-1, 1, 1, 1).float() for _ in range(3)))

    out = [
        (start, maps.log_depth.flatten().tolist())
        for start, maps in decode_joined(decode, lambda a, b: torch.arange(a, b), chunks)
    ]
    flat = [v for _, values in out for v in values]
    np.testing.assert_allclose(flat, np.arange(frames), atol=1e-4)
    assert [start for start, _ in out] == list(np.cumsum([0, *(len(v) for _, v in out)])[:-1])
    assert max(asked) <= max(chunk, 1)


def test_decoding_can_begin_in_the_middle():
    chunks = plan_chunks(40, 8, exact=False)

    def decode(z):  # what a chunk says of a frame depends on the chunk
        return DecodedPointMap(*((z + z[0] * 0.1).view(-1, 1, 1, 1) for _ in range(3)))

    def latents(a, b):
        return torch.arange(a, b, dtype=torch.float32)

    whole = {s: m.log_depth for s, m in decode_joined(decode, latents, chunks)}
    for first in range(len(chunks)):
        for start, maps in decode_joined(decode, latents, chunks, first):
            assert torch.equal(maps.log_depth, whole[start])


def test_joining_cross_fades():
    joined = join(torch.zeros(1, 5, 1, 1, 1), torch.ones(1, 4, 1, 1, 1), 3).flatten()
    assert joined.tolist() == [0, 0, 0, 0.5, 1, 1]


@pytest.mark.parametrize("frames", [1, 2, 5, 6, 7, 11])
def test_any_number_of_frames(hub, frames):
    scene = gc.load(hub, "diffusion", prior=flat_prior)(
        moving_pattern(frames, 64, 64), window=6, overlap=2, steps=1, size=(64, 64)
    )
    assert scene.depth.shape == (frames, 64, 64)
    assert np.isfinite(scene.points[:]).all()


@pytest.mark.parametrize("size", [(63, 95), (1, 50), (37, 37), (90, 30)])
def test_any_frame_size(hub, size):
    with pytest.warns(UserWarning) if max(size) > 2 * min(size) else __import__("contextlib").nullcontext():
        scene = gc.load(hub, "deterministic", prior=flat_prior)(moving_pattern(3, *size), size=(64, 64))
    assert scene.depth.shape == (3, *size)
    assert np.isfinite(scene.points[:]).all()
