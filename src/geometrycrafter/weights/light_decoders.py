"""A light decoder of point maps that lies beside a hub's own one, and the latents that it is for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from geometrycrafter.errors import InputError
from geometrycrafter.networks.point_map_vae import LightPointMapDecoder
from geometrycrafter.weights.checkpoints import digest, read_tensors
from geometrycrafter.weights.parts import BESIDE, PARTS, filled, hub_identity

PART = "light_decoder"


@dataclass(frozen=True)
class LightDecoder:
    """A light decoder with its weights."""

    network: LightPointMapDecoder
    identity: str
    """A digest of its files."""


def has_light_decoder(root: Path) -> bool:
    """Whether one lies beside the hub's own decoder; its file may still be damaged."""
    return (root / BESIDE[PART].folder).is_dir()


def load_light_decoder(root: Path, device: torch.device) -> LightDecoder:
    """The light decoder that lies beside a hub's own one, frozen.

    Args:
        root: the hub.
        device: where it goes.

    Raises:
        InputError: where there is none, it is damaged, or it decodes other latents than this hub's.
    """
    folder = root / BESIDE[PART].folder
    if not folder.is_dir():
        raise InputError(
            f"--decoder light: no light decoder comes with this model; put one in {folder}, or use --decoder full."
        )
    wanted = BESIDE[PART].sizes(root).latents
    network: LightPointMapDecoder = filled(PART, root, torch.float32, device)
    if wanted and wanted != latents_digest(root):
        raise InputError(
            f"{folder}: this light decoder was trained on the latents of other encoders than this model's; "
            "train one for them (light-vae-decoder), or use --decoder full."
        )
    return LightDecoder(network, hub_identity(root, (PART,)))


def latents_digest(root: Path) -> str:
    """A digest of the weights of a hub that point maps are encoded by, the same for a file in half precision.

    Raises:
        InputError: where they are missing or damaged.
    """
    scale = PARTS["point_map_vae"].sizes(root).offset_scale_factor
    encoders = {"scale": torch.tensor(scale)}
    for part, prefixes in (("autoencoder", ("encoder.", "quant_conv.")), ("point_map_vae", ("encoder.",))):
        stored = read_tensors(PARTS[part].weights(root))
        encoders |= {f"{part}.{k}": v for k, v in stored.items() if k.startswith(prefixes)}
    return digest({k: v.half() for k, v in encoders.items()})
