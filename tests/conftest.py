"""Shared fixtures: golden tensors, a mirror of the published repositories in small, and videos made on the spot."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from school import born, school, shards  # noqa: F401 (fixtures)
from torch import Tensor, nn

from geometrycrafter.weights import parts

HERE = Path(__file__).parent
PLACES = (HERE / "golden", HERE.parents[1] / "shared" / "golden")
SHARED_DATA = HERE.parents[1] / "shared" / "data"
MANIFESTS = HERE.parents[1] / "shared" / "manifests"
SALTS = {"unet_diff": 0, "unet_determ": 1, "point_map_vae": 2, "autoencoder": 3, "image_encoder": 4}

# Each worker, and what it starts, keeps to its own core; a single process has both.
THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
os.environ["OMP_NUM_THREADS"] = str(THREADS)
torch.set_num_threads(THREADS)


def golden(name: str) -> dict[str, Tensor]:
    """Tensors of a golden file; those that are not in the repository are skipped where they are absent."""
    for place in PLACES:
        if (place / name).exists():
            return load_file(place / name)
    pytest.skip(f"golden file {name} is not on this machine")


def recipe(name: str, shape: torch.Size, salt: int = 0) -> Tensor:
    """The golden files' deterministic weights: seeded by the tensor's name, scaled by its role."""
    seed = (zlib.crc32(name.encode()) + salt) % 2**32
    values = np.random.RandomState(seed).standard_normal(int(np.prod(shape))).astype(np.float32).reshape(tuple(shape))
    leaf = name.rpartition(".")[-1]
    if leaf == "mix_factor":
        pass
    elif len(shape) > 1:
        values = values / np.sqrt(int(np.prod(shape[1:]))).astype(np.float32)
    elif leaf == "bias":
        values = np.float32(0.1) * values
    else:
        values = np.float32(1) + np.float32(0.1) * values
    return torch.from_numpy(np.ascontiguousarray(values))


def fill_by_recipe(module: nn.Module, salt: int = 0) -> nn.Module:
    with torch.no_grad():
        for key, value in module.state_dict().items():
            if value.is_floating_point():
                value.copy_(recipe(key, value.shape, salt))
    return module.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out like the published repositories, with the golden configs and the recipe's weights."""
    root = tmp_path_factory.mktemp("weights") / "hub"
    shutil.copytree(HERE / "golden" / "pipeline" / "hub", root)
    for part, salt in SALTS.items():
        own = parts.PARTS[part]
        module = fill_by_recipe(own.network(own.sizes(root)), salt)
        suffix = ".fp16" if own.folder.startswith(parts.SVD) else ""
        save_file(module.state_dict(), root / own.folder / f"{own.stem}{suffix}.safetensors")
    return root


def flat_prior(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Depth from brightness, a field of view of 53 degrees: a prior that needs no weights."""
    n, _, height, width = frames.shape
    z = 2 + frames.mean(dim=1)
    y, x = torch.meshgrid(torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij")
    return torch.stack([x * z / width, y * z / width, z], dim=-1), z > 2.05


def moving_pattern(frames: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth colour waves that drift: ``[T, H, W, 3]`` uint8."""
    rng = np.random.default_rng(seed)
    t, y, x = np.meshgrid(np.arange(frames), np.arange(height), np.arange(width), indexing="ij")
    waves = [np.sin(x * a + y * b + t * 0.2 + c) for a, b, c in rng.uniform(0.02, 0.2, (3, 3))]
    return ((np.stack(waves, -1) + 1) * 110 + 15).astype(np.uint8)


def write_video(
    path: Path,
    frames: np.ndarray,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    times: list[int] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode ``[T, H, W, 3]`` uint8 at 24 frames a second, or at the given times (in 24ths)."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24, options=options or {})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], pixel_format
        stream.time_base = Fraction(1, 24)
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pixel_format)
            picture.pts, picture.time_base = (times[index] if times else index), Fraction(1, 24)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short h264 video: 20 frames of 96x64."""
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", moving_pattern(20, 64, 96))


@pytest.fixture
def manifest() -> Callable[[str], dict[str, list[int]]]:
    def read(name: str) -> dict[str, list[int]]:
        if not (MANIFESTS / f"{name}.json").exists():
            pytest.skip("the manifests are not on this machine")
        listed = json.loads((MANIFESTS / f"{name}.json").read_text())
        return listed.get("state_dict", listed)

    return read


@pytest.fixture
def chromium():
    """Starts the machine's Chromium, by flags beside those that it always wants; it is closed after the test."""
    playwright = pytest.importorskip("playwright.sync_api")
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as started, contextlib.ExitStack() as open_ones:

        def start(*flags: str):
            found = started.chromium.launch(executable_path=browser, args=["--no-sandbox", *flags])
            open_ones.callback(found.close)
            return found

        yield start
