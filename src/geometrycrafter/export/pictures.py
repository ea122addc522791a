"""Pictures of a scene as files, for programs that take a folder of them: frames, and masks of what to leave out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import simplejpeg

from geometrycrafter.export.colours import Colours
from geometrycrafter.export.world import World
from geometrycrafter.video.pictures import encode_png

QUALITY = 95


def named(t: int, kind: str) -> str:
    """The file of a frame's picture."""
    return f"frame_{t:06d}.{kind}"


def write_pictures(world: World, folder: Path, colours: Colours, kind: str) -> Iterator[np.ndarray]:
    """Write the frames whose poses are known to ``images/``, and where things move masks to ``masks/``, black there.

    Args:
        world: of the scene.
        folder: that the two are made in.
        colours: of the scene.
        kind: "jpg" or "png".

    Yields:
        every frame's picture ``[H, W, 3]`` uint8.
    """
    (folder / "images").mkdir()
    known = set(world.frames.tolist())
    for t, picture in zip(range(len(world.scene)), colours):
        if t in known:
            (folder / "images" / named(t, kind)).write_bytes(_encoded(picture, kind))
            moving = world.moving(t)
            if moving is not None:
                (folder / "masks").mkdir(exist_ok=True)
                (folder / "masks" / f"{named(t, kind)}.png").write_bytes(
                    encode_png(np.where(moving, 0, 255).astype("u1"))
                )
        yield picture


def _encoded(picture: np.ndarray, kind: str) -> bytes:
    if kind == "png":
        return encode_png(picture)
    return simplejpeg.encode_jpeg(np.ascontiguousarray(picture), QUALITY, colorsubsampling="444")
