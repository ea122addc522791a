"""``geometrycrafter eval steady``: how much depth of what stands still changes over a clip, without any truth."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from geometrycrafter.errors import InputError

if TYPE_CHECKING:
    from geometrycrafter.scene import Scene


def of_scenes(places: list[Path]) -> int:
    """Print a table of scenes, a row for each of their shots; status 2 where one can't be judged.

    Raises:
        InputError: where no scene is named.
    """
    if not places:
        raise InputError("eval steady SCENE...: name scenes with poses, or whose camera stands still.")
    from geometrycrafter.cli.eval import print_table
    from geometrycrafter.evaluation.report.table import Table
    from geometrycrafter.evaluation.still_tracks import LAGS
    from geometrycrafter.scene import open_scene

    rows, faults = list[list[str]](), list[str]()
    for place in places:
        try:
            scene = open_scene(place)
        except InputError as error:
            faults.append(str(error))
            continue
        spans = scene.shots
        for number, span in enumerate(spans):
            name = f"{place}, shot {number}" if len(spans) > 1 else str(place)
            try:
                rows.append([name, *_figures(scene, span)])
            except InputError as error:
                faults.append(f"shot {number}: {error}" if len(spans) > 1 else str(error))
    header = ["scene", "1 frame ↓", *(f"{lag} frames ↓" for lag in LAGS[1:]), "range ↓", "camera still"]
    notes = [
        "Median change of still things' depth, %; –: of a shot that is not that long. Range: largest over smallest "
        "over the whole clip, where the camera stands still.",
        "Without poses still is what moves as the whole picture does, and a camera stands still where that is by less "
        "than 8 % of its longer side.",
    ]
    if rows:
        print_table(Table(header, rows, notes))
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 2 if faults else 0


def _figures(scene: Scene, span: tuple[int, int]) -> list[str]:
    """What is said of a shot."""
    from geometrycrafter.evaluation.steadiness import Steadiness
    from geometrycrafter.evaluation.still_tracks import LAGS

    if span[1] - span[0] < 2:
        return ["–"] * (len(LAGS) + 2)
    shot = Steadiness(scene, *span)
    changes, extent = [shot.change(lag) for lag in LAGS], shot.extent()
    cells = [f"{100 * x:.1f}" if x == x else "–" for x in changes]
    return [*cells, f"{extent:.3f}" if extent == extent else "–", "yes" if shot.still else "no"]
