"""The main job: frames in, a scene out.

0. *look*: where the frames' black bars are, of which the networks see nothing; and where shots begin.
1. *observe*: decode the video once; prior, frame latents and image embeddings of every frame.
2. *condition*: normalise the prior over each shot and encode it.
3. *denoise*: windows of latents.
4. *decode*: point maps, chunk by chunk, into the scene.
5. *steady*: depth of all frames of a shot is put on one footing by the motion of its picture.

Each shot goes through the passes as if it were a clip of its own: batches, windows and chunks end where it does, and
nothing that is measured in one, nor the noise, depends on another.

No pass holds more than a window of latents or a chunk of frames, so memory does not grow with the video. Every pass
goes on where a killed run stopped, and to the same bits: its units depend on nothing but files of the pass before.
"""

from __future__ import annotations

import contextlib
import os
import warnings
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from geometrycrafter.errors import InputError
from geometrycrafter.files import remove
from geometrycrafter.inference.crew import Alone, Crew, Equipment
from geometrycrafter.inference.look import looked
from geometrycrafter.inference.options import TWO_CAMERAS, Options
from geometrycrafter.inference.output import Output
from geometrycrafter.inference.passes import Progress, condition, decode, denoise, observe
from geometrycrafter.inference.precision import settled_precision
from geometrycrafter.inference.record import RunRecord
from geometrycrafter.inference.run_folder import RunFolder
from geometrycrafter.inference.workers import Workers
from geometrycrafter.priors.protocol import FrameFunction, Prior, as_prior
from geometrycrafter.scene import Scene, open_scene
from geometrycrafter.scene.writer import check_apart
from geometrycrafter.settings import kinds_of
from geometrycrafter.video.options import Reading
from geometrycrafter.video.reading import FrameSource, open_frames
from geometrycrafter.weights.eight_bits import check_available
from geometrycrafter.weights.models import Networks


class Estimator:
    """Point maps of videos.

    Args:
        networks: of one variant.
        prior: per-frame prior, any callable of the protocol.
        pixels: of the processing size where the caller gives none.
        defaults: settings that calls start from.
        workers: processes that share the work, each with the same networks and prior; None: this one does it.

    Raises:
        InputError: where the prior is none.
    """

    def __init__(
        self,
        networks: Networks,
        prior: Prior | FrameFunction,
        pixels: int,
        defaults: Options | None = None,
        workers: Workers | None = None,
    ):
        if not isinstance(prior, Prior) and not callable(prior):
            raise InputError(f"a {type(prior).__name__} is no prior; give a callable: frames -> points and a mask.")
        self.networks = networks
        self.prior = as_prior(prior)
        self.pixels = pixels
        self.defaults = defaults or Options()
        self.device = networks.device if workers is None else torch.device(workers.devices[0])
        self.dtype = networks.dtype
        self.workers = workers

    def __call__(
        self,
        video: Any,
        *,
        noise: Tensor | None = None,
        output: str | os.PathLike[str] | None = None,
        resume: bool = False,
        overwrite: bool = False,
        progress: Progress | None = None,
        **options: Any,
    ) -> Scene:
        """Estimate the point maps of a video.

        Args:
            video: a path (file, folder or glob of images), an array ``[T, H, W, 3]`` uint8 or float in [0, 1], an
                iterator of frames, or an opened :class:`FrameSource`.
            noise: ``[1, window, 4, H/8, W/8]`` unit normal at the processing size; None: drawn from ``seed``.
            output: the scene's folder; None: a temporary one that goes with the scene object.
            resume: go on with a run that was cut short; a finished one of the same input is returned.
            overwrite: replace the scene in ``output``, once the new one is finished.
            progress: called with stage, frames done and frames in all; an exception from it stops the run, which can
                be gone on with.
            **options: fields of :class:`Options`: ``size``, ``max_size``, ``window``, ``overlap``, ``steps``,
                ``guidance``, ``decode_chunk``, ``focal``, ``depth_resize``, ``exact``, ``seed``, ``intrinsics``,
                ``decoder``, ``cuts``, ``precision``, ``steady``.

        Returns:
            the scene, on disk.

        Raises:
            InputError: where the input, an option or the output folder is at fault. Work that was done stays.
        """
        source = open_frames(video)
        settings, told = _with_camera(self._settings(options), source), progress or _silent
        place = None if output is None else Output(output)
        if place is not None:
            check_apart(place.named, place.folder, source.place)
            place.check(resume, overwrite)  # before a long look at the video
        if self.workers is not None:
            self.workers.start()
        known = place.record() if place and resume else None
        look = looked(source, settings, known, told)
        record = RunRecord.of(source, look, self.networks, self.prior, settings, noise, self.pixels, self.device)
        _check_noise(noise, record, source)
        place = place or Output.temporary()
        if resume and place.holds(record):
            if record.content is None:
                place.check_frames(source)
            place.tidy()  # it may have been killed between its last write and this
            return open_scene(place.folder)
        with place.writing(record, resume, overwrite) as run:
            self._passes(run, source, noise, told)
        scene = open_scene(place.folder)
        if output is None:
            weakref.finalize(scene, remove, place.folder)
        return scene

    def _settings(self, options: dict[str, Any]) -> Options:
        """Options of a call."""
        unknown = sorted(options.keys() - kinds_of(Options))
        if unknown and unknown[0] in kinds_of(Reading):
            raise InputError(
                f"{unknown[0]} is about how a video is read; in place of the video give "
                f"geometrycrafter.video.reading.open_frames(VIDEO, Reading({unknown[0]}=...))."
            )
        if unknown:
            raise InputError(f"{unknown[0]} is no option of a run; there are {', '.join(kinds_of(Options))}.")
        settings = replace(self.defaults, **options)
        idle = [name for name in ("steps", "guidance") if options.get(name) not in (None, getattr(self.defaults, name))]
        if idle and self.networks.variant == "deterministic":
            warnings.warn(
                f"{' and '.join(idle)}: the deterministic variant takes one step, so nothing changes by it.",
                stacklevel=3,
            )
        settings = replace(settings, precision=settled_precision(settings.precision, self.device))
        self.networks.decoder(settings.decoder)  # a light one may be missing, or another's
        if settings.precision == "int8":
            check_available()
        return settings

    def _passes(self, run: RunFolder, source: FrameSource, noise: Tensor | None, progress: Progress) -> None:
        with self._crew() as crew:
            observe(run, source, crew, progress)
            condition(run, crew, progress)
            denoise(run, crew, self.networks.variant == "deterministic", noise, progress)
            decode(run, source, crew, progress)

    @contextlib.contextmanager
    def _crew(self) -> Iterator[Crew]:
        """Who does the work of a run."""
        if self.workers is None:
            equipment = Equipment(self.networks, self.prior)
            try:
                yield Alone(equipment)
            finally:
                equipment.leave()
            return
        try:
            yield self.workers
        except BaseException:
            self.workers.close()  # they are in the middle of it
            raise


def _with_camera(options: Options, source: FrameSource) -> Options:
    """Options of frames that were undistorted: the pinhole that they are of is known."""
    if source.undistortion is None:
        return options
    if options.intrinsics is not None:
        raise InputError(TWO_CAMERAS)
    return replace(options, intrinsics=source.undistortion.intrinsics)


def _check_noise(noise: Tensor | None, record: RunRecord, source: FrameSource) -> None:
    """Noise covers the longest window that the video can have, at the processing size."""
    if noise is None:
        return
    options = record.options
    assert options.size is not None
    if len({view.size for view in record.views}) > 1:
        raise InputError("noise is for one processing size, and shots have several by their bars; give --size.")
    frames = min(options.window, source.count) if source.count else options.window
    wanted = (1, frames, 4, options.size[0] // 8, options.size[1] // 8)
    shape = tuple(noise.shape)
    if len(shape) != 5 or shape[1] < frames or (1, *shape[2:]) != (shape[0], *wanted[2:]):
        raise InputError(
            f"noise has shape {list(shape)}; windows of {frames} frames at a processing size of "
            f"{options.size[0]}x{options.size[1]} want {list(wanted)}."
        )
    if not noise.is_floating_point() or not bool(torch.isfinite(noise).all()):
        raise InputError("noise holds values that are no finite numbers; give unit normal floats.")


def _silent(stage: str, done: int, total: int | None) -> None:
    pass
