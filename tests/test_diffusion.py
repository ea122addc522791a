"""Preconditioning, against what Karras et al. 2022 ask of it, and the embedded networks' part in it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geometrycrafter.diffusion.edm import Denoiser, c_in, c_out, c_skip
from geometrycrafter.inference.windows import denoise_generative
from geometrycrafter.networks.unet import UNetConfig, VideoUNet

SMALL = UNetConfig(
    block_out_channels=(8, 8, 8, 8),
    num_attention_heads=(1, 1, 1, 1),
    cross_attention_dim=8,
    layers_per_block=1,
    addition_time_embed_dim=8,
    projection_class_embeddings_input_dim=24,
    norm_num_groups=4,
)


@given(st.floats(0.002, 700))
@settings(deadline=None)
def test_the_network_sees_and_predicts_unit_variance(level):
    """Appendix B.6, eqs. 114 to 127, for data of variance 1."""
    sigma = torch.tensor(level, dtype=torch.float64)
    assert (c_in(sigma) ** 2 * (1 + sigma**2)).item() == pytest.approx(1)
    target_variance = ((1 - c_skip(sigma)) ** 2 + c_skip(sigma) ** 2 * sigma**2) / c_out(sigma) ** 2
    assert target_variance.item() == pytest.approx(1)


@given(st.floats(0.002, 700), st.integers(0, 2**31))
@settings(deadline=None, max_examples=30)
def test_a_correction_of_zero_denoises_to_what_noise_and_prior_say_best(level, seed):
    """With x = clean + s n and clean = prior + unit normal, the posterior mean is (x + s^2 prior) / (1 + s^2)."""
    x, prior = torch.randn(2, 1, 2, 4, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    sigma = torch.tensor(level, dtype=torch.float64)
    found = Denoiser(lambda x, t: torch.zeros_like(x), prior)(x, sigma)
    torch.testing.assert_close(found, (x + level**2 * prior) / (1 + level**2))


def test_a_correction_of_the_prior_is_no_affair_of_the_network():
    """Its forward gives the same, whether its output is meant as one or not."""
    torch.manual_seed(0)
    plain, residual = VideoUNet(SMALL).eval(), VideoUNet(replace(SMALL, prior_residual=True)).eval()
    residual.load_state_dict(plain.state_dict())
    inputs = (torch.randn(1, 2, 12, 8, 8), torch.tensor([0.3]), torch.randn(1, 2, 8), torch.tensor([[7.0, 127, 0.02]]))
    with torch.no_grad():
        assert torch.equal(plain(*inputs), residual(*inputs))


@pytest.mark.parametrize("residual", [False, True])
def test_guidance_goes_from_the_blank_denoiser_beyond_the_conditioned_one(residual):
    """One step of the sampler gives what the denoiser says, written out here for a network linear in its input."""
    noise, video, prior = torch.randn(3, 1, 2, 4, 8, 8)
    embeddings = torch.randn(1, 2, 8)

    def unet(inputs, timestep, embeddings):
        x, video, prior = inputs.split(4, dim=2)
        return x + 2 * video - 3 * prior + embeddings.mean()

    options = {"before": None, "steps": 1, "guidance": 1.5, "prior_residual": residual}
    found = denoise_generative(unet, noise, video, prior, embeddings, **options)
    s = 700.0
    noisy = noise * math.sqrt(s**2 + 1)
    alone = noisy / (s**2 + 1) - s / math.sqrt(s**2 + 1) * noise
    seen = alone - s / math.sqrt(s**2 + 1) * (2 * video - 3 * prior + embeddings.mean())
    seen = seen + residual * s**2 / (s**2 + 1) * prior
    torch.testing.assert_close(found, alone + 1.5 * (seen - alone), atol=1e-2, rtol=1e-4)
