"""Per-frame priors: a picture to an (up to scale) point map. Any callable of the protocol's shape will do."""

from geometrycrafter.priors.moge import MoGePrior
from geometrycrafter.priors.protocol import ClipPrior, KnownCamera, PlainPrior, Prior, as_prior
from geometrycrafter.priors.replay import ReplayPrior
from geometrycrafter.priors.tiny import TinyPrior

__all__ = ["ClipPrior", "KnownCamera", "MoGePrior", "PlainPrior", "Prior", "ReplayPrior", "TinyPrior", "as_prior"]
