"""Places that only look like one another."""

import cv2
import numpy as np

import geometrycrafter as gc

SIZE, FOCAL, PERIOD = (96, 128), 112.0, 3.0


def paper(seed: int) -> np.ndarray:
    """A picture ``[128, 128, 3]`` that goes on where it ends."""
    noise, out = np.random.default_rng(seed), np.zeros((128, 128, 3))
    for side in (8, 16, 32, 64):
        tiles = np.tile(noise.normal(size=(side, side, 3)), (3, 3, 1))
        out += cv2.resize(tiles, (384, 384), interpolation=cv2.INTER_CUBIC)[128:256, 128:256] * side**-0.3
    return np.clip(128 + 50 * out / out.std(), 0, 255).astype(np.uint8)


def along_a_wall(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames and depth of a camera that goes sideways along a wall and a floor, whose papers repeat."""
    row, column = np.mgrid[: SIZE[0], : SIZE[1]]
    across, down = (column - 63.5) / FOCAL, (row - 47.5) / FOCAL
    depth = np.minimum(2.5, 0.9 / np.maximum(down, 1e-6)).astype(np.float32)
    up = np.where(depth < 2.5, depth, down * depth)
    wall, floor = paper(0), paper(1)
    frames = []
    for x in places:
        at = [(p / PERIOD % 1 * 128).astype(np.float32) for p in (x + across * depth, up)]
        seen = [cv2.remap(p, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP) for p in (wall, floor)]
        frames.append(np.where((depth < 2.5)[..., None], seen[1], seen[0]))
    return np.stack(frames), np.repeat(depth[None], len(places), 0)


def test_a_wall_paper_that_repeats_is_no_place_that_is_seen_again():
    places = np.arange(40) * PERIOD / 36
    frames, depth = along_a_wall(places)
    camera = np.array([[FOCAL, 0, 63.5], [0, FOCAL, 47.5], [0, 0, 1]], np.float32)
    scene = gc.Scene.from_depth(depth, np.ones(depth.shape, bool), camera, fps=24.0)
    found = gc.poses.estimate(scene, frames, np.zeros(depth.shape, bool))
    assert found.known.all()
    np.testing.assert_allclose(found.poses[:, :3, 3] - [[1, 0, 0]] * places[:, None], 0, atol=0.02)
