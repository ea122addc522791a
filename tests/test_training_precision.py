"""Training in half precision: what must not be rounded is not."""

from __future__ import annotations

import pytest
import torch
from school import config
from torch import nn

from geometrycrafter.data.shards import Shards
from geometrycrafter.training import steps
from geometrycrafter.training.samples import ClipSamples, NormalisedClip, on_device
from geometrycrafter.training.sampling import Draw
from geometrycrafter.training.stages import VAEStage

SIZE = [96, 144]


def batch_of(settings, shards) -> dict:
    """A batch of one clip, as the trainer gives it to a stage."""
    make = ClipSamples((Shards(shards),), settings.size, settings.augmentation)
    sample = on_device(make(Draw(0, 0, 2, 1)), torch.device("cpu"))
    return {k: v[None] for k, v in sample.items()} | {"seeds": [1]}


def identity_of(convolution: nn.Module, inputs: tuple[int, ...]) -> None:
    """Have the first channels of a convolution be channels of its input."""
    nn.init.zeros_(convolution.weight)
    nn.init.zeros_(convolution.bias)
    middle = tuple(n // 2 for n in convolution.weight.shape[2:])
    with torch.no_grad():
        for i, channel in enumerate(inputs):
            convolution.weight[(i, channel, *middle)] = 1


def foresee(stage: VAEStage, truth: torch.Tensor) -> None:
    """Give a decoder the features ``[T, 3, H, W]`` that its heads make a perfect prediction of."""
    decoder = stage.network.decoder
    if stage.network.config.decoder == "light":
        last = decoder.expand[-1]
        identity_of(last, tuple(range(12)))
        features = torch.zeros(len(truth), last.weight.shape[1], *(n // 2 for n in truth.shape[-2:]))
        features[:, :12] = nn.functional.pixel_unshuffle(torch.cat([truth[:, :1].log(), truth[:, 1:]], dim=1), 2)
        last.register_forward_pre_hook(lambda *_: (features,))
        return
    floor = truth.min().item()  # what comes in is above zero: a head has a ReLU
    for index, (head, time) in enumerate(zip(decoder.out_blocks, decoder.time_conv_outs, strict=True)):
        head[0] = nn.Identity()
        identity_of(head[2], (index,))
        for block in (head[3].spatial_res_block, head[3].temporal_res_block):
            identity_of(block.conv2, ())
        identity_of(head[5], (0,))
        nn.init.constant_(head[5].bias, floor)
        identity_of(time, (0,))
    features = torch.zeros(len(truth), decoder.out_blocks[0][2].weight.shape[1], *truth.shape[-2:])
    features[:, :3] = truth - floor
    decoder.up_blocks[-1].register_forward_hook(lambda *_: features)


@pytest.mark.parametrize("start", ["hub", "light"])
def test_a_perfect_prediction_costs_nothing_in_half_precision(start, school, shards):
    """Rounded to bfloat16 its normals were off by degrees, its depth by 0.2 %."""
    settings = config(school, shards, start=start, precision="bfloat16", size=SIZE, losses={"identity": 0})
    stage, batch = VAEStage(settings), batch_of(settings, shards)
    clip = NormalisedClip.of(batch["depth"][0], batch["half_field"][0])
    foresee(stage, torch.cat([clip.theta_diag, clip.log_depth, clip.mask * 2.0 - 1], dim=1))
    with torch.autocast("cpu", torch.bfloat16):
        terms = stage(batch)
    assert terms["depth"] < 1e-5 and terms["theta"] < 1e-5 and terms["multi_scale"] < 1e-5, terms
    assert terms["normals"] < 1e-5, terms  # a quarter of a degree


def test_encoders_see_log_depth_unrounded(school, shards):
    settings = config(school, shards, precision="bfloat16", size=SIZE)
    stage, batch = VAEStage(settings), batch_of(settings, shards)
    seen: list[torch.Tensor] = []
    for encoder in (stage.network.encoder, stage.svd.encoder):
        encoder.conv_in.register_forward_hook(lambda _, __, out: seen.append(out))
    with torch.no_grad():
        stage(batch)
        with torch.autocast("cpu", torch.bfloat16):
            stage(batch)
    assert len(seen) == 4
    for plain, lowered in zip(seen[:2], seen[2:], strict=True):
        torch.testing.assert_close(lowered, plain)


@pytest.mark.parametrize("fast", [True, False])
def test_auto_is_what_the_processor_is_fast_in(fast, school, shards, monkeypatch, recwarn):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    cpu, a = torch.device("cpu"), torch.eye(2)
    with steps.lowered(config(school, shards, precision="auto"), cpu):
        assert (a @ a).dtype == (torch.bfloat16 if fast else torch.float32)
    steps.warn_of_slow_precision(config(school, shards, precision="auto"), cpu)
    assert not recwarn.list
    steps.warn_of_slow_precision(config(school, shards, precision="bfloat16"), cpu)
    assert [str(w.message).count("auto") for w in recwarn.list] == ([] if fast else [1])
