"""Second pass: normalise the prior over the clip and encode it (paper, section 3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from geometrycrafter.inference.conditioning import ClipNormalisation, PriorMaps, encoder_inputs
from geometrycrafter.inference.run_folder import RunFolder
from geometrycrafter.weights.models import Networks

if TYPE_CHECKING:
    from geometrycrafter.inference.passes import Progress


@torch.no_grad()
def condition(run: RunFolder, networks: Networks, progress: Progress) -> None:
    """Latents of the normalised prior, batch by batch.

    Raises:
        InputError: where the frames are not all observed, or a file of theirs is damaged.
        WriteError: where the disk refuses; what was encoded stays.
    """
    known = [run.known(index) for index in run.batches()]
    norm = ClipNormalisation.of(s for batch in known for s in batch.statistics)
    frames, done = sum(len(batch.times) for batch in known), 0
    for index, batch in enumerate(known):
        if index not in run.conditioned:
            _condition_batch(run, index, norm, networks)
        done += len(batch.times)
        progress("condition", done, frames)


def _condition_batch(run: RunFolder, index: int, norm: ClipNormalisation, networks: Networks) -> None:
    record = run.record
    depth, valid, half_field = (x.to(networks.device) for x in run.observed.load(index, "depth", "valid", "half_field"))
    if record.options.intrinsics is not None:
        fx, fy = record.options.intrinsics[:2]
        height, width = record.picture.size
        sides = half_field.new_tensor([(width - 1) / 2 / fx, (height - 1) / 2 / fy])
        half_field = sides.expand_as(half_field)
    maps = PriorMaps(depth, valid.float() / 255, half_field)
    disparity, valid, log_depth, theta = encoder_inputs(maps, norm, *record.size)
    latents = networks.point_map_vae.encode(networks.autoencoder, disparity, valid, log_depth, theta)
    run.conditioned.save(index, prior=latents * networks.autoencoder.config.scaling_factor)
