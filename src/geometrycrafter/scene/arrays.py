"""A scene's arrays as they are stored: chunks that are all there, each with a checksum, so that what is lost shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr
from zarr.abc.store import ByteRequest, Store
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import StorePath, WrapperStore

from geometrycrafter.errors import InputError
from geometrycrafter.files import is_url
from geometrycrafter.scene.places import reading

SMALL = 64
"""Values a frame up to which all frames share a chunk."""
ALL_CHUNKS = "all_chunks"
"""The attribute of an array whose every chunk is stored; Zarr by itself leaves out those of nothing but zeros."""


def create_array(
    store: Store,
    name: str | None,
    shape: tuple[int, ...],
    dtype: Any,
    attributes: dict[str, Any] | None = None,
    chunks: tuple[int, ...] | None = None,
    fill_value: Any = None,
    overwrite: bool = False,
) -> zarr.Array[Any]:
    """A new array of a scene, ready to be written.

    Args:
        store: to make it in.
        name: there; None: it is the store's root.
        shape: ``[T, ...]``.
        dtype: of its values.
        attributes: of its own.
        chunks: None: one a frame, or a single one where a frame has few values.
        fill_value: what stands where nothing has been written; None: NaN, 0 or False.
        overwrite: one that is there.
    """
    if fill_value is None:
        fill_value = np.nan if np.issubdtype(np.dtype(dtype), np.floating) else 0
    if chunks is None:
        small = int(np.prod(shape[1:])) <= SMALL
        chunks = tuple(max(1, n) for n in (shape if small else (1, *shape[1:])))
    return zarr.create_array(
        store,
        name=name,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        fill_value=fill_value,
        compressors=[BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"), Crc32cCodec()],
        attributes={**(attributes or {}), ALL_CHUNKS: True},
        overwrite=overwrite,
        config={"write_empty_chunks": True},
    )


def writable(array: zarr.Array[Any]) -> zarr.Array[Any]:
    """An array that was begun, so that what is written into it is stored as in a new one."""
    return array.with_config({"write_empty_chunks": True}) if array.attrs.get(ALL_CHUNKS) else array


class StoredArray:
    """An array's metadata, read once; of a small one, such as intrinsics, the values too.

    Args:
        array: as Zarr has opened it.
        name: of it, for messages.
        place: of the scene, for messages.
    """

    def __init__(self, array: zarr.Array[Any], name: str, place: str):
        self._array = _strict(array) if array.attrs.get(ALL_CHUNKS) else array
        self._name, self._place = name, place
        self._values: np.ndarray | None = None
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = array.dtype
        self.chunks: tuple[int, ...] = array.chunks
        self.metadata = array.metadata

    def read(self, index: Any) -> np.ndarray:
        """Values ``[...]`` at an index like NumPy's.

        Raises:
            InputError: where they can't be read, or have been lost; names the scene, the array and the frame.
        """
        if int(np.prod(self.shape[1:])) > SMALL:
            return self._read(index)
        if self._values is None:
            self._values = self._read(...)
        return np.array(self._values[index])

    def _read(self, index: Any) -> np.ndarray:
        try:
            with reading(self._place):
                return np.asarray(self._array[index])
        except InputError as error:
            cause = error.__cause__
            if isinstance(cause, LostChunkError):
                raise self._lost(cause.first, "the file is missing") from cause
            decoding = isinstance(cause, ValueError | RuntimeError) and not is_url(self._place)
            if decoding and (damaged := self._damaged(index)) is not None:
                raise self._lost(damaged, "the file is damaged") from cause
            raise

    def _damaged(self, index: Any) -> int | None:
        """The first chunk among those of an index that can't be decoded."""
        if not self.shape:
            return 0
        time = index[0] if isinstance(index, tuple) and index else index
        for t in np.ravel(np.arange(self.shape[0])[time]).tolist():
            try:
                self._array[t]
            except (ValueError, RuntimeError):
                return int(t) // self.chunks[0]
        return None

    def _lost(self, chunk: int | None, what: str) -> InputError:
        several = chunk is None or not self.chunks or self.chunks[0] > 1
        where = self._name if several else f"{self._name}, frame {chunk},"
        return InputError(
            f"{self._place}: {where} can't be read ({what}); run it again with --overwrite, or take it from a copy."
        )


def _strict(array: zarr.Array[Any]) -> zarr.Array[Any]:
    """An array whose reading fails with a :class:`LostChunkError` where a chunk is gone."""
    inner = array.async_array
    place = StorePath(_Strict(inner.store_path.store, array.path), inner.store_path.path)
    return zarr.Array(zarr.AsyncArray(metadata=inner.metadata, store_path=place, config=inner.config))


class LostChunkError(Exception):
    """A chunk that was stored is not there.

    Args:
        first: index of it along the array's first axis, counted in chunks; None where the array has no axes.
    """

    def __init__(self, first: int | None):
        super().__init__("its file is missing")
        self.first = first


class _Strict(WrapperStore[Store]):
    """A store in which a chunk of one array that isn't there is an error, and costs nothing to find."""

    def __init__(self, store: Store, path: str):
        super().__init__(store)
        self._path, self._chunks = path, f"{path}/c".lstrip("/")

    def _with_store(self, store: Store) -> _Strict:
        return _Strict(store, self._path)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        found = await self._store.get(key, prototype, byte_range)
        if found is None and (key == self._chunks or key.startswith(f"{self._chunks}/")):
            numbers = key[len(self._chunks) :].split("/")[1:]
            raise LostChunkError(int(numbers[0]) if numbers else None)
        return found
