"""A preview: the frames beside their disparity, one colour scale for the clip."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from geometrycrafter.errors import InputError, WriteError, reason
from geometrycrafter.export.colours import Colours
from geometrycrafter.export.formats import VideoOptions
from geometrycrafter.scene import Scene
from geometrycrafter.video.pictures import disparity_bounds, disparity_picture


def disparity_range(scene: Scene) -> tuple[float, float]:
    """2 % and 98 % quantiles of inverse depth over the clip, from a sample of its pixels."""
    step = max(1, int((len(scene) * scene.depth.shape[1] * scene.depth.shape[2] / 2e6) ** 0.5))
    times = range(0, len(scene), max(1, len(scene) // 64))
    samples = []
    for t in times:
        depth, mask = scene.depth[t][::step, ::step], scene.mask[t][::step, ::step]
        samples.append(depth[mask])
    return disparity_bounds(np.concatenate(samples))


def write_mp4(scene: Scene, path: Path, options: VideoOptions | None = None) -> Path:
    """Write frames and disparity side by side, h264.

    Args:
        scene: to write.
        path: of the file.
        options: how wide, in which colours.

    Raises:
        InputError: where the video of the colours is not there, or ends too soon.
        WriteError: where the file can't be written.
    """
    try:
        _encode(scene, path.absolute(), options or VideoOptions())  # "12:30.mp4" alone would name a protocol
    except av.FFmpegError as error:
        raise WriteError(f"{path.name}: the video can't be written ({reason(error)}); choose another place.") from error
    return path


def _encode(scene: Scene, path: Path, options: VideoOptions) -> None:
    low, high = disparity_range(scene)
    step = max(1, -(-2 * scene.depth.shape[2] // options.max_width))
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(scene.fps).limit_denominator(1001))
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "20"}
        pictures = iter(Colours(scene, options))
        for t in range(len(scene)):
            picture = next(pictures, None)
            if picture is None:
                raise InputError(f"the video of the colours has {t} frames and the scene {len(scene)}; --colour small.")
            disparity = disparity_picture(scene.depth[t], scene.mask[t], low, high)
            pair = np.concatenate([picture, disparity], axis=1)[::step, ::step]
            pair = np.pad(pair, ((0, pair.shape[0] % 2), (0, pair.shape[1] % 2), (0, 0)), mode="edge")
            if t == 0:
                stream.height, stream.width = pair.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pair), format="rgb24")))
        container.mux(stream.encode(None))
