"""Settings whose fields say what may stand in them: one declaration for the command line, Python and TOML.

@dataclass(frozen=True)
class Options(Settings):
    steps: Annotated[int, Range(1, 1000)] = 5
    size: Annotated[tuple[Side, Side], Written("HxW", "x")] | None = None

Options(steps=0)                              # InputError: steps 0: give a whole number from 1 to 1,000.
parser.add_argument("--steps", type=argument(Options, "steps"))
read_settings(Options, tomllib.loads(text), "options.toml")
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import numbers
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union

from geometrycrafter.errors import InputError
from geometrycrafter.files import on_disk

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included unless said otherwise; NaN and infinity never are."""

    low: float
    high: float
    above: bool = False
    """``low`` itself is left out."""
    below: bool = False
    """``high`` itself is left out."""
    multiple: int = 1
    """Whole numbers are multiples of this."""

    def holds(self, value: float) -> bool:
        """Whether a number lies inside."""
        low = value > self.low if self.above else value >= self.low
        high = value < self.high if self.below else value <= self.high
        return low and high and (self.multiple == 1 or value % self.multiple == 0)

    def described(self, whole: bool) -> str:
        """In words."""
        kind = f"a multiple of {self.multiple}" if self.multiple > 1 else "a whole number" if whole else "a number"
        low, high = (f"{int(x):,}" if x == int(x) else f"{x:g}" for x in (self.low, self.high))
        return f"{kind} {'above' if self.above else 'from'} {low} {'to below' if self.below else 'to'} {high}"


@dataclass(frozen=True)
class Written:
    """How a tuple is written on the command line."""

    example: str
    """What help calls it: ``HxW``."""
    separator: str


MOST = 10**9
Count = Annotated[int, Range(1, MOST)]
Index = Annotated[int, Range(0, MOST)]
Seed = Annotated[int, Range(0, 2**62)]
Share = Annotated[float, Range(0, 1)]
Positive = Annotated[float, Range(0, 1e9, above=True)]
NotNegative = Annotated[float, Range(0, 1e9)]
Rate = Annotated[float, Range(0, 1000, above=True)]
"""Frames a second."""
Pixels = Annotated[int, Range(1, 65536)]
"""A side of a picture."""
FocalLength = Annotated[float, Range(1e-3, 1e7)]
Coordinate = Annotated[float, Range(-1e6, 1e6)]
Size = Annotated[tuple[Pixels, Pixels], Written("HxW", "x")]
"""Height and width."""
Intrinsics = Annotated[tuple[FocalLength, FocalLength, Coordinate, Coordinate], Written("fx,fy,cx,cy", ",")]
"""Pixels."""


class Settings:
    """Base of frozen dataclasses: every field is checked against its annotation when one is made."""

    def __post_init__(self) -> None:
        for name, kind in kinds_of(type(self)).items():
            object.__setattr__(self, name, value_of(kind, getattr(self, name), name))


def kinds_of(settings: Any) -> dict[str, Any]:
    """The annotation of each field of a dataclass."""
    hints = typing.get_type_hints(settings, include_extras=True)
    return {f.name: hints[f.name] for f in dataclasses.fields(settings)}


def value_of(kind: Any, value: Any, name: str) -> Any:
    """A value, checked against an annotation and in its own form: lists as tuples, whole numbers as floats.

    Args:
        kind: ``int``, ``float``, ``bool``, ``str``, ``Path``, a ``Literal``, a dataclass, a ``tuple`` of such,
            ``X | None``; numbers are annotated with their :class:`Range`. A ``Path`` is on this machine's disk: URLs
            are refused, and what may be one is a ``str``.
        value: of Python or TOML.
        name: what messages call it.

    Raises:
        InputError: names the setting, its value and what may stand there.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        limits = next((a for a in arguments[1:] if isinstance(a, Range)), None)
        base = arguments[0]
        if limits is None:
            return value_of(base, value, name)
        return _number(base, value, name, limits)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        errors = []
        for other in [a for a in arguments if a is not type(None)]:
            try:
                return value_of(other, value, name)
            except InputError as error:
                errors.append(error)
        raise errors[-1 if isinstance(value, str) else 0]
    if origin is Literal:
        # Of its type first: what an array says to == is no yes or no.
        alike = [a for a in arguments if isinstance(value, type(a)) and isinstance(value, bool) == isinstance(a, bool)]
        if value not in alike:
            raise InputError(f"{name} {_shown(value)}: choose {_listed(map(str, arguments))}.")
        return value
    if origin is tuple:
        return _tuple(arguments, value, name)
    if dataclasses.is_dataclass(kind):
        if isinstance(value, kind):  # type: ignore[arg-type]
            return value
        return read_settings(typing.cast(type, kind), value, name)
    if kind in (int, float):
        return _number(kind, value, name, Range(-math.inf, math.inf))
    if kind is Any:
        return value
    if kind is Path:
        if not isinstance(value, str | Path) or not str(value):
            raise InputError(f"{name} {_shown(value)}: give a path.")
        return on_disk(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{name} {_shown(value)}: a value of type {kind.__name__} is wanted.")
    return value


def _number(kind: type, value: Any, name: str, limits: Range) -> int | float:
    whole = kind is int
    right = isinstance(value, numbers.Integral if whole else numbers.Real) and not isinstance(value, bool)
    # A whole number may be larger than any float: its range is looked at before it is made one.
    if right and limits.holds(value) and (whole or math.isfinite(value)):
        return kind(value)
    bounded = math.isfinite(limits.high)
    wanted = limits.described(whole) if bounded else ("a whole number" if whole else "a finite number")
    nearest = ""
    if right and limits.multiple > 1 and limits.low <= value <= limits.high:
        nearest = f"; the nearest is {max(limits.low, round(value / limits.multiple) * limits.multiple):g}"
    raise InputError(f"{name} {_shown(value)}: give {wanted}{nearest}.")


def _tuple(arguments: tuple[Any, ...], value: Any, name: str) -> tuple[Any, ...]:
    open_ended = len(arguments) == 2 and arguments[1] is ...
    if not isinstance(value, list | tuple) or (not open_ended and len(value) != len(arguments)):
        raise InputError(f"{name} {_shown(value)}: a list{'' if open_ended else f' of {len(arguments)}'} is wanted.")
    each = [arguments[0]] * len(value) if open_ended else arguments
    return tuple(value_of(k, v, name) for k, v in zip(each, value, strict=True))


def _shown(value: Any) -> str:
    """A value as Python writes it, on one line that is not too long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 100 else f"{text[:80]}... ({type(value).__name__})"


def _listed(words: Any) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else str(last)


def read_settings(settings: type[T], stored: Any, name: str) -> T:
    """A dataclass from a table of plain values, such as TOML's; what it leaves out is at its default.

    Raises:
        InputError: names the file and the key that is unknown, missing or has a wrong value.
    """
    if not isinstance(stored, Mapping):
        raise InputError(f"{name}: {settings.__name__} wants a table of values, not {_shown(stored)}.")
    kinds = kinds_of(settings)
    unknown = sorted(set(stored) - set(kinds))
    if unknown:
        raise InputError(f"{name}: {unknown[0]} is no setting; there are {', '.join(kinds)}.")
    try:
        return settings(**{k: value_of(kinds[k], v, f"{name}: {k}") for k, v in stored.items()})
    except TypeError as error:
        raise InputError(f"{name}: {str(error).split('__init__() ')[-1]}.") from error


def argument(kind: Any, field: str | None = None) -> Callable[[str], Any]:
    """What argparse calls to read a flag: text to a checked value.

    Args:
        kind: an annotation, or a settings class
        field: of which this field is meant.
    """
    wanted = kinds_of(kind)[field] if field is not None else kind

    def read(text: str) -> Any:
        try:
            return value_of(wanted, _plain(wanted, text), "")
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error).strip().rstrip(".")) from error

    read.kind = wanted  # type: ignore[attr-defined]
    return read


def _one_of(kinds: list[Any], text: str) -> Any:
    """Text as a word that may stand there, or else as the plain value that another kind wants."""
    words = [str(word) for kind in kinds if typing.get_origin(kind) is Literal for word in typing.get_args(kind)]
    if text in words:
        return text
    try:
        return _plain(next(kind for kind in kinds if typing.get_origin(kind) is not Literal), text)
    except InputError as error:
        if not words:
            raise
        raise InputError(f"{text!r}: choose {_listed(words)}, or another value ({str(error).rstrip('.')}).") from error


def _plain(kind: Any, text: str) -> Any:
    """Text as the plain value that an annotation wants."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _one_of([a for a in arguments if a is not type(None)], text)
    if origin is Annotated:
        written = next((a for a in arguments[1:] if isinstance(a, Written)), None)
        if written is None:
            return _plain(arguments[0], text)
        parts = text.lower().split(written.separator)
        each = typing.get_args(arguments[0])
        if len(parts) != len(each) and each[-1] is not ...:
            raise InputError(f"{text!r}: give {written.example}.")
        kinds = [each[0]] * len(parts) if each[-1] is ... else each
        return [_plain(k, p) for k, p in zip(kinds, parts, strict=True)]
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError as error:
            raise InputError(f"{text!r} is no {'whole number' if kind is int else 'number'}.") from error
    return text
