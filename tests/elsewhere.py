"""A device that is not there: tensors that say they are on a GPU, computed on the CPU, and never mixed with its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

GPU = torch.device("meta")
"""What its tensors say. The build of PyTorch for CPUs has no room for a tensor of CUDA, but one for these, which else
have no values."""
COPIES = (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default)
INDEXING = ("aten::index", "aten::index_put_", "aten::index_put", "aten::_index_put_impl_")


class Elsewhere(torch.Tensor):
    """A tensor on the device; its values are a CPU tensor, ``inner``."""

    inner: torch.Tensor
    is_meta = False

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=GPU,
            requires_grad=inner.requires_grad,
        )
        made.inner = inner
        return made

    def __repr__(self, **_: Any) -> str:
        return f"Elsewhere({self.inner!r})"

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, torch.Tensor], *_: Any) -> Elsewhere:
        return Elsewhere(inner["inner"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation on the CPU, for tensors of whichever device; refused where it would be on a machine with a GPU."""
    leaves = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, torch.Tensor)]
    there = [isinstance(leaf, Elsewhere) for leaf in leaves]
    device = kwargs.get("device")
    to = any(there) if device is None else torch.device(device).type == GPU.type
    generator = kwargs.get("generator")
    if to and generator is not None and generator.device.type == "cpu":
        raise RuntimeError(f"{func}: a generator of the CPU can't draw on a GPU")
    if any(there) and func not in COPIES and "foreach" not in str(func):
        own = leaves[:1] if func._schema.name in INDEXING and there[0] else leaves  # a GPU takes the CPU's indices
        if any(not isinstance(leaf, Elsewhere) and leaf.ndim for leaf in own):
            raise RuntimeError(f"{func}: tensors on a GPU and on the CPU, {[tuple(leaf.shape) for leaf in leaves]}")
    if func is torch.ops.aten.copy_.default:
        to = there[0]
    inner = {k: torch.device("cpu") if k == "device" and v is not None else v for k, v in kwargs.items()}
    plain_args, plain = tree_map(lambda x: x.inner if isinstance(x, Elsewhere) else x, (args, inner))
    if not to and func is torch.ops.aten._to_copy.default:
        return func(*plain_args, **plain).clone()
    out = func(*plain_args, **plain)
    if not to:
        return out
    out = tree_map(lambda x: Elsewhere(x) if isinstance(x, torch.Tensor) else x, out)
    return return_and_correct_aliasing(func, args, kwargs, out)


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


@contextmanager
def gpu() -> Iterator[torch.device]:
    """A block in which that device is there."""
    made = torch.tensor

    def tensor(data: Any, *, device: Any = None, **kwargs: Any) -> torch.Tensor:
        return made(data, **kwargs) if device is None else made(data, **kwargs).to(device)

    def new_tensor(self: torch.Tensor, data: Any, **kwargs: Any) -> torch.Tensor:
        return tensor(data, **{"dtype": self.dtype, "device": self.device} | kwargs)

    def as_tensor(data: Any, **kwargs: Any) -> torch.Tensor:
        return data.to(**kwargs) if isinstance(data, torch.Tensor) else tensor(data, **kwargs)

    # These make their tensors below all that can be seen from here.
    makers = mock.patch.multiple(torch, tensor=tensor, as_tensor=as_tensor, autocast=lambda *_, **__: nullcontext())
    with makers, mock.patch.object(torch.Tensor, "new_tensor", new_tensor), _Mode():
        yield GPU
