"""A step without its arithmetic: tensors that have a shape and no values, and how many bytes of them live at once.

What runs is the program's own code, so that what it takes is no formula that goes stale. Where it asks for a value, one
is made up that takes the way which needs more.
"""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count
from torch.utils.weak import WeakIdKeyDictionary

aten = torch.ops.aten
_BY_MASK = (aten.index.Tensor, aten.nonzero.default, aten.masked_select.default)
_ATTENTION = aten._scaled_dot_product_flash_attention_for_cpu.default
_ATTENTION_BACKWARD = aten._scaled_dot_product_flash_attention_for_cpu_backward.default
IN_FLOAT32_ON_GPUS = {
    *("exp", "log", "log10", "log2", "log1p", "expm1", "pow", "__pow__", "__rpow__", "reciprocal", "rsqrt", "softplus"),
    *("acos", "asin", "cosh", "sinh", "tan", "erfinv", "norm", "dist", "logsumexp", "cosine_similarity"),
    *("layer_norm", "group_norm", "softmax", "log_softmax", "sum", "prod", "cumsum", "cumprod"),
    *("mse_loss", "l1_loss", "smooth_l1_loss", "binary_cross_entropy_with_logits", "nll_loss", "interpolate"),
}
"""What autocast computes in single precision on a GPU, and in the lower one on a CPU."""


class Ledger(TorchDispatchMode):
    """Follows the memory of tensors from their making to their end, and counts arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[str, float] = defaultdict(float)
        """Bytes by kind: those that :meth:`name` told, and ``activations`` for all others."""
        self.at_peak: dict[str, float] = {}
        self.peak = 0.0
        self.flops = 0
        self.turned = False
        """Whether convolutions copy pictures into the order that a GPU works in, and what they make back from it."""
        self._made: tuple[str, float] = ("activations", 1.0)
        self._known: Any = WeakIdKeyDictionary()

    def name(self, kind: str, tensors: Any, share: float = 1.0) -> None:
        """Count tensors as of a kind, and of their bytes a share: in shards, a process has a part alone."""
        for tensor in tensors:
            entry = self._entry(tensor)
            self.live[entry[0]] -= entry[1]
            entry[0], entry[1] = kind, entry[2] * share
            self.live[kind] += entry[1]
        self._look()

    @contextlib.contextmanager
    def making(self, kind: str, share: float = 1.0) -> Iterator[None]:
        """A block in which all that is made is of a kind."""
        before, self._made = self._made, (kind, share)
        try:
            yield
        finally:
            self._made = before

    @contextlib.contextmanager
    def repeated(self, times: int) -> Iterator[None]:
        """A block whose arithmetic is done so many times."""
        before = self.flops
        yield
        self.flops += (times - 1) * (self.flops - before)

    def forget_peak(self) -> None:
        """Begin anew with the most that lives at once."""
        self.peak = 0.0
        self._look()

    def _look(self, beside: float = 0.0) -> None:
        total = sum(self.live.values()) + beside
        if total > self.peak:
            self.peak, self.at_peak = total, dict(self.live)

    def _entry(self, tensor: Tensor) -> list[Any]:
        storage = tensor.untyped_storage()
        entry = self._known.get(storage)
        if entry is None:
            size = storage.nbytes()
            kind, share = self._made
            entry = self._known[storage] = [kind, size * share, size]
            self.live[kind] += size * share
            weakref.finalize(storage, self._gone, entry).atexit = False
        return entry

    def _gone(self, entry: list[Any]) -> None:
        self.live[entry[0]] -= entry[1]

    def __torch_dispatch__(self, func: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default:
            return _value(args[0])
        if func is aten.equal.default:
            return True
        out = _picked(func, args) if func in _BY_MASK else None
        if out is None:
            out = func(*args, **kwargs)
        self.flops += _flops(func, args, kwargs, out)
        for leaf in tree_iter(out):
            if isinstance(leaf, Tensor):
                self._entry(leaf)
        copied = self.turned and func is aten.convolution.default
        self._look(_bytes(args[0]) + _bytes(out) if copied else 0.0)
        return out


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _value(tensor: Tensor) -> bool | int | float:
    """What a tensor says that holds no value: yes, or one."""
    known = getattr(tensor, "constant", None)
    if known is not None:
        return known.item()
    return True if tensor.dtype == torch.bool else 1.0 if tensor.is_floating_point() else 1


def _picked(func: Any, args: Any) -> Tensor | None:
    """What a mask picks of a tensor, all of it; None where it is no mask that picks."""
    tensor = args[0]
    if func is aten.nonzero.default:
        return tensor.new_empty(tensor.numel(), tensor.ndim, dtype=torch.long)
    if func is aten.masked_select.default:
        return tensor.new_empty(tensor.numel())
    masks = [(i, m) for i, m in enumerate(args[1]) if m is not None]
    if len(masks) != 1 or masks[0][1].dtype != torch.bool:
        return None
    place, mask = masks[0]
    return tensor.new_empty(*tensor.shape[:place], mask.numel(), *tensor.shape[place + mask.ndim :])


def _zeros(tensor: Tensor, dtype: Any = None, **how: Any) -> np.ndarray:
    """What NumPy sees of a tensor that holds no value: what is computed there is small."""
    return np.zeros(tensor.shape, dtype or str(tensor.dtype).removeprefix("torch."))


def _flops(func: Any, args: Any, kwargs: Any, out: Any) -> int:
    if func is _ATTENTION:
        return int(sdpa_flop_count(*(a.shape for a in args[:3])))
    if func is _ATTENTION_BACKWARD:
        return int(sdpa_backward_flop_count(*(a.shape for a in args[:4])))
    count = flop_registry.get(func._overloadpacket)
    return int(count(*args, **kwargs, out_val=out)) if count else 0


class Rules(TorchFunctionMode):
    """What a call of PyTorch's does otherwise where tensors have no values.

    Args:
        gpu: autocast goes by a GPU's rules: what it has in single precision there is so here, on the CPU.
    """

    def __init__(self, gpu: bool):
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, func: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if func is Tensor.backward:
            engine, total = torch.autograd.Variable._execution_engine, args[0]
            with self:  # what is computed anew there is computed alike
                engine.run_backward((total,), (torch.ones_like(total),), False, False, (), True, accumulate_grad=True)
            return None
        if not self.gpu or name not in IN_FLOAT32_ON_GPUS or not torch.is_autocast_enabled("cpu"):
            return func(*args, **kwargs)
        args, kwargs = tree_map(_single, (args, kwargs))
        with torch.autocast("cpu", enabled=False):
            return func(*args, **kwargs)


def _single(value: Any) -> Any:
    lower = isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    return value.float() if lower else value


@contextlib.contextmanager
def replay(gpu: bool) -> Iterator[Ledger]:
    """A block in which nothing is computed, and the memory that its tensors would take is followed.

    Args:
        gpu: precision is lowered as autocast does it there, not as on a CPU.
    """
    with contextlib.ExitStack() as held:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what oneDNN could do on another maker's GPU
            # Its own operations say nothing of what they give.
            held.enter_context(torch.backends.mkldnn.flags(enabled=False))
        # PyTorch lets no subclass of its tensors be seen by NumPy, nor does every version ask its modes first.
        for way in ("numpy", "__array__"):
            held.enter_context(mock.patch.object(FakeTensor, way, _zeros, create=True))
        held.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        ledger = held.enter_context(Ledger())
        held.enter_context(Rules(gpu))
        yield ledger
