"""``geometrycrafter eval steady``: how much depth of what stands still changes over a clip, without any truth."""

from __future__ import annotations

from pathlib import Path

from geometrycrafter.errors import InputError

LAGS = (1, 8, 32)


def of_scenes(places: list[Path]) -> int:
    """Print a table of scenes, a row for each of their shots.

    Raises:
        InputError: where no scene is named, or one has no poses though its camera moves.
    """
    if not places:
        raise InputError("eval steady SCENE...: name scenes with poses, or whose camera stands still.")
    from geometrycrafter.cli.eval import print_table
    from geometrycrafter.evaluation.report.table import Table
    from geometrycrafter.evaluation.steadiness import Steadiness
    from geometrycrafter.scene import open_scene

    rows = []
    for place in places:
        scene = open_scene(place)
        spans = scene.shots
        for number, span in enumerate(spans):
            shot = Steadiness(scene, *span)
            changes = [shot.change(lag) for lag in LAGS]
            extent = shot.extent()
            cells = [f"{100 * x:.1f}" if x == x else "–" for x in changes]
            name = f"{place}, shot {number}" if len(spans) > 1 else str(place)
            rows.append([name, *cells, f"{extent:.3f}" if extent == extent else "–", "yes" if shot.still else "no"])
    header = ["scene", "1 frame ↓", *(f"{lag} frames ↓" for lag in LAGS[1:]), "range ↓", "camera still"]
    note = (
        "Median change of still things' depth, %; range: largest over smallest over the whole clip, where the camera "
        "stands still. Without poses still is what moves as the whole picture does."
    )
    print_table(Table(header, rows, [note]))
    return 0
