"""A light decoder beside a hub's own: trained from it, found beside it, streamed to what the whole clip gives."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from school import config, quiet, weights

import geometrycrafter as gc
from geometrycrafter.errors import InputError
from geometrycrafter.inference.decoding import decode_streamed, plan_chunks
from geometrycrafter.networks.point_map_vae import DecodedPointMap, LightDecoderConfig, LightPointMapDecoder
from geometrycrafter.networks.room import Room
from geometrycrafter.training import losses
from geometrycrafter.training.losses import VAEWeights
from geometrycrafter.training.trainer import Trainer
from geometrycrafter.weights import parts
from geometrycrafter.weights.checkpoints import read_tensors
from geometrycrafter.weights.light_decoders import load_light_decoder
from geometrycrafter.weights.models import check_folder

BESIDE = {
    "start": "light",
    "beside": True,
    "layers": "decoder",
    "losses": {"identity": 0.0, "distillation": 0.5, "steadiness": 0.5},
}
VIDEO = np.linspace(0, 255, 11 * 64 * 64 * 3).reshape(11, 64, 64, 3).astype(np.uint8)
CPU = torch.device("cpu")


def stirred(sizes: LightDecoderConfig) -> LightPointMapDecoder:
    """A light decoder no block of which is silent."""
    torch.manual_seed(0)
    decoder = LightPointMapDecoder.of(sizes).eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return decoder.requires_grad_(False)


STIRRED = stirred(LightDecoderConfig(widths=(8, 12, 16), layers=1))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 20), st.integers(1, 9), st.integers(1, 9), st.integers(0, 5))
def test_streaming_gives_what_the_whole_clip_gives(frames, chunk, most, first):
    latents = torch.randn(frames, 4, 3, 5, generator=torch.Generator().manual_seed(frames))
    whole = STIRRED(latents, frames)
    chunks = plan_chunks(frames, chunk, exact=True)
    first = min(first, len(chunks) - 1)
    room = Room("decoder")
    room.most = most  # as if no more had fitted
    asked = []

    def part(start, end):
        asked.append(end - start)
        return latents[start:end]

    made = list(decode_streamed(STIRRED, room, part, chunks, first))
    assert [start for start, _ in made] == [c.start for c in chunks[first:]]
    for index, maps in enumerate(whole):
        found = torch.cat([m[index] for _, m in made])
        torch.testing.assert_close(found, maps[chunks[first].start :], rtol=1e-5, atol=1e-5)
    assert max(asked) <= min(most, chunk) + 2 * STIRRED.reach


def test_a_frame_depends_on_as_many_others_as_the_decoder_says():
    latents = torch.randn(11, 4, 3, 5)
    changed = latents.clone()
    changed[5] += 1
    differ = (STIRRED(latents, 11).log_depth != STIRRED(changed, 11).log_depth).flatten(1).any(1)
    assert differ.nonzero().flatten().tolist() == list(range(5 - STIRRED.reach, 6 + STIRRED.reach))


def put_beside(hub, **sizes) -> None:
    made = LightDecoderConfig(**sizes)
    parts.save_part("light_decoder", hub, stirred(made).state_dict(), made, {})


@pytest.fixture(scope="module")
def trained(born, shards, tmp_path_factory):
    """A hub where a light decoder was trained beside the full one; and its terms of the loss before and after."""
    folder = tmp_path_factory.mktemp("trained")
    hub = shutil.copytree(born, folder / "hub")
    run = Trainer(config(hub, shards, steps=10, latent_variants=1, **BESIDE), folder / "run", quiet)
    batch = next(iter(run._judged()))
    terms = [run.stage(batch)]
    run.run()
    return hub, [{k: v.item() for k, v in found.items()} for found in (*terms, run.stage(batch))]


def test_it_learns_and_goes_beside_the_full_one_that_stays(trained, born):
    hub, (first, last) = trained
    assert last["distillation"] < 0.97 * first["distillation"] and sum(last.values()) < 0.97 * sum(first.values()), (
        first,
        last,
    )
    for part in parts.PARTS:
        before, after = weights(born, part), weights(hub, part)
        assert all(torch.equal(before[k], v) for k, v in after.items())
    assert load_light_decoder(hub, CPU).network.reach == 4
    assert ("GeometryCrafter/light_decoder", "ok") in check_folder(hub)


def test_distillation_is_nothing_where_the_maps_are_the_full_ones_and_more_the_further_they_are():
    generator = torch.Generator().manual_seed(0)
    theta, log_depth = (torch.rand(2, 1, 16, 16, generator=generator) * 0.1 + 0.5 for _ in range(2))
    seen = torch.ones(2, 1, 16, 16)
    seen[:, :, :5] = -1
    taught, nowhere = DecodedPointMap(theta, log_depth, seen), torch.zeros_like(seen, dtype=torch.bool)
    same, *others = (
        losses.distillation(DecodedPointMap(theta, log_depth * far, seen), taught, nowhere, VAEWeights()).item()
        for far in (1.0, 1.2, 1.5)
    )
    assert abs(same) < 1e-5 and 0.05 < others[0] < others[1]
    unseen = log_depth.clone()
    unseen[:, :, :3] += 1  # where neither sees a surface, but for normals and patches at the border
    assert losses.distillation(DecodedPointMap(theta, unseen, seen), taught, nowhere, VAEWeights()).item() < 1e-5


def test_an_error_that_stays_is_steady():
    truth = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(truth, dtype=torch.bool)
    assert losses.steadiness(truth + 0.3, truth, mask) < 1e-6
    shaken = truth + torch.tensor([0.0, 0.1, 0.0, 0.1]).view(-1, 1, 1, 1)
    assert losses.steadiness(shaken, truth, mask).item() == pytest.approx(0.1, rel=1e-4)
    assert losses.steadiness(truth[:1], truth[:1], mask[:1]) == 0


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(school, shards, tmp_path):
    one = shutil.copytree(school, tmp_path / "one")
    how = BESIDE | {"latent_variants": 1, "latent_noise": 0.4, "checkpoint_every": 2}
    Trainer(config(one, shards, steps=6, **how), tmp_path / "whole", quiet).run()
    Trainer(config(school, shards, steps=2, **how), tmp_path / "cut", quiet).run()
    Trainer(config(school, shards, steps=6, **how), tmp_path / "cut", quiet).run()
    whole, cut = weights(one, "light_decoder"), weights(school, "light_decoder")
    assert all(torch.equal(whole[k], v) for k, v in cut.items())


@pytest.mark.parametrize(
    "changes",
    [{"start": "hub"}, {"layers": "all"}, {"start": "hub", "beside": False}, {"measure_scale": True}],
)
def test_what_makes_no_light_decoder_is_told(changes, school, shards):
    with pytest.raises(InputError, match=r"beside|layers|distillation|measure_scale"):
        config(school, shards, **BESIDE | changes)


def test_a_run_finds_it_and_its_chunks_make_no_difference(school, tmp_path):
    own = school
    put_beside(own, widths=(8, 12, 16), layers=1)
    how = {"size": (64, 64), "cuts": "off", "window": 11, "overlap": 4, "steps": 1}
    estimator = gc.load(own, "deterministic", prior=flat)
    full = estimator(VIDEO, **how)
    light = estimator(VIDEO, decoder="light", output=tmp_path / "light.gc", **how)
    assert not np.allclose(full.depth[:], light.depth[:])
    for chunk in (3,):
        again = estimator(VIDEO, decoder="light", decode_chunk=chunk, **how)
        np.testing.assert_allclose(again.depth[:], light.depth[:], rtol=5e-4)
    put_beside(own, widths=(8, 12, 24), layers=1)  # another one is another run
    with pytest.raises(InputError, match="weights"):
        gc.load(own, "deterministic", prior=flat)(
            VIDEO, decoder="light", output=tmp_path / "light.gc", resume=True, **how
        )


def flat(frames):
    points = torch.ones(len(frames), *frames.shape[-2:], 3)
    return points, torch.ones(points.shape[:-1], dtype=torch.bool)


flat.identity = "flat"


def test_one_for_other_latents_and_a_damaged_one_are_told(trained, shards, tmp_path):
    hub = shutil.copytree(trained[0], tmp_path / "hub")
    file = parts.PARTS["autoencoder"].weights(hub)
    stored = read_tensors(file)
    # The same encoder in half precision is the same encoder.
    parts.save_part("autoencoder", hub, stored, parts.PARTS["autoencoder"].sizes(hub), {}, half=True)
    load_light_decoder(hub, CPU)
    parts.save_part(
        "autoencoder", hub, stored | {"quant_conv.bias": stored["quant_conv.bias"] + 1}, weights_sizes(hub), {}
    )
    with pytest.raises(InputError, match=r"light_decoder: .* other encoders"):
        gc.load(hub, "deterministic")(VIDEO, size=(64, 64), decoder="light")
    put_beside(hub)
    light = parts.part_of("light_decoder").weights(hub)
    light.write_bytes(light.read_bytes()[:1000])
    with pytest.raises(InputError, match="no checkpoint that can be read"):
        gc.load(hub, "deterministic")(VIDEO, size=(64, 64), decoder="light")
    assert "light_decoder" in dict(check_folder(hub))["GeometryCrafter/light_decoder"]
    shutil.rmtree(light.parent)
    with pytest.raises(InputError, match="no light decoder comes with this model"):
        gc.load(hub, "deterministic")(VIDEO, size=(64, 64), decoder="light")


def weights_sizes(hub):
    return parts.PARTS["autoencoder"].sizes(hub)
