"""``geometrycrafter models``: what there is, where it goes, whether it is sound."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from geometrycrafter.settings import argument


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "models",
        help="list models, or check a folder of weights",
        description="List what is embedded, cached and to be downloaded; 'models check FOLDER' compares a folder with "
        "what the networks expect.",
    )
    parser.add_argument("action", nargs="?", choices=("list", "check"), default="list")
    parser.add_argument(
        "folder", nargs="?", type=argument(Path), help="with check: a folder laid out like the published ones"
    )
    parser.set_defaults(call=call)


def call(args: argparse.Namespace) -> int:
    """List models, or check a folder; the status is 1 where something in it is wrong.

    Raises:
        InputError: where the folder to check is none.
    """
    from geometrycrafter.errors import InputError
    from geometrycrafter.weights.models import check_folder
    from geometrycrafter.weights.places import EMBEDDED, PUBLISHED, cache_folder

    if args.action == "check":
        if args.folder is None or not args.folder.is_dir():
            raise InputError(f"models check wants a folder of weights; {args.folder or 'none'} is no folder.")
        rows = check_folder(args.folder)
        for place, verdict in rows:
            print(f"{place}: {verdict}")
        return 0 if all(v == "ok" for _, v in rows if v != "missing") and any(v == "ok" for _, v in rows) else 1
    size = sum(f.stat().st_size for f in EMBEDDED.rglob("*") if f.is_file()) / 1e6
    print(f"tiny: small networks of the same kind, and a prior\n    embedded, {size:.0f} MB, Apache-2.0")
    for p in PUBLISHED:
        here = cache_folder() / p.folder
        state = "cached at" if here.is_dir() else "to be put at"
        print(f"{p.repository}: {p.purpose}\n    {p.size}, {p.licence}; {state} {here}")
    print(
        "Download a repository with any client of its host and put its folder at the place named above "
        "(or set GEOMETRYCRAFTER_HOME, or pass the parent folder as --model)."
    )
    return 0
