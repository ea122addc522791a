"""How good point maps are: metrics, published protocols, and tables."""

from geometrycrafter.evaluation.metrics import (
    drift,
    flicker,
    score_boundaries,
    score_confidence,
    score_depth,
    score_focal,
    score_normals,
    score_points,
    score_trajectory,
    temporal_alignment_error,
)

__all__ = [
    "drift",
    "flicker",
    "score_boundaries",
    "score_confidence",
    "score_depth",
    "score_focal",
    "score_normals",
    "score_points",
    "score_trajectory",
    "temporal_alignment_error",
]
