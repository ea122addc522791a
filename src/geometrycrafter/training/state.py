"""Everything of a run that changes from step to step, and how it is kept and taken up again."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from geometrycrafter.training.choosing import Chosen
from geometrycrafter.training.config import LoopConfig, PriorStageConfig
from geometrycrafter.training.distribution import Workers, like, on_first, whole
from geometrycrafter.training.muon import Muon
from geometrycrafter.training.stages import Stage


class TrainingState:
    """The network that trains, its optimizer, its averaged weights, and where the run is.

    Args:
        stage: its parameters chosen, and spread over the processes.
        config: of the run.
        workers: the processes.
    """

    def __init__(self, stage: Stage[Any], config: LoopConfig, workers: Workers):
        self.network, self.config, self.workers = stage.network, config, workers
        self.parameters = {n: p for n, p in self.network.named_parameters() if p.requires_grad}
        trunk = {n for n in self.parameters if n.startswith("trunk.")}
        slower = config.trunk_rate if isinstance(config, PriorStageConfig) else 1.0
        groups = [
            {"params": [p for n, p in self.parameters.items() if (n in trunk) == slow], "factor": factor}
            for slow, factor in ((False, 1.0), (True, slower))
        ]
        optimizer = Muon if config.optimizer == "muon" else torch.optim.AdamW
        self.optimizer = optimizer(
            [g for g in groups if g["params"]], lr=config.rate, betas=config.betas, weight_decay=config.weight_decay
        )
        self.average = {n: p.detach().clone() for n, p in self.parameters.items()} if config.ema else {}
        self.scaler = torch.amp.GradScaler(workers.device.type, enabled=config.precision == "float16")
        self.chosen = Chosen()
        self.step, self.spent, self.best = 0, 0.0, math.inf
        self.counts = {"skipped clips": 0, "skipped steps": 0}

    def rate(self) -> float:
        """Of the step to come."""
        config = self.config
        rise = min(1.0, (self.step + 1) / config.warmup) if config.warmup else 1.0
        fall = 0.5 * (1 + math.cos(math.pi * self.step / config.steps)) if config.schedule == "cosine" else 1.0
        return config.rate * rise * max(fall, 0.01)

    def begin_step(self) -> None:
        """Set the rate, and let go of the last step's gradients."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate() * group["factor"]
        self.optimizer.zero_grad(set_to_none=True)

    def clip_gradient(self) -> float:
        """Limit the norm of the gradient; returns what it was, over all processes' shards."""
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.clip)
        return float(whole(norm))

    def take_step(self) -> None:
        """Move the weights along the gradient, and their averages after them."""
        self.scaler.step(self.optimizer)
        self.scaler.update()
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.average.items():
                value.lerp_(self.parameters[name], 1 - decay)

    @property
    def over(self) -> bool:
        """Whether the run has come to its end: its last step, or that of its patience."""
        patience = self.config.patience
        return self.step >= self.config.steps or 0 < patience <= self.chosen.worse

    def judge(self, scores: dict[str, float]) -> None:
        """Keep the averaged weights of now where their first score is the best one yet, if the run chooses."""
        if self.config.patience and scores:
            average = self.average or self.parameters
            self.chosen.judge(self.step, scores, {n: v.detach() for n, v in average.items()})

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Put the averaged weights in the network's place for a while."""
        return self._with(self.average)

    def kept(self) -> contextlib.AbstractContextManager[None]:
        """The same with those that the run ends with: the chosen ones, or the averaged ones of now."""
        return self._with(self.chosen.weights or self.average)

    @contextlib.contextmanager
    def _with(self, weights: dict[str, Tensor]) -> Iterator[None]:
        own = {n: self.parameters[n].detach().clone() for n in weights}
        try:
            for name, value in weights.items():
                self.parameters[name].data.copy_(value)
            yield
        finally:
            for name, value in own.items():
                self.parameters[name].data.copy_(value)

    def trained(self) -> dict[str, Tensor]:
        """The network with the weights that the run ends with, whole, on the first process's CPU; all call it, the
        others get none."""
        with self.kept():
            return on_first(self.network.state_dict(), self.workers)

    def nbytes(self) -> int:
        """Of what :meth:`plain` gives, at most: both moments of every parameter."""
        parameters = [*self.parameters.values()]
        copies = 2 + (self.config.patience > 0)  # the optimizer's moments, and the chosen weights
        kept = [*self.network.state_dict().values(), *self.average.values(), *(copies * parameters)]
        return sum(t.numel() * t.element_size() for t in kept)

    def plain(self, spent: float) -> dict[str, Any]:
        """All of it, the optimizer's by the parameters' names; all processes call it.

        Tensors are whole and copies, on the first process's CPU; the others get none.
        """
        states: dict[str, dict[str, Any]] = {}
        for name, parameter in self.parameters.items():
            own = self.optimizer.state.get(parameter, {})
            plain = {k: v for k, v in own.items() if not isinstance(v, Tensor)}
            states[name] = plain | on_first({k: v for k, v in own.items() if isinstance(v, Tensor)}, self.workers)
        return {
            "step": self.step,
            "network": on_first(self.network.state_dict(), self.workers),
            "average": on_first(self.average, self.workers),
            "optimizer": states,
            "scaler": self.scaler.state_dict(),
            "random": torch.get_rng_state(),
            "spent": spent,
            "best": self.best,
            "counts": dict(self.counts),
            "chosen": on_first(self.chosen.weights, self.workers),
            "choice": self.chosen.plain(),
        }

    def restore(self, stored: dict[str, Any]) -> None:
        """Take up what :meth:`plain` gave."""
        live = self.network.state_dict()
        with torch.no_grad():
            for name, value in stored["network"].items():
                live[name].copy_(like(value, live[name]))
            for name, value in stored["average"].items():
                self.average[name].copy_(like(value, self.average[name]))
        for name, parameter in self.parameters.items():
            own = stored["optimizer"][name]
            if own:
                self.optimizer.state[parameter] = {
                    # The count of steps is a plain scalar; moments are laid out as their parameter is.
                    k: like(v, parameter) if v.shape == parameter.shape and k != "step" else _copied(v)
                    for k, v in own.items()
                }
        self.chosen.restore(
            stored.get("choice", {}), {n: like(v, self.parameters[n]) for n, v in stored.get("chosen", {}).items()}
        )
        self.scaler.load_state_dict(stored["scaler"])
        torch.set_rng_state(stored["random"])
        self.step, self.spent, self.best = stored["step"], stored["spent"], stored["best"]
        self.counts = dict(stored["counts"])


def _copied(value: Any) -> Any:
    """What is stored may be a part of a file."""
    return value.clone() if isinstance(value, Tensor) else value
