"""What the tables of an evaluation say: means over clips with intervals, and ranks."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np

from geometrycrafter.evaluation.metrics import VERSION
from geometrycrafter.evaluation.protocols import Protocol
from geometrycrafter.evaluation.runner import Failure, Row
from geometrycrafter.version import program_version

RESAMPLES = 2000
RANKED = ("point_rel", "point_inlier", "affine_rel", "affine_inlier", "ate", "rpe_translation", "rpe_rotation")
"""The paper's columns, and those of the literature of poses."""


@dataclass(frozen=True)
class Column:
    """A figure as tables print it."""

    key: str
    title: str
    higher: bool = False
    """Whether more is better."""
    percent: bool = True
    digits: int = 1


COLUMNS = (
    Column("point_rel", "Rel^p"),
    Column("point_inlier", "δ^p", higher=True),
    Column("depth_rel", "Rel, scale"),
    Column("affine_rel", "Rel^d"),
    Column("affine_inlier", "δ_1", higher=True),
    Column("point_rel_frame", "Rel^p, a frame"),
    Column("point_rel_l1", "Rel^p, L1"),
    Column("boundary_f1", "edge F1", higher=True),
    Column("normal_mean", "normals °", percent=False),
    Column("normal_mean_wide", "normals, wide °", percent=False),
    Column("focal_rel", "focal"),
    Column("flicker", "flicker"),
    Column("flicker_8", "flicker, 8"),
    Column("flicker_32", "flicker, 32"),
    Column("drift", "drift"),
    Column("tae", "TAE"),
    Column("ate", "ATE", percent=False, digits=4),
    Column("rpe_translation", "RPE, place", percent=False, digits=4),
    Column("rpe_rotation", "RPE, turn °", percent=False, digits=3),
    Column("ate_share", "ATE/path"),
    Column("known", "frames known", higher=True),
)


@dataclass(frozen=True)
class Cell:
    """A figure of a method: mean over clips, and a 95 % interval by bootstrap over them."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Cell | None:
        """From one value a clip. None where there is none."""
        if not values:
            return None
        known = np.array(values, float)
        draws = np.random.default_rng(0).integers(len(known), size=(RESAMPLES, len(known)))
        low, high = np.percentile(known[draws].mean(axis=1), [2.5, 97.5])
        return cls(float(known.mean()), float(low), float(high))


@dataclass
class Report:
    """An evaluation, summed up.

    Means are over the clips that a method was judged on. Where methods are compared, by rank or as the best, it is over
    the clips that all of them were judged on.
    """

    protocol: Protocol
    rows: list[Row]
    """One a method and clip, as the runner makes them."""
    failures: list[Failure] = field(default_factory=list)
    """Clips that a method could not be judged on."""
    _cells: dict[tuple[str, str], Cell | None] = field(default_factory=dict, repr=False)

    @property
    def methods(self) -> list[str]:
        """In order."""
        return list(dict.fromkeys([*(r["method"] for r in self.rows), *(f["method"] for f in self.failures)]))

    @property
    def clips(self) -> list[str]:
        """All that any method was asked for."""
        return list(dict.fromkeys([*(r["clip"] for r in self.rows), *(f["clip"] for f in self.failures)]))

    def judged(self, method: str) -> int:
        """How many clips a method has rows of."""
        return sum(r["method"] == method for r in self.rows)

    @property
    def shared(self) -> list[str]:
        """Clips that every method was judged on."""
        seen = {(r["method"], r["clip"]) for r in self.rows}
        return [c for c in self.clips if all((m, c) in seen for m in self.methods)]

    def values(self, method: str, key: str) -> dict[str, float]:
        """A method's figure of each clip that has one."""
        own = {r["clip"]: r["figures"].get(key) for r in self.rows if r["method"] == method}
        return {clip: value for clip, value in own.items() if value is not None}

    def cell(self, method: str, key: str) -> Cell | None:
        """A method's figure, over the clips that it has one of."""
        if (method, key) not in self._cells:
            self._cells[method, key] = Cell.of([*self.values(method, key).values()])
        return self._cells[method, key]

    @property
    def columns(self) -> list[Column]:
        """Those that any method has."""
        return [c for c in COLUMNS if any(self.cell(m, c.key) for m in self.methods)]

    def compared(self, column: Column) -> dict[str, float]:
        """Means of the methods that have a figure, over the clips that all of these have one of; less is better."""
        values = {m: self.values(m, column.key) for m in self.methods}
        values = {m: v for m, v in values.items() if v}
        common = set.intersection(*(set(v) for v in values.values())) if values else set()
        sign = -1 if column.higher else 1
        ordered = [clip for clip in self.clips if clip in common]
        return {m: sign * float(np.mean([v[c] for c in ordered])) for m, v in values.items()} if ordered else {}

    def best(self, column: Column) -> str | None:
        """The method that a column prefers."""
        known = self.compared(column)
        return min(known, key=lambda m: known[m]) if known else None

    def ranks(self, keys: Iterable[str] = RANKED) -> dict[str, float]:
        """Mean rank of each method over the paper's columns, 1 being best; ties share their mean."""
        places: dict[str, list[float]] = {m: [] for m in self.methods}
        for column in (c for c in self.columns if c.key in keys):
            values = self.compared(column)
            for method, value in values.items():
                better = sum(v < value for v in values.values())
                equal = sum(v == value for v in values.values())
                places[method].append(better + (equal + 1) / 2)
        return {m: float(np.mean(p)) for m, p in places.items() if p}

    def seconds(self, method: str) -> float:
        """A frame, over all its clips; zero where it is not known."""
        own = [r for r in self.rows if r["method"] == method]
        frames = sum(r["frames"] for r in own)
        return sum(r["seconds_a_frame"] * r["frames"] for r in own) / frames if frames else 0.0

    def about(self) -> dict[str, Any]:
        """Settings and versions."""
        p = self.protocol
        empty = {m: sum(self.values(m, "empty").values()) for m in self.methods}
        missing = {m: self.cell(m, "missing") for m in self.methods}
        return {
            "protocol": p.title,
            "metrics": VERSION,
            "note": p.note,
            "inverse-depth weights": p.weighted,
            "maximum depth": p.max_depth,
            "processing size": p.size,
            "focal length": p.focal,
            "clips": len(self.clips),
            "frames of each, at most": self.rows[0]["identity"]["clip"]["frames"] if self.rows else None,
            "frames without truth": empty,
            "share of pixels not predicted": {m: c.mean for m, c in missing.items() if c and c.mean},
            "geometrycrafter": program_version(),
            "torch": version("torch"),
            "numpy": version("numpy"),
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        }
