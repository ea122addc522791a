"""Camera poses of scenes: what moves, points that are followed, the solver, and depth refined by the motion."""

from geometrycrafter.poses.estimation import Estimate, estimate
from geometrycrafter.poses.metres import Distance, in_metres, scales_of_distances, scales_of_prior
from geometrycrafter.poses.tracks import Tracks

__all__ = ["Distance", "Estimate", "Tracks", "estimate", "in_metres", "scales_of_distances", "scales_of_prior"]
