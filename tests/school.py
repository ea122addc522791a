"""A very small hub and clips to train on; a run as a command, and as two processes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from geometrycrafter.data.shards import ShardWriter
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.networks.autoencoder import AutoencoderConfig
from geometrycrafter.networks.image_encoder import ImageEncoderConfig
from geometrycrafter.networks.point_map_vae import PointMapVAEConfig
from geometrycrafter.networks.prior_network import PriorNetworkConfig
from geometrycrafter.networks.unet import UNetConfig
from geometrycrafter.training.config import LoopConfig, as_plain, read_train_config
from geometrycrafter.weights import parts

PROGRAM = [sys.executable, "-m", "geometrycrafter.cli.main"]


def command_line(settings: LoopConfig, folder: Path, file: Path) -> list[str]:
    """The run as a command, its configuration as a TOML file."""

    def toml(value: object) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(toml, value)) + "]"
        return json.dumps(value)

    file.write_text("\n".join(f"{k} = {toml(v)}" for k, v in as_plain(settings).items()))
    return ["train", settings.stage, str(file), "-o", str(folder)]


def pair(script: str, folder: Path, timeout: float = 120) -> list[tuple[int, str]]:
    """Exit status and output of a Python script that two processes run together.

    Args:
        script: knows its ``RANK``.
        folder: where it is run.
        timeout: seconds after which the processes count as hanging, and are killed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", f"RANK = {rank}\n{script}"],
            cwd=folder,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        return [(p.communicate(timeout=timeout)[0], p.returncode)[::-1] for p in started]
    finally:
        for process in started:
            process.kill()


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    with ShardWriter(folder) as writer:
        for seed in range(6):
            writer.add(f"clip-{seed}", rendered(seed, 3, 32, 48))
    return folder


SIZES = {
    "autoencoder": AutoencoderConfig(block_out_channels=(8, 8, 8, 16), layers_per_block=1, norm_num_groups=4),
    "point_map_vae": PointMapVAEConfig(
        enc_block_out_channels=(8, 8, 8, 16),
        enc_layers_per_block=1,
        dec_block_out_channels=(8, 8, 8, 16),
        dec_layers_per_block=1,
        norm_num_groups=4,
    ),
    "image_encoder": ImageEncoderConfig(16, 32, 1, 2, patch_size=32, projection_dim=16),
    "prior": PriorNetworkConfig(widths=(8, 8, 8, 8, 16, 16), pixels=32 * 48),
}
UNET = UNetConfig(
    block_out_channels=(16, 16, 32, 32),
    num_attention_heads=(1, 1, 2, 2),
    cross_attention_dim=16,
    layers_per_block=1,
    addition_time_embed_dim=16,
    projection_class_embeddings_input_dim=48,
    norm_num_groups=8,
)


@pytest.fixture(scope="session")
def born(tmp_path_factory):
    """A hub with very small networks of every kind, at random."""
    root = tmp_path_factory.mktemp("born") / "hub"
    torch.manual_seed(0)
    unets = {"unet_diff": replace(UNET, in_channels=12), "unet_determ": replace(UNET, in_channels=8)}
    for part, sizes in (SIZES | unets).items():
        network = parts.PARTS[part].network(sizes)
        parts.save_part(part, root, network.state_dict(), sizes, {})
    return root


@pytest.fixture
def school(born, tmp_path):
    """A copy of it to train in."""
    return shutil.copytree(born, tmp_path / "hub")


def config(school: Path, shards: Path, **changes) -> LoopConfig:
    values = {
        "stage": "vae",
        "hub": str(school),
        "sources": [{"path": str(shards)}],
        "validation": [{"path": str(shards)}],
        "validation_batches": 1,
        "size": [32, 48],
        "steps": 4,
        "batch": 2,
        "frames": [1, 2],
        "workers": 0,
        "ema": 0.9,
        "rate": 1e-3,
    }
    file = school / "train.toml"
    file.write_text("")
    return read_train_config(file, values | changes)


def quiet(line: str) -> None:
    pass


def weights(school: Path, part: str) -> dict[str, torch.Tensor]:
    return parts.load_part(part, school).state_dict()
