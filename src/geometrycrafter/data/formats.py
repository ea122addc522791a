"""Pictures and depth in the encodings that data sets come in, as arrays.

Every reader names the file in its error, and refuses sizes that no camera has before it allocates for them.
"""

from __future__ import annotations

import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import simplejpeg

from geometrycrafter.errors import InputError, how_to_install, reason

LARGEST = 2**26
"""Pixels of a picture; larger ones are refused."""
DAMAGED = (struct.error, zipfile.BadZipFile, zlib.error)
"""What the standard library raises for files that are cut short or damaged, beside the usual."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn what a decoder raises into a sentence about the file.

    Raises:
        InputError: for whatever the block raises for a file that is missing or damaged.
    """
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: the file is missing.") from error
    except (OSError, ValueError, KeyError, RuntimeError, IndexError, TypeError, EOFError, *DAMAGED) as error:
        raise InputError(f"{path}: this can't be read ({reason(error)}).") from error


def decode_jpeg(data: bytes) -> np.ndarray:
    """JPEG bytes as ``[H, W, 3]`` uint8.

    Raises:
        ValueError: where they are damaged or too large.
    """
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    if height * width > LARGEST:
        raise ValueError(f"a picture of {height}x{width}")
    return simplejpeg.decode_jpeg(data)


def decode_png(data: bytes) -> np.ndarray:
    """PNG bytes as stored: ``[H, W]`` or ``[H, W, C]``, uint8 or uint16.

    Raises:
        ValueError: where they are damaged, too large or have a palette.
    """
    if len(data) < 26 or data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("no PNG")
    width, height = struct.unpack(">II", data[16:24])
    if not 0 < width * height <= LARGEST:
        raise ValueError(f"a picture of {height}x{width}")
    codec = av.CodecContext.create("png", "r")
    codec.thread_count = 1
    frames = [*codec.decode(av.Packet(data)), *codec.decode(None)]
    if len(frames) != 1:
        raise ValueError("the picture is cut short")
    frame = frames[0]
    name = frame.format.name
    if name in ("pal8", "monob", "monow", "ya8", "ya16be"):
        frame = frame.reformat(format="rgb24")
        name = "rgb24"
    channels = {"gray": 1, "gray16be": 1, "rgb24": 3, "rgba": 4, "rgb48be": 3, "rgba64be": 4}.get(name)
    if channels is None:
        raise ValueError(f"pixels of kind {name}")
    kind = np.dtype(">u2") if name.endswith("be") else np.dtype(np.uint8)
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[
        :height, : width * channels * kind.itemsize
    ]
    pixels = np.ascontiguousarray(rows).view(kind).astype(kind.newbyteorder("="))
    return pixels.reshape((height, width) if channels == 1 else (height, width, channels))


def decode_picture(data: bytes) -> np.ndarray:
    """JPEG or PNG bytes as ``[H, W, 3]`` uint8.

    Raises:
        ValueError: where they are neither, damaged or too large.
    """
    if data[:2] == b"\xff\xd8":
        return decode_jpeg(data)
    pixels = decode_png(data)
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., :3])


def read_picture(path: Path) -> np.ndarray:
    """A JPEG or PNG file as ``[H, W, 3]`` uint8."""
    with naming(path):
        return decode_picture(path.read_bytes())


def read_png(path: Path) -> np.ndarray:
    """A PNG file as stored: ``[H, W]`` or ``[H, W, C]``, uint8 or uint16."""
    with naming(path):
        return decode_png(path.read_bytes())


def read_channel(path: Path, channel: int = 0) -> np.ndarray:
    """One channel of a PNG file as stored, ``[H, W]``: classes, masks; the only one where there is one."""
    pixels = read_png(path)
    return pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., channel])


def read_png16(path: Path) -> np.ndarray:
    """A PNG of 16 bits, ``[H, W]`` uint16; of several channels the first.

    Raises:
        InputError: also where its pixels have 8 bits.
    """
    pixels = read_channel(path)
    if pixels.dtype != np.uint16:
        raise InputError(f"{path}: its pixels have 8 bits, too few for depth; was it converted?")
    return pixels


def read_half_png(path: Path) -> np.ndarray:
    """A PNG whose 16 bits are a half-precision number's, ``[H, W]`` float32."""
    return read_png16(path).view(np.float16).astype(np.float32)


def read_exr(path: Path, *channels: str) -> np.ndarray:
    """One channel of an OpenEXR file, ``[H, W]`` float32: the first of ``channels`` that is there, else the only one.

    Raises:
        InputError: also where OpenEXR is not installed.
    """
    try:
        import OpenEXR
    except ImportError as error:
        raise InputError(f"{path}: EXR wants a library; {how_to_install('data')}.") from error
    with naming(path):
        if not path.is_file():
            raise FileNotFoundError(path)
        with OpenEXR.File(str(path), separate_channels=True, header_only=True) as file:
            low, high = file.header()["dataWindow"]
            if np.prod(np.asarray(high, float) - np.asarray(low, float) + 1) > LARGEST:
                raise ValueError("it is too large")
        with OpenEXR.File(str(path), separate_channels=True) as file:
            stored = file.channels()
            name = next((c for c in channels if c in stored), None)
            if name is None:
                if len(stored) != 1 and not {"R", "G", "B"} >= set(stored):
                    raise ValueError(f"its channels are {', '.join(stored)}")
                name = "R" if "R" in stored else next(iter(stored))
            return np.array(stored[name].pixels, np.float32)


def read_pfm(path: Path) -> np.ndarray:
    """A PFM of one channel, ``[H, W]`` float32; its rows are stored from the bottom up."""
    with naming(path), open(path, "rb") as file:
        if file.readline(16).strip() != b"Pf":
            raise ValueError("no PFM of one channel")
        width, height = (int(x) for x in file.readline(64).split())
        if not 0 < width * height <= LARGEST:
            raise ValueError(f"a size of {width}x{height}")
        little = float(file.readline(64)) < 0
        data = np.frombuffer(file.read(4 * width * height), "<f4" if little else ">f4")
        return data.reshape(height, width)[::-1].astype(np.float32)


def read_dpt(path: Path) -> np.ndarray:
    """Sintel's depth, ``[H, W]`` float32: a tag, width, height, then rows."""
    with naming(path):
        data = path.read_bytes()
        tag, width, height = struct.unpack("<fii", data[:12])
        if tag != np.float32(202021.25) or not 0 < width * height <= LARGEST:
            raise ValueError("no depth of Sintel's")
        return np.frombuffer(data, "<f4", offset=12).reshape(height, width).astype(np.float32)


@lru_cache(maxsize=8)
def _hdf5(path: Path, process: int) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise InputError(f"{path}: HDF5 wants a library; {how_to_install('data')}.") from error
    return h5py.File(path, "r")


def read_hdf5(path: Path, name: str, rows: int | slice | None = None) -> np.ndarray:
    """A data set of an HDF5 file, or some of its rows, as it is stored, ``[...]``."""
    with naming(path):
        if not path.is_file():
            raise FileNotFoundError(path)
        stored = _hdf5(path, os.getpid())[name]
        if stored.size > 16 * LARGEST:
            raise ValueError("it is too large")
        return np.asarray(stored[()] if rows is None else stored[rows])


def hdf5_names(path: Path) -> list[str]:
    """Names at the top of an HDF5 file."""
    with naming(path):
        return list(_hdf5(path, os.getpid()))


def read_npy(path: Path) -> np.ndarray:
    """An NPY file, ``[H, W]`` (a last axis of one is dropped), as it is stored."""
    with naming(path):
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        if stored.size > LARGEST:
            raise ValueError(f"its shape is {list(stored.shape)}")
        values = np.array(stored)
    return values[..., 0] if values.ndim == 3 else values


def read_table(path: Path, columns: int | None = None) -> np.ndarray:
    """Numbers of a text file, ``[rows, columns]``.

    Raises:
        InputError: names the file, where it is missing, or no such table.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an empty file, which is told below
            values = np.loadtxt(path, ndmin=2, dtype=np.float64)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: numbers were expected ({reason(error)}).") from error
    if not values.size:
        raise InputError(f"{path}: numbers were expected, and it is empty.")
    if columns is not None and values.shape[1] != columns:
        raise InputError(f"{path}: {columns} numbers a line were expected, not {values.shape[1]}.")
    return values


def read_matrix(path: Path) -> np.ndarray:
    """A matrix ``[4, 4]`` of a text file, on one line or on four.

    Raises:
        InputError: names the file, where it is missing, or holds something else.
    """
    values = read_table(path)
    if values.size != 16:
        raise InputError(f"{path}: a 4x4 matrix was expected, not {values.size} numbers.")
    return values.reshape(4, 4)
