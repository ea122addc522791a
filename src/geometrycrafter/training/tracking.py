"""Where a run's curves and pictures go besides its own folder: TensorBoard, Weights & Biases."""

from __future__ import annotations

import importlib.util
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from geometrycrafter.errors import InputError, how_to_install, reason

TrackerName = Literal["tensorboard", "wandb", "none"]


class Tracker(Protocol):
    """Takes numbers and pictures of a run."""

    def scalars(self, values: Mapping[str, float], step: int) -> None: ...

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        """A sheet ``[H, W, 3]`` uint8."""

    def close(self) -> None: ...


class Nothing:
    """Keeps nothing."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        pass

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        """A sheet ``[H, W, 3]`` uint8."""

    def close(self) -> None:
        pass


class TensorBoard:
    """Event files in the run's folder."""

    def __init__(self, folder: Path):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard"))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        for key, value in values.items():
            self.writer.add_scalar(key, value, step)

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        """A sheet ``[H, W, 3]`` uint8."""
        self.writer.add_image(name, pixels, step, dataformats="HWC")

    def close(self) -> None:
        self.writer.close()


class WeightsAndBiases:
    """A run named as its folder; with ``WANDB_MODE=offline`` it stays there. Started again, it goes on as the same."""

    def __init__(self, folder: Path, config: Mapping[str, Any]):
        import wandb

        self.wandb = wandb
        marker = folder / "wandb-id"
        if not marker.exists():
            marker.write_text(secrets.token_hex(4))
        self.run = wandb.init(
            project="geometrycrafter",
            name=folder.resolve().name,
            id=marker.read_text(),
            resume="allow",
            dir=str(folder),
            config=dict(config),
        )
        # A run that was killed repeats some steps; its own counter would refuse them.
        self.run.define_metric("*", step_metric="step")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self.run.log({**values, "step": step})

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        """A sheet ``[H, W, 3]`` uint8."""
        self.run.log({name: self.wandb.Image(pixels), "step": step})

    def close(self) -> None:
        self.run.finish()


def open_tracker(name: TrackerName, folder: Path, config: Mapping[str, Any]) -> Tracker:
    """The tracker of that name; TensorBoard, the default, is left out where it isn't installed.

    Raises:
        InputError: where Weights & Biases is asked for and isn't installed, or one of them can't be opened.
    """
    if name == "none" or (name == "tensorboard" and importlib.util.find_spec("tensorboard") is None):
        return Nothing()
    try:
        return TensorBoard(folder) if name == "tensorboard" else WeightsAndBiases(folder, config)
    except Exception as error:  # a service, its library and its files raise anything
        if name == "wandb" and isinstance(error, ImportError):
            raise InputError(f"tracker = 'wandb': it isn't installed; {how_to_install('wandb')}.") from error
        raise InputError(
            f"{folder}: tracker {name!r} can't be opened ({reason(error)}); mend that, or set tracker to 'none'."
        ) from error
