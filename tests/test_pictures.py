"""Pictures are what they say: read back by another decoder, compared pixel by pixel."""

from __future__ import annotations

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geometrycrafter.video.pictures import at_size, disparity_picture, sheet, write_png


def luminance(colours: np.ndarray) -> np.ndarray:
    return colours @ np.array([0.2126, 0.7152, 0.0722])


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**31))
@settings(deadline=None, max_examples=30)
def test_nearer_is_lighter_and_invalid_is_black(height, width, seed):
    rng = np.random.default_rng(seed)
    depth, mask = rng.uniform(0.1, 50, (height, width)), rng.random((height, width)) > 0.3
    depth[~mask] = np.nan
    colours = disparity_picture(depth, mask)
    assert (colours[~mask] == 0).all() and colours.shape == (height, width, 3)
    order = np.argsort(depth[mask])[::-1]
    assert (np.diff(luminance(colours[mask].astype(float))[order]) > -1).all()  # the colours are whole numbers
    wide = disparity_picture(np.stack([depth, depth]), np.stack([mask, mask]), 1 / 50, 1 / 0.1)
    assert np.array_equal(wide[1], disparity_picture(depth, mask, 1 / 50, 1 / 0.1))


def test_nothing_valid_is_black_all_over():
    assert not disparity_picture(np.full((4, 5), np.nan), np.zeros((4, 5), bool)).any()


def test_a_sheet_has_every_picture_in_its_place():
    pictures = [np.full((3, 4, 3), i + 1, np.uint8) for i in range(5)]
    whole = sheet([pictures[:3], pictures[3:]], gap=2)
    assert whole.shape == (3 + 2 + 3, 4 + 2 + 4 + 2 + 4, 3)
    assert whole[::5, ::6, 0].tolist() == [[1, 2, 3], [4, 5, 0]]
    assert not whole[3:5].any() and not whole[:, 4:6].any()


def test_another_size_takes_whole_pixels():
    picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    assert np.array_equal(at_size(picture, 2, 3), picture[1::2, 1::2])  # of four that are as near, the last
    assert np.array_equal(at_size(picture, 8, 12)[1::2, 1::2], picture)


@pytest.mark.parametrize(
    ("picture", "form"),
    [
        (np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3), "rgb24"),
        (np.arange(5 * 7, dtype=np.uint8).reshape(5, 7), "gray"),
        (np.arange(5 * 7, dtype=np.uint16).reshape(5, 7) * 1800, "gray16le"),
    ],
)
def test_png_keeps_every_value(tmp_path, picture, form):
    path = write_png(tmp_path / "a.png", picture)
    with av.open(str(path)) as container:
        assert np.array_equal(next(container.decode(video=0)).to_ndarray(format=form), picture)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
