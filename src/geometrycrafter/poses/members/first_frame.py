"""What moves, marked on the first frame and carried through the video by the networks that are at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from geometrycrafter.errors import InputError
from geometrycrafter.poses.members.sam import (
    VIDEO_MODELS,
    SamMasks,
    SamVideoMasks,
    checked_places,
    kind_of,
    load_sam,
    load_sam_video,
    within,
)
from geometrycrafter.poses.members.xmem import XMemMasks, load_xmem
from geometrycrafter.poses.protocol import MovingMasks, no_frames

THINGS = 16
"""Colours of a mask, each a thing of its own; a picture of more is white on black, with soft edges."""


def things_of(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Masks ``[N, H, W]`` of a picture ``[H, W, 3]`` that is black where nothing moves, and has a colour a thing."""
    bright = picture.max(-1) > 127
    colours = np.unique(picture[bright], axis=0)
    if not 1 <= len(colours) <= THINGS:
        return np.asarray(bright[None])
    return np.stack([(picture == colour).all(-1) for colour in colours])


class Pointed:
    """Things at places of the first frame, found there by SAM and carried on by another network.

    Args:
        finder: SAM's masks.
        carried: what carries masks ``[N, H, W]`` of the first frame on.
        at: a point (x, y) on each thing or a box (left, top, right, bottom) around it.
    """

    def __init__(
        self, finder: SamMasks, carried: Callable[[NDArray[np.bool_]], MovingMasks], at: Sequence[Sequence[float]]
    ):
        self.finder, self.carried, self.at = finder, carried, checked_places(at)

    def __call__(self, frames: Iterable[NDArray[np.uint8]]) -> NDArray[np.bool_]:
        """Frames ``[H, W, 3]`` in order -> ``[T, H, W]``, true where one of the things is.

        Raises:
            InputError: where a place lies outside of the frames, nothing is found, or there are no frames.
        """
        return np.stack(list(self.carry(frames)) or no_frames())

    def carry(self, frames: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.bool_]]:
        """The same, a mask ``[H, W]`` as each frame comes.

        Raises:
            InputError: as above.
        """
        frames = iter(frames)
        first = next(frames, None)
        if first is None:
            no_frames()
        within(self.at, first.shape[:2])
        points = [place for place in self.at if len(place) == 2]
        boxes = [place for place in self.at if len(place) == 4]
        masks = [self.finder(first, points=np.array(points, np.float32))] if points else []
        masks += [self.finder(first, boxes=np.array(boxes, np.float32))] if boxes else []
        found = np.concatenate(masks)
        found = found[found.any((1, 2))]
        if not len(found):
            raise InputError("SAM finds nothing at those places of the first frame; give others, or a mask.")
        yield from self.carried(found).carry(chain([first], frames))


def open_masks(
    models: Sequence[Path],
    first: NDArray[np.bool_] | None,
    at: Sequence[Sequence[float]],
    device: torch.device,
) -> MovingMasks:
    """What finds moving things, by the networks that it is made of.

    Args:
        models: XMem's file, or a folder of SAM 2 or SAM 3, which carry masks on; with places, a folder of SAM, too,
            which makes masks of them.
        first: the first frame's masks ``[N, H, W]``, a thing each.
        at: or places of its things, points (x, y) or boxes (left, top, right, bottom).
        device: of the networks.

    Raises:
        InputError: where these don't fit together, or one can't be loaded.
    """
    kinds = [kind_of(model) if model.is_dir() else "xmem" for model in models]
    for model, kind in zip(models, kinds):
        if kind not in ("sam", "xmem", *VIDEO_MODELS):
            raise InputError(f"{model}: the model is {kind!r}; give XMem's file, or a folder of SAM, SAM 2 or SAM 3.")
    carriers = [(m, k) for m, k in zip(models, kinds) if k != "sam"]
    finders = [m for m, k in zip(models, kinds) if k == "sam"]
    if len(carriers) != 1 or len(finders) > (first is None):
        raise InputError(
            "masks want one network that carries them on (XMem's file, or a folder of SAM 2 or SAM 3), and where "
            "places stand for the first of them, SAM's folder beside it; give those."
        )
    file, kind = carriers[0]
    if first is None and kind == "xmem" and not finders:
        raise InputError(f"{file}: XMem makes no masks; give the first frame's, or SAM's folder beside it.")
    network, masks = (
        (load_xmem(file, device), XMemMasks) if kind == "xmem" else (load_sam_video(file, device), SamVideoMasks)
    )
    if first is not None:
        return masks(network, first)
    if finders:
        return Pointed(SamMasks(load_sam(finders[0], device)), lambda found: masks(network, found), at)
    return SamVideoMasks(network, at=at)
