"""What the terms of a stage's loss have a part in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from school import config

from geometrycrafter.networks.point_map_vae import DecodedPointMap
from geometrycrafter.training import losses
from geometrycrafter.training.config import PUBLISHED, read_train_config
from geometrycrafter.training.stages import VAEStage
from geometrycrafter.training.trainer import Trainer


@pytest.mark.parametrize("name", sorted(p.stem for p in PUBLISHED.glob("*.toml")))
def test_each_term_of_a_configuration_that_comes_with_the_package_trains_something(name, school, shards, tmp_path):
    sources = [{"path": str(shards)}]
    here = {"hub": str(school), "sources": sources, "validation": [], "size": [32, 48], "other_sizes": []}
    small = {"frames": [2, 2], "batch": 1, "accumulate": 1, "workers": 0, "tracker": "none"}
    if read_train_config(name).stage in ("vae", "unet"):
        small["latents"] = str(tmp_path / "latents")
    settings = read_train_config(name, here | small)
    if settings.start in ("pretrained", "widen"):  # from files that aren't here
        settings = read_train_config(name, here | small | {"start": "hub"})
    said: list[str] = []
    run = Trainer(settings, tmp_path / "run", said.append)
    run._train_step(next(run._batches()))
    assert not [line for line in said if line.startswith("warning")]


@pytest.mark.parametrize("layers", ["temporal", "decoder", "all"])
def test_a_term_that_trains_nothing_is_told_once(layers, school, shards, tmp_path):
    """How SVD's decoder sees the latents, where the encoder that makes them is frozen."""
    said: list[str] = []
    Trainer(config(school, shards, layers=layers, steps=3, validation=[]), tmp_path / "run", said.append).run()
    warned = [line for line in said if line.startswith("warning")]
    assert len(warned) == (layers != "all") and all("term identity " in line for line in warned)


@pytest.mark.parametrize("name", ["paper-vae-images", "paper-vae-video"])
def test_the_papers_configurations_sum_over_scales(name):
    """Eq. 3 patch by patch: sides cut into 4, 16 and 64, the scales' errors added up."""
    generator = torch.Generator().manual_seed(0)
    z, truth = (torch.randn(1, 1, 64, 128, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = torch.rand(z.shape, generator=generator) > 0.3
    expected = 0.0
    for alpha in (4, 16, 64):
        pairs = zip(*(np.split(x[0, 0].numpy(), alpha) for x in (z, truth, mask)), strict=True)
        errors = []
        for rows in pairs:
            for a, b, m in zip(*(np.split(x, alpha, axis=1) for x in rows), strict=True):
                if m.any():
                    errors.append(np.abs((a[m] - a[m].mean()) - (b[m] - b[m].mean())))
        expected += np.concatenate(errors).mean()
    weights = read_train_config(name).losses
    found = losses.vae_terms(DecodedPointMap(z, z, z), truth, z, mask, weights)
    assert found["multi_scale"].item() == pytest.approx(expected)


@pytest.mark.parametrize("everywhere", [False, True])
def test_holes_count_in_the_masks_loss_where_it_is_asked_for(everywhere, school, shards):
    """Eq. 6 is over every pixel."""
    stage = VAEStage(config(school, shards, mask_everywhere=everywhere))
    depth = torch.ones(1, 1, 32, 48)
    depth[..., :16, :] = 0
    batch = {"depth": depth, "known": depth > 0, "half_field": torch.full((1, 1, 2), 0.5), "seeds": [0]}
    stage.network.decode = lambda *_: DecodedPointMap(*torch.ones(3, 1, 1, 32, 48))
    # Half of the picture is a hole, where the mask's target is -1 and the prediction 1.
    assert stage(batch)["mask"].item() == pytest.approx(4 / 2 if everywhere else 0)


def test_a_decoder_begins_as_svds_or_at_random(school, shards):
    for start, alike in (("svd", True), ("random", False)):
        stage = VAEStage(config(school, shards, start="config", decoder_start=start))
        own, svd = stage.network.decoder.conv_in.weight, stage.svd.decoder.conv_in.weight
        assert torch.equal(own, svd) == alike
