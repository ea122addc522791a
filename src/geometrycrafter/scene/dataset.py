"""Frames and point maps of a scene for PyTorch's data loaders."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from geometrycrafter.errors import InputError
from geometrycrafter.scene.conversions import frame_colours
from geometrycrafter.scene.reader import Scene, open_scene


class SceneFrames(Dataset[dict[str, Tensor]]):
    """Frames of a scene, one an item, all of one size: what a ``DataLoader`` batches, by workers too.

    An item has ``index``, ``time``, ``image`` ``[3, H, W]`` in [0, 1] (of the scene's small copy, at the size of the
    depth), ``depth`` ``[H, W]`` (0 where invalid), ``mask`` ``[H, W]``, ``points`` ``[H, W, 3]`` in the camera's axes,
    ``intrinsics`` ``[3, 3]``, and ``pose`` ``[4, 4]``, camera to world, where poses are known.

    Args:
        scene: opened, or its place.
        stride: take every n-th frame.

    Raises:
        InputError: where there is no scene, or the stride is no count.
    """

    def __init__(self, scene: Scene | str | os.PathLike[str], stride: int = 1):
        if stride < 1:
            raise InputError(f"stride {stride}: give a whole number from 1.")
        self.scene = scene if isinstance(scene, Scene) else open_scene(scene)
        self.stride = stride

    def __len__(self) -> int:
        return -(-len(self.scene) // self.stride)

    def __getitem__(self, item: int) -> dict[str, Tensor]:
        """A frame: tensors by name, of the shapes ``[...]`` above."""
        if not -len(self) <= item < len(self):
            raise IndexError(f"there is no item {item}; there are 0 to {len(self) - 1}")
        t, scene = range(0, len(self.scene), self.stride)[item], self.scene
        mask = np.asarray(scene.mask[t])
        values: dict[str, Any] = {
            "image": frame_colours(scene, t).transpose(2, 0, 1).astype(np.float32) / 255,
            "depth": np.where(mask, scene.depth[t], 0).astype(np.float32),
            "mask": mask,
            "points": np.where(mask[..., None], scene.points[t], 0).astype(np.float32),
            "intrinsics": np.asarray(scene.intrinsics[t], np.float32),
        }
        if scene.poses is not None:
            values["pose"] = np.asarray(scene.poses[t], np.float32)
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in values.items()}
        return {"index": torch.tensor(t), "time": torch.tensor(scene.times[t], dtype=torch.float32)} | tensors

    def __getstate__(self) -> dict[str, Any]:
        """Workers open the scene for themselves; one in memory goes along."""
        return {"scene": self.scene.place if self.scene.path else self.scene, "stride": self.stride}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.scene = open_scene(state["scene"]) if isinstance(state["scene"], str) else state["scene"]
        self.stride = state["stride"]
