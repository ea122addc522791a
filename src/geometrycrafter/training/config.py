"""Training configurations: TOML files read into frozen dataclasses, printed and saved with each run."""

from __future__ import annotations

import tomllib
import typing
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from geometrycrafter.diffusion.objectives import LOG_SIGMA
from geometrycrafter.errors import InputError
from geometrycrafter.training.losses import VAEWeights
from geometrycrafter.training.tracking import TrackerName

T = TypeVar("T")
PUBLISHED = Path(__file__).parent / "configs"
"""Configurations that come with the package; a name without a path is looked for here."""


@dataclass(frozen=True)
class Source:
    """A folder of shards, and how often it is drawn relative to the others."""

    path: str
    weight: float = 1.0


@dataclass(frozen=True)
class Augmentation:
    """What happens to a sample before the networks see it."""

    zoom: float = 1.0
    """Largest random resize before the crop: varies the field of view, exactly."""
    mirror: bool = False
    reverse: bool = False
    """Play half of the clips backwards."""
    photographic: bool = False
    """Random gain, gamma, colour cast, saturation, blur and noise of the pictures."""
    level: float = 0.0
    """Most that frames of a clip are scaled against each other: standard deviation of log depth, drawn up to this for
    each clip. For the point-map VAE, which learns a frame's own shape long before its scale among the others."""


@dataclass(frozen=True)
class TrainConfig:
    """One stage of training."""

    stage: Literal["prior", "autoencoder", "vae", "unet"]
    hub: str
    """Folder laid out like the published repositories: networks that the stage needs are read from here, and the
    one that it trains is written here when it is done."""
    sources: tuple[Source, ...]
    size: tuple[int, int]
    """Height and width of samples."""
    steps: int
    batch: int
    """Clips a step, over all processes."""
    other_sizes: tuple[tuple[int, int], ...] = ()
    """Steps draw from these and ``size``, so that a network isn't bound to one; validation keeps to ``size``."""
    frames: tuple[int, int] = (1, 1)
    """Fewest and most frames of a sample."""
    variant: Literal["diffusion", "deterministic"] = "deterministic"
    """Of the UNet."""
    layers: Literal["all", "temporal", "decoder"] = "all"
    """Which parameters train: all of the network, its temporal layers alone (the decoder's, of the VAE), or the VAE's
    decoder alone, so that latents stay as they are and a UNet that learned them goes on to fit."""
    start: Literal["hub", "config", "widen", "deterministic", "pretrained", "light"] = "hub"
    """Where the network begins: the hub's weights; its config.json alone, at random; the UNet in ``widen_from``, whose
    input convolution has fewer channels; the hub's deterministic UNet, for the generative one; of the prior, at random
    but for an ImageNet trunk; of the VAE, the hub's with a new light decoder in its own one's place."""
    widen_from: str = ""
    validation: tuple[Source, ...] = ()
    validation_batches: int = 4
    validate_every: int = 1000
    augmentation: Augmentation = field(default_factory=Augmentation)
    losses: VAEWeights = field(default_factory=VAEWeights)
    measure_scale: bool = False
    """After the VAE has trained, make its latents' own scale the hub's ``scaling_factor``."""
    log_sigma: tuple[float, float] = LOG_SIGMA
    """Mean and standard deviation of the logarithm of the noise level that the generative UNet learns at."""
    own_start: float = 0.0
    """Share of samples at noise levels above 1 where noise is put on the generative UNet's own first guess, not on the
    truth: in sampling it never sees the truth, and must not take what it guessed for it."""
    decoder_loss: float = 0.0
    """Weight of a loss on what the UNet's latents decode to (log depth, theta, mask)."""
    decoder_frames: int = 0
    """Frames of each sample, consecutive ones at random, that this loss and the next decode; 0: all."""
    point_loss: float = 0.0
    """Weight of Rel^p itself, with the best scale, on the point maps that these frames' latents decode to."""
    temporal_loss: float = 0.0
    """Weight of a loss on how the error of the UNet's latents changes from frame to frame: flicker."""
    latent_variants: int = 0
    """Encode every clip this many times, differently augmented, before a UNet or the VAE's decoder trains, and train
    on those; 0: encode anew at each step."""
    latents: str = ""
    """Folder of these, which runs with the same hub, sources, size and augmentation may share (a note in it says what
    they are made from, and another run is refused); none: the run's own."""
    latent_noise: float = 0.0
    """Noise on half of the latents that the VAE's decoder learns from, of a standard deviation drawn up to this many
    times the sample's own: a UNet's latents are not clean either."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """Muon steps matrices and convolutions orthogonally (not in the paper), AdamW the rest."""
    rate: float = 1e-4
    trunk_rate: float = 1.0
    """Factor of the rate for the prior's pretrained trunk."""
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int = 0
    weight_decay: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 1.0
    """Largest norm of the gradient."""
    ema: float = 0.999
    """Decay of the averaged weights, which are the ones that are kept; 0: none."""
    accumulate: int = 1
    """Parts that a process's share of the batch is taken in, to save memory."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    recompute: bool = False
    """Recompute activations in the backward pass, to save memory."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    seed: int = 0
    workers: int = 1
    """Reading processes."""
    broken: Literal["stop", "skip"] = "stop"
    """What a clip that can't be read does."""
    tracker: TrackerName = "tensorboard"
    """Where curves and pictures go besides the run's folder; TensorBoard only where it is installed."""
    keep: int = 2
    """Checkpoints that are kept beside the best one."""
    checkpoint_every: int = 500
    """Steps."""
    checkpoint_seconds: float = 120.0
    """A checkpoint is also written when this much time has passed."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate", "keep", "checkpoint_every", "validate_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)}: it is at least 1.")
        if not self.sources:
            raise InputError("sources is empty: name at least one folder of shards.")
        if self.layers == "decoder" and self.stage != "vae":
            raise InputError(f"layers = 'decoder': the VAE has a decoder of its own, the {self.stage} stage has none.")
        if self.optimizer == "muon" and self.parallel == "fsdp":
            raise InputError("optimizer = 'muon': it needs whole matrices, which parallel = 'fsdp' cuts; use ddp.")
        if self.latent_variants and not (self.stage == "unet" or (self.stage == "vae" and self.layers != "all")):
            raise InputError("latent_variants: only a UNet, or the VAE's decoder alone, trains on stored latents.")
        if self.latent_noise and self.stage != "vae":
            raise InputError(f"latent_noise: it is for the VAE's decoder; the {self.stage} stage has none.")
        if self.start == "light" and self.stage != "vae":
            raise InputError(f"start = 'light': the VAE has a decoder, the {self.stage} stage has none.")
        if self.log_sigma[1] <= 0:
            raise InputError(f"log_sigma = {list(self.log_sigma)}: the second is a standard deviation, above 0.")
        if not 0 <= self.own_start <= 1 or (self.own_start and (self.stage, self.variant) != ("unet", "diffusion")):
            raise InputError(f"own_start = {self.own_start}: a share from 0 to 1, for the generative UNet alone.")
        if self.decoder_frames < 0:
            raise InputError(f"decoder_frames = {self.decoder_frames}: give the frames to decode, or 0 for all.")
        if not 1 <= self.frames[0] <= self.frames[1]:
            raise InputError(f"frames = {list(self.frames)}: give the fewest and the most, at least 1.")
        for height, width in (self.size, *self.other_sizes):
            if min(height, width) < 8 or height % 8 or width % 8:
                raise InputError(f"size = {[height, width]}: both sides are multiples of 8.")
        if self.other_sizes and self.latent_variants:
            raise InputError("other_sizes: stored latents have one size; leave latent_variants or other_sizes out.")
        if not 0 <= self.ema < 1 or self.rate <= 0 or self.augmentation.zoom < 1 or self.augmentation.level < 0:
            raise InputError("ema lies in [0, 1), rate is above 0, zoom at least 1 and level at least 0.")


def read_train_config(name: str | Path, overrides: dict[str, Any] | None = None) -> TrainConfig:
    """Read a configuration.

    Args:
        name: a TOML file, or the name of one that comes with the package.
        overrides: values that replace the file's.

    Raises:
        InputError: names the file and the key that is unknown or has a wrong value.
    """
    path = Path(name)
    if not path.is_file() and (PUBLISHED / f"{name}.toml").is_file():
        path = PUBLISHED / f"{name}.toml"
    try:
        stored = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        there = ", ".join(sorted(p.stem for p in PUBLISHED.glob("*.toml")))
        raise InputError(f"{name}: there is no such configuration; give a TOML file or one of {there}.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: this is no TOML that can be read ({error}).") from error
    return config_of(stored | (overrides or {}), str(path))


def config_of(stored: dict[str, Any], name: str) -> TrainConfig:
    """A configuration from plain values, what they leave out at its default.

    Raises:
        InputError: names the key that is unknown or has a wrong value.
    """
    return typing.cast(TrainConfig, _filled(TrainConfig, stored, name))


def _filled(kind: Any, stored: Any, name: str) -> Any:
    if not isinstance(stored, dict):
        raise InputError(f"{name}: {kind.__name__} wants a table of values, not {stored!r}.")
    types = typing.get_type_hints(kind)
    unknown = set(stored) - {f.name for f in fields(kind)}
    if unknown:
        raise InputError(f"{name}: {sorted(unknown)[0]} is no setting; there are {', '.join(types)}.")
    try:
        return kind(**{k: _value(types[k], v, f"{name}: {k}") for k, v in stored.items()})
    except TypeError as error:
        raise InputError(f"{name}: {str(error).split('__init__() ')[-1]}.") from error


def _value(kind: Any, value: Any, name: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind):
        return _filled(kind, value, name)
    if origin is Literal:
        if value not in arguments:
            raise InputError(f"{name} = {value!r}: it is one of {', '.join(map(str, arguments))}.")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple) or (arguments[-1] is not ... and len(value) != len(arguments)):
            raise InputError(f"{name} = {value!r}: a list of {len(arguments)} is wanted.")
        kinds = [arguments[0]] * len(value) if arguments[-1] is ... else arguments
        return tuple(_value(k, v, name) for k, v in zip(kinds, value, strict=True))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{name} = {value!r}: a value of type {kind.__name__} is wanted.")
    return value


def as_plain(config: TrainConfig) -> dict[str, Any]:
    """The configuration as numbers, strings, lists and tables."""
    return asdict(config)
