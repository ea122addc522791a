"""Camera poses: the solver against cameras that are known, what can't be known, and depth refined by the motion."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import geometrycrafter as gc
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.geometry import rigid
from geometrycrafter.geometry.grid import Grid
from geometrycrafter.poses import estimation
from geometrycrafter.poses.block_band import BlockBand
from geometrycrafter.poses.bundle import covariance, solve
from geometrycrafter.poses.guided_matching import GuidedMatching
from geometrycrafter.poses.initial import begin
from geometrycrafter.poses.loops import Loops, Place, motion_of
from geometrycrafter.poses.lucas_kanade import LucasKanade
from geometrycrafter.poses.pairs import Pairs
from geometrycrafter.poses.problem import Problem, State, Weights
from geometrycrafter.poses.residual_motion import ResidualMotion
from geometrycrafter.poses.tracks import Tracks, log_depth_at, sampled

SIZE = (240, 320)
FOCAL, CENTRE = torch.tensor([300.0, 300.0]).double(), torch.tensor([159.5, 119.5]).double()


@given(frames=st.integers(1, 30), unknowns=st.integers(1, 4), band=st.integers(1, 9), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_block_band_is_the_dense_matrix(frames, unknowns, band, seed):
    torch.manual_seed(seed)
    matrix, b = BlockBand(frames, unknowns, band), unknowns
    dense = torch.zeros(frames * b, frames * b).double()
    for first in range(frames):
        length = min(band, frames - first) * b
        j = torch.randn(2 * length, length).double()
        matrix.add(first, j.T @ j)
        at = first * b
        dense[at : at + length, at : at + length] += j.T @ j
    own = torch.randn(frames, b, b).double()
    own = own @ own.mT + torch.eye(b).double()
    matrix.add_frames(own)
    dense += torch.block_diag(*own)
    for _ in range(seed % 4 if frames > 1 else 0):  # what is far from the diagonal
        one, two = torch.randperm(frames)[:2].tolist()
        j = torch.randn(3, 2 * b).double()
        matrix.add_far(one, two, j.T @ j)
        wide = torch.zeros(3, frames, b).double()
        wide[:, one], wide[:, two] = j[:, :b], j[:, b:]
        dense += wide.flatten(1).T @ wide.flatten(1)
    right = torch.randn(frames * b, 3).double()
    factors = matrix.factorise()
    torch.testing.assert_close(factors.solve(right), torch.linalg.solve(dense, right), rtol=1e-8, atol=1e-8)
    inverse = torch.linalg.inv(dense).view(frames, b, frames, b)
    expected = torch.stack([inverse[f, :, f] for f in range(frames)])
    torch.testing.assert_close(factors.inverse_blocks(), expected, rtol=1e-8, atol=1e-8)


@given(rows=st.integers(1, 5), columns=st.integers(1, 5), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_grid_is_one_function_at_points_and_in_pictures(rows, columns, seed):
    grid, (height, width) = Grid(rows, columns), (7, 11)
    values = torch.randn(grid.nodes, generator=torch.Generator().manual_seed(seed)).double()
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    xy = torch.stack([x.flatten(), y.flatten()], -1).double()
    weights = grid.weights(xy, height, width)
    torch.testing.assert_close(weights.sum(-1), torch.ones(len(xy)).double())
    torch.testing.assert_close((weights @ values).view(height, width), grid.picture(values, height, width))
    at = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), -1).view(-1, 2).double()
    plane = at @ torch.tensor([0.3, -0.2]).double() + 0.7
    assert plane @ grid.roughness() @ plane < 1e-12
    if grid.nodes > max(rows, columns, 2):
        bent = at[:, 0] * at[:, 1]
        assert bent @ grid.roughness() @ bent > 0.5


def cameras(frames: int, turn: float = 0.6, path: float = 1.0) -> torch.Tensor:
    """World-to-camera motions of a camera that walks along a bow and turns, the first one at the world's origin."""
    t = torch.linspace(0, 1, frames).double()
    poses = rigid.motion(
        rigid.rotation_of_vector(torch.stack([0.1 * (5 * t).sin(), turn * t, 0.05 * t], -1)),
        path * torch.stack([t, 0.2 * (3 * t).sin(), 0.3 * t], -1),
    )
    return rigid.inverse(rigid.inverse(poses[:1]) @ poses)


def seen(frames: int = 40, points: int = 500, noise: float = 0.3, gross: float = 0.1, seed: int = 0, **how):
    """Tracks of random points before such a camera, their depths, and the camera's poses."""
    generator = torch.Generator().manual_seed(seed)
    motions = cameras(frames, **how)
    start = torch.randint(max(1, frames - 10), (points,), generator=generator)
    pixel = torch.rand(points, 2, generator=generator).double() * torch.tensor([319.0, 239.0])
    depth = 1.5 + 4 * torch.rand(points, generator=generator).double()
    own = torch.cat([(pixel - CENTRE) / FOCAL, torch.ones(points, 1)], -1) * depth[:, None]
    world = rigid.apply(rigid.inverse(motions)[start], own[:, None])[:, 0]
    all_seen = rigid.apply(motions, world[None].expand(frames, -1, -1))
    xy = FOCAL * all_seen[..., :2] / all_seen[..., 2:] + CENTRE
    xy = xy + noise * torch.randn(xy.shape, generator=generator, dtype=torch.float64)
    wrong = torch.rand(xy.shape[:2], generator=generator) < gross
    xy[wrong] = torch.rand(int(wrong.sum()), 2, generator=generator).double() * torch.tensor([319.0, 239.0])
    time = torch.arange(frames)[:, None]
    inside = (xy >= 0).all(-1) & (xy[..., 0] <= 319) & (xy[..., 1] <= 239)
    visible = inside & (all_seen[..., 2] > 0.1) & (time >= start) & (time < start + 16)
    tracks = Tracks.of_arrays(xy, visible)
    tracks = tracks.where((tracks.lengths() >= 3)[tracks.track])
    z = all_seen[..., 2].T[visible.T]
    lengths = visible.sum(0)
    return tracks, z[(lengths >= 3).repeat_interleave(lengths)].log(), rigid.inverse(motions)


def off(poses: torch.Tensor, truth: torch.Tensor, scale: bool = False) -> tuple[float, float]:
    """Root mean square of places apart, as a share of the path, and the largest angle in degrees."""
    path = truth[:, :3, 3].diff(dim=0).norm(dim=-1).sum()
    if scale:
        poses = poses.clone()
        poses[:, :3, 3] *= (poses[:, :3, 3] * truth[:, :3, 3]).sum() / poses[:, :3, 3].square().sum()
    apart = (poses[:, :3, 3] - truth[:, :3, 3]).square().sum(-1).mean().sqrt() / path
    turn = poses[:, :3, :3].mT @ truth[:, :3, :3]
    cosine = (turn.diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2
    return float(apart), math.degrees(float(cosine.clamp(-1, 1).arccos().max()))


def test_solver_finds_cameras_among_gross_outliers():
    tracks, log_depth, truth = seen()
    problem = Problem(tracks, log_depth, FOCAL, CENTRE, SIZE, 40, Weights(pixel=0.3, log_depth=0.02))
    apart, angle = off(solve(problem, begin(problem)).poses, truth)
    assert apart < 0.005 and angle < 0.15


def test_solver_finds_a_wrong_focal_length():
    tracks, log_depth, truth = seen(gross=0.05, path=2.0)
    weights = Weights(pixel=0.3, log_depth=0.02, correction=0.01, drift=0.001, log_focal=0.3)
    problem = Problem(tracks, log_depth, FOCAL * 1.1, CENTRE, SIZE, 40, weights)
    state = solve(problem, begin(problem), iterations=30)
    assert math.exp(state.log_focal) * 1.1 == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("alike", "least", "most"), [(0.0, 0.8, 0.99), (0.05, 0.8, 1.0)])
def test_covariance_is_that_of_the_errors(alike, least, most):
    inside, parts = [], 4.0 if alike else 0.0
    for seed in range(12):
        tracks, log_depth, truth = seen(frames=24, points=200, gross=0.0, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        log_depth = log_depth + 0.02 * torch.randn(len(log_depth), generator=generator)
        # What neighbours have wrong alike, and more so over time: fields of 64x60 pixels that drift.
        drift = alike * torch.randn(20, 2, generator=generator, dtype=torch.float64)
        cell = (tracks.xy[tracks.start[:-1]] / torch.tensor([64.0, 60.0])).long().clamp(max=torch.tensor([4, 3]))
        age = tracks.frame - tracks.frame[tracks.start[tracks.track]]
        tracks = replace(tracks, xy=tracks.xy + drift[cell[:, 1] * 5 + cell[:, 0]][tracks.track] * age[:, None])
        weights = Weights(pixel=0.3, log_depth=0.02, correction=1e-4, drift=1e-4)
        problem = Problem(tracks, log_depth, FOCAL, CENTRE, SIZE, 24, weights)
        state = solve(problem, begin(problem))
        spread = covariance(problem, state, parts=parts)[1:]
        motion = torch.eye(4).double().repeat(24, 1, 1)
        motion[:, :3, :3], motion[:, :3, 3] = state.rotation, state.translation
        error = (motion @ truth)[1:]  # from the true camera's axes to the estimated one's
        turn = torch.stack([error[:, 2, 1] - error[:, 1, 2], error[:, 0, 2] - error[:, 2, 0]], -1) / 2
        turn = torch.cat([turn, (error[:, 1, 0] - error[:, 0, 1])[:, None] / 2], -1)
        both = torch.cat([turn, error[:, :3, 3]], -1)
        far = (both * torch.linalg.solve(spread, both[..., None])[..., 0]).sum(-1)
        inside.append((far < 10.64).double().mean())  # 90 % of chi square with six degrees of freedom
    assert least < torch.stack(inside).mean() <= most


def test_covariance_of_frames_that_see_next_to_nothing():
    tracks, log_depth, _ = seen(frames=12, points=150, gross=0.0)
    kept = (tracks.frame < 7) | (torch.arange(len(tracks)) == int((tracks.frame == 8).nonzero()[0]))
    problem = Problem(tracks.where(kept), log_depth[kept], FOCAL, CENTRE, SIZE, 12, Weights(log_depth=0.02), Grid(3, 4))
    state = solve(problem, begin(problem))
    assert covariance(problem, state).shape == (12, 6, 6)
    state.points[:] = 0
    assert covariance(problem, state).shape == (12, 6, 6)


def test_motion_corrects_bent_depth():
    tracks, log_depth, truth = seen(points=900, gross=0.05, path=1.5)
    bend = 0.25 * torch.sin(tracks.xy[:, 0] / 60) * (tracks.xy[:, 1] / 239)
    shown = log_depth - bend + 0.1 * torch.sin(tracks.frame / 7)
    weights = Weights(pixel=0.3, log_depth=0.1, rough=0.3)
    problem = Problem(tracks, shown, FOCAL, CENTRE, SIZE, 40, weights, Grid(4, 5))
    state = solve(problem, begin(problem), iterations=20)
    correction = (problem.grid.weights(tracks.xy, *SIZE) * state.correction[tracks.frame]).sum(-1)
    before, after = ((x - (x - log_depth).median() - log_depth).abs().mean() for x in (shown, shown + correction))
    assert after < 0.35 * before


@pytest.mark.parametrize("again", [False, True])
def test_blocks_of_a_long_clip_find_what_is_found_at_once(monkeypatch, again):
    tracks, log_depth, truth = seen(frames=90, points=1600, gross=0.05, path=3.0)
    bend = 0.2 * torch.sin(tracks.xy[:, 0] / 60) * (tracks.xy[:, 1] / 239)
    weights = Weights(pixel=0.3, log_depth=0.1, rough=0.3)
    problem = Problem(tracks, log_depth - bend, FOCAL, CENTRE, SIZE, 90, weights, Grid(3, 4))
    whole = solve(problem, begin(problem))
    if again:  # the ends are tied as they are: nothing may move
        problem.loops = tied(whole, 0, 89)
    monkeypatch.setattr("geometrycrafter.poses.bundle.LONGEST", 40)
    monkeypatch.setattr("geometrycrafter.poses.bundle.OVERLAP", 16)
    blocks = solve(problem, begin(problem))
    (apart, angle), (at_once, _) = (off(found.poses, truth, scale=True) for found in (blocks, whole))
    assert apart < (3 if again else 1.3) * at_once and angle < 0.4
    shape = blocks.correction - whole.correction
    assert (shape - shape.mean()).abs().median() < (0.02 if again else 0.01)
    spread = covariance(problem, blocks)
    assert torch.isfinite(spread).all() and (torch.linalg.eigvalsh(spread) > -1e-9).all()


def tied(state, first: int, second: int) -> Pairs:
    """Two cameras that are held to one another as they are."""
    pairs = torch.eye(7).double() * 1e6
    square = torch.cat([torch.cat([pairs, -pairs], 1), torch.cat([-pairs, pairs], 1)])
    row = {"first": torch.tensor([first]), "second": torch.tensor([second]), "square": square[None]}
    now = {"rotation": state.rotation, "translation": state.translation, "log_scale": state.correction.mean(-1)}
    return Pairs(**row, **now, right=torch.zeros(1, 14).double(), constant=0.0, agree=torch.ones(1).double())


def test_tracks_split_share_a_frame():
    track, frame = torch.zeros(20).long(), torch.arange(20)
    parts = Tracks(track, frame, torch.stack([frame, frame], -1).double(), 1).split(8)
    spans = [parts.frame[parts.track == p] for p in range(parts.count)]
    assert [(int(s[0]), int(s[-1])) for s in spans] == [(0, 7), (7, 14), (14, 19)]


def test_depth_is_read_between_valid_pixels_of_one_surface():
    depth = torch.tensor([[1.0, 1.02, 3.0], [1.0, 1.02, 3.0], [1.0, 1.02, 0.0]])
    mask = depth > 0
    found = log_depth_at(depth, mask, torch.tensor([[0.5, 0.5], [1.5, 0.5], [1.5, 1.5]]).double())
    assert found[0].exp() == pytest.approx(1.00995, abs=1e-4)
    assert torch.isnan(found[1]) and torch.isnan(found[2])


@pytest.fixture(scope="module")
def clip():
    return rendered(100, 24, 192, 256)


def scene_of(clip, **changed):
    arrays = {"depth": clip.depth, "mask": clip.mask, "intrinsics": clip.intrinsics} | changed
    return gc.Scene.from_depth(**arrays, fps=clip.fps)


def relative(poses: np.ndarray) -> torch.Tensor:
    poses = torch.from_numpy(np.asarray(poses, np.float64))
    return rigid.inverse(poses[:1]) @ poses


def test_poses_of_a_rendered_clip(clip):
    found = gc.poses.estimate(scene_of(clip), clip.frames)
    assert found.poses.shape == (24, 4, 4) and np.asarray(found).dtype == np.float32 and found.known.all()
    apart, angle = off(relative(found.poses), relative(clip.poses), scale=True)
    assert apart < 0.02 and angle < 0.5
    assert found.notes == []


def test_points_are_sought_again_where_they_ought_to_be(clip):
    scene = scene_of(clip)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip.frames]
    problem = estimation._problem(scene, LucasKanade()(grey), estimation.POSES, estimation.KEPT, None)
    first = estimation._solved(problem, None)
    poses, k = torch.from_numpy(clip.poses).double(), torch.from_numpy(clip.intrinsics[0]).double()

    def errors(tracks: Tracks) -> np.ndarray:
        """Pixels of each observation from where the true depth and cameras have what was sought of frame 12."""
        own = (tracks.frame == 12).nonzero()[:, 0]
        begin = torch.full((tracks.count,), -1).index_put_((tracks.track[own],), own)[tracks.track]
        rows = ((begin >= 0) & (tracks.frame != 12)).nonzero()[:, 0]
        begin = begin[rows]
        depth = sampled(torch.from_numpy(clip.depth[12]).double(), tracks.xy[begin])
        rays = torch.cat([tracks.xy[begin], torch.ones(len(rows), 1)], 1).double() @ torch.linalg.inv(k).T
        move = rigid.inverse(poses[tracks.frame[rows]]) @ poses[12]
        point = (move[:, :3, :3] @ (rays * depth[:, None])[..., None])[..., 0] + move[:, :3, 3]
        return (((point / point[:, 2:]) @ k.T)[:, :2] - tracks.xy[rows]).norm(dim=-1).numpy()

    followed, matched = LucasKanade()(grey), GuidedMatching()(scene, grey, first, problem)
    assert len(matched) > len(followed)
    assert np.median(errors(matched)) < 0.2 < 0.4 < np.median(errors(followed))


def test_surfaces_of_measured_depth_lie_on_one_another(clip):
    off_points, off_surfaces = (
        off(
            relative(gc.poses.estimate(scene_of(clip), clip.frames, surfaces=s).poses), relative(clip.poses), scale=True
        )
        for s in (False, True)
    )
    assert off_surfaces[0] < 0.001 and off_surfaces[1] < 0.05 < off_points[1]


def test_surfaces_hold_where_nothing_can_be_followed(clip):
    grey = np.full_like(clip.frames, 90)
    found = gc.poses.estimate(scene_of(clip), grey, np.zeros(clip.depth.shape, bool), surfaces=True)
    assert found.known.all() and found.notes == []
    apart, angle = off(relative(found.poses), relative(clip.poses), scale=True)
    assert apart < 0.01 and angle < 0.2
    with pytest.raises(gc.InputError, match="measured"):
        gc.poses.estimate(scene_of(clip), grey, surfaces=True, refine=True)


def test_a_wall_leaves_sliding_open():
    depth = np.full((6, 96, 128), 2.0, np.float32)
    scene = gc.Scene.from_depth(
        depth, np.ones(depth.shape, bool), np.array([[100.0, 0, 63.5], [0, 100, 47.5], [0, 0, 1]])
    )
    frames = np.full((6, 96, 128, 3), 90, np.uint8)
    found = gc.poses.estimate(scene, frames, np.zeros(depth.shape, bool), surfaces=True)
    assert not found.known.any() and "not known" in found.notes[0]


def test_a_camera_that_only_turns_claims_no_place(clip):
    k, size = torch.from_numpy(clip.intrinsics[0]).double(), (192, 256)
    wide = torch.from_numpy(np.kron(clip.frames[0], np.ones((2, 2, 1), np.uint8))).permute(2, 0, 1)[None].double()
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    rays = torch.stack([x, y, torch.ones_like(x)], -1).double() @ torch.linalg.inv(k).T
    middle, half = torch.tensor([255, 191]) / 2, torch.tensor([511, 383]) / 2
    frames = []
    for t in range(10):
        turn = rigid.rotation_of_vector(torch.tensor([0.0, 0.012 * t, 0.004 * t]).double())
        at = (rays @ turn.T) @ k.T
        grid = (at[..., :2] / at[..., 2:] - middle) / half  # the first view, drawn at twice its size, is the world
        moved = torch.nn.functional.grid_sample(wide, grid[None], align_corners=True, padding_mode="reflection")
        frames.append(moved[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy())
    sphere = (2 / rays.norm(dim=-1)).expand(10, *size).numpy()  # about the camera: the same from all sides
    scene = gc.Scene.from_depth(sphere, np.ones((10, *size), bool), clip.intrinsics[:10])
    found = gc.poses.estimate(scene, frames, np.zeros((10, *size), bool))
    assert not found.poses[:, :3, 3].any() and "place" in found.notes[0]


def test_nothing_to_follow_is_not_invented():
    scene = gc.Scene.from_depth(np.ones((5, 64, 80)), np.ones((5, 64, 80), bool), np.diag([80.0, 80, 1]))
    found = gc.poses.estimate(scene, np.full((5, 64, 80, 3), 90, np.uint8))
    assert not found.known.any() and "not known" in found.notes[0]
    np.testing.assert_array_equal(found.poses, np.broadcast_to(np.eye(4), (5, 4, 4)))


@pytest.mark.parametrize("count", [1, 2])
def test_very_short_clips(clip, count):
    short = clip[:count]
    found = gc.poses.estimate(scene_of(short), short.frames, refine=True)
    assert found.poses.shape == (count, 4, 4) and np.isfinite(found.poses).all()


def test_what_moves_is_found():
    clip = rendered(101, 12, 192, 256)
    assert clip.dynamic.any()
    found = gc.poses.estimate(scene_of(clip), clip.frames)
    assert len(found.moving) == 12
    share = np.mean([m.mean() for m in found.moving])
    assert share < 0.5


def test_bad_input_is_a_sentence(clip):
    scene, frames = scene_of(clip[:4]), clip.frames[:4]
    still = np.zeros((4, 192, 256), bool)
    for change, word in [
        ({"frames": frames[:3]}, "3 frames"),
        ({"frames": clip.frames[:5]}, "more frames"),
        ({"frames": [frames[0][..., 0]] * 4}, "shape"),
        ({"moving": still[:2]}, "2 masks"),
        ({"moving": ~still}, "moving"),
        ({"moving": still[..., None]}, "moving"),
        ({"poses": np.eye(4)}, "poses"),
        ({"poses": np.zeros((4, 4, 4))}, "rigid"),
        ({"poses": np.tile(np.diag([1.0, 1, -1, 1]), (4, 1, 1))}, "mirror"),
    ]:
        with pytest.raises(gc.InputError, match=word):
            gc.poses.estimate(**{"scene": scene, "frames": frames, "moving": still} | change)


def test_missing_depth_and_masks_of_another_size(clip):
    depth = clip.depth[:8].copy()
    depth[3] = np.nan
    mask = np.isfinite(depth) & (depth > 0)
    scene = scene_of(clip[:8], depth=depth, mask=mask)
    found = gc.poses.estimate(scene, clip.frames[:8], np.zeros((8, 48, 64), bool), refine=True)
    assert np.isfinite(found.poses).all() and np.isfinite(found.correction).all()


def test_known_poses_stay_and_give_depth_their_scale(clip):
    scene = scene_of(clip, depth=clip.depth / 3)
    found = gc.poses.estimate(scene, clip.frames, np.zeros(clip.depth.shape, bool), refine=True, poses=clip.poses)
    np.testing.assert_allclose(found.poses, clip.poses, atol=1e-5)
    assert np.exp(np.median(found.correction)) == pytest.approx(3, rel=0.02)


@pytest.mark.parametrize(("black", "known"), [(5, range(6, 16)), (0, range(1, 16))])
def test_frames_that_nothing_ties_to_the_others_are_not_known(black, known):
    clip, other = rendered(7000, 16, 128, 192), rendered(7003, 5, 128, 192)
    frames, depth, mask = clip.frames.copy(), clip.depth.copy(), clip.mask.copy()
    frames[:black], depth[:black], mask[:black] = (x[:black] for x in (other.frames, other.depth, other.mask))
    frames[black] = 0
    moving = np.zeros(depth.shape, bool)
    found = gc.poses.estimate(gc.Scene.from_depth(depth, mask, clip.intrinsics), frames, moving, refine=True)
    np.testing.assert_array_equal(found.known, np.isin(np.arange(16), known))
    assert np.isfinite(found.covariance[known[0] :]).all() and np.isinf(found.covariance[:black]).all()
    assert np.linalg.eigvalsh(found.covariance[-1]).max() < 0.01
    assert any("not known there" in note for note in found.notes)


def test_both_sides_of_a_black_frame_are_one_world():
    clip = rendered(7000, 16, 128, 192)
    frames, moving = clip.frames.copy(), np.zeros(clip.depth.shape, bool)
    frames[5] = 0
    found = gc.poses.estimate(gc.Scene.from_depth(clip.depth, clip.mask, clip.intrinsics), frames, moving)
    np.testing.assert_array_equal(found.known, np.arange(16) != 5)
    apart, angle = off(*(relative(np.delete(p, 5, 0)) for p in (found.poses, clip.poses)), scale=True)
    assert apart < 0.02 and angle < 0.8


def places_of(clip, order, **how):
    """Places that a rendered clip shows again when its frames come in an order, and the true motions between them."""
    scene = gc.Scene.from_depth(clip.depth[order], clip.mask[order], clip.intrinsics[order], fps=clip.fps)
    grey = [cv2.cvtColor(np.ascontiguousarray(clip.frames[t]), cv2.COLOR_RGB2GRAY) for t in order]
    k, size = torch.from_numpy(clip.intrinsics[0]).double(), clip.depth.shape[1:]
    none = torch.zeros(0).double()
    problem = Problem(Tracks.of([]), none, k[[0, 1], [0, 1]], k[:2, 2], size, len(order))
    truth = torch.from_numpy(clip.poses[order].astype(np.float64))
    for place in Loops(**how).places(scene, grey, problem):
        right = rigid.inverse(truth[place.second][None])[0] @ truth[place.first]
        turn, shift, *_ = motion_of(place, problem)
        apart = (shift - right[:3, 3]).norm() / place.log_depth.exp().median()
        yield place, float((turn - right[:3, :3]).norm()), float(apart)


def test_places_that_are_seen_again_are_found_and_no_others():
    clip = rendered(7003, 40, 192, 256)
    found = list(places_of(clip, [*range(40), *range(38, -1, -1)], every=6, apart=24))
    assert {(0, 78), (6, 72)} <= {(place.first, place.second) for place, *_ in found}
    assert max(max(turn, shift) for _, turn, shift in found) < 0.05
    onwards = list(places_of(rendered(7000, 40, 192, 256), [*range(40)], every=6, apart=18))
    assert all(max(turn, shift) < 0.05 for _, turn, shift in onwards)


def test_a_place_that_is_seen_again_ties_the_ends_of_a_clip():
    tracks, log_depth, truth = seen(frames=80, points=900, turn=6.3, path=3.0)
    shown = log_depth + (0.01 * torch.randn(80, generator=torch.Generator().manual_seed(1))).cumsum(0)[tracks.frame]
    weights = Weights(pixel=0.3, log_depth=0.02)
    alone = Problem(tracks, shown, FOCAL, CENTRE, SIZE, 80, weights)
    before = solve(alone, begin(alone))
    generator = torch.Generator().manual_seed(2)
    xy = torch.rand(60, 2, generator=generator).double() * torch.tensor([319.0, 239.0])
    depth = 2 + torch.rand(60, generator=generator).double()
    between = rigid.inverse(truth[-1:])[0] @ truth[0]
    own = torch.cat([(xy - CENTRE) / FOCAL, torch.ones(60, 1)], -1) * depth[:, None]
    other = own @ between[:3, :3].T + between[:3, 3]
    inside = other[:, 2] > 0.3
    at = FOCAL * other[:, :2] / other[:, 2:] + CENTRE
    place = Place(0, 79, xy[inside], at[inside], depth[inside].log(), other[inside, 2].log())
    state = before
    for _ in range(3):
        problem = replace(alone, loops=Loops().pairs([place], alone, state))
        state = solve(problem, state)
    (far, turned), (far_before, turned_before) = (off(s.poses[[0, -1]], truth[[0, -1]]) for s in (state, before))
    assert far < 0.3 * far_before and turned < 0.5 * turned_before
    spread, spread_before = (covariance(p, s)[-1].trace() for p, s in ((problem, state), (alone, before)))
    assert spread < 0.5 * spread_before


def test_what_moves_is_the_same_in_a_clip_that_runs_backwards():
    """Flow that began with that of other frames made it depend on what came before."""
    clip = rendered(8003, 10, 144, 192)
    grey = [cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in clip.frames]
    k = torch.from_numpy(clip.intrinsics[0]).double()

    def moving(order):
        scene = gc.Scene.from_depth(clip.depth[order], clip.mask[order], clip.intrinsics[order])
        camera = rigid.inverse(torch.from_numpy(clip.poses[order].astype(np.float64)))
        problem = Problem(Tracks.of([]), torch.zeros(0).double(), k[[0, 1], [0, 1]], k[:2, 2], (144, 192), 10)
        none = torch.zeros(0, 3).double(), torch.zeros(10, 1).double()
        state = State(camera[:, :3, :3], 3 * camera[:, :3, 3], *none)  # too fast: much seems to move
        return np.stack(list(ResidualMotion()(scene, [grey[t] for t in order], state, problem)))

    onwards = moving(np.arange(10))
    backwards = moving(np.arange(10)[::-1].copy())[::-1]
    assert onwards.any() and not onwards.all()
    assert (onwards != backwards).mean() < 1e-4
