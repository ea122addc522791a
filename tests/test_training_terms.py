"""What the terms of a stage's loss have a part in."""

from __future__ import annotations

import pytest
from school import config

from geometrycrafter.training.config import PUBLISHED, read_train_config
from geometrycrafter.training.trainer import Trainer


@pytest.mark.parametrize("name", sorted(p.stem for p in PUBLISHED.glob("*.toml")))
def test_each_term_of_a_configuration_that_comes_with_the_package_trains_something(name, school, shards, tmp_path):
    sources = [{"path": str(shards)}]
    here = {"hub": str(school), "sources": sources, "validation": [], "size": [32, 48], "other_sizes": []}
    small = {"frames": [2, 2], "batch": 1, "workers": 0, "tracker": "none"}
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
