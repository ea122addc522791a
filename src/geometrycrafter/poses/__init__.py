"""Camera poses of scenes: what moves, points that are followed, the solver, and depth refined by the motion."""

from geometrycrafter.poses.estimation import Estimate, estimate
from geometrycrafter.poses.tracks import Tracks

__all__ = ["Estimate", "Tracks", "estimate"]
