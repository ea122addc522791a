"""Upright, with square pixels, without bars; every size from one pixel up."""

from __future__ import annotations

import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from clips.case import Case
from clips.making import Absent, Coding, encode
from clips.marks import picture, pictures, stored

ALL = tuple(range(6))
LOSSLESS = Coding("ffv1", "bgr0")
TURNS = {
    1: "as it is", 2: "mirrored", 3: "half a turn", 4: "upside down and mirrored", 5: "transposed",
    6: "a quarter to the right", 7: "transversed", 8: "a quarter to the left",
}  # fmt: skip


def turned_video(orientation: int):
    """A maker of an MP4 whose display matrix turns what is stored upright."""
    return lambda folder: encode(
        folder / "turned.mp4", [stored(p, orientation) for p in pictures(6)], Coding(display=orientation)
    )


def exif(orientation: int, order: str = "<") -> bytes:
    """EXIF of one tag: a TIFF header and a directory with Orientation (EXIF 2.32, 4.6.4 A)."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + struct.pack(order + "HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)


def still(name: str, orientation: int, order: str = "<"):
    """A maker of a picture file with an EXIF orientation, by Pillow."""

    def make(folder: Path) -> Path:
        try:
            from PIL import Image
        except ImportError as error:
            raise Absent("Pillow, which writes this picture, is not installed") from error
        shown = Image.fromarray(stored(picture(7), orientation))
        options = {"jpg": {"quality": 98}, "webp": {"lossless": True}}.get(name.split(".")[-1], {})
        if name.endswith(".tif"):
            shown.save(folder / name, tiffinfo={274: orientation})
        else:
            shown.save(folder / name, exif=b"Exif\0\0" + exif(orientation, order), **options)
        return folder / name

    return make


def anamorphic(aspect: Fraction, height: int, width: int, name: str = "a.mp4", coding: Coding = Coding()):  # noqa: B008
    """A maker of a clip whose pixels are ``aspect`` times as wide as high."""
    return lambda folder: encode(
        folder / name, [picture(n, height, width) for n in range(6)], replace(coding, aspect=aspect)
    )


def barred(*boxes: tuple[int, int, int, int], height: int = 96, width: int = 128, black: int = 0, name: str = "b.mkv"):
    """A maker of a clip whose pictures stand in black, the boxes (top, left, bottom, right) by turns of four frames."""

    def make(folder: Path) -> Path:
        frames = []
        for index in range(4 * len(boxes)):
            top, left, bottom, right = boxes[index // 4]
            frame = np.full((height, width, 3), black, np.uint8)
            frame[top:bottom, left:right] = picture(index, bottom - top, right - left)
            frames.append(frame)
        return encode(folder / name, frames, LOSSLESS if name.endswith("mkv") else Coding())

    return make


def dark_between(folder: Path) -> Path:
    """A clip that fades to black and back; nothing of it is bars."""
    frames = pictures(12, 96, 128)
    for index in (4, 5, 6, 7):
        frames[index] = np.zeros_like(frames[index])
    return encode(folder / "dark.mkv", frames, LOSSLESS)


def dark_edge(folder: Path) -> Path:
    """A night scene: the lower third is black most of the time, and lit in one frame."""
    frames = pictures(8, 96, 128)
    for index in range(8):
        if index != 5:
            frames[index][72:] = 0
    return encode(folder / "night.mkv", frames, LOSSLESS)


def sized(height: int, width: int, name: str = "s.mkv", coding: Coding = LOSSLESS, count: int = 3):
    """A maker of a clip of this size."""
    return lambda folder: encode(folder / name, pictures(count, height, width), coding)


def framed(number: int) -> np.ndarray:
    """A picture within an edge of noise: 8 lines at the top, 4 below, 16 columns at the left, 12 at the right."""
    whole = np.random.default_rng(number).integers(0, 256, (64 + 12, 96 + 28, 3), np.uint8)
    whole[8 : 8 + 64, 16 : 16 + 96] = picture(number)
    return whole


def cropped_mkv(folder: Path) -> Path:
    """A Matroska file that says to crop: PixelCrop (RFC 9559, 5.1.4.1.28.14) stands where its colours did."""
    tags = {"colorspace": 6, "color_range": 1, "color_primaries": 6, "color_trc": 6}
    path = encode(folder / "crop.mkv", [framed(n) for n in range(3)], replace(LOSSLESS, tags=tags))
    data = bytearray(path.read_bytes())
    at = data.index(b"\x55\xb0")
    length = 3 + (data[at + 2] & 0x7F)
    said = b"".join(bytes((0x54, kind, 0x81, n)) for kind, n in ((0xBB, 8), (0xCC, 16), (0xAA, 4), (0xDD, 12)))
    rest = length - len(said)
    data[at : at + length] = said + (b"" if not rest else bytes((0xEC, 0x80 + rest - 2)) + bytes(rest - 2))
    path.write_bytes(data)
    return path


def cropped_mov(folder: Path) -> Path:
    """A QuickTime file with a clean aperture (ISO/IEC 14496-12, 12.1.4), written into its tables."""
    path = encode(folder / "crop.mov", [framed(n) for n in range(3)], Coding("png", "rgb24"))
    data = path.read_bytes()
    aperture = struct.pack(">IIIIiIiI", 96, 1, 64, 1, 4, 2, 4, 2)  # its middle is right of the whole's, and lower
    box = struct.pack(">I4s", 40, b"clap") + aperture
    entry = data.index(b"png ") - 4
    end = entry + int.from_bytes(data[entry : entry + 4], "big")
    data = data[:end] + box + data[end:]
    changed = bytearray(data)
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"png "):
        at = data.rindex(kind, 0, end) - 4
        changed[at : at + 4] = struct.pack(">I", int.from_bytes(data[at : at + 4], "big") + len(box))
    path.write_bytes(changed)
    return path


def flat(value: int, height: int = 32, width: int = 48):
    """A maker of a clip of one grey level."""
    return lambda folder: encode(folder / "flat.mkv", [np.full((height, width, 3), value, np.uint8)] * 3, LOSSLESS)


def noise(folder: Path) -> Path:
    """A clip of noise."""
    generator = np.random.default_rng(0)
    return encode(folder / "noise.mkv", list(generator.integers(0, 256, (3, 32, 48, 3), np.uint8)), LOSSLESS)


def grey(value: int) -> tuple[tuple[tuple[float, float], tuple[float, float, float]], ...]:
    """The middle of the picture is this grey level."""
    return (((0.5, 0.5), (value, value, value)),)


WHOLE = (0, 0, 96, 128)
LETTER, PILLAR, WINDOW = (12, 0, 84, 128), (0, 16, 96, 112), (12, 16, 84, 112)
VIDEOS = tuple(Case(f"display matrix: {TURNS[turn]}", turned_video(turn), ALL) for turn in TURNS)
PHOTOS = tuple(
    Case(f"EXIF in JPEG: {TURNS[turn]}", still("p.jpg", turn), (7,)) for turn in TURNS
) + tuple(
    Case(f"EXIF in {kind}: {TURNS[turn]}", still(f"p.{suffix}", turn), (7,), authority=False)
    for kind, suffix in (("PNG", "png"), ("WebP", "webp"), ("TIFF", "tif"))
    for turn in (3, 5, 6, 8)
) + (
    Case("EXIF in AVIF: a quarter to the right", still("p.avif", 6), (7,), authority=False),
    Case("big-endian EXIF in JPEG", still("p.jpg", 8, ">"), (7,)),
    Case("EXIF orientation 9, which means nothing", still("p.jpg", 9), (7,), authority=False),
)  # fmt: skip
SHAPES = (
    Case("Matroska that is to be cropped", cropped_mkv, (0, 1, 2), authority=False),
    Case("clean aperture of QuickTime", cropped_mov, (0, 1, 2), authority=False),
    Case("DV of PAL, 16:15", anamorphic(Fraction(16, 15), 64, 90), ALL, size=(64, 96)),
    Case("wide DV of PAL, 64:45", anamorphic(Fraction(64, 45), 64, 90), ALL, size=(64, 128)),
    Case("DV of NTSC, 10:11", anamorphic(Fraction(10, 11), 80, 110), ALL, size=(80, 100)),
    Case("HDV, 4:3", anamorphic(Fraction(4, 3), 72, 96), ALL, size=(72, 128)),
    Case("phone adapter, 4:3 in MKV", anamorphic(Fraction(4, 3), 72, 96, "a.mkv"), ALL, size=(72, 128)),
    Case("DVD's MPEG-2, 16:9",
         anamorphic(Fraction(4, 3), 72, 96, "a.ts", Coding("mpeg2video", rate=25)), ALL, size=(72, 128),
         times=tuple(n / 25 for n in range(6))),
    Case("pixels higher than wide, 1:2", anamorphic(Fraction(1, 2), 64, 128), ALL, size=(64, 64)),
    Case("anamorphic and turned", lambda f: encode(
        f / "both.mp4", [stored(picture(n, 96, 72), 6) for n in range(6)],
        Coding(aspect=Fraction(4, 3), display=6)), ALL, size=(128, 72), authority=False),
    Case("aspect 0:1, which says nothing", anamorphic(Fraction(0), 64, 96), ALL, size=(64, 96), authority=False),
)  # fmt: skip
BARS = (
    Case("letterbox", barred(LETTER), tuple(range(4)), size=(96, 128), shown=(LETTER,) * 4),
    Case("pillarbox", barred(PILLAR), tuple(range(4)), size=(96, 128), shown=(PILLAR,) * 4),
    Case("windowbox", barred(WINDOW), tuple(range(4)), size=(96, 128), shown=(WINDOW,) * 4),
    Case("letterbox, lossy", barred(LETTER, name="b.mp4"), tuple(range(4)), size=(96, 128), shown=(LETTER,) * 4),
    Case("bars of a dark grey", barred(LETTER, black=10), tuple(range(4)), size=(96, 128), shown=(LETTER,) * 4),
    Case("bars that come", barred(WHOLE, LETTER), tuple(range(8)), size=(96, 128),
         shown=(WHOLE,) * 4 + (LETTER,) * 4),
    Case("letterbox, then pillarbox", barred(LETTER, PILLAR), tuple(range(8)), size=(96, 128),
         shown=(LETTER,) * 4 + (PILLAR,) * 4),
    Case("one bar at the bottom", barred((0, 0, 72, 128)), tuple(range(4)), size=(96, 128),
         shown=((0, 0, 72, 128),) * 4),
    Case("bars that are kept", barred(LETTER), size=(96, 128), count=4, reading={"bars": "keep"},
         shown=(WHOLE,) * 4),
    Case("no bars", barred(WHOLE), tuple(range(4)), size=(96, 128), shown=(WHOLE,) * 4),
    Case("fades to black, no bars", dark_between, count=12, size=(96, 128), shown=(WHOLE,) * 12),
    Case("a night scene, no bars", dark_edge, count=8, size=(96, 128), shown=(WHOLE,) * 8),
)  # fmt: skip
SIZES = (
    Case("one pixel", sized(1, 1), count=3, size=(1, 1)),
    Case("one pixel, deinterlaced", sized(1, 1), count=3, size=(1, 1), reading={"deinterlace": "on"}),
    Case(
        "six by six of 4:2:0, deinterlaced",
        sized(6, 6, coding=Coding("ffv1", "yuv420p")),
        count=3,
        size=(6, 6),
        reading={"deinterlace": "on"},
    ),
    Case("two by two", sized(2, 2, "s.mp4", Coding()), count=3, size=(2, 2)),
    Case("one row", sized(1, 64), count=3, size=(1, 64)),
    Case("4:1", sized(32, 128), (0, 1, 2), size=(32, 128)),
    Case("1:4", sized(128, 32), (0, 1, 2), size=(128, 32)),
    Case("odd size, 4:4:4", sized(65, 97, "s.mp4", Coding(pix_fmt="yuv444p")), (0, 1, 2), size=(65, 97)),
    Case("odd size, 4:2:0", sized(65, 97, "o.mkv", Coding("ffv1", "yuv420p")), (0, 1, 2), size=(65, 97)),
    Case("cropped by its header", sized(1080 // 16, 96, "c.mp4", Coding(pix_fmt="yuv444p")), (0, 1, 2), size=(67, 96)),
    Case("4K", sized(2160, 3840, "k.mp4", Coding(options={"preset": "ultrafast"}), count=2), (0, 1), size=(2160, 3840)),
    Case("all black", flat(0), count=3, size=(32, 48), patches=grey(0)),
    Case("all white", flat(255), count=3, size=(32, 48), patches=grey(255)),
    Case("static", flat(90), count=3, size=(32, 48), patches=grey(90)),
    Case("noise", noise, count=3, size=(32, 48)),
)
CASES: tuple[Case, ...] = (*VIDEOS, *PHOTOS, *SHAPES, *BARS, *SIZES)
