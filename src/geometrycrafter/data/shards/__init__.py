"""Training clips on disk: tar files that any tool opens, with an index for random access.

A folder of shards holds ``NAME-000000.tar`` with, for each clip, ``KEY.json`` (what is the same for all frames) and
for each frame ``KEY/000.jpg`` (or ``.png``), ``KEY/000.depth`` and, where known, ``KEY/000.dynamic``
(:mod:`~geometrycrafter.data.shards.format`); beside each tar ``NAME-000000.json``, the index: where in the tar each
member lies (:mod:`~geometrycrafter.data.shards.index`); and ``preparation.json``, what they were made from and how
(:mod:`~geometrycrafter.data.shards.recipe`). One process at a time writes; a tar without its index does not count until
the next writer has read it through.
"""

from geometrycrafter.data.shards.format import (
    EncodedClip,
    decode_depth,
    encode_clip,
    encode_depth,
    encode_picture,
)
from geometrycrafter.data.shards.index import ClipEntry, Stretch
from geometrycrafter.data.shards.reader import Shards
from geometrycrafter.data.shards.recipe import Recipe
from geometrycrafter.data.shards.writer import ShardWriter

__all__ = [
    "ClipEntry",
    "EncodedClip",
    "Recipe",
    "ShardWriter",
    "Shards",
    "Stretch",
    "decode_depth",
    "encode_clip",
    "encode_depth",
    "encode_picture",
]
