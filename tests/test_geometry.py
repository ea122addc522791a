"""Cameras and rays, against closed forms."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geometrycrafter.geometry import cameras

sides = st.integers(2, 40)
tangents = st.floats(0.05, 4)


@given(sides, sides, tangents, tangents)
@settings(deadline=None, max_examples=50)
def test_half_field_and_intrinsics_are_inverse(height, width, x, y):
    field = torch.tensor([x, y], dtype=torch.float64)
    k = cameras.intrinsics_from_half_field(field, height, width)
    torch.testing.assert_close(cameras.half_field_of_intrinsics(k, height, width), field)
    rays = cameras.rays_of_intrinsics(k, height, width)
    torch.testing.assert_close(rays[0, -1, 0], field[0])
    torch.testing.assert_close(rays, field * cameras.half_field_grid(height, width, field))
    torch.testing.assert_close(cameras.half_field_of_rays(rays), field)


@given(sides, sides, st.floats(0.2, 2))
@settings(deadline=None, max_examples=50)
def test_theta_is_the_diagonal_tangent(height, width, theta):
    field = cameras.half_field_of_theta(torch.tensor(theta, dtype=torch.float64), height, width)
    torch.testing.assert_close(field.norm(), torch.tensor(theta, dtype=torch.float64))
    torch.testing.assert_close(field[0] * height, field[1] * width)


def test_unprojected_points_project_back_to_their_pixels():
    k = torch.tensor([[50.0, 0, 20], [0, 40, 11], [0, 0, 1]])
    depth = 1 + torch.rand(24, 41)
    points = cameras.unproject(depth, cameras.rays_of_intrinsics(k, 24, 41))
    projected = points @ k.T
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(41.0), indexing="ij")
    torch.testing.assert_close(projected[..., :2] / projected[..., 2:], torch.stack([x, y], -1), atol=1e-4, rtol=1e-4)


def test_off_centre_camera_and_flat_wall():
    k = torch.tensor([[100.0, 0, 3], [0, 100, 7], [0, 0, 1]])
    points = cameras.unproject(torch.full((8, 12), 5.0), cameras.rays_of_intrinsics(k, 8, 12))
    assert points[7, 3].tolist() == [0, 0, 5]
    torch.testing.assert_close(points[7, 11, 0], torch.tensor(8 * 5 / 100))
