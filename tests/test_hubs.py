"""What is written into a hub: whole at every moment, whatever the folder is called."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from school import SIZES, config, quiet, weights

from geometrycrafter.training.checkpointing import Checkpoints
from geometrycrafter.training.trainer import Trainer
from geometrycrafter.weights import parts

WRITES = ("open", "os.rename", "os.link", "os.mkdir", "os.chmod", "os.remove", "os.rmdir", "shutil.rmtree")


def killed_at(moment: int, work) -> bool:
    """Whether a copy of this process was killed before it did the ``moment``-th thing to the disk, in its work."""
    child = os.fork()
    if child == 0:
        seen = 0

        def count(event: str, arguments: tuple) -> None:
            nonlocal seen
            if event in WRITES and not (event == "open" and arguments[1] in ("r", "rb")):
                seen += 1
                if seen == moment:
                    os._exit(9)

        sys.addaudithook(count)
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9)
    return status == 9


def same(found: dict[str, torch.Tensor], network: torch.nn.Module) -> bool:
    state = network.state_dict()
    return found.keys() == state.keys() and all(torch.equal(v, state[k]) for k, v in found.items())


@pytest.mark.parametrize("there", ["other sizes", "same sizes", "nothing", "sizes alone"])
def test_a_part_of_a_hub_is_whole_whenever_its_writer_is_killed(there, school, tmp_path):
    """A decoder of another kind changes weights and sizes, which are two files and mean nothing apart."""
    old = parts.load_part("point_map_vae", school)
    sizes = SIZES["point_map_vae"]
    if there == "other sizes":
        sizes = replace(sizes, decoder="light", dec_block_out_channels=(8, 8, 16), dec_layers_per_block=1)
    torch.manual_seed(1)
    new = parts.PARTS["point_map_vae"].network(sizes)
    folder = school / parts.PARTS["point_map_vae"].folder
    (folder / "README.md").write_text("kept")
    if there == "nothing":
        shutil.rmtree(folder)
    elif there == "sizes alone":
        parts.PARTS["point_map_vae"].weights(school).unlink()
    hub, moment, came = tmp_path / "copy", 1, set()
    while True:
        shutil.rmtree(hub, ignore_errors=True)
        shutil.copytree(school, hub)
        cut = killed_at(moment, lambda: parts.save_part("point_map_vae", hub, new.state_dict(), sizes, {}))
        part = hub / parts.PARTS["point_map_vae"].folder
        if there.endswith("sizes") or (part.is_dir() and len(list(part.glob("[cd]*"))) > (there == "sizes alone")):
            found = weights(hub, "point_map_vae")
            came.add(next((name for name, net in (("old", old), ("new", new)) if same(found, net)), "neither"))
        if not cut:
            break
        moment += 1
    assert moment > 3 and same(weights(hub, "point_map_vae"), new)
    assert came == ({"old", "new"} if there.endswith("sizes") else {"new"})
    assert there == "nothing" or (part / "README.md").read_text() == "kept"
    # What the killed writers left is gone once one has written in peace.
    parts.save_part("point_map_vae", hub, new.state_dict(), sizes, {})
    assert not [p for p in part.parent.rglob(".*") if p.is_file()]


def test_names_that_are_no_text_are_as_good_as_others(born, shards, tmp_path):
    """Folders of old archives and other systems: hub, clips, latents, run."""
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    school = shutil.copytree(born, place / "hub")
    clips = shutil.copytree(shards, place / "clips")
    changes = {"stage": "unet", "variant": "deterministic", "latent_variants": 1, "validation": []}
    for steps in (1, 2):  # the second goes on from the first's checkpoint and latents
        Trainer(config(school, clips, steps=steps, **changes), place / "run", quiet).run()
    assert Checkpoints(place / "run" / "checkpoints", 2).steps()[-1] == 2
    before, after = (weights(hub, "unet_determ") for hub in (born, school))
    assert any(not torch.equal(before[k], after[k]) for k in before)
