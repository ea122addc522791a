"""Training configurations: one class a stage over what every run has; read from TOML, printed and saved with each run.

A number's declaration says what may stand in it (:mod:`geometrycrafter.settings`), for files, ``--set`` and Python
alike. A setting that a stage doesn't have is none of its class.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from geometrycrafter.diffusion.objectives import LOG_SIGMA
from geometrycrafter.errors import InputError, reason
from geometrycrafter.settings import (
    Count,
    Index,
    NotNegative,
    Positive,
    Range,
    Seed,
    Settings,
    Share,
    kinds_of,
    read_settings,
)
from geometrycrafter.training.losses import VAEWeights
from geometrycrafter.training.tracking import TrackerName

PUBLISHED = Path(__file__).parent / "configs"
"""Configurations that come with the package; a name without a path is looked for here."""

Side = Annotated[int, Range(8, 65536, multiple=8)]
Decay = Annotated[float, Range(0, 1, below=True)]
Weight = NotNegative
"""Of a term of the loss; 0 leaves it out."""


@dataclass(frozen=True)
class Source(Settings):
    """A folder of shards, and how often it is drawn relative to the others."""

    path: str
    weight: Positive = 1.0
    rendered: Index = 0
    """Clips of the second rendered world that the folder is filled with before the run begins, one frame each, of the
    run's size; 0: what it holds was made before."""


@dataclass(frozen=True)
class Augmentation(Settings):
    """What happens to a sample before the networks see it."""

    zoom: Annotated[float, Range(1, 100)] = 1.0
    """Largest random resize before the crop: varies the field of view, exactly."""
    mirror: bool = False
    reverse: bool = False
    """Play half of the clips backwards."""
    stride: Annotated[int, Range(1, 64)] = 1
    """Most that a sample goes on by from frame to frame, drawn for each from 1 to this, or to what its clip is long
    enough for; 1: every frame."""
    photographic: bool = False
    """Random gain, gamma, colour cast, saturation, blur and noise of the pictures."""
    level: Annotated[float, Range(0, 10)] = 0.0
    """Most that frames of a clip are scaled against each other: standard deviation of log depth, drawn up to this for
    each clip. For the point-map VAE, which learns a frame's own shape long before its scale among the others."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig(Settings):
    """What every stage has: data, schedule, optimizer, checkpoints."""

    stage: Literal["prior", "autoencoder", "vae", "unet"]
    hub: str
    """Folder laid out like the published repositories: networks that the stage needs are read from here, and the
    one that it trains is written here when it is done."""
    sources: tuple[Source, ...]
    size: tuple[Side, Side]
    """Height and width of samples."""
    steps: Count
    batch: Count
    """Clips a step, over all processes."""
    base: str = ""
    """Where the hub gets those networks of which it has none yet: ``tiny``, another model's name, or its folder."""
    other_sizes: tuple[tuple[Side, Side], ...] = ()
    """Steps draw from these and ``size``, so that a network isn't bound to one; validation keeps to ``size``."""
    frames: tuple[Count, Count] = (1, 1)
    """Fewest and most frames of a sample."""
    start: str = "hub"
    """Where the network begins: ``hub``, with its weights there; ``config``, as its config.json there alone says, at
    random; and what else a stage knows."""
    validation: tuple[Source, ...] = ()
    validation_batches: Count = 4
    validate_every: Count = 1000
    hold_out: Annotated[float, Range(0, 0.9)] = 0.0
    """Share of each clip's frames, its last ones, that the run is judged by instead of ``validation`` and never learns
    from, nor from those just before them; clips that the run renders itself are learned from whole."""
    patience: Index = 0
    """Validations in a row without a better first score after which the run ends. Of all its averaged weights those
    with the best score are kept, and where none are better than at its beginning, those; 0: the last ones are."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    optimizer: Literal["adamw", "muon"] = "adamw"
    """Muon steps matrices and convolutions orthogonally (not in the paper), AdamW the rest."""
    rate: Annotated[float, Range(0, 10, above=True)] = 1e-4
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: Index = 0
    weight_decay: NotNegative = 1e-2
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    clip: Positive = 1.0
    """Largest norm of the gradient."""
    ema: Decay = 0.999
    """Decay of the averaged weights, which are the ones that are kept; 0: none."""
    accumulate: Count = 1
    """Parts that a process's share of the batch is taken in, to save memory."""
    precision: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    """``auto``: bfloat16 where the device has instructions for it, else float32."""
    recompute: bool = False
    """Recompute activations in the backward pass, to save memory."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    seed: Seed = 0
    workers: Annotated[int, Range(0, 1024)] = 1
    """Reading processes."""
    broken: Literal["stop", "skip"] = "stop"
    """What a clip that can't be read does."""
    missing: Literal["stop", "skip"] = "stop"
    """What a source does whose folder isn't there: stop the run, or be left out of it. A run goes on with the sources
    that it began with."""
    tracker: TrackerName = "tensorboard"
    """Where curves and pictures go besides the run's folder; TensorBoard only where it is installed."""
    keep: Count = 2
    """Checkpoints that are kept beside the best one."""
    checkpoint_every: Index = 500
    """Steps; 0: by time alone."""
    checkpoint_seconds: Positive = 120.0
    """A checkpoint is also written when this much time has passed since the last one, by the first process's clock."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sources:
            raise InputError("sources is empty: name at least one folder of shards.")
        if self.frames[0] > self.frames[1]:
            raise InputError(f"frames {list(self.frames)}: give the fewest, then the most.")
        if self.batch % self.accumulate:
            raise InputError(f"accumulate {self.accumulate}: a batch of {self.batch} can't be cut so.")
        if self.hold_out and self.validation:
            raise InputError("hold_out: validation says what the run is judged by; leave one of the two out.")
        if self.patience and not (self.hold_out or self.validation):
            raise InputError("patience: there is nothing to judge by; give validation, or hold_out.")
        if self.optimizer == "muon" and self.parallel == "fsdp":
            raise InputError("optimizer 'muon': it needs whole matrices, which parallel 'fsdp' cuts; use ddp.")
        if self.parallel == "fsdp" and self.stage in ("vae", "autoencoder"):
            raise InputError(
                f"parallel 'fsdp': stage {self.stage} calls its network by encode and decode, and shards are gathered "
                "for forward alone; use ddp."
            )


@dataclass(frozen=True, kw_only=True)
class PriorStageConfig(LoopConfig):
    """The embedded per-frame prior."""

    stage: Literal["prior"] = "prior"
    start: Literal["hub", "config", "pretrained"] = "hub"
    """``pretrained``: at random but for an ImageNet trunk."""
    trunk_rate: Annotated[float, Range(0, 1000)] = 1.0
    """Factor of the rate for the pretrained trunk; 0: it stays as it is."""
    camera: Literal["learn", "keep"] = "learn"
    """``keep``: what tells the field of view stays as it is, and the depth's context with it."""
    normal_loss: Weight = 0.0
    """Weight of one minus the cosine between surface normals."""
    edge_loss: Weight = 0.0
    """Weight of a loss on steps of log depth between neighbours, most where it jumps."""
    drift_loss: Weight = 0.0
    """Weight of how far scales of a sample's frames are from each other; asks for two ``frames`` and more."""


@dataclass(frozen=True, kw_only=True)
class AutoencoderStageConfig(LoopConfig):
    """The embedded stand-in for SVD's autoencoder."""

    stage: Literal["autoencoder"] = "autoencoder"
    start: Literal["hub", "config"] = "hub"
    layers: Literal["all", "temporal"] = "all"
    """Which parameters train: all, or those of the layers that look along time."""


@dataclass(frozen=True, kw_only=True)
class LatentStageConfig(LoopConfig):
    """What stages have that can train on latents which were encoded before."""

    latent_variants: Annotated[int, Range(0, 100)] = 0
    """Encode every clip this many times, differently augmented, before a UNet or the VAE's decoder trains, and train
    on those; 0: encode anew at each step."""
    latents: str = ""
    """Folder of these, which runs with the same hub, sources, size and augmentation may share (a note in it says what
    they are made from, and another run is refused); none: the run's own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.other_sizes and self.latent_variants:
            raise InputError("other_sizes: stored latents have one size; leave latent_variants or other_sizes out.")


@dataclass(frozen=True, kw_only=True)
class VAEStageConfig(LatentStageConfig):
    """The point-map VAE."""

    stage: Literal["vae"] = "vae"
    start: Literal["hub", "config", "light"] = "hub"
    """``light``: the hub's with a new light decoder in its own one's place."""
    beside: bool = False
    """With ``start = "light"``: the hub keeps its own decoder, and the light one goes beside it, where ``--decoder
    light`` finds it."""
    layers: Literal["all", "temporal", "decoder"] = "all"
    """Which parameters train: all, the decoder's temporal layers alone, or the decoder alone, so that latents stay as
    they are and a UNet that learned them goes on to fit."""
    losses: VAEWeights = field(default_factory=VAEWeights)
    decoder_start: Literal["svd", "random"] = "svd"
    """Where a decoder of SVD's sizes begins with ``start = "config"``: as SVD's, or at random. The paper says "from
    scratch" of the whole VAE."""
    mask_everywhere: bool = False
    """The mask's loss is over every pixel (eq. 6), the holes of a depth sensor counting as no surface; else over those
    alone of which it is known."""
    measure_scale: bool = False
    """After the VAE has trained, make its latents' own scale the hub's ``scaling_factor``."""
    latent_noise: Annotated[float, Range(0, 100)] = 0.0
    """Noise on half of the latents that the decoder learns from, of a standard deviation drawn up to this many times
    the sample's own: a UNet's latents are not clean either."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.latent_variants and self.layers == "all":
            raise InputError("latent_variants: of the VAE, only the decoder alone trains on stored latents.")
        if self.start != "light" and (self.beside or self.losses.distillation):
            named = "beside" if self.beside else "losses.distillation"
            raise InputError(f"{named}: it is for a light decoder alone, start 'light'.")
        if self.beside and (self.layers == "all" or self.measure_scale):
            named = "layers 'all'" if self.layers == "all" else "measure_scale"
            raise InputError(f"{named}: it changes the latents, which the decoder beside goes on with; give 'decoder'.")


@dataclass(frozen=True, kw_only=True)
class UNetStageConfig(LatentStageConfig):
    """The video UNet."""

    stage: Literal["unet"] = "unet"
    variant: Literal["diffusion", "deterministic"] = "deterministic"
    start: Literal["hub", "config", "widen", "deterministic"] = "hub"
    """``widen``: as the UNet in ``widen_from``, whose input convolution has fewer channels; ``deterministic``: as the
    hub's deterministic UNet, for the generative one."""
    widen_from: str = ""
    layers: Literal["all", "temporal"] = "all"
    """Which parameters train: all, or those of the layers that look along time."""
    log_sigma: tuple[Annotated[float, Range(-20, 20)], Annotated[float, Range(0, 20, above=True)]] = LOG_SIGMA
    """Mean and standard deviation of the logarithm of the noise level that the generative variant learns at."""
    own_start: Share = 0.0
    """Share of samples at noise levels above 1 where noise is put on the generative variant's own first guess, not on
    the truth: in sampling it never sees the truth, and must not take what it guessed for it."""
    decoder_loss: Weight = 0.0
    """Weight of a loss on what the latents decode to (log depth, theta, mask)."""
    decoder_frames: Index = 0
    """Frames of each sample, consecutive ones at random, that this loss and the next decode; 0: all."""
    point_loss: Weight = 0.0
    """Weight of Rel^p itself, with the best scale, on the point maps that these frames' latents decode to."""
    temporal_loss: Weight = 0.0
    """Weight of a loss on how the error of the latents changes from frame to frame: flicker."""
    drift_loss: Weight = 0.0
    """Weight of a loss on how far frames' depths are from the clip's own scale, on what their latents decode to. It
    decodes frames that are spread over the sample, not the consecutive ones of the losses above."""
    drift_frames: Annotated[int, Range(2, 1000)] = 4
    """How many these are, at most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant != "diffusion" and (self.own_start or self.start == "deterministic"):
            named = "own_start" if self.own_start else "start 'deterministic'"
            raise InputError(f"{named}: it is for the generative UNet alone, variant 'diffusion'.")
        if self.start == "widen" and not self.widen_from:
            raise InputError("start 'widen': name the UNet to begin as, with widen_from.")


CONFIGS: dict[str, type[LoopConfig]] = {
    "prior": PriorStageConfig,
    "autoencoder": AutoencoderStageConfig,
    "vae": VAEStageConfig,
    "unet": UNetStageConfig,
}


def read_train_config(
    name: str | Path, overrides: Mapping[str, Any] | None = None, stage: str | None = None
) -> LoopConfig:
    """Read a configuration.

    Args:
        name: a TOML file, or the name of one that comes with the package.
        overrides: values that replace the file's; tables are merged.
        stage: that it must be of, or is where it doesn't say.

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
        raise InputError(f"{path}: this is no TOML that can be read ({reason(error)}).") from error
    stored = merged(stored, overrides or {})
    if stage is not None and stored.setdefault("stage", stage) != stage:
        raise InputError(f"{name}: this configuration trains {stored['stage']}, not {stage}.")
    return config_of(stored, str(path))


def config_of(stored: Mapping[str, Any], name: str) -> LoopConfig:
    """A configuration of the stage that plain values name; what they leave out is at its default.

    Raises:
        InputError: names the key that is unknown or has a wrong value.
    """
    stage = stored.get("stage")
    if isinstance(stage, str) and stage in CONFIGS:
        return read_settings(CONFIGS[stage], stored, name)
    # Of no stage: what every one has is looked at all the same, the stage among it.
    return read_settings(LoopConfig, _without_others(stored, LoopConfig), name)


def stored_config_of(stored: Mapping[str, Any], name: str) -> LoopConfig:
    """A configuration that a run was saved with, by this program or an earlier one.

    Runs used to be saved with the settings of all stages; those that only others have meant nothing to this one.

    Raises:
        InputError: as :func:`config_of` does.
    """
    return config_of(_without_others(stored, CONFIGS.get(str(stored.get("stage")), LoopConfig)), name)


def _without_others(stored: Mapping[str, Any], own: type[LoopConfig]) -> dict[str, Any]:
    """Values without the settings that only other stages have."""
    others = {key for config in CONFIGS.values() for key in kinds_of(config)} - set(kinds_of(own))
    return {k: v for k, v in stored.items() if k not in others}


def merged(stored: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Tables with others' values in place of their own, tables within them likewise."""
    both = {k for k in changes if isinstance(stored.get(k), Mapping) and isinstance(changes[k], Mapping)}
    return {**stored, **changes, **{k: merged(stored[k], changes[k]) for k in both}}


def as_plain(config: LoopConfig) -> dict[str, Any]:
    """The configuration as numbers, strings, lists and tables, as JSON has them."""
    return {k: _plain(v) for k, v in asdict(config).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value
