"""``geometrycrafter run --preview``: a sheet of pictures beside the scene."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from geometrycrafter.errors import InputError
from geometrycrafter.files import on_disk

if TYPE_CHECKING:
    from geometrycrafter.scene import Scene


def sheet_place(output: str | os.PathLike[str]) -> Path:
    """``clip.gc`` -> ``clip.preview.png``, beside it."""
    folder = Path(os.path.abspath(on_disk(output, "the scene")))  # noqa: PTH100 (a link has its own neighbours)
    return on_disk(output, "the scene").parent / f"{folder.stem}.preview.png"


def check_sheet(output: str | os.PathLike[str], replaced: bool) -> None:
    """Refuse, before a run, a sheet that can't be written.

    Raises:
        InputError: where a file is there that is not to be replaced.
    """
    place = sheet_place(output)
    if place.exists() and not replaced:
        raise InputError(f"{place}: the preview exists; add --overwrite to replace it, or move it.")


def write_sheet(scene: Scene, output: str | os.PathLike[str]) -> Path:
    """Draw a scene's sheet and write it beside the scene.

    Raises:
        InputError: where something that is no such file is there, or the disk refuses.
    """
    from geometrycrafter.export.targets import check_target
    from geometrycrafter.files import explained
    from geometrycrafter.scene.pictures import contact_sheet
    from geometrycrafter.video.pictures import write_png

    place = check_target(sheet_place(output), scene)
    with explained(place):
        return write_png(place, contact_sheet(scene))
