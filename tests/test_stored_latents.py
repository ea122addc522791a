"""What the documentation says of stored latents is what a plan counts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from geometrycrafter.training.config import read_train_config
from geometrycrafter.training.plan import plan_of

DOCUMENT = Path(__file__).parents[1] / "docs" / "training.md"


@pytest.mark.slow
def test_what_stored_latents_save_and_take():
    text = DOCUMENT.read_text()
    row = re.search(r"^\| `paper-unet-diffusion`.* \| (\d+) \| (\d+) \| (\d+) % \|$", text, re.M)
    frame = re.search(r"^\| UNet, 25 frames \| ([\d,]+) \|", text, re.M)
    assert row and frame
    plans = []
    for variants in (0, 1):
        changes = {"latent_variants": variants, "sources": [{"path": "nowhere"}]}
        plans.append(plan_of(read_train_config("paper-unet-diffusion", changes), 8))
    whole, stored = (p.flops / 1e12 for p in plans)
    assert abs(whole / int(row[1]) - 1) < 0.02 and abs(stored / int(row[2]) - 1) < 0.02, (whole, stored)
    assert abs(100 * (1 - stored / whole) - int(row[3])) < 1
    assert plans[1].latents == 25 * int(frame[1].replace(",", ""))
