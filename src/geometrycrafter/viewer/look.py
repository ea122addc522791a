"""How a scene is shown: in which colours, what of it, how large its points are; and how a flight through it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from geometrycrafter.settings import Count, Range, Settings, Share, Written

Colouring = Literal["picture", "depth", "normal", "confidence", "motion"]
Shown = Literal["frame", "moving", "static", "both"]
Side = Annotated[int, Range(16, 8192)]
FlightSize = Annotated[tuple[Side, Side], Written("HxW", "x")]
"""Height and width that encoders take, and two scenes side by side."""


@dataclass(frozen=True)
class Look(Settings):
    """How a scene is shown."""

    colour: Colouring = field(
        default="picture", metadata={"help": "of points: the frame's, or by depth, normal, confidence or motion"}
    )
    show: Shown = field(
        default="frame",
        metadata={"help": "the frame's points, what moves in it, the static world, or what moves in the static world"},
    )
    points: Annotated[int, Range(100, 20_000_000)] | None = field(
        default=None,
        metadata={
            "help": "of a frame, at most (default: 100,000, of a flight 600,000); of the static world up to thrice"
        },
    )
    step: Count | None = field(default=None, metadata={"help": "take every n-th pixel of every n-th row"})
    edges: Annotated[float, Range(0, 1000)] = field(
        default=0.04, metadata={"help": "jump of depth, relative, at which points are left out; 0: none are"}
    )
    confident: Share = field(
        default=0.0, metadata={"help": "leave out this share of a frame's points, the least confident"}
    )
    sky: bool = field(default=False, metadata={"help": "show what has no depth, too, far away"})


@dataclass(frozen=True)
class Flight(Settings):
    """Of a video that is rendered."""

    path: str = field(
        default="orbit",
        metadata={"help": "orbit: a swing about the clip's camera; clip: that camera's way; or a file of key cameras"},
    )
    size: FlightSize = field(default=(720, 1280), metadata={"help": "of the video"})
    seconds: Annotated[float, Range(0.04, 36000)] | None = field(
        default=None,
        metadata={"help": "that it lasts (default: as the clip, 6 at least); the clip plays again and again"},
    )
    degrees: Annotated[float, Range(0, 360)] = field(
        default=25.0, metadata={"help": "that an orbit swings to each side; from 180 on it goes once around"}
    )
    point_size: Annotated[float, Range(0.05, 20)] = field(default=1.0, metadata={"help": "of points, relative"})
