"""Tables of an evaluation: means over clips with intervals, ranks, and the published figures beside them."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from geometrycrafter.errors import InputError
from geometrycrafter.evaluation.protocols import PROTOCOLS, Protocol
from geometrycrafter.evaluation.published import published

RESAMPLES = 2000


@dataclass(frozen=True)
class Column:
    """A figure as tables print it."""

    key: str
    title: str
    higher: bool = False
    """Whether more is better."""
    percent: bool = True


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
    Column("focal_rel", "focal"),
    Column("flicker", "flicker"),
    Column("tae", "TAE"),
)


@dataclass(frozen=True)
class Cell:
    """A figure of a method: mean over clips, and a 95 % interval by bootstrap over them."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Cell | None:
        """From one value a clip; clips without one are left out. None where no clip has any."""
        known = np.array([v for v in values if v is not None], float)
        if not len(known):
            return None
        draws = np.random.default_rng(0).integers(len(known), size=(RESAMPLES, len(known)))
        low, high = np.percentile(known[draws].mean(axis=1), [2.5, 97.5])
        return cls(float(known.mean()), float(low), float(high))


@dataclass
class Report:
    """Everything that the tables say."""

    protocol: Protocol
    rows: list[dict[str, Any]]
    """One a method and clip, as the runner makes them."""
    _cells: dict[tuple[str, str], Cell | None] = field(default_factory=dict, repr=False)

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(r["method"] for r in self.rows))

    @property
    def clips(self) -> list[str]:
        return list(dict.fromkeys(r["clip"] for r in self.rows))

    def cell(self, method: str, key: str) -> Cell | None:
        """A method's figure."""
        if (method, key) not in self._cells:
            self._cells[method, key] = Cell.of([r["figures"].get(key) for r in self.rows if r["method"] == method])
        return self._cells[method, key]

    @property
    def columns(self) -> list[Column]:
        """Those that any method has."""
        return [c for c in COLUMNS if any(self.cell(m, c.key) for m in self.methods)]

    def ranks(
        self, keys: Iterable[str] = ("point_rel", "point_inlier", "affine_rel", "affine_inlier")
    ) -> dict[str, float]:
        """Mean rank of each method over the paper's columns, 1 being best; ties share their mean."""
        places: dict[str, list[float]] = {m: [] for m in self.methods}
        for column in (c for c in self.columns if c.key in keys):
            cells = {m: self.cell(m, column.key) for m in self.methods}
            values = {m: (-c.mean if column.higher else c.mean) for m, c in cells.items() if c is not None}
            for method, value in values.items():
                better = sum(v < value for v in values.values())
                equal = sum(v == value for v in values.values())
                places[method].append(better + (equal + 1) / 2)
        return {m: float(np.mean(p)) for m, p in places.items() if p}

    def seconds(self, method: str) -> float:
        """A frame, over all clips."""
        own = [r for r in self.rows if r["method"] == method]
        return float(np.average([r["seconds_a_frame"] for r in own], weights=[r["frames"] for r in own]))

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of text: measured methods, then what the paper prints."""
        ranks = self.ranks()
        header = ["method", *(f"{c.title} {'↑' if c.higher else '↓'}" for c in self.columns), "rank", "s/frame"]
        lines = []
        for method in self.methods:
            cells = [self.cell(method, c.key) for c in self.columns]
            text = [_number(cell.mean if cell else None, c) for cell, c in zip(cells, self.columns)]
            seconds = self.seconds(method)
            rank = f"{ranks[method]:.1f}" if method in ranks else "–"
            lines.append([method, *text, rank, f"{seconds:.2f}" if seconds else "–"])
        for method, figures in published(self.protocol.name).items():
            lines.append([f"{method} (published)", *(_number(figures.get(c.key), c) for c in self.columns), "–", "–"])
        return header, lines

    def intervals(self) -> list[list[str]]:
        """For each method and column: mean and interval, as text."""
        return [[m, *(_interval(self.cell(m, c.key), c) for c in self.columns)] for m in self.methods]

    def about(self) -> dict[str, Any]:
        """Settings and versions."""
        p = self.protocol
        empty = {m: sum(r["figures"].get("empty") or 0 for r in self.rows if r["method"] == m) for m in self.methods}
        missing = {m: self.cell(m, "missing") for m in self.methods}
        return {
            "protocol": p.title,
            "note": p.note,
            "inverse-depth weights": p.weighted,
            "maximum depth": p.max_depth,
            "processing size": p.size,
            "focal length": p.focal,
            "clips": len(self.clips),
            "frames of each, at most": self.rows[0]["identity"]["frames"] if self.rows else None,
            "frames without truth": empty,
            "share of pixels not predicted": {m: c.mean for m, c in missing.items() if c and c.mean},
            "geometrycrafter": version("geometrycrafter"),
            "torch": version("torch"),
            "numpy": version("numpy"),
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        }

    def markdown(self) -> str:
        header, lines = self.table()
        text = [f"# {self.protocol.title}", ""]
        text += [_pipes(header), _pipes(["---"] * len(header)), *map(_pipes, lines), ""]
        text += [f"Means over {len(self.clips)} clips, in %; 95 % intervals by bootstrap over clips:", ""]
        titles = ["method", *(c.title for c in self.columns)]
        text += [_pipes(titles), _pipes(["---"] * len(titles)), *map(_pipes, self.intervals()), ""]
        text += [f"- {k}: {v}" for k, v in self.about().items() if v not in ("", None, {})]
        return "\n".join(text) + "\n"

    def latex(self) -> str:
        header, lines = self.table()
        names = {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "δ^p": r"$\delta^p$", "δ_1": r"$\delta_1$"}
        names |= {"Rel^p": r"Rel$^p$", "Rel^d": r"Rel$^d$", "°": r"$^\circ$", "–": "--", "_": r"\_", "%": r"\%"}

        def plain(cell: str) -> str:
            for symbol, command in names.items():
                if symbol == "_" and "$" in cell:
                    continue
                cell = cell.replace(symbol, command)
            return cell

        best = [self._best(c) for c in self.columns]
        body = []
        for line in lines:
            bold = [r"\textbf{" + plain(x) + "}" if line[0] == best[i] else plain(x) for i, x in enumerate(line[1:-2])]
            body.append(" & ".join([plain(line[0]), *bold, *map(plain, line[-2:])]) + r" \\")
        rule = "l" + "r" * (len(header) - 1)
        head = " & ".join(map(plain, header)) + r" \\"
        top, middle, bottom = r"\toprule", r"\midrule", r"\bottomrule"
        begin, end = rf"\begin{{tabular}}{{{rule}}}", r"\end{tabular}"
        return "\n".join([f"% {self.protocol.title}", begin, top, head, middle, *body, bottom, end]) + "\n"

    def _best(self, column: Column) -> str | None:
        cells = {m: self.cell(m, column.key) for m in self.methods}
        known = {m: c.mean for m, c in cells.items() if c is not None}
        return (max if column.higher else min)(known, key=lambda m: known[m]) if known else None

    def comma_separated(self) -> str:
        """One row a method and clip, plain fractions."""
        keys = list(dict.fromkeys(k for r in self.rows for k in r["figures"]))
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["protocol", "method", "clip", "frames", "seconds_a_frame", *keys])
        for r in self.rows:
            values = [r["figures"].get(k) for k in keys]
            writer.writerow([self.protocol.title, r["method"], r["clip"], r["frames"], r["seconds_a_frame"], *values])
        return out.getvalue()

    def as_json(self) -> str:
        means = {
            m: {c.key: vars(cell) for c in self.columns if (cell := self.cell(m, c.key)) is not None}
            for m in self.methods
        }
        whole = {"about": self.about(), "means": means, "ranks": self.ranks(), "rows": self.rows}
        return json.dumps(whole | {"published": published(self.protocol.name)}, indent=1) + "\n"

    def write(self, folder: Path) -> list[Path]:
        """``report.md``, ``.tex``, ``.csv`` and ``.json`` in a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for suffix, text in (
            ("md", self.markdown()),
            ("tex", self.latex()),
            ("csv", self.comma_separated()),
            ("json", self.as_json()),
        ):
            path = folder / f"report.{suffix}"
            temporary = path.with_name(f".{path.name}.tmp")
            temporary.write_text(text)
            temporary.replace(path)
            written.append(path)
        return written


def read_report(folder: Path) -> Report:
    """A report that was written.

    Raises:
        InputError: where there is none.
    """
    path = folder / "report.json"
    try:
        stored = json.loads(path.read_text())
        name = stored["about"]["protocol"].rpartition("-v")[0]
        return Report(PROTOCOLS[name], stored["rows"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: this is no report of an evaluation; give a folder that 'eval' wrote.") from error


def combined(reports: Sequence[Report]) -> tuple[list[str], list[list[str]]]:
    """The paper's table: a pair of columns a data set, and each method's mean rank over all of them."""
    methods = list(dict.fromkeys(m for r in reports for m in r.methods))
    pairs = (("point_rel", "point_inlier"), ("affine_rel", "affine_inlier"))
    header = ["method", *(f"{r.protocol.data} {kind}" for r in reports for kind in ("Rel^p/δ^p", "Rel^d/δ_1")), "rank"]
    ranks = [r.ranks() for r in reports]
    lines = []
    for method in methods:
        cells = []
        for report in reports:
            for pair in pairs:
                found = [report.cell(method, key) for key in pair]
                cells.append("/".join(f"{100 * c.mean:.1f}" if c else "–" for c in found))
        own = [r[method] for r in ranks if method in r]
        lines.append([method, *cells, f"{np.mean(own):.1f}" if own else "–"])
    return header, lines


def _number(value: float | None, column: Column) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.1f}" if column.percent else f"{value:.1f}"


def _interval(cell: Cell | None, column: Column) -> str:
    if cell is None:
        return "–"
    low, high = (_number(v, column) for v in (cell.low, cell.high))
    return f"{_number(cell.mean, column)} ({low} to {high})"


def _pipes(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
