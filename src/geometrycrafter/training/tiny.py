"""Training of the embedded model from rendered clips: render, prior, autoencoder, point-map VAE, UNet.

    python -m geometrycrafter.training.tiny STAGE FOLDER

Each stage writes a checkpoint every minute, goes on from it, and leaves ``STAGE.safetensors`` when it is done.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from geometrycrafter.diffusion.edm import DETERMINISTIC_TIMESTEP
from geometrycrafter.inference.estimator import TIME_IDS
from geometrycrafter.networks.autoencoder import AutoencoderConfig, VideoAutoencoder
from geometrycrafter.networks.image_encoder import ImageEncoder, ImageEncoderConfig
from geometrycrafter.networks.point_map_vae import DecodedPointMap, PointMapVAE, PointMapVAEConfig
from geometrycrafter.networks.prior_network import PriorNetwork, PriorNetworkConfig
from geometrycrafter.networks.unet import UNetConfig, VideoUNet
from geometrycrafter.training.rendered import RenderedClips, render_files

AUTOENCODER = AutoencoderConfig(block_out_channels=(16, 32, 48, 64), layers_per_block=1, norm_num_groups=8)
POINT_MAP_VAE = PointMapVAEConfig(
    enc_block_out_channels=(16, 32, 48, 64),
    enc_layers_per_block=1,
    dec_block_out_channels=(16, 32, 48, 64),
    dec_layers_per_block=1,
    norm_num_groups=8,
    offset_scale_factor=1.0,  # a small autoencoder's latents have little room: the residual may use all of it
)
UNET = UNetConfig(
    in_channels=8,
    block_out_channels=(32, 48, 72, 72),
    num_attention_heads=(2, 2, 3, 3),
    cross_attention_dim=32,
    layers_per_block=1,
    addition_time_embed_dim=32,
    projection_class_embeddings_input_dim=96,
    norm_num_groups=8,
)
IMAGE_ENCODER = ImageEncoderConfig(
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=2,
    patch_size=32,
    projection_dim=32,
)
ClipBatch = tuple[Tensor, Tensor, Tensor, Tensor]
"""Frames, depth, mask and theta_diag, as :meth:`RenderedClips.batch` gives them."""
SMALL = (96, 128)
"""Size that the prior works at."""
NetworkT = TypeVar("NetworkT", bound=nn.Module)


@dataclass(frozen=True)
class Schedule:
    """How a stage trains; saved beside its weights."""

    steps: int
    batch: int
    frames: int
    rate: float
    warmup: int = 50
    weight_decay: float = 1e-2
    clip: float = 1.0
    ema: float = 0.995
    seed: int = 0


SCHEDULES = {
    "prior": Schedule(steps=2000, batch=16, frames=1, rate=1.5e-3),
    "autoencoder": Schedule(steps=500, batch=8, frames=1, rate=1.5e-3),
    "point_map_vae": Schedule(steps=800, batch=4, frames=3, rate=1e-3),
    "unet_determ": Schedule(steps=1000, batch=4, frames=8, rate=1e-3),
}


def train(
    name: str, modules: dict[str, nn.Module], loss_of: Callable[[torch.Generator], dict[str, Tensor]], folder: Path
) -> None:
    """Train ``modules`` by the schedule of ``name``; ``loss_of`` draws a batch and gives named, weighted terms."""
    schedule = SCHEDULES[name]
    checkpoint, done = folder / f"{name}.checkpoint.pt", folder / f"{name}.safetensors"
    network = nn.ModuleDict(modules)
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=schedule.rate, weight_decay=schedule.weight_decay, betas=(0.9, 0.98))
    average = {k: v.clone() for k, v in network.state_dict().items()}
    generator = torch.Generator().manual_seed(schedule.seed)
    step, spent = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        average, step, spent = state["average"], state["step"], state["spent"]
        generator.set_state(state["generator"])
    started = saved = time.monotonic()

    running: dict[str, float] = {}
    while step < schedule.steps:
        rise = min(1.0, (step + 1) / schedule.warmup)
        fall = 0.5 * (1 + torch.cos(torch.tensor(step / schedule.steps * torch.pi)).item())
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate * rise * max(fall, 0.02)
        terms = loss_of(generator)
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            raise FloatingPointError(f"{name}: the loss is not finite at step {step}.")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, schedule.clip)
        optimizer.step()
        with torch.no_grad():
            decay = min(schedule.ema, (1 + step) / (10 + step))
            for key, value in network.state_dict().items():
                average[key].lerp_(value, 1 - decay)
        step += 1
        for key, value in terms.items():
            running[key] = running.get(key, value.item()) * 0.98 + value.item() * 0.02
        now = time.monotonic()
        if step % 25 == 0:
            rate = (spent + now - started) / step
            shown = "  ".join(f"{k} {v:.4f}" for k, v in running.items())
            print(
                f"{name} {step}/{schedule.steps}  {shown}  {spent + now - started:.0f} s  ({rate:.2f} s a step)",
                flush=True,
            )
        if now - saved > 60 or step == schedule.steps:
            saved = now
            state = {
                "network": network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average,
                "step": step,
                "spent": spent + now - started,
                "generator": generator.get_state(),
            }
            torch.save(state, checkpoint.with_suffix(".tmp"))
            os.replace(checkpoint.with_suffix(".tmp"), checkpoint)
            record = {
                "schedule": json.dumps(asdict(schedule)),
                "step": str(step),
                "seconds": f"{spent + now - started:.0f}",
            }
            save_file({k: v.contiguous() for k, v in average.items()}, done.with_suffix(".tmp"), metadata=record)
            os.replace(done.with_suffix(".tmp"), done)


def photographic(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Random gain, gamma, colour cast and saturation, the same for the frames of a clip: ``[B, T, 3, H, W]``."""
    b = len(frames)

    def draw(low: float, high: float, channels: int) -> Tensor:
        return low + (high - low) * torch.rand(b, 1, channels, 1, 1, generator=generator)

    frames = frames.clamp_min(1e-3) ** torch.exp(draw(-0.4, 0.4, 1)) * draw(0.75, 1.25, 1) * draw(0.88, 1.12, 3)
    grey = frames.mean(dim=2, keepdim=True)
    return torch.lerp(grey, frames, draw(0.0, 1.1, 1)).clamp(0, 1)


def zoomed(clip: ClipBatch, generator: torch.Generator) -> ClipBatch:
    """Cut the middle out of all frames and enlarge it: a longer focal length, exactly."""
    frames, depth, mask, theta = clip
    height, width = depth.shape[-2:]
    zoom = 1 + 0.6 * torch.rand((), generator=generator).item() ** 2
    h, w = round(height / zoom / 2) * 2, round(width / zoom / 2) * 2
    top, left = (height - h) // 2, (width - w) // 2
    rows = (torch.arange(height) * h // height) + top
    columns = (torch.arange(width) * w // width) + left
    inside = frames[..., top : top + h, left : left + w].flatten(0, 1)
    frames = F.interpolate(inside, (height, width), mode="bilinear", antialias=True).view(frames.shape)
    depth, mask = (x[..., rows, :][..., columns] for x in (depth, mask))
    return frames, depth, mask, theta * ((h / height) + (w / width)) / 2


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask).sum() / mask.sum().clamp_min(1)


def train_prior(folder: Path) -> None:
    clips = RenderedClips(folder / "train")
    network = PriorNetwork(PriorNetworkConfig())
    schedule = SCHEDULES["prior"]

    def loss_of(generator: torch.Generator) -> dict[str, Tensor]:
        frames, depth, mask, theta = zoomed(clips.batch(generator, schedule.batch, schedule.frames), generator)
        frames, depth, mask = photographic(frames, generator)[:, 0], depth[:, 0], mask[:, 0]
        out = network(frames)
        truth = depth.clamp(0.3, 80).log()
        error = torch.where(mask, out.log_depth[:, 0] - truth, torch.nan)
        middle = torch.nan_to_num(error.flatten(1).nanmedian(dim=1).values.detach())
        error = torch.nan_to_num(error)
        centred = (error - middle[:, None, None]).abs()
        terms = {"shape": masked_mean(centred, mask), "scale": 0.2 * masked_mean(error.abs(), mask)}
        step = [e.diff(dim=d).abs() for e, d in ((error, -1), (error, -2))]
        both = [mask[..., 1:] & mask[..., :-1], mask[..., 1:, :] & mask[..., :-1, :]]
        terms["edges"] = 0.5 * torch.stack([masked_mean(s, m) for s, m in zip(step, both, strict=True)]).sum()
        terms["theta"] = 0.5 * (out.theta_diag.log() - theta.log()).abs().mean()
        terms["mask"] = 0.2 * F.binary_cross_entropy_with_logits(out.mask_logit[:, 0], mask.float())
        return terms

    train("prior", {"prior": network}, loss_of, folder)


def normalised(depth: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Disparity in [-1, 1], validity in {-1, 1} and log depth of clips ``[B, T, H, W]``, each over its own clip."""
    depth = torch.where(mask, depth, 0.0)
    mean = depth.sum((1, 2, 3)) / mask.sum((1, 2, 3)).clamp_min(1)
    z = depth / mean.clamp_min(1e-3).view(-1, 1, 1, 1)
    disparity = torch.where(mask, 1 / z.clamp_min(1e-3), 0.0)
    per_frame = disparity.flatten(2)
    low = per_frame.quantile(0.01, dim=-1).amin(-1).view(-1, 1, 1, 1)
    high = per_frame.quantile(0.99, dim=-1).amax(-1).view(-1, 1, 1, 1)
    disparity = ((disparity - low) / (high - low + 1e-4)).clamp(0, 1) * 2 - 1
    return disparity, mask.float() * 2 - 1, torch.where(mask, z.clamp_min(1e-3).log(), 0.0)


def train_autoencoder(folder: Path) -> None:
    clips, schedule = RenderedClips(folder / "train"), SCHEDULES["autoencoder"]
    network = VideoAutoencoder(AUTOENCODER)

    def loss_of(generator: torch.Generator) -> dict[str, Tensor]:
        frames, depth, mask, _ = clips.batch(generator, schedule.batch, schedule.frames)
        frames = photographic(frames, generator)[:, 0] * 2 - 1
        disparity = normalised(depth, mask)[0][:, 0, None].expand(-1, 3, -1, -1)
        images = torch.cat([frames, disparity])
        mean, log_variance = network.encode_moments(images).chunk(2, dim=1)
        log_variance = log_variance.clamp(-20, 10)
        noise = torch.randn(mean.shape, generator=generator)
        decoded = network.decode(mean + noise * torch.exp(0.5 * log_variance), num_frames=1)
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
        return {"image": (decoded - images).abs().mean(), "kl": 2e-4 * divergence}

    train("autoencoder", {"vae": network}, loss_of, folder)


def _stage(folder: Path, name: str, prefix: str) -> dict[str, Tensor]:
    """The averaged weights that a stage left, without the name it gave the network."""
    tensors = load_file(folder / f"{name}.safetensors")
    return {k.removeprefix(f"{prefix}."): v for k, v in tensors.items() if k.startswith(f"{prefix}.")}


def _load(module: NetworkT, folder: Path, name: str, prefix: str) -> NetworkT:
    module.load_state_dict(_stage(folder, name, prefix))
    return module.eval().requires_grad_(False)


def point_map_terms(decoded: DecodedPointMap, log_depth: Tensor, mask: Tensor, theta: Tensor) -> dict[str, Tensor]:
    """Reconstruction terms of decoded maps ``[N, 1, H, W]``."""
    error = (decoded.log_depth - log_depth) * mask
    edges = [masked_mean(error.diff(dim=d).abs(), mask.narrow(d, 1, mask.shape[d] - 1)) for d in (-1, -2)]
    return {
        "depth": masked_mean(error.abs(), mask),
        "edges": 0.5 * (edges[0] + edges[1]),
        "theta": 0.5 * (decoded.theta_diag - theta).abs().mean(),
        "mask": 0.1 * F.binary_cross_entropy_with_logits(decoded.mask_logit, mask.float()),
    }


def train_point_map_vae(folder: Path) -> None:
    small, large, schedule = (
        RenderedClips(folder / "train"),
        RenderedClips(folder / "large"),
        SCHEDULES["point_map_vae"],
    )
    svd = _load(VideoAutoencoder(AUTOENCODER), folder, "autoencoder", "vae")
    network = PointMapVAE(POINT_MAP_VAE)
    trunk = {
        k: v for k, v in svd.decoder.state_dict().items() if k.split(".")[0] in ("conv_in", "mid_block", "up_blocks")
    }
    network.decoder.load_state_dict(trunk, strict=False)

    turn = 0

    def loss_of(generator: torch.Generator) -> dict[str, Tensor]:
        nonlocal turn
        turn += 1
        if turn % 2:
            _, depth, mask, theta = zoomed(small.batch(generator, schedule.batch, schedule.frames), generator)
        else:
            _, depth, mask, theta = large.batch(generator, schedule.batch, schedule.frames)
            top, left = (8 * int(torch.randint(n, (), generator=generator)) for n in (9, 13))
            depth, mask = (x[..., top : top + 128, left : left + 160] for x in (depth, mask))
        disparity, valid, log_depth = (x.flatten(0, 1)[:, None] for x in normalised(depth, mask))
        flat_mask = mask.flatten(0, 1)[:, None]
        theta_map = theta.repeat_interleave(schedule.frames).view(-1, 1, 1, 1).expand_as(log_depth)
        latents = network.encode(svd, disparity, valid, log_depth, theta_map)
        terms = point_map_terms(network.decode(latents, schedule.frames), log_depth, flat_mask, theta_map)
        if turn % 4 == 1:  # as costly as all the rest
            keep = svd.decode(latents, schedule.frames).mean(dim=1, keepdim=True)
            terms["identity"] = 0.2 * F.mse_loss(keep, disparity)
        return terms

    train("point_map_vae", {"point_map_vae": network}, loss_of, folder)


@torch.no_grad()
def encode_clips(folder: Path, split: str) -> dict[str, Tensor]:
    """Latents of every clip of a split, every other one mirrored, cached on disk in half precision."""
    cache = folder / f"latents_{split}.safetensors"
    if cache.exists():
        return load_file(cache)
    clips = RenderedClips(folder / split)
    prior = _load(PriorNetwork(PriorNetworkConfig()), folder, "prior", "prior")
    svd = _load(VideoAutoencoder(AUTOENCODER), folder, "autoencoder", "vae")
    pmap = _load(PointMapVAE(POINT_MAP_VAE), folder, "point_map_vae", "point_map_vae")
    torch.manual_seed(0)
    images = ImageEncoder(IMAGE_ENCODER).eval()
    columns: dict[str, list[Tensor]] = {"video": [], "prior": [], "truth": [], "embedding": []}
    for index in range(len(clips)):
        flip = bool(index % 2)
        frames = clips.frames[index].float() / 255
        depth = clips.depth[index].float()
        if flip:
            frames, depth = frames.flip(-1), depth.flip(-1)
        frames = photographic(frames[None], torch.Generator().manual_seed(index))[0]
        half_diagonal = (depth.shape[-2] ** 2 + depth.shape[-1] ** 2) ** 0.5 / 2
        theta = half_diagonal / clips.intrinsics[index, 0, 0]
        guess = prior(F.interpolate(frames, SMALL, mode="bilinear", antialias=True))
        guess_depth, guess_mask = guess.log_depth[:, 0].exp(), guess.mask_logit[:, 0] > 0
        maps = [
            (normalised(depth[None], depth[None] > 0), theta.expand(len(frames))),
            (normalised(guess_depth[None], guess_mask[None]), guess.theta_diag),
        ]
        for key, ((disparity, valid, log_depth), t) in zip(("truth", "prior"), maps, strict=True):
            d, v, z = (
                F.interpolate(x[0][:, None], depth.shape[-2:], mode="bilinear") for x in (disparity, valid, log_depth)
            )
            columns[key].append(pmap.encode(svd, d, v, z, t.view(-1, 1, 1, 1).expand_as(d)).half())
        columns["video"].append(svd.encode(frames * 2 - 1).half())
        columns["embedding"].append(images(frames).half())
    tensors = {k: torch.stack(v) for k, v in columns.items()}
    save_file(tensors, cache)
    return tensors


def train_unet(folder: Path) -> None:
    small, large, schedule = encode_clips(folder, "train"), encode_clips(folder, "large"), SCHEDULES["unet_determ"]
    factor = 1 / small["truth"].float().std().item()
    network = VideoUNet(UNET)
    turn = 0

    def loss_of(generator: torch.Generator) -> dict[str, Tensor]:
        nonlocal turn
        turn += 1
        # Clips of twice the size, a few at a time, so that the network meets things at more than one size.
        latents, batch = (small, schedule.batch) if turn % 2 else (large, max(1, schedule.batch // 4))
        index = torch.randint(len(latents["truth"]), (batch,), generator=generator)
        video, prior, truth, embedding = (latents[k][index].float() for k in ("video", "prior", "truth", "embedding"))
        time_ids = torch.tensor([TIME_IDS]).repeat(batch, 1)
        out = network(torch.cat([prior * factor, video], dim=2), DETERMINISTIC_TIMESTEP, embedding, time_ids)
        return {"latent": F.mse_loss(-out, truth * factor)}

    for latents in (small, large):
        error = (latents["prior"].float() - latents["truth"].float()) * factor
        print(f"scaling factor {factor:.5f}; the prior's own error {error.square().mean():.4f}")
    train("unet_determ", {"unet": network}, loss_of, folder)


def package(folder: Path) -> None:
    """Write the trained networks, in half precision, to the place in the package that they are loaded from."""
    embedded = Path(__file__).parents[1] / "weights" / "tiny"
    factor = 1 / encode_clips(folder, "train")["truth"].float().std().item()
    torch.manual_seed(0)
    image_encoder = dict(ImageEncoder(IMAGE_ENCODER).state_dict())
    svd, geometry = "stable-video-diffusion-img2vid-xt", "GeometryCrafter"
    parts: list[tuple[str, str, str, Any, dict[str, Tensor]]] = [
        ("prior", "model", "prior", PriorNetworkConfig(), _stage(folder, "prior", "prior")),
        (
            f"{svd}/vae",
            "diffusion_pytorch_model",
            "autoencoder",
            replace(AUTOENCODER, scaling_factor=factor),
            _stage(folder, "autoencoder", "vae"),
        ),
        (f"{svd}/image_encoder", "model", "", IMAGE_ENCODER, image_encoder),
        (
            f"{geometry}/point_map_vae",
            "diffusion_pytorch_model",
            "point_map_vae",
            POINT_MAP_VAE,
            _stage(folder, "point_map_vae", "point_map_vae"),
        ),
        (
            f"{geometry}/unet_determ",
            "diffusion_pytorch_model",
            "unet_determ",
            UNET,
            _stage(folder, "unet_determ", "unet"),
        ),
    ]
    for place, stem, stage, config, tensors in parts:
        target = embedded / place
        target.mkdir(parents=True, exist_ok=True)
        (target / "config.json").write_text(json.dumps(asdict(config), indent=1) + "\n")
        record = {}
        if stage:
            with safe_open(folder / f"{stage}.safetensors", framework="pt") as file:
                record = file.metadata()
        half = {k: v.half().contiguous() for k, v in tensors.items()}
        save_file(half, target / f"{stem}.safetensors", metadata=record)


def render(folder: Path) -> None:
    """Clips to train on and, from other seeds, to score with."""
    render_files(folder / "val", 1, 8, (96, 128), 10_000_000, 2)
    render_files(folder / "train", 64, 8, (96, 128), 0, 2)
    render_files(folder / "large", 20, 8, (192, 256), 300_000, 2)


def main() -> None:
    stages: dict[str, Callable[[Path], None]] = {
        "render": render,
        "prior": train_prior,
        "autoencoder": train_autoencoder,
        "point_map_vae": train_point_map_vae,
        "unet_determ": train_unet,
        "package": package,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=list(stages))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    stages[args.stage](args.folder)


if __name__ == "__main__":
    main()
