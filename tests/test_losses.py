"""Losses against closed forms, finite differences and a plain restatement of the paper's equations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geometrycrafter.diffusion import objectives
from geometrycrafter.evaluation import score_points
from geometrycrafter.networks.point_map_vae import DecodedPointMap
from geometrycrafter.training import losses

SHAPES = st.tuples(st.integers(1, 3), st.integers(3, 21), st.integers(3, 25), st.integers(0, 2**31))


def maps(n: int, height: int, width: int, seed: int) -> tuple[torch.Tensor, ...]:
    """Predicted and true log depth, predicted and true theta, mask, in double precision."""
    g = torch.Generator().manual_seed(seed)
    z, truth = (torch.randn(n, 1, height, width, generator=g, dtype=torch.float64) * 0.3 + 0.5 for _ in range(2))
    theta_hat = torch.rand(n, 1, height, width, generator=g, dtype=torch.float64) + 0.3
    theta = (torch.rand(n, 1, 1, 1, generator=g, dtype=torch.float64) + 0.3).expand_as(z)
    return z, truth, theta_hat, theta, torch.rand(n, 1, height, width, generator=g) > 0.3


def slow_multi_scale(z: np.ndarray, truth: np.ndarray, mask: np.ndarray, alphas=(4, 16, 64)) -> float:
    """Eq. 3 pixel by pixel."""
    n, _, height, width = z.shape
    total = 0.0
    for alpha in alphas:
        ph, pw = max(1, math.ceil(height / alpha)), max(1, math.ceil(width / alpha))
        errors = []
        for i in range(n):
            for top in range(0, height, ph):
                for left in range(0, width, pw):
                    m = mask[i, 0, top : top + ph, left : left + pw]
                    if m.any():
                        a = z[i, 0, top : top + ph, left : left + pw][m]
                        b = truth[i, 0, top : top + ph, left : left + pw][m]
                        errors += list(np.abs((a - a.mean()) - (b - b.mean())))
        total += np.mean(errors) if errors else 0.0
    return total / len(alphas)


def slow_normals(z, theta_hat, truth, theta, mask) -> float:
    """Eq. 2 pixel by pixel: normals from the cross product of the neighbours' differences."""
    n, _, height, width = z.shape
    diagonal = math.hypot(width, height)

    def point(log_depth, t, i, y, x):
        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
        u, v = -1 + 2 * x / (width - 1), -1 + 2 * y / (height - 1)
        d = math.exp(log_depth[i, 0, y, x])
        return d * np.array([u * t[i, 0, y, x] * width / diagonal, v * t[i, 0, y, x] * height / diagonal, 1.0])

    def normal(log_depth, t, i, y, x):
        across = point(log_depth, t, i, y, x + 1) - point(log_depth, t, i, y, x - 1)
        down = point(log_depth, t, i, y + 1, x) - point(log_depth, t, i, y - 1, x)
        cross = np.cross(down, across)
        return cross / np.linalg.norm(cross)

    z, truth = np.where(mask, z, 0), np.where(mask, truth, 0)
    errors = []
    for i in range(n):
        for y in range(height):
            for x in range(width):
                if mask[i, 0, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].all():
                    errors.append(1 - normal(z, theta_hat, i, y, x) @ normal(truth, theta, i, y, x))
    return float(np.mean(errors)) if errors else 0.0


@settings(max_examples=25, deadline=None)
@given(SHAPES)
def test_terms_are_what_the_equations_say(shape):
    z, truth, theta_hat, theta, mask = maps(*shape)
    arrays = [x.numpy() for x in (z, truth, theta_hat, theta, mask)]
    expected = np.abs(arrays[0] - arrays[1])[arrays[4]].mean() if mask.any() else 0.0
    assert losses.reconstruction(z, truth, mask).item() == pytest.approx(expected, abs=1e-12)
    assert losses.multi_scale_depth(z, truth, mask).item() == pytest.approx(slow_multi_scale(*arrays[:2], arrays[4]))
    ours = losses.normals(z, theta_hat, truth, theta, mask).item()
    assert ours == pytest.approx(slow_normals(arrays[0], arrays[2], arrays[1], arrays[3], arrays[4]), abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(SHAPES, st.floats(-3, 3))
def test_a_patchs_own_offset_costs_nothing(shape, offset):
    n, height, width, seed = shape
    z, truth, _, _, mask = maps(n, height, width, seed)
    patches = (max(1, -(-height // 4)), max(1, -(-width // 4)))
    moved = z.clone()
    moved[..., : patches[0], : patches[1]] += offset
    before, after = (losses.multi_scale_depth(x, truth, mask, alphas=(4,)) for x in (z, moved))
    assert after.item() == pytest.approx(before.item(), abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(SHAPES, st.floats(-3, 3))
def test_relative_points_are_what_the_evaluation_says(shape, offset):
    z, truth, theta_hat, theta, mask = maps(*shape)
    mask[:, :, 0, 0] = True  # the evaluation leaves empty frames out
    camera = theta_hat[mask].mean().expand_as(theta_hat)
    points, gt_points = (losses.point_map(*x).permute(0, 2, 3, 1).numpy() for x in ((z, camera), (truth, theta)))
    frames = range(len(mask))
    scale = score_points(points, gt_points, mask[:, 0].numpy())["scale"]
    errors = np.linalg.norm(scale * points - gt_points, axis=-1) / np.linalg.norm(gt_points, axis=-1)
    expected = np.concatenate([errors[t][mask[t, 0].numpy()] for t in frames]).mean()
    assert losses.relative_points(z + offset, theta_hat, truth, theta, mask).item() == pytest.approx(expected)


def test_gradients_agree_with_finite_differences():
    z, truth, theta_hat, theta, mask = maps(2, 7, 9, 5)
    z.requires_grad_()
    theta_hat.requires_grad_()
    for term in (
        lambda a, b: losses.reconstruction(a, truth, mask),
        lambda a, b: losses.multi_scale_depth(a, truth, mask, alphas=(2, 4)),
        lambda a, b: losses.normals(a, b, truth, theta, mask),
        lambda a, b: losses.relative_points(a, b, truth, theta, mask),
        lambda a, b: losses.validity(a, mask),
        lambda a, b: losses.identity(truth, a.repeat(1, 3, 1, 1)),
    ):
        assert torch.autograd.gradcheck(term, (z, theta_hat), check_undefined_grad=False)


@pytest.mark.parametrize("valid", [0, 1])
def test_masks_of_nothing_or_one_pixel_give_no_nan(valid):
    z, truth, theta_hat, theta, mask = maps(2, 8, 8, 1)
    mask[:] = False
    mask.view(-1)[:valid] = True
    truth[~mask] = float("nan")  # what is invalid may be anything
    z.requires_grad_()
    theta_hat.requires_grad_()
    decoded = DecodedPointMap(theta_hat, z, torch.zeros_like(z))
    terms = losses.vae_terms(decoded, truth, theta, mask, losses.VAEWeights())
    points = losses.relative_points(z, theta_hat, truth, theta, mask)
    total = torch.stack([points, *terms.values()]).sum()
    total.backward()
    assert torch.isfinite(total) and torch.isfinite(z.grad).all() and torch.isfinite(theta_hat.grad).all()
    if not valid:
        assert (z.grad == 0).all() and (theta_hat.grad == 0).all()


def test_points_on_a_line_have_no_normal_and_no_gradient():
    """Depths of few bits fall so; one such pixel made the whole picture's gradient NaN."""
    points = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    points[..., 2:5, 2:5] = torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    points.requires_grad_(True)
    found = losses.normals_of(points)
    assert not found[..., 3, 3].any() and found[..., 0, 0].norm().item() == pytest.approx(1)
    found.sum().backward()
    assert points.grad.isfinite().all() and points.grad.any()


def test_a_sphere_has_the_normals_of_a_sphere():
    height, width, theta = 96, 128, 0.7
    rays = losses.point_map(torch.zeros(1, 1, height, width), torch.full((1, 1, height, width), theta)).double()
    centre, radius = torch.tensor([0.1, -0.2, 5.0], dtype=torch.float64).view(1, 3, 1, 1), 3.0
    a, b = (rays**2).sum(1), (rays * centre).sum(1)
    root = b**2 - a * ((centre**2).sum() - radius**2)
    hit = root > 1.0  # away from the limb, where differences are no tangents
    depth = ((b - root.clamp_min(0).sqrt()) / a).unsqueeze(1)
    found = losses.normals_of(depth * rays)
    true = (depth * rays - centre) / radius
    cosine = (found * true).sum(1)[hit & losses.eroded(hit[:, None])[:, 0]]
    assert cosine.min() > 0.9995


def test_a_perfect_prediction_costs_nothing():
    _, truth, _, theta, mask = maps(2, 16, 16, 3)
    decoded = DecodedPointMap(theta, truth, mask.double() * 2 - 1)
    pictures = (truth, truth.expand(-1, 3, -1, -1))
    terms = losses.vae_terms(decoded, truth, theta, mask, losses.VAEWeights(), pictures)
    assert set(terms) == {"depth", "theta", "normals", "multi_scale", "mask", "identity"}
    assert all(t.item() == pytest.approx(0, abs=1e-9) for t in terms.values())


def test_weights_scale_their_terms_and_zero_leaves_them_out():
    z, truth, theta_hat, theta, mask = maps(2, 16, 16, 3)
    decoded = DecodedPointMap(theta_hat, z, z)
    one = losses.vae_terms(decoded, truth, theta, mask, losses.VAEWeights())
    other = losses.vae_terms(decoded, truth, theta, mask, losses.VAEWeights(depth=3, normals=0, mask=0.5))
    assert other["depth"] == 3 * one["depth"] and "normals" not in other and other["mask"] == 0.5 * one["mask"]


def test_noise_levels_are_drawn_as_published():
    sigmas = objectives.draw_sigmas(200_000, torch.Generator().manual_seed(0)).log()
    assert sigmas.mean().item() == pytest.approx(0.7, abs=0.02) and sigmas.std().item() == pytest.approx(1.6, abs=0.02)


def test_the_denoising_objective_is_eq_8():
    g = torch.Generator().manual_seed(0)
    clean, noise, answer = (torch.randn(3, 2, 4, 5, 6, generator=g, dtype=torch.float64) for _ in range(3))
    sigma = torch.tensor([0.05, 1.0, 40.0], dtype=torch.float64)
    seen = {}

    def network(x, timestep):
        seen.update(x=x, t=timestep)
        return answer

    loss, denoised = objectives.edm_objective(network, clean, noise, sigma)
    total = []
    for b, s in enumerate(sigma.tolist()):
        noisy = clean[b] + s * noise[b]
        d = noisy / (s**2 + 1) - s / math.sqrt(s**2 + 1) * answer[b]
        assert torch.allclose(seen["x"][b], noisy / math.sqrt(s**2 + 1))
        assert seen["t"][b].item() == pytest.approx(0.25 * math.log(s))
        assert torch.allclose(denoised[b], d)
        total.append((1 + s**2) / s**2 * ((d - clean[b]) ** 2).mean())
    assert loss.item() == pytest.approx(torch.stack(total).mean().item())
    # A network that answers what c_skip leaves to it costs nothing.
    view = sigma.view(-1, 1, 1, 1, 1)
    target = -((clean - (clean + view * noise) / (view**2 + 1)) * (view**2 + 1).sqrt() / view)
    assert objectives.edm_objective(lambda x, t: target, clean, noise, sigma)[0].item() == pytest.approx(0, abs=1e-18)


def test_the_deterministic_objective_has_one_timestep_and_a_minus():
    clean = torch.randn(2, 3, 4, 5, 6)
    seen = []
    loss, latents = objectives.deterministic_objective(lambda t: seen.append(t) or -clean, clean)
    assert seen == [1.6378] and loss.item() == 0 and torch.equal(latents, clean)


def test_an_error_that_stays_does_not_flicker():
    clean = torch.randn(2, 5, 4, 3, 3)
    still = clean + torch.randn(2, 1, 4, 3, 3)
    assert losses.temporal_difference(still, clean) < 1e-12
    wave = clean + torch.tensor([0.0, 1, 0, 1, 0]).view(1, 5, 1, 1, 1)
    torch.testing.assert_close(losses.temporal_difference(wave, clean), torch.tensor(1.0))


def test_edges_count_what_steps_lack_and_little_of_what_is_smooth():
    truth = torch.zeros(1, 1, 6, 8)
    truth[..., 4:] = 1.0
    mask = torch.ones_like(truth, dtype=torch.bool)
    assert losses.edges(truth + 3, truth, mask).item() == 0  # how far all is costs nothing
    # A flat map lacks one step of 1 in each of 6 rows, which weigh 1; the other 76 pairs weigh a tenth.
    lacking = losses.edges(torch.zeros_like(truth), truth, mask).item()
    assert lacking == pytest.approx(6 * 1.0 / (6 + 0.1 * (6 * 6 + 5 * 8)))
    # A step where there is none costs a tenth as much.
    invented = losses.edges(truth, torch.zeros_like(truth), mask).item()
    assert invented == pytest.approx(6 * 0.1 / (0.1 * (6 * 7 + 5 * 8)))
    hole = mask.clone()
    hole[..., 3:5] = False
    wild = torch.where(hole, truth, torch.nan).requires_grad_()
    lost = losses.edges(wild, truth, hole)
    lost.backward()
    assert lost.item() == 0 and torch.isfinite(wild.grad).all()
    nowhere = losses.edges(wild, truth, torch.zeros_like(mask))
    assert nowhere.item() == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-2, 2), min_size=2, max_size=6), st.floats(-3, 3), st.integers(0, 2**31))
def test_drift_is_how_far_frames_are_from_the_clips_own_scale(levels, common, seed):
    g = torch.Generator().manual_seed(seed)
    t = len(levels)
    truth, mask = torch.randn(t, 1, 5, 7, generator=g), torch.rand(t, 1, 5, 7, generator=g) < 0.7
    mask[:, :, 0, 0] = True
    own = torch.tensor(levels).view(-1, 1, 1, 1)
    found = torch.where(mask, truth + own + common, torch.nan).requires_grad_()
    drift = losses.drift(found, truth, mask)
    mean = sum(levels) / t
    assert drift.item() == pytest.approx(sum(abs(v - mean) for v in levels) / t, abs=1e-5)
    drift.backward()
    assert torch.isfinite(found.grad).all() and not found.grad[~mask].any()
    gone = mask.clone()
    gone[0] = False  # a frame without a surface has no say
    rest = losses.drift(found, truth, gone).item()
    mean = sum(levels[1:]) / (t - 1)
    assert rest == pytest.approx(sum(abs(v - mean) for v in levels[1:]) / (t - 1), abs=1e-5)
