"""A procedural world and its ray-caster: clips with exact depth, intrinsics, poses and masks, from a seed.

There are two worlds. The first, of rooms, streets and open ground, is what the embedded model was trained on. The
second has what real videos show besides: people on their feet, photographs' textures, posters, openings in walls,
fences before the sky, seas, beds, kitchens, tables from above, cameras that stand still. Geometry is boxes and
ellipsoids, turned and tilted, cast analytically, so depth is exact to float32.
World axes are OpenCV's: x right, y down, z forward; the floor is y = 0; units are metres.
"""

from geometrycrafter.data.renderer.clip import STAGES, WORLD, RenderedClip, render_clip

__all__ = ["STAGES", "WORLD", "RenderedClip", "render_clip"]
