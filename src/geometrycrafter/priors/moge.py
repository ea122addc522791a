"""MoGe as a prior: affine point maps made metric in the camera by recovering focal length and shift."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geometrycrafter.networks.moge import MoGe
from geometrycrafter.networks.moge2 import MoGe2
from geometrycrafter.networks.moge_blocks import view_plane
from geometrycrafter.networks.room import Room
from geometrycrafter.priors.protocol import ClipPrior, KnownCamera, Prior


class MoGePrior(Prior):
    """MoGe version 1 or 2.

    Args:
        network: with its weights loaded.
        num_tokens: patches a frame; None: as many as the checkpoint was trained for (MoGe's level 9).
        identity: says which weights these are.
    """

    tells_sky = True

    def __init__(self, network: MoGe | MoGe2, num_tokens: int | None = None, identity: str = ""):
        self.network = network
        self.num_tokens = num_tokens or int(network.config.num_tokens_range[1])
        self.metric = getattr(network.config, "scale_head", None) is not None
        self._identity = identity
        self._room = Room("prior")

    @property
    def identity(self) -> str:
        return f"{type(self.network).__name__} {self._identity}, {self.num_tokens} tokens"

    def begin(self, first: int = 0) -> ClipPrior:
        return self._estimate

    def _estimate(self, frames: Tensor, camera: KnownCamera | None) -> tuple[Tensor, Tensor]:
        out = self.infer(frames, None if camera is None else camera.fov_x)
        return out["points"], out["mask"]

    @torch.no_grad()
    def infer(self, frames: Tensor, fov_x: float | None = None) -> dict[str, Tensor]:
        """Camera-space points of frames ``[N, 3, H, W]`` in [0, 1].

        Args:
            frames: the pictures.
            fov_x: horizontal field of view in radians, where it is known.

        Returns:
            ``points`` ``[N, H, W, 3]``, ``depth`` and ``mask`` ``[N, H, W]``, ``intrinsics`` ``[N, 3, 3]`` relative
            to the image's sides; with version 2 in metres, with ``normal`` where the checkpoint has it.
        """
        device = next(self.network.parameters()).device
        out = self._room.fit(len(frames), lambda most: self._answers(frames.to(device), most))
        points, mask = out["points"], out["mask"] > self.network.config.mask_threshold
        height, width = mask.shape[-2:]
        aspect = width / height
        across = aspect / (1 + aspect**2) ** 0.5  # half the width, in half diagonals
        known = None if fov_x is None else across / math.tan(fov_x / 2)
        pairs = focals_and_shifts(points, mask, known)
        focal, shift = torch.tensor(pairs, dtype=points.dtype, device=device).unbind(-1)
        fx, fy = focal / 2 / across, focal / 2 * (1 + aspect**2) ** 0.5
        depth = points[..., 2] + shift[:, None, None]
        if self.network.metric:
            mask = mask & (depth > 0)
            if "scale" in out:
                depth = depth * out["scale"][:, None, None]
        u = (torch.arange(width, device=device) + 0.5) / width - 0.5
        v = (torch.arange(height, device=device) + 0.5) / height - 0.5
        x = depth * u / fx[:, None, None]
        y = depth * v[:, None] / fy[:, None, None]
        intrinsics = torch.zeros(len(fx), 3, 3, dtype=points.dtype, device=device)
        intrinsics[:, 0, 0], intrinsics[:, 1, 1] = fx, fy
        intrinsics[:, 0, 2] = intrinsics[:, 1, 2] = 0.5
        intrinsics[:, 2, 2] = 1
        result = {"points": torch.stack([x, y, depth], -1), "depth": depth, "mask": mask, "intrinsics": intrinsics}
        return result | ({"normal": out["normal"]} if "normal" in out else {})

    def _answers(self, frames: Tensor, most: int) -> dict[str, Tensor]:
        """The network's, so many frames at a time."""
        parts = [self.network(part, self.num_tokens) for part in frames.split(most)]
        return parts[0] if len(parts) == 1 else {name: torch.cat([p[name] for p in parts]) for name in parts[0]}


def focal_and_shift(
    points: Tensor, mask: Tensor, focal: float | None = None, samples: int = 64, ftol: float = 1e-3
) -> tuple[float, float]:
    """Focal length and z shift that make points project to their pixels (MoGe, section 3.1).

    Minimises ``|f xy/(z + shift) - uv|`` over the shift, the best focal length being linear.

    Args:
        points: ``[H, W, 3]``, up to scale and shift.
        mask: ``[H, W]`` bool.
        focal: relative to half the diagonal, where it is known.
        samples: rows and columns that are looked at.
        ftol: stop when the sum of squares falls by a smaller share.

    Returns:
        focal relative to half the diagonal, and the shift; (1, 0) with fewer than two valid points. Points that are
        not finite or at depth zero, which can't be projected to begin with, don't count.
    """
    return focals_and_shifts(points[None], mask[None], focal, samples, ftol)[0]


def focals_and_shifts(
    points: Tensor, masks: Tensor, focal: float | None = None, samples: int = 64, ftol: float = 1e-3
) -> list[tuple[float, float]]:
    """:func:`focal_and_shift` of each frame, ``[N, H, W, 3]`` and ``[N, H, W]``, with one wait for the device."""
    height, width = masks.shape[-2:]

    def pick(x: Tensor) -> Tensor:
        return F.interpolate(x.movedim(-1, 1), (samples, samples), mode="nearest").movedim(1, -1)

    found = pick(points)
    seen = pick(masks[..., None].float())[..., 0] > 0
    keep = seen & torch.isfinite(found).all(-1) & (found[..., 2] != 0)
    plane = pick(view_plane(height, width, width / height, points)[None])[0].cpu().double().numpy()
    looked_at = zip(found.cpu().double().numpy(), keep.cpu().numpy(), strict=True)
    return [_focal_and_shift(xyz[kept], plane[kept], focal, ftol) for xyz, kept in looked_at]


def _focal_and_shift(xyz: np.ndarray, uv: np.ndarray, focal: float | None, ftol: float) -> tuple[float, float]:
    """Of points ``[M, 3]`` and their places on the view plane ``[M, 2]``."""
    if len(xyz) < 2:
        return (1.0 if focal is None else focal), 0.0
    xy, z = xyz[:, :2], xyz[:, 2]

    def project(shift: float, f: float = 1.0) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):  # a shift on trial may bring a point to depth zero
            projected: np.ndarray = f * xy / (z + shift)[:, None]
        return projected

    def best_focal(shift: float) -> float:
        projected = project(shift)
        square = float(np.square(projected).sum())
        return float((projected * uv).sum()) / square if square else 1.0

    def residual(shift: float) -> np.ndarray:
        f = best_focal(shift) if focal is None else focal
        return (project(shift, f) - uv).ravel()

    shift = _levenberg_marquardt(residual, ftol)
    return (best_focal(shift) if focal is None else focal), shift


def _levenberg_marquardt(residual: Callable[[float], np.ndarray], ftol: float, xtol: float = 1e-8) -> float:
    """Minimum of a sum of squares over one number, from zero.

    Steps and stopping are MINPACK's (More 1978), so that shifts are those of the published solver, which stops early.
    """
    x, r = 0.0, residual(0.0)
    norm, radius, damping, scale, first = float(np.linalg.norm(r)), 100.0, 0.0, 0.0, True
    for _ in range(100):
        width = 1.5e-8 * (abs(x) or 1.0)
        jacobian = (residual(x + width) - r) / width
        square, slope = float(jacobian @ jacobian), float(jacobian @ r)
        if norm == 0 or not square > 0 or abs(slope) <= 1e-8 * norm * square**0.5:
            return x  # also where the slope is no number
        scale = max(scale, square**0.5)  # lengths of steps are measured in this unit
        while True:
            # lmpar: any damping will do whose step lies within a tenth of the radius; the last one is tried first.
            exact = (abs(slope) * scale / radius - square) / scale**2
            most = abs(slope) / (scale * radius)
            damping = min(max(damping, exact), most) if abs(slope) / square * scale > 1.1 * radius else 0.0
            if damping and abs(abs(slope) / (square + damping * scale**2) * scale - radius) > 0.1 * radius:
                damping = exact
            step = -slope / (square + damping * scale**2)
            size = abs(step) * scale
            if first:
                radius = min(radius, size)
            trial = residual(x + step)
            trial_norm = float(np.linalg.norm(trial))
            actual = 1 - (trial_norm / norm) ** 2 if 0.1 * trial_norm < norm else -1.0
            linear, penalty = square * step**2 / norm**2, damping * size**2 / norm**2
            predicted, descent = linear + 2 * penalty, -(linear + penalty)
            ratio = actual / predicted if predicted else 0.0
            if ratio <= 0.25:
                shrink = 0.5 if actual >= 0 else 0.5 * descent / (descent + 0.5 * actual)
                if 0.1 * trial_norm >= norm or shrink < 0.1:
                    shrink = 0.1
                radius, damping = shrink * min(radius, 10 * size), damping / shrink
            elif damping == 0 or ratio >= 0.75:
                radius, damping = 2 * size, damping / 2
            accepted = ratio >= 1e-4
            if accepted:
                x, r, norm, first = x + step, trial, trial_norm, False
            if (abs(actual) <= ftol and predicted <= ftol and ratio <= 2) or radius <= xtol * scale * abs(x):
                return x
            if accepted:
                break
    return x
