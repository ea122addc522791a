"""What a scene becomes elsewhere: tensors, clouds of Open3D, figures, a cell of a notebook."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from geometrycrafter.errors import InputError, how_to_install
from geometrycrafter.video.pictures import encode_png

if TYPE_CHECKING:
    from geometrycrafter.scene.reader import Scene

GREY = 160
"""Of points whose scene has no frames."""


class Conversions:
    """Methods of :class:`Scene`."""

    def to_torch(
        self, frames: int | slice | Sequence[int] | None = None, device: str | torch.device = "cpu"
    ) -> dict[str, Tensor]:
        """Frames as tensors: ``points`` ``[T, H, W, 3]``, ``depth`` and ``mask`` ``[T, H, W]``, ``intrinsics``
        ``[T, 3, 3]``, ``times`` ``[T]``; where they are known ``poses`` ``[T, 4, 4]`` and ``frames`` ``[T, h, w, 3]``.

        Args:
            frames: which; an int gives tensors without their first axis; None: all, much memory of a long clip.
            device: where to.

        Raises:
            InputError: where a frame is not there, or an array is damaged.
        """
        scene = cast("Scene", self)
        chosen: Any = slice(None) if frames is None else frames
        if not isinstance(chosen, int | slice | np.integer):
            chosen = list(chosen)
        for t in () if isinstance(chosen, slice) else chosen if isinstance(chosen, list) else [chosen]:
            _check_frame(scene, t)
        arrays: dict[str, Any] = {
            "points": scene.points,
            "depth": scene.depth,
            "mask": scene.mask,
            "intrinsics": scene.intrinsics,
            "times": scene.times.astype(np.float32),
            "poses": scene.poses,
            "frames": scene.frames,
        }
        present = {name: np.array(a[chosen]) for name, a in arrays.items() if a is not None}
        return {name: torch.from_numpy(a).to(device) for name, a in present.items()}

    def to_open3d(self, t: int, world: bool = False) -> Any:
        """The valid points of a frame as an ``open3d.geometry.PointCloud``, with their colours.

        Args:
            t: the frame.
            world: in the world's axes, by the frame's pose, in place of its camera's.

        Raises:
            InputError: where Open3D is not installed, the frame is not there, or poses are wanted and unknown.
        """
        try:
            import open3d  # type: ignore[import-not-found,import-untyped,unused-ignore]
        except ImportError as error:
            raise InputError("to_open3d wants Open3D; pip install open3d.") from error
        points, colours = self.cloud(t, world)
        cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points.astype(np.float64)))
        cloud.colors = open3d.utility.Vector3dVector(colours / 255.0)
        return cloud

    def cloud(self, t: int, world: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """The valid points of a frame ``[N, 3]`` float32, and their colours ``[N, 3]`` uint8.

        Args:
            t: the frame.
            world: in the world's axes, by the frame's pose, in place of its camera's.

        Raises:
            InputError: where the frame is not there, or poses are asked for and none are known.
        """
        scene = cast("Scene", self)
        _check_frame(scene, t)
        mask = np.asarray(scene.mask[t])
        points = scene.points[t][mask]
        if world:
            if scene.poses is None:
                raise InputError(f"{scene.place}: no poses are known; 'geometrycrafter poses' finds them.")
            pose = np.asarray(scene.poses[t], np.float64)
            points = (points @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32)
        return points, frame_colours(scene, t)[mask]

    def plot(self, t: int = 0) -> Any:
        """A figure of matplotlib: a frame, and its depth with a scale beside it.

        Args:
            t: the frame.

        Raises:
            InputError: where matplotlib is not installed, or the frame is not there.
        """
        scene = cast("Scene", self)
        _check_frame(scene, t)
        try:
            from matplotlib import pyplot
        except ImportError as error:
            raise InputError(f"plot wants matplotlib; {how_to_install('figures')}.") from error
        depth = np.where(scene.mask[t], scene.depth[t], np.nan)
        pictures = 1 if scene.frames is None else 2
        figure, axes = pyplot.subplots(1, pictures, figsize=(5.5 * pictures, 4), squeeze=False, layout="constrained")
        if scene.frames is not None:
            axes[0, 0].imshow(scene.frames[t])
            axes[0, 0].set_title(f"frame {t}, {scene.times[t]:.2f} s")
        shown = axes[0, -1].imshow(depth, cmap="magma_r")
        axes[0, -1].set_title("depth")
        figure.colorbar(shown, ax=axes[0, -1], label="m" if scene.unit == "m" else "the clip's own scale")
        for axis in axes.flat:
            axis.set_axis_off()
        return figure

    def _repr_html_(self) -> str:
        """For notebooks: a picture of four frames over their disparity, and what ``info`` says."""
        from geometrycrafter.scene.pictures import contact_sheet
        from geometrycrafter.scene.summary import Summary

        scene = cast("Scene", self)
        try:
            sheet, lines = contact_sheet(scene, shown=4, width=200), Summary.of(scene).lines()
        except InputError as error:  # a cell shows what is wrong, and no traceback
            return f"<pre>{html.escape(repr(scene))}\n{html.escape(str(error))}</pre>"
        picture = base64.b64encode(encode_png(sheet)).decode()
        told = html.escape("\n".join(lines))
        image = f'<img src="data:image/png;base64,{picture}" alt="frames and disparity" style="max-width:100%">'
        return f"<div>{image}<pre>{told}</pre></div>"


def frame_colours(scene: Scene, t: int) -> np.ndarray:
    """Colours ``[H, W, 3]`` uint8 of a frame, one for each pixel of its depth, from the small copy of it."""
    from PIL import Image

    height, width = scene.depth.shape[1:]
    if scene.frames is None:
        return np.full((height, width, 3), GREY, np.uint8)
    small = np.asarray(scene.frames[t])
    if small.shape[:2] == (height, width):
        return small
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR))


def _check_frame(scene: Scene, t: int) -> None:
    count = len(scene)
    if not -count <= t < count:
        raise InputError(f"{scene.place}: there is no frame {t}; the scene has 0 to {count - 1}.")
