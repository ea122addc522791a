"""What a scene is, in figures and in a few lines: what ``run`` ends with and ``info`` shows."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from typing import Any

import numpy as np

from geometrycrafter.scene.reader import Scene
from geometrycrafter.scene.shots import Span, told_shots

LOOKED_AT = 64
"""Frames that depth and mask are read of; of a longer scene so many, evenly spread."""
PIXELS = 20_000
"""Of a frame, that depth is taken from."""


@dataclass(frozen=True)
class Summary:
    """A scene in figures."""

    scene: str
    """Where it is."""
    frames: int
    height: int
    width: int
    fps: float
    seconds: float
    """From the first frame to the end of the last."""
    shots: list[Span]
    focal: tuple[float, float] | None
    """Horizontal focal length, pixels, the least and the greatest; None where rays are free."""
    field_of_view: tuple[float, float]
    """Horizontal and vertical, degrees, of the middle frame."""
    depth: tuple[float, float] | None
    """1 % and 99 % of valid depth, in :attr:`unit`; None where nothing is valid."""
    unit: str | None
    """``m``; None: the clip's own."""
    valid: float
    """Share of pixels."""
    looked_at: int
    """Frames that depth and valid share are of."""
    posed: int | None
    """Frames whose pose is sure; None: no poses are there."""
    refined: bool
    model: str | None
    """Its name and variant."""
    program: str | None
    """That made it, with its version."""
    source: str | None
    lens: str | None
    """Of the camera, where it was undone."""

    @classmethod
    def of(cls, scene: Scene) -> Summary:
        """Look at a scene: its cameras, and depth of at most 64 frames.

        Raises:
            InputError: where what it reads is damaged; names the array.
        """
        count, height, width = scene.depth.shape
        made = scene.attributes
        depth, valid, looked_at = _looked(scene)
        times = scene.times
        lens = scene.lens
        return cls(
            scene=scene.place,
            frames=count,
            height=height,
            width=width,
            fps=scene.fps,
            seconds=float(times[-1] - times[0]) + 1 / scene.fps,
            shots=scene.shots,
            focal=None if scene.rays is not None else _focal(scene),
            field_of_view=_field_of_view(scene),
            depth=depth,
            unit=scene.unit,
            valid=valid,
            looked_at=looked_at,
            posed=_posed(scene),
            refined=scene.refined,
            model=_text(made.get("model")),
            program=_text(made.get("program")),
            source=_text(made.get("source")),
            lens=None if lens is None else str(lens.model),
        )

    def lines(self) -> list[str]:
        """Three lines: frames, camera, depth."""
        return [self._of_frames(), self._of_camera(), self._of_depth()]

    def _of_frames(self) -> str:
        shots = "1 shot" if len(self.shots) == 1 else f"{len(self.shots)} shots"
        size = f"{self.frames} of {self.width}x{self.height}"
        return f"frames: {size}, {self.fps:.6g} frames/s, {self.seconds:.1f} s, {shots}"

    def _of_camera(self) -> str:
        across, down = (f"{angle:.1f}" for angle in self.field_of_view)
        if self.focal is None:
            focal = "rays of its own for each pixel"
        else:
            least, most = (f"{length:.1f}" for length in self.focal)
            focal = f"focal length {least if least == most else f'{least} to {most}'} px"
        undone = f", {self.lens} undone" if self.lens else ""
        return f"camera: {focal}, field of view {across} x {down} degrees{undone}"

    def _of_depth(self) -> str:
        sampled = f" ({self.looked_at} frames looked at)" if self.looked_at < self.frames else ""
        if self.depth is None:
            return f"depth: no pixel is valid{sampled}"
        near, far = (f"{value:.4g}" for value in self.depth)
        unit = "metres" if self.unit == "m" else "the clip's own scale, not metres"
        return f"depth: {near} to {far}, {unit}; {100 * self.valid:.1f} % of pixels valid{sampled}"

    def details(self) -> list[str]:
        """More lines: shots, poses, and how it was made."""
        if self.posed is None:
            poses = f"none; find them with: geometrycrafter poses {shlex.quote(self.scene)}"
        else:
            poses = f"{self.posed} of {self.frames} frames" + (", depth refined" if self.refined else "")
        made = f"made: by {self.model or 'an unnamed model'}" + (f", {self.program}" if self.program else "")
        source = [f"source: {self.source}"] if self.source else []
        lines = [f"shots: {told_shots(self.shots)}", f"poses: {poses}", made, *source]
        return [_printable(line) for line in lines]  # a scene of a stranger's gives no orders to a terminal

    def stored(self) -> dict[str, Any]:
        """As JSON."""
        plain = {**vars(self), "shots": [list(span) for span in self.shots]}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _looked(scene: Scene) -> tuple[tuple[float, float] | None, float, int]:
    """1 % and 99 % of valid depth, the valid share, and how many frames were looked at."""
    count = len(scene)
    chosen = sorted({round(t) for t in np.linspace(0, count - 1, min(count, LOOKED_AT))})
    step = max(1, math.isqrt(scene.depth.shape[1] * scene.depth.shape[2] // PIXELS))
    shares, values = [], []
    for t in chosen:
        mask = scene.mask[t]
        shares.append(float(mask.mean()))
        thin = scene.depth[t][::step, ::step][mask[::step, ::step]]
        values.append(thin[np.isfinite(thin)])
    depth = np.concatenate(values)
    near, far = (float(x) for x in np.quantile(depth, (0.01, 0.99))) if depth.size else (0.0, 0.0)
    return (near, far) if depth.size else None, float(np.mean(shares)), len(chosen)


def _focal(scene: Scene) -> tuple[float, float]:
    focal = np.asarray(scene.intrinsics)[:, 0, 0]
    return float(focal.min()), float(focal.max())


def _field_of_view(scene: Scene) -> tuple[float, float]:
    """Of the middle frame, from edge to edge, degrees."""
    _, height, width = scene.depth.shape
    t, angles = len(scene) // 2, []
    if scene.rays is not None:
        rays = np.asarray(scene.rays[t], np.float64)
        ends = (rays[height // 2, [0, -1], 0], rays[[0, -1], width // 2, 1])
        for (low, high), size in zip(ends, (width, height), strict=True):
            half = (high - low) / max(size - 1, 1) / 2  # of a pixel: rays go through centres
            angles.append(math.atan(high + half) - math.atan(low - half))
    else:
        k = np.asarray(scene.intrinsics[t], np.float64)
        for axis, size in ((0, width), (1, height)):
            low, high = (-0.5 - k[axis, 2]) / k[axis, axis], (size - 0.5 - k[axis, 2]) / k[axis, axis]
            angles.append(math.atan(high) - math.atan(low))
    return math.degrees(angles[0]), math.degrees(angles[1])


def _posed(scene: Scene) -> int | None:
    if scene.poses is None:
        return None
    quality = scene.array("pose_quality")
    if quality is not None:
        return int((np.asarray(quality) > 0).sum())
    return int(np.isfinite(np.asarray(scene.poses)).all(axis=(1, 2)).sum())
