"""Training and inference with the networks on another device than the CPU: a stand-in plays it."""

from __future__ import annotations

import pytest
import torch
from conftest import moving_pattern
from elsewhere import GPU, Elsewhere, gpu
from school import config, quiet

import geometrycrafter as gc
from geometrycrafter.training.distribution import Workers
from geometrycrafter.training.trainer import Trainer

STAGES = {
    "prior": {"frames": [1, 1]},
    "autoencoder": {},
    "vae": {"latent_noise": 1.0, "measure_scale": True},
    "light decoder": {"stage": "vae", "start": "light", "layers": "decoder", "latent_variants": 1, "optimizer": "muon"},
    "deterministic": {"stage": "unet", "decoder_loss": 0.1, "point_loss": 0.1, "temporal_loss": 0.1, "frames": [2, 2]},
    "diffusion": {"stage": "unet", "variant": "diffusion", "own_start": 1.0, "log_sigma": [3.0, 0.1]},
    "latents": {"stage": "unet", "variant": "diffusion", "latent_variants": 1, "decoder_loss": 0.1},
}
"""Between them, all terms of all losses."""


def test_the_stand_in_refuses_what_a_gpu_refuses():
    with gpu():
        here, there = torch.ones(2, 3), torch.ones(2, 3).to(GPU)
        assert isinstance(there, Elsewhere) and there.device == GPU
        assert (there + there).cpu().sum() == 12 and (there * torch.tensor(2.0)).device == GPU
        for mixed in (lambda: here + there, lambda: torch.cat([here, there]), lambda: here[there > 0]):
            with pytest.raises(RuntimeError, match="on a GPU and on the CPU"):
                mixed()
        with pytest.raises(RuntimeError, match="generator"):
            torch.randn(2, generator=torch.Generator(), device=GPU)
        with pytest.raises(RuntimeError):
            there.numpy()


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_steps_on_another_device_as_on_the_cpu(name, school, shards, tmp_path, monkeypatch):
    settings = config(school, shards, **{"stage": name, "tracker": "none"} | STAGES[name])
    found = []
    for device in (torch.device("cpu"), GPU):
        monkeypatch.setattr(Workers, "join", lambda device=device: Workers(device=device))
        with gpu():
            run = Trainer(settings, tmp_path / device.type, quiet)
            assert {p.device for p in run.stage.parameters()} == {device}
            terms = run._train_step(next(run._batches()))
            run.stage.eval()
            with torch.no_grad():
                batch = next(run._judged())
                scores = {k: v.item() for k, v in run.stage.scores(batch).items()}
                pixels = run.stage.pictures(batch)
                run.stage.finish([batch], False)
            run.state.restore(run.state.plain(0.0))
            found.append((terms, scores))
            assert pixels.std() > 0 and all(v.device.type == "cpu" for v in run.state.trained().values())
    for here, there in zip(*found, strict=True):
        assert here and there == pytest.approx(here, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("variant", ["diffusion", "deterministic"])
def test_inference_on_another_device_is_that_on_the_cpu(variant, school):
    frames = moving_pattern(5, 32, 48)
    points = []
    for device in ("cpu", GPU.type):
        with gpu():
            estimator = gc.load(school, variant, device=device)
            assert estimator.networks.device == torch.device(device)
            points.append(estimator(frames, size=(64, 64), window=4, overlap=2, steps=2).points[:])
    here, there = points
    assert here == pytest.approx(there, rel=1e-3, abs=1e-4, nan_ok=True)
