"""Shards of training clips, to look at: what they hold, a sheet of pictures, a histogram of depth, a point cloud."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from geometrycrafter.data.clip import Clip
from geometrycrafter.data.shards import Shards
from geometrycrafter.errors import InputError
from geometrycrafter.export.ply import write_points
from geometrycrafter.files import explained
from geometrycrafter.geometry import rigid
from geometrycrafter.geometry.cameras import rays_of_intrinsics, unproject
from geometrycrafter.geometry.reprojection import disagreement
from geometrycrafter.video.pictures import at_size, disparity_picture, sheet, write_png

COLUMNS, ROWS = 4, 6
TILE = 192
"""Width of a picture on the sheet, pixels."""


@dataclass
class ShardReport:
    """What a folder of shards holds."""

    folder: Path
    clips: int
    frames: int
    sizes: Counter[str]
    sources: Counter[str]
    nearest: float
    farthest: float
    known: float
    """Share of pixels with depth, in what was read."""
    disagreement: float | None = None
    """How far depth of neighbouring frames is apart after reprojection, relative, in the median; None: no poses."""
    improper: list[str] = field(default_factory=list)
    """Sources of clips, of those that were read, whose poses are no rigid motions."""
    files: list[Path] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """For printing."""
        sizes = ", ".join(f"{n} of {size}" for size, n in self.sizes.most_common(5))
        yield f"{self.folder}: {self.clips} clips, {self.frames} frames; clips: {sizes}"
        yield "sources: " + ", ".join(f"{name} ({n})" for name, n in self.sources.most_common(8))
        yield f"depth {self.nearest:.3g} to {self.farthest:.3g}, known at {self.known:.1%} of the pixels"
        if self.disagreement is not None:
            verdict = "fit it" if self.disagreement < 0.03 else "do NOT fit it"
            yield f"depth of neighbouring frames is {self.disagreement:.1%} apart after reprojection: poses {verdict}"
        if self.improper:
            more = f" and {len(self.improper) - 3} more" if len(self.improper) > 3 else ""
            yield f"poses are improper, they mirror or stretch the world: {', '.join(self.improper[:3])}{more}"
        for path in self.files:
            yield f"written: {path}"
        for reason in self.damaged:
            yield f"damaged: {reason}"


def describe(folder: Path, output: Path | None = None, every_frame: bool = False) -> ShardReport:
    """Count what shards hold, and draw some of it.

    Args:
        folder: of the shards.
        output: folder for ``sheet.png`` (frames beside inverse depth), ``depth.png`` and ``points.ply``; None: none.
        every_frame: read all frames of all clips, not the first of some, and list what is damaged.

    Raises:
        InputError: where the folder holds no shards.
    """
    shards = Shards(folder)
    count = len(shards) if every_frame else min(len(shards), COLUMNS * ROWS)
    picked = np.linspace(0, len(shards) - 1, count).round().astype(int)
    damaged: list[str] = []
    shown: list[Clip] = []
    improper: list[str] = []
    logs, known, apart = np.zeros(200, np.int64), list[float](), list[float]()
    edges = np.geomspace(1e-2, 1e3, len(logs) + 1)
    for index in picked:
        try:
            clip = shards.read(int(index), slice(None) if every_frame else slice(0, 2))
        except InputError as error:
            damaged.append(str(error))
            continue
        logs += np.histogram(clip.depth[clip.mask], edges)[0]
        known.append(float(clip.mask.mean()))
        if clip.poses is not None and len(clip) > 1:
            views = (x[i] for i in (0, 1) for x in (clip.depth, clip.intrinsics, clip.poses))
            apart.append(disagreement(*map(torch.tensor, views)))
        if clip.poses is not None and bool(rigid.improper(torch.from_numpy(clip.poses)).any()):
            improper.append(clip.source or shards.clips[int(index)].key)
        if len(shown) < COLUMNS * ROWS:
            shown.append(clip[:1])
    report = ShardReport(
        folder=folder,
        clips=len(shards),
        frames=sum(len(c) for c in shards.clips),
        sizes=Counter(f"{len(c)} frames {c.height}x{c.width}" for c in shards.clips),
        sources=Counter(str(c.meta.get("source", "")).split(" ")[0] for c in shards.clips),
        nearest=min(c.near for c in shards.clips),
        farthest=max(c.far for c in shards.clips),
        known=float(np.mean(known)) if known else 0.0,
        disagreement=float(np.nanmedian(apart)) if np.isfinite(apart).any() else None,
        improper=improper,
        damaged=damaged,
    )
    if output is not None and shown:
        with explained(output):
            output.mkdir(parents=True, exist_ok=True)
            report.files = [
                write_png(output / "sheet.png", _sheet(shown)),
                write_png(output / "depth.png", _histogram(logs)),
                _cloud(output / "points.ply", shown[0]),
            ]
    return report


def _sheet(clips: list[Clip]) -> np.ndarray:
    """Frames beside inverse depth, each clip's on its own scale; a dark frame keeps them apart."""
    height = max(8, round(TILE * clips[0].depth.shape[1] / clips[0].depth.shape[2]))
    tiles = []
    for clip in clips:
        pair = (clip.frames[0], disparity_picture(clip.depth[0], clip.mask[0]))
        tiles.append(np.concatenate([at_size(p, height, TILE) for p in pair], axis=1))
    across = min(COLUMNS, len(tiles))
    return np.pad(sheet([tiles[i : i + across] for i in range(0, len(tiles), across)], gap=4), ((2, 2), (2, 2), (0, 0)))


def _histogram(counts: np.ndarray) -> np.ndarray:
    """Bars over the logarithm of depth from a centimetre to a kilometre, a line at each power of ten, with names."""
    height, bar = 240, 4
    picture = np.full((height, bar * len(counts), 3), 255, np.uint8)
    for decade in range(6):
        picture[:, min(decade * len(counts) // 5 * bar, picture.shape[1] - 1)] = 200
    for i, count in enumerate(counts / max(counts.max(), 1)):
        top = height - round(count * (height - 8))
        picture[top:, i * bar : (i + 1) * bar - 1] = (61, 90, 160)
    named = Image.fromarray(np.pad(picture, ((22, 42), (16, 24), (0, 0)), constant_values=255))
    pen, font = ImageDraw.Draw(named), ImageFont.load_default(size=12)
    share = counts.max() / max(counts.sum(), 1)
    pen.text((8, 4), f"share of pixels; the highest bar is {100 * share:.1f} %", fill=(0, 0, 0), font=font)
    for decade in range(6):
        x = 16 + decade * len(counts) // 5 * bar
        pen.text((x, height + 25), f"{10.0 ** (decade - 2):g}", fill=(0, 0, 0), font=font, anchor="mt")
    pen.text((8, height + 44), "depth: metres, or the data set's own unit", fill=(0, 0, 0), font=font)
    return np.asarray(named)


def _cloud(path: Path, clip: Clip) -> Path:
    k = torch.from_numpy(clip.intrinsics[0])
    points = unproject(torch.from_numpy(clip.depth[0]), rays_of_intrinsics(k, *clip.depth.shape[1:])).numpy()
    return write_points(path, points[clip.mask[0]], clip.frames[0][clip.mask[0]], clip.source or "a clip")
