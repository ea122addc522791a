"""SpaTracker (Xiao et al., CVPR 2024): pixels tracked in 3-D, on the depth of each frame; keys as published.

Inside, a point is (x, y, z): x and y in cells of the features, z the depth between the clip's nearest and farthest,
in as many cells as x has. Features lie on three planes, XY, YZ and XZ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geometrycrafter.networks.spatracker_encoder import Encoder
from geometrycrafter.networks.spatracker_transformer import (
    UpdateFormer,
    fourier,
    motion_embedding,
    place_embedding,
    sines,
)
from geometrycrafter.networks.triplane import correlate, pyramid, sample, splat

UNUSED = ("embedProj.", "updateformer.RigidProj.", "updateformer.Proj.", "updateformer.se3_dec.")
"""Tensors of the published file that nothing reads."""
PLANES = ((0, 1), (1, 2), (0, 2))
"""Which of x, y and z lie across and down each plane."""


@dataclass(frozen=True)
class SpaTrackerConfig:
    """Sizes; the defaults are the published ones."""

    channels: int = 128
    hidden: int = 384
    depth: int = 6
    """Blocks over time, and as many over points."""
    heads: int = 8
    encoder: tuple[int, int, int, int] = (64, 96, 128, 128)
    window: int = 12
    """Frames that are solved at once; the next window starts half as many later."""
    stride: int = 4
    """Pixels a cell."""
    iterations: int = 6

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> SpaTrackerConfig:
        """The sizes that weights were made for, from shapes such as ``[channels]``.

        Raises:
            KeyError: where a tensor that tells a size is missing.
        """
        first, second, third, fourth = (len(tensors[f"fnet.layer{i}.0.conv1.weight"]) for i in (1, 2, 3, 4))
        return cls(
            channels=len(tensors["norm.weight"]),
            hidden=len(tensors["updateformer.input_transform.weight"]),
            depth=sum(k.startswith("updateformer.time_blocks.") and k.endswith("fc1.bias") for k in tensors),
            encoder=(first, second, third, fourth),
        )


@dataclass
class Window:
    """What one window of S frames found, for the N points that had begun (those that begin first lead)."""

    start: int
    order: Tensor
    """``[N]``: which query each point is."""
    planes: list[Tensor]
    """Features XY, YZ and XZ, each ``[S, C, down, across]``."""
    iterations: list[Tensor]
    """Points ``[S, N, 3]`` after each iteration: x and y in pixels, and depth."""
    visibility: Tensor
    """``[S, N]``, logits."""


@dataclass
class Range:
    """From pixels and depth to cells, and back."""

    near: float
    span: float
    stride: int
    cells: int

    @classmethod
    def of(cls, depth: Tensor, stride: int) -> Range:
        """That of a clip's depth ``[T, 1, H, W]``; up to 0.01 it isn't known."""
        known = depth[depth > 0.01]
        near, far = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
        return cls(near, max(far - near, 1e-6 * far), stride, depth.shape[-1] // stride)

    def cells_of(self, depth: Tensor) -> Tensor:
        """Depths of any shape ``[...]``, in cells."""
        return (depth - self.near) / self.span * self.cells

    def to_cells(self, points: Tensor) -> Tensor:
        """``[..., 3]``, pixels and depth, in cells."""
        return torch.cat([points[..., :2] / self.stride, self.cells_of(points[..., 2:])], -1)

    def to_pixels(self, points: Tensor) -> Tensor:
        """The way back, ``[..., 3]``."""
        return torch.cat([points[..., :2] * self.stride, points[..., 2:] / self.cells * self.span + self.near], -1)


class SpaTracker(nn.Module):
    """The network and its way through a clip.

    Args:
        config: sizes.
    """

    def __init__(self, config: SpaTrackerConfig = SpaTrackerConfig()):
        super().__init__()
        self.config = config
        c = config.channels
        self.fnet = Encoder(config.encoder, c, config.stride)
        self.embedConv = nn.Conv2d(c + 63, c, 3, padding=1)
        self.headyz = nn.Sequential(nn.Conv2d(c, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, c, 3, padding=1))
        self.headxz = nn.Sequential(nn.Conv2d(c, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, c, 3, padding=1))
        self.zeroMLPflow = nn.Linear(195, c + 2)
        self.updateformer = UpdateFormer(2 * c + 200, config.hidden, config.heads, config.depth, c + 3)
        self.norm = nn.GroupNorm(1, c)
        self.ffeat_updater = nn.Sequential(nn.Linear(c, c), nn.GELU())
        self.ffeatyz_updater = nn.Sequential(nn.Linear(c, c), nn.GELU())
        self.ffeatxz_updater = nn.Sequential(nn.Linear(c, c), nn.GELU())
        self.vis_predictor = nn.Sequential(nn.Linear(c, 1))

    def forward(self, video: Tensor, depth: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Track points through a clip.

        Args:
            video: ``[T, 3, H, W]``, 0 to 255, sides multiples of the stride.
            depth: ``[T, 1, H, W]``; up to 0.01 it isn't known.
            queries: ``[N, 4]``: frame, x, y, depth; sorted by frame, or a flag that the network is given is another
                point's, as in the published code.

        Returns:
            points ``[T, N, 3]`` (x, y, depth) and how surely they are seen ``[T, N]``, 0 to 1. Frames before the
            window in which a point begins hold zeros and 0.5.
        """
        points = queries.new_zeros(len(video), len(queries), 3)
        visibility = queries.new_zeros(len(video), len(queries))
        for window in self.windows(video, depth, queries):
            end = min(window.start + self.config.window, len(video))
            frames = torch.arange(window.start, end, device=points.device)[:, None]
            points[frames, window.order] = window.iterations[-1][: len(frames)]
            visibility[frames, window.order] = window.visibility[: len(frames)]
        return points, visibility.sigmoid()

    @torch.no_grad()
    def windows(self, video: Tensor, depth: Tensor, queries: Tensor) -> Iterator[Window]:
        """The windows in order; arguments as for :meth:`forward` (``[T, 3, H, W]``, ``[T, 1, H, W]``, ``[N, 4]``)."""
        size, half = self.config.window, self.config.window // 2
        reach = Range.of(depth, self.config.stride)
        order = queries[:, 0].argsort(stable=True)
        begins = queries[order, 0].long()
        times = torch.arange(len(video) + size, device=queries.device)[:, None]
        begun = ((times >= queries[:, 0].long()) & (times < len(video))).float()
        support = queries.new_full((100, self.config.hidden), 0.1)
        points = reach.to_cells(queries[order, 1:]).repeat(size, 1, 1)
        seen = torch.full_like(points[..., 0], 10)
        features = [queries.new_zeros(size, 0, self.config.channels)] * 3
        flat: Tensor | None = None
        before = 0
        for start in range(0, max(len(video) - half, 1), half):
            count = int((begins < start + size).sum())
            if count == 0:
                continue
            # The clip's last frame is held until the window is full.
            frames = (start + torch.arange(size, device=video.device)).clamp(max=len(video) - 1)
            cells = reach.cells_of(depth[frames, :, :: reach.stride, :: reach.stride])
            flat = self._features(video[frames], cells, flat)
            planes = self._planes(flat, cells, reach.cells)
            new = slice(before, count)
            for k, (plane, axes) in enumerate(zip(planes, PLANES, strict=True)):
                found = sample(plane, begins[new] - start, points[0, new][:, axes])
                features[k] = torch.cat([features[k], found.expand(size, -1, -1)], 1)
            # So the published code lays them, and the weights were trained: points' rows after one another, in pairs.
            flags = torch.cat([begun[start : start + size, :count].T, seen[:, :count].T]).reshape(count, size, 2)
            moved, logits, support = self._iterate(planes, points[:, :count], features, flags, support)
            yield Window(start, order[:count], planes, [reach.to_pixels(x) for x in moved], logits)
            # The next window starts from this one's second half, held still after its end.
            points[:, :count] = torch.cat([moved[-1][half:], moved[-1][-1:].expand(half, -1, -1)])
            seen[:, :count] = torch.cat([logits[half:], logits[-1:].expand(half, -1)])
            begun[: start + size, :count] = 0
            before = count

    def _features(self, frames: Tensor, cells: Tensor, last: Tensor | None) -> Tensor:
        """Features ``[S, C, h, w]`` of a window's frames ``[S, 3, H, W]``, told where each cell lies in space.

        Those of frames that the last window had too are its own.
        """
        _, _, height, width = cells.shape
        y, x = torch.meshgrid(*(torch.arange(n, device=cells.device) for n in (height, width)), indexing="ij")
        grid = torch.cat([torch.stack([x, y]).expand(len(cells), -1, -1, -1).to(cells), cells], 1)
        low, high = grid.amin((0, 2, 3), keepdim=True), grid.amax((0, 2, 3), keepdim=True)
        where = fourier((2 * (grid - low) / (high - low).clamp(min=1e-12) - 1).movedim(1, -1)).movedim(-1, 1)
        new = slice(0 if last is None else len(frames) // 2, None)
        seen = self.fnet(2 * (frames[new].to(cells) / 255) - 1)[..., :height, :width]
        found = self.embedConv(torch.cat([seen, where[new]], 1))
        return found if last is None else torch.cat([last[len(frames) // 2 :], found])

    def _planes(self, flat: Tensor, cells: Tensor, deep: int) -> list[Tensor]:
        """Planes XY, YZ and XZ of features ``[S, C, h, w]`` at depths ``[S, 1, h, w]``; Z has ``deep`` cells."""
        height, width = flat.shape[-2:]
        y = torch.arange(height, device=flat.device).to(cells)[:, None].expand_as(cells)
        x = torch.arange(width, device=flat.device).to(cells).expand_as(cells)
        yz = splat(flat, torch.cat([y, cells], 1), (deep, height))
        xz = splat(flat, torch.cat([x, cells], 1), (deep, width))
        return [flat, self.headyz(yz), self.headxz(xz)]

    def _iterate(
        self, planes: list[Tensor], points: Tensor, features: list[Tensor], flags: Tensor, support: Tensor
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """Move points ``[S, N, 3]`` and their features, each ``[S, N, C]``, until they agree with the planes.

        Returns:
            the points after every iteration, logits of being seen ``[S, N]``, the motion's tokens ``[100, hidden]``.
        """
        channels = 2 * self.config.channels + 200
        levels = [pyramid(p) for p in planes]
        times = sines(torch.arange(len(points), device=points.device, dtype=points.dtype), channels)
        where = place_embedding(points[0, :, :2], (planes[0].shape[-2], planes[0].shape[-1]), channels)
        updaters = (self.ffeat_updater, self.ffeatyz_updater, self.ffeatxz_updater)
        features = list(features)
        found = []
        for _ in range(self.config.iterations):
            pairs = zip(levels, features, PLANES, strict=True)
            alike = torch.stack([correlate(p, f, points[..., axes]) for p, f, axes in pairs]).sum(0)
            motion = self.zeroMLPflow(motion_embedding(points - points[:1]))
            own = torch.stack(features).sum(0)
            tokens = torch.cat([motion, alike, own, flags.transpose(0, 1)], -1) + where + times[:, None]
            update, said = self.updateformer(tokens.transpose(0, 1), support)
            support = support + said / 100
            update = update.transpose(0, 1)
            points = points + update[..., :3]
            normal = self.norm(update[..., 3:].flatten(0, 1)).view_as(features[0])
            features = [f + updater(normal) for f, updater in zip(features, updaters, strict=True)]
            found.append(points)
        return found, self.vis_predictor(torch.stack(features).sum(0))[..., 0], support
