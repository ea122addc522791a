"""What a benchmark can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from geometrycrafter.errors import InputError
from geometrycrafter.inference.options import Precision, ProcessingSize, WindowFrames
from geometrycrafter.settings import Range, Settings

DTYPES = ("float32", "float16", "bfloat16")
PRECISIONS = get_args(Precision)
NAMES = ("prior", "image encoder", "encoder", "unet", "decoder", "light decoder")
"""Components, in the order in which a frame goes through them."""


@dataclass(frozen=True)
class BenchmarkOptions(Settings):
    """Settings of one benchmark.

    Attributes:
        model: ``tiny``, ``diffusion`` or ``deterministic``, or a folder laid out like the published repositories.
        variant: of the UNet; None: the model's own.
        random: weights are drawn, of the model's sizes; none need be on this machine.
        size: processing height and width; None: the model's own.
        frames: that the UNet sees at a time; None: 110 on a GPU, as the paper's table has it, 4 elsewhere.
        decode_chunk: frames that the encoders and the decoder see at a time.
        steps: of the sampler (generative variant).
        repeats: timed calls of each component; the figures are their medians.
        device: ``cpu``, ``cuda``, ``mps``.
        dtype: of the UNet, the frame autoencoder and the image encoder.
        precision: of the prior and the point-map VAE, as ``run`` has it.
        layout: of convolutions' weights; None: ``channels-last`` where a GPU runs compiled networks. Called layer by
            layer, networks are slower so: norms and attention bring pictures into their own order and back.
        compiled: networks go through ``torch.compile``.
        peer: stock implementations run beside, with the same weights.
        components: that are measured; None: all that the model has.

    Raises:
        InputError: names the option that is out of its range, or the component that is none.
    """

    model: str = "tiny"
    variant: Literal["diffusion", "deterministic"] | None = None
    random: bool = False
    size: ProcessingSize | None = None
    frames: WindowFrames | None = None
    decode_chunk: Annotated[int, Range(1, 1_000)] = 8
    steps: Annotated[int, Range(1, 1_000)] = 5
    repeats: Annotated[int, Range(1, 1_000)] = 5
    device: str = "cpu"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    precision: Precision = "published"
    layout: Literal["contiguous", "channels-last"] | None = None
    compiled: bool = False
    peer: bool = False
    components: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.components or ():
            if name not in NAMES:
                raise InputError(f"--components {name}: there is no such component; give some of {', '.join(NAMES)}.")

    @property
    def window(self) -> int:
        """Frames that the UNet sees at a time."""
        return self.frames or (110 if self.device.startswith("cuda") else 4)

    @property
    def chunk(self) -> int:
        """Frames that the encoders and the decoder see at a time."""
        return min(self.decode_chunk, self.window)

    @property
    def weights_layout(self) -> str:
        """The layout that is meant."""
        fused = self.compiled and self.device.startswith("cuda")
        return self.layout or ("channels-last" if fused else "contiguous")
