"""Where a scene's frames came from, so that they can be found again: full-size colours, poses and viewers need them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from geometrycrafter.errors import InputError, reason
from geometrycrafter.files import is_url
from geometrycrafter.settings import Count, Index, Intrinsics, NotNegative, Settings, read_settings
from geometrycrafter.video.options import Reading
from geometrycrafter.video.reading import FrameSource, open_frames
from geometrycrafter.video.sequences import find

DETAILS = "source_details"
"""The attribute that holds all but the path, which stands in ``source``."""


@dataclass(frozen=True)
class SourceRecord(Settings):
    """A source of frames, as a scene remembers it."""

    path: str
    """Absolute path of a video, a folder of images or a glob of them, or a URL; what it was where it had neither."""
    kind: Literal["video", "images", "array", "iterator"]
    height: Count
    width: Count
    fps: NotNegative
    """Chosen frames a second."""
    start: Index = 0
    end: Count | None = None
    stride: Count = 1
    reading: Reading = field(default_factory=Reading)
    """How its frames were made: see :attr:`Reading.making`."""
    content: str | None = None
    """A digest: see :meth:`FrameSource.content`. None for an iterator."""
    pixel_aspect: NotNegative = 1.0
    """Width over height of a pixel, as the source was tagged."""
    orientation: Literal[0, 90, 180, 270] = 0
    """Degrees, counterclockwise, that frames were turned by to stand upright."""
    camera: Intrinsics | None = None
    """fx, fy, cx, cy in pixels, where the caller knew them."""

    @classmethod
    def of(
        cls, source: FrameSource, camera: tuple[float, ...] | None = None, content: str | None = None
    ) -> SourceRecord:
        """The record of a source, cut as it is used.

        Args:
            source: of the frames.
            camera: fx, fy, cx, cy in pixels where they are known.
            content: the source's, where it has been asked already.

        Raises:
            InputError: where a file of it can't be read.
        """
        return cls(
            path=source.place or source.name,
            kind=source.kind,  # type: ignore[arg-type]
            height=source.height,
            width=source.width,
            fps=source.fps,
            start=source.start,
            end=source.end,
            stride=source.stride,
            reading=source.how.making,
            content=content or source.content(),
            pixel_aspect=source.pixel_aspect,
            orientation=source.orientation,  # type: ignore[arg-type]
            camera=camera,  # type: ignore[arg-type]
        )

    def stored(self) -> dict[str, Any]:
        """As attributes of a scene: ``source``, the path, and the rest beside it."""
        details = asdict(self)
        return {"source": details.pop("path"), DETAILS: details}

    @classmethod
    def of_attributes(cls, attributes: Mapping[str, Any], place: str) -> SourceRecord | None:
        """The record among a scene's attributes; None where it has none.

        Raises:
            InputError: where it is damaged; names the scene.
        """
        if DETAILS not in attributes:
            return None
        details = attributes[DETAILS]
        return read_settings(
            cls,
            {"path": attributes.get("source"), **details} if isinstance(details, Mapping) else details,
            f"{place}: {DETAILS}",
        )

    @property
    def on_disk(self) -> bool:
        """Whether there is a path to look for the frames at."""
        return self.kind in ("video", "images") and os.path.isabs(self.path)  # noqa: PTH117 (a glob is no path)

    @property
    def at_url(self) -> bool:
        """Whether a server is to be asked for the frames."""
        return self.kind in ("video", "images") and is_url(self.path)

    def includes(self, path: Path) -> bool:
        """Whether a file is the source, or one of its images: it must not be written over."""
        if not self.on_disk or not path.exists():
            return False
        if Path(self.path).is_dir():
            return path.parent.exists() and path.parent.samefile(self.path)
        try:
            files = find(self.path) or [Path(self.path)]
        except InputError:
            files = []
        return any(file.exists() and path.samefile(file) for file in files)

    def open(self, path: str | os.PathLike[str] | None = None, count: int | None = None) -> FrameSource:
        """Open the source again, at the same frames.

        Args:
            path: where it is now; None: where it was.
            count: of frames that there must be, at least.

        Raises:
            InputError: where it has moved or changed; says what differs, and how to name its new place.
        """
        if path is None and not (self.on_disk or self.at_url):
            raise InputError(f"the scene was made from {self.path}; name its frames with --source PATH.")
        place = self.path if path is None else os.fspath(path)
        try:
            how = replace(self.reading, start=self.start, end=self.end, stride=self.stride)
            source = open_frames(place, how)
            differs = self._difference(source, count)
        except InputError as error:
            if path is not None:
                raise
            raise InputError(
                f"{place}: the scene's frames have moved ({reason(error)}); name their place with --source PATH."
            ) from error
        if differs:
            remedy = "name their place with --source PATH"
            if path is not None:  # which was done
                remedy = "name others, or say which of them the scene has with --start and --end (of exports, "
                remedy += "--source-start and --source-end)"
            raise InputError(f"{place}: these are not the frames that the scene was made from ({differs}); {remedy}.")
        return source

    def _difference(self, source: FrameSource, count: int | None) -> str | None:
        """What tells a source from this one, in words; None where nothing does."""
        if (source.height, source.width) != (self.height, self.width):
            return f"they are {source.width}x{source.height}, not {self.width}x{self.height}"
        if count is not None and source.count is not None and source.count < 0.95 * count - 3:  # headers may lie a bit
            return f"there are {source.count}, not {count}"
        if self.kind in ("video", "images") and (source.kind != self.kind or source.content() != self.content):
            return "their content is another"
        return None


def part_of(path: str | os.PathLike[str], part: Reading, record: SourceRecord | None) -> FrameSource:
    """Some frames of a source, made as those of a scene were.

    Args:
        path: of it.
        part: ``start``, ``end`` and ``stride``.
        record: of the scene's own source, which may be a part that was cut out; None: it has none.

    Raises:
        InputError: where they can't be read, or are of another size.
    """
    how = part if record is None else replace(record.reading, start_time=None, end_time=None, fps=None)
    source = open_frames(path, replace(how, start=part.start, end=part.end, stride=part.stride))
    if record is not None and (source.height, source.width) != (record.height, record.width):
        size = f"{source.width}x{source.height}, not {record.width}x{record.height}"
        raise InputError(f"{os.fspath(path)}: these are not the scene's frames (they are {size}); name others.")
    return source


def of_length(source: FrameSource, frames: int) -> FrameSource:
    """A source of a scene's frames, where it is as long as the scene.

    Raises:
        InputError: where it is longer, so that it can't be told which of its frames the scene has.
    """
    slack = 0.05 * frames + 3 if source.kind == "video" else 0  # headers may lie a bit
    if source.count is not None and source.count > frames + slack:
        raise InputError(
            f"{source.name}: there are {source.count} frames, and the scene has {frames}; say which of them with "
            "--start and --end (of exports, --source-start and --source-end)."
        )
    return source
