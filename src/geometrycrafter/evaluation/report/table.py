"""Tables as text, for a terminal or a document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from geometrycrafter.evaluation.published import published
from geometrycrafter.evaluation.report.summary import Cell, Column, Report

PAIRS = (("point_rel", "point_inlier"), ("affine_rel", "affine_inlier"))
"""Columns that the paper prints as one."""


class Table(NamedTuple):
    """Cells of text, and what must be said of them."""

    header: list[str]
    lines: list[list[str]]
    notes: list[str]


def table_of(report: Report) -> Table:
    """Measured methods, then what the paper prints."""
    ranks, columns, clips = report.ranks(), report.columns, len(report.clips)
    header = ["method", *(f"{c.title} {'↑' if c.higher else '↓'}" for c in columns), "rank", "clips", "s/frame"]
    lines = []
    for method in report.methods:
        cells = [report.cell(method, c.key) for c in columns]
        text = [_number(cell.mean if cell else None, c) for cell, c in zip(cells, columns, strict=True)]
        seconds = report.seconds(method)
        rank = f"{ranks[method]:.1f}" if method in ranks else "–"
        judged = f"{report.judged(method)}/{clips}"
        lines.append([method, *text, rank, judged, f"{seconds:.2f}" if seconds else "–"])
    for method, figures in published(report.protocol.name).items():
        lines.append([f"{method} (published)", *(_number(figures.get(c.key), c) for c in columns), "–", "–", "–"])
    return Table(header, lines, _notes(report))


def _notes(report: Report) -> list[str]:
    lengths = [c.title for c in report.columns if not c.percent and "°" not in c.title]
    units = (
        [f"Figures are in %, turns in degrees; {' and '.join(lengths)} in the unit of the truth."] if lengths else []
    )
    if len(report.shared) == len(report.clips):
        return units
    return [
        *units,
        f"Methods were judged on different clips (column clips, of {len(report.clips)}). Each mean is over a method's "
        f"own; ranks and the best of a column are over those that all have, {len(report.shared)} here.",
    ]


def intervals(report: Report) -> list[list[str]]:
    """For each method and column: mean and interval."""
    return [[m, *(_interval(report.cell(m, c.key), c) for c in report.columns)] for m in report.methods]


def reasons(report: Report) -> list[str]:
    """Why clips were not judged; a reason that all methods share is said once."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for failure in report.failures:
        grouped.setdefault((failure["clip"], failure["reason"]), []).append(failure["method"])
    found = []
    for (clip, reason), methods in grouped.items():
        who = "" if len(methods) == len(report.methods) else f" ({', '.join(methods)})"
        found.append(f"{reason}" if not who and reason.startswith(clip) else f"{clip}{who}: {reason}")
    return found


def combined(reports: Sequence[Report]) -> Table:
    """The paper's table: a pair of columns a data set, and each method's mean rank over all of them."""
    methods = list(dict.fromkeys(m for r in reports for m in r.methods))
    header = ["method", *(f"{r.protocol.data} {kind}" for r in reports for kind in ("Rel^p/δ^p", "Rel^d/δ_1")), "rank"]
    ranks = [r.ranks() for r in reports]
    lines, partial = [], False
    for method in methods:
        cells = []
        for report in reports:
            lacking = report.judged(method) < len(report.clips)
            for pair in PAIRS:
                found = [report.cell(method, key) for key in pair]
                text = "/".join(f"{100 * c.mean:.1f}" if c else "–" for c in found)
                cells.append(text + "*" * (lacking and any(found)))
            partial |= lacking
        own = [r[method] for r in ranks if method in r]
        star = "*" * (0 < len(own) < len(reports))
        lines.append([method, *cells, f"{np.mean(own):.1f}{star}" if own else "–"])
    notes = ["* not all of the clips, or of the data sets; ranks within a set are over clips that all methods have."]
    return Table(header, lines, notes if partial else [])


def _number(value: float | None, column: Column) -> str:
    if value is None:
        return "–"
    return f"{100 * value if column.percent else value:.{column.digits}f}"


def _interval(cell: Cell | None, column: Column) -> str:
    if cell is None:
        return "–"
    low, high = (_number(v, column) for v in (cell.low, cell.high))
    return f"{_number(cell.mean, column)} ({low} to {high})"
