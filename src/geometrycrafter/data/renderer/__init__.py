"""A procedural world and its ray-caster: clips with exact depth, intrinsics, poses and masks, from a seed.

Rooms with furniture at real sizes, streets, open ground; cameras that walk, turn and shake; things that move.
Geometry is boxes (turned about the vertical) and ellipsoids, cast analytically, so depth is exact to float32.
World axes are OpenCV's: x right, y down, z forward; the floor is y = 0; units are metres.
"""

from geometrycrafter.data.renderer.clip import VERSION, RenderedClip, render_clip

__all__ = ["VERSION", "RenderedClip", "render_clip"]
