"""Second pass: normalise the prior over each shot and encode it (paper, section 3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from geometrycrafter.inference.conditioning import ClipNormalisation, PriorMaps, encoder_inputs
from geometrycrafter.inference.run_folder import RunFolder
from geometrycrafter.networks.room import Room
from geometrycrafter.weights.models import Networks

if TYPE_CHECKING:
    from geometrycrafter.inference.passes import Progress


@torch.no_grad()
def condition(run: RunFolder, networks: Networks, progress: Progress) -> None:
    """Latents of the prior, normalised over each shot, batch by batch.

    Raises:
        InputError: where the frames are not all observed, or a file of theirs is damaged.
        WriteError: where the disk refuses; what was encoded stays.
    """
    shots, room = run.read_shots(), Room("encoders")
    for shot in shots:
        norm = ClipNormalisation.of(s for first in shot.batches for s in run.known(first).statistics)
        for first in shot.batches:
            if first not in run.conditioned:
                _condition_batch(run, first, norm, networks, room)
            progress("condition", min(first + run.batch, shot.end), shots[-1].end)


def _condition_batch(run: RunFolder, first: int, norm: ClipNormalisation, networks: Networks, room: Room) -> None:
    record = run.record
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

    latents = room.by_frame(encoded, inputs)
    run.conditioned.save(first, prior=latents * networks.autoencoder.config.scaling_factor)
