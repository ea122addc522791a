"""Muon: steps of momentum that are made orthogonal, for the weights that are matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

SMALLEST_SIDE = 8
"""Of a matrix that is stepped so; thinner ones (inputs, heads) and vectors go by AdamW."""


class Muon(torch.optim.AdamW):
    """AdamW but for matrices, convolutions' among them, whose step is the momentum's nearest semi-orthogonal matrix.

    Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks". Steps are scaled to the root mean
    square that AdamW's have (Liu et al. 2025, "Muon is scalable for LLM training", eq. 4), so rates carry over.
    PyTorch's own takes neither convolutions nor the other parameters.
    """

    momentum = 0.95

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step; gradients of the matrices are used up."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and is_matrix(parameter):
                    self._step_matrix(parameter, parameter.grad, group["lr"], group["weight_decay"])
                    parameter.grad = None  # AdamW passes over it
        return super().step(closure)

    @torch.no_grad()
    def _step_matrix(self, parameter: Tensor, gradient: Tensor, rate: float, decay: float) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        moment = state["momentum"].lerp_(gradient, 1 - self.momentum)
        step = gradient.lerp(moment, self.momentum)  # Nesterov's
        flat = step.flatten(1)
        flat = orthogonal(flat) * (0.2 * max(flat.shape) ** 0.5)
        parameter.mul_(1 - rate * decay).sub_(flat.view(step.shape), alpha=rate)


def is_matrix(parameter: Tensor) -> bool:
    """Whether a parameter ``[out, ...]`` is stepped as a matrix: rows are its outputs, columns all the rest."""
    return parameter.ndim > 1 and min(len(parameter), parameter[0].numel()) >= SMALLEST_SIDE


def orthogonal(matrix: Tensor) -> Tensor:
    """Nearly the nearest semi-orthogonal matrix ``[A, B]``, singular values in 0.7 to 1.2: five Newton-Schulz steps."""
    x = matrix.T if len(matrix) > matrix.shape[1] else matrix
    x = x / x.norm().clamp_min(1e-12)
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.T if len(matrix) > matrix.shape[1] else x
