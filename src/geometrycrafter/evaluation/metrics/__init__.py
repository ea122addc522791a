"""Metrics of point maps and depth, one subject a file. The paper's are computed as the authors' evaluation does.

Arrays are ``[T, ...]``; anything that has a shape and gives one frame after another will do in their place
(:class:`~geometrycrafter.evaluation.frames.Frames`), so that no more than a frame is in memory: two passes are made,
one aligns, one measures.
"""

from geometrycrafter.evaluation.metrics.boundaries import score_boundaries
from geometrycrafter.evaluation.metrics.confidence import score_confidence
from geometrycrafter.evaluation.metrics.depth import score_depth
from geometrycrafter.evaluation.metrics.drift import drift
from geometrycrafter.evaluation.metrics.focal import focal_of_points, score_focal
from geometrycrafter.evaluation.metrics.normals import score_normals
from geometrycrafter.evaluation.metrics.points import score_points
from geometrycrafter.evaluation.metrics.stability import flicker, temporal_alignment_error
from geometrycrafter.evaluation.metrics.trajectories import score_trajectory

__all__ = [
    "VERSION",
    "drift",
    "flicker",
    "focal_of_points",
    "score_boundaries",
    "score_confidence",
    "score_depth",
    "score_focal",
    "score_normals",
    "score_points",
    "score_trajectory",
    "temporal_alignment_error",
]

VERSION = 4
"""Of how figures are computed; a change that moves one raises it. 2: robust alignments sample whole pixels;
3: normals over a longer reach, too; 4: drift is of what stands still."""
