"""Pictures of points without a screen, and flights through scenes as videos."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

from geometrycrafter.errors import reason
from geometrycrafter.export.mp4 import CONTAINERS, DEPTHS, TICKS, encode_video
from geometrycrafter.export.views import splat
from geometrycrafter.geometry import rigid
from geometrycrafter.viewer.clouds import Clouds, Points
from geometrycrafter.viewer.look import Flight, Look
from geometrycrafter.viewer.paths import Eye, Way, between, orbit, own_way, read_keys

GROUND = (20, 23, 29)
NEAREST = 1e-6
WIDEST = 12
"""Pixels of a point."""
COVER = 1.4
"""How much wider than its spacing a point is, so that slanted surfaces close."""
SHORTEST = 6.0
"""Seconds of a flight, where the clip is shorter."""
DENSE = 600_000
"""Points of a frame, where it isn't said."""
GAP = 4
"""Pixels between two scenes."""


def picture(points: Points, eye: Eye, height: int, width: int, size: float = 1.0) -> np.ndarray:
    """Points as a camera sees them, ``[height, width, 3]`` uint8.

    Args:
        points: in the world.
        eye: that looks; its middle is the picture's.
        height: of the picture.
        width: of the picture.
        size: of points, relative to what they cover.
    """
    back = rigid.inverse(torch.from_numpy(eye.pose)).float()
    own = rigid.apply(back, torch.from_numpy(points.places)).numpy()
    front = own[:, 2] > NEAREST
    own, rgb, spacing = own[front], points.rgb[front], points.spacing[front]
    focal = height / 2 / eye.height
    u, v = own[:, 0] / own[:, 2] * focal + (width - 1) / 2, own[:, 1] / own[:, 2] * focal + (height - 1) / 2
    side = np.ceil(size * COVER * spacing * focal / own[:, 2]).clip(1, WIDEST).astype(np.int64)
    return splat(u, v, own[:, 2], rgb, height, width, side, GROUND)


def way_of(flight: Flight, clouds: Clouds) -> Way:
    """The way that a flight asks for.

    Raises:
        InputError: where its keys can't be read.
    """
    if flight.path == "orbit":
        return orbit(clouds, flight.degrees)
    if flight.path == "clip":
        return own_way(clouds)
    return between(read_keys(Path(flight.path)))


def pictures(scenes: Sequence[Clouds], flight: Flight, way: Way, look: Look) -> Iterator[np.ndarray]:
    """The pictures of a flight, ``[H, W, 3]`` uint8 each; two scenes are side by side.

    Args:
        scenes: of one video.
        flight: how large, how long.
        way: of the camera.
        look: how scenes are shown.
    """
    height, width = (n + n % 2 for n in flight.size)
    each = (width - GAP * (len(scenes) - 1)) // len(scenes)
    for i, t in enumerate(frames := shown_frames(scenes[0], flight)):
        eye = way(i / max(len(frames) - 1, 1), t)
        whole = np.full((height, width, 3), GROUND, np.uint8)
        for j, clouds in enumerate(scenes):
            drawn = clouds.drawn(min(t, len(clouds.scene) - 1), look)
            whole[:, j * (each + GAP) : j * (each + GAP) + each] = picture(drawn, eye, height, each, flight.point_size)
        yield whole


def shown_frames(clouds: Clouds, flight: Flight) -> list[int]:
    """Which frame of the clip each picture of the flight shows."""
    count, fps = len(clouds.scene), clouds.scene.fps
    seconds = flight.seconds or max(SHORTEST, count / fps)
    return [i % count for i in range(max(1, round(seconds * fps)))]


def render(
    scenes: Sequence[Clouds],
    path: Path,
    flight: Flight,
    look: Look,
    suffix: str = ".mp4",
    way: Way | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Render a flight through a scene, or through two side by side, as a video; memory holds one picture.

    Args:
        scenes: one or two, of one video.
        path: of the file.
        flight: which way, how large, how long.
        look: how scenes are shown.
        suffix: which of :data:`geometrycrafter.export.mp4.CONTAINERS` it is.
        way: None: the one that the flight asks for.
        progress: called with how many pictures are done, and of how many.

    Raises:
        InputError: where the flight's keys can't be read.
        OSError: where the file can't be written.
    """
    way = way or way_of(flight, scenes[0])
    look = look if look.points is not None else replace(look, points=DENSE)
    count, fps = len(shown_frames(scenes[0], flight)), scenes[0].scene.fps
    edges = np.rint(np.arange(count + 1) * TICKS / fps).astype(int)

    def told() -> Iterator[np.ndarray]:
        for i, shown in enumerate(pictures(scenes, flight, way, look)):
            yield shown
            if progress is not None:
                progress(i + 1, count)

    try:
        rate = Fraction(fps).limit_denominator(1001)
        encode_video(path.absolute(), told(), np.diff(edges).tolist(), rate, CONTAINERS[suffix], DEPTHS["8"])
    except av.FFmpegError as error:
        raise OSError(reason(error)) from error
    return path
