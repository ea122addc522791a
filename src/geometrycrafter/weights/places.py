"""Where weights are: embedded in the package, in the cache, or in a folder that the user names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from geometrycrafter.errors import InputError
from geometrycrafter.weights.parts import CONFIG, GEOMETRY, PARTS, SVD, UNETS, parts_of

EMBEDDED = Path(__file__).parent / "tiny"
UNDER_WAY = ".downloads"
"""In the cache: what is being downloaded."""


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
    commercial: bool = True
    """Whether the licence permits commercial use; where a condition comes with it, :attr:`licence` says so."""


PUBLISHED = (
    PublishedRepository(
        "TencentARC/GeometryCrafter",
        GEOMETRY,
        ("unet_diff/*", "unet_determ/*", "point_map_vae/*"),
        "6.5 GB",
        "GeometryCrafter's own licence: academic, non-commercial use",
        "video UNets and point-map VAE",
        commercial=False,
    ),
    PublishedRepository(
        "stabilityai/stable-video-diffusion-img2vid-xt",
        SVD,
        (
            "vae/*.fp16.safetensors",
            "vae/config.json",
            "image_encoder/*.fp16.safetensors",
            "image_encoder/config.json",
        ),
        "1.5 GB",
        "Stability AI Community Licence: commercial use below a turnover that it names",
        "frame autoencoder and image encoder",
    ),
    PublishedRepository("Ruicheng/moge-vitl", "moge-vitl", ("model.pt",), "1.3 GB", "MIT", "per-frame prior MoGe v1"),
)


def cache_folder() -> Path:
    """Where downloaded or mirrored weights are looked for: ``$GEOMETRYCRAFTER_HOME`` or the user's cache."""
    root = os.environ.get("GEOMETRYCRAFTER_HOME")
    if root:
        return Path(root)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "geometrycrafter"


def is_cached(variant: str, folder: Path | None = None) -> bool:
    """Whether a folder (the cache) holds what a variant needs, its prior included."""
    folder = folder or cache_folder()
    return all(part_there(folder, part) for part in parts_of(variant)) and prior_file(folder) is not None


def part_there(folder: Path, part: str) -> bool:
    """Whether a folder of weights has a network's configuration and its weights."""
    place = folder / PARTS[part].folder
    weights = (place / f"{PARTS[part].stem}{v}.{s}" for s in ("safetensors", "bin") for v in ("", ".fp16"))
    return (place / CONFIG).is_file() and any(file.is_file() for file in weights)


def prior_file(folder: Path) -> Path | None:
    """The prior that comes with a folder of weights: MoGe, version 1 before 2, or the embedded kind."""
    names = ("moge-vitl", "moge-2-vitl-normal", "moge-2-vitl", "prior")
    files = [folder / n / f for n in names for f in ("model.pt", "model.safetensors")]
    return next((f for f in files if f.is_file()), None)


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
            raise InputError(
                f"--model {model} needs weights that are not on this machine: 'geometrycrafter models download "
                f"{variant}' fetches them, or put {places}."
            )
        return root, variant
    root = Path(model)
    if not root.is_dir():
        raise InputError(f"--model {model}: there is no such folder; give one, or tiny, diffusion or deterministic.")
    if variant is None:
        variant = "diffusion" if (root / GEOMETRY / UNETS["diffusion"]).is_dir() else "deterministic"
    return root, variant
