"""What a run depends on: two runs with equal records give the same bits, on the same device."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from geometrycrafter.inference.options import Options
from geometrycrafter.inference.precision import half_of
from geometrycrafter.priors.identity import UNTOLD
from geometrycrafter.priors.protocol import Prior
from geometrycrafter.settings import read_settings
from geometrycrafter.video.bars import Bars, Box
from geometrycrafter.video.options import Reading
from geometrycrafter.video.reading import FrameSource, Look
from geometrycrafter.weights.models import Networks

PROCEDURE = 17
"""Counts up where the same input gives other results, or the files between passes change."""
WORDS = {
    "content": "video",
    "height": "frame size",
    "width": "frame size",
    "start": "--start",
    "end": "--end",
    "stride": "--stride",
    "bars": "picture in its bars",
    "model": "--model",
    "weights": "weights in the model",
    "trusted_field": "prior",
    "tells_sky": "prior",
    "dtype": "--dtype",
    "half": "type of 16 bits that --precision half has here",
    "procedure": "version of the program",
}
"""What messages call a field, where that isn't its name."""


class View(NamedTuple):
    """What the networks see of a shot."""

    picture: Box
    """What is picture in any of its frames."""
    size: tuple[int, int]
    """Processing height and width."""

    @property
    def stored(self) -> list[int]:
        """As six whole numbers."""
        return [*self.picture, *self.size]


def sizes_of(look: Look, options: Options, pixels: int) -> tuple[tuple[int, int, int], ...]:
    """The first frame of each shot, and the processing height and width that its own picture has.

    Args:
        look: at a clip.
        options: that may say the size.
        pixels: of the processing size where they don't.
    """
    firsts, out = look.shots or (0,), []
    for first, end in zip(firsts, (*firsts[1:], None), strict=True):
        size = options.for_video(*look.bars.within(first, end).size, pixels).size
        assert size is not None
        out.append((first, *size))
    return tuple(out)


@dataclass(frozen=True)
class RunRecord:
    """What a run depends on. The device is not part of it: a run may be gone on with elsewhere."""

    content: str | None
    """A digest of the video; None for an iterator, whose frames are compared as they come."""
    height: int
    """Of the video's frames, pixels."""
    width: int
    start: int
    end: int | None
    stride: int
    reading: Reading
    """How its frames are made: see :attr:`Reading.making`."""
    bars: Bars
    """What of its frames is picture; the networks see the union over each shot."""
    shots: tuple[int, ...] | None
    """The first frame of each; None for an iterator, whose cuts are found as its frames come."""
    sizes: tuple[tuple[int, int, int], ...]
    """The first frame of each shot, and its processing height and width."""
    options: Options
    """With the processing size of the largest shot."""
    model: str
    """Its name and variant."""
    weights: str
    """A digest of them."""
    prior: str
    trusted_field: bool
    """Of the prior: see :class:`Prior`."""
    tells_sky: bool
    """Likewise."""
    dtype: str
    """In which the networks compute."""
    half: str | None
    """In which the prior's transformer does, where ``precision`` is ``half``: not all devices have the same."""
    noise: str | None
    """A digest of what the caller gave."""
    procedure: int = PROCEDURE

    @classmethod
    def of(
        cls,
        source: FrameSource,
        look: Look,
        networks: Networks,
        prior: Prior,
        options: Options,
        noise: Tensor | None,
        pixels: int,
        device: torch.device,
    ) -> RunRecord:
        """The record of a run that is about to begin.

        Args:
            source: of frames, cut as wanted.
            look: at them.
            networks: of the model.
            prior: per-frame.
            options: as they were given.
            noise: ``[1, window, 4, h, w]`` where the caller gives it.
            pixels: of the processing size where the options give none.
            device: that the networks compute on.
        """
        sizes = sizes_of(look, options, pixels)
        half = (half_of(device) or torch.float32) if options.precision == "half" else None
        options = replace(options, size=max((size[1:] for size in sizes), key=math.prod), max_size=None)
        return cls(
            content=source.content(),
            height=source.height,
            width=source.width,
            start=source.start,
            end=source.end,
            stride=source.stride,
            reading=source.how.making,
            bars=look.bars,
            shots=look.shots,
            sizes=sizes,
            options=options,
            model=f"{networks.name}/{networks.variant}",
            weights=networks.identity_with(options.decoder),
            prior=prior.identity,
            trusted_field=prior.trusted_field,
            tells_sky=prior.tells_sky,
            dtype=str(networks.dtype).removeprefix("torch."),
            half=None if half is None else str(half).removeprefix("torch."),
            noise=None if noise is None or networks.variant == "deterministic" else _digest(noise),
        )

    @classmethod
    def from_json(cls, stored: Any) -> RunRecord | None:
        """The record that was stored; None where it is damaged or of another procedure's making."""
        if not isinstance(stored, Mapping) or stored.get("procedure") != PROCEDURE:
            return None
        try:
            options = read_settings(Options, stored["options"], "options")
            reading = read_settings(Reading, stored["reading"], "reading")
            bars = Bars.of_stored(stored["bars"])
            shots = None if stored["shots"] is None else tuple(map(int, stored["shots"]))
            sizes = tuple((int(first), int(height), int(width)) for first, height, width in stored["sizes"])
            read = {"options": options, "reading": reading, "bars": bars, "shots": shots, "sizes": sizes}
            return cls(**dict(stored) | read)
        except (KeyError, TypeError, ValueError):
            return None

    def to_json(self) -> dict[str, Any]:
        """As plain values, one form for the disk and for comparison."""
        return asdict(self) | {"options": self.options.stored(), "bars": self.bars.stored()}

    def view(self, frame: int) -> View:
        """What the networks see of the shot that a frame is in."""
        index = max(bisect_right(self.sizes, frame, key=lambda size: size[0]) - 1, 0)
        first, *size = self.sizes[index]
        end = self.sizes[index + 1][0] if index + 1 < len(self.sizes) else None
        return View(self.bars.within(first, end), (size[0], size[1]))

    @property
    def views(self) -> list[View]:
        """Of each shot; where they are found as frames come, all have one."""
        return [self.view(first) for first, *_ in self.sizes]

    def look_of(self, source: FrameSource, options: Options) -> Look | None:
        """Bars and shots as the run found them, where it looked at the same frames for the same; None where it didn't.

        Args:
            source: of another run.
            options: of that.
        """
        how = replace(self.reading, start=self.start, end=self.end, stride=self.stride)
        mine, others = ((o.exact, o.cuts) for o in (self.options, options))
        same = how == source.how and mine == others and self.content is not None
        return Look(self.bars, self.shots) if same and self.content == source.content() else None

    def differences(self, other: RunRecord, observing: bool = False) -> list[str]:
        """What another run depends on that this one doesn't, in words; none where both give the same.

        Args:
            other: run.
            observing: this one is still reading the video. Where the other's ends, and what follows the frames that
                were read, makes no difference then; the frames themselves are compared one by one.
        """
        # Shots are told by the option, or are others after the frames that were read.
        ignored = {"options", "reading", "shots", "sizes"} | ({"content", "end"} if observing else set())
        same_views = all(self.view(first) == other.view(first) for first, *_ in self.sizes)
        if self.reading.bars != other.reading.bars or (observing and same_views):
            ignored.add("bars")  # the option says it; or they change after the frames that were read
        words = [
            _prior_word(other.prior) if f.name == "prior" else WORDS.get(f.name, f.name)
            for f in fields(self)
            if f.name not in ignored and getattr(self, f.name) != getattr(other, f.name)
        ]
        same_camera = self.reading.camera == other.reading.camera
        for mine, others in (
            (self.options.stored(), other.options.stored()),
            (asdict(self.reading), asdict(other.reading)),
        ):
            words += [
                f"--{k.replace('_', '-')} ({_told(mine[k])})"
                for k in mine
                if mine[k] != others[k] and (same_camera or k != "intrinsics")
            ]
        return list(dict.fromkeys(words))


def frame_digest(frame: np.ndarray) -> bytes:
    """Of one frame ``[H, W, 3]``, 32 bytes."""
    about = f"{frame.shape}{frame.dtype.str}".encode()
    return hashlib.sha256(about + np.ascontiguousarray(frame).tobytes()).digest()


def clip_digest(frames: Iterable[bytes]) -> str:
    """Of a clip, from the digests of its frames."""
    digest = hashlib.sha256()
    for one in frames:
        digest.update(one)
    return digest.hexdigest()


def _prior_word(identity: str) -> str:
    """Where it can't be told which prior it is, why."""
    if not identity.startswith(UNTOLD):
        return "prior"
    why = identity.partition(": ")[2]
    return f"prior, or the same ({why}; give the prior a text attribute 'identity')"


def _told(value: Any) -> str:
    if isinstance(value, Mapping):  # a lens
        return f"{value['model']} {_told(value['parameters'])}"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _digest(tensor: Tensor) -> str:
    values = tensor.detach().to("cpu", torch.float32).contiguous()
    return hashlib.sha256(repr(tuple(values.shape)).encode() + values.numpy().tobytes()).hexdigest()
