"""Colours: range, matrix and transfer as tagged, and sane where they are not; the truth is closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np

from clips import truth
from clips.case import Case, Colour, Place
from clips.making import Absent, Coding, encode, plane_frame

SDR: tuple[Colour, ...] = (
    (0.95, 0.95, 0.95), (0.05, 0.05, 0.05), (0.5, 0.5, 0.5), (0.75, 0.2, 0.2),
    (0.2, 0.7, 0.25), (0.2, 0.25, 0.75), (0.8, 0.7, 0.2), (0.7, 0.3, 0.7),
)  # fmt: skip
"""Eight patches, inside every gamut and range."""
HDR: tuple[Colour, ...] = (
    (203, 203, 203), (1, 1, 1), (50, 50, 50), (100, 100, 100),
    (400, 400, 400), (900, 900, 900), (120, 80, 60), (60, 90, 120),
)  # fmt: skip
"""Light in nits, BT.2020."""
PLACES: tuple[Place, ...] = tuple(((row + 0.5) / 2, (column + 0.5) / 4) for row in range(2) for column in range(4))
ISO = {"601": 6, "709": 1, "2020": 9, "ycgco": 8}
"""Code points of the matrices (ITU-T H.273, table 4)."""
LOSSLESS = Coding(options={"qp": "0"})
FFV1 = Coding("ffv1")


def tiled(values: list[float], height: int, width: int, dtype: type = np.uint8) -> np.ndarray:
    """A plane ``[H, W]`` of two rows of four flat patches."""
    grid = np.array(values).reshape(2, 4).astype(dtype)
    return np.repeat(np.repeat(grid, height // 2, 0), width // 4, 1)


def charted(
    coding: Coding,
    matrix: str,
    name: str,
    *,
    full: bool = False,
    bits: int = 8,
    halves: tuple[int, int] = (2, 2),
    size: tuple[int, int] = (64, 96),
    alpha: int | None = None,
    colours: tuple[Colour, ...] = SDR,
) -> tuple[Callable[[Path], Any], tuple[tuple[Place, Colour], ...]]:
    """A maker of two frames of the patches as exact code values, and what they look like."""
    found = [truth.codes(c, matrix, full, bits) for c in colours]
    dtype = np.uint8 if bits == 8 else np.uint16
    height, width = size

    def make(folder: Path) -> Path:
        planes = [tiled([c[0] for c in found], height, width, dtype)]
        planes += [tiled([c[i] for c in found], height // halves[0], width // halves[1], dtype) for i in (1, 2)]
        if alpha is not None:
            planes.append(np.full((height, width), alpha, dtype))
        return encode(folder / name, [plane_frame(coding.pix_fmt, planes) for _ in range(2)], coding)

    seen = [255 * np.clip(truth.colour(code, matrix, full, bits), 0, 1) for code in found]
    return make, tuple(zip(PLACES, (tuple(c) for c in seen)))  # type: ignore[arg-type]


def video(title: str, coding: Coding, matrix: str, name: str, authority: bool = True, tolerance: float = 1.0,
          **chart: Any) -> Case:  # fmt: skip
    """A row about the patches."""
    make, patches = charted(coding, matrix, name, **chart)
    return Case(title, make, count=2, size=chart.get("size", (64, 96)), patches=patches, authority=authority,
                tolerance=tolerance)  # fmt: skip


def tagged(coding: Coding, matrix: str | None = None, full: bool | None = None) -> Coding:
    """The coding with its matrix and range said."""
    tags = {"colorspace": ISO[matrix]} if matrix else {}
    if full is not None:
        tags["color_range"] = 2 if full else 1
    return replace(coding, tags=tags)


def rgb(name: str, coding: Coding) -> tuple[Callable[[Path], Any], tuple[tuple[Place, Colour], ...]]:
    """A maker of the patches as R, G, B."""
    values = [tuple(round(255 * part) for part in colour) for colour in SDR]
    picture = np.stack([tiled([v[i] for v in values], 64, 96) for i in range(3)], -1)
    return lambda folder: encode(folder / name, [picture] * 2, coding), tuple(zip(PLACES, values))  # type: ignore[arg-type]


def rgb_case(title: str, name: str, coding: Coding, tolerance: float = 1.0) -> Case:
    """A row about the patches as R, G, B."""
    make, patches = rgb(name, coding)
    return Case(title, make, count=2, patches=patches, tolerance=tolerance)


def hdr(title: str, transfer: str, name: str, coding: Coding, count: int = 2) -> Case:
    """A row about light in nits, by :data:`clips.truth.CURVE`."""
    signals = [truth.pq(np.array(c)) if transfer == "pq" else hlg_signal(np.array(c)) for c in HDR]
    codes = [truth.codes(tuple(s), "2020", bits=10) for s in signals]  # type: ignore[arg-type]
    decoded = [np.clip(truth.colour(code, "2020", bits=10), 0, 1) for code in codes]
    lights = [truth.nits(d) if transfer == "pq" else truth.hlg_nits(d) for d in decoded]
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": 16 if transfer == "pq" else 18, "color_range": 1}

    def make(folder: Path) -> Path:
        planes = [tiled([c[0] for c in codes], 64, 96, np.uint16)]
        planes += [tiled([c[i] for c in codes], 32, 48, np.uint16) for i in (1, 2)]
        frames = [plane_frame("yuv420p10le", planes) for _ in range(count)]
        return encode(folder / name, frames, replace(coding, pix_fmt="yuv420p10le", tags=tags))

    patches = tuple(zip(PLACES, (tuple(255 * truth.tone_mapped(light)) for light in lights)))
    raw = coding.format is not None  # which has no times
    return Case(title, make, count=count, patches=patches, tolerance=3.0, authority=False, even=not raw)  # type: ignore[arg-type]


def heic(transfer: str) -> Case:
    """A row about light in nits in a HEIC of ten bits."""
    signals = [truth.pq(np.array(c)) if transfer == "pq" else hlg_signal(np.array(c)) for c in HDR]
    codes = [np.round(65535 * signal) for signal in signals]
    picture = np.stack([tiled([c[i] for c in codes], 64, 96, np.uint16) for i in range(3)], -1)

    def make(folder: Path) -> Path:
        try:
            import pillow_heif
        except ImportError as error:
            raise Absent("pillow-heif, which writes this picture, is not installed") from error
        tags = {"color_primaries": 9, "transfer_characteristics": 16 if transfer == "pq" else 18}
        with open(folder / "h.heic", "wb") as file:
            pillow_heif.encode(
                "RGB;16", (96, 64), picture.tobytes(), file, quality=100, chroma=444, matrix_coefficients=9,
                full_range_flag=1, **tags,
            )  # fmt: skip
        return folder / "h.heic"

    lights = [truth.nits(c / 65535) if transfer == "pq" else truth.hlg_nits(c / 65535) for c in codes]
    patches = tuple(zip(PLACES, (tuple(255 * truth.tone_mapped(light)) for light in lights)))
    return Case(f"{transfer.upper()}, HEIC", make, count=1, patches=patches, tolerance=3.0, authority=False)  # type: ignore[arg-type]


def hlg_signal(light: np.ndarray, peak: float = 1000.0) -> np.ndarray:
    """The HLG signal ``[3]`` of light in nits (the inverse of :func:`clips.truth.hlg_nits`)."""
    luminance = light @ np.array([0.2627, 0.6780, 0.0593])
    scene = light / peak * (luminance / peak) ** (1 / 1.2 - 1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


def over(background: int, alpha: float, patches: tuple[tuple[Place, Colour], ...]) -> tuple[tuple[Place, Colour], ...]:
    """The patches laid over a grey background."""
    return tuple((p, tuple(alpha * v + (1 - alpha) * background for v in c)) for p, c in patches)  # type: ignore[misc]


HD = {"size": (720, 1280)}
AVIF = Coding("libsvtav1", options={"crf": "1", "preset": "8"})
SUPER = replace(LOSSLESS, pix_fmt="yuv422p")
PRORES = Coding("prores_ks", "yuva444p10le", options={"profile": "4444", "alpha_bits": "16", "qscale": "2"})
SDR_CASES = (
    video("601 limited, tagged", tagged(LOSSLESS, "601", False), "601", "c.mp4"),
    video("709 limited, tagged, at SD size", tagged(LOSSLESS, "709", False), "709", "c.mp4"),
    video("601 full, tagged", tagged(LOSSLESS, "601", True), "601", "c.mp4", full=True),
    video("709 full, tagged", tagged(LOSSLESS, "709", True), "709", "c.mp4", full=True),
    video("709 full in MKV, 4:4:4", tagged(replace(FFV1, pix_fmt="yuv444p"), "709", True), "709", "c.mkv", full=True,
          halves=(1, 1)),
    video("2020 limited, 8 bit", tagged(LOSSLESS, "2020", False), "2020", "c.mp4"),
    video("2020 SDR, 10 bit H.264", tagged(replace(LOSSLESS, pix_fmt="yuv420p10le"), "2020", False), "2020",
          "c.mp4", bits=10),
    video("untagged at SD size is 601", LOSSLESS, "601", "c.mp4"),
    video("untagged at HD size is 709", LOSSLESS, "709", "c.mp4", authority=False, **HD),
    video("601 tagged at HD size", tagged(LOSSLESS, "601", False), "601", "c.mp4", **HD),
    video("range tagged, matrix not, at HD size", tagged(LOSSLESS, None, True), "709", "c.mp4", full=True,
          authority=False, **HD),
    video("4:2:2", tagged(replace(LOSSLESS, pix_fmt="yuv422p"), "709", False), "709", "c.mp4", halves=(1, 2)),
    video("4:4:4", tagged(replace(LOSSLESS, pix_fmt="yuv444p"), "709", False), "709", "c.mp4", halves=(1, 1)),
    video("4:1:1 as DV has it", replace(FFV1, pix_fmt="yuv411p"), "601", "c.mkv", halves=(1, 4)),
    video("4:1:0", replace(FFV1, pix_fmt="yuv410p"), "601", "c.avi", halves=(4, 4)),
    video("10 bit 4:2:2 FFV1", tagged(replace(FFV1, pix_fmt="yuv422p10le"), "709", False), "709", "c.mkv", bits=10,
          halves=(1, 2)),
    video("12 bit 4:4:4", tagged(replace(FFV1, pix_fmt="yuv444p12le"), "709", False), "709", "c.mkv", bits=12,
          halves=(1, 1)),
    video("v210 in MOV", tagged(Coding("v210", "yuv422p10le"), "601", False), "601", "c.mov", bits=10, halves=(1, 2)),
    video("log footage, untagged, is left as it is", Coding("v210", "yuv422p10le"), "601", "c.mov", bits=10,
          halves=(1, 2), colours=tuple((0.3 + 0.3 * r, 0.3 + 0.3 * g, 0.3 + 0.3 * b) for r, g, b in SDR)),
    video("ProRes 422", tagged(Coding("prores_ks", "yuv422p10le", options={"qscale": "2"}), "709", False), "709",
          "c.mov", bits=10, halves=(1, 2)),
    video("Motion JPEG, full range 601", Coding("mjpeg", "yuvj420p", options={"qmin": "1", "qmax": "1"}), "601",
          "c.avi", full=True),
    video("HuffYUV in AVI, untagged", Coding("huffyuv", "yuv422p"), "601", "c.avi", halves=(1, 2)),
    video("uncompressed 4:2:2 in AVI", Coding("rawvideo", "yuv422p"), "601", "c.avi", halves=(1, 2)),
    video("YUV4MPEG, untagged", Coding("wrapped_avframe", format="yuv4mpegpipe"), "601", "c.y4m"),
    video("VP9 lossless", tagged(Coding("libvpx-vp9", options={"lossless": "1"}), "709", False), "709", "c.webm"),
    video("YCgCo", tagged(replace(LOSSLESS, pix_fmt="yuv444p"), "ycgco", False), "ycgco", "c.mp4", halves=(1, 1),
          authority=False),
    video("YCgCo, full range, 4:2:0", tagged(LOSSLESS, "ycgco", True), "ycgco", "c.mp4", full=True,
          authority=False),
    video("YCgCo of 10 bits", tagged(replace(FFV1, pix_fmt="yuv444p10le"), "ycgco", False), "ycgco", "c.mkv", bits=10,
          halves=(1, 1), authority=False),
    video("YCgCo of 10 bits, full range", tagged(replace(FFV1, pix_fmt="yuv444p10le"), "ycgco", True), "ycgco",
          "c.mkv", bits=10, full=True, halves=(1, 1), authority=False),
    video("matrix by primaries", replace(LOSSLESS, tags={"colorspace": 12, "color_primaries": 1, "color_range": 1}),
          "709", "c.mp4", authority=False),
    replace(video("ICtCp, for which there is no conversion", replace(LOSSLESS, tags={"colorspace": 14}), "601", "c.mp4",
                  authority=False), warns=("ICtCp",)),
    rgb_case("H.264 as RGB", "c.mp4", Coding("libx264rgb", "rgb24", options={"qp": "0"})),
    rgb_case("FFV1 as RGB", "c.mkv", Coding("ffv1", "bgr0")),
    rgb_case("QuickTime Animation", "c.mov", Coding("qtrle", "rgb24")),
    rgb_case("PNG in MOV", "c.mov", Coding("png", "rgb24")),
    rgb_case("planar RGB of 10 bits", "c.mkv", Coding("ffv1", "gbrp10le")),
    rgb_case("UT Video as RGB", "c.avi", Coding("utvideo", "gbrp")),
)  # fmt: skip


def grey_video(title: str, coding: Coding, name: str, full: bool) -> Case:
    """A row about luma alone."""
    levels = [truth.codes((c[0],) * 3, "601", full)[0] for c in SDR]
    seen = [255 * truth.colour((level, 128, 128), "601", full).clip(0, 1) for level in levels]

    def make(folder: Path) -> Path:
        frame = [av.VideoFrame.from_ndarray(tiled(levels, 64, 96), format="gray") for _ in range(2)]
        return encode(folder / name, frame, coding)

    return Case(title, make, count=2, patches=tuple(zip(PLACES, (tuple(s) for s in seen))))  # type: ignore[arg-type]


def alpha_case(title: str, coding: Coding, name: str, alpha: int, top: int, background: int | None = None,
               **chart: Any) -> Case:  # fmt: skip
    """A row about patches of one transparency."""
    make, patches = charted(coding, "601", name, alpha=alpha, **chart)
    reading = {} if background is None else {"background": (background,) * 3}
    return Case(title, make, count=2, patches=over(background or 0, alpha / top, patches), reading=reading,
                authority=False, tolerance=1.5)  # fmt: skip


SPECIAL = (
    grey_video("grey, full", Coding("ffv1", "gray"), "c.mkv", full=True),
    alpha_case("FFV1 with alpha over black", replace(FFV1, pix_fmt="yuva444p"), "c.mkv", 128, 255, halves=(1, 1)),
    alpha_case("FFV1 with alpha over white", replace(FFV1, pix_fmt="yuva444p"), "c.mkv", 128, 255, 255, halves=(1, 1)),
    alpha_case("VP9 with alpha", Coding("libvpx-vp9", "yuva420p", options={"lossless": "1", "auto-alt-ref": "0"}),
               "c.webm", 128, 255),
    alpha_case("ProRes 4444 with alpha over grey", PRORES, "c.mov", 512, 1023, 128, bits=10, halves=(1, 1)),
    alpha_case("ProRes 4444, opaque", PRORES, "c.mov", 1023, 1023, bits=10, halves=(1, 1)),
    # Muxing x265's 10 bit streams into MP4 fails now and then in the libraries, so HEVC stays raw here.
    hdr("PQ, HEVC 10 bit", "pq", "h.hevc", Coding("libx265", format="hevc")),
    hdr("HLG, HEVC 10 bit", "hlg", "h.hevc", Coding("libx265", format="hevc")),
    hdr("PQ, H.264 10 bit in MP4", "pq", "h.mp4", LOSSLESS),
    hdr("PQ in MKV", "pq", "h.mkv", Coding("ffv1")),
    hdr("HLG, H.264 10 bit in MOV", "hlg", "h.mov", LOSSLESS),
    hdr("PQ, AVIF", "pq", "h.avif", replace(AVIF, format="avif"), count=1),
    hdr("HLG, AVIF", "hlg", "h.avif", replace(AVIF, format="avif"), count=1),
    hdr("PQ, animated AVIF", "pq", "h.avif", replace(AVIF, format="avif")),
    heic("pq"),
    heic("hlg"),
)  # fmt: skip
CASES: tuple[Case, ...] = (*SDR_CASES, *SPECIAL)
