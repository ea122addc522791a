"""Poses of clips that a lens took: with its camera file, and taken for a pinhole's."""

from __future__ import annotations

import numpy as np
import pytest

import geometrycrafter as gc
from geometrycrafter.data.renderer import render_clip
from geometrycrafter.evaluation.metrics.trajectories import score_trajectory
from geometrycrafter.geometry.lens import Lens
from geometrycrafter.geometry.lens_files import read_lens
from geometrycrafter.video.options import Reading
from geometrycrafter.video.reading import open_frames

BENT = {"SIMPLE_RADIAL": (-0.25,), "OPENCV": (-0.3, 0.08, 0.002, -0.001), "OPENCV_FISHEYE": (0.02, -0.01, 0.0, 0.0)}


def rendered(lens: Lens, frames: int):
    """Frames, depth, mask and what moves, as arrays; the camera walks alike through any lens."""
    assert lens.height and lens.width
    clip = render_clip(100, frames, lens.height, lens.width, lens)
    pictures = (clip.frames * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    return pictures, clip.depth.numpy(), clip.mask.numpy(), clip.dynamic.numpy(), clip.poses.numpy()


def errors(model: str, size: tuple[int, int], frames: int, place) -> tuple[float, float]:
    """ATE as a share of the path, of a pinhole guess and with the camera; the renderer's depth stands for predictions,
    whose own errors are larger than a lens's."""
    height, width = size
    focal = width * (0.43 if "FISHEYE" in model else 0.664)
    values = [focal] if model == "SIMPLE_RADIAL" else [focal, focal]
    row = " ".join(str(v) for v in [*values, width / 2, height / 2, *BENT[model]])
    (place / "cameras.txt").write_text(f"1 {model} {width} {height} {row}\n")
    lens = read_lens(place / "cameras.txt")
    pictures, depth, mask, moving, poses = rendered(lens, frames)
    guess = gc.Scene.from_depth(depth, mask, lens.intrinsics.numpy())
    without = gc.poses.estimate(guess, pictures, moving)
    source = open_frames(pictures, Reading(camera=lens))
    view = source.undistortion
    assert view is not None
    _, depth, mask, moving, _ = rendered(Lens("PINHOLE", view.intrinsics, view.height, view.width), frames)
    fx, fy, cx, cy = view.intrinsics
    scene = gc.Scene.from_depth(depth, mask & view.valid, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]))
    found = gc.poses.estimate(scene, source, moving | ~view.valid)
    return score_trajectory(without.poses, poses)["ate_share"], score_trajectory(found.poses, poses)["ate_share"]


def test_the_right_camera_takes_the_error_of_a_lens_away(tmp_path) -> None:
    without, found = errors("OPENCV_FISHEYE", (192, 256), 30, tmp_path)
    assert without > 0.01 and found < without / 10, (without, found)


@pytest.mark.slow
@pytest.mark.parametrize("model", BENT)
def test_every_lens_is_undone(model: str, tmp_path) -> None:
    without, found = errors(model, (384, 512), 48, tmp_path)
    assert without > 0.01 and found < without / 10, (without, found)
