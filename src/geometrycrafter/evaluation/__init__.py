"""How good point maps are: the published metrics."""

from geometrycrafter.evaluation.metrics import score_points

__all__ = ["score_points"]
