"""How good point maps are: the published metrics, and temporal stability."""

from geometrycrafter.evaluation.metrics import flicker, score_depth, score_points

__all__ = ["flicker", "score_depth", "score_points"]
