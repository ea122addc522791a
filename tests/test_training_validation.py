"""Validation on long clips: in chunks, in the precision of training, and with the scores that it had."""

from __future__ import annotations

import functools
import weakref
from dataclasses import replace

import pytest
import torch
from school import SIZES, config, quiet
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from geometrycrafter.inference.decoding import plan_chunks
from geometrycrafter.inference.options import Options
from geometrycrafter.networks.blocks import SpatioTemporalResBlock
from geometrycrafter.training.samples import NormalisedClip
from geometrycrafter.training.stages import stage_of
from geometrycrafter.training.trainer import Trainer
from geometrycrafter.weights.parts import PARTS, save_part

WIDE = (32, 32, 32, 32)


class Peak(TorchDispatchMode):
    """The most bytes of tensors made within that were alive at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.seen: set[int] = set()

    def _gone(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self.seen:
                    self.seen.add(key)
                    self.now += size
                    weakref.finalize(storage, self._gone, key, size)
        self.most = max(self.most, self.now)
        return out


def batch_of(frames: int, samples: int = 1) -> dict:
    """A batch of made-up clips, as the trainer gives it to a stage."""
    rng = torch.Generator().manual_seed(frames)
    depth = torch.rand(samples, frames, 32, 48, generator=rng) * 4 + 1
    depth[:, :, :3] = 0
    return {
        "frames": torch.rand(samples, frames, 3, 32, 48, generator=rng),
        "depth": depth,
        "known": torch.ones(samples, frames, 32, 48, dtype=torch.bool),
        "half_field": torch.full((samples, frames, 2), 0.5),
        "seeds": list(range(samples)),
    }


def stage_in(school, shards, stage: str, wide: bool = False):
    if wide:
        sizes = {
            "autoencoder": replace(SIZES["autoencoder"], block_out_channels=WIDE),
            "point_map_vae": replace(
                SIZES["point_map_vae"], enc_block_out_channels=WIDE, dec_block_out_channels=WIDE, norm_num_groups=4
            ),
            "prior": replace(SIZES["prior"], widths=(32, 32, 32, 32, 32, 32)),
        }
        for part, wider in sizes.items():
            torch.manual_seed(0)
            save_part(part, school, PARTS[part].network(wider).state_dict(), wider, {})
    changes = {"decoder_loss": 1.0, "point_loss": 1.0} if stage == "unet" else {}
    return stage_of(config(school, shards, stage=stage, **changes)).eval()


@pytest.mark.parametrize("stage", ["vae", "unet", "prior"])
def test_memory_of_validation_does_not_grow_with_the_clip(stage, school, shards):
    judged = stage_in(school, shards, stage, wide=True)
    most = []
    for frames in (16, 48):
        batch = batch_of(frames)
        with torch.no_grad(), Peak() as peak:
            judged.scores(batch)
            judged.pictures(batch)
        most.append(peak.most)
    given = sum(v.nbytes for v in batch_of(32).values() if isinstance(v, torch.Tensor))
    # Maps of all frames are held, and the losses' differences of them: some twelve times what the sample is.
    assert most[1] - most[0] < 12 * given, most
    assert most[1] < 2 * most[0], most


@pytest.mark.parametrize("stage", ["vae", "unet", "prior"])
def test_scores_are_those_of_the_whole_clip_where_frames_are_apart(stage, school, shards, monkeypatch):
    """Of networks that don't look along time: one that does is chunked as inference does it."""
    judged = stage_in(school, shards, stage)
    for module in judged.modules():
        if isinstance(module, SpatioTemporalResBlock):
            torch.nn.init.zeros_(module.temporal_res_block.conv2.weight)
            torch.nn.init.zeros_(module.temporal_res_block.conv2.bias)
    vae = judged.network if stage == "vae" else getattr(judged, "point_map_vae", None)
    for mix in getattr(vae and vae.decoder, "time_conv_outs", ()):
        with torch.no_grad():
            mix.weight.mul_(torch.tensor([0.0, 1.0, 0.0]).view(1, 1, 3, 1, 1))
    batch = batch_of(21, samples=1 if stage == "unet" else 2)
    with torch.no_grad():
        found = judged.scores(batch)
        for module in ("chunks", "unet", "prior"):
            monkeypatch.setattr(f"geometrycrafter.training.stages.{module}.CHUNK", 1000)
        whole = judged.scores(batch)
    assert found.keys() == whole.keys()
    for name, value in whole.items():
        torch.testing.assert_close(found[name], value, rtol=2e-4, atol=1e-5, msg=name)


def test_latents_are_those_of_the_networks_on_all_frames(school, shards):
    judged = stage_in(school, shards, "unet")
    sample = {k: v[0] for k, v in batch_of(19).items()}
    found = judged.latents(sample)
    clip = NormalisedClip.of(sample["depth"], sample["half_field"])
    with torch.no_grad():
        wanted = {
            "video": judged.svd.encode(sample["frames"] * 2 - 1),
            "truth": judged.factor
            * judged.point_map_vae.encode(judged.svd, clip.disparity, clip.validity, clip.log_depth, clip.theta_diag),
            "embedding": judged.images(sample["frames"]),
        }
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_a_decoder_that_looks_along_time_sees_what_it_sees_in_inference(school, shards, monkeypatch):
    judged, seen = stage_in(school, shards, "vae"), []
    decode = judged.network.decode
    monkeypatch.setattr(judged.network, "decode", lambda z, frames: seen.append((len(z), frames)) or decode(z, frames))
    with torch.no_grad():
        judged.scores(batch_of(21, samples=2))
    chunks = plan_chunks(21, Options().decode_chunk, exact=False)
    assert seen == [(c.end - c.start, c.end - c.start) for c in chunks] * 2


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_validation_computes_as_training_does(precision, school, shards, tmp_path):
    run = Trainer(config(school, shards, steps=1, precision=precision, measure_scale=True), tmp_path / "run", quiet)
    kinds: dict[bool, set[torch.dtype]] = {True: set(), False: set()}

    def look(module, inputs, out):
        kinds[torch.is_grad_enabled()].add(out.dtype)

    run.stage.network.decoder.up_blocks[0].register_forward_hook(look)
    run.run()
    assert kinds[True] == kinds[False] == {getattr(torch, precision)}


def test_a_clip_without_a_gradient_is_taken_apart_and_one_with_it_is_not(school, shards):
    """What trains sees all frames of its sample at once."""
    judged, seen = stage_in(school, shards, "prior"), []
    judged.network.register_forward_hook(functools.partial(lambda seen, _, inputs, out: seen.append(len(out[2])), seen))
    judged.scores(batch_of(20))
    judged(batch_of(20))
    assert seen == [8, 8, 4, 20]
