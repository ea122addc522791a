"""Pictures in files: how they lie, how large they are, and files that hold several.

ffmpeg's libraries decode them; Pillow says how a picture is turned, and reads what they can't: animated WebP, several
pages of TIFF, AVIF, and with pillow-heif the tiled HEIC files of telephones.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from geometrycrafter.errors import InputError, reason
from geometrycrafter.video.orientation import EXIF, EXIF_ORIENTATION, Orientation
from geometrycrafter.video.streams import MAX_PIXELS

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".tga", ".ppm", ".pgm", ".pnm"),
    *(".exr", ".dpx", ".avif", ".heic", ".heif", ".jxl", ".gif", ".apng"),
)
"""Names that pictures end with, in small letters."""
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
    except (InputError, ValueError, TypeError):
        return None


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
        raise InputError(f"{path}: HEIC wants a package; pip install 'geometrycrafter[heic]', or convert it to JPEG.")
    if kind not in ("webp", "tiff", "avif", "heif"):
        return None
    with _opened(path) as image:
        count = getattr(image, "n_frames", 1)
        deep = kind == "tiff" and image.mode != "F" and max(getattr(image, "tag_v2", {}).get(258, (8,)) or (8,)) > 8
    if kind == "webp" and count == 1:
        return None
    return None if deep and count == 1 else _pages(path)


def _pages(path: os.PathLike[str]) -> Iterator[tuple[float | None, np.ndarray]]:
    with _opened(path) as image:
        # Pillow stands pages of TIFF and HEIC upright by itself.
        turned = image.format in ("TIFF", "HEIF")
        orientation = EXIF.get(0 if turned else int(image.getexif().get(EXIF_ORIENTATION, 0) or 0), Orientation())
        moving = image.format in ("WEBP", "AVIF", "GIF", "PNG")
        seconds = 0.0
        for index in range(getattr(image, "n_frames", 1)):
            try:
                image.seek(index)
                pixels = _pixels(image)
            except (OSError, ValueError, SyntaxError, EOFError) as error:
                raise InputError(f"{path}: picture {index} can't be decoded ({reason(error)}).") from error
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
def _opened(path: os.PathLike[str]) -> Iterator[Any]:
    from PIL import Image, UnidentifiedImageError

    _heif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures, whose size is looked at here
            image = Image.open(path)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
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
