"""The passes of a run, each a function over its folder: what one leaves there, the next takes up.

Each does its work in units that appear whole, skips those that are there, and calls ``progress`` after each: an
exception from it stops the pass, and another call goes on.
"""

from collections.abc import Callable

from geometrycrafter.inference.passes.condition import condition
from geometrycrafter.inference.passes.decode import decode
from geometrycrafter.inference.passes.denoise import denoise, drawn_noise
from geometrycrafter.inference.passes.observe import observe

__all__ = ["STAGES", "Progress", "condition", "decode", "denoise", "drawn_noise", "observe"]

Progress = Callable[[str, int, int | None], None]
"""(stage, frames done, frames in all where known)."""
STAGES = ("look", "observe", "condition", "denoise", "decode", "steady")
