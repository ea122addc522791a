"""Rows as people read them."""

from __future__ import annotations

from collections.abc import Sequence

from geometrycrafter.benchmark.measurement import Row


def totalled(rows: Sequence[Row]) -> Row:
    """What a frame costs in all: the sum of times, the largest memory. A light decoder counts where no full one is."""
    counted = [r for r in rows if r.component != "light decoder" or all(o.component != "decoder" for o in rows)]

    def added(name: str) -> float | None:
        values = [getattr(r, name) for r in counted]
        return None if None in values else sum(values)

    def largest(name: str) -> float | None:
        return max((v for r in counted if (v := getattr(r, name)) is not None), default=None)

    return Row(
        component="total",
        seconds=added("seconds"),
        cpu_seconds=added("cpu_seconds"),
        gflop=added("gflop"),
        weights_mb=added("weights_mb"),
        peak_mb=largest("peak_mb"),
    )


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Header and lines of text; the peer's columns are there where a row has them."""
    header = ["component", "s/frame", "CPU s/frame", "GFLOP/frame", "of GEMM rate", "spread", "peak MB", "weights MB"]
    beside = any(r.peer_seconds is not None for r in rows)
    lines = []
    for r in rows:
        line = [
            r.component,
            _number(r.seconds, ".4f"),
            _number(r.cpu_seconds, ".4f"),
            _number(r.gflop, ",.1f"),
            _number(r.share_of_gemm, ".0%"),
            _number(r.spread, ".2f"),
            _number(r.peak_mb, ",.0f"),
            _number(r.weights_mb, ",.0f"),
        ]
        if beside:
            apart = r.ratio_low is not None and r.ratio_high is not None
            line += [
                _number(r.peer_seconds, ".4f"),
                _number(r.peer_peak_mb, ",.0f"),
                _number(r.ratio, ".2f") + (f" ({r.ratio_low:.2f}-{r.ratio_high:.2f})" if apart else ""),
                _number(r.cpu_ratio, ".2f"),
            ]
        lines.append([r.component, r.failed] if r.failed else line)
    return [header + (["peer s/frame", "peer MB", "times as fast", "by CPU time"] if beside else []), *lines]


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
