"""Cameras whose lenses bend rays, by COLMAP's and OpenCV's models.

A pixel's centre is at whole numbers here, as in OpenCV; in COLMAP's files it is half a pixel further, at 0.5. Names and
orders of parameters are COLMAP's, and OpenCV's distortion is the same formula. With x and y the ray over its z, and
s = x^2 + y^2, the perspective models bend it to

    x (1 + k1 s + k2 s^2 + k3 s^3) / (1 + k4 s + k5 s^2 + k6 s^3) + 2 p1 x y + p2 (s + 2 x^2)

and likewise y, with p1 and p2 exchanged. Those of fisheye lenses keep a ray's direction around the axis, and bend its
angle t to t (1 + k1 t^2 + k2 t^4 + k3 t^6 + k4 t^8). The pixel is at fx x + cx, fy y + cy.

Far from the axis most parameters make a lens fold: two rays meet in one pixel. What lies beyond is outside of what was
calibrated, and is no ray of the lens here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from geometrycrafter.errors import InputError
from geometrycrafter.settings import Pixels, Settings

if TYPE_CHECKING:
    from torch import Tensor

Model = Literal[
    "SIMPLE_PINHOLE",
    "PINHOLE",
    "SIMPLE_RADIAL",
    "RADIAL",
    "OPENCV",
    "FULL_OPENCV",
    "OPENCV_FISHEYE",
    "SIMPLE_RADIAL_FISHEYE",
    "RADIAL_FISHEYE",
]
MODELS: tuple[Model, ...] = get_args(Model)
_BENT = {
    "SIMPLE_PINHOLE": (),
    "PINHOLE": (),
    "SIMPLE_RADIAL": ("k1",),
    "RADIAL": ("k1", "k2"),
    "OPENCV": ("k1", "k2", "p1", "p2"),
    "FULL_OPENCV": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "OPENCV_FISHEYE": ("k1", "k2", "k3", "k4"),
    "SIMPLE_RADIAL_FISHEYE": ("k1",),
    "RADIAL_FISHEYE": ("k1", "k2"),
}
_ONE_FOCAL = ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE")


def parameters_of(model: str) -> tuple[str, ...]:
    """Names of a model's parameters, in order."""
    return (*(("f",) if model in _ONE_FOCAL else ("fx", "fy")), "cx", "cy", *_BENT[model])


@dataclass(frozen=True)
class Lens(Settings):
    """One camera with its lens.

    Attributes:
        model: COLMAP's name of it.
        parameters: as the model orders them; cx and cy count from the centre of the first pixel.
        height: of the picture that it was calibrated for, pixels; None where that is not known.
        width: likewise.

    Raises:
        InputError: where there are too many or too few parameters, or a focal length is not positive.
    """

    model: Model
    parameters: tuple[float, ...]
    height: Pixels | None = None
    width: Pixels | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        names = parameters_of(self.model)
        if len(self.parameters) != len(names):
            raise InputError(
                f"camera {self.model} has {len(self.parameters)} parameters; it wants {len(names)}: {', '.join(names)}."
            )
        if not all(1e-3 <= f <= 1e7 for f in self.focal):
            raise InputError(f"camera {self.model} has a focal length of {min(self.focal):g}; give pixels, above 0.")
        if not all(abs(c) <= 1e6 for c in self.centre):
            raise InputError(f"camera {self.model} has its centre at {self.centre}; give pixels.")

    @property
    def named(self) -> dict[str, float]:
        """Parameters by their names."""
        return dict(zip(parameters_of(self.model), self.parameters, strict=True))

    @property
    def focal(self) -> tuple[float, float]:
        """fx and fy, pixels."""
        named = self.named
        return (named["f"], named["f"]) if "f" in named else (named["fx"], named["fy"])

    @property
    def centre(self) -> tuple[float, float]:
        """cx and cy, pixels, from the centre of the first one."""
        return self.named["cx"], self.named["cy"]

    @property
    def intrinsics(self) -> Tensor:
        """``[3, 3]`` float64, of the pinhole that has the same scale in the middle."""
        (fx, fy), (cx, cy) = self.focal, self.centre
        import torch

        return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)

    @property
    def fisheye(self) -> bool:
        """Whether angles are bent, and not tangents."""
        return "FISHEYE" in self.model

    @property
    def bends(self) -> bool:
        """False for a pinhole."""
        return self.fisheye or any(self.named[name] for name in _BENT[self.model])

    def sized(self, height: int, width: int) -> Lens:
        """The same lens, of a picture whose size is known.

        Raises:
            InputError: where it was calibrated for another size.
        """
        if (self.height, self.width) not in ((None, None), (height, width)):
            raise InputError(
                f"the camera is of a picture of {self.width}x{self.height}, but the video is {width}x{height}; "
                "give the camera of this video at this size."
            )
        return replace(self, height=height, width=width)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Where points are seen.

        Args:
            points: ``[..., 3]``, camera axes (x right, y down, z forward), at any distance.

        Returns:
            pixels ``[..., 2]`` float64, and ``[...]`` bool: False where the lens folds, or sees nothing.
        """
        from geometrycrafter.geometry.bending import Bending

        return Bending(self).project(points)

    def unproject(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The rays of pixels, exact to a thousand millionth of a pixel (a million millionth of what lies farther out).

        Args:
            pixels: ``[..., 2]``, x and y.

        Returns:
            directions of length one ``[..., 3]`` float64, and ``[...]`` bool: False where no ray ends in the pixel.
        """
        from geometrycrafter.geometry.bending import Bending

        return Bending(self).unproject(pixels)

    def rays(self) -> tuple[Tensor, Tensor]:
        """Those of all pixels: directions of length one ``[H, W, 3]`` float64, and ``[H, W]`` bool.

        Raises:
            InputError: where the size is not known.
        """
        import torch

        if self.height is None or self.width is None:
            raise InputError("the camera has no size; give it one by sized(height, width).")
        y, x = (torch.arange(side, dtype=torch.float64) for side in (self.height, self.width))
        return self.unproject(torch.stack(torch.meshgrid(x, y, indexing="xy"), -1))
