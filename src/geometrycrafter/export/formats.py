"""The formats that scenes are exported in: the one list of them, which loads no writer before it is used."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from geometrycrafter.errors import InputError
from geometrycrafter.settings import MOST, Count, Index, Range, Settings, Written
from geometrycrafter.video.options import Reading

if TYPE_CHECKING:
    from geometrycrafter.scene import Scene

FrameIndex = Annotated[int, Range(-MOST, MOST)]
"""Of a frame; negative ones count from the end."""
FrameNumbers = Annotated[tuple[Index, ...], Written("N,N", ",")]
Angle = Annotated[float, Range(-180, 180)]
"""Degrees."""
CloudSize = Annotated[int, Range(1, 100_000_000)]
"""Points of a fused cloud."""
SHOT = "which shot's world, from 0, where there are several"
VideoWidth = Annotated[int, Range(16, 16384)]


@dataclass(frozen=True)
class NoOptions(Settings):
    """Of a format that has none."""


@dataclass(frozen=True)
class NpzOptions(Settings):
    """Of arrays."""

    masked: Literal["keep", "nan"] = field(
        default="keep",
        metadata={"help": "points where the mask is false: as predicted, as the authors have it, or not a number"},
    )


@dataclass(frozen=True)
class TumOptions(Settings):
    """Of trajectories."""

    shot: Index | None = field(default=None, metadata={"help": SHOT})


@dataclass(frozen=True)
class ColourOptions(Settings):
    """Of formats with colours of the frames."""

    colour: Literal["auto", "full", "small"] = field(
        default="auto",
        metadata={"help": "of the video at its full size, of the scene's small copy, or full where the video is there"},
    )
    source: str | None = field(default=None, metadata={"help": "where the video is now"})
    source_start: Index | None = field(
        default=None, metadata={"help": "the source's first frame that the scene has, where it is longer"}
    )
    source_end: Count | None = field(default=None, metadata={"help": "likewise: the frame to stop before"})
    source_stride: Count | None = field(default=None, metadata={"help": "likewise: take every n-th frame"})

    @property
    def part(self) -> Reading | None:
        """Which frames of the source the scene has; None where nothing is said."""
        start, end, stride = self.source_start, self.source_end, self.source_stride
        return None if (start, end, stride) == (None, None, None) else Reading(start or 0, end, stride or 1)


@dataclass(frozen=True)
class PlyOptions(ColourOptions):
    """Of point clouds."""

    frame: FrameIndex = field(default=0, metadata={"help": "which frame; negative ones count from the end"})
    step: Count = field(default=1, metadata={"help": "take every n-th pixel of every n-th row"})
    each: bool = field(default=False, metadata={"help": "a folder with a file for each frame"})
    world: bool = field(default=False, metadata={"help": "the static points of all frames in place of one frame's"})
    points: CloudSize = field(default=1_000_000, metadata={"help": "of the static world, at most"})
    shot: Index | None = field(default=None, metadata={"help": SHOT})
    moving: FrameNumbers | None = field(
        default=None, metadata={"help": "with --world: frames whose moving points are put in, too, told apart as such"}
    )


@dataclass(frozen=True)
class GlbOptions(ColourOptions):
    """Of glTF."""

    kind: Literal["mesh", "points"] = field(
        default="mesh", metadata={"help": "a textured surface, cut where depth jumps, or points"}
    )
    jump: Annotated[float, Range(0, 1000)] = field(
        default=0.1, metadata={"help": "in depth between neighbours, relative, at which a mesh is cut"}
    )
    frame: FrameIndex = field(default=0, metadata={"help": "which frame; negative ones count from the end"})
    step: Count | None = field(default=None, metadata={"help": "take every n-th pixel of every n-th row"})
    animate: bool = field(default=False, metadata={"help": "all frames, which play one after another"})
    world: bool = field(default=False, metadata={"help": "the static points of all frames in place of one frame's"})
    points: CloudSize = field(default=1_000_000, metadata={"help": "of the static world, at most"})
    shot: Index | None = field(default=None, metadata={"help": SHOT})


@dataclass(frozen=True)
class UsdOptions(ColourOptions):
    """Of USD."""

    step: Count | None = field(default=None, metadata={"help": "take every n-th pixel of every n-th row"})


@dataclass(frozen=True)
class RerunOptions(ColourOptions):
    """Of Rerun."""

    step: Count | None = field(default=None, metadata={"help": "take every n-th pixel of every n-th row"})


@dataclass(frozen=True)
class SplatOptions(ColourOptions):
    """Of Gaussians."""

    points: CloudSize = field(default=500_000, metadata={"help": "of the static world, at most"})
    shot: Index | None = field(default=None, metadata={"help": SHOT})
    degree: Annotated[int, Range(0, 3)] = field(
        default=0, metadata={"help": "of spherical harmonics; all above 0 are zeros, which some trainers want (3)"}
    )


@dataclass(frozen=True)
class Png16Options(Settings):
    """Of depth in 16 bits."""

    scale: Literal["log", "linear", "millimetres"] = field(
        default="log",
        metadata={"help": "equal steps of depth's logarithm, of depth, or thousandths of a metre"},
    )


@dataclass(frozen=True)
class ExrOptions(Settings):
    """Of OpenEXR."""

    pixel: Literal["float", "half"] = field(default="float", metadata={"help": "how exact values are: 32 or 16 bits"})


@dataclass(frozen=True)
class VideoOptions(ColourOptions):
    """Of videos."""

    max_width: VideoWidth = field(default=1920, metadata={"help": "of the video, pixels; larger ones are thinned out"})
    show: Literal["beside", "disparity"] = field(
        default="beside", metadata={"help": "disparity beside the frames, or alone"}
    )
    bits: Literal["8", "10"] = field(default="8", metadata={"help": "of each colour"})


@dataclass(frozen=True)
class HtmlOptions(ColourOptions):
    """Of pages."""

    megabytes: Annotated[float, Range(0.1, 2000)] | None = field(
        default=None,
        metadata={
            "help": "that the page has at most, dense and exact as that allows (default: 20; beyond 100 frames 0.2 for "
            "each, up to 60)"
        },
    )
    step: Count | None = field(default=None, metadata={"help": "take every n-th pixel of every n-th row"})
    stride: Count = field(default=1, metadata={"help": "take every n-th frame"})
    quality: Annotated[int, Range(1, 100)] = field(default=82, metadata={"help": "of the pictures' JPEG"})
    static: Literal["on", "off"] = field(
        default="on", metadata={"help": "whether the static world is put in, too, where poses are known"}
    )


@dataclass(frozen=True)
class WorldOptions(ColourOptions):
    """Of folders of pictures with their cameras."""

    points: CloudSize = field(default=100_000, metadata={"help": "of the static world, at most"})
    images: Literal["jpg", "png"] = field(default="jpg", metadata={"help": "how pictures are written"})
    shot: Index | None = field(default=None, metadata={"help": SHOT})


@dataclass(frozen=True)
class NerfstudioOptions(WorldOptions):
    """Of nerfstudio's folders."""

    depth: Literal["on", "off"] = field(default="on", metadata={"help": "whether maps of depth are written, too"})


@dataclass(frozen=True)
class ColmapOptions(WorldOptions):
    """Of COLMAP's folders."""

    model: Literal["both", "text", "binary"] = field(
        default="both", metadata={"help": "how cameras, poses and points are written"}
    )
    observations: Literal["auto", "tracks", "cloud"] = field(
        default="auto",
        metadata={
            "help": "points, and who sees them: those that poses were found from, which are taken where the scene has "
            "them, or the static world"
        },
    )


@dataclass(frozen=True)
class ComparisonOptions(Settings):
    """Of figures that compare scenes."""

    frames: FrameNumbers | None = None
    """Which; None: four, evenly spread."""
    angle: Angle = 25.0
    """That point clouds are turned by, degrees about the vertical."""


@dataclass(frozen=True)
class Format:
    """A format that scenes are exported in."""

    name: str
    suffix: str
    what: str
    """In a few words: what it holds, and what opens it."""
    writer: str
    """``module:function(scene, path, options)``; loaded when it is used."""
    options: type[Settings] = NoOptions
    others: tuple[str, ...] = ()
    """Further suffixes, each a kind of its own; the writer is told which as ``suffix``."""
    folder: tuple[str, ...] = ()
    """For a format that is a folder: names of what it holds, as patterns; nothing else is ever replaced with it."""
    each: tuple[str, ...] = ()
    """The same for one that is a folder where its option ``each`` is set."""

    def holds(self, options: Settings) -> tuple[str, ...]:
        """Names of what the folder holds that is written with these options; none: it is a file."""
        return self.each if getattr(options, "each", False) else self.folder

    def suffix_of(self, path: Path) -> str:
        """Which kind of file a name asks for.

        Raises:
            InputError: where this format has several, and the name is none of them.
        """
        if not self.others:
            return self.suffix
        found = path.suffix.lower()
        if found not in (self.suffix, *self.others):
            names = ", ".join((self.suffix, *self.others))
            raise InputError(f"{path}: {self.name} is written as {names}; give a name that ends so.")
        return found

    def write(self, scene: Scene, path: Path, options: Settings, suffix: str | None = None) -> None:
        """Write a scene.

        Args:
            scene: to write.
            path: of the file, which need not have the format's suffix.
            options: of this format.
            suffix: which kind of file, from :meth:`suffix_of`; None: the usual one.

        Raises:
            InputError: where the scene and the options don't fit.
        """
        module, _, function = self.writer.partition(":")
        kind = {"suffix": suffix or self.suffix} if self.others else {}
        getattr(import_module(module), function)(scene, path, options, **kind)


_LIST = (
    Format(
        "npz",
        ".npz",
        "the authors' arrays point_map and mask, with intrinsics, times and fps, for NumPy",
        "geometrycrafter.export.npz:write_npz",
        NpzOptions,
    ),
    Format(
        "ply",
        ".ply",
        "coloured points of a frame, of each, or of the static world, for MeshLab, CloudCompare or Blender",
        "geometrycrafter.export.ply:write_ply",
        PlyOptions,
        each=("frame_*.ply",),
    ),
    Format(
        "glb",
        ".glb",
        "a frame as a textured mesh or points, all frames playing, or the static world, for Blender, browsers, engines",
        "geometrycrafter.export.glb:write_glb",
        GlbOptions,
    ),
    Format(
        "usd",
        ".usd",
        "points and camera, animated, for Blender, Houdini, Maya or usdview",
        "geometrycrafter.export.usd:write_usd",
        UsdOptions,
        (".usdc",),
    ),
    Format(
        "rerun",
        ".rrd",
        "points, cameras and pictures on a timeline, for Rerun's viewer",
        "geometrycrafter.export.rerun:write_rerun",
        RerunOptions,
    ),
    Format(
        "splats",
        ".splats.ply",
        "the static world as 3-D Gaussians, for SuperSplat and other splat viewers, and as a start for trainers",
        "geometrycrafter.export.splats:write_splats",
        SplatOptions,
    ),
    Format(
        "tum",
        ".tum",
        "camera poses as lines of time, place and quaternion, for evo and the TUM tools",
        "geometrycrafter.export.tum:write_tum",
        TumOptions,
    ),
    Format(
        "colmap",
        ".colmap",
        "a folder of pictures, cameras, poses and static points, for COLMAP",
        "geometrycrafter.export.colmap:write_colmap",
        ColmapOptions,
        folder=("images", "masks", "sparse"),
    ),
    Format(
        "nerfstudio",
        ".nerfstudio",
        "a folder of pictures, depth, cameras and static points, for nerfstudio",
        "geometrycrafter.export.nerfstudio:write_nerfstudio",
        NerfstudioOptions,
        folder=("depths", "images", "masks", "points.ply", "transforms.json"),
    ),
    Format(
        "png16",
        ".png16",
        "a folder of depth maps, 16-bit grey, with their scale, for OpenCV, Pillow or ImageMagick",
        "geometrycrafter.export.png16:write_png16",
        Png16Options,
        folder=("frame_*.png", "scale.json"),
    ),
    Format(
        "exr",
        ".exr",
        "a folder of pictures with layers for depth, points, normals and mask, for Nuke, Blender, Fusion or OpenCV",
        "geometrycrafter.export.exr:write_exr",
        ExrOptions,
        folder=("frame_*.exr",),
    ),
    Format(
        "mp4",
        ".mp4",
        "disparity in colours, beside the frames or alone, for any player",
        "geometrycrafter.export.mp4:write_mp4",
        VideoOptions,
        (".m4v", ".mov", ".mkv", ".webm"),
    ),
    Format(
        "html",
        ".html",
        "one page that plays and turns the points, without a server, for any browser, a phone's too",
        "geometrycrafter.export.html:write_html",
        HtmlOptions,
    ),
)
FORMATS: dict[str, Format] = {f.name: f for f in _LIST}
"""By name."""


def format_of(name: str) -> str | None:
    """The format whose suffix a file's name has; None where it has none's."""
    ends = sorted(((end, f.name) for f in _LIST for end in (f.suffix, *f.others)), key=lambda e: -len(e[0]))
    return next((format for end, format in ends if name.lower().endswith(end)), None)
