"""Who does a pass's work: this process alone, or several (:mod:`geometrycrafter.inference.workers`).

A pass says what there is to do as jobs, each a function of what one works with and of files of the passes before. What
a job leaves is a file, or frames of the scene, so that it makes no difference who does it, or in which order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from geometrycrafter.inference.precision import at_precision
from geometrycrafter.inference.run_folder import RunFolder
from geometrycrafter.networks.room import Room
from geometrycrafter.priors.protocol import ClipPrior, Prior
from geometrycrafter.weights.models import Networks
from geometrycrafter.weights.offloading import present


class Equipment:
    """What one works with: networks and a prior on their device, set up for one stage of one run.

    Args:
        networks: of one variant.
        prior: per-frame.
    """

    def __init__(self, networks: Networks, prior: Prior):
        self.networks, self.prior = networks, prior
        self._stage: tuple[str, str] | None = None
        self._rooms: dict[str, Room] = {}
        self._playing: tuple[int, ClipPrior] | None = None
        self._around = contextlib.ExitStack()

    def at(self, run: RunFolder, stage: str) -> None:
        """Set up for a stage of a run: its parts on the device, and its precision; nothing happens where they are."""
        if self._stage == (str(run.folder), stage):
            return
        self.leave()
        if stage == "denoise":
            self.networks.fill_unet(in_8_bits=run.record.options.precision == "int8")
        networks, own = self.networks, getattr(self.prior, "network", None)
        self._around.enter_context(at_precision(run.record.options.precision, [own], networks.device))
        self._around.enter_context(present(self._parts(stage, run.record.options.decoder), networks.offloaded))
        self._stage = str(run.folder), stage

    def leave(self) -> None:
        """Undo what was set up."""
        self._stage, self._rooms, self._playing = None, {}, None
        self._around.close()

    def room(self, what: str) -> Room:
        """How many frames a network takes at a time, for as long as the stage lasts.

        Args:
            what: the network is called in notes.
        """
        return self._rooms.setdefault(what, Room(what))

    def clip_prior(self, first: int, frames: int, begins: bool) -> ClipPrior:
        """The prior on a clip from a frame on; the same one where that goes on with what was asked last.

        Args:
            first: frame of the clip that is asked about now.
            frames: from it on.
            begins: a shot begins with it.
        """
        goes_on = self._playing is not None and self._playing[0] == first and not begins
        asked = self._playing[1] if goes_on and self._playing is not None else self.prior.begin(first)
        self._playing = first + frames, asked
        return asked

    def _parts(self, stage: str, decoder: str) -> list[Any]:
        networks = self.networks
        vae, encoder = networks.point_map_vae, (networks.autoencoder.encoder, networks.autoencoder.quant_conv)
        parts: dict[str, list[Any]] = {
            "observe": [*encoder, networks.image_encoder, getattr(self.prior, "network", None)],
            "condition": [*encoder, vae.encoder],
            "denoise": [networks.unet],
            "decode": [networks.decoder(decoder)],
        }
        return parts[stage]


@dataclass(frozen=True)
class Job:
    """Something to do.

    Args:
        function: of a module's top level: equipment and arguments -> what it tells of, piece by piece.
        arguments: what travels between processes.
    """

    function: Callable[..., Iterator[Any]]
    arguments: tuple[Any, ...]


class Crew(Protocol):
    """Who does jobs."""

    @property
    def hands(self) -> int:
        """Jobs that are done at the same time."""

    def each(self, jobs: Iterable[Job], ahead: int = 1) -> Iterator[Any]:
        """Do jobs; yields what they tell of, as it comes.

        Args:
            jobs: taken one by one, a few before they are done.
            ahead: that wait for each of several hands, beside the one that is being done.

        Raises:
            InputError: what a job raises, and where a process that did one is gone.
        """


class Alone:
    """This process, one job after the other.

    Args:
        equipment: that it works with.
    """

    hands = 1

    def __init__(self, equipment: Equipment):
        self.equipment = equipment

    def each(self, jobs: Iterable[Job], ahead: int = 1) -> Iterator[Any]:
        """See :meth:`Crew.each`."""
        for job in jobs:
            yield from job.function(self.equipment, *job.arguments)
