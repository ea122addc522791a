"""Cameras and rays, against closed forms."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from geometrycrafter.geometry import cameras, rigid
from geometrycrafter.geometry.reprojection import follow

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


angles, axes = st.floats(-7, 7), st.sampled_from("xyz")
seeds = st.integers(0, 2**31)


def some_motions(seed: int, *shape: int) -> torch.Tensor:
    """Rotations by SciPy, an independent hand."""
    rng = np.random.default_rng(seed)
    rotations = Rotation.random(int(np.prod(shape)), random_state=rng).as_matrix().reshape(*shape, 3, 3)
    return rigid.motion(torch.from_numpy(rotations), torch.from_numpy(rng.normal(0, 5, (*shape, 3))))


@given(axes, angles)
@settings(deadline=None, max_examples=50)
def test_rotations_about_axes_are_right_handed(axis, angle):
    found = rigid.rotation_about(axis, torch.tensor(angle, dtype=torch.float64))
    np.testing.assert_allclose(found, Rotation.from_euler(axis, angle).as_matrix(), atol=1e-12)


@given(seeds, st.floats(0.1, 10))
@settings(deadline=None, max_examples=50)
def test_quaternions_of_any_length_turn_as_they_should(seed, length):
    turn = Rotation.random(random_state=np.random.default_rng(seed))
    x, y, z, w = length * turn.as_quat()
    found = rigid.rotation_of_quaternion(torch.tensor([w, x, y, z], dtype=torch.float64))
    np.testing.assert_allclose(found, turn.as_matrix(), atol=1e-12)


@given(seeds, st.integers(1, 3), st.integers(1, 4))
@settings(deadline=None, max_examples=50)
def test_motions_are_undone_composed_and_applied(seed, count, number):
    a, b = some_motions(seed, count), some_motions(seed + 1, count)
    points = torch.randn(count, number, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(rigid.inverse(a), torch.linalg.inv(a))
    torch.testing.assert_close(rigid.apply(a @ b, points), rigid.apply(a, rigid.apply(b, points)))
    homogeneous = torch.cat([points, torch.ones_like(points[..., :1])], -1)
    torch.testing.assert_close(rigid.apply(a, points), torch.einsum("tij,tnj->tni", a, homogeneous)[..., :3])
    # What both cameras see stays where it is in the world.
    torch.testing.assert_close(rigid.apply(b, rigid.apply(rigid.relative(a, b), points)), rigid.apply(a, points))
    flip = torch.tensor([-1.0, 1, 1], dtype=torch.float64)
    torch.testing.assert_close(rigid.apply(rigid.mirrored(a), flip * points), flip * rigid.apply(a, points))


@given(seeds, st.integers(2, 20), st.integers(2, 20))
@settings(deadline=None, max_examples=40)
def test_pixels_land_where_their_points_project(seed, height, width):
    """Against points moved and projected one by one."""
    rng = np.random.default_rng(seed)
    k, to_k = (np.array([[f, 0, width / 2], [0, 1.1 * f, height / 3], [0, 0, 1.0]]) for f in rng.uniform(10, 40, 2))
    pose, to_pose = np.eye(4), np.eye(4)
    to_pose[:3, :3] = Rotation.from_euler("yx", rng.normal(0, 0.2, 2)).as_matrix()
    to_pose[:3, 3] = rng.normal(0, 0.5, 3)
    depth, mask = rng.uniform(0.5, 5, (height, width)), rng.random((height, width)) > 0.3
    wanted = {}
    for v, u in zip(*np.nonzero(mask), strict=True):
        x, y, z = np.linalg.inv(to_pose)[:3] @ np.append(depth[v, u] * np.linalg.inv(k) @ [u, v, 1], 1)
        if z > 1e-6:
            pixel = to_k[:2, :2] @ [x / z, y / z] + to_k[:2, 2]
            if np.abs(pixel % 1 - 0.5).min() < 1e-6:
                return  # which pixel is nearest is a matter of rounding
            column, row = np.rint(pixel)
            if 0 <= column < width and 0 <= row < height:
                wanted[v * width + u] = (row * width + column, z)
    found = follow(*map(torch.from_numpy, (depth, mask, k, pose, to_k, to_pose)))
    assert found.source.tolist() == list(wanted)
    assert found.target.tolist() == [target for target, _ in wanted.values()]
    np.testing.assert_allclose(found.depth, [z for _, z in wanted.values()], rtol=1e-9)
