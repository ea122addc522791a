"""Surface normals of point maps."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def normals_of(points: Tensor, reach: int = 1) -> Tensor:
    """Unit normals ``[N, 3, H, W]`` of a point map, from central differences; the border repeats its neighbour.

    Where neighbours lie on one line, the normal is zero, and so is its gradient.

    Args:
        points: ``[N, 3, H, W]``.
        reach: pixels from a point to the neighbours that are taken.
    """
    padded = F.pad(points, (reach,) * 4, mode="replicate")
    inner, ahead, behind = slice(reach, -reach), slice(2 * reach, None), slice(None, -2 * reach)
    along_x = padded[..., inner, ahead] - padded[..., inner, behind]
    along_y = padded[..., ahead, inner] - padded[..., behind, inner]
    normals: Tensor = torch.linalg.cross(along_y, along_x, dim=1)
    # A norm along an axis of three is slow where that axis is not the last.
    return normals / (normals * normals).sum(1, keepdim=True).clamp_min(1e-24).sqrt()


def eroded(mask: Tensor) -> Tensor:
    """True where the whole 3x3 neighbourhood inside the picture is: ``[N, 1, H, W]`` bool."""
    return F.max_pool2d((~mask).float(), 3, stride=1, padding=1) == 0


def crossed(mask: Tensor, reach: int) -> Tensor:
    """True where a pixel is and the four that lie ``reach`` from it across and down: ``[N, 1, H, W]`` bool."""
    padded = F.pad(mask, (reach,) * 4)
    inner, ahead, behind = slice(reach, -reach), slice(2 * reach, None), slice(None, -2 * reach)
    four = ((inner, ahead), (inner, behind), (ahead, inner), (behind, inner))
    return mask & torch.stack([padded[(..., *two)] for two in four]).all(0)


def known_normals(points: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Unit normals ``[H, W, 3]`` float32 towards the camera, NaN where they are not known.

    They are known where all of the 3x3 neighbourhood that is in the picture is valid.

    Args:
        points: ``[H, W, 3]`` float32 in the camera's axes.
        valid: ``[H, W]`` bool.
    """
    # In a unit of about the middle depth, by a power of two: the same to the bit, whatever the scene's own unit is.
    middle = float(np.median(points[..., 2][valid])) if valid.any() else 1.0
    unit = np.float32(np.ldexp(1.0, -int(np.clip(np.frexp(middle)[1], -126, 126))))
    safe = torch.from_numpy(np.where(valid[..., None], points * unit, np.float32(0)))
    found = normals_of(safe.permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    whole = eroded(torch.from_numpy(valid)[None, None])[0, 0]
    whole &= (found != 0).any(-1)
    away = (found * safe).sum(-1, keepdim=True) > 0
    return np.asarray(torch.where(whole[..., None], torch.where(away, -found, found), torch.nan).numpy())
