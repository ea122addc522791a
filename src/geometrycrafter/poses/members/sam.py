"""SAM on the first frame, and SAM 2 or SAM 3 through the video, from local folders through ``transformers``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from geometrycrafter.errors import InputError
from geometrycrafter.poses.members.local_folder import load_folder
from geometrycrafter.poses.protocol import no_frames

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
VIDEO_MODELS = {
    "sam2_video": ("Sam2Video", IMAGENET),
    "sam3_tracker_video": ("Sam3TrackerVideo", ([0.5] * 3, [0.5] * 3)),
}
"""What a folder's ``model_type`` is called in transformers, and the mean and deviation of its pictures."""


def load_sam(folder: Path, device: torch.device) -> Any:
    """SAM from a folder with ``config.json`` and ``model.safetensors``.

    Raises:
        InputError: where transformers is not installed, or the folder is missing, damaged or another model's.
    """
    return load_folder("SamModel", folder, device)


def kind_of(folder: Path) -> str:
    """What a folder calls its model: ``sam``, ``sam2_video``, ...

    Raises:
        InputError: where it doesn't say.
    """
    try:
        return str(json.loads((folder / "config.json").read_text())["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder}: there is no config.json of a model; give a folder with the published one."
        ) from error


def load_sam_video(folder: Path, device: torch.device) -> Any:
    """SAM 2, or SAM 3's tracker, for videos; a folder as for :func:`load_sam`.

    Raises:
        InputError: where transformers is not installed, or the folder is missing, damaged or another model's.
    """
    kind = kind_of(folder)
    if kind not in VIDEO_MODELS:
        raise InputError(f"{folder}: the model is of type {kind!r}; give one of {', '.join(VIDEO_MODELS)}.")
    return load_folder(VIDEO_MODELS[kind][0] + "Model", folder, device)


class SamMasks:
    """Things of one picture, each by a point on it or a box around it.

    Args:
        network: SAM with its weights loaded.
    """

    def __init__(self, network: Any):
        self.network = network

    @torch.no_grad()
    def __call__(
        self,
        frame: NDArray[np.uint8],
        points: NDArray[np.float32] | None = None,
        boxes: NDArray[np.float32] | None = None,
    ) -> NDArray[np.bool_]:
        """Masks ``[N, H, W]`` of a frame ``[H, W, 3]``.

        Args:
            frame: the picture.
            points: ``[N, 2]`` (x, y), one on each thing.
            boxes: ``[N, 4]`` (left, top, right, bottom), one around each thing.

        Raises:
            InputError: where there are neither points nor boxes, or both.
        """
        if (points is None) == (boxes is None):
            raise InputError("SAM wants either a point on each thing that moves or a box around it; give one of them.")
        height, width = frame.shape[:2]
        device = next(self.network.parameters()).device
        side = int(self.network.config.vision_config.image_size)
        scale = side / max(height, width)
        size = (round(height * scale), round(width * scale))
        picture = F.pad(_picture(frame, size, IMAGENET, device), (0, side - size[1], 0, side - size[0]))
        prompts = torch.as_tensor(points if boxes is None else boxes, dtype=torch.float32, device=device) * scale
        if boxes is None:
            asked = {"input_points": prompts[None, :, None], "input_labels": torch.ones(1, len(prompts), 1).long()}
        else:
            asked = {"input_boxes": prompts[None]}
        asked = {k: v.to(device) for k, v in asked.items()}
        logits = self.network(picture, **asked, multimask_output=False).pred_masks[0]  # [N, 1, h, w]
        logits = F.interpolate(logits.float(), (side, side), mode="bilinear", align_corners=False)
        logits = F.interpolate(logits[..., : size[0], : size[1]], (height, width), mode="bilinear", align_corners=False)
        return (logits[:, 0] > 0).cpu().numpy()


class SamVideoMasks:
    """Carries things of the first frame through a video, whatever its length, in bounded memory.

    Args:
        network: SAM 2 or SAM 3's tracker, with its weights loaded.
        first: masks ``[N, H, W]`` bool, a thing each, or ``[H, W]``; of the first frame.
        at: or where the things are in it, a point (x, y) on each or a box (left, top, right, bottom) around it.
    """

    def __init__(
        self, network: Any, first: NDArray[np.bool_] | None = None, at: Sequence[Sequence[float]] | None = None
    ):
        if (first is None) == (not at):
            raise InputError("SAM wants either the first frame's mask or where things are in it; give one of them.")
        self.network = network
        self.first = None if first is None else np.asarray(first, dtype=bool).reshape(-1, *np.shape(first)[-2:])
        self.at = None if at is None else checked_places(at)
        if self.first is not None and not self.first.any():
            raise InputError("the first frame's mask is empty; mark what moves there, or give no mask.")

    def __call__(self, frames: Iterable[NDArray[np.uint8]]) -> NDArray[np.bool_]:
        """Frames ``[H, W, 3]`` in order -> ``[T, H, W]``, true where one of the things is.

        Raises:
            InputError: where the mask has another size than the frames, or there are no frames.
        """
        return np.stack(list(self.carry(frames)) or no_frames())

    @torch.no_grad()
    def carry(self, frames: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.bool_]]:
        """The same, a mask ``[H, W]`` as each frame comes.

        Raises:
            InputError: as above.
        """
        config = self.network.config
        device = next(self.network.parameters()).device
        side = int(config.prompt_encoder_config.image_size)
        normal = VIDEO_MODELS[config.model_type][1]
        session, size = None, None if self.first is None else self.first.shape[1:]
        for index, frame in enumerate(frames):
            size = size or frame.shape[:2]
            if frame.shape[:2] != size:
                raise InputError(
                    f"the first frame's mask has {size[0]}x{size[1]} pixels, a frame "
                    f"{frame.shape[0]}x{frame.shape[1]}; give a mask of the frames' size."
                )
            session = session or self._session(side, size, device)
            out = self.network(session, frame_idx=index, frame=_picture(frame, (side, side), normal, device)[0])
            logits = F.interpolate(out.pred_masks.float(), size, mode="bilinear", align_corners=False)
            self._forget(session, index)
            yield (logits[:, 0] > 0).any(0).cpu().numpy()

    def _session(self, side: int, size: tuple[int, ...], device: torch.device) -> Any:
        """A video that begins with our things."""
        import transformers

        kind = getattr(transformers, VIDEO_MODELS[self.network.config.model_type][0] + "InferenceSession")
        session = kind(
            video_height=size[0],
            video_width=size[1],
            inference_device=device,
            inference_state_device=device,
            video_storage_device=device,
            dtype=torch.float32,
        )
        if self.first is not None:
            first = torch.from_numpy(self.first).float().to(device)[:, None]
            masks = F.interpolate(first, (side, side), mode="bilinear", antialias=True)
            for name, mask in enumerate(masks, start=1):
                session.add_mask_inputs(session.obj_id_to_idx(name), 0, (mask[None] >= 0.5).float())
        for name, place in enumerate(within(self.at or (), size), start=1):
            ends = torch.tensor(place).reshape(1, 1, -1, 2) * torch.tensor([side / size[1], side / size[0]])
            kinds = torch.tensor([[[1]]] if len(place) == 2 else [[[2, 3]]], dtype=torch.int32)  # corners are 2 and 3
            session.add_point_inputs(session.obj_id_to_idx(name), 0, {"point_coords": ends, "point_labels": kinds})
        session.obj_with_new_inputs = list(range(1, 1 + len(self.at or self.first)))  # type: ignore[arg-type]
        return session

    def _forget(self, session: Any, index: int) -> None:
        """Drop pictures that were seen, and what was found so long ago that nothing looks at it any more."""
        session.processed_frames[index] = torch.empty(0)
        config = self.network.config
        oldest = index - max(config.num_maskmem, config.max_object_pointers_in_encoder)
        for stored in session.output_dict_per_obj.values():
            for frame in [k for k in stored["non_cond_frame_outputs"] if k < oldest]:
                del stored["non_cond_frame_outputs"][frame]


def checked_places(places: Sequence[Sequence[float]]) -> list[list[float]]:
    """Points (x, y) and boxes (left, top, right, bottom) of a picture.

    Raises:
        InputError: where one is neither.
    """
    out = [[float(n) for n in place] for place in places]
    for place in out:
        box = len(place) == 4 and place[0] < place[2] and place[1] < place[3]
        if not (box or len(place) == 2) or not np.isfinite(place).all():
            raise InputError(f"{','.join(f'{n:g}' for n in place)}: give a point x,y or a box left,top,right,bottom.")
    return out


def within(places: Sequence[Sequence[float]], size: tuple[int, ...]) -> Sequence[Sequence[float]]:
    """The same places, looked for in a picture of a size.

    Raises:
        InputError: where one lies outside.
    """
    for place in places:
        if min(place) < 0 or max(place[::2]) > size[1] or max(place[1::2]) > size[0]:
            raise InputError(
                f"{','.join(f'{n:g}' for n in place)} lies outside of frames of {size[1]}x{size[0]}; "
                "give pixels of the first frame."
            )
    return places


def _picture(
    frame: NDArray[np.uint8], size: tuple[int, int], normal: tuple[list[float], list[float]], device: torch.device
) -> Tensor:
    """A frame ``[H, W, 3]`` as ``[1, 3, *size]``, normalised."""
    mean, deviation = torch.tensor(normal, device=device)[..., None, None]
    picture = torch.from_numpy(np.ascontiguousarray(frame)).to(device).movedim(-1, 0)[None].float() / 255
    picture = F.interpolate(picture, size, mode="bilinear", align_corners=False, antialias=True)
    return (picture - mean) / deviation
