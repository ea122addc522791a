"""Whole runs with ``exact=True`` give what the authors' code gives."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from conftest import fill_by_recipe, golden
from safetensors.torch import save_file

import geometrycrafter as gc
from geometrycrafter.diffusion.edm import c_noise, karras_sigmas
from geometrycrafter.errors import InputError
from geometrycrafter.evaluation.clips import clips_of
from geometrycrafter.evaluation.measure import measure
from geometrycrafter.evaluation.methods import DepthCrafterMethod
from geometrycrafter.evaluation.methods.depthcrafter import load_depthcrafter
from geometrycrafter.evaluation.protocols import protocol_of
from geometrycrafter.inference.windows import denoise_generative, join, plan, window_noise
from geometrycrafter.priors import ReplayPrior
from geometrycrafter.weights.parts import PARTS

CASES = {
    "diff_window": ("diff_window", "diffusion", {}),
    "diff_resize": ("diff_resize", "diffusion", {}),
    "diff_guided": ("diff_window", "diffusion", {"guidance": 1.5}),
    "diff_free_focal": ("diff_window", "diffusion", {"focal": "per-frame"}),
    "determ_window": ("diff_window", "deterministic", {}),
    "determ_resize_nearest_unprojected": (
        "diff_resize",
        "deterministic",
        {"focal": "free", "depth_resize": "nearest"},
    ),
}


def test_a_light_decoder_is_not_made_up(hub):
    inputs = golden("pipeline/diff_window.safetensors")
    estimator = gc.load(hub, prior=ReplayPrior(inputs["prior_points"], inputs["prior_mask"]))
    with pytest.raises(InputError, match="--decoder light"):
        estimator(inputs["video"].numpy(), size=(64, 128), decoder="light")


@pytest.mark.parametrize("name", CASES)
def test_published_procedure(name, hub):
    inputs_from, variant, options = CASES[name]
    wanted, inputs = golden(f"pipeline/{name}.safetensors"), golden(f"pipeline/{inputs_from}.safetensors")
    prior = ReplayPrior(inputs["prior_points"], inputs["prior_mask"])
    estimator = gc.load(hub, variant=variant, prior=prior)
    scene = estimator(
        inputs["video"].numpy(),
        size=(64, 128),
        window=6,
        overlap=2,
        steps=5,
        decode_chunk=4,
        noise=inputs["noise"],
        exact=True,
        **options,
    )
    points = torch.from_numpy(scene.points[:])
    relative = (points - wanted["point_map"]).norm(dim=-1) / wanted["point_map"].norm(dim=-1)
    assert relative.max() < 1e-3
    assert np.array_equal(scene.mask[:], wanted["mask"].numpy())


def test_sampler_noise_levels():
    g = golden("pipeline/modules.safetensors")
    torch.testing.assert_close(karras_sigmas(5), g["scheduler_sigmas"])
    torch.testing.assert_close(c_noise(karras_sigmas(5)[:-1]), g["scheduler_timesteps"])


def test_every_denoising_step_of_every_window(hub):
    from geometrycrafter.weights.models import load_networks

    g = golden("pipeline/diff_window.safetensors")
    networks = load_networks(hub, "diffusion", torch.float32, torch.device("cpu"))
    ids = torch.tensor([[7.0, 127.0, 0.02]])
    windows = plan(10, 6, 2, exact=True)
    seen, joined = [], None
    for window, unit in zip(windows, window_noise(g["noise"], windows, 2), strict=True):
        at = slice(window.start, window.end)
        latents = denoise_generative(
            lambda x, t, e: networks.unet(x, t, e, ids),
            unit,
            *(g[k][None, at] for k in ("video_latents", "prior_latents", "clip_embeddings")),
            before=None if joined is None else joined[:, -window.overlap :],
            steps=5,
            guidance=1.0,
            callback=lambda _, x: seen.append(x),
        )
        joined = latents if joined is None else join(joined, latents, window.overlap)
    for index, latents in enumerate(seen):
        torch.testing.assert_close(latents, g[f"denoised_step_{index:02d}"], atol=2e-4, rtol=1e-5)
    torch.testing.assert_close(joined[0] / 0.18215, g["stitched_latents"], atol=2e-4, rtol=1e-5)


def test_depthcrafter(hub, tmp_path):
    """The baseline: the same parts without a prior, from a folder as its authors lay it out."""
    g = golden("depthcrafter.safetensors")
    root = tmp_path / "hub"
    shutil.copytree(hub, root)
    own = PARTS["unet_determ"]
    (root / "DepthCrafter").mkdir()
    shutil.copy(root / own.folder / "config.json", root / "DepthCrafter")
    unet = fill_by_recipe(own.network(own.sizes(root)), salt=5)
    save_file(unet.state_dict(), root / "DepthCrafter" / f"{own.stem}.safetensors")
    crafter = load_depthcrafter(root, torch.device("cpu"))
    frames = g["video"].float() / 255
    latents = crafter.latents(frames, g["noise"], g["video_noise"], window=6, overlap=2)
    torch.testing.assert_close(latents, g["latents"], atol=2e-4, rtol=0)
    torch.testing.assert_close(crafter.decode(latents, 4), g["disparity"], atol=1e-3, rtol=0)
    assert crafter(frames[:3]).shape == (3, 64, 128)

    reference = clips_of(protocol_of("rendered"), None, 1, frames=2)[0]
    clip = reference.load()
    predict = DepthCrafterMethod("d", str(root)).prepare("cpu")
    found = predict(clip, reference.name, protocol_of("rendered"))
    assert found.disparity.shape == clip.depth.shape and found.seconds > 0
    figures = measure(clip, found, protocol_of("rendered"))  # untrained: any figure will do
    assert 0 < figures["affine_rel"] < 10 and "point_rel" not in figures
