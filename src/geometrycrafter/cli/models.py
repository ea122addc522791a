"""``geometrycrafter models``: what there is, where it goes, whether it is sound; and the published ones fetched."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from geometrycrafter.settings import argument


def add_parser(commands: Any) -> None:
    """Its flags."""
    parser = commands.add_parser(
        "models",
        help="list models, download them, or check a folder of weights",
        description="List what is embedded, cached and to be downloaded; 'models download NAME' fetches published "
        "weights and goes on where it was stopped; 'models check FOLDER' compares a folder with what the networks "
        "expect.",
    )
    parser.add_argument("action", nargs="?", choices=("list", "check", "download"), default="list")
    parser.add_argument(
        "folder",
        nargs="?",
        metavar="NAME",
        type=argument(Path),
        help="with download: diffusion, deterministic, all or a repository; with check: a folder laid out like the "
        "published ones",
    )
    parser.set_defaults(call=call, go_on="give the same command again, it goes on from what is there")


def call(args: argparse.Namespace) -> int:
    """List models, download one, or check a folder; the status is 1 where something in that is wrong.

    Raises:
        InputError: where the folder to check is none, no model is named, or a download fails.
    """
    from geometrycrafter.errors import InputError

    if args.action == "check":
        if args.folder is None or not args.folder.is_dir():
            raise InputError(f"models check wants a folder of weights; {args.folder or 'none'} is no folder.")
        return _check(args.folder)
    if args.action == "download":
        if args.folder is None:
            raise InputError("models download wants a name: diffusion, deterministic, all, or one that 'models' lists.")
        return _download(str(args.folder))
    return _list()


def _check(folder: Path) -> int:
    from geometrycrafter.weights.models import check_folder

    rows = check_folder(folder)
    for place, verdict in rows:
        print(f"{place}: {verdict}")
    return 0 if all(v == "ok" for _, v in rows if v != "missing") and any(v == "ok" for _, v in rows) else 1


def _list() -> int:
    from geometrycrafter.weights.places import EMBEDDED, PUBLISHED
    from geometrycrafter.weights.presence import presence_of

    size = sum(f.stat().st_size for f in EMBEDDED.rglob("*") if f.is_file()) / 1e6
    print(f"tiny: small networks of the same kind, and a prior\n    embedded, {size:.0f} MB, Apache-2.0")
    for p in PUBLISHED:
        print(f"{p.repository}: {p.purpose}\n    {p.size}, {p.licence}\n    {presence_of(p).told()}")
    print(
        "'geometrycrafter models download diffusion' (or deterministic, all) fetches what is lacking; or put a folder "
        "at the place named above, set GEOMETRYCRAFTER_HOME, or pass the parent folder as --model."
    )
    return 0


def _download(name: str) -> int:
    from geometrycrafter.cli.progress import ProgressBar
    from geometrycrafter.weights.downloads import download
    from geometrycrafter.weights.presence import check_presence, named

    wanted = named(name)
    for published, _ in wanted:  # before a byte is fetched
        warning = "" if published.commercial else "; commercial use is not allowed"
        print(f"{published.repository}: {published.size} at most; {published.licence}{warning}", flush=True)
    for published, patterns in wanted:
        with ProgressBar(published.repository, unit="MB") as progress:
            folder = download(published, patterns, progress)
        check_presence(published, patterns)
        print(f"{published.repository}: whole, at {folder}", flush=True)
    return 0
