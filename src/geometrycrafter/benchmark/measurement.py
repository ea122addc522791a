"""One component after another: its time, its memory and its share of the machine's rate, beside its stock peer."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

import torch

from geometrycrafter.benchmark.clock import Product, Times, flop_of, interleaved
from geometrycrafter.benchmark.components import Work, compile_networks, components_of, set_layout
from geometrycrafter.benchmark.memory import MB, peak_of_process, peak_on_device
from geometrycrafter.benchmark.model import MeasuredModel
from geometrycrafter.benchmark.options import BenchmarkOptions
from geometrycrafter.benchmark.stock import HAVE_STOCK, check_diffusers, stock_work
from geometrycrafter.inference.precision import at_precision


@dataclass(frozen=True)
class Row:
    """Of one component. Seconds, arithmetic and their shares are medians over calls, a frame of a clip."""

    component: str
    seconds: float | None = None
    """A frame, all steps of the sampler included."""
    cpu_seconds: float | None = None
    """Of all threads, likewise."""
    times: float | None = None
    """How often a frame goes through it: steps of the sampler, frames that chunks share; seconds count them all."""
    gflop: float | None = None
    """A frame, likewise, as counted in what was run."""
    peak_mb: float | None = None
    """At most held in a call: on a GPU by its allocator, else by a process beyond Python and its libraries."""
    weights_mb: float | None = None
    share_of_gemm: float | None = None
    """Of the rate of a large product of the same type, measured in turn with the calls."""
    gemm_gflops: float | None = None
    """That rate."""
    spread: float | None = None
    """Largest over smallest time of the calls."""
    peer_seconds: float | None = None
    peer_cpu_seconds: float | None = None
    peer_peak_mb: float | None = None
    ratio: float | None = None
    """How many times as fast as the peer: the median over pairs of calls."""
    ratio_low: float | None = None
    ratio_high: float | None = None
    cpu_ratio: float | None = None
    peer_failed: str | None = None
    failed: str | None = None
    """What went wrong, where something did; running out of memory is a result, too."""

    def stored(self) -> dict[str, Any]:
        """As JSON has it: what isn't known is left out."""
        return {k: v for k, v in asdict(self).items() if v is not None}


def measure(options: BenchmarkOptions) -> Iterator[Row]:
    """Rows of a model's components, each as soon as it is there.

    Raises:
        InputError: where weights or stock implementations are missing.
    """
    if options.peer:
        check_diffusers()
    model = MeasuredModel.of(options)
    for name, make in components_of(model, options).items():
        try:
            yield _measured(name, make(), options)
        except (torch.OutOfMemoryError, MemoryError) as error:
            yield Row(name, failed=_short(error))
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _short(error: BaseException) -> str:
    return f"out of memory ({' '.join(str(error).split())[:120]})"


def _measured(name: str, work: Work, options: BenchmarkOptions) -> Row:
    device = work.inputs[0].device
    with at_precision(options.precision, list(work.networks.values()), device):
        return _measured_so(name, work, options, device)


def _measured_so(name: str, work: Work, options: BenchmarkOptions, device: torch.device) -> Row:
    set_layout(work, options.weights_layout)
    flop = flop_of(work)
    weights = sum(p.numel() * p.element_size() for n in work.networks.values() for p in n.parameters()) / MB
    peer = stock_work(name, work) if options.peer and name in HAVE_STOCK else None
    if options.compiled:
        compile_networks(work)
        work()
    no_peer = None
    if peer is not None:
        try:
            peer()
        except torch.OutOfMemoryError as error:
            peer, no_peer = None, _short(error)
    product = Product.of(work.dtype, device)
    ours, gemm, *others = interleaved([work, product.run, *([peer] if peer else [])], options.repeats, device)
    rate, scale = product.flop / gemm.seconds, work.times / work.frames
    # On processors by their own clock: what else runs here takes time from calls and products unevenly.
    spent = (ours.cpu_seconds, gemm.cpu_seconds) if device.type == "cpu" else (ours.seconds, gemm.seconds)
    row = Row(
        component=name,
        seconds=ours.seconds * scale,
        cpu_seconds=ours.cpu_seconds * scale,
        times=work.times,
        gflop=flop * scale / 1e9,
        weights_mb=weights,
        share_of_gemm=flop / spent[0] / (product.flop / spent[1]),
        gemm_gflops=rate / 1e9,
        spread=max(ours.wall) / min(ours.wall),
        peer_failed=no_peer,
    )
    if peer is not None:
        row = _beside(row, ours, others[0], scale)
    return _with_peaks(row, name, work, peer, options)


def _beside(row: Row, ours: Times, theirs: Times, scale: float) -> Row:
    """A row with the peer's figures."""
    pairs = sorted(b / a for a, b in zip(ours.wall, theirs.wall, strict=True))
    on_cpu = median(b / max(a, 1e-9) for a, b in zip(ours.cpu, theirs.cpu, strict=True))
    return replace(
        row,
        peer_seconds=theirs.seconds * scale,
        peer_cpu_seconds=theirs.cpu_seconds * scale,
        ratio=median(pairs),
        ratio_low=pairs[0],
        ratio_high=pairs[-1],
        cpu_ratio=on_cpu,
    )


def _with_peaks(row: Row, name: str, work: Work, peer: Work | None, options: BenchmarkOptions) -> Row:
    device = work.inputs[0].device
    if device.type == "cuda":
        peer_peak = None if peer is None else peak_on_device(peer, device)
        return replace(row, peak_mb=peak_on_device(work, device), peer_peak_mb=peer_peak)
    if device.type != "cpu":
        return row
    work.networks.clear()  # the processes that are asked next make their own
    if peer is not None:
        peer.networks.clear()
    gc.collect()
    peer_peak = None if peer is None else peak_of_process(name, options, stock=True)
    return replace(row, peak_mb=peak_of_process(name, options, stock=False), peer_peak_mb=peer_peak)
