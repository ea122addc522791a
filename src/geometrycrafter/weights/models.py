"""Whole models: the networks of a variant, and priors, from a hub."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from geometrycrafter.errors import InputError
from geometrycrafter.files import fingerprint
from geometrycrafter.networks.autoencoder import VideoAutoencoder
from geometrycrafter.networks.image_encoder import ImageEncoder
from geometrycrafter.networks.moge import MoGe, MoGeConfig
from geometrycrafter.networks.moge2 import MoGe2, MoGe2Config
from geometrycrafter.networks.point_map_vae import LightPointMapDecoder, PointMapDecoder, PointMapVAE
from geometrycrafter.networks.unet import VideoUNet
from geometrycrafter.priors import MoGePrior, Prior, TinyPrior
from geometrycrafter.weights import eight_bits
from geometrycrafter.weights.checkpoints import compare, config_from, load_weights, read_checkpoint, read_tensors
from geometrycrafter.weights.eight_bits import is_in_8_bits
from geometrycrafter.weights.light_decoders import LightDecoder, has_light_decoder, load_light_decoder
from geometrycrafter.weights.parts import BESIDE, GEOMETRY, PARTS, SVD, UNETS, filled, hub_identity, parts_of, unfilled
from geometrycrafter.weights.places import prior_file


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
    offloaded: torch.device | None = None
    """Where parts go while they are needed; None: all of them are on their device all the time."""
    root: Path | None = None
    """The folder that they come from, where a light decoder may lie beside them."""
    _light: LightDecoder | None = field(default=None, init=False, repr=False)

    @property
    def device(self) -> torch.device:
        """Where they compute."""
        return self.offloaded or next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the UNet, the frame autoencoder and the image encoder."""
        return next(self.unet.parameters()).dtype

    def fill_unet(self, in_8_bits: bool) -> None:
        """Have the UNet's linear layers in 8 bits, or as they are stored, read again where they were not.

        Raises:
            InputError: where torchao is missing, or the files are.
        """
        if is_in_8_bits(self.unet) == in_8_bits:
            return
        if in_8_bits:
            eight_bits.in_8_bits(self.unet)
            return
        if self.root is None:
            raise InputError(
                "--precision: the UNet's layers are in 8 bits, and their files are not known; load it again."
            )
        place = next(self.unet.parameters()).device
        self.unet = filled(UNETS[self.variant], self.root, self.dtype, place)

    def decoder(self, kind: str) -> PointMapDecoder | LightPointMapDecoder:
        """The decoder of point maps: ``full``, the VAE's own, or ``light``, which may be the VAE's own, too.

        Raises:
            InputError: where a light one is wanted and there is none that fits.
        """
        own = self.point_map_vae
        return own.decoder if kind == "full" or own.config.decoder == "light" else self._light_beside().network

    def identity_with(self, kind: str) -> str:
        """A digest of the files that the weights came from, with a decoder as in :meth:`decoder`.

        Raises:
            InputError: likewise.
        """
        if kind == "full" or self.point_map_vae.config.decoder == "light":
            return self.identity
        return f"{self.identity} {self._light_beside().identity}"

    def _light_beside(self) -> LightDecoder:
        if self._light is None:
            if self.root is None:
                raise InputError("--decoder light: no light decoder comes with this model; use --decoder full.")
            waiting = next(self.point_map_vae.parameters()).device
            self._light = load_light_decoder(self.root, waiting)
        return self._light


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
        unet=filled(UNETS[variant], root, dtype, device),
        point_map_vae=filled("point_map_vae", root, torch.float32, device),
        autoencoder=filled("autoencoder", root, dtype, device),
        image_encoder=filled("image_encoder", root, dtype, device),
        name=root.name,
        identity=hub_identity(root, parts_of(variant)),
        root=root,
    )
    wanted = 12 if variant == "diffusion" else 8
    found = networks.unet.config.in_channels
    if found != wanted:
        raise InputError(
            f"{root / PARTS[UNETS[variant]].folder}: the network has {found} input channels; "
            f"the {variant} variant wants {wanted}."
        )
    return networks


def load_prior(file: Path, device: torch.device) -> Prior:
    """A prior from its file: MoGe's ``model.pt`` (version 1 or 2), or the embedded kind's ``model.safetensors``.

    Raises:
        InputError: where the file holds neither.
    """
    if file.suffix == ".safetensors":
        return TinyPrior(filled("prior", file.parents[1], torch.float32, device), fingerprint(file))
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
    load_weights(network, state["model"], str(file), torch.float32, device)
    return MoGePrior(network, identity=fingerprint(file))


def check_folder(root: Path) -> list[tuple[str, str]]:
    """Compare a folder with what the networks expect: part and verdict, ``ok`` or what is wrong, a row each."""
    rows = []
    for name, part in (PARTS | (BESIDE if has_light_decoder(root) else {})).items():
        if name == "prior":
            continue  # below, with MoGe
        if not (root / part.folder).is_dir():
            rows.append((part.folder, "missing"))
            continue
        try:
            network, file = unfilled(name, root)
            rows.append((part.folder, "; ".join(compare(network, read_tensors(file))) or "ok"))
        except InputError as error:
            rows.append((part.folder, str(error)))
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
