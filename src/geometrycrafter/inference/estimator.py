"""The main job: frames in, a scene out, in four passes whose results are on disk as they come.

1. *observe*: decode the video once; prior, frame latents and image embeddings of every frame.
2. *condition*: normalise the prior over the clip and encode it.
3. *denoise*: windows of latents.
4. *decode*: point maps, chunk by chunk, into the scene.

No pass holds more than a window of latents or a chunk of frames, so memory does not grow with the video. Every pass
goes on where a killed run stopped, and to the same bits: its units depend on nothing but files of the pass before.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geometrycrafter.errors import InputError, WriteError
from geometrycrafter.geometry.cameras import half_field_grid, half_field_of_theta, intrinsics_from_half_field
from geometrycrafter.inference.conditioning import (
    ClipNormalisation,
    FrameStatistics,
    PriorMaps,
    encoder_inputs,
    prior_view,
)
from geometrycrafter.inference.decoding import at_video_size, decode_joined, plan_chunks
from geometrycrafter.inference.options import Options
from geometrycrafter.inference.windows import (
    Window,
    denoise_deterministic,
    denoise_generative,
    denoise_windows,
    plan,
)
from geometrycrafter.inference.workspace import Workspace
from geometrycrafter.networks.unet import published_time_ids
from geometrycrafter.priors.protocol import ClipPrior, FrameFunction, KnownCamera, Prior, as_prior
from geometrycrafter.scene import Scene, open_scene
from geometrycrafter.scene.journal import Journal
from geometrycrafter.scene.writer import SceneWriter, is_scene, stored_attributes
from geometrycrafter.video.reading import FrameSource, open_frames
from geometrycrafter.weights.models import Networks

Progress = Callable[[str, int, int | None], None]
"""(stage, frames done, frames in all where known)."""
STAGES = ("observe", "condition", "denoise", "decode")
LARGE_FRAME = 2**21


@dataclass(frozen=True)
class _Run:
    """One run's places and sizes."""

    options: Options
    source: FrameSource
    height: int
    width: int
    folder: Path
    work: Workspace
    progress: Progress

    @property
    def batch(self) -> int:
        """Frames that are decoded together: fewer where they are very large."""
        return max(1, min(self.options.decode_chunk, 8 * LARGE_FRAME // (self.source.height * self.source.width)))


@dataclass(frozen=True)
class _StoredWindows:
    """Windows' latents in a run's folder."""

    work: Workspace
    device: torch.device

    def load(self, index: int) -> Tensor | None:
        name = f"window_{index:06d}"
        return self.work.load(name, ("latents",))["latents"][None].to(self.device) if self.work.has(name) else None

    def save(self, index: int, latents: Tensor) -> None:
        self.work.save(f"window_{index:06d}", {"latents": latents[0]})


class Estimator:
    """Point maps of videos.

    Args:
        networks: of one variant.
        prior: per-frame prior, any callable of the protocol.
        pixels: of the processing size where the caller gives none.
        defaults: settings that calls start from.
    """

    def __init__(self, networks: Networks, prior: Prior | FrameFunction, pixels: int, defaults: Options | None = None):
        self.networks = networks
        self.prior = as_prior(prior)
        self.pixels = pixels
        self.defaults = defaults or Options()
        parameter = next(networks.unet.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype

    def __call__(
        self,
        video: Any,
        *,
        noise: Tensor | None = None,
        output: str | Path | None = None,
        resume: bool = False,
        overwrite: bool = False,
        progress: Progress | None = None,
        **options: Any,
    ) -> Scene:
        """Estimate the point maps of a video.

        Args:
            video: a path (file, folder or glob of images), an array ``[T, H, W, 3]`` uint8 or float in [0, 1], an
                iterator of frames, or an opened :class:`FrameSource`.
            noise: ``[1, window, 4, H/8, W/8]`` unit normal at the processing size; None: drawn from ``seed``.
            output: the scene's folder; None: a temporary one that goes with the scene object.
            resume: go on with a run that was cut short.
            overwrite: replace what is in ``output``.
            progress: called with stage, frames done and frames in all.
            **options: fields of :class:`Options`: ``size``, ``window``, ``overlap``, ``steps``, ``guidance``,
                ``decode_chunk``, ``focal``, ``depth_resize``, ``exact``, ``seed``, ``intrinsics``, ``decoder``.

        Returns:
            the scene, on disk.

        Raises:
            InputError: where the input, an option or the output folder is at fault.
        """
        try:
            settings = replace(self.defaults, **options)
        except TypeError as error:
            raise InputError(f"an option is unknown ({error}); see Options for those there are.") from error
        source = open_frames(video)
        temporary = None
        if output is None:
            temporary = tempfile.mkdtemp(prefix="geometrycrafter-", suffix=".gc")
            output, overwrite = temporary, True
        try:
            scene = self._run(source, Path(output), settings, noise, resume, overwrite, progress or _silent)
        except BaseException:
            if temporary:
                shutil.rmtree(temporary, ignore_errors=True)
            raise
        if temporary:
            weakref.finalize(scene, shutil.rmtree, temporary, True)
        return scene

    @torch.no_grad()
    def _run(
        self,
        source: FrameSource,
        folder: Path,
        options: Options,
        noise: Tensor | None,
        resume: bool,
        overwrite: bool,
        progress: Progress,
    ) -> Scene:
        if options.decoder == "light" and self.networks.point_map_vae.config.decoder != "light":
            raise InputError("--decoder light: no light decoder comes with this model; use --decoder full.")
        options = options.for_video(source.height, source.width, self.pixels)
        assert options.size is not None
        height, width = options.size
        window = options.window
        if noise is not None and tuple(noise.shape[2:]) != (4, height // 8, width // 8):
            raise InputError(
                f"noise has shape {list(noise.shape)}; a processing size of {height}x{width} wants "
                f"[1, {window}, 4, {height // 8}, {width // 8}]."
            )
        identity = {
            "source": str(Path(source.name).absolute()) if source.kind in ("video", "images") else source.name,
            "frame": [source.height, source.width, source.start, source.end, source.stride],
            "options": options.stored(),
            "model": f"{self.networks.name}/{self.networks.variant}",
        }
        if self._prepare(folder, identity, resume, overwrite):
            return open_scene(folder)
        before = _backup(folder)
        try:
            run = _Run(options, source, height, width, folder, Workspace(folder / "work"), progress)
            run.work.save_json("identity", identity)
            stats = self._observe(run)
            self._condition(run, stats)
            self._denoise(run, len(stats), noise)
            self._decode(run, len(stats), identity)
        except OSError as error:
            raise WriteError(
                f"{folder}: writing failed ({error.strerror}); make room, then go on with --resume."
            ) from error
        except WriteError:
            raise
        except InputError:
            # The input is at fault, so there is nothing to go on with: leave things as they were found.
            shutil.rmtree(folder, ignore_errors=True)
            if before.exists():
                before.rename(folder)
            raise
        shutil.rmtree(run.work.folder)
        shutil.rmtree(before, ignore_errors=True)
        return open_scene(folder)

    def _prepare(self, folder: Path, identity: dict[str, Any], resume: bool, overwrite: bool) -> bool:
        """Make the scene's folder or find what a cut-short run left there; True where nothing is to be done."""
        here = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
        if here and not folder.is_dir():
            raise InputError(f"{folder}: the output is a file; a scene is a folder, choose another name.")
        if here and not is_scene(folder):
            raise InputError(f"{folder}: the folder holds other files than a scene; choose another output.")
        complete = here and (stored_attributes(folder) or {}).get("complete")
        if here and resume:
            if complete:
                return True
            left = Workspace(folder / "work").load_json("identity")
            if left is not None and left != identity:
                changed = [k for k in identity if left.get(k) != identity[k]]
                raise InputError(
                    f"{folder}: the run to resume had another {' and '.join(changed)}; give the same arguments "
                    "or --overwrite."
                )
        elif here and overwrite:
            # A finished scene is set aside until its successor is finished too.
            if complete:
                shutil.rmtree(_backup(folder), ignore_errors=True)
                folder.rename(_backup(folder))
            else:
                shutil.rmtree(folder)
        elif here:
            raise InputError(f"{folder}: the output exists; add --overwrite to replace it or --resume to go on.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: the output can't be made ({error.strerror}); choose another place.") from error
        return False

    # Pass 1 -----------------------------------------------------------------------------------------------------

    def _observe(self, run: _Run) -> list[FrameStatistics]:
        """Prior, frame latents and embeddings of every frame; returns the statistics of all frames."""
        source, work = run.source, run.work
        stored = work.load_json("observed")
        if stored is not None:
            return [FrameStatistics(*s) for s in stored]
        all_stats: list[FrameStatistics] = []
        k = run.options.intrinsics
        camera = None if k is None else KnownCamera(2 * float(np.arctan(source.width / 2 / k[0])))
        asked: ClipPrior | None = None
        for index, frames in enumerate(_batches(iter(source), run.batch)):
            name = f"observed_{index:06d}"
            if not (work.has(name) and (done := work.load_json(name)) is not None):
                asked = asked or self.prior.begin(len(all_stats))
                found = self._observe_batch(run, name, frames, asked, camera, warn=index == 0)
                done = [[*asdict(s).values()] for s in found]
                work.save_json(name, done)
            else:
                asked = None
            all_stats += [FrameStatistics(*s) for s in done]
            run.progress("observe", len(all_stats), source.count)
        if not all_stats:
            raise InputError(f"{source.name}: there is not one frame to process; check --start and --end.")
        work.save_json("observed", [[*asdict(s).values()] for s in all_stats])
        return all_stats

    def _observe_batch(
        self,
        run: _Run,
        name: str,
        frames: list[np.ndarray],
        asked: ClipPrior,
        camera: KnownCamera | None,
        warn: bool,
    ) -> list[FrameStatistics]:
        source, size = run.source, (run.height, run.width)
        resized, wanted = [], []
        exact, ask_size = run.options.exact, (source.height, source.width)
        if not exact:
            ask_size = self.prior.frame_size(*ask_size)
        for frame in frames:
            image = torch.from_numpy(frame).to(self.device)
            image = (image.float() / 255 if image.dtype == torch.uint8 else image).permute(2, 0, 1)[None]
            resized.append(_resize(image, size, "bicubic"))
            wanted.append(_resize(image, ask_size, "bilinear"))
        images = torch.cat(resized)
        video = (source.height, source.width)
        maps, stats = prior_view(asked, torch.cat(wanted), video, size, camera, exact, warn)
        pixels = images.to(self.dtype)
        run.work.save(
            name,
            {
                "depth": maps.depth,
                "valid": (maps.valid * 255).round().to(torch.uint8),
                "half_field": maps.half_field,
                "video": self.networks.autoencoder.encode(pixels * 2 - 1),
                "embedding": self.networks.image_encoder(pixels),
                "frames": (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1),
            },
        )
        return stats

    # Pass 2 -----------------------------------------------------------------------------------------------------

    def _condition(self, run: _Run, stats: list[FrameStatistics]) -> None:
        """Latents of the normalised prior."""
        norm = ClipNormalisation.of(stats)
        options, source, factor = run.options, run.source, self.networks.autoencoder.config.scaling_factor
        for index, start in enumerate(range(0, len(stats), run.batch)):
            name = f"conditioned_{index:06d}"
            if not run.work.has(name):
                stored = run.work.load(f"observed_{index:06d}", ("depth", "valid", "half_field"))
                half_field = stored["half_field"].to(self.device)
                if options.intrinsics is not None:
                    fx, fy = options.intrinsics[:2]
                    sides = half_field.new_tensor([(source.width - 1) / 2 / fx, (source.height - 1) / 2 / fy])
                    half_field = sides.expand_as(half_field)
                valid = stored["valid"].to(self.device).float() / 255
                maps = PriorMaps(stored["depth"].to(self.device), valid, half_field)
                disparity, valid, log_depth, theta = encoder_inputs(maps, norm, run.height, run.width)
                latents = self.networks.point_map_vae.encode(
                    self.networks.autoencoder, disparity, valid, log_depth, theta
                )
                run.work.save(name, {"prior": latents * factor})
            run.progress("condition", min(start + run.batch, len(stats)), len(stats))

    def _latents(self, run: _Run, start: int, end: int) -> tuple[Tensor, Tensor, Tensor]:
        """Frame latents, prior latents and embeddings of frames ``start`` to ``end``, ``[1, T, ...]``."""
        columns: dict[str, list[Tensor]] = {"video": [], "prior": [], "embedding": []}
        for index in range(start // run.batch, (end - 1) // run.batch + 1):
            part = run.work.load(f"observed_{index:06d}", ("video", "embedding"))
            part |= run.work.load(f"conditioned_{index:06d}", ("prior",))
            first = index * run.batch
            for key, rows in columns.items():
                rows.append(part[key][max(start - first, 0) : end - first])
        video, prior, embedding = (torch.cat(columns[k])[None].to(self.device) for k in ("video", "prior", "embedding"))
        return video, prior, embedding

    # Pass 3 -----------------------------------------------------------------------------------------------------

    def _denoise(self, run: _Run, num_frames: int, noise: Tensor | None) -> None:
        """Latents of all windows, each joined to the one before."""
        options, work = run.options, run.work
        windows = plan(num_frames, options.window, options.overlap, options.exact)
        longest = min(options.window, num_frames)
        if noise is None:
            generator = torch.Generator().manual_seed(options.seed)
            noise = torch.randn(1, longest, 4, run.height // 8, run.width // 8, generator=generator)
        if noise.shape[1] < longest:
            raise InputError(f"noise covers {noise.shape[1]} frames and the windows have {longest}; give as many.")
        noise = noise[:, :longest].to(self.device, torch.float32)

        residual = self.networks.unet.config.prior_residual

        def one(window: Window, unit: Tensor, shared: Tensor | None) -> Tensor:
            video, prior, embedding = self._latents(run, window.start, window.end)
            if self.networks.variant == "diffusion":
                return denoise_generative(
                    self._unet,
                    unit,
                    video,
                    prior,
                    embedding,
                    shared,
                    options.steps,
                    options.guidance,
                    prior_residual=residual,
                )
            return denoise_deterministic(self._unet, video, prior, embedding, residual)

        for window, _ in denoise_windows(one, windows, noise, options.overlap, _StoredWindows(work, self.device)):
            run.progress("denoise", window.end, num_frames)

    def _unet(self, latents: Tensor, timestep: Tensor | float, embeddings: Tensor) -> Tensor:
        ids = published_time_ids(len(latents), self.device)
        return self.networks.unet(latents.to(self.dtype), timestep, embeddings.to(self.dtype), ids).float()

    # Pass 4 -----------------------------------------------------------------------------------------------------

    def _decode(self, run: _Run, num_frames: int, identity: dict[str, Any]) -> None:
        """Depth, mask and camera of every frame into the scene."""
        options, source = run.options, run.source
        height, width = source.height, source.width
        windows = plan(num_frames, options.window, options.overlap, options.exact)
        factor = self.networks.autoencoder.config.scaling_factor

        def latents(start: int, end: int) -> Tensor:
            rows = []
            for index, window in enumerate(windows):
                # The next window's file has the joined version of the frames that the two share.
                until = windows[index + 1].start if index + 1 < len(windows) else window.end
                if window.start < end and start < until:
                    stored = run.work.load(f"window_{index:06d}", ("latents",))["latents"]
                    rows.append(stored[max(start, window.start) - window.start : min(end, until) - window.start])
            return torch.cat(rows).to(self.device) / factor

        writer = SceneWriter(run.folder)
        shapes: dict[str, tuple[tuple[int, ...], type]] = {
            "depth": ((num_frames, height, width), np.float32),
            "mask": ((num_frames, height, width), np.bool_),
            "frames": ((num_frames, run.height, run.width, 3), np.uint8),
        }
        if options.focal == "free":
            shapes["rays"] = ((num_frames, height, width, 2), np.float32)
        arrays: dict[str, Any] = {k: writer.array(k, *v) for k, v in shapes.items()}

        journal = Journal(run.folder / "journal.jsonl")
        chunks = plan_chunks(num_frames, options.decode_chunk, options.exact)
        first = len(journal.entries)
        decode = self.networks.point_map_vae.decode
        for index, (start, maps) in enumerate(
            decode_joined(lambda z: decode(z, len(z)), latents, chunks, first), start=first
        ):
            thetas = []
            for offset in range(len(maps.log_depth)):
                one = type(maps)(*(m[offset : offset + 1] for m in maps))
                frame = at_video_size(one, height, width, options.depth_resize)
                t = start + offset
                arrays["depth"][t] = frame.depth[0].cpu().numpy()
                arrays["mask"][t] = frame.mask[0].cpu().numpy()
                if options.focal == "free":
                    field = half_field_of_theta(frame.theta_diag[0], height, width)
                    arrays["rays"][t] = (field * half_field_grid(height, width, field)).cpu().numpy()
                valid = frame.mask[0].double()
                theta = frame.theta_diag[0].double()
                thetas.append([(theta * valid).sum().item(), valid.sum().item(), theta.mean().item()])
                observed = run.work.load(f"observed_{t // run.batch:06d}", ("frames",))["frames"]
                arrays["frames"][t] = observed[t % run.batch].numpy()
            journal.append({"chunk": index, "start": start, "end": start + len(thetas), "theta": thetas})
            run.progress("decode", start + len(thetas), num_frames)

        theta = torch.tensor([row for entry in journal.entries for row in entry["theta"]], dtype=torch.float64)
        writer.put("intrinsics", self._intrinsics(run, theta))
        writer.finish(
            {
                "fps": source.fps,
                "source": identity["source"],
                "model": identity["model"],
                "options": identity["options"],
                "program": f"geometrycrafter {version('geometrycrafter')}",
            }
        )

    def _intrinsics(self, run: _Run, theta: Tensor) -> np.ndarray:
        """``[T, 3, 3]`` from each frame's sum of theta over valid pixels, their number, and the plain mean."""
        height, width, known = run.source.height, run.source.width, run.options.intrinsics
        if known is not None:
            fx, fy, cx, cy = known
            k = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)
            return np.broadcast_to(k, (len(theta), 3, 3)).copy()
        total, valid, plain = theta.unbind(-1)
        pixels = height * width
        if self.prior.trusted_field and not run.options.exact:
            batches = range(-(-len(theta) // run.batch))
            seen = torch.cat([run.work.load(f"observed_{i:06d}", ("half_field",))["half_field"] for i in batches])
            plain = seen.double().norm(dim=-1)
            valid = torch.zeros_like(plain)  # so that the prior's stands in for the decoder's
        if run.options.focal == "shared":
            total, valid = total.mean().expand(len(theta)), valid.mean().expand(len(theta))
            plain = plain.mean().expand(len(theta))
        # The published mean has 1e-4 in its denominator; where nothing is valid, the mean over all pixels stands in.
        mean = torch.where(valid > 0, total / (valid + 1e-4 * pixels), plain)
        if not run.options.exact:
            mean = mean.clamp_min(1e-3)  # an untrained network may say anything; a camera looks forward
        field = half_field_of_theta(mean, height, width)
        return intrinsics_from_half_field(field, height, width).float().numpy()


def _silent(stage: str, done: int, total: int | None) -> None:
    pass


def _backup(folder: Path) -> Path:
    """Where a finished scene waits while it is being replaced."""
    return folder.with_name(f".{folder.name}.old")


def _resize(image: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    if tuple(image.shape[-2:]) == size:
        return image
    return F.interpolate(image, size, mode=mode, align_corners=False, antialias=True).clamp(0, 1)


def _batches(frames: Iterator[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    batch: list[np.ndarray] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
