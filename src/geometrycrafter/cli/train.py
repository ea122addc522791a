"""``geometrycrafter train``: one stage of training from a configuration."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import Any

from geometrycrafter.errors import InputError


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "train",
        help="train a network",
        description="Train one stage as a configuration says; started again, it goes on from its last checkpoint. "
        "On several processes: torchrun --nproc-per-node N -m geometrycrafter.cli.main train ...",
    )
    parser.add_argument("stage", choices=("prior", "autoencoder", "vae", "unet"))
    parser.add_argument("config", help="TOML file, or the name of a configuration that comes with the package")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="folder of the run: log, pictures, checkpoints"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="replace a value of the configuration (TOML)"
    )
    parser.set_defaults(call=call)


def call(args: argparse.Namespace) -> None:
    from geometrycrafter.training.config import read_train_config
    from geometrycrafter.training.trainer import Trainer

    overrides: dict[str, Any] = {}
    for text in args.set:
        key, _, value = text.partition("=")
        try:
            overrides[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            overrides[key.strip()] = value
    config = read_train_config(args.config, overrides)
    if config.stage != args.stage:
        raise InputError(f"{args.config}: this configuration trains {config.stage}, not {args.stage}.")
    Trainer(config, args.output).run()
