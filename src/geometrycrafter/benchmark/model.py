"""The networks that are measured: a model's own, or random ones of its sizes, each made when its turn comes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geometrycrafter.benchmark.options import BenchmarkOptions
from geometrycrafter.networks.moge import MoGe, MoGeConfig
from geometrycrafter.networks.point_map_vae import LightDecoderConfig, LightPointMapDecoder, PointMapVAEConfig
from geometrycrafter.priors import MoGePrior, Prior, TinyPrior
from geometrycrafter.weights.light_decoders import has_light_decoder, load_light_decoder
from geometrycrafter.weights.models import load_prior
from geometrycrafter.weights.parts import PARTS, UNETS, filled
from geometrycrafter.weights.places import EMBEDDED, is_cached, prior_file, resolve

PUBLISHED_SIZE, TINY_SIZE = (320, 640), (192, 320)
"""Processing sizes where none is given."""


@dataclass(frozen=True)
class MeasuredModel:
    """Where the networks of a benchmark come from.

    Args:
        root: the folder of weights, or of sizes alone; None: the published sizes.
        variant: ``diffusion`` or ``deterministic``.
        random: weights are drawn.
        dtype: of all but the point-map VAE and the prior, which stay in float32 as published.
        device: where they go.
        planned: nothing is drawn or filled: weights have no values.
    """

    root: Path | None
    variant: str
    random: bool
    dtype: torch.dtype
    device: torch.device
    planned: bool = False

    @classmethod
    def of(cls, options: BenchmarkOptions) -> MeasuredModel:
        """The model that options name.

        Raises:
            InputError: where its weights are not on this machine.
        """
        dtype, device = getattr(torch, options.dtype), torch.device(options.device)
        if options.random and options.model in UNETS and not is_cached(options.variant or options.model):
            return cls(None, options.variant or options.model, True, dtype, device)
        root, variant = resolve(options.model, options.variant)
        return cls(root, variant, options.random, dtype, device)

    @property
    def size(self) -> tuple[int, int]:
        """Processing height and width where none is given."""
        return TINY_SIZE if self.root == EMBEDDED else PUBLISHED_SIZE

    def sizes(self, part: str) -> Any:
        """A part's, as its configuration's dataclass."""
        if self.root is not None:
            return PARTS[part].sizes(self.root)
        if part == "unet_determ":
            return PARTS[part].config(in_channels=8)
        return PARTS[part].config()

    def part(self, part: str) -> Any:
        """A network of the hub: ``autoencoder``, ``image_encoder``, ``point_map_vae``, ``unet_...``."""
        dtype = torch.float32 if part in ("point_map_vae", "prior") else self.dtype
        if self.root is None or self.random:
            sizes = self.sizes(part)
            return self._made(lambda: PARTS[part].network(sizes), dtype)
        return filled(part, self.root, dtype, self.device)

    def unet(self) -> Any:
        """The variant's."""
        return self.part(UNETS[self.variant])

    @property
    def has_full_decoder(self) -> bool:
        """Whether the point-map VAE has SVD's trunk."""
        sizes: PointMapVAEConfig = self.sizes("point_map_vae")
        return sizes.decoder == "temporal"

    @property
    def has_light_decoder(self) -> bool:
        """Whether there is a light decoder: the model's own, one beside the full, or a drawn one."""
        beside = self.root is not None and has_light_decoder(self.root)
        return self.random or not self.has_full_decoder or beside

    def light_decoder(self) -> Any:
        """The light decoder: the model's own, the one beside the full, or a drawn one for its latents."""
        if not self.has_full_decoder:
            return self.part("point_map_vae").decoder
        if self.root is not None and not self.random:
            return load_light_decoder(self.root, self.device).network
        sizes: PointMapVAEConfig = self.sizes("point_map_vae")
        light = LightDecoderConfig(sizes.latent_channels)
        return self._made(lambda: LightPointMapDecoder.of(light), torch.float32)

    def prior(self) -> Prior:
        """The per-frame prior: the model's own, or MoGe with drawn weights."""
        file = None if self.root is None else prior_file(self.root)
        if file is not None and not self.random:
            return load_prior(file, self.device)
        if file is not None and file.suffix == ".safetensors":
            return TinyPrior(self.part("prior"))
        return MoGePrior(self._made(lambda: MoGe(MoGeConfig()), torch.float32))

    def _made(self, make: Callable[[], Any], dtype: torch.dtype) -> Any:
        if not self.planned:
            return drawn(make, dtype, self.device)
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            return make().requires_grad_(False).eval()
        finally:
            torch.set_default_dtype(before)


def drawn(make: Callable[[], Any], dtype: torch.dtype, device: torch.device) -> Any:
    """A frozen network with random weights, made on its device; activations keep their size from layer to layer."""
    with torch.device("meta"):
        network: nn.Module = make()
    network = network.to(dtype).to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 1 / math.sqrt(parameter[0].numel()), generator=generator)
            else:
                parameter.fill_(1.0 if name.endswith(("weight", "gamma")) else 0.0)
        for name, buffer in network.named_buffers():
            buffer.fill_(1.0 if "var" in name or "std" in name else 0.0)
    return network.requires_grad_(False).eval()
