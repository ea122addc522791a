"""On devices whose memory is small a run goes on: with fewer frames at a time, and with parts only while needed."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import geometrycrafter as gc
from geometrycrafter.networks.moge import MoGe, MoGeConfig
from geometrycrafter.networks.room import Room, ran_out
from geometrycrafter.priors.moge import MoGePrior

FRAMES = np.linspace(0, 255, 11 * 64 * 64 * 3).reshape(11, 64, 64, 3).astype(np.uint8)
HOW = {"size": (64, 64), "cuts": "off", "steady": "off"}
"""As decoded: depth that is put on one footing afterwards would hide, or swell, what the networks are off by."""


def crowded(module, most, counted):
    """A network whose device holds so many frames and no more."""

    def refuse(_, inputs):
        counted.append(len(inputs[0]))
        if len(inputs[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    return module.register_forward_pre_hook(refuse)


@pytest.fixture(scope="module")
def plain():
    return gc.load("tiny")(FRAMES, **HOW)


@pytest.mark.parametrize("most", [5, 3, 1])
def test_a_decoder_without_room_goes_on_with_fewer_frames_and_says_so(plain, most):
    estimator, counted = gc.load("tiny"), []
    crowded(estimator.networks.point_map_vae.decoder, most, counted)
    with pytest.warns(UserWarning, match="too many for the memory that the decoder has"):
        scene = estimator(FRAMES, **HOW)
    fits = {5: 4, 3: 2, 1: 1}[most]
    refused = [n for n in counted if n > most]
    assert refused == [8, 4, 2][: len(refused)] and max(n for n in counted if n <= most) == fits
    depth, wanted = scene.depth[:], plain.depth[:]
    off = np.abs(depth / wanted - 1)
    assert 0 < np.median(off) < 0.02 and np.quantile(off, 0.99) < 0.12


def test_a_run_that_had_to_decode_less_at_a_time_goes_on_so_to_the_same_bits(tmp_path):
    def crowded_run(stop=None):
        estimator, output = gc.load("tiny"), tmp_path / ("whole.gc" if stop is None else "stopped.gc")
        crowded(estimator.networks.point_map_vae.decoder, 5, [])

        def progress(stage, done, total):
            if stage == "decode" and done >= (stop or 99):
                raise KeyboardInterrupt

        with pytest.warns(UserWarning, match="the decoder has"):
            return np.asarray(estimator(FRAMES, **HOW, output=output, progress=progress).depth)

    whole, counted = crowded_run(), []
    with pytest.raises(KeyboardInterrupt):
        crowded_run(stop=3)  # after the first of its chunks
    estimator = gc.load("tiny")
    crowded(estimator.networks.point_map_vae.decoder, 8, counted)  # there is room now
    scene = estimator(FRAMES, **HOW, output=tmp_path / "stopped.gc", resume=True)
    np.testing.assert_array_equal(scene.depth[:], whole)
    assert max(counted) == 4


def test_a_run_goes_on_where_there_is_less_room_than_where_it_was_begun(plain, tmp_path):
    def stop(stage, done, total):
        if stage == "decode":
            raise KeyboardInterrupt

    output, estimator = tmp_path / "out.gc", gc.load("tiny")
    with pytest.raises(KeyboardInterrupt):
        estimator(FRAMES, **HOW, output=output, progress=stop)  # after the first of its chunks
    crowded(estimator.networks.point_map_vae.decoder, 5, [])
    with pytest.warns(UserWarning, match="the decoder has: 4 at a time") as told:
        scene = estimator(FRAMES, **HOW, output=output, resume=True)
    assert len(told) == 1
    np.testing.assert_allclose(scene.depth[:], plain.depth[:], rtol=0.2)


def test_encoders_without_room_encode_the_same(plain):
    estimator, counted = gc.load("tiny"), []
    crowded(estimator.networks.autoencoder.encoder, 3, counted)
    crowded(estimator.networks.image_encoder, 3, counted)
    with pytest.warns(UserWarning, match="at a time") as told:
        scene = estimator(FRAMES, **HOW)
    names = {str(w.message).split(" has:")[0].split("the ")[-1] for w in told}
    assert names == {"frame encoder", "image encoder", "encoders"}
    np.testing.assert_allclose(scene.depth[:], plain.depth[:], rtol=1e-4)


def test_a_prior_without_room_answers_the_same():
    torch.manual_seed(0)
    network = MoGe(MoGeConfig(encoder="dinov2_vits14", dim_proj=64, dim_upsample=(64, 32, 32))).eval()
    prior, images = MoGePrior(network, 60), torch.rand(5, 3, 56, 84)
    wanted = prior.infer(images)
    counted: list[int] = []
    crowded(network, 2, counted)
    with pytest.warns(UserWarning, match="the prior has: 2 at a time"):
        got = prior.infer(images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # told once: it is remembered
        prior.infer(images)
    assert counted == [5, 2, 2, 1, 2, 2, 1]
    torch.testing.assert_close(got["points"], wanted["points"], rtol=1e-3, atol=1e-4)


def test_a_window_without_room_is_an_error_that_says_what_helps():
    estimator = gc.load("tiny")
    crowded(estimator.networks.unet, 0, [])
    with pytest.raises(gc.InputError, match=r"--window 8: .* of 64x64 .* cpu; give a smaller --size"):
        estimator(FRAMES, **HOW)


def test_one_frame_that_is_too_much_and_other_errors_are_raised():
    def call(most):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.warns(UserWarning), pytest.raises(torch.OutOfMemoryError):
        Room("decoder").fit(2, call)
    with pytest.raises(RuntimeError, match="shapes"):
        Room("decoder").fit(2, lambda most: (_ for _ in ()).throw(RuntimeError("shapes differ")))
    assert ran_out(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    assert ran_out(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
    assert not ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_offloaded_parts_are_on_the_device_while_they_work_and_no_longer(plain, monkeypatch):
    """A processor stands in for the device: what is moved there is noted, and what works is compared with it."""
    estimator = gc.load("tiny", offload=True)
    networks, on, seen = estimator.networks, set(), {}
    move = nn.Module.to
    names = {
        networks.unet: "unet",
        networks.point_map_vae.encoder: "vae encoder",
        networks.point_map_vae.decoder: "decoder",
        networks.autoencoder.encoder: "encoder",
        networks.autoencoder.quant_conv: "quant",
        networks.image_encoder: "image encoder",
        estimator.prior.network: "prior",
    }

    def noted(module, device):
        (on.discard if isinstance(device, str) else on.add)(names[module])
        return move(module, device)

    monkeypatch.setattr(nn.Module, "to", noted)
    for module, name in names.items():
        module.register_forward_pre_hook(lambda *_, name=name: seen.setdefault(name, set()).add(frozenset(on)))
    scene = estimator(FRAMES, **HOW)
    assert seen.keys() == set(names.values())
    for name, times in seen.items():
        assert all(name in present for present in times), name
    assert seen["unet"] == {frozenset({"unet"})}
    assert seen["decoder"] == {frozenset({"decoder"})}
    assert seen["prior"] == {frozenset({"encoder", "quant", "image encoder", "prior"})}
    assert not on
    assert np.array_equal(scene.depth[:], plain.depth[:])
    with pytest.raises(RuntimeError, match="stopped"):
        estimator(FRAMES, **HOW, progress=lambda *_: (_ for _ in ()).throw(RuntimeError("stopped")))
    assert not on
