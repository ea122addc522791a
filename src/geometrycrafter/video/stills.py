"""Pictures in files: how they lie, how large they are, and files that hold several.

ffmpeg's libraries decode them; Pillow says how a picture is turned, and reads what they can't: animated WebP, several
pages of TIFF, AVIF, and with pillow-heif the tiled HEIC files of telephones.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from geometrycrafter.errors import InputError, how_to_install, reason
from geometrycrafter.video.colour import HLG, PQ, to_display
from geometrycrafter.video.heif import nclx_of
from geometrycrafter.video.orientation import EXIF, EXIF_ORIENTATION, Orientation
from geometrycrafter.video.streams import MAX_PIXELS, open_container, video_stream

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".tga", ".ppm", ".pgm", ".pnm"),
    *(".exr", ".dpx", ".avif", ".heic", ".heif", ".jxl", ".gif", ".apng"),
)
"""Names that pictures end with, in small letters."""
LARGEST_JPEG = 2**28
"""Bytes of a JPEG that are looked at."""
FILLING = b"\x5a\xa5" * 32
"""What no picture goes on with."""
DAMAGE = (
    *(OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, ArithmeticError, AttributeError),
    *(struct.error, RuntimeError, MemoryError),
)
"""What Pillow raises at files that are damaged."""
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


def kind_of(path: os.PathLike[str]) -> str:
    """``webp``, ``tiff``, ``avif``, ``heif``, ``jxl`` or nothing, by what the file begins with.

    Raises:
        InputError: where it can't be read.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(64)
    except OSError as error:
        raise InputError(f"{path}: the file can't be read ({reason(error)}); check the path.") from error
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    if head[4:8] == b"ftyp":
        size = min(int.from_bytes(head[:4], "big"), len(head))
        brands = {head[8:12], *(head[i : i + 4] for i in range(16, size, 4))}
        if brands & {b"avif", b"avis"}:
            return "avif"
        if brands & set(HEIF_BRANDS) and head[8:12] in HEIF_BRANDS:
            return "heif"
    if head[:2] == b"\xff\x0a" or head[4:12] == b"JXL \r\n\x87\n":
        return "jxl"
    return ""


def orientation_in(path: os.PathLike[str]) -> Orientation | None:
    """What a picture's EXIF block says of how it lies; None where it says nothing, or is no such picture."""
    try:
        with _opened(path) as image:
            return EXIF.get(int(image.getexif().get(EXIF_ORIENTATION, 0)))
    except (InputError, *DAMAGE):
        return None


def check_jpeg(path: os.PathLike[str]) -> None:
    """Refuse a JPEG that breaks off; ffmpeg's libraries show it with a grey rest.

    One that lacks its mark of the end alone is whole.

    Raises:
        InputError: where part of the picture is missing.
    """
    with open(path, "rb") as file:
        content = file.read(LARGEST_JPEG)
    if content[:2] != b"\xff\xd8" or content.find(b"\xff\xd9", max(content.find(b"\xff\xda"), 0)) >= 0:
        return
    from PIL import Image

    shown = []
    with _damage(path, "the picture breaks off"):
        for more in (b"", FILLING):  # a decoder that has all it wants pays no heed to more
            with Image.open(io.BytesIO(content + more + b"\xff\xd9")) as image:
                shown.append(np.asarray(image))
    if (shown[0] != shown[1]).any():
        raise InputError(f"{path}: the picture breaks off; copy it anew.")


def pages(path: os.PathLike[str], kind: str) -> Iterator[tuple[float | None, np.ndarray]] | None:
    """The pictures of a file that Pillow is to read, with their times in seconds; None where ffmpeg does it better.

    Args:
        path: of the file.
        kind: from :func:`kind_of`.

    Returns:
        pictures ``[H, W, C]`` uint8, upright, one to four channels, or uint16 where the file has 16 bits.

    Raises:
        InputError: where the file can't be decoded, or wants a package that isn't installed.
    """
    if kind == "jxl":
        raise InputError(f"{path}: JPEG XL has no decoder here; convert it to PNG.")
    if kind == "heif" and not _heif():
        raise InputError(f"{path}: HEIC wants a package; {how_to_install('heic')}, or convert it to JPEG.")
    if kind not in ("webp", "tiff", "avif", "heif"):
        return None
    with _opened(path) as image, _damage(path, "its pages can't be counted"):
        count, size = getattr(image, "n_frames", 1), image.size
        deep = kind == "tiff" and image.mode != "F" and max(getattr(image, "tag_v2", {}).get(258, (8,)) or (8,)) > 8
    if kind == "webp" and count == 1:
        return None
    if kind in ("avif", "heif") and (nclx := nclx_of(path)) and nclx.transfer in (PQ, HLG):
        if kind == "avif" and count == 1 and _is_one(path, size):  # there it has more than eight bits
            return None
        return _bright(path, nclx.transfer, kind == "heif")
    return None if deep and count == 1 else _pages(path)


def _is_one(path: os.PathLike[str], size: tuple[int, int]) -> bool:
    """Whether ffmpeg's libraries know a picture as a whole of this width and height, and not as tiles."""
    with open_container(path) as container:
        context = video_stream(container, path).codec_context
        return sorted((context.width, context.height)) == sorted(size)


def _bright(path: os.PathLike[str], transfer: int, deep: bool) -> Iterator[tuple[float | None, np.ndarray]]:
    """Pictures of high dynamic range, brought into display range; ``deep`` ones have more than eight bits."""
    if not deep:
        for stamp, pixels in _pages(path):
            yield stamp, to_display(pixels[..., :3].astype(np.float32) / 255, transfer)
        return
    import pillow_heif

    with _damage(path, "the picture can't be decoded"):
        pixels = np.asarray(pillow_heif.open_heif(os.fspath(path), convert_hdr_to_8bit=False))
    top = np.iinfo(pixels.dtype).max
    yield None, to_display(pixels[..., :3].astype(np.float32) / top, transfer)


def _pages(path: os.PathLike[str]) -> Iterator[tuple[float | None, np.ndarray]]:
    with _opened(path) as image, _damage(path, "it can't be decoded"):
        # Pillow stands pages of TIFF and HEIC upright by itself.
        turned = image.format in ("TIFF", "HEIF")
        orientation = EXIF.get(0 if turned else int(image.getexif().get(EXIF_ORIENTATION, 0) or 0), Orientation())
        moving = image.format in ("WEBP", "AVIF", "GIF", "PNG")
        seconds = 0.0
        for index in range(getattr(image, "n_frames", 1)):
            with _damage(path, f"picture {index} can't be decoded"):
                image.seek(index)
                pixels = _pixels(image)
            yield (seconds if moving else None), orientation.apply(pixels)
            seconds += float(image.info.get("duration") or 0) / 1000


def _pixels(image: Any) -> np.ndarray:
    """``[H, W, C]`` of Pillow's picture, whatever its mode."""
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width}x{image.height} pixels are too many")
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)[..., None]
    if image.mode in ("I", "F"):
        return np.asarray(image, np.float32)[..., None] / (65535 if image.mode == "I" else 1)
    transparent = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    mode = "RGBA" if transparent else "L" if image.mode in ("1", "L") else "RGB"
    pixels = np.asarray(image.convert(mode))
    return pixels[..., None] if pixels.ndim == 2 else pixels


@contextlib.contextmanager
def _damage(path: os.PathLike[str], what: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(f"{path}: {what} ({reason(error)}); the file is damaged.") from error


@contextlib.contextmanager
def _opened(path: os.PathLike[str]) -> Iterator[Any]:
    from PIL import Image, UnidentifiedImageError

    _heif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures, whose size is looked at here
            image = Image.open(path)
    except (UnidentifiedImageError, Image.DecompressionBombError, *DAMAGE) as error:
        raise InputError(f"{path}: this is no picture that can be read ({reason(error)}).") from error
    with image:
        yield image


def _heif() -> bool:
    """Whether HEIC can be read."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True
