"""What inference saves on processors changes no result: beside the plain layers, and nothing that is handed in."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from geometrycrafter.inference.conditioning import PriorMaps, statistics
from geometrycrafter.networks import cpu_pieces, cpu_products
from geometrycrafter.networks.autoencoder import AutoencoderConfig, VideoAutoencoder
from geometrycrafter.networks.blocks import SpatioTemporalResBlock, Upsample, clip_of, frames_of
from geometrycrafter.networks.point_map_vae import PointMapVAE, PointMapVAEConfig
from geometrycrafter.networks.unet import SpatioTemporalTransformer, UNetConfig, VideoUNet, published_time_ids
from geometrycrafter.priors.moge import focal_and_shift, focals_and_shifts
from geometrycrafter.training.replay import replay

sizes = st.integers(1, 9)
CLOSE = {"atol": 2e-5, "rtol": 1e-5}


def stirred(module: nn.Module) -> nn.Module:
    """No parameter of which is at the value that it is born with."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.requires_grad_(False).eval()


def beside_plain(call):
    """A call without gradients, and the same where gradients are asked for, which takes the plain layers."""
    with torch.no_grad():
        saved = call()
    return saved, call()


@settings(max_examples=40, deadline=None)
@given(sizes, sizes, sizes, sizes, sizes)
def test_a_doubling_folded_into_kernels_is_the_convolution_of_the_doubled_picture(n, channels, out, height, width):
    torch.manual_seed(n + height)
    up = Upsample(channels)
    up.conv = nn.Conv2d(channels, out, 3, padding=1)
    x = torch.randn(n, channels, height, width)
    doubled = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
    wanted = F.conv2d(doubled.double(), up.conv.weight.double(), up.conv.bias.double(), padding=1).float()
    with torch.no_grad():
        torch.testing.assert_close(up(x), wanted, **CLOSE)


@settings(max_examples=40, deadline=None)
@given(sizes, st.integers(1, 40), st.integers(1, 24), st.integers(1, 24), st.booleans(), st.booleans())
def test_products_are_the_plain_layers(n, tokens, channels, out, bias, added):
    torch.manual_seed(tokens)
    layer, x = nn.Linear(channels, 2 * out, bias=bias), torch.randn(n, tokens, channels)
    more = torch.randn(n, tokens, 2 * out) if added else None
    wanted = x.double() @ layer.weight.double().T + (layer.bias.double() if bias else 0)
    value, gate = wanted.chunk(2, dim=-1)
    with torch.no_grad():
        total = wanted if more is None else wanted + more
        torch.testing.assert_close(cpu_products.linear(layer, x, more), total.float(), **CLOSE)
        gelu = gate * 0.5 * (1 + torch.erf(gate / 2**0.5))
        torch.testing.assert_close(cpu_products.gated_gelu(layer, x), (value * gelu).float(), **CLOSE)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), sizes, sizes, sizes, st.booleans())
def test_clips_are_the_frames_beside_each_other_in_either_layout(batch, frames, channels, height, width, last):
    x = torch.randn(batch * frames, channels, height, width)
    given = x.contiguous(memory_format=torch.channels_last) if last else x
    clip = clip_of(given, frames)
    for b in range(batch):
        for t in range(frames):
            assert torch.equal(clip[b, :, t], x[b * frames + t].flatten(1))
    assert torch.equal(frames_of(clip, height, width), x)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 6), st.integers(1, 6), st.booleans(), st.booleans())
def test_a_block_that_blends_in_its_kernel_is_the_plain_one(batch, frames, height, width, towards_time, timed):
    torch.manual_seed(frames)
    block = stirred(SpatioTemporalResBlock(4, 8, 6 if timed else None, 2, 1e-5, towards_time=towards_time))
    x, emb = torch.randn(batch * frames, 4, height, width), torch.randn(batch * frames, 6) if timed else None
    before = x.clone()
    saved, plain = beside_plain(lambda: block(x, frames, emb))
    torch.testing.assert_close(saved, plain, atol=1e-4, rtol=1e-4)
    assert torch.equal(x, before)


@pytest.mark.parametrize("batch", [1, 2])
def test_attention_over_time_with_one_context_a_clip_is_the_plain_one(batch):
    transformer = stirred(SpatioTemporalTransformer(16, 2, 6, 4))
    x, context = torch.randn(batch * 3, 16, 4, 5), torch.randn(batch, 3, 6)
    before = x.clone()
    saved, plain = beside_plain(lambda: transformer(x, 3, context))
    torch.testing.assert_close(saved, plain, atol=1e-4, rtol=1e-4)
    assert torch.equal(x, before)
    with torch.no_grad():  # clips of a batch don't see each other
        alone = transformer(x[:3], 3, context[:1])
    torch.testing.assert_close(saved[:3], alone, atol=1e-4, rtol=1e-4)


def test_whole_networks_are_the_plain_ones_and_leave_their_inputs_as_they_were():
    torch.manual_seed(0)
    unet = VideoUNet(UNetConfig(8, 4, (16, 32), (2, 2), 8, 1, 8, 24, 8)).requires_grad_(False).eval()
    latents, context = torch.randn(2, 3, 8, 6, 10), torch.randn(2, 3, 8)
    vae = VideoAutoencoder(AutoencoderConfig(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4))
    vae.requires_grad_(False).eval()
    images, z = torch.rand(2, 3, 128, 160), torch.randn(3, 4, 64, 80)  # large enough for channels to come last
    inputs = (latents, context, images, z)
    kept = [x.clone() for x in inputs]
    ids = published_time_ids(2, latents.device)
    for call in (
        lambda: unet(latents, 0.3, context, ids),
        lambda: vae.encode(images),
        lambda: vae.decode(z, 3),
    ):
        saved, plain = beside_plain(call)
        assert plain.abs().mean() > 1e-3
        torch.testing.assert_close(saved, plain, atol=2e-4, rtol=0)
    assert all(torch.equal(a, b) for a, b in zip(kept, inputs, strict=True))


@pytest.fixture
def in_small_pieces(monkeypatch):
    """Frames and pixels are worked on in pieces of so many numbers."""
    return lambda numbers: monkeypatch.setattr(cpu_pieces, "LARGEST", numbers)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 2), st.integers(1, 5), st.integers(1, 300), st.booleans(), st.booleans(), st.booleans())
def test_a_block_in_pieces_is_the_plain_one(in_small_pieces, batch, frames, numbers, timed, twice, last):
    in_small_pieces(numbers)
    torch.manual_seed(numbers)
    block = stirred(SpatioTemporalResBlock(4, 8, 6 if timed else None, 2, 1e-5))
    up = stirred(Upsample(4)) if twice else None
    x, emb = torch.randn(batch * frames, 4, 5, 6), torch.randn(batch * frames, 6) if timed else None
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    before = x.clone()
    saved, plain = beside_plain(lambda: block(x, frames, emb, up))
    torch.testing.assert_close(saved, plain, atol=1e-4, rtol=1e-4)
    assert torch.equal(x, before)


@pytest.mark.parametrize("far", [0.0, 3.0])
def test_whole_autoencoders_in_pieces_are_the_plain_ones(in_small_pieces, far, monkeypatch):
    monkeypatch.setattr(cpu_products, "LARGE_PICTURE", 1)
    torch.manual_seed(0)
    config = PointMapVAEConfig(4, 4, (8, 16), 1, (8, 16), 1, norm_num_groups=4)
    vae, svd = stirred(PointMapVAE(config)), VideoAutoencoder(AutoencoderConfig(3, 3, 4, (8, 16), 1, 4))
    svd.requires_grad_(False).eval()
    z, images = torch.randn(4, 4, 12, 14) + far, torch.rand(4, 4, 24, 28) + far
    for numbers in (8 * 24 * 14, 3 * 8 * 24 * 28):  # a frame at a time, and three
        in_small_pieces(numbers)
        for call in (
            lambda: torch.cat(vae.decode(z, 4)),
            lambda: vae.encoder(images),
            lambda: svd.decode(z, 4),
            lambda: svd.encode(images[:, :3]),
        ):
            saved, plain = beside_plain(call)
            torch.testing.assert_close(saved, plain, atol=2e-4 * float(plain.abs().max()), rtol=0)


def test_memory_of_autoencoders_hardly_grows_with_frames(in_small_pieces):
    in_small_pieces(16 * 128 * 160)
    picture = 16 * 128 * 160 * 4
    config = PointMapVAEConfig(4, 4, (16, 16, 32), 1, (16, 16, 32), 1, norm_num_groups=4)

    def most(part, channels, size, frames):
        with replay(gpu=False) as ledger, cpu_products.assumed(True), torch.no_grad():
            network = getattr(PointMapVAE(config), part)
            x = torch.randn(frames, channels, *size)
            told = (frames,) if part == "decoder" else ()
            network(x, *told)
        return ledger.peak

    encoder = [most("encoder", 4, (128, 160), n) for n in (2, 6)]
    assert encoder[1] - encoder[0] < 4 * 0.5 * picture  # what goes in and comes out
    decoder = [most("decoder", 4, (32, 40), n) for n in (2, 6)]
    assert decoder[1] - decoder[0] < 4 * 3 * picture


def test_other_precisions_take_the_plain_layers():
    layer, x = nn.Linear(4, 6).double(), torch.randn(2, 3, 4, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(cpu_products.linear(layer, x), layer(x))
        with torch.autocast("cpu", torch.bfloat16):
            assert cpu_products.linear(layer.float(), x.float()).dtype == torch.bfloat16
            # A residual of single precision stays one, though what is added to it was rounded.
            assert cpu_products.plus(layer(x.float()), torch.ones(2, 3, 6)).dtype == torch.float32


class Waits(TorchDispatchMode):
    """Counts numbers that are taken out of tensors, each of which waits for the device that has them."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("frames", [1, 6])
def test_what_is_measured_in_frames_comes_from_the_device_at_once(frames):
    depth, points = torch.rand(frames, 20, 30) + 1, torch.rand(frames, 20, 30, 3) + 1
    maps = PriorMaps(depth, torch.ones(frames, 20, 30), torch.ones(frames, 2))
    with Waits() as waits:
        found = statistics(maps)
        pairs = focals_and_shifts(points, torch.ones(frames, 20, 30, dtype=torch.bool))
    assert waits.count <= 2  # however many frames
    assert [s.depth_sum for s in found] == pytest.approx(depth.double().sum((1, 2)).tolist())
    assert pairs == [focal_and_shift(p, torch.ones(20, 30, dtype=torch.bool)) for p in points]
