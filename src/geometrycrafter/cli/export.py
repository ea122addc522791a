"""``geometrycrafter export``: scenes in formats that other programs read."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from geometrycrafter.errors import InputError
from geometrycrafter.export.formats import FORMATS, format_of
from geometrycrafter.settings import argument, kinds_of


class _Formats(list[str]):
    """Names of formats; a file's name stands for the format whose suffix it has."""

    def __contains__(self, word: object) -> bool:
        return super().__contains__(word) or format_of(str(word)) is not None

    def meant(self, word: str) -> str | None:
        """The format that a word of the command line stands for."""
        return word if super().__contains__(word) else format_of(word)


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
    parser.add_argument(
        "format", choices=_Formats(FORMATS), help="or the file to write, whose ending names its format: cloud.ply"
    )
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
    _settle_format(args)
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


def _settle_format(args: argparse.Namespace) -> None:
    """The format and the file that are meant, where one word names both.

    Raises:
        InputError: where two words name different ones.
    """
    if args.format not in FORMATS:
        if args.path is not None:
            raise InputError(f"{args.format} and {args.path}: these are two files; give a format and one file, or one.")
        args.path, args.format = argument(Path)(args.format), format_of(args.format)
    named = None if args.path is None else format_of(args.path.name)
    own = named is None or FORMATS[args.format].suffix.endswith(FORMATS[named].suffix)
    if not own and not args.path.is_dir():
        raise InputError(
            f"{args.path}: this is a name for {named}, and {args.format} was asked for; leave {args.format} out, or "
            f"give a name that ends in {FORMATS[args.format].suffix}."
        )
