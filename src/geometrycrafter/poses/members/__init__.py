"""Published networks as stages of the pose estimation; each loads its own weights from a local file or folder."""

from geometrycrafter.poses.members.first_frame import Pointed, open_masks
from geometrycrafter.poses.members.sam import SamMasks, SamVideoMasks
from geometrycrafter.poses.members.spatracker import SpaTrackerTracks
from geometrycrafter.poses.members.superpoint import SuperPointKeypoints
from geometrycrafter.poses.members.xmem import XMemMasks

__all__ = ["Pointed", "SamMasks", "SamVideoMasks", "SpaTrackerTracks", "SuperPointKeypoints", "XMemMasks", "open_masks"]
