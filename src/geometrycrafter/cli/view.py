"""``geometrycrafter view``: scenes in a browser, or a flight through them as a video."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from geometrycrafter.cli.defaults import DefaultsFormatter
from geometrycrafter.errors import InputError
from geometrycrafter.settings import Range, Settings, argument, kinds_of
from geometrycrafter.viewer.look import Flight, Look

Port = Annotated[int, Range(0, 65535)]
SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm")


def add_parser(commands: Any) -> None:
    """Its flags: of the server, of what is shown, and of a flight."""
    parser = commands.add_parser(
        "view",
        help="look at a scene in the browser, or render a flight through it",
        description="Look at a scene, or at two of one video, in the browser: points over time, cameras, what moves. "
        "With --render a flight through it becomes a video, without screen or browser.",
        formatter_class=DefaultsFormatter,
    )
    parser.add_argument("scenes", nargs="+", metavar="SCENE", help="one or two, made by 'geometrycrafter run', or URLs")
    server = parser.add_argument_group("server")
    server.add_argument(
        "--host", default="127.0.0.1", help="address that it answers at; 0.0.0.0 for other machines, too"
    )
    server.add_argument("--port", type=argument(Port), default=8080, help="0: any that is free")
    _add(parser.add_argument_group("what is shown"), Look)
    flight = parser.add_argument_group("flight")
    flight.add_argument("--render", metavar="FILE", type=argument(Path), help="video to write, and end")
    _add(flight, Flight)
    flight.add_argument("--overwrite", action="store_true", help="replace an existing video")
    parser.set_defaults(call=call)


def _add(group: Any, settings: type[Settings]) -> None:
    kinds = kinds_of(settings)
    for option in dataclasses.fields(settings):  # type: ignore[arg-type]
        flag, kind, help = f"--{option.name.replace('_', '-')}", kinds[option.name], option.metadata["help"]
        if kind is bool:
            group.add_argument(flag, action="store_true", help=help)
            continue
        metavar = f"{{{','.join(get_args(kind))}}}" if get_origin(kind) is Literal else None
        group.add_argument(flag, type=argument(kind), default=option.default, metavar=metavar, help=help)


def _of(args: argparse.Namespace, settings: Any) -> Any:
    return settings(**{name: getattr(args, name) for name in kinds_of(settings)})


def call(args: argparse.Namespace) -> None:
    """Serve until somebody ends it, or render.

    Raises:
        InputError: where a scene, a flag, the port or the place of the video is at fault.
    """
    if len(args.scenes) > 2:
        raise InputError(f"{args.scenes[2]}: two scenes can be compared, and no third; leave it out.")
    look, flight = _of(args, Look), _of(args, Flight)
    if args.render is None:
        given = [n for n in kinds_of(Flight) if getattr(flight, n) != getattr(Flight(), n) and n != "point_size"]
        if given:
            raise InputError(f"--{given[0]} is of a flight; name its video by --render FILE.")

    from geometrycrafter.scene import open_scene

    scenes = [open_scene(s) for s in args.scenes]
    check_pair(scenes)
    if args.render is not None:
        _render(args, scenes, look, flight)
        return

    from geometrycrafter.viewer.server import serve

    serve(scenes, look, args.host, args.port, flight.point_size)


def check_pair(scenes: list[Any]) -> None:
    """Two scenes to compare have as many frames.

    Raises:
        InputError: where they don't.
    """
    if len(scenes) == 2 and len(scenes[0]) != len(scenes[1]):
        counts = f"{len(scenes[0])} and {len(scenes[1])}"
        raise InputError(f"{scenes[1].place}: the scenes have {counts} frames; compare two of one video.")


def _render(args: argparse.Namespace, scenes: list[Any], look: Look, flight: Flight) -> None:
    from geometrycrafter.cli.progress import ProgressBar
    from geometrycrafter.export.targets import check_target, landing
    from geometrycrafter.files import appearing, explained
    from geometrycrafter.viewer.clouds import Clouds
    from geometrycrafter.viewer.rendering import render, way_of

    target = check_target(args.render, *scenes)
    suffix = target.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{target}: a flight is written as {', '.join(SUFFIXES)}; give a name that ends so.")
    if target.exists() and not args.overwrite:
        raise InputError(f"{target}: the file exists; add --overwrite or name another.")
    clouds = [Clouds(scene) for scene in scenes]
    for each in clouds:
        each.check(look)
    way = way_of(flight, clouds[0])
    with ProgressBar(str(target)) as progress, explained(target), appearing(landing(target)) as temporary:
        render(clouds, temporary, flight, look, suffix, way, lambda done, total: progress("rendering", done, total))
    print(f"flight: {target}")
