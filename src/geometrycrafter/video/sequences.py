"""Pictures that are one clip together: folders, patterns, globs and lists, in the order of their numbers."""

from __future__ import annotations

import codecs
import glob
import re
import warnings
from collections.abc import Sequence
from functools import reduce
from math import gcd
from pathlib import Path

from geometrycrafter.errors import InputError
from geometrycrafter.files import natural
from geometrycrafter.video.stills import SUFFIXES

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".divx", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2"),
    *(".ts", ".mts", ".m2ts", ".m2t", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".vob", ".ogv", ".ogm", ".rm", ".rmvb"),
    *(".mxf", ".gxf", ".dv", ".mj2", ".mjpeg", ".mjpg", ".nut", ".ivf", ".y4m", ".wtv", ".amv"),
    *(".h264", ".264", ".avc", ".h265", ".265", ".hevc", ".av1", ".obu"),
)
"""Names that videos end with, in small letters; files of other names are read too, where they are named."""
LISTS = (".txt", ".lst", ".ffconcat")
MOST_LISTED = 10**6
"""Names in a list; longer ones are refused."""


def is_picture(path: Path) -> bool:
    """Whether a name is a picture's: no hidden file or companion of one (``._x.png``), no folder."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and not path.is_dir()


def is_video(path: Path) -> bool:
    """Whether a name is a video's: no hidden file, no folder."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".") and path.is_file()


def clips_of(text: str) -> list[str] | None:
    """The inputs that a folder of videos, or a pattern or glob of videos or folders, stands for, in natural order.

    None where it stands for itself: a file, a folder or pattern of pictures, or nothing.
    """
    path = Path(text)
    if path.is_dir():
        inside = list(path.iterdir())
        found = [p for p in inside if is_video(p)]
    elif path.exists():
        return None
    else:
        inside = _matches(text) or []
        colours = {c for p in {p.parent for p in inside} if (c := _colours_of_recording(p)) is not None and c in inside}
        if colours:
            warnings.warn(f"{text}: of a recording, its pictures are read, and its other folders are not", stacklevel=2)
            inside = [
                p for p in inside if not p.is_dir() or p.parent not in {c.parent for c in colours} or p in colours
            ]
        named = not glob.has_magic(path.suffix)  # "*.r3d" asks for these, whatever they are
        found = [p for p in inside if p.is_dir() or is_video(p) or (named and path.suffix and p.is_file())]
    pictures = any(is_picture(p) for p in inside)
    if pictures and any(is_video(p) for p in inside):
        warnings.warn(f"{text}: pictures are read, and the videos among them are not; name those", stacklevel=2)
    return [str(p) for p in sorted(found, key=natural)] if found and not pictures else None


def _matches(text: str) -> list[Path] | None:
    """What a pattern or glob names, no hidden files; None where it is neither."""
    path = Path(text)
    pattern = _as_glob(path.name)
    if pattern is not None:
        return [p for p in path.parent.iterdir() if re.fullmatch(pattern, p.name)] if path.parent.is_dir() else []
    return [Path(p) for p in glob.glob(text)] if glob.has_magic(text) else None


def find(text: str) -> list[Path] | None:
    """The pictures that a folder, a pattern or a list names, in order; None where the text is none of these.

    Args:
        text: a folder; ``shot.%04d.exr``, ``shot.####.exr`` or ``shot.*.exr``; or a text file of names, one a line.

    Raises:
        InputError: where there is not one picture.
    """
    path = Path(text)
    if path.is_dir():
        found, what = [p for p in path.iterdir() if is_picture(p)], "the folder holds no pictures"
        if not found and (colours := _colours_of_recording(path)) is not None:
            found = [p for p in colours.iterdir() if is_picture(p)]
            warnings.warn(
                f"{text}: pictures of {colours.name} are read, the depth maps beside it are not", stacklevel=2
            )
    elif path.exists():
        return _listed(path) if path.suffix.lower() in LISTS else None
    else:
        matches = _matches(text)
        if matches is None:
            return None
        found = [p for p in matches if is_picture(p)]
        what = "no picture is called so"
    if not found and (path / "zarr.json").is_file():
        raise InputError(f"{text}: this is a scene; give the video that it was made of, or see it by 'view'.")
    if not found:
        raise InputError(f"{text}: {what} ({', '.join(SUFFIXES[:6])}, ...); name one that does.")
    return _without_depth(text, sorted(found, key=natural))


def _colours_of_recording(folder: Path) -> Path | None:
    """Where an RGB-D recording has its pictures, if depth maps are in a folder beside theirs; None where none are."""
    inside = {p.name.lower(): p for p in folder.iterdir() if p.is_dir()}
    found = [p for name, p in inside.items() if re.fullmatch("colou?rs?|rgb|images?", name)]
    return found[0] if len(found) == 1 and any("depth" in name for name in inside) else None


def _without_depth(text: str, found: list[Path]) -> list[Path]:
    """Pictures but for depth maps of others among them, as recordings of RGB-D cameras have them side by side."""
    depth = [p for p in found if "depth" in p.stem.lower()]
    colours = {_bare(p, "colou?r|rgb|image") for p in found if "depth" not in p.stem.lower()}
    left_out = {p for p in depth if _bare(p, "depth") in colours}
    if left_out:
        first = min(left_out, key=natural).name
        warnings.warn(f"{text}: {len(left_out)} depth maps ({first}, ...) are no frames, and left out", stacklevel=3)
    return [p for p in found if p not in left_out]


def _bare(path: Path, word: str) -> str:
    """A name without its suffix and the word that says what the picture shows."""
    return re.sub(rf"[._-]?(?:{word})[._-]?", "", path.stem.lower(), count=1)


def _as_glob(name: str) -> str | None:
    """The regular expression that ``%04d`` or ``####`` in a name stands for; None where there is neither."""
    match = re.search(r"%(0?)(\d*)d|#+", name)
    if match is None:
        return None
    before, after = re.escape(name[: match.start()]), re.escape(name[match.end() :])
    width = len(match[0]) if match[0].startswith("#") else int(match[2] or 1)
    padded = match[0].startswith("#") or match[1]
    return f"{before}\\d{{{width},}}{after}" if padded else f"{before}\\d+{after}"


def _listed(path: Path) -> list[Path]:
    """Names of a text file: one a line, relative to the file; ``file 'NAME'`` as ffmpeg's lists have it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the list can't be read ({error.strerror}).") from error
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # as some editors write
    lines = content.decode(
        "utf-16" if wide else "utf-8-sig", errors="replace" if wide else "surrogateescape"
    ).splitlines()
    if len(lines) > MOST_LISTED:
        raise InputError(f"{path}: the list has {len(lines)} lines; {MOST_LISTED} are the most.")
    found = []
    for line in lines:
        name = re.sub(r"^file\s+'?(.*?)'?$", r"\1", line.strip())
        if name and not name.startswith("#") and not line.startswith(("ffconcat", "duration")):
            found.append(path.parent / name)
    if not found:
        raise InputError(f"{path}: the list names no picture; give one name a line.")
    other = next((p for p in found if p.suffix.lower() not in SUFFIXES), None)
    if other is not None:
        raise InputError(f"{path}: the list names {other}, which is no picture ({', '.join(SUFFIXES[:6])}, ...).")
    missing = next((p for p in found if not p.is_file()), None)
    if missing is not None:
        raise InputError(f"{path}: the list names {missing}, which is not there.")
    return found


def places(paths: Sequence[Path]) -> list[int]:
    """Where each picture stands in time, in frames: by the numbers in the names, so that gaps stay open.

    Names that are alike but for one number are taken by it; their usual step is a frame. Others stand in a row.
    """
    apart = [natural(p.name) for p in paths]
    row = list(range(len(paths)))
    if len(paths) < 3 or len({len(a) for a in apart}) > 1:
        return row
    varying = [i for i in range(len(apart[0])) if len({a[i] for a in apart}) > 1]
    if len(varying) != 1 or apart[0][varying[0]][0] != 0:
        return row
    numbers = [int(a[varying[0]][1]) for a in apart]
    steps = [b - a for a, b in zip(numbers, numbers[1:])]
    unit = reduce(gcd, steps)
    if unit <= 0 or max(steps) == unit:
        return row
    missing = (numbers[-1] - numbers[0]) // unit + 1 - len(numbers)
    if missing > 10 * len(numbers):  # these are dates or other names, no frames
        return row
    after = next(p for p, s in zip(paths, steps) if s > unit)
    warnings.warn(f"{paths[0].parent}: {missing} pictures are missing, the first after {after.name}", stacklevel=2)
    return [(n - numbers[0]) // unit for n in numbers]
