"""XMem's memory: recent frames in full, older ones as prototypes (sections 3.2 and 3.3 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from geometrycrafter.networks.xmem import STRIDE, Key, XMem, aggregate


@dataclass(frozen=True)
class MemoryConfig:
    """How much is remembered; the defaults are the published ones."""

    every: int = 5
    """Frames between those that are remembered."""
    max_frames: int = 10
    """Working memory is consolidated when it holds so many."""
    min_frames: int = 5
    """Frames that then stay, the first among them."""
    prototypes: int = 128
    max_long_term: int = 10_000
    top_k: int = 30
    """Elements that each place of a frame reads from."""


@dataclass
class Store:
    """Elements of a memory, the last axis theirs: keys, what is said of N objects where they match, and their use."""

    key: Tensor  # [C, M]
    shrinkage: Tensor  # [1, M]
    selection: Tensor  # [C, M]
    value: Tensor  # [N, D, M]
    used: Tensor  # [M] sum of the affinities that they were read with
    lived: Tensor  # [M] reads since they were stored

    @classmethod
    def new(cls, key: Tensor, shrinkage: Tensor, selection: Tensor, value: Tensor) -> Store:
        """Elements that were not read yet; shapes as above, ``[..., M]``."""
        zero = torch.zeros_like(key[0])
        return cls(key, shrinkage, selection, value, zero, zero + 1e-7)

    def __len__(self) -> int:
        return self.key.shape[-1]

    def __getitem__(self, which: slice | Tensor) -> Store:
        return Store(*(x[..., which] for x in vars(self).values()))

    def __add__(self, other: Store) -> Store:
        return Store(*(torch.cat(pair, -1) for pair in zip(vars(self).values(), vars(other).values(), strict=True)))

    def read(self, usage: Tensor) -> None:
        """Count one read with these sums of affinities ``[M]``."""
        self.used = self.used + usage
        self.lived = self.lived + 1

    @property
    def usage(self) -> Tensor:
        """How much each element was read, ``[M]``, fair to young ones."""
        return self.used / self.lived


def similarity(store: Store, key: Tensor, selection: Tensor) -> Tensor:
    """Anisotropic L2 (equation 3 of the paper): queries ``[C, P]`` -> ``[M, P]``, zero where alike, else below."""
    near = 2 * store.key.T @ (key * selection) - store.key.T**2 @ selection - (selection * key**2).sum(0)
    return near * store.shrinkage.T / len(key) ** 0.5


class Memory:
    """Working and long-term memory of one video.

    Args:
        config: how much is remembered.
    """

    def __init__(self, config: MemoryConfig = MemoryConfig()):
        self.config = config
        self.working: Store | None = None
        self.long_term: Store | None = None

    @property
    def sizes(self) -> tuple[int, int]:
        """Elements of the working and the long-term memory."""
        return (0 if self.working is None else len(self.working), 0 if self.long_term is None else len(self.long_term))

    def match(self, key: Key) -> Tensor:
        """What the memory says of a frame, ``[N, D, h, w]``; every element's use is counted.

        Raises:
            ValueError: where nothing was remembered.
        """
        if self.working is None:
            raise ValueError("nothing was remembered that could be matched")
        store = self.working if self.long_term is None else self.long_term + self.working
        scores = similarity(store, key.key[0].flatten(1), key.selection[0].flatten(1))
        best, which = scores.topk(min(self.config.top_k, len(store)), dim=0)
        affinity = torch.zeros_like(scores).scatter_(0, which, best.softmax(0))
        usage = affinity.sum(1)
        if self.long_term is not None:
            self.long_term.read(usage[: len(self.long_term)])
        self.working.read(usage[-len(self.working) :])
        return (store.value @ affinity).unflatten(-1, key.key.shape[-2:])

    def remember(self, key: Key, value: Tensor) -> None:
        """Add a frame; ``value`` is ``[N, D, h, w]``. Consolidates when the working memory is full."""
        k, shrinkage, selection = (x[0].flatten(1) for x in key)
        fresh = Store.new(k, shrinkage, selection, value.flatten(2))
        self.working = fresh if self.working is None else self.working + fresh
        if len(self.working) >= self.config.max_frames * len(fresh):
            self._consolidate(self.working, len(fresh))

    def _consolidate(self, working: Store, frame: int) -> None:
        """Everything between the first frame and the last few becomes prototypes (section 3.3)."""
        end = len(working) - (self.config.min_frames - 1) * frame
        candidates = working[frame:end]
        self.working = working[:frame] + working[end:]
        room = self.config.max_long_term - self.config.prototypes
        if self.long_term is not None and len(self.long_term) > room:
            usage = self.long_term.usage
            least = usage.topk(len(self.long_term) - room, largest=False).values[-1]
            self.long_term = self.long_term[usage > least]
        chosen = candidates[candidates.usage.topk(min(self.config.prototypes, len(candidates))).indices]
        affinity = similarity(candidates, chosen.key, chosen.selection).softmax(0)
        made = Store.new(chosen.key, candidates.shrinkage @ affinity, chosen.selection, candidates.value @ affinity)
        self.long_term = made if self.long_term is None else self.long_term + made


class Propagation:
    """Carries the masks of one frame through those that follow.

    Args:
        network: with its weights loaded.
        config: how much is remembered.
    """

    def __init__(self, network: XMem, config: MemoryConfig = MemoryConfig()):
        self.network = network
        self.memory = Memory(config)
        self._hidden: Tensor | None = None
        self._since = 0

    @torch.no_grad()
    def step(self, frame: Tensor, masks: Tensor | None = None, end: bool = False) -> Tensor:
        """Probabilities of the objects on the next frame.

        Args:
            frame: ``[3, H, W]``, normalised as ImageNet is.
            masks: ``[N, H, W]`` in [0, 1] where they are known, as they must be on the first frame; N stays.
            end: the last frame, of which nothing is remembered.

        Returns:
            ``[N + 1, H, W]``, background first; they sum to one.

        Raises:
            ValueError: where the first frame has no masks or the number of objects changes.
        """
        if masks is None and self._hidden is None:
            raise ValueError("the first frame needs masks")
        height, width = frame.shape[-2:]
        top, left = -height % STRIDE // 2, -width % STRIDE // 2
        padding = (left, -width % STRIDE - left, top, -height % STRIDE - top)
        frame = F.pad(frame, padding)[None]
        self._since += 1
        remembered = (masks is not None or self._since >= self.memory.config.every) and not end
        key, features = self.network.encode_key(frame)
        if masks is None:
            assert self._hidden is not None
            probabilities, self._hidden = self.network.segment(
                features, self.memory.match(key), self._hidden, update=not remembered and not end
            )
        else:
            if self._hidden is None:
                self._hidden = key.key.new_zeros(len(masks), self.network.config.hidden_dim, *key.key.shape[-2:])
            elif len(masks) != len(self._hidden):
                raise ValueError(f"{len(masks)} masks, but {len(self._hidden)} objects were given before")
            probabilities = aggregate(F.pad(masks.to(frame), padding))
        if remembered:
            value, self._hidden = self.network.encode_value(frame, features.f16, self._hidden, probabilities[1:])
            self.memory.remember(key, value)
            self._since = 0
        return probabilities[:, top : top + height, left : left + width]
