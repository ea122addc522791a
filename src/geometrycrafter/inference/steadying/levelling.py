"""Smooth factors of frames' depth, found for all of them together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

import torch
from torch import Tensor

from geometrycrafter.geometry.grid import Grid
from geometrycrafter.inference.steadying.links import Link, cells
from geometrycrafter.inference.steadying.zooms import best_read

GRID = Grid(6, 8)
MOVES = (2e-5, 1e-4), (3e-4, 1e-3)
TURNS = (5e-6, 5e-5), (1.7e-5, 1.7e-4)
STANDS = (1e-7, 1e-6), (3e-6, 3e-5)
"""Of the weight of ten links a frame, where a camera moves, turns in its place, and stands still: on no correction (of
what a frame's nodes have in common; of what else there is), and on the same one as the frame before. Networks are
wrong about a frame's scale before its shape. Where a camera turns, frames of other scales agree as well when all are
bent alike; where it moves, links are wrong in one way all over a clip: these weights alone tell that from the truth,
and over some hundreds of frames scale goes by the network again, so that such errors don't add up."""
COMMON, SPAN = 0.1, 480
"""Of that weight: on the shape that so many frames' corrections have in common, of which links say next to nothing.
Frames that are off in other ways agree best where depth has no shape at all: without it all are bent alike, to be
flat."""
ROUGH, STAID = 1e-2, 0.25
"""Of that weight: on a plane correction; the share of it where a camera stays."""
NEARER, LONG, STILL = 0.01, 16, 1 / 60
"""Change of log depth over so many frames and more, in the median of links, at which the camera is taken to move; and
the fourth power of a share of it below which it stays in its place: links say the truth then."""
ALONG = 8
"""Pixels that the picture goes by in the median of those links, at which such a camera is taken to turn."""
LINKS = 10
OFF = 0.05
"""Of log depth, beyond which a point hardly counts."""
ROUNDS, STEPS = 5, 150
ENOUGH = 1e-8
"""Of the square of what is left to be solved, which is no more worth a step."""
TOGETHER = 64
"""Links whose equations are formed at a time."""


def levelled(links: Sequence[Link], size: tuple[int, int], known: Tensor, count: int) -> Tensor:
    """Corrections of log depth ``[T - K, nodes]`` float64 by which frames agree: least squares under a robust loss.

    Args:
        links: between frames; those of which both ends are known say nothing.
        size: height and width of the small pictures.
        known: ``[K, nodes]`` corrections of the first frames, which stay as they are.
        count: of all frames, T.
    """
    held = len(known)
    links = [link for link in best_read(links, count) if max(link.first, link.second) >= held]
    values = (known[-1] if held else known.new_zeros(GRID.nodes)).repeat(count - held, 1)
    if links:
        system = _System(links, size, known, count)
        for _ in range(ROUNDS):
            values = system.step(values)
    return values


class _System:
    """Gauss-Newton equations of unknown frames' corrections.

    Args:
        links: each with an end that is unknown.
        size: height and width of the small pictures.
        known: ``[K, nodes]`` of the first frames.
        count: of all frames.
    """

    def __init__(self, links: Sequence[Link], size: tuple[int, int], known: Tensor, count: int):
        self.links, self.size, self.known = links, size, known
        self.own = GRID.weights(cells(size).double(), *size)
        self.unit = LINKS * len(self.own) / GRID.nodes
        moves, turns = _moves(links), _turns(links, self.size)
        none, sudden = (
            _of_scale_and_shape(weights, moves, turns) for weights in zip(MOVES, TURNS, STANDS, strict=True)
        )
        rough = ROUGH * max(moves ** (1 / 3), STAID) * GRID.roughness()
        self.rest, self.sudden = self.unit * (none + rough), self.unit * sudden
        ends = torch.tensor([(link.first, link.second) for link in links]) - len(known)
        self.first, self.second = ends.unbind(-1)
        # A frame that nothing ties to others has no part in what they have in common: it would take the rest of it.
        tied = known.new_zeros(count)
        each = torch.stack([link.weight.mean() for link in links])
        for end in ends.unbind(-1):
            tied.index_add_(0, end + len(known), each)
        self.share = tied[len(known) :, None].clamp_max(1)
        recent = known[max(0, count - SPAN) :]
        self.recent = recent.sum(0)
        self.common = self.unit * COMMON / max(len(recent) + float(self.share.sum()), 1.0)

    def step(self, values: Tensor) -> Tensor:
        """Better corrections ``[n, nodes]`` than some."""
        wide = max(OFF, 2 * float(torch.cat([m.flatten() for _, _, m in self._missed(values)]).abs().median()))
        blocks, gradient = self._slow(values)
        across = blocks.new_empty(len(self.links), GRID.nodes, GRID.nodes)
        for part, (there, own, missed) in zip(self._parts(), self._missed(values), strict=True):
            weight = torch.stack([link.weight for link in self.links[part]]) / (1 + (missed / wide).square())
            heavy, heavy_own = there * weight[..., None], own * weight[..., None]
            # What is known takes no part: its rows are zero, and any frame may stand for it.
            first, second = self.first[part].clamp_min(0), self.second[part].clamp_min(0)
            blocks.index_add_(0, second, there.mT @ heavy)
            blocks.index_add_(0, first, own.mT @ heavy_own)
            gradient.index_add_(0, second, (heavy * missed[..., None]).sum(1))
            gradient.index_add_(0, first, -(heavy_own * missed[..., None]).sum(1))
            torch.matmul(own.mT, heavy, out=across[part]).neg_()
        return values - self._solved(blocks, across, gradient)

    def _parts(self) -> Iterator[slice]:
        return (slice(i, i + TOGETHER) for i in range(0, len(self.links), TOGETHER))

    def _missed(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Of some links: weights of unknown nodes in the second frame's and the first one's points, each
        ``[P, N, nodes]``, and by how much points disagree ``[P, N]``."""
        everything = torch.cat([self.known, values])
        for part in self._parts():
            links = self.links[part]
            at = torch.stack([link.at for link in links])
            there = GRID.weights(at.flatten(0, 1), *self.size).view(len(links), -1, GRID.nodes)
            own = self.own.expand(len(links), -1, -1)
            first, second = self.first[part] + len(self.known), self.second[part] + len(self.known)
            missed = torch.stack([link.off for link in links]) + _at(there, everything[second])
            missed = missed - _at(own, everything[first])
            unknown = (self.second[part] >= 0)[:, None, None], (self.first[part] >= 0)[:, None, None]
            yield there * unknown[0], own * unknown[1], missed

    def _slow(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Blocks ``[n, nodes, nodes]`` and gradient ``[n, nodes]`` of what keeps corrections small, smooth and slow,
        and their mean without shape; of that, blocks have no part."""
        blocks, gradient = self.rest.repeat(len(values), 1, 1), values @ self.rest
        gradient += self.share * (self.common * _shape(self.recent + (self.share * values).sum(0)))
        step = values.diff(dim=0) @ self.sudden
        gradient[1:] += step
        gradient[:-1] -= step
        blocks[1:] += self.sudden
        blocks[:-1] += self.sudden
        if len(self.known):
            blocks[0] += self.sudden
            gradient[0] += (values[0] - self.known[-1]) @ self.sudden
        return blocks, gradient

    def _solved(self, blocks: Tensor, across: Tensor, right: Tensor) -> Tensor:
        """``[n, nodes]`` by conjugate gradients, each frame by itself being solved before.

        Args:
            blocks: ``[n, nodes, nodes]`` of each frame with itself, without the frame before it.
            across: ``[P, nodes, nodes]`` of links' first frames with their second ones.
            right: ``[n, nodes]``.
        """
        first, second = self.first.clamp_min(0), self.second.clamp_min(0)

        def turned(x: Tensor) -> Tensor:
            out = _at(blocks, x)
            out.index_add_(0, first, _at(across, x[second]))
            out.index_add_(0, second, (x[first][:, None] @ across)[:, 0])
            out[1:] -= x[:-1] @ self.sudden
            out[:-1] -= x[1:] @ self.sudden
            out += self.share * (self.common * _shape((self.share * x).sum(0)))
            return out

        factors = torch.linalg.cholesky(blocks)

        def eased(x: Tensor) -> Tensor:
            return torch.cholesky_solve(x[..., None], factors)[..., 0]

        found, left = torch.zeros_like(right), right
        ready = eased(left)
        step, length = ready, (left * ready).sum()
        least = max(ENOUGH * float(length), 1e-30)
        for _ in range(STEPS):
            if float(length) < least:
                break
            along = turned(step)
            share = length / (step * along).sum()
            found, left = found + share * step, left - share * along
            ready = eased(left)
            length, before = (left * ready).sum(), length
            step = ready + length / before * step
        return found


def _moves(links: Sequence[Link]) -> float:
    """How far the camera of a shot is taken to move, from 0, it stays in its place, to 1."""
    changes = [link.nearer for link in links if abs(link.second - link.first) >= LONG]
    return min(max((median(changes) / NEARER) ** 4 - STILL, 0.0) / (1 - STILL), 1.0) if changes else 1.0


def _turns(links: Sequence[Link], size: tuple[int, int]) -> float:
    """How far a camera that stays in its place is taken to turn, from 0, it stands still, to 1."""
    own = cells(size)
    ways = [link.at - own for link in links if abs(link.second - link.first) >= LONG]
    along = median(float(way.norm(dim=-1).median()) for way in ways) if ways else ALONG
    return float(min((along / ALONG) ** 4, 1.0))


def _of_scale_and_shape(weights: Sequence[tuple[float, float]], moves: float, turns: float) -> Tensor:
    """``[nodes, nodes]`` that weighs the mean of a correction's nodes, and what is left of it.

    Args:
        weights: of both for a camera that moves, for one that turns, and for one that stands still.
        moves: how far it does.
        turns: how far it does where it doesn't move.
    """
    shares = moves, (1 - moves) * turns, (1 - moves) * (1 - turns)
    scale, shape = (sum(share * weight for share, weight in zip(shares, each)) for each in zip(*weights))
    mean = torch.full((GRID.nodes, GRID.nodes), 1 / GRID.nodes).double()
    found: Tensor = scale * mean + shape * (torch.eye(GRID.nodes).double() - mean)
    return found


def _shape(nodes: Tensor) -> Tensor:
    """What a correction ``[nodes]`` does besides its scale."""
    return nodes - nodes.mean()


def _at(matrices: Tensor, vectors: Tensor) -> Tensor:
    """``[P, N, n]`` times ``[P, n]``: ``[P, N]``."""
    return (matrices @ vectors[..., None])[..., 0]
