"""What training draws from: the published mixture, and sources that are not there."""

from __future__ import annotations

import json
import math

import pytest
from school import config, quiet

from geometrycrafter.data.datasets import data_sets
from geometrycrafter.errors import InputError
from geometrycrafter.training.config import PUBLISHED, read_train_config
from geometrycrafter.training.trainer import Trainer


@pytest.mark.parametrize("name", ["light-vae-decoder", *sorted(p.stem for p in PUBLISHED.glob("paper-*.toml"))])
def test_the_papers_configurations_draw_from_all_of_its_sets(name):
    found = read_train_config(name)
    pictures = found.frames == (1, 1)
    sets = {d.name: d for d in data_sets().values() if d.tally is not None and (pictures or d.video)}
    assert len(sets) == (14 if pictures else 11)
    assert {s.path: s.weight for s in found.sources} == {
        f"shards/{n}": round(math.sqrt(d.tally.paper[0]), 1) for n, d in sets.items()
    }
    assert found.validation and {s.path.removesuffix("/held-out") for s in found.validation} < {
        s.path for s in found.sources
    }


def test_a_source_that_is_not_there_stops_a_run_or_is_left_out(school, shards, tmp_path):
    gone = str(tmp_path / "gone")
    both = {"sources": [{"path": gone, "weight": 3.0}, {"path": str(shards)}], "validation": [{"path": gone}]}
    with pytest.raises(InputError, match="gone"):
        Trainer(config(school, shards, **both), tmp_path / "stop", quiet).run()
    said: list[str] = []
    settings = config(school, shards, missing="skip", **both)
    Trainer(settings, tmp_path / "run", said.append).run()
    assert f"sources left out, as they are not there: {gone}" in said
    assert f"validation left out, as they are not there: {gone}" in said
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    assert [s["path"] for s in kept["sources"]] == [str(shards)] and not kept["validation"]
    # What comes later changes no run that is under way.
    (tmp_path / "gone").mkdir()
    with pytest.raises(InputError, match="begun with another sources"):
        Trainer(settings, tmp_path / "run", quiet)
    (tmp_path / "gone").rmdir()
    Trainer(settings, tmp_path / "run", quiet).run()
    with pytest.raises(InputError, match="not one of their folders is there"):
        Trainer(config(school, shards, missing="skip", sources=[{"path": gone}]), tmp_path / "other", quiet)


def test_a_validation_that_is_not_there_is_told_before_the_first_step(school, shards, tmp_path, monkeypatch):
    def step(*_):
        raise AssertionError("a step was made")

    monkeypatch.setattr(Trainer, "_train_step", step)
    run = Trainer(config(school, shards, validation=[{"path": str(tmp_path / "gone")}]), tmp_path / "run", quiet)
    with pytest.raises(InputError, match="gone: the folder holds no shards"):
        run.run()
    assert not (tmp_path / "run" / "config.json").exists()  # another configuration may begin here
