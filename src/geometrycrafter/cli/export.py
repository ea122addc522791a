"""``geometrycrafter export``: scenes in formats that other programs read."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from geometrycrafter.errors import InputError
from geometrycrafter.export.formats import FORMATS
from geometrycrafter.settings import argument, kinds_of


def add_parser(commands: Any) -> None:
    """Its flags: those of every format, from their own declarations."""
    parser = commands.add_parser(
        "export",
        help="write a scene in another format",
        description="Write a scene in another format:\n\n"
        + "\n".join(f"  {f.name:11} {f.what}" for f in FORMATS.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scene", help="a folder NAME.gc made by 'geometrycrafter run', or the URL of one")
    parser.add_argument("format", choices=list(FORMATS))
    parser.add_argument("path", nargs="?", type=argument(Path), help="file to write (default: beside the scene)")
    for name, takers in _options().items():
        settings = FORMATS[takers[0]].options
        option, kind = _fields(settings)[name], kinds_of(settings)[name]
        told = f"{option.metadata['help']} ({', '.join(takers)}{_default(name, takers)})"
        if kind is bool:
            parser.add_argument(f"--{name.replace('_', '-')}", action="store_true", default=None, help=told)
            continue
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=argument(kind),
            metavar=f"{{{','.join(get_args(kind))}}}" if get_origin(kind) is Literal else None,
            help=told,
        )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an existing file, or the folder of such an export"
    )
    parser.set_defaults(call=call)


def _default(name: str, takers: list[str]) -> str:
    """What an option is where it isn't given, by format where they differ."""
    values = {taker: _fields(FORMATS[taker].options)[name].default for taker in takers}
    if len(set(values.values())) > 1:
        return "; default " + ", ".join(f"{value} ({taker})" for taker, value in values.items() if value is not None)
    value = values[takers[0]]
    return "" if value is None or value is False else f"; default {value}"


def _fields(settings: Any) -> dict[str, dataclasses.Field[Any]]:
    return {f.name: f for f in dataclasses.fields(settings)}


def _options() -> dict[str, list[str]]:
    """Every option, and the formats that have it."""
    found: dict[str, list[str]] = {}
    for format in FORMATS.values():
        for name in _fields(format.options):
            found.setdefault(name, []).append(format.name)
    return found


def call(args: argparse.Namespace) -> None:
    """Write one scene in one format.

    Raises:
        InputError: where the scene, the place or an option is at fault.
    """
    options = {name: getattr(args, name) for name in _options() if getattr(args, name) is not None}
    for name in options:
        takers = _options()[name]
        if args.format not in takers:
            raise InputError(
                f"--{name.replace('_', '-')} is for {' and '.join(takers)}; {args.format} has no use for it."
            )

    from geometrycrafter.export import export, target_of
    from geometrycrafter.scene import open_scene

    scene = open_scene(args.scene)
    target = target_of(scene, args.format, args.path, **options)
    if target.exists() and not args.overwrite:
        raise InputError(f"{target}: the file exists; add --overwrite or name another.")
    print(f"{args.format}: {export(scene, args.format, target, **options)}")
