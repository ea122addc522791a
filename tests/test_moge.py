"""MoGe's camera: focal length and shift of points that are not all of use."""

from __future__ import annotations

import warnings

import pytest
import torch

from geometrycrafter.networks.moge_blocks import view_plane
from geometrycrafter.priors.moge import focal_and_shift

HEIGHT, WIDTH = 48, 64


def affine_points() -> torch.Tensor:
    """Points that a focal length of 1.3 half diagonals projects to their pixels once depth is 0.5 more."""
    plane = view_plane(HEIGHT, WIDTH, WIDTH / HEIGHT, torch.zeros(1))
    depth = 2 + torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    return torch.cat([plane * depth[..., None] / 1.3, (depth - 0.5)[..., None]], -1)


@pytest.mark.parametrize("value", [(0.0, 0.0, 0.0), (1.0, 2.0, 0.0), (torch.nan, 1.0, 1.0), (0.0, 0.0, torch.inf)])
def test_points_that_cannot_be_projected_do_not_count(value):
    points = affine_points()
    points[::10, ::10] = torch.tensor(value)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        focal, shift = focal_and_shift(points, torch.ones(HEIGHT, WIDTH, dtype=torch.bool))
    assert focal == pytest.approx(1.3, abs=1e-3) and shift == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("known", [None, 1.2])
@pytest.mark.parametrize("value", [(0.0, 0.0, 0.0), (0.0, 0.0, 2.0), (torch.nan, torch.nan, torch.nan)])
def test_points_that_say_nothing_leave_the_camera_as_it_is(value, known):
    points = torch.tensor(value).expand(HEIGHT, WIDTH, 3)
    found = focal_and_shift(points, torch.ones(HEIGHT, WIDTH, dtype=torch.bool), known)
    assert found == (known or 1.0, 0.0)
