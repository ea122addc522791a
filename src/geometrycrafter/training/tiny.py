"""The embedded model's hub: its networks' sizes, and the way of trained ones into the package.

    python -m geometrycrafter.training.tiny begin HUB
    python -m geometrycrafter.training.tiny score HUB SHARDS
    python -m geometrycrafter.training.tiny package HUB

``score`` compares the video model with its own per-frame prior on clips that it was not trained on. The stages in
between are ``geometrycrafter train`` with the configurations ``tiny-*``; ``make tiny`` runs all.
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

from geometrycrafter.data.shards import Shards
from geometrycrafter.evaluation import flicker, score_points
from geometrycrafter.evaluation.clips import points_of
from geometrycrafter.inference.loading import load
from geometrycrafter.networks.autoencoder import AutoencoderConfig
from geometrycrafter.networks.image_encoder import ImageEncoderConfig
from geometrycrafter.networks.point_map_vae import PointMapVAEConfig
from geometrycrafter.networks.prior_network import PriorNetworkConfig
from geometrycrafter.networks.unet import UNetConfig
from geometrycrafter.weights.models import EMBEDDED, PARTS, UNETS, build_part, load_part, load_prior, save_part

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
        dec_block_out_channels=(12, 16, 48, 96),
        dec_layers_per_block=1,
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
        if (hub / PARTS[part][0] / "config.json").exists():
            continue
        folder = hub / PARTS[part][0]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(vars(sizes), indent=1) + "\n")
        if part == "image_encoder":
            torch.manual_seed(0)
            save_part(part, hub, build_part(part, hub).state_dict(), sizes, {})


def package(hub: Path) -> None:
    """Write the trained networks, in half precision, to the place in the package that they are loaded from."""
    for part in SIZES:
        place, _, _, stem = PARTS[part]
        network = load_part(part, hub)
        with safe_open(hub / place / f"{stem}.safetensors", framework="pt") as file:
            record = file.metadata() or {}
        save_part(part, EMBEDDED, network.state_dict(), network.config, record, half=True)


def score(hub: Path, shards: Path, size: tuple[int, int], clips: int | None = None) -> dict[str, dict[str, float]]:
    """Means over clips of Rel^p and inliers with one scale a clip, and of flicker, for the prior and both variants."""
    prior = load_prior(hub / "prior" / "model.safetensors", torch.device("cpu"))
    estimators = {v: load(hub, v, prior=prior) for v in UNETS}
    rows: dict[str, list[list[float]]] = {"prior": [], **{v: [] for v in estimators}}
    data = Shards(shards)
    for index in range(len(data) if clips is None else min(clips, len(data))):
        clip = data.read(index)
        assert clip.poses is not None  # the renderer knows them
        truth = points_of(clip)
        with torch.no_grad():
            points, _ = prior(torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float() / 255)
        found = {"prior": points.numpy()}
        for name, estimator in estimators.items():
            found[name] = estimator(clip.frames, size=size).points[:]
        for name, made in found.items():
            scores = score_points(made, truth, clip.mask)
            change = flicker(made[..., 2], clip.depth, clip.mask, clip.intrinsics, clip.poses, clip.dynamic)
            rows[name].append([scores["point_rel"], scores["point_inlier"], change])
    names = ("point_rel", "point_inlier", "flicker")
    return {k: dict(zip(names, np.mean(v, axis=0).tolist(), strict=True)) for k, v in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("begin", "score", "package"))
    parser.add_argument("hub", type=Path)
    parser.add_argument("shards", type=Path, nargs="?", help="to score with")
    args = parser.parse_args()
    if args.action != "score":
        {"begin": begin, "package": package}[args.action](args.hub)
        return
    for name, values in score(args.hub, args.shards, (192, 256)).items():
        print(
            f"{name:14}  Rel^p {values['point_rel']:6.2%}  inliers {values['point_inlier']:6.2%}  "
            f"flicker {values['flicker']:6.2%}"
        )


if __name__ == "__main__":
    main()
