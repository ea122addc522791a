"""Colours of a scene's frames at the size of its depth: of the video where it is there, else of the small copy."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from geometrycrafter.errors import InputError
from geometrycrafter.export.formats import ColourOptions
from geometrycrafter.scene import Scene
from geometrycrafter.video.options import Reading
from geometrycrafter.video.reading import FrameSource

GREY = 160
"""Of points whose scene has no frames."""
LEVELS = (np.arange(256) / 255.0).astype(np.float64)
LINEAR = np.where(LEVELS <= 0.04045, LEVELS / 12.92, ((LEVELS + 0.055) / 1.055) ** 2.4)
"""Light of each level of sRGB: what formats that are for rendering want."""


class Colours:
    """Pictures of a scene's frames, ``[H, W, 3]`` uint8 each, one pixel for each of its depth.

    Args:
        scene: whose frames.
        options: which colours are wanted; default: of the small copy.

    Raises:
        InputError: where the video is wanted and not the one that the scene was made from.
    """

    def __init__(self, scene: Scene, options: ColourOptions | None = None):
        self.scene = scene
        self.source = None if options is None else _source(scene, options)

    def __getitem__(self, t: int) -> np.ndarray:
        """The picture of frame ``t``, ``[H, W, 3]`` uint8; of a video, all before it are decoded.

        Raises:
            InputError: where the source ends before it.
        """
        if self.source is None:
            return self._small(t)
        frames: Iterator[np.ndarray] = itertools.islice(self.source, t, None)
        if self.source.how.making == Reading() and t < (self.source.count or 0):
            first = self.source.start + t * self.source.stride
            frames = iter(self.source.cut(first, first + 1))
        picture = next(frames, None)
        if picture is None:
            raise _too_few(self.source, f"none for frame {t} of the scene")
        return _eight_bits(picture)

    def __iter__(self) -> Iterator[np.ndarray]:
        """All pictures in turn, ``[H, W, 3]`` uint8."""
        if self.source is None:
            return (self._small(t) for t in range(len(self.scene)))
        return (_eight_bits(frame) for frame in _of_length(self.source, len(self.scene)))

    def _small(self, t: int) -> np.ndarray:
        height, width = self.scene.depth.shape[1:]
        if self.scene.frames is None:
            return np.full((height, width, 3), GREY, np.uint8)
        small = self.scene.frames[t]
        if small.shape == (height, width, 3):
            return small
        image = torch.from_numpy(small).permute(2, 0, 1)[None].float()
        image = F.interpolate(image, (height, width), mode="bilinear", align_corners=False)
        return image[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()


def _of_length(source: FrameSource, count: int) -> Iterator[np.ndarray]:
    """Frames ``[H, W, 3]`` of a source; headers don't always say how many there are, so one more is asked for.

    Raises:
        InputError: where there are more than the scene has, or fewer.
    """
    frames = iter(source)
    last: np.ndarray | None = None
    found = 0
    for found, frame in enumerate(frames, 1):
        if found > count:
            raise InputError(
                f"{source.name}: there are more frames than the scene's {count}; say which of them with "
                "--source-start and --source-end."
            )
        if last is not None:
            yield last
        last = frame
    if last is not None:
        yield last
    if found < count:
        raise _too_few(source, f"{found} frames for the scene's {count}")


def _too_few(source: FrameSource, there: str) -> InputError:
    return InputError(
        f"{source.name}: of what is chosen there are {there}; say which are the scene's with --source-start, "
        "--source-end and --source-stride."
    )


def _source(scene: Scene, options: ColourOptions) -> FrameSource | None:
    part = options.part
    if part is not None and options.source is None:
        raise InputError("--source-start, -end and -stride say which frames of --source the scene has; name that, too.")
    if options.source is not None:
        if options.colour == "small":
            raise InputError(f"--source {options.source}: colours of the small copy need no video; leave out the one.")
        return scene.open_source(options.source, part)
    if options.colour == "full":
        return scene.open_source()
    record = scene.source
    smaller = scene.frames is None or scene.frames.shape[1:3] != scene.depth.shape[1:]
    if options.colour == "small" or record is None or not record.on_disk or not smaller:
        return None
    try:
        return scene.open_source()
    except InputError as error:
        warnings.warn(f"colours are those of the scene's small copy: {error}", stacklevel=2)
        return None


def _eight_bits(frame: np.ndarray) -> np.ndarray:
    return frame if frame.dtype == np.uint8 else (frame * 255).round().astype(np.uint8)
