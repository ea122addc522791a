"""Evaluation protocols by name and version, so that a number says how it was made.

The paper's (section 4.1; supplementary, 1.2; the authors' evaluation scripts) are ``paper-DATASET``. A change that
moves a figure raises the version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from geometrycrafter.data.dataset import Selection
from geometrycrafter.data.datasets import data_set
from geometrycrafter.data.datasets.kitti import DRIVES
from geometrycrafter.errors import InputError


@dataclass(frozen=True)
class Protocol:
    """How a data set is judged."""

    name: str
    data: str
    """Data set, or ``rendered`` or ``folder``."""
    max_depth: float
    """For depth with scale and shift: truth beyond is not scored, fitted depth is cut off there."""
    size: tuple[int, int] | None
    """Height and width that networks work at; None: the model's own choice."""
    weighted: bool = False
    """Inverse-depth weights in the alignment."""
    focal: Literal["shared", "per-frame"] = "per-frame"
    selection: Selection | None = None
    """Frames that are taken, where they are not the data set's own."""
    depth_only: bool = False
    """Of other papers: depth alone, by disparity's scale and shift."""
    poses: bool = False
    """The camera's trajectory is judged, and no depth."""
    version: int = 1
    world: int = 1
    """Of rendered clips."""
    note: str = ""

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name}-v{self.version}"


MOVING_SINTEL = (
    *("alley_2", "ambush_4", "ambush_5", "ambush_6", "cave_2", "cave_4", "market_2", "market_5", "market_6"),
    *("shaman_3", "sleeping_1", "sleeping_2", "temple_2", "temple_3"),
)
"""Sequences of Sintel whose cameras move so that poses can be aligned (Chen et al. 2024, LEAP-VO, and later ones)."""

_ALL = (
    Protocol("paper-gmu-kitchens", "gmu-kitchens", 10, (512, 960)),
    Protocol("paper-scannet", "scannet", 10, (512, 640)),
    Protocol("paper-sintel", "sintel", 70, (448, 896), weighted=True),
    Protocol("paper-kitti", "kitti", 80, (384, 768), weighted=True),
    Protocol("paper-monkaa", "monkaa", 100, (512, 960), weighted=True, note="eight of the paper's nine scenes"),
    Protocol("paper-ddad", "ddad", 250, (384, 640), note="networks see a third of the size, scored at full size"),
    Protocol("paper-diode", "diode", 350, (576, 768), version=2, note="the paper gives neither size nor maximum depth"),
    Protocol(
        "wide-kitti",
        "kitti",
        80,
        (256, 896),
        weighted=True,
        selection=Selection(
            frames=110,
            crop=(352, 1216),
            sequences=tuple(f"{date}_drive_{n}_sync" for date, numbers in DRIVES.items() for n in numbers),
        ),
        note="the whole width of KITTI's pictures, which the paper cuts to 736",
    ),
    Protocol(
        "video-depth-kitti",
        "kitti",
        80,
        (256, 896),
        selection=Selection(
            frames=500,
            crop=(352, 1216),
            sequences=tuple(f"{date}_drive_{n}_sync" for date, numbers in DRIVES.items() for n in numbers),
        ),
        depth_only=True,
        version=2,
        note="up to 500 frames, scale and shift of disparity for the clip, as video-depth papers do",
    ),
    Protocol(
        "video-depth-scannet",
        "scannet",
        10,
        (512, 640),
        selection=Selection(frames=500, crop=(464, 624), sequences=tuple(f"scene{n:04d}_00" for n in range(707, 807))),
        depth_only=True,
        note="500 frames in a row, scale and shift of disparity for the clip",
    ),
    Protocol(
        "video-depth-sintel",
        "sintel",
        70,
        (448, 1024),
        selection=Selection(),
        depth_only=True,
        version=2,
        note="whole frames, scale and shift of disparity for the clip",
    ),
    Protocol(
        "poses-sintel",
        "sintel-final",
        70,
        (448, 1024),
        focal="shared",
        selection=Selection(sequences=MOVING_SINTEL),
        poses=True,
        note="all frames of the final pass; nine sequences whose camera stands still or goes straight are left out, "
        "as in the literature",
    ),
    Protocol(
        "poses-tum-dynamics",
        "tum-dynamics",
        10,
        (480, 640),
        focal="shared",
        selection=Selection(frames=90, stride=3),
        poses=True,
        note="the first 90 of every third picture that has a pose within 20 ms, as in the literature",
    ),
    Protocol(
        "poses-scannet",
        "scannet",
        10,
        (480, 640),
        focal="shared",
        selection=Selection(frames=90, stride=3, sequences=tuple(f"scene{n:04d}_00" for n in range(707, 807))),
        poses=True,
        note="the first 90 of every third picture of the first 100 test scenes, as in the literature",
    ),
    Protocol("poses-rendered", "rendered", 250, None, focal="shared", poses=True, note="clips of the procedural world"),
    Protocol("poses-folder", "folder", 10, None, focal="shared", poses=True, note="an RGB-D recording with poses"),
    Protocol("rendered", "rendered", 250, None, note="clips of the procedural world that nothing was trained on"),
    Protocol("rendered-2", "rendered", 250, None, world=2, note="clips of the second world, with people, fences, seas"),
    Protocol("folder", "folder", 10, None, note="an RGB-D recording"),
)
PROTOCOLS = {p.name: p for p in _ALL}


def protocol_of(data: str, name: str | None = None, poses: bool = False) -> Protocol:
    """The protocol of a name, or the paper's for a data set.

    Args:
        data: the data set.
        name: of the protocol.
        poses: those of trajectories are meant; their data sets may be called as their protocols are.

    Raises:
        InputError: where there is none, or it is another data set's.
    """
    offered = [p for p in _ALL if p.poses == poses]
    named = next((p for p in offered if poses and data in (p.data, p.name, p.name.removeprefix("poses-"))), None)
    try:
        own = named.data if named is not None else data if data in ("rendered", "folder") else data_set(data).name
    except InputError as error:
        raise InputError(
            f"{data}: there is no such data set to judge by; there are {', '.join(judged(poses))}."
        ) from error
    fitting = [p for p in offered if p.data == own]
    if not fitting:
        what = "has no protocol of poses" if poses else "trains"
        raise InputError(f"{data}: this data set {what}; those that judge are {', '.join(judged(poses))}.")
    if name is None:
        return fitting[0]
    for protocol in fitting:
        if name in (protocol.name, protocol.title):
            return protocol
    raise InputError(f"--protocol {name}: {own} has {', '.join(p.title for p in fitting)}.")


def judged(poses: bool = False) -> list[str]:
    """Data sets that have a protocol, of points or of poses."""
    return list(dict.fromkeys(p.data for p in _ALL if p.poses == poses))
