"""``geometrycrafter eval poses``: trajectories against the truth, of scenes or by a data set's protocol."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from geometrycrafter.errors import InputError
from geometrycrafter.settings import argument

if TYPE_CHECKING:
    from geometrycrafter.evaluation.methods import Method

ALIGNMENTS = Literal["sim3", "se3", "none"]
DEPTHS = Literal["predicted", "true", "both"]


def add_flags(add: Callable[..., Any]) -> None:
    """Those of ``eval poses`` alone."""
    add("--truth", type=argument(Path), metavar="FILE", help="true poses of scenes: as 'poses --poses' reads them")
    add(
        "--align",
        type=argument(ALIGNMENTS),
        default="sim3",
        metavar="{sim3,se3,none}",
        help="what is fitted to the truth: rotation, place and scale; no scale; nothing",
    )
    add("--refine", action="store_true", help="depth is corrected by the motion, as 'poses --refine' does")
    add("--refine-focal", action="store_true", help="a factor on the focal length is found, too")
    add("--known-camera", action="store_true", help="models are told the true intrinsics")
    add(
        "--depth",
        type=argument(DEPTHS),
        default="predicted",
        metavar="{predicted,true,both}",
        help="what poses are found from: what models predict, or what the sensor measured",
    )


def of_scenes(args: argparse.Namespace) -> int:
    """Scenes' poses against a file of true ones.

    Raises:
        InputError: where a scene has no poses, or the file none for its frames.
    """
    import numpy as np

    from geometrycrafter.evaluation import score_trajectory
    from geometrycrafter.poses.pose_matching import Frames
    from geometrycrafter.poses.trajectories import read_poses
    from geometrycrafter.scene import open_scene

    if not args.root:
        raise InputError("eval poses: name scenes, and the true poses with --truth FILE, or a data set.")
    rows = []
    for place in args.root:
        scene = open_scene(place)
        if scene.poses is None:
            raise InputError(f"{place}: the scene has no poses; run 'geometrycrafter poses {place}' first.")
        quality = scene.array("pose_quality")
        truth, spans = read_poses(args.truth).at(Frames.of(scene)), scene.shots
        known = np.isfinite(truth).all((1, 2)) & (True if quality is None else quality[:] > 0)
        for number, span in enumerate(spans):  # each has a world of its own
            own = slice(*span)
            name = f"{place}, shot {number}" if len(spans) > 1 else str(place)
            try:
                figures = score_trajectory(scene.poses[own], truth[own], known[own], args.align)
            except InputError as error:
                raise InputError(f"{name}: {error}") from error
            rows.append([name, *_cells(figures, span[1] - span[0])])
            if figures["still"] and args.align == "sim3":
                print(f"{name}: the true camera stands still, so no scale can be found; its turns alone are judged.")
    from geometrycrafter.cli.eval import print_table
    from geometrycrafter.evaluation.report.table import Table

    header = ["scene", "ATE ↓", "RPE, place ↓", "RPE, turn ° ↓", "ATE/path ↓", "path", "scale", "frames"]
    notes = [f"Lengths are in the unit of {args.truth}; alignment: {args.align}."]
    print_table(Table(header, rows, notes))
    return 0


def _cells(figures: dict[str, float], frames: int) -> list[str]:
    """A row of the table."""

    def text(name: str, pattern: str) -> str:
        return "–" if figures[name] != figures[name] else pattern.format(figures[name])

    return [
        *(text(name, "{:.4f}") for name in ("ate", "rpe_translation")),
        text("rpe_rotation", "{:.3f}"),
        text("ate_share", "{:.2%}"),
        text("path", "{:.3f}"),
        text("scale", "{:.4g}"),
        f"{figures['frames']:.0f}/{frames}",
    ]


def methods(args: argparse.Namespace, models: list[Method]) -> list[Method]:
    """What the flags name: the solver on each model's depth and on the sensor's, written poses, and a still camera."""
    from geometrycrafter.cli.eval import named_folder
    from geometrycrafter.evaluation.methods import SolvedPoses, StandingStill, TrueDepth, WrittenPoses

    found: list[Method] = []
    how = (", refined" if args.refine else "") + (", focal refined" if args.refine_focal else "")
    if args.depth != "true":
        found += [SolvedPoses(f"{m.name}{how}", m, args.refine, args.refine_focal) for m in models]
    if args.depth != "predicted":
        true = TrueDepth("true depth")
        found.append(SolvedPoses(f"true depth{how}", true, args.refine, args.refine_focal))
        if not args.refine:
            found.append(SolvedPoses(f"true depth{how}, surfaces", true, False, args.refine_focal, surfaces=True))
    for text in args.predictions:
        name, folder = named_folder(text)
        found.append(WrittenPoses(name or folder.resolve().name, str(folder)))
    found.append(StandingStill("still camera"))
    return found
