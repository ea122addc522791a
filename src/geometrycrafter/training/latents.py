"""Latents that are encoded before training begins, which runs with the same encoders and clips may share."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from geometrycrafter.errors import InputError, WriteError, reason
from geometrycrafter.files import appearing, explained, locked, write_json
from geometrycrafter.training.config import LatentStageConfig
from geometrycrafter.training.distribution import Workers
from geometrycrafter.training.samples import MAPS, ClipSamples, NormalisedClip, on_device
from geometrycrafter.training.sampling import Draw
from geometrycrafter.training.stages import LatentStage
from geometrycrafter.weights.checkpoints import read_tensors, tensor_names

_ANEW = "delete the folder to encode anew, or give 'latents' another one"


@dataclass(frozen=True)
class LatentSamples:
    """Samples that were encoded before training began; runs in the reading processes."""

    folder: Path
    variants: int
    names: tuple[str, ...]
    """Tensors that are wanted: those that a stage's ``latents`` gives, and perhaps :data:`MAPS`."""
    reverse: bool = False

    def path(self, source: int, clip: int, variant: int) -> Path:
        """Where a clip's latents lie."""
        return self.folder / f"{source:02d}-{clip:07d}-{variant:02d}.safetensors"

    def holds(self, source: int, clip: int, variant: int) -> bool:
        """Whether a clip is encoded, and with all that is wanted.

        Raises:
            InputError: where its file is damaged.
        """
        file = self.path(source, clip, variant)
        if not file.exists():
            return False
        try:
            return set(self.names) <= tensor_names(file)
        except InputError as error:
            raise InputError(f"{file}: the latents are damaged; delete the file to encode anew.") from error

    def claim(self, origin: dict[str, Any]) -> None:
        """Note in the folder what its latents are made from, or find them made from just that.

        Args:
            origin: plain values. Runs that share latents may each know a part of all.

        Raises:
            InputError: where the folder's latents are made from something else, or nobody knows from what.
        """
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "origin.json"
        with _in_turn(file):
            noted = self._noted(file)
            changed = [k for k, v in origin.items() if noted.get(k, v) != v]
            if changed:
                raise InputError(
                    f"{self.folder}: its latents are made with another {changed[0].replace('_', ' ')} "
                    f"than this run has; {_ANEW}."
                )
            with explained(file):
                write_json(file, noted | origin, indent=1)

    def _noted(self, file: Path) -> dict[str, Any]:
        try:
            return dict(json.loads(file.read_text()))
        except FileNotFoundError:
            if any(self.folder.glob("*.safetensors")):
                raise InputError(f"{self.folder}: no note says what its latents are made from; {_ANEW}.") from None
            return {}
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{file}: the note is damaged ({reason(error)}); {_ANEW}.") from error

    def store(self, source: int, clip: int, variant: int, tensors: dict[str, Tensor]) -> None:
        """Add those tensors ``[T, ...]`` to a clip's, in half precision, that are not there yet.

        Another run may add others to the same file at the same time.

        Raises:
            WriteError: where the file can't be written.
        """
        file = self.path(source, clip, variant)
        ready = {k: (v.half() if v.is_floating_point() else v).cpu().contiguous() for k, v in tensors.items()}
        with _in_turn(file):
            there = read_tensors(file) if file.exists() else {}
            with explained(file, "make room and start again"), appearing(file) as temporary:
                save_file(ready | there, temporary)

    def __call__(self, draw: Draw) -> dict[str, Tensor]:
        """Some frames of one of the clip's variants.

        Returns:
            tensors by name ``[T, ...]``; in :data:`MAPS`' place ``known`` and the maps of a :class:`NormalisedClip`.
        """
        rng = np.random.default_rng(draw.seed)
        stored = read_tensors(self.path(draw.source, draw.clip, int(rng.integers(self.variants))))
        found = {k: stored[k] for k in self.names if k not in MAPS}
        if "depth" in self.names:
            # Latents were normalised over all frames, so maps are too, before some are taken.
            clip = NormalisedClip.of(stored["depth"].float(), stored["half_field"].float())
            found |= {"known": stored["known"]} | vars(clip)
        start = int(rng.integers(max(1, len(stored["truth"]) - draw.frames + 1)))
        found = {k: v[start : start + draw.frames] for k, v in found.items()}
        found = {k: v if v.dtype == torch.bool else v.float() for k, v in found.items()}
        return {k: v.flip(0) for k, v in found.items()} if self.reverse and rng.uniform() < 0.5 else found


@contextlib.contextmanager
def _in_turn(file: Path) -> Iterator[None]:
    """Hold a file that is read, added to and written again; wait for another run that does so."""
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(file, "encoding"))
                break
            except WriteError:
                raise
            except InputError:
                time.sleep(0.02)
        yield


def encoded(
    make: ClipSamples, stage: LatentStage[Any], folder: Path, workers: Workers, say: Callable[[str], None]
) -> LatentSamples:
    """Samples of latents, once all clips are encoded that are not yet, each process its share.

    Args:
        make: the clips.
        stage: says what is encoded, and how.
        folder: of the run; its own latents lie in it.
        workers: the processes.
        say: takes a line now and then.

    Raises:
        InputError: where the folder's latents are made from something else, or damaged, a clip can't be read, or the
            disk has no room for all.
    """
    config: LatentStageConfig = stage.config
    place = Path(config.latents) if config.latents else folder / "latents"
    names = stage.stored_names()
    latents = LatentSamples(place, config.latent_variants, names, reverse=config.augmentation.reverse)
    with workers.together():
        if workers.first:
            settings = {"seed": config.seed, "size": list(config.size), "frames": config.frames[1]}
            # What came after notes were first made is left out at its default.
            plain = asdict(config.augmentation).items()
            drawn = {k: v for k, v in plain if k != "reverse" and (k, v) != ("stride", 1)}
            sources = [shards.digest() for shards in make.sources]
            if any(make.hold_out):
                settings["hold_out"] = list(make.hold_out)
            latents.claim(settings | {"augmentation": drawn, "sources": sources} | stage.encoders())
    with workers.together():
        wanted = [
            (source, clip, variant)
            for source, shards in enumerate(make.sources)
            for clip in range(len(shards))
            for variant in range(latents.variants)
        ]
        missing = [w for w in wanted[workers.rank :: workers.world] if not latents.holds(*w)]
        # Runs that share the folder and begin together each go their own way, and leave out what another has encoded.
        random.Random().shuffle(missing)
        shown, fits = time.monotonic(), False
        for count, (source, clip, variant) in enumerate(missing):
            if latents.holds(source, clip, variant):
                continue
            seed = int(np.random.default_rng((config.seed, 5, source, clip, variant)).integers(2**62))
            sample = make(Draw(source, clip, config.frames[1], seed))
            found = stage.latents(on_device(sample, workers.device))
            latents.store(source, clip, variant, found | {k: sample[k] for k in MAPS if k in names})
            if not fits:  # the others are as large
                fits = True
                _find_room(place, latents.path(source, clip, variant).stat().st_size * len(missing) * workers.world)
            if time.monotonic() - shown > 20:
                shown = time.monotonic()
                say(f"encoded {count + 1}/{len(missing)}")
    return latents


def _find_room(place: Path, wanted: int) -> None:
    """See that a folder's disk has room for what will be stored there, bytes.

    Raises:
        InputError: says how much it is.
    """
    free = shutil.disk_usage(place).free
    if free < wanted:
        raise InputError(
            f"{place}: the stored latents take {wanted / 1e9:.3g} GB more, {free / 1e9:.3g} GB are free; "
            "make room, lower latent_variants, or set it to 0."
        )
