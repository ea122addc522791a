"""HTML: one page that holds a scene and the program that shows it, to be sent to anybody and opened without a server.

The page is ``page.html`` with a scene put in: for each frame its depth as :mod:`geometrycrafter.export.packed` has it
and a JPEG of its colours. How many pixels and how exact a depth it holds follows from how large it may be.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import numpy as np
import simplejpeg

from geometrycrafter.errors import InputError
from geometrycrafter.export.colours import Colours
from geometrycrafter.export.formats import HtmlOptions
from geometrycrafter.export.maps import known_pose, valid_depth, valid_points
from geometrycrafter.export.mp4 import disparity_ranges
from geometrycrafter.export.packed import PackedMap, pack, pack_cloud
from geometrycrafter.export.world import World
from geometrycrafter.scene import Scene
from geometrycrafter.scene.places import name_of
from geometrycrafter.version import program_version
from geometrycrafter.video.pictures import RAMP

DENSEST = 640 * 480
"""Points of a frame that a phone draws with ease."""
PRECISIONS = (0.0005, 0.001, 0.002, 0.004)
"""Relative errors of depth, the best first."""
USUAL, LARGEST = 20.0, 60.0
"""Megabytes of a page of up to 100 frames, and of one however long, where it isn't said."""
SAMPLED = 6
"""Frames that tell how large the page will be."""
ROOM = 0.93
"""Of the size allowed, that a guess may take."""
WORLD_POINTS = 240_000
"""Of the static world, at most."""
BINS = 4096


@dataclass
class Loss:
    """How far the page's points are off, as shares of their distances."""

    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))
    """Over equal steps of the logarithm."""
    largest: float = 0.0

    def add(self, errors: np.ndarray) -> None:
        """Put in a frame's ``[N]``."""
        if errors.size:
            self.largest = max(self.largest, float(errors.max()))
            at = (np.log10(np.maximum(errors, 1e-12)) + 12) / 12 * (BINS - 1)
            self.counts += np.bincount(at.round().clip(0, BINS - 1).astype(int), minlength=BINS)

    def told(self) -> dict[str, float]:
        """The largest, and the one that half of them are below."""
        middle = int(np.searchsorted(self.counts.cumsum(), self.counts.sum() / 2))
        return {"max": self.largest, "median": min(10 ** (middle / (BINS - 1) * 12 - 12), self.largest)}


class TooLargeError(Exception):
    """A page grows beyond what it may."""


@dataclass(frozen=True)
class Page:
    """A page of a scene, so dense and so exact."""

    scene: Scene
    options: HtmlOptions
    numbers: list[int]
    """Of the frames that it shows."""
    step: int
    precision: float

    def frame(self, t: int, picture: np.ndarray) -> tuple[PackedMap, bytes]:
        """A frame's map, and its colours ``[H, W, 3]`` uint8 as JPEG."""
        points, valid = (a[:: self.step, :: self.step] for a in valid_points(self.scene, t))
        depth = np.where(valid, points[..., 2], np.float32(1))
        moving = self.scene.array("moving")
        moves = None if moving is None else np.asarray(moving[t], bool)[:: self.step, :: self.step]
        rays = points[..., :2] / depth[..., None]
        packed = pack(depth, valid, rays, self.precision, moves, self.scene.rays is not None)
        small = np.ascontiguousarray(picture[:: self.step, :: self.step])
        return packed, simplejpeg.encode_jpeg(small, self.options.quality)

    def guess(self, pictures: dict[int, np.ndarray]) -> float:
        """About how many bytes the page will have, by some of its frames' pictures ``[H, W, 3]``."""
        sizes = [len(packed.data) + len(colours) for packed, colours in (self.frame(*p) for p in pictures.items())]
        return float(np.mean(sizes)) * len(self.numbers) * 4 / 3


def write_html(scene: Scene, path: Path, options: HtmlOptions | None = None) -> Path:
    """Write a page; memory holds some frames and the static world, where there is one.

    Args:
        scene: to write.
        path: of the file.
        options: how large, how dense, which frames, in which colours.

    Raises:
        InputError: where no frame has a valid pixel, or the page can't be as small as is asked.
    """
    options = options or HtmlOptions()
    posed = scene.poses is not None
    numbers = [t for t in range(0, len(scene), options.stride) if not posed or known_pose(scene, t) is not None]
    if not numbers:
        raise InputError(f"{scene.place}: no frame's pose is known; run 'geometrycrafter poses {scene.place}'.")
    colours = Colours(scene, options)
    megabytes = options.megabytes or min(max(USUAL, USUAL / 100 * len(numbers)), LARGEST)
    world, limit = _world(scene, colours, options), megabytes * 1e6
    for page in _pages(scene, colours, options, numbers, limit - len(world[1])):
        try:
            with open(path, "w", encoding="utf-8") as file:
                _write(file, page, colours, world, int(limit))
        except TooLargeError:
            continue
        return path
    raise InputError(
        f"{scene.place}: a page of {len(numbers)} frames is larger than {megabytes:g} MB; "
        "give more --megabytes, or a --stride."
    )


def _pages(scene: Scene, colours: Colours, options: HtmlOptions, numbers: list[int], limit: float) -> Iterator[Page]:
    """Pages that may be small enough, the best first."""
    height, width = scene.depth.shape[1:]
    chosen = sorted({numbers[int(i)] for i in np.linspace(0, len(numbers) - 1, SAMPLED)})
    pictures = {t: picture for t, picture in zip(range(chosen[-1] + 1), colours) if t in chosen}
    first = options.step or max(1, int(np.ceil((height * width / DENSEST) ** 0.5)))
    last = options.step or max(first, min(height, width) // 8)
    for step in range(first, last + 1):
        for precision in PRECISIONS:
            page = Page(scene, options, numbers, step, precision)
            if page.guess(pictures) <= ROOM * limit:
                yield page


def _write(file: IO[str], page: Page, colours: Colours, world: tuple[dict[str, Any], str], limit: int) -> None:
    """Write the page.

    Raises:
        TooLargeError: where it grows beyond so many bytes.
        InputError: where it shows nothing.
    """
    template = (files("geometrycrafter.export") / "page.html").read_text(encoding="utf-8")
    title = html.escape(name_of(page.scene.place) if page.scene.path else "Points of a video")
    before, after = template.replace("{{title}}", title).split("<!--frames-->")
    loss, wanted, maps = Loss(), set(page.numbers), list[PackedMap]()
    file.write(before)
    for t, picture in zip(range(page.numbers[-1] + 1), colours):
        if t in wanted:
            packed, jpeg = page.frame(t, picture)
            loss.add(packed.error)
            maps.append(PackedMap(b"", packed.near, packed.quantum, packed.rays, packed.error[:0]))
            for kind, data in (("depth", packed.data), ("picture", jpeg)):
                file.write(f'<script type="text/plain" class="{kind}">{base64.b64encode(data).decode()}</script>\n')
            if file.tell() > limit:
                raise TooLargeError
    if not loss.counts.any():
        raise InputError(f"{page.scene.place}: no pixel of these frames is valid; there is nothing to show.")
    about = {**_about(page, maps), **world[0]}
    for name, value in (("about", about), ("loss-told", loss.told())):
        file.write(f'<script type="application/json" id="{name}">{_json(value)}</script>\n')
    file.write(world[1] + after)
    if file.tell() > limit:
        raise TooLargeError


def _json(value: Any) -> str:
    """As it may stand in a page."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _about(page: Page, maps: list[PackedMap]) -> dict[str, Any]:
    """What the page says of the scene and of each frame."""
    scene, step = page.scene, page.step
    height, width = (-(-n // step) for n in scene.depth.shape[1:])
    bounds = disparity_ranges(scene)
    shots = {t: i for i, (first, end) in enumerate(scene.shots) for t in range(first, end)}
    times = _times(scene)[page.numbers]
    frames = []
    for t, time, packed in zip(page.numbers, times - times[0], maps, strict=True):
        (fx, _, cx), (_, fy, cy) = np.asarray(scene.intrinsics[t], np.float64)[:2]
        pose = known_pose(scene, t)
        frames.append(
            {
                "number": t,
                "time": float(time),
                "shot": shots[t],
                "k": [fx / step, fy / step, cx / step, cy / step],
                "near": packed.near,
                "quantum": packed.quantum,
                "rays": packed.rays,
                "bounds": bounds[t],
                "pose": None if pose is None else pose[:3].ravel().tolist(),
            }
        )
    near, middle, far = _depths(scene, page.numbers)
    return {
        "version": program_version(),
        "unit": scene.unit,
        "height": height,
        "width": width,
        "rays": scene.rays is not None,
        "posed": scene.poses is not None,
        "moving": scene.array("moving") is not None,
        "near": near,
        "middle": middle,
        "far": far,
        "usual": float(np.median(np.diff(times))) if len(times) > 1 else 1 / scene.fps,
        "ramp": (RAMP / 255).ravel().round(5).tolist(),
        "frames": frames,
    }


def _times(scene: Scene) -> np.ndarray:
    """Rising times of all frames, ``[T]`` seconds; evenly spaced where the scene's are none."""
    times = np.asarray(scene.times, np.float64)
    sound = np.isfinite(times).all() and (np.diff(times) > 0).all()
    return times if sound else np.arange(len(scene)) / scene.fps


def _depths(scene: Scene, numbers: list[int]) -> tuple[float, float, float]:
    """Depth that few pixels are below, that of the middle one, and that few are beyond, by some frames."""
    chosen = {numbers[int(i)] for i in np.linspace(0, len(numbers) - 1, SAMPLED)}
    kept = np.concatenate([depth[valid][::7] for depth, valid in (valid_depth(scene, t) for t in sorted(chosen))])
    if not kept.size:
        return 1.0, 1.0, 1.0
    near, middle, far = np.quantile(kept, [0.02, 0.5, 0.98])
    return float(near), float(middle), float(far)


def _world(scene: Scene, colours: Colours, options: HtmlOptions) -> tuple[dict[str, Any], str]:
    """What the page says of the static world, and its points as they stand there; none where there is no one world."""
    if scene.poses is None or len(scene.shots) > 1 or options.static == "off":
        return {"world": None}, ""
    cloud = World(scene).fuse_finely(colours, WORLD_POINTS)
    if not len(cloud):
        return {"world": None}, ""
    data, low, across = pack_cloud(cloud.points, cloud.rgb)
    about = {"points": len(cloud), "low": low, "across": across, "side": cloud.size}
    script = f'<script type="text/plain" id="world">{base64.b64encode(data).decode()}</script>\n'
    return {"world": about}, script
