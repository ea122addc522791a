"""The embedded model's hub: its networks' sizes, and the way of trained ones into the package.

    python -m geometrycrafter.training.tiny begin HUB
    python -m geometrycrafter.training.tiny unpack HUB
    python -m geometrycrafter.training.tiny blend HUB
    python -m geometrycrafter.training.tiny soften HUB
    python -m geometrycrafter.training.tiny score HUB SHARDS
    python -m geometrycrafter.training.tiny package HUB

``score`` compares the video model with its own per-frame prior on clips that it was not trained on, and says what the
point-map VAE makes of their truth. The stages in between are ``geometrycrafter train`` with the configurations
``tiny-*``; ``make tiny`` runs all. ``unpack`` begins with the packaged networks, of which ``make tiny2`` fine-tunes the
prior and the point-map VAE's decoder on both rendered worlds. ``blend`` then puts the prior between what it was and
what it has become, and ``soften`` has the deterministic UNet correct that better prior by less.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from geometrycrafter.data.shards import Shards
from geometrycrafter.evaluation import flicker, score_points
from geometrycrafter.evaluation.clips import true_points
from geometrycrafter.geometry.cameras import half_field_of_intrinsics
from geometrycrafter.inference.loading import load
from geometrycrafter.networks.autoencoder import AutoencoderConfig, VideoAutoencoder
from geometrycrafter.networks.image_encoder import ImageEncoderConfig
from geometrycrafter.networks.light_decoder import LIGHT_WIDTHS
from geometrycrafter.networks.point_map_vae import PointMapVAE, PointMapVAEConfig
from geometrycrafter.networks.prior_network import PriorNetworkConfig
from geometrycrafter.networks.unet import UNetConfig
from geometrycrafter.training.losses import point_map
from geometrycrafter.training.samples import NormalisedClip
from geometrycrafter.weights.models import load_prior
from geometrycrafter.weights.parts import PARTS, UNETS, build_part, load_part, save_part
from geometrycrafter.weights.places import EMBEDDED

UNET = UNetConfig(
    in_channels=8,
    block_out_channels=(32, 48, 56, 56),
    num_attention_heads=(2, 2, 2, 2),
    cross_attention_dim=32,
    layers_per_block=1,
    addition_time_embed_dim=32,
    projection_class_embeddings_input_dim=96,
    norm_num_groups=8,
    num_frames=8,
    prior_residual=True,
)
SIZES: dict[str, Any] = {
    "prior": PriorNetworkConfig(),
    "autoencoder": AutoencoderConfig(block_out_channels=(16, 32, 48, 64), layers_per_block=1, norm_num_groups=8),
    "point_map_vae": PointMapVAEConfig(
        enc_block_out_channels=(12, 16, 48, 96),
        enc_layers_per_block=1,
        decoder="light",
        dec_block_out_channels=LIGHT_WIDTHS,
        dec_layers_per_block=2,
        # A group of one channel would take away how large its values are, and with them the depth's contrast.
        norm_num_groups=2,
        offset_scale_factor=1.0,  # a small autoencoder's latents have little room: the residual may use all of it
    ),
    "image_encoder": ImageEncoderConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        patch_size=32,
        projection_dim=32,
    ),
    "unet_determ": UNET,
    "unet_diff": replace(UNET, in_channels=12),
}


def begin(hub: Path) -> None:
    """Write every network's ``config.json`` that is not there, and the image encoder, which stays as it is born."""
    for part, sizes in SIZES.items():
        if (hub / PARTS[part].folder / "config.json").exists():
            continue
        folder = hub / PARTS[part].folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(vars(sizes), indent=1) + "\n")
        if part == "image_encoder":
            torch.manual_seed(0)
            save_part(part, hub, build_part(part, hub).state_dict(), sizes, {})


def unpack(hub: Path) -> None:
    """Write the packaged networks, in single precision, as a hub to go on with; those that are there stay.

    They keep the record of how they were trained.
    """
    for part in SIZES:
        if (hub / PARTS[part].folder / "config.json").exists():
            continue
        network = load_part(part, EMBEDDED)
        save_part(part, hub, network.state_dict(), network.config, _record(part, EMBEDDED))


def _record(part: str, hub: Path) -> dict[str, str]:
    """What a network's file says of its training."""
    with safe_open(_file(part, hub), framework="pt") as file:
        return dict(file.metadata() or {})


def _file(part: str, hub: Path) -> Path:
    return hub / PARTS[part].folder / f"{PARTS[part].stem}.safetensors"


def blend(hub: Path, share: float = 0.7) -> None:
    """Put a fine-tuned prior between the packaged one, which it began at, and itself: a mean of their weights.

    It keeps most of what was learned, and more of what the renderer does not show (Wortsman et al., "Robust fine-tuning
    of zero-shot models", CVPR 2022). Once: the file's record says that it was done.

    Args:
        hub: whose prior it is.
        share: of its own weights.
    """
    network, record = load_part("prior", hub), _record("prior", hub)
    if "blended" in record:
        return
    begun = load_part("prior", EMBEDDED).state_dict()
    mixed = {
        name: begun[name].lerp(own, share) if own.is_floating_point() else own
        for name, own in network.state_dict().items()
    }
    save_part("prior", hub, mixed, network.config, record | {"blended": str(share)})


def soften(hub: Path, share: float = 0.5) -> None:
    """Have the deterministic UNet correct its prior by a share of what it has learned to.

    It learned beside a prior that was wrong more often. What it is right about, flicker most of all, half of the
    correction mends nearly as well; what it is wrong about, as far depths outdoors, costs half. Once: the file's record
    says that it was done.

    Args:
        hub: whose UNet it is.
        share: of the correction that stays.
    """
    part = "unet_determ"
    network, record = load_part(part, hub), _record(part, hub)
    if "correction" in record:  # a hub that began with the package, where this is done
        return
    state = network.state_dict()
    state |= {name: share * state[name] for name in ("conv_out.weight", "conv_out.bias")}
    save_part(part, hub, state, network.config, record | {"correction": str(share)})


def package(hub: Path) -> None:
    """Write the trained networks, in half precision, to the place in the package that they are loaded from."""
    for part in SIZES:
        network = load_part(part, hub)
        save_part(part, EMBEDDED, network.state_dict(), network.config, _record(part, hub), half=True)


def score(hub: Path, shards: Path, size: tuple[int, int], clips: int | None = None) -> dict[str, dict[str, float]]:
    """Means over clips, one scale a clip: Rel^p and inliers of what the VAE gives back; with flicker, of estimates.

    Args:
        hub: networks.
        shards: clips to judge by; their own resolution is a multiple of 8.
        size: that the estimators work at.
        clips: how many; None: all.

    Returns:
        of ``picture`` and ``clip`` (what the VAE makes of one frame's truth, and of all frames'), ``prior``,
        ``deterministic`` and ``diffusion``.
    """
    prior = load_prior(hub / "prior" / "model.safetensors", torch.device("cpu"))
    estimators = {v: load(hub, v, prior=prior) for v in UNETS}
    svd, vae = load_part("autoencoder", hub), load_part("point_map_vae", hub)
    rows: dict[str, list[dict[str, float]]] = {}
    data = Shards(shards)
    for index in range(len(data) if clips is None else min(clips, len(data))):
        clip = data.read(index)
        assert clip.poses is not None  # the renderer knows them
        for name, own in (("picture", slice(len(clip) // 2, len(clip) // 2 + 1)), ("clip", slice(None))):
            half_field = half_field_of_intrinsics(torch.from_numpy(clip.intrinsics[own]), clip.height, clip.width)
            rows.setdefault(name, []).append(_reconstruction(vae, svd, torch.from_numpy(clip.depth[own]), half_field))
        truth = true_points(clip)
        with torch.no_grad():
            points, _ = prior.begin()(torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float() / 255, None)
        found = {"prior": points.numpy()}
        for name, estimator in estimators.items():
            found[name] = estimator(clip.frames, size=size, cuts="off").points[:]
        for name, made in found.items():
            change = flicker(made[..., 2], clip.depth, clip.mask, clip.intrinsics, clip.poses, clip.dynamic)
            rows.setdefault(name, []).append(score_points(made, truth, clip.mask) | {"flicker": change})
    return {k: {m: float(np.mean([row[m] for row in v])) for m in v[0]} for k, v in rows.items()}


@torch.no_grad()
def _reconstruction(vae: PointMapVAE, svd: VideoAutoencoder, depth: Tensor, half_field: Tensor) -> dict[str, float]:
    clip = NormalisedClip.of(depth, half_field)
    latents = vae.encode(svd, clip.disparity, clip.validity, clip.log_depth, clip.theta_diag)
    decoded = vae.decode(latents, len(depth))
    valid = (decoded.mask_logit > 0) + 1e-6  # the frame's field of view is a mean over these, as in inference
    theta = (decoded.theta_diag * valid).sum((-2, -1), keepdim=True) / valid.sum((-2, -1), keepdim=True)
    found = point_map(decoded.log_depth, theta.expand_as(decoded.theta_diag))
    truth = point_map(clip.log_depth, clip.theta_diag)
    found_last, truth_last = (points.permute(0, 2, 3, 1).numpy() for points in (found, truth))
    return score_points(found_last, truth_last, clip.mask[:, 0].numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("begin", "unpack", "blend", "soften", "score", "package"))
    parser.add_argument("hub", type=Path)
    parser.add_argument("shards", type=Path, nargs="?", help="to score with")
    args = parser.parse_args()
    if args.action != "score":
        {"begin": begin, "unpack": unpack, "blend": blend, "soften": soften, "package": package}[args.action](args.hub)
        return
    for name, values in score(args.hub, args.shards, (192, 256)).items():
        flickers = f"  flicker {values['flicker']:6.2%}" if "flicker" in values else ""
        print(f"{name:14}  Rel^p {values['point_rel']:6.2%}  inliers {values['point_inlier']:6.2%}{flickers}")


if __name__ == "__main__":
    main()
