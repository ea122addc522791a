"""What can't be trained with its weights spread over processes."""

from __future__ import annotations

import pytest
from school import command_line, config, pair

SCRIPT = """
import sys
from geometrycrafter.cli.main import main
sys.exit(main({arguments}))
"""


@pytest.mark.parametrize("stage", ["vae", "autoencoder"])
def test_autoencoders_in_shards_are_refused_by_all_processes(stage, school, shards, tmp_path):
    arguments = command_line(config(school, shards, stage=stage, steps=1), tmp_path / "run", tmp_path / "train.toml")
    found = pair(SCRIPT.format(arguments=[*arguments, "--set", "parallel=fsdp"]), tmp_path, timeout=60)
    assert [status for status, _ in found] == [2, 2], found
    assert all("fsdp" in said and "use ddp" in said and "Traceback" not in said for _, said in found)
    assert not (tmp_path / "run").exists()
