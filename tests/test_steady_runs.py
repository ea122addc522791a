"""Depth of what stands still stays the same over a clip."""

from __future__ import annotations

import errno
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import geometrycrafter as gc
from geometrycrafter.geometry import flow, rigid
from geometrycrafter.geometry.resection import adjusted, projected, resected, zoomed
from geometrycrafter.inference.passes import steady as steady_pass
from geometrycrafter.inference.steadying import GRID, Linker, SmallFrame, levelled, steadier

FOCAL, CENTRE = torch.tensor([100.0, 100.0]).double(), torch.tensor([63.5, 47.5]).double()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def texture(seed: int, height: int = 96, width: int = 128) -> torch.Tensor:
    """Noise ``[H, W]`` in [0, 1] that is stronger the coarser it is, as in photographs."""
    random, picture = torch.Generator().manual_seed(seed), torch.full((height, width), 0.5)
    for size in (4, 8, 16, 32):
        noise = torch.rand(1, 1, height // size + 1, width // size + 1, generator=random) - 0.5
        picture += F.interpolate(noise, (height, width), mode="bicubic", align_corners=False)[0, 0] * size / 32
    return picture.clamp(0, 1)


@settings(max_examples=10, deadline=None)
@given(st.floats(-6, 6), st.floats(-6, 6), st.integers(0, 99))
def test_flow_finds_by_how_much_a_picture_was_moved(x: float, y: float, seed: int) -> None:
    large = texture(seed, 160, 192)
    at = flow.places(96, 128) + 32
    pictures = [
        flow.sampled(large[None, None], at - torch.tensor([[[[dx]], [[dy]]]]))[0, 0] for dx, dy in ((0, 0), (x, y))
    ]
    found = flow.flow(*(flow.pyramid(p) for p in pictures))[0, :, 16:-16, 16:-16]
    assert (found[0] - x).abs().median() < 0.15 and (found[1] - y).abs().median() < 0.15


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999))
def test_a_cameras_motion_is_found_though_a_third_of_the_points_are_wrong(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    pixels = torch.rand(150, 2, generator=random).double() * torch.tensor([127.0, 95.0])
    depth = 2 + 6 * torch.rand(150, 1, generator=random).double()
    points = torch.cat([(pixels - CENTRE) / FOCAL, torch.ones(150, 1)], -1) * depth
    turn, shift = 0.04 * torch.randn(3, generator=random).double(), 0.1 * torch.randn(3, generator=random).double()
    true = rigid.motion(rigid.rotation_of_vector(turn), shift)
    seen, _ = projected(rigid.apply(true, points), FOCAL, CENTRE)
    seen[:50] += 20 * torch.randn(50, 2, generator=random)
    found = resected(points[None], seen[None], torch.ones(1, 150).double(), FOCAL, CENTRE, 0.7)[0]
    assert (found - true).abs().max() < 2e-3


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999))
def test_depth_that_is_off_by_chance_makes_no_motion_shorter(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    pixels = torch.rand(300, 2, generator=random).double() * torch.tensor([127.0, 95.0])
    depth = (0.5 + 1.5 * torch.rand(300, 1, generator=random).double()).exp()
    true = torch.cat([(pixels - CENTRE) / FOCAL, torch.ones(300, 1)], -1) * depth
    shift = torch.nn.functional.normalize(torch.randn(3, generator=random).double(), dim=0)
    motion = rigid.motion(torch.eye(3).double(), shift * 0.4)
    seen, ahead = projected(rigid.apply(motion, true), FOCAL, CENTRE)
    seen += 0.1 * torch.randn(300, 2, generator=random)
    told = true * (0.3 * torch.randn(300, 1, generator=random)).exp()
    weight = torch.ones(1, 300).double()
    begun = resected(told[None], seen[None], weight, FOCAL, CENTRE, 0.7)
    found, points = adjusted(told[None], seen[None], weight, FOCAL, CENTRE, 0.7, begun)
    _, moved = projected(rigid.apply(found, points), FOCAL, CENTRE)
    change, expected = (moved[0, :, 2] / points[0, :, 2]).log(), (ahead[:, 2] / true[:, 2]).log()
    assert (change - expected).abs().median() < 0.005
    assert (found[0, :3, 3] / 0.4).norm() == pytest.approx(1, abs=0.1)


def small_frames(
    poses: torch.Tensor, errors: torch.Tensor, zooms: torch.Tensor | None = None, bumps: float = 0.5
) -> tuple[list[SmallFrame], list[torch.Tensor]]:
    """Frames of a camera between a bumpy wall and it, and their true log depth ``[96, 128]``.

    The wall is at z = 4 + bumps sin x; depth is off by the exponential of grids ``[T, nodes]``; ``[T]`` zooms multiply
    the focal length.
    """
    wall = texture(5, 384, 512)[None, None]
    frames, truths = [], []
    y, x = torch.meshgrid(torch.arange(96).double(), torch.arange(128).double(), indexing="ij")
    for pose, values, zoom in zip(poses, errors, torch.ones(len(poses)) if zooms is None else zooms, strict=True):
        focal = FOCAL * zoom
        rays = torch.stack([(x - CENTRE[0]) / focal[0], (y - CENTRE[1]) / focal[1], torch.ones_like(x)], -1)
        towards, depth = rays @ pose[:3, :3].T, torch.full((96, 128), 4.0).double()
        for _ in range(30):  # to where the ray meets the wall
            place = pose[:3, 3] + depth[..., None] * towards
            depth = depth + (4 + bumps * place[..., 0].sin() - place[..., 2]) * 0.8
        place = pose[:3, 3] + depth[..., None] * towards
        at = (place[..., :2] * 50 + torch.tensor([256.0, 192.0])).permute(2, 0, 1)[None].float()
        picture = (flow.sampled(wall, at)[0, 0] * 255).round().to(torch.uint8)
        wrong = depth * GRID.picture(values, 96, 128).exp()
        frame = SmallFrame.of(picture[..., None].expand(-1, -1, 3).numpy(), wrong.numpy(), np.ones((96, 128), bool))
        assert frame is not None
        frames.append(frame)
        truths.append(depth.log())
    return frames, truths


def moving_camera(frames: int, speed: float) -> torch.Tensor:
    t = torch.arange(frames).double()
    turn = torch.stack([0.02 * (t / 5).sin(), 0.01 * t * speed, torch.zeros_like(t)], -1)
    return rigid.motion(rigid.rotation_of_vector(turn), torch.stack([0.02 * t, 0 * t, 0.03 * t], -1) * speed)


def spread(frames: list[SmallFrame], truths: list[torch.Tensor], corrections: torch.Tensor) -> float:
    """Standard deviation over time of the log ratio to the truth, mean over pixels."""
    off = [
        frame.log_depth + GRID.picture(c, 96, 128) - truth
        for frame, truth, c in zip(frames, truths, corrections, strict=True)
    ]
    return float(torch.stack(off).std(0).mean())


@pytest.mark.parametrize("speed", [0.0, 1.0])
def test_what_is_wrong_with_frames_depth_is_found_whether_the_camera_moves_or_not(speed: float) -> None:
    random = torch.Generator().manual_seed(1)
    errors = 0.15 * torch.randn(20, 1, generator=random) + 0.05 * torch.randn(20, GRID.nodes, generator=random)
    frames, truths = small_frames(moving_camera(20, speed), errors.double())
    linker = Linker(FOCAL, CENTRE)
    links = [link for t, frame in enumerate(frames) for link in linker.add(t, frame)]
    nothing = torch.zeros(0, GRID.nodes).double()
    found = levelled(links, (96, 128), nothing, 20)
    before, after = spread(frames, truths, 0 * found), spread(frames, truths, found)
    assert before > 0.13
    assert after < (0.01 if speed == 0 else 0.04)

    half = levelled([k for k in links if max(k.first, k.second) < 14], (96, 128), nothing, 14)[:10]
    rest = levelled([k for k in links if max(k.first, k.second) >= 10], (96, 128), half, 20)
    assert spread(frames, truths, torch.cat([half, rest])) < (0.02 if speed == 0 else 0.05)


def test_depth_of_any_unit_is_corrected_alike() -> None:
    errors = 0.2 * torch.randn(6, 1, generator=torch.Generator().manual_seed(1)).double().repeat(1, GRID.nodes)
    frames, _ = small_frames(moving_camera(6, 1.0), errors)
    found = []
    for unit in (1.0, 1e-6, 1e6):
        linker, scaled = Linker(FOCAL, CENTRE), [f._replace(log_depth=f.log_depth + math.log(unit)) for f in frames]
        links = [link for t, frame in enumerate(scaled) for link in linker.add(t, frame)]
        found.append(levelled(links, (96, 128), torch.zeros(0, GRID.nodes).double(), 6))
    assert found[0].abs().max() > 0.1
    assert (found[1] - found[0]).abs().max() < 1e-4 and (found[2] - found[0]).abs().max() < 1e-4


def test_depth_that_swells_slowly_before_a_camera_that_stands_is_found_to_the_end() -> None:
    swell = torch.linspace(-0.5, 0.5, 33)[:, None] * (
        1 + torch.rand(GRID.nodes, generator=torch.Generator().manual_seed(0))
    )
    frames, truths = small_frames(moving_camera(33, 0.0), swell.double())
    linker = Linker(FOCAL, CENTRE)
    links = [link for t, frame in enumerate(frames) for link in linker.add(t, frame)]
    found = levelled(links, (96, 128), torch.zeros(0, GRID.nodes).double(), 33)
    before, after = spread(frames, truths, 0 * found), spread(frames, truths, found)
    assert before > 0.4
    assert after < 0.04 * before

    parts = torch.zeros(0, GRID.nodes).double()
    for end, kept in ((16, 12), (26, 22), (33, 33)):  # as long shots are solved
        seen = [k for k in links if max(k.first, k.second) < end and max(k.first, k.second) >= len(parts)]
        parts = torch.cat([parts, levelled(seen, (96, 128), parts, end)])[:kept]
    assert spread(frames, truths, parts) < 0.1 * before


def test_frames_of_other_scales_are_not_bent_where_the_camera_turns() -> None:
    """Scales that go with the turn agree as well when every frame is bent alike."""
    t = torch.arange(32).double()
    turn = torch.stack([0.12 * (t / 5).sin(), 0 * t, 0 * t], -1)
    poses = rigid.motion(rigid.rotation_of_vector(turn), torch.zeros(32, 3).double())
    frames, truths = small_frames(poses, 0.2 * (t / 5).sin()[:, None].repeat(1, GRID.nodes))
    linker = Linker(FOCAL, CENTRE)
    links = [link for i, frame in enumerate(frames) for link in linker.add(i, frame)]
    found = levelled(links, (96, 128), torch.zeros(0, GRID.nodes).double(), 32)
    assert spread(frames, truths, found) < 0.3 * spread(frames, truths, 0 * found)
    bent = found - found.mean(-1, keepdim=True)
    assert bent.mean(0).abs().max() < 0.02


@pytest.mark.parametrize("shake", [0.002, 0.01])
def test_a_floor_under_a_hand_that_shakes_is_not_made_flat(shake: float) -> None:
    """Depth that knows nothing of the shaking agrees best where it has no shape at all."""
    t = torch.arange(32).double()
    turn = torch.stack([shake * (1.3 * t).sin(), shake * (0.9 * t).cos(), 0 * t], -1)
    poses = rigid.motion(rigid.rotation_of_vector(turn), torch.zeros(32, 3).double())
    frames, _ = small_frames(poses, torch.zeros(32, GRID.nodes).double())
    floor = (-2 * torch.linspace(0, 1, 96)[:, None]).expand(96, 128)
    scales = 0.05 * torch.randn(32, generator=torch.Generator().manual_seed(1))
    frames = [f._replace(log_depth=floor + scale) for f, scale in zip(frames, scales, strict=True)]
    linker = Linker(FOCAL, CENTRE)
    links = [link for i, frame in enumerate(frames) for link in linker.add(i, frame)]
    for tied, bend in ((32, 0.01), (20, 0.02)):  # all frames, or the first of them
        seen = [link for link in links if max(link.first, link.second) < tied]
        found = levelled(seen, (96, 128), torch.zeros(0, GRID.nodes).double(), 32)[:tied]
        told, truth = frames[:tied], [floor] * tied
        assert spread(told, truth, found) < 0.5 * spread(told, truth, 0 * found)
        bent = found - found.mean(-1, keepdim=True)
        assert bent.mean(0).abs().max() < bend


@settings(max_examples=20, deadline=None)
@given(st.floats(0.6, 1.6), st.integers(0, 999))
def test_a_turn_and_a_zoom_are_found_whatever_depth_is(zoom: float, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    pixels = torch.rand(150, 2, generator=random).double() * torch.tensor([127.0, 95.0])
    rays = torch.cat([(pixels - CENTRE) / FOCAL, torch.ones(150, 1)], -1)
    turn = rigid.rotation_of_vector(0.04 * torch.randn(3, generator=random).double())
    seen, _ = projected(rays @ turn.T, FOCAL * zoom, CENTRE)
    seen[:40] += 20 * torch.randn(40, 2, generator=random)
    depth = torch.rand(150, 1, generator=random).double() + 0.1
    found, times = zoomed((rays * depth)[None], seen[None], torch.ones(1, 150).double(), FOCAL, CENTRE, 0.7)
    assert (found[0, :3, :3] - turn).abs().max() < 2e-3
    assert float(times) == pytest.approx(zoom, rel=2e-3)


@pytest.mark.parametrize("zoom", [1.5, 3.0])
def test_a_lens_that_zooms_is_no_camera_that_goes_forward(zoom: float) -> None:
    random = torch.Generator().manual_seed(1)
    errors = 0.05 * torch.randn(32, 1, generator=random) + 0.02 * torch.randn(32, GRID.nodes, generator=random)
    frames, truths = small_frames(moving_camera(32, 0.0), errors.double(), zoom ** torch.linspace(0, 1, 32))
    linker = Linker(FOCAL, CENTRE)
    links = [link for t, frame in enumerate(frames) for link in linker.add(t, frame)]
    found = levelled(links, (96, 128), torch.zeros(0, GRID.nodes).double(), 32)
    assert spread(frames, truths, found) < 0.5 * spread(frames, truths, 0 * found)


@pytest.mark.parametrize("shape", [0.0, 0.1])
def test_a_camera_that_comes_near_a_flat_wall_zooms_not(shape: float) -> None:
    t, random = torch.arange(32).double(), torch.Generator().manual_seed(1)
    way = rigid.motion(torch.eye(3).double().expand(32, 3, 3), torch.stack([0 * t, 0 * t, 0.06 * t], -1))
    errors = 0.03 * torch.randn(32, 1, generator=random) + shape * torch.randn(GRID.nodes, generator=random)
    frames, truths = small_frames(way, errors.double(), bumps=0.0)
    linker = Linker(FOCAL, CENTRE)
    links = [link for i, frame in enumerate(frames) for link in linker.add(i, frame)]
    found = levelled(links, (96, 128), torch.zeros(0, GRID.nodes).double(), 32)
    assert spread(frames, truths, found) < spread(frames, truths, 0 * found)


class Wavering:
    """A prior whose scale is another one in each frame; the world is a wall."""

    def __call__(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        n, _, h, w = frames.shape
        y, x = torch.meshgrid(torch.linspace(-0.4, 0.4, h), torch.linspace(-0.5, 0.5, w), indexing="ij")
        # Of the frame's number, which a corner tells.
        number = (frames[:, 0, :8, :8].mean((1, 2)) * 255).round()
        depth = 2 * (0.25 * (number * 2.4).sin()).exp()
        points = torch.stack([x, y, torch.ones_like(x)], -1) * depth[:, None, None, None]
        return points, torch.ones(n, h, w, dtype=torch.bool)


def still_clip(frames: int) -> np.ndarray:
    picture = (texture(3, 64, 128) * 255).round().to(torch.uint8)[..., None].expand(-1, -1, 3).numpy()
    clip = np.repeat(picture[None], frames, 0).copy()
    clip[:, :8, :8] = np.arange(frames, dtype=np.uint8)[:, None, None, None]
    return clip


def extent(scene: gc.Scene) -> float:
    depth = np.asarray(scene.depth)[:, 16:, 16:]
    return float(np.median(depth.max(0) / depth.min(0)))


def test_a_run_keeps_the_depth_of_what_stands_still_and_can_be_told_not_to() -> None:
    clip, estimator = still_clip(20), gc.load("tiny", prior=Wavering())
    wavering = estimator(clip, size=(64, 128), steady="off")
    steady = estimator(clip, size=(64, 128))
    assert extent(wavering) > 1.05
    assert extent(steady) < 1.01
    assert np.array_equal(steady.mask, wavering.mask) and np.array_equal(steady.intrinsics, wavering.intrinsics)
    assert (steady.attributes["options"]["steady"], wavering.attributes["options"]["steady"]) == ("on", "off")


def test_a_run_killed_at_its_last_step_gives_the_same_bits(tmp_path, monkeypatch) -> None:
    clip, estimator = still_clip(10), gc.load("tiny", prior=Wavering())
    whole = np.asarray(estimator(clip, size=(64, 128)).depth)

    def killed(stage: str, done: int, total: int | None) -> None:
        if stage == "steady" and done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        estimator(clip, size=(64, 128), output=tmp_path / "a.gc", progress=killed)
    resumed = estimator(clip, size=(64, 128), output=tmp_path / "a.gc", resume=True)
    assert np.array_equal(whole, resumed.depth)

    finish = steady_pass.SceneWriter.finish
    monkeypatch.setattr(steady_pass.SceneWriter, "finish", lambda *_: killed("steady", 5, None))
    with pytest.raises(KeyboardInterrupt):  # once depth has been replaced
        estimator(clip, size=(64, 128), output=tmp_path / "b.gc")
    monkeypatch.setattr(steady_pass.SceneWriter, "finish", finish)
    resumed = estimator(clip, size=(64, 128), output=tmp_path / "b.gc", resume=True)
    assert np.array_equal(whole, resumed.depth)


def test_a_disk_that_fills_up_at_the_last_step_costs_nothing(tmp_path, monkeypatch) -> None:
    clip, estimator = still_clip(3), gc.load("tiny", prior=Wavering())

    def full(*_: object) -> np.ndarray:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(gc.InputError, match="go on with --resume"):
        patched.setattr(steady_pass, "factor", full)
        estimator(clip, size=(64, 128), output=tmp_path / "a.gc")
    resumed = estimator(clip, size=(64, 128), output=tmp_path / "a.gc", resume=True)
    assert np.array_equal(estimator(clip, size=(64, 128)).depth, resumed.depth)


def test_long_shots_are_solved_in_blocks_of_frames(monkeypatch) -> None:
    clip, estimator = still_clip(20), gc.load("tiny", prior=Wavering())
    monkeypatch.setattr(steadier, "BLOCK", 9)
    monkeypatch.setattr(steadier, "LAP", 3)
    assert extent(estimator(clip, size=(64, 128))) < 1.02


def test_options_that_change_nothing_are_told() -> None:
    with pytest.warns(UserWarning, match="steps: the deterministic variant"):
        gc.load("tiny", prior=Wavering())(still_clip(1), size=(64, 128), steps=3)
