"""Stills, sequences, animations, arrays, and the names and places that they have."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np

from clips.case import Case, Colour, Place
from clips.colours import PLACES, SDR, tiled
from clips.making import Absent, Coding, encode
from clips.marks import picture, pictures, stored
from clips.streams import clip

RATE = 24
"""Stills know no rate; the reader's default."""
VALUES = tuple(tuple(round(255 * part) for part in colour) for colour in SDR)
CHART = np.stack([tiled([v[i] for v in VALUES], 64, 96) for i in range(3)], -1)
PATCHES: tuple[tuple[Place, Colour], ...] = tuple(zip(PLACES, VALUES))  # type: ignore[arg-type]


def at(*indices: int) -> tuple[float, ...]:
    """Seconds of these places in a sequence, after the first of them."""
    return tuple((index - indices[0]) / RATE for index in indices)


def png(path: Path, rgb: np.ndarray) -> Path:
    """One picture as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return packed_png(path, rgb.tobytes(), rgb.shape[1], rgb.shape[0], 8, 2)


def packed_png(path: Path, rows: bytes, width: int, height: int, bits: int, kind: int, *chunks: tuple[bytes, bytes]):
    """PNG by its specification: packed rows without filters, colour type ``kind``, chunks before the data."""
    line = len(rows) // height
    data = b"".join(b"\0" + rows[line * row : line * (row + 1)] for row in range(height))
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", zlib.compress(data, 1)), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in parts)
    with open(os.fsencode(path), "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + body)
    return path


def pillow() -> Any:
    """Pillow's Image module, or the reason to skip."""
    try:
        from PIL import Image
    except ImportError as error:
        raise Absent("Pillow, which writes this picture, is not installed") from error
    return Image


def saved(name: str, mode: str = "RGB", pixels: np.ndarray = CHART, **options: Any) -> Callable[[Path], Path]:
    """A maker of a picture by Pillow."""

    def make(folder: Path) -> Path:
        pillow().fromarray(pixels).convert(mode).save(folder / name, **options)
        return folder / name

    return make


def chart(title: str, make: Callable[[Path], Any], patches: Any = PATCHES, tolerance: float = 1.0, **more: Any) -> Case:
    """A row about one picture of the eight patches."""
    return Case(title, make, count=1, patches=patches, tolerance=tolerance, **more)


def mixed(alpha: float, background: float = 0) -> tuple[tuple[Place, Colour], ...]:
    """The patches at one transparency over a grey background."""
    return tuple((p, tuple(alpha * v + (1 - alpha) * background for v in c)) for p, c in PATCHES)  # type: ignore[misc]


def indexed(name: str, transparent: bool, bits: int = 8) -> Callable[[Path], Path]:
    """A maker of a palette PNG; the first colour is see-through where asked."""
    palette = (b"PLTE", bytes(v for colour in VALUES for v in colour))
    chunks = (palette, (b"tRNS", b"\0")) if transparent else (palette,)

    def make(folder: Path) -> Path:
        index = tiled(list(range(8)), 64, 96)
        rows = index if bits == 8 else (index[:, ::2] << 4) | index[:, 1::2]
        return packed_png(folder / name, rows.tobytes(), 96, 64, bits, 3, *chunks)

    return make


def seen_through(background: int) -> tuple[tuple[Place, Colour], ...]:
    """The patches where the first is the background."""
    return ((PLACES[0], (background,) * 3), *PATCHES[1:])  # type: ignore[return-value]


BITS = tiled([1, 0, 1, 0, 0, 1, 0, 1], 64, 96)
TWO_TONE = tuple(zip(PLACES, ((255.0 * v,) * 3 for v in (1, 0, 1, 0, 0, 1, 0, 1))))
DEEP = np.round(np.stack([tiled([c[i] * 65535 for c in SDR], 64, 96, np.uint16) for i in range(3)], -1)).astype(">u2")
DEEP_PATCHES = tuple(zip(PLACES, (tuple(255 * v for v in c) for c in SDR)))
GREY = CHART[..., 1]
GREY_PATCHES = tuple((p, (c[1],) * 3) for p, c in PATCHES)
RGBA = np.concatenate([CHART, np.full((64, 96, 1), 128, np.uint8)], -1)


def one_bit(folder: Path) -> Path:
    """A PNG of one bit a pixel."""
    return packed_png(folder / "p.png", np.packbits(BITS, axis=1).tobytes(), 96, 64, 1, 0)


def one_bit_tiff(folder: Path) -> Path:
    """A TIFF of one bit a pixel."""
    pillow().fromarray(BITS * 255).convert("1").save(folder / "p.tif")
    return folder / "p.tif"


def sixteen_bit(folder: Path) -> Path:
    """A PNG of 16 bits a channel."""
    return packed_png(folder / "p.png", DEEP.tobytes(), 96, 64, 16, 2)


def sixteen_bit_grey(folder: Path) -> Path:
    """A grey PNG of 16 bits."""
    return packed_png(folder / "p.png", DEEP[..., 1].tobytes(), 96, 64, 16, 0)


def by_av(name: str, codec: str, pix_fmt: str, array: np.ndarray, like: str) -> Callable[[Path], Path]:
    """A maker of one picture in an image codec of the libraries."""

    def make(folder: Path) -> Path:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format=like)
        frame = frame.reformat(format=pix_fmt) if pix_fmt != like else frame
        return encode(folder / name, [frame], Coding(codec, pix_fmt, format="image2"))

    return make


def cmyk(folder: Path) -> Path:
    """A JPEG as print shops write it: four inks, kept inverted, with Adobe's mark."""
    black = (255 - CHART.max(-1, keepdims=True)) // 2
    others = 255 - np.round(CHART / np.maximum(1 - black / 255, 1e-3)).clip(0, 255)
    stack = np.concatenate([others, black], -1).astype(np.uint8)
    pillow().fromarray(stack, "CMYK").save(folder / "p.jpg", quality=100, subsampling=0)
    return folder / "p.jpg"


def portable(folder: Path) -> Path:
    """A PPM, by its specification."""
    (folder / "p.ppm").write_bytes(b"P6\n# made by hand\n96 64\n255\n" + CHART.tobytes())
    return folder / "p.ppm"


def exr(name: str, kind: Any = np.float32, layers: str = "", channels: str = "RGB", window: bool = False):
    """A maker of a linear EXR by the OpenEXR package."""

    def make(folder: Path) -> Path:
        try:
            import OpenEXR
        except ImportError as error:
            raise Absent("the OpenEXR package, which writes this picture, is not installed") from error
        linear = np.where(CHART <= 10, CHART / 255 / 12.92, ((CHART / 255 + 0.055) / 1.055) ** 2.4).astype(kind)
        planes = {channel: np.ascontiguousarray(linear[..., i]) for i, channel in enumerate("RGB")}
        stored = {"Y": planes["G"]} if channels == "Y" else planes
        if layers:
            stored = {**stored, **{f"{layers}.{c}": np.zeros_like(p) for c, p in planes.items()}}
        header: dict[str, Any] = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
        if window:  # the data fill the right half of the picture, the rest is empty
            header["displayWindow"] = (np.array([0, 0], np.int32), np.array([95, 63], np.int32))
            header["dataWindow"] = (np.array([48, 0], np.int32), np.array([95, 63], np.int32))
            stored = {c: np.ascontiguousarray(p[:, 48:]) for c, p in stored.items()}
        OpenEXR.File(header, stored).write(str(folder / name))
        return folder / name

    return make


def heic(folder: Path) -> Path:
    """A HEIC whose picture is made of tiles, as phones write it."""
    try:
        import pillow_heif
    except ImportError as error:
        raise Absent("pillow-heif, which writes this picture, is not installed") from error
    large = pillow().fromarray(picture(7, 600, 900))
    pillow_heif.from_pillow(large).save(folder / "p.heic", quality=95, tile_size=256)
    return folder / "p.heic"


def see_through(folder: Path) -> Path:
    """A GIF whose first half is see-through in every frame."""
    frames = []
    for index in range(3):
        rgba = np.dstack([picture(index), np.full((64, 96), 255, np.uint8)])
        rgba[:, :12] = 0
        frames.append(pillow().fromarray(rgba, "RGBA"))
    frames[0].save(folder / "t.gif", save_all=True, append_images=frames[1:], duration=100, disposal=2)
    return folder / "t.gif"


def animated(name: str, count: int = 4, **options: Any):
    """A maker of an animation by Pillow."""

    def make(folder: Path) -> Path:
        frames = [pillow().fromarray(picture(n)) for n in range(count)]
        try:
            frames[0].save(folder / name, save_all=True, append_images=frames[1:], **options)
        except (KeyError, OSError, ValueError) as error:
            raise Absent(f"this Pillow can't write {name} ({error})") from error
        return folder / name

    return make


def turned(folder: Path) -> Path:
    """An APNG that lies on its side: what says so comes once, with its first picture."""
    from PIL.Image import Exif

    exif = Exif()
    exif[0x0112] = 6
    frames = [pillow().fromarray(stored(picture(n), 6)) for n in range(4)]
    frames[0].save(folder / "t.png", save_all=True, append_images=frames[1:], duration=100, exif=exif)
    return folder / "t.png"


def oblong(folder: Path) -> Path:
    """Pictures whose pixels are twice as high as wide, by the density that ffmpeg writes for it."""
    place = folder / "takes"
    place.mkdir()
    for n in range(3):
        pillow().fromarray(picture(n)).save(place / f"a{n}.jpg", quality=95, dpi=(72, 144))
    return place


def float_tiff(folder: Path) -> Path:
    """One grey picture of floats from 0 to 1."""
    pillow().fromarray((picture(5).mean(-1) / 255).astype(np.float32)).save(folder / "f.tif")
    return folder / "f.tif"


def patch_gif(disposal: int):
    """A maker of a GIF whose later frames hold only what changes."""

    def make(folder: Path) -> Path:
        frames = [pillow().fromarray(picture(n)) for n in range(4)]
        frames[0].save(
            folder / "d.gif", save_all=True, append_images=frames[1:], duration=100, disposal=disposal, optimize=True
        )
        return folder / "d.gif"

    return make


def folder_of(*names: str, extra: Callable[[Path], None] | None = None, hold: bool = False):
    """A maker of a folder of numbered PNGs, numbered in the order of the names given."""

    def make(folder: Path) -> Path:
        place = folder / "takes"
        place.mkdir()
        for index, name in enumerate(names):
            png(place / name, picture(index))
        if extra:
            extra(place)
        return place

    return make


def companions(place: Path) -> None:
    """What systems and people leave beside pictures."""
    (place / "._a1.png").write_bytes(b"\0\5\x16\7" + bytes(60))
    png(place / ".hidden.png", picture(31))
    (place / "more.png").mkdir()
    png(place / "sub" / "a9.png", picture(30))
    (place / "Thumbs.db").write_bytes(b"x")
    (place / "notes.txt").write_text("a2 is the best\n")
    (place / ".DS_Store").write_bytes(b"x")


def pattern(text: str, *numbers: int, name: str = "shot.{:04d}.png"):
    """A maker of a sequence that a pattern names."""

    def make(folder: Path) -> str:
        for number in numbers:
            png(folder / name.format(number), picture(number % 32))
        return str(folder / text)

    return make


def odd_one(name: str, size: tuple[int, int]):
    """A maker of a folder one of whose pictures is of another size."""

    def make(folder: Path) -> Path:
        place = folder_of("a1.png", "a2.png", "a3.png", "a4.png")(folder)
        png(place / name, picture(0, *size))
        return place

    return make


def one_damaged(folder: Path) -> Path:
    """A folder one of whose pictures is cut short."""
    place = folder_of("a1.png", "a2.png", "a3.png", "a4.png")(folder)
    (place / "a3.png").write_bytes((place / "a3.png").read_bytes()[:40])
    return place


def listed(encoding: str = "utf-8", end: str = "\n"):
    """A maker of a text file that names pictures, relative to itself, in another order than theirs."""

    def make(folder: Path) -> Path:
        place = folder_of("c.png", "a.png", "b.png")(folder)
        text = end.join(("c.png", "", "# the best takes", "a.png", "b.png", ""))
        (place / "list.txt").write_bytes(text.encode(encoding))
        return place / "list.txt"

    return make


def named(name: str | bytes):
    """A maker of a clip of an odd name."""

    def make(folder: Path) -> Any:
        source = clip("plain.mp4")(folder)
        target = folder / os.fsdecode(name)
        try:
            source.rename(target)
        except OSError as error:
            raise Absent(f"this file system takes no such name ({error.strerror})") from error
        return os.fsencode(target) if isinstance(name, bytes) else target

    return make


def linked(folder: Path) -> Path:
    """A link to a clip."""
    clip("real.mp4")(folder)
    (folder / "link.mp4").symlink_to("real.mp4")
    return folder / "link.mp4"


def array(kind: Any, grey: bool = False) -> Callable[[Path], np.ndarray]:
    """A maker of an array of numbered pictures."""

    def make(folder: Path) -> np.ndarray:
        frames = np.stack(pictures(3))
        frames = frames[..., 0] if grey else frames
        if kind is np.uint16:
            return frames.astype(kind) * 257
        return frames if kind is np.uint8 else frames / kind(255)

    return make


def guarded(folder: Path) -> Iterator[np.ndarray]:
    """An iterator that must not be drawn beyond its fourth frame."""
    yield from pictures(4)
    raise AssertionError("the iterator was drawn beyond the end that was asked for")


STILLS = (
    chart("PNG", lambda f: png(f / "p.png", CHART)),
    chart("PNG with a palette", indexed("p.png", transparent=False)),
    chart("PNG with a palette of 4 bits", indexed("p.png", transparent=False, bits=4)),
    chart("PNG with a see-through palette over black", indexed("p.png", transparent=True), seen_through(0),
          authority=False),
    chart("PNG with a see-through palette over white", indexed("p.png", transparent=True), seen_through(255),
          reading={"background": (255, 255, 255)}),
    chart("PNG of one bit", one_bit, TWO_TONE),
    chart("TIFF of one bit", one_bit_tiff, TWO_TONE),
    chart("PNG of 16 bits", sixteen_bit, DEEP_PATCHES),
    chart("grey PNG of 16 bits", sixteen_bit_grey, tuple((p, (c[1],) * 3) for p, c in DEEP_PATCHES)),
    chart("TIFF of 16 bits", by_av("p.tif", "tiff", "rgb48le", DEEP.astype("<u2"), "rgb48le"), DEEP_PATCHES),
    chart("PNG with alpha over black", saved("p.png", "RGBA", RGBA), mixed(128 / 255), authority=False),
    chart("PNG with alpha over a colour", saved("p.png", "RGBA", RGBA), mixed(128 / 255, 90),
          reading={"background": (90, 90, 90)}),
    chart("WebP with alpha over black", saved("p.webp", "RGBA", RGBA, lossless=True, exact=True), mixed(128 / 255),
          authority=False, tolerance=2.0),
    chart("WebP, lossless", saved("p.webp", lossless=True)),
    chart("JPEG, 4:4:4", saved("p.jpg", quality=100, subsampling=0)),
    chart("JPEG, 4:2:0, progressive", saved("p.jpg", quality=100, subsampling=2, progressive=True)),
    chart("grey JPEG", saved("p.jpg", "L", GREY, quality=100), GREY_PATCHES),
    chart("JPEG of four inks", cmyk, tolerance=2.0, authority=False),
    chart("PPM", portable),
    chart("PGM", saved("p.pgm", "L", GREY), GREY_PATCHES),
    chart("TGA", saved("p.tga")),
    chart("BMP", saved("p.bmp")),
    chart("AVIF", saved("p.avif", quality=100, subsampling="4:4:4"), tolerance=1.5, authority=False),
    Case("HEIC of tiles", heic, (7,), size=(600, 900), authority=False),
    chart("JPEG 2000", saved("p.jp2")),
    chart("TIFF, LZW", saved("p.tif", compression="tiff_lzw")),
    Case("TIFF of floats", float_tiff, (5,), even=False, authority=False),
    chart("DPX of 8 bits", by_av("p.dpx", "dpx", "rgb24", CHART, "rgb24")),
    chart("DPX of 10 bits", by_av("p.dpx", "dpx", "gbrp10le", CHART, "rgb24")),
    chart("EXR, float", exr("p.exr"), authority=False),
    chart("EXR, half", exr("p.exr", np.float16), authority=False),
    chart("EXR with a layer beside", exr("p.exr", layers="mask"), authority=False),
    chart("EXR of one channel", exr("p.exr", channels="Y"), GREY_PATCHES, authority=False),
    chart("EXR with a data window", exr("p.exr", window=True), tuple(
        (p, c if p[1] > 0.5 else (0, 0, 0)) for p, c in PATCHES), authority=False),
)  # fmt: skip
ANIMATIONS = (
    Case("GIF", animated("a.gif", duration=100), (0, 1, 2, 3)),
    Case(
        "GIF of odd delays", animated("a.gif", duration=[50, 200, 100, 80]), (0, 1, 2, 3), times=(0, 0.05, 0.25, 0.35)
    ),
    Case(
        "GIF with see-through parts over black",
        see_through,
        count=3,
        patches=(((0.5, 0.04), (0, 0, 0)),),
        authority=False,
    ),
    Case(
        "GIF with see-through parts over a colour",
        see_through,
        count=3,
        patches=(((0.5, 0.04), (90, 120, 150)),),
        reading={"background": (90, 120, 150)},
    ),
    Case("GIF that keeps what was", patch_gif(1), (0, 1, 2, 3)),
    Case("GIF that clears what was", patch_gif(2), (0, 1, 2, 3)),
    Case("APNG", animated("a.png", duration=100), (0, 1, 2, 3), authority=False),
    Case("APNG that lies on its side", turned, (0, 1, 2, 3), authority=False),
    Case("animated WebP", animated("a.webp", duration=100, lossless=True), (0, 1, 2, 3), authority=False),
    Case("animated AVIF", animated("a.avif", duration=100, quality=95), (0, 1, 2, 3), authority=False),
    Case("TIFF of several pages", animated("a.tif"), (0, 1, 2, 3), times=at(0, 1, 2, 3), authority=False),
)
SEQUENCES = (
    Case("frame2 before frame10", folder_of("frame1.png", "frame2.png", "frame10.png", "frame11.png"), (0, 1, 2, 3),
         times=at(0, 1, 2, 3), reading={"gaps": "close"}),
    Case("names with superscripts", folder_of("a1m².png", "a2m².png", "a10m².png"), (0, 1, 2), times=at(0, 1, 2),
         reading={"gaps": "close"}),
    Case("a name that starts with a digit and one that doesn't", folder_of("1.png", "a.png"), (0, 1), times=at(0, 1)),
    Case("names that are dates", folder_of("2024-01-31 235959.png", "2024-02-01 000000.png", "2024-12-01 000000.png"),
         (0, 1, 2), times=at(0, 1, 2)),
    Case("names without numbers", folder_of("alpha.png", "beta.png", "gamma.png"), (0, 1, 2), times=at(0, 1, 2)),
    Case("names in capitals", folder_of("A1.PNG", "A2.Png", "A3.png"), (0, 1, 2), times=at(0, 1, 2)),
    Case("what others leave in folders", folder_of("a1.png", "a2.png", "a3.png", extra=companions), (0, 1, 2),
         times=at(0, 1, 2)),
    Case("printf's pattern", pattern("shot.%04d.png", 1, 2, 3), (1, 2, 3), times=at(1, 2, 3)),
    Case("a pattern of hashes", pattern("shot.####.png", 8, 9, 10, 11), (8, 9, 10, 11), times=at(8, 9, 10, 11)),
    Case("a pattern that starts at 998", pattern("shot.%d.png", 998, 999, 1000, name="shot.{}.png"),
         (998 % 32, 999 % 32, 1000 % 32), times=at(0, 1, 2)),
    Case("a pattern of stars", pattern("shot.*.png", 1, 2, 10, name="shot.{}.png"), (1, 2, 10), times=at(0, 1, 2),
         reading={"gaps": "close"}),
    Case("a range with a gap", pattern("shot.%04d.png", 1, 2, 5, 6), (1, 2, 5, 6), times=at(1, 2, 5, 6),
         warns=("missing", "gap")),
    Case("a range with a gap, at a constant rate", pattern("shot.%04d.png", 1, 2, 5), (1, 2, 2, 2, 5),
         times=at(1, 2, 3, 4, 5), reading={"fps": 24}, warns=("missing", "gap")),
    Case("a pattern that nothing fits", pattern("none.%04d.png", 1), refuses=("none.%04d.png",)),
    Case("a list in a text file", listed(), (0, 1, 2), times=at(0, 1, 2)),
    Case("a list with a mark of byte order", listed("utf-8-sig", "\r\n"), (0, 1, 2), times=at(0, 1, 2)),
    Case("a list in UTF-16", listed("utf-16", "\r\n"), (0, 1, 2), times=at(0, 1, 2)),
    Case("a list of paths", lambda f: [png(f / n, picture(i)) for i, n in enumerate(("z.png", "a.png", "k.png"))],
         (0, 1, 2), times=at(0, 1, 2)),
    Case("a list of texts", lambda f: [str(png(f / n, picture(i))) for i, n in enumerate(("z.png", "a.png"))],
         (0, 1), times=at(0, 1)),
    Case("an empty folder", lambda f: (f / "none").mkdir() or f / "none", refuses=("none",)),
    Case("pixels twice as high as wide", oblong, (0, 1, 2), size=(64, 48), times=at(0, 1, 2)),
    Case("an odd size, last", odd_one("a4.png", (48, 96)), refuses=("a4.png", "96x48")),
    Case("an odd size, first", odd_one("a1.png", (48, 96)), refuses=("a1.png", "96x48")),
    Case("one damaged picture", one_damaged, refuses=("a3.png",)),
    Case("one damaged picture, passed over", one_damaged, (0, 1, 3), times=at(0, 1, 3), warns=("a3.png",),
         reading={"damaged": "skip"}),
)  # fmt: skip
NAMES = (
    Case("a colon in the name", named("12:30:05.mp4"), tuple(range(12))),
    Case("a name like an address", named("file:x.mp4"), tuple(range(12))),
    Case("a leading dash", named("-ss.mp4"), tuple(range(12))),
    Case("spaces and quotes", named(' it\'s  "one" .mp4'), tuple(range(12))),
    Case("percent, hash and brackets", named("50%d [a] #1.mp4"), tuple(range(12))),
    Case("Chinese, Japanese and Korean", named("映像 ビデオ 비디오.mp4"), tuple(range(12))),
    Case("a name of 250 bytes", named("n" * 246 + ".mp4"), tuple(range(12))),
    Case("no suffix", named("clip"), tuple(range(12))),
    Case("a wrong suffix", named("clip.png.mkv"), tuple(range(12))),
    Case("a newline in the name", named("one\ntwo.mp4"), tuple(range(12))),
    Case("a path of bytes", named(b"bytes.mp4"), tuple(range(12)), authority=False),
    Case("bytes that are no UTF-8", named(b"\xff\xe9.mp4"), tuple(range(12)), authority=False),
    Case("a link", linked, tuple(range(12))),
)
ARRAYS = (
    Case("array of bytes", array(np.uint8), (0, 1, 2), times=at(0, 1, 2), authority=False),
    Case("array of 16 bits", array(np.uint16), (0, 1, 2), times=at(0, 1, 2), authority=False),
    Case("array of floats", array(np.float32), (0, 1, 2), times=at(0, 1, 2), authority=False),
    Case("three grey pictures or one of three channels", array(np.uint8, grey=True), refuses=("may be one picture",)),
    Case("one picture as an array", lambda f: picture(7), refuses=("picture[None]",)),
    Case("an iterator", lambda f: iter(pictures(3)), (0, 1, 2), times=at(0, 1, 2), authority=False),
    Case("an iterator, not beyond its end", guarded, (1, 3), times=(0, 2 / RATE), authority=False,
         reading={"start": 1, "end": 4, "stride": 2}),
    Case("a list of arrays", lambda f: pictures(3), (0, 1, 2), times=at(0, 1, 2), authority=False),
    Case("floats beyond one", lambda f: np.full((2, 8, 8, 3), 3.0, np.float32), refuses=("[0, 1]",)),
    Case("not a number", lambda f: np.full((2, 8, 8, 3), np.nan, np.float32), refuses=("array",)),
    Case("an empty array", lambda f: np.zeros((0, 8, 8, 3), np.uint8), refuses=("array", "[0, 8, 8, 3]")),
)  # fmt: skip
CASES: tuple[Case, ...] = (*STILLS, *ANIMATIONS, *SEQUENCES, *NAMES, *ARRAYS)
