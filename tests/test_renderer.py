"""The procedural world: a seed stays the clip that it was, and rays meet surfaces where they are."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geometrycrafter.data.renderer import render_clip
from geometrycrafter.data.renderer.casting import cast, tiles_of
from geometrycrafter.data.renderer.world import Primitives

# Of the clips that the embedded model was trained on: mean and deviation of colour, mean and deviation of the logarithm
# of depth, share of pixels with depth and on moving things, focal length, and where the camera ends.
CLIPS = {
    4: (0.5275, 0.1811, 0.4649, 0.5898, 1.0, 0.1619, 68.9631, (1.0044, -1.7211, -0.7924)),  # a room, people
    7: (0.4853, 0.2030, 1.1218, 0.4178, 1.0, 0.0, 47.5678, (0.8602, -0.9905, -1.6828)),
    20: (0.3935, 0.2351, 0.6476, 0.9050, 1.0, 0.2161, 65.0948, (-1.4491, -1.5222, -1.2478)),
    26: (0.3716, 0.2764, 2.8073, 0.6298, 0.8009, 0.0422, 65.4641, (-0.6023, -1.9363, -2.0824)),  # outdoors
    34: (0.5466, 0.1419, 3.0354, 0.6558, 0.8493, 0.0247, 77.5437, (-0.5347, -4.1498, -0.4856)),  # from above
    42: (0.5434, 0.1632, 2.2474, 0.8763, 0.9686, 0.0975, 69.5186, (1.3556, -1.6696, -1.9860)),
}


@pytest.mark.parametrize("seed", CLIPS)
def test_a_seed_is_the_clip_that_it_always_was(seed):
    clip = render_clip(seed, 4, 48, 64)
    colour, contrast, near, spread, known, moving, focal, position = CLIPS[seed]
    logs = clip.depth[clip.mask].log()
    assert clip.frames.mean().item() == pytest.approx(colour, abs=5e-4)
    assert clip.frames.std().item() == pytest.approx(contrast, abs=5e-4)
    assert (logs.mean().item(), logs.std().item()) == pytest.approx((near, spread), abs=5e-4)
    assert clip.mask.float().mean().item() == pytest.approx(known, abs=5e-4)
    assert clip.dynamic.float().mean().item() == pytest.approx(moving, abs=5e-4)
    assert clip.intrinsics[0, 0].item() == pytest.approx(focal, abs=1e-3)
    assert clip.poses[-1, :3, 3].tolist() == pytest.approx(position, abs=5e-4)


# Of the second world, likewise, in three frames of 36x48.
SECOND = {
    1: (0.5675, 0.2314, 0.1609, 0.5187, 1.0000, 0.0000, 89.9776, (-0.3789, -1.3603, -0.4355)),
    3: (0.2780, 0.1612, 1.4026, 0.6076, 1.0000, 0.0926, 39.4598, (-1.1550, -1.3485, 1.1854)),
    4: (0.4368, 0.1798, 1.3884, 1.1313, 1.0000, 0.2589, 46.0819, (2.3910, -0.8460, 2.4522)),
    6: (0.4271, 0.2389, 1.5638, 1.0282, 0.6319, 0.0000, 29.7028, (-1.0294, -1.1692, -2.0000)),
    9: (0.5274, 0.1999, 1.2717, 0.3012, 1.0000, 0.0000, 48.4427, (0.0125, -1.6121, 1.7952)),
    12: (0.4338, 0.1161, 0.6377, 0.4648, 1.0000, 0.0000, 27.2778, (3.5064, -1.0108, -2.5179)),
}


@pytest.mark.parametrize("seed", SECOND)
def test_a_seed_of_the_second_world_stays_too(seed):
    clip = render_clip(seed, 3, 36, 48, world=2)
    logs = clip.depth[clip.mask].log()
    colours, depths = (clip.frames.mean().item(), clip.frames.std().item()), (logs.mean().item(), logs.std().item())
    shares = clip.mask.float().mean().item(), clip.dynamic.float().mean().item()
    assert (*colours, *depths, *shares) == pytest.approx(SECOND[seed][:6], abs=1e-3)
    assert clip.intrinsics[0, 0].item() == pytest.approx(SECOND[seed][6], abs=1e-3)
    assert clip.poses[-1, :3, 3].tolist() == pytest.approx(SECOND[seed][7], abs=5e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.floats(0, 3), st.floats(-2, 2))
def test_a_ray_ends_on_the_surface_that_it_meets(seed, is_ellipsoid, time, tilt):
    g = torch.Generator().manual_seed(seed)
    centre, half_size = torch.rand(1, 3, generator=g) * 4 - 2, torch.rand(1, 3, generator=g) + 0.2
    velocity, yaw = torch.rand(1, 3, generator=g) - 0.5, torch.rand(1, generator=g) * 2 * math.pi
    lean, swing, rate = torch.tensor([tilt]), torch.rand(1, 3, generator=g) * 0.2, torch.tensor([[3.0]])
    turns = (yaw.cos(), yaw.sin(), torch.tensor([is_ellipsoid]), velocity, lean.cos(), lean.sin())
    thing = Primitives(centre, half_size, *turns, swing, rate)
    where = centre[0] + time * velocity[0] + swing[0] * math.sin(3 * time)
    origin = where + torch.tensor([0.0, -1.0, -8.0])
    rays = where - origin + torch.rand(60, 3, generator=g) * 4 - 2
    distance, _ = cast(origin, rays, thing, time)
    hit = torch.isfinite(distance)
    # Turned into the thing's axes by a matrix of its own, lengths in half sizes.
    c, s = yaw.cos().item(), yaw.sin().item()
    over = torch.tensor([[1, 0, 0], [0, math.cos(tilt), math.sin(tilt)], [0, -math.sin(tilt), math.cos(tilt)]])
    turn = over @ torch.tensor([[c, 0, -s], [0, 1, 0], [s, 0, c]])

    def level(t):
        unit = ((origin + t[:, None] * rays - where) @ turn.T) / half_size
        return unit.norm(dim=-1) if is_ellipsoid else unit.abs().amax(-1)

    assert ((level(torch.where(hit, distance, 0)) - 1).abs()[hit] < 2e-4).all()
    steps = torch.linspace(0, 2, 200)
    inside = torch.stack([level(t.expand(len(rays))) < 0.99 for t in steps])
    assert not inside[:, ~hit].any()  # what a march along the ray finds, the cast has found
    before = steps[:, None] < distance - 1e-3
    assert not (inside & before).any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_tiles_of_rays_meet_what_the_rays_meet_one_by_one(seed, height, width):
    g = torch.Generator().manual_seed(seed)
    n, spread = 40, torch.tensor([6.0, 3.0, 8.0])
    centre = (torch.rand(n, 3, generator=g) * 2 - 1) * spread
    half_size = torch.rand(n, 3, generator=g) ** 4 * 2 + 0.01
    yaw, tilt = torch.rand(2, n, generator=g) * 6.3
    turns = (
        yaw.cos(),
        yaw.sin(),
        torch.rand(n, generator=g) < 0.5,
        torch.rand(n, 3, generator=g),
        tilt.cos(),
        tilt.sin(),
    )
    things = Primitives(centre, half_size, *turns, torch.rand(n, 3, generator=g), torch.ones(n, 1))
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    turn = torch.linalg.qr(torch.randn(3, 3, generator=g))[0]
    rays = torch.stack([x, y, torch.ones_like(x)], -1).view(-1, 3) @ turn
    origin = torch.rand(3, generator=g) * 4 - 2
    tiles = tiles_of(height, width)
    assert sorted(set(tiles.flatten().tolist())) == list(range(height * width))
    together = cast(origin, rays, things, 0.5, tiles)
    alone = cast(origin, rays, things, 0.5, torch.arange(height * width)[:, None])
    assert torch.equal(together[0], alone[0]) and torch.equal(together[1], alone[1])
