"""How poses are found: flags that ``poses SCENE`` and ``run --poses`` share, declared once."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geometrycrafter.errors import InputError
from geometrycrafter.settings import Settings, argument, kinds_of


def _about(help: str, metavar: str | None = None, of_one_video: bool = False) -> dict[str, Any]:
    return {"help": help, "metavar": metavar, "of_one_video": of_one_video}


@dataclass(frozen=True)
class Finding(Settings):
    """What finds poses, and what is known beforehand.

    Raises:
        InputError: names two flags that don't go together.
    """

    mask: str | None = field(
        default=None,
        metadata=_about(
            "what moves, white on black: a video or folder, of the scene's frames or the whole video's", "PATH", True
        ),
    )
    mask_model: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            "carries on what moves in the first frame, which --mask is then a picture of, a colour a thing: XMem.pth "
            "or a folder of SAM 2 or SAM 3; for --mask-at with XMem give SAM's folder, too",
            "PATH",
            True,
        ),
    )
    mask_at: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            "a thing that moves, by a point on it in the first frame or a box left,top,right,bottom around it",
            "x,y",
            True,
        ),
    )
    keypoints: Path | None = field(
        default=None, metadata=_about("SuperPoint, which finds the points that are followed", "FOLDER")
    )
    tracker: Path | None = field(
        default=None, metadata=_about("SpaTracker's spaT_final.pth, which follows them", "FILE")
    )
    refine: bool = field(
        default=False, metadata=_about("correct each frame's depth by a coarse grid, solved for with the poses")
    )
    refine_focal: bool = field(default=False, metadata=_about("find a factor on the focal length, too"))
    surfaces: bool = field(
        default=False,
        metadata=_about("the depth is measured, not predicted: surfaces that frames share lie on one another"),
    )
    known_poses: str | None = field(
        default=None,
        metadata=_about(
            "known poses: TUM's or KITTI's lines, COLMAP's images.txt, .bin or project, nerfstudio's transforms.json, "
            "a recording, a scene; those that it lacks are found from the others",
            "FILE",
            True,
        ),
    )
    distance: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            "how far apart two pixels of a frame (0) of the video are: depth and poses are then in metres",
            "x1,y1,x2,y2,METRES[@FRAME]",
            True,
        ),
    )
    metric: Path | None = field(
        default=None, metadata=_about("the same by a prior in metres: MoGe-2's model.pt", "FILE")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mask_at and (self.mask or not self.mask_model):
            raise InputError("--mask-at wants --mask-model, and no --mask; give places for the network, or a mask.")
        if self.mask_model and not self.mask_at and not self.mask:
            raise InputError(
                "--mask-model wants what moves in the first frame; give --mask FIRST.png or --mask-at x,y."
            )
        if bool(self.distance) + bool(self.metric) + bool(self.known_poses) > 1:
            raise InputError("--distance, --metric and known poses each say what the unit is; give one of them.")
        if self.surfaces and (self.refine or self.known_poses):
            other = "--refine" if self.refine else "known poses"
            raise InputError(f"--surfaces is for measured depth, whose poses are wanted; leave it or {other} out.")

    @classmethod
    def of(cls, args: argparse.Namespace) -> Finding:
        """As flags of a command say.

        Raises:
            InputError: as above.
        """
        given: dict[str, Any] = {name: getattr(args, name) for name in kinds_of(cls)}
        settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        return cls(**settings)

    @property
    def given(self) -> list[str]:
        """The flags that were given."""
        return [flag_of(name) for name in kinds_of(type(self)) if getattr(self, name)]

    @property
    def of_one_video(self) -> list[str]:
        """Those of them that are about the pictures of one video."""
        about = {f.name: f.metadata["of_one_video"] for f in dataclasses.fields(self)}
        return [flag_of(name) for name in about if about[name] and getattr(self, name)]


def flag_of(name: str) -> str:
    """``mask_at`` -> ``--mask-at``."""
    return f"--{name.replace('_', '-')}"


def add_flags(group: Any, **names: str) -> None:
    """Those of :class:`Finding`.

    Args:
        group: of a parser.
        **names: another name that a command has for one, as well.
    """
    kinds = kinds_of(Finding)
    for option in dataclasses.fields(Finding):
        flags, help = [flag_of(option.name)], option.metadata["help"]
        if option.name in names:
            flags.insert(0, names[option.name])
        if kinds[option.name] is bool:
            group.add_argument(*flags, action="store_true", help=help)
            continue
        how: dict[str, Any] = {"metavar": option.metadata["metavar"], "help": help, "dest": option.name}
        if option.default == ():
            how |= {"action": "append", "default": []}
        else:
            how |= {"type": argument(kinds[option.name])}
        group.add_argument(*flags, **how)
