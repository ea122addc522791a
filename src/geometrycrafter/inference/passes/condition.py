"""Second pass: normalise the prior over each shot and encode it (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from geometrycrafter.inference.conditioning import ClipNormalisation, PriorMaps, encoder_inputs
from geometrycrafter.inference.crew import Crew, Equipment, Job
from geometrycrafter.inference.run_folder import RunFolder

if TYPE_CHECKING:
    from geometrycrafter.inference.passes import Progress


@torch.no_grad()
def condition(run: RunFolder, crew: Crew, progress: Progress) -> None:
    """Latents of the prior, normalised over each shot, batch by batch.

    Raises:
        InputError: where the frames are not all observed, or a file of theirs is damaged.
        WriteError: where the disk refuses; what was encoded stays.
    """
    shots, done = run.read_shots(), 0

    def jobs() -> Iterator[Job]:
        nonlocal done
        for shot in shots:
            norm = ClipNormalisation.of(s for first in shot.batches for s in run.known(first).statistics)
            for first in shot.batches:
                frames = min(run.batch, shot.end - first)
                if first not in run.conditioned:
                    yield Job(_condition_batch, (run, first, frames, norm))
                else:
                    done += frames
                    progress("condition", done, shots[-1].end)

    for frames in crew.each(jobs()):
        done += frames
        progress("condition", done, shots[-1].end)


def _condition_batch(
    equipment: Equipment, run: RunFolder, first: int, frames: int, norm: ClipNormalisation
) -> Iterator[int]:
    """Encode a batch; yields how many frames it had."""
    equipment.at(run, "condition")
    record, networks = run.record, equipment.networks
    picture, size = record.view(first)
    depth, valid, half_field = (x.to(networks.device) for x in run.observed.load(first, "depth", "valid", "half_field"))
    if record.options.intrinsics is not None:
        fx, fy = record.options.intrinsics[:2]
        height, width = picture.size
        sides = half_field.new_tensor([(width - 1) / 2 / fx, (height - 1) / 2 / fy])
        half_field = sides.expand_as(half_field)
    maps = PriorMaps(depth, valid.float() / 255, half_field)
    inputs = torch.cat(encoder_inputs(maps, norm, *size), dim=1)

    def encoded(part: Tensor) -> Tensor:
        return networks.point_map_vae.encode(networks.autoencoder, *part.chunk(4, dim=1))

    latents = equipment.room("encoders").by_frame(encoded, inputs)
    run.conditioned.save(first, prior=latents * networks.autoencoder.config.scaling_factor)
    yield frames
