"""``geometrycrafter train``: one stage of training from a configuration."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import Any

from geometrycrafter.cli.defaults import add_threads
from geometrycrafter.errors import InputError
from geometrycrafter.settings import Count, Positive, argument


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
        "-o", "--output", type=argument(Path), help="folder of the run: log, pictures, checkpoints; --plan needs none"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=assignment,
        metavar="KEY=VALUE",
        help="replace a value of the configuration (TOML; augmentation.zoom=1.5 reaches into a table)",
    )
    parser.add_argument(
        "--plan",
        action="store_true",
        help="don't train: say what the run will take of memory, arithmetic and disk; needs no data, no weights",
    )
    parser.add_argument(
        "--memory",
        type=argument(Positive),
        metavar="GIB",
        help="with --plan: what a GPU has; say what to change where that is too little",
    )
    parser.add_argument("--processes", type=argument(Count), help="with --plan: that share the batch; one if not given")
    add_threads(parser)
    parser.set_defaults(call=call)


def assignment(text: str) -> dict[str, Any]:
    """``KEY=VALUE`` as a table; a value that is no TOML is a string.

    Raises:
        argparse.ArgumentTypeError: where it is neither.
    """
    key, equals, value = (part.strip() for part in text.partition("="))
    for attempt in (value, f"'{value}'"):
        try:
            found = tomllib.loads(f"{key} = {attempt}")
        except tomllib.TOMLDecodeError:
            continue
        if equals and value and len(found) == 1:
            return found
    raise argparse.ArgumentTypeError(f"{text!r}: give KEY=VALUE, such as steps=100")


def call(args: argparse.Namespace) -> None:
    """Train, or say what that would take.

    Raises:
        InputError: where there is no folder to train in, or a plan's flags without a plan.
    """
    from geometrycrafter.training.config import merged, read_train_config
    from geometrycrafter.training.trainer import Trainer

    changes: dict[str, Any] = {}
    for change in args.set:
        changes = merged(changes, change)
    config = read_train_config(args.config, changes, args.stage)
    if args.plan:
        from geometrycrafter.cli.train_plan import described

        print(described(config, args.processes or 1, args.memory))
        return
    if args.memory is not None or args.processes is not None:
        raise InputError("train: --memory and --processes are for a --plan; add it, or leave them out.")
    if args.output is None:
        raise InputError("train: name a folder for the run with -o, or ask for its --plan alone.")
    Trainer(config, args.output).run()
