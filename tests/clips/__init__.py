"""The court: inputs of every kind that people have, each with the truth known by construction.

Not here, because nothing at hand writes them: H.264 coded field by field (PAFF; x264 codes interlaced frames as MBAFF),
tiled HEIC unless pillow-heif is installed, JPEG XL, Dolby Vision, and Matroska covers where PyAV can't attach files.
"""

from __future__ import annotations

from clips.broken import CASES as BROKEN
from clips.case import Case
from clips.colours import SDR_CASES, SPECIAL
from clips.making import Absent
from clips.shapes import BARS, PHOTOS, SHAPES, SIZES, VIDEOS
from clips.stills import ANIMATIONS, ARRAYS, NAMES, SEQUENCES, STILLS
from clips.streams import CASES as STREAMS
from clips.times import FIELDS, TIMES

GROUPS: dict[str, tuple[Case, ...]] = {
    "Streams and frames": STREAMS,
    "Broken files": BROKEN,
    "Upright": (*VIDEOS, *PHOTOS),
    "Shape": SHAPES,
    "Bars": BARS,
    "Colour": (*SDR_CASES, *SPECIAL),
    "Interlaced": FIELDS,
    "Time": TIMES,
    "Stills": STILLS,
    "Animations": ANIMATIONS,
    "Sequences": SEQUENCES,
    "Names": NAMES,
    "Arrays": ARRAYS,
    "Sizes": SIZES,
}
CASES: tuple[Case, ...] = tuple(case for group in GROUPS.values() for case in group)


def outcome(case: Case) -> str:
    """What happens to an input, in a few words."""
    if case.refuses:
        return "refused"
    frames = len(case.numbers) if case.numbers is not None else case.count
    text = f"{frames} frame{'s' if frames != 1 else ''}, {case.size[0]}x{case.size[1]}"
    return text + (", told" if case.warns else "")


def listing() -> str:
    """The table of the court in Markdown."""
    rows = ["| group | input | options | outcome |", "|---|---|---|---|"]
    for group, cases in GROUPS.items():
        for case in cases:
            options = ", ".join(f"{name}={value}" for name, value in case.reading.items())
            rows.append(f"| {group} | {case.name} | {options} | {outcome(case)} |")
    return "\n".join(rows)


__all__ = ["Absent", "CASES", "Case", "GROUPS", "listing"]
