"""What stands still before a camera that stands (nearly) still, followed by the pictures alone.

A camera in a hand turns a little, and a pixel of it sees one thing after another: so things are followed, not pixels.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from geometrycrafter.evaluation.frames import Frames
from geometrycrafter.geometry.flow import blurred, flow, places, pyramid, sampled, unlike

WIDEST, NARROWEST = 128, 24
"""Sides of the pictures that flow is found in; in smaller ones all is taken to stay where it is."""
STRIDE = 2
"""Pixels of them between what is followed."""
MOST, FIRSTS, LAGS = 256, 64, (1, 8, 32)
"""Frames of a shot that are looked at; of longer ones so many, evenly spread, and those that come so much later."""
BEGINNINGS = 9
"""Frames of the middle half, of which the one that is most like the others is where tracks begin."""
MOVED, STAYED = 0.08, 1.0
"""Of a picture's longer side, by which it may be from where it mostly is before its camera is said to move; and pixels
below which it has not moved at all."""
ALIKE, COLOUR, RARE, FEW = 0.5, 40 / 255, 0.5, 0.05
"""Difference of evened pictures, and change of colour beside the rest's, beyond which something was not found again;
the share of a picture below which flow is sought once more, from nowhere; and that without which nothing is said."""
CHANCE = 0.3
"""Share of what stands still that is found again by chance in a frame that shows something else."""
TEXTURE = 0.01
"""Slope of grey, a pixel, below which a place says nothing of how the picture moves."""
OWN = 0.03
"""Of a picture's longer side, by which what moves by itself goes another way than the picture as a whole."""
SEEN = 0.8
"""Share of the frames in which what stands still is found again."""
FITS, CLOSE = 10, 0.5
"""Rounds of fitting the picture's motion, and pixels from it beyond which a point hardly counts."""


class NotStillError(Exception):
    """Nothing stands still before a camera that stands still; says why, to go on "the scene has no poses, and"."""


def still_tracks(frames: Frames, span: range, size: tuple[int, int]) -> tuple[list[int], NDArray[np.int32]]:
    """Where points that stand still are in the frames of a shot.

    Args:
        frames: ``[T, h, w, 3]`` uint8, of a scene.
        span: of the shot.
        size: height and width that the answer's pixels are of.

    Returns:
        the frames that were looked at, all of them up to 256; and ``[n, N]`` for these: index of the nearest pixel in a
        flattened picture of that size, -1 where a point isn't seen.

    Raises:
        NotStillError: where the camera moves, or too little is found again.
    """
    looked = _looked_at(span)
    middle = _beginning(frames, looked)
    begin = _picture(frames, looked[middle])
    height, width = begin.shape[1:]
    longest = max(height, width)
    own, textured = places(height, width), _textured(begin.mean(0))
    if not bool(textured.any()):
        textured[:] = True
    still = _Still(begin, textured)
    ways = torch.zeros(len(looked), 2, *own[0, 0, ::STRIDE, ::STRIDE].shape)
    found = torch.ones(ways[:, 0].shape, dtype=torch.bool)
    went, stays = [torch.zeros(2)], True
    for way in (range(middle + 1, len(looked)), range(middle - 1, -1, -1)):
        led = torch.zeros(1, 2, height, width)
        for i in way:  # from where the one before led
            led, sure, whole = still.followed(_picture(frames, looked[i]), led)
            voted = sure & textured
            if float(voted.float().mean()) >= FEW * float(textured.float().mean()):
                went.append(led[0][:, voted].median(1).values)
            stays &= bool(whole.norm(dim=0).max() < STAYED)
            ways[i], found[i] = led[0, :, ::STRIDE, ::STRIDE], sure[::STRIDE, ::STRIDE]
            led = torch.where(sure, led[0], whole)[None]
    by = torch.stack(went)
    by = (by - by.median(0).values).norm(dim=-1)
    if float(by.quantile(0.9)) > MOVED * longest or len(went) < SEEN * len(looked):
        raise NotStillError("its camera moves")
    kept = (found.float().mean(0) >= SEEN) & (textured[::STRIDE, ::STRIDE] | stays)
    if float(kept.float().mean()) < FEW:
        raise NotStillError("hardly anything is seen from its beginning to its end")
    seen = found[:, kept]
    seen &= seen.float().mean(1, keepdim=True) > CHANCE
    scale = torch.tensor([size[1] / width, size[0] / height])
    at = ((own[..., ::STRIDE, ::STRIDE] + ways).movedim(1, -1)[:, kept] + 0.5) * scale - 0.5
    column, row = (at[..., i].round().clamp(0, size[1 - i] - 1).int() for i in (0, 1))
    index: NDArray[np.int32] = torch.where(seen, row * size[1] + column, -1).numpy()
    return looked, index


class _Still:
    """Follows what is seen in one picture ``[3, h, w]`` into others; places without texture ``[h, w]`` lead nowhere."""

    def __init__(self, begin: Tensor, textured: Tensor):
        self._level, self._even, self._textured = pyramid(begin.mean(0)), _even(begin[None]), textured
        self._own = places(begin.shape[1], begin.shape[2])

    def followed(self, picture: Tensor, led: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Flow ``[1, 2, h, w]`` into another picture, begun at some; where it is sure, and goes as the whole picture
        does, ``[h, w]`` bool; and how that goes, ``[2, h, w]``."""
        height, width = picture.shape[1:]
        sure, whole = torch.ones(height, width, dtype=torch.bool), torch.zeros(2, height, width)
        if min(height, width) >= NARROWEST:
            there = pyramid(picture.mean(0))
            led = flow(self._level, there, led)
            missed = unlike(self._level[0], there[0], led)[0]
            if float((missed < ALIKE)[self._textured].float().mean()) < RARE:
                anew = flow(self._level, there)
                better = unlike(self._level[0], there[0], anew)[0]
                led, missed = torch.where(better < missed, anew, led), torch.minimum(better, missed)
            sure = missed < ALIKE
            whole = _of_the_whole(led[0], sure & self._textured)
            sure &= (led[0] - whole).norm(dim=0) < OWN * max(height, width)
            at = self._own + led
            sure &= ((at >= 0) & (at <= at.new_tensor([width - 1, height - 1]).view(1, 2, 1, 1))).all(1)[0]
        off = (_even(sampled(picture[None], self._own + led)) - self._even)[0]
        if bool(sure.any()):  # exposure changes all alike
            off = off - off[:, sure].median(1).values[:, None, None]
        return led, sure & (off.abs().amax(0) < COLOUR), whole


def _looked_at(span: range) -> list[int]:
    """Frames of a shot that are looked at."""
    if len(span) <= MOST:
        return list(span)
    firsts = np.linspace(span[0], span[-1] - max(LAGS), FIRSTS).round().astype(int)
    return sorted({int(t) + lag for t in firsts for lag in (0, *LAGS)})


def _beginning(frames: Frames, looked: list[int]) -> int:
    """Which of the frames is most like the others: one that is black or hidden says nothing of them."""
    among: list[int] = sorted({round(i) for i in np.linspace(len(looked) // 4, 3 * (len(looked) - 1) / 4, BEGINNINGS)})
    greys = [_picture(frames, looked[i]).mean(0) for i in among]
    shares = torch.stack([_textured(grey).float().mean() for grey in greys])
    evened = torch.stack([pyramid(grey)[0][0, 0] for grey in greys])
    unlike_others = (evened - evened.median(0).values).abs().mean((1, 2))
    unlike_others[shares < 0.5 * shares.median()] = torch.inf
    return among[int(unlike_others.argmin())]


def _textured(grey: Tensor) -> Tensor:
    """Places ``[h, w]`` bool of a picture that say how it moves."""
    around = F.pad(grey[None, None], (1, 1, 1, 1), mode="replicate")
    across, down = around[..., 1:-1, 2:] - around[..., 1:-1, :-2], around[..., 2:, 1:-1] - around[..., :-2, 1:-1]
    slope = blurred((across.square() + down.square()) / 4, 2).sqrt()
    return slope[0, 0] > TEXTURE


def _picture(frames: Frames, t: int) -> Tensor:
    return _small(torch.from_numpy(np.asarray(frames[t])))


def _small(picture: Tensor) -> Tensor:
    """A frame ``[h, w, 3]`` uint8 as ``[3, h', w']`` in [0, 1]."""
    height, width = picture.shape[:2]
    share = min(1.0, WIDEST / max(height, width))
    size = max(1, round(height * share)), max(1, round(width * share))
    whole = picture.permute(2, 0, 1)[None].float() / 255
    small: Tensor = F.interpolate(whole, size, mode="bilinear", antialias=True)[0]
    return small


def _even(picture: Tensor) -> Tensor:
    """Means of ``[1, C, h, w]`` around each pixel."""
    return F.avg_pool2d(picture, 5, 1, 2, count_include_pad=False)


def _of_the_whole(led: Tensor, sure: Tensor) -> Tensor:
    """The affine motion of a picture that most of a flow ``[2, h, w]`` goes by, ``[2, h, w]``."""
    height, width = sure.shape
    x = torch.cat([places(height, width)[0], torch.ones(1, height, width)]).flatten(1).T.double()
    to, weight = led.flatten(1).T.double(), sure.flatten().double()
    if not bool(sure.any()):
        return torch.zeros_like(led)
    way = torch.cat([to.new_zeros(2, 2), to[sure.flatten()].median(0).values[None]])  # [3, 2]
    for _ in range(FITS):
        off = (to - x @ way).norm(dim=-1)
        counts = (weight / (1 + (off / CLOSE).square()).square())[:, None] * x
        way = torch.linalg.solve(counts.T @ x + 1e-3 * torch.eye(3).double(), counts.T @ to)
    return (x @ way).T.reshape(2, height, width).float()
