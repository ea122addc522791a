"""Pictures of a scene: frames and their disparity, on one sheet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from geometrycrafter.scene.reader import Scene
from geometrycrafter.scene.shots import Span
from geometrycrafter.video.pictures import disparity_bounds, disparity_picture

SHOWN = 12
ACROSS = 4
WIDTH = 288
"""Of a picture, pixels."""
LABEL = 16
"""Height of what is written below it, pixels."""
GAP = 6


def contact_sheet(scene: Scene, shown: int = SHOWN, across: int = ACROSS, width: int = WIDTH) -> np.ndarray:
    """Frames of a scene, evenly spread, each over its disparity: ``[H, W, 3]`` uint8.

    Disparity has the colours of ``export mp4``, the same over a shot; pixels that are not valid are black.

    Args:
        scene: with or without small frames.
        shown: frames, at most.
        across: pictures beside each other, at most.
        width: of a picture, pixels.

    Raises:
        InputError: where an array is damaged.
    """
    chosen = sorted({round(t) for t in np.linspace(0, len(scene) - 1, min(shown, len(scene)))})
    pairs = [(_frame(scene, t, width), disparity) for t, disparity in zip(chosen, _disparities(scene, chosen, width))]
    times = scene.times
    height = pairs[0][1].shape[0]
    across = min(across, len(chosen))
    down = -(-len(chosen) // across)
    cell = (height if scene.frames is None else 2 * height) + LABEL
    sheet = Image.new("RGB", (across * (width + GAP) + GAP, down * (cell + GAP) + GAP), (24, 24, 24))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for place, (t, (frame, disparity)) in enumerate(zip(chosen, pairs, strict=True)):
        x, y = GAP + place % across * (width + GAP), GAP + place // across * (cell + GAP)
        if frame is not None:
            sheet.paste(Image.fromarray(frame), (x, y))
            y += height
        sheet.paste(Image.fromarray(disparity), (x, y))
        pen.text((x + 2, y + height + 1), f"frame {t}   {times[t]:.2f} s", fill=(210, 210, 210), font=font)
    return np.asarray(sheet)


def _height(scene: Scene, width: int) -> int:
    return max(1, round(width * scene.depth.shape[1] / scene.depth.shape[2]))


def _frame(scene: Scene, t: int, width: int) -> np.ndarray | None:
    if scene.frames is None:
        return None
    return _at(np.asarray(scene.frames[t]), width, _height(scene, width), Image.Resampling.LANCZOS)


def _disparities(scene: Scene, chosen: Sequence[int], width: int) -> list[np.ndarray]:
    """Of frames, ``[H, W, 3]`` each; colours mean the same within a shot."""
    step = max(1, scene.depth.shape[2] // (2 * width))
    depths = [np.asarray(scene.depth[t], np.float32)[::step, ::step] for t in chosen]
    masks = [np.asarray(scene.mask[t])[::step, ::step] for t in chosen]
    spans = [_span(scene.shots, t) for t in chosen]
    pictures = []
    for depth, mask, span in zip(depths, masks, spans, strict=True):
        alike = [d[m] for d, m, other in zip(depths, masks, spans, strict=True) if other == span]
        low, high = disparity_bounds(np.concatenate(alike))
        picture = disparity_picture(depth, mask, low, high)
        pictures.append(_at(picture, width, _height(scene, width), Image.Resampling.BOX))
    return pictures


def _span(shots: Sequence[Span], t: int) -> Span:
    return next(span for span in shots if span[0] <= t < span[1])


def _at(picture: np.ndarray, width: int, height: int, how: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((width, height), how))
