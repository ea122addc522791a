"""Decoded frames to display-referred RGB: the conversion is ffmpeg's own, high dynamic range is brought into display
range by a named curve.

Matrix and range are taken as tagged; untagged YUV is BT.601 up to 576 lines and BT.709 above, of limited range.
PQ and HLG (BT.2100) are made linear with 203 nits, the white of BT.2408, at 1; go through the *mobius* curve (knee at
0.5), applied to the largest component so that hues stay; from BT.2020's to BT.709's primaries; and through the curve
of sRGB. Footage in a camera's logarithm has no tag, and stays as it is.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import av
import av.filter
import numpy as np

from geometrycrafter.video.cropping import Cropping
from geometrycrafter.video.frames import over

PQ, HLG, LINEAR = 16, 18, 8
"""Transfer characteristics of H.273."""
MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 8: "ycgco", 9: "bt2020"}
"""By the code of H.273."""
BY_PRIMARIES = {1: "bt709", 6: "smpte240m", 7: "smpte240m", 9: "bt2020"}
"""The matrix that follows from primaries, for the code :data:`DERIVED`."""
DERIVED = 12
STRANGE = {
    10: "BT.2020 of constant luminance",
    11: "SMPTE ST 2085",
    13: "constant luminance",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
"""Matrices of H.273 without a conversion here."""
LARGE = 577
"""Lines from which on untagged video is taken for BT.709."""
WHITE = 203.0
"""Nits of diffuse white (BT.2408)."""
PEAK = 1000.0
"""Nits of the brightest that is told apart, where nothing is tagged."""
KNEE = 0.5
FAST = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "nv12")
"""Formats that ffmpeg's scaler has a fast and fair conversion of, which is its default; others want to be told."""
# BT.2020 to BT.709 primaries, linear light (BT.2087, table 4).
TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)


class Converter:
    """Frames of one stream to pictures.

    Args:
        deinterlace: ``auto`` mends frames that say that they are interlaced, ``on`` all, ``off`` none.
        background: what is seen through transparent pixels, 0 to 255 each.
        size: height and width to resize to, with square pixels; None: as stored.
        cropping: edges that are left out.
    """

    def __init__(
        self,
        deinterlace: str = "auto",
        background: tuple[int, int, int] = (0, 0, 0),
        size: tuple[int, int] | None = None,
        cropping: Cropping = Cropping(),  # noqa: B008 (it never changes)
    ):
        self.deinterlace, self.background, self.size, self.cropping = deinterlace, background, size, cropping
        self._graph: Any = None
        self._key: tuple[Any, ...] = ()
        self._weaves = deinterlace == "on"

    def pictures(self, frames: Any) -> Any:
        """Frames, one after another, to ``(frame, [H, W, 3])``: uint8, or float32 in [0, 1] of deeper sources."""
        waiting: list[Any] = []
        for frame in frames:
            key = _key(frame)
            weaves = self._weaves or (self.deinterlace == "auto" and frame.interlaced_frame)
            if self._graph is None or key != self._key or weaves != self._weaves:
                yield from self._drained(waiting)
                self._key, self._weaves = key, weaves
                self._graph = self._made(frame)
            waiting.append(frame)
            self._graph.push(frame)
            yield from self._pulled(waiting)
        yield from self._drained(waiting)

    def _made(self, frame: Any) -> Any:
        graph = av.filter.Graph()
        nodes = [
            graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=frame.time_base or Fraction(1, 24),
            )
        ]
        smallest = min(p.height for p in frame.planes), min(p.width for p in frame.planes)
        if self._weaves and smallest[0] >= 4 and smallest[1] >= 3:  # the filter's own bound
            which = "all" if self.deinterlace == "on" else "interlaced"
            nodes.append(graph.add("bwdif", f"mode=send_frame:deint={which}"))
        if any(self.cropping):
            height, width = self.cropping.size(frame.height, frame.width)
            place = f"x={self.cropping.left}:y={self.cropping.top}"
            nodes.append(graph.add("crop", f"w={width}:h={height}:{place}:exact=1"))
        to = f":w={self.size[1]}:h={self.size[0]}" if self.size else ""
        flags = "bicubic" if frame.format.name in FAST else "bicubic+accurate_rnd+full_chroma_int"
        nodes.append(graph.add("scale", f"{_tags(frame)}:flags={flags}{to}"))
        nodes.append(graph.add("format", _target(frame)))
        nodes.append(graph.add("buffersink"))
        graph.link_nodes(*nodes).configure()
        return graph

    def _pulled(self, waiting: list[Any]) -> Any:
        while waiting:
            try:
                made = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            frame = waiting.pop(0)
            yield frame, self._finished(made, frame)

    def _drained(self, waiting: list[Any]) -> Any:
        if self._graph is not None and waiting:
            self._graph.push(None)
            yield from self._pulled(waiting)
        self._graph = None

    def _finished(self, made: Any, frame: Any) -> np.ndarray:
        colour = colour_of(frame)
        if colour.matrix == "ycgco":
            pixels = from_ycgco(made.to_ndarray(), colour.full, frame.format.components[0].bits)
        else:
            pixels = made.to_ndarray()
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        if pixels.dtype == np.uint16:
            pixels = pixels.astype(np.float32) * np.float32(1 / 65535)
        if pixels.shape[-1] in (2, 4):
            premultiplied = _is_float(frame)
            pixels = over(pixels, np.asarray(self.background, np.uint8), premultiplied)
        if pixels.shape[-1] == 1:
            pixels = np.repeat(pixels, 3, axis=-1)
        if frame.color_trc in (PQ, HLG):
            if pixels.dtype == np.uint8:
                pixels = pixels.astype(np.float32) * np.float32(1 / 255)
            return to_display(pixels, int(frame.color_trc))
        if _is_float(frame) or (pixels.dtype == np.float32 and frame.color_trc == LINEAR):
            return srgb(np.nan_to_num(pixels, nan=0.0, posinf=1.0, neginf=0.0))
        return pixels


def luma(frame: Any) -> np.ndarray | None:
    """The upper eight bits of a decoded frame's luma, ``[H, W]`` uint8; None where none is stored by itself."""
    form = frame.format
    part = form.components[0]
    planar = len(form.components) < 2 or form.components[1].plane > 0
    if form.is_rgb or form.has_palette or not planar or not 8 <= part.bits <= 16 or _is_float(frame):
        return None
    if (part.bits > 8 and form.is_big_endian) or any(c.is_alpha for c in form.components):
        return None
    plane = frame.planes[0]
    if part.bits == 8:
        return np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[: frame.height, : frame.width]
    shown = np.frombuffer(plane, "<u2").astype(np.uint16).reshape(plane.height, -1)[: frame.height, : frame.width]
    shift = 8 if form.name.startswith(("p0", "p2", "p4")) else part.bits - 8  # P010 and its like fill the upper bits
    return (shown >> shift).astype(np.uint8)


def from_ycgco(codes: np.ndarray, full: bool, bits: int) -> np.ndarray:
    """Red, green and blue of luma and the differences from green and orange (H.273, matrix 8).

    Args:
        codes: ``[H, W, 3]`` uint16, of 16 bits.
        full: the range.
        bits: of a component as it was stored: those of chroma are the upper bits, luma of full range fills all.

    Returns:
        ``[H, W, 3]`` float32 in [0, 1].
    """
    top = np.float32((2**bits - 1) * 2 ** (16 - bits)) if full else np.float32(0)
    y, green, orange = np.moveaxis(codes.astype(np.float32), -1, 0)
    y = y / np.float32(65535) if full else (y - 4096) / np.float32(219 * 256)
    green, orange = ((c - 32768) / (top if full else np.float32(224 * 256)) for c in (green, orange))
    rest = y - green
    return np.stack([rest + orange, y + green, rest - orange], -1).clip(0, 1)


def srgb(linear: np.ndarray) -> np.ndarray:
    """Linear light, 1 being white, ``[...]``, to the sRGB curve, clipped to [0, 1] (IEC 61966-2-1)."""
    x = linear.clip(0, 1).astype(np.float32, copy=False)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** np.float32(1 / 2.4) - 0.055).astype(np.float32)


def mobius(x: np.ndarray, peak: float, knee: float = KNEE) -> np.ndarray:
    """The mobius tone curve: straight up to the knee, then bent so that ``peak`` comes to 1; any shape, ``[...]``."""
    a = -knee * knee * (peak - 1) / (knee * knee - 2 * knee + peak)
    b = (knee * knee - 2 * knee * peak + peak) / max(peak - 1, 1e-6)
    bent = (b * b + 2 * b * knee + knee * knee) / (b - a) * (x + a) / (x + b)
    return np.where(x <= knee, x, bent)


def to_display(code: np.ndarray, transfer: int, peak: float = PEAK) -> np.ndarray:
    """High dynamic range to display range.

    Args:
        code: ``[H, W, 3]`` float32 in [0, 1], BT.2020 primaries, PQ or HLG.
        transfer: of H.273, :data:`PQ` or :data:`HLG`.
        peak: nits of the brightest that is told apart.

    Returns:
        ``[H, W, 3]`` float32 in [0, 1], BT.709 primaries, the curve of sRGB.
    """
    codes = (code * 65535).round().astype(np.uint16)
    light = _linear(transfer).take(codes)
    brightest = np.maximum(light.max(axis=-1, keepdims=True), 1e-6)
    light = light * (mobius(brightest, peak / WHITE) / brightest)
    return srgb(light.astype(np.float32) @ TO_709.T)


@lru_cache(maxsize=2)
def _linear(transfer: int) -> np.ndarray:
    """Light of each code of 16 bits, in units of diffuse white."""
    e = np.arange(65536) / 65535
    if transfer == PQ:  # SMPTE ST 2084
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        p = e ** (1 / m2)
        return (1e4 / WHITE * (np.maximum(p - c1, 0) / (c2 - c3 * p)) ** (1 / m1)).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(e <= 0.5, e * e / 3, (np.exp((e - c) / a) + b) / 12)
    # The display's own curve for a peak of 1,000 nits (BT.2100, table 5), a component at a time as zscale has it.
    return (1000 / WHITE * scene**1.2).astype(np.float32)


def _is_float(frame: Any) -> bool:
    return frame.format.name.startswith(("gbrpf", "gbrapf", "grayf", "rgbf", "rgbaf", "yaf"))


def _key(frame: Any) -> tuple[Any, ...]:
    tags = frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries
    return frame.width, frame.height, frame.format.name, *tags


class Colour(NamedTuple):
    """How a frame's numbers are colours."""

    matrix: str | None
    """From luma and chroma; None where there are none."""
    full: bool
    """The range: 0 to 255, not 16 to 235."""
    matrix_tagged: bool
    """Whether the matrix is said, and not assumed."""
    range_tagged: bool
    """Whether the range is."""


def colour_of(frame: Any) -> Colour:
    """Matrix and range of a decoded frame, as they are taken to be."""
    name, tagged = frame.format.name, int(frame.color_range) in (1, 2)
    if frame.format.is_rgb or name.startswith(("gray", "pal", "mono", "ya")):
        return Colour(None, not name.startswith("gray") or frame.color_range != 1, True, tagged)
    code = int(frame.colorspace)
    said = BY_PRIMARIES.get(int(frame.color_primaries)) if code == DERIVED else MATRICES.get(code)
    full = frame.color_range == 2 or name.startswith("yuvj")
    wide = code in STRANGE and frame.color_primaries == 9
    assumed = "bt2020" if wide else "bt709" if frame.height >= LARGE else "bt601"
    return Colour(said or assumed, full, said is not None, tagged)


def without_conversion(frame: Any) -> str | None:
    """The name of a decoded frame's matrix where there is no conversion of it, so that another is taken."""
    code = int(frame.colorspace)
    missing = colour_of(frame).matrix is not None and not colour_of(frame).matrix_tagged
    return STRANGE.get(code, "derived from rare primaries" if code == DERIVED else None) if missing else None


def _tags(frame: Any) -> str:
    """How the scale filter is told of matrix and range."""
    colour = colour_of(frame)
    if colour.matrix == "ycgco":  # all codes stay as they are
        kind = "pc" if colour.full else "tv"
        return f"in_color_matrix=bt709:out_color_matrix=bt709:in_range={kind}:out_range={kind}"
    matrix = "" if colour.matrix is None else f"in_color_matrix={colour.matrix}:"
    return f"{matrix}in_range={'pc' if colour.full else 'tv'}:out_range=pc"


def _target(frame: Any) -> str:
    """The pixel format to convert to: as deep as the source, with alpha where it has some."""
    if colour_of(frame).matrix == "ycgco":
        return "yuv444p16le"
    components = frame.format.components
    alpha = any(c.is_alpha for c in components) or frame.format.name == "pal8"
    if _is_float(frame):
        return "grayf32le" if frame.format.name.startswith("gray") else "gbrapf32le" if alpha else "gbrpf32le"
    deep = max(c.bits for c in components) > 8 and frame.format.name != "pal8"
    if deep:
        return "rgba64le" if alpha else "rgb48le"
    return "rgba" if alpha else "rgb24"
