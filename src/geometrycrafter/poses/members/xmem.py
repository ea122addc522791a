"""Masks of what moves, given on the first frame and carried on by XMem."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from geometrycrafter.errors import InputError
from geometrycrafter.networks.xmem import XMem, XMemConfig
from geometrycrafter.networks.xmem_memory import MemoryConfig, Propagation
from geometrycrafter.poses.protocol import no_frames
from geometrycrafter.weights.checkpoints import load_weights, read_tensors

SHORT_SIDE = 480
"""Larger pictures are made as small as those that the published figures were measured on."""
IMAGENET = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]


def load_xmem(file: Path, device: torch.device) -> XMem:
    """XMem from its published file, or the same tensors as ``.safetensors``.

    Raises:
        InputError: where the file is missing, damaged or another network's.
    """
    tensors = read_tensors(file)
    try:
        with torch.device("meta"):
            network = XMem(XMemConfig.of(tensors))
    except (KeyError, IndexError, RuntimeError) as error:
        raise InputError(f"{file}: this is not XMem with its sensory memory; use the published XMem.pth.") from error
    load_weights(network, tensors, str(file), torch.float32, device)
    return network


class XMemMasks:
    """Carries masks of the first frame through a video, whatever its length, in bounded memory.

    Args:
        network: with its weights loaded.
        first: ``[N, H, W]`` bool, a thing each, or ``[H, W]``; of the first frame.
        memory: how much is remembered; None: as published.
    """

    def __init__(self, network: XMem, first: NDArray[np.bool_], memory: MemoryConfig | None = None):
        self.network = network
        self.first = np.asarray(first, dtype=bool).reshape(-1, *np.shape(first)[-2:])
        self.memory = memory or MemoryConfig()
        if not self.first.any():
            raise InputError("the first frame's mask is empty; mark what moves there, or give no mask.")

    def __call__(self, frames: Iterable[NDArray[np.uint8]]) -> NDArray[np.bool_]:
        """Frames ``[H, W, 3]`` in order -> ``[T, H, W]``, true where one of the things is.

        Raises:
            InputError: where the mask has another size than the frames, or there are no frames.
        """
        return np.stack(list(self.carry(frames)) or no_frames())

    def carry(self, frames: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.bool_]]:
        """The same, a mask ``[H, W]`` as each frame comes.

        Raises:
            InputError: as above.
        """
        device = next(self.network.parameters()).device
        propagation = Propagation(self.network, self.memory)
        masks: Tensor | None = torch.from_numpy(self.first).float().to(device)
        for frame in frames:
            size = frame.shape[:2]
            if size != self.first.shape[1:]:
                raise InputError(
                    f"the first frame's mask has {self.first.shape[1]}x{self.first.shape[2]} pixels, a frame "
                    f"{size[0]}x{size[1]}; give a mask of the frames' size."
                )
            scale = min(SHORT_SIDE / min(size), 1.0)
            picture = _resized(torch.from_numpy(frame).to(device).movedim(-1, 0).float() / 255, scale)
            mean, std = IMAGENET.to(device)
            given = None if masks is None else (_resized(masks, scale) > 0.5).float()
            likely = propagation.step((picture - mean) / std, given)
            masks = None
            if scale < 1:
                likely = F.interpolate(likely[None], size, mode="bilinear", align_corners=False)[0]
            yield (likely.argmax(0) > 0).cpu().numpy()


def _resized(planes: Tensor, scale: float) -> Tensor:
    """``[C, H, W]`` made smaller."""
    if scale == 1:
        return planes
    size = [round(n * scale) for n in planes.shape[-2:]]
    return F.interpolate(planes[None], size, mode="bilinear", align_corners=False, antialias=True)[0]
