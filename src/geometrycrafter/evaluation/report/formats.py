"""Reports as files: Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from geometrycrafter.errors import InputError
from geometrycrafter.evaluation.metrics import VERSION
from geometrycrafter.evaluation.protocols import PROTOCOLS
from geometrycrafter.evaluation.published import published
from geometrycrafter.evaluation.report.summary import Report
from geometrycrafter.evaluation.report.table import Table, intervals, reasons, table_of
from geometrycrafter.files import explained, write_bytes

SYMBOLS = {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "δ^p": r"$\delta^p$", "δ_1": r"$\delta_1$", "Rel^p": r"Rel$^p$"}
SYMBOLS |= {"Rel^d": r"Rel$^d$", "°": r"$^\circ$", "–": "--", "_": r"\_", "%": r"\%"}
"""As LaTeX writes them."""


def markdown(report: Report) -> str:
    """The table, its intervals, what was not judged, settings and versions."""
    header, lines, notes = table_of(report)
    text = [f"# {report.protocol.title}", ""]
    text += [_pipes(header), _pipes(["---"] * len(header)), *map(_pipes, lines), "", *notes, *[""] * bool(notes)]
    text += [f"Means over clips ({len(report.clips)}), with 95 % intervals by bootstrap over them:", ""]
    titles = ["method", *(c.title for c in report.columns)]
    text += [_pipes(titles), _pipes(["---"] * len(titles)), *map(_pipes, intervals(report)), ""]
    if report.failures:
        text += ["Not judged:", "", *(f"- {line}" for line in reasons(report)), ""]
    text += [f"- {k}: {v}" for k, v in report.about().items() if v not in ("", None, {})]
    return "\n".join(text) + "\n"


def _pipes(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def latex(report: Report) -> str:
    """The table, the best of each column in bold."""
    header, lines, notes = table_of(report)
    best = [report.best(c) for c in report.columns]
    body = []
    for method, *cells in lines:
        text = [_tex(cell) for cell in cells]
        bold = [rf"\textbf{{{cell}}}" if method == b else cell for cell, b in zip(text, best)]
        body.append(" & ".join([_tex(method), *bold, *text[len(best) :]]) + r" \\")
    begin = rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}"
    head = " & ".join(map(_tex, header)) + r" \\"
    comments = [f"% {line}" for line in (report.protocol.title, *notes)]
    rows = [begin, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*comments, *rows]) + "\n"


def _tex(cell: str) -> str:
    for symbol, command in SYMBOLS.items():
        if symbol == "_" and "$" in cell:
            continue
        cell = cell.replace(symbol, command)
    return cell


def comma_separated(report: Report) -> str:
    """One row a method and clip, plain fractions."""
    keys = list(dict.fromkeys(k for r in report.rows for k in r["figures"]))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["protocol", "method", "clip", "frames", "seconds_a_frame", *keys])
    for r in report.rows:
        values = [r["figures"].get(k) for k in keys]
        writer.writerow([report.protocol.title, r["method"], r["clip"], r["frames"], r["seconds_a_frame"], *values])
    return out.getvalue()


def as_json(report: Report) -> str:
    """Everything."""
    means = {
        m: {c.key: vars(cell) for c in report.columns if (cell := report.cell(m, c.key)) is not None}
        for m in report.methods
    }
    whole = {
        "about": report.about(),
        "means": means,
        "ranks": report.ranks(),
        "judged": {m: report.judged(m) for m in report.methods},
        "failures": report.failures,
        "rows": report.rows,
        "published": published(report.protocol.name),
    }
    return json.dumps(whole, indent=1) + "\n"


FORMATS = {"md": markdown, "tex": latex, "csv": comma_separated, "json": as_json}
"""By the suffix of ``report``."""


def _encoded(text: str) -> bytes:
    """UTF-8; of names on disk that are none, the odd bytes as the terminal shows them."""
    return text.encode(errors="backslashreplace")


def write_report(report: Report, folder: Path) -> list[Path]:
    """``report.md``, ``.tex``, ``.csv`` and ``.json`` in a folder, each of which appears whole.

    Raises:
        WriteError: where they can't be written.
    """
    written = []
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, text in FORMATS.items():
            path = folder / f"report.{suffix}"
            write_bytes(path, _encoded(text(report)))
            written.append(path)
    return written


def write_table(table: Table, folder: Path) -> list[Path]:
    """A table as ``table.md`` and ``table.tex`` in a folder, each of which appears whole.

    Raises:
        WriteError: where they can't be written.
    """
    header, lines, notes = table
    plain = [_pipes(header), _pipes(["---"] * len(header)), *map(_pipes, lines), "", *notes]
    body = [" & ".join(map(_tex, line)) + r" \\" for line in (header, *lines)]
    begin = rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}"
    tex = [*(f"% {note}" for note in notes), begin, r"\toprule", body[0], r"\midrule", *body[1:]]
    texts = {"md": plain, "tex": [*tex, r"\bottomrule", r"\end{tabular}"]}
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, text in texts.items():
            write_bytes(folder / f"table.{suffix}", _encoded("\n".join(text).rstrip() + "\n"))
    return [folder / f"table.{suffix}" for suffix in texts]


def read_report(folder: Path) -> Report:
    """A report that was written.

    Raises:
        InputError: where there is none, or its figures are of an earlier version.
    """
    path = folder / "report.json"
    try:
        stored = json.loads(path.read_text())
        title = stored["about"]["protocol"]
        made = title, stored["about"].get("metrics", 1)
        report = Report(PROTOCOLS[title.rpartition("-v")[0]], stored["rows"], stored.get("failures", []))
        now = report.protocol.title, VERSION
        report.ranks()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: this is no report of an evaluation; give a folder that 'eval' wrote.") from error
    if made != now:
        was, wants = (f"{title} with metrics {metrics}" for title, metrics in (made, now))
        raise InputError(f"{path}: its figures are those of {was}, not {wants}; run that evaluation again.")
    return report
