"""Networks from folders laid out like the published repositories, from the cache, or embedded in the package."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from geometrycrafter.errors import InputError
from geometrycrafter.files import fingerprint
from geometrycrafter.networks.autoencoder import AutoencoderConfig, VideoAutoencoder
from geometrycrafter.networks.image_encoder import ImageEncoder, ImageEncoderConfig
from geometrycrafter.networks.moge import MoGe, MoGe2, MoGe2Config, MoGeConfig
from geometrycrafter.networks.point_map_vae import PointMapVAE, PointMapVAEConfig
from geometrycrafter.networks.prior_network import PriorNetwork, PriorNetworkConfig
from geometrycrafter.networks.unet import UNetConfig, VideoUNet
from geometrycrafter.priors import MoGePrior, Prior, TinyPrior
from geometrycrafter.weights.checkpoints import compare, config_from, fill, read_checkpoint, read_config, read_tensors

EMBEDDED = Path(__file__).parent / "tiny"
GEOMETRY, SVD = "GeometryCrafter", "stable-video-diffusion-img2vid-xt"
UNETS = {"diffusion": "unet_diff", "deterministic": "unet_determ"}


@dataclass(frozen=True)
class PublishedRepository:
    """A repository of published weights."""

    repository: str
    folder: str
    """Its name inside the cache folder."""
    files: tuple[str, ...]
    size: str
    licence: str
    purpose: str


PUBLISHED = (
    PublishedRepository(
        "TencentARC/GeometryCrafter",
        GEOMETRY,
        ("unet_diff/*", "unet_determ/*", "point_map_vae/*"),
        "6.5 GB",
        "GeometryCrafter's own, academic use",
        "video UNets and point-map VAE",
    ),
    PublishedRepository(
        "stabilityai/stable-video-diffusion-img2vid-xt",
        SVD,
        ("vae/*fp16*", "vae/config.json", "image_encoder/*fp16*", "image_encoder/config.json"),
        "1.5 GB",
        "Stability AI Community",
        "frame autoencoder and image encoder",
    ),
    PublishedRepository("Ruicheng/moge-vitl", "moge-vitl", ("model.pt",), "1.3 GB", "MIT", "per-frame prior MoGe v1"),
)


@dataclass
class Networks:
    """The networks of one variant, on their device."""

    variant: str
    unet: VideoUNet
    point_map_vae: PointMapVAE
    autoencoder: VideoAutoencoder
    image_encoder: ImageEncoder
    name: str
    identity: str
    """A digest of the files that the weights came from."""

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the UNet, the frame autoencoder and the image encoder."""
        return next(self.unet.parameters()).dtype


def cache_folder() -> Path:
    """Where downloaded or mirrored weights are looked for: ``$GEOMETRYCRAFTER_HOME`` or the user's cache."""
    root = os.environ.get("GEOMETRYCRAFTER_HOME")
    if root:
        return Path(root)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "geometrycrafter"


def is_cached(variant: str, folder: Path | None = None) -> bool:
    """Whether a folder (the cache) holds what a variant needs, its prior included."""
    folder = folder or cache_folder()
    parts = [folder / GEOMETRY / UNETS[variant], folder / GEOMETRY / "point_map_vae", folder / SVD / "vae"]
    return all(p.is_dir() for p in [*parts, folder / SVD / "image_encoder"]) and prior_file(folder) is not None


def prior_file(folder: Path) -> Path | None:
    """The prior that comes with a folder of weights: MoGe, version 1 before 2, or the embedded kind."""
    names = ("moge-vitl", "moge-2-vitl-normal", "moge-2-vitl", "prior")
    files = [folder / n / f for n in names for f in ("model.pt", "model.safetensors")]
    return next((f for f in files if f.is_file()), None)


def _weights_file(folder: Path, stem: str) -> Path:
    """The folder's weights, single precision before half."""
    candidates = [folder / f"{stem}{v}.{s}" for s in ("safetensors", "bin") for v in ("", ".fp16")]
    found = next((c for c in candidates if c.is_file()), None)
    if found is None:
        raise InputError(f"{folder}: neither {candidates[0].name} nor {candidates[1].name} is there; copy one of them.")
    return found


PARTS: dict[str, tuple[str, type[Any], Callable[[Any], nn.Module], str]] = {
    "autoencoder": (f"{SVD}/vae", AutoencoderConfig, VideoAutoencoder, "diffusion_pytorch_model"),
    "image_encoder": (f"{SVD}/image_encoder", ImageEncoderConfig, ImageEncoder, "model"),
    "point_map_vae": (f"{GEOMETRY}/point_map_vae", PointMapVAEConfig, PointMapVAE, "diffusion_pytorch_model"),
    "unet_diff": (f"{GEOMETRY}/unet_diff", UNetConfig, VideoUNet, "diffusion_pytorch_model"),
    "unet_determ": (f"{GEOMETRY}/unet_determ", UNetConfig, VideoUNet, "diffusion_pytorch_model"),
    "prior": ("prior", PriorNetworkConfig, PriorNetwork, "model"),
}
"""Of each network of a hub: its folder, its configuration's and its own class, and how its weights file is called."""
_PLACES = PARTS | {"unet_depthcrafter": ("DepthCrafter", UNetConfig, VideoUNet, "diffusion_pytorch_model")}
"""With those of a baseline."""


def parts_of(variant: str) -> tuple[str, ...]:
    """The parts that a variant's networks are filled from."""
    return UNETS[variant], "point_map_vae", "autoencoder", "image_encoder"


def build_part(part: str, root: Path) -> Any:
    """A network of a hub's ``config.json``, with the weights it is born with.

    Args:
        part: ``autoencoder``, ``image_encoder``, ``point_map_vae``, ``unet_diff``, ``unet_determ``, ``prior`` or
            ``unet_depthcrafter``.
        root: the hub.

    Raises:
        InputError: where the configuration is missing or describes no network.
    """
    place, config_class, network_class, _ = _PLACES[part]
    file = root / place / "config.json"
    try:
        return network_class(read_config(file, config_class))
    except (ValueError, RuntimeError, TypeError, IndexError, AssertionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file}: no network has these sizes ({str(error).splitlines()[0]}).") from error


def load_part(part: str, root: Path) -> Any:
    """A network of a hub with its weights, in single precision, frozen.

    Raises:
        InputError: names the folder, file or tensor that is not as it should be.
    """
    return _filled(part, root, torch.float32, torch.device("cpu"))


def save_part(
    part: str, root: Path, tensors: dict[str, Tensor], config: Any, record: dict[str, str], half: bool = False
) -> Path:
    """Write a network into a hub: its weights with a record of their making, and ``config.json``.

    Args:
        part: as in :func:`build_part`.
        root: the hub; folders are made.
        tensors: the network's.
        config: the network's, a dataclass.
        record: goes into the weights file's metadata.
        half: store floating-point weights in half precision.
    """
    place, _, _, stem = PARTS[part]
    folder = root / place
    folder.mkdir(parents=True, exist_ok=True)
    ready = {k: (v.half() if half and v.is_floating_point() else v).contiguous().cpu() for k, v in tensors.items()}
    temporary, file = folder / f".{stem}.tmp", folder / f"{stem}.safetensors"
    save_file(ready, temporary, metadata=record)
    (folder / "config.json").write_text(json.dumps(asdict(config), indent=1) + "\n")
    temporary.chmod(0o644)  # safetensors makes files that their owner alone may read
    temporary.replace(file)
    return file


def _build(part: str, root: Path) -> tuple[nn.Module, Path]:
    """An unfilled network (on the meta device) and the file that fills it."""
    place, config_class, network_class, stem = _PLACES[part]
    folder = root / place
    if not folder.is_dir():
        raise InputError(f"{root}: the folder {place} is missing; copy it from the published repository.")
    config = read_config(folder / "config.json", config_class)
    try:
        with torch.device("meta"):
            network = network_class(config)
    except (ValueError, RuntimeError, TypeError, IndexError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"{folder / 'config.json'}: no network has these sizes ({reason}).") from error
    return network, _weights_file(folder, stem)


def _filled(part: str, root: Path, dtype: torch.dtype, device: torch.device) -> Any:
    network, file = _build(part, root)
    fill(network, read_tensors(file), str(file), dtype, device)
    return network


def load_networks(root: Path, variant: str, dtype: torch.dtype, device: torch.device) -> Networks:
    """Build and fill the four networks of a variant.

    Args:
        root: holds ``GeometryCrafter/`` and ``stable-video-diffusion-img2vid-xt/``.
        variant: ``diffusion`` or ``deterministic``.
        dtype: of the UNet, the frame autoencoder and the image encoder; the point-map VAE stays in float32.
        device: where they go.

    Raises:
        InputError: names the folder, file or tensor that is not as it should be.
    """
    if variant not in UNETS:
        raise InputError(f"variant {variant!r} is unknown; choose diffusion or deterministic.")
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder of weights; give one that holds {GEOMETRY} and {SVD}.")
    networks = Networks(
        variant=variant,
        unet=_filled(UNETS[variant], root, dtype, device),
        point_map_vae=_filled("point_map_vae", root, torch.float32, device),
        autoencoder=_filled("autoencoder", root, dtype, device),
        image_encoder=_filled("image_encoder", root, dtype, device),
        name=root.name,
        identity=hub_identity(root, parts_of(variant)),
    )
    wanted = 12 if variant == "diffusion" else 8
    if networks.unet.config.in_channels != wanted:
        raise InputError(
            f"{root / PARTS[UNETS[variant]][0]}: the network has {networks.unet.config.in_channels} input channels; "
            f"the {variant} variant wants {wanted}."
        )
    return networks


def hub_identity(root: Path, parts: Iterable[str]) -> str:
    """A digest of the configurations and weights of some parts of a hub, had without loading them.

    Raises:
        InputError: where one of them is missing.
    """
    digest = hashlib.sha256()
    for part in parts:
        place, _, _, stem = _PLACES[part]
        for file in (root / place / "config.json", _weights_file(root / place, stem)):
            digest.update(fingerprint(file).encode())
    return digest.hexdigest()


def load_prior(file: Path, device: torch.device) -> Prior:
    """A prior from its file: MoGe's ``model.pt`` (version 1 or 2), or the embedded kind's ``model.safetensors``.

    Raises:
        InputError: where the file holds neither.
    """
    if file.suffix == ".safetensors":
        return TinyPrior(_filled("prior", file.parents[1], torch.float32, device), fingerprint(file))
    state = read_checkpoint(file)
    if not isinstance(state.get("model_config"), dict) or not isinstance(state.get("model"), dict):
        raise InputError(f"{file}: a MoGe checkpoint has model_config and model; this one doesn't.")
    stored = state["model_config"]
    second = isinstance(stored.get("encoder"), dict)
    try:
        with torch.device("meta"):
            network: MoGe | MoGe2 = (
                MoGe2(config_from(stored, MoGe2Config, str(file)))
                if second
                else MoGe(config_from(stored, MoGeConfig, str(file)))
            )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file}: model_config describes no MoGe that is known here ({error}).") from error
    fill(network, state["model"], str(file), torch.float32, device)
    return MoGePrior(network, identity=fingerprint(file))


def check_folder(root: Path) -> list[tuple[str, str]]:
    """Compare a folder with what the networks expect: part and verdict, ``ok`` or what is wrong, a row each."""
    rows = []
    for part, (place, *_) in PARTS.items():
        if part == "prior":
            continue  # below, with MoGe
        if not (root / place).is_dir():
            rows.append((place, "missing"))
            continue
        try:
            network, file = _build(part, root)
            rows.append((place, "; ".join(compare(network, read_tensors(file))) or "ok"))
        except InputError as error:
            rows.append((place, str(error)))
    prior = prior_file(root)
    if prior is None:
        rows.append(("moge-vitl", "missing"))
    else:
        try:
            load_prior(prior, torch.device("cpu"))
            rows.append((str(prior.relative_to(root)), "ok"))
        except InputError as error:
            rows.append((str(prior.relative_to(root)), str(error)))
    return rows


def resolve(model: str, variant: str | None) -> tuple[Path, str]:
    """Where a model's weights are, and its variant.

    Args:
        model: ``tiny``, ``diffusion`` or ``deterministic`` (both from the cache), or a folder.
        variant: overrides the model's own; None: its own (deterministic for tiny and folders that lack the other).

    Raises:
        InputError: where the weights are not on this machine; says which repositories to put where.
    """
    if model == "tiny":
        return EMBEDDED, variant or "deterministic"
    if model in UNETS:
        root, variant = cache_folder(), variant or model
        if not is_cached(variant, root):
            places = ", ".join(f"{p.repository} as {root / p.folder}" for p in PUBLISHED)
            raise InputError(f"--model {model} needs weights that are not on this machine: put {places}.")
        return root, variant
    root = Path(model)
    if not root.is_dir():
        raise InputError(f"--model {model}: there is no such folder; give one, or tiny, diffusion or deterministic.")
    if variant is None:
        variant = "diffusion" if (root / GEOMETRY / UNETS["diffusion"]).is_dir() else "deterministic"
    return root, variant
