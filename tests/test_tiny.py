"""The embedded model: on a real recording, unseen in its training, and from nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from conftest import SHARED_DATA

import geometrycrafter as gc
from geometrycrafter.cli.main import main
from geometrycrafter.data.shards import Shards
from geometrycrafter.evaluation import score_points
from geometrycrafter.training.config import PUBLISHED
from geometrycrafter.training.tiny import begin, blend, package, soften, unpack
from geometrycrafter.video.reading import open_frames
from geometrycrafter.weights.parts import load_part, save_part
from geometrycrafter.weights.places import EMBEDDED

RGBD = SHARED_DATA / "rgbd"


def recorded_depth() -> np.ndarray:
    """Every fourth frame, metres, zero where the sensor saw nothing: ``[T, H, W]``."""
    if not RGBD.exists():
        pytest.skip("the recording is not on this machine")
    frames = []
    for path in sorted(RGBD.glob("*.depth.png"))[::4]:
        with av.open(str(path)) as container:
            frames.append(next(container.decode(video=0)).to_ndarray(format="gray16le"))
    return np.stack(frames) / 1000.0


def test_a_real_kitchen_is_seen_better_than_as_a_wall():
    depth = recorded_depth()
    k = np.loadtxt(RGBD / "camera-intrinsics.txt")
    y, x = np.mgrid[: depth.shape[1], : depth.shape[2]]
    rays = np.stack([(x - k[0, 2]) / k[0, 0], (y - k[1, 2]) / k[1, 1], np.ones_like(x)], -1)
    truth, seen = rays * depth[..., None], (depth > 0) & (depth < 10)

    camera = (k[0, 0], k[1, 1], k[0, 2], k[1, 2])
    scene = gc.load("tiny")(open_frames(RGBD / "*.color.jpg").cut(stride=4), intrinsics=camera)
    scores = score_points(scene.points[:], truth, seen)
    wall = score_points(np.broadcast_to(rays, truth.shape), truth, seen)
    print("tiny", scores, "wall", wall)
    assert scores["point_rel"] < 0.18 and scores["point_inlier"] > 0.75
    assert scores["point_rel"] < wall["point_rel"] and scores["point_inlier"] > wall["point_inlier"]


def test_a_softened_correction_is_half_of_what_it_was_and_stays_so(tmp_path):
    part, hub = "unet_determ", tmp_path / "hub"
    unpack(hub)
    network = load_part(part, hub)
    save_part(part, hub, network.state_dict(), network.config, {"steps": "7"})
    given = [torch.randn(1, 2, 8, 8, 8), torch.zeros(1), torch.zeros(1, 2, 32), torch.zeros(1, 3)]
    found = []
    for _ in range(3):
        with torch.no_grad():
            found.append(load_part(part, hub)(*given))
        soften(hub)
    torch.testing.assert_close(found[1], found[0] / 2)
    assert torch.equal(found[2], found[1])


def test_a_blended_prior_is_between_what_it_was_and_what_it_has_become(tmp_path):
    hub = tmp_path / "hub"
    unpack(hub)
    network, was = load_part("prior", hub), load_part("prior", EMBEDDED).state_dict()
    learned = {k: v + 1 if v.is_floating_point() else v for k, v in was.items()}
    save_part("prior", hub, learned, network.config, {"steps": "7"})
    for _ in range(2):  # the second time changes nothing
        blend(hub)
        for name, value in load_part("prior", hub).state_dict().items():
            if value.is_floating_point():
                torch.testing.assert_close(value, was[name] + 0.7, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "folder,last,ending", [("runs/tiny", "unet-diffusion-own", ""), ("runs/tiny-2", "softened", "-2")]
)
def test_make_tiny_leads_from_nothing_to_a_packaged_model(folder, last, ending, tmp_path, monkeypatch):
    """Its commands, in its order, each on little: two clips, one step a stage."""
    # Whatever is there already counts as old, so that all commands are said.
    dry = ["make", "--dry-run", "--always-make", f"{folder}/{last}.done"]
    said = subprocess.run(dry, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True).stdout
    commands = [line.split() for line in said.splitlines()]
    monkeypatch.chdir(tmp_path)
    stages = 0
    for words in commands:
        if "synthesize" in words:
            shards = words[words.index("synthesize") + 1]
            world = ["--world", "2"] if "--world" in words else []
            sizes = ["--clips", "2", "--frames", "2", "--size", "144x192"]
            assert main(["data", "synthesize", shards, *sizes, *world]) == 0 and (ending or not world)
        elif "begin" in words:
            begin(Path(folder) / "hub")
        elif "unpack" in words:
            unpack(Path(folder) / "hub")
        elif "blend" in words:
            blend(Path(folder) / "hub")
        elif "soften" in words:
            soften(Path(folder) / "hub")
        elif "train" in words:
            stage, name = words[words.index("train") + 1 :][:2]
            changes = ["steps=1", "workers=0", "validation_batches=1", "batch=1", "frames=[1,2]"]
            sets = [word for change in changes for word in ("--set", change)]
            assert main(["train", stage, name, "-o", f"{folder}/{name}", *sets]) == 0
            stages += 1
    assert stages == sum(p.stem.endswith("-2") == bool(ending) for p in PUBLISHED.glob("tiny-*.toml"))
    monkeypatch.setattr("geometrycrafter.training.tiny.EMBEDDED", tmp_path / "packaged")
    package(Path(folder) / "hub")
    for variant in ("deterministic", "diffusion"):
        scene = gc.load(tmp_path / "packaged", variant)(Shards(f"{folder}/videos").read(0).frames)
        assert scene.points[:].shape == (2, 144, 192, 3)
