"""``geometrycrafter eval``: the published protocols, and tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from geometrycrafter.cli import eval_poses, eval_steady
from geometrycrafter.cli.defaults import DefaultsFormatter, add_threads
from geometrycrafter.data.options import Processes
from geometrycrafter.errors import InputError
from geometrycrafter.files import is_url, on_disk
from geometrycrafter.inference.options import Options
from geometrycrafter.settings import Count, argument

if TYPE_CHECKING:
    from geometrycrafter.evaluation.methods import Method
    from geometrycrafter.evaluation.report import Table

BASELINES = {"prior": "[=MODEL]", "constant": "", "ramp": "", "moge": "=FILE", "depthcrafter": "=FOLDER"}
"""By name: what may (in brackets) or must stand behind it."""
VARIANTS = ("diffusion", "deterministic")


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "eval",
        help="measure accuracy on a data set",
        description="Judge models and baselines by a data set's published protocol, and write tables. DATASET is one "
        "of gmu-kitchens, scannet, ddad, kitti, monkaa, sintel, diode (ROOT is where it was unpacked), 'rendered' "
        "(clips of the procedural world, no ROOT), 'folder' (ROOT is an RGB-D recording) or 'table' (ROOTs are folders "
        "that eval wrote: one table of all). "
        "Prints a row a method: errors of points and depth, edges, normals, focal length, flicker and "
        "drift (docs/evaluation.md). Goes on where it was stopped. 'eval poses SCENE... --truth FILE' judges "
        "poses of scenes; 'eval poses NAME ROOT', with sintel, tum-dynamics, scannet, folder or rendered, finds and "
        "judges them by the protocols of the literature; 'eval steady SCENE...' wants no truth and says how much what "
        "stands still changes its depth.",
        formatter_class=DefaultsFormatter,
        add_help=False,
    )
    add = parser.add_argument
    add("-h", "--help", action=_Help, help="show this help and end; behind 'poses' or 'steady', that of these alone")
    add("dataset", metavar="DATASET")
    add("root", metavar="ROOT", type=argument(Path), nargs="*", default=[])
    parser.wanted = _wanted
    add(
        "-o",
        "--output",
        type=argument(Path),
        help="folder for rows and reports (default: eval-PROTOCOL), of 'table' for table.md and .tex",
    )
    what = parser.add_argument_group("what is judged")
    _add_methods(what.add_argument)
    how = parser.add_argument_group("on what, and how")
    _add_choice(how.add_argument)
    add_threads(how)
    eval_poses.add_flags(parser.add_argument_group("poses").add_argument)
    parser.set_defaults(call=call)


def _wanted() -> str:
    """What may be evaluated, for who named nothing: what follows "which is"."""
    from geometrycrafter.evaluation.protocols import judged

    return (
        "rendered (which wants no ROOT), steady with scenes, poses with scenes and --truth FILE, "
        f"or one of these with its folder: {', '.join(n for n in judged() if n != 'rendered')}, table"
    )


class _Help(argparse._HelpAction):
    """Says what the words before it take: poses and steadiness have little in common with the rest."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: Any) -> NoReturn:
        about = {"poses": _help_of_poses, "steady": _help_of_steady}.get(getattr(namespace, "dataset", ""))
        (parser if about is None else about(parser.prog)).print_help()
        parser.exit()


def _help_of_poses(prog: str) -> argparse.ArgumentParser:
    """A parser for its help alone."""
    parser = argparse.ArgumentParser(
        f"{prog} poses",
        description="Judge poses of scenes against true ones (SCENE... --truth FILE), or find and judge them by the "
        "protocols of the literature (NAME ROOT, of sintel, tum-dynamics, scannet, folder or rendered). "
        "Prints a row a clip or method: ATE, RPE of "
        "place and turn, ATE as a share of the path, frames known.",
        formatter_class=DefaultsFormatter,
        add_help=False,
    )
    parser.add_argument("root", metavar="SCENE... | NAME ROOT", nargs="*")
    eval_poses.add_flags(parser.add_argument_group("what is judged, and how").add_argument)
    more = parser.add_argument_group("of data sets")
    more.add_argument("-o", "--output", metavar="FOLDER", help="for rows and reports")
    _add_models(more.add_argument)
    _add_choice(more.add_argument)
    return parser


def _help_of_steady(prog: str) -> argparse.ArgumentParser:
    """A parser for its help alone."""
    parser = argparse.ArgumentParser(
        f"{prog} steady",
        description="Say how much what stands still changes its depth over 1, 8 and 32 frames, in the median of its "
        "pixels, and, where the camera stands still, the largest over the smallest over the clip; it wants no truth.",
        add_help=False,
    )
    parser.add_argument("root", metavar="SCENE", nargs="+", help="that has poses, or whose camera stands still")
    return parser


def _add_choice(add: Callable[..., Any]) -> None:
    add("--protocol", metavar="NAME", help="another one than the paper's: see docs/evaluation.md")
    add("--clips", type=argument(Count), metavar="N", help="the first so many")
    add("--frames", type=argument(Count), metavar="N", help="the first so many of each clip, for a quick try")
    add("--stride", type=argument(Count), default=1, metavar="N", help="of a recording's frames ('folder')")
    add("--device", help="cpu, cuda, cuda:1, mps (default: cuda where there is one)")
    add("--processes", type=argument(Processes), default=1, metavar="N", help="clips at a time")
    add("--engine", default="local", help="where clips are judged")


def _add_methods(add: Callable[..., Any]) -> None:
    _add_models(add)
    known = ", ".join(name + place for name, place in BASELINES.items())
    add(
        "--baseline",
        action="append",
        metavar="NAME",
        help=f"{known} (default: prior, constant and ramp; 'none' for none)",
    )


def _add_models(add: Callable[..., Any]) -> None:
    add("--model", action="append", default=[], metavar="NAME[:VARIANT]", help="as 'run --model' (default: tiny)")
    add(
        "--predictions",
        action="append",
        default=[],
        metavar="[NAME=]DIR",
        help="judge what another program wrote: DIR/CLIP.npz with point_map, depth or disparity, or folders of frames",
    )
    add("--steps", type=argument(Options, "steps"), metavar="N", help="sampler steps of the generative variant")
    add("--seed", type=argument(Options, "seed"), default=0, metavar="N", help="of the generative variant's noise")


def call(args: argparse.Namespace) -> int:
    """Judge, print and write; status 2 where a clip could not be judged.

    Raises:
        InputError: where a flag, a data set or weights are at fault.
    """
    if args.dataset == "table":
        _refuse_flags(args, "output")
        return _table(args.root, args.output)
    if args.dataset == "steady":
        _refuse_flags(args)
        return eval_steady.of_scenes(args.root)
    poses = args.dataset == "poses"
    if poses and args.truth is not None:
        return eval_poses.of_scenes(args)
    if poses:
        args.dataset, args.root = _set_of_poses(args.root)
    elif args.truth is not None or args.refine or args.refine_focal or args.known_camera or args.depth != "predicted":
        raise InputError("--truth, --refine, --refine-focal, --known-camera and --depth are for 'eval poses'.")
    from geometrycrafter.evaluation.clips import clips_of
    from geometrycrafter.evaluation.engines import ENGINES
    from geometrycrafter.evaluation.protocols import protocol_of
    from geometrycrafter.inference.loading import checked_device

    if len(args.root) > 1:
        raise InputError(f"eval {args.dataset}: one ROOT is wanted, not {len(args.root)}.")
    if args.engine not in ENGINES:
        raise InputError(f"--engine {args.engine}: there are {', '.join(ENGINES)}.")
    protocol = protocol_of(args.dataset, args.protocol, poses)
    args.device = str(checked_device(args.device))
    methods = _methods(args, poses)
    clips = clips_of(protocol, args.root[0] if args.root else None, args.clips, args.stride, args.frames)
    take = protocol.selection.sequences if protocol.selection else None
    print(f"{protocol.title}: {len(clips)} clips" + (f" of {len(take)}" if take else ""))
    folder = args.output or Path(f"eval-{protocol.name}")
    return _judge(methods, clips, folder, args)


def _refuse_flags(args: argparse.Namespace, *taken: str) -> None:
    """Flags of 'eval' that say nothing to what is judged; threads say something to all, preferences are for others.

    Raises:
        InputError: names the first.
    """
    from geometrycrafter.cli.main import build_parser
    from geometrycrafter.cli.preferences import with_preferences

    parser = build_parser()
    plain = vars(parser.parse_args(with_preferences(parser, ["eval", args.dataset])))
    for name, value in vars(args).items():
        if name not in ("root", "threads", *taken) and value != plain[name]:
            raise InputError(f"--{name.replace('_', '-')} says nothing to 'eval {args.dataset}'; leave it out.")


def _set_of_poses(roots: list[Path]) -> tuple[str, list[Path]]:
    """The data set that ``eval poses`` names, and where it is."""
    if not roots:
        raise InputError("eval poses: name scenes, and the true poses with --truth FILE, or a data set.")
    if (roots[0] / "zarr.json").is_file():
        raise InputError(f"{roots[0]}: give the true poses of this scene with --truth FILE.")
    return str(roots[0]), roots[1:]


def _judge(methods: list[Method], clips: list[Any], folder: Path, args: argparse.Namespace) -> int:
    from geometrycrafter.cli.progress import counting
    from geometrycrafter.evaluation.engines import ENGINES
    from geometrycrafter.evaluation.protocols import PROTOCOLS
    from geometrycrafter.evaluation.report import Report, reasons, table_of, write_report
    from geometrycrafter.evaluation.runner import evaluate

    with counting("rows") as show:
        found = evaluate(methods, clips, folder, ENGINES[args.engine](args.processes), args.device, show)
    report = Report(PROTOCOLS[clips[0].protocol], found.rows, found.failures)
    if found.rows:
        print_table(table_of(report))
        for path in write_report(report, folder):
            print(f"written: {path}")
    for line in reasons(report):
        print(f"error: {line}", file=sys.stderr)
    return 2 if found.failures else 0


def _table(roots: list[Path], output: Path | None) -> int:
    from geometrycrafter.evaluation.report import combined, read_report, write_table

    if not roots:
        raise InputError("eval table ROOT...: name the folders that 'eval' wrote.")
    table = combined([read_report(r) for r in roots])
    print_table(table)
    for path in write_table(table, output) if output else []:
        print(f"written: {path}")
    return 0


def _methods(args: argparse.Namespace, poses: bool) -> list[Method]:
    """What the flags name, each once; of poses, found on the depth of these."""
    from geometrycrafter.evaluation.methods import Predictions, VideoModel

    found: list[Method] = []
    models = [_model(text) for text in args.model or ([] if args.predictions else ["tiny"])]
    for name, place, variant in models:
        found.append(VideoModel(name, place, variant, args.steps, args.seed, args.known_camera))
    for text in () if poses else args.predictions:
        name, folder = named_folder(text)
        found.append(Predictions(name or folder.resolve().name, str(folder)))
    for text in args.baseline or ([] if poses else ["prior", "constant", "ramp"]):
        if text != "none":
            found.append(_baseline(text, models[0][1] if models else "tiny"))
    if poses:
        found = eval_poses.methods(args, found)
    names = [m.name for m in found]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice or not found:
        raise InputError(f"{twice}: two methods have this name." if twice else "there is no method to judge.")
    return found


def named_folder(text: str) -> tuple[str, Path]:
    """What ``--predictions`` says: a name, where one is given, and the folder.

    Raises:
        InputError: where there is no such folder.
    """
    name, equals, place = text.partition("=")
    if not equals or is_url(text) or Path(text).is_dir():
        name, place = "", text
    folder = on_disk(place, "a folder of predictions")
    if not folder.is_dir():
        raise InputError(f"--predictions {text}: there is no folder {folder}.")
    return name, folder


def _model(text: str) -> tuple[str, str, str | None]:
    """What ``--model`` says: the method's name, the model's, and its variant."""
    place, colon, variant = text.rpartition(":")
    if not colon or on_disk(text, "a model").is_dir():
        return text, text, None
    if variant not in VARIANTS:
        raise InputError(f"--model {text}: the variant is {' or '.join(VARIANTS)}.")
    return text, place, variant


def _baseline(text: str, model: str) -> Method:
    """What ``--baseline`` names; the prior is that of a model."""
    from geometrycrafter.evaluation.methods import DepthCrafterMethod, ModelPrior, MoGeMethod, Ramp, Wall

    makers: dict[str, Callable[[str], Method]] = {
        "prior": lambda place: ModelPrior(f"prior of {place or model}", place or model),
        "constant": lambda place: Wall(),
        "ramp": lambda place: Ramp(),
        "moge": lambda place: MoGeMethod("moge", place),
        "depthcrafter": lambda place: DepthCrafterMethod("depthcrafter", place),
    }
    name, _, place = text.partition("=")
    wanted = BASELINES.get(name)
    if wanted is None or (wanted.startswith("=") and not place) or (not wanted and place):
        known = ", ".join(n + p for n, p in BASELINES.items())
        raise InputError(f"--baseline {text}: there are {known} and none.")
    return makers[name](str(on_disk(place, "what a baseline is loaded from")) if place else "")


def print_table(table: Table) -> None:
    """A table on the terminal, and what must be said of it."""
    from rich.console import Console
    from rich.table import Table as Grid

    grid = Grid(box=None, pad_edge=False)
    for i, title in enumerate(table.header):
        grid.add_column(title, justify="right" if i else "left")
    for line in table.lines:
        grid.add_row(*line)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(grid)
    for note in table.notes:
        console.print(note, markup=False)
