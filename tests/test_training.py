"""Training: what trains when, runs that are stopped, and several processes against one."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from school import PROGRAM, command_line, config, quiet, weights

from geometrycrafter.data.clip import Clip
from geometrycrafter.data.shards import Shards, ShardWriter
from geometrycrafter.data.synthesis import rendered
from geometrycrafter.errors import InputError
from geometrycrafter.training.checkpointing import Checkpoints
from geometrycrafter.training.config import PUBLISHED, Augmentation, read_train_config
from geometrycrafter.training.latents import LatentSamples
from geometrycrafter.training.muon import Muon
from geometrycrafter.training.samples import MAPS, ClipSamples, on_device
from geometrycrafter.training.sampling import Draw, Mixture
from geometrycrafter.training.stages import STAGES, is_temporal, stage_of
from geometrycrafter.training.trainer import Trainer
from geometrycrafter.weights import parts
from geometrycrafter.weights.checkpoints import read_tensors


@pytest.mark.parametrize(
    ("stage", "changes", "part"),
    [
        ("prior", {"frames": [1, 1], "augmentation": {"zoom": 1.5, "mirror": True, "photographic": True}}, "prior"),
        ("autoencoder", {}, "autoencoder"),
        ("vae", {}, "point_map_vae"),
        ("unet", {"variant": "diffusion"}, "unet_diff"),
        ("unet", {"variant": "deterministic", "decoder_loss": 0.1}, "unet_determ"),
        ("unet", {"variant": "diffusion", "latent_variants": 2, "augmentation": {"mirror": True}}, "unet_diff"),
        (
            "unet",
            {"variant": "deterministic", "latent_variants": 1, "decoder_loss": 0.3, "decoder_frames": 2},
            "unet_determ",
        ),
        (
            "unet",
            {"variant": "diffusion", "latent_variants": 1, "point_loss": 0.5, "frames": [2, 2]},
            "unet_diff",
        ),
        ("vae", {"start": "light", "layers": "decoder", "latent_variants": 1}, "point_map_vae"),
        ("vae", {"start": "light", "optimizer": "muon"}, "point_map_vae"),
    ],
)
def test_every_stage_learns_and_writes_what_it_trained_alone(stage, changes, part, school, shards, tmp_path):
    before = {p: weights(school, p) for p in parts.PARTS}
    steps = 12 if stage in ("unet", "prior") else 25  # which learn faster
    run = Trainer(config(school, shards, stage=stage, steps=steps, **changes), tmp_path / "run", quiet)
    first = run.validate()
    last = run.run()
    assert next(iter(last.values())) < next(iter(first.values()))
    for name, old in before.items():
        new = weights(school, name)
        changed = any(not torch.equal(old[k], new[k]) for k in old)
        assert changed == (name == part), name
    assert (tmp_path / "run" / "pictures" / f"step-{steps:09d}.png").stat().st_size > 500


@pytest.mark.parametrize(
    ("changes", "trains"),
    [
        ({"stage": "vae"}, lambda name: True),
        ({"stage": "vae", "layers": "decoder"}, lambda name: name.startswith("decoder.")),
        (
            {"stage": "vae", "layers": "temporal", "start": "light"},
            lambda name: name.startswith("decoder.") and "time_conv" in name,
        ),
        ({"stage": "vae", "layers": "temporal"}, lambda name: name.startswith("decoder.") and is_temporal(name)),
        ({"stage": "unet", "variant": "diffusion"}, lambda name: True),
        ({"stage": "unet", "variant": "diffusion", "layers": "temporal"}, is_temporal),
    ],
)
def test_parameters_that_train_in_a_stage(changes, trains, school, shards):
    settings = config(school, shards, **changes)
    stage = stage_of(settings)
    stage.choose_parameters()
    chosen = {n for n, p in stage.network.named_parameters() if p.requires_grad}
    assert chosen == {n for n, _ in stage.network.named_parameters() if trains(n)}
    others = [n for n, p in stage.named_parameters() if p.requires_grad and not n.startswith("network.")]
    assert not others and chosen


def test_temporal_layers_are_those_that_see_other_frames(school, shards):
    stage = stage_of(config(school, shards, stage="unet", variant="diffusion"))
    spatial = [n for n, _ in stage.network.named_parameters() if not is_temporal(n)]
    assert any("spatial_res_block" in n for n in spatial) and any("transformer_blocks.0.attn1" in n for n in spatial)
    assert not any("temporal" in n for n in spatial)


@pytest.mark.parametrize("stage", [pytest.param("vae", marks=pytest.mark.slow), "unet"])
def test_a_killed_run_goes_on_to_the_same_bits(stage, born, school, shards, tmp_path):
    changes = {"variant": "diffusion", "optimizer": "muon"} if stage == "unet" else {}
    settings = config(school, shards, stage=stage, steps=12, checkpoint_every=2, workers=1, validate_every=5, **changes)
    part = "unet_diff" if stage == "unet" else "point_map_vae"
    Trainer(settings, tmp_path / "whole", quiet).run()
    whole = weights(school, part)
    shutil.rmtree(school)
    shutil.copytree(born, school)

    command = [*PROGRAM, *command_line(settings, tmp_path / "cut", tmp_path / "cut.toml")]
    rng, kills = random.Random(stage), 0
    while kills < 2:
        seen = Checkpoints(tmp_path / "cut" / "checkpoints", 2).steps()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while process.poll() is None and Checkpoints(tmp_path / "cut" / "checkpoints", 2).steps() == seen:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        assert Checkpoints(tmp_path / "cut" / "checkpoints", 2).load() is not None
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert kills
    cut = weights(school, part)
    assert all(torch.equal(whole[k], cut[k]) for k in whole)


def test_muon_steps_are_orthogonal_matrices_and_vectors_go_by_adamw():
    torch.manual_seed(0)
    wide, thin, bias = (torch.nn.Parameter(torch.zeros(s)) for s in ((16, 3, 4, 4), (1, 30), (16,)))
    adam = torch.nn.Parameter(torch.zeros(1, 30))
    steps, reference = Muon([wide, thin, bias], lr=0.01), torch.optim.AdamW([adam], lr=0.01)
    for parameter in (wide, thin, bias):
        parameter.grad = torch.randn(parameter.shape)
    gradient, adam.grad = wide.grad.flatten(1), thin.grad.clone()
    steps.step()
    reference.step()
    assert torch.equal(thin, adam) and bias.abs().max().item() == pytest.approx(0.01, rel=1e-3)
    u, _, v = torch.linalg.svd(gradient, full_matrices=False)
    moved = -wide.detach().flatten(1) / 0.01 / (0.2 * 48**0.5)
    singular = torch.linalg.svdvals(moved)
    assert singular.min() > 0.6 and singular.max() < 1.25
    # The same singular vectors as the gradient's: it is diagonal between them.
    between = u.T @ moved @ v.T
    assert (between - torch.diag(between.diag())).abs().max() < 1e-3


def test_latents_that_were_stored_keep_the_scale_of_all_frames(school, shards, tmp_path):
    """A part of a clip has another mean depth than the whole one, by which its latents were normalised."""
    settings = config(
        school, shards, stage="unet", variant="deterministic", decoder_loss=1.0, latent_variants=1, frames=[3, 3]
    )
    settings = replace(settings, point_loss=0.5)
    run = Trainer(settings, tmp_path / "run", quiet)
    whole = next(run._batches())
    stored = LatentSamples(tmp_path / "run" / "latents", 1, ("truth", *MAPS))
    for clip in range(6):
        all_frames, part = (stored(Draw(0, clip, frames, 3)) for frames in (3, 1))
        assert any(torch.equal(part["log_depth"][0], frame) for frame in all_frames["log_depth"])
        known = all_frames["mask"]
        assert all_frames["log_depth"][known].exp().mean() == pytest.approx(1, abs=0.02)
    assert set(run._train_step(whole)) == {"latent", "decoded_depth", "decoded_theta", "decoded_mask", "points"}


@pytest.mark.parametrize(
    ("asked", "terms"),
    [
        ({"stage": "prior", "frames": [1, 1]}, {"normal_loss": "normals", "edge_loss": "edges"}),
        ({"stage": "prior", "frames": [2, 3]}, {"drift_loss": "drift"}),
        ({"stage": "unet", "frames": [3, 3]}, {"drift_loss": "drift"}),
        ({"stage": "unet", "frames": [3, 3], "latent_variants": 1}, {"drift_loss": "drift"}),
    ],
)
def test_terms_beyond_the_paper_are_weighed_and_teach(asked, terms, school, shards, tmp_path):
    settings = config(school, shards, batch=1, **asked)
    run = Trainer(replace(settings, **dict.fromkeys(terms, 1.0)), tmp_path / "run", quiet)
    batch = on_device(next(run._batches()), torch.device("cpu"))
    once = run.stage(batch)
    sum(once[name] for name in terms.values()).backward()
    taught = [p.grad for p in run.stage.network.parameters() if p.grad is not None]
    assert taught and all(torch.isfinite(g).all() for g in taught) and any(g.abs().max() > 0 for g in taught)
    run.stage.config = replace(run.stage.config, **dict.fromkeys(terms, 3.0))
    thrice = run.stage(batch)
    for name in terms.values():
        assert once[name].item() > 0 and thrice[name].item() == pytest.approx(3 * once[name].item(), rel=1e-3)
    run.stage.config = settings
    assert not set(run.stage(batch)) & set(terms.values())


@pytest.mark.parametrize("stored", [{"layers": "decoder", "latent_variants": 1}, {}])
def test_latent_noise_is_on_half_of_the_samples_and_by_their_seeds(stored, school, shards, tmp_path):
    settings = config(school, shards, batch=1, **stored)
    run = Trainer(settings, tmp_path / "run", quiet)
    batch = next(run._batches())
    clean = run.stage(batch)["depth"]
    run.stage.config = replace(settings, latent_noise=1.0)
    changed = [run.stage(batch | {"seeds": [seed]})["depth"] != clean for seed in range(40)]
    assert 10 <= sum(changed) <= 30
    assert changed == [run.stage(batch | {"seeds": [seed]})["depth"] != clean for seed in range(40)]
    assert run.validate() == Trainer(settings, tmp_path / "other", quiet).validate()


def test_steps_draw_among_sizes_and_validation_does_not(school, shards, tmp_path):
    settings = config(school, shards, other_sizes=[[48, 32], [16, 64]], steps=24, workers=0)
    run = Trainer(settings, tmp_path / "run", quiet)
    sizes = [tuple(batch["depth"].shape[-2:]) for batch in run._batches()]
    assert set(sizes) == {(32, 48), (48, 32), (16, 64)}
    run.state.step = 10
    assert [tuple(batch["depth"].shape[-2:]) for batch in run._batches()] == sizes[10:]
    (judged,) = run._loader(settings.validation, 0, 1, validation=True)
    assert judged["depth"].shape[-2:] == (32, 48)


def test_frames_are_scaled_against_each_other(shards):
    plain, scaled = (
        ClipSamples((Shards(shards),), (32, 48), Augmentation(level=level))(Draw(0, 0, 3, 5)) for level in (0.0, 0.5)
    )
    ratio = (scaled["depth"] / plain["depth"])[plain["depth"] > 0]
    each = [r[z > 0] for r, z in zip(scaled["depth"] / plain["depth"], plain["depth"], strict=True)]
    assert all(r.max() - r.min() < 1e-5 * r.max() for r in each)
    assert ratio.max() / ratio.min() > 1.01
    assert torch.equal(scaled["frames"], plain["frames"])


def test_noise_levels_are_drawn_as_the_configuration_says(school, shards, tmp_path):
    settings = config(school, shards, stage="unet", variant="diffusion", latent_variants=1, log_sigma=[6.0, 0.1])
    run = Trainer(settings, tmp_path / "run", quiet)
    heard = []
    run.stage.network.register_forward_pre_hook(lambda module, args: heard.append(args[1]))
    run.stage(next(run._batches()))
    assert torch.cat(heard).mean().item() == pytest.approx(6 / 4, abs=0.1)  # 0.25 log sigma


def test_the_noise_lies_on_the_networks_own_guess_where_that_is_asked_for(school, shards, tmp_path):
    """A network that answers nothing guesses zero at the highest noise, so that its next input is noise alone."""
    settings = config(school, shards, stage="unet", variant="diffusion", latent_variants=1, batch=6)
    settings = replace(settings, log_sigma=(0.0, 1.0))
    run = Trainer(settings, tmp_path / "run", quiet)
    torch.nn.init.zeros_(run.stage.network.conv_out.weight)
    torch.nn.init.zeros_(run.stage.network.conv_out.bias)
    heard = []
    run.stage.network.register_forward_pre_hook(lambda module, args: heard.append((args[0][:, :, :4], args[1])))
    batch = next(run._batches())
    plain = run.stage(batch)["latent"]
    run.stage.config = replace(settings, own_start=1.0)
    own = run.stage(batch)["latent"]
    (truth, times), (noise, first), (guessed, again) = heard
    assert torch.equal(times, again) and (4 * first).exp() == pytest.approx(700, rel=1e-4)
    sigma = (4 * times).exp()
    assert 1 < (sigma > 1).sum() < 6
    for s, before, after, unit in zip(sigma, truth, guessed, noise, strict=True):
        if s <= 1:
            assert torch.equal(before, after)
        else:
            assert torch.allclose(after, unit * s / (s**2 + 1) ** 0.5, atol=0.01)
            assert not torch.allclose(before, after, atol=0.01)
    assert own != plain


def test_normals_have_a_gradient_in_half_precision(school, shards, tmp_path):
    """Of points in bfloat16 neighbours would fall together, and have no normal."""
    settings = config(school, shards, start="light", precision="bfloat16", size=[144, 192], steps=2)
    run = Trainer(settings, tmp_path / "run", quiet)
    run.run()
    assert run.state.counts["skipped steps"] == 0


def test_runs_that_share_latents_add_what_is_missing(school, shards, tmp_path):
    unet = config(school, shards, stage="unet", variant="deterministic", latent_variants=1, steps=1)
    decoder = config(school, shards, stage="vae", layers="decoder", latent_variants=1, steps=1)
    folder, file = tmp_path / "latents", tmp_path / "latents" / "00-0000000-00.safetensors"
    unet, decoder = (replace(settings, latents=str(folder)) for settings in (unet, decoder))
    for name, settings, added in (
        ("decoder", decoder, {"truth", *MAPS}),
        ("unet", unet, {"video", "prior", "embedding"}),
        ("decoded", replace(unet, decoder_loss=1.0), set()),
    ):
        before = read_tensors(file) if file.exists() else {}
        Trainer(settings, tmp_path / name, quiet).run()
        after = read_tensors(file)
        assert set(after) - set(before) == added
        assert all(torch.equal(before[k], after[k]) for k in before)
    file.write_bytes(b"no latents")
    with pytest.raises(InputError, match="00-0000000-00"):
        Trainer(replace(unet, steps=2), tmp_path / "unet", quiet).run()


def test_what_another_run_encodes_meanwhile_is_not_encoded_again(school, shards, tmp_path, monkeypatch):
    settings = config(school, shards, stage="unet", variant="deterministic", latent_variants=2, steps=1)
    settings = replace(settings, latents=str(tmp_path / "latents"))
    first, second = (Trainer(settings, tmp_path / name, quiet) for name in ("first", "second"))
    encode, store, stored = type(first.stage).latents, LatentSamples.store, []

    def latents(stage, sample):
        if not stored:
            stored.append("begun")
            second.run()
        return encode(stage, sample)

    def counted(samples, *clip, **tensors):
        stored.append(clip[:3])
        store(samples, *clip, **tensors)

    monkeypatch.setattr(type(first.stage), "latents", latents)
    monkeypatch.setattr(LatentSamples, "store", counted)
    first.run()
    clips = len(list((tmp_path / "latents").glob("*.safetensors")))
    assert clips > 2 and len(stored[1:]) == clips + 1


def test_a_runs_configuration_appears_whole_or_not_at_all(school, shards, tmp_path, monkeypatch):
    """Other processes of the run look for it, and one that was killed half-way must be able to begin again."""

    def killed(*paths):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            Trainer(config(school, shards), tmp_path / "run", quiet)
    Trainer(config(school, shards, steps=1), tmp_path / "run", quiet).run()
    (tmp_path / "run" / "config.json").write_text("{")
    with pytest.raises(InputError, match="this is no configuration"):
        Trainer(config(school, shards, steps=1), tmp_path / "run", quiet)


def test_latents_made_from_something_else_are_refused(school, shards, tmp_path):
    settings = config(school, shards, stage="unet", variant="deterministic", latent_variants=1, steps=1)
    settings = replace(settings, latents=str(tmp_path / "latents"))

    def train(folder, settings=settings):
        return Trainer(settings, tmp_path / folder, quiet).run()

    train("first")
    train("same", replace(settings, variant="diffusion", rate=1e-3))
    for changed in ({"seed": 4}, {"size": (40, 48)}, {"augmentation": Augmentation(zoom=1.5)}, {"frames": (1, 3)}):
        (name,) = changed
        with pytest.raises(InputError, match=f"latents: its latents are made with another {name} "):
            train(name, replace(settings, **changed))
    vae = config(school, shards, stage="vae", steps=1, layers="decoder")
    Trainer(vae, tmp_path / "decoder", quiet).run()
    train("another decoder")
    Trainer(replace(vae, layers="all"), tmp_path / "encoder", quiet).run()
    with pytest.raises(InputError, match="another point map encoder"):
        train("another encoder")
    (tmp_path / "latents" / "origin.json").unlink()
    with pytest.raises(InputError, match="delete the folder"):
        train("unknown")


def test_a_signal_to_the_whole_group_finishes_the_step(school, shards, tmp_path):
    settings = config(school, shards, steps=10_000, workers=1, checkpoint_every=5)
    command = [*PROGRAM, *command_line(settings, tmp_path / "run", tmp_path / "run.toml")]
    store = Checkpoints(tmp_path / "run" / "checkpoints", 2)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as p:
        while p.poll() is None and not store.steps():
            time.sleep(0.02)
        os.killpg(p.pid, signal.SIGINT)
        said = p.communicate(timeout=60)[0]
    assert p.returncode == 130, said
    assert "start again to go on" in said and store.load()["step"] >= store.steps()[0]


def losses_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("parallel", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_two_processes_learn_what_one_learns_from_the_doubled_batch(parallel, born, school, shards, tmp_path):
    settings = config(school, shards, stage="unet", variant="diffusion", steps=5, batch=4, parallel=parallel)
    Trainer(settings, tmp_path / "one", quiet).run()
    one = weights(school, "unet_diff")
    shutil.rmtree(school)
    shutil.copytree(born, school)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    arguments = command_line(settings, tmp_path / "two", tmp_path / "two.toml")
    done = subprocess.run(
        [*launch, "geometrycrafter.cli.main", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    two = weights(school, "unet_diff")
    first, second = losses_of(tmp_path / "one")[-1], losses_of(tmp_path / "two")[-1]
    assert first["latent"] == pytest.approx(second["latent"], rel=1e-4)
    start = weights(born, "unet_diff")
    # Adam makes whole steps of the rounding in gradients near zero, so single weights may differ; together they don't.
    moved = sum((one[k] - start[k]).square().sum().item() for k in one) ** 0.5
    apart = sum((one[k] - two[k]).square().sum().item() for k in one) ** 0.5
    assert apart < 0.02 * moved


def test_accumulating_gives_the_gradient_of_the_whole_batch(school, shards, tmp_path):
    found = []
    for pieces in (1, 2):
        run = Trainer(config(school, shards, batch=2, accumulate=pieces, clip=1e9), tmp_path / f"run{pieces}", quiet)
        batch = next(run._batches())
        run._train_step(batch)
        found.append({n: p.grad.clone() for n, p in run.state.parameters.items() if p.grad is not None})
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-3, atol=1e-5)


def test_recomputing_changes_memory_and_not_the_gradient(school, shards, tmp_path):
    found = []
    for again in (False, True):
        run = Trainer(config(school, shards, recompute=again), tmp_path / f"run{again}", quiet)
        run._train_step(next(run._batches()))
        found.append({n: p.grad.clone() for n, p in run.state.parameters.items() if p.grad is not None})
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-5, atol=1e-8)


def test_the_average_is_what_is_written(school, shards, tmp_path):
    run = Trainer(config(school, shards, ema=0.999), tmp_path / "run", quiet)
    run.run()
    written = weights(school, "point_map_vae")
    assert all(torch.equal(written[n], v) for n, v in run.state.average.items())
    assert any(not torch.equal(written[n], p.detach()) for n, p in run.state.parameters.items())


def test_a_run_is_not_gone_on_with_under_another_configuration(school, shards, tmp_path):
    Trainer(config(school, shards), tmp_path / "run", quiet)
    with pytest.raises(InputError, match="rate"):
        Trainer(config(school, shards, rate=2e-3), tmp_path / "run", quiet)
    Trainer(config(school, shards, steps=9), tmp_path / "run", quiet)  # longer is no other run


def test_a_best_checkpoint_is_there_before_the_state_that_says_so(tmp_path, monkeypatch):
    store = Checkpoints(tmp_path, 2)
    store.save(1, {"best": 2.0}, best=True)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("geometrycrafter.training.checkpointing.second_name", killed)
        with pytest.raises(KeyboardInterrupt):
            store.save(2, {"best": 1.0}, best=True)
    assert store.steps() == [1] and store.load()["best"] == 2.0


def test_what_a_dead_process_left_of_a_checkpoint_goes(tmp_path):
    child = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, sys\nfrom pathlib import Path\nfrom geometrycrafter.files import appearing\n"
            "with appearing(Path(sys.argv[1])) as file:\n    file.write_bytes(b'x')\n    os._exit(1)",
            str(tmp_path / "step-000000007.pt"),
        ]
    )
    assert child.returncode == 1 and any(tmp_path.iterdir())
    Checkpoints(tmp_path, 2)
    assert not any(tmp_path.iterdir())


def test_checkpoints_keep_the_last_and_the_best(tmp_path):
    store = Checkpoints(tmp_path, keep=2)
    for step, best in ((1, True), (2, True), (3, False), (4, False)):
        store.save(step, {"step": step}, best)
    assert store.steps() == [3, 4]
    assert torch.load(tmp_path / "best.pt", weights_only=True)["step"] == 2
    (tmp_path / "step-000000004.pt").write_bytes(b"torn")
    assert store.load()["step"] == 3


def test_every_slot_is_drawn_by_weight_and_each_epoch_sees_every_clip():
    mixture = Mixture([10, 7], [3.0, 1.0], (1, 5), batch=4, seed=3)
    draws = [mixture.draw(step, slot) for step in range(3000) for slot in range(4)]
    share = np.mean([d.source == 0 for d in draws])
    assert share == pytest.approx(0.75, abs=0.02)
    clips = [d.clip for d in draws if d.source == 1]
    epochs = [sorted(clips[i : i + 7]) for i in range(0, len(clips) - 7, 7)]
    assert all(e == list(range(7)) for e in epochs) and clips[:7] != clips[7:14]
    for step in range(50):
        assert len({d.frames for d in draws[4 * step : 4 * step + 4]}) == 1
    assert {d.frames for d in draws} == {1, 2, 3, 4, 5}
    # Asked anew, in any order, the answers are the same.
    again = Mixture([10, 7], [3.0, 1.0], (1, 5), batch=4, seed=3)
    assert [again.draw(s, 1) for s in (2900, 3, 1500)] == [draws[4 * s + 1] for s in (2900, 3, 1500)]


def spoil(folder: Path, clip: int) -> None:
    """Overwrite the pictures of a clip."""
    entry = Shards(folder).clips[clip]
    with open(folder / entry.shard, "r+b") as file:
        for offset, size in entry.frames:
            file.seek(offset)
            file.write(b"\0" * size)


@pytest.mark.parametrize("broken", ["stop", "skip"])
def test_a_damaged_clip_stops_the_run_or_is_counted(broken, school, shards, tmp_path):
    copy = shutil.copytree(shards, tmp_path / "shards")
    spoil(copy, 2)
    said: list[str] = []
    settings = config(school, copy, broken=broken, steps=6, validation=[])
    run = Trainer(settings, tmp_path / "run", said.append)
    if broken == "stop":
        with pytest.raises(InputError, match="clip-2"):
            run.run()
    else:
        run.run()
        assert any("clip-2" in line for line in said)
        assert any(line.startswith("skipped clips: ") for line in said)


def test_clips_that_are_not_sound_do_not_enter_a_shard(tmp_path):
    good = rendered(3, 2, 16, 16)
    bad = {
        "NaN": {"depth": np.full_like(good.depth, np.nan)},
        "not one pixel": {"depth": np.zeros_like(good.depth)},
        "negative": {"depth": -good.depth},
        "intrinsics": {"intrinsics": good.intrinsics[:1]},
        "focal": {"intrinsics": 0 * good.intrinsics},
    }
    with ShardWriter(tmp_path / "s") as writer:
        for named, change in bad.items():
            with pytest.raises(InputError, match=named):
                writer.add(named, Clip(**(vars(good) | change)))
        writer.add("good", good)
    assert len(Shards(tmp_path / "s")) == 1


FULL = "stage = 'vae'\nhub = 'h'\nsize = [32, 32]\nsteps = 1\nbatch = 1\nsources = [{path = 's'}]\n"


def test_unknown_settings_are_named(tmp_path):
    file = tmp_path / "a.toml"
    for text, named in (
        ("stage = 'vea'", "stage"),
        ("learning_rate = 1", "learning_rate"),
        ("steps = 'many'", "steps"),
        ("stage = 'vae'", "missing"),
        ("= 3", "TOML"),
        (f"{FULL}latent_variants = 1", "latent_variants"),
        (f"{FULL.replace('vae', 'unet')}latent_noise = 0.1", "latent_noise"),
        (f"{FULL}other_sizes = [[32, 33]]", "multiple of 8"),
        (f"{FULL}layers = 'decoder'\nlatent_variants = 1\nother_sizes = [[32, 64]]", "other_sizes"),
        (f"{FULL}log_sigma = [1.0, 0.0]", "log_sigma"),
        (f"{FULL}augmentation = {{level = -1.0}}", "level"),
        (f"{FULL}optimizer = 'muon'\nparallel = 'fsdp'", "muon"),
        (f"{FULL}decoder_frames = -1", "decoder_frames"),
        (f"{FULL}own_start = 0.5", "own_start"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=named):
            read_train_config(file)


@pytest.mark.parametrize("name", sorted(p.stem for p in PUBLISHED.glob("*.toml")))
def test_configurations_of_the_package_are_sound(name):
    assert read_train_config(name).stage in STAGES


def test_a_run_goes_on_after_a_setting_was_added_to_the_program(school, shards, tmp_path):
    settings = config(school, shards, stage="autoencoder", steps=1)
    Trainer(settings, tmp_path / "run", quiet).run()
    file = tmp_path / "run" / "config.json"
    stored = json.loads(file.read_text())
    del stored["recompute"], stored["augmentation"]["reverse"]
    file.write_text(json.dumps(stored))
    Trainer(config(school, shards, stage="autoencoder", steps=2), tmp_path / "run", quiet).run()
    assert json.loads(file.read_text())["steps"] == 2


class RecordedRuns:
    """In the place of the package ``wandb``: what is said to it, by the run's id."""

    def __init__(self):
        self.said, self.ended = {}, 0

    def init(self, **settings):
        assert settings["resume"] == "allow" and settings["config"]["steps"]
        self.lines = self.said.setdefault(settings["id"], [])
        return self

    def define_metric(self, name, step_metric):
        assert (name, step_metric) == ("*", "step")

    @staticmethod
    def Image(pixels):  # noqa: N802
        assert pixels.dtype == np.uint8 and pixels.shape[-1] == 3
        return "picture"

    def log(self, values):
        self.lines.append(values)

    def finish(self):
        self.ended += 1


def test_curves_go_to_the_tracker_that_is_asked_for(school, shards, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    settings = config(school, shards, tracker="wandb", validate_every=2)
    with pytest.raises(InputError, match=r"\.\[wandb\]"):
        Trainer(settings, tmp_path / "run", quiet).run()
    runs = RecordedRuns()
    monkeypatch.setitem(sys.modules, "wandb", runs)
    Trainer(settings, tmp_path / "run", quiet).run()
    Trainer(replace(settings, steps=6), tmp_path / "run", quiet).run()
    (lines,) = runs.said.values()
    assert runs.ended == 2
    assert [line["step"] for line in lines if "validation/point_rel" in line] == [2, 4, 6]
    assert sum(line.get("validation") == "picture" for line in lines) == 3
    assert {line["step"] for line in lines if "loss/depth" in line} == {4, 6}
