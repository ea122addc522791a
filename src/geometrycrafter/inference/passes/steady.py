"""Last pass: the depth of each shot's frames is put on one footing by the motion of its picture.

Depth as it was decoded is replaced at once, by the last thing that is written before the scene is complete: a run that
is killed in between finds other frames than its journal has, and decodes them again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from geometrycrafter.inference.decoded import Arrays
from geometrycrafter.inference.run_folder import REMEDY, RunFolder
from geometrycrafter.inference.shot import Shot
from geometrycrafter.inference.steadying import Steadier, factor
from geometrycrafter.scene.writer import FrameByFrame, SceneWriter

if TYPE_CHECKING:
    from geometrycrafter.inference.passes import Progress


@torch.no_grad()
def steady(run: RunFolder, shots: list[Shot], intrinsics: Tensor, progress: Progress) -> None:
    """Correct the depth of all frames of a scene that is decoded, where the run's options say so.

    Args:
        run: whose frames are decoded.
        shots: of it.
        intrinsics: ``[T, 3, 3]`` pixels.
        progress: called after each frame.

    Raises:
        WriteError: where the disk refuses; depth stays as it was decoded.
    """
    options, count = run.record.options, shots[-1].end
    if options.exact or options.steady == "off":
        return
    arrays = Arrays.of(run, count)
    with _one_thread():
        found = [_corrections(arrays, shot, intrinsics[shot.first : shot.end], progress) for shot in shots]
    corrections = torch.cat(found)
    if bool((corrections == 0).all()):
        return

    def corrected() -> Iterator[np.ndarray]:
        for t, values in enumerate(corrections):
            depth: np.ndarray = arrays.depth[t]
            picture = run.record.view(t).picture
            top, left, bottom, right = picture
            around = ((top, depth.shape[0] - bottom), (left, depth.shape[1] - right))
            yield depth * np.pad(factor(values, picture.size), around, mode="edge")

    SceneWriter(run.folder, REMEDY).put("depth", FrameByFrame(arrays.depth.shape, arrays.depth.dtype, corrected()))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Pictures so small take longer on several, and so bits don't depend on how many there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _corrections(arrays: Arrays, shot: Shot, intrinsics: Tensor, progress: Progress) -> Tensor:
    """Of log depth of a shot's frames, ``[T, nodes]`` float32."""
    picture = shot.run.record.view(shot.first).picture  # what is beside it has no part in this
    cameras = intrinsics.clone()
    cameras[:, :2, 2] -= cameras.new_tensor([picture.left, picture.top])
    steadier = Steadier(cameras, picture.size)
    for t in range(len(shot)):
        at = shot.first + t
        (seen,) = shot.observed(t, t + 1, "seen")
        steadier.add(seen[0].numpy(), arrays.depth[at][picture.slices], arrays.mask[at][picture.slices])
        progress("steady", at + 1, arrays.depth.shape[0])
    return steadier.finish()
