"""What a frame goes through, each component with what it works on: one call, as a run makes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from geometrycrafter.benchmark.model import MeasuredModel
from geometrycrafter.benchmark.options import BenchmarkOptions
from geometrycrafter.inference.decoding import plan_chunks
from geometrycrafter.networks.point_map_vae import LightPointMapDecoder
from geometrycrafter.networks.unet import published_time_ids
from geometrycrafter.priors import MoGePrior
from geometrycrafter.weights.eight_bits import in_8_bits

Call = Callable[[dict[str, Any], tuple[Tensor, ...]], Any]


@dataclass
class Work:
    """One call of a component."""

    networks: dict[str, nn.Module]
    """That it runs, by the names that ``run`` and the stock implementations know."""
    inputs: tuple[Tensor, ...]
    run: Call
    frames: int
    """That one call treats."""
    times: float = 1.0
    """How often a frame of a clip goes through: steps of the sampler, frames that chunks share."""
    dtype: torch.dtype = torch.float32
    """Of most of its arithmetic."""
    compiled: tuple[str, ...] = field(default=())
    """Networks that can be compiled; dots lead to their parts."""

    def __call__(self) -> Any:
        """Run it once."""
        with torch.no_grad():
            return self.run(self.networks, self.inputs)


def components_of(model: MeasuredModel, options: BenchmarkOptions) -> dict[str, Callable[[], Work]]:
    """What makes each component's work, by its name; networks are made when it is called."""
    size = options.size or model.size
    makers: dict[str, Callable[[], Work]] = {
        "prior": lambda: prior_work(model, options.chunk, size),
        "image encoder": lambda: image_encoder_work(model, options.chunk, size),
        "encoder": lambda: encoder_work(model, options.chunk, size),
        "unet": lambda: unet_work(model, options, size),
    }
    if model.has_full_decoder:
        makers["decoder"] = lambda: decoder_work(model, options, size, light=False)
    if model.has_light_decoder:
        makers["light decoder"] = lambda: decoder_work(model, options, size, light=True)
    wanted = options.components or tuple(makers)
    return {name: maker for name, maker in makers.items() if name in wanted}


def prior_work(model: MeasuredModel, frames: int, size: tuple[int, int]) -> Work:
    """The per-frame prior, what follows its network (focal length and shift) included."""
    prior = model.prior()
    wanted = prior.frame_size(*size)
    network: nn.Module = prior.network  # type: ignore[attr-defined]

    def run(networks: dict[str, Any], inputs: tuple[Tensor, ...]) -> Any:
        if model.planned and isinstance(prior, MoGePrior):  # what follows its network wants values
            return networks["prior"](inputs[0], prior.num_tokens)
        return prior.begin()(inputs[0], None)

    compiled = ("prior.backbone", "prior.head") if isinstance(prior, MoGePrior) else ()
    return Work({"prior": network}, (pictures(model, frames, wanted),), run, frames, compiled=compiled)


def image_encoder_work(model: MeasuredModel, frames: int, size: tuple[int, int]) -> Work:
    """The image encoder, whose embeddings the UNet's cross-attention sees."""

    def run(networks: dict[str, Any], inputs: tuple[Tensor, ...]) -> Any:
        return networks["image_encoder"](inputs[0])

    networks = {"image_encoder": model.part("image_encoder")}
    frame = pictures(model, frames, size).to(model.dtype)
    return Work(networks, (frame,), run, frames, dtype=model.dtype, compiled=("image_encoder.vision_model",))


def encoder_work(model: MeasuredModel, frames: int, size: tuple[int, int]) -> Work:
    """All that a frame is encoded by: SVD's encoder for the frame and for its disparity, and the residual encoder."""
    vae = model.part("point_map_vae")
    vae.decoder = nn.Identity()  # not wanted here: its memory is not the encoder's
    svd = model.part("autoencoder")
    svd.decoder = nn.Identity()

    def run(networks: dict[str, Any], inputs: tuple[Tensor, ...]) -> Any:
        frame, *maps = inputs
        svd, vae = networks["autoencoder"], networks["point_map_vae"]
        return svd.encode(frame), vae.encode(svd, *maps)

    frame = pictures(model, frames, size).to(model.dtype) * 2 - 1
    maps = pictures(model, frames, size, channels=4).split(1, dim=1)
    return Work(
        {"autoencoder": svd, "point_map_vae": vae},
        (frame, *maps),
        run,
        frames,
        dtype=model.dtype,
        compiled=("autoencoder.encoder", "point_map_vae.encoder"),
    )


def unet_work(model: MeasuredModel, options: BenchmarkOptions, size: tuple[int, int]) -> Work:
    """One step of the UNet on a window.

    Raises:
        InputError: where 8 bits are wanted and torchao is missing.
    """
    unet, frames = model.unet(), options.window
    if options.precision == "int8" and not model.planned:
        in_8_bits(unet)
    channels, generative = unet.config.in_channels, model.variant == "diffusion"
    shape = (1, frames, channels, size[0] // 8, size[1] // 8)
    latents = normal(model, shape).to(model.dtype)
    context = normal(model, (1, frames, unet.config.cross_attention_dim)).to(model.dtype)
    timestep = torch.tensor(1.6378, device=model.device)

    def run(networks: dict[str, Any], inputs: tuple[Tensor, ...]) -> Any:
        return networks["unet"](*inputs)

    inputs = (latents, timestep, context, published_time_ids(1, model.device))
    times = float(options.steps) if generative else 1.0
    return Work({"unet": unet}, inputs, run, frames, times, model.dtype, ("unet",))


def decoder_work(model: MeasuredModel, options: BenchmarkOptions, size: tuple[int, int], light: bool) -> Work:
    """The decoder of point maps on a chunk, which shares frames with its neighbours, or looks at theirs."""
    if light:
        return light_decoder_work(model, options, size)
    frames = options.chunk
    decoder = model.part("point_map_vae").decoder
    latents = normal(model, (frames, 4, size[0] // 8, size[1] // 8))
    chunks = plan_chunks(options.window, options.decode_chunk, exact=False)
    times = sum(chunk.end - chunk.start for chunk in chunks) / options.window

    def run(networks: dict[str, Any], inputs: tuple[Tensor, ...]) -> Any:
        return networks["decoder"](inputs[0], frames)

    return Work({"decoder": decoder}, (latents,), run, frames, times, compiled=("decoder",))


def light_decoder_work(model: MeasuredModel, options: BenchmarkOptions, size: tuple[int, int]) -> Work:
    """The light decoder on a chunk in the middle of a clip; each frame is decoded once."""
    decoder: LightPointMapDecoder = model.light_decoder()
    frames, around = options.chunk, decoder.reach if options.window > options.chunk else 0
    latents = normal(model, (frames + 2 * around, 4, size[0] // 8, size[1] // 8))

    def run(networks: dict[str, Any], inputs: tuple[Tensor, ...]) -> Any:
        return networks["decoder"](inputs[0], len(inputs[0]), around, around)

    return Work({"decoder": decoder}, (latents,), run, frames, 1.0, compiled=("decoder",))


def pictures(model: MeasuredModel, frames: int, size: tuple[int, int], channels: int = 3) -> Tensor:
    """Noise in [0, 1], ``[N, C, H, W]``, on the model's device."""
    generator = torch.Generator(model.device).manual_seed(1)
    return torch.rand(frames, channels, *size, generator=generator, device=model.device)


def normal(model: MeasuredModel, shape: tuple[int, ...]) -> Tensor:
    """Unit normal noise of a shape, ``[...]``, on the model's device."""
    generator = torch.Generator(model.device).manual_seed(2)
    return torch.randn(shape, generator=generator, device=model.device)


def set_layout(work: Work, layout: str) -> None:
    """Weights of 2-D convolutions in a layout, which outputs then take, too."""
    if layout == "channels-last":
        for network in work.networks.values():
            for module in network.modules():
                if type(module) is nn.Conv2d:
                    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def compile_networks(work: Work, backend: str = "inductor") -> None:
    """Let ``torch.compile`` make the networks' kernels, for the sizes that they see, when they are next called."""
    for name in work.compiled:
        network, _, rest = name.partition(".")
        module = work.networks[network].get_submodule(rest) if rest else work.networks[network]
        module.compile(dynamic=False, backend=backend)
