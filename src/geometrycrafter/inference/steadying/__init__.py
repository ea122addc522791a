"""One depth for the whole clip: what the motion of the picture says of how depth changes from frame to frame.

The flow between two frames says how the camera moved, given the depth of the first; and that says which depth each of
its points has in the second. Where depth there is another, one of the two frames is wrong by a smooth factor. These are
found for all frames together, from frames that are 1, 2, 4, ... apart, as far as they see the same.

How much nearer a point comes is seen in how its surroundings grow, so it hardly depends on depth being right.
"""

from geometrycrafter.inference.steadying.levelling import GRID, levelled
from geometrycrafter.inference.steadying.links import Link, Linker, SmallFrame, small_size
from geometrycrafter.inference.steadying.steadier import Steadier, factor

__all__ = ["GRID", "Link", "Linker", "SmallFrame", "Steadier", "factor", "levelled", "small_size"]
