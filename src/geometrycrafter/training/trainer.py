"""The training loop: steps, averaged weights, validation, checkpoints; on one process or many.

    torchrun --nproc-per-node 8 -m geometrycrafter.cli.main train unet CONFIG

A run is its folder: configuration, log, pictures, checkpoints. Started again, it goes on from the last checkpoint and
reaches the same weights as if it had not been stopped, to the bit on a CPU: what a step trains on depends on its
number alone (:mod:`geometrycrafter.training.sampling`).
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from geometrycrafter.data.shards import Shards
from geometrycrafter.errors import InputError
from geometrycrafter.networks.blocks import SpatioTemporalResBlock
from geometrycrafter.networks.unet import DownBlock, MiddleBlock, SpatioTemporalTransformer, UpBlock
from geometrycrafter.training.checkpointing import Checkpoints
from geometrycrafter.training.config import Augmentation, Source, TrainConfig, as_plain, config_of
from geometrycrafter.training.muon import Muon
from geometrycrafter.training.samples import MAPS, ClipSamples, LatentSamples, as_numbers
from geometrycrafter.training.sampling import Draw, Mixture, batches
from geometrycrafter.training.stages import STAGES, Batch, Stage, UNetStage, VAEStage
from geometrycrafter.training.tracking import Nothing, Tracker, open_tracker
from geometrycrafter.video.pictures import write_png
from geometrycrafter.weights.parts import save_part

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MOST_BAD_STEPS = 50


@dataclass(frozen=True)
class Workers:
    """The processes that train together."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def join(cls) -> Workers:
        """Find the others where ``torchrun`` started this process."""
        if "RANK" not in os.environ:
            return cls(device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        cuda = torch.cuda.is_available()
        dist.init_process_group("nccl" if cuda else "gloo")
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
        if cuda:
            torch.cuda.set_device(device)
        return cls(dist.get_rank(), dist.get_world_size(), device)

    @property
    def first(self) -> bool:
        return self.rank == 0

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Mean of each value over the processes."""
        if self.world == 1:
            return values
        packed = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        dist.all_reduce(packed)
        return dict(zip(values, (packed / self.world).tolist(), strict=True))

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        return flag if self.world == 1 else self.mean({"flag": float(flag)})["flag"] > 0


class Trainer:
    """Runs one stage.

    Args:
        config: of the stage.
        folder: of the run; it is gone on with where it holds checkpoints.
        say: prints a line of progress; None prints.

    Raises:
        InputError: where data, networks or the folder are not as they should be.
    """

    def __init__(self, config: TrainConfig, folder: str | os.PathLike[str], say: Callable[[str], None] | None = None):
        self.config, self.folder = config, Path(folder)
        self.workers = Workers.join()
        self.say = (say or functools.partial(print, flush=True)) if self.workers.first else _silent
        torch.manual_seed(config.seed)
        self._check_folder()
        self.stage: Stage = STAGES[config.stage](config).to(self.workers.device)
        self.stage.train()
        self.stage.requires_grad_(False)
        self.stage.choose_parameters()
        self.parameters = {n: p for n, p in self.stage.network.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise InputError(f"layers = {config.layers!r}: the network has no such parameters to train.")
        if config.recompute:
            _recompute(self.stage.network)
        self.loss: nn.Module = self._distributed()
        self.parameters = {n: p for n, p in self.stage.network.named_parameters() if p.requires_grad}
        trunk = {n for n in self.parameters if n.startswith("trunk.")}
        groups = [
            {"params": [p for n, p in self.parameters.items() if (n in trunk) == slow], "factor": factor}
            for slow, factor in ((False, 1.0), (True, config.trunk_rate))
        ]
        optimizer = Muon if config.optimizer == "muon" else torch.optim.AdamW
        self.optimizer = optimizer(
            [g for g in groups if g["params"]], lr=config.rate, betas=config.betas, weight_decay=config.weight_decay
        )
        self.average = {n: p.detach().clone() for n, p in self.parameters.items()} if config.ema else {}
        self.scaler = torch.amp.GradScaler(self.workers.device.type, enabled=config.precision == "float16")
        self.checkpoints = Checkpoints(self.folder / "checkpoints", config.keep)
        self.step, self.spent, self.best = 0, 0.0, math.inf
        self.counts = {"skipped clips": 0, "skipped steps": 0}
        self._stop = False
        self.tracker: Tracker = Nothing()

    # Set-up -----------------------------------------------------------------------------------------------------

    def _check_folder(self) -> None:
        """Write the configuration, or compare it with the one that the run began with."""
        file = self.folder / "config.json"
        plain = json.loads(json.dumps(as_plain(self.config)))
        if file.exists():
            # A setting that came later was at its default then.
            try:
                stored = json.loads(file.read_text())
            except ValueError as error:
                raise InputError(f"{file}: this is no configuration ({error}); train in a new folder.") from error
            before = as_plain(config_of(stored, str(file)))
            before = json.loads(json.dumps(before))
            free = {
                "steps",
                "workers",
                "tracker",
                "keep",
                "checkpoint_every",
                "checkpoint_seconds",
                "validate_every",
                "broken",
            }
            changed = [k for k in plain if plain[k] != before.get(k) and k not in free]
            if changed:
                raise InputError(
                    f"{self.folder}: the run was begun with another {changed[0]} ({before.get(changed[0])!r}); "
                    "give it back, or train in a new folder."
                )
        if self.workers.first:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Whole or not at all: other processes look for it, and a run may be killed here.
            file.with_suffix(".tmp").write_text(json.dumps(plain, indent=1) + "\n")
            file.with_suffix(".tmp").replace(file)

    def _distributed(self) -> nn.Module:
        if self.workers.world == 1:
            return self.stage
        if self.config.parallel == "fsdp":
            from torch.distributed.device_mesh import init_device_mesh
            from torch.distributed.fsdp import fully_shard

            mesh = init_device_mesh(self.workers.device.type, (self.workers.world,))
            for module in self.stage.network.modules():
                if isinstance(module, DownBlock | MiddleBlock | UpBlock):
                    fully_shard(module, mesh=mesh)
            fully_shard(self.stage.network, mesh=mesh)
            return self.stage
        # Queries and keys of an attention over one key have no gradient, nor has an attention that is never reached.
        return DistributedDataParallel(self.stage, find_unused_parameters=True)

    def _loader(self, sources: tuple[Source, ...], first: int, last: int, validation: bool = False) -> Any:
        config = self.config
        shards = tuple(Shards(s.path) for s in sources)
        clips = (
            ClipSamples(shards, config.size, Augmentation())
            if validation
            else ClipSamples(shards, config.size, config.augmentation, config.other_sizes)
        )
        make: ClipSamples | LatentSamples = clips
        if config.latent_variants and not validation:
            assert isinstance(self.stage, UNetStage | VAEStage)  # by the configuration
            make = self._encoded(clips, self.stage)
        # Validation sees the same samples each time, by an order of its own.
        seed = config.seed + 7919 if validation else config.seed
        frames = (config.frames[1], config.frames[1]) if validation else config.frames
        mixture = Mixture([len(s) for s in shards], [s.weight for s in sources], frames, config.batch, seed)
        workers = 0 if validation else config.workers
        skip = config.broken == "skip"
        return batches(make, mixture, first, last, self.workers.rank, self.workers.world, workers, skip)

    def _encoded(self, make: ClipSamples, stage: UNetStage | VAEStage) -> LatentSamples:
        """Encode all clips that are not encoded yet, each process its share."""
        config = self.config
        names = stage.latent_names + (MAPS if config.decoder_loss or config.point_loss or config.stage == "vae" else ())
        folder = Path(config.latents) if config.latents else self.folder / "latents"
        latents = LatentSamples(folder, config.latent_variants, names, reverse=config.augmentation.reverse)
        if self.workers.first:
            settings = {"seed": config.seed, "size": list(config.size), "frames": config.frames[1]}
            drawn = {k: v for k, v in asdict(config.augmentation).items() if k != "reverse"}
            sources = [shards.digest() for shards in make.sources]
            latents.claim(settings | {"augmentation": drawn, "sources": sources} | stage.encoders())
        if self.workers.world > 1:
            dist.barrier()
        wanted = [
            (source, clip, variant)
            for source, shards in enumerate(make.sources)
            for clip in range(len(shards))
            for variant in range(latents.variants)
        ]
        missing = [w for w in wanted[self.workers.rank :: self.workers.world] if not latents.holds(*w)]
        shown = time.monotonic()
        for count, (source, clip, variant) in enumerate(missing):
            seed = int(np.random.default_rng((self.config.seed, 5, source, clip, variant)).integers(2**62))
            sample = make(Draw(source, clip, self.config.frames[1], seed))
            found = stage.latents(_on(sample, self.workers.device))
            latents.store(source, clip, variant, found | {k: sample[k] for k in MAPS if k in names})
            if time.monotonic() - shown > 20:
                shown = time.monotonic()
                self.say(f"encoded {count + 1}/{len(missing)}")
        if self.workers.world > 1:
            dist.barrier()
        return latents

    # Running ----------------------------------------------------------------------------------------------------

    def run(self) -> dict[str, float]:
        """Train to the last step and write the network into the hub; returns the last validation's scores."""
        state = self.checkpoints.load()
        if state is not None:
            self._restore(state)
            self.say(f"going on from step {self.step}")
        elif self.workers.first:
            trained = sum(p.numel() for p in self.parameters.values())
            self.say(f"{self.config.stage}: {trained:,} parameters train; {json.dumps(as_plain(self.config))}")
        scores: dict[str, float] = {}
        name = self.config.tracker if self.workers.first else "none"
        self.tracker = open_tracker(name, self.folder, as_plain(self.config))
        with self._stopping_softly(), contextlib.closing(self.tracker):
            running: dict[str, float] = {}
            started = saved = shown = time.monotonic()
            for batch in self._batches():
                terms = self._train_step(batch)
                self.step += 1
                for key, value in terms.items():
                    running[key] = 0.98 * running.get(key, value) + 0.02 * value
                now = time.monotonic()
                last = self.step == self.config.steps
                if self.step % self.config.validate_every == 0 or last:
                    scores = self.validate()
                due = self.step % self.config.checkpoint_every == 0 or now - saved > self.config.checkpoint_seconds
                stop = self.workers.any(self._stop)
                if due or last or stop or (scores and self.step % self.config.validate_every == 0):
                    self._save(scores, self.spent + now - started)
                    saved = now
                if now - shown > 10 or last or stop:
                    self._show(running, self.spent + now - started)
                    shown = now
                if stop:
                    self.say(f"stopped at step {self.step}; start again to go on")
                    return scores
            self.spent += time.monotonic() - started
        self._export(scores)
        for what, count in self.counts.items():
            if count:
                self.say(f"{what}: {count}")
        return scores

    def _batches(self) -> Iterator[Batch]:
        if self.step < self.config.steps:
            yield from self._loader(self.config.sources, self.step, self.config.steps)

    def _rate(self) -> float:
        config = self.config
        rise = min(1.0, (self.step + 1) / config.warmup) if config.warmup else 1.0
        fall = 0.5 * (1 + math.cos(math.pi * self.step / config.steps)) if config.schedule == "cosine" else 1.0
        return config.rate * rise * max(fall, 0.01)

    def _train_step(self, batch: Batch) -> dict[str, float]:
        """One step of the optimizer; returns the terms of the loss."""
        config, device = self.config, self.workers.device
        for reason in batch.pop("skipped"):
            self.counts["skipped clips"] += 1
            self.say(f"skipped: {reason}")
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate() * group["factor"]
        size = len(batch["seeds"])
        if size % config.accumulate:
            raise InputError(f"accumulate = {config.accumulate}: a process's batch of {size} can't be cut so.")
        part = size // config.accumulate
        terms: dict[str, float] = {}
        self.optimizer.zero_grad(set_to_none=True)
        for start in range(0, size, part):
            piece = {k: v[start : start + part] for k, v in batch.items()}
            piece = _on(piece, device)
            final = start + part == size
            quiet = self.loss.no_sync() if isinstance(self.loss, DistributedDataParallel) and not final else _nothing()
            with quiet:
                with torch.autocast(device.type, PRECISIONS[config.precision], enabled=config.precision != "float32"):
                    found = self.loss(piece)
                total = torch.stack(list(found.values())).sum() / config.accumulate
                self.scaler.scale(total).backward()
            for key, value in found.items():
                terms[key] = terms.get(key, 0.0) + value.item() / config.accumulate
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), config.clip)
        if not math.isfinite(float(norm)):
            # float16's scaler finds its scale by such steps; otherwise they are a sign of bad data or a rate too high.
            self.counts["skipped steps"] += 1
            if not self.scaler.is_enabled():
                if self.counts["skipped steps"] > MOST_BAD_STEPS:
                    raise InputError(
                        f"step {self.step}: the gradient is not finite, again; lower rate, or look at the data."
                    )
                self.optimizer.zero_grad(set_to_none=True)
                return self.workers.mean({k: v for k, v in terms.items() if math.isfinite(v)})
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average:
            decay = min(config.ema, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    self.average[name].lerp_(parameter, 1 - decay)
        return self.workers.mean(terms)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the averaged weights in the network's place for a while."""
        kept = {n: p.detach().clone() for n, p in self.parameters.items()} if self.average else {}
        try:
            for name, value in self.average.items():
                self.parameters[name].data.copy_(value)
            yield
        finally:
            for name, value in kept.items():
                self.parameters[name].data.copy_(value)

    def validate(self) -> dict[str, float]:
        """Scores of the averaged weights on the validation sources, with a sheet of pictures."""
        if not self.config.validation:
            return {}
        rows: list[dict[str, float]] = []
        self.stage.eval()
        with self.averaged(), torch.no_grad():
            for batch in self._loader(self.config.validation, 0, self.config.validation_batches, validation=True):
                batch.pop("skipped")
                batch = _on(batch, self.workers.device)
                rows.append({k: v.item() for k, v in self.stage.scores(batch).items()})
                if len(rows) == 1 and self.workers.first:
                    sheet = self.stage.pictures(batch)
                    pictures = self.folder / "pictures"
                    pictures.mkdir(exist_ok=True)
                    pixels = (sheet.permute(1, 2, 0) * 255).byte().cpu().numpy()
                    write_png(pictures / f"step-{self.step:09d}.png", pixels)
                    self.tracker.picture("validation", pixels, self.step)
        self.stage.train()
        scores = self.workers.mean({k: sum(r[k] for r in rows) / len(rows) for k in rows[0]})
        self.say(f"validation at step {self.step}: " + "  ".join(f"{k} {v:.4f}" for k, v in scores.items()))
        self.tracker.scalars({f"validation/{k}": v for k, v in scores.items()}, self.step)
        return scores

    def _show(self, running: dict[str, float], spent: float) -> None:
        left = spent / self.step * (self.config.steps - self.step)
        terms = "  ".join(f"{k} {v:.4f}" for k, v in running.items())
        self.say(f"{self.config.stage} {self.step}/{self.config.steps}  {terms}  {_clock(spent)}, {_clock(left)} left")
        if not self.workers.first:
            return
        with open(self.folder / "log.jsonl", "a") as file:
            file.write(
                json.dumps({"step": self.step, "seconds": round(spent, 1), "rate": self._rate()} | running) + "\n"
            )
        self.tracker.scalars({f"loss/{k}": v for k, v in running.items()}, self.step)

    # State ------------------------------------------------------------------------------------------------------

    def _save(self, scores: dict[str, float], spent: float) -> None:
        score = next(iter(scores.values())) if scores else math.inf
        better = score < self.best
        self.best = min(self.best, score)
        state = {
            "step": self.step,
            "network": {n: _whole(p) for n, p in self.stage.network.state_dict().items()},
            "average": {n: _whole(p) for n, p in self.average.items()},
            "optimizer": self._optimizer_state(),
            "scaler": self.scaler.state_dict(),
            "random": torch.get_rng_state(),
            "spent": spent,
            "best": self.best,
            "counts": self.counts,
        }
        if self.workers.first:
            self.checkpoints.save(self.step, state, better)

    def _optimizer_state(self) -> dict[str, Any]:
        """The optimizer's state by the parameters' names, whole."""
        states = {}
        for name, parameter in self.parameters.items():
            own = self.optimizer.state.get(parameter, {})
            states[name] = {k: _whole(v) if isinstance(v, Tensor) else v for k, v in own.items()}
        return states

    def _restore(self, state: dict[str, Any]) -> None:
        live = self.stage.network.state_dict()
        with torch.no_grad():
            for name, value in state["network"].items():
                live[name].copy_(_like(value, live[name]))
            for name, value in state["average"].items():
                self.average[name].copy_(_like(value, self.average[name]))
        for name, parameter in self.parameters.items():
            own = state["optimizer"][name]
            if own:
                self.optimizer.state[parameter] = {
                    # The count of steps is a plain scalar; moments are laid out as their parameter is.
                    k: _like(v, parameter) if v.shape == parameter.shape and k != "step" else v
                    for k, v in own.items()
                }
        self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])
        self.step, self.spent, self.best = state["step"], state["spent"], state["best"]
        self.counts = state["counts"]

    def _export(self, scores: dict[str, float]) -> None:
        """Write the averaged network into the hub."""
        record = {
            "config": json.dumps(as_plain(self.config)),
            "steps": str(self.step),
            "seconds": f"{self.spent:.0f}",
            "scores": json.dumps(scores),
        }
        with self.averaged():
            whole = {n: _whole(p) for n, p in self.stage.network.state_dict().items()}
            if self.workers.first:
                save_part(self.stage.part, Path(self.config.hub), whole, self.stage.network.config, record)
            if self.workers.first and self.config.validation:
                config = self.config
                found = self._loader(config.validation, 0, config.validation_batches, validation=True)
                self.stage.finish(_on(batch, self.workers.device) for batch in found)
        self.say(f"weights: {Path(self.config.hub)} ({self.stage.part})")

    @contextlib.contextmanager
    def _stopping_softly(self) -> Iterator[None]:
        """On SIGTERM and SIGINT, finish the step and write a checkpoint."""

        def stop(number: int, frame: Any) -> None:
            if self._stop:
                raise KeyboardInterrupt
            self._stop = True

        try:
            before = {s: signal.signal(s, stop) for s in (signal.SIGTERM, signal.SIGINT)}
        except ValueError:  # not in the main thread
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _on(batch: Batch, device: torch.device) -> Batch:
    """A batch on the device, its pictures as numbers."""
    moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
    return moved | {"frames": as_numbers(moved["frames"])} if "frames" in moved else moved


def _whole(value: Tensor) -> Tensor:
    """A tensor gathered from all processes where it is sharded, on the CPU."""
    full = value.full_tensor() if hasattr(value, "full_tensor") else value
    return full.detach().cpu().clone()


def _like(value: Tensor, pattern: Tensor) -> Tensor:
    """A whole tensor laid out as another one is, which may be sharded."""
    if not hasattr(pattern, "full_tensor"):
        return value.to(pattern.device)
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(pattern, DTensor)
    return distribute_tensor(value.to(pattern.device), pattern.device_mesh, pattern.placements)


def _recompute(network: nn.Module) -> None:
    """Keep only the inputs of the network's blocks, and run them again in the backward pass."""
    for module in network.modules():
        if isinstance(module, SpatioTemporalResBlock | SpatioTemporalTransformer):
            module.forward = functools.partial(checkpoint, module.forward, use_reentrant=False)  # type: ignore


def _nothing() -> Any:
    return contextlib.nullcontext()


def _silent(line: str) -> None:
    pass


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
