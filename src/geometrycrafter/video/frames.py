"""Frames from arrays of any usual form."""

from __future__ import annotations

from typing import Any

import numpy as np

from geometrycrafter.errors import InputError

CHANNELS = (1, 2, 3, 4)
"""Grey, grey and alpha, colour, colour and alpha."""
WANTED = "give [T, H, W, 3] with T at least 1"


def as_array(values: Any) -> np.ndarray:
    """A tensor of any device and type, or what NumPy takes for one, as an array ``[...]`` of the same shape."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        # NumPy has no bfloat16.
        values = values.float() if "bfloat16" in str(values.dtype) else values
        return np.asarray(values.numpy())
    try:
        return np.asarray(values)
    except ValueError:  # rows of different lengths
        return np.asarray(None)


def as_frame(frame: Any, name: str, background: tuple[int, int, int] = (0, 0, 0)) -> np.ndarray:
    """One frame in any usual form -> ``[H, W, 3]`` uint8 or float32 in [0, 1].

    Args:
        frame: ``[H, W]`` or ``[H, W, C]`` with one to four channels; uint8, uint16 or float in [0, 1].
        name: what messages call where it is from.
        background: seen through transparent pixels, 0 to 255 each.

    Raises:
        InputError: where it is no such thing, or holds other values.
    """
    frame = as_array(frame)
    if frame.ndim == 2:
        frame = frame[..., None]
    if frame.ndim != 3 or frame.shape[-1] not in CHANNELS or 0 in frame.shape:
        turned = frame.ndim == 3 and frame.shape[0] in CHANNELS
        remedy = "; turn it by frame.transpose(1, 2, 0)" if turned else ""
        raise InputError(f"{name} has a frame of shape {list(frame.shape)}; frames are [H, W, 3]{remedy}.")
    check_values(frame, name)
    if frame.dtype == np.uint16:
        frame = frame.astype(np.float32) / 65535
    elif frame.dtype != np.uint8:
        frame = frame.astype(np.float32).clip(0, 1)
    if frame.shape[-1] in (2, 4):
        return over(frame, np.asarray(background, np.uint8))
    return np.repeat(frame, 3, axis=-1) if frame.shape[-1] == 1 else frame


def check_values(array: np.ndarray, name: str) -> None:
    """Refuse types and values that no frame has.

    Args:
        array: ``[...]``, of any shape.
        name: what messages call it.

    Raises:
        InputError: says what is wrong with them.
    """
    if array.dtype in (np.uint8, np.uint16):
        return
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{name} has frames of {array.dtype}; give uint8, uint16 or float in [0, 1].")
    # NaN makes both comparisons false.
    if not (array.min() >= -0.001 and array.max() <= 1.001):
        raise InputError(f"{name} has values outside [0, 1]; scale float frames to [0, 1] or give uint8.")


def check_video(array: np.ndarray, name: str) -> None:
    """Refuse an array that is not clearly a video.

    Args:
        array: ``[T, H, W, C]``, or ``[T, H, W]`` grey.
        name: what messages call it.

    Raises:
        InputError: where its axes are others, or may be; says how to pass one picture, or channels that stand first.
    """
    shape = list(array.shape)
    if array.dtype == object:
        raise InputError(f"{name} holds Python objects; {WANTED}, all frames of one size.")
    if array.ndim not in (2, 3, 4) or 0 in shape:
        raise InputError(f"{name} has shape {shape}; {WANTED}.")
    if array.ndim == 2 or (array.ndim == 3 and shape[-1] in CHANNELS):
        raise InputError(f"{name} has shape {shape}, that of one picture; {WANTED}: a single one as picture[None].")
    if array.ndim == 3 and shape[0] == 3:
        raise InputError(
            f"{name} has shape {shape}, which may be one picture or three; "
            f"give picture.transpose(1, 2, 0)[None], or three grey ones as frames[..., None]."
        )
    if array.ndim == 4 and shape[-1] not in CHANNELS:
        turned = ": turn it by video.transpose(0, 2, 3, 1)" if shape[1] in CHANNELS else ""
        raise InputError(f"{name} has shape {shape}; {WANTED}{turned}.")
    if not isinstance(array, np.memmap):  # which may be larger than memory; its frames are looked at one by one
        check_values(array, name)


def over(pixels: np.ndarray, background: np.ndarray, premultiplied: bool = False) -> np.ndarray:
    """Colour or grey with alpha, laid over a background.

    Args:
        pixels: ``[H, W, 2]`` or ``[H, W, 4]``, uint8 or float32 in [0, 1].
        background: ``[3]`` uint8.
        premultiplied: colour was multiplied by alpha already.

    Returns:
        ``[H, W, 3]`` of the same type.
    """
    whole = pixels.dtype == np.uint8
    alpha = pixels[..., -1:].astype(np.float32) / (255 if whole else 1)
    colour = np.broadcast_to(pixels[..., :-1].astype(np.float32), (*pixels.shape[:2], 3))
    ground = background.astype(np.float32) / (1 if whole else 255)
    mixed = colour * (1 if premultiplied else alpha) + ground * (1 - alpha)
    return mixed.round().clip(0, 255).astype(np.uint8) if whole else mixed.astype(np.float32)
