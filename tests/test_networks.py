"""The networks have the published keys and shapes and give the published figures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import HERE, fill_by_recipe, golden
from torch.nn import functional as F

from geometrycrafter.diffusion.edm import Denoiser
from geometrycrafter.diffusion.objectives import deterministic_objective
from geometrycrafter.errors import InputError, WriteError
from geometrycrafter.networks.autoencoder import AutoencoderConfig, VideoAutoencoder
from geometrycrafter.networks.blocks import Attention, TemporalConv
from geometrycrafter.networks.efficientnet import EfficientNetTrunk, folded
from geometrycrafter.networks.image_encoder import ImageEncoder, ImageEncoderConfig
from geometrycrafter.networks.moge import MoGe, MoGeConfig
from geometrycrafter.networks.point_map_vae import PointMapVAE, PointMapVAEConfig
from geometrycrafter.networks.unet import UNetConfig, VideoUNet
from geometrycrafter.priors import MoGePrior
from geometrycrafter.weights import models, parts

PUBLISHED = {
    "unet_diff": (VideoUNet, UNetConfig()),
    "unet_determ": (VideoUNet, UNetConfig(in_channels=8)),
    "point_map_vae": (PointMapVAE, PointMapVAEConfig()),
    "svd_vae": (VideoAutoencoder, AutoencoderConfig()),
    "svd_image_encoder": (ImageEncoder, ImageEncoderConfig()),
    "moge_v1": (MoGe, MoGeConfig()),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_have_the_published_keys_and_shapes(name, manifest):
    network_class, config = PUBLISHED[name]
    with torch.device("meta"):
        network = network_class(config)
    assert {k: list(v.shape) for k, v in network.state_dict().items()} == manifest(name)


def test_small_sizes_have_the_golden_keys_and_shapes(hub):
    listed = json.loads((HERE / "golden" / "pipeline" / "shapes.json").read_text())
    for name, part in parts.PARTS.items():
        if name == "prior":
            continue  # ours alone
        network, file = parts.unfilled(name, hub)
        shapes = {k: list(v.shape) for k, v in network.state_dict().items()}
        wanted = next(v for k, v in listed.items() if k.startswith(part.folder))
        assert shapes == {k: v if isinstance(v, list) else v["shape"] for k, v in wanted.items()}, file


@pytest.fixture(scope="module")
def networks(hub):
    return models.load_networks(hub, "diffusion", torch.float32, torch.device("cpu"))


def test_point_map_decoder(networks):
    g = golden("pipeline/modules.safetensors")
    decoded = networks.point_map_vae.decode(g["z"], num_frames=5)
    for value, key in zip(decoded, ("intrinsic", "log_depth", "mask"), strict=True):
        torch.testing.assert_close(value, g[key], atol=2e-4, rtol=0)


def test_svd_decoder(networks):
    g = golden("pipeline/modules.safetensors")
    torch.testing.assert_close(networks.autoencoder.decode(g["z"], 5), g["svd_decoded"], atol=2e-4, rtol=0)


def test_unet_forward_with_a_batch_of_two(networks):
    g = golden("pipeline/modules.safetensors")
    out = networks.unet(g["unet_input"], g["unet_timestep"], g["unet_context"], g["unet_time_ids"])
    torch.testing.assert_close(out, g["unet_output"], atol=2e-4, rtol=0)


def test_image_embeddings_and_frame_latents(networks):
    g = golden("pipeline/diff_window.safetensors")
    frames = g["video"].permute(0, 3, 1, 2)
    torch.testing.assert_close(networks.image_encoder(frames), g["clip_embeddings"], atol=2e-4, rtol=0)
    torch.testing.assert_close(networks.autoencoder.encode(frames * 2 - 1), g["video_latents"], atol=2e-4, rtol=0)


def test_temporal_convolution_is_the_3d_convolution():
    layer = TemporalConv(6, 5)
    x = torch.randn(2, 6, 7, 4 * 3)
    reference = F.conv3d(x.unflatten(-1, (4, 3)), layer.weight, layer.bias, padding=(1, 0, 0)).flatten(-2)
    torch.testing.assert_close(layer(x), reference)


def test_attention_over_one_key_is_attention():
    attention = Attention(16, heads=2, context_channels=8)
    x, context = torch.randn(3, 5, 16), torch.randn(3, 1, 8)
    q, k, v = (
        p(a).unflatten(-1, (2, 8)).transpose(1, 2)
        for p, a in ((attention.to_q, x), (attention.to_k, context), (attention.to_v, context))
    )
    full = attention.to_out[0](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2))
    torch.testing.assert_close(attention.over_one_key(context).expand(-1, 5, -1), full)


def test_point_map_latents_start_as_svd_latents():
    vae = PointMapVAE(PointMapVAEConfig((4), 4, (8, 8), 1, (8, 8), 1, norm_num_groups=4))
    svd = VideoAutoencoder(AutoencoderConfig(block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4))
    disparity, valid, log_depth, theta = torch.randn(4, 2, 1, 8, 8)
    latents = vae.encode(svd, disparity, valid, log_depth, theta)
    torch.testing.assert_close(latents, svd.encode(disparity.repeat(1, 3, 1, 1)))


LIGHT = PointMapVAEConfig((4), 4, (8, 8, 8, 8), 1, (8, 12, 16), 1, norm_num_groups=4, decoder="light")


def stirred_light_vae() -> PointMapVAE:
    """A VAE with a light decoder, no block of which is silent."""
    torch.manual_seed(0)
    vae = PointMapVAE(LIGHT).eval()
    for parameter in vae.decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return vae


def test_a_light_decoder_sees_two_frames_to_either_side_and_the_whole_picture():
    vae = stirred_light_vae()  # two blocks look along time, each a frame far
    latents = torch.randn(7, 4, 3, 5)
    changed = latents.clone()
    changed[3, :, 0, 0] += 1
    with torch.no_grad():
        before, after = vae.decode(latents, 7), vae.decode(changed, 7)
    for a, b in zip(before, after, strict=True):
        assert a.shape == (7, 1, 24, 40)
        frames = (a != b).flatten(1).any(1).tolist()
        assert frames == [False, True, True, True, True, True, False]
        assert (a != b)[3, 0, -8:, -8:].any()  # in the far corner too, by the picture's mean
    assert (before.theta_diag > 0).all()


def test_a_light_decoder_takes_clips_of_a_batch_apart():
    vae = stirred_light_vae()
    latents = torch.randn(6, 4, 3, 5)
    with torch.no_grad():
        both, one = vae.decode(latents, 3), vae.decode(latents[3:], 3)
    for a, b in zip(both, one, strict=True):
        torch.testing.assert_close(a[3:], b)


@pytest.mark.parametrize("wrong", [{"decoder": "heavy"}, {"dec_block_out_channels": (8, 8, 8, 8)}])
def test_a_light_decoder_that_cannot_be_built_is_named(wrong, tmp_path):
    folder = tmp_path / "GeometryCrafter" / "point_map_vae"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(vars(LIGHT) | wrong))
    with pytest.raises(InputError, match="point_map_vae"):
        parts.build_part("point_map_vae", tmp_path)


@pytest.mark.slow
def test_published_autoencoders_at_full_size():
    g = golden("full_size.safetensors")
    with torch.no_grad():
        svd = fill_by_recipe(VideoAutoencoder(AutoencoderConfig()))
        torch.testing.assert_close(svd.encode_moments(g["svd_vae_input"]), g["svd_vae_moments"], atol=2e-4, rtol=2e-4)
        del svd
        vae = fill_by_recipe(PointMapVAE(PointMapVAEConfig()))
        for value, key in zip(vae.decode(g["z"], 4), ("pmap_intrinsic", "pmap_log_depth", "pmap_mask"), strict=True):
            torch.testing.assert_close(value, g[key], atol=2e-4, rtol=2e-4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_published_unet_at_full_size():
    g = golden("full_size.safetensors")
    with torch.no_grad():
        unet = fill_by_recipe(VideoUNet(UNetConfig()))
        out = unet(g["unet_input"], 0.7, g["unet_context"], torch.tensor([[7.0, 127.0, 0.02]]))
    torch.testing.assert_close(out, g["unet_output"], atol=2e-4, rtol=2e-4)


@pytest.mark.slow
def test_moge_v1_at_full_size():
    g = golden("moge_v1.safetensors")
    network = MoGe(MoGeConfig()).eval().requires_grad_(False)
    mean_std = {k: network.state_dict()[k].clone() for k in ("image_mean", "image_std")}
    fill_by_recipe(network)
    for key, value in network.state_dict().items():
        if key in mean_std:
            value.copy_(mean_std[key])
        elif key.endswith("gamma"):
            value.mul_(0.1)
    raw = network(g["image"], 300)
    torch.testing.assert_close(raw["points"], g["raw_points"], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(raw["mask"], g["raw_mask"], rtol=1e-3, atol=1e-3)
    prior = MoGePrior(network, num_tokens=300)
    for prefix, fov in (("infer", None), ("fov60", torch.pi / 3)):
        out = prior.infer(g["image"], fov)
        valid = g[f"{prefix}_mask"]
        assert torch.equal(out["mask"], valid)
        for key in ("points", "depth"):
            torch.testing.assert_close(out[key][valid], g[f"{prefix}_{key}"][valid], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(out["intrinsics"], g[f"{prefix}_intrinsics"], rtol=1e-3, atol=1e-5)


def test_the_trunk_is_efficientnet_with_its_normalisation_folded_in():
    """Against a plain statement of the published network: TensorFlow's padding, batch normalisation, ReLU6."""
    torch.manual_seed(0)
    published: dict[str, torch.Tensor] = {}

    def layer(x, conv, norm, shape, stride=1, groups=1, act=True):
        weight = published.setdefault(f"{conv}.weight", torch.randn(shape) / (shape[1] * shape[2] * shape[3]) ** 0.5)
        stats = {
            k: published.setdefault(f"{norm}.{k}", torch.rand(shape[0]) + 0.5)
            for k in ("weight", "bias", "running_mean", "running_var")
        }
        size, kernel = x.shape[-1], shape[-1]
        pad = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        x = F.conv2d(F.pad(x, (pad // 2, pad - pad // 2) * 2), weight, stride=stride, groups=groups)
        x = F.batch_norm(x, stats["running_mean"], stats["running_var"], stats["weight"], stats["bias"], eps=1e-3)
        return F.relu6(x) if act else x

    frames = torch.rand(1, 3, 64, 64)
    x = layer((frames * 255 - 127) / 128, "_conv_stem", "_bn0", (32, 3, 3, 3), 2)
    number, wanted = 0, []
    rows = [
        (1, 16, 1, 1, 3),
        (6, 24, 2, 2, 3),
        (6, 40, 2, 2, 5),
        (6, 80, 3, 2, 3),
        (6, 112, 3, 1, 5),
        (6, 192, 4, 2, 5),
    ]
    for expand, width, blocks, first_stride, k in [*rows, (6, 320, 1, 1, 3)]:
        for i in range(blocks):
            name, inner, stride = f"_blocks.{number}", x.shape[1] * expand, first_stride if i == 0 else 1
            h = x
            if expand > 1:
                h = layer(h, f"{name}._expand_conv", f"{name}._bn0", (inner, x.shape[1], 1, 1))
            h = layer(h, f"{name}._depthwise_conv", f"{name}._bn1", (inner, 1, k, k), stride, inner)
            h = layer(h, f"{name}._project_conv", f"{name}._bn2", (width, inner, 1, 1), act=False)
            x = x + h if h.shape == x.shape else h
            number += 1
        wanted.append(x)
    trunk = EfficientNetTrunk()
    trunk.load_state_dict(folded(published))
    found = trunk(frames)
    for ours, plain in zip(found, [wanted[i] for i in (0, 1, 2, 4, 6)], strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4 * plain.abs().max().item())


@pytest.mark.parametrize("channels", [8, 12])
def test_a_residual_unet_begins_as_its_prior(channels):
    config = UNetConfig(
        in_channels=channels,
        block_out_channels=(8, 8, 8, 8),
        num_attention_heads=(1, 1, 1, 1),
        cross_attention_dim=8,
        layers_per_block=1,
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24,
        norm_num_groups=4,
        prior_residual=True,
    )
    network = VideoUNet(config).eval()
    video, prior, clean = torch.randn(3, 1, 2, 4, 8, 8)
    context, ids = torch.randn(1, 2, 8), torch.tensor([[7.0, 127, 0.02]])
    if channels == 8:
        with torch.no_grad():
            loss, latents = deterministic_objective(
                lambda t: network(torch.cat([prior, video], 2), t, context, ids), clean, prior
            )
        torch.testing.assert_close(latents, prior, atol=1e-5, rtol=1e-5)
        return
    for sigma in (0.01, 1.0, 500.0):
        level = torch.tensor([sigma]).view(1, 1, 1, 1, 1)
        noisy = clean + sigma * torch.randn_like(clean)
        denoise = Denoiser(lambda x, t: network(torch.cat([x, video, prior], 2), t.flatten(), context, ids), prior)
        with torch.no_grad():
            found = denoise(noisy, level)
        skip = 1 / (sigma**2 + 1)
        torch.testing.assert_close(found, skip * noisy + (1 - skip) * prior, atol=1e-4, rtol=1e-4)


def test_a_part_that_could_not_be_saved_leaves_the_one_before(hub, tmp_path, monkeypatch):
    root = tmp_path / "hub"
    shutil.copytree(hub, root)
    part = parts.PARTS["unet_determ"]
    network = parts.load_part("unet_determ", root)
    file = parts.save_part("unet_determ", root, network.state_dict(), network.config, {"made": "first"})
    before = {p.name: p.read_bytes() for p in (root / part.folder).iterdir()}

    def full(tensors, path, metadata):
        Path(path).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parts, "save_file", full)
    with pytest.raises(WriteError, match="No space left"):
        parts.save_part("unet_determ", root, network.state_dict(), network.config, {"made": "second"})
    assert {p.name: p.read_bytes() for p in (root / part.folder).iterdir()} == before
    assert file.stat().st_mode & 0o777 == 0o644


def test_a_models_identity_follows_its_weights(hub, tmp_path):
    root = tmp_path / "hub"
    shutil.copytree(hub, root)
    identity = parts.hub_identity(root, parts.parts_of("diffusion"))
    assert models.load_networks(root, "diffusion", torch.float32, torch.device("cpu")).identity == identity
    other = parts.load_part("unet_determ", root)
    other.conv_in.weight.data[0, 0, 0, 0] += 1
    parts.save_part("unet_determ", root, other.state_dict(), other.config, {})
    assert parts.hub_identity(root, parts.parts_of("diffusion")) == identity  # which has nothing of it
    assert parts.hub_identity(root, parts.parts_of("deterministic")) != parts.hub_identity(
        hub, parts.parts_of("deterministic")
    )
