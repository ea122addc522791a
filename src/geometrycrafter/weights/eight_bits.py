"""A UNet's linear layers in 8 bits, through torchao: a quarter of their memory, and coarser products.

Weights get a scale for each output, tokens one each as they come. Convolutions, norms and embeddings of times stay.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator

from torch import nn

from geometrycrafter.errors import InputError, how_to_install

LAYERS = ("attn1", "attn2", "ff", "ff_in", "proj_in", "proj_out")
"""Where the transformers' linear layers are."""
SCALE = 4
"""Bytes of each output's scale."""


def in_8_bits(network: nn.Module) -> None:
    """Replace the weights of a network's transformers by ones of 8 bits; what they were is lost.

    Raises:
        InputError: where torchao is missing.
    """
    check_available()
    with quiet("torchao", "torch.utils._pytree"):  # of kernels for GPUs that are not here, and of PyTorch's plans
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

        quantize_(network, Int8DynamicActivationInt8WeightConfig(version=2), filter_fn=_is_wanted)


@contextlib.contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """A block in which libraries tell of errors alone."""
    before = {name: logging.getLogger(name).level for name in loggers}
    try:
        for name in loggers:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def saved(network: nn.Module) -> int:
    """Bytes by which a network's weights get smaller, if they are put into 8 bits; they need have no values."""
    layers = [module for name, module in network.named_modules() if _is_wanted(module, name)]
    return sum(m.weight.numel() * (m.weight.element_size() - 1) - SCALE * m.out_features for m in layers)


def check_available() -> None:
    """See that layers can be had in 8 bits.

    Raises:
        InputError: where torchao is missing.
    """
    if importlib.util.find_spec("torchao") is None:
        raise InputError(f"--precision int8: torchao is missing; {how_to_install('int8')}.")


def is_in_8_bits(network: nn.Module) -> bool:
    """Whether some of a network's weights are."""
    return any(type(module.weight) is not nn.Parameter for module in network.modules() if isinstance(module, nn.Linear))


def _is_wanted(module: nn.Module, name: str) -> bool:
    return isinstance(module, nn.Linear) and any(part in LAYERS for part in name.split("."))
