"""The training loop: steps, validation, checkpoints; on one process or many.

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
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import torch

from geometrycrafter.errors import InputError, Stopped, WriteError
from geometrycrafter.training.checkpointing import Checkpoints
from geometrycrafter.training.config import LoopConfig, Source, as_plain
from geometrycrafter.training.distribution import Workers, spread
from geometrycrafter.training.exporting import Export
from geometrycrafter.training.furnishing import furnish
from geometrycrafter.training.loading import loader, with_what_is_there
from geometrycrafter.training.openings import find_room, find_writable, open_sources
from geometrycrafter.training.recomputation import recompute
from geometrycrafter.training.run_folder import RunFolder
from geometrycrafter.training.samples import on_device
from geometrycrafter.training.stages import Batch, stage_of
from geometrycrafter.training.state import TrainingState
from geometrycrafter.training.steps import gradients, lowered, warn_of_slow_precision
from geometrycrafter.training.stopping import SoftStop
from geometrycrafter.training.tracking import Nothing, Tracker, open_tracker

MOST_BAD_STEPS = 50


class Trainer:
    """Runs one stage.

    Args:
        config: of the stage.
        folder: of the run; it is gone on with where it holds checkpoints.
        say: prints a line of progress; None prints.

    Raises:
        InputError: where data, networks or the folder are not as they should be, in any of the processes.
    """

    def __init__(self, config: LoopConfig, folder: str | os.PathLike[str], say: Callable[[str], None] | None = None):
        self.folder = RunFolder(Path(folder))
        self.workers = Workers.join()
        self.say = (say or functools.partial(print, flush=True)) if self.workers.first else _silent
        self._filled: tuple[str, ...] = ()
        with self.workers.together():
            if self.workers.first:
                self._filled = furnish(config, self.say)
        with self.workers.together():
            config = self.config = with_what_is_there(config, self.say)
        torch.manual_seed(config.seed)
        self.workers.share(config)
        with self.workers.together():
            if self.workers.first:
                self.folder.begin(config)
        with self.workers.together():
            self.stage = stage_of(config).to(self.workers.device)
            self.stage.train()
            self.stage.choose_parameters()
            if config.recompute:
                recompute(self.stage)
        self.loss = spread(self.stage, self.workers, config.parallel)
        self.state = TrainingState(self.stage, config, self.workers)
        self.checkpoints = Checkpoints(self.folder.checkpoints, config.keep)
        self.export = Export(self.folder.path, Path(config.hub), self.stage.part)
        self.tracker: Tracker = Nothing()
        self._told: set[str] = set()
        with self.workers.together():
            if self.workers.first:
                self.folder.keep(config)

    # Data -------------------------------------------------------------------------------------------------------

    def _loader(self, sources: tuple[Source, ...], first: int, last: int, validation: bool = False) -> Any:
        return loader(self.stage, self.workers, self.folder.path, self.say, sources, first, last, validation)

    def _batches(self) -> Generator[Batch, None, None]:
        return self.workers.agreed(self._loader(self.config.sources, self.state.step, self.config.steps))

    @property
    def _judges(self) -> tuple[Source, ...]:
        """What the run is judged by: sources of their own, or what is held out of those that it learns from."""
        return self.config.sources if self.config.hold_out else self.config.validation

    def _validation(self) -> Any:
        if not self._judges:
            return ()
        return self._loader(self._judges, 0, self.config.validation_batches, validation=True)

    def _judged(self) -> Iterator[Batch]:
        """Validation's batches, on the device."""
        for batch in self.workers.agreed(self._validation()):
            batch.pop("skipped")
            yield on_device(batch, self.workers.device)

    # Running ----------------------------------------------------------------------------------------------------

    def run(self) -> dict[str, float]:
        """Train to the last step and write the network into the hub; a run that has done so does nothing.

        Returns:
            the last validation's scores.

        Raises:
            InputError: where the folder is held by another run, data can't be read, a checkpoint can't be written, or
                another process of the run was ended.
            Stopped: on SIGTERM or SIGINT, after the step under way is finished and kept.
        """
        warn_of_slow_precision(self.config, self.workers.device)
        with contextlib.ExitStack() as held:
            with self.workers.together():
                if self.workers.first:
                    held.enter_context(self.folder.held())
            held.enter_context(self._beginning())
            held.enter_context(self.workers.reachable())
            held.enter_context(self._settled())
            if self._restore():
                if self.state.over:
                    return self._end_again()
                self.say(f"going on from step {self.state.step}")
            else:
                trained = sum(p.numel() for p in self.state.parameters.values())
                self.say(f"{self.config.stage}: {trained:,} parameters train; {json.dumps(as_plain(self.config))}")
            self._open()
            held.enter_context(contextlib.closing(self.tracker))
            if self.state.step == 0 and self.config.patience:
                self._doubt()
                self.state.judge(self.validate())
            batches = self._batches()  # clips that have to be encoded first are encoded here
            with SoftStop() as soft, contextlib.closing(batches):
                return self._train(batches, soft)

    def _open(self) -> None:
        """Look at all that the run will need later, and open its tracker."""
        config, state = self.config, self.state
        with self.workers.together():
            open_sources(config)
        with self.workers.together():
            if self.workers.first:
                find_writable(self.folder.path, self.export.hub, self.stage.parts())
                weights = sum(t.nbytes for t in state.network.state_dict().values())
                find_room(self.folder.path, state.nbytes(), config.keep, self.export.hub, weights)
        for _ in self.workers.agreed(self._validation()):
            pass  # the clips are the same each time: one that can't be read is told now
        with self.workers.together():
            name = config.tracker if self.workers.first else "none"
            self.tracker = open_tracker(name, self.folder.path, as_plain(config))

    @contextlib.contextmanager
    def _beginning(self) -> Iterator[None]:
        """Whatever is the user's to mend before anything was kept may be mended by another configuration."""
        try:
            yield
        except InputError:
            if self.workers.first:
                self.folder.forget()
            raise

    @contextlib.contextmanager
    def _settled(self) -> Iterator[None]:
        """However a run ends, the checkpoint that is on its way is written; but who interrupts twice wants no more."""
        try:
            yield
        except Exception:
            with contextlib.suppress(Exception):  # one error is enough
                self.checkpoints.wait()
            raise
        self.checkpoints.wait()

    def _restore(self) -> bool:
        """Take up the first process's latest sound checkpoint, read by all; returns whether there is one."""
        stored = None
        with self.workers.together():
            if self.workers.first:
                stored = self.checkpoints.load()
        step = int(self.workers.sum({"step": stored["step"] + 1 if stored else 0})["step"]) - 1
        if step < 0:
            return False
        with self.workers.together():
            stored = stored or self.checkpoints.read(step)
        self.state.restore(stored)
        return True

    def _train(self, batches: Iterator[Batch], soft: SoftStop) -> dict[str, float]:
        state, config = self.state, self.config
        scores: dict[str, float] = {}
        running: dict[str, float] = {}
        started = saved = shown = time.monotonic()
        for batch in batches:
            for key, value in self._train_step(batch).items():
                running[key] = 0.98 * running.get(key, value) + 0.02 * value
            state.step += 1
            now = time.monotonic()
            spent = state.spent + now - started
            validated = state.step % config.validate_every == 0 or state.step == config.steps
            if validated:
                scores = self.validate()
                state.judge(scores)
            last = state.over
            better = bool(scores) and validated and next(iter(scores.values())) < state.best
            # Clocks differ from process to process, and what follows needs all of them: the first one's decides.
            found = self.workers.each(
                save=self.workers.first and now - saved > config.checkpoint_seconds,
                show=self.workers.first and now - shown > 10,
                stop=soft.number > 0,
                failed=self.checkpoints.failed,
            )
            if last:
                break
            due = config.checkpoint_every and state.step % config.checkpoint_every == 0
            if found["save"] or found["stop"] or found["failed"] or due or better:
                self._save(scores, spent, found["stop"])
                saved = now
            if found["show"] or found["stop"]:
                self._show(running, spent)
                shown = now
            if found["stop"]:
                number = max(self.workers.gathered(soft.number))
                raise Stopped(f"stopped at step {state.step} of {config.steps}; start again to go on", number)
        state.spent += time.monotonic() - started
        if state.chosen.weights:
            scores = state.chosen.scores
            self.say(state.chosen.described())
        trained = self.stage.exported(state.trained())
        with self.workers.together():
            if self.workers.first:
                self.export.announce(state.step, trained, scores)
        self._save(scores, state.spent, True)
        self._show(running, state.spent)
        self._export(trained, scores)
        return scores

    def _train_step(self, batch: Batch) -> dict[str, float]:
        """One step of the optimizer; returns the terms of the loss that are numbers, over all processes."""
        config, device, state = self.config, self.workers.device, self.state
        self._count_skipped(batch.pop("skipped"))
        state.begin_step()
        terms = gradients(self.loss, batch, config, device, state.scaler, self._tell_of_constants)
        # One process's NaN is everybody's: all skip the step, and all leave the term out.
        finite = not self.workers.any(not math.isfinite(state.clip_gradient()))
        if not finite:
            state.counts["skipped steps"] += 1
        if finite or state.scaler.is_enabled():  # float16's scaler finds its scale by such steps
            state.take_step()
        elif state.counts["skipped steps"] > MOST_BAD_STEPS:
            raise InputError(f"step {state.step}: the gradient is not finite, again; lower rate, or look at the data.")
        else:
            state.optimizer.zero_grad(set_to_none=True)
        return {k: v for k, v in self.workers.mean(terms).items() if math.isfinite(v)}

    def _tell_of_constants(self, terms: dict[str, torch.Tensor]) -> None:
        """Say once of each term of the loss that nothing which trains has a part in."""
        for name in [k for k, v in terms.items() if not v.requires_grad and k not in self._told]:
            self._told.add(name)
            self.say(f"warning: the loss's term {name} reaches no parameter that trains; give it weight 0 to save time")

    def _count_skipped(self, reasons: list[str]) -> None:
        if self.workers.any(bool(reasons)):
            for reason in (r for own in self.workers.gathered(reasons) for r in own):
                self.state.counts["skipped clips"] += 1
                self.say(f"skipped: {reason}")

    def _doubt(self) -> None:
        """Have the stage look at what is held out, and refuse what nothing can be judged by."""
        share = self.config.hold_out
        if not share:
            return
        known = False
        self.stage.eval()
        for batch in self._judged():
            known = known or bool((batch["depth"] > 0).any())
            with self.workers.together():
                self.stage.doubt(batch)
        self.stage.train()
        if not known:
            raise InputError(
                f"hold_out {share:g}: no depth is known in the frames that it holds out; give another share, or "
                "validation instead."
            )

    def validate(self) -> dict[str, float]:
        """Scores of the averaged weights on what the run is judged by, with a sheet of pictures."""
        if not self._judges:
            return {}
        rows: list[dict[str, float]] = []
        self.stage.eval()
        with self.state.averaged(), torch.no_grad(), lowered(self.config, self.workers.device):
            for batch in self._judged():
                rows.append({k: v.item() for k, v in self.stage.scores(batch).items()})
                if len(rows) == 1:
                    with self.workers.together():
                        if self.workers.first:
                            self._picture(batch)
        self.stage.train()
        step = self.state.step
        scores = self.workers.mean({k: sum(r[k] for r in rows) / len(rows) for k in rows[0]})
        self.say(f"validation at step {step}: " + "  ".join(f"{k} {v:.4f}" for k, v in scores.items()))
        self.tracker.scalars({f"validation/{k}": v for k, v in scores.items()}, step)
        return scores

    def _picture(self, batch: Batch) -> None:
        pixels = self.stage.pictures(batch)
        self.folder.picture(self.state.step, pixels)
        self.tracker.picture("validation", pixels, self.state.step)

    def _show(self, running: dict[str, float], spent: float) -> None:
        step, steps = self.state.step, self.config.steps
        terms = "  ".join(f"{k} {v:.4f}" for k, v in running.items())
        left = spent / step * (steps - step)
        self.say(f"{self.config.stage} {step}/{steps}  {terms}  {_clock(spent)}, {_clock(left)} left")
        with self.workers.together():
            if self.workers.first:
                row = {"step": step, "seconds": round(spent, 1), "rate": self.state.rate()}
                self.folder.log(row | running)
                self.tracker.scalars({f"loss/{k}": v for k, v in running.items()}, step)

    # What is kept -----------------------------------------------------------------------------------------------

    def _save(self, scores: dict[str, float], spent: float, wait: bool = False) -> None:
        """Keep a checkpoint: copied here, written while training goes on.

        Args:
            scores: of the last validation.
            spent: seconds in training.
            wait: until it is written.
        """
        with self.workers.together():  # one state in memory, not two
            try:
                self.checkpoints.wait()
            except WriteError:
                if not wait:  # the last one of a run is tried in any case
                    raise
        score = next(iter(scores.values())) if scores else math.inf
        better = score < self.state.best
        self.state.best = min(self.state.best, score)
        plain = self.state.plain(spent)
        with self.workers.together():
            if self.workers.first:
                self.checkpoints.begin(self.state.step, plain, better)
                if wait:
                    self.checkpoints.wait()

    def _export(self, trained: dict[str, torch.Tensor], scores: dict[str, float]) -> None:
        """Write the averaged network into the hub, and what belongs to it."""
        record = {
            "config": json.dumps(as_plain(self.config)),
            "steps": str(self.state.step),
            "seconds": f"{self.state.spent:.0f}",
            "scores": json.dumps(scores),
        }
        with self.workers.together():
            if self.workers.first:
                self.export.write(trained, self.stage.exported_config(), record)
        if self._judges:
            with self.state.kept(), lowered(self.config, self.workers.device):
                self.stage.finish(self._judged(), self.workers.first)
        with self.workers.together():
            if self.workers.first:
                self.export.finish()
        self.say(f"weights: {self.export.hub} ({self.export.part})")
        for what, count in self.state.counts.items():
            if count:
                self.say(f"{what}: {count}")

    def _end_again(self) -> dict[str, float]:
        """What is left of a run that is at its last step: its network's way into the hub, or nothing."""
        due, scores = False, {}
        with self.workers.together():
            if self.workers.first:
                step = self.state.step
                note = self.export.note()
                scores = note.scores if note is not None else {}
                # Where the hub was deleted since, the base's network lies in the place of the run's own.
                due = self.export.part in self._filled or self.export.is_due(step, self.checkpoints.path(step))
        if self.workers.firsts(due):
            trained = self.stage.exported(self.state.trained())
            with self.workers.together():
                if self.workers.first:
                    self.export.announce(self.state.step, trained, scores)
            self._export(trained, scores)
        else:
            self.say(f"finished; nothing to do: {self.export.part} of {self.export.hub} was written when it ended")
        return scores


def _silent(line: str) -> None:
    pass


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
