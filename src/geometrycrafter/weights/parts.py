"""The parts of a hub: each network's folder, sizes, class and weights file; reading and writing one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from geometrycrafter.errors import InputError, reason
from geometrycrafter.files import appearing, explained, fingerprint, second_name, write_bytes
from geometrycrafter.networks.autoencoder import AutoencoderConfig, VideoAutoencoder
from geometrycrafter.networks.image_encoder import ImageEncoder, ImageEncoderConfig
from geometrycrafter.networks.point_map_vae import (
    LightDecoderConfig,
    LightPointMapDecoder,
    PointMapVAE,
    PointMapVAEConfig,
)
from geometrycrafter.networks.prior_network import PriorNetwork, PriorNetworkConfig
from geometrycrafter.networks.unet import UNetConfig, VideoUNet
from geometrycrafter.weights.checkpoints import load_weights, read_config, read_tensors

GEOMETRY, SVD = "GeometryCrafter", "stable-video-diffusion-img2vid-xt"
UNETS = {"diffusion": "unet_diff", "deterministic": "unet_determ"}
CONFIG = "config.json"


@dataclass(frozen=True)
class Part:
    """One network of a hub, a folder that is laid out like the published repositories."""

    folder: str
    """Its own, inside the hub."""
    config: type[Any]
    """Dataclass of its sizes."""
    network: Callable[[Any], nn.Module]
    """Makes it from them."""
    stem: str
    """What its weights file is called, without suffix."""

    def sizes(self, root: Path) -> Any:
        """What its ``config.json`` says, as :attr:`config`.

        Raises:
            InputError: where the file is missing, or no such sizes.
        """
        return read_config(root / self.folder / CONFIG, self.config)

    def weights(self, root: Path) -> Path:
        """Its weights file, single precision before half.

        Raises:
            InputError: where there is none.
        """
        folder = root / self.folder
        candidates = [folder / f"{self.stem}{v}.{s}" for s in ("safetensors", "bin") for v in ("", ".fp16")]
        found = next((c for c in candidates if c.is_file()), None)
        if found is None:
            names = f"neither {candidates[0].name} nor {candidates[1].name}"
            raise InputError(f"{folder}: {names} is there; copy one of them.")
        return found


PARTS: dict[str, Part] = {
    "autoencoder": Part(f"{SVD}/vae", AutoencoderConfig, VideoAutoencoder, "diffusion_pytorch_model"),
    "image_encoder": Part(f"{SVD}/image_encoder", ImageEncoderConfig, ImageEncoder, "model"),
    "point_map_vae": Part(f"{GEOMETRY}/point_map_vae", PointMapVAEConfig, PointMapVAE, "diffusion_pytorch_model"),
    "unet_diff": Part(f"{GEOMETRY}/unet_diff", UNetConfig, VideoUNet, "diffusion_pytorch_model"),
    "unet_determ": Part(f"{GEOMETRY}/unet_determ", UNetConfig, VideoUNet, "diffusion_pytorch_model"),
    "prior": Part("prior", PriorNetworkConfig, PriorNetwork, "model"),
}
"""Of a hub, by what training and ``models check`` call them."""
BESIDE = {
    "light_decoder": Part(
        f"{GEOMETRY}/light_decoder", LightDecoderConfig, LightPointMapDecoder.of, "diffusion_pytorch_model"
    )
}
"""What a hub may have beside them: a light decoder for the latents of its point-map VAE."""
OF_BASELINES = {"unet_depthcrafter": Part("DepthCrafter", UNetConfig, VideoUNet, "diffusion_pytorch_model")}
"""The UNet of DepthCrafter, which otherwise has SVD's parts."""


def part_of(name: str) -> Part:
    """A part by its name, those that a hub may lack and those of baselines too."""
    return (PARTS | BESIDE | OF_BASELINES)[name]


def parts_of(variant: str) -> tuple[str, ...]:
    """The parts that a variant's networks are filled from."""
    return UNETS[variant], "point_map_vae", "autoencoder", "image_encoder"


def build_part(part: str, root: Path) -> Any:
    """A network of a hub's ``config.json``, with the weights it is born with.

    Args:
        part: ``autoencoder``, ``image_encoder``, ``point_map_vae``, ``unet_diff``, ``unet_determ``, ``prior``,
            ``light_decoder`` or ``unet_depthcrafter``.
        root: the hub.

    Raises:
        InputError: where the configuration is missing or describes no network.
    """
    return _born(part, root, torch.device("cpu"))


def load_part(part: str, root: Path) -> Any:
    """A network of a hub with its weights, in single precision, frozen.

    Raises:
        InputError: names the folder, file or tensor that is not as it should be.
    """
    return filled(part, root, torch.float32, torch.device("cpu"))


def save_part(
    part: str, root: Path, tensors: dict[str, Tensor], config: Any, record: dict[str, str], half: bool = False
) -> Path:
    """Write a network into a hub: its weights with a record of their making, and ``config.json``.

    Args:
        part: as in :func:`build_part`.
        root: the hub; folders are made.
        tensors: the network's.
        config: the network's, a dataclass.
        record: goes into the weights file's metadata.
        half: store floating-point weights in half precision.

    Raises:
        WriteError: where the hub can't be written; the network that was there stays whole, or the new one is.
    """
    folder = Path(os.path.realpath(root / part_of(part).folder))  # a link to a folder stays one
    name = f"{part_of(part).stem}.safetensors"
    ready = {k: (v.half() if half and v.is_floating_point() else v).contiguous().cpu() for k, v in tensors.items()}
    sizes = (json.dumps(asdict(config), indent=1) + "\n").encode()
    with explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        if _holds(folder / CONFIG, sizes):
            with appearing(folder / name) as temporary:
                _save(ready, temporary, record)
        else:  # weights and sizes of two networks together are none: the folder changes as one
            with appearing(folder) as temporary:
                temporary.mkdir()
                for other in folder.iterdir() if folder.is_dir() else ():
                    if other.is_dir():
                        shutil.copytree(other, temporary / other.name, symlinks=True)
                    elif other.name not in (CONFIG, name):
                        second_name(other, temporary / other.name)
                _save(ready, temporary / name, record)
                write_bytes(temporary / CONFIG, sizes)
    return root / part_of(part).folder / name


def _holds(file: Path, content: bytes) -> bool:
    """Whether a file says the same, as JSON."""
    try:
        return bool(json.loads(file.read_bytes()) == json.loads(content))
    except (OSError, ValueError):
        return False


def _save(tensors: dict[str, Tensor], file: Path, record: dict[str, str]) -> None:
    save_file(tensors, file, metadata=record)
    file.chmod(0o644)  # safetensors makes files that their owner alone may read


def unfilled(part: str, root: Path) -> tuple[nn.Module, Path]:
    """A network on the meta device, and the file that fills it.

    Raises:
        InputError: where the folder, its configuration or its weights are missing, or no network has these sizes.
    """
    folder = part_of(part).folder
    if not (root / folder).is_dir():
        raise InputError(f"{root}: the folder {folder} is missing; copy it from a hub that has it.")
    return _born(part, root, torch.device("meta")), part_of(part).weights(root)


def _born(part: str, root: Path, device: torch.device) -> Any:
    sizes = part_of(part).sizes(root)
    try:
        with device:
            return part_of(part).network(sizes)
    except (ValueError, RuntimeError, TypeError, IndexError, AssertionError) as error:
        file = root / part_of(part).folder / CONFIG
        raise InputError(f"{file}: no network has these sizes ({reason(error)}).") from error


def filled(part: str, root: Path, dtype: torch.dtype, device: torch.device) -> Any:
    """A network of a hub with its weights, frozen.

    Raises:
        InputError: names the folder, file or tensor that is not as it should be.
    """
    network, file = unfilled(part, root)
    load_weights(network, read_tensors(file), str(file), dtype, device)
    return network


def hub_identity(root: Path, parts: Iterable[str]) -> str:
    """A digest of the configurations and weights of some parts of a hub, had without loading them.

    Raises:
        InputError: where one of them is missing.
    """
    digest = hashlib.sha256()
    for part in parts:
        for file in (root / part_of(part).folder / CONFIG, part_of(part).weights(root)):
            digest.update(fingerprint(file).encode())
    return digest.hexdigest()
