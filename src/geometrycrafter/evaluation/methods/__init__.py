"""What is judged, one method a file: the project's models, baselines, and predictions of other programs."""

from geometrycrafter.evaluation.methods.depthcrafter import DepthCrafterMethod
from geometrycrafter.evaluation.methods.guesses import Ramp, Wall
from geometrycrafter.evaluation.methods.method import Method, Prediction, Predictor
from geometrycrafter.evaluation.methods.model import VideoModel
from geometrycrafter.evaluation.methods.prior import ModelPrior, MoGeMethod
from geometrycrafter.evaluation.methods.trajectories import SolvedPoses, StandingStill, TrueDepth, WrittenPoses
from geometrycrafter.evaluation.methods.written import Predictions

__all__ = [
    "DepthCrafterMethod",
    "Method",
    "ModelPrior",
    "MoGeMethod",
    "Prediction",
    "Predictions",
    "Predictor",
    "Ramp",
    "SolvedPoses",
    "StandingStill",
    "TrueDepth",
    "VideoModel",
    "Wall",
    "WrittenPoses",
]
