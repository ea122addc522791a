"""One shot of a run: frames that are processed as if they were a clip of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from geometrycrafter.inference.decoding import Chunk, plan_chunks
from geometrycrafter.inference.windows import Window, plan

if TYPE_CHECKING:
    from geometrycrafter.inference.run_folder import RunFolder, Series


@dataclass(frozen=True)
class Shot:
    """Frames ``first`` to ``end`` of the clip; batches, windows and chunks begin with them and end there."""

    run: RunFolder
    first: int
    end: int

    def __len__(self) -> int:
        return self.end - self.first

    @property
    def batches(self) -> range:
        """The first frame, counted in the clip, of each batch that is observed together."""
        return range(self.first, self.end, self.run.batch)

    def plan_windows(self) -> list[Window]:
        """Frames are counted from the shot's first."""
        options = self.run.record.options
        return plan(len(self), options.window, options.overlap, options.exact)

    def plan_chunks(self) -> list[Chunk]:
        """Frames are counted from the shot's first."""
        options = self.run.record.options
        return plan_chunks(len(self), options.decode_chunk, options.exact or options.decoder == "light")

    def observed(self, start: int, end: int, *names: str) -> tuple[Tensor, ...]:
        """Tensors ``[end - start, ...]`` of some of its frames, counted from its first.

        Raises:
            InputError: where a file is gone or damaged.
        """
        return self._frames(self.run.observed, start, end, *names)

    def conditioned(self, start: int, end: int, *names: str) -> tuple[Tensor, ...]:
        """Likewise ``[end - start, ...]``, of what the second pass left.

        Raises:
            InputError: where a file is gone or damaged.
        """
        return self._frames(self.run.conditioned, start, end, *names)

    def _frames(self, series: Series, start: int, end: int, *names: str) -> tuple[Tensor, ...]:
        parts, batch = [], self.run.batch
        for before in range(start // batch * batch, end, batch):
            rows = slice(max(start - before, 0), end - before)
            parts.append([tensor[rows] for tensor in series.load(self.first + before, *names)])
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))
