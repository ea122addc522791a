"""Activations that are computed again: less memory, the same gradients."""

from __future__ import annotations

import pytest
import torch
from school import config, quiet

from geometrycrafter.training.config import read_train_config
from geometrycrafter.training.plan import plan_of
from geometrycrafter.training.trainer import Trainer

STAGES = {
    "prior": {"stage": "prior"},
    "autoencoder": {"stage": "autoencoder"},
    "vae": {"stage": "vae"},
    "unet": {"stage": "unet", "size": [64, 64], "decoder_loss": 0.5},
}


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_gradients_are_the_same_to_the_bit(school, shards, tmp_path, name, precision):
    found = []
    for again in (False, True):
        settings = config(school, shards, recompute=again, precision=precision, **STAGES[name])
        run = Trainer(settings, tmp_path / f"run{again}", quiet)
        run._train_step(next(run._batches()))
        found.append({n: p.grad.clone() for n, p in run.state.parameters.items() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(g, found[1][n]) for n, g in found[0].items())


@pytest.mark.parametrize(("name", "most"), [("paper-vae-images", 0.25), ("paper-vae-video", 0.3)])
def test_most_of_what_is_kept_is_let_go_of_in_frozen_networks_too(tmp_path, name, most):
    settings = {"hub": str(tmp_path), "size": [64, 128], "validation": []}
    kept, again = (
        plan_of(read_train_config(name, settings | {"recompute": r}), processes=8).step.kinds["activations"]
        for r in (False, True)
    )
    assert again < most * kept
