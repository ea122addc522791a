"""Flags of ``run`` that change nothing for the model and the video at hand, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from geometrycrafter.inference.options import processing_size

if TYPE_CHECKING:
    from geometrycrafter.inference.estimator import Estimator


def idle_of_model(given: dict[str, Any], estimator: Estimator) -> Iterator[str]:
    """A sentence for each flag that a model has no use for; the estimator itself tells of steps.

    Args:
        given: flags that were given, by their options' names.
        estimator: of the run.
    """
    networks = estimator.networks
    if given.get("decoder") == "light" and networks.point_map_vae.config.decoder == "light":
        yield "--decoder light: this model's own decoder is a light one, so nothing changes by it."
    if "seed" in given and networks.variant == "deterministic":
        yield "--seed: the deterministic variant draws no noise, so nothing changes by it."


def idle_of_video(given: dict[str, Any], height: int, width: int, pixels: int) -> Iterator[str]:
    """The same for flags that the shape of a video makes idle.

    Args:
        given: flags that were given, by their options' names.
        height: of the video's frames, pixels.
        width: likewise.
        pixels: of the processing size, about.
    """
    if "max_size" in given:
        usual = processing_size(height, width, pixels)
        if processing_size(height, width, pixels, given["max_size"]) == usual:
            yield (
                f"--max-size {given['max_size']}: the processing size is {usual[1]}x{usual[0]} anyway; --size HxW "
                "gives a larger one."
            )
