"""Samples that leave frames out: the same clip, faster."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from school import config, quiet

from geometrycrafter.data.shards import Shards, ShardWriter
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.errors import InputError
from geometrycrafter.training.config import Augmentation
from geometrycrafter.training.samples import ClipSamples
from geometrycrafter.training.sampling import Draw
from geometrycrafter.training.trainer import Trainer

LENGTH = 20


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """Clips whose pictures say their own number: a grey of ten times it."""
    folder = tmp_path_factory.mktemp("counted")
    with ShardWriter(folder) as writer:
        for clip in range(2):
            made = rendered(clip, LENGTH if clip == 0 else 4, 32, 48)
            for number, frame in enumerate(made.frames):
                frame[:] = 10 * number
            writer.add(f"clip-{clip}", made)
    return Shards(folder)


def numbers(shards: Shards, draw: Draw, **augmentation) -> list[int]:
    """Which frames of its clip a sample has."""
    frames = ClipSamples((shards,), (32, 48), Augmentation(**augmentation))(draw)["frames"]
    return [round(f.float().mean().item() / 10) for f in frames]


def test_strides_are_drawn_for_each_sample_and_stay_within_the_clip(counted):
    steps = set()
    for seed in range(120):
        seen = numbers(counted, Draw(0, 0, 3, seed), stride=8)
        step = set(np.diff(seen))
        assert len(step) == 1 and min(seen) >= 0 and max(seen) < LENGTH
        steps |= step
    assert steps == set(range(1, 9))


def test_a_clip_is_not_left_for_a_stride(counted):
    """Eight frames of twenty go on by two at most; a clip that is too short goes to and fro, as without strides."""
    assert {int(np.diff(numbers(counted, Draw(0, 0, 8, seed), stride=8))[0]) for seed in range(30)} == {1, 2}
    assert numbers(counted, Draw(0, 1, 6, 3), stride=8) == [0, 1, 2, 3, 2, 1]
    assert len(numbers(counted, Draw(0, 0, 1, 3), stride=8)) == 1


def test_a_sample_depends_on_its_draw_alone_and_is_as_it_was_without_strides(counted):
    for seed in range(5):
        draw = Draw(0, 0, 4, seed)
        assert numbers(counted, draw, stride=5, reverse=True) == numbers(counted, draw, stride=5, reverse=True)
        start = int(np.random.default_rng(seed).integers(LENGTH - 4 + 1))  # the first that was ever drawn of a seed
        assert numbers(counted, draw) == list(range(start, start + 4))


def test_geometry_goes_with_its_frames(counted):
    make = ClipSamples((counted,), (32, 48), Augmentation(stride=8))
    for seed in range(8):
        sample = make(Draw(0, 0, 3, seed))
        whole = ClipSamples((counted,), (32, 48), Augmentation())(Draw(0, 0, LENGTH, 0))
        for frame, depth in zip(sample["frames"], sample["depth"], strict=True):
            assert torch.equal(depth, whole["depth"][round(frame.float().mean().item() / 10)])


def test_a_stride_is_a_number_from_one_to_64(school, shards):
    assert config(school, shards, augmentation={"stride": 8}).augmentation.stride == 8
    for bad in (0, 65, 1.5):
        with pytest.raises(InputError, match="stride"):
            config(school, shards, augmentation={"stride": bad})


def test_a_run_with_strides_that_is_gone_on_with_comes_to_the_same_bits(school, counted, tmp_path):
    changes = {"augmentation": {"stride": 8}, "start": "config", "validation": [], "tracker": "none", "frames": [1, 3]}
    settings = config(school, counted.folder, **changes)
    whole = Trainer(settings, tmp_path / "whole", quiet)
    whole.run()
    for steps in (2, 4):
        cut = Trainer(replace(settings, steps=steps), tmp_path / "cut", quiet)
        cut.run()
    found = cut.state.network.state_dict()
    assert all(torch.equal(v, found[k]) for k, v in whole.state.network.state_dict().items())


def test_latents_that_were_stored_before_there_were_strides_are_taken(school, shards, tmp_path):
    changes = {"stage": "unet", "validation": [], "tracker": "none", "steps": 1, "latent_variants": 1}
    settings = config(school, shards, latents=str(tmp_path / "latents"), **changes)
    Trainer(settings, tmp_path / "one", quiet).run()
    note = json.loads((tmp_path / "latents" / "origin.json").read_text())
    assert "stride" not in note["augmentation"]
    faster = replace(settings, augmentation=Augmentation(stride=2))
    with pytest.raises(InputError, match="another augmentation"):
        Trainer(faster, tmp_path / "two", quiet).run()
